package httpapi

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckPath(t *testing.T) {
	for path, ok := range map[string]bool{
		"/":                            true,
		"/api/v1/tenants/a/documents":  true,
		"/documents/doc-1.v2:x@y+z_":   true,
		"/documents/a...b":             true,
		"/documents/caf%C3%A9":         true,
		"/documents/%41":               true, // another spelling of A, decoded before routing
		"/documents/a%2Fb":             false,
		"/documents/a%2fb":             false,
		"/documents/a%252fb":           false,
		"/documents/a%5Cb":             false,
		`/documents/a\b`:               false,
		"/documents/a%255cb":           false,
		"/documents/a%00b":             false,
		"/documents/a%0Ab":             false,
		"/documents/a%7Fb":             false,
		"/documents/..":                false,
		"/documents/../tenants":        false,
		"/documents/%2e%2e/tenants":    false,
		"/documents/./x":               false,
		"/documents/%2E":               false,
		"/documents/%FF":               false,
		"documents":                    false,
		"*":                            false,
		"":                             false,
		"/documents/..%2f..%2fetc/pas": false,
	} {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			u = &url.URL{Path: path}
		}
		require.Equal(t, ok, checkPath(u) == nil, path)
	}
}

// A path that passes has the same segments as sent and as decoded, once and
// twice, so that nobody before or behind us can read another one out of it.
func FuzzCheckPath(f *testing.F) {
	for _, s := range []string{"/a/b", "/a%2fb", "/a%252fb", "/%2e%2e/x", "/a/../b", `/a\b`, "/%00", "/a%5c", "/é", "//", "/%c0%af", "/a;b", "/%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || checkPath(u) != nil {
			return
		}
		segments := func(s string) int { return strings.Count(s, "/") }
		require.Equal(t, segments(u.EscapedPath()), segments(u.Path))
		if again, err := url.PathUnescape(u.Path); err == nil {
			require.Equal(t, segments(u.Path), segments(again))
		}
		require.NotContains(t, u.Path, "\x00")
		require.NotContains(t, u.Path, `\`)
		for _, s := range strings.Split(u.Path, "/") {
			require.NotContains(t, []string{".", ".."}, s)
		}
	})
}

// Unauthenticated pages answer under our own names only: the address a
// connection came in on is ours, a name that somebody points at it is not.
func TestCheckHost(t *testing.T) {
	s := &Server{hosts: map[string]struct{}{"alcove.example": {}}}
	for host, ok := range map[string]bool{
		"localhost":           true,
		"LOCALHOST:9621":      true,
		"x.localhost":         true,
		"127.0.0.1:9621":      true,
		"127.9.9.9":           true,
		"[::1]:9621":          true,
		"alcove.example":      true,
		"Alcove.Example.:443": true,
		"evil.example":        false,
		"127.0.0.1.evil.com":  false,
		"localhost.evil.com":  false,
		"192.0.2.7":           false,
		"":                    false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/healthz", nil)
		r.Host = host
		require.Equal(t, ok, s.checkHost(r) == nil, host)
	}
}

func TestRequestID(t *testing.T) {
	for id, kept := range map[string]bool{
		"req-1": true, "A.b_c-9": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a b": false, "a\nb": false, "é": false, "<x>": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["X-Request-Id"] = []string{id}
		got := requestID(r)
		require.Equal(t, kept, got == id, "%q", id)
		require.True(t, wellFormedID(got))
	}
}
