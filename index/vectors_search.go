package index

import (
	"fmt"
	"math"
	"sync"
)

// Search returns the k vectors nearest to q by cosine, or all if there are
// fewer, best first; scores are within rounding of -1..1. Vectors of which keep
// says no are left out before ranking; keep may be nil, is asked in no order, of
// some vectors more than once, by one goroutine at a time, and must not change the
// space. Equal scores are ordered by less, which must be a strict order of ids that
// depends on nothing else; nil means by id. An empty space has no hits and no error. Errors are ErrK,
// ErrDimension, ErrNotFinite and ErrZeroVector.
//
// Below Options.From vectors, and with Exact, the hits are the nearest there are.
// Above, they are nearly all of them, and which are missing depends on the history
// of the space; scores and order are exact in any case (but for Options.Compact).
func (v *Vectors) Search(q []float32, k int, keep func(id uint32) bool, less func(a, b uint32) bool) ([]Hit, error) {
	return v.search(q, k, keep, less, false)
}

// SearchExact is Search that always scans.
func (v *Vectors) SearchExact(q []float32, k int, keep func(id uint32) bool, less func(a, b uint32) bool) ([]Hit, error) {
	return v.search(q, k, keep, less, true)
}

func (v *Vectors) search(q []float32, k int, keep func(id uint32) bool, less func(a, b uint32) bool, exact bool) ([]Hit, error) {
	if k < 1 {
		return nil, fmt.Errorf("%w: %d", ErrK, k)
	}
	scale, err := v.scale(q)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	w := v.view.Load()
	if w.live == 0 {
		return nil, nil
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.query(&w.rowStore, q, scale)
	t := best{k: min(k, w.live), less: less}
	t.hits = make([]Hit, 0, t.k)
	if exact || !w.walked(s, keep, &t) {
		t.hits = t.hits[:0]
		w.scan(s, keep, 0, &t)
	}
	return t.sorted(), nil
}

// scratch is what one search needs besides its answer. Its memory grows to the
// largest space and stays.
type scratch struct {
	unit  []float32
	wide  []int16 // unit in codeUnits, for exact scans
	lost  float64 // what wide is off by
	one   [1]int32
	pivot []int8 // unit as a row of codes, for walks
	mark  mark   // of pivot
	beam
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// query takes a query as the rows of a store are compared with it.
func (s *scratch) query(r *rowStore, q []float32, scale float64) {
	s.unit = grown(s.unit, r.dim)
	normalise(s.unit, q, scale)
	if !r.coded {
		return
	}
	s.wide = grown(s.wide, codeWidth(r.dim))
	clear(s.wide)
	s.lost = widen(s.wide, s.unit)
}

// grown is a slice of n values whatever they are.
func grown[T any](x []T, n int) []T {
	if cap(x) < n {
		return make([]T, n)
	}
	return x[:n]
}

// score is what a row is ranked by: its product with the query, or that of its
// codes where there is nothing else.
func (s *scratch) score(r *rowStore, row uint32) float32 {
	if r.full {
		return dot(s.unit, r.at(row))
	}
	codes, m := r.codes(row)
	dotCodes(s.one[:], s.wide, codes)
	return codeScore(s.one[0], m)
}

func codeScore(product int32, m *mark) float32 { return float32(product) * m.scale * (1. / codeUnit) }

// scan offers every row from the one given that the view shows and keep lets through.
func (w *view) scan(s *scratch, keep func(uint32) bool, from int, t *best) {
	switch n := w.n - from; {
	case n <= 0:
	case !w.full:
		w.scanScores(s, keep, from, t)
	case w.coded && n >= codedRows && t.k <= n/8:
		w.scanCodes(s, keep, from, t)
	default:
		w.scanRows(s, keep, from, t)
	}
}

func (w *view) scanRows(s *scratch, keep func(uint32) bool, from int, t *best) {
	whole := w.whole()
	for row := uint32(from); row < uint32(w.n); row++ {
		if !whole && !w.shows(row) {
			continue
		}
		if id := w.id(row); keep == nil || keep(id) {
			t.offer(Hit{id, dot(s.unit, w.at(row))})
		}
	}
}

// scanScores is the scan of a compact space.
func (w *view) scanScores(s *scratch, keep func(uint32) bool, from int, t *best) {
	whole := w.whole()
	for row := uint32(from); row < uint32(w.n); row++ {
		if !whole && !w.shows(row) {
			continue
		}
		if id := w.id(row); keep == nil || keep(id) {
			t.offer(Hit{id, s.score(&w.rowStore, row)})
		}
	}
}

// scanCodes finds what scanRows finds. The halves of many rows are scanned side
// by side, since their search is what a question waits for; keep, which may not bear
// it, is asked by one alone.
func (w *view) scanCodes(s *scratch, keep func(uint32) bool, from int, t *best) {
	c := coarses.Get().(*coarse)
	defer coarses.Put(c)
	c.reset(s, t.k)
	if keep != nil || w.n-from < largeRows {
		w.coarse(c, from, w.n, keep)
		w.rescore(c, c.floor(), s, t)
		return
	}
	d := coarses.Get().(*coarse)
	defer coarses.Put(d)
	d.reset(s, t.k)
	middle := from + (w.n-from)/2
	d.w, d.from, d.to = w, middle, w.n
	go d.run()
	w.coarse(c, from, middle, nil)
	<-d.done
	floor := max(c.floor(), d.floor()) // k rows of a half that reach it are k rows of the whole
	w.rescore(c, floor, s, t)
	w.rescore(d, floor, s, t)
}

// rescore reads the rows that may be among the k best.
func (w *view) rescore(c *coarse, floor float32, s *scratch, t *best) {
	for _, x := range c.left {
		if x.upper >= floor {
			t.offer(Hit{w.id(x.row), dot(s.unit, w.at(x.row))})
		}
	}
}

// coarse looks at the rows from, ..., to-1.
func (w *view) coarse(c *coarse, from, to int, keep func(uint32) bool) {
	whole := w.whole()
	for from < to {
		a, at := w.arenas[from>>w.shift], from&(1<<w.shift-1)
		n := min(len(a.ids), at+to-from)
		if keep == nil && whole {
			c.scan(a, at, n-at, uint32(from))
		} else {
			for i := at; i < n; i++ { // by runs of those that are kept
				end := i
				for end < n {
					row := uint32(from + end - at)
					if !whole && !w.shows(row) || keep != nil && !keep(a.ids[end]) {
						break
					}
					end++
				}
				c.scan(a, i, end-i, uint32(from+i-at))
				i = end
			}
		}
		from += n - at
	}
}

// infinitelyBad is below every score.
var infinitelyBad = float32(math.Inf(-1))
