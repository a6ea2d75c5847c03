package audit

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a node of the tree: SHA-256 as RFC 6962 section 2.1 hashes leaves and nodes.
type Hash = tlog.Hash

// Leaf is one entry of the log over all chains: which record it is, and the hashes of
// the subtrees that it completes, the leaf's own first. Entries are numbered from 0, and entry n
// completes one subtree for each trailing one bit of n, beside itself: on average two
// hashes an entry, and none is ever written again.
type Leaf struct {
	Chain, Seq uint64
	Hashes     []Hash
}

// Encode returns the stored form: chain, number, hashes.
func (l Leaf) Encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16+len(l.Hashes)*len(Hash{})), l.Chain)
	b = binary.BigEndian.AppendUint64(b, l.Seq)
	for _, h := range l.Hashes {
		b = append(b, h[:]...)
	}
	return b
}

// DecodeLeaf reads what Encode wrote of entry n. A number of hashes that entry n
// cannot have is an ErrMalformed.
func DecodeLeaf(n uint64, b []byte) (Leaf, error) {
	const size = len(Hash{})
	completes := 1 + bits.TrailingZeros64(n+1)
	if len(b) != 16+completes*size {
		return Leaf{}, fmt.Errorf("%w: log entry %d of %d bytes", ErrMalformed, n, len(b))
	}
	l := Leaf{Chain: binary.BigEndian.Uint64(b), Seq: binary.BigEndian.Uint64(b[8:]), Hashes: make([]Hash, completes)}
	for i := range l.Hashes {
		l.Hashes[i] = Hash(b[16+i*size:])
	}
	return l, nil
}

// LeafHash is what the tree holds of a sealed record of a chain.
func LeafHash(chain uint64, sealed []byte) Hash {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(sealed)), chain)
	return tlog.RecordHash(append(b, sealed...))
}

// Leaves reads an entry of the log that is there.
type Leaves func(n uint64) (Leaf, error)

// ReadHashes finds each hash in the entry that completed its subtree; it makes Leaves a
// tlog.HashReader.
func (read Leaves) ReadHashes(indexes []int64) ([]Hash, error) {
	out := make([]Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		last := uint64(n+1)<<level - 1
		l, err := read(last)
		if err != nil {
			return nil, fmt.Errorf("log entry %d: %w", last, err)
		}
		if level >= len(l.Hashes) {
			return nil, fmt.Errorf("%w: log entry %d has %d hashes", ErrMalformed, last, len(l.Hashes))
		}
		out[i] = l.Hashes[level]
	}
	return out, nil
}

// Grow returns entry size of a log that holds size entries, for a record just sealed.
// It reads as many entries as it completes subtrees beside its own leaf: one on average.
func Grow(size, chain, seq uint64, sealed []byte, read Leaves) (Leaf, error) {
	hashes, err := tlog.StoredHashesForRecordHash(int64(size), LeafHash(chain, sealed), read)
	if err != nil {
		return Leaf{}, fmt.Errorf("grow the audit tree: %w", err)
	}
	return Leaf{Chain: chain, Seq: seq, Hashes: hashes}, nil
}

// Root returns the tree's root when it holds size entries. It reads one entry for each
// one bit of size.
func Root(size uint64, read Leaves) (Hash, error) {
	h, err := tlog.TreeHash(int64(size), read)
	if err != nil {
		return Hash{}, fmt.Errorf("root of the audit tree at %d: %w", size, err)
	}
	return h, nil
}

// Prove returns the proof that entry n is in the tree of size entries (RFC 6962 section 2.1.1).
func Prove(size, n uint64, read Leaves) ([]Hash, error) {
	p, err := tlog.ProveRecord(int64(size), int64(n), read)
	if err != nil {
		return nil, fmt.Errorf("prove audit entry %d: %w", n, err)
	}
	return p, nil
}

// CheckProof returns nil if proof shows that the sealed record of chain is entry n of
// the tree that c tells of.
func CheckProof(c Checkpoint, n, chain uint64, sealed []byte, proof []Hash) error {
	if n >= c.Size {
		return fmt.Errorf("audit entry %d is beyond the checkpoint of %d entries", n, c.Size)
	}
	return tlog.CheckRecord(proof, int64(c.Size), c.Root, int64(n), LeafHash(chain, sealed))
}

// Frontier is what is kept of a tree of which only the root and what comes next are of
// interest: the roots of its complete subtrees, the widest first, one for each one bit of its size.
type Frontier struct {
	size   uint64
	hashes []Hash
}

// FrontierAt returns the frontier of the first size entries.
func FrontierAt(size uint64, read Leaves) (Frontier, error) {
	f := Frontier{size: size}
	for _, n := range frontierEntries(size) {
		l, err := read(n)
		if err != nil {
			return f, fmt.Errorf("log entry %d: %w", n, err)
		}
		f.hashes = append(f.hashes, l.Hashes[len(l.Hashes)-1]) // the widest it completes is the one
	}
	return f, nil
}

// frontierEntries are the entries that complete the frontier of a tree of size entries.
func frontierEntries(size uint64) []uint64 {
	var out []uint64
	for at, rest := uint64(0), size; rest > 0; {
		width := uint64(1) << (bits.Len64(rest) - 1)
		at += width
		rest -= width
		out = append(out, at-1)
	}
	return out
}

// Keeps reports whether entry n must stay when the log is cut at size: the roots and
// proofs of later entries are made of it.
func Keeps(size, n uint64) bool { return slices.Contains(frontierEntries(size), n) }

// add appends a leaf and returns the hashes of the subtrees it completes, its own first.
func (f *Frontier) add(h Hash) []Hash {
	completed := []Hash{h}
	for s := f.size; s&1 == 1; s >>= 1 {
		h = tlog.NodeHash(f.hashes[len(f.hashes)-1], h)
		f.hashes = f.hashes[:len(f.hashes)-1]
		completed = append(completed, h)
	}
	f.hashes = append(f.hashes, h)
	f.size++
	return completed
}

// Root returns the root of the tree.
func (f *Frontier) Root() Hash {
	if len(f.hashes) == 0 {
		h, _ := tlog.TreeHash(0, nil) // the hash of nothing: reads nothing, cannot fail
		return h
	}
	h := f.hashes[len(f.hashes)-1]
	for i := len(f.hashes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(f.hashes[i], h)
	}
	return h
}
