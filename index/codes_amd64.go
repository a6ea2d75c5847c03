package index

// coded says whether rows have codes beside them: only where the kernel makes
// reading them cheaper than reading the rows. vek asks for AVX2, as the kernel does.
var coded = accelerated

//go:noescape
func dotCodesAVX2(dst *int32, q *int16, rows *int8, n, width int)

// dotCodes puts into dst the products of q and each row of codes; both are of
// codeWidth.
func dotCodes(dst []int32, q []int16, codes []int8) {
	if len(dst) == 0 {
		return
	}
	_ = codes[len(dst)*len(q)-1]
	dotCodesAVX2(&dst[0], &q[0], &codes[0], len(dst), len(q))
}
