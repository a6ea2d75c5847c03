package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"alcove/tenancy"
)

// Models are those that tenants and knowledge bases may choose beside the server's own,
// by the names that their configuration says. All are of the server's own providers.
type Models struct {
	Chatters  map[string]Chatter
	Embedders map[string]Embedder // each as Pure as Options.Embedder
	Rerankers map[string]Reranker
}

// settings are what one knowledge base is worked on and asked with, as they are now: its
// own before its tenant's before the server's.
type settings struct {
	tenancy.Config
	tenant, kb tenancy.Config // what either of them overrides
	chat       Chatter        // nil without a language model
	embed      Embedder       // for what has no vectors yet, see embedderFor
	rerank     Reranker       // nil without one
}

// settings reads those of a knowledge base. A model that the server offers no longer
// counts as not chosen. ErrKBGone as with Space.Config.
func (e *Engine) settings(ctx context.Context, s *tenancy.Space) (*settings, error) {
	tenant, kb, err := s.Config(ctx)
	if err != nil {
		return nil, err
	}
	out := &settings{tenant: tenant, kb: kb, chat: e.o.Chatter, embed: e.o.Embedder, rerank: e.o.Reranker}
	for _, c := range []*tenancy.Config{&out.tenant, &out.kb} {
		known(&c.LLMModel, e.o.Models.Chatters, e.o.Settings.LLMModel)
		known(&c.EmbeddingModel, e.o.Models.Embedders, e.o.Settings.EmbeddingModel)
		known(&c.RerankModel, e.o.Models.Rerankers, e.o.Settings.RerankModel)
	}
	if e.memory == nil { // nothing to remember in
		out.tenant.EnableLLMCache, out.kb.EnableLLMCache = nil, nil
	}
	out.Config = out.kb.Over(out.tenant.Over(e.o.Settings))
	if m, ok := chosen(e.o.Models.Chatters, out.LLMModel); ok {
		out.chat = m
	}
	if m, ok := chosen(e.o.Models.Embedders, out.EmbeddingModel); ok {
		out.embed = m
	}
	if m, ok := chosen(e.o.Models.Rerankers, out.RerankModel); ok {
		out.rerank = m
	}
	return out, nil
}

// known forgets a choice that is neither the server's own model nor among the others.
func known[M any](name **string, offered map[string]M, own *string) {
	if *name == nil || own != nil && **name == *own {
		return
	}
	if _, ok := offered[**name]; !ok {
		*name = nil
	}
}

func chosen[M any](offered map[string]M, name *string) (m M, ok bool) {
	if name != nil {
		m, ok = offered[*name]
	}
	return m, ok
}

// wanted is the embedding model for what has no vectors yet.
func (e *Engine) wanted(ctx context.Context, s *tenancy.Space) (Embedder, error) {
	if len(e.o.Models.Embedders) == 0 {
		return e.o.Embedder, nil
	}
	set, err := e.settings(ctx, s)
	if err != nil {
		return nil, err
	}
	return set.embed, nil
}

// embedderFor is the embedding model of a knowledge base in a state: that of its
// vectors as long as the server has it, so that another choice breaks nothing and waits
// for KB.Reembed; else the wanted one.
func (e *Engine) embedderFor(st *kbState, want Embedder) Embedder {
	if st.Embedder == "" || st.Dim == 0 || want.Model() == st.Embedder {
		return want
	}
	if e.o.Embedder.Model() == st.Embedder {
		return e.o.Embedder
	}
	for _, m := range e.o.Models.Embedders {
		if m.Model() == st.Embedder {
			return m
		}
	}
	return want
}

// embedderOf is embedderFor of the state that is stored.
func (e *Engine) embedderOf(ctx context.Context, s *tenancy.Space, want Embedder) (Embedder, error) {
	if len(e.o.Models.Embedders) == 0 {
		return want, nil
	}
	var st kbState
	err := s.View(ctx, func(tx *tenancy.Tx) (err error) {
		st, err = readState(tx)
		return err
	})
	return e.embedderFor(&st, want), err
}

// answerer writes the answers of this knowledge base. Only one that asks a model has
// anything to set.
func (s *settings) answerer(own Answerer) Answerer {
	a, ok := own.(modelAnswerer)
	if !ok {
		return own
	}
	a.c = s.chat
	number := func(name string) *float64 {
		if v, ok := s.LLMModelKwargs[name].(float64); ok {
			return &v
		}
		return nil
	}
	if t := number("temperature"); t != nil {
		a.o.Temperature = t
	}
	if s.LLMTemperature != nil {
		a.o.Temperature = s.LLMTemperature
	}
	if n := number("max_tokens"); n != nil {
		a.o.MaxTokens = int(*n)
	}
	if s.LLMMaxTokens != nil {
		a.o.MaxTokens = *s.LLMMaxTokens
	}
	return a
}

// least is the similarity below which a vector is not found. The built-in embedder's
// similarities are of another kind, and none is too low unless somebody says so.
func (s *settings) least(m Embedder) float32 {
	switch {
	case s.CosineThreshold != nil:
		return float32(*s.CosineThreshold)
	case m.Pure():
		return -2
	}
	return minCosine
}

// fill puts what the knowledge base says in the place of what a question leaves open.
func (s *settings) fill(q *Query) {
	for _, x := range []struct {
		asked **int
		set   *int
	}{
		{&q.TopK, s.TopK}, {&q.ChunkTopK, s.ChunkTopK}, {&q.MaxEntityTokens, s.MaxEntityTokens},
		{&q.MaxRelationTokens, s.MaxRelationTokens}, {&q.MaxTotalTokens, s.MaxTotalTokens},
	} {
		if *x.asked == nil {
			*x.asked = x.set
		}
	}
	if q.EnableRerank == nil {
		q.EnableRerank = s.EnableRerank
	}
}

// batch is how many texts go to the embedding model at a time.
func (s *settings) batch(most int) int { return min(most, *s.EmbeddingBatchNum) }

// Setting is one setting in force and where it is from: "knowledge base", "tenant" or
// "server". Value is JSON, null where nobody says anything.
type Setting struct {
	Value json.RawMessage `json:"value"`
	From  string          `json:"from"`
}

// Settings returns the settings in force by their names in a configuration, but for
// what is the callers' own and moves nothing.
func (r *Reader) Settings(ctx context.Context) (map[string]Setting, error) {
	s, err := r.eng.settings(ctx, r.space)
	if err != nil {
		return nil, err
	}
	var all, kb, tenant map[string]json.RawMessage
	for c, into := range map[*tenancy.Config]*map[string]json.RawMessage{&s.Config: &all, &s.kb: &kb, &s.tenant: &tenant} {
		if *into, err = said(c); err != nil {
			return nil, err
		}
	}
	out := make(map[string]Setting, len(all))
	for _, name := range tenancy.SettingNames() {
		x := Setting{all[name], "server"}
		if _, ok := kb[name]; ok {
			x.From = "knowledge base"
		} else if _, ok := tenant[name]; ok {
			x.From = "tenant"
		}
		out[name] = x
	}
	return out, nil
}

// said are the values that a level says by their names: none for what is empty.
func said(c *tenancy.Config) (m map[string]json.RawMessage, err error) {
	b, err := json.Marshal(c)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	maps.DeleteFunc(m, func(_ string, v json.RawMessage) bool {
		return string(v) == `""` || string(v) == "[]" || string(v) == "{}"
	})
	return m, err
}

// serverSettings completes the server's own settings, so that each that moves something
// has a value; what the options say elsewhere is said here too.
func (o *Options) serverSettings() error {
	s := &o.Settings
	for _, d := range []struct {
		v   **int
		def int
	}{
		{&s.TopK, 40}, {&s.ChunkTopK, 20}, {&s.MaxEntityTokens, 6000}, {&s.MaxRelationTokens, 8000}, {&s.MaxTotalTokens, 30_000},
		{&s.ChunkSize, o.ChunkTokens}, {&s.ChunkOverlap, o.ChunkOverlap}, {&s.EmbeddingBatchNum, o.EmbedBatch},
	} {
		fallback(d.v, d.def)
	}
	fallback(&s.MinRerankScore, o.MinRerankScore)
	fallback(&s.EnableRerank, true)
	fallback(&s.EnableLLMCache, o.QueryCacheBytes >= 0)
	fallback(&s.EmbeddingModel, o.Embedder.Model())
	if o.Chatter != nil {
		fallback(&s.LLMModel, o.Chatter.Model())
	}
	if o.Reranker != nil {
		fallback(&s.RerankModel, o.Reranker.Model())
	}
	if x, ok := o.Extractor.(*modelExtractor); ok {
		fallback(&s.Language, x.o.Language)
		fallback(&s.Gleaning, x.o.Gleaning)
		if len(s.EntityTypes) == 0 {
			s.EntityTypes = x.o.Types
		}
	}
	for name, m := range o.Models.Embedders {
		if m.Pure() != o.Embedder.Pure() {
			return fmt.Errorf("the embedding model %s cannot stand beside the server's own", name)
		}
	}
	if len(o.Models.Chatters) > 0 && o.Chatter == nil || len(o.Models.Rerankers) > 0 && o.Reranker == nil {
		return errors.New("models to choose from need one of the server's own")
	}
	return nil
}

// fallback sets what nobody has set.
func fallback[T any](v **T, to T) {
	if *v == nil {
		*v = &to
	}
}
