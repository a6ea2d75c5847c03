package builtin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"alcove/engine"
)

func extract(t testing.TB, o Options, p engine.Passage) engine.Extraction {
	t.Helper()
	x, err := Extractor(o).Extract(context.Background(), p)
	require.NoError(t, err)
	checkExtraction(t, o, p, x)
	return x
}

// checkExtraction holds what is promised of any passage.
func checkExtraction(t testing.TB, o Options, p engine.Passage, x engine.Extraction) {
	t.Helper()
	o = Extractor(o).(extractor).o
	flat := strings.Join(strings.Fields(p.Text), " ")
	known := map[string]bool{}
	ids := map[string]bool{}
	require.LessOrEqual(t, len(x.Entities), o.MaxEntities)
	require.LessOrEqual(t, len(x.Relations), o.MaxRelations)
	described := func(d string) {
		require.LessOrEqual(t, len(d), o.MaxDescription)
		if utf8.ValidString(p.Text) {
			require.True(t, utf8.ValidString(d))
			require.Contains(t, flat, strings.Join(strings.Fields(d), " "))
		}
	}
	for _, e := range x.Entities {
		require.NotEmpty(t, e.Name)
		require.LessOrEqual(t, len(e.Name), maxNameBytes)
		require.NotEmpty(t, e.Type)
		known[e.Name] = true
		require.False(t, ids[engine.EntityID(e.Name)], "%q twice", e.Name)
		ids[engine.EntityID(e.Name)] = true
		described(e.Description)
	}
	pairs := map[[2]string]bool{}
	for _, r := range x.Relations {
		require.True(t, known[r.Source] && known[r.Target], "%q, %q", r.Source, r.Target)
		require.NotEqual(t, r.Source, r.Target)
		key := [2]string{min(r.Source, r.Target), max(r.Source, r.Target)}
		require.False(t, pairs[key], "%v twice", key)
		pairs[key] = true
		require.Positive(t, r.Weight)
		require.LessOrEqual(t, len(strings.Split(r.Keywords, ",")), maxKeywords)
		described(r.Description)
	}
}

func entityLines(x engine.Extraction) (out []string) {
	for _, e := range x.Entities {
		out = append(out, e.Name+": "+e.Type)
	}
	return out
}

func relationLines(x engine.Extraction) (out []string) {
	for _, r := range x.Relations {
		out = append(out, fmt.Sprintf("%s -> %s (%s) %g", r.Source, r.Target, r.Keywords, r.Weight))
	}
	return out
}

func TestExtractor_Passages(t *testing.T) {
	for _, c := range []struct {
		name      string
		p         engine.Passage
		entities  []string
		relations []string
	}{
		{
			name: "people, places and what they are",
			p: engine.Passage{Title: "Ada Lovelace", Text: "Ada Lovelace (10 December 1815 – 27 November 1852) was an English mathematician and writer, " +
				"born in London to Lord Byron. She corresponded with Charles Babbage."},
			entities:  []string{"Ada Lovelace: person", "London: location", "Lord Byron: person", "Charles Babbage: concept"},
			relations: []string{"Ada Lovelace -> London (mathematician,writer,born) 1", "Ada Lovelace -> Lord Byron (mathematician,writer,born) 1", "London -> Lord Byron (born) 1"},
		},
		{
			name:      "a title that the text spells out is one name, and its words are none",
			p:         engine.Passage{Title: "Gift to Women (film)", Text: "Gift to Women is a film directed by Michael Curtis, starring Frank Gay, Laura Plante and Joan Bell."},
			entities:  []string{"Gift to Women: content", "Michael Curtis: person", "Frank Gay: person", "Laura Plante: person", "Joan Bell: person"},
			relations: nil,
		},
		{
			name:      "a title in other words is named by what opens the passage",
			p:         engine.Passage{Title: "Andy Summers", Text: "Andrew James Somers is an English singer. He joined the Police."},
			entities:  []string{"Andy Summers: person", "Andrew James Somers: person", "Police: concept"},
			relations: nil,
		},
		{
			name:      "a title is named by the pronoun that opens the passage",
			p:         engine.Passage{Title: "Peter Gravesen", Text: "He is a Danish footballer, born in Vejle. Who knows him?"},
			entities:  []string{"Peter Gravesen: person", "Vejle: location"},
			relations: []string{"Peter Gravesen -> Vejle (footballer,born) 1"},
		},
		{
			name:     "an alias counts for what it names",
			p:        engine.Passage{Text: "Dr. Ernst Haller was a physicist. Ernst Haller lived in Basel. Then Count Ernst Haller died."},
			entities: []string{"Dr. Ernst Haller: person", "Basel: location"},
		},
		{
			name:     "quoted works, organisations, events",
			p:        engine.Passage{Text: `In 1971 Acme Records released "Song of the mill" after the Battle of Hastings and the World Cup. The text "and so on" is no name.`},
			entities: []string{"Acme Records: organization", "Song of the mill: content", "Battle of Hastings: event", "Hastings: concept", "World Cup: event"},
		},
		{
			name: "terms that are repeated or defined, in lower case",
			p: engine.Passage{Text: "A notified body assesses a quality management system. The notified body keeps records. " +
				"A quality management system has parts.\n\nA “trusted flagger” means a person. Use **cold start** with care."},
			entities: []string{"notified body: concept", "quality management system: concept", "trusted flagger: concept", "cold start: concept"},
		},
		{
			name:     "ordinary words with a capital are no names",
			p:        engine.Passage{Text: "Users can log in. Following this, users see a list. Installation is simple. In March 1950 it rained. Many French people left."},
			entities: nil,
		},
		{name: "nothing", p: engine.Passage{Title: "Title", Text: " \n --- "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := extract(t, Options{}, c.p)
			require.Equal(t, c.entities, entityLines(x))
			if c.relations != nil {
				require.Equal(t, c.relations, relationLines(x))
			}
		})
	}
}

// Two in one sentence are related once, however often and in whichever order
// they are named; what stands closest describes the relation.
func TestExtractor_Relations(t *testing.T) {
	p := engine.Passage{Text: "Anna Berg left the old harbour town long before Emil Roth. Emil Roth married Anna Berg. Oslo is far."}
	x := extract(t, Options{}, p)
	require.Equal(t, []string{"Emil Roth -> Anna Berg (married) 2"}, relationLines(x))
	require.Equal(t, "Emil Roth married Anna Berg.", x.Relations[0].Description)
}

// What is kept at the limits is what Options says.
func TestExtractor_Limits(t *testing.T) {
	p := engine.Passage{Title: "Zeta Omega", Text: "They say that long ago Alma Bo met Cira Do. Cira Do met Ella Fo. Cira Do and Ella Fo saw Zeta Omega."}
	x := extract(t, Options{MaxEntities: 3, MaxRelations: 1}, p)
	require.Equal(t, []string{"Zeta Omega", "Cira Do", "Ella Fo"}, sortedBy(x, "Zeta Omega", "Cira Do", "Ella Fo"))
	require.Equal(t, []string{"Cira Do", "Ella Fo"}, []string{x.Relations[0].Source, x.Relations[0].Target})

	var list strings.Builder
	for i := range 200 {
		fmt.Fprintf(&list, "Name%c%c Family%d, ", 'a'+i%26, 'a'+i/26, i)
	}
	x = extract(t, Options{MaxEntities: 1000, MaxRelations: 100_000}, engine.Passage{Text: "They are " + list.String() + "and others."})
	require.Len(t, x.Entities, 200)
	require.Len(t, x.Relations, maxSentenceEntities*(maxSentenceEntities-1)/2)
	for _, e := range x.Entities {
		require.Contains(t, e.Description, e.Name, "a cut sentence holds what it describes")
	}
	x = extract(t, Options{}, engine.Passage{Text: "They are " + list.String() + "and others."})
	require.Len(t, x.Entities, 60)
	require.Len(t, x.Relations, 100)
}

func sortedBy(x engine.Extraction, names ...string) (out []string) {
	for _, n := range names {
		if slices.ContainsFunc(x.Entities, func(e engine.EntityMention) bool { return e.Name == n }) {
			out = append(out, n)
		}
	}
	return out
}

func TestExtractor_Identity(t *testing.T) {
	require.Equal(t, Extractor(Options{}).Identity(), Extractor(Options{MaxEntities: 60}).Identity())
	require.NotEqual(t, Extractor(Options{}).Identity(), Extractor(Options{MaxRelations: 10}).Identity())
	require.Contains(t, Extractor(Options{}).Identity(), "builtin-rules-v1")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Extractor(Options{}).Extract(ctx, engine.Passage{Text: "x"})
	require.ErrorIs(t, err, context.Canceled)
}

func FuzzExtract(f *testing.F) {
	f.Add("Ada (x)", "Ada met Dr. Bo \"Nick\" Li in Paris, France. A notified body is a notified body.")
	f.Add("", "**a** **bold term** “Quoted Name” means \"Other Name\" ‘It’s’ \xff\xc3 日本語。")
	f.Add("T", strings.Repeat("High-risk AI systems of the European Union; ", 40))
	f.Add("Łódź, Poland", "\"\"\" * ** *** “ ” \n\nŁódź's (born 1) is a City of the A B C D E F G H I J K L M N O P.")
	f.Add("The", "The The the. The (The) “The” **The**")
	f.Fuzz(func(t *testing.T, title, text string) {
		o := Options{MaxEntities: 7, MaxRelations: 9, MaxDescription: 80}
		p := engine.Passage{Title: title, Text: text}
		x := extract(t, o, p)
		require.Equal(t, x, extract(t, o, p))
	})
}
