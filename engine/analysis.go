package engine

import (
	"slices"
	"strings"

	"alcove/graph"
	"alcove/index"
)

// analysis is what model-free retrieval keeps of a chunk: its windows in order.
type analysis struct{ windows []windowAnalysis }

// windowAnalysis is one window of a chunk: its terms sentence by sentence, and
// its names with the sentences they stand in and how much it is about them.
type windowAnalysis struct {
	text  index.Passage
	links []graph.Link
}

// A window is what the walk takes for a passage: a stretch of a chunk that is
// about one thing. A chunk of 1,200 tokens may be about a dozen; a walk over whole
// chunks finds little more than half of what it finds in windows (measured with 8
// unrelated passages of 2WikiMultihopQA to a chunk: all gold chunks among the first 8
// for 0.52 of the questions, in windows 0.92). A window ends with a line when it
// has minWindowWords, or with the sentence that fills it.
const (
	windowWords    = 200
	minWindowWords = 20
	// maxWindowSentences bounds the sentences of a window that are told apart; what
	// follows counts as the last.
	maxWindowSentences = 1 << 10
)

// windows cuts a text into windows and returns the first word of each, which is
// also the first of a sentence; a text without words is one window.
func (s *scanned) windows() []int {
	out := []int{0}
	for i := 1; i < len(s.words); i++ {
		w := &s.words[i]
		if !w.opens {
			continue
		}
		n := i - out[len(out)-1]
		if n >= windowWords || n >= minWindowWords && w.opensLine {
			out = append(out, i)
		}
	}
	return out
}

// analyse takes a chunk apart. title is the document's, headings the path above
// the text, extra the names that another extractor (a language model) saw in the
// text: text without capitals has no others. It is pure: the same chunk gives
// the same analysis.
func analyse(title string, headings []string, text string, extra []string) analysis {
	s := scans.Get().(*scanned)
	defer scans.Put(s)
	defer s.forget()
	s.scan(text)
	above, head := aboveText(title, headings)
	starts := s.windows()
	out := analysis{windows: make([]windowAnalysis, len(starts))}
	linkers := make([]linker, len(starts))
	for i, start := range starts {
		l := &linkers[i]
		*l = linker{at: make(map[string]int, 24)}
		if len(s.words) > 0 {
			l.first = s.words[start].sentence
		}
		for _, x := range above {
			l.put(x.Key, x.Subject, -1)
		}
	}
	l := &linkers[0]
	next := 1
	for _, n := range s.names(text) {
		for next < len(linkers) && n.Sentence >= linkers[next].first {
			l = &linkers[next]
			next++
		}
		if n.Subject > 0 {
			l.opened = true
		}
		l.put(n.Key, subjectOf(n.Subject), n.Sentence)
	}
	s.place(linkers, extra)
	for i, start := range starts {
		end := len(s.words)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		out.windows[i] = windowAnalysis{text: s.passage(head, start, end), links: linkers[i].links}
	}
	return out
}

// aboveText gives the links and the words that title and headings give to every
// window below them.
func aboveText(title string, headings []string) (links []graph.Link, words []part) {
	for _, n := range titleNames(title) {
		links = append(links, graph.Link{Key: n.Key, Subject: subjectOf(n.Subject)})
	}
	words = appendParts(nil, title)
	titleKey := nameKey(title)
	for _, h := range headings {
		key := nameKey(h)
		if key == "" || key == titleKey {
			continue // the first heading of a document often is its title
		}
		words = appendParts(words, h)
		if len(key) >= 2 && !digits(key) && !notNames[key] {
			// A passage under a heading is about it more often than not, but many
			// headings ("History") name a side of the subject, and all passages of a
			// long section share it: half a mark, as for a part of a title.
			links = append(links, graph.Link{Key: key, Subject: graph.PartSubject})
		}
	}
	return links, words
}

func subjectOf(mark float32) graph.Subject {
	switch {
	case mark >= 1:
		return graph.FullSubject
	case mark > 0:
		return graph.PartSubject
	}
	return graph.NotSubject
}

// passage gives the terms of the words from to end, end exclusive, by sentence.
func (s *scanned) passage(head []part, from, end int) index.Passage {
	n := len(head)
	if from < end {
		n += s.words[end-1].last - s.words[from].part
	}
	tokens := make([]index.Token, 0, n)
	for _, p := range head {
		tokens = append(tokens, index.Token{Term: stem(p.key)})
	}
	p := index.Passage{Head: tokens[:len(head):len(head)]}
	start := len(tokens)
	for i := from; i < end; i++ {
		w := &s.words[i]
		for _, x := range s.parts[w.part:w.last] {
			tokens = append(tokens, index.Token{Term: stem(x.key), Lower: !w.upper})
		}
		if i+1 == end || s.words[i+1].sentence != w.sentence && len(p.Sentences) < maxWindowSentences-1 {
			p.Sentences = append(p.Sentences, tokens[start:len(tokens):len(tokens)])
			start = len(tokens)
		}
	}
	return p
}

// place adds names that another extractor gave. A name that the rules found in a
// window too adds nothing; one that stands in the text gets its sentences; one
// that does not is linked to the first window, on the extractor's word. When no
// name by the rules opens a window, the first of these that does is its subject.
func (s *scanned) place(linkers []linker, extra []string) {
	if len(extra) == 0 {
		return
	}
	known := map[string]bool{}
	for i := range linkers {
		for _, l := range linkers[i].links {
			known[l.Key] = true
		}
	}
	var starts map[string][]int // places of parts by their key
	var sentences []int         // of each part
	type opening struct {
		key string
		at  int
	}
	openings := make([]opening, len(linkers))
	for _, name := range extra {
		key := nameKey(name)
		if known[key] || len(key) < 2 || digits(key) {
			continue
		}
		known[key] = true
		if starts == nil {
			starts = make(map[string][]int, len(s.parts))
			sentences = make([]int, 0, len(s.parts))
			for i := range s.words {
				for j := s.words[i].part; j < s.words[i].last; j++ {
					starts[s.parts[j].key] = append(starts[s.parts[j].key], j)
					sentences = append(sentences, s.words[i].sentence)
				}
			}
		}
		words := strings.Split(key, " ")
		found := false
		w := 0
		for _, at := range starts[words[0]] {
			last := at + len(words) - 1
			if last >= len(s.parts) || sentences[at] != sentences[last] ||
				!slices.EqualFunc(words, s.parts[at:last+1], func(w string, p part) bool { return w == p.key }) {
				continue
			}
			for w+1 < len(linkers) && sentences[at] >= linkers[w+1].first {
				w++
			}
			found = true
			l := &linkers[w]
			l.put(key, graph.NotSubject, sentences[at])
			first, _ := slices.BinarySearch(sentences, l.first)
			if sentences[at] == l.first && at-first < openingWords && (openings[w].key == "" || at < openings[w].at) {
				openings[w] = opening{key, at}
			}
		}
		if !found {
			linkers[0].put(key, graph.NotSubject, -1)
		}
	}
	for i, o := range openings {
		if o.key != "" && !linkers[i].opened {
			linkers[i].put(o.key, graph.FullSubject, -1)
		}
	}
}

// linker merges the mentions of one name in one window.
type linker struct {
	links  []graph.Link
	at     map[string]int
	first  int  // the window's first sentence
	opened bool // a name by the rules opens the window
}

// put adds a mention; sentence, counted in the whole text, is -1 for none.
func (l *linker) put(key string, s graph.Subject, sentence int) {
	if key == "" {
		return
	}
	i, ok := l.at[key]
	if !ok {
		i = len(l.links)
		l.at[key] = i
		l.links = append(l.links, graph.Link{Key: key})
	}
	x := &l.links[i]
	x.Subject = max(x.Subject, s)
	if sentence < 0 {
		return
	}
	n := uint16(min(sentence-l.first, maxWindowSentences-1))
	if at, found := slices.BinarySearch(x.Sentences, n); !found {
		x.Sentences = slices.Insert(x.Sentences, at, n)
	}
}
