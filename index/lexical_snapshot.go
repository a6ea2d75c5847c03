package index

import (
	"math"
	"slices"

	"alcove/flat"
)

// AppendTo writes the index behind b as ReadLexical reads it: postings and the terms of
// each sentence. The terms of each passage follow from the postings. It does not
// change the index, and reads it as a search does.
func (x *Lexical) AppendTo(b []byte) []byte {
	b = flat.AppendUint(b, uint64(len(x.passages)))
	for id := range x.passages {
		if !x.passages[id].taken {
			b = append(b, 0)
			continue
		}
		b = flat.AppendUint(b, 1+uint64(x.lengths[id]))
	}
	b = flat.AppendUint(b, uint64(len(x.terms)))
	var list []Posting
	for i := range x.terms {
		e := &x.terms[i]
		b = flat.AppendUint(b, uint64(len(e.postings)))
		if len(e.postings) == 0 {
			continue
		}
		b = flat.AppendString(b, e.text)
		list = append(list[:0], e.postings...)
		slices.SortFunc(list, func(a, b Posting) int { return int(int64(a.ID) - int64(b.ID)) })
		next := uint32(0)
		for _, p := range list {
			b = flat.AppendUint(b, uint64(p.ID-next))
			next = p.ID + 1
			b = p.appendCounts(b)
		}
	}
	for id := range x.passages {
		d := &x.passages[id]
		if !d.taken {
			continue
		}
		b = flat.AppendUint(b, uint64(len(d.sentences)))
		for rest := d.sentences; len(rest) > 0; {
			n := int(rest[0])
			b = flat.AppendUint(b, uint64(n))
			next := uint16(0)
			for _, place := range rest[1 : 1+n] {
				b = flat.AppendUint(b, uint64(place-next))
				next = place + 1
			}
			rest = rest[1+n:]
		}
	}
	return b
}

// appendCounts writes both counts as one number where they are none or all in lower
// case, as nearly always.
func (p Posting) appendCounts(b []byte) []byte {
	n := 3 * uint64(p.Count-1)
	switch p.Lower {
	case 0:
		return flat.AppendUint(b, n)
	case p.Count:
		return flat.AppendUint(b, n+1)
	}
	return flat.AppendUint(flat.AppendUint(b, n+2), uint64(p.Lower))
}

func (p *Posting) readCounts(r *flat.Reader) {
	n := r.Below(3 << 16)
	p.Count = uint16(min(n/3, 1<<16-2)) + 1
	switch n % 3 {
	case 1:
		p.Lower = p.Count
	case 2:
		p.Lower = uint16(r.Below(int(p.Count)))
	}
}

// ReadLexical reads what AppendTo wrote: an index in which passages and terms have
// the numbers they had. What does not add up is a fault of r.
func ReadLexical(r *flat.Reader) *Lexical {
	x := NewLexical()
	x.changes = 1
	n := r.Count(1)
	x.passages, x.lengths = make([]lexicalPassage, n), make([]uint32, n)
	x.bytes = int64(n) * lexicalPassageBytes
	for id := range n {
		if length := r.Below(math.MaxInt32); length > 0 {
			x.passages[id].taken = true
			x.lengths[id] = length - 1
			x.length += int64(length - 1)
			x.live++
		}
	}
	owned := make([]uint32, n) // distinct terms of each
	terms := r.Count(1)
	x.terms = make([]lexicalTerm, terms)
	x.number = make(map[string]uint32, terms)
	var postings flat.Slab[Posting]
	for t := range x.terms {
		count := r.Count(2)
		if count == 0 {
			x.free = append(x.free, uint32(t))
			continue
		}
		e := &x.terms[t]
		e.text = r.String()
		e.postings = postings.Take(count)
		next := 0
		for i := range e.postings {
			p := &e.postings[i]
			id := next + int(r.Below(n-next))
			if r.Err() != nil {
				return x
			}
			p.ID, next = uint32(id), id+1
			p.readCounts(r)
			owned[id]++
		}
		x.number[e.text] = uint32(t)
		x.bytes += lexicalTermBytes + int64(len(e.text)) + int64(count)*postingBytes
	}
	x.peak = len(x.number)
	if len(x.number)+len(x.free) != terms {
		r.Fail("two terms are the same")
		return x
	}
	var own flat.Slab[ownTerm]
	for id := range x.passages {
		d := &x.passages[id]
		if owned[id] > maxPassageTerms || owned[id] > 0 && !d.taken {
			r.Fail("passage %d has %d terms", id, owned[id])
			return x
		}
		d.own = own.Take(int(owned[id]))
		owned[id] = 0
	}
	for t := range x.terms {
		for at, p := range x.terms[t].postings {
			x.passages[p.ID].own[owned[p.ID]] = ownTerm{term: uint32(t), at: uint32(at)}
			owned[p.ID]++
		}
	}
	var sentences flat.Slab[uint16]
	for id := range x.passages {
		if d := &x.passages[id]; d.taken && r.Err() == nil {
			d.sentences = sentences.Take(r.Count(1))
			d.readSentences(r)
			x.bytes += d.bytes()
		}
	}
	return x
}

// readSentences fills the sentences of a passage.
func (d *lexicalPassage) readSentences(r *flat.Reader) {
	for rest := d.sentences; len(rest) > 0; {
		n := int(r.Below(len(rest)))
		rest[0] = uint16(n)
		next := 0
		for i := range rest[1 : 1+n] {
			place := next + int(r.Below(len(d.own)-next))
			rest[1+i], next = uint16(place), place+1
		}
		rest = rest[1+n:]
	}
}
