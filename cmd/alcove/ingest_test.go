package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/bench"
)

// shelf is a server of the real binary with knowledge bases to ingest into.
type shelf struct {
	t      *testing.T
	bin    string
	dir    string
	server *bench.Server
	tenant string
	token  string
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	bin, err := binary()
	require.NoError(t, err)
	s := &shelf{t: t, bin: bin, dir: t.TempDir()}
	s.start()
	t.Cleanup(func() {
		if s.server != nil {
			require.NoError(t, s.server.Stop())
		}
	})
	return s
}

func (s *shelf) start() {
	s.t.Helper()
	var err error
	s.server, err = bench.StartServer(context.Background(), s.bin, s.dir)
	require.NoError(s.t, err)
	s.token, err = s.server.Token(context.Background())
	require.NoError(s.t, err)
}

func (s *shelf) stop() {
	s.t.Helper()
	require.NoError(s.t, s.server.Stop())
	s.server = nil
}

// client speaks to the server as its administrator.
func (s *shelf) client() *client {
	c := newClient(s.server.Addr)
	c.token = s.token
	return c
}

// kb makes a knowledge base, in the one tenant of the shelf.
func (s *shelf) kb(name string) string {
	s.t.Helper()
	ctx, c := context.Background(), s.client()
	var out struct {
		TenantID string `json:"tenant_id"`
		KBID     string `json:"kb_id"`
	}
	if s.tenant == "" {
		require.NoError(s.t, c.call(ctx, "POST", "/tenants", map[string]any{"tenant_name": "shelf"}, &out))
		s.tenant = out.TenantID
	}
	require.NoError(s.t, c.call(ctx, "POST", "/tenants/"+s.tenant+"/knowledge-bases", map[string]any{"kb_name": name}, &out))
	return out.KBID
}

// args are those of an ingest through the server, by the administrator's data folder.
func (s *shelf) args(kb string, more ...string) []string {
	listen := "127.0.0.1:1"
	if s.server != nil {
		listen = s.server.Addr
	}
	return append([]string{"ingest", "--data-dir", s.dir, "--listen", listen, "--tenant", s.tenant, "--kb", kb, "--json"}, more...)
}

// ingest runs the command and returns its summary, and whether it said that all is well.
func (s *shelf) ingest(kb string, more ...string) (r passReport, err error) {
	s.t.Helper()
	cmd := exec.Command(s.bin, s.args(kb, more...)...)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if len(out) > 0 {
		require.NoError(s.t, json.Unmarshal(out, &r), "%s", out)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, problems.String())
	}
	r.Seconds = 0
	return r, err
}

func (s *shelf) write(dir, name, text string) {
	s.t.Helper()
	p := filepath.Join(dir, filepath.FromSlash(name))
	require.NoError(s.t, os.MkdirAll(filepath.Dir(p), 0o700))
	require.NoError(s.t, os.WriteFile(p, []byte(text), 0o600))
}

// A folder is brought in, brought in again at no cost, changed and cut down; what is
// left out is said with its reason; a document cited by its path below the folder.
func TestIngest_Folder(t *testing.T) {
	s := newShelf(t)
	kb, dir := s.kb("one"), t.TempDir()
	s.write(dir, "a.md", "# Ada\n\nAda Lovelace wrote to Charles Babbage.")
	s.write(dir, "sub/b.txt", "Grace Hopper met Alan Turing.")
	s.write(dir, ".hidden.md", "Nobody.")
	s.write(dir, "sub/empty.txt", "")
	s.write(dir, "drafts/c.md", "A draft.")
	skipped := []skippedFile{{"sub/empty.txt", "is empty"}}
	none := []skippedFile{}

	r, err := s.ingest(kb, "--exclude", "drafts", "--dry-run", dir)
	require.NoError(t, err)
	require.Equal(t, passReport{Added: 2, Skipped: skipped, Failed: none, DryRun: true}, r)
	r, err = s.ingest(kb, "--exclude", "drafts", dir)
	require.NoError(t, err)
	require.Equal(t, passReport{Added: 2, Skipped: skipped, Failed: none}, r)
	r, err = s.ingest(kb, "--exclude", "drafts", dir)
	require.NoError(t, err)
	require.Equal(t, passReport{Unchanged: 2, Skipped: skipped, Failed: none}, r)

	var a struct {
		References []struct {
			FilePath string `json:"file_path"`
		}
	}
	require.NoError(t, s.client().call(t.Context(), "POST", kbPath(s.tenant, kb)+"/query", map[string]any{"query": "Who met Alan Turing?"}, &a))
	require.Equal(t, "sub/b.txt", a.References[0].FilePath)

	s.write(dir, "a.md", "# Ada\n\nAda Lovelace wrote to Mary Somerville.")
	require.NoError(t, os.Remove(filepath.Join(dir, "sub", "b.txt")))
	r, err = s.ingest(kb, "--include", "*.md", dir)
	require.NoError(t, err)
	require.Equal(t, passReport{Added: 1, Changed: 1, Skipped: none, Failed: none}, r)

	// Somebody else's document is not the folder's to delete.
	require.NoError(t, s.client().call(t.Context(), "POST", kbPath(s.tenant, kb)+"/documents/text", map[string]any{"text": "Another.", "id": "other"}, nil))
	r, err = s.ingest(kb, "--delete", dir)
	require.NoError(t, err)
	require.Equal(t, passReport{Unchanged: 2, Deleted: 1, Skipped: skipped, Failed: none}, r)
	require.NoError(t, s.client().call(t.Context(), "GET", kbPath(s.tenant, kb)+"/documents/other", nil, nil))

	// A folder that is not mounted looks empty.
	empty := t.TempDir()
	_, err = s.ingest(kb, "--delete", empty)
	require.ErrorContains(t, err, "not mounted")
	var docs struct{ Documents []any }
	require.NoError(t, s.client().call(t.Context(), "GET", kbPath(s.tenant, kb)+"/documents", nil, &docs))
	require.Len(t, docs.Documents, 3)
	r, err = s.ingest(kb, "--delete", "--allow-empty", empty)
	require.NoError(t, err)
	require.Equal(t, 2, r.Deleted)

	// A file that cannot be read as what it is fails by itself.
	s.write(dir, "bad.txt", "\x00\x01\x02")
	r, err = s.ingest(kb, dir)
	require.Error(t, err)
	require.Len(t, r.Failed, 1)
	require.Equal(t, "bad.txt", r.Failed[0].Path)
	require.Equal(t, 2, r.Added)

	two := t.TempDir()
	s.write(two, "a.md", "Another a.")
	_, err = s.ingest(kb, dir, two)
	require.ErrorContains(t, err, "--prefix")
	r, err = s.ingest(kb, "--prefix", "two", two)
	require.NoError(t, err)
	require.Equal(t, 1, r.Added)

	// Without a server the command opens the folder itself.
	s.stop()
	r, err = s.ingest(kb, "--prefix", "two", two)
	require.NoError(t, err)
	require.Equal(t, passReport{Unchanged: 1, Skipped: none, Failed: none}, r)
}

// dumps are the canonical dumps of the stopped store, by knowledge base.
func (s *shelf) dumps() map[string]string {
	s.t.Helper()
	out, err := exec.Command(s.bin, "check", "--dump", "--data-dir", s.dir).Output()
	require.NoError(s.t, err)
	dumps := map[string]string{}
	for part := range strings.SplitSeq(string(out), "# tenant ") {
		head, body, _ := strings.Cut(part, "\n")
		if _, kb, ok := strings.Cut(head, " knowledge base "); ok {
			dumps[kb] = body
		}
	}
	return dumps
}

// A folder that is edited, cut down and moved about at random is what is in the
// knowledge base when it is left alone: the same, byte for byte, as a fresh ingest.
func TestIngest_WatchEqualsAFreshIngest(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the command is ended with SIGTERM, which Windows does not have")
	}
	seed, edits := uint64(11), 200
	if n := os.Getenv("ALCOVE_WATCH_EDITS"); n != "" {
		_, err := fmt.Sscan(n, &edits)
		require.NoError(t, err)
	}
	s := newShelf(t)
	kb, fresh, dir := s.kb("watched"), s.kb("fresh"), t.TempDir()
	s.write(dir, "keep.txt", "This file stays.")
	cmd := exec.Command(s.bin, s.args(kb, "--watch", dir)...)
	lines, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	passes := make(chan passReport, 10_000)
	go func() {
		defer close(passes)
		for sc := bufio.NewScanner(lines); sc.Scan(); {
			var r passReport
			if json.Unmarshal(sc.Bytes(), &r) == nil {
				passes <- r
			}
		}
	}()
	<-passes // it watches from now on

	rng := rand.New(rand.NewPCG(seed, 1))
	name := func() string {
		return fmt.Sprintf("%s%d.txt", []string{"", "a/", "a/b/", "c/"}[rng.IntN(4)], rng.IntN(30))
	}
	for i := range edits {
		p := filepath.Join(dir, filepath.FromSlash(name()))
		switch rng.IntN(4) {
		case 0:
			_ = os.Remove(p)
		case 1:
			_ = os.Rename(p, filepath.Join(dir, filepath.FromSlash(name())))
		case 2: // a whole folder goes and comes
			_ = os.Rename(filepath.Join(dir, "c"), filepath.Join(dir, "d"))
			_ = os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "c"))
		default:
			s.write(dir, strings.TrimPrefix(filepath.ToSlash(p), filepath.ToSlash(dir)+"/"), fmt.Sprintf("Person%d wrote letter %d to Person%d.", rng.IntN(20), i, rng.IntN(20)))
		}
		if rng.IntN(10) == 0 {
			time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond) // the edits spread over several passes
		}
	}
	// The folder is left alone. A pass that names this file, left out for being empty, has
	// found it beside all that was edited before, and says so when it is done.
	s.write(dir, "last.txt", "")
	last := func(f skippedFile) bool { return f.Path == "last.txt" }
	for r := (passReport{}); !slices.ContainsFunc(r.Skipped, last); {
		select {
		case got, ok := <-passes:
			require.True(t, ok)
			require.Empty(t, got.Failed)
			r = got
		case <-time.After(2 * time.Minute):
			t.Fatal("the passes do not come to the last file")
		}
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
	_, err = s.ingest(fresh, dir)
	require.NoError(t, err)
	s.stop()
	dumps := s.dumps()
	require.NotEmpty(t, dumps[fresh])
	require.Equal(t, dumps[fresh], dumps[kb], "seed %d", seed)
}

// A server that is busy is waited for as long as it says, one that is away is asked
// again, and one that refuses for good is believed.
func TestSyncer_Again(t *testing.T) {
	var calls atomic.Int32
	answers := []func(http.ResponseWriter){
		func(w http.ResponseWriter) { w.Header().Set("Retry-After", "1"); w.WriteHeader(429) },
		func(w http.ResponseWriter) { w.WriteHeader(503) },
		func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{}`) },
		func(w http.ResponseWriter) { w.WriteHeader(429); _, _ = io.WriteString(w, `{"code":"QUOTA_EXCEEDED"}`) },
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answers[calls.Add(1)-1](w)
	}))
	defer srv.Close()
	s := &syncer{client: newClient(strings.TrimPrefix(srv.URL, "http://")), o: ingestOptions{retryFor: time.Minute}}
	ask := func() error { return s.client.call(t.Context(), "GET", "/x", nil, nil) }
	start := time.Now()
	require.NoError(t, s.again(t.Context(), ask))
	require.EqualValues(t, 3, calls.Load())
	require.GreaterOrEqual(t, time.Since(start), time.Second)
	require.ErrorContains(t, s.again(t.Context(), ask), "QUOTA_EXCEEDED")
	require.EqualValues(t, 4, calls.Load())

	s = &syncer{client: newClient("127.0.0.1:1"), o: ingestOptions{retryFor: 10 * time.Millisecond}}
	require.ErrorIs(t, s.again(t.Context(), func() error { return s.client.call(t.Context(), "GET", "/x", nil, nil) }), errAway)
}

func TestFolder_Matches(t *testing.T) {
	var f folder
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"*.md", "a.md", true}, {"*.md", "x/y/a.md", true}, {"*.md", "a.txt", false},
		{"x/*.md", "x/a.md", true}, {"x/*.md", "x/y/a.md", false}, {"x/**/*.md", "x/y/z/a.md", true}, {"x/**/*.md", "x/a.md", true},
		{"**/draft/**", "a/draft/b.md", true}, {"draft", "a/draft", true}, {"{a,b}.txt", "b.txt", true}, {"[a-c].txt", "d.txt", false},
	} {
		require.Equal(t, c.want, f.matches([]string{c.pattern}, c.path), "%s %s", c.pattern, c.path)
	}
	require.Error(t, checkPatterns("include", []string{"[a"}))
	require.NoError(t, checkPatterns("include", []string{"**/*.md"}))
}
