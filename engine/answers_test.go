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
	"alcove/tenancy"
)

// byChat is an extractor made of a chat model, as far as stored answers go: two
// calls a passage, as with gleaning.
type byChat struct{ chat *enginetest.Chatter }

func (x byChat) Extract(ctx context.Context, p engine.Passage) (engine.Extraction, error) {
	var out engine.Extraction
	for _, round := range []string{"first", "again"} {
		r, err := engine.StoredChat(ctx, x.chat, engine.ChatRequest{System: round, Messages: []engine.Message{{Role: "user", Content: p.Text}}})
		if err != nil {
			return out, err
		}
		out.Entities = append(out.Entities, engine.EntityMention{Name: round + r.Text, Type: "t", Description: "d"})
	}
	return out, nil
}

func (byChat) Identity() string { return "by chat" }

func check(t *testing.T, v *enginetest.Env, kb string) engine.CheckCounts {
	t.Helper()
	c, err := engine.Check(ctx, v.Store, v.Space(enginetest.Tenant, kb, tenancy.PermKBAccess), func(fault string) { t.Error(fault) })
	require.NoError(t, err)
	return c
}

// A model answer that was paid for is not asked for again: not after a stop
// between two calls of one chunk, not after a failure.
func TestAnswers_AreNotPaidForTwice(t *testing.T) {
	gate := enginetest.NewGate()
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "Name", nil }}
	chat.Before = func(ctx context.Context, n int, asked string) error {
		if n != 4 {
			return nil
		}
		return gate.Hold(ctx, n, asked)
	}
	o := small(engine.Options{Chatter: chat, Extractor: byChat{chat}})
	o.EmbedBatch = 64 // one group: nothing but the answers is stored before the end
	o.ModelConcurrency = 1
	v := enginetest.New(t, o)
	v.Add("k", "d", long("Part", 4))
	gate.Arrived()
	v.Restart()
	v.Wait()
	d, err := v.KB("k").Document(ctx, "d")
	require.NoError(t, err)
	require.Equal(t, engine.StatusProcessed, d.Status)
	require.Equal(t, 2*d.ChunksCount+1, chat.Calls(), "only the call that was cut off is made again")
	require.Equal(t, 2*d.ChunksCount, check(t, v, "k").Answers)
}

// Answers go with the last document that used them.
func TestAnswers_GoWithTheirLastDocument(t *testing.T) {
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "Name", nil }}
	v := enginetest.New(t, engine.Options{Chatter: chat, Extractor: byChat{chat}})
	v.Add("k", "a", "One text.", "b", "Another text.")
	v.Wait()
	v.Add("k", "c", "One text.")
	v.Wait()
	require.Equal(t, 4, chat.Calls(), "the same passage is the same request")
	require.Equal(t, 4, check(t, v, "k").Answers)
	for _, x := range []struct {
		id   string
		left int
	}{{"a", 4}, {"c", 2}, {"b", 0}} {
		_, err := v.KB("k").Delete(ctx, []string{x.id}, false)
		require.NoError(t, err)
		require.Equal(t, x.left, check(t, v, "k").Answers, x.id)
	}
}

// Over the budget the oldest answers go, but none that unfinished work may need.
func TestAnswers_AreEvictedOldestFirst(t *testing.T) {
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return strings.Repeat("x", 1000), nil }}
	fail := true
	chat.Before = func(_ context.Context, _ int, asked string) error {
		if fail && asked == "again\nKept text." {
			return engine.ErrModelMissing
		}
		return nil
	}
	v := enginetest.New(t, engine.Options{Chatter: chat, Extractor: byChat{chat}, AnswerCacheBytes: 8000})
	v.Add("k", "kept", "Kept text.")
	v.Wait()
	for i := range 10 {
		v.Add("k", fmt.Sprint("d", i), fmt.Sprintf("Text %d.", i))
		v.Wait()
	}
	require.Equal(t, 7, check(t, v, "k").Answers)
	calls := chat.Calls()
	fail = false
	_, err := v.KB("k").Retry(ctx, "kept")
	require.NoError(t, err)
	v.Wait()
	require.Equal(t, calls+1, chat.Calls(), "the answer from before the failure is still there")
}

// A cut-off reply is used but not kept; a failed call leaves nothing.
func TestAnswers_WhatIsNotStored(t *testing.T) {
	v := enginetest.New(t, engine.Options{})
	for _, chat := range []engine.Chatter{truncating{}, failing{}} {
		x := &enginetest.Extractor{}
		x.Before = func(ctx context.Context, _ int, asked string) error {
			_, err := engine.StoredChat(ctx, chat, engine.ChatRequest{System: asked})
			if err != nil {
				return fmt.Errorf("%w: %w", engine.ErrModelMissing, err)
			}
			return nil
		}
		v.Options.Extractor = x
		v.Restart()
		v.Add("k", chat.Model(), "Text of "+chat.Model())
		v.Wait()
		require.Zero(t, check(t, v, "k").Answers)
	}
}

type truncating struct{}

func (truncating) Model() string { return "truncating" }
func (truncating) Chat(context.Context, engine.ChatRequest, func(string) error) (engine.ChatReply, error) {
	return engine.ChatReply{Text: "half", Truncated: true}, nil
}

type failing struct{}

func (failing) Model() string { return "failing" }
func (failing) Chat(context.Context, engine.ChatRequest, func(string) error) (engine.ChatReply, error) {
	return engine.ChatReply{}, errors.New("no")
}
