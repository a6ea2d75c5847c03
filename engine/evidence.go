package engine

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// promptReserve is what LightRAG leaves free of the total budget for the parts
// that are not counted one by one.
const promptReserve = 200

// snippetBytes is about how much of a passage a reference shows.
const snippetBytes = 240

// cited is evidence cut to the budgets, with its references numbered.
type cited struct {
	evidence
	references []Reference
	refOf      map[string]string // document id -> reference id
}

// cite cuts the chunks to what the entities and relations, which are cut already,
// leave of the total budget, as LightRAG does, and numbers the references by the
// rank of their best passage. A document of which no chunk is
// left is not cited.
func (p *plan) cite(ev evidence) cited {
	ev.chunks = p.fitChunks(ev.chunks, &ev.entityLines, &ev.relationLines)
	if ev.info == nil {
		ev.info = map[string]int{}
	}
	ev.info["entities_after_truncation"] = len(ev.entities)
	ev.info["relations_after_truncation"] = len(ev.relations)
	ev.info["final_chunks_count"] = len(ev.chunks)

	c := cited{evidence: ev, refOf: map[string]string{}}
	wanted := contentStems(p.asked)
	for _, ch := range ev.chunks {
		c.addReference(ch, wanted, p.IncludeChunkContent)
	}
	return c
}

// fitChunks keeps chunks from the front while they fit what the rest of the
// prompt leaves of the total budget.
func (p *plan) fitChunks(chunks []foundChunk, rest ...*lines) []foundChunk {
	budget := p.totalTokens - promptReserve - countTokens(p.Query.Query) - countTokens(p.UserPrompt) - p.prompts.answerTokens()
	need, bound := 0, 0
	for _, c := range chunks {
		need += c.Tokens
	}
	for _, l := range rest {
		bound += l.need
	}
	if need+bound <= budget {
		return chunks
	}
	for _, l := range rest {
		budget -= l.tokens()
	}
	for i, c := range chunks {
		if c.Tokens > budget {
			return chunks[:i]
		}
		budget -= c.Tokens
	}
	return chunks
}

func (c *cited) addReference(ch foundChunk, wanted *stemSet, withContent bool) {
	from, to := snippet(ch.Text, wanted)
	pass := ReferencePassage{
		ChunkID: chunkID(ch.docID, ch.ord), Start: ch.Start, End: ch.End, Place: ch.Place, Heading: ch.Heading,
		Snippet: ch.Text[from:to], Score: ch.score, Via: ch.via,
	}
	if len(ch.Text) == ch.End-ch.Start { // the bytes of the document, as they are
		pass.SnippetStart, pass.SnippetEnd = ch.Start+from, ch.Start+to
	}
	if id, ok := c.refOf[ch.docID]; ok {
		for i := range c.references {
			if r := &c.references[i]; r.ReferenceID == id {
				r.Passages = append(r.Passages, pass)
				if withContent {
					r.Content = append(r.Content, ch.Text)
				}
			}
		}
		return
	}
	id := itoa(len(c.references) + 1)
	c.refOf[ch.docID] = id
	r := Reference{
		ReferenceID: id, FilePath: ch.filePath, DocID: ch.docID,
		ChunkID: pass.ChunkID, Start: pass.Start, End: pass.End, Place: pass.Place, Heading: pass.Heading,
		Snippet: pass.Snippet, SnippetStart: pass.SnippetStart, SnippetEnd: pass.SnippetEnd,
		Score: pass.Score, Passages: []ReferencePassage{pass},
	}
	if withContent {
		r.Content = []string{ch.Text}
	}
	c.references = append(c.references, r)
}

// jsonLine is one line of context. HTML is not escaped: a model reads it.
func jsonLine(v any) string {
	var b strings.Builder
	writeLine(&b, v)
	return b.String()
}

// writeLine is jsonLine behind what b holds.
func writeLine(b *strings.Builder, v any) {
	l := liners.Get().(*liner)
	if err := l.e.Encode(v); err != nil { // unreachable: lines are plain structs of ours
		l.b.Reset()
		l.b.WriteString("{}")
	}
	b.Write(l.b.Bytes())
	if l.b.Cap() <= maxLinerBytes {
		l.b.Reset()
		liners.Put(l)
	}
}

// liner is the memory of lines of context.
type liner struct {
	b bytes.Buffer
	e *json.Encoder
}

// maxLinerBytes keeps one long line from staying in memory for good.
const maxLinerBytes = 1 << 20

var liners = sync.Pool{New: func() any {
	l := new(liner)
	l.e = json.NewEncoder(&l.b)
	l.e.SetEscapeHTML(false)
	return l
}}

func entityLine(e DataEntity) string {
	return jsonLine(struct {
		Entity      string `json:"entity"`
		Type        string `json:"type"`
		Description string `json:"description"`
	}{e.EntityName, e.EntityType, strings.ReplaceAll(e.Description, fieldSep, " ")})
}

func relationLine(r DataRelation) string {
	return jsonLine(struct {
		Source      string `json:"entity1"`
		Target      string `json:"entity2"`
		Description string `json:"description"`
	}{r.SrcID, r.TgtID, strings.ReplaceAll(r.Description, fieldSep, " ")})
}

// context is the evidence as LightRAG lays it out: fenced JSON lines by section,
// then the list of references.
func (c *cited) context() string {
	var b strings.Builder
	size := 0 // about: grown to it once, a long text is not copied again and again
	for _, l := range [][]string{c.entityLines.text, c.relationLines.text} {
		for _, line := range l {
			size += len(line)
		}
	}
	for i := range c.chunks {
		size += len(c.chunks[i].Text) + len(c.chunks[i].Text)/16 + 128
	}
	b.Grow(size + 1024)
	section := func(title string, n int, line func(int)) {
		if n == 0 {
			return
		}
		b.WriteString(title + ":\n\n```json\n")
		for i := range n {
			line(i)
		}
		b.WriteString("```\n\n")
	}
	section("Knowledge Graph Data (Entity)", len(c.entityLines.text), func(i int) { b.WriteString(c.entityLines.text[i]) })
	section("Knowledge Graph Data (Relationship)", len(c.relationLines.text), func(i int) { b.WriteString(c.relationLines.text[i]) })
	section("Document Chunks", len(c.chunks), func(i int) {
		ch := &c.chunks[i]
		writeLine(&b, struct {
			ReferenceID string   `json:"reference_id"`
			Headings    []string `json:"content_headings,omitempty"`
			Content     string   `json:"content"`
		}{c.refOf[ch.docID], ch.Heading, ch.Text})
	})
	if len(c.references) > 0 {
		b.WriteString("Reference Document List:\n\n")
		for _, r := range c.references {
			b.WriteString("[" + r.ReferenceID + "] " + r.FilePath + "\n")
		}
	}
	return b.String()
}

// stemSet is a set of stems by their first byte.
type stemSet [256][]string

// contentStems are the stems of the words of a question that carry meaning.
func contentStems(query string) *stemSet {
	var out stemSet
	s := scan(query)
	for _, p := range s.parts {
		if w := stem(p.key); !functionWords[p.key] && !out.has(p.key) {
			out.add(w)
		}
	}
	return &out
}

// add puts a stem in that is not there.
func (s *stemSet) add(w string) { s[w[0]] = append(s[w[0]], w) }

// stemOf returns the stem of a folded word if it is in the set. A stem is the
// beginning of its word: few words need to be stemmed.
func (s *stemSet) stemOf(key string) (string, bool) {
	for _, w := range s[key[0]] {
		if strings.HasPrefix(key, w) && stem(key) == w {
			return w, true
		}
	}
	return "", false
}

func (s *stemSet) has(key string) bool {
	_, ok := s.stemOf(key)
	return ok
}

// scans are reused by snippet, which takes every passage of an answer apart, and by
// analyse: taken apart a passage is many times what it was.
var scans = sync.Pool{New: func() any { return new(scanned) }}

// snippet finds the stretch text[from:to] that begins with the sentence that
// holds most of the wanted words, cut at sentences where it can be, without white
// space around it.
func snippet(text string, wanted *stemSet) (from, to int) {
	if len(text) <= snippetBytes {
		return trimmed(text, 0, len(text))
	}
	s := scans.Get().(*scanned)
	defer scans.Put(s)
	defer s.forget()
	s.scan(text)
	sentences := s.sentences(text)
	if len(sentences) == 0 {
		return trimmed(text, 0, len(text))
	}
	found := make([]int, len(sentences))
	for i := range s.words {
		w := &s.words[i]
		for _, p := range s.parts[w.part:w.last] {
			if wanted.has(p.key) {
				found[w.sentence]++
			}
		}
	}
	at := 0
	for i, n := range found {
		if n > found[at] {
			at = i
		}
	}
	from, to = sentences[at].Start, sentences[at].End
	for i := at + 1; i < len(sentences) && sentences[i].End-from <= snippetBytes; i++ {
		to = sentences[i].End
	}
	return trimmed(text, from, to)
}

// trimmed moves the ends of a stretch past white space and bounds its length.
func trimmed(text string, from, to int) (int, int) {
	s := strings.TrimLeftFunc(text[from:to], unicode.IsSpace)
	from = to - len(s)
	return from, from + len(strings.TrimRightFunc(cutBytes(s, snippetBytes), unicode.IsSpace))
}

// cutBytes shortens s to at most n bytes without splitting a rune.
func cutBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
