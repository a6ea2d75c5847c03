package httpapi

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"

	"alcove/engine"
)

// textInput is one document in a JSON body.
type textInput struct {
	Text       *string        `json:"text"`
	ID         string         `json:"id"`
	FileSource string         `json:"file_source"`
	Metadata   map[string]any `json:"metadata"`
}

func (in textInput) document() (engine.DocumentInput, error) {
	if in.Text == nil {
		return engine.DocumentInput{}, badField("text", "is missing")
	}
	return engine.DocumentInput{ID: in.ID, FilePath: in.FileSource, Content: []byte(*in.Text), Metadata: in.Metadata}, nil
}

func (s *Server) addText(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	var in textInput
	if err := s.decode(r, &in); err != nil {
		return err
	}
	doc, err := in.document()
	if err != nil {
		return err
	}
	return s.add(w, r, kb, []engine.DocumentInput{doc}, "insert")
}

// textsInput is many documents in a JSON body: the lists that are given are as
// long as texts, and entry i of each belongs to text i.
type textsInput struct {
	Texts       []string         `json:"texts"`
	IDs         []string         `json:"ids"`
	FileSources []string         `json:"file_sources"`
	Metadata    []map[string]any `json:"metadata"`
}

func (in textsInput) documents() ([]engine.DocumentInput, error) {
	if len(in.Texts) == 0 {
		return nil, badField("texts", "is missing or empty")
	}
	for _, l := range []struct {
		name string
		n    int
	}{{"ids", len(in.IDs)}, {"file_sources", len(in.FileSources)}, {"metadata", len(in.Metadata)}} {
		if l.n != 0 && l.n != len(in.Texts) {
			return nil, badField(l.name, "has %d entries for %d texts", l.n, len(in.Texts))
		}
	}
	docs := make([]engine.DocumentInput, len(in.Texts))
	for i, text := range in.Texts {
		docs[i].Content = []byte(text)
		if in.IDs != nil {
			docs[i].ID = in.IDs[i]
		}
		if in.FileSources != nil {
			docs[i].FilePath = in.FileSources[i]
		}
		if in.Metadata != nil {
			docs[i].Metadata = in.Metadata[i]
		}
	}
	return docs, nil
}

func (s *Server) addTexts(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	var in textsInput
	if err := s.decode(r, &in); err != nil {
		return err
	}
	docs, err := in.documents()
	if err != nil {
		return err
	}
	return s.add(w, r, kb, docs, "insert")
}

func (s *Server) addFiles(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	up, err := s.readUpload(r)
	if err != nil {
		return err
	}
	docs, err := up.documents()
	if err != nil {
		return err
	}
	return s.add(w, r, kb, docs, "upload")
}

// add hands documents to the engine. It answers when they are safe, not when
// they have been worked on.
func (s *Server) add(w http.ResponseWriter, r *http.Request, kb *engine.KB, docs []engine.DocumentInput, track string) error {
	if err := admitDocuments(r, len(docs)); err != nil {
		return err
	}
	a, err := kb.Add(r.Context(), docs, track)
	if err != nil {
		return err
	}
	return accepted(w, a)
}

// updateDocument takes the body of addText or addFiles for the document in the path.
func (s *Server) updateDocument(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	id := param(r, "doc")
	var doc engine.DocumentInput
	if strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "multipart/") {
		up, err := s.readUpload(r)
		if err != nil {
			return err
		}
		docs, err := up.documents()
		if err != nil {
			return err
		}
		if len(docs) != 1 {
			return badField("file", "must be given once")
		}
		doc = docs[0]
	} else {
		var in textInput
		if err := s.decode(r, &in); err != nil {
			return err
		}
		var err error
		if doc, err = in.document(); err != nil {
			return err
		}
	}
	if doc.ID != "" && doc.ID != id {
		return badField("id", "differs from the document in the path")
	}
	doc.ID, doc.IfTag = id, ifMatch(r)
	if err := admitDocuments(r, 1); err != nil {
		return err
	}
	a, err := kb.Update(r.Context(), id, doc)
	if err != nil {
		return err
	}
	return accepted(w, a)
}

func (s *Server) listDocuments(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	limit, err := intParam(r, "limit")
	if err != nil {
		return err
	}
	q := r.URL.Query()
	req := engine.DocumentsRequest{Status: engine.Status(q.Get("status")), Cursor: q.Get("cursor"), Limit: limit}
	switch req.Status {
	case engine.StatusPending, engine.StatusProcessing, engine.StatusProcessed, engine.StatusPartial, engine.StatusFailed, engine.StatusCancelled:
	default:
		if q.Has("status") {
			return badField("status", "is not one of pending, processing, processed, partial, failed, cancelled")
		}
	}
	page, err := kb.Documents(r.Context(), req)
	if err != nil {
		return err
	}
	return success(w, page)
}

func (s *Server) getDocument(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	d, err := kb.Document(r.Context(), param(r, "doc"))
	if err != nil {
		return err
	}
	setTag(w, d.Tag)
	return success(w, d)
}

// documentStatus is ADR 004's short form of a document.
type documentStatus struct {
	DocID     string        `json:"doc_id"`
	Status    engine.Status `json:"status"`
	Chunks    int           `json:"chunks_count"`
	Done      int           `json:"chunks_processed"`
	Failed    int           `json:"failed_chunks_count"`
	Entities  int           `json:"entities_extracted"`
	Relations int           `json:"relationships_extracted"`
	Error     string        `json:"error_message,omitempty"`
}

func (s *Server) documentStatus(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	d, err := kb.Document(r.Context(), param(r, "doc"))
	if err != nil {
		return err
	}
	return success(w, documentStatus{d.DocID, d.Status, d.ChunksCount, d.ChunksDone, d.FailedCount, d.Entities, d.Relations, d.ErrorMsg})
}

func (s *Server) documentChunks(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	limit, err := intParam(r, "limit")
	if err != nil {
		return err
	}
	page, err := kb.Chunks(r.Context(), param(r, "doc"), r.URL.Query().Get("cursor"), limit)
	if err != nil {
		return err
	}
	return success(w, page)
}

// documentContent sends the text of a document, which offsets are into: the file as
// it was sent to us where that is text. It is somebody's file: it is always a
// download of a harmless type, whatever it says of itself.
func (s *Server) documentContent(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	name, length, body, err := kb.Content(r.Context(), param(r, "doc"))
	if err != nil {
		return err
	}
	return download(w, fileLabel(name), length, body)
}

// documentOriginal sends a document as it was sent to us, if it was kept.
func (s *Server) documentOriginal(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	name, _, length, body, err := kb.Original(r.Context(), param(r, "doc"))
	if err != nil {
		return err
	}
	return download(w, fileLabel(name), length, body)
}

func download(w http.ResponseWriter, name string, length int, body io.ReadCloser) error {
	defer body.Close()
	kind := "application/octet-stream"
	switch strings.ToLower(path.Ext(name)) {
	case "", ".txt", ".text", ".md", ".markdown", ".json":
		kind = "text/plain; charset=utf-8"
	}
	if name == "" {
		name = "document.txt"
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.FormatInt(int64(length), 10))
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	n, err := io.Copy(w, body)
	if err != nil {
		return fmt.Errorf("send document after %d of %d bytes: %w", n, length, err)
	}
	return nil
}

func (s *Server) deleteDocument(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	dry, err := boolParam(r, "dry_run")
	if err != nil {
		return err
	}
	d, err := kb.DeleteIf(r.Context(), param(r, "doc"), ifMatch(r), dry)
	if err != nil {
		return err
	}
	return success(w, d)
}

// deleteInput names the documents of one delete.
type deleteInput struct {
	DocIDs []string `json:"doc_ids"`
}

func (s *Server) deleteDocuments(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	dry, err := boolParam(r, "dry_run")
	if err != nil {
		return err
	}
	var in deleteInput
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	if len(in.DocIDs) == 0 {
		return badField("doc_ids", "is missing or empty")
	}
	d, err := kb.Delete(r.Context(), in.DocIDs, dry)
	if err != nil {
		return err
	}
	return success(w, d)
}

func (s *Server) getTrack(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	t, err := kb.Track(r.Context(), param(r, "track"))
	if err != nil {
		return err
	}
	return success(w, t)
}

// countsOfStatus is how many documents are in each state.
type countsOfStatus struct {
	StatusCounts map[string]int `json:"status_counts"`
}

func (s *Server) statusCounts(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	counts, err := kb.StatusCounts(r.Context())
	if err != nil {
		return err
	}
	return success(w, countsOfStatus{counts})
}

// jobList is the work that is not done yet.
type jobList struct {
	Jobs []engine.JobInfo `json:"jobs"`
}

func (s *Server) listJobs(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	jobs, err := kb.Jobs(r.Context())
	if err != nil {
		return err
	}
	return success(w, jobList{jobs})
}

func (s *Server) retryJob(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	d, err := kb.Retry(r.Context(), param(r, "doc"))
	if err != nil {
		return err
	}
	return accepted(w, d)
}

func (s *Server) cancelJob(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	d, err := kb.Cancel(r.Context(), param(r, "doc"))
	if err != nil {
		return err
	}
	return success(w, d)
}
