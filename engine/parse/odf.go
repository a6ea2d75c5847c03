package parse

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"

	"alcove/engine"
)

// odf reads an OpenDocument text, presentation or spreadsheet: its body, then
// footnotes and comments in sections of their own, then page headers and footers. Of
// a presentation each page is a slide, of a spreadsheet each table a sheet. Text
// deleted under tracked changes is left out.
func odf(ctx context.Context, a *archive) (*engine.Parsed, error) {
	if b, err := a.read("META-INF/manifest.xml", a.limits.XMLBytes); err != nil {
		return nil, err
	} else if strings.Contains(string(b), "encryption-data") {
		return nil, errLocked("the document")
	}
	t := newDraft(a.limits)
	t.title = a.coreTitle(ctx, "meta.xml")
	x, err := a.need(ctx, "content.xml")
	if err != nil {
		return nil, err
	}
	o := &odfReader{x: x, t: t}
	if err := o.body(); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		title string
		lines []string
	}{{"Footnotes", o.notes}, {"Comments", o.comments}} {
		if len(s.lines) > 0 {
			t.at(engine.Place{})
			t.section(s.title)
			for _, l := range s.lines {
				t.line(l)
			}
		}
	}
	x, err = a.part(ctx, "styles.xml")
	if err != nil {
		return nil, err
	}
	if x != nil {
		if err := margins(x, t); err != nil {
			return nil, err
		}
	}
	return t.done()
}

type odfReader struct {
	x               *xmlPart
	t               *draft
	notes, comments []string
	slide, lists    int
	table           *table
	cells, cell     []string
	open            []bool // of the tables that are open: whether a cell is
	sheets          bool
}

func (o *odfReader) body() error {
	for {
		tok, err := o.x.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch e := tok.(type) {
		case xml.StartElement:
			if err := o.start(e); err != nil {
				return err
			}
		case xml.EndElement:
			switch e.Name.Local {
			case "list":
				o.lists--
			case "table-cell":
				o.cells, o.cell = append(o.cells, strings.Join(o.cell, " ")), nil
				if n := len(o.open); n > 0 {
					o.open[n-1] = false
				}
			case "table-row":
				if n := len(o.open); n > 1 {
					o.cell = append(o.cell, strings.Join(o.cells, "; "))
				} else if o.table != nil {
					o.table.row(o.cells)
				}
				o.cells = nil
			case "table":
				if n := len(o.open); n > 0 {
					o.open = o.open[:n-1]
				}
				o.t.blank()
			}
		}
	}
}

func (o *odfReader) start(e xml.StartElement) error {
	switch e.Name.Local {
	case "tracked-changes", "forms", "desc", "scripts", "font-face-decls", "automatic-styles":
		return o.x.skip()
	case "spreadsheet":
		o.sheets = true
	case "page":
		if e.Name.Space == "" || strings.Contains(e.Name.Space, "drawing") {
			o.slide++
			o.t.at(engine.Place{Slide: o.slide})
		}
	case "list":
		o.lists++
	case "table":
		if len(o.open) == 0 {
			o.table = &table{t: o.t}
			if o.sheets {
				o.t.at(engine.Place{Sheet: attr(e, "name")})
				o.t.heading(1, attr(e, "name"))
			}
		}
		o.open = append(o.open, false)
		o.t.blank()
	case "table-row":
		if len(o.open) <= 1 {
			o.cells = nil
		}
	case "table-cell", "covered-table-cell":
		if n := len(o.open); n > 0 {
			o.open[n-1] = e.Name.Local == "table-cell"
		}
		if len(o.open) <= 1 {
			o.cell = nil
		}
	case "annotation":
		s, err := o.plain("creator", "date")
		if err != nil {
			return err
		}
		o.comments = append(o.comments, s)
	case "h", "p":
		s, err := o.paragraph()
		if err != nil {
			return err
		}
		if len(o.open) > 0 {
			if s = strings.TrimSpace(s); s != "" {
				o.cell = append(o.cell, s)
			}
			return nil
		}
		if e.Name.Local == "h" {
			level, err := strconv.Atoi(attr(e, "outline-level"))
			if err != nil || level < 1 || level > 10 {
				level = 1
			}
			o.t.heading(level, s)
			return nil
		}
		if o.lists > 0 {
			if strings.TrimSpace(s) != "" {
				o.t.line(strings.Repeat("  ", min(o.lists, 9)-1) + "- " + s)
			}
			return nil
		}
		o.t.line(s)
		o.t.blank()
	}
	return nil
}

// paragraph returns the text of a paragraph; notes within are put aside.
func (o *odfReader) paragraph() (string, error) {
	var b strings.Builder
	for depth := o.x.depth; ; {
		tok, err := o.x.next()
		if err != nil {
			return "", unexpectedEnd(o.x.what, err)
		}
		switch e := tok.(type) {
		case xml.CharData:
			b.WriteString(spaced(string(e)))
		case xml.StartElement:
			switch e.Name.Local {
			case "s":
				n, _ := strconv.Atoi(attr(e, "c"))
				b.WriteString(strings.Repeat(" ", max(1, min(n, 100))))
			case "tab":
				b.WriteByte('\t')
			case "line-break":
				b.WriteByte('\n')
			case "note":
				s, err := o.plain("note-citation")
				if err != nil {
					return "", err
				}
				o.notes = append(o.notes, "["+strconv.Itoa(len(o.notes)+1)+"] "+s)
				b.WriteString("[" + strconv.Itoa(len(o.notes)) + "]")
			case "annotation":
				s, err := o.plain("creator", "date")
				if err != nil {
					return "", err
				}
				o.comments = append(o.comments, s)
			case "desc", "tracked-changes":
				if err := o.x.skip(); err != nil {
					return "", err
				}
			case "p":
				b.WriteByte('\n') // of a text box
			}
		case xml.EndElement:
			if o.x.depth < depth {
				return b.String(), nil
			}
		}
	}
}

// plain returns the text of an element on one line, without some that are in it.
func (o *odfReader) plain(without ...string) (string, error) {
	var b strings.Builder
	for depth := o.x.depth; ; {
		tok, err := o.x.next()
		if err != nil {
			return "", unexpectedEnd(o.x.what, err)
		}
		switch e := tok.(type) {
		case xml.CharData:
			b.Write(e)
		case xml.StartElement:
			for _, w := range without {
				if e.Name.Local == w {
					if err := o.x.skip(); err != nil {
						return "", err
					}
					break
				}
			}
		case xml.EndElement:
			if o.x.depth < depth {
				return oneLine(b.String()), nil
			}
			b.WriteByte(' ')
		}
	}
}

// spaced is text between elements: white space of any length is one space.
func spaced(s string) string {
	out := oneLine(s)
	if out == "" {
		if s == "" {
			return ""
		}
		return " "
	}
	if strings.ContainsAny(s[:1], " \t\r\n") {
		out = " " + out
	}
	if strings.ContainsAny(s[len(s)-1:], " \t\r\n") {
		out += " "
	}
	return out
}

// margins writes the page headers and footers of the styles, each line once.
func margins(x *xmlPart, t *draft) error {
	seen := map[string]bool{}
	o := &odfReader{x: x, t: t}
	for {
		tok, err := x.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e, ok := tok.(xml.StartElement)
		if !ok || !strings.HasPrefix(e.Name.Local, "header") && !strings.HasPrefix(e.Name.Local, "footer") || strings.Contains(e.Name.Local, "style") {
			continue
		}
		s, err := o.plain("page-number", "page-count")
		if err != nil {
			return err
		}
		if s != "" && !seen[s] {
			if len(seen) == 0 {
				t.at(engine.Place{})
				t.section("Page headers and footers")
			}
			seen[s] = true
			t.line(s)
		}
	}
}
