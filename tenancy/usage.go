package tenancy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"alcove/tenancy/keyspace"
)

// flushEvery is how often the calls and tokens of the month are written down. What
// was counted since is forgiven by a kill.
const flushEvery = 5 * time.Second

// monthRecord is what a tenant has used of what is counted by the month, in UTC.
type monthRecord struct {
	Month       string `json:"month"` // 2006-01
	Calls       int64  `json:"calls,omitempty"`
	ModelTokens int64  `json:"model_tokens,omitempty"`
}

func monthOf(t time.Time) string { return t.UTC().Format("2006-01") }

// nextMonth is when the month of t ends.
func nextMonth(t time.Time) time.Time {
	t = t.UTC()
	return time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC)
}

// limits is what is counted in memory, of tenants that are doing something: each entry
// goes when there is nothing to count any more. A goroutine writes the months down.
type limits struct {
	store     *Store
	queries   *windows[rateKey]
	documents *windows[rateKey]

	mu      sync.Mutex
	running map[uint64]int64 // queries, by tenant
	months  map[uint64]*month

	one  sync.Mutex // one writing at a time
	quit chan struct{}
	done chan struct{}
}

// month is a tenant's record in memory. changed says that the store's is older.
type month struct {
	monthRecord
	changed bool
}

func startLimits(s *Store) *limits {
	l := &limits{
		store: s, queries: newWindows[rateKey](time.Minute, s.now), documents: newWindows[rateKey](time.Hour, s.now),
		running: map[uint64]int64{}, months: map[uint64]*month{}, quit: make(chan struct{}), done: make(chan struct{}),
	}
	go l.run()
	return l
}

// stop writes down what was counted and returns when it is done.
func (l *limits) stop() {
	close(l.quit)
	<-l.done
}

func (l *limits) run() {
	defer close(l.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for last := false; !last; {
		select {
		case <-tick.C:
		case <-l.quit:
			last = true
		}
		if err := l.flush(context.Background()); err != nil && !errors.Is(err, ErrClosed) {
			l.store.log.Warn("the calls and tokens of the month could not be written; they are kept", "err", err)
		}
		l.queries.forgetIdle()
		l.documents.forgetIdle()
	}
}

// of returns the month of a live tenant as it stands, read from the store when it is
// not in memory. l.mu is held.
func (l *limits) of(tenant uint64) (*month, error) {
	now := monthOf(l.store.now())
	m := l.months[tenant]
	if m == nil {
		m = &month{}
		err := l.store.db.View(func(tx *keyspace.Tx) error { return getJSON(tx, kindMonth, u64(tenant), &m.monthRecord) })
		if err != nil && !isNotFound(err) {
			return nil, fmt.Errorf("calls of the month: %w", err)
		}
		l.months[tenant] = m
	}
	if m.Month != now {
		m.monthRecord = monthRecord{Month: now}
	}
	return m, nil
}

// flush writes down the months that changed and forgets those that did not.
func (l *limits) flush(ctx context.Context) error {
	l.one.Lock()
	defer l.one.Unlock()
	l.mu.Lock()
	write := map[uint64]monthRecord{}
	for tenant, m := range l.months {
		if m.changed {
			write[tenant] = m.monthRecord
		} else {
			delete(l.months, tenant)
		}
	}
	l.mu.Unlock()
	if len(write) == 0 {
		return nil
	}
	err := l.store.db.Commit(ctx, func(tx *keyspace.Tx) error {
		for tenant, r := range write {
			if _, err := tx.Get(keyspace.System, kindTenant, u64(tenant)); isNotFound(err) {
				continue // deleted meanwhile
			} else if err != nil {
				return err
			}
			if err := setJSON(tx, kindMonth, u64(tenant), r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for tenant, r := range write {
		if m := l.months[tenant]; m != nil && m.monthRecord == r {
			m.changed = false
		}
	}
	return nil
}

// monthError is the refusal of what is counted by the month.
func (s *Store) monthError(quota string, limit, used int64) error {
	return &QuotaError{Quota: quota, Limit: limit, Used: used, Until: nextMonth(s.now())}
}

// CountCall counts one call of a principal for its tenant, and refuses it with a
// *QuotaError when the calls of the month are used up. A system admin belongs to no
// tenant, and a credential whose tenant is gone is counted for nobody.
func (s *Store) CountCall(p Principal) error {
	if p.who == nil || p.who.system {
		return nil
	}
	t, err := s.authorise(p, p.who.tenant, "", OfItsTenant)
	if err != nil {
		return nil //nolint:nilerr // the call itself will say so
	}
	l := s.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	m, err := l.of(t.number)
	if err != nil {
		return err
	}
	if most := s.rates(t.quota).APICallsPerMonth; most > 0 && m.Calls >= most {
		return s.monthError("max_monthly_api_calls", most, m.Calls)
	}
	m.Calls++
	m.changed = true
	return nil
}

// TokensLeft returns a *QuotaError when the tenant's tokens of the month are spent.
func (s *Space) TokensLeft() error {
	most := s.Quota().MaxMonthlyModelTokens
	if most == 0 {
		return nil
	}
	l := s.store.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	m, err := l.of(s.tenant)
	if err != nil {
		return err
	}
	if m.ModelTokens >= most {
		return s.store.monthError("max_monthly_model_tokens", most, m.ModelTokens)
	}
	return nil
}

// SpendTokens counts tokens that a model read and wrote for the tenant. That it could
// not be written down is logged with the next flush.
func (s *Space) SpendTokens(n int64) {
	if n <= 0 {
		return
	}
	l := s.store.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	m, err := l.of(s.tenant)
	if err != nil {
		s.store.log.Warn("model tokens could not be counted", "scope", s.tenantID+"/"+s.kbID, "tokens", n, "err", err)
		return
	}
	m.ModelTokens += n
	m.changed = true
}

// TenantUsage is what a tenant may use and what of it is in use.
type TenantUsage struct {
	TenantID string     `json:"tenant_id"`
	Quota    Quota      `json:"quota"`
	Rates    RateLimits `json:"rate_limits"` // in force: of quota, profile and server
	Used     Used       `json:"used"`
	Windows  []Window   `json:"rate_windows"` // of limits that hold for the tenant as a whole and for the caller
	Month    UsedMonth  `json:"month"`
}

// Used are the counters of what is there.
type Used struct {
	Counted
	KBs            int64 `json:"knowledge_bases"`
	Keys           int64 `json:"api_keys"`
	RunningQueries int64 `json:"running_queries"`
}

// UsedMonth are the counters of the running month, in UTC.
type UsedMonth struct {
	Month       string    `json:"month"`
	APICalls    int64     `json:"api_calls"`
	ModelTokens int64     `json:"model_tokens"`
	Ends        time.Time `json:"ends"`
}

// Window is where a rate limit stands.
type Window struct {
	What      string    `json:"what"`
	Limit     int64     `json:"limit"`
	Remaining int64     `json:"remaining"`
	Reset     time.Time `json:"reset"`
}

// Usage returns what a tenant uses, from counters alone; it takes tenant:manage.
func (s *Store) Usage(ctx context.Context, p Principal, tenant string) (TenantUsage, error) {
	t, err := s.authorise(p, tenant, "", PermTenantManage)
	if err != nil {
		return TenantUsage{}, err
	}
	out := TenantUsage{TenantID: tenant, Windows: []Window{}}
	err = s.view(ctx, func(tx *keyspace.Tx) error {
		r, err := s.tenantStill(tx, t)
		if err != nil {
			return err
		}
		c, err := s.usedBy(tx, t.number)
		if err != nil {
			return err
		}
		out.Quota = r.Tenant.Quota
		out.Used = Used{Counted: Counted{c.Documents, c.Bytes, c.Reserved}, KBs: int64(r.Tenant.KBCount), Keys: int64(r.Keys)}
		return nil
	})
	if err != nil {
		return TenantUsage{}, fmt.Errorf("usage: %w", err)
	}
	out.Rates = s.rates(out.Quota)
	for _, w := range []struct {
		what  string
		in    *windows[rateKey]
		who   string
		limit int64
	}{
		{"queries a minute of this key", s.limits.queries, p.Name(), out.Rates.KeyQueriesPerMinute},
		{"queries a minute of this tenant", s.limits.queries, "", out.Rates.TenantQueriesPerMinute},
		{"documents an hour of this tenant", s.limits.documents, "", out.Rates.DocumentsPerHour},
	} {
		if w.limit > 0 {
			r := w.in.look(1, claim[rateKey]{rateKey{t.number, w.who}, w.limit})
			out.Windows = append(out.Windows, Window{w.what, r.Limit, r.Remaining, r.Reset})
		}
	}
	s.limits.mu.Lock()
	defer s.limits.mu.Unlock()
	m, err := s.limits.of(t.number)
	if err != nil {
		return TenantUsage{}, err
	}
	out.Month = UsedMonth{m.Month, m.Calls, m.ModelTokens, nextMonth(s.now())}
	out.Used.RunningQueries = s.limits.running[t.number]
	return out, nil
}
