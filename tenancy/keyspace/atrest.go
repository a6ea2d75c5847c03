package keyspace

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/dgraph-io/badger/v4"
)

// What Badger's own checksums leave out, and may be damaged unseen: the random bytes at the
// head of logs and of KEYREGISTRY, which mean nothing without encryption, everything behind
// the first bad entry of a log, which Badger cuts off, and DISCARD. So a clean stop notes the
// size and the CRC-32C of every file in the state file, and CheckFiles compares. Open does
// not: it would read the whole store. After any other stop the sums of what never changes
// hold on, and logs are walked entry by entry.

// fileSum is what a file was at the last clean stop.
type fileSum struct {
	Size int64  `json:"size"`
	CRC  uint32 `json:"crc32c"`
}

const (
	keyRegistryName = "KEYREGISTRY"
	discardName     = "DISCARD"
)

// registrySanity stands in KEYREGISTRY behind 16 random bytes; where nothing is encrypted
// nothing follows.
const registrySanity = "Hello Badger"

// ownFile says whether a file in the folder is Badger's or a copy of one.
func ownFile(name string) bool {
	switch filepath.Ext(name) {
	case ".sst", ".mem", ".vlog":
		return true
	}
	return name == badger.ManifestFilename || name == manifestCopyName || name == keyRegistryName || name == discardName
}

// sumFile reads a file through.
func sumFile(path string) (s fileSum, err error) {
	f, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	h := crc32.New(castagnoli)
	s.Size, err = io.Copy(h, f)
	s.CRC = h.Sum32()
	return s, err
}

// folderFiles are the names of Badger's files in dir and of those in also that are there.
func folderFiles(dir string, also []string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && (ownFile(e.Name()) || slices.Contains(also, e.Name())) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// sums of the files of a folder that nobody has open. A table is never written again, and
// Badger counts their numbers up from what it found, so those that were summed when the
// folder was opened after a clean stop keep that sum: damage since then stays told. Files of
// others that were not named this time keep theirs, too.
func (db *DB) sums() (map[string]fileSum, error) {
	dir, before := db.options.Dir, db.before
	names, err := folderFiles(dir, db.options.Also)
	if err != nil {
		return nil, err
	}
	out := maps.Clone(before.Files)
	maps.DeleteFunc(out, func(name string, _ fileSum) bool { return ownFile(name) || slices.Contains(db.options.Also, name) })
	if out == nil {
		out = map[string]fileSum{}
	}
	for _, name := range names {
		if s, ok := before.Files[name]; ok && before.Clean && filepath.Ext(name) == ".sst" {
			out[name] = s
		} else if out[name], err = sumFile(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// lasting says whether a file is written once and never again.
func (o Options) lasting(name string) bool {
	return name == keyRegistryName || slices.Contains(o.Lasting, name)
}

// CheckFiles reads every file of the database in o.Dir, which nobody may have open
// (ErrLocked), before Open changes anything, and returns a sentence for each that is not as
// it was left. After a clean stop every bit of every file is covered, those of o.Also too.
// After another it is what logs, MANIFEST and the files that never change tell; tables are
// proven by Open then, and not covered are: the 12 random bytes at the head of a log, the
// bytes of a commit that was not finished, and, if there never was a clean stop, the first
// 16 bytes of KEYREGISTRY. None of these is ever read. A folder without a database has no
// problems. It needs Dir, Also and Lasting of o only.
func CheckFiles(ctx context.Context, o Options) (problems []string, err error) {
	if !Exists(o.Dir) {
		return nil, nil
	}
	lock, err := lockFolder(o.Dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	s, err := readState(o.Dir)
	if errors.Is(err, ErrDamaged) {
		problems, s = append(problems, err.Error()), state{}
	} else if err != nil {
		return nil, err
	}
	names, err := folderFiles(o.Dir, o.Also)
	if err != nil {
		return problems, err
	}
	if !s.Clean || s.Files == nil { // a release before sums stopped cleanly without them
		more, err := walkFiles(ctx, o, s, names)
		return append(problems, more...), err
	}
	for _, name := range names {
		if _, ok := s.Files[name]; !ok && ownFile(name) {
			problems = append(problems, name+": was not there at the last clean stop")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		if err := ctx.Err(); err != nil {
			return problems, err
		}
		p, err := compareFile(o.Dir, name, s.Files[name], false)
		if err != nil {
			return problems, err
		}
		if p != "" {
			problems = append(problems, p)
		}
	}
	return problems, nil
}

// compareFile returns what is wrong with a file, or "".
func compareFile(dir, name string, want fileSum, mayBeGone bool) (string, error) {
	got, err := sumFile(filepath.Join(dir, name))
	switch {
	case errors.Is(err, fs.ErrNotExist) && mayBeGone, err == nil && got == want:
		return "", nil
	case errors.Is(err, fs.ErrNotExist):
		return name + ": is missing", nil
	case err != nil:
		return "", fmt.Errorf("read %s: %w", name, err)
	case got.Size != want.Size:
		return fmt.Sprintf("%s: has %d bytes, %d at the last clean stop", name, got.Size, want.Size), nil
	}
	return name + ": its bytes are not those of the last clean stop", nil
}

// VerifyFiles reads, beside everything else, the files that are as the last clean stop left
// them, and returns a sentence for each that is not.
func (db *DB) VerifyFiles(ctx context.Context) (problems []string, err error) {
	if err := db.enter(); err != nil {
		return nil, err
	}
	defer db.users.Done()
	for _, name := range slices.Sorted(maps.Keys(db.before.Files)) {
		if err := ctx.Err(); err != nil {
			return problems, err
		}
		table := db.before.Clean && filepath.Ext(name) == ".sst"
		if !table && !db.options.lasting(name) {
			continue
		}
		p, err := compareFile(db.options.Dir, name, db.before.Files[name], table) // a table may be compacted away
		if err != nil {
			return problems, err
		}
		if p != "" {
			problems = append(problems, p)
		}
	}
	return problems, nil
}

// walkFiles looks at files that have no sums by what they have to be.
func walkFiles(ctx context.Context, o Options, s state, names []string) (problems []string, err error) {
	for name := range s.Files {
		if o.lasting(name) && !slices.Contains(names, name) {
			problems = append(problems, name+": is missing")
		}
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return problems, err
		}
		path := filepath.Join(o.Dir, name)
		p := ""
		if sum, ok := s.Files[name]; ok && o.lasting(name) {
			p, err = compareFile(o.Dir, name, sum, false)
		} else {
			p, err = walkFile(path, name)
		}
		if err != nil {
			return problems, fmt.Errorf("read %s: %w", name, err)
		}
		if p != "" {
			problems = append(problems, name+": "+p)
		}
	}
	return problems, nil
}

func walkFile(path, name string) (problem string, err error) {
	switch {
	case name == keyRegistryName:
		b, err := os.ReadFile(path)
		if err == nil && (len(b) != 16+len(registrySanity) || string(b[16:]) != registrySanity) {
			problem = "is not what Badger writes without encryption"
		}
		return problem, err
	case name == discardName: // it counts in value logs, where nothing is
		return zeroFrom(path, 0)
	case name == badger.ManifestFilename || name == manifestCopyName:
		return walkManifest(path)
	case filepath.Ext(name) == ".vlog": // values stay in the tables: there are no entries
		return zeroFrom(path, logHead)
	case filepath.Ext(name) == ".mem":
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		return walkLog(b), nil
	}
	return "", nil
}

// zeroFrom finds bytes other than zero in a log without entries: in the first eight, which
// are the number of a key where there is encryption, or from a place on.
func zeroFrom(path string, from int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	room, zeros := make([]byte, 256<<10), make([]byte, 256<<10)
	for at := int64(0); ; {
		n, err := f.Read(room)
		if !bytes.Equal(room[:n], zeros[:n]) {
			for i, c := range room[:n] {
				if c != 0 && (at+int64(i) >= from || at+int64(i) < 8) {
					return fmt.Sprintf("byte %d is %d, it has to be 0", at+int64(i), c), nil
				}
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
	}
}

// walkManifest reads all entries; Badger takes one that is cut for the end.
func walkManifest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	_, whole, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions("").WithLogger(nil))
	if err != nil {
		return "an entry is damaged", nil //nolint:nilerr // it is what was looked for
	}
	if whole != info.Size() {
		return fmt.Sprintf("%d bytes behind its last whole entry", info.Size()-whole), nil
	}
	return "", nil
}

// Badger's write-ahead files: 20 bytes of head, the number of a key and 12 random ones; then
// entries, each
//
//	meta (1) | user meta (1) | length of the key (uvarint) | of the value | expiry | key | value | CRC-32C (4, big endian)
//
// those of a commit marked with bitTxn, their keys ending in its version, and behind them an
// entry with bitFinTxn under markKey. What was asked for ahead is zero.
const (
	logHead   = 20
	bitTxn    = 1 << 6
	bitFinTxn = 1 << 7
	markKey   = "!badger!txn"
)

type logEntry struct {
	meta byte
	key  []byte
	size int // of the whole; of what it says of itself, where it is not right
}

// parseEntry reads the entry that b begins with. right says that its checksum is.
func parseEntry(b []byte) (e logEntry, right bool) {
	if len(b) < 5 || b[1] != 0 {
		return e, false
	}
	e.meta = b[0]
	at := 2
	var n [3]uint64 // key, value, expiry
	for i := range n {
		v, size := binary.Uvarint(b[at:])
		if size <= 0 {
			return e, false
		}
		n[i] = v
		at += size
	}
	if n[0] == 0 || n[0] > 1<<16 || n[1] > uint64(len(b)) {
		return e, false
	}
	e.size = at + int(n[0]) + int(n[1]) + crc32.Size
	if e.size > len(b) {
		return e, false
	}
	e.key = b[at : at+int(n[0])]
	end := e.size - crc32.Size
	return e, crc32.Checksum(b[:end], castagnoli) == binary.BigEndian.Uint32(b[end:])
}

// version is that of the commit whose entry has key: Badger appends what is missing to the
// largest number, so that later ones come first.
func version(key []byte) uint64 {
	if len(key) < 8 {
		return 0
	}
	return ^binary.BigEndian.Uint64(key[len(key)-8:])
}

// mark is the entry that ends the commit of a version.
func mark(version uint64) []byte {
	value := strconv.FormatUint(version, 10)
	b := []byte{bitFinTxn, 0, byte(len(markKey) + 8), byte(len(value)), 0}
	b = append(b, markKey...)
	b = binary.BigEndian.AppendUint64(b, ^version)
	b = append(b, value...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// walkLog says what is wrong with a write-ahead file, or "". A commit that a kill cut short
// is in order, and its bytes are read by nobody.
func walkLog(b []byte) string {
	if len(b) < logHead {
		return ""
	}
	if binary.BigEndian.Uint64(b) != 0 {
		return "it names a key, and nothing here is encrypted"
	}
	at, open := logHead, uint64(0) // the commit that is under way
	for at < len(b) {
		e, right := parseEntry(b[at:])
		if !right {
			break
		}
		switch {
		case e.meta&bitFinTxn != 0:
			open = 0
		case e.meta&bitTxn != 0:
			open = version(e.key)
		}
		at += e.size
	}
	rest := b[at:]
	used := len(bytes.TrimRight(rest, "\x00"))
	if used == 0 {
		return ""
	}
	// The writer goes on only when a commit is on disk: a mark behind a bad entry is of one
	// that was finished.
	for from := 0; ; {
		i := bytes.Index(rest[from:], []byte(markKey))
		if i < 0 {
			break
		}
		i += from
		if i >= 5 {
			if e, right := parseEntry(rest[i-5:]); right && e.meta&bitFinTxn != 0 {
				return fmt.Sprintf("the entry at byte %d is damaged, and finished commits follow it", at)
			}
		}
		from = i + 1
	}
	if open != 0 && nearly(rest, mark(open)) {
		return fmt.Sprintf("the mark of the last commit, at byte %d, is damaged", at)
	}
	e, _ := parseEntry(rest)
	if e.size == 0 || e.meta&^1 != bitTxn && e.meta&^1 != bitTxn|1<<2 && e.meta != bitFinTxn || used > e.size {
		return fmt.Sprintf("bytes behind its end, at byte %d", at)
	}
	return ""
}

// nearly says that b begins with want but for a byte or two: what a flipped bit leaves, and
// a write that was cut short does not.
func nearly(b, want []byte) bool {
	if len(b) < len(want) {
		return false
	}
	differ := 0
	for i, c := range want {
		if b[i] != c {
			differ++
		}
	}
	return differ <= 2
}

// reportLogs logs, after a stop that was not clean, which write-ahead files are damaged:
// Badger goes on with what stands before, and cuts them.
func reportLogs(o Options) {
	names, _ := filepath.Glob(filepath.Join(o.Dir, "*.mem"))
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // Badger says so
		}
		if p := walkLog(b); p != "" {
			o.Logger.Error("a write-ahead file is damaged: what follows the place is lost, restore a backup", "file", filepath.Base(name), "problem", p)
		}
	}
}
