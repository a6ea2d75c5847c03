package httpapi

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"alcove/engine"
)

// Bounds of one upload besides those of Options.
const (
	maxFileNameBytes = 255
	maxFieldBytes    = 64 << 10 // the metadata and id parts
)

// upload is a multipart body: files with what the call says of them.
type upload struct {
	files    []uploadedFile
	metadata map[string]any // of every file of the call
	id       string         // of its only file
	source   string         // file_source of its only file, "" for its name
	keep     *bool          // the files are kept beside the texts made of them
	mainText bool           // of web pages, the main text alone
}

type uploadedFile struct {
	name string // a label only: it never becomes a path
	data []byte
}

// readUpload reads a multipart/form-data body as a stream: parts named file
// (repeatable), metadata (a JSON object as text), id, and keep_original and
// main_text, which are true or false. Anything else, too
// many parts, a file or a call over its limit is refused as soon as it is seen.
func (s *Server) readUpload(r *http.Request) (*upload, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return nil, &engine.FieldError{Field: "Content-Type", Message: "must be multipart/form-data with a boundary", Err: errMediaType}
	}
	if err := plainBody(r); err != nil {
		return nil, err
	}
	if r.ContentLength > s.o.MaxCallBytes {
		return nil, tooLarge("body", s.o.MaxCallBytes)
	}
	left := &limitedBody{r: r.Body, left: s.o.MaxCallBytes, limit: s.o.MaxCallBytes}
	parts := multipart.NewReader(left, params["boundary"])
	var up upload
	seen := make(map[string]bool)
	for n := 0; ; n++ {
		// Raw: a transfer encoding would make the stored bytes others than the
		// ones sent.
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, multipartError(err)
		}
		if n == s.o.MaxParts {
			return nil, &engine.FieldError{Field: "body", Message: fmt.Sprintf("has more than %d parts", s.o.MaxParts), Err: engine.ErrTooLarge}
		}
		field := part.FormName()
		switch field {
		case "file":
			err = s.readFile(r, part, &up)
		case "metadata", "id", "file_source", "keep_original", "main_text":
			if seen[field] {
				return nil, badField(field, "is given twice")
			}
			seen[field] = true
			err = s.readField(r, part, field, &up)
		default:
			return nil, badField(shorten(field), "is not a known part; file, metadata, id, file_source, keep_original and main_text are")
		}
		if err != nil {
			return nil, err
		}
	}
	// What follows the last boundary is no part of the upload, but the body has
	// to come to its end for the connection to be used again.
	if _, err := io.Copy(io.Discard, left); err != nil {
		return nil, multipartError(err)
	}
	return &up, nil
}

func (s *Server) readFile(r *http.Request, part *multipart.Part, up *upload) error {
	name, err := partFileName(part)
	if err != nil {
		return err
	}
	data, err := s.readAll(r, part, s.o.MaxUploadBytes, -1)
	if errors.Is(err, errOverLimit) {
		return tooLarge("file", s.o.MaxUploadBytes)
	}
	if err != nil {
		return multipartError(err)
	}
	up.files = append(up.files, uploadedFile{name, data})
	return nil
}

func (s *Server) readField(r *http.Request, part *multipart.Part, field string, up *upload) error {
	data, err := s.readAll(r, part, maxFieldBytes, -1)
	if errors.Is(err, errOverLimit) {
		return tooLarge(field, maxFieldBytes)
	}
	if err != nil {
		return multipartError(err)
	}
	switch field {
	case "keep_original", "main_text":
		v := string(data) == "true"
		if !v && string(data) != "false" {
			return badField(field, "is neither true nor false")
		}
		if field == "main_text" {
			up.mainText = v
		} else {
			up.keep = &v
		}
		return nil
	case "id", "file_source":
		if len(data) == 0 {
			return badField(field, "is empty")
		}
		if field == "id" {
			up.id = string(data)
		} else {
			up.source = string(data)
		}
		return nil
	}
	return decodeStrict("metadata", data, &up.metadata)
}

// documents is what an upload brings. A call without a file is refused, and so
// is an id for more than one.
func (up *upload) documents() ([]engine.DocumentInput, error) {
	if len(up.files) == 0 {
		return nil, badField("file", "is missing")
	}
	if up.id != "" && len(up.files) > 1 {
		return nil, badField("id", "can be given for one file only; this call has %d", len(up.files))
	}
	if up.source != "" && len(up.files) > 1 {
		return nil, badField("file_source", "can be given for one file only; this call has %d", len(up.files))
	}
	docs := make([]engine.DocumentInput, len(up.files))
	for i, f := range up.files {
		docs[i] = engine.DocumentInput{ID: up.id, FilePath: cmp.Or(up.source, f.name), Name: f.name, Content: f.data, Metadata: up.metadata, KeepOriginal: up.keep, MainText: up.mainText}
	}
	return docs, nil
}

// partFileName is the name of an uploaded file as a label.
func partFileName(part *multipart.Part) (string, error) {
	// Part.FileName would take filepath.Base, which differs between systems.
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	raw, ok := params["filename"]
	if err != nil || !ok {
		return "", badField("file", "needs a file name")
	}
	if len(raw) > maxFileNameBytes {
		return "", badField("file", "has a name of %d bytes; at most %d are allowed", len(raw), maxFileNameBytes)
	}
	if !utf8.ValidString(raw) || strings.ContainsFunc(raw, unicode.IsControl) {
		return "", badField("file", "has a name that is not valid text")
	}
	name := fileLabel(raw)
	if name == "" {
		return "", badField("file", "needs a file name")
	}
	return name, nil
}

// fileLabel is the last segment of a name, whichever way its slashes lean.
func fileLabel(name string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	if name = strings.TrimSpace(name); name == "." || name == ".." {
		return ""
	}
	return name
}

// limitedBody is a body of at most limit bytes; beyond, it fails.
type limitedBody struct {
	r           io.Reader
	left, limit int64
}

func (l *limitedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if int64(n) > l.left {
		return int(l.left), tooLarge("body", l.limit)
	}
	l.left -= int64(n)
	return n, err
}

func tooLarge(field string, limit int64) error {
	return &engine.FieldError{Field: field, Message: fmt.Sprintf("is larger than %d bytes", limit), Err: engine.ErrTooLarge}
}

// multipartError keeps the errors that have a line in the table and makes the
// rest, which are mistakes in the multipart syntax, the caller's.
func multipartError(err error) error {
	var field *engine.FieldError
	switch {
	case errors.As(err, &field), errors.Is(err, errBodySlow), errors.Is(err, errBodyCut), errors.Is(err, errMemory):
		return err
	case errors.Is(err, multipart.ErrMessageTooLarge):
		return &engine.FieldError{Field: "body", Message: "has a part with too many headers", Err: engine.ErrTooLarge}
	}
	return badField("body", "is not well-formed multipart/form-data")
}
