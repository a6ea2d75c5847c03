package httpapi

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/tenancy"
)

// lines are the log's lines with a message.
func (h *house) lines(msg string) (out []map[string]any) {
	h.t.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(h.log.String()), "\n") {
		var v map[string]any
		require.NoError(h.t, json.Unmarshal([]byte(line), &v), line)
		if v["msg"] == msg {
			out = append(out, v)
		}
	}
	return out
}

// A question's line has ADR 007's fields; its text is a length and a keyed hash.
func TestLog_OfAQuestion(t *testing.T) {
	h := newHouse(t, Options{})
	h.ok(202, post, acmeMain+"/documents/text", `{"text":"Ada wrote to Babbage."}`)
	h.Wait()
	key := h.key("acme", nil, tenancy.PermQueryRun)
	for _, path := range []string{"/query", "/query/stream", "/query/data"} {
		w := h.as(key, post, acmeMain+path, `{"query":"Who wrote to Babbage?","mode":"mix"}`, "X-Request-ID", "req-abc-123")
		require.Equal(t, 200, w.Code, w.Body)
	}
	lines := h.lines("query_executed")
	require.Len(t, lines, 3)
	for _, line := range lines {
		require.Equal(t, "req-abc-123", line["request_id"])
		require.Equal(t, "acme", line["tenant_id"])
		require.Equal(t, "main", line["kb_id"])
		require.Equal(t, "mix", line["mode"])
		require.Equal(t, 1.0, line["result_count"])
		require.Equal(t, 21.0, line["query_len"])
		require.Equal(t, h.Store.Pseudonym("Who wrote to Babbage?"), line["query_hash"])
		require.Contains(t, line, "latency_ms")
		require.True(t, strings.HasPrefix(line["user_id"].(string), "key:"))
	}
	require.NotContains(t, h.log.String(), "Who wrote")
	require.NotContains(t, h.log.String(), "Babbage")

	loud := newHouse(t, Options{LogQueries: true})
	loud.as(loud.admin, post, acmeMain+"/query", `{"query":"Who wrote to Babbage?"}`)
	require.Len(t, loud.lines("question"), 1, "asked for, at debug level")
}

// A traceparent is taken over when that is asked for and it is well formed; alone then.
func TestLog_TraceParent(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", traceID(good))
	for _, bad := range []string{
		"", "00", strings.ToUpper(good), "01" + good[2:], good + "-x", good[:len(good)-1], strings.Replace(good, "4bf92f3577b34da6a3ce929d0e0e4736", strings.Repeat("0", 32), 1),
		strings.Replace(good, "00f067aa0ba902b7", strings.Repeat("0", 16), 1), strings.Replace(good, "4b", "4\n", 1),
	} {
		require.Empty(t, traceID(bad), bad)
	}
	for _, on := range []bool{false, true} {
		h := newHouse(t, Options{TraceParent: on})
		h.as(h.admin, get, v1+"/tenants", "", "Traceparent", good)
		require.Equal(t, on, h.lines("request")[0]["trace_id"] != nil)
	}
}
