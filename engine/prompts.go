package engine

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
)

// The prompts are files with placeholders in braces, one version each: a change
// of a prompt is a new version, since stored answers are reused by it.
//
//go:embed prompts/*.txt
var promptFiles embed.FS

const (
	promptExtractRows = "extract_rows.v1"
	promptExtractJSON = "extract_json.v1"
	promptExtractUser = "extract_user.v1"
	promptGlean       = "glean.v1"
	promptSummary     = "summary.v1"
	promptKeywords    = "keywords.v1"
	promptAnswer      = "answer.v1"
	promptRewrite     = "rewrite.v1"
	promptRerank      = "rerank.v1"
)

func promptText(name string) string {
	b, err := promptFiles.ReadFile("prompts/" + name + ".txt")
	if err != nil {
		panic("engine: prompt " + name + " is compiled in: " + err.Error())
	}
	return strings.TrimSpace(string(b))
}

// promptSet holds texts that stand instead of the compiled-in ones, by name
// without version.
type promptSet map[string]string

func (s promptSet) text(name string) string {
	base, _, _ := strings.Cut(name, ".")
	if t, ok := s[base]; ok {
		return strings.TrimSpace(t)
	}
	return promptText(name)
}

// with is s with the texts of another set before its own.
func (s promptSet) with(o map[string]string) promptSet {
	out := make(promptSet, len(s)+len(o))
	maps.Copy(out, s)
	maps.Copy(out, o)
	return out
}

// fill puts values for the placeholders of a prompt in one pass: what a value
// holds in braces stays as it is.
func (s promptSet) fill(name string, values ...string) string {
	return strings.NewReplacer(values...).Replace(s.text(name))
}

// promptHash identifies prompts with what was filled in.
func promptHash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p) // a length, so that parts cannot run together
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// fence returns a line of backticks that the text does not hold, so that the
// text cannot end the block it is quoted in.
func fence(text string) string {
	longest, run := 2, 0
	for i := 0; i < len(text); i++ {
		if text[i] != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return strings.Repeat("`", longest+1)
}

// answer is the system prompt of an answer: the rules, the form asked for, the
// caller's own wish and the retrieved context.
func (s promptSet) answer(context, responseType, userPrompt string) string {
	if responseType == "" {
		responseType = "Multiple Paragraphs"
	}
	if userPrompt != "" {
		userPrompt = "- The asker wishes: " + userPrompt + "\n"
	}
	if strings.TrimSpace(context) == "" {
		context = "(nothing was found)"
	}
	return s.fill(promptAnswer, "{response_type}", responseType, "{user_prompt}", userPrompt, "{context}", context)
}

// answerTokens is what an answer's prompt takes beside its context.
func (s promptSet) answerTokens() int {
	if len(s) == 0 {
		return builtinAnswerTokens()
	}
	return countTokens(s.text(promptAnswer))
}

var builtinAnswerTokens = sync.OnceValue(func() int { return countTokens(promptText(promptAnswer)) })

// keywordRequest asks a model for the two levels of keywords of a question.
func (s promptSet) keywordRequest(query string) ChatRequest {
	zero := 0.0
	f := fence(query)
	return ChatRequest{
		System:      s.text(promptKeywords),
		Messages:    []Message{{Role: "user", Content: f + "\n" + query + "\n" + f}},
		JSON:        true,
		Schema:      keywordSchema,
		MaxTokens:   maxKeywordReplyTokens,
		Temperature: &zero,
	}
}

// The schemas of what is asked about a question.
var (
	keywordSchema = json.RawMessage(`{"type":"object","properties":{"high_level_keywords":{"type":"array","items":{"type":"string"}},` +
		`"low_level_keywords":{"type":"array","items":{"type":"string"}}},"required":["high_level_keywords","low_level_keywords"],"additionalProperties":false}`)
	rewriteSchema = json.RawMessage(`{"type":"object","properties":{"question":{"type":"string"}},"required":["question"],"additionalProperties":false}`)
	scoresSchema  = json.RawMessage(`{"type":"object","properties":{"scores":{"type":"array","items":{"type":"object",` +
		`"properties":{"id":{"type":"integer"},"score":{"type":"number"}},"required":["id","score"],"additionalProperties":false}}},` +
		`"required":["scores"],"additionalProperties":false}`)
)

// chatJSON asks for one JSON value, and for plain text where the server cannot
// constrain a reply: what reads it finds the value there too.
func chatJSON(ctx context.Context, c Chatter, r ChatRequest) (ChatReply, error) {
	reply, err := c.Chat(ctx, r, nil)
	if refusesFormat(err) {
		r.JSON, r.Schema = false, nil
		reply, err = c.Chat(ctx, r, nil)
	}
	return reply, err
}

// maxKeywordReplyTokens bounds a keyword reply; a reasoning model thinks first.
const maxKeywordReplyTokens = 4096
