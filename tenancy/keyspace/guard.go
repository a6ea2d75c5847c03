package keyspace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

const (
	lockName         = "alcove.lock"
	stateName        = "alcove.state"
	ballastName      = "ballast-delete-me-if-the-disk-is-full"
	manifestCopyName = "MANIFEST.clean"
)

// maxEarlyOrphans is how many tables may stand in a folder whose MANIFEST lists
// none: flushes cut short before their first entry, at most one a memtable and
// one being made.
const maxEarlyOrphans = 3

// state is the file that says how the folder was left. It is read before Badger
// touches anything.
type state struct {
	Format        int    `json:"format"`
	Clean         bool   `json:"clean"`
	Version       uint64 `json:"version"` // Badger's last commit when the file was written
	MemTableBytes int64  `json:"mem_table_bytes"`
	// Files of the folder as the last clean stop left them, by name; of a release that
	// noted none it is nil.
	Files map[string]fileSum `json:"files,omitempty"`
	// Sum is the CRC-32C of this file with an empty Sum, in hexadecimal.
	Sum string `json:"sum,omitempty"`
}

// encode returns the bytes of the state file, with their sum in them.
func (s state) encode() ([]byte, error) {
	s.Sum = ""
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("state file: %w", err)
	}
	s.Sum = fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli))
	b, err = json.Marshal(s)
	return append(b, '\n'), err
}

// CleanStop says whether the database in dir was closed the last time, or was
// never opened. After any other stop Probe in a child process comes first.
func CleanStop(dir string) bool {
	s, err := readState(dir)
	return err == nil && s.Clean
}

// Exists says whether there is a database in dir, whole or damaged. Of a folder
// that cannot be read it says yes: opening it tells why.
func Exists(dir string) bool {
	for _, name := range []string{stateName, badger.ManifestFilename} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	files, err := dataFiles(dir)
	return err != nil || len(files) > 0
}

// Probe opens the database and closes it again. Called in a child process it
// tells whether the folder can be opened: over some damage Badger ends the
// process from a goroutine of its own, and then it is the child that dies. It
// does the recovery an unclean stop asks for, which Open then need not repeat.
func Probe(dir string) error {
	db, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	return db.Close()
}

// readState returns the state file; a folder without data is a clean one.
func readState(dir string) (state, error) {
	b, err := os.ReadFile(filepath.Join(dir, stateName))
	if errors.Is(err, fs.ErrNotExist) {
		files, err := dataFiles(dir)
		return state{Clean: len(files) == 0}, err
	}
	if err != nil {
		return state{}, fmt.Errorf("read %s: %w", stateName, err)
	}
	var s state
	if err := json.Unmarshal(b, &s); err == nil && s.Format > Format {
		return s, nil // a newer release may write it otherwise
	} else if err != nil || s.MemTableBytes < 0 || s.MemTableBytes > 1<<30 || !s.wrote(b) {
		// It is written by a rename: a file like this was changed by somebody.
		return state{}, fmt.Errorf("%s is not as it was written; without the file the store opens as after a crash: %w", stateName, ErrDamaged)
	}
	return s, nil
}

// wrote says whether b is what encode makes of s, to the bit, or what a release before sums did.
func (s state) wrote(b []byte) bool {
	var want []byte
	var err error
	if s.Sum != "" {
		want, err = s.encode()
	} else if want, err = json.Marshal(s); err == nil {
		want = append(want, '\n')
	}
	return err == nil && bytes.Equal(b, want)
}

func writeState(dir string, s state) error {
	b, err := s.encode()
	if err != nil {
		return err
	}
	return writeFile(dir, stateName, b)
}

// writeFile puts a file in place whole and synced, or leaves the old one.
func writeFile(dir, name string, b []byte) error {
	tmp := filepath.Join(dir, name+".tmp")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir, name))
	}
	if err == nil {
		err = syncFolder(dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// dataFiles are the tables and write-ahead files in dir.
func dataFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read the data folder: %w", err)
	}
	var out []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".sst" || ext == ".mem" {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// guard looks at the folder before Badger does. Badger opens empty when its
// MANIFEST is gone or cut, and then deletes every table not named in it; so a
// MANIFEST that does not fit the folder is ErrLostManifest.
//
// After a clean stop it must be, byte for byte, what Close saw. After any other
// it may have grown, been rewritten or have a torn last entry, so only what
// cannot come from a crash is refused: absence, being a mere beginning of the
// copy, or naming nothing while tables are there.
func guard(dir string, newest int) (state, error) {
	s, err := readState(dir)
	if err != nil {
		return s, err
	}
	if s.Format > newest {
		return s, newer(s.Format, newest)
	}
	files, err := dataFiles(dir)
	if err != nil {
		return s, err
	}
	manifest, err := os.ReadFile(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		if len(files) == 0 && s.Version == 0 {
			return s, nil
		}
		return s, lost("it is missing")
	} else if err != nil {
		return s, fmt.Errorf("read MANIFEST: %w", err)
	}
	copied, err := os.ReadFile(filepath.Join(dir, manifestCopyName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("read %s: %w", manifestCopyName, err)
	}
	switch {
	case err != nil: // never closed cleanly
	case s.Clean && !bytes.Equal(manifest, copied):
		return s, lost("it is not what the last clean stop left")
	case len(manifest) < len(copied) && bytes.HasPrefix(copied, manifest):
		return s, lost("it is cut short")
	}
	return s, checkTables(dir, files)
}

func lost(how string) error {
	return fmt.Errorf("%s: if the last stop was clean put %s in its place, else restore a backup; nothing was changed: %w", how, manifestCopyName, ErrLostManifest)
}

// checkTables compares the tables MANIFEST names with those in the folder.
func checkTables(dir string, files []string) error {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return fmt.Errorf("read MANIFEST: %w", err)
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		return fmt.Errorf("MANIFEST: %w: %w", ErrDamaged, redacted{err})
	}
	there, orphans := 0, 0
	for _, name := range files {
		id, err := strconv.ParseUint(strings.TrimSuffix(name, ".sst"), 10, 64)
		if err != nil {
			continue
		}
		if _, ok := m.Tables[id]; ok {
			there++
		} else {
			orphans++
		}
	}
	if there < len(m.Tables) {
		return fmt.Errorf("%d tables of %d are missing: restore a backup: %w", len(m.Tables)-there, len(m.Tables), ErrDamaged)
	}
	if len(m.Tables) == 0 && orphans > maxEarlyOrphans {
		return lost("it names none of the tables there")
	}
	return nil
}

// copyManifest keeps MANIFEST as a clean stop left it.
func copyManifest(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return fmt.Errorf("copy MANIFEST: %w", err)
	}
	return writeFile(dir, manifestCopyName, b)
}

// makeBallast makes the ballast file if there is room for it: 64 MiB of real
// blocks an operator may delete at any time, because a full disk cannot even be
// opened. It comes back at the next open that finds room. That it cannot be made
// is no reason not to serve.
func (db *DB) makeBallast() error {
	o := db.options
	path := filepath.Join(o.Dir, ballastName)
	if info, err := os.Stat(path); err == nil && info.Size() >= ballastBytes {
		return nil
	}
	if db.room(o.MinFreeBytes+ballastBytes) != nil {
		return nil
	}
	if err := allocate(path, ballastBytes); err != nil {
		os.Remove(path)
		o.Logger.Warn("no ballast file", "error", err)
	}
	return nil
}
