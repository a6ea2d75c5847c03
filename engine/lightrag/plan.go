package lightrag

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"alcove/engine"
)

// graphDocument is the id of the document that says what no chunk of the source says:
// entities and relations that people made.
const graphDocument = "lightrag-graph"

// Plan is what a workspace becomes.
type Plan struct {
	Documents []Planned `json:"-"` // in the order of their times and ids
	Waiting   []Waiting `json:"-"` // have a text, and were not worked on to the end: any text is what they are here
	Skipped   []Skipped `json:"-"`

	Chunks         int `json:"chunks"`
	FromAnswers    int `json:"chunks_read_from_answers"`
	FromGraph      int `json:"chunks_read_from_graph"`
	AddedFromGraph int `json:"statements_added_from_graph"` // that no answer made
	LeftOut        int `json:"statements_not_in_graph"`     // of answers
	Manual         int `json:"statements_of_no_chunk"`
	Rebuilt        int `json:"texts_rebuilt_from_chunks"`
	Unplaced       int `json:"chunks_not_found_in_text"`

	expected expected
}

// Planned is a document with LightRAG's id, "" for what no document of the source says.
type Planned struct {
	LegacyID string
	engine.Adoption
}

// Waiting is a document that LightRAG had not worked on to the end.
type Waiting struct {
	LegacyID, Status string
	engine.DocumentInput
}

// Skipped is a document that does not come along.
type Skipped struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// Plan makes documents of a workspace. embeddedBy is the model behind its vectors, ""
// for one that is not known: then they are left out.
func (w *Workspace) Plan(embeddedBy string) *Plan {
	p := &Plan{}
	s := w.speakers()
	chunks := w.chunksOf()
	ids := slices.Collect(maps.Keys(w.Documents))
	for id := range chunks {
		if w.Documents[id] == nil {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int {
		x, y := w.Documents[a], w.Documents[b]
		if x != nil && y != nil {
			return cmp.Or(x.Created.Compare(y.Created), strings.Compare(a, b))
		}
		return strings.Compare(a, b)
	})
	for _, id := range ids {
		d := w.Documents[id]
		if d == nil {
			d = &Document{}
		}
		of := chunks[id]
		unfinished := d.Status != "" && d.Status != "processed"
		switch {
		case d.Text != "" && (len(of) == 0 || unfinished):
			if strings.TrimSpace(d.Text) == "" {
				p.Skipped = append(p.Skipped, Skipped{id, "has no text"})
				continue
			}
			p.Waiting = append(p.Waiting, Waiting{id, cmp.Or(d.Status, "without chunks"), engine.DocumentInput{
				ID: documentID(id), FilePath: source(d.FilePath), Content: []byte(d.Text), Metadata: metadata(id, d),
			}})
			s.forget(of)
		case len(of) == 0:
			p.Skipped = append(p.Skipped, Skipped{id, cmp.Or(reasonOf(d), "has neither a text nor chunks")})
		default:
			a := engine.Adoption{
				ID: documentID(id), FilePath: source(cmp.Or(d.FilePath, of[0].FilePath)), Text: d.Text,
				Metadata: metadata(id, d), Created: d.Created, TrackID: track(d.TrackID), EmbeddedBy: embeddedBy,
			}
			a.Chunks = make([]engine.AdoptedChunk, len(of))
			spans, unplaced := [][2]int(nil), 0
			if d.Text == "" {
				p.Rebuilt++
				a.Text, spans = rebuild(of)
			} else {
				spans, unplaced = place(d.Text, of)
			}
			p.Unplaced += unplaced
			p.Documents = append(p.Documents, Planned{id, a})
			for i, c := range of {
				a.Chunks[i] = engine.AdoptedChunk{Text: c.Text, Start: spans[i][0], End: spans[i][1]}
				if embeddedBy != "" {
					a.Chunks[i].Vector = c.Vector
				}
			}
		}
	}
	s.settle()
	for i := range p.Documents {
		for k, c := range chunks[p.Documents[i].LegacyID] {
			p.Chunks++
			p.Documents[i].Chunks[k].Said = s.said(c, p)
		}
	}
	p.expected = s.expected()
	if a := s.manual(); a != nil {
		for _, c := range a.Chunks {
			p.Manual += len(c.Said.Entities) + len(c.Said.Relations)
		}
		p.Chunks += len(a.Chunks)
		p.Documents = append(p.Documents, Planned{"", *a})
	}
	return p
}

func reasonOf(d *Document) string {
	if d.Status == "" {
		return ""
	}
	return strings.TrimSpace("is " + d.Status + " without a text: " + cut(d.Error, 200))
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "..."
	}
	return s
}

// documentID is LightRAG's id of a document where it is one here, else one made of it.
func documentID(id string) string {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._:@+-", r)
	}
	if id != "" && len(id) <= 255 && id != "." && id != ".." && strings.IndexFunc(id, func(r rune) bool { return !ok(r) }) < 0 {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "doc-" + hex.EncodeToString(sum[:16])
}

// source is a file path fit to be kept.
func source(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > 1024 {
		s = strings.ToValidUTF8(s[len(s)-1024:], "") // the end says more than the beginning
	}
	return s
}

func track(s string) string {
	if s = source(s); len(s) > 128 {
		return ""
	}
	return s
}

// metadata are LightRAG's own, with its id where that had to change.
func metadata(id string, d *Document) map[string]any {
	m := map[string]any{}
	maps.Copy(m, d.Metadata)
	if documentID(id) != id {
		m["legacy_id"] = cut(id, 1000)
	}
	return m
}

// place finds each chunk in its document's text. One that is not there word for word
// is said to come from between its neighbours.
func place(text string, chunks []*Chunk) (spans [][2]int, unplaced int) {
	const slack = 64 << 10 // of text that is in no chunk
	spans = make([][2]int, len(chunks))
	from, reach := 0, 0
	for i, c := range chunks {
		reach += len(c.Text)
		window := text[from:min(len(text), reach+slack)]
		at := strings.Index(window, c.Text)
		if at < 0 {
			spans[i] = [2]int{-1, -1}
			unplaced++
			continue
		}
		start := from + at
		spans[i] = [2]int{start, start + len(c.Text)}
		from, reach = start+1, start+len(c.Text)
		for from < len(text) && text[from]&0xc0 == 0x80 {
			from++
		}
	}
	next := len(text)
	for i := len(spans) - 1; i >= 0; i-- {
		if spans[i][0] < 0 {
			spans[i][1] = next
		} else {
			next = spans[i][0]
		}
	}
	prev := 0
	for i := range spans {
		if spans[i][0] < 0 {
			spans[i] = [2]int{min(prev, spans[i][1]), spans[i][1]}
		} else {
			prev = spans[i][1]
		}
	}
	return spans, unplaced
}

const (
	// leastOverlap is how much the end of one chunk and the beginning of the next must
	// have in common to be the same text, and mostOverlap how much is looked at.
	leastOverlap = 24
	mostOverlap  = 32 << 10
)

// rebuild makes a text of chunks that overlap as they were cut of it.
func rebuild(chunks []*Chunk) (string, [][2]int) {
	var b strings.Builder
	spans := make([][2]int, len(chunks))
	last := ""
	for i, c := range chunks {
		if i > 0 {
			if n := overlap(last, c.Text); n >= leastOverlap {
				spans[i][0] = b.Len() - n
				b.WriteString(c.Text[n:])
			} else {
				b.WriteString("\n\n")
				spans[i][0] = b.Len()
				b.WriteString(c.Text)
			}
		} else {
			b.WriteString(c.Text)
		}
		spans[i][1] = b.Len()
		last = c.Text
	}
	return b.String(), spans
}

// overlap is the length of the longest end of a that b begins with, up to all of the
// shorter one. It takes time in proportion to the lengths (Knuth, Morris and Pratt).
func overlap(a, b string) int {
	a, b = a[max(0, len(a)-mostOverlap):], b[:min(len(b), mostOverlap)]
	fail := make([]int, len(b)+1)
	for i, k := 1, 0; i < len(b); i++ {
		for k > 0 && b[i] != b[k] {
			k = fail[k]
		}
		if b[i] == b[k] {
			k++
		}
		fail[i+1] = k
	}
	k := 0
	for i := range len(a) {
		for k > 0 && (k == len(b) || a[i] != b[k]) {
			k = fail[k]
		}
		if k < len(b) && a[i] == b[k] {
			k++
		}
	}
	return k
}

// Summary is the plan in a line.
func (p *Plan) Summary() string {
	return fmt.Sprintf("%d documents with %d chunks (%d read from answers, %d from the graph), %d to be worked on, %d skipped",
		len(p.Documents), p.Chunks, p.FromAnswers, p.FromGraph, len(p.Waiting), len(p.Skipped))
}
