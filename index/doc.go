// Package index holds what a knowledge base is searched by, in memory: exact
// vector spaces (Vectors) and a lexical index (Lexical). It is derived state:
// made from records by its caller, thrown away and made again.
//
// Things are known by uint32 ids that the caller gives: dense numbers of one
// knowledge base, which depend on the order in which its documents came. No
// answer may depend on that order, so a score depends on the query and the one
// item it is of, and ties are broken by an order the caller hands in.
//
// The vector search is exact. Up to some ten thousands of vectors a scan of
// flat memory at the speed of the memory bus beats an approximate graph once
// building, deleting and filtering are counted, and it has a recall of one. Where
// the processor has AVX2 the scan reads a byte a value and the rows of those that
// the bounds leave (codes.go), which finds the same to the bit.
//
// The package knows no tenants and no store, and takes no locks: a value may be
// read by many goroutines at a time, or changed by one.
package index
