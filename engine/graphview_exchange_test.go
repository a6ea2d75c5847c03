package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/graph"
)

func exported(t *testing.T, kb *engine.KB, f graph.Format, sources bool) string {
	t.Helper()
	var b bytes.Buffer
	opened := 0
	require.NoError(t, kb.ExportGraph(ctx, engine.GraphExport{Format: f, Sources: sources}, func() io.Writer {
		opened++
		return &b
	}))
	require.Equal(t, 1, opened)
	return b.String()
}

// What is exported, imported elsewhere and exported again is the same, byte for
// byte, in every format: entities known by their own word, as ends of relations, by
// many passages, by more than one may say, by hand and under other names.
func TestExportGraph_RoundTrip(t *testing.T) {
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}, ChunkTokens: 100, ChunkOverlap: 1})
	r := rand.New(rand.NewPCG(1, 41))
	name := func() string {
		return spell([]string{"ada lovelace", "babbage", "a, b", "engine <1>", "turin", "ünï"}[r.IntN(6)], r.IntN(3))
	}
	long := strings.Repeat("many words of one thing ", 60)
	for i := range 30 {
		var b strings.Builder
		for j := range 1 + r.IntN(8) {
			fmt.Fprintf(&b, "entity|%s|%s|%s\n", name(), []string{"person", "place", ""}[r.IntN(3)], []string{"She wrote.", "It, \"stands\" & <falls>.", fmt.Sprint("No. ", i, " ", long, j), ""}[r.IntN(4)])
			fmt.Fprintf(&b, "relation|%s|%s|%s|%s|%s\n", name(), name(), []string{"letters", "letters, travel", fmt.Sprint("word", i, j), ""}[r.IntN(4)],
				[]string{"They met.", fmt.Sprint("They spoke ", i, long), ""}[r.IntN(3)], []string{"1", "0.25", "100000", "3"}[r.IntN(4)])
		}
		v.Add("all", fmt.Sprint("doc-", i), b.String())
	}
	v.Wait()
	kb := v.KB("all")
	_, err := kb.CreateEntity(ctx, "By Hand", engine.EntityEdit{})
	require.NoError(t, err)
	weight := 0.1
	_, err = kb.CreateRelation(ctx, "By Hand", "Turin", engine.RelationEdit{Weight: &weight})
	require.NoError(t, err)
	_, err = kb.Merge(ctx, engine.MergeRequest{Change: []string{"babbage"}, Into: "Ada Lovelace"})
	require.NoError(t, err)

	for _, f := range graph.Formats {
		want := exported(t, kb, f, false)
		require.Contains(t, want, "By Hand")
		first := exported(t, kb, f, true)
		require.Contains(t, first, "doc-0-chunk-000")
		for i, from := range []string{want, first} {
			other := fmt.Sprint("again-", f, "-", i)
			_, err := v.KB(other).ImportRows(ctx, engine.GraphFile{Format: f, Data: []byte(from)})
			require.NoError(t, err)
			v.Wait()
			require.Equal(t, want, exported(t, v.KB(other), f, false), f)
		}
	}
	for _, f := range graph.Formats { // and from any format to any
		require.Equal(t, exported(t, kb, f, false), exported(t, v.KB("again-csv-0"), f, false))
	}
}

// A graph that is much larger than one read is written whole; what is deleted
// while it is written is not, and no edge is left without its nodes.
func TestExportGraph_DeletedMeanwhile(t *testing.T) {
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}})
	var early, late strings.Builder
	for i := range 600 {
		fmt.Fprintf(&early, "relation|A%04d|Shared|letters|Kept %d.|1\n", i, i)
		fmt.Fprintf(&late, "relation|Shared|Z%04d|letters|Gone %d.|1\nrelation|A%04d|Z%04d|travel|Gone %d.|1\n", i, i, i, i, i)
	}
	v.Add("k", "early", early.String(), "late", late.String())
	v.Wait()
	kb := v.KB("k")
	whole := exported(t, kb, graph.CSV, false)
	require.Equal(t, 1+1201+1800, strings.Count(whole, "\n"))
	var b bytes.Buffer
	// The first bytes come out when the first entities have been read.
	w := &onFirst{w: &b, f: func() {
		_, err := kb.Delete(ctx, []string{"late"}, false)
		require.NoError(t, err)
	}}
	require.NoError(t, kb.ExportGraph(ctx, engine.GraphExport{Format: graph.CSV}, func() io.Writer { return w }))
	rows, err := graph.ReadRows(graph.CSV, b.Bytes(), 10_000)
	require.NoError(t, err)
	require.Len(t, rows.Relations, 600)
	there := map[string]bool{}
	for _, e := range rows.Entities {
		there[e.Name] = true
	}
	for _, x := range rows.Relations {
		require.True(t, there[x.Source] && there[x.Target])
		require.Contains(t, x.Description, "Kept")
	}
	var nothing bytes.Buffer
	f, err := engine.ParseFilter([]byte(`{"doc_ids":["late"]}`))
	require.NoError(t, err)
	require.NoError(t, kb.ExportGraph(ctx, engine.GraphExport{Format: graph.CSV, Filter: f}, func() io.Writer { return &nothing }))
	require.Equal(t, 1, strings.Count(nothing.String(), "\n"), "nothing but the head")
}

// onFirst calls f at the first write.
type onFirst struct {
	w io.Writer
	f func()
}

func (w *onFirst) Write(p []byte) (int, error) {
	if w.f != nil {
		w.f()
		w.f = nil
	}
	return w.w.Write(p)
}

// An imported graph is found by a question about what it says, and its document
// cited; what cannot be taken in is refused by its field.
func TestImportRows(t *testing.T) {
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}})
	kb := v.KB("k")
	take := func(f graph.Format, data string) error {
		_, err := kb.ImportRows(ctx, engine.GraphFile{Format: f, Data: []byte(data), ID: "mine", FileSource: "mine.csv"})
		return err
	}
	require.NoError(t, take(graph.CSV, "kind,source,target,type,keywords,weight,description\nentity,Ada,,person,,,She kept a diary of moths.\nrelation,Ada,Turin,,travel,2,She lectured in Turin.\n"))
	v.Wait()
	d, err := kb.QueryData(ctx, engine.Query{Query: "Who kept a diary of moths?", Mode: engine.ModeMix})
	require.NoError(t, err)
	require.Equal(t, "mine.csv", d.Data.References[0].FilePath)
	require.Contains(t, d.Data.Chunks[0].Content, "Ada (person): She kept a diary of moths.\nAda – Turin (travel): She lectured in Turin.\n")
	n, err := kb.Entity(ctx, "turin", nil)
	require.NoError(t, err)
	require.Equal(t, "She lectured in Turin.", n.Properties["description"])
	_, err = kb.Delete(ctx, []string{"mine"}, false)
	require.NoError(t, err)
	_, err = kb.Entity(ctx, "turin", nil)
	require.ErrorIs(t, err, engine.ErrNotFound)

	// An entity that a passage names only as the end of a relation is not described by
	// it, and the weight of a relation of which two things are said stays what it was.
	long := strings.Repeat("word ", 1000) + "end."
	require.NoError(t, take(graph.CSV, "kind,source,target,weight,description\nentity,Ada,,,"+long+"\nrelation,Ada,Turin,3,They met.<SEP>They wrote.\n"))
	v.Wait()
	n, err = kb.Entity(ctx, "Ada", nil)
	require.NoError(t, err)
	require.Equal(t, long, n.Properties["description"])
	require.Equal(t, 2, n.Properties["mentions"], "in two passages")
	g, err := kb.Graph(ctx, engine.GraphRequest{Label: "Ada"})
	require.NoError(t, err)
	require.Equal(t, 3.0, g.Edges[0].Properties["weight"])

	for field, data := range map[string]string{
		"body":                         "kind,source\n",
		"entities[1].entity_name":      "kind,source\nentity,Ada\nentity,\" \"\n",
		"entities[0].description":      "kind,source,description\nentity,Ada," + strings.Repeat("x", 8<<10+1) + "\n",
		"relationships[0].tgt_id":      "kind,source,target\nrelation,Ada,ADA\n",
		"relationships[0].weight":      "kind,source,target,weight\nrelation,Ada,Bob,-1\n",
		"relationships[0].keywords":    "kind,source,target,keywords\nrelation,Ada,Bob," + strings.Repeat("x", 513) + "\n",
		"relationships[0].description": "kind,source,target,description\nrelation,Ada,Bob," + strings.Repeat("x", 8<<10+1) + "\n",
	} {
		err := take(graph.CSV, data)
		var f *engine.FieldError
		require.ErrorAs(t, err, &f, field)
		require.Equal(t, field, f.Field)
	}
}
