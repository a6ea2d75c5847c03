package engine

import (
	"container/list"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"alcove/tenancy"
)

// pool holds the knowledge bases that are in memory. What is searched or
// written is leased and never evicted, nor is what Options.Pinned names; the rest
// leaves in LRU order as soon as there are more than MaxOpen of them or they take
// more than MaxOpenBytes, and when nobody asked for it for MaxIdle (pool_evict.go).
// Loading is single-flight for one base and side by side for different ones.
type pool struct {
	eng     *Engine
	ctx     context.Context // ends loading and catching up at close
	cancel  context.CancelFunc
	work    sync.WaitGroup
	watches sync.WaitGroup // of goroutines that end with ctx alone
	// counting holds who makes communities: one base at a time.
	counting chan struct{}
	// graphs holds who is at the second step of a load: no more at once than there are
	// processors, so that of many loads the passages, which answer some questions
	// already, come first.
	graphs chan struct{}
	// keeping holds who stores a snapshot: one base at a time.
	keeping chan struct{}

	mu     sync.Mutex
	open   map[tenancy.SpaceID]*openKB
	lru    *list.List // of *openKB, most recently used first
	bytes  int64      // what bases take, and those that load will take
	closed bool
	// sized is what bases took when they were put out: what their next load is
	// taken to need until it is there. One number a base, gone with the base.
	sized map[tenancy.SpaceID]int64

	stats poolStats
}

// poolStats counts in plain atomics; a collector reads them.
type poolStats struct {
	hits, misses, evictions, loads atomic.Int64
	trims, idle, refused, failed   atomic.Int64
	graphs, snapshots, restored    atomic.Int64
	loading                        durations
}

// PoolStats says how the cache of open knowledge bases fares.
type PoolStats struct {
	Open, Hits, Misses, Evictions, Loads int64
	Graphs                               int64 // vector graphs made and stored
	Snapshots, Restored                  int64 // copies stored as a snapshot, and loads out of one
	Pinned                               int64 // of the open ones
	Trims                                int64 // bases that gave up what is cheap to make again, and stayed
	Idle                                 int64 // bases put out because nobody asked for them; not among Evictions
	Refused                              int64 // ErrBusy
	FailedLoads                          int64 // of Loads
	Bytes, MaxBytes                      int64
	LoadTime                             time.Duration // of all loads together
	Loading                              Durations     // of each load
}

// openKB is one entry. leases, elem and bytes belong to pool.mu; res is set
// before early is closed, err before ready is; res is guarded by its own lock.
type openKB struct {
	id        tenancy.SpaceID
	tenant    string
	name      string
	early     chan struct{} // closed when a search for passages can be answered, or ready is
	ready     chan struct{}
	err       error
	res       *resident
	leases    int
	bytes     int64
	pinned    bool
	used      time.Time   // when it was asked for last
	forgotten atomic.Bool // its snapshot is not to be stored
	gone      bool        // dropped from the pool; the last lease lets go of the memory
	elem      *list.Element

	catching sync.Mutex  // one goroutine brings res up to date at a time
	nudged   atomic.Bool // a background catch-up is on its way
	profiler profiler

	communities        communities // of the graph, when they were asked for
	keeping, keepAgain bool        // graphs are being stored, and there is more to store; of pool.mu
}

func newPool(e *Engine) *pool {
	ctx, cancel := context.WithCancel(context.Background())
	p := &pool{eng: e, ctx: ctx, cancel: cancel, open: map[tenancy.SpaceID]*openKB{}, sized: map[tenancy.SpaceID]int64{}, lru: list.New(), counting: make(chan struct{}, 1), graphs: make(chan struct{}, processors()), keeping: make(chan struct{}, 1)}
	p.watches.Go(p.watchRest)
	if e.o.MaxIdle > 0 {
		p.work.Add(1)
		go p.watchIdle()
	}
	return p
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.watches.Wait()
	p.work.Wait()
	p.mu.Lock()
	open := slices.Collect(maps.Values(p.open))
	p.mu.Unlock()
	for _, kb := range open { // all are loaded: nobody is at work any more
		if kb.res != nil {
			kb.res.untend()
		}
	}
	p.keepAll(open)
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
		kb.forgotten.Store(true)
		p.drop(kb)
	}
	delete(p.sized, id)
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
	kb, release, err := p.lease(s)
	if err == nil {
		if _, err = kb.await(ctx, kb.ready); err != nil {
			release()
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return kb, release, nil
}

// await waits for a step of the load and says whether it is all that is there yet.
func (kb *openKB) await(ctx context.Context, step <-chan struct{}) (early bool, err error) {
	select {
	case <-step:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	select {
	case <-kb.ready:
		return false, kb.err
	default:
		return true, nil
	}
}

// lease is acquire that does not wait for the load.
func (p *pool) lease(s *tenancy.Space) (*openKB, func(), error) {
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
		need := p.sized[s.ID()]
		if !p.makeRoom(1, need) {
			err := p.full()
			p.mu.Unlock()
			return nil, nil, err
		}
		kb = &openKB{id: s.ID(), tenant: s.TenantID(), name: s.KBID(), early: make(chan struct{}), ready: make(chan struct{}), bytes: need, pinned: p.eng.o.pinned(s.TenantID(), s.KBID())}
		p.bytes += need
		kb.elem = p.lru.PushFront(kb)
		p.open[kb.id] = kb
		// The load belongs to the pool, not to the caller that happened to ask
		// first: others may be waiting for it when that caller hangs up.
		p.work.Add(1)
		go p.load(kb, s)
	}
	kb.leases++
	kb.used = p.eng.o.Now()
	p.mu.Unlock()

	return kb, sync.OnceFunc(func() { p.release(kb) }), nil
}

func (p *pool) load(kb *openKB, s *tenancy.Space) {
	defer p.work.Done()
	t := time.Now()
	vectors := p.eng.o.vectorOptions()
	vectors.Pause = p.eng.giveWay
	vectors.Made = func() { p.graphMade(kb, s.TenantID(), s.KBID()) }
	early, second := false, false
	res, err := loadResident(p.ctx, p.eng, s, vectors, func(r *resident) {
		p.mu.Lock()
		kb.res, early = r, true
		p.mu.Unlock()
		close(kb.early)
		select {
		case p.graphs <- struct{}{}:
			second = true
		case <-p.ctx.Done(): // and so is the load
		}
	})
	if second {
		<-p.graphs
	}
	p.stats.loads.Add(1)
	p.stats.loading.observe(time.Since(t))
	var bytes int64
	if err == nil {
		bytes = res.bytes()
	} else {
		p.stats.failed.Add(1)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	kb.err = err
	if !early {
		kb.res = res
	}
	if err != nil {
		p.drop(kb) // the next one to ask tries again
	} else if !kb.gone {
		p.account(kb, bytes)
	} else {
		p.work.Go(res.untend)
	}
	close(kb.ready)
	if !early {
		close(kb.early)
	}
	p.makeRoom(0, 0)
}

// size is what kb takes; it is asked for before p.mu is taken, since it waits for
// whoever changes the copy.
func (kb *openKB) size() int64 { return kb.res.bytes() + kb.communities.bytes() }

// account brings kb's share of the byte budget up to date. p.mu is held.
func (p *pool) account(kb *openKB, bytes int64) {
	if kb.gone {
		return
	}
	p.bytes += bytes - kb.bytes
	kb.bytes = bytes
}

// release gives a lease back. Of two at a time the one may enter a size that is
// older than the other's: the next lease puts it right.
func (p *pool) release(kb *openKB) {
	loaded := false
	select {
	case <-kb.ready:
		loaded = kb.err == nil
	default: // who asked went while it was loaded
	}
	var bytes int64
	if loaded {
		bytes = kb.size()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	kb.leases--
	if loaded {
		p.account(kb, bytes)
	}
	p.makeRoom(0, 0)
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
	open, pinned, bytes := int64(len(p.open)), int64(0), p.bytes
	for _, kb := range p.open {
		if kb.pinned {
			pinned++
		}
	}
	p.mu.Unlock()
	n := &p.stats
	loading := n.loading.read()
	return PoolStats{
		Open: open, Pinned: pinned, Bytes: bytes, MaxBytes: e.o.MaxOpenBytes,
		Hits: n.hits.Load(), Misses: n.misses.Load(), Evictions: n.evictions.Load(),
		Graphs: n.graphs.Load(), Snapshots: n.snapshots.Load(), Restored: n.restored.Load(), Trims: n.trims.Load(), Idle: n.idle.Load(), Refused: n.refused.Load(),
		Loads: n.loads.Load(), FailedLoads: n.failed.Load(), LoadTime: loading.Sum, Loading: loading,
	}
}
