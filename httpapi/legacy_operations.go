package httpapi

import (
	"maps"
	"strings"

	"alcove/engine"
	"alcove/tenancy"
)

// operations are those of the routes that this server serves.
func (s *Server) operations() map[string]operation {
	out := maps.Clone(operations)
	if s.o.Single != "" {
		maps.DeleteFunc(out, func(name string, _ operation) bool {
			_, pattern, _ := strings.Cut(name, " ")
			return strings.HasPrefix(pattern, v1+"/tenants")
		})
	}
	if s.o.LightRAG || s.o.Single != "" {
		maps.Copy(out, lightRAGOperations)
	}
	return out
}

// said is an answer of LightRAG's that is words for people.
type said struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	DocID   string `json:"doc_id,omitempty"`
}

// lightRAGOperations says what LightRAG's own routes take and give; what has no one type
// there has none here.
var lightRAGOperations = map[string]operation{
	"GET /health":      tells("Whether the server answers", nil, map[string]any{}),
	"GET /auth-status": tells("Whether one has to sign in", nil, map[string]any{}),
	"POST /login":      tells("Sign in", tenancy.SignIn{}, legacySession{}).with(func(o *operation) { o.fields = passwordGrant{} }),

	"POST /documents/scan":                tells("Add the files of the server's folder", nil, legacyAccepted{}),
	"POST /documents/upload":              tells("Add a file", nil, legacyAccepted{}).with(func(o *operation) { o.form = true }),
	"POST /documents/text":                tells("Add a text", legacyTextInput{}, legacyAccepted{}),
	"POST /documents/texts":               tells("Add texts", legacyTextsInput{}, legacyAccepted{}),
	"GET /documents":                      tells("List the first thousand documents by state", nil, map[string]any{}),
	"POST /documents/paginated":           tells("List documents a page at a time", paginated{}, map[string]any{}),
	"GET /documents/status_counts":        tells("Count documents by state", nil, countsOfStatus{}),
	"GET /documents/track_status/:track":  tells("Read what became of one call's documents", nil, map[string]any{}),
	"GET /documents/pipeline_status":      tells("Read what is being worked on", nil, map[string]any{}),
	"GET /documents/supported_file_types": tells("List the file types that are read", nil, map[string]any{}),
	"POST /documents/cancel_pipeline":     tells("Give up the work that is not done", nil, said{}),
	"POST /documents/reprocess_failed":    tells("Try what failed again", nil, legacyAccepted{}),
	"POST /documents/clear_cache":         tells("Forget what is remembered of questions", nil, said{}),
	"DELETE /documents/delete_document":   tells("Delete documents", legacyDeleteInput{}, said{}),
	"DELETE /documents":                   tells("Delete all documents", nil, said{}),
	"DELETE /documents/delete_entity":     tells("Delete an entity", legacyEntityInput{}, said{}).with(matched),
	"DELETE /documents/delete_relation":   tells("Delete a relation", legacyRelationInput{}, said{}).with(matched),

	"POST /query":        tells("Ask", engine.Query{}, engine.Answer{}),
	"POST /query/stream": tells("Ask, and be answered in lines", engine.Query{}, event{}).with(func(o *operation) { o.media = "application/x-ndjson" }),
	"POST /query/data":   tells("Retrieve without an answer", engine.Query{}, engine.Data{}),

	"GET /graphs":                   tells("Explore the graph around a name", nil, engine.Subgraph{}),
	"GET /graph/label/list":         tells("List names, those with most relations first", nil, []string{}),
	"GET /graph/label/popular":      tells("List the names with most relations", nil, []string{}),
	"GET /graph/label/search":       tells("Search names", nil, []string{}),
	"GET /graph/entity/exists":      tells("Whether there is an entity of a name", nil, map[string]bool{}),
	"POST /graph/entity/create":     tells("Make an entity", entityInput{}, done{}).with(func(o *operation) { o.status = 201 }),
	"POST /graph/entity/edit":       tells("Edit or rename an entity", entityUpdate{}, done{}).with(matched),
	"DELETE /graph/entity/delete":   tells("Delete an entity", legacyEntityInput{}, said{}).with(matched),
	"POST /graph/relation/create":   tells("Make a relation", relationInput{}, done{}).with(func(o *operation) { o.status = 201 }),
	"POST /graph/relation/edit":     tells("Edit a relation", relationUpdate{}, done{}).with(matched),
	"DELETE /graph/relation/delete": tells("Delete a relation", legacyRelationInput{}, said{}).with(matched),
	"POST /graph/entities/merge":    tells("Merge entities", engine.MergeRequest{}, done{}),
}
