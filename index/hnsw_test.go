package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// sets are vectors of the kinds that make graphs fail.
var sets = map[string]func(r *rand.Rand, n, dim int) (rows, queries [][]float32){
	"clusters": func(r *rand.Rand, n, dim int) (rows, queries [][]float32) {
		centres := many(n/100, func() []float32 { return randomVector(r, dim) })
		pick := func() []float32 { return near(r, centres[r.IntN(len(centres))], 0.8) }
		return many(n, pick), many(100, pick)
	},
	"near duplicates": func(r *rand.Rand, n, dim int) (rows, queries [][]float32) {
		centres := many(n/50, func() []float32 { return randomVector(r, dim) })
		pick := func() []float32 { return near(r, centres[r.IntN(len(centres))], 0.05) }
		return many(n, pick), many(100, pick)
	},
	"50 copies of each": func(r *rand.Rand, n, dim int) (rows, queries [][]float32) {
		centres := many(n/50, func() []float32 { return randomVector(r, dim) })
		for i := range n {
			rows = append(rows, centres[i%len(centres)])
		}
		return rows, many(100, func() []float32 { return near(r, centres[r.IntN(len(centres))], 0.3) })
	},
	"two copies of each": func(r *rand.Rand, n, dim int) (rows, queries [][]float32) {
		half := many(n/2, func() []float32 { return latent(r, dim) })
		return append(half, half...), many(100, func() []float32 { return latent(r, dim) })
	},
	"few directions": func(r *rand.Rand, n, dim int) (rows, queries [][]float32) {
		return many(n, func() []float32 { return latent(r, dim) }), many(100, func() []float32 { return latent(r, dim) })
	},
}

func many(n int, f func() []float32) [][]float32 {
	out := make([][]float32, n)
	for i := range out {
		out[i] = f()
	}
	return out
}

func near(r *rand.Rand, x []float32, sigma float64) []float32 {
	y := slices.Clone(x)
	for i := range y {
		y[i] += float32(sigma * r.NormFloat64())
	}
	return y
}

// latent is a vector most of whose length lies in a few directions, as that of a
// text does.
func latent(r *rand.Rand, dim int) []float32 {
	x := make([]float32, dim)
	for i := range x {
		x[i] = float32(r.NormFloat64() / (1 + float64(i)/4))
	}
	return x
}

// recallOf is the share of the k nearest that a search finds. What scores as much as
// one of them is one of them.
func recallOf(t *testing.T, v *Vectors, queries [][]float32, k int, keep func(uint32) bool) float64 {
	t.Helper()
	var found, all int
	for _, q := range queries {
		want, err := v.SearchExact(q, k, keep, nil)
		require.NoError(t, err)
		got, err := v.Search(q, k, keep, nil)
		require.NoError(t, err)
		require.Len(t, got, len(want))
		all += len(want)
		seen := map[uint32]bool{}
		for i, h := range got {
			require.False(t, seen[h.ID], "an id twice")
			seen[h.ID] = true
			require.True(t, keep == nil || keep(h.ID))
			s, ok := v.Similarity(q, h.ID)
			require.True(t, ok, "an id that is not there")
			require.Equal(t, s, h.Score)
			require.True(t, i == 0 || got[i-1].Score > h.Score || got[i-1].Score == h.Score && got[i-1].ID < h.ID, "order")
			if h.Score >= want[len(want)-1].Score {
				found++
			}
		}
	}
	return float64(found) / float64(all)
}

// A graph finds what a scan finds, but for two in a hundred: fresh, after deletes
// that wait for the rebuild and after it, under filters, with codes and without, for
// many hits and few.
func TestGraph_FindsWhatAScanFinds(t *testing.T) {
	n, dim := 4000, 32
	if raced {
		n = 1500
	}
	for name, set := range sets {
		all := []Options{{}}
		if name == "clusters" || name == "50 copies of each" {
			all = append(all, Options{Compact: true}, Options{Workers: 3})
		}
		if raced {
			all = all[1:]
		}
		for _, o := range all {
			t.Run(fmt.Sprintf("%s, compact %v, %d workers", name, o.Compact, o.Workers), func(t *testing.T) {
				r := rand.New(rand.NewPCG(20, 20))
				rows, queries := set(r, n, dim)
				o.From = 1000
				v := NewVectors(dim, o)
				defer v.Close()
				for i, x := range rows {
					require.NoError(t, v.Set(uint32(i), x))
				}
				v.Tend()
				v.Settle()
				require.True(t, v.Stats().Graph)
				require.Less(t, v.Stats().Tail, batchRows)
				check := func(when string, keep func(uint32) bool) {
					t.Helper()
					for k, floor := range map[int]float64{1: 0.95, 10: 0.98, 100: 0.98} {
						got := recallOf(t, v, queries, k, keep)
						require.GreaterOrEqual(t, got, floor, "%s, %d hits, seed 20, %+v", when, k, v.Stats())
					}
				}
				check("fresh", nil)
				check("half is let through", func(id uint32) bool { return id%2 == 0 })
				check("a tenth is let through", func(id uint32) bool { return id%10 == 3 })
				for _, share := range []int{10, 50, 90} {
					for id := range uint32(n) {
						if int(id*7919%100) < share {
							v.Delete(id)
						}
					}
					check(fmt.Sprintf("%d%% deleted", share), nil)
					v.Settle()
					check(fmt.Sprintf("%d%% deleted, settled", share), nil)
				}
			})
		}
	}
}

// Every row can be walked to, or is equal to one that can.
func TestGraph_Reach(t *testing.T) {
	const n = 4000
	oneGoroutine(t)
	for name, set := range sets {
		r := rand.New(rand.NewPCG(21, 21))
		rows, _ := set(r, n, 32)
		v := NewVectors(32, Options{From: 1})
		for i, x := range rows {
			require.NoError(t, v.Set(uint32(i), x))
		}
		v.Tend()
		v.Settle()
		v.Close()
		h := v.view.Load().walk.graph()
		seen, reached := 0, h.reached()
		for row := range uint32(h.n) {
			if reached[row/64]>>(row%64)&1 == 1 || h.record(row)[0] == isTwin {
				seen++
			}
		}
		t.Logf("%s: %d of %d, ef %d, measured %.4f", name, seen, h.n, h.ef.Ten, h.ef.Recall)
		require.Equal(t, h.n, seen, name)
		require.LessOrEqual(t, h.ef.Ten, uint32(512), "a graph without diverse links has to be walked whole")
		if name == "50 copies of each" {
			nodes := 0
			for row := range uint32(h.n) {
				if h.record(row)[0] != isTwin {
					nodes++
				}
			}
			require.Equal(t, n/50, nodes, "equal rows are one node")
		}
	}
}

// A vector is found as soon as it is set, though it is not in the graph yet, and its
// old one is not.
func TestGraph_NewVectorsAreFoundAtOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(22, 22))
	const dim = 32
	rows := many(4000, func() []float32 { return latent(r, dim) })
	v := settled(t, Options{From: 1000}, rows, numbers(len(rows)))
	v.view.Load().walk.graph().ef.PerEf = 0 // walked, whatever it costs
	for i := range uint32(batchRows / 2) {
		x := latent(r, dim)
		id := i * 60 // known ones and new ones
		require.NoError(t, v.Set(id, x))
		w, s := v.view.Load(), new(scratch)
		require.True(t, s.takes(&w.rowStore, x))
		top := best{k: 1}
		require.True(t, w.walked(s, nil, &top), "a walk")
		require.Equal(t, []uint32{id}, idsOf(top.hits))
		if i < 60 {
			hits, err := v.Search(rows[id], 1, nil, nil)
			require.NoError(t, err)
			require.NotEqual(t, id, hits[0].ID)
		}
	}
	require.Equal(t, batchRows/2, v.Stats().Tail)
}
