package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"alcove/engine"
	"alcove/engine/builtin"
	"alcove/engine/ollama"
	"alcove/engine/openai"
	"alcove/engine/parse"
	"alcove/engine/rerank"
	"alcove/tenancy"
)

// models are the implementations of engine's interfaces that the settings name.
type models struct {
	chatter   engine.Chatter // nil without a language model
	embedder  engine.Embedder
	extractor engine.Extractor
	answerer  engine.Answerer
	reranker  engine.Reranker // nil without one

	names engine.Models  // more of them, that tenants may choose
	own   tenancy.Config // the names of those above, where they have one
}

// offered are the names that a tenant may choose from.
func (m models) offered() (o tenancy.Models) {
	list := func(own *string, others []string) []string {
		if own != nil {
			others = append([]string{*own}, others...)
		}
		return others
	}
	o.Chat = list(m.own.LLMModel, slices.Sorted(maps.Keys(m.names.Chatters)))
	o.Embedding = list(m.own.EmbeddingModel, slices.Sorted(maps.Keys(m.names.Embedders)))
	o.Rerank = list(m.own.RerankModel, slices.Sorted(maps.Keys(m.names.Rerankers)))
	return o
}

// String names the models for a log line.
func (m models) String() string {
	chat := "none"
	if m.chatter != nil {
		chat = m.chatter.Model()
	}
	text := fmt.Sprintf("chat %s, embedding %s", chat, m.embedder.Model())
	if m.reranker != nil {
		text += ", rerank " + m.reranker.Model()
	}
	return text
}

func (m models) into(o *engine.Options) {
	o.Parser = parse.New(parse.Options{})
	o.HTML = parse.HTML
	o.Chatter, o.Embedder, o.Extractor, o.Answerer, o.Reranker = m.chatter, m.embedder, m.extractor, m.answerer, m.reranker
	o.Models = m.names
	o.Settings = m.own.Over(o.Settings)
	if m.chatter != nil {
		o.Fallback = builtin.Answerer()
	}
}

// Where the model servers are when nothing else is said.
const (
	ollamaHost = "http://127.0.0.1:11434"
	openaiHost = "https://api.openai.com/v1"
)

// models reads the settings of the providers; what it returns makes them.
func (v *values) models() func() (models, error) {
	chat := v.oneOf("LLM_BINDING", "builtin", "ollama", "openai")
	embed := v.oneOf("EMBEDDING_BINDING", "builtin", "ollama", "openai")
	timeout := v.seconds("LLM_TIMEOUT", 1, 86_400)
	numCtx := int(v.number("OLLAMA_LLM_NUM_CTX", 512, 1<<21))
	embedCtx := int(v.number("OLLAMA_EMBEDDING_NUM_CTX", 128, 1<<21))
	window := int(v.number("LLM_CONTEXT_TOKENS", 0, 1<<22))
	if chat == "ollama" {
		window = numCtx
	}
	extraction := engine.ExtractOptions{
		Language: v.str("SUMMARY_LANGUAGE"), Types: v.list("ENTITY_TYPES"),
		Format:   v.oneOf("EXTRACT_FORMAT", engine.FormatAuto, engine.FormatJSON, engine.FormatRows),
		Gleaning: int(v.number("MAX_GLEANING", 0, engine.MaxGleaning)),
	}
	dim := int(v.number("EMBEDDING_DIM", 0, 16_384))
	if chat != "builtin" && v.str("LLM_MODEL") == "" {
		v.bad("LLM_MODEL", "is needed with LLM_BINDING=%s", chat)
	}
	if embed != "builtin" && v.str("EMBEDDING_MODEL") == "" {
		v.bad("EMBEDDING_MODEL", "is needed with EMBEDDING_BINDING=%s", embed)
	}
	def := func(binding string) string {
		if binding == "openai" {
			return openaiHost
		}
		return ollamaHost
	}
	chatHost := v.url("LLM_BINDING_HOST", def(chat))
	embedDef := def(embed)
	embedKey := v.secret("EMBEDDING_BINDING_API_KEY")
	if embed == chat {
		embedDef = chatHost
		if embedKey == "" {
			embedKey = v.secret("LLM_BINDING_API_KEY")
		}
	}
	embedHost := v.url("EMBEDDING_BINDING_HOST", embedDef)
	batch := int(v.number("EMBEDDING_BATCH_NUM", 1, 2048))
	chatEnd := endpoint{chat, chatHost, v.secret("LLM_BINDING_API_KEY"), timeout}
	embedEnd := endpoint{embed, embedHost, embedKey, timeout}
	reranker := v.reranker(chat)
	chats, embeds, ranks := v.more("LLM", chat), v.more("EMBEDDING", embed), v.more("RERANK", strings.ToLower(v.str("RERANK_BINDING")))
	return func() (m models, err error) {
		if m.chatter, err = chatEnd.chatter(v.str("LLM_MODEL"), window); err != nil {
			return m, fmt.Errorf("LLM_BINDING %s: %w", chat, err)
		}
		if m.embedder, err = embedEnd.embedder(v.str("EMBEDDING_MODEL"), embedCtx, dim, batch); err != nil {
			return m, fmt.Errorf("EMBEDDING_BINDING %s: %w", embed, err)
		}
		if m.reranker, err = reranker(m.chatter, v.str("RERANK_MODEL")); err != nil {
			return m, fmt.Errorf("RERANK_BINDING: %w", err)
		}
		m.own = tenancy.Config{LLMModel: named(m.chatter != nil, v.str("LLM_MODEL")), RerankModel: named(m.reranker != nil, v.str("RERANK_MODEL")),
			EmbeddingModel: named(true, cmp.Or(v.str("EMBEDDING_MODEL"), m.embedder.Model()))}
		if m.names.Chatters, err = each(chats, func(name string) (engine.Chatter, error) { return chatEnd.chatter(name, window) }); err != nil {
			return m, fmt.Errorf("LLM_MODELS: %w", err)
		}
		if m.names.Embedders, err = each(embeds, func(name string) (engine.Embedder, error) {
			return embedEnd.embedder(name, embedCtx, 0, batch)
		}); err != nil {
			return m, fmt.Errorf("EMBEDDING_MODELS: %w", err)
		}
		if m.names.Rerankers, err = each(ranks, func(name string) (engine.Reranker, error) { return reranker(m.chatter, name) }); err != nil {
			return m, fmt.Errorf("RERANK_MODELS: %w", err)
		}
		if m.chatter == nil {
			m.extractor, m.answerer = builtin.Extractor(builtin.Options{}), builtin.Answerer()
			return m, nil
		}
		m.extractor = engine.ModelExtractor(m.chatter, extraction)
		m.answerer = engine.ModelAnswerer(m.chatter, engine.AnswerOptions{})
		return m, nil
	}
}

// reranker reads the settings of the reranker; what it returns makes it, nil when
// there is none.
func (v *values) reranker(chat string) func(c engine.Chatter, model string) (engine.Reranker, error) {
	binding := v.oneOf("RERANK_BINDING", "null", "none", "cohere", "jina", "openai", "tei", "llm")
	o := rerank.Options{
		Shape: rerank.Shape(binding), URL: v.url("RERANK_BINDING_HOST", ""), Model: v.str("RERANK_MODEL"), APIKey: v.secret("RERANK_BINDING_API_KEY"),
		Remote: engine.RemoteOptions{Idle: v.seconds("RERANK_TIMEOUT", 1, 3600)},
	}
	switch {
	case binding == "llm" && chat == "builtin":
		v.bad("RERANK_BINDING", "llm needs a chat model: LLM_BINDING is builtin")
	case (binding == "openai" || binding == "tei") && o.URL == "":
		v.bad("RERANK_BINDING_HOST", "is needed with RERANK_BINDING=%s", binding)
	case (binding == "openai" || binding == "cohere" || binding == "jina") && o.Model == "":
		v.bad("RERANK_MODEL", "is needed with RERANK_BINDING=%s", binding)
	}
	return func(c engine.Chatter, model string) (engine.Reranker, error) {
		o := o
		o.Model = model
		switch binding {
		case "null", "none":
			return nil, nil
		case "llm":
			return engine.ModelReranker(c, engine.ModelRerankOptions{}), nil
		}
		r, err := rerank.New(o)
		if err != nil {
			return nil, err // a nil *rerank.Client is no nil Reranker
		}
		return r, nil
	}
}

// more reads the names of further models of a binding: those of its server.
func (v *values) more(of, binding string) (names []string) {
	setting := of + "_MODELS"
	names = v.list(setting)
	if len(names) > 0 && (binding == "builtin" || binding == "null" || binding == "none" || binding == "llm") {
		v.bad(setting, "needs a model server: %s_BINDING is %s", of, binding)
	}
	if own := v.str(of + "_MODEL"); own != "" {
		names = slices.DeleteFunc(names, func(n string) bool { return n == own })
	}
	return names
}

// each makes a model for every name.
func each[M any](names []string, make func(string) (M, error)) (map[string]M, error) {
	out := map[string]M{}
	for _, name := range names {
		m, err := make(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = m
	}
	return out, nil
}

// named is a model's name, where there is the model and it has one.
func named(is bool, name string) *string {
	if !is || name == "" {
		return nil
	}
	return &name
}

// endpoint is one model server.
type endpoint struct {
	binding, url string
	key          engine.Secret
	idle         time.Duration
}

// chatter is nil for the builtin binding, which has no language model.
func (e endpoint) chatter(model string, contextTokens int) (engine.Chatter, error) {
	remote := engine.RemoteOptions{Idle: e.idle}
	switch e.binding {
	case "ollama":
		c, err := ollama.New(ollama.Options{URL: e.url, APIKey: e.key, ChatModel: model, ContextTokens: contextTokens, Remote: remote})
		if err != nil {
			return nil, err
		}
		return c.Chatter(), nil
	case "openai":
		c, err := openai.New(openai.Options{URL: e.url, APIKey: e.key, ChatModel: model, ContextTokens: contextTokens, Remote: remote})
		if err != nil {
			return nil, err
		}
		return c.Chatter(), nil
	}
	return nil, nil
}

func (e endpoint) embedder(model string, contextTokens, dim, batch int) (engine.Embedder, error) {
	remote := engine.RemoteOptions{Idle: e.idle}
	switch e.binding {
	case "ollama":
		c, err := ollama.New(ollama.Options{
			URL: e.url, APIKey: e.key, EmbedModel: model, EmbedTokens: contextTokens, Dimensions: dim, EmbedBatch: batch, Remote: remote,
		})
		if err != nil {
			return nil, err
		}
		return c.Embedder(), nil
	case "openai":
		c, err := openai.New(openai.Options{URL: e.url, APIKey: e.key, EmbedModel: model, Dimensions: dim, EmbedBatch: batch, Remote: remote})
		if err != nil {
			return nil, err
		}
		return c.Embedder(), nil
	}
	return builtin.Embedder(), nil
}
