package engine

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"alcove/tenancy"
)

// urgency orders those who wait for a model.
type urgency int

const (
	forQuery urgency = iota // somebody waits for the answer
	forWork                 // work on documents and profiles
	urgencies
)

const (
	// queriesFirst is how many places in a row go to questions while work waits too:
	// then one goes to work, so that no stream of questions stops every document.
	queriesFirst = 7
	// leastCharge is what a place costs at least, so that calls too quick for the clock
	// take turns.
	leastCharge = time.Millisecond
)

// places are how many calls of one kind may run at once, for the whole server: the
// calls of models, those of chat, embedding and rerank models alike, or the searches,
// which share the processors. Who waits is served by urgency, and within
// one fairly between tenants, by the time that their calls have held places
// (start-time fair queueing, Goyal, Vin and Cheng 1996): whoever has had least is next,
// so that long calls count as much more as they take and a thousand waiting calls no
// more than one. Within a tenant first come is first served. A tenant that comes
// anew stands where the one that was served last stands: it is not owed for the time
// in which it wanted nothing. Safe for concurrent use; free and spare are set once.
//
// With spare, a tenant that holds a place does not take the last one while another has
// asked within that time: who comes with one call then finds a place free instead of
// waiting for one (leaving it idle for who is likely to come is Iyer and Druschel's
// anticipatory scheduling, SOSP 2001).
type places struct {
	mu       sync.Mutex
	spare    time.Duration
	free     int // above 0 only while nobody waits who may have one
	accounts map[string]*account
	waiting  [urgencies]int
	inARow   int           // places given to questions while work waited
	floor    time.Duration // what the one served last had used
	typical  time.Duration // a moving mean of how long a call holds its place
	served   uint64
	// Who asked last and when, and when anybody else last did: kept with spare alone.
	asker            string
	asked, elseAsked time.Time
}

// processors is how much can be computed at once: Go may have been given more threads
// than there are processors, so that the system shares them out.
func processors() int { return min(runtime.GOMAXPROCS(0), runtime.NumCPU()) }

// account is a tenant that waits, runs, or has had more than its share of late.
type account struct {
	used    time.Duration
	running int
	last    uint64 // when it was served last, by places.served
	waiting [urgencies][]chan struct{}
}

func (a *account) idle() bool {
	return a.running == 0 && len(a.waiting[forQuery]) == 0 && len(a.waiting[forWork]) == 0
}

// of returns a tenant's account. p.mu is held.
func (p *places) of(tenant string) *account {
	a := p.accounts[tenant]
	if a == nil {
		if p.accounts == nil {
			p.accounts = map[string]*account{}
		}
		a = &account{used: p.floor}
		p.accounts[tenant] = a
	} else if a.idle() {
		a.used = max(a.used, p.floor)
	}
	return a
}

// take waits for a place or for the end of ctx. Who has one gives it back with leave.
func (p *places) take(ctx context.Context, tenant string, u urgency) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	a := p.of(tenant)
	if p.spare > 0 {
		if tenant != p.asker {
			p.asker, p.elseAsked = tenant, p.asked
		}
		p.asked = time.Now()
	}
	if p.free > 0 && p.may(tenant, a) {
		p.free--
		p.serve(a)
		p.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	a.waiting[u] = append(a.waiting[u], turn)
	p.waiting[u]++
	p.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(a.waiting[u], turn)
	if i >= 0 {
		a.waiting[u] = slices.Delete(a.waiting[u], i, i+1)
		p.waiting[u]--
		p.tidy()
	}
	p.mu.Unlock()
	if i < 0 { // the place came at the same moment
		p.leave(tenant, 0)
	}
	return ctx.Err()
}

// may reports whether a tenant may have one of the free places now. One that may not
// holds another: when it gives that back, it is looked at again. p.mu is held.
func (p *places) may(tenant string, a *account) bool {
	if p.spare == 0 || p.free > 1 || a.running == 0 {
		return true
	}
	other := p.asked
	if tenant == p.asker {
		other = p.elseAsked
	}
	return time.Since(other) > p.spare
}

// serve notes that a tenant gets a place. p.mu is held.
func (p *places) serve(a *account) {
	p.served++
	a.running++
	a.last = p.served
	p.floor = max(p.floor, a.used)
}

// leave gives back a tenant's place, which it held for so long: to the next in turn.
func (p *places) leave(tenant string, held time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	held = max(held, leastCharge)
	a := p.accounts[tenant]
	a.running--
	a.used += held
	p.typical += (held - p.typical) / 8
	p.free++
	for p.free > 0 && p.next() {
		p.free--
	}
	p.tidy()
}

// next gives a free place to who is next in turn, and reports whether anybody was
// waiting who may have it. It looks at every tenant that waits: no more than there are
// requests and workers.
func (p *places) next() bool {
	u := forQuery
	switch queries, work := p.waiting[forQuery] > 0, p.waiting[forWork] > 0; {
	case !queries && !work:
		return false
	case !queries, work && p.inARow >= queriesFirst:
		u, p.inARow = forWork, 0
	case work:
		p.inARow++
	}
	var best *account
	var least time.Duration
	for tenant, a := range p.accounts {
		if len(a.waiting[u]) == 0 || !p.may(tenant, a) {
			continue
		}
		// What runs is charged in advance, or the first to come would take all places.
		has := a.used + time.Duration(a.running)*p.typical
		if best == nil || has < least || has == least && a.last < best.last {
			best, least = a, has
		}
	}
	if best == nil {
		return false
	}
	turn := best.waiting[u][0]
	best.waiting[u] = best.waiting[u][1:]
	p.waiting[u]--
	p.serve(best)
	close(turn)
	return true
}

// tidy forgets tenants that want nothing and owe nothing. p.mu is held.
func (p *places) tidy() {
	busy := false
	for tenant, a := range p.accounts {
		if !a.idle() {
			busy = true
		} else if a.used <= p.floor {
			delete(p.accounts, tenant)
		}
	}
	if !busy { // nobody is there to be owed to
		clear(p.accounts)
		p.floor = 0
	}
}

type payerKey struct{}

// paidBy says whose the model calls under ctx are: the tenant of the Space waits in
// its own line for them and its quota pays. It travels in the context because calls are
// made by what knows no tenants, an Extractor or an Embedder.
func paidBy(ctx context.Context, s *tenancy.Space) context.Context {
	return context.WithValue(ctx, payerKey{}, s)
}

// payer is who paidBy has named, or nil.
func payer(ctx context.Context) *tenancy.Space {
	s, _ := ctx.Value(payerKey{}).(*tenancy.Space)
	return s
}

// spend counts the tokens of an answered call for whoever pays.
func spend(ctx context.Context, tokens int) {
	if s := payer(ctx); s != nil {
		s.SpendTokens(int64(tokens))
	}
}

// model runs f in one of the places for model calls. It returns tenancy's ErrQuota,
// and f does not run, when the tokens of whoever pays are spent.
func (e *Engine) model(ctx context.Context, u urgency, f func() error) error {
	tenant := ""
	if s := payer(ctx); s != nil {
		if err := s.TokensLeft(); err != nil {
			return err
		}
		tenant = s.TenantID()
	}
	if err := e.models.take(ctx, tenant, u); err != nil {
		return err
	}
	start := time.Now()
	defer func() { e.models.leave(tenant, time.Since(start)) }()
	err := f()
	e.meter.models.observe(time.Since(start))
	if err != nil {
		e.meter.modelErrors.Add(1)
	}
	return err
}

// searchSpare is for how long after a tenant's question another's leave it a processor.
const searchSpare = time.Second

// search runs f, a look into a loaded knowledge base, in one of the places for
// searches: there is one for each processor, for more at once only stand in each
// other's way. A tenant that asks a hundred questions at once delays another's by the
// search in hand at most, and where both have asked of late by none.
func (e *Engine) search(ctx context.Context, s *tenancy.Space, f func() error) error {
	if err := e.searches.take(ctx, s.TenantID(), forQuery); err != nil {
		return err
	}
	start := time.Now()
	defer func() { e.searches.leave(s.TenantID(), time.Since(start)) }()
	return f()
}
