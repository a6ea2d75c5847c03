package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// ModelOptions configure a Model. Zero means the default given beside the field.
type ModelOptions struct {
	Dim     int           // 384: length of a vector
	Piece   int           // 0, the whole reply: bytes of one streamed piece
	Listen  string        // 127.0.0.1:0, a free port of the loopback
	Latency time.Duration // 0: what every answer is held back for
	// Answers are recorded replies of a chat, by its last message; what is not
	// among them is answered by the script.
	Answers map[string]string
	// Embedded is told the texts of every embedding call, before it is answered.
	// It is called by many at once.
	Embedded func(texts []string)
	// Summarised is told every description that the model writes, before it is
	// answered. It is called by many at once.
	Summarised func(text string)
}

// Model stands in for a model server: it speaks OpenAI's chat completions and
// embeddings, and Ollama's chat and embed, and takes no time to think. It knows the
// prompts of alcove and those of LightRAG. A name is two
// capitalised words in a row; asked what a passage says, it answers with the
// names and relates each to the next one of its sentence; vectors are bags of
// hashed words. Every answer is a function of the request alone.
type Model struct {
	URL  string // with the version, as the openai binding wants it
	Host string // without, as the ollama binding wants it

	o      ModelOptions
	server *http.Server
	done   chan error
	mu     sync.Mutex
	n      ModelCounts
	errs   []string
}

// ModelCounts is what a Model was asked so far.
type ModelCounts struct {
	Extract  int `json:"extract_calls"`
	Summary  int `json:"summary_calls"`
	Keywords int `json:"keyword_calls"`
	Answer   int `json:"answer_calls"`
	Embed    int `json:"embedding_calls"`
	Texts    int `json:"embedded_texts"`
	// Busy is the time between a request's first byte and its whole answer, the sum
	// over requests.
	Busy time.Duration `json:"busy_ns"`
}

// Chat is the number of calls of the chat model.
func (c ModelCounts) Chat() int { return c.Extract + c.Summary + c.Keywords + c.Answer }

// Since is what came after an earlier count.
func (c ModelCounts) Since(was ModelCounts) ModelCounts {
	return ModelCounts{
		Extract: c.Extract - was.Extract, Summary: c.Summary - was.Summary, Keywords: c.Keywords - was.Keywords,
		Answer: c.Answer - was.Answer, Embed: c.Embed - was.Embed, Texts: c.Texts - was.Texts, Busy: c.Busy - was.Busy,
	}
}

func (c ModelCounts) plus(o ModelCounts) ModelCounts { return c.Since(ModelCounts{}.Since(o)) }

// The models that a Model calls itself.
const (
	ModelChat  = "scripted-chat"
	ModelEmbed = "scripted-embed"
)

// StartModel starts a Model. GET /counts on its host is what Counts returns.
func StartModel(o ModelOptions) (*Model, error) {
	if o.Dim == 0 {
		o.Dim = 384
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	host := "http://" + l.Addr().String()
	m := &Model{URL: host + "/v1", Host: host, o: o, done: make(chan error, 1)}
	mux := http.NewServeMux()
	for pattern, h := range map[string]func(io.Writer, []byte) error{
		"POST /v1/chat/completions": m.openaiChat,
		"POST /v1/embeddings":       m.openaiEmbed,
		"POST /api/chat":            m.ollamaChat,
		"POST /api/embed":           m.ollamaEmbed,
	} {
		mux.HandleFunc(pattern, m.timed(h))
	}
	for pattern, answer := range map[string]string{
		"GET /v1/models":   `{"object":"list","data":[{"id":"` + ModelChat + `","object":"model"},{"id":"` + ModelEmbed + `","object":"model"}]}`,
		"GET /api/version": `{"version":"0.0.0"}`,
		"GET /api/tags":    `{"models":[{"name":"` + ModelChat + `","model":"` + ModelChat + `"},{"name":"` + ModelEmbed + `","model":"` + ModelEmbed + `"}]}`,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, answer) //nolint:errcheck // the caller has gone
		})
	}
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(m.Counts()) //nolint:errcheck // the caller has gone
	})
	m.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { m.done <- m.server.Serve(l) }()
	return m, nil
}

// Close ends the server. It returns what went wrong in any request.
func (m *Model) Close() error {
	err := m.server.Close()
	if e := <-m.done; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.errs) > 0 {
		err = errors.Join(err, fmt.Errorf("the scripted model: %s", strings.Join(m.errs, "; ")))
	}
	return err
}

// Counts is what was asked so far: of no Model, nothing.
func (m *Model) Counts() ModelCounts {
	if m == nil {
		return ModelCounts{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n
}

// maxModelBody bounds a request; no prompt of the workloads comes near.
const maxModelBody = 64 << 20

// timed runs a handler and counts the time it takes. What it counts beside is
// counted before the answer: whoever has it finds it counted.
func (m *Model) timed(h func(io.Writer, []byte) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxModelBody))
		if err == nil {
			out := &timedWriter{ResponseWriter: w, m: m, start: start}
			if err = h(out, body); err == nil {
				err = m.hold(r.Context(), start)
			}
			if err == nil {
				err = out.flush()
			}
		}
		if err != nil && r.Context().Err() == nil {
			m.mu.Lock()
			if len(m.errs) < maxDetails {
				m.errs = append(m.errs, err.Error())
			}
			m.mu.Unlock()
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}
}

// hold waits until an answer is due.
func (m *Model) hold(ctx context.Context, asked time.Time) error {
	if m.o.Latency <= 0 {
		return nil
	}
	due := time.NewTimer(m.o.Latency - time.Since(asked))
	defer due.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-due.C:
		return nil
	}
}

// timedWriter holds an answer back until it is whole, so that its time is counted
// before the caller has its last byte.
type timedWriter struct {
	http.ResponseWriter
	m     *Model
	start time.Time
	held  []byte
}

func (w *timedWriter) Write(b []byte) (int, error) {
	w.held = append(w.held, b...)
	return len(b), nil
}

func (w *timedWriter) flush() error {
	w.m.mu.Lock()
	w.m.n.Busy += time.Since(w.start)
	w.m.mu.Unlock()
	if strings.HasPrefix(string(w.held[:min(len(w.held), 5)]), "data:") {
		w.Header().Set("Content-Type", "text/event-stream")
	} else {
		w.Header().Set("Content-Type", "application/json")
	}
	_, err := w.ResponseWriter.Write(w.held)
	return err
}

// reply is what the model says to a chat: what was recorded, or the script.
func (m *Model) reply(messages []modelMessage) (string, error) {
	if len(messages) == 0 {
		return "", errors.New("a chat request without messages")
	}
	system, last := messages[0].Content, messages[len(messages)-1].Content
	var count *int
	reply := ""
	switch {
	case strings.Contains(system, "high_level_keywords"):
		count, reply = &m.n.Keywords, scriptedKeywords(userQuery(last))
	case strings.Contains(system, `"relationships"`):
		count, reply = &m.n.Extract, scriptedGraph(passage(last), true)
	case strings.Contains(system, "relation<|#|>"):
		count, reply = &m.n.Extract, scriptedGraph(passage(last), false)
	case strings.Contains(last, `{"description":`), strings.Contains(last, `{"Description":`):
		count, reply = &m.n.Summary, scriptedSummary(fenced(last))
	default:
		count, reply = &m.n.Answer, "The passages say so [1].\n\n### References\n- [1] the first of them\n"
	}
	if recorded, ok := m.o.Answers[last]; ok {
		reply = recorded
	}
	m.mu.Lock()
	*count++
	m.mu.Unlock()
	if count == &m.n.Summary && m.o.Summarised != nil {
		m.o.Summarised(reply)
	}
	return reply, nil
}

// pieces cuts a reply for a stream, never inside a character.
func (m *Model) pieces(reply string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := reply; rest != ""; {
			n := len(rest)
			if m.o.Piece > 0 {
				n = min(m.o.Piece, n)
			}
			for n < len(rest) && !utf8.RuneStart(rest[n]) {
				n++
			}
			if !yield(rest[:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

// embedded counts an embedding call.
func (m *Model) embedded(texts []string) {
	m.mu.Lock()
	m.n.Embed++
	m.n.Texts += len(texts)
	m.mu.Unlock()
	if m.o.Embedded != nil {
		m.o.Embedded(texts)
	}
}

// maxAnswers bounds a file of recorded answers, in lines.
const maxAnswers = 1_000_000

// ReadAnswers reads recorded answers for a Model: JSON lines {prompt, reply}, the
// prompt being the last message of a chat. Its errors name the line.
func ReadAnswers(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]string{}
	d := json.NewDecoder(f)
	for n := 1; ; n++ {
		var line struct{ Prompt, Reply *string }
		err := d.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("%s: answer %d: %w", path, n, err)
		case line.Prompt == nil || line.Reply == nil:
			return nil, fmt.Errorf("%s: answer %d: prompt and reply are needed", path, n)
		case n > maxAnswers:
			return nil, fmt.Errorf("%s: more than %d answers", path, maxAnswers)
		}
		out[*line.Prompt] = *line.Reply
	}
}

const (
	// quietFor is how long a server must do nothing to count as done.
	quietFor = time.Second
	// quietTick is how often it is looked at.
	quietTick = 50 * time.Millisecond
	// quietCPU is what a server that does nothing may spend in quietFor.
	quietCPU = 0.03
)

// quiet waits until a server that uses the model, or none when m is nil, has nothing left to do in the
// background: nobody asks the model and the processor time stands still.
func (m *Model) quiet(ctx context.Context, pid int) error {
	type look struct {
		n   ModelCounts
		cpu float64
	}
	was, since := look{m.Counts(), cpuSeconds(pid)}, time.Now()
	tick := time.NewTicker(quietTick)
	defer tick.Stop()
	for time.Since(since) < quietFor {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if now := (look{m.Counts(), cpuSeconds(pid)}); now.n != was.n || now.cpu-was.cpu > quietCPU {
			was, since = now, time.Now()
		}
	}
	return nil
}
