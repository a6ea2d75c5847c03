package index

import (
	"fmt"
	"slices"

	"github.com/viterin/vek"
	"github.com/viterin/vek/vek32"
)

// Hit is one answer of a search: the higher the score, the better.
type Hit struct {
	ID    uint32
	Score float32
}

// Search returns the k vectors nearest to q by cosine, or all if there are
// fewer, best first; scores are within rounding of -1..1. Vectors of which keep
// says no are left out before ranking; keep may be nil, is asked once for each
// vector, in no order, and must not change the space. Equal scores are ordered
// by less, which must be a strict order of ids that depends on nothing else;
// nil means by id. An empty space has no hits and no error. Errors are ErrK,
// ErrDimension, ErrNotFinite and ErrZeroVector. Safe beside other readers.
func (v *Vectors) Search(q []float32, k int, keep func(id uint32) bool, less func(a, b uint32) bool) ([]Hit, error) {
	if k < 1 {
		return nil, fmt.Errorf("%w: %d", ErrK, k)
	}
	scale, err := v.scale(q)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	if len(v.ids) == 0 {
		return nil, nil
	}
	unit := make([]float32, v.dim)
	normalise(unit, q, scale)
	t := best{k: min(k, len(v.ids)), less: less}
	t.hits = make([]Hit, 0, t.k)
	v.scan(unit, keep, &t)
	return t.sorted(), nil
}

func (v *Vectors) scan(unit []float32, keep func(uint32) bool, t *best) {
	if coded && len(v.ids) >= codedRows && t.k <= len(v.ids)/8 {
		v.scanCodes(unit, keep, t)
		return
	}
	v.scanRows(unit, keep, t)
}

func (v *Vectors) scanRows(unit []float32, keep func(uint32) bool, t *best) {
	row := 0
	for i := range v.arenas {
		rows := v.arenas[i].rows
		n := min(len(rows)/v.dim, len(v.ids)-row)
		for i, id := range v.ids[row : row+n] {
			if keep != nil && !keep(id) {
				continue
			}
			t.offer(Hit{id, dot(unit, rows[i*v.dim:(i+1)*v.dim])})
		}
		row += n
	}
}

// scanCodes finds what scanRows finds. The halves of a large space are scanned side
// by side, since its search is what a question waits for; keep, which may not bear
// it, is asked by one alone.
func (v *Vectors) scanCodes(unit []float32, keep func(uint32) bool, t *best) {
	c := coarses.Get().(*coarse)
	defer coarses.Put(c)
	c.reset(unit, t.k)
	if keep != nil || len(v.ids) < largeRows {
		v.coarse(c, 0, len(v.arenas), keep)
		v.rescore(c, c.floor(), unit, t)
		return
	}
	d := coarses.Get().(*coarse)
	defer coarses.Put(d)
	d.reset(unit, t.k)
	middle, done := len(v.arenas)/2, make(chan struct{})
	go func() {
		defer close(done)
		v.coarse(d, middle, len(v.arenas), nil)
	}()
	v.coarse(c, 0, middle, nil)
	<-done
	floor := max(c.floor(), d.floor()) // k rows of a half that reach it are k rows of the whole
	v.rescore(c, floor, unit, t)
	v.rescore(d, floor, unit, t)
}

// rescore reads the rows that may be among the k best.
func (v *Vectors) rescore(c *coarse, floor float32, unit []float32, t *best) {
	for _, x := range c.left {
		if x.upper >= floor {
			t.offer(Hit{v.ids[x.row], dot(unit, v.at(x.row))})
		}
	}
}

// coarse looks at the arenas from, ..., to-1.
func (v *Vectors) coarse(c *coarse, from, to int, keep func(uint32) bool) {
	row := from << v.shift
	for i := from; i < to; i++ {
		a := &v.arenas[i]
		n := min(len(a.marks), len(v.ids)-row)
		if keep == nil {
			c.scan(a, 0, n, uint32(row))
		} else {
			for at := 0; at < n; at++ { // by runs of those that are kept
				end := at
				for end < n && keep(v.ids[row+end]) {
					end++
				}
				c.scan(a, at, end-at, uint32(row+at))
				at = end
			}
		}
		row += n
	}
}

// best keeps the k best hits seen in a heap with the worst of them on top.
type best struct {
	k    int
	less func(a, b uint32) bool
	hits []Hit
}

// worse says whether a comes after b.
func (t *best) worse(a, b Hit) bool {
	if a.Score != b.Score {
		return a.Score < b.Score
	}
	if t.less != nil {
		return t.less(b.ID, a.ID)
	}
	return b.ID < a.ID
}

// offer enters a hit.
func (t *best) offer(h Hit) {
	if len(t.hits) < t.k || h.Score >= t.hits[0].Score {
		t.push(h)
	}
}

func (t *best) push(h Hit) {
	if len(t.hits) < t.k {
		t.hits = append(t.hits, h)
		for i := len(t.hits) - 1; i > 0; {
			up := (i - 1) / 2
			if !t.worse(t.hits[i], t.hits[up]) {
				return
			}
			t.hits[i], t.hits[up] = t.hits[up], t.hits[i]
			i = up
		}
		return
	}
	if !t.worse(t.hits[0], h) {
		return
	}
	t.hits[0] = h
	for i := 0; ; {
		c := 2*i + 1
		if c >= len(t.hits) {
			return
		}
		if c+1 < len(t.hits) && t.worse(t.hits[c+1], t.hits[c]) {
			c++
		}
		if !t.worse(t.hits[c], t.hits[i]) {
			return
		}
		t.hits[i], t.hits[c] = t.hits[c], t.hits[i]
		i = c
	}
}

func (t *best) sorted() []Hit {
	slices.SortFunc(t.hits, func(a, b Hit) int {
		if t.worse(b, a) {
			return -1
		}
		return 1
	})
	return t.hits
}

// accelerated says whether vek has an assembly kernel for this processor (AVX2
// on amd64, but not on darwin). Where it has none its loop carries one sum;
// four sums side by side take half the time.
var accelerated = vek.Info().Acceleration

// dot is the product of two vectors of equal length. Its sum depends on nothing
// but the values: not on where they lie.
func dot(a, b []float32) float32 {
	if accelerated {
		return vek32.Dot(a, b)
	}
	return dotPortable(a, b)
}

func dotPortable(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		x, y := a[i:i+4:i+4], b[i:i+4:i+4]
		s0 += x[0] * y[0]
		s1 += x[1] * y[1]
		s2 += x[2] * y[2]
		s3 += x[3] * y[3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return (s0 + s1) + (s2 + s3)
}
