package engine

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// chunkDocument cuts a document into chunks of at most size tokens, in order.
// Every byte of text that is not white space is in at least one chunk.
//
// Sections (blocks of one heading) are kept apart or packed whole. Neighbours
// are packed as long as they fit when they have the same parent or one is the
// parent of the other; the chunk's heading is then what their paths have in
// common, so that it is true of all of it. A section that does not fit is cut
// where its text allows it best (chunk_cut.go); such pieces overlap by whole
// sentences of about overlap tokens, or by words where a sentence is longer.
// There is no overlap from one section to another.
//
// With p.Verbatim a chunk's Text is the text's bytes Start..End. Otherwise
// Start..End spans the blocks it was made of. One rune of more than size tokens
// is the only chunk that may be larger than size. More than maxChunks chunks
// are ErrTooLarge, no text is ErrEmptyDocument.
func chunkDocument(p *Parsed, size, overlap, maxChunks int) ([]chunkRecord, error) {
	c := chunker{size: size, overlap: min(overlap, size-1), max: maxChunks, verbatim: p.Verbatim, blocks: p.Blocks}
	var group section
	for i := 0; i < len(p.Blocks); {
		next := i + 1
		for next < len(p.Blocks) && c.continues(p.Blocks[next-1], p.Blocks[next]) {
			next++
		}
		s := c.section(i, next)
		i = next
		if s.tokens == 0 {
			continue
		}
		if joined, ok := c.pack(group, s); ok {
			group = joined
			continue
		}
		if err := c.emit(group); err != nil {
			return nil, err
		}
		group = s
	}
	if err := c.emit(group); err != nil {
		return nil, err
	}
	if len(c.out) == 0 {
		return nil, ErrEmptyDocument
	}
	return c.out, nil
}

// section is text under one heading, or packed sections: the blocks from..to.
// Tokens is at least their number up to size, and above size beyond.
type section struct {
	from, to int
	heading  []string
	depth    int // of the deepest heading in it
	tokens   int
}

type chunker struct {
	size, overlap, max int
	verbatim           bool
	blocks             []Block
	out                []chunkRecord
}

// continues reports whether b goes on where a ends, under the same heading.
func (c *chunker) continues(a, b Block) bool {
	return slices.Equal(a.Heading, b.Heading) && a.Place == b.Place && (!c.verbatim || a.End == b.Start)
}

func (c *chunker) section(from, to int) section {
	heading := c.blocks[from].Heading
	s := section{from: from, to: to, heading: heading, depth: len(heading)}
	for _, b := range c.blocks[from:to] {
		if s.tokens > c.size {
			break // too big to be packed; how big does not matter
		}
		text := b.Text
		if strings.TrimSpace(text) == "" {
			continue
		}
		if cut := c.size * maxBytesPerToken; len(text) > cut {
			s.tokens = c.size + 1
			break
		}
		s.tokens += countTokens(text) + 1 // the line end between blocks
	}
	return s
}

// maxBytesPerToken is more than any token of o200k_base is long (128 spaces),
// so that a text of more bytes is known not to fit without counting it.
const maxBytesPerToken = 129

// pack joins two neighbouring sections, if their heading stays true and near.
func (c *chunker) pack(a, b section) (section, bool) {
	if a.tokens == 0 || a.tokens+b.tokens > c.size {
		return section{}, false
	}
	for i := a.to; i <= b.from; i++ { // blocks without text may lie between
		if x, y := c.blocks[i-1], c.blocks[i]; x.Place != y.Place || c.verbatim && x.End != y.Start {
			return section{}, false
		}
	}
	common := 0
	for common < min(len(a.heading), len(b.heading)) && a.heading[common] == b.heading[common] {
		common++
	}
	depth := max(a.depth, b.depth)
	if common < depth-1 {
		return section{}, false
	}
	return section{from: a.from, to: b.to, heading: a.heading[:common:common], depth: depth, tokens: a.tokens + b.tokens}, true
}

// span says where a piece of a section's text comes from.
type span struct{ at, start, end int }

// emit cuts a section into chunks.
func (c *chunker) emit(s section) error {
	if s.tokens == 0 {
		return nil
	}
	blocks := c.blocks[s.from:s.to]
	text := blocks[0].Text
	spans := []span{{0, blocks[0].Start, blocks[0].End}}
	if len(blocks) > 1 {
		var b strings.Builder
		spans = spans[:0]
		for i, block := range blocks {
			if i > 0 && !c.verbatim {
				b.WriteByte('\n')
			}
			spans = append(spans, span{b.Len(), block.Start, block.End})
			b.WriteString(block.Text)
		}
		text = b.String()
	}
	next, done := skipSpace(text, 0), 0
	for next < len(text) {
		start, end := c.cut(text, next, done)
		if err := c.add(s, text, spans, start, end); err != nil {
			return err
		}
		if skipSpace(text, end) == len(text) {
			return nil
		}
		next, done = c.next(text, start, end), end
	}
	return nil
}

func (c *chunker) add(s section, text string, spans []span, start, end int) error {
	if len(c.out) == c.max {
		return fmt.Errorf("%w: a document may have %d chunks", ErrTooLarge, c.max)
	}
	r := chunkRecord{Text: text[start:end], Place: c.blocks[s.from].Place, Heading: s.heading}
	r.Tokens = countTokens(r.Text)
	first := spanAt(spans, start)
	if c.verbatim {
		r.Start = spans[0].start + start // blocks of a section lie one after the other
		r.End = r.Start + len(r.Text)
	} else {
		r.Start, r.End = spans[first].start, spans[spanAt(spans, end-1)].end
	}
	c.out = append(c.out, r)
	return nil
}

// spanAt returns the index of the span that holds a position.
func spanAt(spans []span, at int) int {
	i, ok := slices.BinarySearchFunc(spans, at, func(s span, at int) int { return s.at - at })
	if ok {
		return i
	}
	return i - 1
}

func skipSpace(s string, i int) int {
	for i < len(s) {
		r, w := utf8.DecodeRuneInString(s[i:])
		if !unicode.IsSpace(r) {
			break
		}
		i += w
	}
	return i
}

func trimSpace(s string, start, end int) int {
	return start + len(strings.TrimRightFunc(s[start:end], unicode.IsSpace))
}
