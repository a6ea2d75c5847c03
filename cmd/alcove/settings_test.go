package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"alcove/engine"

	"alcove/tenancy"
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

// What is wrong with the file is told by the line, never by what stands there: it
// holds secrets. An editor's byte order mark hides no setting.
func TestSettings_File(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(text string) { require.NoError(t, os.WriteFile(".env", []byte(text), 0o600)) }
	write("\ufeffLISTEN=127.0.0.1:1\nDATA_DIR=\nMAX_ASYNC=\"7\" # seven\n")
	v := load(t)
	for name, want := range map[string][2]string{
		"LISTEN": {"127.0.0.1:1", ".env"}, "DATA_DIR": {"alcove-data", "default"}, "MAX_ASYNC": {"7", ".env"},
	} {
		require.Equal(t, want, [2]string{v.str(name), v.from[name]}, name)
	}
	for text, says := range map[string]string{
		"LISTEN=x\nno equals sign\nLLM_BINDING_API_KEY=hunter2\n": "line 2",
		"LISTEN=x\n\nLLM_BINDING_API_KEY=\"hunter2\n":             "line 3",
		"\xff\xfeL\x00I\x00hunter2":                               "UTF-8",
		"LLM_MODEL=hunter2\x00\nA=b":                              "UTF-8",
	} {
		write(text)
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		addSettings(fs)
		_, err := loadSettings(fs)
		require.ErrorContains(t, err, ".env: ")
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

// Every fault is in the one message, each with its name and where it came from.
func TestSettings_AllFaultsAtOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("LLM_BINDING", "ollama")
	t.Setenv("MAX_CACHED_INSTANCES", "none")
	v := load(t, "--listen", "nowhere", "--chunk-size", "0", "--log-level", "LOUD", "--embedding-binding", "lollms", "--llm-binding-host", "ftp://x",
		"--trusted-proxies", "10.0.0.1/8,proxy.example", "--data-dir", "", "--token-secret", "your-secret-key",
		"--rerank-binding", "openai", "--min-rerank-score", "high", "--kg-chunk-pick-method", "random", "--enable-llm-cache", "perhaps")
	v.server(v.logger())
	v.checkSecret()
	err := v.err()
	require.Error(t, err)
	for _, want := range []string{
		`TRUSTED_PROXIES (from flag): "10.0.0.1/8"`, `"proxy.example" is not an address`,
		"LISTEN (from flag)", "CHUNK_SIZE (from flag)", "LOG_LEVEL (from flag)", "EMBEDDING_BINDING (from flag)",
		"LLM_BINDING_HOST (from flag)", "DATA_DIR (from flag): is empty", "TOKEN_SECRET (from flag): is a published example", "LLM_MODEL (from default)", "MAX_CACHED_INSTANCES (from environment)",
		"RERANK_BINDING_HOST (from default)", "MIN_RERANK_SCORE (from flag)", "KG_CHUNK_PICK_METHOD (from flag)", "ENABLE_LLM_CACHE (from flag)",
	} {
		require.ErrorContains(t, err, want)
	}
}

// The collector always has room: beside what is counted, and for a knowledge base that
// is being loaded and not counted yet. The machine's memory is the end of it.
func TestMemoryLimit(t *testing.T) {
	const gib = 1 << 30
	require.EqualValues(t, baseMemory, memoryLimit(16*gib, 0, 100<<20), "idle")
	require.EqualValues(t, baseMemory+2*gib, memoryLimit(16*gib, gib, gib), "open")
	require.Greater(t, memoryLimit(16*gib, 0, gib), int64(gib*3/2), "loading")
	require.EqualValues(t, 9*gib/10, memoryLimit(gib, gib, gib), "a small machine")
}

// Open knowledge bases get half of the machine where the collector and the rest of the
// server still fit beside them, and less where they would not.
func TestCacheMemory(t *testing.T) {
	const gib = 1 << 30
	require.EqualValues(t, 8*gib, cacheMemory(16*gib))
	require.EqualValues(t, 64<<20, cacheMemory(512<<20))
	for m := int64(gib); m <= 64*gib; m *= 2 {
		require.LessOrEqual(t, cacheMemory(m)*3/2+baseMemory, m)
		require.LessOrEqual(t, cacheMemory(m), m/2)
		require.GreaterOrEqual(t, cacheMemory(m), m/8)
	}
}

// PINNED_KBS names a knowledge base by both of its ids.
func TestSettings_PinnedKBs(t *testing.T) {
	v := load(t, "--pinned-kbs", "acme/main, beta/notes")
	require.Equal(t, []engine.Pin{{Tenant: "acme", KB: "main"}, {Tenant: "beta", KB: "notes"}}, v.pins(3))
	require.NoError(t, v.err())
	for pins, want := range map[string]string{"main": `"main" is not`, "acme/": `"acme/" is not`, "a/b/c": `"a/b/c" is not`, "a/b,c/d": "fewer than"} {
		v := load(t, "--pinned-kbs", pins)
		v.pins(2)
		require.ErrorContains(t, v.err(), want)
	}
}

// Variables of ADR 007 that mean nothing here are named, one line each, not ignored.
func TestSettings_ForeignVariables(t *testing.T) {
	names := []string{
		"GUEST_TOKEN_EXPIRE_HOURS", "TENANT_CONFIG_SYNC_INTERVAL", "LIGHTRAG_KV_STORAGE", "LIGHTRAG_VECTOR_STORAGE", "LIGHTRAG_GRAPH_STORAGE",
		"TENANT_DB_HOST", "TENANT_DB_USER", "TENANT_DB_PASSWORD", "PG_HOST", "PG_PORT", "PG_DATABASE", "PG_USER", "PG_PASSWORD",
	}
	for _, name := range names {
		t.Setenv(name, "s3cret-value")
	}
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile(".env", []byte("REDIS_URI=s3cret-value\nPG_HOST=s3cret-value\n"), 0o600))
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	addSettings(fs)
	v, err := loadSettings(fs)
	require.NoError(t, err)
	lines := v.foreignSet()
	for _, name := range append(names, "REDIS_URI") {
		require.Len(t, slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, name+" has no effect") }), 1, name)
	}
	require.NotContains(t, strings.Join(lines, ""), "s3cret")
}

// What a token is worth depends on the secret the server runs with; the note says what
// to do, whichever of the two is configured.
func TestToken_Notes(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("TOKEN_SECRET", "")
	token := func(args ...string) (out, note string, err error) {
		var stdout, stderr strings.Builder
		c := root()
		c.SetOut(&stdout)
		c.SetErr(&stderr)
		c.SetArgs(append([]string{"token", "--data-dir", "data"}, args...))
		err = c.Execute()
		return stdout.String(), stderr.String(), err
	}
	start := func(secret string) {
		s, err := tenancy.Open(tenancy.Options{Dir: "data", TokenSecret: []byte(secret)})
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	const one, other = "Vh3qkP0w9sZrT1yBn5uLxEo7mDc2aJfG", "Xh3qkP0w9sZrT1yBn5uLxEo7mDc2aJfG"
	for _, c := range []struct {
		started, given string
		says, saysNot  string // "": no note at all
	}{
		{"-", "", "no server has used data", "signed with"}, // made here
		{"", "", "", ""},
		{"", one, "signed with TOKEN_SECRET (from flag)", "kept"},
		{one, one, "", ""},
		{one, other, "signed with TOKEN_SECRET (from flag)", "kept"},
		{one, "", "signed with " + filepath.Join("data", "token.secret"), "from default"},
	} {
		if c.started != "-" {
			start(c.started)
		}
		var args []string
		if c.given != "" {
			args = []string{"--token-secret", c.given}
		}
		out, note, err := token(args...)
		require.NoError(t, err)
		require.Equal(t, 2, strings.Count(out, "."), "the token alone: %q", out)
		if c.says == "" {
			require.Empty(t, note, "%+v", c)
			continue
		}
		require.Contains(t, note, c.says, "%+v", c)
		require.NotContains(t, note, c.saysNot, "%+v", c)
		require.Equal(t, 1, strings.Count(note, "\n"))
	}
	for _, expire := range []string{"0s", "-1h", "25h"} {
		_, _, err := token("--expire", expire)
		require.ErrorContains(t, err, "TOKEN_EXPIRE_HOURS", expire)
	}
	_, _, err := token("--expire", "25h", "--token-expire-hours", "25")
	require.NoError(t, err)
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

// A tenant may choose what the server's configuration names, its own model first, and
// nothing where there is no server to have more of them.
func TestSettings_ModelsOffered(t *testing.T) {
	t.Chdir(t.TempDir())
	v := load(t, "--llm-binding", "ollama", "--llm-model", "small", "--llm-models", "large, small,medium",
		"--embedding-binding", "openai", "--embedding-model", "bge", "--embedding-models", "e5", "--top-k", "11", "--cosine-threshold", "0.4")
	cfg := v.server(v.logger())
	require.NoError(t, v.err())
	m, err := cfg.models()
	require.NoError(t, err)
	require.Equal(t, tenancy.Models{Chat: []string{"small", "large", "medium"}, Embedding: []string{"bge", "e5"}}, m.offered())
	require.Equal(t, "large", m.names.Chatters["large"].Model())
	require.Equal(t, "openai/e5", m.names.Embedders["e5"].Model())
	o := cfg.engine
	m.into(&o)
	require.Equal(t, []any{11, 0.4, "small"}, []any{*o.Settings.TopK, *o.Settings.CosineThreshold, *o.Settings.LLMModel})

	v = load(t, "--llm-models", "any", "--embedding-models", "any", "--rerank-models", "any")
	v.server(v.logger())
	for _, name := range []string{"LLM_MODELS", "EMBEDDING_MODELS", "RERANK_MODELS"} {
		require.ErrorContains(t, v.err(), name+" (from flag): needs a model server")
	}
	v = load(t)
	m, err = v.server(v.logger()).models()
	require.NoError(t, err)
	require.Equal(t, tenancy.Models{Embedding: []string{"builtin-hybrid-v1"}}, m.offered())
}

// Nobody has to sign in only where nobody else can come in, and there is one tenant.
func TestSettings_AuthOff(t *testing.T) {
	t.Chdir(t.TempDir())
	read := func(args ...string) (serverConfig, error) {
		v := load(t, append(args, "--auth", "off")...)
		cfg := v.server(v.logger())
		return cfg, v.err()
	}
	for _, listen := range []string{"127.0.0.1:1", "[::1]:1", "localhost:1", "127.8.9.1:1"} {
		cfg, err := read("--tenant-enabled", "false", "--listen", listen)
		require.NoError(t, err, listen)
		require.Equal(t, []any{"default", true, "default"}, []any{cfg.http.Single, cfg.http.NoSignIn, cfg.store.Everybody})
	}
	for _, c := range []struct {
		says string
		args []string
	}{
		{"TENANT_ENABLED=false", []string{}},
		{"loopback", []string{"--tenant-enabled", "false", "--listen", "0.0.0.0:1"}},
		{"loopback", []string{"--tenant-enabled", "false", "--listen", ":1"}},
		{"loopback", []string{"--tenant-enabled", "false", "--listen", "[::]:1"}},
		{"loopback", []string{"--tenant-enabled", "false", "--listen", "localhost.example:1"}},
		{"TRUSTED_PROXIES", []string{"--tenant-enabled", "false", "--trusted-proxies", "127.0.0.1"}},
	} {
		_, err := read(c.args...)
		require.ErrorContains(t, err, "AUTH (from flag): off")
		require.ErrorContains(t, err, c.says)
	}
	v := load(t, "--tenant-enabled", "false", "--legacy-routes", "on")
	cfg := v.server(v.logger())
	require.NoError(t, v.err())
	require.Equal(t, []any{"default", true, false, ""}, []any{cfg.http.Single, cfg.http.LightRAG, cfg.http.NoSignIn, cfg.store.Everybody})
}
