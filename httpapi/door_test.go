package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/tenancy"
)

// every is all permissions that a key can hold.
var every = []tenancy.Permission{
	tenancy.PermTenantManage, tenancy.PermTenantMembers, tenancy.PermTenantBilling,
	tenancy.PermKBCreate, tenancy.PermKBDelete, tenancy.PermKBManage, tenancy.PermKBAccess,
	tenancy.PermDocumentCreate, tenancy.PermDocumentUpdate, tenancy.PermDocumentDelete,
	tenancy.PermDocumentRead, tenancy.PermQueryRun,
}

// onTenant is asked of a tenant as a whole; the rest of one knowledge base.
func onTenant(p right) bool {
	return slices.Contains([]tenancy.Permission{tenancy.PermTenantManage, tenancy.PermTenantMembers, tenancy.PermTenantBilling, tenancy.PermKBCreate}, tenancy.Permission(p))
}

// fill puts ids into a pattern.
func fill(pattern, tenant, kb string) string {
	return strings.NewReplacer(":tenant", tenant, ":kb", kb, ":doc", "doc-1", ":track", "insert_1", ":key", "abcdefghijklmnop", ":user", "ada").Replace(pattern)
}

// knock asks for a route with a body that is well formed and says nothing.
func (h *house) knock(credential string, line route, tenant, kb string) *httptest.ResponseRecorder {
	body := ""
	if line.method == post || line.method == put {
		body = "{}"
	}
	return h.as(credential, line.method, fill(line.pattern, tenant, kb), body, at(line, tenant, kb)...)
}

// at is what a request for a route says of its place beside the path.
func at(line route, tenant, kb string) []string {
	head := []string{"X-Request-ID", "same"}
	if lightRAG(line.pattern) {
		head = append(head, "X-Tenant-ID", tenant, "X-KB-ID", kb)
	}
	return head
}

// inTenant and ofKB say what a route acts on.
func inTenant(line route) bool {
	return strings.Contains(line.pattern, ":tenant") || lightRAG(line.pattern)
}
func ofKB(line route) bool { return strings.Contains(line.pattern, ":kb") || lightRAG(line.pattern) }

// The door, for every route of the route page and every kind of caller: who has
// no credential gets 401, who has no right gets 403 that names the right on the
// route's line, and who has exactly that right is let in.
func TestDoor(t *testing.T) {
	h := newHouse(t, Options{LightRAG: true})
	main, other := &[]string{"main"}, &[]string{"other"}
	foreign := h.key("beta", nil, every...)
	elsewhere := h.key("acme", other, every...)
	readOnly := h.key("acme", main, tenancy.PermQueryRun, tenancy.PermKBAccess)
	whole := h.key("acme", nil, every...)
	only := make(map[right]string)
	lacking := make(map[right]string)
	for _, p := range every {
		only[right(p)] = h.key("acme", main, p)
		lacking[right(p)] = h.key("acme", nil, slices.DeleteFunc(slices.Clone(every), func(q tenancy.Permission) bool { return q == p })...)
	}

	// What deletes the place the others knock at comes last.
	routes := h.server.routeTable()
	slices.SortStableFunc(routes, func(a, b route) int { return deletes(a) - deletes(b) })
	for _, line := range routes {
		t.Run(line.method+" "+line.pattern, func(t *testing.T) {
			knock := func(credential string) *httptest.ResponseRecorder { return h.knock(credential, line, "acme", "main") }
			if line.right == public {
				require.Equal(t, 200, knock("").Code)
				require.Equal(t, 200, knock("nonsense").Code, "a probe asks for no credential and looks at none")
				return
			}
			if line.right == byPassword {
				for _, credential := range []string{"", "nonsense", whole} {
					refused(t, knock(credential), 400, "INVALID_REQUEST") // no name in it
					w := h.as(credential, line.method, line.pattern, `{"username":"ada","password":"wrong wrong wrong"}`)
					refused(t, w, 401, "UNAUTHORIZED")
				}
				return
			}
			for _, bad := range []string{"", "nonsense", "a.b.c", "sk-nonsense", "sk-" + strings.Repeat("x", 70), whole + "x"} {
				w := knock(bad)
				refused(t, w, 401, "UNAUTHORIZED")
				require.Contains(t, w.Header().Get("WWW-Authenticate"), "Bearer")
			}
			switch {
			case line.right == anyCaller && !inTenant(line):
				letIn(t, knock(readOnly))
			case line.right == anyCaller:
				letIn(t, knock(readOnly))
				require.Empty(t, refused(t, knock(foreign), 403, "FORBIDDEN").Details)
			case line.right == admin:
				for _, key := range []string{whole, foreign, readOnly} {
					names(t, knock(key), line.right)
				}
			default:
				names(t, knock(foreign), line.right)
				names(t, knock(lacking[line.right]), line.right)
				if onTenant(line.right) {
					letIn(t, knock(elsewhere))
				} else {
					names(t, knock(elsewhere), line.right)
				}
				if tenancy.Permission(line.right) != tenancy.PermQueryRun && tenancy.Permission(line.right) != tenancy.PermKBAccess {
					names(t, knock(readOnly), line.right)
				}
				letIn(t, knock(only[line.right]))
			}
			letIn(t, knock(h.token(tenancy.TokenRequest{Subject: "root", System: true}))) // its own: one route revokes it
		})
	}
}

func deletes(line route) int {
	switch {
	case line.method != del:
		return 0
	case line.pattern == pathKB:
		return 1
	case line.pattern == pathTenant:
		return 2
	case line.pattern == v1+"/auth/revoke":
		return 3
	}
	return 0
}

// names checks for the 403 that names the missing right.
func names(t *testing.T, w *httptest.ResponseRecorder, p right) {
	t.Helper()
	body := refused(t, w, 403, "FORBIDDEN")
	require.Equal(t, map[string]any{"required_permission": string(p)}, body.Details)
	require.Contains(t, body.Message, string(p))
}

// letIn checks that an answer is not about who asked. What was asked may be
// wrong: the bodies say nothing.
func letIn(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	require.NotContains(t, []int{401, 403, 405, 500, 503, 504}, w.Code, w.Body.String())
	if w.Code >= 400 {
		refused(t, w, w.Code, codeOf(t, w))
	}
}

func codeOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	b := slices.Clone(w.Body.Bytes())
	defer func() { w.Body.Reset(); w.Body.Write(b) }()
	var body errorBody
	require.NoError(t, json.Unmarshal(b, &body))
	return body.Code
}

// A stranger learns nothing: for every route the answer about another's tenant
// or knowledge base is the same, byte for byte and header for header, whether or
// not it exists.
func TestDoor_TellsAStrangerNothing(t *testing.T) {
	h := newHouse(t, Options{LightRAG: true})
	h.Add("main", "doc-1", "Ada wrote to Babbage.")
	foreign := h.key("beta", nil, every...)
	elsewhere := h.key("acme", &[]string{"other"}, every...)
	for _, line := range h.server.routeTable() {
		if !inTenant(line) {
			continue
		}
		t.Run(line.method+" "+line.pattern, func(t *testing.T) {
			there := h.knock(foreign, line, "acme", "main")
			require.Equal(t, 403, there.Code)
			for _, place := range [][2]string{{"acme", "nothing"}, {"nobody", "main"}, {"nobody", "nothing"}, {"6e0f7a3e-1111-4222-8333-444455556666", "main"}} {
				same(t, there, h.knock(foreign, line, place[0], place[1]))
			}
			if ofKB(line) {
				there := h.knock(elsewhere, line, "acme", "main")
				require.Equal(t, 403, there.Code)
				same(t, there, h.knock(elsewhere, line, "acme", "nothing"))
			}
			// Nor of what is wrong with a body, a type or a question nobody wanted from them.
			for _, bad := range []string{"{", `{"no such field":1}`, "\xff", ""} {
				same(t, there, h.as(foreign, line.method, fill(line.pattern, "acme", "main"), bad, at(line, "acme", "main")...))
			}
			same(t, there, h.as(foreign, line.method, fill(line.pattern, "acme", "main")+"?nonsense=1&nonsense=2", "{}", at(line, "acme", "main")...))
			// Who may know is told: the system admin finds nothing there.
			if line.right != admin || line.method != post {
				require.Equal(t, 404, h.knock(h.admin, line, "nobody", "main").Code)
			}
			// Nobody is told anything of an id in another spelling.
			for _, id := range []string{"ACME", "{acme}", "acme%20", "urn:uuid:acme", strings.Repeat("a", 300), "6E0F7A3E-1111-4222-8333-444455556666"} {
				require.Equal(t, 400, h.knock(foreign, line, id, "main").Code, id)
			}
		})
	}
	require.Equal(t, 1.0, h.ok(200, get, acmeMain+"/status_counts", "")["status_counts"].(map[string]any)["all"])
}

func same(t *testing.T, a, b *httptest.ResponseRecorder) {
	t.Helper()
	require.Equal(t, a.Code, b.Code)
	require.Equal(t, a.Body.String(), b.Body.String())
	require.Equal(t, a.Header(), b.Header())
}

// A route that reads cannot write, whatever its handler tries: it holds a
// *engine.Reader, which has no such method, over a Space that refuses.
func TestDoor_ReadersCannotWrite(t *testing.T) {
	h := newHouse(t, Options{LightRAG: true})
	reader := reflect.TypeFor[*engine.Reader]()
	for _, name := range []string{
		"Add", "Update", "Delete", "Retry", "Cancel",
		"CreateEntity", "EditEntity", "DeleteEntity", "CreateRelation", "EditRelation", "DeleteRelation", "Merge", "Unmerge", "ImportGraph",
	} {
		_, ok := reader.MethodByName(name)
		require.False(t, ok, "engine.Reader has a method %s", name)
		_, ok = reflect.TypeFor[*engine.KB]().MethodByName(name)
		require.True(t, ok)
	}
	seen := 0
	for _, line := range h.server.routeTable() {
		if line.right.changes() || !ofKB(line) {
			continue
		}
		space, err := h.Store.Enter(context.Background(), h.Admin, "acme", "main", tenancy.Permission(line.right))
		require.NoError(t, err)
		_, err = h.Engine.KB(space).Add(context.Background(), []engine.DocumentInput{{Content: []byte("Text.")}}, "insert")
		require.ErrorIs(t, err, tenancy.ErrDenied, line.pattern)
		seen++
	}
	require.Greater(t, seen, 10)
}

// No method of a Reader leads to what can write: a route that reads cannot get
// hold of a KB, or of the Space behind it.
func TestDoor_ReadersLeadNowhere(t *testing.T) {
	reader := reflect.TypeFor[*engine.Reader]()
	for i := range reader.NumMethod() {
		m := reader.Method(i)
		for j := range m.Type.NumOut() {
			out := m.Type.Out(j)
			for _, no := range []reflect.Type{
				reflect.TypeFor[*engine.KB](), reflect.TypeFor[engine.KB](), reflect.TypeFor[*engine.Engine](), reflect.TypeFor[*tenancy.Space](), reflect.TypeFor[*tenancy.Store](),
			} {
				require.False(t, out == no, "engine.Reader.%s hands out %s", m.Name, no)
			}
			require.False(t, out == reflect.TypeFor[any](), "engine.Reader.%s hands out what may be anything", m.Name)
		}
	}
}

// What only reads changes nothing, whoever asks: every route that reads a
// knowledge base is asked well, with success, by callers who may do everything
// there, and afterwards all is as it was. A handler that writes on its own, with
// the caller's other rights, would pass every test of who may do what.
func TestDoor_ReadingChangesNothing(t *testing.T) {
	h := newHouse(t, Options{LightRAG: true})
	h.Add("main", "doc-2", "Grace met Howard.")
	accepted := h.Add("main", "doc-1", "Ada wrote to Babbage.")
	h.Wait()
	state := func() (string, tenancy.Usage) {
		u, err := h.Space("acme", "main", tenancy.PermKBAccess).Usage(context.Background())
		require.NoError(t, err)
		return h.Dump("main"), u
	}
	dump, usage := state()
	queries := map[string]string{
		pathGraph: "?label=Ada&max_depth=1", pathGraph + "/labels": "?q=ada", pathGraph + "/entity": "?name=Ada", pathGraph + "/path": "?from=Ada&to=Babbage",
		pathGraph + "/related": "?name=Ada", pathGraph + "/export": "?format=csv", "/graph/entity/exists": "?name=Ada",
	}
	bodies := map[string]string{"/documents/paginated": `{}`, pathGraph + "/query": `{"start":["Ada"],"steps":[{"follow":"both"}]}`}
	everything := h.key("acme", nil, every...)
	for _, line := range h.server.routeTable() {
		if line.right.changes() || !ofKB(line) {
			continue
		}
		path := strings.ReplaceAll(fill(line.pattern, "acme", "main"), "insert_1", accepted.TrackID) + queries[line.pattern]
		for _, credential := range []string{everything, h.admin, h.key("acme", nil, tenancy.Permission(line.right))} {
			body := ""
			if line.method == post {
				body = cmp.Or(bodies[line.pattern], `{"query":"Who wrote to Babbage?"}`)
			}
			w := h.as(credential, line.method, path, body, at(line, "acme", "main")...)
			require.Equal(t, 200, w.Code, "%s %s: %s", line.method, path, w.Body)
		}
		h.Wait()
		d, u := state()
		require.Equal(t, dump, d, "%s %s", line.method, line.pattern)
		require.Equal(t, usage, u, "%s %s", line.method, line.pattern)
	}
}

// One credential per request, in one header, once. A token in the query string
// is none.
func TestDoor_Credentials(t *testing.T) {
	h := newHouse(t, Options{})
	key := h.key("acme", nil, every...)
	for name, head := range map[string][]string{
		"nothing":             {},
		"two authorizations":  {"Authorization", "Bearer " + h.admin, "Authorization", "Bearer " + h.admin},
		"two keys":            {"X-API-Key", key, "X-API-Key", key},
		"both":                {"X-API-Key", key, "Authorization", "Bearer " + h.admin},
		"bad token, good key": {"X-API-Key", key, "Authorization", "Bearer a.b.c"},
		"other scheme":        {"Authorization", "Basic " + h.admin},
		"other, good key":     {"X-API-Key", key, "Authorization", "Basic eDp5"},
		"empty, good key":     {"X-API-Key", key, "Authorization", ""},
		"the key twice":       {"X-API-Key", key, "Authorization", "Bearer " + key},
		"no scheme":           {"Authorization", h.admin},
		"a tab":               {"Authorization", "Bearer\t" + h.admin},
		"two blanks":          {"Authorization", "Bearer  " + h.admin},
		"a list":              {"Authorization", "Bearer " + h.admin + ", Bearer x"},
		"an empty token":      {"Authorization", "Bearer "},
		"an empty key":        {"X-API-Key", ""},
		"a token as key":      {"X-API-Key", h.admin},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, ask(h.server, get, v1+"/auth/me", nil, head...), 401, "UNAUTHORIZED")
		})
	}
	refused(t, ask(h.server, get, v1+"/auth/me?token="+h.admin, nil), 401, "UNAUTHORIZED")
	require.Equal(t, 200, ask(h.server, get, v1+"/auth/me", nil, "Authorization", "bearer "+h.admin).Code)
	require.Equal(t, 200, ask(h.server, get, v1+"/auth/me", nil, "Authorization", "Bearer "+key).Code)
	require.Equal(t, 200, ask(h.server, get, v1+"/auth/me", nil, "X-API-Key", key).Code)
	require.NotContains(t, h.log.String(), key)
	require.NotContains(t, h.log.String(), h.admin)
}

// Every route is on the page once, and the page is what is served.
func TestRoutes_Page(t *testing.T) {
	h := newHouse(t, Options{LightRAG: true})
	seen := make(map[string]bool)
	for _, line := range h.server.routeTable() {
		id := line.method + " " + line.pattern
		require.False(t, seen[id], id)
		seen[id] = true
		require.True(t, line.right.known(), id)
		handle, _, _ := h.server.router.Lookup(line.method, fill(line.pattern, "acme", "main"))
		require.NotNil(t, handle, id)
		if line.right == public {
			require.NotContains(t, line.pattern, ":")
		}
	}
	require.Contains(t, seen, http.MethodPost+" "+pathQuery)
}

// There is no way in beside the route page: mount alone hands the router a route,
// and nobody looks at a request's path but who refuses one and who knows a probe.
// A route that is not on the page would pass the tests of all that are.
func TestRoutes_NoneBesideThePage(t *testing.T) {
	allowed := map[string]string{
		"rt.Handle":     "scope.go",  // mount
		"u.EscapedPath": "guard.go",  // checkPath
		"u.Path":        "guard.go",  // the same
		"r.URL.Path":    "server.go", // isProbe

		"scrape.URL.Path": "metrics.go", // of its own listener, which serves nothing else

		"r.URL.RequestURI": "redirect.go", // sent back to the caller; nothing is served by it
	}
	watched := []string{
		"Handle", "Handler", "HandleFunc", "HandlerFunc", "ServeFiles", "NewServeMux", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS",
		"Path", "RawPath", "EscapedPath", "RequestURI",
	}
	harmless := []string{"kb.Path", "http.HandlerFunc", "http.Handler", "s.o.Logger.Handler", "log.Handler"} // the graph's, types, a log's
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	seen := make(map[string]int)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || !slices.Contains(watched, sel.Sel.Name) {
				return true
			}
			name := types.ExprString(sel)
			if slices.Contains(harmless, name) {
				return true
			}
			seen[name]++
			if allowed[name] != file {
				t.Errorf("%s: %s is not listed for this file", set.Position(sel.Pos()), name)
			}
			return true
		})
	}
	require.Equal(t, map[string]int{"rt.Handle": 1, "u.EscapedPath": 1, "u.Path": 1, "r.URL.Path": 2, "r.URL.RequestURI": 1, "scrape.URL.Path": 1}, seen)
}

// The rights of the routes, once more: this list is the contract, so that a
// slip on the route page is seen as one. {t} is a tenant, {kb} one of its
// knowledge bases.
const rightsOfRoutes = `
GET /healthz: public
GET /readyz: public
GET /openapi.json: public
GET /docs: public
GET /docs/page.js: public
GET /docs/swagger-ui.css: public
GET /docs/swagger-ui-bundle.js: public
POST /api/v1/auth/token: name and password
PUT /api/v1/auth/password: any caller
GET /api/v1/auth/me: any caller
POST /api/v1/auth/revoke: any caller
POST /api/v1/users: system:admin
GET /api/v1/users: system:admin
PUT /api/v1/users/:user: system:admin
DELETE /api/v1/users/:user: system:admin
POST /api/v1/tenants: system:admin
GET /api/v1/tenants: system:admin
GET {t}: any caller
PUT {t}: tenant:manage
DELETE {t}: system:admin
GET {t}/audit: tenant:manage
GET /api/v1/admin/audit/checkpoint: system:admin
POST /api/v1/admin/backup: system:admin
POST /api/v1/admin/verify: system:admin
POST /api/v1/admin/rebuild: system:admin
GET /api/v1/admin/status: system:admin
POST {t}/members: tenant:manage_members
GET {t}/members: tenant:manage_members
PUT {t}/members/:user: tenant:manage_members
DELETE {t}/members/:user: tenant:manage_members
GET {t}/usage: tenant:manage
POST {t}/api-keys: tenant:manage
GET {t}/api-keys: tenant:manage
DELETE {t}/api-keys/:key: tenant:manage
POST {t}/api-keys/:key/rotate: tenant:manage
POST {t}/knowledge-bases: kb:create
GET {t}/knowledge-bases: any caller
GET {kb}: kb:access
PUT {kb}: kb:manage
DELETE {kb}: kb:delete
GET {kb}/export: kb:manage
POST {kb}/import: kb:manage
POST {kb}/reembed: kb:manage
POST {kb}/reembed/cancel: kb:manage
POST {kb}/documents/add: document:create
POST {kb}/documents/text: document:create
POST {kb}/documents/texts: document:create
POST {kb}/documents/scan: document:create
PUT {kb}/documents/:doc: document:update
GET {kb}/documents: document:read
GET {kb}/documents/:doc: document:read
GET {kb}/documents/:doc/status: document:read
GET {kb}/documents/:doc/chunks: document:read
GET {kb}/documents/:doc/content: document:read
GET {kb}/documents/:doc/original: document:read
DELETE {kb}/documents/:doc: document:delete
POST {kb}/documents/delete: document:delete
GET {kb}/tracks/:track: document:read
GET {kb}/status_counts: document:read
GET {kb}/jobs: document:read
POST {kb}/jobs/:doc/retry: document:update
POST {kb}/jobs/:doc/cancel: document:update
POST {kb}/query: query:run
POST {kb}/query/stream: query:run
POST {kb}/query/data: query:run
POST {kb}/query/explain: query:run
GET {kb}/graph: kb:access
GET {kb}/graph/labels: kb:access
GET {kb}/graph/labels/popular: kb:access
GET {kb}/graph/entity: kb:access
GET {kb}/graph/path: kb:access
POST {kb}/graph/query: kb:access
GET {kb}/graph/related: kb:access
POST {kb}/graph/communities: kb:access
GET {kb}/graph/communities: kb:access
GET {kb}/graph/duplicates: kb:access
GET {kb}/graph/aliases: kb:access
POST {kb}/graph/entity: document:update
PUT {kb}/graph/entity: document:update
DELETE {kb}/graph/entity: document:update
POST {kb}/graph/relation: document:update
PUT {kb}/graph/relation: document:update
DELETE {kb}/graph/relation: document:update
POST {kb}/graph/merge: document:update
POST {kb}/graph/unmerge: document:update
POST {kb}/graph/import: document:create
GET {kb}/graph/export: document:read
GET /health: public
GET /auth-status: public
POST /login: name and password
POST /documents/scan: document:create
POST /documents/upload: document:create
POST /documents/text: document:create
POST /documents/texts: document:create
GET /documents: document:read
POST /documents/paginated: document:read
GET /documents/status_counts: document:read
GET /documents/track_status/:track: document:read
GET /documents/pipeline_status: document:read
GET /documents/supported_file_types: document:read
POST /documents/cancel_pipeline: document:update
POST /documents/reprocess_failed: document:update
POST /documents/clear_cache: document:update
DELETE /documents/delete_document: document:delete
DELETE /documents: document:delete
DELETE /documents/delete_entity: document:update
DELETE /documents/delete_relation: document:update
POST /query: query:run
POST /query/stream: query:run
POST /query/data: query:run
GET /graphs: kb:access
GET /graph/label/list: kb:access
GET /graph/label/popular: kb:access
GET /graph/label/search: kb:access
GET /graph/entity/exists: kb:access
POST /graph/entity/create: document:update
POST /graph/entity/edit: document:update
DELETE /graph/entity/delete: document:update
POST /graph/relation/create: document:update
POST /graph/relation/edit: document:update
DELETE /graph/relation/delete: document:update
POST /graph/entities/merge: document:update
`

func TestRoutes_Rights(t *testing.T) {
	var page strings.Builder
	for _, line := range newHouse(t, Options{LightRAG: true}).server.routeTable() {
		pattern := strings.NewReplacer(pathKB, "{kb}", pathTenant, "{t}").Replace(line.pattern)
		fmt.Fprintf(&page, "%s %s: %s\n", line.method, pattern, line.right)
	}
	require.Equal(t, strings.TrimSpace(rightsOfRoutes), strings.TrimSpace(page.String()))
}
