package tenancy

import (
	"context"
	"errors"
	"fmt"

	"alcove/tenancy/keyspace"
)

// Enter is the door for requests: it returns the Space of a knowledge base if p holds
// perm there. Rights are asked first, existence second. A caller without the right
// gets ErrDenied, the same and after the same work for a tenant of others whether it
// exists or not; ErrNoTenant only a system admin, ErrNoKB only who would have been let
// in, ErrTenantSuspended only the tenant's own callers and system admins. An id in
// another spelling is ErrBadID. A credential for a knowledge base that was deleted is
// worth nothing in a later one of that id: there too it gets ErrNoKB.
//
// What a system admin enters is recorded in that tenant's chain: reading through a
// queue, writing in the transaction that writes.
func (s *Store) Enter(ctx context.Context, p Principal, tenant, kb string, perm Permission) (*Space, error) {
	if err := CheckID("kb_id", kb); err != nil {
		return nil, err
	}
	t, err := s.authorise(p, tenant, kb, perm)
	if err != nil {
		return nil, err
	}
	if !t.active {
		return nil, ErrTenantSuspended
	}
	k := s.cat.kb(t, kb)
	if k == nil || !p.means(k) {
		return nil, ErrNoKB
	}
	space := s.space(k, perm, p.Name())
	space.suspended = ErrTenantSuspended
	if p.System() {
		space.owesRecord = writes.has(perm)
		if !space.owesRecord || perm == PermKBManage { // which reads too: an export
			if err := s.clerk.note(ctx, t.number, systemUse(p.Name(), kb, perm)); err != nil {
				return nil, err
			}
		}
	}
	return space, nil
}

// Allow returns nil if p may do in a tenant what takes perm, and else what the call
// itself would return: a right is asked for before anything a caller sent along is read.
func (s *Store) Allow(p Principal, tenant string, perm Permission) error {
	_, err := s.authorise(p, tenant, "", perm)
	return err
}

// AllowKB is Allow for what is asked of one knowledge base. Whether that is there is
// not looked at.
func (s *Store) AllowKB(p Principal, tenant, kb string, perm Permission) error {
	_, err := s.authoriseKB(p, tenant, kb, perm)
	return err
}

// AllowServer is Allow for what is asked of the server as a whole.
func (s *Store) AllowServer(p Principal, perm Permission) error {
	if !p.holds("", "", perm) {
		return denied(perm)
	}
	return nil
}

// Only returns the tenant a principal belongs to, and the knowledge base if it is bound to
// exactly one; "" for what it is not bound to. It looks at the credential alone.
func (p Principal) Only() (tenant, kb string) {
	if p.who == nil || p.who.system {
		return "", ""
	}
	if !p.who.allKBs && len(p.who.kbs) == 1 {
		kb = p.who.kbs[0]
	}
	return p.who.tenant, kb
}

// Reach returns the ids of the knowledge bases a principal reaches and that are there,
// in order and never nil, or all. The slice is the caller's.
func (s *Store) Reach(p Principal) (ids []string, all bool) {
	ids = []string{}
	if p.who == nil {
		return ids, false
	}
	if p.who.system || p.who.allKBs {
		return ids, true
	}
	t, err := s.authorise(p, p.who.tenant, "", OfItsTenant)
	if err != nil {
		return ids, false
	}
	for _, id := range p.who.kbs {
		if k := s.cat.kb(t, id); k != nil && p.means(k) {
			ids = append(ids, id)
		}
	}
	return ids, false
}

// systemUse is the record of a system admin entering a tenant's knowledge base.
func systemUse(actor, kb string, perm Permission) event {
	return event{actor: actor, action: "system_access", resourceType: "knowledge_base", resourceID: kb,
		details: map[string]string{"permission": string(perm)}}
}

// authorise is what every call that names a tenant goes through: the id's spelling,
// the right, and only then whether the tenant is there. It returns ErrTenantSuspended
// for the tenant's own callers; a system admin gets the tenant and decides.
//
// A credential outlives its tenant if the tenant is deleted. It is then worth nothing,
// nor is it worth anything in a later tenant of the same id.
func (s *Store) authorise(p Principal, tenant, kb string, perm Permission) (*tenantEntry, error) {
	if err := CheckID("tenant_id", tenant); err != nil {
		return nil, err
	}
	if !p.holds(tenant, kb, perm) {
		return nil, denied(perm)
	}
	t := s.cat.tenant(tenant)
	switch {
	case p.System() && t == nil:
		return nil, ErrNoTenant
	case p.System():
		return t, nil
	case t == nil, !p.who.issued.IsZero() && p.who.issued.Unix() < t.created.Unix():
		return nil, denied(perm)
	case !t.active:
		return nil, ErrTenantSuspended
	}
	return t, nil
}

// Resume is the door for accepted work: it returns the Space a job was accepted
// with, the same permission and asker, whatever became of the asker's credential
// since. It returns ErrPaused while the tenant is suspended, ErrGone if the knowledge
// base was deleted, and ErrNotFound if the job has ended.
func (s *Store) Resume(ctx context.Context, ref JobRef) (*Space, error) {
	var job jobRecord
	err := s.view(ctx, func(tx *keyspace.Tx) error {
		var err error
		job, err = readJob(tx, ref.Seq)
		return err
	})
	if err != nil {
		if _, k := s.cat.byNumber(ref.kb); k == nil && isNotFound(err) {
			return nil, ErrGone // swept with its knowledge base
		}
		return nil, fmt.Errorf("resume job %d: %w", ref.Seq, err)
	}
	t, k := s.cat.byNumber(job.KB)
	switch {
	case k == nil:
		return nil, ErrGone
	case !t.active:
		return nil, ErrPaused
	}
	space := s.space(k, job.Permission, job.Asker)
	space.suspended = ErrPaused
	return space, nil
}

// Maintain is the door for work nobody asked for in a request: purge, verify, backup,
// rebuild and the offline subcommands. It gives one knowledge base with every right,
// suspended or not, and records reason in the tenant's chain first. Where it may be
// called is listed in a test. It returns ErrNoTenant, ErrNoKB or ErrBadID.
func (s *Store) Maintain(ctx context.Context, reason, tenant, kb string) (*Space, error) {
	if err := firstError(CheckID("tenant_id", tenant), CheckID("kb_id", kb)); err != nil {
		return nil, err
	}
	t := s.cat.tenant(tenant)
	if t == nil {
		return nil, ErrNoTenant
	}
	k := s.cat.kb(t, kb)
	if k == nil {
		return nil, ErrNoKB
	}
	actor := "maintenance:" + reason
	err := s.db.Commit(ctx, func(tx *keyspace.Tx) error {
		return s.append(ctx, tx, t.number, event{actor: actor, action: "maintenance", resourceType: "knowledge_base", resourceID: kb,
			details: map[string]string{"reason": reason}})
	})
	if errors.Is(err, ErrDiskFull) {
		// Nothing can be written through this Space either, and looking must be possible.
		s.log.Warn("maintenance could not be recorded", "scope", tenant+"/"+kb, "reason", reason, "err", err)
	} else if err != nil {
		return nil, fmt.Errorf("maintain %s/%s: %w", tenant, kb, err)
	}
	return s.space(k, PermKBManage, actor), nil
}

// EachKB calls f with a Space of every knowledge base there is, as Maintain gives it,
// in the order of tenants and ids. One that is deleted meanwhile is left out. It stops
// at f's first error and returns it.
func (s *Store) EachKB(ctx context.Context, reason string, f func(*Space) error) error {
	return s.eachTenant(ctx, func(r tenantRecord) error {
		after := ""
		for {
			var ids []string
			err := s.view(ctx, func(tx *keyspace.Tx) error {
				var err error
				ids, after, err = pageOf(tx, kindKBID, u64(r.Number), after, maxPage)
				return err
			})
			if err != nil {
				return fmt.Errorf("list knowledge bases: %w", err)
			}
			for _, id := range ids {
				space, err := s.Maintain(ctx, reason, r.Tenant.ID, id)
				if isGone(err) {
					continue
				}
				if err != nil {
					return err
				}
				if err := f(space); err != nil && !isGone(err) {
					return err
				}
			}
			if after == "" {
				return nil
			}
		}
	})
}

// eachTenant calls f for every tenant in the order of ids, a page at a time.
func (s *Store) eachTenant(ctx context.Context, f func(tenantRecord) error) error {
	for after, more := "", true; more; more = after != "" {
		var tenants []tenantRecord
		err := s.view(ctx, func(tx *keyspace.Tx) error {
			ids, next, err := pageOf(tx, kindTenantID, nil, after, maxPage)
			if err != nil {
				return err
			}
			after = next
			for _, id := range ids {
				r, err := tenantByID(tx, id)
				if err != nil {
					return err
				}
				tenants = append(tenants, r)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("list tenants: %w", err)
		}
		for _, r := range tenants {
			if err := f(r); err != nil {
				return err
			}
		}
	}
	return nil
}
