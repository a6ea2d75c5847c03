package index

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A part is an index that holds its passages alone, to the last bit of a score.
func TestPart_IsAnIndexOfItsPassages(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 6))
		x, alone := NewLexical(), NewLexical()
		in := map[uint32]bool{}
		for id := range uint32(60) {
			var text string
			for range 1 + r.IntN(20) {
				text += fmt.Sprintf("w%d ", r.IntN(30))
			}
			p := passageOf("", text)
			x.Add(id, p)
			if r.IntN(10) == 0 {
				x.Remove(id)
				continue
			}
			if r.IntN(3) == 0 {
				in[id] = true
				alone.Add(id, p)
			}
		}
		part := x.NewPart()
		for id := range uint32(70) { // some that the index does not have
			if in[id] || !x.passages[min(int(id), len(x.passages)-1)].taken {
				part.Add(id)
				part.Add(id)
			}
		}
		require.Equal(t, alone.Len(), part.Len(), "seed %d", seed)
		require.False(t, part.IsWhole())
		require.True(t, x.Whole().IsWhole())
		keep := func(id uint32) bool { return id%3 > 0 }
		for i := range 30 {
			word := fmt.Sprintf("w%d", i)
			want, known := alone.Term(word)
			got, ok := part.Term(word)
			require.Equal(t, known, ok, "seed %d", seed)
			if !known {
				continue
			}
			require.Equal(t, alone.Frequency(want), part.Frequency(got))
			require.Equal(t, alone.IDF(want), part.IDF(got))
			text := word + fmt.Sprintf(" w%d w%d", r.IntN(30), r.IntN(30))
			for _, keep := range []func(uint32) bool{nil, keep} {
				var a, b Scores
				alone.Score(&a, termsOf(alone, text), keep)
				part.Score(&b, termsOf(x, text), keep)
				require.Equal(t, a.Best(100, ascending), b.Best(100, ascending), "seed %d", seed)
			}
		}
	}
}
