package httpapi

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"alcove/tenancy"
)

// scrape returns the value of every series that a scrape shows, by name and labels.
func (h *house) scrape() map[string]string {
	h.t.Helper()
	w := httptest.NewRecorder()
	onlyMetrics(h.server.metrics.handler(h.server.o.Logger))(w, httptest.NewRequest(get, pathMetrics, nil))
	require.Equal(h.t, 200, w.Code)
	out := map[string]string{}
	for line := range strings.SplitSeq(w.Body.String(), "\n") {
		if i := strings.LastIndexByte(line, ' '); i > 0 && !strings.HasPrefix(line, "#") {
			out[line[:i]] = line[i+1:]
		}
	}
	return out
}

// ADR 007's names are there, with prefix, units and _total, and count what they say.
func TestMetrics_OfADR007(t *testing.T) {
	h := newHouse(t, Options{})
	reader := h.key("acme", &[]string{"main"}, tenancy.PermQueryRun, tenancy.PermDocumentRead)
	h.ok(201, post, v1+"/tenants", `{"tenant_name":"T"}`)
	h.ok(202, post, acmeMain+"/documents/text", `{"text":"Ada wrote to Babbage."}`)
	h.Wait()
	require.Equal(t, 200, h.as(reader, post, acmeMain+"/query", `{"query":"Who wrote?"}`).Code)
	require.Equal(t, 403, h.as(reader, get, v1+"/tenants/beta/knowledge-bases/main/documents", "").Code)
	require.Equal(t, 403, h.as(reader, get, v1+"/tenants/acme/knowledge-bases/other/documents", "").Code)
	require.Equal(t, 403, h.as(reader, del, acmeMain, "").Code)
	require.Equal(t, 401, h.as("sk-nonsense", get, acmeMain, "").Code)

	got := h.scrape()
	for series, want := range map[string]string{
		"lightrag_active_tenants":                                                            "3",
		"lightrag_total_kbs":                                                                 "3",
		"lightrag_tenant_creation_time_seconds_count":                                        "1",
		"lightrag_cross_tenant_access_attempts_total":                                        "1",
		"lightrag_cross_kb_access_attempts_total":                                            "1",
		"lightrag_isolation_violations_total":                                                "0",
		`lightrag_query_latency_per_tenant_seconds_count{tenant_id="acme"}`:                  "1",
		"lightrag_document_processing_time_seconds_count":                                    "1",
		`lightrag_documents_per_tenant{tenant_id="acme"}`:                                    "1",
		"lightrag_rag_instance_cache_size":                                                   "1",
		"lightrag_failed_auth_attempts_total":                                                "1",
		"lightrag_permission_denials_total":                                                  "3",
		`lightrag_api_calls_per_tenant_total{tenant_id="acme"}`:                              "5",
		`lightrag_http_requests_total{method="POST",route="` + pathQuery + `",status="200"}`: "1",
	} {
		require.Equal(t, want, got[series], series)
	}
	for _, name := range []string{"lightrag_rag_instance_cache_hits_total", "lightrag_rag_instance_cache_misses_total", `lightrag_storage_used_per_tenant_bytes{tenant_id="acme"}`} {
		require.Contains(t, got, name)
	}
	var mine string
	for series := range got {
		if strings.HasPrefix(series, "lightrag_api_key_usage_total{") {
			mine += series + " "
		}
	}
	require.NotEmpty(t, mine)
	require.NotContains(t, mine, reader)
	problems, err := testutil.GatherAndLint(h.server.metrics.registry)
	require.NoError(t, err)
	for _, p := range problems {
		require.Contains(t, p.Metric, "_kb", "the linter takes kb for a unit: %v", p)
	}
}

// However many tenants and keys there are, and whatever paths and methods strangers
// make up, the number of series is bounded, and a deleted tenant makes room.
func TestMetrics_CardinalityIsBounded(t *testing.T) {
	h := newHouse(t, Options{MetricsMaxTenants: 3})
	call := func(tenant string) {
		require.Equal(t, 200, h.as(h.key(tenant, nil, tenancy.PermKBAccess), get, v1+"/tenants/"+tenant, "").Code)
	}
	for i := range 10 {
		id := fmt.Sprintf("t%d", i)
		h.ok(201, post, v1+"/tenants", `{"tenant_name":"T","tenant_id":"`+id+`"}`)
		call(id)
		h.as("", fmt.Sprintf("M%d", i), fmt.Sprintf("/made/up/%d", i), "")
		h.as("", get, fmt.Sprintf("/api/v1/tenants/none-%d", i), "")
	}
	count := func(prefix string) (n int) {
		for series := range h.scrape() {
			if strings.HasPrefix(series, prefix) {
				n++
			}
		}
		return n
	}
	require.Equal(t, 4, count("lightrag_api_calls_per_tenant_total"), "three tenants and the rest")
	require.Equal(t, 4, count("lightrag_api_key_usage_total"))
	require.Equal(t, 3, count("lightrag_storage_used_per_tenant_bytes"))
	require.Equal(t, "7", h.scrape()[`lightrag_api_calls_per_tenant_total{tenant_id="other"}`])
	require.Equal(t, 1, count(`lightrag_http_requests_total{method="any"`))
	h.ok(200, del, v1+"/tenants/t0", "")
	require.NotContains(t, h.scrape(), `lightrag_api_calls_per_tenant_total{tenant_id="t0"}`)
	call("t9")
	require.Equal(t, "1", h.scrape()[`lightrag_api_calls_per_tenant_total{tenant_id="t9"}`])
}

// A scrape loads no knowledge base, and costs no transaction.
func TestMetrics_LoadNothing(t *testing.T) {
	h := newHouse(t, Options{})
	h.ok(200, get, v1+"/tenants/acme", "")
	before := h.Store.Stats().Closures
	for range 100 {
		h.scrape()
	}
	require.Equal(t, "0", h.scrape()["lightrag_rag_instance_cache_size"])
	require.Less(t, h.Store.Stats().Closures, before+10, "what was still to be written down, and what each five seconds of a slow machine bring")
}

// On the main listener /metrics is there only when there is a token, and for that alone.
func TestMetrics_Token(t *testing.T) {
	h := newHouse(t, Options{})
	require.Equal(t, 404, h.as("", get, pathMetrics, "").Code)
	require.Equal(t, 404, h.as(h.admin, get, pathMetrics, "").Code)
	h = newHouse(t, Options{MetricsToken: "0123456789abcdef"})
	for _, bad := range []string{"", h.admin, "0123456789abcdeg", h.key("acme", nil, tenancy.PermTenantManage)} {
		refused(t, h.as(bad, get, pathMetrics, ""), 401, "UNAUTHORIZED")
	}
	w := h.as("0123456789abcdef", get, pathMetrics, "")
	require.Equal(t, 200, w.Code)
	require.Contains(t, w.Body.String(), "lightrag_active_tenants")
	require.Equal(t, 401, h.as("0123456789abcdef", get, v1+"/tenants", "").Code, "it is no credential of the API")
}

// The listener of its own answers /metrics and nothing else, and ends with its context.
func TestServeMetrics(t *testing.T) {
	h := newHouse(t, Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.server.ServeMetrics(ctx, ln) }()
	for path, want := range map[string]int{"/metrics": 200, "/": 404, "/api/v1/tenants": 404, "/healthz": 404} {
		resp, err := http.Get("http://" + ln.Addr().String() + path)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, resp.StatusCode, path)
	}
	stop()
	require.NoError(t, <-ended)
}
