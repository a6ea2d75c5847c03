// Package httpapi is the wire: it turns requests into calls of tenancy and
// engine, and what they return into answers.
//
// Start at routes.go: one page that lists every route with the right it asks
// for. The way of a request is
//
//	ServeHTTP (server.go)  request id, headers, limits, panics, one log line
//	  guard.go             paths in a second spelling are refused before routing
//	  address.go           whose request it is, behind which proxies
//	  scope.go             credential -> Principal -> Enter -> *engine.Reader or *engine.KB
//	  once.go              a POST with an Idempotency-Key has its effect once
//	  decode.go, upload.go the body, strictly; bounded in bytes, depth, parts and time
//	  one file per noun    documents.go, query.go, graph.go, tenants.go, keys.go, users.go, members.go, auth.go, health.go
//	  legacy*.go           LightRAG's own routes, where they are not ours in another place
//	  encode.go, stream.go the answer, whole or as events
//	  openapi.go           what /openapi.json says of all that; operations.go has a line for each route
//	  errors.go            the one table from an error to a status, a code and a message
//
// A handler gets what it is allowed to use, not who is asking: the route line
// decides the permission and whether the knowledge base can be changed.
// Handlers return errors and write no error answers, no status codes and no log
// lines of their own.
//
// The package knows no Badger, index or graph. It reads no flags, no
// environment and no files except those under Options.ScanFolders.
package httpapi
