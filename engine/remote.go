package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"alcove/tenancy"
)

// RemoteOptions are what the adapters of model servers have in common. Zero
// means the default given beside the field.
type RemoteOptions struct {
	// Idle ends a call when the server has sent nothing for so long: before the
	// first byte (a model may have to be loaded and a prompt read) and between
	// two. There is no limit on the time of a whole reply. 5 minutes.
	Idle time.Duration
	// MaxAnswer is how many bytes an answer may have; one that goes on is cut off. 256 MiB.
	MaxAnswer int64
	// Attempts bounds how often a call is sent when the server is busy (429,
	// 503) or refuses the connection. Other faults are not tried again: the
	// server may have begun. 3.
	Attempts int
	// Base is the first wait, doubled each time unless the server names one in
	// Retry-After; a wait over MaxWait ends the call instead. 500 ms and 30 s.
	Base, MaxWait time.Duration
	// Transport sends; http.DefaultTransport with more connections kept to one server.
	Transport http.RoundTripper
	// Wait waits; a field so that a test does not have to. nil waits for real.
	Wait func(ctx context.Context, d time.Duration) error
}

func (o RemoteOptions) withDefaults() RemoteOptions {
	if o.Idle == 0 {
		o.Idle = 5 * time.Minute
	}
	if o.MaxAnswer == 0 {
		o.MaxAnswer = 256 << 20
	}
	if o.Attempts == 0 {
		o.Attempts = 3
	}
	if o.Base == 0 {
		o.Base = 500 * time.Millisecond
	}
	if o.MaxWait == 0 {
		o.MaxWait = 30 * time.Second
	}
	if o.Transport == nil {
		o.Transport = defaultTransport
	}
	if o.Wait == nil {
		o.Wait = waitFor
	}
	return o
}

// defaultTransport keeps as many idle connections to a server as calls may be under way
// at once: the two that Go keeps make half of the calls dial.
var defaultTransport = func() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, idleConnections
	return t
}()

// idleConnections bounds the idle connections to one server.
const idleConnections = 32

func waitFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Remote is one model server seen by an adapter: the HTTP client that waits and
// tries again, and the words for its faults. Safe for concurrent use.
type Remote struct {
	o       RemoteOptions
	kind    string
	base    *url.URL
	name    string // kind and host, without credentials
	secrets []string
}

// NewRemote describes the server at an http or https address. Credentials in the
// address and the secrets never occur in an error of the Remote.
func NewRemote(kind, address string, o RemoteOptions, secrets ...string) (*Remote, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("%s: the URL must be http://host:port or https://host, with the path where the server has one", kind) // not quoted: it may hold a password
	}
	r := &Remote{o: o.withDefaults(), kind: kind, base: base, name: kind + " at " + base.Host}
	if base.User != nil {
		if p, ok := base.User.Password(); ok {
			secrets = append(secrets, p)
		}
		secrets = append(secrets, base.User.Username())
	}
	for _, s := range secrets {
		if len(s) >= 4 { // shorter ones are in every other word
			r.secrets = append(r.secrets, s)
		}
	}
	return r, nil
}

// Base is the address of the server.
func (r *Remote) Base() *url.URL { return r.base }

// Client returns an HTTP client over the Remote. It follows no redirect: a
// prompt and a key are sent to the host that was configured and to no other.
func (r *Remote) Client() *http.Client {
	return &http.Client{
		Transport:     r,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

var (
	errIdle = errors.New("the server sent nothing in time")
	errLong = errors.New("the server sent too much")
)

// Secret is tenancy.Secret, for the keys of model servers.
type Secret = tenancy.Secret

// RoundTrip sends a request as RemoteOptions say.
func (r *Remote) RoundTrip(req *http.Request) (*http.Response, error) {
	if trace := tenancy.TraceParent(req.Context()); trace != "" {
		req = req.Clone(req.Context()) // the caller's is not ours to change
		req.Header.Set("Traceparent", trace)
	}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = r.o.Base, r.o.MaxWait
	wait.Multiplier, wait.RandomizationFactor = 2, 0.2
	wait.Reset()
	for attempt := 1; ; attempt++ {
		if attempt > 1 && req.Body != nil {
			if req.GetBody == nil {
				return nil, errors.New("a request without a second copy of its body was to be sent again")
			}
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			req = req.Clone(req.Context())
			req.Body = body
		}
		resp, err := r.once(req)
		busy := err == nil && (resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable)
		if attempt == r.o.Attempts || !busy && !errors.Is(err, syscall.ECONNREFUSED) {
			return resp, err
		}
		pause := wait.NextBackOff()
		if busy {
			if d, ok := retryAfter(resp.Header.Get("Retry-After")); ok {
				pause = d
			}
			if pause > r.o.MaxWait {
				return resp, nil
			}
			_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
			_ = resp.Body.Close()
		}
		if err := r.o.Wait(req.Context(), pause); err != nil {
			return nil, err
		}
	}
}

// retryAfter reads seconds; the form with a date depends on two clocks and is
// left to the back-off.
func retryAfter(s string) (time.Duration, bool) {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 0 || n > math.MaxInt32 {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}

// once sends a request and watches that its answer keeps coming, and ends.
func (r *Remote) once(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	idle := time.AfterFunc(r.o.Idle, func() { cancel(errIdle) })
	resp, err := r.o.Transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		idle.Stop()
		if cause := context.Cause(ctx); errors.Is(cause, errIdle) {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = &watchedBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, idle: idle, after: r.o.Idle, left: r.o.MaxAnswer}
	return resp, nil
}

// watchedBody cancels its request when nothing was read for too long, or too much.
type watchedBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	idle   *time.Timer
	after  time.Duration
	left   int64 // bytes that may be read
	once   sync.Once
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.idle.Reset(b.after)
	n, err := b.ReadCloser.Read(p)
	b.idle.Stop() // what the reader does in between is not the server's time
	if err != nil && err != io.EOF && errors.Is(context.Cause(b.ctx), errIdle) {
		err = errIdle
	}
	if b.left -= int64(n); b.left < 0 {
		b.cancel(errLong)
		return n, errLong
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.once.Do(func() {
		b.idle.Stop()
		b.cancel(nil)
	})
	return b.ReadCloser.Close()
}

// maxErrorText bounds what is quoted of a server's message.
const maxErrorText = 300

// StatusError returns the error for an answer of an HTTP status with a message:
// ErrModelMissing for 404, ErrPromptTooLong for 413 and for a 400 that speaks of
// the context, ErrModelDown for 401, 403, 408, 429 and 5xx, and ErrModelRefused
// otherwise: the request itself was wrong.
func (r *Remote) StatusError(status int, message string) error {
	text := r.clean(message)
	if text == "" {
		text = http.StatusText(status)
	}
	switch {
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: %s: %s", ErrModelMissing, r.name, text)
	case status == http.StatusRequestEntityTooLarge, status == http.StatusBadRequest && speaksOfContext(message):
		return fmt.Errorf("%w: %s: %s", ErrPromptTooLong, r.name, text)
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusRequestTimeout,
		status == http.StatusTooManyRequests, status >= 500:
		return fmt.Errorf("%w: %s: status %d: %s", ErrModelDown, r.name, status, text)
	}
	return fmt.Errorf("%w: %s: status %d: %s", ErrModelRefused, r.name, status, text)
}

func speaksOfContext(message string) bool {
	m := strings.ToLower(message)
	return strings.Contains(m, "context length") || strings.Contains(m, "context_length") ||
		strings.Contains(m, "context window") || strings.Contains(m, "maximum context") || strings.Contains(m, "too many tokens")
}

// Error returns the error for a call that ended without a status: the context's
// own error when that ended it, ErrModelDown otherwise.
func (r *Remote) Error(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", r.name, ctx.Err())
	}
	if speaksOfContext(err.Error()) {
		return fmt.Errorf("%w: %s: %s", ErrPromptTooLong, r.name, r.clean(err.Error()))
	}
	var u *url.Error
	if errors.As(err, &u) { // it quotes the address
		err = u.Err
	}
	text := err.Error()
	var dns *net.DNSError
	switch {
	case errors.Is(err, errIdle):
		text = fmt.Sprintf("nothing came for %v", r.o.Idle)
	case errors.Is(err, errLong):
		text = fmt.Sprintf("an answer of more than %d bytes", r.o.MaxAnswer)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
		text = "the connection broke: " + text
	case errors.As(err, &dns):
		text = "no such host"
	}
	return fmt.Errorf("%w: %s: %s", ErrModelDown, r.name, r.clean(text))
}

// Unfinished is the error for a stream that ended without the server's end mark.
func (r *Remote) Unfinished() error {
	return fmt.Errorf("%w: %s: the reply ended before the server said it was done", ErrModelDown, r.name)
}

// clean makes a server's words fit for a log line: one line, bounded, and
// without the secrets, which servers like to quote.
func (r *Remote) clean(s string) string {
	for _, secret := range r.secrets {
		s = strings.ReplaceAll(s, secret, "***")
	}
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	return shorten(s, maxErrorText)
}

// messageOverhead is about what a chat template adds to a message, in tokens.
const messageOverhead = 8

// CheckPrompt returns ErrPromptTooLong when a request with its reply is sure not
// to fit a window of so many tokens, by o200k's count; 0 checks nothing. Another
// vocabulary may need more tokens: the server has the last word.
func CheckPrompt(q ChatRequest, window int) error {
	if window <= 0 {
		return nil
	}
	n := countTokens(q.System) + messageOverhead
	for _, m := range q.Messages {
		n += countTokens(m.Content) + messageOverhead
	}
	if n >= window {
		return fmt.Errorf("%w: about %d tokens for a window of %d", ErrPromptTooLong, n, window)
	}
	return nil
}

// EmbedderOptions are what an adapter of embeddings brings.
type EmbedderOptions struct {
	Model      string // as the server knows it
	Batch      int    // DefaultEmbedBatch texts a request
	Dimensions int    // that Request asks for; 0: the model's own
	// Request sends some texts and returns their vectors in order, and the tokens that
	// the server says it read, 0 if it does not tell. Its errors are in the Remote's words.
	Request func(ctx context.Context, texts []string) (vectors [][]float32, tokens int, err error)
}

// Embedder returns an Embedder over the server.
func (r *Remote) Embedder(o EmbedderOptions) Embedder {
	if o.Batch <= 0 {
		o.Batch = DefaultEmbedBatch
	}
	e := &remoteEmbedder{r: r, o: o}
	e.most.Store(int64(o.Batch))
	return e
}

type remoteEmbedder struct {
	r *Remote
	o EmbedderOptions
	// most is how many texts go into a request: those of the options, or fewer where
	// the server has refused so many and taken both halves.
	most atomic.Int64
}

// Model names the kind of server, the model and a length that was asked for.
func (e *remoteEmbedder) Model() string {
	if e.o.Dimensions > 0 {
		return fmt.Sprintf("%s/%s@%d", e.r.kind, e.o.Model, e.o.Dimensions)
	}
	return e.r.kind + "/" + e.o.Model
}

// Pure reports false: vectors come from a server.
func (e *remoteEmbedder) Pure() bool { return false }

// DefaultEmbedBatch is how many texts an embedding call has at most where nobody says,
// and maxEmbedBytes bounds what it sends: some fifty chunks of the usual size, or all of
// so many profiles, which are short.
const (
	DefaultEmbedBatch = 256
	maxEmbedBytes     = 256 << 10
)

// Embed sends the texts in batches. Empty ones are refused: some servers leave
// them out of their answer so that the vectors shift.
func (e *remoteEmbedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	for i, s := range texts {
		if strings.TrimSpace(s) == "" {
			return nil, fmt.Errorf("%w: %s: text %d of %d to embed is empty", ErrModelRefused, e.r.name, i, len(texts))
		}
	}
	out := make([][]float32, 0, len(texts))
	dim := e.o.Dimensions
	for len(texts) > 0 {
		n := e.batch(texts)
		v, err := e.send(ctx, texts[:n])
		if err == nil {
			err = checkVectors(e.r.name, v, n, dim)
		}
		if err != nil {
			return nil, err
		}
		dim = len(v[0])
		out = append(out, v...)
		texts = texts[n:]
	}
	return out, nil
}

// batch is how many of some texts go into the next request, one at the least.
func (e *remoteEmbedder) batch(texts []string) int {
	n, size := 1, len(texts[0])
	for most := min(len(texts), int(e.most.Load())); n < most; n++ {
		if size += len(texts[n]); size > maxEmbedBytes {
			break
		}
	}
	return n
}

// send makes one request, and where the server refuses it two of its halves, as often as
// need be: some servers take 32 texts, some 10. What it takes in halves alone was too much
// at once, and no more than these is sent from then on. A text that it refuses by itself
// is the error, at most twice as many requests as texts later.
func (e *remoteEmbedder) send(ctx context.Context, texts []string) ([][]float32, error) {
	v, tokens, err := e.o.Request(ctx, texts)
	if err == nil {
		spend(ctx, tokens)
		return v, nil
	}
	n := len(texts) / 2
	if n == 0 || !errors.Is(err, ErrModelRefused) && !errors.Is(err, ErrPromptTooLong) {
		return nil, err
	}
	left, err := e.send(ctx, texts[:n])
	if err != nil {
		return nil, err
	}
	right, err := e.send(ctx, texts[n:])
	if err != nil {
		return nil, err
	}
	if taken := int64(len(texts) - n); taken < e.most.Load() { // who is overtaken here asks once more
		e.most.Store(taken)
	}
	return append(left, right...), nil
}
