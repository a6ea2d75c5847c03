package graph

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A view answers as a graph that holds the part alone, but for the numbers.
func TestView_IsAGraphOfThePart(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 5))
		g, m := New(), newModel()
		churn(r, g, m, 120, 25)
		some := newModel()
		for a := range m.nodes {
			if r.IntN(3) > 0 {
				some.nodes[a] = true
			}
		}
		for k, w := range m.edges {
			if some.nodes[k[0]] && some.nodes[k[1]] && r.IntN(4) > 0 {
				some.edges[k] = w
			}
		}
		alone := some.build()
		v := g.Within(&Part{
			Entity: func(id uint32) bool { return some.nodes[g.nodes[id].name] },
			Relation: func(rel uint32) bool {
				e := g.edges[rel]
				_, ok := some.edges[[2]string{g.nodes[e.src].name, g.nodes[e.tgt].name}]
				return ok
			},
			Degree: func(id uint32) int { return some.degree(g.nodes[id].name) },
		})
		name := func(g *Graph, ids []uint32) []string {
			out := []string{}
			for _, id := range ids {
				out = append(out, g.Name(id))
			}
			return out
		}
		ends := func(g *Graph, rels []uint32) (out []string) {
			for _, rel := range rels {
				a, b, w, _ := g.Relation(rel)
				out = append(out, fmt.Sprint(g.Name(a), g.Name(b), w))
			}
			return out
		}
		for _, k := range []int{0, 1, 7, 1000} {
			require.Equal(t, name(alone, alone.Popular(k)), name(g, v.Popular(k)), "seed %d", seed)
			for _, q := range []string{"", "n01", "N00", "1"} {
				require.Equal(t, name(alone, alone.Search(q, k)), name(g, v.Search(q, k)), "seed %d", seed)
			}
		}
		for a := range m.nodes {
			ga, _ := g.Entity(a)
			aa, in := alone.Entity(a)
			if !in {
				require.Empty(t, v.KHop([]uint32{ga}, 3, 10, 10).Nodes)
				continue
			}
			for _, limit := range [][3]int{{0, 9, 9}, {1, 100, 100}, {2, 100, 2}, {3, 6, 3}, {9, 100, 100}} {
				x, y := alone.KHop([]uint32{aa}, limit[0], limit[1], limit[2]), v.KHop([]uint32{ga}, limit[0], limit[1], limit[2])
				require.Equal(t, name(alone, x.Nodes), name(g, y.Nodes), "seed %d", seed)
				require.Equal(t, x.Depths, y.Depths)
				require.Equal(t, x.Truncated, y.Truncated)
				require.Equal(t, ends(alone, x.Relations), ends(g, y.Relations))
			}
			for b := range m.nodes {
				gb, _ := g.Entity(b)
				ab, in := alone.Entity(b)
				gn, gr, gok := v.ShortestPath(ga, gb, 5, 20)
				if !in {
					require.False(t, gok)
					continue
				}
				an, ar, aok := alone.ShortestPath(aa, ab, 5, 20)
				require.Equal(t, aok, gok, "seed %d", seed)
				require.Equal(t, name(alone, an), name(g, gn))
				require.Equal(t, ends(alone, ar), ends(g, gr))
			}
		}
	}
}
