package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// check validates every document of a call and names the fields as the wire does.
func (e *Engine) check(docs []DocumentInput, trackPrefix string) ([]*incoming, error) {
	text := "text"
	if trackPrefix != "insert" {
		text = "file"
	}
	if len(docs) == 0 {
		return nil, badField(text+"s", "at least one document is needed")
	}
	if len(docs) > e.o.MaxTexts {
		return nil, badField(text+"s", fmt.Sprintf("%d documents in one call; at most %d are allowed", len(docs), e.o.MaxTexts))
	}
	ins := make([]*incoming, len(docs))
	meta, cost := 0, 0
	for i := range docs {
		at := func(one, many string) string {
			if len(docs) == 1 {
				return one
			}
			return fmt.Sprintf("%s[%d]", many, i)
		}
		in, err := e.checkOne(&docs[i], fields{
			text: at(text, text+"s"), id: at("id", "ids"), source: at("file_source", "file_sources"), metadata: at("metadata", "metadata"),
		})
		if err != nil {
			return nil, err
		}
		meta += len(in.meta)
		cost += in.cost
		ins[i] = in
	}
	if meta > e.o.MaxCallMetadata {
		return nil, &FieldError{"metadata", fmt.Sprintf("%d bytes in one call; at most %d are allowed", meta, e.o.MaxCallMetadata), ErrTooLarge}
	}
	if cost > commitBytes { // the worker makes the summaries up for
		for _, in := range ins {
			cost -= len(in.face.Summary)
			in.cost -= len(in.face.Summary)
			in.face.Summary = ""
		}
	}
	if cost > maxAcceptBytes {
		return nil, &FieldError{text + "s", fmt.Sprintf("names, sources and metadata take %d bytes in one call; at most %d are allowed: send fewer documents at a time", cost, maxAcceptBytes), ErrTooLarge}
	}
	return ins, nil
}

// fields are the names of one document's fields in errors.
type fields struct{ text, id, source, metadata string }

func (e *Engine) checkOne(d *DocumentInput, f fields) (*incoming, error) {
	if len(d.Content) == 0 {
		return nil, &FieldError{f.text, "is empty", ErrEmptyDocument}
	}
	if len(d.Content) > e.o.MaxDocumentBytes {
		return nil, &FieldError{f.text, fmt.Sprintf("%d bytes; at most %d are allowed", len(d.Content), e.o.MaxDocumentBytes), ErrTooLarge}
	}
	if d.ID != "" {
		if err := checkDocumentID(d.ID); err != nil {
			return nil, badField(f.id, err.Error())
		}
	}
	for _, x := range []struct{ field, v string }{{f.source, d.FilePath}, {f.source, d.Name}} {
		if err := checkSource(x.v); err != nil {
			return nil, badField(x.field, err.Error())
		}
	}
	metadata, meta, err := checkMetadata(d.Metadata, e.o.MaxMetadataBytes)
	if err != nil {
		return nil, &FieldError{f.metadata, err.Error(), refusalOf(err)}
	}
	is := FileType{Text: true}
	if d.kind == "" {
		if is, err = e.o.Parser.Sniff(d.Name, d.Content); err != nil {
			return nil, &FieldError{f.text, err.Error(), refusalOf(err)}
		}
	}
	in := &incoming{field: f.text, id: d.ID, content: d.Content, meta: meta}
	if in.id == "" {
		in.id = documentID(d.FilePath, d.Content)
	}
	in.key = keyOf(in.id)
	hash := sha256.Sum256(d.Content)
	in.face = face{
		FilePath: d.FilePath, Name: d.Name, Kind: d.kind, Summary: summarize(d.Content),
		Hash: hex.EncodeToString(hash[:]), Length: len(d.Content), Metadata: metadata, Media: is.Media,
	}
	if !is.Text {
		in.content = squeeze(d.Content)
		in.face.Summary, in.face.Stored, in.face.MainText = "", len(in.content), d.MainText
		in.face.Keep = e.o.KeepOriginals
		if d.KeepOriginal != nil {
			in.face.Keep = *d.KeepOriginal
		}
	}
	if in.face.FilePath == "" {
		in.face.FilePath = unknownSource
	}
	in.cost = recordBytes + len(in.id) + len(in.face.FilePath) + len(in.face.Name) + len(in.face.Summary) + len(meta)
	return in, nil
}

// refusalOf is the class of a refusal, for the table of statuses.
func refusalOf(err error) error {
	for _, class := range []error{ErrTooLarge, ErrUnsupportedType, ErrNotText, ErrEmptyDocument} {
		if errors.Is(err, class) {
			return class
		}
	}
	return ErrBadInput
}

// documentID is the id of a document that came without one (spec: a document's
// identity): the zero byte keeps ("ab","c") and ("a","bc") apart.
func documentID(source string, content []byte) string {
	h := sha256.New()
	h.Write([]byte(source))
	h.Write([]byte{0})
	h.Write(content)
	return "doc-" + hex.EncodeToString(h.Sum(nil)[:16])
}

func checkDocumentID(id string) error {
	if len(id) == 0 || len(id) > maxDocumentIDBytes {
		return fmt.Errorf("has %d bytes; 1 to %d are allowed", len(id), maxDocumentIDBytes)
	}
	if id == "." || id == ".." {
		return errors.New("no path can hold a dot segment")
	}
	for i, c := range id {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.ContainsRune("._:@+-", c):
		default:
			return fmt.Errorf("byte %d is %q; letters, digits and ._:@+- are allowed", i, c)
		}
	}
	return nil
}

func checkSource(s string) error {
	switch {
	case len(s) > maxFilePathBytes:
		return fmt.Errorf("has %d bytes; at most %d are allowed", len(s), maxFilePathBytes)
	case !utf8.ValidString(s):
		return errors.New("is not valid UTF-8")
	case strings.IndexFunc(s, unicode.IsControl) >= 0:
		return errors.New("has a control character")
	}
	return nil
}

// checkMetadata returns metadata as it will be read back from the store, so that
// equal metadata are equal bytes however the caller's decoder made them.
func checkMetadata(m map[string]any, maxBytes int) (map[string]any, []byte, error) {
	if len(m) == 0 {
		return nil, nil, nil
	}
	if depthOver(m, maxMetadataDepth) {
		return nil, nil, fmt.Errorf("is nested more than %d deep", maxMetadataDepth)
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, nil, fmt.Errorf("is not JSON: %v", err)
	}
	if len(b) > maxBytes {
		return nil, nil, fmt.Errorf("%w: %d bytes; at most %d are allowed", ErrTooLarge, len(b), maxBytes)
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, nil, fmt.Errorf("is not JSON: %v", err)
	}
	return out, metadataBytes(out), nil
}

func metadataBytes(m map[string]any) []byte {
	if len(m) == 0 {
		return nil
	}
	return marshalRecord(m)
}

// depthOver reports whether v is nested more than depth deep. It stops at the
// first such place.
func depthOver(v any, depth int) bool {
	if depth < 0 {
		return true
	}
	switch x := v.(type) {
	case map[string]any:
		for _, y := range x {
			if depthOver(y, depth-1) {
				return true
			}
		}
	case []any:
		for _, y := range x {
			if depthOver(y, depth-1) {
				return true
			}
		}
	}
	return false
}

// summarize is the beginning of a text on one line, "" for bytes that are no text.
func summarize(content []byte) string {
	head := content
	if cut := 8 * summaryChars; len(head) > cut {
		head = head[:cut]
		for i := 0; i < utf8.UTFMax && len(head) > 0 && !utf8.Valid(head); i++ {
			head = head[:len(head)-1]
		}
	}
	if !utf8.Valid(head) {
		return ""
	}
	words := strings.Join(strings.Fields(string(head)), " ")
	n := 0
	for i := range words {
		if n == summaryChars {
			return words[:i] + "..."
		}
		n++
	}
	return words
}
