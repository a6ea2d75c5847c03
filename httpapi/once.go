package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"alcove/tenancy"
)

// onceHeader marks a call that must have its effect once, however often it is sent
// (draft-ietf-httpapi-idempotency-key-header).
const onceHeader = "Idempotency-Key"

// once serves a POST, and one with an Idempotency-Key at most once: sent again with
// the same body within an hour it is answered as the first time, with
// Idempotency-Replayed: true. The caller's rights have been asked for. A call
// that was refused had no effect and is forgotten. One with a key is not ended by
// its caller's leaving: what became of it is what the next one is told.
//
// Uploads take no part in it: a document sent again is the same document.
func (s *Server) once(w *response, r *http.Request, x *exchange, who tenancy.Principal, serve func(*response, *http.Request) error) error {
	keys := r.Header.Values(onceHeader)
	if r.Method != post || len(keys) == 0 || x.route == pathBackup { // which is too large to be kept, and changes nothing
		return serve(w, r)
	}
	if len(keys) > 1 {
		return badField(onceHeader, "is given twice")
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "multipart/form-data" || kind == sealedMedia {
		return serve(w, r)
	}
	body, err := s.readBody(r, s.o.MaxBodyBytes)
	if err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context())
	call, before, err := s.o.Store.Once(ctx, who, tenancy.OnceCall{
		Tenant: x.tenant, Method: r.Method, Path: x.place(r), Key: keys[0], Body: sha256.Sum256(body),
	})
	if err != nil {
		return err
	}
	if before != nil {
		w.Header().Set("Idempotency-Replayed", "true")
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(before.Body)))
		w.WriteHeader(before.Status)
		if _, err := w.Write(before.Body); err != nil {
			return errors.Join(errGone, err)
		}
		return nil
	}

	ended := false
	defer func() {
		if !ended { // a panic: whether anything was done is not known
			call.Abandon()
		}
	}()
	r = r.WithContext(ctx)
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	w.copy = new(bytes.Buffer)
	err = serve(w, r)
	ended = true
	switch a, _ := answerTo(err); {
	case err == nil || errors.Is(err, errGone): // done, whether or not its caller took the answer
		if kept := call.Done(ctx, tenancy.OnceAnswer{Status: w.status, Body: w.copy.Bytes()}); kept != nil {
			s.o.Logger.Error("the answer of a call with an Idempotency-Key is not kept", "request_id", x.id, "error", kept.Error())
		}
	case a.status < 500 || a.status == http.StatusServiceUnavailable || a.status == http.StatusInsufficientStorage:
		return errors.Join(err, call.Forget(ctx))
	default:
		call.Abandon()
	}
	return err
}

// place is the path and the query of a request, by what they name.
func (x *exchange) place(r *http.Request) string {
	var b strings.Builder
	b.WriteString(x.route)
	for _, p := range x.params {
		b.WriteByte(' ') // in no pattern and in no parameter's name
		b.WriteString(strconv.Quote(p.Value))
	}
	b.WriteByte('?')
	b.WriteString(r.URL.RawQuery)
	return b.String()
}
