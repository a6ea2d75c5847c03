package httpapi

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/tenancy"
)

// The rights of the roles, written down once more and apart from the code that is tested.
const matrixOfRoles = `
	admin            tenant:manage tenant:manage_members tenant:manage_billing kb:create kb:delete kb:manage kb:access document:create document:update document:delete document:read query:run
	editor           kb:create kb:delete kb:access document:create document:update document:delete document:read query:run
	viewer           kb:access document:read query:run
	viewer:read-only kb:access query:run`

// asker is one kind of caller. All but the whole and the system admin reach the
// knowledge bases main and gone of acme alone.
type asker struct {
	name   string
	role   tenancy.Role
	holds  []string
	all    bool
	tenant string
}

func askers() []asker {
	var out []asker
	for line := range strings.Lines(strings.TrimSpace(matrixOfRoles)) {
		f := strings.Fields(line)
		out = append(out, asker{name: f[0], role: tenancy.Role(f[0]), holds: f[1:], tenant: "acme"})
	}
	whole := out[0]
	whole.name, whole.all = "admin of all", true
	return append(out, whole, asker{name: "system", role: tenancy.RoleSystem, all: true}, asker{name: "account", role: tenancy.RoleAccount})
}

// place is where a caller knocks, and what is there.
type place struct {
	name, tenant, kb string
	malformed        bool // an id is in another spelling
	noTenant, noKB   bool // there is no such thing
}

var places = []place{
	{name: "own", tenant: "acme", kb: "main"},
	{name: "deleted", tenant: "acme", kb: "gone", noKB: true},
	{name: "other KB", tenant: "acme", kb: "other"},
	{name: "no KB", tenant: "acme", kb: "nothing", noKB: true},
	{name: "other tenant", tenant: "beta", kb: "main"},
	{name: "other tenant, no KB", tenant: "beta", kb: "nothing", noKB: true},
	{name: "no tenant", tenant: "nobody", kb: "main", noTenant: true},
	{name: "deleted tenant", tenant: "dead", kb: "main", noTenant: true},
	{name: "malformed KB", tenant: "acme", kb: "MAIN", malformed: true},
	{name: "malformed tenant", tenant: "ACME", kb: "main", malformed: true},
}

// world is a house with the places above and a credential of each kind for each asker.
type world struct {
	*house
	made map[string][]string
}

func newWorld(t testing.TB) *world {
	h := newHouse(t, Options{})
	h.spec = nil // the exchanges here are held to the description elsewhere
	h.Space("acme", "gone", tenancy.PermKBAccess)
	h.Space("dead", "main", tenancy.PermKBAccess)
	return &world{house: h, made: map[string][]string{}}
}

// kinds of credential. A session is a token that an account signed in for, a JWT one made
// with the secret alone; both is two good credentials at once.
var kinds = []string{"session", "JWT", "key", "none", "both"}

// head is a caller's credential as headers, or nil if there is none of the kind.
func (w *world) head(a asker, kind string) []string {
	id := a.name + "/" + kind
	if h, ok := w.made[id]; ok {
		return h
	}
	kbs := []string{"main", "gone"}
	if a.all {
		kbs = []string{"*"}
	}
	q := tenancy.TokenRequest{Subject: "someone", System: a.role == tenancy.RoleSystem, Tenant: a.tenant, KBs: kbs, Role: a.role}
	if q.System {
		q.KBs = nil
	}
	var out []string
	switch {
	case kind == "none":
		out = []string{}
	case kind == "session":
		out = credentialHead(w.session(a, kbs))
	case a.role == tenancy.RoleAccount: // only an account's sign-in makes such a token
	case kind == "JWT":
		out = credentialHead(w.token(q))
	case kind == "both":
		out = append(credentialHead(w.token(q)), credentialHead(w.key("acme", nil, every...))...)
	case a.role == tenancy.RoleSystem: // no key is a system admin's
	default:
		var ps []tenancy.Permission
		for _, p := range a.holds {
			ps = append(ps, tenancy.Permission(p))
		}
		out = credentialHead(w.key(a.tenant, &kbs, ps...))
	}
	w.made[id] = out
	return out
}

// session signs in with an account that is what a is.
func (w *world) session(a asker, kbs []string) string {
	ctx, name := context.Background(), "u-"+strings.NewReplacer(" ", "-", ":", "-").Replace(a.name)
	_, err := w.Store.CreateUser(ctx, w.Admin, tenancy.UserInput{Name: name, Password: goodPassword, System: a.role == tenancy.RoleSystem})
	require.NoError(w.t, err)
	if a.tenant != "" {
		_, err = w.Store.AddMember(ctx, w.Admin, a.tenant, tenancy.MemberInput{User: name, Role: a.role, KBs: &kbs})
		require.NoError(w.t, err)
	}
	s, err := w.Store.SignIn(ctx, tenancy.SignIn{User: name, Password: goodPassword})
	require.NoError(w.t, err)
	require.Equal(w.t, a.role, s.Role)
	return s.Token
}

// settle deletes what is to be gone, once every credential that is to outlive it is made.
func (w *world) settle() {
	ctx := context.Background()
	require.NoError(w.t, w.Store.DeleteKB(ctx, w.Admin, "acme", "gone"))
	require.NoError(w.t, w.Store.DeleteTenant(ctx, w.Admin, "dead"))
}

// verdict is what the contract says of a request: "in", or the code of its refusal.
func verdict(line route, a asker, kind string, p place) string {
	inTenant, inKB := strings.Contains(line.pattern, ":tenant"), strings.Contains(line.pattern, ":kb")
	system := a.role == tenancy.RoleSystem
	switch {
	case line.right == public || line.right == byPassword:
		return "in"
	case kind == "none" || kind == "both":
		return "401 UNAUTHORIZED"
	case p.malformed && (inKB || inTenant && p.tenant == "ACME"):
		return "400 INVALID_REQUEST"
	case line.right == anyCaller && !inTenant:
		return "in"
	case system && inTenant && p.noTenant:
		return "404 INVALID_TENANT"
	case system && inKB && p.noKB:
		return "404 INVALID_KB"
	case system:
		return "in"
	case line.right == admin:
		return "403 FORBIDDEN"
	case p.tenant != a.tenant:
		return "403 FORBIDDEN"
	case line.right == anyCaller:
		return "in"
	case !slices.Contains(a.holds, string(line.right)):
		return "403 FORBIDDEN"
	case !inKB:
		return "in"
	case !a.all && p.kb != "main" && p.kb != "gone":
		return "403 FORBIDDEN"
	case p.noKB:
		return "404 INVALID_KB"
	}
	return "in"
}

// knockings are what a request brings besides its credential: nothing that is wrong with
// it may be told to who has no right.
var knockings = []struct{ query, kind, body string }{
	{"", "application/json", "{}"},
	{"", "application/json", "{"},
	{"", "text/plain", "hello"},
	{"?nonsense=1", "application/json", `{"no such field":[]}`},
	{"", "", ""},
}

// Every route of the page, every place, every kind of credential, every role: the verdict
// is the contract's, for each of them; and to who may not know, what is there and what is
// not answers the same, byte for byte and header for header, whatever the request was like.
func TestMatrix(t *testing.T) {
	if raced {
		t.Skip("asks one question after the other")
	}
	w := newWorld(t)
	for _, a := range askers() {
		for _, kind := range kinds {
			w.head(a, kind)
		}
	}
	w.settle()
	count, wrong := 0, 0
	counts := map[string]int{}
	ask1 := func(w *world, line route, a asker, kind string, p place, knock int) *httptest.ResponseRecorder {
		k := knockings[knock]
		head := append([]string{"X-Request-ID", "same"}, w.head(a, kind)...)
		if k.kind != "" {
			head = append(head, "Content-Type", k.kind)
		}
		body := k.body
		if line.method == get || line.method == del {
			body = ""
		}
		count++
		return ask(w.server, line.method, fill(line.pattern, p.tenant, p.kb)+k.query, strings.NewReader(body), head...)
	}
	for _, line := range w.server.routeTable() {
		for _, a := range askers() {
			for _, kind := range kinds {
				if w.head(a, kind) == nil {
					continue
				}
				asked := map[string]bool{}
				first := map[string]*httptest.ResponseRecorder{}
				for _, p := range places {
					path := fill(line.pattern, p.tenant, p.kb)
					if asked[path] {
						continue // the route does not name what tells these places apart
					}
					asked[path] = true
					want, at := verdict(line, a, kind, p), w
					once := want == "in" && (deletes(line) > 0 || line.pattern == v1+"/auth/revoke")
					if once { // it takes away what the others need
						at = newWorld(t)
						at.head(a, kind)
						at.settle()
					}
					got := ask1(at, line, a, kind, p, 0)
					counts[want]++
					if fault := differs(t, got, want); fault != "" {
						wrong++
						t.Errorf("%s %s as %s (%s) at %s: %s", line.method, line.pattern, a.name, kind, p.name, fault)
						continue
					}
					if want == "in" || want[0] != '4' || want[:3] == "404" || want[:3] == "400" {
						continue
					}
					// Refused: the same as at every other place that is not the caller's.
					where := want
					if p.tenant == a.tenant {
						where += " inside"
					}
					if first[where] == nil {
						first[where] = got
					}
					same(t, first[where], got)
					for knock := 1; knock < len(knockings); knock++ {
						if want[:3] == "401" && knock != 1+count%(len(knockings)-1) {
							continue // one is enough: nothing was looked at yet
						}
						same(t, got, ask1(at, line, a, kind, p, knock))
					}
				}
			}
		}
	}
	t.Logf("%d requests, %d wrong; verdicts: %v", count, wrong, counts)
	require.Zero(t, wrong)
	require.Greater(t, count, 5000)
}

// differs says what is wrong with an answer, or nothing.
func differs(t *testing.T, w *httptest.ResponseRecorder, want string) string {
	got := fmt.Sprint(w.Code)
	if w.Code >= 400 {
		got += " " + codeOf(t, w)
	}
	if want != "in" {
		if got != want {
			return fmt.Sprintf("%s, want %s", got, want)
		}
		return ""
	}
	// What was asked may be wrong, since the bodies say nothing; not who asked, nor where.
	if w.Code == 401 && strings.Contains(w.Body.String(), "name or the password") {
		return ""
	}
	if slices.Contains([]int{401, 403, 405, 500, 503, 504}, w.Code) || strings.HasSuffix(got, " INVALID_KB") || strings.HasSuffix(got, " INVALID_TENANT") {
		return got + ", want to be let in"
	}
	return ""
}

// The timing of the two answers a stranger gets, over the whole wire: random places that
// are there and that are not, by lot. BenchmarkEnter_Timing in tenancy has the statistic;
// here the two usual times are shown. Run it alone:
//
//	go test ./httpapi -run xxx -bench Stranger -benchtime 1x
func BenchmarkStranger(b *testing.B) {
	h := newHouse(b, Options{})
	stranger := credentialHead(h.key("beta", nil, every...))
	const n = 50
	paths := make([]string, 2*n)
	for i := range paths {
		id := fmt.Sprintf("%08x-0000-4000-8000-%012x", i*2654435761&0xffffffff, i)
		if i%2 == 0 {
			h.Space(id, "main", tenancy.PermKBAccess)
		}
		paths[i] = v1 + "/tenants/" + id + "/knowledge-bases/main/status_counts"
	}
	for b.Loop() {
		var times [2][]time.Duration
		for i := range 20_000 {
			at := (i * 7919) % len(paths)
			start := time.Now()
			w := ask(h.server, get, paths[at], nil, stranger...)
			times[at%2] = append(times[at%2], time.Since(start))
			require.Equal(b, 403, w.Code)
		}
		for _, d := range times {
			slices.Sort(d)
		}
		there, not := times[0][len(times[0])/2], times[1][len(times[1])/2]
		b.Logf("there: median %v, not there: median %v", there, not)
		b.ReportMetric(100*(float64(max(there, not))/float64(min(there, not))-1), "%apart")
	}
}
