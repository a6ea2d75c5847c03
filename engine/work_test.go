package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
)

// A new version shows at one moment; what stays the same is not asked again, and
// the result is that of a fresh insert.
func TestUpdate_ChangedChunksOnly(t *testing.T) {
	ex := &enginetest.Extractor{}
	o := small(engine.Options{Extractor: ex})
	v := enginetest.New(t, o)
	before := long("Old", 6)
	v.Add("k", "d", before)
	v.Wait()
	n := ex.Calls()
	require.Greater(t, n, 4)
	old := v.Dump("k")

	gate := enginetest.NewGate()
	ex.Before = gate.Hold
	after := strings.Replace(before, "Old3 ", "New3 ", 1)
	a, err := v.KB("k").Update(ctx, "d", engine.DocumentInput{Content: []byte(after)})
	require.NoError(t, err)
	require.Equal(t, engine.ResultUpdated, a.Documents[0].Result)
	require.Equal(t, "d.txt", a.Documents[0].FilePath, "kept")
	gate.Arrived()
	require.Equal(t, old, v.Dump("k"), "readers see the old version")
	gate.Open()
	v.Wait()
	require.Equal(t, n+1, ex.Calls())
	v.Add("fresh", "d", after)
	v.Wait()
	require.Equal(t, v.Dump("fresh"), v.Dump("k"))

	again, err := v.KB("k").Update(ctx, "d", engine.DocumentInput{Content: []byte(after)})
	require.NoError(t, err)
	require.Equal(t, engine.ResultUnchanged, again.Documents[0].Result)
	_, err = v.KB("k").Update(ctx, "unknown", engine.DocumentInput{Content: []byte(after)})
	require.ErrorIs(t, err, engine.ErrNotFound)
}

// Metadata change at once and without a model, unless they bring another title.
func TestUpdate_MetadataOnly(t *testing.T) {
	ex := &enginetest.Extractor{}
	v := enginetest.New(t, engine.Options{Extractor: ex})
	v.Add("k", "d", "Ada wrote.")
	v.Wait()
	a, err := v.KB("k").Update(ctx, "d", engine.DocumentInput{Content: []byte("Ada wrote."), Metadata: map[string]any{"year": 1842}})
	require.NoError(t, err)
	require.Equal(t, "success", a.Status)
	require.Equal(t, 1, ex.Calls())
	require.Contains(t, v.Dump("k"), `metadata={"year":1842}`)

	_, err = v.KB("k").Update(ctx, "d", engine.DocumentInput{Content: []byte("Ada wrote."), Metadata: map[string]any{"title": "Letters"}})
	require.NoError(t, err)
	v.Wait()
	require.Equal(t, 2, ex.Calls(), "a title is part of what is read")
	require.Contains(t, v.Dump("k"), `title="Letters"`)
}

// Readers see nothing of a document of several transactions until the last one.
func TestWork_HalfADocumentIsNotSeen(t *testing.T) {
	gate := enginetest.NewGate()
	ex := &enginetest.Extractor{}
	ex.Before = func(ctx context.Context, n int, asked string) error {
		if n < 4 {
			return nil
		}
		return gate.Hold(ctx, n, asked)
	}
	v := enginetest.New(t, small(engine.Options{Extractor: ex}))
	v.Add("k", "d", long("Part", 8))
	gate.Arrived()
	d, err := v.KB("k").Document(ctx, "d")
	require.NoError(t, err)
	require.Equal(t, engine.StatusProcessing, d.Status)
	require.Equal(t, 3, d.ChunksDone)
	require.Greater(t, d.ChunksCount, 6)
	require.Empty(t, v.Dump("k"))
	page, err := v.KB("k").Chunks(ctx, "d", "", 0)
	require.NoError(t, err)
	require.Empty(t, page.Chunks)
	jobs, err := v.KB("k").Jobs(ctx)
	require.NoError(t, err)
	require.Len(t, jobs, 1)
	require.Equal(t, "running", jobs[0].State)
	gate.Open()
	v.Wait()
	page, err = v.KB("k").Chunks(ctx, "d", "2", 3)
	require.NoError(t, err)
	require.Len(t, page.Chunks, 3)
	require.Equal(t, "d-chunk-002", page.Chunks[0].ChunkID)
	require.Equal(t, "5", page.NextCursor)
}

// After a stop in the middle the work goes on at the chunk where it stopped: no
// call of the extractor that was stored is made again.
func TestWork_GoesOnWhereItStopped(t *testing.T) {
	for _, where := range []string{"in memory", "on disk"} {
		t.Run(where, func(t *testing.T) {
			dir := ""
			if where == "on disk" {
				dir = t.TempDir()
			}
			text := long("Part", 8)
			var asked []string
			v := enginetest.Open(t, dir, small(engine.Options{}))
			v.Add("fresh", "d", text)
			v.Wait()
			want := v.Options.Extractor.(*enginetest.Extractor).Calls()
			for stop := 1; ; stop++ { // one chunk further with each process
				gate := enginetest.NewGate()
				ex := &enginetest.Extractor{}
				ex.Before = func(ctx context.Context, n int, asked string) error {
					if n == 1 {
						return nil
					}
					return gate.Hold(ctx, n, asked)
				}
				v.Options.Extractor = ex
				v.Restart()
				if stop == 1 {
					v.Add("k", "d", text)
				}
				last := stop == want
				if last {
					v.Wait()
				} else {
					gate.Arrived()
				}
				require.Equal(t, 1, len(ex.Asked()))
				asked = append(asked, ex.Asked()...)
				if last {
					break
				}
			}
			require.Len(t, asked, want)
			slices.Sort(asked)
			require.Len(t, slices.Compact(asked), want, "none twice")
			require.Equal(t, v.Dump("fresh"), v.Dump("k"))
		})
	}
}

// A document that is deleted while a model reads it leaves nothing: its job ends
// cancelled and its model call with it.
func TestDelete_DuringWork(t *testing.T) {
	gate := enginetest.NewGate()
	ex := &enginetest.Extractor{}
	ex.Before = gate.Hold
	v := enginetest.New(t, small(engine.Options{Extractor: ex}))
	v.Add("k", "d", long("Gone", 4))
	gate.Arrived()
	_, err := v.KB("k").Delete(ctx, []string{"d"}, false)
	require.NoError(t, err)
	_, err = v.KB("k").Document(ctx, "d")
	require.ErrorIs(t, err, engine.ErrNotFound)
	v.Wait() // without opening the gate
	require.Empty(t, v.Dump("k"))
	require.EqualValues(t, 1, v.QueueStats().Cancelled)
	require.Empty(t, ex.Asked())

	// The id is free for something else.
	gate.Open()
	v.Add("k", "d", "Another text.")
	v.Wait()
	require.Contains(t, v.Dump("k"), "Another text.")
}

// The work on a knowledge base ends with it, the model call in hand included;
// that of others goes on.
func TestWork_EndsWithItsKnowledgeBase(t *testing.T) {
	gate := enginetest.NewGate()
	ex := &enginetest.Extractor{}
	ex.Before = func(ctx context.Context, n int, asked string) error {
		if strings.Contains(asked, "Gone") {
			return gate.Hold(ctx, n, asked)
		}
		return nil
	}
	v := enginetest.New(t, engine.Options{Extractor: ex, Workers: 1})
	v.Add("gone", "a", "Gone one.", "b", "Gone two.")
	gate.Arrived()
	v.Add("stays", "c", "Text.")
	require.NoError(t, v.Store.DeleteKB(ctx, v.Admin, enginetest.Tenant, "gone"))
	v.Wait() // without opening the gate
	require.Equal(t, []string{"Text."}, ex.Asked())
	require.Contains(t, v.Dump("stays"), "Text.")
}

// An update that overtakes another one: the last accepted wins.
func TestUpdate_DuringWork(t *testing.T) {
	gate := enginetest.NewGate()
	ex := &enginetest.Extractor{}
	ex.Before = func(ctx context.Context, n int, asked string) error {
		if strings.Contains(asked, "First") {
			return gate.Hold(ctx, n, asked)
		}
		return nil
	}
	v := enginetest.New(t, engine.Options{Extractor: ex, Workers: 2})
	v.Add("k", "d", "First version.")
	gate.Arrived()
	_, err := v.KB("k").Update(ctx, "d", engine.DocumentInput{Content: []byte("Second version.")})
	require.NoError(t, err)
	v.Wait()
	require.Contains(t, v.Dump("k"), "Second version.")
	require.NotContains(t, v.Dump("k"), "First")
}

// Work that is cancelled stops at once; a retry goes on where it was.
func TestCancel_ThenRetry(t *testing.T) {
	gate := enginetest.NewGate()
	ex := &enginetest.Extractor{}
	ex.Before = func(ctx context.Context, n int, asked string) error {
		if n != 3 {
			return nil
		}
		return gate.Hold(ctx, n, asked)
	}
	v := enginetest.New(t, small(engine.Options{Extractor: ex}))
	v.Add("k", "d", long("Part", 6))
	gate.Arrived()
	d, err := v.KB("k").Cancel(ctx, "d")
	require.NoError(t, err)
	require.Equal(t, engine.StatusCancelled, d.Status)
	v.Wait()
	require.Empty(t, v.Dump("k"))
	_, err = v.KB("k").Cancel(ctx, "d")
	require.ErrorIs(t, err, engine.ErrState)
	v.Check()

	_, err = v.KB("k").Retry(ctx, "d")
	require.NoError(t, err)
	v.Wait()
	d, err = v.KB("k").Document(ctx, "d")
	require.NoError(t, err)
	require.Equal(t, engine.StatusProcessed, d.Status)
	require.Equal(t, d.ChunksCount+1, ex.Calls(), "only the call that was cancelled is made again")
	_, err = v.KB("k").Retry(ctx, "d")
	require.ErrorIs(t, err, engine.ErrState)
	_, err = v.KB("k").Retry(ctx, "unknown")
	require.ErrorIs(t, err, engine.ErrNotFound)
}

// A model that fails is asked again a few times; then the document fails with the
// cause, alone, and can be retried.
func TestWork_Failures(t *testing.T) {
	ex := &enginetest.Extractor{}
	ex.Before = func(_ context.Context, n int, asked string) error {
		switch {
		case strings.Contains(asked, "Flaky") && n < 3:
			return fmt.Errorf("%w: connection refused", engine.ErrModelDown)
		case strings.Contains(asked, "Missing"):
			return fmt.Errorf("%w: llama", engine.ErrModelMissing)
		case strings.Contains(asked, "Refused"):
			return fmt.Errorf("%w: status 422", engine.ErrModelRefused)
		case strings.Contains(asked, "Down"):
			return fmt.Errorf("%w: timeout", engine.ErrModelDown)
		case strings.Contains(asked, "Panic"):
			panic("extractor")
		}
		return nil
	}
	v := enginetest.New(t, engine.Options{Extractor: ex, Workers: 1})
	v.Add("k", "flaky", "Flaky one.")
	v.Wait()
	require.Equal(t, 3, ex.Calls())
	v.Add("k", "missing", "Missing one.", "refused", "Refused one.", "down", "Down one.", "panic", "Panic one.", "parser", "panic in the parser", "fine", "Fine one.")
	v.Wait()
	for id, says := range map[string]string{
		"flaky": "", "fine": "", "missing": "llama", "refused": "status 422", "down": "timeout", "panic": "internal error", "parser": "internal error while reading",
	} {
		d, err := v.KB("k").Document(ctx, id)
		require.NoError(t, err)
		if says == "" {
			require.Equal(t, engine.StatusProcessed, d.Status)
			continue
		}
		require.Equal(t, engine.StatusFailed, d.Status)
		require.Contains(t, d.ErrorMsg, says)
	}
	require.Equal(t, 3+1+1+20+1+1, ex.Calls(), "only what may pass is tried again, and a server that is away for longer")
	failed, err := v.KB("k").Documents(ctx, engine.DocumentsRequest{Status: engine.StatusFailed})
	require.NoError(t, err)
	require.Len(t, failed.Documents, 5)

	ex.Before = nil
	_, err = v.KB("k").Retry(ctx, "down")
	require.NoError(t, err)
	v.Wait()
	d, err := v.KB("k").Document(ctx, "down")
	require.NoError(t, err)
	require.Equal(t, engine.StatusProcessed, d.Status)
	require.Empty(t, d.ErrorMsg)
}

// A base keeps to the embedding model of its first vector.
func TestAdd_EmbeddingIsPinned(t *testing.T) {
	v := enginetest.New(t, engine.Options{})
	v.Add("k", "d", "Text.")
	v.Wait()
	v.Options.Embedder = &enginetest.Embedder{Name: "other"}
	v.Restart()
	_, err := v.KB("k").Add(ctx, []engine.DocumentInput{{Content: []byte("More.")}}, "insert")
	require.ErrorIs(t, err, engine.ErrEmbeddingPinned)
	require.ErrorContains(t, err, "scripted (16 dimensions)")
	require.ErrorContains(t, err, "other")
	v.Options.Embedder = &enginetest.Embedder{Dimension: 8}
	v.Restart()
	v.Add("k", "e", "More.")
	v.Wait()
	d, err := v.KB("k").Document(ctx, "e")
	require.NoError(t, err)
	require.Equal(t, engine.StatusFailed, d.Status)
	require.Contains(t, d.ErrorMsg, "made with scripted (16 dimensions), the server now has scripted (8 dimensions)")
	_, err = v.KB("k").Query(ctx, engine.Query{Query: "What text?"})
	require.ErrorIs(t, err, engine.ErrEmbeddingPinned)
	require.ErrorContains(t, err, "scripted (16 dimensions), the server now has scripted (8 dimensions)")
}

// The queue has room for so many and says so; work of another tenant is not
// behind all of it.
func TestAdd_QueueFull(t *testing.T) {
	gate := enginetest.NewGate()
	ex := &enginetest.Extractor{}
	ex.Before = gate.Hold
	v := enginetest.New(t, engine.Options{Extractor: ex, Workers: 1, MaxPending: 2})
	v.Add("k", "a", "Text a.")
	gate.Arrived()
	v.Add("k", "b", "Text b.", "c", "Text c.")
	_, err := v.KB("k").Add(ctx, []engine.DocumentInput{{ID: "d", Content: []byte("Text d.")}}, "insert")
	require.ErrorIs(t, err, engine.ErrQueueFull)
	gate.Open()
	v.Wait()
	v.Add("k", "d", "Text d.")
}
