package httpapi

import (
	"fmt"
	"io"
	"net/http"
	"strconv"

	"alcove/engine"
)

// customKG is the format of an import that names none: LightRAG's.
const customKG = "custom_kg"

// importGraph takes a graph in as one document: LightRAG's custom_kg as JSON, or a
// file of another format as it is, whose id and source are query parameters. It
// answers when the document is safe, as adding a text does.
func (s *Server) importGraph(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	q := r.URL.Query()
	if name := q.Get("format"); name != "" && name != customKG {
		return s.importRows(w, r, kb, name)
	}
	for _, name := range []string{"id", "file_source"} {
		if q.Has(name) {
			return badField(name, "is a field of the body of a custom_kg")
		}
	}
	var in engine.CustomKG
	if err := s.decode(r, &in); err != nil {
		return err
	}
	if err := admitDocuments(r, 1); err != nil {
		return err
	}
	a, err := kb.ImportGraph(r.Context(), in)
	if err != nil {
		return err
	}
	return accepted(w, a)
}

func (s *Server) importRows(w http.ResponseWriter, r *http.Request, kb *engine.KB, format string) error {
	f, err := engine.GraphFormat(format)
	if err != nil {
		return err
	}
	if err := plainBody(r); err != nil {
		return err
	}
	data, err := s.readBody(r, s.o.MaxUploadBytes)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	if err := admitDocuments(r, 1); err != nil {
		return err
	}
	a, err := kb.ImportRows(r.Context(), engine.GraphFile{Format: f, Data: data, ID: q.Get("id"), FileSource: q.Get("file_source")})
	if err != nil {
		return err
	}
	return accepted(w, a)
}

// exportGraph streams the graph as a download. What goes wrong once it has begun
// cuts the connection: a caller must not take half a graph for a whole one.
func (s *Server) exportGraph(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	format, err := textParam(r, "format")
	if err != nil {
		return err
	}
	e := engine.GraphExport{Sources: true}
	if e.Format, err = engine.GraphFormat(format); err != nil {
		return err
	}
	if q := r.URL.Query(); q.Has("sources") {
		if e.Sources, err = strconv.ParseBool(q.Get("sources")); err != nil {
			return badField("sources", "must be true or false")
		}
	}
	if e.Filter, err = filterParam(r); err != nil {
		return err
	}
	begun := false
	err = kb.ExportGraph(r.Context(), e, func() io.Writer {
		begun = true
		h := w.Header()
		h.Set("Content-Type", e.Format.ContentType())
		h.Set("Content-Disposition", `attachment; filename="graph`+e.Format.Extension()+`"`)
		return w
	})
	if err != nil && begun {
		err = fmt.Errorf("%w: %w", errCutShort, err)
	}
	return err
}
