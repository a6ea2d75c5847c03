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

// TenantBytes returns what the records of each named tenant's knowledge bases take,
// from a counter of each knowledge base: no record is scanned. A tenant that is not
// there is left out. It is for metrics and asks for no right.
func (s *Store) TenantBytes(ctx context.Context, ids []string) (map[string]int64, error) {
	out := make(map[string]int64, len(ids))
	err := s.view(ctx, func(tx *keyspace.Tx) error {
		for _, id := range ids {
			if s.cat.tenant(id) == nil {
				continue
			}
			var bytes int64
			for _, kb := range s.cat.numbers(id) {
				u, err := tx.Usage(dataOf(kb))
				if err != nil {
					return err
				}
				bytes += u.Bytes
			}
			out[id] = bytes
		}
		return nil
	})
	return out, err
}
