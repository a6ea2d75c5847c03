package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Target is a knowledge base of a running server.
type Target struct {
	Base string // http://host:port/api/v1/tenants/{t}/knowledge-bases/{k}
	Auth string // Authorization header
	PID  int    // of the server, 0 when it cannot be watched
}

// IngestOptions configure the ingest workload.
type IngestOptions struct {
	Target   Target
	Passages []Passage
	Clients  int // 8: requests under way at once
	PerCall  int // 1: documents of one call
}

// IngestResult is what ingest cost. Rates are documents made visible (status
// processed) per second of wall time; First and Last are the seconds, of the wall
// and of the server's processors, that the first and the last thousand took to
// become visible.
type IngestResult struct {
	Documents int     `json:"documents"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"documents_per_second"`
	First1000 float64 `json:"first_1000_seconds"`
	Last1000  float64 `json:"last_1000_seconds"`
	FirstCPU  float64 `json:"first_1000_cpu_seconds"` // of the server, while they became visible
	LastCPU   float64 `json:"last_1000_cpu_seconds"`
	// CPUByThousand is the same for each thousand in turn.
	CPUByThousand []float64 `json:"cpu_seconds_by_thousand"`
	AcceptP50     float64   `json:"accept_p50_ms"`
	AcceptP99     float64   `json:"accept_p99_ms"`
	PeakRSSBytes  int64     `json:"peak_rss_bytes"`
	CPUSeconds    float64   `json:"server_cpu_seconds"`
	// The first question loads the knowledge base: its time over REST in
	// milliseconds, that of the second, and the resident set afterwards.
	FirstQuery  float64 `json:"first_query_ms"`
	SecondQuery float64 `json:"second_query_ms"`
	LoadedRSS   int64   `json:"loaded_rss_bytes"`
}

// Ingest sends every passage as a document of its own over REST and waits until
// all are processed.
func Ingest(ctx context.Context, o IngestOptions) (IngestResult, error) {
	if o.Clients == 0 {
		o.Clients = 8
	}
	if o.PerCall == 0 {
		o.PerCall = 1
	}
	r := IngestResult{Documents: len(o.Passages)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: o.Clients + 1}}
	cpu0 := cpuSeconds(o.Target.PID)
	start := time.Now()

	batches := slices.Collect(slices.Chunk(o.Passages, o.PerCall))
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		mu    sync.Mutex
		times []float64
		first error
	)
	for range o.Clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(batches) || ctx.Err() != nil {
					return
				}
				t := time.Now()
				err := o.Target.add(ctx, &c, batches[i])
				mu.Lock()
				times = append(times, float64(time.Since(t).Microseconds())/1000)
				if err != nil && first == nil {
					first = err
					cancel()
				}
				mu.Unlock()
			}
		}()
	}
	// The watcher notes when thousands become visible.
	type mark struct {
		n   int
		at  time.Duration
		cpu float64
	}
	var marks []mark
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	var watch error
	for {
		n, failed, err := o.Target.processed(ctx, &c)
		if err != nil || failed > 0 {
			watch = err
			if err == nil {
				watch = fmt.Errorf("%d documents failed", failed)
			}
			cancel()
			break
		}
		marks = append(marks, mark{n, time.Since(start), cpuSeconds(o.Target.PID) - cpu0})
		r.PeakRSSBytes = max(r.PeakRSSBytes, rssBytes(o.Target.PID))
		if n >= len(o.Passages) {
			break
		}
		select {
		case <-ctx.Done():
			watch = ctx.Err()
		case <-tick.C:
			continue
		}
		break
	}
	wg.Wait()
	if first != nil {
		return r, first
	}
	if watch != nil {
		return r, watch
	}
	// at is when n documents were visible and what the server had spent by then;
	// between two looks documents come evenly.
	at := func(n int) (seconds, cpu float64) {
		prev := mark{}
		for _, m := range marks {
			if m.n >= n {
				f := 1.0
				if m.n > prev.n {
					f = float64(n-prev.n) / float64(m.n-prev.n)
				}
				return prev.at.Seconds() + f*(m.at-prev.at).Seconds(), prev.cpu + f*(m.cpu-prev.cpu)
			}
			prev = m
		}
		return prev.at.Seconds(), prev.cpu
	}
	n := len(o.Passages)
	r.Seconds, r.CPUSeconds = at(n)
	r.PerSecond = float64(n) / r.Seconds
	r.First1000, r.FirstCPU = at(min(1000, n))
	last, lastCPU := at(max(0, n-1000))
	r.Last1000, r.LastCPU = r.Seconds-last, r.CPUSeconds-lastCPU
	for i := 1000; i <= n; i += 1000 {
		_, before := at(i - 1000)
		_, after := at(i)
		r.CPUByThousand = append(r.CPUByThousand, after-before)
	}
	slices.Sort(times)
	r.AcceptP50, r.AcceptP99 = quantile(times, 0.50), quantile(times, 0.99)
	for _, into := range []*float64{&r.FirstQuery, &r.SecondQuery} {
		t := time.Now()
		if err := o.Target.call(ctx, &c, "POST", "/query", map[string]any{"query": "Where was the director of the film born?"}, nil); err != nil {
			return r, err
		}
		*into = float64(time.Since(t).Microseconds()) / 1000
	}
	r.LoadedRSS = rssBytes(o.Target.PID)
	return r, nil
}

func (t Target) add(ctx context.Context, c *http.Client, ps []Passage) error {
	if len(ps) == 1 {
		body := map[string]any{"text": ps[0].Text, "id": ps[0].ID, "file_source": ps[0].ID}
		if ps[0].Title != "" {
			body["metadata"] = map[string]any{"title": ps[0].Title}
		}
		return t.call(ctx, c, "POST", "/documents/text", body, nil)
	}
	var texts, ids []string
	var meta []map[string]any
	for _, p := range ps {
		texts, ids, meta = append(texts, p.Text), append(ids, p.ID), append(meta, map[string]any{"title": p.Title})
	}
	return t.call(ctx, c, "POST", "/documents/texts", map[string]any{"texts": texts, "ids": ids, "file_sources": ids, "metadata": meta}, nil)
}

// processed asks how many documents are visible and how many failed.
func (t Target) processed(ctx context.Context, c *http.Client) (done, failed int, err error) {
	var out struct {
		Data struct {
			Counts map[string]int `json:"status_counts"`
		} `json:"data"`
	}
	err = t.call(ctx, c, "GET", "/status_counts", nil, &out)
	return out.Data.Counts["processed"] + out.Data.Counts["partial"], out.Data.Counts["failed"], err
}

func (t Target) call(ctx context.Context, c *http.Client, method, path string, body, out any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, t.Base+path, r)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", t.Auth)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return &StatusError{Status: res.StatusCode, Body: string(b)}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// StatusError is an answer of a server that is not a success.
type StatusError struct {
	Status int
	Body   string
}

// Error returns the status and the body.
func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %s", e.Status, e.Body) }

// rssBytes is the resident set of a process, 0 where it cannot be told.
func rssBytes(pid int) int64 { return statusBytes(pid, "VmRSS:") }

// anonBytes is the part of it that is of no file.
func anonBytes(pid int) int64 { return statusBytes(pid, "RssAnon:") }

func statusBytes(pid int, name string) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// cpuSeconds is the user and system time of a process so far, 0 where it cannot be told.
func cpuSeconds(pid int) float64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(f[11], 64)
	sys, _ := strconv.ParseFloat(f[12], 64)
	return (user + sys) / 100 // USER_HZ
}
