package rerank_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/rerank"
)

// seen is a request as it arrived.
type seen struct {
	path, auth string
	body       map[string]any
}

// server answers each request with what the test says and remembers it.
func server(t *testing.T, answer func(n int, s seen) (int, string)) (string, func() []seen) {
	t.Helper()
	var mu sync.Mutex
	var all []seen
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := seen{path: r.URL.Path, auth: r.Header.Get("Authorization")}
		if err := json.NewDecoder(r.Body).Decode(&s.body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		all = append(all, s)
		n := len(all)
		mu.Unlock()
		status, text := answer(n, s)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(h.Close)
	return h.URL, func() []seen {
		mu.Lock()
		defer mu.Unlock()
		return append([]seen(nil), all...)
	}
}

func quick() engine.RemoteOptions {
	return engine.RemoteOptions{Wait: func(context.Context, time.Duration) error { return nil }}
}

var ctx = context.Background()

// Each shape sends what its server documents, to its path, and reads its answer;
// scores come back in the order of the texts.
func TestRerank_Shapes(t *testing.T) {
	for _, c := range []struct {
		name   string
		shape  rerank.Shape
		base   string // behind the host
		path   string
		answer string
		body   map[string]any
		tokens int
	}{
		{"cohere", rerank.Cohere, "", "/v2/rerank",
			`{"id":"x","results":[{"index":1,"relevance_score":0.9},{"index":0,"relevance_score":0.25},{"index":2,"relevance_score":-3}],"meta":{"billed_units":{"search_units":1},"tokens":{"input_tokens":17}}}`,
			map[string]any{"model": "m", "query": "q", "documents": []any{"a", "b", "c"}, "top_n": 3.0}, 17},
		{"jina", rerank.Jina, "/v1", "/v1/rerank",
			`{"model":"m","usage":{"total_tokens":12},"results":[{"index":0,"relevance_score":0.25},{"index":1,"relevance_score":0.9},{"index":2,"relevance_score":-3}]}`,
			map[string]any{"model": "m", "query": "q", "documents": []any{"a", "b", "c"}, "top_n": 3.0, "return_documents": false}, 12},
		{"vLLM", rerank.OpenAI, "/v1/rerank", "/v1/rerank",
			`{"id":"rerank-1","model":"m","usage":{"total_tokens":56},"results":[{"index":2,"document":{"text":"c"},"relevance_score":-3},{"index":1,"relevance_score":0.9},{"index":0,"relevance_score":0.25}]}`,
			map[string]any{"model": "m", "query": "q", "documents": []any{"a", "b", "c"}, "top_n": 3.0}, 56},
		{"llama.cpp", rerank.OpenAI, "/", "/v1/rerank",
			`{"model":"m","object":"list","usage":{"prompt_tokens":33,"total_tokens":33},"results":[{"index":0,"relevance_score":0.25},{"index":1,"relevance_score":0.9},{"index":2,"relevance_score":-3}]}`,
			map[string]any{"model": "m", "query": "q", "documents": []any{"a", "b", "c"}, "top_n": 3.0}, 33},
		{"a server with a path of its own", rerank.OpenAI, "/rerank", "/rerank",
			`{"data":[{"index":0,"score":0.25},{"index":1,"score":0.9},{"index":2,"score":-3}]}`,
			map[string]any{"model": "m", "query": "q", "documents": []any{"a", "b", "c"}, "top_n": 3.0}, 0},
		{"text-embeddings-inference", rerank.TEI, "", "/rerank",
			`[{"index":1,"score":0.9},{"index":0,"score":0.25},{"index":2,"score":-3}]`,
			map[string]any{"query": "q", "texts": []any{"a", "b", "c"}, "truncate": true}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			url, calls := server(t, func(int, seen) (int, string) { return 200, c.answer })
			r, err := rerank.New(rerank.Options{Shape: c.shape, URL: url + c.base, Model: "m", APIKey: "secret", Remote: quick()})
			require.NoError(t, err)
			got, err := r.Rerank(ctx, "q", []string{"a", "b", "c"})
			require.NoError(t, err)
			require.Equal(t, engine.RerankReply{Scores: []float64{0.25, 0.9, -3}, PromptTokens: c.tokens}, got)
			require.Equal(t, []seen{{c.path, "Bearer secret", c.body}}, calls())
			require.Equal(t, string(c.shape)+"/m", r.Model())
		})
	}
}

// What is not an answer is an error that names the server and not the key.
func TestRerank_Faults(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		is     error
		says   string
	}{
		{"busy to the end", 503, `{"message":"loading, key secret-key"}`, engine.ErrModelDown, "loading, key ***"},
		{"no right", 401, `{"detail":"bad key"}`, engine.ErrModelDown, "bad key"},
		{"no such model", 404, `{"error":{"message":"no model m"}}`, engine.ErrModelMissing, "no model m"},
		{"too long", 413, `{"error":"batch size 40 > maximum 32"}`, engine.ErrPromptTooLong, "batch size"},
		{"a page", 200, "<html>hello</html>", engine.ErrModelDown, "not the JSON"},
		{"nothing", 200, "", engine.ErrModelDown, "not the JSON"},
		{"an empty object", 200, "{}", engine.ErrModelDown, "0 scores for 2 texts"},
		{"too few", 200, `{"results":[{"index":0,"relevance_score":1}]}`, engine.ErrModelDown, "1 scores for 2 texts"},
		{"twice", 200, `[{"index":0,"score":1},{"index":0,"score":2}]`, engine.ErrModelDown, "do not match"},
		{"out of range", 200, `[{"index":0,"score":1},{"index":2,"score":2}]`, engine.ErrModelDown, "do not match"},
		{"below range", 200, `[{"index":0,"score":1},{"index":-1,"score":2}]`, engine.ErrModelDown, "do not match"},
		{"no index", 200, `[{"index":0,"score":1},{"score":2}]`, engine.ErrModelDown, "do not match"},
		{"no score", 200, `[{"index":0,"score":1},{"index":1}]`, engine.ErrModelDown, "no score"},
		{"a score in words", 200, `[{"index":0,"score":"high"},{"index":1,"score":1}]`, engine.ErrModelDown, "not the JSON"},
		{"not finite", 200, `[{"index":0,"score":1e999},{"index":1,"score":1}]`, engine.ErrModelDown, "not the JSON"},
		{"cut off", 200, `{"results":[{"index":0,"relevance_`, engine.ErrModelDown, "not the JSON"},
		{"a redirect", 302, "", nil, "302"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url, _ := server(t, func(int, seen) (int, string) { return c.status, c.body })
			r, err := rerank.New(rerank.Options{Shape: rerank.OpenAI, URL: url, Model: "m", APIKey: "secret-key", Remote: quick()})
			require.NoError(t, err)
			_, err = r.Rerank(ctx, "q", []string{"a", "b"})
			require.Error(t, err)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "secret-key")
		})
	}
}

// A busy server is tried again, a silent one is given up, and who asked may leave.
func TestRerank_Waits(t *testing.T) {
	url, calls := server(t, func(n int, _ seen) (int, string) {
		if n < 3 {
			return 429, `{}`
		}
		return 200, `[{"index":0,"score":1}]`
	})
	r, err := rerank.New(rerank.Options{Shape: rerank.TEI, URL: url, Remote: quick()})
	require.NoError(t, err)
	_, err = r.Rerank(ctx, "q", []string{"a"})
	require.NoError(t, err)
	require.Len(t, calls(), 3)
	require.Equal(t, "tei", r.Model())

	open := make(chan struct{})
	t.Cleanup(func() { close(open) }) // before the server, which waits for its calls
	h := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-open }))
	t.Cleanup(func() { h.CloseClientConnections() })
	silent, err := rerank.New(rerank.Options{Shape: rerank.TEI, URL: h.URL, Remote: engine.RemoteOptions{Idle: 20 * time.Millisecond}})
	require.NoError(t, err)
	_, err = silent.Rerank(ctx, "q", []string{"a"})
	require.ErrorIs(t, err, engine.ErrModelDown)
	require.ErrorContains(t, err, "nothing came")

	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = silent.Rerank(gone, "q", []string{"a"})
	require.ErrorIs(t, err, context.Canceled)
}

// More texts than a request may hold go in several, and their scores come back in order.
func TestRerank_Batches(t *testing.T) {
	url, calls := server(t, func(_ int, s seen) (int, string) {
		texts := s.body["texts"].([]any)
		var out []map[string]any
		for i := len(texts) - 1; i >= 0; i-- {
			out = append(out, map[string]any{"index": i, "score": float64(len(texts[i].(string)))})
		}
		b, _ := json.Marshal(out)
		return 200, string(b)
	})
	r, err := rerank.New(rerank.Options{Shape: rerank.TEI, URL: url, Batch: 2})
	require.NoError(t, err)
	got, err := r.Rerank(ctx, "q", []string{"a", "bb", "ccc", "dddd", "eeeee"})
	require.NoError(t, err)
	require.Equal(t, []float64{1, 2, 3, 4, 5}, got.Scores)
	require.Len(t, calls(), 3)
	got, err = r.Rerank(ctx, "q", nil)
	require.NoError(t, err)
	require.Empty(t, got.Scores)
	require.Len(t, calls(), 3, "nothing to ask")
}

func TestRerank_Options(t *testing.T) {
	for i, o := range []rerank.Options{
		{},
		{Shape: "aliyun", Model: "m", URL: "http://x"},
		{Shape: rerank.OpenAI, Model: "m"},
		{Shape: rerank.Jina},
		{Shape: rerank.TEI, URL: "ftp://user:password@x"},
		{Shape: rerank.TEI, URL: "::"},
	} {
		_, err := rerank.New(o)
		require.Error(t, err, fmt.Sprint(i))
		require.NotContains(t, err.Error(), "password")
	}
}
