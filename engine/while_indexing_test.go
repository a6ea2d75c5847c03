package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
)

// What a preview of a delete says is what the delete then does, for documents in
// every state.
func TestDelete_PreviewIsExact(t *testing.T) {
	ex := &enginetest.Extractor{}
	v := enginetest.New(t, small(engine.Options{Extractor: ex}))
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 9))
		kb := fmt.Sprint("k", seed)
		var ids []string
		ex.Before = poison(engine.ErrModelRefused, "Partial1 ", "Failed")
		for i := range 40 {
			id := fmt.Sprint("d", i)
			ids = append(ids, id)
			v.Add(kb, id, long([]string{"Fine", "Partial", "Failed"}[r.IntN(3)], 1+r.IntN(4)))
		}
		v.Wait()
		gate := enginetest.NewGate()
		ex.Before = gate.Hold
		v.Add(kb, "held", long("Held", 3))
		gate.Arrived()
		_, err := v.KB(kb).Update(ctx, "d3", engine.DocumentInput{Content: []byte("Pending text.")})
		require.NoError(t, err)
		_, err = v.KB(kb).Cancel(ctx, "held")
		require.NoError(t, err)
		ids = append(ids, "held", "unknown", "d1", "d1")
		r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		ids = ids[:1+r.IntN(len(ids))]

		before := v.Dump(kb)
		preview, err := v.KB(kb).Delete(ctx, append([]string{"d0"}, ids...), true)
		require.NoError(t, err)
		require.True(t, preview.DryRun)
		require.Equal(t, before, v.Dump(kb), "nothing was done")
		counts, err := v.KB(kb).Counts(ctx)
		require.NoError(t, err)
		done, err := v.KB(kb).Delete(ctx, append([]string{"d0"}, ids...), false)
		require.NoError(t, err)
		require.Equal(t, preview.Documents, done.Documents)
		require.Equal(t, preview.Chunks, done.Chunks)
		after, err := v.KB(kb).Counts(ctx)
		require.NoError(t, err)
		require.Equal(t, preview.Chunks, counts.Chunks-after.Chunks)
		gone := 0
		for _, d := range preview.Documents {
			if d.Result == "deleted" {
				gone++
			}
		}
		require.Equal(t, gone, counts.Documents-after.Documents)
		gate.Open()
		v.Wait()
		v.Check()
	}
}

// While one document is read by a slow model, others are asked about, deleted,
// changed and brought in, and none of it waits for the model.
func TestWork_NothingWaitsForTheModel(t *testing.T) {
	gate := enginetest.NewGate()
	ex := &enginetest.Extractor{}
	ex.Before = func(ctx context.Context, n int, asked string) error {
		if strings.Contains(asked, "Slow") {
			return gate.Hold(ctx, n, asked)
		}
		return nil
	}
	o := small(engine.Options{Extractor: ex})
	o.Workers = 2
	v := enginetest.New(t, o)
	v.Add("k", "a", long("Ada", 3), "b", long("Bob", 3))
	v.Wait()
	v.Add("k", "slow", long("Slow", 3))
	gate.Arrived()
	kb := v.KB("k")

	a, err := kb.QueryData(ctx, engine.Query{Query: "What does Ada1 write?", Mode: engine.ModeMix})
	require.NoError(t, err)
	require.NotEmpty(t, a.Data.Chunks)
	_, err = kb.Delete(ctx, []string{"b"}, false)
	require.NoError(t, err)
	v.Add("k", "c", long("Cleo", 3))
	_, err = kb.Update(ctx, "a", engine.DocumentInput{Content: []byte(long("Ann", 3))})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return document(t, v, "k", "c").Status == engine.StatusProcessed && document(t, v, "k", "a").Status == engine.StatusProcessed
	}, time.Minute, time.Millisecond)
	require.NotContains(t, v.Dump("k"), "Bob")
	require.NotContains(t, v.Dump("k"), "Ada")
	require.Contains(t, v.Dump("k"), "Cleo1")
	require.Contains(t, []engine.Status{engine.StatusPending, engine.StatusProcessing}, document(t, v, "k", "slow").Status)
	gate.Open()
	v.Wait()
	v.Add("fresh", "a", long("Ann", 3), "c", long("Cleo", 3), "slow", long("Slow", 3))
	v.Wait()
	require.Equal(t, v.Dump("fresh"), v.Dump("k"))
}

// A reply that ended at its limit is used as far as it goes, and said of its document.
func TestWork_TruncatedReplies(t *testing.T) {
	x := engine.ModelExtractor(cutShort{}, engine.ExtractOptions{Gleaning: 1})
	v := enginetest.New(t, small(engine.Options{Extractor: x}))
	v.Add("k", "d", long("Part", 3))
	v.Wait()
	d := document(t, v, "k", "d")
	require.Equal(t, engine.StatusProcessed, d.Status)
	require.Equal(t, d.ChunksCount, d.Truncated)
	require.Equal(t, 2*d.ChunksCount, d.Dropped, "of the reply and of its gleaning, a row each")
	require.Equal(t, 1, d.Entities)
	v.Restart()
	require.Equal(t, d.Truncated, document(t, v, "k", "d").Truncated)
}

// cutShort is a chat model whose replies end at their limit.
type cutShort struct{}

func (cutShort) Model() string { return "cut short" }

func (cutShort) Chat(context.Context, engine.ChatRequest, func(string) error) (engine.ChatReply, error) {
	return engine.ChatReply{Text: "entity<|#|>Ada<|#|>Person<|#|>She wrote.\nentity<|#|>Bab<|#|>Per", Truncated: true}, nil
}
