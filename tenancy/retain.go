package tenancy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"alcove/tenancy/audit"
	"alcove/tenancy/keyspace"
)

const (
	// retainPage is how many entries one transaction looks at or takes away: two deletes each.
	retainPage = 2000
	// maxCutChains bounds the chains one cut moves: each is a write of its transaction.
	maxCutChains = 5000
)

// retain cuts the log at the beginning of the first day that is to be kept, once a
// day. Whole days go, over all chains, oldest first; what remains is an anchor: a
// signed cut with the tree's root there and where each chain stood, so that a
// verification begins at it and a cut by somebody else does not pass for ours.
func (n *notary) retain(ctx context.Context) error {
	days := n.store.opt.AuditRetentionDays
	if days <= 0 {
		return nil
	}
	today := n.store.now().UTC().Truncate(24 * time.Hour)
	if n.lastCut == today.String() {
		return nil
	}
	keep := today.AddDate(0, 0, -days)
	for more := true; more; {
		var err error
		if more, err = n.cut(ctx, keep); err != nil {
			return fmt.Errorf("audit retention: %w", err)
		}
	}
	n.lastCut = today.String()
	return nil
}

// cut cuts the log before the first entry that is not older than keep, or before that
// if too many chains are in the way; more says that there is more to do.
func (n *notary) cut(ctx context.Context, keep time.Time) (more bool, err error) {
	s := n.store
	var from, size uint64
	if err := s.view(ctx, func(tx *keyspace.Tx) error {
		c, err := n.cutOf(tx)
		if err != nil {
			return err
		}
		from = c.Size
		size, err = trailSize(tx)
		return err
	}); err != nil {
		return false, err
	}
	if err := n.sweep(ctx, from); err != nil { // what an interrupted cut left behind
		return false, err
	}
	at, bases, more, err := n.findCut(ctx, from, size, keep)
	if err != nil || at == from {
		return false, err
	}
	// A checkpoint first, so that the file outside tells of what is now taken away.
	if err := n.sign(ctx); err != nil {
		return false, err
	}
	c := audit.Cut{Checkpoint: audit.Checkpoint{Size: at, Time: s.stamp()}}
	if err := s.view(ctx, func(tx *keyspace.Tx) error {
		all, err := trailHeads(tx, kindTrailBase)
		if err != nil {
			return err
		}
		for id, h := range bases {
			all[id] = h
		}
		c.Heads = audit.HeadsDigest(all)
		c.Root, err = audit.Root(at, leaves(tx))
		return err
	}); err != nil {
		return false, err
	}
	signed, err := n.signer.Cut(c)
	if err != nil {
		return false, err
	}
	err = s.db.Commit(ctx, func(tx *keyspace.Tx) error {
		for id, h := range bases {
			if err := tx.Set(keyspace.System, kindTrailBase, u64(id), h.Encode()); err != nil {
				return err
			}
		}
		if err := tx.Set(keyspace.System, kindTrailLog, []byte(logCut), signed); err != nil {
			return err
		}
		return s.append(ctx, tx, systemChain, event{actor: "server", action: "audit_pruned", resourceType: "audit", details: map[string]string{
			"entries": strconv.FormatUint(at-from, 10), "first_kept": strconv.FormatUint(at, 10), "root": c.Root.String(),
			"before": keep.Format(time.DateOnly),
		}})
	})
	if err != nil {
		return false, err
	}
	return more, n.sweep(ctx, at)
}

// cutOf reads where the log is cut; the zero Cut if it is not.
func (n *notary) cutOf(tx *keyspace.Tx) (audit.Cut, error) {
	return readCut(tx, n.signer.VerifierKey())
}

func readCut(tx *keyspace.Tx, verifierKey string) (audit.Cut, error) {
	b, err := tx.Get(keyspace.System, kindTrailLog, []byte(logCut))
	if isNotFound(err) {
		return audit.Cut{}, nil
	}
	if err != nil {
		return audit.Cut{}, fmt.Errorf("audit cut: %w", err)
	}
	c, err := audit.OpenCut(b, verifierKey)
	if err != nil {
		return audit.Cut{}, fmt.Errorf("audit cut: %w", err)
	}
	return c, nil
}

// findCut walks from entry from to the first that is not older than keep, and returns
// where that is and where each chain on the way then stands.
func (n *notary) findCut(ctx context.Context, from, size uint64, keep time.Time) (at uint64, bases map[uint64]audit.Head, more bool, err error) {
	at, bases = from, map[uint64]audit.Head{}
	for at < size {
		done := false
		err := n.store.view(ctx, func(tx *keyspace.Tx) error {
			scan := keyspace.Scan{Limit: retainPage}
			if at > 0 {
				scan.After = u64(at - 1)
			}
			return tx.Scan(keyspace.System, kindTrailEntry, scan, func(rest, value []byte) error {
				if len(rest) != 8 || beU64(rest) != at {
					return fmt.Errorf("%w: audit entry %d is missing", ErrDamaged, at)
				}
				l, err := audit.DecodeLeaf(at, value)
				if err != nil {
					return fmt.Errorf("%w: %v", ErrDamaged, err)
				}
				sealed, err := tx.Get(keyspace.System, kindTrail, u64s(l.Chain, l.Seq))
				if err != nil {
					return fmt.Errorf("audit record %d of chain %d: %w", l.Seq, l.Chain, err)
				}
				r, h, err := audit.Unsealed(sealed)
				if err != nil {
					return fmt.Errorf("%w: %v", ErrDamaged, err)
				}
				_, seen := bases[l.Chain]
				if !r.Time.Before(keep) || !seen && len(bases) == maxCutChains {
					done, more = true, r.Time.Before(keep)
					return ErrStop
				}
				bases[l.Chain] = h
				at++
				return nil
			})
		})
		if err != nil || done {
			return at, bases, more, err
		}
	}
	return at, bases, false, nil
}

// sweep takes away what lies before the cut at entry at: records, entries that later
// roots are not made of, and checkpoints. It goes a page at a time, and a kill in the
// middle leaves nothing that a verification would look at.
func (n *notary) sweep(ctx context.Context, at uint64) error {
	if at == 0 {
		return nil
	}
	var after []byte
	for {
		seen := 0
		err := n.store.db.Commit(ctx, func(tx *keyspace.Tx) error {
			seen = 0
			type gone struct{ entry, record []byte }
			var dead []gone
			err := tx.Scan(keyspace.System, kindTrailEntry, keyspace.Scan{Limit: retainPage, After: after}, func(rest, value []byte) error {
				i := beU64(rest)
				if i >= at {
					return ErrStop
				}
				seen++
				after = append([]byte(nil), rest...)
				l, err := audit.DecodeLeaf(i, value)
				if err != nil {
					return fmt.Errorf("%w: %v", ErrDamaged, err)
				}
				g := gone{record: u64s(l.Chain, l.Seq)}
				if !audit.Keeps(at, i) {
					g.entry = u64(i)
				}
				dead = append(dead, g)
				return nil
			})
			for _, g := range dead {
				err = errors.Join(err, tx.Delete(keyspace.System, kindTrail, g.record))
				if g.entry != nil {
					err = errors.Join(err, tx.Delete(keyspace.System, kindTrailEntry, g.entry))
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		if seen < retainPage {
			break
		}
	}
	for {
		seen := 0
		err := n.store.db.Commit(ctx, func(tx *keyspace.Tx) error {
			seen = 0
			var dead [][]byte
			err := tx.Scan(keyspace.System, kindTrailSign, keyspace.Scan{Limit: retainPage, KeysOnly: true}, func(rest, _ []byte) error {
				if len(rest) != 8 || beU64(rest) >= at {
					return ErrStop
				}
				seen++
				dead = append(dead, append([]byte(nil), rest...))
				return nil
			})
			for _, rest := range dead {
				err = errors.Join(err, tx.Delete(keyspace.System, kindTrailSign, rest))
			}
			return err
		})
		if err != nil || seen < retainPage {
			return err
		}
	}
}

// trailHeads reads all heads of a kind: kindTrailHead or kindTrailBase.
func trailHeads(tx *keyspace.Tx, kind byte) (map[uint64]audit.Head, error) {
	heads := map[uint64]audit.Head{}
	err := tx.Scan(keyspace.System, kind, keyspace.Scan{}, func(rest, value []byte) error {
		if len(rest) != 8 {
			return fmt.Errorf("%w: audit head key of %d bytes", ErrDamaged, len(rest))
		}
		h, err := audit.DecodeHead(value)
		if err != nil {
			return fmt.Errorf("%w: audit head of chain %d: %v", ErrDamaged, beU64(rest), err)
		}
		heads[beU64(rest)] = h
		return nil
	})
	return heads, err
}
