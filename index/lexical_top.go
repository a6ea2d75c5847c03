package index

import "slices"

// Match is a passage with its score.
type Match struct {
	ID    uint32
	Score float64
}

// Scores holds a score for each passage of one search. The zero value is ready
// and is meant to be used again: its memory grows to the highest id and stays.
type Scores struct {
	of      []float64
	touched []uint32
	top     float64
	norms   [scoreLengths]float64                // length normalisation by length: of a passage that is longer it is worked out each time
	weights *[scoreCounts * scoreLengths]float64 // of one term, by its count in a passage and the passage's length
}

// Up to scoreCounts of a term in a passage of less than scoreLengths terms the weight
// is looked up.
const (
	scoreCounts  = 4
	scoreLengths = 512
)

func (s *Scores) reset(bound int) {
	if len(s.touched) > len(s.of)/8 {
		clear(s.of)
	} else {
		for _, id := range s.touched {
			s.of[id] = 0
		}
	}
	s.touched = s.touched[:0]
	s.top = 0
	if len(s.of) < bound {
		s.of = make([]float64, bound+bound/4)
	}
}

func (s *Scores) add(id uint32, v float64) {
	if s.of[id] == 0 {
		s.touched = append(s.touched, id)
	}
	v += s.of[id]
	s.of[id] = v
	if v > s.top { // nothing is ever taken off a score
		s.top = v
	}
}

// Of returns the score of a passage, 0 for one that no term matched.
func (s *Scores) Of(id uint32) float64 { return s.of[id] }

// Matched are the passages with a score, in no order that means anything. The
// slice is good until the next search.
func (s *Scores) Matched() []uint32 { return s.touched }

// Max is the best score, 0 when nothing matched.
func (s *Scores) Max() float64 { return s.top }

// Best returns at most k passages, best first; equal scores are ordered by less.
func (s *Scores) Best(k int, less func(a, b uint32) bool) []Match {
	t := NewTop(min(k, len(s.touched)), less)
	for _, id := range s.touched {
		if v := s.of[id]; !t.Below(v) {
			t.Offer(id, v)
		}
	}
	return t.Sorted()
}

// Top keeps the k best of what it is offered, in a heap with the worst on top.
type Top struct {
	k    int
	less func(a, b uint32) bool
	heap []Match
}

// NewTop returns a Top of k places; equal scores are ordered by less.
func NewTop(k int, less func(a, b uint32) bool) *Top {
	return &Top{k: max(k, 0), less: less, heap: make([]Match, 0, max(k, 0))}
}

func (t *Top) worse(a, b Match) bool {
	if a.Score != b.Score {
		return a.Score < b.Score
	}
	return t.less(b.ID, a.ID)
}

// Below reports whether a score is too low to be kept: a look that costs less
// than an offer, for the many that are.
func (t *Top) Below(score float64) bool {
	return len(t.heap) == t.k && t.k > 0 && score < t.heap[0].Score
}

// Offer enters a passage; each at most once.
func (t *Top) Offer(id uint32, score float64) {
	m := Match{ID: id, Score: score}
	h := t.heap
	if len(h) < t.k {
		t.heap = append(h, m)
		h = t.heap
		for i := len(h) - 1; i > 0; {
			up := (i - 1) / 2
			if !t.worse(h[i], h[up]) {
				break
			}
			h[i], h[up] = h[up], h[i]
			i = up
		}
		return
	}
	if t.k == 0 || !t.worse(h[0], m) {
		return
	}
	h[0] = m
	for i := 0; ; {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && t.worse(h[c+1], h[c]) {
			c++
		}
		if !t.worse(h[c], h[i]) {
			break
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}

// Sorted returns what was kept, best first, and ends the use of t.
func (t *Top) Sorted() []Match {
	slices.SortFunc(t.heap, func(a, b Match) int {
		switch {
		case t.worse(b, a):
			return -1
		case t.worse(a, b):
			return 1
		}
		return 0
	})
	return t.heap
}
