package parse

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
)

// inHere reads in this process, under the default limits.
func inHere(name string, data []byte) (*engine.Parsed, error) {
	return parse(context.Background(), engine.File{Name: name, Data: data}, Options{Limits: Limits{}.withDefaults()})
}

func read(t *testing.T, name, file string) *engine.Parsed {
	t.Helper()
	p, err := inHere(name, []byte(file))
	require.NoError(t, err)
	check(t, file, p)
	return p
}

// oneGoroutine leaves a long test out under the race detector, which has nothing to see
// in it.
func oneGoroutine(t *testing.T) {
	t.Helper()
	if raced {
		t.Skip("is of one goroutine")
	}
}

// check holds what is true of every parsed file.
func check(t *testing.T, file string, p *engine.Parsed) {
	t.Helper()
	if p.Text != "" { // it came in another charset: the text is what was made of it
		file = p.Text
	}
	at := 0
	for i, b := range p.Blocks {
		require.Less(t, b.Start, b.End)
		if p.Verbatim {
			require.Equal(t, file[b.Start:b.End], b.Text)
			if i > 0 {
				require.Equal(t, at, b.Start, "blocks lie one after the other")
			}
		} else {
			require.GreaterOrEqual(t, b.Start, at)
		}
		at = b.End
	}
	require.LessOrEqual(t, at, len(file))
	if p.Verbatim {
		require.Equal(t, len(file), at)
		require.Equal(t, strings.TrimPrefix(file, string(byteOrderMark)), file[p.Blocks[0].Start:])
	}
}

func TestSniff(t *testing.T) {
	const docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
	for name, tc := range map[string]struct {
		file, data string
		want       error
		says       string // the media type, with a star if the file is its own text, or what the message has
	}{
		"text":                    {"a.txt", "hello", nil, "text/plain*"},
		"upper case":              {"A.TXT", "hello", nil, "text/plain*"},
		"no name":                 {"", "hello", nil, "text/plain*"},
		"no name, about PDFs":     {"", "%PDF-1.7 is how they begin", nil, "text/plain*"},
		"no ending":               {"dir.d/README", "hello", nil, "text/plain*"},
		"a Windows path":          {`C:\a.b\notes`, "hello", nil, "text/plain*"},
		"mark":                    {"a.txt", "\xef\xbb\xbfhello", nil, "text/plain*"},
		"source":                  {"a.go", "package a", nil, "text/plain*"},
		"yaml":                    {"a.yaml", "a: 1", nil, "text/plain*"},
		"pdf":                     {"a.pdf", "%PDF-1.7\n\x00", nil, "application/pdf"},
		"pdf by bytes":            {"a.txt", "%PDF-1.7\n\x00", nil, "application/pdf"},
		"pdf by name":             {"a.pdf", "hello", engine.ErrUnsupportedType, ".docx"},
		"a page named pdf":        {"a.pdf", "<!DOCTYPE html><p>not found", nil, "text/html"},
		"a docx cut off":          {"a.md", "PK\x03\x04" + strings.Repeat("\x00", 22) + "\x11\x00\x00\x00word/document.xml", nil, docx},
		"a picture named text":    {"a.txt", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", engine.ErrUnsupportedType, "image/png"},
		"an old Office file":      {"a.doc", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00", engine.ErrUnsupportedType, "before 2007"},
		"a locked Office file":    {"a.docx", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00" + string(utf16le("EncryptedPackage")), engine.ErrUnsupportedType, "password"},
		"unknown ending":          {"a.xyz", "hello", engine.ErrUnsupportedType, ".xyz"},
		"unknown ending, no data": {"a.xyz", "", engine.ErrUnsupportedType, ".xyz"},
		"NUL":                     {"a.txt", "a\x00b", engine.ErrNotText, "offset 1"},
		"invalid UTF-8":           {"a.txt", "\xef\xbb\xbfab\xff", engine.ErrNotText, "offset 5"},
		"Latin":                   {"a.txt", "caf\xe9 au lait", nil, "text/plain"},
		"UTF-16":                  {"a.txt", "\xff\xfeh\x00i\x00", nil, "text/plain"},
		"UTF-16 without a mark":   {"a.txt", "h\x00e\x00l\x00l\x00o\x00", nil, "text/plain"},
		"nothing":                 {"a.txt", "", engine.ErrEmptyDocument, ""},
		"a mark and white space":  {"a.md", "\xef\xbb\xbf \n\u00a0\t", engine.ErrEmptyDocument, ""},
		"broken JSON":             {"a.json", `{"a":`, engine.ErrNotText, "JSON"},
		"two values":              {"a.json", `{} {}`, engine.ErrNotText, "JSON"},
		"two values a line each":  {"a.jsonl", "{}\n{}", nil, "application/jsonl*"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Sniff(tc.file, []byte(tc.data))
			if tc.want == nil {
				require.NoError(t, err)
				require.Equal(t, strings.TrimSuffix(tc.says, "*"), got.Media)
				require.Equal(t, strings.HasSuffix(tc.says, "*"), got.Text)
				return
			}
			require.ErrorIs(t, err, tc.want)
			require.ErrorContains(t, err, tc.says)
			_, err = inHere(tc.file, []byte(tc.data))
			require.ErrorIs(t, err, tc.want)
		})
	}
}

func TestParse_Markdown(t *testing.T) {
	for name, tc := range map[string]struct {
		file, title string
		want        []string // path of each block
	}{
		"none":                        {"text only\n", "", []string{""}},
		"levels":                      {"# A\na\n## B\nb\n### C\n## D\nd\n# E\n", "A", []string{"A", "A>B", "A>B>C", "A>D", "E"}},
		"a level left out":            {"# A\n### C\n## B\n", "A", []string{"A", "A>C", "A>B"}},
		"underlined":                  {"intro\n\nTitle\n=====\n\nPart\n---\nx\n", "Title", []string{"", "Title", "Title>Part"}},
		"marks are not in the path":   {"# **Bold** `code` [link](http://x) ##\n", "Bold code link", []string{"Bold code link"}},
		"code is not a heading":       {"# A\n```\n# not\n```\n    # not\n", "A", []string{"A"}},
		"nor a list or a quotation":   {"# A\n- item\n---\n> # quoted\n\n1. x\n---\n", "A", []string{"A"}},
		"nor a table":                 {"| a | b |\n---\n", "", []string{""}},
		"an empty one names nothing":  {"#\nx\n# A\n#\n", "A", []string{"", "A"}},
		"front matter":                {"---\ntitle: \"My: page\"\ntags: [a]\n---\n# A\n", "My: page", []string{"", "A"}},
		"TOML front matter":           {"+++\ntitle = 'T'\n+++\nx\n", "T", []string{""}},
		"a rule is not front matter":  {"---\ntitle of nothing\n\n# A\n", "A", []string{"", "A"}},
		"line ends of Windows":        {"# A\r\ntext\r\n\r\n## B\r\nb\r\n", "A", []string{"A", "A>B"}},
		"byte order mark":             {"\xef\xbb\xbf# A\nx", "A", []string{"A"}},
		"other scripts":               {"# 概要\n本文\n## Größe\n", "概要", []string{"概要", "概要>Größe"}},
		"a heading of a long line":    {"# " + strings.Repeat("字", 1000) + "\nx", strings.Repeat("字", 85), []string{strings.Repeat("字", 85)}},
		"a comment holds no headings": {"<!--\n# no\n-->\n\n# A\n", "A", []string{"", "A"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := read(t, "x.md", tc.file)
			require.Equal(t, tc.title, p.Title)
			var got []string
			for _, b := range p.Blocks {
				got = append(got, strings.Join(b.Heading, ">"))
			}
			require.Equal(t, tc.want, got)
		})
	}
}

func TestParse_Text(t *testing.T) {
	p := read(t, "", "\xef\xbb\xbf# not Markdown\n")
	require.Equal(t, []engine.Block{{Text: "# not Markdown\n", Start: 3, End: 18}}, p.Blocks)
	require.True(t, p.Verbatim)
}

func TestParse_JSON(t *testing.T) {
	oneGoroutine(t)
	file := `{"name": "Ada", "year":1815, "alive":false, "none":null, "empty":" ",
 "tags":["poet's daughter", 7, {"deep":["x"]}], "name":"twice", "a b":{"c\n":"line\nbreak \u00e9"}}`
	p := read(t, "x.json", file)
	var got []string
	for _, b := range p.Blocks {
		got = append(got, b.Text+" | "+file[b.Start:b.End])
	}
	require.Equal(t, []string{
		`name: Ada | "Ada"`,
		`year: 1815 | 1815`,
		`alive: false | false`,
		`tags[0]: poet's daughter | "poet's daughter"`,
		`tags[2].deep[0]: x | "x"`,
		`name: twice | "twice"`,
		"a b.c: line\nbreak é | " + `"line\nbreak \u00e9"`,
	}, got)

	require.Equal(t, "Ada", read(t, "x.json", "\xef\xbb\xbf \"Ada\"").Blocks[0].Text)
	for name, tc := range map[string]struct {
		file string
		want error
	}{
		"numbers alone":  {`[1,2,[3.5]]`, engine.ErrEmptyDocument},
		"200 levels":     {strings.Repeat("[", 200) + `"x"` + strings.Repeat("]", 200), nil},
		"201 levels":     {strings.Repeat("[", 201) + `"x"` + strings.Repeat("]", 201), engine.ErrTooLarge},
		"long keys":      {`{"` + strings.Repeat("k", 1<<20) + `":{"a":"x","b":"y"}}`, nil},
		"too many":       {`["` + strings.Repeat(`x","`, maxLeaves) + `x"]`, engine.ErrTooLarge},
		"numbers by far": {`["x"` + strings.Repeat(`,1`, 50_000) + `]`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := inHere("x.json", []byte(tc.file))
			if tc.want != nil {
				require.ErrorIs(t, err, tc.want)
				return
			}
			require.NoError(t, err)
			require.Less(t, len(p.Blocks[0].Text), 300)
		})
	}
}

// Files made to be slow are parsed in time linear in their size, without depth.
func TestParse_MarkdownBounds(t *testing.T) {
	oneGoroutine(t)
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, "## Section %d\n\ntext\n", i)
	}
	require.Len(t, read(t, "x.md", many.String()).Blocks, 10_000)
	for _, unit := range []string{">", "- ", "[", "*", "`", "# ", "x", "<a ", "~~~\n", "a\n=\n", "[a]: b\n", "\n", "    x\n", "![", "|"} {
		t.Run(unit, func(t *testing.T) {
			read(t, "x.md", "#x "+strings.Repeat(unit, (1<<16)/len(unit)))
			read(t, "x.md", "# "+strings.Repeat(unit, (1<<16)/len(unit)))
		})
	}
	big := strings.Repeat("# A\n\nSome prose that goes on for a while.\n\n", (maxTreeBytes*2)/42)
	read(t, "x.md", big)
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"# A\n\ntext\n## B\n", "---\ntitle: x\n---\n", "a\n=\nb\n-\n", `{"a":["x",{"b":"y"}],"a":1}`, "\xef\xbb\xbf# A\r\n", "> # a\n- b\n---\n",
		"+++\ntitle=\"\"\n+++", "```\n# a", "# \\# `#` #", `"\ud800"`, "#\t\x0bA\x0c", "<div>\n# a\n\n# b", "\r# A\r# B\r", "000\x00", "\x80\x00",
	} {
		for i := range 3 {
			f.Add(s, i)
		}
	}
	names := []string{"x.txt", "x.md", "x.json"}
	f.Fuzz(func(t *testing.T, s string, kind int) {
		name := names[uint(kind)%3]
		p, err := inHere(name, []byte(s))
		if err != nil {
			return
		}
		check(t, s, p)
		again, err := inHere(name, []byte(s))
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}

func BenchmarkParse_Markdown(b *testing.B) {
	file := []byte(strings.Repeat("# A\n\nSome *prose* that goes on for a while, with a [link](x).\n\n- item\n- other\n\n", 10_000))
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := inHere("x.md", file); err != nil {
			b.Fatal(err)
		}
	}
}
