package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"alcove/engine"
	"alcove/tenancy"
)

// The keys of log lines, those of ADR 007 where it has one. A line never holds a
// credential, the text of a document or, unless LogQueries asks for it at debug level,
// the text of a question: that is its length and a keyed hash.
const (
	keyRequest = "request_id"
	keyUser    = "user_id"
	keyTenant  = "tenant_id"
	keyKB      = "kb_id"
	keyMode    = "mode"
	keyLatency = "latency_ms"
	keyResults = "result_count"
)

// question is what a log line and an audit record say of a question.
type question struct {
	mode    engine.Mode
	length  int    // bytes
	hash    string // see tenancy.Store.Pseudonym
	results int    // references of the answer
	cached  bool
	partial bool // degraded
}

// asks notes the question of a request for its log line, its audit record and its metric.
func (s *Server) asks(r *http.Request, q engine.Query) *question {
	asked := &question{mode: q.Mode, length: len(q.Query), hash: s.o.Store.Pseudonym(q.Query)}
	x := exchangeOf(r.Context())
	x.asked = asked
	if s.o.LogQueries {
		s.o.Logger.DebugContext(r.Context(), "question", keyRequest, x.id, "query", q.Query)
	}
	return asked
}

func (q *question) answered(results int, m engine.AnswerMetadata) {
	q.results, q.mode, q.cached, q.partial = results, m.Mode, m.Cached, m.DegradedReason != ""
}

// heard takes from an event of a streamed answer what answered takes from a whole one.
func (q *question) heard(e engine.Event) {
	if len(e.References) > 0 {
		q.results = len(e.References)
	}
	if e.Metadata != nil {
		q.answered(q.results, *e.Metadata)
	}
}

// ended is called once for every request, when its answer is out: it counts it, records
// what only an ended request tells, and logs it in one line.
func (s *Server) ended(w *response, r *http.Request, x *exchange, took time.Duration) {
	status, code := outcome(w, x)
	s.metrics.count(r, x, status, took)
	s.recordEnd(r, x, status, code, took)
	s.log(w, r, x, took)
}

// outcome is the status and the code of an ended request; a caller who left before the
// answer has a status of its own.
func outcome(w *response, x *exchange) (status int, code string) {
	if x.err == nil {
		return w.status, ""
	}
	a, _ := answerTo(x.err)
	if a.status == statusClientGone {
		return a.status, a.code
	}
	return w.status, a.code
}

// log writes the one line of a request: what was asked by route, not by path
// (which holds names), who asked, how it ended.
func (s *Server) log(w *response, r *http.Request, x *exchange, took time.Duration) {
	status, code := outcome(w, x)
	level, event := slog.LevelInfo, "request"
	attrs := []slog.Attr{
		slog.String(keyRequest, x.id), slog.String("method", shorten(r.Method)), slog.String("route", x.route),
	}
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, shorten(value)))
		}
	}
	text(keyUser, x.principal)
	text(keyTenant, x.tenant)
	text(keyKB, x.kb)
	text("trace_id", x.trace)
	if q := x.asked; q != nil {
		event = "query_executed"
		attrs = append(attrs, slog.String(keyMode, shorten(string(q.mode))), slog.Int("query_len", q.length), slog.String("query_hash", q.hash),
			slog.Int(keyResults, q.results))
		if q.cached {
			attrs = append(attrs, slog.Bool("cached", true))
		}
		if q.partial {
			attrs = append(attrs, slog.Bool("degraded", true))
		}
	}
	if x.err != nil {
		attrs = append(attrs, slog.String("code", code))
		// A caller's mistakes may quote the caller's text; faults of ours must
		// be found.
		if a, _ := answerTo(x.err); a.status >= 500 {
			if level = slog.LevelError; code == "SHUTTING_DOWN" {
				level = slog.LevelInfo // as many as callers try: no fault, and nothing to do about it
			}
			attrs = append(attrs, slog.String("error", x.err.Error()))
		}
	}
	attrs = append(attrs, slog.Int("status", status), slog.Int64("bytes", w.bytes), slog.Float64(keyLatency, float64(took.Microseconds())/1000))
	s.o.Logger.LogAttrs(r.Context(), level, event, attrs...)
}

// traced takes over the caller's W3C traceparent if that is asked for and it is well
// formed and there is one: its trace id goes into the log line, and the whole to model
// servers that are called for this request. We add no span of our own.
func (s *Server) traced(ctx context.Context, x *exchange, h http.Header) context.Context {
	if !s.o.TraceParent || len(h.Values("Traceparent")) != 1 {
		return ctx
	}
	parent := h.Get("Traceparent")
	if x.trace = traceID(parent); x.trace == "" {
		return ctx
	}
	return tenancy.WithTraceParent(ctx, parent)
}

// traceID is the trace id of a traceparent of version 00 (W3C Trace Context, 3.2.2), or
// "" if it is not one.
func traceID(parent string) string {
	parts := strings.Split(parent, "-")
	if len(parts) != 4 || parts[0] != "00" || !lowerHex(parts[1], 32) || !lowerHex(parts[2], 16) || !lowerHex(parts[3], 2) ||
		strings.Trim(parts[1], "0") == "" || strings.Trim(parts[2], "0") == "" {
		return ""
	}
	return parts[1]
}

func lowerHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}
