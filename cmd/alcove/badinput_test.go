package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/tenancy"
)

// What httpapi's tests try with scripted parsers and models, with the real ones: bytes
// that are no text are refused by name and leave nothing, and text of an odd shape is
// worked through in sane time.
func TestServe_OddFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	v := load(t, "--data-dir", "data", "--log-level", "ERROR")
	cfg := v.server(slog.New(slog.DiscardHandler))
	require.NoError(t, v.err())
	s, err := startServer(cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	token, err := s.store.MintToken(tenancy.TokenRequest{Subject: "root", System: true})
	require.NoError(t, err)
	ask := func(method, path, kind string, body io.Reader) (int, map[string]any) {
		r := httptest.NewRequest(method, "/api/v1"+path, body)
		r.Header.Set("Authorization", "Bearer "+token)
		if kind != "" {
			r.Header.Set("Content-Type", kind)
		}
		w := httptest.NewRecorder()
		s.http.ServeHTTP(w, r)
		var out map[string]any
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &out), w.Body)
		if d, ok := out["data"].(map[string]any); ok {
			out = d
		}
		return w.Code, out
	}
	post := func(path, body string) map[string]any {
		status, out := ask(http.MethodPost, path, "application/json", strings.NewReader(body))
		require.Less(t, status, 300, out)
		return out
	}
	post("/tenants", `{"tenant_id":"acme","tenant_name":"Acme"}`)
	post("/tenants/acme/knowledge-bases", `{"kb_id":"main","kb_name":"Main"}`)
	const main = "/tenants/acme/knowledge-bases/main"
	upload := func(name, content string, fields ...string) (int, map[string]any) {
		var body bytes.Buffer
		m := multipart.NewWriter(&body)
		w, err := m.CreateFormFile("file", name)
		require.NoError(t, err)
		_, err = io.WriteString(w, content)
		require.NoError(t, err)
		for i := 0; i+1 < len(fields); i += 2 {
			require.NoError(t, m.WriteField(fields[i], fields[i+1]))
		}
		require.NoError(t, m.Close())
		return ask(http.MethodPost, main+"/documents/add", m.FormDataContentType(), &body)
	}

	for name, c := range map[string]struct{ file, content, code, says string }{
		"empty":              {"a.md", "", "INVALID_REQUEST", "is empty"},
		"blank":              {"a.md", " \n\t\r\n", "INVALID_REQUEST", "file: "},
		"a PDF that is none": {"a.pdf", "1 0 obj", "UNSUPPORTED_FILE_TYPE", ".docx"},
		"a picture":          {"a.txt", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "UNSUPPORTED_FILE_TYPE", "image/png"},
		"an old Office file": {"a.doc", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00", "UNSUPPORTED_FILE_TYPE", "2007"},
		"a NUL":              {"a.txt", "a\x00b", "INVALID_REQUEST", "NUL"},
		"JSON that is none":  {"a.json", `{"a":`, "INVALID_REQUEST", "JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out := upload(c.file, c.content)
			require.Equal(t, 400, status, out)
			require.Equal(t, c.code, out["code"], out)
			require.Contains(t, out["message"], c.says)
			require.Equal(t, "file", out["details"].(map[string]any)["field"])
		})
	}
	_, listed := ask(http.MethodGet, main+"/documents", "", nil)
	require.Empty(t, listed["documents"])
	_, counts := ask(http.MethodGet, main+"/status_counts", "", nil)
	require.Equal(t, 0.0, counts["status_counts"].(map[string]any)["all"])

	// What only reading it shows to be damaged is taken, and fails with the reason.
	for name, content := range map[string]string{"a.docx": "PK\x03\x04\x14\x00", "b.md": "PK\x03\x04" + strings.Repeat("\x00", 40)} {
		status, out := upload(name, content)
		require.Equal(t, 202, status, "%s: %v", name, out)
		id := out["doc_id"].(string)
		require.Eventually(t, func() bool {
			_, d := ask(http.MethodGet, main+"/documents/"+id, "", nil)
			return d["status"] == "failed" && strings.Contains(d["error_msg"].(string), "damaged")
		}, time.Minute, 20*time.Millisecond)
		status, out = ask(http.MethodDelete, main+"/documents/"+id, "", nil)
		require.Equal(t, 200, status, out)
	}

	var headings strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&headings, "%s H%d\n", strings.Repeat("#", i%6+1), i)
	}
	odd := map[string]string{
		"line.txt": strings.Repeat("word ", 200_000), "letters.txt": strings.Repeat("x", 1<<20), "blanks.md": strings.Repeat(" ", 1<<20) + "x",
		"headings.md": headings.String(), "quotes.md": strings.Repeat(">", 1<<17), "brackets.md": strings.Repeat("[", 1<<17),
		"ideographs.txt": strings.Repeat("字", 300_000), "accents.txt": "e" + strings.Repeat("\u0301", 200_000), "ملف 🎉.md": "كتبت ليلى رسالة إلى أحمد.",
		"latin.txt": "caf\xe9", "latin at the end.md": strings.Repeat("word ", 200_000) + "\xff", "note.rtf": `{\rtf1\ansi Ada wrote.\par}`,
	}
	for name, content := range odd {
		status, out := upload(name, content)
		require.Equal(t, 202, status, "%s: %v", name, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for done := 0.0; done < float64(len(odd)); time.Sleep(20 * time.Millisecond) {
		require.NoError(t, ctx.Err(), "these take about two seconds")
		_, counts := ask(http.MethodGet, main+"/status_counts", "", nil)
		by := counts["status_counts"].(map[string]any)
		require.Zero(t, by["failed"])
		done = by["processed"].(float64)
	}
	// A file comes back as it was sent if it was to be kept; its text is the content.
	const rtf = `{\rtf1\ansi\ansicpg1252 Ada\'92s caf\'e9.\par}`
	for keep, want := range map[string]int{"true": 200, "false": 404} {
		status, out := upload("kept-"+keep+".rtf", rtf, "keep_original", keep)
		require.Equal(t, 202, status, out)
		id := out["doc_id"].(string)
		require.Eventually(t, func() bool {
			_, d := ask(http.MethodGet, main+"/documents/"+id, "", nil)
			return d["status"] == "processed" && d["content_type"] == "application/rtf"
		}, time.Minute, 20*time.Millisecond)
		get := func(what string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(http.MethodGet, "/api/v1"+main+"/documents/"+id+what, nil)
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			s.http.ServeHTTP(w, r)
			return w
		}
		require.Equal(t, "Ada\u2019s café.\n", get("/content").Body.String()[:len("Ada\u2019s café.\n")])
		w := get("/original")
		require.Equal(t, want, w.Code, w.Body)
		if want == 200 {
			require.Equal(t, rtf, w.Body.String())
			require.Equal(t, "application/octet-stream", w.Header().Get("Content-Type"))
		} else {
			require.Contains(t, w.Body.String(), "NO_ORIGINAL")
		}
	}
	status, out := upload("a.rtf", rtf, "keep_original", "perhaps")
	require.Equal(t, 400, status, out)
	require.Equal(t, "keep_original", out["details"].(map[string]any)["field"])

	status, out = ask(http.MethodPost, main+"/query", "application/json", strings.NewReader(`{"query":"من كتب رسالة إلى أحمد؟"}`))
	require.Equal(t, 200, status)
	require.Contains(t, out["response"], "ليلى")
}
