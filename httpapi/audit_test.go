package httpapi

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/tenancy"
	"alcove/tenancy/audit"
)

// records are a tenant's audit records that name a request.
func (h *house) records(tenant, request string) (out []audit.Record) {
	h.t.Helper()
	p := h.Admin
	for cursor := ""; ; {
		page, err := h.Store.Audit(h.t.Context(), p, tenant, tenancy.AuditQuery{Limit: 1000, Cursor: cursor})
		require.NoError(h.t, err)
		for _, r := range page.Items {
			if request == "" || r.RequestID == request {
				out = append(out, r)
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			return out
		}
	}
}

// Every call that may change something of a tenant is in its chain when the answer is
// there: with its change, or, when there was none to go with, as the call it was.
func TestAudit_EveryChangingCallIsRecorded(t *testing.T) {
	h := newHouse(t, Options{})
	h.ok(202, post, acmeMain+"/documents/text", `{"id":"a","text":"Ada wrote to Babbage."}`)
	h.Wait()
	n := 0
	for _, line := range h.server.routeTable() {
		if line.method == get || unsigned(line.right) || !strings.Contains(line.pattern, ":tenant") || line.right == right(tenancy.PermQueryRun) || deletes(line) > 0 {
			continue
		}
		t.Run(line.method+" "+line.pattern, func(t *testing.T) {
			w := h.knock(h.admin, line, "acme", "main")
			if w.Code >= 300 {
				return // refused: nothing was done
			}
			n++
			id := w.Header().Get("X-Request-ID")
			require.Eventually(t, func() bool { return len(h.records("acme", id)) > 0 }, time.Minute, time.Millisecond)
		})
	}
	for _, call := range [][3]string{
		{post, acmeMain + "/documents/text", `{"id":"b","text":"Babbage answered."}`},
		{post, acmeMain + "/documents/text", `{"id":"a","text":"Ada wrote to Babbage."}`}, // unchanged
		{put, acmeMain + "/documents/a", `{"text":"Ada wrote again."}`},
		{post, acmeMain + "/documents/delete?dry_run=true", `{"doc_ids":["a"]}`},
		{post, acmeMain + "/documents/delete", `{"doc_ids":["a"]}`},
		{put, acmeMain, `{"kb_name":"renamed"}`},
		{put, v1 + "/tenants/acme", `{"description":"d"}`},
		{post, v1 + "/tenants/acme/api-keys", `{"key_name":"k","permissions":["query:run"]}`},
		{del, acmeMain, ""},
	} {
		w := h.as(h.admin, call[0], call[1], call[2])
		require.Less(t, w.Code, 300, "%v: %s", call, w.Body)
		id := w.Header().Get("X-Request-ID")
		require.Eventually(t, func() bool { return len(h.records("acme", id)) > 0 }, time.Minute, time.Millisecond, "%v", call)
		n++
	}
	require.GreaterOrEqual(t, n, 9)
}

// Questions and refusals are recorded, without the text of either: in the chain of the
// caller's own tenant, whatever tenant they named.
func TestAudit_QuestionsAndRefusals(t *testing.T) {
	h := newHouse(t, Options{})
	h.ok(202, post, acmeMain+"/documents/text", `{"text":"Ada wrote to Babbage."}`)
	h.Wait()
	key := h.key("acme", &[]string{"main"}, tenancy.PermQueryRun)
	h.as(key, post, acmeMain+"/query", `{"query":"Who wrote to Babbage?"}`, "X-Request-ID", "q1")
	h.as(key, get, v1+"/tenants/beta/knowledge-bases/main/documents", "", "X-Request-ID", "d1")
	var got []audit.Record
	require.Eventually(t, func() bool {
		got = append(h.records("acme", "q1"), h.records("acme", "d1")...)
		return len(got) == 2
	}, time.Minute, time.Millisecond)
	require.Equal(t, "query_executed", got[0].Action)
	require.Equal(t, "main", got[0].ResourceID)
	require.Equal(t, h.Store.Pseudonym("Who wrote to Babbage?"), got[0].Details["query_hash"])
	require.Equal(t, "1", got[0].Details["result_count"])
	require.Equal(t, "user_access_denied", got[1].Action)
	require.Equal(t, "denied", got[1].Outcome)
	require.Equal(t, "beta", got[1].Details["tenant_id"])
	require.Equal(t, "192.0.2.1", got[1].Details["ip_address"], "httptest's")
	for _, r := range h.records("beta", "") {
		require.NotEqual(t, "user_access_denied", r.Action)
	}
	all, err := json.Marshal(h.records("acme", ""))
	require.NoError(t, err)
	require.NotContains(t, string(all), "Babbage")
	require.NotContains(t, string(all), key)
}

// The reader over the wire: pages, filters, and the faults of a query string.
func TestAudit_OverTheWire(t *testing.T) {
	h := newHouse(t, Options{})
	for _, id := range []string{"a", "b", "c"} {
		h.ok(201, post, v1+"/tenants/acme/api-keys", `{"key_name":"`+id+`","permissions":["query:run"]}`)
	}
	at := v1 + "/tenants/acme/audit"
	first := h.ok(200, get, at+"?action=api_key_created&limit=2", "")
	require.Len(t, first["items"], 2)
	second := h.ok(200, get, at+"?action=api_key_created&limit=2&cursor="+first["next_cursor"].(string), "")
	require.Len(t, second["items"], 1)
	tomorrow := url.QueryEscape(time.Now().Add(24 * time.Hour).Format(time.RFC3339))
	require.Empty(t, h.ok(200, get, at+"?from="+tomorrow, "")["items"])
	require.NotEmpty(t, h.ok(200, get, at+"?from=2020-01-01&to="+tomorrow, "")["items"])
	for _, bad := range []string{"from=yesterday", "to=2020", "cursor=x", "limit=1001", "from=2021-01-01&to=2020-01-01", "who=me"} {
		refused(t, h.as(h.admin, get, at+"?"+bad, ""), 400, "INVALID_REQUEST")
	}
	c := h.ok(200, get, v1+"/admin/audit/checkpoint", "")
	signed, err := audit.OpenCheckpoint([]byte(c["checkpoint"].(string)), c["verifier_key"].(string))
	require.NoError(t, err)
	require.Positive(t, signed.Size)
}
