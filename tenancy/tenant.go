package tenancy

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"alcove/tenancy/keyspace"
)

// Tenant is a customer of the server: a set of knowledge bases, keys and limits.
type Tenant struct {
	ID          string         `json:"tenant_id"`
	Name        string         `json:"tenant_name"`
	Description string         `json:"description"`
	Config      Config         `json:"config"`
	Quota       Quota          `json:"quota"`
	IsActive    bool           `json:"is_active"` // false: suspended, its data is not entered
	CreatedAt   time.Time      `json:"created_at"`
	UpdatedAt   time.Time      `json:"updated_at"`
	CreatedBy   string         `json:"created_by"`
	UpdatedBy   string         `json:"updated_by"`
	Metadata    map[string]any `json:"metadata"`
	KBCount     int            `json:"kb_count"`
	StorageMB   float64        `json:"total_storage_mb"` // MiB of records, of all its knowledge bases
	// TotalDocuments is nil here: this room knows no documents. Whoever does may fill it in.
	TotalDocuments *int64 `json:"total_documents,omitempty"`
}

// TenantInput is what a new tenant is made from. Absent fields take defaults; an
// absent ID is a new UUID.
type TenantInput struct {
	ID          string         `json:"tenant_id"`
	Name        string         `json:"tenant_name"` // required, 1 to 255 characters
	Description string         `json:"description"`
	Config      Config         `json:"config"`
	Quota       *QuotaUpdate   `json:"quota"`
	Metadata    map[string]any `json:"metadata"`
}

// TenantUpdate changes the fields that are not nil and leaves the others. Inside
// Config and Quota the same holds for each field; Metadata is replaced whole.
// Quota and IsActive are the system admin's alone.
type TenantUpdate struct {
	Name        *string        `json:"tenant_name"`
	Description *string        `json:"description"`
	Config      *Config        `json:"config"`
	ConfigUnset []string       `json:"config_unset"` // names of settings to override no longer
	Quota       *QuotaUpdate   `json:"quota"`
	IsActive    *bool          `json:"is_active"`
	Metadata    map[string]any `json:"metadata"`
}

// TenantPage is one page of tenants in the order of their ids. An empty
// NextCursor ends the list.
type TenantPage struct {
	Items      []Tenant `json:"items"`
	Total      int      `json:"total"`
	NextCursor string   `json:"next_cursor,omitempty"`
}

// tenantStill reads a tenant that was found in the catalogue, inside a transaction. If
// it was deleted meanwhile it is ErrNoTenant: whoever gets here was entitled to know it.
func (s *Store) tenantStill(tx *keyspace.Tx, t *tenantEntry) (tenantRecord, error) {
	var r tenantRecord
	err := getJSON(tx, kindTenant, u64(t.number), &r)
	if isNotFound(err) {
		return r, ErrNoTenant
	}
	return r, err
}

// CreateTenant makes a tenant. It takes a system admin. An id that is taken is
// ErrConflict; too many tenants are ErrQuota.
func (s *Store) CreateTenant(ctx context.Context, p Principal, in TenantInput) (Tenant, error) {
	if !p.holds("", "", PermSystemAdmin) {
		return Tenant{}, denied(PermSystemAdmin)
	}
	if in.ID == "" {
		in.ID = newID()
	}
	quota := s.opt.defaultQuota().apply(in.Quota)
	err := firstError(
		CheckID("tenant_id", in.ID), checkName("tenant_name", in.Name), checkDescription("description", in.Description),
		in.Config.check(s.opt.Models), quota.check(), metadata("metadata", in.Metadata),
	)
	if err != nil {
		return Tenant{}, err
	}
	now := s.stamp()
	made := tenantRecord{Tenant: Tenant{
		ID: in.ID, Name: in.Name, Description: in.Description, Config: in.Config, Quota: quota, IsActive: true,
		CreatedAt: now, UpdatedAt: now, CreatedBy: p.Name(), UpdatedBy: p.Name(), Metadata: orEmpty(in.Metadata),
	}}
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		if taken, err := number(tx, kindTenantID, []byte(in.ID)); err != nil {
			return err
		} else if taken != 0 {
			return &FieldError{Field: "tenant_id", Message: "is taken", Err: ErrConflict}
		}
		count, err := number(tx, kindSequence, []byte(seqTenants))
		if err != nil {
			return err
		}
		if count >= uint64(s.opt.MaxTenants) {
			return &QuotaError{Quota: "tenants of this server", Limit: int64(s.opt.MaxTenants), Used: int64(count)}
		}
		if made.Number, err = next(tx, seqNumber); err != nil {
			return err
		}
		err = firstError(
			tx.Set(keyspace.System, kindSequence, []byte(seqTenants), u64(count+1)),
			tx.Set(keyspace.System, kindTenantID, []byte(in.ID), u64(made.Number)),
			setJSON(tx, kindTenant, u64(made.Number), made),
		)
		if err != nil {
			return err
		}
		// In both chains: the tenant's begins with its birth, the server's lists all.
		e := event{actor: p.Name(), action: "tenant_created", resourceType: "tenant", resourceID: in.ID}
		return firstError(s.append(ctx, tx, made.Number, e), s.append(ctx, tx, systemChain, e))
	}, s.cat.refreshTenant(in.ID))
	if err != nil {
		return Tenant{}, fmt.Errorf("create tenant: %w", err)
	}
	return made.Tenant, nil
}

// Ensure makes a tenant with one knowledge base of the same id, unless they are there:
// a server that serves a single one makes it before it serves.
func (s *Store) Ensure(ctx context.Context, id string) error {
	self := Principal{&identity{name: "server", system: true, rights: allRights, allKBs: true}}
	if s.cat.tenant(id) == nil {
		if _, err := s.CreateTenant(ctx, self, TenantInput{ID: id, Name: id}); err != nil {
			return err
		}
	}
	if s.cat.kb(s.cat.tenant(id), id) != nil {
		return nil
	}
	_, err := s.CreateKB(ctx, self, id, KBInput{ID: id, Name: id})
	return err
}

// Tenant returns a tenant to any caller of it and to system admins.
func (s *Store) Tenant(ctx context.Context, p Principal, id string) (Tenant, error) {
	t, err := s.authorise(p, id, "", OfItsTenant)
	if err != nil {
		return Tenant{}, err
	}
	var out Tenant
	err = s.view(ctx, func(tx *keyspace.Tx) error {
		r, err := s.tenantStill(tx, t)
		if err != nil {
			return err
		}
		out, err = s.withUsage(tx, r)
		return err
	})
	if err != nil {
		return Tenant{}, fmt.Errorf("tenant: %w", err)
	}
	return out, nil
}

// withUsage adds what a tenant's knowledge bases take together: a reading of one
// counter for each.
func (s *Store) withUsage(tx *keyspace.Tx, r tenantRecord) (Tenant, error) {
	var bytes int64
	for _, kb := range s.cat.numbers(r.Tenant.ID) {
		u, err := tx.Usage(dataOf(kb))
		if err != nil {
			return Tenant{}, err
		}
		bytes += u.Bytes
	}
	r.Tenant.StorageMB = mib(bytes)
	return r.Tenant, nil
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// Tenants returns one page of all tenants. It takes a system admin.
func (s *Store) Tenants(ctx context.Context, p Principal, q PageRequest) (TenantPage, error) {
	if !p.holds("", "", PermSystemAdmin) {
		return TenantPage{}, denied(PermSystemAdmin)
	}
	limit, err := q.limit()
	if err != nil {
		return TenantPage{}, err
	}
	page := TenantPage{Items: []Tenant{}}
	err = s.view(ctx, func(tx *keyspace.Tx) error {
		total, err := number(tx, kindSequence, []byte(seqTenants))
		if err != nil {
			return err
		}
		page.Total = int(total)
		ids, next, err := pageOf(tx, kindTenantID, nil, q.Cursor, limit)
		if err != nil {
			return err
		}
		page.NextCursor = next
		for _, id := range ids {
			r, err := tenantByID(tx, id)
			if err != nil {
				return err
			}
			t, err := s.withUsage(tx, r)
			if err != nil {
				return err
			}
			page.Items = append(page.Items, t)
		}
		return nil
	})
	if err != nil {
		return TenantPage{}, fmt.Errorf("list tenants: %w", err)
	}
	return page, nil
}

// UpdateTenant changes what in sets and returns the tenant as it then is. It takes
// tenant:manage; the quota and whether the tenant is active take a system admin, since
// they bind the tenant's own admins. Suspending refuses requests and pauses jobs from
// the next one on.
func (s *Store) UpdateTenant(ctx context.Context, p Principal, id string, in TenantUpdate) (Tenant, error) {
	t, err := s.authorise(p, id, "", PermTenantManage)
	if err != nil {
		return Tenant{}, err
	}
	if (in.Quota != nil || in.IsActive != nil) && !p.holds(id, "", PermSystemAdmin) {
		return Tenant{}, denied(PermSystemAdmin)
	}
	var out Tenant
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		r, err := s.tenantStill(tx, t)
		if err != nil {
			return err
		}
		changed, err := r.Tenant.apply(in, s.opt.Models)
		if err != nil {
			return err
		}
		r.Tenant.UpdatedAt, r.Tenant.UpdatedBy = s.stamp(), p.Name()
		if err := setJSON(tx, kindTenant, u64(t.number), r); err != nil {
			return err
		}
		if out, err = s.withUsage(tx, r); err != nil {
			return err
		}
		e := event{actor: p.Name(), action: "tenant_modified", resourceType: "tenant", resourceID: id, details: map[string]string{"fields": changed}}
		if in.IsActive != nil {
			e.details["is_active"] = strconv.FormatBool(*in.IsActive)
		}
		return s.append(ctx, tx, t.number, e)
	}, s.cat.refreshTenant(id))
	if err != nil {
		return Tenant{}, fmt.Errorf("update tenant: %w", err)
	}
	return out, nil
}

// apply changes what in sets, checks the result, and names the fields for the record.
func (t *Tenant) apply(in TenantUpdate, m Models) (changed string, err error) {
	var fields []string
	c, touched, err := changeConfig(t.Config, in.Config, in.ConfigUnset, m)
	if err != nil {
		return "", err
	}
	if in.Name != nil {
		t.Name, fields = *in.Name, append(fields, "tenant_name")
	}
	if in.Description != nil {
		t.Description, fields = *in.Description, append(fields, "description")
	}
	if touched {
		t.Config, fields = c, append(fields, "config")
	}
	if in.Quota != nil {
		t.Quota, fields = t.Quota.apply(in.Quota), append(fields, "quota")
	}
	if in.IsActive != nil {
		t.IsActive, fields = *in.IsActive, append(fields, "is_active")
	}
	if in.Metadata != nil {
		t.Metadata, fields = in.Metadata, append(fields, "metadata")
	}
	return strings.Join(fields, " "), firstError(
		checkName("tenant_name", t.Name), checkDescription("description", t.Description),
		t.Quota.check(), metadata("metadata", t.Metadata),
	)
}

// orEmpty keeps metadata an object on the wire.
func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}
