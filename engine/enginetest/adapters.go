package enginetest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
)

// Wire is the protocol that an adapter of a model server speaks.
type Wire string

// The wires there are adapters for.
const (
	WireOllama Wire = "ollama" // /api/chat as lines of JSON, /api/embed
	WireOpenAI Wire = "openai" // /chat/completions as server-sent events, /embeddings
)

// AdapterOptions are what AdapterSuite asks of an adapter.
type AdapterOptions struct {
	URL    string
	APIKey engine.Secret
	Window int // tokens of the chat model's context
	// EmbedWindow is the embedding model's, for a wire that sends it; Batch is the
	// texts of an embedding call, Dimensions the length of vector to ask for. 0 is
	// the adapter's default.
	EmbedWindow, Batch, Dimensions int
	Remote                         engine.RemoteOptions
}

// Turn is what a ModelServer does with one call, whatever the wire. The zero
// Turn answers with nothing and never says it is done.
type Turn struct {
	// Status other than 0 refuses the call with Message.
	Status     int
	Message    string
	RetryAfter string

	// Pieces are streamed; Reason ("stop" or "length") ends the stream, "" leaves
	// it without an end mark.
	Pieces []string
	Reason string
	// Fault is an error inside the stream, after the pieces, with status 200.
	Fault string
	// Break cuts the connection after the pieces; Hang sends nothing more until
	// the client has gone.
	Break, Hang bool

	// Vectors answer an embedding call; nil makes one of Served(text) each. Numbers
	// says that they go as such though the call asks for base64.
	Vectors [][]float32
	Numbers bool
}

// ModelServer speaks a wire as the real server does (Ollama v0.17.4's shapes
// were recorded) and does what its turns say; after the last, the last again.
type ModelServer struct {
	URL string
	// Reply, when it is set before the first call, says what to do with each call
	// instead of the turns. Calls may come side by side.
	Reply func(Call) Turn

	http  *httptest.Server
	wire  Wire
	mu    sync.Mutex
	turns []Turn
	calls []Call
	gone  chan struct{}
}

// Call is a request as it arrived.
type Call struct {
	Path, Authorization string
	Body                map[string]any
}

// NewModelServer starts a server that ends with the test.
func NewModelServer(t testing.TB, w Wire, turns ...Turn) *ModelServer {
	s := &ModelServer{wire: w, turns: turns, gone: make(chan struct{}, 16)}
	s.http = httptest.NewServer(s)
	t.Cleanup(s.Stop)
	s.URL = s.http.URL
	if w == WireOpenAI {
		s.URL += "/v1"
	}
	return s
}

// Stop takes the server down: running calls break, new ones are refused.
func (s *ModelServer) Stop() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// Start brings a stopped server up again at its address.
func (s *ModelServer) Start(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", s.http.Listener.Addr().String())
	require.NoError(t, err)
	s.http = &httptest.Server{Listener: l, Config: &http.Server{Handler: s}}
	s.http.Start()
}

// Calls returns what has arrived so far.
func (s *ModelServer) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.calls...)
}

// Served is the vector of a text: three numbers that tell texts apart.
func Served(text string) []float32 {
	sum := 0
	for _, b := range []byte(text) {
		sum += int(b)
	}
	return []float32{1, float32(len(text)), float32(sum)}
}

func (s *ModelServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	call := Call{Path: r.URL.Path, Authorization: r.Header.Get("Authorization"), Body: body}
	s.calls = append(s.calls, call)
	var turn Turn
	if s.Reply == nil {
		turn = s.turns[min(len(s.calls), len(s.turns))-1]
	}
	s.mu.Unlock()
	if s.Reply != nil {
		turn = s.Reply(call)
	}
	chat := map[Wire]string{WireOllama: "/api/chat", WireOpenAI: "/v1/chat/completions"}[s.wire]
	embed := map[Wire]string{WireOllama: "/api/embed", WireOpenAI: "/v1/embeddings"}[s.wire]
	switch {
	case r.URL.Path != chat && r.URL.Path != embed:
		http.NotFound(w, r)
	case turn.Status != 0:
		if turn.RetryAfter != "" {
			w.Header().Set("Retry-After", turn.RetryAfter)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(turn.Status)
		_, _ = io.WriteString(w, s.refusal(turn.Message))
	case r.URL.Path == embed:
		s.embed(w, turn, body)
	default:
		s.chat(w, r, turn)
	}
}

func (s *ModelServer) refusal(message string) string {
	if s.wire == WireOllama {
		return asJSON(map[string]any{"error": message})
	}
	return asJSON(map[string]any{"error": map[string]any{"message": message, "type": "api_error", "param": nil, "code": nil}})
}

func (s *ModelServer) chat(w http.ResponseWriter, r *http.Request, turn Turn) {
	send := func(v any) {
		if s.wire == WireOllama {
			_, _ = io.WriteString(w, asJSON(v)+"\n")
		} else {
			_, _ = io.WriteString(w, "data: "+asJSON(v)+"\n\n")
		}
		_ = http.NewResponseController(w).Flush()
	}
	w.Header().Set("Content-Type", map[Wire]string{WireOllama: "application/x-ndjson", WireOpenAI: "text/event-stream"}[s.wire])
	for _, p := range turn.Pieces {
		send(s.piece(p))
	}
	switch {
	case turn.Fault != "":
		var v any
		_ = json.Unmarshal([]byte(s.refusal(turn.Fault)), &v)
		send(v)
	case turn.Break:
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case turn.Hang:
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		s.gone <- struct{}{}
	case turn.Reason == "":
	case s.wire == WireOllama:
		send(map[string]any{
			"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": map[string]any{"role": "assistant", "content": ""},
			"done": true, "done_reason": turn.Reason, "prompt_eval_count": 11, "eval_count": len(turn.Pieces),
		})
	default:
		send(map[string]any{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []any{
			map[string]any{"index": 0, "delta": map[string]any{}, "finish_reason": turn.Reason}}})
		send(map[string]any{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []any{},
			"usage": map[string]any{"prompt_tokens": 11, "completion_tokens": len(turn.Pieces), "total_tokens": 11 + len(turn.Pieces)}})
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	}
}

func (s *ModelServer) piece(text string) map[string]any {
	if s.wire == WireOllama {
		return map[string]any{
			"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": map[string]any{"role": "assistant", "content": text}, "done": false,
		}
	}
	return map[string]any{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []any{
		map[string]any{"index": 0, "delta": map[string]any{"role": "assistant", "content": text}, "finish_reason": nil}}}
}

// embedTokens is what a server says that it read for an embedding call.
const embedTokens = 3

// embed answers OpenAI's calls in reverse: the index counts, not the order.
func (s *ModelServer) embed(w http.ResponseWriter, turn Turn, body map[string]any) {
	vectors := turn.Vectors
	if vectors == nil {
		for _, x := range body["input"].([]any) {
			vectors = append(vectors, Served(x.(string)))
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if s.wire == WireOllama {
		_, _ = io.WriteString(w, asJSON(map[string]any{"model": "m", "embeddings": vectors, "total_duration": 1, "prompt_eval_count": embedTokens}))
		return
	}
	data := []any{}
	for i := len(vectors) - 1; i >= 0; i-- {
		var v any = vectors[i]
		if body["encoding_format"] == "base64" && !turn.Numbers {
			var raw []byte
			for _, x := range vectors[i] {
				raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
			}
			v = raw // JSON's way to write bytes
		}
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": v})
	}
	_, _ = io.WriteString(w, asJSON(map[string]any{"object": "list", "data": data, "model": "m", "usage": map[string]any{"prompt_tokens": embedTokens, "total_tokens": embedTokens}}))
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("enginetest: %v", err))
	}
	return strings.TrimSpace(string(b))
}
