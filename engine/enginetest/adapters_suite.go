package enginetest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
)

// adapterCase is one adapter on its way to a server.
type adapterCase struct {
	wire Wire
	open func(testing.TB, AdapterOptions) (engine.Chatter, engine.Embedder)
}

// AdapterSuite holds an adapter of a model server to what engine.Chatter and
// engine.Embedder promise, against a server that speaks its wire: the faults of
// a real Ollama (v0.17.4) are among them.
func AdapterSuite(t *testing.T, w Wire, open func(testing.TB, AdapterOptions) (engine.Chatter, engine.Embedder)) {
	a := adapterCase{w, open}
	t.Run("chat", a.chat)
	t.Run("schema", a.schema)
	t.Run("chat faults", a.chatFaults)
	t.Run("tries again", a.retries)
	t.Run("prompt too long", a.tooLong)
	t.Run("idle", a.idle)
	t.Run("the caller goes", a.callerGoes)
	t.Run("secrets", a.secrets)
	t.Run("embed", a.embed)
	t.Run("embed faults", a.embedFaults)
	t.Run("embed, paid", a.embedPaid)
}

// serve opens the adapter on a server. waited collects the waits, which take no time.
func (a adapterCase) serve(t *testing.T, o AdapterOptions, turns ...Turn) (engine.Chatter, engine.Embedder, *ModelServer, *[]time.Duration) {
	s := NewModelServer(t, a.wire, turns...)
	if o.URL == "" {
		o.URL = s.URL
	}
	waited := &[]time.Duration{}
	o.Remote.Wait = func(ctx context.Context, d time.Duration) error {
		*waited = append(*waited, d)
		return ctx.Err()
	}
	c, e := a.open(t, o)
	return c, e, s, waited
}

var hello = engine.ChatRequest{System: "be kind", Messages: []engine.Message{
	{Role: "user", Content: "hello"}, {Role: "assistant", Content: "hi"}, {Role: "user", Content: "who are you?"},
}}

func (a adapterCase) chat(t *testing.T) {
	c, _, s, _ := a.serve(t, AdapterOptions{Window: 5000, APIKey: "sk-secret"}, Turn{Pieces: []string{"I ", "am é", "\n"}, Reason: "stop"}, Turn{Pieces: []string{"cut"}, Reason: "length"})
	zero := 0.0
	q := hello
	q.JSON, q.MaxTokens, q.Temperature = true, 77, &zero
	var got []string
	r, err := c.Chat(context.Background(), q, func(s string) error { got = append(got, s); return nil })
	require.NoError(t, err)
	require.Equal(t, []string{"I ", "am é", "\n"}, got)
	require.Equal(t, engine.ChatReply{Text: "I am é\n", PromptTokens: 11, ReplyTokens: 3}, r)

	r, err = c.Chat(context.Background(), hello, nil)
	require.NoError(t, err)
	require.Equal(t, "cut", r.Text)
	require.True(t, r.Truncated)

	call := s.Calls()[0]
	require.Equal(t, "Bearer sk-secret", call.Authorization)
	require.Equal(t, c.Model(), call.Body["model"])
	require.Equal(t, true, call.Body["stream"])
	var roles []string
	for _, m := range call.Body["messages"].([]any) {
		roles = append(roles, m.(map[string]any)["role"].(string)+": "+m.(map[string]any)["content"].(string))
	}
	require.Equal(t, []string{"system: be kind", "user: hello", "assistant: hi", "user: who are you?"}, roles)
	second := s.Calls()[1].Body
	switch a.wire {
	case WireOllama:
		require.Equal(t, map[string]any{"num_ctx": 5000.0, "num_predict": 77.0, "temperature": 0.0}, call.Body["options"])
		require.Equal(t, map[string]any{"num_ctx": 5000.0}, second["options"])
		require.Equal(t, "json", call.Body["format"])
		require.NotContains(t, second, "format")
		require.Equal(t, false, call.Body["truncate"])
		require.Equal(t, false, call.Body["shift"])
	case WireOpenAI:
		require.Equal(t, 77.0, call.Body["max_tokens"])
		require.InDelta(t, 0, call.Body["temperature"], 1e-3)
		require.NotContains(t, second, "temperature")
		require.Equal(t, map[string]any{"type": "json_object"}, call.Body["response_format"])
		require.Equal(t, map[string]any{"include_usage": true}, call.Body["stream_options"])
	}
}

// schema is sent where there is one; a server that knows none is asked for JSON
// alone, and not for a schema again.
func (a adapterCase) schema(t *testing.T) {
	q := hello
	q.JSON, q.Schema = true, json.RawMessage(`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}`)
	sent := map[string]any{
		"type": "object", "properties": map[string]any{"a": map[string]any{"type": "string"}}, "required": []any{"a"}, "additionalProperties": false,
	}
	good := Turn{Pieces: []string{"{}"}, Reason: "stop"}
	c, _, s, _ := a.serve(t, AdapterOptions{}, good)
	_, err := c.Chat(context.Background(), q, nil)
	require.NoError(t, err)
	body := s.Calls()[0].Body
	if a.wire == WireOllama {
		require.Equal(t, sent, body["format"])
		return
	}
	require.Equal(t, map[string]any{
		"type": "json_schema", "json_schema": map[string]any{"name": "reply", "strict": true, "schema": sent},
	}, body["response_format"])

	c, _, s, _ = a.serve(t, AdapterOptions{}, Turn{Status: 400, Message: "response_format type json_schema is not supported"}, good)
	for range 2 {
		_, err = c.Chat(context.Background(), q, nil)
		require.NoError(t, err)
	}
	require.Len(t, s.Calls(), 3)
	for _, call := range s.Calls()[1:] {
		require.Equal(t, map[string]any{"type": "json_object"}, call.Body["response_format"])
	}
	c, _, s, _ = a.serve(t, AdapterOptions{}, Turn{Status: 400, Message: "the content is unsafe"})
	_, err = c.Chat(context.Background(), q, nil)
	require.ErrorIs(t, err, engine.ErrModelRefused)
	require.Len(t, s.Calls(), 1, "no other form would help")
	c, _, s, _ = a.serve(t, AdapterOptions{}, Turn{Status: 400, Message: "response_format is not supported"})
	_, err = c.Chat(context.Background(), q, nil)
	require.ErrorIs(t, err, engine.ErrModelRefused)
	require.True(t, engine.SpeaksOfFormat(err.Error()), "so that rows can be asked for")
	require.Len(t, s.Calls(), 2)
}

func (a adapterCase) chatFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		turn  Turn
		want  error
		words string
	}{
		"unknown model":          {Turn{Status: 404, Message: `model "m" not found, try pulling it first`}, engine.ErrModelMissing, "not found"},
		"runner dies":            {Turn{Pieces: []string{"half"}, Fault: "an error was encountered while running the model: unexpected EOF"}, engine.ErrModelDown, "unexpected EOF"},
		"fault before any text":  {Turn{Fault: "model requires more system memory"}, engine.ErrModelDown, "memory"},
		"server dies":            {Turn{Pieces: []string{"half"}, Break: true}, engine.ErrModelDown, ""},
		"no end mark":            {Turn{Pieces: []string{"half"}}, engine.ErrModelDown, "before the server said it was done"},
		"nothing at all":         {Turn{}, engine.ErrModelDown, ""},
		"server error":           {Turn{Status: 500, Message: "boom"}, engine.ErrModelDown, "boom"},
		"wrong key":              {Turn{Status: 401, Message: "no"}, engine.ErrModelDown, "401"},
		"prompt over the window": {Turn{Status: 400, Message: "the input length exceeds the context length"}, engine.ErrPromptTooLong, "exceeds"},
		"a wrong request":        {Turn{Status: 400, Message: `"m" does not support chat`}, engine.ErrModelRefused, "does not support chat"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, s, waited := a.serve(t, AdapterOptions{}, tc.turn)
			r, err := c.Chat(context.Background(), hello, nil)
			require.Error(t, err)
			require.Empty(t, r.Text, "half a reply is none")
			require.ErrorContains(t, err, tc.words)
			for _, class := range []error{engine.ErrModelMissing, engine.ErrModelDown, engine.ErrPromptTooLong, engine.ErrModelRefused} {
				require.Equal(t, class == tc.want, errors.Is(err, class), "%v", err)
			}
			require.Len(t, s.Calls(), 1, "not tried again: the server may have begun")
			require.Empty(t, *waited)
		})
	}
}

func (a adapterCase) retries(t *testing.T) {
	good := Turn{Pieces: []string{"yes"}, Reason: "stop"}
	busy := Turn{Status: 503, Message: "server busy, please try again. maximum pending requests exceeded"}
	t.Run("busy, then not", func(t *testing.T) {
		slow := Turn{Status: 429, Message: "slow down", RetryAfter: "7"}
		c, _, s, waited := a.serve(t, AdapterOptions{}, busy, slow, good)
		r, err := c.Chat(context.Background(), hello, nil)
		require.NoError(t, err)
		require.Equal(t, "yes", r.Text)
		require.Len(t, s.Calls(), 3)
		require.Equal(t, s.Calls()[0].Body, s.Calls()[2].Body, "the whole request each time")
		require.Len(t, *waited, 2)
		require.InDelta(t, 500, (*waited)[0].Milliseconds(), 150)
		require.Equal(t, 7*time.Second, (*waited)[1], "as the server asks")
	})
	t.Run("busy to the end", func(t *testing.T) {
		c, e, s, waited := a.serve(t, AdapterOptions{Remote: engine.RemoteOptions{Attempts: 2}}, busy)
		_, err := c.Chat(context.Background(), hello, nil)
		require.ErrorIs(t, err, engine.ErrModelDown)
		require.ErrorContains(t, err, "maximum pending requests")
		_, err = e.Embed(context.Background(), []string{"x"})
		require.ErrorIs(t, err, engine.ErrModelDown)
		require.Len(t, s.Calls(), 4)
		require.Len(t, *waited, 2)
	})
	t.Run("told to wait too long", func(t *testing.T) {
		c, _, s, waited := a.serve(t, AdapterOptions{}, Turn{Status: 429, RetryAfter: "3600", Message: "quota"})
		_, err := c.Chat(context.Background(), hello, nil)
		require.ErrorIs(t, err, engine.ErrModelDown)
		require.Len(t, s.Calls(), 1)
		require.Empty(t, *waited)
	})
	t.Run("no server", func(t *testing.T) {
		h := httptest.NewServer(nil)
		h.Close()
		c, e, _, waited := a.serve(t, AdapterOptions{URL: h.URL}, good)
		_, err := c.Chat(context.Background(), hello, nil)
		require.ErrorIs(t, err, engine.ErrModelDown)
		require.ErrorContains(t, err, "refused")
		require.Len(t, *waited, 2)
		_, err = e.Embed(context.Background(), []string{"x"})
		require.ErrorIs(t, err, engine.ErrModelDown)
	})
}

func (a adapterCase) tooLong(t *testing.T) {
	c, _, s, _ := a.serve(t, AdapterOptions{Window: 100}, Turn{Pieces: []string{"ok"}, Reason: "stop"})
	_, err := c.Chat(context.Background(), engine.ChatRequest{Messages: []engine.Message{{Role: "user", Content: strings.Repeat("word ", 100)}}}, nil)
	require.ErrorIs(t, err, engine.ErrPromptTooLong)
	require.Empty(t, s.Calls(), "nothing is sent that would be cut")
	_, err = c.Chat(context.Background(), engine.ChatRequest{Messages: []engine.Message{{Role: "user", Content: strings.Repeat("word ", 60)}}}, nil)
	require.NoError(t, err)
}

func (a adapterCase) idle(t *testing.T) {
	for name, turn := range map[string]Turn{"before the first byte": {Hang: true}, "in the middle": {Pieces: []string{"half"}, Hang: true}} {
		t.Run(name, func(t *testing.T) {
			c, _, s, _ := a.serve(t, AdapterOptions{Remote: engine.RemoteOptions{Idle: 30 * time.Millisecond}}, turn)
			_, err := c.Chat(context.Background(), hello, nil)
			require.ErrorIs(t, err, engine.ErrModelDown)
			<-s.gone // the server is let go of
		})
	}
}

func (a adapterCase) callerGoes(t *testing.T) {
	t.Run("by its context", func(t *testing.T) {
		c, _, s, _ := a.serve(t, AdapterOptions{}, Turn{Pieces: []string{"half"}, Hang: true})
		ctx, cancel := context.WithCancel(context.Background())
		_, err := c.Chat(ctx, hello, func(string) error { cancel(); return nil })
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, engine.ErrModelDown)
		<-s.gone
	})
	t.Run("by its error", func(t *testing.T) {
		c, _, s, _ := a.serve(t, AdapterOptions{}, Turn{Pieces: []string{"half"}, Hang: true})
		gone := errors.New("client went away")
		_, err := c.Chat(context.Background(), hello, func(string) error { return gone })
		require.ErrorIs(t, err, gone)
		<-s.gone
	})
}

// Neither the key nor the credentials of the URL are in an error, even where a
// server quotes them.
func (a adapterCase) secrets(t *testing.T) {
	const key = "sk-do-not-tell"
	c, e, s, _ := a.serve(t, AdapterOptions{APIKey: key}, Turn{Status: 401, Message: "Incorrect API key provided: " + key})
	_, err := c.Chat(context.Background(), hello, nil)
	require.ErrorIs(t, err, engine.ErrModelDown)
	require.NotContains(t, err.Error(), key)
	_, err = e.Embed(context.Background(), []string{"x"})
	require.NotContains(t, err.Error(), key)

	for _, url := range []string{strings.Replace(s.URL, "http://", "http://somebody:hunter2@", 1), "http://somebody:hunter2@127.0.0.1:1/v1"} {
		c, e, _, _ = a.serve(t, AdapterOptions{URL: url}, Turn{})
		_, err = c.Chat(context.Background(), hello, nil)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), "somebody")
		_, err = e.Embed(context.Background(), []string{"x"})
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), "somebody")
	}
}

func (a adapterCase) embed(t *testing.T) {
	_, e, s, _ := a.serve(t, AdapterOptions{Batch: 2, EmbedWindow: 700}, Turn{})
	texts := []string{"cat", "dog", "a mouse", "é", "last"}
	got, err := e.Embed(context.Background(), texts)
	require.NoError(t, err)
	require.Len(t, got, len(texts))
	for i, text := range texts {
		require.Equal(t, Served(text), got[i], "in order")
	}
	require.Len(t, s.Calls(), 3, "batches of two")
	if a.wire == WireOllama {
		for _, c := range s.Calls() {
			require.Equal(t, false, c.Body["truncate"])
			require.Equal(t, map[string]any{"num_ctx": 700.0}, c.Body["options"])
		}
	}
	require.NotContains(t, s.Calls()[0].Body, "dimensions")
	require.False(t, e.Pure())
	require.Equal(t, string(a.wire)+"/e", e.Model())

	got, err = e.Embed(context.Background(), nil)
	require.NoError(t, err)
	require.Empty(t, got)
	for _, empty := range []string{"", " \n"} {
		_, err = e.Embed(context.Background(), []string{"cat", empty, "dog"})
		require.ErrorIs(t, err, engine.ErrModelRefused)
		require.ErrorContains(t, err, "text 1 of 3")
	}
	require.Len(t, s.Calls(), 3, "an empty text is never sent")
}

// embedPaid: what the server says that it read is counted for the tenant whose it was.
func (a adapterCase) embedPaid(t *testing.T) {
	_, e, s, _ := a.serve(t, AdapterOptions{}, Turn{})
	v := New(t, engine.Options{Embedder: e})
	v.Add("main", "d", "Ada wrote to Babbage.")
	v.Wait()
	u, err := v.Store.Usage(t.Context(), v.Admin, Tenant)
	require.NoError(t, err)
	require.NotEmpty(t, s.Calls())
	require.EqualValues(t, embedTokens*len(s.Calls()), u.Month.ModelTokens)
}

func (a adapterCase) embedFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		turn  Turn
		want  error
		words string
	}{
		"too few":       {Turn{Vectors: [][]float32{{1, 2}}}, engine.ErrModelDown, "1 vectors for 2 texts"},
		"none":          {Turn{Vectors: [][]float32{}}, engine.ErrModelDown, "0 vectors for 2 texts"},
		"all zero":      {Turn{Vectors: [][]float32{{1, 2}, {0, 0}}}, engine.ErrModelDown, "no direction"},
		"two lengths":   {Turn{Vectors: [][]float32{{1, 2}, {1}}}, engine.ErrModelDown, "numbers"},
		"no numbers":    {Turn{Vectors: [][]float32{{}, {}}}, engine.ErrModelDown, "numbers"},
		"text too long": {Turn{Status: 400, Message: "the input length exceeds the context length"}, engine.ErrPromptTooLong, ""},
		"missing":       {Turn{Status: 404, Message: "model not found"}, engine.ErrModelMissing, ""},
		"server error":  {Turn{Status: 500, Message: "boom"}, engine.ErrModelDown, "boom"},
	} {
		t.Run(name, func(t *testing.T) {
			_, e, _, _ := a.serve(t, AdapterOptions{}, tc.turn)
			_, err := e.Embed(context.Background(), []string{"cat", "dog"})
			require.ErrorIs(t, err, tc.want)
			require.ErrorContains(t, err, tc.words)
		})
	}
	t.Run("two lengths in two batches", func(t *testing.T) {
		_, e, _, _ := a.serve(t, AdapterOptions{Batch: 1}, Turn{Vectors: [][]float32{{1, 2}}}, Turn{Vectors: [][]float32{{1, 2, 3}}})
		_, err := e.Embed(context.Background(), []string{"cat", "dog"})
		require.ErrorIs(t, err, engine.ErrModelDown)
		require.ErrorContains(t, err, "3 numbers instead of 2")
	})
	t.Run("a server that ignores the length asked for", func(t *testing.T) {
		_, e, s, _ := a.serve(t, AdapterOptions{Dimensions: 4}, Turn{}, Turn{Vectors: [][]float32{{1, 2, 3, 4}}})
		require.Equal(t, string(a.wire)+"/e@4", e.Model())
		_, err := e.Embed(context.Background(), []string{"cat"})
		require.ErrorIs(t, err, engine.ErrModelDown)
		require.ErrorContains(t, err, "3 numbers instead of 4")
		require.Equal(t, 4.0, s.Calls()[0].Body["dimensions"])
		_, err = e.Embed(context.Background(), []string{"cat"})
		require.NoError(t, err)
	})
}
