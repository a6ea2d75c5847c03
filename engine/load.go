package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"alcove/index"
	"alcove/tenancy"
)

// loadBatch is how many chunks are read and analysed at a time: enough to keep
// every processor busy, few enough that their texts do not matter.
const loadBatch = 1024

// applyBatch is how many documents are applied under one hold of the lock.
const applyBatch = 64

// loadResident reads a knowledge base into memory, in two steps through one snapshot:
// documents and passages with their words, names and vectors; then what the passages
// say, of which the graph is made. Records that do not add up are ErrDamaged: a base
// that is short is refused, never served in part. early is called between the steps,
// when everything is there that a search for passages looks at.
func loadResident(ctx context.Context, e *Engine, s *tenancy.Space, vectors index.Options, early func(*resident)) (*resident, error) {
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
		hand, err := readHand(tx)
		if err != nil {
			return err
		}
		l := &loader{tx: tx, vectors: state.vectors().chunks}
		empty := func() {
			l.r = newResident(state.Dim, e.o.Embedder.Pure(), vectors)
			l.r.hand = hand
		}
		empty()
		if err := l.snapshot(ctx, &state, early); err == nil {
			e.pool.stats.restored.Add(1)
		} else if !unusable(err) {
			return err
		} else if !l.early {
			e.o.Logger.Debug("knowledge base is read from its records", "scope", s.KBID(), "why", err)
			empty()
			l.r.gen, l.r.changeovers = state.Generation, state.Changeovers
			if err := l.records(ctx, early); err != nil {
				return err
			}
		} else if err := l.recordsOfGraph(ctx); err != nil {
			return err
		}
		r = l.r
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
	early   bool // what a search for passages looks at has been shown
}

// records loads an empty copy from the records.
func (l *loader) records(ctx context.Context, early func(*resident)) error {
	visible, err := visibleVersions(l.tx)
	if err != nil {
		return err
	}
	l.r.startHand(l.r.hand)
	if err := l.passages(ctx, visible); err != nil {
		return err
	}
	l.show(early)
	return l.sayings(ctx, visible)
}

func (l *loader) show(early func(*resident)) {
	l.early = true
	early(l.r)
}

// raw is one chunk as it lies in the store.
type raw struct {
	ref                chunkRef
	key                []byte
	chunk, vector, say []byte
}

// passages is the first step of a load. The three kinds of record are read in step, a
// batch of chunks at a time; while one batch is put into the copy, the next is analysed
// on every processor and the one after read. Nobody else holds the copy.
func (l *loader) passages(ctx context.Context, visible []visibleDoc) error {
	want, total := make(map[version]int, len(visible)), 0
	for _, v := range visible {
		want[v.version] = v.chunks
		total += v.chunks
	}
	l.r.expect(len(visible), total)
	type part struct {
		raw      []raw
		docs     []*preparedDoc // of each
		prepared []preparedChunk
	}
	read, analysed := make(chan part, 1), make(chan part, 1)
	g, ctx := errgroup.WithContext(ctx)
	send := func(to chan<- part, p part) error {
		select {
		case to <- p:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	g.Go(func() error {
		defer close(read)
		docs := make(map[version]*preparedDoc, len(visible))
		for after, first := []byte(nil), true; first || after != nil; first = false {
			batch, last, err := l.batch(after, want)
			if err != nil {
				return err
			}
			p := part{raw: batch, docs: make([]*preparedDoc, len(batch))}
			for i := range batch {
				if p.docs[i], err = l.entry(docs, batch[i].ref.version); err != nil {
					return err
				}
			}
			if err := send(read, p); err != nil {
				return err
			}
			after = last
		}
		return nil
	})
	g.Go(func() (err error) {
		defer close(analysed)
		for p := range read {
			p.prepared, err = onAll(len(p.raw), func(i int) (preparedChunk, error) {
				c, err := prepareText(p.raw[i], p.docs[i].doc.title)
				c.said = contribution{} // the second step reads it again
				return c, err
			})
			if err == nil {
				err = send(analysed, p)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		placed := 0
		for p := range analysed {
			for i, c := range p.prepared {
				d := p.docs[i]
				if d.chunks = append(d.chunks, c); len(d.chunks) < want[d.doc.version] {
					continue
				}
				if err := l.r.place(*d); err != nil {
					return fmt.Errorf("%w: document %x: %w", ErrDamaged, d.doc.doc, err)
				}
				placed += len(d.chunks)
				d.chunks = nil
			}
		}
		if placed < total && ctx.Err() == nil {
			return fmt.Errorf("%w: %d chunks of %d are there", ErrDamaged, placed, total)
		}
		return nil
	})
	return g.Wait()
}

// sayings is the second step of a load. Searches for passages may hold the copy
// meanwhile: it is locked for a batch at a time.
func (l *loader) sayings(ctx context.Context, visible []visibleDoc) error {
	want, total := make(map[version]bool, len(visible)), 0
	for _, v := range visible {
		want[v.version] = v.chunks > 0
		total += v.chunks
	}
	type part struct {
		raw      []raw
		prepared []preparedChunk
	}
	resolved := make(chan part, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(resolved)
		var batch []raw
		flush := func() error {
			p := part{raw: batch}
			var err error
			p.prepared, err = onAll(len(batch), func(i int) (c preparedChunk, err error) {
				if c.said, err = decodeContribution(batch[i].say); err == nil {
					c.resolve(l.r.hand)
				}
				return c, err
			})
			if err != nil {
				return err
			}
			batch = nil
			select {
			case resolved <- p:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := l.tx.Scan(kindContribution, tenancy.Scan{}, func(rest, value []byte) error {
			ref, err := parseChunkKey(rest)
			if err != nil || !want[ref.version] {
				return err
			}
			batch = append(batch, raw{ref: ref, say: bytes.Clone(value)})
			if len(batch) < loadBatch {
				return nil
			}
			return flush()
		})
		if err != nil {
			return err
		}
		return flush()
	})
	g.Go(func() error {
		n := 0
		for p := range resolved {
			for from := 0; from < len(p.raw); from += applyBatch {
				to := min(from+applyBatch, len(p.raw))
				if err := l.r.contributeAll(p.raw[from:to], p.prepared[from:to]); err != nil {
					return err
				}
			}
			n += len(p.raw)
		}
		if n < total && ctx.Err() == nil {
			return fmt.Errorf("%w: %d contributions of %d are there", ErrDamaged, n, total)
		}
		return nil
	})
	return g.Wait()
}

// entry is the entry of a version, made on first sight.
func (l *loader) entry(docs map[version]*preparedDoc, v version) (*preparedDoc, error) {
	d := docs[v]
	if d == nil {
		rd, err := l.document(v)
		if err != nil {
			return nil, err
		}
		d = &preparedDoc{doc: rd}
		docs[v] = d
	}
	return d, nil
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

// onAll calls f for 0 to n-1 on every processor and returns what it returns, in order.
func onAll[T any](n int, f func(int) (T, error)) ([]T, error) {
	out := make([]T, n)
	var g errgroup.Group
	workers := max(1, min(processors(), n/16))
	for w := range workers {
		g.Go(func() (err error) {
			for i := w; i < n && err == nil; i += workers {
				out[i], err = f(i)
			}
			return err
		})
	}
	return out, g.Wait()
}

// prepare decodes and analyses a chunk.
func prepare(x raw, title string, hand *byHand) (preparedChunk, error) {
	p, err := prepareText(x, title)
	if err == nil {
		p.resolve(hand)
	}
	return p, err
}

// prepareText is prepare without a look at what its names count for.
func prepareText(x raw, title string) (p preparedChunk, err error) {
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
	p.chunks, err = onAll(len(batch), func(i int) (preparedChunk, error) { return prepare(batch[i], d.title, l.r.hand) })
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
// in the other. It waits for the tenant's turn to search, once the base is loaded. f
// must be short: no model is called in it, and no read.
func (r *Reader) read(ctx context.Context, f func(*resident, *tenancy.Tx) error) error {
	kb, release, err := r.eng.pool.acquire(ctx, r.space)
	if err != nil {
		return err
	}
	defer release()
	return r.eng.search(ctx, r.space, func() error { return kb.read(ctx, r.space, f) })
}

// readPassages is read for an f that looks at documents, passages and their vectors
// alone: while the graph of the base is still being loaded it does not wait for that.
func (r *Reader) readPassages(ctx context.Context, f func(*resident, *tenancy.Tx) error) error {
	kb, release, err := r.eng.pool.lease(r.space)
	if err != nil {
		return err
	}
	defer release()
	if early, err := kb.await(ctx, kb.early); err != nil {
		return err
	} else if early {
		var done bool
		err := r.eng.search(ctx, r.space, func() (err error) {
			done, err = kb.readEarly(ctx, r.space, f)
			return err
		})
		if done || err != nil {
			return err
		}
		if _, err := kb.await(ctx, kb.ready); err != nil {
			return err
		}
	}
	return r.eng.search(ctx, r.space, func() error { return kb.read(ctx, r.space, f) })
}

// readEarly calls f with the passages of a base that is being loaded, if they are of
// the generation of a fresh snapshot; done says that they were.
func (kb *openKB) readEarly(ctx context.Context, s *tenancy.Space, f func(*resident, *tenancy.Tx) error) (done bool, err error) {
	err = s.View(ctx, func(tx *tenancy.Tx) error {
		state, err := readState(tx)
		if err != nil {
			return err
		}
		kb.res.mu.RLock()
		defer kb.res.mu.RUnlock()
		if done = kb.res.gen == state.Generation; !done {
			return nil
		}
		return f(kb.res, tx)
	})
	return done, err
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
