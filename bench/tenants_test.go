package bench_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/bench"
)

// A knowledge base is deleted under callers at every door: nobody is let in after the
// answer, no write of others fails, and the workload ends when its last record is gone.
func TestDrop(t *testing.T) {
	r, err := bench.Drop(t.Context(), bench.DropOptions{
		Engine: options(), Keys: 3000, Rate: 200, Tenants: 2, Before: 50 * time.Millisecond, Settle: time.Millisecond,
	})
	require.NoError(t, err)
	require.Len(t, r.Doors, 5)
	require.Zero(t, r.Late)
	for _, w := range []bench.Writing{r.Before, r.During, r.After} {
		require.NotZero(t, w.Writes)
		require.Zero(t, w.Failed)
	}
	require.Positive(t, r.Cleaning)
}

// The bytes of one knowledge base are the same alone and beside others, which bring their
// own; both stores are asked the same requests.
func TestOverhead(t *testing.T) {
	set := bench.Set{Name: "made up"}
	for i := range 20 {
		set.Passages = append(set.Passages, bench.Passage{ID: fmt.Sprint("d", i), Text: fmt.Sprintf("Ada number %d wrote to Babbage about the engine.", i)})
		set.Questions = append(set.Questions, bench.Question{ID: fmt.Sprint("q", i), Question: fmt.Sprintf("What did Ada number %d write?", i)})
	}
	r, err := bench.Overhead(t.Context(), bench.OverheadOptions{Engine: options(), Set: set, Others: 3, Each: 2, Rounds: 1})
	require.NoError(t, err)
	require.Equal(t, 20, r.Documents)
	require.Greater(t, r.Beside.Payload, r.Alone.Payload)
	require.InDelta(t, 30, r.Alone.Counters, 0)
	require.InDelta(t, 4*30, r.Beside.Counters, 0)
	require.InDelta(t, r.Alone.Records*9, r.Alone.Prefixes, 0)
	require.Positive(t, r.Share)
	require.Len(t, r.Rows, 3)
	for _, row := range r.Rows {
		require.Equal(t, 18, row.Asked, row.Request)
		require.Positive(t, row.RatioP50)
	}
}
