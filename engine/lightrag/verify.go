package lightrag

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"alcove/engine"
)

// expected is what a knowledge base has to know of a graph afterwards: entities by
// EntityID, and the neighbours of each. Spellings that are one entity here are one.
type expected struct {
	neighbours map[string]map[string]bool
	nodes      int // of the source that are expected
	edges      int
	relations  int // pairs of entities
	known      bool
}

func (s *speakers) expected() expected {
	x := expected{neighbours: map[string]map[string]bool{}}
	if s.w.Graph == nil {
		return x
	}
	x.known = true
	entity := func(id string) map[string]bool {
		if x.neighbours[id] == nil {
			x.neighbours[id] = map[string]bool{}
		}
		return x.neighbours[id]
	}
	for _, n := range s.nodes {
		if !n.later {
			entity(engine.EntityID(n.node.Name))
			x.nodes++
		}
	}
	for _, e := range s.pairs {
		if e.later {
			continue
		}
		x.edges++
		a, b := engine.EntityID(e.edge.Source), engine.EntityID(e.edge.Target)
		if a != b {
			if !entity(a)[b] {
				x.relations++
			}
			entity(a)[b], entity(b)[a] = true, true
		}
	}
	return x
}

// Verified says how a knowledge base compares with the folder it was made of.
type Verified struct {
	SourceEntities  int  `json:"source_entities"` // nodes of the graph
	SourceRelations int  `json:"source_relations"`
	Entities        int  `json:"entities"` // of those, one for spellings that are one entity here
	Relations       int  `json:"relationships"`
	FoundEntities   int  `json:"found_entities"`
	FoundRelations  int  `json:"found_relationships"`
	Neighbours      int  `json:"entities_with_the_same_neighbours"`
	Documents       int  `json:"documents"` // compared, chunk by chunk
	Chunks          int  `json:"chunks"`
	Stored          bool `json:"read_from_the_store"` // false: what is to be stored was compared
	// Mismatches are the first of them; Count is how many there are.
	Mismatches []string `json:"mismatches"`
	Count      int      `json:"mismatch_count"`
}

// maxMismatches bounds the mismatches that are named.
const maxMismatches = 50

func (v *Verified) mismatch(format string, a ...any) {
	if v.Count++; len(v.Mismatches) < maxMismatches {
		v.Mismatches = append(v.Mismatches, fmt.Sprintf(format, a...))
	}
}

// Check compares the plan itself with the graph: what Verify would find once all of
// its documents are visible.
func (p *Plan) Check() *Verified {
	v := &Verified{Mismatches: []string{}}
	got := map[string]map[string]bool{}
	for _, d := range p.Documents {
		v.Documents++
		for _, c := range d.Chunks {
			v.Chunks++
			for _, e := range c.Said.Entities {
				link(got, engine.EntityID(e.Name), "")
			}
			for _, r := range c.Said.Relations {
				link(got, engine.EntityID(r.Source), engine.EntityID(r.Target))
			}
		}
	}
	v.compare(p.expected, got, true)
	return v
}

// link notes two neighbours, or one entity.
func link(m map[string]map[string]bool, a, b string) {
	for _, id := range []string{a, b} {
		if id != "" && m[id] == nil {
			m[id] = map[string]bool{}
		}
	}
	if b != "" {
		m[a][b], m[b][a] = true, true
	}
}

// Verify reads back what a knowledge base holds and compares it with the plan: every
// document and chunk, and every entity with its neighbours. alone says that it holds
// nothing else, so that what is too much is a mismatch, too.
func (p *Plan) Verify(ctx context.Context, kb *engine.Reader, alone bool) (*Verified, error) {
	v := &Verified{Mismatches: []string{}, Stored: true}
	for i := range p.Documents {
		if err := v.document(ctx, kb, &p.Documents[i]); err != nil {
			return nil, err
		}
	}
	if !p.expected.known {
		return v, nil
	}
	got, err := neighboursOf(ctx, kb)
	if err != nil {
		return nil, err
	}
	v.compare(p.expected, got, alone)
	return v, nil
}

// document compares one document's text and chunks.
func (v *Verified) document(ctx context.Context, kb *engine.Reader, d *Planned) error {
	doc, err := kb.Document(ctx, d.ID)
	if errors.Is(err, engine.ErrNotFound) {
		v.mismatch("document %s is not there", d.ID)
		return nil
	}
	if err != nil {
		return err
	}
	v.Documents++
	if doc.Status != engine.StatusProcessed {
		v.mismatch("document %s is %s: %s", d.ID, doc.Status, doc.ErrorMsg)
		return nil
	}
	_, n, content, err := kb.Content(ctx, d.ID)
	if err != nil {
		return fmt.Errorf("read document %s: %w", d.ID, err)
	}
	text, err := io.ReadAll(content)
	if err = errors.Join(err, content.Close()); err != nil {
		return fmt.Errorf("read document %s: %w", d.ID, err)
	}
	if n != len(d.Text) || string(text) != d.Text {
		v.mismatch("document %s has another text", d.ID)
	}
	at := 0
	for cursor := ""; ; {
		page, err := kb.Chunks(ctx, d.ID, cursor, 0)
		if err != nil {
			return fmt.Errorf("chunks of document %s: %w", d.ID, err)
		}
		for _, c := range page.Chunks {
			if at < len(d.Chunks) && c.Content == d.Chunks[at].Text {
				v.Chunks++
			} else {
				v.mismatch("document %s: chunk %d is another text", d.ID, at)
			}
			at++
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	if at != len(d.Chunks) {
		v.mismatch("document %s has %d chunks, not %d", d.ID, at, len(d.Chunks))
	}
	return nil
}

// neighboursOf reads the graph of a knowledge base as it is shown.
func neighboursOf(ctx context.Context, kb *engine.Reader) (map[string]map[string]bool, error) {
	format, err := engine.GraphFormat("csv")
	if err != nil {
		return nil, err
	}
	out := map[string]map[string]bool{}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := kb.ExportGraph(ctx, engine.GraphExport{Format: format}, func() io.Writer { return w })
		w.CloseWithError(err)
		done <- err
	}()
	rows := csv.NewReader(r)
	rows.ReuseRecord = true
	for first := true; ; first = false {
		var row []string
		if row, err = rows.Read(); err != nil || len(row) < 3 {
			break
		}
		if !first {
			link(out, engine.EntityID(row[1]), engine.EntityID(row[2]))
		}
	}
	r.CloseWithError(err)
	if exported := <-done; exported != nil {
		return nil, fmt.Errorf("read the graph: %w", exported)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the graph: %w", err)
	}
	return out, nil
}

// compare compares two graphs by the neighbours of each entity.
func (v *Verified) compare(want expected, got map[string]map[string]bool, alone bool) {
	v.SourceEntities, v.SourceRelations = want.nodes, want.edges
	v.Entities, v.Relations = len(want.neighbours), want.relations
	for _, id := range slices.Sorted(maps.Keys(want.neighbours)) {
		have, ok := got[id]
		if !ok {
			v.mismatch("entity %q is not there", id)
			continue
		}
		v.FoundEntities++
		as := true
		for _, other := range slices.Sorted(maps.Keys(want.neighbours[id])) {
			switch {
			case !have[other]:
				as = false
				if id < other {
					v.mismatch("relation %q | %q is not there", id, other)
				}
			case id < other:
				v.FoundRelations++
			}
		}
		if alone {
			for other := range have {
				if as = as && want.neighbours[id][other]; !want.neighbours[id][other] && id < other && want.neighbours[other] != nil {
					v.mismatch("relation %q | %q is too much", id, other)
				}
			}
		}
		if as {
			v.Neighbours++
		}
	}
	if !alone || !want.known {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(got)) {
		if want.neighbours[id] == nil {
			v.mismatch("entity %q is too much", id)
		}
	}
}

// Line is the comparison in a line.
func (v *Verified) Line() string {
	names := ""
	if v.SourceEntities != v.Entities || v.SourceRelations != v.Relations {
		names = fmt.Sprintf(" (one for spellings that are one entity here: %d and %d)", v.Entities, v.Relations)
	}
	return strings.TrimSpace(fmt.Sprintf("%d entities and %d relations of the source%s, %d and %d found, %d with the same neighbours, %d chunks equal, %d mismatches",
		v.SourceEntities, v.SourceRelations, names, v.FoundEntities, v.FoundRelations, v.Neighbours, v.Chunks, v.Count))
}
