package engine

import (
	"math"
	"slices"

	"alcove/graph"
	"alcove/index"
)

// Constants of the walk. They were chosen once on two sets of questions, and
// tuning them further gains nothing that a new question would keep: half or
// double of each changes at most one question in fifty.
const (
	walkDamping  = 0.8 // share of the mass that moves on
	lexicalShare = 0.1 // share of the start mass on the best passages by BM25
	lexicalTop   = 10
	rareShare    = 0.5 // share of the start mass that rare words of the question take beside as many names
	subjectGain  = 8   // a passage about the name
	sentenceGain = 8   // a name in a sentence with the question's relation words
	relationGain = 8   // a passage with the question's relation words
	plainWeight  = 0.2 // a plain word as a node, beside a name

	// crowded: no mass flows into nodes of more passages. It changes no ranking
	// that was measured, and bounds what one node costs.
	crowded = 300
	// maxFollowed bounds the passages that a walk goes on from, the heaviest first.
	maxFollowed = 4096
	// faint: what holds less of the mass is not followed.
	faint = massUnit / 1_000_000
)

// massUnit is the whole mass of a walk. Mass and weights are integers, so that
// sums do not depend on their order, which is that of dense numbers and so
// of the history of the base.
const massUnit = 1 << 40

// weightScale turns a weight into an integer. The largest weight is below 2^8
// and the largest sum is of 2^32 of them: no overflow.
const weightScale = 1 << 22

// walker is one walk and its scratch. With A the step from nodes to passages, B
// the step back, and sD, sE the start mass, three steps of
// x' = (1-d) s + d (x over the links) from x = s are, the graph being bipartite,
//
//	E = (1-d) sE + d B ((1-d) sD + d A sE)
//	D = (1-d) sD + d A E
//
// and D is the ranking.
type walker struct {
	*sight
	q    question
	keep func(uint32) bool
	less func(a, b uint32) bool

	all, rel index.Scores // BM25 of the question, which is there before the walk, and of its relation words
	relTop   float64
	relWhole int64      // idf of the relation words of weight 1
	relIDF   sparseMass // idf times weight by term
	seeds    sparseMass // start mass by name
	names    sparseMass // mass by name
	words    sparseMass // mass by plain word
	first    sparseMass // passages: start mass, then D of one step
	last     sparseMass // passages: D
	wholes   []int64    // by name of names: the weight of all its links to passages
	plain    []wordKind // by term, good for what knownOf says
	knownOf  knowing

	logs    []float64 // ln(1 + N/n) by n
	logsN   int
	chunks  chunkScores // of all
	reached chunkScores // of last
	weights []int64     // of the links being followed
	best    []float64   // best match of the passage's terms, by place
	matches []float64   // match of each sentence
	idfs    []int64     // relIDF of the terms of a passage, by place
}

type wordKind uint8

const (
	wordUnknown wordKind = iota
	wordPlain
	wordNoNode
)

// knowing says of what state of a recall something is known.
type knowing struct {
	lex        *index.Lexical
	pass       *graph.Passages
	lexN, pasN uint64
}

// sparseMass is a vector over dense numbers of which few are set.
type sparseMass struct {
	of  []int64
	set []uint32
}

func (m *sparseMass) reset(bound int) {
	for _, i := range m.set {
		m.of[i] = 0
	}
	m.set = m.set[:0]
	if len(m.of) < bound {
		m.of = make([]int64, bound+bound/4)
	}
}

func (m *sparseMass) add(i uint32, v int64) {
	if v <= 0 {
		return
	}
	if m.of[i] == 0 {
		m.set = append(m.set, i)
	}
	m.of[i] += v
}

// shareOf is the share x of a mass, rounded down.
func shareOf(mass int64, x float64) int64 { return int64(float64(mass) * x) }

func (w *walker) reset(r *sight, q question, keep func(uint32) bool, less func(a, b uint32) bool) {
	w.sight, w.q, w.keep, w.less = r, q, keep, less
	passages, terms := r.lex.Bound()
	w.relIDF.reset(terms)
	w.words.reset(terms)
	w.seeds.reset(r.pass.Bound())
	w.names.reset(r.pass.Bound())
	w.first.reset(passages)
	w.last.reset(passages)
	if n := r.pass.Bound(); len(w.wholes) < n {
		w.wholes = make([]int64, n+n/4)
	}
	now := knowing{r.lex, r.pass, r.lex.Changes(), r.pass.Changes()}
	if !r.part.IsWhole() {
		now = knowing{} // another part sees other words
	}
	if len(w.plain) < terms {
		w.plain = make([]wordKind, terms+terms/4)
	} else if now == (knowing{}) || now != w.knownOf {
		clear(w.plain)
	}
	w.knownOf = now
	if n := r.part.Len(); w.logsN != n {
		w.logsN = n
		w.logs = w.logs[:0]
		for i := range crowded + 1 {
			w.logs = append(w.logs, math.Log(1+float64(n)/float64(max(1, i))))
		}
	}
	var own []uint32
	w.relWhole = 0
	for _, x := range q.rel {
		idf := w.part.IDF(x.term)
		w.relIDF.add(x.term, int64(idf*x.weight*weightScale))
		if x.weight == 1 {
			own = append(own, x.term)
			w.relWhole += int64(idf * weightScale)
		}
	}
	w.part.Score(&w.rel, own, keep)
	w.relTop = w.rel.Max()
}

// start puts the whole mass on the names and rare words of the question and on
// the best passages by BM25.
func (w *walker) start() {
	top := w.all.Max()
	var rare []uint32
	for _, x := range w.q.rel {
		if x.weight == 1 && w.part.Frequency(x.term) <= rareFrequency {
			rare = append(rare, x.term)
		}
	}
	a, b := float64(len(w.q.seeds)), float64(len(rare))
	lexical, rarePart := lexicalShare, 0.0
	if b > 0 {
		rarePart = rareShare * b / (a + b)
	}
	if a == 0 {
		lexical = 1 - rarePart
	}
	// A name in more passages than BM25 starts from says less than BM25 about where
	// to start: it gives up the share that it would spread thinner. Where every
	// passage holds the same few names (a law, a manual) this lifts recall from 0.53
	// to 0.87 (see TestRecall_OneSubject); elsewhere it changes nothing.
	each := (1 - lexical - rarePart) / max(a, 1)
	for _, s := range w.q.seeds {
		own := each * min(1, lexicalTop/float64(w.count(s.name)))
		w.seeds.add(s.name, int64(own*massUnit))
		lexical += each - own
	}
	square := func(score float64) int64 { return int64(score / top * score / top * weightScale) }
	for _, t := range rare {
		var whole int64
		for _, p := range w.lex.Postings(t) {
			whole += square(w.all.Of(p.ID))
		}
		for _, p := range w.lex.Postings(t) {
			if whole > 0 {
				w.first.add(p.ID, shareOf(int64(rarePart/b*massUnit), float64(square(w.all.Of(p.ID)))/float64(whole)))
			}
		}
	}
	best := w.all.Best(lexicalTop, w.less)
	var whole int64
	for _, h := range best {
		whole += square(h.Score)
	}
	for _, h := range best {
		w.first.add(h.ID, shareOf(int64(lexical*massUnit), float64(square(h.Score))/float64(whole)))
	}
}

// run does the steps: last holds D behind it.
func (w *walker) run() {
	for _, d := range w.first.set {
		v := shareOf(w.first.of[d], 1-walkDamping)
		w.first.of[d] = max(1, v)
		w.last.add(d, v)
	}
	for _, e := range w.seeds.set {
		w.toPassages(&w.first, w.seeds.of[e], e)
		w.names.add(e, shareOf(w.seeds.of[e], 1-walkDamping))
	}
	for _, d := range w.followed() {
		w.toNodes(d)
	}
	for _, e := range w.names.set {
		w.wholes[e] = w.toPassages(&w.last, w.names.of[e], e)
	}
	for _, t := range w.words.set {
		w.fromWord(w.words.of[t], t)
	}
}

// followed are the passages to go on from.
func (w *walker) followed() []uint32 {
	n := 0
	for _, d := range w.first.set {
		if w.first.of[d] >= faint {
			n++
		}
	}
	if n <= maxFollowed {
		return slices.DeleteFunc(slices.Clone(w.first.set), func(d uint32) bool { return w.first.of[d] < faint })
	}
	top := index.NewTop(maxFollowed, w.less)
	for _, d := range w.first.set {
		top.Offer(d, float64(w.first.of[d]))
	}
	out := make([]uint32, 0, maxFollowed)
	for _, m := range top.Sorted() {
		out = append(out, m.ID)
	}
	return out
}

// keeps reports whether a passage may carry mass.
func (w *walker) keeps(id uint32) bool { return w.part.Has(id) && (w.keep == nil || w.keep(id)) }

// passageWeight is the weight of the link from a node to a passage.
func (w *walker) passageWeight(id uint32, s graph.Subject) int64 {
	v := 1 + subjectGain*s.Weight()
	if rel := w.rel.Of(id); rel > 0 {
		v *= 1 + relationGain*rel/w.relTop
	}
	return int64(v * weightScale)
}

// toPassages lets the mass of a name flow to its passages and returns the weight of
// all links; too little of it stays where it is.
func (w *walker) toPassages(to *sparseMass, mass int64, name uint32) (whole int64) {
	if mass < faint {
		return 0
	}
	links := w.pass.PassagesOf(name)
	w.weights = w.weights[:0]
	for _, l := range links {
		var v int64
		if w.keeps(l.ID) {
			v = w.passageWeight(l.ID, l.Subject)
		}
		w.weights = append(w.weights, v)
		whole += v
	}
	for i, l := range links {
		if w.weights[i] > 0 {
			to.add(l.ID, w.share(mass, w.weights[i], whole))
		}
	}
	return whole
}

// share is the part of a node's mass that flows over a link.
func (w *walker) share(mass, weight, whole int64) int64 {
	return shareOf(mass, walkDamping*float64(weight)/float64(whole))
}

// via is the key of the name that brought most of the mass of a passage that the walk
// reached, "" when none did; of names that brought as much, the first.
func (w *walker) via(id uint32) (key string) {
	var most int64
	for _, l := range w.pass.NamesOf(id) {
		mass := w.names.of[l.Name]
		if mass < faint {
			continue
		}
		v := w.share(mass, w.passageWeight(id, l.Subject), w.wholes[l.Name])
		if k := w.pass.Key(l.Name); v > most || v == most && v > 0 && k < key {
			most, key = v, k
		}
	}
	return key
}

// fromWord lets the mass of a plain word flow to its passages.
func (w *walker) fromWord(mass int64, term uint32) {
	if mass < faint {
		return
	}
	links := w.lex.Postings(term)
	w.weights = w.weights[:0]
	var whole int64
	for _, l := range links {
		var v int64
		if w.keeps(l.ID) {
			v = w.passageWeight(l.ID, graph.NotSubject)
		}
		w.weights = append(w.weights, v)
		whole += v
	}
	for i, l := range links {
		if w.weights[i] > 0 {
			w.last.add(l.ID, w.share(mass, w.weights[i], whole))
		}
	}
}

// toNodes lets the mass of a passage flow to its names and plain words.
func (w *walker) toNodes(id uint32) {
	terms := w.lex.TermsOf(id)
	w.match(terms)
	links := w.pass.NamesOf(id)
	w.weights = w.weights[:0]
	var whole int64
	for _, l := range links {
		v := w.nameWeight(id, l)
		w.weights = append(w.weights, v)
		whole += v
	}
	for i := range terms.Len() {
		v := w.wordWeight(terms.Term(i), i)
		w.weights = append(w.weights, v)
		whole += v
	}
	if whole == 0 {
		return
	}
	mass := walkDamping * float64(w.first.of[id]) / float64(whole)
	for i, l := range links {
		w.names.add(l.Name, int64(mass*float64(w.weights[i])))
	}
	for i, v := range w.weights[len(links):] {
		if v > 0 {
			w.words.add(terms.Term(i), int64(mass*float64(v)))
		}
	}
}

// match works out for each sentence of a passage the share, by idf, of the
// question's relation words that it holds, and for each term its best sentence.
func (w *walker) match(terms index.PassageTerms) {
	n := terms.Len()
	w.matches = w.matches[:0]
	w.best = append(w.best[:0], make([]float64, n)...)
	if w.relWhole == 0 {
		return
	}
	w.idfs = append(w.idfs[:0], make([]int64, n)...) // by place
	none := true
	if len(w.relIDF.set) < n/8 { // few words are looked for in the passage, not its terms among many
		for _, t := range w.relIDF.set {
			if i, ok := terms.Place(t); ok {
				w.idfs[i], none = w.relIDF.of[t], false
			}
		}
	} else {
		for i := range w.idfs {
			w.idfs[i] = w.relIDF.of[terms.Term(i)]
		}
		none = false
	}
	if none {
		return
	}
	for {
		places, rest, ok := terms.NextSentence()
		if !ok {
			return
		}
		var sum int64
		for _, p := range places {
			sum += w.idfs[p]
		}
		m := 0.0
		if sum > 0 {
			m = min(1, float64(sum)/float64(w.relWhole))
			for _, p := range places {
				w.best[p] = max(w.best[p], m)
			}
		}
		w.matches = append(w.matches, m)
		terms = rest
	}
}

// nameWeight is the weight of the link from a passage to one of its names: none
// for a name that leads nowhere else, and none back to a name of the question.
func (w *walker) nameWeight(id uint32, l graph.PassageLink) int64 {
	n := w.count(l.Name)
	if n == 1 || n > crowded || w.seeds.of[l.Name] > 0 {
		return 0
	}
	m := 0.0
	if len(w.matches) > 0 {
		for _, s := range w.pass.SentencesOf(id, l) {
			m = max(m, w.matches[s])
		}
	}
	return int64(w.logs[n] * (1 + sentenceGain*m) * weightScale)
}

// wordWeight is the weight of the link from a passage to its term at place i as
// a node: a word that stands in few passages and is no name.
func (w *walker) wordWeight(term uint32, i int) int64 {
	if w.plain[term] == wordUnknown {
		w.plain[term] = w.kindOf(term)
	}
	if w.plain[term] == wordNoNode {
		return 0
	}
	return int64(plainWeight * w.logs[w.part.Frequency(term)] * (1 + sentenceGain*w.best[i]) * weightScale)
}

func (w *walker) kindOf(term uint32) wordKind {
	if n := w.part.Frequency(term); n < 2 || n > rareFrequency {
		return wordNoNode
	}
	text := w.lex.Text(term)
	if _, ok := w.lookup(text); ok || digits(text) {
		return wordNoNode
	}
	return wordPlain
}
