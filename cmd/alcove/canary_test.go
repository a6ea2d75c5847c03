package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// birdcage makes canaries: words that occur nowhere else, each put in one place where a
// secret or a private text can stand. They look like what they stand for.
type birdcage struct {
	mu    sync.Mutex
	names []string
	words []string
}

func (c *birdcage) in(place string) string {
	word := fmt.Sprintf("Kn4ry%02dX%sq7Zt", len(c.words), strings.Repeat("v9Wc", 5))
	c.take(place, word)
	return word
}

// take makes a canary of a secret that the server made.
func (c *birdcage) take(place, word string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names, c.words = append(c.names, place), append(c.words, word)
}

// sings fails for every canary found in text.
func (c *birdcage) sings(t *testing.T, surface, text string) {
	t.Helper()
	for i, word := range c.words {
		if at := strings.Index(text, word); at >= 0 {
			t.Errorf("%s shows what stood in %s: …%.120s…", surface, c.names[i], text[max(0, at-60):])
		}
	}
}

// lockedLog is a log that the server writes while a test reads.
type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Secrets and private texts in every input and setting of a real server, at debug
// level: none of them is in its log, its metrics, its audit log, an error answer or a
// page, nor in what the offline commands print.
func TestSecrets_AreNowhere(t *testing.T) {
	var cage birdcage
	dir := t.TempDir()
	models := newOracle(t, enginetest.WireOpenAI)
	settings := map[string]string{
		"TOKEN_SECRET":              cage.in("TOKEN_SECRET") + "0123456789abcdefghij",
		"LLM_BINDING_API_KEY":       cage.in("LLM_BINDING_API_KEY"),
		"EMBEDDING_BINDING_API_KEY": cage.in("EMBEDDING_BINDING_API_KEY"),
		"RERANK_BINDING_API_KEY":    cage.in("RERANK_BINDING_API_KEY"),
		"METRICS_TOKEN":             cage.in("METRICS_TOKEN"),
	}
	for name, value := range settings {
		t.Setenv(name, value)
	}
	v := load(t, "--data-dir", dir, "--listen", "127.0.0.1:0", "--metrics-listen", "off", "--traceparent", "on",
		"--llm-binding", "openai", "--llm-binding-host", models.URL, "--llm-model", "m",
		"--embedding-binding", "openai", "--embedding-model", "e",
		"--rerank-binding", "cohere", "--rerank-model", "r", "--rerank-binding-host", models.URL)
	var log lockedLog
	logger := v.loggerTo(&log, slog.LevelDebug)
	cfg := v.server(logger)
	v.checkSecret()
	require.NoError(t, v.err())
	logger.Debug("settings", "config", fmt.Sprintf("%+v", cfg.http), "metrics", cfg.http.MetricsToken) // as somebody might

	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- serve(ctx, cfg, func(addr string) { ready <- addr }) }()
	var base string
	select {
	case addr := <-ready:
		base = "http://" + addr
	case err := <-ended:
		t.Fatal(err)
	}

	var refused []string
	send := func(method, path, body string, head ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, base+path, strings.NewReader(body))
		require.NoError(t, err)
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		for i := 0; i+1 < len(head); i += 2 {
			req.Header.Set(head[i], head[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		if resp.StatusCode >= 400 {
			refused = append(refused, string(b)+fmt.Sprint(resp.Header))
		}
		return resp.StatusCode, string(b)
	}
	keys := tenancy.SecretKeys([]byte(settings["TOKEN_SECRET"]))
	mint := tenancy.TokenMinter(keys, time.Now)
	admin, err := mint(tenancy.TokenRequest{Subject: "root", System: true, TTL: time.Hour})
	require.NoError(t, err)
	cage.take("an administrator's token", admin)
	as := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	do := func(status int, method, path, body string, head ...string) string {
		t.Helper()
		got, b := send(method, path, body, append(as(admin), head...)...)
		require.Equal(t, status, got, "%s %s: %s", method, path, b)
		return b
	}
	field := func(answer, name string) string {
		_, rest, ok := strings.Cut(answer, `"`+name+`":"`)
		require.True(t, ok, answer)
		value, _, _ := strings.Cut(rest, `"`)
		return value
	}

	// Management.
	const tenant = "/api/v1/tenants/acme"
	const kb = tenant + "/knowledge-bases/main"
	do(201, "POST", "/api/v1/tenants", `{"tenant_id":"acme","tenant_name":"Acme","description":"`+cage.in("a tenant's description")+`","metadata":{"x":"`+cage.in("a tenant's metadata")+`"}}`)
	do(201, "POST", tenant+"/knowledge-bases", `{"kb_id":"main","kb_name":"Main","description":"`+cage.in("a knowledge base's description")+`"}`)
	key := field(do(201, "POST", tenant+"/api-keys", `{"key_name":"k","permissions":["query:run","document:read","document:create","kb:access"]}`), "key")
	cage.take("an API key", key)
	password := cage.in("a password")
	do(201, "POST", "/api/v1/users", `{"user":"ada","password":"`+password+`"}`)
	next := cage.in("a new password")
	if status, b := send("POST", "/api/v1/auth/token", `{"username":"ada","password":"`+password+`"}`); status == 200 {
		token := field(b, "access_token")
		cage.take("an account's token", token)
		send("PUT", "/api/v1/auth/password", `{"old":"`+password+`","new":"`+next+`"}`, as(token)...)
	} else {
		t.Fatalf("sign in: %d %s", status, b)
	}
	send("POST", "/api/v1/auth/token", `{"username":"ada","password":"`+cage.in("a wrong password")+`"}`)

	// Credentials that are none.
	send("GET", tenant, "", "Authorization", "Bearer "+cage.in("a bad bearer"))
	send("GET", tenant, "", "X-API-Key", "sk-"+cage.in("a bad key"))
	send("GET", tenant, "", "X-API-Key", key[:len(key)-4]+"0000")
	send("GET", tenant, "", "Authorization", "Basic "+cage.in("basic authorization"))
	send("GET", tenant+"?token="+cage.in("a token in the query string"), "")
	do(400, "GET", tenant+"?api_key="+cage.in("a key in the query string"), "")
	do(200, "GET", tenant, "", "Cookie", "session="+cage.in("a cookie"))
	do(200, "GET", tenant, "", "User-Agent", cage.in("a user agent"), "Referer", "http://x/"+cage.in("a referer"))
	do(200, "GET", tenant, "", "X-Request-ID", cage.in("a request id that is malformed")+" !", "Traceparent", "00-"+cage.in("a traceparent"))
	send("GET", "/metrics", "", as(cage.in("a wrong metrics token"))...)
	send("GET", "/no/such/page/"+cage.in("an unknown path"), "")

	// Documents and questions.
	var last string
	waitFor := func(f func() bool) {
		t.Helper()
		for range 6000 { // two minutes
			if f() {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatalf("did not come: %s\n%s", last, log.String())
	}
	do(202, "POST", kb+"/documents/text", `{"id":"a","text":"Kirby wrote to Selby of `+cage.in("a document's text")+`.","file_source":"letter.txt","metadata":{"tag":"`+cage.in("a document's metadata")+`"}}`)
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("file", "notes.txt")
	require.NoError(t, err)
	_, err = io.WriteString(part, "Derby met Kirby near "+cage.in("an uploaded file")+".")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	do(202, "POST", kb+"/documents/add", form.String(), "Content-Type", w.FormDataContentType())
	waitFor(func() bool {
		last = do(200, "GET", kb+"/status_counts", "")
		return strings.Contains(last, `"processed":2`)
	})
	question := func(extra string) string {
		return `{"query":"Who wrote to Selby, ` + cage.in("a question") + `?"` + extra + `}`
	}
	for _, path := range []string{"/query", "/query/stream", "/query/data", "/query/explain"} {
		do(200, "POST", kb+path, question(""))
	}
	do(200, "POST", kb+"/query", question(`,"user_prompt":"`+cage.in("a user prompt")+`","conversation_history":[{"role":"user","content":"`+cage.in("a conversation")+`"}]`))
	send("POST", kb+"/query", question(`,"filter":{"metadata":{"tag":"`+cage.in("a filter")+`"}}`), as(key)...)
	send("POST", kb+"/query", `{"query":"`+cage.in("a question in a body that is malformed"), as(key)...)
	send("POST", kb+"/query", `{"query":"What?","secret":"`+cage.in("the value of an unknown field")+`"}`, as(key)...)
	send("POST", kb+"/query", `{"query":"What is it?","mode":"mix","top_k":"`+cage.in("a value of the wrong type")+`"}`, as(key)...)
	do(202, "POST", kb+"/documents/text", `{"id":"b","text":"Kirby answered."}`, "Idempotency-Key", cage.in("an Idempotency-Key"))
	send("POST", kb+"/graph/entity", `{"entity_name":"Ada","entity_data":{"description":"`+cage.in("an entity's description")+`"}}`, as(admin)...)
	send("POST", "/api/v1/tenants/other/knowledge-bases/main/query", question(""), as(key)...) // refused

	// A model server that fails and repeats the key it was sent.
	models.fail(fmt.Sprintf("Incorrect API keys provided: %s and %s", settings["LLM_BINDING_API_KEY"], settings["EMBEDDING_BINDING_API_KEY"]))
	send("POST", kb+"/query", question(""), as(key)...)
	send("POST", kb+"/query", question(`,"mode":"bypass"`), as(key)...)
	do(202, "POST", kb+"/documents/text", `{"id":"c","text":"Selby is silent about `+cage.in("the text of a document that fails")+`."}`)
	waitFor(func() bool { return strings.Contains(log.String(), "work is put off") })
	require.GreaterOrEqual(t, len(cage.words), 30)

	// What anybody gets to see.
	for _, body := range refused {
		cage.sings(t, "an error answer", body)
	}
	require.GreaterOrEqual(t, len(refused), 12)
	for _, page := range []string{"/", "/healthz", "/readyz", "/openapi.json", "/docs"} {
		_, b := send("GET", page, "")
		cage.sings(t, page, b)
	}
	status, metrics := send("GET", "/metrics", "", as(settings["METRICS_TOKEN"])...)
	require.Equal(t, 200, status)
	require.Contains(t, metrics, "lightrag_failed_auth_attempts_total")
	cage.sings(t, "/metrics", metrics)
	audit := do(200, "GET", tenant+"/audit?limit=1000", "")
	require.Contains(t, audit, "query_executed")
	require.Contains(t, audit, "user_access_denied")
	cage.sings(t, "the audit log", audit)
	stop()
	require.NoError(t, <-ended)
	require.Contains(t, log.String(), `"msg":"query_executed"`)
	cage.sings(t, "the log", log.String())

	// And the commands of a stopped store.
	for _, args := range [][]string{{"audit", "export"}, {"audit", "verify"}, {"check"}, {"config", "print"}} {
		var out bytes.Buffer
		c := root()
		c.SetOut(&out)
		c.SetErr(&out)
		c.SetArgs(append(args, "--data-dir", dir))
		require.NoError(t, c.Execute(), "%v: %s", args, out.String())
		require.NotEmpty(t, out.String())
		cage.sings(t, strings.Join(args, " "), out.String())
	}
	t.Logf("%d canaries, %d refusals, %d bytes of log: none sings", len(cage.words), len(refused), len(log.String()))
}
