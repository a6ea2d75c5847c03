package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"alcove/graph"
	"alcove/index"
	"alcove/tenancy"
)

// What the channels of a search weigh in the fusion. With builtin vectors the
// lexical list leads: equal weights cost a third of the recall (measured, see
// ARCHITECTURE.md); a trained embedder is its equal.
const (
	pureLexicalWeight  = 0.7
	pureVectorWeight   = 0.3
	modelLexicalWeight = 0.5
	modelVectorWeight  = 0.5
)

// In mode mix the walk leads and the other channels only settle near ties and
// fill up: fusing final lists at even weights loses a tenth of the questions
// that the walk answers. A question that names nothing known has no walk of
// its own, and a trained embedder then gets an equal say.
const (
	mixOtherWeight = 0.02
	mixModelWeight = 0.2
	mixLostWeight  = 1.0
)

// minCosine is LightRAG's COSINE_THRESHOLD.
const minCosine = 0.2

// Bounds of one search.
const (
	channelDepth     = 50     // places of a channel that take part in a fusion
	maxEdgesPerQuery = 20_000 // relations of the found entities that are looked at, about
	massPassages     = 30     // passages whose names are candidates for an entity search
	relationPassages = 50     // passages whose relations are candidates for a relation search
)

// plan is a validated query with its defaults filled in.
type plan struct {
	Query
	mode                                      Mode
	topK, chunkTopK                           int
	entityTokens, relationTokens, totalTokens int
	references, rerank, html                  bool
	set                                       *settings // of the knowledge base
	prompts                                   promptSet // of it
	embed                                     Embedder  // of its vectors
	least                                     float32   // the similarity from which a vector is found
	asked                                     string    // what is searched for: the question, or what it was rewritten to
}

// wants says which channels a mode uses.
func (p *plan) wants() (local, global, chunks, walk bool) {
	switch p.mode {
	case ModeLocal:
		local = true
	case ModeGlobal:
		global = true
	case ModeHybrid:
		local, global = true, true
	case ModeNaive:
		chunks = true
	case ModePPR:
		walk = true
	case ModeMix:
		local, global, chunks, walk = true, true, true, true
	}
	return
}

// evidence is what retrieval found, as text: nothing in it points into the
// knowledge base any more.
type evidence struct {
	entities  []DataEntity // cut to their budgets, as the relations are
	relations []DataRelation
	chunks    []foundChunk
	info      map[string]int
	gen       uint64
	trace     *traced // of an explanation alone
	// The entities and relations as lines of context.
	entityLines, relationLines lines
	blind                      bool // the vectors could not be searched: they are being replaced
}

type foundChunk struct {
	docID, filePath, title string
	chunkRecord
	ord      uint32
	score    float64
	via      string
	reranked *float64 // the reranker's score, nil without one
}

func (c *foundChunk) id() string { return chunkID(c.docID, c.ord) }

// searchVectors are the embedded texts of a query; nil where none is needed.
type searchVectors struct{ query, low, high []float32 }

// stages measures what a query spends its time on.
type stages map[string]float64

func (s stages) since(name string, t time.Time) {
	s[name] += float64(time.Since(t).Microseconds()) / 1000
}

// retrieve runs the search of a plan. The base is pinned and locked for reading
// only inside; vectors and keywords were made before. Keywords that are still
// empty are made by the rules here, since those ask what the base knows.
func (r *Reader) retrieve(ctx context.Context, p *plan, kw *Keywords, vec searchVectors, st stages, tr *trace) (ev evidence, err error) {
	read := r.read
	if p.mode == ModeNaive && tr == nil {
		read = r.readPassages
	}
	err = read(ctx, func(res *resident, tx *tenancy.Tx) error {
		r.eng.searching.Add(1)
		defer r.eng.searching.Add(-1)
		t := time.Now()
		blind, err := r.eng.blind(tx, res, p.embed, vec)
		if err != nil {
			return err
		}
		if blind {
			vec = searchVectors{}
		}
		v, err := res.within(ctx, p.Filter)
		if err != nil {
			return err
		}
		defer v.seen.close()
		s := &search{eng: r.eng, r: v, p: p, vec: vec, q: v.seen.parse(p.asked, *r.eng.o.RelationGroups), trace: tr}
		v.addOtherNames(&s.q)
		if len(kw.High) == 0 && len(kw.Low) == 0 {
			*kw = s.q.keywords()
		}
		s.kw = *kw
		if err := s.run(tx); err != nil {
			return err
		}
		st.since("search", t)
		t = time.Now()
		ev, err = s.read(tx)
		ev.gen, ev.blind = res.gen, blind
		if err == nil {
			ev.trace = tr.resolve(s)
		}
		st.since("read", t)
		return err
	})
	return ev, err
}

// blind reports whether a search has to do without vectors because those of the
// base are of another model or length and are being replaced. When they are not,
// a question's vectors of another kind are refused: the server gives others now,
// maybe under the same name.
func (e *Engine) blind(tx *tenancy.Tx, res *resident, made Embedder, vec searchVectors) (bool, error) {
	if res.index.Chunks == nil {
		return false, nil
	}
	st, err := readState(tx)
	if err != nil {
		return false, err
	}
	dim, m := res.index.Chunks.Dim(), made.Model()
	for _, v := range [][]float32{vec.query, vec.low, vec.high} {
		if len(v) == 0 || len(v) == dim && st.Embedder == m {
			continue
		}
		if st.changing() {
			return true, nil
		}
		return false, &PinnedError{Made: st.Embedder, MadeDim: dim, Now: m, NowDim: len(v)}
	}
	return false, nil
}

// search is one search over what is in sight of a locked copy.
type search struct {
	eng *Engine
	r   *view
	p   *plan
	q   question
	kw  Keywords
	vec searchVectors

	entities  []scored
	relations []scored
	chunks    []scored // with Via where the walk led
	info      map[string]int
	found     evidence // what of it is text already
	near      *nearest
	trace     *trace
}

func (s *search) pure() bool { return s.eng.o.Embedder.Pure() }

func (s *search) run(tx *tenancy.Tx) error {
	local, global, chunks, walk := s.p.wants()
	s.near = s.searchNear(local, global, chunks)
	defer s.near.running.Wait()
	s.r.seen.score(s.q) // every mode asks for it, and meanwhile the vectors are searched
	var walked []scored
	if walk || local && s.pure() {
		walked = s.r.seen.walk(s.q, max(s.p.chunkTopK, channelDepth), nil, s.r.less)
		s.trace.chunk("walk", walked)
	}
	var localE, globalE, localR, globalR []scored
	if local {
		var err error
		if localE, err = s.findEntities(walked); err != nil {
			return err
		}
		localR = s.edgesOf(localE)
		s.trace.entity("local", localE)
		s.trace.relation("edges", localR)
	}
	if global {
		var err error
		if globalR, err = s.findRelations(tx); err != nil {
			return err
		}
		globalE = s.endsOf(globalR)
		s.trace.relation("global", globalR)
		s.trace.entity("relation_ends", globalE)
	}
	s.entities = mergeScored(localE, globalE)
	s.relations = mergeScored(localR, globalR)
	s.info = map[string]int{"total_entities_found": len(s.entities), "total_relations_found": len(s.relations)}
	s.trace.entity("merged", s.entities)
	s.trace.relation("merged", s.relations)
	if err := s.foldItems(tx, walked); err != nil {
		return err
	}

	switch s.p.mode {
	case ModePPR:
		s.chunks = s.fill(walked)
	case ModeNaive:
		c, err := s.chunkChannels(nil)
		if err != nil {
			return err
		}
		s.chunks = fuse(c, s.r.less)
	case ModeMix:
		if err := s.mix(walked, chunks); err != nil {
			return err
		}
	default:
		ids, err := s.chunksOfItems()
		if err != nil {
			return err
		}
		s.chunks = make([]scored, len(ids))
		for i, id := range ids {
			s.chunks[i] = scored{ID: id, Score: 1 / float64(rrfK+1+i)}
		}
	}
	s.info["merged_chunks_count"] = len(s.chunks)
	s.trace.chunk("merged", s.chunks)
	s.chunks = firstN(s.chunks, s.p.chunkTopK)
	return nil
}

// fill completes a walk that reached fewer passages than were asked for with
// the lexical list behind it.
func (s *search) fill(walked []scored) []scored {
	if len(walked) >= s.p.chunkTopK {
		return walked
	}
	seen := make(map[uint32]bool, len(walked))
	low := 1.0
	for _, x := range walked {
		seen[x.ID] = true
		low = x.Score
	}
	for i, x := range s.r.seen.bm25(s.q, s.p.chunkTopK, nil, s.r.less) {
		if !seen[x.ID] {
			walked = append(walked, scored{ID: x.ID, Score: low / float64(2+i)})
		}
	}
	return walked
}

// chunkDepth is how many places of a channel of chunks are worked out.
func (s *search) chunkDepth() int { return max(s.p.chunkTopK, channelDepth) }

// chunkChannels are the lexical and the dense list of the question, among the
// chunks that keep allows, nil for all in sight.
func (s *search) chunkChannels(keep func(uint32) bool) ([]channel, error) {
	depth := s.chunkDepth()
	lw, vw := modelLexicalWeight, modelVectorWeight
	if s.pure() {
		lw, vw = pureLexicalWeight, pureVectorWeight
	}
	words := s.r.seen.bm25(s.q, depth, keep, s.r.less)
	if keep == nil {
		s.trace.chunk("lexical", words)
	}
	c := []channel{{idsOf(words), lw}}
	if !searchable(s.vec.query, s.r.index.Chunks) {
		return c, nil
	}
	whole := keep == nil
	var hits []index.Hit
	var err error
	if whole {
		hits, err = s.near.chunks.wait()
	} else if hits, err = s.r.index.Chunks.Search(s.vec.query, depth, keep, s.r.less); err != nil {
		err = fmt.Errorf("search chunks: %w", err)
	}
	if err != nil {
		return nil, err
	}
	near := make([]scored, 0, len(hits))
	for _, h := range hits {
		if h.Score >= s.p.least {
			near = append(near, scored{ID: h.ID, Score: float64(h.Score)})
		}
	}
	if whole {
		s.trace.chunk("vector", near)
	}
	return append(c, channel{idsOf(near), vw}), nil
}

// mix fuses the walk with every other way to a chunk.
func (s *search) mix(walked []scored, chunks bool) error {
	other, err := s.chunkChannels(nil)
	if err != nil {
		return err
	}
	items, err := s.chunksOfItems()
	if err != nil {
		return err
	}
	for i := range other {
		w := mixOtherWeight
		if !s.pure() && i == 1 {
			w = mixModelWeight
			if !s.q.named() {
				w = mixLostWeight
			}
		}
		other[i].weight *= w
	}
	all := append([]channel{{idsOf(s.fill(walked)), 1}}, other...)
	all = append(all, channel{firstN(items, channelDepth), mixOtherWeight / 2})
	s.chunks = fuse(all, s.r.less)
	via := map[uint32]string{}
	for _, x := range walked {
		via[x.ID] = x.Via
	}
	for i := range s.chunks {
		s.chunks[i].Via = via[s.chunks[i].ID]
	}
	return nil
}

// findEntities is the low-level search: by profile vectors where an embedder
// makes them, and by the names of the question and the passages the walk led
// to in every configuration.
func (s *search) findEntities(walked []scored) ([]scored, error) {
	sum := map[uint32]float64{}
	for _, k := range s.lowKeys() {
		for _, e := range s.r.named(k) {
			if s.r.hasEntity(e) {
				sum[e] = max(sum[e], 2)
			}
		}
	}
	if walked == nil {
		walked = s.r.seen.bm25(s.q, massPassages, nil, s.r.less)
	}
	var top float64
	for _, x := range firstN(walked, massPassages) {
		top = max(top, x.Score)
	}
	for _, x := range firstN(walked, massPassages) {
		c := &s.r.chunks[x.ID]
		for _, m := range c.mentions {
			n := s.r.mentioned(m.entity)
			sum[m.entity] += x.Score / top * s.r.rarity(n) / float64(len(c.mentions))
		}
	}
	words := bestScored(sum, s.p.topK, s.r.lessEntity)
	s.trace.entity("words", words)
	if !searchable(s.vec.low, s.r.index.Entities) {
		return words, nil
	}
	hits, err := s.near.entities.wait()
	if err != nil {
		return nil, err
	}
	var near []scored
	for _, h := range hits {
		if h.Score >= s.p.least {
			near = append(near, scored{ID: h.ID, Score: float64(h.Score)})
		}
	}
	s.trace.entity("vector", near)
	return firstN(fuse([]channel{{idsOf(words), modelLexicalWeight}, {idsOf(near), modelVectorWeight}}, s.r.lessEntity), s.p.topK), nil
}

// lowKeys are the name keys of the low-level keywords and of the question's names.
func (s *search) lowKeys() []string {
	keys := slices.Clone(s.q.names())
	for _, k := range s.kw.Low {
		keys = append(keys, nameKey(k))
	}
	return keys
}

// edgesOf are the relations of entities, one hop, as LightRAG ranks them: by
// the sum of the degrees of their ends, then by weight. Past maxEdgesPerQuery of
// them no further entity is looked at; the one under way is, to its end, so that
// what is left out does not depend on the order in which documents came.
func (s *search) edgesOf(entities []scored) []scored {
	type ranked struct {
		rel    uint32
		degree int
		weight float32
	}
	before := func(a, b ranked) bool {
		switch {
		case a.degree != b.degree:
			return a.degree > b.degree
		case a.weight != b.weight:
			return a.weight > b.weight
		}
		return s.r.lessRelation(a.rel, b.rel)
	}
	var edges []graph.Edge
	var best []ranked
	seen, looked := newBits(len(s.r.relations)), 0
	for _, e := range entities {
		if looked >= maxEdgesPerQuery {
			break
		}
		own := s.r.degree(e.ID)
		edges = s.r.appendEdges(edges[:0], e.ID)
		for _, x := range edges {
			if seen.has(x.Rel) {
				continue
			}
			seen.set(x.Rel)
			looked++
			best = keepBest(best, ranked{x.Rel, own + int(x.Degree), x.Weight}, s.p.topK, before)
		}
	}
	out := make([]scored, len(best))
	for i, e := range best {
		out[i] = scored{ID: e.rel, Score: float64(e.weight)}
	}
	return out
}

// findRelations is the high-level search: by profile vectors where an embedder
// makes them; else the relations of the passages that hold the high-level
// words, by how much of the words their own sentence and keywords hold.
func (s *search) findRelations(tx *tenancy.Tx) ([]scored, error) {
	if searchable(s.vec.high, s.r.index.Relations) {
		hits, err := s.near.relations.wait()
		if err != nil {
			return nil, err
		}
		var out []scored
		for _, h := range hits {
			if h.Score >= s.p.least {
				out = append(out, scored{ID: h.ID, Score: float64(h.Score)})
			}
		}
		return out, nil
	}
	// A keyword alone ("born") is in every other passage: what the question
	// names counts beside it.
	high, words := s.r.seen.parse(joinWords(s.kw.High, ""), false), s.q
	words.terms = slices.Clip(words.terms)
	for _, t := range high.terms {
		words.addTerm(t) // behind those of the question: where it has them all, their scores are there already
	}
	for _, t := range s.q.terms {
		high.addTerm(t)
	}
	f := newFolder(s.r, tx, nil).keeping()
	sum := map[uint32]float64{}
	match := newMatcher(s.r.seen, high.terms)
	for _, x := range s.r.seen.bm25(words, relationPassages, nil, s.r.less) {
		c, err := f.contribution(x.ID)
		if err != nil {
			return nil, err
		}
		for _, at := range s.r.chunks[x.ID].relations {
			if int(at.record) >= len(c.Relations) {
				continue
			}
			m := &c.Relations[at.record]
			if v := match.score(m.Keywords, m.Description); v > sum[at.rel] {
				sum[at.rel] = v
			}
		}
	}
	s.relationsByHand(match, sum)
	return bestScored(sum, s.p.topK, s.r.lessRelation), nil
}

// endsOf are the entities of relations in the order they come up.
func (s *search) endsOf(relations []scored) []scored {
	var out []scored
	seen := map[uint32]bool{}
	for _, x := range relations {
		src, dst, _, ok := s.r.relation(x.ID)
		if !ok {
			continue
		}
		for _, e := range [2]uint32{src, dst} {
			if !seen[e] {
				seen[e] = true
				out = append(out, scored{ID: e, Score: x.Score})
			}
		}
	}
	return firstN(out, s.p.topK)
}

// read turns what was found into text through the snapshot of the search.
func (s *search) read(tx *tenancy.Tx) (evidence, error) {
	ev := s.found
	ev.info = s.info
	for _, x := range s.chunks {
		c := &s.r.chunks[x.ID]
		b, err := tx.Get(kindChunk, c.doc.key(c.ord))
		if errors.Is(err, tenancy.ErrNotFound) {
			err = fmt.Errorf("%w: no record", ErrDamaged)
		}
		if err != nil {
			return ev, fmt.Errorf("chunk %s: %w", chunkID(c.doc.id, c.ord), err)
		}
		rec, err := decodeChunk(b)
		if err != nil {
			return ev, fmt.Errorf("chunk %s: %w", chunkID(c.doc.id, c.ord), err)
		}
		ev.chunks = append(ev.chunks, foundChunk{
			docID: c.doc.id, filePath: c.doc.filePath, title: c.doc.title,
			chunkRecord: rec, ord: c.ord, score: x.Score, via: x.Via,
		})
	}
	return ev, nil
}

func (f *folder) dataEntity(x scored) (DataEntity, error) {
	p, err := f.entity(x.ID, maxFoldChunks)
	ids, paths := f.sourcesOf(p.sources)
	return DataEntity{
		EntityName: f.v.entityName(x.ID), EntityType: p.typ, Description: p.description,
		SourceID: ids, FilePath: paths, Score: x.Score,
	}, err
}

func (f *folder) dataRelation(x scored) (DataRelation, error) {
	p, err := f.relation(x.ID, maxFoldChunks)
	src, dst, w, _ := f.v.relation(x.ID)
	ids, paths := f.sourcesOf(p.sources)
	return DataRelation{
		SrcID: f.v.entityName(src), TgtID: f.v.entityName(dst), Description: p.description, Keywords: p.keywords,
		Weight: float64(w), SourceID: ids, FilePath: paths, Score: x.Score,
	}, err
}

// mergeScored takes from two lists in turn and keeps each id's first score.
func mergeScored(a, b []scored) []scored {
	at := map[uint32]scored{}
	for _, l := range [][]scored{b, a} {
		for _, x := range l {
			at[x.ID] = x
		}
	}
	ids := roundRobin(idsOf(a), idsOf(b))
	out := make([]scored, len(ids))
	for i, id := range ids {
		out[i] = at[id]
	}
	return out
}
