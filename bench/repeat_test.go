package bench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/bench"
	"alcove/engine"
)

// timed are the fields that a machine's speed and load decide: times, rates, what the
// process weighs, and how many texts a call of an embedder took along, which depends on
// how many documents were waiting just then.
var timed = regexp.MustCompile(`(^|_)(ms|ns|s|seconds|second)($|_)|cpu|rss|bytes|^embedding_calls`)

// steady is a result without the fields that are timed.
func steady(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	var x any
	require.NoError(t, json.Unmarshal(b, &x))
	var walk func(any)
	walk = func(x any) {
		switch x := x.(type) {
		case map[string]any:
			for k := range x {
				if timed.MatchString(k) {
					delete(x, k)
					continue
				}
				walk(x[k])
			}
		case []any:
			for _, e := range x {
				walk(e)
			}
		}
	}
	walk(x)
	return x
}

// Two runs of a workload with the same seed give the same, but for what the machine
// decides.
func TestWorkloads_Repeat(t *testing.T) {
	corpus := bench.Corpus{Seed: 7, Chunks: 2}
	for name, run := range map[string]func(t *testing.T) (any, error){
		"query, a model": func(t *testing.T) (any, error) {
			m, o := scripted(t, bench.ModelOptions{})
			return bench.Query(ctx, bench.QueryOptions{Target: served(t, o), Model: m, Sizes: []int{3, 6}, Questions: 12, Corpus: corpus, Modes: []engine.Mode{engine.ModeNaive, engine.ModeMix}, Clients: []int{1, 4}})
		},
		"query, builtin, data": func(t *testing.T) (any, error) {
			return bench.Query(ctx, bench.QueryOptions{Target: served(t, options()), DataOnly: true, Sizes: []int{6}, Questions: 12, Corpus: corpus, Clients: []int{1, 4}})
		},
		"model": func(t *testing.T) (any, error) {
			m, o := scripted(t, bench.ModelOptions{})
			return bench.Cost(ctx, bench.CostOptions{Model: m, Sizes: []int{3, 5}, Window: 2, Probes: 2, Corpus: corpus,
				Open: func(context.Context) (bench.Target, func() error, error) {
					return served(t, o), func() error { return nil }, nil
				}})
		},
		"ingest": func(t *testing.T) (any, error) {
			return bench.Ingest(ctx, bench.IngestOptions{Target: served(t, options()), Passages: corpus.Passages(0, 8), Clients: 4})
		},
		"delete": func(t *testing.T) (any, error) {
			texts := &bench.Texts{}
			m, o := scripted(t, bench.ModelOptions{Embedded: texts.See, Summarised: texts.Write})
			return bench.Delete(ctx, bench.DeleteOptions{Engine: o, Model: m, Texts: texts, Documents: 8, Deleted: 3, Chunks: 1, Long: 4, Repeat: 1, Seed: 7})
		},
		"peer": func(t *testing.T) (any, error) {
			m, o := scripted(t, bench.ModelOptions{})
			return bench.Peers(ctx, bench.PeerOptions{Model: m, Corpus: corpus, Sizes: []int{3, 6}, Window: 2, Questions: 4}, bench.PeerAt(served(t, o), t.TempDir()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var first any
			for i := range 2 {
				got, err := run(t)
				require.NoError(t, err)
				if x := steady(t, got); i == 0 {
					first = x
					require.NotEmpty(t, fmt.Sprint(x))
				} else {
					require.Equal(t, first, x)
				}
			}
		})
	}
}
