package keyspace

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
)

const (
	// MaxClosureEntries is the most records one closure may write, its
	// namespaces' counters included; it is also the most of a merge.
	MaxClosureEntries = 20_000
	// MaxClosureBytes is the most bytes of keys and values as stored that one
	// closure may write, and the most of a merge. Badger takes 15 % of a memtable
	// in a transaction, its own 12 bytes a record included: 2,516,582 of 16 MiB.
	MaxClosureBytes = 2_000_000
	// maxMergeClosures bounds a merge of closures that write little or nothing,
	// so that the first in it is not kept waiting by those behind.
	maxMergeClosures = 1024
	// queueLength is how many closures wait without blocking their callers' send.
	queueLength = 256
)

// A request's state goes from waiting to started or dropped, never back.
const (
	waiting int32 = iota
	started
	dropped
)

// request is one closure on its way through the committer.
type request struct {
	f     func(*Tx) error
	solo  func() error // runs between merges, in place of f
	state atomic.Int32
	err   error
	done  chan struct{}
}

// Commit hands f to the committer and returns nil once the merge that holds f's
// writes is synced to disk. f runs once, in the committer's goroutine, so it must
// be short and must not call Commit or Close itself; it sees what earlier closures wrote.
//
// If f returns an error that error comes back and none of f's writes join; a
// neighbour is not touched by it. If f does not fit (ErrTooBig), panics or ends
// its goroutine (ErrPanicked), the same. ErrDiskFull: f did not run. If the merge
// cannot be written everyone in it gets the error, and nothing of it was
// acknowledged. ctx's error comes back only if f has not started and never will.
func (db *DB) Commit(ctx context.Context, f func(*Tx) error) error {
	return db.send(ctx, &request{f: f, done: make(chan struct{})})
}

func (db *DB) send(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := db.enter(); err != nil {
		return err
	}
	defer db.users.Done()
	select {
	case db.queue <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		if r.state.CompareAndSwap(waiting, dropped) {
			return ctx.Err()
		}
		<-r.done
		return r.err
	}
}

// committer is the one writer. Badger has no group commit: a synced transaction
// costs a millisecond however little is in it, so waiting closures are merged
// into one. And since nothing is written but here, read-modify-write needs no
// conflict detection: a counter read by one closure cannot change under it.
type committer struct {
	db       *DB
	base     *badger.Txn // snapshot the merge stands on; nil between merges
	merge    *overlay
	answers  []*request // ran, wait for the sync
	current  *request   // runs
	finished bool
}

// run serves the queue until it is closed. A closure that ends its goroutine
// (runtime.Goexit, as a failing test does) ends this one: the next takes over.
func (c *committer) run() {
	defer func() {
		if c.finished {
			close(c.db.stopped)
			return
		}
		if c.current == nil {
			return // a panic of our own or of Badger's goes its way
		}
		c.answer(c.current, ErrPanicked)
		c.current = nil
		go c.run()
	}()
	for {
		var r *request
		ok := true
		if c.base == nil {
			r, ok = <-c.db.queue
		} else {
			select {
			case r, ok = <-c.db.queue:
			default:
				c.flush()
				continue
			}
		}
		if !ok {
			c.flush()
			c.finished = true
			return
		}
		c.take(r)
	}
}

// take runs one closure and lets its writes join the merge.
func (c *committer) take(r *request) {
	if !r.state.CompareAndSwap(waiting, started) {
		return
	}
	c.db.stats.closures.Add(1)
	if r.solo != nil {
		c.flush()
		c.answer(r, r.solo())
		return
	}
	if err := c.begin(); err != nil {
		c.answer(r, err)
		return
	}
	tx := &Tx{db: c.db, base: c.base, merge: c.merge, own: newOverlay()}
	c.current = r
	err := call(r.f, tx)
	c.current = nil
	if err == nil {
		err = tx.failed
	}
	if err != nil {
		// A refusal may rest on what an earlier closure of the merge wrote, so it
		// too is told after the sync.
		r.err = err
		c.answers = append(c.answers, r)
		c.flushIfFull()
		return
	}
	if c.merge.entries()+tx.own.entries() > MaxClosureEntries || c.merge.bytes()+tx.own.bytes() > MaxClosureBytes {
		// What the closure read is what will be in Badger after this flush, so it
		// need not run again; if the flush fails it read what never was.
		err := c.flush()
		if err == nil {
			err = c.begin()
		}
		if err != nil {
			c.answer(r, err)
			return
		}
	}
	c.merge.join(tx.own)
	c.answers = append(c.answers, r)
	c.flushIfFull()
}

// call runs f; a panic is an error. It marks tx as over however f ends.
func call(f func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		tx.done = true
		if p := recover(); p != nil {
			// The value is not printed: it may hold what must not reach a log.
			err = fmt.Errorf("%w: panic with a %T", ErrPanicked, p)
			if e, ok := p.(error); ok {
				err = fmt.Errorf("%w: panic: %w", ErrPanicked, e)
			}
		}
	}()
	return f(tx)
}

// begin starts a merge unless one is under way. It refuses with ErrDiskFull
// while there is room to be safe: a full disk is a SIGBUS inside Badger.
func (c *committer) begin() error {
	if c.base != nil {
		return nil
	}
	if err := c.db.failed(); err != nil {
		return err
	}
	if err := c.db.room(c.db.options.MinFreeBytes); err != nil {
		return err
	}
	c.base, c.merge = c.db.badger.NewTransaction(false), newOverlay()
	return nil
}

func (c *committer) flushIfFull() {
	if len(c.answers) >= maxMergeClosures || c.merge.entries() >= MaxClosureEntries || c.merge.bytes() >= MaxClosureBytes {
		c.flush()
	}
}

// flush writes the merge in one transaction, waits for the sync, and answers.
func (c *committer) flush() error {
	if c.base == nil {
		return nil
	}
	c.base.Discard()
	err := c.write()
	if err == nil && c.merge.records > 0 {
		c.db.stats.merges.Add(1)
		c.db.stats.records.Add(uint64(c.merge.records))
		c.db.stats.bytes.Add(uint64(c.merge.bytes()))
	}
	for _, r := range c.answers {
		if err != nil {
			c.answer(r, err)
		} else {
			c.answer(r, r.err)
		}
	}
	clear(c.answers)
	c.base, c.merge, c.answers = nil, nil, c.answers[:0]
	return err
}

func (c *committer) write() error {
	if c.merge.entries() == 0 {
		return nil
	}
	txn := c.db.badger.NewTransaction(true)
	defer txn.Discard()
	put := func(key, stored []byte) error {
		if stored == nil {
			return txn.Delete(key)
		}
		return txn.Set(key, stored)
	}
	for _, b := range c.merge.buckets {
		for _, w := range b.byRest {
			if err := put(w.key, w.stored); err != nil {
				return writeError(err)
			}
		}
	}
	for ns, u := range c.merge.usage {
		key, stored := seal(appendKey(nil, ns, kindUsage, nil), u.encode())
		if u == (Usage{}) {
			stored = nil // an empty namespace leaves no trace
		}
		if err := put(key, stored); err != nil {
			return writeError(err)
		}
	}
	if err := c.db.commitTxn(txn); err != nil {
		err = writeError(err)
		if !errors.Is(err, ErrTooBig) {
			c.db.fail(err)
		}
		return err
	}
	return nil
}

// commitTxn commits and syncs a transaction; a test can put a failure in its place.
func (db *DB) commitTxn(txn *badger.Txn) error {
	if f, ok := db.commitWith.Load().(func(*badger.Txn) error); ok {
		return f(txn)
	}
	return txn.Commit()
}

func (c *committer) answer(r *request, err error) {
	r.err = err
	if err != nil {
		c.db.stats.refused.Add(1)
	} else {
		c.db.stats.commits.Add(1)
	}
	close(r.done)
}

// writeError drops Badger's text, which may dump a key or a value.
func writeError(err error) error {
	switch {
	case errors.Is(err, badger.ErrTxnTooBig):
		return fmt.Errorf("merge refused by Badger: %w", ErrTooBig)
	case errors.Is(err, badger.ErrBannedKey):
		return fmt.Errorf("merge refused by Badger: %w", ErrBanned)
	}
	return fmt.Errorf("%w: %w", ErrWriteFailed, redacted{err})
}
