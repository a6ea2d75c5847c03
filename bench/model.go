package bench

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ModelOptions configure a Model. Zero means the default given beside the field.
type ModelOptions struct {
	Dim   int // 384: length of a vector
	Piece int // 0, the whole reply: bytes of one streamed piece
	// Embedded is told the texts of every embedding call, before it is answered.
	// It is called by many at once.
	Embedded func(texts []string)
	// Summarised is told every description that the model writes, before it is
	// answered. It is called by many at once.
	Summarised func(text string)
}

// Model stands in for a model server: it speaks OpenAI's chat completions and
// embeddings on the loopback and takes no time to think. A name is two
// capitalised words in a row; asked what a passage says, it answers with the
// names and relates each to the next one of its sentence; vectors are bags of
// hashed words. Every answer is a function of the request alone.
type Model struct {
	URL string // with the version, as the openai binding wants it

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

// StartModel starts a Model on a free port of the loopback.
func StartModel(o ModelOptions) (*Model, error) {
	if o.Dim == 0 {
		o.Dim = 384
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &Model{URL: "http://" + l.Addr().String() + "/v1", o: o, done: make(chan error, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", m.timed(m.chat))
	mux.HandleFunc("POST /v1/embeddings", m.timed(m.embed))
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

// Counts is what was asked so far.
func (m *Model) Counts() ModelCounts {
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

type modelMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

func (m *Model) chat(w io.Writer, body []byte) error {
	var q struct {
		Messages []modelMessage `json:"messages"`
		Stream   bool           `json:"stream"`
		Format   struct {
			Type string `json:"type"`
		} `json:"response_format"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return err
	}
	if len(q.Messages) == 0 || !q.Stream {
		return errors.New("a chat request without messages or stream")
	}
	system, last := q.Messages[0].Content, q.Messages[len(q.Messages)-1].Content
	var count *int
	reply := ""
	switch {
	case strings.Contains(system, "high_level_keywords"):
		count, reply = &m.n.Keywords, scriptedKeywords(last)
	case strings.Contains(system, `"relationships"`):
		count, reply = &m.n.Extract, scriptedGraph(fenced(last), true)
	case strings.Contains(system, "relation<|#|>"):
		count, reply = &m.n.Extract, scriptedGraph(fenced(last), false)
	case strings.Contains(last, `{"description":`):
		count, reply = &m.n.Summary, scriptedSummary(fenced(last))
		if m.o.Summarised != nil {
			m.o.Summarised(reply)
		}
	default:
		count, reply = &m.n.Answer, "The passages say so [1].\n\n### References\n- [1] the first of them\n"
	}
	m.mu.Lock()
	*count++
	m.mu.Unlock()
	prompt := 0
	for _, x := range q.Messages {
		prompt += len(x.Content) / 4
	}
	return m.stream(w, reply, prompt)
}

// stream writes a reply as server-sent events.
func (m *Model) stream(w io.Writer, reply string, promptTokens int) error {
	type delta struct {
		Content string `json:"content,omitempty"`
	}
	type choice struct {
		Index  int     `json:"index"`
		Delta  delta   `json:"delta"`
		Finish *string `json:"finish_reason"`
	}
	type usage struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
	}
	event := func(choices []choice, u *usage) error {
		b, err := json.Marshal(struct {
			ID      string   `json:"id"`
			Object  string   `json:"object"`
			Model   string   `json:"model"`
			Choices []choice `json:"choices"`
			Usage   *usage   `json:"usage,omitempty"`
		}{"chat", "chat.completion.chunk", ModelChat, choices, u})
		if err == nil {
			_, err = fmt.Fprintf(w, "data: %s\n\n", b)
		}
		return err
	}
	piece := m.o.Piece
	if piece == 0 {
		piece = max(1, len(reply))
	}
	for rest := []byte(reply); len(rest) > 0; { // replies are ASCII: a piece is whole
		n := min(piece, len(rest))
		if err := event([]choice{{Delta: delta{string(rest[:n])}}}, nil); err != nil {
			return err
		}
		rest = rest[n:]
	}
	stop := "stop"
	if err := event([]choice{{Finish: &stop}}, nil); err != nil {
		return err
	}
	if err := event([]choice{}, &usage{promptTokens, len(reply) / 4}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "data: [DONE]\n\n")
	return err
}

func (m *Model) embed(w io.Writer, body []byte) error {
	var q struct {
		Input  []string `json:"input"`
		Format string   `json:"encoding_format"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return err
	}
	m.mu.Lock()
	m.n.Embed++
	m.n.Texts += len(q.Input)
	m.mu.Unlock()
	if m.o.Embedded != nil {
		m.o.Embedded(q.Input)
	}
	b := []byte(`{"object":"list","model":"` + ModelEmbed + `","data":[`)
	for i, text := range q.Input {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"object":"embedding","index":`...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, `,"embedding":`...)
		b = appendVector(b, scriptedVector(text, m.o.Dim), q.Format == "base64")
		b = append(b, '}')
	}
	b = append(b, `],"usage":{"prompt_tokens":1,"total_tokens":1}}`...)
	_, err := w.Write(b)
	return err
}

// appendVector writes a vector as numbers or as the base64 of its bytes, quoted.
func appendVector(b []byte, v []float32, asBase64 bool) []byte {
	if asBase64 {
		var raw []byte
		for _, x := range v {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
		}
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), raw), '"')
	}
	b = append(b, '[')
	for i, x := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(x), 'g', 8, 32)
	}
	return append(b, ']')
}

// scriptedVector has a share of every word in four places, so that texts with
// common words are near each other, and no zeros: a real vector has none either.
func scriptedVector(text string, dim int) []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = 0.001 + 0.0001*float32(i%7)
	}
	for w := range strings.FieldsSeq(text) {
		h := fnv.New64a()
		h.Write([]byte(strings.ToLower(strings.Trim(w, ".,?"))))
		for s, k := h.Sum64(), 0; k < 4; k++ {
			v[s%uint64(dim)] += 1 - 2*float32(s>>15&1)
			s >>= 16
		}
	}
	return v
}

// fenced is the text between the last two lines of backticks.
func fenced(s string) string {
	end := strings.LastIndex(s, "\n```")
	if end < 0 {
		return s
	}
	start := strings.LastIndex(s[:end], "```\n")
	if start < 0 {
		return s
	}
	return s[start+4 : end]
}

// name is what the scripted model takes for the name of a thing.
var name = regexp.MustCompile(`\b[A-Z][a-z]+ [A-Z][a-z]+\b`)

var (
	scriptedTypes     = []string{"Person", "Organization", "Location", "Event"}
	scriptedRelations = []string{"meeting", "trade", "family", "dispute", "travel", "letters", "teaching", "ownership"}
)

func pick(list []string, of string) string {
	h := fnv.New32a()
	h.Write([]byte(of))
	return list[h.Sum32()%uint32(len(list))]
}

// scriptedGraph reads a passage. What it says of a pair depends on the sentence,
// the keywords of the pair alone.
func scriptedGraph(passage string, asJSON bool) string {
	type entity struct {
		Name        string `json:"name"`
		Type        string `json:"type"`
		Description string `json:"description"`
	}
	type relation struct {
		Source      string `json:"source"`
		Target      string `json:"target"`
		Keywords    string `json:"keywords"`
		Description string `json:"description"`
	}
	out := struct {
		Entities  []entity   `json:"entities"`
		Relations []relation `json:"relationships"`
	}{[]entity{}, []relation{}}
	seen := map[string]bool{}
	for sentence := range strings.FieldsFuncSeq(passage, func(r rune) bool { return r == '.' || r == '\n' }) {
		sentence = strings.TrimSpace(sentence)
		last := ""
		for _, n := range name.FindAllString(sentence, -1) {
			if !seen[n] {
				seen[n] = true
				out.Entities = append(out.Entities, entity{n, pick(scriptedTypes, n), sentence + "."})
			}
			pair := min(n, last) + "|" + max(n, last)
			if last != "" && last != n && !seen[pair] {
				seen[pair] = true
				out.Relations = append(out.Relations, relation{last, n, pick(scriptedRelations, pair), sentence + "."})
			}
			last = n
		}
	}
	if asJSON {
		b, err := json.Marshal(out)
		if err != nil {
			panic("bench: strings do not encode: " + err.Error())
		}
		return string(b)
	}
	var b strings.Builder
	for _, e := range out.Entities {
		fmt.Fprintf(&b, "entity<|#|>%s<|#|>%s<|#|>%s\n", e.Name, e.Type, e.Description)
	}
	for _, r := range out.Relations {
		fmt.Fprintf(&b, "relation<|#|>%s<|#|>%s<|#|>%s<|#|>%s\n", r.Source, r.Target, r.Keywords, r.Description)
	}
	b.WriteString("<|COMPLETE|>")
	return b.String()
}

func scriptedKeywords(question string) string {
	low := name.FindAllString(question, -1)
	high := []string{}
	for w := range strings.FieldsSeq(fenced(question)) {
		if w = strings.Trim(w, "?.,"); len(w) > 4 && w == strings.ToLower(w) && !slices.Contains(high, w) {
			high = append(high, w)
		}
	}
	if low == nil {
		low = []string{}
	}
	b, err := json.Marshal(map[string][]string{"high_level_keywords": high, "low_level_keywords": low})
	if err != nil {
		panic("bench: strings do not encode: " + err.Error())
	}
	return string(b)
}

// scriptedSummary is the beginning of each description, up to a length a model keeps to.
func scriptedSummary(list string) string {
	var b strings.Builder
	for line := range strings.Lines(list) {
		var d struct{ Description string }
		if json.Unmarshal([]byte(line), &d) != nil || b.Len() > 1500 {
			continue
		}
		b.WriteString(d.Description[:min(len(d.Description), 60)] + " ")
	}
	return strings.TrimSpace(b.String())
}

const (
	// quietFor is how long a server must do nothing to count as done.
	quietFor = time.Second
	// quietTick is how often it is looked at.
	quietTick = 50 * time.Millisecond
	// quietCPU is what a server that does nothing may spend in quietFor.
	quietCPU = 0.03
)

// quiet waits until a server that uses the model has nothing left to do in the
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
