package enginetest

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest/gguf"
)

// The scripts of the suite, and the windows of its models.
const (
	saidAnswer  = "It is the answer: no more and no less, no more. é\n\n[1]"
	saidJSON    = `{"high_level_keywords":["a a"],"low_level_keywords":["b b"]}`
	saidForEver = "and so on "

	suiteWindow      = 4096
	suiteEmbedWindow = 64
	suiteDim         = 64
)

var suiteWords = []string{"cat", "kitten", "dog", "mat", "rug", "sits", "on", "the"}

// realCase is one adapter on its way to a real Ollama.
type realCase struct {
	adapterCase
	server *Ollama
}

// OllamaSuite holds an adapter to what engine.Chatter and engine.Embedder promise
// against a real Ollama: its own wire or, under /v1, OpenAI's. See StartOllama
// for what happens where there is none.
func OllamaSuite(t *testing.T, w Wire, open func(testing.TB, AdapterOptions) (engine.Chatter, engine.Embedder)) {
	a := realCase{adapterCase{w, open}, StartOllama(t, OllamaOptions{})}
	c, e := a.connect(t, AdapterOptions{})
	_, err := c.Chat(context.Background(), ask("hello"), nil)
	require.ErrorIs(t, err, engine.ErrModelMissing, "no model yet")
	_, err = e.Embed(context.Background(), []string{"cat"})
	require.ErrorIs(t, err, engine.ErrModelMissing, "no model yet")
	a.models(t)
	t.Run("chat", a.chat)
	t.Run("prompt too long", a.tooLong)
	t.Run("embed", a.embed)
	t.Run("text too long", a.textTooLong)
	t.Run("the caller goes", a.callerGoes)
	t.Run("killed", a.killed)
	t.Run("queue full", a.queueFull)
	t.Run("the wrong kind of model", a.wrongKind)
}

// connect opens the adapter on the real server.
func (a realCase) connect(t testing.TB, o AdapterOptions) (engine.Chatter, engine.Embedder) {
	o.URL = a.server.URL
	if a.wire == WireOpenAI {
		o.URL += "/v1"
	}
	return a.open(t, o)
}

// models makes the models that the adapter asks for.
func (a realCase) models(t testing.TB) {
	c, e := a.connect(t, AdapterOptions{})
	a.server.Chat(c.Model(), suiteWindow,
		gguf.Script{System: "keywords", Text: saidJSON},
		gguf.Script{User: "for ever", Text: saidForEver, Loop: true},
		gguf.Script{Text: saidAnswer})
	a.server.Embedder(embedModel(a.wire, e), suiteEmbedWindow, suiteWords, codes(suiteWords))
}

func embedModel(w Wire, e engine.Embedder) string {
	return strings.TrimPrefix(e.Model(), string(w)+"/")
}

func codes(words []string) [][]float32 {
	out := make([][]float32, len(words))
	for i, w := range words {
		out[i] = gguf.Code(w, suiteDim)
	}
	return out
}

func ask(s string) engine.ChatRequest {
	return engine.ChatRequest{Messages: []engine.Message{{Role: "user", Content: s}}}
}

func (a realCase) chat(t *testing.T) {
	c, _ := a.connect(t, AdapterOptions{Window: suiteWindow})
	var got []string
	r, err := c.Chat(context.Background(), hello, func(s string) error { got = append(got, s); return nil })
	require.NoError(t, err)
	require.Equal(t, saidAnswer, r.Text)
	require.Equal(t, saidAnswer, strings.Join(got, ""))
	require.Greater(t, len(got), 5, "streamed")
	require.False(t, r.Truncated)
	require.Greater(t, r.PromptTokens, len("be kindhellohi"), "a token a byte")
	require.Greater(t, r.ReplyTokens, 5)

	cold := 0.0
	q := engine.ChatRequest{System: "keywords", Messages: ask("of what?").Messages, JSON: true, Temperature: &cold}
	r, err = c.Chat(context.Background(), q, nil)
	require.NoError(t, err)
	require.JSONEq(t, saidJSON, r.Text)
	require.False(t, r.Truncated)

	q = ask("for ever")
	q.MaxTokens = 20
	r, err = c.Chat(context.Background(), q, nil)
	require.NoError(t, err)
	require.True(t, r.Truncated)
	require.Equal(t, 20, r.ReplyTokens)
	require.True(t, strings.HasPrefix(r.Text, saidForEver+saidForEver), r.Text)
}

// A prompt over the window is refused by whoever knows the window: the server
// through its own wire, even where the adapter's count is too low. OpenAI's wire
// has no word for it, and there Ollama cuts the prompt; so an adapter of that
// wire must be told the window.
func (a realCase) tooLong(t *testing.T) {
	long := ask(strings.Repeat("word ", suiteWindow/5)) // some 820 tokens for the adapter
	c, _ := a.connect(t, AdapterOptions{})
	_, err := c.Chat(context.Background(), long, nil)
	if a.wire == WireOllama {
		require.ErrorIs(t, err, engine.ErrPromptTooLong)
	} else {
		require.NoError(t, err, "Ollama refuses it now: say so in the adapter's documentation")
	}
	c, _ = a.connect(t, AdapterOptions{Window: 500})
	_, err = c.Chat(context.Background(), long, nil)
	require.ErrorIs(t, err, engine.ErrPromptTooLong)
}

// meanCode is the vector that the model must give a text of known words.
func meanCode(words ...string) []float64 {
	v := make([]float64, suiteDim)
	for _, w := range words {
		var mean float64
		code := gguf.Code(w, suiteDim)
		for _, x := range code {
			mean += float64(x) / suiteDim
		}
		for i, x := range code {
			v[i] += float64(x) - mean
		}
	}
	return v
}

func cosine(a []float32, b []float64) float64 {
	var ab, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), b[i]
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	return ab / math.Sqrt(aa*bb)
}

func (a realCase) embed(t *testing.T) {
	_, e := a.connect(t, AdapterOptions{Batch: 3})
	texts := [][]string{{"cat"}, {"the", "cat", "sits", "on", "the", "mat"}, {"dog"}, {"kitten"}, {"the", "rug"}, {"mat", "rug", "dog"}, {"dog"}}
	var in []string
	for _, words := range texts {
		in = append(in, strings.Join(words, " "))
	}
	got, err := e.Embed(context.Background(), in)
	require.NoError(t, err)
	require.Len(t, got, len(in))
	for i, words := range texts {
		require.Len(t, got[i], suiteDim)
		require.InDelta(t, 1, cosine(got[i], meanCode(words...)), 1e-3, "%s", in[i])
	}
	require.Less(t, cosine(got[0], meanCode("dog")), 0.5)

	_, err = e.Embed(context.Background(), []string{"cat", ""})
	require.ErrorIs(t, err, engine.ErrModelRefused)
}

// As tooLong, for texts to embed.
func (a realCase) textTooLong(t *testing.T) {
	_, e := a.connect(t, AdapterOptions{})
	_, err := e.Embed(context.Background(), []string{"cat", strings.Repeat("dog ", suiteEmbedWindow)})
	if a.wire == WireOllama {
		require.ErrorIs(t, err, engine.ErrPromptTooLong)
	} else {
		require.NoError(t, err, "Ollama refuses it now: say so in the adapter's documentation")
	}
	_, err = e.Embed(context.Background(), []string{strings.TrimSpace(strings.Repeat("dog ", suiteEmbedWindow-2))})
	require.NoError(t, err, "all of the window")
}

// A caller may go in the middle of an answer; the next one is served.
func (a realCase) callerGoes(t *testing.T) {
	c, _ := a.connect(t, AdapterOptions{})
	gone := errors.New("the client went away")
	for name, leave := range map[string]func(cancel func()) error{
		"by its context": func(cancel func()) error { cancel(); return nil },
		"by its error":   func(func()) error { return gone },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			pieces := 0
			_, err := c.Chat(ctx, ask("for ever"), func(string) error {
				if pieces++; pieces < 10 {
					return nil
				}
				return leave(cancel)
			})
			require.True(t, errors.Is(err, context.Canceled) || errors.Is(err, gone), "%v", err)
			require.NotErrorIs(t, err, engine.ErrModelDown)
			r, err := c.Chat(context.Background(), ask("hello"), nil)
			require.NoError(t, err)
			require.Equal(t, saidAnswer, r.Text)
		})
	}
}

func (a realCase) killed(t *testing.T) {
	waits := 0
	c, e := a.connect(t, AdapterOptions{Remote: engine.RemoteOptions{
		Wait: func(ctx context.Context, _ time.Duration) error { waits++; return ctx.Err() },
	}})
	pieces := 0
	r, err := c.Chat(context.Background(), ask("for ever"), func(string) error {
		if pieces++; pieces == 10 {
			a.server.Kill()
		}
		return nil
	})
	require.ErrorIs(t, err, engine.ErrModelDown)
	require.Empty(t, r.Text, "half a reply is none")
	require.Zero(t, waits, "not sent again: it had begun")
	_, err = e.Embed(context.Background(), []string{"cat"})
	require.ErrorIs(t, err, engine.ErrModelDown)
	require.Equal(t, 2, waits, "nobody listens: tried again")

	a.server.Restart()
	r, err = c.Chat(context.Background(), ask("hello"), nil)
	require.NoError(t, err, "the same adapter, and the models are still there")
	require.Equal(t, saidAnswer, r.Text)
	_, err = e.Embed(context.Background(), []string{"cat"})
	require.NoError(t, err)
}

// With room for one model, one that talks keeps the other waiting, and Ollama
// refuses those for whom there is no place in the queue.
func (a realCase) queueFull(t *testing.T) {
	a.server = StartOllama(t, OllamaOptions{Loaded: 1, Queue: 1})
	a.models(t)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	defer func() { cancel(); work.Wait() }()
	c, _ := a.connect(t, AdapterOptions{})
	talking := make(chan struct{})
	work.Go(func() {
		var once sync.Once
		_, err := c.Chat(ctx, ask("for ever"), func(string) error { once.Do(func() { close(talking) }); return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the talk ended by itself: %v", err)
		}
	})
	<-talking
	// One is at the head and one waits; the others are refused at once.
	const asked, places = 5, 2
	_, e := a.connect(t, AdapterOptions{Remote: engine.RemoteOptions{Attempts: 1}})
	answers := make(chan error, asked)
	for range asked {
		work.Go(func() {
			_, err := e.Embed(context.Background(), []string{"cat"})
			answers <- err
		})
	}
	for range asked - places {
		err := <-answers
		require.ErrorIs(t, err, engine.ErrModelDown)
		require.ErrorContains(t, err, "maximum pending requests exceeded")
	}
	// Whoever tries again gets in when the talk is over.
	refused := 0
	_, patient := a.connect(t, AdapterOptions{Remote: engine.RemoteOptions{
		Attempts: 100, Wait: func(ctx context.Context, d time.Duration) error {
			refused++
			cancel()
			return sleep(ctx, 50*time.Millisecond)
		},
	}})
	v, err := patient.Embed(context.Background(), []string{"cat"})
	require.NoError(t, err)
	require.InDelta(t, 1, cosine(v[0], meanCode("cat")), 1e-3)
	require.Positive(t, refused)
	work.Wait()
	for range places {
		require.NoError(t, <-answers, "who had a place was served")
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a realCase) wrongKind(t *testing.T) {
	c, _ := a.connect(t, AdapterOptions{})
	a.server.Delete(c.Model())
	_, err := c.Chat(context.Background(), ask("hello"), nil)
	require.ErrorIs(t, err, engine.ErrModelMissing, "deleted meanwhile")
	a.server.Embedder(c.Model(), suiteEmbedWindow, suiteWords, codes(suiteWords))
	_, err = c.Chat(context.Background(), ask("hello"), nil)
	require.ErrorIs(t, err, engine.ErrModelRefused)
	require.ErrorContains(t, err, "does not support chat")
}
