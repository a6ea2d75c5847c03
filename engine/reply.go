package engine

import (
	"html"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what one reply may say of one chunk; the rest is counted as dropped.
const (
	maxReplyEntities    = 60
	maxReplyRelations   = 100
	maxNameRunes        = 256 // LightRAG's limits of a name
	maxNameBytes        = 512
	maxTypeBytes        = 64
	maxKeywordsBytes    = 512
	maxDescriptionBytes = 4096
	maxKeywordCount     = 64 // of a level of a question's keywords
)

// readExtraction reads what a model wrote when it was asked for entities and
// relations, in rows or JSON, however it is wrapped. It never fails: what is
// usable is kept and every record that is not is counted.
func readExtraction(reply string) Extraction {
	var x extractionReader
	text := withoutThinking(reply)
	if !strings.Contains(text, "|>") && !strings.Contains(text, "<|") || looksLikeJSON(text) {
		x.json(text)
	}
	if len(x.out.Entities)+len(x.out.Relations) == 0 {
		x.rows(text)
	}
	return x.out
}

// extractionReader gathers records. Exact repetitions are one record.
type extractionReader struct {
	out  Extraction
	seen map[string]bool
}

func (x *extractionReader) fresh(parts ...string) bool {
	if x.seen == nil {
		x.seen = map[string]bool{}
	}
	key := strings.Join(parts, "\x00") // cleaned text holds no NUL
	if x.seen[key] {
		return false
	}
	x.seen[key] = true
	return true
}

func (x *extractionReader) entity(name, kind, description string) {
	e := EntityMention{Name: cleanName(name), Type: cleanType(kind), Description: cleanText(description, maxDescriptionBytes)}
	if e.Name == "" || e.Description == "" || e.Type == "" || len(x.out.Entities) == maxReplyEntities {
		x.out.Dropped++
		return
	}
	if x.fresh("e", e.Name, e.Type, e.Description) {
		x.out.Entities = append(x.out.Entities, e)
	}
}

// relation keeps a relation with the weight 1: like LightRAG, a strength that a
// model made up is not asked for and not used.
func (x *extractionReader) relation(source, target, keywords, description string) {
	r := RelationMention{
		Source: cleanName(source), Target: cleanName(target),
		Keywords: cleanKeywords(keywords), Description: cleanText(description, maxDescriptionBytes), Weight: 1,
	}
	if r.Source == "" || r.Target == "" || r.Source == r.Target || r.Description == "" || len(x.out.Relations) == maxReplyRelations {
		x.out.Dropped++
		return
	}
	if x.fresh("r", r.Source, r.Target, r.Keywords, r.Description) {
		x.out.Relations = append(x.out.Relations, r)
	}
}

var thinkTag = regexp.MustCompile(`(?i)<(/?)think(?:ing)?>`)

// withoutThinking removes what a reasoning model thought aloud: up to the last
// closing tag when the opening one is missing, to the end when it never closed.
func withoutThinking(s string) string {
	tags := thinkTag.FindAllStringSubmatchIndex(s, -1)
	if tags == nil {
		return s
	}
	var b strings.Builder
	at, depth := 0, 0
	for _, t := range tags {
		closing := t[2] < t[3]
		switch {
		case !closing:
			if depth == 0 {
				b.WriteString(s[at:t[0]])
			}
			depth++
		case depth > 0:
			if depth--; depth == 0 {
				at = t[1]
			}
		default: // closed without having been opened
			b.Reset()
			at = t[1]
		}
	}
	if depth == 0 {
		b.WriteString(s[at:])
	}
	return strings.TrimLeftFunc(b.String(), unicode.IsSpace)
}

// thinkFilter passes a stream on without a block of thinking at its beginning.
type thinkFilter struct {
	out   func(string) error
	held  string // the beginning, while it may still be a tag or a thought
	state int
}

const (
	thinkUnknown = iota
	thinkInside
	thinkOver
)

// maxHeldThought bounds the held text of a thought that never ends; only the
// end of it is needed to find the closing tag.
const maxHeldThought = 64

func newThinkFilter(out func(string) error) *thinkFilter { return &thinkFilter{out: out} }

func (f *thinkFilter) write(s string) error {
	if f.state == thinkOver {
		if s == "" {
			return nil
		}
		return f.out(s)
	}
	f.held += s
	if f.state == thinkUnknown {
		lead := strings.ToLower(strings.TrimLeftFunc(f.held, unicode.IsSpace))
		switch {
		case strings.HasPrefix(lead, "<think>"), strings.HasPrefix(lead, "<thinking>"):
			f.state = thinkInside
		case strings.HasPrefix("<thinking>", lead) || strings.HasPrefix("<think>", lead):
			return nil // may still become the tag
		default:
			return f.release(f.held)
		}
	}
	for _, t := range thinkTag.FindAllStringSubmatchIndex(f.held, -1) {
		if t[2] < t[3] {
			rest := strings.TrimLeftFunc(f.held[t[1]:], unicode.IsSpace)
			if rest == "" { // the white space may go on in the next piece
				f.held = f.held[t[0]:t[1]]
				return nil
			}
			return f.release(rest)
		}
	}
	if len(f.held) > maxHeldThought {
		f.held = f.held[len(f.held)-maxHeldThought:]
	}
	return nil
}

func (f *thinkFilter) release(s string) error {
	f.state, f.held = thinkOver, ""
	return f.out(s)
}

// close passes on what was held back at the end of the stream.
func (f *thinkFilter) close() error {
	if f.state != thinkUnknown || f.held == "" {
		return nil
	}
	return f.release(f.held)
}

// cleanText unescapes HTML, removes control characters and broken runes, makes
// white space single and cuts at maxBytes.
func cleanText(s string, maxBytes int) string {
	if strings.ContainsRune(s, '&') {
		s = html.UnescapeString(s)
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return -1
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	s = strings.TrimSpace(trimQuotes(s))
	return shorten(s, maxBytes)
}

// shorten cuts s to n bytes, between two runes and without white space at the end.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.TrimSpace(s[:n])
}

// quotePairs are the marks that models put around a name.
var quotePairs = map[rune]rune{
	'"': '"', '\'': '\'', '`': '`', '“': '”', '‘': '’', '«': '»', '„': '“', '「': '」', '『': '』', '《': '》', '〈': '〉',
}

// trimQuotes removes quotation marks that enclose all of s. Marks that also
// occur inside, as in "A" and "B", belong to the text.
func trimQuotes(s string) string {
	for {
		first, w := utf8.DecodeRuneInString(s)
		last, lw := utf8.DecodeLastRuneInString(s)
		if end, ok := quotePairs[first]; !ok || last != end || len(s) < w+lw {
			return s
		}
		inner := s[w : len(s)-lw]
		if strings.ContainsRune(inner, first) && first != '\'' {
			return s
		}
		s = strings.TrimSpace(inner)
	}
}

var (
	placeholder = regexp.MustCompile(`^[{<\[].*[}>\]]$|[{}]|<\||\|>|entity_name|source_entity|target_entity`)
	numberName  = regexp.MustCompile(`^[0-9.]+$`)
)

// placeholderMarks has one byte of whatever placeholder matches: a name without any is
// not asked, which is nearly every one.
const placeholderMarks = "{}[<|_"

// cleanName returns a name as the graph may hold it, "" when it is none: empty,
// too long, a short number, punctuation, or a placeholder of the prompt. Names
// are otherwise as written; full-width forms become plain ones and the spaces
// that models put between Chinese and Latin letters go.
func cleanName(s string) string {
	s = cleanText(halfWidth(s), len(s)+utf8.UTFMax)
	s = strings.TrimSpace(trimQuotes(strings.Trim(s, "*_# \t")))
	switch {
	case strings.IndexFunc(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }) < 0:
		return ""
	case strings.ContainsAny(s, placeholderMarks) && placeholder.MatchString(s):
		return ""
	case len(s) > maxNameBytes || utf8.RuneCountInString(s) > maxNameRunes:
		return ""
	case len(s) < 6 && (len(s) < 3 || strings.Contains(s, ".")) && numberName.MatchString(s):
		return ""
	}
	return joinScripts(s)
}

// halfWidth maps the full-width forms of ASCII, and the wide space.
func halfWidth(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 0xff01 && r <= 0xff5e:
			return r - 0xfee0
		case r == 0x3000:
			return ' '
		}
		return r
	}, s)
}

func joinScripts(s string) string {
	if !strings.ContainsRune(s, ' ') || strings.IndexFunc(s, ideograph) < 0 {
		return s
	}
	runes := []rune(s)
	out := runes[:0:0]
	for i, r := range runes {
		if r == ' ' && i > 0 && i+1 < len(runes) && (ideograph(runes[i-1]) || ideograph(runes[i+1])) {
			continue
		}
		out = append(out, r)
	}
	return string(out)
}

func ideograph(r rune) bool { return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana) }

// cleanType returns a type in lower case without spaces, the first of a list;
// "" when it is none.
func cleanType(s string) string {
	s = cleanText(halfWidth(s), maxTypeBytes*2)
	s, _, _ = strings.Cut(s, ",")
	s = strings.ToLower(strings.ReplaceAll(trimQuotes(strings.TrimSpace(s)), " ", ""))
	if s == "" || len(s) > maxTypeBytes || strings.ContainsAny(s, `'"()<>|/\{}[]`) {
		return ""
	}
	return s
}

// listMarks are what separates keywords beside the comma.
var listMarks = strings.NewReplacer("，", ",", "、", ",", ";", ",")

// cleanKeywords returns keywords separated by ", ", each once.
func cleanKeywords(s string) string {
	s = listMarks.Replace(cleanText(s, maxKeywordsBytes))
	seen := map[string]bool{}
	var out []string
	for k := range strings.SplitSeq(s, ",") {
		k = trimQuotes(strings.TrimSpace(k))
		if k == "" || seen[k] || placeholder.MatchString(k) {
			continue
		}
		seen[k] = true
		out = append(out, k)
	}
	return strings.Join(out, ", ")
}
