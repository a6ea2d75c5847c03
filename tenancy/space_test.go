package tenancy

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/tenancy/audit"
	"alcove/tenancy/keyspace"
)

// A Space writes only with a permission that writes, whoever holds it.
func TestSpace_RemembersItsPermission(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main")
	for _, p := range []Principal{admin(t, s), member(t, s, "acme", RoleAdmin)} {
		for _, perm := range grantable {
			if ofTenant.has(perm) {
				continue
			}
			space := enter(t, s, p, "acme/main", perm)
			ran := false
			err := space.Commit(ctxOf(t), func(tx *Tx) error {
				ran = true
				return tx.Set('D', []byte("k"), []byte(perm))
			})
			switch perm {
			case PermKBManage, PermKBDelete, PermDocumentCreate, PermDocumentUpdate, PermDocumentDelete:
				require.NoError(t, err, perm)
				got, err := get(t, space, "k")
				require.NoError(t, err)
				require.Equal(t, string(perm), got)
			default:
				require.ErrorIs(t, err, ErrDenied, perm)
				require.False(t, ran)
			}
			require.ErrorIs(t, space.View(ctxOf(t), func(tx *Tx) error { return tx.Set('D', []byte("k"), nil) }), ErrReadOnly)
			require.ErrorIs(t, space.View(ctxOf(t), func(tx *Tx) error { _, err := tx.AddJob(nil); return err }), ErrReadOnly)
		}
	}
}

// A refused closure leaves nothing behind, neither records nor its audit record.
func TestSpace_CommitIsAllOrNothing(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main")
	space := enter(t, s, member(t, s, "acme", RoleAdmin), "acme/main", PermDocumentCreate)
	before := len(trailOf(t, s, "acme"))
	sorry := errors.New("sorry")
	err := space.Commit(ctxOf(t), func(tx *Tx) error {
		_, err := tx.AddJob([]byte("x"))
		return errors.Join(sorry, err, tx.Set('D', []byte("a"), nil), tx.Audit("document_added", "document", "a", nil))
	})
	require.ErrorIs(t, err, sorry)
	_, err = get(t, space, "a")
	require.ErrorIs(t, err, ErrNotFound)
	require.Len(t, trailOf(t, s, "acme"), before)
	jobs, err := s.Jobs(ctxOf(t), JobRef{}, 1)
	require.NoError(t, err)
	require.Empty(t, jobs)
	u, err := space.Usage(ctxOf(t))
	require.NoError(t, err)
	require.Zero(t, u)
	put(t, space, "a", "1")
	require.NoError(t, space.Verify(ctxOf(t)))
}

// Knowledge bases with neighbouring numbers and equal keys never see each other. If a
// prefix lacked the number, or a scan ran past its end, this would show it at once.
func TestSpace_NeighboursAreApart(t *testing.T) {
	seed := rand.Int63()
	t.Log("seed", seed)
	rnd := rand.New(rand.NewSource(seed))
	s, _ := open(t, Options{})
	found(t, s, "a/main", "b/main", "a/b", "b/a")
	root := admin(t, s)
	var spaces []*Space
	var models []map[string]string
	for _, path := range []string{"a/main", "b/main", "a/b", "b/a"} {
		spaces = append(spaces, enter(t, s, root, path, PermKBManage))
		models = append(models, map[string]string{})
	}
	key := func() []byte {
		return bytes.Repeat([]byte{[]byte{0, 1, 'a', 0xff}[rnd.Intn(4)]}, rnd.Intn(12))
	}
	kinds := []byte{1, 'D', 0xff}
	for step := range 400 {
		i := rnd.Intn(len(spaces))
		kind, k := kinds[rnd.Intn(3)], key()
		id := string(kind) + string(k)
		value := fmt.Sprint(step)
		require.NoError(t, spaces[i].Commit(ctxOf(t), func(tx *Tx) error {
			if rnd.Intn(3) == 0 {
				delete(models[i], id)
				return tx.Delete(kind, k)
			}
			models[i][id] = value
			return tx.Set(kind, k, []byte(value))
		}))
		if step%20 != 0 {
			continue
		}
		for i, space := range spaces {
			seen := map[string]string{}
			require.NoError(t, space.View(ctxOf(t), func(tx *Tx) error {
				for _, kind := range kinds {
					err := tx.Scan(kind, Scan{}, func(rest, value []byte) error {
						seen[string(kind)+string(rest)] = string(value)
						return nil
					})
					if err != nil {
						return err
					}
				}
				u, err := tx.Usage()
				require.EqualValues(t, len(models[i]), u.Records)
				return err
			}))
			require.Equal(t, models[i], seen)
		}
	}
}

// Numbers that agree in their low bytes are two knowledge bases, for records and for
// caches of open ones. Stores of tests never get to number 256, so a number cut short
// anywhere between the catalogue and the key would pass every other test.
func TestSpace_NumbersFarApart(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/kb-0")
	root := admin(t, s)
	spaces := []*Space{enter(t, s, root, "acme/kb-0", PermKBManage)}
	for _, bit := range []uint{8, 16, 32, 63} {
		n := spaces[0].kb + 1<<bit
		require.NoError(t, s.db.Commit(ctxOf(t), func(tx *keyspace.Tx) error {
			return tx.Set(keyspace.System, kindSequence, []byte(seqNumber), u64(n-1))
		}))
		path := fmt.Sprintf("acme/kb-%d", bit)
		found(t, s, path)
		space := enter(t, s, root, path, PermKBManage)
		require.Equal(t, n, space.kb)
		spaces = append(spaces, space)
	}
	seen := map[SpaceID]bool{}
	for _, space := range spaces {
		require.False(t, seen[space.ID()], "%s has the cache of another", space.KBID())
		seen[space.ID()] = true
		_, err := get(t, space, "k")
		require.ErrorIs(t, err, ErrNotFound, "%s has the records of another", space.KBID())
		put(t, space, "k", space.KBID())
	}
	for _, space := range spaces {
		got, err := get(t, space, "k")
		require.NoError(t, err)
		require.Equal(t, space.KBID(), got)
		u, err := space.Usage(ctxOf(t))
		require.NoError(t, err)
		require.EqualValues(t, 1, u.Records)
	}
}

// The same pieces of two ids joined otherwise are two knowledge bases.
func TestSpace_IDsAreNotJoined(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "a-b/c", "a/b-c", "a/c", "ab/c")
	root := admin(t, s)
	seen := map[SpaceID]bool{}
	for _, path := range []string{"a-b/c", "a/b-c", "a/c", "ab/c"} {
		space := enter(t, s, root, path, PermKBManage)
		require.False(t, seen[space.ID()])
		seen[space.ID()] = true
		_, err := get(t, space, "k")
		require.ErrorIs(t, err, ErrNotFound)
		put(t, space, "k", path)
	}
}

// Jobs come back in the order of acceptance with what was allowed then, though the
// credential is gone; nobody reaches another knowledge base's.
func TestJobs(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main", "acme/side", "globex/main")
	ctx, root := ctxOf(t), admin(t, s)
	key, err := s.CreateKey(ctx, root, "acme", KeyInput{Name: "k", Permissions: []Permission{PermDocumentCreate, PermTenantManage}})
	require.NoError(t, err)
	p, err := s.Authenticate(ctx, Credential{APIKey: key.Secret})
	require.NoError(t, err)
	var refs []JobRef
	add := func(p Principal, path, payload string) JobRef {
		space := enter(t, s, p, path, PermDocumentCreate)
		var ref JobRef
		require.NoError(t, space.Commit(ctx, func(tx *Tx) (err error) {
			ref, err = tx.AddJob([]byte(payload))
			return err
		}))
		return ref
	}
	for i, path := range []string{"acme/main", "acme/side", "acme/main", "acme/side"} {
		refs = append(refs, add(p, path, fmt.Sprint("job ", i)))
	}
	refs = append(refs, add(root, "globex/main", "job 4"))
	require.NoError(t, s.DeleteKey(ctx, root, "acme", key.ID))

	var got []JobRef
	for after := (JobRef{}); ; {
		page, err := s.Jobs(ctx, after, 2)
		require.NoError(t, err)
		got = append(got, page...)
		if len(page) < 2 {
			break
		}
		after = page[1]
	}
	require.Equal(t, refs, got)
	require.Equal(t, "globex", got[4].Tenant())
	require.Equal(t, "main", got[4].KB())

	space, err := s.Resume(ctx, refs[1])
	require.NoError(t, err)
	require.Equal(t, "side", space.KBID())
	require.Equal(t, p.Name(), space.Asker())
	require.Equal(t, PermDocumentCreate, space.Permission())
	forged := refs[1]
	forged.Seq = refs[4].Seq
	require.NoError(t, space.Commit(ctx, func(tx *Tx) error {
		b, err := tx.Job(refs[1])
		require.NoError(t, err)
		require.Equal(t, "job 1", string(b))
		for _, foreign := range []JobRef{refs[0], refs[4], forged, {}} {
			_, err = tx.Job(foreign)
			require.ErrorIs(t, err, ErrNotFound)
			require.ErrorIs(t, tx.SetJob(foreign, nil), ErrNotFound)
			require.ErrorIs(t, tx.EndJob(foreign), ErrNotFound)
		}
		return tx.SetJob(refs[1], []byte("half done"))
	}))
	require.NoError(t, space.Commit(ctx, func(tx *Tx) error {
		b, err := tx.Job(refs[1])
		require.NoError(t, err)
		require.Equal(t, "half done", string(b))
		return tx.EndJob(refs[1])
	}))
	_, err = s.Resume(ctx, refs[1])
	require.ErrorIs(t, err, ErrNotFound)

	// The jobs of a deleted knowledge base are gone, the others stay.
	require.NoError(t, s.DeleteKB(ctx, root, "acme", "main"))
	_, err = s.Resume(ctx, refs[0])
	require.ErrorIs(t, err, ErrGone)
	require.ErrorIs(t, err, ErrKBGone)
	got, err = s.Jobs(ctx, JobRef{}, 10)
	require.NoError(t, err)
	require.Equal(t, refs[3:], got)
}

// trailOf returns a tenant's audit records; "" is the server's own chain.
func trailOf(t testing.TB, s *Store, tenant string) []audit.Record {
	t.Helper()
	chain := uint64(systemChain)
	if tenant != "" {
		chain = s.cat.tenant(tenant).number
	}
	var out []audit.Record
	require.NoError(t, s.db.View(func(tx *keyspace.Tx) error {
		head, err := trailHead(tx, chain)
		require.NoError(t, err)
		c := audit.NewChain(s.auditKey, chain, audit.Head{})
		err = tx.Scan(keyspace.System, kindTrail, keyspace.Scan{Prefix: u64(chain)}, func(_, value []byte) error {
			r, err := c.Check(value)
			out = append(out, r)
			return err
		})
		require.NoError(t, c.End(head))
		return err
	}))
	return out
}
