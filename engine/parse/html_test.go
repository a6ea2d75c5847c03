package parse_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine/parse"
)

// Markdown is laid out; what a page would fetch or run is not in it.
func TestHTML(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"prose":               {"Ada *wrote* **it** [1].\n\n- a\n- b", "<p>Ada <em>wrote</em> <strong>it</strong> [1].</p>\n<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n"},
		"table":               {"|a|b|\n|:-|-|\n|1|2|", "<table>\n<thead>\n<tr>\n<th>a</th>\n<th>b</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>1</td>\n<td>2</td>\n</tr>\n</tbody>\n</table>\n"},
		"code":                {"```go\na < b\n```", "<pre><code class=\"language-go\">a &lt; b\n</code></pre>\n"},
		"list with a start":   {"3. c", "<ol start=\"3\">\n<li>c</li>\n</ol>\n"},
		"link":                {"[a](https://b.c/d?e=f&g)", `<p><a href="https://b.c/d?e=f&amp;g" rel="nofollow noreferrer">a</a></p>` + "\n"},
		"address":             {"see https://b.c", `<p>see <a href="https://b.c" rel="nofollow noreferrer">https://b.c</a></p>` + "\n"},
		"script link":         {"[a](javascript:alert(1)) [b](JaVaScRiPt:x) [c](data:text/html,x) [d](vbscript:x) [e](file:///etc/passwd) [f](//evil/x) [g](/logout)", "<p>a b c d e f g</p>\n"},
		"image":               {"![a](http://evil/x.png?q=secret) ![b][c]\n\n[c]: https://evil/y", "<p> </p>\n"},
		"html":                {"<img src=http://evil> <b onclick=x>y</b> <style>*{}</style>\n\n<script>alert(1)</script>", "<p> y *{}</p>\n\n"},
		"words of a fence":    {"```\" onclick=\"x\na\n```", "<pre><code>a\n</code></pre>\n"},
		"attributes in links": {`[a](http://b "c\" onclick=x")`, `<p><a href="http://b" rel="nofollow noreferrer">a</a></p>` + "\n"},
		"empty":               {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse.HTML(c.in)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	_, err := parse.HTML(strings.Repeat("a", 256<<10+1))
	require.Error(t, err)
}

// Depth costs no more than length.
func TestHTML_Depth(t *testing.T) {
	for _, s := range []string{strings.Repeat(">", 1<<18), strings.Repeat("> + ", 1<<16), strings.Repeat("1. ", 1<<16), strings.Repeat("[", 1<<18), strings.Repeat("*a ", 1<<16)} {
		start := time.Now()
		_, err := parse.HTML(s)
		require.NoError(t, err)
		t.Logf("%.4q…: %v", s, time.Since(start))
		require.Less(t, time.Since(start), 20*time.Second)
	}
}

var allowedTag = regexp.MustCompile(`^</?(p|br|hr|h[1-6]|ul|ol|li|blockquote|pre|code|em|strong|del|table|thead|tbody|tr|th|td|a)( (href="(https?|mailto):[^"]*"|rel="nofollow noreferrer"|start="\d+"|class="language-[^"]*"|align="\w+"))*/?>$`)

// Whatever a model writes, the tags of the page are those of the list.
func FuzzHTML(f *testing.F) {
	for _, s := range []string{"a <b> [c](http://d)", "![a](b)", "```x\"y\n<i>", "<a href=javascript:x>", "<math><mi//xlink:href=\"data:x,<script>alert(1)</script>\">"} {
		f.Add(s)
	}
	tag := regexp.MustCompile(`<[^>]*>`)
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1<<12 {
			return
		}
		got, err := parse.HTML(s)
		require.NoError(t, err)
		for _, x := range tag.FindAllString(got, -1) {
			require.Regexp(t, allowedTag, x, "%q becomes %q", s, got)
		}
	})
}
