package bench

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// Both stores hold the same graph and come to the same entities; what is no time is
// the same in a second run.
func TestGraph_SameGraphInBoth(t *testing.T) {
	run := func() []GraphRow {
		rows, err := Graph(context.Background(), GraphOptions{Sizes: []int{400, 1000}, Baseline: 400, Queries: 50, Seed: 1})
		require.NoError(t, err)
		require.Len(t, rows, 3)
		require.Equal(t, []string{"adjacency", "memstore", "adjacency"}, []string{rows[0].Store, rows[1].Store, rows[2].Store})
		for i := range rows {
			r := &rows[i]
			require.Positive(t, r.OneHop)
			require.Positive(t, r.Delete)
			r.LoadMS, r.Heap, r.OneHop, r.TwoHops, r.Capped, r.Path, r.Delete, r.DeleteTop = 0, 0, 0, 0, 0, 0, 0, 0
		}
		require.Equal(t, rows[0].Within, rows[1].Within)
		require.Greater(t, rows[0].Within, 5.0)
		return rows
	}
	require.Equal(t, run(), run())
	_, err := Graph(context.Background(), GraphOptions{Sizes: []int{10}})
	require.Error(t, err)
}
