package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"alcove/tenancy"
)

// maxFoldChunks bounds how many contributions of one entity or relation are
// read for one answer; those of chunks that the answer cites come first.
const maxFoldChunks = 8

// fieldSep joins lists in one field, as LightRAG does.
const fieldSep = "<SEP>"

// profile is the fold of the live contributions to an entity or a relation.
type profile struct {
	typ         string // an entity's, by vote
	keywords    string // a relation's, the union
	description string // the distinct fragments
	sources     []uint32
}

// folder reads contributions through one snapshot, each chunk's once.
type folder struct {
	r     *resident
	tx    *tenancy.Tx
	first map[uint32]int // chunks of the answer with their rank: their word counts first
	said  map[uint32]*contribution
}

func newFolder(r *resident, tx *tenancy.Tx, cited []uint32) *folder {
	f := &folder{r: r, tx: tx, first: map[uint32]int{}, said: map[uint32]*contribution{}}
	for i, id := range cited {
		if _, ok := f.first[id]; !ok {
			f.first[id] = i
		}
	}
	return f
}

// contribution returns what a chunk says; a chunk that has just gone says nothing.
func (f *folder) contribution(chunk uint32) (*contribution, error) {
	if c := f.said[chunk]; c != nil {
		return c, nil
	}
	x := &f.r.chunks[chunk]
	c := &contribution{}
	b, err := f.tx.Get(kindContribution, x.doc.key(x.ord))
	switch {
	case errors.Is(err, tenancy.ErrNotFound):
	case err != nil:
		return nil, fmt.Errorf("contribution of %s: %w", chunkID(x.doc.id, x.ord), err)
	default:
		if *c, err = decodeContribution(b); err != nil {
			return nil, err
		}
	}
	f.said[chunk] = c
	return c, nil
}

// pick chooses the chunks whose word is read: cited ones by rank, then by key.
func (f *folder) pick(chunks []uint32, n int) []uint32 {
	out := slices.Clone(chunks)
	rank := func(id uint32) int {
		if i, ok := f.first[id]; ok {
			return i
		}
		return len(f.first)
	}
	slices.SortFunc(out, func(a, b uint32) int {
		if c := cmp.Compare(rank(a), rank(b)); c != 0 {
			return c
		}
		if f.r.less(a, b) {
			return -1
		}
		return 1
	})
	return firstN(out, n)
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

// entity folds up to n contributions to an entity.
func (f *folder) entity(e uint32, n int) (profile, error) {
	name := f.r.graph.Name(e)
	types, frag := map[string]int{}, fragments{}
	p := profile{sources: f.pick(f.r.entities[e].chunks, n)}
	for _, id := range p.sources {
		c, err := f.contribution(id)
		if err != nil {
			return p, err
		}
		named := false
		for _, m := range c.Entities {
			if EntityID(m.Name) != name {
				continue
			}
			named = true
			if m.Type != "" {
				types[m.Type]++
			}
			if m.Description != "" {
				frag[m.Description]++
			}
		}
		if named {
			continue
		}
		for _, m := range c.Relations { // known only as the end of a relation
			if m.Description != "" && (EntityID(m.Source) == name || EntityID(m.Target) == name) {
				frag[m.Description]++
			}
		}
	}
	p.typ, p.description = vote(types), frag.join()
	if p.typ == "" {
		p.typ = "UNKNOWN"
	}
	return p, nil
}

// relation folds up to n contributions to a relation.
func (f *folder) relation(rel uint32, n int) (profile, error) {
	x := &f.r.relations[rel]
	lo, hi := f.r.graph.Name(x.lo), f.r.graph.Name(x.hi)
	frag := fragments{}
	keywords := map[string]bool{}
	p := profile{sources: f.pick(x.chunks, n)}
	for _, id := range p.sources {
		c, err := f.contribution(id)
		if err != nil {
			return p, err
		}
		for _, m := range c.Relations {
			a, b := EntityID(m.Source), EntityID(m.Target)
			if (a != lo || b != hi) && (a != hi || b != lo) {
				continue
			}
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
