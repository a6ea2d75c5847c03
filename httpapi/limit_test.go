package httpapi

import (
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

func number(t *testing.T, w *httptest.ResponseRecorder, header string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(w.Header().Get(header), 10, 64)
	require.NoError(t, err, "%s: %q in %d", header, w.Header().Get(header), w.Code)
	return n
}

func (h *house) quota(tenant, quota string) {
	h.t.Helper()
	h.ok(200, put, "/api/v1/tenants/"+tenant, `{"quota":`+quota+`}`)
}

// A limited answer says where its caller stands, refused or not, right or wrong; what
// is not limited says nothing, and what one tenant does is not another's.
func TestLimit_Queries(t *testing.T) {
	h := newHouse(t, Options{})
	h.quota("acme", `{"max_key_queries_per_minute":2,"max_queries_per_minute":3}`)
	ada, bob := h.key("acme", nil, tenancy.PermQueryRun), h.key("acme", nil, tenancy.PermQueryRun, tenancy.PermDocumentRead)
	question := `{"query":"Who wrote to Babbage?"}`
	asked := time.Now()
	off := func() float64 { return 1 + time.Since(asked).Seconds() } // rounded up, and however long it took
	w := h.as(ada, post, acmeMain+"/query", question)
	require.Equal(t, 200, w.Code)
	require.Equal(t, []int64{2, 1}, []int64{number(t, w, "X-RateLimit-Limit"), number(t, w, "X-RateLimit-Remaining")})
	require.InDelta(t, asked.Add(time.Minute).Unix(), number(t, w, "X-RateLimit-Reset"), off())
	require.Empty(t, w.Header().Get("Retry-After"))
	w = h.as(ada, post, acmeMain+"/query", `{"query":"?"}`)
	require.Equal(t, 400, w.Code)
	require.Zero(t, number(t, w, "X-RateLimit-Remaining"), "a wrong one counts too")
	w = h.as(ada, post, acmeMain+"/query/stream", question)
	body := refused(t, w, 429, "RATE_LIMITED")
	require.Equal(t, "rate limited: at most 2 queries a minute of this key", body.Message)
	require.InDelta(t, 60, number(t, w, "Retry-After"), off())
	require.Equal(t, []int64{2, 0}, []int64{number(t, w, "X-RateLimit-Limit"), number(t, w, "X-RateLimit-Remaining")})

	require.Equal(t, 200, h.as(bob, post, acmeMain+"/query/data", question).Code)
	w = h.as(bob, post, acmeMain+"/query/explain", question)
	require.Equal(t, "rate limited: at most 3 queries a minute of this tenant", refused(t, w, 429, "RATE_LIMITED").Message)
	w = h.as(bob, get, acmeMain+"/documents", "")
	require.Equal(t, 200, w.Code)
	require.Empty(t, w.Header().Get("X-RateLimit-Limit"))
	w = h.as(h.key("beta", nil, tenancy.PermQueryRun), post, "/api/v1/tenants/beta/knowledge-bases/main/query", question)
	require.Equal(t, 200, w.Code)
	require.Empty(t, w.Header().Get("X-RateLimit-Limit"))
	// Rights come first: who may not ask is told so, whatever the limit says.
	refused(t, h.as(ada, get, acmeMain+"/documents", ""), 403, "FORBIDDEN")
	refused(t, h.as(h.key("acme", nil, tenancy.PermDocumentRead), post, acmeMain+"/query", question), 403, "FORBIDDEN")

	usage := h.ok(200, get, "/api/v1/tenants/acme/usage", "")
	windows := usage["rate_windows"].([]any)
	require.Equal(t, "queries a minute of this tenant", windows[1].(map[string]any)["what"])
	require.EqualValues(t, 0, windows[1].(map[string]any)["remaining"])
	refused(t, h.as(ada, get, "/api/v1/tenants/acme/usage", ""), 403, "FORBIDDEN")
}

// A batch counts its documents and is taken whole or not at all, on every route that
// brings some.
func TestLimit_Documents(t *testing.T) {
	h := newHouse(t, Options{})
	h.quota("acme", `{"max_documents_per_hour":5}`)
	asked := time.Now()
	w := h.as(h.admin, post, acmeMain+"/documents/texts", `{"texts":["a","b","c"]}`)
	require.Equal(t, 202, w.Code)
	require.EqualValues(t, 2, number(t, w, "X-RateLimit-Remaining"))
	w = h.as(h.admin, post, acmeMain+"/documents/texts", `{"texts":["d","e","f"]}`)
	require.Equal(t, "rate limited: at most 5 documents an hour of this tenant", refused(t, w, 429, "RATE_LIMITED").Message)
	require.InDelta(t, 3600, number(t, w, "Retry-After"), 1+time.Since(asked).Seconds())
	w = h.as(h.admin, post, acmeMain+"/documents/texts", `{"texts":["1","2","3","4","5","6"]}`)
	require.Contains(t, refused(t, w, 429, "RATE_LIMITED").Message, "this call alone asks for 6")
	w = h.upload(post, acmeMain+"/documents/add", "file:g.txt", "g")
	require.Equal(t, 202, w.Code)
	require.EqualValues(t, 1, number(t, w, "X-RateLimit-Remaining"))
	require.EqualValues(t, 4, h.ok(200, get, acmeMain+"/status_counts", "")["status_counts"].(map[string]any)["all"])
	require.Equal(t, 202, h.as(h.admin, put, acmeMain+"/documents/"+docOf(t, w), `{"text":"h"}`).Code)
	refused(t, h.as(h.admin, post, acmeMain+"/graph/import", `{"entities":[{"entity_name":"Ada","entity_type":"person","description":"a countess"}]}`), 429, "RATE_LIMITED")
}

func docOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	return data(t, w)["doc_id"].(string)
}

// A quota names itself, its limit and what is in use, and says when it is worth
// asking again; a batch over it brings nothing.
func TestLimit_Quotas(t *testing.T) {
	h := newHouse(t, Options{})
	h.quota("acme", `{"max_documents":3,"max_kb_per_tenant":2}`)
	require.Equal(t, 202, h.as(h.admin, post, acmeMain+"/documents/texts", `{"texts":["a","b"]}`).Code)
	w := h.as(h.admin, post, acmeMain+"/documents/texts", `{"texts":["c","d"]}`)
	body := refused(t, w, 429, "QUOTA_EXCEEDED")
	require.Equal(t, "quota exceeded: max_documents is 3, in use are 2", strings.TrimPrefix(body.Message, "documents: "))
	require.Equal(t, map[string]any{"quota": "max_documents", "limit": 3.0, "used": 2.0}, body.Details)
	require.EqualValues(t, quotaRetry, number(t, w, "Retry-After"))
	h.Wait()
	require.EqualValues(t, 2, h.ok(200, get, acmeMain+"/status_counts", "")["status_counts"].(map[string]any)["all"])
	w = h.as(h.admin, post, "/api/v1/tenants/acme/knowledge-bases", `{"kb_name":"third"}`)
	require.Equal(t, map[string]any{"quota": "max_kb_per_tenant", "limit": 2.0, "used": 2.0}, refused(t, w, 429, "QUOTA_EXCEEDED").Details)

	h.quota("beta", `{"max_monthly_api_calls":2}`)
	key := h.key("beta", nil, tenancy.PermDocumentRead)
	at := "/api/v1/tenants/beta/knowledge-bases/main/documents"
	require.Equal(t, 200, h.as(key, get, at, "").Code)
	refused(t, h.as(key, get, acmeMain+"/documents", ""), 403, "FORBIDDEN") // counts: it is a call
	w = h.as(key, get, at, "")
	require.Equal(t, "max_monthly_api_calls", refused(t, w, 429, "QUOTA_EXCEEDED").Details["quota"])
	require.LessOrEqual(t, number(t, w, "Retry-After"), int64(31*24*3600+1))
	used := h.ok(200, get, "/api/v1/tenants/beta/usage", "")
	require.EqualValues(t, 2, used["month"].(map[string]any)["api_calls"])
	require.EqualValues(t, 1, used["used"].(map[string]any)["knowledge_bases"])
	require.Equal(t, 200, h.as(h.key("acme", nil, tenancy.PermDocumentRead), get, acmeMain+"/documents", "").Code)
}

// More queries at once than the quota says are refused, not queued, and a place is free
// again when its query has ended.
func TestLimit_ConcurrentQueries(t *testing.T) {
	entered, hold := make(chan struct{}, 10), make(chan struct{})
	var closed atomic.Bool
	release := func() {
		if closed.CompareAndSwap(false, true) {
			close(hold)
		}
	}
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) {
		entered <- struct{}{}
		<-hold
		return "yes", nil
	}}
	h := newHouseWith(t, Options{}, engine.Options{Chatter: chat, Answerer: engine.ModelAnswerer(chat, engine.AnswerOptions{})})
	t.Cleanup(release)
	h.quota("acme", `{"max_concurrent_queries":1}`)
	question := `{"query":"Who wrote to Babbage?","mode":"bypass"}`
	var wg sync.WaitGroup
	wg.Go(func() { h.as(h.admin, post, acmeMain+"/query", question) })
	select {
	case <-entered:
	case <-time.After(20 * time.Second):
		t.Fatal("the first query never reached its model")
	}
	w := h.as(h.admin, post, acmeMain+"/query", question)
	require.Equal(t, "rate limited: at most 1 queries at once of this tenant", refused(t, w, 429, "RATE_LIMITED").Message)
	require.EqualValues(t, 1, number(t, w, "Retry-After"))
	release()
	wg.Wait()
	require.NotEqual(t, 429, h.as(h.admin, post, acmeMain+"/query", question).Code)
}

// An address that keeps showing bad credentials is not listened to for a while; nobody
// else notices, and no credential at all is no try.
func TestLimit_BadCredentials(t *testing.T) {
	h := newHouse(t, Options{MaxFailedAuth: 3})
	for range 5 {
		refused(t, h.as("", get, "/api/v1/auth/me", ""), 401, "UNAUTHORIZED")
	}
	for range 3 {
		refused(t, h.as("sk-wrong", get, "/api/v1/auth/me", ""), 401, "UNAUTHORIZED")
	}
	w := h.as(h.admin, get, "/api/v1/auth/me", "")
	refused(t, w, 429, "RATE_LIMITED")
	require.Positive(t, number(t, w, "Retry-After"))
	r := httptest.NewRequest(get, "/api/v1/auth/me", nil)
	r.RemoteAddr = "203.0.113.9:1"
	r.Header.Set("Authorization", "Bearer "+h.admin)
	other := httptest.NewRecorder()
	h.server.ServeHTTP(other, r)
	require.Equal(t, 200, other.Code)
}
