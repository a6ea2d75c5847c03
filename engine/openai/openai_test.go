package openai_test

import (
	"context"
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

func TestNew(t *testing.T) {
	for _, bad := range []string{"localhost:1", "ftp://x:secret@y", "http://", "::secret"} {
		_, err := openai.New(openai.Options{URL: bad})
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret")
	}
}
