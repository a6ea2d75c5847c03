package httpapi

import (
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// A change of the embedding model over the wire: refused questions, what would be
// done, the work, and where it shows.
func TestReembed(t *testing.T) {
	h := newHouseWith(t, Options{}, engine.Options{Embedder: &enginetest.Embedder{Name: "old"}})
	h.Add("main", "a", "Ada wrote to Babbage.", "b", "Babbage answered Ada.")
	h.Wait()
	path := acmeMain + "/reembed"
	require.Equal(t, "unchanged", h.ok(200, post, path, "")["status"])

	gate := enginetest.NewGate()
	now := &enginetest.Embedder{Name: "new", Dimension: 24}
	now.Before = gate.Hold
	h.Options.Embedder = now
	h.Restart()
	t.Cleanup(gate.Open)
	o := h.server.o
	o.Engine = h.Engine
	var err error
	h.server, err = New(o)
	require.NoError(t, err)

	ask := `{"query":"What did Ada write?","mode":"mix"}`
	dry := h.ok(200, post, path+"?dry_run=true", "")
	require.Equal(t, "dry_run", dry["status"])
	require.Equal(t, 2.0, dry["texts"])
	refused(t, h.as(h.admin, post, path+"?dry_run=perhaps", ""), 400, "INVALID_REQUEST")
	require.Equal(t, map[string]any{"model": "old", "dimension": 16.0}, h.ok(200, get, acmeMain, "")["embedding"])

	begun := h.ok(202, post, path, "")
	require.Equal(t, "started", begun["status"])
	require.Equal(t, 2.0, begun["texts"])
	gate.Arrived()
	require.Equal(t, "running", h.ok(202, post, path, "")["status"])
	shown := h.ok(200, get, acmeMain, "")["embedding"].(map[string]any)
	require.Equal(t, "old", shown["model"])
	under := shown["reembed"].(map[string]any)
	require.Equal(t, "embedding", under["state"])
	require.Equal(t, "new", under["model"])
	require.Equal(t, 0.0, under["texts_done"])

	given := h.ok(200, post, path+"/cancel", "")
	require.Equal(t, "old", given["model"])
	require.Equal(t, "cleaning", given["reembed"].(map[string]any)["state"])
	h.Wait()
	require.Equal(t, map[string]any{"model": "old", "dimension": 16.0}, h.ok(200, get, acmeMain, "")["embedding"])
	refused(t, h.as(h.admin, post, path+"/cancel", ""), 409, "CONFLICT")
	require.Equal(t, "started", h.ok(202, post, path, "")["status"])
	gate.Open()
	h.Wait()
	require.Equal(t, map[string]any{"model": "new", "dimension": 24.0}, h.ok(200, get, acmeMain, "")["embedding"])
	a := h.ok(200, post, acmeMain+"/query", ask)
	require.NotContains(t, a, "degraded")

	// It is the knowledge base's manager who may ask for it.
	key := h.key("acme", nil, tenancy.PermDocumentUpdate, tenancy.PermKBAccess)
	refused(t, h.as(key, post, path, ""), 403, "FORBIDDEN")
	refused(t, h.as(key, post, path+"/cancel", ""), 403, "FORBIDDEN")
}
