package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// kindCustomKG marks a document whose content is a graph somebody made.
	kindCustomKG = "custom_kg"
	// customKGReader stands for the extractor behind what such a document says.
	customKGReader = "custom_kg.v1"

	maxKGChunkBytes = 64 << 10
	maxKGItems      = 100_000 // entities and relationships, each
)

// CustomKG is a graph that somebody made, with the passages it was made of, in
// LightRAG's shape (insert_custom_kg). It is one document: it has an id and a
// source, is worked on, listed, cited and deleted as any other.
type CustomKG struct {
	ID         string         `json:"id"`
	FileSource string         `json:"file_source"` // else the file_path that all chunks have
	Metadata   map[string]any `json:"metadata"`

	Chunks        []KGChunk    `json:"chunks"` // at least one, each at most 64 KiB
	Entities      []KGEntity   `json:"entities"`
	Relationships []KGRelation `json:"relationships"`
}

// KGChunk is one passage. SourceID is what entities and relationships call it by.
type KGChunk struct {
	Content  string `json:"content"`
	SourceID string `json:"source_id,omitempty"`
	FilePath string `json:"file_path,omitempty"`
	Order    *int   `json:"chunk_order_index,omitempty"` // passages without one keep their place
}

// KGEntity is one passage's word on one entity. A SourceID that names no passage
// means the first.
type KGEntity struct {
	Name        string `json:"entity_name"`
	Type        string `json:"entity_type,omitempty"`
	Description string `json:"description,omitempty"`
	SourceID    string `json:"source_id,omitempty"`
	FilePath    string `json:"file_path,omitempty"`
}

// KGRelation is one passage's word on one directed relation. Weight nil means 1.
type KGRelation struct {
	Source      string   `json:"src_id"`
	Target      string   `json:"tgt_id"`
	Description string   `json:"description,omitempty"`
	Keywords    string   `json:"keywords,omitempty"`
	Weight      *float64 `json:"weight,omitempty"`
	SourceID    string   `json:"source_id,omitempty"`
	FilePath    string   `json:"file_path,omitempty"`
}

// ImportGraph takes a graph in as one document. Its content is the graph as JSON;
// its chunks are the passages as given, and what they say is what the graph says,
// so that no model but the embedder is asked. Errors are those of Add.
func (k *KB) ImportGraph(ctx context.Context, g CustomKG) (*Accepted, error) {
	if err := g.check(k.eng.o.MaxChunks); err != nil {
		return nil, err
	}
	content, _ := g.encode()
	in, err := k.eng.checkOne(&DocumentInput{
		ID: g.ID, FilePath: g.source(), Name: "custom_kg.json", Content: content, Metadata: g.Metadata, kind: kindCustomKG,
	}, fields{text: "chunks", id: "id", source: "file_source", metadata: "metadata"})
	if err != nil {
		return nil, err
	}
	in.cost -= len(in.face.Summary)
	in.face.Summary = summarize([]byte(g.Chunks[g.order()[0]].Content))
	in.cost += len(in.face.Summary)
	return k.accept(ctx, []*incoming{in}, "import", decideAdd)
}

// source is the document's file path.
func (g *CustomKG) source() string {
	if g.FileSource != "" {
		return g.FileSource
	}
	for _, c := range g.Chunks[1:] {
		if c.FilePath != g.Chunks[0].FilePath {
			return kindCustomKG
		}
	}
	if p := g.Chunks[0].FilePath; p != "" {
		return p
	}
	return kindCustomKG
}

// order is the places of the passages in the order they are kept in.
func (g *CustomKG) order() []int {
	out := make([]int, len(g.Chunks))
	at := make([]int, len(g.Chunks))
	for i, c := range g.Chunks {
		out[i], at[i] = i, i
		if c.Order != nil {
			at[i] = *c.Order
		}
	}
	slices.SortStableFunc(out, func(a, b int) int { return at[a] - at[b] })
	return out
}

func (g *CustomKG) check(maxChunks int) error {
	if n := len(g.Chunks); n == 0 || n > maxChunks {
		return badField("chunks", fmt.Sprintf("has %d passages; 1 to %d are allowed", n, maxChunks))
	}
	for i, c := range g.Chunks {
		at := fmt.Sprintf("chunks[%d].", i)
		switch {
		case strings.TrimSpace(c.Content) == "":
			return badField(at+"content", "is empty")
		case len(c.Content) > maxKGChunkBytes:
			return badField(at+"content", fmt.Sprintf("has %d bytes; at most %d are allowed", len(c.Content), maxKGChunkBytes))
		case !utf8.ValidString(c.Content) || strings.IndexByte(c.Content, 0) >= 0:
			return badField(at+"content", "is not valid text")
		case c.Order != nil && (*c.Order < 0 || *c.Order > 1e9):
			return badField(at+"chunk_order_index", fmt.Sprintf("is %d; 0 to 1e9 is allowed", *c.Order))
		}
		if err := checkOrigin(at, c.SourceID, c.FilePath); err != nil {
			return err
		}
	}
	for _, x := range []struct {
		field string
		n     int
	}{{"entities", len(g.Entities)}, {"relationships", len(g.Relationships)}} {
		if x.n > maxKGItems {
			return badField(x.field, fmt.Sprintf("has %d items; at most %d are allowed", x.n, maxKGItems))
		}
	}
	for i := range g.Entities {
		if err := g.Entities[i].check(fmt.Sprintf("entities[%d].", i)); err != nil {
			return err
		}
	}
	for i := range g.Relationships {
		if err := g.Relationships[i].check(fmt.Sprintf("relationships[%d].", i)); err != nil {
			return err
		}
	}
	for i, c := range g.said() {
		if len(c.encode()) > maxContributionSize {
			return badField("entities", fmt.Sprintf("chunks[%d] is given more than %d bytes of entities and relationships", g.order()[i], maxContributionSize))
		}
	}
	return nil
}

func (e *KGEntity) check(at string) error {
	if err := checkNames(fieldName{at + "entity_name", e.Name}); err != nil {
		return err
	}
	if err := checkText(at+"entity_type", &e.Type, maxMentionName); err != nil {
		return err
	}
	if err := checkText(at+"description", &e.Description, maxMentionBytes); err != nil {
		return err
	}
	return checkOrigin(at, e.SourceID, e.FilePath)
}

func (x *KGRelation) check(at string) error {
	if err := checkNames(fieldName{at + "src_id", x.Source}, fieldName{at + "tgt_id", x.Target}); err != nil {
		return err
	}
	if EntityID(x.Source) == EntityID(x.Target) {
		return badField(at+"tgt_id", "is the source itself")
	}
	if err := checkText(at+"description", &x.Description, maxMentionBytes); err != nil {
		return err
	}
	if err := checkText(at+"keywords", &x.Keywords, maxMentionName); err != nil {
		return err
	}
	if err := checkWeight(at+"weight", x.Weight); err != nil {
		return err
	}
	return checkOrigin(at, x.SourceID, x.FilePath)
}

func checkOrigin(at, sourceID, filePath string) error {
	for _, x := range []struct{ field, v string }{{"source_id", sourceID}, {"file_path", filePath}} {
		if err := checkSource(x.v); err != nil {
			return badField(at+x.field, err.Error())
		}
	}
	return nil
}

// said is what each passage says, in the order the passages are kept in.
func (g *CustomKG) said() []contribution {
	out := make([]contribution, len(g.Chunks))
	place := make(map[string]int, len(g.Chunks))
	for i, at := range g.order() {
		if id := g.Chunks[at].SourceID; id != "" {
			if _, ok := place[id]; !ok {
				place[id] = i
			}
		}
	}
	for _, e := range g.Entities {
		c := &out[place[e.SourceID]]
		c.Entities = append(c.Entities, EntityMention{Name: strings.TrimSpace(e.Name), Type: e.Type, Description: e.Description})
	}
	for _, x := range g.Relationships {
		w := 1.0
		if x.Weight != nil {
			w = *x.Weight
		}
		c := &out[place[x.SourceID]]
		c.Relations = append(c.Relations, RelationMention{Source: strings.TrimSpace(x.Source), Target: strings.TrimSpace(x.Target), Keywords: x.Keywords, Description: x.Description, Weight: w})
	}
	return out
}

// encode writes the graph as JSON in one way only, and says where the text of each
// passage lies in it, so that a citation can name bytes.
func (g *CustomKG) encode() (content []byte, spans [][2]int) {
	b := []byte(`{"chunks":[`)
	for i, c := range g.Chunks {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"content":`...)
		start := len(b) + 1
		b = append(b, plainJSON(c.Content)...)
		spans = append(spans, [2]int{start, len(b) - 1})
		for _, x := range []struct{ name, v string }{{"source_id", c.SourceID}, {"file_path", c.FilePath}} {
			if x.v != "" {
				b = append(b, `,"`+x.name+`":`...)
				b = append(b, plainJSON(x.v)...)
			}
		}
		if c.Order != nil {
			b = strconv.AppendInt(append(b, `,"chunk_order_index":`...), int64(*c.Order), 10)
		}
		b = append(b, '}')
	}
	b = append(b, `],"entities":`...)
	b = append(b, plainJSON(orEmpty(g.Entities))...)
	b = append(b, `,"relationships":`...)
	b = append(b, plainJSON(orEmpty(g.Relationships))...)
	return append(b, '}'), spans
}

// plainJSON is v as JSON without escapes for HTML.
func plainJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("engine: graph does not encode: " + err.Error()) // strings and finite numbers only
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// givenGraph reads nothing: what the chunks of a custom graph say came with them.
type givenGraph struct{}

func (givenGraph) Extract(context.Context, Passage) (Extraction, error) { return Extraction{}, nil }

func (givenGraph) Identity() string { return customKGReader }

// readGraph makes the chunks of a custom graph, and what they say, of its content.
func readGraph(content []byte) (chunks []chunkRecord, said []contribution, err error) {
	var g CustomKG
	if err := unmarshalRecord("custom graph", content, &g); err != nil {
		return nil, nil, err
	}
	again, spans := g.encode()
	if !bytes.Equal(again, content) || len(g.Chunks) == 0 {
		return nil, nil, fmt.Errorf("%w: custom graph", ErrDamaged)
	}
	for _, i := range g.order() {
		c := &g.Chunks[i]
		chunks = append(chunks, chunkRecord{Text: c.Content, Start: spans[i][0], End: spans[i][1], Tokens: countTokens(c.Content)})
	}
	return chunks, g.said(), nil
}
