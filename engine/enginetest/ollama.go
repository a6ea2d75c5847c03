package enginetest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine/enginetest/gguf"
)

// OllamaVersion is the version of the real server that tests run against: that
// of the client the product links.
const OllamaVersion = "v0.17.4"

// requireOllama is the variable that makes a missing server a failure.
const requireOllama = "ALCOVE_REQUIRE_OLLAMA"

const (
	// ollamaStart bounds the start of the server on a busy machine.
	ollamaStart = 60 * time.Second
	// ollamaCall bounds a call of the helper, such as the making of a model.
	ollamaCall = 60 * time.Second
)

// OllamaOptions configure a real server. Zero means the default given beside
// the field.
type OllamaOptions struct {
	// Parallel is 4 requests at once for each model. A caller who hangs up while a
	// piece of the answer is on its way takes a place with him for good: the server
	// sends the piece where nobody reads any more (v0.17.4, server/routes.go).
	Parallel int
	Loaded   int // 2 models in memory; a request for another waits until one is idle
	Queue    int // 512 requests may wait for a model
}

// Ollama is a real Ollama server on the loopback interface, with a home, models
// and a process group of its own.
type Ollama struct {
	URL string // http://127.0.0.1:port

	t    testing.TB
	bin  string
	o    OllamaOptions
	home string
	addr string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// StartOllama starts the server that OLLAMA_BIN names, else the one that `make
// ollama` has put into the user's cache folder, and waits until it answers. It has
// no models yet. It ends with the test, and all it started with it. Without a
// server the test is skipped and says so, or fails if ALCOVE_REQUIRE_OLLAMA is set.
func StartOllama(t testing.TB, o OllamaOptions) *Ollama {
	t.Helper()
	bin, err := ollamaBinary()
	if err != nil {
		if os.Getenv(requireOllama) != "" {
			t.Fatalf("%s is set: %v", requireOllama, err)
		}
		t.Skipf("skipped: %v", err)
	}
	s := &Ollama{t: t, bin: bin, home: t.TempDir()}
	s.o = OllamaOptions{Parallel: cmp.Or(o.Parallel, 4), Loaded: cmp.Or(o.Loaded, 2), Queue: cmp.Or(o.Queue, 512)}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("the last of Ollama's log:\n%s", s.log())
		}
	})
	// Somebody may take the port between its choice and the start.
	for try := 1; ; try++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		s.addr = l.Addr().String()
		require.NoError(t, l.Close())
		s.URL = "http://" + s.addr
		if err = s.start(); err == nil {
			return s
		}
		s.Kill()
		if try == 3 {
			require.NoError(t, err)
		}
	}
}

// ollamaBinary is the path of the server, or why there is none.
func ollamaBinary() (string, error) {
	bin := os.Getenv("OLLAMA_BIN")
	if bin == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		bin = filepath.Join(cache, "alcove", "ollama-"+OllamaVersion)
	}
	if _, err := os.Stat(bin); err != nil {
		return "", fmt.Errorf("no Ollama server (%w); `make ollama` builds one, OLLAMA_BIN names another", err)
	}
	return filepath.Abs(bin)
}

// start runs the server on s.addr and waits until it answers.
func (s *Ollama) start() error {
	cmd := exec.Command(s.bin, "serve")
	cmd.Dir = s.home
	// Nothing of the user's reaches it: no settings, no proxy, no models.
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.home, "TMPDIR=" + s.home,
		"OLLAMA_HOST=" + s.addr, "OLLAMA_MODELS=" + filepath.Join(s.home, "models"),
		"OLLAMA_NO_CLOUD=1", "OLLAMA_KEEP_ALIVE=10m", "OLLAMA_NUM_PARALLEL=" + strconv.Itoa(s.o.Parallel),
		"OLLAMA_MAX_LOADED_MODELS=" + strconv.Itoa(s.o.Loaded), "OLLAMA_MAX_QUEUE=" + strconv.Itoa(s.o.Queue),
	}
	// A file, since the end of a pipe would kill it before it has ended its runners.
	log, err := os.Create(s.logFile())
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	ownGroup(cmd)
	started, done := make(chan error), make(chan struct{})
	go func() {
		// The kernel ties the child to the thread that made it, see ownGroup.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is always ended by a signal
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.cmd, s.done = cmd, done
	limit := time.After(ollamaStart)
	for {
		if s.call("GET", "/api/version", nil, nil) == nil {
			return nil
		}
		select {
		case <-done:
			return fmt.Errorf("the server ended before it answered: %s", s.log())
		case <-limit:
			return errors.New("the server did not answer in time")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Ollama) logFile() string { return filepath.Join(s.home, "log") }

// log is the end of what the process has written.
func (s *Ollama) log() []byte {
	b, err := os.ReadFile(s.logFile())
	if err != nil {
		return []byte(err.Error())
	}
	return b[max(0, len(b)-8192):]
}

// Kill ends the server and its model runners at once, as a crash would. Killing
// a server that does not run does nothing.
func (s *Ollama) Kill() {
	if s.cmd == nil {
		return
	}
	killGroup(s.cmd)
	<-s.done
	s.cmd = nil
}

// Restart starts a killed server again where it was, with its models.
func (s *Ollama) Restart() {
	s.t.Helper()
	require.Nil(s.t, s.cmd, "the server runs")
	require.NoError(s.t, s.start())
}

// Chat gives the server a chat model that follows scripts. Its window is of so
// many tokens, about one a byte.
func (s *Ollama) Chat(name string, window int, scripts ...gguf.Script) {
	s.t.Helper()
	m, err := gguf.NewChat(window, scripts...)
	require.NoError(s.t, err)
	s.create(name, m.Bytes, m.Template)
}

// Embedder gives the server an embedding model: see gguf.NewEmbedder.
func (s *Ollama) Embedder(name string, window int, words []string, vectors [][]float32) {
	s.t.Helper()
	b, err := gguf.NewEmbedder(window, words, vectors)
	require.NoError(s.t, err)
	s.create(name, b, "")
}

func (s *Ollama) create(name string, file []byte, template string) {
	s.t.Helper()
	sum := sha256.Sum256(file)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	require.NoError(s.t, s.call("POST", "/api/blobs/"+digest, bytes.NewReader(file), nil))
	body, err := json.Marshal(map[string]any{
		"model": name, "files": map[string]string{"model.gguf": digest}, "template": template, "stream": false,
	})
	require.NoError(s.t, err)
	var answer struct{ Status, Error string }
	require.NoError(s.t, s.call("POST", "/api/create", bytes.NewReader(body), &answer))
	require.Equal(s.t, "success", answer.Status, "%s", answer.Error)
}

// Delete takes a model from the server.
func (s *Ollama) Delete(name string) {
	s.t.Helper()
	require.NoError(s.t, s.call("DELETE", "/api/delete", bytes.NewReader(fmt.Appendf(nil, `{"model":%q}`, name)), nil))
}

// Fill leaves no place in the server's queue until release is called: one model
// talks, others wait for its memory, and every call of a model that is not loaded is
// refused. Only a server with room for one model can be filled.
func (s *Ollama) Fill() (release func()) {
	s.t.Helper()
	require.Equal(s.t, 1, s.o.Loaded, "OllamaOptions.Loaded")
	for _, name := range []string{"talks", "waits"} {
		s.Chat(name, 8192, gguf.Script{Text: "and " + name + " on ", Loop: true})
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	release = func() { cancel(); work.Wait() }
	s.t.Cleanup(release)
	begin := func(name string) chan int { // what it is answered with at first
		status := make(chan int, 1)
		work.Go(func() {
			body := fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"x"}]}`, name)
			req, err := http.NewRequestWithContext(ctx, "POST", s.URL+"/api/chat", strings.NewReader(body))
			if err != nil {
				panic(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return
			}
			defer resp.Body.Close()
			status <- resp.StatusCode
			_, _ = io.Copy(io.Discard, resp.Body) // until it is released
		})
		return status
	}
	require.Equal(s.t, http.StatusOK, <-begin("talks"))
	for range s.o.Queue + 10 {
		select {
		case status := <-begin("waits"):
			require.Equal(s.t, http.StatusServiceUnavailable, status)
			return release
		case <-time.After(200 * time.Millisecond): // it has a place
		}
	}
	require.Fail(s.t, "the queue has no end")
	return release
}

// call sends a request of the helper's own; into may be nil.
func (s *Ollama) call(method, path string, body io.Reader, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), ollamaCall)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, body)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(b, into)
}
