package parse

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"path"
	"strings"

	"golang.org/x/net/html/charset"

	"alcove/engine"
)

// Bounds of a message.
const (
	maxMailParts = 1000
	maxMailDepth = 10
)

// message reads an e-mail: who wrote to whom about what and when, then the text (the
// plain one of several forms), then each attachment of a type that is read, in a
// section of its name. Others are named in a warning.
func (r *reader) message(ctx context.Context, data []byte) (*engine.Parsed, error) {
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		return nil, broken("message", err)
	}
	t := newDraft(r.limits)
	words := mime.WordDecoder{CharsetReader: func(label string, in io.Reader) (io.Reader, error) { return charset.NewReaderLabel(label, in) }}
	for _, k := range []string{"Subject", "From", "To", "Cc", "Date"} {
		v, err := words.DecodeHeader(m.Header.Get(k))
		if err != nil {
			v = m.Header.Get(k)
		}
		if v = oneLine(cleaned(v)); v == "" {
			continue
		}
		if k == "Subject" {
			t.title = v
		}
		t.line(k + ": " + v)
	}
	t.blank()
	parts := 0
	if err := r.mailPart(ctx, t, &parts, 0, mailHeader(m.Header), m.Body); err != nil {
		return nil, err
	}
	return t.done()
}

// mailHeader is the header of a message or of a part of one.
type mailHeader map[string][]string

func (h mailHeader) get(k string) string {
	if v := h[k]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (r *reader) mailPart(ctx context.Context, t *draft, parts *int, depth int, h mailHeader, body io.Reader) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if *parts++; *parts > maxMailParts || depth > maxMailDepth {
		return tooLarge("a message of more than %d parts, or parts more than %d deep", maxMailParts, maxMailDepth)
	}
	kind, params, err := mime.ParseMediaType(h.get("Content-Type"))
	if err != nil {
		kind = "text/plain"
	}
	if strings.HasPrefix(kind, "multipart/") && params["boundary"] != "" {
		return r.mailParts(ctx, t, parts, depth, kind == "multipart/alternative", params["boundary"], body)
	}
	switch strings.ToLower(h.get("Content-Transfer-Encoding")) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, &lettersOf{r: body})
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	data, err := io.ReadAll(io.LimitReader(body, r.limits.EntryBytes+1))
	if int64(len(data)) > r.limits.EntryBytes {
		return tooLarge("a part of the message is larger than %d bytes", r.limits.EntryBytes)
	}
	if err != nil && len(data) == 0 {
		t.warn("a part of the message could not be decoded")
		return nil
	}
	_, disposition, _ := mime.ParseMediaType(h.get("Content-Disposition"))
	name := disposition["filename"]
	if name == "" {
		name = params["name"]
	}
	if name = path.Base(strings.ReplaceAll(name, `\`, "/")); name == "." || name == "/" {
		name = ""
	}
	attached := strings.HasPrefix(strings.ToLower(h.get("Content-Disposition")), "attachment")
	switch {
	case kind == "text/plain" && !attached:
		s, _, err := toUTF8(data, params["charset"])
		if err != nil {
			t.warn("a part of the message is not text of a known charset")
			return nil
		}
		for line := range strings.Lines(string(s)) {
			t.write(line)
		}
		t.blank()
	case kind == "text/html" && !attached:
		if cs := params["charset"]; cs != "" {
			if s, _, err := toUTF8(data, cs); err == nil {
				data = s
			}
		}
		p, err := webpage(ctx, data, false, r.limits)
		if err != nil {
			return err
		}
		for _, b := range p.Blocks {
			t.write(b.Text)
		}
		t.blank()
	default:
		if name == "" {
			name = "attachment"
			if kind == "message/rfc822" {
				name += ".eml"
			}
		}
		return r.within(ctx, t, name, data)
	}
	return t.err()
}

// mailParts reads the parts of a part. Of several forms of one text the first is
// taken that is plain, else the last.
func (r *reader) mailParts(ctx context.Context, t *draft, parts *int, depth int, alternative bool, boundary string, body io.Reader) error {
	mr := multipart.NewReader(body, boundary)
	type form struct {
		h    mailHeader
		body []byte
	}
	var forms []form
	for {
		p, err := mr.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.warn("the message ends in the middle of a part")
			break
		}
		h := mailHeader(p.Header)
		if !alternative {
			if err := r.mailPart(ctx, t, parts, depth+1, h, p); err != nil {
				return err
			}
			continue
		}
		b, err := io.ReadAll(io.LimitReader(p, r.limits.EntryBytes))
		if err != nil {
			t.warn("the message ends in the middle of a part")
		}
		if forms = append(forms, form{h, b}); len(forms) > maxMailParts {
			return tooLarge("a message of more than %d parts", maxMailParts)
		}
	}
	if len(forms) == 0 {
		return nil
	}
	best := forms[len(forms)-1]
	for _, f := range forms {
		if k, _, err := mime.ParseMediaType(f.h.get("Content-Type")); err == nil && k == "text/plain" && len(bytes.TrimSpace(f.body)) > 0 {
			best = f
			break
		}
	}
	return r.mailPart(ctx, t, parts, depth+1, best.h, bytes.NewReader(best.body))
}

// lettersOf leaves out what is no letter of base64: mailers add spaces and marks.
type lettersOf struct{ r io.Reader }

func (l *lettersOf) Read(p []byte) (int, error) {
	for {
		n, err := l.r.Read(p)
		k := 0
		for _, c := range p[:n] {
			if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '=' {
				p[k] = c
				k++
			}
		}
		if k > 0 || err != nil {
			return k, err
		}
	}
}
