package parse

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
)

// entry is a file of a generated archive.
type entry struct{ name, text string }

func zipped(entries ...entry) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		f, err := w.Create(e.name)
		if err == nil {
			_, err = io.WriteString(f, e.text)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// packed is an archive of one entry whose content is size times one byte.
func packed(name string, size int, c byte) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create(name)
	if err != nil {
		panic(err)
	}
	block := bytes.Repeat([]byte{c}, 1<<20)
	for n := 0; n < size; n += len(block) {
		if _, err := f.Write(block[:min(len(block), size-n)]); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// lying is an archive whose directory says that its entry is small.
func lying(name string, size int) []byte {
	var body bytes.Buffer
	w, _ := flate.NewWriter(&body, flate.BestSpeed)
	block := make([]byte, 1<<20)
	sum := crc32.NewIEEE()
	for n := 0; n < size; n += len(block) {
		_, _ = w.Write(block)
		_, _ = sum.Write(block)
	}
	_ = w.Close()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.CreateRaw(&zip.FileHeader{Name: name, Method: zip.Deflate, CRC32: sum.Sum32(), CompressedSize64: uint64(body.Len()), UncompressedSize64: 90_000})
	if err == nil {
		_, err = f.Write(body.Bytes())
	}
	if err != nil {
		panic(err)
	}
	_ = z.Close()
	return b.Bytes()
}

// overlapping is an archive of n entries of different names that share one body.
func overlapping(n int) []byte {
	noise := make([]byte, 1<<20)
	_, _ = rand.New(rand.NewSource(1)).Read(noise)
	one := zipped(entry{"a.txt", string(noise)})
	end := bytes.LastIndex(one, []byte("PK\x05\x06"))
	at := int(binary.LittleEndian.Uint32(one[end+16:]))
	head := one[at:end]
	out := bytes.Clone(one[:at])
	for i := range n {
		h := bytes.Clone(head)
		binary.LittleEndian.PutUint16(h[28:], uint16(len(fmt.Sprintf("%07d", i))))
		out = append(out, h[:46]...)
		out = append(out, fmt.Sprintf("%07d", i)...)
		out = append(out, h[46+5:]...)
	}
	tail := bytes.Clone(one[end:])
	binary.LittleEndian.PutUint16(tail[8:], uint16(n))
	binary.LittleEndian.PutUint16(tail[10:], uint16(n))
	binary.LittleEndian.PutUint32(tail[12:], uint32(len(out)-at))
	return append(out, tail...)
}

// nested is an archive in an archive, levels deep.
func nested(levels int) []byte {
	b := zipped(entry{"a.txt", "the core"})
	for i := range levels {
		b = zipped(entry{fmt.Sprintf("%d.zip", i), string(b)}, entry{"b.txt", "beside it"})
	}
	return b
}

const (
	laughs = `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;">]>`
	passwd = `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>`
)

func docxOf(document string, more ...entry) []byte {
	return zipped(append([]entry{{"[Content_Types].xml", "<Types/>"}, {"word/document.xml", document}}, more...)...)
}

func pptxOf(slide string) []byte {
	return zipped(entry{"ppt/presentation.xml", `<p xmlns:r="r"><sldIdLst><sldId r:id="a"/></sldIdLst></p>`},
		entry{"ppt/_rels/presentation.xml.rels", `<R><Relationship Id="a" Type="x/slide" Target="slides/s.xml"/></R>`}, entry{"ppt/slides/s.xml", slide})
}

func xlsxOf(sheet string) []byte {
	return zipped(
		entry{"[Content_Types].xml", `<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>`},
		entry{"_rels/.rels", `<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>`},
		entry{"xl/workbook.xml", `<?xml version="1.0"?><workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>`},
		entry{"xl/_rels/workbook.xml.rels", `<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>`},
		entry{"xl/worksheets/sheet1.xml", sheet})
}

// rowsSheet is a sheet of so many rows and columns of numbers.
func rowsSheet(rows, columns int) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>`)
	for r := range rows {
		b.WriteString("<row>")
		for c := range columns {
			fmt.Fprintf(&b, "<c><v>%d</v></c>", (r*7919+c*104729)%1_000_003)
		}
		b.WriteString("</row>")
	}
	b.WriteString("</sheetData></worksheet>")
	return b.String()
}

// pdfOf writes a PDF of the given objects, numbered from 1; the first is the catalog.
func pdfOf(objects ...string) []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.7\n")
	at := make([]int, len(objects))
	for i, o := range objects {
		at[i] = b.Len()
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	xref := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, n := range at {
		fmt.Fprintf(&b, "%010d 00000 n \n", n)
	}
	fmt.Fprintf(&b, "trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, xref)
	return b.Bytes()
}

// pdfPage is a PDF of one page that draws the given stream.
func pdfPage(dict, stream string) []byte {
	return pdfOf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>/XObject<</X 6 0 R>>>>>>",
		fmt.Sprintf("<</Length %d%s>>stream\n%s\nendstream", len(stream), dict, stream), "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
		"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 6 0 R>>>>/Length 4>>stream\n/X Do\nendstream")
}

// attack is a hostile file. It may be read, or refused with an error of a class that
// a caller sees; it may not take more time or memory than the limits.
type attack struct {
	name string
	data func() []byte
	want error // nil: no matter; errText: it is read
}

var errText = fmt.Errorf("text comes of it")

func attacks() map[string]attack {
	large, damaged, refused := engine.ErrTooLarge, engine.ErrNotText, engine.ErrUnsupportedType
	s := func(s string) func() []byte { return func() []byte { return []byte(s) } }
	const sheetHead, sheetTail = `<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>`, `</sheetData></worksheet>`
	return map[string]attack{
		"zip: 6 levels":            {"a.zip", func() []byte { return nested(6) }, large},
		"zip: 2 levels within":     {"a.zip", func() []byte { return nested(2) }, large},
		"zip: 1 level within":      {"a.zip", func() []byte { return nested(1) }, errText},
		"zip: 1 GB of zeros":       {"a.zip", func() []byte { return packed("a.txt", 1<<30, 0) }, large},
		"zip: 100 MB of zeros":     {"a.zip", func() []byte { return packed("a.txt", 100<<20, 0) }, large},
		"zip: a lying directory":   {"a.zip", func() []byte { return lying("a.txt", 300<<20) }, damaged},
		"zip: overlapping entries": {"a.zip", func() []byte { return overlapping(400) }, damaged},
		"zip: a name twice":        {"a.zip", func() []byte { return zipped(entry{"a.txt", "x"}, entry{"A.txt", "y"}) }, damaged},
		"zip: a path out of it":    {"a.zip", func() []byte { return zipped(entry{"../../etc/a.txt", "x"}) }, damaged},
		"zip: a path of Windows":   {"a.zip", func() []byte { return zipped(entry{`C:\a.txt`, "x"}) }, damaged},
		"zip: 20,000 entries":      {"a.zip", func() []byte { return zipped(make([]entry, 20_000)...) }, large},
		"zip: 300 docx":            {"a.zip", func() []byte { return manyOf(300, string(docxOf("<d><p><r><t>x</t></r></p></d>"))) }, errText},
		"docx: billion laughs":     {"a.docx", func() []byte { return docxOf(laughs + "<x><p><r><t>&d;</t></r></p></x>") }, damaged},
		"docx: an outside entity":  {"a.docx", func() []byte { return docxOf(passwd + "<x><p><r><t>&a;</t></r></p></x>") }, damaged},
		"docx: a deep tree":        {"a.docx", func() []byte { return docxOf(strings.Repeat("<a>", 1e6)) }, large},
		"docx: 201 tables deep":    {"a.docx", func() []byte { return docxOf(strings.Repeat("<tbl><tr><tc><p>", 60)) }, large},
		"docx: many attributes":    {"a.docx", func() []byte { return docxOf("<a " + manyAttributes(20_000) + "/>") }, large},
		"docx: 1 GB in one part":   {"a.docx", func() []byte { return packed("word/document.xml", 1<<30, ' ') }, large},
		"docx: styles in a circle": {"a.docx", func() []byte {
			return docxOf("<d><p><pPr><pStyle val='a'/></pPr><r><t>text</t></r></p></d>", entry{"word/styles.xml", "<s><style styleId='a'><basedOn val='b'/></style><style styleId='b'><basedOn val='a'/></style></s>"})
		}, errText},
		"docx: a wide merged cell": {"a.docx", func() []byte {
			return docxOf("<d><tbl><tr><tc><tcPr><gridSpan val='2000000000'/></tcPr><p><r><t>x</t></r></p></tc></tr></tbl></d>")
		}, errText},
		"docx: no document": {"a.docx", func() []byte { return zipped(entry{"word/x.xml", "<a/>"}) }, damaged},
		"docx: two million pages": {"a.docx", func() []byte {
			return docxOf("<d>" + strings.Repeat("<p><r><t>some words</t></r></p>", 1_000_000) + "</d>")
		}, nil},
		"pptx: billion laughs": {"a.pptx", func() []byte { return pptxOf(laughs + "<sp><p><t>&d;</t></p></sp>") }, damaged},
		"pptx: a slide 10,000 times": {"a.pptx", func() []byte {
			return zipped(entry{"ppt/presentation.xml", `<p xmlns:r="r">` + strings.Repeat(`<sldId r:id="a"/>`, 10_000) + `</p>`}, entry{"ppt/_rels/presentation.xml.rels", `<R><Relationship Id="a" Type="x/slide" Target="s.xml"/></R>`}, entry{"ppt/s.xml", "<x>" + strings.Repeat("<sp><p><t>word</t></p></sp>", 2000) + "</x>"})
		}, large},
		"xlsx: a million rows": {"a.xlsx", func() []byte { return xlsxOf(rowsSheet(1_000_000, 1)) }, errText},
		"xlsx: 16,384 columns": {"a.xlsx", func() []byte { return xlsxOf(rowsSheet(20, 16_384)) }, errText},
		"xlsx: a cell far away": {"a.xlsx", func() []byte {
			return xlsxOf(sheetHead + `<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>` + sheetTail)
		}, nil},
		"xlsx: a thousand far cells": {"a.xlsx", func() []byte {
			return xlsxOf(sheetHead + strings.Repeat(`<row><c r="XFD1"><v>1</v></c></row>`, 20_000) + sheetTail)
		}, nil},
		"xlsx: billion laughs": {"a.xlsx", func() []byte { return xlsxOf(laughs + "<worksheet>&d;</worksheet>") }, damaged},
		"xlsx: merged all over": {"a.xlsx", func() []byte {
			return xlsxOf(sheetHead + "<row><c><v>1</v></c></row></sheetData><mergeCells>" + strings.Repeat(`<mergeCell ref="A1:XFD1048576"/>`, 20_000) + "</mergeCells></worksheet>")
		}, nil},
		"odt: repeated cells": {"a.odt", func() []byte {
			return zipped(entry{"content.xml", `<d><table><table-row number-rows-repeated="1000000"><table-cell number-columns-repeated="1000000"><p>x<s c="2000000000"/></p></table-cell></table-row></table></d>`})
		}, errText},
		"epub: a chapter in a circle": {"a.epub", func() []byte {
			return zipped(entry{"META-INF/container.xml", `<c><rootfile full-path="o.opf"/></c>`}, entry{"o.opf", `<p><item id="a" href="o.opf" media-type="application/xml"/>` + strings.Repeat(`<itemref idref="a"/>`, 10_000) + "</p>"})
		}, nil},
		"html: a deep tree":       {"a.html", s(strings.Repeat("<div>", 100_000) + "x"), nil},
		"html: deep formatting":   {"a.html", s(strings.Repeat("<b><p>", 20_000) + "x"), nil},
		"html: open tables":       {"a.html", s(strings.Repeat("<table><tr><td>", 20_000) + "x"), nil},
		"html: a wide table":      {"a.html", s("<table><tr><td colspan=2000000000 rowspan=2000000000>x</td></tr></table>"), nil},
		"html: a large page":      {"a.html", s("<p>" + strings.Repeat("word <i>and</i> word ", 200_000)), nil},
		"svg: billion laughs":     {"a.svg", s(laughs + "<svg><text>&d;</text></svg>"), damaged},
		"xml: a deep tree":        {"a.xml", s(strings.Repeat("<a>", 1e6)), large},
		"rtf: deep groups":        {"a.rtf", s(`{\rtf1` + strings.Repeat("{", 1e6)), large},
		"rtf: a huge binary":      {"a.rtf", s(`{\rtf1 a\bin2147483647 b}`), nil},
		"rtf: a long word":        {"a.rtf", s(`{\rtf1 \` + strings.Repeat("a", 1e6)), damaged},
		"csv: an open quote":      {"a.csv", s(`a,"` + strings.Repeat("b,c\n", 1e6)), nil},
		"csv: a million columns":  {"a.csv", s(strings.Repeat("a,", 1e6)), nil},
		"csv: three million rows": {"a.csv", s(strings.Repeat("1\n", 3e6)), large},
		"json: a deep tree":       {"a.json", s(strings.Repeat("[", 5000) + `"x"` + strings.Repeat("]", 5000)), large},
		"eml: parts in parts":     {"a.eml", s(deepMail(200)), large},
		"eml: many parts":         {"a.eml", s("Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\nx\n", 5000)), large},
		"vtt: open tags":          {"a.vtt", s("WEBVTT\n\n00:01.000 --> 00:02.000\n" + strings.Repeat("<v ", 1e6)), nil},
		"txt: 40 MB":              {"a.txt", s(strings.Repeat("word ", 8<<20)), errText},
		"utf-16: 40 MB":           {"a.txt", func() []byte { return append([]byte("\xff\xfe"), bytes.Repeat([]byte("w\x00o\x00 \x00"), 7<<20)...) }, nil},
		"pdf: pages in a circle": {"a.pdf", func() []byte {
			return pdfOf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[2 0 R 2 0 R 2 0 R]/Count 2000000000>>")
		}, nil},
		"pdf: parents in a circle": {"a.pdf", func() []byte {
			return pdfOf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1/Parent 3 0 R>>", "<</Type/Page/Parent 2 0 R/Contents 3 0 R>>")
		}, nil},
		"pdf: an object of itself":      {"a.pdf", func() []byte { return pdfOf("<</Type/Catalog/Pages 2 0 R>>", "2 0 R") }, nil},
		"pdf: a form that draws itself": {"a.pdf", func() []byte { return pdfPage("", strings.Repeat("/X Do ", 100)) }, nil},
		"pdf: a chain of filters":       {"a.pdf", func() []byte { return pdfPage("/Filter["+strings.Repeat("/ASCIIHexDecode", 100_000)+"]", "41>") }, nil},
		"pdf: a wrong length":           {"a.pdf", func() []byte { return pdfPage("/Length 2000000000", "BT /F 12 Tf (words) Tj ET") }, nil},
		"pdf: deep arrays":              {"a.pdf", func() []byte { return pdfPage("", strings.Repeat("[", 1e6)) }, nil},
		"pdf: a million words": {"a.pdf", func() []byte {
			return pdfPage("", "BT /F 1 Tf "+strings.Repeat("1 0 Td (some words) Tj ", 200_000)+"ET")
		}, nil},
		"pdf: 100,000 objects": {"a.pdf", func() []byte {
			return pdfOf(append([]string{"<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[]/Count 0>>"}, make([]string, 100_000)...)...)
		}, nil},
		"pdf: 6,000 pages": {"a.pdf", func() []byte {
			return pdfOf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Count 6000/Kids["+strings.Repeat("3 0 R ", 6000)+"]>>", "<</Type/Page/Parent 2 0 R>>")
		}, nil},
		"pdf: a script": {"a.pdf", func() []byte {
			return pdfOf("<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(while(1){})>>>>", "<</Type/Pages/Kids[]/Count 0>>")
		}, nil},
		"pdf: encrypted": {"a.pdf", func() []byte {
			return bytes.Replace(pdfPage("", "x"), []byte("/Root 1 0 R"), []byte("/Root 1 0 R/Encrypt<</Filter/Standard/V 1/R 2/O(00000000000000000000000000000000)/U(00000000000000000000000000000000)/P -4>>/ID[(a)(a)]"), 1)
		}, refused},
		"pdf: nothing but a head": {"a.pdf", s("%PDF-1.7\n"), damaged},
	}
}

func manyOf(n int, text string) []byte {
	all := make([]entry, n)
	for i := range all {
		all[i] = entry{fmt.Sprintf("%d.docx", i), text}
	}
	return zipped(all...)
}

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `a%d="" `, i)
	}
	return b.String()
}

func deepMail(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
	}
	return b.String() + "\nx"
}

// slack is what a process takes beyond what it is told to: starting it on a busy machine.
const slack = 20 * time.Second

// A hostile file ends in a text or a clean error, within the limits of time and
// memory of one file, and this process grows by no more than the file and its text.
func TestAttacks(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("makes files of up to 40 MB, for processes with little memory")
	}
	p := apart(t, Limits{})
	for name, a := range attacks() {
		t.Run(name, func(t *testing.T) {
			data := a.data()
			begun := time.Now()
			got, err := p.Parse(context.Background(), engine.File{Name: a.name, Data: data})
			took := time.Since(begun)
			size := 0
			if got != nil {
				size = len(textOf(got))
			}
			t.Logf("%d bytes, %v, %d bytes of text: %v", len(data), took.Round(time.Millisecond), size, err)
			require.Less(t, took, Limits{}.withDefaults().Time+slack)
			switch a.want {
			case errText:
				require.NoError(t, err)
				require.NotZero(t, size)
			case nil:
				require.Empty(t, judge(sample{Expected: "no-panic"}, got, "", err))
			default:
				require.ErrorIs(t, err, a.want)
			}
			require.NotContains(t, errString(err), "root:", "nothing of this machine is told")
		})
	}
}

// A file cut off at 50 places of each format is read in part or refused, and never
// more than that.
func TestTruncated(t *testing.T) {
	if testing.Short() {
		t.Skip("reads a thousand files")
	}
	root, all := samples(t)
	cuts := 50
	if raced {
		cuts = 5
	}
	seen := map[string]int{}
	for _, s := range all {
		if s.Expected != "text" || seen[s.kind()] == 1 {
			continue
		}
		data, err := os.ReadFile(filepath.Join(root, s.File))
		require.NoError(t, err)
		if len(data) > 300<<10 || s.kind() != "csv" && len(data) < 300 {
			continue
		}
		seen[s.kind()]++
		t.Run(s.kind(), func(t *testing.T) {
			clean := 0
			for i := range cuts {
				cut := data[:(i+1)*len(data)/(cuts+1)]
				begun := time.Now()
				p, err := parseSafely(engine.File{Name: filepath.Base(s.File), Data: cut})
				require.Less(t, time.Since(begun), slack)
				require.Empty(t, judge(sample{Expected: "no-panic"}, p, "", err), "cut at %d", len(cut))
				if err != nil {
					clean++
				}
			}
			t.Logf("%s: %d of %d refused", s.File, clean, cuts)
		})
	}
	require.Len(t, seen, 11, "formats")
}

// parseSafely reads in this process as a child does.
func parseSafely(f engine.File) (*engine.Parsed, error) {
	return safely(Options{Limits: Limits{}.withDefaults(), CacheDir: cacheDir()}, f)
}

// What a child dies of is told: too much memory, too much time, a crash. Its
// neighbours and this process live on.
func TestNursery_Deaths(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	run := func(l Limits, how string) error {
		_, err := New(Options{Child: []string{exe, "dying-child", how}, Limits: l}).Parse(context.Background(), engine.File{Name: "a.rtf", Data: []byte(`{\rtf1 x}`)})
		return err
	}
	err = run(Limits{Memory: 128 << 20}, "memory")
	require.ErrorIs(t, err, engine.ErrTooLarge)
	require.ErrorContains(t, err, "128 MiB of memory")
	begun := time.Now()
	err = run(Limits{Time: time.Second}, "hang")
	require.ErrorIs(t, err, engine.ErrTooLarge)
	require.ErrorContains(t, err, "1s")
	require.Less(t, time.Since(begun), 1*time.Second+slack)
	err = run(Limits{}, "panic")
	require.ErrorContains(t, err, "crashed")
	require.ErrorContains(t, err, "panic: as asked")
	err = run(Limits{}, "lie")
	require.Error(t, err)
	require.ErrorContains(t, run(Limits{}, "quit"), "crashed")

	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err = New(Options{Child: []string{exe, "dying-child", "hang"}}).Parse(ctx, engine.File{Name: "a.rtf", Data: []byte(`{\rtf1 x}`)})
	require.ErrorIs(t, err, context.Canceled)
	if runtime.GOOS == "linux" {
		out, _ := exec.Command("pgrep", "-P", fmt.Sprint(os.Getpid()), "-f", "dying-child").Output()
		require.Empty(t, string(out), "no child is left")
	}
}

// die is the child of TestNursery_Deaths.
func die(how string) {
	fmt.Print(ready)
	switch how {
	case "memory":
		go watchMemory(128 << 20)
		var all [][]byte
		for {
			all = append(all, bytes.Repeat([]byte{1}, 1<<20))
			if len(all) > 1<<14 {
				os.Exit(3)
			}
		}
	case "hang":
		time.Sleep(time.Hour)
	case "panic":
		panic("as asked")
	case "lie":
		fmt.Println(`{"size":3,"blocks":[{"s":0,"e":99}]}`)
		fmt.Print("abc")
	}
}
