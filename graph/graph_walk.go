package graph

import (
	"cmp"
	"slices"
	"sync"
)

// Walk is what KHop found.
type Walk struct {
	Nodes     []uint32 // by depth, within a depth by degree (highest first), then by name
	Depths    []int    // of each node, 0 for a start
	Relations []uint32 // among the nodes, by names of source and target, then by predicate
	Truncated bool     // a limit left something out
}

// KHop walks from some entities breadth first, whichever way relations point,
// and returns the entities within depth steps and the relations among them. At
// most maxNodes entities are returned, of a level those of the highest degree;
// from each entity at most maxFanout new neighbours are taken, likewise; and at
// most maxNodes*maxFanout relations are returned. A limit below 1 lets nothing
// through, except that depth 0 is the starts alone. Unknown and repeated starts
// are passed over. It reads every link of each entity it goes through.
func (v View) KHop(start []uint32, depth, maxNodes, maxFanout int) Walk {
	v.g.mu.RLock()
	defer v.g.mu.RUnlock()
	var w Walk
	maxNodes = max(0, maxNodes)
	seen := newMarks(len(v.g.nodes))
	defer allMarks.Put(seen)
	level := make([]uint32, 0, 16)
	for _, id := range start {
		if v.has(id) && !seen.has(id) {
			seen.set(id)
			level = append(level, id)
		}
	}
	for d := 0; len(level) > 0; d++ {
		level = v.topNodes(level, maxNodes-len(w.Nodes), seen, &w.Truncated)
		for _, id := range level {
			w.Nodes = append(w.Nodes, id)
			w.Depths = append(w.Depths, d)
		}
		if d >= depth || w.Truncated && len(w.Nodes) >= maxNodes {
			break
		}
		level = v.nextLevel(level, maxFanout, seen, &w.Truncated)
	}
	v.induced(&w, seen, maxNodes, maxFanout)
	return w
}

// marks is a set of entities as an array by number: a walk asks it for every link it
// reads, and a map costs ten times as much there. It is emptied by counting on.
type marks struct {
	of  []uint32
	now uint32
}

var allMarks = sync.Pool{New: func() any { return new(marks) }}

func newMarks(n int) *marks {
	m := allMarks.Get().(*marks)
	if len(m.of) < n {
		*m = marks{of: make([]uint32, n+n/4)}
	}
	if m.now++; m.now == 0 { // it went round
		clear(m.of)
		m.now = 1
	}
	return m
}

func (m *marks) has(id uint32) bool { return m.of[id] == m.now }
func (m *marks) set(id uint32)      { m.of[id] = m.now }
func (m *marks) unset(id uint32)    { m.of[id] = 0 }

// topNodes orders nodes and keeps the first n; the others leave seen.
func (v View) topNodes(nodes []uint32, n int, seen *marks, truncated *bool) []uint32 {
	slices.SortFunc(nodes, v.compareNodes)
	if len(nodes) <= n {
		return nodes
	}
	*truncated = true
	for _, id := range nodes[n:] {
		seen.unset(id)
	}
	return nodes[:n]
}

// nextLevel collects the unseen neighbours of a level and marks them seen. The
// fan-out of a node is cut among all that earlier levels left, not among what
// its brothers left, so that the result does not depend on who is asked first.
func (v View) nextLevel(level []uint32, maxFanout int, seen *marks, truncated *bool) []uint32 {
	var next []uint32
	taken := newMarks(len(v.g.nodes))
	defer allMarks.Put(taken)
	var own []uint32
	for _, id := range level {
		n := &v.g.nodes[id]
		if len(n.out)+len(n.in) <= maxFanout {
			for _, list := range [2][]link{n.out, n.in} {
				for _, l := range list {
					if seen.has(l.to) || taken.has(l.to) || !v.counts(l.rel) {
						continue
					}
					taken.set(l.to)
					next = append(next, l.to)
				}
			}
			continue
		}
		own = own[:0]
		for _, list := range [2][]link{n.out, n.in} {
			for _, l := range list {
				if !seen.has(l.to) && v.counts(l.rel) {
					own = append(own, l.to)
				}
			}
		}
		slices.Sort(own)
		own = slices.Compact(own) // an entity related both ways is met twice
		if len(own) > maxFanout {
			*truncated = true
			t := top{k: max(0, maxFanout), before: v.before}
			for _, to := range own {
				t.push(to)
			}
			own = append(own[:0], t.ids...)
		}
		for _, to := range own {
			if !taken.has(to) {
				taken.set(to)
				next = append(next, to)
			}
		}
	}
	for _, id := range next {
		seen.set(id)
	}
	return next
}

// induced fills in the relations among the nodes, which are all that is in seen.
func (v View) induced(w *Walk, seen *marks, maxNodes, maxFanout int) {
	g := v.g
	for _, id := range w.Nodes {
		n := &g.nodes[id]
		for _, l := range n.out {
			if seen.has(l.to) && v.counts(l.rel) {
				w.Relations = append(w.Relations, l.rel)
			}
		}
	}
	slices.SortFunc(w.Relations, g.compareEdges)
	if limit := int64(maxNodes) * int64(max(0, maxFanout)); int64(len(w.Relations)) > limit {
		w.Relations, w.Truncated = w.Relations[:limit], true
	}
}

// compareEdges orders relations by names of source, target and predicate.
func (g *Graph) compareEdges(a, b uint32) int {
	x, y := &g.edges[a], &g.edges[b]
	if x.src != y.src {
		return cmp.Compare(g.nodes[x.src].name, g.nodes[y.src].name)
	}
	if x.tgt != y.tgt {
		return cmp.Compare(g.nodes[x.tgt].name, g.nodes[y.tgt].name)
	}
	return cmp.Compare(g.preds[x.pred], g.preds[y.pred])
}

// ShortestPath returns a shortest path between two entities, whichever way its
// relations point: the entities from one to the other and the relations between
// them. Of the shortest paths it is the one whose names come first, and of
// several relations between two neighbours the heaviest, then the one that
// points onward, then by predicate. An entity is one entity and no relation away from
// itself.
//
// It looks back from the end, a whole level of entities at a time, and gives up
// when no path of at most maxDepth relations exists or when another level would
// take it past maxVisited entities; found is then false.
func (v View) ShortestPath(from, to uint32, maxDepth, maxVisited int) (nodes, relations []uint32, found bool) {
	v.g.mu.RLock()
	defer v.g.mu.RUnlock()
	if !v.has(from) || !v.has(to) || maxDepth < 0 {
		return nil, nil, false
	}
	distance := map[uint32]int{to: 0}
	level := []uint32{to}
	d := 0
	for from != to && !v.touches(from, distance) {
		if d+2 > maxDepth {
			return nil, nil, false
		}
		d++
		if level = v.pathLevel(level, d, distance, maxVisited); len(level) == 0 {
			return nil, nil, false
		}
	}
	at := from
	if from != to {
		d++
		if d > maxDepth {
			return nil, nil, false
		}
		distance[from] = d
	}
	nodes = append(nodes, at)
	for ; at != to; d-- {
		next, rel := v.step(at, d-1, distance)
		nodes, relations = append(nodes, next), append(relations, rel)
		at = next
	}
	return nodes, relations, true
}

// touches says whether an entity has a neighbour among those reached. It is
// asked after each level, so the neighbour is on the last one.
func (v View) touches(id uint32, distance map[uint32]int) bool {
	for _, list := range [2][]link{v.g.nodes[id].out, v.g.nodes[id].in} {
		for _, l := range list {
			if _, ok := distance[l.to]; ok && v.counts(l.rel) {
				return true
			}
		}
	}
	return false
}

// pathLevel reaches the next level, or none when it would pass maxVisited: a
// level cut in the middle would depend on the order of the lists.
func (v View) pathLevel(level []uint32, d int, distance map[uint32]int, maxVisited int) []uint32 {
	var next []uint32
	for _, id := range level {
		for _, list := range [2][]link{v.g.nodes[id].out, v.g.nodes[id].in} {
			for _, l := range list {
				if _, old := distance[l.to]; old || !v.counts(l.rel) {
					continue
				}
				if len(distance) >= maxVisited {
					return nil
				}
				distance[l.to] = d
				next = append(next, l.to)
			}
		}
	}
	return next
}

// step chooses the next entity of a path and the relation to it.
func (v View) step(at uint32, d int, distance map[uint32]int) (next, rel uint32) {
	g := v.g
	next, rel = none, none
	onward := false
	for way, list := range [2][]link{g.nodes[at].out, g.nodes[at].in} {
		for _, l := range list {
			if x, ok := distance[l.to]; !ok || x != d || !v.counts(l.rel) {
				continue
			}
			if next != none && l.to != next && g.nodes[l.to].name > g.nodes[next].name {
				continue
			}
			if l.to == next && !g.heavier(l.rel, way == 0, rel, onward) {
				continue
			}
			next, rel, onward = l.to, l.rel, way == 0
		}
	}
	return next, rel
}

func (g *Graph) heavier(a uint32, aOnward bool, b uint32, bOnward bool) bool {
	x, y := &g.edges[a], &g.edges[b]
	if x.weight != y.weight {
		return x.weight > y.weight
	}
	if aOnward != bOnward {
		return aOnward
	}
	return g.preds[x.pred] < g.preds[y.pred]
}
