package keyspace

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// flips is how many bits are flipped in each kind of file.
const flips = 50

// secretName is a file of others that CheckFiles is told of.
const secretName = "other.secret"

// badgerLock holds the number of a process, which nobody reads, while the database is open.
const badgerLock = "LOCK"

func sizeOf(t *testing.T, path string) int {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return int(info.Size())
}

func covered(dir string) Options {
	o := small(dir)
	o.Also, o.Lasting = []string{secretName}, []string{secretName}
	return o
}

// flipIn flips a bit at one of the places and returns what puts it back.
func flipIn(t *testing.T, rnd *rand.Rand, path string, places []int) (at int, undo func()) {
	t.Helper()
	at = places[rnd.IntN(len(places))]
	bit := byte(1) << rnd.IntN(8)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	var b [1]byte
	put := func() {
		_, err := f.ReadAt(b[:], int64(at))
		require.NoError(t, err)
		b[0] ^= bit
		_, err = f.WriteAt(b[:], int64(at))
		require.NoError(t, err)
	}
	put()
	return at, func() {
		put()
		require.NoError(t, f.Close())
	}
}

func all(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// Every flipped bit of every file is told after a clean stop, those without a meaning too.
func TestCheckFiles_TellsEveryBitAfterACleanStop(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, secretName), []byte("secret"), 0o600))
	db, err := Open(covered(dir))
	require.NoError(t, err)
	for i := range uint64(2000) {
		rest := binary.BigEndian.AppendUint64(nil, i)
		require.NoError(t, db.Commit(ctx, func(tx *Tx) error { return tx.Set(edge, 1, rest, body(i)) }))
	}
	require.NoError(t, db.Close())
	problems, err := CheckFiles(ctx, covered(dir))
	require.NoError(t, err)
	require.Empty(t, problems)

	rnd := rand.New(rand.NewPCG(6, 1))
	kinds := map[string]bool{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		name, path, size := e.Name(), filepath.Join(dir, e.Name()), sizeOf(t, filepath.Join(dir, e.Name()))
		if size == 0 {
			require.Equal(t, lockName, name)
			continue
		}
		kinds[filepath.Ext(name)+strings.TrimSuffix(name, filepath.Ext(name))] = true
		for range flips {
			at, undo := flipIn(t, rnd, path, all(size))
			problems, err := CheckFiles(ctx, covered(dir))
			require.NoError(t, err)
			if name != stateName {
				require.Len(t, problems, 1, "%s byte %d", name, at)
				require.Contains(t, problems[0], name)
			} else if len(problems) == 0 { // a format of the future: Open says so
				_, err := Open(covered(dir))
				require.ErrorIs(t, err, ErrNewerFormat, "%s byte %d", name, at)
			}
			undo()
		}
	}
	require.Subset(t, kinds, map[string]bool{".sst000001": true, ".vlog000001": true, "MANIFEST": true, ".cleanMANIFEST": true, "KEYREGISTRY": true, "DISCARD": true, ".statealcove": true, ".secretother": true})

	path := filepath.Join(dir, "000001.sst")
	require.NoError(t, os.Truncate(path, int64(sizeOf(t, path)+1)))
	problems, err = CheckFiles(ctx, covered(dir))
	require.NoError(t, err)
	require.Len(t, problems, 1)
	require.NoError(t, os.Remove(path))
	problems, err = CheckFiles(ctx, covered(dir))
	require.NoError(t, err)
	require.Equal(t, []string{"000001.sst: is missing"}, problems)
}

// Damage to a file that is not written again is told while the database is open, and after
// the next clean stop still.
func TestVerifyFiles_BesideARunningDatabase(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(covered(dir))
	require.NoError(t, err)
	require.NoError(t, db.Commit(ctx, func(tx *Tx) error { return tx.Set(edge, 1, nil, []byte("v")) }))
	require.NoError(t, db.Close())
	db, err = Open(covered(dir))
	require.NoError(t, err)
	problems, err := db.VerifyFiles(ctx)
	require.NoError(t, err)
	require.Empty(t, problems)
	rnd := rand.New(rand.NewPCG(6, 2))
	flipIn(t, rnd, filepath.Join(dir, keyRegistryName), []int{3}) // of the random bytes
	problems, err = db.VerifyFiles(ctx)
	require.NoError(t, err)
	require.Len(t, problems, 1)
	table := filepath.Join(dir, "000001.sst")
	flipIn(t, rnd, table, []int{sizeOf(t, table) - 1}) // mapped: Badger has read it already
	problems, err = db.VerifyFiles(ctx)
	require.NoError(t, err)
	require.Len(t, problems, 2)
	require.NoError(t, db.Close())
	problems, err = CheckFiles(ctx, covered(dir))
	require.NoError(t, err)
	require.Equal(t, []string{"000001.sst: its bytes are not those of the last clean stop"}, problems)
}

// killed returns a folder whose process was killed, and how much of its only log is of
// finished commits.
func killed(t *testing.T) (dir, log string, finished int) {
	t.Helper()
	dir = t.TempDir()
	c := child("write", dir)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	lines := bufio.NewScanner(out)
	for n := 0; n < 60 && lines.Scan(); n++ {
	}
	require.NoError(t, c.Process.Kill())
	require.Error(t, c.Wait())
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	require.NoError(t, err)
	require.Len(t, logs, 1)
	b, err := os.ReadFile(logs[0])
	require.NoError(t, err)
	for at := logHead; ; {
		e, right := parseEntry(b[at:])
		if !right {
			break
		}
		if at += e.size; e.meta&bitFinTxn != 0 {
			finished = at
		}
	}
	require.Greater(t, finished, 10_000)
	// Less of what is asked for ahead is read faster.
	require.NoError(t, os.Truncate(logs[0], int64(len(bytes.TrimRight(b, "\x00"))+64<<10)))
	require.NoError(t, os.Truncate(filepath.Join(dir, "000001.vlog"), 1<<20))
	return dir, filepath.Base(logs[0]), finished
}

// After a kill every flipped bit is told that could ever be read.
func TestCheckFiles_TellsEveryBitAfterAKill(t *testing.T) {
	dir, log, finished := killed(t)
	problems, err := CheckFiles(ctx, small(dir))
	require.NoError(t, err)
	require.Empty(t, problems)
	rnd := rand.New(rand.NewPCG(6, 3))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	b, err := os.ReadFile(filepath.Join(dir, log))
	require.NoError(t, err)
	seen := 0
	for _, e := range entries {
		name, path, size := e.Name(), filepath.Join(dir, e.Name()), sizeOf(t, filepath.Join(dir, e.Name()))
		var places []int
		switch {
		case name == log: // not the random bytes of the head, nor a commit that the kill cut short
			places = append(append(append(all(8), all(finished)[logHead:]...), finished-1), size-1)
			if len(bytes.TrimRight(b[finished:], "\x00")) == 0 {
				places = append(places, finished, finished+1, finished+300)
			}
		case filepath.Ext(name) == ".vlog":
			places = append(all(8), all(1 << 20)[logHead:]...)
		case name == keyRegistryName:
			places = all(size)[16:]
		case name == discardName, name == "MANIFEST", name == stateName:
			places = all(size)
		default:
			require.Contains(t, []string{lockName, badgerLock}, name)
			continue
		}
		seen++
		for range flips {
			at, undo := flipIn(t, rnd, path, places)
			problems, err := CheckFiles(ctx, small(dir))
			require.NoError(t, err)
			if name == stateName && len(problems) == 0 {
				_, err := Open(small(dir))
				require.ErrorIs(t, err, ErrNewerFormat, "%s byte %d", name, at)
			} else {
				require.Len(t, problems, 1, "%s byte %d of %d finished", name, at, finished)
			}
			undo()
		}
	}
	require.Equal(t, 6, seen)
}

// A commit that a kill cut short is no damage. Entries are copied in pieces of 16 bytes and more.
func TestWalkLog_AcceptsEveryCut(t *testing.T) {
	dir, log, finished := killed(t)
	b, err := os.ReadFile(filepath.Join(dir, log))
	require.NoError(t, err)
	b = b[:finished+4096]
	clear(b[finished:])
	require.Empty(t, walkLog(b))
	require.Equal(t, "", walkLog(nil))
	starts, last := map[int]bool{}, logHead
	for at := logHead; at < finished; {
		e, right := parseEntry(b[at:])
		require.True(t, right)
		starts[at] = true
		at += e.size
	}
	for cut := logHead; cut < finished; cut++ {
		if starts[cut] {
			last = cut
		}
		if cut < finished-3000 || (cut-last)%16 != 0 {
			continue
		}
		torn := bytes.Clone(b)
		clear(torn[cut:])
		require.Empty(t, walkLog(torn), "cut at %d of %d", cut, finished)
	}
}

func FuzzWalkLog(f *testing.F) {
	f.Add(append(make([]byte, logHead), mark(7)...))
	f.Fuzz(func(_ *testing.T, b []byte) { walkLog(b) })
}

// A state file of a release before sums is taken; one with a changed bit never is.
func TestReadState_OfAnEarlierRelease(t *testing.T) {
	dir := t.TempDir()
	old := []byte(`{"format":1,"clean":true,"version":3,"mem_table_bytes":16777216}` + "\n")
	put := func(b []byte) { require.NoError(t, os.WriteFile(filepath.Join(dir, stateName), b, 0o600)) }
	put(old)
	s, err := readState(dir)
	require.NoError(t, err)
	require.Equal(t, state{Format: 1, Clean: true, Version: 3, MemTableBytes: 16 << 20}, s)
	s.Files = map[string]fileSum{"x": {1, 2}}
	b, err := s.encode()
	require.NoError(t, err)
	require.True(t, json.Valid(b))
	for i := range b {
		for bit := range 8 {
			flipped := bytes.Clone(b)
			flipped[i] ^= 1 << bit
			put(flipped)
			if got, err := readState(dir); err == nil {
				require.Greater(t, got.Format, Format, "byte %d bit %d", i, bit)
			} else {
				require.ErrorIs(t, err, ErrDamaged)
			}
		}
	}
}
