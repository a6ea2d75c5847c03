package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"alcove/tenancy"
)

// listAudit answers a page of a tenant's audit records, the newest first.
func (s *Server) listAudit(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	query := r.URL.Query()
	q := tenancy.AuditQuery{Action: query.Get("action"), Cursor: query.Get("cursor")}
	var err error
	if q.Limit, err = intParam(r, "limit"); err != nil {
		return err
	}
	if q.From, err = timeParam(r, "from"); err != nil {
		return err
	}
	if q.To, err = timeParam(r, "to"); err != nil {
		return err
	}
	page, err := s.o.Store.Audit(r.Context(), who, param(r, "tenant"), q)
	if err != nil {
		return err
	}
	return success(w, page)
}

// checkpoint is a signed checkpoint of the audit log, as a note.
type checkpoint struct {
	Checkpoint  string `json:"checkpoint"`
	VerifierKey string `json:"verifier_key"`
}

func (s *Server) auditCheckpoint(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	signed, key, err := s.o.Store.Checkpoint(r.Context(), who)
	if err != nil {
		return err
	}
	return success(w, checkpoint{signed, key})
}

// timeParam is a query parameter that is a moment (RFC 3339) or a day in UTC
// (2006-01-02), or absent: the zero time.
func timeParam(r *http.Request, name string) (time.Time, error) {
	q := r.URL.Query()
	if !q.Has(name) {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, q.Get(name)); err == nil {
			return at, nil
		}
	}
	return time.Time{}, badField(name, "must be a time as 2026-01-31T10:00:00Z or a day as 2026-01-31")
}

// recorder returns what is called before the head of an answer of this route goes out:
// whatever changes something or is an administrator's has its audit record by then. A
// change is recorded in its own transaction, so mostly there is nothing left to do; what
// changed nothing, as a document sent twice or a dry run, is recorded here as the call it was.
// Questions and refusals are recorded when they have ended. Signing in, the one open
// route that changes something, is recorded by tenancy.
func (s *Server) recorder(line route, r *http.Request, x *exchange) func(status int) {
	changes := line.method != get && line.right != right(tenancy.PermQueryRun)
	if unsigned(line.right) || !changes && line.right != admin {
		return nil
	}
	return func(status int) {
		if status >= 400 || tenancy.Recorded(r.Context()) {
			return
		}
		act := tenancy.Act{Action: "call", ResourceType: "route", ResourceID: line.method + " " + line.pattern, Details: x.where(nil)}
		var err error
		if changes && line.right == admin {
			err = s.o.Store.RecordAct(r.Context(), x.who, x.tenant, act)
		} else {
			err = s.o.Store.QueueAct(r.Context(), x.who, x.tenant, act)
		}
		if err != nil {
			s.o.Logger.ErrorContext(r.Context(), "a call could not be recorded in the audit log", keyRequest, x.id, "route", line.pattern, "error", err.Error())
		}
	}
}

// recordEnd records what only an ended request tells: questions, and refusals.
func (s *Server) recordEnd(r *http.Request, x *exchange, status int, code string, took time.Duration) {
	act := tenancy.Act{ResourceType: "route", ResourceID: r.Method + " " + x.route, Outcome: "denied"}
	switch {
	case x.right == "" || unsigned(x.right):
		return // nobody's path, or open to anybody: the log line tells of it
	case status == http.StatusUnauthorized:
		act.Action = "auth_failed"
	case status == http.StatusForbidden:
		act.Action = "user_access_denied"
	case status == http.StatusTooManyRequests:
		act.Action = "quota_exceeded"
	case x.asked != nil:
		q := x.asked
		act.Action, act.ResourceType, act.ResourceID, act.Outcome = "query_executed", "knowledge_base", x.kb, ""
		if x.err != nil {
			act.Outcome = "failure"
		}
		act.Details = x.where(map[string]string{
			"mode": shorten(string(q.mode)), "query_len": strconv.Itoa(q.length), "query_hash": q.hash,
			"result_count": strconv.Itoa(q.results), "latency_ms": strconv.FormatInt(took.Milliseconds(), 10), "status": strconv.Itoa(status),
		})
	default:
		return
	}
	if act.Details == nil {
		act.Details = x.where(map[string]string{"code": code, "status": strconv.Itoa(status)})
	}
	s.o.Store.NoteAct(r.Context(), x.who, x.tenant, act)
}

// where adds to details where a call went, as far as that is a well-formed id: what a
// stranger writes into a path is not kept.
func (x *exchange) where(details map[string]string) map[string]string {
	if details == nil {
		details = map[string]string{}
	}
	for key, id := range map[string]string{"tenant_id": x.tenant, "kb_id": x.kb} {
		if id != "" && tenancy.CheckID(key, id) == nil {
			details[key] = id
		}
	}
	return details
}

// unsigned says of a right that its routes are asked without a credential of the API.
func unsigned(p right) bool { return p == public || p == byPassword || p == metricsToken }

// from is the caller's address for audit records, "" when there is none.
func (x *exchange) from() string {
	if !x.client.IsValid() {
		return ""
	}
	return x.client.String()
}

// tenantOf is the tenant that a request is counted for, "" if for none: the caller's
// own, or for a system admin the one it asked for, if that was there.
func (x *exchange) tenantOf(status int) string {
	if !x.who.System() {
		return x.who.Tenant()
	}
	if status < 300 {
		return x.tenant
	}
	return ""
}
