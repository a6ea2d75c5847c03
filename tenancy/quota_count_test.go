package tenancy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/tenancy/keyspace"
)

func setQuota(t testing.TB, s *Store, tenant string, q QuotaUpdate) {
	t.Helper()
	_, err := s.UpdateTenant(ctxOf(t), admin(t, s), tenant, TenantUpdate{Quota: &q})
	require.NoError(t, err)
}

// usage returns what the tenant's counters say, and fails if a scan says otherwise.
func usage(t testing.TB, s *Store, tenant string) TenantUsage {
	t.Helper()
	u, err := s.Usage(ctxOf(t), admin(t, s), tenant)
	require.NoError(t, err)
	require.NoError(t, s.db.View(func(tx *keyspace.Tx) error {
		sum, err := s.sumOf(tx, s.cat.tenant(tenant).number)
		require.Equal(t, sum, counted{u.Used.Documents, u.Used.ReservedBytes, u.Used.StorageBytes}, "%s", tenant)
		return err
	}))
	return u
}

// Random histories over several tenants and knowledge bases, some acts refused half
// way, some knowledge bases deleted, and a store that is opened again: the counters are
// always those of a scan.
func TestQuota_CountersAreAScan(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	s, c := open(t, Options{Dir: dir})
	tenants := []string{"acme", "globex"}
	kbs := map[string]bool{}
	for i := range rounds(400) {
		tenant := tenants[rng.IntN(len(tenants))]
		path := fmt.Sprintf("%s/kb-%d", tenant, rng.IntN(3))
		if !kbs[path] {
			found(t, s, path)
			kbs[path] = true
		}
		space := enter(t, s, admin(t, s), path, PermDocumentUpdate)
		refused := errors.New("thought better of it")
		switch rng.IntN(12) {
		case 0:
			require.NoError(t, s.DeleteKB(ctxOf(t), admin(t, s), tenant, path[len(tenant)+1:]))
			delete(kbs, path)
		case 1:
			if i%40 == 0 {
				require.NoError(t, s.Close())
				s, c = open(t, Options{Dir: dir, Now: c.now})
			}
		case 2:
			require.ErrorIs(t, space.Commit(ctxOf(t), func(tx *Tx) error {
				_ = tx.CountDocuments(5)
				tx.Reserve(99)
				_ = tx.Set('D', []byte("never"), make([]byte, 1000))
				return refused
			}), refused)
		default:
			require.NoError(t, space.Commit(ctxOf(t), func(tx *Tx) error {
				tx.Reserve(rng.Int64N(100) - 50)
				for range 1 + rng.IntN(4) {
					key := fmt.Appendf(nil, "k%d", rng.IntN(20))
					old, err := tx.Get('D', key)
					switch {
					case isNotFound(err) || len(old) == 0:
						err = firstError(tx.CountDocuments(1), tx.Set('D', key, make([]byte, 1+rng.IntN(3000))))
					case err == nil && rng.IntN(2) == 0:
						err = firstError(tx.CountDocuments(-1), tx.Delete('D', key))
					}
					if err != nil {
						return err
					}
				}
				return nil
			}))
		}
		usage(t, s, tenant)
	}
	require.NoError(t, s.DeleteTenant(ctxOf(t), admin(t, s), "globex"))
	swept(t, s)
	require.NoError(t, s.db.View(func(tx *keyspace.Tx) error {
		return tx.Scan(keyspace.System, kindUse, keyspace.Scan{}, func(rest, _ []byte) error {
			require.Equal(t, s.cat.tenant("acme").number, beU64(rest), "a deleted tenant leaves no counter")
			return nil
		})
	}))
}

// Fifty at once on the edge of a quota, in two knowledge bases of one tenant: never one
// too many, and what is left is used to the last.
func TestQuota_FiftyAtTheEdge(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/one", "acme/two", "globex/one")
	most, gigabytes := int64(7), 20_000/float64(gb)
	setQuota(t, s, "acme", QuotaUpdate{MaxDocuments: &most})
	setQuota(t, s, "globex", QuotaUpdate{MaxStorageGB: &gigabytes})
	try := func(f func(i int) error) (ok, refused int64) {
		var wg sync.WaitGroup
		var n [2]atomic.Int64
		for i := range 50 {
			wg.Go(func() {
				err := f(i)
				if err == nil {
					n[0].Add(1)
					return
				}
				var q *QuotaError
				if !errors.As(err, &q) || q.Limit == 0 || q.Used > q.Limit {
					t.Errorf("%v", err)
				}
				n[1].Add(1)
			})
		}
		wg.Wait()
		return n[0].Load(), n[1].Load()
	}
	spaces := []*Space{enter(t, s, admin(t, s), "acme/one", PermDocumentCreate), enter(t, s, admin(t, s), "acme/two", PermDocumentCreate)}
	ok, refused := try(func(i int) error {
		return spaces[i%2].Commit(ctxOf(t), func(tx *Tx) error {
			return firstError(tx.Set('D', fmt.Append(nil, i), []byte("document")), tx.CountDocuments(1))
		})
	})
	require.Equal(t, []int64{7, 43}, []int64{ok, refused})
	require.EqualValues(t, 7, usage(t, s, "acme").Used.Documents)
	require.EqualError(t, spaces[0].Commit(ctxOf(t), func(tx *Tx) error { return tx.CountDocuments(3) }),
		"quota exceeded: max_documents is 7, in use are 7", "a batch counts whole")
	require.NoError(t, spaces[0].Commit(ctxOf(t), func(tx *Tx) error { return tx.CountDocuments(-1) }))
	require.NoError(t, spaces[1].Commit(ctxOf(t), func(tx *Tx) error { return tx.CountDocuments(1) }))

	space := enter(t, s, admin(t, s), "globex/one", PermDocumentCreate)
	ok, refused = try(func(i int) error {
		return space.Commit(ctxOf(t), func(tx *Tx) error {
			tx.Reserve(500) // kept for what comes: it is not to be had twice
			return firstError(tx.Set('D', fmt.Append(nil, 100+i), make([]byte, 1000)), tx.CheckStorage(0))
		})
	})
	u := usage(t, s, "globex")
	require.LessOrEqual(t, u.Used.StorageBytes+u.Used.ReservedBytes, int64(20_000))
	require.Greater(t, u.Used.StorageBytes+u.Used.ReservedBytes, int64(20_000-1600), "used to the last")
	require.Equal(t, int64(50), ok+refused)
	err := space.Commit(ctxOf(t), func(tx *Tx) error {
		return firstError(tx.Set('D', []byte("more"), make([]byte, 1000)), tx.CheckStorage(0))
	})
	require.ErrorContains(t, err, "max_storage_gb is 20000 bytes")
	require.NoError(t, space.Commit(ctxOf(t), func(tx *Tx) error { // what was promised may be used
		tx.Reserve(-500 * ok)
		return firstError(tx.Set('D', []byte("more"), make([]byte, 1000)), tx.CheckStorage(0))
	}))
}

// A knowledge base of an older release has no counters: its tenant's storage is exact
// at once, and its documents are taken over with the first change.
func TestQuota_OlderStores(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/old", "acme/new")
	space := enter(t, s, admin(t, s), "acme/old", PermDocumentCreate)
	put(t, space, "k", "value")
	require.NoError(t, s.db.Commit(ctxOf(t), func(tx *keyspace.Tx) error {
		return firstError(tx.Delete(keyspace.System, kindUse, u64(space.tenant)), tx.Delete(keyspace.System, kindUseKB, u64(space.kb)))
	}))
	require.Positive(t, usage(t, s, "acme").Used.StorageBytes)
	put(t, enter(t, s, admin(t, s), "acme/new", PermDocumentCreate), "k", "value")
	require.Zero(t, usage(t, s, "acme").Used.Documents)
	for range 2 {
		require.NoError(t, space.Commit(ctxOf(t), func(tx *Tx) error {
			return firstError(tx.AdoptCounts(func() int64 { return 41 }), tx.CountDocuments(1))
		}))
	}
	require.EqualValues(t, 43, usage(t, s, "acme").Used.Documents)
}

// The calls and tokens of a month survive a stop, end with the month, are refused when
// they are used up, and cost nothing once they are written.
func TestQuota_Month(t *testing.T) {
	dir := t.TempDir()
	c := newClock()
	s, err := Open(Options{Dir: dir, Now: c.now})
	require.NoError(t, err)
	found(t, s, "acme/main", "globex/main")
	three, hundred := int64(3), int64(100)
	setQuota(t, s, "acme", QuotaUpdate{MaxMonthlyAPICalls: &three, MaxMonthlyModelTokens: &hundred})
	ada := member(t, s, "acme", RoleAdmin)
	require.NoError(t, s.CountCall(ada))
	require.NoError(t, s.CountCall(ada))
	space := enter(t, s, ada, "acme/main", PermQueryRun)
	require.NoError(t, space.TokensLeft())
	space.SpendTokens(99)
	require.NoError(t, space.TokensLeft())
	require.NoError(t, s.Close())

	s, _ = open(t, Options{Dir: dir, Now: c.now})
	space = enter(t, s, ada, "acme/main", PermQueryRun)
	require.NoError(t, s.CountCall(ada))
	var q *QuotaError
	require.ErrorAs(t, s.CountCall(ada), &q)
	require.Equal(t, QuotaError{"max_monthly_api_calls", 3, 3, time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)}, *q)
	space.SpendTokens(1)
	require.ErrorAs(t, space.TokensLeft(), &q)
	require.Equal(t, "max_monthly_model_tokens", q.Quota)
	require.NoError(t, s.CountCall(member(t, s, "globex", RoleViewer)), "another tenant")
	require.NoError(t, s.CountCall(admin(t, s)), "a system admin is of no tenant")
	u := usage(t, s, "acme")
	require.Equal(t, UsedMonth{"2026-01", 3, 100, q.Until}, u.Month)

	require.NoError(t, s.limits.flush(ctxOf(t)))
	require.NoError(t, s.limits.flush(ctxOf(t)))
	require.Empty(t, s.limits.months)

	c.add(q.Until.Sub(c.now()) - time.Nanosecond)
	require.Error(t, space.TokensLeft())
	c.add(time.Nanosecond)
	require.NoError(t, space.TokensLeft())
	require.Equal(t, UsedMonth{Month: "2026-02", Ends: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}, usage(t, s, "acme").Month)

	require.NoError(t, s.DeleteTenant(ctxOf(t), admin(t, s), "acme"))
	require.NoError(t, s.CountCall(ada))
	space.SpendTokens(5) // of work that was under way
	require.NoError(t, s.limits.flush(ctxOf(t)))
}

// Limits hold for each key and for the tenant, by profile, and a tenant's own numbers go
// before. Who is not let in makes no window, and no tenant's traffic is another's.
func TestRates(t *testing.T) {
	s, c := open(t, Options{RateLimits: RateLimits{KeyQueriesPerMinute: 3}})
	found(t, s, "acme/main", "globex/main")
	space := func(tenant, name string) *Space {
		return enter(t, s, holder(t, s, TokenRequest{Tenant: tenant, Subject: name, Role: RoleViewer, KBs: []string{"*"}}), tenant+"/main", PermQueryRun)
	}
	admitted := func(tenant, name string, class RateClass, times int, n int64) (ok int) {
		for range times {
			if _, err := space(tenant, name).Admit(class, n); err == nil {
				ok++
			} else {
				var r *RateError
				require.ErrorAs(t, err, &r)
				require.Positive(t, r.Rate.RetryAfter)
			}
		}
		return ok
	}
	require.Equal(t, 3, admitted("acme", "ada", RateQueries, 9, 1))
	require.Equal(t, 3, admitted("acme", "bob", RateQueries, 9, 1))
	require.Equal(t, 3, admitted("globex", "ada", RateQueries, 9, 1))
	require.Equal(t, 9, admitted("acme", "ada", RateDocuments, 9, 1000), "no limit on documents")

	adr := "adr007"
	setQuota(t, s, "acme", QuotaUpdate{RateLimitProfile: &adr})
	c.add(time.Hour)
	require.Equal(t, 60, admitted("acme", "ada", RateQueries, 60, 1))
	require.Equal(t, 40, admitted("acme", "bob", RateQueries, 60, 1))
	require.Equal(t, 5, admitted("acme", "ada", RateDocuments, 9, 10))
	require.Equal(t, 0, admitted("acme", "bob", RateDocuments, 9, 1))
	_, err := space("acme", "ada").Admit(RateDocuments, 51)
	require.ErrorContains(t, err, "at most 50 documents an hour of this tenant; this call alone asks for 51")
	r, err := space("globex", "ada").Admit(RateQueries, 1)
	require.NoError(t, err)
	require.Equal(t, Rate{3, 2, 0, c.now().Add(time.Minute)}, r)

	two := int64(2)
	setQuota(t, s, "acme", QuotaUpdate{MaxQueriesPerMinute: new(int64), MaxDocumentsPerHour: &two, MaxKeyQueriesPerMinute: &two})
	c.add(time.Hour)
	require.Equal(t, 2, admitted("acme", "ada", RateQueries, 9, 1))
	require.Equal(t, 2, admitted("acme", "bob", RateQueries, 9, 1))
	require.Equal(t, 2, admitted("acme", "ada", RateDocuments, 9, 1))

	c.add(time.Hour)
	s.limits.queries.forgetIdle()
	s.limits.documents.forgetIdle()
	require.Empty(t, s.limits.queries.of)
	require.Empty(t, s.limits.documents.of)
	_, err = s.Enter(ctxOf(t), member(t, s, "acme", RoleViewer), "globex", "main", PermQueryRun)
	require.ErrorIs(t, err, ErrDenied)
	_, err = s.Enter(ctxOf(t), admin(t, s), "nobody", "main", PermQueryRun)
	require.ErrorIs(t, err, ErrNoTenant)
	require.Empty(t, s.limits.queries.of)
}

// As many queries run at once as the quota says, whoever asks.
func TestBeginQuery(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main")
	two := int64(2)
	setQuota(t, s, "acme", QuotaUpdate{MaxConcurrentQueries: &two})
	space := enter(t, s, admin(t, s), "acme/main", PermQueryRun)
	end, err := space.BeginQuery()
	require.NoError(t, err)
	_, err = space.BeginQuery()
	require.NoError(t, err)
	_, err = space.BeginQuery()
	require.ErrorIs(t, err, ErrRateLimited)
	end()
	end, err = space.BeginQuery()
	require.NoError(t, err)
	end()
	require.Len(t, s.limits.running, 1)
}
