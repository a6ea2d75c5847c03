package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"alcove/engine"
	"alcove/index"
)

// ANNOptions configure the workload on vector search.
type ANNOptions struct {
	Embedder engine.Embedder // of the texts
	Sets     []Set           // the passages and questions that are embedded
	Kinds    []string        // of vectors, see ANNKinds; all of them
	Sizes    []int           // 10,000, 50,000, 100,000
	Modes    []string        // see ANNModes; all of them
	Deletes  []int           // 10, 50, 90 percent
	Queries  int             // 1,000
	Dim      int             // 384, of vectors that are made up
	Seed     uint64
	Export   string    // a folder that gets the vectors, for other programs; nothing is measured
	Progress io.Writer // nil for none
}

// ANNKinds are the vectors searched: of sentences of real passages, asked for by
// real questions; of clusters; of copies that differ a little; of 50 exact copies of each.
var ANNKinds = []string{"text", "clusters", "near-duplicates", "duplicates"}

// ANNModes are the ways to search: a scan, the graph, the graph without float32
// rows, and the graph inside coder/hnsw.
var ANNModes = []string{"exact", "own", "int8", "coder"}

// ANNRow is one way to search one set of vectors. Recall is that of the nearest ten, by
// score, so that equal vectors count alike. CPU seconds are the whole process's.
type ANNRow struct {
	Kind     string       `json:"kind"`
	Vectors  int          `json:"vectors"`
	Dim      int          `json:"dim"`
	Mode     string       `json:"mode"`
	Kernel   string       `json:"kernel"`
	Recall   float64      `json:"recall_at_10"`
	Measured float64      `json:"recall_measured_at_build"`
	Ef       int          `json:"ef"`
	Bytes    float64      `json:"bytes_per_vector"`
	Graph    float64      `json:"graph_bytes_per_vector"`
	Allocs   float64      `json:"allocations_per_search"`
	Build    float64      `json:"build_cpu_s"`
	QPS      float64      `json:"searches_per_cpu_s"`
	P50      float64      `json:"p50_ms"`
	P99      float64      `json:"p99_ms"`
	After    []ANNDeleted `json:"after_deletes,omitempty"`
}

// ANNDeleted is a space that has lost a share of its vectors.
type ANNDeleted struct {
	Percent int     `json:"percent"`
	Recall  float64 `json:"recall_at_10"`
	Deleted int     `json:"deleted_found"` // of the hits
}

const annHits = 10

// ANN measures how fast vectors are found, how many of those that should be, and
// what the index costs. All but times is the same in every run.
func ANN(ctx context.Context, o ANNOptions) ([]ANNRow, error) {
	o = o.withDefaults()
	var rows []ANNRow
	for _, kind := range o.Kinds {
		for _, n := range o.Sizes {
			base, queries, err := o.vectors(ctx, kind, n)
			if err != nil {
				return nil, err
			}
			if o.Export != "" {
				if err := exportVectors(filepath.Join(o.Export, fmt.Sprintf("%s-%d", kind, n)), base, queries); err != nil {
					return nil, err
				}
				continue
			}
			for _, mode := range o.Modes {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				row, err := o.mode(kind, mode, base, queries)
				if errors.Is(err, index.ErrBackend) {
					continue // not on this system
				}
				if err != nil {
					return nil, fmt.Errorf("%s, %d vectors, %s: %w", kind, n, mode, err)
				}
				rows = append(rows, row)
				if o.Progress != nil {
					fmt.Fprintf(o.Progress, "%s %d %s: recall %.4f, %.0f searches a CPU second\n", kind, n, mode, row.Recall, row.QPS)
				}
			}
		}
	}
	return rows, nil
}

func (o ANNOptions) withDefaults() ANNOptions {
	if len(o.Kinds) == 0 {
		o.Kinds = ANNKinds
	}
	if len(o.Sizes) == 0 {
		o.Sizes = []int{10_000, 50_000, 100_000}
	}
	if len(o.Modes) == 0 {
		o.Modes = ANNModes
	}
	if len(o.Deletes) == 0 {
		o.Deletes = []int{10, 50, 90}
	}
	if o.Queries == 0 {
		o.Queries = 1000
	}
	if o.Dim == 0 {
		o.Dim = 384
	}
	return o
}

// vectors makes those of a kind, and what is asked for.
func (o ANNOptions) vectors(ctx context.Context, kind string, n int) (base, queries [][]float32, err error) {
	r := rand.New(rand.NewPCG(o.Seed, uint64(n)))
	cluster := func(centres int, sigma float64) func() []float32 {
		middle := make([][]float32, centres)
		for i := range middle {
			middle[i] = jitter(r, make([]float32, o.Dim), 1)
		}
		return func() []float32 { return jitter(r, middle[r.IntN(centres)], sigma) }
	}
	many := func(n int, f func() []float32) [][]float32 {
		out := make([][]float32, n)
		for i := range out {
			out[i] = f()
		}
		return out
	}
	switch kind {
	case "text":
		texts, questions := o.texts(r, n)
		if base, err = embedAll(ctx, o.Embedder, texts); err != nil {
			return nil, nil, err
		}
		queries, err = embedAll(ctx, o.Embedder, questions)
		return base, queries, err
	case "clusters":
		f := cluster(max(1, n/100), 0.8)
		return many(n, f), many(o.Queries, f), nil
	case "near-duplicates":
		f := cluster(max(1, n/50), 0.05)
		return many(n, f), many(o.Queries, f), nil
	case "duplicates":
		f := cluster(max(1, n/500), 0.8)
		distinct := many(max(1, n/50), f)
		i := 0
		return many(n, func() []float32 { i++; return distinct[(i-1)%len(distinct)] }), many(o.Queries, f), nil
	}
	return nil, nil, fmt.Errorf("no such kind of vectors: %q", kind)
}

// jitter is a vector with noise on it.
func jitter(r *rand.Rand, x []float32, sigma float64) []float32 {
	y := make([]float32, len(x))
	for i := range y {
		y[i] = x[i] + float32(sigma*r.NormFloat64())
	}
	return y
}

// texts are n sentences of the passages, runs of two and three, whole passages, and when these
// are used up the same again with a word exchanged; and questions, filled up
// with sentences that are left out of the base.
func (o ANNOptions) texts(r *rand.Rand, n int) (texts, questions []string) {
	seen := map[string]bool{}
	var pool []string
	take := func(s string) {
		if s = strings.TrimSpace(s); len(s) > 20 && !seen[s] {
			seen[s] = true
			pool = append(pool, s)
		}
	}
	for _, s := range o.Sets {
		for _, p := range s.Passages {
			sentences := strings.SplitAfter(p.Text, ". ")
			for i := range sentences {
				for length := 1; length <= 3 && i+length <= len(sentences); length++ {
					take(strings.Join(sentences[i:i+length], ""))
				}
			}
			take(p.Title + "\n" + p.Text)
		}
		for _, q := range s.Questions {
			if !seen[q.Question] {
				seen[q.Question] = true
				questions = append(questions, q.Question)
			}
		}
	}
	r.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
	r.Shuffle(len(questions), func(i, j int) { questions[i], questions[j] = questions[j], questions[i] })
	questions = questions[:min(len(questions), o.Queries)]
	held := min(o.Queries-len(questions), len(pool)/10)
	questions, pool = append(questions, pool[:held]...), pool[held:]
	texts = pool[:min(n, len(pool))]
	for i := 0; len(texts) < n; i++ {
		words := strings.Fields(pool[i%len(pool)])
		other := strings.Fields(pool[r.IntN(len(pool))])
		words[r.IntN(len(words))] = other[r.IntN(len(other))]
		texts = append(texts, strings.Join(words, " "))
	}
	return texts, questions
}

func embedAll(ctx context.Context, e engine.Embedder, texts []string) ([][]float32, error) {
	out := make([][]float32, 0, len(texts))
	for i := 0; i < len(texts); i += 256 {
		vecs, err := e.Embed(ctx, texts[i:min(i+256, len(texts))])
		if err != nil {
			return nil, fmt.Errorf("embed texts: %w", err)
		}
		out = append(out, vecs...)
	}
	return out, nil
}

func (o ANNOptions) mode(kind, mode string, base, queries [][]float32) (row ANNRow, err error) {
	row = ANNRow{Kind: kind, Vectors: len(base), Dim: len(base[0]), Mode: mode, Kernel: index.Kernel()}
	build, ok := map[string]index.Options{
		"exact": {Backend: index.Exact}, "own": {From: 1}, "int8": {From: 1, Compact: true}, "coder": {From: 1, Backend: index.Coder},
	}[mode]
	if !ok {
		return row, fmt.Errorf("no such mode: %q", mode)
	}
	if err := build.Backend.Check(); err != nil {
		return row, err
	}
	v := index.NewVectors(row.Dim, build)
	defer v.Close()
	cpu := cpuSeconds(os.Getpid())
	for i, x := range base {
		if err := v.Set(uint32(i), x); err != nil {
			return row, err
		}
	}
	v.Tend()
	v.Settle()
	row.Build = cpuSeconds(os.Getpid()) - cpu
	s := v.Stats()
	row.Ef, row.Measured = s.Ef, s.Recall
	row.Bytes, row.Graph = float64(v.Bytes())/float64(len(base)), float64(s.GraphBytes)/float64(len(base))

	search := func(i int) error { _, err := v.Search(queries[i%len(queries)], annHits, nil, nil); return err }
	for i := range queries { // warm
		if err := search(i); err != nil {
			return row, err
		}
	}
	rounds := max(1, 2000/len(queries))
	var before, after runtime.MemStats
	times := make([]float64, 0, rounds*len(queries))
	runtime.ReadMemStats(&before)
	cpu = cpuSeconds(os.Getpid())
	for i := range rounds * len(queries) {
		t := time.Now()
		if err := search(i); err != nil {
			return row, err
		}
		times = append(times, milliseconds(time.Since(t)))
	}
	row.QPS = float64(len(times)) / max(cpuSeconds(os.Getpid())-cpu, 1e-9)
	runtime.ReadMemStats(&after)
	row.Allocs = math.Round(float64(after.Mallocs-before.Mallocs) / float64(len(times)))
	slices.Sort(times)
	row.P50, row.P99 = quantile(times, .5), quantile(times, .99)

	exact := index.NewVectors(row.Dim, index.Options{Backend: index.Exact})
	for i, x := range base {
		if err := exact.Set(uint32(i), x); err != nil {
			return row, err
		}
	}
	if row.Recall, _, err = annRecall(v, exact, queries); err != nil {
		return row, err
	}
	r := rand.New(rand.NewPCG(o.Seed, 7))
	order := r.Perm(len(base))
	gone := 0
	for _, percent := range o.Deletes {
		for ; gone < len(base)*percent/100; gone++ {
			v.Delete(uint32(order[gone]))
			v.Settle() // so that a rebuild is of the same vectors in every run
			exact.Delete(uint32(order[gone]))
		}
		d := ANNDeleted{Percent: percent}
		if d.Recall, d.Deleted, err = annRecall(v, exact, queries); err != nil {
			return row, err
		}
		row.After = append(row.After, d)
	}
	return row, nil
}

// annRecall is the share of hits of v that score as much as the last of the nearest
// ten, and how many hits are of ids that exact does not have.
func annRecall(v, exact *index.Vectors, queries [][]float32) (recall float64, deleted int, err error) {
	found, all := 0, 0
	for _, q := range queries {
		want, err := exact.SearchExact(q, annHits, nil, nil)
		if err != nil {
			return 0, 0, err
		}
		hits, err := v.Search(q, annHits, nil, nil)
		if err != nil {
			return 0, 0, err
		}
		all += len(want)
		for _, h := range hits {
			score, ok := exact.Similarity(q, h.ID)
			if !ok {
				deleted++
			} else if score >= want[len(want)-1].Score {
				found++
			}
		}
	}
	return float64(found) / float64(all), deleted, nil
}

// exportVectors writes unit vectors as little-endian float32, row after row, into
// base.f32 and queries.f32 of a folder, and their numbers into meta.json.
func exportVectors(dir string, base, queries [][]float32) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, rows := range map[string][][]float32{"base.f32": base, "queries.f32": queries} {
		if err := writeRows(filepath.Join(dir, name), rows); err != nil {
			return err
		}
	}
	meta, err := json.Marshal(map[string]int{"dim": len(base[0]), "base": len(base), "queries": len(queries)})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "meta.json"), meta, 0o644)
}

func writeRows(path string, rows [][]float32) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	var b []byte
	for _, x := range rows {
		var s float64
		for _, v := range x {
			s += float64(v) * float64(v)
		}
		s = 1 / math.Sqrt(s)
		b = b[:0]
		for _, v := range x {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(float64(v)*s)))
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return w.Flush()
}
