package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/bench"
	"alcove/engine"
	"alcove/engine/enginetest"
)

// oracle is a model server with a script: it names every word that ends in "by"
// as an entity, cites a document too many in every answer, and counts what it
// has answered.
type oracle struct {
	*enginetest.ModelServer

	mu       sync.Mutex
	halt     string        // a call with this word in it hangs
	halted   chan struct{} // one for each
	length   int           // of vectors
	broken   string        // every call is answered 401 with this
	answered map[string]int
}

func newOracle(t *testing.T, w enginetest.Wire) *oracle {
	o := &oracle{ModelServer: enginetest.NewModelServer(t, w), halted: make(chan struct{}, 10), length: 3, answered: map[string]int{}}
	o.Reply = o.turn
	return o
}

func (o *oracle) set(halt string, length int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.halt, o.length = halt, length
}

// fail has every call from now on refused with a message.
func (o *oracle) fail(message string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.broken = message
}

var byName = regexp.MustCompile(`\b[A-Z][a-z]+by\b`)

func (o *oracle) turn(c enginetest.Call) enginetest.Turn {
	b, err := json.Marshal(c.Body)
	if err != nil {
		return enginetest.Turn{Status: 500, Message: err.Error()}
	}
	asked := string(b)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken != "" {
		return enginetest.Turn{Status: 401, Message: o.broken}
	}
	if o.halt != "" && strings.Contains(asked, o.halt) {
		o.halted <- struct{}{}
		return enginetest.Turn{Hang: true}
	}
	o.answered[c.Path+" "+asked]++
	if texts, ok := c.Body["input"].([]any); ok {
		var t enginetest.Turn
		for _, text := range texts {
			v := append(enginetest.Served(text.(string)), 1, 1, 1)
			t.Vectors = append(t.Vectors, v[:o.length])
		}
		return t
	}
	answer := ""
	names := byName.FindAllString(asked, -1)
	switch {
	case strings.Contains(asked, "high_level_keywords"):
		answer = fmt.Sprintf(`{"high_level_keywords":["whom %[1]s met"],"low_level_keywords":["%[1]s"]}`, names[0])
	case strings.Contains(asked, "Retrieved data"):
		answer = "They met [1][9]. Others say so [8].\n\n### References\n- [1] a.txt\n- [9] made-up.pdf\n"
	default:
		for i, n := range names {
			answer += "entity<|#|>" + n + "<|#|>Person<|#|>" + n + " is named.\n"
			if i > 0 && n != names[0] {
				answer += "relation<|#|>" + names[0] + "<|#|>" + n + "<|#|>meetings<|#|>" + names[0] + " met " + n + ".\n"
			}
		}
	}
	return enginetest.Turn{Pieces: strings.SplitAfter(answer, " "), Reason: "stop"}
}

// The life of a knowledge base over a model server, with the real binary: an
// answer that cites only what it was given; a kill in the middle of a document
// and a start while the model is down, after which nothing that was answered is
// asked again; and a server that is configured for other vectors.
func TestServe_ModelServers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the server is stopped with SIGTERM, which Windows does not have")
	}
	bin, err := binary()
	require.NoError(t, err)
	for _, wire := range []enginetest.Wire{enginetest.WireOllama, enginetest.WireOpenAI} {
		t.Run(string(wire), func(t *testing.T) {
			t.Parallel() // most of the time is the back-off of who asks a server that is down
			ctx, dir, config := context.Background(), t.TempDir(), filepath.Join(t.TempDir(), "alcove.env")
			o := newOracle(t, wire)
			settings := map[string]string{
				"LLM_BINDING": string(wire), "LLM_BINDING_HOST": o.URL, "LLM_MODEL": "talker", "LLM_BINDING_API_KEY": "sk-secret",
				"EMBEDDING_BINDING": string(wire), "EMBEDDING_MODEL": "first", "EMBEDDING_BATCH_NUM": "2",
				"OLLAMA_LLM_NUM_CTX": "9000", "OLLAMA_EMBEDDING_NUM_CTX": "600", "CHUNK_SIZE": "32", "CHUNK_OVERLAP_SIZE": "4",
				// One thing after the other, so that a kill finds one call under way.
				"MAX_ASYNC": "1", "MAX_PARALLEL_INSERT": "1",
			}
			var s *bench.Server
			start := func() {
				t.Helper()
				var lines strings.Builder
				for name, value := range settings {
					lines.WriteString(name + "=" + value + "\n")
				}
				require.NoError(t, os.WriteFile(config, []byte(lines.String()), 0o600))
				var err error
				s, err = bench.StartServer(ctx, bin, dir, "--config", config)
				require.NoError(t, err)
			}
			start()
			t.Cleanup(func() { _ = s.Kill() }) // of the last one; an error says it has ended
			token, err := s.Token(ctx)
			require.NoError(t, err)
			kb, err := s.NewKB(ctx, token, "one")
			require.NoError(t, err)
			_, path, ok := strings.Cut(kb.Base, "/api/v1")
			require.True(t, ok)
			api := func(method, sub string, body, out any) error {
				c := newClient(s.Addr)
				c.token = token
				return c.call(ctx, method, path+sub, body, out)
			}
			add := func(id, text string) error {
				return api("POST", "/documents/text", map[string]any{"id": id, "file_source": id + ".txt", "text": text}, nil)
			}
			until := func(id string, want engine.Status) (d engine.Document) {
				t.Helper()
				require.Eventually(t, func() bool {
					d = engine.Document{}
					require.NoError(t, api("GET", "/documents/"+id, nil, &d))
					return d.Status == want
				}, time.Minute, 20*time.Millisecond, "%s: %s", id, d.ErrorMsg)
				return d
			}
			ask := func(question string) (a engine.Answer, err error) {
				return a, api("POST", "/query", engine.Query{Query: question, Mode: engine.ModeMix}, &a)
			}

			require.NoError(t, add("a", "Aldby met Birkby in the old mill."))
			until("a", engine.StatusProcessed)
			a, err := ask("Whom did Aldby meet?")
			require.NoError(t, err)
			require.Equal(t, "They met [1]. Others say so.\n\n### References\n- [1] a.txt\n", a.Response)
			require.Equal(t, "talker", a.LLM)
			require.False(t, a.Degraded)
			require.Len(t, a.References, 1)

			var long strings.Builder
			for _, n := range []string{"Corby", "Denby", "Enderby", "Formby", "Grimsby", "Hornby", "Irby", "Kirkby"} {
				fmt.Fprintf(&long, "%s left the harbour in the early morning and met nobody on the long road to the north.\n\n", n)
			}
			o.set("Grimsby", 3)
			require.NoError(t, add("b", long.String()))
			<-o.halted
			require.NoError(t, s.Kill())
			o.Stop()
			o.set("", 3)

			start()
			var jobs struct{ Jobs []engine.JobInfo }
			require.Eventually(t, func() bool {
				require.NoError(t, api("GET", "/jobs", nil, &jobs))
				return len(jobs.Jobs) == 1 && jobs.Jobs[0].Attempts > 0
			}, time.Minute, 20*time.Millisecond)
			require.Equal(t, "b", jobs.Jobs[0].DocID)
			require.Contains(t, jobs.Jobs[0].ErrorMsg, "refused")
			require.Positive(t, jobs.Jobs[0].ChunksDone, "goes on where it was")
			a, err = ask("Where is Birkby?")
			require.NoError(t, err)
			require.True(t, a.Degraded)
			require.Equal(t, "none", a.LLM)
			require.Contains(t, a.Response, "Aldby met Birkby in the old mill. [1]")
			require.Len(t, a.References, 1)

			o.Start(t)
			require.Greater(t, until("b", engine.StatusProcessed).ChunksCount, 6)
			a, err = ask("Who met Kirkby?")
			require.NoError(t, err)
			require.False(t, a.Degraded)
			o.mu.Lock()
			answered := maps.Clone(o.answered)
			o.mu.Unlock()
			for call, n := range answered {
				require.Equal(t, 1, n, call)
			}
			for _, c := range o.Calls() {
				require.Equal(t, "Bearer sk-secret", c.Authorization)
				if wire != enginetest.WireOllama {
					continue
				}
				want := 9000.0
				if c.Body["input"] != nil {
					want = 600
				}
				require.Equal(t, want, c.Body["options"].(map[string]any)["num_ctx"], c.Path)
			}

			// The model gives vectors of another length under its old name.
			o.set("", 4)
			was, now := string(wire)+"/first (3 dimensions)", string(wire)+"/first (4 dimensions)"
			_, err = ask("Who met Denby?")
			mismatch(t, err, was, now)
			require.NoError(t, add("c", "Lazenby met Maltby."), "what the model gives shows when it is asked")
			require.Contains(t, until("c", engine.StatusFailed).ErrorMsg, was+", the server now has "+now)
			for _, other := range []struct{ model, dim, now string }{{"second", "0", "/second"}, {"first", "4", "/first@4"}} {
				require.NoError(t, s.Stop())
				settings["EMBEDDING_MODEL"], settings["EMBEDDING_DIM"] = other.model, other.dim
				start()
				_, err = ask("Who met Denby?")
				mismatch(t, err, was, string(wire)+other.now)
				mismatch(t, add("d", "Naby met Oadby."), was, string(wire)+other.now)
			}
			require.NoError(t, s.Stop())
		})
	}
}

func mismatch(t *testing.T, err error, was, now string) {
	t.Helper()
	require.ErrorContains(t, err, "409 Conflict EMBEDDING_MISMATCH")
	require.ErrorContains(t, err, "made with "+was+", the server now has "+now)
}
