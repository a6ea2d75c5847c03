package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"alcove/engine"
)

// tripleRow is what a language model once said of one passage.
type tripleRow struct {
	DocID    string              `json:"doc_id"`
	Entities []string            `json:"entities"`
	Triples  [][]json.RawMessage `json:"triples"`
}

// Triples replays what a language model once extracted from passages: an
// Extractor that answers with the recorded triples of a passage, found by its
// text. Passages are to fit one chunk.
type Triples struct {
	said     map[string]engine.Extraction // by text
	identity string
}

// ReadTriples reads a file of JSON lines {doc_id, entities, triples}, a triple
// being subject, predicate and object; a triple that is none of three texts
// counts as dropped. doc_id is that of a passage of the sets; rows of other
// passages are left out.
func ReadTriples(path string, sets []Set) (*Triples, error) {
	rows, err := readLines[tripleRow](path)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	x := &Triples{said: map[string]engine.Extraction{}, identity: "triples:" + hex.EncodeToString(sum[:8])}
	byID := make(map[string]engine.Extraction, len(rows))
	for _, r := range rows {
		byID[r.DocID] = r.extraction()
	}
	for _, s := range sets {
		for _, p := range s.Passages {
			if e, ok := byID[p.ID]; ok {
				x.said[strings.TrimSpace(p.Text)] = e
			}
		}
	}
	return x, nil
}

// Covers reports whether there is a row for every passage of the set.
func (x *Triples) Covers(s Set) bool {
	return !slices.ContainsFunc(s.Passages, func(p Passage) bool {
		_, ok := x.said[strings.TrimSpace(p.Text)]
		return !ok
	})
}

// Extract implements engine.Extractor. A text without a row is an error.
func (x *Triples) Extract(_ context.Context, p engine.Passage) (engine.Extraction, error) {
	e, ok := x.said[strings.TrimSpace(p.Text)]
	if !ok {
		return e, fmt.Errorf("no recorded triples of the passage %.60q", p.Text)
	}
	return e, nil
}

// Identity implements engine.Extractor.
func (x *Triples) Identity() string { return x.identity }

// extraction is the row in the engine's words. Both ends of a triple are
// entities, as an extraction in LightRAG's form has them; the triples that name
// an entity are its description.
func (r tripleRow) extraction() engine.Extraction {
	var out engine.Extraction
	var names []string
	says := map[string][]string{}
	note := func(name string) {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, e := range r.Entities {
		note(e)
	}
	for _, raw := range r.Triples {
		t, ok := threeTexts(raw)
		if !ok {
			out.Dropped++
			continue
		}
		sentence := strings.Join(t[:], " ") + "."
		note(t[0])
		note(t[2])
		says[t[0]] = append(says[t[0]], sentence)
		says[t[2]] = append(says[t[2]], sentence)
		out.Relations = append(out.Relations, engine.RelationMention{Source: t[0], Target: t[2], Keywords: t[1], Description: sentence, Weight: 1})
	}
	for _, n := range names {
		out.Entities = append(out.Entities, engine.EntityMention{Name: n, Description: strings.Join(says[n], " ")})
	}
	return out
}

func threeTexts(raw []json.RawMessage) (t [3]string, ok bool) {
	if len(raw) != 3 {
		return t, false
	}
	for i := range raw {
		if json.Unmarshal(raw[i], &t[i]) != nil {
			return t, false
		}
		if t[i] = strings.TrimSpace(t[i]); t[i] == "" {
			return t, false
		}
	}
	return t, true
}
