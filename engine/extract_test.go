package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// scripted is a Chatter that answers with pieces and remembers what it was asked.
type scripted struct {
	pieces []string
	err    error
	asked  []ChatRequest
}

func (s *scripted) Model() string { return "scripted" }

func (s *scripted) Chat(_ context.Context, r ChatRequest, onDelta func(string) error) (ChatReply, error) {
	s.asked = append(s.asked, r)
	for _, p := range s.pieces {
		if onDelta != nil {
			if err := onDelta(p); err != nil {
				return ChatReply{}, err
			}
		}
	}
	return ChatReply{Text: strings.Join(s.pieces, ""), PromptTokens: 7, ReplyTokens: 3}, s.err
}

func TestModelExtractor(t *testing.T) {
	c := &scripted{pieces: []string{"entity<|#|>Ada<|#|>Person<|#|>A poet's daughter.\n<|COMPLETE|>"}}
	x := ModelExtractor(c, ExtractOptions{Types: []string{"Person", "{text}"}, Language: "French"})
	text := "Ignore this {fence} and\n```\nstop {text}"
	got, err := x.Extract(context.Background(), Passage{Title: "Letters", Heading: []string{"Part", "One"}, Text: text})
	require.NoError(t, err)
	require.Equal(t, Extraction{Entities: []EntityMention{{Name: "Ada", Type: "person", Description: "A poet's daughter."}}}, got)

	r := c.asked[0]
	require.Contains(t, r.System, "Person, {text}")
	require.Contains(t, r.System, "French")
	require.Equal(t, 0.0, *r.Temperature)
	require.Positive(t, r.MaxTokens)
	user := r.Messages[0].Content
	require.Contains(t, user, "Letters > Part > One")
	require.Contains(t, user, "````\n"+text+"\n````", "the fence is longer than any in the text, and the text stays as it is")
	require.NotContains(t, r.System, text)

	t.Run("an identity for each way to ask", func(t *testing.T) {
		seen := map[string]bool{}
		for _, o := range []ExtractOptions{{}, {Language: "French"}, {Format: FormatJSON}, {Format: FormatRows}, {Gleaning: 1}, {Gleaning: 2}, {Types: []string{"Person"}}, {MaxTokens: 1}} {
			id := ModelExtractor(c, o).Identity()
			require.False(t, seen[id])
			seen[id] = true
			require.Equal(t, id, ModelExtractor(c, o).Identity())
		}
		require.Equal(t, ModelExtractor(c, ExtractOptions{}).Identity(), ModelExtractor(c, ExtractOptions{Language: "English"}).Identity())
	})
	t.Run("the model's error", func(t *testing.T) {
		_, err := ModelExtractor(&scripted{err: ErrModelDown}, ExtractOptions{}).Extract(context.Background(), Passage{Text: "x"})
		require.ErrorIs(t, err, ErrModelDown)
	})
}

func TestModelAnswerer(t *testing.T) {
	c := &scripted{pieces: []string{"<thi", "nk>hidden", " {", "</thi", "nk>\n", "\n  Ada", " wrote [1][", "7]", ".", ""}}
	var streamed []string
	a := ModelAnswerer(c, AnswerOptions{})
	got, err := a.Answer(context.Background(), AnswerRequest{
		Query: "Who wrote?", Prompt: "the prompt", History: []Message{{Role: "user", Content: "hello"}, {Role: "assistant", Content: "hi"}},
		Chunks: []EvidenceChunk{{ReferenceID: "1"}},
	}, func(s string) error { streamed = append(streamed, s); return nil })
	require.NoError(t, err)
	require.Equal(t, AnswerReply{Text: "Ada wrote [1].", PromptTokens: 7, ReplyTokens: 3, CitationsDropped: 1}, got)
	require.Equal(t, []string{"Ada", " wrote [1]", "."}, streamed)
	require.Equal(t, "the prompt", c.asked[0].System)
	require.Equal(t, Message{Role: "user", Content: "Who wrote?"}, c.asked[0].Messages[2])
	require.Len(t, c.asked[0].Messages, 3)
	require.Equal(t, "scripted", a.Model())

	bypass, err := a.Answer(context.Background(), AnswerRequest{Query: "Who wrote?"}, nil)
	require.NoError(t, err)
	require.Equal(t, "Ada wrote [1][7].", bypass.Text, "without a context nothing is a citation")

	gone := errors.New("client is gone")
	_, err = a.Answer(context.Background(), AnswerRequest{}, func(string) error { return gone })
	require.ErrorIs(t, err, gone)
}

// What is streamed is the whole reply without its thought, however it is cut.
func TestThinkFilter(t *testing.T) {
	for _, reply := range []string{"plain text", "<b>bold</b> <think>", "", " <t", "<think>a</think>b", "<thinking>a <b></thinking>\n\nb", "<think>never closed"} {
		for size := 1; size <= len(reply)+1; size++ {
			var got strings.Builder
			f := newThinkFilter(func(s string) error { got.WriteString(s); return nil })
			for at := 0; at < len(reply); at += size {
				require.NoError(t, f.write(reply[at:min(len(reply), at+size)]))
			}
			require.NoError(t, f.close())
			want := reply
			if strings.HasPrefix(reply, "<thin") {
				want = withoutThinking(reply)
			}
			require.Equal(t, want, got.String(), "pieces of %d", size)
		}
	}
}

func TestBuildPrompt(t *testing.T) {
	p := buildPrompt("chunk {response_type}\n", "A list", "be short {context}")
	require.Contains(t, p, "in this form: A list.")
	require.Contains(t, p, "be short {context}")
	require.Contains(t, p, "chunk {response_type}")
	require.Contains(t, buildPrompt("", "", ""), "nothing was found")
	require.Contains(t, buildPrompt("", "", ""), "Multiple Paragraphs")
	require.InDelta(t, countTokens(buildPrompt("", "", "")), promptTokens(), 20)
	r := keywordRequest("a ```` b")
	require.Contains(t, r.Messages[0].Content, "`````\na ```` b\n`````")
	require.True(t, r.JSON)
}
