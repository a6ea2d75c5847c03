package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// CostOptions configure the workload on what a document costs beside the model.
type CostOptions struct {
	// Open starts a server on nothing, with Model as its model server, and returns
	// a knowledge base of it and what ends it.
	Open   func(ctx context.Context) (Target, func() error, error)
	Model  *Model
	Sizes  []int  // 100, 1000, 10,000 documents in the base when measuring begins
	Window int    // 100 documents that are measured together
	Probes int    // 10 windows for each size
	Corpus Corpus // of documents of one chunk
	// Progress gets a line per size; nil for none.
	Progress io.Writer
}

// CostRow is what a document costs in a base of so many, with everything that it
// brings about: profiles of entities and relations, summaries. CPU is the
// server's own, in milliseconds, without the model's; 0 where it cannot be told. It
// is the mean over all windows of a size, of which each size has as many: a
// compaction of the store falls into one window in several, costs as much as some
// hundred documents, and counts by its share. The median leaves it out, and the
// largest window shows it. A fresh base of a hundred documents has nothing to
// compact yet: what it owes is paid later, so that the smallest size is flattered.
type CostRow struct {
	Documents int     `json:"documents"` // in the base before each window
	Windows   int     `json:"windows"`
	Measured  int     `json:"measured_documents"`
	Chunks    int     `json:"measured_chunks"`
	CPU       float64 `json:"cpu_ms_per_document"` // the mean over all windows
	CPUMedian float64 `json:"cpu_ms_per_document_median"`
	CPUMin    float64 `json:"cpu_ms_per_document_min"`
	CPUMax    float64 `json:"cpu_ms_per_document_max"`
	CPUChunk  float64 `json:"cpu_ms_per_chunk"` // over all windows
	// Calls are those of all windows; the others are calls per chunk.
	Calls   ModelCounts `json:"calls"`
	Extract float64     `json:"extract_calls_per_chunk"`
	Chat    float64     `json:"chat_calls_per_chunk"`
	Embed   float64     `json:"embedding_calls_per_chunk"`
	Texts   float64     `json:"embedded_texts_per_chunk"`
	// Fill is the CPU of a document while the base is filled to its size as fast as
	// the server takes documents, so with work piling up.
	Fill float64 `json:"cpu_ms_per_document_while_filling"`
}

// Cost fills bases to each size and measures what some documents more cost: the same
// number of documents for each size, in Probes windows. A base is measured window
// after window until it has grown by a tenth, then another one is made, so that a
// size is a size; one window may double a small one. A window ends when the server
// has nothing left to do.
func Cost(ctx context.Context, o CostOptions) ([]CostRow, error) {
	if len(o.Sizes) == 0 {
		o.Sizes = []int{100, 1000, 10_000}
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.Window, 100}, {&o.Probes, 10}, {&o.Corpus.Chunks, 1}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	var rows []CostRow
	for _, size := range o.Sizes {
		row := CostRow{Documents: size}
		var windows []float64
		var cpu, first float64
		bases := 0
		for len(windows) < o.Probes {
			more := min(o.Probes-len(windows), max(1, size/10/o.Window))
			got, fill, err := o.base(ctx, size, more, &row)
			if err != nil {
				return rows, fmt.Errorf("%d documents: %w", size, err)
			}
			windows = append(windows, got...)
			first += fill
			bases++
		}
		for _, w := range windows {
			cpu += w
		}
		slices.Sort(windows)
		n, chunks := float64(o.Window), float64(max(1, row.Chunks))
		row.Windows, row.Measured = len(windows), len(windows)*o.Window
		row.CPU, row.CPUMedian = cpu/float64(row.Measured), quantile(windows, .5)/n
		row.CPUMin, row.CPUMax = windows[0]/n, windows[len(windows)-1]/n
		row.CPUChunk, row.Fill = cpu/chunks, first/float64(bases*max(1, size))
		row.Extract, row.Chat = float64(row.Calls.Extract)/chunks, float64(row.Calls.Chat())/chunks
		row.Embed, row.Texts = float64(row.Calls.Embed)/chunks, float64(row.Calls.Texts)/chunks
		rows = append(rows, row)
		if o.Progress != nil {
			fmt.Fprintf(o.Progress, "%d documents: %.2f CPU ms a document\n", size, row.CPU)
		}
	}
	return rows, nil
}

// base fills one base and measures windows in it: their CPU milliseconds, and
// those of filling.
func (o CostOptions) base(ctx context.Context, size, windows int, row *CostRow) (cpu []float64, fill float64, err error) {
	t, stop, err := o.Open(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if e := stop(); err == nil {
			err = e
		}
	}()
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}}
	defer c.CloseIdleConnections()
	at := 0
	add := func(n int) (float64, error) {
		was := cpuSeconds(t.PID)
		err := o.Model.ingest(ctx, c, t, o.Corpus, at, n)
		at += n
		return (cpuSeconds(t.PID) - was) * 1000, err
	}
	if fill, err = add(size); err != nil {
		return nil, 0, err
	}
	for range windows {
		had, err := t.chunks(ctx, c)
		if err != nil {
			return nil, 0, err
		}
		was := o.Model.Counts()
		ms, err := add(o.Window)
		if err != nil {
			return nil, 0, err
		}
		now := o.Model.Counts().Since(was)
		has, err := t.chunks(ctx, c)
		if err != nil {
			return nil, 0, err
		}
		row.Chunks += has - had
		row.Calls = row.Calls.plus(now)
		cpu = append(cpu, ms)
	}
	return cpu, fill, nil
}

// corpusCall bounds what one call sends of a corpus: bytes and documents.
const (
	corpusCallBytes = 4 << 20
	corpusCallDocs  = 500
)

// ingest sends documents of the corpus and waits until all that is in the base is
// processed and nothing is left to do.
func (m *Model) ingest(ctx context.Context, c *http.Client, t Target, corpus Corpus, from, n int) error {
	for at := from; at < from+n; {
		var batch []Passage
		for size := 0; at < from+n && len(batch) < corpusCallDocs && size < corpusCallBytes; at++ {
			batch = append(batch, corpus.Passages(at, 1)...)
			size += len(batch[len(batch)-1].Text)
		}
		if err := t.add(ctx, c, batch); err != nil {
			return err
		}
	}
	tick := time.NewTicker(quietTick)
	defer tick.Stop()
	for {
		done, failed, err := t.processed(ctx, c)
		switch {
		case err != nil:
			return err
		case failed > 0:
			return fmt.Errorf("%d documents failed", failed)
		case done >= from+n:
			return m.quiet(ctx, t.PID)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// chunks is how many chunks the base holds.
func (t Target) chunks(ctx context.Context, c *http.Client) (int, error) {
	var out struct {
		Data struct {
			Chunks int `json:"chunk_count"`
		} `json:"data"`
	}
	err := t.call(ctx, c, "GET", "", nil, &out)
	return out.Data.Chunks, err
}
