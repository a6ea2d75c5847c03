package graph

import (
	"context"
	"fmt"

	cayley "github.com/cayleygraph/cayley/graph"
	"github.com/cayleygraph/cayley/graph/memstore"
	"github.com/cayleygraph/cayley/graph/path"
	"github.com/cayleygraph/quad"
)

// Baseline is Cayley's own memory store behind the few questions that a bench
// asks of a Graph, for comparison in one run. It is no part of the product: a read
// beside a write ends the process.
type Baseline struct{ qs *memstore.QuadStore }

// NewBaseline returns an empty store.
func NewBaseline() *Baseline { return &Baseline{memstore.New()} }

func (b *Baseline) apply(src, tgt string, action cayley.Procedure) {
	err := b.qs.ApplyDeltas([]cayley.Delta{{
		Quad:   quad.Quad{Subject: quad.String(src), Predicate: quad.IRI(Related), Object: quad.String(tgt)},
		Action: action,
	}}, cayley.IgnoreOpts{IgnoreDup: true, IgnoreMissing: true})
	if err != nil {
		panic("graph: memory store: " + err.Error()) // it has nothing to refuse
	}
}

// Relate adds a relation.
func (b *Baseline) Relate(src, tgt string) { b.apply(src, tgt, cayley.Add) }

// Unrelate takes a relation away.
func (b *Baseline) Unrelate(src, tgt string) { b.apply(src, tgt, cayley.Delete) }

// Neighbours calls f with the name at the other end of each relation of an entity,
// by the store's iterators.
func (b *Baseline) Neighbours(ctx context.Context, name string, f func(name string)) {
	v := b.qs.ValueOf(quad.String(name))
	if v == nil {
		return
	}
	for _, d := range [2][2]quad.Direction{{quad.Subject, quad.Object}, {quad.Object, quad.Subject}} {
		it := b.qs.QuadIterator(d[0], v)
		for it.Next(ctx) {
			if s, ok := b.qs.NameOf(b.qs.QuadDirection(it.Result(), d[1])).(quad.String); ok {
				f(string(s))
			}
		}
		_ = it.Close()
	}
}

// Path counts the entities that some steps lead to, whichever way relations point,
// by Cayley's path API.
func (b *Baseline) Path(ctx context.Context, name string, steps int) (n int, err error) {
	p := path.StartPath(b.qs, quad.String(name))
	for range steps {
		p = p.Both().Unique()
	}
	if err := p.Iterate(ctx).Paths(false).Each(func(cayley.Ref) { n++ }); err != nil {
		return 0, fmt.Errorf("path: %w", err)
	}
	return n, nil
}
