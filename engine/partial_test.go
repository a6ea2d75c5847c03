package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
)

// poison makes the extractor fail at texts that hold one of the words.
func poison(err error, words ...string) func(context.Context, int, string) error {
	return func(_ context.Context, _ int, asked string) error {
		for _, w := range words {
			if strings.Contains(asked, w) {
				if err == nil {
					panic("extractor")
				}
				return err
			}
		}
		return nil
	}
}

func document(t *testing.T, v *enginetest.Env, kb, id string) *engine.Document {
	t.Helper()
	d, err := v.KB(kb).Document(ctx, id)
	require.NoError(t, err)
	return d
}

func retry(t *testing.T, v *enginetest.Env, kb, id string) {
	t.Helper()
	_, err := v.KB(kb).Retry(ctx, id)
	require.NoError(t, err)
}

// The model has answered to others, so what it does not answer to is at fault.
var answering = &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "yes", nil }}

// A chunk that cannot be read costs its document that chunk alone: readers see
// the rest, a retry reads the failed chunks and no others, and the outcome is
// that of a model that never failed.
func TestPartial_FailedChunksAlone(t *testing.T) {
	for name, tc := range map[string]struct {
		err   error
		tries int
	}{
		"prompt too long":        {fmt.Errorf("%w: 9 tokens", engine.ErrPromptTooLong), 1},
		"refused":                {fmt.Errorf("%w: unsafe", engine.ErrModelRefused), 1},
		"panic":                  {nil, 1},
		"something else":         {errors.New("boom"), 4},
		"the server stumbles":    {fmt.Errorf("%w: 500", engine.ErrModelDown), 4},
		"an error with bad text": {errors.New("\xff" + strings.Repeat("é", 1000)), 4},
	} {
		t.Run(name, func(t *testing.T) {
			ex, emb := &enginetest.Extractor{}, &enginetest.Embedder{}
			v := enginetest.New(t, small(engine.Options{Extractor: ex, Embedder: emb, Chatter: answering}))
			text := long("Part", 8)
			v.Add("fresh", "d", text)
			v.Wait()
			all := document(t, v, "fresh", "d")
			calls := ex.Calls()
			require.Equal(t, engine.StatusProcessed, all.Status)
			require.Empty(t, all.FailedChunks)

			ex.Before = poison(tc.err, "Part2 ", "Part5 ")
			v.Add("k", "d", text)
			v.Wait()
			require.Equal(t, calls+all.ChunksCount-2+2*tc.tries, ex.Calls())
			d := document(t, v, "k", "d")
			require.Equal(t, engine.StatusPartial, d.Status)
			require.Equal(t, all.ChunksCount, d.ChunksCount)
			require.Equal(t, all.ChunksCount-2, d.ChunksDone)
			require.Equal(t, 2, d.FailedCount)
			require.Len(t, d.FailedChunks, 2)
			require.Less(t, d.Entities, all.Entities)
			for _, f := range d.FailedChunks {
				require.Equal(t, fmt.Sprintf("d-chunk-%03d", f.Order), f.ChunkID)
				require.NotEmpty(t, f.Error)
				require.LessOrEqual(t, len(f.Error), 240)
			}
			require.Contains(t, v.Dump("k"), "Here Part2 writes", "the text is there")
			require.NotContains(t, v.Dump("k"), `entity "Part2"`)
			require.Contains(t, v.Dump("k"), `entity "Part3"`)
			found, err := v.KB("k").QueryData(ctx, engine.Query{Query: "What does Part2 write?", Mode: engine.ModeNaive})
			require.NoError(t, err)
			require.NotEmpty(t, found.Data.Chunks)
			counts, err := v.KB("k").StatusCounts(ctx)
			require.NoError(t, err)
			require.Equal(t, 1, counts["partial"])
			page, err := v.KB("k").Documents(ctx, engine.DocumentsRequest{Status: engine.StatusPartial})
			require.NoError(t, err)
			require.Len(t, page.Documents, 1)
			v.Check()

			// One is still poisoned.
			n, embedded := ex.Calls(), emb.Calls()
			ex.Before = poison(tc.err, "Part5 ")
			retry(t, v, "k", "d")
			v.Wait()
			require.Equal(t, n+1+tc.tries, ex.Calls())
			require.Equal(t, 1, document(t, v, "k", "d").FailedCount)
			require.Contains(t, v.Dump("k"), `entity "Part2"`)
			v.Check()

			n = ex.Calls()
			ex.Before = nil
			retry(t, v, "k", "d")
			v.Wait()
			require.Equal(t, n+1, ex.Calls())
			require.Equal(t, embedded, emb.Calls(), "nothing was embedded again")
			require.Equal(t, v.Dump("fresh"), v.Dump("k"))
			d = document(t, v, "k", "d")
			require.Equal(t, engine.StatusProcessed, d.Status)
			require.Equal(t, all.Entities, d.Entities)
			require.Equal(t, all.Relations, d.Relations)
			_, err = v.KB("k").Retry(ctx, "d")
			require.ErrorIs(t, err, engine.ErrState)
		})
	}
}

// A partial document that is changed has its failed chunks read again with the
// changed ones.
func TestPartial_Update(t *testing.T) {
	ex := &enginetest.Extractor{Script: enginetest.Script{Before: poison(engine.ErrModelRefused, "Part2 ")}}
	v := enginetest.New(t, small(engine.Options{Extractor: ex}))
	text := long("Part", 8)
	v.Add("k", "d", text)
	v.Wait()
	require.Equal(t, engine.StatusPartial, document(t, v, "k", "d").Status)
	ex.Before = nil
	n := ex.Calls()
	text = strings.Replace(text, "Part6 ", "New6 ", 1)
	_, err := v.KB("k").Update(ctx, "d", engine.DocumentInput{Content: []byte(text)})
	require.NoError(t, err)
	v.Wait()
	require.Equal(t, n+2, ex.Calls())
	v.Add("fresh", "d", text)
	v.Wait()
	require.Equal(t, v.Dump("fresh"), v.Dump("k"))
}

// A document of which nothing can be read fails, early if it is long, and a retry
// takes it up again.
func TestPartial_NothingRead(t *testing.T) {
	ex := &enginetest.Extractor{Script: enginetest.Script{Before: poison(engine.ErrModelRefused, "Part")}}
	v := enginetest.New(t, small(engine.Options{Extractor: ex}))
	for id, n := range map[string]int{"short": 3, "long": 200} {
		before := ex.Calls()
		v.Add("k", id, long("Part", n))
		v.Wait()
		d := document(t, v, "k", id)
		require.Equal(t, engine.StatusFailed, d.Status)
		require.Contains(t, d.ErrorMsg, "refused")
		require.Zero(t, d.FailedCount, "of what readers see")
		require.LessOrEqual(t, ex.Calls()-before, 40)
	}
	require.Empty(t, v.Dump("k"))
	v.Check()
	ex.Before = nil
	for id, n := range map[string]int{"short": 3, "long": 200} {
		retry(t, v, "k", id)
		v.Add("fresh", id, long("Part", n))
	}
	v.Wait()
	require.Equal(t, v.Dump("fresh"), v.Dump("k"))

	// An update of which nothing can be read leaves what readers see.
	old := v.Dump("k")
	ex.Before = poison(engine.ErrModelRefused, "Worse")
	_, err := v.KB("k").Update(ctx, "short", engine.DocumentInput{Content: []byte(long("Worse", 3))})
	require.NoError(t, err)
	v.Wait()
	require.Equal(t, engine.StatusFailed, document(t, v, "k", "short").Status)
	require.Equal(t, old, v.Dump("k"))
}

// While failed chunks are read again the document can be cancelled, deleted,
// changed and looked at, and a stop in the middle loses nothing.
func TestPartial_WhileReadAgain(t *testing.T) {
	text := long("Part", 8)
	begin := func(t *testing.T) (*enginetest.Env, *enginetest.Extractor, *enginetest.Gate) {
		ex := &enginetest.Extractor{Script: enginetest.Script{Before: poison(engine.ErrModelRefused, "Part2 ", "Part5 ")}}
		v := enginetest.New(t, small(engine.Options{Extractor: ex}))
		v.Add("fresh", "d", text)
		v.Wait()
		v.Add("k", "d", text)
		v.Wait()
		gate := enginetest.NewGate()
		ex.Before = func(ctx context.Context, n int, asked string) error {
			if strings.Contains(asked, "Part5 ") {
				return gate.Hold(ctx, n, asked)
			}
			return nil
		}
		retry(t, v, "k", "d")
		gate.Arrived()
		d := document(t, v, "k", "d")
		require.Equal(t, engine.StatusProcessing, d.Status)
		require.Equal(t, 1, d.FailedCount, "the other one is there already")
		require.Contains(t, v.Dump("k"), `entity "Part2"`)
		jobs, err := v.KB("k").Jobs(ctx)
		require.NoError(t, err)
		require.Equal(t, "running", jobs[0].State)
		require.Equal(t, d.ChunksCount, jobs[0].Chunks)
		require.Equal(t, d.ChunksCount-1, jobs[0].ChunksDone)
		return v, ex, gate
	}
	t.Run("cancel", func(t *testing.T) {
		v, ex, gate := begin(t)
		d, err := v.KB("k").Cancel(ctx, "d")
		require.NoError(t, err)
		require.Equal(t, engine.StatusPartial, d.Status)
		v.Wait()
		require.EqualValues(t, 1, v.QueueStats().Cancelled)
		v.Check()
		gate.Open()
		n := ex.Calls()
		retry(t, v, "k", "d")
		v.Wait()
		require.Equal(t, n+1, ex.Calls())
		require.Equal(t, engine.StatusProcessed, document(t, v, "k", "d").Status)
	})
	t.Run("delete", func(t *testing.T) {
		v, _, _ := begin(t)
		_, err := v.KB("k").Delete(ctx, []string{"d"}, false)
		require.NoError(t, err)
		v.Wait() // without opening the gate
		require.Empty(t, v.Dump("k"))
	})
	t.Run("update", func(t *testing.T) {
		v, ex, gate := begin(t)
		now := strings.ReplaceAll(text, "Part5 ", "New5 ")
		_, err := v.KB("k").Update(ctx, "d", engine.DocumentInput{Content: []byte(now)})
		require.NoError(t, err)
		gate.Open()
		v.Wait()
		ex.Before = nil
		v.Add("new", "d", now)
		v.Wait()
		require.Equal(t, v.Dump("new"), v.Dump("k"))
	})
	t.Run("metadata", func(t *testing.T) {
		v, _, gate := begin(t)
		_, err := v.KB("k").Update(ctx, "d", engine.DocumentInput{Content: []byte(text), Metadata: map[string]any{"year": 1842}})
		require.NoError(t, err)
		gate.Open()
		v.Wait()
		d := document(t, v, "k", "d")
		require.Equal(t, engine.StatusProcessed, d.Status)
		require.Equal(t, map[string]any{"year": 1842.0}, d.Metadata)
	})
	t.Run("the model is gone", func(t *testing.T) {
		v, ex, gate := begin(t)
		_, err := v.KB("k").Cancel(ctx, "d")
		require.NoError(t, err)
		gate.Open()
		v.Wait()
		ex.Before = poison(fmt.Errorf("%w: llama", engine.ErrModelMissing), "Part5 ")
		retry(t, v, "k", "d")
		v.Wait()
		d := document(t, v, "k", "d")
		require.Equal(t, engine.StatusPartial, d.Status, "what readers see stays as it is")
		require.Contains(t, d.ErrorMsg, "llama")
		require.Equal(t, 1, d.FailedCount)
		v.Check()
		ex.Before = nil
		retry(t, v, "k", "d")
		v.Wait()
		d = document(t, v, "k", "d")
		require.Equal(t, engine.StatusProcessed, d.Status)
		require.Empty(t, d.ErrorMsg)
	})
	t.Run("a stop", func(t *testing.T) {
		v, ex, _ := begin(t)
		ex.Before = nil
		n := ex.Calls()
		v.Restart()
		v.Wait()
		require.Equal(t, n+1, ex.Calls())
		require.Equal(t, engine.StatusProcessed, document(t, v, "k", "d").Status)
		require.Contains(t, v.Dump("k"), `entity "Part5"`)
	})
}

// A server that is away is waited for, and its documents are neither partial nor
// failed when it comes back; one that stays away fails them, for a retry to go on.
func TestWork_ServerAway(t *testing.T) {
	var up bool
	ex := &enginetest.Extractor{}
	ex.Before = func(_ context.Context, n int, _ string) error {
		if n > 4 && n <= 20 || n > 20 && !up && n > 30 {
			return fmt.Errorf("%w: connection refused", engine.ErrModelDown)
		}
		return nil
	}
	v := enginetest.New(t, small(engine.Options{Extractor: ex}))
	v.Add("k", "d", long("Part", 8))
	v.Wait()
	d := document(t, v, "k", "d")
	require.Equal(t, engine.StatusProcessed, d.Status)
	require.Equal(t, d.ChunksCount+16, ex.Calls())

	v.Add("k", "e", long("Other", 40))
	v.Wait()
	d = document(t, v, "k", "e")
	require.Equal(t, engine.StatusFailed, d.Status)
	require.Contains(t, d.ErrorMsg, "connection refused")
	require.Greater(t, d.ChunksDone, 0)
	n := ex.Calls()
	up = true
	retry(t, v, "k", "e")
	v.Wait()
	e := document(t, v, "k", "e")
	require.Equal(t, engine.StatusProcessed, e.Status)
	require.Equal(t, n+e.ChunksCount-d.ChunksDone, ex.Calls())
}

// Without vectors there is nothing to show: what the embedder will not do fails
// the document.
func TestWork_EmbeddingFails(t *testing.T) {
	emb := &enginetest.Embedder{Script: enginetest.Script{Before: poison(engine.ErrModelRefused, "Part2 ")}}
	ex := &enginetest.Extractor{}
	v := enginetest.New(t, small(engine.Options{Extractor: ex, Embedder: emb}))
	v.Add("k", "d", long("Part", 8))
	v.Wait()
	d := document(t, v, "k", "d")
	require.Equal(t, engine.StatusFailed, d.Status)
	require.Contains(t, d.ErrorMsg, "embed")
	require.Empty(t, v.Dump("k"))
	emb.Before = nil
	retry(t, v, "k", "d")
	v.Wait()
	require.Equal(t, engine.StatusProcessed, document(t, v, "k", "d").Status)
	asked := ex.Asked()
	slices.Sort(asked)
	require.LessOrEqual(t, len(asked)-len(slices.Compact(slices.Clone(asked))), 1, "only the group that was not stored")
}

// Whatever fails along the way, a base in which everything was retried to the end
// is that of a model that never failed.
func TestPartial_AnyOrder(t *testing.T) {
	ex := &enginetest.Extractor{}
	o := small(engine.Options{Extractor: ex})
	o.Workers = 3
	v := enginetest.New(t, o)
	var pairs []string
	for i := range 12 {
		pairs = append(pairs, fmt.Sprint("d", i), long(fmt.Sprintf("N%dx", i%4), 1+i))
	}
	v.Add("fresh", pairs...)
	v.Wait()
	ex.Before = func(_ context.Context, n int, _ string) error {
		if n%3 == 0 {
			return engine.ErrModelRefused
		}
		return nil
	}
	v.Add("k", pairs...)
	for range 30 {
		v.Wait()
		v.Check()
		left := 0
		for i := range 12 {
			if d := document(t, v, "k", fmt.Sprint("d", i)); d.Status != engine.StatusProcessed {
				left++
				retry(t, v, "k", d.DocID)
			}
		}
		if left == 0 {
			break
		}
	}
	require.Equal(t, v.Dump("fresh"), v.Dump("k"))
}
