package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/tenancy"
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
	p := promptSet(nil).answer("chunk {response_type}\n", "A list", "be short {context}")
	require.Contains(t, p, "in this form: A list.")
	require.Contains(t, p, "be short {context}")
	require.Contains(t, p, "chunk {response_type}")
	require.Contains(t, promptSet(nil).answer("", "", ""), "nothing was found")
	require.Contains(t, promptSet(nil).answer("", "", ""), "Multiple Paragraphs")
	require.InDelta(t, countTokens(promptSet(nil).answer("", "", "")), promptSet(nil).answerTokens(), 20)
	r := promptSet(nil).keywordRequest("a ```` b")
	require.Contains(t, r.Messages[0].Content, "`````\na ```` b\n`````")
	require.True(t, r.JSON)
}

// replies is a Chatter that gives one answer after another and remembers what it
// was asked.
type replies struct {
	scripted
	next []any // texts and errors
}

func (c *replies) Chat(_ context.Context, r ChatRequest, _ func(string) error) (ChatReply, error) {
	c.asked = append(c.asked, r)
	if len(c.next) == 0 {
		return ChatReply{}, errors.New("asked once too often")
	}
	first := c.next[0]
	c.next = c.next[1:]
	if err, ok := first.(error); ok {
		return ChatReply{}, err
	}
	return ChatReply{Text: first.(string)}, nil
}

func row(fields ...string) string { return strings.Join(fields, "<|#|>") + "\n" }

// What a second look brings is merged as LightRAG merges it: new names come, of a
// name in both the longer description wins.
func TestModelExtractor_Gleaning(t *testing.T) {
	first := row("entity", "Ada", "Person", "Short.") + row("entity", "Babbage", "Person", "A longer description.") +
		row("relation", "Ada", "Babbage", "k", "They met.") + row("entity", "Bad", "Person")
	second := row("entity", "ADA", "Woman", "Much longer now.") + row("entity", "Babbage", "Man", "Short.") +
		row("entity", "Turin", "Place", "A town.") + row("relation", "Babbage", "Ada", "k", "He answered her.") + row("relation", "Ada", "Ada", "k", "x")
	merged := "Babbage (person): A longer description.\nADA (woman): Much longer now.\nTurin (place): A town.\n" +
		"Ada > Babbage [k]: They met.\nBabbage > Ada [k]: He answered her.\n"
	for name, tc := range map[string]struct {
		gleaning int
		replies  []any
		want     string
		dropped  int
		fails    error
	}{
		"once":                   {1, []any{first, second}, merged, 2, nil},
		"twice":                  {2, []any{first, second, row("entity", "Last", "x", "y")}, strings.Replace(merged, "Ada >", "Last (x): y\nAda >", 1), 2, nil},
		"nothing was missed":     {2, []any{first, "<|COMPLETE|>"}, "Ada (person): Short.\nBabbage (person): A longer description.\nAda > Babbage [k]: They met.\n", 1, nil},
		"the second is too long": {2, []any{second, ErrPromptTooLong}, "", 1, nil},
		"the second is refused":  {1, []any{second, ErrModelRefused}, "", 1, nil},
		"the second fails":       {1, []any{first, ErrModelDown}, "", 0, ErrModelDown},
		"nothing to go by":       {1, []any{"<think>" + first}, "", 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := &replies{next: tc.replies}
			got, err := ModelExtractor(c, ExtractOptions{Gleaning: tc.gleaning, Format: FormatRows}).Extract(context.Background(), Passage{Text: "x"})
			require.ErrorIs(t, err, tc.fails)
			require.Empty(t, c.next, "all turns were taken")
			if tc.want != "" {
				require.Equal(t, tc.want, show(got))
			}
			require.Equal(t, tc.dropped, got.Dropped)
		})
	}
	t.Run("skipped when the talk would be too long", func(t *testing.T) {
		c := &replies{next: []any{first}}
		_, err := ModelExtractor(c, ExtractOptions{Gleaning: 1, Format: FormatRows}).Extract(context.Background(), Passage{Text: strings.Repeat("word ", maxGleanTokens)})
		require.NoError(t, err)
		require.Len(t, c.asked, 1)
	})
	t.Run("what the model thought is no part of the talk", func(t *testing.T) {
		c := &replies{next: []any{"<think>secret</think>" + first, second}}
		_, err := ModelExtractor(c, ExtractOptions{Gleaning: 1, Format: FormatRows}).Extract(context.Background(), Passage{Text: "x"})
		require.NoError(t, err)
		require.Equal(t, strings.TrimSpace(first), c.asked[1].Messages[1].Content)
	})
	require.Equal(t, ModelExtractor(&replies{}, ExtractOptions{Gleaning: MaxGleaning}).Identity(), ModelExtractor(&replies{}, ExtractOptions{Gleaning: 99}).Identity())
}

// JSON is asked for with a schema; a server that cannot is asked for rows, once
// it has said so and not for any other refusal.
func TestModelExtractor_Format(t *testing.T) {
	object := `{"entities":[{"name":"Ada","type":"Person","description":"d"}],"relationships":[]}`
	noFormat := fmt.Errorf("%w: 400: 'response_format.type' must be text", ErrModelRefused)
	extract := func(x Extractor) (Extraction, error) { return x.Extract(context.Background(), Passage{Text: "x"}) }

	c := &replies{next: []any{object}}
	got, err := extract(ModelExtractor(c, ExtractOptions{Types: []string{"Person", `A "b"`}}))
	require.NoError(t, err)
	require.Len(t, got.Entities, 1)
	require.True(t, c.asked[0].JSON)
	var schema struct {
		Properties struct {
			Entities struct {
				Items struct {
					Required   []string
					Properties struct{ Type struct{ Enum []string } }
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal(c.asked[0].Schema, &schema))
	require.Equal(t, []string{"Person", `A "b"`, "Other"}, schema.Properties.Entities.Items.Properties.Type.Enum)
	require.Equal(t, []string{"name", "type", "description"}, schema.Properties.Entities.Items.Required)
	require.Less(t, strings.Index(string(c.asked[0].Schema), `"name"`), strings.Index(string(c.asked[0].Schema), `"description"`), "the name is written first")

	c = &replies{next: []any{noFormat, row("entity", "Ada", "Person", "d"), row("entity", "Bob", "Person", "d"), row("entity", "Cy", "Person", "d")}}
	x := ModelExtractor(c, ExtractOptions{})
	for _, want := range []string{"Ada", "Bob"} {
		got, err = extract(x)
		require.NoError(t, err)
		require.Equal(t, want, got.Entities[0].Name)
	}
	require.False(t, c.asked[1].JSON)
	require.Nil(t, c.asked[1].Schema)
	require.Contains(t, c.asked[1].System, "<|#|>")
	require.False(t, c.asked[2].JSON, "it is not asked for JSON again")
	german := "German"
	_, err = extract(x.(*modelExtractor).with(tenancy.Config{Language: &german}))
	require.NoError(t, err)
	require.False(t, c.asked[3].JSON, "nor for another base")

	for name, refusal := range map[string]error{
		"unsafe":     fmt.Errorf("%w: this information is unsafe", ErrModelRefused),
		"too long":   ErrPromptTooLong,
		"down":       ErrModelDown,
		"other word": fmt.Errorf("%w: json_schema", ErrModelDown),
	} {
		c = &replies{next: []any{refusal}}
		_, err = extract(ModelExtractor(c, ExtractOptions{}))
		require.ErrorIs(t, err, refusal, name)
		require.Len(t, c.asked, 1, name)
	}
	c = &replies{next: []any{noFormat}}
	_, err = extract(ModelExtractor(c, ExtractOptions{Format: FormatJSON}))
	require.ErrorIs(t, err, ErrModelRefused, "who asks for JSON gets no rows")
}
