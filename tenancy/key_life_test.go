package tenancy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A rotated key works with both secrets for the overlap and with the new one after it;
// two live secrets are the most; nothing about the key changes but its end.
func TestRotateKey(t *testing.T) {
	dir := t.TempDir()
	s, c := open(t, Options{Dir: dir})
	found(t, s, "acme/main", "globex/main")
	ctx, root := ctxOf(t), admin(t, s)
	first := newKey(t, s, root, "acme", KeyInput{KB: "main", Networks: []string{"10.0.0.0/8"}, ExpiresDays: 30})
	in := func(k NewKey) error {
		_, err := s.Authenticate(ctx, Credential{APIKey: k.Secret, Addr: netip.MustParseAddr("10.1.2.3")})
		return err
	}
	second, err := s.RotateKey(ctx, root, "acme", first.ID, KeyRotation{})
	require.NoError(t, err)
	require.Equal(t, first.ID, second.ID)
	require.NotEqual(t, first.Secret, second.Secret)
	require.Equal(t, c.now().Add(24*time.Hour), *second.OldUntil)
	require.Equal(t, c.now().AddDate(0, 0, 90), second.ExpiresAt)
	require.Equal(t, first.Networks, second.Networks)
	require.Equal(t, first.Permissions, second.Permissions)
	require.NoError(t, in(first))
	require.NoError(t, in(second))

	require.NoError(t, s.Close())
	s, err = Open(Options{Dir: dir, Now: c.now})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, in(first), "after a restart")
	c.add(24*time.Hour - time.Second)
	require.NoError(t, in(first))
	c.add(time.Second)
	require.Equal(t, ErrUnauthenticated, in(first))
	require.NoError(t, in(second))

	root = admin(t, s)
	third, err := s.RotateKey(ctx, root, "acme", first.ID, KeyRotation{OverlapHours: new(720)})
	require.NoError(t, err)
	fourth, err := s.RotateKey(ctx, root, "acme", first.ID, KeyRotation{OverlapHours: new(1), ExpiresDays: 1})
	require.NoError(t, err)
	require.Equal(t, ErrUnauthenticated, in(second), "the one before the last is out")
	require.NoError(t, in(third))
	require.NoError(t, in(fourth))
	fifth, err := s.RotateKey(ctx, root, "acme", first.ID, KeyRotation{OverlapHours: new(0)})
	require.NoError(t, err)
	require.Nil(t, fifth.OldUntil)
	require.Equal(t, ErrUnauthenticated, in(fourth), "no overlap")
	require.NoError(t, in(fifth))

	// An overlap gives nobody more time than the key had.
	short := newKey(t, s, root, "acme", KeyInput{ExpiresDays: 1})
	_, err = s.RotateKey(ctx, root, "acme", short.ID, KeyRotation{OverlapHours: new(720)})
	require.NoError(t, err)
	c.add(24 * time.Hour)
	require.Equal(t, ErrUnauthenticated, in(short))

	for name, q := range map[string]KeyRotation{
		"an overlap below 0": {OverlapHours: new(-1)}, "an overlap too long": {OverlapHours: new(721)},
		"an end too far": {ExpiresDays: 367}, "two ends": {ExpiresDays: 1, ExpiresAt: new(c.now().Add(time.Hour))},
	} {
		_, err := s.RotateKey(ctx, admin(t, s), "acme", first.ID, q)
		require.ErrorIs(t, err, ErrBadInput, name)
	}
	_, err = s.RotateKey(ctx, admin(t, s), "globex", first.ID, KeyRotation{})
	require.ErrorIs(t, err, ErrNotFound, "another tenant's")
	_, err = s.RotateKey(ctx, member(t, s, "globex", RoleAdmin), "acme", first.ID, KeyRotation{})
	require.ErrorIs(t, err, ErrDenied)
	_, err = s.RotateKey(ctx, admin(t, s), "acme", "nope", KeyRotation{})
	require.ErrorIs(t, err, ErrNotFound)
	requireWhole(t, s)
}

// Who rotates a key sees its secret: so it takes all that the key holds, as making it does.
func TestRotateKey_GivesNobodyMore(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main", "acme/side")
	ctx, root := ctxOf(t), admin(t, s)
	main := []string{"main"}
	strong := newKey(t, s, root, "acme", KeyInput{KBs: &main, Permissions: []Permission{PermQueryRun, PermDocumentDelete}})
	wide := newKey(t, s, root, "acme", KeyInput{Permissions: []Permission{PermQueryRun}})
	weak := newKey(t, s, root, "acme", KeyInput{KBs: &main, Permissions: []Permission{PermQueryRun}})
	maker := signIn(t, s, newKey(t, s, root, "acme", KeyInput{KBs: &main, Permissions: []Permission{PermTenantManage, PermQueryRun}}))
	for _, k := range []NewKey{strong, wide} {
		_, err := s.RotateKey(ctx, maker, "acme", k.ID, KeyRotation{})
		require.ErrorIs(t, err, ErrDenied)
		signIn(t, s, k)
	}
	_, err := s.RotateKey(ctx, maker, "acme", weak.ID, KeyRotation{})
	require.NoError(t, err)
}

// A key with networks works from these alone, and not for who comes from nowhere known.
func TestKey_Networks(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main")
	root := admin(t, s)
	k := newKey(t, s, root, "acme", KeyInput{Networks: []string{"10.0.0.0/8", "2001:db8::/32", "192.0.2.7"}})
	require.Equal(t, []string{"10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"}, k.Networks)
	for addr, ok := range map[string]bool{
		"10.255.0.1": true, "2001:db8:ff::1": true, "192.0.2.7": true,
		"11.0.0.1": false, "2001:db9::1": false, "192.0.2.8": false, "::1": false, "127.0.0.1": false,
	} {
		_, err := s.Authenticate(ctxOf(t), Credential{APIKey: k.Secret, Addr: netip.MustParseAddr(addr)})
		require.Equal(t, ok, err == nil, addr)
		if !ok {
			require.Equal(t, ErrUnauthenticated, err, "the one answer")
		}
	}
	_, err := s.Authenticate(ctxOf(t), Credential{APIKey: k.Secret})
	require.Equal(t, ErrUnauthenticated, err)
	for _, bad := range [][]string{{"10.0.0.1/8"}, {"example.org"}, {""}, {"fe80::1%eth0"}, {"10.0.0.0/33"}, {"::ffff:10.0.0.0/104"}, slices.Repeat([]string{"10.0.0.0/8"}, 33)} {
		_, err := s.CreateKey(ctxOf(t), root, "acme", KeyInput{Name: "k", Networks: bad})
		require.ErrorIs(t, err, ErrBadInput, bad)
	}
}

// Uses are counted at once and written once a minute: ten thousand uses of two keys are
// one commit, an idle minute is none, and what is written is there after a restart.
func TestKey_Uses(t *testing.T) {
	dir := t.TempDir()
	s, c := open(t, Options{Dir: dir})
	found(t, s, "acme/main")
	root := admin(t, s)
	a, b, never := newKey(t, s, root, "acme", KeyInput{}), newKey(t, s, root, "acme", KeyInput{}), newKey(t, s, root, "acme", KeyInput{})
	read := func() map[string]Key {
		page, err := s.Keys(ctxOf(t), admin(t, s), "acme", PageRequest{})
		require.NoError(t, err)
		out := map[string]Key{}
		for _, k := range page.Items {
			out[k.ID] = k
		}
		return out
	}
	s.uses.cancel() // on a slow machine its minute comes in between, and the notary's
	<-s.uses.done
	s.notary.stop()
	before := s.Stats().Commits
	for range 5000 {
		signIn(t, s, a)
		signIn(t, s, b)
	}
	_, err := s.Authenticate(ctxOf(t), Credential{APIKey: keyText(a.ID, make([]byte, keySecretBytes))})
	require.Equal(t, ErrUnauthenticated, err, "a wrong secret is no use")
	require.Equal(t, before, s.Stats().Commits, "no write for a use")
	require.Equal(t, int64(5000), read()[a.ID].Uses, "and yet it is known")
	require.Len(t, s.uses.list, 2)
	require.NoError(t, s.uses.write(ctxOf(t)))
	require.Equal(t, before+1, s.Stats().Commits)
	require.NoError(t, s.uses.write(ctxOf(t)))
	require.Equal(t, before+1, s.Stats().Commits, "who is idle writes nothing")

	c.add(time.Minute)
	signIn(t, s, a)
	require.NoError(t, s.DeleteKey(ctxOf(t), root, "acme", b.ID))
	require.NoError(t, s.Close()) // writes the rest
	s, err = Open(Options{Dir: dir, Now: c.now})
	require.NoError(t, err)
	defer s.Close()
	got := read()
	require.Len(t, got, 2)
	require.Equal(t, int64(5001), got[a.ID].Uses)
	require.Equal(t, c.now().Truncate(time.Second), *got[a.ID].LastUsedAt)
	require.Nil(t, got[never.ID].LastUsedAt)

	// Counting goes on over a rotation.
	_, err = s.RotateKey(ctxOf(t), admin(t, s), "acme", a.ID, KeyRotation{})
	require.NoError(t, err)
	signIn(t, s, a)
	require.Equal(t, int64(5002), read()[a.ID].Uses)
	requireWhole(t, s)
}

// Refusing a key takes the same work whatever is wrong with it: as much as can be
// asserted without a clock. TestKey_Timing measures.
func TestKey_RefusalsCostTheSame(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main")
	k := newKey(t, s, admin(t, s), "acme", KeyInput{})
	ctx := ctxOf(t)
	allocs := map[string]float64{}
	for name, text := range wrongKeys(k.Secret) {
		allocs[name] = testing.AllocsPerRun(200, func() {
			if _, err := s.Authenticate(ctx, Credential{APIKey: text}); err != ErrUnauthenticated {
				t.Fatal(err)
			}
		})
	}
	for name := range allocs {
		require.Equal(t, allocs["unknown id"], allocs[name], name)
	}
}

// wrongKeys are keys of the right form that must be refused.
func wrongKeys(key string) map[string]string {
	other := func(b byte) string {
		if b == 'B' {
			return "C"
		}
		return "B"
	}
	at := func(i int) string { return key[:i] + other(key[i]) + key[i+1:] }
	return map[string]string{
		"unknown id":       "sk-" + strings.Repeat("a", keyIDChars) + key[len("sk-")+keyIDChars:],
		"wrong first byte": at(len("sk-") + keyIDChars + 1),
		"wrong last byte":  at(len(key) - 2), // the last character holds 4 unused bits
	}
}

// sampleTimes runs each try n times in random order, so that whatever else the machine
// does falls on all alike, and returns the times of each, sorted.
func sampleTimes(n int, tries []func()) [][]time.Duration {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([][]time.Duration, len(tries))
	order := make([]int, len(tries))
	for i := range order {
		order[i] = i
	}
	for range n {
		r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, i := range order {
			start := time.Now()
			tries[i]()
			out[i] = append(out[i], time.Since(start))
		}
	}
	for i := range out {
		slices.Sort(out[i])
	}
	return out
}

func median(d []time.Duration) time.Duration { return d[len(d)/2] }

// mannWhitney returns the two-sided p that two sorted samples are of one distribution,
// by the normal approximation with ties (Mann and Whitney 1947).
func mannWhitney(a, b []time.Duration) float64 {
	type v struct {
		d time.Duration
		a bool
	}
	var all []v
	for _, d := range a {
		all = append(all, v{d, true})
	}
	for _, d := range b {
		all = append(all, v{d, false})
	}
	slices.SortFunc(all, func(x, y v) int { return int(x.d - y.d) })
	ranks, ties := 0.0, 0.0
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].d == all[i].d {
			j++
		}
		rank, n := float64(i+j+1)/2, float64(j-i)
		for k := i; k < j; k++ {
			if all[k].a {
				ranks += rank
			}
		}
		ties += n*n*n - n
		i = j
	}
	na, nb := float64(len(a)), float64(len(b))
	n := na + nb
	u := ranks - na*(na+1)/2
	sigma := math.Sqrt(na * nb / 12 * (n + 1 - ties/(n*(n-1))))
	return math.Erfc(math.Abs(u-na*nb/2) / sigma / math.Sqrt2)
}

// The test statistic itself, on what it must tell apart and what it must not.
func TestMannWhitney(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	sample := func(shift time.Duration) []time.Duration {
		var out []time.Duration
		for range 5000 {
			out = append(out, 1000+shift+time.Duration(r.IntN(200)))
		}
		slices.Sort(out)
		return out
	}
	require.Greater(t, mannWhitney(sample(0), sample(0)), 0.01)
	require.Less(t, mannWhitney(sample(0), sample(8)), 0.01)
}

// BenchmarkKey_Timing is 20,000 interleaved tries of each kind of wrong key: the medians
// must lie within 5 % of each other. Run it alone, on a quiet machine:
//
//	go test ./tenancy -run xxx -bench Timing -benchtime 1x
func BenchmarkKey_Timing(b *testing.B) {
	s, _ := open(b, Options{})
	found(b, s, "acme/main")
	wrong := wrongKeys(newKey(b, s, admin(b, s), "acme", KeyInput{}).Secret)
	ctx := ctxOf(b)
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range wrong {
			if !yield(name) {
				return
			}
		}
	})
	var tries []func()
	for _, name := range names {
		tries = append(tries, func() { _, _ = s.Authenticate(ctx, Credential{APIKey: wrong[name]}) })
	}
	sampleTimes(2000, tries) // warm
	for b.Loop() {
		times := sampleTimes(20_000, tries)
		low, high := median(times[0]), median(times[0])
		for i := range names {
			low, high = min(low, median(times[i])), max(high, median(times[i]))
			b.Logf("%-16s median %v", names[i], median(times[i]))
		}
		b.ReportMetric(100*(float64(high)/float64(low)-1), "%apart")
	}
}

// BenchmarkEnter_Timing asks at the door of foreign tenants and knowledge bases that are
// there and of others that are not, interleaved: p must be over 0.01. The ids are random
// and drawn by lot, and what is compared is the usual time of each: letters, and where a
// string lies in memory, are worth 2 ns of this call's 100, and they are an id's own.
func BenchmarkEnter_Timing(b *testing.B) {
	s, _ := open(b, Options{MaxKBsPerTenant: 300})
	found(b, s, "acme/main")
	ctx, root := ctxOf(b), admin(b, s)
	const ids = 200
	text := ""
	for range ids {
		text += newID()
	}
	r := rand.New(rand.NewPCG(5, 6))
	there := make([]bool, ids)
	id := func(i int) string { return text[36*i : 36*(i+1)] }
	for _, i := range r.Perm(ids)[:ids/2] {
		there[i] = true
		_, err := s.CreateTenant(ctx, root, TenantInput{ID: strings.Clone(id(i)), Name: "t"})
		require.NoError(b, err)
		_, err = s.CreateKB(ctx, root, "acme", KBInput{ID: strings.Clone(id(i)), Name: fmt.Sprint(i)})
		require.NoError(b, err)
	}
	p, one := member(b, s, "acme", RoleAdmin), member(b, s, "acme", RoleAdmin, newID())
	for name, ask := range map[string]func(id string) error{
		"tenant":         func(id string) error { _, err := s.Enter(ctx, p, id, "main", PermQueryRun); return err },
		"knowledge base": func(id string) error { _, err := s.Enter(ctx, one, "acme", id, PermQueryRun); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				each := make([][]time.Duration, ids)
				for range 200 * ids {
					i := r.IntN(ids)
					start := time.Now()
					err := ask(id(i))
					took := time.Since(start)
					if err == nil {
						b.Fatal("let in")
					}
					each[i] = append(each[i], took)
				}
				var times [2][]time.Duration // not there, there
				for i, d := range each {
					slices.Sort(d)
					k := 0
					if there[i] {
						k = 1
					}
					// The mean of the middle half: a clock of whole nanoseconds has too few medians.
					sum := time.Duration(0)
					for _, d := range d[len(d)/4 : 3*len(d)/4] {
						sum += d
					}
					times[k] = append(times[k], 1000*sum/time.Duration(len(d)/2))
				}
				for _, d := range times {
					slices.Sort(d)
				}
				b.Logf("there: %.2f ns, not there: %.2f ns", float64(median(times[1]))/1000, float64(median(times[0]))/1000)
				b.ReportMetric(mannWhitney(times[0], times[1]), "p")
			}
		})
	}
}

// What is done for a stranger is the same whether or not what it asked for is there.
func TestEnter_RefusalsCostTheSame(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main", "globex/main")
	p, one := member(t, s, "acme", RoleAdmin), member(t, s, "acme", RoleAdmin, "side")
	ctx := ctxOf(t)
	cost := func(p Principal, tenant, kb string) float64 {
		return testing.AllocsPerRun(200, func() {
			if _, err := s.Enter(ctx, p, tenant, kb, PermQueryRun); err == nil {
				t.Fatal("let in")
			}
		})
	}
	require.Equal(t, cost(p, "globex", "main"), cost(p, "nobody", "main"))
	require.Equal(t, cost(one, "acme", "main"), cost(one, "acme", "none"))
}
