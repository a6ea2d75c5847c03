package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/bench"
	"alcove/engine"
	"alcove/engine/enginetest/evaldata"
)

const smallGraph = `<?xml version='1.0' encoding='utf-8'?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><key id="d0" for="node" attr.name="entity_type"/><key id="d1" for="node" attr.name="description"/>
<key id="d2" for="node" attr.name="source_id"/><graph edgedefault="undirected">
<node id="%s"><data key="d0">person</data><data key="d1">She wrote.</data><data key="d2">c1</data></node></graph></graphml>`

// smallFolder is a workspace of one document with one entity.
func smallFolder(t *testing.T, dir, entity string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	for name, text := range map[string]string{
		"kv_store_full_docs.json":             `{"doc-1":{"content":"Ada wrote to Babbage.","file_path":"ada.txt"}}`,
		"kv_store_text_chunks.json":           `{"c1":{"content":"Ada wrote to Babbage.","full_doc_id":"doc-1","chunk_order_index":0}}`,
		"graph_chunk_entity_relation.graphml": fmt.Sprintf(smallGraph, entity),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
}

// files is a folder's content with its times, for comparison.
func files(t *testing.T, dir string) (out []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		b, rerr := os.ReadFile(p)
		out = append(out, fmt.Sprintf("%s %d %x", p, info.ModTime().UnixNano(), b))
		return errors.Join(err, rerr)
	}))
	return out
}

type migrated struct {
	t        *testing.T
	bin, dir string
}

// migrate runs the command and returns what it printed, its report and its error.
func (m migrated) migrate(from string, more ...string) (string, migrationReport, error) {
	m.t.Helper()
	report := filepath.Join(m.t.TempDir(), "report.json")
	cmd := exec.Command(m.bin, append([]string{"migrate", "--from", from, "--data-dir", m.dir, "--report", report}, more...)...)
	cmd.Dir = m.t.TempDir()
	out, err := cmd.CombinedOutput()
	var r migrationReport
	if b, rerr := os.ReadFile(report); rerr == nil {
		require.NoError(m.t, json.Unmarshal(b, &r))
	}
	return string(out), r, err
}

func (m migrated) dump() string {
	m.t.Helper()
	out, err := exec.Command(m.bin, "check", "--dump", "--data-dir", m.dir).Output()
	require.NoError(m.t, err)
	return string(out)
}

// A folder with three workspaces comes in with no model called although a server of
// models is configured; a second run changes nothing; the source is as it was; and the
// server then answers LightRAG's routes and questions from it.
func TestMigrate_ThenServe(t *testing.T) {
	bin, err := binary()
	require.NoError(t, err)
	m := migrated{t, bin, filepath.Join(t.TempDir(), "data")}
	from := filepath.Join(t.TempDir(), "rag_storage")
	evaldata.LightRAGFolder(t, from)
	smallFolder(t, filepath.Join(from, "acme"), "Ada")
	smallFolder(t, filepath.Join(from, "Lab_2"), "Ada")
	before := files(t, from)

	var calls atomic.Int64
	models := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		http.Error(w, "none", http.StatusInternalServerError)
	}))
	defer models.Close()
	remote := []string{
		"--llm-binding", "openai", "--llm-model", "m", "--llm-binding-host", models.URL + "/v1",
		"--embedding-binding", "openai", "--embedding-model", "bge-large-en-v1.5", "--embedding-binding-host", models.URL + "/v1", "--vectors-of", "bge-large-en-v1.5",
	}
	out, r, err := m.migrate(from, append(remote, "--dry-run")...)
	require.NoError(t, err, out)
	require.True(t, r.OK)
	require.NoDirExists(t, m.dir, "a dry run makes no store")

	out, r, err = m.migrate(from, remote...)
	require.NoError(t, err, out)
	require.Zero(t, calls.Load(), "no model was called")
	require.Len(t, r.Workspaces, 3)
	lab, acme, law := r.Workspaces[1], r.Workspaces[2], r.Workspaces[0]
	require.Equal(t, []string{"default", "acme"}, []string{law.TenantID, acme.TenantID})
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-5`, lab.TenantID, "Lab_2 is no id here")
	v := law.Verified
	require.Equal(t, []int{778, 674, 728, 665, 728, 59, 0}, []int{v.SourceEntities, v.SourceRelations, v.FoundEntities, v.FoundRelations, v.Neighbours, v.Chunks, v.Count})
	require.True(t, v.Stored)
	require.Equal(t, vectorReport{Kept: 59, Dim: 1024}, law.Vectors)
	require.Equal(t, vectorReport{ToMake: 1, Why: "the folder has no chunk vectors"}, acme.Vectors)
	require.Contains(t, strings.Join(acme.Notes, " "), "wait for vectors", "nobody could make them")
	require.False(t, acme.Verified.Stored)
	require.True(t, acme.Verified.Count == 0 && acme.Verified.FoundEntities == 1)

	dump := m.dump()
	out, r, err = m.migrate(from, remote...)
	require.NoError(t, err, out)
	for _, w := range r.Workspaces {
		require.Equal(t, "unchanged", w.Status)
	}
	require.Equal(t, dump, m.dump())
	require.Equal(t, before, files(t, from), "the source is only read")
	require.Zero(t, calls.Load())

	ctx := context.Background()
	s, err := bench.StartServer(ctx, bin, m.dir, "--tenant-enabled=false", "--embedding-model", "bge-large-en-v1.5",
		"--embedding-binding", "openai", "--embedding-binding-host", answering(t), "--metrics-listen", "off")
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Stop()) }()
	out, _, err = m.migrate(from)
	require.Error(t, err)
	require.Contains(t, out, "is running: a migration needs the store to itself")

	token, err := s.Token(ctx)
	require.NoError(t, err)
	ask := func(method, path string, body, into any) {
		t.Helper()
		b, err := json.Marshal(body)
		require.NoError(t, err)
		req, err := http.NewRequest(method, "http://"+s.Addr+path, bytes.NewReader(b))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		got, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, 200, res.StatusCode, "%s: %s", path, got)
		require.NoError(t, json.Unmarshal(got, into), "%s", got)
	}
	var track struct {
		Documents []struct {
			ID       string `json:"id"`
			FilePath string `json:"file_path"`
			Status   string
			Chunks   int `json:"chunks_count"`
		}
	}
	ask("GET", "/documents/track_status/insert_20260526_204009_0a1b2c3d", nil, &track)
	require.Len(t, track.Documents, 1)
	d := track.Documents[0]
	require.Equal(t, "doc-059d913559c53a19c6d7f31316bb187f eu-ai-act.txt 59", fmt.Sprint(d.ID, " ", d.FilePath, " ", d.Chunks))
	require.Equal(t, "PROCESSED", strings.ToUpper(d.Status))
	var labels []string
	ask("GET", "/graph/label/list", nil, &labels)
	require.Len(t, labels, 728)
	var graph engine.Subgraph
	ask("GET", "/graphs?label=Provider&max_depth=1", nil, &graph)
	require.Equal(t, neighbours(t, filepath.Join(from, "graph_chunk_entity_relation.graphml"), "Provider"), names(graph, "Provider"))
	for _, mode := range []string{"local", "global", "hybrid", "naive", "mix"} {
		var a struct {
			Response string
		}
		ask("POST", "/query", map[string]any{"query": "Which AI practices are prohibited?", "mode": mode, "only_need_context": true}, &a)
		require.Contains(t, a.Response, "AI system", mode)
	}
}

// answering is a server of embeddings with one vector for all.
func answering(t *testing.T) string {
	t.Helper()
	v := make([]float32, 1024)
	v[0] = 1
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Input []string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		var data []map[string]any
		for i := range in.Input {
			data = append(data, map[string]any{"index": i, "embedding": v, "object": "embedding"})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"object": "list", "data": data, "model": "m"})
	}))
	t.Cleanup(s.Close)
	return s.URL + "/v1"
}

// neighbours are those of an entity in a GraphML file, by EntityID, sorted.
func neighbours(t *testing.T, file, name string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var g struct {
		Edges []struct {
			Source string `xml:"source,attr"`
			Target string `xml:"target,attr"`
		} `xml:"graph>edge"`
	}
	require.NoError(t, xml.Unmarshal(b, &g))
	var out []string
	for _, e := range g.Edges {
		a, b, want := engine.EntityID(e.Source), engine.EntityID(e.Target), engine.EntityID(name)
		if a == want {
			out = append(out, b)
		} else if b == want {
			out = append(out, a)
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	require.NotEmpty(t, out)
	return out
}

func names(g engine.Subgraph, but string) (out []string) {
	for _, n := range g.Nodes {
		if id := engine.EntityID(n.ID); id != engine.EntityID(but) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// A workspace that cannot be read, or does not come out as it was, ends with status 1
// and is named; the others come in all the same.
func TestMigrate_Mismatches(t *testing.T) {
	bin, err := binary()
	require.NoError(t, err)
	m := migrated{t, bin, filepath.Join(t.TempDir(), "data")}
	from := t.TempDir()
	smallFolder(t, filepath.Join(from, "good"), "Ada")
	smallFolder(t, filepath.Join(from, "cut"), "Ada")
	smallFolder(t, filepath.Join(from, "long"), strings.Repeat("x", 600)) // names have at most 512 bytes here
	require.NoError(t, os.WriteFile(filepath.Join(from, "cut", "kv_store_text_chunks.json"), []byte(`{"c1":{"content":`), 0o600))
	out, r, err := m.migrate(from)
	require.Error(t, err)
	require.Equal(t, 1, err.(*exec.ExitError).ExitCode())
	require.False(t, r.OK)
	require.Len(t, r.Workspaces, 3)
	require.Equal(t, "failed", r.Workspaces[0].Status)
	require.Contains(t, r.Workspaces[0].Error, "cut/kv_store_text_chunks.json, byte 6, record \"c1\": the file ends in the middle")
	require.Contains(t, out, r.Workspaces[0].Error)
	require.True(t, r.Workspaces[1].ok())
	require.Equal(t, 2, r.Workspaces[2].Verified.Count)
	require.Contains(t, out, "mismatch: entity \"xxx")

	out, _, err = m.migrate(filepath.Join(from, "good"), "--tenant-id", "elsewhere")
	require.NoError(t, err, out)
	require.Contains(t, m.dump(), "# tenant elsewhere knowledge base default")
	out, _, err = m.migrate(from, "--workspace", "nobody")
	require.Error(t, err)
	require.Contains(t, out, `holds no workspace "nobody"`)
}
