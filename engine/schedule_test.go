package engine

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Who waits is served by urgency, then in the order of coming, whoever gives up
// in between. There is one place, which each hands on.
func TestPlaces_Order(t *testing.T) {
	for name, c := range map[string]struct {
		come  []urgency
		leave []int // who gives up before the first place comes
		want  []int
	}{
		"first come, first served": {[]urgency{forWork, forWork, forWork}, nil, []int{0, 1, 2}},
		"questions first":          {[]urgency{forWork, forWork, forQuery, forWork, forQuery}, nil, []int{2, 4, 0, 1, 3}},
		"who gives up is skipped":  {[]urgency{forWork, forQuery, forWork, forQuery}, []int{1, 2}, []int{3, 0}},
		"all give up":              {[]urgency{forWork, forQuery}, []int{0, 1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &places{free: 1}
				require.NoError(t, p.take(context.Background(), "", forWork))
				var served []int
				cancels := make([]context.CancelFunc, len(c.come))
				errs := make([]error, len(c.come))
				for i, u := range c.come {
					ctx, cancel := context.WithCancel(context.Background())
					cancels[i] = cancel
					go func() {
						if errs[i] = p.take(ctx, "", u); errs[i] == nil {
							served = append(served, i) // one place: no two at once
							p.leave("", 0)
						}
					}()
					synctest.Wait() // it stands in line
				}
				for _, i := range c.leave {
					cancels[i]()
					synctest.Wait()
					require.ErrorIs(t, errs[i], context.Canceled)
				}
				p.leave("", 0)
				synctest.Wait()
				require.Equal(t, c.want, served)
				require.Equal(t, 1, p.free)
				for _, cancel := range cancels {
					cancel()
				}
			})
		})
	}
	t.Run("no place for a context that has ended", func(t *testing.T) {
		p := &places{free: 1}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.ErrorIs(t, p.take(ctx, "", forQuery), context.Canceled)
		require.Equal(t, 1, p.free)
	})
}

// A place that comes at the moment the caller gives up is taken or goes to the
// next in turn: none is lost and none is made.
func TestPlaces_GivenUpAtTheSameMoment(t *testing.T) {
	for name, placeFirst := range map[string]bool{"the place first": true, "the end first": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &places{free: 1}
				require.NoError(t, p.take(context.Background(), "", forWork))
				ctx, cancel := context.WithCancel(context.Background())
				var first error
				next := false
				go func() { first = p.take(ctx, "", forQuery) }()
				go func() {
					if p.take(context.Background(), "", forWork) == nil {
						next = true
					}
				}()
				synctest.Wait()
				// Under the lock both come before the caller can act on either.
				p.mu.Lock()
				if !placeFirst {
					cancel()
				}
				a := p.accounts[""]
				turn := a.waiting[forQuery][0]
				a.waiting[forQuery] = a.waiting[forQuery][1:]
				p.waiting[forQuery]--
				a.running++ // as next does; the one that gives the place has it no more
				close(turn)
				cancel()
				p.mu.Unlock()
				synctest.Wait()
				if placeFirst {
					require.NoError(t, first)
					require.False(t, next)
					p.leave("", 0)
					synctest.Wait()
				} else {
					require.ErrorIs(t, first, context.Canceled)
				}
				require.True(t, next)
				p.leave("", 0)
				require.Equal(t, 1, p.free)
			})
		})
	}
}

// Under load with callers that give up there are never more calls at once than
// places, and all places are free at the end.
func TestPlaces_Load(t *testing.T) {
	const n = 3
	e := &Engine{models: places{free: n}}
	var at, done atomic.Int64
	var over atomic.Bool
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			for j := range 50 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+(i*j)%7)*50*time.Microsecond)
				err := e.model(ctx, urgency(i%2), func() error {
					if at.Add(1) > n {
						over.Store(true)
					}
					runtime.Gosched()
					at.Add(-1)
					done.Add(1)
					return nil
				})
				cancel()
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	require.False(t, over.Load())
	require.Positive(t, done.Load())
	require.Equal(t, n, e.models.free)
	require.Zero(t, e.models.waiting)
	require.Empty(t, e.models.accounts)
}

// Tenants that always want more get the places for the same time each, however long
// their calls are and however many of them wait.
func TestPlaces_FairByTime(t *testing.T) {
	for name, c := range map[string]struct {
		places int
		calls  map[string]time.Duration // of one call of each tenant
		wait   map[string]int           // callers of each tenant
	}{
		"one place, long and short calls": {1, map[string]time.Duration{"long": 20 * time.Second, "short": time.Second}, map[string]int{"long": 10, "short": 10}},
		"a crowd and a few":               {4, map[string]time.Duration{"crowd": 2 * time.Second, "few": 2 * time.Second}, map[string]int{"crowd": 200, "few": 4}},
		"three":                           {2, map[string]time.Duration{"a": time.Second, "b": 3 * time.Second, "c": 7 * time.Second}, map[string]int{"a": 50, "b": 5, "c": 20}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &places{free: c.places}
				const length = time.Hour
				ctx, cancel := context.WithTimeout(context.Background(), length)
				defer cancel()
				var mu sync.Mutex
				held := map[string]time.Duration{}
				var all sync.WaitGroup
				for tenant, n := range c.wait {
					for range n {
						all.Go(func() {
							for p.take(ctx, tenant, forWork) == nil {
								time.Sleep(c.calls[tenant])
								mu.Lock()
								held[tenant] += c.calls[tenant]
								mu.Unlock()
								p.leave(tenant, c.calls[tenant])
							}
						})
					}
				}
				all.Wait()
				share := length * time.Duration(c.places) / time.Duration(len(c.calls))
				for tenant, d := range held {
					require.InEpsilon(t, share.Seconds(), d.Seconds(), 0.05, "%s of %v", tenant, held)
				}
			})
		})
	}
}

// Who comes with one call waits for one call to end, not for the crowd; a tenant that was
// away is not owed for it; and of eight places one goes to work under a flood of questions.
func TestPlaces_Newcomer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &places{free: 2}
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		var all sync.WaitGroup
		var crowd, worked atomic.Int64
		for range 100 {
			all.Go(func() {
				for p.take(ctx, "crowd", forQuery) == nil {
					time.Sleep(10 * time.Second)
					crowd.Add(1)
					p.leave("crowd", 10*time.Second)
				}
			})
		}
		for range 10 {
			all.Go(func() {
				for p.take(ctx, "worker", forWork) == nil {
					time.Sleep(10 * time.Second)
					worked.Add(1)
					p.leave("worker", 10*time.Second)
				}
			})
		}
		time.Sleep(10*time.Minute + time.Second)
		for range 20 {
			start := time.Now()
			require.NoError(t, p.take(ctx, "newcomer", forQuery))
			require.LessOrEqual(t, time.Since(start), 20*time.Second) // one place may be work's
			time.Sleep(time.Second)
			p.leave("newcomer", time.Second)
			time.Sleep(time.Minute)
		}
		before := crowd.Load()
		for range 30 { // back to back: the share of one of two, not of whoever is alone
			require.NoError(t, p.take(ctx, "newcomer", forQuery))
			time.Sleep(10 * time.Second)
			p.leave("newcomer", 10*time.Second)
		}
		require.Greater(t, crowd.Load()-before, int64(15))
		all.Wait()
		share := float64(worked.Load()) / float64(worked.Load()+crowd.Load())
		require.InDelta(t, 1.0/8, share, 0.03)
		require.Empty(t, p.accounts, "nobody is remembered who wants nothing")
	})
}

// With a spare place a tenant that asks steadily waits for nothing beside a crowd, which
// has all places again when the other has been silent for long enough.
func TestPlaces_Spare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const spare, call = time.Second, 10 * time.Millisecond
		p := &places{free: 2, spare: spare}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var all sync.WaitGroup
		var served atomic.Int64
		for range 100 {
			all.Go(func() {
				for p.take(ctx, "crowd", forQuery) == nil {
					time.Sleep(call)
					served.Add(1)
					p.leave("crowd", call)
				}
			})
		}
		ask := func() (waited time.Duration) {
			start := time.Now()
			require.NoError(t, p.take(ctx, "steady", forQuery))
			waited = time.Since(start)
			time.Sleep(call / 2)
			p.leave("steady", call/2)
			return waited
		}
		rate := func(d time.Duration) float64 { // of the crowd, in calls that a place could have served
			before := served.Load()
			time.Sleep(d)
			return float64(served.Load()-before) / (d.Seconds() / call.Seconds())
		}
		require.InDelta(t, 2, rate(10*time.Second), 0.1)
		require.LessOrEqual(t, ask(), call, "the first question waits for one call at most")
		for range 20 {
			time.Sleep(spare / 2)
			require.Zero(t, ask())
		}
		require.InDelta(t, 1, rate(spare-call), 0.1)
		time.Sleep(2 * call)
		require.InDelta(t, 2, rate(10*time.Second), 0.1)
		cancel()
		all.Wait()
		require.Empty(t, p.accounts)
		require.Equal(t, 2, p.free)
	})
}
