package audit

import (
	"bytes"
	"fmt"
	"slices"
)

// Mark is a checkpoint that a walk must meet, and where it comes from.
type Mark struct {
	Checkpoint
	Source string // for messages: "the store", "outside"
}

// Verifier walks the log of all chains from a cut, or from its beginning, to its end,
// and checks each record against its chain and against the tree, and the tree against
// checkpoints. The first entry that is not what was written ends the walk with a
// *BreakError. Not safe for concurrent use.
type Verifier struct {
	key    []byte
	chains map[uint64]*Chain
	tree   Frontier
	marks  []Mark // those not met yet, the smallest first
	met    map[string]int
	last   uint64 // the size at the last mark that was met
}

// NewVerifier returns a walk over chains sealed with key, from where the log was cut:
// from is the tree there and heads where each chain stood; both are zero for a log that
// was never cut. A mark before the cut cannot be compared, and Verifier says so in End.
func NewVerifier(key []byte, from Frontier, heads map[uint64]Head, marks []Mark) *Verifier {
	v := &Verifier{key: key, chains: make(map[uint64]*Chain, len(heads)), tree: from, met: map[string]int{}, last: from.size}
	v.tree.hashes = slices.Clone(from.hashes)
	for id, h := range heads {
		v.chains[id] = NewChain(key, id, h)
	}
	v.marks = slices.Clone(marks)
	slices.SortStableFunc(v.marks, func(a, b Mark) int {
		switch {
		case a.Size < b.Size:
			return -1
		case a.Size > b.Size:
			return 1
		}
		return 0
	})
	return v
}

// Size returns how many entries the walk has behind it, those before the cut among them.
func (v *Verifier) Size() uint64 { return v.tree.size }

// Met returns how many marks of a source the walk has met.
func (v *Verifier) Met(source string) int { return v.met[source] }

// Heads returns where each chain stands.
func (v *Verifier) Heads() map[uint64]Head {
	out := make(map[uint64]Head, len(v.chains))
	for id, c := range v.chains {
		out[id] = c.Head()
	}
	return out
}

// Begin compares the cut itself with the marks that stand there. Call it before the
// first Entry.
func (v *Verifier) Begin() error {
	for len(v.marks) > 0 && v.marks[0].Size < v.tree.size {
		v.met["before the cut: "+v.marks[0].Source]++
		v.marks = v.marks[1:]
	}
	return v.compare()
}

// Entry checks the next entry of the log: l as stored, and the sealed record that l
// names, or nil if that is not there. It returns the record.
func (v *Verifier) Entry(l Leaf, sealed []byte) (Record, error) {
	n := v.tree.size
	bad := func(seq uint64, reason string) error {
		return &BreakError{Chain: l.Chain, Seq: seq, Entry: n, Reason: reason}
	}
	c := v.chains[l.Chain]
	if c == nil {
		c = NewChain(v.key, l.Chain, Head{})
		v.chains[l.Chain] = c
	}
	next := c.Head().Seq + 1
	if l.Seq != next {
		return Record{}, bad(next, fmt.Sprintf("the log names record %d in its place", l.Seq))
	}
	if sealed == nil {
		return Record{}, bad(next, "missing")
	}
	r, err := c.Check(sealed)
	if err != nil {
		if b, ok := err.(*BreakError); ok {
			b.Entry = n
		}
		return Record{}, err
	}
	for i, h := range v.tree.add(LeafHash(l.Chain, sealed)) {
		if i >= len(l.Hashes) || h != l.Hashes[i] {
			return Record{}, bad(next, "the tree holds another record in its place")
		}
	}
	return r, v.compare()
}

// compare checks the marks that stand at the walk's place.
func (v *Verifier) compare() error {
	for len(v.marks) > 0 && v.marks[0].Size == v.tree.size {
		m := v.marks[0]
		if root := v.tree.Root(); !bytes.Equal(root[:], m.Root[:]) {
			return &BreakError{Entry: v.last, Reason: fmt.Sprintf("the checkpoint of %d entries (%s, %s) has another root: one of the entries %d to %d was changed since",
				m.Size, m.Source, m.Time.UTC().Format("2006-01-02 15:04:05"), v.last, m.Size-1)}
		}
		v.met[m.Source]++
		v.marks = v.marks[1:]
		v.last = m.Size
	}
	return nil
}

// End compares where the walk stands with the stored size of the log and with the
// stored heads of the chains, and reports marks beyond the end: they say that the log
// was longer once.
func (v *Verifier) End(size uint64, heads map[uint64]Head) error {
	n := v.tree.size
	if n != size {
		return &BreakError{Entry: min(n, size), Reason: fmt.Sprintf("the log says it has %d entries, and has %d", size, n)}
	}
	if len(v.marks) > 0 {
		m := v.marks[0]
		return &BreakError{Entry: n, Reason: fmt.Sprintf("the log ends with %d entries; the checkpoint of %s (%s) tells of %d: its end was cut off, or an older store was put in its place",
			n, m.Time.UTC().Format("2006-01-02 15:04:05"), m.Source, m.Size)}
	}
	ids := make([]uint64, 0, len(v.chains)+len(heads))
	for id := range v.chains {
		ids = append(ids, id)
	}
	for id := range heads {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		c := v.chains[id]
		if c == nil {
			c = NewChain(v.key, id, Head{})
		}
		if err := c.End(heads[id]); err != nil {
			if b, ok := err.(*BreakError); ok {
				b.Entry = n
			}
			return err
		}
	}
	return nil
}
