package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/knadh/koanf/parsers/dotenv"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"alcove/tenancy"
)

// setting is one line of the configuration: its name in the environment and
// the file (ADR 007's where ADR 007 has it), its default, and what it does.
// Every setting is also a flag: DATA_DIR is --data-dir.
type setting struct {
	name, def, help string
	secret          bool
}

func (s setting) flag() string { return strings.ReplaceAll(strings.ToLower(s.name), "_", "-") }

// settings is the whole configuration. The README's table is made from it.
var settings = []setting{
	{name: "DATA_DIR", def: "alcove-data", help: "the one folder that holds everything"},
	{name: "LISTEN", def: "127.0.0.1:9621", help: "address to serve on"},
	{name: "ALLOWED_HOSTS", help: "comma separated names under which unauthenticated pages answer, besides loopback and LISTEN's"},
	{name: "TRUSTED_PROXIES", help: "comma separated addresses or networks of reverse proxies whose X-Forwarded-For says who asks; empty: none"},
	{name: "CORS_ORIGINS", help: "comma separated origins (scheme://host[:port]) of web pages that may ask from a browser; * alone is every page. Empty: none"},
	{name: "TLS_CERT_FILE", help: "certificate chain in PEM: LISTEN then speaks TLS. Read again when it changes"},
	{name: "TLS_KEY_FILE", help: "private key of TLS_CERT_FILE, in PEM"},
	{name: "TLS_REDIRECT_LISTEN", help: "address that answers plain HTTP by redirecting to TLS, like :80"},
	{name: "MAX_CONNECTIONS_PER_ADDRESS", def: "256", help: "connections of one address that is neither loopback nor in TRUSTED_PROXIES"},
	{name: "TENANT_ENABLED", def: "true", help: "false: one tenant with one knowledge base, both named default; LightRAG's own routes act on it and tenant routes are not there"},
	{name: "LEGACY_ROUTES", def: "off", help: "on: LightRAG's own routes (/documents, /query, /graph, /graphs, /login, /health) beside ours, on the knowledge base of X-Tenant-ID and X-KB-ID or the credential's only one"},
	{name: "AUTH", def: "on", help: "off: nobody has to sign in and everybody may do everything; only with TENANT_ENABLED=false and a loopback LISTEN, and logged at each start"},
	{name: "LOG_LEVEL", def: "INFO", help: "DEBUG, INFO, WARN or ERROR"},
	{name: "LOG_FORMAT", def: "json", help: "json or text"},
	{name: "LOG_QUERIES", def: "off", help: "on: the text of questions is in the log at DEBUG; off: only its length and a keyed hash"},
	{name: "TRACEPARENT", def: "off", help: "on: a caller's W3C traceparent is handed on to model servers and its trace id logged"},
	{name: "METRICS_LISTEN", def: "127.0.0.1:9622", help: "address that serves /metrics to Prometheus, without a credential; off: none"},
	{name: "METRICS_TOKEN", secret: true, help: "bearer token for /metrics on LISTEN, at least 16 bytes; empty: there is none there"},
	{name: "METRICS_MAX_TENANTS", def: "100", help: "tenants, and keys, with metrics of their own; the rest share one label"},
	{name: "TOKEN_SECRET", secret: true, help: "signs tokens; at least 32 bytes. Empty: made at the first start and kept in DATA_DIR"},
	{name: "JWT_ALGORITHM", def: "HS256", help: "how tokens are signed: HS256 with TOKEN_SECRET, or RS256 or EdDSA with TOKEN_KEY_FILE"},
	{name: "TOKEN_KEY_FILE", help: "private key in PEM that signs tokens; for RS256 (2048 bits or more) and EdDSA (Ed25519)"},
	{name: "TOKEN_VERIFY_KEY_FILE", help: "public key in PEM whose tokens are taken too: the one before, or the next, while keys are changed over"},
	{name: "TOKEN_EXPIRE_HOURS", def: "24", help: "longest life of a token"},
	{name: "ENABLE_AUDIT_LOGGING", def: "true", help: "true, or false: nothing is recorded but that nothing is"},
	{name: "AUDIT_LOG_RETENTION_DAYS", def: "90", help: "whole days of the audit log that are kept; 0: all"},
	{name: "AUDIT_CHECKPOINT_FILE", help: "file that signed checkpoints of the audit log are appended to, best on another disk; empty: audit.checkpoints in DATA_DIR"},
	{name: "MAX_KB_PER_TENANT", def: "50", help: "knowledge bases of a new tenant"},
	{name: "MAX_DOCUMENTS", def: "100000", help: "documents of a new tenant"},
	{name: "MAX_STORAGE_GB", def: "100", help: "storage of a new tenant, in 10^9 bytes of records"},
	{name: "RATE_LIMIT_PROFILE", def: "default", help: "default (100 queries a minute of each key, unless LISTEN is loopback), adr007 (100 queries a minute, 50 documents an hour and 100000 calls a month of each tenant) or off; a tenant's quota may name another"},
	{name: "RATE_LIMIT_QUERIES_PER_MINUTE", help: "queries a minute: of each tenant with profile adr007, else of each key; 0: no limit; empty: the profile's"},
	{name: "RATE_LIMIT_DOCUMENTS_PER_HOUR", help: "documents an hour of each tenant; 0: no limit; empty: the profile's"},
	{name: "RATE_LIMIT_API_CALLS_PER_MONTH", help: "calls a month of each tenant; 0: no limit; empty: the profile's"},
	{name: "RATE_LIMIT_BAD_CREDENTIALS_PER_MINUTE", def: "600", help: "bad tokens and keys of one address after which it gets 429 for a while; 0: no limit"},
	{name: "MAX_CACHED_INSTANCES", def: "100", help: "knowledge bases in memory at once"},
	{name: "CACHE_MEMORY_BYTES", def: "0", help: "bytes of knowledge bases in memory; 0: half of the machine's or the container's memory, less on machines below 3 GiB"},
	{name: "CACHE_IDLE_MINUTES", def: "0", help: "minutes after which a knowledge base that nobody asks for leaves the memory; 0: when its room is needed"},
	{name: "PINNED_KBS", help: "comma separated tenant/knowledge-base ids that stay in memory once they are there; fewer than MAX_CACHED_INSTANCES"},
	{name: "VECTOR_INDEX", def: "own", help: "how more than 12,000 vectors of a knowledge base are searched: own (a graph), coder (the same graph inside coder/hnsw) or exact (a scan)"},
	{name: "VECTOR_MEMORY", def: "full", help: "full, or int8: vectors are kept in memory as a byte a number, a quarter of the bytes, for scores that are off by some thousandths"},
	{name: "MAX_UPLOAD_BYTES", def: "52428800", help: "largest document"},
	{name: "MAX_PARALLEL_INSERT", def: "8", help: "documents worked on at once (they wait for the disk as much as they compute)"},
	{name: "KEEP_ORIGINALS", def: "false", help: "true: files of which a text is made (PDF, Office and the like) are kept beside it, compressed; false: unless the upload asks for it"},
	{name: "PARSE_TIMEOUT", def: "30", help: "seconds that reading one file may take"},
	{name: "PARSE_MEMORY_BYTES", def: "536870912", help: "memory that reading one file may take, in a process of its own"},
	{name: "MAX_PARALLEL_PARSE", def: "2", help: "files read at once in processes of their own"},
	{name: "MAX_PENDING_DOCUMENTS", def: "100000", help: "accepted documents that may wait; more is 503"},
	{name: "MAX_IN_FLIGHT", def: "256", help: "requests served at once; more is 503"},
	{name: "SCAN_FOLDERS", help: "folders that POST …/documents/scan may read, as name=path, comma separated"},
	{name: "CHUNK_SIZE", def: "1200", help: "tokens of a chunk (o200k)"},
	{name: "CHUNK_OVERLAP_SIZE", def: "100", help: "tokens that neighbouring chunks share"},
	{name: "LLM_BINDING", def: "builtin", help: "builtin (no language model: extraction by rules, extractive answers), ollama or openai"},
	{name: "LLM_BINDING_HOST", help: "URL of the model server; ollama: http://127.0.0.1:11434, openai: https://api.openai.com/v1"},
	{name: "LLM_MODEL", help: "chat model"},
	{name: "LLM_MODELS", help: "comma separated names of more chat models of that server, which a tenant or a knowledge base may choose (llm_model)"},
	{name: "LLM_BINDING_API_KEY", secret: true, help: "key of the model server"},
	{name: "LLM_TIMEOUT", def: "240", help: "seconds without a token after which a model call is given up"},
	{name: "MAX_ASYNC", def: "4", help: "model calls at once, for the whole server"},
	{name: "OLLAMA_LLM_NUM_CTX", def: "32768", help: "context window asked of Ollama, in tokens"},
	{name: "LLM_CONTEXT_TOKENS", def: "0", help: "context window of an openai model: a prompt that does not fit is not sent; 0: the server alone knows"},
	{name: "SUMMARY_LANGUAGE", def: "English", help: "language a model extracts and sums up in (a knowledge base may have its own)"},
	{name: "ENTITY_TYPES", help: "comma separated types a model may give entities; empty: LightRAG's (a knowledge base may have its own)"},
	{name: "EXTRACT_FORMAT", def: "auto", help: "what a model is asked for: json (held to a schema where the server can), rows (LightRAG's), or auto: json, and rows where the server refuses it"},
	{name: "MAX_GLEANING", def: "0", help: "how often a model is asked what it missed in a passage, 0 to 2 (a knowledge base may have its own)"},
	{name: "EMBEDDING_BINDING", def: "builtin", help: "builtin (builtin-hybrid-v1), ollama or openai"},
	{name: "EMBEDDING_BINDING_HOST", help: "URL of the embedding server; empty: LLM_BINDING_HOST where both bindings are the same"},
	{name: "EMBEDDING_MODEL", help: "embedding model"},
	{name: "EMBEDDING_MODELS", help: "comma separated names of more embedding models of that server, which a tenant or a knowledge base may choose (embedding_model)"},
	{name: "EMBEDDING_DIM", def: "0", help: "dimensions asked of the embedding server; 0: the model's own"},
	{name: "OLLAMA_EMBEDDING_NUM_CTX", def: "8192", help: "context window asked of Ollama for embeddings, in tokens"},
	{name: "EMBEDDING_BINDING_API_KEY", secret: true, help: "key of the embedding server; empty: LLM_BINDING_API_KEY"},
	{name: "EMBEDDING_BATCH_NUM", def: "256", help: "texts of one embedding call, of 256 KiB together"},
	{name: "RERANK_BINDING", def: "null", help: "null (the order of the search), cohere, jina, openai (/v1/rerank of vLLM, llama.cpp and others), tei (/rerank) or llm (the chat model judges)"},
	{name: "RERANK_BINDING_HOST", help: "URL of the rerank server, with or without the path; cohere: https://api.cohere.com, jina: https://api.jina.ai"},
	{name: "RERANK_MODEL", help: "rerank model"},
	{name: "RERANK_MODELS", help: "comma separated names of more rerank models of that server, which a tenant or a knowledge base may choose (rerank_model)"},
	{name: "RERANK_BINDING_API_KEY", secret: true, help: "key of the rerank server"},
	{name: "RERANK_TIMEOUT", def: "30", help: "seconds without an answer after which a rerank call is given up"},
	{name: "RERANK_MAX_TOKENS_PER_DOC", def: "4096", help: "tokens of a chunk that are scored at once; of a longer one the best part counts"},
	{name: "MIN_RERANK_SCORE", def: "0", help: "chunks that score less are left out; 0: none (some servers score below 0)"},
	{name: "TOP_K", def: "40", help: "entities or relations of a question that says nothing else (a tenant or a knowledge base may have its own; so below)"},
	{name: "CHUNK_TOP_K", def: "20", help: "chunks of a question"},
	{name: "MAX_ENTITY_TOKENS", def: "6000", help: "tokens of the entities in a question's context"},
	{name: "MAX_RELATION_TOKENS", def: "8000", help: "tokens of the relations in it"},
	{name: "MAX_TOTAL_TOKENS", def: "30000", help: "tokens of the context in all"},
	{name: "COSINE_THRESHOLD", help: "similarity, -1 to 1, below which a vector is not found; empty: 0.2, or none with the builtin embedding"},
	{name: "KG_CHUNK_PICK_METHOD", def: "VECTOR", help: "chunks behind entities and relations: VECTOR (closest to the question) or WEIGHT (by the rank of what mentions them)"},
	{name: "RELATED_CHUNK_NUMBER", def: "5", help: "chunks an entity or relation may bring"},
	{name: "KEYWORD_MODEL_CALL", def: "on", help: "on, or off: keywords of a question come from rules even with a chat model, which saves a call"},
	{name: "ENABLE_LLM_CACHE", def: "true", help: "true: keywords and answers of the chat model are remembered in memory while the documents do not change; false: never"},
	{name: "QUERY_CACHE_BYTES", def: "67108864", help: "bytes of what is remembered of questions, for the whole server"},
}

// foreign are variables of ADR 007 and LightRAG that mean nothing here. Each
// that is set is named once at start, so that nobody waits for its effect.
var foreign = []struct{ prefix, why string }{
	{"GUEST_", "there are no guest tokens"},
	{"TENANT_CONFIG_SYNC_INTERVAL", "one process: a change of a tenant is in force at once"},
	{"LIGHTRAG_KV_STORAGE", "the store is embedded"},
	{"LIGHTRAG_VECTOR_STORAGE", "the store is embedded"},
	{"LIGHTRAG_GRAPH_STORAGE", "the store is embedded"},
	{"LIGHTRAG_DOC_STATUS_STORAGE", "the store is embedded"},
	{"TENANT_SERVICE_STORAGE", "the store is embedded"},
	{"REDIS_", "there is no Redis: limits and caches live in the process"},
	{"POSTGRES_", "there is no PostgreSQL"},
	{"PG_", "there is no PostgreSQL"},
	{"TENANT_DB_", "there is no PostgreSQL"},
}

// foreignSet has a line for each of them that is set in the environment or in the file.
func (v *values) foreignSet() []string {
	names := slices.Clone(v.inFile)
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	var out []string
	for _, name := range slices.Compact(names) {
		for _, f := range foreign {
			if name == f.prefix || strings.HasSuffix(f.prefix, "_") && strings.HasPrefix(name, f.prefix) {
				out = append(out, name+" has no effect: "+f.why)
			}
		}
	}
	return out
}

// addSettings gives a command the flags of the named settings.
func addSettings(fs *pflag.FlagSet, names ...string) {
	fs.String("config", "", "file of NAME=value lines (default .env when it is there)")
	for _, s := range settings {
		if slices.Contains(names, s.name) || len(names) == 0 {
			fs.String(s.flag(), s.def, s.help+" ["+s.name+"]")
		}
	}
}

// values are the settings in force: flag, else environment, else file, else default.
type values struct {
	k    *koanf.Koanf
	from map[string]string // where each value came from
	errs []error

	inFile []string // every name in the file
}

func loadSettings(fs *pflag.FlagSet) (*values, error) {
	v := &values{k: koanf.New("\x00"), from: map[string]string{}}
	known := map[string]bool{}
	defaults := map[string]any{}
	for _, s := range settings {
		defaults[s.name] = s.def
		known[s.name] = true
		v.from[s.name] = "default"
	}
	if err := v.k.Load(confmap.Provider(defaults, "\x00"), nil); err != nil {
		return nil, err
	}
	note := func(k *koanf.Koanf, source string) error {
		for name := range k.All() {
			if known[name] {
				v.from[name] = source
			}
		}
		return v.k.Merge(k)
	}
	path, explicit := ".env", false
	if f := fs.Lookup("config"); f != nil && f.Value.String() != "" {
		path, explicit = f.Value.String(), true
	}
	fromFile := koanf.New("\x00")
	switch lines, err := readEnvFile(path); {
	case err == nil:
		v.inFile = slices.Collect(maps.Keys(lines))
		if err := fromFile.Load(confmap.Provider(lines, "\x00"), nil); err != nil {
			return nil, err
		}
		if err := note(fromFile, path); err != nil {
			return nil, err
		}
	case explicit || !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("configuration file %s: %w", path, err)
	}
	fromEnv := koanf.New("\x00")
	if err := fromEnv.Load(env.Provider("\x00", env.Opt{TransformFunc: func(k, val string) (string, any) {
		if !known[k] || val == "" {
			return "", nil
		}
		return k, val
	}}), nil); err != nil {
		return nil, err
	}
	if err := note(fromEnv, "environment"); err != nil {
		return nil, err
	}
	fromFlags := koanf.New("\x00")
	byFlag := map[string]string{}
	for _, s := range settings {
		byFlag[s.flag()] = s.name
	}
	if err := fromFlags.Load(posflag.ProviderWithFlag(fs, "\x00", nil, func(f *pflag.Flag) (string, any) {
		if name, ok := byFlag[f.Name]; ok && f.Changed {
			return name, f.Value.String()
		}
		return "", nil
	}), nil); err != nil {
		return nil, err
	}
	if err := note(fromFlags, "flag"); err != nil {
		return nil, err
	}
	return v, nil
}

// readEnvFile reads NAME=value lines; an empty value counts as not set. What is
// wrong with a line is told by its number alone: the parser's own words quote
// the rest of the file, and there are secrets in it.
func readEnvFile(path string) (map[string]any, error) {
	b, err := file.Provider(path).ReadBytes()
	if err != nil {
		return nil, err
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // some editors begin a file so
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		return nil, errors.New("is not UTF-8 text")
	}
	values, err := dotenv.Parser().Unmarshal(b)
	if err != nil {
		return nil, fmt.Errorf("line %d is not NAME=value", faultyLine(b))
	}
	for name, v := range values {
		if v == "" {
			delete(values, name)
		}
	}
	return values, nil
}

// faultyLine is the number of the line after the longest beginning that parses.
func faultyLine(b []byte) int {
	lines := bytes.SplitAfter(b, []byte("\n"))
	for n := len(lines) - 1; n > 0; n-- {
		if _, err := dotenv.Parser().Unmarshal(bytes.Join(lines[:n], nil)); err == nil {
			return n + 1
		}
	}
	return 1
}

func (v *values) str(name string) string { return strings.TrimSpace(v.k.String(name)) }

// secret is the value of a setting that must not be seen.
func (v *values) secret(name string) tenancy.Secret { return tenancy.Secret(v.str(name)) }

func (v *values) bad(name, format string, a ...any) {
	v.errs = append(v.errs, fmt.Errorf("%s (from %s): %s", name, v.from[name], fmt.Sprintf(format, a...)))
}

// number reads a whole number in [min, max]; a fault is kept for err.
func (v *values) number(name string, lo, hi int64) int64 {
	n, err := strconv.ParseInt(v.str(name), 10, 64)
	if err != nil || n < lo || n > hi {
		v.bad(name, "%q is not a whole number from %d to %d", v.str(name), lo, hi)
		return lo
	}
	return n
}

// decimal reads a number in [min, max].
func (v *values) decimal(name string, lo, hi float64) float64 {
	x, err := strconv.ParseFloat(v.str(name), 64)
	if err != nil || !(x >= lo && x <= hi) {
		v.bad(name, "%q is not a number from %g to %g", v.str(name), lo, hi)
		return lo
	}
	return x
}

// on reads a switch.
func (v *values) on(name string) bool {
	switch strings.ToLower(v.str(name)) {
	case "on", "true", "yes", "1":
		return true
	case "off", "false", "no", "0":
		return false
	}
	v.bad(name, "%q is neither on nor off", v.str(name))
	return false
}

func (v *values) seconds(name string, lo, hi int64) time.Duration {
	return time.Duration(v.number(name, lo, hi)) * time.Second
}

func (v *values) oneOf(name string, allowed ...string) string {
	s := strings.ToLower(v.str(name))
	if !slices.Contains(allowed, s) {
		v.bad(name, "%q is not one of %s", v.str(name), strings.Join(allowed, ", "))
	}
	return s
}

func (v *values) list(name string) []string {
	var out []string
	for _, x := range strings.Split(v.str(name), ",") {
		if x = strings.TrimSpace(x); x != "" {
			out = append(out, x)
		}
	}
	return out
}

// networks reads addresses and networks in CIDR form.
func (v *values) networks(name string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range v.list(name) {
		p, err := netip.ParsePrefix(s)
		if a, aerr := netip.ParseAddr(s); aerr == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p != p.Masked() {
			v.bad(name, "%q is not an address or a network such as 10.0.0.0/8", s)
			continue
		}
		out = append(out, p)
	}
	return out
}

func (v *values) url(name, def string) string {
	s := v.str(name)
	if s == "" {
		return def
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		v.bad(name, "is not an http or https URL")
	}
	return s
}

// err is every fault found so far in one message.
func (v *values) err() error {
	if len(v.errs) == 0 {
		return nil
	}
	return fmt.Errorf("configuration:\n%w", errors.Join(v.errs...))
}
