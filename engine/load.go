package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"alcove/index"
	"alcove/tenancy"
)

// loadBatch is how many chunks are read and analysed at a time: enough to keep
// every processor busy, few enough that their texts do not matter.
const loadBatch = 1024

// applyBatch is how many documents are applied under one hold of the lock.
const applyBatch = 64

// loadResident reads a knowledge base into memory. It reads the table of
// visible versions first, then chunks, vectors and contributions side by side
// in key order, and skips what no reader may see. Records that do not add up
// are ErrDamaged: a base that is short is refused, never served in part.
func loadResident(ctx context.Context, e *Engine, s *tenancy.Space, vectors index.Options) (*resident, error) {
	var r *resident
	want, err := e.wanted(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("load knowledge base %s: %w", s.KBID(), err)
	}
	err = s.View(ctx, func(tx *tenancy.Tx) error {
		state, err := readState(tx)
		if err != nil {
			return err
		}
		if err := e.checkPinned(state, want); err != nil {
			return err
		}
		r = newResident(state.Dim, e.o.Embedder.Pure(), vectors)
		r.gen, r.changeovers = state.Generation, state.Changeovers
		visible, err := visibleVersions(tx)
		if err != nil {
			return err
		}
		hand, err := readHand(tx)
		if err != nil {
			return err
		}
		r.startHand(hand)
		l := &loader{tx: tx, r: r, vectors: state.vectors().chunks}
		if err := l.all(ctx, visible); err != nil {
			return err
		}
		if err := r.loadSummaries(tx, e.o.Chatter != nil); err != nil {
			return err
		}
		return r.loadProfiles(tx, state.Dim, state.vectors().profiles)
	})
	if err == nil {
		err = r.tend(ctx, e, s)
	}
	if err != nil {
		return nil, fmt.Errorf("load knowledge base %s: %w", s.KBID(), err)
	}
	return r, nil
}

// checkPinned refuses to search a base with vectors of another kind than the
// embedder of this server makes. While they are being replaced the base is open
// and searched without them.
func (e *Engine) checkPinned(state kbState, want Embedder) error {
	if state.Embedder == "" || state.changing() {
		return nil
	}
	if m := e.embedderFor(&state, want).Model(); m != state.Embedder {
		return &PinnedError{Made: state.Embedder, MadeDim: state.Dim, Now: m}
	}
	return nil
}

// loader reads visible versions through one snapshot.
type loader struct {
	tx      *tenancy.Tx
	r       *resident
	vectors byte // the kind of record of the set that counts
}

// raw is one chunk as it lies in the store.
type raw struct {
	ref                chunkRef
	key                []byte
	chunk, vector, say []byte
}

// all loads every visible version of a whole base. The three kinds of record
// are read in step, a batch of chunks at a time, and analysed on every
// processor while nothing else holds the copy.
func (l *loader) all(ctx context.Context, visible []visibleDoc) error {
	want := make(map[version]int, len(visible))
	for _, v := range visible {
		want[v.version] = v.chunks
	}
	docs := make(map[version]*preparedDoc, len(visible))
	var after []byte
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch, last, err := l.batch(after, want)
		if err != nil {
			return err
		}
		prepared, err := prepareAll(batch, l.r.hand, func(ref chunkRef) (string, error) { return l.title(docs, ref.version) })
		if err != nil {
			return err
		}
		for i, c := range prepared {
			v := batch[i].ref.version
			d := docs[v]
			d.chunks = append(d.chunks, c)
			if len(d.chunks) == want[v] {
				if err := l.r.apply(*d); err != nil {
					return fmt.Errorf("%w: document %x: %w", ErrDamaged, v.doc, err)
				}
				d.chunks = nil
				delete(want, v)
			}
		}
		if last == nil {
			break
		}
		after = last
	}
	for v, n := range want {
		if n > 0 {
			return fmt.Errorf("%w: document %x has fewer than %d chunks", ErrDamaged, v.doc, n)
		}
	}
	return nil
}

// title makes the entry of a version on first sight and returns its title.
func (l *loader) title(docs map[version]*preparedDoc, v version) (string, error) {
	d := docs[v]
	if d == nil {
		rd, err := l.document(v)
		if err != nil {
			return "", err
		}
		d = &preparedDoc{doc: rd}
		docs[v] = d
	}
	return d.doc.title, nil
}

func (l *loader) document(v version) (*residentDoc, error) {
	rec, err := readDocument(l.tx, v.doc)
	if err != nil {
		return nil, fmt.Errorf("document %x: %w", v.doc, err)
	}
	return &residentDoc{version: v, id: rec.ID, filePath: rec.FilePath, title: rec.Title, metadata: rec.Metadata, created: rec.Created}, nil
}

// batch reads the next chunks after a key with their vectors and contributions.
// last is nil when there are no more.
func (l *loader) batch(after []byte, want map[version]int) (batch []raw, last []byte, err error) {
	seen := 0
	err = l.tx.Scan(kindChunk, tenancy.Scan{After: after}, func(rest, value []byte) error {
		if seen == loadBatch {
			return tenancy.ErrStop
		}
		seen++
		last = append(last[:0], rest...)
		ref, err := parseChunkKey(rest)
		if err != nil {
			return err
		}
		if want[ref.version] > 0 {
			batch = append(batch, raw{ref: ref, key: bytes.Clone(rest), chunk: bytes.Clone(value)})
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if seen < loadBatch {
		defer func() { last = nil }()
	}
	if len(batch) == 0 {
		return nil, last, nil
	}
	for _, k := range []struct {
		kind byte
		into func(*raw) *[]byte
	}{
		{l.vectors, func(r *raw) *[]byte { return &r.vector }},
		{kindContribution, func(r *raw) *[]byte { return &r.say }},
	} {
		i := 0
		err := l.tx.Scan(k.kind, tenancy.Scan{After: after}, func(rest, value []byte) error {
			if i < len(batch) {
				c := bytes.Compare(batch[i].key, rest)
				if c > 0 {
					return nil
				}
				if c < 0 {
					return fmt.Errorf("%w: chunk %x has no record of kind %c", ErrDamaged, batch[i].key, k.kind)
				}
				*k.into(&batch[i]) = bytes.Clone(value)
				i++
				return nil
			}
			return tenancy.ErrStop
		})
		if err != nil {
			return nil, nil, err
		}
		if i < len(batch) {
			return nil, nil, fmt.Errorf("%w: chunk %x has no record of kind %c", ErrDamaged, batch[i].key, k.kind)
		}
	}
	return batch, last, nil
}

// prepareAll decodes and analyses chunks on every processor, in order.
func prepareAll(batch []raw, hand *byHand, title func(chunkRef) (string, error)) ([]preparedChunk, error) {
	titles := make([]string, len(batch))
	for i := range batch {
		var err error
		if titles[i], err = title(batch[i].ref); err != nil {
			return nil, err
		}
	}
	out := make([]preparedChunk, len(batch))
	var g errgroup.Group
	n := max(1, min(runtime.GOMAXPROCS(0), len(batch)/16))
	for w := range n {
		g.Go(func() (err error) {
			for i := w; i < len(batch) && err == nil; i += n {
				out[i], err = prepare(batch[i], titles[i], hand)
			}
			return err
		})
	}
	return out, g.Wait()
}

func prepare(x raw, title string, hand *byHand) (p preparedChunk, err error) {
	rec, err := decodeChunk(x.chunk)
	if err != nil {
		return p, err
	}
	p = preparedChunk{ord: x.ref.ord, start: rec.Start, end: rec.End, tokens: rec.Tokens}
	if p.vector, err = decodeVector(x.vector); err != nil {
		return p, err
	}
	if p.said, err = decodeContribution(x.say); err != nil {
		return p, err
	}
	p.resolve(hand)
	names := make([]string, len(p.said.Entities))
	for i, e := range p.said.Entities {
		names[i] = e.Name
	}
	p.analysis = analyse(title, rec.Heading, rec.Text, names)
	return p, nil
}

// one loads a single document; a document that is not visible has no chunks.
func (l *loader) one(k docKey) (preparedDoc, error) {
	v, n, err := readVisible(l.tx, k)
	if errors.Is(err, tenancy.ErrNotFound) {
		return preparedDoc{doc: &residentDoc{version: version{doc: k}}}, nil
	}
	if err != nil {
		return preparedDoc{}, err
	}
	d, err := l.document(v)
	if err != nil {
		return preparedDoc{}, err
	}
	batch := make([]raw, n)
	for i := range batch {
		ref := chunkRef{version: v, ord: uint32(i)}
		key := v.key(ref.ord)
		batch[i].ref = ref
		for _, x := range []struct {
			kind byte
			into *[]byte
		}{{kindChunk, &batch[i].chunk}, {l.vectors, &batch[i].vector}, {kindContribution, &batch[i].say}} {
			if *x.into, err = l.tx.Get(x.kind, key); err != nil {
				return preparedDoc{}, fmt.Errorf("%w: chunk %x, record of kind %c: %v", ErrDamaged, key, x.kind, err)
			}
		}
	}
	p := preparedDoc{doc: d}
	p.chunks, err = prepareAll(batch, l.r.hand, func(chunkRef) (string, error) { return d.title, nil })
	return p, err
}

// catchUp brings a loaded base to the generation of a fresh snapshot.
func (kb *openKB) catchUp(ctx context.Context, s *tenancy.Space) error {
	return s.View(ctx, func(tx *tenancy.Tx) error { return kb.catchUpTo(ctx, tx) })
}

// catchUpTo brings the copy to the snapshot of tx at least. It is a matter of one
// read when nothing changed.
func (kb *openKB) catchUpTo(ctx context.Context, tx *tenancy.Tx) error {
	state, err := readState(tx)
	if err != nil {
		return err
	}
	if kb.res.generation() >= state.Generation {
		return nil
	}
	kb.catching.Lock()
	defer kb.catching.Unlock()
	return kb.advance(ctx, tx)
}

// advance applies what changed between the copy and the snapshot of tx. Only the
// touched documents are read, before the lock is taken; the lock is held for
// applyBatch documents at a time. kb.catching is held.
func (kb *openKB) advance(ctx context.Context, tx *tenancy.Tx) error {
	state, err := readState(tx)
	if err != nil {
		return err
	}
	gen := kb.res.generation()
	if gen >= state.Generation {
		return nil
	}
	docs, now, ok, err := touchedSince(tx, gen)
	if err != nil {
		return err
	}
	l := &loader{tx: tx, r: kb.res, vectors: state.vectors().chunks}
	if kb.res.changeovers != state.Changeovers { // every vector is another one
		kb.res.dropVectors(state.Dim)
		ok = false
	}
	if !ok { // more changed than the list remembers: look at every document
		if docs, err = kb.everyDocument(tx); err != nil {
			return err
		}
		now = state.Generation
	}
	if docs, err = kb.takeHand(tx, docs, !ok); err != nil {
		return err
	}
	for len(docs) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(applyBatch, len(docs))
		prepared := make([]preparedDoc, 0, n)
		for _, k := range docs[:n] {
			p, err := l.one(k)
			if err != nil {
				return err
			}
			prepared = append(prepared, p)
		}
		docs = docs[n:]
		kb.res.mu.Lock()
		kb.res.moving = true
		for _, p := range prepared {
			if err = kb.res.apply(p); err != nil {
				break
			}
			delete(kb.res.behind, p.doc.doc)
		}
		kb.res.mu.Unlock()
		if err != nil {
			return err
		}
	}
	kb.res.mu.Lock()
	kb.res.gen, kb.res.changeovers, kb.res.moving = now, state.Changeovers, false
	kb.res.mu.Unlock()
	return nil
}

func (r *resident) generation() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.gen
}

// everyDocument lists what is visible in the store or in the copy.
func (kb *openKB) everyDocument(tx *tenancy.Tx) ([]docKey, error) {
	visible, err := visibleVersions(tx)
	if err != nil {
		return nil, err
	}
	kb.res.mu.RLock()
	defer kb.res.mu.RUnlock()
	var out []docKey
	seen := make(map[docKey]bool, len(visible))
	for _, v := range visible {
		seen[v.doc] = true
		out = append(out, v.doc) // even one of the same version: its metadata may be new
	}
	for k := range kb.res.docs {
		if !seen[k] {
			out = append(out, k)
		}
	}
	return out, nil
}

// maxReadTries bounds how often a search starts over because the base moved on
// between its snapshot and its look at the copy.
// The last try keeps others from moving it.
const maxReadTries = 8

// read pins the base and calls f with the copy, locked for reading, and a
// snapshot of the same generation, so that every id f finds in the one it finds
// in the other. f must be short: no model is called in it.
func (r *Reader) read(ctx context.Context, f func(*resident, *tenancy.Tx) error) error {
	kb, release, err := r.eng.pool.acquire(ctx, r.space)
	if err != nil {
		return err
	}
	defer release()
	return kb.read(ctx, r.space, f)
}

// read is Reader.read of a base that is pinned already.
func (kb *openKB) read(ctx context.Context, s *tenancy.Space, f func(*resident, *tenancy.Tx) error) error {
	for try := 1; ; try++ {
		moved, err := kb.tryRead(ctx, s, try == maxReadTries, f)
		if err != nil || !moved {
			return err
		}
	}
}

// tryRead calls f if the copy can be had at the generation of a fresh snapshot;
// moved says that it could not. With still nobody else moves the copy meanwhile,
// and it always can.
func (kb *openKB) tryRead(ctx context.Context, s *tenancy.Space, still bool, f func(*resident, *tenancy.Tx) error) (moved bool, err error) {
	catchUp := kb.catchUpTo
	if still {
		kb.catching.Lock()
		defer kb.catching.Unlock()
		catchUp = kb.advance
	}
	err = s.View(ctx, func(tx *tenancy.Tx) error {
		if err := catchUp(ctx, tx); err != nil {
			return err
		}
		state, err := readState(tx)
		if err != nil {
			return err
		}
		kb.res.mu.RLock()
		defer kb.res.mu.RUnlock()
		if kb.res.moving || kb.res.gen != state.Generation {
			moved = true
			return nil
		}
		return f(kb.res, tx)
	})
	return moved, err
}
