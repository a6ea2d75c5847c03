package openai_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/engine/openai"
)

func open(t testing.TB, o enginetest.AdapterOptions) (engine.Chatter, engine.Embedder) {
	c, err := openai.New(openai.Options{
		URL: o.URL, APIKey: o.APIKey, ChatModel: "m", EmbedModel: "e", ContextTokens: o.Window, EmbedBatch: o.Batch, Dimensions: o.Dimensions, Remote: o.Remote,
	})
	require.NoError(t, err)
	return c.Chatter(), c.Embedder()
}

func TestAdapter(t *testing.T) { enginetest.AdapterSuite(t, enginetest.WireOpenAI, open) }

// A real Ollama speaks this wire under /v1.
func TestAdapter_RealOllama(t *testing.T) { enginetest.OllamaSuite(t, enginetest.WireOpenAI, open) }

// OpenAI's reasoning models refuse max_tokens and a temperature.
func TestChat_ReasoningModel(t *testing.T) {
	s := enginetest.NewModelServer(t, enginetest.WireOpenAI, enginetest.Turn{Pieces: []string{"x"}, Reason: "stop"})
	c, err := openai.New(openai.Options{URL: s.URL, ChatModel: "o3-mini"})
	require.NoError(t, err)
	zero := 0.0
	_, err = c.Chatter().Chat(context.Background(), engine.ChatRequest{
		Messages: []engine.Message{{Role: "user", Content: "x"}}, MaxTokens: 5, Temperature: &zero,
	}, nil)
	require.NoError(t, err)
	body := s.Calls()[0].Body
	require.Equal(t, 5.0, body["max_completion_tokens"])
	require.NotContains(t, body, "max_tokens")
	require.NotContains(t, body, "temperature")
}

// Vectors come as base64 where the server has it. One that refuses it, or answers
// numbers all the same, is asked once.
func TestEmbed_Base64(t *testing.T) {
	for name, x := range map[string]struct {
		reply func(asked bool) enginetest.Turn
		calls []bool // which ask for base64
	}{
		"given":   {func(bool) enginetest.Turn { return enginetest.Turn{} }, []bool{true, true}},
		"numbers": {func(bool) enginetest.Turn { return enginetest.Turn{Numbers: true} }, []bool{true, false, false}},
		"refused": {func(asked bool) enginetest.Turn {
			if asked {
				return enginetest.Turn{Status: 400, Message: "Extra inputs are not permitted"}
			}
			return enginetest.Turn{}
		}, []bool{true, false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			asks := func(c enginetest.Call) bool { return c.Body["encoding_format"] == "base64" }
			s := enginetest.NewModelServer(t, enginetest.WireOpenAI)
			s.Reply = func(c enginetest.Call) enginetest.Turn { return x.reply(asks(c)) }
			c, err := openai.New(openai.Options{URL: s.URL, EmbedModel: "e"})
			require.NoError(t, err)
			for range 2 {
				got, err := c.Embedder().Embed(context.Background(), []string{"cat", "lion"})
				require.NoError(t, err)
				require.Equal(t, [][]float32{enginetest.Served("cat"), enginetest.Served("lion")}, got)
			}
			var calls []bool
			for _, c := range s.Calls() {
				calls = append(calls, asks(c))
			}
			require.Equal(t, x.calls, calls)
		})
	}
}

// A refusal that has another reason says nothing of base64.
func TestEmbed_RefusedForAnotherReason(t *testing.T) {
	s := enginetest.NewModelServer(t, enginetest.WireOpenAI)
	s.Reply = func(c enginetest.Call) enginetest.Turn {
		if slices.Contains(c.Body["input"].([]any), any("lion")) {
			return enginetest.Turn{Status: 400, Message: "no"}
		}
		return enginetest.Turn{}
	}
	c, err := openai.New(openai.Options{URL: s.URL, EmbedModel: "e"})
	require.NoError(t, err)
	for range 2 {
		_, err = c.Embedder().Embed(context.Background(), []string{"lion"})
		require.ErrorIs(t, err, engine.ErrModelRefused)
		_, err = c.Embedder().Embed(context.Background(), []string{"cat"})
		require.NoError(t, err)
	}
	last := s.Calls()[len(s.Calls())-1]
	require.Equal(t, "base64", last.Body["encoding_format"])
	require.Len(t, s.Calls(), 2+1+1+1, "once it was given, a refusal is a refusal")
}

func TestNew(t *testing.T) {
	for _, bad := range []string{"localhost:1", "ftp://x:secret@y", "http://", "::secret"} {
		_, err := openai.New(openai.Options{URL: bad})
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret")
	}
}
