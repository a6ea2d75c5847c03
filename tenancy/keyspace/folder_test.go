package keyspace

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"
)

// childEnv makes the test binary do one thing in a process of its own.
const childEnv, childDir = "KEYSPACE_TEST_CHILD", "KEYSPACE_TEST_DIR"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "write":
		childWrite(os.Getenv(childDir))
	case "read":
		childRead(os.Getenv(childDir))
	}
}

// small has room for everything but a ballast file, which would be copied about.
func small(dir string) Options {
	return Options{Dir: dir, MinFreeBytes: 1, FreeBytes: func(string) (uint64, error) { return ballastBytes, nil }}
}

func child(job, dir string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childEnv+"="+job, childDir+"="+dir)
	return c
}

func body(i uint64) []byte {
	b := make([]byte, 200+i%700)
	rand.New(rand.NewSource(int64(i))).Read(b)
	return b
}

// childWrite commits numbered pairs from four writers and prints each number once it is acknowledged.
func childWrite(dir string) {
	db, err := Open(small(dir))
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	var next atomic.Uint64
	_ = db.View(func(tx *Tx) error { u, err := tx.Usage(edge); next.Store(uint64(u.Records)); return err })
	for range 3 {
		go writeOn(db, &next)
	}
	writeOn(db, &next)
}

func writeOn(db *DB, next *atomic.Uint64) {
	for {
		i := next.Add(1)
		rest := binary.BigEndian.AppendUint64(nil, i)
		err := db.Commit(ctx, func(tx *Tx) error {
			return errors.Join(tx.Set(edge, 1, rest, body(i)), tx.Set(edge, 2, rest, nil))
		})
		if err != nil {
			os.Exit(2)
		}
		os.Stdout.WriteString(strconv.FormatUint(i, 10) + "\n")
	}
}

// childRead exits with 0 if what it could open and read is right, 3 if wrong
// bytes were served, 4 if something is missing and Verify is silent.
func childRead(dir string) {
	db, err := Open(small(dir))
	if err != nil {
		fmt.Println("refused:", err)
		return
	}
	missing := false
	_ = db.View(func(tx *Tx) error {
		for i := range uint64(damagedRecords) {
			v, err := tx.Get(edge, 1, binary.BigEndian.AppendUint64(nil, i))
			if err != nil {
				missing = true
			} else if string(v) != string(body(i)) {
				os.Exit(3)
			}
		}
		return nil
	})
	if missing && !errors.Is(db.Verify(ctx, edge), ErrDamaged) {
		os.Exit(4)
	}
}

// Every record acknowledged before a SIGKILL is there afterwards, pairs are
// whole, counters are exact, and the next open knows the stop was not clean.
func TestKill_LosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[uint64]bool{}
	for round := range 5 {
		c := child("write", dir)
		out, err := c.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, c.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			i, err := strconv.ParseUint(lines.Text(), 10, 64)
			require.NoError(t, err, "child said %q", lines.Text())
			acknowledged[i] = true
			if n == 40+30*round {
				require.NoError(t, c.Process.Kill())
			}
		}
		require.Error(t, c.Wait())
		require.False(t, CleanStop(dir))
		problems, err := CheckFiles(ctx, small(dir))
		require.NoError(t, err)
		require.Empty(t, problems, "a kill is no damage")
		if round%2 == 0 {
			require.NoError(t, Probe(dir))
			require.True(t, CleanStop(dir))
		}
		db, err := Open(small(dir))
		require.NoError(t, err)
		require.NoError(t, db.Verify(ctx, edge))
		require.NoError(t, db.View(func(tx *Tx) error {
			for i := range acknowledged {
				rest := binary.BigEndian.AppendUint64(nil, i)
				v, err := tx.Get(edge, 1, rest)
				require.NoError(t, err, "record %d", i)
				require.Equal(t, body(i), v)
				_, err = tx.Get(edge, 2, rest)
				require.NoError(t, err, "record %d", i)
			}
			return nil
		}))
		require.NoError(t, db.Close())
	}
	require.Greater(t, len(acknowledged), 200)
}

const damagedRecords = 4000

// filled is a closed folder of damagedRecords records.
func filled(t *testing.T) string {
	dir := t.TempDir()
	db, err := Open(small(dir))
	require.NoError(t, err)
	for from := uint64(0); from < damagedRecords; from += 1000 {
		require.NoError(t, db.Commit(ctx, func(tx *Tx) error {
			for i := from; i < from+1000; i++ {
				if err := tx.Set(edge, 1, binary.BigEndian.AppendUint64(nil, i), body(i)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	require.NoError(t, db.Close())
	return dir
}

// One changed byte in a table is refused or reported; wrong bytes never come out.
// In a child, since Badger may end the process.
func TestFlippedByte_IsNeverServed(t *testing.T) {
	dir := filled(t)
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	require.NoError(t, err)
	require.NotEmpty(t, tables)
	r := rand.New(rand.NewSource(1))
	for range 6 {
		copied := t.TempDir()
		require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
		path := filepath.Join(copied, filepath.Base(tables[r.Intn(len(tables))]))
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		at := r.Intn(len(b))
		b[at] ^= 1 << r.Intn(8)
		require.NoError(t, os.WriteFile(path, b, 0o600))
		err = child("read", copied).Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			require.NotContains(t, []int{3, 4}, exit.ExitCode(), "byte %d of %s", at, filepath.Base(path))
		}
	}
}

// What Open finds wrong with a folder it says before Badger can change it.
func TestOpen_Guards(t *testing.T) {
	dir := filled(t)
	cut := func(t *testing.T, dir, name string, to int64) {
		require.NoError(t, os.Truncate(filepath.Join(dir, name), to))
	}
	unclean := func(t *testing.T, dir string) {
		s, err := readState(dir)
		require.NoError(t, err)
		s.Clean = false
		require.NoError(t, writeState(dir, s))
	}
	for name, c := range map[string]struct {
		harm func(t *testing.T, dir string)
		want error
	}{
		"nothing": {func(*testing.T, string) {}, nil},
		"unclean": {unclean, nil},
		"manifest gone": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, badger.ManifestFilename)))
		}, ErrLostManifest},
		"manifest cut":          {func(t *testing.T, dir string) { cut(t, dir, badger.ManifestFilename, 10) }, ErrLostManifest},
		"manifest cut, unclean": {func(t *testing.T, dir string) { unclean(t, dir); cut(t, dir, badger.ManifestFilename, 10) }, ErrLostManifest},
		"tables gone": {func(t *testing.T, dir string) {
			tables, _ := filepath.Glob(filepath.Join(dir, "*.sst"))
			require.NoError(t, os.Remove(tables[0]))
		}, ErrDamaged},
		"newer folder": {func(t *testing.T, dir string) {
			require.NoError(t, writeState(dir, state{Format: Format + 1}))
		}, ErrNewerFormat},
		"newer record": {func(t *testing.T, dir string) {
			db, err := Open(small(dir))
			require.NoError(t, err)
			raw, err := json.Marshal(format{Format: Format + 1, Store: "x"})
			require.NoError(t, err)
			require.NoError(t, db.Commit(ctx, func(tx *Tx) error {
				tx.key = appendKey(nil, own, kindFormat, nil)
				return tx.set(own, kindFormat, nil, raw)
			}))
			require.NoError(t, db.Close())
		}, ErrNewerFormat},
		"a commit gone": {func(t *testing.T, dir string) {
			s, err := readState(dir)
			require.NoError(t, err)
			s.Version++
			require.NoError(t, writeState(dir, s))
		}, ErrDamaged},
		"state unreadable": {func(t *testing.T, dir string) { cut(t, dir, stateName, 5) }, ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			copied := t.TempDir()
			require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
			c.harm(t, copied)
			before, err := filepath.Glob(filepath.Join(copied, "*.sst"))
			require.NoError(t, err)
			db, err := Open(small(copied))
			require.ErrorIs(t, err, c.want)
			if db != nil {
				require.NoError(t, db.Verify(ctx, edge))
				require.NoError(t, db.Close())
			} else {
				after, err := filepath.Glob(filepath.Join(copied, "*.sst"))
				require.NoError(t, err)
				require.Subset(t, after, before, "tables must survive a refusal")
			}
		})
	}
}

func TestOpen_OneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(Options{Dir: dir})
	require.NoError(t, err)
	_, err = Open(Options{Dir: dir})
	require.ErrorIs(t, err, ErrLocked)
	id := db.StoreID()
	require.NoError(t, db.Close())
	db, err = Open(Options{Dir: dir})
	require.NoError(t, err)
	require.Equal(t, id, db.StoreID())
	require.True(t, db.CleanStart())
	require.NoError(t, db.Close())
	_, err = Open(Options{Dir: dir, MemTableBytes: 1 << 20})
	require.ErrorContains(t, err, "MemTableBytes")
}

// A disk that fills refuses writes, keeps reading, and takes writes again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	var free atomic.Uint64
	free.Store(1 << 30)
	opts := Options{Dir: dir, FreeBytes: func(string) (uint64, error) { return free.Load(), nil }}
	db, err := Open(opts)
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(dir, ballastName))
	set := func(tx *Tx) error { return tx.Set(edge, 1, nil, []byte("v")) }
	require.NoError(t, db.Commit(ctx, set))
	free.Store(minFreeBytes - 1)
	require.ErrorIs(t, db.Commit(ctx, set), ErrDiskFull)
	require.ErrorIs(t, db.Ban(edge), ErrDiskFull)
	require.NoError(t, db.View(func(tx *Tx) error { _, err := tx.Get(edge, 1, nil); return err }))
	free.Store(minFreeBytes)
	require.NoError(t, db.Commit(ctx, set))
	require.NoError(t, db.Close())

	require.NoError(t, os.Remove(filepath.Join(dir, ballastName)))
	db, err = Open(opts) // opens, but not to make a ballast
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(dir, ballastName))
	require.NoError(t, db.Close())
	free.Store(1 << 20)
	_, err = Open(opts)
	require.ErrorIs(t, err, ErrDiskFull)
	require.ErrorContains(t, err, ballastName)
}
