package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// A client of LightRAG's that knows only its own routes brings documents, asks, looks at
// the graph, changes it and clears up, with a key that is bound to one knowledge base.
func TestLightRAG_WalkThrough(t *testing.T) {
	h := newHouse(t, Options{LightRAG: true})
	key := h.key("acme", &[]string{"main"}, every...)
	call := func(method, path, body string) map[string]any {
		t.Helper()
		w := h.as(key, method, path, body)
		require.Equal(t, 200, w.Code, "%s %s: %s", method, path, w.Body)
		var m map[string]any
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &m))
		return m
	}
	text := call(post, "/documents/text", `{"text":"Ada wrote to Babbage.","file_source":"letter.txt"}`)
	require.Equal(t, "success", text["status"])
	require.NotEmpty(t, text["message"])
	require.Equal(t, "duplicated", call(post, "/documents/text", `{"text":"Ada wrote to Babbage.","file_source":"letter.txt"}`)["status"])
	require.Equal(t, "success", call(post, "/documents/texts", `{"texts":["Grace met Howard.","Alan met Joan."],"file_sources":["a.txt","b.txt"]}`)["status"])
	body, kind := form(t, "file:up.txt", "Emmy proved it.")
	w := ask(h.server, post, "/documents/upload", body, "X-API-Key", key, "Content-Type", kind)
	require.Equal(t, 200, w.Code, w.Body.String())
	h.Wait()

	track := call(get, "/documents/track_status/"+text["track_id"].(string), "")
	require.Equal(t, map[string]any{"processed": 1.0}, track["status_summary"])
	doc := track["documents"].([]any)[0].(map[string]any)
	for _, field := range []string{"id", "content_summary", "content_length", "status", "created_at", "updated_at", "track_id", "chunks_count", "metadata", "file_path"} {
		require.Contains(t, doc, field)
	}
	require.Equal(t, 0.0, call(get, "/documents/track_status/insert_nothing", "")["total_count"])
	require.Equal(t, 4.0, call(get, "/documents/status_counts", "")["status_counts"].(map[string]any)["processed"])
	require.Len(t, call(get, "/documents", "")["statuses"].(map[string]any)["processed"], 4)
	require.Equal(t, false, call(get, "/documents/pipeline_status", "")["busy"])
	require.Contains(t, call(get, "/documents/supported_file_types", "")["supported_extensions"], ".txt")
	require.Equal(t, "not_busy", call(post, "/documents/cancel_pipeline", "")["status"])
	require.Equal(t, "success", call(post, "/documents/clear_cache", "{}")["status"])
	require.NotEmpty(t, call(post, "/documents/reprocess_failed", "")["status"])

	a := call(post, "/query", `{"query":"Who wrote to Babbage?","mode":"mix"}`)
	require.NotEmpty(t, a["response"])
	require.NotEmpty(t, a["references"])
	require.Equal(t, "success", call(post, "/query/data", `{"query":"Who wrote to Babbage?"}`)["status"])
	w = h.as(key, post, "/query/stream", `{"query":"Who wrote to Babbage?"}`)
	require.Equal(t, "application/x-ndjson", w.Header().Get("Content-Type"))
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	require.Greater(t, len(lines), 1)
	require.True(t, strings.HasPrefix(lines[0], `{"references":`), lines[0])
	for _, l := range lines {
		require.True(t, json.Valid([]byte(l)), l)
	}

	var names []string
	require.NoError(t, json.Unmarshal(h.as(key, get, "/graph/label/list", "").Body.Bytes(), &names))
	require.Contains(t, names, "Ada")
	require.NoError(t, json.Unmarshal(h.as(key, get, "/graph/label/search?q=bab", "").Body.Bytes(), &names))
	require.Equal(t, []string{"Babbage"}, names)
	require.NoError(t, json.Unmarshal(h.as(key, get, "/graph/label/popular?limit=2", "").Body.Bytes(), &names))
	require.Len(t, names, 2)
	g := call(get, "/graphs?label=Ada&max_depth=1", "")
	require.Len(t, g["nodes"], 2)
	require.Contains(t, g, "is_truncated")
	require.Equal(t, true, call(get, "/graph/entity/exists?name=Ada", "")["exists"])
	require.Equal(t, false, call(get, "/graph/entity/exists?name=Zeno", "")["exists"])
	call(post, "/graph/entity/edit", `{"entity_name":"Ada","updated_data":{"description":"A countess."}}`)
	require.Equal(t, 201, h.as(key, post, "/graph/entity/create", `{"entity_name":"Zeno","entity_data":{"entity_type":"person","description":"A Greek."}}`).Code)
	require.Equal(t, 201, h.as(key, post, "/graph/relation/create", `{"source_entity":"Zeno","target_entity":"Ada","relation_data":{"description":"Read her.","keywords":"reading"}}`).Code)
	call(post, "/graph/relation/edit", `{"source_id":"Zeno","target_id":"Ada","updated_data":{"keywords":"late reading"}}`)
	call(del, "/graph/relation/delete", `{"source_entity":"Zeno","target_entity":"Ada"}`)
	call(del, "/graph/entity/delete", `{"entity_name":"Zeno"}`)
	call(post, "/graph/entities/merge", `{"entities_to_change":["Grace"],"entity_to_change_into":"Howard"}`)

	require.Equal(t, "deletion_started", call(del, "/documents/delete_document", `{"doc_ids":["`+doc["id"].(string)+`"],"delete_file":false}`)["status"])
	require.Equal(t, 3.0, call(get, "/documents/status_counts", "")["status_counts"].(map[string]any)["all"])
	require.Equal(t, "success", call(del, "/documents", "")["status"])
	require.Equal(t, 0.0, call(get, "/documents/status_counts", "")["status_counts"].(map[string]any)["all"])

	// What is refused is said where LightRAG's clients look for it too.
	bad := refused(t, h.as(key, post, "/documents/text", `{"text":"x","chunking":{"strategy":"fixed_token"}}`), 400, "INVALID_REQUEST")
	require.Equal(t, "chunking", bad.Details["field"])
	require.Equal(t, bad.Message, bad.Detail)
}

// LightRAG's pages: sorted by what is asked for, cut, filtered by its own words.
func TestLightRAG_Pages(t *testing.T) {
	h := newHouse(t, Options{LightRAG: true})
	add := func(id, path string) {
		_, err := h.KB("main").Add(t.Context(), []engine.DocumentInput{{ID: id, FilePath: path, Content: []byte("Text of " + id + ".")}}, "insert")
		require.NoError(t, err)
	}
	for _, id := range []string{"c", "a", "b"} {
		add(id, id+".txt")
	}
	for i := range 10 {
		add(fmt.Sprint("z", i), "z.txt")
	}
	h.Wait()
	page := func(body string) (ids []string, p map[string]any) {
		t.Helper()
		w := h.as(h.admin, post, "/documents/paginated", body, "X-Tenant-ID", "acme", "X-KB-ID", "main")
		require.Equal(t, 200, w.Code, w.Body.String())
		var out struct {
			Documents    []legacyDocument
			Pagination   map[string]any
			StatusCounts map[string]int `json:"status_counts"`
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &out))
		require.Equal(t, 13, out.StatusCounts["processed"])
		for _, d := range out.Documents {
			ids = append(ids, d.ID)
		}
		return ids, out.Pagination
	}
	ids, p := page(`{"sort_field":"id","sort_direction":"asc","page_size":10}`)
	require.Equal(t, []string{"a", "b", "c", "z0", "z1", "z2", "z3", "z4", "z5", "z6"}, ids)
	require.Equal(t, map[string]any{"page": 1.0, "page_size": 10.0, "total_count": 13.0, "total_pages": 2.0, "has_next": true, "has_prev": false}, p)
	ids, p = page(`{"sort_field":"id","sort_direction":"asc","page_size":10,"page":2}`)
	require.Equal(t, []string{"z7", "z8", "z9"}, ids)
	require.Equal(t, []any{false, true}, []any{p["has_next"], p["has_prev"]})
	ids, _ = page(`{"sort_field":"file_path","sort_direction":"desc","page_size":10}`)
	require.Equal(t, "z0", ids[0], "equals stay in the order in which they came")
	ids, p = page(`{"status_filter":"FAILED"}`)
	require.Empty(t, ids)
	require.Equal(t, 0.0, p["total_count"])
	ids, _ = page(`{"status_filters":["processed"],"page":3,"page_size":10}`)
	require.Empty(t, ids)
	for body, field := range map[string]string{
		`{"page":-1}`: "page", `{"page_size":9}`: "page_size", `{"page_size":201}`: "page_size", `{"sort_field":"size"}`: "sort_field", `{"sort_direction":"up"}`: "sort_direction",
	} {
		w := h.as(h.admin, post, "/documents/paginated", body, "X-Tenant-ID", "acme", "X-KB-ID", "main")
		require.Equal(t, field, refused(t, w, 400, "INVALID_REQUEST").Details["field"], body)
	}
}

// A route of LightRAG's acts where both headers say, or where the credential is bound to,
// and nowhere else: nothing is made, nothing is guessed, and a stranger learns nothing.
func TestLightRAG_Place(t *testing.T) {
	h := newHouse(t, Options{LightRAG: true})
	bound := h.key("acme", &[]string{"main"}, every...)
	two := h.key("acme", &[]string{"main", "other"}, every...)
	whole := h.key("acme", nil, every...)
	foreign := h.key("beta", &[]string{"main"}, every...)
	counts := func(credential string, head ...string) *httptest.ResponseRecorder {
		return h.as(credential, get, "/documents/status_counts", "", append(head, "X-Request-ID", "same")...)
	}
	const tenant, kb = "X-Tenant-ID", "X-KB-ID"
	for name, w := range map[string]*httptest.ResponseRecorder{
		"bound": counts(bound), "bound and said": counts(bound, tenant, "acme", kb, "main"), "one of two": counts(two, tenant, "acme", kb, "other"),
		"its own tenant": counts(whole, kb, "main"), "admin": counts(h.admin, tenant, "acme", kb, "main"),
	} {
		require.Equal(t, 200, w.Code, name)
	}
	for name, c := range map[string]struct {
		w     *httptest.ResponseRecorder
		field string
	}{
		"two, none said": {counts(two), kb}, "all, none said": {counts(whole), kb}, "admin, none said": {counts(h.admin), tenant},
		"admin, half said": {counts(h.admin, tenant, "acme"), kb}, "twice": {counts(bound, kb, "main", kb, "main"), kb},
		"another spelling": {counts(bound, kb, "MAIN"), "kb_id"}, "empty": {counts(bound, kb, ""), "kb_id"},
	} {
		require.Equal(t, c.field, refused(t, c.w, 400, "INVALID_REQUEST").Details["field"], name)
	}
	for name, w := range map[string]*httptest.ResponseRecorder{
		"header against credential": counts(bound, kb, "other"), "another tenant": counts(bound, tenant, "beta"), "not there": counts(bound, kb, "nothing"),
		"foreign": counts(foreign, tenant, "acme", kb, "main"), "foreign, not there": counts(foreign, tenant, "nobody", kb, "nothing"),
	} {
		refused(t, w, 403, "FORBIDDEN")
		require.NotContains(t, w.Body.String(), "nothing", name)
	}
	same(t, counts(foreign, tenant, "acme", kb, "main"), counts(foreign, tenant, "nobody", kb, "nothing"))
	refused(t, counts(whole, kb, "nothing"), 404, "INVALID_KB")
	refused(t, counts(""), 401, "UNAUTHORIZED")
	page, err := h.Store.KBs(t.Context(), h.Admin, "acme", tenancy.PageRequest{})
	require.NoError(t, err)
	require.Equal(t, 2, page.Total, "none was made")

	off := newHouse(t, Options{})
	refused(t, off.as(off.admin, get, "/documents/status_counts", "", tenant, "acme", kb, "main"), 404, "NOT_FOUND")
}

// With tenants switched off there is one knowledge base, LightRAG's routes act on it, and
// no other can be asked for or seen.
func TestSingle(t *testing.T) {
	h := newHouse(t, Options{Single: "default"})
	require.NoError(t, h.Store.Ensure(t.Context(), "default"))
	require.NoError(t, h.Store.Ensure(t.Context(), "default"), "again")
	require.Equal(t, 200, h.as(h.admin, post, "/documents/text", `{"text":"Ada wrote."}`).Code)
	h.Wait()
	for _, line := range newHouse(t, Options{}).server.routeTable() {
		if strings.HasPrefix(line.pattern, v1+"/tenants") {
			refused(t, h.knock(h.admin, line, "default", "default"), 404, "NOT_FOUND")
		}
	}
	refused(t, h.as(h.admin, get, "/documents/status_counts", "", "X-Tenant-ID", "acme", "X-KB-ID", "main"), 403, "FORBIDDEN")
	refused(t, h.as(h.key("acme", &[]string{"main"}, every...), get, "/documents/status_counts", ""), 403, "FORBIDDEN")
	refused(t, h.as("", get, "/documents/status_counts", ""), 401, "UNAUTHORIZED")
	own := h.key("default", nil, tenancy.PermDocumentRead)
	require.Equal(t, 200, h.as(own, get, "/documents/status_counts", "").Code)
	refused(t, h.as(own, post, "/query", `{"query":"Who wrote?"}`), 403, "FORBIDDEN")
	h.ok(201, post, v1+"/users", `{"user":"root","password":"`+goodPassword+`","system_admin":true}`)
	w := ask(h.server, post, "/login", strings.NewReader("username=root&password="+url.QueryEscape(goodPassword)), "Content-Type", "application/x-www-form-urlencoded")
	require.Equal(t, 200, w.Code, w.Body.String())
	session := data(t, w)
	require.Equal(t, "bearer", session["token_type"])
	require.Equal(t, 200, h.as(session["access_token"].(string), get, "/documents/status_counts", "").Code)
	var status map[string]any
	require.NoError(t, json.Unmarshal(h.as("", get, "/auth-status", "").Body.Bytes(), &status))
	require.Equal(t, true, status["auth_configured"])
}

// Where nobody has to sign in, a request of this machine may do what the one tenant's
// admin may; a page of another site may not make a browser do it, and a credential that
// is sent has to be right.
func TestSingle_NobodySignsIn(t *testing.T) {
	env := enginetest.OpenStore(t, tenancy.Options{Everybody: "default"}, engine.Options{})
	require.NoError(t, env.Store.Ensure(t.Context(), "default"))
	h := &house{Env: env, t: t, log: new(safeBuffer)}
	var err error
	h.server, err = New(Options{Store: env.Store, Engine: env.Engine, Logger: jsonLog(h.log), Single: "default", NoSignIn: true})
	require.NoError(t, err)
	counts := func(head ...string) *httptest.ResponseRecorder {
		return h.as("", get, "/documents/status_counts", "", head...)
	}
	require.Equal(t, 200, counts().Code)
	require.Equal(t, 200, counts("Sec-Fetch-Site", "same-origin", "Origin", "http://localhost").Code)
	require.Equal(t, 200, h.as("", post, "/documents/text", `{"text":"Ada wrote."}`).Code)
	h.Wait()
	for _, head := range [][]string{
		{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
		{"X-API-Key", "sk-nonsense"}, {"Authorization", "Bearer a.b.c"}, {"Authorization", "Basic eDp5"},
	} {
		refused(t, counts(head...), 401, "UNAUTHORIZED")
	}
	refused(t, h.as("", get, v1+"/admin/audit/checkpoint", ""), 403, "FORBIDDEN")
	refused(t, counts("X-Tenant-ID", "other"), 403, "FORBIDDEN")
	r := httptest.NewRequest(get, "/documents/status_counts", nil)
	r.Host = "evil.example"
	refused(t, serve(h.server, r), 421, "INVALID_HOST")
}
