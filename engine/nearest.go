package engine

import (
	"fmt"
	"sync"

	"alcove/index"
)

// nearest is what the vectors of a question find among all in sight. Each space
// is searched beside the others and beside BM25 and the walk, which need no vectors:
// at 10,000 chunks the relations take some 4 ms, the entities 1, the walk 4.
type nearest struct {
	running                     sync.WaitGroup
	chunks, entities, relations nearHits
}

// nearHits is one search by vector; done is nil when there is none.
type nearHits struct {
	done chan struct{}
	hits []index.Hit
	err  error
}

// wait returns what the search found; without a search, nothing.
func (h *nearHits) wait() ([]index.Hit, error) {
	if h.done != nil {
		<-h.done
	}
	return h.hits, h.err
}

// searchNear starts the searches by vector of some channels. Whoever starts them
// waits for all before the lock of the copy is given back.
func (s *search) searchNear(entities, relations, chunks bool) *nearest {
	n, x := &nearest{}, s.r.index
	find := func(h *nearHits, what string, of *index.Vectors, vec []float32, k int, keep func(uint32) bool, less func(a, b uint32) bool) {
		h.done = make(chan struct{})
		n.running.Go(func() {
			defer close(h.done)
			if h.hits, h.err = of.Search(vec, k, keep, less); h.err != nil {
				h.err = fmt.Errorf("search %s: %w", what, h.err)
			}
		})
	}
	entities = entities && searchable(s.vec.low, x.Entities)
	relations = relations && searchable(s.vec.high, x.Relations)
	if (entities || relations) && !s.r.whole() {
		s.r.part() // made before: a view is for one goroutine, but what is made of it may be read by many
	}
	if entities {
		find(&n.entities, "entities", x.Entities, s.vec.low, s.p.topK, s.r.keepEntities(), s.r.lessEntity)
	}
	if relations {
		find(&n.relations, "relations", x.Relations, s.vec.high, s.p.topK, s.r.keepRelations(), s.r.lessRelation)
	}
	if chunks && searchable(s.vec.query, x.Chunks) {
		find(&n.chunks, "chunks", x.Chunks, s.vec.query, s.chunkDepth(), s.r.keep(), s.r.less)
	}
	return n
}

// searchable reports whether there is a vector to search by and something to find.
func searchable(vec []float32, space *index.Vectors) bool {
	return vec != nil && space != nil && space.Len() > 0
}
