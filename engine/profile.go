package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"alcove/tenancy"
)

// maxFoldChunks bounds how many contributions of one entity or relation are
// read for one answer; those of chunks that the answer cites come first.
const maxFoldChunks = 8

// fieldSep joins lists in one field, as LightRAG does.
const fieldSep = "<SEP>"

// unknownType is the type of an entity that nobody gives one, as in LightRAG.
const unknownType = "UNKNOWN"

// profile is the fold of the contributions in sight to an entity or a relation.
type profile struct {
	typ         string // an entity's, by vote
	keywords    string // a relation's, the union
	description string // the distinct fragments
	sources     []uint32
	manual      bool // people wrote some of it
}

// folder reads contributions through one snapshot, each chunk's once. It is for one
// goroutine; besides may be had for a second one.
type folder struct {
	v     *view // only what is in sight is read, counted or shown
	tx    *tenancy.Tx
	txMu  *sync.Mutex // a snapshot is read by one at a time
	cited []uint32    // chunks of the answer by rank, each once: their word counts first
	said  map[uint32]*contribution
	most  int64 // bytes of contributions that may be kept for the next search, 0 for none
}

func newFolder(v *view, tx *tenancy.Tx, cited []uint32) *folder {
	f := &folder{v: v, tx: tx, txMu: new(sync.Mutex), cited: make([]uint32, 0, len(cited)), said: map[uint32]*contribution{}}
	for _, id := range cited {
		if !slices.Contains(f.cited, id) {
			f.cited = append(f.cited, id)
		}
	}
	return f
}

// keeping returns the folder of a search or of profiles: what it reads is kept for
// the next one. It is for those alone who read through openKB.read.
func (f *folder) keeping() *folder {
	f.most = max(keptLeast, f.v.own()/keptShare)
	return f
}

// besides is a second folder of the same snapshot for another goroutine. It is not
// to be had under a filter, whose view is for one.
func (f *folder) besides() *folder {
	g := *f
	g.said = map[uint32]*contribution{}
	return &g
}

// contribution returns what a chunk says. It is shared and must not be changed.
func (f *folder) contribution(chunk uint32) (*contribution, error) {
	c := f.said[chunk]
	if c != nil {
		return c, nil
	}
	if f.most > 0 {
		if c = f.v.kept.get(chunk); c != nil {
			f.said[chunk] = c
			return c, nil
		}
	}
	x := &f.v.chunks[chunk]
	c = &contribution{}
	f.txMu.Lock()
	b, err := f.tx.Get(kindContribution, x.doc.key(x.ord))
	f.txMu.Unlock()
	if errors.Is(err, tenancy.ErrNotFound) {
		err = fmt.Errorf("%w: no record", ErrDamaged)
	}
	if err == nil {
		*c, err = decodeContribution(b)
	}
	if err != nil {
		return nil, fmt.Errorf("contribution of %s: %w", chunkID(x.doc.id, x.ord), err)
	}
	if f.said[chunk] = c; f.most > 0 {
		f.v.kept.put(chunk, c, c.cost(len(b)), f.most)
	}
	return c, nil
}

// pick chooses the chunks whose word is read, among those in sight: cited ones by
// rank, then by key. chunks is ascending.
func (f *folder) pick(chunks []uint32, n int) []uint32 {
	chunks = f.v.inSight(chunks)
	out := make([]uint32, 0, min(n, len(chunks)))
	for _, id := range f.cited {
		if _, ok := slices.BinarySearch(chunks, id); ok && len(out) < n {
			out = append(out, id)
		}
	}
	if len(out) == n {
		return out
	}
	cited, rest := out, out[len(out):] // of one memory: the rest grows behind the cited ones
	for _, id := range chunks {
		if !slices.Contains(cited, id) {
			rest = keepBest(rest, id, n-len(cited), f.v.less)
		}
	}
	return out[:len(cited)+len(rest)]
}

// fragments collects distinct descriptions, most often said first, then the
// longer, then by text: a function of the contributions alone.
type fragments map[string]int

func (f fragments) join() string {
	list := make([]string, 0, len(f))
	for s := range f {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(f[b], f[a]), cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	return strings.Join(list, fieldSep)
}

// vote returns what was said most often, ties to the smaller word.
func vote(votes map[string]int) string {
	best, n := "", 0
	for s, v := range votes {
		if v > n || v == n && s < best {
			best, n = s, v
		}
	}
	return best
}

// fold folds the contributions of some chunks to a thing.
func (f *folder) fold(kind byte, id uint32, chunks []uint32) (profile, error) {
	if kind == profileEntities {
		return f.foldEntity(id, chunks)
	}
	return f.foldRelation(id, chunks)
}

// entity folds up to n contributions to an entity. A summary takes the place of
// the descriptions that it covers, and what people wrote that of both.
func (f *folder) entity(e uint32, n int) (profile, error) {
	p, err := f.foldEntity(e, f.pick(f.v.entities[e].chunks, n))
	if err == nil {
		err = f.summarised(profileEntities, e, n, &p)
	}
	if f.v.whole() { // people wrote for those who see everything
		p.handOver(f.v.entities[e].edit)
	}
	return p, err
}

func (f *folder) foldEntity(e uint32, chunks []uint32) (profile, error) {
	types, frag := map[string]int{}, fragments{}
	p := profile{sources: chunks}
	for _, id := range p.sources {
		c, err := f.contribution(id)
		if err != nil {
			return p, err
		}
		named := false
		for _, m := range f.v.chunks[id].mentions {
			if m.entity != e || m.record == endOfRelation || int(m.record) >= len(c.Entities) {
				continue
			}
			named = true
			said := &c.Entities[m.record]
			if said.Type != "" {
				types[said.Type]++
			}
			if said.Description != "" {
				frag[said.Description]++
			}
		}
		if named {
			continue
		}
		for _, m := range f.v.chunks[id].relations { // known only as the end of a relation
			x := &f.v.relations[m.rel]
			if (x.lo != e && x.hi != e) || int(m.record) >= len(c.Relations) {
				continue
			}
			if d := c.Relations[m.record].Description; d != "" {
				frag[d]++
			}
		}
	}
	p.typ, p.description = vote(types), frag.join()
	if p.typ == "" {
		p.typ = unknownType
	}
	return p, nil
}

// relation folds up to n contributions to a relation, as entity does.
func (f *folder) relation(rel uint32, n int) (profile, error) {
	p, err := f.foldRelation(rel, f.pick(f.v.relations[rel].chunks, n))
	if err == nil {
		err = f.summarised(profileRelations, rel, n, &p)
	}
	if f.v.whole() {
		p.handOver(f.v.relations[rel].edit)
	}
	return p, err
}

func (f *folder) foldRelation(rel uint32, chunks []uint32) (profile, error) {
	frag := fragments{}
	keywords := map[string]bool{}
	p := profile{sources: chunks}
	for _, id := range p.sources {
		c, err := f.contribution(id)
		if err != nil {
			return p, err
		}
		for _, at := range f.v.chunks[id].relations {
			if at.rel != rel || int(at.record) >= len(c.Relations) {
				continue
			}
			m := &c.Relations[at.record]
			if m.Description != "" {
				frag[m.Description]++
			}
			for _, k := range strings.Split(m.Keywords, ",") {
				if k = strings.TrimSpace(k); k != "" {
					keywords[k] = true
				}
			}
		}
	}
	list := make([]string, 0, len(keywords))
	for k := range keywords {
		list = append(list, k)
	}
	slices.Sort(list)
	p.keywords, p.description = strings.Join(list, ","), frag.join()
	return p, nil
}
