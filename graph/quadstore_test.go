package graph

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	cayley "github.com/cayleygraph/cayley/graph"
	"github.com/cayleygraph/cayley/graph/memstore"
	"github.com/cayleygraph/cayley/graph/path"
	"github.com/cayleygraph/quad"
	"github.com/stretchr/testify/require"
)

func randomQuad(r *rand.Rand, names int) quad.Quad {
	return quad.Quad{
		Subject:   quad.String(fmt.Sprint("n", r.IntN(names))),
		Predicate: quad.IRI([]string{Related, "p1", "p2"}[r.IntN(3)]),
		Object:    quad.String(fmt.Sprint("n", r.IntN(names))),
	}
}

// heldStore is a store as a path query has it, without its limits.
func heldStore(v View) *QuadStore {
	return &QuadStore{g: v.g, held: &heldQuery{v: v, budget: math.MaxInt, fanout: math.MaxInt}}
}

func run(t *testing.T, qs cayley.QuadStore, p *path.Path) []string {
	t.Helper()
	out := []string{}
	err := p.Iterate(context.Background()).EachValue(qs, func(v quad.Value) { out = append(out, quad.StringOf(v)) })
	require.NoError(t, err)
	slices.Sort(out)
	return out
}

// pathShapes are path queries of every kind that the path API is used for.
func pathShapes(qs cayley.QuadStore, v quad.Value) []*path.Path {
	start := func() *path.Path { return path.StartPath(qs, v) }
	p0, p1, p2 := quad.IRI(Related), quad.IRI("p1"), quad.IRI("p2")
	return []*path.Path{
		start().Out(p0),
		start().In(p1, p2),
		start().Out().Unique(),
		start().Both().Unique(),
		start().Both(p0).Both(p1).Unique(),
		start().Out(p0).Has(p1, quad.String("n3")),
		start().FollowRecursive(p0, 3, nil),
		start().OutPredicates(),
		start().Both(p0, p1).In(p2).Out(p0).Unique(),
		start().Out(p0).And(path.StartPath(qs, quad.String("n2")).In(p1)),
		start().Out(quad.IRI("no such")),
	}
}

// exceptShape is apart because Cayley v0.7.7 panics on Except of nothing.
func exceptShape(qs cayley.QuadStore, v, not quad.Value) *path.Path {
	return path.StartPath(qs, v).Out(quad.IRI(Related)).Except(path.StartPath(qs, not))
}

// The same history gives the same answers as Cayley's own memory store, to
// every kind of path query; it holds the same quads, and they are what plain
// maps hold.
func TestQuadStore_AgreesWithMemstore(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 6))
		g := New()
		mine, ref := cayley.QuadStore(g.QuadStore()), memstore.New()
		plain := map[quad.Quad]bool{}
		ignore := cayley.IgnoreOpts{IgnoreDup: true, IgnoreMissing: true}
		for range 300 {
			d := cayley.Delta{Quad: randomQuad(r, 20), Action: cayley.Add}
			if r.IntN(4) == 0 {
				d.Action = cayley.Delete
			}
			require.NoError(t, mine.ApplyDeltas([]cayley.Delta{d}, ignore))
			require.NoError(t, ref.ApplyDeltas([]cayley.Delta{d}, ignore))
			plain[d.Quad] = d.Action == cayley.Add
			if r.IntN(40) == 0 { // an entity goes with its quads
				name := fmt.Sprint("n", r.IntN(20))
				if id, ok := g.Entity(name); ok {
					g.RemoveEntity(id)
				}
				for q := range plain {
					if plain[q] && (q.Subject == quad.String(name) || q.Object == quad.String(name)) {
						plain[q] = false
						require.NoError(t, ref.ApplyDeltas([]cayley.Delta{{Quad: q, Action: cayley.Delete}}, ignore))
					}
				}
			}
		}
		want := map[quad.Quad]bool{}
		for q, there := range plain {
			if there {
				want[q] = true
			}
		}
		got := map[quad.Quad]bool{}
		require.NoError(t, cayley.Iterate(context.Background(), mine.QuadsAllIterator()).Each(func(ref cayley.Ref) {
			got[mine.Quad(ref)] = true
		}))
		require.Equal(t, want, got)
		st, err := mine.Stats(context.Background(), true)
		require.NoError(t, err)
		require.Equal(t, int64(len(want)), st.Quads.Size)
		held := heldStore(g.Within(nil))
		for n := range 20 {
			v := quad.String(fmt.Sprint("n", n))
			if mine.ValueOf(v) == nil || ref.ValueOf(v) == nil {
				continue // memstore forgets an entity with its last relation
			}
			theirs := pathShapes(ref, v)
			for i, p := range pathShapes(mine, v) {
				want := run(t, ref, theirs[i])
				require.Equal(t, want, run(t, mine, p), "seed %d node %d query %d", seed, n, i)
				require.Equal(t, want, run(t, held, pathShapes(held, v)[i]))
			}
			if not := quad.String("n1"); mine.ValueOf(not) != nil && ref.ValueOf(not) != nil {
				require.Equal(t, run(t, ref, exceptShape(ref, v, not)), run(t, mine, exceptShape(mine, v, not)))
			}
		}
	}
}

// A batch is applied whole or not at all, and quads of other kinds are refused.
func TestQuadStore_Refuses(t *testing.T) {
	g := New()
	s := g.QuadStore()
	q := quad.Quad{Subject: quad.String("a"), Predicate: quad.IRI(Related), Object: quad.String("b")}
	add := func(q quad.Quad) cayley.Delta { return cayley.Delta{Quad: q, Action: cayley.Add} }
	del := func(q quad.Quad) cayley.Delta { return cayley.Delta{Quad: q, Action: cayley.Delete} }
	labelled, blank, hollow := q, q, q
	labelled.Label = quad.String("doc")
	blank.Subject = quad.BNode("memnode1")
	hollow.Object = nil
	for _, c := range []struct {
		name string
		in   []cayley.Delta
		want error
	}{
		{"nothing in it", []cayley.Delta{add(q), add(quad.Quad{})}, ErrQuad},
		{"no object", []cayley.Delta{add(q), add(hollow)}, ErrQuad},
		{"a blank node", []cayley.Delta{add(q), add(blank)}, ErrQuad},
		{"a label", []cayley.Delta{add(q), add(labelled)}, ErrQuad},
		{"twice in one batch", []cayley.Delta{add(q), add(q)}, cayley.ErrQuadExists},
		{"not there", []cayley.Delta{del(q)}, cayley.ErrQuadNotExist},
		{"deleted twice", []cayley.Delta{add(q), del(q), del(q)}, cayley.ErrQuadNotExist},
		{"no action", []cayley.Delta{{Quad: q}}, cayley.ErrInvalidAction},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := s.ApplyDeltas(c.in, cayley.IgnoreOpts{})
			var d *cayley.DeltaError
			require.ErrorAs(t, err, &d)
			require.ErrorIs(t, d.Err, c.want)
			e, r := g.Len()
			require.Zero(t, e+r)
		})
	}
	require.NoError(t, s.ApplyDeltas([]cayley.Delta{add(q), del(q), add(q)}, cayley.IgnoreOpts{}))
	require.Equal(t, q, s.Quad(func() cayley.Ref { id, _ := g.FindRelation(0, 1); return g.QuadStore().quadRef(id) }()))
}

// A reference that outlives what it stood for stands for nothing, even when the
// number is given again.
func TestQuadStore_OldReferencesMiss(t *testing.T) {
	g := New()
	s := g.QuadStore()
	rel := g.Relate("a", "b", 1)
	node, edge := s.ValueOf(quad.String("a")), g.QuadStore().quadRef(rel)
	it := s.QuadIterator(quad.Subject, node)
	require.NotNil(t, node)
	g.RemoveEntity(node.(nodeRef).id)
	require.Equal(t, rel, g.Relate("c", "b", 1))
	id, _ := g.Entity("c")
	require.Equal(t, node.(nodeRef).id, id)
	require.Nil(t, s.NameOf(node))
	require.Equal(t, quad.Quad{}, s.Quad(g.staleFor(edge)))
	require.False(t, it.Next(context.Background()))
	require.False(t, s.NodesAllIterator().Contains(context.Background(), node))
}

// staleFor is a reference like r but with other ends.
func (g *Graph) staleFor(r quadRef) quadRef { r.tgt++; return r }

// Path queries through the store run beside a writer: a matter for the race
// detector, iterators over everything included.
func TestQuadStore_ReadersBesideAWriter(t *testing.T) {
	g := New()
	s := g.QuadStore()
	var wg sync.WaitGroup
	for seed := range uint64(2) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 8))
			for i := range 150 {
				v := fmt.Sprint("n", r.IntN(100))
				for _, p := range pathShapes(s, quad.String(v)) {
					_ = p.Iterate(context.Background()).EachValue(s, func(quad.Value) {})
				}
				_, _ = g.Path(context.Background(), PathQuery{Start: []string{v}, Steps: []Step{{Follow: Both}, {Follow: Out}}, Limit: 10})
				if i%30 == 0 {
					_ = path.StartPath(s).Out().Unique().Iterate(context.Background()).EachValue(s, func(quad.Value) {})
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(9, 9))
	for i := range 5000 {
		d := cayley.Delta{Quad: randomQuad(r, 100), Action: cayley.Add}
		if i%3 == 0 {
			d.Action = cayley.Delete
		}
		require.NoError(t, s.ApplyDeltas([]cayley.Delta{d}, cayley.IgnoreOpts{IgnoreDup: true, IgnoreMissing: true}))
		if i%7 == 0 {
			g.RemoveEntity(uint32(r.IntN(100)))
		}
	}
	wg.Wait()
}

type refuses struct{}

func (refuses) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// Cayley comes with scripts, web servers and stores of its own; the parts used
// here bring in none of what those need.
func TestCayleyBringsLittle(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "alcove/graph").Output()
	if err != nil {
		t.Skip("the go command cannot list packages here:", err)
	}
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	modules = slices.Compact(modules)
	for _, m := range modules {
		ok := m == "alcove" || m == "github.com/cayleygraph/cayley" || m == "github.com/cayleygraph/quad" || strings.HasPrefix(m, "golang.org/x/")
		require.True(t, ok, "package graph links %s", m)
	}
}

// On one random history the adjacency, Cayley's memory store and plain maps give
// the same neighbours, degrees, distances and paths, while readers ask the
// adjacency everything it can be asked, its part for Cayley included. (Cayley's own
// store is asked by the writer alone: a read beside a write ends the process.)
func TestGraph_ThreeStoresOneHistory(t *testing.T) {
	for seed := range uint64(2) {
		r := rand.New(rand.NewPCG(seed, 61))
		g, m := New(), newModel()
		mine, ref := g.QuadStore(), memstore.New()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for reader := range uint64(2) {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(reader, 62))
				for {
					select {
					case <-stop:
						return
					default:
					}
					name := fmt.Sprint("n", r.IntN(30))
					id, _ := g.Entity(name)
					runtime.Gosched()
					g.Neighbours(id, func(n, _ uint32, _ bool, _ float32) bool { g.Degree(n); return true })
					g.KHop([]uint32{id}, 2, 20, 20)
					g.ShortestPath(id, uint32(r.IntN(30)), 4, 100)
					_, _ = g.Path(context.Background(), PathQuery{Start: []string{name}, Steps: []Step{{Follow: Both, Hops: 2}}, Limit: 10})
					_, _ = g.Within(nil).Rank(context.Background(), RankQuery{Seeds: []uint32{id}, Bound: 1e-3, Limit: 5})
					_, _ = g.Within(nil).Network().Communities(context.Background(), 1)
					_ = path.StartPath(mine, quad.String(name)).Both().Unique().Iterate(context.Background()).EachValue(mine, func(quad.Value) {})
				}
			})
		}
		ignore := cayley.IgnoreOpts{IgnoreDup: true, IgnoreMissing: true}
		for step := range 300 {
			a, b := fmt.Sprint("n", r.IntN(30)), fmt.Sprint("n", r.IntN(30))
			d := cayley.Delta{Quad: quad.Quad{Subject: quad.String(a), Predicate: quad.IRI(Related), Object: quad.String(b)}, Action: cayley.Add}
			if r.IntN(3) == 0 {
				d.Action = cayley.Delete
				delete(m.edges, [2]string{a, b})
				if rel, ok := g.findNamedLocked(a, b); ok {
					g.Unrelate(rel)
				}
			} else {
				m.relate(a, b, 1)
				g.Relate(a, b, 1)
			}
			require.NoError(t, ref.ApplyDeltas([]cayley.Delta{d}, ignore))
			if step%100 != 99 {
				continue
			}
			m.check(t, g)
			for name := range m.nodes {
				v := quad.String(name)
				near := run(t, mine, path.StartPath(mine, v).Both().Unique())
				if m.degree(name) > 0 { // memstore forgets who has no relation
					require.Equal(t, run(t, ref, path.StartPath(ref, v).Both().Unique()), near)
				}
				require.Len(t, near, len(m.neighbours(name)))
				w := g.KHop([]uint32{must(g.Entity(name))}, 2, 1000, 1000)
				within := map[string]bool{name: true}
				for _, p := range []*path.Path{path.StartPath(ref, v).Both().Unique(), path.StartPath(ref, v).Both().Both().Unique()} {
					if m.degree(name) > 0 {
						for _, n := range run(t, ref, p) {
							within[strings.Trim(n, `"`)] = true
						}
					}
				}
				got := map[string]bool{}
				for i, id := range w.Nodes {
					got[g.Name(id)] = true
					require.Equal(t, m.distances(name)[g.Name(id)], w.Depths[i])
				}
				require.Equal(t, within, got)
			}
		}
		close(stop)
		wg.Wait()
	}
}

// findNamedLocked is findNamed of the usual predicate, for a test that holds no lock.
func (g *Graph) findNamedLocked(src, tgt string) (uint32, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.findNamed(src, Related, tgt)
}
