// Package graph holds the knowledge graph of one knowledge base in memory. It
// is derived state: made from records by its caller, thrown away and made
// again. It knows no tenants, no store and nothing of what an entity means.
//
// Graph is a compact adjacency of names and weighted, directed relations. The
// hot path calls it directly; a View asks the same of all of it or of a part:
// KHop, ShortestPath, Popular, Search, Rank (PageRank from some entities, by
// push) and Network, whose Communities need no lock.
//
// QuadStore shows the same graph to Cayley, whose paths View.Path runs over it.
// Cayley's own memory store is not used: it takes ten times the memory, and a
// read beside a write ends the process.
//
// Rows are how a graph is exchanged: NewRowWriter and ReadRows know N-Quads,
// JSON-LD, GraphML and CSV.
//
// Passages links passages to the names they mention. It and Graph can be written down and
// read again as they are (passages_snapshot.go, graph_snapshot.go).
package graph
