package httpapi

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"alcove/tenancy"
)

const (
	// metricPrefix keeps ADR 007's names, so that its dashboards can be mapped.
	metricPrefix = "lightrag_"
	// otherLabel is the one series of all tenants, or keys, over the limit.
	otherLabel = "other"
	// scrapesAtOnce and scrapeTimeout bound what reading the metrics costs.
	scrapesAtOnce = 4
	scrapeTimeout = 10 * time.Second
)

// metrics are what the wire counts itself; what other rooms count is read when it is
// asked for (collect.go). Tenants and keys get series of their own until there are
// max of each; the rest share one, so that nobody can make the server's memory, or
// the one who scrapes it, pay for names.
type metrics struct {
	store    *tenancy.Store
	max      int
	registry *prometheus.Registry

	requests       *prometheus.CounterVec
	requestSeconds *prometheus.HistogramVec
	queries        *prometheus.HistogramVec
	calls          *prometheus.CounterVec
	keyUse         *prometheus.CounterVec
	tenantCreation prometheus.Histogram
	crossTenant    prometheus.Counter
	crossKB        prometheus.Counter
	failedAuth     prometheus.Counter
	denials        prometheus.Counter
	rateLimited    prometheus.Counter

	mu      sync.Mutex
	tenants map[string]struct{} // with series of their own
	keys    map[string]struct{}
}

func newMetrics(s *Server) *metrics {
	m := &metrics{store: s.o.Store, max: s.o.MetricsMaxTenants, registry: prometheus.NewRegistry(), tenants: map[string]struct{}{}, keys: map[string]struct{}{}}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: metricPrefix + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, labels)
	}
	seconds := []float64{.005, .01, .025, .05, .1, .2, .5, 1, 2.5, 5, 10, 30, 60}
	m.requests = counters("http_requests_total", "Requests answered, by route and status.", "method", "route", "status")
	m.requestSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: metricPrefix + "http_request_seconds", Help: "Time from a request's head to the end of its answer.", Buckets: []float64{.005, .025, .1, .5, 2.5, 10},
	}, []string{"route"})
	m.queries = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: metricPrefix + "query_latency_per_tenant_seconds", Help: "Time of answered questions, by tenant.", Buckets: seconds,
	}, []string{"tenant_id"})
	m.calls = counters("api_calls_per_tenant_total", "Calls with a valid credential, by tenant.", "tenant_id")
	m.keyUse = counters("api_key_usage_total", "Calls with a valid API key, by the key's public id.", "key_id")
	m.tenantCreation = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: metricPrefix + "tenant_creation_time_seconds", Help: "Time of calls that made a tenant.", Buckets: seconds,
	})
	m.crossTenant = counter("cross_tenant_access_attempts_total", "Calls that were refused because they named a tenant that is not the caller's.")
	m.crossKB = counter("cross_kb_access_attempts_total", "Calls that were refused because they named a knowledge base out of the caller's reach.")
	m.failedAuth = counter("failed_auth_attempts_total", "Calls without a valid credential.")
	m.denials = counter("permission_denials_total", "Calls with a valid credential that were refused.")
	m.rateLimited = counter("rate_limited_total", "Calls refused by a rate limit or a quota.")
	m.registry.MustRegister(
		m.requests, m.requestSeconds, m.queries, m.calls, m.keyUse, m.tenantCreation,
		m.crossTenant, m.crossKB, m.failedAuth, m.denials, m.rateLimited,
		&rooms{s}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// tenantLabel is the label of a tenant that is there: its id, or the common one when
// as many have one of their own as may.
func (m *metrics) tenantLabel(id string) string { return m.label(m.tenants, id) }

func (m *metrics) label(own map[string]struct{}, id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := own[id]; ok {
		return id
	}
	if len(own) >= m.max || id == otherLabel {
		return otherLabel
	}
	own[id] = struct{}{}
	return id
}

// labelled are the tenants with series of their own.
func (m *metrics) labelled() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := make([]string, 0, len(m.tenants))
	for id := range m.tenants {
		ids = append(ids, id)
	}
	return ids
}

// forget drops the series of a tenant or a key that was deleted, and makes room.
func (m *metrics) forget(own map[string]struct{}, id string) {
	m.mu.Lock()
	delete(own, id)
	m.mu.Unlock()
	if id != otherLabel {
		m.queries.DeleteLabelValues(id)
		m.calls.DeleteLabelValues(id)
		m.keyUse.DeleteLabelValues(id)
	}
}

// count counts a request that has ended.
func (m *metrics) count(r *http.Request, x *exchange, status int, took time.Duration) {
	route, method := x.route, r.Method
	if route == "" { // nobody knows it, so its method may be anything
		route, method = "none", "any"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.requestSeconds.WithLabelValues(route).Observe(took.Seconds())
	switch {
	case status == http.StatusUnauthorized:
		m.failedAuth.Inc()
	case status == http.StatusForbidden:
		m.denials.Inc()
		own := x.who.Tenant()
		if own != "" && x.tenant != "" && x.tenant != own {
			m.crossTenant.Inc()
		} else if own != "" && x.kb != "" && !m.reaches(x) {
			m.crossKB.Inc()
		}
	case status == http.StatusTooManyRequests:
		m.rateLimited.Inc()
	}
	tenant := x.tenantOf(status)
	if tenant != "" {
		label := m.tenantLabel(tenant)
		m.calls.WithLabelValues(label).Inc()
		if x.asked != nil && status < 400 {
			m.queries.WithLabelValues(label).Observe(took.Seconds())
		}
	}
	if key, ok := strings.CutPrefix(x.principal, "key:"); ok {
		m.keyUse.WithLabelValues(m.label(m.keys, key)).Inc()
	}
	if status >= 300 {
		return
	}
	switch {
	case method == post && route == v1+"/tenants":
		m.tenantCreation.Observe(took.Seconds())
	case method == del && route == pathTenant:
		m.forget(m.tenants, x.tenant)
	case method == del && route == pathKeys+"/:key":
		m.forget(m.keys, x.params.ByName("key"))
	}
}

// reaches reports whether the knowledge base of the path is in the caller's reach.
func (m *metrics) reaches(x *exchange) bool {
	kbs, all := m.store.Reach(x.who)
	return all || slices.Contains(kbs, x.kb)
}

// handler answers a scrape.
func (m *metrics) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapesAtOnce, Timeout: scrapeTimeout,
	})
}

// metricsToken is the right of /metrics on the main listener.
const metricsToken right = "metrics token"

// besideThePage are the routes that are there for some settings only, and are no part
// of the API: /metrics, when there is a token for it.
func (s *Server) besideThePage() []route {
	if s.o.MetricsToken == "" {
		return nil
	}
	return []route{s.metered()}
}

// metered is /metrics for whoever has the metrics token. It is no credential of the
// API, and the API's are none here.
func (s *Server) metered() route {
	h := s.metrics.handler(s.o.Logger)
	return route{get, pathMetrics, metricsToken, nil, func(w *response, r *http.Request, _ *exchange) error {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(token), []byte(s.o.MetricsToken)) != 1 {
			return tenancy.ErrUnauthenticated
		}
		if err := checkParams(r, nil); err != nil {
			return err
		}
		h.ServeHTTP(w, r)
		return nil
	}}
}

// onlyMetrics answers GET /metrics with h and nothing else.
func onlyMetrics(h http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, scrape *http.Request) {
		if scrape.Method != get || scrape.URL.Path != pathMetrics {
			http.NotFound(w, scrape)
			return
		}
		h.ServeHTTP(w, scrape)
	}
}

// ServeMetrics answers /metrics on ln, and nothing else, until ctx ends. It asks for
// no credential: ln is to be one that only the scraper reaches.
func (s *Server) ServeMetrics(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler: onlyMetrics(s.metrics.handler(s.o.Logger)), ReadHeaderTimeout: s.o.HeaderTimeout, ReadTimeout: s.o.HeaderTimeout, WriteTimeout: 2 * scrapeTimeout,
		IdleTimeout: s.o.IdleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve metrics on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	_ = srv.Close()
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics on %s: %w", ln.Addr(), err)
	}
	return nil
}
