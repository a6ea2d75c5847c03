package graph

import (
	"slices"
	"strings"
)

// Subject says how much a passage is about a name that it holds.
type Subject uint8

// The degrees of Subject and what they weigh.
const (
	NotSubject  Subject = iota // 0
	PartSubject                // 0.5
	FullSubject                // 1
)

// Weight is the degree as a number from 0 to 1.
func (s Subject) Weight() float64 { return float64(s) / 2 }

// Link is a name of a passage as Passages takes it.
type Link struct {
	Key       string
	Subject   Subject
	Sentences []uint16 // ascending, none when the name stands in no sentence (a title's)
}

// Passages is the bipartite graph of passages and the names they hold. Passages
// are known by dense numbers of the caller's; names get numbers of their own,
// which stay valid until the last passage that holds the name is removed and which
// no result depends on. A change costs as much as its passage has names; nothing is
// ever rebuilt. Many readers or one writer; the caller locks.
type Passages struct {
	passages []passageEntry // by id
	names    []nameEntry
	number   map[string]uint32
	peak     int // most names since number was made
	free     []uint32
	bytes    int64
	changes  uint64
}

type nameEntry struct {
	key   string
	links []NameLink
}

// NameLink leads from a name to a passage.
type NameLink struct {
	ID      uint32
	Subject Subject
}

type passageEntry struct {
	links     []PassageLink // ascending by name
	sentences []uint16      // of all links, one after the other
	taken     bool
}

// PassageLink leads from a passage to a name.
type PassageLink struct {
	Name     uint32
	at       uint32 // place in the name's links, which makes a removal independent of how long those are
	from, to uint32 // its part of sentences
	Subject  Subject
}

const (
	passageEntryBytes = 56
	passageLinkBytes  = 20
	nameEntryBytes    = 96 // entry, map slot, string header
	nameLinkBytes     = 8
)

// NewPassages returns an empty graph.
func NewPassages() *Passages { return &Passages{number: map[string]uint32{}} }

// Add puts a passage in, replacing one of the same id. Links of one key are one
// link. It keeps no memory of links.
func (p *Passages) Add(id uint32, links []Link) {
	p.Remove(id)
	p.changes++
	for int(id) >= len(p.passages) {
		p.passages = append(p.passages, passageEntry{})
		p.bytes += passageEntryBytes
	}
	d := &p.passages[id]
	d.taken = true
	d.links = make([]PassageLink, 0, len(links))
	total := 0
	for i, l := range links {
		d.links = append(d.links, PassageLink{Name: p.intern(l.Key), at: uint32(i), Subject: l.Subject})
		total += len(l.Sentences)
	}
	slices.SortFunc(d.links, func(a, b PassageLink) int {
		if a.Name != b.Name {
			return int(int64(a.Name) - int64(b.Name))
		}
		return int(int64(a.at) - int64(b.at))
	})
	d.sentences = make([]uint16, 0, total)
	n := 0
	for i := range d.links { // merge links of one name
		l := d.links[i]
		if n > 0 && d.links[n-1].Name == l.Name {
			into := &d.links[n-1]
			into.Subject = max(into.Subject, l.Subject)
			d.sentences = append(d.sentences, links[l.at].Sentences...)
			own := d.sentences[into.from:]
			slices.Sort(own)
			d.sentences = d.sentences[:int(into.from)+len(slices.Compact(own))]
			into.to = uint32(len(d.sentences))
			continue
		}
		from := len(d.sentences)
		d.sentences = append(d.sentences, links[l.at].Sentences...)
		l.from, l.to = uint32(from), uint32(len(d.sentences))
		d.links[n] = l
		n++
	}
	d.links = d.links[:n]
	for i := range d.links {
		l := &d.links[i]
		e := &p.names[l.Name]
		l.at = uint32(len(e.links))
		before := cap(e.links)
		e.links = append(e.links, NameLink{ID: id, Subject: l.Subject})
		p.bytes += int64(cap(e.links)-before) * nameLinkBytes
	}
	p.bytes += d.bytes()
}

func (d *passageEntry) bytes() int64 {
	return int64(passageLinkBytes*cap(d.links) + 2*cap(d.sentences))
}

// Remove takes a passage out; one that is not there is no error. Names that no
// passage holds any more are forgotten.
func (p *Passages) Remove(id uint32) {
	if int(id) >= len(p.passages) || !p.passages[id].taken {
		return
	}
	p.changes++
	d := &p.passages[id]
	for _, l := range d.links {
		e := &p.names[l.Name]
		last := len(e.links) - 1
		if moved := e.links[last]; int(l.at) != last {
			e.links[l.at] = moved
			own := p.passages[moved.ID].links
			i, _ := slices.BinarySearchFunc(own, l.Name, func(a PassageLink, name uint32) int { return int(int64(a.Name) - int64(name)) })
			own[i].at = l.at
		}
		e.links = e.links[:last]
		if c := cap(e.links); c >= 16 && last < c/4 {
			e.links = append(make([]NameLink, 0, c/2), e.links...)
			p.bytes -= int64(c-cap(e.links)) * nameLinkBytes
		}
		p.release(l.Name)
	}
	p.bytes -= d.bytes()
	*d = passageEntry{}
	for n := len(p.passages); n > 0 && !p.passages[n-1].taken; n-- {
		p.passages = p.passages[:n-1]
		p.bytes -= passageEntryBytes
	}
}

func (p *Passages) intern(key string) uint32 {
	if n, ok := p.number[key]; ok {
		return n
	}
	key = strings.Clone(key) // not to hold the whole passage
	var n uint32
	if f := len(p.free); f > 0 {
		n = p.free[f-1]
		p.free = p.free[:f-1]
	} else {
		n = uint32(len(p.names))
		p.names = append(p.names, nameEntry{})
	}
	p.names[n].key = key
	p.number[key] = n
	p.peak = max(p.peak, len(p.number))
	p.bytes += nameEntryBytes + int64(len(key))
	return n
}

// release forgets a name without links.
func (p *Passages) release(n uint32) {
	e := &p.names[n]
	if len(e.links) > 0 {
		return
	}
	delete(p.number, e.key)
	p.bytes -= nameEntryBytes + int64(len(e.key)) + int64(cap(e.links))*nameLinkBytes
	*e = nameEntry{}
	p.free = append(p.free, n)
	if len(p.number) < p.peak/4 && p.peak > 1024 { // a Go map does not shrink by itself
		m := make(map[string]uint32, len(p.number))
		for key, n := range p.number {
			m[key] = n
		}
		p.number, p.peak = m, len(m)
	}
}

// Bound is above every number of a name: what an array over them needs.
func (p *Passages) Bound() int { return len(p.names) }

// Names is the number of names.
func (p *Passages) Names() int { return len(p.number) }

// Changes is how often the graph was changed: what was asked of it holds while it is
// the same.
func (p *Passages) Changes() uint64 { return p.changes }

// Bytes is the memory that the graph holds, counted rather than measured.
func (p *Passages) Bytes() int64 { return p.bytes }

// Lookup returns the number of a name that some passage holds.
func (p *Passages) Lookup(key string) (uint32, bool) {
	n, ok := p.number[key]
	return n, ok
}

// Key returns the key of a name.
func (p *Passages) Key(name uint32) string { return p.names[name].key }

// Count is the number of passages that hold a name.
func (p *Passages) Count(name uint32) int { return len(p.names[name].links) }

// PassagesOf returns the links of a name, in no order that means anything. The
// slice is the graph's own and good until the next change.
func (p *Passages) PassagesOf(name uint32) []NameLink { return p.names[name].links }

// NamesOf returns the links of a passage, in no order that means anything; one
// that is not there has none. The slice is the graph's own and good until the
// next change.
func (p *Passages) NamesOf(id uint32) []PassageLink {
	if int(id) >= len(p.passages) {
		return nil
	}
	return p.passages[id].links
}

// SentencesOf returns the sentences of a passage that hold the name of one of
// its links, ascending. The slice is the graph's own.
func (p *Passages) SentencesOf(id uint32, l PassageLink) []uint16 {
	return p.passages[id].sentences[l.from:l.to]
}
