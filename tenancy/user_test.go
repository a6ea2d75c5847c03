package tenancy

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/tenancy/keyspace"
)

// cheap makes hashes that cost nothing, for tests that are not about their cost.
var cheap = hashCost{kib: 8, passes: 1}

const goodPassword = "correct horse battery"

func newUser(t testing.TB, s *Store, name string, system bool) User {
	t.Helper()
	u, err := s.CreateUser(ctxOf(t), admin(t, s), UserInput{Name: name, Password: goodPassword, System: system})
	require.NoError(t, err)
	require.Empty(t, u.OneTime)
	return u.User
}

func join(t testing.TB, s *Store, tenant string, in MemberInput) NewMember {
	t.Helper()
	if in.KBs == nil && in.All == nil {
		in.All = new(bool)
		*in.All = true
	}
	m, err := s.AddMember(ctxOf(t), admin(t, s), tenant, in)
	require.NoError(t, err)
	return m
}

func login(s *Store, t testing.TB, in SignIn) (Session, error) {
	t.Helper()
	if in.Password == "" {
		in.Password = goodPassword
	}
	return s.SignIn(ctxOf(t), in)
}

func mustLogin(t testing.TB, s *Store, in SignIn) (Session, Principal) {
	t.Helper()
	ses, err := login(s, t, in)
	require.NoError(t, err)
	p, err := s.Authenticate(ctxOf(t), Credential{Bearer: ses.Token})
	require.NoError(t, err)
	return ses, p
}

func isOut(t testing.TB, s *Store, ses Session, msg string) {
	t.Helper()
	_, err := s.Authenticate(ctxOf(t), Credential{Bearer: ses.Token})
	require.Equal(t, ErrUnauthenticated, err, msg)
}

// A sign-in gives the rights of the membership, for one tenant, and nothing else.
func TestSignIn(t *testing.T) {
	s, _ := open(t, Options{hashCost: cheap})
	found(t, s, "acme/main", "acme/side", "globex/main")
	newUser(t, s, "ada", false)
	newUser(t, s, "root", true)
	main := []string{"main"}

	ses, p := mustLogin(t, s, SignIn{User: "ada"})
	require.Equal(t, RoleAccount, ses.Role, "a member of nothing can do nothing")
	require.Empty(t, p.Permissions())
	_, err := s.Tenant(ctxOf(t), p, "acme")
	require.ErrorIs(t, err, ErrDenied)
	_, err = login(s, t, SignIn{User: "ada", Tenant: "acme"})
	require.ErrorIs(t, err, ErrDenied)
	_, err = login(s, t, SignIn{User: "ada", Tenant: "nobody"})
	require.ErrorIs(t, err, ErrDenied)

	join(t, s, "acme", MemberInput{User: "ada", Role: RoleEditor, KBs: &main})
	ses, p = mustLogin(t, s, SignIn{User: "ada"})
	require.Equal(t, Session{Token: ses.Token, Type: "bearer", ExpiresIn: 86400, User: "ada", TenantID: "acme", Role: RoleEditor}, ses)
	require.Equal(t, "user:ada", p.Name())
	enter(t, s, p, "acme/main", PermDocumentCreate)
	_, err = s.Enter(ctxOf(t), p, "acme", "side", PermQueryRun)
	require.ErrorIs(t, err, ErrDenied)
	_, err = s.Enter(ctxOf(t), p, "globex", "main", PermQueryRun)
	require.ErrorIs(t, err, ErrDenied)

	join(t, s, "globex", MemberInput{User: "ada", Role: RoleAdmin, Permissions: &[]Permission{PermQueryRun}})
	_, err = login(s, t, SignIn{User: "ada"})
	var f *FieldError
	require.ErrorAs(t, err, &f)
	require.Equal(t, "tenant_id", f.Field)
	require.Contains(t, f.Message, "acme, globex")
	_, p = mustLogin(t, s, SignIn{User: "ada", Tenant: "globex"})
	require.Equal(t, []Permission{PermQueryRun}, p.Permissions(), "a list narrows the role")

	ses, p = mustLogin(t, s, SignIn{User: "root"})
	require.True(t, ses.System && p.holds("", "", PermSystemAdmin))
	_, err = login(s, t, SignIn{User: "root", Tenant: "acme"})
	require.ErrorIs(t, err, ErrDenied, "a system admin is no member")

	// A knowledge base that is deleted and made again is another one.
	require.NoError(t, s.DeleteKB(ctxOf(t), admin(t, s), "acme", "main"))
	found(t, s, "acme/main")
	_, p = mustLogin(t, s, SignIn{User: "ada", Tenant: "acme"})
	ids, all := s.Reach(p)
	require.Empty(t, ids)
	require.False(t, all)
}

// Whatever is wrong, the answer is one and a hash was made: who asks learns nothing
// from either. That is what can be asserted of time; BenchmarkSignIn measures it.
func TestSignIn_TellsNothing(t *testing.T) {
	s, c := open(t, Options{hashCost: cheap})
	newUser(t, s, "ada", false)
	newUser(t, s, "off", false)
	_, err := s.UpdateUser(ctxOf(t), admin(t, s), "off", UserUpdate{IsActive: new(bool)})
	require.NoError(t, err)
	late, err := s.CreateUser(ctxOf(t), admin(t, s), UserInput{Name: "late"})
	require.NoError(t, err)
	c.add(oneTimeLife)
	for name, in := range map[string]SignIn{
		"wrong password":          {User: "ada", Password: "correct horse batterz"},
		"unknown account":         {User: "eve"},
		"a name nobody can have":  {User: "Ada\x00"},
		"no name":                 {},
		"an account that is off":  {User: "off"},
		"a one-time password old": {User: "late", Password: late.OneTime},
		"empty password":          {User: "ada", Password: " "},
	} {
		before := s.hasher.runs.Load()
		_, err := login(s, t, in)
		require.Equal(t, ErrUnauthenticated, err, name)
		require.Equal(t, before+1, s.hasher.runs.Load(), name)
	}
	before := s.hasher.runs.Load()
	mustLogin(t, s, SignIn{User: "ada"})
	require.Equal(t, before+1, s.hasher.runs.Load(), "and one for a success")
	c1, salt, sum, err := decodeHash(s.hasher.none)
	require.NoError(t, err)
	require.Equal(t, cheap, c1, "the hash of nobody costs what one of somebody does")
	require.Len(t, salt, saltBytes)
	require.Len(t, sum, hashBytes)
}

// Guesses are bounded by name and by address, whether or not the account exists, also
// when they come all at once; the right password waits like a wrong one; time frees.
func TestSignIn_Lockout(t *testing.T) {
	s, c := open(t, Options{hashCost: cheap})
	newUser(t, s, "ada", false)
	home, office := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7")
	guess := func(user string, from netip.Addr) error {
		_, err := login(s, t, SignIn{User: user, Password: "wrong wrong wrong", Addr: from})
		return err
	}
	for _, user := range []string{"ada", "nobody"} {
		for range accountTries {
			require.Equal(t, ErrUnauthenticated, guess(user, home))
		}
		var l *LockedError
		require.ErrorAs(t, guess(user, office), &l, "from anywhere: "+user)
		require.Equal(t, firstLock, l.RetryAfter())
	}
	_, err := login(s, t, SignIn{User: "ada", Addr: home})
	require.ErrorIs(t, err, ErrTooManyTries, "the right one waits too")
	c.add(firstLock)
	mustLogin(t, s, SignIn{User: "ada", Addr: home})
	for range accountTries {
		require.Equal(t, ErrUnauthenticated, guess("ada", office), "and then all is forgotten")
	}

	// Many at once are not all the first.
	c.add(24 * time.Hour)
	var admitted sync.Map
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if _, err := s.SignIn(ctxOf(t), SignIn{User: "bob", Password: "x", Addr: home}); err == ErrUnauthenticated {
				admitted.Store(i, true)
			}
		})
	}
	wg.Wait()
	n := 0
	admitted.Range(func(any, any) bool { n++; return true })
	require.LessOrEqual(t, n, accountTries)

	// A day of guessing without rest, one a second: what the comment promises.
	c.add(24 * time.Hour)
	n = 0
	for range 86_400 {
		if s.tries.take("ada", netip.Addr{}) == nil {
			n++
		}
		c.add(time.Second)
	}
	require.Less(t, n, 120)
	require.Greater(t, n, 50, "and the owner gets a chance")

	// An address has its own bound, whatever the names; its whole IPv6 network is one.
	n = 0
	for i := range 10_000 {
		at := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i >> 8), 15: byte(i)})
		if s.tries.take(fmt.Sprint("user", i), at) == nil {
			n++
		}
	}
	require.Equal(t, addressTries, n)
	require.NoError(t, s.tries.take("x", netip.MustParseAddr("2001:db8:0:1::1")), "the next network is another")
}

// What is remembered of guesses is bounded, and a clock that goes back locks nobody out.
func TestLockout_Bounds(t *testing.T) {
	c := newClock()
	l := newLockout(c.now)
	l.mostEach = 100
	for i := range 10_000 {
		require.NoError(t, l.take(fmt.Sprint(i), netip.Addr{}))
		require.LessOrEqual(t, len(l.young)+len(l.old), 200)
	}
	for range 60 {
		_ = l.take("ada", netip.Addr{})
		c.add(time.Minute)
	}
	c.add(-time.Hour * 24 * 365)
	var e *LockedError
	if err := l.take("ada", netip.Addr{}); err != nil {
		require.ErrorAs(t, err, &e)
		require.LessOrEqual(t, e.Wait, longestLock)
	}
	c.add(longestLock)
	require.NoError(t, l.take("ada", netip.Addr{}))
}

// 17: whatever changes an account or its membership ends the tokens that were made
// under it, within the same second too, and the next sign-in works at once.
func TestTokens_EndWithWhatTheyStandFor(t *testing.T) {
	dir := t.TempDir()
	s, c := open(t, Options{Dir: dir, hashCost: cheap})
	found(t, s, "acme/main")
	newUser(t, s, "ada", false)
	join(t, s, "acme", MemberInput{User: "ada", Role: RoleAdmin})
	ctx, root := ctxOf(t), admin(t, s)
	in := SignIn{User: "ada", Tenant: "acme"}
	yes, no, viewer, boss := true, false, RoleViewer, RoleAdmin
	for name, act := range map[string]func(own Principal) error{
		"own password changed": func(own Principal) error {
			if err := s.ChangePassword(ctx, own, goodPassword, goodPassword+"!", netip.Addr{}); err != nil {
				return err
			}
			p := goodPassword
			_, err := s.UpdateUser(ctx, root, "ada", UserUpdate{Password: &p})
			return err
		},
		"own tokens ended":   func(own Principal) error { return s.EndUserTokens(ctx, own, "ada") },
		"ended by an admin":  func(Principal) error { return s.EndUserTokens(ctx, root, "ada") },
		"the tenant's ended": func(own Principal) error { return s.EndTenantTokens(ctx, own, "acme") },
		"role changed": func(Principal) error {
			_, err := s.UpdateMember(ctx, root, "acme", "ada", MemberUpdate{Role: &viewer})
			return err
		},
		"made a system admin": func(Principal) error { _, err := s.UpdateUser(ctx, root, "ada", UserUpdate{System: &yes}); return err },
		"disabled and enabled": func(Principal) error {
			if _, err := s.UpdateUser(ctx, root, "ada", UserUpdate{IsActive: &no}); err != nil {
				return err
			}
			_, err := s.UpdateUser(ctx, root, "ada", UserUpdate{IsActive: &yes})
			return err
		},
		"removed and added again": func(Principal) error {
			if err := s.RemoveMember(ctx, root, "acme", "ada"); err != nil {
				return err
			}
			join(t, s, "acme", MemberInput{User: "ada", Role: RoleAdmin})
			return nil
		},
		"deleted and made again": func(Principal) error {
			if err := s.DeleteUser(ctx, root, "ada"); err != nil {
				return err
			}
			newUser(t, s, "ada", false)
			join(t, s, "acme", MemberInput{User: "ada", Role: RoleAdmin})
			return nil
		},
		"the tenant deleted and made again": func(Principal) error {
			if err := s.DeleteTenant(ctx, root, "acme"); err != nil {
				return err
			}
			found(t, s, "acme/main")
			join(t, s, "acme", MemberInput{User: "ada", Role: RoleAdmin})
			return nil
		},
	} {
		ses, own := mustLogin(t, s, in)
		require.NoError(t, act(own), name)
		isOut(t, s, ses, name)
		if name == "role changed" {
			_, err := s.UpdateMember(ctx, root, "acme", "ada", MemberUpdate{Role: &boss})
			require.NoError(t, err)
		}
		mustLogin(t, s, in)
		c.add(time.Second)
		root = admin(t, s)
	}
	// All of it holds after a restart.
	ses, _ := mustLogin(t, s, in)
	before := ses
	require.NoError(t, s.EndUserTokens(ctx, root, "ada"))
	ses, _ = mustLogin(t, s, in)
	require.NoError(t, s.Close())
	s, err := Open(Options{Dir: dir, Now: c.now, hashCost: cheap})
	require.NoError(t, err)
	defer s.Close()
	isOut(t, s, before, "after a restart")
	_, err = s.Authenticate(ctx, Credential{Bearer: ses.Token})
	require.NoError(t, err)
	requireWhole(t, s)
	var acts []string
	for _, r := range trailOf(t, s, "") {
		acts = append(acts, r.Action)
	}
	for _, want := range []string{"user_created", "user_modified", "user_deleted", "password_changed", "user_tokens_revoked", "signed_in"} {
		require.Contains(t, acts, want)
	}
}

// An invited account can do one thing: choose its password, within its time.
func TestInvite(t *testing.T) {
	s, c := open(t, Options{hashCost: cheap})
	found(t, s, "acme/main")
	ctx, root := ctxOf(t), admin(t, s)
	_, err := s.AddMember(ctx, root, "acme", MemberInput{User: "ben", Role: RoleViewer, All: new(true)})
	require.ErrorIs(t, err, ErrBadInput, "nobody is invited by a slip of the pen")
	m := join(t, s, "acme", MemberInput{User: "ben", Role: RoleViewer, Invite: true})
	require.NotEmpty(t, m.OneTime)
	require.Equal(t, []Permission{PermKBAccess, PermDocumentRead, PermQueryRun}, m.Permissions)

	ses, p := mustLogin(t, s, SignIn{User: "ben", Password: m.OneTime})
	require.True(t, ses.MustChange)
	require.EqualValues(t, 15*60, ses.ExpiresIn)
	_, err = s.Enter(ctx, p, "acme", "main", PermQueryRun)
	require.ErrorIs(t, err, ErrDenied)
	for _, bad := range []string{"short", "bennybennyben", strings.Repeat("ab", 20), strings.Repeat("x", 300), m.OneTime} {
		err := s.ChangePassword(ctx, p, m.OneTime, bad, netip.Addr{})
		var f *FieldError
		require.ErrorAs(t, err, &f, bad)
		require.Equal(t, "new", f.Field)
	}
	const chosen = "benny and his bicycle" // three letters of a name may stand in a password
	require.NoError(t, s.ChangePassword(ctx, p, m.OneTime, chosen, netip.Addr{}))
	isOut(t, s, ses, "the password was changed")
	ses, p = mustLogin(t, s, SignIn{User: "ben", Password: chosen})
	require.False(t, ses.MustChange)
	enter(t, s, p, "acme/main", PermQueryRun)
	err = s.ChangePassword(ctx, p, m.OneTime, goodPassword, netip.Addr{})
	require.ErrorIs(t, err, ErrBadInput, "the one-time password is spent")
	require.ErrorIs(t, s.ChangePassword(ctx, root, "a", goodPassword, netip.Addr{}), ErrBadInput, "a token without an account has no password")
	require.ErrorIs(t, s.ChangePassword(ctx, Principal{}, "a", goodPassword, netip.Addr{}), ErrBadInput)

	again, err := s.UpdateUser(ctx, root, "ben", UserUpdate{ResetPassword: true})
	require.NoError(t, err)
	require.NotEmpty(t, again.OneTime)
	isOut(t, s, ses, "reset")
	c.add(oneTimeLife - time.Second)
	mustLogin(t, s, SignIn{User: "ben", Password: again.OneTime})
	// Nothing stored holds a password.
	require.NoError(t, s.db.View(func(tx *keyspace.Tx) error {
		for kind := byte(1); kind < 255; kind++ {
			err := tx.Scan(keyspace.System, kind, keyspace.Scan{}, func(_, value []byte) error {
				require.NotContains(t, string(value), again.OneTime)
				require.NotContains(t, string(value), "bicycle")
				return nil
			})
			require.NoError(t, err)
		}
		return nil
	}))
}

// Members are granted within what the caller holds and reaches: all of the result, also
// when only a part of it changes.
func TestMembers_NobodyGrantsWhatTheyDoNotHold(t *testing.T) {
	s, _ := open(t, Options{hashCost: cheap})
	found(t, s, "acme/main", "acme/side", "globex/main")
	ctx := ctxOf(t)
	for _, u := range []string{"ada", "ben", "eve"} {
		newUser(t, s, u, false)
	}
	main, side := []string{"main"}, []string{"side"}
	half := []Permission{PermTenantMembers, PermKBAccess, PermQueryRun, PermDocumentRead}
	join(t, s, "acme", MemberInput{User: "ada", Role: RoleAdmin, KBs: &main, Permissions: &half})
	_, ada := mustLogin(t, s, SignIn{User: "ada"})
	all, boss, viewer := true, RoleAdmin, RoleViewer
	for name, in := range map[string]MemberInput{
		"a stronger role":        {User: "ben", Role: RoleEditor, KBs: &main},
		"her own role, whole":    {User: "ben", Role: RoleAdmin, KBs: &main},
		"a list with more":       {User: "ben", Role: RoleAdmin, KBs: &main, Permissions: &[]Permission{PermQueryRun, PermTenantManage}},
		"another knowledge base": {User: "ben", Role: RoleViewer, KBs: &side},
		"all of them":            {User: "ben", Role: RoleViewer, All: &all},
		"all by star":            {User: "ben", Role: RoleViewer, KBs: &[]string{"*"}},
	} {
		_, err := s.AddMember(ctx, ada, "acme", in)
		require.ErrorIs(t, err, ErrDenied, name)
	}
	for name, in := range map[string]MemberInput{
		"system":                {User: "ben", Role: RoleSystem, KBs: &main},
		"account":               {User: "ben", Role: RoleAccount, KBs: &main},
		"unknown role":          {User: "ben", Role: "owner", KBs: &main},
		"a list over the role":  {User: "ben", Role: RoleViewer, KBs: &main, Permissions: &[]Permission{PermDocumentCreate}},
		"nowhere said":          {User: "ben", Role: RoleViewer},
		"both said":             {User: "ben", Role: RoleViewer, KBs: &main, All: &all},
		"a name in capitals":    {User: "Ben", Role: RoleViewer, KBs: &main},
		"no such account":       {User: "zoe", Role: RoleViewer, KBs: &main},
		"no such base in reach": {User: "ben", Role: RoleViewer, KBs: &[]string{"A"}},
	} {
		_, err := s.AddMember(ctx, ada, "acme", in)
		require.ErrorIs(t, err, ErrBadInput, name)
	}
	_, err := s.AddMember(ctx, ada, "globex", MemberInput{User: "ben", Role: RoleViewer, KBs: &main})
	require.ErrorIs(t, err, ErrDenied)
	_, err = s.AddMember(ctx, ada, "acme", MemberInput{User: "ben", Role: RoleViewer, KBs: &main})
	require.NoError(t, err)
	_, err = s.AddMember(ctx, ada, "acme", MemberInput{User: "ben", Role: RoleViewer, KBs: &main})
	require.ErrorIs(t, err, ErrConflict)

	join(t, s, "acme", MemberInput{User: "eve", Role: RoleEditor})
	for name, in := range map[string]MemberUpdate{
		"a stronger role":              {Role: &boss},
		"more permissions":             {Permissions: &[]Permission{PermDocumentCreate}},
		"a weaker role, but all bases": {Role: &viewer},
		"fewer bases, a stronger role": {KBs: &main},
	} {
		_, err := s.UpdateMember(ctx, ada, "acme", "eve", in)
		require.ErrorIs(t, err, ErrDenied, name)
	}
	got, err := s.UpdateMember(ctx, ada, "acme", "eve", MemberUpdate{Role: &viewer, KBs: &main})
	require.NoError(t, err)
	require.Equal(t, []Permission{PermKBAccess, PermDocumentRead, PermQueryRun}, got.Permissions)
	_, err = s.UpdateMember(ctx, ada, "acme", "zoe", MemberUpdate{})
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorIs(t, s.RemoveMember(ctx, ada, "acme", "zoe"), ErrNotFound)
	require.ErrorIs(t, s.RemoveMember(ctx, ada, "globex", "ben"), ErrDenied)
	_, ben := mustLogin(t, s, SignIn{User: "ben"})
	require.ErrorIs(t, s.RemoveMember(ctx, ben, "acme", "ada"), ErrDenied)
	_, err = s.Users(ctx, ada, PageRequest{})
	require.ErrorIs(t, err, ErrDenied)

	page, err := s.Members(ctx, ada, "acme", PageRequest{Limit: 2})
	require.NoError(t, err)
	require.Equal(t, 3, page.Total)
	require.Equal(t, "ben", page.NextCursor)
	page, err = s.Members(ctx, ada, "acme", PageRequest{Cursor: page.NextCursor})
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	require.Equal(t, "eve", page.Items[0].User)
	users, err := s.Users(ctx, admin(t, s), PageRequest{})
	require.NoError(t, err)
	require.Equal(t, []string{"acme"}, users.Items[0].Tenants)
}

// Accounts and passwords in other forms than they must have.
func TestCreateUser_Refuses(t *testing.T) {
	s, _ := open(t, Options{hashCost: cheap})
	newUser(t, s, "ada@example.org", false)
	_, err := s.CreateUser(ctxOf(t), admin(t, s), UserInput{Name: "ada@example.org"})
	require.ErrorIs(t, err, ErrConflict)
	for _, name := range []string{"", "Ada", "a b", "a/b", "é", "a\x00", strings.Repeat("a", 65)} {
		_, err := s.CreateUser(ctxOf(t), admin(t, s), UserInput{Name: name})
		require.ErrorIs(t, err, ErrBadInput, name)
	}
	for _, password := range []string{"short", "elevenchars", strings.Repeat("a", 40), "x-bob.smith-12345", "\xff\xfe aaaaaaaaaaaabcdef", strings.Repeat("long ", 60)} {
		_, err := s.CreateUser(ctxOf(t), admin(t, s), UserInput{Name: "bob.smith", Password: password})
		require.ErrorIs(t, err, ErrBadInput, password)
	}
	require.ErrorIs(t, s.DeleteUser(ctxOf(t), admin(t, s), "nobody"), ErrNotFound)
}

// A hash that is not ours, or asks for the machine, is damage and nothing else.
func TestHash_Damaged(t *testing.T) {
	h := newHasher(cheap)
	good, err := h.hash(t.Context(), "p")
	require.NoError(t, err)
	ok, err := h.matches(t.Context(), "p", good)
	require.NoError(t, err)
	require.True(t, ok)
	for _, bad := range []string{"x", good + "$", good[:len(good)-1], strings.Replace(good, "argon2id", "argon2i", 1),
		strings.Replace(good, "m=8", "m=9999999", 1), strings.Replace(good, "t=1", "t=0", 1), strings.Replace(good, "t=1", "t=99999", 1)} {
		_, err := h.matches(t.Context(), "p", bad)
		require.ErrorIs(t, err, ErrDamaged, bad)
	}
	// As many as may wait do; one more is told to come back.
	h.slots <- struct{}{}
	for len(h.slots) < cap(h.slots) {
		h.slots <- struct{}{}
	}
	h.waiting.Store(maxHashWaiting)
	_, err = h.hash(t.Context(), "p")
	require.ErrorIs(t, err, ErrBusy)
	require.Equal(t, hashCost{kib: 19456, passes: 2}, newHasher(hashCost{}).cost, "the least that OWASP allows")
}

// BenchmarkSignIn says what a refusal takes for an account that is there and for one
// that is not: the two lines must be alike.
func BenchmarkSignIn(b *testing.B) {
	s, c := open(b, Options{})
	newUser(b, s, "ada", false)
	for _, name := range []string{"ada", "nobody"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.SignIn(ctxOf(b), SignIn{User: name, Password: "wrong wrong wrong"}); err != ErrUnauthenticated {
					b.Fatal(err)
				}
				c.add(longestLock)
			}
		})
	}
}
