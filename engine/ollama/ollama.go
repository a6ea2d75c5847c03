package ollama

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/ollama/ollama/api"

	"alcove/engine"
)

// DefaultURL is where Ollama listens.
const DefaultURL = "http://127.0.0.1:11434"

// Options configure a Client. Zero means the default given beside the field.
type Options struct {
	URL           string // DefaultURL; credentials in it are sent as basic authentication
	APIKey        string // sent as a bearer token, for a server behind a gateway
	ChatModel     string // needed by Chatter
	EmbedModel    string // needed by Embedder
	ContextTokens int    // 32768: num_ctx of every chat
	EmbedBatch    int    // 64 texts a request
	KeepAlive     string // how long a model stays loaded, as "10m"; "" leaves it to the server
	Remote        engine.RemoteOptions
}

// Client talks to one server. Safe for concurrent use.
type Client struct {
	o      Options
	api    *api.Client
	remote *engine.Remote
	keep   *api.Duration
}

// New checks the options. It does not call the server.
func New(o Options) (*Client, error) {
	if o.URL == "" {
		o.URL = DefaultURL
	}
	if o.ContextTokens == 0 {
		o.ContextTokens = 32768
	}
	if o.EmbedBatch <= 0 {
		o.EmbedBatch = 64
	}
	base, err := url.Parse(o.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("ollama: the URL must be http://host:port or https://host") // not quoted: it may hold a password
	}
	c := &Client{o: o, remote: engine.NewRemote("ollama", base, o.Remote, o.APIKey)}
	if o.KeepAlive != "" {
		c.keep = &api.Duration{}
		if err := c.keep.UnmarshalJSON([]byte(`"` + o.KeepAlive + `"`)); err != nil {
			return nil, fmt.Errorf("ollama: keep alive: %w", err)
		}
	}
	client := c.remote.Client()
	if o.APIKey != "" {
		client.Transport = bearer{key: o.APIKey, next: client.Transport}
	}
	c.api = api.NewClient(base, client)
	return c, nil
}

// bearer adds the key to each request.
type bearer struct {
	key  string
	next http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.key)
	return b.next.RoundTrip(r)
}

// Chatter returns the chat model.
func (c *Client) Chatter() engine.Chatter { return chatter{c} }

// Embedder returns the embedding model.
func (c *Client) Embedder() engine.Embedder { return &embedder{Client: c} }

type chatter struct{ *Client }

// Model is the model's name as configured.
func (c chatter) Model() string { return c.o.ChatModel }

// Chat streams from /api/chat. See engine.Chatter.
func (c chatter) Chat(ctx context.Context, q engine.ChatRequest, onDelta func(string) error) (engine.ChatReply, error) {
	if err := engine.CheckPrompt(q, c.o.ContextTokens); err != nil {
		return engine.ChatReply{}, err
	}
	stream, off := true, false
	req := &api.ChatRequest{
		Model: c.o.ChatModel, Stream: &stream, KeepAlive: c.keep, Truncate: &off, Shift: &off,
		Options: map[string]any{"num_ctx": c.o.ContextTokens},
	}
	if q.System != "" {
		req.Messages = append(req.Messages, api.Message{Role: "system", Content: q.System})
	}
	for _, m := range q.Messages {
		req.Messages = append(req.Messages, api.Message{Role: m.Role, Content: m.Content})
	}
	if q.JSON {
		req.Format = json.RawMessage(`"json"`)
	}
	if q.MaxTokens > 0 {
		req.Options["num_predict"] = q.MaxTokens
	}
	if q.Temperature != nil {
		req.Options["temperature"] = *q.Temperature
	}
	var (
		text  strings.Builder
		reply engine.ChatReply
		done  bool
		fault error // the caller's own, which ends the call
	)
	err := c.api.Chat(ctx, req, func(r api.ChatResponse) error {
		if s := r.Message.Content; s != "" {
			text.WriteString(s)
			if onDelta != nil {
				if fault = onDelta(s); fault != nil {
					return fault
				}
			}
		}
		if r.Done {
			done = true
			reply.Truncated = r.DoneReason == "length"
			reply.PromptTokens, reply.ReplyTokens = r.PromptEvalCount, r.EvalCount
		}
		return nil
	})
	switch {
	case fault != nil:
		return engine.ChatReply{}, fault
	case err != nil:
		return engine.ChatReply{}, c.fail(ctx, err)
	case ctx.Err() != nil:
		return engine.ChatReply{}, c.remote.Error(ctx, ctx.Err())
	case !done:
		return engine.ChatReply{}, c.remote.Unfinished()
	}
	reply.Text = text.String()
	return reply, nil
}

// fail puts an error of the API's client into the engine's words.
func (c *Client) fail(ctx context.Context, err error) error {
	var status api.StatusError
	var denied api.AuthorizationError
	switch {
	case ctx.Err() != nil:
	case errors.As(err, &status):
		return c.remote.StatusError(status.StatusCode, status.ErrorMessage)
	case errors.As(err, &denied):
		return c.remote.StatusError(denied.StatusCode, "")
	}
	return c.remote.Error(ctx, err)
}

type embedder struct {
	*Client
	mu  sync.Mutex
	dim int
}

// Model names the provider and the model; ":latest" is what no tag means.
func (e *embedder) Model() string {
	return "ollama/" + strings.TrimSuffix(e.o.EmbedModel, ":latest")
}

// Pure reports false: vectors come from a server.
func (e *embedder) Pure() bool { return false }

// Dim asks the server once, with a word.
func (e *embedder) Dim(ctx context.Context) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dim > 0 {
		return e.dim, nil
	}
	v, err := e.request(ctx, []string{"dimension"}, 0)
	if err != nil {
		return 0, err
	}
	e.dim = len(v[0])
	return e.dim, nil
}

// Embed sends batches to /api/embed. See engine.Embedder.
func (e *embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	if err := engine.CheckTexts(texts); err != nil {
		return nil, err
	}
	out := make([][]float32, 0, len(texts))
	dim := 0
	for len(texts) > 0 {
		n := min(e.o.EmbedBatch, len(texts))
		v, err := e.request(ctx, texts[:n], dim)
		if err != nil {
			return nil, err
		}
		dim = len(v[0])
		out, texts = append(out, v...), texts[n:]
	}
	return out, nil
}

func (e *embedder) request(ctx context.Context, texts []string, dim int) ([][]float32, error) {
	off := false
	r, err := e.api.Embed(ctx, &api.EmbedRequest{Model: e.o.EmbedModel, Input: texts, Truncate: &off, KeepAlive: e.keep})
	if err != nil {
		return nil, e.fail(ctx, err)
	}
	if err := e.remote.CheckVectors(r.Embeddings, len(texts), dim); err != nil {
		return nil, err
	}
	return r.Embeddings, nil
}
