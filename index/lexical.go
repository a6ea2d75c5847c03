package index

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
)

// Constants of Okapi BM25 (Robertson and Zaragoza, The Probabilistic Relevance
// Framework, 2009): saturation of repeats, and share of length normalisation.
const (
	bm25K1 = 1.2
	bm25B  = 0.75
)

// maxPassageTerms bounds the distinct terms of one passage and its terms in one
// sentence, so that sentences can name them in 16 bits. What goes beyond is not
// indexed; a passage of 1,200 tokens has under 1,000.
const maxPassageTerms = 1<<16 - 1

// Passage is a passage as Lexical takes it: analysed terms, in order, with repeats.
type Passage struct {
	// Head are terms that belong to the passage but to none of its sentences: its
	// title and headings.
	Head      []Token
	Sentences [][]Token
}

// Token is one occurrence of a term. Lower says that it is written in lower
// case, which tells words from names.
type Token struct {
	Term  string
	Lower bool
}

// Lexical is an inverted index with BM25 ranking over passages, which keeps for
// each passage the terms of each sentence. It analyses no text. Passages are
// known by dense numbers of the caller's; terms get numbers of their own, which
// stay valid until the last passage that holds the term is removed and which no
// result depends on. Document frequencies are live: nothing has to be rebuilt after
// a change, and a change costs as much as its passage is long. Many readers or
// one writer; the caller locks.
type Lexical struct {
	passages []lexicalPassage // by id
	lengths  []uint32         // by id: terms, repeats included; apart, because scoring reads nothing else of a passage
	live     int
	length   int64 // terms of all passages, repeats included
	terms    []lexicalTerm
	number   map[string]uint32
	peak     int // most terms since number was made
	free     []uint32
	bytes    int64
	changes  uint64

	counts  []Posting // scratch of Add: of each distinct term
	numbers []uint32  // scratch of Add: of each token
	scores  sync.Pool
}

type lexicalTerm struct {
	text     string
	postings []Posting
}

// Posting says that a passage holds a term Count times, Lower of them in lower
// case. Counts stop at the largest number they can hold.
type Posting struct {
	ID           uint32
	Count, Lower uint16
}

func (p *Posting) count(t Token) {
	if p.Count < math.MaxUint16 {
		p.Count++
		if t.Lower {
			p.Lower++
		}
	}
}

// lexicalPassage is one passage, or free.
type lexicalPassage struct {
	own []ownTerm // ascending by term
	// sentences holds for each sentence the number of its distinct terms, then
	// their places in own, ascending.
	sentences []uint16
	taken     bool
}

// ownTerm is a distinct term of a passage and the place of the passage in its
// postings, which makes a removal independent of how long those are.
type ownTerm struct{ term, at uint32 }

const (
	lexicalPassageBytes = 56 + 4
	lexicalTermBytes    = 96 // entry, map slot, string header
	postingBytes        = 8
)

// NewLexical returns an empty index.
func NewLexical() *Lexical {
	x := &Lexical{number: map[string]uint32{}}
	x.scores.New = func() any { return new(Scores) }
	return x
}

// Add puts a passage in, replacing one of the same id. It keeps no memory of p.
func (x *Lexical) Add(id uint32, p Passage) {
	x.Remove(id)
	x.changes++
	for int(id) >= len(x.passages) {
		x.passages = append(x.passages, lexicalPassage{})
		x.lengths = append(x.lengths, 0)
		x.bytes += lexicalPassageBytes
	}
	x.live++
	d := &x.passages[id]
	d.taken = true

	x.numbers = x.numbers[:0]
	intern := func(tokens []Token) {
		for _, t := range tokens {
			x.numbers = append(x.numbers, x.intern(t.Term))
		}
	}
	intern(p.Head)
	for _, s := range p.Sentences {
		intern(s)
	}
	distinct := slices.Clone(x.numbers)
	slices.Sort(distinct)
	distinct = slices.Compact(distinct)
	for _, t := range distinct[min(len(distinct), maxPassageTerms):] {
		x.release(t)
	}
	distinct = distinct[:min(len(distinct), maxPassageTerms)]

	// Count repeats, and give each sentence its distinct terms.
	x.counts = append(x.counts[:0], make([]Posting, len(distinct))...)
	place := func(t uint32) (uint16, bool) {
		i, ok := slices.BinarySearch(distinct, t)
		return uint16(i), ok
	}
	rest := x.numbers
	count := func(tokens []Token, each func(uint16)) {
		for j, t := range rest[:len(tokens)] {
			if i, ok := place(t); ok {
				x.counts[i].count(tokens[j])
				x.lengths[id]++
				each(i)
			}
		}
		rest = rest[len(tokens):]
	}
	count(p.Head, func(uint16) {})
	sentences := make([]uint16, 0, len(rest)+len(p.Sentences))
	for _, s := range p.Sentences {
		head := len(sentences)
		sentences = append(sentences, 0)
		count(s, func(i uint16) { sentences = append(sentences, i) })
		own := sentences[head+1:]
		slices.Sort(own)
		own = slices.Compact(own)
		sentences = sentences[:head+1+len(own)]
		sentences[head] = uint16(len(own))
	}
	d.sentences = slices.Clip(slices.Clone(sentences))
	d.own = make([]ownTerm, len(distinct))
	for i, t := range distinct {
		e := &x.terms[t]
		d.own[i] = ownTerm{term: t, at: uint32(len(e.postings))}
		before := cap(e.postings)
		x.counts[i].ID = id
		e.postings = append(e.postings, x.counts[i])
		x.bytes += int64(cap(e.postings)-before) * postingBytes
	}
	x.length += int64(x.lengths[id])
	x.bytes += d.bytes()
}

func (d *lexicalPassage) bytes() int64 { return int64(8*cap(d.own) + 2*cap(d.sentences)) }

// Remove takes a passage out; one that is not there is no error. Terms that no
// passage holds any more are forgotten.
func (x *Lexical) Remove(id uint32) {
	if int(id) >= len(x.passages) || !x.passages[id].taken {
		return
	}
	x.changes++
	d := &x.passages[id]
	for _, o := range d.own {
		e := &x.terms[o.term]
		last := len(e.postings) - 1
		if moved := e.postings[last]; int(o.at) != last {
			e.postings[o.at] = moved
			own := x.passages[moved.ID].own
			i, _ := slices.BinarySearchFunc(own, o.term, func(a ownTerm, t uint32) int { return int(int64(a.term) - int64(t)) })
			own[i].at = o.at
		}
		e.postings = e.postings[:last]
		if c := cap(e.postings); c >= 16 && last < c/4 {
			e.postings = append(make([]Posting, 0, c/2), e.postings...)
			x.bytes -= int64(c-cap(e.postings)) * postingBytes
		}
		x.release(o.term)
	}
	x.live--
	x.length -= int64(x.lengths[id])
	x.bytes -= d.bytes()
	*d, x.lengths[id] = lexicalPassage{}, 0
	for n := len(x.passages); n > 0 && !x.passages[n-1].taken; n-- {
		x.passages, x.lengths = x.passages[:n-1], x.lengths[:n-1]
		x.bytes -= lexicalPassageBytes
	}
}

func (x *Lexical) intern(text string) uint32 {
	if t, ok := x.number[text]; ok {
		return t
	}
	text = strings.Clone(text) // not to hold the whole passage
	var t uint32
	if n := len(x.free); n > 0 {
		t = x.free[n-1]
		x.free = x.free[:n-1]
	} else {
		t = uint32(len(x.terms))
		x.terms = append(x.terms, lexicalTerm{})
	}
	x.terms[t].text = text
	x.number[text] = t
	x.peak = max(x.peak, len(x.number))
	x.bytes += lexicalTermBytes + int64(len(text))
	return t
}

// release forgets a term without postings.
func (x *Lexical) release(t uint32) {
	e := &x.terms[t]
	if len(e.postings) > 0 {
		return
	}
	delete(x.number, e.text)
	x.bytes -= lexicalTermBytes + int64(len(e.text)) + int64(cap(e.postings))*postingBytes
	*e = lexicalTerm{}
	x.free = append(x.free, t)
	if len(x.number) < x.peak/4 && x.peak > 1024 { // a Go map does not shrink by itself
		m := make(map[string]uint32, len(x.number))
		for text, t := range x.number {
			m[text] = t
		}
		x.number, x.peak = m, len(m)
	}
}

// Len is the number of passages.
func (x *Lexical) Len() int { return x.live }

// Bound is above every id in the index and every number of a term: what an
// array over them needs.
func (x *Lexical) Bound() (passages, terms int) { return len(x.passages), len(x.terms) }

// Changes is how often the index was changed: what was asked of it holds while it is
// the same.
func (x *Lexical) Changes() uint64 { return x.changes }

// Bytes is the memory that the index holds, counted rather than measured.
func (x *Lexical) Bytes() int64 { return x.bytes }

// Term returns the number of a term that some passage holds.
func (x *Lexical) Term(text string) (uint32, bool) {
	t, ok := x.number[text]
	return t, ok
}

// Text returns the term of a number.
func (x *Lexical) Text(term uint32) string { return x.terms[term].text }

// Frequency is the number of passages that hold a term.
func (x *Lexical) Frequency(term uint32) int { return len(x.terms[term].postings) }

// IDF is BM25's inverse document frequency, ln(1 + (N-n+0.5)/(n+0.5)): never negative.
func (x *Lexical) IDF(term uint32) float64 { return x.Whole().IDF(term) }

// Postings returns the passages that hold a term, in no order that means
// anything. The slice is the index's own and good until the next change.
func (x *Lexical) Postings(term uint32) []Posting { return x.terms[term].postings }

// TermsOf returns the terms of a passage; one that is not there has none. It is
// good until the next change.
func (x *Lexical) TermsOf(id uint32) PassageTerms {
	if int(id) >= len(x.passages) {
		return PassageTerms{}
	}
	d := &x.passages[id]
	return PassageTerms{own: d.own, sentences: d.sentences}
}

// PassageTerms are the distinct terms of a passage, numbered from 0, and which
// of them stand in each sentence.
type PassageTerms struct {
	own       []ownTerm
	sentences []uint16
}

// Len is the number of distinct terms, the head's included.
func (p PassageTerms) Len() int { return len(p.own) }

// Term returns the term at place i.
func (p PassageTerms) Term(i int) uint32 { return p.own[i].term }

// Place returns the place of a term.
func (p PassageTerms) Place(term uint32) (i int, ok bool) {
	return slices.BinarySearchFunc(p.own, term, func(a ownTerm, t uint32) int { return cmp.Compare(a.term, t) })
}

// NextSentence returns the places of the terms of the first sentence, and what
// is left behind it; ok is false when there is none.
func (p PassageTerms) NextSentence() (places []uint16, rest PassageTerms, ok bool) {
	if len(p.sentences) == 0 {
		return nil, p, false
	}
	n := 1 + int(p.sentences[0])
	return p.sentences[1:n], PassageTerms{own: p.own, sentences: p.sentences[n:]}, true
}

// Search returns at most k passages by the BM25 score of terms, best first;
// equal scores are ordered by less. keep (nil for all) is asked before ranking.
// A term counts once however often it is given; scores do not depend on the order
// in which passages came in.
func (x *Lexical) Search(terms []uint32, k int, keep func(uint32) bool, less func(a, b uint32) bool) []Match {
	s := x.scores.Get().(*Scores)
	defer x.scores.Put(s)
	x.Score(s, terms, keep)
	return s.Best(k, less)
}

// Score fills s with the BM25 scores of terms, as Search ranks by.
func (x *Lexical) Score(s *Scores, terms []uint32, keep func(uint32) bool) {
	x.Whole().Score(s, terms, keep)
}
