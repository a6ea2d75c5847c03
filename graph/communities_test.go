package graph

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/graph/community"
	"gonum.org/v1/gonum/graph/simple"
)

// asGonum is a network for gonum, nodes numbered as in the network.
func (n *Network) asGonum() *simple.WeightedUndirectedGraph {
	g := simple.NewWeightedUndirectedGraph(0, 0)
	for i := range n.names {
		for k := n.start[i]; k < n.start[i+1]; k++ {
			g.SetWeightedEdge(simple.WeightedEdge{F: simple.Node(i), T: simple.Node(n.to[k]), W: n.weight[k]})
		}
	}
	return g
}

// groups is a graph of groups that keep mostly to themselves, in a random order of
// relations, which the answer must not depend on.
func groups(r *rand.Rand, count, size int) *Graph {
	type pair struct {
		a, b string
		w    float32
	}
	var all []pair
	name := func(g, i int) string { return fmt.Sprintf("group %02d, entity %02d", g, i) }
	for g := range count {
		for i := range size {
			for range 4 {
				all = append(all, pair{name(g, i), name(g, r.IntN(size)), float32(1 + r.IntN(3))})
			}
			if i%4 == 0 {
				all = append(all, pair{name(g, i), name(r.IntN(count), r.IntN(size)), 1})
			}
		}
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	x := New()
	for _, p := range all {
		x.Relate(p.a, p.b, p.w)
	}
	return x
}

// Groups that keep to themselves are found.
func TestCommunities_FindsGroups(t *testing.T) {
	g := groups(rand.New(rand.NewPCG(1, 51)), 8, 20)
	c, err := g.Within(nil).Network().Communities(context.Background(), 1)
	require.NoError(t, err)
	require.Len(t, c.List, 8)
	for _, x := range c.List {
		require.Len(t, x.Members, 20)
		for _, m := range x.Members {
			require.Equal(t, x.Members[0][:8], m[:8])
		}
		require.Greater(t, x.Relations, 40)
	}
	require.Greater(t, c.Modularity, 0.7)
}

// The modularity is what gonum says of the same partition, and no worse than that
// of the one gonum finds, but for what chance does between two runs of it. A
// second history of the same graph gives the same communities.
func TestCommunities_AgreesWithGonum(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 52))
		g, m := New(), newModel()
		churn(r, g, m, 200+200*int(seed), 60)
		if seed%2 == 1 {
			g = groups(r, 5, 12)
		}
		n := g.Within(nil).Network()
		c, err := n.Communities(context.Background(), 1)
		require.NoError(t, err)
		ref := n.asGonum()
		var mine [][]int
		seen := map[string]bool{}
		for _, x := range c.List {
			var ids []int
			for _, name := range x.Members {
				require.False(t, seen[name], "an entity is in one community")
				seen[name] = true
				i, ok := slices.BinarySearch(n.names, name)
				require.True(t, ok)
				ids = append(ids, i)
			}
			mine = append(mine, ids)
		}
		require.Len(t, seen, len(n.names))
		require.InDelta(t, q(ref, mine), c.Modularity, 1e-9)
		best := math.Inf(-1)
		for run := range uint64(3) {
			best = max(best, community.Q(ref, community.Modularize(ref, 1, rand.NewPCG(run, 1)).Communities(), 1))
		}
		require.GreaterOrEqual(t, c.Modularity, best-0.03, "seed %d", seed)

		if seed%2 == 0 {
			same, err := m.build().Within(nil).Network().Communities(context.Background(), 1)
			require.NoError(t, err)
			require.Equal(t, c, same)
		}
	}
}

// q is modularity by its definition, over all pairs.
func q(g *simple.WeightedUndirectedGraph, communities [][]int) (sum float64) {
	degree := map[int64]float64{}
	total := 0.0
	edges := g.WeightedEdges()
	for edges.Next() {
		e := edges.WeightedEdge()
		degree[e.From().ID()] += e.Weight()
		degree[e.To().ID()] += e.Weight()
		total += 2 * e.Weight()
	}
	for _, c := range communities {
		for _, a := range c {
			for _, b := range c {
				if w, ok := g.Weight(int64(a), int64(b)); ok && a != b {
					sum += w / total
				}
				sum -= degree[int64(a)] / total * degree[int64(b)] / total
			}
		}
	}
	return sum
}

func TestCommunities_Edges(t *testing.T) {
	g := New()
	g.AddEntity("alone")
	g.Relate("self", "self", 1)
	n := g.Within(nil).Network()
	c, err := n.Communities(context.Background(), 1)
	require.NoError(t, err)
	require.LessOrEqual(t, len(c.List), 1)
	require.False(t, math.IsNaN(c.Modularity))
	c, err = New().Within(nil).Network().Communities(context.Background(), 1)
	require.NoError(t, err)
	require.Empty(t, c.List)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = groups(rand.New(rand.NewPCG(1, 53)), 3, 9).Within(nil).Network().Communities(gone, 1)
	require.ErrorIs(t, err, context.Canceled)
}

func BenchmarkCommunities(b *testing.B) {
	for _, n := range []int{10_000, 40_000, 100_000} {
		net := load(pairs(n)).Within(nil).Network()
		b.Run(fmt.Sprint(n, " relations"), func(b *testing.B) {
			for b.Loop() {
				if _, err := net.Communities(context.Background(), 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
