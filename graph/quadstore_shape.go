package graph

import (
	"context"

	cayley "github.com/cayleygraph/cayley/graph"
	"github.com/cayleygraph/quad"
)

type shapeKind uint8

const (
	linksOf  shapeKind = iota // the quads of one entity in one direction
	quadsOf                   // the quads of one predicate
	allQuads                  // every quad
	allNodes                  // every entity
)

// quadShape lists quads or entities. It is always used by its pointer: Cayley's
// optimiser compares shapes with == and panics on those it cannot compare.
type quadShape struct {
	s    *QuadStore
	kind shapeKind
	dir  quad.Direction
	node nodeRef
	pred predRef
}

// legacyShape is the older face of an iterator that Cayley's path package
// still asks for.
type legacyShape struct {
	cayley.Iterator
	shape *quadShape
}

func (l *legacyShape) AsShape() cayley.IteratorShape { return l.shape }

func (h *quadShape) AsLegacy() cayley.Iterator {
	l := &legacyShape{shape: h}
	l.Iterator = cayley.NewLegacy(h, l)
	return l
}

func (h *quadShape) String() string                       { return "alcove(" + h.dir.String() + ")" }
func (h *quadShape) SubIterators() []cayley.IteratorShape { return nil }
func (h *quadShape) Lookup() cayley.Index                 { return &quadScan{h: h} }

// Optimize has nothing to add: every list is already an index.
func (h *quadShape) Optimize(context.Context) (cayley.IteratorShape, bool) { return h, false }

// Stats tells the optimiser what is worth walking: a list costs what its
// length says, a test of membership one look at a record.
func (h *quadShape) Stats(context.Context) (cayley.IteratorCosts, error) {
	h.s.lock()
	defer h.s.unlock()
	g := h.s.g
	c := cayley.IteratorCosts{ContainsCost: 1, NextCost: 1, Size: cayley.Size{Exact: true}}
	switch h.kind {
	case linksOf:
		if g.holds(h.node) {
			c.Size = h.s.listSize(h.node.id, h.dir)
		}
	case quadsOf:
		c.Size = cayley.Size{Size: int64(g.relations), Exact: len(g.preds) == 1 && h.s.view().part == nil}
	case allQuads:
		c.Size = cayley.Size{Size: int64(g.relations), Exact: h.s.view().part == nil}
	case allNodes:
		c.Size = cayley.Size{Size: int64(g.entities), Exact: h.s.view().part == nil}
	}
	return c, nil
}

// Iterate copies the list of an entity: a writer changes lists in place.
func (h *quadShape) Iterate() cayley.Scanner {
	c := &quadScan{h: h}
	if h.kind == linksOf {
		h.s.lock()
		if h.s.g.holds(h.node) {
			c.lists = h.s.lists(h.node.id, h.dir)
			c.err = h.s.tooWide(h.node.id, len(c.lists[0])+len(c.lists[1]))
		}
		if h.s.held == nil {
			c.lists[0] = append([]link(nil), c.lists[0]...) // the other is empty
		}
		h.s.unlock()
	}
	return c
}

// quadScan is one pass over a shape, or a test of membership in it.
type quadScan struct {
	h     *quadShape
	lists [2][]link
	next  int
	met   int
	cur   cayley.Ref
	err   error
}

// cancelEvery is how many candidates are met between two looks at the context.
// Cayley's own loops look only when there is a result, and a query may go
// through many short lists that give none.
const cancelEvery = 256

// cancelled counts a candidate, and now and then asks the context.
func (c *quadScan) cancelled(ctx context.Context) bool {
	n := &c.met
	if h := c.h.s.held; h != nil {
		n = &h.met
		if h.met >= h.budget && h.err == nil {
			h.err = pathWork("read more than %d relations", h.budget)
		}
		if c.err = h.err; c.err != nil {
			return true
		}
	}
	if *n++; *n%cancelEvery == 0 {
		c.err = ctx.Err()
	}
	return c.err != nil
}

// tooWide refuses an entity with more relations than a path query follows.
func (s *QuadStore) tooWide(id uint32, links int) error {
	if s.held == nil || links <= s.held.fanout {
		return nil
	}
	if v := s.held.v; v.part != nil {
		if links = v.degree(id); links <= s.held.fanout {
			return nil
		}
	}
	if s.held.err == nil {
		s.held.err = pathWork("come to %q, which has %d relations; at most %d are followed", s.g.nodes[id].name, links, s.held.fanout)
	}
	return s.held.err
}

func (c *quadScan) String() string                   { return c.h.String() }
func (c *quadScan) TagResults(map[string]cayley.Ref) {}
func (c *quadScan) Result() cayley.Ref               { return c.cur }
func (c *quadScan) NextPath(context.Context) bool    { return false }
func (c *quadScan) Err() error                       { return c.err }
func (c *quadScan) Close() error                     { return nil }

func (c *quadScan) Next(ctx context.Context) bool {
	c.cur = nil
	if c.err != nil {
		return false
	}
	c.h.s.lock()
	defer c.h.s.unlock()
	g := c.h.s.g
	for ; ; c.next++ {
		if c.cancelled(ctx) {
			return false
		}
		i := c.next
		switch c.h.kind {
		case linksOf:
			first := len(c.lists[0])
			switch {
			case i < first:
				c.cur = c.linkAt(g, c.lists[0][i])
			case i-first < len(c.lists[1]):
				if l := c.lists[1][i-first]; l.to != c.h.node.id { // else the first list had it
					c.cur = c.linkAt(g, l)
				}
			default:
				return false
			}
		case allNodes:
			if i >= len(g.nodes) {
				return false
			}
			if c.h.s.view().has(uint32(i)) {
				c.cur = g.nodeRef(uint32(i))
			}
		default:
			if i >= len(g.edges) {
				return false
			}
			if g.edges[i].live && (c.h.kind == allQuads || g.edges[i].pred == uint16(c.h.pred)) && c.h.s.view().counts(uint32(i)) {
				c.cur = c.h.s.quadRef(uint32(i))
			}
		}
		if c.cur != nil {
			c.next++
			return true
		}
	}
}

// linkAt is the quad of a link, or nil if the relation is no longer that one.
func (c *quadScan) linkAt(g *Graph, l link) cayley.Ref {
	if !g.holds(c.h.node) || !g.liveEdge(l.rel) || !c.h.s.view().counts(l.rel) {
		return nil
	}
	r := c.h.s.quadRef(l.rel)
	at, other := r.src, r.tgt
	if c.h.dir == quad.Object {
		at, other = r.tgt, r.src
	}
	if at != c.h.node.id || other != l.to {
		return nil
	}
	return r
}

func (c *quadScan) Contains(_ context.Context, v cayley.Ref) bool {
	c.cur = nil
	c.h.s.lock()
	defer c.h.s.unlock()
	g := c.h.s.g
	ok := false
	switch v := v.(type) {
	case nodeRef:
		ok = c.h.kind == allNodes && g.holds(v) && c.h.s.view().has(v.id)
	case quadRef:
		if !c.h.s.joins(v) {
			return false
		}
		switch c.h.kind {
		case allQuads:
			ok = true
		case quadsOf:
			ok = v.pred == uint16(c.h.pred)
		case linksOf:
			end := v.src
			if c.h.dir == quad.Object {
				end = v.tgt
			}
			ok = end == c.h.node.id && g.holds(c.h.node)
		}
	}
	if ok {
		c.cur = v
	}
	return ok
}
