package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// LightRAG is the Peer that is HKUDS's server, with its file stores and its defaults
// but for Settings.
type LightRAG struct {
	binary, dir, version, vocabulary string
	model                            *Model
	chunkTokens                      int
	cmd                              *exec.Cmd
	done                             chan error
	target                           Target
}

// NewLightRAG returns a Peer of an installed lightrag-server with its data in dir.
// vocabulary is the folder with its tokenizer's file, see bench/peers/lightrag.
func NewLightRAG(binary, dir, version, vocabulary string, m *Model, chunkTokens int) *LightRAG {
	return &LightRAG{binary: binary, dir: dir, version: version, vocabulary: vocabulary, model: m, chunkTokens: chunkTokens}
}

// Settings are the variables it runs with. MAX_GLEANING is 0 since alcove asks once a
// chunk, too. Its caches stay on: no text and no question comes twice.
func (l *LightRAG) Settings() []string {
	return []string{
		"LLM_BINDING=openai", "LLM_BINDING_HOST=" + l.model.URL, "LLM_BINDING_API_KEY=none", "LLM_MODEL=" + ModelChat,
		"EMBEDDING_BINDING=openai", "EMBEDDING_BINDING_HOST=" + l.model.URL, "EMBEDDING_BINDING_API_KEY=none",
		"EMBEDDING_MODEL=" + ModelEmbed, "EMBEDDING_DIM=" + strconv.Itoa(l.model.o.Dim),
		"CHUNK_SIZE=" + strconv.Itoa(l.chunkTokens), "MAX_GLEANING=0", "NO_PROXY=127.0.0.1", "TIKTOKEN_CACHE_DIR=" + l.vocabulary, "LOG_LEVEL=WARNING",
	}
}

// Name is LightRAG.
func (l *LightRAG) Name() string { return "LightRAG" }

// Version is that of its package.
func (l *LightRAG) Version() string { return l.version }

// PID is the server's.
func (l *LightRAG) PID() int { return l.cmd.Process.Pid }

// Dir is the data folder.
func (l *LightRAG) Dir() string { return filepath.Join(l.dir, "storage") }

// lightragStart bounds its start: it reads all of its files.
const lightragStart = 10 * time.Minute

// Start starts the server on a free port and waits for GET /health.
func (l *LightRAG) Start(ctx context.Context) error {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := free.Addr().(*net.TCPAddr)
	if err := free.Close(); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(l.dir, "server.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	l.cmd = exec.Command(l.binary, "--host", "127.0.0.1", "--port", strconv.Itoa(addr.Port),
		"--working-dir", l.Dir(), "--input-dir", filepath.Join(l.dir, "inputs"))
	l.cmd.Dir, l.cmd.Stdout, l.cmd.Stderr = l.dir, log, log
	l.cmd.Env = slices.Concat(os.Environ(), l.Settings())
	if err := l.cmd.Start(); err != nil {
		return err
	}
	l.done = make(chan error, 1)
	go func() { l.done <- l.cmd.Wait() }()
	l.target = Target{Base: "http://" + addr.String(), PID: l.PID()}
	ctx, cancel := context.WithTimeout(ctx, lightragStart)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for l.target.call(ctx, http.DefaultClient, "GET", "/health", nil, nil) != nil {
		select {
		case err := <-l.done:
			return fmt.Errorf("it ended before it was ready: %v; see %s", err, log.Name())
		case <-ctx.Done():
			return errors.Join(ctx.Err(), l.Stop())
		case <-tick.C:
		}
	}
	return nil
}

// lightragStop is how long it may take to end before it is killed.
const lightragStop = time.Minute

// Stop ends the server. How it exits does not matter: it does so with a signal's code.
func (l *LightRAG) Stop() error {
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-l.done:
		return nil
	case <-time.After(lightragStop):
	}
	if err := l.cmd.Process.Kill(); err != nil {
		return err
	}
	<-l.done
	return nil
}

// Add sends documents to POST /documents/texts.
func (l *LightRAG) Add(ctx context.Context, c *http.Client, ps []Passage) error {
	var texts, sources []string
	for _, p := range ps {
		texts, sources = append(texts, p.Text), append(sources, p.ID+".txt")
	}
	var r struct{ Status, Message string }
	if err := l.target.call(ctx, c, "POST", "/documents/texts", map[string]any{"texts": texts, "file_sources": sources}, &r); err != nil {
		return err
	}
	if r.Status != "success" {
		return fmt.Errorf("documents: %s: %s", r.Status, r.Message)
	}
	return nil
}

// Done counts what is processed.
func (l *LightRAG) Done(ctx context.Context, c *http.Client) (done, failed int, err error) {
	var r struct {
		Counts map[string]int `json:"status_counts"`
	}
	err = l.target.call(ctx, c, "GET", "/documents/status_counts", nil, &r)
	return r.Counts["processed"], r.Counts["failed"], err
}

// Ask sends a question to POST /query.
func (l *LightRAG) Ask(ctx context.Context, c *http.Client, question string) error {
	var r struct {
		Response   string
		References []struct{}
	}
	if err := l.target.call(ctx, c, "POST", "/query", map[string]any{"query": question, "mode": "mix"}, &r); err != nil {
		return err
	}
	if len(r.References) == 0 {
		return fmt.Errorf("answered without references: %.200s", r.Response)
	}
	return nil
}
