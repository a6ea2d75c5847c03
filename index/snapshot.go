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
	"sync/atomic"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// A snapshot is the graph without its vectors. It knows nodes by what their
// vectors are, not by row or id: both are numbers of one loading. So it fits any
// space that holds the vectors, in whatever order they came; of one that has changed a little,
// what is gone is bridged and what is new is inserted; one that has changed much is
// told from it. It is only ever a cache.
//
//	header  magic, version, dim, kind, nodes, entry, calibration; checksum
//	blocks  length, checksum, then up to blockNodes nodes, each:
//	        fingerprint of its vector, layers above 0, and for each layer the
//	        number of links and the nodes they lead to
//
// Numbers are little-endian. Each checksum (CRC-32C) goes on from the one before, so that
// a block that is missing, twice or elsewhere is found like a flipped bit.

// ErrSnapshot says that a snapshot is damaged, or not one of this space. The
// space is as it was, and makes its graph anew when it is tended.
var ErrSnapshot = errors.New("index: graph snapshot cannot be used")

const (
	snapshotMagic   = "alcove\x00g"
	snapshotVersion = 1
	snapshotHeader  = 8 + 8*4 + 4
	blockNodes      = 1024
	// mostNode is the longest a node can be.
	mostNode = 8 + 1 + 1 + 4*linksBase + maxLevel*(1+4*linksAbove)
	// A snapshot is of another space when more than one in staleShare of its nodes
	// are not there.
	staleShare = 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fingerprint is that of a vector.
func (r *rowStore) fingerprint(row uint32) uint64 {
	if r.full {
		x := r.at(row)
		return xxhash.Sum64(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x)))
	}
	codes, m := r.codes(row)
	return xxhash.Sum64(asBytes(codes)) ^ uint64(math.Float32bits(m.scale))
}

// kind is what fingerprints are of.
func (r *rowStore) kind() uint32 {
	if r.full {
		return 0
	}
	return 1
}

// Snapshot writes the graph as it is, without what is gone, and reports whether
// there is one. Searches and changes go on meanwhile.
func (v *Vectors) Snapshot(to io.Writer) (bool, error) {
	w := v.view.Load()
	if w.walk == nil {
		return false, nil
	}
	h := w.walk.graph()
	number := make([]uint32, h.n) // by row: its node, or noRow
	nodes, entry := uint32(0), noRow
	for row := range uint32(h.n) {
		number[row] = noRow
		if atomic.LoadUint32(&h.record(row)[0]) == isTwin || !w.showsOne(h, row) {
			continue
		}
		number[row] = nodes
		nodes++
		if entry == noRow || h.above(row) > h.above(entry) {
			entry = row
		}
	}
	if nodes == 0 {
		return false, nil
	}
	if number[h.entry] != noRow {
		entry = h.entry
	}
	header := append(make([]byte, 0, snapshotHeader), snapshotMagic...)
	for _, x := range []uint32{snapshotVersion, uint32(h.dim), h.kind(), nodes, number[entry], h.ef.Ten<<16 | h.ef.Hundred&0xffff,
		math.Float32bits(h.ef.Recall), math.Float32bits(h.ef.PerEf)} {
		header = binary.LittleEndian.AppendUint32(header, x)
	}
	sum := crc32.Checksum(header, castagnoli)
	header = binary.LittleEndian.AppendUint32(header, sum)
	out := bufio.NewWriterSize(to, 1<<16)
	out.Write(header)
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	var body []byte
	flush := func() error {
		sum = crc32.Update(sum, castagnoli, body)
		var head [8]byte
		binary.LittleEndian.PutUint32(head[:], uint32(len(body)))
		binary.LittleEndian.PutUint32(head[4:], sum)
		out.Write(head[:])
		_, err := out.Write(body)
		body = body[:0]
		return err
	}
	here := func(row uint32) uint32 {
		if number[row] == noRow {
			return noRow
		}
		return row
	}
	in := 0
	for row := range uint32(h.n) {
		if number[row] == noRow {
			continue
		}
		body = binary.LittleEndian.AppendUint64(body, h.fingerprint(row))
		above := h.above(row)
		body = append(body, byte(above))
		for layer := range above + 1 {
			own := h.read(nil, row, layer, uint32(h.n))
			links := h.bridge(row, own, here, func(x uint32) []uint32 { return h.read(nil, x, layer, uint32(h.n)) }, linksIn(layer), s)
			body = append(body, byte(len(links)))
			for _, x := range links {
				body = binary.LittleEndian.AppendUint32(body, number[x])
			}
		}
		if in++; in%blockNodes == 0 || in == int(nodes) {
			if err := flush(); err != nil {
				return true, fmt.Errorf("write graph snapshot: %w", err)
			}
		}
	}
	if err := out.Flush(); err != nil {
		return true, fmt.Errorf("write graph snapshot: %w", err)
	}
	return true, nil
}

// showsOne says whether a row or one equal to it is there.
func (w *view) showsOne(h *hnsw, row uint32) bool {
	for ok := true; ok; row, ok = h.twin(row) {
		if w.shows(row) {
			return true
		}
	}
	return false
}

// linksIn is how many links a row has in a layer at most.
func linksIn(layer int) int {
	if layer == 0 {
		return linksBase
	}
	return linksAbove
}

// bridge are the links of a row, as rows, when some of those it had lead to
// nothing: in the place of a node that is gone its own links are considered too, by the rule
// that neighbours are chosen by. here is the row of a node, or noRow. (Singh and others,
// FreshDiskANN, 2021, section 4.2.)
func (h *hnsw) bridge(row uint32, own []uint32, here func(node uint32) uint32, linksOf func(node uint32) []uint32, m int, s *scratch) []uint32 {
	out := make([]uint32, 0, len(own))
	lost := false
	for _, x := range own {
		if r := here(x); r == noRow {
			lost = true
		} else if r != row {
			out = append(out, r)
		}
	}
	if !lost {
		return out
	}
	for _, x := range own {
		if here(x) != noRow {
			continue
		}
		for _, y := range linksOf(x) {
			if r := here(y); r != noRow && r != row {
				out = append(out, r)
			}
		}
	}
	p := h.pivot(row)
	cands := make([]cand, 0, len(out))
	for i, x := range out {
		if !slices.Contains(out[:i], x) {
			cands = append(cands, cand{h.far(&p, x), x})
		}
	}
	sortPool(cands)
	out = out[:0]
	for _, c := range h.choose(cands, m, row, s) {
		out = append(out, c.row)
	}
	return out
}
