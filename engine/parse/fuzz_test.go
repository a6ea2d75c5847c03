package parse

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
)

// fuzzLimits are small, so that a fuzzer meets them.
func fuzzLimits() Limits {
	return Limits{ArchiveEntries: 100, EntryBytes: 1 << 20, UnpackedBytes: 4 << 20, XMLBytes: 1 << 20, Pages: 20, Rows: 1000, TextBytes: 1 << 20}.withDefaults()
}

// fuzzFormat holds a reader to what is true of every text: blocks lie one after the
// other in it, it is valid, the same bytes give the same text, and an error is one of
// those that callers know. wrap makes a file of what the fuzzer changes.
func fuzzFormat(f *testing.F, name string, wrap func([]byte) []byte, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	if wrap == nil {
		wrap = func(b []byte) []byte { return b }
		root, all := samples(f)
		for _, s := range all {
			if strings.HasSuffix(s.File, filepath.Ext(name)) {
				if b, err := os.ReadFile(filepath.Join(root, s.File)); err == nil && len(b) < 64<<10 {
					f.Add(b)
				}
			}
		}
	}
	o := Options{Limits: fuzzLimits(), CacheDir: cacheDir()}
	// PDFium is compiled with the first file that is read: not within the time that a
	// fuzzer allows for one input.
	_, _ = parse(f.Context(), engine.File{Name: name, Data: wrap([]byte(seeds[0]))}, o)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 256<<10 {
			return
		}
		file := engine.File{Name: name, Data: wrap(b)}
		p, err := parse(t.Context(), file, o) // a panic is the fuzzer's to find
		require.Empty(t, judge(sample{Expected: "no-panic"}, p, "", err))
		if err != nil {
			return
		}
		again, err := parse(t.Context(), file, o)
		require.NoError(t, err)
		require.Equal(t, p, again)
		if p.Text == "" {
			return
		}
		require.LessOrEqual(t, len(p.Text), o.Limits.TextBytes)
		require.NotContains(t, p.Text, "\x00")
		at := 0
		for _, x := range p.Blocks {
			require.Equal(t, at, x.Start)
			require.Equal(t, p.Text[x.Start:x.End], x.Text)
			at = x.End
		}
		require.Len(t, p.Text, at)
	})
}

func FuzzDocx(f *testing.F) {
	fuzzFormat(f, "a.docx", func(b []byte) []byte { return docxOf(string(b)) },
		`<d xmlns:m="x/math"><p><pPr><pStyle val="a"/><numPr><numId val="1"/></numPr></pPr><r><t>a</t><tab/><br/></r><m:oMath><m:f><m:num><m:r><m:t>1</m:t></m:r></m:num></m:f></m:oMath></p><tbl><tr><tc><tcPr><gridSpan val="2"/><vMerge/></tcPr><p><r><t>c</t></r></p></tc></tr></tbl></d>`,
		`<d><p><r><del><delText>x</delText></del><drawing><txbxContent><p><r><t>box</t></r></p></txbxContent></drawing></r></p></d>`)
}

func FuzzPptx(f *testing.F) {
	fuzzFormat(f, "a.pptx", func(b []byte) []byte { return pptxOf(string(b)) },
		`<s><sp><ph type="title"/><p><r><t>T</t></r></p></sp><tbl><tr><tc hMerge="1"><p><t>c</t></p></tc></tr></tbl><sp><p><fld type="slidenum"><t>1</t></fld></p></sp></s>`)
}

func FuzzXlsx(f *testing.F) {
	fuzzFormat(f, "a.xlsx", func(b []byte) []byte { return xlsxOf(string(b)) }, rowsSheet(3, 3),
		`<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row r="2"><c r="B2" t="inlineStr"><is><t>x</t></is></c></row></sheetData><mergeCells><mergeCell ref="B2:C3"/></mergeCells></worksheet>`)
}

func FuzzOdf(f *testing.F) {
	fuzzFormat(f, "a.odt", func(b []byte) []byte { return zipped(entry{"content.xml", string(b)}) },
		`<d><h outline-level="2">H</h><p>a<s c="3"/><note><note-citation>1</note-citation><note-body><p>n</p></note-body></note></p><list><list-item><p>i</p></list-item></list><table name="t"><table-row><table-cell><p>c</p></table-cell></table-row></table></d>`)
}

func FuzzArchive(f *testing.F) {
	fuzzFormat(f, "a.zip", nil, string(nested(1)), string(overlapping(3)))
}
func FuzzEpub(f *testing.F) {
	fuzzFormat(f, "a.epub", func(b []byte) []byte {
		return zipped(entry{"META-INF/container.xml", `<c><rootfile full-path="o.opf"/></c>`}, entry{"o.opf", string(b)}, entry{"a.html", "<h1>A</h1>text"})
	}, `<p><title>T</title><item id="a" href="a.html" media-type="text/html"/><itemref idref="a"/></p>`)
}
func FuzzRTF(f *testing.F) {
	fuzzFormat(f, "a.rtf", nil, `{\rtf1\ansi\ansicpg932{\fonttbl{\f0\fcharset128 x;}}\f0\'93\'fa\u26085?\uc0\u-10179\u-8704{\*\x y}{\footnote\chftn n}\trowd a\cell b\cell\row\bin3 abc}`)
}

func FuzzWebpage(f *testing.F) {
	fuzzFormat(f, "a.html", nil, `<meta charset=shift_jis><h1>A</h1><table><tr><td colspan=3>x<td rowspan=2><tr><td></table><dl><dt>a<dd>b</dl><pre> x</pre><a href="data:x">y</a>`)
}
func FuzzTabular(f *testing.F) { fuzzFormat(f, "a.csv", nil, "a;b\n\"c\";\"d", "\xff\xfea\x00,\x00") }
func FuzzXML(f *testing.F) {
	fuzzFormat(f, "a.xml", nil, `<?xml version="1.0" encoding="latin1"?><a b="c"><d>e<f>g</f></d></a>`)
}
func FuzzSubtitles(f *testing.F) {
	fuzzFormat(f, "a.vtt", nil, "WEBVTT\n\n1\n00:01.000 --> 00:02.000\n<v.x Ada>a</v> {\\an8}b &amp; <c")
}
func FuzzMail(f *testing.F) {
	fuzzFormat(f, "a.eml", nil, "Subject: =?utf-8?q?a?=\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\nYQ==\n--b\nContent-Disposition: attachment; filename=a.csv\n\na,b\n--b--\n")
}
func FuzzPDF(f *testing.F) {
	fuzzFormat(f, "a.pdf", nil, string(pdfPage("", "BT /F 12 Tf (words) Tj ET")))
}
