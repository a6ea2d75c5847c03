package builtin

import (
	"context"
	"strings"
	"unicode/utf8"

	"alcove/engine"
)

// What an answer says when there is nothing to quote.
const (
	noEvidence = "No passage for this question was found in the knowledge base."
	noSentence = "The passages that were found share no words with the question. The closest one begins:"
)

const (
	// maxAnswerChunks, maxAnswerSentences and maxScoredBytes bound what is read
	// of the evidence: its best chunks, of each its first sentences, of each
	// sentence its start.
	maxAnswerChunks, maxAnswerSentences, maxScoredBytes = 12, 400, 2000
	// maxQuestionTerms bounds the words of a question that count.
	maxQuestionTerms = 64
	// maxQuoteBytes is where a quoted sentence is cut; cutMark says so.
	maxQuoteBytes = 700
	cutMark       = " […]"
)

// Answerer returns an answerer that writes nothing of its own: it quotes the
// sentences of the evidence that speak to the question best, byte for byte, each
// with the reference it is from. ResponseType chooses their number and form:
// one paragraph, bullet points, or (by default) a paragraph for each source.
// UserPrompt and History have no effect. Model is "none". Safe for concurrent
// use; it fails only with ctx's error or onDelta's.
func Answerer() engine.Answerer { return answerer{} }

type answerer struct{}

func (answerer) Model() string { return "none" }

func (answerer) Answer(ctx context.Context, q engine.AnswerRequest, onDelta func(string) error) (engine.AnswerReply, error) {
	f := formOf(q.ResponseType)
	quotes, err := choose(ctx, q, f.sentences)
	if err != nil {
		return engine.AnswerReply{}, err
	}
	var text strings.Builder
	say := func(s string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		text.WriteString(s)
		if onDelta == nil {
			return nil
		}
		return onDelta(s)
	}
	lead := ""
	if len(quotes) == 0 {
		lead = noEvidence
		if first, ok := opening(q.Chunks); ok {
			lead, quotes = noSentence+" ", []quote{first}
			f = form{sentences: 1}
		}
		if err := say(lead); err != nil {
			return engine.AnswerReply{}, err
		}
	}
	for i, s := range quotes {
		if err := say(f.between(i, quotes) + s.text + " [" + s.reference + "]"); err != nil {
			return engine.AnswerReply{}, err
		}
	}
	return engine.AnswerReply{Text: text.String()}, nil
}

// quote is one sentence of an answer.
type quote struct {
	text, reference string
	chunk, sentence int // where it stands; an answer goes source by source, in order of the text
}

// form is how an answer is laid out.
type form struct {
	sentences  int
	bullets    bool
	paragraphs bool // one for each source
}

// formOf reads LightRAG's response types, which are free text.
func formOf(responseType string) form {
	t := strings.ToLower(responseType)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(t, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("bullet", "list", "points"):
		return form{sentences: 5, bullets: true}
	case has("single sentence", "one sentence"):
		return form{sentences: 1}
	case has("single", "one paragraph", "short", "brief", "concise"):
		return form{sentences: 3}
	}
	return form{sentences: 6, paragraphs: true}
}

// between is what stands in front of quote i.
func (f form) between(i int, q []quote) string {
	switch {
	case f.bullets && i == 0:
		return "- "
	case f.bullets:
		return "\n- "
	case i == 0:
		return ""
	case f.paragraphs && q[i].reference != q[i-1].reference:
		return "\n\n"
	}
	return " "
}

// opening quotes the start of the best chunk that has a sentence.
func opening(chunks []engine.EvidenceChunk) (quote, bool) {
	for _, c := range chunks {
		text := c.Text[:min(len(c.Text), maxScoredBytes)]
		if s := engine.Sentences(text); len(s) > 0 {
			return quote{text: cut(text[s[0].Start:s[0].End]), reference: c.ReferenceID}, true
		}
	}
	return quote{}, false
}

// cut shortens a quotation at white space and says so.
func cut(s string) string {
	s = strings.TrimSpace(s)
	if len(s) <= maxQuoteBytes {
		return s
	}
	n := maxQuoteBytes
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	if i := strings.LastIndexAny(s[:n], " \n\t"); i > maxQuoteBytes/2 {
		n = i
	}
	return strings.TrimSpace(s[:n]) + cutMark
}
