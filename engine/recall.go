package engine

import (
	"slices"
	"sync"

	"alcove/graph"
	"alcove/index"
)

// scored is a ranked item; Via is the key of the name that brought most of its
// mass, "" when none did.
type scored struct {
	ID    uint32
	Score float64
	Via   string
}

// recall is model-free retrieval over the chunks of one base: BM25, and a walk of
// one bridge over windows and names. Chunks are known by dense numbers of the
// caller's, windows by numbers of its own. Nothing it returns depends on the order
// in which chunks came and went. Many readers or one writer; the caller locks.
type recall struct {
	lex  *index.Lexical
	pass *graph.Passages

	windows []windowPlace // by window
	free    []uint32
	chunks  [][]uint32 // windows by chunk, in order

	scratch sync.Pool // of *walker
}

// windowPlace is the chunk of a window and its place in it.
type windowPlace struct{ chunk, ord uint32 }

func newRecall() *recall {
	r := &recall{lex: index.NewLexical(), pass: graph.NewPassages()}
	r.scratch.New = func() any { return new(walker) }
	return r
}

// add puts a chunk in, replacing one of the same id.
func (r *recall) add(id uint32, a analysis) {
	r.remove(id)
	for int(id) >= len(r.chunks) {
		r.chunks = append(r.chunks, nil)
	}
	own := make([]uint32, len(a.windows))
	for i, x := range a.windows {
		var w uint32
		if n := len(r.free); n > 0 {
			w = r.free[n-1]
			r.free = r.free[:n-1]
		} else {
			w = uint32(len(r.windows))
			r.windows = append(r.windows, windowPlace{})
		}
		own[i] = w
		r.windows[w] = windowPlace{chunk: id, ord: uint32(i)}
		r.lex.Add(w, x.text)
		r.pass.Add(w, x.links)
	}
	r.chunks[id] = own
}

// remove takes a chunk out; one that is not there is no error.
func (r *recall) remove(id uint32) {
	if int(id) >= len(r.chunks) {
		return
	}
	for _, w := range r.chunks[id] {
		r.lex.Remove(w)
		r.pass.Remove(w)
	}
	r.free = append(r.free, r.chunks[id]...)
	r.chunks[id] = nil
}

// bytes is the memory that it holds, counted rather than measured.
func (r *recall) bytes() int64 {
	return r.lex.Bytes() + r.pass.Bytes() + int64(8*cap(r.windows)+4*cap(r.free)+28*cap(r.chunks))
}

// sight is what one search sees of a recall: all of it, or the windows of some
// chunks as if the others were not there. What a search of a part returns is what
// a recall that holds those chunks alone returns, to the last bit. It is scratch:
// for one goroutine, and void with the next change.
type sight struct {
	*recall
	part *index.Part
	// held is, by name, the number of windows in the part that hold it and 1, 0
	// while that is not known; nil when the part is the whole.
	held []int32

	// scored holds BM25 of the first question that was asked, which most parts of a
	// search ask for again: scoring a question of everyday words looks at every
	// window, some 3 ms of 10,000 chunks. nil before, and again after close.
	scored *walker
	terms  []uint32
}

// close gives the memory of the search back.
func (s *sight) close() {
	if s.scored != nil {
		s.release(s.scored)
		s.scored = nil
	}
}

// whole is the sight of everything.
func (r *recall) whole() *sight { return &sight{recall: r, part: r.lex.Whole()} }

// only is the sight of some chunks.
func (r *recall) only(chunks bits) *sight {
	s := &sight{recall: r, part: r.lex.NewPart(), held: make([]int32, r.pass.Bound())}
	for id, own := range r.chunks {
		if chunks.has(uint32(id)) {
			for _, w := range own {
				s.part.Add(w)
			}
		}
	}
	return s
}

// lookup returns the number of a name that some window in sight holds.
func (s *sight) lookup(key string) (uint32, bool) {
	n, ok := s.pass.Lookup(key)
	return n, ok && (s.held == nil || s.count(n) > 0)
}

// count is the number of windows in sight that hold a name.
func (s *sight) count(name uint32) int {
	if s.held == nil {
		return s.pass.Count(name)
	}
	if n := s.held[name]; n > 0 {
		return int(n - 1)
	}
	n := 0
	for _, l := range s.pass.PassagesOf(name) {
		if s.part.Has(l.ID) {
			n++
		}
	}
	s.held[name] = int32(n + 1)
	return n
}

// bm25 returns at most k chunks by BM25 of their best window, best first, equal
// ones ordered by less; keep (nil for all) is asked before ranking.
func (s *sight) bm25(q question, k int, keep func(uint32) bool, less func(a, b uint32) bool) []scored {
	w, done := s.score(q)
	defer done()
	return w.chunks.top(k, keep, less)
}

// score returns a walker that holds BM25 of a question over everything in sight,
// good until done.
func (s *sight) score(q question) (w *walker, done func()) {
	if s.scored != nil && slices.Equal(s.terms, q.terms) {
		return s.scored, func() {}
	}
	w = s.walker()
	s.part.Score(&w.all, q.terms, nil)
	w.chunks.reset(len(s.chunks))
	if matched := w.all.Matched(); len(matched) < len(s.windows)/2 {
		for _, d := range matched {
			w.chunks.offer(s.windows[d], d, w.all.Of(d))
		}
	} else {
		w.chunks.offerAll(s.chunks, &w.all)
	}
	if s.scored != nil {
		return w, func() { s.release(w) }
	}
	s.scored, s.terms = w, q.terms
	return w, func() {}
}

// walk returns at most k chunks by the share of mass that reaches their best
// window in three steps from the question, best first, equal ones ordered by less.
// keep (nil for all) is asked before ranking: what it refuses neither starts nor
// carries mass. Chunks without mass are not returned.
func (s *sight) walk(q question, k int, keep func(uint32) bool, less func(a, b uint32) bool) []scored {
	var w *walker
	if keep == nil {
		var done func()
		w, done = s.score(q)
		defer done()
	} else {
		w = s.walker()
		defer s.release(w)
		s.part.Score(&w.all, q.terms, s.keepWindows(keep))
	}
	w.reset(s, q, s.keepWindows(keep), s.lessWindow(less))
	w.start()
	w.run()
	w.reached.reset(len(s.chunks))
	for _, d := range w.last.set {
		w.reached.offer(s.windows[d], d, float64(w.last.of[d])/massUnit)
	}
	out := w.reached.top(k, nil, less)
	for i := range out {
		out[i].Via = w.via(w.reached.window[out[i].ID])
	}
	return out
}

// bm25 and walk are those of the whole.
func (r *recall) bm25(q question, k int, keep func(uint32) bool, less func(a, b uint32) bool) []scored {
	s := r.whole()
	defer s.close()
	return s.bm25(q, k, keep, less)
}

func (r *recall) walk(q question, k int, keep func(uint32) bool, less func(a, b uint32) bool) []scored {
	s := r.whole()
	defer s.close()
	return s.walk(q, k, keep, less)
}

func (r *recall) walker() *walker { return r.scratch.Get().(*walker) }

// release keeps a walker's memory for the next search and nothing of the caller's.
func (r *recall) release(w *walker) {
	w.sight, w.q, w.keep, w.less = nil, question{}, nil, nil
	r.scratch.Put(w)
}

func (r *recall) keepWindows(keep func(uint32) bool) func(uint32) bool {
	if keep == nil {
		return nil
	}
	return func(w uint32) bool { return keep(r.windows[w].chunk) }
}

// lessWindow orders windows by chunk, then by place.
func (r *recall) lessWindow(less func(a, b uint32) bool) func(a, b uint32) bool {
	return func(a, b uint32) bool {
		x, y := r.windows[a], r.windows[b]
		if x.chunk != y.chunk {
			return less(x.chunk, y.chunk)
		}
		return x.ord < y.ord
	}
}

// chunkScores holds the best window of each chunk of one search; it is scratch.
type chunkScores struct {
	score  []float64
	window []uint32
	ord    []uint32
	set    []uint32
}

func (c *chunkScores) reset(bound int) {
	for _, id := range c.set {
		c.score[id] = 0
	}
	c.set = c.set[:0]
	if n := bound + bound/4; len(c.score) < bound {
		c.score, c.window, c.ord = make([]float64, n), make([]uint32, n), make([]uint32, n)
	}
}

// offer enters a window with a positive score; of equal ones the first in its chunk counts.
func (c *chunkScores) offer(p windowPlace, window uint32, score float64) {
	old := c.score[p.chunk]
	if old == 0 {
		c.set = append(c.set, p.chunk)
	}
	if score > old || score == old && p.ord < c.ord[p.chunk] {
		c.score[p.chunk], c.window[p.chunk], c.ord[p.chunk] = score, window, p.ord
	}
}

// offerAll offers the windows of every chunk, chunk by chunk: of many that have a score
// this takes less than looking up the chunk of each.
func (c *chunkScores) offerAll(chunks [][]uint32, scores *index.Scores) {
	for id, own := range chunks {
		for ord, window := range own {
			if v := scores.Of(window); v > 0 {
				c.offer(windowPlace{uint32(id), uint32(ord)}, window, v)
			}
		}
	}
}

func (c *chunkScores) top(k int, keep func(uint32) bool, less func(a, b uint32) bool) []scored {
	t := index.NewTop(min(k, len(c.set)), less)
	for _, id := range c.set {
		if v := c.score[id]; !t.Below(v) && (keep == nil || keep(id)) {
			t.Offer(id, v)
		}
	}
	hits := t.Sorted()
	out := make([]scored, len(hits))
	for i, h := range hits {
		out[i] = scored{ID: h.ID, Score: h.Score}
	}
	return out
}
