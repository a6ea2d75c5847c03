package tenancy

import (
	"context"
	"fmt"

	"alcove/tenancy/keyspace"
)

// Counts is what Check walked.
type Counts struct {
	Tenants int64 `json:"tenants"`
	KBs     int64 `json:"knowledge_bases"`
	Keys    int64 `json:"api_keys"`
	Users   int64 `json:"users"`
	Members int64 `json:"members"`
	Jobs    int64 `json:"jobs"`
	// Unswept are knowledge bases deleted whose records are still being taken away.
	Unswept      int64 `json:"unswept"`
	AuditRecords int64 `json:"audit_records"`
	Records      int64 `json:"records"` // of all knowledge bases and of the catalogue
	Bytes        int64 `json:"bytes"`   // the same
}

// checkPage is how many records one read transaction of a check looks at.
const checkPage = 1000

// Check walks the whole catalogue and calls report with a sentence for everything that
// does not add up: an index and its record that disagree, a count that is wrong, a key,
// a job or a record of nobody, a namespace whose counters or checksums fail, a broken
// audit chain, a file that never changes and did. It goes on after a problem and returns
// an error only if it could not go on. It needs a store that nobody is writing to: on a
// live one it may report what was changing while it looked.
func (s *Store) Check(ctx context.Context, report func(problem string)) (Counts, error) {
	c := &checker{Store: s, ctx: ctx, report: report, tenants: map[uint64]bool{}, kbs: map[uint64]string{}, unswept: map[uint64]bool{}}
	for _, step := range []func() error{
		c.checkFiles,
		c.checkTenants, c.checkTombstones, c.checkKBs, c.checkKeys, c.checkUsers, c.checkMembers, c.checkJobs, c.checkNamespaces, c.checkCounts, c.checkTrails,
	} {
		if err := step(); err != nil {
			return c.counts, fmt.Errorf("check: %w", err)
		}
	}
	return c.counts, nil
}

type checker struct {
	*Store
	ctx     context.Context
	report  func(string)
	counts  Counts
	tenants map[uint64]bool   // by number; false: deleted, being buried
	kbs     map[uint64]string // live ones by number -> "tenant/kb"
	unswept map[uint64]bool
}

func (c *checker) problem(format string, args ...any) { c.report(fmt.Sprintf(format, args...)) }

// walk calls f for every record of a kind of the system namespace, with a transaction
// in which it can look at others.
func (c *checker) walk(kind byte, f func(tx *keyspace.Tx, rest, value []byte) error) error {
	var after []byte
	for more := true; more; {
		err := c.view(c.ctx, func(tx *keyspace.Tx) error {
			n := 0
			err := tx.Scan(keyspace.System, kind, keyspace.Scan{After: after, Limit: checkPage}, func(rest, value []byte) error {
				n++
				after = append([]byte(nil), rest...)
				return f(tx, after, value)
			})
			more = n == checkPage
			return err
		})
		if err != nil {
			return fmt.Errorf("walk %c: %w", kind, err)
		}
	}
	return nil
}

// count returns how many records of a kind begin with prefix.
func (c *checker) count(kind byte, prefix []byte) (n int, err error) {
	after := []byte(nil)
	for more := true; more; {
		err := c.view(c.ctx, func(tx *keyspace.Tx) error {
			seen := 0
			err := tx.Scan(keyspace.System, kind, keyspace.Scan{Prefix: prefix, After: after, Limit: checkPage, KeysOnly: true}, func(rest, _ []byte) error {
				seen++
				after = append([]byte(nil), rest...)
				return nil
			})
			n += seen
			more = seen == checkPage
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// names reports that an index entry does not name the record it should.
func (c *checker) names(tx *keyspace.Tx, kind byte, rest []byte, want uint64, what string) error {
	n, err := number(tx, kind, rest)
	if err != nil {
		return err
	}
	if n != want {
		c.problem("%s: index %c names number %d, not %d", what, kind, n, want)
	}
	return nil
}

func (c *checker) checkTenants() error {
	err := c.walk(kindTenant, func(tx *keyspace.Tx, rest, value []byte) error {
		var r tenantRecord
		if err := decodeRecord(kindTenant, rest, value, &r); err != nil {
			c.problem("%v", err)
			return nil
		}
		c.counts.Tenants++
		if n, err := readU64(rest); err != nil || n != r.Number {
			c.problem("tenant %s: lies under another number than its own", r.Tenant.ID)
			return nil
		}
		c.tenants[r.Number] = true
		if err := c.names(tx, kindTenantID, []byte(r.Tenant.ID), r.Number, "tenant "+r.Tenant.ID); err != nil {
			return err
		}
		kbs, err := c.count(kindKBID, u64(r.Number))
		if err != nil {
			return err
		}
		keys, err := c.count(kindKeyOf, u64(r.Number))
		if err != nil {
			return err
		}
		if kbs != r.Tenant.KBCount {
			c.problem("tenant %s: counts %d knowledge bases, has %d", r.Tenant.ID, r.Tenant.KBCount, kbs)
		}
		members, err := c.count(kindMember, u64(r.Number))
		if err != nil {
			return err
		}
		if members != r.Members {
			c.problem("tenant %s: counts %d members, has %d", r.Tenant.ID, r.Members, members)
		}
		if keys != r.Keys {
			c.problem("tenant %s: counts %d keys, has %d", r.Tenant.ID, r.Keys, keys)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = c.walk(kindTenantID, func(_ *keyspace.Tx, rest, value []byte) error {
		if n, err := readU64(value); err != nil || !c.tenants[n] {
			c.problem("the id %q names a tenant that is not there", rest)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.view(c.ctx, func(tx *keyspace.Tx) error {
		n, err := number(tx, kindSequence, []byte(seqTenants))
		if err == nil && n != uint64(c.counts.Tenants) {
			c.problem("the server counts %d tenants, has %d", n, c.counts.Tenants)
		}
		return err
	})
}

func (c *checker) checkTombstones() error {
	err := c.walk(kindTenantGone, func(_ *keyspace.Tx, rest, _ []byte) error {
		if n, err := readU64(rest); err != nil || c.tenants[n] {
			c.problem("tenant number %x is both alive and deleted", rest)
		} else {
			c.tenants[n] = false
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.walk(kindKBGone, func(_ *keyspace.Tx, rest, _ []byte) error {
		n, err := readU64(rest)
		if err != nil {
			c.problem("a tombstone of %d bytes", len(rest))
			return nil
		}
		c.unswept[n] = true
		c.counts.Unswept++
		return nil
	})
}

func (c *checker) checkKBs() error {
	err := c.walk(kindKB, func(tx *keyspace.Tx, rest, value []byte) error {
		var r kbRecord
		if err := decodeRecord(kindKB, rest, value, &r); err != nil {
			c.problem("%v", err)
			return nil
		}
		what := r.KB.TenantID + "/" + r.KB.ID
		if len(rest) != 16 || beU64(rest[8:]) != r.Number || r.Number == 0 {
			c.problem("knowledge base %s: lies under another number than its own", what)
			return nil
		}
		tenant := beU64(rest[:8])
		alive, known := c.tenants[tenant]
		switch {
		case !known:
			c.problem("knowledge base %s: its tenant is not there", what)
		case c.unswept[r.Number]:
			c.problem("knowledge base %s: is both alive and deleted", what)
		case c.kbs[r.Number] != "":
			c.problem("knowledge base %s: has the number of %s", what, c.kbs[r.Number])
		}
		c.kbs[r.Number] = what
		if alive {
			c.counts.KBs++
		}
		last, err := number(tx, kindSequence, []byte(seqNumber))
		if err != nil {
			return err
		}
		if r.Number > last {
			c.problem("knowledge base %s: its number %d was never given out", what, r.Number)
		}
		return firstError(
			c.names(tx, kindKBID, under(tenant, r.KB.ID), r.Number, "knowledge base "+what),
			c.names(tx, kindKBName, under(tenant, foldName(r.KB.Name)), r.Number, "knowledge base "+what),
		)
	})
	if err != nil {
		return err
	}
	for _, kind := range []byte{kindKBID, kindKBName} {
		err := c.walk(kind, func(tx *keyspace.Tx, rest, value []byte) error {
			n, err := readU64(value)
			if err != nil || len(rest) < 8 {
				c.problem("index %c has a malformed entry", kind)
				return nil
			}
			if _, err := tx.Get(keyspace.System, kindKB, u64s(beU64(rest[:8]), n)); isNotFound(err) {
				c.problem("index %c: %q names a knowledge base that is not there", kind, rest[8:])
			} else if err != nil {
				return err
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkKeys() error {
	err := c.walk(kindKey, func(tx *keyspace.Tx, rest, value []byte) error {
		var r keyRecord
		if err := decodeRecord(kindKey, rest, value, &r); err != nil {
			c.problem("%v", err)
			return nil
		}
		c.counts.Keys++
		if _, err := r.entry(); err != nil || r.Key.ID != string(rest) {
			c.problem("key %q: malformed", rest)
		}
		if _, known := c.tenants[r.Tenant]; !known {
			c.problem("key %s: its tenant is not there", r.Key.ID)
		}
		_, err := tx.Get(keyspace.System, kindKeyOf, under(r.Tenant, r.Key.ID))
		if isNotFound(err) {
			c.problem("key %s: not in its tenant's list", r.Key.ID)
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.walk(kindKeyOf, func(tx *keyspace.Tx, rest, _ []byte) error {
		_, err := tx.Get(keyspace.System, kindKey, rest[min(8, len(rest)):])
		if isNotFound(err) {
			c.problem("a tenant lists the key %q that is not there", rest[min(8, len(rest)):])
			return nil
		}
		return err
	})
}

func (c *checker) checkJobs() error {
	err := c.walk(kindJob, func(tx *keyspace.Tx, rest, value []byte) error {
		c.counts.Jobs++
		r, err := decodeJob(value)
		if err != nil || len(rest) != 8 {
			c.problem("job %x: malformed", rest)
			return nil
		}
		seq := beU64(rest)
		if c.kbs[r.KB] == "" && !c.unswept[r.KB] {
			c.problem("job %d: its knowledge base %s/%s is not there", seq, r.TenantID, r.KBID)
		}
		_, err = tx.Get(keyspace.System, kindJobOf, u64s(r.KB, seq))
		if isNotFound(err) {
			c.problem("job %d: not in its knowledge base's list", seq)
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.walk(kindJobOf, func(tx *keyspace.Tx, rest, _ []byte) error {
		if len(rest) != 16 {
			c.problem("a job list has a malformed entry")
			return nil
		}
		_, err := tx.Get(keyspace.System, kindJob, rest[8:])
		if isNotFound(err) {
			c.problem("knowledge base number %d lists the job %d that is not there", beU64(rest[:8]), beU64(rest[8:]))
			return nil
		}
		return err
	})
}

// checkFiles compares the files that are as the last clean stop left them.
func (c *checker) checkFiles() error {
	problems, err := c.db.VerifyFiles(c.ctx)
	for _, p := range problems {
		c.problem("%s", p)
	}
	return err
}

// checkNamespaces looks for records of nobody, and verifies counters and checksums.
func (c *checker) checkNamespaces() error {
	all, err := c.db.Namespaces(c.ctx)
	if err != nil {
		return err
	}
	for _, ns := range all {
		what := "the catalogue"
		if ns != keyspace.System {
			what = c.kbs[ns.Number]
			switch {
			case ns != dataOf(ns.Number):
				c.problem("namespace %c %d is nobody's", ns.Family, ns.Number)
				continue
			case what == "" && !c.unswept[ns.Number]:
				c.problem("knowledge base number %d has records, but is not in the catalogue", ns.Number)
				continue
			case what == "":
				continue // half swept: there is nothing to agree with
			}
		}
		if err := c.db.Verify(c.ctx, ns); err != nil {
			if c.ctx.Err() != nil {
				return err
			}
			c.problem("%s: %v", what, err)
			continue
		}
		err := c.view(c.ctx, func(tx *keyspace.Tx) error {
			u, err := tx.Usage(ns)
			c.counts.Records += u.Records
			c.counts.Bytes += u.Bytes
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkTrails verifies the audit log: all chains, those of tenants that are gone among
// them, and the tree over them against the store's own checkpoints.
func (c *checker) checkTrails() error {
	rep, err := c.verifyTrails(c.ctx, nil)
	c.counts.AuditRecords = int64(rep.Entries - rep.Cut)
	if err != nil {
		if c.ctx.Err() != nil {
			return err
		}
		if rep.FirstBadTenant != "" {
			c.problem("audit log: tenant %s: %v", rep.FirstBadTenant, err)
		} else {
			c.problem("audit log: %v", err)
		}
	}
	return nil
}
