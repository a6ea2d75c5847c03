package engine_test

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
)

// notes is a graph with two passages, given in the wrong order.
func notes() engine.CustomKG {
	return engine.CustomKG{
		ID: "notes", Metadata: map[string]any{"title": "Notes"},
		Chunks: []engine.KGChunk{
			{Content: "Babbage <designed> the \"engine\".\nIt never ran.", SourceID: "s2", FilePath: "notes.txt", Order: ptr(1)},
			{Content: "Ada wrote notes.", SourceID: "s1", FilePath: "notes.txt", Order: ptr(0)},
		},
		Entities: []engine.KGEntity{
			{Name: "Ada", Type: "person", Description: "She wrote.", SourceID: "s1"},
			{Name: "Engine", Type: "machine", Description: "It never ran.", SourceID: "s2"},
			{Name: "Ada", Type: "person", Description: "A countess.", SourceID: "nowhere"},
		},
		Relationships: []engine.KGRelation{
			{Source: "Babbage", Target: "Engine", Keywords: "design", Description: "He designed it.", Weight: ptr(2.0), SourceID: "s2"},
			{Source: "Ada", Target: "Engine", Keywords: "notes", Description: "She described it."},
		},
	}
}

// A graph that somebody made is one document: its passages are kept and cited as
// given, its entities and relations are what they say, and no extractor is asked.
func TestCustomKG_IsADocument(t *testing.T) {
	ex := &enginetest.Extractor{}
	v := enginetest.New(t, engine.Options{Extractor: ex})
	kb := v.KB("k")
	a, err := kb.ImportGraph(ctx, notes())
	require.NoError(t, err)
	require.Equal(t, []any{"processing", "notes", engine.ResultCreated, "notes.txt"}, []any{a.Status, a.DocID, a.Documents[0].Result, a.Documents[0].FilePath})
	require.True(t, strings.HasPrefix(a.TrackID, "import_"))
	v.Wait()
	require.Zero(t, ex.Calls())
	d, err := kb.Document(ctx, "notes")
	require.NoError(t, err)
	require.Equal(t, []any{engine.StatusProcessed, 2, 2, 2, "Ada wrote notes."}, []any{d.Status, d.ChunksCount, d.Entities, d.Relations, d.ContentSummary})

	_, length, body, err := kb.Content(ctx, "notes")
	require.NoError(t, err)
	content, err := io.ReadAll(body)
	require.NoError(t, err)
	require.Len(t, content, length)
	page, err := kb.Chunks(ctx, "notes", "", 0)
	require.NoError(t, err)
	require.Equal(t, "Ada wrote notes.", page.Chunks[0].Content)
	require.Equal(t, "Ada wrote notes.", string(content[page.Chunks[0].Start:page.Chunks[0].End]))
	require.Equal(t, `Babbage <designed> the \"engine\".\nIt never ran.`, string(content[page.Chunks[1].Start:page.Chunks[1].End]), "as the content has it")

	n := entityOf(t, kb, "Ada")
	require.ElementsMatch(t, []string{"She wrote.", "A countess."}, strings.Split(n.Properties["description"].(string), "<SEP>"))
	require.Equal(t, "notes-chunk-000", n.Properties["source_id"], "an unknown source is the first passage")
	require.Equal(t, "notes-chunk-001", entityOf(t, kb, "Babbage").Properties["source_id"])
	g, err := kb.Graph(ctx, engine.GraphRequest{Label: "Babbage", MaxDepth: 1})
	require.NoError(t, err)
	require.Equal(t, []any{"Babbage", "Engine", 2.0, "design"}, []any{g.Edges[0].Source, g.Edges[0].Target, g.Edges[0].Properties["weight"], g.Edges[0].Properties["keywords"]})
	q, err := kb.QueryData(ctx, engine.Query{Query: "Who designed the engine?"})
	require.NoError(t, err)
	require.Equal(t, "notes.txt", q.Data.References[0].FilePath)

	// It is known again, and what is other content is refused.
	a, err = kb.ImportGraph(ctx, notes())
	require.NoError(t, err)
	require.Equal(t, engine.ResultUnchanged, a.Documents[0].Result)
	other := notes()
	other.Entities = other.Entities[:1]
	_, err = kb.ImportGraph(ctx, other)
	require.ErrorIs(t, err, engine.ErrConflict)
	_, err = kb.Add(ctx, []engine.DocumentInput{{ID: "notes", FilePath: "notes.txt", Name: "custom_kg.txt", Content: content, Metadata: map[string]any{"title": "Notes"}}}, "insert")
	require.ErrorIs(t, err, engine.ErrConflict, "the same bytes as a text are another document")

	// Set operations hold: with another document and without it, deleted and added again.
	dump := v.Dump("k")
	v.Add("k", "x", "Turin lies on the Po.")
	v.Wait()
	_, err = kb.Delete(ctx, []string{"x"}, false)
	require.NoError(t, err)
	require.Equal(t, dump, v.Dump("k"))
	_, err = kb.Delete(ctx, []string{"notes"}, false)
	require.NoError(t, err)
	require.Empty(t, v.Dump("k"))
	require.Empty(t, labelsOf(t, kb))
	_, err = kb.ImportGraph(ctx, notes())
	require.NoError(t, err)
	v.Restart() // whatever was in hand goes on
	v.Wait()
	require.Equal(t, dump, v.Dump("k"))
	// A text takes its place by an update.
	_, err = v.KB("k").Update(ctx, "notes", engine.DocumentInput{Content: content})
	require.NoError(t, err)
	v.Wait()
	require.NotZero(t, ex.Calls())
	require.NotContains(t, v.Dump("k"), "custom_kg document")
}

func TestCustomKG_Refuses(t *testing.T) {
	v := enginetest.New(t, engine.Options{MaxChunks: 3})
	kb := v.KB("k")
	long := strings.Repeat("x", 8193)
	for field, spoil := range map[string]func(*engine.CustomKG){
		"chunks":                       func(g *engine.CustomKG) { g.Chunks = nil },
		"chunks[0].content":            func(g *engine.CustomKG) { g.Chunks[0].Content = " \n" },
		"chunks[1].content":            func(g *engine.CustomKG) { g.Chunks[1].Content = strings.Repeat("x", 64<<10+1) },
		"chunks[1].chunk_order_index":  func(g *engine.CustomKG) { g.Chunks[1].Order = ptr(-1) },
		"chunks[0].file_path":          func(g *engine.CustomKG) { g.Chunks[0].FilePath = strings.Repeat("x", 1025) },
		"entities[0].entity_name":      func(g *engine.CustomKG) { g.Entities[0].Name = "" },
		"entities[1].description":      func(g *engine.CustomKG) { g.Entities[1].Description = long },
		"entities[1].entity_type":      func(g *engine.CustomKG) { g.Entities[1].Type = long },
		"entities[2].source_id":        func(g *engine.CustomKG) { g.Entities[2].SourceID = "a\nb" },
		"relationships[0].src_id":      func(g *engine.CustomKG) { g.Relationships[0].Source = long },
		"relationships[0].tgt_id":      func(g *engine.CustomKG) { g.Relationships[0].Target = "BABBAGE" },
		"relationships[1].weight":      func(g *engine.CustomKG) { g.Relationships[1].Weight = ptr(-1.0) },
		"relationships[1].keywords":    func(g *engine.CustomKG) { g.Relationships[1].Keywords = long },
		"relationships[1].description": func(g *engine.CustomKG) { g.Relationships[1].Description = long },
		"id":                           func(g *engine.CustomKG) { g.ID = "a/b" },
		"file_source":                  func(g *engine.CustomKG) { g.FileSource = "a\x00" },
		"metadata":                     func(g *engine.CustomKG) { g.Metadata = map[string]any{"x": strings.Repeat("x", 1<<20)} },
		"entities": func(g *engine.CustomKG) {
			for range 30 {
				g.Entities = append(g.Entities, engine.KGEntity{Name: "E", Description: strings.Repeat("y", 8000) + string(rune('a'+len(g.Entities)))})
			}
		},
	} {
		g := notes()
		spoil(&g)
		_, err := kb.ImportGraph(ctx, g)
		var f *engine.FieldError
		require.ErrorAs(t, err, &f, field)
		require.Equal(t, field, f.Field)
	}
	g := notes()
	g.Chunks = append(g.Chunks, g.Chunks...)
	_, err := kb.ImportGraph(ctx, g)
	require.ErrorContains(t, err, "1 to 3 are allowed")
	g.Chunks = g.Chunks[:3]
	g.Chunks[0].Content = strings.Repeat("word ", 13107)
	_, err = kb.ImportGraph(ctx, g)
	require.NoError(t, err, "at the bounds")
}

// A graph that is stopped in the middle goes on where it was.
func TestCustomKG_IsResumed(t *testing.T) {
	gate := enginetest.NewGate()
	em := &enginetest.Embedder{}
	em.Before = gate.Hold
	v := enginetest.New(t, engine.Options{Embedder: em, EmbedBatch: 1})
	g := notes()
	_, err := v.KB("k").ImportGraph(ctx, g)
	require.NoError(t, err)
	gate.Arrived()
	v.Options.Embedder = &enginetest.Embedder{}
	v.Restart()
	v.Wait()
	require.Equal(t, 2, entityOf(t, v.KB("k"), "Engine").Properties["degree"])
}
