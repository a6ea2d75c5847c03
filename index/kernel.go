package index

import "unsafe"

// A search and a build spend their time in three products: of two rows of
// float32, of two rows of codes (the walk over a graph, several rows at a time), and of a query in 16 bits
// with rows of codes that lie one after another (the exact scan). Each has an
// assembly form for AVX2 and one for AVX-512 with VNNI, and a plain one here. Those of codes
// are sums of integers and so the same whichever form ran; those of float32
// differ in the last bits from one kind of processor to another.

// kernel is a form of the products.
type kernel uint8

const (
	plain  kernel = iota
	avx2          // with FMA
	avx512        // F, BW, VL and VNNI
)

func (k kernel) String() string { return [...]string{"plain Go", "AVX2", "AVX-512 VNNI"}[k] }

// Kernel names the form of the distance kernels that this processor runs.
func Kernel() string { return running.String() }

// coded says whether rows have codes beside them whatever is asked for: only
// where a kernel makes reading them cheaper than reading the rows. In plain Go
// they take twice as long.
var coded = running != plain

// dot is the product of two vectors of equal length. Its sum depends on nothing
// but the values: not on where they lie.
func dot(a, b []float32) float32 {
	n := len(a) &^ 15
	if running == plain || n == 0 {
		return dotPlain(a, b)
	}
	_ = b[len(a)-1]
	s := dotBlocks(&a[0], &b[0], n)
	if n < len(a) {
		s += dotPlain(a[n:], b[n:len(a)])
	}
	return s
}

// dotPlain carries four sums side by side: one takes twice the time.
func dotPlain(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		x, y := a[i:i+4:i+4], b[i:i+4:i+4]
		s0 += x[0] * y[0]
		s1 += x[1] * y[1]
		s2 += x[2] * y[2]
		s3 += x[3] * y[3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return (s0 + s1) + (s2 + s3)
}

// dotCodesPlain puts into dst the products of q and each row of codes, which lie
// one after another.
func dotCodesPlain(dst []int32, q []int16, codes []int8) {
	for i := range dst {
		var s int32
		for j, c := range codes[i*len(q) : (i+1)*len(q)] {
			s += int32(c) * int32(q[j])
		}
		dst[i] = s
	}
}

// dotPairPlain is the product of two rows of codes.
func dotPairPlain(a, b []int8) int32 {
	var s, t int32
	b = b[:len(a)]
	for i := 0; i+2 <= len(a); i += 2 {
		s += int32(a[i]) * int32(b[i])
		t += int32(a[i+1]) * int32(b[i+1])
	}
	return s + t
}

// fourRows is how many rows the kernel of dotPairs takes at a time.
const fourRows = 4

// dotPairsPlain is dotPairs.
func dotPairsPlain(dst []int32, q []int8, rows []*int8) {
	for i := range dst {
		dst[i] = dotPairPlain(q, unsafe.Slice(rows[i], len(q)))
	}
}
