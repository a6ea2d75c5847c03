package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"golang.org/x/sync/errgroup"

	"alcove/flat"
	"alcove/graph"
	"alcove/tenancy"
)

// encodeDocuments writes the documents of the copy, in the order of their keys. r.mu is held.
func (r *resident) encodeDocuments(b []byte) []byte {
	b = flat.AppendUint(b, uint64(len(r.chunks)))
	for id := range r.chunks { // a byte each, free or not: a reader bounds numbers by bytes
		b = append(b, taken(r.chunks[id].doc != nil))
	}
	b = flat.AppendUint(b, uint64(len(r.recall.windows)))
	used := make([]byte, len(r.recall.windows))
	for _, own := range r.recall.chunks {
		for _, w := range own {
			used[w] = 1
		}
	}
	b = append(b, used...)
	keys := slices.SortedFunc(maps.Keys(r.docs), func(a, b docKey) int { return bytes.Compare(a[:], b[:]) })
	b = flat.AppendUint(b, uint64(len(keys)))
	for _, k := range keys {
		d := r.docs[k]
		b = flat.AppendUint(append(b, k[:]...), d.gen)
		for _, s := range []string{d.id, d.filePath, d.title} {
			b = flat.AppendString(b, s)
		}
		created, err := d.created.MarshalBinary()
		if err != nil {
			panic("engine: time does not encode: " + err.Error()) // a record had it
		}
		b = flat.AppendString(b, string(created))
		b = flat.AppendUint(b, uint64(len(d.metadata)))
		for _, name := range slices.Sorted(maps.Keys(d.metadata)) {
			b = flat.AppendString(b, name)
			if s, ok := d.metadata[name].(string); ok {
				b = flat.AppendString(append(b, metadataText), s)
			} else {
				b = flat.AppendString(append(b, metadataJSON), string(marshalRecord(d.metadata[name])))
			}
		}
		b = flat.AppendUint(b, uint64(len(d.chunks)))
		for _, id := range d.chunks {
			c := &r.chunks[id]
			own := r.recall.chunks[id]
			for _, n := range []int{int(id), int(c.start), int(c.end), int(c.tokens), len(own)} {
				b = flat.AppendUint(b, uint64(n))
			}
			for _, w := range own {
				b = flat.AppendUint(b, uint64(w))
			}
		}
	}
	return b
}

func taken(yes bool) byte {
	if yes {
		return 1
	}
	return 0
}

// How a value of metadata is written.
const (
	metadataText = 0
	metadataJSON = 1
)

// readDocuments puts into an empty copy what encodeDocuments wrote, and lists the
// documents in the order of their keys.
func (r *resident) readDocuments(in *flat.Reader) ([]*residentDoc, error) {
	n := in.Count(1)
	slots := in.Bytes(n)
	windows := in.Count(1)
	used := slices.Clone(in.Bytes(windows))
	docs := in.Count(len(docKey{}) + 6)
	if in.Err() != nil {
		return nil, in.Err()
	}
	r.docs = make(map[docKey]*residentDoc, docs)
	r.chunks, r.orders = make([]residentChunk, n), make([]uint64, n)
	r.recall.chunks = make([][]uint32, n)
	r.recall.windows = make([]windowPlace, windows)
	r.cost += int64(n) * chunkBytes
	list := make([]*residentDoc, 0, docs)
	all := make([]residentDoc, docs)
	var ids flat.Slab[uint32]
	for i := range all {
		d := &all[i]
		if copy(d.doc[:], in.Bytes(len(d.doc))); i > 0 && bytes.Compare(d.doc[:], all[i-1].doc[:]) <= 0 {
			in.Fail("documents are out of order")
		}
		d.gen = in.Uint()
		d.id, d.filePath, d.title = in.String(), in.String(), in.String()
		if err := d.created.UnmarshalBinary(in.Bytes(in.Count(1))); err != nil {
			in.Fail("a time: %v", err)
		}
		if n := in.Count(3); n > 0 {
			d.metadata = make(map[string]any, n)
			for range n {
				name := in.String()
				switch in.Below(2) {
				case metadataText:
					d.metadata[name] = in.String()
				case metadataJSON:
					var v any
					if err := json.Unmarshal(in.Bytes(in.Count(1)), &v); err != nil {
						in.Fail("metadata: %v", err)
					}
					d.metadata[name] = v
				}
			}
		}
		d.chunks = ids.Take(in.Count(5))
		for ord := range d.chunks {
			id := in.Below(n)
			if in.Err() != nil {
				return nil, in.Err()
			}
			c := &r.chunks[id]
			if c.doc != nil {
				in.Fail("two documents have chunk %d", id)
				return nil, in.Err()
			}
			d.chunks[ord] = id
			*c = residentChunk{doc: d, ord: uint32(ord), start: int32(in.Below(math.MaxInt32)), end: int32(in.Below(math.MaxInt32)), tokens: int32(in.Below(math.MaxInt32))}
			r.orders[id] = d.doc.order()
			own := ids.Take(in.Count(1))
			for j := range own {
				w := in.Below(windows)
				if in.Err() != nil {
					return nil, in.Err()
				}
				if used[w] != 1 {
					in.Fail("window %d is free or in two chunks", w)
					return nil, in.Err()
				}
				used[w] = 2
				own[j] = w
				r.recall.windows[w] = windowPlace{chunk: id, ord: uint32(j)}
			}
			r.recall.chunks[id] = own
		}
		r.docs[d.doc] = d
		r.cost += d.bytes()
		list = append(list, d)
	}
	for id := range r.chunks {
		if taken(r.chunks[id].doc != nil) != slots[id] {
			in.Fail("chunk %d is free on one side", id)
		}
		if slots[id] == 0 {
			r.free = append(r.free, uint32(id))
		}
	}
	for w, u := range used {
		switch u {
		case 0:
			r.recall.free = append(r.recall.free, uint32(w))
		case 1:
			in.Fail("window %d is in no chunk", w)
		}
	}
	return list, in.End()
}

// checkWindows makes sure that what was read in two parts has the same windows.
func (r *resident) checkWindows() error {
	if n := len(r.recall.windows) - len(r.recall.free); r.recall.lex.Len() != n {
		return fmt.Errorf("%w: %d windows with words, %d in chunks", flat.ErrDamaged, r.recall.lex.Len(), n)
	}
	if n, _ := r.recall.lex.Bound(); n > len(r.recall.windows) {
		return fmt.Errorf("%w: words of window %d", flat.ErrDamaged, n-1)
	}
	if n := r.recall.pass.Passages(); n > len(r.recall.windows) {
		return fmt.Errorf("%w: names of window %d", flat.ErrDamaged, n-1)
	}
	return nil
}

// fillRows is how many vectors are put in at a time: some megabytes.
const fillRows = 1024

// fill reads the vectors of the documents listed, in the order of their keys, but for
// those that have changed since. Each must have all of its vectors. While some are put
// in, the next are read.
func (l *loader) fill(ctx context.Context, list []*residentDoc, changed map[docKey]bool) error {
	type part struct {
		ids  []uint32
		rows []float32
	}
	r := l.r
	dim := r.index.Chunks.Dim()
	read, done := make(chan part), make(chan part, 2)
	for range cap(done) {
		done <- part{make([]uint32, 0, fillRows), make([]float32, 0, fillRows*dim)}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for p := range read {
			if err := r.index.Chunks.Fill(p.ids, p.rows); err != nil {
				return fmt.Errorf("%w: %w", errNoSnapshot, err) // the records tell what is wrong
			}
			done <- part{p.ids[:0], p.rows[:0]}
		}
		return nil
	})
	g.Go(func() error {
		defer close(read)
		p := <-done
		return l.eachVector(list, changed, 4*dim, func(chunk uint32, value []byte, last bool) error {
			if !last {
				p.ids, p.rows = append(p.ids, chunk), appendVector(p.rows, value)
			}
			if len(p.ids) < fillRows && !last {
				return nil
			}
			select {
			case read <- p:
			case <-ctx.Done():
				return ctx.Err()
			}
			if last {
				return nil
			}
			select {
			case p = <-done:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	return g.Wait()
}

// eachVector calls f with each chunk of the documents listed and its vector of so many
// bytes, and once more when there are no more.
func (l *loader) eachVector(list []*residentDoc, changed map[docKey]bool, bytes int, f func(chunk uint32, value []byte, last bool) error) error {
	next, ord := 0, 0 // the document and the chunk whose vector is looked for
	skip := func() {
		for ; next < len(list) && (changed[list[next].doc] || len(list[next].chunks) == 0); next++ {
		}
	}
	skip()
	err := l.tx.Scan(l.vectors, tenancy.Scan{}, func(rest, value []byte) error {
		if next == len(list) {
			return tenancy.ErrStop
		}
		d := list[next]
		ref, err := parseChunkKey(rest)
		if err != nil || ref.version != d.version {
			return err // of another version
		}
		if int(ref.ord) != ord || len(value) != bytes {
			return fmt.Errorf("%w: vector %x has %d bytes, chunk %d was looked for", errNoSnapshot, rest, len(value), ord)
		}
		chunk := d.chunks[ord]
		if ord++; ord == len(d.chunks) {
			next, ord = next+1, 0
			skip()
		}
		return f(chunk, value, false)
	})
	if err != nil {
		return err
	}
	if next < len(list) {
		return fmt.Errorf("%w: the vectors of document %x are not all there", errNoSnapshot, list[next].doc)
	}
	return f(0, nil, true)
}

// encodeGraph writes the graph of the copy and what each chunk gave to it. What entities
// and relations are made of is the sum of that. r.mu is held.
func (r *resident) encodeGraph(b []byte) []byte {
	b = r.graph.AppendTo(b)
	for id := range r.entities {
		if r.liveEntity(uint32(id)) {
			b = flat.AppendString(b, r.entities[id].key)
		}
	}
	b = flat.AppendUint(b, uint64(len(r.surface)))
	for i := range r.surface {
		if b = append(b, taken(r.surface[i].uses > 0)); r.surface[i].uses > 0 {
			b = flat.AppendString(b, r.surface[i].text)
		}
	}
	for id := range r.chunks {
		c := &r.chunks[id]
		if c.doc == nil {
			continue
		}
		b = flat.AppendUint(b, uint64(len(c.mentions)))
		for _, m := range c.mentions {
			for _, n := range []uint64{uint64(m.entity), uint64(m.surface), uint64(m.record + 1), uint64(m.size)} {
				b = flat.AppendUint(b, n)
			}
			b = flat.AppendFixed(b, m.print)
		}
		b = flat.AppendUint(b, uint64(len(c.relations)))
		for _, x := range c.relations {
			for _, n := range []uint64{uint64(x.rel), 2*uint64(x.record) + uint64(taken(x.forward)), uint64(x.weight), uint64(x.size)} {
				b = flat.AppendUint(b, n)
			}
			b = flat.AppendFixed(b, x.print)
		}
		b = flat.AppendUint(b, uint64(len(c.left)))
		for _, s := range c.left {
			b = flat.AppendString(b, s)
		}
	}
	return b
}

// readGraph puts into a copy that has its documents, and nothing of a graph, what
// encodeGraph wrote, with what people said of it by now. It changes the copy at its end,
// and only if there was no fault. Searches for passages may hold the copy meanwhile.
func (r *resident) readGraph(in *flat.Reader) error {
	// A copy of its own, with the same documents and hand.
	x := newResident(0, r.profiles == nil, r.vectors)
	x.hand = r.hand
	x.graph = graph.ReadGraph(in)
	entities, relations := x.graph.Bound()
	x.entities, x.relations = make([]residentEntity, entities), make([]residentRelation, relations)
	x.cost = int64(entities)*entityEntryBytes + int64(relations)*relationEntryBytes
	if in.Err() != nil {
		return in.Err()
	}
	x.byKey = make(map[string][]uint32, entities)
	var ids flat.Slab[uint32]
	for id := range x.entities {
		if !x.liveEntity(uint32(id)) {
			continue
		}
		e := &x.entities[id]
		if e.key = in.String(); e.key == "" {
			continue
		}
		x.cost += keyBytes + int64(len(e.key))
		if l := x.byKey[e.key]; l != nil {
			x.byKey[e.key] = append(l, uint32(id))
		} else {
			l = ids.Take(1)
			l[0] = uint32(id)
			x.byKey[e.key] = l
		}
	}
	x.surface = make([]surface, in.Count(1))
	x.surfaces = make(map[string]uint32, len(x.surface))
	for i := range x.surface {
		if in.Below(2) == 0 {
			x.unused = append(x.unused, uint32(i))
			continue
		}
		s := in.String()
		x.surface[i].text, x.surfaces[s] = s, uint32(i)
		x.cost += surfaceBytes + int64(len(s))
	}
	if len(x.surfaces)+len(x.unused) != len(x.surface) {
		in.Fail("two surfaces are the same")
	}
	for rel := range x.relations {
		if src, tgt, _, ok := x.graph.Relation(uint32(rel)); ok {
			if x.graph.Name(src) > x.graph.Name(tgt) {
				src, tgt = tgt, src
			}
			x.relations[rel].lo, x.relations[rel].hi = src, tgt
		}
	}
	given := make([]givenToGraph, len(r.chunks))
	named, related := make([]uint32, entities), make([]uint32, relations)
	var mentions flat.Slab[chunkMention]
	var said flat.Slab[chunkRelation]
	for id := range r.chunks {
		if r.chunks[id].doc == nil { // as they were when it was written: of one stamp
			continue
		}
		c := &given[id]
		c.mentions = mentions.Take(in.Count(12))
		for i := range c.mentions {
			m := &c.mentions[i]
			*m = chunkMention{entity: in.Below(entities), surface: in.Below(len(x.surface)), record: int32(in.Below(math.MaxInt32)) - 1, size: in.Below(math.MaxInt32), print: in.Fixed()}
			if in.Err() != nil {
				return in.Err()
			}
			if !x.liveEntity(m.entity) || x.surface[m.surface].text == "" {
				in.Fail("chunk %d names what is not there", id)
				return in.Err()
			}
			x.surface[m.surface].uses++
			named[m.entity]++
		}
		c.relations = said.Take(in.Count(12))
		for i := range c.relations {
			cr := &c.relations[i]
			rel, record, weight, size := in.Below(relations), in.Below(math.MaxInt32), in.Uint(), in.Below(math.MaxInt32)
			*cr = chunkRelation{rel: rel, record: int32(record / 2), forward: record%2 == 1, weight: int64(weight & math.MaxInt64), size: size, print: in.Fixed()}
			if in.Err() != nil {
				return in.Err()
			}
			if !x.liveRelation(rel) {
				in.Fail("chunk %d relates what is not there", id)
				return in.Err()
			}
			related[rel]++
		}
		if n := in.Count(1); n > 0 {
			c.left = make([]string, n)
			for i := range c.left {
				k := in.String()
				c.left[i] = k
				x.left[k] = insertID(x.left[k], uint32(id))
				x.cost += leftBytes + int64(len(k))
			}
		}
		x.cost += int64(mentionBytes*len(c.mentions) + relationBytes*len(c.relations))
	}
	if err := in.End(); err != nil {
		return err
	}
	x.sum(given, named, related)
	if !x.sound() {
		return fmt.Errorf("%w: something of the graph is of no chunk", flat.ErrDamaged)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range given {
		g, c := &given[id], &r.chunks[id]
		c.mentions, c.relations, c.left = g.mentions, g.relations, g.left
	}
	r.graph, r.entities, r.relations = x.graph, x.entities, x.relations
	r.byKey, r.surfaces, r.surface, r.unused, r.left = x.byKey, x.surfaces, x.surface, x.unused, x.left
	if r.profiles != nil {
		r.profiles = x.profiles
	}
	r.cost += x.cost
	return nil
}

// givenToGraph is what a chunk gave to the graph, see residentChunk.
type givenToGraph struct {
	mentions  []chunkMention
	relations []chunkRelation
	left      []string
}

// sum makes the entities and relations of what the chunks gave, named and related
// being how often each is in it, and of what people said.
func (r *resident) sum(given []givenToGraph, named, related []uint32) {
	var ids flat.Slab[uint32]
	var counts flat.Slab[surfaceCount]
	for id := range r.entities {
		if r.liveEntity(uint32(id)) {
			r.entities[id].chunks = ids.Take(int(named[id]))[:0]
			r.entities[id].surfaces = counts.Take(min(1, int(named[id])))[:0]
			r.touchEntity(uint32(id))
		}
	}
	for rel := range r.relations {
		if r.liveRelation(uint32(rel)) {
			r.relations[rel].chunks = ids.Take(int(related[rel]))[:0]
			r.touchRelation(uint32(rel))
		}
	}
	for id := range given { // in ascending order, so that each list is
		for _, m := range given[id].mentions {
			x := &r.entities[m.entity]
			x.chunks = insertID(x.chunks, uint32(id))
			x.print += m.print
			x.heft.add(m.size, 1)
			x.surfaces = countSurface(x.surfaces, m.surface, 1)
		}
		for _, cr := range given[id].relations {
			x := &r.relations[cr.rel]
			x.chunks = insertID(x.chunks, uint32(id))
			x.add(cr, 1)
		}
	}
	for name, edit := range r.hand.entity {
		if id, ok := r.graph.Entity(name); ok {
			r.entities[id].edit = edit
		}
	}
	for p, edit := range r.hand.relation {
		if rel, ok := r.findRelation(p); ok {
			r.relations[rel].edit = edit
		}
	}
}

// sound says that there is nothing in the tables of the graph that a deletion would
// leave there.
func (r *resident) sound() bool {
	for i := range r.surface {
		if r.surface[i].text != "" && r.surface[i].uses == 0 {
			return false
		}
	}
	for id := range r.entities {
		x := &r.entities[id]
		if r.liveEntity(uint32(id)) && len(x.chunks) == 0 && (x.edit == nil || !x.edit.Created) && r.graph.Degree(uint32(id)) == 0 {
			return false
		}
	}
	for rel := range r.relations {
		x := &r.relations[rel]
		if r.liveRelation(uint32(rel)) && len(x.chunks) == 0 && (x.edit == nil || !x.edit.Created) {
			return false
		}
	}
	return true
}
