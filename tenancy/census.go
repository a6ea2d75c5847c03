package tenancy

import (
	"context"

	"alcove/tenancy/keyspace"
)

// Census is how much there is, counted in memory.
type Census struct{ Tenants, ActiveTenants, KBs int }

// Census reads no records and waits for nothing; it is for metrics.
func (s *Store) Census() Census {
	s.cat.mu.RLock()
	defer s.cat.mu.RUnlock()
	c := Census{Tenants: len(s.cat.tenants), KBs: len(s.cat.kbs)}
	for _, t := range s.cat.tenants {
		if t.active {
			c.ActiveTenants++
		}
	}
	return c
}

// TenantCounts returns what each named tenant uses, from one counter a tenant: no
// record is scanned. A tenant that is not there is left out. It is for metrics and asks
// for no right.
func (s *Store) TenantCounts(ctx context.Context, ids []string) (map[string]Counted, error) {
	out := make(map[string]Counted, len(ids))
	err := s.view(ctx, func(tx *keyspace.Tx) error {
		for _, id := range ids {
			t := s.cat.tenant(id)
			if t == nil {
				continue
			}
			c, err := s.usedBy(tx, t.number)
			if err != nil {
				return err
			}
			out[id] = Counted{Documents: c.Documents, StorageBytes: c.Bytes, ReservedBytes: c.Reserved}
		}
		return nil
	})
	return out, err
}
