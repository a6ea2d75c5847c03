package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"alcove/engine"
	"alcove/engine/lightrag"
	"alcove/tenancy"
)

func migrateCommand() *cobra.Command {
	var o migrateOptions
	c := &cobra.Command{
		Use:   "migrate --from RAG_STORAGE",
		Short: "Bring LightRAG's working folders into a stopped store",
		Long: `migrate reads a working folder of LightRAG (the JSON, NanoVectorDB and GraphML
files of its default stores; workspaces are sub-folders) and makes of each workspace
a tenant of that name with the knowledge base "default". The folder is only read. No
model is asked: chunks come as they were cut, what they say comes from the cached
answers and the graph, and vectors are kept when --vectors-of names the embedding
model that made them and the settings name the same; else the server makes them when
it runs.

Each workspace is compared with what the store then holds: every text, chunk, entity
and its neighbours. The result is written to a report; the exit status is 1 if anything
differs. A second run changes nothing and compares again. With --dry-run the folder is
read and compared with what would be stored, and no store is opened.

  alcove migrate --from ./rag_storage --data-dir DIR --vectors-of bge-m3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			o.out, o.progress = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return migrate(cmd.Context(), v, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.from, "from", "", "LightRAG's working folder (WORKING_DIR)")
	f.StringVar(&o.tenant, "tenant-id", "", "tenant for the workspace without a name, or the one of --workspace (default \"default\")")
	f.StringVar(&o.workspace, "workspace", "", "only this workspace")
	f.StringVar(&o.vectorsOf, "vectors-of", "", "the embedding model that made the folder's vectors, as in EMBEDDING_MODEL")
	f.StringVar(&o.report, "report", "alcove-migration.json", "file of the report; \"-\" prints it")
	f.BoolVar(&o.dryRun, "dry-run", false, "read and compare, store nothing")
	addSettings(f)
	if err := c.MarkFlagRequired("from"); err != nil {
		panic(err) // a flag that is not there: a fault of this file
	}
	return c
}

// migrateOptions are the flags of migrate.
type migrateOptions struct {
	from, tenant, workspace, vectorsOf, report string
	dryRun                                     bool

	out, progress io.Writer
}

// migrationReport is what the report file holds.
type migrationReport struct {
	From       string             `json:"from"`
	DryRun     bool               `json:"dry_run"`
	At         time.Time          `json:"at"`
	Seconds    float64            `json:"seconds"`
	Workspaces []*workspaceReport `json:"workspaces"`
	OK         bool               `json:"ok"`
}

// workspaceReport says what became of one workspace.
type workspaceReport struct {
	Workspace string `json:"workspace"` // "" for the one without a name
	TenantID  string `json:"tenant_id"`
	KBID      string `json:"kb_id"`
	// Status is planned, migrated, unchanged (a second run) or failed.
	Status      string             `json:"status"`
	ContentHash string             `json:"content_hash,omitempty"` // of the files that are read
	Files       lightrag.Files     `json:"records_in_files"`       // -1: there is no such file
	Documents   int                `json:"documents"`
	Waiting     []waitingDocument  `json:"documents_to_be_worked_on"`
	Skipped     []lightrag.Skipped `json:"documents_skipped"`
	Failed      []skippedFile      `json:"documents_failed"`
	Plan        *lightrag.Plan     `json:"contributions,omitempty"`
	Vectors     vectorReport       `json:"vectors"`
	Verified    *lightrag.Verified `json:"verified,omitempty"`
	Notes       []string           `json:"notes,omitempty"`
	Error       string             `json:"error,omitempty"`
}

type waitingDocument struct {
	ID     string `json:"id"`
	Status string `json:"legacy_status"`
}

type vectorReport struct {
	Kept   int    `json:"kept"`
	ToMake int    `json:"to_make"`
	Dim    int    `json:"dimension"`
	Why    string `json:"why,omitempty"`
}

func (r *workspaceReport) ok() bool {
	return r.Error == "" && len(r.Failed) == 0 && (r.Verified == nil || r.Verified.Count == 0)
}

// defaultKB is the knowledge base that a workspace becomes.
const defaultKB = "default"

func migrate(ctx context.Context, v *values, o migrateOptions) error {
	log := slog.New(slog.NewTextHandler(o.progress, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg := v.server(log)
	v.checkSecret()
	if err := v.err(); err != nil {
		return err
	}
	if o.tenant != "" {
		if err := tenancy.CheckID("--tenant-id", o.tenant); err != nil {
			return err
		}
	}
	folder, err := lightrag.OpenFolder(o.from, lightrag.Limits{})
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	defer folder.Close()
	names, err := o.workspaces(folder)
	if err != nil {
		return err
	}
	m := &migration{o: o, folder: folder, report: migrationReport{From: o.from, DryRun: o.dryRun, At: time.Now().UTC()}}
	if m.models, err = cfg.models(); err != nil {
		return err
	}
	m.dim = int(v.number("EMBEDDING_DIM", 0, 16_384))
	m.model = v.str("EMBEDDING_MODEL")
	if !o.dryRun {
		stop, err := m.open(ctx, cfg)
		if err != nil {
			return err
		}
		defer stop()
	}
	for _, name := range names {
		r := m.workspace(ctx, name)
		m.report.Workspaces = append(m.report.Workspaces, r)
		m.say(r)
		if ctx.Err() != nil {
			break
		}
	}
	if err := m.write(); err != nil {
		return err
	}
	if !m.report.OK {
		return errReported
	}
	return ctx.Err()
}

// workspaces are those of the folder that were asked for.
func (o migrateOptions) workspaces(f *lightrag.Folder) ([]string, error) {
	names, err := f.Workspaces()
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	if o.workspace == "" {
		return names, nil
	}
	for _, n := range names {
		if n == o.workspace {
			return []string{n}, nil
		}
	}
	return nil, fmt.Errorf("--workspace: %s holds no workspace %q", o.from, o.workspace)
}

// migration is one run.
type migration struct {
	o      migrateOptions
	folder *lightrag.Folder
	models models
	model  string // EMBEDDING_MODEL
	dim    int    // EMBEDDING_DIM
	report migrationReport

	store  *tenancy.Store // nil in a dry run
	engine *engine.Engine
	who    tenancy.Principal
}

// open opens the store with an engine that asks no model. stop closes both.
func (m *migration) open(ctx context.Context, cfg serverConfig) (stop func(), err error) {
	running := func(err error) error {
		if !errors.Is(err, tenancy.ErrLocked) {
			return err
		}
		return fmt.Errorf("%w\nThe server of %s is running: a migration needs the store to itself. Stop the server first, or try --dry-run", err, cfg.store.Dir)
	}
	if err := probeAfterCrash(cfg.store.Dir); err != nil {
		return nil, running(err)
	}
	cfg.store.Models = m.models.offered()
	if m.store, err = tenancy.Open(cfg.store); err != nil {
		return nil, running(err)
	}
	fail := func(err error) (func(), error) { return nil, errors.Join(err, m.store.Close()) }
	token, err := m.store.MintToken(tenancy.TokenRequest{Subject: "migrate", System: true, TTL: 24 * time.Hour, CLI: true})
	if err != nil {
		return fail(err)
	}
	if m.who, err = m.store.Authenticate(ctx, tenancy.Credential{Bearer: token}); err != nil {
		return fail(err)
	}
	eo := cfg.engine
	eo.Store, eo.Offline = m.store, true
	m.models.into(&eo)
	if m.engine, err = engine.New(eo); err != nil {
		return fail(err)
	}
	return func() { _ = errors.Join(m.engine.Close(), m.store.Close()) }, nil
}

// tenantOf is the tenant that a workspace becomes: its name where that is an id, else
// one made of it, the same each time.
func (o migrateOptions) tenantOf(workspace string) string {
	switch {
	case o.tenant != "" && (workspace == "" || workspace == o.workspace):
		return o.tenant
	case workspace == "":
		return single
	case tenancy.CheckID("tenant_id", workspace) == nil:
		return workspace
	}
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("lightrag-workspace:"+workspace)).String()
}

// workspace brings one workspace in; what goes wrong is in its report.
func (m *migration) workspace(ctx context.Context, name string) *workspaceReport {
	r := &workspaceReport{
		Workspace: name, TenantID: m.o.tenantOf(name), KBID: defaultKB, Status: "planned",
		Waiting: []waitingDocument{}, Skipped: []lightrag.Skipped{}, Failed: []skippedFile{},
	}
	if err := m.bring(ctx, r); err != nil {
		r.Status, r.Error = "failed", err.Error()
	}
	return r
}

func (m *migration) bring(ctx context.Context, r *workspaceReport) (err error) {
	if r.ContentHash, err = m.folder.Print(ctx, r.Workspace); err != nil {
		return err
	}
	w, err := m.folder.Read(ctx, r.Workspace)
	if err != nil {
		return err
	}
	if after, err := m.folder.Print(ctx, r.Workspace); err != nil {
		return err
	} else if after != r.ContentHash {
		return errors.New("the folder changed while it was read: stop LightRAG first")
	}
	r.Files, r.Notes = w.Files, w.Notes
	plan := w.Plan(m.embeddedBy(w, &r.Vectors))
	r.Plan, r.Documents = plan, len(plan.Documents)
	r.Skipped = append(r.Skipped, plan.Skipped...)
	for _, d := range plan.Waiting {
		r.Waiting = append(r.Waiting, waitingDocument{d.ID, d.Status})
	}
	for _, d := range plan.Documents {
		for i := range d.Chunks {
			if d.Chunks[i].Vector != nil {
				r.Vectors.Kept++
			} else {
				r.Vectors.ToMake++
			}
		}
	}
	if m.o.dryRun {
		r.Verified = plan.Check()
		return nil
	}
	kb, again, err := m.place(ctx, r)
	if err != nil {
		return err
	}
	if again {
		r.Status = "unchanged"
	} else {
		r.Status = "migrated"
		if err := m.add(ctx, r, kb, plan); err != nil {
			return err
		}
	}
	if err := m.engine.WaitIdle(ctx); err != nil {
		return err
	}
	if r.Verified, err = m.verify(ctx, r, kb, plan); err != nil || again || !r.ok() {
		return err
	}
	return m.mark(ctx, r)
}

// embeddedBy decides whether vectors are kept: it returns the name of the model here
// if it is the one that made them, else "" and why in the report.
func (m *migration) embeddedBy(w *lightrag.Workspace, r *vectorReport) string {
	r.Dim = w.Dim
	here := m.models.embedder.Model()
	switch {
	case w.Dim == 0:
		r.Why = "the folder has no chunk vectors"
	case m.o.vectorsOf == "":
		r.Why = fmt.Sprintf("the folder does not say which model made its vectors: --vectors-of names it; here it is %s", here)
	case m.o.vectorsOf != here && m.o.vectorsOf != m.model:
		r.Why = fmt.Sprintf("they are of %s, and the embedding model here is %s", m.o.vectorsOf, here)
	case m.dim != 0 && m.dim != w.Dim:
		r.Why = fmt.Sprintf("they have %d dimensions, and EMBEDDING_DIM is %d", w.Dim, m.dim)
	default:
		return here
	}
	return ""
}

// marker is what a knowledge base's metadata say of the folder it was made of.
const marker = "lightrag_source"

// place finds or makes tenant and knowledge base. again says that this very content
// was brought in before.
func (m *migration) place(ctx context.Context, r *workspaceReport) (kb *engine.KB, again bool, err error) {
	if _, err = m.store.Tenant(ctx, m.who, r.TenantID); errors.Is(err, tenancy.ErrNoTenant) {
		name := r.Workspace
		if name == "" {
			name = r.TenantID
		}
		_, err = m.store.CreateTenant(ctx, m.who, tenancy.TenantInput{ID: r.TenantID, Name: name, Metadata: map[string]any{"legacy_workspace": r.Workspace}})
	}
	if err != nil {
		return nil, false, err
	}
	is, err := m.store.KB(ctx, m.who, r.TenantID, defaultKB)
	if errors.Is(err, tenancy.ErrNoKB) {
		is, err = m.store.CreateKB(ctx, m.who, r.TenantID, tenancy.KBInput{ID: defaultKB, Name: defaultKB})
	}
	if err != nil {
		return nil, false, err
	}
	if was, ok := is.Metadata[marker].(map[string]any); ok {
		again = was["content_hash"] == r.ContentHash
	}
	space, err := m.store.Enter(ctx, m.who, r.TenantID, defaultKB, tenancy.PermKBManage)
	if err != nil {
		return nil, false, err
	}
	return m.engine.KB(space), again, nil
}

// mark notes in the knowledge base what it was made of.
func (m *migration) mark(ctx context.Context, r *workspaceReport) error {
	is, err := m.store.KB(ctx, m.who, r.TenantID, defaultKB)
	if err != nil {
		return err
	}
	if is.Metadata == nil {
		is.Metadata = map[string]any{}
	}
	is.Metadata[marker] = map[string]any{"workspace": r.Workspace, "content_hash": r.ContentHash, "migrated_at": m.report.At.Format(time.RFC3339)}
	_, err = m.store.UpdateKB(ctx, m.who, r.TenantID, defaultKB, tenancy.KBUpdate{Metadata: is.Metadata})
	return err
}

// add takes the documents in. One that is refused for what it is does not stop the others.
func (m *migration) add(ctx context.Context, r *workspaceReport, kb *engine.KB, plan *lightrag.Plan) error {
	take := func(id string, f func() error) error {
		err := f()
		if errors.Is(err, engine.ErrQueueFull) {
			if err = m.engine.WaitIdle(ctx); err == nil {
				err = f()
			}
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, engine.ErrBadInput), errors.Is(err, engine.ErrConflict), errors.Is(err, engine.ErrTooLarge), errors.Is(err, engine.ErrEmptyDocument), errors.Is(err, engine.ErrNotText):
			r.Failed = append(r.Failed, skippedFile{id, err.Error()})
			return nil
		}
		return fmt.Errorf("document %s: %w", id, err)
	}
	for _, d := range plan.Documents {
		if err := take(d.ID, func() error { _, err := kb.Adopt(ctx, d.Adoption); return err }); err != nil {
			return err
		}
	}
	for _, d := range plan.Waiting {
		if err := take(d.ID, func() error { _, err := kb.Add(ctx, []engine.DocumentInput{d.DocumentInput}, "insert"); return err }); err != nil {
			return err
		}
	}
	return nil
}

// verify compares with the store what is in it and, while documents wait there for
// their vectors, what is to be.
func (m *migration) verify(ctx context.Context, r *workspaceReport, kb *engine.KB, plan *lightrag.Plan) (*lightrag.Verified, error) {
	pending := 0
	for _, d := range plan.Documents {
		doc, err := kb.Document(ctx, d.ID)
		if err == nil && doc.Status == engine.StatusPending {
			pending++
		}
	}
	if pending > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d documents wait for vectors, which the server makes when it runs; run this again afterwards to compare what is stored", pending))
		return plan.Check(), nil
	}
	n, err := kb.StatusCounts(ctx)
	if err != nil {
		return nil, err
	}
	total := 0
	for status, of := range n {
		if status != "all" {
			total += of
		}
	}
	return plan.Verify(ctx, &kb.Reader, total <= len(plan.Documents)+len(plan.Waiting))
}

// say prints a workspace's report for people.
func (m *migration) say(r *workspaceReport) {
	name := r.Workspace
	if name == "" {
		name = "the workspace without a name"
	}
	fmt.Fprintf(m.o.out, "%s -> tenant %s, knowledge base %s: %s\n", name, r.TenantID, r.KBID, r.Status)
	if r.Error != "" {
		fmt.Fprintf(m.o.out, "  %s\n", r.Error)
	}
	if r.Plan != nil {
		fmt.Fprintf(m.o.out, "  %s\n", r.Plan.Summary())
		fmt.Fprintf(m.o.out, "  vectors: %d kept, %d to make", r.Vectors.Kept, r.Vectors.ToMake)
		if r.Vectors.Why != "" {
			fmt.Fprintf(m.o.out, " (%s)", r.Vectors.Why)
		}
		fmt.Fprintln(m.o.out)
	}
	if r.Verified != nil {
		fmt.Fprintf(m.o.out, "  compared: %s\n", r.Verified.Line())
		for _, x := range r.Verified.Mismatches[:min(len(r.Verified.Mismatches), listedAtMost)] {
			fmt.Fprintf(m.o.out, "  mismatch: %s\n", x)
		}
	}
	for _, f := range r.Failed[:min(len(r.Failed), listedAtMost)] {
		fmt.Fprintf(m.o.out, "  failed: %s: %s\n", f.Path, f.Reason)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(m.o.out, "  note: %s\n", strings.TrimSpace(n))
	}
}

// write writes the report.
func (m *migration) write() error {
	m.report.OK = true
	for _, r := range m.report.Workspaces {
		m.report.OK = m.report.OK && r.ok()
	}
	m.report.Seconds = time.Since(m.report.At).Seconds()
	b, err := json.MarshalIndent(&m.report, "", "  ")
	if err != nil { // of strings and numbers
		panic(err)
	}
	b = append(b, '\n')
	if m.o.report == "-" {
		_, err = m.o.out.Write(b)
		return err
	}
	if err := os.WriteFile(m.o.report, b, 0o600); err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	fmt.Fprintf(m.o.out, "report: %s\n", m.o.report)
	return nil
}
