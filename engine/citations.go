package engine

import (
	"regexp"
	"strings"
)

// citationFilter passes an answer on without citations of what was not in its
// context: models invent ids, and they copy the footnotes of a passage, which
// read as citations. [7] goes with the space before it, [1, 7] becomes [1], and
// an entry of the list of references, "- [7] a name", goes whole. Code stays as
// it is, and so do numbers of more than three digits, which are years.
type citationFilter struct {
	out   func(string) error
	known map[string]bool

	begin   bool   // nothing of the line but white space and a list mark so far
	held    []byte // white space and a list mark, and what may become a citation
	bracket int    // where in held it begins, -1 when it does not
	dropped bool   // a citation went after held
	skip    bool   // the rest of the line goes
	removed int    // ids that went
	ticks   int    // backticks in a row
	code    int    // backticks that opened the code we are in
}

// maxCitationBytes bounds what is held back for a list of ids.
const maxCitationBytes = 64

var (
	citedIDs  = regexp.MustCompile(`^\s*\d{1,3}\s*(?:,\s*\d{1,3}\s*)*$`)
	entryMark = regexp.MustCompile(`^[ \t]*(?:[-*+]|\d{1,3}[.)])[ \t]+$`)
)

func newCitationFilter(chunks []EvidenceChunk, out func(string) error) *citationFilter {
	f := &citationFilter{out: out, known: map[string]bool{}, begin: true, bracket: -1}
	for _, c := range chunks {
		f.known[c.ReferenceID] = true
	}
	return f
}

// onlyKnown is the filter for a whole answer; removed counts the ids that went.
func onlyKnown(text string, chunks []EvidenceChunk) (known string, removed int) {
	var b strings.Builder
	f := newCitationFilter(chunks, func(s string) error { b.WriteString(s); return nil })
	// A strings.Builder takes everything.
	_ = f.write(text)
	_ = f.close()
	return b.String(), f.removed
}

func (f *citationFilter) write(s string) error {
	var b strings.Builder
	for i := range len(s) {
		f.next(s[i], &b)
	}
	if b.Len() == 0 {
		return nil
	}
	return f.out(b.String())
}

// close passes on what was held back at the end of the answer.
func (f *citationFilter) close() error {
	var b strings.Builder
	if !f.dropped {
		f.flush(&b)
	}
	if b.Len() == 0 {
		return nil
	}
	return f.out(b.String())
}

func (f *citationFilter) flush(b *strings.Builder) {
	b.Write(f.held)
	f.held, f.bracket, f.dropped = f.held[:0], -1, false
}

func (f *citationFilter) next(c byte, b *strings.Builder) {
	if f.skip {
		f.skip = c != '\n'
		return
	}
	if c != '`' && f.ticks > 0 {
		f.fence()
	}
	if f.bracket >= 0 {
		switch {
		case c == ']':
			f.end(b)
			return
		case (c >= '0' && c <= '9' || c == ',' || c == ' ') && len(f.held)-f.bracket < maxCitationBytes:
			f.held = append(f.held, c)
			return
		}
		f.flush(b)
		f.begin = false
	}
	switch {
	case c == '\n':
		if !f.dropped {
			b.Write(f.held)
		}
		f.held, f.dropped, f.begin = f.held[:0], false, true
		if f.code < 3 { // only a fence goes over lines
			f.code = 0
		}
		b.WriteByte(c)
	case c == '`':
		f.ticks++
		f.flush(b)
		f.begin = false
		b.WriteByte(c)
	case f.code > 0:
		b.WriteByte(c)
	case c == '[':
		f.bracket = len(f.held)
		f.held = append(f.held, c)
	case c == ' ' || c == '\t':
		if !f.dropped { // the space before stands for both
			f.held = append(f.held, c)
		} else if len(f.held) == 0 && !f.begin {
			f.held, f.dropped = append(f.held, c), false
		}
	case f.begin && !f.dropped && strings.IndexByte("-*+.)0123456789", c) >= 0 && len(f.held) < maxCitationBytes:
		f.held = append(f.held, c)
	default:
		if f.dropped && strings.IndexByte(".,;:!?)", c) >= 0 {
			f.held = f.held[:0]
		}
		f.flush(b)
		f.begin = false
		b.WriteByte(c)
	}
}

// fence ends a run of backticks.
func (f *citationFilter) fence() {
	switch {
	case f.code == 0:
		f.code = f.ticks
	case f.ticks == f.code, f.code >= 3 && f.ticks > f.code:
		f.code = 0
	}
	f.ticks = 0
}

// end decides about the bracket that has closed.
func (f *citationFilter) end(b *strings.Builder) {
	before, inside := string(f.held[:f.bracket]), string(f.held[f.bracket+1:])
	var ids []string
	unknown := 0
	if citedIDs.MatchString(inside) {
		for id := range strings.SplitSeq(inside, ",") {
			if id = strings.TrimSpace(id); f.known[id] {
				ids = append(ids, id)
			} else {
				unknown++
			}
		}
	}
	f.removed += unknown
	switch {
	case unknown == 0:
		f.held = append(f.held, ']')
		f.flush(b)
		f.begin = false
	case len(ids) > 0:
		f.held = append(f.held[:0], before+"["+strings.Join(ids, ", ")+"]"...)
		f.flush(b)
		f.begin = false
	case f.begin && entryMark.MatchString(before):
		f.held, f.bracket, f.skip = f.held[:0], -1, true
	default:
		f.held, f.bracket, f.dropped = f.held[:f.bracket], -1, true
	}
}
