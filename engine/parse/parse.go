package parse

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"alcove/engine"
)

// kind is a type of file that is read.
type kind int

const (
	kindText kind = iota
	kindMarkdown
	kindJSON
)

// readable is the end of the message of every refused type.
const readable = "read are text (.txt), Markdown (.md) and JSON (.json)"

// kinds maps the endings that are read; no ending at all is text.
var kinds = map[string]kind{
	"": kindText, ".txt": kindText, ".text": kindText,
	".md": kindMarkdown, ".markdown": kindMarkdown,
	".json": kindJSON,
}

// signatures are the first bytes of formats that come under a wrong name.
var signatures = []struct{ magic, name string }{
	{"%PDF-", "a PDF"},
	{"PK\x03\x04", "a ZIP archive, such as a Word, Excel or EPUB file"},
	{"PK\x05\x06", "an empty ZIP archive"},
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file"},
	{"{\\rtf", "an RTF file"},
	{"\x1f\x8b", "a gzip archive"},
	{"\x89PNG\r\n", "a PNG image"},
	{"\xff\xd8\xff", "a JPEG image"},
	{"GIF8", "a GIF image"},
	{"\x7fELF", "a program"},
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// New returns the functions of this package as an engine.Parser.
func New() engine.Parser { return engine.Parser{Sniff: Sniff, Parse: Parse} }

// Sniff refuses what Parse would refuse: it wraps engine.ErrUnsupportedType,
// with the types that are read in the message, engine.ErrNotText for bytes that
// are not UTF-8, hold a NUL or are not JSON under such a name, and
// engine.ErrEmptyDocument for nothing but white space. It does not keep data.
func Sniff(name string, data []byte) error {
	_, err := sniff(name, data)
	return err
}

// Parse returns the text blocks of a file. Its errors are those of Sniff, and
// engine.ErrTooLarge for a JSON file over the limits of this package. The same
// bytes under the same name always give the same blocks. It does not keep data.
func Parse(ctx context.Context, name string, data []byte) (*engine.Parsed, error) {
	k, err := sniff(name, data)
	if err != nil {
		return nil, err
	}
	text := bytes.TrimPrefix(data, byteOrderMark)
	offset := len(data) - len(text)
	switch k {
	case kindMarkdown:
		return markdown(text, offset), nil
	case kindJSON:
		return jsonLeaves(ctx, text, offset)
	}
	return &engine.Parsed{
		Verbatim: true,
		Blocks:   []engine.Block{{Text: string(text), Start: offset, End: len(data)}},
	}, nil
}

func sniff(name string, data []byte) (kind, error) {
	ext := strings.ToLower(path.Ext(strings.ReplaceAll(name, `\`, "/")))
	k, ok := kinds[ext]
	if !ok {
		return 0, fmt.Errorf("%w: %s; %s", engine.ErrUnsupportedType, ext, readable)
	}
	for _, s := range signatures {
		if bytes.HasPrefix(data, []byte(s.magic)) {
			return 0, fmt.Errorf("%w: the bytes are those of %s; %s", engine.ErrUnsupportedType, s.name, readable)
		}
	}
	text := bytes.TrimPrefix(data, byteOrderMark)
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return 0, fmt.Errorf("%w: it is UTF-16; save it as UTF-8", engine.ErrNotText)
	}
	if i := bytes.IndexByte(text, 0); i >= 0 {
		return 0, fmt.Errorf("%w: NUL byte at offset %d", engine.ErrNotText, len(data)-len(text)+i)
	}
	if !utf8.Valid(text) {
		return 0, fmt.Errorf("%w: not UTF-8 at offset %d", engine.ErrNotText, len(data)-len(text)+invalidAt(text))
	}
	if bytes.IndexFunc(text, func(r rune) bool { return !unicode.IsSpace(r) }) < 0 {
		return 0, engine.ErrEmptyDocument
	}
	if k == kindJSON && !json.Valid(text) {
		return 0, fmt.Errorf("%w: not valid JSON", engine.ErrNotText)
	}
	return k, nil
}

func invalidAt(b []byte) int {
	for i := 0; i < len(b); {
		r, w := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && w == 1 {
			return i
		}
		i += w
	}
	return len(b)
}
