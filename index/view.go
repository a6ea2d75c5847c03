package index

import (
	"sync/atomic"
	"unsafe"
)

// A space is rows that are only ever added and a list of which of them are gone. A
// view is what a reader sees of it: the rows below n, less those that went by
// change seq. A change writes a row that no view shows, or the number of the change
// beside one that goes, and then publishes the next view by one pointer. So
// readers take no lock, wait for nobody, and a replaced vector is never seen twice
// or not at all.
type view struct {
	rowStore
	seq   uint64   // changes made
	age   int      // how often rows were numbered anew
	n     int      // rows, those that are gone included
	live  int      // rows that are there
	table []uint32 // by id: its row, or noRow; entries are read and written atomically
	walk  walker   // finds candidates among the first walk.rows() rows; nil: none does
}

// rowStore is where rows lie. Arenas are blocks of rows that are filled one after
// another: rows never move, and the heap never holds twice the space. Only
// the first block starts small and doubles, so that a knowledge base of three
// chunks does not pay for thousands.
type rowStore struct {
	dim    int
	shift  uint // an arena holds 1<<shift rows
	full   bool // float32 rows are kept
	coded  bool // codes are kept
	arenas []*arena
}

type arena struct {
	rows  []float32
	codes []int8
	marks []mark
	ids   []uint32
	gone  []uint64 // the change a row went with, 0 while it is there; atomic
}

const (
	arenaBytes   = 1 << 20
	firstRows    = 16
	maxRowsShift = 12 // 4,096 rows, reached at 64 dimensions
	noRow        = ^uint32(0)
)

func newRowStore(dim int, compact bool) rowStore {
	s := rowStore{dim: dim, full: !compact, coded: coded || compact}
	for s.shift < maxRowsShift && (2<<s.shift)*dim*4 <= arenaBytes {
		s.shift++
	}
	return s
}

func (s *rowStore) newArena(rows int) *arena {
	a := &arena{ids: make([]uint32, rows), gone: make([]uint64, rows)}
	if s.full {
		a.rows = make([]float32, rows*s.dim)
	}
	if s.coded {
		a.codes, a.marks = make([]int8, rows*codeWidth(s.dim)), make([]mark, rows)
	}
	return a
}

// room makes sure that there is memory for a row. It changes no arena that a
// view may show, but puts a larger copy in the place of the first.
func (s *rowStore) room(row int) {
	switch i := row >> s.shift; {
	case i == len(s.arenas) && i == 0:
		s.arenas = []*arena{s.newArena(min(firstRows, 1<<s.shift))}
	case i == len(s.arenas):
		s.arenas = append(s.arenas, s.newArena(1<<s.shift))
	case i == 0 && row == len(s.arenas[0].ids):
		old, bigger := s.arenas[0], s.newArena(min(2*row, 1<<s.shift))
		copy(bigger.rows, old.rows)
		copy(bigger.codes, old.codes)
		copy(bigger.marks, old.marks)
		copy(bigger.ids, old.ids)
		copy(bigger.gone, old.gone)
		s.arenas = []*arena{bigger}
	}
}

// write fills a row that no view shows. Without float32 rows unit is not kept.
func (s *rowStore) write(row int, id uint32, unit []float32) {
	a, i := s.arenas[row>>s.shift], row&(1<<s.shift-1)
	a.ids[i] = id
	if s.full {
		copy(a.rows[i*s.dim:(i+1)*s.dim], unit)
	}
	if s.coded {
		w := codeWidth(s.dim)
		a.marks[i] = encode(a.codes[i*w:(i+1)*w], unit)
	}
}

// take fills a row with the row at of another store of the same form.
func (s *rowStore) take(row int, from *rowStore, at uint32) {
	a, i := s.arenas[row>>s.shift], row&(1<<s.shift-1)
	a.ids[i] = from.id(at)
	if s.full {
		copy(a.rows[i*s.dim:(i+1)*s.dim], from.at(at))
	}
	if s.coded {
		w := codeWidth(s.dim)
		codes, m := from.codes(at)
		copy(a.codes[i*w:(i+1)*w], codes)
		a.marks[i] = *m
	}
}

// at are the values of a row. There are none in a compact store.
func (s *rowStore) at(row uint32) []float32 {
	i := int(row&(1<<s.shift-1)) * s.dim
	return s.arenas[row>>s.shift].rows[i : i+s.dim : i+s.dim]
}

// codes are those of a row, and their mark.
func (s *rowStore) codes(row uint32) ([]int8, *mark) {
	a, i, w := s.arenas[row>>s.shift], int(row&(1<<s.shift-1)), codeWidth(s.dim)
	return a.codes[i*w : (i+1)*w : (i+1)*w], &a.marks[i]
}

func (s *rowStore) id(row uint32) uint32 {
	return s.arenas[row>>s.shift].ids[row&(1<<s.shift-1)]
}

// gone is the word that says with which change a row went.
func (s *rowStore) gone(row uint32) *uint64 {
	return &s.arenas[row>>s.shift].gone[row&(1<<s.shift-1)]
}

// equal says whether two rows are the same to the bit.
func (s *rowStore) equal(a, b uint32) bool {
	if s.full {
		x, y := s.at(a), s.at(b)
		for i := range x {
			if x[i] != y[i] {
				return false
			}
		}
		return true
	}
	x, m := s.codes(a)
	y, n := s.codes(b)
	return m.scale == n.scale && string(asBytes(x)) == string(asBytes(y))
}

// asBytes is the memory of codes.
func asBytes(codes []int8) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(codes))), len(codes))
}

// bytes is what the arenas take.
func (s *rowStore) bytes() int64 {
	n := int64(cap(s.arenas)) * 8
	for _, a := range s.arenas {
		n += int64(unsafe.Sizeof(*a)) + int64(cap(a.rows))*4 + int64(cap(a.codes)) +
			int64(cap(a.marks))*int64(unsafe.Sizeof(mark{})) + int64(cap(a.ids))*4 + int64(cap(a.gone))*8
	}
	return n
}

// shows says whether a row below n is in the view.
func (w *view) shows(row uint32) bool {
	g := atomic.LoadUint64(w.gone(row))
	return g == 0 || g > w.seq
}

// whole says that no row of the view is gone.
func (w *view) whole() bool { return w.n == w.live }

// row finds the row of an id. again says that the id was given a row since the
// view was taken: the caller takes a newer one.
func (w *view) row(id uint32) (row uint32, ok, again bool) {
	if int64(id) >= int64(len(w.table)) {
		return 0, false, false
	}
	row = atomic.LoadUint32(&w.table[id])
	if row == noRow {
		return 0, false, false
	}
	return row, true, int64(row) >= int64(w.n)
}
