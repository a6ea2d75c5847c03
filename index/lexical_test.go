package index

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func tokens(s string) []Token {
	var out []Token
	for w := range strings.FieldsSeq(s) {
		out = append(out, Token{Term: strings.ToLower(w), Lower: w == strings.ToLower(w)})
	}
	return out
}

func passageOf(head string, sentences ...string) Passage {
	p := Passage{Head: tokens(head)}
	for _, s := range sentences {
		p.Sentences = append(p.Sentences, tokens(s))
	}
	return p
}

func ascending(a, b uint32) bool { return a < b }

func termsOf(x *Lexical, s string) []uint32 {
	var out []uint32
	for w := range strings.FieldsSeq(s) {
		if t, ok := x.Term(w); ok {
			out = append(out, t)
		}
	}
	return out
}

// naive is BM25 by its formula over the passages themselves.
func naive(passages map[uint32]Passage, query string, k int) []Match {
	all := func(p Passage) []string {
		var out []string
		for _, s := range append([][]Token{p.Head}, p.Sentences...) {
			for _, t := range s {
				out = append(out, t.Term)
			}
		}
		return out
	}
	var total float64
	frequency := map[string]float64{}
	for _, p := range passages {
		ts := all(p)
		total += float64(len(ts))
		slices.Sort(ts)
		for _, t := range slices.Compact(ts) {
			frequency[t]++
		}
	}
	n := float64(len(passages))
	var out []Match
	for id, p := range passages {
		ts := all(p)
		var score float64
		for w := range strings.FieldsSeq(query) {
			var tf float64
			for _, t := range ts {
				if t == w {
					tf++
				}
			}
			idf := math.Log(1 + (n-frequency[w]+.5)/(frequency[w]+.5))
			score += idf * tf * 2.2 / (tf + 1.2*(1-.75+.75*float64(len(ts))/(total/n)))
		}
		if score > 0 {
			out = append(out, Match{id, score})
		}
	}
	slices.SortFunc(out, func(a, b Match) int {
		if math.Abs(a.Score-b.Score) > 1e-12 {
			return cmp.Compare(b.Score, a.Score)
		}
		return cmp.Compare(a.ID, b.ID)
	})
	return out[:min(k, len(out))]
}

// Whatever came and went, the ranking is BM25 of what is there, and the index
// holds the sentences it was given.
func TestLexical_IsBM25OfWhatIsThere(t *testing.T) {
	const seed = 11
	rnd := rand.New(rand.NewPCG(seed, 1))
	words := strings.Fields("a b c d e f g h i j k l m n o p")
	sentence := func() string {
		var b strings.Builder
		for range rnd.IntN(9) {
			fmt.Fprintf(&b, "%s ", words[int(float64(len(words))*rnd.Float64()*rnd.Float64())])
		}
		return b.String()
	}
	x := NewLexical()
	there := map[uint32]Passage{}
	for step := range 600 {
		id := uint32(rnd.IntN(40))
		if rnd.IntN(3) == 0 {
			x.Remove(id)
			delete(there, id)
		} else {
			p := passageOf(sentence(), sentence(), sentence())
			x.Add(id, p)
			there[id] = p
		}
		if step%20 != 0 {
			continue
		}
		require.Equal(t, len(there), x.Len())
		for _, query := range []string{"a", "b p", "o n m k", "c zzz a"} {
			want := naive(there, query, 7)
			got := x.Search(termsOf(x, query), 7, nil, ascending)
			require.Len(t, got, len(want), "step %d, seed %d", step, seed)
			for i := range want {
				require.Equal(t, want[i].ID, got[i].ID, "%s at step %d, seed %d", query, step, seed)
				require.InDelta(t, want[i].Score, got[i].Score, 1e-9)
			}
		}
		for id, p := range there {
			view := x.TermsOf(id)
			for _, s := range p.Sentences {
				places, rest, ok := view.NextSentence()
				require.True(t, ok)
				got, want := map[string]bool{}, map[string]bool{}
				for _, at := range places {
					got[x.Text(view.Term(int(at)))] = true
				}
				for _, w := range s {
					want[w.Term] = true
				}
				require.Equal(t, want, got)
				view = rest
			}
			_, _, ok := view.NextSentence()
			require.False(t, ok)
		}
	}
}

func TestLexical_KeepIsAskedBeforeRanking(t *testing.T) {
	x := NewLexical()
	for id := range uint32(10) {
		x.Add(id, passageOf("", strings.Repeat("a ", int(id)+1)))
	}
	got := x.Search(termsOf(x, "a"), 2, func(id uint32) bool { return id < 3 }, ascending)
	require.Len(t, got, 2)
	require.ElementsMatch(t, []uint32{1, 2}, []uint32{got[0].ID, got[1].ID})
	require.Empty(t, x.Search(termsOf(x, "a"), 0, nil, ascending))
	require.Empty(t, x.Search(nil, 5, nil, ascending))
}

func TestLexical_TiesGoByLess(t *testing.T) {
	x := NewLexical()
	for id := range uint32(20) {
		x.Add(id, passageOf("", "a b"))
	}
	got := x.Search(termsOf(x, "a"), 3, nil, func(a, b uint32) bool { return a > b })
	require.Equal(t, []uint32{19, 18, 17}, []uint32{got[0].ID, got[1].ID, got[2].ID})
}

func TestLexical_CountsLowerCase(t *testing.T) {
	x := NewLexical()
	x.Add(4, passageOf("Apple", "an apple of Apple", "Apple apple apple"))
	apple, _ := x.Term("apple")
	require.Equal(t, []Posting{{ID: 4, Count: 6, Lower: 3}}, x.Postings(apple))
	require.Equal(t, 1, x.Frequency(apple))
}

// A passage of more distinct terms than sentences can name is indexed as far as
// they go, and goes away whole.
func TestLexical_BoundsAPassage(t *testing.T) {
	many := make([]Token, maxPassageTerms+500)
	for i := range many {
		many[i] = Token{Term: fmt.Sprint(i)}
	}
	x := NewLexical()
	x.Add(0, Passage{Sentences: [][]Token{many, many[:3]}})
	require.Equal(t, maxPassageTerms, x.TermsOf(0).Len())
	require.Len(t, x.Search(termsOf(x, "7"), 1, nil, ascending), 1)
	x.Add(1, passageOf("", strings.Repeat("x ", math.MaxUint16+10)))
	term, _ := x.Term("x")
	require.Equal(t, uint16(math.MaxUint16), x.Postings(term)[0].Count)
	x.Remove(0)
	x.Remove(1)
	require.Zero(t, x.Bytes())
	require.Zero(t, x.Len())
}

func TestTop_KeepsTheBest(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		n, k := rnd.IntN(50), rnd.IntN(20)
		var all []Match
		top := NewTop(k, ascending)
		for _, id := range rnd.Perm(n) {
			m := Match{uint32(id), float64(rnd.IntN(6))}
			all = append(all, m)
			top.Offer(m.ID, m.Score)
		}
		slices.SortFunc(all, func(a, b Match) int {
			return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.ID, b.ID))
		})
		got := top.Sorted()
		require.True(t, slices.Equal(all[:min(k, n)], got))
	}
}

// A common term's weights come from a table. They are those that are worked out one
// by one, to the last bit, of short and of long passages, of few and of many repeats.
func TestScores_OfCommonTerms(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	x := NewLexical()
	for id := range uint32(2*manyPostings + 1) {
		text := strings.Repeat("often ", r.IntN(2*scoreCounts)) + strings.Repeat("seldom ", r.IntN(2)) + strings.Repeat("filler ", r.IntN(9))
		if r.IntN(100) == 0 {
			text += strings.Repeat("filler ", scoreLengths-8+r.IntN(16))
		}
		x.Add(id, passageOf("", text))
	}
	for id := range uint32(100) {
		x.Remove(id * 7)
	}
	require.Greater(t, x.Frequency(termsOf(x, "often")[0]), manyPostings)
	var fast, slow Scores
	for range 3 { // the memory is used again
		for _, text := range []string{"often", "seldom often", "often filler seldom", "filler"} {
			x.Score(&fast, termsOf(x, text), nil)
			x.Score(&slow, termsOf(x, text), func(uint32) bool { return true })
			require.Equal(t, slow.Matched(), fast.Matched(), text)
			require.Equal(t, slow.Max(), fast.Max(), text)
			bound, _ := x.Bound()
			for id := range uint32(bound) {
				require.Equal(t, slow.Of(id), fast.Of(id), "%s: passage %d", text, id)
			}
		}
	}
}
