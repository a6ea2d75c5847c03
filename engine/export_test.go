package engine

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"alcove/tenancy"
)

// What the tests outside of the package look at; they are outside because
// enginetest imports engine.

// Rounds is n, or a tenth of it under the race detector: what a test finds by its number
// of rounds is found without.
func Rounds(n int) int {
	if Raced {
		return max(1, n/10)
	}
	return n
}

// OneGoroutine leaves a long test out under the race detector, which has nothing to see
// in it.
func OneGoroutine(t testing.TB) {
	t.Helper()
	if Raced {
		t.Skip("is of one goroutine")
	}
}

// StoredChat is storedChat.
var StoredChat = storedChat

// MaxTouched is maxTouched.
const MaxTouched = maxTouched

// Touch notes n visible changes of a document in one transaction.
func Touch(e *Engine, s *tenancy.Space, id string, n int) error {
	return e.change(context.Background(), s, func(c *change) error {
		for range n {
			if err := c.touch(keyOf(id)); err != nil {
				return err
			}
		}
		return nil
	})
}

// TouchedSince is touchedSince; n is the number of documents.
func TouchedSince(s *tenancy.Space, gen uint64) (n int, now uint64, ok bool, err error) {
	err = s.View(context.Background(), func(tx *tenancy.Tx) error {
		var docs []docKey
		docs, now, ok, err = touchedSince(tx, gen)
		n = len(docs)
		return err
	})
	return n, now, ok, err
}

// CopyHand writes the aliases and edits of one base into another that has none,
// then notes n more changes of a document, all in one transaction that no copy in
// memory is told of.
func CopyHand(from, to *tenancy.Space, n int) error {
	var all []struct {
		kind        byte
		rest, value []byte
	}
	var st kbState
	err := from.View(context.Background(), func(tx *tenancy.Tx) (err error) {
		if st, err = readState(tx); err != nil {
			return err
		}
		for _, kind := range []byte{kindAlias, kindEdit} {
			if err := tx.Scan(kind, tenancy.Scan{}, func(rest, value []byte) error {
				all = append(all, struct {
					kind        byte
					rest, value []byte
				}{kind, bytes.Clone(rest), bytes.Clone(value)})
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(all) == 0 {
		return err
	}
	return to.Commit(context.Background(), func(tx *tenancy.Tx) error {
		now, err := readState(tx)
		if err != nil {
			return err
		}
		c := &change{tx: tx, st: now}
		c.st.Aliases, c.st.Edits, c.st.HandBytes = st.Aliases, st.Edits, st.HandBytes
		for _, r := range all {
			if err := tx.Set(r.kind, r.rest, r.value); err != nil {
				return err
			}
		}
		if err := c.touchHand(); err != nil {
			return err
		}
		for range n {
			if err := c.touch(keyOf("nobody")); err != nil {
				return err
			}
		}
		return tx.Set(kindState, nil, marshalRecord(&c.st))
	})
}

// CatchUp brings the copy of a base up to date under ctx.
func CatchUp(ctx context.Context, e *Engine, s *tenancy.Space) error {
	kb, release, err := e.pool.acquire(context.Background(), s)
	if err != nil {
		return err
	}
	defer release()
	return kb.catchUp(ctx, s)
}

// Limits of what people say of a graph.
const (
	MaxAliases   = maxAliases
	MaxEdits     = maxEdits
	MaxHandBytes = maxHandBytes
)

// CountHand adds to what the state of a base counts of aliases, edits and their bytes.
func CountHand(e *Engine, s *tenancy.Space, aliases, edits int, size int64) error {
	return e.change(context.Background(), s, func(c *change) error {
		c.st.Aliases += aliases
		c.st.Edits += edits
		c.st.HandBytes += size
		return nil
	})
}

// Settle returns when no base is being loaded or brought up to date. Nobody may ask
// for one meanwhile.
func Settle(e *Engine) { e.pool.work.Wait() }

// ReembedStep takes the next step of a change of the embedding model; over says
// that none is under way any more. No worker may be at it.
func ReembedStep(e *Engine, s *tenancy.Space) (over bool, err error) {
	ctx := context.Background()
	var st kbState
	if err := s.View(ctx, func(tx *tenancy.Tx) (err error) {
		st, err = readState(tx)
		return err
	}); err != nil || st.Reembed == nil {
		return true, err
	}
	refs, err := jobsOf(ctx, e.o.Store, s)
	if err != nil {
		return false, err
	}
	for _, ref := range refs {
		if ref.Seq == st.Reembed.Job {
			return e.reembedStep(ctx, s, ref)
		}
	}
	return false, ErrDamaged
}

// HoldCommunities keeps every knowledge base from making communities until the
// function that it returns is called.
func HoldCommunities(e *Engine) (release func()) {
	e.pool.counting <- struct{}{}
	return func() { <-e.pool.counting }
}

// TimeWalk is how long the walk of a question alone takes: what is read of the
// question, and its BM25, included.
func TimeWalk(e *Engine, s *tenancy.Space, question string) (took time.Duration, err error) {
	err = e.Reader(s).read(context.Background(), func(r *resident, _ *tenancy.Tx) error {
		v := r.everything()
		defer v.seen.close()
		t := time.Now()
		v.seen.walk(v.seen.parse(question, true), 60, nil, v.less)
		took = time.Since(t)
		return nil
	})
	return took, err
}

// Interrupt leaves a base as an import that a crash ended leaves it.
func Interrupt(s *tenancy.Space) error {
	return s.Commit(context.Background(), func(tx *tenancy.Tx) error {
		st, err := readState(tx)
		if err != nil {
			return err
		}
		st.Importing = &importing{Documents: 3}
		return errors.Join(tx.CountDocuments(3), tx.Set(kindChunk, []byte("left by it"), nil), tx.Set(kindState, nil, marshalRecord(&st)))
	})
}

// Disarrange makes what follows from the documents of a base wrong in every way.
func Disarrange(s *tenancy.Space) error {
	return s.Commit(context.Background(), func(tx *tenancy.Tx) error {
		st, err := readState(tx)
		if err != nil {
			return err
		}
		st.Documents[StatusFailed] += 7
		st.Chunks++
		st.Bytes, st.AnswerBytes, st.Named = 1, 2, nameCount{3, 4}
		var some [][]byte
		for _, kind := range []byte{kindList, kindTrack, kindVisible} {
			err := tx.Scan(kind, tenancy.Scan{KeysOnly: true, Limit: 1}, func(rest, _ []byte) error {
				some = append(some, append([]byte{kind}, rest...))
				return nil
			})
			if err != nil {
				return err
			}
		}
		for _, key := range some {
			stray := bytes.Clone(key[1:])
			stray[len(stray)-1] ^= 1 // of a document that is not there
			if err := errors.Join(tx.Delete(key[0], key[1:]), tx.Set(key[0], stray, make([]byte, 12))); err != nil {
				return err
			}
		}
		return tx.Set(kindState, nil, marshalRecord(&st))
	})
}
