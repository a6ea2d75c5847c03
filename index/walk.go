package index

import "math"

// walker finds rows near a query by walking a graph. It is the small interface
// behind which Own and Coder stand; what it finds is checked, scored and ordered
// by its caller. Safe for concurrent use.
type walker interface {
	// near returns the ef nodes nearest to the query in s, or nearly, nearest first.
	// They are good until the next walk of s.
	near(s *scratch, ef int) ([]cand, error)
	// graph is the graph that is walked: its n is how many rows are covered, its ef
	// what near is to be asked for.
	graph() *hnsw
	bytes() int64
}

const (
	// keepSample rows are shown to a filter to tell how many it lets through.
	keepSample = 256
	// A step of a walk costs as much as reading a row in a scan and waiting for the
	// memory, which takes as long as reading so many codes; asking a filter costs a share of
	// a row. At 384 dimensions a step is 5 rows: of 16,000 rows a scan of the
	// accepted is faster from about half of them downwards.
	waitCodes = 1500
	keepCost  = 0.5
	// spareRows are scored besides the k that codes say are the nearest: with 20 the
	// true nearest were among them in every set that was measured.
	spareRows = 40
)

// walked offers the nearest rows by walking, if that is cheaper than a scan. It
// says no when it is not, or when the walk comes back with fewer than it should:
// the caller then scans.
func (w *view) walked(s *scratch, keep func(uint32) bool, t *best) bool {
	if w.walk == nil {
		return false
	}
	h := w.walk.graph()
	share, rows := w.share(keep), float64(w.n)
	if share == 0 {
		return false
	}
	ef := int(float64(h.ef.width(t.k)) / share)
	scan := rows * share
	if keep != nil {
		scan += keepCost * rows
	}
	step := 1 + waitCodes/float64(codeWidth(w.dim))
	if float64(h.ef.PerEf)*float64(ef)*step >= scan {
		return false
	}
	pool, err := w.walk.near(s, ef)
	if err != nil {
		return false
	}
	found, nodes := 0, 0
	for _, c := range pool {
		if len(t.hits) == t.k && s.most(&w.rowStore, c) < t.hits[0].Score {
			continue
		}
		score, in := float32(0), 0
		for row, ok := c.row, true; ok; row, ok = h.twin(row) {
			id := w.id(row)
			if !w.shows(row) || keep != nil && !keep(id) {
				continue
			}
			if in == 0 {
				score = s.score(&w.rowStore, c.row)
			}
			in++
			t.offer(Hit{id, score})
		}
		found += in
		if in > 0 {
			if nodes++; nodes == t.k+spareRows {
				break
			}
		}
	}
	if found < min(t.k, int(share*float64(h.n))) {
		return false
	}
	w.scan(s, keep, h.n, t)
	return len(t.hits) == t.k
}

// share is about how many of the rows a search may answer with: all but those
// that are gone, and of these what keep lets through of a sample.
func (w *view) share(keep func(uint32) bool) float64 {
	if keep == nil {
		return float64(w.live) / float64(w.n)
	}
	kept := 0
	for i := range keepSample {
		if row := uint32(i * w.n / keepSample); w.shows(row) && keep(w.id(row)) {
			kept++
		}
	}
	return float64(kept) / keepSample
}

// most is what a row that a walk has found can score at best. With q = s*c + e for
// the query and for the row, the product of codes leaves out e of the one times the
// other, and e of the other times s*c of the one. Room and rest are those of exact
// scans (codes.go).
func (s *scratch) most(r *rowStore, c cand) float32 {
	if !r.coded || !r.full {
		return float32(math.Inf(1))
	}
	_, m := r.codes(c.row)
	const room = 1 + 1e-4
	return -c.far + (s.mark.off*(1+m.off)+m.off)*room + float32(r.dim+16)/(1<<23)
}

// calibration is how wide a graph has to be walked to find Recall of the nearest
// ten and hundred, as measured on it.
type calibration struct {
	Ten, Hundred uint32
	Recall       float32 // of the nearest ten with Ten
	PerEf        float32 // distances worked out for each place of a walk
}

// width is how wide to walk for k hits.
func (c *calibration) width(k int) int {
	ten, hundred := int(c.Ten), int(c.Hundred)
	ef := ten
	switch {
	case k > 100:
		ef = hundred * k / 100
	case k > 10:
		ef = ten + (hundred-ten)*(k-10)/90
	}
	return max(ef, k)
}

// widths are tried one after another. Below the first a measured recall says little.
var widths = []int{32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096}

const (
	calibrateQueries = 200
	// Queries are rows with as much of another row, or without every other value, in
	// turn: a graph finds the neighbours of its own rows more easily than those of a
	// question, which is about several things or says less than a passage.
)

// calibrate measures a walk over the rows of w, which must cover them but for a
// tail. It is a function of what is walked.
func calibrate(w *view, g walker, recall float64) calibration {
	n := g.graph().n
	type probe struct {
		q            []float32
		ten, hundred float32 // what the tenth and the hundredth hit score
	}
	var probes []probe
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	covered := *w
	covered.n = n
	for i := range min(calibrateQueries, n) {
		row := uint32(i * (n / min(calibrateQueries, n)))
		if !w.shows(row) {
			continue
		}
		q := w.values(row)
		if i%2 == 0 {
			for j, x := range w.values(uint32((uint64(row) + uint64(n)/3) % uint64(n))) {
				q[j] += x
			}
		} else {
			for j := range q {
				if uint32(j)*2654435761>>16&1 == 0 { // (Knuth's multiplier)
					q[j] = 0
				}
			}
		}
		if !s.takes(&w.rowStore, q) {
			continue
		}
		t := best{k: min(100, w.live)}
		covered.scan(s, nil, 0, &t)
		hits := t.sorted()
		if len(hits) == 0 {
			continue
		}
		probes = append(probes, probe{q, hits[min(10, len(hits))-1].Score, hits[len(hits)-1].Score})
	}
	var c calibration
	var h = g.graph()
	for _, ef := range widths {
		s.seen = 0
		var ten, hundred, steps float64
		for _, p := range probes {
			s.takes(&w.rowStore, p.q)
			s.seen = 0
			pool, err := g.near(s, ef)
			if err != nil {
				break
			}
			steps += float64(s.seen)
			tens, hundreds := 0, 0
			for _, x := range pool {
				for row, ok := x.row, true; ok; row, ok = h.twin(row) {
					if !w.shows(row) {
						continue
					}
					score := s.score(&w.rowStore, row)
					if score >= p.ten {
						tens++
					}
					if score >= p.hundred {
						hundreds++
					}
				}
			}
			ten += min(1, float64(tens)/10)
			hundred += min(1, float64(hundreds)/100)
		}
		ten, hundred = ten/float64(len(probes)), hundred/float64(len(probes))
		if c.Ten == 0 {
			c.PerEf = float32(steps/float64(len(probes))) / float32(ef)
			c.Recall = float32(ten)
			if ten >= recall {
				c.Ten = uint32(ef)
			}
		}
		if hundred >= recall {
			c.Hundred = uint32(ef)
			break
		}
	}
	most := uint32(widths[len(widths)-1])
	if c.Ten == 0 {
		c.Ten = most
	}
	if c.Hundred == 0 {
		c.Hundred = most
	}
	c.Hundred = max(c.Hundred, c.Ten)
	return c
}

// values is a copy of a row, or of what its codes say.
func (r *rowStore) values(row uint32) []float32 {
	x := make([]float32, r.dim)
	if r.full {
		copy(x, r.at(row))
		return x
	}
	codes, m := r.codes(row)
	for i := range x {
		x[i] = float32(codes[i]) * m.scale
	}
	return x
}

// takes makes a query of q; false if it has no direction.
func (s *scratch) takes(r *rowStore, q []float32) bool {
	scale, err := scaleOf(q)
	if err != nil {
		return false
	}
	s.query(r, q, scale)
	return true
}
