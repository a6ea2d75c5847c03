package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"alcove/flat"
	"alcove/graph"
	"alcove/index"
	"alcove/tenancy"
)

// A copy in memory is kept as a snapshot, so that the next load need not analyse every
// text and put every name into its tables again. A snapshot is only ever a cache. Its
// parts lie in blocks beside those of vector graphs (vectors.go), each part with a
// checksum of its own and a stamp that all four share: the generation they are of, and a
// number drawn when they were written. Parts that are damaged, cut off, of two writings
// or of another form are as good as none, and the records are read instead. A snapshot of
// an earlier generation is brought forward by the list of changes, as a copy in memory is.
// Vectors are not in it: their records are read as they lie.

// snapshotForm is the form of a snapshot and of what is in it: it rises when the form
// changes, and when analyse, nameKey, EntityID or print make something else of a text.
const snapshotForm = 1

const snapshotMagic = "alcove copy"

// The parts of a snapshot, named as spaces are in the keys of vector graphs.
const (
	partDocuments = 'D' // documents, their chunks and the windows of these
	partWords     = 'W' // index.Lexical
	partNames     = 'N' // graph.Passages
	partGraph     = 'G' // graph.Graph, and what each chunk gave to it
)

var snapshotParts = []byte{partDocuments, partWords, partNames, partGraph}

const (
	// snapshotFrom is how many chunks a base must have: fewer are read in no time.
	snapshotFrom = 32
	// snapshotShare: a snapshot is written again when more than a tenth of the
	// documents have changed since. A write costs as much as the base is large, so a
	// document costs the writing of ten at the most; what has changed since is read
	// from its records at a load, where ten documents cost what the writing of a
	// hundred saves.
	snapshotShare = 10
	// snapshotBehind: one that is behind by more than half of its documents is not used.
	snapshotBehind = 2
)

// stamp is what the parts of one snapshot have in common.
type stamp struct {
	gen, changeovers uint64
	drawn            uint64
}

func (st stamp) head(part byte) []byte {
	b := append(make([]byte, 0, 1<<16), snapshotMagic...)
	b = append(b, snapshotForm, part)
	for _, n := range []uint64{st.gen, st.changeovers, st.drawn} {
		b = flat.AppendFixed(b, n)
	}
	return b
}

// readStamp checks the head of a part.
func readStamp(r *flat.Reader, part byte) (st stamp) {
	if string(r.Bytes(len(snapshotMagic))) != snapshotMagic || r.Below(256) != snapshotForm || r.Below(256) != uint32(part) {
		r.Fail("it is no part %c of form %d", part, snapshotForm)
	}
	return stamp{gen: r.Fixed(), changeovers: r.Fixed(), drawn: r.Fixed()}
}

// errNoSnapshot says that there is none that can be used.
var errNoSnapshot = errors.New("no snapshot")

// readPart reads a part that lies in the store.
func readPart(tx *tenancy.Tx, part byte) (*flat.Reader, stamp, error) {
	var all []byte
	next := uint32(0)
	err := tx.Scan(kindSnapshot, tenancy.Scan{Prefix: []byte{part}}, func(rest, value []byte) error {
		if !bytes.Equal(rest, blockKey(part, next)) {
			return tenancy.ErrStop
		}
		next++
		all = append(all, value...)
		return nil
	})
	if err != nil {
		return nil, stamp{}, fmt.Errorf("read snapshot: %w", err)
	}
	if next == 0 {
		return nil, stamp{}, errNoSnapshot
	}
	b, err := flat.Open(all)
	if err != nil {
		return nil, stamp{}, err
	}
	r := flat.NewReader(b)
	st := readStamp(r, part)
	return r, st, r.Err()
}

// unusable says that a snapshot is not there or not what it should be, which is no
// fault of the store.
func unusable(err error) bool {
	return errors.Is(err, errNoSnapshot) || errors.Is(err, flat.ErrDamaged)
}

// snapshot loads an empty copy from the snapshot in the store, with the vectors from their
// records, and brings it forward to the snapshot of tx. When the error is unusable the
// copy is to be made from the records: all of it, or, when what a search for passages
// looks at was shown to early already, its graph.
func (l *loader) snapshot(ctx context.Context, state *kbState, early func(*resident)) error {
	docs, st, err := readPart(l.tx, partDocuments)
	if err != nil {
		return err
	}
	if st.gen > state.Generation || st.changeovers != state.Changeovers || l.r.index.Chunks == nil {
		return fmt.Errorf("%w: it is of another state", errNoSnapshot)
	}
	changed, err := l.changedSince(st.gen, state)
	if err != nil {
		return err
	}
	part := func(name byte) (*flat.Reader, error) {
		r, of, err := readPart(l.tx, name)
		if err == nil && of != st {
			err = fmt.Errorf("%w: parts of two writings", errNoSnapshot)
		}
		return r, err
	}
	words, err := part(partWords)
	if err != nil {
		return err
	}
	names, err := part(partNames)
	if err != nil {
		return err
	}
	r := l.r
	var g errgroup.Group
	g.Go(func() error {
		r.recall.lex = index.ReadLexical(words)
		r.index.Text = r.recall.lex
		return words.End()
	})
	g.Go(func() error {
		r.recall.pass = graph.ReadPassages(names)
		return names.End()
	})
	list, err := r.readDocuments(docs)
	if err == nil {
		err = l.fill(ctx, list, changed)
	}
	if err := errors.Join(err, g.Wait()); err != nil {
		return err
	}
	if err := r.checkWindows(); err != nil {
		return err
	}
	r.gen, r.changeovers = st.gen, st.changeovers
	if len(changed) == 0 {
		l.show(early)
	}
	given, err := part(partGraph)
	if err == nil {
		err = r.readGraph(given)
	}
	if err != nil || len(changed) == 0 {
		return err
	}
	if err := (&openKB{res: r}).advance(ctx, l.tx); err != nil {
		return err
	}
	if r.profiles != nil {
		clear(r.profiles.gone) // found again with the records of profiles
	}
	return nil
}

// changedSince lists the documents that a snapshot of a generation is behind by.
func (l *loader) changedSince(gen uint64, state *kbState) (map[docKey]bool, error) {
	changed := map[docKey]bool{}
	if gen == state.Generation {
		return changed, nil
	}
	list, _, ok, err := touchedSince(l.tx, gen)
	if err != nil {
		return nil, err
	}
	for _, k := range list {
		changed[k] = true
	}
	if !ok || changed[handMark] || len(list)*snapshotBehind > state.Chunks {
		return nil, fmt.Errorf("%w: it is too far behind", errNoSnapshot)
	}
	return changed, nil
}

// recordsOfGraph reads the graph of a copy that has its passages.
func (l *loader) recordsOfGraph(ctx context.Context) error {
	visible, err := visibleVersions(l.tx)
	if err != nil {
		return err
	}
	l.r.mu.Lock()
	l.r.startHand(l.r.hand)
	l.r.mu.Unlock()
	return l.sayings(ctx, visible)
}
