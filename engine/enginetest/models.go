package enginetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"alcove/engine"
)

// Parser reads plain text as one block and refuses what is none. A text that
// says "panic in the parser" makes it panic.
var Parser = engine.Parser{
	Sniff: func(name string, data []byte) (engine.FileType, error) {
		text := engine.FileType{Media: "text/plain", Text: true}
		switch {
		case name != "" && !strings.HasSuffix(name, ".txt"):
			return text, fmt.Errorf("%w: %s; .txt is read", engine.ErrUnsupportedType, name)
		case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
			return text, fmt.Errorf("%w: not UTF-8 or with NUL bytes", engine.ErrNotText)
		case len(bytes.TrimSpace(data)) == 0:
			return text, engine.ErrEmptyDocument
		}
		return text, nil
	},
	Parse: func(_ context.Context, f engine.File) (*engine.Parsed, error) {
		data := f.Data
		if bytes.Contains(data, []byte("panic in the parser")) {
			panic("as the text says")
		}
		return &engine.Parsed{Blocks: []engine.Block{{Text: string(data), End: len(data)}}, Verbatim: true}, nil
	},
}

// Script is what a scripted model does at each call beside its work.
type Script struct {
	// Before is called with the number of the call, from 1, and what is asked; its
	// error is the call's. It may wait, for ctx at the longest.
	Before func(ctx context.Context, n int, asked string) error

	calls atomic.Int64
	mu    sync.Mutex
	seen  []string
}

// Calls is how many calls there were.
func (s *Script) Calls() int { return int(s.calls.Load()) }

// Asked is what the calls that were not refused were about, in order of their end.
func (s *Script) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...)
}

func (s *Script) call(ctx context.Context, asked string) error {
	n := int(s.calls.Add(1))
	if s.Before != nil {
		if err := s.Before(ctx, n, asked); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.seen = append(s.seen, asked)
	s.mu.Unlock()
	return ctx.Err()
}

// Gate holds calls until it is opened.
type Gate struct {
	arrived, open chan struct{}
	once          sync.Once
}

// NewGate returns a closed gate.
func NewGate() *Gate { return &Gate{arrived: make(chan struct{}, 1000), open: make(chan struct{})} }

// Hold is for Script.Before.
func (g *Gate) Hold(ctx context.Context, _ int, _ string) error {
	g.arrived <- struct{}{}
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Arrived waits until one more call stands at the gate.
func (g *Gate) Arrived() { <-g.arrived }

// Open lets everybody through, from now on.
func (g *Gate) Open() { g.once.Do(func() { close(g.open) }) }

// Embedder gives bags of hashed words: equal texts have equal vectors, texts with
// common words similar ones.
type Embedder struct {
	Script
	Dimension int    // 16
	Name      string // "scripted"
}

// Embed implements engine.Embedder.
func (e *Embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	if err := e.call(ctx, strings.Join(texts, "\n")); err != nil {
		return nil, err
	}
	dim := cmp.Or(e.Dimension, 16)
	out := make([][]float32, len(texts))
	for i, t := range texts {
		v := make([]float32, dim)
		v[0] = 0.01
		for _, w := range strings.FieldsFunc(strings.ToLower(t), notWord) {
			h := fnv.New32a()
			h.Write([]byte(w))
			v[int(h.Sum32())%dim]++
		}
		out[i] = v
	}
	return out, nil
}

// Model implements engine.Embedder.
func (e *Embedder) Model() string {
	if e.Name == "" {
		return "scripted"
	}
	return e.Name
}

// Pure implements engine.Embedder.
func (e *Embedder) Pure() bool { return true }

func notWord(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }

// Extractor takes every capitalised word for an entity and relates each to the
// next one.
type Extractor struct {
	Script
	Name string // "scripted"
}

// Extract implements engine.Extractor.
func (e *Extractor) Extract(ctx context.Context, p engine.Passage) (engine.Extraction, error) {
	if err := e.call(ctx, p.Text); err != nil {
		return engine.Extraction{}, err
	}
	var x engine.Extraction
	seen := map[string]bool{}
	last := ""
	for _, w := range strings.FieldsFunc(p.Text, notWord) {
		if r, _ := utf8.DecodeRuneInString(w); !unicode.IsUpper(r) {
			continue
		}
		if !seen[w] {
			x.Entities = append(x.Entities, engine.EntityMention{Name: w, Type: "word", Description: w + " is a word of the text."})
			seen[w] = true
		}
		if last != "" && last != w {
			x.Relations = append(x.Relations, engine.RelationMention{
				Source: last, Target: w, Keywords: "next", Description: last + " comes before " + w + ".", Weight: 1,
			})
		}
		last = w
	}
	return x, nil
}

// Identity implements engine.Extractor.
func (e *Extractor) Identity() string {
	if e.Name == "" {
		return "scripted"
	}
	return e.Name
}

// Answerer answers with the number of passages it was given, citing the first.
type Answerer struct{}

// Answer implements engine.Answerer.
func (Answerer) Answer(_ context.Context, q engine.AnswerRequest, onDelta func(string) error) (engine.AnswerReply, error) {
	text := "No passage says anything of it."
	if len(q.Chunks) > 0 {
		text = fmt.Sprintf("%d passages speak of it [%s].", len(q.Chunks), q.Chunks[0].ReferenceID)
	}
	if onDelta != nil {
		for _, w := range strings.SplitAfter(text, " ") {
			if err := onDelta(w); err != nil {
				return engine.AnswerReply{}, err
			}
		}
	}
	return engine.AnswerReply{Text: text}, nil
}

// Model implements engine.Answerer.
func (Answerer) Model() string { return "none" }

// Chatter answers with what Reply returns.
type Chatter struct {
	Script
	Name  string // "scripted-chat"
	Reply func(r engine.ChatRequest) (string, error)
}

// Chat implements engine.Chatter.
func (c *Chatter) Chat(ctx context.Context, r engine.ChatRequest, onDelta func(string) error) (engine.ChatReply, error) {
	var asked strings.Builder
	asked.WriteString(r.System)
	for _, m := range r.Messages {
		asked.WriteString("\n" + m.Content)
	}
	if err := c.call(ctx, asked.String()); err != nil {
		return engine.ChatReply{}, err
	}
	text, err := c.Reply(r)
	if err == nil && onDelta != nil {
		for _, w := range strings.SplitAfter(text, " ") {
			if err := onDelta(w); err != nil {
				return engine.ChatReply{}, err
			}
		}
	}
	return engine.ChatReply{Text: text, PromptTokens: asked.Len() / 4, ReplyTokens: len(text) / 4}, err
}

// Model implements engine.Chatter.
func (c *Chatter) Model() string { return cmp.Or(c.Name, "scripted-chat") }
