package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// ADR 007's walk-through, with the statuses and shapes that the wire promises.
func TestWalkThrough(t *testing.T) {
	h := newHouse(t, Options{})
	tenant := h.ok(201, post, v1+"/tenants", `{"tenant_name":"Test Tenant"}`)
	require.Equal(t, "Test Tenant", tenant["tenant_name"])
	require.Equal(t, true, tenant["is_active"])
	base := v1 + "/tenants/" + tenant["tenant_id"].(string)
	kb := h.ok(201, post, base+"/knowledge-bases", `{"kb_name":"Test KB"}`)
	id := kb["kb_id"].(string)
	at := base + "/knowledge-bases/" + id

	// Its sample key cannot upload, and the answer says what it lacks.
	sample := h.ok(201, post, base+"/api-keys", `{"key_name":"test-key","knowledge_base_ids":["`+id+`"],"permissions":["query:run","document:read"]}`)["key"].(string)
	require.True(t, strings.HasPrefix(sample, "sk-"))
	body, kind := form(t, "file:test_document.txt", "Ada wrote to Babbage.", "metadata", `{"topic":"letters"}`)
	w := ask(h.server, post, at+"/documents/add", body, "X-API-Key", sample, "Content-Type", kind)
	require.Contains(t, refused(t, w, 403, "FORBIDDEN").Message, "document:create")

	key := h.ok(201, post, base+"/api-keys", `{"key_name":"up","knowledge_base_ids":["`+id+`"],"permissions":["query:run","document:read","document:create","kb:access"]}`)["key"].(string)
	body, kind = form(t, "file:test_document.txt", "Ada wrote to Babbage.", "metadata", `{"topic":"letters"}`)
	w = ask(h.server, post, at+"/documents/add", body, "X-API-Key", key, "Content-Type", kind)
	require.Equal(t, 202, w.Code, w.Body.String())
	up := data(t, w)
	require.Equal(t, "processing", up["status"])
	doc := up["doc_id"].(string)
	require.NotEmpty(t, up["track_id"])
	require.Equal(t, "test_document.txt", up["documents"].([]any)[0].(map[string]any)["file_path"])
	h.Wait()

	track := data(t, h.as(key, get, at+"/tracks/"+up["track_id"].(string), ""))
	require.Equal(t, map[string]any{"processed": 1.0}, track["status_summary"])
	status := data(t, h.as(key, get, at+"/documents/"+doc+"/status", ""))
	require.Equal(t, "processed", status["status"])
	require.Equal(t, 1.0, status["chunks_processed"])
	require.Contains(t, status, "entities_extracted")
	require.Contains(t, status, "relationships_extracted")

	for _, mode := range []engine.Mode{engine.ModeNaive, engine.ModeLocal, engine.ModeGlobal, engine.ModeHybrid, engine.ModeMix, engine.ModePPR} {
		w := h.as(key, post, at+"/query", fmt.Sprintf(`{"query":"What is this document about?","mode":%q,"top_k":10}`, mode))
		require.Equal(t, 200, w.Code, w.Body.String())
		var a engine.Answer
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
		require.NotEmpty(t, a.Response)
		require.Equal(t, "none", a.LLM)
		require.Equal(t, mode, a.Metadata.Mode)
	}
	refused(t, h.as(key, post, at+"/query", `{"query":"Who is Ada?","mode":"bypass"}`), 409, "NO_MODEL")

	refused(t, h.as(key, get, v1+"/tenants/770e8400-e29b-41d4-a716-446655440001", ""), 403, "FORBIDDEN")
	refused(t, h.as(key, get, v1+"/tenants/acme", ""), 403, "FORBIDDEN")

	// Nothing is left when it is deleted, and its credentials end with it.
	h.ok(200, del, at, "")
	refused(t, h.as(h.admin, get, at, ""), 404, "INVALID_KB")
	refused(t, h.as(key, get, at+"/documents", ""), 404, "INVALID_KB")
	h.ok(200, del, base, "")
	refused(t, h.as(h.admin, get, base, ""), 404, "INVALID_TENANT")
}

// What a model is told of extraction, per knowledge base, comes back as it was sent.
func TestKBConfig_RoundTrip(t *testing.T) {
	h := newHouse(t, Options{})
	h.ok(201, post, v1+"/tenants", `{"tenant_id":"delta","tenant_name":"D"}`)
	kb := v1 + "/tenants/delta/knowledge-bases/one"
	config := `{"top_k":7,"chunk_size":300,"cosine_threshold":0.5,"custom_metadata":{"a":1},"language":"Français","entity_types":["Person","Ship"],` +
		`"gleaning":1,"prompts":{"extract_rows":"{types} {language} {max_entities} {max_relations}","extract_json":"{types}: {\"entities\":[]}",` +
		`"extract_user":"{where}{fence}\n{text}\n{fence}","glean":"More?","summary":"{name} {tokens}"}}`
	h.ok(201, post, v1+"/tenants/delta/knowledge-bases", `{"kb_id":"one","kb_name":"One","config":{"language":"German"}}`)
	require.Equal(t, map[string]any{"language": "German"}, h.ok(200, get, kb, "")["config"])
	for _, got := range []map[string]any{h.ok(200, put, kb, `{"config":`+config+`}`), h.ok(200, get, kb, "")} {
		b, err := json.Marshal(got["config"])
		require.NoError(t, err)
		require.JSONEq(t, config, string(b))
	}
	got := h.ok(200, put, kb, `{"config":{"prompts":{},"entity_types":[]}}`)["config"].(map[string]any)
	require.NotContains(t, got, "prompts")
	require.NotContains(t, got, "entity_types")
	require.Equal(t, "Français", got["language"])
	// What is in force, and whose word it is.
	h.ok(200, put, v1+"/tenants/delta", `{"config":{"chunk_top_k":3,"top_k":9}}`)
	settings := h.ok(200, get, kb, "")["settings"].(map[string]any)
	require.Equal(t, map[string]any{"value": 7.0, "from": "knowledge base"}, settings["top_k"])
	require.Equal(t, map[string]any{"value": 3.0, "from": "tenant"}, settings["chunk_top_k"])
	require.Equal(t, map[string]any{"value": 30_000.0, "from": "server"}, settings["max_total_tokens"])
	h.ok(200, put, kb, `{"config_unset":["top_k"]}`)
	require.Equal(t, map[string]any{"value": 9.0, "from": "tenant"}, h.ok(200, get, kb, "")["settings"].(map[string]any)["top_k"])
	for bad, field := range map[string]string{
		`{"config_unset":["top-k"]}`:                           "config_unset[0]",
		`{"config":{"llm_model":"gpt-9"}}`:                     "config.llm_model",
		`{"config":{"gleaning":3}}`:                            "config.gleaning",
		`{"config":{"language":1}}`:                            "config.language",
		`{"config":{"entity_types":["a|b"]}}`:                  "config.entity_types[0]",
		`{"config":{"prompts":{"extract_user":"no text"}}}`:    "config.prompts.extract_user",
		`{"config":{"prompts":{"nothing":"x"}}}`:               "config.prompts",
		`{"config":{"prompts":{"summary":"{name} {secret}"}}}`: "config.prompts.summary",
		`{"config":{"languages":"x"}}`:                         "config.languages",
	} {
		body := refused(t, h.as(h.admin, put, kb, bad), 400, "INVALID_REQUEST")
		require.Equal(t, field, body.Details["field"], bad)
	}
}

// A partial document says which chunks failed, and a retry reads those.
func TestPartialDocument(t *testing.T) {
	ex := &enginetest.Extractor{}
	ex.Before = func(_ context.Context, _ int, asked string) error {
		if strings.Contains(asked, "Babbage") {
			return fmt.Errorf("%w: status 400: unsafe", engine.ErrModelRefused)
		}
		return nil
	}
	h := newHouseWith(t, Options{}, engine.Options{Extractor: ex, ChunkTokens: 24, ChunkOverlap: 1})
	at := v1 + "/tenants/acme/knowledge-bases/main"
	text := "Here Ada writes a sentence of a dozen words to be cut somewhere.\n\nHere Babbage writes a sentence of a dozen words to be cut somewhere."
	b, err := json.Marshal(map[string]string{"id": "d", "text": text})
	require.NoError(t, err)
	h.ok(202, post, at+"/documents/text", string(b))
	h.Wait()
	d := h.ok(200, get, at+"/documents/d", "")
	require.Equal(t, "partial", d["status"])
	require.Equal(t, 1.0, d["failed_chunks_count"])
	require.Equal(t, 0.0, d["records_dropped"])
	failed := d["failed_chunks"].([]any)[0].(map[string]any)
	require.Equal(t, "d-chunk-001", failed["chunk_id"])
	require.Equal(t, 1.0, failed["chunk_order_index"])
	require.Contains(t, failed["error"], "unsafe")
	require.Equal(t, 1.0, h.ok(200, get, at+"/documents/d/status", "")["failed_chunks_count"])
	require.Len(t, h.ok(200, get, at+"/documents?status=partial", "")["documents"], 1)

	n := ex.Calls()
	ex.Before = nil
	h.ok(202, post, at+"/jobs/d/retry", "")
	h.Wait()
	require.Equal(t, n+1, ex.Calls())
	d = h.ok(200, get, at+"/documents/d", "")
	require.Equal(t, "processed", d["status"])
	require.NotContains(t, d, "failed_chunks")
	refused(t, h.as(h.admin, post, at+"/jobs/d/retry", ""), 409, "CONFLICT")
}

func TestManagement(t *testing.T) {
	h := newHouse(t, Options{})
	h.ok(201, post, v1+"/tenants", `{"tenant_id":"delta","tenant_name":"D"}`)
	refused(t, h.as(h.admin, post, v1+"/tenants", `{"tenant_id":"delta","tenant_name":"D"}`), 409, "CONFLICT")
	body := refused(t, h.as(h.admin, post, v1+"/tenants", `{"tenant_id":"Delta","tenant_name":"D"}`), 400, "INVALID_REQUEST")
	require.Equal(t, "tenant_id", body.Details["field"])
	// Fields that are only shown cannot be set.
	for _, field := range []string{"created_by", "kb_count", "created_at", "key", "role"} {
		body := refused(t, h.as(h.admin, put, v1+"/tenants/delta", `{"`+field+`":"x"}`), 400, "INVALID_REQUEST")
		require.Equal(t, field, body.Details["field"])
	}
	require.Equal(t, "E", h.ok(200, put, v1+"/tenants/delta", `{"tenant_name":"E"}`)["tenant_name"])
	page := h.ok(200, get, v1+"/tenants?limit=1", "")
	require.Len(t, page["items"], 1)
	require.NotEmpty(t, page["next_cursor"])
	require.Len(t, h.ok(200, get, v1+"/tenants?cursor="+page["next_cursor"].(string), "")["items"], 2)

	kbs := v1 + "/tenants/delta/knowledge-bases"
	h.ok(201, post, kbs, `{"kb_id":"one","kb_name":"One"}`)
	refused(t, h.as(h.admin, post, kbs, `{"kb_name":"one"}`), 409, "CONFLICT")
	require.Equal(t, "said", h.ok(200, put, kbs+"/one", `{"description":"said"}`)["description"])
	require.Len(t, h.ok(200, get, kbs, "")["items"], 1)

	keys := v1 + "/tenants/delta/api-keys"
	made := h.ok(201, post, keys, `{"key_name":"k","permissions":["document:read"]}`)
	secret, id := made["key"].(string), made["key_id"].(string)
	require.NotContains(t, h.as(h.admin, get, keys, "").Body.String(), secret)
	me := data(t, h.as(secret, get, v1+"/auth/me", ""))
	require.Equal(t, "delta", me["tenant_id"])
	require.Equal(t, []any{"document:read"}, me["permissions"])
	require.Equal(t, true, me["all_knowledge_bases"])
	require.Equal(t, false, me["system_admin"])
	h.ok(200, del, keys+"/"+id, "")
	refused(t, h.as(secret, get, v1+"/auth/me", ""), 401, "UNAUTHORIZED")
	refused(t, h.as(h.admin, del, keys+"/"+id, ""), 404, "NOT_FOUND")

	// A suspended tenant's callers are told so, others as before.
	key := h.key("delta", nil, tenancy.PermKBAccess)
	h.ok(200, put, v1+"/tenants/delta", `{"is_active":false}`)
	refused(t, h.as(key, get, kbs+"/one/graph", ""), 403, "TENANT_SUSPENDED")
	refused(t, h.as(h.key("beta", nil, tenancy.PermKBAccess), get, kbs+"/one/graph", ""), 403, "FORBIDDEN")
}

// Who asks who it is learns of no knowledge base that is not there any more, nor of a
// later one of that id.
func TestWhoAmI_NamesWhatIsThere(t *testing.T) {
	h := newHouse(t, Options{})
	key := h.key("acme", &[]string{"main", "other"}, tenancy.PermKBAccess)
	reach := func() any { return data(t, h.as(key, get, v1+"/auth/me", ""))["knowledge_base_ids"] }
	require.Equal(t, []any{"main", "other"}, reach())
	h.ok(200, del, v1+"/tenants/acme/knowledge-bases/other", "")
	require.Equal(t, []any{"main"}, reach())
	h.ok(201, post, v1+"/tenants/acme/knowledge-bases", `{"kb_id":"other","kb_name":"Another"}`)
	require.Equal(t, []any{"main"}, reach())
}

func TestRevoke(t *testing.T) {
	h := newHouse(t, Options{})
	token := h.token(tenancy.TokenRequest{Subject: "ann", Tenant: "acme", KBs: []string{"*"}, Role: tenancy.RoleViewer})
	require.Equal(t, "viewer", data(t, h.as(token, get, v1+"/auth/me", ""))["role"])
	require.Equal(t, 200, h.as(token, post, v1+"/auth/revoke", "").Code)
	refused(t, h.as(token, get, v1+"/auth/me", ""), 401, "UNAUTHORIZED")
	refused(t, h.as(h.key("acme", nil, tenancy.PermKBAccess), post, v1+"/auth/revoke", ""), 400, "INVALID_REQUEST")
}

func TestDocuments(t *testing.T) {
	h := newHouse(t, Options{})
	docs := acmeMain + "/documents"
	in := h.ok(202, post, docs+"/texts", `{"texts":["Ada wrote to Babbage.","Grace met Alan."],"ids":["a","b"],"file_sources":["a.txt","b.txt"],"metadata":[{"n":1},null]}`)
	require.Len(t, in["documents"], 2)
	h.Wait()
	again := h.ok(202, post, docs+"/text", `{"text":"Ada wrote to Babbage.","id":"a","file_source":"a.txt","metadata":{"n":1}}`)
	require.Equal(t, "unchanged", again["documents"].([]any)[0].(map[string]any)["result"])
	require.Contains(t, refused(t, h.as(h.admin, post, docs+"/text", `{"text":"Other.","id":"a"}`), 409, "CONFLICT").Message, "PUT")

	page := h.ok(200, get, docs+"?status=processed&limit=1", "")
	require.Len(t, page["documents"], 1)
	page = h.ok(200, get, docs+"?cursor="+page["next_cursor"].(string), "")
	require.Len(t, page["documents"], 1)
	require.Equal(t, "", page["next_cursor"])
	require.Equal(t, 2.0, h.ok(200, get, acmeMain+"/status_counts", "")["status_counts"].(map[string]any)["processed"])
	require.Equal(t, map[string]any{"n": 1.0}, h.ok(200, get, docs+"/a", "")["metadata"])
	require.Equal(t, "Ada wrote to Babbage.", h.ok(200, get, docs+"/a/chunks", "")["chunks"].([]any)[0].(map[string]any)["content"])
	require.Equal(t, []any{}, h.ok(200, get, acmeMain+"/jobs", "")["jobs"])

	h.ok(202, put, docs+"/a", `{"text":"Ada wrote to Mary.","file_source":"a.txt"}`)
	h.Wait()
	w := h.as(h.admin, get, docs+"/a/content", "")
	require.Equal(t, "Ada wrote to Mary.", w.Body.String())
	require.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	require.True(t, strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment; filename="), w.Header())
	require.Equal(t, "18", w.Header().Get("Content-Length"))
	refused(t, h.as(h.admin, put, docs+"/a", `{"text":"x","id":"b"}`), 400, "INVALID_REQUEST")
	refused(t, h.as(h.admin, put, docs+"/zz", `{"text":"Nothing there."}`), 404, "NOT_FOUND")

	require.Equal(t, true, h.ok(200, del, docs+"/a?dry_run=true", "")["dry_run"])
	h.ok(200, get, docs+"/a", "")
	require.Equal(t, "deleted", h.ok(200, del, docs+"/a", "")["documents"].([]any)[0].(map[string]any)["result"])
	for _, path := range []string{"/documents/a", "/documents/a/status", "/documents/a/chunks", "/documents/a/content", "/tracks/none"} {
		refused(t, h.as(h.admin, get, acmeMain+path, ""), 404, "NOT_FOUND")
	}
	refused(t, h.as(h.admin, del, docs+"/a", ""), 404, "NOT_FOUND")
	gone := h.ok(200, post, docs+"/delete", `{"doc_ids":["b","never"]}`)
	require.Equal(t, "not_found", gone["documents"].([]any)[1].(map[string]any)["result"])
	require.Equal(t, 0.0, h.ok(200, get, acmeMain+"/status_counts", "")["status_counts"].(map[string]any)["all"])
	refused(t, h.as(h.admin, post, acmeMain+"/jobs/a/retry", ""), 404, "NOT_FOUND")
	refused(t, h.as(h.admin, post, acmeMain+"/jobs/a/cancel", ""), 404, "NOT_FOUND")
}

// A document is replaced or deleted only as long as it is what the caller has looked
// at; its tag is of what was sent, not of how far the work on it has come.
func TestDocuments_IfMatch(t *testing.T) {
	h := newHouse(t, Options{})
	at := acmeMain + "/documents/a"
	h.ok(202, post, acmeMain+"/documents/text", `{"id":"a","text":"Ada wrote."}`)
	tag := func() string { return h.as(h.admin, get, at, "").Header().Get("ETag") }
	first := tag()
	require.Regexp(t, `^"[0-9a-f]+"$`, first)
	h.Wait()
	require.Equal(t, first, tag())
	require.Equal(t, 202, h.as(h.admin, put, at, `{"text":"Ada wrote."}`, "If-Match", first).Code)
	require.Equal(t, first, tag(), "unchanged")
	require.Equal(t, 202, h.as(h.admin, put, at, `{"text":"Ada wrote again."}`, "If-Match", first).Code)
	second := tag()
	require.NotEqual(t, first, second)
	h.Wait()
	require.Equal(t, second, tag())
	h.ok(202, put, at, `{"text":"Ada wrote again.","metadata":{"year":1843}}`)
	third := tag()
	require.NotEqual(t, second, third)

	for _, path := range []string{at, at + "?dry_run=true"} {
		refused(t, h.as(h.admin, del, path, "", "If-Match", second), 412, "PRECONDITION_FAILED")
		refused(t, h.as(h.admin, del, path, "", "If-Match", "W/"+third), 412, "PRECONDITION_FAILED")
	}
	refused(t, h.as(h.admin, put, at, `{"text":"Ada wrote."}`, "If-Match", second), 412, "PRECONDITION_FAILED")
	require.Equal(t, third, tag())
	require.Equal(t, 200, h.as(h.admin, del, at+"?dry_run=true", "", "If-Match", third).Code)
	require.Equal(t, 200, h.as(h.admin, del, at, "", "If-Match", second+", "+third).Code)
	refused(t, h.as(h.admin, del, at, "", "If-Match", "*"), 404, "NOT_FOUND")
}

func TestGraph(t *testing.T) {
	h := newHouse(t, Options{})
	h.Add("main", "a", "Ada wrote to Babbage about Engines.")
	h.Wait()
	get200 := func(path string) string {
		w := h.as(h.admin, get, acmeMain+path, "")
		require.Equal(t, 200, w.Code, w.Body.String())
		return w.Body.String()
	}
	var g engine.Subgraph
	require.NoError(t, json.Unmarshal([]byte(get200("/graph?label=Ada&max_depth=1&max_nodes=10")), &g))
	require.NotEmpty(t, g.Nodes)
	require.NotEmpty(t, g.Edges)
	require.Contains(t, strings.ToLower(get200("/graph/labels?q=ada&limit=5")), `"ada"`)
	require.Contains(t, get200("/graph/labels/popular?limit=1"), `"degree":`)
	require.Contains(t, get200("/graph/entity?name=Ada"), `"properties":`)
	require.Contains(t, get200("/graph/path?from=Ada&to=Engines"), `"found":true`)
	refused(t, h.as(h.admin, get, acmeMain+"/graph/entity?name=No%2FBody", ""), 404, "NOT_FOUND")
	for _, bad := range []string{"/graph?max_depth=0", "/graph?max_depth=11", "/graph?max_nodes=1e3", "/graph?depth=1", "/graph?label=a&label=b",
		"/graph?label=%FF", "/graph?label=%00", "/graph/entity", "/graph/entity?name=", "/graph/path?from=Ada", "/graph/labels?limit=+1", "/graph/labels?limit=01", "/graph?a;b"} {
		refused(t, h.as(h.admin, get, acmeMain+bad, ""), 400, "INVALID_REQUEST")
	}
}

// The stream ends with the event that says how the answer was made; the same
// question with stream=false is one event.
func TestQueryStream(t *testing.T) {
	h := newHouse(t, Options{})
	h.Add("main", "a", "Ada wrote to Babbage.")
	h.Wait()
	events := func(w *httptest.ResponseRecorder) (out []event) {
		require.Equal(t, 200, w.Code, w.Body.String())
		for _, block := range strings.Split(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n") {
			line, ok := strings.CutPrefix(block, "data: ")
			require.True(t, ok, block)
			var e event
			require.NoError(t, json.Unmarshal([]byte(line), &e))
			out = append(out, e)
		}
		return out
	}
	const ask = `{"query":"Who wrote to Babbage?"`
	all := events(h.as(h.admin, post, acmeMain+"/query/stream", ask+`}`))
	require.NotNil(t, all[0].References)
	require.Greater(t, len(all), 2)
	last := all[len(all)-1]
	require.True(t, last.Done)
	require.NotNil(t, last.Metadata)
	text := ""
	for _, e := range all {
		text += e.Response
	}
	one := events(h.as(h.admin, post, acmeMain+"/query/stream", ask+`,"stream":false}`))
	require.Len(t, one, 1)
	require.Equal(t, text, one[0].Response)
	require.True(t, one[0].Done)

	w := h.as(h.admin, post, acmeMain+"/query/stream", ask+`}`, "Accept", "application/x-ndjson")
	require.Equal(t, "application/x-ndjson", w.Header().Get("Content-Type"))
	for _, line := range strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n") {
		require.True(t, json.Valid([]byte(line)))
	}
	// Before the first event an error is an ordinary one.
	refused(t, h.as(h.admin, post, acmeMain+"/query/stream", `{"query":"Who?","mode":"foo"}`), 400, "INVALID_REQUEST")

	var d engine.Data
	w = h.as(h.admin, post, acmeMain+"/query/data", ask+`,"mode":"naive"}`)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &d))
	require.Equal(t, "success", d.Status)
	require.Equal(t, "Ada wrote to Babbage.", d.Data.Chunks[0].Content)

	var x engine.Explanation
	w = h.as(h.admin, post, acmeMain+"/query/explain", ask+`}`)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &x))
	require.Equal(t, d.Data.Chunks[0].ChunkID, x.Chunks[0].ID)
	require.Equal(t, 1, x.Chunks[0].FinalRank)
	require.NotEmpty(t, x.Chunks[0].Stages)
	refused(t, h.as(h.admin, post, acmeMain+"/query/explain", ask+`,"mode":"bypass"}`), 400, "INVALID_REQUEST")
	refused(t, h.as(h.admin, post, acmeMain+"/query", ask+`,"response_format":"pdf"}`), 400, "INVALID_REQUEST")
}
