package engine

import (
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

// bm25 returns at most k chunks by BM25 of their best window, best first, equal
// ones ordered by less; keep (nil for all) is asked before ranking.
func (r *recall) bm25(q question, k int, keep func(uint32) bool, less func(a, b uint32) bool) []scored {
	w := r.walker()
	defer r.release(w)
	r.lex.Score(&w.all, q.terms, r.keepWindows(keep))
	w.chunks.reset(len(r.chunks))
	for _, d := range w.all.Matched() {
		w.chunks.offer(r.windows[d], d, w.all.Of(d))
	}
	return w.chunks.top(k, less)
}

// walk returns at most k chunks by the share of mass that reaches their best
// window in three steps from the question, best first, equal ones ordered by less.
// keep (nil for all) is asked before ranking: what it refuses neither starts nor
// carries mass. Chunks without mass are not returned.
func (r *recall) walk(q question, k int, keep func(uint32) bool, less func(a, b uint32) bool) []scored {
	w := r.walker()
	defer r.release(w)
	w.reset(r, q, r.keepWindows(keep), r.lessWindow(less))
	w.start()
	w.run()
	w.chunks.reset(len(r.chunks))
	for _, d := range w.last.set {
		w.chunks.offer(r.windows[d], d, float64(w.last.of[d])/massUnit)
	}
	out := w.chunks.top(k, less)
	for i := range out {
		if v := w.via[w.chunks.window[out[i].ID]]; v.mass > 0 {
			out[i].Via = r.pass.Key(v.name)
		}
	}
	return out
}

func (r *recall) walker() *walker { return r.scratch.Get().(*walker) }

// release keeps a walker's memory for the next search and nothing of the caller's.
func (r *recall) release(w *walker) {
	w.q, w.keep, w.less = question{}, nil, nil
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

func (c *chunkScores) top(k int, less func(a, b uint32) bool) []scored {
	t := index.NewTop(min(k, len(c.set)), less)
	for _, id := range c.set {
		t.Offer(id, c.score[id])
	}
	hits := t.Sorted()
	out := make([]scored, len(hits))
	for i, h := range hits {
		out[i] = scored{ID: h.ID, Score: h.Score}
	}
	return out
}
