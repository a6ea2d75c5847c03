package tenancy

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"alcove/tenancy/audit"
	"alcove/tenancy/keyspace"
)

// AuditQuery asks for a page of a tenant's audit records.
type AuditQuery struct {
	From, To time.Time // From is in, To is not; zero is open
	Action   string    // "" is every action
	Cursor   string    // NextCursor of the page before
	Limit    int       // 0 means 100; at most 1000
}

// AuditPage is a page of audit records, the newest first. It may be short, even empty,
// while NextCursor is set: a page looks at a bounded number of records.
type AuditPage struct {
	Items      []audit.Record `json:"items"`
	NextCursor string         `json:"next_cursor,omitempty"`
}

const (
	defaultAuditPage = 100
	maxAuditPage     = 1000
	// maxAuditLooked bounds the records one page looks at for a filter.
	maxAuditLooked = 10_000
	// auditDisorder is how far records may stand out of the order of their times: what
	// the queue holds back, and a clock that is set back. A clock set back by more can
	// hide records from a search by time, though not from one without.
	auditDisorder = time.Hour
)

// Audit returns a page of the records of a tenant, newest first. It takes
// tenant:manage. The read is itself recorded, through the queue, so it shows in the
// next read. An unknown cursor or a limit out of range is an ErrBadInput.
func (s *Store) Audit(ctx context.Context, p Principal, tenant string, q AuditQuery) (AuditPage, error) {
	t, err := s.authorise(p, tenant, "", PermTenantManage)
	if err != nil {
		return AuditPage{}, err
	}
	limit := q.Limit
	if limit == 0 {
		limit = defaultAuditPage
	}
	var before uint64 // seqs below are wanted; 0 is all
	switch {
	case limit < 1 || limit > maxAuditPage:
		return AuditPage{}, badField("limit", fmt.Sprintf("must be from 1 to %d", maxAuditPage))
	case len(q.Action) > audit.MaxFieldBytes:
		return AuditPage{}, badField("action", fmt.Sprintf("must be at most %d bytes", audit.MaxFieldBytes))
	case !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To):
		return AuditPage{}, badField("to", "must be later than from")
	case q.Cursor != "":
		before, err = strconv.ParseUint(q.Cursor, 10, 62)
		if err != nil || before == 0 || strconv.FormatUint(before, 10) != q.Cursor {
			return AuditPage{}, badField("cursor", "is not one of this list")
		}
	}
	page := AuditPage{Items: []audit.Record{}}
	err = s.view(ctx, func(tx *keyspace.Tx) error {
		head, err := trailHead(tx, t.number)
		if err != nil {
			return err
		}
		base, err := readHead(tx, kindTrailBase, t.number)
		if err != nil {
			return err
		}
		first, last := base.Seq+1, head.Seq // of the records that are there
		if before != 0 {
			last = min(last, before-1)
		}
		if !q.To.IsZero() {
			// What lies behind the first record that is clearly too late is too late.
			if last, err = s.lastBefore(tx, t.number, first, last, q.To.Add(auditDisorder)); err != nil {
				return err
			}
		}
		return s.collect(tx, t.number, first, last, limit, q, &page)
	})
	if err != nil {
		return AuditPage{}, fmt.Errorf("audit records: %w", err)
	}
	details := map[string]string{"records": strconv.Itoa(len(page.Items))}
	if err := s.clerk.note(ctx, t.number, event{actor: p.Name(), action: "audit_read", resourceType: "audit", details: details}); err != nil {
		return AuditPage{}, fmt.Errorf("audit records: %w", err)
	}
	return page, nil
}

// collect reads records from last down to first, as q asks, into page.
func (s *Store) collect(tx *keyspace.Tx, chain, first, last uint64, limit int, q AuditQuery, page *AuditPage) error {
	if last < first {
		return nil
	}
	looked := 0
	end := last + 1
	return tx.Scan(keyspace.System, kindTrail, keyspace.Scan{Prefix: u64(chain), After: u64s(chain, end), Reverse: true}, func(rest, sealed []byte) error {
		if len(rest) != 16 || beU64(rest[8:]) < first { // below: a cut is being swept
			return ErrStop
		}
		if len(page.Items) == limit || looked == maxAuditLooked {
			page.NextCursor = strconv.FormatUint(end, 10)
			return ErrStop
		}
		r, _, err := audit.Unsealed(sealed)
		if err != nil {
			return fmt.Errorf("%w: %v", ErrDamaged, err)
		}
		looked++
		end = r.Seq
		if !q.From.IsZero() && r.Time.Before(q.From.Add(-auditDisorder)) {
			return ErrStop
		}
		in := (q.From.IsZero() || !r.Time.Before(q.From)) && (q.To.IsZero() || r.Time.Before(q.To))
		if in && (q.Action == "" || r.Action == q.Action) {
			page.Items = append(page.Items, r)
		}
		return nil
	})
}

// lastBefore returns the greatest of the numbers from first to last whose record is
// older than at, by halving; first-1 if there is none.
func (s *Store) lastBefore(tx *keyspace.Tx, chain, first, last uint64, at time.Time) (uint64, error) {
	lo, hi := first-1, last // lo is older, hi+1 is not
	for lo < hi {
		mid := hi - (hi-lo)/2
		sealed, err := tx.Get(keyspace.System, kindTrail, u64s(chain, mid))
		if err != nil {
			return 0, fmt.Errorf("audit record %d: %w", mid, err)
		}
		r, _, err := audit.Unsealed(sealed)
		if err != nil {
			return 0, fmt.Errorf("%w: %v", ErrDamaged, err)
		}
		if r.Time.Before(at) {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo, nil
}

// ExportAudit writes the audit records of a tenant, or of all chains if tenant is "",
// to w, each with the proof that leads to a checkpoint made just now: see
// audit.VerifyExport. For the offline commands: it asks for no credential, is itself
// recorded, and walks the whole log.
func (s *Store) ExportAudit(ctx context.Context, w io.Writer, tenant string) (records int64, err error) {
	only, all := uint64(systemChain), tenant == ""
	if !all {
		if err := CheckID("tenant_id", tenant); err != nil {
			return 0, err
		}
		t := s.cat.tenant(tenant)
		if t == nil {
			return 0, ErrNoTenant
		}
		only = t.number
	}
	err = s.db.Commit(ctx, func(tx *keyspace.Tx) error {
		return s.append(ctx, tx, only, event{actor: "cli", action: "audit_exported", resourceType: "audit"})
	})
	if err != nil {
		return 0, fmt.Errorf("export the audit log: %w", err)
	}
	signed, err := s.notary.checkpoint(ctx)
	if err != nil {
		return 0, fmt.Errorf("export the audit log: %w", err)
	}
	c, err := audit.OpenCheckpoint(signed, s.notary.signer.VerifierKey())
	if err != nil {
		return 0, fmt.Errorf("export the audit log: %w", err)
	}
	var cut audit.Cut
	if err := s.view(ctx, func(tx *keyspace.Tx) error {
		cut, err = s.notary.cutOf(tx)
		return err
	}); err != nil {
		return 0, err
	}
	x, err := audit.NewExporter(w, audit.ExportHead{
		Checkpoint: string(signed), VerifierKey: s.notary.signer.VerifierKey(), Tenant: tenant, FirstEntry: cut.Size,
	})
	if err != nil {
		return 0, err
	}
	names := map[uint64]string{}
	for at := cut.Size; at < c.Size; {
		err := s.view(ctx, func(tx *keyspace.Tx) error {
			read := leaves(tx)
			for stop := min(c.Size, at+trailPage); at < stop; at++ {
				l, err := read(at)
				if err != nil {
					return fmt.Errorf("audit entry %d: %w", at, err)
				}
				if !all && l.Chain != only {
					continue
				}
				sealed, err := tx.Get(keyspace.System, kindTrail, u64s(l.Chain, l.Seq))
				if err != nil {
					return fmt.Errorf("audit record %d of chain %d: %w", l.Seq, l.Chain, err)
				}
				r, _, err := audit.Unsealed(sealed)
				if err != nil {
					return fmt.Errorf("%w: %v", ErrDamaged, err)
				}
				proof, err := audit.Prove(c.Size, at, read)
				if err != nil {
					return err
				}
				line := audit.ExportLine{Entry: at, Chain: l.Chain, Record: r, Sealed: sealed, Proof: proof}
				if line.Tenant, err = tenantOf(tx, l.Chain, names); err != nil {
					return err
				}
				if err := x.Write(line); err != nil {
					return err
				}
				records++
			}
			return nil
		})
		if err != nil {
			return records, fmt.Errorf("export the audit log: %w", err)
		}
	}
	return records, nil
}

// tenantOf names the tenant of a chain, "" for the server's own and for a tenant that
// is gone; known remembers.
func tenantOf(tx *keyspace.Tx, chain uint64, known map[uint64]string) (string, error) {
	if id, ok := known[chain]; ok || chain == systemChain {
		return id, nil
	}
	var r tenantRecord
	err := getJSON(tx, kindTenant, u64(chain), &r)
	if err != nil && !isNotFound(err) {
		return "", err
	}
	known[chain] = r.Tenant.ID
	return r.Tenant.ID, nil
}
