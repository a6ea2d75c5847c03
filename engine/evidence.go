package engine

import (
	"bytes"
	"encoding/json"
	"strings"
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
	context    string
}

// cite cuts the evidence to the token budgets of the plan, in LightRAG's order
// (entities, relations, then chunks with what is left), numbers the references
// by the rank of their best passage and writes the context out. A chunk of a
// document that every budget cut away is not cited.
func (p *plan) cite(ev evidence) cited {
	var used int
	cut := func(budget, left int) { used += budget - left }
	entities, left := fitTokens(ev.entities, p.entityTokens, entityLine)
	cut(p.entityTokens, left)
	ev.entities = entities
	relations, left := fitTokens(ev.relations, p.relationTokens, relationLine)
	cut(p.relationTokens, left)
	ev.relations = relations

	budget := p.totalTokens - used - promptReserve - countTokens(p.Query.Query) - countTokens(p.UserPrompt) - promptTokens()
	kept := ev.chunks[:0:0]
	for _, c := range ev.chunks {
		if c.Tokens > budget {
			break
		}
		budget -= c.Tokens
		kept = append(kept, c)
	}
	ev.chunks = kept
	if ev.info == nil {
		ev.info = map[string]int{}
	}
	ev.info["entities_after_truncation"] = len(ev.entities)
	ev.info["relations_after_truncation"] = len(ev.relations)
	ev.info["final_chunks_count"] = len(ev.chunks)

	c := cited{evidence: ev, refOf: map[string]string{}}
	for _, ch := range ev.chunks {
		c.addReference(ch, p)
	}
	c.context = c.write()
	return c
}

func (c *cited) addReference(ch foundChunk, p *plan) {
	pass := ReferencePassage{
		ChunkID: chunkID(ch.docID, ch.ord), Start: ch.Start, End: ch.End, Page: ch.Page, Heading: ch.Heading,
		Snippet: snippet(ch.Text, p.Query.Query), Score: ch.score, Via: ch.via,
	}
	if id, ok := c.refOf[ch.docID]; ok {
		for i := range c.references {
			if r := &c.references[i]; r.ReferenceID == id {
				r.Passages = append(r.Passages, pass)
				if p.IncludeChunkContent {
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
		ChunkID: pass.ChunkID, Start: pass.Start, End: pass.End, Page: pass.Page, Heading: pass.Heading,
		Snippet: pass.Snippet, Score: pass.Score, Passages: []ReferencePassage{pass},
	}
	if p.IncludeChunkContent {
		r.Content = []string{ch.Text}
	}
	c.references = append(c.references, r)
}

// jsonLine is one line of context. HTML is not escaped: a model reads it.
func jsonLine(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "{}"
	}
	return b.String()
}

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

// write lays the context out as LightRAG does: fenced JSON lines by section,
// then the list of references.
func (c *cited) write() string {
	var b strings.Builder
	section := func(title string, n int, line func(int) string) {
		if n == 0 {
			return
		}
		b.WriteString(title + ":\n\n```json\n")
		for i := range n {
			b.WriteString(line(i))
		}
		b.WriteString("```\n\n")
	}
	section("Knowledge Graph Data (Entity)", len(c.entities), func(i int) string { return entityLine(c.entities[i]) })
	section("Knowledge Graph Data (Relationship)", len(c.relations), func(i int) string { return relationLine(c.relations[i]) })
	section("Document Chunks", len(c.chunks), func(i int) string {
		ch := c.chunks[i]
		return jsonLine(struct {
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

// snippet is the stretch of a passage that holds most words of the question,
// cut at sentences where it can be.
func snippet(text, query string) string {
	if len(text) <= snippetBytes {
		return strings.TrimSpace(text)
	}
	want := map[string]bool{}
	for _, w := range Terms(query) {
		if !IsFunctionWord(w) {
			want[w] = true
		}
	}
	best, at := -1, 0
	sentences := Sentences(text)
	for i, s := range sentences {
		n := 0
		for _, w := range Terms(text[s.Start:s.End]) {
			if want[w] {
				n++
			}
		}
		if n > best {
			best, at = n, i
		}
	}
	if len(sentences) == 0 {
		return cutBytes(strings.TrimSpace(text), snippetBytes)
	}
	start, end := sentences[at].Start, sentences[at].End
	for i := at + 1; i < len(sentences) && sentences[i].End-start <= snippetBytes; i++ {
		end = sentences[i].End
	}
	return cutBytes(strings.TrimSpace(text[start:end]), snippetBytes)
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
