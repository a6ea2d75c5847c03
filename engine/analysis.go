package engine

import (
	"slices"

	"alcove/graph"
	"alcove/index"
)

// analysis is what model-free retrieval keeps of a chunk.
type analysis struct {
	text  index.Passage
	links []graph.Link
}

// maxSentences bounds the sentences of a passage that are told apart; what
// follows counts as the last. A passage of 1,200 tokens cannot have more.
const maxSentences = 1 << 12

// analyse takes a chunk apart: its terms sentence by sentence, and its names
// with the sentences they stand in and how much the chunk is about them. title is the
// document's, headings the path above the text, extra the names that another
// extractor (a language model) saw in the text: text without capitals has no
// others. It is pure: the same chunk gives the same analysis.
func analyse(title string, headings []string, text string, extra []string) analysis {
	s := scan(text)
	l := linker{at: make(map[string]int, 32)}
	for _, n := range titleNames(title) {
		l.put(n.Key, subjectOf(n.Subject), -1)
	}
	head := appendParts(nil, title)
	titleKey := joinKey(head)
	for _, h := range headings {
		key := nameKey(h)
		if key == titleKey && key != "" {
			continue // the first heading of a document often is its title
		}
		head = appendParts(head, h)
		if len(key) >= 2 && !digits(key) && !notNames[key] {
			// A passage under a heading is about it more often than not, but many
			// headings ("History") name a side of the subject, and all the passages of a
			// long section share it: half a mark, as for a part of a title.
			l.put(key, graph.PartSubject, -1)
		}
	}
	opened := false
	for _, n := range s.names(text) {
		opened = opened || n.Subject > 0
		l.put(n.Key, subjectOf(n.Subject), n.Sentence)
	}
	s.place(&l, extra, opened)

	return analysis{text: s.passage(head), links: l.links}
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

// passage gives the terms of each sentence.
func (s *scanned) passage(head []part) index.Passage {
	tokens := make([]index.Token, 0, len(head)+len(s.parts))
	for _, p := range head {
		tokens = append(tokens, index.Token{Term: stem(p.key)})
	}
	p := index.Passage{Head: tokens[:len(head):len(head)]}
	from := len(tokens)
	for i := range s.words {
		w := &s.words[i]
		for _, x := range s.parts[w.part:w.last] {
			tokens = append(tokens, index.Token{Term: stem(x.key), Lower: !w.upper})
		}
		if i+1 == len(s.words) || sentenceNumber(s.words[i+1].sentence) != sentenceNumber(w.sentence) {
			p.Sentences = append(p.Sentences, tokens[from:len(tokens):len(tokens)])
			from = len(tokens)
		}
	}
	return p
}

func sentenceNumber(n int) int { return min(n, maxSentences-1) }

// place adds names that another extractor gave. A name that the rules found too
// adds nothing; one that stands in the text gets its sentences; one that does
// not is linked without any, on the extractor's word. When no name by the rules
// opens the text, the first of these that does is its subject.
func (s *scanned) place(l *linker, extra []string, opened bool) {
	var starts map[string][]int // places of parts by their key
	var sentences []int         // of each part
	first, firstAt := "", openingWords
	for _, name := range extra {
		parts := appendParts(nil, name)
		key := nameKey(name)
		if _, known := l.at[key]; known || len(key) < 2 || digits(key) {
			continue
		}
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
		l.put(key, graph.NotSubject, -1)
		parts = parts[len(parts)-partsIn(key):]
		for _, at := range starts[parts[0].key] {
			if at+len(parts) > len(s.parts) || sentences[at] != sentences[at+len(parts)-1] ||
				!slices.EqualFunc(parts, s.parts[at:at+len(parts)], func(a, b part) bool { return a.key == b.key }) {
				continue
			}
			l.put(key, graph.NotSubject, sentences[at])
			if sentences[at] == 0 && at < firstAt {
				first, firstAt = key, at
			}
		}
	}
	if first != "" && !opened {
		l.put(first, graph.FullSubject, 0)
	}
}

func partsIn(key string) int {
	n := 1
	for i := range len(key) {
		if key[i] == ' ' {
			n++
		}
	}
	return n
}

// linker merges the mentions of one name.
type linker struct {
	links []graph.Link
	at    map[string]int
}

// put adds a mention; sentence -1 means none.
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
	n := uint16(sentenceNumber(sentence))
	if at, found := slices.BinarySearch(x.Sentences, n); !found {
		x.Sentences = slices.Insert(x.Sentences, at, n)
	}
}
