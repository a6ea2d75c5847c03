package bench_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/bench"
	"alcove/engine/builtin"
)

// Two runs agree in everything but times; a scan finds all, a graph nearly all,
// and nothing finds what was deleted.
func TestANN_Repeats(t *testing.T) {
	set := bench.Set{Name: "own"}
	for i := range 60 {
		set.Passages = append(set.Passages, bench.Passage{ID: fmt.Sprint(i), Title: fmt.Sprintf("Harbour %d", i),
			Text: fmt.Sprintf("The keeper of lighthouse %d wrote to the council. In %d it answered him. His %dth letter is lost.", i, 1700+i, i*7)})
		set.Questions = append(set.Questions, bench.Question{ID: fmt.Sprint(i), Question: fmt.Sprintf("Who wrote to the council in %d?", 1700+i)})
	}
	run := func() []bench.ANNRow {
		rows, err := bench.ANN(context.Background(), bench.ANNOptions{
			Embedder: builtin.Embedder(), Sets: []bench.Set{set}, Sizes: []int{1500}, Modes: []string{"exact", "own", "int8"}, Queries: 80, Dim: 32, Seed: 3,
		})
		require.NoError(t, err)
		require.Len(t, rows, 3*len(bench.ANNKinds))
		for i := range rows {
			r := &rows[i]
			r.Build, r.QPS, r.P50, r.P99, r.Allocs = 0, 0, 0, 0, 0
			floor := map[string]float64{"exact": 1, "own": 0.98, "int8": 0.9}[r.Mode]
			if r.Mode == "int8" && r.Kind == "near-duplicates" {
				floor = 0.3 // a byte a value does not tell them apart
			}
			require.GreaterOrEqual(t, r.Recall, floor, "%+v", r)
			require.Len(t, r.After, 3)
			for _, d := range r.After {
				require.Zero(t, d.Deleted)
				require.GreaterOrEqual(t, d.Recall, floor, "%+v", r)
			}
		}
		return rows
	}
	first, second := run(), run()
	for i := range first {
		require.Equal(t, first[i], second[i])
	}
}
