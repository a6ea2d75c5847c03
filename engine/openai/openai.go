package openai

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync/atomic"

	openai "github.com/sashabaranov/go-openai"

	"alcove/engine"
)

// DefaultURL is OpenAI's own.
const DefaultURL = "https://api.openai.com/v1"

// Options configure a Client. Zero means the default given beside the field.
type Options struct {
	URL           string        // DefaultURL; with the version, as http://host:8000/v1
	APIKey        engine.Secret // sent as a bearer token
	ChatModel     string        // needed by Chatter
	EmbedModel    string        // needed by Embedder
	ContextTokens int           // 0: the server alone knows its window
	Dimensions    int           // 0: the model's own; otherwise asked for with each text
	EmbedBatch    int           // engine.DefaultEmbedBatch texts a request
	Remote        engine.RemoteOptions
}

// Client talks to one server. Safe for concurrent use.
type Client struct {
	o      Options
	api    *openai.Client
	remote *engine.Remote
	// noSchema says that the server has refused a schema and taken JSON without.
	noSchema atomic.Bool
	// base64 says that the server has given vectors as base64, noBase64 that it gives
	// numbers only.
	base64, noBase64 atomic.Bool
}

// New checks the options. It does not call the server.
func New(o Options) (*Client, error) {
	if o.URL == "" {
		o.URL = DefaultURL
	}
	remote, err := engine.NewRemote("openai", o.URL, o.Remote, o.APIKey.Reveal())
	if err != nil {
		return nil, err
	}
	c := &Client{o: o, remote: remote}
	config := openai.DefaultConfig(o.APIKey.Reveal())
	config.BaseURL, config.HTTPClient = strings.TrimRight(o.URL, "/"), remote.Client()
	c.api = openai.NewClientWithConfig(config)
	return c, nil
}

// Chatter returns the chat model.
func (c *Client) Chatter() engine.Chatter { return chatter{c} }

// Embedder returns the embedding model.
func (c *Client) Embedder() engine.Embedder {
	return c.remote.Embedder(engine.EmbedderOptions{
		Model: c.o.EmbedModel, Batch: c.o.EmbedBatch, Dimensions: c.o.Dimensions, Request: c.embed,
	})
}

type chatter struct{ *Client }

// Model is the model's name as configured.
func (c chatter) Model() string { return c.o.ChatModel }

// Chat streams from /chat/completions. See engine.Chatter.
func (c chatter) Chat(ctx context.Context, q engine.ChatRequest, onDelta func(string) error) (engine.ChatReply, error) {
	if err := engine.CheckPrompt(q, c.o.ContextTokens); err != nil {
		return engine.ChatReply{}, err
	}
	if c.noSchema.Load() {
		q.Schema = nil
	}
	stream, err := c.api.CreateChatCompletionStream(ctx, c.request(q))
	if err != nil && len(q.Schema) > 0 && refusesSchema(err) {
		q.Schema = nil // the server knows JSON at the most
		if stream, err = c.api.CreateChatCompletionStream(ctx, c.request(q)); err == nil {
			c.noSchema.Store(true)
		}
	}
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
	switch {
	case len(q.Schema) > 0:
		r.ResponseFormat = &openai.ChatCompletionResponseFormat{
			Type:       openai.ChatCompletionResponseFormatTypeJSONSchema,
			JSONSchema: &openai.ChatCompletionResponseFormatJSONSchema{Name: "reply", Schema: q.Schema, Strict: true},
		}
	case q.JSON:
		r.ResponseFormat = &openai.ChatCompletionResponseFormat{Type: openai.ChatCompletionResponseFormatTypeJSONObject}
	}
	if reasons(c.o.ChatModel) { // these refuse max_tokens and any temperature but their own
		r.MaxCompletionTokens = q.MaxTokens
		return r
	}
	//lint:ignore SA1019 servers that speak OpenAI's older wire know no other name for it
	r.MaxTokens = q.MaxTokens
	if q.Temperature != nil {
		// The library leaves a 0 out, which means 1 to the server. What stands in for
		// it must not be so small that a logit divided by it is infinite: llama.cpp
		// (and Ollama with it) aborts on that.
		r.Temperature = max(float32(*q.Temperature), 1e-4)
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

// refusesSchema reports whether a server refused a request for the schema of its reply.
func refusesSchema(err error) bool {
	var answer *openai.APIError
	var request *openai.RequestError
	switch {
	case errors.As(err, &answer):
		return (answer.HTTPStatusCode == 400 || answer.HTTPStatusCode == 422) && engine.SpeaksOfFormat(answer.Message)
	case errors.As(err, &request):
		return (request.HTTPStatusCode == 400 || request.HTTPStatusCode == 422) && engine.SpeaksOfFormat(string(request.Body))
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

// embed sends one batch to /embeddings. Servers may answer in another order.
// Vectors are asked for as base64, whose decoding costs a fraction of that of
// numbers. A server that refuses it, or answers numbers, is asked for numbers from
// then on.
func (c *Client) embed(ctx context.Context, texts []string) (vectors [][]float32, tokens int, err error) {
	q := openai.EmbeddingRequest{Model: openai.EmbeddingModel(c.o.EmbedModel), Input: texts, Dimensions: c.o.Dimensions}
	if !c.noBase64.Load() {
		q.EncodingFormat = openai.EmbeddingEncodingFormatBase64
	}
	r, err := c.api.CreateEmbeddings(ctx, q)
	switch {
	case q.EncodingFormat == "":
	case err == nil:
		c.base64.Store(true)
	case c.noBase64At(ctx, err):
		// One call more, once: the library does not keep an answer that it cannot read.
		q.EncodingFormat = ""
		if r, err = c.api.CreateEmbeddings(ctx, q); err == nil {
			c.noBase64.Store(true)
		}
	}
	if err != nil {
		return nil, 0, c.fail(ctx, err)
	}
	vectors = make([][]float32, len(r.Data))
	for _, d := range r.Data {
		if d.Index < 0 || d.Index >= len(vectors) || vectors[d.Index] != nil {
			return nil, 0, c.remote.Error(ctx, errors.New("vectors do not match the texts"))
		}
		vectors[d.Index] = d.Embedding
	}
	return vectors, r.Usage.PromptTokens, nil
}

// noBase64At reports whether an answer to a request for base64 may be the server's
// way to say that it has none: numbers, or a refusal, in whatever words, by one that
// has never given any.
func (c *Client) noBase64At(ctx context.Context, err error) bool {
	var number *json.UnmarshalTypeError
	var text base64.CorruptInputError
	if errors.As(err, &number) || errors.As(err, &text) {
		return true
	}
	var answer *openai.APIError
	var request *openai.RequestError
	status := 0
	switch {
	case c.base64.Load():
	case errors.As(err, &answer):
		status = answer.HTTPStatusCode
	case errors.As(err, &request):
		status = request.HTTPStatusCode
	}
	return (status == 400 || status == 422) && !errors.Is(c.fail(ctx, err), engine.ErrPromptTooLong)
}
