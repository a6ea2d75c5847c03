package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// ModelRerankOptions configure a ModelReranker. Zero means the default given
// beside the field.
type ModelRerankOptions struct {
	Passages int // 30: how many passages of a question are judged
	Tokens   int // 12,000 of passages a call, shared evenly; a longer one is judged by its beginning
}

// ModelReranker returns a Reranker that lets a chat model judge the first passages
// in one call, from 0 to 10. A passage that its reply forgets has 0; a reply
// without any score is an error that wraps ErrModelRefused.
func ModelReranker(c Chatter, o ModelRerankOptions) Reranker {
	if o.Passages <= 0 {
		o.Passages = 30
	}
	if o.Tokens <= 0 {
		o.Tokens = 12_000
	}
	return modelReranker{c, o}
}

type modelReranker struct {
	c Chatter
	o ModelRerankOptions
}

// Model is the chat model's name.
func (r modelReranker) Model() string { return r.c.Model() }

// Rerank asks the model. Errors are those of Chatter.Chat.
func (r modelReranker) Rerank(ctx context.Context, query string, texts []string) (RerankReply, error) {
	texts = firstN(texts, r.o.Passages)
	if len(texts) == 0 {
		return RerankReply{}, nil
	}
	reply, err := chatJSON(ctx, r.c, rerankRequest(query, texts, r.o.Tokens/len(texts)))
	if err != nil {
		return RerankReply{}, fmt.Errorf("rerank with %s: %w", r.c.Model(), err)
	}
	scores, ok := parseScores(reply.Text, len(texts))
	if !ok {
		return RerankReply{}, fmt.Errorf("%w: rerank with %s: no scores in the reply", ErrModelRefused, r.c.Model())
	}
	return RerankReply{Scores: scores, PromptTokens: reply.PromptTokens, ReplyTokens: reply.ReplyTokens}, nil
}

// Bounds of a reply: what a model thinks first, and what one score takes.
const (
	rerankThoughtTokens = 4096
	rerankScoreTokens   = 16
)

func rerankRequest(query string, texts []string, each int) ChatRequest {
	zero := 0.0
	var b strings.Builder
	b.WriteString(jsonLine(struct {
		Question string `json:"question"`
	}{query}))
	for i, t := range texts {
		b.WriteString(jsonLine(struct {
			ID      int    `json:"id"`
			Passage string `json:"passage"`
		}{i + 1, cutTokens(t, each)}))
	}
	text := b.String()
	f := fence(text)
	return ChatRequest{
		System:      promptText(promptRerank),
		Messages:    []Message{{Role: "user", Content: f + "\n" + text + f}},
		JSON:        true,
		Schema:      scoresSchema,
		MaxTokens:   rerankThoughtTokens + rerankScoreTokens*len(texts),
		Temperature: &zero,
	}
}

// parseScores reads the reply to rerankRequest. Entries that are out of range or
// no numbers count for nothing, of two for one passage the first counts.
func parseScores(reply string, n int) ([]float64, bool) {
	scores := make([]float64, n)
	seen := make([]bool, n)
	any := false
	for _, object := range innerObjects(withoutThinking(reply)) {
		m, ok := decodeObject(object)
		if !ok {
			continue
		}
		id, okID := numberOf(m, "id", "index", "passage")
		score, okScore := numberOf(m, "score", "relevance_score", "relevance")
		if i := int(id) - 1; okID && okScore && id >= 1 && id <= float64(n) && float64(i+1) == id && !seen[i] {
			scores[i], seen[i], any = min(max(score, 0), 10), true, true
		}
	}
	return scores, any
}

// numberOf returns the first of the keys that holds a number, written as one or
// as text.
func numberOf(m map[string]any, keys ...string) (float64, bool) {
	for _, k := range keys {
		switch v := m[k].(type) {
		case float64:
			return v, true
		case json.Number:
			x, err := v.Float64()
			return x, err == nil
		case string:
			x, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			return x, err == nil && x == x
		}
	}
	return 0, false
}
