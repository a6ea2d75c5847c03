package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

var ctx = context.Background()

// long is a text of n sentences, each with a name of its own, and so of several
// chunks where chunks are small.
func long(name string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Here %s%d writes a sentence of a dozen words to be cut somewhere.\n\n", name, i)
	}
	return b.String()
}

// small cuts texts into chunks of about one sentence and commits each by itself.
func small(o engine.Options) engine.Options {
	o.ChunkTokens, o.ChunkOverlap, o.EmbedBatch, o.Workers = 24, 1, 1, 1
	return o
}

// Insert A, B, delete A equals insert B; the record of B is in it.
func TestDelete_IsSubtraction(t *testing.T) {
	v := enginetest.New(t, engine.Options{})
	v.Add("both", "a", "Ada wrote to Babbage.", "b", "Babbage answered Ada and Lovelace.")
	v.Add("one", "b", "Babbage answered Ada and Lovelace.")
	v.Wait()
	require.NotEqual(t, v.Dump("one"), v.Dump("both"))
	d, err := v.KB("both").Delete(ctx, []string{"a"}, false)
	require.NoError(t, err)
	require.Equal(t, []engine.DeletedDocument{{DocID: "a", Result: "deleted", Chunks: 1}}, d.Documents)
	require.Equal(t, v.Dump("one"), v.Dump("both"))
	require.Contains(t, v.Dump("one"), `relation "Babbage" -> "Ada" weight=1`)
}

// What is known and equal changes not one byte of the store.
func TestAdd_AgainChangesNothing(t *testing.T) {
	ex := &enginetest.Extractor{}
	v := enginetest.New(t, engine.Options{Extractor: ex})
	in := []engine.DocumentInput{
		{Content: []byte("Ada wrote to Babbage."), FilePath: "a.txt", Metadata: map[string]any{"year": 1842, "big": uint64(1) << 62, "deep": map[string]any{"x": []any{"y"}}}},
		{ID: "b", Content: []byte("Babbage answered.")},
	}
	first, err := v.KB("k").Add(ctx, in, "insert")
	require.NoError(t, err)
	require.Equal(t, "processing", first.Status)
	v.Wait()
	space := v.Space(enginetest.Tenant, "k", tenancy.PermKBAccess)
	usage, err := space.Usage(ctx)
	require.NoError(t, err)
	dump, calls := v.Dump("k"), ex.Calls()

	again, err := v.KB("k").Add(ctx, in, "insert")
	require.NoError(t, err)
	require.Equal(t, "success", again.Status)
	require.Equal(t, first.TrackID, again.TrackID)
	for i, d := range again.Documents {
		require.Equal(t, engine.ResultUnchanged, d.Result)
		require.Equal(t, engine.StatusProcessed, d.Status)
		require.Equal(t, first.Documents[i].DocID, d.DocID)
	}
	after, err := space.Usage(ctx)
	require.NoError(t, err)
	require.Equal(t, usage, after)
	require.Equal(t, dump, v.Dump("k"))
	require.Equal(t, calls, ex.Calls())
}

// The rules of a document's identity, spec/api.md.
func TestAdd_Identity(t *testing.T) {
	v := enginetest.New(t, engine.Options{})
	kb := v.KB("k")
	doc := func(id, source, text string, meta map[string]any) engine.DocumentInput {
		return engine.DocumentInput{ID: id, FilePath: source, Content: []byte(text), Metadata: meta}
	}
	one, two := map[string]any{"v": 1}, map[string]any{"v": 2}
	for _, x := range []struct {
		name string
		in   []engine.DocumentInput
		want []engine.Result // nil: refused as a conflict
	}{
		{"new", []engine.DocumentInput{doc("a", "", "Text.", one)}, []engine.Result{engine.ResultCreated}},
		{"known and equal", []engine.DocumentInput{doc("a", "", "Text.", one)}, []engine.Result{engine.ResultUnchanged}},
		{"known, other content", []engine.DocumentInput{doc("a", "", "Other.", one)}, nil},
		{"known, other metadata", []engine.DocumentInput{doc("a", "", "Text.", two)}, nil},
		{"refused whole", []engine.DocumentInput{doc("fresh", "", "New.", nil), doc("a", "", "Other.", one)}, nil},
		{"one id twice, equal", []engine.DocumentInput{doc("b", "", "B.", nil), doc("b", "", "B.", nil)}, []engine.Result{engine.ResultCreated, engine.ResultUnchanged}},
		{"one id twice, different", []engine.DocumentInput{doc("c", "", "C.", nil), doc("c", "", "D.", nil)}, nil},
		{"no id: source and text are one", []engine.DocumentInput{doc("", "s", "T.", nil), doc("", "s", "T.", nil)}, []engine.Result{engine.ResultCreated, engine.ResultUnchanged}},
		{"no id: other content of one source", []engine.DocumentInput{doc("", "s", "T.", nil), doc("", "s", "U.", nil)}, []engine.Result{engine.ResultUnchanged, engine.ResultCreated}},
		{"no id: the parts do not run together", []engine.DocumentInput{doc("", "ab", "c", nil), doc("", "a", "bc", nil)}, []engine.Result{engine.ResultCreated, engine.ResultCreated}},
	} {
		t.Run(x.name, func(t *testing.T) {
			a, err := kb.Add(ctx, x.in, "insert")
			if x.want == nil {
				require.ErrorIs(t, err, engine.ErrConflict)
				require.ErrorContains(t, err, "PUT")
				return
			}
			require.NoError(t, err)
			for i, d := range a.Documents {
				require.Equal(t, x.want[i], d.Result)
			}
		})
	}
	_, err := kb.Document(ctx, "fresh")
	require.ErrorIs(t, err, engine.ErrNotFound)
	a, err := kb.Add(ctx, []engine.DocumentInput{doc("", "a.txt", "x", nil)}, "upload")
	require.NoError(t, err)
	require.Regexp(t, `^doc-[0-9a-f]{32}$`, a.DocID)
	require.Regexp(t, `^upload_\d{8}_\d{6}_[0-9a-f]{8}$`, a.TrackID)
}

// Whatever is wrong is named with its place and its limit, and nothing is stored.
func TestAdd_BadInput(t *testing.T) {
	v := enginetest.New(t, engine.Options{MaxDocumentBytes: 1000, MaxTexts: 3, MaxMetadataBytes: 100, MaxCallMetadata: 150})
	kb := v.KB("k")
	ok := engine.DocumentInput{Content: []byte("Fine.")}
	deep := map[string]any{}
	for range 20 {
		deep = map[string]any{"d": deep}
	}
	with := func(f func(*engine.DocumentInput)) []engine.DocumentInput {
		d := ok
		f(&d)
		return []engine.DocumentInput{d}
	}
	for _, x := range []struct {
		name  string
		in    []engine.DocumentInput
		field string
		class error
		says  string
	}{
		{"no documents", nil, "texts", engine.ErrBadInput, "at least one"},
		{"too many", []engine.DocumentInput{ok, ok, ok, ok}, "texts", engine.ErrBadInput, "at most 3"},
		{"empty", with(func(d *engine.DocumentInput) { d.Content = nil }), "text", engine.ErrEmptyDocument, "empty"},
		{"only space", with(func(d *engine.DocumentInput) { d.Content = []byte(" \n") }), "text", engine.ErrEmptyDocument, ""},
		{"the second is empty", []engine.DocumentInput{ok, {}}, "texts[1]", engine.ErrEmptyDocument, ""},
		{"too large", with(func(d *engine.DocumentInput) { d.Content = make([]byte, 1001) }), "text", engine.ErrTooLarge, "1000"},
		{"no UTF-8", with(func(d *engine.DocumentInput) { d.Content = []byte("a\xff") }), "text", engine.ErrNotText, ""},
		{"NUL", with(func(d *engine.DocumentInput) { d.Content = []byte("a\x00b") }), "text", engine.ErrNotText, ""},
		{"type", with(func(d *engine.DocumentInput) { d.Name = "a.pdf" }), "text", engine.ErrUnsupportedType, ".txt"},
		{"id with a slash", with(func(d *engine.DocumentInput) { d.ID = "a/b" }), "id", engine.ErrBadInput, "allowed"},
		{"id with a space", with(func(d *engine.DocumentInput) { d.ID = "a b" }), "id", engine.ErrBadInput, ""},
		{"id of two dots", with(func(d *engine.DocumentInput) { d.ID = ".." }), "id", engine.ErrBadInput, ""},
		{"long id", with(func(d *engine.DocumentInput) { d.ID = strings.Repeat("x", 256) }), "id", engine.ErrBadInput, "255"},
		{"long source", with(func(d *engine.DocumentInput) { d.FilePath = strings.Repeat("x", 1025) }), "file_source", engine.ErrBadInput, "1024"},
		{"source with a line break", with(func(d *engine.DocumentInput) { d.FilePath = "a\nb" }), "file_source", engine.ErrBadInput, "control"},
		{"large metadata", with(func(d *engine.DocumentInput) { d.Metadata = map[string]any{"a": strings.Repeat("x", 100)} }), "metadata", engine.ErrTooLarge, "100"},
		{"deep metadata", with(func(d *engine.DocumentInput) { d.Metadata = deep }), "metadata", engine.ErrBadInput, "8"},
		{"metadata that is no JSON", with(func(d *engine.DocumentInput) { d.Metadata = map[string]any{"f": func() {}} }), "metadata", engine.ErrBadInput, "JSON"},
		{"metadata of the call", []engine.DocumentInput{
			{Content: []byte("1"), Metadata: map[string]any{"a": strings.Repeat("x", 80)}},
			{Content: []byte("2"), Metadata: map[string]any{"a": strings.Repeat("x", 80)}},
		}, "metadata", engine.ErrTooLarge, "150"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := kb.Add(ctx, x.in, "insert")
			var f *engine.FieldError
			require.ErrorAs(t, err, &f)
			require.Equal(t, x.field, f.Field)
			require.ErrorIs(t, err, x.class)
			require.ErrorContains(t, err, x.says)
		})
	}
	usage, err := v.Space(enginetest.Tenant, "k", tenancy.PermKBAccess).Usage(ctx)
	require.NoError(t, err)
	require.Zero(t, usage)
}

// A call of the most documents with the most to say of them goes in whole.
func TestAdd_LargestCall(t *testing.T) {
	v := enginetest.New(t, engine.Options{})
	docs := make([]engine.DocumentInput, 1000)
	for i := range docs {
		docs[i] = engine.DocumentInput{
			ID: fmt.Sprintf("doc-%04d", i), FilePath: fmt.Sprintf("folder/file-%04d.txt", i),
			Content:  []byte(long(fmt.Sprintf("Name%d-", i), 7)),
			Metadata: map[string]any{"title": fmt.Sprintf("The document of number %d", i), "topic": strings.Repeat("t", 150)},
		}
	}
	a, err := v.KB("k").Add(ctx, docs, "insert")
	require.NoError(t, err)
	require.Len(t, a.Documents, 1000)
	v.Wait()
	counts, err := v.KB("k").StatusCounts(ctx)
	require.NoError(t, err)
	require.Equal(t, 1000, counts["processed"])
	d, err := v.KB("k").Document(ctx, "doc-0999")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(d.ContentSummary, "Here Name999-0 writes"), d.ContentSummary)

	// One over the room for records is refused before anything is written.
	for i := range docs {
		docs[i].ID = "other-" + docs[i].ID
		docs[i].FilePath = strings.Repeat("p", 1000)
	}
	_, err = v.KB("k").Add(ctx, docs, "insert")
	require.ErrorIs(t, err, engine.ErrTooLarge)
}

// A content that takes several transactions comes back byte for byte, and is not
// there for readers before it is whole.
func TestAdd_LargeContent(t *testing.T) {
	v := enginetest.New(t, engine.Options{ChunkTokens: 8000})
	text := long("Large", 40_000) // 2.8 MB
	a, err := v.KB("k").Add(ctx, []engine.DocumentInput{{ID: "large", Content: []byte(text)}, {ID: "note", Content: []byte("Small.")}}, "insert")
	require.NoError(t, err)
	require.Len(t, a.Documents, 2)
	v.Wait()
	_, n, r, err := v.KB("k").Content(ctx, "large")
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, len(text), n)
	require.Equal(t, text, string(got))
	d, err := v.KB("k").Document(ctx, "large")
	require.NoError(t, err)
	require.Equal(t, engine.StatusProcessed, d.Status, d.ErrorMsg)
	require.Greater(t, d.ChunksCount, 64, "more than one group")
	require.Equal(t, 40_000, d.Entities-1, "every name and the word Here")
}

// Two large calls of one id: one is taken, the other refused, and what the
// refused one had stored is swept away.
func TestAdd_LargeConflictLeavesNothing(t *testing.T) {
	v := enginetest.New(t, engine.Options{ChunkTokens: 8000})
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = v.KB("k").Add(ctx, []engine.DocumentInput{{ID: "x", Content: []byte(long(fmt.Sprint("N", i), 25_000))}}, "insert")
		})
	}
	wg.Wait()
	taken := 0
	for _, err := range errs {
		if err == nil {
			taken++
		} else {
			require.ErrorIs(t, err, engine.ErrConflict)
		}
	}
	require.Equal(t, 1, taken)
	v.Wait()
	_, err := v.KB("k").Delete(ctx, []string{"x"}, false)
	require.NoError(t, err)
	v.Wait()
	require.Empty(t, v.Dump("k"))
}

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
	v.Add("k", "missing", "Missing one.", "down", "Down one.", "panic", "Panic one.", "parser", "panic in the parser", "fine", "Fine one.")
	v.Wait()
	for id, says := range map[string]string{
		"flaky": "", "fine": "", "missing": "llama", "down": "timeout", "panic": "internal error", "parser": "internal error while reading",
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
	require.Equal(t, 3+1+4+1+1, ex.Calls(), "only what may pass is tried again")
	failed, err := v.KB("k").Documents(ctx, engine.DocumentsRequest{Status: engine.StatusFailed})
	require.NoError(t, err)
	require.Len(t, failed.Documents, 4)

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
	require.Contains(t, d.ErrorMsg, "16 dimensions")
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

// Pages, tracks and counts agree with what was sent, in its order.
func TestReads(t *testing.T) {
	v := enginetest.New(t, engine.Options{})
	kb := v.KB("k")
	var pairs []string
	for i := range 7 {
		pairs = append(pairs, fmt.Sprintf("d%d", i), fmt.Sprintf("Text %d.", i))
	}
	a := v.Add("k", pairs...)
	v.Wait()
	var got []string
	req := engine.DocumentsRequest{Status: engine.StatusProcessed, Limit: 3}
	for {
		page, err := kb.Documents(ctx, req)
		require.NoError(t, err)
		for _, d := range page.Documents {
			got = append(got, d.DocID)
		}
		if req.Cursor = page.NextCursor; req.Cursor == "" {
			break
		}
	}
	require.Equal(t, []string{"d0", "d1", "d2", "d3", "d4", "d5", "d6"}, got)
	track, err := kb.Track(ctx, a.TrackID)
	require.NoError(t, err)
	require.Equal(t, 7, track.TotalCount)
	require.Equal(t, map[engine.Status]int{engine.StatusProcessed: 7}, track.StatusSummary)
	require.Equal(t, "d0", track.Documents[0].DocID)
	counts, err := kb.StatusCounts(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"all": 7, "pending": 0, "processing": 0, "processed": 7, "failed": 0, "cancelled": 0}, counts)

	_, err = kb.Track(ctx, "insert_unknown")
	require.ErrorIs(t, err, engine.ErrNotFound)
	_, err = kb.Chunks(ctx, "unknown", "", 0)
	require.ErrorIs(t, err, engine.ErrNotFound)
	_, _, _, err = kb.Content(ctx, "unknown")
	require.ErrorIs(t, err, engine.ErrNotFound)
	for _, bad := range []engine.DocumentsRequest{{Limit: 201}, {Limit: -1}, {Cursor: "x"}, {Status: "odd"}} {
		_, err = kb.Documents(ctx, bad)
		require.ErrorIs(t, err, engine.ErrBadInput)
	}
	preview, err := kb.Delete(ctx, []string{"d0", "nobody", "d0"}, true)
	require.NoError(t, err)
	require.Equal(t, []engine.DeletedDocument{{"d0", "deleted", 1}, {"nobody", "not_found", 0}, {"d0", "not_found", 0}}, preview.Documents)
	gone, err := kb.Delete(ctx, []string{"d0", "nobody", "d0"}, false)
	require.NoError(t, err)
	require.Equal(t, preview.Documents, gone.Documents)
	_, err = kb.Delete(ctx, []string{"d0"}, false)
	require.ErrorIs(t, err, engine.ErrNotFound)
}

// A Space entered for reading does not write, whatever is called.
func TestKB_ReadingSpaceDoesNotWrite(t *testing.T) {
	v := enginetest.New(t, engine.Options{})
	v.Add("k", "d", "Text.")
	v.Wait()
	kb := v.Engine.KB(v.Space(enginetest.Tenant, "k", tenancy.PermDocumentRead))
	_, err := kb.Add(ctx, []engine.DocumentInput{{Content: []byte("More.")}}, "insert")
	require.ErrorIs(t, err, tenancy.ErrDenied)
	_, err = kb.Delete(ctx, []string{"d"}, false)
	require.ErrorIs(t, err, tenancy.ErrDenied)
}

// The list of changes forgets the oldest and says when it was asked for more.
func TestTouched_IsBounded(t *testing.T) {
	v := enginetest.New(t, engine.Options{})
	v.Add("k", "d", "Text.")
	v.Wait()
	space := v.Space(enginetest.Tenant, "k", tenancy.PermKBManage)
	n, now, ok, err := engine.TouchedSince(space, 0)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, 1, n)
	require.EqualValues(t, 1, now)
	for range 4 {
		require.NoError(t, engine.Touch(v.Engine, space, "d", 4000))
	}
	_, now, ok, err = engine.TouchedSince(space, 1)
	require.NoError(t, err)
	require.False(t, ok)
	require.EqualValues(t, 16_001, now)
	_, _, ok, err = engine.TouchedSince(space, now-engine.MaxTouched/2)
	require.NoError(t, err)
	require.True(t, ok)
}

// model is what a base should hold after a sequence of calls.
type model struct {
	visible, wanted map[string]string // id -> text
	cancelled       map[string]bool
}

// Any sequence of calls leaves what inserting its outcome into an empty base
// gives, and a base without a fault.
func TestRandomSequences(t *testing.T) {
	v := enginetest.New(t, small(engine.Options{Workers: 2}))
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		name := fmt.Sprintf("seq-%d", seed)
		m := model{map[string]string{}, map[string]string{}, map[string]bool{}}
		for range 12 {
			step(t, v, name, r, &m)
		}
		var pairs []string
		for id, text := range m.visible {
			pairs = append(pairs, id, text)
		}
		if len(pairs) > 0 {
			v.Add(name+"-fresh", pairs...)
			v.Wait()
			require.Equal(t, v.Dump(name+"-fresh"), v.Dump(name), "seed %d", seed)
		} else {
			require.Empty(t, v.Dump(name), "seed %d", seed)
		}
	}
}

func step(t *testing.T, v *enginetest.Env, name string, r *rand.Rand, m *model) {
	id := string(rune('a' + r.IntN(5)))
	text := long(strings.ToUpper(string(rune('a'+r.IntN(3)))), 1+r.IntN(3))
	kb := v.KB(name)
	in := engine.DocumentInput{ID: id, FilePath: id + ".txt", Content: []byte(text)}
	done := func() { v.Wait(); m.visible[id], m.wanted[id] = text, text; delete(m.cancelled, id) }
	old, known := m.wanted[id]
	switch op := r.IntN(10); {
	case op < 3:
		_, err := kb.Add(ctx, []engine.DocumentInput{in}, "insert")
		if known && old != text {
			require.ErrorIs(t, err, engine.ErrConflict)
			return
		}
		require.NoError(t, err)
		if !known {
			done()
		}
	case op < 7:
		_, err := kb.Update(ctx, id, in)
		if !known {
			require.ErrorIs(t, err, engine.ErrNotFound)
			return
		}
		require.NoError(t, err)
		if old == text {
			return
		}
		if op < 5 {
			done()
			return
		}
		// Cancelled at once: it may have been too late for that.
		m.wanted[id] = text
		delete(m.cancelled, id)
		if _, err := kb.Cancel(ctx, id); err != nil {
			require.ErrorIs(t, err, engine.ErrState)
			done()
			return
		}
		v.Wait()
		m.cancelled[id] = true
	case op == 7:
		_, err := kb.Retry(ctx, id)
		if !known {
			require.ErrorIs(t, err, engine.ErrNotFound)
			return
		}
		if !m.cancelled[id] {
			require.ErrorIs(t, err, engine.ErrState)
			return
		}
		require.NoError(t, err)
		text = old
		done()
	default:
		_, err := kb.Delete(ctx, []string{id}, false)
		if !known {
			require.ErrorIs(t, err, engine.ErrNotFound)
			return
		}
		require.NoError(t, err)
		delete(m.visible, id)
		delete(m.wanted, id)
		delete(m.cancelled, id)
	}
}

// Many at once on the same few ids: whatever comes out, it is whole.
func TestConcurrentChanges(t *testing.T) {
	v := enginetest.New(t, small(engine.Options{Workers: 4}))
	kb := v.KB("k")
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 3))
			for range 25 {
				id := string(rune('a' + r.IntN(4)))
				in := engine.DocumentInput{ID: id, Content: []byte(long(fmt.Sprint("W", r.IntN(3), "x"), 1+r.IntN(3)))}
				var err error
				switch r.IntN(5) {
				case 0, 1:
					_, err = kb.Add(ctx, []engine.DocumentInput{in}, "insert")
				case 2:
					_, err = kb.Update(ctx, id, in)
				case 3:
					_, err = kb.Delete(ctx, []string{id}, false)
				default:
					if _, err = kb.Cancel(ctx, id); err == nil {
						_, err = kb.Retry(ctx, id)
					}
				}
				for _, fine := range []error{engine.ErrConflict, engine.ErrNotFound, engine.ErrState} {
					if err != nil && errors.Is(err, fine) {
						err = nil
					}
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	v.Wait()
}
