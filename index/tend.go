package index

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Upkeep. A space that is tended has one goroutine when there is something to do,
// and none else. It puts new rows into the graph while searches scan them, makes
// a space without its gone rows when these are too many, and publishes what it
// made as changes do. Nobody waits for it but Close and Settle.

const (
	batchRows  = 256  // new rows are scanned until there are so many
	inlineRows = 4096 // so few are copied by the change itself
	// A space is made anew when a share of goneShare of its rows is gone.
	goneShare = 4
	fewGone   = 64
	// catchUpRows may be copied under the lock of changes.
	catchUpRows = 1024
	// A graph is measured again when it has grown by a share of remeasure.
	remeasure = 4
	// So many times Options.From are linked without a rest.
	restlessTimes = 16
)

// building is how many graphs of the process grow at a time: searches have the
// other processors. The program gives Go more threads than these only later, in main.
var building = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// tender is the part of Vectors that does the upkeep. All fields belong to
// Vectors.mu, but own is the goroutine's while it is running.
type tender struct {
	tended  bool
	running bool
	stop    chan struct{} // closed by Close
	idle    *sync.Cond    // of mu: running has become false
	work    sync.WaitGroup

	changed time.Time   // of the last change, with Options.Rest alone
	alarm   *time.Timer // wakes the upkeep at the end of a rest; nil when none is waited for

	own *own // the graph as its builder has it
}

// own is a graph and what it was measured at.
type own struct {
	builder
	age      int      // of the views whose rows it links
	measured int      // rows, when it was last measured
	missing  []uint32 // rows below n that are not in yet, after Restore
}

// Tend lets the space keep itself fast, from now on and behind its callers' backs.
// Until then, and until a graph is ready, every search is exact. Load the space
// and call Restore first. End it by Close.
func (v *Vectors) Tend() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tended = true
	v.upkeep()
}

// Close ends the upkeep and waits for it. The space can still be read and changed.
func (v *Vectors) Close() {
	v.mu.Lock()
	if !v.closed() {
		close(v.stop)
	}
	if v.alarm != nil {
		v.alarm.Stop()
	}
	v.mu.Unlock()
	v.work.Wait()
}

func (v *Vectors) closed() bool {
	select {
	case <-v.stop:
		return true
	default:
		return false
	}
}

// Settle waits until nothing is left to do, for tests and benchmarks.
func (v *Vectors) Settle() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for v.running {
		v.idle.Wait()
	}
}

// upkeep does what is due or has it done. v.mu is held.
func (v *Vectors) upkeep() {
	w := v.view.Load()
	idle := !v.tended || v.closed()
	if w.crowded() && (idle || w.n <= inlineRows && w.walk == nil) {
		next, _ := w.without(v.o.Compact)
		v.view.Store(next)
		return
	}
	if idle || v.running {
		return
	}
	if v.due(w) == nil {
		v.await(w)
		return
	}
	v.running = true
	v.work.Add(1)
	go v.tend()
}

// touch notes that the space is being changed. v.mu is held.
func (v *Vectors) touch() {
	if v.o.Rest > 0 {
		v.changed = time.Now()
	}
}

// rested says whether the space has been left alone for long enough. v.mu is held.
func (v *Vectors) rested() bool { return v.o.Rest == 0 || time.Since(v.changed) >= v.o.Rest }

// await has the upkeep looked at again when the space may have rested, if that is what
// it waits for. v.mu is held.
func (v *Vectors) await(w *view) {
	if v.alarm != nil || v.o.Rest == 0 || v.o.Backend == Exact || w.walk == nil && w.live < v.o.From || v.rested() {
		return
	}
	v.alarm = time.AfterFunc(v.o.Rest-time.Since(v.changed), func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.alarm = nil
		v.upkeep() // which waits again if there were changes
	})
}

// crowded says that too many rows are gone.
func (w *view) crowded() bool {
	gone := w.n - w.live
	return gone > fewGone && gone > w.n/goneShare
}

// due is what there is to do, nil for nothing. v.mu is held.
func (v *Vectors) due(w *view) func(*view) {
	switch {
	case w.crowded():
		return v.renew
	case v.o.Backend == Exact:
		return nil
	case w.walk == nil && w.live < v.o.From:
		return nil
	case !v.rested() && !v.restless(w):
		return nil
	case w.walk == nil:
		return v.grow
	}
	wait := batchRows
	if v.o.Backend == Coder { // every change is a graph brought in anew
		wait = max(wait, w.walk.graph().n/8)
	}
	if w.n-w.walk.graph().n >= wait {
		return v.grow
	}
	return nil
}

// restless says that too many vectors wait to be linked for a scan of them.
func (v *Vectors) restless(w *view) bool {
	linked := 0
	if w.walk != nil {
		linked = w.walk.graph().n
	}
	return w.n-linked > max(restlessTimes*v.o.From, linked/2)
}

// tend is the goroutine.
func (v *Vectors) tend() {
	defer v.work.Done()
	select {
	case building <- struct{}{}:
		defer func() { <-building }()
	case <-v.stop:
	}
	for {
		v.mu.Lock()
		w := v.view.Load()
		do := v.due(w)
		if do == nil || v.closed() {
			if v.own != nil && v.own.age != w.age {
				v.own = nil
			}
			v.running = false
			if !v.closed() {
				v.await(w)
			}
			v.idle.Broadcast()
			v.mu.Unlock()
			return
		}
		v.mu.Unlock()
		do(w)
	}
}

// grow puts the rows of w that are not in the graph into it.
func (v *Vectors) grow(w *view) {
	if v.own == nil || v.own.age != w.age {
		v.own = &own{age: w.age}
		v.own.hnsw = &hnsw{rowStore: w.rowStore}
	}
	before := v.own.measured
	if !v.fill(v.own, &w.rowStore, w.n) {
		return
	}
	g, err := v.ready(v.own, w)
	if err != nil {
		return
	}
	v.mu.Lock()
	next := *v.view.Load()
	same := next.age == w.age
	if same {
		next.walk = g
		v.view.Store(&next)
	}
	v.mu.Unlock()
	if same && v.own.measured != before {
		v.made()
	}
}

func (v *Vectors) made() {
	if v.o.Made != nil {
		v.o.Made()
	}
}

// Large says that the space has enough vectors for a graph.
func (v *Vectors) Large() bool { return v.o.Backend != Exact && v.Len() >= v.o.From }

// fill inserts what is missing and the rows of a store up to n. It is false when
// the space was closed meanwhile.
func (v *Vectors) fill(o *own, r *rowStore, n int) bool {
	from := o.n
	if n > from {
		o.extend(*r, n)
	}
	o.limit = uint32(n)
	if from == 0 {
		s := scratches.Get().(*scratch)
		o.insert(0, s)
		scratches.Put(s)
		from = 1
	}
	var next atomic.Int64
	next.Store(-int64(len(o.missing)))
	var g sync.WaitGroup
	for range min(v.o.Workers, n-from+len(o.missing)) {
		g.Go(func() {
			s := scratches.Get().(*scratch)
			defer scratches.Put(s)
			for !v.closed() {
				if v.o.Pause != nil {
					v.o.Pause()
				}
				i := next.Add(1) - 1
				switch {
				case i < 0:
					o.insert(o.missing[-i-1], s)
				case int64(from)+i < int64(n):
					o.insert(uint32(int64(from)+i), s)
				default:
					return
				}
			}
		})
	}
	g.Wait()
	if v.closed() {
		return false
	}
	o.n, o.missing = n, nil
	return true
}

// ready is a walker over a graph that goes on growing, measured when it is new or
// has grown much.
func (v *Vectors) ready(o *own, w *view) (walker, error) {
	h := *o.hnsw
	var g walker = &h
	if v.o.Backend == Coder {
		c, err := newCoder(&h)
		if err != nil {
			return nil, err
		}
		g = c
	}
	if o.measured == 0 || o.n > o.measured+o.measured/remeasure {
		o.mend()
		h.ef = calibrate(w, g, v.o.Recall)
		o.hnsw.ef, o.measured = h.ef, o.n
	}
	return g, nil
}

// without is a view of the rows that w shows alone, and where each row went.
func (w *view) without(compact bool) (next *view, to []uint32) {
	next = &view{rowStore: newRowStore(w.dim, compact), seq: w.seq, age: w.age + 1}
	to = make([]uint32, w.n)
	for row := range uint32(w.n) {
		to[row] = noRow
		if w.shows(row) {
			to[row] = uint32(next.n)
			next.add(&w.rowStore, row)
		}
	}
	return next, to
}

// add takes a row of another store into a view that nobody else has.
func (w *view) add(from *rowStore, row uint32) {
	w.room(w.n)
	w.take(w.n, from, row)
	id := from.id(row)
	w.growTable(id)
	if old := w.table[id]; old != noRow { // replaced while the copy was made
		*w.gone(old) = w.seq
		w.live--
	}
	w.table[id] = uint32(w.n)
	w.n++
	w.live++
}

// renew makes the space anew without its gone rows, with a graph when there are
// enough left, while searches and changes go on. What changed meanwhile is made
// up for at the end.
func (v *Vectors) renew(w *view) {
	next, to := w.without(v.o.Compact)
	var made *own
	v.mu.Lock()
	graph := v.o.Backend != Exact && next.live >= v.o.From && (v.rested() || v.restless(next))
	v.mu.Unlock()
	if graph {
		made = &own{age: next.age}
		made.hnsw = &hnsw{rowStore: next.rowStore}
		if !v.fill(made, &next.rowStore, next.n) {
			return
		}
	}
	if made != nil {
		g, err := v.ready(made, next)
		if err == nil {
			next.walk = g
		}
	}
	last := w
	for { // rows added meanwhile
		v.mu.Lock()
		now := v.view.Load()
		if now.age != w.age {
			v.mu.Unlock()
			return
		}
		if now.n-last.n > catchUpRows {
			v.mu.Unlock()
			next.follow(now, last.n, &to)
			last = now
			continue
		}
		next.follow(now, last.n, &to)
		for row, at := range to { // rows gone meanwhile
			if at == noRow || now.shows(uint32(row)) || *next.gone(at) != 0 {
				continue
			}
			*next.gone(at) = now.seq
			next.live--
			next.table[next.id(at)] = noRow
		}
		next.seq = now.seq
		if next.live == 0 {
			next = &view{rowStore: newRowStore(w.dim, v.o.Compact), seq: now.seq, age: next.age}
		}
		v.own = made
		v.view.Store(next)
		v.mu.Unlock()
		if made != nil {
			v.made()
		}
		return
	}
}

// follow takes the rows from the one given that a newer view shows.
func (w *view) follow(now *view, from int, to *[]uint32) {
	w.seq = now.seq
	for row := uint32(from); row < uint32(now.n); row++ {
		*to = append(*to, noRow)
		if now.shows(row) {
			(*to)[row] = uint32(w.n)
			w.add(&now.rowStore, row)
		}
	}
}

// Stats says what a space is and how it is searched.
type Stats struct {
	Rows, Gone, Tail int     // rows, those of them that are gone, those outside the graph
	Graph            bool    // a graph is walked
	Ef               int     // how wide, for ten hits
	Recall           float64 // of the nearest ten, as measured on the graph
	GraphBytes       int64
}

// Stats returns what is so now.
func (v *Vectors) Stats() Stats {
	w := v.view.Load()
	s := Stats{Rows: w.n, Gone: w.n - w.live, Tail: w.n}
	if w.walk != nil {
		h := w.walk.graph()
		s.Graph, s.Tail, s.Ef, s.Recall, s.GraphBytes = true, w.n-h.n, int(h.ef.Ten), float64(h.ef.Recall), w.walk.bytes()
	}
	return s
}
