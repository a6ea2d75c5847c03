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

const maxMembersOfTenant = 1000

// Member is what an account may do in a tenant: a role on some or all of its knowledge
// bases, narrowed by a list of permissions if there is one.
type Member struct {
	User        string       `json:"user"`
	TenantID    string       `json:"tenant_id"`
	Role        Role         `json:"role"`
	AllKBs      bool         `json:"all_knowledge_bases"`
	KBs         []string     `json:"knowledge_base_ids"` // empty if AllKBs
	Permissions []Permission `json:"permissions"`        // what it comes to: the role's, narrowed
	CreatedAt   time.Time    `json:"created_at"`
	UpdatedAt   time.Time    `json:"updated_at"`
	CreatedBy   string       `json:"created_by"`
	UpdatedBy   string       `json:"updated_by"`
}

// MemberInput makes an account a member. KBs or All must say where; ["*"] is all. An
// account that does not exist is made if Invite is true and has a one-time password.
type MemberInput struct {
	User        string        `json:"user"`
	Role        Role          `json:"role"`
	KBs         *[]string     `json:"knowledge_base_ids"`
	All         *bool         `json:"all"`
	Permissions *[]Permission `json:"permissions"` // narrows the role
	Invite      bool          `json:"invite"`
}

// MemberUpdate changes the fields that are not nil, and ends the member's tokens. A
// new role drops the list that narrowed the old one unless a list comes with it.
type MemberUpdate struct {
	Role        *Role         `json:"role"`
	KBs         *[]string     `json:"knowledge_base_ids"`
	All         *bool         `json:"all"`
	Permissions *[]Permission `json:"permissions"`
}

// NewMember is a member and, if the account was made for it, its one-time password,
// which is shown this once.
type NewMember struct {
	Member
	OneTime string `json:"one_time_password,omitempty"`
}

// MemberPage is one page of a tenant's members in the order of their names.
type MemberPage struct {
	Items      []Member `json:"items"`
	Total      int      `json:"total"`
	NextCursor string   `json:"next_cursor,omitempty"`
}

// memberRecord is a member as stored.
type memberRecord struct {
	Account  uint64   `json:"account_number"`
	Member   Member   `json:"member"`
	Narrowed bool     `json:"narrowed"`   // Permissions is less than the role's by a list
	Numbers  []uint64 `json:"kb_numbers"` // of Member.KBs, entry by entry: an id can be given out again
	Version  uint64   `json:"version"`    // as in userRecord
}

// where reads the two ways of saying which knowledge bases; set says that either was used.
func where(ids *[]string, all *bool) (kbs []string, every, set bool, err error) {
	switch {
	case ids != nil && all != nil && *all:
		return nil, false, false, badField("all", "give all or knowledge_base_ids, not both")
	case ids != nil:
		kbs, every, err = kbList("knowledge_base_ids", *ids)
		if kbs == nil {
			kbs = []string{}
		}
		return kbs, every, true, err
	case all != nil && *all:
		return []string{}, true, true, nil
	}
	return nil, false, false, nil
}

// rightsOf is what a role comes to under an optional list. Roles outside tenants are not
// a member's.
func rightsOf(role Role, list *[]Permission) (rights, error) {
	held, ok := roleRights[role]
	if !ok || role == RoleSystem || role == RoleAccount {
		return 0, badField("role", "must be admin, editor, viewer or viewer:read-only")
	}
	if list == nil {
		return held, nil
	}
	asked, err := rightsFrom("permissions", *list)
	if err == nil && asked&^held != 0 {
		err = badField("permissions", "a list narrows the role; it cannot hold "+joined((asked&^held).list()))
	}
	return asked, err
}

// AddMember makes an account a member of a tenant; it takes tenant:manage_members, and
// nobody grants what they do not hold or where they do not reach. An account that is a
// member already is ErrConflict; one that does not exist is a *FieldError unless Invite
// is set. A knowledge base that does not exist is a *FieldError.
func (s *Store) AddMember(ctx context.Context, p Principal, tenant string, in MemberInput) (NewMember, error) {
	t, err := s.authorise(p, tenant, "", PermTenantMembers)
	if err != nil {
		return NewMember{}, err
	}
	now := s.stamp()
	m := Member{User: in.User, TenantID: tenant, Role: in.Role, CreatedAt: now, UpdatedAt: now, CreatedBy: p.Name(), UpdatedBy: p.Name()}
	held, err := rightsOf(in.Role, in.Permissions)
	if err := firstError(checkUser("user", in.User), err); err != nil {
		return NewMember{}, err
	}
	set := false
	if m.KBs, m.AllKBs, set, err = where(in.KBs, in.All); err != nil {
		return NewMember{}, err
	}
	if !set {
		return NewMember{}, badField("knowledge_base_ids", "is missing; give a list, or all")
	}
	m.Permissions = held.list()
	if err := p.grants(held, m.KBs, m.AllKBs); err != nil {
		return NewMember{}, err
	}
	var account userRecord
	var oneTime string
	if in.Invite && s.cat.user(in.User) == nil {
		if account, oneTime, err = s.newUser(ctx, p, UserInput{Name: in.User}); err != nil {
			return NewMember{}, err
		}
	}
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		tr, err := s.tenantStill(tx, t)
		if err != nil {
			return err
		}
		r := memberRecord{Member: m, Narrowed: in.Permissions != nil}
		if r.Account, err = s.accountFor(ctx, tx, p, tenant, in, account); err != nil {
			return err
		}
		if _, err := memberOf(tx, t.number, in.User); err == nil {
			return &FieldError{Field: "user", Message: "is a member already", Err: ErrConflict}
		} else if !isNotFound(err) {
			return err
		}
		if tr.Members >= maxMembersOfTenant {
			return &QuotaError{Quota: "members of a tenant", Limit: maxMembersOfTenant}
		}
		of, err := tenantNumbersOf(tx, r.Account)
		if err != nil {
			return err
		}
		if len(of) >= maxTenantsOfUser {
			return &QuotaError{Quota: "tenants of an account", Limit: maxTenantsOfUser}
		}
		if r.Numbers, err = s.numbersOf(tx, t, p, m.KBs); err != nil {
			return err
		}
		if r.Version, err = next(tx, seqNumber); err != nil {
			return err
		}
		tr.Members++
		err = firstError(
			setJSON(tx, kindTenant, u64(t.number), tr),
			setJSON(tx, kindMember, under(t.number, in.User), r),
			tx.Set(keyspace.System, kindMemberOf, u64s(r.Account, t.number), nil),
		)
		if err != nil {
			return err
		}
		return s.append(ctx, tx, t.number, m.event(p, "member_added"))
	}, s.cat.refreshUser(in.User), s.cat.refreshMember(tenant, in.User))
	if err != nil {
		return NewMember{}, fmt.Errorf("add member: %w", err)
	}
	return NewMember{Member: m, OneTime: oneTime}, nil
}

// accountFor returns the number of the account that becomes a member, making it if it is
// an invitation. made is the account to make, empty if there was one a moment ago.
func (s *Store) accountFor(ctx context.Context, tx *keyspace.Tx, p Principal, tenant string, in MemberInput, made userRecord) (uint64, error) {
	u, err := userByName(tx, in.User)
	switch {
	case err == nil && made.Hash != "":
		// Somebody else made it in this moment: the one-time password we would show is not its.
		return 0, &FieldError{Field: "user", Message: "was made just now; try again", Err: ErrConflict}
	case err == nil:
		return u.Number, nil
	case !isNotFound(err):
		return 0, err
	case made.Hash == "":
		return 0, badField("user", "no such account; set invite to make one")
	}
	if err := s.addUser(tx, &made); err != nil {
		return 0, err
	}
	return made.Number, s.append(ctx, tx, systemChain, event{actor: p.Name(), action: "user_created", resourceType: "user", resourceID: in.User,
		details: map[string]string{"invited_to": tenant}})
}

// numbersOf returns the numbers of knowledge bases that are to be granted.
func (s *Store) numbersOf(tx *keyspace.Tx, t *tenantEntry, p Principal, ids []string) ([]uint64, error) {
	numbers := make([]uint64, len(ids))
	for i, id := range ids {
		kb, err := s.kbStill(tx, t, p, id)
		if errors.Is(err, ErrNoKB) {
			return nil, &FieldError{Field: "knowledge_base_ids", Message: "no such knowledge base: " + id}
		}
		if err != nil {
			return nil, err
		}
		numbers[i] = kb.Number
	}
	return numbers, nil
}

func (m Member) event(p Principal, action string) event {
	scope := strings.Join(m.KBs, " ")
	if m.AllKBs {
		scope = "*"
	}
	return event{actor: p.Name(), action: action, resourceType: "member", resourceID: m.User,
		details: map[string]string{"role": string(m.Role), "permissions": joined(m.Permissions), "knowledge_bases": scope}}
}

// memberOf reads a member; ErrNotFound if there is none.
func memberOf(tx *keyspace.Tx, tenant uint64, user string) (r memberRecord, err error) {
	err = getJSON(tx, kindMember, under(tenant, user), &r)
	return r, err
}

// Members returns one page of a tenant's members; it takes tenant:manage_members.
func (s *Store) Members(ctx context.Context, p Principal, tenant string, q PageRequest) (MemberPage, error) {
	t, err := s.authorise(p, tenant, "", PermTenantMembers)
	if err != nil {
		return MemberPage{}, err
	}
	limit, err := q.limit()
	if err != nil {
		return MemberPage{}, err
	}
	page := MemberPage{Items: []Member{}}
	err = s.view(ctx, func(tx *keyspace.Tx) error {
		tr, err := s.tenantStill(tx, t)
		if err != nil {
			return err
		}
		page.Total = tr.Members
		names, next, err := pageOf(tx, kindMember, u64(t.number), q.Cursor, limit)
		if err != nil {
			return err
		}
		page.NextCursor = next
		for _, name := range names {
			r, err := memberOf(tx, t.number, name)
			if err != nil {
				return indexed(err)
			}
			page.Items = append(page.Items, r.Member)
		}
		return nil
	})
	if err != nil {
		return MemberPage{}, fmt.Errorf("list members: %w", err)
	}
	return page, nil
}

// UpdateMember changes what in sets, ends the member's tokens for this tenant, and
// returns the member as it then is. It takes tenant:manage_members and, as AddMember,
// grants only what the caller holds: the whole of the result, not only what changed.
func (s *Store) UpdateMember(ctx context.Context, p Principal, tenant, user string, in MemberUpdate) (Member, error) {
	t, err := s.authorise(p, tenant, "", PermTenantMembers)
	if err != nil {
		return Member{}, err
	}
	kbs, all, set, err := where(in.KBs, in.All)
	if err != nil {
		return Member{}, err
	}
	var out Member
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		if _, err := s.tenantStill(tx, t); err != nil {
			return err
		}
		r, err := memberOf(tx, t.number, user)
		if err != nil {
			return err
		}
		m := &r.Member
		list := in.Permissions
		switch {
		case list != nil:
			r.Narrowed = true
		case in.Role != nil:
			r.Narrowed = false
		case r.Narrowed:
			list = &m.Permissions
		}
		if in.Role != nil {
			m.Role = *in.Role
		}
		held, err := rightsOf(m.Role, list)
		if err != nil {
			return err
		}
		m.Permissions = held.list()
		if set {
			if m.KBs, m.AllKBs = kbs, all; m.AllKBs {
				m.KBs = []string{}
			}
			if r.Numbers, err = s.numbersOf(tx, t, p, m.KBs); err != nil {
				return err
			}
		}
		if err := p.grants(held, m.KBs, m.AllKBs); err != nil {
			return err
		}
		m.UpdatedAt, m.UpdatedBy = s.stamp(), p.Name()
		if r.Version, err = next(tx, seqNumber); err != nil {
			return err
		}
		out = *m
		return firstError(
			setJSON(tx, kindMember, under(t.number, user), r),
			s.append(ctx, tx, t.number, m.event(p, "member_modified")),
		)
	}, s.cat.refreshMember(tenant, user))
	if err != nil {
		return Member{}, fmt.Errorf("update member: %w", err)
	}
	return out, nil
}

// RemoveMember takes an account out of a tenant: its tokens there are worth nothing from
// the next call on. It takes tenant:manage_members. The account itself stays.
func (s *Store) RemoveMember(ctx context.Context, p Principal, tenant, user string) error {
	t, err := s.authorise(p, tenant, "", PermTenantMembers)
	if err != nil {
		return err
	}
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		if _, err := s.tenantStill(tx, t); err != nil {
			return err
		}
		_, err := s.dropMember(ctx, tx, p, t.number, user)
		return err
	}, s.cat.refreshMember(tenant, user))
	if err != nil {
		return fmt.Errorf("remove member: %w", err)
	}
	return nil
}

// dropMember takes the records of a membership away and returns the tenant's id, "" if
// the tenant is being buried.
func (s *Store) dropMember(ctx context.Context, tx *keyspace.Tx, p Principal, tenant uint64, user string) (id string, err error) {
	m, err := memberOf(tx, tenant, user)
	if err != nil {
		return "", err
	}
	err = firstError(
		tx.Delete(keyspace.System, kindMember, under(tenant, user)),
		tx.Delete(keyspace.System, kindMemberOf, u64s(m.Account, tenant)),
	)
	if err != nil {
		return "", err
	}
	var tr tenantRecord
	switch err := getJSON(tx, kindTenant, u64(tenant), &tr); {
	case isNotFound(err):
		return "", nil
	case err != nil:
		return "", err
	}
	tr.Members--
	return tr.Tenant.ID, firstError(
		setJSON(tx, kindTenant, u64(tenant), tr),
		s.append(ctx, tx, tenant, event{actor: p.Name(), action: "member_removed", resourceType: "member", resourceID: user}),
	)
}

// buryMembers takes away some of a deleted tenant's memberships; more says that there
// are others.
func buryMembers(tx *keyspace.Tx, tenant uint64) (more bool, err error) {
	names, cursor, err := pageOf(tx, kindMember, u64(tenant), "", buryAtOnce)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		r, err := memberOf(tx, tenant, name)
		if err != nil {
			return false, indexed(err)
		}
		err = firstError(
			tx.Delete(keyspace.System, kindMember, under(tenant, name)),
			tx.Delete(keyspace.System, kindMemberOf, u64s(r.Account, tenant)),
		)
		if err != nil {
			return false, err
		}
	}
	return cursor != "", nil
}

// refreshMember copies what the store now says of a member.
func (c *catalogue) refreshMember(tenantID, user string) func(*keyspace.Tx) error {
	return func(tx *keyspace.Tx) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		t := c.tenants[tenantID]
		if t == nil {
			return nil
		}
		r, err := memberOf(tx, t.number, user)
		switch {
		case isNotFound(err):
			delete(t.members, user)
			return nil
		case err != nil:
			return fmt.Errorf("reread member: %w", err)
		}
		t.members[user] = r.Version
		return nil
	}
}

// liveKBs are the member's knowledge bases that are there, and are not later ones of
// their ids.
func (r memberRecord) liveKBs(c *catalogue, t *tenantEntry) []string {
	if r.Member.AllKBs {
		return []string{"*"}
	}
	return slices.DeleteFunc(slices.Clone(r.Member.KBs), func(id string) bool {
		i, _ := slices.BinarySearch(r.Member.KBs, id)
		k := c.kb(t, id)
		return k == nil || k.number != r.Numbers[i]
	})
}
