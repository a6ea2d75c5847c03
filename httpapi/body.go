package httpapi

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// errOverLimit is readAll's: its caller knows what to call the thing.
var errOverLimit = errors.New("over the limit")

// errMemory says that too many bytes of request bodies are held at once.
var errMemory = errors.New("too many request bodies are being read")

// budget bounds the bytes of request bodies that all requests together hold.
// A request that would go over it is refused, never made to wait: it holds a
// connection and part of a body already.
type budget struct {
	max  int64
	used atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.max {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.used.Add(-n) }

// steadyBody is a request body that must come in at least at a given rate. A
// flat time limit would either cut honest slow uploads or let a caller hold a
// connection for as long as the biggest upload may take.
type steadyBody struct {
	io.ReadCloser
	rc    *http.ResponseController
	start time.Time
	grace time.Duration
	rate  int64 // bytes a second

	mu    sync.Mutex // the server's end hastens a body that is being read
	read  int64
	haste time.Duration // not 0: how long the next bytes may take
	whole bool
}

// arm sets the deadline for the bytes still to come.
func (b *steadyBody) arm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.whole {
		return
	}
	end := b.start.Add(b.grace + time.Duration(float64(b.read)/float64(b.rate)*float64(time.Second)))
	if b.haste > 0 {
		if soon := time.Now().Add(b.haste); soon.Before(end) {
			end = soon
		}
	}
	// An error means that the transport has no deadlines (a recorder in a test).
	_ = b.rc.SetReadDeadline(end)
}

// hasten lets no bytes take longer than d from now on, those that are waited for
// included: who went away in the middle of an upload must not hold up the
// server's end for as long as an honest slow upload may pause.
func (b *steadyBody) hasten(d time.Duration) {
	b.mu.Lock()
	b.haste = d
	b.mu.Unlock()
	b.arm()
}

// got notes what was read.
func (b *steadyBody) got(n int, whole bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read += int64(n)
	if whole {
		// The whole body is here. From now on the server reads the connection
		// only to learn that the caller left; a deadline would look like that.
		b.whole = true
		_ = b.rc.SetReadDeadline(time.Time{})
	}
}

func (b *steadyBody) Read(p []byte) (int, error) {
	b.arm()
	n, err := b.ReadCloser.Read(p)
	b.got(n, errors.Is(err, io.EOF))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errBodySlow
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errBodyCut
	}
	return n, err
}

// readBody reads a whole body of at most limit bytes. The bytes count against
// the server's budget until the request ends.
func (s *Server) readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, tooLarge("body", limit)
	}
	data, err := s.readAll(r, r.Body, limit, r.ContentLength)
	if errors.Is(err, errOverLimit) {
		return nil, tooLarge("body", limit)
	}
	return data, err
}

// readAll reads src to its end; more than limit bytes are errOverLimit. hint is its length where
// known, else negative. Memory grows with what has come in, not with what was
// announced.
func (s *Server) readAll(r *http.Request, src io.Reader, limit, hint int64) ([]byte, error) {
	const first = 64 << 10
	x := exchangeOf(r.Context())
	size := int64(first)
	if hint >= 0 && hint < size {
		size = hint + 1 // one more, so that the end is met without growing
	}
	if !x.hold(s, size) {
		return nil, errMemory
	}
	buf := make([]byte, 0, size)
	for {
		n, err := src.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, errOverLimit
		}
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) < cap(buf) {
			continue
		}
		next := min(2*int64(cap(buf)), limit+1)
		if int64(cap(buf)) <= hint && hint < next {
			next = hint + 1
		}
		// The old buffer is garbage at once; only the growth is counted.
		if !x.hold(s, next-int64(cap(buf))) {
			return nil, errMemory
		}
		grown := make([]byte, len(buf), next)
		copy(grown, buf)
		buf = grown
	}
}
