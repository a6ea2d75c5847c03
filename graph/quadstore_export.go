package graph

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/cayleygraph/quad"
	"github.com/cayleygraph/quad/nquads"
)

// WriteNQuads writes the relations of one moment as N-Quads, ordered by names of source,
// target and predicate, and returns how many it wrote. Weights are not part of
// a quad. It copies the topology, 16 bytes a relation, and holds no lock while it
// writes. Names that are not valid UTF-8 cannot be read back as they were.
// Errors are those of w and of ctx.
func (g *Graph) WriteNQuads(ctx context.Context, w io.Writer) (n int, err error) {
	names, preds, quads := g.topology()
	enc := nquads.NewWriter(w)
	for i, x := range quads {
		if i%cancelEvery == 0 && ctx.Err() != nil {
			return n, ctx.Err()
		}
		err := enc.WriteQuad(quad.Quad{
			Subject:   quad.String(names[x.src]),
			Predicate: quad.IRI(preds[x.pred]),
			Object:    quad.String(names[x.tgt]),
		})
		if err != nil {
			return n, fmt.Errorf("write quad %d: %w", i, err)
		}
		n++
	}
	if err := enc.Close(); err != nil {
		return n, fmt.Errorf("close quads: %w", err)
	}
	return n, nil
}

type bareQuad struct {
	src, tgt uint32 // places in the list of names
	pred     uint16
}

// topology copies the relations with their ends numbered in the order of their
// names, so that sorting them compares numbers.
func (g *Graph) topology() (names, preds []string, quads []bareQuad) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	ids := make([]uint32, 0, g.entities)
	for id := range g.nodes {
		if g.nodes[id].next == inUse {
			ids = append(ids, uint32(id))
		}
	}
	slices.SortFunc(ids, func(a, b uint32) int { return cmp.Compare(g.nodes[a].name, g.nodes[b].name) })
	names = make([]string, len(ids))
	quads = make([]bareQuad, 0, g.relations)
	place := make([]uint32, len(g.nodes))
	for i, id := range ids {
		place[id], names[i] = uint32(i), g.nodes[id].name
	}
	for _, id := range ids {
		from := len(quads)
		for _, l := range g.nodes[id].out {
			quads = append(quads, bareQuad{place[id], place[l.to], g.edges[l.rel].pred})
		}
		slices.SortFunc(quads[from:], func(a, b bareQuad) int {
			if a.tgt != b.tgt {
				return cmp.Compare(a.tgt, b.tgt)
			}
			return cmp.Compare(g.preds[a.pred], g.preds[b.pred])
		})
	}
	return names, slices.Clone(g.preds), quads
}
