package httpapi

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"

	"alcove/engine"
)

// event is engine.Event on the wire: LightRAG's objects, {references} first,
// then {response} pieces, then one with done. References that were found to be
// none are sent as an empty list, which engine.Event's tags would leave out.
type event struct {
	Progress   string                 `json:"progress,omitempty"`
	References *[]engine.Reference    `json:"references,omitempty"`
	LLM        string                 `json:"llm,omitempty"`
	Response   string                 `json:"response,omitempty"`
	Degraded   bool                   `json:"degraded,omitempty"`
	Metadata   *engine.AnswerMetadata `json:"metadata,omitempty"`
	Done       bool                   `json:"done,omitempty"`
	// Error ends a stream that had begun; Code and RequestID go with it.
	Error     string `json:"error,omitempty"`
	Code      string `json:"code,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// eventStream writes events as they come, as server-sent events or, for a
// caller that accepts application/x-ndjson, as one JSON object a line. The head
// is written with the first event: an error before it is an ordinary answer.
type eventStream struct {
	w      *response
	ndjson bool
	buf    bytes.Buffer
}

func newEventStream(w http.ResponseWriter, r *http.Request) *eventStream {
	return &eventStream{w: w.(*response), ndjson: acceptsNDJSON(r)}
}

// begun says whether an event was sent.
func (s *eventStream) begun() bool { return s.w.status != 0 }

// send writes one event and flushes it. JSON escapes line breaks, so an event
// is always one line of data whatever the text holds.
func (s *eventStream) send(e event) error {
	if !s.begun() {
		h := s.w.Header()
		if s.ndjson {
			h.Set("Content-Type", "application/x-ndjson")
		} else {
			h.Set("Content-Type", "text/event-stream")
		}
		h.Set("X-Accel-Buffering", "no") // nginx would hold events back
		s.w.WriteHeader(http.StatusOK)
	}
	s.buf.Reset()
	if !s.ndjson {
		s.buf.WriteString("data: ")
	}
	if err := encodeTo(&s.buf, e); err != nil {
		return err
	}
	if !s.ndjson {
		s.buf.WriteByte('\n')
	}
	if _, err := s.w.Write(s.buf.Bytes()); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	if err := s.w.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// acceptsNDJSON says whether a caller asked for lines instead of events.
func acceptsNDJSON(r *http.Request) bool {
	for _, h := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(h, ",") {
			kind, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(kind), "application/x-ndjson") {
				return true
			}
		}
	}
	return false
}
