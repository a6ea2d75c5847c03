package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
)

// envelope is the body of a management or document answer.
type envelope struct {
	Status string `json:"status"` // "success"
	Data   any    `json:"data"`
}

// success answers 200 with data in the envelope.
func success(w http.ResponseWriter, data any) error {
	return encode(w, http.StatusOK, envelope{"success", data})
}

// created answers 201 with data in the envelope.
func created(w http.ResponseWriter, data any) error {
	return encode(w, http.StatusCreated, envelope{"success", data})
}

// accepted answers 202 with data in the envelope.
func accepted(w http.ResponseWriter, data any) error {
	return encode(w, http.StatusAccepted, envelope{"success", data})
}

// bare answers 200 with v alone, where LightRAG's clients expect no envelope.
func bare(w http.ResponseWriter, v any) error { return encode(w, http.StatusOK, v) }

// encode writes v as JSON. It is encoded whole before the head is written, so
// that a value that cannot be encoded is a clean 500 and never half an answer.
func encode(w http.ResponseWriter, status int, v any) error {
	buf := buffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= maxPooledBytes {
			buf.Reset()
			buffers.Put(buf)
		}
	}()
	buf.Reset()
	if err := encodeTo(buf, v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(status)
	if _, err := w.Write(buf.Bytes()); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// encodeTo appends v and a newline. Text is not escaped for HTML: the answers
// are application/json with nosniff, and passages full of \u003c help nobody.
func encodeTo(buf *bytes.Buffer, v any) error {
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return nil
}

// maxPooledBytes keeps one huge answer from staying in memory for good.
const maxPooledBytes = 1 << 20

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
