package tenancy

import (
	"context"
	"fmt"
	"time"

	"alcove/tenancy/audit"
	"alcove/tenancy/keyspace"
)

// systemChain is the number of the server's own audit chain; tenants have theirs
// under their numbers, which begin at 1.
const systemChain = 0

// outcomeSuccess is how an act that is recorded with its change always ends: had it
// failed, the record would not be there either.
const outcomeSuccess = "success"

// event is what is to be recorded of one act. No secrets and no text of documents or
// questions: ids, names and counts.
type event struct {
	actor        string
	action       string
	resourceType string
	resourceID   string
	details      map[string]string
	outcome      string    // "" is success
	at           time.Time // zero is now
	requestID    string    // "" is the context's
	from         string    // the same
}

// append seals e onto a chain inside the transaction of the change it tells of: there
// is no change without its record and no record without its change. It also enters the
// record in the log of all chains, whose tree grows by two hashes on average; the work
// does not depend on how long the chain or the log is.
func (s *Store) append(ctx context.Context, tx *keyspace.Tx, chain uint64, e event) error {
	r := requestOf(ctx)
	if r != &noRequest {
		r.recorded.Store(true)
	}
	if s.opt.AuditOff && e.action != actionAuditOff {
		return nil
	}
	head, err := trailHead(tx, chain)
	if err != nil {
		return err
	}
	if e.at.IsZero() {
		e.at = s.now()
	}
	if e.requestID == "" {
		e.requestID = r.id
	}
	if e.from == "" {
		e.from = r.from
	}
	if e.from != "" {
		details := map[string]string{"ip_address": e.from}
		for k, v := range e.details {
			details[k] = v
		}
		e.details = details
	}
	if e.outcome == "" {
		e.outcome = outcomeSuccess
	}
	c := audit.NewChain(s.auditKey, chain, head)
	seq, sealed := c.Seal(audit.Record{
		Time: e.at, Actor: e.actor, Action: e.action, ResourceType: e.resourceType, ResourceID: e.resourceID,
		Details: e.details, RequestID: e.requestID, Outcome: e.outcome,
	})
	if err := tx.Set(keyspace.System, kindTrail, u64s(chain, seq), sealed); err != nil {
		return fmt.Errorf("audit record: %w", err)
	}
	if err := tx.Set(keyspace.System, kindTrailHead, u64(chain), c.Head().Encode()); err != nil {
		return fmt.Errorf("audit head: %w", err)
	}
	return s.enterLog(tx, chain, seq, sealed)
}

// enterLog makes a sealed record the next entry of the log of all chains.
func (s *Store) enterLog(tx *keyspace.Tx, chain, seq uint64, sealed []byte) error {
	size, err := trailSize(tx)
	if err != nil {
		return err
	}
	leaf, err := audit.Grow(size, chain, seq, sealed, leaves(tx))
	if err != nil {
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if err := tx.Set(keyspace.System, kindTrailEntry, u64(size), leaf.Encode()); err != nil {
		return fmt.Errorf("audit entry: %w", err)
	}
	if err := tx.Set(keyspace.System, kindTrailLog, []byte(logSize), u64(size+1)); err != nil {
		return fmt.Errorf("audit log size: %w", err)
	}
	s.notary.grown(size + 1)
	return nil
}

// The records of kindTrailLog.
const (
	logSize   = "size"   // -> u64, how many entries the log has, those that were cut among them
	logCut    = "cut"    // -> the signed cut, absent if there was none
	logMoving = "moving" // -> where the entering of records older than the log stands
)

// trailSize is how many entries the log has.
func trailSize(tx *keyspace.Tx) (uint64, error) {
	n, err := number(tx, kindTrailLog, []byte(logSize))
	if err != nil {
		return 0, fmt.Errorf("audit log size: %w", err)
	}
	return n, nil
}

// leaves reads entries of the log in tx.
func leaves(tx *keyspace.Tx) audit.Leaves {
	return func(n uint64) (audit.Leaf, error) {
		b, err := tx.Get(keyspace.System, kindTrailEntry, u64(n))
		if err != nil {
			return audit.Leaf{}, err
		}
		return audit.DecodeLeaf(n, b)
	}
}

// trailHead is where a chain stands; the zero Head if it is empty.
func trailHead(tx *keyspace.Tx, chain uint64) (audit.Head, error) {
	return readHead(tx, kindTrailHead, chain)
}

// readHead reads a head of a chain, kindTrailHead or kindTrailBase; an absent one is zero.
func readHead(tx *keyspace.Tx, kind byte, chain uint64) (audit.Head, error) {
	b, err := tx.Get(keyspace.System, kind, u64(chain))
	if isNotFound(err) {
		return audit.Head{}, nil
	}
	if err != nil {
		return audit.Head{}, fmt.Errorf("audit head: %w", err)
	}
	h, err := audit.DecodeHead(b)
	if err != nil {
		return h, fmt.Errorf("%w: audit head of chain %d: %v", ErrDamaged, chain, err)
	}
	return h, nil
}

// migrateTrail enters records in the log that were written before there was one, chain
// by chain. It runs before anything else is recorded, and goes on after a kill.
func (s *Store) migrateTrail(ctx context.Context) error {
	due := false
	err := s.view(ctx, func(tx *keyspace.Tx) error {
		size, err := trailSize(tx)
		if err != nil {
			return err
		}
		if size > 0 {
			_, err := tx.Get(keyspace.System, kindTrailLog, []byte(logMoving))
			due = err == nil
			if isNotFound(err) {
				err = nil
			}
			return err
		}
		return tx.Scan(keyspace.System, kindTrail, keyspace.Scan{Limit: 1, KeysOnly: true}, func([]byte, []byte) error {
			due = true
			return nil
		})
	})
	if err != nil || !due {
		return err
	}
	for {
		more := false
		err := s.db.Commit(ctx, func(tx *keyspace.Tx) error {
			var err error
			more, err = s.migrateSome(tx)
			return err
		})
		if err != nil || !more {
			return err
		}
	}
}

// migrateBatch is how many records one commit of a migration enters: three writes each.
const migrateBatch = 2000

func (s *Store) migrateSome(tx *keyspace.Tx) (more bool, err error) {
	at, err := tx.Get(keyspace.System, kindTrailLog, []byte(logMoving))
	if err != nil && !isNotFound(err) {
		return false, err
	}
	scan := keyspace.Scan{Limit: migrateBatch}
	if len(at) > 0 {
		scan.After = at
	}
	type old struct {
		rest, sealed []byte
	}
	var batch []old
	err = tx.Scan(keyspace.System, kindTrail, scan, func(rest, value []byte) error {
		if len(rest) != 16 {
			return fmt.Errorf("%w: audit key of %d bytes", ErrDamaged, len(rest))
		}
		batch = append(batch, old{append([]byte(nil), rest...), append([]byte(nil), value...)})
		return nil
	})
	if err != nil {
		return false, err
	}
	for _, o := range batch {
		if err := s.enterLog(tx, beU64(o.rest[:8]), beU64(o.rest[8:]), o.sealed); err != nil {
			return false, err
		}
	}
	if len(batch) < migrateBatch {
		return false, tx.Delete(keyspace.System, kindTrailLog, []byte(logMoving))
	}
	return true, tx.Set(keyspace.System, kindTrailLog, []byte(logMoving), batch[len(batch)-1].rest)
}
