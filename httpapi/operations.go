package httpapi

import (
	"net/http"

	"alcove/engine"
	"alcove/tenancy"
)

// probe is the answer of a probe.
type probe struct {
	Status string `json:"status"`
}

// The kinds of operation by how they answer: 200, 201 or 202 with data in an
// envelope, or LightRAG's shape by itself.
func gives(summary string, in, out any) operation {
	return operation{summary: summary, in: in, out: out, status: http.StatusOK}
}

func makes(summary string, in, out any) operation {
	return operation{summary: summary, in: in, out: out, status: http.StatusCreated}
}

func takesIn(summary string, in, out any) operation {
	return operation{summary: summary, in: in, out: out, status: http.StatusAccepted}
}

func tells(summary string, in, out any) operation {
	return operation{summary: summary, in: in, out: out, status: http.StatusOK, bare: true}
}

// with changes an operation by f.
func (o operation) with(f func(*operation)) operation {
	f(&o)
	return o
}

func matched(o *operation) { o.match = true }

// operations says of each route what it takes and what it gives, in the order of the
// route page.
var operations = map[string]operation{
	"GET " + pathHealth: tells("Whether the process answers", nil, probe{}),
	"GET " + pathReady:  tells("Whether requests are welcome", nil, probe{}),

	"GET " + pathOpenAPI:    tells("This description", nil, map[string]any{}),
	"GET " + pathDocsUI:     {summary: "This description as a page", status: http.StatusOK, media: "text/html"},
	"GET " + pathDocsStart:  {summary: "A part of that page", status: http.StatusOK, media: "text/javascript"},
	"GET " + pathDocsStyle:  {summary: "A part of that page", status: http.StatusOK, media: "text/css"},
	"GET " + pathDocsScript: {summary: "A part of that page", status: http.StatusOK, media: "text/javascript"},

	"POST " + v1 + "/auth/token": gives("Sign in; a form is answered without the envelope, as RFC 6749 has it", tenancy.SignIn{}, tenancy.Session{}).
		with(func(o *operation) { o.fields = passwordGrant{} }),
	"PUT " + v1 + "/auth/password": gives("Change the own password; ends every token of the account", newPassword{}, removed{}),
	"GET " + v1 + "/auth/me":       gives("Who the credential is", nil, caller{}),
	"POST " + v1 + "/auth/revoke": gives("Revoke the token this is asked with, another by its id, or all of an account or a tenant", revocation{}, removed{}).
		with(func(o *operation) { o.maybe = true }),

	"POST " + pathUsers:              makes("Make an account; a one-time password is shown once", tenancy.UserInput{}, tenancy.NewUser{}),
	"GET " + pathUsers:               gives("List accounts", nil, tenancy.UserPage{}),
	"PUT " + pathUsers + "/:user":    gives("Change an account; ends its tokens", tenancy.UserUpdate{}, tenancy.NewUser{}),
	"DELETE " + pathUsers + "/:user": gives("Delete an account", nil, removed{}),

	"POST " + pathPeople:              makes("Make an account a member, or invite one that is made for it", tenancy.MemberInput{}, tenancy.NewMember{}),
	"GET " + pathPeople:               gives("List members", nil, tenancy.MemberPage{}),
	"PUT " + pathPeople + "/:user":    gives("Change what a member may do; ends its tokens", tenancy.MemberUpdate{}, tenancy.Member{}),
	"DELETE " + pathPeople + "/:user": gives("Remove a member; ends its tokens", nil, removed{}),

	"POST " + v1 + "/tenants":      makes("Make a tenant", tenancy.TenantInput{}, tenancy.Tenant{}),
	"GET " + v1 + "/tenants":       gives("List tenants", nil, tenancy.TenantPage{}),
	"GET " + pathTenant:            gives("Read a tenant", nil, tenancy.Tenant{}),
	"PUT " + pathTenant:            gives("Change a tenant", tenancy.TenantUpdate{}, tenancy.Tenant{}),
	"DELETE " + pathTenant:         gives("Delete a tenant and all it holds", nil, removed{}),
	"GET " + pathTenant + "/usage": gives("What a tenant may use and what of it is in use", nil, tenancy.TenantUsage{}),
	"POST " + pathKeys:             makes("Make an API key; its secret is shown once", tenancy.KeyInput{}, tenancy.NewKey{}),
	"POST " + pathKeys + "/:key/rotate": gives("Give an API key a new secret, shown once; the old one works on for the overlap", tenancy.KeyRotation{}, tenancy.NewKey{}).
		with(func(o *operation) { o.maybe = true }),
	"GET " + pathKeys:              gives("List API keys", nil, tenancy.KeyPage{}),
	"DELETE " + pathKeys + "/:key": gives("Revoke an API key", nil, removed{}),

	"GET " + pathTenant + "/audit":          gives("Read a tenant's audit records", nil, tenancy.AuditPage{}),
	"GET " + v1 + "/admin/audit/checkpoint": gives("Read the signed checkpoint of the audit tree", nil, checkpoint{}),

	"POST " + pathBackup:            {summary: "Download a backup of the whole store", status: http.StatusOK, media: sealedMedia},
	"POST " + v1 + "/admin/verify":  gives("Verify the whole store, as alcove check does", nil, verified{}),
	"POST " + v1 + "/admin/rebuild": gives("Make anew what follows from the documents, without a model", nil, engine.Rebuilt{}),
	"GET " + v1 + "/admin/status":   gives("Read how the server and its store are", nil, serverStatus{}),

	"POST " + pathKBs:           makes("Make a knowledge base", tenancy.KBInput{}, tenancy.KB{}),
	"GET " + pathKBs:            gives("List knowledge bases", nil, tenancy.KBPage{}),
	"GET " + pathKB:             gives("Read a knowledge base, with what it holds", nil, shownKB{}),
	"PUT " + pathKB:             gives("Change a knowledge base", tenancy.KBUpdate{}, tenancy.KB{}),
	"DELETE " + pathKB:          gives("Delete a knowledge base", nil, removed{}),
	"GET " + pathKB + "/export": {summary: "Download the knowledge base as one file", status: http.StatusOK, media: sealedMedia},
	"POST " + pathKB + "/import": makes("Make a new knowledge base the one in a file; no model is asked", nil, importedKB{}).
		with(func(o *operation) { o.files = []string{sealedMedia} }),
	"POST " + pathKB + "/reembed":        takesIn("Change to the server's embedding model", nil, engine.Reembedded{}),
	"POST " + pathKB + "/reembed/cancel": gives("Give up the change of the embedding model", nil, engine.Embedding{}),

	"POST " + pathDocs + "/add":    takesIn("Add files", nil, engine.Accepted{}).with(func(o *operation) { o.form = true }),
	"POST " + pathDocs + "/text":   takesIn("Add a text", textInput{}, engine.Accepted{}),
	"POST " + pathDocs + "/texts":  takesIn("Add texts", textsInput{}, engine.Accepted{}),
	"POST " + pathDocs + "/scan":   takesIn("Add the files of a folder of the server", scanInput{}, scanned{}),
	"PUT " + pathDoc:               takesIn("Replace a document; only what changed is worked on", textInput{}, engine.Accepted{}).with(func(o *operation) { o.form = true }).with(matched),
	"GET " + pathDocs:              gives("List documents", nil, engine.DocumentsPage{}),
	"GET " + pathDoc:               gives("Read what is known of a document", nil, engine.Document{}),
	"GET " + pathDoc + "/status":   gives("Read how far a document has come", nil, documentStatus{}),
	"GET " + pathDoc + "/chunks":   gives("List the chunks of a document", nil, engine.ChunksPage{}),
	"GET " + pathDoc + "/content":  {summary: "Read the text of a document", status: http.StatusOK, media: "text/plain"},
	"GET " + pathDoc + "/original": {summary: "Read a document as it was sent", status: http.StatusOK, media: "application/octet-stream"},
	"DELETE " + pathDoc:            gives("Delete a document", nil, engine.Deleted{}).with(matched),
	"POST " + pathDocs + "/delete": gives("Delete documents", deleteInput{}, engine.Deleted{}),

	"GET " + pathKB + "/tracks/:track":  gives("Read what became of one call's documents", nil, engine.Track{}),
	"GET " + pathKB + "/status_counts":  gives("Count documents by state", nil, countsOfStatus{}),
	"GET " + pathJobs:                   gives("List the work that is not done", nil, jobList{}),
	"POST " + pathJobs + "/:doc/retry":  takesIn("Try a document again", nil, engine.Accepted{}),
	"POST " + pathJobs + "/:doc/cancel": gives("Give up the work on a document", nil, engine.Document{}),

	"POST " + pathQuery:              tells("Ask", engine.Query{}, engine.Answer{}),
	"POST " + pathQuery + "/stream":  tells("Ask, and be answered in events", engine.Query{}, event{}).with(func(o *operation) { o.media = "text/event-stream" }),
	"POST " + pathQuery + "/data":    tells("Retrieve without an answer", engine.Query{}, engine.Data{}),
	"POST " + pathQuery + "/explain": tells("Retrieve, and say why each thing is there", engine.Query{}, engine.Explanation{}),

	"GET " + pathGraph:                     tells("Explore the graph around a name", nil, engine.Subgraph{}),
	"GET " + pathGraph + "/labels":         tells("Search names", nil, []string{}),
	"GET " + pathGraph + "/labels/popular": tells("List the names with most relations", nil, []engine.GraphLabel{}),
	"GET " + pathGraph + "/entity":         tells("Read an entity", nil, engine.GraphNode{}),
	"GET " + pathGraph + "/path":           tells("Find a path between two names", nil, engine.GraphPath{}),
	"POST " + pathGraph + "/query":         tells("Walk the graph by a path query", engine.GraphQuery{}, engine.GraphFound{}),
	"GET " + pathGraph + "/related":        tells("Rank the entities related to a name", nil, engine.Related{}),
	"POST " + pathGraph + "/communities":   tells("Begin to make the communities of the graph", nil, engine.Communities{}),
	"GET " + pathGraph + "/communities":    tells("List the communities of the graph", nil, engine.Communities{}),
	"GET " + pathGraph + "/aliases":        gives("List the names that stand for others", nil, engine.AliasesPage{}),
	"GET " + pathGraph + "/duplicates":     tells("List entities that may be one", nil, engine.Duplicates{}),

	"POST " + pathGraph + "/entity":     tells("Make an entity", entityInput{}, done{}).with(func(o *operation) { o.status = http.StatusCreated }),
	"PUT " + pathGraph + "/entity":      tells("Edit or rename an entity", entityUpdate{}, done{}).with(matched),
	"DELETE " + pathGraph + "/entity":   tells("Delete an entity", nil, done{}).with(matched),
	"POST " + pathGraph + "/relation":   tells("Make a relation", relationInput{}, done{}).with(func(o *operation) { o.status = http.StatusCreated }),
	"PUT " + pathGraph + "/relation":    tells("Edit a relation", relationUpdate{}, done{}).with(matched),
	"DELETE " + pathGraph + "/relation": tells("Delete a relation", nil, done{}).with(matched),
	"POST " + pathGraph + "/merge":      tells("Merge entities", engine.MergeRequest{}, done{}),
	"POST " + pathGraph + "/unmerge":    tells("Take a merge back", engine.UnmergeRequest{}, done{}),
	"POST " + pathGraph + "/import": takesIn("Add a graph as one document; the body is JSON or a file of the format", engine.CustomKG{}, engine.Accepted{}).
		with(func(o *operation) {
			o.files = []string{"application/n-quads", "application/ld+json", "application/graphml+xml", "text/csv"}
		}),
	"GET " + pathGraph + "/export": {summary: "Download the graph", status: http.StatusOK, media: "application/octet-stream"},
}

// pathParams and queryParams describe the parameters of routes by their names; one
// that means something else on a route stands there as "pattern?name".
var pathParams = map[string]paramDoc{
	"tenant": {"string", "id of a tenant"},
	"kb":     {"string", "id of a knowledge base of the tenant"},
	"key":    {"string", "public id of an API key"},
	"user":   {"string", "the name of an account"},
	"doc":    {"string", "id of a document"},
	"track":  {"string", "track_id of the call that brought the documents"},
}

var queryParams = map[string]paramDoc{
	"cursor":    {"string", "next_cursor of the page before"},
	"limit":     {"integer", "how many at most"},
	"status":    {"string", "only documents in this state"},
	"dry_run":   {"boolean", "only say what would be done"},
	"label":     {"string", "name to start from; * or none is the whole graph"},
	"max_depth": {"integer", "steps away from the name"},
	"max_nodes": {"integer", "entities at most"},
	"filter":    {"string", "a filter as JSON: only what these documents say"},
	"q":         {"string", "part of a name"},
	"action":    {"string", "only records of this action"},

	pathTenant + "/audit?from": {"string", "first moment or day, RFC 3339"},
	pathTenant + "/audit?to":   {"string", "moment or day before which it ends, RFC 3339"},

	"format":      {"string", "nquads, jsonld, graphml or csv; an import without one is custom_kg"},
	"members":     {"integer", "members of each community at most"},
	"sources":     {"boolean", "also write where each thing was said; true without it"},
	"id":          {"string", "id of the document"},
	"since":       {"string", "next of an earlier backup: only what changed since"},
	"recipient":   {"string", "age public keys, separated by commas: the backup is encrypted to them and has the store's secrets"},
	"signer":      {"string", "public key, base64: the file has to be signed with it"},
	"file_source": {"string", "where the document is from"},

	"name":   {"string", "name of an entity"},
	"from":   {"string", "name the path begins at"},
	"to":     {"string", "name the path ends at"},
	"source": {"string", "name at one end of a relation"},
	"target": {"string", "name at its other end"},
}
