package graph

import (
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"unsafe"
)

// Related is the predicate of every relation the native methods make.
const Related = "related"

// Entities and relations are numbered below these: links and free lists use 32
// bits, and the largest number means none.
const (
	maxEntities   = math.MaxUint32 - 1
	maxRelations  = math.MaxUint32 - 1
	maxPredicates = math.MaxUint16
	none          = ^uint32(0)
	inUse         = none - 1 // in node.next: the node is an entity
)

// Graph is the entities and relations of one knowledge base: a compact
// adjacency of some 80 bytes a relation. Entities are known by name and by a
// dense number, relations by a dense number; numbers are given again after a
// removal, and are no order of anything.
//
// All methods are safe for many readers beside one writer: each takes the
// graph's lock once and answers from one state. Nothing in an answer depends on
// the order in which the graph came to be, except the numbers themselves, the
// order of Neighbours and AppendEdges, and which of equal free numbers is given next.
type Graph struct {
	mu    sync.RWMutex
	nodes []node
	names nameTable
	edges []edge
	preds []string // by number; Related is 0

	freeNode, freeEdge uint32 // heads of the lists of free numbers, or none
	entities           int
	relations          int
	heap               int64 // bytes of names and links
}

// node is an entity, or a free number that keeps the next free one in next.
type node struct {
	name    string
	out, in []link
	gen     uint32 // grows when the number is given again, so that old references miss
	next    uint32 // inUse for an entity
}

// link is one end of a relation as its entity sees it. The other end lies
// beside the number so that a look for a pair reads the list alone.
type link struct{ to, rel uint32 }

type edge struct {
	src, tgt uint32 // a free edge keeps the next free number in src
	// Its places in the lists of its ends: without them a removal would read the
	// list of a hub, which grows with the graph.
	outAt, inAt uint32
	weight      float32
	pred        uint16
	live        bool
}

// New returns an empty graph.
func New() *Graph {
	return &Graph{freeNode: none, freeEdge: none, preds: []string{Related}, names: nameTable{seed: maphash.MakeSeed()}}
}

// Len is the number of entities and of relations.
func (g *Graph) Len() (entities, relations int) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.entities, g.relations
}

// Bytes is the memory of the graph: its tables and lists at their capacity and
// the bytes of its names, which it does not share.
func (g *Graph) Bytes() int64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	n := int64(unsafe.Sizeof(*g)) + g.heap
	n += int64(cap(g.nodes)) * int64(unsafe.Sizeof(node{}))
	n += int64(cap(g.edges)) * int64(unsafe.Sizeof(edge{}))
	n += int64(cap(g.names.slots)) * 4
	n += int64(cap(g.preds)) * int64(unsafe.Sizeof(""))
	return n
}

// Entity returns the number of the entity with a name.
func (g *Graph) Entity(name string) (id uint32, ok bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.names.find(name, g.nodes)
}

// Name returns the name of an entity, or "" if there is none with the number.
func (g *Graph) Name(id uint32) string {
	name, _ := g.NameOK(id)
	return name
}

// NameOK returns the name of an entity and whether there is one with the number.
func (g *Graph) NameOK(id uint32) (name string, ok bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.liveNode(id) {
		return "", false
	}
	return g.nodes[id].name, true
}

// Degree is the number of relations of an entity, whichever way they point; a
// relation of an entity with itself counts twice. It is 0 if there is none.
func (g *Graph) Degree(id uint32) int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.liveNode(id) {
		return 0
	}
	return g.degree(id)
}

// Relation returns the ends and the weight of a relation.
func (g *Graph) Relation(rel uint32) (src, tgt uint32, weight float32, ok bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.liveEdge(rel) {
		return 0, 0, 0, false
	}
	e := &g.edges[rel]
	return e.src, e.tgt, e.weight, true
}

// FindRelation returns the relation Related from src to tgt. It reads the
// shorter of the two lists it may be in.
func (g *Graph) FindRelation(src, tgt uint32) (rel uint32, ok bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.liveNode(src) || !g.liveNode(tgt) {
		return 0, false
	}
	return g.find(src, tgt, 0)
}

// neighbourBatch is how many neighbours fit on the stack. Most entities have
// fewer; of the others the list is copied to the heap.
const neighbourBatch = 32

// Neighbours calls f for each relation of an entity with the entity at the
// other end, the relation, whether it points out from id, and its weight, until
// f returns false. The order is unspecified: sort, or keep sums exact. A
// relation of an entity with itself comes once each way. The neighbours are
// those of one moment; f runs without the lock and may call any method.
func (g *Graph) Neighbours(id uint32, f func(neighbour, rel uint32, out bool, weight float32) bool) {
	type item struct {
		to, rel uint32
		weight  float32
		out     bool
	}
	var few [neighbourBatch]item
	list := few[:0]
	g.mu.RLock()
	if g.liveNode(id) {
		n := &g.nodes[id]
		if d := len(n.out) + len(n.in); d > len(few) {
			list = make([]item, 0, d)
		}
		for _, l := range n.out {
			list = append(list, item{l.to, l.rel, g.edges[l.rel].weight, true})
		}
		for _, l := range n.in {
			list = append(list, item{l.to, l.rel, g.edges[l.rel].weight, false})
		}
	}
	g.mu.RUnlock()
	for _, x := range list {
		if !f(x.to, x.rel, x.out, x.weight) {
			return
		}
	}
}

// Edge is a relation as an entity at one end of it sees it.
type Edge struct {
	To, Rel uint32 // the entity at the other end, the relation
	Weight  float32
	Degree  int32 // of the entity at the other end
}

// AppendEdges appends the relations of an entity to dst, those of one moment and in
// no order: sort, or keep sums exact. A relation of an entity with itself comes
// twice. It allocates only to make room in dst.
func (g *Graph) AppendEdges(dst []Edge, id uint32) []Edge {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.liveNode(id) {
		return dst
	}
	n := &g.nodes[id]
	dst = slices.Grow(dst, len(n.out)+len(n.in))
	for _, links := range [2][]link{n.out, n.in} {
		for _, l := range links {
			dst = append(dst, Edge{l.to, l.rel, g.edges[l.rel].weight, int32(g.degree(l.to))})
		}
	}
	return dst
}

func (g *Graph) liveNode(id uint32) bool {
	return int64(id) < int64(len(g.nodes)) && g.nodes[id].next == inUse
}

func (g *Graph) liveEdge(rel uint32) bool {
	return int64(rel) < int64(len(g.edges)) && g.edges[rel].live
}

func (g *Graph) degree(id uint32) int { return len(g.nodes[id].out) + len(g.nodes[id].in) }

func (g *Graph) find(src, tgt uint32, pred uint16) (uint32, bool) {
	list, other := g.nodes[src].out, tgt
	if in := g.nodes[tgt].in; len(in) < len(list) {
		list, other = in, src
	}
	for _, l := range list {
		if l.to == other && g.edges[l.rel].pred == pred {
			return l.rel, true
		}
	}
	return 0, false
}
