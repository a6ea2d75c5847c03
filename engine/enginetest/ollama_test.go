package enginetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The server that tests run against is of the version of the client that is linked.
func TestOllamaVersion(t *testing.T) {
	for _, mod := range []string{"../../go.mod", "../../tools/ollama/go.mod"} {
		b, err := os.ReadFile(filepath.FromSlash(mod))
		require.NoError(t, err)
		require.Contains(t, string(b), "\tgithub.com/ollama/ollama "+OllamaVersion, mod)
	}
}

// OLLAMA_BIN wins over the cache; what it names must be there.
func TestOllamaBinary(t *testing.T) {
	here, err := os.Executable()
	require.NoError(t, err)
	t.Setenv("OLLAMA_BIN", here)
	bin, err := ollamaBinary()
	require.NoError(t, err)
	require.Equal(t, here, bin)
	t.Setenv("OLLAMA_BIN", here+"-not")
	_, err = ollamaBinary()
	require.ErrorContains(t, err, "make ollama")
	t.Setenv("OLLAMA_BIN", "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	_, err = ollamaBinary()
	require.ErrorContains(t, err, "ollama-"+OllamaVersion)
}
