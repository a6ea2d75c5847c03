package index

import (
	"errors"
	"fmt"
	"math"
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

// Arenas are blocks of rows that are filled one after another: rows are never
// copied when the space grows, and the heap never holds twice the space. Only
// the first block starts small and doubles, so that a knowledge base of three
// chunks does not pay for thousands.
const (
	arenaBytes   = 1 << 20
	firstRows    = 16
	maxRowsShift = 12 // 4,096 rows, reached at 64 dimensions
	noRow        = ^uint32(0)
)

// Vectors is one exact space of float32 vectors compared by cosine: unit copies
// in flat memory, scanned whole. Many goroutines may read it at a time, or one
// may change it; the owner keeps them apart.
type Vectors struct {
	dim    int
	shift  uint     // an arena holds 1<<shift rows
	arenas []arena  // every one full but the last
	ids    []uint32 // by row
	rows   []uint32 // by id: its row, or noRow
}

// arena is a block of rows. Their codes and marks are there where a kernel reads
// them (coded).
type arena struct {
	rows  []float32
	codes []int8
	marks []mark
}

func (v *Vectors) newArena(rows int) arena {
	a := arena{rows: make([]float32, rows*v.dim)}
	if coded {
		a.codes, a.marks = make([]int8, rows*codeWidth(v.dim)), make([]mark, rows)
	}
	return a
}

// NewVectors returns an empty space. A dimension outside 1..MaxDim makes a space
// that refuses every vector with ErrDimension.
func NewVectors(dim int) *Vectors {
	if dim < 1 || dim > MaxDim {
		dim = 0
	}
	v := &Vectors{dim: dim}
	for v.shift < maxRowsShift && (2<<v.shift)*dim*4 <= arenaBytes {
		v.shift++
	}
	return v
}

// Len is the number of vectors.
func (v *Vectors) Len() int { return len(v.ids) }

// Dim is the number of values in each vector.
func (v *Vectors) Dim() int { return v.dim }

// Bytes is the memory of the space: its arenas and tables at their capacity.
func (v *Vectors) Bytes() int64 {
	n := int64(unsafe.Sizeof(*v)) + int64(cap(v.arenas))*int64(unsafe.Sizeof(arena{}))
	for i := range v.arenas {
		a := &v.arenas[i]
		n += int64(cap(a.rows))*4 + int64(cap(a.codes)) + int64(cap(a.marks))*int64(unsafe.Sizeof(mark{}))
	}
	return n + int64(cap(v.ids)+cap(v.rows))*4
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
	row, ok := v.row(id)
	if !ok {
		row = v.grow(id)
	}
	unit := v.at(row)
	normalise(unit, x, scale)
	if coded {
		codes, k := v.codes(row)
		*k = encode(codes, unit)
	}
	return nil
}

// Delete takes a vector out and says whether it was there. Its memory goes to
// the next vector, and back to the heap once an arena's worth is free.
func (v *Vectors) Delete(id uint32) bool {
	row, ok := v.row(id)
	if !ok {
		return false
	}
	last := uint32(len(v.ids) - 1)
	if row != last {
		copy(v.at(row), v.at(last))
		if coded {
			to, k := v.codes(row)
			from, l := v.codes(last)
			copy(to, from)
			*k = *l
		}
		v.ids[row] = v.ids[last]
		v.rows[v.ids[row]] = row
	}
	v.ids = v.ids[:last]
	v.rows[id] = noRow
	v.shrink()
	return true
}

// Vector returns a copy of the unit vector under id.
func (v *Vectors) Vector(id uint32) ([]float32, bool) {
	row, ok := v.row(id)
	if !ok {
		return nil, false
	}
	return append([]float32(nil), v.at(row)...), true
}

// Similarity is the cosine of q and the vector under id. It is false when there
// is no such vector or q is not a direction in this space. The value is the one
// Search gives, to the bit.
func (v *Vectors) Similarity(q []float32, id uint32) (float32, bool) {
	row, ok := v.row(id)
	if !ok {
		return 0, false
	}
	scale, err := v.scale(q)
	if err != nil {
		return 0, false
	}
	unit := make([]float32, v.dim)
	normalise(unit, q, scale)
	return dot(unit, v.at(row)), true
}

// scale is what x must be multiplied with to be one long. Lengths are summed in
// float64, where the square of no float32 is lost.
func (v *Vectors) scale(x []float32) (float64, error) {
	if len(x) != v.dim || v.dim == 0 {
		return 0, fmt.Errorf("%w: %d values in a space of %d", ErrDimension, len(x), v.dim)
	}
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

func (v *Vectors) row(id uint32) (uint32, bool) {
	if int64(id) >= int64(len(v.rows)) || v.rows[id] == noRow {
		return 0, false
	}
	return v.rows[id], true
}

// at is the memory of a row.
func (v *Vectors) at(row uint32) []float32 {
	i := int(row&(1<<v.shift-1)) * v.dim
	return v.arenas[row>>v.shift].rows[i : i+v.dim : i+v.dim]
}

// codes are those of a row, and their mark.
func (v *Vectors) codes(row uint32) ([]int8, *mark) {
	a, i, w := &v.arenas[row>>v.shift], int(row&(1<<v.shift-1)), codeWidth(v.dim)
	return a.codes[i*w : (i+1)*w], &a.marks[i]
}

// grow makes a row for a new id.
func (v *Vectors) grow(id uint32) uint32 {
	row := uint32(len(v.ids))
	v.ids = append(v.ids, id)
	if n := int(id) + 1 - len(v.rows); n > 0 {
		old := len(v.rows)
		v.rows = append(v.rows, make([]uint32, n)...)
		for i := old; i < len(v.rows); i++ {
			v.rows[i] = noRow
		}
	}
	v.rows[id] = row
	switch a := int(row >> v.shift); {
	case a == len(v.arenas) && a == 0:
		v.arenas = append(v.arenas, v.newArena(min(firstRows, 1<<v.shift)))
	case a == len(v.arenas):
		v.arenas = append(v.arenas, v.newArena(1<<v.shift))
	case a == 0 && int(row)*v.dim == len(v.arenas[0].rows):
		old, bigger := v.arenas[0], v.newArena(min(2*int(row), 1<<v.shift))
		copy(bigger.rows, old.rows)
		copy(bigger.codes, old.codes)
		copy(bigger.marks, old.marks)
		v.arenas[0] = bigger
	}
	return row
}

// shrink gives memory back. A space that wavers about a boundary does not
// allocate at each step: an arena goes when half an arena more is free.
func (v *Vectors) shrink() {
	if len(v.ids) == 0 {
		v.arenas, v.ids, v.rows = nil, nil, nil
		return
	}
	keep := (len(v.ids)+(1<<v.shift)/2)>>v.shift + 1
	if keep < len(v.arenas) {
		clear(v.arenas[keep:])
		v.arenas = v.arenas[:keep]
	}
}
