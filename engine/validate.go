package engine

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of a query, LightRAG's where it has them.
const (
	minQueryChars     = 3
	maxQueryChars     = 65_536
	maxQueryTextChars = 131_072 // all text of a request together
	maxTopK           = 1000
	maxTokenBudget    = 1_000_000
	maxKeywords       = 64
	maxKeywordChars   = 512
	maxHistory        = 128
	maxHistoryChars   = 32_768
	maxResponseType   = 256
)

var modes = []Mode{ModeLocal, ModeGlobal, ModeHybrid, ModeNaive, ModeMix, ModePPR, ModeBypass}

// plan checks a query and fills in its defaults. Nothing is clamped: a value
// out of range is an error that names the field and the range.
func (q Query) plan() (*plan, error) {
	p := &plan{
		Query: q, mode: q.Mode,
		references: q.IncludeReferences == nil || *q.IncludeReferences,
		rerank:     q.EnableRerank == nil || *q.EnableRerank,
		html:       q.ResponseFormat == FormatHTML,
	}
	if p.mode == "" {
		p.mode = ModeMix
	}
	known := false
	for _, m := range modes {
		known = known || m == p.mode
	}
	if !known {
		return nil, badField("mode", fmt.Sprintf("%q is not one of local, global, hybrid, naive, mix, ppr, bypass", q.Mode))
	}
	p.Query.Query = strings.TrimSpace(q.Query)
	if n := utf8.RuneCountInString(p.Query.Query); n < minQueryChars || n > maxQueryChars {
		return nil, badField("query", fmt.Sprintf("has %d characters; %d to %d are allowed", n, minQueryChars, maxQueryChars))
	}
	p.asked = p.Query.Query
	if q.ResponseFormat != "" && q.ResponseFormat != FormatMarkdown && !p.html {
		return nil, badField("response_format", fmt.Sprintf("%q is neither markdown nor html", q.ResponseFormat))
	}
	for _, x := range []struct {
		field    string
		v        *int
		into     *int
		def, max int
	}{
		{"top_k", q.TopK, &p.topK, 40, maxTopK},
		{"chunk_top_k", q.ChunkTopK, &p.chunkTopK, 20, maxTopK},
		{"max_entity_tokens", q.MaxEntityTokens, &p.entityTokens, 6000, maxTokenBudget},
		{"max_relation_tokens", q.MaxRelationTokens, &p.relationTokens, 8000, maxTokenBudget},
		{"max_total_tokens", q.MaxTotalTokens, &p.totalTokens, 30_000, maxTokenBudget},
	} {
		*x.into = x.def
		if x.v == nil {
			continue
		}
		if *x.v < 1 || *x.v > x.max {
			return nil, badField(x.field, fmt.Sprintf("is %d; 1 to %d are allowed", *x.v, x.max))
		}
		*x.into = *x.v
	}
	if n := utf8.RuneCountInString(q.ResponseType); n > maxResponseType {
		return nil, badField("response_type", fmt.Sprintf("has %d characters; at most %d are allowed", n, maxResponseType))
	}
	if p.ResponseType == "" {
		p.ResponseType = "Multiple Paragraphs"
	}
	total := 0
	// count refuses what no document holds either, and sums up.
	count := func(field, text string) error {
		if strings.IndexByte(text, 0) >= 0 {
			return badField(field, "has a NUL character")
		}
		total += utf8.RuneCountInString(text)
		return nil
	}
	for _, x := range []struct{ field, text string }{{"query", p.Query.Query}, {"response_type", q.ResponseType}, {"user_prompt", q.UserPrompt}} {
		if err := count(x.field, x.text); err != nil {
			return nil, err
		}
	}
	for _, x := range []struct {
		field string
		list  []string
	}{{"hl_keywords", q.HLKeywords}, {"ll_keywords", q.LLKeywords}} {
		if len(x.list) > maxKeywords {
			return nil, badField(x.field, fmt.Sprintf("has %d keywords; at most %d are allowed", len(x.list), maxKeywords))
		}
		for i, k := range x.list {
			field := fmt.Sprintf("%s[%d]", x.field, i)
			if n := utf8.RuneCountInString(k); n == 0 || n > maxKeywordChars {
				return nil, badField(field, fmt.Sprintf("has %d characters; 1 to %d are allowed", n, maxKeywordChars))
			}
			if err := count(field, k); err != nil {
				return nil, err
			}
		}
	}
	if len(q.History) > maxHistory {
		return nil, badField("conversation_history", fmt.Sprintf("has %d messages; at most %d are allowed", len(q.History), maxHistory))
	}
	for i, m := range q.History {
		if m.Role != "user" && m.Role != "assistant" {
			return nil, badField(fmt.Sprintf("conversation_history[%d].role", i), fmt.Sprintf("%q is neither user nor assistant", m.Role))
		}
		field := fmt.Sprintf("conversation_history[%d].content", i)
		if n := utf8.RuneCountInString(m.Content); n > maxHistoryChars {
			return nil, badField(field, fmt.Sprintf("has %d characters; at most %d are allowed", n, maxHistoryChars))
		}
		if err := count(field, m.Content); err != nil {
			return nil, err
		}
	}
	if total > maxQueryTextChars {
		return nil, badField("query", fmt.Sprintf("the text of the request has %d characters in all; at most %d are allowed", total, maxQueryTextChars))
	}
	return p, nil
}
