package builtin

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is a type of entity, in LightRAG's words.
type kind int

const (
	concept kind = iota
	person
	organization
	location
	event
	content
	creature
	method
	data
	artifact
	naturalObject
	kinds
)

func (k kind) String() string {
	return [kinds]string{"concept", "person", "organization", "location", "event", "content", "creature", "method", "data", "artifact", "naturalobject"}[k]
}

// votes are the evidence for each kind. The weights are judgements: 6 for a
// sentence that says what the thing is, 4 for a name that says so itself, 2 to 3
// for a telling neighbour, 1 for a hint.
type votes [kinds]int16

// enoughVotes: one hint makes no type.
const enoughVotes = 2

// winner is the kind with most votes, of equals the first; concept for too few.
func (v *votes) winner() kind {
	best := concept
	for k := person; k < kinds; k++ {
		if v[k] >= enoughVotes && v[k] > v[best] {
			best = k
		}
	}
	return best
}

// brackets takes the evidence of a title's suffix: "(film)".
func (v *votes) brackets(suffix string) {
	for _, w := range strings.FieldsFunc(strings.ToLower(suffix), func(c rune) bool { return !isWordRune(c) }) {
		if k, ok := nouns[w]; ok {
			v[k] += 6
		}
	}
}

// takeEvidence adds what the mention m, whose first token is r.tokens[at], says
// of its entity. It reports whether the sentence defines it ("X is a city").
func (r *reading) takeEvidence(e *entity, m mention, at int) (defines bool) {
	if e.count == 1 {
		e.votes.shape(e.name, e.key)
	}
	after := at // first token after the mention
	for after < len(r.tokens) && r.tokens[after].start < m.end {
		after++
	}
	r.before(e, m, at)
	defines = r.after(e, m, after)
	if e.subject == 1 && m.sentence == 0 && r.pronoun(after) {
		e.votes[person] += 2
	}
	return defines
}

// shape takes the evidence of the name itself.
func (v *votes) shape(name, key string) {
	if places[key] {
		v[location] += 5
	}
	words := strings.Fields(key)
	if len(words) == 0 {
		return
	}
	first, last := words[0], words[len(words)-1]
	if len(words) > 1 {
		if titles[first] || last == "jr" || last == "sr" {
			v[person] += 4
		}
		if k, ok := openings[first]; ok {
			v[k] += 4
		}
		if k, ok := endings[last]; ok {
			v[k] += 4
		}
		for _, w := range words {
			if k, ok := inside[w]; ok {
				v[k] += 4
			}
		}
		if romanNumeral(name) {
			v[person] += 2
		}
		if initials(name) {
			v[person] += 2
		}
	}
	if len(words) == 1 && acronym(name) {
		v[organization]++
	}
}

// romanNumeral: "Theodred II", but not "Part I".
func romanNumeral(name string) bool {
	i := strings.LastIndexByte(name, ' ')
	return len(name)-i > 2 && strings.Trim(name[i+1:], "IVX") == ""
}

// initials: "J. R. Smith", "John F. Kennedy".
func initials(name string) bool {
	i := strings.Index(name, ". ")
	return i > 0 && name[i-1] >= 'A' && name[i-1] <= 'Z' && (i == 1 || name[i-2] == ' ' || name[i-2] == '.')
}

func acronym(name string) bool {
	if n := utf8.RuneCountInString(name); n < 2 || n > 6 {
		return false
	}
	for _, c := range name {
		if !unicode.IsUpper(c) {
			return false
		}
	}
	return true
}

// before takes the evidence of the words in front of a mention, closest first.
func (r *reading) before(e *entity, m mention, at int) {
	if at < 1 || at >= len(r.tokens) || r.tokens[at].broken || r.tokens[at].start != m.start {
		return
	}
	prev := r.word(at - 1)
	prev2 := ""
	if at > 1 && !r.tokens[at-1].broken {
		prev2 = r.word(at - 2)
	}
	switch prev {
	case "of":
		if kin[prev2] {
			e.votes[person] += 3
		} else if nouns[prev2] == location && prev2 != "" {
			e.votes[location] += 3
		}
	case "in", "near", "at", "from", "to", "throughout":
		switch {
		case atPlace[prev2]:
			e.votes[location] += 2
		case prev2 == "married":
			e.votes[person] += 3
		case prev == "in", prev == "near":
			e.votes[location]++
		}
	case "by", "with", "starring", "and":
		if byPerson[prev2] || prev == "starring" {
			e.votes[person] += 2
		}
	case "married":
		e.votes[person] += 3
	default:
		if k, ok := nouns[prev]; ok && r.tokens[at-1].lower {
			if k == person {
				e.votes[k]++
			}
			e.votes[k] += 2
		}
	}
}

// maxDefinition bounds the words read after "is a" for the noun.
const maxDefinition = 12

// after takes the evidence of the words behind a mention, from token i on.
func (r *reading) after(e *entity, m mention, i int) (defines bool) {
	end := r.sentences[m.sentence].End
	inSentence := func(i int) bool { return i < len(r.tokens) && r.tokens[i].start < end }
	if !inSentence(i) {
		return false
	}
	w := r.word(i)
	if r.tokens[i].broken {
		switch gap := strings.TrimSpace(r.text[m.end:r.tokens[i].start]); {
		case strings.HasPrefix(gap, "("):
			if w == "born" || w == "died" || w == "b" || w == "d" {
				e.votes[person] += 4
				return true
			}
			// A bracket of a few words may stand between the name and its verb.
			j := i
			for j < len(r.tokens) && j < i+16 && !strings.Contains(r.text[m.end:r.tokens[j].start], ")") {
				if x := r.word(j); x == "born" || x == "died" {
					e.votes[person] += 4
				}
				j++
			}
			if i = j; !inSentence(i) || i == len(r.tokens) {
				return false
			}
			w = r.word(i)
		case gap == ",":
			// Apposition: "X, a Swedish painter"; "X, king of".
			if k, ok := r.noun(i, end); ok && (w == "a" || w == "an" || w == "the" || r.tokens[i].lower) {
				e.votes[k] += 3
			}
			return false
		case strings.Trim(gap, "\"”’*") == "": // what closes the quotes around it
		default:
			return false
		}
	}
	switch w {
	case "is", "was", "are", "were", "became", "means", "refers", "remains":
		if !inSentence(i + 1) {
			return false
		}
		switch next := r.word(i + 1); next {
		case "born", "murdered", "married", "educated", "elected":
			e.votes[person] += 4
			return next == "born"
		case "released", "published", "recorded", "premiered":
			e.votes[content] += 3
			return true
		case "founded", "established":
			e.votes[organization] += 2
			return true
		case "located", "situated":
			e.votes[location] += 4
			return true
		}
		if k, ok := r.noun(i+1, end); ok {
			e.votes[k] += 6
			return true
		}
		switch r.word(i + 1) {
		case "a", "an", "the", "one", "to", "that", "any":
			return true
		}
		return w == "means"
	case "died", "married", "wrote", "studied", "starred", "served", "said", "plays", "played", "graduated", "lived", "succeeded":
		e.votes[person] += 2
	case "stars":
		e.votes[content] += 2
	}
	return false
}

// noun returns the kind of the head noun of the phrase at token i: the last noun
// of the list before a preposition, a mark or a verb. end is the sentence's.
func (r *reading) noun(i, end int) (k kind, ok bool) {
	joined := false
	for j := i; j < len(r.tokens) && j < i+maxDefinition && r.tokens[j].start < end; j++ {
		w := r.word(j)
		switch {
		case j > i && r.tokens[j].broken && strings.Trim(r.text[r.tokens[j-1].end:r.tokens[j].start], " -/") != "":
			return k, ok
		case w == "and" && !joined: // "film and television director"
			joined = true
			continue
		case w == "of": // "one of the cities", "a kind of engine"
			if ok || j == i {
				return k, ok
			}
			continue
		case phraseEnds[w]:
			return k, ok
		}
		n, is := nouns[w]
		if !is && strings.HasSuffix(w, "s") {
			n, is = nouns[w[:len(w)-1]]
		}
		if is {
			k, ok = n, true
		}
	}
	return k, ok
}

// spreadKinds gives names without evidence of their own the kind of their
// neighbours in a list ("starring A, B and C"; "Turin, Italy") and of people
// who share their last word.
func (r *reading) spreadKinds() {
	families := map[string]bool{}
	for i := range r.entities {
		if e := &r.entities[i]; e.votes.winner() == person {
			families[lastWord(e.key)] = true
		}
	}
	for i := range r.entities {
		if e := &r.entities[i]; e.votes.winner() == concept && families[lastWord(e.key)] && e.name != strings.ToLower(e.name) {
			e.votes[person] += 2
		}
	}
	for i := 1; i < len(r.mentions); i++ {
		a, b := r.mentions[i-1], r.mentions[i]
		if a.sentence != b.sentence || b.start < a.end || b.start-a.end > 6 {
			continue
		}
		e := &r.entities[b.entity]
		if k := r.entities[a.entity].votes.winner(); e.votes.winner() == concept && listGap[r.text[a.end:b.start]] &&
			(k == location || k == person && strings.IndexByte(e.key, ' ') > 0) {
			e.votes[k] += 2
		}
	}
}

// listGap stands between the members of a list.
var listGap = map[string]bool{", ": true, " and ": true, ", and ": true, " & ": true}

func lastWord(key string) string { return key[strings.LastIndexByte(key, ' ')+1:] }

// pronoun reports whether a person's pronoun follows in the next words.
func (r *reading) pronoun(i int) bool {
	for j := i; j < len(r.tokens) && j < i+60; j++ {
		switch r.word(j) {
		case "he", "she", "He", "She", "his", "her", "His", "Her":
			return true
		}
	}
	return false
}
