package tenancy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/tenancy/keyspace"
)

func newKey(t testing.TB, s *Store, by Principal, tenant string, in KeyInput) NewKey {
	t.Helper()
	if in.Name == "" {
		in.Name = "a key"
	}
	k, err := s.CreateKey(ctxOf(t), by, tenant, in)
	require.NoError(t, err)
	return k
}

func signIn(t testing.TB, s *Store, k NewKey) Principal {
	t.Helper()
	p, err := s.Authenticate(ctxOf(t), Credential{APIKey: k.Secret})
	require.NoError(t, err)
	return p
}

// Nobody grants what they do not hold, nor on what they do not reach.
func TestCreateKey_CannotExceedItsMaker(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main", "acme/side", "globex/main")
	ctx, root := ctxOf(t), admin(t, s)
	maker := signIn(t, s, newKey(t, s, root, "acme", KeyInput{
		KBs: &[]string{"main"}, Permissions: []Permission{PermTenantManage, PermQueryRun, PermKBAccess, PermDocumentRead},
	}))
	main, side, star := []string{"main"}, []string{"side"}, []string{"*"}
	for name, in := range map[string]KeyInput{
		"another permission":  {KBs: &main, Permissions: []Permission{PermDocumentCreate}},
		"one more permission": {KBs: &main, Permissions: []Permission{PermQueryRun, PermDocumentDelete}},
		"another kb":          {KBs: &side},
		"another kb by alias": {KB: "side"},
		"all kbs":             {},
		"all kbs by star":     {KBs: &star},
	} {
		in.Name = name
		_, err := s.CreateKey(ctx, maker, "acme", in)
		require.ErrorIs(t, err, ErrDenied, name)
	}
	_, err := s.CreateKey(ctx, maker, "globex", KeyInput{Name: "k", KBs: &main})
	require.ErrorIs(t, err, ErrDenied)
	_, err = s.CreateKey(ctx, member(t, s, "acme", RoleEditor), "acme", KeyInput{Name: "k"})
	require.ErrorIs(t, err, ErrDenied)
	k := newKey(t, s, maker, "acme", KeyInput{KB: "main"})
	require.Equal(t, []Permission{PermKBAccess, PermQueryRun}, k.Permissions)
	p := signIn(t, s, k)
	enter(t, s, p, "acme/main", PermQueryRun)
	_, err = s.Enter(ctx, p, "acme", "main", PermDocumentRead)
	require.ErrorIs(t, err, ErrDenied)
	none := signIn(t, s, newKey(t, s, root, "acme", KeyInput{KBs: &[]string{}}))
	_, err = s.Enter(ctx, none, "acme", "main", PermQueryRun)
	require.ErrorIs(t, err, ErrDenied)
	page, err := s.KBs(ctx, none, "acme", PageRequest{})
	require.NoError(t, err)
	require.Empty(t, page.Items)
}

// A key is refused from the call after its revocation on, whoever is using it; a key
// of one tenant cannot be revoked from another.
func TestDeleteKey(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main", "globex/main")
	ctx, root := ctxOf(t), admin(t, s)
	k := newKey(t, s, root, "acme", KeyInput{})
	signIn(t, s, k)
	require.ErrorIs(t, s.DeleteKey(ctx, member(t, s, "globex", RoleAdmin), "acme", k.ID), ErrDenied)
	require.ErrorIs(t, s.DeleteKey(ctx, member(t, s, "globex", RoleAdmin), "globex", k.ID), ErrNotFound)
	require.ErrorIs(t, s.DeleteKey(ctx, root, "globex", k.ID), ErrNotFound)
	require.ErrorIs(t, s.DeleteKey(ctx, root, "acme", "nope"), ErrNotFound)
	signIn(t, s, k)
	require.NoError(t, s.DeleteKey(ctx, root, "acme", k.ID))
	_, err := s.Authenticate(ctx, Credential{APIKey: k.Secret})
	require.Equal(t, ErrUnauthenticated, err)
	require.ErrorIs(t, s.DeleteKey(ctx, root, "acme", k.ID), ErrNotFound)
}

// Keys expire by themselves, 90 days after they were made unless they say otherwise.
func TestKey_Expires(t *testing.T) {
	s, c := open(t, Options{})
	found(t, s, "acme/main")
	ctx, root := ctxOf(t), admin(t, s)
	at := func(d time.Duration) *time.Time { x := c.now().Add(d); return &x }
	usual, short := newKey(t, s, root, "acme", KeyInput{}), newKey(t, s, root, "acme", KeyInput{ExpiresAt: at(time.Hour)})
	require.Equal(t, c.now().AddDate(0, 0, 90), usual.ExpiresAt)
	for name, in := range map[string]KeyInput{
		"in the past":    {ExpiresAt: at(-time.Second)},
		"now":            {ExpiresAt: at(0)},
		"too far":        {ExpiresAt: at(367 * 24 * time.Hour)},
		"negative":       {ExpiresDays: -1},
		"too many days":  {ExpiresDays: maxKeyDays + 1},
		"both":           {ExpiresDays: 1, ExpiresAt: at(time.Hour)},
		"no permissions": {Permissions: []Permission{}},
		"unknown kb":     {KB: "none"},
		"bad kb":         {KB: "A"},
		"both kb fields": {KB: "main", KBs: &[]string{"main"}},
		"a system right": {Permissions: []Permission{PermSystemAdmin}},
		"a name twice":   {Permissions: []Permission{PermQueryRun, PermQueryRun}},
	} {
		in.Name = name
		_, err := s.CreateKey(ctx, root, "acme", in)
		var f *FieldError
		require.ErrorAs(t, err, &f, name)
	}
	c.add(time.Hour - time.Nanosecond)
	signIn(t, s, short)
	c.add(time.Nanosecond)
	_, err := s.Authenticate(ctx, Credential{APIKey: short.Secret})
	require.Equal(t, ErrUnauthenticated, err)
	signIn(t, s, usual)
	c.add(90 * 24 * time.Hour)
	_, err = s.Authenticate(ctx, Credential{APIKey: usual.Secret})
	require.Equal(t, ErrUnauthenticated, err)
}

// A key in any other spelling is no key.
func TestKey_Hostile(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main")
	k := newKey(t, s, admin(t, s), "acme", KeyInput{}).Secret
	require.Len(t, k, keyChars)
	id := k[3:19]
	for _, bad := range []string{
		"sk-", k[:len(k)-1], k + "A", k + "\n", " " + k, strings.ToUpper(k), "sk_" + k[3:], k[3:], k[:19] + "_" + k[20:],
		k[:3] + strings.Repeat("a", 16) + k[19:], k[:len(k)-1] + "\x00", k[:30] + "\n" + k[31:], k[:30] + "=" + k[31:],
		"sk-" + id + "-" + strings.Repeat("A", 43), "sk-" + id + "-" + strings.Repeat("A", 1<<20),
	} {
		_, err := s.Authenticate(ctxOf(t), Credential{APIKey: bad})
		require.Equal(t, ErrUnauthenticated, err, "%.80q", bad)
	}
	for i := 20; i < len(k); i++ { // one character changed: also in the unused bits of the last
		for _, c := range []byte("AB_") {
			if k[i] == c {
				continue
			}
			_, err := s.Authenticate(ctxOf(t), Credential{APIKey: k[:i] + string(c) + k[i+1:]})
			require.Equal(t, ErrUnauthenticated, err)
		}
	}
	// Nothing that is stored holds the secret.
	require.NoError(t, s.db.View(func(tx *keyspace.Tx) error {
		for kind := byte(1); kind < 255; kind++ {
			err := tx.Scan(keyspace.System, kind, keyspace.Scan{}, func(_, value []byte) error {
				require.NotContains(t, string(value), k[20:])
				return nil
			})
			require.NoError(t, err)
		}
		return nil
	}))
}

// Lists go by pages, in order, whole, and never over a limit.
func TestKeys_Pages(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main", "globex/main")
	root := admin(t, s)
	want := map[string]bool{}
	for i := range 45 {
		want[newKey(t, s, root, "acme", KeyInput{Name: fmt.Sprint("key ", i)}).ID] = true
		newKey(t, s, root, "globex", KeyInput{})
	}
	got := map[string]bool{}
	last := ""
	for cursor := ""; ; {
		page, err := s.Keys(ctxOf(t), root, "acme", PageRequest{Cursor: cursor})
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Items), 20)
		require.Equal(t, 45, page.Total)
		for _, k := range page.Items {
			require.Greater(t, k.ID, last)
			last, got[k.ID] = k.ID, true
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	require.Equal(t, want, got)
	for _, q := range []PageRequest{{Limit: -1}, {Limit: 101}, {Cursor: "A/"}, {Cursor: strings.Repeat("a", 300)}} {
		_, err := s.Keys(ctxOf(t), root, "acme", q)
		require.ErrorIs(t, err, ErrBadInput)
	}
}

func FuzzParseKey(f *testing.F) {
	secret := randomBytes(keySecretBytes)
	f.Add(keyText("abcdefghijklmnop", secret))
	f.Add("sk-")
	f.Fuzz(func(t *testing.T, text string) {
		id, secret, ok := parseKey(text)
		if ok {
			require.Equal(t, text, keyText(id, secret), "one key has one spelling")
		}
	})
}
