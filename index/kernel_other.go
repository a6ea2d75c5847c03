//go:build !amd64

package index

// running is the form of the products in use.
var running = plain

func dotBlocks(a, b *float32, n int) float32 { panic("index: no kernel on this processor") }

func dotCodes(dst []int32, q []int16, codes []int8) { dotCodesPlain(dst, q, codes) }

func pairBias([]int8) int32 { return 0 }

func dotPair(a, b []int8, _ int32) int32 { return dotPairPlain(a, b) }

func dotPairs(dst []int32, q []int8, rows []*int8, _ int32) { dotPairsPlain(dst, q, rows) }

func fetchRow([]int8) {}
