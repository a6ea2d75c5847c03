package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"alcove/tenancy"
)

func ingestCommand() *cobra.Command {
	var o ingestOptions
	c := &cobra.Command{
		Use:   "ingest PATH…",
		Short: "Bring a folder into a knowledge base, and keep it there in step",
		Long: `ingest makes the documents of a knowledge base the files of a folder: files that
are new are added, those that changed replace their documents (only what changed is
worked on), the others are left alone. Run it again after an interruption and it
goes on where it stopped. A document is known by its path below PATH.

With an API key it speaks to a server anywhere; the key needs document:read,
document:create, document:update and, with --delete or --watch, document:delete:

  ALCOVE_API_KEY=sk-… alcove ingest --server https://kb.example --tenant T --kb K notes/

Without a key it uses the data folder on this machine: through its server if one is
running, else it opens the folder itself until the work is done:

  alcove ingest --data-dir DIR --tenant T --kb K notes/

Files are left out whose names begin with a dot, that are empty, and those that the
server cannot read; what was left out and what failed is listed with its reason.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			o.out, o.progress = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return ingest(cmd.Context(), v, o, args)
		},
	}
	f := c.Flags()
	f.StringVar(&o.server, "server", "", "URL of a running server (default: the one on LISTEN)")
	f.StringVar(&o.tenant, "tenant", "", "id of the tenant")
	f.StringVar(&o.kb, "kb", "", "id of the knowledge base")
	f.StringArrayVar(&o.include, "include", nil, "only files that match, as *.md or docs/**/*.pdf; may be repeated")
	f.StringArrayVar(&o.exclude, "exclude", nil, "no files or folders that match; may be repeated")
	f.BoolVar(&o.hidden, "hidden", false, "names that begin with a dot, too")
	f.StringVar(&o.prefix, "prefix", "", "stands before every path: keeps several folders apart in one knowledge base")
	f.IntVar(&o.parallel, "parallel", 4, "files sent at once, 1 to 64")
	f.BoolVar(&o.delete, "delete", false, "delete documents of this folder whose files are gone")
	f.BoolVar(&o.allowEmpty, "allow-empty", false, "delete all of them, too, when the folder is empty (one that is not mounted looks like that)")
	f.BoolVar(&o.watch, "watch", false, "go on and keep the knowledge base in step with the folder, deletes included")
	f.BoolVar(&o.dryRun, "dry-run", false, "only say what would be done")
	f.BoolVar(&o.json, "json", false, "print the summary as JSON, one line for each pass")
	f.DurationVar(&o.retryFor, "retry-for", 10*time.Minute, "how long a server that is busy or away is asked again")
	f.IntVar(&o.maxFiles, "max-files", 1_000_000, "more files are refused")
	addSettings(f)
	for _, name := range []string{"tenant", "kb"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // a flag that is not there: a fault of this file
		}
	}
	return c
}

// ingestOptions are the flags of ingest.
type ingestOptions struct {
	server, tenant, kb, prefix string
	include, exclude           []string
	parallel, maxFiles         int
	retryFor                   time.Duration

	hidden, delete, allowEmpty, watch, dryRun, json bool

	out, progress io.Writer
}

// apiKeyVariable names the key, which must not stand on a command line.
const apiKeyVariable = "ALCOVE_API_KEY"

func ingest(ctx context.Context, v *values, o ingestOptions, args []string) error {
	folders, err := o.folders(args)
	if err != nil {
		return err
	}
	c, stop, err := o.connect(ctx, v)
	if err != nil {
		return err
	}
	defer stop()
	s := &syncer{client: c, kb: kbPath(o.tenant, o.kb), o: o, folders: folders, seen: map[string]seenFile{}}
	if f, ok := o.progress.(*os.File); ok && term.IsTerminal(int(f.Fd())) && !o.json {
		s.bar = func(total int, what string) *progressbar.ProgressBar {
			return progressbar.NewOptions(total, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what),
				progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
		}
	}
	if o.watch {
		return s.watch(ctx)
	}
	r, err := s.pass(ctx)
	if r != nil {
		r.print(o)
	}
	if err == nil && len(r.Failed) > 0 {
		return errReported
	}
	return err
}

// folders opens the paths that were given.
func (o ingestOptions) folders(args []string) ([]folder, error) {
	if o.parallel < 1 || o.parallel > 64 {
		return nil, fmt.Errorf("--parallel %d: from 1 to 64 are allowed", o.parallel)
	}
	if err := errors.Join(checkPatterns("include", o.include), checkPatterns("exclude", o.exclude)); err != nil {
		return nil, err
	}
	prefix := strings.Trim(path.Clean("/"+o.prefix), "/")
	if prefix != "" {
		prefix += "/"
	}
	var out []folder
	for _, a := range args {
		f, err := openFolder(a)
		if err != nil {
			return nil, err
		}
		f.prefix, f.include, f.exclude, f.hidden = prefix, o.include, o.exclude, o.hidden
		if (o.delete || o.watch) && f.only != "" {
			return nil, fmt.Errorf("%s is a file: --delete and --watch take folders", a)
		}
		out = append(out, f)
	}
	return out, nil
}

// connect returns a client with a credential, and a function that ends what was
// started for it.
func (o ingestOptions) connect(ctx context.Context, v *values) (*client, func(), error) {
	log := slog.New(slog.NewTextHandler(o.progress, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg := v.server(log)
	v.checkSecret()
	if err := v.err(); err != nil {
		return nil, nil, err
	}
	base := o.server
	if base == "" {
		base = "http://" + cfg.listen
		if cfg.http.TLS != nil {
			base = "https://" + cfg.listen
		}
	}
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, nil, fmt.Errorf("--server %q is not an http or https URL", base)
	}
	c := &client{base: u.String() + "/api/v1", http: &http.Client{Timeout: 5 * time.Minute}}
	if c.key = os.Getenv(apiKeyVariable); c.key != "" {
		return c, func() {}, nil
	}
	if o.server != "" {
		return nil, nil, fmt.Errorf("%s is not set: a server asked by --server needs a key", apiKeyVariable)
	}
	if err := v.adminToken(c, cfg.store.Dir); err != nil {
		return nil, nil, err
	}
	if conn, err := net.DialTimeout("tcp", cfg.listen, time.Second); err == nil {
		_ = conn.Close()
		return c, func() {}, nil
	}
	return o.openStore(ctx, cfg, c)
}

// adminToken gives a client a token of the server that uses a data folder.
func (v *values) adminToken(c *client, dir string) error {
	secret, _, err := tenancy.SecretFrom(dir, []byte(v.str("TOKEN_SECRET")))
	if err != nil {
		return err
	}
	c.token, err = tenancy.TokenMinter(tenancy.SecretKeys(secret), time.Now)(tenancy.TokenRequest{Subject: "ingest", System: true, TTL: 24 * time.Hour, CLI: true})
	return err
}

// openStore serves the data folder on a free port of loopback while it is needed.
func (o ingestOptions) openStore(ctx context.Context, cfg serverConfig, c *client) (*client, func(), error) {
	fmt.Fprintf(o.progress, "no server on %s: opening %s itself\n", cfg.listen, cfg.store.Dir)
	cfg.listen, cfg.plain, cfg.http.TLS = "127.0.0.1:0", "", nil
	ctx, stop := context.WithCancel(ctx)
	addr, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- serve(ctx, cfg, func(a string) { addr <- a }) }()
	select {
	case a := <-addr:
		c.base = "http://" + a + "/api/v1"
		return c, func() { stop(); <-done }, nil
	case err := <-done:
		stop()
		return nil, nil, err
	}
}

// passReport is what one pass did.
type passReport struct {
	Added     int           `json:"added"`
	Changed   int           `json:"changed"`
	Unchanged int           `json:"unchanged"`
	Retried   int           `json:"retried"` // unchanged, and had failed before
	Deleted   int           `json:"deleted"`
	Skipped   []skippedFile `json:"skipped"`
	Failed    []skippedFile `json:"failed"`
	DryRun    bool          `json:"dry_run,omitempty"`
	Seconds   float64       `json:"seconds"`
}

// skippedFile is a file that is not in the knowledge base as it is in the folder.
type skippedFile struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// listedAtMost bounds the files that a summary for people names.
const listedAtMost = 20

func (r *passReport) print(o ingestOptions) {
	if o.json {
		if r.Skipped == nil {
			r.Skipped = []skippedFile{}
		}
		if r.Failed == nil {
			r.Failed = []skippedFile{}
		}
		b, err := json.Marshal(r)
		if err != nil { // of strings and numbers
			panic(err)
		}
		fmt.Fprintf(o.out, "%s\n", b)
		return
	}
	would := ""
	if r.DryRun {
		would = "would be: "
	}
	fmt.Fprintf(o.out, "%s%d added, %d changed, %d unchanged, %d tried again, %d deleted, %d skipped, %d failed in %.1f s\n",
		would, r.Added, r.Changed, r.Unchanged, r.Retried, r.Deleted, len(r.Skipped), len(r.Failed), r.Seconds)
	for _, l := range []struct {
		what  string
		files []skippedFile
	}{{"skipped", r.Skipped}, {"failed", r.Failed}} {
		for _, f := range l.files[:min(len(l.files), listedAtMost)] {
			fmt.Fprintf(o.out, "%s %s: %s\n", l.what, f.Path, f.Reason)
		}
		if n := len(l.files) - listedAtMost; n > 0 {
			fmt.Fprintf(o.out, "%s %d more; --json lists them all\n", l.what, n)
		}
	}
}
