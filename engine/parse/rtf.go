package parse

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"

	"alcove/engine"
)

// maxGroups bounds how deep groups of an RTF file are nested.
const maxGroups = 1000

// rtfGroup is the state of one group. It is copied to the groups within.
type rtfGroup struct {
	skip, hidden bool
	fallback     int // bytes that stand for a character that not all readers know
	code         encoding.Encoding
	into         rtfTarget
}

type rtfTarget int

const (
	rtfBody rtfTarget = iota
	rtfNote
	rtfMargin
	rtfTitle
	rtfFonts
)

// rtfReader reads Rich Text: paragraphs, headings by their outline level, tables; footnotes
// and page headers and footers in sections of their own. Hidden and deleted text,
// pictures and objects are left out.
type rtfReader struct {
	t        *draft
	src      []byte
	at       int
	groups   []rtfGroup
	g        rtfGroup
	def      encoding.Encoding
	fonts    map[int]encoding.Encoding
	font     int
	raw      []byte // bytes of the code page that are not decoded yet
	drop     int    // fallback characters to pass over
	high     rune   // first half of a character in two
	text     [4]strings.Builder
	outline  int
	inTable  bool
	cells    []string
	table    *table
	notes    []string
	margins  []string
	fresh    bool // nothing but control words in this group yet
	optional bool // after \*
}

// rtf reads an RTF file.
func rtf(ctx context.Context, data []byte, l Limits) (*engine.Parsed, error) {
	r := &rtfReader{t: newDraft(l), src: data, fonts: map[int]encoding.Encoding{}}
	r.def = codePage(1252)
	r.g = rtfGroup{fallback: 1, code: r.def}
	for n := 0; r.at < len(data); n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := r.step(); err != nil {
			return nil, err
		}
	}
	r.paragraph()
	r.row()
	for _, s := range []struct {
		title string
		lines []string
	}{{"Footnotes", r.notes}, {"Page headers and footers", r.margins}} {
		for i, line := range s.lines {
			if i == 0 {
				r.t.section(s.title)
			}
			r.t.line(line)
		}
	}
	r.t.title = oneLine(r.text[rtfTitle].String())
	return r.t.done()
}

func (r *rtfReader) step() error {
	c := r.src[r.at]
	switch c {
	case '{':
		r.decode()
		if len(r.groups) == maxGroups {
			return tooLarge("groups are nested more than %d deep", maxGroups)
		}
		r.groups = append(r.groups, r.g)
		r.fresh, r.optional, r.drop = true, false, 0
		r.at++
	case '}':
		r.decode()
		r.at++
		r.drop = 0
		if n := len(r.groups); n > 0 {
			was := r.g.into
			r.g, r.groups = r.groups[n-1], r.groups[:n-1]
			if was != r.g.into {
				r.endTarget(was)
			}
		} else {
			r.at = len(r.src) // what follows the document is none of it
		}
	case '\\':
		return r.control()
	case '\r', '\n', 0:
		r.at++
	default:
		r.char(c)
		r.at++
	}
	return nil
}

// char is one byte of text.
func (r *rtfReader) char(c byte) {
	r.fresh = false
	if r.drop > 0 {
		r.drop--
		return
	}
	r.raw = append(r.raw, c)
}

// decode makes text of the bytes read so far.
func (r *rtfReader) decode() {
	if len(r.raw) == 0 {
		return
	}
	raw := r.raw
	r.raw = r.raw[:0]
	if r.g.skip || r.g.hidden {
		return
	}
	s, err := r.g.code.NewDecoder().Bytes(raw)
	if err != nil {
		return
	}
	r.write(string(s))
}

func (r *rtfReader) write(s string) {
	if !r.g.skip && !r.g.hidden && r.g.into != rtfFonts && r.text[r.g.into].Len() < r.t.limits.TextBytes {
		r.text[r.g.into].WriteString(s)
	}
}

func (r *rtfReader) control() error {
	src := r.src[r.at+1:]
	if len(src) == 0 {
		r.at++
		return nil
	}
	if c := src[0]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
		r.at += 2
		switch c {
		case '\'':
			if len(src) < 3 {
				r.at = len(r.src)
				return nil
			}
			b, err := strconv.ParseUint(string(src[1:3]), 16, 8)
			if err == nil {
				r.at += 2
				r.char(byte(b))
			}
		case '*':
			r.optional = true
			return nil
		case '\\', '{', '}':
			r.char(c)
		case '~':
			r.decode()
			r.write(" ")
		case '_':
			r.char('-')
		case '\r', '\n':
			r.decode()
			r.paragraph()
		}
		return nil
	}
	n := 1
	for n < len(src) && ('a' <= src[n] && src[n] <= 'z' || 'A' <= src[n] && src[n] <= 'Z') {
		if n++; n > 64 {
			return broken("RTF", errors.New("a control word of more than 64 letters"))
		}
	}
	word := string(src[:n])
	m := n
	if m < len(src) && src[m] == '-' {
		m++
	}
	for m < len(src) && '0' <= src[m] && src[m] <= '9' && m-n < 12 {
		m++
	}
	num, err := strconv.Atoi(string(src[n:m]))
	has := err == nil
	if !has {
		m = n
	}
	if m < len(src) && src[m] == ' ' {
		m++
	}
	r.at += 1 + m
	if r.drop > 0 && word != "u" && word != "uc" {
		r.drop--
		return nil
	}
	if word == "bin" {
		r.at = min(len(r.src), r.at+max(0, num))
		return nil
	}
	return r.word(word, num, has)
}

// rtfSkipped are groups that hold no text of the document.
var rtfSkipped = map[string]bool{
	"colortbl": true, "stylesheet": true, "pict": true, "object": true, "objdata": true, "themedata": true, "datastore": true,
	"xmlnstbl": true, "listtable": true, "listoverridetable": true, "rsidtbl": true, "generator": true, "fldinst": true, "sp": true,
	"shprslt": true, "nonshppict": true, "bkmkstart": true, "bkmkend": true, "filetbl": true, "latentstyles": true, "pgdsctbl": true,
	"mmathPr": true, "colorschememapping": true, "revtbl": true, "annotation": true, "atnid": true, "atnauthor": true, "template": true,
	"author": true, "operator": true, "comment": true, "doccomm": true, "subject": true, "keywords": true, "company": true, "category": true,
	"manager": true, "creatim": true, "revtim": true, "printim": true, "buptim": true, "userprops": true, "passwordhash": true,
}

// rtfKept are groups marked as optional that do hold text.
var rtfKept = map[string]bool{"shpinst": true, "shptxt": true, "pntext": true, "listtext": true, "ud": true, "upr": false}

var rtfSigns = map[string]string{
	"tab": "\t", "line": "\n", "emdash": "—", "endash": "–", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”",
	"bullet": "•", "emspace": " ", "enspace": " ", "softline": "\n", "lbr": "\n",
}

func (r *rtfReader) word(word string, num int, has bool) error {
	first := r.fresh
	r.fresh = false
	if r.g.skip {
		return nil
	}
	if first {
		optional := r.optional
		r.optional = false
		switch {
		case rtfSkipped[word], optional && !rtfKept[word] && word != "footnote":
			r.g.skip = true
			return nil
		case word == "fonttbl":
			r.g.into = rtfFonts
			return nil
		case word == "footnote":
			r.g.into = rtfNote
			return nil
		case strings.HasPrefix(word, "header") && len(word) <= 7, strings.HasPrefix(word, "footer") && len(word) <= 7:
			r.g.into = rtfMargin
			return nil
		case word == "title":
			r.g.into = rtfTitle
			return nil
		}
	}
	if s, ok := rtfSigns[word]; ok {
		r.decode()
		r.write(s)
		return nil
	}
	switch word {
	case "ansicpg":
		if e := codePage(num); e != nil {
			r.def, r.g.code = e, e
		}
	case "mac":
		r.def = codePage(10000)
		r.g.code = r.def
	case "uc":
		r.g.fallback = max(0, min(num, 16))
	case "u":
		r.unicode(num)
	case "f", "af":
		if word == "af" {
			return nil
		}
		r.decode()
		if r.g.into == rtfFonts {
			r.font = num
		} else if e := r.fonts[num]; e != nil {
			r.g.code = e
		} else {
			r.g.code = r.def
		}
	case "fcharset":
		if e := codePage(charsetPages[num]); r.g.into == rtfFonts && e != nil && len(r.fonts) < 10_000 {
			r.fonts[r.font] = e
		}
	case "plain":
		r.decode()
		r.g.code, r.g.hidden = r.def, false
	case "v", "deleted":
		r.decode()
		r.g.hidden = !has || num != 0
	case "outlinelevel":
		r.outline = num + 1
	case "pard":
		r.outline, r.inTable = 0, false
	case "intbl":
		r.inTable = true
	case "par", "sect", "page":
		r.decode()
		r.paragraph()
	case "cell", "nestcell":
		r.decode()
		r.cells = append(r.cells, r.text[rtfBody].String())
		r.text[rtfBody].Reset()
	case "row", "nestrow":
		r.decode()
		r.row()
	case "chftn":
		r.write("[" + strconv.Itoa(len(r.notes)+1) + "]")
	}
	return nil
}

// unicode is a character by its number; the bytes after it stand for it elsewhere.
func (r *rtfReader) unicode(n int) {
	r.decode()
	if n < 0 {
		n += 1 << 16
	}
	c := rune(n)
	switch {
	case utf16.IsSurrogate(c) && r.high == 0:
		r.high = c
	case r.high != 0:
		if full := utf16.DecodeRune(r.high, c); full != 0xfffd {
			r.write(string(full))
		}
		r.high = 0
	case n > 0 && n <= 0x10ffff:
		r.write(string(c))
	}
	r.drop = r.g.fallback
}

// paragraph ends a paragraph of where text goes now.
func (r *rtfReader) paragraph() {
	if r.g.skip {
		return
	}
	if r.g.into != rtfBody {
		r.write("\n")
		return
	}
	if r.inTable {
		r.write(" ")
		return
	}
	r.row()
	s := strings.Trim(r.text[rtfBody].String(), " \n")
	r.text[rtfBody].Reset()
	if r.outline >= 1 && r.outline <= 9 {
		r.t.heading(r.outline, s)
	} else if s == "" {
		r.t.blank()
	} else {
		r.t.line(s)
		r.t.blank()
	}
}

// row ends a row of a table.
func (r *rtfReader) row() {
	if len(r.cells) == 0 {
		r.table = nil
		return
	}
	if r.table == nil {
		r.table = &table{t: r.t}
	}
	r.table.row(r.cells)
	r.cells = nil
}

// endTarget takes what went into a group of its own.
func (r *rtfReader) endTarget(t rtfTarget) {
	if t != rtfNote && t != rtfMargin {
		return
	}
	s := oneLine(r.text[t].String())
	r.text[t].Reset()
	if s == "" {
		return
	}
	if t == rtfNote {
		r.notes = append(r.notes, s)
		return
	}
	for _, m := range r.margins {
		if m == s {
			return
		}
	}
	r.margins = append(r.margins, s)
}

// charsetPages are the code pages of the charsets of fonts.
var charsetPages = map[int]int{
	0: 1252, 77: 10000, 128: 932, 129: 949, 134: 936, 136: 950, 161: 1253, 162: 1254, 163: 1258, 177: 1255, 178: 1256, 186: 1257, 204: 1251, 222: 874, 238: 1250,
}

// codePage is a Windows code page, nil for one that is not known.
func codePage(n int) encoding.Encoding {
	name := ""
	switch n {
	case 932:
		name = "shift_jis"
	case 936:
		name = "gbk"
	case 949:
		name = "euc-kr"
	case 950:
		name = "big5"
	case 874, 1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 1258:
		name = "windows-" + strconv.Itoa(n)
	case 10000:
		name = "macintosh"
	case 65001:
		name = "utf-8"
	case 866:
		name = "ibm866"
	case 437, 850, 858, 819:
		name = "windows-1252"
	default:
		return nil
	}
	e, _ := charset.Lookup(name)
	return e
}
