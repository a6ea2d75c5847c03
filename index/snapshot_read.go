package index

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
)

// frozen is a snapshot as it was read: sound in itself, whatever wrote it.
type frozen struct {
	dim, kind, entry uint32
	ef               calibration
	prints           []uint64
	at               []uint32 // by node: where its layers begin in words
	words            []uint32 // layers above 0, then for each layer the number of links and they
}

// readFrozen reads a snapshot of at most so many nodes.
func readFrozen(from io.Reader, most int) (*frozen, error) {
	in := bufio.NewReaderSize(from, 1<<16)
	header := make([]byte, snapshotHeader)
	if _, err := io.ReadFull(in, header); err != nil {
		return nil, damaged("header is cut off", err)
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(header[8+4*i:]) }
	sum := crc32.Checksum(header[:snapshotHeader-4], castagnoli)
	switch {
	case string(header[:8]) != snapshotMagic:
		return nil, damaged("it is no graph snapshot", nil)
	case sum != word(8):
		return nil, damaged("header has the wrong checksum", nil)
	case word(0) != snapshotVersion:
		return nil, damaged(fmt.Sprintf("version %d, this program reads %d", word(0), snapshotVersion), nil)
	}
	f := &frozen{dim: word(1), kind: word(2), entry: word(4)}
	f.ef = calibration{Ten: word(5) >> 16, Hundred: word(5) & 0xffff, Recall: math.Float32frombits(word(6)), PerEf: math.Float32frombits(word(7))}
	nodes := int64(word(3))
	switch {
	case nodes == 0 || nodes > int64(most):
		return nil, damaged(fmt.Sprintf("%d nodes, %d are possible", nodes, most), nil)
	case int64(f.entry) >= nodes:
		return nil, damaged("entry is no node", nil)
	case f.ef.Ten < 1 || f.ef.Hundred < f.ef.Ten || !(f.ef.PerEf >= 0) || math.IsInf(float64(f.ef.PerEf), 0) || !(f.ef.Recall >= 0 && f.ef.Recall <= 1):
		return nil, damaged("calibration makes no sense", nil)
	}
	var body []byte
	for left := nodes; left > 0; {
		n := min(left, blockNodes)
		left -= n
		var head [8]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return nil, damaged("block is cut off", err)
		}
		length := binary.LittleEndian.Uint32(head[:])
		if int64(length) > n*mostNode {
			return nil, damaged("block is too long", nil)
		}
		body = grown(body, int(length))
		if _, err := io.ReadFull(in, body); err != nil {
			return nil, damaged("block is cut off", err)
		}
		if sum = crc32.Update(sum, castagnoli, body); sum != binary.LittleEndian.Uint32(head[4:]) {
			return nil, damaged("block has the wrong checksum", nil)
		}
		if err := f.block(body, int(n), uint32(nodes)); err != nil {
			return nil, err
		}
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, damaged("more follows its end", err)
	}
	return f, f.check()
}

func damaged(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrSnapshot, what, err)
	}
	return fmt.Errorf("%w: %s", ErrSnapshot, what)
}

// block takes the nodes of a block.
func (f *frozen) block(b []byte, n int, nodes uint32) error {
	short := damaged("block ends within a node", nil)
	for range n {
		if len(b) < 9 {
			return short
		}
		above := int(b[8])
		if above > maxLevel {
			return damaged("node has too many layers", nil)
		}
		f.prints = append(f.prints, binary.LittleEndian.Uint64(b))
		f.at = append(f.at, uint32(len(f.words)))
		f.words = append(f.words, uint32(above))
		b = b[9:]
		for layer := range above + 1 {
			if len(b) < 1 || len(b) < 1+4*int(b[0]) {
				return short
			}
			links := int(b[0])
			if links > linksIn(layer) {
				return damaged("node has too many links", nil)
			}
			f.words = append(f.words, uint32(links))
			for i := range links {
				x := binary.LittleEndian.Uint32(b[1+4*i:])
				if x >= nodes {
					return damaged("link leads to no node", nil)
				}
				f.words = append(f.words, x)
			}
			b = b[1+4*links:]
		}
	}
	if len(b) > 0 {
		return damaged("block is longer than its nodes", nil)
	}
	return nil
}

// above is how many layers above 0 a node is in.
func (f *frozen) above(node uint32) int { return int(f.words[f.at[node]]) }

// links of a node in a layer it is in.
func (f *frozen) links(node uint32, layer int) []uint32 {
	i := f.at[node] + 1
	for range layer {
		i += 1 + f.words[i]
	}
	return f.words[i+1 : i+1+f.words[i]]
}

// check makes sure that links of a layer lead to nodes of that layer.
func (f *frozen) check() error {
	for node := range uint32(len(f.at)) {
		for layer := 1; layer <= f.above(node); layer++ {
			for _, x := range f.links(node, layer) {
				if f.above(x) < layer {
					return damaged("link leads to a node that is not in its layer", nil)
				}
			}
		}
	}
	return nil
}

// Restore takes a graph from a snapshot, for the vectors that are there now. Call it when
// the space is loaded and before Tend. It returns ErrSnapshot, and changes
// nothing, when the snapshot is damaged, of another version, or made of other vectors but
// for a few; every other way a snapshot may be behind is made up for.
func (v *Vectors) Restore(from io.Reader) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := v.view.Load()
	if v.o.Backend == Exact || w.live < v.o.From || w.walk != nil || v.tended {
		return damaged("the space takes none now", nil)
	}
	if !w.whole() {
		w, _ = w.without(v.o.Compact)
		v.view.Store(w)
	}
	f, err := readFrozen(from, 2*w.n)
	if err != nil {
		return err
	}
	if int(f.dim) != w.dim || f.kind != w.kind() {
		return damaged("it is of vectors of another kind", nil)
	}
	o, missing, err := f.thaw(w)
	if err != nil {
		return err
	}
	v.own = o
	if len(missing) > 0 { // inserted when the space is tended; searches scan until then
		o.missing = missing
		return nil
	}
	g, err := v.ready(o, w)
	if err != nil {
		return damaged("it was refused", err)
	}
	next := *w
	next.walk = g
	v.view.Store(&next)
	return nil
}

// thaw makes a graph over the rows of w, and lists those it does not link.
func (f *frozen) thaw(w *view) (*own, []uint32, error) {
	node := make(map[uint64]uint32, len(f.prints))
	for i, p := range f.prints {
		node[p] = uint32(i)
	}
	row := slices.Repeat([]uint32{noRow}, len(f.prints)) // by node
	h := &hnsw{rowStore: w.rowStore, ef: f.ef}
	o := &own{age: w.age}
	o.hnsw, o.measured = h, len(f.prints)
	var missing []uint32
	var twins []uint32 // pairs: a node's row and one equal to it
	found := 0
	for r := range uint32(w.n) {
		switch i, ok := node[w.fingerprint(r)]; {
		case !ok:
			missing = append(missing, r)
		case row[i] == noRow:
			row[i] = r
			found++
		case w.equal(row[i], r):
			twins = append(twins, row[i], r)
		default: // another vector of the same fingerprint
			missing = append(missing, r)
		}
	}
	if lost := len(row) - found; lost > len(row)/staleShare || len(missing) > w.n/2 {
		return nil, nil, damaged(fmt.Sprintf("%d of its %d nodes are gone, %d vectors are new", lost, len(row), len(missing)), nil)
	}
	layers := make(map[uint32]int)
	for i, r := range row {
		if a := f.above(uint32(i)); r != noRow && a > 0 {
			layers[r] = a
		}
	}
	for _, r := range missing {
		if l := level(r); l > 0 {
			layers[r] = l
		}
	}
	h.records(w.n)
	for r := range uint32(w.n) {
		if a := layers[r]; a > 0 {
			h.raise(r, a)
		}
	}
	h.n = w.n
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	here := func(x uint32) uint32 { return row[x] }
	h.entry = noRow
	for i, r := range row {
		if r == noRow {
			continue
		}
		above := f.above(uint32(i))
		for layer := range above + 1 {
			links := h.bridge(r, f.links(uint32(i), layer), here, func(x uint32) []uint32 { return f.links(x, layer) }, linksIn(layer), s)
			l := h.list(r, layer)
			l[0] = uint32(copy(l[1:], links))
		}
		if h.entry == noRow || above > h.top {
			h.entry, h.top = r, above
		}
	}
	if e := row[f.entry]; e != noRow && h.above(e) == h.top {
		h.entry = e
	}
	for i := 0; i < len(twins); i += 2 {
		o.chain(twins[i], twins[i+1])
	}
	if found < len(row) {
		o.mend()
	}
	return o, missing, nil
}
