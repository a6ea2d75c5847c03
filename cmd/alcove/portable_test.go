package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// alcove runs a command on the shelf's data folder, through its server if one runs.
func (s *shelf) alcove(args ...string) (string, error) {
	listen := "127.0.0.1:1"
	if s.server != nil {
		listen = s.server.Addr
	}
	cmd := exec.Command(s.bin, append(args, "--data-dir", s.dir, "--listen", listen)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A knowledge base goes out signed through a running server and comes in while none
// runs; a cut file and one of another signer do not.
func TestPortable_Commands(t *testing.T) {
	s := newShelf(t)
	from, to, dir := s.kb("from"), s.kb("to"), t.TempDir()
	s.write(dir, "a.md", "Ada Lovelace wrote to Charles Babbage.")
	_, err := s.ingest(from, dir)
	require.NoError(t, err)
	file, key := filepath.Join(dir, "kb.alcove"), filepath.Join(dir, "key")
	require.NoError(t, os.WriteFile(key, []byte(strings.Repeat("5a", 32)+"\n"), 0o600))
	out, err := s.alcove("export", file, "--tenant", s.tenant, "--kb", from, "--sign-key", key)
	require.NoError(t, err, out)
	_, signer, ok := strings.Cut(out, "signed by ")
	require.True(t, ok, out)
	out, err = s.alcove("export", file, "--tenant", s.tenant, "--kb", from)
	require.Error(t, err, "it is not written over")
	require.Contains(t, out, "is there already")

	s.stop()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	cut := filepath.Join(dir, "cut.alcove")
	require.NoError(t, os.WriteFile(cut, b[:len(b)/2], 0o600))
	out, err = s.alcove("import", cut, "--tenant", s.tenant, "--kb", to)
	require.Error(t, err)
	require.Contains(t, out, "ends too early")
	other := strings.Replace(strings.TrimSpace(signer), signer[:4], "AAAA", 1)
	out, err = s.alcove("import", file, "--tenant", s.tenant, "--kb", to, "--signer", other)
	require.Error(t, err)
	require.Contains(t, out, "not signed")
	out, err = s.alcove("import", file, "--tenant", s.tenant, "--kb", to, "--signer", strings.TrimSpace(signer))
	require.NoError(t, err, out)
	require.Contains(t, out, "1 documents, 1 chunks")
	out, err = s.alcove("import", file, "--tenant", s.tenant, "--kb", to)
	require.Error(t, err)
	require.Contains(t, out, "not new")
}
