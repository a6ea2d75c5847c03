package engine

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// counted embeds a text as its number of bytes, after a second.
type counted struct {
	mu    sync.Mutex
	calls [][]string
	bad   string // a text that fails the call
}

func (c *counted) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	c.mu.Lock()
	c.calls = append(c.calls, texts)
	c.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out := make([][]float32, len(texts))
	for i, t := range texts {
		if t == c.bad {
			return nil, fmt.Errorf("%w: %s", ErrModelRefused, t)
		}
		out[i] = []float32{float32(len(t))}
	}
	return out, nil
}

func (c *counted) Model() string { return "counted" }
func (c *counted) Pure() bool    { return false }

// Documents that are worked on at once share embedding calls, up to the batch; each
// gets its own vectors, at the latest gatherWait after it came, and fails for
// nobody but itself.
func TestGatherer(t *testing.T) {
	word := func(n int) string { return fmt.Sprintf("%0*d", n, 0) }
	for name, tc := range map[string]struct {
		texts   []int // of each document
		apart   time.Duration
		inHand  int
		bad     int           // this text is refused
		hangsUp int           // this document's caller goes at once; 0 for none, they count from 1
		busy    time.Duration // until then other calls have every place
		calls   int
		takes   time.Duration
	}{
		"all at once":             {texts: []int{1, 1, 1, 1}, inHand: 4, calls: 1, takes: time.Second},
		"one is missing":          {texts: []int{1, 1, 1}, inHand: 4, calls: 1, takes: time.Second + gatherWait},
		"alone":                   {texts: []int{1}, inHand: 1, calls: 1, takes: time.Second},
		"over the batch":          {texts: []int{3, 3, 3, 3, 3}, inHand: 5, calls: 3, takes: time.Second + gatherWait},
		"a batch of its own":      {texts: []int{8, 1, 1}, inHand: 3, calls: 2, takes: time.Second + gatherWait},
		"one after the other":     {texts: []int{1, 1, 1}, apart: 2 * gatherWait, inHand: 3, calls: 3, takes: time.Second + 5*gatherWait},
		"no place is free":        {texts: []int{1, 1, 1}, apart: 2 * gatherWait, inHand: 3, busy: 5 * time.Second, calls: 1, takes: 6 * time.Second},
		"a bad text":              {texts: []int{1, 1, 1}, inHand: 3, bad: 2, calls: 4, takes: 2 * time.Second},
		"the first one hangs up":  {texts: []int{1, 1, 1}, inHand: 3, hangsUp: 1, calls: 3},
		"the second one hangs up": {texts: []int{1, 1, 1}, inHand: 3, hangsUp: 2, calls: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &Engine{models: places{free: 8}}
				m := &counted{}
				if tc.busy > 0 {
					e.models.free = 1
					go e.model(context.Background(), forWork, func() error { time.Sleep(tc.busy); return nil })
					synctest.Wait()
				}
				if tc.bad > 0 {
					m.bad = word(tc.bad)
				}
				var wg sync.WaitGroup
				start := time.Now()
				at := 0
				for i, n := range tc.texts {
					var texts []string
					for range n {
						at++
						texts = append(texts, word(at))
					}
					wg.Go(func() {
						ctx, cancel := context.WithCancel(context.Background())
						defer cancel()
						if tc.hangsUp == i+1 {
							time.AfterFunc(time.Millisecond, cancel)
						}
						v, err := e.embedShared(ctx, m, texts, 8, tc.inHand)
						switch {
						case tc.hangsUp == i+1:
							require.ErrorIs(t, err, context.Canceled)
						case m.bad != "" && texts[0] == m.bad:
							require.ErrorIs(t, err, ErrModelRefused)
						default:
							require.NoError(t, err)
							require.Len(t, v, n)
							for k, x := range texts {
								require.Equal(t, []float32{float32(len(x))}, v[k])
							}
						}
					})
					synctest.Wait()
					time.Sleep(tc.apart)
				}
				wg.Wait()
				require.Empty(t, e.gather.open)
				if tc.hangsUp == 0 {
					require.Equal(t, tc.takes, time.Since(start).Round(time.Millisecond))
				}
				require.Len(t, m.calls, tc.calls)
				for _, c := range m.calls {
					require.LessOrEqual(t, len(c), 8)
				}
			})
		})
	}
}
