package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"alcove/engine"
)

// QueryOptions configure the workload on what a query costs beside the model.
type QueryOptions struct {
	Target    Target // a knowledge base without documents, of a server that uses Model
	Model     *Model // nil: the server has no model but its built-in ones
	Sizes     []int  // 1000: documents in the base, growing
	Corpus    Corpus // of documents of ten chunks
	Questions int    // 500 for each row, no two the same
	Modes     []engine.Mode
	Clients   []int     // 1: how many ask at once
	DataOnly  bool      // ask for what is retrieved, /query/data, and not for an answer
	Progress  io.Writer // nil for none
}

// QueryRow is one mode, size and number of clients. Times are milliseconds over REST, no
// two questions the same. Total is a whole answer, Overhead what is left of it without
// the time that the model server took; the way to the model and back is in it.
// Overhead is told of one client alone: of many, nobody knows whom the model kept
// waiting.
type QueryRow struct {
	Mode       engine.Mode `json:"mode"`
	Documents  int         `json:"documents"`
	Chunks     int         `json:"chunks_in_the_base"`
	Clients    int         `json:"clients"`
	Questions  int         `json:"questions"`
	PerSecond  float64     `json:"questions_per_second"`
	TotalMean  float64     `json:"total_mean_ms"`
	TotalP50   float64     `json:"total_p50_ms"`
	TotalP95   float64     `json:"total_p95_ms"`
	TotalP99   float64     `json:"total_p99_ms"`
	TotalTimes []float64   `json:"total_quantiles_ms"` // at 0, 5, 10 … 95, 99 and 100 percent

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

// Query fills a knowledge base with a corpus to each of the sizes and asks it.
func Query(ctx context.Context, o QueryOptions) ([]QueryRow, error) {
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.Corpus.Chunks, 10}, {&o.Questions, 500}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if len(o.Sizes) == 0 {
		o.Sizes = []int{1000}
	}
	if len(o.Clients) == 0 {
		o.Clients = []int{1}
	}
	if len(o.Modes) == 0 {
		o.Modes = QueryModes
	}
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: slices.Max(o.Clients) + 1}}
	defer c.CloseIdleConnections()
	var rows []QueryRow
	have, asked := 0, 0
	for _, size := range o.Sizes {
		start := time.Now()
		if err := o.Model.ingest(ctx, c, o.Target, o.Corpus, have, size-have); err != nil {
			return rows, err
		}
		have = size
		chunks, err := o.Target.chunks(ctx, c)
		if err != nil {
			return rows, err
		}
		if o.Progress != nil {
			fmt.Fprintf(o.Progress, "%d documents of %d chunks in %.0f s\n", size, chunks, time.Since(start).Seconds())
		}
		for _, mode := range o.Modes {
			for _, clients := range o.Clients {
				row := QueryRow{Mode: mode, Documents: size, Chunks: chunks, Clients: clients, Questions: o.Questions}
				if err := o.row(ctx, c, &row, asked); err != nil {
					return rows, fmt.Errorf("mode %s: %w", mode, err)
				}
				asked += warmQuestions + o.Questions
				rows = append(rows, row)
				if o.Progress != nil {
					fmt.Fprintf(o.Progress, "%s, %d clients: p50 %.1f ms, p99 %.1f ms, %.0f a second\n", mode, clients, row.TotalP50, row.TotalP99, row.PerSecond)
				}
			}
		}
	}
	return rows, nil
}

// asking is what one question took and gave.
type asking struct {
	total, overhead float64
	references      int
	stages          map[string]float64
}

// row asks the questions from number first on.
func (o QueryOptions) row(ctx context.Context, c *http.Client, row *QueryRow, first int) error {
	for i := range warmQuestions {
		if _, err := o.ask(ctx, c, row.Mode, o.Corpus.question(first+i)); err != nil {
			return err
		}
	}
	var (
		was, cpu = o.Model.Counts(), cpuSeconds(o.Target.PID)
		start    = time.Now()
		all      = make([]asking, o.Questions)
		next     atomic.Int64
		wg       sync.WaitGroup
		failed   = make([]error, row.Clients)
	)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for n := range row.Clients {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) || ctx.Err() != nil {
					return
				}
				if all[i], failed[n] = o.ask(ctx, c, row.Mode, o.Corpus.question(first+warmQuestions+i)); failed[n] != nil {
					cancel()
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var total, overhead []float64
	stages := map[string][]float64{}
	for _, a := range all {
		total, overhead = append(total, a.total), append(overhead, a.overhead)
		row.TotalMean += a.total / float64(len(all))
		row.Found += float64(a.references)
		for name, ms := range a.stages {
			stages[name] = append(stages[name], ms)
		}
	}
	n := float64(max(1, o.Questions))
	row.Calls, row.PerSecond = o.Model.Counts().Since(was), n/took.Seconds()
	row.CPU, row.Found = (cpuSeconds(o.Target.PID)-cpu)*1000/n, row.Found/n
	slices.Sort(total)
	slices.Sort(overhead)
	row.TotalP50, row.TotalP95, row.TotalP99 = quantile(total, .5), quantile(total, .95), quantile(total, .99)
	for _, q := range LatencyQuantiles {
		row.TotalTimes = append(row.TotalTimes, quantile(total, q))
	}
	if row.Clients == 1 {
		row.OverheadP50, row.OverheadP99, row.OverheadMax = quantile(overhead, .5), quantile(overhead, .99), quantile(overhead, 1)
	}
	row.StagesP50 = map[string]float64{}
	for name, l := range stages {
		slices.Sort(l)
		row.StagesP50[name] = quantile(l, .5)
	}
	return nil
}

// LatencyQuantiles are those of a QueryRow's TotalTimes.
var LatencyQuantiles = func() (q []float64) {
	for i := range 20 {
		q = append(q, float64(i)/20)
	}
	return append(q, .99, 1)
}()

func (o QueryOptions) ask(ctx context.Context, c *http.Client, mode engine.Mode, question string) (asking, error) {
	var answer struct {
		engine.Answer
		Data struct {
			References []struct{} `json:"references"`
		} `json:"data"`
	}
	path := "/query"
	if o.DataOnly {
		path = "/query/data"
	}
	before, start := o.Model.Counts().Busy, time.Now()
	err := o.Target.call(ctx, c, "POST", path, map[string]any{"query": question, "mode": mode}, &answer)
	took := time.Since(start)
	if err != nil {
		return asking{}, fmt.Errorf("%q: %w", question, err)
	}
	if o.Model != nil && (answer.Degraded || !o.DataOnly && answer.LLM == "none") {
		return asking{}, fmt.Errorf("%q: answered without the model", question)
	}
	return asking{
		total: milliseconds(took), overhead: milliseconds(took - (o.Model.Counts().Busy - before)),
		references: len(answer.References) + len(answer.Data.References), stages: answer.Metadata.StagesMS,
	}, nil
}
