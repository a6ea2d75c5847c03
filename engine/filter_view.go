package engine

import (
	"context"
	"slices"

	"alcove/graph"
)

// view is what one search or one look at the graph sees of a resident copy:
// everything, or what the permitted documents say, as if the others were not
// there. Names, weights, degrees and counts come from it and from nowhere else.
// It is scratch: for one goroutine, under the lock that it was made under.
type view struct {
	*resident
	permitted bits // chunks; nil is everything
	chunkN    int  // how many chunks are in sight
	seen      *sight

	net   *netPart          // nil until it is asked for, and of everything
	names map[uint32]string // names as they are spelled in sight
	count map[uint32]int    // chunks in sight that mention an entity
}

// netPart is what the permitted chunks make of the graph.
type netPart struct {
	entities bits
	degree   []int32     // by entity
	weights  []twoWeight // by relation, 0 where no chunk speaks of it
}

// twoWeight is the weight of a relation by direction, as residentRelation has it.
type twoWeight struct{ forward, back int64 }

// everything is the view of all documents.
func (r *resident) everything() *view {
	return &view{resident: r, chunkN: len(r.chunks) - len(r.free), seen: r.recall.whole()}
}

// within is the view of what a filter permits; nil permits everything. r.mu is
// held for reading. It asks each document once, unless the filter names some.
func (r *resident) within(ctx context.Context, f *Filter) (*view, error) {
	if f == nil || f.root == nil {
		return r.everything(), nil
	}
	v := &view{resident: r, permitted: newBits(len(r.chunks)), names: map[uint32]string{}, count: map[uint32]int{}}
	asked := 0
	ask := func(d *residentDoc) error {
		if asked++; asked%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if f.root.permits(d) {
			v.chunkN += len(d.chunks)
			for _, id := range d.chunks {
				v.permitted.set(id)
			}
		}
		return nil
	}
	if ids, ok := idsNamed(f.root); ok {
		for id := range ids {
			if d := r.docs[keyOf(id)]; d != nil {
				if err := ask(d); err != nil {
					return nil, err
				}
			}
		}
	} else {
		for _, d := range r.docs {
			if err := ask(d); err != nil {
				return nil, err
			}
		}
	}
	v.seen = r.recall.only(v.permitted)
	return v, nil
}

// idsNamed returns document ids outside of which a filter permits nothing.
func idsNamed(p predicate) (oneOfIDs, bool) {
	switch p := p.(type) {
	case oneOfIDs:
		return p, true
	case allOf:
		for _, x := range p {
			if ids, ok := idsNamed(x); ok {
				return ids, true
			}
		}
	}
	return nil, false
}

// whole reports whether nothing is out of sight.
func (v *view) whole() bool { return v.permitted == nil }

// keep is what chunks a search may rank, nil for all.
func (v *view) keep() func(uint32) bool {
	if v.whole() {
		return nil
	}
	return v.permitted.has
}

// inSight are the chunks of a list that are in sight. The list may be the copy's own.
func (v *view) inSight(chunks []uint32) []uint32 {
	if v.whole() {
		return chunks
	}
	out := make([]uint32, 0, min(len(chunks), v.chunkN))
	for _, c := range chunks {
		if v.permitted.has(c) {
			out = append(out, c)
		}
	}
	return out
}

// part reads what the chunks in sight say once. It is not asked of everything.
func (v *view) part() *netPart {
	if v.net != nil {
		return v.net
	}
	n := &netPart{
		entities: newBits(len(v.entities)), degree: make([]int32, len(v.entities)),
		weights: make([]twoWeight, len(v.relations)),
	}
	for id := range v.chunks {
		if !v.permitted.has(uint32(id)) {
			continue
		}
		c := &v.chunks[id]
		for _, m := range c.mentions {
			n.entities.set(m.entity)
		}
		for _, cr := range c.relations {
			w := &n.weights[cr.rel]
			if w.forward+w.back == 0 {
				x := &v.relations[cr.rel]
				n.degree[x.lo]++
				n.degree[x.hi]++
			}
			if cr.forward {
				w.forward += cr.weight
			} else {
				w.back += cr.weight
			}
		}
	}
	v.net = n
	return n
}

// hasEntity reports whether a chunk in sight mentions an entity.
func (v *view) hasEntity(e uint32) bool { return v.whole() || v.part().entities.has(e) }

// hasRelation reports whether a chunk in sight speaks of a relation.
func (v *view) hasRelation(rel uint32) bool {
	if v.whole() {
		return true
	}
	w := &v.part().weights[rel]
	return w.forward+w.back > 0
}

// keepEntities and keepRelations are for a search of profile vectors; nil is all.
func (v *view) keepEntities() func(uint32) bool {
	if v.whole() {
		return nil
	}
	return v.hasEntity
}

func (v *view) keepRelations() func(uint32) bool {
	if v.whole() {
		return nil
	}
	return v.hasRelation
}

// degree is the number of relations of an entity.
func (v *view) degree(e uint32) int {
	if v.whole() {
		return v.graph.Degree(e)
	}
	return int(v.part().degree[e])
}

// appendEdges appends the relations of an entity, with weights and degrees as they
// are in sight, in no order.
func (v *view) appendEdges(dst []graph.Edge, e uint32) []graph.Edge {
	from := len(dst)
	dst = v.graph.AppendEdges(dst, e)
	if v.whole() {
		return dst
	}
	p, in := v.part(), dst[:from]
	for _, x := range dst[from:] {
		if v.hasRelation(x.Rel) {
			_, _, x.Weight, _ = v.relation(x.Rel)
			x.Degree = p.degree[x.To]
			in = append(in, x)
		}
	}
	return in
}

// relation returns the ends of a relation, from source to target, and its weight.
func (v *view) relation(rel uint32) (src, dst uint32, weight float32, ok bool) {
	if v.whole() {
		return v.graph.Relation(rel)
	}
	if !v.hasRelation(rel) {
		return 0, 0, 0, false
	}
	x, w := &v.relations[rel], &v.part().weights[rel]
	src, dst = x.lo, x.hi
	if w.back > w.forward {
		src, dst = x.hi, x.lo
	}
	return src, dst, float32(float64(w.forward+w.back) / weightUnit), true
}

// mentioned is the number of chunks that mention an entity.
func (v *view) mentioned(e uint32) int {
	list := v.entities[e].chunks
	if v.whole() {
		return len(list)
	}
	n, ok := v.count[e]
	if !ok {
		for _, c := range list {
			if v.permitted.has(c) {
				n++
			}
		}
		v.count[e] = n
	}
	return n
}

// entityName is how an entity is written most often, other names of it left
// aside where it is written by its own; ties go to the smaller spelling.
func (v *view) entityName(e uint32) string {
	if v.whole() {
		return v.resident.entityName(e)
	}
	name, ok := v.names[e]
	if ok {
		return name
	}
	var said []surfaceCount
	for _, id := range v.entities[e].chunks {
		if !v.permitted.has(id) {
			continue
		}
		for _, m := range v.chunks[id].mentions {
			if m.entity == e {
				said = countSurface(said, m.surface, 1)
			}
		}
	}
	own, n := false, uint32(0)
	for _, s := range said {
		text := v.surface[s.surface].text
		is := EntityID(text) == v.graph.Name(e)
		if is && !own || is == own && (s.n > n || s.n == n && text < name) {
			name, n, own = text, s.n, is
		}
	}
	v.names[e] = name
	return name
}

// look is the graph in sight.
func (v *view) look() graph.View {
	if v.whole() {
		return v.graph.Within(nil)
	}
	p := v.part()
	return v.graph.Within(&graph.Part{
		Entity: p.entities.has, Relation: v.hasRelation,
		Degree: func(e uint32) int { return int(p.degree[e]) },
		Weight: v.weighed,
	})
}

// weighed is what a relation in sight weighs, and whether it points the other way
// than in the copy.
func (v *view) weighed(rel uint32) (weight float32, turned bool) {
	x, w := &v.relations[rel], &v.part().weights[rel]
	return float32(float64(w.forward+w.back) / weightUnit), (w.back > w.forward) != x.turned()
}

// order sorts relations as the graph does, by the names of source and target: in
// sight a relation may point the other way.
func (v *view) order(relations []uint32) {
	if v.whole() {
		return
	}
	slices.SortFunc(relations, func(a, b uint32) int {
		as, ad, _, _ := v.relation(a)
		bs, bd, _, _ := v.relation(b)
		switch {
		case as != bs && v.lessEntity(as, bs), as == bs && ad != bd && v.lessEntity(ad, bd):
			return -1
		case as == bs && ad == bd:
			return 0
		}
		return 1
	})
}

// findEntity looks a name up as a user wrote it. What is out of sight is not there.
func (v *view) findEntity(field, name string) (uint32, error) {
	id, err := v.resident.findEntity(field, name)
	if err == nil && !v.hasEntity(id) {
		err = noEntity(name)
	}
	return id, err
}
