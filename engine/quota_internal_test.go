package engine

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// However names come and go, and whenever they are counted, what is known without a
// count is never less than there are, and no more than the sums.
func TestNameRoom_NeverTooFew(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var st kbState
		docs := map[int][]int64{}
		real := func() int64 {
			all := map[int64]bool{}
			for _, names := range docs {
				for _, n := range names {
					all[n] = true
				}
			}
			return int64(len(all))
		}
		closer := 0
		for step := range 60 {
			switch d := r.IntN(12); r.IntN(4) {
			case 0: // gone, as in withdraw
				st.Named.add(-len(docs[d]), 0)
				delete(docs, d)
			case 1: // counted
				st.Room = &nameRoom{Have: nameCount{Entities: real()}, Added: st.Added}
			default: // new or another version, as in ingest.name
				names := map[int64]bool{}
				for range 1 + r.IntN(6) {
					names[r.Int64N(15)] = true
				}
				var list []int64
				for n := range names {
					list = append(list, n)
				}
				st.Named.add(len(list)-len(docs[d]), 0)
				st.Added.add(len(list), 0)
				docs[d] = list
			}
			got := st.names().Entities
			require.GreaterOrEqual(t, got, real(), "seed %d, step %d", seed, step)
			require.LessOrEqual(t, got, st.Named.Entities)
			if got < st.Named.Entities {
				closer++
			}
		}
		require.Positive(t, closer, "a count is never of use, seed %d", seed)
	}
}
