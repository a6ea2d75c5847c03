package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/bench"
	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/engine/enginetest/gguf"
)

// What the scripted model says to each kind of call.
const (
	modelExtraction = `{"entities":[{"name":"Ada Lovelace","type":"Person","description":"Ada Lovelace wrote the first program."},` +
		`{"name":"Analytical Engine","type":"Artifact","description":"A machine of Babbage's that was never built."}],` +
		`"relationships":[{"source":"Ada Lovelace","target":"Analytical Engine","keywords":"programming","description":"She wrote a program for it."}]}`
	modelKeywords = `{"high_level_keywords":["first program"],"low_level_keywords":["Ada Lovelace"]}`
	modelAnswer   = "Ada Lovelace wrote the first program [1]."
	modelBypass   = "Nothing was retrieved for this."

	// modelWindow is that of the chat model, about a token a byte; embedWindow that
	// of the embedder, about a token a word.
	modelWindow = 7000
	embedWindow = 256
	chunkTokens = 300
)

var modelDocuments = []string{
	"Ada Lovelace wrote the first program. It was for the Analytical Engine of Charles Babbage.",
	"A kitten sits on the mat. The cat sits on the rug and looks at the kitten.",
	// Longer than the embedder's window.
	"The harbour of the town was built of stone. " + strings.Repeat("Each year the sea took a stone and the town put it back. ", 25),
}

const modelQuestion = "Who wrote the first program?"

var asked atomic.Int64

// freshQuestion is modelQuestion as nobody asked it before: what was answered
// once is remembered, and needs no model.
func freshQuestion() string { return fmt.Sprintf("%s (%d)", modelQuestion, asked.Add(1)) }

// promptStart is how a prompt of the engine begins.
func promptStart(t *testing.T, name string) string {
	t.Helper()
	files, err := filepath.Glob("../../engine/prompts/" + name + ".v*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files, name)
	b, err := os.ReadFile(files[len(files)-1])
	require.NoError(t, err)
	return string(b[:20])
}

// modelServer is a real Ollama with the models of these tests.
func modelServer(t *testing.T, o enginetest.OllamaOptions) *enginetest.Ollama {
	t.Helper()
	s := enginetest.StartOllama(t, o)
	chatModel(t, s)
	var words []string
	var vectors [][]float32
	for _, w := range strings.FieldsFunc(strings.ToLower(strings.Join(modelDocuments, " ")+modelQuestion), func(r rune) bool { return r < 'a' || r > 'z' }) {
		if !slices.Contains(words, w) {
			words, vectors = append(words, w), append(vectors, gguf.Code(w, 64))
		}
	}
	s.Embedder("words", embedWindow, words, vectors)
	return s
}

func chatModel(t *testing.T, s *enginetest.Ollama) {
	t.Helper()
	s.Chat("scripted", modelWindow,
		gguf.Script{System: promptStart(t, "extract_json"), Text: modelExtraction},
		gguf.Script{System: promptStart(t, "keywords"), Text: modelKeywords},
		gguf.Script{User: "for ever", Text: "and so on ", Loop: true},
		gguf.Script{System: promptStart(t, "answer"), Text: modelAnswer},
		gguf.Script{Text: modelBypass})
}

// base is one knowledge base of the real binary.
type base struct {
	t         *testing.T
	url, auth string
}

// startBase starts the real binary with a real Ollama behind it.
func startBase(t *testing.T, s *enginetest.Ollama) base {
	t.Helper()
	bin, err := binary()
	require.NoError(t, err)
	ctx := context.Background()
	server, err := bench.StartServer(ctx, bin, t.TempDir(),
		"--llm-binding", "ollama", "--llm-binding-host", s.URL, "--llm-model", "scripted", "--ollama-llm-num-ctx", strconv.Itoa(modelWindow), "--chunk-size", strconv.Itoa(chunkTokens), "--chunk-overlap-size", "30",
		"--embedding-binding", "ollama", "--embedding-model", "words", "--max-async", "1")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	token, err := server.Token(ctx)
	require.NoError(t, err)
	kb, err := server.NewKB(ctx, token, "models")
	require.NoError(t, err)
	return base{t, kb.Base, kb.Auth}
}

func (b base) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	j, err := json.Marshal(body)
	require.NoError(b.t, err)
	req, err := http.NewRequestWithContext(ctx, method, b.url+path, bytes.NewReader(j))
	require.NoError(b.t, err)
	req.Header.Set("Authorization", b.auth)
	req.Header.Set("Content-Type", "application/json")
	return http.DefaultClient.Do(req)
}

// callLimit is over what any call takes here: the models answer at once, and
// a server that is down is tried for seconds.
const callLimit = time.Minute

// ask sends a request and reads its answer into out.
func (b base) ask(method, path string, body, out any) (status int, header http.Header) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	resp, err := b.send(ctx, method, path, body)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	j, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	if status := resp.StatusCode; status >= 300 {
		b.t.Logf("%s %s: %d %s", method, path, status, j) // shown when the test fails
	}
	require.NoError(b.t, json.Unmarshal(j, out), "%s", j)
	return resp.StatusCode, resp.Header
}

// refused asks a question whose answer must be an error.
func (b base) refused(q engine.Query, status int, code, retryAfter string) {
	b.t.Helper()
	var e struct{ Code string }
	got, h := b.ask("POST", "/query", q, &e)
	require.Equal(b.t, status, got, e.Code)
	require.Equal(b.t, code, e.Code)
	require.Equal(b.t, retryAfter, h.Get("Retry-After"))
}

func (b base) answer(q engine.Query) engine.Answer {
	b.t.Helper()
	var a engine.Answer
	status, _ := b.ask("POST", "/query", q, &a)
	require.Equal(b.t, http.StatusOK, status)
	return a
}

// healthy is the answer of a base whose model works.
func (b base) healthy() {
	b.t.Helper()
	a := b.answer(engine.Query{Query: freshQuestion()})
	require.Equal(b.t, modelAnswer, a.Response)
	require.Equal(b.t, "scripted", a.LLM)
	require.False(b.t, a.Degraded)
}

// degraded is the answer of a base whose model is away: extractive, from what
// retrieval finds without it.
func (b base) degraded() {
	b.t.Helper()
	a := b.answer(engine.Query{Query: freshQuestion()})
	require.True(b.t, a.Degraded)
	require.Equal(b.t, "none", a.LLM)
	require.Contains(b.t, a.Response, "Ada Lovelace wrote the first program")
	require.NotEmpty(b.t, a.References)
	require.Equal(b.t, "0", a.References[0].DocID)
}

// streamed is an event of a stream: engine.Event, or the error that ends it.
type streamed struct {
	engine.Event
	Error, Code string
	RequestID   string `json:"request_id"`
}

var errEnough = errors.New("enough")

// stream reads a streamed answer until on says errEnough, which hangs up.
func (b base) stream(q engine.Query, on func(streamed) error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	resp, err := b.send(ctx, "POST", "/query/stream", q)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	require.Equal(b.t, http.StatusOK, resp.StatusCode)
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var e streamed
			require.NoError(b.t, json.Unmarshal([]byte(data), &e), data)
			if on(e) != nil {
				return
			}
		}
	}
	require.NoError(b.t, lines.Err())
}

func (b base) add(id, text string) {
	b.t.Helper()
	var accepted struct{ Data engine.Accepted }
	status, _ := b.ask("POST", "/documents/text", map[string]any{"id": id, "text": text, "file_source": id + ".txt"}, &accepted)
	require.Equal(b.t, http.StatusAccepted, status)
}

func (b base) document(id string) engine.Document {
	b.t.Helper()
	var d struct{ Data engine.Document }
	status, _ := b.ask("GET", "/documents/"+id, nil, &d)
	require.Equal(b.t, http.StatusOK, status)
	return d.Data
}

// becomes waits until a document is in a state that it stays in, which must be
// the one given.
func (b base) becomes(id string, want engine.Status) engine.Document {
	b.t.Helper()
	var d engine.Document
	require.Eventually(b.t, func() bool {
		d = b.document(id)
		return d.Status != engine.StatusPending && d.Status != engine.StatusProcessing
	}, callLimit, 20*time.Millisecond)
	require.Equal(b.t, want, d.Status, d.ErrorMsg)
	return d
}

func (b base) remove(id string) {
	b.t.Helper()
	var gone json.RawMessage
	status, _ := b.ask("DELETE", "/documents/"+id, nil, &gone)
	require.Equal(b.t, http.StatusOK, status)
}

// job acts on the work on a document.
func (b base) job(id, act string) {
	b.t.Helper()
	var answer json.RawMessage
	status, _ := b.ask("POST", "/jobs/"+id+"/"+act, nil, &answer)
	require.Less(b.t, status, 300, "%s", answer)
}

// work is the unfinished work on a document.
func (b base) work(id string) engine.JobInfo {
	b.t.Helper()
	var jobs struct {
		Data struct{ Jobs []engine.JobInfo }
	}
	b.ask("GET", "/jobs", nil, &jobs)
	for _, j := range jobs.Data.Jobs {
		if j.DocID == id {
			return j
		}
	}
	return engine.JobInfo{}
}

// tried waits until the model call of a document has failed at least once.
func (b base) tried(id, words string) {
	b.t.Helper()
	var j engine.JobInfo
	require.Eventually(b.t, func() bool { j = b.work(id); return j.Attempts > 0 }, callLimit, 20*time.Millisecond)
	require.Contains(b.t, j.ErrorMsg, words)
}

// The binary with a real Ollama behind it: what a user sees when all is well and
// at each fault of the model server.
func TestOllama(t *testing.T) {
	s := modelServer(t, enginetest.OllamaOptions{})
	b := startBase(t, s)

	t.Run("ingest", func(t *testing.T) {
		b := base{t, b.url, b.auth}
		for i, text := range modelDocuments {
			b.add(string(rune('0'+i)), text)
		}
		for i := range modelDocuments {
			d := b.becomes(string(rune('0'+i)), engine.StatusProcessed)
			require.Equal(t, 2, d.Entities)
			require.Equal(t, 1, d.Relations)
		}
		var g engine.Subgraph
		status, _ := b.ask("GET", "/graph?label=Ada%20Lovelace", nil, &g)
		require.Equal(t, http.StatusOK, status)
		require.Len(t, g.Nodes, 2)
		require.Len(t, g.Edges, 1)
		require.Contains(t, g.Edges[0].Properties["description"], "She wrote a program for it.")
	})

	t.Run("query in every mode, streamed", func(t *testing.T) {
		for _, mode := range []engine.Mode{
			engine.ModeNaive, engine.ModeLocal, engine.ModeGlobal, engine.ModeHybrid, engine.ModeMix, engine.ModePPR, engine.ModeBypass,
		} {
			t.Run(string(mode), func(t *testing.T) {
				b := base{t, b.url, b.auth}
				want := modelAnswer
				if mode == engine.ModeBypass {
					want = modelBypass
				}
				var events []streamed
				b.stream(engine.Query{Query: modelQuestion, Mode: mode}, func(e streamed) error { events = append(events, e); return nil })
				require.Greater(t, len(events), 4, "in pieces")
				require.Equal(t, mode == engine.ModeBypass, len(events[0].References) == 0, "what was found comes first")
				text := ""
				for _, e := range events[1 : len(events)-1] {
					require.NotEmpty(t, e.Response)
					text += e.Response
				}
				require.Equal(t, want, text)
				last := events[len(events)-1]
				require.True(t, last.Done)
				require.False(t, last.Degraded)
				require.Equal(t, "scripted", last.LLM)
				require.Positive(t, last.Metadata.PromptTokens)
				require.Positive(t, last.Metadata.ReplyTokens)
				switch mode {
				case engine.ModeLocal, engine.ModeGlobal, engine.ModeHybrid, engine.ModeMix:
					require.Equal(t, engine.Keywords{High: []string{"first program"}, Low: []string{"Ada Lovelace"}}, last.Metadata.Keywords)
				}
			})
		}
	})

	// The real vectors rank: no word of the question but those of the passage.
	t.Run("vectors", func(t *testing.T) {
		b := base{t, b.url, b.auth}
		var d engine.Data
		status, _ := b.ask("POST", "/query/data", engine.Query{Query: "cat on the rug", Mode: engine.ModeNaive}, &d)
		require.Equal(t, http.StatusOK, status)
		require.NotEmpty(t, d.Data.Chunks)
		require.Equal(t, "1", d.Data.Chunks[0].DocID)
	})

	// talk keeps the only place for model calls until it is hung up.
	talk := func(b base, during func()) {
		n := 0
		b.stream(engine.Query{Query: "for ever and ever", Mode: engine.ModeBypass}, func(e streamed) error {
			require.Empty(b.t, e.Error)
			if n++; n < 5 {
				return nil
			}
			during()
			return errEnough
		})
	}

	t.Run("cancel an answer", func(t *testing.T) {
		b := base{t, b.url, b.auth}
		talk(b, func() {})
		b.healthy() // the place is free again
	})

	t.Run("cancel a document", func(t *testing.T) {
		b := base{t, b.url, b.auth}
		talk(b, func() {
			b.add("waits", "A text that waits for the model.")
			require.Eventually(t, func() bool { return b.work("waits").State == "running" }, callLimit, 10*time.Millisecond)
			b.job("waits", "cancel")
			b.becomes("waits", engine.StatusCancelled)
		})
		b.healthy()
		b.job("waits", "retry")
		b.becomes("waits", engine.StatusProcessed)
	})

	t.Run("killed in the middle of an answer", func(t *testing.T) {
		b := base{t, b.url, b.auth}
		var last streamed
		n := 0
		b.stream(engine.Query{Query: "for ever and ever"}, func(e streamed) error {
			if last = e; n == 5 {
				s.Kill()
			}
			n++
			return nil
		})
		require.False(t, last.Done)
		require.Equal(t, "BACKEND_UNAVAILABLE", last.Code)
		require.NotEmpty(t, last.Error)
		require.NotEmpty(t, last.RequestID)
		require.NotContains(t, last.Error, s.URL)

		b.degraded()
		b.refused(engine.Query{Query: modelQuestion, Mode: engine.ModeBypass}, http.StatusServiceUnavailable, "BACKEND_UNAVAILABLE", "10")
	})

	t.Run("restarted in the middle of an ingest", func(t *testing.T) {
		b := base{t, b.url, b.auth}
		b.add("patient", "A text that came while the model was away.")
		b.tried("patient", "the model server is not available")
		s.Restart()
		b.becomes("patient", engine.StatusProcessed)
		b.healthy()
	})

	t.Run("prompt too long", func(t *testing.T) {
		b := base{t, b.url, b.auth}
		// A token a word for us, five for the model: the server has the word.
		long := "Say something. " + strings.Repeat("word ", modelWindow/5)
		b.refused(engine.Query{Query: long, Mode: engine.ModeBypass}, http.StatusBadRequest, "PROMPT_TOO_LONG", "")
		// Over the window for us as well: nothing is sent.
		b.refused(engine.Query{Query: strings.Repeat("word ", modelWindow), Mode: engine.ModeBypass}, http.StatusBadRequest, "PROMPT_TOO_LONG", "")

		// A token a word for us, 17 for the model: a chunk of them does not fit. Where
		// it is the only one the document fails, else it goes without it.
		words := func(n int) string { return strings.Repeat(" responsibilities", n) }
		b.add("long", words(chunkTokens-10))
		d := b.becomes("long", engine.StatusFailed)
		require.Contains(t, d.ErrorMsg, engine.ErrPromptTooLong.Error())
		b.add("longer", words(chunkTokens-10)+"\n\n"+words(chunkTokens/3))
		d = b.becomes("longer", engine.StatusPartial)
		require.Equal(t, 2, d.ChunksCount)
		require.Equal(t, 1, d.ChunksDone)
		require.Len(t, d.FailedChunks, 1)
		require.Zero(t, d.FailedChunks[0].Order)
		require.Contains(t, d.FailedChunks[0].Error, engine.ErrPromptTooLong.Error())
		b.remove("longer")
		b.healthy()
	})

	t.Run("too long a context", func(t *testing.T) {
		b := base{t, b.url, b.auth}
		b.add("fills", strings.Repeat("A sentence that fills the window of the model. ", modelWindow/47))
		require.Greater(t, b.becomes("fills", engine.StatusProcessed).ChunksCount, 1)
		q := engine.Query{Query: "Which sentence fills the window of the model?"}
		b.refused(q, http.StatusBadRequest, "PROMPT_TOO_LONG", "")
		tokens := 900
		q.MaxTotalTokens = &tokens
		require.Equal(t, modelAnswer, b.answer(q).Response)
		s.Delete("scripted")
		q = engine.Query{Query: "Which sentence fills the window, then?"}
		require.Equal(t, "none", b.answer(q).LLM, "an extractive answer has no window")
		chatModel(t, s)
		b.remove("fills")
	})

	// A text over the embedder's window is embedded in parts: as a document above,
	// and as a question.
	t.Run("text to embed too long", func(t *testing.T) {
		b := base{t, b.url, b.auth}
		require.Greater(t, len(strings.Fields(modelDocuments[2])), embedWindow)
		require.Equal(t, engine.StatusProcessed, b.document("2").Status)
		a := b.answer(engine.Query{Query: strings.Repeat("the stone of the harbour ", embedWindow/2), Mode: engine.ModeNaive})
		require.False(t, a.Degraded)
		require.Equal(t, modelAnswer, a.Response)
		require.Equal(t, "2", a.References[0].DocID)
	})

	t.Run("model missing", func(t *testing.T) {
		b := base{t, b.url, b.auth}
		s.Delete("scripted")
		b.degraded()
		b.refused(engine.Query{Query: modelQuestion, Mode: engine.ModeBypass}, http.StatusServiceUnavailable, "MODEL_MISSING", "60")
		b.add("early", "A text that came before the model.")
		d := b.becomes("early", engine.StatusFailed)
		require.Contains(t, d.ErrorMsg, engine.ErrModelMissing.Error())
		require.Contains(t, d.ErrorMsg, "scripted")
		chatModel(t, s)
		b.job("early", "retry")
		b.becomes("early", engine.StatusProcessed)
		b.healthy()
	})

	// Without vectors, retrieval goes on by words and graph, and says so.
	t.Run("embedding model missing", func(t *testing.T) {
		b := base{t, b.url, b.auth}
		s.Delete("words")
		a := b.answer(engine.Query{Query: modelQuestion, Mode: engine.ModeNaive})
		require.True(t, a.Degraded)
		require.Equal(t, "scripted", a.LLM, "the chat model is there")
		require.Equal(t, "0", a.References[0].DocID)
		b.add("blind", "A text without a vector.")
		d := b.becomes("blind", engine.StatusFailed)
		require.Contains(t, d.ErrorMsg, engine.ErrModelMissing.Error())
	})
}

// A server whose queue is full is tried again; then it counts as down, and a
// document waits for it.
func TestOllama_QueueFull(t *testing.T) {
	s := modelServer(t, enginetest.OllamaOptions{Loaded: 1, Queue: 1})
	b := startBase(t, s)
	b.add("0", modelDocuments[0])
	b.becomes("0", engine.StatusProcessed)
	b.healthy()
	release := s.Fill()
	b.degraded()
	b.refused(engine.Query{Query: modelQuestion, Mode: engine.ModeBypass}, http.StatusServiceUnavailable, "BACKEND_UNAVAILABLE", "10")
	b.add("patient", "A text that came while the model was busy.")
	b.tried("patient", "maximum pending requests exceeded")
	release()
	b.becomes("patient", engine.StatusProcessed)
	b.healthy()
}
