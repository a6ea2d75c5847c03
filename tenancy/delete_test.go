package tenancy

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/tenancy/keyspace"
)

// swept waits for the cleaner and does here what it has not done: it is the same code,
// one at a time.
func swept(t testing.TB, s *Store) {
	t.Helper()
	require.NoError(t, s.cleaner.clean(t.Context()))
}

// left returns what a dead knowledge base still holds, and whether its number is banned.
func left(t testing.TB, s *Store, kb uint64) (records int64, banned bool) {
	t.Helper()
	err := s.db.View(func(tx *keyspace.Tx) error {
		u, err := tx.Usage(dataOf(kb))
		records = u.Records
		return err
	})
	if banned = errors.Is(err, keyspace.ErrBanned); !banned {
		require.NoError(t, err)
	}
	all, err := s.db.Namespaces(t.Context())
	require.NoError(t, err)
	require.Equal(t, records != 0, slices.Contains(all, dataOf(kb)))
	return records, banned
}

// A Space that was warm when its knowledge base was deleted is refused, a new one of
// the same name shares nothing with it, and its neighbour does not notice.
func TestDeleteKB_WarmSpaceIsRefused(t *testing.T) {
	s, _ := open(t, Options{holdCleaner: true})
	found(t, s, "acme/main", "acme/side")
	ctx, root := ctxOf(t), admin(t, s)
	own := member(t, s, "acme", RoleAdmin)
	warm, reading := enter(t, s, own, "acme/main", PermDocumentCreate), enter(t, s, own, "acme/main", PermQueryRun)
	neighbour := enter(t, s, own, "acme/side", PermDocumentCreate)
	maintained, err := s.Maintain(ctx, "test", "acme", "main")
	require.NoError(t, err)
	put(t, warm, "k", "old")
	put(t, neighbour, "k", "neighbour")
	var told []SpaceID
	s.OnKBGone(func(id SpaceID) {
		require.ErrorIs(t, warm.View(ctx, func(*Tx) error { return nil }), ErrKBGone, "refused before anybody is told")
		told = append(told, id)
	})
	require.NoError(t, s.DeleteKB(ctx, own, "acme", "main"))
	require.Equal(t, []SpaceID{warm.ID()}, told)
	for _, space := range []*Space{warm, reading, maintained} {
		require.ErrorIs(t, space.View(ctx, func(*Tx) error { t.Error("ran"); return nil }), ErrKBGone)
		_, err := space.Usage(ctx)
		require.ErrorIs(t, err, ErrKBGone)
		require.ErrorIs(t, space.Verify(ctx), ErrKBGone)
	}
	for _, space := range []*Space{warm, maintained} {
		require.ErrorIs(t, space.Commit(ctx, func(*Tx) error { t.Error("ran"); return nil }), ErrKBGone)
	}
	_, err = s.Enter(ctx, own, "acme", "main", PermQueryRun)
	require.ErrorIs(t, err, ErrNoKB)
	require.ErrorIs(t, s.DeleteKB(ctx, own, "acme", "main"), ErrNoKB)
	_, err = s.Maintain(ctx, "test", "acme", "main")
	require.ErrorIs(t, err, ErrNoKB)

	found(t, s, "acme/main")
	again := enter(t, s, root, "acme/main", PermDocumentCreate)
	require.NotEqual(t, warm.ID(), again.ID())
	_, err = get(t, again, "k")
	require.ErrorIs(t, err, ErrNotFound)
	put(t, again, "k", "new")
	require.ErrorIs(t, warm.View(ctx, func(*Tx) error { return nil }), ErrKBGone)

	records, banned := left(t, s, warm.kb)
	require.NotZero(t, records)
	require.False(t, banned)
	swept(t, s)
	records, banned = left(t, s, warm.kb)
	require.Zero(t, records)
	require.True(t, banned)
	for space, want := range map[*Space]string{again: "new", neighbour: "neighbour"} {
		got, err := get(t, space, "k")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// A deletion that was interrupted goes on at the next start, whatever was done of it.
func TestOpen_ResumesDeletion(t *testing.T) {
	dir := t.TempDir()
	s, c := open(t, Options{Dir: dir, holdCleaner: true})
	found(t, s, "acme/main", "acme/side", "globex/main")
	ctx, root := ctxOf(t), admin(t, s)
	space := enter(t, s, root, "acme/main", PermDocumentCreate)
	for i := range 40 {
		require.NoError(t, space.Commit(ctx, func(tx *Tx) error {
			for j := range 50 {
				if err := tx.Set('D', fmt.Append(nil, i, j), make([]byte, 100)); err != nil {
					return err
				}
			}
			_, err := tx.AddJob(nil)
			return err
		}))
	}
	stays := enter(t, s, root, "globex/main", PermDocumentCreate)
	put(t, stays, "k", "v")
	require.NoError(t, s.DeleteKB(ctx, root, "acme", "main"))
	key := newKey(t, s, root, "acme", KeyInput{})
	require.NoError(t, s.DeleteTenant(ctx, root, "acme"))
	counts := requireWhole(t, s)
	require.EqualValues(t, 2, counts.Unswept)
	require.EqualValues(t, 40, counts.Jobs)
	require.EqualValues(t, 1, counts.Tenants)
	require.NoError(t, s.Close())

	s, err := Open(Options{Dir: dir, Now: c.now})
	require.NoError(t, err)
	defer s.Close()
	swept(t, s)
	counts = requireWhole(t, s)
	require.Zero(t, counts.Unswept)
	require.Zero(t, counts.Jobs)
	require.Zero(t, counts.Keys)
	records, banned := left(t, s, space.kb)
	require.Zero(t, records)
	require.True(t, banned)
	_, err = s.Authenticate(ctx, Credential{APIKey: key.Secret})
	require.Equal(t, ErrUnauthenticated, err)
	got, err := get(t, enter(t, s, admin(t, s), "globex/main", PermQueryRun), "k")
	require.NoError(t, err)
	require.Equal(t, "v", got)
	require.NoError(t, s.db.View(func(tx *keyspace.Tx) error {
		_, err := tx.Get(keyspace.System, kindKBSwept, u64(space.kb))
		return err
	}), "the tombstone stays for backups")
	err = s.db.Commit(ctx, func(tx *keyspace.Tx) error { return tx.Set(dataOf(space.kb), 'D', []byte("k"), nil) })
	require.ErrorIs(t, err, keyspace.ErrBanned, "the number is of no use any more")
}

// A tenant that was being buried when the process died has no door left, and the
// burial ends at the next start.
func TestOpen_ResumesTenantDeletion(t *testing.T) {
	dir := t.TempDir()
	s, c := open(t, Options{Dir: dir, holdCleaner: true})
	found(t, s, "acme/main")
	ctx, root := ctxOf(t), admin(t, s)
	key, own := newKey(t, s, root, "acme", KeyInput{}), member(t, s, "acme", RoleAdmin)
	number := s.cat.tenant("acme").number
	// The first of the deletion's commits, and no more.
	require.NoError(t, s.db.Commit(ctx, func(tx *keyspace.Tx) error {
		return firstError(
			tx.Set(keyspace.System, kindSequence, []byte(seqTenants), u64(0)),
			setJSON(tx, kindTenantGone, u64(number), tombstone{Tenant: number, TenantID: "acme"}),
			tx.Delete(keyspace.System, kindTenant, u64(number)),
			tx.Delete(keyspace.System, kindTenantID, []byte("acme")),
		)
	}))
	require.NoError(t, s.Close())
	s, err := Open(Options{Dir: dir, Now: c.now, holdCleaner: true})
	require.NoError(t, err)
	defer s.Close()
	requireWhole(t, s)
	_, err = s.Enter(ctx, own, "acme", "main", PermQueryRun)
	require.ErrorIs(t, err, ErrDenied)
	_, err = s.Enter(ctx, admin(t, s), "acme", "main", PermQueryRun)
	require.ErrorIs(t, err, ErrNoTenant)
	_, err = s.Authenticate(ctx, Credential{APIKey: key.Secret})
	require.Equal(t, ErrUnauthenticated, err)
	swept(t, s)
	counts := requireWhole(t, s)
	require.Zero(t, counts.Keys)
	require.Zero(t, counts.Unswept)
}

// Deleting a tenant ends its knowledge bases, keys and tokens before it is answered.
func TestDeleteTenant(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/a", "acme/b", "globex/a")
	ctx, root := ctxOf(t), admin(t, s)
	own, key := member(t, s, "acme", RoleAdmin), newKey(t, s, root, "acme", KeyInput{})
	other := newKey(t, s, root, "globex", KeyInput{})
	a, b := enter(t, s, own, "acme/a", PermDocumentCreate), enter(t, s, own, "acme/b", PermDocumentCreate)
	told := map[SpaceID]bool{}
	s.OnKBGone(func(id SpaceID) { told[id] = true })
	require.ErrorIs(t, s.DeleteTenant(ctx, own, "acme"), ErrDenied)
	require.NoError(t, s.DeleteTenant(ctx, root, "acme"))
	require.Equal(t, map[SpaceID]bool{a.ID(): true, b.ID(): true}, told)
	for _, space := range []*Space{a, b} {
		require.ErrorIs(t, space.Commit(ctx, func(*Tx) error { return nil }), ErrKBGone)
	}
	_, err := s.Authenticate(ctx, Credential{APIKey: key.Secret})
	require.Equal(t, ErrUnauthenticated, err)
	signIn(t, s, other)
	require.ErrorIs(t, s.DeleteTenant(ctx, root, "acme"), ErrNoTenant)
	_, err = s.Tenant(ctx, own, "acme")
	require.ErrorIs(t, err, ErrDenied)
}

// A key or a token for a knowledge base that was deleted is worth nothing in a later one
// of that id: it sees what it saw while there was none, and hands out no rights there.
func TestDeleteKB_RightsEndWithIt(t *testing.T) {
	dir := t.TempDir()
	s, c := open(t, Options{Dir: dir})
	found(t, s, "acme/main", "acme/side")
	ctx, root := ctxOf(t), admin(t, s)
	main := []string{"main"}
	all := []Permission{PermTenantManage, PermKBAccess, PermKBManage, PermKBDelete, PermQueryRun}
	limited := newKey(t, s, root, "acme", KeyInput{KBs: &[]string{"side", "main"}, Permissions: all})
	whole := newKey(t, s, root, "acme", KeyInput{Permissions: all})
	token, err := s.MintToken(TokenRequest{Subject: "ada", Tenant: "acme", Role: RoleAdmin, KBs: main})
	require.NoError(t, err)
	reach := func(s *Store, p Principal) (listed []string, inMain error) {
		_, inMain = s.Enter(ctx, p, "acme", "main", PermQueryRun)
		page, err := s.KBs(ctx, p, "acme", PageRequest{})
		require.NoError(t, err)
		for _, kb := range page.Items {
			listed = append(listed, kb.ID)
		}
		return listed, inMain
	}
	listed, inMain := reach(s, signIn(t, s, limited))
	require.NoError(t, inMain)
	require.Equal(t, []string{"main", "side"}, listed)

	require.NoError(t, s.DeleteKB(ctx, root, "acme", "main"))
	c.add(time.Second)
	found(t, s, "acme/main")
	require.NoError(t, s.Close())
	s, err = Open(Options{Dir: dir, Now: c.now})
	require.NoError(t, err)
	defer s.Close()
	bearer, err := s.Authenticate(ctx, Credential{Bearer: token})
	require.NoError(t, err)
	for name, old := range map[string]Principal{"key": signIn(t, s, limited), "token": bearer} {
		t.Run(name, func(t *testing.T) {
			listed, inMain := reach(s, old)
			require.ErrorIs(t, inMain, ErrNoKB)
			require.NotContains(t, listed, "main")
			_, err := s.KB(ctx, old, "acme", "main")
			require.ErrorIs(t, err, ErrNoKB)
			_, err = s.UpdateKB(ctx, old, "acme", "main", KBUpdate{})
			require.ErrorIs(t, err, ErrNoKB)
			require.ErrorIs(t, s.DeleteKB(ctx, old, "acme", "main"), ErrNoKB)
			_, err = s.CreateKey(ctx, old, "acme", KeyInput{Name: "a key", KBs: &main, Permissions: []Permission{PermKBAccess}})
			require.ErrorContains(t, err, "no such knowledge base")
		})
	}
	for name, p := range map[string]Principal{
		"a key for all": signIn(t, s, whole), "a new token": member(t, s, "acme", RoleViewer, "main"),
		"a new key": signIn(t, s, newKey(t, s, admin(t, s), "acme", KeyInput{KBs: &main})),
	} {
		listed, inMain := reach(s, p)
		require.NoError(t, inMain, name)
		require.Contains(t, listed, "main", name)
	}
}

// The cleaner rests longer when its batches take long, and is neither faster than it may
// be at rest nor slower than it must be on a busy machine.
func TestRestAfter(t *testing.T) {
	perSecond := func(took time.Duration) float64 { return sweepBatch / (took + restAfter(took)).Seconds() }
	require.LessOrEqual(t, perSecond(0), 2_000.0)
	require.Greater(t, perSecond(time.Millisecond), 1_900.0)
	require.Greater(t, perSecond(100*time.Millisecond), 900.0)
	for took, want := range map[time.Duration]time.Duration{
		0: leastRest, time.Millisecond: leastRest, 30 * time.Millisecond: 270 * time.Millisecond, time.Minute: mostRest,
	} {
		require.Equal(t, want, restAfter(took), took)
	}
}

// A knowledge base with more records than many batches is swept whole after a kill in
// the middle, and its counter with it, whatever else is written meanwhile.
func TestCleaner_GoesOnInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	s, c := open(t, Options{Dir: dir, holdCleaner: true})
	found(t, s, "acme/main", "acme/side")
	ctx, root := ctxOf(t), admin(t, s)
	space, side := enter(t, s, root, "acme/main", PermDocumentCreate), enter(t, s, root, "acme/side", PermDocumentCreate)
	const records = 2500
	require.NoError(t, space.Commit(ctx, func(tx *Tx) error {
		for i := range records {
			if err := tx.Set(byte('A'+i%3), fmt.Appendf(nil, "%04d", i), make([]byte, i%50)); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, s.DeleteKB(ctx, root, "acme", "main"))
	dead := dataOf(space.kb)
	last, n, err := s.db.Sweep(ctx, dead, nil, 700)
	require.NoError(t, err)
	require.Equal(t, 700, n)
	put(t, side, "k", "v")
	_, n, err = s.db.Sweep(ctx, dead, last, 500)
	require.NoError(t, err)
	require.Equal(t, 500, n)
	dying, err := s.Unswept(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, dying)
	rest, _ := left(t, s, space.kb)
	require.EqualValues(t, records-1200, rest, "the counter goes with the records")
	require.NoError(t, s.db.Verify(ctx, dead))
	require.NoError(t, s.Close())

	s, err = Open(Options{Dir: dir, Now: c.now})
	require.NoError(t, err)
	defer s.Close()
	swept(t, s)
	rest, banned := left(t, s, space.kb)
	require.Zero(t, rest)
	require.True(t, banned)
	dying, err = s.Unswept(ctx)
	require.NoError(t, err)
	require.Zero(t, dying)
}
