package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"

	"alcove/tenancy"
)

// Rebuilt is what Rebuild found and did.
type Rebuilt struct {
	Documents int `json:"documents"`
	Mended    int `json:"mended"`   // documents whose entries in lists were not all there
	Removed   int `json:"removed"`  // entries that belonged to no document
	Counters  int `json:"counters"` // knowledge bases whose counters were wrong
}

// Add adds what was done in another knowledge base.
func (n *Rebuilt) Add(o Rebuilt) {
	n.Documents += o.Documents
	n.Mended += o.Mended
	n.Removed += o.Removed
	n.Counters += o.Counters
}

// Rebuild makes what follows from the documents of a knowledge base anew, without any
// model: lists, tracks, the table of what is visible, counters, and, at the next
// question, everything in memory. What is right is left alone. It goes on beside
// writers: each entry is judged in the transaction that changes it.
func (e *Engine) Rebuild(ctx context.Context, s *tenancy.Space) (out Rebuilt, err error) {
	err = s.View(ctx, func(tx *tenancy.Tx) error {
		_, err := readState(tx)
		return err
	})
	if errors.Is(err, errImporting) {
		return out, nil // closed, and cleared by its next import: it must not keep others from being rebuilt
	}
	if err == nil {
		out, err = e.rebuild(ctx, s)
	}
	if err != nil {
		return out, fmt.Errorf("rebuild knowledge base %s: %w", s.KBID(), err)
	}
	if err := e.pool.dropSnapshot(ctx, s); err != nil {
		return out, fmt.Errorf("rebuild knowledge base %s: %w", s.KBID(), err)
	}
	return out, nil
}

// rebuildBatch is how many documents or entries one transaction looks at.
const rebuildBatch = 500

func (e *Engine) rebuild(ctx context.Context, s *tenancy.Space) (out Rebuilt, err error) {
	err = eachBatch(ctx, s, kindDocument, func(tx *tenancy.Tx, keys [][]byte) error {
		for _, key := range keys {
			mended, err := mend(tx, docKey(key))
			if err != nil {
				return err
			}
			out.Documents++
			if mended {
				out.Mended++
			}
		}
		return nil
	})
	for _, kind := range []byte{kindList, kindTrack, kindVisible} {
		if err != nil {
			return out, err
		}
		err = eachBatch(ctx, s, kind, func(tx *tenancy.Tx, keys [][]byte) error {
			for _, key := range keys {
				stray, err := isStray(tx, kind, key)
				if err != nil {
					return err
				}
				if stray {
					out.Removed++
					if err := tx.Delete(kind, key); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err != nil {
		return out, err
	}
	return out, e.recount(ctx, s, &out)
}

// eachBatch calls f, in a transaction each, with the keys of a kind. f runs once a batch.
func eachBatch(ctx context.Context, s *tenancy.Space, kind byte, f func(*tenancy.Tx, [][]byte) error) error {
	var after []byte
	for {
		var keys [][]byte
		err := s.View(ctx, func(tx *tenancy.Tx) error {
			return tx.Scan(kind, tenancy.Scan{After: after, KeysOnly: true, Limit: rebuildBatch}, func(rest, _ []byte) error {
				keys = append(keys, bytes.Clone(rest))
				return nil
			})
		})
		if err != nil || len(keys) == 0 {
			return err
		}
		after = keys[len(keys)-1]
		if err := s.Commit(ctx, func(tx *tenancy.Tx) error { return f(tx, keys) }); err != nil {
			return err
		}
	}
}

// entries are those that follow from a document's record.
func (d *documentRecord) entries(k docKey) []importedRecord {
	out := []importedRecord{
		{kindList, listKey("", d, k), nil}, {kindList, listKey(d.Status, d, k), nil}, {kindTrack, trackKey(d.TrackID, k), nil},
	}
	if d.Visible != 0 {
		out = append(out, importedRecord{kindVisible, k[:], visibleValue(d.Visible, d.Chunks)})
	}
	return out
}

// mend sets the entries of a document that are not as its record has them.
func mend(tx *tenancy.Tx, k docKey) (mended bool, err error) {
	d, err := readDocument(tx, k)
	if errors.Is(err, ErrNotFound) {
		return false, nil // deleted meanwhile
	}
	if err != nil {
		return false, err
	}
	for _, want := range d.entries(k) {
		got, err := tx.Get(want.kind, want.key)
		if err == nil && bytes.Equal(got, want.value) {
			continue
		}
		if err != nil && !errors.Is(err, tenancy.ErrNotFound) {
			return mended, err
		}
		mended = true
		if err := tx.Set(want.kind, want.key, want.value); err != nil {
			return mended, err
		}
	}
	return mended, nil
}

// isStray says whether an entry follows from no document.
func isStray(tx *tenancy.Tx, kind byte, key []byte) (bool, error) {
	if len(key) < len(docKey{}) {
		return true, nil
	}
	k := docKey(key[len(key)-len(docKey{}):])
	d, err := readDocument(tx, k)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for _, want := range d.entries(k) {
		if want.kind == kind && bytes.Equal(want.key, key) {
			return false, nil
		}
	}
	return true, nil
}

// recount puts the counters right. They are counted in a snapshot first; only where
// they are wrong is it done in a transaction, which every other commit waits for.
func (e *Engine) recount(ctx context.Context, s *tenancy.Space, out *Rebuilt) error {
	wrong := false
	err := s.View(ctx, func(tx *tenancy.Tx) error {
		st, now, err := recounted(ctx, tx)
		wrong = err == nil && !sameCounts(&st, &now)
		return err
	})
	if err != nil || !wrong {
		return err
	}
	out.Counters++
	return s.Commit(ctx, func(tx *tenancy.Tx) error {
		_, now, err := recounted(ctx, tx)
		if err != nil {
			return err
		}
		// A copy in memory from before is behind: everything may be other than it has it.
		now.Generation++
		now.TouchedFrom = now.Generation + 1
		return errors.Join(dropTouched(tx), tx.Set(kindState, nil, marshalRecord(&now)))
	})
}

func dropTouched(tx *tenancy.Tx) error {
	var keys [][]byte
	err := tx.Scan(kindTouched, tenancy.Scan{KeysOnly: true}, func(rest, _ []byte) error {
		keys = append(keys, bytes.Clone(rest))
		return nil
	})
	for _, key := range keys {
		err = errors.Join(err, tx.Delete(kindTouched, key))
	}
	return err
}

// recounted is the state as it is stored, and with its counters counted.
func recounted(ctx context.Context, tx *tenancy.Tx) (st, now kbState, err error) {
	if st, err = readState(tx); err != nil {
		return st, now, err
	}
	now = st
	now.Documents, now.Chunks, now.Bytes, now.AnswerBytes, now.Named = map[Status]int{}, 0, 0, 0, nameCount{}
	now.Room = nil // it leans on what is counted here
	err = tx.Scan(kindDocument, tenancy.Scan{}, func(_, value []byte) error {
		var d documentRecord
		if err := unmarshalRecord("document", value, &d); err != nil {
			return err
		}
		now.Documents[d.Status]++
		now.Chunks += d.Chunks
		now.Bytes += int64(d.Length)
		now.Named.add(d.Names, d.Relations)
		return ctx.Err()
	})
	if err != nil {
		return st, now, err
	}
	err = tx.Scan(kindAnswer, tenancy.Scan{}, func(_, value []byte) error {
		now.AnswerBytes += int64(max(0, len(value)-8))
		return ctx.Err()
	})
	if err != nil {
		return st, now, err
	}
	h, err := readHand(tx)
	if err == nil {
		now.Aliases, now.Edits, now.HandBytes = len(h.alias), len(h.entities)+len(h.pairs), h.bytes
	}
	return st, now, err
}

func sameCounts(a, b *kbState) bool {
	return maps.Equal(a.Documents, b.Documents) && a.Chunks == b.Chunks && a.Bytes == b.Bytes && a.AnswerBytes == b.AnswerBytes &&
		a.Named == b.Named && a.Aliases == b.Aliases && a.Edits == b.Edits && a.HandBytes == b.HandBytes
}
