package httpapi

import (
	"bytes"
	"net/http"
	"time"
)

// response is the ResponseWriter of every handler. It remembers what was
// answered for the log and gives each write its own deadline, so that a caller
// who stops reading is cut off while a long stream that is read goes on.
type response struct {
	http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
	status  int              // 0 until the head is written
	before  func(status int) // called once, before the head of an answer is written
	bytes   int64
	copy    *bytes.Buffer // not nil: also gets what is written
}

// maxWriteBytes is what must be taken by the caller within one deadline.
const maxWriteBytes = 256 << 10

// Unwrap lets http.ResponseController reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader remembers the status. A second call is ignored.
func (w *response) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	if w.before != nil {
		w.before(status)
	}
	w.arm()
	w.ResponseWriter.WriteHeader(status)
}

// Write writes p in pieces of at most maxWriteBytes, each with its deadline.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	written := 0
	for {
		piece := p[written:min(len(p), written+maxWriteBytes)]
		w.arm()
		if w.copy != nil {
			w.copy.Write(piece)
		}
		n, err := w.ResponseWriter.Write(piece)
		written += n
		w.bytes += int64(n)
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// arm sets the deadline for the next write. It also covers the flush of the
// server's own buffer when the handler has returned.
func (w *response) arm() { _ = w.rc.SetWriteDeadline(time.Now().Add(w.timeout)) }

// Flush sends what is buffered to the caller.
func (w *response) Flush() error {
	w.arm()
	return w.rc.Flush()
}
