package httpapi

import (
	"net/http"
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
