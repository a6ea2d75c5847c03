package tenancy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"alcove/tenancy/keyspace"
)

// KB is one knowledge base of a tenant, as the catalogue knows it.
type KB struct {
	ID           string         `json:"kb_id"`
	TenantID     string         `json:"tenant_id"`
	Name         string         `json:"kb_name"` // unique in the tenant, whatever its case
	Description  string         `json:"description"`
	IsActive     bool           `json:"is_active"`
	Status       string         `json:"status"` // "ready"; whoever indexes may say otherwise
	IndexVersion int            `json:"index_version"`
	Config       Config         `json:"config"`
	CreatedAt    time.Time      `json:"created_at"`
	UpdatedAt    time.Time      `json:"updated_at"`
	CreatedBy    string         `json:"created_by"`
	UpdatedBy    string         `json:"updated_by"`
	Metadata     map[string]any `json:"metadata"`
	StorageMB    float64        `json:"storage_used_mb"` // MiB of records

	// These are nil here: this room knows no documents. Whoever does may fill them in.
	DocumentCount     *int64     `json:"document_count,omitempty"`
	EntityCount       *int64     `json:"entity_count,omitempty"`
	RelationshipCount *int64     `json:"relationship_count,omitempty"`
	ChunkCount        *int64     `json:"chunk_count,omitempty"`
	LastIndexedAt     *time.Time `json:"last_indexed_at,omitempty"`
}

// KBInput is what a new knowledge base is made from. An absent ID is a new UUID.
type KBInput struct {
	ID          string         `json:"kb_id"`
	Name        string         `json:"kb_name"` // required, 1 to 255 characters
	Description string         `json:"description"`
	Config      Config         `json:"config"`
	Metadata    map[string]any `json:"metadata"`
}

// KBUpdate changes the fields that are not nil and leaves the others. Inside
// Config the same holds for each field; Metadata is replaced whole.
type KBUpdate struct {
	Name        *string        `json:"kb_name"`
	Description *string        `json:"description"`
	Config      *Config        `json:"config"`
	ConfigUnset []string       `json:"config_unset"` // names of settings to override no longer
	Metadata    map[string]any `json:"metadata"`
}

// KBPage is one page of knowledge bases in the order of their ids, only those the
// caller may see. An empty NextCursor ends the list.
type KBPage struct {
	Items      []KB   `json:"items"`
	Total      int    `json:"total"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// CreateKB makes a knowledge base in a tenant; it takes kb:create. A name or an id that
// is taken is ErrConflict, one more than the tenant's quota allows is ErrQuota.
func (s *Store) CreateKB(ctx context.Context, p Principal, tenant string, in KBInput) (KB, error) {
	t, err := s.authorise(p, tenant, "", PermKBCreate)
	if err != nil {
		return KB{}, err
	}
	if in.ID == "" {
		in.ID = newID()
	}
	err = firstError(
		CheckID("kb_id", in.ID), checkName("kb_name", in.Name), checkDescription("description", in.Description),
		in.Config.check(s.opt.Models), metadata("metadata", in.Metadata),
	)
	if err != nil {
		return KB{}, err
	}
	now := s.stamp()
	made := kbRecord{KB: KB{
		ID: in.ID, TenantID: tenant, Name: in.Name, Description: in.Description, IsActive: true,
		Status: "ready", IndexVersion: 1, Config: in.Config, Metadata: orEmpty(in.Metadata),
		CreatedAt: now, UpdatedAt: now, CreatedBy: p.Name(), UpdatedBy: p.Name(),
	}}
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		r, err := s.tenantStill(tx, t)
		if err != nil {
			return err
		}
		if taken, err := number(tx, kindKBID, under(t.number, in.ID)); err != nil {
			return err
		} else if taken != 0 {
			return &FieldError{Field: "kb_id", Message: "is taken", Err: ErrConflict}
		}
		if err := nameFree(tx, t.number, in.Name, 0); err != nil {
			return err
		}
		if most := r.Tenant.Quota.maxKBs(); int64(r.Tenant.KBCount) >= most {
			return &QuotaError{Quota: "max_kb_per_tenant", Limit: most, Used: int64(r.Tenant.KBCount)}
		}
		r.Tenant.KBCount++
		if made.Number, err = next(tx, seqNumber); err != nil {
			return err
		}
		err = firstError(
			setJSON(tx, kindTenant, u64(t.number), r),
			setJSON(tx, kindKB, u64s(t.number, made.Number), made),
			tx.Set(keyspace.System, kindKBID, under(t.number, in.ID), u64(made.Number)),
			tx.Set(keyspace.System, kindKBName, under(t.number, foldName(in.Name)), u64(made.Number)),
			setJSON(tx, kindUseKB, u64(made.Number), counted{}),
		)
		if err != nil {
			return err
		}
		return s.append(ctx, tx, t.number, event{actor: p.Name(), action: "kb_created", resourceType: "knowledge_base", resourceID: in.ID})
	}, s.cat.refreshKB(tenant, in.ID))
	if err != nil {
		return KB{}, fmt.Errorf("create knowledge base: %w", err)
	}
	return made.KB, nil
}

// nameFree returns ErrConflict if a knowledge base other than self has the name.
func nameFree(tx *keyspace.Tx, tenant uint64, name string, self uint64) error {
	n, err := number(tx, kindKBName, under(tenant, foldName(name)))
	if err == nil && n != 0 && n != self {
		err = &FieldError{Field: "kb_name", Message: "is taken", Err: ErrConflict}
	}
	return err
}

// kbStill reads a knowledge base inside a transaction; ErrNoKB if it is not there, or
// is a later one of that id than p was given rights to.
func (s *Store) kbStill(tx *keyspace.Tx, t *tenantEntry, p Principal, id string) (kbRecord, error) {
	r, err := kbByID(tx, t.number, id)
	if isNotFound(err) || err == nil && !p.means(r.entry(t.number)) {
		err = ErrNoKB
	}
	return r, err
}

// KB returns a knowledge base; it takes kb:access.
func (s *Store) KB(ctx context.Context, p Principal, tenant, kb string) (KB, error) {
	t, err := s.authoriseKB(p, tenant, kb, PermKBAccess)
	if err != nil {
		return KB{}, err
	}
	var out KB
	err = s.view(ctx, func(tx *keyspace.Tx) error {
		r, err := s.kbStill(tx, t, p, kb)
		if err != nil {
			return err
		}
		out, err = kbWithUsage(tx, r)
		return err
	})
	if err != nil {
		return KB{}, fmt.Errorf("knowledge base: %w", err)
	}
	return out, nil
}

// authoriseKB is authorise for a call that names a knowledge base.
func (s *Store) authoriseKB(p Principal, tenant, kb string, perm Permission) (*tenantEntry, error) {
	if err := CheckID("kb_id", kb); err != nil {
		return nil, err
	}
	return s.authorise(p, tenant, kb, perm)
}

func kbWithUsage(tx *keyspace.Tx, r kbRecord) (KB, error) {
	u, err := tx.Usage(dataOf(r.Number))
	r.KB.StorageMB = mib(u.Bytes)
	return r.KB, err
}

// KBs returns one page of a tenant's knowledge bases to any caller of the tenant: those
// in the caller's reach.
func (s *Store) KBs(ctx context.Context, p Principal, tenant string, q PageRequest) (KBPage, error) {
	t, err := s.authorise(p, tenant, "", OfItsTenant)
	if err != nil {
		return KBPage{}, err
	}
	limit, err := q.limit()
	if err != nil {
		return KBPage{}, err
	}
	page := KBPage{Items: []KB{}}
	err = s.view(ctx, func(tx *keyspace.Tx) error {
		r, err := s.tenantStill(tx, t)
		if err != nil {
			return err
		}
		var ids []string
		if p.who.allKBs {
			page.Total = r.Tenant.KBCount
			ids, page.NextCursor, err = pageOf(tx, kindKBID, u64(t.number), q.Cursor, limit)
		} else {
			ids, err = s.existing(tx, t, p)
			page.Total = len(ids)
			from, found := slices.BinarySearch(ids, q.Cursor)
			if found {
				from++
			}
			if ids = ids[from:]; len(ids) > limit {
				ids, page.NextCursor = ids[:limit], ids[limit-1]
			}
		}
		if err != nil {
			return err
		}
		for _, id := range ids {
			r, err := kbByID(tx, t.number, id)
			if err != nil {
				return err
			}
			kb, err := kbWithUsage(tx, r)
			if err != nil {
				return err
			}
			page.Items = append(page.Items, kb)
		}
		return nil
	})
	if err != nil {
		return KBPage{}, fmt.Errorf("list knowledge bases: %w", err)
	}
	return page, nil
}

// existing returns those of the credential's knowledge bases that there are, in order.
// A credential's list is short by its own limit.
func (s *Store) existing(tx *keyspace.Tx, t *tenantEntry, p Principal) (ids []string, err error) {
	for _, id := range p.who.kbs {
		switch _, err := s.kbStill(tx, t, p, id); {
		case err == nil:
			ids = append(ids, id)
		case !errors.Is(err, ErrNoKB):
			return nil, err
		}
	}
	return ids, nil
}

// UpdateKB changes what in sets and returns the knowledge base as it then is; it takes
// kb:manage. A name that is taken is ErrConflict.
func (s *Store) UpdateKB(ctx context.Context, p Principal, tenant, kb string, in KBUpdate) (KB, error) {
	t, err := s.authoriseKB(p, tenant, kb, PermKBManage)
	if err != nil {
		return KB{}, err
	}
	var out KB
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		r, err := s.kbStill(tx, t, p, kb)
		if err != nil {
			return err
		}
		oldName := foldName(r.KB.Name)
		changed, err := r.KB.apply(in, s.opt.Models)
		if err != nil {
			return err
		}
		r.KB.UpdatedAt, r.KB.UpdatedBy = s.stamp(), p.Name()
		if name := foldName(r.KB.Name); name != oldName {
			if err := nameFree(tx, t.number, r.KB.Name, r.Number); err != nil {
				return err
			}
			err := firstError(
				tx.Delete(keyspace.System, kindKBName, under(t.number, oldName)),
				tx.Set(keyspace.System, kindKBName, under(t.number, name), u64(r.Number)),
			)
			if err != nil {
				return err
			}
		}
		if err := setJSON(tx, kindKB, u64s(t.number, r.Number), r); err != nil {
			return err
		}
		if out, err = kbWithUsage(tx, r); err != nil {
			return err
		}
		return s.append(ctx, tx, t.number, event{actor: p.Name(), action: "kb_modified", resourceType: "knowledge_base", resourceID: kb,
			details: map[string]string{"fields": changed}})
	}, s.cat.refreshKB(tenant, kb))
	if err != nil {
		return KB{}, fmt.Errorf("update knowledge base: %w", err)
	}
	return out, nil
}

// apply changes what in sets, checks the result, and names the fields for the record.
func (k *KB) apply(in KBUpdate, m Models) (changed string, err error) {
	var fields []string
	c, touched, err := changeConfig(k.Config, in.Config, in.ConfigUnset, m)
	if err != nil {
		return "", err
	}
	if in.Name != nil {
		k.Name, fields = *in.Name, append(fields, "kb_name")
	}
	if in.Description != nil {
		k.Description, fields = *in.Description, append(fields, "description")
	}
	if touched {
		k.Config, fields = c, append(fields, "config")
	}
	if in.Metadata != nil {
		k.Metadata, fields = in.Metadata, append(fields, "metadata")
	}
	return strings.Join(fields, " "), firstError(
		checkName("kb_name", k.Name), checkDescription("description", k.Description),
		metadata("metadata", k.Metadata),
	)
}
