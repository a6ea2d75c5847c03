package graph

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/flat"
)

// wholeGraph is everything that a graph says, by names.
func wholeGraph(g *Graph) string {
	var out []string
	nodes, edges := g.Bound()
	for id := range uint32(nodes) {
		if name, ok := g.NameOK(id); ok {
			again, found := g.Entity(name)
			out = append(out, fmt.Sprintln(name, id, found && again == id, g.Degree(id)))
			g.Neighbours(id, func(n, rel uint32, way bool, w float32) bool {
				out = append(out, fmt.Sprintln(name, g.Name(n), rel, way, w))
				return true
			})
		}
	}
	for rel := range uint32(edges) {
		s, d, w, ok := g.Relation(rel)
		out = append(out, fmt.Sprintln(rel, s, d, w, ok))
	}
	slices.Sort(out)
	e, r := g.Len()
	return fmt.Sprintln(e, r, strings.Join(out, ""))
}

// What is read is what was written, with its numbers, and goes on as that would.
func TestGraph_Snapshot(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 4))
		name := func() string { return fmt.Sprint("n", r.IntN(25)) }
		g := New()
		for range 5 {
			for range r.IntN(80) {
				switch r.IntN(5) {
				case 0:
					g.AddEntity(name())
				case 1:
					if id, ok := g.Entity(name()); ok {
						g.RemoveEntity(id)
					}
				case 2:
					g.Unrelate(uint32(r.IntN(60)))
				default:
					g.Relate(name(), name(), float32(r.IntN(9))/4)
				}
			}
			in := flat.NewReader(g.AppendTo(nil))
			h := ReadGraph(in)
			require.NoError(t, in.End(), "seed %d", seed)
			require.Equal(t, wholeGraph(g), wholeGraph(h), "seed %d", seed)
			require.Equal(t, g.AppendTo(nil), h.AppendTo(nil), "seed %d", seed)
			g = h
		}
		for i := range 25 {
			if id, ok := g.Entity(fmt.Sprint("n", i)); ok {
				require.True(t, g.RemoveEntity(id))
			}
		}
		e, rel := g.Len()
		require.Zero(t, e+rel)
	}
}

// wholePassages is everything that a graph of passages says, by keys.
func wholePassages(p *Passages) string {
	var out []string
	for id := range uint32(p.Passages()) {
		for _, l := range p.NamesOf(id) {
			out = append(out, fmt.Sprintln(id, p.Key(l.Name), l.Subject, p.SentencesOf(id, l)))
		}
	}
	for key, n := range p.number {
		list := slices.Clone(p.PassagesOf(n))
		slices.SortFunc(list, func(a, b NameLink) int { return int(a.ID) - int(b.ID) })
		out = append(out, fmt.Sprintln(key, list))
	}
	slices.Sort(out)
	return strings.Join(out, "")
}

func TestPassages_Snapshot(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 5))
		p := NewPassages()
		change := func(r *rand.Rand, p *Passages) {
			for range r.IntN(60) {
				id := uint32(r.IntN(30))
				if r.IntN(3) == 0 {
					p.Remove(id)
					continue
				}
				var links []Link
				for range r.IntN(8) {
					l := Link{Key: fmt.Sprint("k", r.IntN(30)), Subject: Subject(r.IntN(3))}
					for s := range uint16(9) {
						if r.IntN(4) == 0 {
							l.Sentences = append(l.Sentences, s*100)
						}
					}
					links = append(links, l)
				}
				p.Add(id, links)
			}
		}
		for range 4 {
			change(r, p)
			in := flat.NewReader(p.AppendTo(nil))
			q := ReadPassages(in)
			require.NoError(t, in.End(), "seed %d", seed)
			require.Equal(t, wholePassages(p), wholePassages(q), "seed %d", seed)
			s := r.Uint64()
			change(rand.New(rand.NewPCG(s, 1)), p)
			change(rand.New(rand.NewPCG(s, 1)), q)
			require.Equal(t, wholePassages(p), wholePassages(q), "seed %d", seed)
			p = q
		}
		for id := range uint32(30) {
			p.Remove(id)
		}
		require.Zero(t, p.Bytes(), "seed %d", seed)
	}
}

// Bytes that are neither are refused, or make one that can be read and changed.
func FuzzReadSnapshot(f *testing.F) {
	g := New()
	g.Relate("a", "b", 1)
	g.Relate("b", "c", 2)
	g.Unrelate(0)
	f.Add(g.AppendTo(nil), true)
	p := NewPassages()
	p.Add(2, []Link{{Key: "a", Sentences: []uint16{1, 4}}, {Key: "b", Subject: FullSubject}})
	f.Add(p.AppendTo(nil), false)
	f.Fuzz(func(t *testing.T, b []byte, whole bool) {
		in := flat.NewReader(b)
		if whole {
			g := ReadGraph(in)
			if in.End() == nil {
				_ = wholeGraph(g)
				g.Relate("a", "new", 1)
			}
			return
		}
		p := ReadPassages(in)
		if in.End() == nil {
			_ = wholePassages(p)
			for id := range uint32(9) {
				p.Add(id, []Link{{Key: "a"}})
				p.Remove(id)
			}
		}
	})
}
