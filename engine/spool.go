package engine

import (
	"context"
	"errors"
	"fmt"

	"alcove/tenancy"
)

// spool is the content of a call that is too large for one transaction, on its
// way into the store ahead of the one that accepts it. A job stands in the store
// before the first byte does, so that whatever ends the call early, a crash
// included, leaves something that cleans up.
type spool struct {
	eng  *Engine
	ref  tenancy.JobRef // sweeps what the accepting transaction does not take
	over bool
}

// errStale says that the documents of a call changed between the look at them
// and the transaction that was to accept it, so that content is missing or too
// large for it. The call is decided again.
var errStale = errors.New("the documents of the call changed meanwhile")

// spool stores the content of every document that is to change, each under a
// version of its own that nothing names yet.
func (k *KB) spool(ctx context.Context, ins []*incoming) (*spool, error) {
	sp := &spool{eng: k.eng}
	err := k.eng.change(ctx, k.space, func(c *change) (err error) {
		var j job
		for _, in := range ins {
			in.gen = 0
			if in.needsContent() {
				in.gen = c.begin()
				j.Sweep = append(j.Sweep, jobVersion{in.key, in.gen})
			}
		}
		sp.ref, err = c.addJob(j)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	type piece struct {
		key, value []byte
	}
	var group []piece
	size := 0
	flush := func() error {
		if len(group) == 0 {
			return nil
		}
		err := k.space.Commit(ctx, func(tx *tenancy.Tx) error {
			for _, p := range group {
				if err := tx.Set(kindContent, p.key, p.value); err != nil {
					return err
				}
			}
			return tx.CheckStorage(0)
		})
		group, size = group[:0], 0
		return err
	}
	for _, in := range ins {
		if in.gen == 0 {
			continue
		}
		for part, b := range parts(in.content) {
			if size+len(b) > commitBytes {
				if err := flush(); err != nil {
					sp.abandon()
					return nil, fmt.Errorf("spool %s: %w", in.id, err)
				}
			}
			group = append(group, piece{version{in.key, in.gen}.key(uint32(part)), b})
			size += len(b) + 64
		}
	}
	if err := flush(); err != nil {
		sp.abandon()
		return nil, fmt.Errorf("spool: %w", err)
	}
	return sp, nil
}

// settle ends the spool's job in the transaction that accepts the call. What
// another call made unneeded meanwhile is left to a sweep.
func (sp *spool) settle(c *change, ins []*incoming) error {
	if sp == nil {
		return nil
	}
	var j job
	for _, in := range ins {
		if in.gen != 0 && (in.rec == nil || in.rec.Pending != in.gen) {
			j.Sweep = append(j.Sweep, jobVersion{in.key, in.gen})
		}
	}
	if len(j.Sweep) > 0 {
		ref, err := c.addJob(j)
		if err != nil {
			return err
		}
		c.sweeps = append(c.sweeps, ref)
	}
	return c.tx.EndJob(sp.ref)
}

// done says that the call was accepted.
func (sp *spool) done() {
	if sp != nil {
		sp.over = true
	}
}

// abandon leaves what was stored to a sweep, unless the call was accepted.
func (sp *spool) abandon() {
	if sp != nil && !sp.over {
		sp.over = true
		sp.eng.queue.push(sp.ref)
	}
}
