package engine

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// EntityID returns the identity of an entity or of a document's name for it:
// two spellings with one EntityID are one entity. It applies NFKC, one form of
// quotes and dashes, Unicode case folding, one space for any run of white space,
// and takes off white space and a pair of quotes around the whole. "" means that
// nothing is left. It is idempotent and accepts any bytes.
func EntityID(name string) string {
	id := name
	for range 8 { // one round for nearly all; a fixed point makes it idempotent
		next := entityID(id)
		if next == id {
			break
		}
		id = next
	}
	return id
}

func entityID(s string) string {
	plain := true
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if plain {
		s = strings.ToLower(s)
	} else {
		s = norm.NFKC.String(strings.ToValidUTF8(s, "\uFFFD"))
		s = norm.NFKC.String(cases.Fold().String(s))
		s = entityMarks.Replace(s)
	}
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	for len(s) > 1 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] && strings.IndexByte(s[1:len(s)-1], s[0]) < 0 {
		s = strings.TrimSpace(s[1 : len(s)-1])
	}
	return s
}

var entityMarks = strings.NewReplacer(
	"‘", "'", "’", "'", "‚", "'", "‛", "'", "′", "'", "`", "'", "´", "'",
	"“", `"`, "”", `"`, "„", `"`, "‟", `"`, "″", `"`, "«", `"`, "»", `"`,
	"‐", "-", "‑", "-", "‒", "-", "–", "-", "—", "-", "―", "-", "−", "-",
	"\u00ad", "", "\u200b", "", "\u200c", "", "\u200d", "", "\u2060", "", "\ufeff", "",
)

// foldLimit bounds the table of folded letters: Latin with its extensions.
const foldLimit = 0x250

// folded holds what letters and digits below foldLimit fold to; the rest is "".
var folded = func() (t [foldLimit]string) {
	for r := rune(0); r < foldLimit; r++ {
		t[r] = foldRune(r)
	}
	return t
}()

// undecomposed are letters that Unicode does not decompose but readers write
// without their stroke or ligature.
var undecomposed = map[rune]string{
	'æ': "ae", 'œ': "oe", 'ø': "o", 'đ': "d", 'ð': "d", 'ħ': "h", 'ı': "i", 'ĸ': "k", 'ł': "l",
	'ŋ': "n", 'ß': "ss", 'ŧ': "t", 'þ': "th", 'ς': "σ",
}

// foldRune lower-cases a rune and strips its accents; "" for what is neither
// letter nor digit nor a mark that carries meaning.
func foldRune(r rune) string {
	r = unicode.ToLower(r)
	if s, ok := undecomposed[r]; ok {
		return s
	}
	if isAccent(r) {
		return ""
	}
	if !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.Is(unicode.M, r) {
		return ""
	}
	if isUnspaced(r) || !unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic) && !unicode.IsNumber(r) {
		return string(r)
	}
	var b strings.Builder
	for _, c := range norm.NFKD.String(string(r)) {
		c = unicode.ToLower(c)
		if s, ok := undecomposed[c]; ok {
			b.WriteString(s)
		} else if !isAccent(c) && (unicode.IsLetter(c) || unicode.IsNumber(c)) {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// isAccent: combining marks and letters that stand for an apostrophe, which
// readers leave out. Vowel signs of Indic scripts
// and the voicing marks of kana are not among them: without them it is another word.
func isAccent(r rune) bool {
	switch {
	case r < 0x2B9:
		return false
	case r <= 0x36F, r >= 0x1AB0 && r <= 0x1AFF, r >= 0x1DC0 && r <= 0x1DFF, r >= 0x20D0 && r <= 0x20FF, r >= 0xFE20 && r <= 0xFE2F:
		return true
	case r >= 0x0591 && r <= 0x05C7: // Hebrew points
		return unicode.Is(unicode.Mn, r)
	case r >= 0x064B && r <= 0x065F, r == 0x0670, r == 0x0640: // Arabic vowels, kashida
		return true
	case r >= 0xFE00 && r <= 0xFE0F: // variation selectors
		return true
	}
	return false
}

// isUnspaced: letters of scripts written without spaces between words, and
// Hangul, where particles stick to nouns. Pairs of characters stand for words there.
func isUnspaced(r rune) bool {
	switch {
	case r < 0x0E00:
		return false
	case r <= 0x0EFF, // Thai, Lao
		r >= 0x1000 && r <= 0x109F,                             // Myanmar
		r >= 0x1780 && r <= 0x17FF,                             // Khmer
		r >= 0x3041 && r <= 0x30FF, r >= 0x31F0 && r <= 0x31FF, // kana
		r >= 0x3400 && r <= 0x4DBF, r >= 0x4E00 && r <= 0x9FFF, // Han
		r >= 0xF900 && r <= 0xFAFF, r >= 0xFF66 && r <= 0xFF9F, // compatibility Han, half-width kana
		r >= 0xAC00 && r <= 0xD7AF, r >= 0x20000 && r <= 0x323AF, // Hangul; Han extensions
		r == 0x3005 || r == 0x3007: // iteration mark, zero
		return true
	}
	return false
}

// fold lower-cases, strips accents, drops everything but letters and digits. A
// word that folds to itself is returned without a copy.
func fold(s string) string {
	same := true
	ascii := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			ascii = false
			break
		}
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9') {
			same = false
		}
	}
	if ascii && same {
		return s
	}
	if !ascii && !norm.NFKC.IsNormalString(s) {
		s = norm.NFKC.String(s)
	}
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range s {
		switch {
		case r < foldLimit:
			b.WriteString(folded[r])
		case r == utf8.RuneError:
		default:
			b.WriteString(foldRune(r))
		}
	}
	return b.String()
}

// appendParts appends the folded pieces of a word or of any stretch of text.
func appendParts(dst []part, s string) []part {
	if lower, ok := plainWord(s); ok { // nearly all: one piece without anything to strip
		if lower {
			return append(dst, part{key: s})
		}
		return append(dst, part{key: strings.ToLower(s), upper: s[0] <= 'Z' && s[0] >= 'A'})
	}
	return appendAnyParts(dst, s)
}

// plainWord reports whether a text is ASCII letters and digits alone, and not
// empty; lower, whether it has no capital.
func plainWord(s string) (lower, ok bool) {
	lower = true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c >= 'A' && c <= 'Z':
			lower = false
		default:
			return false, false
		}
	}
	return lower, s != ""
}

func appendAnyParts(dst []part, s string) []part {
	for len(s) > 0 {
		i := strings.IndexFunc(s, separates)
		p, rest := s, ""
		if i >= 0 {
			_, n := utf8.DecodeRuneInString(s[i:])
			p, rest = s[:i], s[i+n:]
		}
		s = rest
		if p == "" {
			continue
		}
		f := fold(unpossess(p))
		if f == "" {
			continue
		}
		if r, n := utf8.DecodeRuneInString(f); isUnspaced(r) && n < len(f) {
			dst = appendPairs(dst, f)
			continue
		}
		dst = append(dst, part{key: f, upper: upper(strings.TrimLeft(p, "'`’‘.&"))})
	}
	return dst
}

// appendPairs appends the overlapping pairs of characters of a word without spaces.
func appendPairs(dst []part, f string) []part {
	_, n := utf8.DecodeRuneInString(f)
	for at := 0; at+n < len(f); {
		_, m := utf8.DecodeRuneInString(f[at+n:])
		dst = append(dst, part{key: f[at : at+n+m]})
		at, n = at+n, m
	}
	return dst
}

func separates(r rune) bool {
	if r < utf8.RuneSelf {
		switch r {
		case '-', ',', ':', ';', '!', '?', '"', '/', '(', ')', '[', ']', '{', '}', '|', ' ', '\t', '\n', '\r', '\v', '\f':
			return true
		}
		return false
	}
	switch r {
	case '–', '—', '“', '”', '\u2010', '\u2011', '・', '、', '。':
		return true
	}
	return unicode.IsSpace(r)
}

func unpossess(s string) string {
	for _, suffix := range [...]string{"'s", "'S", "’s", "’S"} {
		if len(s) > len(suffix) && strings.HasSuffix(s, suffix) {
			return s[:len(s)-len(suffix)]
		}
	}
	return strings.TrimSuffix(strings.TrimSuffix(s, "'"), "’")
}
