package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"alcove/engine"
)

// QueryOptions configure the workload on what a query costs beside the model.
type QueryOptions struct {
	Target    Target // a knowledge base without documents, of a server that uses Model
	Model     *Model
	Documents int           // 1000
	Corpus    Corpus        // of documents of ten chunks
	Questions int           // 500 for each mode, no two the same
	Modes     []engine.Mode // all that retrieve
	Progress  io.Writer     // nil for none
}

// QueryRow is one mode. Times are milliseconds over REST with one client, no two
// questions the same. Total is a whole answer, Overhead what is left of it without
// the time that the model server took; the way to the model and back is in it.
type QueryRow struct {
	Mode        engine.Mode        `json:"mode"`
	Chunks      int                `json:"chunks_in_the_base"`
	Questions   int                `json:"questions"`
	TotalP50    float64            `json:"total_p50_ms"`
	TotalP99    float64            `json:"total_p99_ms"`
	OverheadP50 float64            `json:"overhead_p50_ms"`
	OverheadP99 float64            `json:"overhead_p99_ms"`
	OverheadMax float64            `json:"overhead_max_ms"`
	CPU         float64            `json:"server_cpu_ms_per_query"` // 0 where it cannot be told
	Found       float64            `json:"references_per_query"`
	StagesP50   map[string]float64 `json:"stages_p50_ms"` // the server's own, with the model
	Calls       ModelCounts        `json:"calls"`
}

// QueryModes are the modes that retrieve.
var QueryModes = []engine.Mode{engine.ModeNaive, engine.ModeLocal, engine.ModeGlobal, engine.ModeHybrid, engine.ModeMix, engine.ModePPR}

// warmQuestions are asked of each mode before its time is taken.
const warmQuestions = 10

// Query fills a knowledge base with a corpus and asks it, one question after the
// other.
func Query(ctx context.Context, o QueryOptions) ([]QueryRow, error) {
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.Documents, 1000}, {&o.Corpus.Chunks, 10}, {&o.Questions, 500}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if len(o.Modes) == 0 {
		o.Modes = QueryModes
	}
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}}
	defer c.CloseIdleConnections()
	start := time.Now()
	if err := o.Model.ingest(ctx, c, o.Target, o.Corpus, 0, o.Documents); err != nil {
		return nil, err
	}
	chunks, err := o.Target.chunks(ctx, c)
	if err != nil {
		return nil, err
	}
	if o.Progress != nil {
		fmt.Fprintf(o.Progress, "%d documents of %d chunks in %.0f s\n", o.Documents, chunks, time.Since(start).Seconds())
	}
	var rows []QueryRow
	asked := 0
	for _, mode := range o.Modes {
		row := QueryRow{Mode: mode, Chunks: chunks, Questions: o.Questions}
		if err := o.mode(ctx, c, &row, &asked); err != nil {
			return rows, fmt.Errorf("mode %s: %w", mode, err)
		}
		rows = append(rows, row)
		if o.Progress != nil {
			fmt.Fprintf(o.Progress, "%s: overhead p50 %.1f ms, p99 %.1f ms\n", mode, row.OverheadP50, row.OverheadP99)
		}
	}
	return rows, nil
}

func (o QueryOptions) mode(ctx context.Context, c *http.Client, row *QueryRow, asked *int) error {
	var total, overhead []float64
	stages := map[string][]float64{}
	var was ModelCounts
	cpu, references := 0.0, 0
	for i := range warmQuestions + o.Questions {
		if i == warmQuestions {
			was, cpu = o.Model.Counts(), cpuSeconds(o.Target.PID)
			total, overhead, references = nil, nil, 0
			clear(stages)
		}
		question := o.Corpus.question(*asked)
		*asked++
		var a engine.Answer
		before, t := o.Model.Counts().Busy, time.Now()
		err := o.Target.call(ctx, c, "POST", "/query", map[string]any{"query": question, "mode": row.Mode}, &a)
		if err != nil {
			return fmt.Errorf("%q: %w", question, err)
		}
		took := time.Since(t)
		if a.Degraded || a.LLM == "none" {
			return fmt.Errorf("%q: answered without the model", question)
		}
		total = append(total, milliseconds(took))
		overhead = append(overhead, milliseconds(took-(o.Model.Counts().Busy-before)))
		references += len(a.References)
		for name, ms := range a.Metadata.StagesMS {
			stages[name] = append(stages[name], ms)
		}
	}
	n := float64(max(1, o.Questions))
	row.Calls = o.Model.Counts().Since(was)
	row.CPU, row.Found = (cpuSeconds(o.Target.PID)-cpu)*1000/n, float64(references)/n
	slices.Sort(total)
	slices.Sort(overhead)
	row.TotalP50, row.TotalP99 = quantile(total, .5), quantile(total, .99)
	row.OverheadP50, row.OverheadP99, row.OverheadMax = quantile(overhead, .5), quantile(overhead, .99), quantile(overhead, 1)
	row.StagesP50 = map[string]float64{}
	for name, l := range stages {
		slices.Sort(l)
		row.StagesP50[name] = quantile(l, .5)
	}
	return nil
}
