package parse

import (
	"slices"
	"strings"
	"unicode/utf8"

	"alcove/engine"
)

// draft is a document's text in the making: lines under headings in places. Its
// methods do nothing once the text is over its limit, which done reports.
type draft struct {
	limits   Limits
	buf      []byte
	marks    []mark
	path     []heading
	place    engine.Place
	base     []string // stands before every path
	title    string
	warnings []string
	moved    bool // the next write begins a block
	full     bool
}

// mark says where the text goes on under another heading or in another place.
type mark struct {
	at      int
	heading []string
	place   engine.Place
}

func newDraft(l Limits) *draft { return &draft{limits: l, moved: true} }

// warn notes what of the file is not in the text, once.
func (t *draft) warn(s string) {
	for _, w := range t.warnings {
		if w == s {
			return
		}
	}
	if len(t.warnings) < maxWarnings {
		t.warnings = append(t.warnings, s)
	}
}

const maxWarnings = 20

// at moves to another page, slide or sheet, whose headings are its own.
func (t *draft) at(p engine.Place) {
	t.place, t.path, t.moved = p, nil, true
}

// section opens a section that has no heading in the file, as the notes of one.
func (t *draft) section(name string) {
	t.path, t.moved = nil, true
	t.heading(1, name)
}

// heading opens a section. Level 0 is a title, above all others.
func (t *draft) heading(level int, s string) {
	s = oneLine(s)
	if s == "" {
		return
	}
	for len(t.path) > 0 && t.path[len(t.path)-1].level >= level {
		t.path = t.path[:len(t.path)-1]
	}
	t.path = append(t.path[:len(t.path):len(t.path)], heading{level: level, text: s[:runesWithin(s, maxHeadingBytes)]})
	t.moved = true
	t.blank()
	t.write(strings.Repeat("#", max(1, min(level, 6))) + " " + s + "\n")
}

// line writes one line; nothing where there is none.
func (t *draft) line(s string) {
	if s = strings.TrimRight(s, " \t\r\n"); strings.TrimSpace(s) != "" {
		t.write(s + "\n")
	}
}

// blank ends a paragraph.
func (t *draft) blank() {
	if n := len(t.buf); n > 0 && !t.moved && !(n > 1 && t.buf[n-1] == '\n' && t.buf[n-2] == '\n') {
		t.write("\n")
	} else if n > 1 && t.moved && t.buf[n-2] != '\n' {
		t.buf = append(t.buf, '\n') // belongs to what is left
	}
}

// takeBack removes the heading that was just written, under which nothing came.
func (t *draft) takeBack() {
	if n := len(t.marks); n > 0 {
		t.buf, t.marks = t.buf[:t.marks[n-1].at], t.marks[:n-1]
		t.moved = true
	}
}

func (t *draft) write(s string) {
	if t.full || s == "" {
		return
	}
	s = cleaned(s)
	if len(t.buf)+len(s) > t.limits.TextBytes {
		t.full = true
		return
	}
	if t.moved {
		names := append([]string(nil), t.base...)
		for _, h := range t.path {
			names = append(names, h.text)
		}
		t.marks = append(t.marks, mark{len(t.buf), names, t.place})
		t.moved = false
	}
	t.buf = append(t.buf, s...)
}

// include takes another document's text in, under a name.
func (t *draft) include(name string, p *engine.Parsed) {
	for _, b := range p.Blocks {
		base := append([]string{name}, b.Heading...)
		t.moved = t.moved || t.place != b.Place || !slices.Equal(t.base, base)
		t.base, t.path, t.place = base, nil, b.Place
		t.write(b.Text)
		if p.Text == "" && !strings.HasSuffix(b.Text, "\n") {
			t.write("\n")
		}
	}
	t.base = nil
	t.at(engine.Place{})
	for _, w := range p.Warnings {
		t.warn(name + ": " + w)
	}
}

// err is engine.ErrTooLarge once the text is over its limit.
func (t *draft) err() error {
	if t.full {
		return tooLarge("the text is larger than %d bytes", t.limits.TextBytes)
	}
	return nil
}

// done returns the document. One without any text has none at all, and says why in
// its warnings.
func (t *draft) done() (*engine.Parsed, error) {
	if err := t.err(); err != nil {
		return nil, err
	}
	all := string(t.buf)
	p := &engine.Parsed{Title: oneLine(t.title), Verbatim: true, Warnings: t.warnings}
	if strings.TrimSpace(all) == "" {
		if len(p.Warnings) == 0 {
			p.Warnings = []string{"there is no text in it"}
		}
		return p, nil
	}
	p.Text = all
	for i, m := range t.marks {
		end := len(all)
		if i+1 < len(t.marks) {
			end = t.marks[i+1].at
		}
		if m.at < end {
			p.Blocks = append(p.Blocks, engine.Block{Text: all[m.at:end], Start: m.at, End: end, Heading: m.heading, Place: m.place})
		}
	}
	return p, nil
}

// row is a line of a table.
func row(cells []string) string {
	var b strings.Builder
	some := false
	for _, c := range cells {
		c = oneLine(c)
		some = some || c != ""
		b.WriteString("| " + c + " ")
	}
	if !some {
		return ""
	}
	return b.String() + "|"
}

// maxSpan bounds how many cells one merged cell covers.
const maxSpan = 100

// repeated is what stands in the further cells that a merged cell covers: its text,
// so that each row can be read alone, where it is a short one.
func repeated(s string) string {
	if len(s) > 80 {
		return ""
	}
	return s
}

// headerEvery is after how much of a table its first row is repeated, so that a
// piece of a long table says what its columns are.
const headerEvery = 3000

// table writes the rows of a table. Its first row comes again in a long one if it
// can be a header: words in every column.
type table struct {
	t      *draft
	header string
	rows   int
	size   int
}

func (tb *table) row(cells []string) {
	s := row(cells)
	if s == "" {
		return
	}
	if tb.rows++; tb.rows == 1 && isHeader(cells) && len(s) < headerEvery/4 {
		tb.header = s
	}
	if tb.size > headerEvery && tb.header != "" {
		tb.size = 0
		tb.t.blank()
		tb.t.line(tb.header)
	}
	tb.size += len(s)
	tb.t.line(s)
}

func isHeader(cells []string) bool {
	if len(cells) < 2 {
		return false
	}
	for _, c := range cells {
		if !strings.ContainsFunc(c, func(r rune) bool { return r >= 'A' && !strings.ContainsRune("[]{}^_`|~", r) }) {
			return false
		}
	}
	return true
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// cleaned is a text without control characters and marks that are no text. Line ends
// are those of Unix.
func cleaned(s string) string {
	ok := true
	for i := 0; i < len(s) && ok; i++ {
		c := s[i]
		ok = c >= ' ' && c < 0x7f || c == '\n' || c == '\t'
	}
	if ok {
		return s
	}
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\r', r == '\v', r == '\f', r == 0x85, r == 0x2028, r == 0x2029:
			return '\n'
		case r < ' ', r >= 0x7f && r < 0xa0, r == 0xad, r == 0xfeff, r >= 0xfff0 && r < 0xfffd, r&0xfffe == 0xfffe, r == utf8.MaxRune:
			return -1
		case r == 0xa0, r == 0x202f:
			return ' '
		}
		return r
	}, s)
}
