package httpapi

import (
	"net"
	"net/netip"
	"sync"
)

// fairListener accepts at most max connections of one address at a time and
// closes those beyond, so that one machine cannot take every connection there is.
// Addresses of exempt (loopback, a proxy in front) are not counted: many callers
// share them.
type fairListener struct {
	net.Listener
	max    int
	exempt func(netip.Addr) bool

	mu   sync.Mutex
	open map[netip.Addr]int
}

func newFairListener(ln net.Listener, max int, exempt func(netip.Addr) bool) *fairListener {
	return &fairListener{Listener: ln, max: max, exempt: exempt, open: map[netip.Addr]int{}}
}

// Accept returns the next connection of an address that may have one more.
func (l *fairListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		at, err := netip.ParseAddrPort(c.RemoteAddr().String())
		if err != nil || l.exempt(plainAddr(at.Addr())) {
			return c, nil
		}
		from := networkOf(plainAddr(at.Addr()))
		if l.enter(from) {
			return &fairConn{Conn: c, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		_ = c.Close()
	}
}

func (l *fairListener) enter(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from] >= l.max {
		return false
	}
	l.open[from]++
	return true
}

func (l *fairListener) leave(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from]--; l.open[from] == 0 {
		delete(l.open, from)
	}
}

// fairConn gives its place back when it is closed.
type fairConn struct {
	net.Conn
	leave func()
}

func (c *fairConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// networkOf is an address itself, and of an IPv6 address its network of 64 bits:
// whoever has one such address has them all.
func networkOf(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
