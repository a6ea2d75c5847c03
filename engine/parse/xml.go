package parse

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"strings"

	"alcove/engine"
)

// maxAttributeBytes is how long an attribute may be that is read: longer ones are
// drawings and the like.
const maxAttributeBytes = 300

// plainXML reads XML of any kind: one line "name: text" for each element that has
// text and "name.attribute: value" for each attribute. What stands within a text, as
// emphasis does, stays in its line.
func plainXML(ctx context.Context, data []byte, l Limits) (*engine.Parsed, error) {
	if len(data) > int(l.XMLBytes) {
		return nil, tooLarge("XML of %d bytes; %d are allowed", len(data), l.XMLBytes)
	}
	// A declared charset is honoured by the decoder; UTF-16 it does not know.
	if e, _, err := charsetOf(data, ""); err != nil {
		return nil, err
	} else if e != nil && (data[0] >= 0xfe || data[0] == 0 || len(data) > 1 && data[1] == 0) {
		if data, _, err = toUTF8(data, ""); err != nil {
			return nil, err
		}
	}
	x := newXMLPart(ctx, "XML", data, l)
	x.dec.CharsetReader = declaredReader(x.dec.CharsetReader)
	t := newDraft(l)
	type level struct {
		name string
		text strings.Builder
	}
	var open []*level
	for {
		tok, err := x.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch e := tok.(type) {
		case xml.StartElement:
			open = append(open, &level{name: e.Name.Local})
			for _, a := range e.Attr {
				if a.Name.Space == "" && a.Name.Local != "xmlns" && len(a.Value) <= maxAttributeBytes && strings.TrimSpace(a.Value) != "" {
					t.line(e.Name.Local + "." + a.Name.Local + ": " + oneLine(a.Value))
				}
			}
		case xml.CharData:
			if n := len(open); n > 0 {
				open[n-1].text.WriteString(spaced(string(e)))
			}
		case xml.EndElement:
			n := len(open)
			if n == 0 {
				continue
			}
			l := open[n-1]
			open = open[:n-1]
			s := oneLine(l.text.String())
			switch {
			case s == "":
			case n > 1 && strings.TrimSpace(open[n-2].text.String()) != "" && len(s) < maxHeadingBytes:
				open[n-2].text.WriteString(l.text.String())
			default:
				t.line(l.name + ": " + s)
			}
		}
		if t.full {
			return nil, t.err()
		}
	}
	return t.done()
}

// declaredReader takes bytes as they are where a UTF-16 document was converted.
func declaredReader(next func(string, io.Reader) (io.Reader, error)) func(string, io.Reader) (io.Reader, error) {
	return func(label string, in io.Reader) (io.Reader, error) {
		if strings.HasPrefix(strings.ToLower(label), "utf-16") {
			return in, nil
		}
		return next(label, in)
	}
}
