package keyspace

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"
)

// A backup is every key of the store in order, each with its value or, in one since an
// earlier moment, with a word that it has not changed. So what is not named is gone:
// Badger's own stream tells of deletions only until it has compacted them away.
//
//	1 | length of the key (uvarint) | key | length (uvarint) | value as stored, checksum included
//	2 | length of the key | key            as it was at the moment since
//	0 | number of keys (8, big endian)     the end

const (
	backupEnd     = 0
	backupRecord  = 1
	backupNothing = 2
)

// Backup says what Backup wrote.
type Backup struct {
	Epoch   string // of the store: a version means something within one only
	Upto    uint64 // what to give as since to the next one
	Records int64
	Changed int64 // of them, with their values
	Bytes   int64 // of those
}

// Epoch names the life of the store: it is another one after Restore.
func (db *DB) Epoch() string { return db.format.Epoch }

// Backup writes one moment of the store to w, beside readers and writers, and holds that
// snapshot for as long. since is the Upto of an earlier backup of this epoch, or 0 for all.
// Every value it writes is checked, and each namespace's records are counted: a store
// that is damaged is ErrDamaged, never a backup that is short.
func (db *DB) Backup(ctx context.Context, w io.Writer, since uint64) (b Backup, err error) {
	out := bufio.NewWriterSize(w, 64<<10)
	err = db.View(func(t *Tx) error {
		b = Backup{Epoch: db.format.Epoch, Upto: t.base.ReadTs()}
		if since > b.Upto {
			return fmt.Errorf("since %d: the last commit is %d: %w", since, b.Upto, ErrNotFound)
		}
		c := backupCount{}
		it := t.base.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if b.Records%ctxEvery == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			item := it.Item()
			if err := c.see(t.base, item); err != nil {
				return err
			}
			b.Records++
			if err := b.put(out, item, since); err != nil {
				return err
			}
		}
		if err := c.settle(); err != nil {
			return err
		}
		out.WriteByte(backupEnd)
		out.Write(binary.BigEndian.AppendUint64(nil, uint64(b.Records)))
		return out.Flush()
	})
	return b, err
}

func (b *Backup) put(out *bufio.Writer, item *badger.Item, since uint64) error {
	key := item.Key()
	op := byte(backupNothing)
	if item.Version() > since {
		op = backupRecord
	}
	out.WriteByte(op)
	out.Write(binary.AppendUvarint(nil, uint64(len(key))))
	_, err := out.Write(key)
	if err != nil || op == backupNothing {
		return err
	}
	b.Changed++
	err = item.Value(func(stored []byte) error {
		if _, err := unseal(key, stored); err != nil {
			return err
		}
		b.Bytes += int64(len(key) + len(stored))
		out.Write(binary.AppendUvarint(nil, uint64(len(stored))))
		_, err := out.Write(stored)
		return err
	})
	if errors.Is(err, ErrDamaged) {
		return fmt.Errorf("back up: a record fails its checksum: %w", ErrDamaged)
	}
	return err
}

// backupCount compares the records of each namespace with its counter as they pass.
type backupCount struct {
	ns        Namespace
	some      bool
	want, got Usage
}

func (c *backupCount) see(txn *badger.Txn, item *badger.Item) (err error) {
	ns, kind, ok := namespaceOf(item.Key())
	if !ok {
		return fmt.Errorf("back up: a key of no namespace: %w", ErrDamaged)
	}
	if !c.some || ns != c.ns {
		if err := c.settle(); err != nil {
			return err
		}
		*c = backupCount{ns: ns, some: true}
		if c.want, err = readUsage(txn, ns); err != nil {
			return err
		}
	}
	if kind != kindUsage {
		c.got.Records++
		c.got.Bytes += int64(len(item.Key())) + item.ValueSize()
	}
	return nil
}

func (c *backupCount) settle() error {
	if c.got != c.want {
		return fmt.Errorf("back up namespace %s: %d records of %d bytes found, %d of %d counted: %w", c.ns, c.got.Records, c.got.Bytes, c.want.Records, c.want.Bytes, ErrDamaged)
	}
	return nil
}

// ErrNotBackup marks a stream that is no backup, or that does not follow on the one before.
var ErrNotBackup = errors.New("keyspace: not a backup of this store at this place of the chain")

// Restore makes a store in the empty folder o.Dir of a chain of backups: one of all, then
// those since, each since the one before. The store is another epoch of the same id. Where
// it returns an error what is in the folder is of no use.
func Restore(ctx context.Context, o Options, chain []io.Reader) error {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return fmt.Errorf("keyspace options: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	if Exists(o.Dir) {
		return fmt.Errorf("%s holds a store already: %w", o.Dir, os.ErrExist)
	}
	b, err := openBadger(o)
	if err != nil {
		return err
	}
	for i, r := range chain {
		if err = restoreOne(ctx, b, bufio.NewReaderSize(r, 64<<10), i == 0); err != nil {
			err = fmt.Errorf("backup %d of %d: %w", i+1, len(chain), err)
			break
		}
	}
	if cerr := b.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close: %w", redacted{cerr})
	}
	if err != nil {
		return err
	}
	db, err := Open(o)
	if err != nil {
		return err
	}
	err = db.renew()
	return errors.Join(err, db.Close())
}

// renew begins another epoch.
func (db *DB) renew() error {
	f := db.format
	f.Epoch = uuid.NewString()
	return db.writeFormat(f)
}

func restoreOne(ctx context.Context, b *badger.DB, r *bufio.Reader, first bool) error {
	txn := b.NewTransaction(false) // what the chain came to before
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	it.Rewind()
	w := b.NewWriteBatch()
	defer w.Cancel()
	var last []byte
	for n := uint64(0); ; n++ {
		if n%ctxEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		op, key, stored, err := readBackup(r)
		if err != nil {
			return err
		}
		if op != backupEnd && bytes.Compare(key, last) <= 0 {
			return fmt.Errorf("keys out of their order: %w", ErrNotBackup)
		}
		last = key
		for it.Valid() && (op == backupEnd || bytes.Compare(it.Item().Key(), key) < 0) {
			if err := w.Delete(it.Item().KeyCopy(nil)); err != nil {
				return redacted{err}
			}
			it.Next()
		}
		there := it.Valid() && op != backupEnd && bytes.Equal(it.Item().Key(), key)
		if there {
			it.Next()
		}
		switch op {
		case backupEnd:
			if count := binary.BigEndian.Uint64(stored); count != n {
				return fmt.Errorf("%d keys, and it says %d: %w", n, count, ErrNotBackup)
			}
			if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
				return fmt.Errorf("bytes follow its end: %w", errors.Join(err, ErrNotBackup))
			}
			if err := w.Flush(); err != nil {
				return redacted{err}
			}
			return nil
		case backupNothing:
			if first || !there {
				return fmt.Errorf("a record that an earlier one should have: %w", ErrNotBackup)
			}
		default:
			if _, err := unseal(key, stored); err != nil {
				return fmt.Errorf("a record fails its checksum: %w", err)
			}
			if err := w.Set(key, stored); err != nil {
				return redacted{err}
			}
		}
	}
}

// readBackup reads what stands for one key, in memory of its own; at the end stored is the count.
func readBackup(r *bufio.Reader) (op byte, key, stored []byte, err error) {
	cut := func(err error) error {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("it ends too early: %w", ErrNotBackup)
		}
		return err
	}
	part := func(most int) ([]byte, error) {
		n, err := binary.ReadUvarint(r)
		if err != nil {
			return nil, cut(err)
		}
		if n > uint64(most) {
			return nil, fmt.Errorf("%d bytes where at most %d stand: %w", n, most, ErrNotBackup)
		}
		b := make([]byte, n)
		_, err = io.ReadFull(r, b)
		return b, cut(err)
	}
	if op, err = r.ReadByte(); err != nil {
		return 0, nil, nil, cut(err)
	}
	switch op {
	case backupEnd:
		stored = make([]byte, 8)
		_, err = io.ReadFull(r, stored)
		return op, nil, stored, cut(err)
	case backupRecord, backupNothing:
	default:
		return 0, nil, nil, fmt.Errorf("an unknown mark: %w", ErrNotBackup)
	}
	if key, err = part(prefixLen + MaxRest); err != nil || op == backupNothing {
		return op, key, nil, err
	}
	if len(key) < prefixLen {
		return 0, nil, nil, fmt.Errorf("a key of no namespace: %w", ErrNotBackup)
	}
	stored, err = part(crcLen + MaxValue)
	return op, key, stored, err
}
