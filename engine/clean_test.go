package engine

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"
)

var cleanCases = map[string]struct{ in, want string }{
	"prose":                  {"Ada *wrote* [1].\n\n- a < b && c > d\n- 1<2", "Ada *wrote* [1].\n\n- a < b && c > d\n- 1<2"},
	"image":                  {"See ![a chart](http://evil/x.png?q=secret).", `See !&#91;a chart](http://evil/x.png?q=secret).`},
	"image by reference":     {"![chart][c] ![c]\n\n[c]: http://evil/x.png", "!&#91;chart][c] !&#91;c]\n\n[c]: http://evil/x.png"},
	"image in a link":        {"[![x](http://a/b)](http://c)", `[!&#91;x](http://a/b)](http://c)`},
	"after an exclamation":   {"It works![1] Yes![12]. No![12345]", `It works! [1] Yes! [12]. No!&#91;12345]`},
	"a numbered image":       {"![1](http://evil/x.png)", "! [1](http://evil/x.png)"},
	"html":                   {`<img src="http://evil"> a <b>b</b> <!-- c --> <?d?>`, `&lt;img src="http://evil"> a &lt;b>b&lt;/b> &lt;!-- c --> &lt;?d?>`},
	"escaped already":        {"\\<img src=x> \\![x](y) \\\\<img src=x> \\`<b>`", "\\&lt;img src=x> \\!&#91;x](y) \\\\&lt;img src=x> \\`&lt;b>`"},
	"code spans":             {"`Vec<T>` and `` a`<b>` `` and `![x](y)`", "`Vec<T>` and `` a`<b>` `` and `![x](y)`"},
	"a span that is none":    {"a ` b <i>\nc ` <img src=x> `", "a ` b &lt;i>\nc ` &lt;img src=x> `"},
	"a span over lines":      {"` a\n\n`<b>`", "` a\n\n`<b>`"},
	"a span in an address":   {"[a](b`c) <img src=x> ` x", "[a](b`c) &lt;img src=x> ` x"},
	"a span over cells":      {"|a|b|\n|-|-|\n| ` | <img src=x> ` |", "|a|b|\n|-|-|\n| ` | &lt;img src=x> ` |"},
	"a block of code":        {"```html\n<img src=x>\n![x](y)\n```\n<img>", "```html\n<img src=x>\n![x](y)\n```\n&lt;img>"},
	"tildes":                 {"~~~ a`b\n<i>\n~~\n~~~~ \n<i>", "~~~ a`b\n<i>\n~~\n~~~~ \n&lt;i>"},
	"a block in a list":      {"- a\n\n  ```\n  b\n<img src=x>", "- a\n\n  ```\n  b\n&lt;img src=x>"},
	"not a block":            {"``` a ` b\n<img src=x>", "``` a ` b\n&lt;img src=x>"},
	"carriage returns":       {"a ` b\r\nc `<img src=x>`\r\r`<b>`", "a ` b\nc `&lt;img src=x>`\n\n`<b>`"},
	"empty lines":            {"a `\r\n\r\n`<b>` `\n \t\n`<b>`", "a `\n\n`<b>` `\n \t\n`<b>`"},
	"a lone return":          {"```a\r`<b>\n```\n<i>\r```\r<b>", "```a\n`<b>\n```\n&lt;i>\n```\n<b>"},
	"a fence set in":         {" ```\n<b>\n```\n<img src=x>\n```\n`<i>`", " ```\n&lt;b>\n```\n&lt;img src=x>\n```\n`&lt;i>`"},
	"a fence set in a fence": {"```\n    ```\n```\n<img src=x>", "```\n    ```\n```\n&lt;img src=x>"},
	"at the end":             {"a <", "a <"},
	"a mark at the end":      {"a!", "a!"},
	"empty":                  {"", ""},
}

func inPieces(t *testing.T, s string, size int) string {
	var got strings.Builder
	f := newMarkdownFilter(func(s string) error { require.NotEmpty(t, s); got.WriteString(s); return nil })
	for at := 0; at < len(s); at += size {
		require.NoError(t, f.write(s[at:min(len(s), at+size)]))
	}
	require.NoError(t, f.close())
	return got.String()
}

// Images and HTML become text, code stays, and how a text is cut into pieces
// makes no difference.
func TestCleanMarkdown(t *testing.T) {
	for name, c := range cleanCases {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, cleanMarkdown(c.in))
			for size := 1; size <= len(c.in); size++ {
				require.Equal(t, c.want, inPieces(t, c.in, size), "pieces of %d", size)
			}
			rendersToText(t, c.in)
		})
	}
}

// What a span or a fence may be long is bounded; beyond it a text is text.
func TestCleanMarkdown_Bounds(t *testing.T) {
	long := strings.Repeat("a", 2*maxCodeSpan)
	ticks := strings.Repeat("`", 3*maxCodeSpan)
	for _, s := range []string{
		"`" + long + "<b>`", ticks, ticks + "<b>" + ticks, "`<b>" + ticks, "```" + long + "\n<b>", "```\n" + strings.Repeat(" ", 2*maxFenceLine) + "<b>",
		"```\n" + strings.Repeat(" ", 2*maxFenceLine) + "\n<b>",
	} {
		want := cleanMarkdown(s)
		require.Equal(t, want, cleanMarkdown(s))
		for _, size := range []int{1, 7, maxFenceLine, maxCodeSpan, maxCodeSpan + 1} {
			require.Equal(t, want, inPieces(t, s, size), "%.20q in pieces of %d", s, size)
		}
		rendersToText(t, s)
	}
}

var anyHTML = goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(html.WithUnsafe()))

// rendersToText asks a renderer that lets everything through: a cleaned text
// gives it no image and no tag of the text's own.
func rendersToText(t *testing.T, s string) {
	var free, safe bytes.Buffer
	require.NoError(t, anyHTML.Convert([]byte(cleanMarkdown(s)), &free))
	require.NotContains(t, strings.ToLower(free.String()), "<img", "%q becomes %q", s, cleanMarkdown(s))
	require.NoError(t, goldmark.New(goldmark.WithExtensions(extension.GFM)).Convert([]byte(cleanMarkdown(s)), &safe))
	require.NotContains(t, safe.String(), "raw HTML omitted", "%q becomes %q", s, cleanMarkdown(s))
}

// Whatever a model writes: no image, no tag, and the same in pieces.
func FuzzCleanMarkdown(f *testing.F) {
	for _, c := range cleanCases {
		f.Add(c.in, 3)
	}
	f.Add("[a][b`c] <img src=x> `\n\n[b`c]: x", 1)
	f.Add("a\\\\  \n\\<img src=x>", 1)
	f.Add("> ```\n> a\n<img src=x>", 2)
	f.Add("1. a\n   ~~~\n   b\n~~~\n<img src=x>\n~~~", 2)
	f.Fuzz(func(t *testing.T, s string, size int) {
		if len(s) > 4096 {
			return
		}
		rendersToText(t, s)
		require.Equal(t, cleanMarkdown(s), inPieces(t, s, 1+(size&0xff)))
	})
}
