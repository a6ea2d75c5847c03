package keyspace

import (
	"os"
	"path/filepath"
	"sync/atomic"
)

// counters are what the committer counts, where it happens.
type counters struct {
	closures, commits, refused, merges, records, bytes, foreign atomic.Uint64
}

// Stats are counts since Open, and sizes now.
type Stats struct {
	Closures   uint64 // handed to the committer and run, or refused before running
	Commits    uint64 // of those, answered without an error
	Refused    uint64 // of those, answered with one
	Merges     uint64 // transactions written, one sync each
	Records    uint64 // records written or deleted, counters not among them
	Bytes      uint64 // bytes of keys and values of all that
	TableBytes int64  // tables on disk; 0 in memory
	FreeBytes  uint64 // free where the folder is; 0 in memory or unknown
	Foreign    uint64 // keys read back that were not of the namespace and kind asked for; must stay 0
	Failed     bool   // a write failed: no more are taken
}

// Stats reads the counters, the folder and the file system; it waits for nothing.
func (db *DB) Stats() Stats {
	s := Stats{
		Closures: db.stats.closures.Load(),
		Commits:  db.stats.commits.Load(),
		Refused:  db.stats.refused.Load(),
		Merges:   db.stats.merges.Load(),
		Records:  db.stats.records.Load(),
		Bytes:    db.stats.bytes.Load(),
		Foreign:  db.stats.foreign.Load(),
		Failed:   db.failed() != nil,
	}
	if db.options.Dir == "" {
		return s
	}
	s.FreeBytes, _ = db.options.FreeBytes(db.options.Dir)
	entries, _ := os.ReadDir(db.options.Dir)
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".sst" {
			continue
		}
		if info, err := e.Info(); err == nil {
			s.TableBytes += info.Size()
		}
	}
	return s
}
