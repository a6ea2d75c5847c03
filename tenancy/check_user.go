package tenancy

import "alcove/tenancy/keyspace"

// checkUsers looks at the accounts and how many there are.
func (c *checker) checkUsers() error {
	err := c.walk(kindUser, func(_ *keyspace.Tx, rest, value []byte) error {
		var r userRecord
		if err := decodeRecord(kindUser, rest, value, &r); err != nil {
			c.problem("%v", err)
			return nil
		}
		c.counts.Users++
		if _, _, _, err := decodeHash(r.Hash); err != nil || r.User.Name != string(rest) || r.Number == 0 || checkUser("", r.User.Name) != nil {
			c.problem("account %q: malformed", rest)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.view(c.ctx, func(tx *keyspace.Tx) error {
		n, err := number(tx, kindSequence, []byte(seqUsers))
		if err == nil && n != uint64(c.counts.Users) {
			c.problem("the server counts %d accounts, has %d", n, c.counts.Users)
		}
		return err
	})
}

// checkMembers looks whether members, their accounts and the accounts' lists agree.
func (c *checker) checkMembers() error {
	err := c.walk(kindMember, func(tx *keyspace.Tx, rest, value []byte) error {
		var r memberRecord
		if err := decodeRecord(kindMember, rest, value, &r); err != nil {
			c.problem("%v", err)
			return nil
		}
		c.counts.Members++
		m := r.Member
		list := &m.Permissions
		if !r.Narrowed {
			list = nil
		}
		held, err := rightsOf(m.Role, list)
		if len(rest) <= 8 || m.User != string(rest[8:]) || err != nil || len(r.Numbers) != len(m.KBs) || joined(held.list()) != joined(m.Permissions) {
			c.problem("member %q: malformed", rest)
			return nil
		}
		if _, known := c.tenants[beU64(rest[:8])]; !known {
			c.problem("member %s: its tenant is not there", m.User)
		}
		switch u, err := userByName(tx, m.User); {
		case isNotFound(err):
			c.problem("member %s of %s: has no account", m.User, m.TenantID)
		case err != nil:
			return err
		case u.Number != r.Account:
			c.problem("member %s of %s: is of another account of that name", m.User, m.TenantID)
		}
		_, err = tx.Get(keyspace.System, kindMemberOf, u64s(r.Account, beU64(rest[:8])))
		if isNotFound(err) {
			c.problem("member %s of %s: not in its account's list", m.User, m.TenantID)
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	listed, err := c.count(kindMemberOf, nil)
	if err == nil && int64(listed) != c.counts.Members {
		c.problem("the accounts list %d memberships, the tenants %d", listed, c.counts.Members)
	}
	return err
}
