package engine_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
)

// slidesParser makes a text of files called *.slides: each line in capitals, on a
// slide of its own. One that says "broken" cannot be read while broken is set.
func slidesParser(broken *atomic.Bool) engine.Parser {
	p := enginetest.Parser
	return engine.Parser{
		Sniff: func(name string, data []byte) (engine.FileType, error) {
			if strings.HasSuffix(name, ".slides") {
				return engine.FileType{Media: "application/x-slides"}, nil
			}
			return p.Sniff(name, data)
		},
		Parse: func(ctx context.Context, f engine.File) (*engine.Parsed, error) {
			if !strings.HasSuffix(f.Name, ".slides") {
				return p.Parse(ctx, f)
			}
			if broken.Load() && strings.Contains(string(f.Data), "broken") {
				return nil, fmt.Errorf("%w: slide 1", engine.ErrNotText)
			}
			out := &engine.Parsed{Text: strings.ToUpper(string(f.Data)), Verbatim: true, Warnings: []string{"pictures were left out"}}
			if strings.TrimSpace(out.Text) == "" {
				return &engine.Parsed{Warnings: out.Warnings}, nil
			}
			at := 0
			for i, line := range strings.SplitAfter(out.Text, "\n") {
				if line != "" {
					out.Blocks = append(out.Blocks, engine.Block{Text: line, Start: at, End: at + len(line), Place: engine.Place{Slide: i + 1}})
				}
				at += len(line)
			}
			return out, nil
		},
	}
}

func contentOf(t *testing.T, kb *engine.KB, id string) string {
	t.Helper()
	_, n, r, err := kb.Content(ctx, id)
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Len(t, b, n)
	return string(b)
}

func originalOf(t *testing.T, kb *engine.KB, id string) (string, error) {
	t.Helper()
	_, _, n, r, err := kb.Original(ctx, id)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Len(t, b, n)
	return string(b), nil
}

// The content of a file that is not its own text is the text made of it, and offsets
// and places are into that. The file goes when the text is there, unless it is kept.
func TestOriginal(t *testing.T) {
	broken := new(atomic.Bool)
	v := enginetest.New(t, engine.Options{Parser: slidesParser(broken), ChunkTokens: 64})
	kb := v.KB("k")
	yes := true
	put := func(id, name, text string, keep *bool) {
		t.Helper()
		_, err := kb.Add(ctx, []engine.DocumentInput{{ID: id, Name: name, FilePath: name, Content: []byte(text), KeepOriginal: keep}}, "upload")
		require.NoError(t, err)
		v.Wait()
	}
	const talk = "Ada met Babbage.\nThe engine was never built.\nIt is in London now.\n"
	put("talk", "talk.slides", talk, nil)
	put("kept", "kept.slides", talk, &yes)
	put("note", "note.txt", "Ada wrote.", nil)

	for id, want := range map[string]string{"talk": strings.ToUpper(talk), "kept": strings.ToUpper(talk), "note": "Ada wrote."} {
		require.Equal(t, want, contentOf(t, kb, id))
		page, err := kb.Chunks(ctx, id, "", 0)
		require.NoError(t, err)
		for _, c := range page.Chunks {
			require.Equal(t, want[c.Start:c.End], c.Content)
		}
		if id != "note" {
			require.Equal(t, []int{1, 2, 3}, []int{page.Chunks[0].Slide, page.Chunks[1].Slide, page.Chunks[2].Slide})
		}
	}
	d, err := kb.Document(ctx, "talk")
	require.NoError(t, err)
	require.Equal(t, engine.Document{ContentType: "application/x-slides", ContentLength: len(talk), TextLength: len(talk), ContentSummary: "ADA MET BABBAGE. THE ENGINE WAS NEVER BUILT. IT IS IN LONDON NOW.", Warnings: []string{"pictures were left out"}},
		engine.Document{ContentType: d.ContentType, ContentLength: d.ContentLength, TextLength: d.TextLength, ContentSummary: d.ContentSummary, Warnings: d.Warnings, Original: d.Original})

	_, err = originalOf(t, kb, "talk")
	require.ErrorIs(t, err, engine.ErrNoOriginal)
	for id, want := range map[string]string{"kept": talk, "note": "Ada wrote."} {
		got, err := originalOf(t, kb, id)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}

	// Metadata alone change nothing of it; asking to keep the file now takes it in again.
	_, err = kb.Update(ctx, "kept", engine.DocumentInput{Name: "kept.slides", Content: []byte(talk), Metadata: map[string]any{"k": "v"}})
	require.NoError(t, err)
	v.Wait()
	got, err := originalOf(t, kb, "kept")
	require.NoError(t, err)
	require.Equal(t, talk, got)
	a, err := kb.Update(ctx, "talk", engine.DocumentInput{Name: "talk.slides", Content: []byte(talk), KeepOriginal: &yes})
	require.NoError(t, err)
	require.Equal(t, engine.ResultUpdated, a.Documents[0].Result)
	v.Wait()
	got, err = originalOf(t, kb, "talk")
	require.NoError(t, err)
	require.Equal(t, talk, got)

	// The answer names the slide.
	out, err := kb.Query(ctx, engine.Query{Query: "Where is it in London now?", Mode: engine.ModeNaive})
	require.NoError(t, err)
	require.Equal(t, 3, out.References[0].Slide, out.References[0].Snippet)
}

// A file that cannot be read fails with the reason, keeps its bytes, and a retry
// reads it again; a text that takes several transactions comes back whole.
func TestOriginal_FailsAndRetries(t *testing.T) {
	broken := new(atomic.Bool)
	broken.Store(true)
	v := enginetest.New(t, engine.Options{Parser: slidesParser(broken), ChunkTokens: 8000})
	kb := v.KB("k")
	large := "broken " + strings.Repeat("12345678 ", 130_000)
	_, err := kb.Add(ctx, []engine.DocumentInput{
		{ID: "large", Name: "l.slides", Content: []byte(large)}, {ID: "blank", Name: "b.slides", Content: []byte(" \n")},
	}, "upload")
	require.NoError(t, err)
	v.Wait()
	for id, says := range map[string]string{"large": "slide 1", "blank": "pictures were left out"} {
		d, err := kb.Document(ctx, id)
		require.NoError(t, err)
		require.Equal(t, engine.StatusFailed, d.Status)
		require.Contains(t, d.ErrorMsg, says)
		_, _, _, err = kb.Content(ctx, id)
		require.ErrorIs(t, err, engine.ErrState)
	}
	got, err := originalOf(t, kb, "large")
	require.NoError(t, err)
	require.Equal(t, large, got)
	v.Check()

	broken.Store(false)
	_, err = kb.Retry(ctx, "large")
	require.NoError(t, err)
	v.Wait()
	require.Equal(t, strings.ToUpper(large), contentOf(t, kb, "large"))
	before := v.Dump("k")

	// An update that cannot be read leaves what readers see, and can be taken back.
	broken.Store(true)
	_, err = kb.Update(ctx, "large", engine.DocumentInput{Name: "l.slides", Content: []byte("broken again")})
	require.NoError(t, err)
	v.Wait()
	require.Equal(t, strings.ToUpper(large), contentOf(t, kb, "large"))
	require.Equal(t, before, v.Dump("k"))
	v.Check()
	_, err = kb.Delete(ctx, []string{"large", "blank"}, false)
	require.NoError(t, err)
	v.Wait()
	v.Check()
}

// Files of one tenant that hang do not take every worker from another.
func TestParse_TenantsTakeTurns(t *testing.T) {
	hang := make(chan struct{})
	p := slidesParser(new(atomic.Bool))
	read := p.Parse
	p.Parse = func(ctx context.Context, f engine.File) (*engine.Parsed, error) {
		if strings.Contains(string(f.Data), "hangs") {
			select {
			case <-hang:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return read(ctx, f)
	}
	v := enginetest.New(t, engine.Options{Parser: p, Workers: 4})
	for i := range 8 {
		_, err := v.KB("k").Add(ctx, []engine.DocumentInput{{ID: fmt.Sprint(i), Name: "a.slides", Content: []byte(fmt.Sprint("hangs ", i))}}, "upload")
		require.NoError(t, err)
	}
	other := v.KBOf("other", "k")
	_, err := other.Add(ctx, []engine.DocumentInput{{ID: "a", Name: "a.slides", Content: []byte("Ada")}}, "upload")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		d, err := other.Document(ctx, "a")
		return err == nil && d.Status == engine.StatusProcessed
	}, time.Minute, 5*time.Millisecond)
	close(hang)
	v.Wait()
	d, err := v.KB("k").Document(ctx, "7")
	require.NoError(t, err)
	require.Equal(t, engine.StatusProcessed, d.Status)
}
