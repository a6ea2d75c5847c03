package engine

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var citationCases = map[string]struct{ reply, want string }{
	"known":                     {"Ada wrote [1]. So did he [2][1].", "Ada wrote [1]. So did he [2][1]."},
	"unknown":                   {"Ada wrote [7]. She wrote [9] to him [3], often [0] ; and [12]", "Ada wrote. She wrote to him, often; and"},
	"beside a known one":        {"Ada wrote [1][7]. He [7][1] built [7] [1].", "Ada wrote [1]. He [1] built [1]."},
	"in one bracket":            {"Ada wrote [1, 7]. He built [8,2 ,9]. They met [8, 9].", "Ada wrote [1]. He built [2]. They met."},
	"without a space":           {"Ada wrote[7]. Then[7] more[1].", "Ada wrote. Then more[1]."},
	"at the start of a line":    {"[7] Ada wrote.\n[1] He built.\n  [7]\n", "Ada wrote.\n[1] He built.\n\n"},
	"the end of a line":         {"Ada wrote [7]\nand went [8]\n", "Ada wrote\nand went\n"},
	"list of references":        {"It is so [1][7].\n\n### References\n- [1] a.md\n- [7] made up.md\n* [8] too.md\n2. [9] and this", "It is so [1].\n\n### References\n- [1] a.md\n"},
	"list items":                {"- Ada [7] wrote\n- He built [1]\n1. One [8]\n12) two\n**Bold** - dash\n", "- Ada wrote\n- He built [1]\n1. One\n12) two\n**Bold** - dash\n"},
	"a pair in one entry":       {"- [1, 7] a.md\n", "- [1] a.md\n"},
	"no citations":              {"a[i] [x] [] [ ] [1a] [2019] [^7] [[7]] [a, 7] [-1] [1.5]", "a[i] [x] [] [ ] [1a] [2019] [^7] [] [a, 7] [-1] [1.5]"},
	"code":                      {"Use `x[7]` and ``a`[8]`` or\n```go\ny[9] // [7]\n````\nso [7].", "Use `x[7]` and ``a`[8]`` or\n```go\ny[9] // [7]\n````\nso."},
	"a backtick alone":          {"a ` b [7]\nc [7].", "a ` b [7]\nc."},
	"unfinished":                {"Ada [7", "Ada [7"},
	"unfinished and long":       {"Ada [" + strings.Repeat("7,", 100) + "]", "Ada [" + strings.Repeat("7,", 100) + "]"},
	"white space is the text's": {"  a  b\t\n\n c  \n", "  a  b\t\n\n c  \n"},
	"runes":                     {"Ada schrieb「語」[7]。 é [2]", "Ada schrieb「語」。 é [2]"},
	"empty":                     {"", ""},
}

// An answer keeps the citations of its context and loses the others, in one
// piece and in pieces of any size.
func TestCitations(t *testing.T) {
	chunks := []EvidenceChunk{{ReferenceID: "1"}, {ReferenceID: "2"}, {ReferenceID: "1"}}
	for name, c := range citationCases {
		t.Run(name, func(t *testing.T) {
			whole, removed := onlyKnown(c.reply, chunks)
			require.Equal(t, c.want, whole)
			for size := 1; size <= len(c.reply); size++ {
				var got strings.Builder
				f := newCitationFilter(chunks, func(s string) error { got.WriteString(s); return nil })
				for at := 0; at < len(c.reply); at += size {
					require.NoError(t, f.write(c.reply[at:min(len(c.reply), at+size)]))
				}
				require.NoError(t, f.close())
				require.Equal(t, c.want, got.String(), "pieces of %d", size)
				require.Equal(t, removed, f.removed, "pieces of %d", size)
			}
		})
	}
}

// Whatever a model writes, nothing is added and what is left cites the context
// alone.
func FuzzCitations(f *testing.F) {
	for _, c := range citationCases {
		f.Add(c.reply)
	}
	chunks := []EvidenceChunk{{ReferenceID: "1"}}
	f.Fuzz(func(t *testing.T, s string) {
		got, _ := onlyKnown(s, chunks)
		require.LessOrEqual(t, len(got), len(s)+strings.Count(s, ","))
		if !strings.ContainsAny(s, "[") {
			require.Equal(t, s, got)
		}
		if !strings.Contains(s, "`") && !strings.Contains(s, "[[") {
			require.NotRegexp(t, `\[\d{1,3}\]`, strings.ReplaceAll(got, "[1]", ""))
		}
	})
}
