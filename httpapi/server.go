package httpapi

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/julienschmidt/httprouter"
	"github.com/rs/cors"
	"golang.org/x/net/netutil"

	"alcove/engine"
	"alcove/tenancy"
)

// Options configure a Server. Zero means the default given beside the field.
type Options struct {
	Store  *tenancy.Store // required
	Engine *engine.Engine // required
	Logger *slog.Logger   // slog.Default()
	// Version is what the server says it is in its description.
	Version string

	// AllowedHosts are names, besides loopback and the address the connection
	// came in on, under which the unauthenticated pages answer.
	AllowedHosts []string
	// TrustedProxies are the networks of proxies whose X-Forwarded-For is believed;
	// without any the client is whoever the connection is from.
	TrustedProxies []netip.Prefix
	// Origins are the web pages, as scheme://host[:port], that may ask this server
	// from a browser; "*" alone is every page. None: browsers keep them all out.
	Origins []string
	// TLS, when not nil, is how Serve speaks on its listener; HTTP/2 is offered.
	TLS *tls.Config
	// ScanFolders are the folders that /documents/scan may read, by the name
	// callers use: "NAME" for every tenant or "TENANT/NAME" for one.
	ScanFolders map[string]string

	// LightRAG serves LightRAG's own routes beside ours. Single serves those alone, on
	// the tenant of that id and its knowledge base of the same id.
	LightRAG bool
	Single   string
	// NoSignIn says that the Store takes a request without a credential for somebody
	// (tenancy.Options.Everybody): it must then come from no other site's page.
	NoSignIn bool
	// MetricsToken opens /metrics on the main listener; empty: there is none there.
	MetricsToken tenancy.Secret
	// MetricsMaxTenants is how many tenants, and how many keys, get series of their
	// own; the rest share one. 100.
	MetricsMaxTenants int
	// TraceParent takes a caller's W3C traceparent over: into the log, and to model servers.
	TraceParent bool
	// LogQueries writes the text of questions to the log at debug level.
	LogQueries bool

	MaxBodyBytes    int64         // 16 MiB of JSON
	MaxUploadBytes  int64         // 50 MiB a file
	MaxCallBytes    int64         // 64 MiB, or MaxUploadBytes + 1 MiB if that is more: all parts of one upload
	MaxImportBytes  int64         // 64 GiB: a knowledge base as one file; it is spooled in the folder for temporary files
	MaxHeldBytes    int64         // 256 MiB, or two calls if that is more, of request bodies in memory at once
	MaxParts        int           // 100 parts of one upload
	MaxInFlight     int           // 256 requests at once; probes do not count
	MaxFailedAuth   int64         // bad credentials a minute of one address, after which more are 429; 0: no limit
	MaxConns        int           // 1024 connections
	MaxConnsEach    int           // 256 connections of one address that is neither loopback nor a proxy
	MaxScanFiles    int           // 1000 files taken in by one scan
	MaxScanBytes    int64         // 64 MiB taken in by one scan
	MaxScanEntries  int           // 100,000 directory entries looked at by one scan
	MinBodyRate     int64         // 10,000 bytes a second, after BodyGrace
	HeaderTimeout   time.Duration // 5 s for the head of a request
	BodyGrace       time.Duration // 30 s
	WriteTimeout    time.Duration // 30 s for a caller to take one piece of an answer
	IdleTimeout     time.Duration // 60 s between requests of a connection
	ShutdownTimeout time.Duration // 30 s for running requests to end
	DrainGrace      time.Duration // 5 s for the next bytes of a body while shutting down
}

// maxHeaderBytes bounds the head of a request.
const maxHeaderBytes = 16 << 10

func (o Options) withDefaults() (Options, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MaxUploadBytes == 0 {
		o.MaxUploadBytes = 50 << 20
	}
	if o.MaxCallBytes == 0 { // a file that is allowed must fit with what is around it
		o.MaxCallBytes = max(64<<20, o.MaxUploadBytes+1<<20)
	}
	for _, d := range []struct {
		v   *int64
		def int64
	}{
		{&o.MaxBodyBytes, 16 << 20}, {&o.MaxUploadBytes, 0}, {&o.MaxCallBytes, 0}, {&o.MaxImportBytes, 64 << 30},
		{&o.MaxHeldBytes, max(256<<20, 2*o.MaxCallBytes)}, {&o.MaxScanBytes, 64 << 20}, {&o.MinBodyRate, 10_000},
		{(*int64)(&o.HeaderTimeout), int64(5 * time.Second)}, {(*int64)(&o.BodyGrace), int64(30 * time.Second)},
		{(*int64)(&o.WriteTimeout), int64(30 * time.Second)}, {(*int64)(&o.IdleTimeout), int64(60 * time.Second)},
		{(*int64)(&o.ShutdownTimeout), int64(30 * time.Second)}, {(*int64)(&o.DrainGrace), int64(5 * time.Second)},
	} {
		if *d.v < 0 {
			return o, errors.New("a limit is negative")
		}
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.MetricsMaxTenants, 100}, {&o.MaxParts, 100}, {&o.MaxInFlight, 256}, {&o.MaxConns, 1024}, {&o.MaxConnsEach, 256}, {&o.MaxScanFiles, 1000}, {&o.MaxScanEntries, 100_000}} {
		if *d.v < 0 {
			return o, errors.New("a limit is negative")
		}
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	return o, checkOrigins(o.Origins)
}

// Server answers requests. Safe for concurrent use.
type Server struct {
	o      Options
	router *httprouter.Router
	pages  *cors.Cors // nil: no page of another origin may ask
	// description is the OpenAPI document of the routes, made when first asked for.
	description func() ([]byte, error)
	hosts       map[string]struct{}
	gate        gate
	held        budget
	metrics     *metrics
	tries       *tenancy.Limiter // bad credentials, by address
	bodies      sync.Map         // *steadyBody -> nil: those of the requests that are running
}

// New returns a Server that is ready to answer. It panics when a route of the
// route page has no right: that is a fault of the program, not of its options.
func New(o Options) (*Server, error) {
	if o.Store == nil || o.Engine == nil {
		return nil, errors.New("httpapi options: Store and Engine are needed")
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("httpapi options: %w", err)
	}
	s := newServer(o)
	routes := s.routeTable()
	s.router = s.mount(append(slices.Clone(routes), s.besideThePage()...))
	s.description = sync.OnceValues(func() ([]byte, error) { // half of a start, and seldom asked for
		spec, err := openAPI(routes, s.operations(), o.Version)
		if err != nil {
			return nil, err
		}
		return json.Marshal(spec)
	})
	return s, nil
}

func newServer(o Options) *Server {
	s := &Server{o: o, hosts: make(map[string]struct{}), pages: crossOrigin(o.Origins), gate: newGate(o.MaxInFlight), held: budget{max: o.MaxHeldBytes}}
	s.metrics = newMetrics(s)
	s.tries = tenancy.NewLimiter(o.MaxFailedAuth, time.Minute, time.Now)
	for _, h := range o.AllowedHosts {
		s.hosts[hostOnly(h)] = struct{}{}
	}
	return s
}

// ServeHTTP gives the request its id, its limits and its headers, routes it,
// and logs what became of it in one line.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	start := time.Now()
	x := &exchange{id: requestID(r), client: clientAddr(r, s.o.TrustedProxies)}
	w := &response{ResponseWriter: rw, rc: http.NewResponseController(rw), timeout: s.o.WriteTimeout}
	h := w.Header()
	h.Set("X-Request-ID", x.id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	if s.o.TLS != nil {
		h.Set("Strict-Transport-Security", hstsValue)
	}

	if len(r.TransferEncoding) > 0 && r.ProtoMajor == 1 {
		// It may have carried a Content-Length beside, which net/http drops without a
		// word; RFC 9112, 6.1 asks to close then, so that what follows is not taken
		// for a request by us and for a body by a proxy.
		h.Set("Connection", "close")
	}

	ctx := tenancy.WithRequest(context.WithValue(r.Context(), exchangeKey{}, x), x.id, x.from())
	r = r.WithContext(s.traced(ctx, x, r.Header))
	if r.ContentLength != 0 && r.Body != nil {
		body := &steadyBody{ReadCloser: r.Body, rc: w.rc, start: start, grace: s.o.BodyGrace, rate: s.o.MinBodyRate}
		body.arm()
		r.Body = body
		// Before the gate: whoever is in when it closes is known here.
		s.bodies.Store(body, nil)
		defer s.bodies.Delete(body)
	}

	defer func() {
		v, begun := recover(), w.status != 0
		if v != nil {
			s.o.Logger.Error("panic", "request_id", x.id, "route", x.route, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			s.fail(w, x, errPanic)
		}
		s.held.give(x.held)
		s.ended(w, r, x, time.Since(start))
		if begun && (v != nil || errors.Is(x.err, errCutShort)) {
			panic(http.ErrAbortHandler) // half an answer must not look like a whole one
		}
	}()

	if !isProbe(r) {
		if err := s.gate.enter(); err != nil {
			s.fail(w, x, err)
			return
		}
		defer s.gate.leave()
	}
	if err := checkPath(r.URL); err != nil {
		s.fail(w, x, err)
		return
	}
	if s.pages != nil {
		s.pages.ServeHTTP(w, r, s.router.ServeHTTP)
		return
	}
	s.router.ServeHTTP(w, r)
}

// isProbe says whether the request only asks how the server is: probes are
// answered under load and while going down.
func isProbe(r *http.Request) bool { return r.URL.Path == pathHealth || r.URL.Path == pathReady }

// exchange is what is known of one request besides the request itself.
type exchange struct {
	id        string
	client    netip.Addr // whose request it is: see clientAddr
	route     string     // the pattern, never the path
	right     right      // what the route asks for
	params    httprouter.Params
	who       tenancy.Principal // nobody until the credential was found good
	principal string            // its name, "" until then
	asked     *question         // on routes that ask one
	trace     string            // the trace id of the caller's traceparent, or ""
	tenant    string
	kb        string
	err       error
	documents func(n int64) error // counts documents of this call, on routes of a knowledge base
	held      int64               // bytes of the server's budget
}

// hold takes n bytes of the server's budget for request bodies until the
// request ends.
func (x *exchange) hold(s *Server, n int64) bool {
	if !s.held.take(n) {
		return false
	}
	x.held += n
	return true
}

// release gives n of the held bytes back before the request ends.
func (x *exchange) release(s *Server, n int64) {
	s.held.give(n)
	x.held -= n
}

type exchangeKey struct{}

// exchangeOf returns the exchange of a request that came through ServeHTTP.
func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// requestID is the caller's X-Request-ID if it is well formed
// ([A-Za-z0-9._-]{1,64}), else a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-ID"); wellFormedID(id) {
		return id
	}
	var b [16]byte
	rand.Read(b[:]) // never fails: it would end the program
	return hex.EncodeToString(b[:])
}

func wellFormedID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for i := 0; i < len(id); i++ {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// Serve answers on ln until ctx ends, then shuts down: from that moment
// /readyz answers 503 and new requests are refused with 503, requests that are
// running go on (but a body that pauses for DrainGrace is cut), and when the last
// has ended, or after ShutdownTimeout, the listener and all connections are closed. It returns nil when all requests
// came to their end, and closes ln in any case. Serve can be called once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	// Requests outlive ctx: they are what shutting down waits for.
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.o.HeaderTimeout,
		IdleTimeout:       s.o.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
		// "OPTIONS *" goes through the error table like all else.
		DisableGeneralOptionsHandler: true,
		TLSConfig:                    s.o.TLS,
	}
	shared := func(a netip.Addr) bool { return a.IsLoopback() || within(a, s.o.TrustedProxies) }
	bounded := netutil.LimitListener(newFairListener(ln, s.o.MaxConnsEach, shared), s.o.MaxConns)
	ended := make(chan error, 1)
	go func() {
		if s.o.TLS != nil {
			ended <- srv.ServeTLS(bounded, "", "")
			return
		}
		ended <- srv.Serve(bounded)
	}()
	select {
	case err := <-ended:
		_ = srv.Close()
		return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}

	limit := time.NewTimer(s.o.ShutdownTimeout)
	defer limit.Stop()
	var late error
	idle := s.gate.close()
	s.bodies.Range(func(body, _ any) bool {
		body.(*steadyBody).hasten(s.o.DrainGrace)
		return true
	})
	select {
	case <-idle:
		// The gate is left before the server's own buffers are flushed.
		// Shutdown waits for that; each flush has its write deadline.
		flush, stop := context.WithTimeout(base, s.o.WriteTimeout)
		late = srv.Shutdown(flush)
		stop()
	case <-limit.C:
		late = fmt.Errorf("shut down: %d requests had not ended after %s", s.gate.running(), s.o.ShutdownTimeout)
		cut() // handlers see their context end
	}
	_ = srv.Close()
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		late = errors.Join(late, fmt.Errorf("serve on %s: %w", ln.Addr(), err))
	}
	return late
}
