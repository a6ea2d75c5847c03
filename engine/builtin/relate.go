package builtin

import (
	"slices"
	"strings"

	"alcove/engine"
)

// pair is two entities that share sentences; source is named first in the one
// where they stand closest.
type pair struct {
	source, target mention
	count          int
	distance       int // bytes between them in that sentence
	first          int // rank by first shared sentence
}

// relate returns the relations of kept entities, the best MaxRelations of them,
// in order of the text.
func (r *reading) relate() []engine.RelationMention {
	pairs := make([]pair, 0, len(r.mentions))
	at := make(map[[2]int]int, len(r.mentions))
	var here []mention // first mention of each kept entity of one sentence
	for i := 0; i < len(r.mentions); {
		sentence := r.mentions[i].sentence
		here = here[:0]
		for ; i < len(r.mentions) && r.mentions[i].sentence == sentence; i++ {
			m := r.mentions[i]
			if r.entities[m.entity].kept && len(here) < maxSentenceEntities &&
				!slices.ContainsFunc(here, func(h mention) bool { return h.entity == m.entity }) {
				here = append(here, m)
			}
		}
		for j, a := range here {
			for _, b := range here[j+1:] {
				if b.start < a.end {
					continue // part of the longer name
				}
				key := [2]int{min(a.entity, b.entity), max(a.entity, b.entity)}
				k, ok := at[key]
				if !ok {
					k = len(pairs)
					at[key] = k
					pairs = append(pairs, pair{source: a, target: b, distance: b.start - a.end, first: k})
				}
				p := &pairs[k]
				p.count++
				if d := b.start - a.end; d < p.distance {
					p.source, p.target, p.distance = a, b, d
				}
			}
		}
	}
	if len(pairs) > r.o.MaxRelations {
		slices.SortStableFunc(pairs, r.byWorth)
		pairs = pairs[:r.o.MaxRelations]
		slices.SortFunc(pairs, func(a, b pair) int { return a.first - b.first })
	}
	out := make([]engine.RelationMention, len(pairs))
	for i, p := range pairs {
		out[i] = engine.RelationMention{
			Source: r.entities[p.source.entity].name, Target: r.entities[p.target.entity].name,
			Keywords:    r.keywords(p.source, p.target),
			Description: clip(r.text, r.sentences[p.source.sentence], p.source.start, p.target.end, r.o.MaxDescription),
			Weight:      float64(p.count),
		}
	}
	return out
}

func (r *reading) byWorth(a, b pair) int {
	if a.count != b.count {
		return b.count - a.count
	}
	if x, y := r.aboutSubject(a), r.aboutSubject(b); x != y {
		if x {
			return -1
		}
		return 1
	}
	return a.distance - b.distance
}

func (r *reading) aboutSubject(p pair) bool {
	return r.entities[p.source.entity].subject > 0 || r.entities[p.target.entity].subject > 0
}

// keywords are the last plain words before the target that lie between two
// mentions: what leads to it ("second son of"). Where none stand between, the
// next one of the sentence, or the one before.
func (r *reading) keywords(a, b mention) string {
	var words []string
	i, _ := slices.BinarySearchFunc(r.tokens, b.start, func(t token, at int) int { return t.start - at })
	for j := i - 1; j >= 0 && r.tokens[j].start >= a.end && len(words) < maxKeywords; j-- {
		if w := r.word(j); r.tokens[j].lower && isKeyword(w) && !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	slices.Reverse(words)
	s := r.sentences[a.sentence]
	for j := i; len(words) == 0 && j < len(r.tokens) && r.tokens[j].start < s.End; j++ {
		if w := r.word(j); r.tokens[j].start >= b.end && r.tokens[j].lower && isKeyword(w) {
			words = append(words, w)
		}
	}
	for j := i - 1; len(words) == 0 && j >= 0 && r.tokens[j].start >= s.Start; j-- {
		if w := r.word(j); r.tokens[j].end <= a.start && r.tokens[j].lower && isKeyword(w) {
			words = append(words, w)
		}
	}
	return strings.Join(words, ",")
}

func isKeyword(w string) bool {
	return len(w) > 2 && len(w) <= maxNameBytes && !engine.IsFunctionWord(w) && !light[w] && !strings.HasSuffix(w, "ly")
}
