package tenancy

import (
	"bytes"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/tenancy/keyspace"
)

func onceCall(key, body string) OnceCall {
	return OnceCall{Tenant: "acme", Method: "POST", Path: "/x", Key: key, Body: sha256.Sum256([]byte(body))}
}

// A call is answered as the first time: to the same caller, for the same request,
// for an hour; and what it was answered can be read by nobody without its key.
func TestOnce(t *testing.T) {
	s, c := open(t, Options{})
	p, ctx := admin(t, s), ctxOf(t)
	first := OnceAnswer{Status: 201, Body: []byte(`{"secret":"sk-canary"}`)}

	call, before, err := s.Once(ctx, p, onceCall("k1", "a"))
	require.NoError(t, err)
	require.Nil(t, before)
	_, _, err = s.Once(ctx, p, onceCall("k1", "a"))
	require.ErrorIs(t, err, ErrOnceRunning)
	require.NoError(t, call.Done(ctx, first))

	_, before, err = s.Once(ctx, p, onceCall("k1", "a"))
	require.NoError(t, err)
	require.Equal(t, &first, before)
	_, _, err = s.Once(ctx, p, onceCall("k1", "b"))
	require.ErrorIs(t, err, ErrOnceOther)
	require.NoError(t, s.db.View(func(tx *keyspace.Tx) error {
		return tx.Scan(keyspace.System, kindOnce, keyspace.Scan{Limit: 10}, func(_, value []byte) error {
			require.NotContains(t, string(value), "canary")
			require.NotContains(t, string(value), "k1")
			return nil
		})
	}))

	// Whatever else differs is another call.
	other := member(t, s, "acme", RoleAdmin)
	for name, c := range map[string]struct {
		who  Principal
		call OnceCall
	}{
		"caller":  {other, onceCall("k1", "a")},
		"tenant":  {p, OnceCall{Tenant: "beta", Method: "POST", Path: "/x", Key: "k1"}},
		"method":  {p, OnceCall{Tenant: "acme", Method: "PUT", Path: "/x", Key: "k1"}},
		"path":    {p, OnceCall{Tenant: "acme", Method: "POST", Path: "/y", Key: "k1"}},
		"key":     {p, onceCall("k2", "a")},
		"borders": {p, OnceCall{Tenant: "acm", Method: "ePOST", Path: "/x", Key: "k1"}},
	} {
		call, before, err := s.Once(ctx, c.who, c.call)
		require.NoError(t, err, name)
		require.Nil(t, before, name)
		require.NoError(t, call.Forget(ctx))
	}

	// A call that was refused can be sent again, as something else too.
	call, _, err = s.Once(ctx, p, onceCall("k3", "a"))
	require.NoError(t, err)
	require.NoError(t, call.Forget(ctx))
	call, _, err = s.Once(ctx, p, onceCall("k3", "b"))
	require.NoError(t, err)
	require.NoError(t, call.Done(ctx, OnceAnswer{Status: 200, Body: bytes.Repeat([]byte("x"), maxOnceBytes+1)}))
	_, _, err = s.Once(ctx, p, onceCall("k3", "b"))
	require.ErrorIs(t, err, ErrOnceLong)

	call, _, err = s.Once(ctx, p, onceCall("k4", "a"))
	require.NoError(t, err)
	call.Abandon()
	_, _, err = s.Once(ctx, p, onceCall("k4", "a"))
	require.ErrorIs(t, err, ErrOnceUnknown)

	c.add(onceLife + time.Second)
	call, before, err = s.Once(ctx, p, onceCall("k1", "b"))
	require.NoError(t, err)
	require.Nil(t, before)
	require.NoError(t, call.Forget(ctx))
	n := 0
	require.NoError(t, s.db.View(func(tx *keyspace.Tx) error {
		for _, kind := range []byte{kindOnce, kindOnceEnd} {
			if err := tx.Scan(keyspace.System, kind, keyspace.Scan{Limit: 10}, func(_, _ []byte) error { n++; return nil }); err != nil {
				return err
			}
		}
		return nil
	}))
	require.Zero(t, n, "an hour later nothing is left of them")

	for _, key := range []string{"", "a b", "a\tb", "é", string(bytes.Repeat([]byte("k"), maxOnceKeyBytes+1))} {
		_, _, err := s.Once(ctx, p, onceCall(key, "a"))
		require.ErrorIs(t, err, ErrBadInput)
	}
}

// After the server was stopped in the middle of a call nobody is told that it was
// done, and nobody does it again unasked.
func TestOnce_AfterACrash(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	require.NoError(t, err)
	p := admin(t, s)
	_, _, err = s.Once(ctxOf(t), p, onceCall("k", "a"))
	require.NoError(t, err)
	require.NoError(t, s.Close())

	s, err = Open(Options{Dir: dir})
	require.NoError(t, err)
	defer s.Close()
	_, _, err = s.Once(ctxOf(t), p, onceCall("k", "a"))
	require.ErrorIs(t, err, ErrOnceUnknown)
}

// Of fifty equal calls at once one has its effect.
func TestOnce_Race(t *testing.T) {
	s, _ := open(t, Options{})
	p := admin(t, s)
	var done atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			call, before, err := s.Once(ctxOf(t), p, onceCall("k", "a"))
			switch {
			case err != nil:
				require.ErrorIs(t, err, ErrOnceRunning)
			case before == nil:
				done.Add(1)
				require.NoError(t, call.Done(ctxOf(t), OnceAnswer{Status: 200, Body: []byte("{}")}))
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, done.Load())
}
