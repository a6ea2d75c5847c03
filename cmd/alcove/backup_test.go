package main

import (
	"archive/zip"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"alcove/bench"
)

// runbook runs the commands of the disaster recovery runbook that stand indented in it,
// from one with first in it on, until one has last in it.
func runbook(t *testing.T, s *shelf, first, last string, names ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "runbooks", "disaster-recovery.md"))
	require.NoError(t, err)
	var all strings.Builder
	on := false
	for line := range strings.Lines(string(b)) {
		command, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "    alcove ")
		if on = on || ok && strings.Contains(command, first); !ok || !on {
			continue
		}
		command = strings.NewReplacer(names...).Replace(command)
		cmd := exec.Command("sh", "-c", s.bin+" "+command)
		listen := "127.0.0.1:1"
		if s.server != nil {
			listen = s.server.Addr
		}
		cmd.Env = append(os.Environ(), "LISTEN="+listen)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "alcove %s: %s", command, out)
		all.Write(out)
		if strings.Contains(command, last) {
			return all.String()
		}
	}
	t.Fatalf("the runbook has no %s after %s", last, first)
	return ""
}

// The runbook's commands do what it says: copies are made while documents come in, and
// what is restored of them is whole, answers with the keys of before, and holds what was
// acknowledged before the last copy began.
func TestBackup_Runbook(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the runbook's commands are of a shell")
	}
	s := newShelf(t)
	kb, dir := s.kb("one"), t.TempDir()
	copies, fresh := filepath.Join(dir, "copies"), filepath.Join(dir, "new")
	require.NoError(t, os.Mkdir(copies, 0o700))
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	identity := filepath.Join(dir, "identity")
	require.NoError(t, os.WriteFile(identity, []byte("# a key\n"+id.String()+"\n"), 0o600))
	names := []string{"RECIPIENT", id.Recipient().String(), "IDENTITY", identity, "COPIES", copies, "DIR", s.dir, "NEW", fresh}
	var key struct{ Key string }
	require.NoError(t, s.client().call(t.Context(), "POST", "/tenants/"+s.tenant+"/api-keys", map[string]any{"key_name": "k", "permissions": []string{"query:run", "document:read"}}, &key))

	// Documents come in all the while.
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	acknowledged := make(chan string, 10_000)
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			id := fmt.Sprint("doc-", i)
			if s.client().call(ctx, "POST", kbPath(s.tenant, kb)+"/documents/text", map[string]any{"id": id, "text": fmt.Sprintf("Ada Lovelace wrote letter %d to Charles Babbage.", i)}, nil) == nil {
				acknowledged <- id
			}
		}
	}()
	before := []string{<-acknowledged, <-acknowledged}
	out := runbook(t, s, "backup", "backup", names...)
	require.NotContains(t, out, "no secrets")
	before = append(before, <-acknowledged)
	for len(acknowledged) > 0 {
		before = append(before, <-acknowledged)
	}
	out = runbook(t, s, "--incremental", "verify", names...)
	require.Contains(t, out, "0 problems in the store it makes")
	stop()
	<-done
	s.stop()

	out = runbook(t, s, "restore", "verify --data-dir", names...)
	require.Contains(t, out, "verified")
	require.Contains(t, out, "0 problems; 1 knowledge bases")
	s.server, err = bench.StartServer(t.Context(), s.bin, fresh)
	require.NoError(t, err)
	c := newClient(s.server.Addr)
	c.key = key.Key
	for _, id := range before {
		require.NoError(t, c.call(t.Context(), "GET", kbPath(s.tenant, kb)+"/documents/"+id, nil, nil), id)
	}
	require.NoError(t, c.call(t.Context(), "POST", kbPath(s.tenant, kb)+"/query", map[string]any{"query": "Who wrote to Charles Babbage?"}, nil))
}

// A backup that is not encrypted holds no secrets: restore asks what to do, and gives the
// keys anew. A flipped bit, a cut, and a chain with a hole in it are refused.
func TestBackup_WithoutSecrets(t *testing.T) {
	s := newShelf(t)
	s.kb("one")
	dir := t.TempDir()
	all, more := filepath.Join(dir, "a.backup"), filepath.Join(dir, "more")
	require.NoError(t, os.Mkdir(more, 0o700))
	var key struct {
		ID  string `json:"key_id"`
		Key string
	}
	require.NoError(t, s.client().call(t.Context(), "POST", "/tenants/"+s.tenant+"/api-keys", map[string]any{"key_name": "k", "permissions": []string{"kb:access"}}, &key))
	out, err := s.alcove("backup", all)
	require.NoError(t, err, out)
	require.Contains(t, out, "holds no secrets")
	b, err := os.ReadFile(all)
	require.NoError(t, err)
	require.NotContains(t, string(b), "key.pepper")
	s.stop()

	fresh := filepath.Join(dir, "fresh")
	restore := func(file string, more ...string) (string, error) {
		out, err := exec.Command(s.bin, append([]string{"restore", file, "--data-dir", fresh}, more...)...).CombinedOutput()
		return string(out), err
	}
	out, err = restore(all)
	require.Error(t, err)
	require.Contains(t, out, "--secrets FOLDER")
	for _, bad := range [][]byte{b[:len(b)-1], append(append([]byte{}, b[:len(b)/2]...), append([]byte{b[len(b)/2] ^ 1}, b[len(b)/2+1:]...)...)} {
		broken := filepath.Join(dir, "broken")
		require.NoError(t, os.WriteFile(broken, bad, 0o600))
		out, err = restore(broken, "--without-secrets")
		require.Error(t, err)
		require.Contains(t, out, "damaged, cut short")
	}
	there, err := filepath.Glob(fresh + "*")
	require.NoError(t, err)
	require.Empty(t, there, "nothing is left of what was refused")
	out, err = restore(all, "--without-secrets", "--reissue-keys")
	require.NoError(t, err, out)
	_, secret, ok := strings.Cut(out, "key "+key.ID+" (k): ")
	require.True(t, ok, out)
	secret, _, _ = strings.Cut(secret, "\n")
	s.server, err = bench.StartServer(t.Context(), s.bin, fresh)
	require.NoError(t, err)
	c := newClient(s.server.Addr)
	c.key = key.Key
	require.NotEmpty(t, c.key)
	require.ErrorContains(t, c.call(t.Context(), "GET", "/auth/me", nil, nil), "401")
	c.key = secret
	require.NoError(t, c.call(t.Context(), "GET", "/auth/me", nil, nil))
}

// A flipped bit in any file of a stopped store is told by check and by verify, which leave
// the files as they are.
func TestCheck_TellsFlippedBitsOfEveryFile(t *testing.T) {
	s := newShelf(t)
	kb := s.kb("one")
	require.NoError(t, s.client().call(t.Context(), "POST", kbPath(s.tenant, kb)+"/documents/text", map[string]any{"id": "a", "text": "Ada wrote to Babbage."}, nil))
	s.stop()
	run := func(args ...string) (string, error) {
		out, err := exec.Command(s.bin, append(args, "--data-dir", s.dir)...).CombinedOutput()
		return string(out), err
	}
	out, err := run("check")
	require.NoError(t, err, out)
	entries, err := os.ReadDir(s.dir)
	require.NoError(t, err)
	rnd := rand.New(rand.NewPCG(6, 6))
	seen := 0
	for _, e := range entries {
		name := filepath.Join(s.dir, e.Name())
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		if len(b) == 0 || strings.HasPrefix(e.Name(), "ballast") { // which hold nothing
			continue
		}
		seen++
		at, bit := rnd.IntN(len(b)), byte(1)<<rnd.IntN(8)
		b[at] ^= bit
		require.NoError(t, os.WriteFile(name, b, 0o600))
		for _, args := range [][]string{{"check"}, {"verify", "--listen", "127.0.0.1:1"}, {"check"}} {
			out, err := run(args...)
			require.Error(t, err, "%v: byte %d of %s: %s", args, at, e.Name(), out)
			if e.Name() != "alcove.state" { // its bit may make it one of the future
				require.Contains(t, out, "file "+e.Name())
			}
		}
		b[at] ^= bit
		require.NoError(t, os.WriteFile(name, b, 0o600))
	}
	require.GreaterOrEqual(t, seen, 13)
	out, err = run("check")
	require.NoError(t, err, out)
}

// A data folder that a release of format 1 left is brought forward by whatever opens it, with
// a backup of before that restores.
func TestCheck_BringsAnEarlierFormatForward(t *testing.T) {
	s := newShelf(t)
	s.stop()
	dir := t.TempDir()
	old, err := zip.OpenReader(filepath.Join("testdata", "format-1.zip"))
	require.NoError(t, err)
	defer old.Close()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "old"), old))
	out, err := exec.Command(s.bin, "check", "--data-dir", filepath.Join(dir, "old")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "brought forward")
	kept := filepath.Join(dir, "old", "before-format-2.backup")
	out, err = exec.Command(s.bin, "restore", kept, "--data-dir", filepath.Join(dir, "new"), "--secrets", filepath.Join(dir, "old")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(s.bin, "check", "--data-dir", filepath.Join(dir, "old")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "brought forward", "once only")
}
