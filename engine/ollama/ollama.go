package ollama

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/ollama/ollama/api"

	"alcove/engine"
)

// DefaultURL is where Ollama listens.
const DefaultURL = "http://127.0.0.1:11434"

// Options configure a Client. Zero means the default given beside the field.
type Options struct {
	URL           string        // DefaultURL; credentials in it are sent as basic authentication
	APIKey        engine.Secret // sent as a bearer token, for a server behind a gateway
	ChatModel     string        // needed by Chatter
	EmbedModel    string        // needed by Embedder
	ContextTokens int           // 32768: num_ctx of every chat
	EmbedTokens   int           // 8192: num_ctx of every embedding; the server lowers it to what the model can
	EmbedBatch    int           // engine.DefaultEmbedBatch texts a request
	Dimensions    int           // 0: the embedding model's own; otherwise asked for with each text
	KeepAlive     string        // how long a model stays loaded, as "10m"; "" leaves it to the server
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
	if o.EmbedTokens == 0 {
		o.EmbedTokens = 8192
	}
	remote, err := engine.NewRemote("ollama", o.URL, o.Remote, o.APIKey.Reveal())
	if err != nil {
		return nil, err
	}
	c := &Client{o: o, remote: remote}
	if o.KeepAlive != "" {
		c.keep = &api.Duration{}
		if err := c.keep.UnmarshalJSON([]byte(`"` + o.KeepAlive + `"`)); err != nil {
			return nil, fmt.Errorf("ollama: keep alive: %w", err)
		}
	}
	client := c.remote.Client()
	if o.APIKey != "" {
		client.Transport = bearer{key: o.APIKey.Reveal(), next: client.Transport}
	}
	c.api = api.NewClient(remote.Base(), client)
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

// Embedder returns the embedding model; ":latest" is what no tag means.
func (c *Client) Embedder() engine.Embedder {
	return c.remote.Embedder(engine.EmbedderOptions{
		Model: strings.TrimSuffix(c.o.EmbedModel, ":latest"), Batch: c.o.EmbedBatch, Dimensions: c.o.Dimensions, Request: c.embed,
	})
}

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
	switch {
	case len(q.Schema) > 0:
		req.Format = q.Schema
	case q.JSON:
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

// embed sends one batch to /api/embed.
func (c *Client) embed(ctx context.Context, texts []string) (vectors [][]float32, tokens int, err error) {
	off := false
	r, err := c.api.Embed(ctx, &api.EmbedRequest{
		Model: c.o.EmbedModel, Input: texts, Truncate: &off, KeepAlive: c.keep, Dimensions: c.o.Dimensions,
		Options: map[string]any{"num_ctx": c.o.EmbedTokens},
	})
	if err != nil {
		return nil, 0, c.fail(ctx, err)
	}
	return r.Embeddings, r.PromptEvalCount, nil
}
