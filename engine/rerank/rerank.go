package rerank

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"

	"alcove/engine"
)

// Shape is the form of a server's requests.
type Shape string

// The shapes there are.
const (
	Cohere Shape = "cohere" // /v2/rerank
	Jina   Shape = "jina"   // /v1/rerank
	OpenAI Shape = "openai" // /v1/rerank, as vLLM, llama.cpp, LocalAI and Infinity have it
	TEI    Shape = "tei"    // /rerank of text-embeddings-inference: texts in, a bare list out
)

// form is what a shape needs to be known of.
type form struct {
	host  string // where it is when nothing else is said; "": must be said
	path  string
	batch int // texts a request, what the server allows by default
}

var forms = map[Shape]form{
	Cohere: {"https://api.cohere.com", "/v2/rerank", 500},
	Jina:   {"https://api.jina.ai", "/v1/rerank", 500},
	OpenAI: {"", "/v1/rerank", 100},
	TEI:    {"", "/rerank", 32},
}

// maxReplyBytes bounds what is read of an answer.
const maxReplyBytes = 8 << 20

// Options configure a Client. Zero means the default given beside the field.
type Options struct {
	Shape Shape // required
	// URL is the server's, with or without the path of the call: http://host:8000,
	// http://host:8000/v1 and http://host:8000/v1/rerank are one. The vendor's own
	// for Cohere and Jina, required otherwise.
	URL    string
	APIKey engine.Secret // sent as a bearer token
	Model  string        // required but for TEI, which serves one
	Batch  int           // texts a request; 500 at Cohere and Jina, 100 at OpenAI-like servers, 32 at TEI
	Remote engine.RemoteOptions
}

// Client is one reranker. Safe for concurrent use.
type Client struct {
	o      Options
	url    string
	http   *http.Client
	remote *engine.Remote
}

// New checks the options. It does not call the server.
func New(o Options) (*Client, error) {
	f, ok := forms[o.Shape]
	if !ok {
		return nil, fmt.Errorf("rerank: %q is not one of cohere, jina, openai, tei", o.Shape)
	}
	if o.Model == "" && o.Shape != TEI {
		return nil, errors.New("rerank: the model is missing")
	}
	if o.URL == "" {
		o.URL = f.host
	}
	if o.Batch <= 0 {
		o.Batch = f.batch
	}
	remote, err := engine.NewRemote("rerank", o.URL, o.Remote, o.APIKey.Reveal())
	if err != nil {
		return nil, err
	}
	call := *remote.Base()
	call.Path = callPath(call.Path, f.path)
	return &Client{o: o, url: call.String(), http: remote.Client(), remote: remote}, nil
}

// callPath is the path of the call below a base path that may hold some of it.
func callPath(base, call string) string {
	base = strings.TrimRight(base, "/")
	switch {
	case strings.HasSuffix(base, "/rerank"):
		return base
	case strings.HasSuffix(base, "/v1"), strings.HasSuffix(base, "/v2"):
		return base + "/rerank"
	}
	return base + call
}

// Model names the shape and the model.
func (c *Client) Model() string {
	if c.o.Model == "" {
		return string(c.o.Shape)
	}
	return string(c.o.Shape) + "/" + c.o.Model
}

// Rerank scores the texts in batches. See engine.Reranker. An answer that does
// not score each text once with a finite number wraps engine.ErrModelDown.
func (c *Client) Rerank(ctx context.Context, query string, texts []string) (engine.RerankReply, error) {
	reply := engine.RerankReply{Scores: make([]float64, 0, len(texts))}
	for len(texts) > 0 {
		n := min(c.o.Batch, len(texts))
		scores, tokens, err := c.call(ctx, query, texts[:n])
		if err != nil {
			return engine.RerankReply{}, err
		}
		reply.Scores = append(reply.Scores, scores...)
		reply.PromptTokens += tokens
		texts = texts[n:]
	}
	return reply, nil
}

func (c *Client) request(query string, texts []string) any {
	no := false
	switch c.o.Shape {
	case TEI:
		return struct {
			Query    string   `json:"query"`
			Texts    []string `json:"texts"`
			Truncate bool     `json:"truncate"`
		}{query, texts, true}
	case Jina: // sends the texts back otherwise
		return struct {
			Model           string   `json:"model"`
			Query           string   `json:"query"`
			Documents       []string `json:"documents"`
			TopN            int      `json:"top_n"`
			ReturnDocuments *bool    `json:"return_documents"`
		}{c.o.Model, query, texts, len(texts), &no}
	}
	return struct {
		Model     string   `json:"model"`
		Query     string   `json:"query"`
		Documents []string `json:"documents"`
		TopN      int      `json:"top_n"`
	}{c.o.Model, query, texts, len(texts)}
}

func (c *Client) call(ctx context.Context, query string, texts []string) ([]float64, int, error) {
	body, err := json.Marshal(c.request(query, texts))
	if err != nil {
		return nil, 0, fmt.Errorf("rerank request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, fmt.Errorf("rerank request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if c.o.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+c.o.APIKey.Reveal())
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, 0, c.remote.Error(ctx, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReplyBytes+1))
	if err != nil {
		return nil, 0, c.remote.Error(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, 0, c.remote.StatusError(resp.StatusCode, message(b))
	}
	if len(b) > maxReplyBytes {
		return nil, 0, c.remote.Error(ctx, errors.New("the answer is too long"))
	}
	scores, tokens, err := read(b, len(texts))
	if err != nil {
		return nil, 0, c.remote.Error(ctx, err)
	}
	return scores, tokens, nil
}

// message finds the words in the body of a refusal.
func message(b []byte) string {
	var m struct {
		Message, Detail, Error any
	}
	if json.Unmarshal(b, &m) == nil {
		for _, v := range []any{m.Message, m.Detail, m.Error} {
			switch v := v.(type) {
			case string:
				return v
			case map[string]any:
				if s, ok := v["message"].(string); ok {
					return s
				}
			}
		}
	}
	return string(b[:min(len(b), 4096)])
}

// item is one scored text in any shape.
type item struct {
	Index          *int     `json:"index"`
	RelevanceScore *float64 `json:"relevance_score"`
	Score          *float64 `json:"score"`
}

// read reads an answer: an object with results or data, or a bare list.
func read(b []byte, texts int) (scores []float64, tokens int, err error) {
	var list []item
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '[' {
		err = json.Unmarshal(b, &list)
	} else {
		var o struct {
			Results []item `json:"results"`
			Data    []item `json:"data"`
			Usage   struct {
				TotalTokens  int `json:"total_tokens"`
				PromptTokens int `json:"prompt_tokens"`
			} `json:"usage"`
			Meta struct {
				Tokens struct {
					Input float64 `json:"input_tokens"`
				} `json:"tokens"`
			} `json:"meta"`
		}
		err = json.Unmarshal(b, &o)
		list = append(o.Results, o.Data...)
		tokens = max(o.Usage.TotalTokens, o.Usage.PromptTokens, int(min(max(o.Meta.Tokens.Input, 0), 1e9)), 0)
	}
	if err != nil {
		return nil, 0, errors.New("the answer is not the JSON of a reranker")
	}
	if len(list) != texts {
		return nil, 0, fmt.Errorf("%d scores for %d texts", len(list), texts)
	}
	scores = make([]float64, texts)
	seen := make([]bool, texts)
	for _, it := range list {
		s := it.RelevanceScore
		if s == nil {
			s = it.Score
		}
		switch {
		case it.Index == nil || *it.Index < 0 || *it.Index >= texts || seen[*it.Index]:
			return nil, 0, errors.New("the scores do not match the texts")
		case s == nil || math.IsNaN(*s) || math.IsInf(*s, 0):
			return nil, 0, fmt.Errorf("text %d has no score", *it.Index)
		}
		scores[*it.Index], seen[*it.Index] = *s, true
	}
	return scores, tokens, nil
}
