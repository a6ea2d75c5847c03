package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Peer is a server under comparison: alcove or another that does the same work. Its
// methods speak the server's own API; all that is measured is measured by Peers, alike
// for every one.
type Peer interface {
	// Name and Version say what it is.
	Name() string
	Version() string
	// Start starts it on its data folder, filled or not, and waits until it is ready.
	Start(context.Context) error
	// Stop asks it to end and waits for it. The data folder stays.
	Stop() error
	// PID is the process that does the work.
	PID() int
	// Dir is its data folder.
	Dir() string
	// Add hands it documents to work on.
	Add(context.Context, *http.Client, []Passage) error
	// Done is how many documents can be asked about, and how many failed.
	Done(context.Context, *http.Client) (done, failed int, err error)
	// Ask asks one question in mode mix. An answer without any reference is an error.
	Ask(ctx context.Context, c *http.Client, question string) error
}

// PeerOptions configure the comparison.
type PeerOptions struct {
	Model     *Model
	Corpus    Corpus        // of documents of one chunk
	Sizes     []int         // 100, 1000: documents in the base, growing
	Window    int           // 100 documents whose cost at a size is told apart
	Questions int           // 100 at each size, no two the same
	Limit     time.Duration // 30 minutes a peer for all its documents; then what there is, is measured
	Progress  io.Writer     // nil for none
}

// PeerRow is one server at one size. CPU is the server's own, the model's is in another
// process. A cut row is one whose documents did not all end within the limit:
// Documents is then what there were.
type PeerRow struct {
	Peer      string `json:"peer"`
	Version   string `json:"version"`
	Documents int    `json:"documents"`
	Cut       bool   `json:"cut,omitempty"`
	Window    int    `json:"window"` // documents that the next two are of: the last ones
	// Seconds and CPU are per document, from the call until it can be asked about,
	// and for CPU until nothing is left to do.
	Seconds    float64     `json:"seconds_per_document"`
	CPU        float64     `json:"cpu_seconds_per_document"`
	AllSeconds float64     `json:"all_seconds_per_document"` // of all documents so far
	AllCPU     float64     `json:"all_cpu_seconds_per_document"`
	QueryP50   float64     `json:"query_p50_ms"`
	QueryP99   float64     `json:"query_p99_ms"`
	QueryCPU   float64     `json:"query_cpu_ms"`
	RSS        int64       `json:"rss_bytes"`     // after the questions
	Disk       int64       `json:"disk_bytes"`    // the files of the data folder, stopped, but for Reserve
	Reserve    int64       `json:"reserve_bytes"` // alcove's file that is given up when the disk is full
	Ready      float64     `json:"restart_ready_s"`
	Answering  float64     `json:"restart_answer_s"` // from the start of the process to its first answer
	Calls      ModelCounts `json:"model_calls"`      // for all of this size's documents and questions
}

func (o PeerOptions) withDefaults() PeerOptions {
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.Corpus.Chunks, 1}, {&o.Window, 100}, {&o.Questions, 100}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if len(o.Sizes) == 0 {
		o.Sizes = []int{100, 1000}
	}
	if o.Limit == 0 {
		o.Limit = 30 * time.Minute
	}
	return o
}

// peerCall is how many documents one call hands over.
const peerCall = 50

// Peers runs the same workload on each server, one after the other: the same
// documents, questions and model. Each begins on an empty folder.
func Peers(ctx context.Context, o PeerOptions, peers ...Peer) ([]PeerRow, error) {
	o = o.withDefaults()
	var rows []PeerRow
	for _, p := range peers {
		got, err := o.run(ctx, p)
		rows = append(rows, got...)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", p.Name(), err)
		}
	}
	return rows, nil
}

func (o PeerOptions) run(ctx context.Context, p Peer) (rows []PeerRow, err error) {
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	running := true
	defer func() {
		if running {
			err = errors.Join(err, p.Stop())
		}
	}()
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}}
	defer c.CloseIdleConnections()
	have, asked := 0, 0
	var spent time.Duration
	allCPU := 0.0
	for _, size := range o.Sizes {
		row := PeerRow{Peer: p.Name(), Version: p.Version(), Window: min(o.Window, size-have)}
		calls := o.Model.Counts()
		for _, n := range []int{size - row.Window - have, row.Window} {
			was := cpuSeconds(p.PID())
			got, took, err := o.fill(ctx, c, p, have, n, o.Limit-spent)
			if err != nil {
				return rows, err
			}
			cpu := cpuSeconds(p.PID()) - was
			have, spent, allCPU = have+got, spent+took, allCPU+cpu
			if got > 0 {
				row.Seconds, row.CPU = took.Seconds()/float64(got), cpu/float64(got)
			}
			if row.Cut = got < n; row.Cut {
				row.Window = got
				break
			}
		}
		row.Documents = have
		row.AllSeconds, row.AllCPU = spent.Seconds()/float64(max(1, have)), allCPU/float64(max(1, have))
		if err := o.ask(ctx, c, p, &row, &asked); err != nil {
			return rows, err
		}
		row.RSS = rssBytes(p.PID())
		running = false
		if err := p.Stop(); err != nil {
			return rows, err
		}
		if row.Disk, row.Reserve, err = diskBytes(p.Dir()); err != nil {
			return rows, err
		}
		c.CloseIdleConnections()
		start := time.Now()
		if err := p.Start(ctx); err != nil {
			return rows, err
		}
		running = true
		row.Ready = time.Since(start).Seconds()
		if err := p.Ask(ctx, c, o.Corpus.question(asked)); err != nil {
			return rows, fmt.Errorf("the first question after a start: %w", err)
		}
		asked++
		row.Answering = time.Since(start).Seconds()
		row.Calls = o.Model.Counts().Since(calls)
		rows = append(rows, row)
		if o.Progress != nil {
			fmt.Fprintf(o.Progress, "%s %d documents: %.4f s and %.4f CPU s a document, query p50 %.0f ms, %d MB resident, %d MB on disk, answers %.1f s after a start\n",
				row.Peer, row.Documents, row.Seconds, row.CPU, row.QueryP50, row.RSS>>20, row.Disk>>20, row.Answering)
		}
		if row.Cut {
			break
		}
	}
	return rows, nil
}

// fill adds n documents and waits until they can be asked about, or until the limit.
// It returns how many can, the time until then, and leaves the server at rest unless
// the limit was reached.
func (o PeerOptions) fill(ctx context.Context, c *http.Client, p Peer, have, n int, limit time.Duration) (int, time.Duration, error) {
	start := time.Now()
	for at := 0; at < n; at += peerCall {
		if err := p.Add(ctx, c, o.Corpus.Passages(have+at, min(peerCall, n-at))); err != nil {
			return 0, 0, err
		}
	}
	tick := time.NewTicker(quietTick)
	defer tick.Stop()
	for {
		done, failed, err := p.Done(ctx, c)
		took := time.Since(start)
		switch {
		case err != nil:
			return 0, 0, err
		case failed > 0:
			return 0, 0, fmt.Errorf("%d documents failed", failed)
		case done >= have+n:
			return n, took, o.Model.quiet(ctx, p.PID())
		case took > limit:
			return done - have, took, nil
		}
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-tick.C:
		}
	}
}

func (o PeerOptions) ask(ctx context.Context, c *http.Client, p Peer, row *PeerRow, asked *int) error {
	var times []float64
	cpu := 0.0
	for i := range warmQuestions + o.Questions {
		if i == warmQuestions {
			times, cpu = nil, cpuSeconds(p.PID())
		}
		q := o.Corpus.question(*asked)
		*asked++
		t := time.Now()
		if err := p.Ask(ctx, c, q); err != nil {
			return fmt.Errorf("%q: %w", q, err)
		}
		times = append(times, milliseconds(time.Since(t)))
	}
	row.QueryCPU = (cpuSeconds(p.PID()) - cpu) * 1000 / float64(o.Questions)
	slices.Sort(times)
	row.QueryP50, row.QueryP99 = quantile(times, .5), quantile(times, .99)
	return nil
}

// PeerRatio is how many times what the other server needs is of what the first needs.
type PeerRatio struct {
	Peer, Other                      string
	Documents                        int
	Seconds, CPU, AllSeconds, AllCPU float64
	QueryP50, QueryP99, QueryCPU     float64
	RSS, Disk, Ready, Answering      float64
}

// PeerRatios compares every later server with the first one, size by size. Where one was
// cut, its base is the smaller one and Documents is what it had. What took the first no
// measurable time has a ratio of 0.
func PeerRatios(rows []PeerRow) (out []PeerRatio) {
	sizes := map[string][]PeerRow{}
	for _, r := range rows {
		sizes[r.Peer] = append(sizes[r.Peer], r)
	}
	done := map[string]bool{}
	for _, r := range rows {
		if done[r.Peer] || r.Peer == rows[0].Peer {
			continue
		}
		done[r.Peer] = true
		first := sizes[rows[0].Peer]
		for i, b := range sizes[r.Peer] {
			if i == len(first) {
				break
			}
			a := first[i]
			over := func(f func(PeerRow) float64) float64 {
				if f(a) == 0 {
					return 0
				}
				return f(b) / f(a)
			}
			out = append(out, PeerRatio{
				Peer: a.Peer, Other: b.Peer, Documents: min(a.Documents, b.Documents),
				Seconds:    over(func(r PeerRow) float64 { return r.Seconds }),
				CPU:        over(func(r PeerRow) float64 { return r.CPU }),
				AllSeconds: over(func(r PeerRow) float64 { return r.AllSeconds }),
				AllCPU:     over(func(r PeerRow) float64 { return r.AllCPU }),
				QueryP50:   over(func(r PeerRow) float64 { return r.QueryP50 }),
				QueryP99:   over(func(r PeerRow) float64 { return r.QueryP99 }),
				QueryCPU:   over(func(r PeerRow) float64 { return r.QueryCPU }),
				RSS:        over(func(r PeerRow) float64 { return float64(r.RSS) }),
				Disk:       over(func(r PeerRow) float64 { return float64(r.Disk) }),
				Ready:      over(func(r PeerRow) float64 { return r.Ready }),
				Answering:  over(func(r PeerRow) float64 { return r.Answering }),
			})
		}
	}
	return out
}

// diskBytes is what the files of a folder hold, and apart from it alcove's reserve.
func diskBytes(dir string) (n, reserve int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		i, err := d.Info()
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(d.Name(), "ballast-"):
			reserve += i.Size()
		default:
			n += i.Size()
		}
		return nil
	})
	return n, reserve, err
}
