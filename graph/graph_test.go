package graph

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// model is a graph as plain maps: the oracle.
type model struct {
	nodes map[string]bool
	edges map[[2]string]float32
}

func newModel() *model { return &model{map[string]bool{}, map[[2]string]float32{}} }

func (m *model) relate(a, b string, w float32) {
	m.nodes[a], m.nodes[b] = true, true
	m.edges[[2]string{a, b}] = w
}

func (m *model) remove(a string) {
	delete(m.nodes, a)
	maps.DeleteFunc(m.edges, func(k [2]string, _ float32) bool { return k[0] == a || k[1] == a })
}

func (m *model) degree(a string) (n int) {
	for k := range m.edges {
		if k[0] == a {
			n++
		}
		if k[1] == a {
			n++
		}
	}
	return n
}

// byDegree orders names by degree, then by name.
func (m *model) byDegree(names []string) []string {
	slices.SortFunc(names, func(a, b string) int {
		if d := m.degree(b) - m.degree(a); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names
}

// build makes a graph of the model, in the random order of maps.
func (m *model) build() *Graph {
	g := New()
	for a := range m.nodes {
		g.AddEntity(a)
	}
	for k, w := range m.edges {
		g.Relate(k[0], k[1], w)
	}
	return g
}

func (m *model) check(t *testing.T, g *Graph) {
	t.Helper()
	e, r := g.Len()
	require.Equal(t, len(m.nodes), e)
	require.Equal(t, len(m.edges), r)
	for a := range m.nodes {
		id, ok := g.Entity(a)
		require.True(t, ok, a)
		require.Equal(t, a, g.Name(id))
		require.Equal(t, m.degree(a), g.Degree(id))
		got := map[[2]string]float32{}
		g.Neighbours(id, func(n, rel uint32, out bool, w float32) bool {
			k := [2]string{a, g.Name(n)}
			if !out {
				k[0], k[1] = k[1], k[0]
			}
			got[k] = w
			src, tgt, weight, ok := g.Relation(rel)
			require.True(t, ok)
			require.Equal(t, k, [2]string{g.Name(src), g.Name(tgt)})
			require.Equal(t, w, weight)
			found, ok := g.FindRelation(src, tgt)
			require.True(t, ok)
			require.Equal(t, rel, found)
			return true
		})
		for _, x := range g.AppendEdges([]Edge{{Rel: none}}, id)[1:] {
			src, tgt, weight, ok := g.Relation(x.Rel)
			require.True(t, ok)
			require.Equal(t, weight, x.Weight)
			require.ElementsMatch(t, []uint32{id, x.To}, []uint32{src, tgt})
			require.EqualValues(t, m.degree(g.Name(x.To)), x.Degree)
		}
		require.Len(t, g.AppendEdges(nil, id), m.degree(a))
		want := maps.Clone(m.edges)
		maps.DeleteFunc(want, func(k [2]string, _ float32) bool { return k[0] != a && k[1] != a })
		require.Equal(t, want, got)
	}
}

// churn makes a random history on both.
func churn(r *rand.Rand, g *Graph, m *model, steps, names int) {
	name := func() string { return fmt.Sprintf("n%03d", r.IntN(names)) }
	for range steps {
		a, b := name(), name()
		switch x := r.IntN(20); {
		case x < 11:
			w := float32(r.IntN(4))
			g.Relate(a, b, w)
			m.relate(a, b, w)
		case x < 15:
			s, ok1 := g.Entity(a)
			d, ok2 := g.Entity(b)
			if rel, ok := g.FindRelation(s, d); ok1 && ok2 && ok {
				g.Unrelate(rel)
			}
			delete(m.edges, [2]string{a, b})
		case x < 16:
			if id, ok := g.Entity(a); ok {
				g.RemoveEntity(id)
			}
			m.remove(a)
		case x < 17:
			g.AddEntity(a)
			m.nodes[a] = true
		default: // turn a relation round
			s, ok1 := g.Entity(a)
			d, ok2 := g.Entity(b)
			rel, ok := g.FindRelation(s, d)
			if !ok1 || !ok2 || !ok {
				continue
			}
			_, taken := m.edges[[2]string{b, a}]
			if g.SetRelation(rel, d, s, 7) {
				delete(m.edges, [2]string{a, b})
				m.edges[[2]string{b, a}] = 7
			} else if !taken {
				panic("a free place was refused")
			}
		}
	}
}

// Any history leaves what plain maps hold.
func TestGraph_AgreesWithMaps(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		g, m := New(), newModel()
		for range 6 {
			churn(r, g, m, 400, 5+int(seed)*7)
			m.check(t, g)
		}
	}
}

// Ranked answers depend on what is in the graph, not on how it came there.
func TestGraph_AnswersDoNotDependOnHistory(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 2))
		g, m := New(), newModel()
		churn(r, g, m, 3000, 60)
		h := m.build()
		names := func(x *Graph, ids []uint32) []string {
			out := []string{}
			for _, id := range ids {
				out = append(out, x.Name(id))
			}
			return out
		}
		ends := func(x *Graph, rels []uint32) (out [][2]string) {
			for _, rel := range rels {
				s, d, _, _ := x.Relation(rel)
				out = append(out, [2]string{x.Name(s), x.Name(d)})
			}
			return out
		}
		all := slices.Sorted(maps.Keys(m.nodes))
		require.Equal(t, m.byDegree(slices.Clone(all))[:10], names(g, g.Popular(10)))
		for i, a := range all {
			b := all[(i*7+3)%len(all)]
			ga, _ := g.Entity(a)
			gb, _ := g.Entity(b)
			ha, _ := h.Entity(a)
			hb, _ := h.Entity(b)
			for _, limit := range [][3]int{{1, 5, 3}, {2, 20, 2}, {3, 1000, 1000}, {2, 9, 100}} {
				x := g.KHop([]uint32{ga, gb}, limit[0], limit[1], limit[2])
				y := h.KHop([]uint32{hb, ha}, limit[0], limit[1], limit[2])
				require.Equal(t, names(h, y.Nodes), names(g, x.Nodes))
				require.Equal(t, ends(h, y.Relations), ends(g, x.Relations))
				require.Equal(t, y.Depths, x.Depths)
				require.Equal(t, y.Truncated, x.Truncated)
			}
			for _, visited := range []int{3, 20, 1000} {
				xn, xr, xok := g.ShortestPath(ga, gb, 4, visited)
				yn, yr, yok := h.ShortestPath(ha, hb, 4, visited)
				require.Equal(t, yok, xok)
				require.Equal(t, names(h, yn), names(g, xn))
				require.Equal(t, ends(h, yr), ends(g, xr))
			}
			require.Equal(t, names(h, h.Search(a[:2], 5)), names(g, g.Search(a[:2], 5)))
		}
	}
}

// Churn does not make the graph grow: numbers are given again and lists shrink.
func TestGraph_ChurnIsBounded(t *testing.T) {
	g := New()
	fill := func(round int) {
		for i := range 2000 {
			g.Relate(fmt.Sprintf("round %d, entity %d", round, i%500), fmt.Sprintf("round %d, entity %d", round, (i*7)%500), 1)
		}
	}
	empty := func() {
		for id := range uint32(len(g.nodes)) {
			g.RemoveEntity(id)
		}
		e, r := g.Len()
		require.Zero(t, e+r)
	}
	fill(100)
	full := g.Bytes()
	empty()
	for round := range 50 {
		fill(101 + round)
		require.LessOrEqual(t, g.Bytes(), full+full/50)
		require.LessOrEqual(t, len(g.nodes), 500)
		empty()
	}
	require.Equal(t, int64(0), g.heap, "names and links are all given back")
	require.LessOrEqual(t, len(g.names.slots), 8)
}

func TestGraph_UnknownNumbers(t *testing.T) {
	g := New()
	a := g.AddEntity("a")
	rel := g.Relate("a", "b", 2)
	b, _ := g.Entity("b")
	require.True(t, g.RemoveEntity(b))
	for _, id := range []uint32{b, 7, none, inUse} {
		require.Empty(t, g.Name(id))
		require.Zero(t, g.Degree(id))
		require.False(t, g.RemoveEntity(id))
		_, ok := g.FindRelation(a, id)
		require.False(t, ok)
		g.Neighbours(id, func(uint32, uint32, bool, float32) bool { panic("no neighbours") })
		require.Empty(t, g.KHop([]uint32{id}, 2, 10, 10).Nodes)
		_, _, found := g.ShortestPath(a, id, 3, 100)
		require.False(t, found)
	}
	_, _, _, ok := g.Relation(rel)
	require.False(t, ok, "relations go with their entity")
	require.False(t, g.SetRelation(rel, a, a, 1))
	require.False(t, g.Unrelate(rel))
	require.Equal(t, b, g.AddEntity("c"), "a free number is given again")
}

// Odd names are names like any other, and are copies.
func TestGraph_OddNames(t *testing.T) {
	g := New()
	odd := []string{"", "\x00", "a\nb", "\xff\xfe", "<a>", "_:x", `"q"`, strings.Repeat("x", 100_000), "Ångström", "İ"}
	for i, a := range odd {
		require.Equal(t, uint32(i), g.AddEntity(a))
	}
	for i, a := range odd {
		id, ok := g.Entity(a)
		require.True(t, ok)
		require.Equal(t, uint32(i), id)
	}
}

// Readers run beside a writer: a matter for the race detector. What they see
// holds together: a neighbour's relation, if it is still there, joins the two.
func TestGraph_ReadersBesideAWriter(t *testing.T) {
	g, m := New(), newModel()
	churn(rand.New(rand.NewPCG(1, 1)), g, m, 2000, 100)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for seed := range uint64(3) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 5))
			for {
				select {
				case <-done:
					return
				default:
				}
				id := uint32(r.IntN(100))
				g.Neighbours(id, func(n, rel uint32, _ bool, _ float32) bool {
					g.Degree(n)
					g.Relation(rel)
					return g.Name(n) != "none"
				})
				g.KHop([]uint32{id}, 2, 20, 20)
				g.ShortestPath(id, uint32(r.IntN(100)), 3, 50)
				g.Popular(3)
				g.Search("n01", 3)
				g.Bytes()
			}
		})
	}
	churn(rand.New(rand.NewPCG(2, 2)), g, m, 5000, 100)
	close(done)
	wg.Wait()
	m.check(t, g)
}
