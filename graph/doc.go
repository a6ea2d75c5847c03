// Package graph holds the knowledge graph of one knowledge base in memory. It
// is derived state: made from records by its caller, thrown away and made
// again. It knows no tenants, no store and nothing of what an entity means.
//
// Graph is a compact adjacency of names and weighted, directed relations. The
// hot path calls it directly: Neighbours, KHop, ShortestPath, Popular, Search.
// QuadStore shows the same graph to Cayley, whose path queries (Path) and
// N-Quads (WriteNQuads) run over it. Cayley's own memory store is not used: it
// takes twelve times the memory, and a read beside a write ends the process.
//
// Passages links passages to the names they mention.
package graph
