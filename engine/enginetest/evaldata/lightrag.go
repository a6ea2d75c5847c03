package evaldata

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// lawFolder is the recorded run, lawID its one document.
const (
	lawFolder = "llm-replay/eu-ai-act-lightrag/"
	lawID     = "doc-059d913559c53a19c6d7f31316bb187f"
)

// LightRAGFolder lays the recorded run over the EU AI Act out as LightRAG writes a
// working folder: texts, chunks, states, cached answers, chunk vectors and the graph.
func LightRAGFolder(t testing.TB, dir string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	old := Path(t, lawFolder+"expected")
	for _, f := range []string{
		"graph_chunk_entity_relation.graphml", "kv_store_entity_chunks.json", "kv_store_full_entities.json",
		"kv_store_full_relations.json", "kv_store_relation_chunks.json", "vdb_chunks.json",
	} {
		b, err := os.ReadFile(filepath.Join(old, f))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, f), b, 0o600))
	}
	text, err := os.ReadFile(Path(t, lawFolder+"document.txt"))
	require.NoError(t, err)
	write := func(name string, v any) {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		require.NoError(t, e.Encode(v))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600))
	}
	type m = map[string]any
	write("kv_store_full_docs.json", m{lawID: m{"content": string(text), "file_path": "eu-ai-act.txt", "create_time": 1779828000, "_id": lawID}})
	chunks, ids := m{}, []string{}
	for _, c := range Rows[struct {
		ID, Content string
		Order       int
		Tokens      int
		Cached      []string `json:"llm_cache_list"`
	}](t, lawFolder+"chunks.jsonl") {
		ids = append(ids, c.ID)
		chunks[c.ID] = m{"content": c.Content, "tokens": c.Tokens, "chunk_order_index": c.Order, "full_doc_id": lawID, "file_path": "eu-ai-act.txt", "llm_cache_list": c.Cached}
	}
	write("kv_store_text_chunks.json", chunks)
	write("kv_store_doc_status.json", m{lawID: m{
		"status": "processed", "chunks_count": len(ids), "chunks_list": ids, "content_summary": string(text[:100]), "content_length": 339020,
		"created_at": "2026-05-26T20:40:09.123456+00:00", "updated_at": "2026-05-26T21:00:00+00:00", "file_path": "eu-ai-act.txt",
		"track_id": "insert_20260526_204009_0a1b2c3d", "metadata": m{"processing_start_time": 1779828009},
	}})
	answers := m{}
	for _, r := range Rows[struct {
		Key, Prompt, Response string
		Kind                  string  `json:"cache_type"`
		ChunkID               *string `json:"chunk_id"`
	}](t, lawFolder+"llm_responses.jsonl") {
		answers[r.Key] = m{"return": r.Response, "cache_type": r.Kind, "chunk_id": r.ChunkID, "original_prompt": r.Prompt, "queryparam": nil, "create_time": 1779828100}
	}
	write("kv_store_llm_response_cache.json", answers)
}
