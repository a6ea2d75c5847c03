package engine

import (
	"context"
	"fmt"
)

// AnswerOptions configure a ModelAnswerer.
type AnswerOptions struct {
	// MaxTokens bounds the reply; 0 leaves it to the server.
	MaxTokens int
	// Temperature is sent only when not nil.
	Temperature *float64
}

// ModelAnswerer returns an Answerer that lets a language model write. The system
// prompt is the request's Prompt; the history and the bare question follow. The
// text is passed on as the model writes it, but for its thinking and for
// citations of what is not in the context.
func ModelAnswerer(c Chatter, o AnswerOptions) Answerer { return modelAnswerer{c, o} }

type modelAnswerer struct {
	c Chatter
	o AnswerOptions
}

// Model is the chat model's name.
func (a modelAnswerer) Model() string { return a.c.Model() }

// Answer asks the model. Errors are those of Chatter.Chat.
func (a modelAnswerer) Answer(ctx context.Context, q AnswerRequest, onDelta func(string) error) (AnswerReply, error) {
	messages := make([]Message, 0, len(q.History)+1)
	messages = append(messages, q.History...)
	messages = append(messages, Message{Role: "user", Content: q.Query})
	grounded := q.Prompt != "" // without a context a bracket is what the model says it is
	var cites *citationFilter
	var filter *thinkFilter
	var write func(string) error
	if onDelta != nil {
		if grounded {
			cites = newCitationFilter(q.Chunks, onDelta)
			onDelta = cites.write
		}
		filter = newThinkFilter(onDelta)
		write = filter.write
	}
	r, err := a.c.Chat(ctx, ChatRequest{
		System: q.Prompt, Messages: messages, MaxTokens: a.o.MaxTokens, Temperature: a.o.Temperature,
	}, write)
	if err == nil && filter != nil {
		err = filter.close()
	}
	if err == nil && cites != nil {
		err = cites.close()
	}
	if err != nil {
		return AnswerReply{}, fmt.Errorf("answer with %s: %w", a.c.Model(), err)
	}
	text := withoutThinking(r.Text)
	dropped := 0
	if grounded {
		text, dropped = onlyKnown(text, q.Chunks)
	}
	return AnswerReply{Text: text, PromptTokens: r.PromptTokens, ReplyTokens: r.ReplyTokens, CitationsDropped: dropped}, nil
}
