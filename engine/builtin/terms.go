package builtin

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"alcove/engine"
)

const (
	// maxTerms is how many noun phrases one chunk gives, the most repeated ones.
	maxTerms = 12
	// maxTermWords bounds a repeated noun phrase, maxDefinedWords a term set in
	// quotes or bold.
	maxTermWords, maxDefinedWords = 3, 5
	// maxWorkWords bounds a quoted name; maxQuote is how far a quotation's end is
	// looked for.
	maxWorkWords, maxQuote = 8, 2000
	// maxMarked bounds the terms in quotes or bold of one chunk.
	maxMarked = 100
)

// sentenceAt finds the sentence that holds a byte of the text.
func (r *reading) sentenceAt(at int) (int, bool) {
	return slices.BinarySearchFunc(r.sentences, at, func(s engine.Sentence, at int) int {
		switch {
		case s.End <= at:
			return -1
		case s.Start > at:
			return 1
		}
		return 0
	})
}

// mentionAt records a mention of a term and returns its entity, -1 for none.
func (r *reading) mentionAt(name string, start, end int) int {
	// The key of a name of the same words, so that "Knowledge Base" and "knowledge base" are one.
	name = canonical(name)
	key := strings.Join(strings.FieldsFunc(strings.ToLower(name), func(c rune) bool { return !isWordRune(c) }), " ")
	s, ok := r.sentenceAt(start)
	if len(key) < 2 || !ok {
		return -1
	}
	id := r.add(name, key)
	r.mentions = append(r.mentions, mention{entity: id, sentence: s, start: start, end: end})
	return id
}

// readMarked finds terms in bold, quoted terms beside a word that says they are
// being explained, and quoted names: of works, mostly.
func (r *reading) readMarked() {
	titles := len(r.whole)
	for at, marked := 0, 0; at < len(r.text) && marked < maxMarked; {
		i := strings.IndexAny(r.text[at:], "*“‘\"")
		if i < 0 {
			break
		}
		open := at + i
		start, end, next := r.enclosed(open)
		at = next
		if end <= start {
			continue
		}
		start += len(r.text[start:end]) - len(strings.TrimLeft(r.text[start:end], " "))
		term := strings.TrimRight(r.text[start:end], " :")
		switch {
		case r.text[open] == '*' || r.explained(open, next):
			if termLike(term) {
				r.mentionAt(term, start, start+len(term))
				marked++
			}
		case r.workLike(term, open, next):
			if id := r.mentionAt(term, start, start+len(term)); id >= 0 {
				r.entities[id].votes[content] += 2
				r.whole = append(r.whole, span{start, start + len(term)})
				marked++
			}
		}
	}
	if titles > 0 && len(r.whole) > titles {
		slices.SortFunc(r.whole, func(a, b span) int {
			if a.start != b.start {
				return a.start - b.start
			}
			return b.end - a.end
		})
		kept := r.whole[:1]
		for _, s := range r.whole[1:] {
			if s.start >= kept[len(kept)-1].end {
				kept = append(kept, s)
			}
		}
		r.whole = kept
	}
}

// enclosed returns what stands between the mark at open and its partner in the
// same line, and where to go on; an empty span where that is nothing short.
func (r *reading) enclosed(open int) (start, end, next int) {
	rest := r.text[open:]
	mark, closer := `"`, `"`
	switch {
	case strings.HasPrefix(rest, "**"):
		mark, closer = "**", "**"
	case strings.HasPrefix(rest, "“"):
		mark, closer = "“", "”"
	case strings.HasPrefix(rest, "‘"):
		mark, closer = "‘", "’"
	case rest[0] == '*':
		return open, open, open + 1
	}
	start = open + len(mark)
	line := r.text[start:min(len(r.text), start+maxQuote)]
	if i := strings.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	n := strings.Index(line, closer)
	if n < 0 {
		return start, start, start
	}
	end, next = start+n, start+n+len(closer)
	if n > maxNameBytes || mark == "‘" && isWordRune(firstRune(r.text[next:])) {
		return start, start, next // a quotation; an apostrophe
	}
	return start, end, next
}

// workLike: a few words from a capital on, not speech (which has its mark
// inside the quotes), not a nickname inside a name.
func (r *reading) workLike(s string, open, next int) bool {
	if s == "" || len(strings.Fields(s)) > maxWorkWords || strings.ContainsAny(s[len(s)-1:], ".,;-") || !utf8.ValidString(s) {
		return false
	}
	c := firstRune(s)
	if !unicode.IsUpper(c) && !unicode.IsDigit(c) {
		return false
	}
	first, rest, _ := strings.Cut(strings.ToLower(s), " ")
	if rest == "" && (openers[first] || demonyms[first] || engine.IsFunctionWord(first)) || first == "i" || first == "you" {
		return false
	}
	i, _ := slices.BinarySearchFunc(r.tokens, open, func(t token, at int) int { return t.start - at })
	j, _ := slices.BinarySearchFunc(r.tokens, next, func(t token, at int) int { return t.start - at })
	named := i > 0 && j < len(r.tokens) && r.tokens[i-1].end+1 >= open && r.tokens[j].start <= next+1 &&
		unicode.IsUpper(firstRune(r.word(i-1))) && unicode.IsUpper(firstRune(r.word(j)))
	return !named
}

// termLike: one to maxDefinedWords words with letters, not all of them light.
func termLike(s string) bool {
	if len(s) < 3 || !utf8.ValidString(s) {
		return false
	}
	words := strings.Fields(s)
	if len(words) > maxDefinedWords {
		return false
	}
	for _, w := range words {
		if l := strings.ToLower(w); isKeyword(l) && isWordRune(firstRune(l)) && (l[0] < '0' || l[0] > '9') {
			return true
		}
	}
	return false
}

// explained: "... called “X”", "“X” means ...", "(“X”)".
func (r *reading) explained(start, end int) bool {
	if strings.HasSuffix(r.text[:start], "(") && strings.HasPrefix(r.text[end:], ")") {
		return true
	}
	for _, w := range [...]string{" means", " refers to", " is defined", " denotes", " shall mean", " is a ", " is the "} {
		if strings.HasPrefix(r.text[end:], w) {
			return true
		}
	}
	before := strings.TrimRight(r.text[:start], " ")
	for _, w := range [...]string{" called", " termed", " known as", " defined as", " referred to as", " named", " the term"} {
		if strings.HasSuffix(before, w) {
			return true
		}
	}
	return false
}

// repeated is one noun phrase; places are the tokens it starts at.
type repeated struct {
	places []int
	words  int
	first  int
}

// readRepeated adds lower-case noun phrases of two or three words, and hyphen
// compounds, that come at least twice.
func (r *reading) readRepeated() {
	seen := map[string]*repeated{}
	note := func(i, words int) {
		s := r.text[r.tokens[i].start:r.tokens[i+words-1].end]
		p := seen[s]
		if p == nil {
			p = &repeated{words: words, first: i}
			seen[s] = p
		}
		p.places = append(p.places, i)
	}
	r.countWords()
	for i := range r.tokens {
		if !r.inPhrase(i) || !r.again(i) {
			continue
		}
		if w := r.word(i); strings.IndexByte(w, '-') > 2 && nounLike(w) && !r.qualifies(i) {
			note(i, 1)
		}
		for n := 2; n <= maxTermWords && i+n <= len(r.tokens); n++ {
			last := i + n - 1
			if r.tokens[last].broken || r.tokens[last].start != r.tokens[last-1].end+1 || !r.inPhrase(last) || !r.again(last) {
				break
			}
			if nounLike(r.word(last)) {
				note(i, n)
			}
		}
	}
	type found struct {
		text string
		*repeated
	}
	var list []found
	for s, p := range seen {
		if len(p.places) > 1 && len(s) <= maxNameBytes {
			list = append(list, found{s, p})
		}
	}
	slices.SortFunc(list, func(a, b found) int {
		switch {
		case len(a.places) != len(b.places):
			return len(b.places) - len(a.places)
		case a.words != b.words:
			return b.words - a.words
		}
		return a.first - b.first
	})
	var taken []found
	for _, f := range list {
		if len(taken) == maxTerms {
			break
		}
		// "market surveillance" as often as "market surveillance authority" is a piece of it.
		if slices.ContainsFunc(taken, func(t found) bool {
			return len(t.places) == len(f.places) && strings.Contains(t.text, f.text)
		}) {
			continue
		}
		taken = append(taken, f)
	}
	for _, f := range taken {
		for _, i := range f.places[:min(len(f.places), maxEvidence)] {
			r.mentionAt(f.text, r.tokens[i].start, r.tokens[i+f.words-1].end)
		}
	}
}

// qualifies: a compound before a noun is said of it: "high-risk systems".
func (r *reading) qualifies(i int) bool {
	return i+1 < len(r.tokens) && !r.tokens[i+1].broken && (!r.tokens[i+1].lower || r.inPhrase(i+1))
}

// countWords counts content words by hash, up to two; a word of a phrase that
// comes twice comes twice, so that hardly any phrase of a short passage has to
// be noted. Two words of one place cost a note, no more.
func (r *reading) countWords() {
	for i := range r.tokens {
		if r.inPhrase(i) {
			if c := &r.counts[r.place(i)]; *c < 2 {
				*c++
			}
		}
	}
}

func (r *reading) again(i int) bool { return r.counts[r.place(i)] > 1 }

func (r *reading) place(i int) int {
	h := uint32(2166136261)
	for _, c := range []byte(r.word(i)) {
		h = (h ^ uint32(c)) * 16777619
	}
	return int((h ^ h>>16) % uint32(len(r.counts)))
}

// inPhrase: a lower-case content word.
func (r *reading) inPhrase(i int) bool {
	t := r.tokens[i]
	return t.lower && t.end-t.start > 2 && t.end-t.start < 40 && isKeyword(r.word(i))
}

// nounLike refuses endings of adjectives, adverbs and past forms.
func nounLike(w string) bool {
	for _, s := range [...]string{"ed", "ous", "ful", "able", "ible", "ive", "ish", "less", "ic"} {
		if strings.HasSuffix(w, s) {
			return false
		}
	}
	return true
}
