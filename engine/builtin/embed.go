package builtin

import (
	"context"
	"math"
	"strings"
	"sync"
	"unicode/utf8"

	"alcove/engine"
	"alcove/engine/builtin/wordtable"
)

// EmbeddingModel names the vectors of Embedder. Anything that changes a vector
// (the table, the scanner, a constant of this file) makes another name.
const EmbeddingModel = "builtin-hybrid-v1"

// EmbeddingDim is the length of a vector: hashed words and character n-grams
// first, the mean of word vectors after them.
const EmbeddingDim = hashedDim + wordtable.Dim

const (
	hashedDim = 924
	// meaningShare is the squared length of the mean of word vectors. More helps
	// texts that say the same in other words and hurts those that are told apart
	// by names.
	meaningShare = 0.2
	// gramRunes is the length of the character n-grams of words longer than
	// that; all grams of one word weigh gramShare of it together (in length).
	gramRunes = 5
	gramShare = 0.7
	// maxGrams bounds the n-grams of one word: what follows is no word.
	maxGrams = 64
	// spareBytes and spareTerms: scratch over this is not kept for the next text.
	spareBytes, spareTerms = 1 << 20, 1 << 12
)

// Embedder returns the embedding builtin-hybrid-v1: 1,024 dimensions, each
// vector of length 1 and a function of its text alone, the same on every
// machine. 924 dimensions hold hashed words and character 5-grams, weighted by
// how rare a word is in general English; 100 hold the mean of the word vectors
// with the direction that all means share taken out. It keeps no statistics of a
// corpus, so vectors stay comparable for ever. Safe for concurrent use; Embed
// fails only with ctx's error.
func Embedder() engine.Embedder { return &embedder{table: words()} }

type embedder struct {
	table   *wordtable.Table
	scratch sync.Pool // of *bag
}

func (e *embedder) Model() string { return EmbeddingModel }
func (e *embedder) Pure() bool    { return true }

func (e *embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	b, _ := e.scratch.Get().(*bag)
	if b == nil {
		b = &bag{table: e.table}
	}
	out := make([][]float32, len(texts))
	for i, t := range texts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out[i] = b.embed(t)
	}
	if cap(b.letters) <= spareBytes && len(b.slots) <= 2*spareTerms {
		e.scratch.Put(b)
	}
	return out, nil
}

// bag is the words of one text, and scratch to read the next one with.
type bag struct {
	table   *wordtable.Table
	scan    wordtable.Scanner
	letters []byte // of all terms, one after another
	terms   []term
	slots   []int32 // open addressing by hash: index in terms + 1
	stops   bool    // terms are function words, for want of others
	mean    [wordtable.Dim]float32
}

// term is one distinct word. Two words of one hash count as one: they share
// their dimension as well.
type term struct {
	hash       uint64
	start, end int // in letters
	n          int
}

// Floating point below: Go may fuse a multiplication and an addition on some
// machines and not on others. A conversion between them forbids it, which is
// what conversions to a type the value already has are for.

func (b *bag) embed(text string) []float32 {
	b.read(text)
	v := make([]float32, EmbeddingDim)
	for i := range b.terms {
		t := &b.terms[i]
		b.addTerm(v[:hashedDim], b.letters[t.start:t.end], t)
	}
	hashed := length(v[:hashedDim])
	b.takeCommon()
	meaning := length(b.mean[:])
	switch {
	case hashed > 0 && meaning > 0:
		hashed = math.Sqrt(1-meaningShare) / hashed
		meaning = math.Sqrt(meaningShare) / meaning
	case hashed > 0:
		hashed = 1 / hashed
	case meaning > 0: // terms that cancel each other
		meaning = 1 / meaning
	default:
		addBytes(v[:hashedDim], text)
		hashed = 1 / length(v[:hashedDim])
	}
	for i := range hashedDim {
		v[i] = float32(float64(v[i]) * hashed)
	}
	for i, x := range b.mean {
		v[hashedDim+i] = float32(float64(x) * meaning)
	}
	return v
}

// read fills terms and mean with the words of a text. A text of function words
// alone ("who is he") is told by them.
func (b *bag) read(text string) {
	clear(b.mean[:])
	for _, b.stops = range [2]bool{false, true} {
		b.letters, b.terms = b.letters[:0], b.terms[:0]
		clear(b.slots)
		b.scan.Reset(text)
		for w := b.scan.Next(); w != nil; w = b.scan.Next() {
			h := wordtable.Hash(w)
			id, known := b.table.Lookup(w, h)
			if known && !b.stops {
				b.addMeaning(id)
			}
			if isStop(w, id, known) != b.stops {
				continue
			}
			if s := singular(w); len(s) < len(w) {
				w, h = s, wordtable.Hash(s)
			}
			b.count(w, h)
		}
		if len(b.terms) > 0 {
			return
		}
	}
}

// count adds one to a term.
func (b *bag) count(w []byte, h uint64) {
	if 2*len(b.terms) >= len(b.slots) {
		b.grow()
	}
	mask := uint64(len(b.slots) - 1)
	k := mix(h) & mask
	for ; b.slots[k] != 0; k = (k + 1) & mask {
		if t := &b.terms[b.slots[k]-1]; t.hash == h {
			t.n++
			return
		}
	}
	b.letters = append(b.letters, w...)
	b.terms = append(b.terms, term{hash: h, start: len(b.letters) - len(w), end: len(b.letters), n: 1})
	b.slots[k] = int32(len(b.terms))
}

func (b *bag) grow() {
	b.slots = make([]int32, max(256, 2*len(b.slots)))
	mask := uint64(len(b.slots) - 1)
	for i := range b.terms {
		k := mix(b.terms[i].hash) & mask
		for b.slots[k] != 0 {
			k = (k + 1) & mask
		}
		b.slots[k] = int32(i + 1)
	}
}

// addMeaning adds the vector of one occurrence of a known word.
func (b *bag) addMeaning(id int) {
	row, factor := b.table.Row(id)
	row = row[:wordtable.Dim]
	for j := range b.mean {
		b.mean[j] += float32(float32(int8(row[j])) * factor)
	}
}

// takeCommon removes the direction that the means of all texts share. What is
// then left of a mean that lay in it is noise, and is dropped.
func (b *bag) takeCommon() {
	before := length(b.mean[:])
	if before == 0 {
		return
	}
	common := b.table.Common()
	var d float64
	for i, x := range b.mean {
		d += float64(float64(x) * float64(common[i]))
	}
	for i := range b.mean {
		b.mean[i] = float32(float64(b.mean[i]) - float64(d*float64(common[i])))
	}
	if length(b.mean[:]) < 1e-4*before {
		clear(b.mean[:])
	}
}

// addTerm adds a term and its n-grams.
func (b *bag) addTerm(v []float32, w []byte, t *term) {
	x := float32(b.table.IDF(w, t.hash) * b.table.Count(t.n))
	put(v, t.hash, x)
	if len(w) <= gramRunes {
		return
	}
	// The word stands between marks, ^word$, so that its ends tell.
	var marked [maxWordBytes + 2]byte
	m := append(append(append(marked[:0], '^'), w...), '$')
	runes := utf8.RuneCount(m)
	if runes-2 <= gramRunes {
		return
	}
	grams := runes - gramRunes + 1
	g := float32(gramShare * float32(float64(x)/math.Sqrt(float64(grams))))
	start, end := 0, 0
	for range gramRunes {
		end += runeLen(m[end:])
	}
	for range min(grams, maxGrams) {
		put(v, wordtable.Hash(m[start:end]), g)
		start += runeLen(m[start:])
		end += runeLen(m[end:])
	}
}

// maxWordBytes is room for any word the scanner gives.
const maxWordBytes = 264

func runeLen(b []byte) int {
	if len(b) == 0 || b[0] < utf8.RuneSelf {
		return min(1, len(b))
	}
	_, n := utf8.DecodeRune(b)
	return n
}

// put adds x to the dimension of a hash, with the sign of the hash.
func put(v []float32, hash uint64, x float32) {
	k := mix(hash)
	if k>>63 == 1 {
		x = -x
	}
	v[k%hashedDim] += x
}

// mix spreads a hash over all bits (the first round of MurmurHash3's finaliser).
func mix(k uint64) uint64 {
	k ^= k >> 33
	k *= 0xff51afd7ed558ccd
	return k ^ k>>33
}

// addBytes stands in for a text without words: dimensions chosen by all its
// bytes. v is all zero, and is not afterwards.
func addBytes(v []float32, text string) {
	clear(v)
	h := uint64(0xcbf29ce484222325)
	for i := 0; i < len(text); i++ {
		h = (h ^ uint64(text[i])) * 0x100000001b3
	}
	for i := range 8 {
		v[mix(h+uint64(i))%hashedDim]++
	}
}

// length is the Euclidean norm. Products of two float32 are exact in float64.
func length(v []float32) float64 {
	var s float64
	for _, x := range v {
		s += float64(float64(x) * float64(x))
	}
	return math.Sqrt(s)
}

// singular cuts a plural's s: enough to let "films" find "film".
func singular(w []byte) []byte {
	if n := len(w); n > 3 && w[n-1] == 's' && w[n-2] != 's' {
		return w[:n-1]
	}
	return w
}

// isStop reports whether a word is one of stopWords; most are told by their number.
func isStop(w []byte, id int, known bool) bool {
	if !known {
		return len(w) <= maxStopBytes && stopSet()[string(w)]
	}
	s := stops()
	return id < len(s) && s[id]
}

// stopWords carry no meaning of their own in a bag of words.
var stopWords = [...]string{"a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "he", "her",
	"his", "in", "is", "it", "its", "of", "on", "or", "she", "that", "the", "their", "they", "this", "to", "was", "were",
	"which", "who", "will", "with", "what", "when", "where", "how", "does", "do", "did"}

const maxStopBytes = 5

var stopSet = sync.OnceValue(func() map[string]bool { return set(strings.Join(stopWords[:], " ")) })

// stops has true at the table's numbers of stopWords, all below its length.
var stops = sync.OnceValue(func() []bool {
	var s []bool
	for _, w := range stopWords {
		if id, ok := words().Lookup([]byte(w), wordtable.Hash([]byte(w))); ok {
			for len(s) <= id {
				s = append(s, false)
			}
			s[id] = true
		}
	}
	return s
})
