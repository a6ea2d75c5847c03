package engine

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxQuestionWords bounds the words of a question that are looked at.
	maxQuestionWords = 256
	// maxSeeds bounds the names of a question.
	maxSeeds = 32
	// rareFrequency: a word in at most this many passages is rare.
	rareFrequency = 20
	// groupWeight is the weight of words that a relation group adds.
	groupWeight = 0.5
)

// question is a question as one knowledge base understands it: its numbers are
// good until the base changes.
type question struct {
	text  string
	terms []uint32  // all words, distinct, in the order of the question
	rel   []relWord // words outside names and what their groups add, distinct
	seeds []seed    // names, longest first
	kw    Keywords
}

// relWord is a word that a passage or sentence may answer with. Its weight is 1
// when the question has it, groupWeight when only its group does.
type relWord struct {
	term   uint32
	weight float64
}

// seed is a name of the question: its number, its key, how the question writes
// it, and the place of its first word.
type seed struct {
	name         uint32
	key, surface string
	at           int
}

// questionWord is one folded word of a question.
type questionWord struct {
	key, stem  string
	start, end int // bytes of the word it is part of
	// proper: written as a name can be, with a capital or in a script without them.
	proper bool
	broken bool // punctuation stands before it
	used   bool
}

// parseQuestion reads a question against a base: names are its longest known
// keys, each word used once; what is left, without function words, are relation
// words. With relationGroups words of one group of relations (English) stand for
// each other. Any bytes are accepted.
func parseQuestion(r *recall, text string, relationGroups bool) question {
	return r.whole().parse(text, relationGroups)
}

// parse is parseQuestion against what is in sight.
func (r *sight) parse(text string, relationGroups bool) question {
	q := question{text: text}
	words := questionWords(text)
	for _, w := range words {
		if t, ok := r.part.Term(w.stem); ok {
			q.addTerm(t)
		}
	}
	q.findSeeds(r, words)
	for _, w := range words {
		if w.used || functionWords[w.key] {
			continue
		}
		if t, ok := r.part.Term(w.stem); ok {
			q.addRel(t, 1)
		}
		if !relationGroups {
			continue
		}
		for _, g := range relationGroup[w.key] {
			if t, ok := r.part.Term(g); ok {
				q.addRel(t, groupWeight)
			}
		}
	}
	q.kw = questionKeywords(r, text, words, q.seeds)
	return q
}

func questionWords(text string) []questionWord {
	if len(text) > maxQuestionWords*64 {
		text = strings.ToValidUTF8(text[:maxQuestionWords*64], "")
	}
	s := scan(text)
	out := make([]questionWord, 0, min(len(s.parts), maxQuestionWords))
	for i := range s.words {
		w := &s.words[i]
		for j, p := range s.parts[w.part:w.last] {
			if len(out) == maxQuestionWords {
				return out
			}
			out = append(out, questionWord{
				key: p.key, stem: stem(p.key), start: w.start, end: w.end,
				proper: p.upper || uncased(p.key), broken: w.broken && j == 0,
			})
		}
	}
	return out
}

// uncased reports whether a folded word is of a script without capitals.
func uncased(key string) bool {
	r, _ := utf8.DecodeRuneInString(key)
	return r >= foldLimit && unicode.IsLetter(r) && !unicode.IsLower(r)
}

func (q *question) addTerm(t uint32) {
	for _, x := range q.terms {
		if x == t {
			return
		}
	}
	q.terms = append(q.terms, t)
}

func (q *question) addRel(t uint32, weight float64) {
	for i := range q.rel {
		if q.rel[i].term == t {
			q.rel[i].weight = max(q.rel[i].weight, weight)
			return
		}
	}
	q.rel = append(q.rel, relWord{t, weight})
}

// findSeeds marks the words of known names as used, the longest names first.
func (q *question) findSeeds(r *sight, words []questionWord) {
	var b strings.Builder
	at := make([]int, len(words)+1)
	for i, w := range words {
		at[i] = b.Len()
		b.WriteString(w.key)
		b.WriteByte(' ')
	}
	at[len(words)] = b.Len()
	joined := b.String()
	for n := min(maxNameWords, len(words)); n >= 1; n-- {
		for a := 0; a+n <= len(words) && len(q.seeds) < maxSeeds; a++ {
			run := words[a : a+n]
			if !freeToName(run) {
				continue
			}
			key := joined[at[a] : at[a+n]-1]
			name, ok := r.lookup(key)
			if !ok || n == 1 && !r.standsAlone(run[0], name) {
				continue
			}
			for i := range run {
				run[i].used = true
			}
			if slices.ContainsFunc(q.seeds, func(s seed) bool { return s.name == name }) {
				continue
			}
			surface := q.text[run[0].start:run[n-1].end]
			q.seeds = append(q.seeds, seed{name: name, key: key, surface: unpossess(surface), at: a})
		}
	}
}

func freeToName(run []questionWord) bool {
	content := false
	for _, w := range run {
		if w.used {
			return false
		}
		content = content || !functionWords[w.key]
	}
	return content
}

// standsAlone reports whether a single word of a question is meant as the name:
// it is written as one, or it is a rare name that the base writes in lower case no
// more often.
func (r *sight) standsAlone(w questionWord, name uint32) bool {
	if len(w.key) < 2 || notNames[w.key] {
		return false
	}
	if w.proper {
		return true
	}
	n := r.count(name)
	if n > rareFrequency {
		return false
	}
	if t, ok := r.part.Term(w.stem); ok {
		for _, p := range r.lex.Postings(t) {
			if !r.part.Has(p.ID) {
				continue
			}
			if n -= int(p.Lower); n < 0 {
				return false
			}
		}
	}
	return true
}

// named reports whether the question names something that the base knows.
func (q *question) named() bool { return len(q.seeds) > 0 }

// names are the keys of the names of the question, longest first.
func (q *question) names() []string {
	out := make([]string, len(q.seeds))
	for i, s := range q.seeds {
		out[i] = s.key
	}
	return out
}

// keywords are the two levels of keywords by rules.
func (q *question) keywords() Keywords { return q.kw }

// relationGroup holds for a folded word the stems of the words that stand for it.
var relationGroup = func() map[string][]string {
	m := map[string][]string{}
	for line := range strings.SplitSeq(relationTable, "\n") {
		words := strings.Fields(line)
		for _, w := range words {
			for _, g := range words {
				m[w] = append(m[w], stem(g))
			}
		}
	}
	return m
}()

// relationTable is the table of relations that questions ask for, one to a line.
const relationTable = `mother father parent parents son daughter child children born
wife husband spouse married marriage wed widow consort
director directed film
composer composed music score song
performer performed singer sung recorded band album sang released
author wrote written novel book writer
born birth birthplace birthdate
died death die dead killed
grandfather grandmother grandson granddaughter father mother son daughter
brother sister sibling siblings
country nation nationality citizen national citizenship
founded founder established
located location situated lies
capital city
school college university educated studied study graduated alma
country located state province
producer produced production
owner owned owns parent
label released records signed
borders border adjacent neighbouring bordered
stepmother stepfather mother father`
