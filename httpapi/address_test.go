package httpapi

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// The header counts only from the proxies that are listed, and only its end: what a
// client writes there itself changes nothing.
func TestClientAddr(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, c := range map[string]struct {
		remote  string
		forward []string
		want    string
	}{
		"no proxy":                        {"203.0.113.9:5000", nil, "203.0.113.9"},
		"a stranger's header is nothing":  {"203.0.113.9:5000", []string{"198.51.100.1"}, "203.0.113.9"},
		"a listed proxy":                  {"10.0.0.1:5000", []string{"198.51.100.1"}, "198.51.100.1"},
		"what the client claims first":    {"10.0.0.1:5000", []string{"127.0.0.1, 198.51.100.1"}, "198.51.100.1"},
		"two proxies":                     {"10.0.0.1:5000", []string{"1.2.3.4, 198.51.100.1, 10.9.9.9"}, "198.51.100.1"},
		"two headers":                     {"10.0.0.1:5000", []string{"198.51.100.1", "10.9.9.9"}, "198.51.100.1"},
		"a listed proxy without a header": {"10.0.0.1:5000", nil, "10.0.0.1"},
		"all of them proxies":             {"10.0.0.1:5000", []string{"10.1.1.1, 10.2.2.2"}, "10.1.1.1"},
		"no address":                      {"10.0.0.1:5000", []string{"198.51.100.1, unknown, 10.2.2.2"}, "10.2.2.2"},
		"empty":                           {"10.0.0.1:5000", []string{""}, "10.0.0.1"},
		"with a port":                     {"10.0.0.1:5000", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		"IPv6":                            {"[fd00::1]:5000", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		"IPv6 in brackets":                {"[fd00::1]:5000", []string{"[2001:db8::7]"}, "2001:db8::7"},
		"IPv4 in IPv6 clothes":            {"[::ffff:10.0.0.1]:5000", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		"a zone":                          {"[fe80::1%eth0]:5000", nil, "fe80::1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": c.forward}}
			require.Equal(t, netip.MustParseAddr(c.want), clientAddr(r, proxies))
		})
	}
	require.False(t, clientAddr(&http.Request{RemoteAddr: "@"}, proxies).IsValid())
}
