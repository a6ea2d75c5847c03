package httpapi

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// endless is n bytes of text that are made as they are read.
func endless(n int64) io.Reader { return io.LimitReader(letters{}, n) }

type letters struct{}

var manyLetters = bytes.Repeat([]byte("a"), 64<<10)

func (letters) Read(p []byte) (int, error) { return copy(p, manyLetters), nil }

// Whatever is wrong with a body or a question is named, and nothing of it is kept.
func TestBadInput(t *testing.T) {
	h := newHouse(t, Options{})
	docs, q := acmeMain+"/documents", acmeMain+"/query"
	for _, c := range []struct {
		method, path, body string
		status             int
		code, field        string
	}{
		{post, docs + "/text", ``, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},
		{post, docs + "/text", `{}`, 400, "INVALID_REQUEST", "text"},
		{post, docs + "/text", `{"text":""}`, 400, "INVALID_REQUEST", "text"},
		{post, docs + "/text", `{"text":" \n\t"}`, 400, "INVALID_REQUEST", "text"},
		{post, docs + "/text", `{"text":null}`, 400, "INVALID_REQUEST", "text"},
		{post, docs + "/text", `{"text":"a\u0000b"}`, 400, "INVALID_REQUEST", "text"},
		{post, docs + "/text", "{\"text\":\"\xc3\x28\"}", 400, "INVALID_REQUEST", "body"},
		{post, docs + "/text", `{"text":"a","txt":"b"}`, 400, "INVALID_REQUEST", "txt"},
		{post, docs + "/text", `{"text":"a","Text":"b"}`, 400, "INVALID_REQUEST", "Text"},
		{post, docs + "/text", `{"text":"a","id":"a/b"}`, 400, "INVALID_REQUEST", "id"},
		{post, docs + "/text", `{"text":"a","id":"a b"}`, 400, "INVALID_REQUEST", "id"},
		{post, docs + "/text", `{"text":"a","id":"字"}`, 400, "INVALID_REQUEST", "id"},
		{post, docs + "/text", `{"text":"a","metadata":{"a":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}}`, 400, "INVALID_REQUEST", "metadata.a" + strings.Repeat("[0]", 31)},
		{post, docs + "/text", strings.Repeat("[", 1<<20), 400, "INVALID_REQUEST", "body"},
		{post, docs + "/text", `{"text":"a","id":".."}`, 400, "INVALID_REQUEST", "id"},
		{post, docs + "/text", `{"text":"a","id":"` + strings.Repeat("x", 256) + `"}`, 400, "INVALID_REQUEST", "id"},
		{post, docs + "/text", `{"text":"a","metadata":[]}`, 400, "INVALID_REQUEST", "metadata"},
		{post, docs + "/text", `{"text":"a"} trailing`, 400, "INVALID_REQUEST", "body"},
		{post, docs + "/text?force=1", `{"text":"a"}`, 400, "INVALID_REQUEST", "force"},
		{post, docs + "/texts", `{"texts":[]}`, 400, "INVALID_REQUEST", "texts"},
		{post, docs + "/texts", `{"texts":["a","b"],"ids":["x"]}`, 400, "INVALID_REQUEST", "ids"},
		{post, docs + "/texts", `{"texts":["a",7]}`, 400, "INVALID_REQUEST", "texts[1]"},
		{post, docs + "/texts", `{"texts":["a",""]}`, 400, "INVALID_REQUEST", "texts[1]"},
		{post, docs + "/texts", `{"texts":["a"` + strings.Repeat(`,"b"`, 1000) + `]}`, 400, "INVALID_REQUEST", "texts"},
		{post, docs + "/scan", `{"folder":"/etc"}`, 400, "INVALID_REQUEST", "folder"},
		{post, docs + "/delete", `{"doc_ids":[]}`, 400, "INVALID_REQUEST", "doc_ids"},
		{post, docs + "/delete?dry_run=yes", `{"doc_ids":["a"]}`, 400, "INVALID_REQUEST", "dry_run"},
		{get, docs + "?status=ready", ``, 400, "INVALID_REQUEST", "status"},
		{get, docs + "?limit=201", ``, 400, "INVALID_REQUEST", "limit"},
		{get, docs + "?limit=-1", ``, 400, "INVALID_REQUEST", "limit"},
		{get, docs + "?limit=9999999999999", ``, 400, "INVALID_REQUEST", "limit"},
		{get, docs + "?cursor=%21%21", ``, 400, "INVALID_REQUEST", "cursor"},
		{post, q, `{}`, 400, "INVALID_REQUEST", "query"},
		{post, q, `{"query":"ab"}`, 400, "INVALID_REQUEST", "query"},
		{post, q, `{"query":"  a  "}`, 400, "INVALID_REQUEST", "query"},
		{post, q, `{"query":""}`, 400, "INVALID_REQUEST", "query"},
		{post, q, `{"query":"abc\u0000"}`, 400, "INVALID_REQUEST", "query"},
		{post, q, `{"query":"` + strings.Repeat("a", 65_537) + `"}`, 400, "INVALID_REQUEST", "query"},
		{post, q, `{"query":"` + strings.Repeat("a", 1<<20) + `"}`, 413, "PAYLOAD_TOO_LARGE", "body"},
		{post, q, `{"query":"abc","mode":"foo"}`, 400, "INVALID_REQUEST", "mode"},
		{post, q, `{"query":"abc","mode":"MIX"}`, 400, "INVALID_REQUEST", "mode"},
		{post, q, `{"query":"abc","top_k":0}`, 400, "INVALID_REQUEST", "top_k"},
		{post, q, `{"query":"abc","top_k":1000000000}`, 400, "INVALID_REQUEST", "top_k"},
		{post, q, `{"query":"abc","top_k":1e9}`, 400, "INVALID_REQUEST", "top_k"},
		{post, q, `{"query":"abc","top_k":-1}`, 400, "INVALID_REQUEST", "top_k"},
		{post, q, `{"query":"abc","top_k":1.5}`, 400, "INVALID_REQUEST", "top_k"},
		{post, q, `{"query":"abc","top_k":"10"}`, 400, "INVALID_REQUEST", "top_k"},
		{post, q, `{"query":"abc","chunk_top_k":1001}`, 400, "INVALID_REQUEST", "chunk_top_k"},
		{post, q, `{"query":"abc","max_total_tokens":0}`, 400, "INVALID_REQUEST", "max_total_tokens"},
		{post, q, `{"query":"abc","conversation_history":[{"role":"system","content":"x"}]}`, 400, "INVALID_REQUEST", "conversation_history[0].role"},
		{post, q + "/data", `{"query":"abc","mode":"bypass"}`, 400, "INVALID_REQUEST", "mode"},
	} {
		t.Run(c.path[len(acmeMain):]+" "+c.body[:min(60, len(c.body))], func(t *testing.T) {
			body := refused(t, h.as(h.admin, c.method, c.path, c.body), c.status, c.code)
			require.Equal(t, c.field, body.Details["field"], body.Message)
			require.Contains(t, body.Message, c.field)
		})
	}
	for name, head := range map[string][]string{
		"text": {"Content-Type", "text/plain"}, "a form": {"Content-Type", "application/x-www-form-urlencoded"}, "another charset": {"Content-Type", "application/json; charset=utf-16"},
		"compressed": {"Content-Encoding", "gzip", "Content-Type", "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			w := ask(h.server, post, docs+"/text", strings.NewReader(`{"text":"a"}`), append(head, credentialHead(h.admin)...)...)
			require.Equal(t, head[0], refused(t, w, 415, "UNSUPPORTED_MEDIA_TYPE").Details["field"])
		})
	}
	require.Contains(t, refused(t, h.as(h.admin, post, docs+"/text", `{"text":"a","id":"字"}`), 400, "INVALID_REQUEST").Message, "字")
	require.Contains(t, refused(t, h.as(h.admin, post, docs+"/text", strings.Repeat("[", 1<<20)), 400, "INVALID_REQUEST").Message, "deeper than 32")
	body := refused(t, h.as(h.admin, post, docs+"/texts", `{"texts":["a","b"],"ids":["x","x"]}`), 409, "CONFLICT")
	require.Contains(t, body.Message, "texts[1]")
	h.nothingStored()
}

func (h *house) nothingStored() {
	h.t.Helper()
	require.Equal(h.t, 0.0, h.ok(200, get, acmeMain+"/status_counts", "")["status_counts"].(map[string]any)["all"])
	require.Empty(h.t, h.ok(200, get, acmeMain+"/documents", "")["documents"])
	require.Empty(h.t, h.ok(200, get, acmeMain+"/jobs", "")["jobs"])
	require.Zero(h.t, h.server.held.used.Load())
	require.Zero(h.t, h.server.gate.running())
}

func TestBadUploads(t *testing.T) {
	h := newHouse(t, Options{})
	add := acmeMain + "/documents/add"
	many := make([]string, 0, 202)
	for i := range 101 {
		many = append(many, fmt.Sprintf("file:%d.txt", i), "text")
	}
	for name, c := range map[string]struct {
		pairs  []string
		status int
		code   string
		field  string
		says   string
	}{
		"no part":             {nil, 400, "INVALID_REQUEST", "", ""},
		"no file":             {[]string{"metadata", "{}"}, 400, "INVALID_REQUEST", "file", "missing"},
		"an empty file":       {[]string{"file:a.txt", ""}, 400, "INVALID_REQUEST", "file", "empty"},
		"a blank file":        {[]string{"file:a.txt", " \n "}, 400, "INVALID_REQUEST", "file", "empty"},
		"a PDF":               {[]string{"file:a.pdf", "%PDF-1.7"}, 400, "UNSUPPORTED_FILE_TYPE", "file", ".txt"},
		"an id twice":         {[]string{"file:a.txt", "text", "id", "x", "id", "y"}, 400, "INVALID_REQUEST", "id", "twice"},
		"not UTF-8":           {[]string{"file:a.txt", "caf\xe9"}, 400, "INVALID_REQUEST", "file", "UTF-8"},
		"a NUL":               {[]string{"file:a.txt", "a\x00b"}, 400, "INVALID_REQUEST", "file", "NUL"},
		"one bad of two":      {[]string{"file:a.txt", "good text", "file:b.txt", ""}, 400, "INVALID_REQUEST", "files[1]", "empty"},
		"metadata not JSON":   {[]string{"file:a.txt", "text", "metadata", "topic"}, 400, "INVALID_REQUEST", "metadata", "JSON"},
		"metadata twice":      {[]string{"file:a.txt", "text", "metadata", "{}", "metadata", "{}"}, 400, "INVALID_REQUEST", "metadata", "twice"},
		"metadata a list":     {[]string{"file:a.txt", "text", "metadata", "[]"}, 400, "INVALID_REQUEST", "metadata", "object"},
		"metadata key twice":  {[]string{"file:a.txt", "text", "metadata", `{"a":{"b":1,"b":2}}`}, 400, "INVALID_REQUEST", "metadata.a.b", "twice"},
		"metadata too large":  {[]string{"file:a.txt", "text", "metadata", `{"a":"` + strings.Repeat("x", 70<<10) + `"}`}, 413, "PAYLOAD_TOO_LARGE", "metadata", "larger"},
		"an id for two":       {[]string{"file:a.txt", "text", "file:b.txt", "text", "id", "x"}, 400, "INVALID_REQUEST", "id", "one file only"},
		"an unknown part":     {[]string{"file:a.txt", "text", "tags", "x"}, 400, "INVALID_REQUEST", "tags", "not a known part"},
		"a file as a field":   {[]string{"file", "text"}, 400, "INVALID_REQUEST", "file", "file name"},
		"a name of dots":      {[]string{"file:..", "text"}, 400, "INVALID_REQUEST", "file", "file name"},
		"a name of 256 bytes": {[]string{"file:" + strings.Repeat("a", 252) + ".txt", "text"}, 400, "INVALID_REQUEST", "file", "255"},
		"a name not UTF-8":    {[]string{"file:\xff.txt", "text"}, 400, "INVALID_REQUEST", "file", "valid text"},
		"too many parts":      {many, 413, "PAYLOAD_TOO_LARGE", "body", "100 parts"},
	} {
		t.Run(name, func(t *testing.T) {
			body := refused(t, h.upload(post, add, c.pairs...), c.status, c.code)
			require.Contains(t, body.Message, c.says)
			if c.field != "" {
				require.Equal(t, c.field, body.Details["field"])
			}
		})
	}
	head := append([]string{"Content-Type", "multipart/form-data; boundary=b"}, credentialHead(h.admin)...)
	for name, raw := range map[string]string{
		"no boundary line": "x", "cut in a part": "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\ntext",
		"cut in a head": "--b\r\nContent-Dispo", "no disposition": "--b\r\n\r\ntext\r\n--b--\r\n", "nothing": "",
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, ask(h.server, post, add, strings.NewReader(raw), head...), 400, "INVALID_REQUEST")
		})
	}
	refused(t, h.as(h.admin, post, add, "{}"), 415, "UNSUPPORTED_MEDIA_TYPE")
	refused(t, ask(h.server, post, add, strings.NewReader("--b--"), append([]string{"Content-Encoding", "gzip"}, head...)...), 415, "UNSUPPORTED_MEDIA_TYPE")
	h.nothingStored()
}

// Sixty megabytes are refused by announcement or by counting, without being held.
func TestBadInput_TooLarge(t *testing.T) {
	h := newHouse(t, Options{})
	const size = 60 << 20
	const head1 = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n"
	head := credentialHead(h.admin)
	for name, c := range map[string]struct {
		path, kind  string
		body        io.Reader
		announced   int64
		field, says string
	}{
		"JSON, announced":   {"/documents/text", "application/json", endless(size), size, "body", "16777216"},
		"JSON, chunked":     {"/documents/text", "application/json", io.MultiReader(strings.NewReader(`{"text":"`), endless(size)), -1, "body", "16777216"},
		"question, chunked": {"/query", "application/json", io.MultiReader(strings.NewReader(`{"query":"`), endless(size)), -1, "body", "1048576"},
		"one file": {"/documents/add", "multipart/form-data; boundary=b",
			io.MultiReader(strings.NewReader(head1), endless(size), strings.NewReader("\r\n--b--\r\n")), -1, "file", "52428800"},
		"a call, announced": {"/documents/add", "multipart/form-data; boundary=b", endless(65 << 20), 65 << 20, "body", "67108864"},
		"a call, chunked": {"/documents/add", "multipart/form-data; boundary=b",
			io.MultiReader(strings.NewReader(head1), endless(40<<20), strings.NewReader("\r\n"+head1), endless(40<<20)), -1, "body", "67108864"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequest(post, acmeMain+c.path, c.body)
			require.NoError(t, err)
			r.ContentLength = c.announced
			r.Header.Set("Content-Type", c.kind)
			r.Header.Set(head[0], head[1])
			w := serve(h.server, r)
			body := refused(t, w, 413, "PAYLOAD_TOO_LARGE")
			require.Equal(t, c.field, body.Details["field"])
			require.Contains(t, body.Message, c.says)
		})
	}
	h.nothingStored()
}

// What is odd but right goes in and comes out as it was.
func TestOddInput(t *testing.T) {
	h := newHouse(t, Options{})
	docs := acmeMain + "/documents"
	long := strings.Repeat("word ", 200_000) // one line of 1 MB
	h.ok(202, post, docs+"/text", `{"text":"`+long+`","id":"long"}`)
	up := data(t, h.upload(post, docs+"/add", "file:C:\\dir/../über \"x\".txt", "Ada.\r\n", "id", "odd", "metadata", `{"n":9007199254740992}`))
	require.Equal(t, `über "x".txt`, up["documents"].([]any)[0].(map[string]any)["file_path"])
	h.Wait()
	require.Equal(t, long, h.as(h.admin, get, docs+"/long/content", "").Body.String())
	w := h.as(h.admin, get, docs+"/odd/content", "")
	require.Equal(t, "Ada.\r\n", w.Body.String())
	require.NotContains(t, w.Header().Get("Content-Disposition"), "\n")
	data(t, h.upload(put, docs+"/odd", "file:new.txt", "Babbage."))
	h.Wait()
	require.Equal(t, "Babbage.", h.as(h.admin, get, docs+"/odd/content", "").Body.String())
	refused(t, h.upload(put, docs+"/odd", "file:a.txt", "a", "file:b.txt", "b"), 400, "INVALID_REQUEST")
}

// No body, however cut and coloured, makes the server panic, and each is
// answered in the envelope.
func FuzzUpload(f *testing.F) {
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\ntext\r\n--b--\r\n"))
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{\"a\":1}\r\n--b\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\nx\r\n--b--"))
	f.Add([]byte("--b\nContent-Disposition: form-data; name=file; filename*=UTF-8''%c3%28\n\nx\n--b--"))
	f.Add([]byte("--b--"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := newServer(must(Options{}.withDefaults()))
		r, err := http.NewRequest(post, "/", bytes.NewReader(raw))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		x := new(exchange)
		up, err := s.readUpload(withExchange(r, x))
		if err != nil {
			a, _ := answerTo(err)
			require.True(t, a.status == 400 || a.status == 413, "%v", err)
			return
		}
		for _, file := range up.files {
			require.NotEmpty(t, file.name)
			require.NotContains(t, file.name, "/")
			require.NotContains(t, file.name, `\`)
			require.LessOrEqual(t, len(file.name), maxFileNameBytes)
		}
		require.LessOrEqual(t, x.held, s.o.MaxHeldBytes)
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
