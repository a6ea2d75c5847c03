package tenancy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeClock is a clock that a test moves.
type fakeClock struct{ t time.Time }

func newFakeClock() *fakeClock { return &fakeClock{time.Date(2026, 1, 31, 23, 59, 0, 0, time.UTC)} }

func (c *fakeClock) now() time.Time          { return c.t }
func (c *fakeClock) advance(d time.Duration) { c.t = c.t.Add(d) }

// A thousand keys at twice their limit for hours: in no window is more let in than the
// limit and one in a hundred, and a limiter that let too little in would be seen too:
// each key gets nine tenths of what is its.
func TestLimiter_NoWindowIsOverItsLimit(t *testing.T) {
	for _, c := range []struct {
		limit  int64
		span   time.Duration
		keys   int
		length time.Duration
	}{
		{1, time.Minute, rounds(1000), 2 * time.Hour},
		{10, time.Minute, rounds(1000), 3 * time.Hour},
		{50, time.Hour, rounds(1000), 12 * time.Hour},
		{100, time.Minute, rounds(100), 3 * time.Hour},
		{5000, time.Minute, rounds(10), 20 * time.Minute}, // kept in grains
	} {
		t.Run(fmt.Sprintf("%d in %v", c.limit, c.span), func(t *testing.T) {
			clock := newFakeClock()
			l := NewLimiter(c.limit, c.span, clock.now)
			rng := rand.New(rand.NewPCG(7, uint64(c.limit)))
			admitted := make([][]time.Duration, c.keys)
			start := clock.t
			// Bursts and gaps: twice the limit on average, from one to a fifth of it at once.
			mean := c.span / time.Duration(2*c.limit)
			step := mean / time.Duration(c.keys)
			for clock.t.Sub(start) < c.length {
				k := rng.IntN(c.keys)
				n := 1
				if rng.IntN(20) == 0 {
					n = 1 + rng.IntN(int(c.limit/5)+1)
				}
				for range n {
					if _, ok := l.Take(fmt.Sprint(k), 1); ok {
						admitted[k] = append(admitted[k], clock.t.Sub(start))
					}
				}
				clock.advance(time.Duration(n) * time.Duration(rng.Int64N(int64(2*step)+1)))
			}
			for k, times := range admitted {
				share := 0.9
				if c.limit < 10 { // a place stands empty until the next event happens to come
					share = 0.55
				}
				require.Greater(t, float64(len(times)), share*float64(c.limit)*float64(c.length/c.span), "key %d got its share", k)
				from := 0
				for i, at := range times {
					for times[from] <= at-c.span {
						from++
					}
					if n := int64(i - from + 1); float64(n) > float64(c.limit)*1.01 {
						t.Fatalf("key %d: %d were let in within %v before %v", k, n, c.span, at)
					}
				}
			}
		})
	}
}

// Steady traffic at the limit is never refused, in every rhythm that keeps it.
func TestLimiter_SteadyTrafficPasses(t *testing.T) {
	for _, limit := range []int64{1, 3, 10, 60, 100, 999, 1000, 1001, 1500, 6000, 100_000} {
		for _, jitter := range []bool{false, true} {
			clock := newFakeClock()
			l := NewLimiter(limit, time.Minute, clock.now)
			rng := rand.New(rand.NewPCG(1, uint64(limit)))
			start := clock.t
			for i := range min(10*limit, int64(rounds(200_000))) {
				at := time.Duration(i+1) * time.Minute / time.Duration(limit)
				if jitter && limit > 1 { // late by up to a hundredth of a slot, never early
					at = at*101/100 + time.Duration(rng.Int64N(int64(time.Minute)/limit/101))
				}
				clock.t = start.Add(at)
				r, ok := l.Take("k", 1)
				require.True(t, ok, "limit %d jitter %t: event %d was refused for %v", limit, jitter, i, r.RetryAfter)
			}
		}
	}
}

// What a refusal says holds: before RetryAfter it is refused again, after it there is
// room; and a batch counts whole or not at all.
func TestLimiter_RetryAfterIsTrue(t *testing.T) {
	for _, limit := range []int64{1, 7, 50, 4000} {
		clock := newFakeClock()
		l := NewLimiter(limit, time.Hour, clock.now)
		rng := rand.New(rand.NewPCG(3, uint64(limit)))
		for range 2000 {
			clock.advance(time.Duration(rng.Int64N(int64(time.Hour) / limit)))
			n := 1 + rng.Int64N(max(1, limit/3))
			before := l.Look("k").Remaining
			r, ok := l.Take("k", n)
			if ok {
				require.Equal(t, max(0, before-n), r.Remaining)
				continue
			}
			require.Equal(t, before, r.Remaining, "a refusal counts nothing")
			require.Positive(t, r.RetryAfter)
			clock.advance(r.RetryAfter - 1)
			_, ok = l.Take("k", n)
			require.False(t, ok, "one nanosecond too early")
			clock.advance(1)
			_, ok = l.Take("k", n)
			require.True(t, ok)
		}
		r := l.Look("k")
		clock.t = r.Reset
		require.Equal(t, limit, l.Look("k").Remaining)
		r, ok := l.Take("k", limit+limit/100+1)
		require.False(t, ok)
		require.Positive(t, r.RetryAfter)
	}
}

// Keys without events cost nothing, and a flood of made-up keys is bounded.
func TestLimiter_IdleKeysAreForgotten(t *testing.T) {
	clock := newFakeClock()
	l := NewLimiter(5, time.Minute, clock.now)
	l.Look("looked at")
	require.Empty(t, l.w.of)
	for i := range 10_000 {
		l.Take(fmt.Sprint(i), 1)
	}
	require.Len(t, l.w.of, 10_000)
	clock.advance(time.Minute)
	l.w.forgetIdle()
	require.Empty(t, l.w.of)

	for i := range 10_000 { // without anybody to sweep
		l.Take(fmt.Sprint(i), 1)
		clock.advance(100 * time.Millisecond)
	}
	require.Less(t, len(l.w.of), 3000)

	for i := range maxWindows + 500 {
		l.Add(fmt.Sprint("made up ", i), 1)
	}
	require.LessOrEqual(t, len(l.w.of), maxWindows)

	l.Add("wrong", 9)
	require.Positive(t, l.Look("wrong").RetryAfter)
	l.Forget("wrong")
	require.Zero(t, l.Look("wrong").RetryAfter)

	none := NewLimiter(0, time.Minute, clock.now)
	none.Add("k", 1_000_000)
	_, ok := none.Take("k", 1)
	require.True(t, ok)
	require.Empty(t, none.w.of)
}

// Of several limits that hold at once all count or none.
func TestWindows_AllOrNone(t *testing.T) {
	clock := newFakeClock()
	w := newWindows[string](time.Minute, clock.now)
	claims := func(key string) []claim[string] { return []claim[string]{{key, 3}, {"all", 5}} }
	var got []bool
	for _, key := range []string{"a", "a", "a", "a", "b", "b", "b"} {
		_, _, ok := w.take(1, claims(key)...)
		got = append(got, ok)
	}
	require.Equal(t, []bool{true, true, true, false, true, true, false}, got)
	require.Equal(t, int64(1), w.look(1, claim[string]{"b", 3}).Remaining)
	r, which, ok := w.take(1, claims("b")...)
	require.False(t, ok)
	require.Equal(t, 1, which)
	require.Equal(t, int64(5), r.Limit)
	require.True(t, slices.IsSortedFunc(w.of["all"].events, func(a, b tick) int { return int(a.last - b.last) }))
}
