package bench

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"
)

// StartResult is what a server on an empty folder costs.
type StartResult struct {
	Runs        int           `json:"runs"`
	ReadyMin    time.Duration `json:"ready_min_ns"` // from the start of the process to the first 200 of /readyz
	ReadyMedian time.Duration `json:"ready_median_ns"`
	ReadyMax    time.Duration `json:"ready_max_ns"`
	IdleRSS     int64         `json:"idle_rss_bytes"` // largest, one second after ready; 0 where it cannot be told
	BinaryBytes int64         `json:"binary_bytes"`
}

// idleAfter is when a server that was asked nothing counts as idle.
const idleAfter = time.Second

// Start starts and stops the binary on an empty folder, again and again.
func Start(ctx context.Context, binary string, runs int) (StartResult, error) {
	r := StartResult{Runs: runs}
	st, err := os.Stat(binary)
	if err != nil {
		return r, err
	}
	r.BinaryBytes = st.Size()
	var ready []time.Duration
	for range runs {
		dir, err := os.MkdirTemp("", "alcove-bench-")
		if err != nil {
			return r, err
		}
		s, err := StartServer(ctx, binary, dir)
		if err != nil {
			return r, errors.Join(err, os.RemoveAll(dir))
		}
		ready = append(ready, s.Ready)
		select {
		case <-time.After(idleAfter):
		case <-ctx.Done():
		}
		r.IdleRSS = max(r.IdleRSS, rssBytes(s.PID()))
		if err := errors.Join(s.Stop(), os.RemoveAll(dir), ctx.Err()); err != nil {
			return r, err
		}
	}
	slices.Sort(ready)
	if len(ready) > 0 {
		r.ReadyMin, r.ReadyMedian, r.ReadyMax = ready[0], median(ready), ready[len(ready)-1]
	}
	return r, nil
}
