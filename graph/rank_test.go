package graph

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// powerIteration is personalised PageRank to the last digit, by plain maps.
func (m *model) powerIteration(seeds []string, back float64) map[string]float64 {
	weight := map[string]float64{}
	for k, x := range m.edges {
		w := float64(fixed(x)) / rankWeight
		weight[k[0]] += w
		weight[k[1]] += w
	}
	at, score := map[string]float64{}, map[string]float64{}
	for _, s := range seeds {
		at[s] += 1 / float64(len(seeds))
	}
	for range 2000 {
		next := map[string]float64{}
		for a, x := range at {
			if weight[a] == 0 {
				score[a] += x
			} else {
				score[a] += back * x
			}
		}
		for k, x := range m.edges {
			w := float64(fixed(x)) / rankWeight
			next[k[1]] += (1 - back) * at[k[0]] * w / weight[k[0]]
			next[k[0]] += (1 - back) * at[k[1]] * w / weight[k[1]]
		}
		at = next
	}
	return score
}

// A score is no more than the true one and short of it by no more than the bound
// for its weight; a finer bound comes nearer. Whatever the history, the ranking
// is the same.
func TestRank_AgreesWithPowerIteration(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 21))
		g, m := New(), newModel()
		churn(r, g, m, 300+200*int(seed), 30+10*int(seed))
		h := m.build()
		var seeds []string
		for a := range m.nodes {
			if seeds = append(seeds, a); len(seeds) == 1+int(seed%3) {
				break
			}
		}
		back := []int{15, 50}[seed%2]
		exact := m.powerIteration(seeds, float64(back)/100)
		numbers := func(x *Graph) (out []uint32) {
			for _, s := range seeds {
				out = append(out, must(x.Entity(s)))
			}
			return append(out, none, out[0])
		}
		for _, bound := range []float64{1e-2, 1e-4, 1e-7} {
			q := RankQuery{Seeds: numbers(g), Return: back, Bound: bound, Limit: 1000}
			got, err := g.Within(nil).Rank(context.Background(), q)
			require.NoError(t, err)
			require.LessOrEqual(t, got.Bound, bound)
			score := map[string]float64{}
			for i, n := range got.Nodes {
				score[g.Name(n.ID)] = n.Score
				if i > 0 {
					require.GreaterOrEqual(t, got.Nodes[i-1].Score, n.Score)
				}
			}
			require.Equal(t, got.Reached, len(score))
			for a := range m.nodes {
				weight := 0.0
				for k, w := range m.edges {
					if k[0] == a {
						weight += float64(fixed(w)) / rankWeight
					}
					if k[1] == a {
						weight += float64(fixed(w)) / rankWeight
					}
				}
				require.LessOrEqual(t, score[a], exact[a]+1e-9, "seed %d entity %s", seed, a)
				require.LessOrEqual(t, exact[a]-score[a], got.Bound*weight+1e-9, "seed %d entity %s", seed, a)
			}
			q.Seeds = numbers(h)
			same, err := h.Within(nil).Rank(context.Background(), q)
			require.NoError(t, err)
			require.Equal(t, same.Bound, got.Bound)
			for i, n := range got.Nodes {
				require.Equal(t, h.Name(same.Nodes[i].ID), g.Name(n.ID))
				require.Equal(t, same.Nodes[i].Score, n.Score)
			}
		}
	}
}

// No mass is lost while it is shared out, to the unit.
func TestRank_KeepsMass(t *testing.T) {
	g := load(pairs(400))
	p := push{v: g.Within(nil), q: RankQuery{Seeds: []uint32{0}, Return: 15, Bound: 1e-6}, at: map[uint32]int32{}}
	p.start()
	for range 40 {
		p.round()
		sum := uint64(0)
		for _, n := range p.nodes {
			sum += n.score + n.left
		}
		require.Equal(t, uint64(rankMass), sum)
	}
}

// What is read is bounded, and the bound that then holds is said.
func TestRank_ReadsAreBounded(t *testing.T) {
	g := New()
	for i := range 2000 {
		g.Relate(fmt.Sprint("n", i), fmt.Sprint("n", (i*7+1)%2000), 1)
		g.Relate(fmt.Sprint("n", i), fmt.Sprint("n", (i*13+5)%2000), 1)
	}
	seed := []uint32{must(g.Entity("n0"))}
	fine, err := g.Within(nil).Rank(context.Background(), RankQuery{Seeds: seed, Bound: 1e-7, Limit: 5})
	require.NoError(t, err)
	require.LessOrEqual(t, fine.Bound, 1e-7)
	require.Len(t, fine.Nodes, 5)
	cut, err := g.Within(nil).Rank(context.Background(), RankQuery{Seeds: seed, Bound: 1e-7, Limit: 5, Reads: 100})
	require.NoError(t, err)
	require.Greater(t, cut.Bound, 1e-7)
	require.Less(t, cut.Bound, 1.0)
	require.LessOrEqual(t, math.Abs(cut.Nodes[0].Score-fine.Nodes[0].Score), 4*cut.Bound)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = g.Within(nil).Rank(gone, RankQuery{Seeds: seed, Limit: 5})
	require.ErrorIs(t, err, context.Canceled)
	empty, err := g.Within(nil).Rank(context.Background(), RankQuery{Seeds: []uint32{none}, Limit: 5})
	require.NoError(t, err)
	require.Empty(t, empty.Nodes)
}
