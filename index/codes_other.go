//go:build !amd64

package index

// coded: without a kernel, codes take twice as long as the rows themselves.
const coded = false

func dotCodes(dst []int32, q []int16, codes []int8) { dotCodesPortable(dst, q, codes) }
