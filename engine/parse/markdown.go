package parse

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"alcove/engine"
)

// maxHeadingBytes bounds one heading in a path; the whole line stays in the text.
const maxHeadingBytes = 256

// maxTreeBytes is how much Markdown is parsed into one tree: at about 6 bytes of
// tree for a byte of text, more would be a matter of memory. What is longer is
// parsed in parts that begin at a line like a heading.
const maxTreeBytes = 4 << 20

// blocksOnly finds the headings of the document itself. Lists and quotations are
// paragraphs to it, as nothing in them is a section: so a tree has no depth that
// a line of a million ">" could give it. Emphasis, links and code spans, which
// take most of the time, are read by inline in the text of a heading alone.
var (
	blocksOnly = parser.NewParser(parser.WithBlockParsers(
		util.Prioritized(parser.NewSetextHeadingParser(), 100),
		util.Prioritized(parser.NewThematicBreakParser(), 200),
		util.Prioritized(parser.NewCodeBlockParser(), 500),
		util.Prioritized(parser.NewATXHeadingParser(), 600),
		util.Prioritized(parser.NewFencedCodeBlockParser(), 700),
		util.Prioritized(parser.NewHTMLBlockParser(), 900),
		util.Prioritized(parser.NewParagraphParser(), 1000),
	))
	inline = parser.NewParser(
		parser.WithBlockParsers(util.Prioritized(parser.NewParagraphParser(), 1000)),
		parser.WithInlineParsers(parser.DefaultInlineParsers()...),
	)
	// contained begins a line of a list, a quotation or a table: a rule under it
	// does not make it a heading.
	contained = regexp.MustCompile(`^ {0,3}([-+*>|]|[0-9]{1,9}[.)])`)
)

// heading is one heading of the document itself, not of a quotation or a list.
type heading struct {
	at    int // where its first line begins
	level int
	text  string
}

// markdown cuts src at its headings. offset is where src begins in the file.
func markdown(src []byte, offset int) *engine.Parsed {
	p := &engine.Parsed{Verbatim: true}
	matter, title := frontMatter(src)
	p.Title = title
	all := string(src)
	var heads []heading
	for at := matter; at < len(src); {
		end := treeEnd(src, at)
		heads = appendHeadings(heads, src[at:end], at)
		at = end
	}
	add := func(start, end int, path []string) {
		if start < end {
			p.Blocks = append(p.Blocks, engine.Block{Text: all[start:end], Start: offset + start, End: offset + end, Heading: path})
		}
	}
	first := len(src)
	if len(heads) > 0 {
		first = heads[0].at
	}
	add(0, first, nil)
	var path []heading
	for i, h := range heads {
		for len(path) > 0 && path[len(path)-1].level >= h.level {
			path = path[:len(path)-1]
		}
		path = append(path, h)
		end := len(src)
		if i+1 < len(heads) {
			end = heads[i+1].at
		}
		names := make([]string, 0, len(path))
		for _, h := range path {
			names = append(names, h.text)
		}
		add(h.at, end, names)
		if p.Title == "" && h.level == 1 {
			p.Title = h.text
		}
	}
	return p
}

// treeEnd returns where the part that begins at at ends.
func treeEnd(src []byte, at int) int {
	if len(src)-at <= maxTreeBytes {
		return len(src)
	}
	part := src[at : at+maxTreeBytes]
	for _, mark := range []string{"\n# ", "\n## ", "\n### ", "\n\n", "\n"} {
		if i := bytes.LastIndex(part, []byte(mark)); i > maxTreeBytes/2 {
			return at + i + 1
		}
	}
	return at + runesWithin(src[at:], maxTreeBytes)
}

func appendHeadings(heads []heading, src []byte, at int) []heading {
	root := blocksOnly.Parse(text.NewReader(src))
	for n := root.FirstChild(); n != nil; n = n.NextSibling() {
		h, ok := n.(*ast.Heading)
		if !ok || h.Lines().Len() == 0 {
			continue // "#" alone names nothing
		}
		start := bytes.LastIndexByte(src[:h.Lines().At(0).Start], '\n') + 1
		if contained.Match(src[start:]) {
			continue
		}
		name := headingText(h.Lines().Value(src))
		if name == "" {
			continue
		}
		heads = append(heads, heading{at: at + start, level: h.Level, text: name})
	}
	return heads
}

// headingText returns a heading without its marks of emphasis, links and code.
func headingText(raw []byte) string {
	raw = raw[:runesWithin(raw, 4*maxHeadingBytes)]
	var b strings.Builder
	root := inline.Parse(text.NewReader(raw))
	_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Text:
			b.Write(n.Segment.Value(raw))
			if n.SoftLineBreak() || n.HardLineBreak() {
				b.WriteByte(' ')
			}
		case *ast.String:
			b.Write(n.Value)
		case *ast.AutoLink:
			b.Write(n.Label(raw))
		}
		return ast.WalkContinue, nil
	})
	name := strings.Join(strings.Fields(b.String()), " ")
	return name[:runesWithin(name, maxHeadingBytes)]
}

// runesWithin returns how many of at most n bytes of s hold whole runes.
func runesWithin[S string | []byte](s S, n int) int {
	if len(s) <= n {
		return len(s)
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return n
}

// frontMatter returns the length of the block of settings that a file may begin
// with, between lines of "---" (YAML) or "+++" (TOML), and the title in it.
func frontMatter(src []byte) (length int, title string) {
	fence, rest, ok := bytes.Cut(src, []byte("\n"))
	fence = bytes.TrimRight(fence, " \r")
	if !ok || string(fence) != "---" && string(fence) != "+++" {
		return 0, ""
	}
	for len(rest) > 0 {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		rest = after
		if trimmed := bytes.TrimRight(line, " \r"); bytes.Equal(trimmed, fence) || string(fence) == "---" && string(trimmed) == "..." {
			return len(src) - len(rest), title
		}
		key, value, ok := strings.Cut(string(line), map[string]string{"---": ":", "+++": "="}[string(fence)])
		if ok && title == "" && strings.EqualFold(strings.TrimRight(key, " "), "title") {
			title = unquote(strings.TrimSpace(value))
		}
	}
	return 0, "" // never closed: a rule and text
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		s = s[1 : len(s)-1]
	}
	return s[:runesWithin(s, maxHeadingBytes)]
}
