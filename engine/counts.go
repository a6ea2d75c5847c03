package engine

import (
	"context"

	"alcove/tenancy"
)

// Counts is how much a knowledge base holds. Entities and Relations are -1 while
// it is not in memory: counting them is not worth loading it for.
type Counts struct {
	Documents, Chunks   int
	Entities, Relations int
	Embedding           Embedding
}

// Counts returns what the knowledge base holds, from counters alone: nothing is
// scanned or loaded.
func (r *Reader) Counts(ctx context.Context) (Counts, error) {
	c := Counts{Entities: -1, Relations: -1}
	err := r.space.View(ctx, func(tx *tenancy.Tx) error {
		st, err := readState(tx)
		for _, n := range st.Documents {
			c.Documents += n
		}
		c.Chunks, c.Embedding = st.Chunks, st.embedding()
		return err
	})
	if res := r.eng.pool.peek(r.space.ID()); res != nil {
		c.Entities, c.Relations = res.graph.Len()
	}
	return c, err
}

// peek returns a base that is in memory already, without a lease: what is asked
// of it must be safe beside everything.
func (p *pool) peek(id tenancy.SpaceID) *resident {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kb := p.open[id]; kb != nil {
		select {
		case <-kb.ready:
			return kb.res
		default:
		}
	}
	return nil
}

// InMemory is what a knowledge base takes in memory, counted rather than measured.
// Bytes is the sum of the parts.
type InMemory struct {
	Chunks, Entities, Relations int
	Dim                         int   // of the vectors, 0 without any
	Vectors                     int64 // of passages, entities and relations
	Words                       int64 // words and names of passages
	Graph                       int64 // entities and relations
	Tables                      int64 // documents, passages and who said what
	Bytes                       int64
}

// InMemory loads the knowledge base and says what it takes.
func (r *Reader) InMemory(ctx context.Context) (m InMemory, err error) {
	err = r.read(ctx, func(res *resident, _ *tenancy.Tx) error {
		m.Chunks = len(res.chunks) - len(res.free)
		m.Entities, m.Relations = res.graph.Len()
		for _, v := range res.index.Spaces() {
			m.Dim = v.Dim()
			m.Vectors += v.Bytes()
		}
		m.Words = res.recall.lex.Bytes() + res.recall.pass.Bytes()
		m.Graph = res.graph.Bytes()
		m.Bytes = res.own() + res.kept.bytes()
		m.Tables = m.Bytes - m.Vectors - m.Words - m.Graph
		return nil
	})
	return m, err
}
