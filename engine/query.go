package engine

// Mode is a way to search, in LightRAG's words; ppr is ours.
type Mode string

// The modes of a query.
const (
	ModeNaive  Mode = "naive"
	ModeLocal  Mode = "local"
	ModeGlobal Mode = "global"
	ModeHybrid Mode = "hybrid"
	ModeMix    Mode = "mix"
	ModeBypass Mode = "bypass"
	ModePPR    Mode = "ppr"
)

// The forms of an answer.
const (
	FormatMarkdown = "markdown" // with images and HTML made plain text
	FormatHTML     = "html"     // of that Markdown, sanitised
)

// Query is a question with LightRAG's parameters (QueryParam, v1.5.7). A nil
// pointer means the default given beside the field.
type Query struct {
	Query               string    `json:"query"`                       // 3 to 65,536 characters
	Mode                Mode      `json:"mode,omitempty"`              // mix
	OnlyNeedContext     bool      `json:"only_need_context,omitempty"` // retrieval only
	OnlyNeedPrompt      bool      `json:"only_need_prompt,omitempty"`
	ResponseType        string    `json:"response_type,omitempty"`       // "Multiple Paragraphs"; at most 256 characters
	Stream              *bool     `json:"stream,omitempty"`              // read by the streaming route alone
	TopK                *int      `json:"top_k,omitempty"`               // 40; 1..1000 entities or relations
	ChunkTopK           *int      `json:"chunk_top_k,omitempty"`         // 20; 1..1000
	MaxEntityTokens     *int      `json:"max_entity_tokens,omitempty"`   // 6000; 1..1,000,000
	MaxRelationTokens   *int      `json:"max_relation_tokens,omitempty"` // 8000
	MaxTotalTokens      *int      `json:"max_total_tokens,omitempty"`    // 30000
	HLKeywords          []string  `json:"hl_keywords,omitempty"`         // at most 64 of 512 characters
	LLKeywords          []string  `json:"ll_keywords,omitempty"`
	History             []Message `json:"conversation_history,omitempty"` // at most 128 of 32,768 characters
	UserPrompt          string    `json:"user_prompt,omitempty"`
	EnableRerank        *bool     `json:"enable_rerank,omitempty"`      // true; no effect without a reranker
	ResponseFormat      string    `json:"response_format,omitempty"`    // markdown; or html, which is sent in one piece
	IncludeReferences   *bool     `json:"include_references,omitempty"` // true
	IncludeChunkContent bool      `json:"include_chunk_content,omitempty"`
	IncludeProgress     bool      `json:"include_progress,omitempty"`
	Filter              *Filter   `json:"filter,omitempty"` // permits everything
}

// Answer is LightRAG's answer to a query, with what made it.
type Answer struct {
	Response   string         `json:"response"`
	References []Reference    `json:"references"`
	LLM        string         `json:"llm"` // the model, or "none" for an extractive answer
	Degraded   bool           `json:"degraded,omitempty"`
	Metadata   AnswerMetadata `json:"metadata"`
}

// AnswerMetadata says how an answer was made. Times are milliseconds.
type AnswerMetadata struct {
	Mode             Mode               `json:"mode"`
	TopK             int                `json:"top_k"`
	ChunkTopK        int                `json:"chunk_top_k"`
	Keywords         Keywords           `json:"keywords"`
	ProcessingTimeMS float64            `json:"processing_time_ms"`
	StagesMS         map[string]float64 `json:"stages_ms"`
	PromptTokens     int                `json:"prompt_tokens,omitempty"`
	ReplyTokens      int                `json:"reply_tokens,omitempty"`
	Generation       uint64             `json:"generation"`
	// RewrittenQuery is what was searched for when that is not the question itself.
	RewrittenQuery string `json:"rewritten_query,omitempty"`
	Rerank         string `json:"rerank,omitempty"`        // the reranker that ordered the chunks
	RerankFailed   bool   `json:"rerank_failed,omitempty"` // it was asked and the order is the search's
	// Tokens are those of the model calls by stage: rewrite, keywords, rerank,
	// answer. A stage whose server does not tell is left out.
	Tokens           map[string]TokenCount `json:"tokens,omitempty"`
	CitationsDropped int                   `json:"citations_dropped,omitempty"` // ids the model cited that are not in the context
	DegradedReason   string                `json:"degraded_reason,omitempty"`   // why the answer is less than it could be
	Cached           bool                  `json:"cached,omitempty"`            // remembered: the same was asked of the same documents
}

// TokenCount is what model calls read and wrote.
type TokenCount struct {
	Prompt int `json:"prompt"`
	Reply  int `json:"reply"`
}

// Keywords are the two levels of LightRAG's keyword step.
type Keywords struct {
	High []string `json:"high_level"`
	Low  []string `json:"low_level"`
}

// Reference is one cited document with its best passage; Passages are all of
// its passages that the answer could draw on, best first.
type Reference struct {
	ReferenceID string `json:"reference_id"`
	FilePath    string `json:"file_path"`
	DocID       string `json:"doc_id"`
	ChunkID     string `json:"chunk_id"`
	Start       int    `json:"start"` // byte offsets in the document's content
	End         int    `json:"end"`
	Place
	Heading []string `json:"headings,omitempty"`
	Snippet string   `json:"snippet"`
	// Byte offsets of the snippet in the document's content; absent where a chunk's
	// text was made of the content and is no slice of it.
	SnippetStart int                `json:"snippet_start,omitempty"`
	SnippetEnd   int                `json:"snippet_end,omitempty"`
	Score        float64            `json:"score"`
	Passages     []ReferencePassage `json:"passages"`
	Content      []string           `json:"content,omitempty"` // with include_chunk_content
}

// ReferencePassage is one passage of a cited document.
type ReferencePassage struct {
	ChunkID string `json:"chunk_id"`
	Start   int    `json:"start"`
	End     int    `json:"end"`
	Place
	Heading      []string `json:"headings,omitempty"`
	Snippet      string   `json:"snippet"`
	SnippetStart int      `json:"snippet_start,omitempty"`
	SnippetEnd   int      `json:"snippet_end,omitempty"`
	Score        float64  `json:"score"`
	Via          string   `json:"via,omitempty"` // the name that led to it
}

// Event is one piece of a streamed answer, in this order: progress (when asked
// for), references, any number of responses, and a last one with Done set.
type Event struct {
	Progress   string          `json:"progress,omitempty"`
	References []Reference     `json:"references,omitempty"`
	LLM        string          `json:"llm,omitempty"`
	Response   string          `json:"response,omitempty"`
	Degraded   bool            `json:"degraded,omitempty"`
	Metadata   *AnswerMetadata `json:"metadata,omitempty"`
	Done       bool            `json:"done,omitempty"`
}

// Data is LightRAG's answer to query/data: what retrieval found, no text written.
type Data struct {
	Status   string       `json:"status"` // "success"
	Message  string       `json:"message"`
	Data     DataBody     `json:"data"`
	Metadata DataMetadata `json:"metadata"`
}

// DataBody holds the retrieved items after ranking and cutting.
type DataBody struct {
	Entities      []DataEntity   `json:"entities"`
	Relationships []DataRelation `json:"relationships"`
	Chunks        []DataChunk    `json:"chunks"`
	References    []Reference    `json:"references"`
}

// DataEntity is one retrieved entity.
type DataEntity struct {
	EntityName  string  `json:"entity_name"`
	EntityType  string  `json:"entity_type"`
	Description string  `json:"description"`
	SourceID    string  `json:"source_id"` // chunk ids joined by <SEP>
	FilePath    string  `json:"file_path"` // paths joined by <SEP>
	ReferenceID string  `json:"reference_id,omitempty"`
	Score       float64 `json:"score"`
}

// DataRelation is one retrieved relation.
type DataRelation struct {
	SrcID       string  `json:"src_id"`
	TgtID       string  `json:"tgt_id"`
	Description string  `json:"description"`
	Keywords    string  `json:"keywords"`
	Weight      float64 `json:"weight"`
	SourceID    string  `json:"source_id"`
	FilePath    string  `json:"file_path"`
	ReferenceID string  `json:"reference_id,omitempty"`
	Score       float64 `json:"score"`
}

// DataChunk is one retrieved chunk.
type DataChunk struct {
	ReferenceID string `json:"reference_id"`
	Content     string `json:"content"`
	FilePath    string `json:"file_path"`
	ChunkID     string `json:"chunk_id"`
	DocID       string `json:"doc_id"`
	Start       int    `json:"start"`
	End         int    `json:"end"`
	Place
	Heading     []string `json:"headings,omitempty"`
	Score       float64  `json:"score"`
	RerankScore *float64 `json:"rerank_score,omitempty"`
	Via         string   `json:"via,omitempty"`
}

// DataMetadata says how the data was found.
type DataMetadata struct {
	QueryMode      Mode                  `json:"query_mode"`
	Keywords       Keywords              `json:"keywords"`
	RewrittenQuery string                `json:"rewritten_query,omitempty"`
	Rerank         string                `json:"rerank,omitempty"`
	RerankFailed   bool                  `json:"rerank_failed,omitempty"`
	Degraded       bool                  `json:"degraded,omitempty"`
	DegradedReason string                `json:"degraded_reason,omitempty"`
	ProcessingInfo map[string]int        `json:"processing_info"`
	StagesMS       map[string]float64    `json:"stages_ms"`
	Tokens         map[string]TokenCount `json:"tokens,omitempty"`
}

// GraphRequest asks for the neighbourhood of a label; "*" or "" starts at the
// entities with the most relations. MaxDepth 0 means 3 (at most 10), MaxNodes 0 means 1000 (at most 10,000).
type GraphRequest struct {
	Label    string
	MaxDepth int
	MaxNodes int
	Filter   *Filter // nil permits everything
}

// Subgraph is LightRAG's graph answer.
type Subgraph struct {
	Nodes       []GraphNode `json:"nodes"`
	Edges       []GraphEdge `json:"edges"`
	IsTruncated bool        `json:"is_truncated"`
}

// GraphNode is one entity. Properties: entity_id, entity_type, description,
// source_id, file_path, degree.
type GraphNode struct {
	ID         string         `json:"id"`
	Labels     []string       `json:"labels"`
	Properties map[string]any `json:"properties"`
}

// GraphEdge is one relation. Properties: weight, keywords, description,
// source_id, file_path.
type GraphEdge struct {
	ID         string         `json:"id"`
	Type       string         `json:"type"`
	Source     string         `json:"source"`
	Target     string         `json:"target"`
	Properties map[string]any `json:"properties"`
}

// GraphLabel is an entity's name with its number of relations.
type GraphLabel struct {
	Label  string `json:"label"`
	Degree int    `json:"degree"`
}

// GraphPath is a shortest path between two entities; Found is false when there is none within the bound.
type GraphPath struct {
	Found bool        `json:"found"`
	Nodes []GraphNode `json:"nodes"`
	Edges []GraphEdge `json:"edges"`
}
