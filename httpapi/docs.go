package httpapi

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/swaggest/swgui/v5/static"
)

const (
	pathOpenAPI    = "/openapi.json"
	pathDocsUI     = "/docs"
	pathDocsStart  = pathDocsUI + "/page.js"
	pathDocsStyle  = pathDocsUI + "/swagger-ui.css"
	pathDocsScript = pathDocsUI + "/swagger-ui-bundle.js"
)

// docsPolicy lets the page of /docs run its own scripts, ask this server and fetch
// nothing from outside. Swagger UI sets styles on its elements.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const docsHTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>alcove</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/page.js"></script>
</body>
</html>
`

const docsScript = `SwaggerUIBundle({url: "/openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null});
`

// openAPIDocument answers the description of every route, which is made once.
func (s *Server) openAPIDocument(w http.ResponseWriter, _ *http.Request) error {
	b, err := s.description()
	if err != nil {
		return err
	}
	return sendPart(w, "application/json", b)
}

// docsPage shows the description to people.
func (s *Server) docsPage(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Security-Policy", docsPolicy)
	return sendPart(w, "text/html; charset=utf-8", []byte(docsHTML))
}

// docsStart answers the script that sets the page up.
func (s *Server) docsStart(w http.ResponseWriter, _ *http.Request) error {
	return sendPart(w, "text/javascript; charset=utf-8", []byte(docsScript))
}

// swaggerUI answers a part of Swagger UI, which is embedded compressed.
func swaggerUI(file, kind string) openHandler {
	return func(w http.ResponseWriter, r *http.Request) error {
		b, err := static.FS.ReadFile(file + ".gz")
		if err != nil {
			return fmt.Errorf("embedded page: %w", err)
		}
		w.Header().Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			return sendPart(w, kind, b)
		}
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return fmt.Errorf("embedded page: %w", err)
		}
		if b, err = io.ReadAll(z); err != nil {
			return fmt.Errorf("embedded page: %w", err)
		}
		return sendPart(w, kind, b)
	}
}

// sendPart answers bytes that change with the binary alone.
func sendPart(w http.ResponseWriter, kind string, b []byte) error {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Cache-Control", "max-age=3600")
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}
