package graph

import (
	"context"
	"fmt"
	"math"
	"math/bits"
)

// RankQuery asks which entities are near some others by the relations between them.
type RankQuery struct {
	Seeds []uint32 // the walk begins at each alike; unknown ones are passed over
	// Return is the share, in percent, of walks that stop at each step, 1 to 99.
	// 0 is 15: PageRank's.
	Return int
	// Bound is how far a score may be below its true value, by unit of the
	// entity's weight (that of all its relations). 0 is 1e-5; below 1e-7 is 1e-7.
	Bound float64
	Limit int
	Reads int // how many relations are read at the most, 0 is 2,000,000
}

const (
	defaultReturn    = 15
	defaultRankBound = 1e-5
	minRankBound     = 1e-7
	defaultRankReads = 2_000_000
)

// Ranked is an entity with its share of a walk's mass.
type Ranked struct {
	ID    uint32
	Score float64
}

// Ranking is what Rank found.
type Ranking struct {
	Nodes []Ranked // by score, the highest first, then by name; at most Limit
	// Bound is what holds: the true score of an entity is at least what Nodes says,
	// 0 if it is not among them and nothing was cut, and at most Bound times its
	// weight more. It is above the query's only when Reads was reached.
	Bound   float64
	Reached int // entities with a score
}

// Masses are integers, so that a ranking depends on the graph alone and not on
// the order in which its relations lie; and so are weights, whose unit makes any
// relation count.
const (
	rankMass   = 1 << 50
	rankWeight = 1 << 16
)

// Rank returns the entities by personalised PageRank of the seeds on the view,
// whichever way relations point, more likely along heavy ones. The masses are
// pushed on from where there is most for the weight, until no more than
// Bound is left for it anywhere (Andersen, Chung, Lang, Local Graph Partitioning
// using PageRank Vectors, 2006): what is read depends on Bound and not on the size
// of the graph. Entities are pushed round by round, all that have too much at
// once, which makes the order of no matter. An error is that of ctx.
func (v View) Rank(ctx context.Context, q RankQuery) (Ranking, error) {
	if q.Return < 1 || q.Return > 99 {
		q.Return = defaultReturn
	}
	if q.Bound <= 0 {
		q.Bound = defaultRankBound
	}
	if q.Reads < 1 {
		q.Reads = defaultRankReads
	}
	q.Bound = max(q.Bound, minRankBound)
	v.g.mu.RLock()
	defer v.g.mu.RUnlock()
	p := push{v: v, q: q, at: map[uint32]int32{}}
	p.start()
	for len(p.active) > 0 && p.reads < q.Reads {
		if err := ctx.Err(); err != nil {
			return Ranking{}, fmt.Errorf("rank: %w", err)
		}
		p.round()
	}
	return p.ranking(), nil
}

// push is one ranking under way.
type push struct {
	v      View
	q      RankQuery
	at     map[uint32]int32 // place in nodes
	nodes  []pushNode
	active []int32 // places that have too much left
	reads  int
}

type pushNode struct {
	id     uint32
	active bool
	weight uint64 // of all relations, in rankWeight
	limit  uint64 // of what may be left
	score  uint64
	left   uint64
}

func (p *push) start() {
	var seeds []int32
	seen := map[uint32]bool{}
	for _, id := range p.q.Seeds {
		if p.v.has(id) && !seen[id] {
			seen[id] = true
			seeds = append(seeds, p.place(id))
		}
	}
	for _, i := range seeds {
		p.give(i, rankMass/uint64(len(seeds)))
	}
}

// place is the place of an entity, which is weighed on first sight.
func (p *push) place(id uint32) int32 {
	if i, ok := p.at[id]; ok {
		return i
	}
	n := pushNode{id: id}
	p.links(id, func(_ uint32, w uint64) { n.weight += w })
	n.limit = uint64(math.Ceil(p.q.Bound * float64(n.weight) / rankWeight * rankMass))
	i := int32(len(p.nodes))
	p.at[id] = i
	p.nodes = append(p.nodes, n)
	return i
}

// links calls f for each relation of an entity that counts.
func (p *push) links(id uint32, f func(to uint32, weight uint64)) {
	n := &p.v.g.nodes[id]
	for _, list := range [2][]link{n.out, n.in} {
		for _, l := range list {
			if !p.v.counts(l.rel) {
				continue
			}
			_, _, w := p.v.relation(l.rel)
			f(l.to, fixed(w))
		}
	}
	p.reads += len(n.out) + len(n.in)
}

// fixed is a weight in rankWeight: at least 1, and at most what keeps the sum of
// all that there can be in 64 bits.
func fixed(w float32) uint64 {
	if !(w > 0) {
		return 1
	}
	return max(1, uint64(min(float64(w), 1<<15)*rankWeight))
}

// give adds to what is left at a place.
func (p *push) give(i int32, mass uint64) {
	n := &p.nodes[i]
	n.left += mass
	if n.left > n.limit && !n.active {
		n.active = true
		p.active = append(p.active, i)
	}
}

// round pushes what is left where there is too much. What cannot be shared out
// stays: no mass is lost, and it is less than a unit by relation.
func (p *push) round() {
	now := p.active
	p.active = nil
	masses := make([]uint64, len(now))
	for k, i := range now {
		n := &p.nodes[i]
		masses[k], n.left, n.active = n.left, 0, false
	}
	for k, i := range now {
		n := p.nodes[i]
		stay := masses[k] * uint64(p.q.Return) / 100
		if n.weight == 0 {
			stay = masses[k] // no way on: every walk stops here
		}
		p.nodes[i].score += stay
		on := masses[k] - stay
		rest := on
		if on > 0 {
			p.links(n.id, func(to uint32, w uint64) {
				hi, lo := bits.Mul64(on, w)
				share, _ := bits.Div64(hi, lo, n.weight)
				rest -= share
				p.give(p.place(to), share)
			})
			p.give(i, rest)
		}
	}
}

func (p *push) ranking() Ranking {
	var r Ranking
	t := top{k: min(max(0, p.q.Limit), len(p.nodes)), before: func(a, b uint32) bool {
		x, y := p.nodes[p.at[a]].score, p.nodes[p.at[b]].score
		if x != y {
			return x > y
		}
		return p.v.g.nodes[a].name < p.v.g.nodes[b].name
	}}
	for _, n := range p.nodes {
		if n.score > 0 {
			r.Reached++
			t.push(n.id)
		}
		if n.weight > 0 {
			r.Bound = max(r.Bound, float64(n.left)/rankMass/(float64(n.weight)/rankWeight))
		}
	}
	for _, id := range t.sorted() {
		r.Nodes = append(r.Nodes, Ranked{id, float64(p.nodes[p.at[id]].score) / rankMass})
	}
	return r
}
