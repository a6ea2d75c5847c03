package httpapi

import (
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/tenancy"
)

const goodPassword = "correct horse battery"

// From the first account to a question asked with it: an administrator invites, the
// invited chooses a password, signs in, and is out when removed. What is secret is shown
// once and stands in no log.
func TestAccounts_WalkThrough(t *testing.T) {
	h := newHouse(t, Options{})
	member := v1 + "/tenants/acme/members"
	h.ok(201, post, v1+"/users", `{"user":"boss","password":"`+goodPassword+`"}`)
	h.ok(201, post, member, `{"user":"boss","role":"admin","all":true}`)
	signIn := func(user, password string) map[string]any {
		return data(t, h.as("", post, v1+"/auth/token", `{"username":"`+user+`","password":"`+password+`"}`))
	}
	boss := signIn("boss", goodPassword)
	require.Equal(t, "acme", boss["tenant_id"])
	require.Equal(t, "admin", boss["role"])
	require.Equal(t, 86400.0, boss["expires_in"])
	as := boss["access_token"].(string)

	w := h.as(as, post, member, `{"user":"ada@example.org","role":"viewer","knowledge_base_ids":["main"],"invite":true}`)
	require.Equal(t, 201, w.Code, w.Body)
	invited := data(t, w)
	once := invited["one_time_password"].(string)
	require.NotContains(t, h.as(as, get, member, "").Body.String(), once)
	first := signIn("ada@example.org", once)
	require.Equal(t, true, first["password_change_required"])
	token := first["access_token"].(string)
	refused(t, h.as(token, post, acmeMain+"/query", `{"query":"Who is Ada?"}`), 403, "FORBIDDEN")
	refused(t, h.as(token, get, v1+"/tenants/acme", ""), 403, "FORBIDDEN")
	body := refused(t, h.as(token, put, v1+"/auth/password", `{"old":"wrong wrong wrong","new":"`+goodPassword+`"}`), 400, "INVALID_REQUEST")
	require.Equal(t, "old", body.Details["field"])
	require.Equal(t, 200, h.as(token, put, v1+"/auth/password", `{"old":"`+once+`","new":"`+goodPassword+`"}`).Code)
	refused(t, h.as(token, get, v1+"/auth/me", ""), 401, "UNAUTHORIZED")

	token = signIn("ada@example.org", goodPassword)["access_token"].(string)
	require.Equal(t, 200, h.as(token, post, acmeMain+"/query", `{"query":"Who is Ada?"}`).Code)
	me := data(t, h.as(token, get, v1+"/auth/me", ""))
	require.Equal(t, []any{"main"}, me["knowledge_base_ids"])
	require.Equal(t, "viewer", me["role"])
	names(t, h.as(token, post, member, `{"user":"eve","role":"viewer","all":true}`), right(tenancy.PermTenantMembers))
	require.Equal(t, 200, h.as(as, put, member+"/ada@example.org", `{"role":"editor"}`).Code)
	refused(t, h.as(token, get, v1+"/auth/me", ""), 401, "UNAUTHORIZED")
	token = signIn("ada@example.org", goodPassword)["access_token"].(string)
	require.Equal(t, 200, h.as(as, del, member+"/ada@example.org", "").Code)
	refused(t, h.as(token, get, v1+"/auth/me", ""), 401, "UNAUTHORIZED")
	require.Equal(t, 200, h.as(as, post, v1+"/auth/revoke", `{"user":"boss"}`).Code)
	refused(t, h.as(as, get, v1+"/auth/me", ""), 401, "UNAUTHORIZED")

	require.Equal(t, 2.0, h.ok(200, get, v1+"/users", "")["total"])
	reset := h.ok(200, put, v1+"/users/boss", `{"reset_password":true}`)
	require.NotEmpty(t, reset["one_time_password"])
	h.ok(200, del, v1+"/users/boss", "")
	refused(t, h.as(h.admin, del, v1+"/users/boss", ""), 404, "NOT_FOUND")
	h.ok(200, post, v1+"/auth/revoke", `{"tenant_id":"acme"}`)
	for _, secret := range []string{goodPassword, once, as, token, reset["one_time_password"].(string)} {
		require.NotContains(t, h.log.String(), secret)
	}
}

// A form is OAuth 2's: it is answered as RFC 6749 has it. Whatever its shape, it is read
// strictly, and little of it.
func TestSignIn_Shapes(t *testing.T) {
	h := newHouse(t, Options{})
	h.ok(201, post, v1+"/users", `{"user":"root","password":"`+goodPassword+`","system_admin":true}`)
	send := func(kind, body string) *httptest.ResponseRecorder {
		return ask(h.server, post, v1+"/auth/token", strings.NewReader(body), "Content-Type", kind)
	}
	const form, js = "application/x-www-form-urlencoded", "application/json"
	good := url.Values{"grant_type": {"password"}, "username": {"root"}, "password": {goodPassword}, "scope": {""}, "client_id": {"x"}}
	w := send(form, good.Encode())
	require.Equal(t, 200, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `{"access_token":"`)
	require.Contains(t, w.Body.String(), `"token_type":"bearer"`)
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	w = send(js, `{"username":"root","password":"`+goodPassword+`"}`)
	require.Contains(t, w.Body.String(), `{"status":"success","data":{"access_token":"`)
	for _, c := range []struct {
		kind, body string
		status     int
		field      string
	}{
		{form, "username=root&username=eve&password=x", 400, "username"},
		{form, "username=root&password=x&admin=1", 400, "admin"},
		{form, "username=root&password=x&grant_type=client_credentials", 400, "grant_type"},
		{form, "username=root", 400, "password"},
		{form, "password=x", 400, "username"},
		{form, "username=root;password=x", 400, "body"},
		{form, "username=root&password=%ff", 400, "password"},
		{form, "username=root&password=" + strings.Repeat("x", 257), 400, "password"},
		{form, "username=root&password=" + strings.Repeat("x", 9000), 413, "body"},
		{js, `{"username":"root","password":"x","Password":"y"}`, 400, "Password"},
		{js, `{"username":"root","password":"x","tenant_id":"ACME"}`, 400, "tenant_id"},
		{js, `{"username":["root"],"password":"x"}`, 400, "username"},
		{js, `{"username":"` + strings.Repeat("x", 9000) + `"}`, 413, "body"},
		{"text/plain", "root", 415, "Content-Type"},
	} {
		w := send(c.kind, c.body)
		require.Equal(t, c.status, w.Code, c.body)
		require.Equal(t, c.field, refused(t, w, c.status, codeOf(t, w)).Details["field"], c.body)
	}
	refused(t, ask(h.server, post, v1+"/auth/token?username=root", strings.NewReader("{}"), "Content-Type", js), 400, "INVALID_REQUEST")
}

// Too many failures are 429 with a time to come back, told of names that are nobody's
// too; behind a listed proxy it is the client's address that is counted.
func TestSignIn_Limited(t *testing.T) {
	h := newHouse(t, Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}) // httptest's client
	try := func(user, from string) int {
		w := ask(h.server, post, v1+"/auth/token", strings.NewReader(`{"username":"`+user+`","password":"wrong wrong wrong"}`),
			"Content-Type", "application/json", "X-Forwarded-For", from)
		if w.Code == 429 {
			refused(t, w, 429, "RATE_LIMITED")
			require.NotEmpty(t, w.Header().Get("Retry-After"))
		}
		return w.Code
	}
	for range 10 {
		require.Equal(t, 401, try("nobody", "203.0.113.1"))
	}
	require.Equal(t, 429, try("nobody", "203.0.113.2"))
	codes := map[int]int{}
	for i := range 60 {
		codes[try("user"+strings.Repeat("x", i), "203.0.113.3, 198.51.100.1")]++
	}
	require.Equal(t, map[int]int{401: 50, 429: 10}, codes)
	require.Equal(t, 401, try("somebody", "198.51.100.2"), "another client of the same proxy")
}

// A key is rotated with and without a body; it is bound to the client's networks.
func TestKeys_RotateAndNetworks(t *testing.T) {
	h := newHouse(t, Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	keys := v1 + "/tenants/acme/api-keys"
	made := h.ok(201, post, keys, `{"key_name":"k","permissions":["kb:access"],"allowed_networks":["203.0.113.0/24"]}`)
	me := func(key any, from string) int {
		return ask(h.server, get, v1+"/auth/me", nil, "X-API-Key", key.(string), "X-Forwarded-For", from).Code
	}
	require.Equal(t, 200, me(made["key"], "203.0.113.9"))
	require.Equal(t, 401, me(made["key"], "203.0.114.9"))
	require.Equal(t, 401, me(made["key"], "203.0.113.9, 203.0.114.9"), "what the client writes itself counts for nothing")
	path := keys + "/" + made["key_id"].(string) + "/rotate"
	rotated := h.ok(200, post, path, "")
	require.NotEqual(t, made["key"], rotated["key"])
	require.NotEmpty(t, rotated["old_secret_until"])
	require.Equal(t, 200, me(made["key"], "203.0.113.9"))
	require.Equal(t, 200, me(rotated["key"], "203.0.113.9"))
	again := h.ok(200, post, path, `{"overlap_hours":0}`)
	require.Equal(t, 401, me(made["key"], "203.0.113.9"))
	require.Equal(t, 401, me(rotated["key"], "203.0.113.9"))
	require.Equal(t, 200, me(again["key"], "203.0.113.9"))
	items := h.ok(200, get, keys, "")["items"].([]any)
	require.Equal(t, 4.0, items[0].(map[string]any)["uses"])
	require.NotEmpty(t, items[0].(map[string]any)["last_used_at"])
	refused(t, h.as(h.admin, post, keys, `{"key_name":"k","allowed_networks":["10.0.0.1/8"]}`), 400, "INVALID_REQUEST")
}
