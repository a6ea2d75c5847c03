package tenancy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/tenancy/keyspace"
)

const upgradeDir, upgradeKill = "TENANCY_TEST_UPGRADE", "TENANCY_TEST_KILL_AT"

// The steps of the tests: format 1 has a number of rows, 2 has each of them twice as high, and
// 3 each as text.
const (
	testRows  = 50
	testBatch = 7 // rows a commit, so that a kill meets a step half done
)

// killer kills its process at the n-th place it comes by.
type killer struct{ left int }

func (k *killer) pass() {
	if k == nil {
		return
	}
	if k.left--; k.left == 0 {
		p, _ := os.FindProcess(os.Getpid())
		_ = p.Signal(syscall.SIGKILL)
		select {}
	}
}

// Enabled, Handle, WithAttrs and WithGroup make a place of every line that is logged: those
// of bringForward stand between its steps.
func (k *killer) Enabled(context.Context, slog.Level) bool      { return true }
func (k *killer) Handle(_ context.Context, r slog.Record) error { k.pass(); return nil }
func (k *killer) WithAttrs([]slog.Attr) slog.Handler            { return k }
func (k *killer) WithGroup(string) slog.Handler                 { return k }

func testRow(i int) []byte { return fmt.Appendf(nil, "test-%03d", i) }

// eachRow rewrites rows in commits of a batch each; f says what a row that is still of the
// format before becomes, and nothing of one that is not.
func eachRow(s *Store, ctx context.Context, k *killer, f func(old string) (string, bool)) error {
	for from := 0; from < testRows; from += testBatch {
		k.pass()
		err := s.db.Commit(ctx, func(tx *keyspace.Tx) error {
			for i := from; i < min(from+testBatch, testRows); i++ {
				old, err := tx.Get(keyspace.System, kindSequence, testRow(i))
				if err != nil {
					return err
				}
				if next, ok := f(string(old)); ok {
					if err := tx.Set(keyspace.System, kindSequence, testRow(i), []byte(next)); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	k.pass()
	return nil
}

func testUpgrades(k *killer) []upgrade {
	return []upgrade{
		{"rows are twice as high", func(s *Store, ctx context.Context) error {
			return eachRow(s, ctx, k, func(old string) (string, bool) {
				digits, ok := strings.CutPrefix(old, "1:")
				n, err := strconv.Atoi(digits)
				return "2:" + strconv.Itoa(2*n), ok && err == nil
			})
		}},
		{"rows are text", func(s *Store, ctx context.Context) error {
			return eachRow(s, ctx, k, func(old string) (string, bool) {
				digits, ok := strings.CutPrefix(old, "2:")
				return "text " + digits, ok
			})
		}},
	}
}

// testOptions open a folder with a release that knows a format.
func testOptions(dir string, format int, k *killer) Options {
	o := Options{Dir: dir, Keyspace: keyspace.Options{Format: format, MinFreeBytes: 1}, upgrades: testUpgrades(k)[:format-1]}
	if k != nil {
		o.Logger = slog.New(k)
	}
	return o
}

func rowsOf(t *testing.T, s *Store) (out []string) {
	t.Helper()
	require.NoError(t, s.db.View(func(tx *keyspace.Tx) error {
		for i := range testRows {
			b, err := tx.Get(keyspace.System, kindSequence, testRow(i))
			if err != nil {
				return err
			}
			out = append(out, string(b))
		}
		return nil
	}))
	return out
}

// oldFolder is one of the first format with rows in it.
func oldFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(testOptions(dir, 1, nil))
	require.NoError(t, err)
	found(t, s, "acme")
	require.NoError(t, s.db.Commit(t.Context(), func(tx *keyspace.Tx) error {
		for i := range testRows {
			if err := tx.Set(keyspace.System, kindSequence, testRow(i), fmt.Appendf(nil, "1:%d", i)); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(filepath.Join(dir, "ballast-delete-me-if-the-disk-is-full")))
	return dir
}

// TestUpgradeChild is not a test of its own: it is what a killed process does.
func TestUpgradeChild(t *testing.T) {
	dir := os.Getenv(upgradeDir)
	if dir == "" {
		t.Skip("run by TestBringForward_KilledAnywhere")
	}
	at, err := strconv.Atoi(os.Getenv(upgradeKill))
	require.NoError(t, err)
	s, err := Open(testOptions(dir, 3, &killer{at}))
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// A folder of an earlier format is brought forward with a backup of before, wherever the
// process is killed meanwhile: killed before it has begun it is as it was and the release of
// before opens it; after, that refuses it, and the next start ends the work, each row changed
// once a step.
func TestBringForward_KilledAnywhere(t *testing.T) {
	if raced {
		t.Skip("what is killed are processes of their own")
	}
	old := oldFolder(t)
	asItWas, begun := 0, 0
	for at := 1; ; at++ {
		dir := filepath.Join(t.TempDir(), "store")
		require.NoError(t, os.CopyFS(dir, os.DirFS(old)))
		// A try whose backup was cut short has left this.
		require.NoError(t, os.WriteFile(filepath.Join(dir, "before-format-2.backup.part"), []byte("half"), 0o600))
		c := exec.Command(os.Args[0], "-test.run", "^TestUpgradeChild$")
		c.Env = append(os.Environ(), upgradeDir+"="+dir, upgradeKill+"="+strconv.Itoa(at))
		out, err := c.CombinedOutput()
		ended := err == nil
		if !ended {
			var exit *exec.ExitError
			require.True(t, errors.As(err, &exit) && exit.ExitCode() == -1, "%v: %s", err, out)
		}

		before, err := Open(testOptions(dir, 1, nil))
		if err == nil {
			asItWas++
			require.Equal(t, "1:7", rowsOf(t, before)[7])
			require.NoError(t, before.Close())
		} else {
			begun++
			require.ErrorIs(t, err, ErrNewerFormat)
			require.ErrorContains(t, err, "start the release that wrote it")
		}

		s, err := Open(testOptions(dir, 3, nil))
		require.NoError(t, err, "killed at place %d", at)
		for i, row := range rowsOf(t, s) {
			require.Equal(t, "text "+strconv.Itoa(2*i), row, "killed at place %d", at)
		}
		var problems []string
		_, err = s.Check(t.Context(), func(p string) { problems = append(problems, p) })
		require.NoError(t, err)
		require.Empty(t, problems)
		require.NoError(t, s.Close())
		require.NoFileExists(t, filepath.Join(dir, "before-format-2.backup.part"))

		// The backup is of before the first step, and the release of before restores it.
		f, err := os.Open(filepath.Join(dir, "before-format-2.backup"))
		require.NoError(t, err)
		again := filepath.Join(t.TempDir(), "again")
		_, err = Restore(t.Context(), RestoreRequest{Dir: again, Files: []io.ReadSeeker{f}})
		require.NoError(t, err)
		require.NoError(t, f.Close())
		before, err = Open(testOptions(again, 1, nil))
		require.NoError(t, err)
		for i, row := range rowsOf(t, before) {
			require.Equal(t, "1:"+strconv.Itoa(i), row)
		}
		require.NoError(t, before.Close())
		if ended {
			require.Greater(t, at, 15)
			break
		}
	}
	require.Positive(t, asItWas)
	require.Greater(t, begun, 10)
}
