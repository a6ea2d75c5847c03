package parse

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// flatOPC makes an archive of a document that is one XML file holding all parts, as
// Word writes it on request. Only its parts of XML are taken.
func flatOPC(ctx context.Context, data []byte, l Limits) (*archive, error) {
	if int64(len(data)) > l.XMLBytes {
		return nil, tooLarge("XML of %d bytes; %d are allowed", len(data), l.XMLBytes)
	}
	x := newXMLPart(ctx, "document", data, l)
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	parts := 0
	for {
		tok, err := x.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		e, ok := tok.(xml.StartElement)
		if !ok || e.Name.Local != "part" {
			continue
		}
		if parts++; parts > l.ArchiveEntries {
			return nil, tooLarge("more than %d parts", l.ArchiveEntries)
		}
		name := strings.TrimPrefix(attr(e, "name"), "/")
		from, to, err := x.inner("xmlData")
		if err != nil {
			return nil, err
		}
		if name == "" || from >= to {
			continue
		}
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = f.Write(data[from:to])
		}
		if err != nil {
			return nil, fmt.Errorf("gather parts: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("gather parts: %w", err)
	}
	return openArchive("document", out.Bytes(), l, nil)
}

// inner passes over the rest of the element that just began and returns where the
// content of the first element of a name within it lies.
func (x *xmlPart) inner(name string) (from, to int64, err error) {
	for depth, at := x.depth, 0; ; {
		before := x.dec.InputOffset()
		tok, err := x.next()
		if err != nil {
			return 0, 0, unexpectedEnd(x.what, err)
		}
		switch e := tok.(type) {
		case xml.StartElement:
			if e.Name.Local == name && at == 0 {
				at, from = x.depth, x.dec.InputOffset()
			}
		case xml.EndElement:
			if at > 0 && x.depth == at-1 && to == 0 {
				to = before
			}
			if x.depth < depth {
				return from, to, nil
			}
		}
	}
}
