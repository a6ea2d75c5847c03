package index

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// A graph of neighbours in layers: Malkov and Yashunin, Efficient and Robust
// Approximate Nearest Neighbor Search Using Hierarchical Navigable Small World
// Graphs, 2016, with the neighbours of algorithm 4 (a new link only to what is nearer
// to the row than to any neighbour it has already). Without that rule a
// graph of near duplicates finds 0.63 of what it should instead of 0.997.
//
// Nodes are rows, links lie flat beside each other, and distances are those of codes
// where a kernel reads them. Equal rows are one node and a chain: 50 copies of
// each row as nodes of their own link to each other alone and leave most of the graph out of reach.
//
// One goroutine inserts, or several with locks of their own, while many walk:
// every word of a link list is read and written atomically, and any mix of an old
// and a new list is a list of nodes that are there. A walker keeps to the rows
// below the n of its header, a copy.
type hnsw struct {
	rowStore
	n      int // rows below are in
	entry  uint32
	top    int         // layers above 0
	blocks [][]uint32  // by row>>shift: records, see below
	upper  [][]uint32  // by slot: a list of 1+linksAbove words for each layer above 0
	size   int64       // bytes of blocks and upper
	ef     calibration // how wide to walk
}

const (
	linksAbove = 16 // M of the paper
	linksBase  = 32 // M0: twice as many, as the paper has it
	efBuild    = 200
	maxLevel   = 15
	mendTries  = 5

	// A record of layer 0: the number of links, the links, and behind them:
	slotWord   = 1 + linksBase // 1 + the slot in upper, 0 for none
	twinWord   = slotWord + 1  // 1 + the next row of the chain of equal rows, 0 for none
	recordSize = twinWord + 1

	// isTwin in place of the number of links: the row is in the chain of another.
	isTwin = 1 << 31
)

// cand is a row on the way of a walk. far is minus its likeness.
type cand struct {
	far float32
	row uint32
}

// expanded marks a row of the pool whose links were followed.
const expanded = 1 << 31

// beam is the scratch of a walk.
type beam struct {
	marks  []uint16 // by row: the walk that saw it last
	walk   uint16
	pool   []cand // the best so far, nearest first
	chosen []cand
	links  []uint32
	seen   int // distances worked out
	batch
}

// batch is the rows whose distances are worked out together.
type batch struct {
	rows   [linksBase + 2*fourRows]*int8 // their codes
	scales [linksBase]float32
	dots   [linksBase]int32
	fars   [linksBase]float32
}

// pivot is what distances are from.
type pivot struct {
	row   []float32
	codes []int8 // nil where distances are those of float32 rows
	scale float32
	bias  int32
}

func (r *rowStore) pivot(row uint32) pivot {
	if !r.coded {
		return pivot{row: r.at(row)}
	}
	codes, m := r.codes(row)
	return pivot{codes: codes, scale: m.scale, bias: pairBias(codes)}
}

// ask is the pivot of the query in s.
func (r *rowStore) ask(s *scratch) pivot {
	if !r.coded {
		return pivot{row: s.unit}
	}
	s.pivot = grown(s.pivot, codeWidth(r.dim))
	clear(s.pivot[r.dim:])
	s.mark = encode(s.pivot, s.unit)
	return pivot{codes: s.pivot, scale: s.mark.scale, bias: pairBias(s.pivot)}
}

// far is the distance of a row.
func (r *rowStore) far(p *pivot, row uint32) float32 {
	a, i := r.arenas[row>>r.shift], int(row&(1<<r.shift-1))
	if p.codes == nil {
		return -dot(p.row, a.rows[i*r.dim:(i+1)*r.dim])
	}
	w := len(p.codes)
	return -float32(dotPair(p.codes, a.codes[i*w:(i+1)*w], p.bias)) * (p.scale * a.marks[i].scale)
}

// fars are the distances of some rows, at most linksBase. They are good until the next call.
func (r *rowStore) fars(p *pivot, rows []uint32, b *batch) []float32 {
	out := b.fars[:len(rows)]
	if p.codes == nil {
		for i, x := range rows {
			out[i] = r.far(p, x)
		}
		return out
	}
	w := len(p.codes)
	for i, x := range rows {
		a, at := r.arenas[x>>r.shift], int(x&(1<<r.shift-1))
		codes := a.codes[at*w : (at+1)*w]
		if i < fourRows {
			fetchRow(codes)
		}
		b.rows[i], b.scales[i] = &codes[0], a.marks[at].scale
	}
	dots := b.dots[:len(rows)]
	dotPairs(dots, p.codes, b.rows[:], p.bias)
	for i, d := range dots {
		out[i] = -float32(d) * (p.scale * b.scales[i])
	}
	return out
}

// level is how many layers above 0 a row is in: a function of its number.
func level(row uint32) int {
	x := (uint64(row) + 1) * 0x9e3779b97f4a7c15 // splitmix64
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	// A share of 1/M in each layer of those in the one below: four zero bits.
	return min(bits.LeadingZeros64(x|1)/bits.Len(linksAbove-1), maxLevel)
}

func (h *hnsw) record(row uint32) []uint32 {
	i := int(row&(1<<h.shift-1)) * recordSize
	return h.blocks[row>>h.shift][i : i+recordSize : i+recordSize]
}

// list are the links of a row in a layer: their number, then they.
func (h *hnsw) list(row uint32, layer int) []uint32 {
	r := h.record(row)
	if layer == 0 {
		return r[:slotWord]
	}
	i := (layer - 1) * (1 + linksAbove)
	return h.upper[atomic.LoadUint32(&r[slotWord])-1][i : i+1+linksAbove]
}

// read appends the links of a row that are below limit.
func (h *hnsw) read(dst []uint32, row uint32, layer int, limit uint32) []uint32 {
	l := h.list(row, layer)
	n := atomic.LoadUint32(&l[0]) &^ isTwin
	for i := range l[1 : 1+n] {
		if x := atomic.LoadUint32(&l[1+i]); x < limit {
			dst = append(dst, x)
		}
	}
	return dst
}

// twin is the next of the rows equal to this one, if there is one below the n of
// the header: those above are passed over.
func (h *hnsw) twin(row uint32) (uint32, bool) {
	for {
		t := atomic.LoadUint32(&h.record(row)[twinWord])
		if t == 0 {
			return 0, false
		}
		if row = t - 1; row < uint32(h.n) {
			return row, true
		}
	}
}

// above is how many layers above 0 a row is in.
func (h *hnsw) above(row uint32) int {
	slot := atomic.LoadUint32(&h.record(row)[slotWord])
	if slot == 0 {
		return 0
	}
	return len(h.upper[slot-1]) / (1 + linksAbove)
}

// extend makes room for the rows below n of a store that may have grown.
func (h *hnsw) extend(r rowStore, n int) {
	h.rowStore = r
	h.records(n)
	for row := h.n; row < n; row++ {
		if l := level(uint32(row)); l > 0 {
			h.raise(uint32(row), l)
		}
	}
}

// records makes records for the rows below n.
func (h *hnsw) records(n int) {
	for len(h.blocks) <= (n-1)>>h.shift {
		h.blocks = append(h.blocks, make([]uint32, recordSize<<h.shift))
		h.size += recordSize * 4 << h.shift
	}
}

// raise puts a new row into layers above 0.
func (h *hnsw) raise(row uint32, layers int) {
	h.upper = append(h.upper, make([]uint32, layers*(1+linksAbove)))
	h.size += int64(layers*(1+linksAbove)) * 4
	h.record(row)[slotWord] = uint32(len(h.upper))
}

// builder inserts rows into a graph that only it writes to.
type builder struct {
	*hnsw
	limit uint32 // rows below may be linked to: those of this batch included
	locks [1 << 8]sync.Mutex
	gate  sync.RWMutex // of entry and top
}

func (b *builder) lock(row uint32) *sync.Mutex { return &b.locks[row%uint32(len(b.locks))] }

// insert links a row.
func (b *builder) insert(row uint32, s *scratch) {
	own := b.above(row)
	b.gate.RLock()
	entry, top := b.entry, b.top
	b.gate.RUnlock()
	if own > top { // the way in from above is made by one at a time
		b.gate.Lock()
		defer b.gate.Unlock()
		entry, top = b.entry, b.top
	}
	if entry == row { // the first
		b.top = own
		return
	}
	p := b.pivot(row)
	at := cand{b.far(&p, entry), entry}
	at = b.descend(&p, at, top, own, s, b.limit)
	var chosen [maxLevel + 1][]cand
	for layer := min(own, top); layer >= 0; layer-- {
		pool := b.spread(&p, at, efBuild, layer, s, b.limit)
		if layer == 0 {
			if rep, ok := b.equalIn(pool, row); ok {
				b.chain(rep, row)
				return
			}
		}
		at = pool[0]
		chosen[layer] = append([]cand(nil), b.choose(pool, linksAbove, row, s)...)
	}
	for layer := range chosen[:min(own, top)+1] {
		l := b.list(row, layer)
		mu := b.lock(row)
		mu.Lock()
		n := atomic.LoadUint32(&l[0]) // of rows inserted meanwhile
		for _, c := range chosen[layer] {
			if !contains(l[1:1+n], c.row) && int(n) < len(l)-1 {
				n++
				atomic.StoreUint32(&l[n], c.row)
			}
		}
		atomic.StoreUint32(&l[0], n)
		mu.Unlock()
		for _, c := range chosen[layer] {
			b.link(c.row, cand{c.far, row}, layer, s)
		}
	}
	if own > top {
		b.entry, b.top = row, own
	}
}

// contains is for writers, who hold the lock of the list.
func contains(links []uint32, row uint32) bool {
	for i := range links {
		if atomic.LoadUint32(&links[i]) == row {
			return true
		}
	}
	return false
}

// equalIn finds a node of the same row among the nearest of a pool.
func (b *builder) equalIn(pool []cand, row uint32) (uint32, bool) {
	for _, c := range pool {
		if c.far > pool[0].far {
			break
		}
		if c.row != row && b.equal(c.row, row) {
			return c.row, true
		}
	}
	return 0, false
}

// chain puts a row behind a node that is equal to it.
func (b *builder) chain(node, row uint32) {
	mu := b.lock(node)
	mu.Lock()
	defer mu.Unlock()
	of, own := b.record(node), b.record(row)
	atomic.StoreUint32(&own[0], isTwin)
	atomic.StoreUint32(&own[twinWord], atomic.LoadUint32(&of[twinWord]))
	atomic.StoreUint32(&of[twinWord], row+1)
}

// link gives a row one more neighbour, for which another may have to go.
func (b *builder) link(row uint32, c cand, layer int, s *scratch) {
	mu := b.lock(row)
	mu.Lock()
	defer mu.Unlock()
	l := b.list(row, layer)
	n := int(atomic.LoadUint32(&l[0]))
	if contains(l[1:1+n], c.row) {
		return
	}
	if n < len(l)-1 {
		atomic.StoreUint32(&l[1+n], c.row)
		atomic.StoreUint32(&l[0], uint32(n+1))
		return
	}
	var all [linksBase + 1]cand
	all[0] = c
	p := b.pivot(row)
	for i := range n {
		x := atomic.LoadUint32(&l[1+i])
		all[i+1] = cand{b.far(&p, x), x}
	}
	sortCands(all[:n+1])
	kept := b.choose(all[:n+1], n, row, s)
	for i, x := range kept {
		atomic.StoreUint32(&l[1+i], x.row)
	}
	atomic.StoreUint32(&l[0], uint32(len(kept)))
}

// sortCands sorts a few.
func sortCands(c []cand) {
	for i := 1; i < len(c); i++ {
		x, j := c[i], i
		for ; j > 0 && (c[j-1].far > x.far || c[j-1].far == x.far && c[j-1].row > x.row); j-- {
			c[j] = c[j-1]
		}
		c[j] = x
	}
}

// choose takes at most m of candidates in the order of their distance from a row,
// each only if it is nearer to the row than to every one taken before. What
// comes back is good until the next call.
func (h *hnsw) choose(from []cand, m int, row uint32, s *scratch) []cand {
	out := s.chosen[:0]
	var rows [linksBase]uint32 // of out
next:
	for _, c := range from {
		if len(out) == m {
			break
		}
		if c.row == row {
			continue
		}
		p := h.pivot(c.row)
		for i := 0; i < len(out); i += fourRows {
			for _, d := range h.fars(&p, rows[i:min(i+fourRows, len(out))], &s.batch) {
				if d < c.far {
					continue next
				}
			}
		}
		rows[len(out)] = c.row
		out = append(out, c)
	}
	s.chosen = out
	return out
}

// descend walks to the nearest row of each layer from one down to another that is
// not looked at any more.
func (h *hnsw) descend(p *pivot, at cand, from, to int, s *scratch, limit uint32) cand {
	for layer := from; layer > to; layer-- {
		for moved := true; moved; {
			moved = false
			s.links = h.read(s.links[:0], at.row, layer, limit)
			s.seen += len(s.links)
			for i, d := range h.fars(p, s.links, &s.batch) {
				if d < at.far {
					at, moved = cand{d, s.links[i]}, true
				}
			}
		}
	}
	return at
}

// spread finds the ef rows nearest to p in a layer, from one of them on. What comes
// back is sorted, and good until the next walk of s.
func (h *hnsw) spread(p *pivot, at cand, ef int, layer int, s *scratch, limit uint32) []cand {
	s.start(int(limit))
	marks, walk := s.marks, s.walk
	pool := append(s.pool[:0], at)
	marks[at.row] = walk
	bound := float32(math.Inf(1)) // what is not nearer is left out
	for next := 0; next < len(pool); {
		if pool[next].row&expanded != 0 {
			next++
			continue
		}
		row := pool[next].row
		pool[next].row |= expanded
		s.links = h.read(s.links[:0], row, layer, limit)
		todo := s.links[:0]
		for _, x := range s.links {
			if marks[x] != walk {
				marks[x] = walk
				todo = append(todo, x)
			}
		}
		s.seen += len(todo)
		low := next + 1
		for i, d := range h.fars(p, todo, &s.batch) {
			if d >= bound {
				continue
			}
			lo, hi := 0, len(pool)
			for lo < hi {
				if m := int(uint(lo+hi) >> 1); pool[m].far <= d {
					lo = m + 1
				} else {
					hi = m
				}
			}
			if len(pool) < ef {
				pool = append(pool, cand{})
			}
			copy(pool[lo+1:], pool[lo:len(pool)-1])
			pool[lo] = cand{d, todo[i]}
			low = min(low, lo)
			if len(pool) == ef {
				bound = pool[ef-1].far
			}
		}
		next = low
	}
	for i := range pool {
		pool[i].row &^= expanded
	}
	s.pool = pool
	return pool
}

// start begins a walk that may see the rows below n.
func (b *beam) start(n int) {
	if len(b.marks) < n {
		b.marks, b.walk = make([]uint16, n+n/8), 0
	}
	if b.walk == math.MaxUint16 {
		clear(b.marks)
		b.walk = 0
	}
	b.walk++
}

// reached is a bit for each row that can be walked to on layer 0.
func (h *hnsw) reached() []uint64 {
	seen := make([]uint64, (h.n+63)/64)
	h.spill(seen, h.entry)
	return seen
}

// spill marks what can be reached from a row and is not marked yet.
func (h *hnsw) spill(seen []uint64, from uint32) {
	var links []uint32
	seen[from/64] |= 1 << (from % 64)
	for todo := []uint32{from}; len(todo) > 0; {
		row := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		links = h.read(links[:0], row, 0, uint32(h.n))
		for _, x := range links {
			if seen[x/64]&(1<<(x%64)) == 0 {
				seen[x/64] |= 1 << (x % 64)
				todo = append(todo, x)
			}
		}
	}
}

// mend links what cannot be walked to, since its neighbours all have nearer ones:
// among near duplicates some rows in a thousand. Each is linked from the nearest
// node that has room. Where none has, it takes the place of a link of a near one to
// where it leads itself.
func (b *builder) mend() {
	for range mendTries {
		if !b.mendOnce() {
			return
		}
	}
}

// mendOnce reports whether there was something to mend: the place of a link is
// taken, and what that led to may have no other.
func (b *builder) mendOnce() (found bool) {
	seen := b.reached()
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	for row := range uint32(b.n) {
		if seen[row/64]&(1<<(row%64)) != 0 || atomic.LoadUint32(&b.record(row)[0]) == isTwin {
			continue
		}
		found = true
		p := b.pivot(row)
		at := b.descend(&p, cand{b.far(&p, b.entry), b.entry}, b.top, 0, s, uint32(b.n))
		// The way down from above may end at the row itself.
		pool := slices.DeleteFunc(b.spread(&p, at, efBuild, 0, s, uint32(b.n)), func(c cand) bool { return seen[c.row/64]&(1<<(c.row%64)) == 0 })
		if len(pool) == 0 {
			continue
		}
		from := slices.IndexFunc(pool, func(c cand) bool { return b.add(c.row, row) })
		if from < 0 && !slices.ContainsFunc(pool, func(c cand) bool { return b.between(c.row, row) }) {
			atomic.StoreUint32(&b.list(pool[0].row, 0)[linksBase], row)
		}
		b.spill(seen, row)
	}
	return found
}

// between puts a row in the place of the last link that it has too.
func (b *builder) between(from, row uint32) bool {
	l, own := b.list(from, 0), b.list(row, 0)
	for i := atomic.LoadUint32(&l[0]); i > 0; i-- {
		if contains(own[1:1+atomic.LoadUint32(&own[0])], atomic.LoadUint32(&l[i])) {
			atomic.StoreUint32(&l[i], row)
			return true
		}
	}
	return false
}

// add links a row on layer 0 if there is room.
func (b *builder) add(from, to uint32) bool {
	l := b.list(from, 0)
	n := atomic.LoadUint32(&l[0])
	if int(n) == len(l)-1 {
		return false
	}
	atomic.StoreUint32(&l[1+n], to)
	atomic.StoreUint32(&l[0], n+1)
	return true
}

// near are the ef nodes nearest to the query in s, nearest first.
func (h *hnsw) near(s *scratch, ef int) ([]cand, error) {
	p := h.ask(s)
	at := cand{h.far(&p, h.entry), h.entry}
	at = h.descend(&p, at, h.top, 0, s, uint32(h.n))
	return h.spread(&p, at, ef, 0, s, uint32(h.n)), nil
}

func (h *hnsw) graph() *hnsw { return h }
func (h *hnsw) bytes() int64 { return h.size + int64(cap(h.blocks)+cap(h.upper))*24 }

// sortPool sorts what a walk found.
func sortPool(pool []cand) {
	slices.SortFunc(pool, func(a, b cand) int {
		return cmp.Or(cmp.Compare(a.far, b.far), cmp.Compare(a.row, b.row))
	})
}
