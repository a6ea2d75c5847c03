package engine_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
)

func walk(start string, steps ...engine.GraphStep) *engine.GraphWalk {
	return &engine.GraphWalk{Start: []string{start}, Steps: steps}
}

// Names are looked up as users write them, merged ones too, and shown as they
// are written most.
func TestQueryGraph(t *testing.T) {
	kb := letters(t)
	both := engine.GraphStep{Follow: "both"}
	ask := func(w *engine.GraphWalk, limit int) (string, bool) {
		f, err := kb.QueryGraph(ctx, engine.GraphQuery{GraphWalk: *w, Limit: limit})
		require.NoError(t, err)
		var names []string
		for _, e := range f.Entities {
			names = append(names, e.Label)
		}
		return strings.Join(names, ", "), f.IsTruncated
	}
	for _, c := range []struct {
		w     *engine.GraphWalk
		limit int
		want  string
		cut   bool
	}{
		{walk("BABBAGE", both), 0, "Engine, Ada Lovelace", false},
		{walk("babbage", both), 1, "Engine", true},
		{walk("Ada  Lovelace", engine.GraphStep{Follow: "out", Hops: 3}), 0, "Babbage, Engine, London", false},
		{walk("London", engine.GraphStep{Follow: "in", Hops: 2}, engine.GraphStep{Except: walk("Engine")}), 0, "Babbage", false},
		{walk("Babbage", both, engine.GraphStep{And: walk("London", both)}, engine.GraphStep{Or: walk("Turin")}), 0, "Engine, Turin", false},
		{walk("Nobody", both), 0, "", false},
	} {
		got, cut := ask(c.w, c.limit)
		require.Equal(t, c.want, got, "%+v", c.w)
		require.Equal(t, c.cut, cut)
	}
	_, err := kb.Merge(ctx, engine.MergeRequest{Change: []string{"Turin"}, Into: "London"})
	require.NoError(t, err)
	got, _ := ask(walk("Turin", both), 0)
	require.Equal(t, "Engine", got, "another name of London")

	for field, q := range map[string]engine.GraphQuery{
		"start":                 {GraphWalk: engine.GraphWalk{Steps: []engine.GraphStep{both}}},
		"start[0]":              {GraphWalk: *walk(strings.Repeat("x", 1025), both)},
		"steps":                 {GraphWalk: *walk("a")},
		"steps[0]":              {GraphWalk: *walk("a", engine.GraphStep{})},
		"steps[0].follow":       {GraphWalk: *walk("a", engine.GraphStep{Follow: "up"})},
		"steps[1].hops":         {GraphWalk: *walk("a", both, engine.GraphStep{Follow: "in", Hops: 9})},
		"steps[0].or.start":     {GraphWalk: *walk("a", engine.GraphStep{Or: &engine.GraphWalk{}})},
		"steps[0].and.start[0]": {GraphWalk: *walk("a", engine.GraphStep{And: walk("")})},
		"limit":                 {GraphWalk: *walk("a", both), Limit: 10_001},
	} {
		_, err := kb.QueryGraph(ctx, q)
		var f *engine.FieldError
		require.ErrorAs(t, err, &f, field)
		require.Equal(t, field, f.Field)
		require.ErrorIs(t, err, engine.ErrBadInput)
	}
}

// What is near ranks before what is far, the heavier relation first.
func TestRelated(t *testing.T) {
	kb := letters(t)
	r, err := kb.Related(ctx, engine.RelatedRequest{Name: "babbage"})
	require.NoError(t, err)
	var names []string
	for i, e := range r.Related {
		names = append(names, e.Label)
		require.Positive(t, e.Score)
		require.True(t, i == 0 || r.Related[i-1].Score >= e.Score)
	}
	require.Equal(t, "Babbage", r.Entity)
	require.Equal(t, []string{"Ada Lovelace", "Engine", "London"}, names)
	require.LessOrEqual(t, r.ErrorBound, 1e-5)
	require.False(t, r.IsTruncated)
	r, err = kb.Related(ctx, engine.RelatedRequest{Name: "babbage", Limit: 2})
	require.NoError(t, err)
	require.Len(t, r.Related, 2)
	require.True(t, r.IsTruncated)
	_, err = kb.Related(ctx, engine.RelatedRequest{Name: "Nobody"})
	require.ErrorIs(t, err, engine.ErrNotFound)
	for _, q := range []engine.RelatedRequest{{Name: "", Limit: 1}, {Name: "Babbage", Limit: 1001}, {Name: "Babbage", Limit: -1}} {
		_, err = kb.Related(ctx, q)
		require.ErrorIs(t, err, engine.ErrBadInput)
	}
}
