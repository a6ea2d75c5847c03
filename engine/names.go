package engine

import "strings"

// Name is one mention of a name in a passage.
type Name struct {
	// Surface is the name as written, without a possessive. Key is what mentions
	// of one name share: its folded words, no bracketed suffix, no leading article.
	Surface, Key string
	// Sentence counts as Sentences does; -1 for the title.
	Sentence int
	// Start and End are bytes of the text, End exclusive; both -1 for the title.
	Start, End int
	// Subject says how much the passage is about the name: 1 for the title and
	// for the first name of the text, and of each window of a long text, when it
	// stands among the first words; 0.5 for the part of a title before a comma; else 0.
	Subject float32
	// Part marks a piece of the longer name just before it in the list ("Duke"
	// and "Bavaria" after "Duke of Bavaria").
	Part bool
	// Alias marks another key of a mention before it: without an honorific, first
	// and last word, nickname. Its Surface and span are that mention's.
	Alias bool
}

const (
	// maxNameWords bounds a name: a longer run of capitals is a heading or shouting.
	maxNameWords = 14
	// openingWords: the first name of a window opens it when it starts among them.
	openingWords = 4
	// titlePartSubject is the subject mark of a title's part before its comma.
	titlePartSubject = 0.5
)

// FindNames returns the names of a passage in order: first those of the title
// ("" for none), then runs of capitalised words of the text, joined over small
// connectors, each followed by its parts and aliases. Names by capitals suit
// Latin, Greek and Cyrillic scripts; other text has none. Any bytes are accepted.
func FindNames(title, text string) []Name {
	s := scan(text)
	return append(titleNames(title), s.names(text)...)
}

// nameKey returns the key under which a name is known to retrieval, "" for none.
func nameKey(name string) string {
	if i := strings.IndexByte(name, '('); i > 0 {
		name = name[:i]
	}
	return joinKey(appendParts(nil, name))
}

func joinKey(parts []part) string {
	if len(parts) > 1 && (parts[0].key == "the" || parts[0].key == "a" || parts[0].key == "an") {
		parts = parts[1:]
	}
	switch len(parts) {
	case 0:
		return ""
	case 1:
		return parts[0].key
	}
	n := len(parts)
	for _, p := range parts {
		n += len(p.key)
	}
	b := make([]byte, 0, n)
	for i, p := range parts {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, p.key...)
	}
	return string(b)
}

func titleNames(title string) []Name {
	var out []Name
	put := func(surface string, subject float32) {
		if k := nameKey(surface); k != "" {
			out = append(out, Name{Surface: strings.TrimSpace(surface), Key: k, Sentence: -1, Start: -1, End: -1, Subject: subject, Part: len(out) > 0})
		}
	}
	put(title, 1)
	if i := strings.IndexByte(title, ','); i > 0 {
		put(title[:i], titlePartSubject)
	}
	return out
}

// names finds the names of the text that s was made of.
func (s *scanned) names(text string) []Name {
	f := nameFinder{scanned: s, text: text}
	f.nicknames()
	f.runs()
	f.markOpening()
	return f.out
}

// nameFinder collects the names of one text.
type nameFinder struct {
	*scanned
	text  string
	out   []Name
	at    []int // word each of out starts at
	nicks []nick
}

// nick is a quoted word inside a name: First "Nick" ... Last.
type nick struct{ first, nick, last int }

// key is the only part of a word, "" when it has more than one.
func (f *nameFinder) key(i int) string {
	w := &f.words[i]
	if w.last-w.part != 1 {
		return ""
	}
	return f.parts[w.part].key
}

// keyOf is the key of a word by itself.
func (f *nameFinder) keyOf(i int) string { return joinKey(f.parts[f.words[i].part:f.words[i].last]) }

func (f *nameFinder) joins(i int) bool { return !f.words[i].upper && joiners[f.words[i].text] }

// joinsOn reports whether the joiner i is followed by a capital within two words.
func (f *nameFinder) joinsOn(i int) bool {
	for j := i + 1; j < len(f.words) && j <= i+2; j++ {
		switch {
		case f.words[j].broken:
			return false
		case f.words[j].upper:
			return true
		case !f.joins(j):
			return false
		}
	}
	return false
}

// runs walks the words once and closes a run of capitals where it ends.
func (f *nameFinder) runs() {
	a := -1
	for i := range f.words {
		w := &f.words[i]
		if a >= 0 && (w.broken || w.opens) {
			f.run(a, i)
			a = -1
		}
		switch {
		case a < 0:
			if !f.opensName(i) {
				continue
			}
			a = i
		case w.upper, f.joins(i) && f.joinsOn(i), len(w.text) < 4 && digits(w.text):
		default:
			f.run(a, i)
			a = -1
			continue
		}
		if strings.HasSuffix(w.text, "'s") {
			f.run(a, i+1)
			a = -1
		}
	}
	if a >= 0 {
		f.run(a, len(f.words))
	}
}

// opensName: a capital opens a name, but a function word only where another
// capital follows it directly and it is not capitalised for opening a sentence.
func (f *nameFinder) opensName(i int) bool {
	w := &f.words[i]
	if !w.upper {
		return false
	}
	return !notNames[f.key(i)] || !w.opens && i+1 < len(f.words) && f.words[i+1].upper && !f.words[i+1].broken
}

// run takes the words a to b, b exclusive, as a name, and its parts when joiners hold it together.
func (f *nameFinder) run(a, b int) {
	f.emit(a, b, false)
	if b-a <= 2 {
		return
	}
	from := a
	for i := a; i < b; i++ {
		if f.joins(i) {
			if i > from {
				f.emit(from, i, true)
			}
			from = i + 1
		}
	}
	if from > a && from < b {
		f.emit(from, b, true)
	}
}

// emit adds the words a to b, b exclusive, as a name when they make one.
func (f *nameFinder) emit(a, b int, isPart bool) {
	ws := f.words
	for b > a && !ws[b-1].upper && !digits(ws[b-1].text) {
		b--
	}
	for b > a && (ws[a].opens && notNames[f.key(a)] || !ws[a].upper && !digits(ws[a].text)) {
		a++
	}
	if a >= b || b-a > maxNameWords {
		return
	}
	key := joinKey(f.parts[ws[a].part:ws[b-1].last])
	if len(key) < 2 || b-a == 1 && (notNames[key] || digits(key)) {
		return
	}
	m := Name{
		Surface: unpossess(f.text[ws[a].start:ws[b-1].end]), Key: key,
		Sentence: ws[a].sentence, Start: ws[a].start, Part: isPart,
	}
	m.End = m.Start + len(m.Surface)
	f.add(m, a)
	if b-a > 2 && honorifics[f.key(a)] && ws[a+1].upper {
		m.Key, m.Alias = joinKey(f.parts[ws[a+1].part:ws[b-1].last]), true
		f.add(m, a)
	}
	if isPart {
		return
	}
	for len(f.nicks) > 0 && f.nicks[0].first < b { // runs come in order, and so do nicks
		n := f.nicks[0]
		f.nicks = f.nicks[1:]
		if n.first < a {
			continue
		}
		m.Alias = true
		for _, w := range []int{n.nick, n.first} {
			m.Key = f.keyOf(w) + " " + f.keyOf(n.last)
			f.add(m, a)
		}
	}
}

func (f *nameFinder) add(m Name, word int) {
	f.out = append(f.out, m)
	f.at = append(f.at, word)
}

// nicknames notes every First "Nick" Last.
func (f *nameFinder) nicknames() {
	ws := f.words
	for i := 1; i+1 < len(ws); i++ {
		if !ws[i].quoteBefore || !ws[i+1].quoteBefore || ws[i-1].sentence != ws[i+1].sentence {
			continue
		}
		last := i + 1
		for last+1 < len(ws) && !ws[last+1].broken && ws[last+1].upper {
			last++
		}
		if ws[i-1].upper && ws[i].upper && ws[i+1].upper {
			f.nicks = append(f.nicks, nick{first: i - 1, nick: i, last: last})
		}
	}
}

// markOpening marks the name that opens each window as its subject, and adds the
// alias of its first and last word.
func (f *nameFinder) markOpening() {
	out := make([]Name, 0, len(f.out)+4)
	i := 0
	for _, start := range f.windows() {
		for i < len(f.out) && f.at[i] < start {
			out = append(out, f.out[i])
			i++
		}
		if i == len(f.out) || f.at[i] >= start+openingWords || f.out[i].Sentence != f.words[start].sentence {
			continue
		}
		n := i + 1 // the name with its aliases
		for n < len(f.out) && f.out[n].Alias && f.out[n].Start == f.out[i].Start {
			n++
		}
		opening := f.out[i:n]
		for j := range opening {
			opening[j].Subject = 1
		}
		out = append(out, opening...)
		for _, m := range opening {
			if m.Key = firstAndLast(m.Key); m.Key != "" {
				m.Alias = true
				out = append(out, m)
			}
		}
		i = n
	}
	f.out = append(out, f.out[i:]...)
}

// firstAndLast is the key of a name's first and last word when it has three to
// five plain words, else "".
func firstAndLast(key string) string {
	w := strings.Fields(key)
	if len(w) < 3 || len(w) > 5 {
		return ""
	}
	for _, x := range w {
		if joiners[x] || x == "and" || digits(x) {
			return ""
		}
	}
	return w[0] + " " + w[len(w)-1]
}
