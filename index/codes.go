package index

import (
	"math"
	"slices"
	"sync"
)

// Codes are rows in a quarter of the memory: a byte a value, and a scale. A scan
// reads them instead of the rows, and what the rounding took away is known for
// each row, so a product of codes gives bounds of the product of the rows. Only
// rows whose upper bound reaches the k-th best lower bound are then read
// themselves: the answer is that of a scan of all rows, to the bit.
//
// Of 100,000 random rows of 384 values a few hundred are left, and the search takes
// 1.8 ms instead of 14.5, of 10,000 rows 0.2 instead of 0.6 (BenchmarkVectors_Search on
// one processor of a shared Xeon). It costs a quarter more memory.

// mark is what the codes of a row stand for: row = scale*codes + an error that is
// at most off long.
type mark struct{ scale, off float32 }

// codeUnit is what one is in the codes of a query. Sums of products stay below
// codeUnit * 127 * sqrt(MaxDim) < 2^31, in every lane of the kernel too.
const codeUnit = math.MaxInt16

const (
	codeBlock = 64      // rows of one call of the kernel
	codedRows = 64      // fewer rows are scanned as they are
	largeRows = 1 << 15 // more are scanned by two, a millisecond each
)

// codeWidth is the length of a row's codes: whole blocks of the kernel.
func codeWidth(dim int) int { return (dim + 63) &^ 63 }

// encode writes the codes of a unit vector.
func encode(codes []int8, unit []float32) mark {
	var bits uint32 // of the largest value: magnitudes are in the order of their bits
	for _, x := range unit {
		bits = max(bits, math.Float32bits(x)&^(1<<31))
	}
	scale := math.Float32frombits(bits) / 127
	inverse := 1 / scale
	var off float64
	for i, x := range unit {
		c := int32(x*inverse+127.5) - 127 // what is not negative is cut as it is rounded
		codes[i] = int8(c)
		d := float64(x) - float64(scale)*float64(c)
		off += d * d
	}
	return mark{scale, roundUp(math.Sqrt(off))}
}

// roundUp leaves room for the rounding of what made x.
func roundUp(x float64) float32 { return float32(x * (1 + 1e-6)) }

// coarse is the first pass of one search over codes; it is scratch.
type coarse struct {
	q []int16 // the query's, see scratch
	// A row's product is within off*perOff + rest of what its codes say.
	perOff, rest float32

	k      int
	floors []float32 // the k best lower bounds, a heap with the worst on top
	left   []candidate
	dots   [codeBlock]int32

	half // which the other of two that scan side by side looks at
}

// half is rows to look at behind the caller's back. Function and channel are
// kept with it, so that a search allocates neither.
type half struct {
	w        *view
	from, to int
	run      func()        // looks at them, then sends on done
	done     chan struct{} // of one place
}

// candidate is a row that may be among the k best: its upper bound.
type candidate struct {
	row   uint32
	upper float32
}

var coarses = sync.Pool{New: func() any {
	c := &coarse{half: half{done: make(chan struct{}, 1)}}
	c.run = func() {
		c.w.coarse(c, c.from, c.to, nil)
		c.w = nil // not to be kept by scratch
		c.done <- struct{}{}
	}
	return c
}}

// widen puts a unit vector into q in codeUnits and says how far they are off.
func widen(q []int16, unit []float32) float64 {
	var f float64
	for i, x := range unit {
		d := math.RoundToEven(float64(x) * codeUnit)
		q[i] = int16(max(-codeUnit, min(codeUnit, d)))
		e := float64(x) - float64(q[i])/codeUnit
		f += e * e
	}
	return math.Sqrt(f)
}

// reset takes a query that is one long. With q = d/codeUnit + f and a row
// x = s*c + e, their product is s*(d*c)/codeUnit + f*(s*c) + q*e, and the last two
// are at most |f|(1+|e|) and |e|. The rest is for float32: a sum of n products
// of unit vectors is off by less than n ulps of one, in whatever order.
func (c *coarse) reset(s *scratch, k int) {
	c.k, c.floors, c.left, c.q = k, c.floors[:0], c.left[:0], s.wide
	const room = 1 + 1e-4 // unit vectors are one long but for their rounding
	c.perOff = float32((1 + s.lost) * room)
	c.rest = float32(s.lost*room + float64(len(s.unit)+16)/(1<<23))
}

// scan looks at rows that lie one after another in an arena, the first of which
// has the number row.
func (c *coarse) scan(a *arena, at, n int, row uint32) {
	width := len(c.q)
	for n > 0 {
		m := min(n, codeBlock)
		dots := c.dots[:m]
		dotCodes(dots, c.q, a.codes[at*width:(at+m)*width])
		for i, k := range a.marks[at : at+m] {
			s := codeScore(dots[i], &k)
			off := k.off*c.perOff + c.rest
			if len(c.floors) < c.k || s+off >= c.floors[0] {
				c.left = append(c.left, candidate{row + uint32(i), s + off})
				c.bound(s - off)
			}
		}
		at, n, row = at+m, n-m, row+uint32(m)
	}
}

// bound enters a lower bound.
func (c *coarse) bound(x float32) {
	h := c.floors
	if len(h) < c.k {
		c.floors = append(h, x)
		if len(c.floors) == c.k {
			slices.Sort(c.floors) // an ascending list is a heap
		}
		return
	}
	if x <= h[0] {
		return
	}
	i := 0
	for {
		d := 2*i + 1
		if d >= len(h) {
			break
		}
		if d+1 < len(h) && h[d+1] < h[d] {
			d++
		}
		if x <= h[d] {
			break
		}
		h[i], i = h[d], d
	}
	h[i] = x
}

// floor is what a row must be able to reach to be among the k best.
func (c *coarse) floor() float32 {
	if len(c.floors) < c.k {
		return infinitelyBad
	}
	return c.floors[0]
}
