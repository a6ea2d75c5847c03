package parse

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/net/html/charset"
)

// xmlPart reads one XML part as a stream of tokens, by local names: the namespaces of
// the strict and the transitional form of a format then make no difference. It
// refuses a document type with declarations (entities), fetches nothing, and bounds
// depth and attributes.
type xmlPart struct {
	ctx    context.Context
	limits Limits
	what   string
	dec    *xml.Decoder
	depth  int
	n      int
}

func newXMLPart(ctx context.Context, what string, data []byte, l Limits) *xmlPart {
	dec := xml.NewDecoder(bytes.NewReader(data))
	dec.CharsetReader = charset.NewReaderLabel
	return &xmlPart{ctx: ctx, limits: l, what: what, dec: dec}
}

// next returns the next element begun or ended, or a piece of text; io.EOF at the end.
func (x *xmlPart) next() (xml.Token, error) {
	for {
		if x.n++; x.n%4096 == 0 && x.ctx.Err() != nil {
			return nil, x.ctx.Err()
		}
		tok, err := x.dec.Token()
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		if err != nil {
			return nil, broken(x.what, err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if x.depth++; x.depth > x.limits.XMLDepth {
				return nil, tooLarge("elements of %s are nested more than %d deep", x.what, x.limits.XMLDepth)
			}
			if len(tok.Attr) > x.limits.XMLAttributes {
				return nil, tooLarge("an element of %s has more than %d attributes", x.what, x.limits.XMLAttributes)
			}
			return tok, nil
		case xml.EndElement:
			x.depth--
			return tok, nil
		case xml.CharData:
			return tok, nil
		case xml.Directive:
			if bytes.ContainsRune(tok, '[') {
				return nil, broken(x.what, errors.New("it declares entities, which are not read"))
			}
		}
	}
}

// skip passes over the rest of the element that just began.
func (x *xmlPart) skip() error {
	for depth := x.depth; ; {
		tok, err := x.next()
		if err != nil {
			return unexpectedEnd(x.what, err)
		}
		if _, ok := tok.(xml.EndElement); ok && x.depth < depth {
			return nil
		}
	}
}

// text returns all text of the element that just began.
func (x *xmlPart) text() (string, error) {
	var b strings.Builder
	for depth := x.depth; ; {
		tok, err := x.next()
		if err != nil {
			return "", unexpectedEnd(x.what, err)
		}
		switch tok := tok.(type) {
		case xml.CharData:
			b.Write(tok)
		case xml.EndElement:
			if x.depth < depth {
				return b.String(), nil
			}
		}
	}
}

func unexpectedEnd(what string, err error) error {
	if errors.Is(err, io.EOF) {
		return broken(what, io.ErrUnexpectedEOF)
	}
	return err
}

// attr returns an attribute by its local name, "" when it is not there.
func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// relationID is the attribute "id" of a namespace: the one that names a relation.
func relationID(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name && a.Name.Space != "" {
			return a.Value
		}
	}
	return ""
}

// part reads a part of an archive as XML; nil when there is none.
func (a *archive) part(ctx context.Context, name string) (*xmlPart, error) {
	b, err := a.read(name, a.limits.XMLBytes)
	if err != nil || b == nil {
		return nil, err
	}
	return newXMLPart(ctx, shortName(name), b, a.limits), nil
}

// need is part of one without which the file is none.
func (a *archive) need(ctx context.Context, name string) (*xmlPart, error) {
	x, err := a.part(ctx, name)
	if err == nil && x == nil {
		err = broken(a.what, fmt.Errorf("the part %s is missing", shortName(name)))
	}
	return x, err
}
