package index

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Errors of a vector space.
var (
	ErrDimension  = errors.New("index: vector has the wrong dimension")
	ErrNotFinite  = errors.New("index: vector holds a value that is not a finite number")
	ErrZeroVector = errors.New("index: vector has no direction: every value is zero")
	ErrK          = errors.New("index: the number of hits asked for must be at least one")
	ErrID         = errors.New("index: id is too large")
)

// MaxID is the largest id a space takes. Ids index a table of four bytes an
// entry, so that a wild id would cost gigabytes.
const MaxID = 1<<28 - 1

// MaxDim is the largest dimension a space takes, some ten times that of the
// largest embedding models in use.
const MaxDim = 1 << 16

// Vectors is one space of float32 vectors compared by cosine: unit copies in
// flat memory, and codes of a byte a value beside them. A search scans them, which
// is exact, until Tend has made a graph over them that is walked instead.
//
// Safe for concurrent use: readers take no lock, and see each change whole or not
// at all.
type Vectors struct {
	o    Options
	dim  int
	mu   sync.Mutex // of changes and of what follows
	view atomic.Pointer[view]

	tender
}

// NewVectors returns an empty space. A dimension outside 1..MaxDim makes a space
// that refuses every vector with ErrDimension.
func NewVectors(dim int, o Options) *Vectors {
	if dim < 1 || dim > MaxDim {
		dim = 0
	}
	v := &Vectors{o: o.withDefaults(), dim: dim}
	v.stop, v.idle = make(chan struct{}), sync.NewCond(&v.mu)
	v.view.Store(&view{rowStore: newRowStore(dim, o.Compact)})
	return v
}

// Len is the number of vectors.
func (v *Vectors) Len() int { return v.view.Load().live }

// Dim is the number of values in each vector.
func (v *Vectors) Dim() int { return v.dim }

// Bytes is the memory of the space: its arenas, tables and graph at their
// capacity. The scratch of searches is shared by all spaces and not in it.
func (v *Vectors) Bytes() int64 {
	w := v.view.Load()
	n := int64(unsafe.Sizeof(*v)) + int64(unsafe.Sizeof(*w)) + w.bytes() + int64(cap(w.table))*4
	if w.walk != nil {
		n += w.walk.bytes()
	}
	return n
}

// Set puts a copy of x, made one long, in the space under id, replacing the one
// that was there. x stays the caller's. It returns ErrDimension, ErrNotFinite,
// ErrZeroVector or ErrID and then changes nothing.
func (v *Vectors) Set(id uint32, x []float32) error {
	if id > MaxID {
		return fmt.Errorf("%w: %d, at most %d", ErrID, id, MaxID)
	}
	scale, err := v.scale(x)
	if err != nil {
		return fmt.Errorf("vector %d: %w", id, err)
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.unit = grown(s.unit, v.dim)
	normalise(s.unit, x, scale)
	v.mu.Lock()
	defer v.mu.Unlock()
	w := *v.view.Load()
	row := w.n
	w.room(row)
	w.write(row, id, s.unit)
	w.seq++
	w.n++
	if old, ok, _ := w.row(id); ok {
		atomic.StoreUint64(w.gone(old), w.seq)
	} else {
		w.live++
		w.growTable(id)
	}
	v.view.Store(&w)
	// After the view: who finds the row in the table finds it in a view as well.
	atomic.StoreUint32(&w.table[id], uint32(row))
	v.touch()
	v.upkeep()
	return nil
}

// growTable makes room for an entry of id.
func (w *view) growTable(id uint32) {
	if int(id) < len(w.table) {
		return
	}
	table := make([]uint32, max(int(id)+1, min(len(w.table)+len(w.table)/4, MaxID+1), 8))
	for i := copy(table, w.table); i < len(table); i++ {
		table[i] = noRow
	}
	w.table = table
}

// Delete takes a vector out and says whether it was there. No later search finds
// it. Its memory is given back when a quarter of the rows are gone.
func (v *Vectors) Delete(id uint32) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := *v.view.Load()
	row, ok, _ := w.row(id)
	if !ok {
		return false
	}
	w.seq++
	w.live--
	if w.live == 0 {
		w.arenas, w.table, w.walk, w.n = nil, nil, nil, 0
		w.age++
		v.view.Store(&w)
		return true
	}
	atomic.StoreUint64(w.gone(row), w.seq)
	v.view.Store(&w)
	atomic.StoreUint32(&w.table[id], noRow)
	v.touch()
	v.upkeep()
	return true
}

// find is the row of an id in a view that has it.
func (v *Vectors) find(id uint32) (*view, uint32, bool) {
	for {
		w := v.view.Load()
		row, ok, again := w.row(id)
		if !again {
			return w, row, ok
		}
	}
}

// Vector returns a copy of the unit vector under id; of a compact space, what its
// codes say.
func (v *Vectors) Vector(id uint32) ([]float32, bool) {
	w, row, ok := v.find(id)
	if !ok {
		return nil, false
	}
	return w.values(row), true
}

// Similarity is the cosine of q and the vector under id. It is false when there
// is no such vector or q is not a direction in this space. The value is the one
// Search gives, to the bit.
func (v *Vectors) Similarity(q []float32, id uint32) (float32, bool) {
	w, row, ok := v.find(id)
	if !ok {
		return 0, false
	}
	scale, err := v.scale(q)
	if err != nil {
		return 0, false
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.query(&w.rowStore, q, scale)
	return s.score(&w.rowStore, row), true
}

// scale is what x must be multiplied with to be one long.
func (v *Vectors) scale(x []float32) (float64, error) {
	if len(x) != v.dim || v.dim == 0 {
		return 0, fmt.Errorf("%w: %d values in a space of %d", ErrDimension, len(x), v.dim)
	}
	return scaleOf(x)
}

// scaleOf sums lengths in float64, where the square of no float32 is lost.
func scaleOf(x []float32) (float64, error) {
	var s float64
	for _, f := range x {
		s += float64(f) * float64(f)
	}
	if math.IsNaN(s) || math.IsInf(s, 0) {
		return 0, ErrNotFinite
	}
	if s == 0 {
		return 0, ErrZeroVector
	}
	return 1 / math.Sqrt(s), nil
}

func normalise(dst, x []float32, scale float64) {
	for i, f := range x {
		dst[i] = float32(float64(f) * scale)
	}
}

// Fill puts vectors in as Set does, many at a time and on several processors: rows
// holds one after another those of the ids, which must be of no vector in the space
// and different. It makes the rows one long in place. It returns what Set does, or ErrID
// for an id that is taken, and then changes nothing.
func (v *Vectors) Fill(ids []uint32, rows []float32) error {
	if v.dim == 0 || len(rows) != len(ids)*v.dim {
		return fmt.Errorf("%w: %d values for %d vectors in a space of %d", ErrDimension, len(rows), len(ids), v.dim)
	}
	at := func(i int) []float32 { return rows[i*v.dim : (i+1)*v.dim] }
	err := onBoth(len(ids), func(i int) error {
		scale, err := scaleOf(at(i))
		if err != nil {
			return fmt.Errorf("vector %d: %w", ids[i], err)
		}
		normalise(at(i), at(i), scale)
		return nil
	})
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	w := *v.view.Load()
	given := make(map[uint32]bool, len(ids))
	for _, id := range ids {
		if _, taken, _ := w.row(id); taken || id > MaxID || given[id] {
			return fmt.Errorf("%w: %d is taken or above %d", ErrID, id, MaxID)
		}
		given[id] = true
	}
	for i := range ids {
		w.room(w.n + i)
	}
	_ = onBoth(len(ids), func(i int) error {
		w.write(w.n+i, ids[i], at(i))
		return nil
	})
	first := w.n
	for _, id := range ids {
		w.growTable(id)
	}
	w.seq++
	w.n += len(ids)
	w.live += len(ids)
	v.view.Store(&w)
	for i, id := range ids {
		atomic.StoreUint32(&w.table[id], uint32(first+i))
	}
	v.touch()
	v.upkeep()
	return nil
}

// onBoth calls f for 0 to n-1, half of them beside the other half when there are many.
func onBoth(n int, f func(i int) error) error {
	half, done := n/2, make(chan error, 1)
	if n < codedRows {
		half = n
	}
	run := func(from, to int) error {
		for i := from; i < to; i++ {
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	}
	go func() { done <- run(half, n) }()
	return errors.Join(run(0, half), <-done)
}
