package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the README's table of settings")

func load(t *testing.T, args ...string) *values {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	addSettings(fs)
	require.NoError(t, fs.Parse(args))
	v, err := loadSettings(fs)
	require.NoError(t, err)
	return v
}

// A flag wins over the environment, the environment over the file, the file
// over the default; an empty variable counts as not set.
func TestSettings_Precedence(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile(".env", []byte("LISTEN=127.0.0.1:1\nCHUNK_SIZE=100\nMAX_ASYNC=7\nUNKNOWN=x\n"), 0o600))
	t.Setenv("LISTEN", "127.0.0.1:2")
	t.Setenv("MAX_ASYNC", "8")
	t.Setenv("DATA_DIR", "")
	v := load(t, "--listen", "127.0.0.1:3")
	for name, want := range map[string][2]string{
		"LISTEN":     {"127.0.0.1:3", "flag"},
		"MAX_ASYNC":  {"8", "environment"},
		"CHUNK_SIZE": {"100", ".env"},
		"DATA_DIR":   {"alcove-data", "default"},
	} {
		require.Equal(t, want, [2]string{v.str(name), v.from[name]}, name)
	}
}

func TestSettings_NamedFileMustExist(t *testing.T) {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	addSettings(fs)
	require.NoError(t, fs.Parse([]string{"--config", filepath.Join(t.TempDir(), "none.env")}))
	_, err := loadSettings(fs)
	require.ErrorContains(t, err, "none.env")
}

// Every fault is in the one message, each with its name and where it came from.
func TestSettings_AllFaultsAtOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("LLM_BINDING", "ollama")
	t.Setenv("MAX_CACHED_INSTANCES", "none")
	v := load(t, "--listen", "nowhere", "--chunk-size", "0", "--log-level", "LOUD", "--embedding-binding", "lollms", "--llm-binding-host", "ftp://x")
	v.server(v.logger())
	err := v.err()
	require.Error(t, err)
	for _, want := range []string{
		"LISTEN (from flag)", "CHUNK_SIZE (from flag)", "LOG_LEVEL (from flag)", "EMBEDDING_BINDING (from flag)",
		"LLM_BINDING_HOST (from flag)", "LLM_MODEL (from default)", "MAX_CACHED_INSTANCES (from environment)",
	} {
		require.ErrorContains(t, err, want)
	}
}

// Variables of ADR 007 that mean nothing here are named, not ignored.
func TestSettings_ForeignVariables(t *testing.T) {
	t.Setenv("PG_HOST", "postgres")
	t.Setenv("LIGHTRAG_KV_STORAGE", "PGKVStorage")
	got := strings.Join(foreignSet(), "\n")
	require.Contains(t, got, "PG_HOST has no effect")
	require.Contains(t, got, "LIGHTRAG_KV_STORAGE has no effect")
}

func TestConfigPrint_MasksSecrets(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("TOKEN_SECRET", "a-secret-that-must-not-be-printed-anywhere")
	var out strings.Builder
	c := root()
	c.SetOut(&out)
	c.SetArgs([]string{"config", "print"})
	require.NoError(t, c.Execute())
	require.Contains(t, out.String(), "TOKEN_SECRET=***")
	require.NotContains(t, out.String(), "must-not-be-printed")
}

// The README's table is the table of the code.
func TestReadme_Settings(t *testing.T) {
	const readme = "../../README.md"
	const begin, end = "-update -->\n", "<!-- /settings -->"
	b, err := os.ReadFile(readme)
	require.NoError(t, err)
	head, rest, ok := strings.Cut(string(b), begin)
	require.True(t, ok)
	_, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	var table strings.Builder
	table.WriteString("\n| variable | default | what |\n|---|---|---|\n")
	for _, s := range settings {
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", s.name, s.def, s.help)
	}
	table.WriteString("\n")
	want := head + begin + table.String() + end + after
	if *update {
		require.NoError(t, os.WriteFile(readme, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(b), "run: go test ./cmd/alcove -run TestReadme -update")
}

// Every command and every flag that a user can see explains itself.
func TestCommands_Help(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		require.NotEmpty(t, c.Short, c.CommandPath())
		c.Flags().VisitAll(func(f *pflag.Flag) { require.NotEmpty(t, f.Usage, "%s --%s", c.CommandPath(), f.Name) })
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	walk(root())
}
