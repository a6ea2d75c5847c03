package httpapi

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientAddr is the address a request came from: the connection's, or, if that is one
// of the proxies the administrator listed, the last address in X-Forwarded-For that is
// not a listed proxy itself. The header is read from its end, because a proxy appends:
// what stands before the first address we do not know was written by whoever that is,
// and is worth nothing. A hop that is not an address ends the walk at the proxy that
// reported it. It is the zero Addr when the connection has no address (a test's).
func clientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := plainAddr(peer.Addr())
	if !within(addr, trusted) {
		return addr
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		next, ok := parseHop(strings.TrimSpace(hops[i]))
		if !ok {
			return addr
		}
		if addr = next; !within(addr, trusted) {
			return addr
		}
	}
	return addr
}

// parseHop reads an address as proxies write it: alone, in brackets, or with a port.
func parseHop(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return plainAddr(a), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return plainAddr(ap.Addr()), true
	}
	return netip.Addr{}, false
}

// plainAddr is an address in its one spelling: an IPv4 address is never in IPv6
// clothes, and a zone, which means something on one machine only, is off.
func plainAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func within(a netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
