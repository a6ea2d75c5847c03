package builtin

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"alcove/engine/builtin/wordtable"
)

func vector(t testing.TB, text string) []float32 {
	t.Helper()
	v, err := Embedder().Embed(context.Background(), []string{text})
	require.NoError(t, err)
	require.Len(t, v, 1)
	require.Len(t, v[0], EmbeddingDim)
	return v[0]
}

func cosine(a, b []float32) float64 {
	var s float64
	for i := range a {
		s += float64(a[i]) * float64(b[i])
	}
	return s
}

// Vectors under one name never change, on no machine: these are the bits.
func TestEmbedder_KnownAnswers(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "8247dad47bc0eee9"},
		{"The cat sat on the mat.", "ab621925061e1ac9"},
		{"Who directed the film that won in 1954?", "ab9dd10b34feeb96"},
		{"Grüße aus Łódź — Привет, 日本語!", "4141b36418b5f82e"},
		{strings.Repeat("Counterrevolutionaries electroencephalographically ", 200), "a089ec5ec1bf8429"},
	} {
		h := sha256.New()
		require.NoError(t, binary.Write(h, binary.LittleEndian, vector(t, c.text)))
		assert.Equal(t, c.want, hex.EncodeToString(h.Sum(nil))[:16], "%.40q", c.text)
	}
}

// slow is the embedding as its comment describes it, with maps and strings.
func slow(text string) []float64 {
	table := words()
	scan := func() (out []string) {
		var s wordtable.Scanner
		s.Reset(text)
		for w := s.Next(); w != nil; w = s.Next() {
			out = append(out, string(w))
		}
		return out
	}()
	stop := map[string]bool{}
	for _, w := range stopWords {
		stop[w] = true
	}
	count := map[string]int{}
	for _, want := range []bool{false, true} {
		for _, w := range scan {
			if stop[w] == want {
				if len(w) > 3 && strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss") {
					w = strings.TrimSuffix(w, "s")
				}
				count[w]++
			}
		}
		if len(count) > 0 {
			break
		}
	}
	hashed := make([]float64, hashedDim)
	add := func(w string, x float64) {
		k := mix(wordtable.Hash([]byte(w)))
		if k>>63 == 1 {
			x = -x
		}
		hashed[k%hashedDim] += x
	}
	for w, n := range count {
		x := float64(table.IDF([]byte(w), wordtable.Hash([]byte(w)))) * (1 + math.Log(float64(min(n, wordtable.MaxCount))))
		add(w, x)
		if r := []rune("^" + w + "$"); utf8.RuneCountInString(w) > gramRunes {
			grams := len(r) - gramRunes + 1
			for i := range min(grams, maxGrams) {
				add(string(r[i:i+gramRunes]), gramShare*x/math.Sqrt(float64(grams)))
			}
		}
	}
	mean := make([]float64, wordtable.Dim)
	for _, w := range scan {
		if id, ok := table.Lookup([]byte(w), wordtable.Hash([]byte(w))); ok {
			row, f := table.Row(id)
			for j := range mean {
				mean[j] += float64(int8(row[j])) * float64(f)
			}
		}
	}
	var d float64
	for j, c := range table.Common() {
		d += mean[j] * float64(c)
	}
	for j, c := range table.Common() {
		mean[j] -= d * float64(c)
	}
	norm := func(v []float64) (n float64) {
		for _, x := range v {
			n += x * x
		}
		return n
	}
	h, m := norm(hashed), norm(mean)
	share := meaningShare
	if m == 0 {
		share, m = 0, 1
	}
	for i := range hashed {
		hashed[i] *= math.Sqrt((1 - share) / h)
	}
	for i := range mean {
		mean[i] *= math.Sqrt(share / m)
	}
	return append(hashed, mean...)
}

func TestEmbedder_AgreesWithThePlainOne(t *testing.T) {
	texts := []string{
		"The cat sat on the mat.", "who is he", "Films and a film; films again.",
		"Anna Kournikova met Łukasz Żółkiewski in Saint Petersburg's Philharmonia on 3 May 1997.",
		"日本語の本と中国語の辞書 in the library", strings.Repeat("many words repeated many times ", 100),
		"Достоевский написал роман «Преступление и наказание»",
	}
	for i := range 300 { // every text is another mix of words of the table
		texts = append(texts, words().Word(i*7)+" "+words().Word(i*97+13)+" "+words().Word(59_000-i)+" notaword"+words().Word(i))
	}
	for _, text := range texts {
		got, want := vector(t, text), slow(text)
		for i := range want {
			require.InDelta(t, want[i], float64(got[i]), 2e-6, "%q at %d", text, i)
		}
	}
}

// Texts without a word have a vector of length 1 as well, by their bytes.
func TestEmbedder_TextsWithoutWords(t *testing.T) {
	seen := map[string]string{}
	for _, text := range []string{"", " ", "!!!", "…", "\xff\xfe", "\x00", "\u0301", "---"} {
		v := vector(t, text)
		require.InDelta(t, 1, length(v), 1e-6, "%q", text)
		require.Equal(t, v, vector(t, text))
		key := string(encode(v))
		require.NotContains(t, seen, key, "%q and %q", text, seen[key])
		seen[key] = text
	}
}

func encode(v []float32) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func TestEmbedder_Meaning(t *testing.T) {
	for _, c := range []struct{ a, near, far string }{
		{"the doctor treated the patient", "physicians and nurses cure illness", "the stock market fell sharply"},
		{"painting", "paintings", "carburettor"},
		{"Sao Paulo", "São Paulo", "Santa Fe"},
		{"a history of the Elamites", "Elamite", "football results"},
		{"東京の歴史", "東京", "北海"},
	} {
		a := vector(t, c.a)
		require.Greater(t, cosine(a, vector(t, c.near)), cosine(a, vector(t, c.far))+0.05, "%q", c.a)
	}
}

// One batch or many callers: a vector depends on its text alone.
func TestEmbedder_IsAFunctionOfTheText(t *testing.T) {
	e := Embedder()
	require.True(t, e.Pure())
	require.Equal(t, "builtin-hybrid-v1", e.Model())
	texts := make([]string, 64)
	for i := range texts {
		texts[i] = strings.Repeat(words().Word(i*31)+" ", i) + words().Word(i)
	}
	want, err := e.Embed(context.Background(), texts)
	require.NoError(t, err)
	require.Len(t, want[0], 1024)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range texts {
				got, err := e.Embed(context.Background(), texts[i:i+1])
				if err != nil || string(encode(got[0])) != string(encode(want[i])) {
					t.Errorf("text %d differs (%v)", i, err)
				}
			}
		})
	}
	wg.Wait()
	none, err := e.Embed(context.Background(), nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestEmbedder_StopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Embedder().Embed(ctx, []string{"x"})
	require.ErrorIs(t, err, context.Canceled)
}

func FuzzEmbed(f *testing.F) {
	for _, s := range []string{"", "the", "The cat's 3.5", "日本語 สวัสดี", "\xff\xc3", strings.Repeat("ab ", 300), strings.Repeat("é", 600)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v := vector(t, text)
		require.InDelta(t, 1, length(v), 1e-5)
		require.Equal(t, encode(v), encode(vector(t, text)))
	})
}
