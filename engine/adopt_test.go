package engine_test

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
)

// letter is a document that was cut and read elsewhere; its second chunk has no vector.
func letter(by string) engine.Adoption {
	text := "Ada wrote to Babbage.\n\nBabbage built an engine."
	return engine.Adoption{
		ID: "letter", FilePath: "letter.txt", Text: text, Metadata: map[string]any{"year": 1843.0}, EmbeddedBy: by,
		Created: time.Date(2025, 5, 6, 7, 8, 9, 0, time.UTC), TrackID: "insert_20250506_070809_0a1b2c3d",
		Chunks: []engine.AdoptedChunk{
			{Text: text[:21], End: 21, Vector: []float32{0, 1, 0}, Said: engine.Extraction{
				Entities:  []engine.EntityMention{{Name: "Ada", Type: "person", Description: "She wrote."}},
				Relations: []engine.RelationMention{{Source: "Ada", Target: "Babbage", Keywords: "letters", Description: "She wrote to him.", Weight: 2}},
			}},
			{Text: text[23:], Start: 23, End: len(text), Said: engine.ReadReplies("entity<|#|>Babbage<|#|>person<|#|>He built.\n<|COMPLETE|>")},
		},
	}
}

// dim3 stands for a model server: its vectors have three dimensions, and it remembers
// what it was asked.
type dim3 struct {
	mu    sync.Mutex
	asked []string
}

func (e *dim3) Embed(_ context.Context, texts []string) ([][]float32, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = append(e.asked, texts...)
	out := make([][]float32, len(texts))
	for i := range out {
		out[i] = []float32{1, 0, 0}
	}
	return out, nil
}

func (e *dim3) Model() string { return "dim3" }
func (e *dim3) Pure() bool    { return false }

// chunks are the texts asked for that are chunks of a document.
func (e *dim3) chunks(a engine.Adoption) (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.asked {
		for _, c := range a.Chunks {
			if c.Text == x {
				out = append(out, x)
			}
		}
	}
	return out
}

func adoptingEnv(t *testing.T, offline bool) (*enginetest.Env, *enginetest.Chatter, *dim3) {
	t.Helper()
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "<|COMPLETE|>", nil }}
	emb := &dim3{}
	v := enginetest.New(t, engine.Options{Offline: offline, Embedder: emb, Extractor: engine.ModelExtractor(chat, engine.ExtractOptions{})})
	return v, chat, emb
}

// An adopted document is what it was given as, and an ordinary text from then on.
func TestAdopt_IsADocument(t *testing.T) {
	v, chat, emb := adoptingEnv(t, false)
	kb := v.KB("k")
	a := letter("dim3")
	got, err := kb.Adopt(ctx, a)
	require.NoError(t, err)
	require.Equal(t, engine.ResultCreated, got.Documents[0].Result)
	v.Wait()
	require.Zero(t, chat.Calls())
	require.Equal(t, []string{"Babbage built an engine."}, emb.chunks(a), "the other chunk came with its vector")

	d := document(t, v, "k", "letter")
	require.Equal(t, engine.StatusProcessed, d.Status)
	require.Equal(t, []int{2, 2, 1, len(a.Text)}, []int{d.ChunksCount, d.Entities, d.Relations, d.ContentLength})
	require.Equal(t, a.Created, d.CreatedAt)
	require.Equal(t, a.TrackID, d.TrackID)
	track, err := kb.Track(ctx, a.TrackID)
	require.NoError(t, err)
	require.Len(t, track.Documents, 1)
	_, n, r, err := kb.Content(ctx, "letter")
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, a.Text, string(b))
	require.Equal(t, len(a.Text), n)
	_, _, _, _, err = kb.Original(ctx, "letter")
	require.ErrorIs(t, err, engine.ErrNoOriginal)
	page, err := kb.Chunks(ctx, "letter", "", 0)
	require.NoError(t, err)
	for i, c := range page.Chunks {
		require.Equal(t, []any{a.Chunks[i].Text, a.Chunks[i].Start, a.Chunks[i].End}, []any{c.Content, c.Start, c.End})
	}
	e, err := kb.Entity(ctx, "ada", nil)
	require.NoError(t, err)
	require.Equal(t, "She wrote.", e.Properties["description"])

	// Again it is unchanged, and so it is for whoever sends its text.
	before := v.Dump("k")
	got, err = kb.Adopt(ctx, a)
	require.NoError(t, err)
	require.Equal(t, engine.ResultUnchanged, got.Documents[0].Result)
	text := engine.DocumentInput{ID: "letter", FilePath: "letter.txt", Content: []byte(a.Text), Metadata: a.Metadata}
	got, err = kb.Add(ctx, []engine.DocumentInput{text}, "insert")
	require.NoError(t, err)
	require.Equal(t, engine.ResultUnchanged, got.Documents[0].Result)
	require.Equal(t, before, v.Dump("k"))

	// New metadata leave what came with it.
	text.Metadata = map[string]any{"year": 1844.0}
	_, err = kb.Update(ctx, "letter", text)
	require.NoError(t, err)
	v.Wait()
	require.Zero(t, chat.Calls())
	require.Equal(t, map[string]any{"year": 1844.0}, document(t, v, "k", "letter").Metadata)
	require.Equal(t, 2, document(t, v, "k", "letter").ChunksCount)

	// Adopted from something else it is replaced, until somebody gives it another text.
	a.Chunks[0].Said.Entities[0].Description = "She wrote letters."
	got, err = kb.Adopt(ctx, a)
	require.NoError(t, err)
	require.Equal(t, engine.ResultUpdated, got.Documents[0].Result)
	v.Wait()
	e, err = kb.Entity(ctx, "ada", nil)
	require.NoError(t, err)
	require.Equal(t, "She wrote letters.", e.Properties["description"])
	text.Content = []byte("Something else.")
	_, err = kb.Update(ctx, "letter", text)
	require.NoError(t, err)
	v.Wait()
	require.Equal(t, 1, chat.Calls())
	_, err = kb.Adopt(ctx, a)
	require.ErrorIs(t, err, engine.ErrConflict)
}

// Without models nothing waits in vain and nothing is asked: what needs a vector, and
// every other document, is there for the next engine. A vector of another model or of
// another length is made anew.
func TestAdopt_Offline(t *testing.T) {
	v, chat, emb := adoptingEnv(t, true)
	whole := letter("dim3")
	whole.Chunks[1].Vector = []float32{0, 0, 1}
	half, foreign, long := letter("dim3"), letter("other"), letter("dim3")
	half.ID, foreign.ID, long.ID = "half", "foreign", "long"
	long.Chunks[0].Vector, long.Chunks[1].Vector = []float32{1, 0}, []float32{1, 0, 0, 0}
	for _, a := range []engine.Adoption{whole, half, foreign, long} {
		_, err := v.KB("k").Adopt(ctx, a)
		require.NoError(t, err)
		v.Wait()
	}
	v.Add("k", "text", "Ada wrote.")
	v.Wait()
	state := func() (out []engine.Status) {
		for _, id := range []string{"letter", "half", "foreign", "long", "text"} {
			out = append(out, document(t, v, "k", id).Status)
		}
		return out
	}
	p, done := engine.StatusPending, engine.StatusProcessed
	require.Equal(t, []engine.Status{done, p, p, p, p}, state())
	require.Zero(t, chat.Calls())
	require.Empty(t, emb.asked)

	v.Options.Offline = false
	v.Restart()
	v.Wait()
	require.Equal(t, []engine.Status{done, done, done, done, done}, state())
	require.Equal(t, 1, chat.Calls(), "only what came as a text is read")
	require.Len(t, emb.chunks(whole), 1+2+2, "one of half, both of the model and of the lengths that do not fit")
}

func TestAdopt_Refusals(t *testing.T) {
	v, _, _ := adoptingEnv(t, true)
	for field, spoil := range map[string]func(*engine.Adoption){
		"id":               func(a *engine.Adoption) { a.ID = "" },
		"text":             func(a *engine.Adoption) { a.Text += "\x00" },
		"chunks":           func(a *engine.Adoption) { a.Chunks = nil },
		"chunks[1].text":   func(a *engine.Adoption) { a.Chunks[1].Text = " " },
		"chunks[1].start":  func(a *engine.Adoption) { a.Chunks[1].End = len(a.Text) + 1 },
		"chunks[0].vector": func(a *engine.Adoption) { a.Chunks[0].Vector = []float32{0, 0} },
		"track_id":         func(a *engine.Adoption) { a.TrackID = strings.Repeat("x", 129) },
	} {
		a := letter("dim3")
		spoil(&a)
		_, err := v.KB("k").Adopt(ctx, a)
		var f *engine.FieldError
		require.ErrorAs(t, err, &f, field)
		require.Equal(t, field, f.Field)
	}
}
