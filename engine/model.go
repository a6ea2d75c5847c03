package engine

import (
	"context"
	"encoding/json"
)

// Chatter is a language model that answers a conversation. Implementations:
// ollama, openai. Safe for concurrent use.
type Chatter interface {
	// Chat sends the request and returns the whole reply. When onDelta is not
	// nil the reply is streamed: every piece of text is handed over in order
	// before Chat returns, and an error from onDelta ends the call with that
	// error. A stream that ends without the server's own end mark is an error,
	// never a short reply. Errors wrap ErrModelDown when the server could not
	// be reached or gave up, ErrModelMissing when it does not have the model,
	// ErrPromptTooLong when the request does not fit the context window (nothing
	// is ever cut silently), and ErrModelRefused when it will not do this request.
	Chat(ctx context.Context, r ChatRequest, onDelta func(string) error) (ChatReply, error)
	// Model is the name answers are marked with.
	Model() string
}

// ChatRequest is one call of a Chatter.
type ChatRequest struct {
	System   string
	Messages []Message
	// JSON asks the server to constrain the reply to one JSON value, where it can.
	JSON bool
	// Schema is the JSON schema of that value, beside JSON. A server that cannot
	// hold a reply to it is asked for JSON alone.
	Schema json.RawMessage `json:",omitempty"` // left out, requests keep the hash they are stored under
	// MaxTokens bounds the reply; 0 leaves it to the server.
	MaxTokens int
	// Temperature is sent only when not nil.
	Temperature *float64
}

// Message is one turn of a conversation. Role is user or assistant.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// ChatReply is what a Chatter answered. Truncated says that the server stopped
// at its token limit. Token counts are 0 where the server does not tell.
type ChatReply struct {
	Text         string
	Truncated    bool
	PromptTokens int
	ReplyTokens  int
}

// Embedder turns texts into vectors. Implementations: ollama, openai, builtin.
// Safe for concurrent use.
type Embedder interface {
	// Embed returns one vector for each text, in order, all of one length, each
	// finite and not all zero. The caller owns them. Errors are those of Chatter.
	Embed(ctx context.Context, texts []string) ([][]float32, error)
	// Model identifies the vectors: two embedders with one Model give
	// comparable vectors. A knowledge base pins it at its first document.
	Model() string
	// Pure says that vectors are a function of the text alone, made in this
	// process in microseconds, so that none needs to be stored for a profile.
	Pure() bool
}

// Extractor reads one passage and says which entities and relations it names.
// Implementations: ModelExtractor (a language model), builtin (rules). Safe for
// concurrent use.
type Extractor interface {
	// Extract returns what the passage says. Names come back as written; the
	// engine normalises them. An empty Extraction is a valid result.
	Extract(ctx context.Context, p Passage) (Extraction, error)
	// Identity changes whenever the same passage may give another result; a
	// stored extraction is reused only under the same Identity.
	Identity() string
}

// Passage is one chunk on its way to an Extractor.
type Passage struct {
	// Title is the name of the document, "" when it has none.
	Title string
	// Heading is the path of headings above the text, outermost first.
	Heading []string
	Text    string
}

// Extraction is what one chunk says of entities and relations.
type Extraction struct {
	Entities  []EntityMention
	Relations []RelationMention
	// Dropped counts records of a model's reply that could not be used.
	Dropped int
	// Truncated says that a reply ended at its token limit: there may be more in
	// the passage than what it says.
	Truncated bool
}

// EntityMention is one chunk's word on one entity.
type EntityMention struct {
	Name, Type, Description string
}

// RelationMention is one chunk's word on one directed relation. Keywords are
// comma separated. Weight is positive.
type RelationMention struct {
	Source, Target, Keywords, Description string
	Weight                                float64
}

// Answerer writes an answer from retrieved evidence. Implementations:
// ModelAnswerer (a language model), builtin (extractive). Safe for concurrent use.
type Answerer interface {
	// Answer returns the text, citing evidence by its reference id in square
	// brackets, as [1]. When onDelta is not nil the text is streamed as by
	// Chatter.Chat. No evidence gives a text that says so, not an error.
	Answer(ctx context.Context, q AnswerRequest, onDelta func(string) error) (AnswerReply, error)
	// Model is the name answers are marked with: "none" for an extractive one.
	Model() string
}

// AnswerRequest is a question with the evidence for it, best first.
type AnswerRequest struct {
	Query        string
	ResponseType string
	UserPrompt   string
	History      []Message
	// Context is the retrieved context as text, within the token budgets, in
	// the form a language model reads; Prompt is the whole system prompt made of it.
	Context, Prompt string
	Chunks          []EvidenceChunk
}

// EvidenceChunk is one cited passage.
type EvidenceChunk struct {
	ReferenceID string
	FilePath    string
	Title       string
	Text        string
	Score       float64
}

// AnswerReply is what an Answerer wrote. CitationsDropped counts the ids that it
// cited and that are not in the context; Text does not hold them.
type AnswerReply struct {
	Text             string
	PromptTokens     int
	ReplyTokens      int
	CitationsDropped int
}

// Reranker scores passages by how well they answer a question. Implementations:
// rerank (HTTP), ModelReranker (a chat model). Safe for concurrent use.
type Reranker interface {
	// Rerank scores the texts, best ones first in the list it is given. It may
	// leave out some from the end, but not all. Errors are those of Chatter.
	Rerank(ctx context.Context, query string, texts []string) (RerankReply, error)
	// Model is the name it is known under.
	Model() string
}

// RerankReply holds the scores of the first texts of a list, in its order, each
// finite; more is better, and nothing is said of their range. Token counts are 0
// where the server does not tell.
type RerankReply struct {
	Scores       []float64
	PromptTokens int
	ReplyTokens  int
}

// Parser reads the bytes of a file. Implemented by engine/parse.
type Parser struct {
	// Sniff says what a file is and refuses what Parse would refuse, as far as can
	// be told without parsing: ErrUnsupportedType naming the types that are read,
	// ErrNotText, ErrEmptyDocument. It is called before a document is accepted, is
	// cheap, and says the same of the same name and bytes each time.
	Sniff func(name string, data []byte) (FileType, error)
	// Parse returns the text blocks of a file in order. An error is final: trying
	// again would end the same way, unless it is ctx's.
	Parse func(ctx context.Context, f File) (*Parsed, error)
}

// FileType is what the bytes of a file are.
type FileType struct {
	// Media is the media type, as application/pdf.
	Media string
	// Text says that the file is its own text: UTF-8, offsets are into it. Of
	// others a text is made, and offsets are into that.
	Text bool
}

// File is a file on its way to Parse, which does not keep Data.
type File struct {
	Name string
	Data []byte
	// MainText asks for the main text of a web page without what surrounds it.
	MainText bool
}

// Parsed is a document as text.
type Parsed struct {
	// Title is the document's own title, "" when it has none.
	Title string
	// Text is the text of a file that is not its own text (FileType.Text).
	Text   string
	Blocks []Block
	// Verbatim says that each block's Text is the bytes Start..End of the text, so
	// that a chunk can be cut anywhere and still be a slice of it.
	Verbatim bool
	// Warnings say what of the file is not in the text, a sentence each.
	Warnings []string
}

// Block is a run of text in one place. Start and End are byte offsets in the
// file or, where a text was made of it, in that text; End is exclusive.
type Block struct {
	Text       string
	Start, End int
	Heading    []string
	Place
}

// Place is where in a document of pages, slides or sheets something stands.
// Numbers are 1-based, 0 where there are none.
type Place struct {
	Page  int    `json:"page,omitempty"`
	Slide int    `json:"slide,omitempty"`
	Sheet string `json:"sheet,omitempty"`
}
