package engine

import (
	"context"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"alcove/tenancy"
)

// Bounds of rewriting a question.
const (
	maxRewriteTurns       = 8    // last turns that are read
	maxRewriteTurnBytes   = 2000 // of each turn, from its end
	maxRewrittenChars     = 2000
	maxRewriteReplyTokens = 4096 // a reasoning model thinks first
	maxBorrowedNames      = 8
)

// standalone makes of a question that follows a conversation one that can be
// searched for alone: the chat model writes it, in one call. When the model is
// down or says nothing usable the question is searched for as it is. Without a
// chat model, a question that names nothing borrows the names of the last
// question that did.
func (a *asking) standalone(ctx context.Context) error {
	if len(a.p.History) == 0 {
		return nil
	}
	defer a.st.since("rewrite", time.Now())
	e := a.r.eng
	if a.p.set.chat == nil {
		return a.borrowNames(ctx)
	}
	turns := a.p.History[max(0, len(a.p.History)-maxRewriteTurns):]
	request := a.p.prompts.rewriteRequest(turns, a.p.Query.Query)
	key := keyOfAll("rewrite", a.r.space, struct {
		Model, Query, System string
		Turns                []Message
	}{a.p.set.chat.Model(), a.p.Query.Query, request.System, turns})
	if b, ok := a.memory().get(key); ok {
		a.rewrite(string(b))
		return nil
	}
	var reply ChatReply
	err := e.model(ctx, forQuery, func() (err error) {
		reply, err = chatJSON(ctx, a.p.set.chat, request)
		return err
	})
	if err != nil {
		return a.without(ctx, "the question as it is", err)
	}
	a.count("rewrite", reply.PromptTokens, reply.ReplyTokens)
	q, ok := parseRewrite(reply.Text)
	if !ok {
		e.o.Logger.WarnContext(ctx, "the question as it is: no question in the model's reply")
		return nil
	}
	a.memory().put(key, []byte(q))
	a.rewrite(q)
	return nil
}

func (a *asking) rewrite(q string) {
	if q != a.p.Query.Query {
		a.p.asked, a.rewritten = q, q
	}
}

func (s promptSet) rewriteRequest(turns []Message, query string) ChatRequest {
	zero := 0.0
	var b strings.Builder
	for _, m := range turns {
		b.WriteString(jsonLine(Message{Role: m.Role, Content: lastBytes(m.Content, maxRewriteTurnBytes)}))
	}
	b.WriteString(jsonLine(struct {
		Question string `json:"question"`
	}{query}))
	text := b.String()
	f := fence(text)
	return ChatRequest{
		System:      s.text(promptRewrite),
		Messages:    []Message{{Role: "user", Content: f + "\n" + text + f}},
		JSON:        true,
		Schema:      rewriteSchema,
		MaxTokens:   maxRewriteReplyTokens,
		Temperature: &zero,
	}
}

// lastBytes keeps at most n bytes of the end of s without splitting a rune.
func lastBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	at := len(s) - n
	for at < len(s) && !utf8.RuneStart(s[at]) {
		at++
	}
	return s[at:]
}

// parseRewrite reads the reply to rewriteRequest: false when it holds no question
// that a search can use.
func parseRewrite(reply string) (string, bool) {
	for _, object := range innerObjects(withoutThinking(reply)) {
		m, ok := decodeObject(object)
		if !ok {
			continue
		}
		q := cleanText(textOf(m, "question", "query", "standalone_question", "rewritten_query"), 4*maxRewrittenChars)
		if n := utf8.RuneCountInString(q); n >= minQueryChars && n <= maxRewrittenChars {
			return q, true
		}
	}
	return "", false
}

// borrowNames puts names of the last turn of the user's that names something
// behind a question that names nothing.
func (a *asking) borrowNames(ctx context.Context) error {
	return a.r.read(ctx, func(res *resident, _ *tenancy.Tx) error {
		v, err := res.within(ctx, a.p.Filter)
		if err != nil {
			return err
		}
		groups := *a.r.eng.o.RelationGroups
		if q := v.seen.parse(a.p.Query.Query, groups); q.named() || writesName(a.p.Query.Query) {
			return nil
		}
		turns := 0
		for i := len(a.p.History) - 1; i >= 0 && turns < maxRewriteTurns; i-- {
			if a.p.History[i].Role != "user" {
				continue
			}
			turns++
			q := v.seen.parse(a.p.History[i].Content, groups)
			if !q.named() {
				continue
			}
			names := make([]string, 0, len(q.seeds))
			for _, s := range firstN(q.seeds, maxBorrowedNames) {
				names = append(names, s.surface)
			}
			a.rewrite(a.p.Query.Query + " " + strings.Join(names, ", "))
			return nil
		}
		return nil
	})
}

// writesName reports whether a question holds what is written as a name behind
// its first word: it names something, if nothing that is known here.
func writesName(text string) bool {
	for i, w := range questionWords(text) {
		if r, _ := utf8.DecodeRuneInString(text[w.start:]); i > 0 && unicode.IsUpper(r) && !functionWords[w.key] && !notNames[w.key] {
			return true
		}
	}
	return false
}
