package keyspace

import (
	"fmt"
	"log/slog"
)

const (
	// minMemTableBytes is what a merge of MaxClosureBytes needs: Badger takes
	// transactions of at most 15 % of a memtable.
	minMemTableBytes = 16 << 20
	// minFreeBytes is the least of Options.MinFreeBytes' default.
	minFreeBytes = 256 << 20
	// ballastBytes is the size of the ballast file.
	ballastBytes = 64 << 20
)

// Options of Open. A zero field means its default.
type Options struct {
	// Dir is the folder of the database, made if absent. Empty means in memory,
	// which is for tests: nothing outlives Close.
	Dir string
	// MemTableBytes is the size of a memtable, 16 MiB by default and at least.
	MemTableBytes int64
	// BlockCacheBytes bounds decompressed blocks in memory; 32 MiB by default.
	BlockCacheBytes int64
	// IndexCacheBytes bounds table indices in memory; 16 MiB by default.
	IndexCacheBytes int64
	// MinFreeBytes is what must be free on the disk for a write to be taken;
	// max(256 MiB, 8 x MemTableBytes) by default. A write to a mapped file on a
	// full disk is a SIGBUS that nobody can catch, so Badger never gets there.
	MinFreeBytes uint64
	// FreeBytes says what is free where dir is; the file system is asked by
	// default. It is called from the committer before every merge.
	FreeBytes func(dir string) (uint64, error)
	// Format is the newest format that is known, Format by default; tests know of others.
	Format int
	// Also names files of others in Dir that CheckFiles covers like the database's own, as
	// they are when it is closed; Lasting those that never change once they are there.
	Also, Lasting []string
	// Logger gets Badger's warnings and errors, cleaned of keys and values; none by default.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.MemTableBytes == 0 {
		o.MemTableBytes = minMemTableBytes
	}
	if o.BlockCacheBytes == 0 {
		o.BlockCacheBytes = 32 << 20
	}
	if o.IndexCacheBytes == 0 {
		o.IndexCacheBytes = 16 << 20
	}
	if o.Format == 0 {
		o.Format = Format
	}
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = max(minFreeBytes, 8*uint64(max(o.MemTableBytes, 0)))
	}
	if o.FreeBytes == nil {
		o.FreeBytes = freeBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() error {
	if o.MemTableBytes < minMemTableBytes {
		return fmt.Errorf("MemTableBytes is %d, at least %d is needed", o.MemTableBytes, minMemTableBytes)
	}
	if o.BlockCacheBytes < 0 || o.IndexCacheBytes < 0 {
		return fmt.Errorf("cache sizes must not be negative")
	}
	return nil
}
