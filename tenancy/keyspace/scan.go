package keyspace

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Scan calls f with the records of one kind that s asks for, in order of their
// rest, and stops at f's first error, which it returns; ErrStop ends it without
// one. rest and value are valid during f only and must not be changed. It sees the writes of earlier
// closures of the merge and those this Tx made before the call; what f writes
// is not seen by the scan under way. A record that fails its checksum is ErrDamaged.
//
// Badger ends an iteration early, without an error, at a block it cannot read:
// who must have all of a kind compares with a count of its own, or calls DB.Verify.
func (t *Tx) Scan(ns Namespace, kind byte, s Scan, f func(rest, value []byte) error) error {
	if err := t.check(ns, kind, s.Prefix); err != nil {
		return err
	}
	if len(s.After) > MaxRest {
		return fmt.Errorf("namespace %s kind %d: scan after %d bytes, at most %d: %w", ns, kind, len(s.After), MaxRest, ErrTooBig)
	}
	id := bucketID{ns, kind}
	var over []*write
	if t.own != nil {
		over = mergeWrites(t.own.in(id, s), t.merge.in(id, s), s.Reverse)
	}
	it := newCursor(t.base, ns, kind, s)
	if it != nil {
		defer it.Close()
	}
	for n := 0; s.Limit <= 0 || n < s.Limit; n++ {
		err := t.db.step(it, &over, id, s, f)
		switch {
		case errors.Is(err, errEnd) || errors.Is(err, ErrStop):
			return nil
		case errors.Is(err, errBadRecord):
			return readError(ErrDamaged, ns, kind)
		case err != nil:
			return err
		}
	}
	return nil
}

var (
	errEnd       = errors.New("keyspace: no more records")
	errBadRecord = errors.New("keyspace: record fails its checksum")
)

// step hands the next record to f: the lesser, in the order of s, of the next in
// Badger and the next in over, which wins where both have one.
func (db *DB) step(it *badger.Iterator, over *[]*write, id bucketID, s Scan, f func(rest, value []byte) error) error {
	for {
		stored := it != nil && it.Valid()
		if len(*over) > 0 {
			w := (*over)[0]
			c := -1
			if stored {
				c = compareRests(w.key, it.Item().Key(), s.Reverse)
			}
			if c == 0 {
				it.Next()
			}
			if c <= 0 {
				*over = (*over)[1:]
				if w.stored == nil {
					continue
				}
				if s.KeysOnly {
					return f(w.key[prefixLen:], nil)
				}
				return f(w.key[prefixLen:], w.stored[crcLen:])
			}
		}
		if !stored {
			return errEnd
		}
		item := it.Item()
		key := item.Key()
		if err := db.mine(id, key); err != nil {
			return err
		}
		if s.KeysOnly {
			err := f(key[prefixLen:], nil)
			it.Next()
			return err
		}
		called := false
		err := item.Value(func(b []byte) error {
			v, err := unseal(key, b)
			if err != nil {
				return err
			}
			called = true
			return f(key[prefixLen:], v)
		})
		if err != nil && !called {
			return errBadRecord
		}
		it.Next()
		return err
	}
}

// newCursor returns an iterator over what s asks for of one kind in Badger,
// standing at the first, or nil if s can match nothing. Values are not fetched
// ahead: they sit beside their keys, and fetching ahead is a goroutine per record.
func newCursor(txn *badger.Txn, ns Namespace, kind byte, s Scan) *badger.Iterator {
	prefix := appendKey(make([]byte, 0, prefixLen+len(s.Prefix)), ns, kind, s.Prefix)
	seek, skip := prefix, false
	if s.After != nil {
		after := appendKey(make([]byte, 0, prefixLen+len(s.After)), ns, kind, s.After)
		inside := bytes.HasPrefix(after, prefix)
		beyond := !inside && bytes.Compare(after, prefix) > 0
		switch {
		case inside:
			seek, skip = after, true
		case beyond != s.Reverse:
			return nil
		}
	}
	if s.Reverse && !skip {
		// Greater than every key with this prefix, yet inside it: landing on a
		// neighbour's key would end the iteration.
		seek = append(bytes.Clone(prefix), bytes.Repeat([]byte{0xff}, MaxRest-len(s.Prefix)+1)...)
	}
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: s.Reverse})
	it.Seek(seek)
	if skip && it.Valid() && bytes.Equal(it.Item().Key(), seek) {
		it.Next()
	}
	return it
}
