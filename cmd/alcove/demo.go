package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"alcove"
	"alcove/engine"
	"alcove/tenancy"
)

// handbookQuestion is what the demo asks of the handbook.
const handbookQuestion = "How does alcove delete a document without calling a model?"

func demoCommand() *cobra.Command {
	var question string
	c := &cobra.Command{
		Use:   "demo [FILE…]",
		Short: "From nothing to a cited answer, in a temporary folder",
		Long: `demo starts a server on a free port with a data folder of its own, makes a
tenant, a knowledge base and a key, ingests the files given (the handbook when
there are none), asks one question and prints the answer with its citations and
the commands to go on with. It leaves nothing behind.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			files, err := demoFiles(args)
			if err != nil {
				return err
			}
			if question == "" {
				question = handbookQuestion
				if len(args) > 0 {
					question = "What is " + strings.TrimSuffix(filepath.Base(args[0]), filepath.Ext(args[0])) + " about?"
				}
			}
			return demo(cmd.Context(), v, files, question, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&question, "ask", "", "the question to ask")
	return c
}

// demoMaxBytes bounds what the demo reads of its arguments.
const demoMaxBytes = 50 << 20

func demoFiles(args []string) ([]namedFile, error) {
	var out []namedFile
	if len(args) == 0 {
		err := fs.WalkDir(alcove.Handbook, ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := fs.ReadFile(alcove.Handbook, path)
			out = append(out, namedFile{path, b})
			return err
		})
		return out, err
	}
	total := int64(0)
	for _, a := range args {
		st, err := os.Stat(a)
		if err != nil {
			return nil, err
		}
		if total += st.Size(); st.IsDir() || total > demoMaxBytes {
			return nil, fmt.Errorf("%s: the demo takes files of at most %d MiB in all; a server takes the rest", a, demoMaxBytes>>20)
		}
		b, err := os.ReadFile(a)
		if err != nil {
			return nil, err
		}
		out = append(out, namedFile{a, b})
	}
	return out, nil
}

func demo(ctx context.Context, v *values, files []namedFile, question string, out, progress io.Writer) error {
	dir, err := os.MkdirTemp("", "alcove-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	start := time.Now()
	cfg := v.server(slog.New(slog.NewTextHandler(progress, &slog.HandlerOptions{Level: slog.LevelError})))
	if err := v.err(); err != nil {
		return err
	}
	cfg.listen, cfg.store.Dir, cfg.store.TokenSecret = "127.0.0.1:0", dir, nil

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	addr, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- serve(ctx, cfg, func(a string) { addr <- a }) }()
	defer func() { stop(); <-done }()
	var c *client
	select {
	case a := <-addr:
		c = newClient(a)
	case err := <-done:
		done <- err
		return err
	}
	say := func(format string, a ...any) { fmt.Fprintf(out, format+"\n", a...) }
	say("server   %s, data in %s (goes with the demo)", strings.TrimSuffix(c.base, "/api/v1"), dir)

	secret, _, err := tenancy.SecretFrom(dir, nil)
	if err != nil {
		return err
	}
	if c.token, err = tenancy.TokenMinter(tenancy.SecretKeys(secret), time.Now)(tenancy.TokenRequest{Subject: "demo", System: true, TTL: time.Hour, CLI: true}); err != nil {
		return err
	}
	var tenant, kb, key map[string]any
	if err := c.call(ctx, "POST", "/tenants", map[string]any{"tenant_name": "Demo"}, &tenant); err != nil {
		return err
	}
	tenantID := fmt.Sprint(tenant["tenant_id"])
	if err := c.call(ctx, "POST", "/tenants/"+tenantID+"/knowledge-bases", map[string]any{"kb_name": "Handbook"}, &kb); err != nil {
		return err
	}
	kbID := fmt.Sprint(kb["kb_id"])
	if err := c.call(ctx, "POST", "/tenants/"+tenantID+"/api-keys", map[string]any{
		"key_name": "demo", "knowledge_base_ids": []string{kbID},
		"permissions": []string{"query:run", "document:read", "document:create"},
	}, &key); err != nil {
		return err
	}
	c.key = fmt.Sprint(key["key"])
	path := kbPath(tenantID, kbID)
	say("tenant   Demo, knowledge base Handbook, an API key for both")

	var accepted engine.Accepted
	if err := c.upload(ctx, path, files, &accepted); err != nil {
		return err
	}
	n, failed, err := waitTrack(ctx, c, path, accepted.TrackID, len(accepted.Documents), progress)
	if err != nil {
		return err
	}
	if failed != "" {
		return errors.New(failed)
	}
	say("ingested %d documents in %.1f s after the start\n", n, time.Since(start).Seconds())

	var a engine.Answer
	t := time.Now()
	if err := c.call(ctx, "POST", path+"/query", map[string]any{"query": question, "mode": "mix"}, &a); err != nil {
		return err
	}
	say("question  %s\n", question)
	say("%s\n", a.Response)
	say("written by %s, in %d ms; from:", writer(a), time.Since(t).Milliseconds())
	for _, r := range a.References[:min(5, len(a.References))] {
		from, to := r.SnippetStart, r.SnippetEnd
		if to == 0 {
			from, to = r.Start, r.End
		}
		say("  [%s] %s, bytes %d-%d: %s", r.ReferenceID, r.FilePath, from, to, oneLine(r.Snippet, 100))
	}
	say("%s", goOn)
	return nil
}

func writer(a engine.Answer) string {
	if a.LLM == "none" {
		return "no language model (the sentences are quoted from the documents)"
	}
	return a.LLM
}

// waitTrack waits until every document of a call has come to its end.
func waitTrack(ctx context.Context, c *client, kb, track string, total int, progress io.Writer) (done int, failed string, err error) {
	var bar *progressbar.ProgressBar
	if f, ok := progress.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(progress), progressbar.OptionSetDescription("documents"), progressbar.OptionClearOnFinish())
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var t engine.Track
		if err := c.call(ctx, "GET", kb+"/tracks/"+track, nil, &t); err != nil {
			return 0, "", err
		}
		done = t.StatusSummary[engine.StatusProcessed] + t.StatusSummary[engine.StatusPartial] + t.StatusSummary[engine.StatusFailed] + t.StatusSummary[engine.StatusCancelled]
		if bar != nil {
			bar.Set(done) //nolint:errcheck // a bar that cannot be drawn is no reason to stop
		}
		if done >= total {
			for _, d := range t.Documents {
				if d.Status != engine.StatusProcessed {
					failed = fmt.Sprintf("%s: %s: %s", d.FilePath, d.Status, d.ErrorMsg)
				}
			}
			return done, failed, nil
		}
		select {
		case <-ctx.Done():
			return done, "", ctx.Err()
		case <-tick.C:
		}
	}
}

func oneLine(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

const goOn = `
Go on with a server of your own:

  alcove serve --data-dir my-data &
  ADMIN_TOKEN=$(alcove token --data-dir my-data)
  curl -s localhost:9621/api/v1/tenants -H "Authorization: Bearer $ADMIN_TOKEN" \
    -H "Content-Type: application/json" -d '{"tenant_name":"Test Tenant"}'
  # the answer holds tenant_id; the README goes on from here: a knowledge base,
  # a key, your files, your questions`
