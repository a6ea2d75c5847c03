package engine

import (
	"maps"
	"slices"
	"strings"

	"alcove/tenancy"
)

// resolve tells the names of a chunk's contribution that count from those that
// people took away. It runs before the copy is locked.
func (p *preparedChunk) resolve(h *byHand) {
	p.entities = make([]string, len(p.said.Entities))
	for i, e := range p.said.Entities {
		id := EntityID(e.Name)
		p.entities[i] = h.rootOf(id)
		if id != "" && h.hidden(id) {
			p.leave(p.entities[i])
			p.entities[i] = ""
		}
	}
	p.ends = make([][2]string, len(p.said.Relations))
	for i, x := range p.said.Relations {
		a, b := EntityID(x.Source), EntityID(x.Target)
		if a == "" || b == "" || a == b {
			continue
		}
		ends := [2]string{h.rootOf(a), h.rootOf(b)}
		if ends[0] == ends[1] {
			p.cutRelation(i)
		} else if h.hiddenPair(a, b) {
			p.cutRelation(i)
			p.leave(pairOf(ends[0], ends[1]).key())
		}
		for j, id := range [2]string{a, b} {
			if h.hidden(id) {
				p.cutRelation(i)
				p.leave(ends[j])
				ends[j] = ""
			}
		}
		p.ends[i] = ends
	}
}

// leave notes that something of the chunk is left out under a name or pair.
func (p *preparedChunk) leave(key string) {
	if !slices.Contains(p.left, key) {
		p.left = append(p.left, strings.Clone(key))
	}
}

func (p *preparedChunk) cutRelation(i int) {
	if p.cut == nil {
		p.cut = map[int]bool{}
	}
	p.cut[i] = true
}

const leftBytes = 64

// handFactor is what a byte of the records of people's word takes in the copy, with
// the tables made of it.
const handFactor = 4

// leaveOut notes which chunks lack something, so that it can come back.
func (r *resident) leaveOut(chunk uint32, keys []string) {
	r.chunks[chunk].left = keys
	for _, k := range keys {
		r.left[k] = insertID(r.left[k], chunk)
		r.cost += leftBytes + int64(len(k))
	}
}

func (r *resident) takeBack(chunk uint32) {
	for _, k := range r.chunks[chunk].left {
		if l := removeID(r.left[k], chunk); len(l) > 0 {
			r.left[k] = l
		} else {
			delete(r.left, k)
		}
		r.cost -= leftBytes + int64(len(k))
	}
}

// takeHand makes what people said in the snapshot of tx that of the copy, and
// notes the documents that read differently by it: those are to be applied again.
// Only what differs from before is looked at. The caller holds openKB.catching.
func (r *resident) takeHand(tx *tenancy.Tx) error {
	now, err := readHand(tx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moving = true
	r.unkept += len(r.docs) // a snapshot of before is void
	old := r.hand
	for id := range r.mentioning(old, now) {
		r.behind[r.chunks[id].doc.doc] = true
	}
	r.hand = now
	pairs := differing(old.relation, now.relation)
	entities := differing(old.entity, now.entity)
	for p := range pairs {
		r.settleRelation(p)
	}
	for id := range entities {
		r.settleEntity(id)
	}
	return nil
}

// startHand makes h what people said of a copy that has no documents yet.
func (r *resident) startHand(h *byHand) {
	r.hand = h
	for p := range h.relation {
		r.settleRelation(p)
	}
	for id := range h.entity {
		r.settleEntity(id)
	}
}

// mentioning finds the chunks whose names count for something else by now than
// by old. r.mu is held.
func (r *resident) mentioning(old, now *byHand) map[uint32]bool {
	out := map[uint32]bool{}
	add := func(chunks []uint32) {
		for _, id := range chunks {
			out[id] = true
		}
	}
	name := func(id string) {
		root := old.rootOf(id)
		if e, ok := r.graph.Entity(root); ok {
			add(r.entities[e].chunks)
		}
		add(r.left[root])
	}
	for _, h := range [2]*byHand{old, now} {
		for id := range h.alias {
			if old.hidden(id) != now.hidden(id) || !sameChain(old, now, id) {
				name(id)
			}
		}
		for id := range h.entities {
			if old.hidden(id) != now.hidden(id) {
				name(id)
			}
		}
		for p := range h.pairs {
			if old.hiddenPair(p[0], p[1]) == now.hiddenPair(p[0], p[1]) {
				continue
			}
			root := pairOf(old.rootOf(p[0]), old.rootOf(p[1]))
			if rel, ok := r.findRelation(root); ok {
				add(r.relations[rel].chunks)
			}
			add(r.left[root.key()])
		}
	}
	return out
}

func differing[K comparable](a, b map[K]*editRecord) map[K]bool {
	out := map[K]bool{}
	for _, m := range [2]map[K]*editRecord{a, b} {
		for k := range m {
			if handPrint(a[k]) != handPrint(b[k]) {
				out[k] = true
			}
		}
	}
	return out
}

func (r *resident) findRelation(p pair) (rel uint32, ok bool) {
	lo, ok := r.graph.Entity(p[0])
	if !ok {
		return 0, false
	}
	hi, ok := r.graph.Entity(p[1])
	if !ok {
		return 0, false
	}
	if rel, ok = r.graph.FindRelation(lo, hi); !ok {
		rel, ok = r.graph.FindRelation(hi, lo)
	}
	return rel, ok
}

// settleEntity brings an entity in line with r.hand. r.mu is held for writing.
func (r *resident) settleEntity(identity string) {
	edit := r.hand.entity[identity]
	id, ok := r.graph.Entity(identity)
	if !ok && (edit == nil || !edit.Created) {
		return
	}
	if !ok {
		id = r.entity(identity)
	}
	r.entities[id].edit = edit
	r.touchEntity(id)
	r.leaveEntity(id)
}

// settleRelation brings a relation in line with r.hand, its ends with it.
func (r *resident) settleRelation(p pair) {
	edit := r.hand.relation[p]
	rel, ok := r.findRelation(p)
	if !ok && (edit == nil || !edit.Created) {
		return
	}
	if !ok {
		lo, hi := r.entity(p[0]), r.entity(p[1])
		rel = r.edge(lo, hi)
	}
	x := &r.relations[rel]
	x.edit = edit
	r.touchRelation(rel)
	lo, hi := x.lo, x.hi
	if !r.leaveRelation(rel) {
		r.orient(rel)
		return
	}
	r.leaveEntity(lo)
	r.leaveEntity(hi)
}

// leaveEntity drops an entity that nothing holds any more: no chunk, no hand, no
// relation that somebody made.
func (r *resident) leaveEntity(e uint32) {
	x := &r.entities[e]
	if len(x.surfaces) > 0 || len(x.chunks) > 0 || x.edit != nil && x.edit.Created {
		return
	}
	if _, live := r.graph.NameOK(e); !live || r.graph.Degree(e) > 0 {
		return
	}
	r.dropEntity(e)
	r.graph.RemoveEntity(e)
	r.forgetKey(x.key, e)
	*x = residentEntity{}
}

// leaveRelation drops a relation that nothing holds any more and reports whether
// it did.
func (r *resident) leaveRelation(rel uint32) bool {
	x := &r.relations[rel]
	if x.forward+x.back != 0 || len(x.chunks) > 0 || x.hi == x.lo || x.edit != nil && x.edit.Created {
		return false
	}
	r.dropRelation(rel)
	r.graph.Unrelate(rel)
	*x = residentRelation{}
	return true
}

// named are the entities that retrieval knows under a key: by their own name or
// by another of theirs.
func (r *resident) named(key string) []uint32 {
	own := r.byKey[key]
	roots := r.hand.keys[key]
	if len(roots) == 0 {
		return own
	}
	out := slices.Clone(own)
	for _, root := range roots {
		if e, ok := r.graph.Entity(root); ok && !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

// addOtherNames adds to the names of a question the other names of what it names,
// so that passages are found whichever name they use. A question may also use a
// name that no passage has.
func (v *view) addOtherNames(q *question) {
	if len(v.hand.keys) == 0 {
		return
	}
	words := questionWords(q.text)
	keys := make([]string, len(words))
	for i, w := range words {
		keys[i] = w.key
	}
	used := make([]bool, len(words))
	for n := min(maxNameWords, len(words)); n >= 1; n-- {
		for a := 0; a+n <= len(words); a++ {
			if slices.Contains(used[a:a+n], true) || n == 1 && !words[a].proper {
				continue
			}
			roots := v.hand.keys[strings.Join(keys[a:a+n], " ")]
			for i := range used[a : a+n] {
				used[a+i] = len(roots) > 0
			}
			for _, root := range roots {
				v.addNamesOf(q, root, unpossess(q.text[words[a].start:words[a+n-1].end]), a)
			}
		}
	}
}

func (v *view) addNamesOf(q *question, root, surface string, at int) {
	for _, id := range append([]string{root}, v.hand.names[root]...) {
		key := nameKey(id)
		name, ok := v.seen.lookup(key)
		if !ok || len(q.seeds) >= maxSeeds || slices.ContainsFunc(q.seeds, func(s seed) bool { return s.name == name }) {
			continue
		}
		q.seeds = append(q.seeds, seed{name: name, key: key, surface: surface, at: at})
	}
}

// namedByHand is what it counts that a question names an end: a word of its own
// counts for more, but the words of a base that has no passage are not known.
const namedByHand = 0.001

// relationsByHand adds what people wrote of the relations of the entities that a
// question names: no passage leads to it.
func (s *search) relationsByHand(match *matcher, sum map[uint32]float64) {
	if len(s.r.hand.relation) == 0 || !s.r.whole() {
		return
	}
	looked := 0
	text := func(t *string) string {
		if t == nil {
			return ""
		}
		return *t
	}
	for _, k := range s.lowKeys() {
		for _, e := range s.r.named(k) {
			s.r.graph.Neighbours(e, func(_, rel uint32, _ bool, _ float32) bool {
				if x := s.r.relations[rel].edit; x != nil {
					sum[rel] = max(sum[rel], namedByHand+match.score(text(x.Keywords), text(x.Description)))
				}
				looked++
				return looked < maxEdgesPerQuery
			})
		}
	}
}

// shownByHand is the name that people gave an entity, "" when they gave none.
func (r *resident) shownByHand(e uint32) string {
	if x := r.entities[e].edit; x != nil && x.Shown != nil {
		return *x.Shown
	}
	if len(r.hand.renamed) == 0 {
		return ""
	}
	return r.hand.renamed[r.graph.Name(e)]
}

// ownSurfaces are the spellings of an entity that are no other name's; all of
// them when it has no other name or nothing else is written.
func (r *resident) ownSurfaces(e uint32) []surfaceCount {
	all := r.entities[e].surfaces
	if len(r.hand.names) == 0 {
		return all
	}
	root := r.graph.Name(e)
	if len(r.hand.names[root]) == 0 {
		return all
	}
	var own []surfaceCount
	for _, s := range all {
		if EntityID(r.surface[s.surface].text) == root {
			own = append(own, s)
		}
	}
	return own
}

// entityPrint and relationPrint say what a profile is made of.
func (r *resident) entityPrint(e uint32) uint64 {
	x := &r.entities[e]
	return x.print + handPrint(x.edit)
}

func (r *resident) relationPrint(rel uint32) uint64 {
	x := &r.relations[rel]
	return x.print + handPrint(x.edit)
}

// liveEntity and liveRelation report whether a number is in use.
func (r *resident) liveEntity(e uint32) bool {
	_, ok := r.graph.NameOK(e)
	return ok
}

func (r *resident) liveRelation(rel uint32) bool {
	_, _, _, ok := r.graph.Relation(rel)
	return ok
}

// otherNames are the aliases of an entity as people wrote them, with the acts
// that made them, by name.
func (r *resident) otherNames(e uint32) []map[string]string {
	var out []map[string]string
	for _, id := range r.hand.names[r.graph.Name(e)] {
		a := r.hand.alias[id]
		out = append(out, map[string]string{"name": a.Name, "merge_id": a.Merge})
	}
	return out
}

// handOver lets what people wrote win over a fold of contributions.
func (p *profile) handOver(e *editRecord) {
	if e == nil {
		return
	}
	p.manual = true
	for _, x := range []struct {
		said *string
		into *string
	}{{e.Type, &p.typ}, {e.Description, &p.description}, {e.Keywords, &p.keywords}} {
		if x.said != nil {
			*x.into = *x.said
		}
	}
}

// takeHand brings what people said up to the snapshot of tx when it changed, or
// when all says that nobody knows, and returns the documents to be read again:
// docs, and those that read differently by it.
func (kb *openKB) takeHand(tx *tenancy.Tx, docs []docKey, all bool) ([]docKey, error) {
	marked := slices.Contains(docs, handMark)
	docs = slices.DeleteFunc(docs, func(k docKey) bool { return k == handMark })
	if marked || all {
		if err := kb.res.takeHand(tx); err != nil {
			return nil, err
		}
	}
	if len(kb.res.behind) == 0 { // kb.catching is held: nobody else changes it
		return docs, nil
	}
	set := maps.Clone(kb.res.behind)
	for _, k := range docs {
		set[k] = true
	}
	return slices.Collect(maps.Keys(set)), nil
}
