package bench

import (
	"encoding/json"
	"io"
)

// ollamaChat answers POST /api/chat: lines of JSON, unless stream is false.
func (m *Model) ollamaChat(w io.Writer, body []byte) error {
	var q struct {
		Messages []modelMessage `json:"messages"`
		Stream   *bool          `json:"stream"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return err
	}
	reply, err := m.reply(q.Messages)
	if err != nil {
		return err
	}
	type line struct {
		Model      string       `json:"model"`
		CreatedAt  string       `json:"created_at"`
		Message    modelMessage `json:"message"`
		Done       bool         `json:"done"`
		DoneReason string       `json:"done_reason,omitempty"`
		Prompt     int          `json:"prompt_eval_count,omitempty"`
		Eval       int          `json:"eval_count,omitempty"`
	}
	u := usage(q.Messages, reply)
	last := line{ModelChat, ollamaTime, modelMessage{Role: "assistant"}, true, "stop", u.Prompt, u.Completion}
	e := json.NewEncoder(w)
	if q.Stream != nil && !*q.Stream {
		last.Message.Content = reply
		return e.Encode(last)
	}
	for piece := range m.pieces(reply) {
		if err := e.Encode(line{Model: ModelChat, CreatedAt: ollamaTime, Message: modelMessage{"assistant", piece}}); err != nil {
			return err
		}
	}
	return e.Encode(last)
}

// ollamaTime stands for the time of an answer, which is a function of the request alone.
const ollamaTime = "2026-01-01T00:00:00Z"

// ollamaEmbed answers POST /api/embed.
func (m *Model) ollamaEmbed(w io.Writer, body []byte) error {
	var q struct {
		Input embedInput `json:"input"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return err
	}
	m.embedded(q.Input)
	b := []byte(`{"model":"` + ModelEmbed + `","embeddings":[`)
	for i, text := range q.Input {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendVector(b, scriptedVector(text, m.o.Dim), false)
	}
	_, err := w.Write(append(b, `],"prompt_eval_count":1}`...))
	return err
}
