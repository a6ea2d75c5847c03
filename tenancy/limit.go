package tenancy

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrRateLimited marks a call over a rate limit: the same call is right later. A
// *RateError says when.
var ErrRateLimited = errors.New("rate limited")

// Rate is where somebody stands in the sliding window of a limit. The zero Rate
// says that nothing is limited.
type Rate struct {
	Limit, Remaining int64
	// RetryAfter is how long until there is room for what was asked, 0 when there is.
	RetryAfter time.Duration
	// Reset is when the window is empty, if nothing more comes: all of Limit is there again.
	Reset time.Time
}

// RateError is an ErrRateLimited that names the limit.
type RateError struct {
	What  string // what is limited: "queries a minute of this key"
	Asked int64  // what the call asked for
	Rate  Rate
}

// Error names the limit and what was asked for.
func (e *RateError) Error() string {
	if e.Asked > e.Rate.Limit && e.Rate.Limit > 0 {
		return fmt.Sprintf("rate limited: at most %d %s; this call alone asks for %d", e.Rate.Limit, e.What, e.Asked)
	}
	return fmt.Sprintf("rate limited: at most %d %s", e.Rate.Limit, e.What)
}

// Unwrap returns ErrRateLimited.
func (e *RateError) Unwrap() error { return ErrRateLimited }

const (
	// exactEvents is up to which limit a window keeps each event with its own time.
	// Above, events of a grain, an exactEvents-th of the window, are one entry that
	// leaves with its youngest event. What is so counted too long is at most a grain
	// of steady traffic, limit/exactEvents, and twice that is let in beyond the limit:
	// 2 in a thousand, so that steady traffic at the limit is never refused.
	exactEvents = 1000
	// maxWindows bounds how many keys are remembered. Beyond, one is forgotten for each
	// new one, whichever comes to hand: what callers can make up must not fill memory.
	maxWindows = 100_000
	// sweepAtOnce is how many windows each call looks at whether they are empty.
	sweepAtOnce = 2
)

// windows are sliding windows of one length over events of many keys. A key without
// an event in its window has none. Safe for concurrent use.
type windows[K comparable] struct {
	span time.Duration
	now  func() time.Time
	base time.Time // times are kept as distances from it: with a real clock, monotonic

	mu sync.Mutex
	of map[K]*window
}

// window are the events of one key that count, oldest first.
type window struct {
	events []tick
	head   int
	sum    int64
}

// tick is one event, or those of one grain.
type tick struct {
	grain int64
	last  time.Duration // of the youngest event in it
	n     int64
}

func newWindows[K comparable](span time.Duration, now func() time.Time) *windows[K] {
	return &windows[K]{span: span, now: now, base: now(), of: map[K]*window{}}
}

// claim is one key with the limit that holds for it now. A limit of 0 or less is none.
type claim[K comparable] struct {
	key   K
	limit int64
}

// take counts n for all the claims if each has room for it, else for none. It returns
// the rate of the claim that is nearest its limit, and its place among them: of the
// one that refuses, if one does.
func (w *windows[K]) take(n int64, claims ...claim[K]) (r Rate, which int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	at := now.Sub(w.base)
	w.sweep(at, sweepAtOnce)
	which, ok = -1, true
	for i, c := range claims {
		if c.limit <= 0 {
			continue
		}
		rate := w.rate(now, at, c, n)
		if rate.RetryAfter > 0 {
			return rate, i, false
		}
		if which < 0 || rate.Remaining < r.Remaining {
			r, which = rate, i
		}
	}
	for i, c := range claims {
		if c.limit <= 0 {
			continue
		}
		w.add(at, c, n)
		if i == which {
			r = w.rate(now, at, c, 0)
		}
	}
	return r, which, ok
}

// rate is where a claim stands, n more being asked for.
func (w *windows[K]) rate(now time.Time, at time.Duration, c claim[K], n int64) Rate {
	r := Rate{Limit: c.limit, Remaining: c.limit, Reset: now}
	x := w.of[c.key]
	if x != nil {
		x.drop(at - w.span)
		r.Remaining = max(0, c.limit-x.sum)
		if x.head < len(x.events) {
			r.Reset = w.base.Add(x.events[len(x.events)-1].last + w.span)
		}
	}
	most := c.limit
	if most > exactEvents {
		most += 2 * most / exactEvents
	}
	switch {
	case n > most: // never: the whole window is as good an answer as any
		r.RetryAfter = w.span
	case x != nil && x.sum+n > most:
		left := x.sum
		for _, e := range x.events[x.head:] {
			if left -= e.n; left+n <= most {
				r.RetryAfter = max(1, e.last+w.span-at)
				break
			}
		}
	}
	return r
}

// add counts n for a claim, whatever its limit says.
func (w *windows[K]) add(at time.Duration, c claim[K], n int64) {
	if n <= 0 {
		return
	}
	x := w.of[c.key]
	if x == nil {
		if len(w.of) >= maxWindows {
			for k := range w.of {
				delete(w.of, k)
				break
			}
		}
		x = &window{}
		w.of[c.key] = x
	}
	x.drop(at - w.span)
	grain := int64(at)
	if c.limit > exactEvents {
		grain = int64(at) / max(1, int64(w.span)/exactEvents)
	}
	x.sum += n
	if last := len(x.events) - 1; last >= x.head && (x.events[last].grain == grain || len(x.events)-x.head > 2*exactEvents) {
		x.events[last].n += n // the second only when the limit was just lowered from a large one
		x.events[last].last = at
		return
	}
	x.events = append(x.events, tick{grain, at, n})
}

// drop forgets events that are as old as the window is long, or older.
func (x *window) drop(until time.Duration) {
	for x.head < len(x.events) && x.events[x.head].last <= until {
		x.sum -= x.events[x.head].n
		x.head++
	}
	if x.head > 32 && x.head > len(x.events)/2 {
		x.events = append(x.events[:0], x.events[x.head:]...)
		x.head = 0
	}
}

// sweep looks at some windows, n of them or all below 0, and forgets those that are empty.
func (w *windows[K]) sweep(at time.Duration, n int) {
	for k, x := range w.of {
		if n == 0 {
			return
		}
		n--
		if x.drop(at - w.span); x.head == len(x.events) {
			delete(w.of, k)
		}
	}
}

// forgetIdle forgets every window without events.
func (w *windows[K]) forgetIdle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweep(w.now().Sub(w.base), -1)
}

// look is take without counting.
func (w *windows[K]) look(n int64, c claim[K]) Rate {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.limit <= 0 {
		return Rate{}
	}
	now := w.now()
	return w.rate(now, now.Sub(w.base), c, n)
}

// Limiter limits events of many keys, each key for itself, over a sliding window: in no
// window of that length more than the limit (and 2 in a thousand where the limit is
// above 1000) are let in, and steady traffic up to the limit always is. A key costs
// memory only while events of it count, and at most some 24 KB; beyond 100,000
// keys, keys are forgotten at random. Keys should be short. Safe for concurrent use.
type Limiter struct {
	w     *windows[string]
	limit int64
}

// NewLimiter returns a Limiter of so many events in a window; a limit of 0 or less is
// none. now is the clock, time.Now but in tests.
func NewLimiter(limit int64, window time.Duration, now func() time.Time) *Limiter {
	return &Limiter{newWindows[string](window, now), limit}
}

// Take counts n events of key if there is room for all of them; else it counts none
// and Rate.RetryAfter says when there will be.
func (l *Limiter) Take(key string, n int64) (Rate, bool) {
	r, _, ok := l.w.take(n, claim[string]{key, l.limit})
	return r, ok
}

// Look says where key stands without counting: RetryAfter is 0 while one more event
// has room.
func (l *Limiter) Look(key string) Rate { return l.w.look(1, claim[string]{key, l.limit}) }

// Add counts n events that have happened, whether or not there was room.
func (l *Limiter) Add(key string, n int64) Rate {
	if l.limit <= 0 {
		return Rate{}
	}
	c := claim[string]{key, l.limit}
	l.w.mu.Lock()
	at := l.w.now().Sub(l.w.base)
	l.w.sweep(at, sweepAtOnce)
	l.w.add(at, c, n)
	l.w.mu.Unlock()
	return l.w.look(1, c)
}

// Forget drops what counts for key.
func (l *Limiter) Forget(key string) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	delete(l.w.of, key)
}
