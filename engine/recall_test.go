package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/index"
)

// bridge is the recipe in small: the answer's passage shares no word with the
// question but through a name that only another passage gives.
var bridge = []evalPassage{
	{"a", "The Glass Harbour", "The Glass Harbour is a 1999 drama film directed by Mia Brandt. It was shot in Oslo."},
	{"b", "", `Ida "Mia" Brandt (born 3 May 1950 in Bergen) is a film maker.`},
	{"c", "", "Bergen is a city. The harbour of Bergen is old, and the film festival is held there."},
	{"d", "", "Oslo is a capital. A glass harbour was planned in Oslo."},
	{"e", "", "The director of the museum was born in Turku."},
}

const bridgeQuestion = "Where was the director of the film The Glass Harbour born?"

func TestRecall_WalksOverABridge(t *testing.T) {
	r := evalBase(bridge, true)
	q := parseQuestion(r, bridgeQuestion, true)
	require.Equal(t, []string{"glass harbour"}, q.names())
	got := r.walk(q, 2, nil, byID)
	require.Equal(t, []uint32{0, 1}, []uint32{got[0].ID, got[1].ID})
	require.Equal(t, []string{"glass harbour", "mia brandt"}, []string{got[0].Via, got[1].Via})

	t.Run("a refused passage neither shows nor carries", func(t *testing.T) {
		for _, h := range r.walk(q, 8, func(id uint32) bool { return id != 0 }, byID) {
			require.NotEqual(t, uint32(0), h.ID)
			if h.ID == 1 {
				require.Less(t, h.Score, got[1].Score/2)
			}
		}
		for _, h := range r.bm25(q, 8, func(id uint32) bool { return id != 0 }, byID) {
			require.NotEqual(t, uint32(0), h.ID)
		}
	})
	t.Run("nothing in, nothing out", func(t *testing.T) {
		empty := newRecall()
		q := parseQuestion(empty, bridgeQuestion, true)
		require.Empty(t, empty.walk(q, 5, nil, byID))
		require.Empty(t, empty.bm25(q, 5, nil, byID))
		q = parseQuestion(r, "", true)
		require.Empty(t, r.walk(q, 5, nil, byID))
		require.Empty(t, r.walk(parseQuestion(r, bridgeQuestion, true), 0, nil, byID))
	})
}

func TestRecall_NamesOfAModel(t *testing.T) {
	r := newRecall()
	texts := []string{
		"lena writes the billing service. it runs on a small box.",
		"the billing service was moved to the attic by tom.",
		"tom keeps bees and reads the news every morning.",
	}
	names := [][]string{{"Lena", "billing service"}, {"billing service", "Tom"}, {"Tom"}}
	for i, text := range texts {
		r.add(uint32(i), analyse("", nil, text, names[i]))
	}
	got := r.walk(parseQuestion(r, "what else does the person do who moved what lena writes?", true), 3, nil, byID)
	var ids []uint32
	for _, h := range got {
		ids = append(ids, h.ID)
	}
	require.ElementsMatch(t, []uint32{0, 1, 2}, ids)

	r = newRecall()
	for i, text := range []string{"東京大学は本郷にある。", "本郷は文京区の町。", "大阪は西にある。"} {
		r.add(uint32(i), analyse("", nil, text, [][]string{{"東京大学", "本郷"}, {"本郷", "文京区"}, {"大阪"}}[i]))
	}
	q := parseQuestion(r, "東京大学は何区にある?", true)
	require.Equal(t, []string{"東京 京大 大学"}, q.names())
	got = r.walk(q, 2, nil, byID)
	require.Equal(t, []uint32{0, 1}, []uint32{got[0].ID, got[1].ID})
	require.Equal(t, "本郷", got[1].Via)
}

// randomCorpus makes chunks of few names and words, so that everything links.
func randomCorpus(rnd *rand.Rand, n int) []analysis {
	names := strings.Fields("Ada Babbage Cantor Dedekind Euler Fermat Gauss Hilbert Ito Jacobi")
	words := strings.Fields("born studied engine number set proof city school wrote letter directed film river old")
	out := make([]analysis, n)
	for i := range out {
		var b strings.Builder
		for range 1 + rnd.IntN(12) {
			fmt.Fprintf(&b, "%s ", names[rnd.IntN(len(names))])
			for range 2 + rnd.IntN(8) {
				fmt.Fprintf(&b, "%s ", words[rnd.IntN(len(words))])
			}
			fmt.Fprintf(&b, "%s. ", names[rnd.IntN(len(names))])
			if rnd.IntN(3) == 0 {
				b.WriteString("\n\n")
			}
		}
		title := ""
		if rnd.IntN(2) == 0 {
			title = names[rnd.IntN(len(names))]
		}
		out[i] = analyse(title, []string{"Letters"}, b.String(), []string{"number set"})
	}
	return out
}

// A sight that was asked before answers as a fresh one does: what it holds of the
// first question, and gives back in the end, is in no other answer.
func TestSight_RemembersTheFirstQuestion(t *testing.T) {
	r := newRecall()
	for i, c := range randomCorpus(rand.New(rand.NewPCG(9, 1)), 60) {
		r.add(uint32(i), c)
	}
	keep := func(id uint32) bool { return id%5 != 0 }
	part := newBits(60)
	for id := range uint32(60) {
		if id%3 > 0 {
			part.set(id)
		}
	}
	first := "Where was the director of Babbage's film born?"
	texts := []string{first, "Euler proof", first, "letter number old river", "zzz", first}
	for _, sight := range []func() *sight{r.whole, func() *sight { return r.only(part) }} {
		s := sight()
		asked := 0
		for i := range 40 {
			text := texts[i%len(texts)]
			fresh := sight()
			for _, k := range []func(uint32) bool{nil, keep} {
				var want []scored // of what is allowed, from the list of all
				for _, x := range fresh.bm25(fresh.parse(text, true), 60, nil, byID) {
					if k == nil || k(x.ID) {
						want = append(want, x)
					}
				}
				got := s.bm25(s.parse(text, true), 60, k, byID)
				require.Equal(t, append([]scored{}, want...), got, "%q", text)
				asked += len(got)
				require.Equal(t, fresh.walk(fresh.parse(text, true), 20, k, byID), s.walk(s.parse(text, true), 20, k, byID), "%q", text)
			}
			fresh.close()
			if i%11 == 10 {
				s.close() // a closed one begins anew
			}
		}
		require.Positive(t, asked)
		s.close()
	}
}

// A base is the set of its chunks: however they came and went, under whatever
// dense ids, rankings and scores are the same to the last bit.
func TestRecall_DoesNotDependOnHistory(t *testing.T) {
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, 1))
	chunks := randomCorpus(rnd, 60)
	questions := []string{
		"Where was the director of Babbage's film born?", "Euler proof", "which city school did Gauss and Ito study in?",
		"letter number", "old river", "Who wrote to the Jacobi of the number set?", "engine",
	}
	wanted := rnd.Perm(len(chunks))[:40]

	rankings := func(r *recall, chunkOf map[uint32]int) []string {
		less := func(a, b uint32) bool { return chunkOf[a] < chunkOf[b] }
		keep := func(id uint32) bool { return chunkOf[id]%5 != 0 }
		var out []string
		for _, text := range questions {
			q := parseQuestion(r, text, true)
			for _, list := range [][]scored{r.walk(q, 15, nil, less), r.walk(q, 15, keep, less), r.bm25(q, 15, nil, less)} {
				line := fmt.Sprint(text, q.names(), q.keywords())
				for _, h := range list {
					line += fmt.Sprintf(" %d:%x:%s", chunkOf[h.ID], h.Score, h.Via)
				}
				out = append(out, line)
			}
		}
		return out
	}

	var want []string
	for history := range 12 {
		r := newRecall()
		idOf, chunkOf := map[int]uint32{}, map[uint32]int{}
		var free []uint32
		put := func(c int) {
			if _, ok := idOf[c]; ok {
				return
			}
			id := uint32(len(idOf) + len(free))
			if n := len(free); n > 0 {
				i := rnd.IntN(n)
				id = free[i]
				free = slices.Delete(free, i, i+1)
			}
			r.add(id, chunks[c])
			idOf[c], chunkOf[id] = id, c
		}
		drop := func(c int) {
			if id, ok := idOf[c]; ok {
				r.remove(id)
				delete(idOf, c)
				delete(chunkOf, id)
				free = append(free, id)
			}
		}
		for i := range history * 30 {
			if c := rnd.IntN(len(chunks)); rnd.IntN(2) == 0 {
				put(c)
			} else {
				drop(c)
			}
			if i%20 == 0 {
				rankings(r, chunkOf) // what a search remembers of words does not outlive a change
			}
		}
		for c := range chunks {
			if !slices.Contains(wanted, c) {
				drop(c)
			}
		}
		for _, i := range rnd.Perm(len(wanted)) {
			put(wanted[i])
		}
		got := rankings(r, chunkOf)
		if history == 0 {
			want = got
			require.Greater(t, len(strings.Fields(want[0])), 10, "the questions find something")
			continue
		}
		require.Equal(t, want, got, "history %d, seed %d", history, seed)
	}
}

// Removing everything gives everything back.
func TestRecall_ForgetsWhatIsRemoved(t *testing.T) {
	r := newRecall()
	chunks := randomCorpus(rand.New(rand.NewPCG(3, 4)), 50)
	for range 3 {
		for i, c := range chunks {
			r.add(uint32(i), c)
			r.add(uint32(i), c) // replaces
		}
		for i := range chunks {
			r.remove(uint32(i))
			r.remove(uint32(i))
		}
		require.Zero(t, r.lex.Len())
		require.Zero(t, r.lex.Bytes())
		require.Zero(t, r.pass.Bytes())
		require.Zero(t, r.pass.Names())
	}
}

// Many may search at once; run with -race.
func TestRecall_ConcurrentSearches(t *testing.T) {
	r := evalBase(bridge, true)
	want := r.walk(parseQuestion(r, bridgeQuestion, true), 5, nil, byID)
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			for range 50 {
				require.Equal(t, want, r.walk(parseQuestion(r, bridgeQuestion, true), 5, nil, byID))
			}
		})
	}
}

func FuzzQuestion(f *testing.F) {
	r := evalBase(bridge, true)
	for _, s := range []string{"", bridgeQuestion, "Mia Brandt's \xff\xfe film", "東京大学は?", strings.Repeat("Oslo ", 500), "é\u0301 '' -- ’s O'Brien-Smith’s U.S. A.B. 3.5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q := parseQuestion(r, text, true)
		require.LessOrEqual(t, len(q.terms), maxQuestionWords)
		require.LessOrEqual(t, len(q.seeds), maxSeeds)
		var mass float64
		for _, h := range r.walk(q, 10, nil, byID) {
			require.Greater(t, h.Score, 0.0)
			mass += h.Score
		}
		require.LessOrEqual(t, mass, 1.0)
	})
}

// What is offered chunk by chunk is what is offered window by window, in whatever order.
func TestChunkScores_OfferAll(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	rec := newRecall()
	for i, c := range randomCorpus(r, 60) {
		rec.add(uint32(i), c)
	}
	for i := range uint32(20) {
		rec.remove(i * 3)
	}
	q := parseQuestion(rec, "letter number old river school city", true)
	var scores index.Scores
	rec.lex.Score(&scores, q.terms, nil)
	require.NotEmpty(t, scores.Matched())
	var one, all chunkScores
	for range 3 { // the memory is used again
		one.reset(len(rec.chunks))
		all.reset(len(rec.chunks))
		matched := slices.Clone(scores.Matched())
		r.Shuffle(len(matched), func(i, j int) { matched[i], matched[j] = matched[j], matched[i] })
		for _, w := range matched {
			one.offer(rec.windows[w], w, scores.Of(w))
		}
		all.offerAll(rec.chunks, &scores)
		require.ElementsMatch(t, one.set, all.set)
		for _, id := range one.set {
			require.Equal(t, one.score[id], all.score[id])
			require.Equal(t, one.window[id], all.window[id])
			require.Equal(t, one.ord[id], all.ord[id])
		}
	}
}
