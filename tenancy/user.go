package tenancy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"alcove/tenancy/keyspace"
)

const (
	maxUsers = 100_000
	// maxTenantsOfUser bounds what deleting an account takes away in one transaction.
	maxTenantsOfUser = 100
	// oneTimeLife is how long a one-time password waits for its owner.
	oneTimeLife = 7 * 24 * time.Hour
	seqUsers    = "users" // as seqTenants
)

// User is an account: somebody who signs in with a password. What an account may do in a
// tenant is its Member's matter.
type User struct {
	Name      string    `json:"user"` // 1 to 64 of [a-z0-9._@+-]
	System    bool      `json:"system_admin"`
	IsActive  bool      `json:"is_active"` // false: cannot sign in
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	CreatedBy string    `json:"created_by"`
	UpdatedBy string    `json:"updated_by"`
	// MustChange says that the password is a one-time one: it can only be replaced, and
	// that until OneTimeUntil.
	MustChange   bool       `json:"password_change_required"`
	OneTimeUntil *time.Time `json:"one_time_password_until,omitempty"`
	Tenants      []string   `json:"tenants"` // where it is a member, in order
}

// UserInput is what a new account is made from.
type UserInput struct {
	Name     string `json:"user"`
	Password string `json:"password"` // "": a one-time password is made
	System   bool   `json:"system_admin"`
}

// UserUpdate changes the fields that are not nil. Each change ends every token of the
// account.
type UserUpdate struct {
	Password *string `json:"password"`
	// ResetPassword puts a one-time password in the place of the one that was.
	ResetPassword bool  `json:"reset_password"`
	System        *bool `json:"system_admin"`
	IsActive      *bool `json:"is_active"`
}

// NewUser is an account and the one-time password made for it, which is shown this once.
type NewUser struct {
	User
	OneTime string `json:"one_time_password,omitempty"`
}

// UserPage is one page of accounts in the order of their names.
type UserPage struct {
	Items      []User `json:"items"`
	Total      int    `json:"total"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// userRecord is an account as stored: what is left of the password is its argon2id hash.
type userRecord struct {
	Number uint64 `json:"number"`
	// Version is another number after each change: tokens carry it, and those of an
	// earlier one are void.
	Version uint64 `json:"version"`
	User    User   `json:"account"`
	Hash    string `json:"hash"`
}

// userEntry is what every request asks of an account.
type userEntry struct {
	version uint64
	system  bool
	active  bool
}

func (r userRecord) entry() *userEntry {
	return &userEntry{version: r.Version, system: r.User.System, active: r.User.IsActive}
}

// checkUser returns nil if name is spelled as an account's must be. One spelling: who
// types capitals is told, not mended.
func checkUser(field, name string) error {
	if !plainWord(name, maxSubjectBytes, "._@+-") || strings.ToLower(name) != name {
		return badField(field, fmt.Sprintf("must be 1 to %d of a-z, 0-9 and ._@+-", maxSubjectBytes))
	}
	return nil
}

// setOneTime gives the account a new one-time password and returns it.
func (r *userRecord) setOneTime(ctx context.Context, s *Store) (password string, err error) {
	password = newOneTime()
	if r.Hash, err = s.hasher.hash(ctx, password); err != nil {
		return "", err
	}
	until := s.stamp().Add(oneTimeLife)
	r.User.MustChange, r.User.OneTimeUntil = true, &until
	return password, nil
}

// setPassword gives the account a password its owner chose.
func (r *userRecord) setPassword(ctx context.Context, s *Store, password string) (err error) {
	r.Hash, err = s.hasher.hash(ctx, password)
	r.User.MustChange, r.User.OneTimeUntil = false, nil
	return err
}

// CreateUser makes an account; it takes a system admin. Without a password it gets a
// one-time one. A name that is taken is ErrConflict.
func (s *Store) CreateUser(ctx context.Context, p Principal, in UserInput) (NewUser, error) {
	if err := s.AllowServer(p, PermSystemAdmin); err != nil {
		return NewUser{}, err
	}
	if err := checkUser("user", in.Name); err != nil {
		return NewUser{}, err
	}
	if in.Password != "" {
		if err := checkPassword("password", in.Name, in.Password); err != nil {
			return NewUser{}, err
		}
	}
	r, oneTime, err := s.newUser(ctx, p, in)
	if err != nil {
		return NewUser{}, err
	}
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		if err := s.addUser(tx, &r); err != nil {
			return err
		}
		return s.append(ctx, tx, systemChain, event{actor: p.Name(), action: "user_created", resourceType: "user", resourceID: in.Name,
			details: map[string]string{"system_admin": fmt.Sprint(in.System)}})
	}, s.cat.refreshUser(in.Name))
	if err != nil {
		return NewUser{}, fmt.Errorf("create user: %w", err)
	}
	return NewUser{User: r.User, OneTime: oneTime}, nil
}

// newUser works out the record of a new account, hash included: outside the transaction.
func (s *Store) newUser(ctx context.Context, p Principal, in UserInput) (r userRecord, oneTime string, err error) {
	now := s.stamp()
	r = userRecord{User: User{
		Name: in.Name, System: in.System, IsActive: true, CreatedAt: now, UpdatedAt: now, CreatedBy: p.Name(), UpdatedBy: p.Name(), Tenants: []string{},
	}}
	if in.Password == "" {
		oneTime, err = r.setOneTime(ctx, s)
	} else {
		err = r.setPassword(ctx, s, in.Password)
	}
	return r, oneTime, err
}

// addUser stores a new account and gives it its number.
func (s *Store) addUser(tx *keyspace.Tx, r *userRecord) error {
	if _, err := userByName(tx, r.User.Name); err == nil {
		return &FieldError{Field: "user", Message: "is taken", Err: ErrConflict}
	} else if !isNotFound(err) {
		return err
	}
	count, err := number(tx, kindSequence, []byte(seqUsers))
	if err != nil {
		return err
	}
	if count >= maxUsers {
		return &QuotaError{Quota: "accounts of this server", Limit: maxUsers}
	}
	if r.Number, err = next(tx, seqNumber); err != nil {
		return err
	}
	r.Version = r.Number
	return firstError(
		tx.Set(keyspace.System, kindSequence, []byte(seqUsers), u64(count+1)),
		setJSON(tx, kindUser, []byte(r.User.Name), r),
	)
}

// userByName reads an account; ErrNotFound if there is none.
func userByName(tx *keyspace.Tx, name string) (r userRecord, err error) {
	err = getJSON(tx, kindUser, []byte(name), &r)
	return r, err
}

// Users returns one page of all accounts; it takes a system admin.
func (s *Store) Users(ctx context.Context, p Principal, q PageRequest) (UserPage, error) {
	if err := s.AllowServer(p, PermSystemAdmin); err != nil {
		return UserPage{}, err
	}
	limit, err := q.limit()
	if err != nil {
		return UserPage{}, err
	}
	page := UserPage{Items: []User{}}
	err = s.view(ctx, func(tx *keyspace.Tx) error {
		total, err := number(tx, kindSequence, []byte(seqUsers))
		if err != nil {
			return err
		}
		page.Total = int(total)
		names, next, err := pageOf(tx, kindUser, nil, q.Cursor, limit)
		if err != nil {
			return err
		}
		page.NextCursor = next
		for _, name := range names {
			r, err := userByName(tx, name)
			if err != nil {
				return indexed(err)
			}
			if r.User.Tenants, err = tenantsOf(tx, r.Number); err != nil {
				return err
			}
			page.Items = append(page.Items, r.User)
		}
		return nil
	})
	if err != nil {
		return UserPage{}, fmt.Errorf("list users: %w", err)
	}
	return page, nil
}

// tenantsOf returns the ids of the tenants an account is a member of.
func tenantsOf(tx *keyspace.Tx, user uint64) (ids []string, err error) {
	numbers, err := tenantNumbersOf(tx, user)
	if err != nil {
		return nil, err
	}
	ids = []string{}
	for _, n := range numbers {
		var t tenantRecord
		switch err := getJSON(tx, kindTenant, u64(n), &t); {
		case isNotFound(err): // being buried
		case err != nil:
			return nil, err
		default:
			ids = append(ids, t.Tenant.ID)
		}
	}
	return ids, nil
}

func tenantNumbersOf(tx *keyspace.Tx, user uint64) (numbers []uint64, err error) {
	err = tx.Scan(keyspace.System, kindMemberOf, keyspace.Scan{Prefix: u64(user), KeysOnly: true}, func(rest, _ []byte) error {
		n, err := readU64(rest[8:])
		numbers = append(numbers, n)
		return err
	})
	return numbers, err
}

// UpdateUser changes an account, ends its tokens, and returns it with the one-time
// password if there is a new one; it takes a system admin.
func (s *Store) UpdateUser(ctx context.Context, p Principal, name string, in UserUpdate) (NewUser, error) {
	if err := s.AllowServer(p, PermSystemAdmin); err != nil {
		return NewUser{}, err
	}
	var fields []string
	made := userRecord{} // takes the new hash, which is made outside the transaction
	var oneTime string
	var err error
	switch {
	case in.Password != nil && in.ResetPassword:
		return NewUser{}, badField("reset_password", "give password or reset_password, not both")
	case in.ResetPassword:
		fields = append(fields, "password")
		oneTime, err = made.setOneTime(ctx, s)
	case in.Password != nil:
		fields = append(fields, "password")
		if err = checkPassword("password", name, *in.Password); err == nil {
			err = made.setPassword(ctx, s, *in.Password)
		}
	}
	if err != nil {
		return NewUser{}, err
	}
	if in.System != nil {
		fields = append(fields, "system_admin")
	}
	if in.IsActive != nil {
		fields = append(fields, "is_active")
	}
	r, err := s.changeUser(ctx, p.Name(), name, event{action: "user_modified", details: map[string]string{"fields": strings.Join(fields, " ")}},
		func(r *userRecord) error {
			if made.Hash != "" {
				r.Hash, r.User.MustChange, r.User.OneTimeUntil = made.Hash, made.User.MustChange, made.User.OneTimeUntil
			}
			if in.System != nil {
				r.User.System = *in.System
			}
			if in.IsActive != nil {
				r.User.IsActive = *in.IsActive
			}
			return nil
		})
	if err != nil {
		return NewUser{}, fmt.Errorf("update user: %w", err)
	}
	return NewUser{User: r.User, OneTime: oneTime}, nil
}

// changeUser applies f to an account's record, voids the tokens it has, and records e.
func (s *Store) changeUser(ctx context.Context, actor, name string, e event, f func(*userRecord) error) (out userRecord, err error) {
	e.actor, e.resourceType, e.resourceID = actor, "user", name
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		r, err := userByName(tx, name)
		if err != nil {
			return err
		}
		if err := f(&r); err != nil {
			return err
		}
		r.User.UpdatedAt, r.User.UpdatedBy = s.stamp(), actor
		if r.Version, err = next(tx, seqNumber); err != nil {
			return err
		}
		if err := setJSON(tx, kindUser, []byte(name), r); err != nil {
			return err
		}
		if r.User.Tenants, err = tenantsOf(tx, r.Number); err != nil {
			return err
		}
		out = r
		return s.append(ctx, tx, systemChain, e)
	}, s.cat.refreshUser(name))
	return out, err
}

// DeleteUser takes an account away, out of every tenant, and ends its tokens. It takes a
// system admin. The keys it made stay: they are their tenants'.
func (s *Store) DeleteUser(ctx context.Context, p Principal, name string) error {
	if err := s.AllowServer(p, PermSystemAdmin); err != nil {
		return err
	}
	var tenants []string
	err := s.change(ctx, func(tx *keyspace.Tx) error {
		r, err := userByName(tx, name)
		if err != nil {
			return err
		}
		numbers, err := tenantNumbersOf(tx, r.Number)
		if err != nil {
			return err
		}
		for _, n := range numbers {
			id, err := s.dropMember(ctx, tx, p, n, name)
			if err != nil {
				return err
			}
			tenants = append(tenants, id)
		}
		count, err := number(tx, kindSequence, []byte(seqUsers))
		if err != nil {
			return err
		}
		err = firstError(
			tx.Set(keyspace.System, kindSequence, []byte(seqUsers), u64(count-1)),
			tx.Delete(keyspace.System, kindUser, []byte(name)),
		)
		if err != nil {
			return err
		}
		return s.append(ctx, tx, systemChain, event{actor: p.Name(), action: "user_deleted", resourceType: "user", resourceID: name})
	}, func(tx *keyspace.Tx) error {
		for _, t := range tenants {
			if err := s.cat.refreshMember(t, name)(tx); err != nil {
				return err
			}
		}
		return s.cat.refreshUser(name)(tx)
	})
	if err != nil {
		return fmt.Errorf("delete user: %w", err)
	}
	return nil
}

// refreshUser copies what the store now says of an account.
func (c *catalogue) refreshUser(name string) func(*keyspace.Tx) error {
	return func(tx *keyspace.Tx) error {
		r, err := userByName(tx, name)
		if err != nil && !isNotFound(err) {
			return fmt.Errorf("reread user: %w", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil {
			delete(c.users, name)
			return nil
		}
		c.users[name] = r.entry()
		return nil
	}
}
