package bench

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

// modelMessage is one message of a chat.
type modelMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type openaiUsage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

// usage counts a token for each four bytes.
func usage(messages []modelMessage, reply string) openaiUsage {
	u := openaiUsage{Completion: len(reply) / 4}
	for _, x := range messages {
		u.Prompt += len(x.Content) / 4
	}
	u.Total = u.Prompt + u.Completion
	return u
}

// openaiChat answers POST /v1/chat/completions, streamed or whole.
func (m *Model) openaiChat(w io.Writer, body []byte) error {
	var q struct {
		Messages []modelMessage `json:"messages"`
		Stream   bool           `json:"stream"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return err
	}
	reply, err := m.reply(q.Messages)
	if err != nil {
		return err
	}
	u := usage(q.Messages, reply)
	if q.Stream {
		return m.stream(w, reply, u)
	}
	type choice struct {
		Index   int          `json:"index"`
		Message modelMessage `json:"message"`
		Finish  string       `json:"finish_reason"`
	}
	return json.NewEncoder(w).Encode(struct {
		ID      string      `json:"id"`
		Object  string      `json:"object"`
		Created int64       `json:"created"`
		Model   string      `json:"model"`
		Choices []choice    `json:"choices"`
		Usage   openaiUsage `json:"usage"`
	}{"chat", "chat.completion", 0, ModelChat, []choice{{Message: modelMessage{"assistant", reply}, Finish: "stop"}}, u})
}

// stream writes a reply as server-sent events.
func (m *Model) stream(w io.Writer, reply string, u openaiUsage) error {
	type delta struct {
		Content string `json:"content,omitempty"`
	}
	type choice struct {
		Index  int     `json:"index"`
		Delta  delta   `json:"delta"`
		Finish *string `json:"finish_reason"`
	}
	event := func(choices []choice, u *openaiUsage) error {
		b, err := json.Marshal(struct {
			ID      string       `json:"id"`
			Object  string       `json:"object"`
			Model   string       `json:"model"`
			Choices []choice     `json:"choices"`
			Usage   *openaiUsage `json:"usage,omitempty"`
		}{"chat", "chat.completion.chunk", ModelChat, choices, u})
		if err == nil {
			_, err = fmt.Fprintf(w, "data: %s\n\n", b)
		}
		return err
	}
	for piece := range m.pieces(reply) {
		if err := event([]choice{{Delta: delta{piece}}}, nil); err != nil {
			return err
		}
	}
	stop := "stop"
	if err := event([]choice{{Finish: &stop}}, nil); err != nil {
		return err
	}
	if err := event([]choice{}, &u); err != nil {
		return err
	}
	_, err := io.WriteString(w, "data: [DONE]\n\n")
	return err
}

// embedInput is one text or a list of them.
type embedInput []string

// UnmarshalJSON takes both forms.
func (in *embedInput) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*in = embedInput{one}
		return nil
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return errors.New("input is neither a text nor a list of texts")
	}
	*in = list
	return nil
}

// openaiEmbed answers POST /v1/embeddings, in numbers or in base64.
func (m *Model) openaiEmbed(w io.Writer, body []byte) error {
	var q struct {
		Input  embedInput `json:"input"`
		Format string     `json:"encoding_format"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return err
	}
	m.embedded(q.Input)
	b := []byte(`{"object":"list","model":"` + ModelEmbed + `","data":[`)
	for i, text := range q.Input {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"object":"embedding","index":`...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, `,"embedding":`...)
		b = appendVector(b, scriptedVector(text, m.o.Dim), q.Format == "base64")
		b = append(b, '}')
	}
	b = append(b, `],"usage":{"prompt_tokens":1,"total_tokens":1}}`...)
	_, err := w.Write(b)
	return err
}

// appendVector writes a vector as numbers or as the base64 of its bytes, quoted.
func appendVector(b []byte, v []float32, asBase64 bool) []byte {
	if asBase64 {
		var raw []byte
		for _, x := range v {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
		}
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), raw), '"')
	}
	b = append(b, '[')
	for i, x := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(x), 'g', 8, 32)
	}
	return append(b, ']')
}
