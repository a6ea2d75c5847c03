package keyspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// Format is what new folders are; it is raised when an older release could no longer read
// a folder. What brings an older folder forward is the caller's, see Outdated:
//
//	1  the first
//	2  every record of an audit chain is an entry of the log of all chains
const Format = 2

// kindFormat is the kind of the format record in this package's own namespace.
const kindFormat = 1

// format is the record that says what the folder is.
type format struct {
	Format int    `json:"format"`
	Store  string `json:"store"`
	Epoch  string `json:"epoch,omitempty"` // "" until the store was restored from a backup
	// From is set while the folder is brought forward to Format: what its records are so far.
	// Older releases refuse it from its first step on.
	From int `json:"from,omitempty"`
}

func newer(found, newest int) error {
	return fmt.Errorf("format %d, this release reads up to %d: start the release that wrote it, or restore the backup that it took before into another folder; nothing was changed: %w", found, newest, ErrNewerFormat)
}

// readFormat reads the format record, or writes it into an empty database.
func (db *DB) readFormat() error {
	var raw []byte
	err := db.View(func(t *Tx) (err error) {
		t.key = appendKey(nil, own, kindFormat, nil)
		raw, err = t.get(own, kindFormat, nil)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		some, err := db.Namespaces(context.Background())
		if err != nil {
			return err
		}
		if len(some) > 0 {
			return fmt.Errorf("records but no format record: %w", ErrDamaged)
		}
		return db.writeFormat(format{Format: db.options.Format, Store: uuid.NewString()})
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &db.format); err != nil || db.format.Format < 1 || db.format.From < 0 {
		return fmt.Errorf("format record: %w", ErrDamaged)
	}
	if db.format.Format > db.options.Format {
		return newer(db.format.Format, db.options.Format)
	}
	return nil
}

// writeFormat commits a format record and takes it for the database's.
func (db *DB) writeFormat(f format) error {
	raw, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("format record: %w", err)
	}
	err = db.Commit(context.Background(), func(t *Tx) error {
		t.key = appendKey(nil, own, kindFormat, nil)
		return t.set(own, kindFormat, nil, raw)
	})
	if err == nil {
		db.format = f
	}
	return err
}

// Outdated returns the format that the records have and true where that is older than
// Options.Format: the folder is to be brought forward, by Advance, step by step, before
// anything else is done with it. started says that it was begun, and the folder may be
// between two formats.
func (db *DB) Outdated() (from int, started, outdated bool) {
	f := db.format
	if f.From != 0 {
		return f.From, true, true
	}
	return f.Format, false, f.Format < db.options.Format
}

// Advance notes that the records have format to; Outdated's from begins. After a kill Outdated
// says what was noted last. Not safe for concurrent use with anything.
func (db *DB) Advance(to int) error {
	f := db.format
	f.Format, f.From = db.options.Format, to
	if f.From == f.Format {
		f.From = 0
	}
	if err := db.writeFormat(f); err != nil {
		return fmt.Errorf("note format %d: %w", to, err)
	}
	if db.options.Dir == "" {
		return nil
	}
	// The state file turns older releases away before they open anything.
	return writeState(db.options.Dir, state{Format: f.Format, Version: db.badger.MaxVersion(), MemTableBytes: db.options.MemTableBytes, Files: db.before.Files})
}
