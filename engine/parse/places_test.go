package parse_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"

	"alcove/engine"
	"alcove/engine/builtin"
	"alcove/engine/enginetest"
	"alcove/engine/parse"
)

// facts are what is asked for, each in a place of its own.
var facts = []string{
	"The lighthouse of Barrow was painted green in 1871.", "Mrs Ashdown keeps eleven hives behind the chapel.", "The ferry to Skomer leaves at half past nine.",
	"Professor Lindqvist measured the glacier with a theodolite.", "The bell of Saint Aldate cracked during the coronation.", "Copper from Ashio was shipped through Yokohama.",
	"The orchard at Wisley grows ninety kinds of quince.", "Captain Oduya mapped the reef in four summers.", "The printing press of Delft burned down twice.", "A comet was seen over Samarkand in the winter.",
}

var questions = []string{
	"When was the lighthouse of Barrow painted green?", "Who keeps hives behind the chapel?", "When does the ferry to Skomer leave?", "Who measured the glacier with a theodolite?",
	"When did the bell of Saint Aldate crack?", "Through which port was copper from Ashio shipped?", "How many kinds of quince grow in the orchard at Wisley?", "Who mapped the reef?", "How often did the printing press of Delft burn down?", "Where was a comet seen in the winter?",
}

// filler stands beside a fact, the same everywhere.
const filler = "This part is about nothing in particular and goes on for a while about the weather."

func pdfBook() []byte {
	var objects []string
	var kids strings.Builder
	for i := range facts {
		fmt.Fprintf(&kids, "%d 0 R ", 4+2*i)
	}
	objects = append(objects, "<</Type/Catalog/Pages 2 0 R>>", fmt.Sprintf("<</Type/Pages/Count %d/Kids[%s]>>", len(facts), kids.String()), "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
	for i, f := range facts {
		draw := fmt.Sprintf("BT /F 11 Tf 50 700 Td (%s) Tj 0 -20 Td (%s) Tj ET", filler, f)
		objects = append(objects,
			fmt.Sprintf("<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R/Resources<</Font<</F 3 0 R>>>>>>", 5+2*i),
			fmt.Sprintf("<</Length %d>>stream\n%s\nendstream", len(draw), draw))
	}
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

// pptxShow numbers its parts against the order of the show.
func pptxShow() []byte {
	var list, rels strings.Builder
	files := [][2]string{{"[Content_Types].xml", "<Types/>"}}
	for i, f := range facts {
		part := len(facts) - i
		fmt.Fprintf(&list, `<sldId r:id="r%d"/>`, part)
		fmt.Fprintf(&rels, `<Relationship Id="r%d" Type="x/slide" Target="slides/slide%d.xml"/>`, part, part)
		files = append(files, [2]string{fmt.Sprintf("ppt/slides/slide%d.xml", part),
			fmt.Sprintf(`<sld><sp><nvPr><ph type="title"/></nvPr><p><r><t>Part</t></r></p></sp><sp><p><r><t>%s</t></r></p><p><r><t>%s</t></r></p></sp></sld>`, filler, f)})
	}
	files = append(files, [2]string{"ppt/presentation.xml", `<p xmlns:r="r">` + list.String() + `</p>`}, [2]string{"ppt/_rels/presentation.xml.rels", "<R>" + rels.String() + "</R>"})
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, x := range files {
		f, err := w.Create(x[0])
		if err == nil {
			_, err = f.Write([]byte(x[1]))
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

func sheetName(i int) string { return fmt.Sprintf("Ledger %c", 'A'+i) }

func xlsxBook(t *testing.T) []byte {
	t.Helper()
	f := excelize.NewFile()
	defer f.Close()
	for i, fact := range facts {
		name := sheetName(i)
		_, err := f.NewSheet(name)
		require.NoError(t, err)
		require.NoError(t, f.SetSheetRow(name, "A1", &[]any{"What", "Note"}))
		require.NoError(t, f.SetSheetRow(name, "A2", &[]any{filler, "none"}))
		require.NoError(t, f.SetSheetRow(name, "B7", &[]any{fact, 12}))
	}
	require.NoError(t, f.DeleteSheet("Sheet1"))
	b, err := f.WriteToBuffer()
	require.NoError(t, err)
	return b.Bytes()
}

// A citation names the page of a PDF, the slide of a presentation, the sheet of a
// workbook, through the whole of an engine with the built-in models and readers in
// processes of their own; its offsets are into the content that is served.
func TestCitationsNamePlaces(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	v := enginetest.New(t, engine.Options{
		Parser: parse.New(parse.Options{
			Child:    []string{exe, "parse-child"},
			CacheDir: filepath.Join(os.TempDir(), fmt.Sprintf("alcove-test-pdf-%d", os.Getuid())),
		}),
		Embedder: builtin.Embedder(), Extractor: builtin.Extractor(builtin.Options{}), Answerer: builtin.Answerer(),
	})
	ctx := context.Background()
	for name, c := range map[string]struct {
		data  []byte
		place func(i int) engine.Place
	}{
		"book.pdf":    {pdfBook(), func(i int) engine.Place { return engine.Place{Page: i + 1} }},
		"show.pptx":   {pptxShow(), func(i int) engine.Place { return engine.Place{Slide: i + 1} }},
		"ledger.xlsx": {xlsxBook(t), func(i int) engine.Place { return engine.Place{Sheet: sheetName(i)} }},
	} {
		t.Run(name, func(t *testing.T) {
			kb := v.KB(strings.ReplaceAll(name, ".", "-"))
			a, err := kb.Add(ctx, []engine.DocumentInput{{Name: name, FilePath: name, Content: c.data}}, "upload")
			require.NoError(t, err)
			v.Wait()
			d, err := kb.Document(ctx, a.DocID)
			require.NoError(t, err)
			require.Equal(t, engine.StatusProcessed, d.Status, d.ErrorMsg)
			require.Len(t, d.Warnings, 0)
			_, n, r, err := kb.Content(ctx, a.DocID)
			require.NoError(t, err)
			content, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Len(t, content, n)
			for i, q := range questions {
				out, err := kb.Query(ctx, engine.Query{Query: q, Mode: engine.ModeMix})
				require.NoError(t, err)
				require.NotEmpty(t, out.References)
				ref := out.References[0]
				require.Equal(t, c.place(i), ref.Place, q)
				require.Contains(t, string(content[ref.Start:ref.End]), facts[i])
				require.Equal(t, ref.Snippet, string(content[ref.SnippetStart:ref.SnippetEnd]))
			}
		})
	}
}
