package engine

import "strings"

// maxCodeSpan bounds how far the end of a code span is looked for; it ends
// with its line anyway.
const maxCodeSpan = 1024

// maxFenceLine bounds the line that opens or closes a block of code.
const maxFenceLine = 256

// markdownFilter passes an answer's Markdown on without what a reader's program
// would fetch or run by itself. A document can make a model write an image whose
// address carries a secret away, or quote one in an extractive answer: so images
// and HTML become plain text, by entities: readers do
// not all agree on what a backslash escapes. Links stay, since a reader has to
// follow them. Code stays as it is where it is certain to be code for every
// reader: in a block fenced at the start of a line, and in a span that closes on its
// line and is not in doubt.
//
// What it passes on is a function of the whole text, however it is cut into pieces.
type markdownFilter struct {
	out  func(string) error
	held string

	inLine  bool // not at the start of a line
	content bool // the line holds more than white space
	escaped bool // the last byte was a backslash that escapes
	// doubt says that since the last empty line there was something after which
	// a backtick may mean something else: an unclosed one, or the end of a bracket.
	doubt bool
	fence string // what opened the block of code we are in, without its words
	raw   bool   // the line opens or ends one: it goes out as it is
	// distrust says that readers may not agree any more on what is a block of code.
	distrust bool
	cr       bool // the last byte that came was a carriage return
}

func newMarkdownFilter(out func(string) error) *markdownFilter { return &markdownFilter{out: out} }

// cleanMarkdown is the filter for a whole text.
func cleanMarkdown(text string) string {
	var b strings.Builder
	f := newMarkdownFilter(func(s string) error { b.WriteString(s); return nil })
	_ = f.write(text) // a strings.Builder takes everything
	_ = f.close()
	return b.String()
}

// write takes the next piece. Line ends become "\n": on others readers do not agree.
func (f *markdownFilter) write(s string) error {
	if f.cr {
		s, f.cr = strings.TrimPrefix(s, "\n"), s == ""
	}
	if strings.IndexByte(s, '\r') >= 0 {
		f.cr = strings.HasSuffix(s, "\r")
		s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	}
	return f.pass(s, false)
}

// close passes on what was held back at the end.
func (f *markdownFilter) close() error { return f.pass("", true) }

func (f *markdownFilter) pass(s string, last bool) error {
	f.held += s
	var b strings.Builder
	rest := f.held
	for rest != "" {
		n := f.next(rest, last, &b)
		if n == 0 {
			break // what comes next decides
		}
		rest = rest[n:]
	}
	f.held = rest
	if b.Len() == 0 {
		return nil
	}
	return f.out(b.String())
}

// next writes what the beginning of s becomes and returns how much of it that
// is: 0 when that depends on what follows.
func (f *markdownFilter) next(s string, last bool, b *strings.Builder) int {
	if !f.inLine {
		switch known := f.fenceLine(s, last); {
		case !known:
			return 0
		case f.raw:
			f.inLine = true
		}
	}
	if f.raw || f.fence != "" || s[0] == '\n' {
		return f.line(s, b)
	}
	n := 1
	switch c := s[0]; {
	case len(s) == 1 && !last && strings.IndexByte("!<]", c) >= 0:
		return 0
	case c == '\\':
		f.escaped = !f.escaped
		b.WriteByte(c)
		f.inLine, f.content = true, true
		return 1
	case c == '!' && len(s) > 1 && s[1] == '[':
		n = f.image(s, last, b)
	case c == '<' && len(s) > 1 && tagStart(s[1]):
		b.WriteString("&lt;")
	case c == ']':
		f.doubt = f.doubt || len(s) > 1 && strings.IndexByte("([:", s[1]) >= 0
		b.WriteByte(c)
	case c == '`' && f.escaped:
		f.doubt = true
		b.WriteByte(c)
	case c == '`':
		n = f.span(s, last, b)
	default:
		if i := strings.IndexAny(s, "\\!<`]\n"); i > 0 {
			n = i
		} else if i < 0 {
			n = len(s)
		}
		b.WriteString(s[:n])
		f.content = f.content || strings.Trim(s[:n], " \t") != ""
		f.inLine, f.escaped = true, false
		return n
	}
	if n > 0 {
		f.inLine, f.content, f.escaped = true, true, false
	}
	return n
}

// tagStart reports whether "<" and c may begin a tag, a comment or an address.
func tagStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '/' || c == '!' || c == '?'
}

// line copies to the end of the line, or all there is of it.
func (f *markdownFilter) line(s string, b *strings.Builder) int {
	i := strings.IndexByte(s, '\n')
	if i < 0 {
		b.WriteString(s)
		f.inLine, f.content = true, true
		return len(s)
	}
	b.WriteString(s[:i+1])
	f.doubt = f.doubt && (f.content || i > 0)
	f.raw, f.inLine, f.content, f.escaped = false, false, false, false
	return i + 1
}

// image writes the beginning of an image as plain text. After an exclamation mark
// a citation gets a space instead: "It works![1]".
func (f *markdownFilter) image(s string, last bool, b *strings.Builder) int {
	i := 2
	for i < len(s) && i < 6 && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	switch {
	case i == len(s) && !last:
		return 0
	case i > 2 && i < len(s) && s[i] == ']':
		b.WriteString("! ")
		return 1
	}
	b.WriteString("!&#91;")
	return 2
}

// span passes a span of code on, or its backticks alone when it is none or may be
// none.
func (f *markdownFilter) span(s string, last bool, b *strings.Builder) int {
	n := runOf(s, '`')
	if n >= maxCodeSpan { // the rest of so long a run is another one
		n = maxCodeSpan
	} else if n == len(s) && !last {
		return 0
	}
	at := n
	for at < min(len(s), maxCodeSpan) && s[at] != '\n' {
		if s[at] != '`' {
			at++
			continue
		}
		k := runOf(s[at:], '`')
		if k <= n && at+k == len(s) && !last {
			return 0
		}
		if k == n {
			// A backtick in doubt may be another's, and a cell of a table ends at a bar.
			if inside := s[n:at]; live(inside) && (f.doubt || f.distrust || strings.Contains(inside, "|")) {
				break
			}
			b.WriteString(s[:at+k])
			return at + k
		}
		at += k
	}
	if at == len(s) && at < maxCodeSpan && !last {
		return 0
	}
	f.doubt = true
	b.WriteString(s[:n])
	return n
}

// live reports whether a text would be more than text outside of code.
func live(s string) bool {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '!' && s[i+1] == '[' || s[i] == '<' && tagStart(s[i+1]) {
			return true
		}
	}
	return false
}

func runOf(s string, c byte) (n int) {
	for n < len(s) && s[n] == c {
		n++
	}
	return n
}

// fenceLine looks at the beginning of a line, and reports whether enough of it is
// there to know if it opens or ends a block of code; it is then raw.
//
// A block is opened and ended at the start of a line alone, where every reader
// sees it so. A mark elsewhere, in a list or a quotation, may open or end one for
// some of them: from there on nothing counts as a block of code any more.
func (f *markdownFilter) fenceLine(s string, last bool) (known bool) {
	if f.distrust {
		return true
	}
	s, last = s[:min(len(s), maxFenceLine)], last || len(s) >= maxFenceLine
	long := last && len(s) == maxFenceLine
	ended := false
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		s, ended, long = s[:i], true, false
	}
	t := strings.TrimLeft(s, " \t>*+-0123456789.)")
	if t == "" {
		f.distrust = long
		return last || ended
	}
	n := runOf(t, t[0])
	switch {
	case t[0] != '`' && t[0] != '~', n < 3 && (n < len(t) || ended):
		return true
	case !ended && !last:
		return false
	case n < 3:
		return true
	}
	words := strings.Trim(t[n:], " \t")
	switch {
	case f.fence == "" && len(t) == len(s) && !long && (t[0] == '~' || !strings.Contains(words, "`")):
		f.fence, f.raw = s[:n], true
	case f.fence == "":
		f.distrust = true
	case words != "", t[0] != f.fence[0], n < len(f.fence):
	case long || len(t) != len(s):
		f.fence, f.distrust = "", true
	default:
		f.fence, f.doubt, f.raw = "", false, true
	}
	return true
}
