package lightrag_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/engine/enginetest/evaldata"
	"alcove/engine/lightrag"
)

const lawFolder = "llm-replay/eu-ai-act-lightrag/"

var ctx = context.Background()

const lawID = "doc-059d913559c53a19c6d7f31316bb187f"

// writeLaw lays the recorded run out as LightRAG writes a working folder.
func writeLaw(t testing.TB, dir string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	old := evaldata.Path(t, lawFolder+"expected")
	for _, f := range []string{
		"graph_chunk_entity_relation.graphml", "kv_store_entity_chunks.json", "kv_store_full_entities.json",
		"kv_store_full_relations.json", "kv_store_relation_chunks.json", "vdb_chunks.json",
	} {
		b, err := os.ReadFile(filepath.Join(old, f))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, f), b, 0o600))
	}
	text, err := os.ReadFile(evaldata.Path(t, lawFolder+"document.txt"))
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
	for _, c := range evaldata.Rows[struct {
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
	for _, r := range evaldata.Rows[struct {
		Key, Prompt, Response string
		Kind                  string  `json:"cache_type"`
		ChunkID               *string `json:"chunk_id"`
	}](t, lawFolder+"llm_responses.jsonl") {
		answers[r.Key] = m{"return": r.Response, "cache_type": r.Kind, "chunk_id": r.ChunkID, "original_prompt": r.Prompt, "queryparam": nil, "create_time": 1779828100}
	}
	write("kv_store_llm_response_cache.json", answers)
}

func readWorkspace(t testing.TB, dir, name string) *lightrag.Workspace {
	t.Helper()
	f, err := lightrag.OpenFolder(dir, lightrag.Limits{})
	require.NoError(t, err)
	defer f.Close()
	w, err := f.Read(ctx, name)
	require.NoError(t, err)
	return w
}

// adopt brings a plan into a knowledge base with models that must not be asked.
func adopt(t testing.TB, v *enginetest.Env, kb string, p *lightrag.Plan) {
	t.Helper()
	for _, d := range p.Documents {
		_, err := v.KB(kb).Adopt(ctx, d.Adoption)
		require.NoError(t, err)
	}
	v.Wait()
}

// The recorded run over the EU AI Act, once from what its graph alone says and once
// from a whole working folder with the cached answers: 778 entities and 674 relations,
// which are 728 and 665 here, with the same neighbours; all 59 chunks as they were cut;
// no model is asked.
func TestMigrate_EUAIAct(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "rag_storage")
	writeLaw(t, whole)
	for _, c := range []struct {
		name, dir                       string
		fromAnswers, fromGraph, rebuilt int
	}{
		{name: "the graph alone", dir: evaldata.Path(t, lawFolder+"expected"), fromGraph: 59, rebuilt: 1},
		{name: "a whole folder", dir: whole, fromAnswers: 59},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := readWorkspace(t, c.dir, "")
			require.Equal(t, 1024, w.Dim)
			require.Empty(t, w.Notes)
			p := w.Plan("bge-large")
			t.Log(p.Summary(), p.AddedFromGraph, p.LeftOut, p.Unplaced)
			require.Equal(t, c.fromAnswers, p.FromAnswers)
			require.Equal(t, c.fromGraph, p.FromGraph)
			require.Equal(t, c.rebuilt, p.Rebuilt)
			require.Zero(t, p.Unplaced)
			require.Zero(t, p.Manual)
			require.Empty(t, p.Waiting)
			require.Empty(t, p.Skipped)

			chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "", engine.ErrModelDown }}
			emb := &asked{model: "bge-large"}
			v := enginetest.New(t, engine.Options{
				Offline: true, Embedder: emb, Extractor: engine.ModelExtractor(chat, engine.ExtractOptions{}),
			})
			adopt(t, v, "k", p)
			require.Zero(t, chat.Calls())
			require.Zero(t, emb.texts, "no text was embedded")

			r := v.KB("k")
			got, err := p.Verify(ctx, &r.Reader, true)
			require.NoError(t, err)
			require.Empty(t, got.Mismatches)
			require.Equal(t, []int{778, 674, 728, 665}, []int{got.SourceEntities, got.SourceRelations, got.FoundEntities, got.FoundRelations})
			require.Equal(t, 728, got.Neighbours)
			require.Equal(t, 59, got.Chunks)
			require.Equal(t, got.FoundRelations, p.Check().FoundRelations)

			// The embedder of the run answers questions: a chunk finds itself.
			emb.known = map[string][]float32{}
			for i, a := range p.Documents[0].Chunks {
				question := fmt.Sprint("zzz", i)
				emb.known[question] = a.Vector
				d, err := r.QueryData(ctx, engine.Query{Query: question, Mode: engine.ModeNaive})
				require.NoError(t, err)
				require.NotEmpty(t, d.Data.Chunks)
				require.Equal(t, a.Text, d.Data.Chunks[0].Content, i)
			}
		})
	}
}

// asked is an embedder that counts what it is asked and knows a few texts.
type asked struct {
	model string
	texts int
	known map[string][]float32
}

func (a *asked) Embed(_ context.Context, texts []string) (out [][]float32, err error) {
	for _, x := range texts {
		v, ok := a.known[x]
		if !ok {
			a.texts++
			v = make([]float32, 1024)
			v[0] = 1
		}
		out = append(out, v)
	}
	return out, nil
}
func (a *asked) Model() string { return a.model }
func (a *asked) Pure() bool    { return false }
