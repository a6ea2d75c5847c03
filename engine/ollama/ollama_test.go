package ollama_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/engine/ollama"
)

func open(t testing.TB, o enginetest.AdapterOptions) (engine.Chatter, engine.Embedder) {
	c, err := ollama.New(ollama.Options{
		URL: o.URL, APIKey: o.APIKey, ChatModel: "m:3b", EmbedModel: "e:latest", ContextTokens: o.Window, EmbedTokens: o.EmbedWindow,
		EmbedBatch: o.Batch, Dimensions: o.Dimensions, Remote: o.Remote,
	})
	require.NoError(t, err)
	return c.Chatter(), c.Embedder()
}

func TestAdapter(t *testing.T) { enginetest.AdapterSuite(t, enginetest.WireOllama, open) }

// The same promises, kept by a real Ollama.
func TestAdapter_RealOllama(t *testing.T) { enginetest.OllamaSuite(t, enginetest.WireOllama, open) }

func TestNew(t *testing.T) {
	for _, bad := range []string{"localhost:11434", "ftp://x:secret@y", "http://", "::secret"} {
		_, err := ollama.New(ollama.Options{URL: bad})
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret")
	}
	_, err := ollama.New(ollama.Options{KeepAlive: "soon"})
	require.Error(t, err)
	c, err := ollama.New(ollama.Options{ChatModel: "m", EmbedModel: "e:latest", KeepAlive: "10m"})
	require.NoError(t, err)
	require.Equal(t, "m", c.Chatter().Model())
	require.Equal(t, "ollama/e", c.Embedder().Model())
}
