package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"alcove/tenancy"
)

// loggerTo is the one logger: lines of LOG_FORMAT, each with the id of the request it was
// written under, and without any secret of the configuration, in whatever it stands. Secrets
// are kept out where they are used; this is for what others send back, as a model
// server that quotes the key it was sent.
func (v *values) loggerTo(w io.Writer, level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: v.masked()}
	if v.oneOf("LOG_FORMAT", "json", "text") == "text" {
		return slog.New(requestIDs{slog.NewTextHandler(w, o)})
	}
	return slog.New(requestIDs{slog.NewJSONHandler(w, o)})
}

// leastMasked is the shortest secret that is looked for: a shorter one is a word that
// stands in many places.
const leastMasked = 8

// masked puts *** for every secret setting that is found in a value of a line.
func (v *values) masked() func([]string, slog.Attr) slog.Attr {
	var pairs []string
	for _, s := range settings {
		if val := v.str(s.name); s.secret && len(val) >= leastMasked {
			pairs = append(pairs, val, "***")
		}
	}
	if len(pairs) == 0 {
		return nil
	}
	mask := strings.NewReplacer(pairs...)
	return func(_ []string, a slog.Attr) slog.Attr {
		switch a.Value.Kind() {
		case slog.KindString:
			if text, clean := a.Value.String(), mask.Replace(a.Value.String()); clean != text {
				a.Value = slog.StringValue(clean)
			}
		case slog.KindAny:
			if text := fmt.Sprint(a.Value.Any()); mask.Replace(text) != text {
				a.Value = slog.StringValue(mask.Replace(text))
			}
		}
		return a
	}
}

// requestIDs adds the request id of the context to lines that do not name one.
type requestIDs struct{ slog.Handler }

// Handle adds the id.
func (h requestIDs) Handle(ctx context.Context, r slog.Record) error {
	if id := tenancy.RequestID(ctx); id != "" {
		named := false
		r.Attrs(func(a slog.Attr) bool {
			named = a.Key == "request_id"
			return !named
		})
		if !named {
			r.AddAttrs(slog.String("request_id", id))
		}
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the wrapping.
func (h requestIDs) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestIDs{h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the wrapping.
func (h requestIDs) WithGroup(name string) slog.Handler { return requestIDs{h.Handler.WithGroup(name)} }
