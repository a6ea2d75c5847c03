package parse

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/xuri/excelize/v2"

	"alcove/engine"
)

// xlsx reads a workbook sheet by sheet, hidden ones too: each row is a line, cells
// read as the workbook shows them (dates, amounts), empty rows are left out. Of a
// formula its last value is read. The comments of a sheet follow its rows. The
// archive was checked before; excelize unpacks it again by itself.
func xlsx(ctx context.Context, a *archive, data []byte) (*engine.Parsed, error) {
	if err := refuseEntities(ctx, a); err != nil {
		return nil, err
	}
	f, err := excelize.OpenReader(bytes.NewReader(data), excelize.Options{
		UnzipSizeLimit: a.limits.UnpackedBytes, UnzipXMLSizeLimit: 16 << 20, // larger sheets go through a temporary file
	})
	if errors.Is(err, excelize.ErrWorkbookFileFormat) {
		return nil, broken(a.what, err)
	}
	if err != nil {
		return nil, broken(a.what, err)
	}
	defer f.Close()
	t := newDraft(a.limits)
	if p, err := f.GetDocProps(); err == nil && p != nil {
		t.title = p.Title
	}
	w, err := a.workbook(ctx)
	if err != nil {
		return nil, err
	}
	left := a.limits.Rows
	for _, sheet := range f.GetSheetList() {
		t.at(engine.Place{Sheet: sheet})
		t.heading(1, sheet)
		begun := len(t.buf)
		if err := w.rows(ctx, f, t, sheet, &left); err != nil {
			return nil, err
		}
		if err := w.remarks(ctx, f, t, sheet); err != nil {
			return nil, err
		}
		if err := w.drawings(ctx, t, sheet); err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(t.buf[begun:])) == 0 {
			t.takeBack()
		}
	}
	return t.done()
}

// workbook says which part of the archive a sheet is.
type workbook struct {
	a      *archive
	parts  map[string]string // by name
	people map[string]string
}

func (a *archive) workbook(ctx context.Context) (*workbook, error) {
	main, err := a.mainPart(ctx, "xl/workbook.xml")
	if err != nil {
		return nil, err
	}
	rels, err := a.relations(ctx, main)
	if err != nil {
		return nil, err
	}
	w := &workbook{a: a, parts: map[string]string{}}
	if w.people, err = a.people(ctx, ofKind(rels, "person")); err != nil {
		return nil, err
	}
	x, err := a.need(ctx, main)
	if err != nil {
		return nil, err
	}
	for {
		tok, err := x.next()
		if errors.Is(err, io.EOF) {
			return w, nil
		}
		if err != nil {
			return nil, err
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "sheet" {
			w.parts[attr(e, "name")] = byID(rels, relationID(e, "id"))
		}
	}
}

// drawings writes what the charts and the text boxes of a sheet say.
func (w *workbook) drawings(ctx context.Context, t *draft, sheet string) error {
	part := w.parts[sheet]
	if part == "" {
		return nil
	}
	rels, err := w.a.relations(ctx, part)
	if err != nil {
		return err
	}
	for _, d := range ofKind(rels, "drawing") {
		t.blank()
		if err := w.a.drawingText(ctx, t, d); err != nil {
			return err
		}
		inner, err := w.a.relations(ctx, d)
		if err != nil {
			return err
		}
		for _, p := range append(ofKind(inner, "chart"), ofKind(inner, "diagramData")...) {
			t.blank()
			if err := w.a.drawingText(ctx, t, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// remarks writes the comments on a sheet's cells: threads where there are, else notes.
func (w *workbook) remarks(ctx context.Context, f *excelize.File, t *draft, sheet string) error {
	rels, err := w.a.relations(ctx, w.parts[sheet])
	if err != nil {
		return err
	}
	comments, err := f.GetComments(sheet)
	if err != nil {
		return nil //nolint:nilerr // the rows are what counts
	}
	t.blank()
	for _, c := range comments {
		if strings.HasPrefix(c.Author, "tc=") { // stands for a thread, for programs that know none
			continue
		}
		s := c.Text
		if s == "" {
			for _, r := range c.Paragraph {
				s += r.Text
			}
		}
		t.line(remark("Comment on "+c.Cell, c.Author, "") + oneLine(s))
	}
	for _, p := range ofKind(rels, "threadedComment") {
		x, err := w.a.part(ctx, p)
		if err != nil {
			return err
		}
		about, by, when := "", "", ""
		for x != nil {
			tok, err := x.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			e, ok := tok.(xml.StartElement)
			switch {
			case ok && e.Name.Local == "threadedComment":
				about, by, when = attr(e, "ref"), w.people[attr(e, "personId")], attr(e, "dT")
			case ok && e.Name.Local == "text":
				s, err := x.text()
				if err != nil {
					return err
				}
				t.line(remark("Comment on "+about, by, when) + oneLine(s))
			}
		}
	}
	return nil
}

// maxMerged bounds how many merged cells of a sheet are looked at.
const maxMerged = 10_000

func (w *workbook) rows(ctx context.Context, f *excelize.File, t *draft, sheet string, left *int) error {
	rows, err := f.Rows(sheet)
	if err != nil {
		var none excelize.ErrSheetNotExist
		if errors.As(err, &none) || strings.Contains(err.Error(), "not a worksheet") {
			return nil // a sheet that is a chart has no rows
		}
		return broken("sheet "+shortName(sheet), err)
	}
	defer rows.Close()
	merged, err := w.merged(sheet)
	if err != nil {
		return err
	}
	tb := &table{t: t}
	for n := 1; rows.Next(); n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		cells, err := rows.Columns()
		if err != nil {
			return broken("sheet "+shortName(sheet), err)
		}
		for _, m := range merged[n] {
			if n == m.row && m.from < len(cells) {
				m.value = repeated(cells[m.from])
			}
			if m.value == "" {
				continue
			}
			for len(cells) < m.to {
				cells = append(cells, "")
			}
			for c := m.from; c < m.to; c++ {
				if cells[c] == "" {
					cells[c] = m.value
				}
			}
		}
		for len(cells) > 0 && strings.TrimSpace(cells[len(cells)-1]) == "" {
			cells = cells[:len(cells)-1]
		}
		if len(cells) == 0 {
			continue
		}
		if *left--; *left < 0 {
			return tooLarge("more than %d rows", t.limits.Rows)
		}
		tb.row(cells)
		if t.full {
			return t.err()
		}
	}
	if err := rows.Error(); err != nil {
		return broken("sheet "+shortName(sheet), err)
	}
	return nil
}

// covered are cells that are merged into one: from..to of each row, counted from 0,
// with the value of the first in the row where they begin.
type covered struct {
	row, from, to int
	value         string
}

var mergeRef = regexp.MustCompile(`mergeCell [^<>]*ref="([A-Z]{1,3}[0-9]{1,7}):([A-Z]{1,3}[0-9]{1,7})"`)

// merged returns which cells of a sheet are merged, by row. It reads the sheet's part
// itself: excelize would build all of the sheet in memory for it.
func (w *workbook) merged(sheet string) (map[int][]*covered, error) {
	b, err := w.a.read(w.parts[sheet], w.a.limits.EntryBytes)
	if err != nil {
		return nil, err
	}
	out := map[int][]*covered{}
	i := bytes.LastIndex(b, []byte("</sheetData>")) // they stand behind the rows
	if i < 0 {
		i = bytes.LastIndex(b, []byte("sheetData>"))
	}
	for _, m := range mergeRef.FindAllSubmatch(b[max(i, 0):], maxMerged) {
		c1, r1, err1 := excelize.CellNameToCoordinates(string(m[1]))
		c2, r2, err2 := excelize.CellNameToCoordinates(string(m[2]))
		if err1 != nil || err2 != nil || c2-c1 > maxSpan || r2-r1 > maxSpan {
			continue
		}
		c := &covered{row: r1, from: c1 - 1, to: c2}
		for r := r1; r <= r2; r++ {
			out[r] = append(out[r], c)
		}
	}
	return out, nil
}

// refuseEntities looks at the head of every XML part for a document type with
// declarations, which a workbook never has.
func refuseEntities(ctx context.Context, a *archive) error {
	for _, f := range a.entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !strings.HasSuffix(strings.ToLower(f.Name), ".xml") && !strings.HasSuffix(strings.ToLower(f.Name), ".rels") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return broken(a.what, err)
		}
		head := make([]byte, 4096)
		n, _ := r.Read(head)
		_ = r.Close()
		if bytes.Contains(bytes.ToUpper(head[:n]), []byte("<!DOCTYPE")) {
			return broken(shortName(f.Name), errors.New("it declares entities, which are not read"))
		}
	}
	if !slices.ContainsFunc(a.entries, func(f *zip.File) bool { return strings.Contains(strings.ToLower(f.Name), "workbook.xml") }) {
		return broken(a.what, errors.New("there is no workbook in it"))
	}
	return nil
}
