package wordtable

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func scanAll(text string) []string {
	var s Scanner
	s.Reset(text)
	var out []string
	for w := s.Next(); w != nil; w = s.Next() {
		out = append(out, string(w))
	}
	return out
}

func TestScanner(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{" ,;— \n", ""},
		{"The cat, the DOG.", "the cat the dog"},
		{"well-known 3.5 x2", "well known 3 5 x2"},
		{"Ada's and James' and it’s", "ada and james and it"},
		{"don't 'so' rock'sea", "don t so rock sea"},
		{"Søren São Łódź Éva é straße", "soren sao lodz eva e strasse"},
		{"e\u0301te\u0301", "ete"},
		{"Ἀθήνα Чехов йод", "αθηνα чехов иод"},
		{"日本語の本 and 东", "日本 本語 語の の本 and 东"},
		{"สวัสดี", "สวั วัส ัสด สดี"},
		{"a\xffb\xc3", "a b"},
		{"\u0301", ""},
		{"हिन्दी", "हिन्दी"},
		{"İstanbul ISTANBUL", "istanbul istanbul"},
	} {
		require.Equal(t, strings.Fields(c.want), append([]string{}, scanAll(c.text)...), "%q", c.text)
	}
}

// A run of letters without end is cut: scratch is bounded.
func TestScanner_CutsLongRuns(t *testing.T) {
	for _, letter := range []string{"x", "é", "д", "語", "ก"} {
		total := 0
		for _, w := range scanAll(strings.Repeat(letter, 10_000)) {
			require.LessOrEqual(t, len(w), maxWordBytes+utf8.UTFMax)
			total++
		}
		require.Positive(t, total)
	}
}

func FuzzScanner(f *testing.F) {
	for _, s := range []string{"", "The cat's 3.5", "日本語", "สวัสดี", "\xff\xc3", "ﬁ ½ ǅ İ \u0345", "x's"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words := scanAll(text)
		require.LessOrEqual(t, len(words), len(text))
		for _, w := range words {
			require.NotEmpty(t, w)
			require.LessOrEqual(t, len(w), maxWordBytes+2*utf8.UTFMax)
			require.True(t, utf8.ValidString(w))
		}
		require.Equal(t, words, scanAll(text))
	})
}
