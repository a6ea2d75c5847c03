package tenancy

import "context"

type requestIDKey struct{}

// WithRequestID returns a context that carries the id of the request being
// served; audit records made under it name it. The id must already be well formed.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// RequestID returns the request id ctx carries, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
