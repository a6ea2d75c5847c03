package httpapi

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// selfSigned is a certificate for localhost and the pool that trusts it.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	sheet := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, sheet, sheet, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestServe_TLS(t *testing.T) {
	cert, pool := selfSigned(t)
	s, _ := wire(t, Options{TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}})
	addr, _, _ := listen(t, s)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	for _, h2 := range []bool{true, false} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: h2}
		resp, err := (&http.Client{Transport: tr}).Get("https://localhost:" + port + pathHealth)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		tr.CloseIdleConnections()
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, hstsValue, resp.Header.Get("Strict-Transport-Security"))
		require.Equal(t, map[bool]int{true: 2, false: 1}[h2], resp.ProtoMajor)
	}
	_, err = (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11}}}).Get("https://localhost:" + port + pathHealth)
	require.Error(t, err)
}

func TestServeRedirect(t *testing.T) {
	s, _ := wire(t, Options{AllowedHosts: []string{"alcove.example"}})
	h := s.redirect("443")
	w := ask(h, post, "/api/v1/tenants?x=1", nil)
	require.Equal(t, http.StatusPermanentRedirect, w.Code)
	require.Equal(t, "https://localhost/api/v1/tenants?x=1", w.Header().Get("Location"))
	w = ask(s.redirect("8443"), get, "/", nil)
	require.Equal(t, "https://localhost:8443/", w.Header().Get("Location"))
	for _, header := range []string{"Authorization", "X-API-Key"} {
		refused(t, ask(h, get, "/", nil, header, "secret"), 403, "TLS_REQUIRED")
	}
	refused(t, ask(h, get, "/a%2fb", nil), 400, "INVALID_REQUEST")

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.ServeRedirect(ctx, ln, "443") }()
	resp := talk(t, ln.Addr().String(), "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
	require.Equal(t, http.StatusMisdirectedRequest, resp.StatusCode)
	stop()
	require.NoError(t, <-ended)
}

// A page elsewhere reads nothing unless it is listed, and never by a cookie.
func TestCrossOrigin(t *testing.T) {
	origin := func(o Options, method, from string) http.Header {
		s, _ := wire(t, o)
		return ask(s, method, pathHealth, nil, "Origin", from, "Access-Control-Request-Method", "GET").Header()
	}
	listed := Options{Origins: []string{"https://app.example", "http://localhost:3000"}}
	for _, from := range listed.Origins {
		h := origin(listed, http.MethodOptions, from)
		require.Equal(t, from, h.Get("Access-Control-Allow-Origin"))
		require.Empty(t, h.Get("Access-Control-Allow-Credentials"))
		require.Contains(t, h.Values("Vary"), "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
		require.Equal(t, from, origin(listed, get, from).Get("Access-Control-Allow-Origin"))
	}
	for _, from := range []string{"https://evil.example", "null", "https://app.example.evil.example", "https://app.example:444", "HTTPS://app.example."} {
		require.Empty(t, origin(listed, http.MethodOptions, from).Get("Access-Control-Allow-Origin"), from)
		require.Empty(t, origin(listed, get, from).Get("Access-Control-Allow-Origin"), from)
		require.Empty(t, origin(Options{}, get, from).Get("Access-Control-Allow-Origin"), from)
	}
	all := origin(Options{Origins: []string{"*"}}, get, "https://evil.example")
	require.Equal(t, "*", all.Get("Access-Control-Allow-Origin"))
	require.Empty(t, all.Get("Access-Control-Allow-Credentials"))

	s, _ := wire(t, Options{})
	refused(t, ask(s, http.MethodOptions, pathHealth, nil, "Origin", "https://app.example", "Access-Control-Request-Method", "GET"), 405, "METHOD_NOT_ALLOWED")
}

func TestCheckOrigins(t *testing.T) {
	for _, ok := range [][]string{nil, {"*"}, {"https://a.example", "http://localhost:3000", "http://[::1]:80"}} {
		require.NoError(t, checkOrigins(ok))
	}
	for _, bad := range []string{"", "null", "a.example", "https://", "https://a.example/", "https://A.example", "https://*.example/x", "ftp://a.example", "https://u@a.example", "https://a.example?x"} {
		require.Error(t, checkOrigins([]string{bad}), bad)
	}
	require.Error(t, checkOrigins([]string{"*", "https://a.example"}))
}

// conns hands out connections of the given addresses.
type conns struct {
	net.Listener
	from []string
}

type fakeConn struct {
	net.Conn
	from   string
	closed bool
}

func (c *conns) Accept() (net.Conn, error) {
	if len(c.from) == 0 {
		return nil, io.EOF
	}
	from := c.from[0]
	c.from = c.from[1:]
	return &fakeConn{from: from}, nil
}

func (c *fakeConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from))
}

func (c *fakeConn) Close() error {
	c.closed = true
	return nil
}

// One address gets so many connections and no more until it closes one; loopback
// is not counted, and the addresses of one IPv6 network are one address.
func TestFairListener(t *testing.T) {
	l := newFairListener(&conns{from: []string{
		"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.2:1", "[::ffff:192.0.2.1]:4", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3",
		"[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1", "[2001:db8:0:1::1]:1", "192.0.2.1:5",
	}}, 2, netip.Addr.IsLoopback)
	var got []string
	var first net.Conn
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		got = append(got, c.RemoteAddr().String())
		if first == nil {
			first = c
		}
		if len(got) == 9 { // before the last of 192.0.2.1
			require.NoError(t, first.Close())
			require.NoError(t, first.Close()) // a second close gives no second place
		}
	}
	require.Equal(t, []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3",
		"[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8:0:1::1]:1", "192.0.2.1:5"}, got)
	require.Equal(t, 2, l.open[netip.MustParseAddr("192.0.2.1")])
}
