package builtin

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"alcove/engine"
)

// readNames collects the names of the passage and where they stand.
func (r *reading) readNames(title string) {
	names := engine.FindNames(title, r.text)
	r.entities = make([]entity, 0, len(names)+4)
	r.mentions = make([]mention, 0, len(names)+4)
	r.byKey = make(map[string]int, len(names)+4)
	titled := -1 // the title's entity
	opener := -1 // the mention of the name that opens the text
	whole := engine.Name{Start: -1}
	marked := false // quotes and bold are read: after the title, before the names
	for i := 0; i < len(names); i++ {
		n := &names[i]
		if n.Sentence < 0 {
			titled = r.readTitle(titled, n)
			continue
		}
		if !marked {
			r.readMarked()
			marked = true
		}
		if n.Alias {
			continue // seen with the name it belongs to
		}
		if n.Part {
			// "University" of "University of Oxford" is no name; "Oxford" is, and so is "Albert III" of "Albert III of Bavaria".
			if n.Start == whole.Start && strings.IndexByte(n.Key, ' ') < 0 {
				continue
			}
		} else {
			whole = *n
		}
		if len(n.Surface) > maxNameBytes || notEntity(n.Key) || r.insideWhole(n.Start, n.End) {
			continue
		}
		aliases := aliasesOf(names, i)
		id := r.named(n, aliases)
		for _, a := range aliases {
			if _, ok := r.byKey[a.Key]; !ok && len(a.Key) > 1 {
				r.byKey[a.Key] = id
			}
		}
		e := &r.entities[id]
		e.subject = max(e.subject, n.Subject)
		if n.Subject == 1 && n.Sentence == 0 && opener < 0 {
			opener = len(r.mentions)
		}
		r.mentions = append(r.mentions, mention{entity: id, sentence: n.Sentence, start: n.Start, end: n.End})
	}
	if !marked {
		r.readMarked()
	}
	r.placeTitle(titled, opener)
}

// span is a stretch of the text that is one name as a whole.
type span struct{ start, end int }

// insideWhole reports whether a name is only a piece of a title or a quoted
// name: "Gift" in "God's Gift to Women".
func (r *reading) insideWhole(start, end int) bool {
	i, _ := slices.BinarySearchFunc(r.whole, start, func(s span, at int) int {
		if s.end <= at {
			return -1
		}
		return 1
	})
	if i == len(r.whole) {
		return false
	}
	s := r.whole[i]
	return s.start <= start && end <= s.end && (s.start < start || end < s.end)
}

// aliasesOf returns the aliases of the mention names[i], which follow it.
func aliasesOf(names []engine.Name, i int) []engine.Name {
	j := i + 1
	for j < len(names) && names[j].Alias && names[j].Start == names[i].Start {
		j++
	}
	return names[i+1 : j]
}

// named finds the entity of a name by its key or that of an alias, or makes one.
func (r *reading) named(n *engine.Name, aliases []engine.Name) int {
	if _, ok := r.byKey[n.Key]; !ok {
		for _, a := range aliases {
			if id, ok := r.byKey[a.Key]; ok {
				r.byKey[n.Key] = id
				return id
			}
		}
	}
	return r.add(canonical(n.Surface), n.Key)
}

// readTitle makes the title an entity when it is a name; the part before its
// comma is an alias. It returns the entity, -1 for none.
func (r *reading) readTitle(id int, n *engine.Name) int {
	if n.Part {
		if _, ok := r.byKey[n.Key]; !ok && id >= 0 {
			r.byKey[n.Key] = id
		}
		return id
	}
	if !titleIsName(n.Surface) || notEntity(n.Key) || strings.ContainsAny(n.Surface, "?!") && !strings.Contains(r.text, canonical(n.Surface)) {
		return -1 // a question is a name only where the text uses it as one
	}
	id = r.add(canonical(n.Surface), n.Key)
	r.entities[id].subject, r.entities[id].titled = 1, true
	r.findTitle(id, n.Surface)
	if i := strings.IndexByte(n.Surface, '('); i > 0 {
		r.entities[id].votes.brackets(n.Surface[i:])
	}
	return id
}

// findTitle marks where the text spells the title out.
func (r *reading) findTitle(id int, title string) {
	if i := strings.IndexByte(title, '('); i > 0 {
		title = strings.TrimSpace(title[:i])
	}
	for at := 0; title != ""; {
		i := strings.Index(r.text[at:], title)
		if i < 0 {
			return
		}
		start, end := at+i, at+i+len(title)
		at = end
		if before, _ := utf8.DecodeLastRuneInString(r.text[:start]); isWordRune(before) || isWordRune(firstRune(r.text[end:])) {
			continue
		}
		r.whole = append(r.whole, span{start, end})
		if s, ok := r.sentenceAt(start); ok {
			r.mentions = append(r.mentions, mention{entity: id, sentence: s, start: start, end: end})
		}
	}
}

// placeTitle lets the name that opens the passage stand for a title that the
// text never spells out as well: "Ada Lovelace", whose text begins "Augusta Ada
// King was". So does a pronoun: "He is the brother of". A passage that opens
// otherwise says nothing of its title.
func (r *reading) placeTitle(id, opener int) {
	if id < 0 {
		return
	}
	for _, m := range r.mentions {
		if m.entity == id {
			return
		}
	}
	switch {
	case opener >= 0:
		m := r.mentions[opener]
		m.entity = id
		r.mentions = append(r.mentions, m)
	case len(r.tokens) > 0:
		if w := r.word(0); w == "He" || w == "She" || w == "It" {
			r.mentions = append(r.mentions, mention{entity: id, start: r.tokens[0].start, end: r.tokens[0].end})
		}
	}
}

// titleIsName: a few words that start with a capital, or in a script without capitals.
func titleIsName(t string) bool {
	if len(t) > maxNameBytes || len(strings.Fields(t)) > maxTitleWords || strings.Contains(t, "\n") {
		return false
	}
	for _, c := range t {
		if unicode.IsLetter(c) {
			return !unicode.IsLower(c)
		}
	}
	return false
}

// canonical is the spelling of an entity: without a bracketed suffix and a
// leading article, so that "The Beatles", "Beatles" and "Beatles (band)" are one.
func canonical(surface string) string {
	if i := strings.IndexByte(surface, '('); i > 0 {
		surface = surface[:i]
	}
	s := strings.Join(strings.Fields(surface), " ")
	for _, a := range [...]string{"The ", "the ", "A ", "An ", "THE "} {
		if rest, ok := strings.CutPrefix(s, a); ok && rest != "" {
			return rest
		}
	}
	return s
}

// notEntity refuses keys that are names by their capital alone: dates,
// nationalities, single letters.
func notEntity(key string) bool {
	first, rest, more := strings.Cut(key, " ")
	if !more {
		return len(key) < 2 || demonyms[key]
	}
	if calendar[first] {
		return strings.IndexFunc(rest, unicode.IsLetter) < 0
	}
	return false
}

// ordinaryOpener reports whether a word that has its capital only from opening
// sentences is an ordinary word: listed, formed like one, or written in lower
// case elsewhere in the passage.
func (r *reading) ordinaryOpener(e *entity) bool {
	if openers[e.key] {
		return true
	}
	for i := range r.tokens {
		if t := r.tokens[i]; t.lower && t.end-t.start == len(e.key) && r.word(i) == e.key {
			return true
		}
	}
	if e.votes.winner() != concept { // Alfred, Italy
		return false
	}
	for _, s := range ordinaryEndings {
		if len(e.key) > len(s)+2 && strings.HasSuffix(e.key, s) {
			return true
		}
	}
	return false
}
