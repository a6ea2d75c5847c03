package keyspace

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Tx reads and, inside Commit, writes records. It is valid only inside the
// closure it was handed to and only in that closure's goroutine.
type Tx struct {
	db     *DB
	base   *badger.Txn // what is in Badger
	merge  *overlay    // earlier closures of the merge; nil in View
	own    *overlay    // this closure's writes; nil in View
	failed error       // a write that could not be taken fails the closure
	done   bool
	key    []byte // reused between calls
}

// check refuses what is no key of ours; it leaves the key in t.key.
func (t *Tx) check(ns Namespace, kind byte, rest []byte) error {
	if t.done {
		return fmt.Errorf("transaction used after its closure: %w", ErrClosed)
	}
	if !ns.valid() || kind == kindUsage {
		return fmt.Errorf("namespace %s kind %d: %w", ns, kind, ErrBadKey)
	}
	if len(rest) > MaxRest {
		return fmt.Errorf("namespace %s kind %d: key of %d bytes, at most %d: %w", ns, kind, len(rest), MaxRest, ErrTooBig)
	}
	if t.db.isBanned(ns) {
		return fmt.Errorf("namespace %s: %w", ns, ErrBanned)
	}
	t.key = appendKey(t.key[:0], ns, kind, rest)
	return nil
}

// Get returns the value of a record; the caller owns the bytes. It returns
// ErrNotFound, ErrDamaged if the record fails its checksum, ErrBanned or ErrBadKey.
func (t *Tx) Get(ns Namespace, kind byte, rest []byte) ([]byte, error) {
	if err := t.check(ns, kind, rest); err != nil {
		return nil, err
	}
	return t.get(ns, kind, rest)
}

// get reads the record whose key is in t.key.
func (t *Tx) get(ns Namespace, kind byte, rest []byte) ([]byte, error) {
	if w := t.written(bucketID{ns, kind}, rest); w != nil {
		if w.stored == nil {
			return nil, ErrNotFound
		}
		return bytes.Clone(w.stored[crcLen:]), nil
	}
	item, err := t.base.Get(t.key)
	if err != nil {
		return nil, readError(err, ns, kind)
	}
	if err := t.db.mine(bucketID{ns, kind}, item.Key()); err != nil {
		return nil, err
	}
	stored, err := item.ValueCopy(nil)
	if err != nil {
		return nil, readError(err, ns, kind)
	}
	v, err := unseal(t.key, stored)
	if err != nil {
		return nil, readError(err, ns, kind)
	}
	return v, nil
}

// mine is the last line between namespaces: a key that comes back from the store must
// be of the namespace and kind that were asked for. One that is not is counted and
// logged, and its record is not handed out, whatever brought it here.
func (db *DB) mine(id bucketID, key []byte) error {
	ns, kind, ok := namespaceOf(key)
	if ok && ns == id.ns && kind == id.kind {
		return nil
	}
	db.stats.foreign.Add(1)
	db.options.Logger.Error("isolation violated: the store gave a record of another namespace; it was not handed out",
		"asked", id.ns.String(), "got", ns.String())
	return fmt.Errorf("namespace %s kind %d: a record of another namespace came back: %w", id.ns, id.kind, ErrDamaged)
}

// written is the latest write of a record that is not in Badger yet, or nil.
func (t *Tx) written(id bucketID, rest []byte) *write {
	if t.own == nil {
		return nil
	}
	if w := t.own.get(id, rest); w != nil {
		return w
	}
	return t.merge.get(id, rest)
}

// size is what the record whose key is in t.key takes now, or -1 if there is none.
func (t *Tx) size(id bucketID, rest []byte) (int, error) {
	if w := t.written(id, rest); w != nil {
		if w.stored == nil {
			return -1, nil
		}
		return w.size(), nil
	}
	item, err := t.base.Get(t.key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return -1, nil
	} else if err != nil {
		return 0, readError(err, id.ns, id.kind)
	}
	return len(t.key) + int(item.ValueSize()), nil
}

// Set writes a record over what was there; key and value are copied. ErrTooBig
// and a failure to read what was there also fail the closure, whatever it returns.
func (t *Tx) Set(ns Namespace, kind byte, rest, value []byte) error {
	if err := t.writable(ns, kind, rest); err != nil {
		return err
	}
	return t.set(ns, kind, rest, value)
}

func (t *Tx) set(ns Namespace, kind byte, rest, value []byte) error {
	if len(value) > MaxValue {
		return t.fail(fmt.Errorf("namespace %s kind %d: value of %d bytes, at most %d: %w", ns, kind, len(value), MaxValue, ErrTooBig))
	}
	key, stored := seal(t.key, value)
	return t.put(bucketID{ns, kind}, rest, &write{rest: string(rest), key: key, stored: stored})
}

// Delete removes a record; that there is none is no error.
func (t *Tx) Delete(ns Namespace, kind byte, rest []byte) error {
	if err := t.writable(ns, kind, rest); err != nil {
		return err
	}
	return t.put(bucketID{ns, kind}, rest, &write{rest: string(rest), key: bytes.Clone(t.key)})
}

func (t *Tx) writable(ns Namespace, kind byte, rest []byte) error {
	if t.own == nil && !t.done {
		return ErrReadOnly
	}
	if err := t.check(ns, kind, rest); err != nil {
		return t.fail(err)
	}
	return nil
}

// fail makes the closure fail even if it does not look at the error.
func (t *Tx) fail(err error) error {
	if t.failed == nil {
		t.failed = err
	}
	return err
}

// put adds w to the closure's overlay and changes the namespace's counter with it.
func (t *Tx) put(id bucketID, rest []byte, w *write) error {
	old, err := t.size(id, rest)
	if err != nil {
		return t.fail(err)
	}
	if old < 0 && w.stored == nil {
		return nil
	}
	u, err := t.usage(id.ns)
	if err != nil {
		return t.fail(err)
	}
	if old >= 0 {
		u.Records--
		u.Bytes -= int64(old)
	}
	if w.stored != nil {
		u.Records++
		u.Bytes += int64(w.size())
	}
	t.own.put(id, w)
	t.own.usage[id.ns] = u
	if t.own.entries() > MaxClosureEntries || t.own.bytes() > MaxClosureBytes {
		return t.fail(fmt.Errorf("closure writes over %d records or %d bytes: %w", MaxClosureEntries, MaxClosureBytes, ErrTooBig))
	}
	return nil
}

// Usage returns what ns holds, this transaction's writes included. It is exact:
// the counter is written in the transaction that changes what it counts.
func (t *Tx) Usage(ns Namespace) (Usage, error) {
	if err := t.check(ns, 1, nil); err != nil {
		return Usage{}, err
	}
	return t.usage(ns)
}

func (t *Tx) usage(ns Namespace) (Usage, error) {
	if t.own != nil {
		if u, ok := t.own.usage[ns]; ok {
			return u, nil
		}
		if u, ok := t.merge.usage[ns]; ok {
			return u, nil
		}
	}
	return readUsage(t.base, ns)
}

// readUsage reads the counter record of ns as it is in Badger.
func readUsage(txn *badger.Txn, ns Namespace) (u Usage, err error) {
	key := appendKey(make([]byte, 0, prefixLen), ns, kindUsage, nil)
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return Usage{}, nil
	} else if err != nil {
		return Usage{}, readError(err, ns, kindUsage)
	}
	err = item.Value(func(stored []byte) error {
		v, err := unseal(key, stored)
		if err == nil {
			u, err = decodeUsage(v)
		}
		return err
	})
	if err != nil {
		return Usage{}, readError(err, ns, kindUsage)
	}
	return u, nil
}

// readError says what was read and what came of it. Badger's own text is dropped,
// since it may hold keys: what is not understood is damage.
func readError(err error, ns Namespace, kind byte) error {
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return ErrNotFound
	case errors.Is(err, badger.ErrBannedKey):
		return fmt.Errorf("namespace %s: %w", ns, ErrBanned)
	case errors.Is(err, badger.ErrDBClosed):
		return ErrClosed
	}
	return fmt.Errorf("namespace %s kind %d: %w", ns, kind, ErrDamaged)
}
