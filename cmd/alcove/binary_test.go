package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/bench"
	"alcove/engine/parse"
)

// binary builds the real binary once for all tests of this file.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "alcove-test-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "alcove")
	if runtime.GOOS == "windows" {
		bin += ".exe"
	}
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	built = dir
	return bin, nil
})

// built is the folder of the binary, "" while no test needed it.
var built string

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == parseChild { // a server of these tests reads a file
		if err := parse.ServeChild(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	bin, err := binary()
	require.NoError(t, err)
	cmd := exec.Command(bin, args...)
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// The demo prints an answer that cites the handbook, and leaves nothing behind.
func TestDemo_AnswersWithCitations(t *testing.T) {
	_, err := binary() // built before TMPDIR changes: it outlives this test
	require.NoError(t, err)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	out, err := run(t, "demo")
	require.NoError(t, err, out)
	require.Regexp(t, regexp.MustCompile(`\[1\] \S+\.md, bytes \d+-\d+`), out)
	require.Contains(t, out, "[1]")
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
}

// What a user gets wrong at the start is answered with what to do.
func TestServe_Refusals(t *testing.T) {
	file, nowhere := filepath.Join(t.TempDir(), "file"), filepath.Join(t.TempDir(), "none")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, c := range map[string]struct{ args, want []string }{
		"example secret":  {[]string{"serve", "--listen", "127.0.0.1:0", "--token-secret", "your-secret-key"}, []string{"TOKEN_SECRET"}},
		"unknown flag":    {[]string{"serve", "--prot", "1"}, []string{"unknown flag"}},
		"unknown command": {[]string{"srve"}, []string{"unknown command"}},
		"data in memory":  {[]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", ""}, []string{"DATA_DIR"}},
		"data in a file":  {[]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", file}, []string{file, "not a directory"}},
		"nothing there":   {[]string{"check", "--data-dir", nowhere}, []string{"no store in " + nowhere}},
		"bad settings":    {[]string{"serve", "--listen", "x", "--chunk-size", "x"}, []string{"LISTEN", "CHUNK_SIZE"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, c.args...)
			require.Error(t, err)
			for _, w := range c.want {
				require.Contains(t, out, w)
			}
			require.NotContains(t, out, "backup")
			require.NoDirExists(t, nowhere)
		})
	}
}

// One folder has one server; the second one is told so. A token made beside the
// running server works; after a rotation it does not.
func TestServe_OneFolderOneServer(t *testing.T) {
	bin, err := binary()
	require.NoError(t, err)
	ctx, dir := context.Background(), t.TempDir()
	s, err := bench.StartServer(ctx, bin, dir)
	require.NoError(t, err)
	token, err := s.Token(ctx)
	require.NoError(t, err)
	_, err = s.NewKB(ctx, token, "one")
	require.NoError(t, err)
	_, err = bench.StartServer(ctx, bin, dir)
	require.ErrorContains(t, err, "another process")
	require.ErrorContains(t, err, "stop that server first")
	require.NotContains(t, err.Error(), "backup", "nothing is damaged")
	files, err := os.ReadDir(dir) // a folder that was there before, open to all
	require.NoError(t, err)
	for _, f := range files {
		info, err := f.Info()
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			require.Zero(t, info.Mode().Perm()&0o077, "%s is for its owner alone", f.Name())
		}
	}
	require.NoError(t, s.Stop())

	s, err = bench.StartServer(ctx, bin, dir, "--rotate-secret")
	require.NoError(t, err)
	_, err = s.NewKB(ctx, token, "two")
	require.ErrorContains(t, err, "401")
	token, err = s.Token(ctx)
	require.NoError(t, err)
	_, err = s.NewKB(ctx, token, "two")
	require.NoError(t, err)
	require.NoError(t, s.Stop())
}

// kill -9 of the real binary under load in three tenants loses nothing that was
// acknowledged and leaves nothing half. More rounds: alcove bench crash.
func TestKill_LosesNothing(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the workload stops its server with SIGTERM, which Windows does not have")
	}
	bin, err := binary()
	require.NoError(t, err)
	const seed = 7
	r, err := bench.Crash(context.Background(), bench.CrashOptions{Binary: bin, Dir: t.TempDir(), Rounds: 2, MaxLife: 700 * time.Millisecond, Seed: seed})
	require.NoError(t, err, "seed %d", seed)
	require.Zero(t, r.Lost+r.Half+r.Undead+r.Problems, "seed %d: %s", seed, strings.Join(r.Details, "\n"))
	require.Positive(t, r.Acknowledged)
}
