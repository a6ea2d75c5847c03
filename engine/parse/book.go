package parse

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/url"
	"path"
	"strings"
)

// book is what an e-book's package document says: its title and the chapters in the
// order of reading, as paths of the archive.
type book struct {
	title string
	spine []string
}

func (a *archive) book(ctx context.Context) (*book, error) {
	x, err := a.need(ctx, "META-INF/container.xml")
	if err != nil {
		return nil, err
	}
	root := ""
	for root == "" {
		tok, err := x.next()
		if errors.Is(err, io.EOF) {
			return nil, broken(a.what, errors.New("the container names no package"))
		}
		if err != nil {
			return nil, err
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "rootfile" {
			root = attr(e, "full-path")
		}
	}
	if x, err = a.need(ctx, root); err != nil {
		return nil, err
	}
	b := &book{}
	items := map[string]string{}
	for {
		tok, err := x.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		e, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "title":
			s, err := x.text()
			if err != nil {
				return nil, err
			}
			if b.title == "" {
				b.title = oneLine(s)
			}
		case "item":
			kind := attr(e, "media-type")
			if kind == "application/xhtml+xml" || kind == "text/html" || kind == "application/xml" || kind == "text/x-oeb1-document" {
				if target, err := url.PathUnescape(attr(e, "href")); err == nil {
					items[attr(e, "id")] = path.Join(path.Dir(root), target)
				}
			}
		case "itemref":
			if p := items[attr(e, "idref")]; p != "" {
				b.spine = append(b.spine, p)
				delete(items, attr(e, "idref")) // a chapter is read once
			}
		}
	}
	return b, nil
}

// locked reports whether a chapter is among what is encrypted. Fonts often are, and
// are not read.
func (b *book) locked(ctx context.Context, a *archive) bool {
	x, err := a.part(ctx, "META-INF/encryption.xml")
	if err != nil || x == nil {
		return false
	}
	for {
		tok, err := x.next()
		if err != nil {
			return false
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "CipherReference" {
			uri := strings.TrimPrefix(attr(e, "URI"), "/")
			for _, p := range b.spine {
				if p == uri {
					return true
				}
			}
		}
	}
}
