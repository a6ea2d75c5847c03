package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"alcove/tenancy"
)

// job is what a job record of the store holds: one document to make visible, or
// versions to sweep away. How far a document has come stands in its own record.
type job struct {
	Doc   docKey       `json:"doc,omitzero"`
	Gen   uint64       `json:"gen,omitempty"`
	Sweep []jobVersion `json:"sweep,omitempty"`
	// Profiles asks for the profile vectors of the knowledge base.
	Profiles bool `json:"profiles,omitempty"`
	// Reembed asks for the change of the embedding model that the state tells of.
	Reembed bool `json:"reembed,omitempty"`
}

type jobVersion struct {
	Doc docKey `json:"d"`
	Gen uint64 `json:"g"`
}

func (c *change) addJob(j job) (tenancy.JobRef, error) {
	ref, err := c.tx.AddJob(marshalRecord(&j))
	if err != nil {
		return ref, fmt.Errorf("add job: %w", err)
	}
	return ref, nil
}

const (
	// jobPage is how many job records are read at a time at the start.
	jobPage = 1000
	// pauseFor is how long a tenant's work rests after the store refused it: a
	// full disk, a suspended tenant.
	pauseFor = 15 * time.Second
)

// queue hands accepted work to the workers, fairly between tenants. The store
// has the truth: the queue is filled from it once, at the start, and from then
// on by those who commit jobs.
type queue struct {
	eng    *Engine
	ctx    context.Context // ends the workers
	cancel context.CancelFunc
	work   sync.WaitGroup
	memory chan struct{} // one place for each large document in work, see largeDocument

	mu       sync.Mutex
	wake     *sync.Cond
	turns    turns
	reserved int // places promised to calls that are being accepted
	running  map[uint64]*running
	idle     []chan struct{} // closed when nothing waits or runs
	alarm    *time.Timer     // wakes the workers when a paused tenant's time is up
	closed   bool
	// Jobs that wait for something else than a worker: parked for the end of a
	// change of the embedding model, delayed for a time.
	parked  map[tenancy.SpaceID][]tenancy.JobRef
	delayed map[uint64]*time.Timer
	held    int // of parked
	// gathering are the delayed jobs that wait no longer than their knowledge base is
	// at work, gathered those that have waited once.
	gathering map[uint64]tenancy.JobRef
	gathered  map[uint64]bool

	stats queueStats
}

type queueStats struct {
	processed, failed, cancelled, swept atomic.Int64
}

// QueueStats says what the background work is at. Waiting and Running are
// numbers of jobs now, the others count since the start.
type QueueStats struct {
	Waiting, Running                    int
	Processed, Failed, Cancelled, Swept int64
}

// running is one job in a worker's hands.
type running struct {
	ref     tenancy.JobRef
	cancel  context.CancelFunc
	space   tenancy.SpaceID // these two of a document's job, once known
	version version

	embedded bool // no chunk of it waits for a vector now; guarded by queue.mu

	// What a person who watches wants to know, guarded by queue.mu.
	waiting  bool
	attempts int // failed tries of the model call in work
	lastErr  string
}

// newQueue reads the unfinished work of the store and starts the workers.
func newQueue(e *Engine) (*queue, error) {
	q := &queue{
		eng: e, running: map[uint64]*running{}, turns: turns{lanes: map[string]*lane{}},
		memory: make(chan struct{}, largeDocuments), parked: map[tenancy.SpaceID][]tenancy.JobRef{}, delayed: map[uint64]*time.Timer{},
		gathering: map[uint64]tenancy.JobRef{}, gathered: map[uint64]bool{},
	}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	q.wake = sync.NewCond(&q.mu)
	var after tenancy.JobRef
	for {
		refs, err := e.o.Store.Jobs(q.ctx, after, jobPage)
		if err != nil {
			q.cancel()
			return nil, err
		}
		for _, ref := range refs {
			q.turns.push(ref.Tenant(), ref)
		}
		if len(refs) < jobPage {
			break
		}
		after = refs[len(refs)-1]
	}
	return q, nil
}

// start sets the workers to work; the engine must be whole by then.
func (q *queue) start() {
	q.work.Add(q.eng.o.Workers)
	for range q.eng.o.Workers {
		go q.worker()
	}
}

// close stops the workers and waits for them. What they had in hand stays in the store.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	if q.alarm != nil {
		q.alarm.Stop()
	}
	for _, t := range q.delayed {
		t.Stop()
	}
	q.wake.Broadcast()
	q.mu.Unlock()
	q.cancel()
	q.work.Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range q.idle {
		close(c)
	}
	q.idle = nil
}

// reserve promises places to a call before it commits, ErrQueueFull when there
// are too few. The caller gives them back with unreserve after its pushes.
func (q *queue) reserve(n int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	if have := q.turns.n + q.held + q.reserved; have+n > q.eng.o.MaxPending {
		return fmt.Errorf("%w: %d of %d", ErrQueueFull, have, q.eng.o.MaxPending)
	}
	q.reserved += n
	return nil
}

func (q *queue) unreserve(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reserved -= n
}

// push queues a job that was committed.
func (q *queue) push(ref tenancy.JobRef) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.turns.push(ref.Tenant(), ref)
	q.wake.Signal()
}

// interrupt ends the work on a version that is not wanted any more. The store
// refuses what such work would commit; this spares the model calls.
func (q *queue) interrupt(s tenancy.SpaceID, v version) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.running {
		if r.space == s && r.version == v {
			r.cancel()
		}
	}
}

// forget ends the work on a knowledge base that was deleted.
func (q *queue) forget(s tenancy.SpaceID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.running {
		if r.space == s {
			r.cancel()
		}
	}
	q.held -= len(q.parked[s])
	delete(q.parked, s)
}

// working notes what a running job is about.
func (q *queue) working(r *running, s tenancy.SpaceID, v version) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r.space, r.version = s, v
}

// toEmbed is how many documents are on their way to an embedding call.
func (q *queue) toEmbed() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.running {
		if r.version != (version{}) && !r.embedded {
			n++
		}
	}
	return n
}

// embedded notes whether a document is past its embedding call.
func (q *queue) embedded(r *running, is bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r.embedded = is
}

// trying notes how the model call in work fares.
func (q *queue) trying(r *running, attempts int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r.attempts, r.waiting = attempts, err != nil
	if err != nil {
		r.lastErr = cause(err)
	}
}

func (q *queue) worker() {
	defer q.work.Done()
	for {
		ref, r, ctx, ok := q.next()
		if !ok {
			return
		}
		err := q.eng.workOn(ctx, ref, r)
		r.cancel()
		q.finish(ref, r, err)
	}
}

// next waits for a job; ok is false when the queue is closed.
func (q *queue) next() (ref tenancy.JobRef, r *running, ctx context.Context, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.closed {
			return ref, nil, nil, false
		}
		ref, due, ok := q.turns.pop(time.Now())
		if ok {
			r := &running{ref: ref}
			ctx, r.cancel = context.WithCancel(q.ctx)
			q.running[ref.Seq] = r
			return ref, r, ctx, true
		}
		if !due.IsZero() {
			q.setAlarm(due)
		}
		q.wake.Wait()
	}
}

// setAlarm wakes the workers at a time. q.mu is held.
func (q *queue) setAlarm(due time.Time) {
	if q.alarm != nil {
		q.alarm.Stop()
	}
	q.alarm = time.AfterFunc(time.Until(due), func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.wake.Broadcast()
	})
}

// errLater says that the store would not have the work now: it is to be tried
// again when the tenant has rested.
var errLater = errors.New("not possible now")

// finish takes a job out of hand, or back into the queue.
func (q *queue) finish(ref tenancy.JobRef, r *running, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running[ref.Seq] == r { // it may be in other hands already
		delete(q.running, ref.Seq)
	}
	var p *putOff
	if errors.As(err, &p) && p.rest && !q.closed {
		q.turns.pause(ref.Tenant(), ref, time.Now().Add(p.wait))
		q.wake.Signal()
	} else if errors.As(err, &p) {
		q.putOff(ref, p.wait)
		if p.gather && !q.closed {
			q.gathering[ref.Seq], q.gathered[ref.Seq] = ref, true
		}
	} else {
		delete(q.gathered, ref.Seq)
	}
	for seq, ref := range q.gathering {
		if t := q.delayed[seq]; t == nil {
			delete(q.gathering, seq) // its time is over
		} else if !q.busy(ref) {
			t.Stop()
			delete(q.delayed, seq)
			delete(q.gathering, seq)
			q.putOff(ref, 0)
		}
	}
	if errors.Is(err, errLater) && !q.closed {
		q.turns.pause(ref.Tenant(), ref, time.Now().Add(pauseFor))
		q.wake.Signal() // whoever waits has to reckon with the new time
	}
	if q.quiet() {
		for _, c := range q.idle {
			close(c)
		}
		q.idle = nil
	}
}

// gatherFor is how long a profile job waits for other work of its knowledge base.
const gatherFor = 2 * time.Second

// gather returns what puts a job off while other work of its knowledge base waits
// or runs, for gatherFor at the most, so that what each piece of it brings is done
// together; nil when there is no such work or the job has waited before.
func (q *queue) gather(ref tenancy.JobRef) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.gathered[ref.Seq] || !q.busy(ref) {
		return nil
	}
	return &putOff{wait: gatherFor, gather: true}
}

// busy reports whether other work of a job's knowledge base waits or runs. q.mu is held.
func (q *queue) busy(ref tenancy.JobRef) bool {
	if q.turns.perKB[kbOf(ref)] > 0 {
		return true
	}
	for seq, r := range q.running {
		if seq != ref.Seq && kbOf(r.ref) == kbOf(ref) {
			return true
		}
	}
	return false
}

// kbOf names the knowledge base of a job.
func kbOf(ref tenancy.JobRef) [2]string { return [2]string{ref.Tenant(), ref.KB()} }

// quiet reports whether no accepted work waits or runs. q.mu is held.
func (q *queue) quiet() bool { return q.turns.n == 0 && len(q.running) == 0 && len(q.delayed) == 0 }

// putOff sends a job back into its tenant's line, after a time, behind the one that is
// next. It is an error so that a worker can return it.
type putOff struct {
	wait time.Duration
	why  error // nil when it only gives way
	// gather ends the wait as soon as the knowledge base has no other work.
	gather bool
	// rest lets the tenant's whole line rest for the time.
	rest bool
}

func (p *putOff) Error() string { return fmt.Sprintf("put off for %v: %v", p.wait, p.why) }
func (p *putOff) Unwrap() error { return p.why }

// putOff queues a job again after a time. q.mu is held.
func (q *queue) putOff(ref tenancy.JobRef, wait time.Duration) {
	if q.closed {
		return
	}
	if wait <= 0 {
		q.turns.giveWay(ref.Tenant(), ref)
		q.wake.Signal()
		return
	}
	var t *time.Timer
	t = time.AfterFunc(wait, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.delayed[ref.Seq] == t { // not sent on before its time
			delete(q.delayed, ref.Seq)
			q.putOff(ref, 0)
		}
	})
	q.delayed[ref.Seq] = t
}

// shouldGiveWay reports whether a job should go back into its line between two groups
// of its chunks: no worker is free, a tenant that has none waits, and the job's own has
// another one, or there is but one worker. Long documents would else keep all workers for hours.
func (q *queue) shouldGiveWay(ref tenancy.JobRef) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.running) < q.eng.o.Workers {
		return false
	}
	busy := map[string]int{}
	for _, r := range q.running {
		busy[r.ref.Tenant()]++
	}
	if busy[ref.Tenant()] < 2 && q.eng.o.Workers > 1 {
		return false
	}
	now := time.Now()
	for _, l := range q.turns.ring {
		if busy[l.tenant] == 0 && !l.notBefore.After(now) {
			return true
		}
	}
	return false
}

// hurry ends the wait of a job that was put off.
func (q *queue) hurry(seq uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.delayed[seq]; t != nil {
		t.Reset(0)
	}
}

// park keeps a job until unpark.
func (q *queue) park(s tenancy.SpaceID, ref tenancy.JobRef) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.parked[s] = append(q.parked[s], ref)
	q.held++
}

// unpark queues the parked jobs of a knowledge base.
func (q *queue) unpark(s tenancy.SpaceID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, ref := range q.parked[s] {
		q.held--
		q.turns.push(ref.Tenant(), ref)
	}
	if !q.closed {
		q.wake.Broadcast()
	}
	delete(q.parked, s)
}

// WaitIdle returns when no accepted work waits or runs, or with ctx's error.
func (e *Engine) WaitIdle(ctx context.Context) error {
	q := e.queue
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
	}
	if q.quiet() {
		q.mu.Unlock()
		return nil
	}
	c := make(chan struct{})
	q.idle = append(q.idle, c)
	q.mu.Unlock()
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// QueueStats says what the background work is at.
func (e *Engine) QueueStats() QueueStats {
	q := e.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	return QueueStats{
		Waiting: q.turns.n + q.held + len(q.delayed), Running: len(q.running),
		Processed: q.stats.processed.Load(), Failed: q.stats.failed.Load(),
		Cancelled: q.stats.cancelled.Load(), Swept: q.stats.swept.Load(),
	}
}

// turns is the order of work: each tenant has a line of its own, first come
// first served, and the lines take turns, so that a tenant with a hundred
// thousand documents delays another's one by as much as one document takes. Not
// safe for concurrent use.
type turns struct {
	lanes map[string]*lane
	ring  []*lane // the lanes that are not empty; the first is next in turn
	n     int
	perKB map[[2]string]int // of n, by knowledge base
}

type lane struct {
	tenant    string
	jobs      []tenancy.JobRef
	head      int
	notBefore time.Time
}

func (t *turns) lane(tenant string) *lane {
	l := t.lanes[tenant]
	if l == nil {
		l = &lane{tenant: tenant}
		t.lanes[tenant] = l
		t.ring = append(t.ring, l)
	}
	return l
}

func (t *turns) push(tenant string, ref tenancy.JobRef) {
	l := t.lane(tenant)
	l.jobs = append(l.jobs, ref)
	t.count(ref, 1)
}

func (t *turns) count(ref tenancy.JobRef, by int) {
	if t.perKB == nil {
		t.perKB = map[[2]string]int{}
	}
	t.n += by
	if t.perKB[kbOf(ref)] += by; t.perKB[kbOf(ref)] == 0 {
		delete(t.perKB, kbOf(ref))
	}
}

// giveWay puts a job behind the next one of its line: work that goes on for long
// neither holds up the line nor waits for all of it at every turn.
func (t *turns) giveWay(tenant string, ref tenancy.JobRef) {
	l := t.lane(tenant)
	l.jobs = slices.Insert(l.jobs, min(l.head+1, len(l.jobs)), ref)
	t.n++
}

// pause puts a job back at the head of its line and lets the line rest.
func (t *turns) pause(tenant string, ref tenancy.JobRef, until time.Time) {
	l := t.lane(tenant)
	l.jobs = append([]tenancy.JobRef{ref}, l.jobs[l.head:]...)
	l.head = 0
	l.notBefore = until
	t.count(ref, 1)
}

// pop takes the next job whose tenant may work now. When there is none, due is
// the earliest time at which one may, zero when nothing waits.
func (t *turns) pop(now time.Time) (ref tenancy.JobRef, due time.Time, ok bool) {
	for i, l := range t.ring {
		if l.notBefore.After(now) {
			if due.IsZero() || l.notBefore.Before(due) {
				due = l.notBefore
			}
			continue
		}
		ref = l.jobs[l.head]
		l.head++
		t.count(ref, -1)
		t.ring = append(t.ring[:i], t.ring[i+1:]...)
		if l.head == len(l.jobs) {
			delete(t.lanes, l.tenant)
		} else {
			t.ring = append(t.ring, l)
			if l.head > 1024 && l.head > len(l.jobs)/2 {
				l.jobs = append(l.jobs[:0], l.jobs[l.head:]...)
				l.head = 0
			}
		}
		return ref, time.Time{}, true
	}
	return ref, due, false
}
