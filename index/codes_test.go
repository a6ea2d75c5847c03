package index

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// plainSearch is the search without codes: what Search must give to the bit.
func plainSearch(t *testing.T, v *Vectors, q []float32, k int, keep func(uint32) bool, less func(a, b uint32) bool) []Hit {
	t.Helper()
	w, s := v.view.Load(), new(scratch)
	require.True(t, s.takes(&w.rowStore, q))
	top := best{k: min(k, v.Len()), less: less}
	w.scanRows(s, keep, 0, &top)
	return top.sorted()
}

// A search by codes gives the hits of a search by rows and their scores, to the
// bit: among vectors far apart, nearly equal and equal, with large and small
// values side by side, after deletes, under filters.
func TestVectors_CodesChangeNoAnswer(t *testing.T) {
	if !coded {
		t.Skip("no codes on this processor")
	}
	kinds := map[string]func(r *rand.Rand, dim int, pool [][]float32) []float32{
		"far apart": func(r *rand.Rand, dim int, _ [][]float32) []float32 { return randomVector(r, dim) },
		"near each other": func(r *rand.Rand, dim int, pool [][]float32) []float32 {
			x := append([]float32(nil), pool[r.IntN(3)]...)
			for i := range x {
				x[i] += float32(r.NormFloat64()) * 1e-4
			}
			return x
		},
		"equal": func(r *rand.Rand, _ int, pool [][]float32) []float32 { return pool[r.IntN(len(pool))] },
		"one value outweighs": func(r *rand.Rand, dim int, _ [][]float32) []float32 {
			x := randomVector(r, dim)
			x[r.IntN(dim)] *= float32(math.Pow(10, float64(r.IntN(6))))
			return x
		},
		"all but one below half a code": func(r *rand.Rand, dim int, _ [][]float32) []float32 {
			x := make([]float32, dim)
			for i := range x {
				x[i] = float32(r.Float64()) * 0.003
			}
			x[0] = 1
			return x
		},
	}
	backwards := func(a, b uint32) bool { return a > b }
	for name, vector := range kinds {
		for _, dim := range []int{2, 31, 33, 384, 1100} {
			t.Run(fmt.Sprintf("%s, dim %d", name, dim), func(t *testing.T) {
				r := rand.New(rand.NewPCG(8, uint64(dim)))
				pool := make([][]float32, 40)
				for i := range pool {
					pool[i] = randomVector(r, dim)
				}
				v := NewVectors(dim, Options{})
				for id := range uint32(2500) {
					require.NoError(t, v.Set(id, vector(r, dim, pool)))
				}
				for range 500 {
					v.Delete(uint32(r.IntN(2500)))
				}
				for i := range 20 {
					q := vector(r, dim, pool)
					k := []int{1, 10, 60, v.Len() / 8}[i%4]
					var keep func(uint32) bool
					if n := uint32(i % 3); n > 0 {
						keep = func(id uint32) bool { return id/7%(3*n) == 0 }
					}
					less := backwards
					if i%2 == 0 {
						less = nil
					}
					hits, err := v.Search(q, k, keep, less)
					require.NoError(t, err)
					require.Equal(t, plainSearch(t, v, q, k, keep, less), hits)
				}
			})
		}
	}
}

// The codes of a row bound its product with any query, with room to spare but
// not much: a bound that is too wide reads every row.
func TestCoarse_Bounds(t *testing.T) {
	if !coded {
		t.Skip("no codes on this processor")
	}
	r := rand.New(rand.NewPCG(9, 9))
	const dim, n = 384, 20_000
	v := NewVectors(dim, Options{})
	for id := range uint32(n) {
		require.NoError(t, v.Set(id, randomVector(r, dim)))
	}
	q := randomVector(r, dim)
	w, sc := v.view.Load(), new(scratch)
	require.True(t, sc.takes(&w.rowStore, q))
	var c coarse
	c.reset(sc, n) // nothing is left out
	w.coarse(&c, 0, n, nil)
	require.Len(t, c.left, n)
	for _, x := range c.left {
		s := dot(sc.unit, w.at(x.row))
		require.GreaterOrEqual(t, x.upper, s)
		require.Less(t, x.upper, s+0.03)
	}
	c.reset(sc, 60)
	w.coarse(&c, 0, n, nil)
	left := 0
	for _, x := range c.left {
		if x.upper >= c.floor() {
			left++
		}
	}
	require.Less(t, left, n/50, "rows that are read")
}

// The halves of a large space together give what the whole gives, wherever the
// best are.
func TestVectors_HalvesChangeNoAnswer(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 11))
	const dim = 17
	v := NewVectors(dim, Options{})
	for id := range uint32(largeRows + 5000) {
		x := randomVector(r, dim)
		if id < 300 { // many of the best in one half
			x[0] += 9
		}
		require.NoError(t, v.Set(id, x))
	}
	for i := range 10 {
		q := randomVector(r, dim)
		if i%2 == 0 {
			q[0] += 9
		}
		hits, err := v.Search(q, 60, nil, nil)
		require.NoError(t, err)
		require.Equal(t, plainSearch(t, v, q, 60, nil, nil), hits)
	}
}
