package parse

import (
	"bytes"
	"fmt"
	"regexp"
	"sync"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
)

// maxAnswerBytes bounds the Markdown that is made a page.
const maxAnswerBytes = 256 << 10

// deepMarks are marks of lists and quotations that would nest without end, which
// costs the square of their number; the first hundred of them stay.
var deepMarks = regexp.MustCompile(`(?m)^([>\-+*0-9.) \t]{100})[>\-+*0-9.) \t]+`)

// answerMarkdown makes GitHub's Markdown HTML; raw HTML in it is left out.
var answerMarkdown = sync.OnceValue(func() goldmark.Markdown { return goldmark.New(goldmark.WithExtensions(extension.GFM)) })

// answerPolicy is what a page of an answer may hold: the elements of Markdown and
// links to other places, which carry nothing of the reader's there. Nothing in it
// is fetched or run when it is shown.
var answerPolicy = sync.OnceValue(func() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code",
		"em", "strong", "del", "table", "thead", "tbody", "tr", "th", "td")
	p.AllowAttrs("start").Matching(regexp.MustCompile(`^[0-9]{1,9}$`)).OnElements("ol")
	p.AllowAttrs("class").Matching(regexp.MustCompile(`^language-[A-Za-z0-9+#-]{1,32}$`)).OnElements("code")
	p.AllowAttrs("align").Matching(regexp.MustCompile(`^(left|center|right)$`)).OnElements("th", "td")
	p.AllowAttrs("href").OnElements("a")
	p.AllowURLSchemes("http", "https", "mailto")
	p.AllowRelativeURLs(false)
	p.RequireParseableURLs(true)
	p.RequireNoFollowOnLinks(true)
	p.RequireNoReferrerOnLinks(true)
	return p
})

// HTML makes of an answer's Markdown a piece of HTML that may be put into a page as
// it is: without scripts, styles, images, forms or anything else that is fetched or
// run, and with links to http, https and mailto addresses alone. Safe for
// concurrent use.
func HTML(markdown string) (string, error) {
	if len(markdown) > maxAnswerBytes {
		return "", fmt.Errorf("an answer of %d bytes; %d can be made HTML", len(markdown), maxAnswerBytes)
	}
	var b bytes.Buffer
	if err := answerMarkdown().Convert(deepMarks.ReplaceAll([]byte(markdown), []byte("$1")), &b); err != nil {
		return "", fmt.Errorf("render Markdown: %w", err)
	}
	return answerPolicy().SanitizeReader(&b).String(), nil
}
