package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// levels is an engine whose models say what they were asked, for one setting at a time.
type levels struct {
	*enginetest.Env
	t     *testing.T
	mu    sync.Mutex
	chats []engine.ChatRequest // of whatever chat model
	model []string             // its name
	texts []int                // of each embedding call
}

func newLevels(t *testing.T) *levels {
	l := &levels{t: t}
	chat := func(name string) engine.Chatter {
		return &enginetest.Chatter{Name: name, Reply: func(r engine.ChatRequest) (string, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.chats, l.model = append(l.chats, r), append(l.model, name)
			if strings.Contains(r.System, "entity<|#|>") {
				return "entity<|#|>Ada<|#|>Person<|#|>She wrote.\nentity<|#|>Babbage<|#|>Person<|#|>He built.\n" +
					"relation<|#|>Ada<|#|>Babbage<|#|>letters<|#|>She wrote to him.", nil
			}
			return `{"high_level_keywords":["letters"],"low_level_keywords":["Ada"]}`, nil
		}}
	}
	embed := func(name string) engine.Embedder {
		e := &modelEmbedder{enginetest.Embedder{Name: name}}
		e.Before = func(_ context.Context, _ int, asked string) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.texts = append(l.texts, strings.Count(asked, "Ada wrote"))
			return nil
		}
		return e
	}
	own := chat("own")
	l.Env = enginetest.New(t, engine.Options{
		Chatter: own, Embedder: embed("own"), Reranker: byLength("own"),
		Extractor: engine.ModelExtractor(own, engine.ExtractOptions{Format: engine.FormatRows}),
		Answerer:  engine.ModelAnswerer(own, engine.AnswerOptions{}),
		Models: engine.Models{
			Chatters:  map[string]engine.Chatter{"a": chat("a"), "b": chat("b")},
			Embedders: map[string]engine.Embedder{"a": embed("a"), "b": embed("b")},
			Rerankers: map[string]engine.Reranker{"a": byLength("a"), "b": byLength("b")},
		},
		Workers: 1, ModelConcurrency: 1,
	})
	return l
}

// modelEmbedder is a scripted embedder that profiles are stored of, as a server's is.
type modelEmbedder struct{ enginetest.Embedder }

func (*modelEmbedder) Pure() bool { return false }

// byLength is a reranker that likes long texts.
type byLength string

func (byLength) Rerank(_ context.Context, _ string, texts []string) (r engine.RerankReply, _ error) {
	for _, t := range texts {
		r.Scores = append(r.Scores, float64(len(t)))
	}
	return r, nil
}

func (n byLength) Model() string { return string(n) }

// fill gives a base three documents.
func (l *levels) fill(kb string) {
	l.Add(kb, "long", strings.Repeat("Ada wrote to Babbage about the engine and the number nine. ", 30))
	l.Add(kb, "short", "Ada wrote a note.")
	l.Add(kb, "other", "Ada wrote nothing on ships, ports and the weather at sea.")
	l.Wait()
}

// answered is an answer to a question nobody has asked, and the chat calls for it.
func (l *levels) answered(kb string, q engine.Query) (*engine.Answer, []engine.ChatRequest) {
	l.t.Helper()
	if q.Query == "" {
		q.Query = "What did Ada write?"
	}
	l.mu.Lock()
	l.chats, l.model = nil, nil
	l.mu.Unlock()
	a, err := l.KB(kb).Query(ctx, q)
	require.NoError(l.t, err)
	return a, l.chats
}

func (l *levels) data(kb string) *engine.Data {
	l.t.Helper()
	d, err := l.KB(kb).QueryData(ctx, engine.Query{Query: "What did Ada write to Babbage?", Mode: engine.ModeHybrid})
	require.NoError(l.t, err)
	return d
}

// extraction is the first request by which a new base's text is read.
func (l *levels) extraction(kb string) (engine.ChatRequest, string) {
	l.t.Helper()
	l.chats, l.model = nil, nil
	l.Add(kb, "d", "Ada wrote to "+kb+".")
	l.Wait()
	require.NotEmpty(l.t, l.chats)
	return l.chats[0], l.model[0]
}

// effects says of each setting that moves something how it is seen to do so, and two
// values of it that are seen to be another than the server's and each other.
var effects = map[string]struct {
	tenant, kb string
	see        func(l *levels, kb string) any
}{
	"llm_model": {`"a"`, `"b"`, func(l *levels, kb string) any {
		_, reads := l.extraction(kb)
		a, _ := l.answered(kb, engine.Query{})
		return reads + a.LLM
	}},
	"embedding_model": {`"a"`, `"b"`, func(l *levels, kb string) any {
		l.fill(kb)
		c, err := l.KB(kb).Counts(ctx)
		require.NoError(l.t, err)
		l.data(kb) // is searched with it
		return c.Embedding.Model
	}},
	"rerank_model": {`"a"`, `"b"`, func(l *levels, kb string) any {
		l.fill(kb)
		a, _ := l.answered(kb, engine.Query{})
		return a.Metadata.Rerank
	}},
	"llm_model_kwargs": {`{"temperature":0.25}`, `{"max_tokens":77}`, func(l *levels, kb string) any { return l.writing(kb) }},
	"llm_temperature":  {`0.5`, `1.5`, func(l *levels, kb string) any { return l.writing(kb) }},
	"llm_max_tokens":   {`55`, `66`, func(l *levels, kb string) any { return l.writing(kb) }},
	"embedding_batch_num": {`2`, `1`, func(l *levels, kb string) any {
		configure(l.t, l.Env, kb, `{"chunk_size":16}`)
		l.texts = nil
		l.Add(kb, "long", strings.Repeat("Ada wrote to Babbage about the engine and the number nine. ", 30))
		l.Wait()
		most := 0
		for _, n := range l.texts {
			most = max(most, n)
		}
		return most
	}},
	"top_k": {`1`, `2`, func(l *levels, kb string) any {
		l.fill(kb)
		a, _ := l.answered(kb, engine.Query{})
		return fmt.Sprint(a.Metadata.TopK, len(l.data(kb).Data.Entities))
	}},
	"chunk_top_k": {`1`, `2`, func(l *levels, kb string) any {
		l.fill(kb)
		a, _ := l.answered(kb, engine.Query{})
		return fmt.Sprint(a.Metadata.ChunkTopK, len(a.References))
	}},
	"max_entity_tokens": {`1`, `40`, func(l *levels, kb string) any {
		l.fill(kb)
		return len(l.data(kb).Data.Entities)
	}},
	"max_relation_tokens": {`1`, `1000`, func(l *levels, kb string) any {
		l.fill(kb)
		return fmt.Sprint(len(l.data(kb).Data.Relationships), *l.inForce(kb, "max_relation_tokens"))
	}},
	"max_total_tokens": {`1`, `700`, func(l *levels, kb string) any {
		l.fill(kb)
		a, _ := l.answered(kb, engine.Query{})
		return fmt.Sprint(len(a.References), *l.inForce(kb, "max_total_tokens"))
	}},
	"cosine_threshold": {`0.9999`, `-1`, func(l *levels, kb string) any {
		l.fill(kb)
		x, err := l.KB(kb).QueryExplain(ctx, engine.Query{Query: "Weather ports ships unheard zebra?", Mode: engine.ModeNaive})
		require.NoError(l.t, err)
		n := 0
		for _, c := range x.Chunks {
			for _, s := range c.Stages {
				if s.Stage == "vector" {
					n++
				}
			}
		}
		return n
	}},
	"min_rerank_score": {`100`, `1000000`, func(l *levels, kb string) any {
		l.fill(kb)
		a, _ := l.answered(kb, engine.Query{})
		return len(a.References)
	}},
	"enable_rerank": {`false`, `true`, func(l *levels, kb string) any {
		l.fill(kb)
		a, _ := l.answered(kb, engine.Query{})
		return a.Metadata.Rerank
	}},
	"enable_llm_cache": {`false`, `true`, func(l *levels, kb string) any {
		l.fill(kb)
		l.answered(kb, engine.Query{})
		a, again := l.answered(kb, engine.Query{})
		return fmt.Sprint(a.Metadata.Cached, len(again))
	}},
	"chunk_size": {`100`, `50`, func(l *levels, kb string) any {
		l.fill(kb)
		return document(l.t, l.Env, kb, "long").ChunksCount
	}},
	"chunk_overlap": {`0`, `40`, func(l *levels, kb string) any {
		configure(l.t, l.Env, kb, `{"chunk_size":100}`)
		l.fill(kb)
		page, err := l.KB(kb).Chunks(ctx, "long", "", 10)
		require.NoError(l.t, err)
		return page.Chunks[0].End - page.Chunks[1].Start
	}},
	"language": {`"Dutch"`, `"French"`, func(l *levels, kb string) any {
		r, _ := l.extraction(kb)
		return fmt.Sprint(strings.Contains(r.System, "Dutch"), strings.Contains(r.System, "French"))
	}},
	"entity_types": {`["Ship"]`, `["Port"]`, func(l *levels, kb string) any {
		r, _ := l.extraction(kb)
		return fmt.Sprint(strings.Contains(r.System, "Ship"), strings.Contains(r.System, "Port"))
	}},
	"gleaning": {`1`, `2`, func(l *levels, kb string) any {
		l.extraction(kb)
		return len(l.chats)
	}},
	"prompts": {`{"keywords":"Tenant's."}`, `{"keywords":"Own."}`, func(l *levels, kb string) any {
		l.fill(kb)
		_, asked := l.answered(kb, engine.Query{})
		return asked[0].System
	}},
}

// writing is how the model is asked to write an answer.
func (l *levels) writing(kb string) any {
	l.fill(kb)
	_, asked := l.answered(kb, engine.Query{})
	r := asked[len(asked)-1]
	t := "none"
	if r.Temperature != nil {
		t = fmt.Sprint(*r.Temperature)
	}
	return fmt.Sprint(t, " ", r.MaxTokens)
}

func (l *levels) inForce(kb, name string) *json.RawMessage {
	l.t.Helper()
	s, err := l.KB(kb).Settings(ctx)
	require.NoError(l.t, err)
	v := s[name].Value
	return &v
}

// Every setting moves what it says, for a tenant and, before that, for a knowledge base;
// and a reader is told what is in force and whose word it is. A setting that is added
// without an effect to show fails here.
func TestSettings_EachMovesSomething(t *testing.T) {
	for _, name := range tenancy.SettingNames() {
		t.Run(name, func(t *testing.T) {
			e, ok := effects[name]
			require.True(t, ok, "what does it move?")
			l := newLevels(t)
			set := func(kb, value string) {
				configure(t, l.Env, kb, fmt.Sprintf(`{%q:%s}`, name, value))
			}
			configure(t, l.Env, "server", `{}`)
			told := func(kb, from, value string) {
				s, err := l.KB(kb).Settings(ctx)
				require.NoError(t, err)
				require.Equal(t, from, s[name].From)
				if value != "" {
					require.JSONEq(t, value, string(s[name].Value))
				}
			}
			told("server", "server", "")
			server := e.see(l, "server")

			var c tenancy.Config
			require.NoError(t, json.Unmarshal(fmt.Appendf(nil, `{%q:%s}`, name, e.tenant), &c))
			_, err := l.Store.UpdateTenant(ctx, l.Admin, enginetest.Tenant, tenancy.TenantUpdate{Config: &c})
			require.NoError(t, err)
			configure(t, l.Env, "tenant", `{}`)
			told("tenant", "tenant", e.tenant)
			tenant := e.see(l, "tenant")
			require.NotEqual(t, server, tenant)

			set("kb", e.kb)
			if name != "llm_model_kwargs" {
				told("kb", "knowledge base", e.kb)
			}
			kb := e.see(l, "kb")
			require.NotEqual(t, tenant, kb)

			_, err = l.Store.UpdateKB(ctx, l.Admin, enginetest.Tenant, "kb", tenancy.KBUpdate{ConfigUnset: []string{name}})
			require.NoError(t, err)
			told("kb", "tenant", e.tenant)
		})
	}
}

// What a request says goes before what its knowledge base does.
func TestSettings_TheRequestGoesFirst(t *testing.T) {
	l := newLevels(t)
	configure(t, l.Env, "kb", `{"top_k":5,"chunk_top_k":6,"enable_rerank":false,"max_entity_tokens":1}`)
	l.fill("kb")
	seven, eight, yes, many := 7, 8, true, 5000
	a, _ := l.answered("kb", engine.Query{})
	require.Equal(t, []any{5, 6, ""}, []any{a.Metadata.TopK, a.Metadata.ChunkTopK, a.Metadata.Rerank})
	require.Empty(t, l.data("kb").Data.Entities)
	a, _ = l.answered("kb", engine.Query{TopK: &seven, ChunkTopK: &eight, EnableRerank: &yes})
	require.Equal(t, []any{7, 8, "own"}, []any{a.Metadata.TopK, a.Metadata.ChunkTopK, a.Metadata.Rerank})
	d, err := l.KB("kb").QueryData(ctx, engine.Query{Query: "What did Ada write?", Mode: engine.ModeHybrid, MaxEntityTokens: &many})
	require.NoError(t, err)
	require.NotEmpty(t, d.Data.Entities)
}

// Another embedding model for a tenant breaks none of its knowledge bases: those with
// vectors keep the model of these until they are taken to the other one.
func TestSettings_EmbeddingModelWaitsForReembed(t *testing.T) {
	l := newLevels(t)
	l.fill("kb")
	a := "a"
	_, err := l.Store.UpdateTenant(ctx, l.Admin, enginetest.Tenant, tenancy.TenantUpdate{Config: &tenancy.Config{EmbeddingModel: &a}})
	require.NoError(t, err)
	made := func() string {
		c, err := l.KB("kb").Counts(ctx)
		require.NoError(t, err)
		return c.Embedding.Model
	}
	l.Add("kb", "more", "Ada wrote more.")
	l.Wait()
	require.Equal(t, "own", made())
	require.NotEmpty(t, l.data("kb").Data.Chunks)
	l.Restart()
	require.NotEmpty(t, l.data("kb").Data.Chunks)
	out, err := l.KB("kb").Reembed(ctx, false)
	require.NoError(t, err)
	require.Equal(t, "a", out.Model)
	l.Wait()
	require.Equal(t, "a", made())
	d := l.data("kb")
	require.NotEmpty(t, d.Data.Chunks)
	require.Empty(t, d.Metadata.DegradedReason)
}
