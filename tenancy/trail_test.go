package tenancy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/tenancy/audit"
	"alcove/tenancy/keyspace"
)

// act records n acts of a tenant.
func act(t testing.TB, s *Store, tenant string, n int) {
	t.Helper()
	p := admin(t, s)
	for i := range n {
		require.NoError(t, s.RecordAct(ctxOf(t), p, tenant, Act{Action: fmt.Sprint("act-", i%3), ResourceType: "thing", ResourceID: fmt.Sprint(i)}))
	}
}

// Retention takes whole days, oldest first, and leaves a signed anchor from which the
// rest is verified, against checkpoints outside too; a second cut goes on from the first.
func TestRetention_CutsWholeDays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "checkpoints")
	s, c := open(t, Options{AuditRetentionDays: 2, CheckpointFile: file})
	found(t, s, "acme/main", "beta/main") // on day 0
	for range 5 {                         // days 0 to 4, 20 entries each
		act(t, s, "acme", 10)
		act(t, s, "beta", 10)
		require.NoError(t, s.notary.sign(t.Context()))
		c.add(24 * time.Hour)
	}
	verify := func() AuditReport {
		t.Helper()
		letWrite(s)
		notes, err := readCheckpointFile(file)
		require.NoError(t, err)
		marks, err := outsideMarks(notes, s.notary.signer.VerifierKey(), "file")
		require.NoError(t, err)
		rep, err := s.verifyTrails(t.Context(), marks)
		require.NoError(t, err)
		return rep
	}
	before := verify()
	require.NoError(t, s.notary.retain(t.Context())) // today is day 5: days 3 and 4 stay
	rep := verify()
	day0 := before.Entries - 5*20
	require.EqualValues(t, day0+3*20, rep.Cut)
	require.Equal(t, before.Entries+1, rep.Entries, "the cut is recorded itself")
	require.Positive(t, rep.OutsideTooOld)
	page, err := s.Audit(ctxOf(t), admin(t, s), "acme", AuditQuery{Limit: 1000})
	require.NoError(t, err)
	require.Len(t, page.Items, 20)
	require.Equal(t, page.Items[19].Time.Format(time.DateOnly), page.Items[0].Time.AddDate(0, 0, -1).Format(time.DateOnly))

	// What is left in the store of the days that were cut: heads and the tree's edge.
	img := imageOf(t, s)
	for k := range img {
		if k[0] == kindTrailEntry && beU64([]byte(k[1:])) < rep.Cut {
			require.True(t, audit.Keeps(rep.Cut, beU64([]byte(k[1:]))))
		}
		if k[0] == kindTrailSign {
			require.GreaterOrEqual(t, beU64([]byte(k[1:])), rep.Cut)
		}
	}
	require.NoError(t, s.notary.retain(t.Context()), "the same day there is nothing to do")
	require.Equal(t, rep.Cut, verify().Cut)
	c.add(24 * time.Hour)
	require.NoError(t, s.notary.retain(t.Context()))
	require.EqualValues(t, rep.Cut+20, verify().Cut)

	// A cut by somebody without the key does not pass for ours.
	good := imageOf(t, s)
	for name, change := range map[string]func(trailImage){
		"another anchor": func(img trailImage) {
			k := string(rune(kindTrailLog)) + logCut
			img[k] = strings.Replace(img[k], "2026", "2027", 1)
		},
		"another head at the cut": func(img trailImage) {
			k := string(rune(kindTrailBase)) + string(u64(systemChain))
			img[k] = string(audit.Head{Seq: 1}.Encode())
		},
		"the anchor dropped": func(img trailImage) { delete(img, string(rune(kindTrailLog))+logCut) },
	} {
		t.Run(name, func(t *testing.T) {
			img := trailImage{}
			for k, v := range good {
				img[k] = v
			}
			change(img)
			img.put(t, s, good)
			_, err := s.verifyTrails(t.Context(), nil)
			require.Error(t, err)
			good.put(t, s, img)
		})
	}
}

// A cut that was killed between its anchor and the sweep is swept by the next.
func TestRetention_GoesOnAfterAKill(t *testing.T) {
	s, c := open(t, Options{AuditRetentionDays: 1})
	found(t, s, "acme")
	act(t, s, "acme", 30)
	c.add(72 * time.Hour)
	act(t, s, "acme", 3)
	old := imageOf(t, s)
	require.NoError(t, s.notary.retain(t.Context()))
	swept := imageOf(t, s)
	half := trailImage{}
	for k, v := range swept {
		half[k] = v
	}
	for k, v := range old { // what the sweep took is there again
		if _, there := half[k]; !there && (k[0] == kindTrail || k[0] == kindTrailEntry) {
			half[k] = v
		}
	}
	require.Greater(t, len(half), len(swept)+40)
	half.put(t, s, swept)
	_, err := s.verifyTrails(t.Context(), nil)
	require.NoError(t, err)
	c.add(24 * time.Hour)
	require.NoError(t, s.notary.retain(t.Context()))
	after := imageOf(t, s)
	for k := range after {
		if k[0] == kindTrail && beU64([]byte(k[1:9])) == s.cat.tenant("acme").number {
			require.Greater(t, beU64([]byte(k[9:])), uint64(31), "records of the day that was cut are gone")
		}
	}
}

// A tenant's records come newest first, a page at a time, cut by time and action; only
// who may manage the tenant reads them, and the reading is recorded.
func TestAudit_Pages(t *testing.T) {
	s, c := open(t, Options{})
	found(t, s, "acme", "beta")
	start := c.now()
	for range 10 {
		act(t, s, "acme", 6)
		act(t, s, "beta", 1)
		c.add(24 * time.Hour)
	}
	p := member(t, s, "acme", RoleAdmin)
	all, cursor := []audit.Record{}, ""
	for range 100 {
		page, err := s.Audit(ctxOf(t), p, "acme", AuditQuery{Limit: 7, Cursor: cursor, To: start.AddDate(0, 0, 30)})
		require.NoError(t, err)
		all = append(all, page.Items...)
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	require.Len(t, all, 61, "60 acts and the tenant's creation; the reads come after To's page begins")
	for i, r := range all[1:] {
		require.Equal(t, all[i].Seq-1, r.Seq)
	}
	page, err := s.Audit(ctxOf(t), p, "acme", AuditQuery{From: start.AddDate(0, 0, 2), To: start.AddDate(0, 0, 4), Action: "act-1"})
	require.NoError(t, err)
	require.Len(t, page.Items, 4, "two days, two of the six acts of each")
	require.NoError(t, s.Close())
	s, _ = open(t, Options{})
	found(t, s, "acme", "beta")

	for name, q := range map[string]AuditQuery{
		"limit": {Limit: 1001}, "cursor": {Cursor: "x"}, "to": {From: start, To: start},
		"action": {Action: strings.Repeat("a", audit.MaxFieldBytes+1)},
	} {
		_, err := s.Audit(ctxOf(t), admin(t, s), "acme", q)
		var f *FieldError
		require.ErrorAs(t, err, &f)
		require.Equal(t, name, f.Field)
	}
	for _, p := range []Principal{member(t, s, "acme", RoleEditor), member(t, s, "beta", RoleAdmin), {}} {
		_, err := s.Audit(ctxOf(t), p, "acme", AuditQuery{})
		require.ErrorIs(t, err, ErrDenied)
	}
}

// Reading the audit log is an act like others.
func TestAudit_ReadIsRecorded(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir()})
	require.NoError(t, err)
	found(t, s, "acme")
	_, err = s.Audit(WithRequest(t.Context(), "req-7", "192.0.2.9"), member(t, s, "acme", RoleAdmin), "acme", AuditQuery{})
	require.NoError(t, err)
	dir := s.opt.Dir
	require.NoError(t, s.Close()) // the queue is written
	s, _ = open(t, Options{Dir: dir})
	records := trailOf(t, s, "acme")
	last := records[len(records)-1]
	require.Equal(t, "audit_read", last.Action)
	require.Equal(t, "req-7", last.RequestID)
	require.Equal(t, "192.0.2.9", last.Details["ip_address"])
}

// An export is verified without the store; whatever is changed in it is found.
func TestExport_IsVerifiedAlone(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme", "beta")
	act(t, s, "acme", 20)
	act(t, s, "beta", 20)
	key := s.notary.signer.VerifierKey()
	export := func(tenant string) string {
		var b bytes.Buffer
		n, err := s.ExportAudit(t.Context(), &b, tenant)
		require.NoError(t, err)
		rep, err := audit.VerifyExport(bytes.NewReader(b.Bytes()), key)
		require.NoError(t, err)
		require.Equal(t, n, rep.Records)
		return b.String()
	}
	mine := export("acme")
	require.Equal(t, 1+22, strings.Count(mine, "\n"), "head, creation, 20 acts and the export itself")
	require.NotContains(t, mine, "beta")
	all := export("")
	lines := strings.SplitAfter(all, "\n")
	lines = lines[:len(lines)-1]
	bad := map[string]func([]string) []string{
		"a field changed":   func(l []string) []string { l[5] = strings.Replace(l[5], "act-", "acf-", 1); return l },
		"a line dropped":    func(l []string) []string { return append(l[:5:5], l[6:]...) },
		"two lines swapped": func(l []string) []string { l[5], l[6] = l[6], l[5]; return l },
		"the end cut":       func(l []string) []string { return l[:len(l)-1] },
		"a line twice":      func(l []string) []string { return append(l[:6:6], l[5:]...) },
		"a sealed byte": func(l []string) []string {
			var x audit.ExportLine
			require.NoError(t, json.Unmarshal([]byte(l[5]), &x))
			x.Sealed[len(x.Sealed)-1] ^= 1
			b, err := json.Marshal(x)
			require.NoError(t, err)
			l[5] = string(b) + "\n"
			return l
		},
	}
	for name, change := range bad {
		l := change(append([]string(nil), lines...))
		_, err := audit.VerifyExport(strings.NewReader(strings.Join(l, "")), key)
		require.ErrorIs(t, err, audit.ErrBroken, name)
	}
	other, err := audit.NewSigner(bytes.Repeat([]byte{1}, 32))
	require.NoError(t, err)
	_, err = audit.VerifyExport(strings.NewReader(all), other.VerifierKey())
	require.ErrorIs(t, err, audit.ErrSignature)
}

// Records written before there was a log are entered in it when the store is opened.
func TestMigrateTrail(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, Keyspace: keyspace.Options{Format: 1}})
	require.NoError(t, err)
	found(t, s, "acme", "beta")
	act(t, s, "acme", 50)
	s.notary.stop() // it signs, and would sign what is about to go
	img := imageOf(t, s)
	old := trailImage{}
	for k, v := range img { // as an older release left it
		if k[0] == kindTrail || k[0] == kindTrailHead {
			old[k] = v
		}
	}
	old.put(t, s, img)
	s.cleaner.stop()
	s.clerk.stop()
	require.NoError(t, s.db.Close())
	require.NoError(t, os.Remove(filepath.Join(dir, checkpointFile)))

	s, _ = open(t, Options{Dir: dir})
	rep, err := s.verifyTrails(t.Context(), nil)
	require.NoError(t, err)
	require.EqualValues(t, 55, rep.Entries, "those and that it was brought forward")
	act(t, s, "beta", 3)
}

// What does not fit in the queue is counted, and the log tells how many are missing;
// refusals over the bound of a second are not written at all.
func TestClerk_CountsWhatItDrops(t *testing.T) {
	s, c := open(t, Options{})
	found(t, s, "acme")
	p := member(t, s, "acme", RoleViewer)
	for range maxRefusalsPerSecond + 20 {
		s.NoteAct(ctxOf(t), p, "beta", Act{Action: "user_access_denied", Outcome: "denied"})
	}
	require.EqualValues(t, 20, s.AuditStats().Dropped)
	c.add(time.Second)
	s.NoteAct(ctxOf(t), Principal{}, "", Act{Action: "auth_failed", Outcome: "denied"})
	require.Eventually(t, func() bool {
		for _, r := range trailOf(t, s, "") {
			if r.Action == "audit_dropped" && r.Details["count"] == "20" {
				return true
			}
		}
		return false
	}, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool {
		n := 0
		for _, r := range trailOf(t, s, "acme") { // not beta's: it is not theirs to fill
			if r.Action == "user_access_denied" {
				n++
			}
		}
		return n == maxRefusalsPerSecond
	}, time.Minute, time.Millisecond)
}

// A server that is told to record nothing records that, and nothing else.
func TestAuditOff(t *testing.T) {
	s, _ := open(t, Options{AuditOff: true})
	found(t, s, "acme/main")
	require.NoError(t, s.NoteStart(t.Context(), "v"))
	require.Empty(t, trailOf(t, s, "acme"))
	records := trailOf(t, s, "")
	require.Len(t, records, 1)
	require.Equal(t, actionAuditOff, records[0].Action)
}

// A store put back from an older copy is noticed at its next start.
func TestNotary_NoticesAnOlderStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "checkpoints")
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, CheckpointFile: file})
	require.NoError(t, err)
	found(t, s, "acme")
	old := imageOf(t, s)
	act(t, s, "acme", 5)
	require.NoError(t, s.notary.sign(t.Context()))
	old.put(t, s, imageOf(t, s))
	require.NoError(t, s.Close())
	s, _ = open(t, Options{Dir: dir, CheckpointFile: file})
	require.True(t, s.AuditStats().BehindOutside)
}

// Verifying costs the same for each record: b.N records are written and verified once.
// For a million: go test -run '^$' -bench Audit_Verify -benchtime 1000000x ./tenancy
func BenchmarkAudit_Verify(b *testing.B) {
	o := Options{Dir: b.TempDir()}
	s, err := Open(o)
	require.NoError(b, err)
	found(b, s, "acme", "beta", "gamma")
	tenants := []uint64{s.cat.tenant("acme").number, s.cat.tenant("beta").number, s.cat.tenant("gamma").number, systemChain}
	start := time.Now()
	for done := 0; done < b.N; {
		err := s.db.Commit(context.Background(), func(tx *keyspace.Tx) error {
			for i := 0; i < 1000 && done < b.N; i++ {
				err := s.append(context.Background(), tx, tenants[done%len(tenants)], event{
					actor: "key:0123456789abcdef", action: "query_executed", resourceType: "knowledge_base", resourceID: "main",
					requestID: "4bf92f3577b34da6a3ce929d0e0e4736",
					details:   map[string]string{"mode": "mix", "query_len": "57", "query_hash": "0011223344556677", "latency_ms": "145", "result_count": "10"},
				})
				if err != nil {
					return err
				}
				done++
			}
			return nil
		})
		require.NoError(b, err)
	}
	appending := time.Since(start)
	var usage Usage
	require.NoError(b, s.db.View(func(tx *keyspace.Tx) error { usage, err = tx.Usage(keyspace.System); return err }))
	require.NoError(b, s.Close())
	b.ResetTimer()
	rep, err := VerifyAudit(context.Background(), o, AuditCheck{})
	require.NoError(b, err)
	b.StopTimer()
	require.GreaterOrEqual(b, rep.Entries, uint64(b.N))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(appending.Nanoseconds())/float64(b.N), "ns/append")
	b.ReportMetric(float64(usage.Bytes)/float64(b.N), "bytes/record")
}
