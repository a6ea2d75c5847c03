package graph

import (
	"slices"

	"alcove/flat"
)

// AppendTo writes the graph behind b as ReadPassages reads it: the passages of each
// name, and the sentences of each passage. It does not change the graph, and reads it
// as a search does.
func (p *Passages) AppendTo(b []byte) []byte {
	b = flat.AppendUint(b, uint64(len(p.passages)))
	for id := range p.passages {
		taken := byte(0)
		if p.passages[id].taken {
			taken = 1
		}
		b = append(b, taken)
	}
	b = flat.AppendUint(b, uint64(len(p.names)))
	var list []NameLink
	for i := range p.names {
		e := &p.names[i]
		b = flat.AppendUint(b, uint64(len(e.links)))
		if len(e.links) == 0 {
			continue
		}
		b = flat.AppendString(b, e.key)
		list = append(list[:0], e.links...)
		slices.SortFunc(list, func(a, b NameLink) int { return int(int64(a.ID) - int64(b.ID)) })
		next := uint32(0)
		for _, l := range list {
			b = flat.AppendUint(b, uint64(l.ID-next)*subjects+uint64(l.Subject))
			next = l.ID + 1
		}
	}
	for id := range p.passages {
		d := &p.passages[id]
		for _, l := range d.links {
			b = flat.AppendUint(b, uint64(l.to-l.from))
			next := uint16(0)
			for _, s := range d.sentences[l.from:l.to] {
				b = flat.AppendUint(b, uint64(s-next))
				next = s + 1
			}
		}
	}
	return b
}

// subjects is how many degrees of Subject there are.
const subjects = uint64(FullSubject) + 1

// ReadPassages reads what AppendTo wrote: a graph in which passages and names have
// the numbers they had. What does not add up is a fault of r.
func ReadPassages(r *flat.Reader) *Passages {
	p := NewPassages()
	p.changes = 1
	n := r.Count(1)
	p.passages = make([]passageEntry, n)
	p.bytes = int64(n) * passageEntryBytes
	for id := range n {
		p.passages[id].taken = r.Below(2) == 1
	}
	owned := make([]uint32, n) // names of each
	names := r.Count(1)
	p.names = make([]nameEntry, names)
	p.number = make(map[string]uint32, names)
	var links flat.Slab[NameLink]
	for i := range p.names {
		count := r.Count(1)
		if count == 0 {
			p.free = append(p.free, uint32(i))
			continue
		}
		e := &p.names[i]
		e.key = r.String()
		e.links = links.Take(count)
		next := 0
		for i := range e.links {
			v := int(r.Below((n - next) * int(subjects)))
			id := next + v/int(subjects)
			if r.Err() != nil {
				return p
			}
			e.links[i] = NameLink{ID: uint32(id), Subject: Subject(v % int(subjects))}
			next = id + 1
			owned[id]++
		}
		p.number[e.key] = uint32(i)
		p.bytes += nameEntryBytes + int64(len(e.key)) + int64(count)*nameLinkBytes
	}
	p.peak = len(p.number)
	if len(p.number)+len(p.free) != names {
		r.Fail("two names are the same")
		return p
	}
	var own flat.Slab[PassageLink]
	for id := range p.passages {
		d := &p.passages[id]
		if owned[id] > 0 && !d.taken {
			r.Fail("passage %d has names and is none", id)
			return p
		}
		d.links = own.Take(int(owned[id]))
		owned[id] = 0
	}
	for i := range p.names {
		for at, l := range p.names[i].links {
			p.passages[l.ID].links[owned[l.ID]] = PassageLink{Name: uint32(i), at: uint32(at), Subject: l.Subject}
			owned[l.ID]++
		}
	}
	var sentences flat.Slab[uint16]
	var all []uint16
	for id := range p.passages {
		d := &p.passages[id]
		all = all[:0]
		for i := range d.links {
			l := &d.links[i]
			l.from = uint32(len(all))
			next := uint32(0)
			for range r.Count(1) {
				s := next + r.Below(1<<16-int(next))
				all, next = append(all, uint16(s)), s+1
			}
			l.to = uint32(len(all))
		}
		d.sentences = sentences.Take(len(all))
		copy(d.sentences, all)
		p.bytes += d.bytes()
	}
	return p
}

// Passages is above every number of a passage.
func (p *Passages) Passages() int { return len(p.passages) }
