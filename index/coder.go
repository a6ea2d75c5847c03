//go:build !windows

package index

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"

	coder "github.com/coder/hnsw"
)

// coderGraph is a graph of ours inside github.com/coder/hnsw, which can be asked
// but not be let to make or change one: built by itself it finds at most 0.88 of the
// nearest ten among 10,000, and Delete leaves nodes behind that panic or come back as
// answers. So it is brought in by Import, never changed, and made anew when the
// space has changed enough. It keeps to the best k it has seen, and so
// finds enough only when asked for some hundreds.
//
// Its vectors are one value long: the row's number, by which the distance looks
// codes up. That saves a copy of each vector for each layer, and walks over codes.
type coderGraph struct {
	h     *hnsw
	g     *coder.Graph[uint32]
	asked [coderSlots]atomic.Pointer[coderQuery] // who asks, by slot
	slots chan uint32
}

// coderQuery is a query while it is walked.
type coderQuery struct {
	pivot
	seen int
}

const (
	coderSlots = 64      // queries at once; others wait
	coderQuiz  = 1 << 30 // the "row" of the query in slot 0
	// coderNodeBytes is what a node takes: some 30 links in a map of its own. Measured:
	// 1.7 KB of heap a row, all layers.
	coderNodeBytes = 1700
)

var errCoder = errors.New("index: coder/hnsw failed")

func coderCheck() error { return nil }

// newCoder brings a graph in. h is not to change in what links its n rows.
func newCoder(h *hnsw) (walker, error) {
	c := &coderGraph{h: h, g: coder.NewGraph[uint32](), slots: make(chan uint32, coderSlots)}
	for i := range uint32(coderSlots) {
		c.slots <- i
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		one := []float32{0}
		w.CloseWithError(h.export(w, func(row uint32) uint32 { return row }, func(row uint32) []float32 {
			one[0] = math.Float32frombits(row)
			return one
		}))
	}()
	err := guarded(func() error { return c.g.Import(bufio.NewReader(r)) })
	r.CloseWithError(errCoder) // ends export if Import has not read all
	<-done
	if err != nil {
		return nil, err
	}
	c.g.Distance = c.distance
	return c, nil
}

// guarded turns a panic of the library into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errCoder, p)
		}
	}()
	return f()
}

func (c *coderGraph) distance(a, b []float32) float32 {
	x, y := math.Float32bits(a[0]), math.Float32bits(b[0])
	if x >= coderQuiz {
		x, y = y, x
	}
	if y >= coderQuiz {
		q := c.asked[y-coderQuiz].Load()
		q.seen++
		return c.h.far(&q.pivot, x)
	}
	p := c.h.pivot(x)
	return c.h.far(&p, y)
}

func (c *coderGraph) near(s *scratch, ef int) ([]cand, error) {
	slot := <-c.slots
	defer func() { c.slots <- slot }()
	q := &coderQuery{pivot: c.h.ask(s)}
	c.asked[slot].Store(q)
	defer c.asked[slot].Store(nil)
	s.pool = s.pool[:0]
	err := guarded(func() error {
		for _, x := range c.g.SearchWithDistance([]float32{math.Float32frombits(coderQuiz + slot)}, ef) {
			if x.Key >= uint32(c.h.n) {
				return fmt.Errorf("%w: found a row that is not there", errCoder)
			}
			s.pool = append(s.pool, cand{x.Distance, x.Key})
		}
		return nil
	})
	s.seen += q.seen
	sortPool(s.pool)
	return s.pool, err
}

func (c *coderGraph) graph() *hnsw { return c.h }
func (c *coderGraph) bytes() int64 { return c.h.bytes() + int64(c.h.n)*coderNodeBytes }

// export writes the graph in the stream format of coder/hnsw, version 1, a row
// under its key and with its vector.
func (h *hnsw) export(w io.Writer, key func(row uint32) uint32, vector func(row uint32) []float32) error {
	out := bufio.NewWriterSize(w, 1<<16)
	var b []byte
	b = binary.AppendVarint(b, 1)
	b = binary.AppendVarint(b, linksBase)
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(1./linksAbove))
	b = binary.AppendVarint(b, efBuild)
	b = binary.AppendVarint(b, int64(len("cosine"))) // replaced after Import
	b = append(b, "cosine"...)
	b = binary.AppendVarint(b, int64(h.top)+1)
	out.Write(b)
	var links []uint32
	for layer := range h.top + 1 {
		in := func(row uint32) bool {
			return (layer == 0 || h.above(row) >= layer) && atomic.LoadUint32(&h.record(row)[0]) != isTwin
		}
		nodes := 0
		for row := range uint32(h.n) {
			if in(row) {
				nodes++
			}
		}
		out.Write(binary.AppendVarint(b[:0], int64(nodes)))
		for row := range uint32(h.n) {
			if !in(row) {
				continue
			}
			links = h.read(links[:0], row, layer, uint32(h.n))
			b = binary.LittleEndian.AppendUint32(b[:0], key(row))
			x := vector(row)
			b = binary.AppendVarint(b, int64(len(x)))
			for _, f := range x {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
			}
			b = binary.AppendVarint(b, int64(len(links)))
			for _, x := range links {
				b = binary.LittleEndian.AppendUint32(b, key(x))
			}
			if _, err := out.Write(b); err != nil {
				return err
			}
		}
	}
	return out.Flush()
}

// Export writes the graph in the stream format of coder/hnsw, whose Import reads
// it: keys are ids, vectors are unit vectors. Equal vectors are one node, under the
// id of one of them. It returns ErrBackend when there is no graph.
func (v *Vectors) Export(w io.Writer) error {
	x := v.view.Load()
	if x.walk == nil {
		return fmt.Errorf("%w: the space has no graph", ErrBackend)
	}
	h := x.walk.graph()
	return h.export(w, h.id, h.values)
}
