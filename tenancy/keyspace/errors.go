package keyspace

import "errors"

// What can go wrong here. Every error of this package wraps one of these, a
// context's error, the error of a closure, or an error of the file system; its
// text never holds a key or a value.
var (
	// ErrNotFound: the namespace holds no such record.
	ErrNotFound = errors.New("keyspace: no such record")
	// ErrTooBig: a key, a value, or the writes of one closure exceed MaxRest,
	// MaxValue, MaxClosureEntries or MaxClosureBytes. Nothing of the closure was written.
	ErrTooBig = errors.New("keyspace: too big for one commit")
	// ErrDiskFull: less is free than Options.MinFreeBytes. Reads go on; a write
	// may be tried again once there is room.
	ErrDiskFull = errors.New("keyspace: the disk is nearly full, writes are refused")
	// ErrClosed: the database is closed or closing, or a Tx is used after its closure.
	ErrClosed = errors.New("keyspace: closed")
	// ErrDamaged: bytes came back that were not written, or records are missing.
	ErrDamaged = errors.New("keyspace: stored data is damaged")
	// ErrBanned: the namespace's number was banned; it is never used again.
	ErrBanned = errors.New("keyspace: namespace is banned")
	// ErrReadOnly: a write inside View.
	ErrReadOnly = errors.New("keyspace: read-only transaction")
	// ErrBadKey: a family that is not a lower-case letter, or kind 0.
	ErrBadKey = errors.New("keyspace: bad family or kind")
	// ErrStop ends a Scan early; Scan then returns nil.
	ErrStop = errors.New("keyspace: stop scanning")
	// ErrNewerFormat: the folder was written by a newer release.
	ErrNewerFormat = errors.New("keyspace: the data folder has a newer format than this release reads")
	// ErrLocked: another process has the folder open.
	ErrLocked = errors.New("keyspace: another process has the data folder open")
	// ErrLostManifest: the list of tables is gone or cut while tables are there.
	// Badger would open empty and delete them, so it is not asked.
	ErrLostManifest = errors.New("keyspace: the table list (MANIFEST) is lost or cut while tables are there")
	// ErrWriteFailed: the disk failed a write or a sync. What was written is not
	// known, so every later write is refused with it until the folder is opened anew.
	ErrWriteFailed = errors.New("keyspace: a write failed, no more are taken until a restart")
	// ErrPanicked: the closure panicked or ended its goroutine; none of its writes joined.
	ErrPanicked = errors.New("keyspace: a commit closure did not return")
)
