package index

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// eachKernel runs a test with every form of the products that this processor has.
func eachKernel(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	best := running
	defer func() { running = best }()
	for k := plain; k <= best; k++ {
		running = k
		t.Run(k.String(), f)
	}
}

// Products of float32 are within rounding of their sum in float64, at every
// length about the blocks of the kernels and at every offset.
func TestDot(t *testing.T) {
	eachKernel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 3))
		for _, n := range []int{0, 1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 80, 127, 128, 384, 1000, 1024, 4097} {
			for offset := range 3 {
				a, b := randomVector(r, n+offset)[offset:], randomVector(r, n+offset)[offset:]
				var want, size float64
				for i := range a {
					want += float64(a[i]) * float64(b[i])
					size += math.Abs(float64(a[i]) * float64(b[i]))
				}
				require.InDelta(t, want, dot(a, b), size*float64(n+1)/(1<<24), "%d values, seed 3", n)
			}
		}
		require.Panics(t, func() { dot(make([]float32, 32), make([]float32, 31)) }, "no read beyond the end")
	})
}

// Products of codes are exact in every form, at the ends of what codes can be too.
func TestDotCodes(t *testing.T) {
	eachKernel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(10, 10))
		for _, width := range []int{64, 128, 192, 384, 1024, MaxDim} {
			for _, n := range []int{0, 1, 3, codeBlock} {
				if n*width > 1<<20 {
					continue
				}
				q, codes := make([]int16, width), make([]int8, n*width)
				for i := range q {
					q[i] = int16(r.IntN(2*codeUnit+1) - codeUnit)
				}
				for i := range codes {
					codes[i] = int8(r.IntN(255) - 127)
				}
				if n > 0 { // the largest sum there is: every value the same share of one
					for i := range q {
						q[i] = int16(codeUnit / math.Sqrt(float64(width)))
					}
					for i := range width {
						codes[i] = 127
					}
				}
				want, got := make([]int32, n), make([]int32, n)
				dotCodesPlain(want, q, codes)
				dotCodes(got, q, codes)
				require.Equal(t, want, got, "width %d", width)
				if n > 0 {
					require.Equal(t, int64(127*width)*int64(q[0]), int64(got[0]), "no overflow")
				}
			}
		}
	})
}

// So are those of two rows of codes.
func TestDotPair(t *testing.T) {
	eachKernel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(12, 12))
		for _, width := range []int{64, 128, 192, 320, 1024, MaxDim} {
			for _, fill := range []func() int8{
				func() int8 { return int8(r.IntN(255) - 127) },
				func() int8 { return 127 }, func() int8 { return -127 }, func() int8 { return 0 },
			} {
				a, b := make([]int8, width), make([]int8, width)
				var want int64
				for i := range a {
					a[i], b[i] = fill(), int8(r.IntN(255)-127)
					if fill() == 127 {
						b[i] = 127
					}
					want += int64(a[i]) * int64(b[i])
				}
				require.Equal(t, want, int64(dotPair(a, b, pairBias(a))), "width %d", width)
				require.Equal(t, want, int64(dotPair(b, a, pairBias(b))), "width %d", width)
			}
		}
	})
}

// So are those of several rows that lie anywhere.
func TestDotPairs(t *testing.T) {
	eachKernel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(13, 13))
		for _, width := range []int{64, 128, 384, MaxDim} {
			for n := range linksBase + 1 {
				if n > 5 && width == MaxDim {
					break
				}
				q := make([]int8, width)
				for i := range q {
					q[i] = int8(r.IntN(255) - 127)
					if n == 3 {
						q[i] = -127
					}
				}
				rows := make([]*int8, n+2*fourRows)
				want := make([]int32, n)
				for i := range n {
					row := make([]int8, width)
					for j := range row {
						row[j] = int8(r.IntN(255) - 127)
						if n == 3 {
							row[j] = int8(127 * (i - 1))
						}
					}
					rows[i] = &row[0]
					want[i] = dotPairPlain(q, row)
				}
				got := make([]int32, n)
				dotPairs(got, q, rows, pairBias(q))
				require.Equal(t, want, got, "%d rows of width %d, seed 13", n, width)
			}
		}
	})
}

func BenchmarkKernels(b *testing.B) {
	best := running
	defer func() { running = best }()
	for k := plain; k <= best; k++ {
		for _, dim := range []int{384, 1024} {
			r := rand.New(rand.NewPCG(1, 1))
			x, y := randomVector(r, dim), randomVector(r, dim)
			cx, cy := make([]int8, dim), make([]int8, dim)
			encode(cx, x)
			encode(cy, y)
			b.Run(fmt.Sprintf("float32/%s/%d", k, dim), func(b *testing.B) {
				running = k
				for b.Loop() {
					dot(x, y)
				}
			})
			b.Run(fmt.Sprintf("codes/%s/%d", k, dim), func(b *testing.B) {
				running = k
				bias := pairBias(cx)
				for b.Loop() {
					dotPair(cx, cy, bias)
				}
			})
		}
	}
}
