package index

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// operations is how many a churn does: some thousands, or INDEX_OPERATIONS.
func operations(t *testing.T, few int) int {
	s := os.Getenv("INDEX_OPERATIONS")
	if s == "" {
		if raced {
			few /= 10
		}
		return few
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}

// oneGoroutine leaves a long test out under the race detector, which has nothing to see
// in it.
func oneGoroutine(t *testing.T) {
	t.Helper()
	if raced {
		t.Skip("is of one goroutine")
	}
}

// A space is changed without end while others search it, and graphs are made,
// grown, snapshot and thrown away behind them. The one who changes it never
// finds what it deleted, nor an old vector of what it replaced; the others never find
// an id twice, an id that never was, hits out of order, or miss a vector that stays.
func TestVectors_Churn(t *testing.T) {
	for _, o := range []Options{{From: 400}, {From: 400, Workers: 2, Compact: true}, {From: 400, Backend: Coder}} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			ops := operations(t, 24_000) / 3
			if o.Backend == Coder {
				if coderCheck() != nil {
					t.Skip("not on this system")
				}
				ops /= 4 // each takes four times as long
			}
			const seed, dim, ids, stay = 40, 12, 1500, 20
			r := rand.New(rand.NewPCG(seed, seed))
			pool := many(700, func() []float32 { return latent(r, dim) }) // so that many are equal
			v := NewVectors(dim, o)
			v.Tend()
			model := map[uint32]int{}
			set := func(id uint32, p int) {
				require.NoError(t, v.Set(id, pool[p]))
				model[id] = p
			}
			for id := range uint32(ids / 2) {
				set(id, int(id)%len(pool))
			}
			v.Settle()
			var stop atomic.Bool
			var readers sync.WaitGroup
			for n := range 2 {
				readers.Go(func() {
					r := rand.New(rand.NewPCG(seed, uint64(n)))
					for !stop.Load() {
						search, of := v.Search, uint32(r.IntN(stay))
						if n == 0 {
							search = v.SearchExact
						}
						k := 1 + r.IntN(30)
						hits, err := search(pool[of], k, nil, nil)
						if err != nil {
							t.Error(err)
							return
						}
						seen, found := map[uint32]bool{}, false
						for i, h := range hits {
							found = found || h.ID == of
							if seen[h.ID] || h.ID >= ids || i > 0 && (hits[i-1].Score < h.Score || hits[i-1].Score == h.Score && hits[i-1].ID > h.ID) {
								t.Errorf("reader: %v", hits)
								return
							}
							seen[h.ID] = true
						}
						// Ties go to the smaller id, and the ids that stay are the smallest.
						if n == 0 && !found {
							t.Errorf("reader: %d is not found: %v", of, hits)
							return
						}
						v.Vector(uint32(r.IntN(ids)))
						v.Similarity(pool[of], uint32(r.IntN(ids)))
						v.Bytes()
						if r.IntN(200) == 0 {
							var b bytes.Buffer
							if _, err := v.Snapshot(&b); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			most := ids // of ids in use: grows and shrinks, so that graphs come and go
			walks, scans := 0, 0
			for i := range ops {
				switch i % (ops / 4) {
				case 0:
					most = ids
				case ops / 8:
					most = stay + r.IntN(100)
				}
				any := func() uint32 { return uint32(stay + r.IntN(ids-stay)) }
				switch x := r.IntN(10); {
				case x < 5 && len(model) < most:
					for range 6 {
						set(any(), r.IntN(len(pool)))
					}
				case x < 6, len(model) > most+50 && x < 9:
					for range 8 {
						id := any()
						_, there := model[id]
						require.Equal(t, there, v.Delete(id))
						delete(model, id)
					}
				default:
					q := pool[r.IntN(len(pool))]
					var keep func(uint32) bool
					if r.IntN(3) == 0 {
						keep = func(id uint32) bool { return id%3 != 0 }
					}
					if v.Stats().Graph {
						walks++
					} else {
						scans++
					}
					hits, err := v.Search(q, 1+r.IntN(20), keep, nil)
					require.NoError(t, err)
					for _, h := range hits {
						p, there := model[h.ID]
						require.True(t, there, "deleted id %d found at %d, seed %d", h.ID, i, seed)
						require.InDelta(t, cosine64(q, pool[p]), h.Score, 0.02, "an old vector of id %d at %d, seed %d", h.ID, i, seed)
					}
				}
				if i%(ops/8) == ops/16 {
					v.Settle()
				}
				if t.Failed() {
					break
				}
			}
			stop.Store(true)
			readers.Wait()
			if !raced { // too few operations for a graph to come and to go
				require.Positive(t, walks)
				require.Positive(t, scans)
			}
			v.Settle()
			require.Equal(t, len(model), v.Len())
			if !o.Compact {
				require.GreaterOrEqual(t, recallOf(t, v, pool[:100], 10, nil), 0.98)
			}
			for id, p := range model {
				s, ok := v.Similarity(pool[p], id)
				require.True(t, ok)
				require.InDelta(t, 1, s, 0.02)
			}
			v.Close()
			for id := range model {
				require.True(t, v.Delete(id))
			}
			require.Less(t, v.Bytes(), int64(1<<10), "all is given back, though the upkeep has ended")
		})
	}
}

// Close waits for the upkeep and ends it; the space goes on without.
func TestVectors_CloseEndsAGraphHalfMade(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 41))
	v := NewVectors(64, Options{From: 1000})
	for id := range uint32(5000) {
		require.NoError(t, v.Set(id, randomVector(r, 64)))
	}
	v.Tend()
	v.Close()
	v.Close()
	v.Settle()
	require.NoError(t, v.Set(9, randomVector(r, 64)))
	require.Equal(t, 1., recallOf(t, v, many(3, func() []float32 { return randomVector(r, 64) }), 10, nil))
}
