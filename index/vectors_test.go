package index

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func randomVector(r *rand.Rand, dim int) []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

func cosine64(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab += float64(a[i]) * float64(b[i])
		aa += float64(a[i]) * float64(a[i])
		bb += float64(b[i]) * float64(b[i])
	}
	return ab / math.Sqrt(aa*bb)
}

func idsOf(hits []Hit) []uint32 {
	out := make([]uint32, len(hits))
	for i, h := range hits {
		out[i] = h.ID
	}
	return out
}

// The search finds what a scan in float64 finds, in the same order, for sizes
// about every boundary of arenas and kernels.
func TestVectors_SearchAgreesWithFloat64(t *testing.T) {
	for _, dim := range []int{1, 2, 3, 7, 8, 31, 33, 64, 384, 1024} {
		for _, n := range []int{1, 2, 15, 17, 300, 1025} {
			t.Run(fmt.Sprintf("dim %d of %d", dim, n), func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, uint64(dim*n)))
				v := NewVectors(dim, Options{})
				vecs := make([][]float32, n)
				for i := range vecs {
					vecs[i] = randomVector(r, dim)
					require.NoError(t, v.Set(uint32(i), vecs[i]))
				}
				for range 5 {
					q := randomVector(r, dim)
					k := 1 + r.IntN(n+3)
					keep := func(id uint32) bool { return id%3 != 1 }
					var want []float64
					for i := range vecs {
						if keep(uint32(i)) {
							want = append(want, cosine64(q, vecs[i]))
						}
					}
					slices.Sort(want)
					slices.Reverse(want)
					want = want[:min(k, len(want))]
					hits, err := v.Search(q, k, keep, nil)
					require.NoError(t, err)
					require.Len(t, hits, len(want))
					for i, h := range hits {
						require.InDelta(t, want[i], h.Score, 2e-6)
						require.InDelta(t, cosine64(q, vecs[h.ID]), h.Score, 2e-6)
						s, ok := v.Similarity(q, h.ID)
						require.True(t, ok)
						require.Equal(t, h.Score, s)
					}
				}
			})
		}
	}
}

// Two histories that end in the same vectors give the same answers to the bit,
// whatever was added, replaced and deleted on the way and in whatever order.
// Many of the vectors are equal, so that most scores tie.
func TestVectors_AnswersDoNotDependOnHistory(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		dim := []int{5, 96, 257}[seed%3]
		pool := make([][]float32, 40)
		for i := range pool {
			pool[i] = randomVector(r, dim)
		}
		v := NewVectors(dim, Options{})
		model := map[uint32]int{}
		for range 4000 {
			id := uint32(r.IntN(700))
			_, there := model[id]
			if r.IntN(5) < 2 {
				require.Equal(t, there, v.Delete(id))
				delete(model, id)
				continue
			}
			p := r.IntN(len(pool))
			require.NoError(t, v.Set(id, pool[p]))
			model[id] = p
		}
		require.Equal(t, len(model), v.Len())
		fresh := NewVectors(dim, Options{})
		for id, p := range model { // in the random order of a map
			require.NoError(t, fresh.Set(id, pool[p]))
		}
		backwards := func(a, b uint32) bool { return a > b }
		for _, less := range []func(a, b uint32) bool{nil, backwards} {
			for _, k := range []int{1, 7, 100, 1000} {
				q := randomVector(r, dim)
				got, err := v.Search(q, k, nil, less)
				require.NoError(t, err)
				want, err := fresh.Search(q, k, nil, less)
				require.NoError(t, err)
				require.Equal(t, want, got, "seed %d", seed)
				require.True(t, slices.IsSortedFunc(got, func(a, b Hit) int {
					if a.Score > b.Score || a.Score == b.Score && (less == nil) == (a.ID < b.ID) {
						return -1
					}
					return 1
				}))
			}
		}
		for id := range model {
			require.True(t, v.Delete(id))
		}
		hits, err := v.Search(pool[0], 3, nil, nil)
		require.NoError(t, err)
		require.Empty(t, hits)
	}
}

func TestVectors_Refuses(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	v := NewVectors(2, Options{})
	require.NoError(t, v.Set(3, []float32{3, 4}))
	for _, c := range []struct {
		name string
		x    []float32
		want error
	}{
		{"no values", nil, ErrDimension},
		{"a value too many", []float32{1, 2, 3}, ErrDimension},
		{"not a number", []float32{nan, 1}, ErrNotFinite},
		{"infinite", []float32{1, inf}, ErrNotFinite},
		{"zero", []float32{0, 0}, ErrZeroVector},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.ErrorIs(t, v.Set(3, c.x), c.want)
			_, err := v.Search(c.x, 1, nil, nil)
			require.ErrorIs(t, err, c.want)
			_, ok := v.Similarity(c.x, 3)
			require.False(t, ok)
		})
	}
	_, err := v.Search([]float32{1, 0}, 0, nil, nil)
	require.ErrorIs(t, err, ErrK)
	require.ErrorIs(t, v.Set(MaxID+1, []float32{1, 0}), ErrID)
	require.ErrorIs(t, NewVectors(-1, Options{}).Set(0, []float32{}), ErrDimension)
	got, ok := v.Vector(3)
	require.True(t, ok)
	require.Equal(t, []float32{0.6, 0.8}, got, "refusals change nothing")
	require.Equal(t, 1, v.Len())
	require.False(t, v.Delete(4))
	_, ok = v.Vector(1 << 31)
	require.False(t, ok)
}

// The longest and the shortest float32 vectors have directions like any other.
func TestVectors_TakesExtremes(t *testing.T) {
	v := NewVectors(3, Options{})
	require.NoError(t, v.Set(0, []float32{math.MaxFloat32, math.MaxFloat32, 0}))
	require.NoError(t, v.Set(1, []float32{0, 0, math.SmallestNonzeroFloat32}))
	hits, err := v.Search([]float32{1e-38, 1e-38, 0}, 2, nil, nil)
	require.NoError(t, err)
	require.Equal(t, []uint32{0, 1}, idsOf(hits))
	require.InDelta(t, 1, hits[0].Score, 1e-6)
}

// The vector in the space is a copy, and so is the one that is handed out.
func TestVectors_OwnsItsMemory(t *testing.T) {
	v := NewVectors(2, Options{})
	x := []float32{1, 0}
	require.NoError(t, v.Set(0, x))
	x[0], x[1] = 0, 1
	got, _ := v.Vector(0)
	got[0] = 9
	s, _ := v.Similarity([]float32{1, 0}, 0)
	require.Equal(t, float32(1), s)
}

// A small space is small, a large one takes little more than its vectors, and
// deleting gives the memory back.
func TestVectors_Bytes(t *testing.T) {
	const dim, n = 256, 5000
	v := NewVectors(dim, Options{})
	x := make([]float32, dim)
	x[0] = 1
	require.NoError(t, v.Set(0, x))
	require.Less(t, v.Bytes(), int64(32<<10))
	for i := range uint32(n) {
		require.NoError(t, v.Set(i, x))
	}
	require.GreaterOrEqual(t, v.Bytes(), int64(n*dim*4))
	const codes = dim + 8 // of a row, where there are any
	require.Less(t, v.Bytes(), int64(n*(dim*4+16+codes)+arenaBytes*5/4))
	if coded {
		require.GreaterOrEqual(t, v.Bytes(), int64(n*(dim*4+codes)), "what stands beside the vectors is counted")
	}
	for i := range uint32(n - 10) {
		v.Delete(i)
	}
	require.Less(t, v.Bytes(), int64(2*arenaBytes*5/4+n*16))
	for i := range uint32(n) {
		v.Delete(i)
	}
	require.Less(t, v.Bytes(), int64(1<<10))
}

// A search of any kind allocates its hits, and little else: also by two goroutines,
// and by a walk.
func TestVectors_SearchAllocations(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for n, o := range map[int]Options{2000: {}, largeRows + 5: {Backend: Exact}, 3000: {From: 1000}} {
		v := NewVectors(16, o)
		for i := range uint32(n) {
			require.NoError(t, v.Set(i, randomVector(r, 16)))
		}
		v.Tend()
		v.Settle()
		require.Equal(t, o.From == 1000, v.Stats().Graph)
		v.Close()
		most := 2.
		if raced {
			most = 12 // a pool forgets under the race detector
		}
		q := randomVector(r, 16)
		require.LessOrEqual(t, testing.AllocsPerRun(200, func() { _, _ = v.Search(q, 10, nil, nil) }), most, "%d vectors", n)
		require.LessOrEqual(t, testing.AllocsPerRun(200, func() { _, _ = v.SearchExact(q, 10, nil, nil) }), most, "%d vectors", n)
	}
}

func BenchmarkVectors_Search(b *testing.B) {
	for _, c := range []struct{ n, dim int }{{6119, 1024}, {10_000, 1024}, {10_000, 384}, {100_000, 384}} {
		b.Run(fmt.Sprintf("%dx%d", c.n, c.dim), func(b *testing.B) {
			r := rand.New(rand.NewPCG(5, 5))
			v := NewVectors(c.dim, Options{})
			for i := range uint32(c.n) {
				if err := v.Set(i, randomVector(r, c.dim)); err != nil {
					b.Fatal(err)
				}
			}
			q := randomVector(r, c.dim)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Search(q, 100, nil, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(v.Bytes())/float64(c.n), "B/vector")
		})
	}
}

func BenchmarkVectors_Set(b *testing.B) {
	r := rand.New(rand.NewPCG(6, 6))
	x := randomVector(r, 1024)
	v := NewVectors(1024, Options{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := v.Set(uint32(i%20_000), x); err != nil {
			b.Fatal(err)
		}
	}
}

// The scan of float32 rows, which codes save most searches from, against plain
// reading of the same memory: what is left to gain.
func BenchmarkScan_AgainstStream(b *testing.B) {
	const n, dim = 100_000, 384
	r := rand.New(rand.NewPCG(7, 7))
	v := NewVectors(dim, Options{})
	x := randomVector(r, dim)
	for i := range uint32(n) {
		x[i%dim] = r.Float32()
		if err := v.Set(i, x); err != nil {
			b.Fatal(err)
		}
	}
	w, s := v.view.Load(), new(scratch)
	s.takes(&w.rowStore, x)
	var scan, stream time.Duration
	for b.Loop() {
		t := time.Now()
		top := best{k: 10}
		w.scanRows(s, nil, 0, &top)
		scan += time.Since(t)
		t = time.Now()
		for _, a := range w.arenas {
			dot(a.rows, a.rows)
		}
		stream += time.Since(t)
	}
	b.ReportMetric(float64(stream)/float64(scan), "stream/scan")
	b.ReportMetric(float64(n)*dim*4*float64(b.N)/scan.Seconds()/1e9, "GB/s")
}
