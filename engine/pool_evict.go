package engine

import (
	"container/list"
	"fmt"
	"slices"
	"time"
)

// Pin names a knowledge base that stays in memory once it is there.
type Pin struct{ Tenant, KB string }

func (o *Options) pinned(tenant, kb string) bool {
	return slices.Contains(o.Pinned, Pin{Tenant: tenant, KB: kb})
}

// idleChecks is how often in MaxIdle the pool looks for what is idle.
const idleChecks = 4

// makeRoom evicts until extra more bases fit that take need bytes, and reports
// whether they do. It goes in steps, each from the least recently used on: over the
// byte budget idle bases first give up what is cheap to make again, then go; a
// vector graph or the float32 vectors alone cannot go, because every search of the
// base needs them at once. The byte budget is met as far as idle bases allow; the
// count is a hard limit. p.mu is held.
func (p *pool) makeRoom(extra int, need int64) bool {
	if p.closed {
		return false // close drops everything itself
	}
	crowded := func() bool { return len(p.open)+extra > p.eng.o.MaxOpen }
	over := func() bool { return p.bytes+need > p.eng.o.MaxOpenBytes }
	p.idlest(func(kb *openKB) bool {
		if !over() {
			return false
		}
		if freed := kb.trim(); freed > 0 {
			p.account(kb, max(0, kb.bytes-freed))
			p.stats.trims.Add(1)
		}
		return true
	})
	p.idlest(func(kb *openKB) bool {
		if !crowded() && !over() {
			return false
		}
		if !kb.pinned {
			p.evict(kb)
			p.stats.evictions.Add(1)
		}
		return true
	})
	if crowded() {
		return false
	}
	// A single base may be larger than the budget: it is served as long as
	// nothing else is in memory.
	return extra == 0 || !over() || len(p.open) == 0
}

// idlest calls f for the bases that nobody holds, least recently used first, until
// it returns false. f may drop the one it is called for. p.mu is held.
func (p *pool) idlest(f func(*openKB) bool) {
	var prev *list.Element
	for e := p.lru.Back(); e != nil; e = prev {
		prev = e.Prev()
		if kb := e.Value.(*openKB); kb.leases == 0 && !f(kb) {
			return
		}
	}
}

// evict puts an idle base out and remembers what it took. p.mu is held.
func (p *pool) evict(kb *openKB) {
	p.sized[kb.id] = kb.bytes
	p.drop(kb)
	p.keepEvicted(kb)
}

// trim gives up what an idle base can make again for little, the contributions that
// searches have read, and returns the bytes that were freed. It waits for no search.
func (kb *openKB) trim() int64 {
	if kb.res == nil {
		return 0
	}
	return kb.res.kept.empty()
}

// full is ErrBusy with what there is. p.mu is held.
func (p *pool) full() error {
	p.stats.refused.Add(1)
	return fmt.Errorf("%w: %d of %d open with %d of %d bytes, all in use or pinned", ErrBusy, len(p.open), p.eng.o.MaxOpen, p.bytes, p.eng.o.MaxOpenBytes)
}

// watchIdle puts out what nobody asks for, until the pool is closed.
func (p *pool) watchIdle() {
	defer p.work.Done()
	tick := time.NewTicker(max(time.Millisecond, p.eng.o.MaxIdle/idleChecks))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.dropIdle()
		case <-p.ctx.Done():
			return
		}
	}
}

// dropIdle puts out the bases that nobody holds and nobody asked for in MaxIdle.
// A document that comes in does not count as asking.
func (p *pool) dropIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	before := p.eng.o.Now().Add(-p.eng.o.MaxIdle)
	p.idlest(func(kb *openKB) bool {
		if kb.used.After(before) {
			return false // the rest was used later still
		}
		if !kb.pinned {
			p.evict(kb)
			p.stats.idle.Add(1)
		}
		return true
	})
}
