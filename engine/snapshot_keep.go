package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"alcove/flat"
	"alcove/tenancy"
)

// snapshotReason is what tenants see in their record of acts.
const snapshotReason = "snapshot of the copy in memory"

// blocks are stored some at a time, in commits that others wait for.
type blocks struct {
	ctx     context.Context
	s       *tenancy.Space
	pending []block
	size    int
}

// block is one of a part. last says that those behind it are of a longer part before.
type block struct {
	part   byte
	number uint32
	value  []byte
	last   bool
}

// add stores a part, or has it stored with the next.
func (w *blocks) add(part byte, b []byte) error {
	for n := uint32(0); ; n++ {
		if n == maxGraphBlocks {
			return fmt.Errorf("snapshot is larger than %d blocks", maxGraphBlocks)
		}
		m := min(len(b), graphBlockBytes)
		w.pending = append(w.pending, block{part, n, b[:m], m == len(b)})
		w.size, b = w.size+m, b[m:]
		if w.size >= graphCommitBlocks*graphBlockBytes {
			if err := w.flush(); err != nil {
				return err
			}
		}
		if len(b) == 0 {
			return nil
		}
	}
}

func (w *blocks) flush() error {
	if len(w.pending) == 0 {
		return nil
	}
	err := w.s.Commit(w.ctx, func(tx *tenancy.Tx) error {
		for _, x := range w.pending {
			if err := tx.Set(kindSnapshot, blockKey(x.part, x.number), x.value); err != nil {
				return err
			}
			for n := x.number + 1; x.last && n < maxGraphBlocks; n++ {
				k := blockKey(x.part, n)
				if _, err := tx.Get(kindSnapshot, k); errors.Is(err, tenancy.ErrNotFound) {
					break
				} else if err != nil {
					return err
				}
				if err := tx.Delete(kindSnapshot, k); err != nil {
					return err
				}
			}
		}
		return nil
	})
	w.pending, w.size = w.pending[:0], 0
	return err
}

// errMoved says that a copy is not what it was when its snapshot was begun.
var errMoved = errors.New("the copy has moved on")

// unkeptNow says whether the copy is worth a snapshot, and the generation it is of.
func (r *resident) unkeptNow(from int) (gen uint64, due bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	chunks := len(r.chunks) - len(r.free)
	return r.gen, from >= 0 && chunks >= max(1, from) && !r.moving && len(r.behind) == 0 && r.unkept*snapshotShare > len(r.docs)
}

// keep stores the copy as a snapshot. It holds the copy for a part at a time, as a search
// does, and gives up with errMoved when there was a change meanwhile.
func (r *resident) keep(ctx context.Context, s *tenancy.Space, gen uint64) error {
	w := &blocks{ctx: ctx, s: s}
	st := stamp{gen: gen, drawn: rand.Uint64()}
	unkept := 0
	for i, part := range snapshotParts {
		b, err := func() ([]byte, error) {
			r.mu.RLock()
			defer r.mu.RUnlock()
			if r.moving || r.gen != gen || i > 0 && r.unkept != unkept {
				return nil, errMoved
			}
			st.changeovers, unkept = r.changeovers, r.unkept
			b := st.head(part)
			switch part {
			case partDocuments:
				b = r.encodeDocuments(b)
			case partWords:
				b = r.recall.lex.AppendTo(b)
			case partNames:
				b = r.recall.pass.AppendTo(b)
			case partGraph:
				b = r.encodeGraph(b)
			}
			return flat.Seal(b), nil
		}()
		if err == nil {
			err = w.add(part, b)
		}
		if err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unkept -= unkept
	return nil
}

// keep stores the copy of a base that is loaded, if that is worth while, through a Space
// of its own: the base may have been opened by somebody who may only read.
func (p *pool) keep(ctx context.Context, kb *openKB) {
	gen, due := kb.res.unkeptNow(p.eng.o.SnapshotFrom)
	if !due || kb.forgotten.Load() {
		return
	}
	s, err := p.eng.o.Store.Maintain(ctx, snapshotReason, kb.tenant, kb.name)
	if err == nil && s.ID() == kb.id { // else it is another of the same name
		err = kb.res.keep(ctx, s, gen)
	}
	switch {
	case err == nil:
		p.stats.snapshots.Add(1)
	case !errors.Is(err, errMoved) && !errors.Is(err, tenancy.ErrNotFound) && !errors.Is(err, tenancy.ErrKBGone) && ctx.Err() == nil:
		p.eng.o.Logger.Warn("snapshot is not stored", "scope", kb.name, "error", err)
	}
}

// restChecks is how often in a rest the pool looks for bases that have rested.
const restChecks = 4

// watchRest stores the copies that have not changed for a while, one after another,
// until the pool is closed.
func (p *pool) watchRest() {
	rest := p.eng.o.VectorGraphRest
	tick := time.NewTicker(max(20*time.Millisecond, rest/restChecks))
	defer tick.Stop()
	type seen struct {
		gen   uint64
		since time.Time
		tried bool // once a generation, whatever came of it
	}
	last := map[*openKB]seen{}
	for {
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return
		}
		now, then := map[*openKB]seen{}, time.Now()
		for _, kb := range p.loaded() {
			gen, due := kb.res.unkeptNow(p.eng.o.SnapshotFrom)
			if !due {
				continue
			}
			x, ok := last[kb]
			if !ok || x.gen != gen {
				x = seen{gen: gen, since: then}
			}
			if !x.tried && then.Sub(x.since) >= rest {
				x.tried = true
				p.keepOne(p.ctx, kb)
			}
			now[kb] = x
		}
		last = now
	}
}

// keepOne is keep of one at a time.
func (p *pool) keepOne(ctx context.Context, kb *openKB) {
	select {
	case p.keeping <- struct{}{}:
		defer func() { <-p.keeping }()
		p.keep(ctx, kb)
	case <-ctx.Done():
	}
}

// keepEvicted stores the copy of a base that goes, unless another is being stored: it
// keeps its memory until then. p.mu is held.
func (p *pool) keepEvicted(kb *openKB) {
	select {
	case p.keeping <- struct{}{}:
		p.work.Go(func() {
			defer func() { <-p.keeping }()
			p.keep(p.ctx, kb)
		})
	default:
	}
}

// keepAll stores what is open when the pool closes, as long as it may take.
func (p *pool) keepAll(open []*openKB) {
	ctx, cancel := context.WithTimeout(context.Background(), keepAtClose)
	defer cancel()
	for _, kb := range open {
		if ctx.Err() == nil && kb.res != nil && kb.err == nil {
			p.keep(ctx, kb)
		}
	}
}

// keepAtClose bounds what a server that stops stores of snapshots.
const keepAtClose = 5 * time.Second

// dropSnapshot takes the snapshot of a base out of the store and its copy out of
// memory: the next load reads the records.
func (p *pool) dropSnapshot(ctx context.Context, s *tenancy.Space) error {
	select {
	case p.keeping <- struct{}{}: // what is being stored is stored before
		defer func() { <-p.keeping }()
	case <-ctx.Done():
		return ctx.Err()
	}
	p.forget(s.ID())
	return s.Commit(ctx, func(tx *tenancy.Tx) error {
		// Without its first part a snapshot is none; the rest is written over by the next.
		return tx.Delete(kindSnapshot, blockKey(partDocuments, 0))
	})
}

// loaded lists the bases that are in memory, used last first.
func (p *pool) loaded() []*openKB {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*openKB
	for e := p.lru.Front(); e != nil; e = e.Next() {
		kb := e.Value.(*openKB)
		select {
		case <-kb.ready:
			if kb.err == nil {
				out = append(out, kb)
			}
		default:
		}
	}
	return out
}
