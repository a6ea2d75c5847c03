package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"alcove/engine"
	"alcove/tenancy"
)

var (
	// errNoRoute marks a path or a feature that this server does not have.
	errNoRoute = errors.New("no such route")
	// errMethod marks a method that the path does not take.
	errMethod = errors.New("the path does not take this method")
	// errBusy says that as many requests are running as may.
	errBusy = errors.New("too many requests are running")
	// errDraining says that the server is going down.
	errDraining = errors.New("the server is shutting down")
	// errInTheClear marks a credential that was sent without TLS where TLS is served.
	errInTheClear = errors.New("a credential was sent in the clear")
	// errWrongPassword marks a name and a password that do not let in, for whatever reason.
	errWrongPassword = errors.New("the name or the password is wrong")
	// errPanic marks a fault of ours.
	errPanic = errors.New("panic")
	// errGone says that the caller did not take the answer: it left, or it
	// stopped reading.
	errGone = errors.New("the caller did not take the answer")
	// errCutShort marks an answer of no known length that was begun and cannot be
	// ended: its connection is cut.
	errCutShort = errors.New("the answer was cut short")
)

// answer is how one class of error looks from outside.
type answer struct {
	is      error
	status  int
	code    string
	message string // "": the error's own text, which is then written for callers
	retry   int    // seconds of Retry-After, 0 for none
}

// statusClientGone is what the log says of a request whose caller left before
// the answer (nginx's number); nobody sees it.
const statusClientGone = 499

// answers is the one table from an error to what a caller sees. The first line
// that matches counts, so the narrower class stands first. What no line
// matches is the last one, fallback. Codes are those of ADR 004 where it has one.
var answers = []answer{
	// The caller.
	{errWrongPassword, 401, "UNAUTHORIZED", "The name or the password is wrong, or the account may not sign in.", 0},
	{tenancy.ErrUnauthenticated, 401, "UNAUTHORIZED", "A valid token or API key is needed.", 0},
	{tenancy.ErrTooManyTries, 429, "RATE_LIMITED", "", 1},
	{tenancy.ErrBusy, 503, "CAPACITY_EXHAUSTED", "Too many are signing in at once.", 1},
	{tenancy.ErrTenantSuspended, 403, "TENANT_SUSPENDED", "This tenant is suspended.", 0},
	{tenancy.ErrDenied, 403, "FORBIDDEN", "This credential may not do that here.", 0},
	{errInTheClear, 403, "TLS_REQUIRED", "This address only redirects to TLS. The credential was sent in the clear: revoke it, and use https.", 0},
	{errHost, 421, "INVALID_HOST", "This server does not answer under that host name; see ALLOWED_HOSTS.", 0},

	// The place.
	{errPath, 400, "INVALID_REQUEST", "The path must be valid UTF-8 and hold no encoded slash, backslash, dot segment or control character.", 0},
	{errNoRoute, 404, "NOT_FOUND", "There is nothing at this path.", 0},
	{errMethod, 405, "METHOD_NOT_ALLOWED", "This path does not take this method; Allow lists those it takes.", 0},
	{tenancy.ErrNoTenant, 404, "INVALID_TENANT", "There is no such tenant.", 0},
	{tenancy.ErrNoKB, 404, "INVALID_KB", "There is no such knowledge base in this tenant.", 0},
	{tenancy.ErrKBGone, 404, "INVALID_KB", "This knowledge base was deleted.", 0},
	{engine.ErrNotFound, 404, "NOT_FOUND", "There is no such thing in this knowledge base.", 0},
	{tenancy.ErrNotFound, 404, "NOT_FOUND", "There is no such thing.", 0},
	{engine.ErrNoOriginal, 404, "NO_ORIGINAL", "The file was not kept beside its text; upload it with keep_original=true.", 0},

	// The body.
	{errMediaType, 415, "UNSUPPORTED_MEDIA_TYPE", "", 0},
	{engine.ErrTooLarge, 413, "PAYLOAD_TOO_LARGE", "", 0},
	{tenancy.ErrTooBig, 413, "PAYLOAD_TOO_LARGE", "This is more than one call may change.", 0},
	{errBodySlow, 408, "REQUEST_TIMEOUT", "The body came in too slowly.", 0},
	{errBodyCut, 400, "INVALID_REQUEST", "The body ended before its announced length.", 0},
	{engine.ErrUnsupportedType, 400, "UNSUPPORTED_FILE_TYPE", "", 0},
	{engine.ErrNotText, 400, "INVALID_REQUEST", "", 0},
	{engine.ErrEmptyDocument, 400, "INVALID_REQUEST", "", 0},
	{engine.ErrBadInput, 400, "INVALID_REQUEST", "", 0},
	{tenancy.ErrBadInput, 400, "INVALID_REQUEST", "", 0},

	// The state of things.
	{engine.ErrConflict, 409, "CONFLICT", "", 0},
	{tenancy.ErrConflict, 409, "CONFLICT", "", 0},
	{engine.ErrChanged, 412, "PRECONDITION_FAILED", "", 0},
	{engine.ErrExists, 409, "CONFLICT", "", 0},
	{engine.ErrState, 409, "CONFLICT", "", 0},
	{engine.ErrNoModel, 409, "NO_MODEL", "This needs a language model and none is configured.", 0},
	{engine.ErrEmbeddingPinned, 409, "EMBEDDING_MISMATCH", "", 0},
	{engine.ErrPromptTooLong, 400, "PROMPT_TOO_LONG", "The question with its context does not fit the model's context window; lower max_total_tokens.", 0},
	{tenancy.ErrRateLimited, 429, "RATE_LIMITED", "", 1},
	{tenancy.ErrQuota, 429, "QUOTA_EXCEEDED", "", quotaRetry},

	// The server.
	{engine.ErrModelMissing, 503, "MODEL_MISSING", "The model server does not have the configured model.", 60},
	{engine.ErrModelRefused, 502, "MODEL_REFUSED", "The model server refused the request; the log has its words under this request id.", 0},
	{engine.ErrModelDown, 503, "BACKEND_UNAVAILABLE", "The model server is not available.", 10},
	{engine.ErrQueueFull, 503, "CAPACITY_EXHAUSTED", "Too many documents are waiting; try again later.", 30},
	{engine.ErrBusy, 503, "CAPACITY_EXHAUSTED", "Too many knowledge bases are in use; try again.", 2},
	{errBusy, 503, "CAPACITY_EXHAUSTED", "Too many requests are running; try again.", 1},
	{errMemory, 503, "CAPACITY_EXHAUSTED", "Too many uploads are running; try again.", 5},
	{errDraining, 503, "SHUTTING_DOWN", "The server is shutting down.", 5},
	{engine.ErrClosed, 503, "SHUTTING_DOWN", "The server is shutting down.", 5},
	{tenancy.ErrClosed, 503, "SHUTTING_DOWN", "The server is shutting down.", 5},
	{tenancy.ErrDiskFull, 507, "DISK_FULL", "The disk is nearly full: nothing more is taken in, reading goes on.", 0},
	{tenancy.ErrDamaged, 500, "DAMAGED", "The records of this knowledge base are damaged; its administrator was told in the log.", 0},
	{engine.ErrDamaged, 500, "DAMAGED", "The records of this knowledge base are damaged; its administrator was told in the log.", 0},
	{errGone, statusClientGone, "CLIENT_GONE", "The caller left.", 0},
	{context.Canceled, statusClientGone, "CLIENT_GONE", "The caller left.", 0},
	{context.DeadlineExceeded, 504, "TIMEOUT", "This took too long.", 0},
	{errPanic, 500, "INTERNAL_ERROR", "Something went wrong on the server; the log has it under this request id.", 0},
}

// fallback is the answer to an error that the table does not know: its text is
// for the log only.
var fallback = answer{nil, 500, "INTERNAL_ERROR", "Something went wrong on the server; the log has it under this request id.", 0}

// errorBody is every answer that is not a success.
type errorBody struct {
	Status    string         `json:"status"` // "error"
	Code      string         `json:"code"`
	Message   string         `json:"message"`
	Details   map[string]any `json:"details,omitempty"`
	RequestID string         `json:"request_id"`
	Detail    string         `json:"detail,omitempty"` // the message once more, where LightRAG's clients look for it
}

// answerTo looks err up in the table.
func answerTo(err error) (answer, errorBody) {
	a := fallback
	for _, line := range answers {
		if errors.Is(err, line.is) {
			a = line
			break
		}
	}
	body := errorBody{Status: "error", Code: a.code, Message: a.message, Details: details(err)}
	if body.Message == "" {
		body.Message = err.Error()
	}
	if p, ok := body.Details["required_permission"]; ok && a.status == http.StatusForbidden {
		body.Message = fmt.Sprintf("This credential may not do that here: it needs %s.", p)
	}
	return a, body
}

// details is what a caller's program can use: the field and why, the missing
// permission, the quota. It holds nothing that the message does not say in words.
func details(err error) map[string]any {
	if e, ok := errors.AsType[*engine.FieldError](err); ok {
		return map[string]any{"field": e.Field, "reason": e.Message}
	}
	if e, ok := errors.AsType[*tenancy.FieldError](err); ok {
		return map[string]any{"field": e.Field, "reason": e.Message}
	}
	if e, ok := errors.AsType[*tenancy.DeniedError](err); ok && e.Permission != "" { // "": belonging to the tenant
		return map[string]any{"required_permission": e.Permission}
	}
	if e, ok := errors.AsType[*tenancy.QuotaError](err); ok {
		return map[string]any{"quota": e.Quota, "limit": e.Limit, "used": e.Used}
	}
	return nil
}

// fail answers err, or notes it for the log when an answer had begun.
func (s *Server) fail(w *response, x *exchange, err error) {
	x.err = err
	if w.status != 0 {
		return
	}
	a, body := answerTo(err)
	body.RequestID = x.id
	if lightRAG(x.route) {
		body.Detail = body.Message
	}
	h := w.Header()
	// What a handler meant to send with its answer is not part of this one.
	h.Del("Content-Disposition")
	h.Del("Content-Length")
	if d := retryAfter(err, a); d > 0 {
		h.Set("Retry-After", strconv.FormatInt(d, 10))
	}
	if e, ok := errors.AsType[*tenancy.RateError](err); ok {
		setRate(h, e.Rate)
	}
	switch a.status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="alcove"`)
	case http.StatusRequestEntityTooLarge, http.StatusRequestTimeout:
		h.Set("Connection", "close") // the rest of the body is not worth reading
	}
	if err := encode(w, a.status, body); err != nil && x.err == nil {
		x.err = err
	}
}
