package tenancy

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/tenancy/keyspace"
)

// The matrix as the design has it, cell by cell.
func TestRights_Matrix(t *testing.T) {
	matrix := `
		permission             admin editor viewer viewer:read-only
		tenant:manage          x     -      -      -
		tenant:manage_members  x     -      -      -
		tenant:manage_billing  x     -      -      -
		kb:create              x     x      -      -
		kb:delete              x     x      -      -
		kb:manage              x     -      -      -
		kb:access              x     x      x      x
		document:create        x     x      -      -
		document:update        x     x      -      -
		document:delete        x     x      -      -
		document:read          x     x      x      -
		query:run              x     x      x      x`
	var lines [][]string
	for line := range strings.Lines(strings.TrimSpace(matrix)) {
		lines = append(lines, strings.Fields(line))
	}
	require.Len(t, lines, 1+len(grantable))
	s, _ := open(t, Options{})
	found(t, s, "acme/main")
	root := admin(t, s)
	for i, role := range lines[0][1:] {
		p := member(t, s, "acme", Role(role))
		for _, line := range lines[1:] {
			perm := Permission(line[0])
			require.Equal(t, line[i+1] == "x", p.holds("acme", "main", perm), "%s %s", role, perm)
			require.False(t, p.holds("other", "main", perm), "%s %s", role, perm)
			require.True(t, root.holds("acme", "main", perm))
			require.False(t, Principal{}.holds("acme", "main", perm))
			require.False(t, Principal{}.holds("", "", perm))

			// One cell of the matrix is one permission; a list narrows and never widens.
			only := holder(t, s, TokenRequest{Tenant: "acme", Role: Role(role), KBs: []string{"*"}, Permissions: []Permission{perm}})
			for _, other := range grantable {
				require.Equal(t, other == perm && line[i+1] == "x", only.holds("acme", "main", other), "%s narrowed to %s: %s", role, perm, other)
			}
			elsewhere := member(t, s, "acme", Role(role), "elsewhere")
			require.Equal(t, line[i+1] == "x" && ofTenant.has(perm), elsewhere.holds("acme", "main", perm), "%s on another kb: %s", role, perm)
		}
		none := holder(t, s, TokenRequest{Tenant: "acme", Role: Role(role), KBs: []string{"*"}, Permissions: []Permission{}})
		require.Empty(t, none.Permissions())
		require.False(t, p.holds("acme", "main", PermSystemAdmin))
	}
	require.True(t, root.holds("", "", PermSystemAdmin))
	narrow := holder(t, s, TokenRequest{System: true, Permissions: []Permission{PermQueryRun}})
	require.False(t, narrow.holds("", "", PermSystemAdmin), "a narrowed system token is no system admin")
	require.True(t, narrow.holds("acme", "main", PermQueryRun))
}

// Whether a foreign tenant or its knowledge base exists cannot be told from the answer.
func TestEnter_RightsFirstExistenceSecond(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main", "acme/side", "globex/main")
	ctx, root := ctxOf(t), admin(t, s)
	all, one := member(t, s, "acme", RoleAdmin), member(t, s, "acme", RoleEditor, "main")

	var answers []string
	for _, foreign := range []string{"globex/main", "globex/none", "none/main", "none/none"} {
		tenant, kb, _ := strings.Cut(foreign, "/")
		for _, p := range []Principal{all, one, {}} {
			_, err := s.Enter(ctx, p, tenant, kb, PermQueryRun)
			require.ErrorIs(t, err, ErrDenied, foreign)
			answers = append(answers, err.Error())
			_, err = s.Tenant(ctx, p, tenant)
			require.ErrorIs(t, err, ErrDenied)
			_, err = s.KBs(ctx, p, tenant, PageRequest{})
			require.ErrorIs(t, err, ErrDenied)
			require.ErrorIs(t, s.DeleteKB(ctx, p, tenant, kb), ErrDenied)
		}
	}
	for _, a := range answers {
		require.Equal(t, answers[0], a)
	}
	for kb, want := range map[string]error{"main": nil, "side": ErrDenied, "none": ErrDenied} {
		_, err := s.Enter(ctx, one, "acme", kb, PermQueryRun)
		require.ErrorIs(t, err, want, kb)
	}
	_, err := s.Enter(ctx, all, "acme", "none", PermQueryRun)
	require.ErrorIs(t, err, ErrNoKB)
	_, err = s.Enter(ctx, root, "none", "main", PermQueryRun)
	require.ErrorIs(t, err, ErrNoTenant)
	_, err = s.Enter(ctx, root, "acme", "none", PermQueryRun)
	require.ErrorIs(t, err, ErrNoKB)

	var d *DeniedError
	_, err = s.Enter(ctx, member(t, s, "acme", RoleReadOnly), "acme", "main", PermDocumentCreate)
	require.ErrorAs(t, err, &d)
	require.Equal(t, PermDocumentCreate, d.Permission)
	require.Empty(t, s.cat.tenant("none"))
}

// An id has one spelling; any other is refused, never mended and never a second one.
func TestEnter_OtherSpellings(t *testing.T) {
	s, _ := open(t, Options{})
	const id = "0b9f2c1e-8a4d-4c9e-9f60-3d2f1a7b5c11"
	found(t, s, id+"/"+id, "acme/main")
	root := admin(t, s)
	enter(t, s, root, id+"/"+id, PermQueryRun)
	for _, bad := range []string{
		"", " ", "ACME", "Acme", "acme ", " acme", "acme\n", "acme\x00", "-acme", "acme_1", "acme.1", "a/b", "..", "%2e%2e", "%61cme", "ａcme", "acmé",
		strings.ToUpper(id), "{" + id + "}", "urn:uuid:" + id, strings.ReplaceAll(id, "-", "_"), id + " ", strings.Repeat("a", 64), strings.Repeat("a", 300), "*",
	} {
		for _, p := range []Principal{root, member(t, s, "acme", RoleAdmin), {}} {
			_, err := s.Enter(ctxOf(t), p, bad, "main", PermQueryRun)
			require.ErrorIs(t, err, ErrBadID, "tenant %q", bad)
			_, err = s.Enter(ctxOf(t), p, "acme", bad, PermQueryRun)
			require.ErrorIs(t, err, ErrBadInput, "kb %q", bad)
		}
		_, err := s.Maintain(ctxOf(t), "test", "acme", bad)
		require.ErrorIs(t, err, ErrBadID)
		if bad != "" {
			_, err = s.CreateKB(ctxOf(t), root, "acme", KBInput{ID: bad, Name: "x"})
			require.ErrorIs(t, err, ErrBadID, "new kb %q", bad)
			_, err = s.CreateTenant(ctxOf(t), root, TenantInput{ID: bad, Name: "x"})
			require.ErrorIs(t, err, ErrBadID, "new tenant %q", bad)
		}
	}
	// 32 digits without hyphens are a slug, another one: it is not there.
	_, err := s.Enter(ctxOf(t), root, strings.ReplaceAll(id, "-", ""), "main", PermQueryRun)
	require.ErrorIs(t, err, ErrNoTenant)
}

// A suspended tenant is told so, others are not; its jobs pause and go on.
func TestSuspend(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main", "globex/main")
	ctx, root, own := ctxOf(t), admin(t, s), member(t, s, "acme", RoleAdmin)
	var ref JobRef
	space := enter(t, s, own, "acme/main", PermDocumentCreate)
	require.NoError(t, space.Commit(ctx, func(tx *Tx) (err error) {
		ref, err = tx.AddJob([]byte("work"))
		return err
	}))
	set := func(active bool) {
		got, err := s.UpdateTenant(ctx, root, "acme", TenantUpdate{IsActive: &active})
		require.NoError(t, err)
		require.Equal(t, active, got.IsActive)
	}
	working, err := s.Resume(ctx, ref)
	require.NoError(t, err)
	maintained, err := s.Maintain(ctx, "test", "acme", "main")
	require.NoError(t, err)
	set(false)
	note := func(tx *Tx) error { return tx.Set('D', []byte("k"), nil) }
	require.ErrorIs(t, working.Commit(ctx, note), ErrPaused, "work under way stops at its next commit")
	require.ErrorIs(t, space.Commit(ctx, note), ErrTenantSuspended)
	require.NoError(t, maintained.Commit(ctx, note))
	for _, p := range []Principal{own, root} {
		_, err := s.Enter(ctx, p, "acme", "main", PermQueryRun)
		require.ErrorIs(t, err, ErrTenantSuspended)
	}
	_, err = s.Enter(ctx, member(t, s, "globex", RoleAdmin), "acme", "main", PermQueryRun)
	require.ErrorIs(t, err, ErrDenied)
	_, err = s.UpdateTenant(ctx, own, "acme", TenantUpdate{IsActive: new(bool)})
	require.ErrorIs(t, err, ErrTenantSuspended)
	_, err = s.Resume(ctx, ref)
	require.ErrorIs(t, err, ErrPaused)
	jobs, err := s.Jobs(ctx, JobRef{}, 10)
	require.NoError(t, err)
	require.Equal(t, []JobRef{ref}, jobs)
	set(true)
	require.NoError(t, working.Commit(ctx, note))
	again, err := s.Resume(ctx, ref)
	require.NoError(t, err)
	require.Equal(t, space.ID(), again.ID())
	require.Equal(t, own.Name(), again.Asker())

	// Only a system admin lifts what binds a tenant's own admins.
	_, err = s.UpdateTenant(ctx, own, "acme", TenantUpdate{Quota: &QuotaUpdate{}})
	require.ErrorIs(t, err, ErrDenied)
	_, err = s.UpdateTenant(ctx, own, "acme", TenantUpdate{IsActive: new(bool)})
	require.ErrorIs(t, err, ErrDenied)
}

// A token of a tenant that was deleted is worth nothing, nor in a later tenant of its id.
func TestEnter_TokenOfAnEarlierTenant(t *testing.T) {
	s, c := open(t, Options{})
	found(t, s, "acme/main")
	own := member(t, s, "acme", RoleAdmin)
	require.NoError(t, s.DeleteTenant(ctxOf(t), admin(t, s), "acme"))
	_, err := s.Enter(ctxOf(t), own, "acme", "main", PermQueryRun)
	require.ErrorIs(t, err, ErrDenied)
	c.add(time.Minute)
	found(t, s, "acme/main")
	_, err = s.Enter(ctxOf(t), own, "acme", "main", PermQueryRun)
	require.ErrorIs(t, err, ErrDenied)
	enter(t, s, member(t, s, "acme", RoleAdmin), "acme/main", PermQueryRun)
}

// What a system admin reads and writes stands in the tenant's chain.
func TestEnter_SystemAdminIsRecorded(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main")
	root, own := admin(t, s), member(t, s, "acme", RoleAdmin)
	enter(t, s, own, "acme/main", PermQueryRun)
	put(t, enter(t, s, own, "acme/main", PermDocumentCreate), "a", "1")
	enter(t, s, root, "acme/main", PermQueryRun)
	put(t, enter(t, s, root, "acme/main", PermDocumentCreate), "b", "2")
	require.NoError(t, enter(t, s, root, "acme/main", PermDocumentDelete).Commit(ctxOf(t), func(tx *Tx) error {
		return tx.Audit("document_deleted", "document", "doc-1", nil)
	}))
	s.clerk.stop() // what waits is written; Close must not stop it a second time
	s.clerk = startClerk(s)
	var acts []string
	for _, r := range trailOf(t, s, "acme") {
		acts = append(acts, fmt.Sprintf("%s %s %s", r.Actor, r.Action, r.Details["permission"]))
		require.NotEmpty(t, r.RequestID)
	}
	require.ElementsMatch(t, []string{
		"user:root tenant_created ", "user:root kb_created ", "user:root system_access query:run",
		"user:root system_access document:create", "user:root document_deleted ",
	}, acts)
}

// On a full disk writes are refused and everything else goes on: an admin gets in with a
// fresh token, and maintenance can look.
func TestFullDisk_ReadsGoOn(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	s, _ := open(t, Options{Dir: t.TempDir(), Keyspace: keyspace.Options{FreeBytes: func(string) (uint64, error) { return free.Load(), nil }}})
	found(t, s, "acme/main")
	root := admin(t, s)
	space := enter(t, s, root, "acme/main", PermDocumentCreate)
	put(t, space, "k", "v")
	free.Store(1 << 20)
	ctx := ctxOf(t)
	require.ErrorIs(t, space.Commit(ctx, func(tx *Tx) error { return tx.Set('D', []byte("l"), nil) }), ErrDiskFull)
	_, err := s.CreateKB(ctx, root, "acme", KBInput{ID: "more", Name: "more"})
	require.ErrorIs(t, err, ErrDiskFull)
	require.ErrorIs(t, s.DeleteKB(ctx, root, "acme", "main"), ErrDiskFull)
	late := holder(t, s, TokenRequest{System: true, CLI: true})
	got, err := get(t, enter(t, s, late, "acme/main", PermQueryRun), "k")
	require.NoError(t, err)
	require.Equal(t, "v", got)
	_, err = s.KB(ctx, root, "acme", "more")
	require.ErrorIs(t, err, ErrNoKB, "the catalogue in memory says what the store says")
	_, err = s.Maintain(ctx, "look", "acme", "main")
	require.NoError(t, err)
	free.Store(1 << 40)
	_, err = s.CreateKB(ctx, root, "acme", KBInput{ID: "more", Name: "more"})
	require.NoError(t, err)
}

func BenchmarkEnter(b *testing.B) {
	s, _ := open(b, Options{})
	found(b, s, "acme/main")
	p := member(b, s, "acme", RoleEditor)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Enter(ctx, p, "acme", "main", PermQueryRun); err != nil {
			b.Fatal(err)
		}
	}
}
