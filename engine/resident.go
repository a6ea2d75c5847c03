package engine

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"alcove/graph"
	"alcove/index"
)

// resident is one knowledge base in memory: everything that a search looks at,
// made from ground state alone. Dense ids (chunks, entities, relations) depend
// on the order in which documents came; no answer may, so ties break by
// chunkRef or by name, and sums are exact.
//
// Readers hold mu.RLock for the length of a search; apply holds mu.Lock for a
// few documents at a time.
type resident struct {
	mu sync.RWMutex
	// gen is the generation of the knowledge base that this copy shows; moving
	// says that some documents are ahead of it, because a catch-up is under way.
	gen    uint64
	moving bool
	// changeovers says which set of vectors the copy has. The holder of
	// openKB.catching reads and writes it.
	changeovers uint64

	docs   map[docKey]*residentDoc
	chunks []residentChunk // by dense id
	orders []uint64        // by dense id, the beginning of the document's key: what lists are ordered by, in one place
	free   []uint32        // dense ids of chunks that are gone

	index   *index.Index
	vectors index.Options // of its spaces
	tended  bool          // its spaces keep themselves, see vectors.go
	recall  *recall
	graph   *graph.Graph

	entities  []residentEntity    // by graph entity id
	relations []residentRelation  // by graph relation id
	byKey     map[string][]uint32 // entities by the key retrieval knows their names under
	surfaces  map[string]uint32   // names as written, kept once
	surface   []surface           // by the numbers of surfaces
	unused    []uint32            // free numbers of surfaces

	profiles *profiles  // nil when the embedder is pure
	sums     *summaries // nil without a language model

	hand   *byHand             // what people said of the graph
	left   map[string][]uint32 // chunks of which something is left out, by what
	behind map[docKey]bool     // documents that are still read by what hand was before

	kept sayings // contributions that searches have read

	cost    int64 // bytes of the tables of this struct, kept by apply
	applied int   // how often a document was applied
	unkept  int   // and since the snapshot in the store, see snapshot.go
}

// residentDoc is one visible document.
type residentDoc struct {
	version
	id, filePath, title string
	metadata            map[string]any
	created             time.Time
	chunks              []uint32 // dense ids, by ordinal
}

// bytes is what a document counts for in cost.
func (d *residentDoc) bytes() int64 { return 256 + int64(len(d.id)+len(d.filePath)+len(d.title)) }

// residentChunk is one visible chunk; doc is nil for a free slot.
type residentChunk struct {
	doc        *residentDoc
	ord        uint32
	start, end int32
	tokens     int32
	// What the chunk gave to the graph, so that taking it away needs no record.
	mentions  []chunkMention
	relations []chunkRelation
	left      []string // what is left out because people took it away
}

// chunkMention is one naming of an entity. record is the place of the entity's
// own record in the contribution, endOfRelation for the end of a relation.
type chunkMention struct {
	entity, surface uint32
	record          int32
	size            uint32 // bytes of the description
	print           uint64 // of type and description
}

const endOfRelation = -1

// chunkRelation is one saying of a relation; record is its place in the contribution.
type chunkRelation struct {
	rel     uint32
	record  int32
	weight  int64 // fixed point, see weightUnit
	forward bool  // from the smaller name to the larger
	size    uint32
	print   uint64
}

// What one of each counts for in cost.
const (
	mentionBytes  = 24 + 4 + 8 // with its entries in the entity
	relationBytes = 32 + 4
	surfaceBytes  = 64
	keyBytes      = 64
	chunkBytes    = 96 + 8
	// Entries of the tables of entities and relations.
	entityEntryBytes   = 64
	relationEntryBytes = 80
)

// residentEntity is the fold of an entity's contributions as far as a search
// needs it; descriptions stay in the store.
type residentEntity struct {
	chunks   []uint32       // dense ids of the chunks that mention it, ascending
	surfaces []surfaceCount // how it is written
	key      string         // nameKey of its identity, under which byKey has it
	print    uint64         // sum of the contributions' prints: says whether a stored profile is still right
	edit     *editRecord    // what people wrote of it, nil for nothing
	heft     heft
	sum      summing
	embedded bool // the store may have a profile vector of it
}

type surfaceCount struct{ surface, n uint32 }

// surface is a name as some mentions write it.
type surface struct {
	text string
	uses int // mentions
}

type residentRelation struct {
	chunks        []uint32
	forward, back int64 // weight by direction, fixed point
	lo, hi        uint32
	print         uint64
	edit          *editRecord
	heft          heft
	sum           summing
	embedded      bool // as an entity's
}

// weightUnit makes sums of weights exact, and so independent of their order.
const weightUnit = 1 << 16

func fixedWeight(w float64) int64 {
	if !(w > 0) || math.IsInf(w, 0) {
		w = 1
	}
	return max(1, int64(math.Round(min(w, 1e9)*weightUnit)))
}

func newResident(dim int, pure bool, vectors index.Options) *resident {
	r := &resident{
		docs:     map[docKey]*residentDoc{},
		index:    &index.Index{},
		vectors:  vectors,
		recall:   newRecall(),
		graph:    graph.New(),
		surfaces: map[string]uint32{},
		byKey:    map[string][]uint32{},
		hand:     noHand,
		left:     map[string][]uint32{},
		behind:   map[docKey]bool{},
	}
	r.index.Text = r.recall.lex
	if !pure {
		r.profiles = newProfiles()
	}
	if dim > 0 {
		r.index.Chunks = r.newSpace(dim)
	}
	return r
}

// bytes is what the copy takes in memory, counted rather than measured.
func (r *resident) bytes() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.own() + r.kept.bytes()
}

// own is what the copy takes without what searches have read. r.mu is held.
func (r *resident) own() int64 {
	return r.cost + handFactor*r.hand.bytes + r.index.Bytes() + r.recall.pass.Bytes() + r.graph.Bytes()
}

// preparedChunk is a chunk read and analysed, ready to be applied.
type preparedChunk struct {
	ord        uint32
	start, end int
	tokens     int
	vector     []float32
	analysis   analysis
	said       contribution
	// Identities of the entities and of the ends of the relations in said, "" for
	// what does not count.
	entities []string
	ends     [][2]string
	cut      map[int]bool // relations that do not count though their ends do
	left     []string     // what people took away, see resident.left
}

type preparedDoc struct {
	doc    *residentDoc
	chunks []preparedChunk
}

// less orders chunks by document and ordinal, whatever their dense ids are.
func (r *resident) less(a, b uint32) bool {
	if x, y := r.orders[a], r.orders[b]; x != y {
		return x < y
	}
	x, y := &r.chunks[a], &r.chunks[b]
	if x.doc != y.doc {
		return bytes.Compare(x.doc.doc[:], y.doc.doc[:]) < 0
	}
	return x.ord < y.ord
}

// apply makes a document visible in the copy, replacing an older version.
// r.mu is held for writing.
func (r *resident) apply(p preparedDoc) error {
	if err := r.place(p); err != nil {
		return err
	}
	for i := range p.chunks {
		r.contribute(p.doc.chunks[i], &p.chunks[i])
	}
	return nil
}

// place is apply without what the chunks say.
func (r *resident) place(p preparedDoc) error {
	r.applied++
	r.unkept++
	r.remove(p.doc.doc)
	if len(p.chunks) == 0 {
		return nil
	}
	r.docs[p.doc.doc] = p.doc
	r.cost += p.doc.bytes()
	p.doc.chunks = make([]uint32, 0, len(p.chunks))
	for _, c := range p.chunks {
		id := r.newChunk()
		p.doc.chunks = append(p.doc.chunks, id)
		r.chunks[id] = residentChunk{doc: p.doc, ord: c.ord, start: int32(c.start), end: int32(c.end), tokens: int32(c.tokens)}
		r.orders[id] = p.doc.doc.order()
		if r.index.Chunks == nil {
			r.index.Chunks = r.newSpace(len(c.vector))
		}
		if err := r.index.Chunks.Set(id, c.vector); err != nil {
			return err
		}
		r.recall.add(id, c.analysis)
	}
	return nil
}

// expect makes room for so many documents and chunks of an empty copy.
func (r *resident) expect(docs, chunks int) {
	r.docs = make(map[docKey]*residentDoc, docs)
	r.chunks, r.orders = make([]residentChunk, 0, chunks), make([]uint64, 0, chunks)
}

// contributeAll adds what some chunks that are placed say. It takes the lock.
func (r *resident) contributeAll(of []raw, said []preparedChunk) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range of {
		ref := of[i].ref
		d := r.docs[ref.doc]
		if d == nil || int(ref.ord) >= len(d.chunks) {
			return fmt.Errorf("%w: a contribution of chunk %x, which is not there", ErrDamaged, ref.key(ref.ord))
		}
		r.contribute(d.chunks[ref.ord], &said[i])
	}
	return nil
}

// remove takes a document out of the copy. r.mu is held for writing.
func (r *resident) remove(k docKey) {
	d := r.docs[k]
	if d == nil {
		return
	}
	delete(r.docs, k)
	r.cost -= d.bytes()
	for _, id := range d.chunks {
		r.withdraw(id)
		r.recall.remove(id)
		r.kept.forget(id)
		if r.index.Chunks != nil {
			r.index.Chunks.Delete(id)
		}
		r.chunks[id] = residentChunk{}
		r.free = append(r.free, id)
	}
}

// dropVectors takes every vector out of the copy because another set counts now,
// of vectors that have dim numbers. Until each document is applied again the copy
// is not to be read.
func (r *resident) dropVectors(dim int) {
	r.untend()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moving = true
	r.index.Chunks, r.index.Entities, r.index.Relations = nil, nil, nil
	if dim > 0 {
		r.index.Chunks = r.newSpace(dim)
	}
	if r.profiles == nil {
		return
	}
	*r.profiles = *newProfiles() // the profiles of the other set go with it
	for id := range r.entities {
		if r.liveEntity(uint32(id)) {
			r.profiles.entities.stale[uint32(id)], r.entities[id].embedded = true, true // the other set may have one
		}
	}
	for id := range r.relations {
		if r.liveRelation(uint32(id)) {
			r.profiles.relations.stale[uint32(id)], r.relations[id].embedded = true, true
		}
	}
}

func (r *resident) newChunk() uint32 {
	if n := len(r.free); n > 0 {
		id := r.free[n-1]
		r.free = r.free[:n-1]
		return id
	}
	r.chunks, r.orders = append(r.chunks, residentChunk{}), append(r.orders, 0)
	r.cost += chunkBytes
	return uint32(len(r.chunks) - 1)
}

// intern gives the number of a surface for one more mention, release takes the
// mention away again.
func (r *resident) intern(s string) uint32 {
	i, ok := r.surfaces[s]
	if !ok {
		if n := len(r.unused); n > 0 {
			i = r.unused[n-1]
			r.unused = r.unused[:n-1]
		} else {
			i = uint32(len(r.surface))
			r.surface = append(r.surface, surface{})
		}
		s = strings.Clone(s)
		r.surfaces[s] = i
		r.surface[i].text = s
		r.cost += surfaceBytes + int64(len(s))
	}
	r.surface[i].uses++
	return i
}

func (r *resident) release(i uint32) {
	x := &r.surface[i]
	if x.uses--; x.uses > 0 {
		return
	}
	delete(r.surfaces, x.text)
	r.cost -= surfaceBytes + int64(len(x.text))
	*x = surface{}
	r.unused = append(r.unused, i)
}

// entity is the graph's id of an entity, made when it is new.
func (r *resident) entity(identity string) uint32 {
	id := r.graph.AddEntity(identity)
	for int(id) >= len(r.entities) {
		r.entities = append(r.entities, residentEntity{})
		r.cost += entityEntryBytes
	}
	if x := &r.entities[id]; len(x.chunks) == 0 && x.key == "" {
		// The key of the identity, not of this spelling: it must not depend on
		// which spelling came first.
		x.edit = r.hand.entity[identity]
		if r.profiles != nil { // a name that comes back owns its stored vector again
			x.embedded = r.profiles.back(profileKey(profileEntities, r.graph.Name(id)))
		}
		if x.key = nameKey(r.graph.Name(id)); x.key != "" {
			r.byKey[x.key] = append(r.byKey[x.key], id)
			r.cost += keyBytes + int64(len(x.key))
		}
	}
	return id
}

// contribute adds what a chunk says to the graph.
func (r *resident) contribute(chunk uint32, p *preparedChunk) {
	c := &r.chunks[chunk]
	mention := func(identity, name, typ, desc string, record int) uint32 {
		e := r.entity(identity)
		m := chunkMention{entity: e, surface: r.intern(name), record: int32(record), size: uint32(len(desc)), print: print(typ, desc)}
		c.mentions = append(c.mentions, m)
		x := &r.entities[e]
		x.chunks = insertID(x.chunks, chunk)
		x.print += m.print
		x.heft.add(m.size, 1)
		x.surfaces = countSurface(x.surfaces, m.surface, 1)
		r.touchEntity(e)
		r.moreSaid(profileEntities, e, m.size)
		return e
	}
	for i, e := range p.said.Entities {
		if p.entities[i] != "" {
			mention(p.entities[i], e.Name, e.Type, e.Description, i)
		}
	}
	for record, x := range p.said.Relations {
		a, b := p.ends[record][0], p.ends[record][1]
		cut := p.cut[record]
		if !cut && (a == "" || b == "") {
			continue
		}
		said := x.Description
		if cut {
			said = "" // what is left out describes nothing
		}
		// An end that no entity record names still is an entity (LightRAG: type UNKNOWN).
		ends := [2]uint32{}
		for i, name := range [2]string{x.Source, x.Target} {
			identity := p.ends[record][i]
			if identity == "" {
				continue
			}
			id, ok := r.graph.Entity(identity)
			if !ok || !c.mentionsEntity(id) {
				id = mention(identity, name, "", said, endOfRelation)
			} else {
				r.saysMore(c, id, said)
			}
			ends[i] = id
		}
		if cut {
			continue
		}
		forward := a < b
		lo, hi := ends[0], ends[1]
		if !forward {
			lo, hi = hi, lo
		}
		cr := chunkRelation{record: int32(record), weight: fixedWeight(x.Weight), forward: forward, size: uint32(len(x.Description)), print: print(x.Keywords, x.Description)}
		cr.rel = r.relate(lo, hi, cr, 1, chunk)
		c.relations = append(c.relations, cr)
	}
	r.leaveOut(chunk, p.left)
	r.cost += int64(mentionBytes*len(c.mentions) + relationBytes*len(c.relations))
}

// saysMore adds another relation's description to what a chunk says of an entity
// that it knows only as the end of relations: it is described by all of them.
func (r *resident) saysMore(c *residentChunk, e uint32, said string) {
	i := slices.IndexFunc(c.mentions, func(m chunkMention) bool { return m.entity == e })
	m, x := &c.mentions[i], &r.entities[e]
	if m.record != endOfRelation {
		return
	}
	more := print("", said)
	x.heft.add(m.size, -1)
	m.size += uint32(len(said))
	m.print += more
	x.heft.add(m.size, 1)
	x.print += more
	r.moreSaid(profileEntities, e, uint32(len(said)))
}

func (c *residentChunk) mentionsEntity(e uint32) bool {
	return slices.ContainsFunc(c.mentions, func(m chunkMention) bool { return m.entity == e })
}

// relate adds (sign 1) one chunk's word on the pair lo-hi. One edge stands for
// a pair; it points the way most of the weight does.
func (r *resident) relate(lo, hi uint32, cr chunkRelation, sign int64, chunk uint32) uint32 {
	rel := r.edge(lo, hi)
	x := &r.relations[rel]
	x.chunks = insertID(x.chunks, chunk)
	x.add(cr, sign)
	r.orient(rel)
	r.touchRelation(rel)
	r.moreSaid(profileRelations, rel, cr.size)
	return rel
}

// edge is the graph's id of the relation of a pair, made when it is new.
func (r *resident) edge(lo, hi uint32) uint32 {
	rel, ok := r.graph.FindRelation(lo, hi)
	if !ok {
		rel, ok = r.graph.FindRelation(hi, lo)
	}
	if !ok {
		rel = r.graph.Relate(r.graph.Name(lo), r.graph.Name(hi), 0)
		r.growRelations(rel)
		r.relations[rel] = residentRelation{lo: lo, hi: hi}
		if len(r.hand.relation) > 0 {
			r.relations[rel].edit = r.hand.relation[pairOf(r.graph.Name(lo), r.graph.Name(hi))]
		}
		if r.profiles != nil {
			r.relations[rel].embedded = r.profiles.back(profileKey(profileRelations, r.relationKey(rel)))
		}
	}
	return rel
}

func (x *residentRelation) add(cr chunkRelation, sign int64) {
	if cr.forward {
		x.forward += sign * cr.weight
	} else {
		x.back += sign * cr.weight
	}
	x.print += uint64(sign) * cr.print
	x.heft.add(cr.size, sign)
}

func (r *resident) growRelations(rel uint32) {
	for int(rel) >= len(r.relations) {
		r.relations = append(r.relations, residentRelation{})
		r.cost += relationEntryBytes
	}
}

// turned reports whether the edge points from the larger name to the smaller.
func (x *residentRelation) turned() bool {
	if x.edit != nil && x.edit.Created {
		return !x.edit.forward
	}
	return x.back > x.forward
}

// orient gives the edge of a relation its weight and, when the balance has
// turned, its direction. The edge keeps its id.
func (r *resident) orient(rel uint32) {
	x := &r.relations[rel]
	src, dst := x.lo, x.hi
	weight := float64(x.forward+x.back) / weightUnit
	turned := x.turned()
	if e := x.edit; e != nil {
		if e.Weight != nil {
			weight = *e.Weight
		} else if weight == 0 {
			weight = 1
		}
	}
	if turned {
		src, dst = x.hi, x.lo
	}
	r.graph.SetRelation(rel, src, dst, float32(weight))
}

// withdraw takes what a chunk said out of the graph again.
func (r *resident) withdraw(chunk uint32) {
	c := &r.chunks[chunk]
	r.cost -= int64(mentionBytes*len(c.mentions) + relationBytes*len(c.relations))
	for _, cr := range c.relations {
		x := &r.relations[cr.rel]
		x.add(cr, -1)
		r.touchRelation(cr.rel)
		r.lessSaid(profileRelations, cr.rel)
		if x.forward+x.back > 0 || x.edit != nil {
			r.orient(cr.rel)
		}
	}
	for _, cr := range c.relations {
		x := &r.relations[cr.rel]
		x.chunks = removeID(x.chunks, chunk)
		r.leaveRelation(cr.rel)
	}
	for _, m := range c.mentions {
		x := &r.entities[m.entity]
		x.print -= m.print
		x.heft.add(m.size, -1)
		x.surfaces = countSurface(x.surfaces, m.surface, -1)
		r.release(m.surface)
		r.touchEntity(m.entity)
		r.lessSaid(profileEntities, m.entity)
	}
	for _, m := range c.mentions {
		x := &r.entities[m.entity]
		x.chunks = removeID(x.chunks, chunk)
		r.leaveEntity(m.entity)
	}
	r.takeBack(chunk)
}

func (r *resident) forgetKey(key string, e uint32) {
	l := slices.DeleteFunc(r.byKey[key], func(x uint32) bool { return x == e })
	if len(l) < len(r.byKey[key]) {
		r.cost -= keyBytes + int64(len(key))
	}
	if len(l) == 0 {
		delete(r.byKey, key)
		return
	}
	r.byKey[key] = l
}

// insertID puts id into an ascending list once.
func insertID(l []uint32, id uint32) []uint32 {
	i, ok := slices.BinarySearch(l, id)
	if ok {
		return l
	}
	return slices.Insert(l, i, id)
}

func removeID(l []uint32, id uint32) []uint32 {
	i, ok := slices.BinarySearch(l, id)
	if !ok {
		return l
	}
	return slices.Delete(l, i, i+1)
}

func countSurface(l []surfaceCount, s uint32, d int) []surfaceCount {
	for i := range l {
		if l[i].surface == s {
			l[i].n = uint32(int(l[i].n) + d)
			if l[i].n == 0 {
				return slices.Delete(l, i, i+1)
			}
			return l
		}
	}
	return append(l, surfaceCount{s, uint32(d)})
}

// entityName is what people call an entity, else how it is written most often,
// other names of it left aside; ties go to the smaller spelling.
func (r *resident) entityName(e uint32) string {
	if s := r.shownByHand(e); s != "" {
		return s
	}
	best, n := "", uint32(0)
	for _, s := range r.ownSurfaces(e) {
		if w := r.surface[s.surface].text; s.n > n || s.n == n && w < best {
			best, n = w, s.n
		}
	}
	if n == 0 {
		name := r.graph.Name(e)
		return cmp.Or(r.hand.spelled[name], name)
	}
	return best
}
