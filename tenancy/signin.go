package tenancy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"alcove/tenancy/keyspace"
)

// oneTimeTTL is how long who signed in with a one-time password has to replace it.
const oneTimeTTL = 15 * time.Minute

// SignIn is what somebody who signs in brings along.
type SignIn struct {
	User     string     `json:"username"`
	Password string     `json:"password"`
	Tenant   string     `json:"tenant_id"` // "": the only one the account is a member of
	Addr     netip.Addr `json:"-"`         // where the request came from
}

// Session is what a sign-in gives: a token and what it is good for.
type Session struct {
	Token      string `json:"access_token"`
	Type       string `json:"token_type"` // "bearer"
	ExpiresIn  int64  `json:"expires_in"` // seconds
	User       string `json:"user"`
	TenantID   string `json:"tenant_id,omitempty"`
	Role       Role   `json:"role"`
	System     bool   `json:"system_admin"`
	MustChange bool   `json:"password_change_required"`
}

// SignIn checks a password and makes a token. An unknown account, a wrong password, an
// account that is not active and a one-time password that is too old are the same
// ErrUnauthenticated after the same work. Too many failures for a name or from an
// address are a *LockedError, whether or not the name is an account's; too many at once
// are ErrBusy.
//
// The token is for one tenant: the one asked for or, if there is only one, that; an
// account of several that names none gets a *FieldError that lists them, one that names
// a tenant it is not a member of ErrDenied. A system admin who names none gets a system
// admin's token. An account with a one-time password, or of no tenant, gets one that is
// good for nothing but its own account (RoleAccount).
func (s *Store) SignIn(ctx context.Context, in SignIn) (Session, error) {
	if len(in.Password) > maxPasswordBytes {
		return Session{}, badField("password", fmt.Sprintf("must be at most %d bytes", maxPasswordBytes))
	}
	if in.Tenant != "" {
		if err := CheckID("tenant_id", in.Tenant); err != nil {
			return Session{}, err
		}
	}
	u, err := s.checkPassword(ctx, in.User, in.Password, in.Addr)
	if err != nil {
		return Session{}, err
	}
	q, notBefore, err := s.scopeOf(ctx, u, in.Tenant)
	if err != nil {
		return Session{}, err
	}
	now := s.now()
	if first := time.Unix(notBefore+1, 0); now.Before(first) { // in the second in which the tenant's tokens were ended
		now = first
	}
	token, err := mint(s.keys.Load(), now, q)
	if err != nil {
		return Session{}, err
	}
	e := event{actor: "user:" + in.User, action: "signed_in", resourceType: "user", resourceID: in.User,
		details: map[string]string{"role": string(q.Role), "tenant": q.Tenant}}
	if err := s.clerk.note(ctx, systemChain, e); err != nil {
		return Session{}, err
	}
	return Session{
		Token: token, Type: "bearer", ExpiresIn: int64(q.TTL / time.Second),
		User: in.User, TenantID: q.Tenant, Role: q.Role, System: q.System, MustChange: u.User.MustChange,
	}, nil
}

// checkPassword is the one place where a password is compared. The try is counted before
// it is made and taken back when it was right; the work is the same whatever is wrong.
func (s *Store) checkPassword(ctx context.Context, name, password string, from netip.Addr) (userRecord, error) {
	key := name
	if checkUser("", name) != nil {
		key = "" // no account has such a name: all of them are one
	}
	if err := s.tries.take(key, from); err != nil {
		return userRecord{}, err
	}
	var u userRecord
	err := s.view(ctx, func(tx *keyspace.Tx) (err error) {
		if u, err = userByName(tx, key); isNotFound(err) {
			u, err = userRecord{}, nil
		}
		return err
	})
	if err != nil {
		return userRecord{}, fmt.Errorf("sign in: %w", err)
	}
	ok, err := s.hasher.matches(ctx, password, u.Hash)
	if err != nil {
		return userRecord{}, fmt.Errorf("sign in: %w", err)
	}
	if !ok || !u.User.IsActive || u.User.OneTimeUntil != nil && !s.now().Before(*u.User.OneTimeUntil) {
		// A name that is nobody's is not recorded: people type passwords there.
		s.NoteAct(ctx, Principal{}, "", Act{Action: "sign_in_failed", ResourceType: "user", ResourceID: u.User.Name, Outcome: "failure"})
		return userRecord{}, ErrUnauthenticated
	}
	s.tries.succeeded(key, from)
	return u, nil
}

// scopeOf works out what an account's token is for, and the second it must be younger than.
func (s *Store) scopeOf(ctx context.Context, u userRecord, tenant string) (q TokenRequest, notBefore int64, err error) {
	q = TokenRequest{Subject: u.User.Name, Role: RoleAccount, TTL: s.opt.TokenTTL, account: u.Version}
	switch {
	case u.User.MustChange:
		q.TTL = min(q.TTL, oneTimeTTL)
		return q, 0, nil
	case u.User.System && tenant == "":
		q.System, q.Role = true, RoleSystem
		return q, 0, nil
	}
	var m memberRecord
	err = s.view(ctx, func(tx *keyspace.Tx) error {
		if tenant == "" {
			ids, err := tenantsOf(tx, u.Number)
			if err != nil || len(ids) == 0 {
				return err
			}
			if tenant = ids[0]; len(ids) > 1 {
				return badField("tenant_id", "the account is a member of several tenants; name one of "+strings.Join(ids, ", "))
			}
		}
		t := s.cat.tenant(tenant)
		if t == nil {
			return denied(OfItsTenant)
		}
		m, err = memberOf(tx, t.number, u.User.Name)
		if isNotFound(err) || err == nil && m.Account != u.Number {
			return denied(OfItsTenant)
		}
		q.member = m.Version
		q.Tenant, q.Role, q.KBs = tenant, m.Member.Role, m.liveKBs(s.cat, t)
		if m.Narrowed {
			q.Permissions = m.Member.Permissions
		}
		notBefore = t.notBefore
		return err
	})
	return q, notBefore, err
}

// ChangePassword puts a new password in the place of the caller's own and ends every
// token of the account, the caller's with them. It takes a token that came of a sign-in;
// a wrong old password is a *FieldError and counts as a failed sign-in.
func (s *Store) ChangePassword(ctx context.Context, p Principal, old, fresh string, from netip.Addr) error {
	if p.who == nil || p.who.account == 0 {
		return badField("Authorization", "must carry a token that an account signed in for")
	}
	name := p.who.user
	if len(old) > maxPasswordBytes {
		return badField("old", fmt.Sprintf("must be at most %d bytes", maxPasswordBytes))
	}
	if err := checkPassword("new", name, fresh); err != nil {
		return err
	}
	if old == fresh {
		return badField("new", "is the old one")
	}
	u, err := s.checkPassword(ctx, name, old, from)
	if errors.Is(err, ErrUnauthenticated) || err == nil && u.Version != p.who.account {
		return badField("old", "is not the password of this account")
	}
	if err != nil {
		return err
	}
	was := u.Hash
	if err := u.setPassword(ctx, s, fresh); err != nil {
		return err
	}
	_, err = s.changeUser(ctx, p.Name(), name, event{action: "password_changed"}, func(r *userRecord) error {
		if r.Hash != was { // changed by another call meanwhile: what was compared is not what is there
			return badField("old", "is not the password of this account")
		}
		r.Hash, r.User.MustChange, r.User.OneTimeUntil = u.Hash, false, nil
		return nil
	})
	if err != nil {
		return fmt.Errorf("change password: %w", err)
	}
	return nil
}

// stands reports whether what a token says still holds: its account is there, is active
// and is the one that signed in, its membership has not changed since, and neither the
// account's nor the tenant's tokens were ended. What is looked at is the token's own.
func (c *catalogue) stands(w *identity) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	t := c.tenants[w.tenant]
	if t != nil && w.issued.Unix() <= t.notBefore {
		return false
	}
	if w.account == 0 {
		return true
	}
	a := c.users[w.user]
	if a == nil || a.version != w.account || !a.active {
		return false
	}
	switch w.role {
	case RoleAccount:
		return true
	case RoleSystem:
		return a.system
	}
	return t != nil && w.member != 0 && t.members[w.user] == w.member
}

// EndUserTokens ends every token that an account signed in for until now. It takes the
// account itself or a system admin.
func (s *Store) EndUserTokens(ctx context.Context, p Principal, user string) error {
	own := p.who != nil && p.who.account != 0 && p.who.user == user
	if !own && !p.holds("", "", PermSystemAdmin) {
		return denied(PermSystemAdmin)
	}
	_, err := s.changeUser(ctx, p.Name(), user, event{action: "user_tokens_revoked"}, func(*userRecord) error { return nil })
	if err != nil {
		return fmt.Errorf("end the tokens of an account: %w", err)
	}
	return nil
}

// EndTenantTokens ends every token of a tenant issued until now, whoever made it; keys
// stay. It takes tenant:manage.
func (s *Store) EndTenantTokens(ctx context.Context, p Principal, tenant string) error {
	t, err := s.authorise(p, tenant, "", PermTenantManage)
	if err != nil {
		return err
	}
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		r, err := s.tenantStill(tx, t)
		if err != nil {
			return err
		}
		r.NotBefore = max(r.NotBefore+1, s.now().Unix())
		return firstError(
			setJSON(tx, kindTenant, u64(t.number), r),
			s.append(ctx, tx, t.number, event{actor: p.Name(), action: "tenant_tokens_revoked", resourceType: "tenant", resourceID: tenant}),
		)
	}, s.cat.refreshTenant(tenant))
	if err != nil {
		return fmt.Errorf("end the tokens of a tenant: %w", err)
	}
	return nil
}
