package parse

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
)

// relation is one line of a part's list of relations (Open Packaging Conventions).
type relation struct {
	id, kind, target string // target is the path of a part; kind the last segment of its type
}

// relations reads what a part refers to. Relations to places outside the file are
// left out: nothing is ever fetched.
func (a *archive) relations(ctx context.Context, part string) ([]relation, error) {
	x, err := a.part(ctx, path.Join(path.Dir(part), "_rels", path.Base(part)+".rels"))
	if err != nil || x == nil {
		return nil, err
	}
	var out []relation
	for {
		tok, err := x.next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		e, ok := tok.(xml.StartElement)
		if !ok || e.Name.Local != "Relationship" || attr(e, "TargetMode") == "External" {
			continue
		}
		target := strings.ReplaceAll(attr(e, "Target"), `\`, "/")
		if strings.HasPrefix(target, "/") {
			target = strings.TrimPrefix(path.Clean(target), "/")
		} else {
			target = path.Join(path.Dir(part), target)
		}
		kind := attr(e, "Type")
		out = append(out, relation{attr(e, "Id"), kind[strings.LastIndexByte(kind, '/')+1:], target})
	}
}

// ofKind returns the targets of the relations of a kind, in their order.
func ofKind(rels []relation, kind string) (out []string) {
	for _, r := range rels {
		if r.kind == kind && !slices.Contains(out, r.target) {
			out = append(out, r.target)
		}
	}
	return out
}

func byID(rels []relation, id string) string {
	for _, r := range rels {
		if r.id == id && id != "" {
			return r.target
		}
	}
	return ""
}

// mainPart is the part that the package says is the document; def where it says nothing.
func (a *archive) mainPart(ctx context.Context, def string) (string, error) {
	rels, err := a.relations(ctx, "")
	if err != nil {
		return "", err
	}
	for _, p := range ofKind(rels, "officeDocument") {
		if a.has(p) {
			return p, nil
		}
	}
	return def, nil
}

// coreTitle is the title in the properties of a package, "" when there is none. It
// is worth no error.
func (a *archive) coreTitle(ctx context.Context, part string) string {
	x, err := a.part(ctx, part)
	if err != nil || x == nil {
		return ""
	}
	for {
		tok, err := x.next()
		if err != nil {
			return ""
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "title" {
			s, _ := x.text()
			return oneLine(s)
		}
	}
}

// drawingText writes what a diagram (SmartArt) or a chart says: every paragraph of
// its text, and of a chart the points of its series.
func (a *archive) drawingText(ctx context.Context, t *draft, part string) error {
	x, err := a.part(ctx, part)
	if err != nil || x == nil {
		return err
	}
	var para strings.Builder
	var series, name, cat []string
	in := ""
	flush := func() {
		t.line(para.String())
		para.Reset()
	}
	for {
		tok, err := x.next()
		if errors.Is(err, io.EOF) {
			flush()
			return nil
		}
		if err != nil {
			return err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			switch tok.Name.Local {
			case "t":
				s, err := x.text()
				if err != nil {
					return err
				}
				para.WriteString(s)
			case "tx", "cat", "val", "xVal", "yVal":
				in = tok.Name.Local
			case "ser":
				name, cat, series = nil, nil, nil
			case "v":
				s, err := x.text()
				if err != nil {
					return err
				}
				switch in {
				case "tx":
					name = append(name, s)
				case "cat", "xVal":
					cat = append(cat, s)
				case "val", "yVal":
					series = append(series, s)
				}
			}
		case xml.EndElement:
			switch tok.Name.Local {
			case "p":
				flush()
			case "ser":
				var b strings.Builder
				b.WriteString(strings.Join(name, " ") + ":")
				for i, v := range series {
					b.WriteByte(' ')
					if i < len(cat) {
						b.WriteString(cat[i] + " = ")
					}
					b.WriteString(v + ";")
				}
				t.line(strings.TrimRight(b.String(), ";"))
			}
		}
	}
}
