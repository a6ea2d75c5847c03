package tenancy

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"alcove/tenancy/keyspace"
)

// catalogue is what every request asks: the tenants, knowledge bases, keys and
// revoked tokens that exist, small and decoded. It is a copy of what the store
// holds, brought up to date from the store after each change and before that change
// is answered, so that a revoked key or a suspended tenant is refused by the very
// next call. What a Tx may still write is not decided here but by the fence it
// reads in its own transaction.
type catalogue struct {
	mu      sync.RWMutex
	tenants map[string]*tenantEntry
	kbs     map[uint64]*kbEntry // every knowledge base, by number
	keys    map[string]*keyEntry
	users   map[string]*userEntry
	tokens  map[tokenMark]time.Time // revoked and seen tokens, until they expire
}

// The entries are never changed once they are in the maps, only replaced; but for
// kbs and members of a tenantEntry, which the catalogue's lock guards.
type tenantEntry struct {
	number  uint64
	id      string
	active  bool
	created time.Time
	quota   Quota
	kbs     map[string]*kbEntry
	// members has for each member the version its tokens must be of; all tokens of the
	// tenant must be younger than notBefore, in unix seconds.
	members   map[string]uint64
	notBefore int64
}

type kbEntry struct {
	number   uint64
	id       string
	tenant   uint64
	tenantID string
	created  time.Time
}

type keyEntry struct {
	tenant  uint64
	digest  [32]byte
	expires time.Time
	// old is the digest of the secret before the last rotation, which works until oldUntil.
	old      [32]byte
	oldUntil time.Time
	networks []netip.Prefix // empty: from anywhere
	who      *identity
	use      *keyUse // shared by all entries of one key
}

func newCatalogue() *catalogue {
	return &catalogue{
		tenants: map[string]*tenantEntry{}, kbs: map[uint64]*kbEntry{},
		keys: map[string]*keyEntry{}, users: map[string]*userEntry{}, tokens: map[tokenMark]time.Time{},
	}
}

// tenant returns what is known of a tenant, or nil.
func (c *catalogue) tenant(id string) *tenantEntry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tenants[id]
}

// kb returns what is known of a knowledge base of a tenant, or nil.
func (c *catalogue) kb(t *tenantEntry, id string) *kbEntry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return t.kbs[id]
}

// byNumber returns a live knowledge base and its tenant, or nils.
func (c *catalogue) byNumber(kb uint64) (*tenantEntry, *kbEntry) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	k := c.kbs[kb]
	if k == nil {
		return nil, nil
	}
	t := c.tenants[k.tenantID]
	if t == nil || t.number != k.tenant {
		return nil, nil
	}
	return t, k
}

// numbers returns the numbers of a tenant's knowledge bases, in no order.
func (c *catalogue) numbers(tenant string) []uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	t := c.tenants[tenant]
	if t == nil {
		return nil
	}
	out := make([]uint64, 0, len(t.kbs))
	for _, k := range t.kbs {
		out = append(out, k.number)
	}
	return out
}

func (c *catalogue) key(id string) *keyEntry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.keys[id]
}

func (c *catalogue) user(name string) *userEntry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.users[name]
}

func (c *catalogue) token(m tokenMark) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.tokens[m]
	return ok
}

// load reads everything; called once, before anybody asks.
func (c *catalogue) load(tx *keyspace.Tx) error {
	sys := keyspace.System
	err := tx.Scan(sys, kindTenant, keyspace.Scan{}, func(rest, value []byte) error {
		var r tenantRecord
		if err := decodeRecord(kindTenant, rest, value, &r); err != nil {
			return err
		}
		c.tenants[r.Tenant.ID] = r.entry(nil)
		return nil
	})
	if err != nil {
		return fmt.Errorf("load tenants: %w", err)
	}
	err = tx.Scan(sys, kindKB, keyspace.Scan{}, func(rest, value []byte) error {
		var r kbRecord
		if err := decodeRecord(kindKB, rest, value, &r); err != nil {
			return err
		}
		if t := c.tenants[r.KB.TenantID]; t != nil && len(rest) == 16 && t.number == beU64(rest[:8]) {
			e := r.entry(t.number)
			t.kbs[e.id], c.kbs[e.number] = e, e
		}
		return nil // else: of a tenant that is being buried
	})
	if err != nil {
		return fmt.Errorf("load knowledge bases: %w", err)
	}
	err = tx.Scan(sys, kindKey, keyspace.Scan{}, func(rest, value []byte) error {
		var r keyRecord
		if err := decodeRecord(kindKey, rest, value, &r); err != nil {
			return err
		}
		if t := c.tenants[r.Key.TenantID]; t != nil && t.number == r.Tenant {
			e, err := r.entry()
			if err != nil {
				return err
			}
			if e.use, err = readKeyUse(tx, r.Key.ID); err != nil {
				return err
			}
			c.keys[r.Key.ID] = e
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load keys: %w", err)
	}
	err = c.loadUsers(tx)
	if err != nil {
		return err
	}
	err = tx.Scan(sys, kindToken, keyspace.Scan{}, func(rest, value []byte) error {
		m, err := readTokenMark(rest)
		if err != nil {
			return err
		}
		end, err := readU64(value)
		if err != nil {
			return err
		}
		c.tokens[m] = time.Unix(int64(end), 0)
		return nil
	})
	if err != nil {
		return fmt.Errorf("load revoked tokens: %w", err)
	}
	return nil
}

// loadUsers reads the accounts and who is a member where.
func (c *catalogue) loadUsers(tx *keyspace.Tx) error {
	err := tx.Scan(keyspace.System, kindUser, keyspace.Scan{}, func(rest, value []byte) error {
		var r userRecord
		if err := decodeRecord(kindUser, rest, value, &r); err != nil {
			return err
		}
		c.users[r.User.Name] = r.entry()
		return nil
	})
	if err != nil {
		return fmt.Errorf("load users: %w", err)
	}
	err = tx.Scan(keyspace.System, kindMember, keyspace.Scan{}, func(rest, value []byte) error {
		var r memberRecord
		if err := decodeRecord(kindMember, rest, value, &r); err != nil {
			return err
		}
		if t := c.tenants[r.Member.TenantID]; t != nil && len(rest) > 8 && t.number == beU64(rest[:8]) {
			t.members[r.Member.User] = r.Version
		}
		return nil // else: of a tenant that is being buried
	})
	if err != nil {
		return fmt.Errorf("load members: %w", err)
	}
	return nil
}

// entry is the record as requests ask it; old is the entry before, whose knowledge bases
// and members it takes over, or nil.
func (r tenantRecord) entry(old *tenantEntry) *tenantEntry {
	e := &tenantEntry{number: r.Number, id: r.Tenant.ID, active: r.Tenant.IsActive, created: r.Tenant.CreatedAt, quota: r.Tenant.Quota, notBefore: r.NotBefore}
	if old != nil {
		e.kbs, e.members = old.kbs, old.members
	} else {
		e.kbs, e.members = map[string]*kbEntry{}, map[string]uint64{}
	}
	return e
}

func (r kbRecord) entry(tenant uint64) *kbEntry {
	return &kbEntry{number: r.Number, id: r.KB.ID, tenant: tenant, tenantID: r.KB.TenantID, created: r.KB.CreatedAt}
}

// refreshTenant copies what the store now says of a tenant. A tenant that is gone
// takes its knowledge bases and keys along.
func (c *catalogue) refreshTenant(id string) func(*keyspace.Tx) error {
	return func(tx *keyspace.Tx) error {
		r, err := tenantByID(tx, id)
		gone := isNotFound(err)
		if err != nil && !gone {
			return fmt.Errorf("reread tenant: %w", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		old := c.tenants[id]
		if old != nil && (gone || old.number != r.Number) {
			for _, k := range old.kbs {
				delete(c.kbs, k.number)
			}
			for keyID, k := range c.keys {
				if k.tenant == old.number {
					delete(c.keys, keyID)
				}
			}
			delete(c.tenants, id)
			old = nil
		}
		if !gone {
			c.tenants[id] = r.entry(old)
		}
		return nil
	}
}

// refreshKB copies what the store now says of a knowledge base of a tenant.
func (c *catalogue) refreshKB(tenantID, id string) func(*keyspace.Tx) error {
	return func(tx *keyspace.Tx) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		t := c.tenants[tenantID]
		if t == nil {
			return nil
		}
		r, err := kbByID(tx, t.number, id)
		if err != nil && !isNotFound(err) {
			return fmt.Errorf("reread knowledge base: %w", err)
		}
		if old := t.kbs[id]; old != nil && (err != nil || old.number != r.Number) {
			delete(t.kbs, id)
			delete(c.kbs, old.number)
		}
		if err == nil {
			e := r.entry(t.number)
			t.kbs[id], c.kbs[e.number] = e, e
		}
		return nil
	}
}

// refreshKey copies what the store now says of a key.
func (c *catalogue) refreshKey(id string) func(*keyspace.Tx) error {
	return func(tx *keyspace.Tx) error {
		var r keyRecord
		err := getJSON(tx, kindKey, []byte(id), &r)
		if err != nil && !isNotFound(err) {
			return fmt.Errorf("reread key: %w", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil {
			delete(c.keys, id)
			return nil
		}
		e, err := r.entry()
		if err != nil {
			return err
		}
		if old := c.keys[id]; old != nil {
			e.use = old.use
		} else {
			e.use = &keyUse{}
		}
		c.keys[id] = e
		return nil
	}
}
