package engine

import (
	"container/list"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"alcove/tenancy"
)

// pool holds the knowledge bases that are in memory. What is searched or
// written is leased and never evicted; the rest leaves in LRU order as soon as
// there are more than MaxOpen of them or they take more than MaxOpenBytes.
// Loading is single-flight for one base and side by side for different ones.
type pool struct {
	eng    *Engine
	ctx    context.Context // ends loading and catching up at close
	cancel context.CancelFunc
	work   sync.WaitGroup
	// counting holds who makes communities: one base at a time.
	counting chan struct{}

	mu     sync.Mutex
	open   map[tenancy.SpaceID]*openKB
	lru    *list.List // of *openKB, most recently used first
	bytes  int64
	closed bool

	stats poolStats
}

// poolStats counts in plain atomics; a collector reads them.
type poolStats struct {
	hits, misses, evictions, loads atomic.Int64
	graphs                         atomic.Int64
	loadNanos                      atomic.Int64
}

// PoolStats says how the cache of open knowledge bases fares.
type PoolStats struct {
	Open, Hits, Misses, Evictions, Loads int64
	Graphs                               int64 // vector graphs made and stored
	Bytes                                int64
	LoadTime                             time.Duration // of all loads together
}

// openKB is one entry. leases, elem and bytes belong to pool.mu; res is set
// before ready is closed and guarded by its own lock.
type openKB struct {
	id     tenancy.SpaceID
	ready  chan struct{}
	err    error
	res    *resident
	leases int
	bytes  int64
	gone   bool // dropped from the pool; the last lease lets go of the memory
	elem   *list.Element

	catching sync.Mutex  // one goroutine brings res up to date at a time
	nudged   atomic.Bool // a background catch-up is on its way
	profiler profiler

	communities        communities // of the graph, when they were asked for
	keeping, keepAgain bool        // graphs are being stored, and there is more to store; of pool.mu
}

func newPool(e *Engine) *pool {
	ctx, cancel := context.WithCancel(context.Background())
	return &pool{eng: e, ctx: ctx, cancel: cancel, open: map[tenancy.SpaceID]*openKB{}, lru: list.New(), counting: make(chan struct{}, 1)}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.work.Wait()
	p.mu.Lock()
	open := slices.Collect(maps.Values(p.open))
	p.mu.Unlock()
	for _, kb := range open { // all are loaded: nobody is at work any more
		if kb.res != nil {
			kb.res.untend()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, kb := range p.open {
		p.drop(kb)
	}
}

// forget drops a base that was deleted. Readers that hold it finish on what
// they hold; their next read of the store is refused by the Space.
func (p *pool) forget(id tenancy.SpaceID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kb := p.open[id]; kb != nil && !p.closed {
		p.drop(kb)
	}
}

// drop takes kb out of the pool. p.mu is held.
func (p *pool) drop(kb *openKB) {
	if kb.gone {
		return
	}
	kb.gone = true
	kb.communities.stop()
	delete(p.open, kb.id)
	p.lru.Remove(kb.elem)
	p.bytes -= kb.bytes
	select {
	case <-kb.ready:
		if kb.res != nil && !p.closed { // close waits for the rest itself
			p.work.Go(kb.res.untend)
		}
	default: // who loads it finds it gone
	}
}

// acquire pins the knowledge base of a Space, loading it when it is not in
// memory, and returns it with the function that lets go. It returns ErrBusy
// when the pool is full of bases in use, and the error of the load otherwise.
func (p *pool) acquire(ctx context.Context, s *tenancy.Space) (*openKB, func(), error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, nil, ErrClosed
	}
	kb := p.open[s.ID()]
	if kb != nil {
		p.stats.hits.Add(1)
		p.lru.MoveToFront(kb.elem)
	} else {
		p.stats.misses.Add(1)
		if !p.makeRoom(1) {
			p.mu.Unlock()
			return nil, nil, fmt.Errorf("%w: %d of %d open, all in use", ErrBusy, len(p.open), p.eng.o.MaxOpen)
		}
		kb = &openKB{id: s.ID(), ready: make(chan struct{})}
		kb.elem = p.lru.PushFront(kb)
		p.open[kb.id] = kb
		// The load belongs to the pool, not to the caller that happened to ask
		// first: others may be waiting for it when that caller hangs up.
		p.work.Add(1)
		go p.load(kb, s)
	}
	kb.leases++
	p.mu.Unlock()

	release := sync.OnceFunc(func() { p.release(kb) })
	select {
	case <-kb.ready:
	case <-ctx.Done():
		release()
		return nil, nil, ctx.Err()
	}
	if kb.err != nil {
		release()
		return nil, nil, kb.err
	}
	return kb, release, nil
}

func (p *pool) load(kb *openKB, s *tenancy.Space) {
	defer p.work.Done()
	t := time.Now()
	vectors := p.eng.o.vectorOptions()
	vectors.Made = func() { p.graphMade(kb, s.TenantID(), s.KBID()) }
	res, err := loadResident(p.ctx, p.eng, s, vectors)
	p.stats.loads.Add(1)
	p.stats.loadNanos.Add(int64(time.Since(t)))
	p.mu.Lock()
	defer p.mu.Unlock()
	kb.res, kb.err = res, err
	if err != nil {
		p.drop(kb) // the next one to ask tries again
	} else if !kb.gone {
		p.account(kb)
	} else {
		p.work.Go(res.untend)
	}
	close(kb.ready)
}

// account brings kb's share of the byte budget up to date. p.mu is held.
func (p *pool) account(kb *openKB) {
	if kb.gone || kb.res == nil {
		return
	}
	n := kb.res.bytes() + kb.communities.bytes()
	p.bytes += n - kb.bytes
	kb.bytes = n
}

func (p *pool) release(kb *openKB) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kb.leases--
	p.account(kb)
	if !p.closed {
		p.makeRoom(0)
	}
}

// makeRoom evicts idle bases, least recently used first, until extra more fit,
// and reports whether they do. The byte budget is met as far as idle bases
// allow; the count is a hard limit. p.mu is held.
func (p *pool) makeRoom(extra int) bool {
	over := func() bool { return len(p.open)+extra > p.eng.o.MaxOpen || p.bytes > p.eng.o.MaxOpenBytes }
	for e := p.lru.Back(); e != nil && over(); {
		kb, prev := e.Value.(*openKB), e.Prev()
		if kb.leases == 0 {
			p.drop(kb)
			p.stats.evictions.Add(1)
		}
		e = prev
	}
	if len(p.open)+extra > p.eng.o.MaxOpen {
		return false
	}
	// A single base may be larger than the budget: it is served as long as
	// nothing else is in memory.
	return extra == 0 || p.bytes <= p.eng.o.MaxOpenBytes || len(p.open) == 0
}

// changed brings a base that is in memory up to date behind the scenes, so that
// the next question does not wait for it. Called after every visible commit.
func (p *pool) changed(s *tenancy.Space) {
	p.mu.Lock()
	kb := p.open[s.ID()]
	if kb == nil || p.closed || kb.nudged.Swap(true) {
		p.mu.Unlock()
		return
	}
	kb.leases++
	p.work.Add(1)
	p.mu.Unlock()
	go func() {
		defer p.work.Done()
		defer p.release(kb)
		select {
		case <-kb.ready:
		case <-p.ctx.Done():
			return
		}
		kb.nudged.Store(false) // before looking: a change from here on nudges again
		if kb.err != nil {
			return
		}
		if err := kb.catchUp(p.ctx, s); err != nil && p.ctx.Err() == nil {
			p.eng.o.Logger.Warn("catch up", "scope", s.KBID(), "error", err)
		}
	}()
}

// Stats says how the cache of open knowledge bases fares.
func (e *Engine) Stats() PoolStats {
	p := e.pool
	p.mu.Lock()
	open, bytes := int64(len(p.open)), p.bytes
	p.mu.Unlock()
	return PoolStats{
		Open: open, Bytes: bytes,
		Hits: p.stats.hits.Load(), Misses: p.stats.misses.Load(), Evictions: p.stats.evictions.Load(),
		Loads: p.stats.loads.Load(), Graphs: p.stats.graphs.Load(), LoadTime: time.Duration(p.stats.loadNanos.Load()),
	}
}
