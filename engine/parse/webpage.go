package parse

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"codeberg.org/readeck/go-readability/v2"
	"github.com/JohannesKaufmann/html-to-markdown/v2/converter"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/base"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/commonmark"
	"github.com/JohannesKaufmann/html-to-markdown/v2/plugin/strikethrough"
	htmltable "github.com/JohannesKaufmann/html-to-markdown/v2/plugin/table"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"

	"alcove/engine"
)

// maxLinkBytes is how long an address may be that stays beside its link's text.
const maxLinkBytes = 300

var pageMarkdown = sync.OnceValue(func() *converter.Converter {
	return converter.NewConverter(converter.WithPlugins(
		base.NewBasePlugin(), commonmark.NewCommonmarkPlugin(), strikethrough.NewStrikethroughPlugin(),
		htmltable.NewTablePlugin(htmltable.WithCellPaddingBehavior(htmltable.CellPaddingBehaviorMinimal), htmltable.WithSkipEmptyRows(true), htmltable.WithSpanCellBehavior(htmltable.SpanBehaviorMirror)),
	))
})

// webpage reads HTML as Markdown: headings, lists, tables, code and links to http,
// https and mailto addresses stay. Scripts, styles, forms and pictures are left out;
// of a picture the words that stand for it stay. With mainText what surrounds the
// main text is left out too, where a main text can be told apart.
func webpage(ctx context.Context, data []byte, mainText bool, l Limits) (*engine.Parsed, error) {
	head := data[:min(len(data), 64<<10)]
	declared := declaredCharset(head)
	src, _, err := toUTF8(data, declared)
	if err != nil {
		return nil, err
	}
	doc, err := html.Parse(bytes.NewReader(src))
	if err != nil {
		return nil, broken("HTML", err)
	}
	title := pageTitle(doc)
	var warnings []string
	if mainText {
		article, err := readability.FromDocument(doc, nil)
		switch {
		case err != nil || article.Node == nil:
			warnings = append(warnings, "no main text could be told apart: the whole page was read")
			if doc, err = html.Parse(bytes.NewReader(src)); err != nil {
				return nil, broken("HTML", err)
			}
		default:
			doc = article.Node
			if title == "" {
				title = article.Title()
			}
		}
	}
	undress(doc)
	md, err := pageMarkdown().ConvertNode(doc, converter.WithContext(ctx))
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, broken("HTML", err)
	}
	return asMarkdown(cleaned(string(md)), title, warnings, l)
}

// asMarkdown makes a document of Markdown that was made of something else.
func asMarkdown(md, title string, warnings []string, l Limits) (*engine.Parsed, error) {
	if len(md) > l.TextBytes {
		return nil, tooLarge("the text is larger than %d bytes", l.TextBytes)
	}
	if strings.TrimSpace(md) == "" {
		if len(warnings) == 0 {
			warnings = []string{"there is no text in it"}
		}
		return &engine.Parsed{Title: title, Verbatim: true, Warnings: warnings}, nil
	}
	p := markdown([]byte(md), 0)
	p.Text, p.Warnings = md, warnings
	if title != "" {
		p.Title = title
	}
	return p, nil
}

// declaredCharset is what a page says of itself, "" when it says nothing.
func declaredCharset(head []byte) string {
	e, name, sure := charset.DetermineEncoding(head, "")
	if e == nil || name == "windows-1252" && !sure && !bytes.Contains(bytes.ToLower(head), []byte("charset")) {
		return ""
	}
	if i := bytes.Index(bytes.ToLower(head), []byte("charset=")); i >= 0 {
		rest := bytes.TrimLeft(head[i+len("charset="):], `"' `)
		if end := bytes.IndexAny(rest, "\"' />;"); end > 0 {
			return string(rest[:end])
		}
	}
	return name
}

func pageTitle(n *html.Node) string {
	for n := range n.Descendants() {
		if n.Type == html.ElementNode && n.DataAtom == atom.Title && n.FirstChild != nil {
			s := oneLine(n.FirstChild.Data)
			return s[:runesWithin(s, maxHeadingBytes)]
		}
	}
	return ""
}

// undress removes what is no text of a page.
func undress(doc *html.Node) {
	var gone []*html.Node
	for n := range doc.Descendants() {
		if n.Type == html.CommentNode {
			gone = append(gone, n)
		}
		if n.Type != html.ElementNode {
			continue
		}
		switch n.DataAtom {
		case atom.Script, atom.Style, atom.Noscript, atom.Template, atom.Iframe, atom.Object, atom.Embed, atom.Canvas, atom.Svg,
			atom.Audio, atom.Video, atom.Head, atom.Link, atom.Meta, atom.Button, atom.Input, atom.Select, atom.Textarea:
			gone = append(gone, n)
		case atom.Img:
			alt := ""
			for _, a := range n.Attr {
				if a.Key == "alt" {
					alt = oneLine(a.Val)
				}
			}
			n.Type, n.Data, n.DataAtom, n.Attr = html.TextNode, alt, 0, nil
			for c := n.FirstChild; c != nil; c = n.FirstChild {
				n.RemoveChild(c)
			}
		case atom.A:
			for _, a := range n.Attr {
				if a.Key == "href" && !shownAddress(a.Val) {
					n.Data, n.DataAtom, n.Attr = "span", atom.Span, nil
					break
				}
			}
		case atom.Td, atom.Th:
			n.Attr = slices.DeleteFunc(n.Attr, func(a html.Attribute) bool {
				n, err := strconv.Atoi(a.Val)
				return (a.Key == "colspan" || a.Key == "rowspan") && (err != nil || n > maxSpan)
			})
		case atom.Dt:
			n.Data, n.DataAtom = "p", atom.P
		case atom.Dd:
			n.Data, n.DataAtom = "p", atom.P
		}
	}
	for _, n := range gone {
		if n.Parent != nil {
			n.Parent.RemoveChild(n)
		}
	}
}

func shownAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxLinkBytes && (u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "mailto")
}

// epub reads an e-book chapter by chapter in the order of reading.
func epub(ctx context.Context, a *archive) (*engine.Parsed, error) {
	t := newDraft(a.limits)
	book, err := a.book(ctx)
	if err != nil {
		return nil, err
	}
	if a.has("META-INF/rights.xml") || a.has("META-INF/encryption.xml") && book.locked(ctx, a) {
		return nil, errLocked("the book")
	}
	t.title = book.title
	for _, part := range book.spine {
		b, err := a.read(part, a.limits.XMLBytes)
		if err != nil {
			return nil, err
		}
		if b == nil {
			t.warn(fmt.Sprintf("the chapter %s is missing", shortName(part)))
			continue
		}
		p, err := webpage(ctx, b, false, a.limits)
		if err != nil {
			return nil, err
		}
		t.include("", p)
		t.blank()
		if t.full {
			break
		}
	}
	return t.done()
}
