package httpapi

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/tenancy"
)

// A knowledge base goes out as one file and comes in elsewhere, with its settings; who
// may not manage it gets neither, and what is not the file is refused.
func TestPortable_OverTheWire(t *testing.T) {
	h := newHouse(t, Options{MaxImportBytes: 1 << 20})
	h.ok(202, post, acmeMain+"/documents/text", `{"id":"a","text":"Ada Lovelace wrote to Charles Babbage."}`)
	h.ok(200, put, acmeMain, `{"config":{"top_k":7}}`)
	h.Wait()
	out := h.as(h.admin, get, acmeMain+"/export", "")
	require.Equal(t, 200, out.Code, out.Body.String())
	require.Equal(t, sealedMedia, out.Header().Get("Content-Type"))
	file := out.Body.Bytes()

	const fresh = "/api/v1/tenants/beta/knowledge-bases/main"
	send := func(path string, b []byte, head ...string) *httptest.ResponseRecorder {
		return ask(h.server, post, path, bytes.NewReader(b), append(append(credentialHead(h.admin), "Content-Type", sealedMedia), head...)...)
	}
	refused(t, h.as(h.key("acme", nil, tenancy.PermDocumentRead), get, acmeMain+"/export", ""), 403, "FORBIDDEN")
	refused(t, h.as(h.key("beta", nil, tenancy.PermDocumentCreate), post, fresh+"/import", "{}"), 403, "FORBIDDEN")
	require.Equal(t, "body", refused(t, send(fresh+"/import", file[:len(file)-1]), 400, "INVALID_REQUEST").Details["field"])
	require.Equal(t, "signer", refused(t, send(fresh+"/import?signer=x", file), 400, "INVALID_REQUEST").Details["field"])
	pub, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	require.Equal(t, "body", refused(t, send(fresh+"/import?signer="+url.QueryEscape(base64.StdEncoding.EncodeToString(pub)), file), 400, "INVALID_REQUEST").Details["field"])
	refused(t, send(fresh+"/import", make([]byte, 1<<20+1)), 413, "PAYLOAD_TOO_LARGE")
	refused(t, h.as(h.admin, post, fresh+"/import", "{}"), 415, "UNSUPPORTED_MEDIA_TYPE")

	w := send(fresh+"/import", file, "Idempotency-Key", "0123456789abcdef")
	require.Equal(t, 201, w.Code, w.Body.String())
	require.EqualValues(t, 1, data(t, w)["documents"])
	require.EqualValues(t, 7, h.ok(200, get, fresh, "")["config"].(map[string]any)["top_k"])
	require.Equal(t, h.as(h.admin, get, acmeMain+"/documents/a/chunks", "").Body.String(), h.as(h.admin, get, fresh+"/documents/a/chunks", "").Body.String())
	refused(t, send(fresh+"/import", file), 409, "CONFLICT")
}
