package parse

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"alcove/engine"
)

// docx reads a Word document: its body, then footnotes, endnotes, comments, what
// diagrams and charts say, and last the texts of page headers and footers, each in a
// section of its own. What was deleted or moved away under tracked changes is left out.
func docx(ctx context.Context, a *archive) (*engine.Parsed, error) {
	main, err := a.mainPart(ctx, "word/document.xml")
	if err != nil {
		return nil, err
	}
	rels, err := a.relations(ctx, main)
	if err != nil {
		return nil, err
	}
	t := newDraft(a.limits)
	t.title = a.coreTitle(ctx, "docProps/core.xml")
	w := &wordReader{ctx: ctx, a: a, t: t, counters: map[string]*[9]int{}}
	styles := ofKind(rels, "styles")
	if len(styles) == 0 {
		styles = []string{path.Join(path.Dir(main), "styles.xml")}
	}
	if err := w.readStyles(styles[0]); err != nil {
		return nil, err
	}
	for _, p := range ofKind(rels, "numbering") {
		if err := w.readNumbering(p); err != nil {
			return nil, err
		}
	}
	x, err := a.need(ctx, main)
	if err != nil {
		return nil, err
	}
	if err := w.body(x); err != nil {
		return nil, err
	}
	for _, s := range []struct{ kind, title string }{
		{"footnotes", "Footnotes"}, {"endnotes", "Endnotes"}, {"comments", "Comments"},
	} {
		for _, p := range ofKind(rels, s.kind) {
			if err := w.extra(p, s.title); err != nil {
				return nil, err
			}
		}
	}
	drawings := append(ofKind(rels, "diagramData"), ofKind(rels, "chart")...)
	if len(drawings) > 0 {
		t.section("Diagrams")
		for _, p := range drawings {
			if err := a.drawingText(ctx, t, p); err != nil {
				return nil, err
			}
		}
	}
	seen := map[string]bool{}
	for _, p := range append(ofKind(rels, "header"), ofKind(rels, "footer")...) {
		if err := w.margin(p, seen); err != nil {
			return nil, err
		}
	}
	return t.done()
}

// wordReader reads the parts of one Word document.
type wordReader struct {
	ctx      context.Context
	a        *archive
	t        *draft
	styles   map[string]*wordStyle
	lists    map[string]*wordList // by number id
	counters map[string]*[9]int
	out      func(p wordParagraph, text string) // where paragraphs outside of tables go
	rows     func(cells []string)
}

// wordParagraph is what a paragraph says of itself.
type wordParagraph struct {
	style, list string
	level       int // of the list
	outline     int // 1..9, 0 for body text
	text        strings.Builder
}

// wordStyle is what a style says of its paragraphs.
type wordStyle struct {
	name, basedOn, list string
	level, outline      int
}

func (w *wordReader) body(x *xmlPart) error {
	tb := &table{t: w.t}
	inTable := false
	w.out = func(p wordParagraph, text string) {
		if inTable {
			w.t.blank()
			tb, inTable = &table{t: w.t}, false
		}
		outline, title, mark := w.describe(p)
		switch {
		case strings.TrimSpace(text) == "":
			w.t.blank()
		case title:
			if w.t.title == "" {
				w.t.title = text
			}
			w.t.heading(0, text)
		case outline > 0:
			w.t.heading(outline, mark+text)
		default:
			w.t.line(mark + text)
			if mark == "" {
				w.t.blank()
			}
		}
	}
	w.rows = func(cells []string) {
		inTable = true
		tb.row(cells)
	}
	return w.stream(x)
}

// extra reads footnotes, endnotes or comments.
func (w *wordReader) extra(part, title string) error {
	x, err := w.a.part(w.ctx, part)
	if err != nil || x == nil {
		return err
	}
	begun := false
	label := ""
	var lines []string
	w.out = func(_ wordParagraph, text string) { lines = append(lines, text) }
	w.rows = func(cells []string) { lines = append(lines, row(cells)) }
	for {
		tok, err := x.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "footnote", "endnote":
			if attr(e, "type") != "" && attr(e, "type") != "normal" { // separators
				if err := x.skip(); err != nil {
					return err
				}
				continue
			}
			label = "[" + attr(e, "id") + "]"
		case "comment":
			label = attr(e, "author") + ":"
		default:
			continue
		}
		lines = nil
		if err := w.element(x); err != nil {
			return err
		}
		if s := oneLine(strings.Join(lines, " ")); s != "" {
			if !begun {
				w.t.section(title)
				begun = true
			}
			w.t.line(strings.TrimSpace(label + " " + s))
		}
	}
}

// margin reads a page header or footer; each line of text comes once.
func (w *wordReader) margin(part string, seen map[string]bool) error {
	x, err := w.a.part(w.ctx, part)
	if err != nil || x == nil {
		return err
	}
	line := func(s string) {
		if s = oneLine(s); s != "" && !seen[s] {
			if len(seen) == 0 {
				w.t.section("Page headers and footers")
			}
			seen[s] = true
			w.t.line(s)
		}
	}
	w.out = func(_ wordParagraph, text string) { line(text) }
	w.rows = func(cells []string) { line(row(cells)) }
	return w.stream(x)
}

// stream reads a whole part.
func (w *wordReader) stream(x *xmlPart) error {
	for {
		tok, err := x.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, ok := tok.(xml.StartElement); ok {
			if err := w.element(x); err != nil {
				return err
			}
		}
	}
}

// wordTable is a table that is open. A table in a cell is text of that cell.
type wordTable struct {
	row, cell []string
	above     []string // the row before
	open      bool     // a cell is
	span      int      // columns of the cell
	merged    bool     // the cell goes on from the one above
}

// element reads the rest of an element: paragraphs, which may hold text boxes with
// paragraphs of their own, and tables.
func (w *wordReader) element(x *xmlPart) error {
	var paras []*wordParagraph
	var tables []*wordTable
	var math formula
	properties := 0 // within the properties of a paragraph or a run
	emit := func(p *wordParagraph) {
		text := strings.Trim(boxes.Replace(p.text.String()), " \n")
		if n := len(tables); n > 0 && tables[n-1].open {
			if text != "" {
				_, _, mark := w.describe(*p)
				tables[n-1].cell = append(tables[n-1].cell, strings.TrimLeft(mark, " ")+text)
			}
			return
		}
		w.out(*p, text)
	}
	write := func(s string) {
		if n := len(paras); n > 0 {
			paras[n-1].text.WriteString(s)
		}
	}
	for depth := x.depth; x.depth >= depth; {
		tok, err := x.next()
		if err != nil {
			return unexpectedEnd(x.what, err)
		}
		switch e := tok.(type) {
		case xml.StartElement:
			name := e.Name.Local
			if n := len(paras); properties > 0 && n > 0 {
				p := paras[n-1]
				switch name {
				case "pStyle":
					p.style = attr(e, "val")
				case "numId":
					p.list = attr(e, "val")
				case "ilvl":
					p.level, _ = strconv.Atoi(attr(e, "val"))
				case "outlineLvl":
					if n, err := strconv.Atoi(attr(e, "val")); err == nil && n >= 0 && n < 9 {
						p.outline = n + 1
					}
				}
			}
			if strings.HasSuffix(e.Name.Space, "/math") && name != "t" {
				write(math.begin(e))
				continue
			}
			switch name {
			case "p":
				paras = append(paras, &wordParagraph{level: -1})
			case "pPr", "rPr", "tblPr", "trPr", "tcPr", "sectPr":
				properties++
			case "t":
				if properties == 0 {
					s, err := x.text()
					if err != nil {
						return err
					}
					write(s)
				}
			case "tab":
				if properties == 0 {
					write("\t")
				}
			case "br", "cr":
				write("\n")
			case "noBreakHyphen":
				write("-")
			case "footnoteReference", "endnoteReference":
				write("[" + attr(e, "id") + "]")
			case "del", "moveFrom", "Fallback", "instrText", "delText", "pPrChange", "rPrChange":
				if err := x.skip(); err != nil {
					return err
				}
			case "tbl":
				tables = append(tables, &wordTable{})
			case "tr":
				if n := len(tables); n > 0 {
					tables[n-1].above, tables[n-1].row = tables[n-1].row, nil
				}
			case "tc":
				if n := len(tables); n > 0 {
					tb := tables[n-1]
					tb.cell, tb.open, tb.span, tb.merged = nil, true, 1, false
				}
			case "gridSpan":
				if n := len(tables); n > 0 {
					tables[n-1].span, _ = strconv.Atoi(attr(e, "val"))
				}
			case "vMerge":
				if n := len(tables); n > 0 {
					tables[n-1].merged = attr(e, "val") != "restart"
				}
			}
		case xml.EndElement:
			if strings.HasSuffix(e.Name.Space, "/math") {
				write(math.end(e))
				continue
			}
			switch e.Name.Local {
			case "pPr", "rPr", "tblPr", "trPr", "sectPr", "tcPr":
				properties--
			case "p":
				if n := len(paras); n > 0 {
					p := paras[n-1]
					paras = paras[:n-1]
					emit(p)
				}
			case "tc":
				if n := len(tables); n > 0 && tables[n-1].open {
					tb := tables[n-1]
					tb.open = false
					s := strings.Join(tb.cell, " ")
					if n := len(tb.row); s == "" && tb.merged && n < len(tb.above) {
						s = repeated(tb.above[n])
					}
					tb.row = append(tb.row, s)
					for i := 1; i < min(tb.span, maxSpan); i++ {
						tb.row = append(tb.row, repeated(s))
					}
				}
			case "tr":
				if n := len(tables); n > 1 && tables[n-2].open {
					tables[n-2].cell = append(tables[n-2].cell, strings.Join(tables[n-1].row, "; "))
				} else if n > 0 {
					w.rows(tables[n-1].row)
				}
			case "tbl":
				if n := len(tables); n > 0 {
					tables = tables[:n-1]
				}
			}
		}
	}
	return nil
}

// boxes writes the boxes of forms as what they are, and leaves out what is empty in a
// formula.
var boxes = strings.NewReplacer("^{}", "", "_{}", "", `\sqrt[]`, `\sqrt`, "☐", "[ ]", "☒", "[x]", "☑", "[x]")

// describe says what a paragraph's own properties, its style and those that the style
// is based on make of it: a heading's level, the document's title, and the mark of a list.
func (w *wordReader) describe(p wordParagraph) (outline int, title bool, mark string) {
	list, level := p.list, p.level
	outline = p.outline
	id := p.style
	for range 20 { // styles may name each other in a circle
		s := w.styles[id]
		if s == nil {
			break
		}
		if outline == 0 {
			outline = s.outline
		}
		title = title || s.name == "title"
		if list == "" {
			list = s.list
			if level < 0 && s.level > 0 {
				level = s.level
			}
		}
		id = s.basedOn
	}
	if list != "" && list != "0" {
		mark = w.listMark(list, max(0, min(level, 8)))
		if outline > 0 && strings.TrimSpace(mark) == "-" {
			mark = ""
		}
		if outline > 0 {
			mark = strings.TrimLeft(mark, " ")
		}
	}
	return outline, title, mark
}

// readStyles reads which styles are headings.
func (w *wordReader) readStyles(part string) error {
	w.styles = map[string]*wordStyle{}
	x, err := w.a.part(w.ctx, part)
	if err != nil || x == nil {
		return err
	}
	var s *wordStyle
	for {
		tok, err := x.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		if e.Name.Local == "style" {
			s = &wordStyle{}
			w.styles[attr(e, "styleId")] = s
			continue
		}
		if s == nil {
			continue
		}
		switch e.Name.Local {
		case "name":
			s.name = strings.ToLower(attr(e, "val"))
			if n, ok := strings.CutPrefix(s.name, "heading "); ok {
				if n, err := strconv.Atoi(n); err == nil && n >= 1 && n <= 9 {
					s.outline = n
				}
			}
		case "basedOn":
			s.basedOn = attr(e, "val")
		case "outlineLvl":
			if n, err := strconv.Atoi(attr(e, "val")); err == nil && n >= 0 && n < 9 && s.outline == 0 {
				s.outline = n + 1
			}
		case "numId":
			s.list = attr(e, "val")
		case "ilvl":
			s.level, _ = strconv.Atoi(attr(e, "val"))
		}
	}
}

// wordList is a list's numbering.
type wordList struct {
	abstract string
	levels   [9]struct {
		format, text string
		start        int
	}
}

func (w *wordReader) readNumbering(part string) error {
	x, err := w.a.part(w.ctx, part)
	if err != nil || x == nil {
		return err
	}
	abstract := map[string]*wordList{}
	w.lists = map[string]*wordList{}
	var cur *wordList
	level, num := -1, ""
	for {
		tok, err := x.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		val := attr(e, "val")
		switch e.Name.Local {
		case "abstractNum":
			cur = &wordList{abstract: attr(e, "abstractNumId")}
			abstract[cur.abstract] = cur
		case "num":
			num, cur = attr(e, "numId"), nil
		case "abstractNumId":
			if l := abstract[val]; l != nil && num != "" {
				w.lists[num] = l
			}
		case "lvl":
			if level, err = strconv.Atoi(attr(e, "ilvl")); err != nil || level < 0 || level > 8 {
				level = -1
			}
			if cur != nil && level >= 0 {
				cur.levels[level].start = 1
			}
		case "start":
			if cur != nil && level >= 0 {
				if n, err := strconv.Atoi(val); err == nil {
					cur.levels[level].start = n
				}
			}
		case "numFmt":
			if cur != nil && level >= 0 {
				cur.levels[level].format = val
			}
		case "lvlText":
			if cur != nil && level >= 0 {
				cur.levels[level].text = val
			}
		}
	}
}

// listMark counts a list on and returns what stands before the item.
func (w *wordReader) listMark(id string, level int) string {
	indent := strings.Repeat("  ", level)
	l := w.lists[id]
	if l == nil || l.levels[level].format == "" || l.levels[level].format == "bullet" {
		return indent + "- "
	}
	n := w.counters[l.abstract]
	if n == nil {
		n = new([9]int)
		for i := range n {
			n[i] = l.levels[i].start - 1
		}
		w.counters[l.abstract] = n
	}
	n[level]++
	for i := level + 1; i < len(n); i++ {
		n[i] = l.levels[i].start - 1
	}
	text := l.levels[level].text
	for i := range level + 1 {
		text = strings.ReplaceAll(text, "%"+strconv.Itoa(i+1), numeral(max(n[i], l.levels[i].start), l.levels[i].format))
	}
	if text = strings.TrimSpace(text); text == "" {
		return indent
	}
	return indent + text + " "
}

// numeral writes a number in one of the formats of lists.
func numeral(n int, format string) string {
	switch format {
	case "none":
		return ""
	case "lowerLetter", "upperLetter":
		if n < 1 || n > 26*26 {
			break
		}
		s := strings.Repeat(string(rune('a'+(n-1)%26)), (n-1)/26+1)
		if format == "upperLetter" {
			s = strings.ToUpper(s)
		}
		return s
	case "lowerRoman", "upperRoman":
		if n < 1 || n > 3999 {
			break
		}
		s := ""
		for _, r := range []struct {
			n int
			s string
		}{{1000, "m"}, {900, "cm"}, {500, "d"}, {400, "cd"}, {100, "c"}, {90, "xc"}, {50, "l"}, {40, "xl"}, {10, "x"}, {9, "ix"}, {5, "v"}, {4, "iv"}, {1, "i"}} {
			for ; n >= r.n; n -= r.n {
				s += r.s
			}
		}
		if format == "upperRoman" {
			s = strings.ToUpper(s)
		}
		return s
	case "decimalZero":
		return fmt.Sprintf("%02d", n)
	}
	return strconv.Itoa(n)
}
