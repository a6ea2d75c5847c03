package lightrag_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine/lightrag"
)

// lay writes files into a fresh folder.
func lay(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func matrix(rows ...[]float32) string {
	var b []byte
	for _, r := range rows {
		for _, x := range r {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
	}
	return base64.StdEncoding.EncodeToString(b)
}

func halves(bits ...uint16) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	for _, h := range bits {
		_ = binary.Write(z, binary.LittleEndian, h)
	}
	_ = z.Close()
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// Two chunks of one document, as the file of chunks has them.
const twoChunks = `{"c1":{"content":"Ada wrote to Babbage.","full_doc_id":"d","chunk_order_index":0,"llm_cache_list":["default:extract:a","default:extract:b"]},
 "c2":{"content":"Babbage built an engine.","full_doc_id":"d","chunk_order_index":1}}`

const twoDocs = `{"d":{"content":"Ada wrote to Babbage.\nBabbage built an engine.","file_path":"ada.txt"}}`

func TestRead_Vectors(t *testing.T) {
	row := func(id, vector string) string {
		return fmt.Sprintf(`{"__id__":%q,"content":"x","vector":%q}`, id, vector)
	}
	for _, c := range []struct {
		name, file string
		want       []float32 // of the first row
		fault      string
	}{
		{name: "a matrix", file: `{"embedding_dim":2,"data":[{"__id__":"a","content":"x"}],"matrix":"` + matrix([]float32{0.5, -3}) + `"}`, want: []float32{0.5, -3}},
		{name: "the matrix goes before rows of half the precision", file: `{"embedding_dim":2,"data":[` + row("a", halves(0x3c00, 0)) + `],"matrix":"` + matrix([]float32{0.1, 0.2}) + `"}`, want: []float32{0.1, 0.2}},
		{name: "any order of fields, and unknown ones", file: `{"more":[{}],"matrix":"` + matrix([]float32{1, 2}) + `","data":[{"__id__":"a","content":"x","more":1}],"embedding_dim":2}`, want: []float32{1, 2}},
		{name: "rows alone", file: `{"embedding_dim":5,"data":[` + row("a", halves(0x3c00, 0xc000, 0x3555, 0x0001, 0x7bff)) + `]}`, want: []float32{1, -2, 0.333251953125, 5.9604644775390625e-08, 65504}},
		{name: "infinity and what is not a number are kept from searches", file: `{"embedding_dim":2,"data":[` + row("a", halves(0x7c00, 0x7e00)) + `]}`},
		{name: "all zero", file: `{"embedding_dim":1,"data":[{"__id__":"a","content":"x"}],"matrix":"` + matrix([]float32{0}) + `"}`},
		{name: "no rows", file: `{"embedding_dim":1024,"data":[],"matrix":""}`},
		{name: "a cut file", file: `{"embedding_dim":2,"data":[{"__id__":"a"`, fault: `byte 27: the file ends in the middle`},
		{name: "a short matrix", file: `{"embedding_dim":2,"data":[{"__id__":"a"}],"matrix":"AAAA"}`, fault: `record "a": the matrix has 3 bytes where 1 rows of 2 numbers have 8`},
		{name: "no base64", file: `{"embedding_dim":2,"data":[{"__id__":"a"}],"matrix":"?"}`, fault: "the matrix: illegal base64"},
		{name: "a short row", file: `{"embedding_dim":2,"data":[` + row("a", halves(1)) + `]}`, fault: `does not have the 4 bytes of 2 numbers`},
		{name: "a row that inflates for ever", file: `{"embedding_dim":2,"data":[` + row("a", halves(make([]uint16, 1<<20)...)) + `]}`, fault: `does not have the 4 bytes of 2 numbers`},
		{name: "no dimension", file: `{"data":[{"__id__":"a"}]}`, fault: "embedding_dim is 0; 1 to 65536 are read"},
		{name: "a row without id", file: `{"data":[{"content":"a"}]}`, fault: "row 0 has no __id__"},
		{name: "another thing", file: `[1]`, fault: "[ stands where { begins"},
		{name: "something behind", file: `{"data":[]} {}`, fault: "something stands behind the end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := lightrag.OpenFolder(lay(t, map[string]string{"vdb_chunks.json": c.file}), lightrag.Limits{})
			require.NoError(t, err)
			defer f.Close()
			w, err := f.Read(ctx, "")
			if c.fault != "" {
				require.ErrorContains(t, err, c.fault)
				require.ErrorContains(t, err, "vdb_chunks.json, byte ")
				var fault *lightrag.Fault
				require.ErrorAs(t, err, &fault)
				return
			}
			require.NoError(t, err)
			if a := w.Chunks["a"]; a != nil {
				require.Equal(t, c.want, a.Vector)
			}
		})
	}
}

// Both layouts of the cache of answers, in the order of the chunk's own list.
func TestRead_Answers(t *testing.T) {
	for name, file := range map[string]string{
		"by key": `{"default:extract:b":{"return":"second","cache_type":"extract","chunk_id":"c1","create_time":1,"original_prompt":"p"},
			"default:extract:a":{"return":"first","cache_type":"extract","chunk_id":"c1","create_time":2},
			"mix:keywords:k":{"return":"{}","cache_type":"keywords","chunk_id":null},
			"default:summary:s":{"return":"sum","cache_type":"summary"},
			"default:extract:gone":{"return":"x","cache_type":"extract","chunk_id":"gone"}}`,
		"by mode": `{"default":{"b":{"return":"second","cache_type":"extract","chunk_id":"c1"},"a":{"return":"first","chunk_id":"c1"}},"mix":{"k":{"return":"x","cache_type":"query"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := readWorkspace(t, lay(t, map[string]string{"kv_store_text_chunks.json": twoChunks, "kv_store_llm_response_cache.json": file}), "")
			require.Equal(t, []string{"first", "second"}, w.Chunks["c1"].Replies)
			require.Empty(t, w.Chunks["c2"].Replies)
			require.Equal(t, 2, w.Answers)
		})
	}
}

func graphml(body string) string {
	return `<?xml version='1.0' encoding='utf-8'?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><key id="d0" for="node" attr.name="entity_type"/><key id="d1" for="node" attr.name="description"/>
<key id="d2" for="node" attr.name="source_id"/><key id="d3" for="edge" attr.name="weight"/><key id="d4" for="edge" attr.name="description"/><key id="d5" for="edge" attr.name="source_id"/>
<graph edgedefault="undirected">` + body + `</graph></graphml>`
}

func node(name, kind, text, sources string) string {
	return fmt.Sprintf(`<node id=%q><data key="d0">%s</data><data key="d1">%s</data><data key="d2">%s</data></node>`, name, kind, text, sources)
}

func edge(a, b, weight, text, sources string) string {
	return fmt.Sprintf(`<edge source=%q target=%q><data key="d3">%s</data><data key="d4">%s</data><data key="d5">%s</data></edge>`, a, b, weight, text, sources)
}

func TestRead_GraphFaults(t *testing.T) {
	for name, c := range map[string]struct{ file, fault string }{
		"cut":                {graphml(node("A", "x", "y", "c"))[:480], "line 4, \"A\": XML syntax error"},
		"empty":              {"", "line 1: EOF"},
		"html":               {"<html></html>", `begins with "html" instead of graphml`},
		"twice":              {graphml(node("A", "", "", "") + node("A", "", "", "")), "the node is there twice"},
		"an end is missing":  {graphml(node("A", "", "", "") + edge("A", "B", "1", "", "")), `an end of the edge, "B", is no node`},
		"an edge twice":      {graphml(node("A", "", "", "") + node("B", "", "", "") + edge("A", "B", "1", "", "") + edge("B", "A", "1", "", "")), "the edge is there twice"},
		"entities of a bomb": {`<!DOCTYPE g [<!ENTITY a "aaaa">]>` + strings.Replace(graphml(node("A", "&a;", "", "")), "<?xml version='1.0' encoding='utf-8'?>", "", 1), "invalid character entity &a;"},
		"another charset":    {strings.Replace(graphml(""), "utf-8", "latin-1", 1), "it is not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := lightrag.OpenFolder(lay(t, map[string]string{"graph_chunk_entity_relation.graphml": c.file}), lightrag.Limits{})
			require.NoError(t, err)
			defer f.Close()
			_, err = f.Read(ctx, "")
			require.ErrorContains(t, err, c.fault)
			require.ErrorContains(t, err, "graph_chunk_entity_relation.graphml, line ")
		})
	}
}

// What is over a bound is refused, and one byte less is read.
func TestRead_Limits(t *testing.T) {
	chunk := `{"c1":{"content":"` + strings.Repeat("x", 900) + `"},"c2":{"content":"y"},"c3":{"content":"z"}}`
	dir := lay(t, map[string]string{"kv_store_text_chunks.json": chunk, "graph_chunk_entity_relation.graphml": graphml(node("A", "", "", "") + node("B", "", strings.Repeat("x", 500), ""))})
	for _, c := range []struct {
		limits lightrag.Limits
		fault  string
	}{
		{lightrag.Limits{Records: 2, RecordBytes: 2000}, `kv_store_text_chunks.json, byte `},
		{lightrag.Limits{Records: 3, RecordBytes: 2000}, ""},
		{lightrag.Limits{RecordBytes: 400}, `record of more than 400 bytes`},
		{lightrag.Limits{FileBytes: int64(len(chunk)) - 1}, "at most 962 are read"},
	} {
		f, err := lightrag.OpenFolder(dir, c.limits)
		require.NoError(t, err)
		_, err = f.Read(ctx, "")
		if c.fault == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, c.fault)
		}
		require.NoError(t, f.Close())
	}
}

// Workspaces are sub-folders; what lies outside of the folder is not reached, and
// nothing is written.
func TestFolder_WorkspacesAndLinks(t *testing.T) {
	secret := lay(t, map[string]string{"kv_store_full_docs.json": twoDocs})
	dir := lay(t, map[string]string{
		"kv_store_full_docs.json": twoDocs, "Research_2/kv_store_text_chunks.json": twoChunks, "empty/notes.txt": "", ".hidden/kv_store_full_docs.json": "{}",
	})
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "linked")))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "sly"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sly", "kv_store_text_chunks.json"), []byte(twoChunks), 0o600))
	require.NoError(t, os.Symlink(filepath.Join(secret, "kv_store_full_docs.json"), filepath.Join(dir, "sly", "kv_store_full_docs.json")))
	f, err := lightrag.OpenFolder(dir, lightrag.Limits{})
	require.NoError(t, err)
	defer f.Close()
	names, err := f.Workspaces()
	require.NoError(t, err)
	require.Equal(t, []string{"", "Research_2", "sly"}, names)
	_, err = f.Read(ctx, "sly")
	require.ErrorContains(t, err, "escapes")

	a, err := f.Print(ctx, "Research_2")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Research_2", "kv_store_text_chunks.json"), []byte(twoChunks+" "), 0o600))
	b, err := f.Print(ctx, "Research_2")
	require.NoError(t, err)
	require.NotEqual(t, a, b)

	none, err := lightrag.OpenFolder(filepath.Join(dir, "empty"), lightrag.Limits{})
	require.NoError(t, err)
	defer none.Close()
	_, err = none.Workspaces()
	require.ErrorContains(t, err, "holds no working folder of LightRAG")
	_, err = lightrag.OpenFolder(filepath.Join(dir, "nowhere"), lightrag.Limits{})
	require.True(t, errors.Is(err, fs.ErrNotExist))
}

// Readers fail with a Fault or give records that a plan can be made of; they never
// panic, and take no more memory than the input justifies.
func fuzzFile(f *testing.F, name string, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		files := map[string]string{"kv_store_text_chunks.json": twoChunks}
		files[name] = string(b)
		r, err := lightrag.OpenFolder(lay(t, files), lightrag.Limits{RecordBytes: 1 << 20})
		require.NoError(t, err)
		defer r.Close()
		w, err := r.Read(ctx, "")
		if err != nil {
			var fault *lightrag.Fault
			require.ErrorAs(t, err, &fault)
			require.Equal(t, name, fault.File)
			return
		}
		p := w.Plan("m")
		for _, d := range p.Documents {
			for _, c := range d.Chunks {
				require.LessOrEqual(t, 0, c.Start)
				require.LessOrEqual(t, c.Start, c.End)
				require.LessOrEqual(t, c.End, len(d.Text))
			}
		}
		p.Check()
	})
}

func FuzzChunks(f *testing.F) {
	fuzzFile(f, "kv_store_text_chunks.json", twoChunks, `{}`, `{"a":{"content":"x","llm_cache_list":"['k']"}}`)
}

func FuzzDocuments(f *testing.F) {
	fuzzFile(f, "kv_store_full_docs.json", twoDocs, `{"d":{"content":"Ada wrote to Babbage."}}`)
}

func FuzzStatuses(f *testing.F) {
	fuzzFile(f, "kv_store_doc_status.json", `{"d":{"status":"FAILED","created_at":"2026-05-26T20:40:09.123456+00:00","metadata":{"a":1}}}`, `{"d":{"created_at":12}}`)
}

func FuzzAnswers(f *testing.F) {
	fuzzFile(f, "kv_store_llm_response_cache.json", `{"default:extract:a":{"return":"entity<|#|>Ada<|#|>person<|#|>x","cache_type":"extract","chunk_id":"c1"}}`, `{"default":{"a":{"return":"","chunk_id":"c1"}}}`)
}

func FuzzVectors(f *testing.F) {
	fuzzFile(f, "vdb_chunks.json", `{"embedding_dim":2,"data":[{"__id__":"c1","vector":"`+halves(0x3c00, 1)+`"}],"matrix":"`+matrix([]float32{1, 2})+`"}`)
}

func FuzzGraph(f *testing.F) {
	fuzzFile(f, "graph_chunk_entity_relation.graphml", graphml(node("Ada", "person", "one<SEP>two", "c1<SEP>c2")+node("B", "", "", "")+edge("Ada", "B", "2.5", "t", "c1")),
		graphml(node("Ada", "person", "one&lt;SEP&gt;two", "c1&lt;SEP&gt;c2")))
}

// Each row of the matrix belongs to the row of the same place.
func TestRead_VectorRows(t *testing.T) {
	w := readWorkspace(t, lay(t, map[string]string{"vdb_chunks.json": `{"embedding_dim":2,"data":[{"__id__":"a","content":"x"},{"__id__":"b","content":"y"}],"matrix":"` +
		matrix([]float32{1, 2}, []float32{3, 4}) + `"}`}), "")
	require.Equal(t, [][]float32{{1, 2}, {3, 4}}, [][]float32{w.Chunks["a"].Vector, w.Chunks["b"].Vector})
}
