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
		weight, postings := p.IDF(t)*(bm25K1+1), x.terms[t].postings
		if p.in == nil && keep == nil && len(postings) >= manyPostings {
			s.addAll(postings, x.lengths, weight, norm)
			continue
		}
		for _, o := range postings {
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

// manyPostings is from how many postings on a table of what they weigh pays.
const manyPostings = 8 * scoreCounts * scoreLengths / 10

// addAll adds what Score adds for the postings of one term, all of them. Nearly all
// of a common term's are short passages with few of it: their weights are looked up.
// Whether a passage is met for the first time is as good as random, so there is no
// branch on it: one that is guessed wrongly costs more than the rest of a posting.
func (s *Scores) addAll(postings []Posting, lengths []uint32, weight float64, norm func(length int) float64) {
	if s.weights == nil {
		s.weights = new([scoreCounts * scoreLengths]float64)
	}
	for i := range s.weights {
		count := float64(1 + i/scoreLengths)
		s.weights[i] = weight * count / (count + s.norms[i%scoreLengths])
	}
	n, of, top := len(s.touched), s.of, s.top
	s.touched = slices.Grow(s.touched, len(postings))[:n+len(postings)]
	for _, o := range postings {
		var v float64
		if length := lengths[o.ID]; o.Count-1 < scoreCounts && length < scoreLengths {
			v = s.weights[int(o.Count-1)*scoreLengths+int(length)]
		} else {
			count := float64(o.Count)
			v = weight * count / (count + norm(int(length)))
		}
		old := of[o.ID]
		s.touched[n] = o.ID
		first := 0
		if math.Float64bits(old) == 0 {
			first = 1
		}
		n += first
		v += old
		of[o.ID] = v
		if v > top {
			top = v
		}
	}
	s.touched, s.top = s.touched[:n], top
}
