package engine

import (
	"context"
	"reflect"
	"slices"

	"alcove/tenancy"
)

// Acquire pins a base; the same base in memory has the same identity.
func Acquire(ctx context.Context, e *Engine, s *tenancy.Space) (identity any, release func(), err error) {
	kb, release, err := e.pool.acquire(ctx, s)
	return kb, release, err
}

// ResidentBytes is what a base takes in memory.
func ResidentBytes(e *Engine, s *tenancy.Space) (n int64, err error) {
	err = e.Reader(s).read(context.Background(), func(r *resident, _ *tenancy.Tx) error { return nil })
	if err != nil {
		return 0, err
	}
	e.pool.mu.Lock()
	kb := e.pool.open[s.ID()]
	e.pool.mu.Unlock()
	return kb.res.bytes(), nil
}

// ResidentCost is what the tables of a base itself count for.
func ResidentCost(e *Engine, s *tenancy.Space) (n int64, err error) {
	err = e.Reader(s).read(context.Background(), func(r *resident, _ *tenancy.Tx) error {
		n = r.cost - chunkBytes*int64(len(r.chunks)) - entityEntryBytes*int64(len(r.entities)) - relationEntryBytes*int64(len(r.relations))
		return nil
	})
	return n, err
}

// EntityLine and RelationLine are lines of context.
var (
	EntityLine   = entityLine
	RelationLine = relationLine
)

// PromptOverhead is what of the total budget no list gets.
func PromptOverhead(q, userPrompt string) int {
	return promptReserve + countTokens(q) + countTokens(userPrompt) + promptSet(nil).answerTokens()
}

// StoredProfiles is the number of profile vectors in the store that count.
func StoredProfiles(s *tenancy.Space) (n int, err error) {
	err = s.View(context.Background(), func(tx *tenancy.Tx) error {
		st, err := readState(tx)
		if err != nil {
			return err
		}
		return tx.Scan(st.vectors().profiles, tenancy.Scan{KeysOnly: true}, func(_, _ []byte) error {
			n++
			return nil
		})
	})
	return n, err
}

// SearchedProfiles counts the profile vectors that searches use, and the names
// without one.
func SearchedProfiles(e *Engine, s *tenancy.Space) (entities, relations, stale int, err error) {
	err = e.Reader(s).read(context.Background(), func(r *resident, _ *tenancy.Tx) error {
		if r.index.Entities != nil {
			entities = r.index.Entities.Len()
		}
		if r.index.Relations != nil {
			relations = r.index.Relations.Len()
		}
		stale = len(r.profiles.entities.stale) + len(r.profiles.relations.stale)
		return nil
	})
	return entities, relations, stale, err
}

// AppliedDocuments counts how often a document was applied to the copy of a base.
func AppliedDocuments(e *Engine, s *tenancy.Space) (n int, err error) {
	err = e.Reader(s).read(context.Background(), func(r *resident, _ *tenancy.Tx) error {
		n = r.applied
		return nil
	})
	return n, err
}

// Kept reports how many contributions a base keeps in memory for the next search,
// what they count for, and which of them are not what the store says.
func Kept(e *Engine, s *tenancy.Space) (n int, bytes int64, stale []string, err error) {
	err = e.Reader(s).read(context.Background(), func(r *resident, tx *tenancy.Tx) error {
		for chunk, el := range r.kept.of {
			x := el.Value.(*saying)
			n, bytes = n+1, bytes+x.bytes
			c := &r.chunks[chunk]
			if c.doc == nil {
				stale = append(stale, "of a chunk that is gone")
				continue
			}
			b, err := tx.Get(kindContribution, c.doc.key(c.ord))
			if err != nil {
				return err
			}
			if is, err := decodeContribution(b); err != nil || !reflect.DeepEqual(is, *x.said) {
				stale = append(stale, chunkID(c.doc.id, c.ord))
			}
		}
		return nil
	})
	return n, bytes, stale, err
}

// Sayings keeps made-up contributions of chunks within most bytes and returns which
// are still there, and what they count for.
func Sayings(most int64, chunks ...uint32) (have []uint32, bytes int64) {
	var s sayings
	for _, c := range chunks {
		if s.get(c) == nil {
			x := &contribution{Entities: make([]EntityMention, 1)}
			s.put(c, x, x.cost(52), most) // 300 bytes each
		}
	}
	for c := range s.of {
		have = append(have, c)
	}
	slices.Sort(have)
	return have, s.bytes()
}
