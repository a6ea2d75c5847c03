package httpapi

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/tenancy"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
}

func paths(list any, key string) (out []string) {
	for _, d := range list.([]any) {
		out = append(out, d.(map[string]any)[key].(string))
	}
	return out
}

// A scan takes in what the folder holds, says what it leaves lying, goes on
// where it stopped, and no link leads it out of the folder.
func TestScan(t *testing.T) {
	dir, secret := t.TempDir(), t.TempDir()
	write(t, secret, map[string]string{"secret.txt": "Hidden elsewhere."})
	write(t, dir, map[string]string{
		"a.txt": "Ada.", "b/c.txt": "Babbage.", "b-d.txt": "Dora.", "e.txt": "", "f.pdf": "%PDF", ".hidden.txt": "No.", ".git/x.txt": "No.", "z.txt": "caf\xe9",
	})
	if err := os.Symlink(filepath.Join(secret, "secret.txt"), filepath.Join(dir, "link.txt")); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "out")))
	h := newHouse(t, Options{ScanFolders: map[string]string{"inbox": dir, "beta/own": secret, "gone": filepath.Join(dir, "nowhere")}})
	scan := acmeMain + "/documents/scan"
	got := h.ok(202, post, scan, `{"folder":"inbox"}`)
	require.Equal(t, []string{"inbox/a.txt", "inbox/b/c.txt", "inbox/b-d.txt"}, paths(got["documents"], "file_path"))
	require.Equal(t, []string{"e.txt", "f.pdf", "link.txt", "out", "z.txt"}, paths(got["skipped"], "path"))
	require.Equal(t, "", got["next_after"])
	require.NotContains(t, h.as(h.admin, get, acmeMain+"/documents", "").Body.String(), "Hidden")

	// Again: nothing has changed.
	h.Wait()
	got = h.ok(202, post, scan, `{"folder":"inbox"}`)
	require.Equal(t, []string{"unchanged", "unchanged", "unchanged"}, paths(got["documents"], "result"))

	// Two entries a call.
	h.server.o.MaxScanFiles = 2
	var all []string
	after := ""
	for range 10 {
		got := h.ok(202, post, scan, `{"folder":"inbox","after":"`+after+`"}`)
		all = append(append(all, paths(got["documents"], "file_path")...), paths(got["skipped"], "path")...)
		if after = got["next_after"].(string); after == "" {
			break
		}
	}
	require.ElementsMatch(t, []string{"inbox/a.txt", "inbox/b/c.txt", "inbox/b-d.txt", "e.txt", "f.pdf", "link.txt", "out", "z.txt"}, all)

	// Another tenant's folder is as unknown as one that is not there, and the
	// server's paths are not told.
	for _, folder := range []string{"own", "beta/own", "", "../x", dir} {
		body := refused(t, h.as(h.admin, post, scan, `{"folder":"`+folder+`"}`), 400, "INVALID_REQUEST")
		require.Equal(t, "must be one of: gone, inbox", body.Details["reason"])
	}
	require.NotContains(t, refused(t, h.as(h.admin, post, scan, `{"folder":"gone"}`), 500, "INTERNAL_ERROR").Message, dir)
	beta := h.key("beta", nil, tenancy.PermDocumentCreate)
	w := h.as(beta, post, "/api/v1/tenants/beta/knowledge-bases/main/documents/scan", `{"folder":"own"}`)
	require.Equal(t, []string{"own/secret.txt"}, paths(data(t, w)["documents"], "file_path"))
}

// walkedAfter agrees with the order in which the walk meets files.
func TestWalkedAfter(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a/b": "", "a-b": "", "a.txt": "", "a/b.c/d": "", "a/b-c": "", "b": "", "A": "", "a0": ""})
	var met []string
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			met = append(met, p)
		}
		return err
	}))
	require.True(t, slices.IsSortedFunc(met, func(p, q string) int {
		if walkedAfter(p, q) {
			return 1
		}
		return -1
	}), met)
}
