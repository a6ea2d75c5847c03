package tenancy

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// RateLimits are how often something may be asked for; 0 is no limit.
type RateLimits struct {
	KeyQueriesPerMinute    int64 `json:"key_queries_per_minute"`    // of each key, and of each user
	TenantQueriesPerMinute int64 `json:"tenant_queries_per_minute"` // of all of them together
	DocumentsPerHour       int64 `json:"documents_per_hour"`        // of the tenant; a batch counts its documents
	APICallsPerMonth       int64 `json:"api_calls_per_month"`       // of the tenant
}

// maxRateLimit bounds a rate limit: what is counted must add up in 64 bits.
const maxRateLimit = 1_000_000_000

// RateLimitProfiles are the sets of limits that a server or a tenant's quota names.
var RateLimitProfiles = map[string]RateLimits{
	"off":     {},
	"default": {KeyQueriesPerMinute: 100},
	// ADR 007: RATE_LIMIT_QUERIES_PER_MINUTE, _DOCUMENTS_PER_HOUR and _API_CALLS_PER_MONTH.
	"adr007": {TenantQueriesPerMinute: 100, DocumentsPerHour: 50, APICallsPerMonth: 100_000},
}

func profileNames() string {
	return strings.Join(slices.Sorted(maps.Keys(RateLimitProfiles)), ", ")
}

// RateClass is what a rate limit is about.
type RateClass int

// The classes.
const (
	RateQueries RateClass = iota
	RateDocuments
)

// rateKey is whose window it is: a tenant's, or with a name one of its callers'.
// Tenants are known by their numbers, which are never used again.
type rateKey struct {
	tenant uint64
	who    string
}

// rates are the limits that hold for a tenant: its quota's, else its profile's, else
// the server's.
func (s *Store) rates(q Quota) RateLimits {
	r := s.opt.RateLimits
	if p, ok := RateLimitProfiles[q.RateLimitProfile]; ok {
		r = p
	}
	for _, o := range []struct {
		to   *int64
		from *int64
	}{
		{&r.KeyQueriesPerMinute, q.MaxKeyQueriesPerMinute}, {&r.TenantQueriesPerMinute, q.MaxQueriesPerMinute},
		{&r.DocumentsPerHour, q.MaxDocumentsPerHour},
	} {
		if o.from != nil {
			*o.to = *o.from
		}
	}
	if q.MaxMonthlyAPICalls > 0 {
		r.APICallsPerMonth = q.MaxMonthlyAPICalls
	}
	return r
}

// Quota returns what the tenant may use, as it is now.
func (s *Space) Quota() Quota {
	if t, _ := s.store.cat.byNumber(s.kb); t != nil {
		return t.quota
	}
	return Quota{}
}

// Admit counts n events of a class for the tenant and for who entered, if all their
// limits have room for them. Else it counts none and returns a *RateError. The Rate is
// that of the nearest limit, zero when there is none. Only who got a Space gets here:
// a stranger makes no window.
func (s *Space) Admit(class RateClass, n int64) (Rate, error) {
	limits := s.store.rates(s.Quota())
	var r Rate
	var which int
	ok := true
	var what []string
	switch class {
	case RateQueries:
		what = []string{"queries a minute of this key", "queries a minute of this tenant"}
		r, which, ok = s.store.limits.queries.take(n,
			claim[rateKey]{rateKey{s.tenant, s.asker}, limits.KeyQueriesPerMinute},
			claim[rateKey]{rateKey{s.tenant, ""}, limits.TenantQueriesPerMinute})
	case RateDocuments:
		what = []string{"documents an hour of this tenant"}
		r, which, ok = s.store.limits.documents.take(n, claim[rateKey]{rateKey{s.tenant, ""}, limits.DocumentsPerHour})
	}
	if !ok {
		return r, &RateError{What: what[which], Asked: n, Rate: r}
	}
	return r, nil
}

// busyRetry is how long a caller is told to wait when too many of its tenant's
// queries are running: one of them may end at any moment.
const busyRetry = time.Second

// BeginQuery takes one of the tenant's places for queries that run at the same time,
// until end is called. When there is none it returns a *RateError.
func (s *Space) BeginQuery() (end func(), err error) {
	most := s.Quota().MaxConcurrentQueries
	l := s.store.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.running[s.tenant]; most > 0 && n >= most {
		return nil, &RateError{What: "queries at once of this tenant", Asked: 1, Rate: Rate{
			Limit: most, RetryAfter: busyRetry, Reset: s.store.now().Add(busyRetry),
		}}
	}
	l.running[s.tenant]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.running[s.tenant]--; l.running[s.tenant] == 0 {
			delete(l.running, s.tenant)
		}
	}, nil
}
