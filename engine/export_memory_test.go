package engine

import (
	"context"

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
		n = r.cost - 96*int64(len(r.chunks)) - 64*int64(len(r.entities)) - 80*int64(len(r.relations))
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
