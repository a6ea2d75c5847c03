package httpapi

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"
)

var (
	// errPath marks a path that could be read in two ways.
	errPath = errors.New("the path holds an encoded slash, a backslash, a dot segment or a control character")
	// errHost marks an unauthenticated page asked for under a name that is not
	// this server's: a web page elsewhere may have pointed its own name here.
	errHost = errors.New("this server does not answer under that host name")
)

// checkPath refuses paths that two readers could understand differently:
// encoded slashes, backslashes, dot segments, control characters, invalid
// UTF-8. It looks at the path as sent and as decoded, so that a filter in
// front of us and the router behind us see the same segments. The router
// itself matches the decoded path and never redirects.
func checkPath(u *url.URL) error {
	sent, decoded := u.EscapedPath(), u.Path
	if !strings.HasPrefix(decoded, "/") || !utf8.ValidString(decoded) {
		return errPath
	}
	// An encoded slash is the one escape that changes the segments by being
	// decoded; a second escape ("%252f") decodes to "%2f", which we refuse too,
	// because somebody behind or before us may decode once more.
	for _, p := range [2]string{sent, decoded} {
		for i := 0; i+2 < len(p); i++ {
			if p[i] != '%' {
				continue
			}
			switch strings.ToLower(p[i+1 : i+3]) {
			case "2f", "5c", "00":
				return errPath
			}
		}
	}
	for i := 0; i < len(decoded); i++ {
		if c := decoded[i]; c == '\\' || c < 0x20 || c == 0x7f {
			return errPath
		}
	}
	for segment := range strings.SplitSeq(decoded, "/") {
		if segment == "." || segment == ".." {
			return errPath
		}
	}
	return nil
}

// checkHost answers nil when an unauthenticated page may be shown under the
// request's Host: a loopback name, the address the connection came in on, the
// host of the listener, or one the administrator listed. It stops a web page
// that re-points its own name at this server (DNS rebinding) from reading it
// through a visitor's browser.
func (s *Server) checkHost(r *http.Request) error {
	host := hostOnly(r.Host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return nil
	}
	if _, ok := s.hosts[host]; ok {
		return nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return errHost
	}
	if ip = ip.Unmap(); ip.IsLoopback() {
		return nil
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if at, err := netip.ParseAddrPort(local.String()); err == nil && at.Addr().Unmap().WithZone("") == ip.WithZone("") {
			return nil
		}
	}
	return errHost
}

// hostOnly is the host of a Host header or a listen address: without the port,
// brackets and a final dot, in lower case.
func hostOnly(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
