package builtin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"alcove/engine"
)

// rulesVersion is raised whenever the same passage may give another result,
// also when engine's rules for names and sentences change.
const rulesVersion = 1

// Options bound what Extractor takes from one chunk. Zero means the default
// given beside the field.
type Options struct {
	// MaxEntities keeps, in this order: what the passage is about, then what it
	// mentions more often, then what it mentions first. 60.
	MaxEntities int
	// MaxRelations keeps pairs of kept entities, in this order: those that share
	// more sentences, then those with a subject of the passage, then those that
	// stand closer together, then those that come first. 100.
	MaxRelations int
	// MaxDescription is the length in bytes at which a sentence is cut when it
	// describes something. 400; at least 80.
	MaxDescription int
}

const (
	// maxNameBytes: what is longer is no name.
	maxNameBytes = 120
	// maxTitleWords: a longer title is a sentence, not a name.
	maxTitleWords = 12
	// maxSentenceEntities bounds the pairs of one sentence, a list of names say,
	// to those of its first so many entities.
	maxSentenceEntities = 24
	// maxEvidence is how many mentions of an entity are looked at to type and
	// describe it.
	maxEvidence = 32
	// maxKeywords of a relation.
	maxKeywords = 4
)

// Extractor returns an extractor by rules, without a model. Entities are names
// (engine.FindNames; an alias counts for what it names), terms that the text
// defines, and noun phrases it repeats; types are LightRAG's, in lower case,
// told by cues beside the name and "concept" without any; a description is the
// best sentence of the source. Two entities in one sentence are related: the
// earlier is the source, the weight is the number of such sentences, keywords
// are words between them. Results come in order of the text and are a function of
// the passage and the options. Safe for concurrent use; it fails only with
// ctx's error.
func Extractor(o Options) engine.Extractor {
	for _, d := range []struct {
		v        *int
		def, low int
	}{{&o.MaxEntities, 60, 1}, {&o.MaxRelations, 100, 1}, {&o.MaxDescription, 400, 80}} {
		if *d.v == 0 {
			*d.v = d.def
		}
		*d.v = max(*d.v, d.low)
	}
	return extractor{o}
}

type extractor struct{ o Options }

func (x extractor) Identity() string {
	return fmt.Sprintf("builtin-rules-v%d entities=%d relations=%d description=%d",
		rulesVersion, x.o.MaxEntities, x.o.MaxRelations, x.o.MaxDescription)
}

func (x extractor) Extract(ctx context.Context, p engine.Passage) (engine.Extraction, error) {
	if err := ctx.Err(); err != nil {
		return engine.Extraction{}, err
	}
	r := reading{o: x.o, text: p.Text, sentences: engine.Sentences(p.Text)}
	if len(r.sentences) == 0 {
		return engine.Extraction{}, nil
	}
	r.tokens = tokenise(p.Text)
	r.readNames(p.Title)
	r.readRepeated()
	slices.SortFunc(r.mentions, func(a, b mention) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.end - a.end
	})
	r.weigh()
	r.spreadKinds()
	r.keepEntities()
	relations := r.relate()
	return engine.Extraction{Entities: r.describe(), Relations: relations}, nil
}

// reading is one passage while it is read.
type reading struct {
	o         Options
	text      string
	sentences []engine.Sentence
	tokens    []token
	entities  []entity
	byKey     map[string]int // of an entity or of an alias of one
	mentions  []mention      // in order of the text
	whole     []span         // in order, without overlap
	counts    [4096]uint8    // see countWords
}

// mention is one place where an entity is named; start and end are bytes.
type mention struct {
	entity, sentence, start, end int
}

// entity is one thing named. Its number is its place in reading.entities.
type entity struct {
	name, key string
	subject   float32 // as engine.Name's
	titled    bool    // is the document's title
	count     int     // mentions
	first     int     // byte of the first
	end       int     // byte after the last one weighed
	openings  int     // mentions that open a sentence
	votes     votes
	best      int // sentence that describes it
	bestAt    mention
	bestScore float64
	kept      bool
}

// add returns the entity of a key, made if need be.
func (r *reading) add(name, key string) int {
	if i, ok := r.byKey[key]; ok {
		return i
	}
	r.byKey[key] = len(r.entities)
	r.entities = append(r.entities, entity{name: name, key: key, first: len(r.text), best: -1})
	return len(r.entities) - 1
}

// weigh counts the mentions and takes their evidence: for the type, and for the
// sentence that describes the entity.
func (r *reading) weigh() {
	at := 0 // token at or after the mention
	for _, m := range r.mentions {
		e := &r.entities[m.entity]
		if m.start < e.end {
			continue // the same words found as a name and as a term
		}
		e.end = m.end
		e.count++
		e.first = min(e.first, m.start)
		if r.opens(m) {
			e.openings++
		}
		if e.count > maxEvidence {
			continue
		}
		for at < len(r.tokens) && r.tokens[at].start < m.start {
			at++
		}
		for at > 0 && r.tokens[at-1].end > m.start {
			at--
		}
		defines := r.takeEvidence(e, m, at)
		if s := r.sentenceScore(e, m, defines); e.best < 0 || s > e.bestScore {
			e.best, e.bestAt, e.bestScore = m.sentence, m, s
		}
	}
}

// opens reports whether a mention is the first word of its sentence.
func (r *reading) opens(m mention) bool {
	s := r.sentences[m.sentence].Start
	return m.start <= s || m.start-s <= 4 && strings.IndexFunc(r.text[s:m.start], isWordRune) < 0
}

// sentenceScore says how well the sentence of a mention describes the entity:
// one that defines it, then one that starts with it, of readable length, early.
func (r *reading) sentenceScore(e *entity, m mention, defines bool) float64 {
	s := r.sentences[m.sentence]
	score := 2 / (1 + float64(m.start-s.Start)/40)
	if defines {
		score += 3
	}
	if e.subject > 0 && m.sentence == 0 {
		score += 2
	}
	switch n := s.End - s.Start; {
	case n < 30:
		score -= 1.5
	case n > 300:
		score -= 0.5
	}
	return score - float64(0.02*float64(min(m.sentence, 50))) // a conversion, so that no machine fuses the two
}

// keepEntities drops what is no entity after all and what is over the limit.
func (r *reading) keepEntities() {
	order := make([]int, 0, len(r.entities))
	ids := make(map[string]int, len(r.entities))
	for i := range r.entities {
		e := &r.entities[i]
		if e.count == 0 {
			continue
		}
		id := engine.EntityID(e.name)
		if id == "" {
			continue
		}
		if same, ok := ids[id]; ok {
			r.rename(i, same) // one name by the engine's rule, if not by their keys
			continue
		}
		ids[id] = i
		if e.count == e.openings && !e.titled && strings.IndexByte(e.key, ' ') < 0 {
			if r.ordinaryOpener(e) {
				continue
			}
		}
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &r.entities[a], &r.entities[b]
		switch {
		case x.subject != y.subject:
			if x.subject > y.subject {
				return -1
			}
			return 1
		case x.count != y.count:
			return y.count - x.count
		}
		return x.first - y.first
	})
	for _, i := range order[:min(len(order), r.o.MaxEntities)] {
		r.entities[i].kept = true
	}
}

// rename gives the mentions of one entity to another.
func (r *reading) rename(from, to int) {
	for i := range r.mentions {
		if r.mentions[i].entity == from {
			r.mentions[i].entity = to
		}
	}
}

// describe returns the kept entities in order of the text.
func (r *reading) describe() []engine.EntityMention {
	order := make([]int, 0, len(r.entities))
	for i := range r.entities {
		if r.entities[i].kept {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return r.entities[a].first - r.entities[b].first })
	out := make([]engine.EntityMention, len(order))
	for i, n := range order {
		e := &r.entities[n]
		out[i] = engine.EntityMention{
			Name: e.name, Type: e.votes.winner().String(),
			Description: clip(r.text, r.sentences[e.best], e.bestAt.start, e.bestAt.end, r.o.MaxDescription),
		}
	}
	return out
}
