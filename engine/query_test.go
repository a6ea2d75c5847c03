package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
)

func ptr[T any](v T) *T { return &v }

// Every field at its limit passes; beyond it the error names the field.
func TestQuery_Limits(t *testing.T) {
	v := enginetest.New(t, engine.Options{})
	v.Add("k", "d", "Ada wrote to Babbage.")
	v.Wait()
	kb := v.KB("k")
	x := func(n int) string { return strings.Repeat("x", n) }
	list := func(n int) (out []string) {
		for range n {
			out = append(out, "word")
		}
		return out
	}
	history := func(n int, m engine.Message) (out []engine.Message) {
		for range n {
			out = append(out, m)
		}
		return out
	}
	hello := engine.Message{Role: "user", Content: "hello"}
	for _, c := range []struct {
		field string // "" is allowed
		q     engine.Query
	}{
		{"", engine.Query{Query: "abc"}},
		{"query", engine.Query{Query: "ab"}},
		{"query", engine.Query{Query: " ab\n "}},
		{"query", engine.Query{}},
		{"", engine.Query{Query: strings.Repeat("字", 65_536)}},
		{"query", engine.Query{Query: strings.Repeat("字", 65_537)}},
		{"query", engine.Query{Query: "abc\x00"}},
		{"user_prompt", engine.Query{Query: "abc", UserPrompt: "\x00"}},
		{"response_type", engine.Query{Query: "abc", ResponseType: "\x00"}},
		{"hl_keywords[1]", engine.Query{Query: "abc", HLKeywords: []string{"a", "a\x00"}}},
		{"conversation_history[0].content", engine.Query{Query: "abc", History: history(1, engine.Message{Role: "user", Content: "\x00"})}},
		{"", engine.Query{Query: x(65_536)}},
		{"query", engine.Query{Query: x(65_537)}},
		{"mode", engine.Query{Query: "abc", Mode: "fast"}},
		{"mode", engine.Query{Query: "abc", Mode: "MIX"}},
		{"", engine.Query{Query: "abc", TopK: ptr(1)}},
		{"", engine.Query{Query: "abc", TopK: ptr(1000)}},
		{"top_k", engine.Query{Query: "abc", TopK: ptr(0)}},
		{"top_k", engine.Query{Query: "abc", TopK: ptr(1001)}},
		{"", engine.Query{Query: "abc", ChunkTopK: ptr(1000)}},
		{"chunk_top_k", engine.Query{Query: "abc", ChunkTopK: ptr(-1)}},
		{"chunk_top_k", engine.Query{Query: "abc", ChunkTopK: ptr(1001)}},
		{"", engine.Query{Query: "abc", MaxEntityTokens: ptr(1), MaxRelationTokens: ptr(1), MaxTotalTokens: ptr(1)}},
		{"", engine.Query{Query: "abc", MaxEntityTokens: ptr(1_000_000), MaxRelationTokens: ptr(1_000_000), MaxTotalTokens: ptr(1_000_000)}},
		{"max_entity_tokens", engine.Query{Query: "abc", MaxEntityTokens: ptr(0)}},
		{"max_entity_tokens", engine.Query{Query: "abc", MaxEntityTokens: ptr(1_000_001)}},
		{"max_relation_tokens", engine.Query{Query: "abc", MaxRelationTokens: ptr(1_000_001)}},
		{"max_total_tokens", engine.Query{Query: "abc", MaxTotalTokens: ptr(1_000_001)}},
		{"", engine.Query{Query: "abc", ResponseType: x(256)}},
		{"response_type", engine.Query{Query: "abc", ResponseType: x(257)}},
		{"", engine.Query{Query: "abc", HLKeywords: list(64), LLKeywords: list(64)}},
		{"hl_keywords", engine.Query{Query: "abc", HLKeywords: list(65)}},
		{"ll_keywords", engine.Query{Query: "abc", LLKeywords: list(65)}},
		{"", engine.Query{Query: "abc", LLKeywords: []string{x(512)}}},
		{"ll_keywords[1]", engine.Query{Query: "abc", LLKeywords: []string{"a", x(513)}}},
		{"hl_keywords[0]", engine.Query{Query: "abc", HLKeywords: []string{""}}},
		{"", engine.Query{Query: "abc", History: history(128, hello)}},
		{"conversation_history", engine.Query{Query: "abc", History: history(129, hello)}},
		{"", engine.Query{Query: "abc", History: history(1, engine.Message{Role: "assistant", Content: x(32_768)})}},
		{"conversation_history[0].content", engine.Query{Query: "abc", History: history(1, engine.Message{Role: "user", Content: x(32_769)})}},
		{"conversation_history[1].role", engine.Query{Query: "abc", History: []engine.Message{hello, {Role: "system", Content: "x"}}}},
		{"", engine.Query{Query: "abc", UserPrompt: x(131_072 - 3)}},
		{"query", engine.Query{Query: "abc", UserPrompt: x(131_072 - 2)}},
	} {
		_, err := kb.Query(ctx, c.q)
		if c.field == "" {
			require.NoError(t, err)
			continue
		}
		var f *engine.FieldError
		require.ErrorAs(t, err, &f, "%s", c.field)
		require.Equal(t, c.field, f.Field)
		require.ErrorIs(t, err, engine.ErrBadInput)
		_, err = kb.QueryData(ctx, c.q)
		require.ErrorAs(t, err, &f)
	}
	_, err := kb.QueryData(ctx, engine.Query{Query: "abc", Mode: engine.ModeBypass})
	var f *engine.FieldError
	require.ErrorAs(t, err, &f)
	require.Equal(t, "mode", f.Field)
}

// library is a base of many short documents, each of one chunk, and one of
// several chunks.
func library(t testing.TB, o engine.Options) *enginetest.Env {
	t.Helper()
	o.ChunkTokens, o.ChunkOverlap = 60, 1
	v := enginetest.New(t, o)
	for i := range 40 {
		v.Add("k", fmt.Sprintf("doc-%02d", i), fmt.Sprintf("Ada%d wrote letters to Babbage%d. The Engine of Babbage%d stood in London.", i, i%7, i%7))
	}
	v.Add("k", "long", long("Ada", 12))
	v.Wait()
	return v
}

// The defaults are LightRAG's, and the numbers asked for bound what comes back.
func TestQuery_Numbers(t *testing.T) {
	v := library(t, engine.Options{})
	kb := v.KB("k")
	a, err := kb.Query(ctx, engine.Query{Query: "Who wrote letters to Babbage3?"})
	require.NoError(t, err)
	require.Equal(t, engine.ModeMix, a.Metadata.Mode)
	require.Equal(t, 40, a.Metadata.TopK)
	require.Equal(t, 20, a.Metadata.ChunkTopK)
	for _, mode := range []engine.Mode{engine.ModeMix, engine.ModeHybrid, engine.ModeLocal, engine.ModeGlobal, engine.ModeNaive, engine.ModePPR} {
		for _, n := range []int{1, 3, 1000} {
			d, err := kb.QueryData(ctx, engine.Query{Query: "Who wrote letters to Babbage3?", Mode: mode, TopK: ptr(n), ChunkTopK: ptr(n)})
			require.NoError(t, err)
			require.Equal(t, mode, d.Metadata.QueryMode)
			limit := n
			if mode == engine.ModeMix || mode == engine.ModeHybrid {
				limit = 2 * n // local and global finds, each of top_k
			}
			require.LessOrEqual(t, len(d.Data.Entities), limit)
			require.LessOrEqual(t, len(d.Data.Relationships), limit)
			require.LessOrEqual(t, len(d.Data.Chunks), n)
			require.NotEmpty(t, d.Data.Chunks, "%s", mode)
			if mode == engine.ModeNaive || mode == engine.ModePPR {
				require.Empty(t, d.Data.Entities)
			} else {
				require.NotEmpty(t, d.Data.Entities, "%s", mode)
				require.NotEmpty(t, d.Data.Relationships, "%s", mode)
			}
		}
	}
}

// The budgets are kept to the token: each list ends where its next item would
// not fit any more.
func TestQuery_Budgets(t *testing.T) {
	v := library(t, engine.Options{})
	kb := v.KB("k")
	q := engine.Query{Query: "Who wrote letters to Babbage3?"}
	all, err := kb.QueryData(ctx, q)
	require.NoError(t, err)
	cost := func(d *engine.Data) (e, r []int) {
		for _, x := range d.Data.Entities {
			e = append(e, engine.CountTokens(engine.EntityLine(x)))
		}
		for _, x := range d.Data.Relationships {
			r = append(r, engine.CountTokens(engine.RelationLine(x)))
		}
		return e, r
	}
	sum := func(l []int) (n int) {
		for _, x := range l {
			n += x
		}
		return n
	}
	entities, relations := cost(all)
	require.Greater(t, len(entities), 5)
	require.Greater(t, len(relations), 5)
	chunk := func(c engine.DataChunk) int { return engine.CountTokens(c.Content) }
	rest := engine.PromptOverhead(q.Query, "")
	for _, less := range []int{0, 1} { // exactly enough, one too few
		for _, n := range []int{1, 3, 5} {
			q := q
			q.MaxEntityTokens, q.MaxRelationTokens = ptr(max(1, sum(entities[:n])-less)), ptr(max(1, sum(relations[:n])-less))
			chunks := 0
			for _, c := range all.Data.Chunks[:n] {
				chunks += chunk(c)
			}
			q.MaxTotalTokens = ptr(rest + sum(entities[:n-less]) + sum(relations[:n-less]) + chunks - less)
			d, err := kb.QueryData(ctx, q)
			require.NoError(t, err)
			require.Len(t, d.Data.Entities, n-less)
			require.Len(t, d.Data.Relationships, n-less)
			require.Len(t, d.Data.Chunks, n-less)
			require.Equal(t, n-less, d.Metadata.ProcessingInfo["final_chunks_count"])
			require.Equal(t, len(all.Data.Entities), d.Metadata.ProcessingInfo["total_entities_found"])
		}
	}
	q.MaxTotalTokens = ptr(1)
	a, err := kb.Query(ctx, q)
	require.NoError(t, err)
	require.Empty(t, a.References)
	require.Contains(t, a.Response, "No passage")
}

// References are numbered by the rank of their best passage; offsets cut the
// document as it was sent.
func TestQuery_References(t *testing.T) {
	v := library(t, engine.Options{})
	kb := v.KB("k")
	q := engine.Query{Query: "Here Ada4 and Ada5 and Ada11 write a sentence.", IncludeChunkContent: true}
	d, err := kb.QueryData(ctx, q)
	require.NoError(t, err)
	texts := map[string]string{"long": long("Ada", 12)}
	for i := range 40 {
		texts[fmt.Sprintf("doc-%02d", i)] = fmt.Sprintf("Ada%d wrote letters to Babbage%d. The Engine of Babbage%d stood in London.", i, i%7, i%7)
	}
	next := 1
	of := map[string]string{}
	for _, c := range d.Data.Chunks {
		if of[c.DocID] == "" {
			of[c.DocID] = fmt.Sprint(next)
			next++
		}
		require.Equal(t, of[c.DocID], c.ReferenceID)
		require.Equal(t, c.Content, texts[c.DocID][c.Start:c.End])
		require.Equal(t, c.DocID+".txt", c.FilePath)
	}
	require.Len(t, d.Data.References, len(of))
	several := false
	for i, r := range d.Data.References {
		require.Equal(t, fmt.Sprint(i+1), r.ReferenceID)
		require.Equal(t, of[r.DocID], r.ReferenceID)
		require.Equal(t, r.Passages[0].ChunkID, r.ChunkID)
		require.Len(t, r.Content, len(r.Passages))
		several = several || len(r.Passages) > 1
		for j, p := range r.Passages {
			require.Equal(t, r.Content[j], texts[r.DocID][p.Start:p.End])
			require.Equal(t, p.Snippet, texts[r.DocID][p.SnippetStart:p.SnippetEnd])
			require.NotEmpty(t, p.Snippet)
		}
	}
	require.True(t, several, "the long document has several passages")

	a, err := kb.Query(ctx, engine.Query{Query: q.Query})
	require.NoError(t, err)
	require.Equal(t, "none", a.LLM)
	require.Contains(t, a.Response, "[1]")
	require.Len(t, a.References, len(of))
	require.Nil(t, a.References[0].Content)
	a, err = kb.Query(ctx, engine.Query{Query: q.Query, IncludeReferences: ptr(false)})
	require.NoError(t, err)
	require.NotNil(t, a.References)
	require.Empty(t, a.References)
}

// only_need_context and only_need_prompt call no answerer.
func TestQuery_OnlyNeed(t *testing.T) {
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) {
		return `{"high_level_keywords":["letters"],"low_level_keywords":["Ada1"]}`, nil
	}}
	v := library(t, engine.Options{Chatter: chat})
	q := engine.Query{Query: "Who wrote letters to Babbage3?", OnlyNeedContext: true}
	a, err := v.KB("k").Query(ctx, q)
	require.NoError(t, err)
	require.Equal(t, 1, chat.Calls(), "the keywords alone")
	require.Equal(t, "none", a.LLM)
	for _, part := range []string{"Knowledge Graph Data (Entity)", "Knowledge Graph Data (Relationship)", "Document Chunks", "Reference Document List", "[1] "} {
		require.Contains(t, a.Response, part)
	}
	q.OnlyNeedContext, q.OnlyNeedPrompt, q.UserPrompt = false, true, "Answer in rhyme."
	p, err := v.KB("k").Query(ctx, q)
	require.NoError(t, err)
	require.Contains(t, p.Response, strings.TrimSpace(a.Response))
	require.Contains(t, p.Response, "Answer in rhyme.")
	require.Contains(t, p.Response, q.Query)
	require.Equal(t, 1, chat.Calls(), "remembered")
}

// A stream brings its events in order and the text that one piece would have had.
func TestQuery_Stream(t *testing.T) {
	v := library(t, engine.Options{})
	kb := v.KB("k")
	q := engine.Query{Query: "Who wrote letters to Babbage3?", IncludeProgress: true}
	whole, err := kb.Query(ctx, q)
	require.NoError(t, err)
	var kinds []string
	var text strings.Builder
	var events []engine.Event
	require.NoError(t, kb.QueryStream(ctx, q, func(e engine.Event) error {
		events = append(events, e)
		switch {
		case e.Progress != "":
			kinds = append(kinds, e.Progress)
		case e.Done:
			kinds = append(kinds, "done")
		case e.Response != "":
			if kinds[len(kinds)-1] != "response" {
				kinds = append(kinds, "response")
			}
			text.WriteString(e.Response)
		default:
			kinds = append(kinds, "references")
		}
		return nil
	}))
	require.Equal(t, []string{"extracting_keywords", "retrieving_chunks", "references", "generating_response", "response", "done"}, kinds)
	require.Equal(t, whole.Response, text.String())
	last := events[len(events)-1]
	require.Equal(t, "none", last.LLM)
	require.Equal(t, whole.Metadata.Keywords, last.Metadata.Keywords)
	require.Equal(t, whole.Metadata.Generation, last.Metadata.Generation)

	gone := errors.New("the client went away")
	for stop := range events {
		n := 0
		err := kb.QueryStream(ctx, q, func(engine.Event) error {
			if n++; n > stop {
				return gone
			}
			return nil
		})
		require.ErrorIs(t, err, gone)
		require.Equal(t, stop+1, n, "nothing after an error")
	}
}

// Keywords are the caller's, else the model's, asked once a question, else by
// rules.
func TestQuery_Keywords(t *testing.T) {
	reply := `{"high_level_keywords":["letters"],"low_level_keywords":["Babbage3"]}`
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return reply, nil }}
	v := library(t, engine.Options{Chatter: chat})
	data := func(q engine.Query) engine.Keywords {
		d, err := v.KB("k").QueryData(ctx, q)
		require.NoError(t, err)
		return d.Metadata.Keywords
	}
	byModel := engine.Keywords{High: []string{"letters"}, Low: []string{"Babbage3"}}
	require.Equal(t, byModel, data(engine.Query{Query: "Who wrote to Babbage3?"}))
	require.Equal(t, byModel, data(engine.Query{Query: "Who wrote to Babbage3?"}))
	require.Equal(t, 1, chat.Calls())
	require.Equal(t, engine.Keywords{High: []string{}, Low: []string{"London"}}, data(engine.Query{Query: "Who wrote?", LLKeywords: []string{"London"}}))
	data(engine.Query{Query: "Who wrote to nobody?", Mode: engine.ModeNaive})
	data(engine.Query{Query: "Who wrote to nobody?", Mode: engine.ModePPR})
	require.Equal(t, 1, chat.Calls(), "no keywords for what does not use them")

	reply = "I would rather not."
	byRules := data(engine.Query{Query: "Who wrote to Babbage4?"})
	require.Equal(t, []string{"Babbage4"}, byRules.Low)
	chat.Reply = func(engine.ChatRequest) (string, error) { return "", engine.ErrModelDown }
	require.Equal(t, byRules, data(engine.Query{Query: "Who wrote to Babbage4?"}))
	require.Equal(t, 3, chat.Calls(), "nonsense is not remembered")
}

// chatAnswerer answers by a chat model, as ModelAnswerer does, and fails as it does.
type chatAnswerer struct{ *enginetest.Chatter }

func (a chatAnswerer) Answer(ctx context.Context, q engine.AnswerRequest, onDelta func(string) error) (engine.AnswerReply, error) {
	r, err := a.Chat(ctx, engine.ChatRequest{System: q.Prompt, Messages: []engine.Message{{Role: "user", Content: q.Query}}}, onDelta)
	return engine.AnswerReply{Text: r.Text, PromptTokens: r.PromptTokens, ReplyTokens: r.ReplyTokens}, err
}

// Model servers that are down make an answer worse, not impossible; a stream
// that broke in the middle cannot be taken back.
func TestQuery_ModelsDown(t *testing.T) {
	down := fmt.Errorf("%w: connection refused", engine.ErrModelDown)
	var embedDown, chatDown bool
	emb := &enginetest.Embedder{}
	emb.Before = func(context.Context, int, string) error {
		if embedDown {
			return down
		}
		return nil
	}
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) {
		if chatDown {
			return "", down
		}
		return "By the model [1].", nil
	}}
	v := library(t, engine.Options{Embedder: served{emb}, Chatter: chat, Answerer: chatAnswerer{chat}, QueryCacheBytes: -1})
	kb := v.KB("k")
	q := engine.Query{Query: "Who wrote letters to Babbage3?"}
	a, err := kb.Query(ctx, q)
	require.NoError(t, err)
	require.False(t, a.Degraded)
	require.Equal(t, "scripted-chat", a.LLM)
	require.Equal(t, "By the model [1].", a.Response)

	embedDown = true
	a, err = kb.Query(ctx, q)
	require.NoError(t, err)
	require.True(t, a.Degraded)
	require.Equal(t, "scripted-chat", a.LLM)
	require.NotEmpty(t, a.References)

	chatDown = true
	a, err = kb.Query(ctx, q)
	require.NoError(t, err)
	require.True(t, a.Degraded)
	require.Equal(t, "none", a.LLM)
	require.Contains(t, a.Response, "passages speak of it [1]")
	require.NotEmpty(t, a.References)
	var done engine.Event
	require.NoError(t, kb.QueryStream(ctx, q, func(e engine.Event) error { done = e; return nil }))
	require.True(t, done.Degraded)
	require.Equal(t, "none", done.LLM)
	_, err = kb.Query(ctx, engine.Query{Query: "hello", Mode: engine.ModeBypass})
	require.ErrorIs(t, err, engine.ErrModelDown, "nothing to quote")

	embedDown, chatDown = false, false
	broken := v.Options
	broken.Answerer = breaksOff{}
	v.Options = broken
	v.Restart()
	var text string
	err = v.KB("k").QueryStream(ctx, q, func(e engine.Event) error { text += e.Response; require.False(t, e.Done); return nil })
	require.ErrorIs(t, err, engine.ErrModelDown)
	require.Equal(t, "half an", text)
}

type breaksOff struct{}

func (breaksOff) Model() string { return "breaks off" }
func (breaksOff) Answer(_ context.Context, _ engine.AnswerRequest, onDelta func(string) error) (engine.AnswerReply, error) {
	if err := onDelta("half an"); err != nil {
		return engine.AnswerReply{}, err
	}
	return engine.AnswerReply{}, fmt.Errorf("%w: unexpected EOF", engine.ErrModelDown)
}

// Bypass asks the chat model alone, with the conversation; without one there is
// nobody to ask.
func TestQuery_Bypass(t *testing.T) {
	_, err := enginetest.New(t, engine.Options{}).KB("k").Query(ctx, engine.Query{Query: "hello", Mode: engine.ModeBypass})
	require.ErrorIs(t, err, engine.ErrNoModel)

	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "hi", nil }}
	v := library(t, engine.Options{Chatter: chat, Answerer: chatAnswerer{chat}})
	a, err := v.KB("k").Query(ctx, engine.Query{Query: "hello", Mode: engine.ModeBypass})
	require.NoError(t, err)
	require.Equal(t, "hi", a.Response)
	require.Equal(t, "scripted-chat", a.LLM)
	require.Empty(t, a.References)
	require.Equal(t, []string{"\nhello"}, chat.Asked(), "no prompt, no keywords")
}

// While documents come, change and go, no answer holds anything of a document
// whose delete was answered, or half of one.
func TestQuery_BesideWrites(t *testing.T) {
	o := engine.Options{ChunkTokens: 24, ChunkOverlap: 1}
	v := enginetest.New(t, o)
	kb := v.KB("k")
	text := func(i, version int) string {
		return fmt.Sprintf("Round%d version%d begins with Ada.\n\nRound%d version%d goes on with Babbage in a longer sentence of words.\n\nRound%d version%d ends with London and so the text is over.", i, version, i, version, i, version)
	}
	stop := make(chan struct{})
	failed := make(chan error, 4)
	for range 3 {
		go func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					failed <- nil
					return
				default:
				}
				mode := []engine.Mode{engine.ModeNaive, engine.ModeMix, engine.ModeHybrid}[n%3]
				d, err := kb.QueryData(ctx, engine.Query{Query: "Who begins with Ada, goes on with Babbage and ends with London?", Mode: mode, ChunkTopK: ptr(1000), MaxTotalTokens: ptr(1_000_000)})
				if err != nil {
					failed <- err
					return
				}
				chunks := map[string][]string{}
				for _, c := range d.Data.Chunks {
					chunks[c.DocID] = append(chunks[c.DocID], c.Content)
				}
				for id, l := range chunks {
					all := strings.Join(l, " ")
					whole := strings.Contains(all, "begins") && strings.Contains(all, "goes on") && strings.Contains(all, "ends")
					if strings.Contains(all, "version0") == strings.Contains(all, "version1") || mode == engine.ModeNaive && !whole {
						failed <- fmt.Errorf("half of %s: %q", id, l)
						return
					}
				}
			}
		}()
	}
	for i := range 25 {
		id := fmt.Sprint("doc-", i)
		v.Add("k", id, text(i, 0))
		v.Wait()
		_, err := kb.Update(ctx, id, engine.DocumentInput{FilePath: id + ".txt", Content: []byte(text(i, 1))})
		require.NoError(t, err)
		v.Wait()
		if i%2 == 0 {
			continue
		}
		_, err = kb.Delete(ctx, []string{id}, false)
		require.NoError(t, err)
		d, err := kb.QueryData(ctx, engine.Query{Query: fmt.Sprintf("Round%d with Ada", i), ChunkTopK: ptr(1000)})
		require.NoError(t, err)
		for _, c := range d.Data.Chunks {
			require.NotEqual(t, id, c.DocID)
		}
		for _, e := range d.Data.Entities {
			require.NotContains(t, e.EntityName, fmt.Sprintf("Round%d ", i))
			require.NotContains(t, e.FilePath, id+".txt")
		}
	}
	close(stop)
	for range 3 {
		require.NoError(t, <-failed)
	}
}
