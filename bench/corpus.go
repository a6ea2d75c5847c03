package bench

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Corpus makes documents up. A document is a function of the Corpus and its
// number. A chunk speaks of some 20 things, a few of which everybody speaks of and
// most of which hardly anybody does, and relates ten pairs of them.
type Corpus struct {
	Seed   uint64
	Chunks int  // of 1200 tokens in a document, about
	Own    bool // a document speaks of things of its own alone
}

// Passages returns the documents with the numbers from to from+n-1.
func (c Corpus) Passages(from, n int) []Passage {
	out := make([]Passage, n)
	for i := range out {
		out[i] = Passage{ID: fmt.Sprintf("doc-%d", from+i), Text: c.text(from + i)}
	}
	return out
}

const (
	// A paragraph is six sentences, the first of which names two things, and some
	// 105 tokens; so many go into a chunk of 1200 with an overlap of 100.
	corpusParagraphs = 10
	// corpusThings is how many things there are to speak of.
	corpusThings = 200_000
)

// corpusWords fill the sentences.
var corpusWords = strings.Fields(`the a of and to in that was for with on by from at which this had were their an its
	river harbour winter letter machine garden bridge paper clock summer tower library council market valley street
	school ship engine morning evening village forest mountain field house road station hospital museum theatre church
	early late small large quiet narrow old new northern southern public private several many few important common
	built opened closed moved found kept wrote carried began ended remained followed returned became showed described
	report account record number year month century period reason result change question answer example part history`)

var corpusVerbs = strings.Fields("met taught followed paid visited joined left helped hired praised sued wrote")

// syllables make names.
var syllables = func() (out []string) {
	for _, c := range "bdfgklmnprstvwzh" {
		for _, v := range "aeio" {
			out = append(out, string(c)+string(v))
		}
	}
	return out
}()

// thing is the name of thing k, two capitalised words; no two below 64⁴ have one.
func thing(k int) string {
	s := func(i int) string { return syllables[i%len(syllables)] }
	word := func(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
	return word(s(k)+s(k/64)+"r") + " " + word(s(k/4096)+s(k/262144)+"n")
}

func (c Corpus) text(n int) string {
	r := rand.New(rand.NewPCG(c.Seed, uint64(n)))
	zipf := rand.NewZipf(r, 1.1, 8, corpusThings-1)
	next, own := func() int { return int(zipf.Uint64()) }, n*2*c.Chunks*corpusParagraphs
	if c.Own {
		next = func() int { own++; return own }
	}
	var b strings.Builder
	for range c.Chunks * corpusParagraphs {
		x, y := next(), next()
		fmt.Fprintf(&b, "In %d %s %s %s at the %s", 1800+r.IntN(220), thing(x), corpusVerbs[r.IntN(len(corpusVerbs))], thing(y), corpusWords[21+r.IntN(32)])
		for range 5 {
			b.WriteString(". It was")
			for range 12 + r.IntN(6) {
				b.WriteString(" " + corpusWords[r.IntN(len(corpusWords))])
			}
		}
		b.WriteString(".\n\n")
	}
	return b.String()
}

// question asks for things that documents share; no two numbers ask the same.
func (c Corpus) question(n int) string {
	r := rand.New(rand.NewPCG(c.Seed, 1<<40+uint64(n)))
	zipf := rand.NewZipf(r, 1.1, 8, corpusThings-1)
	return fmt.Sprintf("Which %s connects %s with %s in account %d?",
		corpusWords[21+r.IntN(32)], thing(int(zipf.Uint64())), thing(int(zipf.Uint64())), n)
}
