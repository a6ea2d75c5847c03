package engine

import "time"

// Status is the state of a document, in LightRAG's words.
type Status string

// The states a document can be in.
const (
	StatusPending    Status = "pending"
	StatusProcessing Status = "processing"
	StatusProcessed  Status = "processed"
	StatusFailed     Status = "failed"
	StatusCancelled  Status = "cancelled"
	// StatusPartial is a document that readers see although a model could not read
	// some of its chunks: a retry reads those alone.
	StatusPartial Status = "partial"
)

// DocumentInput is a document on its way in.
type DocumentInput struct {
	// ID is the caller's id (1 to 255 of [A-Za-z0-9._:@+-]), or "" for
	// "doc-" + 32 hex digits of SHA-256(FilePath, 0, Content).
	ID string
	// FilePath is where the text comes from (LightRAG's file_source or the
	// name of an uploaded file); citations name it.
	FilePath string
	// Name decides the type together with the bytes; "" means plain text.
	Name     string
	Content  []byte
	Metadata map[string]any
	// KeepOriginal keeps a file of which a text was made; nil: Options.KeepOriginals.
	KeepOriginal *bool
	// MainText asks for the main text of a web page alone.
	MainText bool
	// IfTag, unless empty, is what Document.Tag may be by now, else Update is ErrChanged:
	// two who update one document do not undo each other unseen.
	IfTag []string

	kind string // kindCustomKG, kindAdopted, or "" for a text
}

// Result says what became of one document of a call.
type Result string

// What a call made of a document.
const (
	ResultCreated   Result = "created"
	ResultUpdated   Result = "updated"
	ResultUnchanged Result = "unchanged"
	ResultRejected  Result = "rejected"
)

// Accepted answers a call that brought documents.
type Accepted struct {
	Status    string             `json:"status"` // "processing", or "success" when nothing is left to do
	TrackID   string             `json:"track_id"`
	DocID     string             `json:"doc_id,omitempty"` // the only document's id
	Message   string             `json:"message,omitempty"`
	Documents []AcceptedDocument `json:"documents"`
}

// AcceptedDocument is one document of a call, in the order sent.
type AcceptedDocument struct {
	DocID    string `json:"doc_id"`
	FilePath string `json:"file_path"`
	Status   Status `json:"status"`
	Result   Result `json:"result"`
	Error    string `json:"error,omitempty"`
}

// Document is a document as it is shown.
type Document struct {
	DocID          string         `json:"doc_id"`
	FilePath       string         `json:"file_path"`
	Status         Status         `json:"status"`
	ContentSummary string         `json:"content_summary"`
	ContentLength  int            `json:"content_length"` // bytes as sent
	ContentType    string         `json:"content_type,omitempty"`
	TextLength     int            `json:"text_length,omitempty"` // bytes of the text that was made of the file
	Original       bool           `json:"original,omitempty"`    // the file is kept beside its text
	Warnings       []string       `json:"warnings,omitempty"`    // what of the file is not in the text
	ContentHash    string         `json:"content_hash"`          // SHA-256, hex
	ChunksCount    int            `json:"chunks_count"`
	ChunksDone     int            `json:"chunks_processed"`
	Entities       int            `json:"entities_extracted"`
	Relations      int            `json:"relationships_extracted"`
	Metadata       map[string]any `json:"metadata"`
	TrackID        string         `json:"track_id"`
	ErrorMsg       string         `json:"error_msg,omitempty"`
	CreatedAt      time.Time      `json:"created_at"`
	UpdatedAt      time.Time      `json:"updated_at"`
	// Tag stands for what was sent of the document last, whether or not readers see it
	// yet: another content, source or metadata, another tag.
	Tag string `json:"tag"`

	// How well a model read what readers see: FailedCount chunks not at all, of
	// which FailedChunks has the first 50; so many records of its replies could
	// not be used, and so many replies ended at their token limit.
	FailedCount  int           `json:"failed_chunks_count"`
	FailedChunks []FailedChunk `json:"failed_chunks,omitempty"`
	Dropped      int           `json:"records_dropped"`
	Truncated    int           `json:"replies_truncated"`
}

// FailedChunk is a chunk that a model could not read.
type FailedChunk struct {
	ChunkID string `json:"chunk_id"`
	Order   int    `json:"chunk_order_index"`
	Error   string `json:"error"`
}

// DocumentsRequest asks for a page of documents, newest acceptance last.
// Status "" means all. Limit 0 means 50; at most 200.
type DocumentsRequest struct {
	Status Status
	Cursor string
	Limit  int
}

// DocumentsPage is a page of documents; NextCursor is "" on the last one.
type DocumentsPage struct {
	Documents  []Document `json:"documents"`
	NextCursor string     `json:"next_cursor"`
}

// ChunksPage is a page of a document's chunks in order.
type ChunksPage struct {
	Chunks     []ChunkInfo `json:"chunks"`
	NextCursor string      `json:"next_cursor"`
}

// ChunkInfo is one chunk as it is shown. Start and End are byte offsets in what
// Content returns, End exclusive.
type ChunkInfo struct {
	ChunkID string `json:"chunk_id"`
	Order   int    `json:"chunk_order_index"`
	Content string `json:"content"`
	Tokens  int    `json:"tokens"`
	Start   int    `json:"start"`
	End     int    `json:"end"`
	Place
	Heading []string `json:"headings,omitempty"`
}

// Track is what became of the documents of one call.
type Track struct {
	TrackID       string         `json:"track_id"`
	Documents     []Document     `json:"documents"`
	TotalCount    int            `json:"total_count"`
	StatusSummary map[Status]int `json:"status_summary"`
}

// JobInfo is one unfinished job as it is shown.
type JobInfo struct {
	DocID      string    `json:"doc_id"`
	FilePath   string    `json:"file_path"`
	TrackID    string    `json:"track_id"`
	State      string    `json:"state"` // queued, running, waiting (for its next attempt)
	ChunksDone int       `json:"chunks_processed"`
	Chunks     int       `json:"chunks_count"`
	Attempts   int       `json:"attempts"`
	ErrorMsg   string    `json:"error_msg,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
}

// Deleted answers a delete. With DryRun nothing was changed and the numbers
// say what would have gone.
type Deleted struct {
	Status    string            `json:"status"` // "success"
	DryRun    bool              `json:"dry_run,omitempty"`
	Documents []DeletedDocument `json:"documents"`
	Chunks    int               `json:"chunks"`
	Message   string            `json:"message"`
}

// DeletedDocument is one document of a delete.
type DeletedDocument struct {
	DocID  string `json:"doc_id"`
	Result string `json:"result"` // deleted, not_found
	Chunks int    `json:"chunks"`
}
