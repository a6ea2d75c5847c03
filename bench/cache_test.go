package bench_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/bench"
	"alcove/engine"
)

func smallSet() bench.Set {
	s := bench.Set{Name: "small"}
	for i := range 40 {
		s.Passages = append(s.Passages, bench.Passage{ID: fmt.Sprint("p", i), Title: fmt.Sprintf("Harbour %d", i), Text: fmt.Sprintf("Harbour %d was built in %d by Mia Brandt and Ada Lovelace in Turin.", i, 1800+i)})
	}
	for i := range 8 {
		s.Questions = append(s.Questions, bench.Question{ID: fmt.Sprint("q", i), Question: fmt.Sprintf("Who built Harbour %d with Ada Lovelace?", i)})
	}
	return s
}

// A cold start answers as the base did that was filled, in every mode, and a set that is
// too small for a size is repeated.
func TestCold(t *testing.T) {
	rows, err := bench.Cold(t.Context(), bench.ColdOptions{Engine: options(), Set: smallSet(), Sizes: []int{50}, Runs: 2})
	require.NoError(t, err)
	require.Len(t, rows, 2)
	for _, r := range rows {
		require.Zero(t, r.Wrong, r.Mode)
		require.Equal(t, 50, r.Chunks)
		require.Positive(t, r.Relations)
		require.Equal(t, r.Bytes, r.VectorBytes+r.WordBytes+r.GraphBytes+r.TableBytes)
		require.GreaterOrEqual(t, r.PerVector, float64(r.Least))
	}
	require.Equal(t, []engine.Mode{engine.ModeNaive, engine.ModeMix}, []engine.Mode{rows[0].Mode, rows[1].Mode})
}

// Under a budget for half of them every answer is right, none fails, and what is not
// asked again makes room; the traffic is a function of the seed.
func TestEvict(t *testing.T) {
	run := func(budget int64) bench.EvictResult {
		r, err := bench.Evict(t.Context(), bench.EvictOptions{Engine: options(), Set: smallSet(), KBs: 8, Least: 2, Most: 20, Queries: 100, Clients: 1, Budget: budget, Seed: 3})
		require.NoError(t, err)
		require.Zero(t, r.Wrong)
		require.Zero(t, r.Errors)
		return r
	}
	all := run(1 << 30)
	require.Zero(t, all.Evictions)
	require.EqualValues(t, all.Asked, all.Loads)
	require.InDelta(t, 1-float64(all.Asked)/100, all.HitRate, 1e-9)
	half := run(all.Needed / 2)
	require.Positive(t, half.Evictions)
	require.Less(t, half.HitRate, all.HitRate)
	again := run(all.Needed / 2)
	require.Equal(t, []any{half.Asked, half.Needed, half.Passages}, []any{again.Asked, again.Needed, again.Passages})
}
