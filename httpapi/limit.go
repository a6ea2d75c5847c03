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
	if e, ok := errors.AsType[*tenancy.LockedError](err); ok {
		return max(1, int64((e.Wait+time.Second-1)/time.Second))
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

// documentsOf returns what counts documents of a call through sp in the tenant's windows.
func documentsOf(h http.Header, sp *tenancy.Space) func(n int64) error {
	return func(n int64) error {
		rate, err := sp.Admit(tenancy.RateDocuments, n)
		if err == nil {
			setRate(h, rate)
		}
		return err
	}
}

// admitDocuments counts the documents of a call before anything of them is done.
func admitDocuments(r *http.Request, n int) error { return exchangeOf(r.Context()).documents(int64(n)) }

// mayTry refuses an address that has shown too many bad credentials of late, whatever
// it shows now: a program that tries its bad key for ever costs no more than this.
func (s *Server) mayTry(x *exchange) error {
	if r := s.tries.Look(x.client.String()); r.RetryAfter > 0 {
		return &tenancy.RateError{What: "bad credentials a minute of this address", Asked: 1, Rate: r}
	}
	return nil
}

// noteTry counts a credential that was refused.
func (s *Server) noteTry(x *exchange, err error) {
	if errors.Is(err, tenancy.ErrUnauthenticated) {
		s.tries.Add(x.client.String(), 1)
	}
}
