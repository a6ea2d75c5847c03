package tenancy

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/tenancy/keyspace"
)

// Every kind of disagreement is found and named.
func TestCheck_FindsWhatIsWrong(t *testing.T) {
	sys := keyspace.System
	faults := map[string]struct {
		fault func(s *Store, tx *keyspace.Tx, tenant, kb uint64, key string) error
		want  string
	}{
		"no id index": {func(_ *Store, tx *keyspace.Tx, tn, _ uint64, _ string) error {
			return tx.Delete(sys, kindKBID, under(tn, "main"))
		}, "index K names number 0"},
		"name of nobody": {func(_ *Store, tx *keyspace.Tx, tn, _ uint64, _ string) error {
			return tx.Set(sys, kindKBName, under(tn, "ghost"), u64(99))
		}, "names a knowledge base that is not there"},
		"kb without tenant": {func(_ *Store, tx *keyspace.Tx, tn, _ uint64, _ string) error {
			return firstError(tx.Delete(sys, kindTenant, u64(tn)), tx.Delete(sys, kindTenantID, []byte("acme")))
		}, "its tenant is not there"},
		"wrong kb count": {func(_ *Store, tx *keyspace.Tx, tn, _ uint64, _ string) error {
			var r tenantRecord
			if err := getJSON(tx, kindTenant, u64(tn), &r); err != nil {
				return err
			}
			r.Tenant.KBCount, r.Keys = 7, 8
			return setJSON(tx, kindTenant, u64(tn), r)
		}, "counts 8 keys, has 1"},
		"key in no list": {func(_ *Store, tx *keyspace.Tx, tn, _ uint64, key string) error {
			return tx.Delete(sys, kindKeyOf, under(tn, key))
		}, "not in its tenant's list"},
		"list names no key": {func(_ *Store, tx *keyspace.Tx, _, _ uint64, key string) error {
			return tx.Delete(sys, kindKey, []byte(key))
		}, "that is not there"},
		"job of nobody": {func(_ *Store, tx *keyspace.Tx, _, _ uint64, _ string) error {
			b, err := jobRecord{KB: 77, TenantID: "x", KBID: "y"}.encode()
			return firstError(err, tx.Set(sys, kindJob, u64(5), b), tx.Set(sys, kindJobOf, u64s(77, 5), nil))
		}, "its knowledge base x/y is not there"},
		"wrong use of a tenant": {func(_ *Store, tx *keyspace.Tx, tn, _ uint64, _ string) error {
			return setJSON(tx, kindUse, u64(tn), counted{Documents: 7})
		}, "counts 7 documents"},
		"wrong use of a knowledge base": {func(_ *Store, tx *keyspace.Tx, tn, kb uint64, _ string) error {
			return firstError(setJSON(tx, kindUse, u64(tn), counted{}), setJSON(tx, kindUseKB, u64(kb), counted{Documents: 9}))
		}, "its knowledge bases have 9"},
		"use of nobody": {func(_ *Store, tx *keyspace.Tx, _, _ uint64, _ string) error {
			return setJSON(tx, kindUse, u64(4711), counted{})
		}, "of tenant number 4711 that is not there"},
		"records of nobody": {func(_ *Store, tx *keyspace.Tx, _, _ uint64, _ string) error {
			return tx.Set(dataOf(4711), 'D', []byte("orphan"), nil)
		}, "number 4711 has records"},
		"server counts wrong": {func(_ *Store, tx *keyspace.Tx, _, _ uint64, _ string) error {
			return tx.Set(sys, kindSequence, []byte(seqTenants), u64(3))
		}, "the server counts 3 tenants"},
		"audit record changed": {func(_ *Store, tx *keyspace.Tx, tn, _ uint64, _ string) error {
			b, err := tx.Get(sys, kindTrail, u64s(tn, 2))
			b[20] ^= 1
			return firstError(err, tx.Set(sys, kindTrail, u64s(tn, 2), b))
		}, "broken at record 2"},
		"audit record dropped": {func(_ *Store, tx *keyspace.Tx, tn, _ uint64, _ string) error {
			return tx.Delete(sys, kindTrail, u64s(tn, 1))
		}, "broken at record 1"},
		"audit head dropped": {func(_ *Store, tx *keyspace.Tx, tn, _ uint64, _ string) error {
			return tx.Delete(sys, kindTrailHead, u64(tn))
		}, "written after the chain's head"},
		"audit chains swapped": {func(_ *Store, tx *keyspace.Tx, tn, _ uint64, _ string) error {
			b, err := tx.Get(sys, kindTrail, u64s(systemChain, 1))
			return firstError(err, tx.Set(sys, kindTrail, u64s(tn, 1), b))
		}, "broken at record 1"},
		"unreadable record": {func(_ *Store, tx *keyspace.Tx, tn, kb uint64, _ string) error {
			return tx.Set(sys, kindKB, u64s(tn, kb), []byte("{"))
		}, "damaged"},
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			s, err := Open(Options{})
			require.NoError(t, err)
			defer s.Close()
			found(t, s, "acme/main", "acme/side")
			key := newKey(t, s, admin(t, s), "acme", KeyInput{})
			counts := requireWhole(t, s)
			require.EqualValues(t, 1, counts.Tenants)
			require.EqualValues(t, 2, counts.KBs)
			require.EqualValues(t, 1, counts.Keys)
			require.NotZero(t, counts.AuditRecords)
			tn := s.cat.tenant("acme")
			require.NoError(t, s.db.Commit(context.Background(), func(tx *keyspace.Tx) error {
				return f.fault(s, tx, tn.number, s.cat.kb(tn, "main").number, key.ID)
			}))
			var problems string
			_, err = s.Check(context.Background(), func(p string) { problems += p + "\n" })
			require.NoError(t, err)
			require.Contains(t, problems, f.want)
		})
	}
}

// EachKB visits every knowledge base once and says so in the chain.
func TestEachKB(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "a/x", "a/y", "b/x", "c")
	var seen []string
	require.NoError(t, s.EachKB(ctxOf(t), "check", func(space *Space) error {
		seen = append(seen, space.TenantID()+"/"+space.KBID())
		return space.Verify(ctxOf(t))
	}))
	require.Equal(t, []string{"a/x", "a/y", "b/x"}, seen)
	records := trailOf(t, s, "a")
	last := records[len(records)-1]
	require.Equal(t, "maintenance", last.Action)
	require.Equal(t, "maintenance:check", last.Actor)
}

func FuzzDecodeJob(f *testing.F) {
	b, err := jobRecord{TenantID: "a", KBID: "b", Permission: PermDocumentCreate, payload: []byte("p")}.encode()
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte{0, 2, '{', '}'})
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeJob(b); err != nil {
			require.ErrorIs(t, err, ErrDamaged)
		}
	})
}
