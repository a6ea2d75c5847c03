package keyspace

import (
	"bytes"
	"slices"
	"sort"
	"strings"
)

// usageRecordBytes is what a counter record takes in a merge: its key and its sealed value.
const usageRecordBytes = prefixLen + crcLen + 16

// write is one record set, or with stored nil deleted. It never changes once made.
type write struct {
	rest   string
	key    []byte
	stored []byte
}

func (w *write) size() int { return len(w.key) + len(w.stored) }

type bucketID struct {
	ns   Namespace
	kind byte
}

// bucket holds the writes of one kind of one namespace.
type bucket struct {
	byRest map[string]*write
	order  []string // rests, sorted up to dirty
	dirty  bool
}

// overlay is a set of writes that are not in Badger yet: those of a closure, or
// those of a merge. usage holds the counters as they will be.
type overlay struct {
	buckets map[bucketID]*bucket
	usage   map[Namespace]Usage
	records int
	size    int
	lastID  bucketID // the bucket asked for last, since a closure mostly stays in one
	last    *bucket
}

func newOverlay() *overlay {
	return &overlay{buckets: map[bucketID]*bucket{}, usage: map[Namespace]Usage{}}
}

// entries and bytes are what Badger will be handed, counters included.
func (o *overlay) entries() int { return o.records + len(o.usage) }
func (o *overlay) bytes() int   { return o.size + len(o.usage)*usageRecordBytes }

func (o *overlay) bucket(id bucketID) *bucket {
	if o.last != nil && o.lastID == id {
		return o.last
	}
	b := o.buckets[id]
	if b != nil {
		o.lastID, o.last = id, b
	}
	return b
}

func (o *overlay) get(id bucketID, rest []byte) *write {
	if b := o.bucket(id); b != nil {
		return b.byRest[string(rest)]
	}
	return nil
}

func (o *overlay) put(id bucketID, w *write) {
	b := o.bucket(id)
	if b == nil {
		b = &bucket{byRest: map[string]*write{}}
		o.buckets[id] = b
		o.lastID, o.last = id, b
	}
	if old := b.byRest[w.rest]; old != nil {
		o.size -= old.size()
	} else {
		o.records++
		b.order = append(b.order, w.rest)
		b.dirty = true
	}
	o.size += w.size()
	b.byRest[w.rest] = w
}

// join takes over the writes and counters of p, which are younger.
func (o *overlay) join(p *overlay) {
	for id, b := range p.buckets {
		for _, rest := range b.order {
			o.put(id, b.byRest[rest])
		}
	}
	for ns, u := range p.usage {
		o.usage[ns] = u
	}
}

// in returns the writes s asks for, deletions among them, in the order of s.
func (o *overlay) in(id bucketID, s Scan) []*write {
	b := o.bucket(id)
	if b == nil {
		return nil
	}
	if b.dirty {
		slices.Sort(b.order)
		b.dirty = false
	}
	prefix := string(s.Prefix)
	from := sort.SearchStrings(b.order, prefix)
	to := from + sort.Search(len(b.order)-from, func(i int) bool { return !strings.HasPrefix(b.order[from+i], prefix) })
	if s.After != nil {
		after := string(s.After)
		if s.Reverse {
			to = max(from, min(to, sort.SearchStrings(b.order, after)))
		} else {
			from = min(to, max(from, sort.Search(len(b.order), func(i int) bool { return b.order[i] > after })))
		}
	}
	if from == to {
		return nil
	}
	out := make([]*write, 0, to-from)
	for _, rest := range b.order[from:to] {
		out = append(out, b.byRest[rest])
	}
	if s.Reverse {
		slices.Reverse(out)
	}
	return out
}

// mergeWrites merges two lists in one order; where both have a record, young wins.
func mergeWrites(young, old []*write, reverse bool) []*write {
	if len(old) == 0 {
		return young
	}
	if len(young) == 0 {
		return old
	}
	out := make([]*write, 0, len(young)+len(old))
	for len(young) > 0 && len(old) > 0 {
		c := compareRests(young[0].key, old[0].key, reverse)
		if c <= 0 {
			out = append(out, young[0])
			young = young[1:]
		} else {
			out = append(out, old[0])
		}
		if c >= 0 {
			old = old[1:]
		}
	}
	return append(append(out, young...), old...)
}

func compareRests(a, b []byte, reverse bool) int {
	if reverse {
		return bytes.Compare(b, a)
	}
	return bytes.Compare(a, b)
}
