package engine_test

import (
	"context"
	"fmt"
	"io"
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

	// Just within the room for records, and over it: refused before anything is written.
	for i := range docs {
		docs[i].ID = "full-" + docs[i].ID
		docs[i].FilePath = strings.Repeat("p", 300)
	}
	_, err = v.KB("k").Add(ctx, docs, "insert")
	require.NoError(t, err)
	v.Wait()
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
	require.Equal(t, map[string]int{"all": 7, "pending": 0, "processing": 0, "processed": 7, "partial": 0, "failed": 0, "cancelled": 0}, counts)

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
