package engine

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// How well a text may be cut at a place, worst first.
type boundary int

const (
	noBoundary boundary = iota
	wordBoundary
	wrapBoundary // a line end in the middle of a sentence
	sentenceBoundary
	lineBoundary
	paragraphBoundary
)

// minFill is the part of a chunk that must be full before a better kind of
// boundary is taken over more text.
const minFill = 0.5

// cut returns where a chunk that begins at start ends: after at most size
// tokens, without the white space at its end. It holds text beyond done, which
// the chunk before has reached; where the overlap leaves no room for that, it
// begins there, so that begin may be after start. Of the boundaries in the last
// part of the window the best kind is taken, and the last of its kind.
func (c *chunker) cut(text string, start, done int) (begin, end int) {
	done = skipSpace(text, done)
	for budget := c.size; ; budget -= max(1, budget/16) {
		end = start + len(cutTokens(text[start:], max(budget, 1)))
		if end <= done && start < done {
			start, budget = done, c.size
			end = start + len(cutTokens(text[start:], budget))
		}
		if end <= done { // a rune of more than size tokens
			_, w := utf8.DecodeRuneInString(text[start:])
			return start, start + w
		}
		if end < len(text) {
			least := max(done, start+int(minFill*float64(end-start)))
			if at := lastBoundary(text, start, least, end); at > 0 {
				end = at
			}
		}
		end = trimSpace(text, start, end)
		// Cut in the middle of a piece it may count a token more than before.
		if budget <= 1 || withinTokens(text[start:end], c.size) {
			return start, end
		}
	}
}

// next returns where the chunk after text[start:end] begins: back by whole
// sentences, by words where the last sentence is longer than the overlap, or
// at end where there is no overlap.
func (c *chunker) next(text string, start, end int) int {
	after := skipSpace(text, end)
	if c.overlap == 0 {
		return after
	}
	// A suffix of at most overlap tokens, found by halving: counting is cheap
	// and a text is cut at its beginning only.
	_, w := utf8.DecodeRuneInString(text[start:])
	low, high := start+w, end // high always fits
	if c.overlap*maxBytesPerToken < end-start {
		for low = end - c.overlap*maxBytesPerToken; low < end && !utf8.RuneStart(text[low]); {
			low++
		}
	}
	for low < high {
		mid := (low + high) / 2
		for mid > low && !utf8.RuneStart(text[mid]) {
			mid--
		}
		if withinTokens(text[mid:end], c.overlap) {
			high = mid
		} else {
			_, w := utf8.DecodeRuneInString(text[mid:])
			low = mid + w
		}
	}
	if at := firstBoundary(text, start, high, end, sentenceBoundary); at > 0 {
		return at
	}
	if at := firstBoundary(text, start, high, end, wordBoundary); at > 0 {
		return at
	}
	if at := skipSpace(text, high); at > start && at < end {
		return at
	}
	return after
}

// lastBoundary returns the best place in (least, end] to end a chunk, 0 if
// there is none but between two runes.
func lastBoundary(text string, start, least, end int) int {
	best, at := noBoundary, 0
	eachBoundary(text, start, min(len(text), end+utf8.UTFMax), func(i int, b boundary) bool {
		if i > end {
			return false
		}
		if i > least && b >= best {
			best, at = b, i
		}
		return true
	}, least)
	return at
}

// firstBoundary returns the first place in [from, end) where something of at
// least the given kind begins, 0 if there is none.
func firstBoundary(text string, start, from, end int, kind boundary) int {
	at := 0
	eachBoundary(text, start, end, func(i int, b boundary) bool {
		next := skipSpace(text, i)
		if b < kind || next < from {
			return next < end
		}
		if next < end && next > start {
			at = next
		}
		return false
	}, max(start, from-utf8.UTFMax*8))
	return at
}

// eachBoundary calls f with the places in (from, end] where text[start:] may be
// cut, in order, until f returns false. A place is where the text before it
// ends; white space may follow.
func eachBoundary(text string, start, end int, f func(at int, b boundary) bool, from int) {
	from = max(start, from)
	for from > start && !utf8.RuneStart(text[from]) {
		from--
	}
	prevSpace := true
	if from > start {
		before, _ := utf8.DecodeLastRuneInString(text[start:from])
		prevSpace = unicode.IsSpace(before)
	}
	for i := from; i < end; {
		r, w := utf8.DecodeRuneInString(text[i:])
		switch {
		case unicode.IsSpace(r):
			if prevSpace {
				i += w
				continue
			}
			stop := skipSpace(text, i)
			b := spaceBoundary(text, start, i, stop)
			if !f(i, b) {
				return
			}
			i, prevSpace = stop, true
			continue
		case closesSentence(text, start, i, r):
			stop := i + w
			stop += closingMarks(text[stop:])
			if stop < len(text) && stop <= end {
				next, _ := utf8.DecodeRuneInString(text[stop:])
				if !unicode.IsSpace(next) && !f(stop, sentenceBoundary) { // else the white space is the boundary
					return
				}
			}
			i, prevSpace = max(stop, i+w), false
			continue
		}
		i += w
		prevSpace = false
	}
}

// spaceBoundary says what the white space text[at:stop] separates.
func spaceBoundary(text string, start, at, stop int) boundary {
	lines := strings.Count(text[at:stop], "\n")
	if lines == 0 {
		lines = strings.Count(text[at:stop], "\r")
	}
	switch {
	case lines > 1 && endsLoneLine(text, start, at, stop):
		return wrapBoundary
	case lines > 1:
		return paragraphBoundary
	case endsSentence(text, start, at, stop):
		if lines > 0 {
			return lineBoundary
		}
		return sentenceBoundary
	case lines == 0:
		return wordBoundary
	}
	// Prose wrapped by hand goes on with a small letter.
	before, _ := utf8.DecodeLastRuneInString(text[start:at])
	after, _ := utf8.DecodeRuneInString(text[stop:])
	if unicode.IsLower(after) && (unicode.IsLetter(before) || before == ',' || before == ';') {
		return wrapBoundary
	}
	return lineBoundary
}

// maxLoneLine is how long a line may be, in bytes, to be taken for a heading.
const maxLoneLine = 120

// endsLoneLine reports whether a short paragraph of one line that is no sentence
// ends at at: a heading in plain text, or the words before a list. It belongs to
// what follows.
func endsLoneLine(text string, start, at, stop int) bool {
	from := max(start, at-maxLoneLine)
	line := strings.LastIndexAny(text[from:at], "\r\n")
	if line < 0 {
		return from == start && !endsSentence(text, start, at, stop)
	}
	line += from
	gap := text[len(strings.TrimRightFunc(text[start:line], unicode.IsSpace))+start : line+1]
	return max(strings.Count(gap, "\n"), strings.Count(gap, "\r")) > 1 && !endsSentence(text, start, at, stop)
}

// endsSentence reports whether the text before the white space at..stop ends a
// sentence. A full stop does not after an initial or a short form, nor before
// a small letter.
func endsSentence(text string, start, at, stop int) bool {
	end := at
	var r rune
	for end > start {
		var w int
		r, w = utf8.DecodeLastRuneInString(text[start:end])
		if !isCloser(r) {
			break
		}
		end -= w
	}
	if end == start || !unicode.Is(unicode.STerm, r) && r != '…' {
		return false
	}
	if r != '.' {
		return true
	}
	if next, _ := utf8.DecodeRuneInString(text[stop:]); unicode.IsLower(next) {
		return false
	}
	word := text[max(start, end-12) : end-1]
	if i := strings.LastIndexFunc(word, func(r rune) bool { return !unicode.IsLetter(r) && r != '.' }); i >= 0 {
		word = word[i+1:]
	}
	first, w := utf8.DecodeRuneInString(word)
	return !(len(word) == w && unicode.IsUpper(first)) && !shortForms[word]
}

// closesSentence reports whether r ends a sentence without white space after
// it, as in scripts that write none.
func closesSentence(text string, start, i int, r rune) bool {
	return r >= 0x2e80 && unicode.Is(unicode.STerm, r)
}

// closingMarks returns the length of the closing marks and further stops at the
// beginning of s, which belong to the sentence before.
func closingMarks(s string) int {
	for i, r := range s {
		if !isCloser(r) && !(r >= 0x2e80 && unicode.Is(unicode.STerm, r)) {
			return i
		}
	}
	return len(s)
}

func isCloser(r rune) bool {
	return r == '"' || r == '\'' || r != utf8.RuneError && unicode.In(r, unicode.Pe, unicode.Pf) || r == '*' || r == '_'
}

// shortForms are words whose full stop ends no sentence.
var shortForms = map[string]bool{
	"Mr": true, "Mrs": true, "Ms": true, "Dr": true, "Prof": true, "St": true, "Jr": true, "Sr": true, "vs": true,
	"No": true, "Nr": true, "Art": true, "Fig": true, "cf": true, "e.g": true, "i.e": true, "z.B": true, "ca": true,
	"approx": true, "Gen": true, "Col": true, "Capt": true, "Lt": true, "Sen": true, "Rep": true, "Gov": true, "Rev": true,
}
