package tenancy

import (
	"context"
	"errors"
	"fmt"

	"alcove/tenancy/keyspace"
)

// Scan says which records of one kind a Tx.Scan visits.
type Scan = keyspace.Scan

// Usage is how many records a knowledge base has and how many bytes they are, keys
// and values as stored.
type Usage = keyspace.Usage

// SpaceID names a knowledge base for as long as it lives and is never used again
// afterwards: a key for caches of open ones. It gives nothing away and opens nothing.
type SpaceID struct{ kb uint64 }

// Space is one knowledge base, opened by Enter, Resume or Maintain with one
// permission. It speaks relative keys: where the records lie is nobody's business
// outside this room, and no method leads to the database, to a prefix or to another
// Space. Safe for concurrent use.
type Space struct {
	store    *Store
	kb       uint64
	tenant   uint64
	kbID     string
	tenantID string
	perm     Permission
	asker    string
	// owesRecord says that a system admin entered to write: each of its commits is
	// recorded, by the act's own audit record or else by one of ours.
	owesRecord bool
	// suspended is what a commit gets while the tenant is suspended: nil if that does
	// not matter.
	suspended error
}

func (s *Store) space(k *kbEntry, perm Permission, asker string) *Space {
	return &Space{store: s, kb: k.number, tenant: k.tenant, kbID: k.id, tenantID: k.tenantID, perm: perm, asker: asker}
}

// ID returns the key under which this knowledge base can be cached.
func (s *Space) ID() SpaceID { return SpaceID{s.kb} }

// TenantID returns the id of the tenant.
func (s *Space) TenantID() string { return s.tenantID }

// KBID returns the id of the knowledge base.
func (s *Space) KBID() string { return s.kbID }

// Permission returns what this Space was entered with.
func (s *Space) Permission() Permission { return s.perm }

// Asker returns who entered, for logs and audit records.
func (s *Space) Asker() string { return s.asker }

// View runs f on a snapshot. The Tx is good inside f only. It returns ErrKBGone if the
// knowledge base was deleted before the snapshot, else f's error.
func (s *Space) View(ctx context.Context, f func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.store.db.View(func(kt *keyspace.Tx) error {
		if err := s.fence(kt); err != nil {
			return err
		}
		return f(s.tx(ctx, kt))
	})
}

// Commit runs f in the committer, one after another with those of all other Spaces,
// and returns when its writes are on disk, or f's error and then none of them are.
// f sees what earlier commits wrote, must be quick and must not wait: encoding and
// model work come before. f may run more than once.
//
// It returns ErrDenied if the Space was entered for reading, ErrKBGone if the
// knowledge base was deleted meanwhile, ErrTenantSuspended or for accepted work
// ErrPaused if the tenant was suspended meanwhile, ErrTooBig, ErrDiskFull, or ctx's error if its
// turn did not come in time.
func (s *Space) Commit(ctx context.Context, f func(*Tx) error) error {
	if !writes.has(s.perm) {
		return fmt.Errorf("write through a space entered with %s: %w", s.perm, ErrDenied)
	}
	return s.store.db.Commit(ctx, func(kt *keyspace.Tx) error {
		if err := s.fence(kt); err != nil {
			return err
		}
		if t, _ := s.store.cat.byNumber(s.kb); s.suspended != nil && t != nil && !t.active {
			return s.suspended
		}
		tx := s.tx(ctx, kt)
		if err := tx.begin(); err != nil {
			return err
		}
		if err := f(tx); err != nil {
			return err
		}
		if err := tx.settle(); err != nil {
			return err
		}
		if s.owesRecord && !tx.recorded {
			return s.store.append(ctx, kt, s.tenant, systemUse(s.asker, s.kbID, s.perm))
		}
		return nil
	})
}

// Usage returns what the knowledge base takes, exactly.
func (s *Space) Usage(ctx context.Context) (u Usage, err error) {
	err = s.View(ctx, func(tx *Tx) error {
		u, err = tx.Usage()
		return err
	})
	return u, err
}

// Verify reads every record of the knowledge base and compares checksums and counts.
// It returns ErrDamaged naming the first that is wrong.
func (s *Space) Verify(ctx context.Context) error {
	if err := s.View(ctx, func(*Tx) error { return nil }); err != nil {
		return err
	}
	if err := s.store.db.Verify(ctx, dataOf(s.kb)); err != nil {
		return fmt.Errorf("verify %s/%s: %w", s.tenantID, s.kbID, err)
	}
	return nil
}

// Config returns what the tenant and what the knowledge base override as it is now; it
// takes no permission beside the one that was entered with. ErrKBGone as with View.
func (s *Space) Config(ctx context.Context) (tenant, kb Config, err error) {
	if err := ctx.Err(); err != nil {
		return tenant, kb, err
	}
	var t tenantRecord
	var k kbRecord
	err = s.store.db.View(func(kt *keyspace.Tx) error {
		return firstError(getJSON(kt, kindKB, u64s(s.tenant, s.kb), &k), getJSON(kt, kindTenant, u64(s.tenant), &t))
	})
	if isNotFound(err) {
		err = ErrKBGone
	}
	if err != nil {
		return tenant, kb, fmt.Errorf("settings of knowledge base %s: %w", s.kbID, err)
	}
	return t.Tenant.Config, k.KB.Config, nil
}

func (s *Space) tx(ctx context.Context, kt *keyspace.Tx) *Tx {
	return &Tx{kt: kt, ctx: ctx, space: s, ns: dataOf(s.kb)}
}

// fence refuses a knowledge base that is no longer in the catalogue, in the very
// transaction that is about to read or write it: a lease or a cache that is older
// than the deletion does not help.
func (s *Space) fence(kt *keyspace.Tx) error {
	_, err := kt.Get(keyspace.System, kindKB, u64s(s.tenant, s.kb))
	if isNotFound(err) {
		return ErrKBGone
	}
	return err
}

// Tx is one transaction of a Space. Kinds and rests are the caller's own; kind 0 is
// reserved. Good only inside the function it was handed to, on that goroutine.
type Tx struct {
	kt       *keyspace.Tx
	ctx      context.Context // of the View or Commit that this Tx lives in
	space    *Space
	ns       keyspace.Namespace
	recorded bool

	// For quota_count.go, in a Commit: what was there before, and what changes.
	before   Usage
	ofTenant counted
	counted  counted
}

// Get returns a record's value, which is the caller's, or ErrNotFound.
func (t *Tx) Get(kind byte, rest []byte) ([]byte, error) { return t.kt.Get(t.ns, kind, rest) }

// Set writes a record; it copies both slices.
func (t *Tx) Set(kind byte, rest, value []byte) error { return t.kt.Set(t.ns, kind, rest, value) }

// Delete removes a record; that it is not there is no error.
func (t *Tx) Delete(kind byte, rest []byte) error { return t.kt.Delete(t.ns, kind, rest) }

// Scan calls f for the records of one kind in key order, as s says, with this Tx's own
// writes among them. The bytes are good inside f only. f ends the scan early with
// ErrStop, which is no error, or with any other, which Scan returns.
func (t *Tx) Scan(kind byte, s Scan, f func(rest, value []byte) error) error {
	return t.kt.Scan(t.ns, kind, s, f)
}

// Usage returns what the knowledge base takes, this Tx's writes included.
func (t *Tx) Usage() (Usage, error) { return t.kt.Usage(t.ns) }

// Audit appends a record to the tenant's chain in this transaction, with the Space's
// asker as its actor and the knowledge base among its details. No secrets, no text of
// documents or questions.
func (t *Tx) Audit(action, resourceType, resourceID string, details map[string]string) error {
	with := make(map[string]string, len(details)+1)
	for k, v := range details {
		with[k] = v
	}
	with["kb_id"] = t.space.kbID
	t.recorded = true
	return t.space.store.append(t.ctx, t.kt, t.space.tenant, event{
		actor: t.space.asker, action: action, resourceType: resourceType, resourceID: resourceID, details: with,
	})
}

func isGone(err error) bool {
	return errors.Is(err, ErrKBGone) || errors.Is(err, ErrNoKB) || errors.Is(err, ErrNoTenant)
}
