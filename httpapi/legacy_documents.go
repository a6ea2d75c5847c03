package httpapi

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"alcove/engine"
)

const (
	// maxListed bounds the documents that LightRAG's pages are made of: it sorts by
	// fields that we have no order of, so each page reads all of them.
	maxListed = 10_000
	// maxAtOnce bounds the documents that one call of LightRAG's cancels or retries.
	maxAtOnce = 1000
	listPage  = 200
)

func isNone(err error) bool { return errors.Is(err, engine.ErrNotFound) }

// legacyAccepted is LightRAG's answer to a call that brings documents.
type legacyAccepted struct {
	Status  string `json:"status"` // success or duplicated
	Message string `json:"message"`
	TrackID string `json:"track_id"`
}

// received adds documents. One that is there already, with the same content, is what
// LightRAG calls duplicated.
func (s *Server) received(w http.ResponseWriter, r *http.Request, kb *engine.KB, docs []engine.DocumentInput, track string) error {
	if err := admitDocuments(r, len(docs)); err != nil {
		return err
	}
	a, err := kb.Add(r.Context(), docs, track)
	if err != nil {
		return err
	}
	out := legacyAccepted{"success", fmt.Sprintf("%d documents received. They are worked on in the background.", len(docs)), a.TrackID}
	if !slices.ContainsFunc(a.Documents, func(d engine.AcceptedDocument) bool { return d.Result != engine.ResultUnchanged }) {
		out.Status, out.Message = "duplicated", "The same content is there already."
	}
	return bare(w, out)
}

func (s *Server) legacyUpload(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	up, err := s.readUpload(r)
	if err != nil {
		return err
	}
	docs, err := up.documents()
	if err != nil {
		return err
	}
	return s.received(w, r, kb, docs, "upload")
}

// ownChunking refuses chunking by the call: it is a setting here.
func ownChunking(chunking map[string]any) error {
	if chunking != nil {
		return badField("chunking", "cannot be chosen for a document: chunk_size and chunk_overlap are settings of the knowledge base")
	}
	return nil
}

// legacyTextInput is LightRAG's body of /documents/text.
type legacyTextInput struct {
	Text       *string        `json:"text"`
	FileSource string         `json:"file_source"`
	Chunking   map[string]any `json:"chunking"`
}

func (s *Server) legacyText(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	var in legacyTextInput

	if err := s.decode(r, &in); err != nil {
		return err
	}
	doc, err := textInput{Text: in.Text, FileSource: in.FileSource}.document()
	if err := cmp.Or(ownChunking(in.Chunking), err); err != nil {
		return err
	}
	return s.received(w, r, kb, []engine.DocumentInput{doc}, "insert")
}

// legacyTextsInput is its body of /documents/texts.
type legacyTextsInput struct {
	Texts       []string       `json:"texts"`
	FileSources []string       `json:"file_sources"`
	Chunking    map[string]any `json:"chunking"`
}

func (s *Server) legacyTexts(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	var in legacyTextsInput

	if err := s.decode(r, &in); err != nil {
		return err
	}
	docs, err := textsInput{Texts: in.Texts, FileSources: in.FileSources}.documents()
	if err := cmp.Or(ownChunking(in.Chunking), err); err != nil {
		return err
	}
	return s.received(w, r, kb, docs, "insert")
}

// legacyScan takes in the one folder that the administrator allowed; it has no body.
func (s *Server) legacyScan(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	out, err := s.scan(r, kb, scanInput{})
	if err != nil {
		return err
	}
	return bare(w, legacyAccepted{"scanning_started", fmt.Sprintf("%d files taken in, %d left.", len(out.Documents), len(out.Skipped)), out.TrackID})
}

// legacyDocument is a document as LightRAG shows it.
type legacyDocument struct {
	ID             string         `json:"id"`
	ContentSummary string         `json:"content_summary"`
	ContentLength  int            `json:"content_length"`
	Status         string         `json:"status"`
	CreatedAt      time.Time      `json:"created_at"`
	UpdatedAt      time.Time      `json:"updated_at"`
	TrackID        string         `json:"track_id"`
	ChunksCount    int            `json:"chunks_count"`
	ErrorMsg       string         `json:"error_msg,omitempty"`
	Metadata       map[string]any `json:"metadata"`
	FilePath       string         `json:"file_path"`
}

// legacyStatus is a state in LightRAG's words. It has none for a document that is
// visible without some of its chunks, nor for one that was called off.
func legacyStatus(s engine.Status) string {
	switch s {
	case engine.StatusPartial:
		return string(engine.StatusProcessed)
	case engine.StatusCancelled:
		return string(engine.StatusFailed)
	}
	return string(s)
}

func legacyOf(d *engine.Document) legacyDocument {
	return legacyDocument{d.DocID, d.ContentSummary, d.ContentLength, legacyStatus(d.Status), d.CreatedAt, d.UpdatedAt,
		d.TrackID, d.ChunksCount, d.ErrorMsg, d.Metadata, d.FilePath}
}

// listed returns up to limit documents in the order in which they came, and whether
// there are more.
func listed(r *http.Request, kb *engine.Reader, status engine.Status, limit int) (docs []engine.Document, more bool, err error) {
	q := engine.DocumentsRequest{Status: status}
	for {
		q.Limit = min(listPage, limit-len(docs))
		page, err := kb.Documents(r.Context(), q)
		if err != nil {
			return nil, false, err
		}
		docs = append(docs, page.Documents...)
		if page.NextCursor == "" || len(docs) == limit {
			return docs, page.NextCursor != "", nil
		}
		q.Cursor = page.NextCursor
	}
}

// legacyDocuments lists the first thousand documents by their states.
func (s *Server) legacyDocuments(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	docs, _, err := listed(r, kb, "", maxAtOnce)
	if err != nil {
		return err
	}
	statuses := map[string][]legacyDocument{}
	for i := range docs {
		d := legacyOf(&docs[i])
		statuses[d.Status] = append(statuses[d.Status], d)
	}
	return bare(w, map[string]any{"statuses": statuses})
}

// paginated is LightRAG's request of one page of documents.
type paginated struct {
	StatusFilter  string   `json:"status_filter"`
	StatusFilters []string `json:"status_filters"`
	Page          int      `json:"page"`      // 1
	PageSize      int      `json:"page_size"` // 50; 10 to 200
	SortField     string   `json:"sort_field"`
	SortDirection string   `json:"sort_direction"`
}

// order is the comparison a page is sorted by; equal documents stay in the order in
// which they came.
func (p *paginated) order() (func(a, b legacyDocument) int, error) {
	var by func(a, b legacyDocument) int
	switch p.SortField {
	case "", "updated_at":
		by = func(a, b legacyDocument) int { return a.UpdatedAt.Compare(b.UpdatedAt) }
	case "created_at":
		by = func(a, b legacyDocument) int { return a.CreatedAt.Compare(b.CreatedAt) }
	case "id":
		by = func(a, b legacyDocument) int { return strings.Compare(a.ID, b.ID) }
	case "file_path":
		by = func(a, b legacyDocument) int { return strings.Compare(a.FilePath, b.FilePath) }
	default:
		return nil, badField("sort_field", "is not one of created_at, updated_at, id, file_path")
	}
	switch p.SortDirection {
	case "", "desc":
		return func(a, b legacyDocument) int { return by(b, a) }, nil
	case "asc":
		return by, nil
	}
	return nil, badField("sort_direction", "is neither asc nor desc")
}

func (p *paginated) check() error {
	p.Page, p.PageSize = cmp.Or(p.Page, 1), cmp.Or(p.PageSize, 50)
	switch {
	case p.Page < 1 || p.Page > maxListed:
		return badField("page", "is %d; 1 to %d are allowed", p.Page, maxListed)
	case p.PageSize < 10 || p.PageSize > listPage:
		return badField("page_size", "is %d; 10 to %d are allowed", p.PageSize, listPage)
	case len(p.StatusFilters) > 16:
		return badField("status_filters", "has %d entries; at most 16 are allowed", len(p.StatusFilters))
	}
	if p.StatusFilter != "" {
		p.StatusFilters = append(p.StatusFilters, p.StatusFilter)
	}
	for i, f := range p.StatusFilters {
		p.StatusFilters[i] = strings.ToLower(f)
	}
	return nil
}

func (s *Server) legacyPaginated(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	var p paginated
	if err := s.decodeSmall(r, &p); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	order, err := p.order()
	if err != nil {
		return err
	}
	docs, more, err := listed(r, kb, "", maxListed)
	if err != nil {
		return err
	}
	if more {
		return badField("page", "this knowledge base has over %d documents; list them with a cursor under %s", maxListed, v1)
	}
	found := make([]legacyDocument, 0, len(docs))
	for i := range docs {
		d := legacyOf(&docs[i])
		if len(p.StatusFilters) == 0 || slices.Contains(p.StatusFilters, d.Status) {
			found = append(found, d)
		}
	}
	slices.SortStableFunc(found, order)
	counts, err := kb.StatusCounts(r.Context())
	if err != nil {
		return err
	}
	total := len(found)
	from := min(total, (p.Page-1)*p.PageSize)
	to := min(total, from+p.PageSize)
	pages := (total + p.PageSize - 1) / p.PageSize
	return bare(w, map[string]any{
		"documents": found[from:to],
		"pagination": map[string]any{
			"page": p.Page, "page_size": p.PageSize, "total_count": total, "total_pages": pages,
			"has_next": to < total, "has_prev": p.Page > 1,
		},
		"status_counts": legacyCounts(counts),
	})
}

// legacyCounts are the counts of states in LightRAG's words.
func legacyCounts(counts map[string]int) map[string]int {
	out := map[string]int{}
	for s, n := range counts {
		out[legacyStatus(engine.Status(s))] += n
	}
	return out
}

func (s *Server) legacyStatusCounts(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	counts, err := kb.StatusCounts(r.Context())
	if err != nil {
		return err
	}
	return bare(w, map[string]any{"status_counts": legacyCounts(counts)})
}

func (s *Server) legacyTrack(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	t, err := kb.Track(r.Context(), param(r, "track"))
	if isNone(err) { // LightRAG has an empty answer for it
		t, err = &engine.Track{TrackID: param(r, "track")}, nil
	}
	if err != nil {
		return err
	}
	docs, summary := make([]legacyDocument, len(t.Documents)), map[string]int{}
	for i := range t.Documents {
		docs[i] = legacyOf(&t.Documents[i])
		summary[docs[i].Status]++
	}
	return bare(w, map[string]any{"track_id": t.TrackID, "documents": docs, "total_count": t.TotalCount, "status_summary": summary})
}

// pipelineStatus says what is being worked on. There is no pipeline that one call could
// keep busy for others; what is shown is this knowledge base's own work.
func (s *Server) pipelineStatus(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	counts, err := kb.StatusCounts(r.Context())
	if err != nil {
		return err
	}
	waiting, running := counts[string(engine.StatusPending)], counts[string(engine.StatusProcessing)]
	message := "Nothing to do."
	if waiting+running > 0 {
		message = fmt.Sprintf("%d documents are worked on, %d wait.", running, waiting)
	}
	return bare(w, map[string]any{
		"autoscanned": false, "busy": waiting+running > 0, "job_name": "indexing", "job_start": nil, "docs": waiting + running,
		"batchs": waiting + running, "cur_batch": 0, "request_pending": false, "cancellation_requested": false,
		"latest_message": message, "history_messages": []string{},
	})
}

// fileTypes are those that LightRAG's clients know.
var fileTypes = []string{".txt", ".md", ".markdown", ".html", ".htm", ".json", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".log", ".pdf", ".docx", ".pptx", ".xlsx", ".odt", ".epub", ".rtf", ".tex", ".eml", ".go", ".py", ".js", ".ts", ".java", ".c", ".cpp", ".sql", ".css"}

func (s *Server) supportedFileTypes(w http.ResponseWriter, _ *http.Request, _ *engine.Reader) error {
	read := slices.DeleteFunc(slices.Clone(fileTypes), func(ext string) bool {
		return errors.Is(s.o.Engine.Sniff("a"+ext, nil), engine.ErrUnsupportedType)
	})
	return bare(w, map[string]any{"supported_extensions": read, "engines": []string{"alcove"}})
}

// cancelPipeline calls off the unfinished work of this knowledge base, at most a thousand
// documents in a call.
func (s *Server) cancelPipeline(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	jobs, err := kb.Jobs(r.Context())
	if err != nil {
		return err
	}
	cancelled := 0
	for _, j := range jobs {
		switch _, err := kb.Cancel(r.Context(), j.DocID); {
		case err == nil:
			cancelled++
		case !isNone(err) && !errors.Is(err, engine.ErrState): // it came to its end meanwhile
			return err
		}
	}
	if cancelled == 0 {
		return bare(w, said{"not_busy", "There is nothing to cancel.", ""})
	}
	return bare(w, said{"cancellation_requested", fmt.Sprintf("%d documents are cancelled.", cancelled), ""})
}

// reprocessFailed takes up the work on what failed, at most a thousand documents in a call.
func (s *Server) reprocessFailed(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	retried := 0
	for _, status := range []engine.Status{engine.StatusFailed, engine.StatusPartial} {
		docs, _, err := listed(r, &kb.Reader, status, maxAtOnce-retried)
		if err != nil {
			return err
		}
		for i := range docs {
			switch _, err := kb.Retry(r.Context(), docs[i].DocID); {
			case err == nil:
				retried++
			case !isNone(err) && !errors.Is(err, engine.ErrState):
				return err
			}
		}
		if retried == maxAtOnce {
			break
		}
	}
	return bare(w, legacyAccepted{"reprocessing_started", fmt.Sprintf("%d documents are tried again.", retried), ""})
}

func (s *Server) clearCache(w http.ResponseWriter, _ *http.Request, kb *engine.KB) error {
	kb.ForgetAnswers()
	return bare(w, said{"success", "What was remembered of questions is forgotten.", ""})
}

// legacyDeleteInput is its body of /documents/delete_document.
type legacyDeleteInput struct {
	DocIDs         []string `json:"doc_ids"`
	DeleteFile     bool     `json:"delete_file"`
	DeleteLLMCache bool     `json:"delete_llm_cache"`
}

// legacyDelete deletes documents. LightRAG does it afterwards and says deletion_started;
// here they are gone when that is said. There are no files beside them, and what a model
// once said of a document goes with it.
func (s *Server) legacyDelete(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	var in legacyDeleteInput

	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	if len(in.DocIDs) == 0 {
		return badField("doc_ids", "is missing or empty")
	}
	d, err := kb.Delete(r.Context(), in.DocIDs, false)
	if err != nil {
		return err
	}
	return bare(w, said{"deletion_started", d.Message, strings.Join(in.DocIDs, ", ")})
}

// legacyClear deletes every document that was there when it began.
func (s *Server) legacyClear(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	counts, err := kb.StatusCounts(r.Context())
	if err != nil {
		return err
	}
	gone := 0
	for gone < counts["all"] {
		docs, _, err := listed(r, &kb.Reader, "", maxAtOnce)
		if err != nil {
			return err
		}
		if len(docs) == 0 {
			break
		}
		ids := make([]string, len(docs))
		for i := range docs {
			ids[i] = docs[i].DocID
		}
		if _, err := kb.Delete(r.Context(), ids, false); err != nil {
			return err
		}
		gone += len(docs)
	}
	return bare(w, said{"success", fmt.Sprintf("%d documents deleted.", gone), ""})
}
