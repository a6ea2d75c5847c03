package httpapi

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A graph goes out and comes back in every format, with the right type and name,
// and is the same then.
func TestGraph_Exchange(t *testing.T) {
	h := newHouse(t, Options{MaxUploadBytes: 8 << 10})
	send := func(path, body string) *httptest.ResponseRecorder {
		return ask(h.server, post, path, strings.NewReader(body), append(credentialHead(h.admin), "Content-Type", "application/octet-stream")...)
	}
	send(acmeMain+"/graph/import?format=csv&id=mine&file_source=own.csv", "kind,source,target,keywords,description\nrelation,Ada,Mr B,letters,They wrote.\nentity,Ada,,,She wrote notes.\n")
	h.Wait()
	require.Equal(t, "own.csv", h.ok(200, get, acmeMain+"/documents/mine", "")["file_path"])
	const other = "/api/v1/tenants/acme/knowledge-bases/other"
	for format, kind := range map[string]string{
		"csv": "text/csv; charset=utf-8", "nquads": "application/n-quads", "jsonld": "application/ld+json", "graphml": "application/graphml+xml",
	} {
		w := h.as(h.admin, get, acmeMain+"/graph/export?format="+format+"&sources=false", "")
		require.Equal(t, 200, w.Code, w.Body.String())
		require.Equal(t, kind, w.Header().Get("Content-Type"))
		require.Contains(t, w.Header().Get("Content-Disposition"), `filename="graph.`)
		taken := send(other+"/graph/import?format="+format, w.Body.String())
		require.Equal(t, 202, taken.Code, taken.Body.String())
		id := data(t, taken)["doc_id"].(string)
		h.Wait()
		again := h.as(h.admin, get, other+"/graph/export?format="+format+"&sources=false", "")
		require.Equal(t, w.Body.String(), again.Body.String())
		h.ok(200, del, other+"/documents/"+id, "")
	}
	whole := h.as(h.admin, get, acmeMain+"/graph/export?format=csv", "").Body.String()
	require.Contains(t, whole, "mine-chunk-000,own.csv")
	require.NotContains(t, h.as(h.admin, get, acmeMain+"/graph/export?format=csv&filter="+url.QueryEscape(`{"doc_ids":["other"]}`), "").Body.String(), "Ada")

	for query, field := range map[string]string{
		"": "format", "?format=gml": "format", "?format=csv&sources=maybe": "sources", "?format=csv&filter=x": "filter",
	} {
		require.Equal(t, field, refused(t, h.as(h.admin, get, acmeMain+"/graph/export"+query, ""), 400, "INVALID_REQUEST").Details["field"], query)
	}
	for query, field := range map[string]string{
		"?format=gml": "format", "?format=csv": "body", "?format=jsonld": "body", "?format=nquads&id=a/b": "id", "?id=x": "id", "?format=custom_kg&file_source=x": "file_source",
	} {
		body := "not a graph"
		if strings.Contains(query, "nquads") {
			body = "<a> <b> <c> .\n"
		}
		require.Equal(t, field, refused(t, send(acmeMain+"/graph/import"+query, body), 400, "INVALID_REQUEST").Details["field"], query)
	}
	refused(t, send(acmeMain+"/graph/import?format=csv", strings.Repeat("x", 8<<10+1)), 413, "PAYLOAD_TOO_LARGE")
}

// An answer of no known length that breaks off does not look whole.
func TestExport_BreaksOffVisibly(t *testing.T) {
	h := newHouse(t, Options{})
	h.server.router = h.server.mount([]route{h.server.open(get, pathHealth, func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = io.WriteString(w, strings.Repeat("half of it\n", 10_000))
		return errors.Join(errCutShort, io.ErrUnexpectedEOF)
	})})
	s := httptest.NewServer(h.server)
	defer s.Close()
	r, err := http.Get(s.URL + pathHealth)
	require.NoError(t, err)
	defer r.Body.Close()
	require.Equal(t, 200, r.StatusCode)
	_, err = io.ReadAll(r.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}
