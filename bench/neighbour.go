package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// NeighbourOptions configure the workload of a tenant that asks for far more than its share.
type NeighbourOptions struct {
	Binary    string
	Dir       string        // data folder; the caller's to remove
	Quiet     int           // 3 tenants beside it
	Documents int           // 200 of each tenant
	Limit     int           // 300 queries a minute of each tenant; documents 2 a minute
	Times     int           // 20 times both is what the loud tenant sends
	Rate      float64       // 4 questions a second of each quiet tenant
	Window    time.Duration // 10 s with and 10 s without it, in turn
	Rounds    int           // 6
	Seed      uint64
	Progress  io.Writer
}

// NeighbourResult is what the quiet tenants noticed. Ratios are of the time beside the
// loud tenant to that without it.
type NeighbourResult struct {
	Alone    Latency `json:"alone"`
	Beside   Latency `json:"beside"`
	P50Ratio float64 `json:"p50_ratio"`
	P99Ratio float64 `json:"p99_ratio"`
	Failed   int     `json:"failed"` // questions of quiet tenants that got no answer
	// What the loud tenant sent and how much of it was let in.
	Sent     int `json:"loud_sent"`
	Admitted int `json:"loud_admitted"`
	Refused  int `json:"loud_refused"` // with 429
}

// Latency is how long questions took, in milliseconds.
type Latency struct {
	Questions int     `json:"questions"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
}

// Neighbour measures the questions of some tenants while another sends many times what
// its limits let in, and while it is silent, in turn, on one server.
func Neighbour(ctx context.Context, o NeighbourOptions) (r NeighbourResult, err error) {
	s, err := StartServer(ctx, o.Binary, o.Dir,
		"--rate-limit-queries-per-minute", strconv.Itoa(o.Limit), "--rate-limit-documents-per-hour", strconv.Itoa(o.Documents+120))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	token, err := s.Token(ctx)
	if err != nil {
		return r, err
	}
	n := &neighbours{o: o}
	for i := range o.Quiet + 1 {
		t, err := s.NewKB(ctx, token, fmt.Sprint("tenant ", i))
		if err != nil {
			return r, err
		}
		if t.Auth, err = keyOf(ctx, t); err != nil {
			return r, err
		}
		if err := fillWith(ctx, t, o.Documents, rand.New(rand.NewPCG(o.Seed, uint64(i)))); err != nil {
			return r, fmt.Errorf("fill tenant %d: %w", i, err)
		}
		n.targets = append(n.targets, t)
	}
	if err := n.window(ctx, true, nil); err != nil { // warms caches, and uses up the loud one's first minute
		return r, err
	}
	var alone, beside []float64
	for round := range o.Rounds {
		for _, loud := range []bool{round%2 == 0, round%2 != 0} {
			into := &alone
			if loud {
				into = &beside
			}
			if err := n.window(ctx, loud, into); err != nil {
				return r, err
			}
		}
		if o.Progress != nil {
			fmt.Fprintf(o.Progress, "round %d of %d: %d and %d questions\n", round+1, o.Rounds, len(alone), len(beside))
		}
	}
	r = NeighbourResult{Alone: latencyOf(alone), Beside: latencyOf(beside), Failed: int(n.failed.Load()),
		Sent: int(n.sent.Load()), Admitted: int(n.admitted.Load()), Refused: int(n.refused.Load())}
	r.P50Ratio, r.P99Ratio = r.Beside.P50/r.Alone.P50, r.Beside.P99/r.Alone.P99
	return r, nil
}

func latencyOf(ms []float64) Latency {
	slices.Sort(ms)
	return Latency{len(ms), quantile(ms, 0.5), quantile(ms, 0.99)}
}

// keyOf makes a key of a target's tenant: what a system admin does is recorded act by
// act, which is no tenant's everyday.
func keyOf(ctx context.Context, t Target) (string, error) {
	var out struct {
		Data struct {
			Key string `json:"key"`
		} `json:"data"`
	}
	tenant, _, _ := strings.Cut(t.Base, "/knowledge-bases/")
	err := Target{Base: tenant, Auth: t.Auth}.call(ctx, http.DefaultClient, "POST", "/api-keys", map[string]any{
		"key_name": "bench", "knowledge_base_ids": []string{"*"}, "permissions": []string{"query:run", "document:create", "document:read"},
	}, &out)
	return "Bearer " + out.Data.Key, err
}

// fillWith gives a knowledge base documents and waits until they are made.
func fillWith(ctx context.Context, t Target, documents int, rng *rand.Rand) error {
	k := &crashClient{rng: rng}
	texts := make([]string, documents)
	for i := range texts {
		texts[i] = k.text()
	}
	if err := t.call(ctx, http.DefaultClient, "POST", "/documents/texts", map[string]any{"texts": texts}, nil); err != nil {
		return err
	}
	return settle(ctx, t)
}

type neighbours struct {
	o       NeighbourOptions
	targets []Target // the last one is loud
	asked   atomic.Int64

	failed, sent, admitted, refused atomic.Int64
}

// window lets the quiet tenants ask for a while, with or without the loud one, and
// appends the milliseconds of their questions.
func (n *neighbours) window(parent context.Context, loud bool, into *[]float64) error {
	ctx, cancel := context.WithTimeout(parent, n.o.Window)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	last := len(n.targets) - 1
	for _, t := range n.targets[:last] {
		all.Go(func() {
			n.steadily(ctx, n.o.Rate, func() {
				start := time.Now()
				err := n.ask(t)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					n.failed.Add(1)
				} else if into != nil {
					*into = append(*into, float64(time.Since(start))/1e6)
				}
			})
		})
	}
	if loud {
		count := func(err error) {
			n.sent.Add(1)
			var se *StatusError
			switch {
			case err == nil:
				n.admitted.Add(1)
			case errors.As(err, &se) && se.Status == http.StatusTooManyRequests:
				n.refused.Add(1)
			}
		}
		all.Go(func() {
			n.steadily(ctx, float64(n.o.Limit*n.o.Times)/60, func() { count(n.ask(n.targets[last])) })
		})
		all.Go(func() {
			n.steadily(ctx, 2*float64(n.o.Times)/60, func() {
				count(n.targets[last].call(context.Background(), loudClient, "POST", "/documents/text",
					map[string]any{"text": fmt.Sprintf("Ada sent letter %d to Babbage in London.", n.asked.Add(1))}, nil))
			})
		})
	}
	all.Wait()
	return parent.Err()
}

// loudClient keeps as many connections as it has requests under way.
var loudClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}

func (n *neighbours) ask(t Target) error {
	q := fmt.Sprintf("Where is the %s of the %s number %d?", crashWords[rand.IntN(len(crashWords))], crashWords[rand.IntN(len(crashWords))], n.asked.Add(1))
	return t.call(context.Background(), loudClient, "POST", "/query", map[string]any{"query": q, "mode": "mix"}, nil)
}

// steadily calls f so many times a second until ctx ends, whether or not the last call
// has ended, but no more than 64 at once.
func (n *neighbours) steadily(ctx context.Context, perSecond float64, f func()) {
	places := make(chan struct{}, 64)
	tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
	defer tick.Stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case places <- struct{}{}:
		default:
			continue
		}
		all.Go(func() {
			defer func() { <-places }()
			f()
		})
	}
}
