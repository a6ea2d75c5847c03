package engine

import (
	"bytes"
	"context"

	"alcove/tenancy"
)

// What the tests outside of the package look at; they are outside because
// enginetest imports engine.

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

// CopyHand writes the aliases and edits of one base into another that has none.
func CopyHand(e *Engine, from, to *tenancy.Space) error {
	type record struct {
		kind        byte
		rest, value []byte
	}
	var all []record
	var st kbState
	err := from.View(context.Background(), func(tx *tenancy.Tx) (err error) {
		if st, err = readState(tx); err != nil {
			return err
		}
		for _, kind := range []byte{kindAlias, kindEdit} {
			if err := tx.Scan(kind, tenancy.Scan{}, func(rest, value []byte) error {
				all = append(all, record{kind, bytes.Clone(rest), bytes.Clone(value)})
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
	return e.change(context.Background(), to, func(c *change) error {
		c.st.Aliases, c.st.Edits = st.Aliases, st.Edits
		for _, r := range all {
			if err := c.tx.Set(r.kind, r.rest, r.value); err != nil {
				return err
			}
		}
		return c.touchHand()
	})
}

// Limits of what people say of a graph.
const (
	MaxAliases = maxAliases
	MaxEdits   = maxEdits
)

// CountHand sets how many aliases and edits the state of a base counts.
func CountHand(e *Engine, s *tenancy.Space, aliases, edits int) error {
	return e.change(context.Background(), s, func(c *change) error {
		c.st.Aliases, c.st.Edits = aliases, edits
		return nil
	})
}

// Settle returns when no base is being loaded or brought up to date. Nobody may ask
// for one meanwhile.
func Settle(e *Engine) { e.pool.work.Wait() }
