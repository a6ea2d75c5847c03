// Package index holds what a knowledge base is searched by, in memory: vector
// spaces (Vectors) and a lexical index (Lexical). It is derived state: made from
// records by its caller, thrown away and made again.
//
// Things are known by uint32 ids that the caller gives: dense numbers of one
// knowledge base, which depend on the order in which its documents came. No
// answer may depend on that order, so a score depends on the query and the one
// item it is of, and ties are broken by an order the caller hands in.
//
// A vector space is rows in flat memory, each with its codes: a byte a value. Up to
// some ten thousand rows a search scans the codes and reads the rows that the
// bounds leave (codes.go), which finds what a scan of all rows finds, to the bit.
// A larger space that is tended (tend.go) has a graph over its rows (hnsw.go), which is
// walked by codes; what is found is scored by rows (walk.go). Rows that are not in the
// graph yet are scanned, and a search that a filter leaves little for scans
// too. The graph can be kept as a snapshot, which is only ever a cache (snapshot.go). A
// walk finds nearly all of the nearest; which it misses depends on the history of the
// space, so who compares answers of two histories asks for Exact.
//
// A Lexical can be written down and read again as it is (lexical_snapshot.go).
//
// The products behind all this have forms in assembly (kernel.go). The package
// knows no tenants and no store. Vectors may be searched and changed by many
// goroutines at a time; a Lexical may be read by many, or changed by one.
package index
