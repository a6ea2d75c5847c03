package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// window is an embedding server whose model takes texts of so many bytes. It
// refuses a whole call for one text that is longer, as servers do.
type window struct {
	bytes   int
	vector  func(text string) []float32 // nil: told by a hash
	fault   func(texts []string) error
	batches [][]string // of the calls that were answered
	refused int
}

func (w *window) Model() string { return "window" }
func (w *window) Pure() bool    { return false }
func (w *window) Embed(_ context.Context, texts []string) ([][]float32, error) {
	for _, s := range texts {
		if len(s) > w.bytes {
			w.refused++
			return nil, fmt.Errorf("%w: %d bytes", ErrPromptTooLong, len(s))
		}
	}
	if w.fault != nil {
		if err := w.fault(texts); err != nil {
			return nil, err
		}
	}
	w.batches = append(w.batches, slices.Clone(texts))
	out := make([][]float32, len(texts))
	for i, s := range texts {
		out[i] = hashed(s)
		if w.vector != nil {
			out[i] = w.vector(s)
		}
	}
	return out, nil
}

func hashed(s string) []float32 {
	h := fnv.New64a()
	h.Write([]byte(s))
	v := make([]float32, 4)
	for i := range v {
		v[i] = float32(int16(h.Sum64()>>(16*i))) + 0.5
	}
	return v
}

func embedding(w *window) *Engine {
	return &Engine{o: Options{Embedder: w}, models: places{free: 1}}
}

// embedAll embeds texts with an Engine's own embedder.
func embedAll(e *Engine, u urgency, texts []string) ([][]float32, error) {
	return e.embedTexts(context.Background(), e.o.Embedder, u, texts)
}

// cosine of two vectors.
func cosineOf(a, b []float32) float64 {
	var dot float64
	for i := range a {
		dot += float64(a[i]) * float64(b[i])
	}
	return dot / length(a) / length(b)
}

// Every byte of a long text is embedded once, in parts that fit, and the vector
// is the mean direction of the parts by their length.
func TestEmbedTexts_LongTextsInParts(t *testing.T) {
	words := func(n int) string { return strings.Repeat("word ", n) + "end" }
	for name, text := range map[string]string{
		"words":               words(200),
		"one run":             strings.Repeat("x", 1000),
		"runes without space": strings.Repeat("語", 400),
		"four-byte runes":     strings.Repeat("𝕏", 300),
		"a space at one end":  " " + strings.Repeat("y", 999),
		"white space between": "front" + strings.Repeat(" ", 700) + "back",
		"not UTF-8":           strings.Repeat("\xbf", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			w := &window{bytes: 100}
			v, err := embedAll(embedding(w), forWork, []string{text})
			require.NoError(t, err)
			require.Len(t, v, 1)
			var parts []string
			for _, b := range w.batches {
				parts = append(parts, b...)
			}
			require.Equal(t, strings.Join(strings.Fields(text), ""), strings.Join(strings.Fields(strings.Join(parts, "")), ""), "nothing is left out or twice")
			for _, p := range parts {
				require.NotEmpty(t, strings.TrimSpace(p), "white space alone is never sent")
			}
			require.InDelta(t, 1, length(v[0]), 1e-6)
		})
	}
	t.Run("cut between words", func(t *testing.T) {
		w := &window{bytes: 100}
		_, err := embedAll(embedding(w), forWork, []string{words(200)})
		require.NoError(t, err)
		for _, b := range w.batches {
			for _, p := range b {
				for _, word := range strings.Fields(p) {
					require.Contains(t, []string{"word", "end"}, word)
				}
			}
		}
	})
	t.Run("weighted by length", func(t *testing.T) {
		// A part counts by its text's length, not by its vector's. The space goes
		// with the back.
		w := &window{bytes: 100, vector: func(s string) []float32 {
			if strings.HasPrefix(s, "a") {
				return []float32{1000, 0}
			}
			return []float32{0, 0.001}
		}}
		v, err := embedAll(embedding(w), forWork, []string{strings.Repeat("a", 70) + " " + strings.Repeat("b", 70)})
		require.NoError(t, err)
		require.InDelta(t, 70.0/71, v[0][0]/v[0][1], 1e-5)
	})
}

// The vector of a text does not depend on what it is sent together with, and the
// vectors come back in the order of the texts.
func TestEmbedTexts_AFunctionOfTheTextAlone(t *testing.T) {
	texts := []string{"short", strings.Repeat("long and ", 60), "other", strings.Repeat("語", 300), strings.Repeat("x", 100), "last"}
	alone := map[string][]float32{}
	for _, s := range texts {
		v, err := embedAll(embedding(&window{bytes: 100}), forWork, []string{s})
		require.NoError(t, err)
		alone[s] = v[0]
	}
	require.Equal(t, hashed("short"), alone["short"])
	for shift := range texts {
		order := append(slices.Clone(texts[shift:]), texts[:shift]...)
		v, err := embedAll(embedding(&window{bytes: 100}), forQuery, order)
		require.NoError(t, err)
		require.Len(t, v, len(order))
		for i, s := range order {
			require.Equal(t, alone[s], v[i], "text %d from %d on", i, shift)
		}
	}
}

// A text of a few bytes that the model finds too long, or white space alone, is
// refused for good after a bounded number of calls.
func TestEmbedTexts_RefusedForGood(t *testing.T) {
	for name, c := range map[string]struct {
		window int
		text   string
	}{
		"nothing fits":      {0, strings.Repeat("word ", 400)},
		"short":             {0, "word"},
		"at the bound":      {leastPart - 1, strings.Repeat("x", leastPart)},
		"white space alone": {10, strings.Repeat(" ", 300)},
	} {
		t.Run(name, func(t *testing.T) {
			w := &window{bytes: c.window}
			v, err := embedAll(embedding(w), forWork, []string{c.text})
			require.ErrorIs(t, err, ErrPromptTooLong)
			require.Nil(t, v)
			require.LessOrEqual(t, w.refused, 2*len(c.text)/leastPart+2)
		})
	}
	t.Run("over the bound is cut once more", func(t *testing.T) {
		_, err := embedAll(embedding(&window{bytes: leastPart}), forWork, []string{strings.Repeat("x", leastPart+1)})
		require.NoError(t, err)
	})
	t.Run("another fault is not halved", func(t *testing.T) {
		calls := 0
		w := &window{bytes: 100, fault: func([]string) error { calls++; return ErrModelDown }}
		_, err := embedAll(embedding(w), forWork, []string{"a", "b", "c", "d"})
		require.ErrorIs(t, err, ErrModelDown)
		require.Equal(t, 1, calls)
	})
	t.Run("a panic is an error", func(t *testing.T) {
		w := &window{bytes: 100, fault: func([]string) error { panic("adapter") }}
		e := embedding(w)
		_, err := embedAll(e, forWork, []string{"a"})
		require.ErrorIs(t, err, errPanicked)
		require.Equal(t, 1, e.models.free, "the place is given back")
	})
}

// Vectors that no search could use are the server's fault, which may pass.
func TestEmbedTexts_UselessVectors(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for name, c := range map[string]struct {
		vectors [][]float32
		says    string
	}{
		"too few":     {[][]float32{{1, 0}}, "1 vectors for 2 texts"},
		"too many":    {[][]float32{{1, 0}, {1, 0}, {1, 0}}, "3 vectors for 2 texts"},
		"none":        {nil, "0 vectors for 2 texts"},
		"two lengths": {[][]float32{{1, 0}, {1}}, "vector 1 has 1 numbers instead of 2"},
		"empty":       {[][]float32{{}, {}}, "vector 0 has 0 numbers"},
		"not numbers": {[][]float32{{1, 0}, {nan, 1}}, "vector 1 has no direction"},
		"infinite":    {[][]float32{{inf, 0}, {1, 0}}, "vector 0 has no direction"},
		"zero":        {[][]float32{{1, 0}, {0, 0}}, "vector 1 has no direction"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &Engine{o: Options{Embedder: fixed(c.vectors)}, models: places{free: 1}}
			_, err := embedAll(e, forWork, []string{"a", "b"})
			require.ErrorIs(t, err, ErrModelDown)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, "fixed:")
		})
	}
	t.Run("the largest and smallest numbers have a direction", func(t *testing.T) {
		e := &Engine{o: Options{Embedder: fixed{{math.MaxFloat32, math.MaxFloat32}, {math.SmallestNonzeroFloat32, 0}}}, models: places{free: 1}}
		v, err := embedAll(e, forWork, []string{"a", "b"})
		require.NoError(t, err)
		require.InDelta(t, math.Sqrt2/2, cosineOf(v[0], v[1]), 1e-6)
	})
	long := strings.Repeat("a", 100) + " " + strings.Repeat("b", 100)
	t.Run("parts of two lengths", func(t *testing.T) { // each came in a call of its own
		w := &window{bytes: 110, vector: func(s string) []float32 { return append([]float32{1}, make([]float32, len(s)%2)...) }}
		w.fault = func(texts []string) error {
			if len(texts) > 1 {
				return ErrPromptTooLong // a server that counts the whole call
			}
			return nil
		}
		_, err := embedAll(embedding(w), forWork, []string{long})
		require.ErrorIs(t, err, ErrModelDown)
	})
	t.Run("opposite parts", func(t *testing.T) {
		w := &window{bytes: 110, vector: func(s string) []float32 {
			if strings.HasPrefix(s, "a") {
				return []float32{1.01, 0}
			}
			return []float32{-1, 0}
		}}
		_, err := embedAll(embedding(w), forWork, []string{strings.Repeat("a", 100) + strings.Repeat("b", 100)})
		require.ErrorIs(t, err, ErrModelRefused)
		require.False(t, errors.Is(err, ErrModelDown), "another try would give the same")
	})
}

// fixed answers every call with the same vectors.
type fixed [][]float32

func (fixed) Model() string { return "fixed" }
func (fixed) Pure() bool    { return false }
func (f fixed) Embed(context.Context, []string) ([][]float32, error) {
	return f, nil
}
