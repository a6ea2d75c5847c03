package httpapi

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What two readers of one byte stream could cut in two ways is refused, or answered
// once and the connection closed: the request hidden behind it is never served. (A
// length on a folded line is not here: net/http unfolds it, as RFC 9112, 5.2 lets it.)
func TestServe_SmugglesNothing(t *testing.T) {
	served := make(chan string, 1)
	s, _ := wire(t, Options{},
		handler(post, "/read", func(w http.ResponseWriter, r *http.Request) error {
			_, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				return errBodyCut
			}
			return bare(w, "read")
		}),
		handler(get, "/hidden", func(w http.ResponseWriter, _ *http.Request) error {
			served <- "hidden"
			return bare(w, "hidden")
		}))
	addr, _, _ := listen(t, s)
	const (
		line   = "POST /read HTTP/1.1\r\nHost: localhost\r\n"
		hidden = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
	)
	for name, raw := range map[string]string{
		"length and chunks":           line + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunks and length":           line + "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
		"length, long, and chunks":    line + "Content-Length: 4000\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunked twice":               line + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunked and identity":        line + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"a tab before chunked":        line + "Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n",
		"a blank in a name":           line + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"a folded header":             line + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"two lengths":                 line + "Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
		"two lengths on a line":       line + "Content-Length: 0, 44\r\n\r\n",
		"a length in hex":             line + "Content-Length: 0x0\r\n\r\n",
		"a signed length":             line + "Content-Length: +0\r\n\r\n",
		"a length below nothing":      line + "Content-Length: -1\r\n\r\n",
		"a chunk of sixteen digits":   line + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n",
		"a chunk without a size":      line + "Transfer-Encoding: chunked\r\n\r\n\r\n\r\n",
		"a chunk of no hex":           line + "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
		"a signed chunk":              line + "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n",
		"a bare LF after a size":      line + "Transfer-Encoding: chunked\r\n\r\n0\n\r\n",
		"a bare LF in an extension":   line + "Transfer-Encoding: chunked\r\n\r\n0;a\nb\r\n\r\n",
		"a bare CR in a header":       line + "X: a\rTransfer-Encoding: chunked\r\n\r\n",
		"a NUL in a name":             line + "Content\x00Length: 0\r\n\r\n",
		"a NUL in a value":            line + "X: a\x00\r\n\r\n",
		"a body longer than it says":  line + "Content-Length: 1\r\nConnection: close\r\n\r\nab",
		"an upgrade to HTTP/2":        line + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 0\r\nExpect: nothing\r\n\r\n",
		"HTTP/0.9 behind a method":    "POST /read\r\n\r\n",
		"a version that is not there": "POST /read HTTP/1.9\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer c.Close()
			require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
			_, err = io.WriteString(c, raw+hidden)
			require.NoError(t, err)
			all, _ := io.ReadAll(c) // a reset is an end as good as any
			require.LessOrEqual(t, strings.Count(string(all), "HTTP/1.1 "), 1, "%s", all)
			select {
			case got := <-served:
				t.Fatalf("the %s request was served behind %q", got, raw)
			default:
			}
		})
	}
}
