package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// What a search keeps of what it read is never other than what the store says,
// whatever becomes of the documents between two searches: replaced, deleted, read
// again in place, and its names taken away by people.
func TestSayings_NeverStale(t *testing.T) {
	const seed = 7
	r := rand.New(rand.NewPCG(seed, 0))
	var failing atomic.Bool
	ex := &enginetest.Extractor{}
	ex.Before = func(_ context.Context, n int, _ string) error {
		if failing.Load() && n%2 == 0 {
			return fmt.Errorf("%w: unsafe", engine.ErrModelRefused)
		}
		return nil
	}
	v := enginetest.New(t, small(engine.Options{Extractor: ex, Chatter: answering, Workers: 2}))
	kb := v.KB("k")
	kept, partial := 0, 0
	for i := range 60 {
		id := string(rune('a' + r.IntN(6)))
		in := engine.DocumentInput{ID: id, FilePath: id + ".txt", Content: []byte(long(fmt.Sprintf("Part%d", r.IntN(4)), 1+r.IntN(4)))}
		failing.Store(r.IntN(3) == 0)
		switch r.IntN(5) {
		case 0, 1:
			if _, err := kb.Update(ctx, id, in); err != nil {
				_, err = kb.Add(ctx, []engine.DocumentInput{in}, "insert")
				require.NoError(t, err)
			}
		case 2:
			failing.Store(false)
			_, _ = kb.Retry(ctx, id)
		case 3:
			_, _ = kb.Delete(ctx, []string{id}, false) // refused where there is none
		case 4: // refused where nothing is called so
			_ = kb.DeleteEntity(ctx, fmt.Sprintf("Part%d0", r.IntN(4)), nil)
		}
		v.Wait()
		for _, mode := range []engine.Mode{engine.ModeLocal, engine.ModeGlobal, engine.ModeMix} {
			_, err := kb.QueryData(ctx, engine.Query{Query: fmt.Sprintf("Does Here come before Part%d0, and what is a word?", r.IntN(4)), Mode: mode})
			require.NoError(t, err)
			n, bytes, stale, err := engine.Kept(v.Engine, v.Space(enginetest.Tenant, "k", tenancy.PermKBAccess))
			require.NoError(t, err)
			require.Empty(t, stale, "seed %d, step %d, mode %s", seed, i, mode)
			require.Equal(t, n > 0, bytes > 0)
			kept = max(kept, n)
		}
		if d, err := kb.Document(ctx, id); err == nil && d.Status == engine.StatusPartial {
			partial++
		}
	}
	require.Greater(t, kept, 4)
	require.Positive(t, partial)
}

// What is kept stays within its bytes; what was used last stays, and one that would
// push out too much is not kept at all.
func TestSayings_Bound(t *testing.T) {
	for _, c := range []struct {
		most        int64
		chunks, has []uint32
	}{
		{30_000, []uint32{1, 2, 3}, []uint32{1, 2, 3}},
		{3000, []uint32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 11}, []uint32{1, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
		{2999, []uint32{1, 2}, nil},
	} {
		has, bytes := engine.Sayings(c.most, c.chunks...)
		require.Equal(t, c.has, has)
		require.EqualValues(t, 300*len(has), bytes)
	}
}
