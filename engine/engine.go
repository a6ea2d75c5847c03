package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"alcove/index"
	"alcove/tenancy"
)

// Options configure an Engine. Zero means the default given beside the field.
type Options struct {
	Store  *tenancy.Store // required
	Logger *slog.Logger   // slog.Default()

	Parser    Parser    // required
	Embedder  Embedder  // required
	Extractor Extractor // required
	Answerer  Answerer  // required: writes answers, or the extractive fallback
	Chatter   Chatter   // nil: no language model; keywords come from rules
	// Fallback answers when Answerer's model is down. Required when Chatter is set.
	Fallback Answerer
	// Reranker orders the chunks that were found; nil: the order of the search.
	Reranker       Reranker
	MinRerankScore float64        // chunks below it are left out; 0: none
	RerankChunks   int            // 200 chunks of a question are given to the reranker
	RerankTokens   int            // 4096 tokens of a chunk are scored at once; of a longer one the best part counts
	Models         Models         // that tenants and knowledge bases may choose beside those above
	Settings       tenancy.Config // the server's own of what they may override
	// HTML makes a page of an answer's Markdown, fit to be shown as it is; nil:
	// answers are Markdown alone.
	HTML func(markdown string) (string, error)
	// NoKeywordCall leaves the keyword step to the rules even when there is a
	// Chatter: one model call less before the search.
	NoKeywordCall bool
	ChunkPick     PickMethod // PickVector

	ChunkTokens      int           // 1200
	ChunkOverlap     int           // 100
	MaxDocumentBytes int           // 50 MiB
	MaxTexts         int           // 1000 documents a call
	MaxMetadataBytes int           // 16 KiB a document
	MaxCallMetadata  int           // 1 MiB a call
	MaxChunks        int           // 200,000 a document
	MaxPending       int           // 100,000 waiting documents in all
	Workers          int           // 8: documents worked on at once; they share syncs
	EmbedBatch       int           // DefaultEmbedBatch texts a call
	ModelConcurrency int           // 4 model calls at once, for the whole server
	ChunkAttempts    int           // 4 tries of a model call before its chunk fails
	AwayAttempts     int           // 20 tries of a model server that does nothing at all before the document fails
	RetryBase        time.Duration // 1 s, doubled each time
	AnswerCacheBytes int64         // 256 MiB a knowledge base
	VectorIndex      string        // own: large spaces of vectors are searched by a graph of our own; coder, by the same inside coder/hnsw; exact, by a scan
	VectorsCompact   bool          // vectors are kept in memory as a byte a number
	VectorGraphFrom  int           // 12,000 vectors in a space before it gets a graph
	VectorGraphRest  time.Duration // 30 s without a change before a graph is made or grown, or a copy kept as a snapshot
	SnapshotFrom     int           // 32 chunks from which a copy in memory is kept as a snapshot; negative for never
	MaxOpen          int           // 100 open knowledge bases
	MaxOpenBytes     int64         // 512 MiB of open knowledge bases
	MaxIdle          time.Duration // after which a knowledge base that nobody asks for leaves the memory; 0: never
	Pinned           []Pin         // knowledge bases that never leave it; fewer than MaxOpen
	RelatedChunks    int           // 5: LightRAG's RELATED_CHUNK_NUMBER
	QueryCacheBytes  int64         // 64 MiB of keywords, rewritten questions and answers, for the whole server; negative: none
	RelationGroups   *bool         // true: the table of relation words (English) is used in a question

	// Offline lets no model be asked: adopted documents become visible where their
	// vectors are there or made in this process, and everything else that is accepted
	// waits for an Engine without it.
	Offline bool

	KeepOriginals bool // files of which a text was made are kept, unless the call says otherwise

	Now func() time.Time // time.Now
}

// Engine runs the knowledge bases of one store: it takes documents in, works
// on them in the background, keeps the bases in use in memory and answers
// questions. Safe for concurrent use.
type Engine struct {
	o         Options
	queue     *queue       // accepted work, see job.go
	pool      *pool        // open knowledge bases, see pool.go
	models    places       // for model calls at once
	gather    gatherer     // of embedding calls, see gather.go
	searches  places       // for searches at once
	searching atomic.Int64 // questions, see giveWay
	parsing   parsing      // files at once of each tenant, see original.go
	memory    *memory      // of questions, see answercache.go
	meter     meter        // see meter.go

	extractors map[string]*modelExtractor // of Options.Models.Chatters
	importing  sync.Map                   // tenancy.SpaceID of imports under way, see portable_import.go

	extracted, embedded atomic.Int64 // model calls of the work that were answered, see ingest.try
}

// New starts an Engine: unfinished work of the store is taken up again at once.
func New(o Options) (*Engine, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("engine options: %w", err)
	}
	e := &Engine{o: o, models: places{free: o.ModelConcurrency}, searches: places{free: processors(), spare: searchSpare}, memory: newMemory(o.QueryCacheBytes), parsing: parsing{each: max(1, o.Workers/2)}}
	if x, ok := o.Extractor.(*modelExtractor); ok {
		e.extractors = map[string]*modelExtractor{}
		for name, c := range o.Models.Chatters {
			e.extractors[name] = newModelExtractor(c, x.o, new(atomic.Bool))
		}
	}
	e.pool = newPool(e)
	if e.queue, err = newQueue(e); err != nil {
		return nil, fmt.Errorf("take up unfinished work: %w", err)
	}
	o.Store.OnKBGone(e.pool.forget)
	o.Store.OnKBGone(e.queue.forget)
	o.Store.OnKBGone(e.memory.forget)
	e.queue.start()
	return e, nil
}

// Close stops the workers, waits for what they hold and drops the open
// knowledge bases. Accepted work stays in the store and goes on at the next
// New. The Store is the caller's to close afterwards.
func (e *Engine) Close() error {
	e.queue.close()
	e.pool.close()
	return nil
}

// Sniff refuses a file that Add would refuse for its name or its bytes, as
// Parser.Sniff does. Without bytes it tells an unread type from a read one.
func (e *Engine) Sniff(name string, data []byte) error {
	_, err := e.o.Parser.Sniff(name, data)
	return err
}

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Store == nil:
		return o, errors.New("the Store is missing")
	case o.Parser.Parse == nil || o.Parser.Sniff == nil:
		return o, errors.New("the Parser is missing")
	case o.Embedder == nil || o.Extractor == nil || o.Answerer == nil:
		return o, errors.New("an Embedder, an Extractor and an Answerer are needed")
	case o.Chatter != nil && o.Fallback == nil:
		return o, errors.New("a Fallback is needed beside a Chatter")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	for _, d := range []struct {
		v   *int
		def int
	}{
		{&o.ChunkTokens, 1200}, {&o.MaxDocumentBytes, 50 << 20}, {&o.MaxTexts, 1000},
		{&o.MaxMetadataBytes, 16 << 10}, {&o.MaxCallMetadata, 1 << 20}, {&o.MaxChunks, 200_000}, {&o.MaxPending, 100_000},
		{&o.Workers, 8}, {&o.EmbedBatch, DefaultEmbedBatch}, {&o.ModelConcurrency, 4}, {&o.ChunkAttempts, 4}, {&o.AwayAttempts, 20}, {&o.MaxOpen, 100},
		{&o.RelatedChunks, 5}, {&o.RerankChunks, 200}, {&o.RerankTokens, 4096},
	} {
		if *d.v < 0 {
			return o, errors.New("a limit is negative")
		}
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.ChunkOverlap == 0 {
		o.ChunkOverlap = min(100, o.ChunkTokens/4)
	}
	if o.ChunkOverlap < 0 || o.ChunkOverlap >= o.ChunkTokens {
		return o, fmt.Errorf("ChunkOverlap %d must be below ChunkTokens %d", o.ChunkOverlap, o.ChunkTokens)
	}
	if o.SnapshotFrom == 0 {
		o.SnapshotFrom = snapshotFrom
	}
	if o.VectorGraphRest == 0 {
		o.VectorGraphRest = 30 * time.Second
	}
	if o.RetryBase == 0 {
		o.RetryBase = time.Second
	}
	if o.AnswerCacheBytes == 0 {
		o.AnswerCacheBytes = 256 << 20
	}
	if o.QueryCacheBytes == 0 {
		o.QueryCacheBytes = 64 << 20
	}
	if o.ChunkPick == "" {
		o.ChunkPick = PickVector
	}
	if o.ChunkPick != PickVector && o.ChunkPick != PickWeight {
		return o, fmt.Errorf("ChunkPick %q is neither VECTOR nor WEIGHT", o.ChunkPick)
	}
	if err := index.Backend(o.VectorIndex).Check(); err != nil {
		return o, fmt.Errorf("VectorIndex: %w", err)
	}
	if o.MaxOpenBytes == 0 {
		o.MaxOpenBytes = 512 << 20
	}
	if o.MaxIdle < 0 {
		return o, errors.New("MaxIdle is negative")
	}
	if len(o.Pinned) >= o.MaxOpen {
		return o, fmt.Errorf("%d knowledge bases are pinned; MaxOpen %d leaves no room for another", len(o.Pinned), o.MaxOpen)
	}
	if o.RelationGroups == nil {
		on := true
		o.RelationGroups = &on
	}
	return o, o.serverSettings()
}

// Reader is a knowledge base as a caller may read it. It is cheap to make and
// safe for concurrent use; it holds nothing open between calls.
type Reader struct {
	eng   *Engine
	space *tenancy.Space
}

// KB is a knowledge base as a caller may change it. What its Space was not
// entered for is refused by tenancy with ErrDenied.
type KB struct{ Reader }

// Reader returns the knowledge base of a Space for reading.
func (e *Engine) Reader(s *tenancy.Space) *Reader { return &Reader{eng: e, space: s} }

// KB returns the knowledge base of a Space for changing it.
func (e *Engine) KB(s *tenancy.Space) *KB { return &KB{Reader{eng: e, space: s}} }
