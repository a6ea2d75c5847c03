package engine

import (
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/tiktoken-go/tokenizer"
)

// Tokens are those of o200k_base, the encoding of gpt-4o, which LightRAG counts
// in. The vocabulary is compiled in and built at first use.
//
// Byte-pair merging never crosses the pieces that the encoding's split pattern
// makes of a text, so a text has the tokens of its pieces. The pieces are found
// here by hand (pieceEnd) and their counts are remembered, which makes counting
// of prose about twenty times faster than the library, which runs the pattern
// as a backtracking expression; the test holds the two together.

const (
	// maxPieceBytes cuts what has no boundary at all, such as a megabyte of
	// base64: time stays linear and memory flat. Each such cut may count one
	// token more than the whole run has.
	maxPieceBytes = 4096
	// maxCachedPiece is the longest piece whose count is remembered.
	maxCachedPiece = 32
	pieceSlots     = 1 << 15
)

var codec = sync.OnceValue(func() tokenizer.Codec {
	c, err := tokenizer.Get(tokenizer.O200kBase)
	if err != nil {
		panic("engine: o200k_base is compiled in: " + err.Error())
	}
	return c
})

// CountTokens returns the number of o200k tokens of s: exact for text, an
// estimate for the window of a model with another vocabulary.
func CountTokens(s string) int { return countTokens(s) }

func countTokens(s string) int {
	n := 0
	for len(s) > 0 {
		e := nextPiece(s)
		n += pieceTokens(s[:e])
		s = s[e:]
	}
	return n
}

// withinTokens reports whether s has at most n tokens. No token is shorter than
// a byte, so a text of few bytes needs no counting, and counting stops at n.
func withinTokens(s string, n int) bool {
	for len(s) > n {
		if n < 0 {
			return false
		}
		e := nextPiece(s)
		n -= pieceTokens(s[:e])
		s = s[e:]
	}
	return n >= 0
}

// cutTokens returns the longest beginning of s that has at most n tokens and
// ends between two runes.
func cutTokens(s string, n int) string {
	if len(s) <= n { // no token is without a byte
		return s
	}
	at, left := 0, n
	for at < len(s) {
		e := nextPiece(s[at:])
		k := pieceTokens(s[at : at+e])
		if k > left {
			return s[:at+pieceCut(s[at:at+e], left)]
		}
		left -= k
		at += e
	}
	return s
}

// pieceCut returns where the n-th token of a piece ends, moved back to a rune's
// start. A piece cut there may count a token or two differently from its tokens
// in the whole; the caller gets the longest beginning that really fits.
func pieceCut(piece string, n int) int {
	if n <= 0 {
		return 0
	}
	var tokens []string
	whole := piece
	for size := 8*n + 64; ; size *= 2 { // not all of a long run for a few tokens
		piece = whole[:min(size, len(whole))]
		var err error
		if _, tokens, err = codec().Encode(encodable(piece)); err != nil {
			return 0 // unreachable without a match timeout
		}
		if len(tokens) > n || len(piece) == len(whole) {
			break
		}
	}
	at := 0
	for _, t := range tokens[:min(n, len(tokens))] {
		at += len(t)
	}
	for at = min(at, len(piece)); at > 0; at-- {
		if (at == len(whole) || utf8.RuneStart(whole[at])) && encodedTokens(piece[:at]) <= n {
			break
		}
	}
	return at
}

type pieceCount struct {
	piece  string
	tokens int
}

// pieceCache is a table of counts, two to a set with the last counted first: bounded,
// and read without a lock.
var pieceCache [pieceSlots / 2][2]atomic.Pointer[pieceCount]

func pieceTokens(p string) int {
	if len(p) <= 1 {
		return len(p)
	}
	if len(p) > maxCachedPiece {
		return encodedTokens(p)
	}
	h := uint32(2166136261) // FNV-1a
	for i := 0; i < len(p); i++ {
		h = (h ^ uint32(p[i])) * 16777619
	}
	set := &pieceCache[(h^h>>16)%uint32(len(pieceCache))]
	first := set[0].Load()
	if first != nil && first.piece == p {
		return first.tokens
	}
	if c := set[1].Load(); c != nil && c.piece == p {
		return c.tokens
	}
	n := encodedTokens(p)
	set[1].Store(first)
	set[0].Store(&pieceCount{piece: string([]byte(p)), tokens: n}) // a copy: p would keep its document alive
	return n
}

// encodable writes DEL as another control character: v0.10.0 of the library
// passes over it (its table of ASCII lacks the last bit).
func encodable(p string) string { return strings.ReplaceAll(p, "\x7f", "\x01") }

func encodedTokens(p string) int {
	n, err := codec().Count(encodable(p))
	if err != nil {
		return len(p) // the upper bound; unreachable without a match timeout
	}
	return n
}

// Classes of runes in the split pattern of o200k_base.
const (
	classUpper   = 1 << iota // Lu Lt Lm Lo M
	classLower               // Ll Lm Lo M
	classWord                // L or N: never a prefix, never punctuation
	classNumber              // N
	classSpace               // \s
	classNewline             // \r \n
)

// classes holds the class of every rune of the basic plane.
var classes = sync.OnceValue(func() *[1 << 16]uint8 {
	var t [1 << 16]uint8
	for _, c := range []struct {
		table *unicode.RangeTable
		class uint8
	}{
		{unicode.Lu, classUpper | classWord}, {unicode.Lt, classUpper | classWord},
		{unicode.Ll, classLower | classWord},
		{unicode.Lm, classUpper | classLower | classWord}, {unicode.Lo, classUpper | classLower | classWord},
		{unicode.M, classUpper | classLower},
		{unicode.N, classNumber | classWord},
		{unicode.White_Space, classSpace},
	} {
		for _, r := range c.table.R16 {
			for x := uint32(r.Lo); x <= uint32(r.Hi); x += uint32(r.Stride) {
				t[x] |= c.class
			}
		}
	}
	t['\r'] |= classNewline
	t['\n'] |= classNewline
	return &t
})

func classOf(t *[1 << 16]uint8, r rune) uint8 {
	if r < 1<<16 {
		return t[r]
	}
	switch {
	case unicode.Is(unicode.Lo, r), unicode.Is(unicode.Lm, r):
		return classUpper | classLower | classWord
	case unicode.Is(unicode.Lu, r), unicode.Is(unicode.Lt, r):
		return classUpper | classWord
	case unicode.Is(unicode.Ll, r):
		return classLower | classWord
	case unicode.Is(unicode.M, r):
		return classUpper | classLower
	case unicode.Is(unicode.N, r):
		return classNumber | classWord
	}
	return 0
}

// nextPiece is pieceEnd, which is not asked about what most of a text is: a word in
// small letters of ASCII, with or without a space before it.
func nextPiece(s string) int {
	i := 0
	if s[0] == ' ' {
		i = 1
	}
	from := i
	for i < len(s) && i <= maxCachedPiece && s[i] >= 'a' && s[i] <= 'z' {
		i++
	}
	if i > from && i < len(s) && i <= maxCachedPiece && s[i] < utf8.RuneSelf && s[i] != '\'' {
		return i
	}
	return pieceEnd(s)
}

// pieceEnd returns the length of the first piece of s, which is not empty. The
// pattern's alternatives, in order (openai/tiktoken, openai_public.py):
//
//	[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//	[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//	\p{N}{1,3}
//	 ?[^\s\p{L}\p{N}]+[\r\n/]*
//	\s*[\r\n]+
//	\s+(?!\S)
//	\s+
func pieceEnd(s string) int {
	rest := len(s)
	if rest > maxPieceBytes {
		s = s[:maxPieceBytes]
		for i := 0; i < utf8.UTFMax && len(s) > 0; i++ { // not inside a rune
			if r, w := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || w != 1 {
				break
			}
			s = s[:len(s)-1]
		}
	}
	p := splitter{s: s, t: classes(), cut: len(s) < rest}
	return p.first()
}

// splitter finds the first piece of s; cut says that s goes on beyond its end.
type splitter struct {
	s   string
	t   *[1 << 16]uint8
	cut bool
}

func (p *splitter) at(i int) (class uint8, width int) {
	if i >= len(p.s) {
		return 0, 0
	}
	if b := p.s[i]; b < utf8.RuneSelf {
		return p.t[b], 1
	}
	r, w := utf8.DecodeRuneInString(p.s[i:])
	return classOf(p.t, r), w
}

func (p *splitter) first() int {
	class, w := p.at(0)
	prefixed := class&(classWord|classNewline) == 0
	if prefixed {
		if e := p.lowerWord(w); e > 0 {
			return e
		}
	}
	if e := p.lowerWord(0); e > 0 {
		return e
	}
	if prefixed {
		if e := p.upperWord(w); e > 0 {
			return e
		}
	}
	if e := p.upperWord(0); e > 0 {
		return e
	}
	if class&classNumber != 0 {
		e := w
		for range 2 {
			c, w := p.at(e)
			if c&classNumber == 0 {
				break
			}
			e += w
		}
		return e
	}
	if e := p.punctuation(); e > 0 {
		return e
	}
	return p.space()
}

// lowerWord matches the first alternative after its prefix: the run of upper
// letters gives back its last letter of no case when no lower letter follows.
func (p *splitter) lowerWord(i int) int {
	both := -1 // end of the last rune that is in both classes
	for {
		c, w := p.at(i)
		if c&classUpper == 0 {
			if c&classLower == 0 {
				break
			}
			for c&classLower != 0 {
				i += w
				c, w = p.at(i)
			}
			return p.contraction(i)
		}
		i += w
		if c&classLower != 0 {
			both = i
		}
	}
	if both < 0 {
		return 0
	}
	return p.contraction(both)
}

// upperWord matches the second alternative after its prefix. The first has
// failed, so that no lower letter can follow.
func (p *splitter) upperWord(i int) int {
	start := i
	for {
		c, w := p.at(i)
		if c&classUpper == 0 {
			break
		}
		i += w
	}
	if i == start {
		return 0
	}
	return p.contraction(i)
}

func (p *splitter) contraction(i int) int {
	if i+1 >= len(p.s) || p.s[i] != '\'' {
		return i
	}
	switch a := p.s[i+1] | 0x20; a {
	case 's', 't', 'm', 'd':
		return i + 2
	case 'r', 'v', 'l':
		want := byte('e')
		if a == 'l' {
			want = 'l'
		}
		if i+2 < len(p.s) && p.s[i+2]|0x20 == want {
			return i + 3
		}
	}
	return i
}

func (p *splitter) punctuation() int {
	i := 0
	if p.s[0] == ' ' {
		i = 1
	}
	start := i
	for i < len(p.s) {
		c, w := p.at(i)
		if c&(classSpace|classWord) != 0 {
			break
		}
		i += w
	}
	if i == start {
		return 0
	}
	for i < len(p.s) && (p.s[i] == '\r' || p.s[i] == '\n' || p.s[i] == '/') {
		i++
	}
	return i
}

func (p *splitter) space() int {
	i, newline, last := 0, 0, 0
	for {
		c, w := p.at(i)
		if c&classSpace == 0 {
			break
		}
		last = i
		i += w
		if c&classNewline != 0 {
			newline = i
		}
	}
	switch {
	case newline > 0:
		return newline
	case i < len(p.s) && last > 0:
		return last // the last space goes with the word after it
	case i == 0:
		return max(1, len(p.s)) // no rune is in no class; keep going forward all the same
	}
	return i
}
