package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"alcove/engine"
	"alcove/engine/parse"
	"alcove/httpapi"
	"alcove/tenancy"
)

func serveCommand() *cobra.Command {
	var rotate bool
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the REST API",
		Long: `serve opens the data folder (making it when it is not there) and serves the REST
API until it gets SIGTERM or an interrupt: then /readyz answers 503, running
requests end, and accepted documents go on at the next start.

An administrator's token for it comes from: alcove token --data-dir DIR`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			log := v.logger()
			cfg := v.server(log)
			v.checkSecret()
			if err := v.err(); err != nil {
				return err
			}
			for _, w := range v.foreignSet() {
				log.Warn(w)
			}
			cfg.rotate = rotate
			return serve(cmd.Context(), cfg, nil)
		},
	}
	addSettings(c.Flags())
	c.Flags().BoolVar(&rotate, "rotate-secret", false, "make a new token secret first: ends every token")
	return c
}

// serverConfig is everything a server is made of, read from the settings.
type serverConfig struct {
	log     *slog.Logger
	listen  string
	store   tenancy.Options
	models  func() (models, error)
	engine  engine.Options
	parse   parse.Options
	http    httpapi.Options
	plain   string // address that redirects to TLS, "" for none
	rotate  bool   // make a new token secret first
	metrics string // address of /metrics, "" for none
	// metricsAsked says that somebody chose that address: then it must be free.
	metricsAsked bool
	memory       int64 // GOMEMLIMIT is left alone when it was given
}

func (v *values) logger() *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(v.str("LOG_LEVEL"))); err != nil {
		v.bad("LOG_LEVEL", "%q is not DEBUG, INFO, WARN or ERROR", v.str("LOG_LEVEL"))
	}
	return v.loggerTo(os.Stderr, level)
}

// server reads a server's settings; faults are collected in v.
func (v *values) server(log *slog.Logger) serverConfig {
	cfg := serverConfig{log: log, listen: v.str("LISTEN")}
	if _, port, err := net.SplitHostPort(cfg.listen); err != nil {
		v.bad("LISTEN", "%q is not host:port", cfg.listen)
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		v.bad("LISTEN", "%q has no port from 0 to 65535", cfg.listen)
	}
	cfg.store = v.store(log)
	cfg.models = v.models()
	cfg.memory = machineMemory()
	resident := v.number("CACHE_MEMORY_BYTES", 0, 1<<50)
	if resident == 0 {
		resident = cacheMemory(cfg.memory)
	}
	cfg.engine = engine.Options{
		Logger:           log,
		ChunkTokens:      int(v.number("CHUNK_SIZE", 16, 8192)),
		ChunkOverlap:     int(v.number("CHUNK_OVERLAP_SIZE", 0, 4096)),
		MaxDocumentBytes: int(v.number("MAX_UPLOAD_BYTES", 1, 1<<30)),
		MaxPending:       int(v.number("MAX_PENDING_DOCUMENTS", 1, 10_000_000)),
		Workers:          int(v.number("MAX_PARALLEL_INSERT", 1, 256)),
		ModelConcurrency: int(v.number("MAX_ASYNC", 1, 1024)),
		EmbedBatch:       int(v.number("EMBEDDING_BATCH_NUM", 1, 2048)),
		MaxOpen:          int(v.number("MAX_CACHED_INSTANCES", 1, 100_000)),
		MaxOpenBytes:     resident,
		VectorIndex:      v.oneOf("VECTOR_INDEX", "own", "coder", "exact"),
		VectorsCompact:   v.oneOf("VECTOR_MEMORY", "full", "int8") == "int8",
		MaxIdle:          time.Duration(v.number("CACHE_IDLE_MINUTES", 0, 60*24*365)) * time.Minute,
		MinRerankScore:   v.decimal("MIN_RERANK_SCORE", 0, 1e6),
		RerankTokens:     int(v.number("RERANK_MAX_TOKENS_PER_DOC", 64, 1<<20)),
		RelatedChunks:    int(v.number("RELATED_CHUNK_NUMBER", 1, 100)),
		ChunkPick:        engine.PickMethod(strings.ToUpper(v.oneOf("KG_CHUNK_PICK_METHOD", "vector", "weight"))),
		NoKeywordCall:    !v.on("KEYWORD_MODEL_CALL"),
		QueryCacheBytes:  v.number("QUERY_CACHE_BYTES", 1, 1<<40),
	}
	cfg.engine.Pinned = v.pins(cfg.engine.MaxOpen)
	cfg.engine.Settings = v.questions()
	if !v.on("ENABLE_LLM_CACHE") {
		cfg.engine.QueryCacheBytes = -1
	}
	if cfg.engine.ChunkOverlap >= cfg.engine.ChunkTokens {
		v.bad("CHUNK_OVERLAP_SIZE", "%d must be below CHUNK_SIZE %d", cfg.engine.ChunkOverlap, cfg.engine.ChunkTokens)
	}
	cfg.engine.KeepOriginals = v.on("KEEP_ORIGINALS")
	cfg.parse = v.parsing()
	cfg.http = httpapi.Options{
		Version:        version(),
		Logger:         log,
		AllowedHosts:   v.list("ALLOWED_HOSTS"),
		TrustedProxies: v.networks("TRUSTED_PROXIES"),
		MaxInFlight:    int(v.number("MAX_IN_FLIGHT", 1, 1_000_000)),
		MaxFailedAuth:  v.number("RATE_LIMIT_BAD_CREDENTIALS_PER_MINUTE", 0, 1_000_000_000),
		MaxUploadBytes: v.number("MAX_UPLOAD_BYTES", 1, 1<<30),
		MaxConnsEach:   int(v.number("MAX_CONNECTIONS_PER_ADDRESS", 1, 1_000_000)),
		Origins:        v.list("CORS_ORIGINS"),
		ScanFolders:    map[string]string{},

		MetricsToken:      v.secret("METRICS_TOKEN"),
		MetricsMaxTenants: int(v.number("METRICS_MAX_TENANTS", 1, 10_000)),
		TraceParent:       v.on("TRACEPARENT"),
		LogQueries:        v.on("LOG_QUERIES"),
	}
	if n := len(cfg.http.MetricsToken); n > 0 && n < 16 {
		v.bad("METRICS_TOKEN", "has %d bytes, at least 16 are needed", n)
	}
	if cfg.metrics = v.str("METRICS_LISTEN"); cfg.metrics == "off" {
		cfg.metrics = ""
	} else if _, _, err := net.SplitHostPort(cfg.metrics); err != nil {
		v.bad("METRICS_LISTEN", "%q is neither host:port nor off", cfg.metrics)
	}
	cfg.metricsAsked = v.from["METRICS_LISTEN"] != "default"
	v.tls(&cfg)
	v.tenants(&cfg)
	for _, f := range v.list("SCAN_FOLDERS") {
		name, path, ok := strings.Cut(f, "=")
		if !ok || name == "" || path == "" {
			v.bad("SCAN_FOLDERS", "%q is not name=path", f)
			continue
		}
		cfg.http.ScanFolders[name] = path
	}
	return cfg
}

// single is the id of the tenant and the knowledge base of a server without tenants.
const single = "default"

// tenants reads whether there are tenants, and whether anybody has to sign in.
func (v *values) tenants(cfg *serverConfig) {
	cfg.http.LightRAG = v.on("LEGACY_ROUTES")
	if !v.on("TENANT_ENABLED") {
		cfg.http.Single = single
	}
	if v.on("AUTH") {
		return
	}
	if cfg.http.Single == "" {
		v.bad("AUTH", "off needs TENANT_ENABLED=false: where nobody signs in there is nobody to tell tenants apart by")
	}
	if host, _, err := net.SplitHostPort(cfg.listen); err == nil && !loopback(host) {
		v.bad("AUTH", "off needs a loopback address in LISTEN, not %q", host)
	}
	if len(cfg.http.TrustedProxies) > 0 {
		v.bad("AUTH", "off does not go with TRUSTED_PROXIES: whoever reaches the proxy would be everybody")
	}
	cfg.http.NoSignIn, cfg.store.Everybody = true, single
}

// loopback says whether only this machine reaches a host of LISTEN.
func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// questions reads what a question is asked with that says nothing itself.
func (v *values) questions() (c tenancy.Config) {
	for name, into := range map[string]**int{
		"TOP_K": &c.TopK, "CHUNK_TOP_K": &c.ChunkTopK, "MAX_ENTITY_TOKENS": &c.MaxEntityTokens,
		"MAX_RELATION_TOKENS": &c.MaxRelationTokens, "MAX_TOTAL_TOKENS": &c.MaxTotalTokens,
	} {
		most := int64(1_000_000)
		if strings.HasSuffix(name, "TOP_K") {
			most = 1000
		}
		n := int(v.number(name, 1, most))
		*into = &n
	}
	if v.str("COSINE_THRESHOLD") != "" {
		x := v.decimal("COSINE_THRESHOLD", -1, 1)
		c.CosineThreshold = &x
	}
	return c
}

// store reads the settings of the data folder alone.
func (v *values) store(log *slog.Logger) tenancy.Options {
	if v.str("DATA_DIR") == "" { // a store without a folder lives in memory
		v.bad("DATA_DIR", "is empty")
	}
	return tenancy.Options{
		Dir:             v.str("DATA_DIR"),
		Logger:          log,
		TokenSecret:     []byte(v.str("TOKEN_SECRET")),
		TokenKeys:       v.tokenKeys(),
		TokenTTL:        time.Duration(v.number("TOKEN_EXPIRE_HOURS", 1, 24*366)) * time.Hour,
		MaxKBsPerTenant: int(v.number("MAX_KB_PER_TENANT", 1, 100_000)),
		MaxDocuments:    v.number("MAX_DOCUMENTS", 1, 1<<40),
		MaxStorageGB:    v.decimal("MAX_STORAGE_GB", 1e-6, 1e9),
		RateLimits:      v.rateLimits(),

		AuditOff:           !v.on("ENABLE_AUDIT_LOGGING"),
		AuditRetentionDays: int(v.number("AUDIT_LOG_RETENTION_DAYS", 0, 36_500)),
		CheckpointFile:     v.str("AUDIT_CHECKPOINT_FILE"),
	}
}

// rateLimits are those of the profile with the numbers that are set in their place.
func (v *values) rateLimits() tenancy.RateLimits {
	profile := v.oneOf("RATE_LIMIT_PROFILE", slices.Sorted(maps.Keys(tenancy.RateLimitProfiles))...)
	r := tenancy.RateLimitProfiles[profile]
	queries := &r.KeyQueriesPerMinute
	if r.TenantQueriesPerMinute > 0 {
		queries = &r.TenantQueriesPerMinute
	} else if isLoopback(v.str("LISTEN")) {
		r.KeyQueriesPerMinute = 0 // whoever can reach it is on the machine
	}
	for name, to := range map[string]*int64{
		"RATE_LIMIT_QUERIES_PER_MINUTE": queries, "RATE_LIMIT_DOCUMENTS_PER_HOUR": &r.DocumentsPerHour,
		"RATE_LIMIT_API_CALLS_PER_MONTH": &r.APICallsPerMonth,
	} {
		if v.str(name) != "" {
			*to = v.number(name, 0, 1_000_000_000)
		}
	}
	return r
}

// isLoopback reports whether an address to listen on can be reached from this machine alone.
func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkSecret says of a TOKEN_SECRET that is set whether it can be used.
func (v *values) checkSecret() {
	secret := v.str("TOKEN_SECRET")
	if secret == "" {
		return
	}
	if _, _, err := tenancy.SecretFrom("", []byte(secret)); err != nil {
		v.bad("TOKEN_SECRET", "%s", strings.TrimPrefix(err.Error(), tenancy.ErrWeakSecret.Error()+": TOKEN_SECRET "))
	}
}

// machineMemory is what this process may use: the container's limit, else the machine's.
func machineMemory() int64 {
	if n, err := memlimit.FromCgroup(); err == nil && n < 1<<50 {
		return int64(n)
	}
	if n, err := memlimit.FromSystem(); err == nil {
		return int64(n)
	}
	return 2 << 30
}

// Heap that a server needs beside its knowledge bases: Badger's memtables and
// caches, and its builders of tables, about 500 MB once a large ingest has used
// them all. With less the collector never rests; without a limit it is a gigabyte.
const baseMemory = 640 << 20

// cacheMemory is what open knowledge bases may take when nothing is said: half of the
// machine, as long as the collector has half as much again to work in and the rest of
// the server fits beside that; on a machine too small for both, an eighth.
func cacheMemory(machine int64) int64 {
	return max(machine/8, min(machine/2, (machine-baseMemory)*2/3))
}

// pins are the knowledge bases of PINNED_KBS.
func (v *values) pins(open int) (out []engine.Pin) {
	for name := range strings.SplitSeq(v.str("PINNED_KBS"), ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		tenant, kb, ok := strings.Cut(name, "/")
		if !ok || tenant == "" || kb == "" || strings.Contains(kb, "/") {
			v.bad("PINNED_KBS", "%q is not tenant/knowledge-base", name)
			continue
		}
		out = append(out, engine.Pin{Tenant: tenant, KB: kb})
	}
	if len(out) >= open {
		v.bad("PINNED_KBS", "names %d knowledge bases; there must be fewer than MAX_CACHED_INSTANCES, %d", len(out), open)
	}
	return out
}

// limitMemory keeps GOMEMLIMIT at what the open knowledge bases justify, so
// that an idle server is small and a busy one is not starved. It does nothing
// when GOMEMLIMIT is set.
func limitMemory(ctx context.Context, machine int64, resident func() int64) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		metrics.Read(live)
		debug.SetMemoryLimit(memoryLimit(machine, resident(), int64(live[0].Value.Uint64())))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// memoryLimit is what may be used when so much is counted of open knowledge bases
// and so much lives in all. Twice what is counted, because the collector needs room
// to work in; and half of what lives beyond it, because a knowledge base is counted
// only once it is loaded: a collector without room takes half of the processors.
func memoryLimit(machine, resident, live int64) int64 {
	return min(machine*9/10, max(baseMemory+2*resident, live+live/2+baseMemory/4))
}

// serve runs a server until ctx ends. ready, when not nil, gets the address it
// listens on.
func serve(ctx context.Context, cfg serverConfig, ready func(addr string)) error {
	// The address first: a second server must not wait for a store to open.
	ln, err := net.Listen("tcp", cfg.listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w (is another server running? --listen chooses another address)", cfg.listen, err)
	}
	defer ln.Close()
	var plain net.Listener
	if cfg.plain != "" {
		if plain, err = net.Listen("tcp", cfg.plain); err != nil {
			return fmt.Errorf("listen on %s to redirect to TLS: %w", cfg.plain, err)
		}
		defer plain.Close()
	}
	scraped, err := cfg.listenMetrics()
	if err != nil {
		return err
	}
	s, err := startServer(cfg)
	if err != nil {
		if scraped != nil {
			err = errors.Join(err, scraped.Close())
		}
		return err
	}
	defer s.close()
	defer s.serveMetrics(ctx, cfg.log, scraped)()
	limit, stop := context.WithCancel(context.Background())
	defer stop()
	go limitMemory(limit, cfg.memory, func() int64 { return s.engine.Stats().Bytes })
	cfg.log.Info("serving", "address", ln.Addr().String(), "data", cfg.store.Dir, "version", version(), "models", s.models.String())
	if ready != nil {
		ready(ln.Addr().String())
	}
	err = s.answer(ctx, ln, plain)
	cfg.log.Info("stopped")
	return err
}

// running is a server without its listener.
type running struct {
	store  *tenancy.Store
	engine *engine.Engine
	http   *httpapi.Server
	models models
}

func startServer(cfg serverConfig) (*running, error) {
	if err := probeAfterCrash(cfg.store.Dir); err != nil {
		return nil, err
	}
	s := &running{}
	var err error
	if s.models, err = cfg.models(); err != nil {
		return nil, err
	}
	cfg.store.Models = s.models.offered()
	if s.store, err = tenancy.Open(cfg.store); err != nil {
		return nil, err
	}
	if cfg.rotate {
		if err := s.store.RotateSecret(context.Background()); err != nil {
			return nil, errors.Join(fmt.Errorf("rotate the token secret: %w", err), s.store.Close())
		}
		cfg.log.Info("token secret rotated: every token made so far is void")
	}
	if err := s.store.NoteStart(context.Background(), version()); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	if cfg.http.Single != "" {
		if err := s.store.Ensure(context.Background(), cfg.http.Single); err != nil {
			return nil, errors.Join(fmt.Errorf("make the one knowledge base: %w", err), s.store.Close())
		}
	}
	if cfg.http.NoSignIn {
		cfg.log.Warn("AUTH is off: whoever reaches this address may read and change everything", "address", cfg.listen)
	}
	o := cfg.engine
	o.Store = s.store
	s.models.into(&o)
	read, err := apart(cfg.parse, cfg.store.Dir)
	if err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	o.Parser = parse.New(read)
	if s.engine, err = engine.New(o); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	h := cfg.http
	h.Store, h.Engine = s.store, s.engine
	if s.http, err = httpapi.New(h); err != nil {
		return nil, errors.Join(err, s.engine.Close(), s.store.Close())
	}
	return s, nil
}

// answer serves ln, and beside it plain, when there is one, until ctx ends or one of
// the two fails.
func (s *running) answer(ctx context.Context, ln, plain net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.http.Serve(ctx, ln) })
	if plain != nil {
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		g.Go(func() error { return s.http.ServeRedirect(ctx, plain, port) })
	}
	return g.Wait()
}

func (s *running) close() error { return errors.Join(s.engine.Close(), s.store.Close()) }

// probeAfterCrash opens a store that was not closed cleanly in a child process
// first: damage can end the process that opens it, and a server that dies
// without a word is worse than one that says why.
func probeAfterCrash(dir string) error {
	if tenancy.ClosedCleanly(dir) {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil //nolint:nilerr // without a path to ourselves the open itself is the probe
	}
	out, err := exec.Command(self, "probe", dir).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		switch exit.ExitCode() {
		case probeNotDamage:
			return errors.New(lastLine(out))
		case probeInUse:
			return &inUseError{lastLine(out)}
		}
	}
	if err != nil {
		return fmt.Errorf("the store in %s does not open: %s\nIts files are untouched. Restore a backup into an empty folder, or copy the folder aside and ask for help", dir, lastLine(out))
	}
	return nil
}

func lastLine(b []byte) string {
	s := strings.TrimSpace(string(b))
	if i := strings.LastIndexByte(s, '\n'); i >= 0 {
		return s[i+1:]
	}
	return s
}

// probeCommand opens and closes a store; it is how serve looks at one that was
// not closed cleanly, and of no use to anyone else.
func probeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "probe DIR", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := tenancy.Probe(args[0])
			hint, status := "", probeNotDamage
			switch {
			case errors.Is(err, tenancy.ErrLocked):
				status = probeInUse
				hint = "; stop that server first, or choose another folder with --data-dir"
			case errors.Is(err, tenancy.ErrNewerFormat), errors.Is(err, tenancy.ErrDiskFull),
				errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR):
			default:
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%v%s\n", err, hint)
			os.Exit(status)
			return nil
		},
	}
}

// probeNotDamage is the exit status of probe when it could not look, but not
// because of what the store holds; probeInUse when another process has it open.
const (
	probeNotDamage = 3
	probeInUse     = 4
)

// inUseError is a tenancy.ErrLocked that the child process met.
type inUseError struct{ says string }

func (e *inUseError) Error() string { return e.says }

func (e *inUseError) Unwrap() error { return tenancy.ErrLocked }
