package engine

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func plainText(s string) *Parsed {
	return &Parsed{Verbatim: true, Blocks: []Block{{Text: s, End: len(s)}}}
}

// sections makes a verbatim document from "A>B|text" parts.
func sections(parts ...string) (*Parsed, string) {
	p := &Parsed{Verbatim: true}
	file := ""
	for _, part := range parts {
		path, text, _ := strings.Cut(part, "|")
		b := Block{Text: text, Start: len(file), End: len(file) + len(text)}
		if path != "" {
			b.Heading = strings.Split(path, ">")
		}
		p.Blocks = append(p.Blocks, b)
		file += text
	}
	return p, file
}

// checkChunks holds what is true of the chunks of every verbatim document.
func checkChunks(t *testing.T, file string, chunks []chunkRecord, size int) {
	t.Helper()
	covered := 0
	for i, c := range chunks {
		require.Equal(t, file[c.Start:c.End], c.Text)
		require.Equal(t, countTokens(c.Text), c.Tokens)
		if utf8.RuneCountInString(c.Text) > 1 {
			require.LessOrEqual(t, c.Tokens, size, "chunk %d: %q", i, c.Text)
		}
		require.NotEmpty(t, strings.TrimSpace(c.Text))
		if utf8.ValidString(file) {
			require.True(t, utf8.ValidString(c.Text), "chunk %d", i)
		}
		if i > 0 {
			require.Greater(t, c.Start, chunks[i-1].Start, "order")
			require.Greater(t, c.End, chunks[i-1].End, "order")
		}
		if c.Start > covered {
			require.Empty(t, strings.TrimSpace(file[covered:c.Start]), "lost before chunk %d", i)
		}
		covered = c.End
	}
	require.Empty(t, strings.TrimSpace(file[covered:]), "lost at the end")
}

func FuzzChunkDocument(f *testing.F) {
	for i, s := range tokenSeeds {
		f.Add(s, 8+i, i)
	}
	f.Add("# One\n\nA b c. D e f!\n\n## Two\nlong "+strings.Repeat("word ", 40)+"\n\n中文。中文！"+strings.Repeat("字", 30), 12, 4)
	f.Add(strings.Repeat("x", 300), 5, 4)
	f.Fuzz(func(t *testing.T, s string, size, overlap int) {
		if size < 1 || size > 500 || overlap < 0 || overlap > size || len(s) > 4000 {
			t.Skip()
		}
		p := &Parsed{Verbatim: true} // every "#" begins a section
		var path []string
		for at := 0; at < len(s); {
			end := len(s)
			if i := strings.IndexByte(s[at+1:], '#'); i >= 0 {
				end = at + 1 + i
			}
			if s[at] == '#' {
				path = append(path[:min(len(path), (end-at)%3):min(len(path), (end-at)%3)], fmt.Sprint(at))
			}
			p.Blocks = append(p.Blocks, Block{Text: s[at:end], Start: at, End: end, Heading: path})
			at = end
		}
		chunks, err := chunkDocument(p, size, overlap, 100_000)
		if strings.TrimSpace(s) == "" {
			require.ErrorIs(t, err, ErrEmptyDocument)
			return
		}
		require.NoError(t, err)
		checkChunks(t, s, chunks, size)
		for _, c := range chunks { // the heading is true of every section the chunk touches
			for _, b := range p.Blocks {
				if b.Start < c.End && b.End > c.Start && strings.TrimSpace(s[max(b.Start, c.Start):min(b.End, c.End)]) != "" {
					require.GreaterOrEqual(t, len(b.Heading), len(c.Heading))
					require.Equal(t, strings.Join(c.Heading, ">"), strings.Join(b.Heading[:len(c.Heading)], ">"))
				}
			}
		}
	})
}

func TestChunkDocument_Packing(t *testing.T) {
	for name, tc := range map[string]struct {
		parts []string
		want  []string // "A>B: text of the chunk"
	}{
		"one section": {[]string{"A|one two"}, []string{"A: one two"}},
		"a parent with its child is under the parent": {
			[]string{"A|one\n", "A>B|two"}, []string{"A: one\ntwo"}},
		"siblings are under their parent": {
			[]string{"A>B|one\n", "A>C|two\n", "A>D|three"}, []string{"A: one\ntwo\nthree"}},
		"cousins stay apart": {
			[]string{"A>B>C|one\n", "A>D|two"}, []string{"A>B>C: one", "A>D: two"}},
		"a new top section does not join deeper ones": {
			[]string{"A>B|one\n", "C|two"}, []string{"A>B: one", "C: two"}},
		"what is full is closed": {
			[]string{"A>B|a b c d e f g h\n", "A>C|i j k l m n\n", "A>D|o p"}, []string{"A>B: a b c d e f g h", "A: i j k l m n\no p"}},
		"blank sections vanish": {
			[]string{"A>B|one\n", "A>X| \n", "A>C|two"}, []string{"A: one\n \ntwo"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, file := sections(tc.parts...)
			chunks, err := chunkDocument(p, 12, 3, 100)
			require.NoError(t, err)
			checkChunks(t, file, chunks, 12)
			var got []string
			for _, c := range chunks {
				got = append(got, strings.Join(c.Heading, ">")+": "+c.Text)
			}
			require.Equal(t, tc.want, got)
		})
	}
}

// The best boundary near the end of the window is taken, whatever the script.
func TestChunkDocument_Boundaries(t *testing.T) {
	for name, tc := range map[string]struct {
		text          string
		size, overlap int
		want          []string
	}{
		"paragraph before sentence": {"One two three four five.\n\nSix. Seven eight nine ten eleven.", 10, 0,
			[]string{"One two three four five.", "Six. Seven eight nine ten eleven."}},
		"sentence before word": {"One two three four. Five six seven eight.", 7, 0,
			[]string{"One two three four.", "Five six seven eight."}},
		"no sentence ends at an initial": {"We met J. Smith there today.", 6, 0,
			[]string{"We met J. Smith there", "today."}},
		"a heading goes with what follows": {"One two three four five.\n\nSix seven.\n\nPart Two\n\nEight nine ten.", 14, 0,
			[]string{"One two three four five.\n\nSix seven.", "Part Two\n\nEight nine ten."}},
		"lines of a table": {"a 1 2 3\nb 4 5 6\nc 7 8 9", 16, 0,
			[]string{"a 1 2 3\nb 4 5 6", "c 7 8 9"}},
		"Chinese": {"他来了。她走了。我们在这里。", 9, 0,
			[]string{"他来了。她走了。", "我们在这里。"}},
		"Hindi": {"वह आया। वह गया। हम यहाँ हैं।", 9, 0,
			[]string{"वह आया। वह गया।", "हम यहाँ हैं।"}},
		"overlap of a whole sentence": {"Ada wrote. Bob read. Cy sang. Dee ran.", 9, 4,
			[]string{"Ada wrote. Bob read. Cy sang.", "Cy sang. Dee ran."}},
		"overlap of words when the sentence is long": {"one two three four five six seven eight nine ten", 6, 2,
			[]string{"one two three four five six", "five six seven eight nine ten"}},
	} {
		t.Run(name, func(t *testing.T) {
			chunks, err := chunkDocument(plainText(tc.text), tc.size, tc.overlap, 100)
			require.NoError(t, err)
			checkChunks(t, tc.text, chunks, tc.size)
			var got []string
			for _, c := range chunks {
				got = append(got, c.Text)
			}
			require.Equal(t, tc.want, got)
		})
	}
}

// Blocks that are not the file's bytes: a chunk spans the blocks it was made of.
func TestChunkDocument_NotVerbatim(t *testing.T) {
	p := &Parsed{}
	for i := range 40 {
		p.Blocks = append(p.Blocks, Block{Text: fmt.Sprintf("key%d: value %d", i, i), Start: 100 * i, End: 100*i + 9})
	}
	chunks, err := chunkDocument(p, 50, 10, 100)
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, c := range chunks {
		require.LessOrEqual(t, c.Tokens, 50)
		lines := strings.Split(c.Text, "\n")
		for _, line := range lines {
			seen[line] = true
		}
		var first, last int
		_, err := fmt.Sscanf(lines[0], "key%d:", &first)
		require.NoError(t, err)
		_, err = fmt.Sscanf(lines[len(lines)-1], "key%d:", &last)
		require.NoError(t, err)
		require.Equal(t, [2]int{100 * first, 100*last + 9}, [2]int{c.Start, c.End})
	}
	require.Len(t, seen, 40)
}

func TestChunkDocument_Bounds(t *testing.T) {
	OneGoroutine(t)
	t.Run("a megabyte without a space", func(t *testing.T) {
		s := strings.Repeat("0123456789abcdef", 1<<16)
		chunks, err := chunkDocument(plainText(s), 1200, 100, 200_000)
		require.NoError(t, err)
		checkChunks(t, s, chunks, 1200)
		require.Less(t, len(chunks), 1000)
	})
	t.Run("10,000 headings", func(t *testing.T) {
		var parts []string
		for i := range 10_000 {
			parts = append(parts, fmt.Sprintf("Top>S%d|## S%d\n\ntext %d\n", i, i, i))
		}
		p, file := sections(parts...)
		chunks, err := chunkDocument(p, 1200, 100, 200_000)
		require.NoError(t, err)
		checkChunks(t, file, chunks, 1200)
		require.Less(t, len(chunks), 120)
		require.Equal(t, []string{"Top"}, chunks[0].Heading)
	})
	t.Run("too many chunks", func(t *testing.T) {
		_, err := chunkDocument(plainText(strings.Repeat("word ", 1000)), 10, 0, 99)
		require.ErrorIs(t, err, ErrTooLarge)
		_, err = chunkDocument(plainText(strings.Repeat("word ", 1000)), 10, 0, 100)
		require.NoError(t, err)
	})
	t.Run("a rune of more tokens than a chunk", func(t *testing.T) {
		chunks, err := chunkDocument(plainText("𞤀𞤢"), 1, 0, 10)
		require.NoError(t, err)
		require.Len(t, chunks, 2)
	})
	t.Run("white space alone", func(t *testing.T) {
		_, err := chunkDocument(plainText(" \n\t\u3000"), 10, 0, 10)
		require.ErrorIs(t, err, ErrEmptyDocument)
	})
}

func BenchmarkChunkDocument(b *testing.B) {
	var s strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&s, "The committee, which had met in Geneva in %d, did not agree with proposal %d of the Union. ", 1900+i%100, i)
		if i%7 == 0 {
			s.WriteString("\n\n")
		}
	}
	text := s.String()
	require.False(b, strings.ContainsFunc(text, func(r rune) bool { return r == unicode.ReplacementChar }))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := chunkDocument(plainText(text), 1200, 100, 200_000); err != nil {
			b.Fatal(err)
		}
	}
}
