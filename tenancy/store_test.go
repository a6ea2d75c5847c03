package tenancy

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/tenancy/keyspace"
)

// clock is a time that tests move.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time      { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) add(d time.Duration) { c.at.Add(int64(d)) }
func ctxOf(t testing.TB) context.Context {
	return WithRequestID(t.Context(), "req-"+fmt.Sprint(len(t.Name())))
}

// open opens a store in o.Dir, or in memory, with a clock of its own, and checks it
// whole at the end of the test.
func open(t testing.TB, o Options) (*Store, *clock) {
	t.Helper()
	c := newClock()
	if o.Now == nil {
		o.Now = c.now
	}
	s, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		requireWhole(t, s)
		require.NoError(t, s.Close())
	})
	return s, c
}

// rounds is n, or a tenth of it under the race detector: what a test finds by its number
// of rounds is found without.
func rounds(n int) int {
	if raced {
		return n / 10
	}
	return n
}

// letWrite has the clerk write what it was told, so that nothing moves the audit log
// while somebody looks at it in several transactions.
func letWrite(s *Store) {
	select {
	case <-s.clerk.quit:
	default:
		s.clerk.stop()
		s.clerk = startClerk(s)
	}
}

// requireWhole fails for everything Check finds, unless the store is closed. What waits
// to be recorded is written first: a check looks at a store that stands still.
func requireWhole(t testing.TB, s *Store) Counts {
	t.Helper()
	letWrite(s)
	counts, err := s.Check(context.Background(), func(problem string) { t.Errorf("check: %s", problem) })
	if err != nil {
		require.ErrorIs(t, err, ErrClosed)
	}
	return counts
}

// token mints a token and signs in with it.
func holder(t testing.TB, s *Store, q TokenRequest) Principal {
	t.Helper()
	if q.Subject == "" {
		q.Subject = "ada"
	}
	text, err := s.MintToken(q)
	require.NoError(t, err)
	p, err := s.Authenticate(ctxOf(t), Credential{Bearer: text})
	require.NoError(t, err)
	return p
}

func admin(t testing.TB, s *Store) Principal {
	return holder(t, s, TokenRequest{Subject: "root", System: true})
}

func member(t testing.TB, s *Store, tenant string, role Role, kbs ...string) Principal {
	if kbs == nil {
		kbs = []string{"*"}
	}
	return holder(t, s, TokenRequest{Tenant: tenant, Role: role, KBs: kbs})
}

// found makes tenants with knowledge bases, each as "tenant/kb".
func found(t testing.TB, s *Store, paths ...string) {
	t.Helper()
	p := admin(t, s)
	for _, path := range paths {
		tenant, kb, _ := strings.Cut(path, "/")
		if s.cat.tenant(tenant) == nil {
			_, err := s.CreateTenant(ctxOf(t), p, TenantInput{ID: tenant, Name: "Tenant " + tenant})
			require.NoError(t, err)
		}
		if kb != "" {
			_, err := s.CreateKB(ctxOf(t), p, tenant, KBInput{ID: kb, Name: kb})
			require.NoError(t, err)
		}
	}
}

func enter(t testing.TB, s *Store, p Principal, path string, perm Permission) *Space {
	t.Helper()
	tenant, kb, _ := strings.Cut(path, "/")
	space, err := s.Enter(ctxOf(t), p, tenant, kb, perm)
	require.NoError(t, err)
	return space
}

func put(t testing.TB, s *Space, key, value string) {
	t.Helper()
	require.NoError(t, s.Commit(ctxOf(t), func(tx *Tx) error { return tx.Set('D', []byte(key), []byte(value)) }))
}

func get(t testing.TB, s *Space, key string) (string, error) {
	t.Helper()
	var v []byte
	err := s.View(ctxOf(t), func(tx *Tx) (err error) {
		v, err = tx.Get('D', []byte(key))
		return err
	})
	return string(v), err
}

// What is measured is what was written: the payload of every knowledge base, the prefix
// of each record, a counter for each; and together it is all that the namespaces hold.
func TestOverhead(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/a", "acme/b", "globex/a")
	root := admin(t, s)
	empty, err := s.Overhead(ctxOf(t))
	require.NoError(t, err)
	require.Zero(t, empty.Payload)
	require.Zero(t, empty.Share())
	for i, at := range []string{"acme/a", "acme/b", "globex/a"} {
		require.NoError(t, enter(t, s, root, at, PermDocumentCreate).Commit(ctxOf(t), func(tx *Tx) error {
			for j := range i + 1 {
				if err := tx.Set('D', []byte{byte(j)}, make([]byte, 1000)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	o, err := s.Overhead(ctxOf(t))
	require.NoError(t, err)
	require.EqualValues(t, 6, o.Records)
	require.EqualValues(t, 6*(1+1+4+1000), o.Payload, "kind, rest, checksum and value")
	require.EqualValues(t, 6*9, o.Prefixes)
	require.EqualValues(t, 3*30, o.Counters)
	require.Equal(t, empty.Catalogue+2*36, o.Catalogue, "a counter of what it takes for each tenant")
	require.Greater(t, o.Audit, empty.Audit, "a system admin's commits are recorded")
	require.InDelta(t, float64(o.Prefixes+o.Counters+o.Catalogue)/float64(o.Payload), o.Share(), 1e-9)
	require.NoError(t, s.db.View(func(tx *keyspace.Tx) error {
		u, err := tx.Usage(keyspace.System)
		require.Equal(t, u.Bytes, o.Catalogue+o.Audit)
		return err
	}))
}
