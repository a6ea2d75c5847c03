package engine

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Within blocks that are compared whole, no pair of alike names is missed: the
// oracle compares all with all.
func TestComparer_AgreesWithAllPairs(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	words := []string{"ada", "lovelace", "king", "babbage", "babage", "b", "engine", "engines", "difference", "2", "3"}
	for range 200 {
		set := map[string]bool{}
		for range 12 {
			name := words[r.IntN(len(words))]
			for range r.IntN(3) {
				name += " " + words[r.IntN(len(words))]
			}
			set[name] = true
		}
		c := &comparer{blocks: map[string][]int32{}, seen: map[[2]int32]bool{}}
		for name := range set {
			c.names = append(c.names, takeApart(name))
		}
		for i := range c.names {
			c.block(int32(i))
		}
		require.NoError(t, c.compare(context.Background()))
		got := map[[2]int32]float64{}
		for _, x := range c.found {
			got[[2]int32{x.a, x.b}] = x.score
		}
		want := map[[2]int32]float64{}
		for i := range c.names {
			for j := i + 1; j < len(c.names); j++ {
				p := [2]int32{int32(i), int32(j)}
				s, _ := likeness(&c.names[i], &c.names[j])
				back, _ := likeness(&c.names[j], &c.names[i])
				require.Equal(t, s, back, "it does not matter who is first")
				if s >= minNameScore && sharesKey(c, p) {
					want[p] = s
				}
			}
		}
		require.Equal(t, want, got)
	}
}

func sharesKey(c *comparer, p [2]int32) bool {
	for _, l := range c.blocks {
		in := 0
		for _, i := range l {
			if i == p[0] || i == p[1] {
				in++
			}
		}
		if in == 2 {
			return true
		}
	}
	return false
}

func TestDistance(t *testing.T) {
	for _, x := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "acb", 1}, {"abc", "bc", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3},
	} {
		require.Equal(t, x.want, distance([]rune(x.a), []rune(x.b)), "%s %s", x.a, x.b)
		require.Equal(t, x.want, distance([]rune(x.b), []rune(x.a)), "%s %s", x.b, x.a)
	}
}
