package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"alcove/index"
	"alcove/tenancy"
)

// The vector spaces of an open knowledge base are tended: a large one gets a graph
// behind the searches, see index.Vectors. The graph is stored as blocks of a snapshot, so
// that the next to open the base need not make it. It is derived state and only a
// cache: blocks that do not add up, or are of other vectors, are thrown away, and
// searches scan until there is a graph again.

const (
	// graphBlockBytes is a block of a snapshot: some 2,000 vectors.
	graphBlockBytes = 256 << 10
	// graphCommitBlocks go into one commit, which others wait for.
	graphCommitBlocks = 4
	// maxGraphBlocks bounds a snapshot: of 16 million vectors.
	maxGraphBlocks = 8192
	graphReason    = "vector graph snapshot" // as tenants see it in their record of acts
)

// vectorOptions are those of every vector space of the engine.
func (o *Options) vectorOptions() index.Options {
	return index.Options{Backend: index.Backend(o.VectorIndex), Compact: o.VectorsCompact, From: o.VectorGraphFrom, Rest: o.VectorGraphRest}
}

// wayGiven is how long a graph in the making stands still while a question is searched
// for, between two vectors: a vector takes a third of it, so a graph comes on at a
// quarter of its pace when questions never cease, and takes no turn of the scheduler's
// (10 ms) from them.
const wayGiven = time.Millisecond

// giveWay waits a moment if a question is being searched for.
func (e *Engine) giveWay() {
	if e.searching.Load() > 0 {
		time.Sleep(wayGiven)
	}
}

// newSpace makes an empty space for vectors of dim numbers. Whoever puts it in the
// place of another closes that one. r.mu is held for writing, or r is not shown yet.
func (r *resident) newSpace(dim int) *index.Vectors {
	v := index.NewVectors(dim, r.vectors)
	if r.tended {
		v.Tend()
	}
	return v
}

// graphSpace names a space in the keys of snapshots.
type graphSpace struct {
	name byte
	v    *index.Vectors
}

func (r *resident) graphSpaces() []graphSpace {
	r.mu.RLock()
	defer r.mu.RUnlock()
	x := r.index
	return []graphSpace{{'c', x.Chunks}, {profileEntities, x.Entities}, {profileRelations, x.Relations}}
}

// tend restores the graphs of a copy that was just loaded, and lets its spaces keep
// themselves.
func (r *resident) tend(ctx context.Context, e *Engine, s *tenancy.Space) error {
	for _, g := range r.graphSpaces() {
		if g.v == nil || !g.v.Large() {
			continue
		}
		err := s.View(ctx, func(tx *tenancy.Tx) error { return g.v.Restore(&graphReader{tx: tx, space: g.name}) })
		switch {
		case errors.Is(err, index.ErrSnapshot):
			e.o.Logger.Debug("vector graph is made anew", "scope", s.KBID(), "error", err)
		case err != nil:
			return fmt.Errorf("read vector graph: %w", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tended = true
	for _, v := range r.index.Spaces() {
		v.Tend()
	}
	return nil
}

// untend ends the upkeep of every space and waits for it. Whoever holds the copy
// may go on reading it.
func (r *resident) untend() {
	r.mu.RLock()
	spaces := r.index.Spaces()
	r.mu.RUnlock()
	for _, v := range spaces {
		v.Close()
	}
}

// graphReader reads the blocks of a snapshot one after another.
type graphReader struct {
	tx    *tenancy.Tx
	space byte
	next  uint32
	block []byte
}

func blockKey(space byte, block uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{space}, block)
}

func (g *graphReader) Read(p []byte) (int, error) {
	if len(g.block) == 0 {
		if g.next == maxGraphBlocks {
			return 0, io.EOF
		}
		b, err := g.tx.Get(kindSnapshot, blockKey(g.space, g.next))
		if errors.Is(err, tenancy.ErrNotFound) || err == nil && len(b) == 0 {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		g.block = b
		g.next++
	}
	n := copy(p, g.block)
	g.block = g.block[n:]
	return n, nil
}

// graphWriter stores a snapshot block by block. What others read meanwhile, or after
// a kill, is part old and part new, which a snapshot's checksums tell.
type graphWriter struct {
	ctx   context.Context
	s     *tenancy.Space
	space byte
	next  uint32
	rest  []byte
}

func (g *graphWriter) Write(p []byte) (int, error) {
	g.rest = append(g.rest, p...)
	for len(g.rest) >= graphCommitBlocks*graphBlockBytes {
		if err := g.commit(graphCommitBlocks * graphBlockBytes); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// commit stores the first n bytes.
func (g *graphWriter) commit(n int) error {
	if int(g.next)+n/graphBlockBytes >= maxGraphBlocks {
		return fmt.Errorf("vector graph is larger than %d blocks", maxGraphBlocks)
	}
	next := g.next
	err := g.s.Commit(g.ctx, func(tx *tenancy.Tx) error {
		next = g.next
		for b := g.rest[:n]; len(b) > 0; next++ {
			m := min(len(b), graphBlockBytes)
			if err := tx.Set(kindSnapshot, blockKey(g.space, next), b[:m]); err != nil {
				return err
			}
			b = b[m:]
		}
		return nil
	})
	if err != nil {
		return err
	}
	g.next = next
	g.rest = append(g.rest[:0], g.rest[n:]...)
	return nil
}

// close stores what is left and drops the blocks of a longer snapshot before.
func (g *graphWriter) close() error {
	if err := g.commit(len(g.rest)); err != nil {
		return err
	}
	return g.s.Commit(g.ctx, func(tx *tenancy.Tx) error {
		for ; g.next < maxGraphBlocks; g.next++ {
			k := blockKey(g.space, g.next)
			if _, err := tx.Get(kindSnapshot, k); errors.Is(err, tenancy.ErrNotFound) {
				return nil
			} else if err != nil {
				return err
			}
			if err := tx.Delete(kindSnapshot, k); err != nil {
				return err
			}
		}
		return nil
	})
}

// graphMade stores the graphs of a base of which one was made or has grown by much:
// a few times in the life of a base. Nobody waits for it but close.
func (p *pool) graphMade(kb *openKB, tenant, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || kb.gone || kb.keeping {
		kb.keepAgain = kb.keeping
		return
	}
	kb.keeping = true
	kb.leases++
	p.work.Add(1)
	go func() {
		defer p.work.Done()
		defer p.release(kb)
		for again := true; again; {
			if err := p.keepGraphs(kb, tenant, name); err != nil && p.ctx.Err() == nil {
				p.eng.o.Logger.Warn("vector graph is not stored", "scope", name, "error", err)
			}
			p.mu.Lock()
			again = kb.keepAgain && !p.closed
			kb.keepAgain, kb.keeping = false, again
			p.mu.Unlock()
		}
	}()
}

// keepGraphs writes snapshots through a Space of its own: the base may have been
// opened by somebody who may only read.
func (p *pool) keepGraphs(kb *openKB, tenant, name string) error {
	select {
	case <-kb.ready:
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
	if kb.err != nil {
		return nil
	}
	s, err := p.eng.o.Store.Maintain(p.ctx, graphReason, tenant, name)
	if err != nil || s.ID() != kb.id { // deleted meanwhile, or another of the same name
		return err
	}
	for _, g := range kb.res.graphSpaces() {
		if g.v == nil {
			continue
		}
		w := &graphWriter{ctx: p.ctx, s: s, space: g.name}
		if ok, err := g.v.Snapshot(w); err != nil {
			return err
		} else if !ok {
			continue
		}
		if err := w.close(); err != nil {
			return fmt.Errorf("store vector graph: %w", err)
		}
		p.stats.graphs.Add(1)
	}
	return nil
}
