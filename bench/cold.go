package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"alcove/engine"
	"alcove/tenancy"
)

// ColdOptions configure the workload on what the first question after a start costs.
type ColdOptions struct {
	Engine   engine.Options // but for its Store
	Set      Set            // its passages are repeated under other ids where there are too few
	Sizes    []int          // 1,000 and 10,000 passages
	Runs     int            // 10 of each size and mode
	Modes    []engine.Mode  // naive and mix
	Progress io.Writer      // nil for none
}

// ColdRow is one mode on a knowledge base of one size. A run closes the store, opens it
// again and asks: Open is the time until the store is open and the engine up, First that of the
// question, which loads the knowledge base, Second that of the same question
// again. CPU is that of First, of all processors. The files are in the system's
// cache. Times are milliseconds.
type ColdRow struct {
	Mode      engine.Mode `json:"mode"`
	Chunks    int         `json:"chunks"`
	Entities  int         `json:"entities"`
	Relations int         `json:"relations"`
	Runs      int         `json:"runs"`
	Wrong     int         `json:"wrong_first_answers"` // unlike that of the base that was filled and never left the memory
	OpenP50   float64     `json:"open_p50_ms"`
	FirstP50  float64     `json:"first_p50_ms"`
	FirstP99  float64     `json:"first_p99_ms"`
	FirstMin  float64     `json:"first_min_ms"`
	CPU       float64     `json:"first_cpu_ms"` // mean; 0 where it cannot be told
	SecondP50 float64     `json:"second_p50_ms"`
	// What its records take in the store, and its snapshot beside them, before compression.
	Records  int64 `json:"record_bytes"`
	Snapshot int64 `json:"snapshot_bytes"`
	// What it takes in memory, counted, by part.
	Bytes       int64 `json:"bytes"`
	VectorBytes int64 `json:"vector_bytes"`
	WordBytes   int64 `json:"word_bytes"`
	GraphBytes  int64 `json:"graph_bytes"`
	TableBytes  int64 `json:"table_bytes"`
	// PerVector is VectorBytes by vector, Least what float32 and a byte for each of its
	// dimensions take.
	PerVector float64 `json:"bytes_per_vector"`
	Least     int     `json:"least_bytes_per_vector"`
}

const coldKB = "cold"

// Cold fills a knowledge base of each size and starts on it again and again.
func Cold(ctx context.Context, o ColdOptions) ([]ColdRow, error) {
	if len(o.Sizes) == 0 {
		o.Sizes = []int{1000, 10_000}
	}
	if o.Runs == 0 {
		o.Runs = 10
	}
	if len(o.Modes) == 0 {
		o.Modes = []engine.Mode{engine.ModeNaive, engine.ModeMix}
	}
	if len(o.Set.Passages) == 0 || len(o.Set.Questions) == 0 {
		return nil, errors.New("the set has no passages or no questions")
	}
	var rows []ColdRow
	for _, n := range o.Sizes {
		more, err := o.size(ctx, n)
		if err != nil {
			return rows, fmt.Errorf("%d passages: %w", n, err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

func (o ColdOptions) size(ctx context.Context, n int) (rows []ColdRow, err error) {
	dir, err := os.MkdirTemp("", "alcove-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b, err := openBase(ctx, dir, o.Engine)
	if err != nil {
		return nil, err
	}
	defer func() {
		if b != nil {
			b.close()
		}
	}()
	start := time.Now()
	passages := Copies(o.Set.Passages, (n+len(o.Set.Passages)-1)/len(o.Set.Passages))[:n]
	if _, err := b.store.CreateKB(ctx, b.admin, b.tenant, tenancy.KBInput{ID: coldKB, Name: coldKB}); err != nil {
		return nil, err
	}
	kb, err := b.fill(ctx, coldKB, passages)
	if err != nil {
		return nil, err
	}
	if o.Progress != nil {
		fmt.Fprintf(o.Progress, "%d passages in %.1f s\n", n, time.Since(start).Seconds())
	}
	records, err := b.stored(ctx, coldKB) // before anybody has asked: there is no snapshot yet
	if err != nil {
		return nil, err
	}
	m, err := kb.InMemory(ctx)
	if err != nil {
		return nil, err
	}
	for _, mode := range o.Modes {
		want := make([]string, o.Runs)
		for i := range want {
			if want[i], err = answered(ctx, kb, o.Set.Questions[i%len(o.Set.Questions)].Question, mode); err != nil {
				return nil, err
			}
		}
		row := ColdRow{
			Mode: mode, Chunks: m.Chunks, Entities: m.Entities, Relations: m.Relations, Runs: o.Runs,
			Bytes: m.Bytes, VectorBytes: m.Vectors, WordBytes: m.Words, GraphBytes: m.Graph, TableBytes: m.Tables,
			Records: records, PerVector: float64(m.Vectors) / float64(max(1, m.Chunks)), Least: 5 * m.Dim,
		}
		var open, first, second []float64
		for i, want := range want {
			question := o.Set.Questions[i%len(o.Set.Questions)].Question
			tenant := b.tenant
			b.close()
			t := time.Now()
			if b, err = reopenBase(ctx, dir, tenant, o.Engine); err != nil {
				return nil, err
			}
			open = append(open, milliseconds(time.Since(t)))
			space, err := b.store.Enter(ctx, b.admin, b.tenant, coldKB, tenancy.PermQueryRun)
			if err != nil {
				return nil, err
			}
			kb = b.engine.Reader(space)
			u, err := space.Usage(ctx)
			if err != nil {
				return nil, err
			}
			row.Snapshot = u.Bytes - records
			cpu, t := cpuSeconds(os.Getpid()), time.Now()
			got, err := answered(ctx, kb, question, mode)
			if err != nil {
				return nil, err
			}
			first = append(first, milliseconds(time.Since(t)))
			row.CPU += (cpuSeconds(os.Getpid()) - cpu) * 1000 / float64(o.Runs)
			if got != want {
				row.Wrong++
			}
			if _, err := kb.InMemory(ctx); err != nil { // when all of it is there
				return nil, err
			}
			t = time.Now()
			if got, err = answered(ctx, kb, question, mode); err != nil {
				return nil, err
			}
			second = append(second, milliseconds(time.Since(t)))
			if got != want {
				row.Wrong++
			}
		}
		slices.Sort(open)
		slices.Sort(first)
		slices.Sort(second)
		row.OpenP50, row.SecondP50 = quantile(open, .5), quantile(second, .5)
		row.FirstMin, row.FirstP50, row.FirstP99 = quantile(first, 0), quantile(first, .5), quantile(first, .99)
		rows = append(rows, row)
	}
	return rows, nil
}

// stored is what a knowledge base takes in the store, before compression.
func (b *base) stored(ctx context.Context, kb string) (int64, error) {
	space, err := b.store.Enter(ctx, b.admin, b.tenant, kb, tenancy.PermQueryRun)
	if err != nil {
		return 0, err
	}
	u, err := space.Usage(ctx)
	return u.Bytes, err
}

// answered is what retrieval finds for a question, as text that is the same whenever
// everything but its times is.
func answered(ctx context.Context, kb *engine.Reader, question string, mode engine.Mode) (string, error) {
	d, err := kb.QueryData(ctx, engine.Query{Query: question, Mode: mode})
	if err != nil {
		return "", fmt.Errorf("%q: %w", question, err)
	}
	d.Metadata.StagesMS = nil
	b, err := json.Marshal(d)
	return string(b), err
}
