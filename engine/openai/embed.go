package openai

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"

	openai "github.com/sashabaranov/go-openai"

	"alcove/engine"
)

// Vectors are asked for as base64, whose decoding costs a fraction of that of
// numbers. A server that refuses it, or answers numbers, is asked for numbers from
// then on. The call is made here and not by the library: that writes a request, reads
// it into a map and writes it again, reads an answer twice over, and loses one that has
// numbers where it wants base64. With some fifteen profiles for each passage that was
// most of what an embedding call cost.

// maxVectorBytes is more than any vector of an answer takes, written as numbers with
// an indent each; the answer to a call is bounded by that for each text.
const maxVectorBytes = 1 << 20

// embed sends one batch to /embeddings. Servers may answer in another order.
func (c *Client) embed(ctx context.Context, texts []string) (vectors [][]float32, tokens int, err error) {
	format := "base64"
	if c.noBase64.Load() {
		format = ""
	}
	a, err := c.embedding(ctx, texts, format)
	if format != "" && c.refusesBase64(ctx, err) {
		if a, err = c.embedding(ctx, texts, ""); err == nil { // one call more, once
			c.noBase64.Store(true)
		}
	} else if format != "" && err == nil {
		c.heed(a)
	}
	if err != nil {
		return nil, 0, c.fail(ctx, err)
	}
	vectors = make([][]float32, len(a.Data))
	for _, d := range a.Data {
		if d.Index < 0 || d.Index >= len(vectors) || vectors[d.Index] != nil {
			return nil, 0, c.remote.Error(ctx, errors.New("vectors do not match the texts"))
		}
		vectors[d.Index] = d.Embedding.values
	}
	return vectors, a.Usage.PromptTokens, nil
}

// heed notes in what form a server answers to a request for base64.
func (c *Client) heed(a *embeddings) {
	for _, d := range a.Data {
		if d.Embedding.numbers {
			c.noBase64.Store(true)
			return
		}
	}
	c.base64.Store(true)
}

// refusesBase64 reports whether a failed request for base64 may be the server's way to
// say that it has none: text that is none, or a refusal, in whatever words, by one that
// has never given any.
func (c *Client) refusesBase64(ctx context.Context, err error) bool {
	var text base64.CorruptInputError
	if errors.As(err, &text) {
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

// embeddings is an answer of /embeddings.
type embeddings struct {
	Data []struct {
		Index     int    `json:"index"`
		Embedding vector `json:"embedding"`
	} `json:"data"`
	Usage struct {
		PromptTokens int `json:"prompt_tokens"`
	} `json:"usage"`
}

// vector is one vector, written as the base64 of its little-endian float32 or as numbers.
type vector struct {
	values  []float32
	numbers bool // it was written as numbers
}

// UnmarshalJSON takes both forms; null is no vector.
func (v *vector) UnmarshalJSON(b []byte) error {
	*v = vector{}
	if len(b) < 2 || b[0] != '"' {
		v.numbers = len(b) > 0 && b[0] == '['
		return json.Unmarshal(b, &v.values)
	}
	text := b[1 : len(b)-1]
	if bytes.IndexByte(text, '\\') >= 0 { // some write / as \/
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		text = []byte(s)
	}
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(raw, text)
	if err != nil {
		return fmt.Errorf("a vector in base64: %w", err)
	}
	if n%4 != 0 {
		return fmt.Errorf("a vector of %d bytes", n)
	}
	v.values = make([]float32, n/4)
	for i := range v.values {
		v.values[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return nil
}

// embedding makes one call. Its errors are the library's, for fail.
func (c *Client) embedding(ctx context.Context, texts []string, format string) (*embeddings, error) {
	body, err := json.Marshal(struct {
		Input      []string `json:"input"`
		Model      string   `json:"model"`
		Format     string   `json:"encoding_format,omitempty"`
		Dimensions int      `json:"dimensions,omitempty"`
	}{texts, c.o.EmbedModel, format, c.o.Dimensions})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/embeddings", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if key := c.o.APIKey.Reveal(); key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	most := int64(len(texts)+1) * maxVectorBytes
	var answer bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= most {
		answer.Grow(int(n) + bytes.MinRead)
	}
	if _, err := answer.ReadFrom(io.LimitReader(resp.Body, most+1)); err != nil {
		return nil, err
	}
	if int64(answer.Len()) > most {
		return nil, fmt.Errorf("an answer of more than %d bytes for %d texts", most, len(texts))
	}
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return nil, refusal(resp, answer.Bytes())
	}
	a := &embeddings{}
	return a, json.Unmarshal(answer.Bytes(), a)
}

// refusal is an answer of an error status as the library has it.
func refusal(resp *http.Response, body []byte) error {
	var e openai.ErrorResponse
	err := json.Unmarshal(body, &e)
	if err == nil && e.Error != nil {
		e.Error.HTTPStatus, e.Error.HTTPStatusCode = resp.Status, resp.StatusCode
		return e.Error
	}
	return &openai.RequestError{HTTPStatus: resp.Status, HTTPStatusCode: resp.StatusCode, Err: err, Body: body}
}
