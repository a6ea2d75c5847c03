package engine

import (
	"math"
	"strings"
	"sync"
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

// findRelation finds the edge of a pair, whichever way it points.
func (r *resident) findRelation(a, b uint32) (uint32, bool) {
	if rel, ok := r.graph.FindRelation(a, b); ok {
		return rel, true
	}
	return r.graph.FindRelation(b, a)
}

// rarity is the weight of a name by the number of chunks that mention it.
func (r *resident) rarity(n int) float64 {
	return math.Log(1 + float64(len(r.chunks)-len(r.free))/float64(max(1, n)))
}

// matcher scores short texts by the question's words they hold.
type matcher struct{ idf map[string]float64 }

func newMatcher(r *recall, q question) matcher {
	m := matcher{idf: make(map[string]float64, len(q.terms))}
	for _, t := range q.terms {
		m.idf[r.lex.Text(t)] = r.lex.IDF(t)
	}
	return m
}

// score is the weight of the distinct words found in the texts, a word in the
// first of them (the keywords of a relation) counting double.
func (m matcher) score(keywords, description string) float64 {
	var sum float64
	seen := map[string]bool{}
	for i, text := range []string{keywords, description} {
		for _, t := range Terms(text) {
			if w, ok := m.idf[t]; ok && !seen[t] {
				seen[t] = true
				sum += w * float64(2-i)
			}
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

// keywordCache remembers the keywords a model gave for a question. They depend
// on the question alone, not on the knowledge base. When it is full the oldest
// goes. Safe for concurrent use.
type keywordCache struct {
	mu    sync.Mutex
	max   int
	of    map[string]Keywords
	order []string
}

func newKeywordCache(n int) *keywordCache { return &keywordCache{max: n, of: map[string]Keywords{}} }

func (c *keywordCache) get(query string) (Keywords, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kw, ok := c.of[query]
	return kw, ok
}

func (c *keywordCache) put(query string, kw Keywords) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.of[query]; !ok {
		if len(c.order) == c.max {
			delete(c.of, c.order[0])
			c.order = c.order[1:]
		}
		c.order = append(c.order, query)
	}
	c.of[query] = kw
}
