package engine

import (
	"context"
	"slices"

	"alcove/tenancy"
)

// SummaryTexts is what the stored summaries of a base say, "" for one that waits.
func SummaryTexts(s *tenancy.Space) (texts []string, err error) {
	err = s.View(context.Background(), func(tx *tenancy.Tx) error {
		return tx.Scan(kindSummary, tenancy.Scan{}, func(_, value []byte) error {
			m, err := decodeSummary(value)
			if err == nil {
				texts = append(texts, m.text)
			}
			return err
		})
	})
	return texts, err
}

// StoredSummaries is the number of records of summaries in the store.
func StoredSummaries(s *tenancy.Space) (int, error) {
	texts, err := SummaryTexts(s)
	return len(texts), err
}

// Spelled is what a base knows of one thing: who speaks of it, and how it is written.
type Spelled struct{ Sources, Spellings []string }

// GraphOf is the graph of a base by identity, with the documents that speak of
// each thing; a pair is written with a bar between its identities.
func GraphOf(e *Engine, s *tenancy.Space) (entities, relations map[string]Spelled, err error) {
	entities, relations = map[string]Spelled{}, map[string]Spelled{}
	err = e.Reader(s).read(context.Background(), func(r *resident, tx *tenancy.Tx) error {
		f := newFolder(r.everything(), tx, nil)
		sources := func(chunks []uint32) (out []string) {
			for _, c := range chunks {
				out = append(out, r.chunks[c].doc.id)
			}
			slices.Sort(out)
			return slices.Compact(out)
		}
		for id := range r.entities {
			if r.liveEntity(uint32(id)) {
				x := Spelled{Sources: sources(r.entities[id].chunks)}
				for _, s := range r.entities[id].surfaces {
					x.Spellings = append(x.Spellings, r.surface[s.surface].text)
				}
				slices.Sort(x.Spellings)
				entities[r.graph.Name(uint32(id))] = x
			}
		}
		for id := range r.relations {
			if !r.liveRelation(uint32(id)) {
				continue
			}
			x := Spelled{Sources: sources(r.relations[id].chunks)}
			for _, c := range r.relations[id].chunks {
				said, err := f.contribution(c)
				if err != nil {
					return err
				}
				for _, at := range r.chunks[c].relations {
					if m := said.Relations[at.record]; at.rel == uint32(id) {
						x.Spellings = append(x.Spellings, min(m.Source, m.Target)+" | "+max(m.Source, m.Target))
					}
				}
			}
			slices.Sort(x.Spellings)
			x.Spellings = slices.Compact(x.Spellings)
			relations[r.graph.Name(r.relations[id].lo)+" | "+r.graph.Name(r.relations[id].hi)] = x
		}
		return nil
	})
	return entities, relations, err
}
