package tenancy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"alcove/tenancy/keyspace"
)

const (
	// buryAtOnce is how many knowledge bases, keys or jobs one transaction takes away;
	// a merge of the committer holds 20,000 entries and each of these needs up to 5.
	buryAtOnce = 500
	// cleanerRetry is how long the cleaner waits after an error, a full disk say.
	cleanerRetry = time.Minute
)

// DeleteKB deletes a knowledge base for good; it takes kb:delete. When it returns, its
// name and id are free, every Space of it refuses, and those who were told through
// OnKBGone have let go. Its records are taken away afterwards, in the background, and
// after a restart if need be.
func (s *Store) DeleteKB(ctx context.Context, p Principal, tenant, kb string) error {
	t, err := s.authoriseKB(p, tenant, kb, PermKBDelete)
	if err != nil {
		return err
	}
	var gone uint64
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		tr, err := s.tenantStill(tx, t)
		if err != nil {
			return err
		}
		r, err := s.kbStill(tx, t, p, kb)
		if err != nil {
			return err
		}
		gone = r.Number
		tr.Tenant.KBCount--
		if err := setJSON(tx, kindTenant, u64(t.number), tr); err != nil {
			return err
		}
		if err := s.bury(tx, t.number, r); err != nil {
			return err
		}
		return s.append(ctx, tx, t.number, event{actor: p.Name(), action: "kb_deleted", resourceType: "knowledge_base", resourceID: kb})
	}, s.cat.refreshKB(tenant, kb))
	if err != nil {
		return fmt.Errorf("delete knowledge base: %w", err)
	}
	s.kbGone(SpaceID{gone})
	s.cleaner.nudge()
	return nil
}

// bury is the commit a knowledge base dies in: the tombstone is set, the name and the
// id are freed, and with the record the fence falls that every Tx asks for.
func (s *Store) bury(tx *keyspace.Tx, tenant uint64, r kbRecord) error {
	return firstError(
		setJSON(tx, kindKBGone, u64(r.Number), tombstone{Tenant: tenant, TenantID: r.KB.TenantID, KBID: r.KB.ID, At: s.stamp()}),
		tx.Delete(keyspace.System, kindKB, u64s(tenant, r.Number)),
		tx.Delete(keyspace.System, kindKBID, under(tenant, r.KB.ID)),
		tx.Delete(keyspace.System, kindKBName, under(tenant, foldName(r.KB.Name))),
		s.uncount(tx, tenant, r.Number),
	)
}

// DeleteTenant deletes a tenant with all its knowledge bases and keys for good. It
// takes a system admin. When it returns, the id is free, its keys and tokens are worth
// nothing and every Space of its knowledge bases refuses; the records go as in
// DeleteKB. Its audit chain stays.
func (s *Store) DeleteTenant(ctx context.Context, p Principal, id string) error {
	t, err := s.authorise(p, id, "", PermSystemAdmin)
	if err != nil {
		return err
	}
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		r, err := s.tenantStill(tx, t)
		if err != nil {
			return err
		}
		count, err := number(tx, kindSequence, []byte(seqTenants))
		if err != nil {
			return err
		}
		err = firstError(
			tx.Set(keyspace.System, kindSequence, []byte(seqTenants), u64(count-1)),
			setJSON(tx, kindTenantGone, u64(r.Number), tombstone{Tenant: r.Number, TenantID: id, At: s.stamp()}),
			tx.Delete(keyspace.System, kindTenant, u64(r.Number)),
			tx.Delete(keyspace.System, kindTenantID, []byte(id)),
		)
		if err != nil {
			return err
		}
		e := event{actor: p.Name(), action: "tenant_deleted", resourceType: "tenant", resourceID: id}
		return firstError(s.append(ctx, tx, r.Number, e), s.append(ctx, tx, systemChain, e))
	}, s.cat.refreshTenant(id))
	if err != nil {
		return fmt.Errorf("delete tenant: %w", err)
	}
	// From here on the caller's patience does not matter: the tenant is gone, and what
	// is left undone by an error the cleaner does.
	gone, err := s.buryTenant(context.WithoutCancel(ctx), t.number)
	for _, kb := range gone {
		s.kbGone(SpaceID{kb})
	}
	s.cleaner.nudge()
	if err != nil {
		return fmt.Errorf("delete tenant: its knowledge bases: %w", err)
	}
	return nil
}

// buryTenant buries all knowledge bases of a deleted tenant and takes away its keys,
// some at a time, and returns the numbers of the former. It can be repeated.
func (s *Store) buryTenant(ctx context.Context, tenant uint64) (gone []uint64, err error) {
	for left := true; left; {
		var now []uint64
		err := s.db.Commit(ctx, func(tx *keyspace.Tx) error {
			now = now[:0]
			var kbs []kbRecord
			err := tx.Scan(keyspace.System, kindKB, keyspace.Scan{Prefix: u64(tenant), Limit: buryAtOnce}, func(rest, value []byte) error {
				var r kbRecord
				err := decodeRecord(kindKB, rest, value, &r)
				kbs = append(kbs, r)
				return err
			})
			if err != nil {
				return err
			}
			for _, r := range kbs {
				if err := s.bury(tx, tenant, r); err != nil {
					return err
				}
				now = append(now, r.Number)
			}
			keys, cursor, err := pageOf(tx, kindKeyOf, u64(tenant), "", buryAtOnce)
			if err != nil {
				return err
			}
			for _, id := range keys {
				err := firstError(
					tx.Delete(keyspace.System, kindKey, []byte(id)),
					tx.Delete(keyspace.System, kindKeyOf, under(tenant, id)),
					tx.Delete(keyspace.System, kindKeyUse, []byte(id)),
				)
				if err != nil {
					return err
				}
			}
			moreMembers, err := buryMembers(tx, tenant)
			if err != nil {
				return err
			}
			if left = len(kbs) == buryAtOnce || cursor != "" || moreMembers; !left {
				return firstError(
					tx.Delete(keyspace.System, kindUse, u64(tenant)),
					tx.Delete(keyspace.System, kindMonth, u64(tenant)),
					tx.Delete(keyspace.System, kindTenantGone, u64(tenant)),
				)
			}
			return nil
		})
		if err != nil {
			return gone, err
		}
		gone = append(gone, now...)
	}
	return gone, nil
}

// cleaner takes away the records of the dead, one knowledge base after another, at a
// pace that leaves the disk to the living. What it has to do is written in tombstones,
// so it can be stopped at any moment and goes on at the next start.
type cleaner struct {
	store  *Store
	one    sync.Mutex // one cleaning at a time
	wake   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

func startCleaner(s *Store) *cleaner {
	ctx, cancel := context.WithCancel(context.Background())
	c := &cleaner{store: s, wake: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	c.nudge() // for what the last run left
	go c.run(ctx)
	return c
}

// stop ends the work in hand at its next batch and returns when it has ended.
func (c *cleaner) stop() {
	c.cancel()
	<-c.done
}

// nudge says that there is something to clean.
func (c *cleaner) nudge() {
	select {
	case c.wake <- struct{}{}:
	default: // it has been told already
	}
}

func (c *cleaner) run(ctx context.Context) {
	defer close(c.done)
	retry := time.NewTimer(cleanerRetry)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case <-c.wake:
		case <-retry.C:
		case <-ctx.Done():
			return
		}
		if c.store.opt.holdCleaner {
			continue
		}
		if err := c.clean(ctx); err != nil && ctx.Err() == nil {
			c.store.log.Error("cleaning after a deletion failed; it will be tried again", "in", cleanerRetry.String(), "err", err)
			retry.Reset(cleanerRetry)
		}
	}
}

// clean works off every tombstone there is.
func (c *cleaner) clean(ctx context.Context) error {
	c.one.Lock()
	defer c.one.Unlock()
	tenants, err := c.tombstones(ctx, kindTenantGone)
	if err != nil {
		return err
	}
	for _, n := range tenants {
		gone, err := c.store.buryTenant(ctx, n)
		if err != nil {
			return fmt.Errorf("bury tenant number %d: %w", n, err)
		}
		for _, kb := range gone {
			c.store.kbGone(SpaceID{kb})
		}
	}
	for {
		kbs, err := c.tombstones(ctx, kindKBGone)
		if err != nil || len(kbs) == 0 {
			return err
		}
		for _, n := range kbs {
			if err := c.sweep(ctx, n); err != nil {
				return fmt.Errorf("sweep knowledge base number %d: %w", n, err)
			}
		}
	}
}

// tombstones returns the numbers under some tombstones of a kind.
func (c *cleaner) tombstones(ctx context.Context, kind byte) (numbers []uint64, err error) {
	err = c.store.view(ctx, func(tx *keyspace.Tx) error {
		return tx.Scan(keyspace.System, kind, keyspace.Scan{Limit: buryAtOnce, KeysOnly: true}, func(rest, _ []byte) error {
			n, err := readU64(rest)
			numbers = append(numbers, n)
			return err
		})
	})
	return numbers, err
}

// sweep takes away a dead knowledge base's jobs and records. When a scan finds nothing
// left its number is banned, so that even a bug of ours cannot write there again, and
// its tombstone is kept among the swept ones: a backup must carry it, or restoring an
// older one beneath would bring the dead back.
func (c *cleaner) sweep(ctx context.Context, kb uint64) error {
	s := c.store
	if err := s.endJobsOf(ctx, kb); err != nil {
		return fmt.Errorf("end its jobs: %w", err)
	}
	// Already banned: killed between the ban and the last commit.
	if err := c.empty(ctx, dataOf(kb)); err != nil && !errors.Is(err, keyspace.ErrBanned) {
		return err
	}
	if err := s.db.Ban(dataOf(kb)); err != nil && !errors.Is(err, keyspace.ErrBanned) {
		return fmt.Errorf("ban: %w", err)
	}
	return s.db.Commit(ctx, func(tx *keyspace.Tx) error {
		var stone tombstone
		if err := getJSON(tx, kindKBGone, u64(kb), &stone); err != nil {
			return err
		}
		return firstError(
			tx.Delete(keyspace.System, kindKBGone, u64(kb)),
			setJSON(tx, kindKBSwept, u64(kb), stone),
		)
	})
}

// empty deletes a dead namespace in paced batches, from the first key to the last,
// and then looks from the start whether there is none left. It begins at the first
// key again after a kill: what is gone is passed over once.
func (c *cleaner) empty(ctx context.Context, ns keyspace.Namespace) error {
	var after []byte
	for {
		start := time.Now()
		last, n, err := c.store.db.Sweep(ctx, ns, after, sweepBatch)
		if err != nil || n == 0 && after == nil {
			return err
		}
		if after = last; n == 0 {
			after = nil
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(restAfter(time.Since(start))):
		}
	}
}

// The pace of the cleaner. A batch waits in the same queue as everybody's commits, so
// how long one took says how busy the disk and the committer are: the cleaner rests nine
// times as long, and so takes a tenth of them. Between the bounds go 2,000 records a
// second at rest and a thousand on a machine that is busy with others. Faster would cost
// neighbours more: what they feel is less the batches than the memtables these fill, and
// the compactions in which those end. Nobody waits for the end of it: what is deleted is
// out of reach and out of the quota at once.
const (
	sweepBatch = 400 // under a millisecond of the committer, which others wait for
	sweepRest  = 9
	leastRest  = 200 * time.Millisecond
	mostRest   = 300 * time.Millisecond
)

func restAfter(took time.Duration) time.Duration {
	return min(mostRest, max(leastRest, sweepRest*took))
}

// Unswept returns how many deleted knowledge bases still have records on the disk: at
// most 500 are counted.
func (s *Store) Unswept(ctx context.Context) (int, error) {
	dead, err := s.cleaner.tombstones(ctx, kindKBGone)
	return len(dead), err
}

// endJobsOf takes the jobs of a dead knowledge base off the list.
func (s *Store) endJobsOf(ctx context.Context, kb uint64) error {
	for left := true; left; {
		err := s.db.Commit(ctx, func(tx *keyspace.Tx) error {
			var seqs []uint64
			err := tx.Scan(keyspace.System, kindJobOf, keyspace.Scan{Prefix: u64(kb), Limit: buryAtOnce, KeysOnly: true}, func(rest, _ []byte) error {
				seq, err := readU64(rest[8:])
				seqs = append(seqs, seq)
				return err
			})
			if err != nil {
				return err
			}
			for _, seq := range seqs {
				err := firstError(
					tx.Delete(keyspace.System, kindJob, u64(seq)),
					tx.Delete(keyspace.System, kindJobOf, u64s(kb, seq)),
				)
				if err != nil {
					return err
				}
			}
			left = len(seqs) == buryAtOnce
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
