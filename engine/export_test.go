package engine

import (
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
