package keyspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// verifyAtStartRecords is the most records of System that are read through at an
// open after an unclean stop: about a tenth of a second.
const verifyAtStartRecords = 100_000

// DB is an open database. It is safe for concurrent use; closures run in Commit
// one after another, those in View side by side.
type DB struct {
	options Options
	badger  *badger.DB
	lock    *os.File // nil in memory
	format  format
	queue   chan *request
	stopped chan struct{} // closed when the committer is done
	clean   bool          // the last stop was
	before  state         // the folder when it was opened

	mu     sync.RWMutex // guards closed, so that users never grows behind Close
	closed bool
	users  sync.WaitGroup

	banned  atomic.Pointer[map[uint64]struct{}]
	failure atomic.Pointer[error]
	stats   counters

	commitWith atomic.Value // func(*badger.Txn) error in tests, see commitTxn
}

// Open opens the database in o.Dir, or makes it. Only one process may have it
// open (ErrLocked). It returns ErrNewerFormat, ErrLostManifest, ErrDamaged for
// what it does not understand, and ErrDiskFull when there is no room to open at
// all; the message says what to do. After an unclean stop Badger may end the
// process from a goroutine of its own over a damaged table: see Probe.
func Open(o Options) (*DB, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("keyspace options: %w", err)
	}
	db := &DB{options: o, queue: make(chan *request, queueLength), stopped: make(chan struct{}), clean: true}
	if err := db.open(); err != nil {
		return nil, err
	}
	return db, nil
}

func (db *DB) open() (err error) {
	o := &db.options
	var before state
	if o.Dir != "" {
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			return fmt.Errorf("make the data folder: %w", err)
		}
		if db.lock, err = lockFolder(o.Dir); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				db.lock.Close()
			}
		}()
		if before, err = guard(o.Dir, o.Format); err != nil {
			return fmt.Errorf("%s: %w", o.Dir, err)
		}
		db.clean, db.before = before.Clean, before
		if !before.Clean {
			reportLogs(*o)
		}
		// A write-ahead file made with bigger memtables does not fit smaller ones.
		o.MemTableBytes = max(o.MemTableBytes, before.MemTableBytes)
		if err := db.room(2 * uint64(o.MemTableBytes)); err != nil {
			return fmt.Errorf("open needs room: %w", err)
		}
	}
	if db.badger, err = openBadger(*o); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			db.badger.Close()
		}
	}()
	banned := map[uint64]struct{}{}
	for _, n := range db.badger.BannedNamespaces() {
		banned[n] = struct{}{}
	}
	db.banned.Store(&banned)
	c := &committer{db: db}
	go c.run()
	defer func() {
		if err != nil {
			close(db.queue)
			<-db.stopped
		}
	}()
	if err = db.checkOpened(before); err != nil {
		return err
	}
	if o.Dir == "" {
		return nil
	}
	if err = writeState(o.Dir, state{Format: db.format.Format, Version: db.badger.MaxVersion(), MemTableBytes: o.MemTableBytes, Files: before.Files}); err != nil {
		return err
	}
	return db.makeBallast()
}

// levelZeroTables is how many flushed memtables start a compaction.
const levelZeroTables = 10

// openBadger opens Badger as store measurements say (docs in doc.go). A panic in
// this goroutine is ErrDamaged; one in Badger's own cannot be caught.
func openBadger(o Options) (b *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			b, err = nil, fmt.Errorf("%s: Badger panicked while opening: %w", o.Dir, ErrDamaged)
		}
	}()
	bo := badger.DefaultOptions(o.Dir).
		WithInMemory(o.Dir == "").
		WithLogger(quiet{o.Logger}).
		WithSyncWrites(true).
		WithMemTableSize(o.MemTableBytes).
		WithNumMemtables(2).
		WithBlockCacheSize(o.BlockCacheBytes).
		WithIndexCacheSize(o.IndexCacheBytes).
		WithNumCompactors(2).
		// A compaction writes the level below again, so it waits for ten tables, and that
		// level takes as much as they do: RocksDB's rule for the least rewriting (Tuning
		// Guide, on level-style compaction). With five tables and 64 MiB compactions wrote
		// six bytes for each that came into a store of some 200 MB, with these one
		// (ARCHITECTURE.md, Memory), and commits wait for the disk meanwhile.
		WithNumLevelZeroTables(levelZeroTables).
		WithNumLevelZeroTablesStall(2 * levelZeroTables).
		WithBaseLevelSize(levelZeroTables * o.MemTableBytes).
		WithValueLogFileSize(64 << 20).
		WithValueThreshold(1 << 20).
		WithCompression(options.Snappy).
		// Every table is read once at open, and damage is then a clean error;
		// OnBlockRead answers "not found" for a damaged block instead.
		WithChecksumVerificationMode(options.OnTableRead).
		WithMetricsEnabled(false).
		WithNumGoroutines(2).
		WithNamespaceOffset(1).
		// The committer is the only writer: there is nobody to conflict with.
		WithDetectConflicts(false)
	b, err = badger.Open(bo)
	if err != nil {
		// A *badger.DB that comes with an error must not be touched.
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOSPC) {
			return nil, fmt.Errorf("%s: Badger cannot open: %w", o.Dir, redacted{err})
		}
		return nil, fmt.Errorf("%s: Badger cannot open: %w: %w", o.Dir, ErrDamaged, redacted{err})
	}
	return b, nil
}

// checkOpened compares what Badger opened with what the folder says it holds.
func (db *DB) checkOpened(before state) error {
	if v := db.badger.MaxVersion(); v < before.Version {
		return fmt.Errorf("%s: the last commit there is %d, %d was on disk before: restore a backup: %w", db.options.Dir, v, before.Version, ErrDamaged)
	}
	if err := db.readFormat(); err != nil {
		return err
	}
	if db.clean {
		return nil
	}
	var u Usage
	err := db.View(func(t *Tx) (err error) { u, err = t.Usage(System); return err })
	if err == nil && u.Records <= verifyAtStartRecords {
		err = db.Verify(context.Background(), System)
	}
	if err != nil {
		return fmt.Errorf("after an unclean stop: %w", err)
	}
	return nil
}

// StoreID is the random id the store got when it was made.
func (db *DB) StoreID() string { return db.format.Store }

// CleanStart says whether the last stop was a Close, or there was none.
func (db *DB) CleanStart() bool { return db.clean }

// Close refuses new work with ErrClosed, waits for what is under way, closes
// Badger and marks the stop as clean. A second Close returns ErrClosed. It must
// not be called from inside a closure.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return ErrClosed
	}
	db.closed = true
	db.mu.Unlock()
	db.users.Wait()
	close(db.queue)
	<-db.stopped
	version := db.badger.MaxVersion()
	err := db.badger.Close()
	if err != nil {
		err = fmt.Errorf("close: %w", redacted{err})
	}
	if db.options.Dir == "" {
		return err
	}
	defer db.lock.Close()
	if err != nil || db.failed() != nil {
		return err // not a clean stop: the next open looks twice
	}
	if err := copyManifest(db.options.Dir); err != nil {
		return err
	}
	files, err := db.sums()
	if err != nil { // CheckFiles then does with less
		db.options.Logger.Warn("no checksums of the data folder", "error", err)
		files = nil
	}
	return writeState(db.options.Dir, state{Format: db.format.Format, Clean: true, Version: version, MemTableBytes: db.options.MemTableBytes, Files: files})
}

// enter counts a user in; Close waits until users.Done was called for it.
func (db *DB) enter() error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return ErrClosed
	}
	db.users.Add(1)
	return nil
}

// View runs f over a snapshot of what was committed, in the caller's goroutine.
// Writes in it are ErrReadOnly. It returns f's error, or ErrClosed.
func (db *DB) View(f func(*Tx) error) error {
	if err := db.enter(); err != nil {
		return err
	}
	defer db.users.Done()
	txn := db.badger.NewTransaction(false)
	defer txn.Discard()
	t := &Tx{db: db, base: txn}
	defer func() { t.done = true }()
	return f(t)
}

// fail makes err the answer to every later write.
func (db *DB) fail(err error) { db.failure.CompareAndSwap(nil, &err) }

func (db *DB) failed() error {
	if p := db.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// room returns ErrDiskFull if less than least is free.
func (db *DB) room(least uint64) error {
	if db.options.Dir == "" {
		return nil
	}
	free, err := db.options.FreeBytes(db.options.Dir)
	if err != nil {
		return fmt.Errorf("ask for free space: %w", err)
	}
	if free < least {
		return fmt.Errorf("%d MiB free, %d needed; make room, or delete the file %q in the data folder: %w", free>>20, least>>20, ballastName, ErrDiskFull)
	}
	return nil
}
