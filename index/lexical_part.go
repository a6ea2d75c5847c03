package index

import (
	"math"
	"slices"
)

// Part is some passages of a Lexical, searched as if the others were not there:
// frequencies, lengths and scores are those of an index that holds them alone,
// to the last bit. It is scratch for one search by one goroutine, and void with
// the next change of the index.
type Part struct {
	x      *Lexical
	in     []uint64 // a bit for each passage; nil is all
	live   int
	length int64
	counts []int32 // by term: its frequency and 1, 0 while it is not known
}

// Whole is the part that holds every passage.
func (x *Lexical) Whole() *Part { return &Part{x: x, live: x.live, length: x.length} }

// NewPart returns a part that holds no passage yet.
func (x *Lexical) NewPart() *Part {
	return &Part{x: x, in: make([]uint64, (len(x.passages)+63)/64), counts: make([]int32, len(x.terms))}
}

// Add puts a passage of the index into a part of NewPart, before it is asked
// anything. One that is in it already, or that the index does not have, is no error.
func (p *Part) Add(id uint32) {
	if int(id) >= len(p.x.passages) || !p.x.passages[id].taken || p.Has(id) {
		return
	}
	p.in[id/64] |= 1 << (id % 64)
	p.live++
	p.length += int64(p.x.lengths[id])
}

// Has reports whether a passage is in the part.
func (p *Part) Has(id uint32) bool {
	return p.in == nil || int(id/64) < len(p.in) && p.in[id/64]&(1<<(id%64)) != 0
}

// IsWhole reports whether the part is Whole's.
func (p *Part) IsWhole() bool { return p.in == nil }

// Len is the number of passages in the part.
func (p *Part) Len() int { return p.live }

// Frequency is the number of passages in the part that hold a term. It reads
// the term's postings once.
func (p *Part) Frequency(term uint32) int {
	list := p.x.terms[term].postings
	if p.in == nil {
		return len(list)
	}
	if n := p.counts[term]; n > 0 {
		return int(n - 1)
	}
	n := 0
	for i := range list {
		if id := list[i].ID; p.in[id/64]&(1<<(id%64)) != 0 {
			n++
		}
	}
	p.counts[term] = int32(n + 1)
	return n
}

// Term returns the number of a term that some passage in the part holds.
func (p *Part) Term(text string) (uint32, bool) {
	t, ok := p.x.Term(text)
	return t, ok && (p.in == nil || p.Frequency(t) > 0)
}

// IDF is BM25's inverse document frequency, ln(1 + (N-n+0.5)/(n+0.5)): never negative.
func (p *Part) IDF(term uint32) float64 {
	n := float64(p.Frequency(term))
	return math.Log(1 + (float64(p.live)-n+.5)/(n+.5))
}

// Score fills s with the BM25 scores of terms, as Search ranks by: those of the
// passages in the part that keep (nil for all) lets through. Statistics do not
// depend on keep.
func (p *Part) Score(s *Scores, terms []uint32, keep func(uint32) bool) {
	x := p.x
	s.reset(len(x.passages))
	if p.live == 0 {
		return
	}
	average := max(1, float64(p.length)/float64(p.live))
	norm := func(length int) float64 { return bm25K1 * (1 - bm25B + bm25B*float64(length)/average) }
	for length := range s.norms {
		s.norms[length] = norm(length)
	}
	for i, t := range terms {
		if slices.Contains(terms[:i], t) {
			continue
		}
		weight := p.IDF(t) * (bm25K1 + 1)
		for _, o := range x.terms[t].postings {
			if !p.Has(o.ID) || keep != nil && !keep(o.ID) {
				continue
			}
			var n float64
			if length := int(x.lengths[o.ID]); length < len(s.norms) {
				n = s.norms[length]
			} else {
				n = norm(length)
			}
			count := float64(o.Count)
			s.add(o.ID, weight*count/(count+n))
		}
	}
}
