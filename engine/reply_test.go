package engine

import (
	"encoding/xml"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"alcove/engine/enginetest/evaldata"
)

// show writes an extraction as lines: "name (type): description" and
// "source > target [keywords]: description".
func show(x Extraction) string {
	var b strings.Builder
	for _, e := range x.Entities {
		b.WriteString(e.Name + " (" + e.Type + "): " + e.Description + "\n")
	}
	for _, r := range x.Relations {
		b.WriteString(r.Source + " > " + r.Target + " [" + r.Keywords + "]: " + r.Description + "\n")
	}
	return b.String()
}

func TestReadExtraction(t *testing.T) {
	const good = "Ada (person): A poet's daughter.\nAda > Babbage [letters, friendship]: Ada wrote to Babbage.\n"
	entity := "entity<|#|>Ada<|#|>Person<|#|>A poet's daughter."
	relation := "relation<|#|>Ada<|#|>Babbage<|#|>letters, friendship<|#|>Ada wrote to Babbage."
	both := entity + "\n" + relation + "\n"
	for name, tc := range map[string]struct {
		reply   string
		want    string
		dropped int
	}{
		"as asked":                  {both + "<|COMPLETE|>", good, 0},
		"without the end mark":      {both, good, 0},
		"broken end mark":           {both + "<| COMPLETE |>", good, 0},
		"fenced":                    {"Here you are:\n```text\n" + both + "```\nAnything else?", good, 0},
		"numbered":                  {"1. " + entity + "\n- **" + relation + "**", strings.ReplaceAll(good, "Babbage.\n", "Babbage.**\n"), 0},
		"a thought before":          {"<think>\n" + entity + "x\n</think>\n" + both, good, 0},
		"a thought never opened":    {"entity<|#|>No<|#|>x<|#|>y\n</think>\n" + both, good, 0},
		"a thought never closed":    {both + "<think>entity<|#|>No<|#|>x<|#|>y", good, 0},
		"records on one line":       {entity + "<|#|>" + relation, good, 0},
		"the word relationship":     {entity + "\n" + strings.Replace(relation, "relation", "relationship", 1), good, 0},
		"entity for relation":       {entity + "\n" + strings.Replace(relation, "relation", "entity", 1), good, 0},
		"quoted":                    {"\"entity\"<|#|>\"Ada\"<|#|>\"Person\"<|#|>\"A poet's daughter.\"\n" + relation, good, 0},
		"damaged marks":             {"entity<#|>Ada<|#>Person<||#||>A poet's daughter.\nrelation<|#Ada<|>Babbage| # |letters, friendship< |#| >Ada wrote to Babbage.", good, 0},
		"a word in the mark":        {"entity<|sep|>Ada<|#|>Person<|test|>A poet's daughter.\n" + relation, good, 0},
		"doubled":                   {both + both, good, 0},
		"a field too few":           {both + "entity<|#|>Ada<|#|>Person", good, 1},
		"a field too many":          {both + relation + "<|#|>and more", good, 1},
		"a relation without target": {both + "relation<|#|>Ada<|#|>letters<|#|>Ada wrote.", good, 1},
		"no description":            {both + "entity<|#|>Bob<|#|>Person<|#|>", good, 1},
		"to itself":                 {both + "relation<|#|>Ada<|#|>Ada<|#|>x<|#|>y", good, 1},
		"placeholders":              {both + "entity<|#|>{entity_name}<|#|>Person<|#|>x\nentity<|#|><name><|#|>Person<|#|>x", good, 2},
		"a short number":            {both + "entity<|#|>12<|#|>Data<|#|>x\nentity<|#|>3.1<|#|>Data<|#|>x", good, 2},
		"a bad type":                {both + "entity<|#|>Bob<|#|>Person/Org<|#|>x", good, 1},
		"the older format": {`("entity"<|>"Ada"<|>"person"<|>"A poet's daughter.")##` + "\n" +
			`("relationship"<|>"Ada"<|>"Babbage"<|>"Ada wrote to Babbage."<|>8)<|COMPLETE|>`,
			strings.Replace(good, "letters, friendship", "", 1), 0},
		"the older format over lines, with keywords": {`("entity"<|>"Ada"<|>"person"<|>"A poet's` + "\n" + `daughter.")` + "\n" +
			`2. ("relationship"<|>"Ada"<|>"Babbage"<|>"Ada wrote to Babbage."<|>"letters, friendship"<|>8)`, good, 0},
		"code":  {"```python\nprint(f'(\"entity\"<|>\"{name}\"<|>\"{kind}\"<|>\"{text}\")')\nfor x in y: pass\n```", "", 1},
		"prose": {"I cannot find any entities | relations in this text # sorry.", "", 0},
		"empty": {"", "", 0},
		"JSON": {`{"entities":[{"name":"Ada","type":"Person","description":"A poet's daughter."}],` +
			`"relationships":[{"source":"Ada","target":"Babbage","keywords":"letters, friendship","description":"Ada wrote to Babbage."}]}`, good, 0},
		"JSON in a fence, cut short": {"Sure!\n```json\n" + `{"entities":[{"name":"Ada","type":"Person","description":"A poet's daughter."},{"name":"Bo`, "Ada (person): A poet's daughter.\n", 0},
		"JSON mended": {`[{"entity_name":"Ada","entity_type":"Person","description":"A poet's
daughter.",},
 {"src_id":"Ada","tgt_id":"Babbage","keywords":["letters","friendship"],"description":"Ada wrote to Babbage."}, {"name":"\alpha"]}]`, good, 1},
		"JSON with more in a record": {`Sure: {"entities":[{"name":"Ada","type":"Person","description":"A poet's daughter.","attributes":{"born":1815}},{"name":"Bob"}],` +
			`"relationships":{"1":{"source":"Ada","target":"Babbage","keywords":["letters","friendship"],"description":"Ada wrote to Babbage.","meta":{"x":[{"y":1}]}}}} Done {`, good, 1},
		"JSON in JSON lines": {`{"name":"Ada","type":"Person","description":"A poet's daughter."}
{"source":"Ada","target":"Babbage","keywords":"letters, friendship","description":"Ada wrote to Babbage."}`, good, 0},
		"HTML and wide forms": {"entity<|#|>Ａ＆Ｂ 公司 Ltd<|#|>Organization<|#|>R&amp;D &lt;b&gt;\x07", "A&B公司Ltd (organization): R&D <b>\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := readExtraction(tc.reply)
			require.Equal(t, tc.want, show(got))
			require.Equal(t, tc.dropped, got.Dropped, "dropped")
		})
	}
	t.Run("caps", func(t *testing.T) {
		var b strings.Builder
		for i := range 200 {
			n := strings.Repeat("x", i+1)
			b.WriteString("entity<|#|>" + n + "<|#|>Data<|#|>d\nrelation<|#|>" + n + "<|#|>other<|#|>k<|#|>d\n")
		}
		got := readExtraction(b.String())
		require.Len(t, got.Entities, maxReplyEntities)
		require.Len(t, got.Relations, maxReplyRelations)
		require.Equal(t, 400-maxReplyEntities-maxReplyRelations, got.Dropped)
	})
}

func TestParseKeywords(t *testing.T) {
	want := Keywords{High: []string{"themes"}, Low: []string{"Ada", "Babbage"}}
	for name, reply := range map[string]string{
		"plain":         `{"high_level_keywords":["themes"],"low_level_keywords":["Ada","Babbage","Ada",""]}`,
		"fenced":        "```json\n{\"high_level_keywords\": [\"themes\"],\n \"low_level_keywords\": \"Ada, Babbage\"}\n```",
		"after thought": `<think>{"high_level_keywords":["no"]}</think>Here: {"high_level_keywords":["themes"],"low_level_keywords":["Ada","Babbage"],}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parseKeywords(reply)
			require.True(t, ok)
			require.Equal(t, want, got)
		})
	}
	got, ok := parseKeywords(`{"high_level_keywords":[],"low_level_keywords":[]}`)
	require.True(t, ok)
	require.Equal(t, Keywords{High: []string{}, Low: []string{}}, got)
	for _, bad := range []string{"", "no", `{"a":1}`, `{"high_level_keywords":`, "[]"} {
		_, ok := parseKeywords(bad)
		require.False(t, ok, bad)
	}
}

// plain is what LightRAG made of a name: hyphens and straight quotes.
var plain = strings.NewReplacer("—", "-", "–", "-", "’", "'", "‘", "'", "“", `"`, "”", `"`, "＂", `"`)

// The recorded LightRAG run over the EU AI Act: a strict reader refuses 5 record
// lines of it, and the graph's names come out of ours.
func TestReadExtraction_EUAIAct(t *testing.T) {
	OneGoroutine(t)
	type row struct{ Kind, Response string }
	entities, relations := map[string]bool{}, map[string]bool{}
	dropped, replies := 0, 0
	for _, r := range evaldata.Rows[row](t, "llm-replay/eu-ai-act-lightrag/llm_responses.jsonl") {
		if r.Kind != "extract" && r.Kind != "glean" {
			continue
		}
		replies++
		x := readExtraction(r.Response)
		dropped += x.Dropped
		for _, e := range x.Entities {
			entities[plain.Replace(e.Name)] = true
		}
		for _, e := range x.Relations {
			a, b := plain.Replace(e.Source), plain.Replace(e.Target)
			relations[min(a, b)+" | "+max(a, b)] = true
		}
	}
	require.Equal(t, 118, replies)
	names, pairs := graphML(t, "llm-replay/eu-ai-act-lightrag/expected/graph_chunk_entity_relation.graphml")
	foundNames, foundPairs := 0, 0
	for n := range names {
		if entities[n] {
			foundNames++
		}
	}
	for p := range pairs {
		if relations[p] {
			foundPairs++
		}
	}
	t.Logf("names %d of %d (read %d), pairs %d of %d (read %d), dropped %d", foundNames, len(names), len(entities), foundPairs, len(pairs), len(relations), dropped)
	require.GreaterOrEqual(t, foundNames, 717) // the other nodes are endpoints of relations
	require.GreaterOrEqual(t, foundPairs, 673)
	require.LessOrEqual(t, dropped, 11) // 5 of wrong length, 5 from a thing to itself, 1 without description
}

func graphML(t *testing.T, name string) (names, pairs map[string]bool) {
	t.Helper()
	b, err := os.ReadFile(evaldata.Path(t, name))
	require.NoError(t, err)
	var g struct {
		Nodes []struct {
			ID string `xml:"id,attr"`
		} `xml:"graph>node"`
		Edges []struct {
			Source string `xml:"source,attr"`
			Target string `xml:"target,attr"`
		} `xml:"graph>edge"`
	}
	require.NoError(t, xml.Unmarshal(b, &g))
	names, pairs = map[string]bool{}, map[string]bool{}
	for _, n := range g.Nodes {
		names[plain.Replace(n.ID)] = true
	}
	for _, e := range g.Edges {
		a, b := plain.Replace(e.Source), plain.Replace(e.Target)
		pairs[min(a, b)+" | "+max(a, b)] = true
	}
	return names, pairs
}

// Answers of nano-graphrag runs, in the older format.
func TestReadExtraction_ChristmasCarol(t *testing.T) {
	type row struct{ Extract, Glean string }
	kept, dropped := 0, 0
	for _, r := range evaldata.Rows[row](t, "llm-replay/christmas-carol-nano/llm_responses.jsonl") {
		for _, s := range []string{r.Extract, r.Glean} {
			x := readExtraction(s)
			kept += len(x.Entities) + len(x.Relations)
			dropped += x.Dropped
		}
	}
	t.Logf("kept %d, dropped %d", kept, dropped)
	require.GreaterOrEqual(t, kept, 1140)
	require.LessOrEqual(t, dropped, 10)
}

// Answers that break the format: nothing fails, and what is a record is kept.
func TestReadExtraction_Malformed(t *testing.T) {
	OneGoroutine(t)
	type row struct{ Source, Response string }
	kept, dropped, empty := 0, 0, 0
	rows := evaldata.Rows[row](t, "llm-replay/malformed/responses.jsonl")
	require.Len(t, rows, 96)
	for _, r := range rows {
		x := readExtraction(r.Response)
		checkExtraction(t, x)
		if len(x.Entities)+len(x.Relations) == 0 {
			empty++
		}
		kept += len(x.Entities) + len(x.Relations)
		dropped += x.Dropped
	}
	t.Logf("kept %d, dropped %d, replies without a record %d", kept, dropped, empty)
	require.GreaterOrEqual(t, kept, 1499)
	require.LessOrEqual(t, dropped, 270) // most are lines of programs that would print records
}

// checkExtraction holds what is true of everything a reader returns.
func checkExtraction(t *testing.T, x Extraction) {
	t.Helper()
	require.LessOrEqual(t, len(x.Entities), maxReplyEntities)
	require.LessOrEqual(t, len(x.Relations), maxReplyRelations)
	require.GreaterOrEqual(t, x.Dropped, 0)
	text := func(s string, limit int) {
		require.True(t, utf8.ValidString(s), "%q", s)
		require.LessOrEqual(t, len(s), limit)
		require.Equal(t, strings.TrimSpace(s), s)
		require.False(t, strings.ContainsAny(s, "\x00\n\r\t"), "%q", s)
	}
	for _, e := range x.Entities {
		require.NotEmpty(t, e.Name)
		require.NotEmpty(t, e.Description)
		text(e.Name, maxNameBytes)
		text(e.Type, maxTypeBytes)
		text(e.Description, maxDescriptionBytes)
	}
	for _, r := range x.Relations {
		require.NotEmpty(t, r.Source)
		require.NotEmpty(t, r.Target)
		require.NotEqual(t, r.Source, r.Target)
		require.NotEmpty(t, r.Description)
		require.Equal(t, 1.0, r.Weight)
		text(r.Source, maxNameBytes)
		text(r.Target, maxNameBytes)
		text(r.Keywords, 2*maxKeywordsBytes)
		text(r.Description, maxDescriptionBytes)
	}
}

var replySeeds = []string{
	"", "entity<|#|>A<|#|>b<|#|>c\nrelation<|#|>A<|#|>B<|#|>k<|#|>d\n<|COMPLETE|>", `("entity"<|>"A"<|>"b"<|>"c")##("relationship"<|>"A"<|>"B"<|>"d"<|>9)`,
	`{"entities":[{"name":"A","type":"b","description":"c"}],"relationships":[{"source":"A","target":"B","keywords":["k"],"description":"d"}]}`,
	"<think>x</think>{\"high_level_keywords\":[\"a\"],\"low_level_keywords\":\"b\"}", "entity<|#|>&#0;&nbsp;<|#|>\xff<|#|>&amp;amp;", "</think><think><think></think>",
	"entity|#|'A'|#|x|#|\u2028y", "{\"name\":\"a\nb\\q\",}", "relation<|#|>“A”<|#|>《B》<|#|>,，;<|#|>d",
}

func FuzzReadExtraction(f *testing.F) {
	for _, s := range replySeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkExtraction(t, readExtraction(s))
		var rows, objects extractionReader
		rows.rows(s)
		checkExtraction(t, rows.out)
		objects.json(s)
		checkExtraction(t, objects.out)
		if k, ok := parseKeywords(s); ok {
			require.NotNil(t, k.High)
			require.NotNil(t, k.Low)
			require.LessOrEqual(t, len(k.High), maxKeywordCount)
			require.LessOrEqual(t, len(k.Low), maxKeywordCount)
		}
	})
}
