package graph

import (
	"math"

	"alcove/flat"
)

// AppendTo writes the graph behind b as ReadGraph reads it: names and relations; the
// lists of each entity follow from them.
func (g *Graph) AppendTo(b []byte) []byte {
	g.mu.RLock()
	defer g.mu.RUnlock()
	b = flat.AppendUint(b, uint64(len(g.preds)))
	for _, p := range g.preds {
		b = flat.AppendString(b, p)
	}
	b = flat.AppendUint(b, uint64(len(g.nodes)))
	for i := range g.nodes {
		if !g.liveNode(uint32(i)) {
			b = append(b, 0)
			continue
		}
		b = flat.AppendString(append(b, 1), g.nodes[i].name)
	}
	b = flat.AppendUint(b, uint64(len(g.edges)))
	for i := range g.edges {
		e := &g.edges[i]
		if !e.live {
			b = append(b, 0)
			continue
		}
		b = flat.AppendUint(b, 1+uint64(e.pred))
		b = flat.AppendUint(b, uint64(e.src))
		b = flat.AppendUint(b, uint64(e.tgt))
		b = flat.AppendUint(b, uint64(math.Float32bits(e.weight)))
	}
	return b
}

// ReadGraph reads what AppendTo wrote: a graph in which entities and relations have
// the numbers they had. What does not add up is a fault of r.
func ReadGraph(r *flat.Reader) *Graph {
	g := New()
	g.preds = make([]string, r.Count(1))
	for i := range g.preds {
		g.preds[i] = r.String()
	}
	if len(g.preds) == 0 || len(g.preds) > maxPredicates || g.preds[0] != Related {
		r.Fail("predicate 0 is not %s", Related)
		return New()
	}
	g.nodes = make([]node, r.Count(1))
	for i := range g.nodes {
		n := &g.nodes[i]
		if r.Below(2) == 0 {
			n.next, g.freeNode = g.freeNode, uint32(i)
			continue
		}
		n.name, n.next = r.String(), inUse
		g.heap += int64(len(n.name))
		g.entities++
	}
	if r.Err() != nil {
		return New()
	}
	slots := 8
	for 3*slots < 4*(g.entities+1) {
		slots *= 2
	}
	g.names.slots = make([]uint32, slots)
	for i := range g.nodes {
		if !g.liveNode(uint32(i)) {
			continue
		}
		if _, twice := g.names.find(g.nodes[i].name, g.nodes); twice {
			r.Fail("two entities have one name")
			return New()
		}
		g.names.place(uint32(i), g.nodes)
		g.names.used++
	}
	g.edges = make([]edge, r.Count(1))
	out, in := make([]uint32, len(g.nodes)), make([]uint32, len(g.nodes))
	for i := range g.edges {
		e := &g.edges[i]
		pred := r.Below(len(g.preds) + 1)
		if pred == 0 {
			e.src, g.freeEdge = g.freeEdge, uint32(i)
			continue
		}
		*e = edge{src: r.Below(len(g.nodes)), tgt: r.Below(len(g.nodes)), weight: math.Float32frombits(uint32(r.Uint())), pred: uint16(pred - 1), live: true}
		if r.Err() != nil {
			return New()
		}
		if !g.liveNode(e.src) || !g.liveNode(e.tgt) {
			r.Fail("relation %d joins what is no entity", i)
			return New()
		}
		out[e.src]++
		in[e.tgt]++
		g.relations++
	}
	var links flat.Slab[link]
	for i := range g.nodes {
		n := &g.nodes[i]
		n.out, n.in = links.Take(int(out[i]))[:0], links.Take(int(in[i]))[:0]
		g.heap += linkBytes * int64(cap(n.out)+cap(n.in))
	}
	for i := range g.edges {
		if e := &g.edges[i]; e.live {
			src, tgt := &g.nodes[e.src], &g.nodes[e.tgt]
			e.outAt, e.inAt = uint32(len(src.out)), uint32(len(tgt.in))
			src.out = append(src.out, link{e.tgt, uint32(i)})
			tgt.in = append(tgt.in, link{e.src, uint32(i)})
		}
	}
	return g
}

// Bound is above every number of an entity and of a relation: what an array over them needs.
func (g *Graph) Bound() (entities, relations int) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.nodes), len(g.edges)
}
