package tenancy

import (
	"net/netip"
	"sync"
	"time"
)

// How often a password may be wrong. At the limit a name or an address is locked, for
// twice as long at each further failure; one failure is forgotten every longestLock. So
// an account is guessed at 10 times at once and some 100 times a day; an address may be
// an office and has more.
const (
	accountTries = 10
	addressTries = 50
	firstLock    = 30 * time.Second
	longestLock  = 15 * time.Minute
	// maxTried bounds one of the two generations of names and addresses that are
	// remembered, some 10 MB in all. What falls out is what was not tried for longest.
	maxTried = 50_000
)

// LockedError is an ErrTooManyTries that says when to try again.
type LockedError struct{ Wait time.Duration }

// Error says how long.
func (e *LockedError) Error() string {
	return "too many failed sign-ins; try again in " + e.Wait.String()
}

// Unwrap returns ErrTooManyTries.
func (e *LockedError) Unwrap() error { return ErrTooManyTries }

// RetryAfter is how long to wait.
func (e *LockedError) RetryAfter() time.Duration { return e.Wait }

// lockout counts tries of passwords by account and by address. It knows names, not
// accounts: one that does not exist is locked like one that does. It is in memory
// alone: who restarts the server is not who guesses passwords. Safe for concurrent use.
type lockout struct {
	now func() time.Time

	mu       sync.Mutex
	young    map[string]*tries
	old      map[string]*tries
	mostEach int
}

type tries struct {
	n     int
	since time.Time // from when on the next failure is being forgotten
	until time.Time // locked until then
}

func newLockout(now func() time.Time) *lockout {
	return &lockout{now: now, young: map[string]*tries{}, mostEach: maxTried}
}

// take counts a try before it is made, so that many at once are not all the first. It
// returns a *LockedError while the name or the address is locked, and then counts
// nothing: who keeps knocking does not wait longer for it.
func (l *lockout) take(user string, from netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	account, address := l.of("u"+user, now), (*tries)(nil)
	if from.IsValid() {
		address = l.of(addressKey(from), now)
	}
	wait := account.until.Sub(now)
	if address != nil {
		wait = max(wait, address.until.Sub(now))
	}
	if wait > 0 {
		return &LockedError{Wait: wait}
	}
	account.count(now, accountTries)
	if address != nil {
		address.count(now, addressTries)
	}
	return nil
}

// succeeded takes back what take counted: the account's all, the address's one, since
// others may be guessing from there.
func (l *lockout) succeeded(user string, from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	*l.of("u"+user, now) = tries{}
	if from.IsValid() {
		if t := l.of(addressKey(from), now); t.n > 0 {
			t.n--
			t.until = time.Time{}
		}
	}
}

// addressKey is an address as it is counted: who has an IPv6 network has 2^64 addresses.
func addressKey(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // bits is in range
	return "a" + p.String()
}

func (t *tries) count(now time.Time, most int) {
	if t.n++; t.n == 1 {
		t.since = now
	}
	if over := t.n - most; over >= 0 {
		t.until = now.Add(min(longestLock, firstLock<<min(over, 16)))
	}
}

// of returns what is remembered under a key, less what is forgotten by now. A clock that
// was set back locks nobody for longer than a clock that was not.
func (l *lockout) of(key string, now time.Time) *tries {
	t := l.young[key]
	if t == nil {
		if t = l.old[key]; t == nil {
			t = &tries{}
		}
		if len(l.young) >= l.mostEach {
			l.old, l.young = l.young, make(map[string]*tries)
		}
		l.young[key] = t
	}
	switch gone := now.Sub(t.since) / longestLock; {
	case t.n == 0:
	case gone < 0:
		t.since = now
	default:
		t.n = max(0, t.n-int(min(gone, 1<<30)))
		t.since = t.since.Add(gone * longestLock)
	}
	if t.until.Sub(now) > longestLock {
		t.until = now.Add(longestLock)
	}
	return t
}
