package graph

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// randomRows are entities and relations with everything in their texts that a
// format may trip over.
func randomRows(r *rand.Rand) *Rows {
	pieces := []string{"Ada", `"`, "'", "<a>", "&amp;", "&", "]]>", "\\", "\\n", "/", "%2F", ",", ";", "=1+1", "日本", "😀", "_:x", "@type", "é", " ", "#", "^^<x>", "|"}
	text := func(more ...string) string {
		var b strings.Builder
		for range 1 + r.IntN(4) {
			all := slices.Concat(pieces, more)
			b.WriteString(all[r.IntN(len(all))])
		}
		return strings.TrimSpace(b.String()) + "."
	}
	long := func() string {
		var f []string
		for range r.IntN(4) {
			f = append(f, text("\n", "\t", "\u2028", "\n\n", "long "))
		}
		return strings.Join(SortFragments(strings.Join(f, FragmentSep)), FragmentSep)
	}
	some := func() string {
		if r.IntN(3) == 0 {
			return ""
		}
		return text()
	}
	out := &Rows{}
	var names []string
	for i := range 3 + r.IntN(8) {
		names = append(names, fmt.Sprint(text(), i))
		out.Entities = append(out.Entities, EntityRow{names[i], some(), long(), some(), some()})
	}
	seen := map[[2]string]bool{}
	for range r.IntN(20) {
		a, b := names[r.IntN(len(names))], names[r.IntN(len(names))]
		if seen[[2]string{a, b}] {
			continue
		}
		seen[[2]string{a, b}] = true
		out.Relations = append(out.Relations, RelationRow{a, b, some(), long(), []float64{1, 0.5, 1e9, 1.0 / 65536, 123.25}[r.IntN(5)], some(), some()})
	}
	return out
}

func write(t testing.TB, f Format, rows *Rows) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewRowWriter(f, &b)
	for _, e := range rows.Entities {
		require.NoError(t, w.Entity(e))
	}
	for _, r := range rows.Relations {
		require.NoError(t, w.Relation(r))
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// What is written is read back as it was, in every format.
func TestRows_RoundTrip(t *testing.T) {
	for seed := range uint64(60) {
		rows := randomRows(rand.New(rand.NewPCG(seed, 31)))
		for _, f := range Formats {
			b := write(t, f, rows)
			got, err := ReadRows(f, b, 1000)
			require.NoError(t, err, "seed %d: %s\n%s", seed, f, b)
			require.Equal(t, rows.Entities, got.Entities, "seed %d: %s\n%s", seed, f, b)
			require.Equal(t, rows.Relations, got.Relations, "seed %d: %s\n%s", seed, f, b)
		}
	}
}

// What a graph of two looks like in each format; with JSON-LD's the statements
// are those of N-Quads.
func TestRows_Shape(t *testing.T) {
	rows := &Rows{
		[]EntityRow{{"Ada", "person", "She wrote.<SEP>Notes.", "d-chunk-000", "a.txt"}},
		[]RelationRow{{"Ada", "Mr B", "letters", "They wrote.", 2.5, "", ""}},
	}
	for f, want := range map[Format]string{
		NQuads: `<urn:alcove:entity/Ada> <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <urn:alcove:Entity> .
<urn:alcove:entity/Ada> <http://www.w3.org/2000/01/rdf-schema#label> "Ada" .
<urn:alcove:entity/Ada> <urn:alcove:entityType> "person" .
<urn:alcove:entity/Ada> <urn:alcove:description> "She wrote." .
<urn:alcove:entity/Ada> <urn:alcove:description> "Notes." .
<urn:alcove:entity/Ada> <urn:alcove:sourceId> "d-chunk-000" .
<urn:alcove:entity/Ada> <urn:alcove:filePath> "a.txt" .
<urn:alcove:entity/Ada> <urn:alcove:related> <urn:alcove:entity/Mr%20B> .
<urn:alcove:relation/Ada/Mr%20B> <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <urn:alcove:Relation> .
<urn:alcove:relation/Ada/Mr%20B> <urn:alcove:source> <urn:alcove:entity/Ada> .
<urn:alcove:relation/Ada/Mr%20B> <urn:alcove:target> <urn:alcove:entity/Mr%20B> .
<urn:alcove:relation/Ada/Mr%20B> <urn:alcove:weight> "2.5"^^<http://www.w3.org/2001/XMLSchema#double> .
<urn:alcove:relation/Ada/Mr%20B> <urn:alcove:keywords> "letters" .
<urn:alcove:relation/Ada/Mr%20B> <urn:alcove:description> "They wrote." .
`,
		JSONLD: `{"@context":{"@vocab":"urn:alcove:","label":"http://www.w3.org/2000/01/rdf-schema#label","weight":{"@id":"urn:alcove:weight","@type":"http://www.w3.org/2001/XMLSchema#double"}},"@graph":[
{"@id":"urn:alcove:entity/Ada","@type":"urn:alcove:Entity","label":"Ada","entityType":"person","description":["She wrote.","Notes."],"sourceId":"d-chunk-000","filePath":"a.txt"},
{"@id":"urn:alcove:entity/Ada","related":{"@id":"urn:alcove:entity/Mr%20B"}},
{"@id":"urn:alcove:relation/Ada/Mr%20B","@type":"urn:alcove:Relation","source":{"@id":"urn:alcove:entity/Ada"},"target":{"@id":"urn:alcove:entity/Mr%20B"},"weight":"2.5","keywords":"letters","description":["They wrote."]}
]}
`,
		CSV: `kind,source,target,type,keywords,weight,description,source_id,file_path
entity,Ada,,person,,,She wrote.<SEP>Notes.,d-chunk-000,a.txt
relation,Ada,Mr B,,letters,2.5,They wrote.,,
`,
	} {
		require.Equal(t, want, string(write(t, f, rows)))
	}
	require.Contains(t, string(write(t, GraphML, rows)), `<graph edgedefault="undirected">
<node id="Ada"><data key="d0">Ada</data><data key="d1">person</data><data key="d2">She wrote.&lt;SEP&gt;Notes.</data><data key="d3">d-chunk-000</data><data key="d4">a.txt</data></node>
<edge source="Ada" target="Mr B"><data key="d5">2.5</data><data key="d6">They wrote.</data><data key="d7">letters</data></edge>
</graph>
</graphml>
`)
}

// A reader of CSV takes a carriage return before a line break away: what is written
// has none, so that the second time is as the first.
func TestRows_CSVLineBreaks(t *testing.T) {
	b := write(t, CSV, &Rows{Entities: []EntityRow{{Name: "a", Description: "one\r\ntwo"}}})
	got, err := ReadRows(CSV, b, 1)
	require.NoError(t, err)
	require.Equal(t, "one\ntwo", got.Entities[0].Description)
	require.Equal(t, string(b), string(write(t, CSV, got)))
}

// What others write is read as far as the handbook says.
func TestRows_OfOthers(t *testing.T) {
	for _, c := range []struct {
		name string
		f    Format
		in   string
		want Rows
	}{
		{"Cayley's N-Quads", NQuads, "\"Ada\" <related> \"Babbage\" .\n# a remark\n\n\"Ada\" <wrote> \"Notes\" .\n", Rows{
			[]EntityRow{{Name: "Ada"}},
			[]RelationRow{{Source: "Ada", Target: "Babbage", Weight: 1}, {Source: "Ada", Target: "Notes", Keywords: "wrote", Weight: 1}},
		}},
		{"an ontology", NQuads, `<http://x.org/ada> <http://www.w3.org/2000/01/rdf-schema#label> "Ada"@en <http://x.org/g> .
<http://x.org/ada> <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <http://x.org/t#Person> .
<http://x.org/ada> <http://xmlns.com/foaf/0.1/knows> _:b .
_:b <http://www.w3.org/2000/01/rdf-schema#label> "Babbage" .
<http://x.org/ada> <http://x.org/born> "1815"^^<http://www.w3.org/2001/XMLSchema#integer> .
<http://x.org/ada> <http://schema.org/description> "She wrote notes." .
`, Rows{
			[]EntityRow{{Name: "Ada", Type: "Person", Description: "born: 1815<SEP>She wrote notes."}, {Name: "Babbage"}},
			[]RelationRow{{Source: "Ada", Target: "Babbage", Keywords: "knows", Weight: 1}},
		}},
		{"JSON-LD with words of its own, one inside of the other", JSONLD, `{"@context":[{"schema":"http://schema.org/","name":"http://www.w3.org/2000/01/rdf-schema#label","knows":{"@id":"schema:knows","@type":"@id"}}],
"@id":"http://x.org/ada","@type":"schema:Person","name":["Ada"],"knows":{"name":{"@value":"Babbage"},"schema:description":"He built engines.","schema:age":3}}`, Rows{
			[]EntityRow{{Name: "Ada", Type: "Person"}, {Name: "Babbage", Description: "age: 3<SEP>He built engines."}},
			[]RelationRow{{Source: "Ada", Target: "Babbage", Keywords: "knows", Weight: 1}},
		}},
		{"JSON-LD, expanded", JSONLD, `[{"@id":"urn:a","http://x.org/likes":[{"@id":"urn:b"}]},{"@id":"urn:b"}]`, Rows{
			[]EntityRow{{Name: "urn:a"}}, []RelationRow{{Source: "urn:a", Target: "urn:b", Keywords: "likes", Weight: 1}},
		}},
		{"LightRAG's GraphML", GraphML, `<?xml version='1.0' encoding='utf-8'?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">
<key id="d8" for="edge" attr.name="created_at" attr.type="long" /><key id="d5" for="edge" attr.name="weight" attr.type="double" /><key id="d1" for="node" attr.name="entity_type" attr.type="string" /><key id="d0" for="node" attr.name="entity_id" attr.type="string" /><key id="d2" for="node" attr.name="description" attr.type="string" />
<graph edgedefault="undirected"><node id="&quot;ADA&quot;">
  <data key="d0">Ada</data>
  <data key="d1">person</data>
  <data key="d2">One.&lt;SEP&gt;Two.</data>
</node><edge source="&quot;ADA&quot;" target="n2"><data key="d5">2.0</data><data key="d8">17</data></edge><node id="n2"><data key="d9">what</data><port/></node></graph></graphml>`, Rows{
			[]EntityRow{{Name: "Ada", Type: "person", Description: "One.<SEP>Two."}, {Name: "n2"}},
			[]RelationRow{{Source: "Ada", Target: "n2", Weight: 2}},
		}},
		{"a spreadsheet's CSV", CSV, "\ufeffsource,kind,target\r\nAda,entity,\r\nAda,relation,\"Bab\r\nbage\"\r\n", Rows{
			[]EntityRow{{Name: "Ada"}}, []RelationRow{{Source: "Ada", Target: "Bab\nbage", Weight: 1}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ReadRows(c.f, []byte(c.in), 100)
			require.NoError(t, err)
			require.Equal(t, c.want, *got)
		})
	}
}

func TestRows_Refuses(t *testing.T) {
	for _, c := range []struct {
		f       Format
		in, why string
	}{
		{NQuads, "<a> <b> .\n", "line 1 is no quad"},
		{NQuads, "<a> <b> <c> .\n<a> <b> \"\\UFFFFFFFF\" .\n", "line 2 is no quad"},
		{NQuads, "<a> <b> \"" + strings.Repeat("x", maxQuadBytes) + "\" .\n", "line 1 has 262"},
		{NQuads, "<a> _:b <c> .\n", "line 1"},
		{NQuads, "<r> <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <urn:alcove:Relation> .\n", "<r> has no source or no target"},
		{JSONLD, "", "empty"},
		{JSONLD, "3", "neither an object nor a list"},
		{JSONLD, `[3]`, "no object"},
		{JSONLD, `{"@graph":[{"@id":"a"}`, "ends in the middle"},
		{JSONLD, `{"@graph":[]} {}`, "follows its end"},
		{JSONLD, `{"@context":"https://schema.org"}`, "is not fetched"},
		{JSONLD, `[{"@context":["https://schema.org"],"@id":"a"}]`, "is not fetched"},
		{JSONLD, `{"@context":{"@import":"https://schema.org"}}`, "is not fetched"},
		{JSONLD, `{"@graph":[],"@context":{}}`, "stands behind"},
		{JSONLD, strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40), "more than 32 deep"},
		{GraphML, "", "no GraphML"},
		{GraphML, "<graph></graph>", "outside of graphml"},
		{GraphML, "<graphml><graph><node id='a'>", "unexpected EOF"},
		{GraphML, "<!DOCTYPE x [<!ENTITY y 'z'>]><graphml><graph><node id='a'><data key='k'>&y;</data></node></graph></graphml>", "entity"},
		{GraphML, "<graphml><key id='k' attr.name='weight'/><graph><edge source='a' target='b'><data key='k'>much</data></edge></graph></graphml>", `weight "much" is no number`},
		{CSV, "", "empty"},
		{CSV, "kind,source,colour\n", `no column is called "colour"`},
		{CSV, "kind,target\n", `column "source" is missing`},
		{CSV, "kind,source,kind\n", `column "kind" is there twice`},
		{CSV, "kind,source\nperson,a\n", `line 2: kind is "person"`},
		{CSV, "kind,source\nentity\n", "wrong number of fields"},
		{CSV, "kind,source,target,weight\nrelation,a,b,x\n", `line 2: weight "x" is no number`},
		{CSV, "kind,source\n" + strings.Repeat("entity,a\n", 4), "more than 3 entities"},
		{CSV, "kind,source\n" + strings.Repeat("relation,a\n", 4), "more than 3 relations"},
		{GraphML, "<graphml><graph>" + strings.Repeat("<edge/>", 4) + "</graph></graphml>", "more than 3 relations"},
		{NQuads, "<a> <x> <b> .\n<b> <x> <b> .\n<c> <x> <b> .\n<d> <x> <b> .\n", "more than 3 entities"},
		{NQuads, strings.Repeat("<a> <x> <b> .\n", 7), "more than 6 statements"},
	} {
		_, err := ReadRows(c.f, []byte(c.in), 3)
		require.ErrorIs(t, err, ErrRows, "%s %q", c.f, c.in[:min(len(c.in), 80)])
		require.ErrorContains(t, err, c.why, "%s %q", c.f, c.in[:min(len(c.in), 80)])
	}
}

func TestRows_GraphMLKeysAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range maxGraphMLKeys + 1 {
		fmt.Fprintf(&b, "<key id='k%d'/>", i)
	}
	_, err := ReadRows(GraphML, []byte("<graphml>"+b.String()+"</graphml>"), 3)
	require.ErrorContains(t, err, "more than 1000 keys")
}

// A writer below that fails is noticed, at the latest at the end.
func TestRows_WriterFails(t *testing.T) {
	rows := randomRows(rand.New(rand.NewPCG(1, 33)))
	for _, f := range Formats {
		w := NewRowWriter(f, refuses{})
		err := w.Entity(rows.Entities[0])
		require.Error(t, errors.Join(err, w.Close()), f)
	}
}

// Whatever bytes come, they are rows or ErrRows, in bounded depth; and rows that
// are read are the same rows when they were written in any format and read again,
// but for what a format cannot hold.
func FuzzReadRows(f *testing.F) {
	for seed := range uint64(3) {
		for i, format := range Formats {
			f.Add(i, write(f, format, randomRows(rand.New(rand.NewPCG(seed, 34)))))
		}
	}
	f.Add(0, []byte(`_:a <b> "x"^^<c> <g> .`))
	f.Add(1, []byte(`{"@context":{"@vocab":"x:","a":{"@id":"b:c"}},"@id":"_:z","a":[{"@list":[1,true,null,{"@value":"v"}]}]}`))
	f.Fuzz(func(t *testing.T, i int, data []byte) {
		format := Formats[uint(i)%uint(len(Formats))]
		rows, err := ReadRows(format, data, 50)
		if err != nil {
			require.ErrorIs(t, err, ErrRows)
			return
		}
		require.LessOrEqual(t, len(rows.Entities), 50)
		require.LessOrEqual(t, len(rows.Relations), 50)
		for k := range rows.Entities {
			rows.Entities[k].Description = strings.Join(SortFragments(rows.Entities[k].Description), FragmentSep)
		}
		again, err := ReadRows(CSV, write(t, CSV, rows), 50)
		require.NoError(t, err)
		require.Len(t, again.Entities, len(rows.Entities))
		require.Len(t, again.Relations, len(rows.Relations))
	})
}
