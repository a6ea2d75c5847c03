package graph

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func (m *model) neighbours(a string) (out []string) {
	for k := range m.edges {
		if k[0] == a {
			out = append(out, k[1])
		}
		if k[1] == a {
			out = append(out, k[0])
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// distances is a plain breadth-first search.
func (m *model) distances(from ...string) map[string]int {
	d := map[string]int{}
	for _, a := range from {
		d[a] = 0
	}
	for level := from; len(level) > 0; {
		var next []string
		for _, a := range level {
			for _, b := range m.neighbours(a) {
				if _, ok := d[b]; !ok {
					d[b] = d[a] + 1
					next = append(next, b)
				}
			}
		}
		level = next
	}
	return d
}

// Without limits a walk is everything within reach; with a limit on entities it
// is the first of that, by depth, degree and name.
func TestKHop_AgreesWithSearch(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 3))
		g, m := New(), newModel()
		churn(r, g, m, 60+20*int(seed), 40)
		for a := range m.nodes {
			id, _ := g.Entity(a)
			for depth := range 4 {
				var want []string
				d := m.distances(a)
				for level := range depth + 1 {
					var names []string
					for b, x := range d {
						if x == level {
							names = append(names, b)
						}
					}
					want = append(want, m.byDegree(names)...)
				}
				for _, limit := range []int{1000, len(want), len(want) - 1, 1, 0} {
					w := g.KHop([]uint32{id, id, none}, depth, limit, 1000)
					var got []string
					for i, n := range w.Nodes {
						got = append(got, g.Name(n))
						require.Equal(t, d[g.Name(n)], w.Depths[i])
					}
					require.Equal(t, want[:min(max(0, limit), len(want))], append([]string{}, got...))
					require.Equal(t, limit < len(want), w.Truncated)
					relations := 0
					for k := range m.edges {
						if slices.Contains(got, k[0]) && slices.Contains(got, k[1]) {
							relations++
						}
					}
					require.Len(t, w.Relations, relations)
				}
			}
		}
	}
}

// A hub gives only its best neighbours, and the walk says so.
func TestKHop_FanoutIsBounded(t *testing.T) {
	g := New()
	for i := range 26 {
		g.Relate("hub", string(rune('a'+i)), 1)
	}
	g.Relate("m", "x", 1)
	g.Relate("x", "hub", 1)
	hub, _ := g.Entity("hub")
	w := g.KHop([]uint32{hub}, 1, 100, 3)
	require.True(t, w.Truncated)
	var got []string
	for _, n := range w.Nodes {
		got = append(got, g.Name(n))
	}
	require.Equal(t, []string{"hub", "x", "m", "a"}, got)
	require.Len(t, w.Relations, 5)
	require.False(t, g.KHop([]uint32{hub}, 1, 100, 26).Truncated)
	require.Len(t, g.KHop([]uint32{hub}, 1, 100, 0).Nodes, 1)
	require.Len(t, g.KHop([]uint32{hub}, 0, 100, 3).Nodes, 1)
}

// A path is as short as it can be, is a path, and comes first by names among
// all that are as short.
func TestShortestPath_AgreesWithSearch(t *testing.T) {
	var best func(m *model, at, to string, d map[string]int) []string
	best = func(m *model, at, to string, d map[string]int) []string {
		if at == to {
			return []string{to}
		}
		for _, b := range m.neighbours(at) { // by name
			if x, ok := d[b]; ok && x == d[at]-1 {
				return append([]string{at}, best(m, b, to, d)...)
			}
		}
		panic("distances are wrong")
	}
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 4))
		g, m := New(), newModel()
		churn(r, g, m, 100+10*int(seed), 45)
		for a := range m.nodes {
			for b := range m.nodes {
				ia, _ := g.Entity(a)
				ib, _ := g.Entity(b)
				d := m.distances(b)
				for _, depth := range []int{0, 1, 3, 50} {
					nodes, rels, found := g.ShortestPath(ia, ib, depth, 1000)
					want, reachable := d[a]
					require.Equal(t, reachable && want <= depth, found)
					if !found {
						require.Empty(t, nodes)
						continue
					}
					var got []string
					for _, n := range nodes {
						got = append(got, g.Name(n))
					}
					require.Equal(t, best(m, a, b, d), got)
					require.Len(t, rels, len(nodes)-1)
					for i, rel := range rels {
						s, e, w, ok := g.Relation(rel)
						require.True(t, ok)
						there := [2]string{g.Name(s), g.Name(e)}
						require.Contains(t, [][2]string{{got[i], got[i+1]}, {got[i+1], got[i]}}, there)
						other := [2]string{there[1], there[0]}
						if x, ok := m.edges[other]; ok {
							require.True(t, w > x || w == x && (there[0] == got[i]), "the heavier, then the onward")
						}
					}
				}
			}
		}
	}
}

// The search gives up at a level that would take it past its bound.
func TestShortestPath_VisitsAreBounded(t *testing.T) {
	g := New()
	for i := range 20 {
		g.Relate("end", "spoke "+string(rune('a'+i)), 1)
	}
	g.Relate("spoke q", "far", 1)
	g.Relate("far", "start", 1)
	a, _ := g.Entity("start")
	b, _ := g.Entity("end")
	_, _, found := g.ShortestPath(a, b, 5, 21)
	require.False(t, found)
	nodes, _, found := g.ShortestPath(a, b, 5, 22)
	require.True(t, found)
	require.Len(t, nodes, 4)
	_, _, found = g.ShortestPath(b, a, 5, 4)
	require.True(t, found, "from the other end it is a matter of three")
}

func TestSearch(t *testing.T) {
	g := New()
	for _, name := range []string{"Ada Lovelace", "ADA", "Lada", "canada", "Adam", "Ångström", "ångström unit", "İstanbul", "straße"} {
		g.AddEntity(name)
	}
	for _, c := range []struct {
		q    string
		k    int
		want string
	}{
		{"ada", 10, "ADA|Ada Lovelace|Adam|Lada|canada"},
		{"ada", 4, "ADA|Ada Lovelace|Adam|Lada"},
		{"ada", 2, "ADA|Ada Lovelace"},
		{"ada", 0, ""},
		{"ada", -1, ""},
		{"ÅNG", 5, "Ångström|ångström unit"},
		{"love", 5, "Ada Lovelace"},
		{"STRASSE", 5, ""},
		{"nobody", 5, ""},
		{"", 3, "ADA|Ada Lovelace|Adam"},
		{"\xff", 3, ""},
	} {
		t.Run(c.q, func(t *testing.T) {
			var got []string
			for _, id := range g.Search(c.q, c.k) {
				got = append(got, g.Name(id))
			}
			require.Equal(t, c.want, strings.Join(got, "|"))
		})
	}
}
