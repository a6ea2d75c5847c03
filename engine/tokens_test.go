package engine

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

var tokenSeeds = []string{
	"", "a", "Ada wrote to Babbage.", "It's, we'LL; they'Re 'd 12345 3.14\r\n\r\n  x", "  \t two\n\n \nthree   ",
	"日本語のテキスト。中文ABC和def", "naïve Straße ÀÉ é́ ̈1 ̈ABC", "//path/to\n/x", "🙂🙂 👩‍👩‍👧", "ǅungla ʰx ABCʰ", "\u00a0\u2003x\u0085y",
	"का की । और", "a\u200bb", "func f(x int) { return x+1 }\n\tif y {\n", "１２３４ Ⅷ ½", "𝔘𝔫𝔦 𠀀𠀁 𞤀𞤢",
}

// The pieces found by hand are those of the pattern: counts agree with the library's.
func FuzzCountTokens(f *testing.F) {
	for _, s := range tokenSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || len(s) > maxPieceBytes {
			t.Skip()
		}
		want, err := codec().Count(encodable(s))
		require.NoError(t, err)
		require.Equal(t, want, countTokens(s), "%q", s)
		require.LessOrEqual(t, want, len(s))
		for rest := s; rest != ""; rest = rest[nextPiece(rest):] {
			require.Equal(t, pieceEnd(rest), nextPiece(rest), "%q", rest)
		}
		for _, n := range []int{0, 1, want / 2, want - 1, want, want + 1} {
			require.Equal(t, want <= n, withinTokens(s, n))
			cut := cutTokens(s, n)
			require.True(t, strings.HasPrefix(s, cut) && utf8.ValidString(cut))
			require.LessOrEqual(t, countTokens(cut), max(n, 0), "%q of %q", cut, s)
		}
	})
}

// A run without any boundary takes time linear in its length and keeps its size.
func TestTokens_LongRuns(t *testing.T) {
	OneGoroutine(t)
	for name, unit := range map[string]string{"letters": "qx", "one letter": "a", "spaces": " ", "marks": "!", "Chinese": "中文字", "newlines": "\n", "digits": "1"} {
		t.Run(name, func(t *testing.T) {
			s := strings.Repeat(unit, (1<<16)/len(unit))
			n := countTokens(s)
			require.Positive(t, n)
			require.LessOrEqual(t, n, len(s))
			cut := cutTokens(s, 1200)
			require.LessOrEqual(t, countTokens(cut), 1200)
			require.True(t, utf8.ValidString(cut))
			require.False(t, withinTokens(s, n-1))
			require.True(t, withinTokens(s, n))
		})
	}
}

func BenchmarkCountTokens(b *testing.B) {
	s := strings.Repeat("The committee, which had met in Geneva on 12 March 1998, didn't agree with the Union's proposal. ", 100)
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(s)))
		b.ReportAllocs()
		for b.Loop() {
			countTokens(s)
		}
	})
	b.Run("library", func(b *testing.B) {
		b.SetBytes(int64(len(s)))
		b.ReportAllocs()
		for b.Loop() {
			_, _ = codec().Count(s)
		}
	})
}
