package index

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// running is the form of the products in use. Tests put others in its place.
var running = best512()

func best512() kernel {
	x := &cpu.X86
	switch {
	case x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512VNNI && x.HasAVX2 && x.HasFMA:
		return avx512
	case x.HasAVX2 && x.HasFMA:
		return avx2
	}
	return plain
}

//go:noescape
func dotAVX2(a, b *float32, n int) float32

//go:noescape
func dotAVX512(a, b *float32, n int) float32

//go:noescape
func dotCodesAVX2(dst *int32, q *int16, rows *int8, n, width int)

//go:noescape
func dotCodesVNNI(dst *int32, q *int16, rows *int8, n, width int)

//go:noescape
func dotPairAVX2(a, b *int8, n int) int32

//go:noescape
func dotFourAVX2(dst *int32, q *int8, rows **int8, n int)

//go:noescape
func dotPairVNNI(a, b *int8, n int) int32

//go:noescape
func fetch(p unsafe.Pointer, lines int)

// dotBlocks is the product of the first n values, a multiple of 16.
func dotBlocks(a, b *float32, n int) float32 {
	if running == avx512 {
		return dotAVX512(a, b, n)
	}
	return dotAVX2(a, b, n)
}

// dotCodes puts into dst the products of q and each row of codes; both are of
// codeWidth.
func dotCodes(dst []int32, q []int16, codes []int8) {
	if len(dst) == 0 {
		return
	}
	_ = codes[len(dst)*len(q)-1]
	switch running {
	case avx512:
		dotCodesVNNI(&dst[0], &q[0], &codes[0], len(dst), len(q))
	case avx2:
		dotCodesAVX2(&dst[0], &q[0], &codes[0], len(dst), len(q))
	default:
		dotCodesPlain(dst, q, codes)
	}
}

// noCodes is a row of zeros.
var noCodes [MaxDim]int8

// pairBias is what dotPair of a row as a must be told. VNNI multiplies bytes
// without a sign by bytes with one, so b goes in 128 too large, and 128 times the
// sum of a comes off again.
func pairBias(a []int8) int32 {
	if running != avx512 || len(a) == 0 {
		return 0
	}
	return dotPairVNNI(&a[0], &noCodes[0], len(a))
}

// dotPair is the product of two rows of codes, of one codeWidth.
func dotPair(a, b []int8, bias int32) int32 {
	if len(a) == 0 {
		return 0
	}
	_ = b[len(a)-1]
	switch running {
	case avx512:
		return dotPairVNNI(&a[0], &b[0], len(a)) - bias
	case avx2:
		return dotPairAVX2(&a[0], &b[0], len(a))
	}
	return dotPairPlain(a, b)
}

// dotPairs puts into dst the products of q and rows of codes that lie anywhere, all of
// one codeWidth. rows has room for fourRows more, which are overwritten.
func dotPairs(dst []int32, q []int8, rows []*int8, bias int32) {
	n := len(dst)
	if n == 0 || len(q) == 0 {
		return
	}
	switch running {
	case avx512:
		for i, row := range rows[:n] {
			if i+2 < n {
				fetch(unsafe.Pointer(rows[i+2]), len(q)/64)
			}
			dst[i] = dotPairVNNI(&q[0], row, len(q)) - bias
		}
	case avx2:
		padded := rows[:n+2*fourRows-1]
		for i := n; i < len(padded); i++ {
			padded[i] = padded[n-1]
		}
		var four [fourRows]int32
		for i := 0; i < n; i += fourRows {
			dotFourAVX2(&four[0], &q[0], &padded[i], len(q))
			copy(dst[i:], four[:])
		}
	default:
		dotPairsPlain(dst, q, rows)
	}
}

// fetchRow asks the memory for a row of codes that will be read soon.
func fetchRow(codes []int8) {
	if len(codes) > 0 {
		fetch(unsafe.Pointer(&codes[0]), (len(codes)+63)/64)
	}
}
