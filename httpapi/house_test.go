package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// house is a whole server over a store in memory: tenants acme (knowledge bases
// main and other) and beta (main), with scripted models.
type house struct {
	*enginetest.Env
	t      testing.TB
	server *Server
	log    *safeBuffer
	admin  string       // a system admin's token
	spec   *description // nil: exchanges are not held to it
}

func newHouse(t testing.TB, o Options) *house { return newHouseWith(t, o, engine.Options{}) }

func newHouseWith(t testing.TB, o Options, e engine.Options) *house {
	t.Helper()
	env := enginetest.New(t, e)
	for _, kb := range [][2]string{{"acme", "main"}, {"acme", "other"}, {"beta", "main"}} {
		env.Space(kb[0], kb[1], tenancy.PermKBAccess)
	}
	h := &house{Env: env, t: t, log: new(safeBuffer)}
	o.Store, o.Engine, o.Logger = env.Store, env.Engine, jsonLog(h.log)
	var err error
	h.server, err = New(o)
	require.NoError(t, err)
	h.admin = h.token(tenancy.TokenRequest{Subject: "root", System: true})
	h.spec = describedBy(t, h.server)
	return h
}

func (h *house) token(q tenancy.TokenRequest) string {
	h.t.Helper()
	q.TTL = time.Hour
	token, err := h.Store.MintToken(q)
	require.NoError(h.t, err)
	return token
}

// key is an API key of a tenant; kbs nil is all of them.
func (h *house) key(tenant string, kbs *[]string, ps ...tenancy.Permission) string {
	h.t.Helper()
	k, err := h.Store.CreateKey(context.Background(), h.Admin, tenant, tenancy.KeyInput{Name: "test", KBs: kbs, Permissions: ps})
	require.NoError(h.t, err)
	return k.Secret
}

// as asks with a credential: a token, a key or "" for none. body is JSON. What was
// asked and answered must be as the server describes itself.
func (h *house) as(credential, method, path, body string, head ...string) *httptest.ResponseRecorder {
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
		head = append(head, "Content-Type", "application/json")
	}
	w := ask(h.server, method, path, r, append(head, credentialHead(credential)...)...)
	if line, ok := h.line(method, path); ok && h.spec != nil {
		h.spec.exchange(h.t, line, body, w)
	}
	return w
}

// line is the line of the route page that a path is served by.
func (h *house) line(method, path string) (route, bool) {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	for _, line := range h.server.routeTable() {
		pattern := strings.Split(line.pattern, "/")
		if line.method == method && len(pattern) == len(parts) {
			same := true
			for i, p := range pattern {
				same = same && (p == parts[i] || strings.HasPrefix(p, ":"))
			}
			if same {
				return line, true
			}
		}
	}
	return route{}, false
}

func credentialHead(credential string) []string {
	switch {
	case credential == "":
		return nil
	case strings.HasPrefix(credential, "sk-"):
		return []string{"X-API-Key", credential}
	}
	return []string{"Authorization", "Bearer " + credential}
}

// ok asks as the system admin, wants status, and returns the answer's data.
func (h *house) ok(status int, method, path, body string) map[string]any {
	h.t.Helper()
	w := h.as(h.admin, method, path, body)
	require.Equal(h.t, status, w.Code, "%s %s: %s", method, path, w.Body)
	return data(h.t, w)
}

// data is what a successful answer holds, out of its envelope if it has one.
func data(t testing.TB, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	require.Less(t, w.Code, 300, w.Body.String())
	var body map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	if d, ok := body["data"].(map[string]any); ok && body["status"] == "success" && len(body) == 2 {
		return d
	}
	return body
}

const acmeMain = "/api/v1/tenants/acme/knowledge-bases/main"

// form is a multipart body of name, value pairs; "file:NAME" is a file.
func form(t testing.TB, pairs ...string) (body *bytes.Buffer, contentType string) {
	t.Helper()
	body = new(bytes.Buffer)
	m := multipart.NewWriter(body)
	for i := 0; i+1 < len(pairs); i += 2 {
		var w io.Writer
		var err error
		if name, ok := strings.CutPrefix(pairs[i], "file:"); ok {
			w, err = m.CreateFormFile("file", name)
		} else {
			w, err = m.CreateFormField(pairs[i])
		}
		require.NoError(t, err)
		_, err = io.WriteString(w, pairs[i+1])
		require.NoError(t, err)
	}
	require.NoError(t, m.Close())
	return body, m.FormDataContentType()
}

// upload sends a form as the system admin.
func (h *house) upload(method, path string, pairs ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	body, kind := form(h.t, pairs...)
	return ask(h.server, method, path, body, append([]string{"Content-Type", kind}, credentialHead(h.admin)...)...)
}
