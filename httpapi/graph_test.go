package httpapi

import (
	"encoding/json"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
)

// The graph changed over the wire, in LightRAG's shapes.
func TestGraph_Edits(t *testing.T) {
	h := newHouse(t, Options{})
	at := acmeMain + "/graph"
	entity := func(name, data string) map[string]any {
		return h.ok(201, post, at+"/entity", `{"entity_name":"`+name+`","entity_data":`+data+`}`)
	}
	made := entity("Ada Lovelace", `{"entity_type":"person","description":"She wrote notes."}`)
	require.Equal(t, "success", made["status"])
	require.Equal(t, "Entity 'Ada Lovelace' created successfully", made["message"])
	require.Equal(t, map[string]any{
		"entity_name": "Ada Lovelace", "entity_id": "Ada Lovelace", "entity_type": "person", "description": "She wrote notes.",
		"source_id": "manual_creation", "file_path": "manual_creation", "source": "manual", "degree": 0.0, "mentions": 0.0,
		"hand_tag": made["data"].(map[string]any)["hand_tag"],
	}, made["data"])
	entity("Augusta / King", `{}`)
	entity("Engine", `{}`)
	entity("Engines", `{}`)
	dup := h.ok(200, get, at+"/duplicates?limit=5", "")
	pair := dup["duplicates"].([]any)[0].(map[string]any)
	require.Equal(t, []any{"Engine", "Engines"}, pair["entities"])
	require.Equal(t, "spelling", pair["evidence"].(map[string]any)["name_kind"])
	require.Equal(t, "limit", refused(t, h.as(h.admin, get, at+"/duplicates?limit=501", ""), 400, "INVALID_REQUEST").Details["field"])
	h.ok(200, del, at+"/entity?name=Engines", "")
	refused(t, h.as(h.admin, post, at+"/entity", `{"entity_name":"engine"}`), 409, "CONFLICT")
	require.Equal(t, "entity_name", refused(t, h.as(h.admin, post, at+"/entity", `{}`), 400, "INVALID_REQUEST").Details["field"])
	require.Equal(t, "entity_data.type", refused(t, h.as(h.admin, post, at+"/entity", `{"entity_name":"x","entity_data":{"type":"y"}}`), 400, "INVALID_REQUEST").Details["field"])

	rel := h.ok(201, post, at+"/relation", `{"source_entity":"Ada Lovelace","target_entity":"Engine","relation_data":{"keywords":"notes","weight":2}}`)["data"].(map[string]any)
	require.Equal(t, []any{"Ada Lovelace", "Engine", "notes", 2.0}, []any{rel["src_id"], rel["tgt_id"], rel["keywords"], rel["weight"]})
	rel = h.ok(200, put, at+"/relation", `{"source_id":"Engine","target_id":"ada lovelace","updated_data":{"description":"She described it."}}`)["data"].(map[string]any)
	require.Equal(t, []any{"Ada Lovelace", "She described it.", 2.0}, []any{rel["src_id"], rel["description"], rel["weight"]})

	m := h.ok(200, post, at+"/merge", `{"entities_to_change":["Augusta / King"],"entity_to_change_into":"Ada Lovelace"}`)["data"].(map[string]any)
	require.Equal(t, "Ada Lovelace", h.ok(200, get, at+"/entity?name=Augusta+%2F+King", "")["id"])
	require.Equal(t, []any{"Augusta / King"}, h.ok(200, post, at+"/unmerge", `{"merge_id":"`+m["merge_id"].(string)+`"}`)["data"].(map[string]any)["entities"])
	refused(t, h.as(h.admin, post, at+"/unmerge", `{"merge_id":"`+m["merge_id"].(string)+`"}`), 404, "NOT_FOUND")

	renamed := `{"entity_name":"Engine","updated_data":{"entity_name":"Analytical Engine","entity_type":"machine"}`
	require.Equal(t, "allow_rename", refused(t, h.as(h.admin, put, at+"/entity", renamed+`}`), 400, "INVALID_REQUEST").Details["field"])
	e := h.ok(200, put, at+"/entity", renamed+`,"allow_rename":true}`)["data"].(map[string]any)
	require.Equal(t, []any{"Analytical Engine", "machine"}, []any{e["entity_name"], e["entity_type"]})
	refused(t, h.as(h.admin, put, at+"/entity", `{"entity_name":"Ada Lovelace","updated_data":{"entity_name":"Engine"},"allow_rename":true}`), 409, "CONFLICT")

	h.ok(200, del, at+"/relation?source=Engine&target=Ada+Lovelace", "")
	refused(t, h.as(h.admin, del, at+"/relation?source=Engine&target=Ada+Lovelace", ""), 404, "NOT_FOUND")
	h.ok(200, del, at+"/entity?name=Augusta+%2F+King", "")
	require.Equal(t, "name", refused(t, h.as(h.admin, del, at+"/entity", ""), 400, "INVALID_REQUEST").Details["field"])
	var labels []string
	require.NoError(t, json.Unmarshal(h.as(h.admin, get, at+"/labels", "").Body.Bytes(), &labels))
	require.Equal(t, []string{"Ada Lovelace", "Analytical Engine"}, labels)
}

// LightRAG's own example of a custom graph, as it stands in its README.
func TestGraph_Import(t *testing.T) {
	h := newHouse(t, Options{})
	const kg = `{
		"chunks": [
			{"content": "Alice and Bob are collaborating on quantum computing research.", "source_id": "doc-1", "file_path": "test_file"}
		],
		"entities": [
			{"entity_name": "Alice", "entity_type": "person", "description": "Alice is a researcher specializing in quantum physics.", "source_id": "doc-1", "file_path": "test_file"},
			{"entity_name": "Bob", "entity_type": "person", "description": "Bob is a mathematician.", "source_id": "doc-1", "file_path": "test_file"},
			{"entity_name": "Quantum Computing", "entity_type": "technology", "description": "Quantum computing utilizes quantum mechanical phenomena for computation.", "source_id": "doc-1", "file_path": "test_file"}
		],
		"relationships": [
			{"src_id": "Alice", "tgt_id": "Bob", "description": "Alice and Bob are research partners.", "keywords": "collaboration research", "weight": 1.0, "source_id": "doc-1", "file_path": "test_file"},
			{"src_id": "Alice", "tgt_id": "Quantum Computing", "description": "Alice conducts research on quantum computing.", "keywords": "research expertise", "weight": 1.0, "source_id": "doc-1", "file_path": "test_file"}
		]}`
	a := h.ok(202, post, acmeMain+"/graph/import", kg)
	require.Equal(t, "processing", a["status"])
	h.Wait()
	require.Equal(t, map[string]any{"processed": 1.0}, h.ok(200, get, acmeMain+"/tracks/"+a["track_id"].(string), "")["status_summary"])
	e := h.ok(200, get, acmeMain+"/graph/entity?name=quantum+computing", "")["properties"].(map[string]any)
	require.Equal(t, []any{"technology", "test_file"}, []any{e["entity_type"], e["file_path"]})
	h.ok(200, del, acmeMain+"/documents/"+a["doc_id"].(string), "")
	refused(t, h.as(h.admin, get, acmeMain+"/graph/entity?name=Alice", ""), 404, "NOT_FOUND")
	require.Equal(t, "chunks", refused(t, h.as(h.admin, post, acmeMain+"/graph/import", `{}`), 400, "INVALID_REQUEST").Details["field"])
	require.Equal(t, "entities[0].name", refused(t, h.as(h.admin, post, acmeMain+"/graph/import", `{"entities":[{"name":"x"}]}`), 400, "INVALID_REQUEST").Details["field"])
}

func TestGraph_QueryAndRelated(t *testing.T) {
	h := newHouse(t, Options{})
	at := acmeMain + "/graph"
	for _, r := range []string{"Ada|Babbage", "Babbage|Engine", "Engine|London"} {
		a, b, _ := strings.Cut(r, "|")
		for _, n := range []string{a, b} {
			h.as(h.admin, post, at+"/entity", `{"entity_name":"`+n+`"}`)
		}
		h.ok(201, post, at+"/relation", `{"source_entity":"`+a+`","target_entity":"`+b+`"}`)
	}
	found := h.ok(200, post, at+"/query", `{"start":["ada"],"steps":[{"follow":"out","hops":3},{"except":{"start":["Engine"]}}],"limit":1}`)
	require.Equal(t, map[string]any{"entities": []any{map[string]any{"label": "Babbage", "degree": 2.0}}, "is_truncated": true}, found)
	near := h.ok(200, get, at+"/related?name=London&limit=2", "")
	require.Equal(t, "London", near["entity"])
	require.Equal(t, "Engine", near["related"].([]any)[0].(map[string]any)["label"])
	for body, field := range map[string]string{
		`{}`: "steps",
		`{"start":["a"],"steps":[{"walk":"out"}]}`:                                          "steps[0].walk",
		`{"start":["a"],"steps":[{"follow":"out","limit":3}]}`:                              "steps[0].limit",
		`{"start":["a"],"steps":[{"and":{"start":["b"],"steps":[{"follow":"sideways"}]}}]}`: "steps[0].and.steps[0].follow",
		`{"start":["a"],"steps":[{"follow":"out"}],"limit":-1}`:                             "limit",
		`{"start":"a","steps":[]}`:                                                          "start",
	} {
		require.Equal(t, field, refused(t, h.as(h.admin, post, at+"/query", body), 400, "INVALID_REQUEST").Details["field"], body)
	}
	refused(t, h.as(h.admin, get, at+"/related?name=Nobody", ""), 404, "NOT_FOUND")

	require.Equal(t, "none", h.ok(200, get, at+"/communities", "")["status"])
	for h.ok(200, post, at+"/communities", "")["status"] != "ready" {
		runtime.Gosched()
	}
	c := h.ok(200, get, at+"/communities?limit=1&members=1", "")
	require.Equal(t, true, c["is_truncated"])
	require.Equal(t, 2.0, c["count"])
	require.Equal(t, map[string]any{"size": 2.0, "relations": 1.0, "members": []any{map[string]any{"label": "Ada", "degree": 1.0}}}, c["communities"].([]any)[0])
	for _, param := range []string{"limit=1001", "members=101"} {
		field, _, _ := strings.Cut(param, "=")
		require.Equal(t, field, refused(t, h.as(h.admin, get, at+"/communities?"+param, ""), 400, "INVALID_REQUEST").Details["field"])
	}
	require.Equal(t, "name", refused(t, h.as(h.admin, get, at+"/related", ""), 400, "INVALID_REQUEST").Details["field"])
	require.Equal(t, "limit", refused(t, h.as(h.admin, get, at+"/related?name=Ada&limit=1001", ""), 400, "INVALID_REQUEST").Details["field"])
}

// Whatever is sent, a path query is answered or refused by a field of it, and what
// it was answered is within its limit.
func FuzzGraphQuery(f *testing.F) {
	for _, s := range []string{
		`{"start":["ada"],"steps":[{"follow":"out","hops":3}],"limit":2}`,
		`{"start":["ada","b"],"steps":[{"follow":"both"},{"and":{"start":["Engine"],"steps":[{"follow":"in"}]}}]}`,
		`{"start":["ada"],"steps":[{"or":{"start":["x"]}},{"except":{"start":["ada"]}},{"follow":"in"}],"filter":{"tags":"a"}}`,
		`{"start":[""],"steps":[{}]}`, `{"steps":[{"and":{"steps":[{"and":{}}]}}]}`, `{"start":["a"],"steps":[{"follow":"out","hops":-1}]}`, `{"limit":1e9}`,
	} {
		f.Add([]byte(s))
	}
	h := newHouse(f, Options{})
	for _, r := range []string{"ada|b", "b|Engine", "Engine|ada", "Engine|x"} {
		a, b, _ := strings.Cut(r, "|")
		for _, n := range []string{a, b} {
			h.as(h.admin, post, acmeMain+"/graph/entity", `{"entity_name":"`+n+`"}`)
		}
		h.as(h.admin, post, acmeMain+"/graph/relation", `{"source_entity":"`+a+`","target_entity":"`+b+`"}`)
	}
	h.spec = nil // null for a field is taken as its absence, which the description leaves out
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) == 0 {
			return // the house then sends no type
		}
		w := h.as(h.admin, post, acmeMain+"/graph/query", string(body))
		if w.Code != 200 {
			require.Contains(t, []int{400, 413}, w.Code, w.Body.String())
			require.NotEmpty(t, refused(t, w, w.Code, codeOf(t, w)).Details["field"], w.Body.String())
			return
		}
		var q engine.GraphQuery
		var found engine.GraphFound
		require.NoError(t, json.Unmarshal(body, &q))
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &found))
		require.NotEmpty(t, q.Start)
		if q.Limit > 0 {
			require.LessOrEqual(t, len(found.Entities), q.Limit)
		}
		require.LessOrEqual(t, len(found.Entities), 4)
	})
}

// An ETag is what If-Match takes: the second of two edits of one state is 412.
func TestGraph_IfMatch(t *testing.T) {
	h := newHouse(t, Options{})
	at := acmeMain + "/graph"
	h.ok(201, post, at+"/entity", `{"entity_name":"Ada"}`)
	tag := h.as(h.admin, get, at+"/entity?name=Ada", "").Header().Get("ETag")
	require.Regexp(t, `^"[0-9a-f]+"$`, tag)
	edit := func(typ string, match ...string) *httptest.ResponseRecorder {
		var head []string
		for _, m := range match {
			head = append(head, "If-Match", m)
		}
		return h.as(h.admin, put, at+"/entity", `{"entity_name":"Ada","updated_data":{"entity_type":"`+typ+`"}}`, head...)
	}
	w := edit("person", tag)
	require.Equal(t, 200, w.Code)
	next := w.Header().Get("ETag")
	require.NotEqual(t, tag, next)
	refused(t, edit("place", tag), 412, "PRECONDITION_FAILED")
	refused(t, edit("place", "W/"+next), 412, "PRECONDITION_FAILED")
	require.Equal(t, 200, edit("writer", tag+", "+next).Code)
	require.Equal(t, 200, edit("poet", "*").Code)
	require.Equal(t, 200, edit("countess").Code)
	h.ok(201, post, at+"/entity", `{"entity_name":"Babbage"}`)
	h.ok(201, post, at+"/relation", `{"source_entity":"Ada","target_entity":"Babbage","relation_data":{}}`)
	refused(t, h.as(h.admin, put, at+"/relation", `{"source_id":"Ada","target_id":"Babbage","updated_data":{"weight":2}}`, "If-Match", tag), 412, "PRECONDITION_FAILED")

	refused(t, h.as(h.admin, del, at+"/relation?source=Ada&target=Babbage", "", "If-Match", tag), 412, "PRECONDITION_FAILED")
	refused(t, h.as(h.admin, del, at+"/entity?name=Ada", "", "If-Match", next), 412, "PRECONDITION_FAILED")
	h.ok(200, post, at+"/merge", `{"entities_to_change":["Ada"],"entity_to_change_into":"Babbage"}`)
	require.Len(t, h.ok(200, get, at+"/aliases", "")["aliases"], 1)
	now := h.as(h.admin, get, at+"/entity?name=Ada", "").Header().Get("ETag")
	require.Equal(t, 200, h.as(h.admin, del, at+"/entity?name=Ada", "", "If-Match", tag+", "+now).Code)
}
