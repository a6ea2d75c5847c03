package keyspace

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"
)

var edge = Namespace{'d', 9}

// The limits are what a closure may reach and not pass; one over it harms nobody else.
func TestLimits(t *testing.T) {
	db := memory(t)
	many := func(n int) func(*Tx) error {
		return func(tx *Tx) error {
			for i := range n {
				_ = tx.Set(edge, 2, binary.BigEndian.AppendUint32(nil, uint32(i)), nil) // fails the closure by itself
			}
			return nil
		}
	}
	big := func(n, size int) func(*Tx) error {
		return func(tx *Tx) error {
			for i := range n {
				if err := tx.Set(edge, 3, []byte{byte(i)}, make([]byte, size)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		f    func(*Tx) error
		want error
	}{
		"records at the limit":   {many(MaxClosureEntries - 1), nil}, // the counter is one
		"records over the limit": {many(MaxClosureEntries), ErrTooBig},
		"value at the limit":     {big(1, MaxValue), nil},
		"value over the limit":   {big(1, MaxValue+1), ErrTooBig},
		"bytes under the limit":  {big(7, MaxValue), nil},
		"bytes over the limit":   {big(8, MaxValue), ErrTooBig},
		"rest at the limit":      {func(tx *Tx) error { return tx.Set(edge, 1, make([]byte, MaxRest), nil) }, nil},
		"rest over the limit":    {func(tx *Tx) error { return tx.Set(edge, 1, make([]byte, MaxRest+1), nil) }, ErrTooBig},
		"one record many times": {func(tx *Tx) error {
			for range 2 * MaxClosureEntries {
				if err := tx.Set(edge, 1, nil, []byte("again")); err != nil {
					return err
				}
			}
			return nil
		}, nil},
		"kind 0":        {func(tx *Tx) error { return tx.Set(edge, 0, nil, nil) }, ErrBadKey},
		"own family":    {func(tx *Tx) error { return tx.Set(own, 1, nil, nil) }, ErrBadKey},
		"panic":         {func(*Tx) error { panic("in a closure") }, ErrPanicked},
		"panic, error":  {func(*Tx) error { panic(errRefused) }, errRefused},
		"goroutine end": {func(*Tx) error { runtime.Goexit(); return nil }, ErrPanicked},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, db.Commit(ctx, c.f), c.want)
			require.NoError(t, db.Commit(ctx, func(tx *Tx) error { return tx.Set(edge, 9, []byte(name), nil) }))
			require.NoError(t, db.Verify(ctx, edge))
		})
	}
}

// Closures too many for one transaction are split between closures, never inside one.
func TestMerge_SplitsBetweenClosures(t *testing.T) {
	db := memory(t)
	inside, release := make(chan struct{}), make(chan struct{})
	go db.Commit(ctx, func(*Tx) error { close(inside); <-release; return nil })
	<-inside
	var requests []*request
	for i := range 6 {
		r := &request{done: make(chan struct{}), f: func(tx *Tx) error {
			u, err := tx.Usage(edge)
			if err != nil || u.Records != int64(i*7000) {
				return errors.Join(err, errors.New("an earlier closure is missing"))
			}
			for j := range 7000 {
				if err := tx.Set(edge, byte(1+i), binary.BigEndian.AppendUint32(nil, uint32(j)), nil); err != nil {
					return err
				}
			}
			return nil
		}}
		db.queue <- r
		requests = append(requests, r)
	}
	close(release)
	for _, r := range requests {
		<-r.done
		require.NoError(t, r.err)
	}
	require.NoError(t, db.Verify(ctx, edge))
}

// A transaction that cannot be written is everybody's error, and the end of writing.
func TestMerge_FailsAsAWhole(t *testing.T) {
	db := memory(t)
	require.NoError(t, db.Commit(ctx, func(tx *Tx) error { return tx.Set(edge, 1, nil, []byte("before")) }))
	db.commitWith.Store(func(*badger.Txn) error { return errors.New("the disk says no, and dumps a value") })
	inside, release := make(chan struct{}), make(chan struct{})
	go db.Commit(ctx, func(*Tx) error { close(inside); <-release; return nil })
	<-inside
	write := &request{done: make(chan struct{}), f: func(tx *Tx) error { return tx.Set(edge, 1, nil, []byte("after")) }}
	refusal := &request{done: make(chan struct{}), f: func(*Tx) error { return errRefused }}
	db.queue <- write
	db.queue <- refusal
	close(release)
	<-write.done
	<-refusal.done
	require.ErrorIs(t, write.err, ErrWriteFailed)
	require.NotContains(t, write.err.Error(), "dumps")
	require.ErrorIs(t, refusal.err, ErrWriteFailed)
	require.ErrorIs(t, db.Commit(ctx, func(*Tx) error { return nil }), ErrWriteFailed)
	require.NoError(t, db.View(func(tx *Tx) error {
		v, err := tx.Get(edge, 1, nil)
		require.Equal(t, "before", string(v))
		return err
	}))
}

// A caller that gives up in the queue is dropped, and its closure never runs;
// one that gives up later learns how it ended.
func TestCommit_Context(t *testing.T) {
	db := memory(t)
	inside, release := make(chan struct{}), make(chan struct{})
	front, cancelFront := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- db.Commit(front, func(tx *Tx) error {
			close(inside)
			<-release
			return tx.Set(edge, 1, nil, nil)
		})
	}()
	<-inside
	cancelFront() // started: too late
	var ran atomic.Bool
	behind, cancelBehind := context.WithCancel(ctx)
	waits := make(chan error, 1)
	go func() { waits <- db.Commit(behind, func(*Tx) error { ran.Store(true); return nil }) }()
	cancelBehind()
	require.ErrorIs(t, <-waits, context.Canceled)
	close(release)
	require.NoError(t, <-ended)
	require.NoError(t, db.Commit(ctx, func(*Tx) error { return nil }))
	require.False(t, ran.Load())
	require.ErrorIs(t, db.Commit(behind, nil), context.Canceled)
	require.ErrorIs(t, db.Verify(behind, edge), context.Canceled)
}

func TestClosed(t *testing.T) {
	db := memory(t)
	var kept *Tx
	require.NoError(t, db.View(func(tx *Tx) error {
		kept = tx
		require.ErrorIs(t, tx.Set(edge, 1, nil, nil), ErrReadOnly)
		require.ErrorIs(t, tx.Delete(edge, 1, nil), ErrReadOnly)
		return nil
	}))
	_, err := kept.Get(edge, 1, nil)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, kept.Set(edge, 1, nil, nil), ErrClosed)
	require.NoError(t, db.Close())
	require.ErrorIs(t, db.Close(), ErrClosed)
	require.ErrorIs(t, db.Commit(ctx, nil), ErrClosed)
	require.ErrorIs(t, db.View(nil), ErrClosed)
	require.ErrorIs(t, db.Verify(ctx, edge), ErrClosed)
	_, _, err = db.Sweep(ctx, edge, nil, 1)
	require.ErrorIs(t, err, ErrClosed)
}

// A ban holds for one number, at once and after a reopening; neighbours go on.
func TestBan(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(Options{Dir: dir})
	require.NoError(t, err)
	other := Namespace{'d', 10}
	both := func(tx *Tx) error { return errors.Join(tx.Set(edge, 1, nil, nil), tx.Set(other, 1, nil, nil)) }
	require.NoError(t, db.Commit(ctx, both))
	require.ErrorIs(t, db.Ban(System), ErrBadKey)
	require.NoError(t, db.Ban(edge))
	require.NoError(t, db.Ban(edge))
	for range 2 {
		require.ErrorIs(t, db.Commit(ctx, both), ErrBanned)
		require.NoError(t, db.View(func(tx *Tx) error {
			_, err := tx.Get(edge, 1, nil)
			require.ErrorIs(t, err, ErrBanned)
			require.ErrorIs(t, tx.Scan(edge, 1, Scan{}, nil), ErrBanned)
			return nil
		}))
		require.NoError(t, db.Verify(ctx, other))
		there, err := db.Namespaces(ctx)
		require.NoError(t, err)
		require.Equal(t, []Namespace{other}, there)
		require.NoError(t, db.Close())
		db, err = Open(Options{Dir: dir})
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
}

// Bytes that are not what was written are ErrDamaged wherever they are met, and
// so is a record that is gone without its counter.
func TestDamagedRecord(t *testing.T) {
	db := memory(t)
	require.NoError(t, db.Commit(ctx, func(tx *Tx) error {
		return errors.Join(tx.Set(edge, 1, []byte("a"), []byte("right")), tx.Set(edge, 1, []byte("b"), []byte("right")))
	}))
	key := appendKey(nil, edge, 1, []byte("a"))
	_, wrong := seal(key, []byte("right"))
	wrong[len(wrong)-1] ^= 1
	require.NoError(t, db.badger.Update(func(txn *badger.Txn) error { return txn.Set(key, wrong) }))
	require.NoError(t, db.View(func(tx *Tx) error {
		_, err := tx.Get(edge, 1, []byte("a"))
		require.ErrorIs(t, err, ErrDamaged)
		_, err = collect(tx, edge, 1, Scan{})
		require.ErrorIs(t, err, ErrDamaged)
		_, err = tx.Get(edge, 1, []byte("b"))
		return err
	}))
	err := db.Verify(ctx, edge)
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "d9 kind 1: record 1 of 2")
	require.NoError(t, db.badger.Update(func(txn *badger.Txn) error { return txn.Delete(key) }))
	require.ErrorContains(t, db.Verify(ctx, edge), "1 records")
}
