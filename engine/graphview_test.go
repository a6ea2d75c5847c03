package engine_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
)

// letters is a base with Ada - Babbage - Engine - London in a row and Turin apart.
func letters(t *testing.T) *engine.KB {
	t.Helper()
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}})
	v.Add("k",
		"a", "entity|Ada Lovelace|person|She wrote notes.\nentity|Babbage|person|He built engines.\nrelation|Ada Lovelace|Babbage|letters, friends|They wrote letters.|2\n",
		"b", "entity|ada lovelace|person|She translated.\nrelation|Babbage|Engine|builds|He designed it.|1\nrelation|Babbage|Ada Lovelace|letters|He answered.|1\n",
		"c", "relation|Engine|London|place|It stands there.|1\nentity|Turin|place|A town.\n")
	v.Wait()
	return v.KB("k")
}

// Nodes and edges have LightRAG's shape; an entity is shown as it is written most.
func TestGraph_Shape(t *testing.T) {
	kb := letters(t)
	g, err := kb.Graph(ctx, engine.GraphRequest{Label: "ADA LOVELACE", MaxDepth: 1})
	require.NoError(t, err)
	require.False(t, g.IsTruncated)
	require.Len(t, g.Nodes, 2)
	require.Equal(t, engine.GraphNode{ID: "Ada Lovelace", Labels: []string{"Ada Lovelace"}, Properties: map[string]any{
		"entity_id": "Ada Lovelace", "entity_type": "person", "description": "She translated.<SEP>She wrote notes.",
		"source_id": g.Nodes[0].Properties["source_id"], "file_path": g.Nodes[0].Properties["file_path"], "degree": 1, "mentions": 2,
	}}, func() engine.GraphNode {
		n := g.Nodes[0]
		d := strings.Split(n.Properties["description"].(string), "<SEP>")
		require.ElementsMatch(t, []string{"She wrote notes.", "She translated."}, d)
		n.Properties["description"] = "She translated.<SEP>She wrote notes."
		return n
	}())
	require.ElementsMatch(t, []string{"a.txt", "b.txt"}, strings.Split(g.Nodes[0].Properties["file_path"].(string), "<SEP>"))
	require.ElementsMatch(t, []string{"a-chunk-000", "b-chunk-000"}, strings.Split(g.Nodes[0].Properties["source_id"].(string), "<SEP>"))
	require.Len(t, g.Edges, 1)
	e := g.Edges[0]
	require.Equal(t, []string{"Ada Lovelace-Babbage", "DIRECTED", "Ada Lovelace", "Babbage"}, []string{e.ID, e.Type, e.Source, e.Target}, "most of the weight points this way")
	require.Equal(t, 3.0, e.Properties["weight"])
	require.Equal(t, "friends,letters", e.Properties["keywords"])
	require.ElementsMatch(t, []string{"They wrote letters.", "He answered."}, strings.Split(e.Properties["description"].(string), "<SEP>"))

	n, err := kb.Entity(ctx, "london", nil)
	require.NoError(t, err)
	require.Equal(t, "London", n.ID)
	require.Equal(t, "UNKNOWN", n.Properties["entity_type"], "known only as the end of a relation")
	require.Equal(t, "It stands there.", n.Properties["description"])
}

func TestGraph_Reach(t *testing.T) {
	kb := letters(t)
	ids := func(g *engine.Subgraph) (out []string) {
		for _, n := range g.Nodes {
			out = append(out, n.ID)
		}
		return out
	}
	for _, c := range []struct {
		q         engine.GraphRequest
		want      []string
		truncated bool
	}{
		{engine.GraphRequest{Label: "Ada Lovelace", MaxDepth: 1}, []string{"Ada Lovelace", "Babbage"}, false},
		{engine.GraphRequest{Label: "Ada Lovelace", MaxDepth: 2}, []string{"Ada Lovelace", "Babbage", "Engine"}, false},
		{engine.GraphRequest{Label: "Ada Lovelace"}, []string{"Ada Lovelace", "Babbage", "Engine", "London"}, false},
		{engine.GraphRequest{Label: "Ada Lovelace", MaxNodes: 2}, []string{"Ada Lovelace", "Babbage"}, true},
		{engine.GraphRequest{Label: "Turin"}, []string{"Turin"}, false},
		{engine.GraphRequest{Label: "*", MaxNodes: 2}, []string{"Babbage", "Engine"}, true},
		{engine.GraphRequest{}, []string{"Babbage", "Engine", "Ada Lovelace", "London", "Turin"}, false},
	} {
		g, err := kb.Graph(ctx, c.q)
		require.NoError(t, err)
		require.Equal(t, c.want, ids(g), "%+v", c.q)
		require.Equal(t, c.truncated, g.IsTruncated, "%+v", c.q)
	}
	p, err := kb.Path(ctx, "London", "Ada Lovelace", nil)
	require.NoError(t, err)
	require.True(t, p.Found)
	require.Len(t, p.Nodes, 4)
	require.Len(t, p.Edges, 3)
	p, err = kb.Path(ctx, "London", "Turin", nil)
	require.NoError(t, err)
	require.False(t, p.Found)
	require.NotNil(t, p.Nodes)
	require.NotNil(t, p.Edges)
}

func TestGraph_Labels(t *testing.T) {
	kb := letters(t)
	for q, want := range map[string][]string{
		"":     {"Ada Lovelace", "Babbage", "Engine", "London", "Turin"},
		"LO":   {"London", "Ada Lovelace"},
		"zzz":  {},
		"turi": {"Turin"},
	} {
		got, err := kb.Labels(ctx, q, 0, nil)
		require.NoError(t, err)
		require.Equal(t, want, got, "%q", q)
	}
	got, err := kb.Labels(ctx, "", 2, nil)
	require.NoError(t, err)
	require.Len(t, got, 2)
	top, err := kb.PopularLabels(ctx, 3, nil)
	require.NoError(t, err)
	require.Equal(t, []engine.GraphLabel{{Label: "Babbage", Degree: 2}, {Label: "Engine", Degree: 2}, {Label: "Ada Lovelace", Degree: 1}}, top)
}

func TestGraph_Refuses(t *testing.T) {
	kb := letters(t)
	graph := func(q engine.GraphRequest) error { _, err := kb.Graph(ctx, q); return err }
	entity := func(name string) error { _, err := kb.Entity(ctx, name, nil); return err }
	path := func(a, b string) error { _, err := kb.Path(ctx, a, b, nil); return err }
	labels := func(q string, n int) error { _, err := kb.Labels(ctx, q, n, nil); return err }
	popular := func(n int) error { _, err := kb.PopularLabels(ctx, n, nil); return err }
	for _, err := range []error{graph(engine.GraphRequest{Label: "Nobody"}), entity("Nobody"), path("Nobody", "Turin"), path("Turin", "Nobody")} {
		require.ErrorIs(t, err, engine.ErrNotFound)
		require.ErrorContains(t, err, "Nobody")
	}
	for _, x := range []struct {
		field string
		err   error
	}{
		{"max_depth", graph(engine.GraphRequest{MaxDepth: 11})}, {"max_depth", graph(engine.GraphRequest{MaxDepth: -1})},
		{"max_nodes", graph(engine.GraphRequest{MaxNodes: 10_001})}, {"max_nodes", graph(engine.GraphRequest{MaxNodes: -1})},
		{"label", graph(engine.GraphRequest{Label: strings.Repeat("x", 1025)})},
		{"name", entity("")}, {"name", entity(strings.Repeat("x", 1025))},
		{"from", path("", "Turin")}, {"to", path("Turin", "")},
		{"limit", labels("", 1001)}, {"limit", labels("", -1)}, {"limit", popular(1001)}, {"q", labels(strings.Repeat("x", 1025), 0)},
	} {
		var f *engine.FieldError
		require.ErrorAs(t, x.err, &f)
		require.Equal(t, x.field, f.Field)
	}
	require.NoError(t, graph(engine.GraphRequest{MaxDepth: 10, MaxNodes: 10_000}))
	require.NoError(t, labels("", 1000))
}
