package openai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"strings"
	"sync"

	openai "github.com/sashabaranov/go-openai"

	"alcove/engine"
)

// DefaultURL is OpenAI's own.
const DefaultURL = "https://api.openai.com/v1"

// Options configure a Client. Zero means the default given beside the field.
type Options struct {
	URL           string // DefaultURL; with the version, as http://host:8000/v1
	APIKey        string // sent as a bearer token
	ChatModel     string // needed by Chatter
	EmbedModel    string // needed by Embedder
	ContextTokens int    // 0: the server alone knows its window
	Dimensions    int    // 0: the model's own; otherwise asked for with each text
	EmbedBatch    int    // 64 texts a request
	Remote        engine.RemoteOptions
}

// Client talks to one server. Safe for concurrent use.
type Client struct {
	o      Options
	api    *openai.Client
	remote *engine.Remote
}

// New checks the options. It does not call the server.
func New(o Options) (*Client, error) {
	if o.URL == "" {
		o.URL = DefaultURL
	}
	if o.EmbedBatch <= 0 {
		o.EmbedBatch = 64
	}
	base, err := url.Parse(o.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("openai: the URL must be http://host:port/v1 or https://host/v1") // not quoted: it may hold a password
	}
	c := &Client{o: o, remote: engine.NewRemote("openai", base, o.Remote, o.APIKey)}
	config := openai.DefaultConfig(o.APIKey)
	config.BaseURL = strings.TrimRight(o.URL, "/")
	config.HTTPClient = c.remote.Client()
	c.api = openai.NewClientWithConfig(config)
	return c, nil
}

// Chatter returns the chat model.
func (c *Client) Chatter() engine.Chatter { return chatter{c} }

// Embedder returns the embedding model.
func (c *Client) Embedder() engine.Embedder { return &embedder{Client: c, dim: c.o.Dimensions} }

type chatter struct{ *Client }

// Model is the model's name as configured.
func (c chatter) Model() string { return c.o.ChatModel }

// Chat streams from /chat/completions. See engine.Chatter.
func (c chatter) Chat(ctx context.Context, q engine.ChatRequest, onDelta func(string) error) (engine.ChatReply, error) {
	if err := engine.CheckPrompt(q, c.o.ContextTokens); err != nil {
		return engine.ChatReply{}, err
	}
	stream, err := c.api.CreateChatCompletionStream(ctx, c.request(q))
	if err != nil {
		return engine.ChatReply{}, c.fail(ctx, err)
	}
	defer stream.Close()
	var (
		text  strings.Builder
		reply engine.ChatReply
		done  bool
	)
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break // of the stream or of the connection: the reason to finish tells
		}
		if err != nil {
			return engine.ChatReply{}, c.fail(ctx, err)
		}
		if r.Usage != nil {
			reply.PromptTokens, reply.ReplyTokens = r.Usage.PromptTokens, r.Usage.CompletionTokens
		}
		if len(r.Choices) == 0 {
			continue
		}
		choice := r.Choices[0]
		if s := choice.Delta.Content; s != "" {
			text.WriteString(s)
			if onDelta != nil {
				if err := onDelta(s); err != nil {
					return engine.ChatReply{}, err
				}
			}
		}
		if choice.FinishReason != "" && choice.FinishReason != openai.FinishReasonNull {
			done = true
			reply.Truncated = choice.FinishReason == openai.FinishReasonLength
		}
	}
	if ctx.Err() != nil {
		return engine.ChatReply{}, c.remote.Error(ctx, ctx.Err())
	}
	if !done {
		return engine.ChatReply{}, c.remote.Unfinished()
	}
	reply.Text = text.String()
	return reply, nil
}

func (c chatter) request(q engine.ChatRequest) openai.ChatCompletionRequest {
	r := openai.ChatCompletionRequest{
		Model: c.o.ChatModel, Stream: true, StreamOptions: &openai.StreamOptions{IncludeUsage: true},
	}
	if q.System != "" {
		r.Messages = append(r.Messages, openai.ChatCompletionMessage{Role: openai.ChatMessageRoleSystem, Content: q.System})
	}
	for _, m := range q.Messages {
		r.Messages = append(r.Messages, openai.ChatCompletionMessage{Role: m.Role, Content: m.Content})
	}
	if q.JSON {
		r.ResponseFormat = &openai.ChatCompletionResponseFormat{Type: openai.ChatCompletionResponseFormatTypeJSONObject}
	}
	if reasons(c.o.ChatModel) { // these refuse max_tokens and any temperature but their own
		r.MaxCompletionTokens = q.MaxTokens
		return r
	}
	//lint:ignore SA1019 servers that speak OpenAI's older wire know no other name for it
	r.MaxTokens = q.MaxTokens
	if q.Temperature != nil {
		// The library leaves a 0 out, which means 1 to the server.
		r.Temperature = max(float32(*q.Temperature), math.SmallestNonzeroFloat32)
	}
	return r
}

// reasons reports whether a model is one of OpenAI's that think before they write.
func reasons(model string) bool {
	for _, p := range []string{"o1", "o3", "o4", "gpt-5"} {
		if strings.HasPrefix(model, p) {
			return true
		}
	}
	return false
}

// fail puts an error of the API's client into the engine's words.
func (c *Client) fail(ctx context.Context, err error) error {
	var answer *openai.APIError
	var request *openai.RequestError
	switch {
	case ctx.Err() != nil:
	case errors.As(err, &answer):
		message := answer.Message
		if code, ok := answer.Code.(string); ok && code != "" {
			message += " (" + code + ")"
		}
		if answer.HTTPStatusCode == 0 { // in the middle of a stream
			return c.remote.Error(ctx, errors.New(message))
		}
		return c.remote.StatusError(answer.HTTPStatusCode, message)
	case errors.As(err, &request) && request.HTTPStatusCode != 0:
		return c.remote.StatusError(request.HTTPStatusCode, string(request.Body))
	}
	return c.remote.Error(ctx, err)
}

type embedder struct {
	*Client
	mu  sync.Mutex
	dim int
}

// Model names the provider, the model and a length that was asked for.
func (e *embedder) Model() string {
	if e.o.Dimensions > 0 {
		return fmt.Sprintf("openai/%s@%d", e.o.EmbedModel, e.o.Dimensions)
	}
	return "openai/" + e.o.EmbedModel
}

// Pure reports false: vectors come from a server.
func (e *embedder) Pure() bool { return false }

// Dim is the length asked for, or asks the server once, with a word.
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

// Embed sends batches to /embeddings. See engine.Embedder.
func (e *embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	if err := engine.CheckTexts(texts); err != nil {
		return nil, err
	}
	out := make([][]float32, 0, len(texts))
	dim := e.o.Dimensions
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
	r, err := e.api.CreateEmbeddings(ctx, openai.EmbeddingRequest{
		Model: openai.EmbeddingModel(e.o.EmbedModel), Input: texts, Dimensions: e.o.Dimensions,
	})
	if err != nil {
		return nil, e.fail(ctx, err)
	}
	if len(r.Data) != len(texts) {
		return nil, e.remote.CheckVectors(make([][]float32, len(r.Data)), len(texts), dim)
	}
	vectors := make([][]float32, len(texts)) // servers may answer in another order
	for _, d := range r.Data {
		if d.Index < 0 || d.Index >= len(vectors) || vectors[d.Index] != nil {
			return nil, e.remote.Error(ctx, errors.New("vectors do not match the texts"))
		}
		vectors[d.Index] = d.Embedding
	}
	return vectors, e.remote.CheckVectors(vectors, len(texts), dim)
}
