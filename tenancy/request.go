package tenancy

import (
	"context"
	"sync/atomic"
)

type requestKey struct{}

// request is what is known of the request under which something is done.
type request struct {
	id       string
	from     string // the caller's network address
	trace    string // W3C traceparent to hand on, or ""
	recorded atomic.Bool
}

// WithRequest returns a context that carries the id of the request being served and the
// network address it came from; audit records made under it name both. The id must
// already be well formed. from may be empty.
func WithRequest(ctx context.Context, id, from string) context.Context {
	return context.WithValue(ctx, requestKey{}, &request{id: id, from: from})
}

// WithRequestID is WithRequest without an address.
func WithRequestID(ctx context.Context, id string) context.Context { return WithRequest(ctx, id, "") }

// WithTraceParent returns a context that carries a W3C traceparent, which calls of model
// servers made under it hand on. It must already be well formed. ctx must be of WithRequest.
func WithTraceParent(ctx context.Context, trace string) context.Context {
	r := requestOf(ctx)
	return context.WithValue(ctx, requestKey{}, &request{id: r.id, from: r.from, trace: trace})
}

// TraceParent returns the traceparent ctx carries, or "".
func TraceParent(ctx context.Context) string { return requestOf(ctx).trace }

// RequestID returns the request id ctx carries, or "".
func RequestID(ctx context.Context) string { return requestOf(ctx).id }

// Recorded reports whether an audit record was appended under ctx. A record whose
// transaction was refused counts too: the call then failed.
func Recorded(ctx context.Context) bool { return requestOf(ctx).recorded.Load() }

var noRequest request

func requestOf(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &noRequest
}
