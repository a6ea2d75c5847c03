package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"alcove/graph"
)

const (
	// kgPassageBytes is how long a passage of statements grows; one entity or
	// relation of which more is said may take up to kgLongestBytes of one.
	kgPassageBytes = 4 << 10
	kgLongestBytes = 48 << 10
)

// GraphFile is a graph in one of the formats of ExportGraph.
type GraphFile struct {
	Format     graph.Format
	Data       []byte
	ID         string
	FileSource string // "" is graph with the end of the format's files
}

// ImportRows takes a graph in as one document: its statements, written out as
// sentences, are the passages, and each passage says what its statements say. So it
// is found, cited and deleted as any other document. Where a statement was said
// before is not taken in: from now on this document says it. Errors are those of
// ImportGraph; a file that is not of its format is a *FieldError of "body".
func (k *KB) ImportRows(ctx context.Context, f GraphFile) (*Accepted, error) {
	rows, err := graph.ReadRows(f.Format, f.Data, maxKGItems)
	if errors.Is(err, graph.ErrRows) {
		return nil, badField("body", strings.TrimPrefix(err.Error(), graph.ErrRows.Error()+": "))
	}
	if err != nil {
		return nil, err
	}
	g := CustomKG{ID: f.ID, FileSource: f.FileSource}
	if g.FileSource == "" {
		g.FileSource = "graph" + f.Format.Extension()
	}
	s := statementsOf{kg: &g, types: map[string]string{}, named: map[string]bool{}}
	if err := s.take(rows); err != nil {
		return nil, err
	}
	return k.ImportGraph(ctx, g)
}

// statementsOf writes rows as a custom graph.
type statementsOf struct {
	kg    *CustomKG
	types map[string]string // of entities by identity
	named map[string]bool   // entities that the passage at hand names itself
	text  strings.Builder   // of the passage at hand
}

// take writes all rows: entities first, since a fold reads the first passages that
// mention a thing, and those must be the ones that describe it.
func (s *statementsOf) take(rows *graph.Rows) error {
	if len(rows.Entities)+len(rows.Relations) == 0 {
		return badField("body", "holds no entity and no relation")
	}
	for i := range rows.Entities {
		e := &rows.Entities[i]
		x := KGEntity{Name: e.Name, Type: e.Type}
		if err := x.check(fmt.Sprintf("entities[%d].", i)); err != nil {
			return err
		}
		if id := EntityID(e.Name); s.types[id] == "" {
			s.types[id] = e.Type
		}
		fragments, err := fragmentsWithin(fmt.Sprintf("entities[%d].description", i), e.Description)
		if err != nil {
			return err
		}
		if len(fragments) > 0 {
			s.begin(len(e.Name) + len(e.Type) + len(e.Description))
		}
		for _, d := range fragments {
			s.entity(KGEntity{Name: e.Name, Type: e.Type, Description: d})
		}
	}
	for i := range rows.Entities {
		if e := &rows.Entities[i]; fragmentsOf(e.Description) == "" {
			s.begin(len(e.Name) + len(e.Type))
			s.entity(KGEntity{Name: e.Name, Type: e.Type})
		}
	}
	order := make([]int, len(rows.Relations))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { // what is said of one stands together
		return strings.Compare(rows.Relations[a].Source, rows.Relations[b].Source)
	})
	for _, i := range order {
		if err := s.relation(fmt.Sprintf("relationships[%d].", i), &rows.Relations[i]); err != nil {
			return err
		}
	}
	s.end()
	return nil
}

// begin starts a new passage when what comes does not fit the one at hand.
func (s *statementsOf) begin(bytes int) {
	if s.text.Len() > 0 && s.text.Len()+bytes > kgPassageBytes {
		s.end()
	}
}

// end closes the passage at hand.
func (s *statementsOf) end() {
	if s.text.Len() == 0 {
		return
	}
	s.kg.Chunks = append(s.kg.Chunks, KGChunk{Content: s.text.String(), SourceID: s.passage()})
	s.text.Reset()
	s.named = map[string]bool{}
}

func (s *statementsOf) passage() string { return fmt.Sprintf("p%d", len(s.kg.Chunks)) }

// line adds a sentence to the passage at hand.
func (s *statementsOf) line(head, description string) {
	if s.text.Len() > 0 && s.text.Len()+len(head)+len(description) > kgLongestBytes {
		s.end()
	}
	s.text.WriteString(head)
	if description != "" {
		s.text.WriteString(": ")
		s.text.WriteString(description)
	}
	s.text.WriteByte('\n')
}

func (s *statementsOf) entity(e KGEntity) {
	head := e.Name
	if e.Type != "" && e.Type != unknownType {
		head += " (" + e.Type + ")"
	}
	s.line(head, e.Description)
	e.SourceID = s.passage()
	s.kg.Entities = append(s.kg.Entities, e)
	s.named[EntityID(e.Name)] = true
}

// relation adds what is said of a relation. Its weight is shared among the pieces
// that its descriptions and keywords make, to the unit. Its ends are named in the
// same passage, as what they are: an end that a passage names in no other way
// takes the relation's description for its own.
func (s *statementsOf) relation(at string, r *graph.RelationRow) error {
	x := KGRelation{Source: r.Source, Target: r.Target, Weight: &r.Weight}
	if err := x.check(at); err != nil {
		return err
	}
	fragments, err := fragmentsWithin(at+"description", r.Description)
	if err != nil {
		return err
	}
	keywords, err := keywordsWithin(at+"keywords", r.Keywords)
	if err != nil {
		return err
	}
	s.begin(len(r.Source) + len(r.Target) + len(r.Keywords) + len(r.Description))
	pieces := max(1, len(fragments), len(keywords))
	units := math.Max(1, math.Round(r.Weight*weightUnit))
	for i := range pieces {
		share := math.Floor(units / float64(pieces-i))
		if i == pieces-1 {
			share = units
		}
		units -= share
		w := math.Max(1, share) / weightUnit
		y := KGRelation{Source: r.Source, Target: r.Target, Weight: &w}
		if i < len(fragments) {
			y.Description = fragments[i]
		}
		if i < len(keywords) {
			y.Keywords = keywords[i]
		}
		head := r.Source + " – " + r.Target
		if y.Keywords != "" {
			head += " (" + y.Keywords + ")"
		}
		s.line(head, y.Description)
		y.SourceID = s.passage()
		s.kg.Relationships = append(s.kg.Relationships, y)
		for _, name := range []string{r.Source, r.Target} {
			id := EntityID(name)
			if typ, ok := s.types[id]; ok && !s.named[id] {
				s.named[id] = true
				s.kg.Entities = append(s.kg.Entities, KGEntity{Name: name, Type: typ, SourceID: y.SourceID})
			}
		}
	}
	return nil
}

// fragmentsWithin are the fragments of a description, each of a length that a
// passage may say.
func fragmentsWithin(field, description string) ([]string, error) {
	out := graph.SortFragments(description)
	for i := range out {
		if err := checkText(field, &out[i], maxMentionBytes); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// keywordsWithin packs keywords into as few lists as each may be long.
func keywordsWithin(field, keywords string) ([]string, error) {
	var out []string
	for word := range strings.SplitSeq(keywords, ",") {
		word = strings.TrimSpace(word)
		if err := checkText(field, &word, maxMentionName); err != nil {
			return nil, err
		}
		switch last := len(out) - 1; {
		case word == "":
		case last >= 0 && len(out[last])+1+len(word) <= maxMentionName:
			out[last] += "," + word
		default:
			out = append(out, word)
		}
	}
	return out, nil
}
