package builtin

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"alcove/engine"
)

// token is a run of letters and digits, with hyphens and apostrophes inside.
type token struct {
	start, end int
	lower      bool // starts with a lower-case letter
	broken     bool // more than white space stands between it and the token before
}

func (r *reading) word(i int) string { return r.text[r.tokens[i].start:r.tokens[i].end] }

// tokenise cuts a text into tokens; any bytes are accepted.
func tokenise(text string) []token {
	out := make([]token, 0, len(text)/5+1)
	start, broken := -1, true
	var lower bool
	for i := 0; i < len(text); {
		c, n := rune(text[i]), 1
		if c >= utf8.RuneSelf {
			c, n = utf8.DecodeRuneInString(text[i:])
		}
		switch {
		case isWordRune(c):
			if start < 0 {
				start, lower = i, unicode.IsLower(c)
			}
		case start >= 0 && (c == '-' || c == '\'' || c == '’') && i+n < len(text) && isWordRune(firstRune(text[i+n:])):
		default:
			if start >= 0 {
				out = append(out, token{start: start, end: i, lower: lower, broken: broken})
				start, broken = -1, false
			}
			if !unicode.IsSpace(c) {
				broken = true
			}
		}
		i += n
	}
	if start >= 0 {
		out = append(out, token{start: start, end: len(text), lower: lower, broken: broken})
	}
	return out
}

func firstRune(s string) rune {
	c, _ := utf8.DecodeRuneInString(s)
	return c
}

func isWordRune(c rune) bool {
	if c < utf8.RuneSelf {
		return asciiWord[c]
	}
	return c != utf8.RuneError && (unicode.IsLetter(c) || unicode.IsNumber(c) || unicode.IsMark(c))
}

var asciiWord = func() (t [utf8.RuneSelf]bool) {
	for c := range t {
		t[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	return t
}()

// clip returns a sentence on one line, cut to limit bytes at white space. A cut
// sentence starts no later than the span from a to b, which it holds if it fits.
func clip(text string, s engine.Sentence, a, b, limit int) string {
	from, to := s.Start, s.End
	if to-from > limit {
		if b-from > limit {
			from = a
		}
		if from+limit < to {
			to = from + limit
			for to > from && !utf8.RuneStart(text[to]) {
				to--
			}
			if i := strings.LastIndexByte(text[from:to], ' '); i > limit/2 {
				to = from + i
			}
		}
	}
	return oneLine(strings.TrimSpace(text[from:to]))
}

// oneLine replaces runs of white space that are not one space.
func oneLine(s string) string {
	if strings.ContainsAny(s, "\n\r\t\v\f") || strings.Contains(s, "  ") {
		return strings.Join(strings.Fields(s), " ")
	}
	return s
}
