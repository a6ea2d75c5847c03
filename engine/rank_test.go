package engine

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/index"
)

// fuse against the sum written out.
func TestFuse(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		channels := make([]channel, r.IntN(4))
		for i := range channels {
			channels[i].weight = []float64{1, 0.5, 0.02}[r.IntN(3)]
			for _, id := range r.Perm(12)[:r.IntN(12)] {
				channels[i].ids = append(channels[i].ids, uint32(id))
			}
		}
		got := fuse(channels, byID)
		var want []scored
		for id := range uint32(12) {
			s, in := 0.0, false
			for _, c := range channels {
				if i := slices.Index(c.ids, id); i >= 0 {
					s, in = s+c.weight/float64(60+i+1), true
				}
			}
			if in {
				want = append(want, scored{ID: id, Score: s})
			}
		}
		slices.SortStableFunc(want, func(a, b scored) int {
			switch {
			case a.Score > b.Score:
				return -1
			case a.Score < b.Score:
				return 1
			}
			return 0
		})
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i], got[i])
		}
	}
}

func TestRoundRobin(t *testing.T) {
	for _, x := range []struct {
		name string
		in   [][]int
		want []int
	}{
		{"none", nil, nil},
		{"one", [][]int{{3, 1, 2}}, []int{3, 1, 2}},
		{"two in turn", [][]int{{1, 3, 5}, {2, 4, 6}}, []int{1, 2, 3, 4, 5, 6}},
		{"the longer goes on alone", [][]int{{1}, {2, 3, 4}}, []int{1, 2, 3, 4}},
		{"the first of two is kept", [][]int{{1, 2}, {2, 1, 9}}, []int{1, 2, 9}},
		{"a repeat gives its turn up", [][]int{{1, 2, 3}, {1, 7}}, []int{1, 2, 7, 3}},
		{"three", [][]int{{1, 4}, {2}, {3, 4, 5}}, []int{1, 2, 3, 4, 5}},
		{"empty among them", [][]int{{}, {1}, {}}, []int{1}},
	} {
		t.Run(x.name, func(t *testing.T) { require.Equal(t, x.want, roundRobin(x.in...)) })
	}
}

// foldUntil against counting everything; what is behind the cut is not folded, but
// for the line that is cut.
func TestFoldUntil(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	words := []string{"Ada", " wrote", " notes", " über", " 小説", "{\"a\":1}", "\n", " engine", "xyzzyq"}
	for range 500 {
		lines := make([]string, r.IntN(8))
		for i := range lines {
			var b strings.Builder
			for range r.IntN(12) {
				b.WriteString(words[r.IntN(len(words))])
			}
			lines[i] = b.String()
		}
		budget := 1 + r.IntN(60)
		n, left := 0, budget
		for n < len(lines) && countTokens(lines[n]) <= left {
			left -= countTokens(lines[n])
			n++
		}
		items, folded := make([]scored, len(lines)), 0
		for i := range items {
			items[i].ID = uint32(i)
		}
		fold := func(x scored) (string, error) { folded++; return lines[x.ID], nil }
		data, got, err := foldUntil(items, fold, func(s string) string { return s }, budget)
		require.NoError(t, err)
		require.Equal(t, lines[:n], append([]string{}, got.text...), "%q in %d", lines, budget)
		require.Equal(t, lines[:n], data)
		require.LessOrEqual(t, budget-left, got.need)
		require.Equal(t, budget-left, got.tokens())
		require.Equal(t, min(n+1, len(lines)), folded)
	}
}

// bestN against sorting.
func TestBestN(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		list := r.Perm(r.IntN(50))
		n := r.IntN(60)
		want := slices.Clone(list)
		slices.Sort(want)
		want = want[:min(n, len(want))]
		require.Equal(t, want, bestN(list, n, func(a, b int) bool { return a < b }))
	}
}

// The chunks that are read are the cited ones by rank, then the first by key: what
// sorting the whole list says.
func TestFolder_Picks(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		c := newResident(1, true, index.Options{})
		for i := range r.IntN(40) {
			d := &residentDoc{}
			d.doc = docKey{byte(r.IntN(3)), 8: byte(i)} // many begin alike
			for ord := range uint32(1 + r.IntN(3)) {
				c.chunks, c.orders = append(c.chunks, residentChunk{doc: d, ord: ord}), append(c.orders, d.doc.order())
			}
		}
		r.Shuffle(len(c.chunks), func(i, j int) {
			c.chunks[i], c.chunks[j] = c.chunks[j], c.chunks[i]
			c.orders[i], c.orders[j] = c.orders[j], c.orders[i]
		})
		var chunks, cited []uint32
		for id := range uint32(len(c.chunks)) {
			if r.IntN(3) > 0 {
				chunks = append(chunks, id)
			}
			if r.IntN(4) == 0 {
				cited = append(cited, id)
			}
		}
		r.Shuffle(len(cited), func(i, j int) { cited[i], cited[j] = cited[j], cited[i] })
		rank := func(id uint32) int {
			if i := slices.Index(cited, id); i >= 0 {
				return i
			}
			return len(cited)
		}
		want := slices.SortedFunc(slices.Values(chunks), func(a, b uint32) int {
			x, y := &c.chunks[a], &c.chunks[b]
			return cmp.Or(cmp.Compare(rank(a), rank(b)), bytes.Compare(x.doc.doc[:], y.doc.doc[:]), cmp.Compare(x.ord, y.ord))
		})
		n := r.IntN(12)
		got := newFolder(c.everything(), nil, append(cited, cited...)).pick(chunks, n)
		require.Equal(t, append([]uint32{}, want[:min(n, len(want))]...), got)
	}
}

// A text holds the words that its terms are, each once.
func TestMatcher_FindsTerms(t *testing.T) {
	text := "Ada directed the Director's directions; the DIRECTING of engines, cafés and 小説を書いた. An engineer. Engines!"
	seen := newRecall()
	seen.add(0, analyse("", nil, text+" nothing else", nil))
	for _, question := range []string{"director engine", "the of nothing", "小説 café", "ada's engines direct", "", "engineer engine engines"} {
		q := parseQuestion(seen, question, false)
		m := newMatcher(seen.whole(), q.terms)
		for _, text := range []string{text, "", "Engines", "no such thing", text} {
			var want []int
			for i, term := range q.terms {
				if slices.Contains(Terms(text), seen.lex.Text(term)) {
					want = append(want, i)
				}
			}
			require.ElementsMatch(t, want, m.wordsIn(text), "%q in %q", question, text)
			require.True(t, slices.IsSorted(m.wordsIn(text)))
		}
	}
}

// Two lists in turn; an entity that both found has the score of the first.
func TestMergeScored(t *testing.T) {
	a := []scored{{ID: 1, Score: 5}, {ID: 2, Score: 4}}
	b := []scored{{ID: 2, Score: 9}, {ID: 3, Score: 1}}
	require.Equal(t, []scored{{ID: 1, Score: 5}, {ID: 2, Score: 4}, {ID: 3, Score: 1}}, mergeScored(a, b))
	require.Empty(t, mergeScored(nil, nil))
}

// A snippet is a piece of its text that begins with the sentence asked for.
func FuzzSnippet(f *testing.F) {
	f.Add(strings.Repeat("Nothing is said here of anything at all. ", 8)+"Ada wrote to Babbage in 1843. "+strings.Repeat("More follows. ", 9), "Who wrote to Babbage?")
	f.Add(strings.Repeat("小説を書いた。", 60), "小説")
	f.Add(strings.Repeat("... ", 100), "x")
	f.Add(strings.Repeat("\xff", 300), "\xff")
	f.Fuzz(func(t *testing.T, text, query string) {
		from, to := snippet(text, contentStems(query))
		s := text[from:to]
		require.Equal(t, strings.TrimSpace(s), s)
		require.LessOrEqual(t, len(s), snippetBytes)
	})
}

// A snippet begins where counting the stem of every word says.
func TestSnippet_CountsEveryWord(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	words := strings.Fields("director directed direction Directs running run ran Über uber half-brother O'Brien o'brien's " +
		"U.S. AT&T 小説を書いた 1843 a an the Łódź lodz naïve X x3 births born birth notes noted not")
	sentence := func() string {
		var b []string
		for range 1 + r.IntN(9) {
			b = append(b, words[r.IntN(len(words))])
		}
		return strings.Join(b, " ")
	}
	for range 300 {
		var b strings.Builder
		for range 12 {
			b.WriteString("Here " + sentence() + ". ")
		}
		text, query := b.String(), sentence()
		wanted := map[string]bool{}
		for _, w := range questionWords(query) {
			if !functionWords[w.key] {
				wanted[w.stem] = true
			}
		}
		at, most := 0, 0
		sentences := Sentences(text)
		for i, x := range sentences {
			n := 0
			for _, term := range Terms(text[x.Start:x.End]) {
				if wanted[term] {
					n++
				}
			}
			if n > most {
				at, most = i, n
			}
		}
		if len(text) > snippetBytes {
			from, _ := snippet(text, contentStems(query))
			require.Equal(t, sentences[at].Start, from, "%q in %q", query, text)
		}
	}
}

func TestSnippet_BestSentence(t *testing.T) {
	text := strings.Repeat("Nothing is said here of anything at all. ", 8) + "Ada wrote to Babbage in 1843. " + strings.Repeat("More follows. ", 9)
	from, to := snippet(text, contentStems("Who wrote to Babbage?"))
	require.True(t, strings.HasPrefix(text[from:to], "Ada wrote to Babbage in 1843. More follows."))
}
