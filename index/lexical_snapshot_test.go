package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/flat"
)

// randomPassage has repeats, words in both cases, and terms of the head alone.
func randomPassage(r *rand.Rand, words int) Passage {
	var p Passage
	token := func() Token { return Token{Term: fmt.Sprintf("w%d", r.IntN(words)), Lower: r.IntN(3) > 0} }
	for range r.IntN(3) {
		p.Head = append(p.Head, token())
	}
	for range r.IntN(5) {
		var s []Token
		for range r.IntN(9) {
			s = append(s, token())
		}
		p.Sentences = append(p.Sentences, s)
	}
	return p
}

// described is everything that an index says, by the texts of terms.
func described(x *Lexical) string {
	out := fmt.Sprintln(x.Len(), x.length)
	var terms []string
	for text := range x.number {
		terms = append(terms, text)
	}
	slices.Sort(terms)
	for _, text := range terms {
		t, _ := x.Term(text)
		list := slices.Clone(x.Postings(t))
		slices.SortFunc(list, func(a, b Posting) int { return int(a.ID) - int(b.ID) })
		out += fmt.Sprintln(text, list)
	}
	for id := range x.passages {
		var own []string
		terms := x.TermsOf(uint32(id))
		for i := range terms.Len() {
			own = append(own, x.Text(terms.Term(i)))
		}
		out += fmt.Sprint(id, x.lengths[id])
		for {
			places, rest, ok := terms.NextSentence()
			if !ok {
				break
			}
			var words []string
			for _, at := range places {
				words = append(words, own[at])
			}
			slices.Sort(words)
			out += fmt.Sprint(words)
			terms = rest
		}
		slices.Sort(own)
		out += fmt.Sprintln(own)
	}
	return out
}

// What is read is what was written, and goes on as that would: whatever is put in and
// taken out of both leaves the same.
func TestLexical_Snapshot(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 9))
		x := NewLexical()
		change := func(r *rand.Rand, x *Lexical) {
			for range r.IntN(80) {
				if id := uint32(r.IntN(40)); r.IntN(3) == 0 {
					x.Remove(id)
				} else {
					x.Add(id, randomPassage(r, 60))
				}
			}
		}
		for range 4 {
			change(r, x)
			in := flat.NewReader(x.AppendTo(nil))
			y := ReadLexical(in)
			require.NoError(t, in.End(), "seed %d", seed)
			require.Equal(t, described(x), described(y), "seed %d", seed)
			require.Equal(t, x.AppendTo(nil), y.AppendTo(nil), "seed %d", seed)
			s := r.Uint64()
			change(rand.New(rand.NewPCG(s, 1)), x)
			change(rand.New(rand.NewPCG(s, 1)), y)
			require.Equal(t, described(x), described(y), "seed %d", seed)
			x = y
		}
		for id := range uint32(40) {
			x.Remove(id)
		}
		require.Zero(t, x.Bytes(), "seed %d", seed)
	}
}

// Bytes that are no index are refused or make one that can be searched and changed.
func FuzzReadLexical(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 9))
	x := NewLexical()
	for id := range uint32(20) {
		x.Add(id, randomPassage(r, 30))
	}
	x.Remove(3)
	f.Add(x.AppendTo(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := flat.NewReader(b)
		x := ReadLexical(in)
		if in.End() != nil {
			require.ErrorIs(t, in.Err(), flat.ErrDamaged)
			return
		}
		_, terms := x.Bound()
		for term := range uint32(terms) {
			x.Search([]uint32{term}, 3, nil, func(a, b uint32) bool { return a < b })
		}
		for id := range uint32(30) {
			x.Add(id, Passage{Sentences: [][]Token{{{Term: "new"}}}})
			x.Remove(id)
		}
	})
}
