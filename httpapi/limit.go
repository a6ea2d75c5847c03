package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"alcove/tenancy"
)

// quotaRetry is the Retry-After of a quota that no clock fills up again, in seconds:
// only a deletion or an administrator makes room, and a client is not to ask all day.
const quotaRetry = 3600

// setRate writes where a caller stands: X-RateLimit-Limit, -Remaining, and -Reset, the
// Unix second at which all of the limit is there again if nothing more comes.
func setRate(h http.Header, r tenancy.Rate) {
	if r.Limit <= 0 {
		return
	}
	h.Set("X-RateLimit-Limit", strconv.FormatInt(r.Limit, 10))
	h.Set("X-RateLimit-Remaining", strconv.FormatInt(r.Remaining, 10))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(upward(r.Reset), 10))
}

// upward is a time in Unix seconds, never before it.
func upward(t time.Time) int64 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return s
}

// retryAfter is how many seconds a refused caller is told to wait, 0 for no word on it:
// what the error knows, else what the table says.
func retryAfter(err error, a answer) int64 {
	if e, ok := errors.AsType[*tenancy.RateError](err); ok && e.Rate.RetryAfter > 0 {
		return int64((e.Rate.RetryAfter + time.Second - 1) / time.Second)
	}
	if e, ok := errors.AsType[*tenancy.QuotaError](err); ok && !e.Until.IsZero() {
		return max(1, int64((time.Until(e.Until)+time.Second-1)/time.Second))
	}
	return int64(a.retry)
}

// limited asks for room before a handler runs: a query takes one of the tenant's places
// for queries and counts in its windows. It returns what is to be called when the
// handler has ended.
func limited(h http.Header, sp *tenancy.Space, p tenancy.Permission) (end func(), err error) {
	if p != tenancy.PermQueryRun {
		return func() {}, nil
	}
	if end, err = sp.BeginQuery(); err != nil {
		return nil, err
	}
	rate, err := sp.Admit(tenancy.RateQueries, 1)
	if err != nil {
		end()
		return nil, err
	}
	setRate(h, rate)
	return end, nil
}

// admitDocuments counts the documents of a call in the tenant's windows, before
// anything of them is done.
func (s *Server) admitDocuments(w http.ResponseWriter, r *http.Request, n int) error {
	rate, err := exchangeOf(r.Context()).documents(int64(n))
	if err != nil {
		return err
	}
	setRate(w.Header(), rate)
	return nil
}
