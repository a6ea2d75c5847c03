package graph

import "cmp"

// Part says which entities and relations of a graph count. Both ends of a
// relation that counts must count.
type Part struct {
	Entity, Relation func(id uint32) bool
	// Degree is the number of relations of an entity that count.
	Degree func(id uint32) int
	// Weight is what a relation weighs in the part, and whether it points the
	// other way there than in the graph; nil is as in the graph. Path and Rank ask
	// it, the other questions do not.
	Weight func(rel uint32) (weight float32, turned bool)
}

// View is a graph, or a part of it, looked at: Popular, Search, KHop,
// ShortestPath, Path and Rank answer as a graph would that holds the part alone;
// but the first four go by the graph's weights and ways that a relation points.
type View struct {
	g    *Graph
	part *Part // nil is all
}

// Within returns a view of a part of the graph; nil is all of it. The functions of
// the part are called under the graph's lock: they may not change the graph.
func (g *Graph) Within(p *Part) View { return View{g, p} }

// Popular is View.Popular of the whole graph.
func (g *Graph) Popular(k int) []uint32 { return g.Within(nil).Popular(k) }

// Search is View.Search of the whole graph.
func (g *Graph) Search(q string, k int) []uint32 { return g.Within(nil).Search(q, k) }

// KHop is View.KHop of the whole graph.
func (g *Graph) KHop(start []uint32, depth, maxNodes, maxFanout int) Walk {
	return g.Within(nil).KHop(start, depth, maxNodes, maxFanout)
}

// ShortestPath is View.ShortestPath of the whole graph.
func (g *Graph) ShortestPath(from, to uint32, maxDepth, maxVisited int) (nodes, relations []uint32, found bool) {
	return g.Within(nil).ShortestPath(from, to, maxDepth, maxVisited)
}

// has reports whether there is an entity with the number and it counts.
func (v View) has(id uint32) bool {
	return v.g.liveNode(id) && (v.part == nil || v.part.Entity(id))
}

// relation is a relation as it is in the view.
func (v View) relation(rel uint32) (src, tgt uint32, weight float32) {
	e := &v.g.edges[rel]
	src, tgt, weight = e.src, e.tgt, e.weight
	if v.part != nil && v.part.Weight != nil {
		w, turned := v.part.Weight(rel)
		if weight = w; turned {
			src, tgt = tgt, src
		}
	}
	return src, tgt, weight
}

func (v View) counts(rel uint32) bool { return v.part == nil || v.part.Relation(rel) }

func (v View) degree(id uint32) int {
	if v.part == nil {
		return v.g.degree(id)
	}
	return v.part.Degree(id)
}

// before is the order of entities in every ranked answer: by degree, the
// highest first, then by name.
func (v View) before(a, b uint32) bool { return v.compareNodes(a, b) < 0 }

func (v View) compareNodes(a, b uint32) int {
	if c := cmp.Compare(v.degree(b), v.degree(a)); c != 0 {
		return c
	}
	return cmp.Compare(v.g.nodes[a].name, v.g.nodes[b].name)
}
