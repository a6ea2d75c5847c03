package keyspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"

	"github.com/dgraph-io/badger/v4"
)

// ctxEvery is how many records a long scan reads between looks at its context.
const ctxEvery = 1024

// maxSweep is the most keys one Sweep deletes; MaxClosureBytes/2 bounds their bytes.
const maxSweep = MaxClosureEntries / 2

// Ban makes the number of ns unusable for good, in every family: reads and
// writes are ErrBanned, scans pass over what is left. It is a belt for namespaces
// that Sweep has emptied; it frees nothing. System's number cannot be banned.
func (db *DB) Ban(ns Namespace) error {
	if !ns.valid() || ns.Number == System.Number {
		return fmt.Errorf("ban %s: %w", ns, ErrBadKey)
	}
	// Between merges: a merge that holds writes of ns would fail as a whole.
	return db.send(context.Background(), &request{done: make(chan struct{}), solo: func() error {
		if err := errors.Join(db.failed(), db.room(db.options.MinFreeBytes)); err != nil {
			return err
		}
		if db.isBanned(ns) {
			return nil
		}
		if err := db.badger.BanNamespace(ns.Number); err != nil {
			return fmt.Errorf("ban %s: %w", ns, redacted{err})
		}
		banned := maps.Clone(*db.banned.Load())
		banned[ns.Number] = struct{}{}
		db.banned.Store(&banned)
		return nil
	}})
}

func (db *DB) isBanned(ns Namespace) bool {
	_, ok := (*db.banned.Load())[ns.Number]
	return ok
}

// Sweep deletes up to limit records of ns that lie behind the key after, of whatever
// kind and in key order, in one commit. It returns the last key it deleted, which is
// where the next Sweep goes on, and how many went. None behind nil means that ns is
// empty, and so is its counter. Nothing may write to ns meanwhile. The caller paces
// it; limits over half a closure are cut to that.
//
// What to delete, and how large it is, is looked up in a snapshot beside the committer,
// which everybody's commits wait for: passing over what was deleted before takes as
// long as a large namespace, and a thousand records cost 10 ms to look at one by one.
func (db *DB) Sweep(ctx context.Context, ns Namespace, after []byte, limit int) (last []byte, deleted int, err error) {
	limit = min(limit, maxSweep)
	if limit < 1 {
		return after, 0, nil
	}
	var keys [][]byte
	var there, gone Usage // in the snapshot, and of that what is deleted
	err = db.View(func(t *Tx) (err error) {
		if err := t.check(ns, 1, nil); err != nil {
			return err
		}
		if there, err = t.usage(ns); err != nil {
			return err
		}
		size := 0
		err = eachKey(t.base, ns, after, func(item *badger.Item) error {
			if len(keys) >= limit || size > MaxClosureBytes/2 {
				return ErrStop
			}
			if len(keys)%ctxEvery == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if _, kind, ok := namespaceOf(item.Key()); ok && kind != kindUsage {
				keys = append(keys, item.KeyCopy(nil))
				size += len(item.Key())
				gone.Records++
				gone.Bytes += int64(len(item.Key())) + item.ValueSize()
			}
			return nil
		})
		if errors.Is(err, ErrStop) {
			err = nil
		}
		return err
	})
	switch {
	case err != nil:
		return after, 0, err
	case len(keys) > 0:
		err = db.Commit(ctx, func(t *Tx) error {
			now, err := t.usage(ns)
			if err != nil {
				return err
			}
			for _, key := range keys {
				id, rest := bucketID{ns, key[prefixLen-1]}, key[prefixLen:]
				if now != there { // somebody wrote: each has to be looked at
					err = t.Delete(ns, id.kind, rest)
				} else if err = t.writable(ns, id.kind, rest); err == nil {
					t.own.put(id, &write{rest: string(rest), key: key})
				}
				if err != nil {
					return err
				}
			}
			if now == there {
				t.own.usage[ns] = Usage{now.Records - gone.Records, now.Bytes - gone.Bytes}
			}
			return nil
		})
		if err != nil {
			return after, 0, err
		}
		return keys[len(keys)-1], len(keys), nil
	case after == nil && there != Usage{}: // damage had left a rest in the count
		return nil, 0, db.Commit(ctx, func(t *Tx) error {
			t.own.usage[ns] = Usage{}
			return nil
		})
	}
	return after, 0, nil
}

// eachKey calls f with every record of ns in Badger behind the key after, in key order,
// the counter included; nil is before the first.
func eachKey(txn *badger.Txn, ns Namespace, after []byte, f func(*badger.Item) error) error {
	prefix := appendKey(nil, ns, 0, nil)[:prefixLen-1]
	from := prefix
	if after != nil {
		from = append(bytes.Clone(after), 0) // the least key behind it
	}
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(from); it.Valid(); it.Next() {
		if err := f(it.Item()); err != nil {
			return err
		}
	}
	return nil
}

// Verify reads all of ns in one snapshot and returns ErrDamaged, naming the first
// record that fails its checksum by its kind and place, or saying how the count
// differs from the counter: Badger ends a scan early at a block it cannot read.
// It reads beside writers and takes no lock.
func (db *DB) Verify(ctx context.Context, ns Namespace) error {
	return db.View(func(t *Tx) error {
		if err := t.check(ns, 1, nil); err != nil {
			return err
		}
		want, err := t.usage(ns)
		if err != nil {
			return err
		}
		var got Usage
		err = eachKey(t.base, ns, nil, func(item *badger.Item) error {
			if got.Records%ctxEvery == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			key := item.Key()
			_, kind, ok := namespaceOf(key)
			if !ok {
				return fmt.Errorf("namespace %s: a key of %d bytes: %w", ns, len(key), ErrDamaged)
			}
			if kind == kindUsage {
				return nil
			}
			err := item.Value(func(stored []byte) error {
				got.Records++
				got.Bytes += int64(len(key) + len(stored))
				_, err := unseal(key, stored)
				return err
			})
			if err != nil {
				return fmt.Errorf("namespace %s kind %d: record %d of %d: %w", ns, kind, got.Records, want.Records, ErrDamaged)
			}
			return nil
		})
		if err == nil && got != want {
			err = fmt.Errorf("namespace %s: %d records of %d bytes found, %d of %d counted: %w", ns, got.Records, got.Bytes, want.Records, want.Bytes, ErrDamaged)
		}
		return err
	})
}

// Namespaces returns every namespace that holds records and is not banned, in
// order of family and number. It seeks from one to the next: its cost is by
// namespace, not by record.
func (db *DB) Namespaces(ctx context.Context) ([]Namespace, error) {
	var out []Namespace
	err := db.View(func(t *Tx) error {
		it := t.base.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		next := Namespace{Family: 'a'}
		for {
			if err := ctx.Err(); err != nil {
				return err
			}
			it.Seek(appendKey(nil, next, 0, nil)[:prefixLen-1])
			if !it.Valid() {
				return nil
			}
			ns, _, ok := namespaceOf(it.Item().Key())
			if !ok || ns.Family > 'z' {
				return fmt.Errorf("a key of no namespace: %w", ErrDamaged)
			}
			if ns.Family < next.Family || ns.Family == next.Family && ns.Number < next.Number {
				return fmt.Errorf("keys of %s behind those of %s: %w", ns, next, ErrDamaged) // would go on for ever
			}
			out = append(out, ns)
			if next = ns; ns.Number == math.MaxUint64 {
				next = Namespace{Family: ns.Family + 1}
			} else {
				next.Number++
			}
		}
	})
	return out, err
}
