package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"time"
)

// client speaks the REST API as a user would.
type client struct {
	base  string // http://host:port/api/v1
	token string
	key   string
	http  *http.Client
}

func newClient(addr string) *client {
	return &client{base: "http://" + addr + "/api/v1", http: &http.Client{Timeout: 5 * time.Minute}}
}

// call sends body as JSON (an io.Reader is sent as it is, with contentType) and
// decodes the answer into out, unwrapping the envelope where there is one.
func (c *client) call(ctx context.Context, method, path string, body any, out any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(b)
	}
	return c.send(ctx, method, path, "application/json", r, out)
}

func (c *client) send(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	answer, err := c.open(ctx, method, path, contentType, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	b, err := io.ReadAll(io.LimitReader(answer, maxAnswer))
	if err != nil || out == nil {
		return err
	}
	var envelope envelope
	json.Unmarshal(b, &envelope) //nolint:errcheck // a bare body has no envelope
	if envelope.Status == "success" && envelope.Data != nil {
		b = envelope.Data
	}
	return json.Unmarshal(b, out)
}

// maxAnswer bounds an answer that is held in memory.
const maxAnswer = 64 << 20

// envelope is around most answers.
type envelope struct {
	Status, Code, Message string
	Data                  json.RawMessage
}

// open is send with the body of a successful answer still to be read, which the caller
// closes.
func (c *client) open(ctx context.Context, method, path, contentType string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	switch {
	case c.key != "":
		req.Header.Set("X-API-Key", c.key)
	case c.token != "":
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 400 {
		return res.Body, nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	var envelope envelope
	json.Unmarshal(b, &envelope)                              //nolint:errcheck // a proxy's refusal has none
	seconds, _ := strconv.Atoi(res.Header.Get("Retry-After")) // 0: not said
	return nil, &apiError{
		call: method + " " + path, status: res.StatusCode, code: envelope.Code, message: envelope.Message,
		retryAfter: time.Duration(seconds) * time.Second,
	}
}

// apiError is a server's refusal.
type apiError struct {
	call          string // method and path
	status        int
	code, message string
	retryAfter    time.Duration // 0: not said
}

func (e *apiError) Error() string {
	return fmt.Sprintf("%s: %d %s %s: %s", e.call, e.status, http.StatusText(e.status), e.code, e.message)
}

// upload sends files through documents/add.
func (c *client) upload(ctx context.Context, kb string, files []namedFile, out any) error {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range files {
		p, err := w.CreateFormFile("file", filepath.Base(f.name))
		if err != nil {
			return err
		}
		if _, err := p.Write(f.data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.send(ctx, "POST", kb+"/documents/add", w.FormDataContentType(), &b, out)
}

type namedFile struct {
	name string
	data []byte
}

func kbPath(tenant, kb string) string {
	return "/tenants/" + url.PathEscape(tenant) + "/knowledge-bases/" + url.PathEscape(kb)
}
