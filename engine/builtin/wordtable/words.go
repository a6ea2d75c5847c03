package wordtable

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxWordBytes bounds one word; a longer run of letters is cut into several.
// It is a bound on scratch memory, far over any word that is looked up.
const maxWordBytes = 256

// Scanner cuts a text into words: runs of letters, digits and marks, in lower
// case, without accents, without a possessive 's. In the scripts that are
// written without spaces a word is every pair of neighbouring characters (Han,
// kana) or every three (Thai, Lao, Khmer, Myanmar). Bytes that are not UTF-8
// separate words.
//
// The rule is part of what an embedding model's name stands for: changing it
// changes vectors, so it changes the name as well.
type Scanner struct {
	text string
	pos  int
	buf  []byte
	run  []byte // letters of an unspaced script still to be cut, from at
	at   int
	size int // characters a piece of run
}

// Reset starts over with a new text and keeps the buffers.
func (s *Scanner) Reset(text string) {
	s.text, s.pos, s.at, s.run = text, 0, 0, s.run[:0]
}

// Next returns the next word, never empty, or nil at the end of the text. The
// bytes are valid until the next call.
func (s *Scanner) Next() []byte {
	if s.at < len(s.run) {
		return s.piece()
	}
	s.buf = s.buf[:0]
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		if c < utf8.RuneSelf {
			switch k := asciiClass[c]; {
			case k != 0:
				if len(s.buf) >= maxWordBytes {
					return s.buf
				}
				s.buf = append(s.buf, k)
				s.pos++
			case len(s.buf) == 0:
				s.pos++
			default:
				s.skipPossessive(1)
				return s.buf
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(s.text[s.pos:])
		switch {
		case r == utf8.RuneError || !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r):
			if len(s.buf) > 0 {
				if r == '’' {
					s.skipPossessive(n)
				}
				return s.buf
			}
			s.pos += n
		case unspaced(r) > 0:
			if len(s.buf) > 0 {
				return s.buf
			}
			s.takeRun(unspaced(r))
			return s.piece()
		default:
			if len(s.buf) >= maxWordBytes {
				return s.buf
			}
			s.buf = appendFolded(s.buf, r)
			s.pos += n
			// A word of nothing but accents folds to nothing.
		}
	}
	if len(s.buf) == 0 {
		return nil
	}
	return s.buf
}

// skipPossessive steps over "'s" at pos, where the apostrophe has n bytes.
func (s *Scanner) skipPossessive(n int) {
	t := s.text[s.pos:]
	if n == 1 && t[0] != '\'' || len(t) < n+1 || t[n]|0x20 != 's' {
		return
	}
	if len(t) > n+1 {
		if r, _ := utf8.DecodeRuneInString(t[n+1:]); r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsNumber(r)) {
			return
		}
	}
	s.pos += n + 1
}

// takeRun collects the letters of an unspaced script from pos on.
func (s *Scanner) takeRun(size int) {
	s.run, s.at, s.size = s.run[:0], 0, size
	for s.pos < len(s.text) && len(s.run) < maxWordBytes {
		r, n := utf8.DecodeRuneInString(s.text[s.pos:])
		if unspaced(r) != size {
			return
		}
		s.run = append(s.run, s.text[s.pos:s.pos+n]...)
		s.pos += n
	}
}

// piece returns the next size characters of run, or all of a shorter one.
func (s *Scanner) piece() []byte {
	end, first := s.at, 0
	for i := range s.size {
		_, n := utf8.DecodeRune(s.run[end:])
		if i == 0 {
			first = n
		}
		end += n
		if end == len(s.run) {
			break
		}
	}
	p := s.run[s.at:end]
	if s.at += first; end == len(s.run) {
		s.at = end
	}
	return p
}

// unspaced is the length of the pieces that a script written without spaces is
// cut into, 0 for every other character.
func unspaced(r rune) int {
	switch {
	case r < 0x0E00:
		return 0
	case r < 0x0F00, 0x1000 <= r && r < 0x10A0, 0x1780 <= r && r < 0x1800:
		// Thai and Lao; Myanmar; Khmer.
		if unicode.IsLetter(r) || unicode.IsMark(r) {
			return 3
		}
	case 0x3040 <= r && r < 0x3100, 0x31F0 <= r && r < 0x3200, 0x3400 <= r && r < 0x4DC0, 0x4E00 <= r && r < 0xA000,
		0xF900 <= r && r < 0xFB00, 0x20000 <= r && r < 0x33480:
		if unicode.IsLetter(r) {
			return 2
		}
	}
	return 0
}

// asciiClass maps letters and digits to lower case and everything else to 0.
var asciiClass = func() (t [utf8.RuneSelf]byte) {
	for c := range t {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z':
			t[c] = byte(c)
		case 'A' <= c && c <= 'Z':
			t[c] = byte(c) | 0x20
		}
	}
	return t
}()

// Latin letters that Unicode does not take apart into a base and an accent.
var plain = map[rune]string{
	'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'đ': "d", 'ð': "d", 'þ': "th", 'ł': "l", 'ħ': "h", 'ı': "i",
}

// appendFolded adds r in lower case and, for the alphabets that write accents
// as accents (Latin, Greek, Cyrillic), without them.
func appendFolded(b []byte, r rune) []byte {
	r = unicode.ToLower(r)
	switch {
	case 0x0300 <= r && r <= 0x036F: // a combining accent
		return b
	case r < 0x0530 || 0x1E00 <= r && r < 0x2000:
		if p, ok := plain[r]; ok {
			return append(b, p...)
		}
		var enc [utf8.UTFMax]byte
		n := utf8.EncodeRune(enc[:], r)
		if d := norm.NFD.Properties(enc[:n]).Decomposition(); len(d) > 0 {
			base, _ := utf8.DecodeRune(d)
			r = unicode.ToLower(base)
		}
	}
	if r < utf8.RuneSelf && asciiClass[r] == 0 {
		return b // what is left of a spacing accent, say
	}
	return utf8.AppendRune(b, r)
}

// Hash is FNV-1a, 64 bits: what the table's slots and the embedding's
// dimensions are chosen by.
func Hash(word []byte) uint64 {
	h := uint64(0xcbf29ce484222325)
	for _, c := range word {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	return h
}
