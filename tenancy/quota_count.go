package tenancy

import (
	"fmt"

	"alcove/tenancy/keyspace"
)

// counted is what the quotas count of a tenant's or a knowledge base's content. It
// changes in the transaction that changes what it counts.
type counted struct {
	Documents int64 `json:"documents,omitempty"`
	// Reserved are bytes promised to documents that were accepted and are not done.
	Reserved int64 `json:"reserved,omitempty"`
	// Bytes are those of the records, as the namespaces count them. Kept for the
	// tenant alone.
	Bytes int64 `json:"bytes,omitempty"`
}

func (c *counted) add(d counted) {
	c.Documents += d.Documents
	c.Reserved += d.Reserved
	c.Bytes += d.Bytes
}

// Counted says what is in use of a tenant, or of one knowledge base, in one snapshot.
type Counted struct {
	Documents     int64 `json:"documents"`
	StorageBytes  int64 `json:"storage_bytes"`
	ReservedBytes int64 `json:"reserved_bytes"` // promised to documents that are being worked on
}

// usedBy reads a tenant's counter. One that has none, a new tenant or one of an older
// release, gets it as the sum over its knowledge bases.
func (s *Store) usedBy(tx *keyspace.Tx, tenant uint64) (c counted, err error) {
	err = getJSON(tx, kindUse, u64(tenant), &c)
	if !isNotFound(err) {
		return c, err
	}
	return s.sumOf(tx, tenant)
}

// sumOf adds up a tenant's knowledge bases.
func (s *Store) sumOf(tx *keyspace.Tx, tenant uint64) (sum counted, err error) {
	err = tx.Scan(keyspace.System, kindKB, keyspace.Scan{Prefix: u64(tenant), KeysOnly: true}, func(rest, _ []byte) error {
		kb := beU64(rest[8:])
		c, _, err := usedByKB(tx, kb)
		if err != nil {
			return err
		}
		u, err := tx.Usage(dataOf(kb))
		c.Bytes = u.Bytes
		sum.add(c)
		return err
	})
	return sum, err
}

// usedByKB reads a knowledge base's counter. known is false for one of an older
// release whose documents were never counted.
func usedByKB(tx *keyspace.Tx, kb uint64) (c counted, known bool, err error) {
	err = getJSON(tx, kindUseKB, u64(kb), &c)
	if isNotFound(err) {
		return counted{}, false, nil
	}
	return c, err == nil, err
}

// uncount takes a knowledge base that is being buried out of its tenant's counter.
func (s *Store) uncount(tx *keyspace.Tx, tenant, kb uint64) error {
	var r tenantRecord
	if err := getJSON(tx, kindTenant, u64(tenant), &r); isNotFound(err) {
		return tx.Delete(keyspace.System, kindUseKB, u64(kb)) // the tenant's own goes with its last one
	} else if err != nil {
		return err
	}
	// Read before the knowledge base is out of the list: it may be summed up here.
	var all counted
	if err := getJSON(tx, kindUse, u64(tenant), &all); isNotFound(err) {
		return tx.Delete(keyspace.System, kindUseKB, u64(kb)) // never summed up: it will be, without this one
	} else if err != nil {
		return err
	}
	c, _, err := usedByKB(tx, kb)
	if err != nil {
		return err
	}
	u, err := tx.Usage(dataOf(kb))
	if err != nil {
		return err
	}
	all.add(counted{-c.Documents, -c.Reserved, -u.Bytes})
	return firstError(tx.Delete(keyspace.System, kindUseKB, u64(kb)), setJSON(tx, kindUse, u64(tenant), all))
}

// quota is what the Tx's tenant may use: as the catalogue has it now.
func (t *Tx) quota() Quota {
	if tenant, _ := t.space.store.cat.byNumber(t.space.kb); tenant != nil {
		return tenant.quota
	}
	return Quota{}
}

// begin notes where a transaction starts: what is counted before it writes anything.
func (t *Tx) begin() (err error) {
	if t.before, err = t.Usage(); err != nil {
		return err
	}
	if t.ofTenant, err = t.space.store.usedBy(t.kt, t.space.tenant); err != nil {
		return fmt.Errorf("what tenant %s uses: %w", t.space.tenantID, err)
	}
	return nil
}

// CountDocuments says that documents come or, below 0, go with this transaction. More
// of them than the tenant's quota allows, those of earlier transactions and of this one
// together, are a *QuotaError; none is where n is below 0.
func (t *Tx) CountDocuments(n int64) error {
	t.counted.Documents += n
	most := t.quota().MaxDocuments
	if have := t.ofTenant.Documents + t.counted.Documents; n > 0 && most > 0 && have > most {
		return &QuotaError{Quota: "max_documents", Limit: most, Used: t.ofTenant.Documents}
	}
	return nil
}

// Reserve promises bytes to accepted work or, below 0, gives them back: see CheckStorage.
func (t *Tx) Reserve(bytes int64) { t.counted.Reserved += bytes }

// CheckStorage returns a *QuotaError if the tenant's records, those of this transaction
// so far and what is promised to others included, are over its quota. own is how much of
// what is promised was promised to what this transaction writes; below 0, what it will
// write yet.
func (t *Tx) CheckStorage(own int64) error {
	most := t.quota().maxBytes()
	if most == 0 {
		return nil
	}
	grown, err := t.grown()
	if err != nil {
		return err
	}
	promised := t.ofTenant.Reserved + t.counted.Reserved - own
	if t.ofTenant.Bytes+grown+promised > most {
		return &QuotaError{Quota: quotaStorage, Limit: most, Used: t.ofTenant.Bytes + t.ofTenant.Reserved}
	}
	return nil
}

// NameLimits are the entities and the relations that the knowledge base may have; 0 is
// no limit. Who counts them knows what they are; this room does not.
func (t *Tx) NameLimits() (entities, relations int64) {
	q := t.quota()
	return q.MaxEntitiesPerKB, q.MaxRelationshipsPerKB
}

// Counted returns what the knowledge base has in use, this Tx's part included. known is
// false when its documents have never been counted: see AdoptCounts.
func (t *Tx) Counted() (c Counted, known bool, err error) {
	u, err := t.Usage()
	if err != nil {
		return c, false, err
	}
	use, known, err := usedByKB(t.kt, t.space.kb)
	use.add(t.counted)
	return Counted{use.Documents, u.Bytes, use.Reserved}, known, err
}

// AdoptCounts gives a knowledge base that an older release made its number of
// documents, as they were before this transaction. It does nothing where they are counted.
func (t *Tx) AdoptCounts(documents func() int64) error {
	_, known, err := usedByKB(t.kt, t.space.kb)
	if err != nil || known {
		return err
	}
	c := counted{Documents: documents()}
	t.ofTenant.add(c)
	return firstError(setJSON(t.kt, kindUseKB, u64(t.space.kb), c), setJSON(t.kt, kindUse, u64(t.space.tenant), t.ofTenant))
}

// grown is by how many bytes this Tx has made the knowledge base grow.
func (t *Tx) grown() (int64, error) {
	u, err := t.Usage()
	return u.Bytes - t.before.Bytes, err
}

// settle writes what this transaction changed of what is counted.
func (t *Tx) settle() error {
	d := t.counted
	var err error
	if d.Bytes, err = t.grown(); err != nil || d == (counted{}) {
		return err
	}
	t.ofTenant.add(d)
	if err := setJSON(t.kt, kindUse, u64(t.space.tenant), t.ofTenant); err != nil {
		return err
	}
	if d.Bytes = 0; d == (counted{}) {
		return nil
	}
	c, _, err := usedByKB(t.kt, t.space.kb)
	if err != nil {
		return err
	}
	c.add(d)
	return setJSON(t.kt, kindUseKB, u64(t.space.kb), c)
}

// checkCounts compares the counters of every tenant with what its knowledge bases have.
func (c *checker) checkCounts() error {
	err := c.walk(kindTenant, func(tx *keyspace.Tx, rest, _ []byte) error {
		n, err := readU64(rest)
		if err != nil {
			return nil // reported already
		}
		want, err := c.sumOf(tx, n)
		if err != nil {
			return err
		}
		have, err := c.usedBy(tx, n)
		if err != nil {
			return err
		}
		if have != want {
			c.problem("tenant number %d: counts %d documents, %d bytes and %d reserved; its knowledge bases have %d, %d and %d", n,
				have.Documents, have.Bytes, have.Reserved, want.Documents, want.Bytes, want.Reserved)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, kind := range []byte{kindUse, kindMonth} {
		err := c.walk(kind, func(_ *keyspace.Tx, rest, _ []byte) error {
			if n, err := readU64(rest); err != nil {
				c.problem("a counter %c under a key of %d bytes", kind, len(rest))
			} else if _, known := c.tenants[n]; !known {
				c.problem("a counter %c of tenant number %d that is not there", kind, n)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return c.walk(kindUseKB, func(_ *keyspace.Tx, rest, _ []byte) error {
		if n, err := readU64(rest); err != nil || c.kbs[n] == "" {
			c.problem("a counter of knowledge base number %x that is not there", rest)
		}
		return nil
	})
}
