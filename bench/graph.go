package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"alcove/graph"
)

// GraphOptions configure Graph.
type GraphOptions struct {
	Sizes    []int // relations; 10,000, 100,000 and 1,000,000
	Baseline int   // largest size that Cayley's memory store is measured at too
	Queries  int   // of each kind, 2000
	Seed     uint64
	Progress io.Writer // nil: none
}

// GraphRow is one store at one size. Times are of one query, by the wall.
type GraphRow struct {
	Store     string  `json:"store"` // adjacency or memstore
	Relations int     `json:"relations"`
	Entities  int     `json:"entities"`
	LoadMS    float64 `json:"load_ms"`
	Heap      float64 `json:"heap_bytes_per_relation"`
	OneHop    float64 `json:"one_hop_p50_us"`  // neighbours by name
	TwoHops   float64 `json:"two_hops_p50_us"` // distinct entities within two
	Within    float64 `json:"within_two_hops"` // how many those are, on average
	Capped    float64 `json:"khop_p50_us"`     // two hops ranked and capped, with the relations among them; 0 for the memory store
	Path      float64 `json:"path_p50_us"`     // one step by Cayley's path API
	Delete    float64 `json:"delete_p50_us"`
	DeleteTop float64 `json:"delete_p99_us"`
}

// graphStore is what both stores are asked.
type graphStore interface {
	relate(a, b string)
	unrelate(a, b string)
	neighbours(name string, f func(name string))
	path(name string) error
}

type adjacency struct{ g *graph.Graph }

func (s adjacency) relate(a, b string) { s.g.Relate(a, b, 1) }

func (s adjacency) unrelate(a, b string) {
	x, _ := s.g.Entity(a)
	y, _ := s.g.Entity(b)
	if rel, ok := s.g.FindRelation(x, y); ok {
		s.g.Unrelate(rel)
	}
}

func (s adjacency) neighbours(name string, f func(string)) {
	id, _ := s.g.Entity(name)
	s.g.Neighbours(id, func(n, _ uint32, _ bool, _ float32) bool { f(s.g.Name(n)); return true })
}

func (s adjacency) path(name string) error {
	_, err := s.g.Path(context.Background(), graph.PathQuery{Start: []string{name}, Steps: []graph.Step{{Follow: graph.Both}}, Limit: graph.MaxPathResults})
	if errors.Is(err, graph.ErrPathWork) {
		return nil // a hub: refused is an answer
	}
	return err
}

type baseline struct{ b *graph.Baseline }

func (s baseline) relate(a, b string)   { s.b.Relate(a, b) }
func (s baseline) unrelate(a, b string) { s.b.Unrelate(a, b) }
func (s baseline) neighbours(name string, f func(string)) {
	s.b.Neighbours(context.Background(), name, f)
}

func (s baseline) path(name string) error {
	_, err := s.b.Path(context.Background(), name, 1)
	return err
}

// Graph measures the adjacency that knowledge bases are kept in, and Cayley's
// memory store beside it, on made-up graphs: n relations among n/4 entities with
// names of 27 bytes, a fifth of the targets drawn by Zipf, so that there are hubs.
func Graph(ctx context.Context, o GraphOptions) ([]GraphRow, error) {
	if len(o.Sizes) == 0 {
		o.Sizes = []int{10_000, 100_000, 1_000_000}
	}
	if o.Queries == 0 {
		o.Queries = 2000
	}
	var rows []GraphRow
	for _, n := range o.Sizes {
		if n < 100 {
			return nil, fmt.Errorf("%d relations: at least 100 are needed", n)
		}
		list := madeRelations(n, o.Seed)
		for _, base := range []bool{false, true} {
			if base && n > o.Baseline {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			row, err := measureGraph(list, base, o)
			if err != nil {
				return nil, err
			}
			if o.Progress != nil {
				fmt.Fprintf(o.Progress, "%s at %d relations\n", row.Store, n)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func madeRelations(n int, seed uint64) [][2]string {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	zipf := rand.NewZipf(r, 1.1, 1, uint64(n/4-1))
	names := make([]string, n/4)
	for i := range names {
		names[i] = fmt.Sprintf("entity with a name %08d", i)
	}
	out := make([][2]string, n)
	for i := range out {
		target := r.IntN(len(names))
		if r.IntN(5) == 0 {
			target = int(zipf.Uint64())
		}
		out[i] = [2]string{names[r.IntN(len(names))], names[target]}
	}
	return out
}

func measureGraph(list [][2]string, base bool, o GraphOptions) (GraphRow, error) {
	row := GraphRow{Store: "adjacency"}
	before := heapNow()
	g := graph.New()
	var s graphStore = adjacency{g}
	if base {
		row.Store, s = "memstore", baseline{graph.NewBaseline()}
	}
	t := time.Now()
	for _, p := range list {
		s.relate(p[0], p[1])
	}
	row.LoadMS = milliseconds(time.Since(t))
	distinct, ends := map[[2]string]bool{}, map[string]bool{}
	after := heapNow()
	for _, p := range list {
		distinct[p], ends[p[0]], ends[p[1]] = true, true, true
	}
	row.Relations, row.Entities = len(distinct), len(ends)
	row.Heap = (after - before) / float64(len(distinct))

	r := rand.New(rand.NewPCG(o.Seed, 2))
	starts := make([]string, o.Queries)
	for i := range starts {
		starts[i] = list[r.IntN(len(list))][0]
	}
	row.OneHop = p50(starts, func(name string) { s.neighbours(name, func(string) {}) })
	seen := map[string]bool{}
	total := 0
	row.TwoHops = p50(starts, func(name string) {
		clear(seen)
		s.neighbours(name, func(a string) {
			if !seen[a] {
				seen[a] = true
				s.neighbours(a, func(b string) { seen[b] = true })
			}
		})
		total += len(seen)
	})
	row.Within = float64(total) / float64(len(starts))
	if !base {
		row.Capped = p50(starts, func(name string) {
			id, _ := g.Entity(name)
			g.KHop([]uint32{id}, 2, 1000, 100)
		})
	}
	var failed error
	row.Path = p50(starts, func(name string) { failed = errors.Join(failed, s.path(name)) })
	if failed != nil {
		return row, failed
	}
	deletes := make([]float64, 0, o.Queries)
	for range o.Queries {
		p := list[r.IntN(len(list))]
		t := time.Now()
		s.unrelate(p[0], p[1])
		deletes = append(deletes, microseconds(time.Since(t)))
		s.relate(p[0], p[1])
	}
	slices.Sort(deletes)
	row.Delete, row.DeleteTop = quantile(deletes, 0.5), quantile(deletes, 0.99)
	runtime.KeepAlive(g)
	return row, nil
}

// p50 is the median time of f over the names, in microseconds.
func p50(names []string, f func(string)) float64 {
	took := make([]time.Duration, len(names))
	for i, name := range names {
		t := time.Now()
		f(name)
		took[i] = time.Since(t)
	}
	return microseconds(median(took))
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func heapNow() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
