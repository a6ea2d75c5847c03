package engine

import (
	"cmp"
	"context"
	"slices"
)

// Bounds of an explanation.
const (
	// maxExplained is how many items of a kind are shown beside those of the context.
	maxExplained = 200
	// maxSupports is how many entities and relations are named that speak of a chunk.
	maxSupports = 5
)

// Explanation says how retrieval came to the context of a question: for each
// item the lists it stood in and what cut it. No answer is written for it.
type Explanation struct {
	Query         string          `json:"query"`
	Chunks        []ExplainedItem `json:"chunks"` // those of the context first, in its order
	Entities      []ExplainedItem `json:"entities"`
	Relationships []ExplainedItem `json:"relationships"`
	// Left out of the lists above, which are bounded.
	Omitted int `json:"omitted,omitempty"`
	// Permitted of the Total chunks of the knowledge base passed the filter. What did
	// not pass took no part in any list and is not named.
	Permitted int          `json:"permitted_chunks"`
	Total     int          `json:"total_chunks"`
	Metadata  DataMetadata `json:"metadata"`
}

// ExplainedItem is one chunk, entity or relation on its way to the context.
type ExplainedItem struct {
	// ID is the chunk's id, the entity's name, or the names of a relation's ends.
	ID       string `json:"id,omitempty"`
	SrcID    string `json:"src_id,omitempty"`
	TgtID    string `json:"tgt_id,omitempty"`
	DocID    string `json:"doc_id,omitempty"`
	FilePath string `json:"file_path,omitempty"`
	// Stages are the lists the item stood in, in the order in which they were made.
	Stages []ItemStage `json:"stages"`
	// FinalRank is its place in the context, from 1; 0 says that Cut took it out.
	FinalRank int    `json:"final_rank"`
	Cut       string `json:"cut,omitempty"` // top_k, rerank or budget
	// Via is the name that led the walk to a chunk. From are the entities and
	// relations of the context that speak of it, best first.
	Via  string   `json:"via,omitempty"`
	From []string `json:"from,omitempty"`
}

// ItemStage is a place in one list. Stages of chunks: lexical, vector, walk,
// entity_chunks, relation_chunks, merged, rerank. Of entities: words, vector, local,
// relation_ends, merged. Of relations: edges, global, merged. Scores of different
// stages do not compare.
type ItemStage struct {
	Stage string  `json:"stage"`
	Rank  int     `json:"rank"`
	Score float64 `json:"score"`
}

// What cuts an item.
const (
	cutTopK   = "top_k"
	cutRerank = "rerank"
	cutBudget = "budget"
)

// QueryExplain runs retrieval as QueryData does and says of each item how it came
// into the context or why it did not.
func (r *Reader) QueryExplain(ctx context.Context, q Query) (*Explanation, error) {
	ctx = paidBy(ctx, r.space)
	a, err := r.begin(ctx, q, nil)
	if err != nil {
		return nil, err
	}
	if a.p.mode == ModeBypass {
		return nil, badField("mode", "bypass retrieves nothing; query it instead")
	}
	a.trace = &trace{}
	if err := a.retrieve(ctx); err != nil {
		return nil, err
	}
	t := a.c.trace
	final := make(map[string]int, len(a.c.chunks))
	for i := range a.c.chunks {
		final[a.c.chunks[i].id()] = i + 1
	}
	for i := range t.chunks {
		c := &t.chunks[i]
		if s, ok := a.reranked[c.ID]; ok {
			c.Stages = append(c.Stages, s)
		}
		if c.FinalRank = final[c.ID]; c.FinalRank == 0 {
			c.Cut = cmp.Or(a.cut[c.ID], cutTopK)
		}
	}
	x := &Explanation{Query: a.p.Query.Query, Permitted: t.permitted, Total: t.total, Metadata: a.dataMetadata()}
	for _, l := range []struct {
		from []ExplainedItem
		into *[]ExplainedItem
	}{{t.chunks, &x.Chunks}, {t.entities, &x.Entities}, {t.relations, &x.Relationships}} {
		var omitted int
		*l.into, omitted = boundExplained(l.from)
		x.Omitted += omitted
	}
	return x, nil
}

// boundExplained puts the items of the context first and keeps some of the others,
// by the last place they had.
func boundExplained(items []ExplainedItem) (kept []ExplainedItem, omitted int) {
	slices.SortStableFunc(items, func(a, b ExplainedItem) int {
		if (a.FinalRank == 0) != (b.FinalRank == 0) {
			return cmp.Compare(b.FinalRank, a.FinalRank)
		}
		if a.FinalRank != b.FinalRank {
			return cmp.Compare(a.FinalRank, b.FinalRank)
		}
		x, y := a.Stages[len(a.Stages)-1], b.Stages[len(b.Stages)-1]
		// Whoever came as far as the merged list stands before who did not.
		return cmp.Or(cmp.Compare(len(b.Stages), len(a.Stages)), cmp.Compare(x.Rank, y.Rank),
			cmp.Compare(a.ID, b.ID), cmp.Compare(a.SrcID, b.SrcID), cmp.Compare(a.TgtID, b.TgtID))
	})
	cut := 0
	for i := range items {
		if items[i].FinalRank == 0 {
			if cut++; cut > maxExplained {
				return items[:i], len(items) - i
			}
		}
	}
	return orEmpty(items), 0
}

// trace notes the places of the items of one search; a nil one notes nothing.
type trace struct {
	chunks, entities, relations map[uint32][]ItemStage
}

func note(m *map[uint32][]ItemStage, stage string, list []scored) {
	if *m == nil {
		*m = map[uint32][]ItemStage{}
	}
	for i, x := range list {
		(*m)[x.ID] = append((*m)[x.ID], ItemStage{stage, i + 1, x.Score})
	}
}

func (t *trace) chunk(stage string, list []scored) {
	if t != nil {
		note(&t.chunks, stage, list)
	}
}

func (t *trace) entity(stage string, list []scored) {
	if t != nil {
		note(&t.entities, stage, list)
	}
}

func (t *trace) relation(stage string, list []scored) {
	if t != nil {
		note(&t.relations, stage, list)
	}
}

// ids notes chunks of a list without scores.
func (t *trace) ids(stage string, list []uint32) {
	if t == nil {
		return
	}
	scores := make([]scored, len(list))
	for i, id := range list {
		scores[i] = scored{ID: id}
	}
	note(&t.chunks, stage, scores)
}

// traced is a trace in the words of the outside.
type traced struct {
	chunks, entities, relations []ExplainedItem
	permitted, total            int
}

// resolve names the items while the copy they are numbers of is still locked.
func (t *trace) resolve(s *search) *traced {
	if t == nil {
		return nil
	}
	out := &traced{permitted: s.r.chunkN, total: len(s.r.chunks) - len(s.r.free)}
	final := func(items []scored) map[uint32]int {
		m := make(map[uint32]int, len(items))
		for i, x := range items {
			m[x.ID] = i + 1
		}
		return m
	}
	cut := func(rank int, stages []ItemStage) string {
		switch {
		case rank > 0:
			return ""
		case stages[len(stages)-1].Stage == "merged":
			return cutBudget
		}
		return cutTopK
	}
	kept := final(s.entities)
	for id, stages := range t.entities {
		x := ExplainedItem{ID: s.r.entityName(id), Stages: stages, FinalRank: kept[id]}
		x.Cut = cut(x.FinalRank, stages)
		out.entities = append(out.entities, x)
	}
	kept = final(s.relations)
	for id, stages := range t.relations {
		src, dst, _, ok := s.r.relation(id)
		if !ok {
			continue
		}
		x := ExplainedItem{SrcID: s.r.entityName(src), TgtID: s.r.entityName(dst), Stages: stages, FinalRank: kept[id]}
		x.Cut = cut(x.FinalRank, stages)
		out.relations = append(out.relations, x)
	}
	from := s.supports()
	via := map[uint32]string{}
	for _, x := range s.chunks {
		via[x.ID] = x.Via
	}
	for id, stages := range t.chunks {
		c := &s.r.chunks[id]
		out.chunks = append(out.chunks, ExplainedItem{
			ID: chunkID(c.doc.id, c.ord), DocID: c.doc.id, FilePath: c.doc.filePath,
			Stages: stages, Via: via[id], From: from[id],
		})
	}
	return out
}

// supports are, for the chunks that were found, the kept entities and relations
// that speak of them.
func (s *search) supports() map[uint32][]string {
	found := newBits(len(s.r.chunks))
	for _, x := range s.chunks {
		found.set(x.ID)
	}
	out := map[uint32][]string{}
	add := func(chunks []uint32, name string) {
		for _, c := range chunks {
			if found.has(c) && len(out[c]) < maxSupports {
				out[c] = append(out[c], name)
			}
		}
	}
	for _, x := range s.entities {
		add(s.r.entities[x.ID].chunks, s.r.entityName(x.ID))
	}
	for _, x := range s.relations {
		if src, dst, _, ok := s.r.relation(x.ID); ok {
			add(s.r.relations[x.ID].chunks, s.r.entityName(src)+" → "+s.r.entityName(dst))
		}
	}
	return out
}
