package httpapi

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/tenancy"
)

// A POST sent again has its effect once and is answered byte for byte as the first
// time, a secret included; for another caller the same key is another call.
func TestIdempotencyKey(t *testing.T) {
	h := newHouse(t, Options{})
	const keys = "/api/v1/tenants/acme/api-keys"
	body := `{"key_name":"k","permissions":["query:run"]}`
	first := h.as(h.admin, post, keys, body, onceHeader, "one")
	require.Equal(t, 201, first.Code, first.Body.String())
	require.Empty(t, first.Header().Get("Idempotency-Replayed"))
	again := h.as(h.admin, post, keys, body, onceHeader, "one")
	require.Equal(t, 201, again.Code)
	require.Equal(t, first.Body.String(), again.Body.String())
	require.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
	require.NotEqual(t, first.Header().Get("X-Request-ID"), again.Header().Get("X-Request-ID"))
	require.Len(t, h.ok(200, get, keys, "")["items"], 1)

	refused(t, h.as(h.admin, post, keys, `{"key_name":"other","permissions":["query:run"]}`, onceHeader, "one"), 409, "CONFLICT")
	refused(t, h.as(h.admin, post, keys, body, onceHeader, "one", onceHeader, "two"), 400, "INVALID_REQUEST")
	refused(t, h.as(h.admin, post, keys, body, onceHeader, "not one"), 400, "INVALID_REQUEST")

	owner := h.token(tenancy.TokenRequest{Subject: "eve", Tenant: "acme", Role: tenancy.RoleAdmin, KBs: []string{"*"}})
	afresh := h.as(owner, post, keys, body, onceHeader, "one")
	require.Equal(t, 201, afresh.Code)
	require.NotEqual(t, first.Body.String(), afresh.Body.String())

	// Rights are asked for each time: an answer is not for who may no longer ask.
	stranger := h.token(tenancy.TokenRequest{Subject: "eve", Tenant: "beta", Role: tenancy.RoleAdmin})
	refused(t, h.as(stranger, post, keys, body, onceHeader, "one"), 403, "FORBIDDEN")

	// A call that was refused had no effect and binds its key to nothing.
	refused(t, h.as(h.admin, post, keys, `{"key_name":7}`, onceHeader, "three"), 400, "INVALID_REQUEST")
	require.Equal(t, 201, h.as(h.admin, post, keys, body, onceHeader, "three").Code)

	// On a knowledge base; the path belongs to the call.
	text := `{"text":"Ada wrote to Babbage."}`
	one := h.as(h.admin, post, acmeMain+"/documents/text", text, onceHeader, "one")
	require.Equal(t, 202, one.Code, one.Body.String())
	require.Equal(t, one.Body.String(), h.as(h.admin, post, acmeMain+"/documents/text", text, onceHeader, "one").Body.String())
	elsewhere := h.as(h.admin, post, "/api/v1/tenants/acme/knowledge-bases/other/documents/text", text, onceHeader, "one")
	require.Equal(t, 202, elsewhere.Code)
	require.Empty(t, elsewhere.Header().Get("Idempotency-Replayed"))

	// Reading is not changed by it.
	ask := `{"query":"Who wrote to Babbage?","mode":"naive"}`
	for range 2 {
		w := h.as(h.admin, post, acmeMain+"/query", ask, onceHeader, "one")
		require.Equal(t, http.StatusOK, w.Code)
		require.Empty(t, w.Header().Get("Idempotency-Replayed"))
	}
}
