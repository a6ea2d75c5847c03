package engine

import (
	"math"
	"slices"
	"strings"
)

// lessEntity and lessRelation order dense numbers by what they stand for.
func (r *resident) lessEntity(a, b uint32) bool { return r.graph.Name(a) < r.graph.Name(b) }

func (r *resident) lessRelation(a, b uint32) bool {
	x, y := &r.relations[a], &r.relations[b]
	if x.lo != y.lo {
		return r.lessEntity(x.lo, y.lo)
	}
	return x.hi != y.hi && r.lessEntity(x.hi, y.hi)
}

// rarity is the weight of a name by the number of chunks that mention it.
func (v *view) rarity(n int) float64 {
	return math.Log(1 + float64(v.chunkN)/float64(max(1, n)))
}

// matcher scores short texts by the question's words they hold. A text is taken
// apart once: one sentence describes many relations.
type matcher struct {
	words *stemSet
	at    map[string]int // a word's place in idf
	idf   []float64
	in    map[string][]int // the words that a text holds, ascending
	found []int            // what in is made of
}

func newMatcher(r *sight, terms []uint32) *matcher {
	m := &matcher{words: new(stemSet), at: make(map[string]int, len(terms)), in: map[string][]int{}}
	for i, t := range terms {
		m.words.add(r.lex.Text(t))
		m.at[r.lex.Text(t)] = i
		m.idf = append(m.idf, r.part.IDF(t))
	}
	return m
}

func (m *matcher) wordsIn(text string) []int {
	out, ok := m.in[text]
	if ok {
		return out
	}
	s := scans.Get().(*scanned)
	defer scans.Put(s)
	defer s.forget()
	s.scan(text)
	from := len(m.found)
	for i := range s.parts {
		if w, ok := m.words.stemOf(s.parts[i].key); ok {
			m.found = append(m.found, m.at[w])
		}
	}
	slices.Sort(m.found[from:])
	m.found = m.found[:from+len(slices.Compact(m.found[from:]))]
	out = m.found[from:len(m.found):len(m.found)]
	m.in[text] = out
	return out
}

// score is the weight of the distinct words found in the texts, a word among the
// keywords counting double.
func (m *matcher) score(keywords, description string) float64 {
	var sum float64
	in := m.wordsIn(keywords)
	for _, i := range in {
		sum += 2 * m.idf[i]
	}
	for _, i := range m.wordsIn(description) {
		if !slices.Contains(in, i) {
			sum += m.idf[i]
		}
	}
	return sum
}

// joinWords makes one text of keywords, or is def when there are none.
func joinWords(words []string, def string) string {
	if len(words) == 0 {
		return def
	}
	return strings.Join(words, ", ")
}
