package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"alcove/engine"
	"alcove/tenancy"
)

// RetrievalOptions configure the retrieval workload.
type RetrievalOptions struct {
	Sets  []Set
	Modes []engine.Mode
	// Engine configures the engine under test but for its Store.
	Engine engine.Options
	// Progress gets a line per set; nil for none.
	Progress io.Writer
}

// RetrievalRow is one mode on one set. AllGold8 is the share of questions with
// every gold passage among the first 8; Recall2, 5 and 8 the mean share of gold
// passages among the first so many. SearchP50 and P95 are milliseconds of the
// whole retrieval (keywords, embedding, search, cutting) in process.
type RetrievalRow struct {
	Set       string      `json:"set"`
	Mode      engine.Mode `json:"mode"`
	Questions int         `json:"questions"`
	AllGold8  float64     `json:"all_gold_at_8"`
	Recall2   float64     `json:"recall_at_2"`
	Recall5   float64     `json:"recall_at_5"`
	Recall8   float64     `json:"recall_at_8"`
	SearchP50 float64     `json:"search_p50_ms"`
	SearchP95 float64     `json:"search_p95_ms"`
}

// Retrieval ingests each set into a knowledge base of its own, in a store in a
// temporary folder, and asks its questions in every mode.
func Retrieval(ctx context.Context, o RetrievalOptions) ([]RetrievalRow, error) {
	dir, err := os.MkdirTemp("", "alcove-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b, err := openBase(ctx, dir, o.Engine)
	if err != nil {
		return nil, err
	}
	defer b.close()
	var rows []RetrievalRow
	for _, set := range o.Sets {
		t := time.Now()
		kb, err := b.ingest(ctx, set)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", set.Name, err)
		}
		if o.Progress != nil {
			fmt.Fprintf(o.Progress, "%s: %d passages in %.1f s\n", set.Name, len(set.Passages), time.Since(t).Seconds())
		}
		for _, mode := range o.Modes {
			row, err := ask(ctx, kb, set, mode)
			if err != nil {
				return nil, fmt.Errorf("%s, mode %s: %w", set.Name, mode, err)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// base is a store with an engine and one tenant.
type base struct {
	store  *tenancy.Store
	engine *engine.Engine
	admin  tenancy.Principal
	tenant string
}

func openBase(ctx context.Context, dir string, o engine.Options) (*base, error) {
	b, err := reopenBase(ctx, dir, "", o)
	if err != nil {
		return nil, err
	}
	t, err := b.store.CreateTenant(ctx, b.admin, tenancy.TenantInput{Name: "bench"})
	if err != nil {
		b.close()
		return nil, err
	}
	b.tenant = t.ID
	return b, nil
}

// reopenBase is openBase on a folder that has its tenant.
func reopenBase(ctx context.Context, dir, tenant string, o engine.Options) (*base, error) {
	b := &base{tenant: tenant}
	var err error
	if b.store, err = tenancy.Open(tenancy.Options{Dir: dir, Logger: o.Logger}); err != nil {
		return nil, err
	}
	o.Store = b.store
	if b.engine, err = engine.New(o); err != nil {
		b.store.Close()
		return nil, err
	}
	token, err := b.store.MintToken(tenancy.TokenRequest{Subject: "bench", System: true, TTL: time.Hour})
	if err == nil {
		b.admin, err = b.store.Authenticate(ctx, tenancy.Credential{Bearer: token})
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *base) close() {
	b.engine.Close()
	b.store.Close()
}

// ingestBatch is how many passages one call adds.
const ingestBatch = 500

func (b *base) ingest(ctx context.Context, set Set) (*engine.Reader, error) {
	k, err := b.store.CreateKB(ctx, b.admin, b.tenant, tenancy.KBInput{Name: set.Name})
	if err != nil {
		return nil, err
	}
	return b.fill(ctx, k.ID, set.Passages)
}

// input is the passage as a document of its own.
func (p Passage) input() engine.DocumentInput {
	in := engine.DocumentInput{ID: p.ID, FilePath: p.ID, Content: []byte(p.Text)}
	if p.Title != "" {
		in.Metadata = map[string]any{"title": p.Title}
	}
	return in
}

// fill adds passages to a knowledge base without documents and waits until all
// are processed.
func (b *base) fill(ctx context.Context, kbID string, passages []Passage) (*engine.Reader, error) {
	kb, err := b.add(ctx, kbID, passages)
	if err != nil {
		return nil, err
	}
	return kb, b.settled(ctx, kb, len(passages))
}

// add is fill that does not wait.
func (b *base) add(ctx context.Context, kbID string, passages []Passage) (*engine.Reader, error) {
	space, err := b.store.Enter(ctx, b.admin, b.tenant, kbID, tenancy.PermDocumentCreate)
	if err != nil {
		return nil, err
	}
	kb := b.engine.KB(space)
	for batch := range slices.Chunk(passages, ingestBatch) {
		in := make([]engine.DocumentInput, len(batch))
		for i, p := range batch {
			in[i] = p.input()
		}
		if _, err := kb.Add(ctx, in, "insert"); err != nil {
			return nil, err
		}
	}
	return b.reader(ctx, kbID)
}

// settled waits until so many documents are processed.
func (b *base) settled(ctx context.Context, r *engine.Reader, documents int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := r.StatusCounts(ctx)
		if err != nil {
			return err
		}
		if bad := n[string(engine.StatusFailed)] + n[string(engine.StatusPartial)]; bad > 0 {
			return fmt.Errorf("%d documents failed", bad)
		}
		if n[string(engine.StatusProcessed)] == documents {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// depth is how many chunks a question asks for.
var depth = 20

func ask(ctx context.Context, kb *engine.Reader, set Set, mode engine.Mode) (RetrievalRow, error) {
	row := RetrievalRow{Set: set.Name, Mode: mode, Questions: len(set.Questions)}
	// The first question loads the knowledge base; it is not timed.
	if _, err := kb.QueryData(ctx, engine.Query{Query: "warm up", Mode: mode}); err != nil {
		return row, err
	}
	var times []float64
	for _, q := range set.Questions {
		t := time.Now()
		d, err := kb.QueryData(ctx, engine.Query{Query: q.Question, Mode: mode, ChunkTopK: &depth})
		if err != nil {
			return row, fmt.Errorf("question %s: %w", q.ID, err)
		}
		times = append(times, float64(time.Since(t).Microseconds())/1000)
		var got []string
		for _, c := range d.Data.Chunks {
			if !slices.Contains(got, c.DocID) {
				got = append(got, c.DocID)
			}
		}
		row.score(q.Gold, got)
	}
	n := float64(max(1, len(set.Questions)))
	row.AllGold8, row.Recall2, row.Recall5, row.Recall8 = row.AllGold8/n, row.Recall2/n, row.Recall5/n, row.Recall8/n
	slices.Sort(times)
	row.SearchP50, row.SearchP95 = quantile(times, 0.50), quantile(times, 0.95)
	return row, nil
}

func (r *RetrievalRow) score(gold, got []string) {
	for _, x := range []struct {
		k   int
		sum *float64
	}{{2, &r.Recall2}, {5, &r.Recall5}, {8, &r.Recall8}} {
		n := 0
		for _, g := range gold {
			if slices.Contains(got[:min(x.k, len(got))], g) {
				n++
			}
		}
		*x.sum += float64(n) / float64(max(1, len(gold)))
		if x.k == 8 && n == len(gold) {
			r.AllGold8++
		}
	}
}

// quantile is the nearest-rank quantile of sorted values, 0 when there are none.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
