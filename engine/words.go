package engine

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sentence is a stretch of a text, Start and End in bytes, End exclusive.
type Sentence struct{ Start, End int }

// Sentences cuts a text into sentences, in order and without overlap. Full
// stops, question and exclamation marks and semicolons end one, of any script,
// unless the text goes on in lower case or the stop belongs to an initial, an
// abbreviation or a number; so does a line break, unless the line looks wrapped
// (see minWrapped). White space and stray punctuation between sentences belong
// to none; a text without letters and digits has none. Any bytes are accepted.
// Names returned by FindNames count sentences as this function does.
func Sentences(text string) []Sentence {
	s := scan(text)
	return s.sentences(text)
}

// Terms returns the index terms of a text in order, repeats included: words
// folded (lower case, no accents, letters and digits only), split at hyphens,
// without a possessive, stemmed; text of scripts written without spaces gives
// pairs of characters. The strings may share the text's memory.
func Terms(text string) []string {
	s := scan(text)
	out := make([]string, len(s.parts))
	for i := range s.parts {
		out[i] = stem(s.parts[i].key)
	}
	return out
}

// IsFunctionWord reports whether a folded, unstemmed word carries no meaning of
// its own in a question (English articles, pronouns, auxiliaries, ...).
func IsFunctionWord(word string) bool { return functionWords[word] }

// word is one word of a text. text is as written but for its apostrophe and
// hyphen, which are ' and -.
type word struct {
	text       string
	start, end int // bytes
	sentence   int
	part, last int  // its parts are parts[part:last]
	upper      bool // starts with a capital
	opens      bool // is the first of its sentence
	opensLine  bool // is the first after a line break that is not an editor's
	broken     bool // punctuation stands between it and the word before
	// quoteBefore: a quotation mark stands between it and the word before.
	quoteBefore bool
}

// part is a folded piece of a word: the unit of terms and of keys of names.
type part struct {
	key   string
	upper bool
}

// scanned is a text taken apart. Every word has at least one part.
type scanned struct {
	words []word
	parts []part
	ends  []int // end of each sentence that a mark or a line break closed
}

// A line of minWrapped to maxWrapped bytes is taken as wrapped by an editor: the
// sentence goes on in the next line unless that is blank or starts like a list
// item. Editors wrap at 65 to 100; headings and list items are mostly shorter, and
// a longer line is a paragraph.
const (
	minWrapped = 50
	maxWrapped = 120
)

// sentenceEnds are the marks that end a sentence besides the full stop.
const sentenceEnds = "?!;。｡！？；।॥؟۔։።"

const closers = "\"'”’)]»」』）"

// scan takes a text apart. It never fails: a byte that is not UTF-8 is punctuation.
func scan(text string) scanned {
	s := scanned{words: make([]word, 0, len(text)/5+1), parts: make([]part, 0, len(text)/5+1)}
	s.scan(text)
	return s
}

// forget lets go of the text and keeps the memory for the next; keys stay good.
func (s *scanned) forget() {
	clear(s.words)
	clear(s.parts)
	s.words, s.parts, s.ends = s.words[:0], s.parts[:0], s.ends[:0]
}

// scan is scan into an empty s.
func (s *scanned) scan(text string) {
	var (
		from      = -1    // start of the word being read
		bytes     uint8   // classes of its bytes
		odd       = false // it holds an apostrophe or hyphen that is not ASCII
		unspaced  = false // it is of a script without spaces
		next      = word{opens: true, opensLine: true}
		lineStart = 0
	)
	flush := func(end int) {
		if from < 0 {
			return
		}
		w := next
		w.text, w.start, w.end = text[from:end], from, end
		if odd {
			w.text = plainMarks.Replace(w.text)
		}
		from, odd = -1, false
		w.part = len(s.parts)
		switch { // nearly all words are one piece without anything to strip
		case bytes == byteSmall:
			s.parts = append(s.parts, part{key: w.text})
		case bytes&byteOther == 0:
			s.parts = append(s.parts, part{key: strings.ToLower(w.text), upper: byteClass[w.text[0]] == byteCapital})
		default:
			s.parts = appendParts(s.parts, w.text)
		}
		if len(s.parts) == w.part {
			return // marks alone; what stood before them stands before the next word
		}
		w.last = len(s.parts)
		w.upper = upper(w.text)
		s.words = append(s.words, w)
		next = word{sentence: w.sentence}
	}
	endSentence := func(at int) {
		if !next.opens {
			s.ends = append(s.ends, at)
			next = word{sentence: next.sentence + 1, opens: true, broken: true, opensLine: next.opensLine}
		}
	}
	for i := 0; i < len(text); {
		if from >= 0 && !unspaced { // most bytes go on with a word
			for i < len(text) && byteClass[text[i]] != byteOther {
				bytes |= byteClass[text[i]]
				i++
			}
			if i == len(text) {
				break
			}
		}
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(text[i:])
		}
		switch {
		case r != utf8.RuneError && isWordRune(r):
			if u := isUnspaced(r); from < 0 {
				from, unspaced, bytes = i, u, 0
			} else if u != unspaced && !unicode.Is(unicode.M, r) {
				flush(i)
				from, unspaced, bytes = i, u, 0
			}
			bytes |= byteClass[text[i]]
		case from >= 0 && isInner(r) && letterAt(text, i+size), r == '&' && from >= 0 && initialsMeet(text, i):
			odd, bytes = odd || r >= utf8.RuneSelf, bytes|byteOther
		case r == '.' && from >= 0 && keepsStop(text[from:i]):
			bytes |= byteOther
		case r == '\n':
			flush(i)
			if !wrapped(text, lineStart, i) {
				endSentence(i)
				next.opensLine = true
			}
			lineStart = i + 1
		case unicode.IsSpace(r):
			flush(i)
		default:
			flush(i)
			if r == '&' { // Simon & Schuster is one name
				break
			}
			next.broken = true
			next.quoteBefore = next.quoteBefore || r == '"' || r == '“' || r == '”'
			if !next.opens && (r == '.' && !goesOn(text[i+size:]) || r != '.' && isSentenceEnd(r)) {
				endSentence(pastClosers(text, i+size))
			}
		}
		i += size
	}
	flush(len(text))
}

func isSentenceEnd(r rune) bool {
	return r == '.' || r != utf8.RuneError && strings.ContainsRune(sentenceEnds, r)
}

// pastClosers is the end of a sentence whose mark ends at i: more marks and what
// closes quotes and brackets belong to it.
func pastClosers(text string, i int) int {
	for i < len(text) {
		r, n := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError || !isSentenceEnd(r) && !strings.ContainsRune(closers, r) {
			break
		}
		i += n
	}
	return i
}

// sentences gives the spans of the numbers that the words carry.
func (s *scanned) sentences(text string) []Sentence {
	if len(s.words) == 0 {
		return nil
	}
	out := make([]Sentence, 0, len(s.ends)+1)
	floor := 0
	for i := range s.words {
		w := &s.words[i]
		if w.sentence == len(out) {
			start := w.start
			for start > floor {
				r, n := utf8.DecodeLastRuneInString(text[floor:start])
				if !strings.ContainsRune("\"'“‘([«「『（¿¡", r) || r == utf8.RuneError {
					break
				}
				start -= n
			}
			out = append(out, Sentence{Start: start})
		}
		end := len(text)
		if w.sentence < len(s.ends) {
			end = s.ends[w.sentence]
		}
		if i+1 == len(s.words) || s.words[i+1].sentence != w.sentence {
			out[w.sentence].End = w.end + len(strings.TrimRightFunc(text[w.end:end], unicode.IsSpace))
			floor = end
		}
	}
	return out
}

// Classes of bytes of a word.
const (
	byteSmall   = 1 << iota // ASCII digits and small letters
	byteCapital             // ASCII capitals
	byteOther               // marks, and what is not ASCII
)

var byteClass = func() (t [256]uint8) {
	for b := range t {
		switch r := rune(b); {
		case b >= utf8.RuneSelf || !isWordRune(r):
			t[b] = byteOther
		case r >= 'A' && r <= 'Z':
			t[b] = byteCapital
		default:
			t[b] = byteSmall
		}
	}
	return t
}()

// isWordRune: letters, digits and combining marks make words.
func isWordRune(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	}
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.Is(unicode.M, r)
}

// isInner: marks that stay inside a word when a letter follows.
func isInner(r rune) bool {
	switch r {
	case '\'', '’', '-', '–', '\u2010', '\u2011':
		return true
	}
	return false
}

var plainMarks = strings.NewReplacer("’", "'", "–", "-", "\u2010", "-", "\u2011", "-")

// initialsMeet: the ampersand of AT&T, with a capital on each side.
func initialsMeet(text string, i int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:i])
	after, _ := utf8.DecodeRuneInString(text[i+1:])
	return unicode.IsUpper(before) && unicode.IsUpper(after)
}

func letterAt(text string, i int) bool {
	r, _ := utf8.DecodeRuneInString(text[i:])
	return unicode.IsLetter(r)
}

// keepsStop reports whether a full stop after w is part of the word: an
// initial, a dotted abbreviation (U.S.), or one of abbreviations.
func keepsStop(w string) bool {
	first, n := utf8.DecodeRuneInString(w)
	if n == len(w) {
		return unicode.IsUpper(first)
	}
	_, n = utf8.DecodeLastRuneInString(w)
	if w[len(w)-n-1] == '.' {
		return true
	}
	return len(w) <= longestAbbreviation && unicode.IsUpper(first) && abbreviations[strings.ToLower(w)]
}

// goesOn reports whether what follows a full stop shows that it ends no
// sentence: 3.5, example.com, "etc. and".
func goesOn(rest string) bool {
	r, _ := utf8.DecodeRuneInString(rest)
	if unicode.IsDigit(r) {
		return true
	}
	r, _ = utf8.DecodeRuneInString(strings.TrimLeft(rest, " \t"))
	return unicode.IsLower(r)
}

// wrapped reports whether the line break at text[at] is an editor's.
func wrapped(text string, lineStart, at int) bool {
	if n := at - lineStart; n < minWrapped || n > maxWrapped || at+1 >= len(text) {
		return false
	}
	r, _ := utf8.DecodeRuneInString(text[at+1:])
	return unicode.IsLetter(r) || r == '(' || r == '"' || r == '“'
}

func upper(s string) bool {
	if s != "" && s[0] < utf8.RuneSelf {
		return s[0] >= 'A' && s[0] <= 'Z'
	}
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsUpper(r) || unicode.IsTitle(r)
}

func digits(s string) bool {
	for _, r := range s {
		if !unicode.IsDigit(r) {
			return false
		}
	}
	return s != ""
}
