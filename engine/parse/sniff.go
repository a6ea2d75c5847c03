package parse

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gabriel-vasile/mimetype"

	"alcove/engine"
)

// format is a type of file that is read.
type format struct {
	name, media string
	archived    bool // it is a ZIP archive
	own         bool // it is its own text if it is UTF-8
}

var (
	formatText      = &format{name: "text", media: "text/plain", own: true}
	formatMarkdown  = &format{name: "Markdown", media: "text/markdown", own: true}
	formatJSON      = &format{name: "JSON", media: "application/json", own: true}
	formatJSONL     = &format{name: "JSON lines", media: "application/jsonl", own: true}
	formatHTML      = &format{name: "HTML", media: "text/html"}
	formatXML       = &format{name: "XML", media: "application/xml"}
	formatTable     = &format{name: "table", media: "text/csv"}
	formatSubtitles = &format{name: "subtitles", media: "text/vtt"}
	formatMail      = &format{name: "e-mail", media: "message/rfc822"}
	formatRTF       = &format{name: "RTF", media: "application/rtf"}
	formatPDF       = &format{name: "PDF", media: "application/pdf"}
	formatDocx      = &format{name: "Word document", media: "application/vnd.openxmlformats-officedocument.wordprocessingml.document", archived: true}
	formatFlatOPC   = &format{name: "Word document", media: "application/vnd.openxmlformats-officedocument.wordprocessingml.document"}
	formatPptx      = &format{name: "presentation", media: "application/vnd.openxmlformats-officedocument.presentationml.presentation", archived: true}
	formatXlsx      = &format{name: "workbook", media: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", archived: true}
	formatOdf       = &format{name: "OpenDocument", media: "application/vnd.oasis.opendocument.text", archived: true}
	formatEpub      = &format{name: "e-book", media: "application/epub+zip", archived: true}
	formatZip       = &format{name: "archive", media: "application/zip", archived: true}
)

// endings are the endings of names that are read. Those of text say what the bytes
// cannot; the others only what they should be.
var endings = map[string]*format{
	"": formatText, ".txt": formatText, ".text": formatText, ".log": formatText,
	".md": formatMarkdown, ".markdown": formatMarkdown, ".mdx": formatMarkdown,
	".json": formatJSON, ".jsonl": formatJSONL, ".ndjson": formatJSONL,
	".html": formatHTML, ".htm": formatHTML, ".xhtml": formatHTML, ".xml": formatXML, ".rss": formatXML, ".atom": formatXML, ".svg": formatXML, ".opml": formatXML,
	".csv": formatTable, ".tsv": formatTable, ".tab": formatTable, ".vtt": formatSubtitles, ".srt": formatSubtitles, ".eml": formatMail,
	".rtf": formatRTF, ".pdf": formatPDF, ".docx": formatDocx, ".docm": formatDocx, ".dotx": formatDocx, ".pptx": formatPptx, ".pptm": formatPptx, ".ppsx": formatPptx,
	".xlsx": formatXlsx, ".xlsm": formatXlsx, ".xltx": formatXlsx, ".odt": formatOdf, ".odp": formatOdf, ".ods": formatOdf, ".epub": formatEpub, ".zip": formatZip,
}

func init() {
	for _, e := range strings.Fields(`.adb .adoc .asciidoc .asm .astro .awk .bash .bat .bib .c .cc .cfg .cjs .clj .cmake .cmd .conf .cpp .cs .css .cu .cxx
		.d .dart .diff .dockerfile .el .elm .env .erl .ex .exs .f90 .fish .fs .gd .go .gradle .graphql .groovy .h .hcl .hpp .hs .hxx .ini .ipp .java .jl
		.js .jsx .kt .kts .less .lisp .lua .m .mjs .mk .ml .mm .nim .nix .org .pas .patch .php .pl .pm .po .pot .properties .proto .ps1 .py .pyi .r .rb .rs .rst
		.s .sass .scala .scm .scss .sh .sol .sql .sv .svelte .swift .tcl .tex .textile .tf .toml .ts .tsx .v .vb .vhd .vim .vue .wiki .yaml .yml .zig .zsh`) {
		endings[e] = formatText
	}
}

// readable ends the message of every refused type.
const readable = "read are PDF, .docx, .pptx, .xlsx, .odt, .epub, .html, .rtf, .csv, .tsv, .json, .jsonl, .yaml, .xml, .eml, .vtt, .srt, .md, .txt, source code, and .zip of these"

var byteOrderMark = []byte("\xef\xbb\xbf")

// found is what a file is. note says that its name says otherwise.
type found struct {
	format *format
	own    bool // the file is its own text
	note   string
}

// Sniff says what a file is and refuses what Parse would refuse, as far as its first
// bytes and an archive's directory tell: engine.ErrUnsupportedType with the types that
// are read in the message, engine.ErrNotText for bytes that are no text in any known
// charset or no JSON under such a name, and engine.ErrEmptyDocument for nothing but
// white space. Without bytes it tells an unread ending from a read one. It does not
// keep data.
func Sniff(name string, data []byte) (engine.FileType, error) {
	k, err := detect(name, data)
	if err != nil {
		return engine.FileType{}, err
	}
	return engine.FileType{Media: k.format.media, Text: k.own}, nil
}

func ending(name string) string {
	return strings.ToLower(path.Ext(strings.ReplaceAll(name, `\`, "/")))
}

// detect decides by the bytes what a file is, whatever it is called. The ending of its
// name only settles between formats that bytes do not tell apart: those of text.
func detect(name string, data []byte) (found, error) {
	ext := ending(name)
	named, known := endings[ext]
	if len(bytes.TrimSpace(bytes.TrimPrefix(data[:min(len(data), 4096)], byteOrderMark))) == 0 && len(data) <= 4096 {
		if !known {
			return found{}, unsupported(ext)
		}
		return found{}, engine.ErrEmptyDocument
	}
	if name == "" { // a text that came as such
		return textual(formatText, data)
	}
	f, err := bySignature(data)
	if err != nil {
		return found{}, err
	}
	if f != nil {
		k := found{format: f}
		if known && named != f && !(named == formatDocx && f == formatFlatOPC) {
			k.note = fmt.Sprintf("the name ends in %s, the bytes are those of a %s", ext, f.name)
		} else if !known && ext != "" {
			k.note = fmt.Sprintf("the name ends in %s, the bytes are those of a %s", shortName(ext), f.name)
		}
		return k, nil
	}
	if !known {
		return found{}, unsupported(ext)
	}
	switch named {
	case formatPDF, formatDocx, formatPptx, formatXlsx, formatOdf, formatEpub, formatZip, formatRTF:
		if s := markup(data); s != nil { // a page saved under the name of what it should have led to
			return found{format: s, note: fmt.Sprintf("the name ends in %s, the bytes are those of %s", ext, s.name)}, nil
		}
		return found{}, fmt.Errorf("%w: the name ends in %s, but the bytes are not those of a %s; %s", engine.ErrUnsupportedType, ext, named.name, readable)
	case formatText:
		if ext == "" || ext == ".txt" || ext == ".text" {
			break
		}
	}
	return textual(named, data)
}

func unsupported(ext string) error {
	if ext == "" {
		ext = "no ending"
	}
	return fmt.Errorf("%w: %s; %s", engine.ErrUnsupportedType, shortName(ext), readable)
}

// bySignature recognises formats by their first bytes; nil is text or unknown.
func bySignature(data []byte) (*format, error) {
	head := data[:min(len(data), 1024)]
	switch {
	case bytes.HasPrefix(bytes.TrimLeft(head, "\xef\xbb\xbf \t\r\n"), []byte("%PDF-")):
		return formatPDF, nil
	case bytes.HasPrefix(head, []byte("{\\rtf")):
		return formatRTF, nil
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return archived(data)
	case bytes.HasPrefix(head, []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")):
		if bytes.Contains(data, utf16le("EncryptedPackage")) {
			return nil, errLocked("the Office file")
		}
		return nil, fmt.Errorf("%w: the bytes are those of an Office file from before 2007 or of an Outlook message; %s", engine.ErrUnsupportedType, readable)
	}
	if isFlatOPC(head) {
		return formatFlatOPC, nil
	}
	if _, _, err := charsetOf(data[:whole(data, 8192)], ""); err == nil {
		return nil, nil
	}
	if i := bytes.Index(head, []byte("%PDF-")); i > 0 { // behind what some server put before it
		return formatPDF, nil
	}
	kind := mimetype.Detect(data[:min(len(data), 8192)])
	if base, _, _ := strings.Cut(kind.String(), ";"); base != "application/octet-stream" && !strings.HasPrefix(base, "text/") {
		return nil, fmt.Errorf("%w: the bytes are those of %s; %s", engine.ErrUnsupportedType, base, readable)
	}
	return nil, nil
}

// whole is how much of at most n bytes ends at the end of a rune.
func whole(data []byte, n int) int {
	if len(data) <= n {
		return len(data)
	}
	n &^= 3 // whole characters of UTF-16 and UTF-32
	for i := n; i > n-utf8.UTFMax; i-- {
		if utf8.RuneStart(data[i]) {
			if utf8.Valid(data[:i]) {
				return i
			}
			break
		}
	}
	return n
}

func utf16le(s string) []byte {
	b := make([]byte, 0, 2*len(s))
	for i := range len(s) {
		b = append(b, s[i], 0)
	}
	return b
}

func isFlatOPC(head []byte) bool {
	return bytes.Contains(head, []byte("http://schemas.microsoft.com/office/2006/xmlPackage"))
}

// archived says what kind of archive it is by the names in its directory or, where
// that is cut off, by those at its beginning: reading it then says what is broken.
func archived(data []byte) (*format, error) {
	var names []string
	var media string
	if r, err := zip.NewReader(bytes.NewReader(data), int64(len(data))); err == nil || errors.Is(err, zip.ErrInsecurePath) {
		for i, f := range r.File {
			if i == 10_000 {
				break
			}
			names = append(names, f.Name)
			if f.Name == "mimetype" && f.UncompressedSize64 < 200 && f.Method == zip.Store {
				if rc, err := f.Open(); err == nil {
					b := make([]byte, 200)
					n, _ := rc.Read(b)
					media = string(b[:n])
					_ = rc.Close()
				}
			}
		}
	} else {
		head := data[:min(len(data), 256<<10)]
		for i := 0; i >= 0 && len(names) < 1000; {
			j := bytes.Index(head[i:], []byte("PK\x03\x04"))
			if j < 0 || i+j+30 > len(head) {
				break
			}
			i += j
			n := int(head[i+26]) | int(head[i+27])<<8
			names = append(names, string(head[min(i+30, len(head)):min(i+30+n, len(head))]))
			i += 30
		}
	}
	media = strings.TrimSpace(media)
	switch {
	case media == "application/epub+zip":
		return formatEpub, nil
	case strings.HasPrefix(media, "application/vnd.oasis.opendocument."):
		return formatOdf, nil
	}
	var word, ppt, xl, xlsb, container, odf bool
	for _, n := range names {
		n = strings.TrimPrefix(strings.ToLower(strings.ReplaceAll(n, `\`, "/")), "/")
		word = word || strings.HasPrefix(n, "word/")
		ppt = ppt || strings.HasPrefix(n, "ppt/")
		xl = xl || strings.HasPrefix(n, "xl/")
		xlsb = xlsb || n == "xl/workbook.bin"
		container = container || n == "meta-inf/container.xml"
		odf = odf || n == "content.xml"
	}
	switch {
	case xlsb:
		return nil, fmt.Errorf("%w: a binary workbook (.xlsb); %s", engine.ErrUnsupportedType, readable)
	case word:
		return formatDocx, nil
	case ppt:
		return formatPptx, nil
	case xl:
		return formatXlsx, nil
	case container:
		return formatEpub, nil
	case odf:
		return formatOdf, nil
	}
	return formatZip, nil
}

// markup recognises HTML and XML by how they begin.
func markup(data []byte) *format {
	head := bytes.ToLower(bytes.TrimSpace(bytes.TrimPrefix(data[:min(len(data), 1024)], byteOrderMark)))
	switch {
	case bytes.HasPrefix(head, []byte("<!doctype html")), bytes.HasPrefix(head, []byte("<html")),
		bytes.HasPrefix(head, []byte("<?xml")) && bytes.Contains(head, []byte("<html")):
		return formatHTML
	case bytes.HasPrefix(head, []byte("<?xml")):
		return formatXML
	}
	return nil
}

// textual checks a file of text.
func textual(f *format, data []byte) (found, error) {
	k := found{format: f}
	if f == formatHTML || f == formatXML || f == formatMail { // they say themselves in which charset they are
		if !hasText(data) {
			return found{}, engine.ErrEmptyDocument
		}
		return k, nil
	}
	src, converted, err := toUTF8(data, "")
	if err != nil {
		return found{}, err
	}
	if !hasText(src) {
		return found{}, engine.ErrEmptyDocument
	}
	if f == formatJSON && !json.Valid(src) {
		return found{}, fmt.Errorf("%w: not valid JSON", engine.ErrNotText)
	}
	k.own = f.own && !converted
	return k, nil
}

func hasText(b []byte) bool {
	return bytes.IndexFunc(b, func(r rune) bool { return !unicode.IsSpace(r) && r != 0xfeff }) >= 0
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
