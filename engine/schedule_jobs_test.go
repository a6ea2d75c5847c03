package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// A tenant with thousands of documents waiting does not keep another's first one: it is
// read after as many calls as there are workers, not after the line.
func TestSchedule_AnotherTenantsFirstDocument(t *testing.T) {
	const waiting, workers = 2000, 2
	goOn, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	x := &enginetest.Extractor{Script: enginetest.Script{Before: func(ctx context.Context, n int, _ string) error {
		once.Do(func() { close(held) })
		select {
		case <-goOn:
		case <-ctx.Done():
		}
		return ctx.Err()
	}}}
	v := enginetest.New(t, engine.Options{Extractor: x, Workers: workers, ModelConcurrency: 1})
	for at := 0; at < waiting; at += 1000 {
		var docs []engine.DocumentInput
		for i := range 1000 {
			docs = append(docs, engine.DocumentInput{ID: fmt.Sprint("d", at+i), Content: fmt.Appendf(nil, "Crowd text %d", at+i)})
		}
		_, err := v.KBOf("crowd", "main").Add(t.Context(), docs, "insert")
		require.NoError(t, err)
	}
	<-held
	_, err := v.KBOf("other", "main").Add(t.Context(), []engine.DocumentInput{{ID: "one", Content: []byte("Other text")}}, "insert")
	require.NoError(t, err)
	close(goOn)
	v.Wait()
	at := slices.IndexFunc(x.Asked(), func(s string) bool { return strings.Contains(s, "Other") })
	require.GreaterOrEqual(t, at, 0)
	require.LessOrEqual(t, at, 2*workers, "of %d calls", len(x.Asked()))
}

// Long documents in all workers' hands make room between two groups of chunks for a
// tenant that has none, and lose nothing of what is made.
func TestSchedule_LongDocumentsGiveWay(t *testing.T) {
	for _, workers := range []int{1, 2} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			goOn, held := make(chan struct{}), make(chan struct{})
			var once sync.Once
			x := &enginetest.Extractor{Script: enginetest.Script{Before: func(ctx context.Context, n int, _ string) error {
				once.Do(func() { close(held) })
				select {
				case <-goOn:
				case <-ctx.Done():
				}
				time.Sleep(time.Millisecond) // what a model takes: the others' document is read meanwhile
				return ctx.Err()
			}}}
			v := enginetest.New(t, engine.Options{Extractor: x, Workers: workers, ModelConcurrency: 1, ChunkTokens: 16, EmbedBatch: 4})
			var long []engine.DocumentInput
			for d := range 2 {
				var text strings.Builder
				for i := range 400 {
					fmt.Fprintf(&text, "Long document %d says sentence number %d here.\n", d, i)
				}
				long = append(long, engine.DocumentInput{ID: fmt.Sprint("long", d), Content: []byte(text.String())})
			}
			_, err := v.KBOf("crowd", "main").Add(t.Context(), long, "insert")
			require.NoError(t, err)
			<-held
			_, err = v.KBOf("other", "main").Add(t.Context(), []engine.DocumentInput{{ID: "one", Content: []byte("Other text")}}, "insert")
			require.NoError(t, err)
			close(goOn)
			v.Wait()
			asked := x.Asked()
			at := slices.IndexFunc(asked, func(s string) bool { return strings.Contains(s, "Other") })
			require.Less(t, at, len(asked)/4, "of %d calls", len(asked)) // the last, if nobody gave way
			slices.Sort(asked)
			require.Len(t, slices.Compact(asked), len(x.Asked()), "no chunk was read twice")
		})
	}
}

// What a model read and wrote is counted for the tenant, and a tenant whose tokens are
// spent is refused before the model is asked, its documents failing with the quota's name.
func TestSchedule_TokensAreSpent(t *testing.T) {
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "An answer.", nil }}
	v := enginetest.New(t, engine.Options{Chatter: chat, Answerer: engine.ModelAnswerer(chat, engine.AnswerOptions{}),
		Extractor: engine.ModelExtractor(chat, engine.ExtractOptions{})})
	v.KB("main")
	ask := func() error {
		_, err := v.KB("main").Query(t.Context(), engine.Query{Query: "Who wrote to Babbage?", Mode: engine.ModeBypass})
		return err
	}
	require.NoError(t, ask())
	u, err := v.Store.Usage(t.Context(), v.Admin, "acme")
	require.NoError(t, err)
	require.Positive(t, u.Month.ModelTokens)
	setQuota(t, v, "acme", tenancy.QuotaUpdate{MaxMonthlyModelTokens: &u.Month.ModelTokens})
	calls := chat.Calls()
	require.ErrorIs(t, ask(), tenancy.ErrQuota)
	v.Add("main", "late", "Ada wrote to Babbage.")
	v.Wait()
	require.Equal(t, calls, chat.Calls(), "no model was asked")
	d, err := v.KB("main").Document(t.Context(), "late")
	require.NoError(t, err)
	require.Equal(t, engine.StatusFailed, d.Status)
	require.Contains(t, d.ErrorMsg, "max_monthly_model_tokens")
}

// A tenant's question waits for the search in hand and not for those that another
// tenant has asked before it, in whatever way the base is read.
func TestSchedule_SearchesTakeTurns(t *testing.T) {
	const crowd = 20
	v := enginetest.New(t, engine.Options{})
	for _, tenant := range []string{"crowd", "other"} {
		_, err := v.KBOf(tenant, "main").Add(t.Context(), []engine.DocumentInput{{ID: "one", Content: []byte("Ada wrote to Babbage.")}}, "insert")
		require.NoError(t, err)
	}
	v.Wait()
	for _, mode := range []engine.Mode{engine.ModeNaive, engine.ModeMix} {
		t.Run(string(mode), func(t *testing.T) {
			one, all := engine.HoldSearches(v.Engine)
			defer all()
			ended := make(chan string, crowd+1)
			ask := func(tenant string, i int) {
				_, err := v.KBOf(tenant, "main").Query(t.Context(), engine.Query{Query: fmt.Sprint("Who wrote to Babbage ", i), Mode: mode})
				assert.NoError(t, err)
				ended <- tenant
			}
			waiting := func(n int) {
				require.Eventually(t, func() bool { return engine.WaitingSearches(v.Engine) == n }, time.Minute, time.Millisecond)
			}
			for i := range crowd {
				go ask("crowd", i)
			}
			waiting(crowd)
			go ask("other", 0)
			waiting(crowd + 1)
			one()
			at := -1
			for i := range crowd + 1 {
				if <-ended == "other" {
					at = i
				}
			}
			// The second search at the latest; its answer is written beside others'.
			require.Less(t, at, crowd/2)
		})
	}
}
