package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// leastPart is a text of so few bytes that no embedding model refuses it for
// its length; one that does is refused for good.
const leastPart = 64

// embedTexts returns one vector for each text, in order. A text that is longer
// than the window of the model is embedded in halves, again and again until they
// fit, and its vector is the mean direction of its parts, each weighted by its
// length: nothing of the text is left out, and the vector is a function of the
// text alone, whatever it was sent together with. Errors are those of
// Embedder.Embed; vectors that no search could use are one too.
func (e *Engine) embedTexts(ctx context.Context, m Embedder, u urgency, texts []string) ([][]float32, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	return e.embedLate(ctx, m, u, func() []string { return texts })
}

// embedLate is embedTexts of what take returns when the model has a place for the call.
func (e *Engine) embedLate(ctx context.Context, m Embedder, u urgency, take func() []string) ([][]float32, error) {
	var texts []string
	var vectors [][]float32
	call := func() (err error) {
		defer recovered(&err, "embedding")
		defer func(start time.Time) { e.meter.embeddings.observe(time.Since(start)) }(time.Now())
		texts = take()
		vectors, err = m.Embed(ctx, texts)
		if err == nil {
			err = checkVectors(m.Model(), vectors, len(texts), 0)
		}
		return err
	}
	var err error
	if m.Pure() {
		err = call() // no server to spare
	} else {
		err = e.model(ctx, u, call)
	}
	if !errors.Is(err, ErrPromptTooLong) {
		return vectors, err
	}
	if len(texts) > 1 { // which one is it?
		left, err := e.embedTexts(ctx, m, u, texts[:len(texts)/2])
		if err != nil {
			return nil, err
		}
		right, err := e.embedTexts(ctx, m, u, texts[len(texts)/2:])
		return append(left, right...), err
	}
	if len(texts[0]) <= leastPart {
		return nil, err
	}
	parts := halves(texts[0])
	if len(parts) == 0 { // white space alone
		return nil, err
	}
	vectors, err = e.embedTexts(ctx, m, u, parts)
	if err == nil { // they may come from two calls
		err = checkVectors(m.Model(), vectors, len(parts), 0)
	}
	if err != nil {
		return nil, err
	}
	v, err := meanDirection(vectors, parts)
	return [][]float32{v}, err
}

// halves cuts a text near its middle: before white space if there is some in the
// middle of it, so that a word keeps the space that a tokenizer reads with it,
// else between two runes. A half of white space is left out.
func halves(s string) []string {
	from, at := len(s)/4, len(s)/2
	for at > from && !utf8.RuneStart(s[at]) {
		at--
	}
	if i := strings.LastIndexFunc(s[from:at], unicode.IsSpace); i >= 0 {
		at = from + i
	}
	var out []string
	for _, h := range []string{s[:at], s[at:]} {
		if strings.TrimSpace(h) != "" {
			out = append(out, h)
		}
	}
	return out
}

// meanDirection is the unit vector of the sum of the directions of some
// vectors, weighted by the length of their texts.
func meanDirection(vectors [][]float32, texts []string) ([]float32, error) {
	sum := make([]float64, len(vectors[0]))
	for i, v := range vectors {
		scale := float64(len(texts[i])) / length(v)
		for j, x := range v {
			sum[j] += float64(x) * scale
		}
	}
	var n float64
	for _, x := range sum {
		n += x * x
	}
	n = math.Sqrt(n)
	out := make([]float32, len(sum))
	for j, x := range sum {
		out[j] = float32(x / n)
	}
	if !(n > 0) {
		return nil, fmt.Errorf("%w: the parts of a long text have opposite vectors", ErrModelRefused)
	}
	return out, nil
}

func length(v []float32) float64 {
	var n float64
	for _, x := range v {
		n += float64(x) * float64(x)
	}
	return math.Sqrt(n)
}

// directed reports whether v is finite and not all zero: it has a direction.
func directed(v []float32) bool {
	n := length(v)
	return n > 0 && !math.IsInf(n, 0)
}

// checkVectors holds an embedder to the promise of Embedder.Embed: as many
// vectors as texts, of dim numbers each (any, but the same, when dim is 0), each
// with a direction. The error names the embedder and wraps ErrModelDown: it does
// not do its work, and may when it is tried again.
func checkVectors(from string, vectors [][]float32, texts, dim int) error {
	if len(vectors) != texts {
		return fmt.Errorf("%w: %s: %d vectors for %d texts", ErrModelDown, from, len(vectors), texts)
	}
	for i, v := range vectors {
		if dim == 0 {
			dim = len(v)
		}
		if len(v) != dim || dim == 0 {
			return fmt.Errorf("%w: %s: vector %d has %d numbers instead of %d", ErrModelDown, from, i, len(v), dim)
		}
		if !directed(v) {
			return fmt.Errorf("%w: %s: vector %d has no direction", ErrModelDown, from, i)
		}
	}
	return nil
}
