package httpapi

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// description holds what a server says of itself and compiles the parts of it that a
// test asks for. Every object in it is closed: an answer with a field that is not
// described, and a request with one that the server takes, is a fault.
type description struct {
	doc      map[string]any
	compiler *jsonschema.Compiler
	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema
}

func describedBy(t testing.TB, s *Server) *description {
	t.Helper()
	text, err := s.description()
	require.NoError(t, err)
	if d, ok := descriptions.Load(string(text)); ok {
		return d.(*description)
	}
	d := &description{compiled: map[string]*jsonschema.Schema{}, compiler: jsonschema.NewCompiler()}
	require.NoError(t, json.Unmarshal(text, &d.doc))
	closeObjects(d.doc)
	b, err := json.Marshal(d.doc)
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	require.NoError(t, err)
	d.compiler.AssertFormat()
	require.NoError(t, d.compiler.AddResource("openapi.json", doc))
	descriptions.Store(string(text), d)
	return d
}

var descriptions sync.Map // string -> *description: they are many servers' and slow to compile

// closeObjects forbids fields that are not listed, in everything that lists fields.
func closeObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, lists := v["properties"].(map[string]any); lists && v["type"] != nil {
			if _, said := v["additionalProperties"]; !said {
				v["additionalProperties"] = false
			}
		}
		for _, x := range v {
			closeObjects(x)
		}
	case []any:
		for _, x := range v {
			closeObjects(x)
		}
	}
}

// check validates a body against the schema at a place of the document.
func (d *description) check(t testing.TB, body []byte, place ...string) {
	t.Helper()
	ref := "openapi.json#"
	for _, p := range place {
		ref += "/" + strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(p)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.compiled[ref]
	if s == nil {
		var err error
		s, err = d.compiler.Compile(ref)
		require.NoError(t, err, ref)
		d.compiled[ref] = s
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	require.NoError(t, err, "%s", body)
	require.NoError(t, s.Validate(v), "%s: %s", ref, body)
}

// exchange validates the JSON that was sent and the answer on a route. What was
// refused need not have been well formed.
func (d *description) exchange(t testing.TB, line route, sent string, w *httptest.ResponseRecorder) {
	t.Helper()
	op := []string{"paths", bracePath(line.pattern), strings.ToLower(line.method)}
	if w.Code >= 400 {
		d.check(t, w.Body.Bytes(), "components", "responses", "error", "content", "application/json", "schema")
		return
	}
	o, ok := operations[line.method+" "+line.pattern]
	if !ok {
		o = lightRAGOperations[line.method+" "+line.pattern]
	}
	if sent != "" && o.in != nil {
		d.check(t, []byte(sent), append(op, "requestBody", "content", "application/json", "schema")...)
	}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		status := o.status
		if w.Code != status { // reembed alone answers 200 beside 202
			require.Contains(t, []int{200, 202}, w.Code)
		}
		d.check(t, w.Body.Bytes(), append(op, "responses", strconv.Itoa(status), "content", "application/json", "schema")...)
	}
}

// The description has the routes of the page and no others, in its own spelling, with
// an id of its own for each, and is what a server answers.
func TestOpenAPI_IsTheRoutePage(t *testing.T) {
	for _, o := range []Options{{Version: "1.2.3"}, {Version: "1.2.3", LightRAG: true}, {Version: "1.2.3", Single: "default"}} {
		describesItsRoutes(t, newHouse(t, o))
	}
}

func describesItsRoutes(t *testing.T, h *house) {
	t.Helper()
	w := h.as("", get, pathOpenAPI, "")
	require.Equal(t, 200, w.Code)
	var doc struct {
		OpenAPI string `json:"openapi"`
		Info    struct{ Version string }
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Security    []any
			Parameters  []struct{ Name, In string }
		}
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &doc))
	require.Equal(t, "3.1.0", doc.OpenAPI)
	require.Equal(t, "1.2.3", doc.Info.Version)
	ids := map[string]bool{}
	n := 0
	for _, line := range h.server.routeTable() {
		op, ok := doc.Paths[bracePath(line.pattern)][strings.ToLower(line.method)]
		require.True(t, ok, "%s %s", line.method, line.pattern)
		require.False(t, ids[op.OperationID], "%s twice", op.OperationID)
		ids[op.OperationID] = true
		require.Equal(t, line.right != public && line.right != byPassword, len(op.Security) > 0, line.pattern)
		var inQuery []string
		for _, p := range op.Parameters {
			if p.In == "query" {
				inQuery = append(inQuery, p.Name)
			}
		}
		require.ElementsMatch(t, line.params, inQuery, line.pattern)
		n++
	}
	total := 0
	for _, methods := range doc.Paths {
		total += len(methods)
	}
	require.Equal(t, n, total)
	require.Len(t, h.server.operations(), n)
}

// A route that nobody described, and a description of no route, are faults.
func TestOpenAPI_IsComplete(t *testing.T) {
	h := newHouse(t, Options{})
	missing := slices.Clone(h.server.routeTable())
	_, err := openAPI(missing[1:], operations, "")
	require.ErrorContains(t, err, "has no route")
	_, err = openAPI(append(missing, route{get, "/x", public, nil, nil}), operations, "")
	require.ErrorContains(t, err, "has no operation")
}

// The document compiles whole as JSON Schema: nothing in it points nowhere.
func TestOpenAPI_Compiles(t *testing.T) {
	d := describedBy(t, newHouse(t, Options{LightRAG: true}).server)
	for _, name := range slices.Sorted(maps.Keys(d.doc["components"].(map[string]any)["schemas"].(map[string]any))) {
		_, err := d.compiler.Compile("openapi.json#/components/schemas/" + name)
		require.NoError(t, err, name)
	}
}

// The page of /docs is whole and fetches nothing from elsewhere.
func TestDocsPage(t *testing.T) {
	s := newHouse(t, Options{}).server
	page := ask(s, get, pathDocsUI, nil)
	require.Equal(t, 200, page.Code)
	require.Equal(t, docsPolicy, page.Header().Get("Content-Security-Policy"))
	require.NotContains(t, page.Body.String(), "://")
	for _, path := range []string{pathDocsStart, pathDocsStyle, pathDocsScript} {
		require.Contains(t, page.Body.String(), `"`+path+`"`)
		plain, packed := ask(s, get, path, nil), ask(s, get, path, nil, "Accept-Encoding", "br, gzip")
		require.Equal(t, 200, plain.Code)
		require.Empty(t, plain.Header().Get("Content-Encoding"))
		require.NotContains(t, plain.Body.String()[:min(64, plain.Body.Len())], "\x1f\x8b")
		require.Equal(t, path != pathDocsStart, packed.Header().Get("Content-Encoding") == "gzip")
	}
	refused(t, ask(s, get, pathDocsUI+"/favicon-16x16.png", nil), 404, "NOT_FOUND")
	refused(t, serve(s, httptest.NewRequest(get, "http://evil.example"+pathDocsUI, nil)), 421, "INVALID_HOST")
}
