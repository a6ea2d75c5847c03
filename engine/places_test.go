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
				require.NoError(t, p.take(context.Background(), forWork))
				var served []int
				cancels := make([]context.CancelFunc, len(c.come))
				errs := make([]error, len(c.come))
				for i, u := range c.come {
					ctx, cancel := context.WithCancel(context.Background())
					cancels[i] = cancel
					go func() {
						if errs[i] = p.take(ctx, u); errs[i] == nil {
							served = append(served, i) // one place: no two at once
							p.leave()
						}
					}()
					synctest.Wait() // it stands in line
				}
				for _, i := range c.leave {
					cancels[i]()
					synctest.Wait()
					require.ErrorIs(t, errs[i], context.Canceled)
				}
				p.leave()
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
		require.ErrorIs(t, p.take(ctx, forQuery), context.Canceled)
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
				require.NoError(t, p.take(context.Background(), forWork))
				ctx, cancel := context.WithCancel(context.Background())
				var first error
				next := false
				go func() { first = p.take(ctx, forQuery) }()
				go func() {
					if p.take(context.Background(), forWork) == nil {
						next = true
					}
				}()
				synctest.Wait()
				// Under the lock both come before the caller can act on either.
				p.mu.Lock()
				if !placeFirst {
					cancel()
				}
				close(p.waiting[forQuery][0])
				p.waiting[forQuery] = p.waiting[forQuery][1:]
				cancel()
				p.mu.Unlock()
				synctest.Wait()
				if placeFirst {
					require.NoError(t, first)
					require.False(t, next)
					p.leave()
					synctest.Wait()
				} else {
					require.ErrorIs(t, first, context.Canceled)
				}
				require.True(t, next)
				p.leave()
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
	for _, w := range e.models.waiting {
		require.Empty(t, w)
	}
}
