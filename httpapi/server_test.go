package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"alcove/engine"
	"alcove/tenancy"
)

// safeBuffer is a log that handlers write while a test reads.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func jsonLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// wire is a Server with routes of the test's own and no store behind it.
func wire(t *testing.T, o Options, routes ...route) (*Server, *safeBuffer) {
	t.Helper()
	log := new(safeBuffer)
	o.Logger = jsonLog(log)
	o, err := o.withDefaults()
	require.NoError(t, err)
	s := newServer(o)
	s.router = s.mount(append([]route{s.open(get, pathHealth, s.health), s.open(get, pathReady, s.ready)}, routes...))
	return s, log
}

// handler is a route that anybody may ask.
func handler(method, pattern string, h func(http.ResponseWriter, *http.Request) error) route {
	return route{method, pattern, public, nil, func(w *response, r *http.Request, _ *exchange) error { return h(w, r) }}
}

func ask(h http.Handler, method, path string, body io.Reader, head ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, body)
	r.Host = "localhost"
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Add(head[i], head[i+1])
	}
	return serve(h, r)
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// withExchange is what ServeHTTP does for a request before a handler sees it.
func withExchange(r *http.Request, x *exchange) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
}

// refused checks that an answer is an error in the envelope and returns it.
func refused(t testing.TB, w *httptest.ResponseRecorder, status int, code string) errorBody {
	t.Helper()
	var body errorBody
	require.Equal(t, status, w.Code, w.Body.String())
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	dec := json.NewDecoder(w.Body)
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&body))
	require.Equal(t, code, body.Code, body.Message)
	require.Equal(t, "error", body.Status)
	require.NotEmpty(t, body.Message)
	require.Equal(t, w.Header().Get("X-Request-ID"), body.RequestID)
	require.NotEmpty(t, body.RequestID)
	return body
}

// What the router would answer by itself goes through the table, and nothing
// is ever redirected.
func TestRouting(t *testing.T) {
	s, _ := wire(t, Options{}, handler(get, "/things/:thing", func(w http.ResponseWriter, r *http.Request) error { return bare(w, param(r, "thing")) }))
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{get, "/nothing", 404, "NOT_FOUND"},
		{get, "/", 404, "NOT_FOUND"},
		{get, "/things", 404, "NOT_FOUND"},
		{get, "/things/a/", 404, "NOT_FOUND"},
		{get, "/Things/a", 404, "NOT_FOUND"},
		{get, "//things/a", 404, "NOT_FOUND"},
		{get, "/healthz/", 404, "NOT_FOUND"},
		{post, "/things/a", 405, "METHOD_NOT_ALLOWED"},
		{"OPTIONS", "/things/a", 405, "METHOD_NOT_ALLOWED"},
		{"HEAD", "/things/a", 405, "METHOD_NOT_ALLOWED"},
		{"BREW", "/things/a", 405, "METHOD_NOT_ALLOWED"},
		{get, "/things/a%2Fb", 400, "INVALID_REQUEST"},
		{get, "/things/..", 400, "INVALID_REQUEST"},
		{get, "/things/%2e%2e/healthz", 400, "INVALID_REQUEST"},
		{get, "/things/a%5cb", 400, "INVALID_REQUEST"},
		{get, "/things/a%00", 400, "INVALID_REQUEST"},
	} {
		w := ask(s, c.method, c.path, nil)
		refused(t, w, c.status, c.code)
		require.Empty(t, w.Header().Get("Location"))
		if c.status == 405 {
			require.Equal(t, "GET", w.Header().Get("Allow"))
		}
	}
	w := ask(s, get, "/things/a+b:c@d", nil)
	require.Equal(t, 200, w.Code)
	require.Equal(t, "\"a+b:c@d\"\n", w.Body.String())

	w = ask(s, get, "/healthz", nil)
	require.Equal(t, 200, w.Code)
	refused(t, ask(s, get, "/healthz?x=1", nil), 400, "INVALID_REQUEST")
	r := httptest.NewRequest(get, "/healthz", nil)
	r.Host = "rebound.example"
	w = httptest.NewRecorder()
	s.ServeHTTP(w, r)
	refused(t, w, 421, "INVALID_HOST")
}

// Every answer carries the headers that keep it from being taken for something else.
func TestHeaders(t *testing.T) {
	s, _ := wire(t, Options{})
	for _, path := range []string{"/healthz", "/nothing"} {
		w := ask(s, get, path, nil, "X-Request-ID", "mine-1")
		require.Equal(t, "mine-1", w.Header().Get("X-Request-ID"))
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
	}
}

// A route without a right cannot be registered, and neither can one that would
// hand out more than its permission covers.
func TestMount_RefusesARouteWithoutARight(t *testing.T) {
	s, _ := wire(t, Options{})
	nop := func(*response, *http.Request, *exchange) error { return nil }
	require.Panics(t, func() { s.mount([]route{{get, "/x", "", nil, nop}}) })
	require.Panics(t, func() { s.mount([]route{{get, "/x", "document:reed", nil, nop}}) })
	require.Panics(t, func() { s.mount([]route{{get, "/x", right(tenancy.PermQueryRun), nil, nil}}) })
	require.Panics(t, func() {
		s.writes(post, "/x", tenancy.PermQueryRun, func(http.ResponseWriter, *http.Request, *engine.KB) error { return nil })
	})
	require.Panics(t, func() {
		s.reads(get, "/x", tenancy.PermDocumentDelete, func(http.ResponseWriter, *http.Request, *engine.Reader) error { return nil })
	})
	require.NotPanics(t, func() { s.mount([]route{{get, "/x", right(tenancy.PermQueryRun), nil, nop}}) })
}

// A panic is a 500 with an id to look for and no word of the cause; the server goes on.
func TestPanic(t *testing.T) {
	s, log := wire(t, Options{}, handler(get, "/boom", func(http.ResponseWriter, *http.Request) error { panic("secret cause") }))
	w := ask(s, get, "/boom", nil)
	body := refused(t, w, 500, "INTERNAL_ERROR")
	require.NotContains(t, body.Message, "secret")
	require.Contains(t, log.String(), "secret cause")
	require.Contains(t, log.String(), body.RequestID)
	require.Equal(t, 200, ask(s, get, "/healthz", nil).Code)
	require.Zero(t, s.gate.running())
}

// A panic in the middle of an answer ends the connection: half an answer does
// not look like a whole one.
func TestPanic_InTheMiddle(t *testing.T) {
	s, _ := wire(t, Options{}, handler(get, "/boom", func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = w.Write([]byte("half"))
		panic("boom")
	}))
	srv := httptest.NewServer(s)
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/boom")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
	}
	require.Error(t, err)
}

// At the limit a request is refused at once with a time to come back; probes
// are answered.
func TestInFlightLimit(t *testing.T) {
	inside, let := make(chan struct{}), make(chan struct{})
	s, _ := wire(t, Options{MaxInFlight: 1}, handler(get, "/slow", func(w http.ResponseWriter, _ *http.Request) error {
		close(inside)
		<-let
		return bare(w, "done")
	}))
	first := make(chan *httptest.ResponseRecorder)
	go func() { first <- ask(s, get, "/slow", nil) }()
	<-inside
	w := ask(s, get, "/slow", nil)
	refused(t, w, 503, "CAPACITY_EXHAUSTED")
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	require.Equal(t, 200, ask(s, get, "/readyz", nil).Code)
	close(let)
	require.Equal(t, 200, (<-first).Code)
	require.Zero(t, s.gate.running())
}

// listen runs s on a free port until the test ends or stop is called; ended
// gives what Serve returned.
func listen(t *testing.T, s *Server) (addr string, stop func(), ended <-chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(cancel)
	return ln.Addr().String(), cancel, done
}

// When shutting down begins /readyz says so at once, new requests are refused,
// the running one comes to its end, and then Serve returns and leaves nothing.
func TestServe_Drains(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	inside, let := make(chan struct{}), make(chan struct{})
	s, log := wire(t, Options{}, handler(get, "/slow", func(w http.ResponseWriter, _ *http.Request) error {
		close(inside)
		<-let
		return bare(w, "done")
	}))
	addr, stop, ended := listen(t, s)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	status := func(path string) int {
		resp, err := client.Get("http://" + addr + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.StatusCode
	}
	require.Equal(t, 200, status("/readyz"))
	first := make(chan int)
	go func() { first <- status("/slow") }()
	<-inside
	stop()
	<-gateClosed(s)
	require.Equal(t, 503, status("/readyz"))
	require.Equal(t, 200, status("/healthz"))
	require.Equal(t, 503, status("/slow"))
	close(let)
	require.Equal(t, 200, <-first)
	require.NoError(t, <-ended)
	require.NotContains(t, log.String(), `"ERROR"`, "a refusal while going down is nobody's fault")
	_, err := client.Get("http://" + addr + "/healthz")
	require.Error(t, err)
}

// gateClosed is closed once the gate is.
func gateClosed(s *Server) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		for !s.gate.isClosed() {
			time.Sleep(time.Millisecond) // waiting for Serve to see its context end
		}
		close(c)
	}()
	return c
}

// A request that does not end is cut after ShutdownTimeout, and Serve says so.
func TestServe_CutsWhatDoesNotEnd(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	inside, cut := make(chan struct{}), make(chan error, 1)
	s, _ := wire(t, Options{ShutdownTimeout: time.Millisecond}, handler(get, "/stuck", func(_ http.ResponseWriter, r *http.Request) error {
		close(inside)
		<-r.Context().Done()
		cut <- r.Context().Err()
		return r.Context().Err()
	}))
	addr, stop, ended := listen(t, s)
	go func() {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		if resp, err := client.Get("http://" + addr + "/stuck"); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-inside
	stop()
	require.ErrorContains(t, <-ended, "1 requests had not ended")
	require.ErrorIs(t, <-cut, context.Canceled)
}

// pipes is a listener whose connections wait for nothing but time, so that a test of
// pauses is the same on a slow machine.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	close func()
}

func newPipes() *pipes {
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.done) })
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.close(); return nil }
func (p *pipes) Addr() net.Addr { return &net.IPAddr{} }

// Who left in the middle of an upload does not hold up the end; a body that is whole,
// and one whose bytes keep coming, are not touched by it.
func TestServe_DrainsStuckBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reading, whole, let := make(chan struct{}, 3), make(chan struct{}), make(chan struct{})
		s, _ := wire(t, Options{})
		read := func(then func(*http.Request)) func(http.ResponseWriter, *http.Request) error {
			return func(w http.ResponseWriter, r *http.Request) error {
				reading <- struct{}{}
				b, err := s.readBody(r, 100)
				if err != nil {
					return err
				}
				then(r)
				return errors.Join(r.Context().Err(), bare(w, len(b)))
			}
		}
		s.router = s.mount([]route{
			handler(post, "/read", read(func(*http.Request) {})),
			handler(post, "/work", read(func(*http.Request) { close(whole); <-let })),
		})
		ctx, stop := context.WithCancel(t.Context())
		ln, ended := newPipes(), make(chan error, 1)
		go func() { ended <- s.Serve(ctx, ln) }()
		begin := func(path, body string) net.Conn {
			c, theirs := net.Pipe()
			t.Cleanup(func() { _ = c.Close() })
			ln.conns <- theirs
			_, err := io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"+body)
			require.NoError(t, err)
			<-reading
			return c
		}
		status := func(c net.Conn) int {
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			require.NoError(t, err)
			return resp.StatusCode
		}
		stuck, steady, working := begin("/read", "12345"), begin("/read", "1"), begin("/work", "1234567890")
		<-whole
		start := time.Now()
		stop()
		for range 9 { // longer in all than DrainGrace
			time.Sleep(time.Second)
			_, err := io.WriteString(steady, "x")
			require.NoError(t, err)
		}
		require.Equal(t, 200, status(steady))
		require.Equal(t, 408, status(stuck))
		close(let)
		require.Equal(t, 200, status(working))
		require.NoError(t, <-ended)
		require.Less(t, time.Since(start), 10*time.Second, "of 30 that a body may pause")
	})
}

// talk sends raw bytes and reads one answer.
func talk(t *testing.T, addr, raw string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = io.WriteString(c, raw)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	return resp
}

// A body that does not come is cut by its rate, one that ends early is the
// caller's mistake, and neither reaches a handler as data.
func TestBody_SlowAndShort(t *testing.T) {
	s, _ := wire(t, Options{BodyGrace: 20 * time.Millisecond, MinBodyRate: 1 << 30})
	s.router = s.mount([]route{handler(post, "/read", func(w http.ResponseWriter, r *http.Request) error {
		b, err := s.readBody(r, 100)
		if err != nil {
			return err
		}
		return bare(w, len(b))
	})})
	addr, _, _ := listen(t, s)
	head := "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
	require.Equal(t, 408, talk(t, addr, head+"12345").StatusCode)
	require.Equal(t, 200, talk(t, addr, head+"1234567890").StatusCode)
	require.Equal(t, 413, talk(t, addr, "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n").StatusCode)
	require.Equal(t, 413, talk(t, addr, "POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n80\r\n"+strings.Repeat("x", 128)+"\r\n").StatusCode)
	require.Equal(t, int64(0), s.held.used.Load())

	r := httptest.NewRequest(post, "/read", io.MultiReader(strings.NewReader("123"), errReader{io.ErrUnexpectedEOF}))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	refused(t, w, 400, "INVALID_REQUEST")
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

// All bodies together stay under MaxHeldBytes, and what was held is given back.
func TestBody_Budget(t *testing.T) {
	s, _ := wire(t, Options{MaxHeldBytes: 1000})
	s.router = s.mount([]route{handler(post, "/read", func(w http.ResponseWriter, r *http.Request) error {
		b, err := s.readBody(r, 1<<20)
		if err != nil {
			return err
		}
		return bare(w, len(b))
	})})
	require.Equal(t, "900\n", ask(s, post, "/read", strings.NewReader(strings.Repeat("x", 900))).Body.String())
	w := ask(s, post, "/read", strings.NewReader(strings.Repeat("x", 1100)))
	refused(t, w, 503, "CAPACITY_EXHAUSTED")
	require.Equal(t, "900\n", ask(s, post, "/read", strings.NewReader(strings.Repeat("x", 900))).Body.String())
	require.Zero(t, s.held.used.Load())
}

// The bytes of a body come out as they went in, whatever was announced.
func TestReadAll(t *testing.T) {
	s, _ := wire(t, Options{})
	for _, size := range []int{0, 1, 63 << 10, 64 << 10, 64<<10 + 1, 200_000} {
		for _, hint := range []int64{-1, 0, int64(size), int64(size) / 2} {
			r := httptest.NewRequest(post, "/", nil)
			r = withExchange(r, new(exchange))
			data := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
			got, err := s.readAll(r, bytes.NewReader(data), int64(size), hint)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got), "%d bytes, announced %d", size, hint)
			_, err = s.readAll(r, bytes.NewReader(append(data, 'x')), int64(size), hint)
			require.ErrorIs(t, err, errOverLimit)
		}
	}
}

// The log has one line for a request, by route and without what was asked.
func TestLog(t *testing.T) {
	s, log := wire(t, Options{}, handler(get, "/things/:thing", func(w http.ResponseWriter, r *http.Request) error {
		return fmt.Errorf("inside: %w", engine.ErrNotFound)
	}))
	ask(s, get, "/things/private-name?x=private-text", nil, "Authorization", "Bearer private-token")
	var line map[string]any
	require.NoError(t, json.Unmarshal([]byte(log.String()), &line))
	require.Equal(t, "/things/:thing", line["route"])
	require.Equal(t, 404.0, line["status"])
	require.NotContains(t, log.String(), "private")
}

// What is no proper HTTP never reaches a handler, and the connection is closed.
func TestServe_RefusesWhatIsNoHTTP(t *testing.T) {
	s, log := wire(t, Options{HeaderTimeout: 50 * time.Millisecond})
	addr, _, _ := listen(t, s)
	const line = "POST /healthz HTTP/1.1\r\nHost: localhost\r\n"
	for name, raw := range map[string]string{
		"two lengths":         line + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"a bad length":        line + "Content-Length: +1\r\n\r\na",
		"a blank in a name":   line + "Content-Length : 1\r\n\r\na",
		"two encodings":       line + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
		"an unknown encoding": line + "Transfer-Encoding: zip\r\n\r\n",
		"a NUL in a value":    line + "X: a\x00b\r\n\r\n",
		"two hosts":           line + "Host: evil.example\r\n\r\n",
		"no host":             "GET /healthz HTTP/1.1\r\n\r\n",
		"a huge head":         line + "X: " + strings.Repeat("x", 32<<10) + "\r\n\r\n",
		"no HTTP":             "hello\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			resp := talk(t, addr, raw)
			require.GreaterOrEqual(t, resp.StatusCode, 400)
			require.Less(t, resp.StatusCode, 502)
			require.True(t, resp.Close)
		})
	}
	// A head that does not come to its end.
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: local")
	require.NoError(t, err)
	_, err = io.ReadAll(c) // ends when the server closes
	require.NoError(t, err)
	require.NotContains(t, log.String(), `"msg":"request"`)

	resp := talk(t, addr, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.Equal(t, 400, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("X-Request-ID"))
}
