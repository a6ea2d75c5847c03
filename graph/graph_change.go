package graph

import (
	"strings"
	"unsafe"
)

// AddEntity returns the number of the entity with a name and makes it if it is
// new. The name is copied. It panics when 4,294,967,294 entities are there:
// memory ends long before.
func (g *Graph) AddEntity(name string) (id uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.addNode(name)
}

// RemoveEntity removes an entity with its relations and says whether it was
// there. Its number, and those of its relations, may be given again.
func (g *Graph) RemoveEntity(id uint32) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.liveNode(id) {
		return false
	}
	g.removeNode(id)
	return true
}

// Relate makes the relation from src to tgt, or finds it, gives it a weight and
// returns its number. Ends that are new are made.
func (g *Graph) Relate(src, tgt string, weight float32) (rel uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a, b := g.addNode(src), g.addNode(tgt)
	rel, ok := g.find(a, b, 0)
	if !ok {
		rel = g.addEdge(a, b, 0)
	}
	g.edges[rel].weight = weight
	return rel
}

// SetRelation gives a relation a weight and new ends; it keeps its number. It
// changes nothing and returns false when there is no such relation or entity,
// or when another relation of the same predicate already joins src to tgt.
func (g *Graph) SetRelation(rel, src, tgt uint32, weight float32) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.liveEdge(rel) || !g.liveNode(src) || !g.liveNode(tgt) {
		return false
	}
	e := &g.edges[rel]
	if e.src != src || e.tgt != tgt {
		if _, taken := g.find(src, tgt, e.pred); taken {
			return false
		}
		g.unjoin(rel)
		e.src, e.tgt = src, tgt
		g.join(rel)
	}
	e.weight = weight
	return true
}

// Unrelate removes a relation and says whether it was there. Its ends stay. Its
// number may be given again.
func (g *Graph) Unrelate(rel uint32) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.liveEdge(rel) {
		return false
	}
	g.removeEdge(rel)
	return true
}

func (g *Graph) addNode(name string) uint32 {
	if id, ok := g.names.find(name, g.nodes); ok {
		return id
	}
	id := g.freeNode
	if id != none {
		g.freeNode = g.nodes[id].next
	} else {
		if int64(len(g.nodes)) >= maxEntities {
			panic("graph: no number is left for another entity")
		}
		id = uint32(len(g.nodes))
		g.nodes = append(g.nodes, node{})
	}
	n := &g.nodes[id]
	// A copy: a name cut from a document's text would keep the whole text.
	n.name, n.next = strings.Clone(name), inUse
	g.names.add(id, g.nodes)
	g.entities++
	g.heap += int64(len(name))
	return id
}

func (g *Graph) removeNode(id uint32) {
	n := &g.nodes[id]
	for len(n.out) > 0 {
		g.removeEdge(n.out[len(n.out)-1].rel)
	}
	for len(n.in) > 0 {
		g.removeEdge(n.in[len(n.in)-1].rel)
	}
	g.names.remove(id, g.nodes)
	g.heap -= int64(len(n.name))
	*n = node{gen: n.gen + 1, next: g.freeNode}
	g.freeNode = id
	g.entities--
}

func (g *Graph) addEdge(src, tgt uint32, pred uint16) uint32 {
	rel := g.freeEdge
	if rel != none {
		g.freeEdge = g.edges[rel].src
	} else {
		if int64(len(g.edges)) >= maxRelations {
			panic("graph: no number is left for another relation")
		}
		rel = uint32(len(g.edges))
		g.edges = append(g.edges, edge{})
	}
	g.edges[rel] = edge{src: src, tgt: tgt, pred: pred, live: true}
	g.join(rel)
	g.relations++
	return rel
}

func (g *Graph) removeEdge(rel uint32) {
	g.unjoin(rel)
	g.edges[rel] = edge{src: g.freeEdge}
	g.freeEdge = rel
	g.relations--
}

const linkBytes = int64(unsafe.Sizeof(link{}))

// join puts a relation into the lists of its ends, unjoin takes it out of them.
func (g *Graph) join(rel uint32) {
	e := &g.edges[rel]
	out, in := &g.nodes[e.src].out, &g.nodes[e.tgt].in
	e.outAt, e.inAt = uint32(len(*out)), uint32(len(*in))
	g.link(out, link{e.tgt, rel})
	g.link(in, link{e.src, rel})
}

func (g *Graph) unjoin(rel uint32) {
	e := &g.edges[rel]
	if moved, ok := g.unlink(&g.nodes[e.src].out, e.outAt); ok {
		g.edges[moved].outAt = e.outAt
	}
	if moved, ok := g.unlink(&g.nodes[e.tgt].in, e.inAt); ok {
		g.edges[moved].inAt = e.inAt
	}
}

func (g *Graph) link(list *[]link, l link) {
	before := cap(*list)
	*list = append(*list, l)
	g.heap += linkBytes * int64(cap(*list)-before)
}

// unlink takes the link at a place out of a list. The last link fills the gap,
// and its relation is returned when it is another one; a list three quarters
// empty moves to a smaller home.
func (g *Graph) unlink(list *[]link, at uint32) (moved uint32, ok bool) {
	l := *list
	last := len(l) - 1
	if int(at) < last {
		l[at] = l[last]
		moved, ok = l[at].rel, true
	}
	l = l[:last]
	before := cap(l)
	switch {
	case last == 0:
		l = nil
	case cap(l) >= 8 && last <= cap(l)/4:
		l = append(make([]link, 0, cap(l)/2), l...)
	}
	*list = l
	g.heap += linkBytes * int64(cap(l)-before)
	return moved, ok
}
