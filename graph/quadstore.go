package graph

import (
	"context"
	"errors"
	"fmt"

	cayley "github.com/cayleygraph/cayley/graph"
	"github.com/cayleygraph/cayley/graph/iterator"
	"github.com/cayleygraph/quad"
)

// ErrQuad says that a quad is none this graph can hold: entities are
// quad.String, predicates quad.IRI, and there are no labels. Names of users never
// become blank nodes, which Cayley takes for internal ids.
var ErrQuad = errors.New("graph: a quad joins two strings by an IRI and has no label")

// ErrPredicates says that the graph has as many predicates as it can hold.
var ErrPredicates = errors.New("graph: too many predicates")

// QuadStore shows a Graph to Cayley: entities are quad.String, predicates
// quad.IRI, relations quads without a label. It holds no state of its own. It
// is as safe as the graph is, iterators included; an iteration beside a writer
// sees each relation as it is when met, and may miss or meet one that changes.
type QuadStore struct {
	g *Graph
	// held is nil but in a store for one path query.
	held *heldQuery
}

// heldQuery is what one goroutine's path query sees and has read. Whoever made
// it has the graph's lock for as long as it is used, so that a query sees one
// state and takes no lock.
type heldQuery struct {
	v      View
	met    int // candidates met by all scans
	budget int // how many may be
	fanout int // how long a list may be that is read
	err    error
}

var _ cayley.QuadStore = (*QuadStore)(nil)

// QuadStore returns the graph as Cayley sees it. Closing it does nothing.
func (g *Graph) QuadStore() *QuadStore { return &QuadStore{g: g} }

// References to what is in the graph. A nodeRef carries the generation of its
// number and a quadRef its ends, so that neither comes to mean another thing
// when the number is given again.
type (
	nodeRef struct{ id, gen uint32 }
	predRef uint16
	quadRef struct {
		rel, src, tgt uint32
		pred          uint16
	}
)

func (r nodeRef) Key() any { return r }
func (r predRef) Key() any { return r }
func (r quadRef) Key() any { return r }

func (s *QuadStore) lock() {
	if s.held == nil {
		s.g.mu.RLock()
	}
}

func (s *QuadStore) unlock() {
	if s.held == nil {
		s.g.mu.RUnlock()
	}
}

// ValueOf returns the reference of an entity or predicate, or nil.
func (s *QuadStore) ValueOf(v quad.Value) cayley.Ref {
	s.lock()
	defer s.unlock()
	switch v := v.(type) {
	case quad.String:
		if id, ok := s.g.names.find(string(v), s.g.nodes); ok && s.view().has(id) {
			return s.g.nodeRef(id)
		}
	case quad.IRI:
		if p, ok := s.g.predicate(string(v)); ok {
			return predRef(p)
		}
	}
	return nil
}

// NameOf returns the entity or predicate of a reference, or nil if it is gone.
func (s *QuadStore) NameOf(r cayley.Ref) quad.Value {
	s.lock()
	defer s.unlock()
	switch r := r.(type) {
	case cayley.PreFetchedValue:
		return r.NameOf()
	case nodeRef:
		if s.g.holds(r) {
			return quad.String(s.g.nodes[r.id].name)
		}
	case predRef:
		if int(r) < len(s.g.preds) {
			return quad.IRI(s.g.preds[r])
		}
	}
	return nil
}

// Quad returns the quad of a reference, or an empty one if it is gone.
func (s *QuadStore) Quad(r cayley.Ref) quad.Quad {
	e, ok := r.(quadRef)
	if !ok {
		return quad.Quad{}
	}
	s.lock()
	defer s.unlock()
	if !s.joins(e) {
		return quad.Quad{}
	}
	return quad.Quad{
		Subject:   quad.String(s.g.nodes[e.src].name),
		Predicate: quad.IRI(s.g.preds[e.pred]),
		Object:    quad.String(s.g.nodes[e.tgt].name),
	}
}

// QuadDirection returns the entity or predicate at one place of a quad.
func (s *QuadStore) QuadDirection(r cayley.Ref, d quad.Direction) cayley.Ref {
	e, ok := r.(quadRef)
	if !ok {
		return nil
	}
	s.lock()
	defer s.unlock()
	if !s.joins(e) {
		return nil
	}
	switch d {
	case quad.Subject:
		return s.g.nodeRef(e.src)
	case quad.Predicate:
		return predRef(e.pred)
	case quad.Object:
		return s.g.nodeRef(e.tgt)
	}
	return nil
}

// QuadIterator lists the quads that hold a reference at one place.
func (s *QuadStore) QuadIterator(d quad.Direction, r cayley.Ref) cayley.Iterator {
	switch r := r.(type) {
	case nodeRef:
		if d == quad.Subject || d == quad.Object {
			return (&quadShape{s: s, kind: linksOf, dir: d, node: r}).AsLegacy()
		}
	case predRef:
		if d == quad.Predicate {
			return (&quadShape{s: s, kind: quadsOf, pred: r}).AsLegacy()
		}
	}
	return iterator.NewNull()
}

// QuadIteratorSize is the number of quads QuadIterator lists; of a predicate it
// is the number of all quads.
func (s *QuadStore) QuadIteratorSize(_ context.Context, d quad.Direction, r cayley.Ref) (cayley.Size, error) {
	s.lock()
	defer s.unlock()
	switch r := r.(type) {
	case nodeRef:
		if (d == quad.Subject || d == quad.Object) && s.g.holds(r) {
			return s.listSize(r.id, d), nil
		}
	case predRef:
		if d == quad.Predicate {
			return cayley.Size{Size: int64(s.g.relations), Exact: len(s.g.preds) == 1}, nil
		}
	}
	return cayley.Size{Exact: true}, nil
}

// NodesAllIterator lists the entities. Predicates are not among them.
func (s *QuadStore) NodesAllIterator() cayley.Iterator {
	return (&quadShape{s: s, kind: allNodes}).AsLegacy()
}

// QuadsAllIterator lists the quads.
func (s *QuadStore) QuadsAllIterator() cayley.Iterator {
	return (&quadShape{s: s, kind: allQuads}).AsLegacy()
}

// Stats counts entities and quads; it is always exact.
func (s *QuadStore) Stats(context.Context, bool) (cayley.Stats, error) {
	s.lock()
	defer s.unlock()
	return cayley.Stats{
		Nodes: cayley.Size{Size: int64(s.g.entities), Exact: true},
		Quads: cayley.Size{Size: int64(s.g.relations), Exact: true},
	}, nil
}

// Close does nothing: the graph belongs to whoever made it.
func (s *QuadStore) Close() error { return nil }

// ApplyDeltas adds and deletes relations in order; added ones weigh 1. It
// checks all first and applies none if one is ErrQuad or, unless ignored,
// cayley.ErrQuadExists or cayley.ErrQuadNotExist in a cayley.DeltaError.
// Deleting leaves the entities, as relations may come again.
func (s *QuadStore) ApplyDeltas(in []cayley.Delta, o cayley.IgnoreOpts) error {
	if s.held != nil {
		return errors.New("graph: a view for reading does not write")
	}
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if err := s.g.checkDeltas(in, o); err != nil {
		return err
	}
	for _, d := range in {
		src, pred, tgt, _ := quadParts(d.Quad)
		if d.Action == cayley.Delete {
			if rel, ok := s.g.findNamed(src, pred, tgt); ok {
				s.g.removeEdge(rel)
			}
			continue
		}
		p := s.g.addPredicate(pred)
		a, b := s.g.addNode(src), s.g.addNode(tgt)
		if _, ok := s.g.find(a, b, p); !ok {
			rel := s.g.addEdge(a, b, p)
			s.g.edges[rel].weight = 1
		}
	}
	return nil
}

// checkDeltas refuses what cannot be applied, looking at the graph and at what
// earlier deltas of the same batch do to it.
func (g *Graph) checkDeltas(in []cayley.Delta, o cayley.IgnoreOpts) error {
	type triple struct{ src, pred, tgt string }
	there := make(map[triple]bool, len(in))
	fresh := map[string]bool{}
	for _, d := range in {
		src, pred, tgt, err := quadParts(d.Quad)
		if err != nil {
			return &cayley.DeltaError{Delta: d, Err: err}
		}
		k := triple{src, pred, tgt}
		exists, known := there[k]
		if !known {
			_, exists = g.findNamed(src, pred, tgt)
		}
		switch d.Action {
		case cayley.Add:
			if exists && !o.IgnoreDup {
				return &cayley.DeltaError{Delta: d, Err: cayley.ErrQuadExists}
			}
			if _, ok := g.predicate(pred); !ok {
				fresh[pred] = true
			}
			if len(g.preds)+len(fresh) > maxPredicates {
				return &cayley.DeltaError{Delta: d, Err: ErrPredicates}
			}
			there[k] = true
		case cayley.Delete:
			if !exists && !o.IgnoreMissing {
				return &cayley.DeltaError{Delta: d, Err: cayley.ErrQuadNotExist}
			}
			there[k] = false
		default:
			return &cayley.DeltaError{Delta: d, Err: cayley.ErrInvalidAction}
		}
	}
	return nil
}

// NewQuadWriter returns a writer that adds quads as they come, passing over
// those that are there. Closing it does nothing.
func (s *QuadStore) NewQuadWriter() (quad.WriteCloser, error) { return quadWriter{s}, nil }

type quadWriter struct{ s *QuadStore }

func (w quadWriter) WriteQuad(q quad.Quad) error {
	_, err := w.WriteQuads([]quad.Quad{q})
	return err
}

func (w quadWriter) WriteQuads(quads []quad.Quad) (int, error) {
	in := make([]cayley.Delta, len(quads))
	for i, q := range quads {
		in[i] = cayley.Delta{Quad: q, Action: cayley.Add}
	}
	if err := w.s.ApplyDeltas(in, cayley.IgnoreOpts{IgnoreDup: true}); err != nil {
		return 0, fmt.Errorf("write quads: %w", err)
	}
	return len(quads), nil
}

func (w quadWriter) Close() error { return nil }

func quadParts(q quad.Quad) (src, pred, tgt string, err error) {
	s, ok1 := q.Subject.(quad.String)
	p, ok2 := q.Predicate.(quad.IRI)
	t, ok3 := q.Object.(quad.String)
	if !ok1 || !ok2 || !ok3 || q.Label != nil {
		return "", "", "", ErrQuad
	}
	return string(s), string(p), string(t), nil
}

// The methods below want the lock.

func (g *Graph) nodeRef(id uint32) nodeRef { return nodeRef{id, g.nodes[id].gen} }

func (g *Graph) holds(r nodeRef) bool { return g.liveNode(r.id) && g.nodes[r.id].gen == r.gen }

// view is what is in sight: everything, or the part that a path query sees.
func (s *QuadStore) view() View {
	if s.held != nil {
		return s.held.v
	}
	return View{g: s.g}
}

// quadRef is a relation that is there as it is in sight.
func (s *QuadStore) quadRef(rel uint32) quadRef {
	src, tgt, _ := s.view().relation(rel)
	return quadRef{rel, src, tgt, s.g.edges[rel].pred}
}

// joins says whether a relation is in sight and still the one a reference was
// made of.
func (s *QuadStore) joins(r quadRef) bool {
	return s.g.liveEdge(r.rel) && s.view().counts(r.rel) && s.quadRef(r.rel) == r
}

// lists are those that the links of an entity at one place of a quad are in. In
// a part a relation may point the other way, so it is in either.
func (s *QuadStore) lists(id uint32, d quad.Direction) [2][]link {
	n := &s.g.nodes[id]
	switch {
	case s.view().part != nil:
		return [2][]link{n.out, n.in}
	case d == quad.Subject:
		return [2][]link{n.out}
	}
	return [2][]link{n.in}
}

func (s *QuadStore) listSize(id uint32, d quad.Direction) cayley.Size {
	l := s.lists(id, d)
	return cayley.Size{Size: int64(len(l[0]) + len(l[1])), Exact: s.view().part == nil}
}

// predicate finds a predicate by reading them all: there are few.
func (g *Graph) predicate(name string) (uint16, bool) {
	for i, p := range g.preds {
		if p == name {
			return uint16(i), true
		}
	}
	return 0, false
}

func (g *Graph) addPredicate(name string) uint16 {
	if p, ok := g.predicate(name); ok {
		return p
	}
	g.preds = append(g.preds, name)
	g.heap += int64(len(name))
	return uint16(len(g.preds) - 1)
}

func (g *Graph) findNamed(src, pred, tgt string) (uint32, bool) {
	a, ok1 := g.names.find(src, g.nodes)
	b, ok2 := g.names.find(tgt, g.nodes)
	p, ok3 := g.predicate(pred)
	if !ok1 || !ok2 || !ok3 {
		return 0, false
	}
	return g.find(a, b, p)
}
