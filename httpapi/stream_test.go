package httpapi

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
)

var someEvents = []engine.Event{
	{Progress: "retrieving"},
	{References: []engine.Reference{}, LLM: "none"},
	{Response: "a\nb\r\n\ndata: c <b>"},
	{Done: true, Metadata: &engine.AnswerMetadata{Mode: engine.ModeMix}},
}

func streamer(events []engine.Event) route {
	return handler(get, "/stream", func(w http.ResponseWriter, r *http.Request) error {
		out := newEventStream(w, r)
		for _, e := range events {
			if err := out.send(eventOf(e)); err != nil {
				return err
			}
		}
		return nil
	})
}

// One event is one line of data and a blank line, whatever the text holds;
// references that are none are said to be none.
func TestStream_Framing(t *testing.T) {
	s, _ := wire(t, Options{}, streamer(someEvents))
	w := ask(s, get, "/stream", nil)
	require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
	events := strings.Split(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n")
	require.Equal(t, []string{
		`data: {"progress":"retrieving"}`,
		`data: {"references":[],"llm":"none"}`,
		`data: {"response":"a\nb\r\n\ndata: c <b>"}`,
	}, events[:3])
	require.Len(t, events, 4)
	require.True(t, strings.HasPrefix(events[3], `data: {"metadata":{"mode":"mix"`), events[3])
	require.True(t, strings.HasSuffix(events[3], `,"done":true}`), events[3])

	w = ask(s, get, "/stream", nil, "Accept", "application/json, application/x-ndjson; q=0.9")
	require.Equal(t, "application/x-ndjson", w.Header().Get("Content-Type"))
	lines := strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n")
	require.Len(t, lines, 4)
	require.Equal(t, `{"references":[],"llm":"none"}`, lines[1])
}

// Each event is on its way before the next is made.
func TestStream_Flushes(t *testing.T) {
	next := make(chan struct{})
	s, _ := wire(t, Options{}, handler(get, "/stream", func(w http.ResponseWriter, r *http.Request) error {
		out := newEventStream(w, r)
		if err := out.send(event{Response: "one"}); err != nil {
			return err
		}
		<-next
		return out.send(event{Done: true})
	}))
	addr, _, _ := listen(t, s)
	resp, err := http.Get("http://" + addr + "/stream")
	require.NoError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	require.True(t, lines.Scan())
	require.Equal(t, `data: {"response":"one"}`, lines.Text())
	close(next)
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NotNil(t, rest)
}

// A caller that never reads is cut by the deadline of a write; its handler ends.
func TestStream_NeverRead(t *testing.T) {
	ended := make(chan error, 1)
	s, _ := wire(t, Options{WriteTimeout: 50 * time.Millisecond}, handler(get, "/stream", func(w http.ResponseWriter, r *http.Request) error {
		out := newEventStream(w, r)
		for {
			if err := out.send(event{Response: strings.Repeat("x", 64<<10)}); err != nil {
				ended <- err
				return err
			}
		}
	}))
	addr, _, _ := listen(t, s)
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	select {
	case err := <-ended:
		require.ErrorIs(t, err, errGone)
	case <-time.After(time.Minute):
		t.Fatal("the handler still waits for a caller who never reads")
	}
}
