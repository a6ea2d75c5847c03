package parse

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"strings"

	"alcove/engine"
)

// pptx reads a presentation slide by slide in the order of the show, hidden ones too:
// the title as heading, the text of all shapes in their order, tables, what charts and
// diagrams say, then the speaker's notes and the comments. Slide numbers and dates are
// left out, footers come with their slide.
func pptx(ctx context.Context, a *archive) (*engine.Parsed, error) {
	main, err := a.mainPart(ctx, "ppt/presentation.xml")
	if err != nil {
		return nil, err
	}
	rels, err := a.relations(ctx, main)
	if err != nil {
		return nil, err
	}
	x, err := a.need(ctx, main)
	if err != nil {
		return nil, err
	}
	t := newDraft(a.limits)
	t.title = a.coreTitle(ctx, "docProps/core.xml")
	slide := 0
	authors, err := a.people(ctx, append(ofKind(rels, "commentAuthors"), ofKind(rels, "authors")...))
	if err != nil {
		return nil, err
	}
	for {
		tok, err := x.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "sldId" {
			slide++
			if part := byID(rels, relationID(e, "id")); part != "" {
				t.at(engine.Place{Slide: slide})
				if err := a.slide(ctx, t, part, authors); err != nil {
					return nil, err
				}
			}
		}
	}
	return t.done()
}

func (a *archive) slide(ctx context.Context, t *draft, part string, authors map[string]string) error {
	rels, err := a.relations(ctx, part)
	if err != nil {
		return err
	}
	if err := a.shapes(ctx, t, part, rels, true); err != nil {
		return err
	}
	for _, p := range ofKind(rels, "notesSlide") {
		notes := newDraft(a.limits)
		if err := a.shapes(ctx, notes, p, nil, false); err != nil {
			return err
		}
		if s := strings.TrimSpace(string(notes.buf)); s != "" {
			t.blank()
			t.line("Notes: " + s)
		}
	}
	for _, p := range ofKind(rels, "comments") {
		if err := a.slideComments(ctx, t, p, authors); err != nil {
			return err
		}
	}
	return nil
}

// shapes writes the text of a slide. The title is a heading where there is one.
func (a *archive) shapes(ctx context.Context, t *draft, part string, rels []relation, titles bool) error {
	x, err := a.part(ctx, part)
	if err != nil || x == nil {
		return err
	}
	var para strings.Builder
	var lines, cell, cells, above []string // of the shape, of the table cell, its row and the one before
	merged, covered := false, false
	holder := "" // what the shape stands for
	inCell := false
	tb := &table{t: t}
	for {
		tok, err := x.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch e := tok.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "sp":
				holder, lines = "", nil
			case "ph":
				if holder = attr(e, "type"); holder == "" {
					holder = "body"
				}
			case "fld":
				if k := attr(e, "type"); k == "slidenum" || strings.HasPrefix(k, "datetime") {
					if err := x.skip(); err != nil {
						return err
					}
				}
			case "Fallback":
				if err := x.skip(); err != nil {
					return err
				}
			case "t":
				s, err := x.text()
				if err != nil {
					return err
				}
				para.WriteString(s)
			case "br":
				para.WriteByte('\n')
			case "tab":
				para.WriteByte('\t')
			case "tbl":
				t.blank()
				tb = &table{t: t}
			case "tr":
				above, cells = cells, nil
			case "tc":
				cell, inCell = nil, true
				merged, covered = attr(e, "vMerge") == "1", attr(e, "hMerge") == "1"
			case "chart":
				if p := byID(rels, relationID(e, "id")); p != "" {
					t.blank()
					if err := a.drawingText(ctx, t, p); err != nil {
						return err
					}
				}
			case "relIds":
				if p := byID(rels, relationID(e, "dm")); p != "" {
					t.blank()
					if err := a.drawingText(ctx, t, p); err != nil {
						return err
					}
				}
			}
		case xml.EndElement:
			switch e.Name.Local {
			case "p":
				s := strings.TrimSpace(para.String())
				para.Reset()
				if inCell {
					cell = append(cell, s)
				} else if s != "" {
					lines = append(lines, s)
				}
			case "tc":
				s := strings.Join(cell, " ")
				inCell = false
				switch n := len(cells); {
				case s == "" && covered && n > 0:
					s = repeated(cells[n-1])
				case s == "" && merged && n < len(above):
					s = repeated(above[n])
				}
				cells = append(cells, s)
			case "tr":
				tb.row(cells)
			case "sp":
				switch {
				case len(lines) == 0:
				case titles && (holder == "title" || holder == "ctrTitle"):
					s := strings.Join(lines, " ")
					if t.title == "" {
						t.title = s
					}
					t.heading(1, s)
				default:
					t.blank()
					for _, l := range lines {
						t.line(l)
					}
				}
				lines = nil
			}
		}
	}
}

func (a *archive) slideComments(ctx context.Context, t *draft, part string, authors map[string]string) error {
	x, err := a.part(ctx, part)
	if err != nil || x == nil {
		return err
	}
	by, when := "", ""
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
		case "cm", "reply":
			by, when = authors[attr(e, "authorId")], cmp.Or(attr(e, "dt"), attr(e, "created"))
		case "text", "t":
			s, err := x.text()
			if err != nil {
				return err
			}
			if s = oneLine(s); s != "" {
				t.blank()
				t.line(remark("Comment", by, when) + s)
			}
		}
	}
}

// remark begins a comment: what it is about, whose it is and of when.
func remark(about, by, when string) string {
	if by = oneLine(by); by != "" {
		about += " by " + by
	}
	if when = oneLine(when); when != "" {
		about += " (" + when + ")"
	}
	return about + ": "
}

// people reads who writes comments, by their ids.
func (a *archive) people(ctx context.Context, parts []string) (map[string]string, error) {
	out := map[string]string{}
	for _, p := range parts {
		x, err := a.part(ctx, p)
		if err != nil {
			return nil, err
		}
		for x != nil {
			tok, err := x.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
			if e, ok := tok.(xml.StartElement); ok {
				if id := attr(e, "id"); id != "" {
					out[id] = cmp.Or(attr(e, "name"), attr(e, "displayName"))
				}
			}
		}
	}
	return out, nil
}
