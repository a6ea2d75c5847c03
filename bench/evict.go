package bench

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"alcove/engine"
	"alcove/tenancy"
)

// EvictOptions configure the workload on knowledge bases that do not all fit in memory.
type EvictOptions struct {
	Engine engine.Options // but for its Store and what its cache may take
	Set    Set            // of whose passages the knowledge bases are made
	KBs    int            // 1,000
	// Least and Most are the passages of the smallest and the largest knowledge base; the
	// logarithm of their number is even between them. 8 and 120.
	Least, Most int
	Budget      int64 // 512 MiB of open knowledge bases
	Slack       int64 // 640 MiB that the process may take over it: the store, the collector's room, the searches
	Queries     int   // 100,000
	Clients     int   // 4
	Seed        uint64
	Progress    io.Writer // nil for none
}

// EvictResult is how the cache fared. Times are milliseconds.
type EvictResult struct {
	KBs      int     `json:"knowledge_bases"`
	Passages int     `json:"passages"`
	Needed   int64   `json:"bytes_of_all"` // what all of them take in memory together, counted one after the other
	Budget   int64   `json:"budget_bytes"`
	Slack    int64   `json:"slack_bytes"`
	Queries  int     `json:"queries"`
	Asked    int     `json:"knowledge_bases_asked"` // different ones
	Wrong    int     `json:"wrong_answers"`         // unlike that of a knowledge base loaded for this question
	Errors   int     `json:"errors"`
	HitRate  float64 `json:"hit_rate"`
	// Best is the hit rate of a cache that holds those asked most often from the start.
	Best      float64 `json:"hit_rate_of_the_most_asked"`
	Loads     int64   `json:"loads"`
	Trims     int64   `json:"trims"`
	Evictions int64   `json:"evictions"`
	Counted   int64   `json:"most_counted_bytes"` // of open knowledge bases, as the cache counts
	RSS       int64   `json:"most_resident_set_bytes"`
	RSSAnon   int64   `json:"most_anonymous_bytes"` // of it, what is not the store's files
	LoadMean  float64 `json:"load_mean_ms"`
	LoadP99   float64 `json:"load_p99_at_most_ms"` // the end of the histogram's bucket
	HitP50    float64 `json:"hit_p50_ms"`          // of questions during which nothing was loaded
	QueryP50  float64 `json:"query_p50_ms"`
	QueryP99  float64 `json:"query_p99_ms"`
	PerSecond float64 `json:"queries_per_second"`
}

// questionsOfEach is how many different questions a knowledge base is asked.
const questionsOfEach = 4

// evictModes take turns.
var evictModes = [questionsOfEach]engine.Mode{engine.ModeMix, engine.ModeNaive, engine.ModeMix, engine.ModeLocal}

// Evict makes knowledge bases of mixed sizes, asks each its questions when nothing else is in
// memory, and then sends traffic to all of them, by Zipf's law with exponent 1 (the
// k-th most popular is asked 1/k as often as the first; size has nothing to do with
// it), under a budget in which they do not all fit.
func Evict(ctx context.Context, o EvictOptions) (EvictResult, error) {
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.KBs, 1000}, {&o.Least, 8}, {&o.Most, 120}, {&o.Queries, 100_000}, {&o.Clients, 4}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.Budget == 0 {
		o.Budget = 512 << 20
	}
	if o.Slack == 0 {
		o.Slack = 640 << 20
	}
	r := EvictResult{KBs: o.KBs, Budget: o.Budget, Slack: o.Slack, Queries: o.Queries}
	if len(o.Set.Questions) < questionsOfEach || len(o.Set.Passages) < o.Most || o.Least < 1 || o.Least > o.Most {
		return r, errors.New("the set is too small, or the sizes are none")
	}
	dir, err := os.MkdirTemp("", "alcove-bench-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	tenant, err := o.fill(ctx, dir, &r)
	if err != nil {
		return r, fmt.Errorf("fill: %w", err)
	}
	want, err := o.alone(ctx, dir, tenant, &r)
	if err != nil {
		return r, fmt.Errorf("ask one by one: %w", err)
	}
	debug.FreeOSMemory() // what came before is not what is measured
	// As a server does by itself: the collector may use the slack, not more.
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(o.Budget + o.Slack*3/4))
	return r, o.traffic(ctx, dir, tenant, want, &r)
}

func evictKB(i int) string { return fmt.Sprintf("kb-%04d", i) }

func (o EvictOptions) say(format string, a ...any) {
	if o.Progress != nil {
		fmt.Fprintf(o.Progress, format+"\n", a...)
	}
}

// fill makes the knowledge bases; several take documents at a time.
func (o EvictOptions) fill(ctx context.Context, dir string, r *EvictResult) (tenant string, err error) {
	b, err := openBase(ctx, dir, o.Engine)
	if err != nil {
		return "", err
	}
	defer b.close()
	many := int64(o.KBs) + 1
	if _, err := b.store.UpdateTenant(ctx, b.admin, b.tenant, tenancy.TenantUpdate{Quota: &tenancy.QuotaUpdate{MaxKBs: &many}}); err != nil {
		return "", err
	}
	random := rand.New(rand.NewPCG(o.Seed, 1))
	start := time.Now()
	type filling struct {
		kb   *engine.Reader
		want int
	}
	var under []filling
	for i := range o.KBs {
		n := int(float64(o.Least) * math.Pow(float64(o.Most)/float64(o.Least), random.Float64()))
		from := random.IntN(len(o.Set.Passages) - n + 1)
		r.Passages += n
		if _, err := b.store.CreateKB(ctx, b.admin, b.tenant, tenancy.KBInput{ID: evictKB(i), Name: evictKB(i)}); err != nil {
			return "", err
		}
		kb, err := b.add(ctx, evictKB(i), o.Set.Passages[from:from+n])
		if err != nil {
			return "", err
		}
		if under = append(under, filling{kb, n}); len(under) == 16 || i == o.KBs-1 {
			for _, f := range under {
				if err := b.settled(ctx, f.kb, f.want); err != nil {
					return "", err
				}
			}
			under = under[:0]
		}
	}
	o.say("%d knowledge bases of %d passages in %.0f s", o.KBs, r.Passages, time.Since(start).Seconds())
	return b.tenant, nil
}

// alone asks every question of a knowledge base that was loaded for it.
func (o EvictOptions) alone(ctx context.Context, dir, tenant string, r *EvictResult) (want [][questionsOfEach][32]byte, err error) {
	e := o.Engine
	e.MaxOpen, e.QueryCacheBytes = 1, -1
	b, err := reopenBase(ctx, dir, tenant, e)
	if err != nil {
		return nil, err
	}
	defer b.close()
	want = make([][questionsOfEach][32]byte, o.KBs)
	start := time.Now()
	for i := range want {
		kb, err := b.reader(ctx, evictKB(i))
		if err != nil {
			return nil, err
		}
		for q := range want[i] {
			if want[i][q], err = o.ask(ctx, kb, i, q); err != nil {
				return nil, err
			}
		}
		m, err := kb.InMemory(ctx)
		if err != nil {
			return nil, err
		}
		r.Needed += m.Bytes
	}
	o.say("each asked %d questions alone in %.0f s; all take %d MiB", questionsOfEach, time.Since(start).Seconds(), r.Needed>>20)
	return want, nil
}

func (b *base) reader(ctx context.Context, kb string) (*engine.Reader, error) {
	space, err := b.store.Enter(ctx, b.admin, b.tenant, kb, tenancy.PermQueryRun)
	if err != nil {
		return nil, err
	}
	return b.engine.Reader(space), nil
}

// ask asks knowledge base i its question q.
func (o EvictOptions) ask(ctx context.Context, kb *engine.Reader, i, q int) (sum [32]byte, err error) {
	question := o.Set.Questions[(i*questionsOfEach+q)%len(o.Set.Questions)].Question
	s, err := answered(ctx, kb, question, evictModes[q])
	return sha256.Sum256([]byte(s)), err
}

func (o EvictOptions) traffic(ctx context.Context, dir, tenant string, want [][questionsOfEach][32]byte, r *EvictResult) error {
	e := o.Engine
	e.MaxOpen, e.MaxOpenBytes, e.QueryCacheBytes = o.KBs, o.Budget, -1
	b, err := reopenBase(ctx, dir, tenant, e)
	if err != nil {
		return err
	}
	defer b.close()
	readers := make([]*engine.Reader, o.KBs)
	for i := range readers {
		if readers[i], err = b.reader(ctx, evictKB(i)); err != nil {
			return err
		}
	}
	trace := o.trace()
	times := map[int]int{}
	for _, x := range trace {
		times[x.kb]++
	}
	r.Asked = len(times)

	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { o.watch(watching, b, r) })
	var (
		next          atomic.Int64
		wrong, failed atomic.Int64
		mu            sync.Mutex
		all, hits     []float64
		first         error
		clients       sync.WaitGroup
	)
	start := time.Now()
	for range o.Clients {
		clients.Go(func() {
			var own, quiet []float64
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= len(trace) {
					break
				}
				x := trace[n]
				loads, t := b.engine.Stats().Misses, time.Now()
				got, err := o.ask(ctx, readers[x.kb], x.kb, x.question)
				ms := milliseconds(time.Since(t))
				own = append(own, ms)
				if b.engine.Stats().Misses == loads {
					quiet = append(quiet, ms)
				}
				switch {
				case err != nil:
					failed.Add(1)
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				case got != want[x.kb][x.question]:
					wrong.Add(1)
				}
			}
			mu.Lock()
			all, hits = append(all, own...), append(hits, quiet...)
			mu.Unlock()
		})
	}
	clients.Wait()
	took := time.Since(start).Seconds()
	stop()
	watch.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if first != nil {
		o.say("an error: %v", first)
	}
	slices.Sort(all)
	slices.Sort(hits)
	st := b.engine.Stats()
	r.Wrong, r.Errors = int(wrong.Load()), int(failed.Load())
	r.HitRate = float64(st.Hits) / float64(max(1, st.Hits+st.Misses))
	r.Best = mostAsked(times, len(trace), float64(o.Budget)/float64(max(1, r.Needed)))
	r.Loads, r.Trims, r.Evictions = st.Loads, st.Trims, st.Evictions
	r.LoadMean = milliseconds(st.LoadTime) / float64(max(1, st.Loads))
	r.LoadP99 = bucketOf(st.Loading, .99) * 1000
	r.HitP50, r.QueryP50, r.QueryP99 = quantile(hits, .5), quantile(all, .5), quantile(all, .99)
	r.PerSecond = float64(len(all)) / took
	return nil
}

// asked is one question of the traffic.
type asked struct{ kb, question int }

// trace is the traffic: a function of the options.
func (o EvictOptions) trace() []asked {
	random := rand.New(rand.NewPCG(o.Seed, 2))
	rank := random.Perm(o.KBs) // the knowledge base of each rank
	sums, sum := make([]float64, o.KBs), 0.0
	for k := range sums {
		sum += 1 / float64(k+1)
		sums[k] = sum
	}
	out := make([]asked, o.Queries)
	for i := range out {
		k := sort.SearchFloat64s(sums, random.Float64()*sum)
		out[i] = asked{rank[min(k, o.KBs-1)], random.IntN(questionsOfEach)}
	}
	return out
}

// mostAsked is the hit rate of a cache of the knowledge bases asked most often, that has
// room for a share of all.
func mostAsked(times map[int]int, queries int, share float64) float64 {
	var counts []int
	for _, n := range times {
		counts = append(counts, n)
	}
	slices.SortFunc(counts, func(a, b int) int { return b - a })
	hits := 0
	for _, n := range counts[:min(len(counts), int(share*float64(len(counts))))] {
		hits += n
	}
	return float64(hits) / float64(max(1, queries))
}

// bucketOf is the upper bound in seconds of the bucket that a quantile is in, and the
// last bound for what is over all.
func bucketOf(d engine.Durations, q float64) float64 {
	var bounds []float64
	for b := range d.Buckets {
		bounds = append(bounds, b)
	}
	slices.Sort(bounds)
	for _, b := range bounds {
		if float64(d.Buckets[b]) >= q*float64(d.Count) {
			return b
		}
	}
	return bounds[len(bounds)-1]
}

// watch notes the most that is taken until ctx ends.
func (o EvictOptions) watch(ctx context.Context, b *base, r *EvictResult) {
	for {
		rss, anon := rssBytes(os.Getpid()), anonBytes(os.Getpid())
		r.RSS, r.RSSAnon, r.Counted = max(r.RSS, rss), max(r.RSSAnon, anon), max(r.Counted, b.engine.Stats().Bytes)
		if wait(ctx, 20*time.Millisecond) != nil {
			return
		}
	}
}
