// Package keyspace is Badger opened rightly: closed namespaces of records, one
// writer, exact counters, and damage that is reported and never served. Nothing
// outside this package imports Badger, and only tenancy imports this one.
//
// # Keys and values
//
//	key    = family (1, a letter) | number (8, big endian) | kind (1) | rest (0 to MaxRest)
//	stored = CRC-32C of key and value (4, big endian) | value (0 to MaxValue)
//
// A Namespace is a family and a number; a Tx takes namespace, kind and rest apart,
// so no rest can lead out of its namespace. Badger reads the eight bytes behind the
// family as its namespace number, which is what Ban bans; every key has at least ten
// bytes because Badger's ban looks only at keys longer than nine. Kind 0 holds the
// namespace's counter (Usage). Upper-case families are this package's own: K0 holds
// the format record.
//
// # Writing
//
// Badger syncs every transaction by itself. So writes are closures, and one
// goroutine, the committer, runs them one after another and merges them (committer.go):
//
//	Commit -> queue -> run on a snapshot + the merge so far, writes into an overlay
//	       -> no error: the overlay joins the merge; an error: it is dropped
//	       -> queue empty or merge full: one transaction, one sync -> all are answered
//
// A closure runs at most once, sees every earlier one, and is answered after the
// sync of the merge it ran in, its refusal too. The counters of the namespaces it
// wrote change with it. A failed sync fails the merge and every write after it
// (ErrWriteFailed), since what the disk holds is then unknown.
//
// # What Badger is set to, and why
//
// SyncWrites on: without it a power cut loses acknowledged records. Values stay in
// the LSM tree (threshold 1 MiB, values at most 256 KiB), since damage to the value
// log comes back as wrong bytes. Table checksums are read at open (OnTableRead):
// OnBlockRead makes a damaged block read as "not found". Small memtables and caches,
// Snappy, no metrics: a machine with 1 GB is enough. Conflict detection off: there is
// one writer. Badger's log messages go on without their arguments, which hold keys.
//
// # The folder
//
//	alcove.lock     held by the process that has the folder open (ErrLocked)
//	alcove.state    format, clean or not, last commit, sizes and checksums of all files (state)
//	MANIFEST.clean  MANIFEST as the last Close left it
//	ballast-…       64 MiB an operator may delete on a full disk; made again when there is room
//	the rest        Badger's
//
// Open looks at the folder before Badger does (guard.go), because Badger opens empty
// over a lost MANIFEST and deletes the tables. Afterwards it compares the last commit
// and, if the last stop was not clean, reads System through. Damage to a write-ahead
// file after an unclean stop is beyond that: Badger cuts it at the first bad record,
// in which every merge, with its counters, is there or not as a whole; it is logged.
//
// CheckFiles looks at every bit of a folder that nobody has open, before Open mends
// anything (atrest.go): against the sums of a clean stop, or by what logs tell.
//
// Outdated and Advance are how a caller brings the records of an earlier format forward
// (format.go).
//
// Some damage ends the process from a goroutine of Badger's. Who must not loop over
// that asks CleanStop, and after an unclean one runs Probe in a child process first.
//
// Before each merge the free space is asked for (ErrDiskFull below MinFreeBytes): a
// full disk is a SIGBUS in a mapped write.
package keyspace
