package engine

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"alcove/tenancy"
)

// Limits of a search for duplicates. Names are compared inside blocks that share a
// key, all with all in a small one and each with its next neighbours in the order
// of the alphabet in a large one: the cost grows with the names, not with their pairs.
const (
	defaultDuplicates    = 50
	maxDuplicates        = 500
	maxSuggestEntities   = 200_000
	maxSuggestPairs      = 500_000
	maxSuggestCandidates = 2_000 // pairs whose other evidence is looked at
	wholeBlock           = 16    // names that are compared all with all
	blockWindow          = 8     // next names that each is compared with in a larger block
	maxSuggestSide       = 2_000 // relations or chunks of the smaller side that are looked at
	maxComparedRunes     = 64
	// What sets names apart is looked at in small neighbourhoods only: two names
	// for one thing that share no letters have at least two neighbours in common.
	minNetDegree, maxNetDegree = 2, 16
	maxNetEntities             = 50_000
)

// What each kind of evidence weighs in a score, and the least score that is shown.
const (
	nameWeight      = 0.6
	embeddingWeight = 0.25
	netWeight       = 0.15
	minNameScore    = 0.6
	minDuplicate    = 0.4
	// namelessScore is the most that neighbours and vectors alone can say.
	namelessScore = 0.7
	noCosine      = 0.3 // vectors of unrelated texts are no further apart than this
)

// Duplicates are pairs of entities that may be one, best first.
type Duplicates struct {
	Pairs     []Duplicate `json:"duplicates"`
	Entities  int         `json:"entities"`       // names that were looked at
	Compared  int         `json:"pairs_compared"` // pairs of names that were compared
	Truncated bool        `json:"is_truncated"`   // a bound was reached: there may be others
}

// Duplicate is a pair with its score, 0 to 1, and what the score is made of.
type Duplicate struct {
	Entities [2]string         `json:"entities"` // the one with more relations first
	Score    float64           `json:"score"`
	Evidence DuplicateEvidence `json:"evidence"`
}

// DuplicateEvidence are the parts of a score, each 0 to 1, and counts behind them.
type DuplicateEvidence struct {
	Name             float64  `json:"name"`
	NameKind         string   `json:"name_kind,omitempty"` // same words, same letters, acronym, initials, spelling, part
	Embedding        *float64 `json:"embedding,omitempty"` // cosine of the profiles, where they have vectors
	Neighbourhood    float64  `json:"neighbourhood"`       // share of the smaller neighbourhood
	SharedNeighbours int      `json:"shared_neighbours"`
	SharedChunks     int      `json:"shared_chunks"`
	Related          bool     `json:"related"` // a relation joins them
}

// Duplicates suggests entities that may be one: for a person to decide on and for
// Merge to act. Limit 0 means 50; at most 500. The same documents give the same
// pairs in the same order.
func (r *Reader) Duplicates(ctx context.Context, limit int) (*Duplicates, error) {
	if limit == 0 {
		limit = defaultDuplicates
	}
	if limit < 1 || limit > maxDuplicates {
		return nil, badField("limit", fmt.Sprintf("is %d; 1 to %d are allowed", limit, maxDuplicates))
	}
	out := &Duplicates{Pairs: []Duplicate{}}
	var names, nets []string
	if err := r.read(ctx, func(res *resident, _ *tenancy.Tx) error {
		names, nets = res.suggestNames()
		return nil
	}); err != nil {
		return nil, err
	}
	if len(names) > maxSuggestEntities {
		names, nets, out.Truncated = names[:maxSuggestEntities], nil, true
	}
	out.Entities = len(names)
	// The names are strings of their own: they are compared without a lock.
	c := &comparer{names: make([]comparedName, len(names)), blocks: map[string][]int32{}, seen: map[[2]int32]bool{}}
	for i, n := range names {
		c.names[i] = takeApart(n)
		c.block(int32(i))
		if nets != nil && nets[i] != "" {
			c.blocks[nets[i]] = append(c.blocks[nets[i]], int32(i))
		}
	}
	if err := c.compare(ctx); err != nil {
		return nil, err
	}
	out.Compared, out.Truncated = len(c.seen), out.Truncated || c.full
	slices.SortFunc(c.found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.a, b.a), cmp.Compare(a.b, b.b))
	})
	if len(c.found) > maxSuggestCandidates {
		c.found, out.Truncated = c.found[:maxSuggestCandidates], true
	}
	err := r.read(ctx, func(res *resident, _ *tenancy.Tx) error {
		for i, x := range c.found {
			if i%64 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if d, ok := res.weigh(names[x.a], names[x.b], x); ok {
				out.Pairs = append(out.Pairs, d)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out.Pairs, func(a, b Duplicate) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Entities[0], b.Entities[0]), cmp.Compare(a.Entities[1], b.Entities[1]))
	})
	if len(out.Pairs) > limit {
		out.Pairs, out.Truncated = out.Pairs[:limit], true
	}
	return out, nil
}

// suggestNames returns the identities of all entities in order, and for each the
// key of the neighbours that set it apart: nil where profiles have no vectors to
// tell a shared neighbourhood from a shared trade.
func (r *resident) suggestNames() (names, nets []string) {
	ids := make([]uint32, 0, len(r.entities))
	for id := range r.entities {
		if r.liveEntity(uint32(id)) {
			ids = append(ids, uint32(id))
		}
	}
	slices.SortFunc(ids, func(a, b uint32) int { return cmp.Compare(r.graph.Name(a), r.graph.Name(b)) })
	names = make([]string, len(ids))
	for i, id := range ids {
		names[i] = r.graph.Name(id)
	}
	if r.index.Entities == nil || r.index.Entities.Len() == 0 || len(ids) > maxNetEntities {
		return names, nil
	}
	nets = make([]string, len(ids))
	for i, id := range ids {
		if n := r.graph.Degree(id); n < minNetDegree || n > maxNetDegree {
			continue
		}
		var around []uint32
		r.graph.Neighbours(id, func(n, _ uint32, _ bool, _ float32) bool {
			around = append(around, n)
			return true
		})
		rare := bestN(around, 2, func(a, b uint32) bool {
			if x, y := r.graph.Degree(a), r.graph.Degree(b); x != y {
				return x < y
			}
			return r.lessEntity(a, b)
		})
		nets[i] = "n:" + pairOf(r.graph.Name(rare[0]), r.graph.Name(rare[1])).key()
	}
	return names, nets
}

// comparedName is a name taken apart for comparison.
type comparedName struct {
	words   []string // folded, in order
	sorted  string
	letters []rune // without spaces
	digits  string
}

func takeApart(identity string) comparedName {
	key := cmp.Or(nameKey(identity), identity)
	n := comparedName{words: strings.Fields(key)}
	n.letters = []rune(strings.Join(n.words, ""))
	n.sorted = strings.Join(slices.Sorted(slices.Values(n.words)), " ")
	n.digits = strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return r
		}
		return -1
	}, key)
	return n
}

// initials are the first letters of the words of a name of several.
func (n *comparedName) initials() string {
	if len(n.words) < 2 {
		return ""
	}
	var b strings.Builder
	for _, w := range n.words {
		for _, r := range w {
			b.WriteRune(r)
			break
		}
	}
	return b.String()
}

// comparer compares names that share a key.
type comparer struct {
	names  []comparedName
	blocks map[string][]int32
	seen   map[[2]int32]bool
	found  []candidate
	full   bool
}

type candidate struct {
	a, b  int32
	score float64 // of the names
	kind  string
}

// block puts a name under its keys: the words, their beginnings and ends, the
// letters that may be its acronym.
func (c *comparer) block(i int32) {
	n := &c.names[i]
	keys := []string{"w:" + n.sorted}
	for _, w := range n.words {
		if len(w) > 2 {
			keys = append(keys, "t:"+w)
		}
	}
	if l := n.letters; len(l) >= 4 {
		keys = append(keys, "p:"+string(l[:4]), "s:"+string(l[len(l)-4:]))
	}
	if s := n.initials(); s != "" {
		keys = append(keys, "a:"+s)
	}
	if len(n.letters) <= 8 {
		keys = append(keys, "a:"+string(n.letters))
	}
	for _, k := range keys {
		if l := c.blocks[k]; len(l) == 0 || l[len(l)-1] != i {
			c.blocks[k] = append(l, i)
		}
	}
}

// compare goes through the blocks in the order of their keys.
func (c *comparer) compare(ctx context.Context) error {
	keys := make([]string, 0, len(c.blocks))
	for k, l := range c.blocks {
		if len(l) > 1 {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for n, k := range keys {
		if n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		l := c.blocks[k] // in the order of the alphabet, as the names are
		window := len(l)
		if len(l) > wholeBlock {
			window = blockWindow
		}
		for i := range l {
			for j := i + 1; j < len(l) && j <= i+window; j++ {
				if len(c.seen) >= maxSuggestPairs {
					c.full = true
					return nil
				}
				c.pair(l[i], l[j], k[0] == 'n')
			}
		}
	}
	return nil
}

// pair compares two names once. Names of one neighbourhood are candidates
// whatever their letters are.
func (c *comparer) pair(a, b int32, net bool) {
	p := [2]int32{min(a, b), max(a, b)}
	if c.seen[p] {
		return
	}
	c.seen[p] = true
	score, kind := likeness(&c.names[p[0]], &c.names[p[1]])
	if score < minNameScore {
		if !net {
			return
		}
		score, kind = 0, ""
	}
	c.found = append(c.found, candidate{p[0], p[1], score, kind})
}

// likeness says how much two names look like one, and in which way.
func likeness(a, b *comparedName) (float64, string) {
	switch {
	case a.sorted == b.sorted:
		return 1, "same words"
	case slices.Equal(a.letters, b.letters):
		return 1, "same letters"
	case acronym(a, b), acronym(b, a):
		if min(len(a.letters), len(b.letters)) > 2 {
			return 0.8, "acronym"
		}
		return minNameScore, "acronym"
	case a.digits != b.digits:
		return 0, "" // the second edition is not the third
	case initialled(a, b):
		return 0.85, "initials"
	}
	best, kind := 0.0, ""
	if len(a.letters) <= maxComparedRunes && len(b.letters) <= maxComparedRunes {
		longest := max(len(a.letters), len(b.letters))
		if s := 1 - float64(distance(a.letters, b.letters))/float64(longest); s >= 0.75 {
			best, kind = s, "spelling"
		}
	}
	if s := within(a, b); s > best {
		best, kind = s, "part"
	}
	return best, kind
}

// acronym reports whether short is made of the first letters of long.
func acronym(short, long *comparedName) bool {
	return len(short.letters) > 1 && long.initials() == string(short.letters)
}

// initialled reports whether two names have the same words in order, some written
// as their first letter alone, and at least one in full.
func initialled(a, b *comparedName) bool {
	if len(a.words) != len(b.words) || len(a.words) < 2 {
		return false
	}
	whole := false
	for i, x := range a.words {
		y := b.words[i]
		switch {
		case x == y:
			whole = whole || len(x) > 2
		case len([]rune(x)) == 1 && strings.HasPrefix(y, x), len([]rune(y)) == 1 && strings.HasPrefix(x, y):
		default:
			return false
		}
	}
	return whole
}

// within is how much of the longer name the words of the shorter one are, when all
// of them are among its words.
func within(a, b *comparedName) float64 {
	if len(a.words) > len(b.words) {
		a, b = b, a
	}
	if len(a.words) == len(b.words) || len(a.letters) < 3 {
		return 0
	}
	for _, w := range a.words {
		if !slices.Contains(b.words, w) {
			return 0
		}
	}
	return 0.5 + 0.3*float64(len(a.words))/float64(len(b.words))
}

// distance is the number of letters to insert, delete, replace or swap with the
// next to make one name of the other (optimal string alignment).
func distance(a, b []rune) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			d := last[j-1]
			if a[i-1] != b[j-1] {
				d++
			}
			d = min(d, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, before[j-2]+1)
			}
			row[j] = d
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// weigh adds what the graph and the vectors know of a pair. r.mu is held for reading.
func (r *resident) weigh(nameA, nameB string, x candidate) (Duplicate, bool) {
	a, ok := r.graph.Entity(nameA)
	b, ok2 := r.graph.Entity(nameB)
	if !ok || !ok2 {
		return Duplicate{}, false // gone since the names were taken
	}
	if da, db := r.graph.Degree(a), r.graph.Degree(b); db > da || db == da && nameB < nameA {
		a, b = b, a
	}
	e := DuplicateEvidence{Name: thousandths(x.score), NameKind: x.kind}
	_, e.Related = r.findRelation(pairOf(nameA, nameB))
	var least int
	e.SharedNeighbours, least = r.sharedNeighbours(a, b)
	if least > 0 {
		e.Neighbourhood = thousandths(float64(e.SharedNeighbours) / float64(least))
	}
	e.SharedChunks = shared(r.entities[a].chunks, r.entities[b].chunks)
	sum, weight, most := nameWeight*x.score+netWeight*e.Neighbourhood, nameWeight+netWeight, 1.0
	if x.score == 0 {
		weight, most = netWeight, namelessScore
	}
	if r.index.Entities != nil {
		if v, ok := r.index.Entities.Vector(a); ok {
			if s, ok := r.index.Entities.Similarity(v, b); ok {
				cosine := thousandths(float64(s))
				e.Embedding = &cosine
				sum += embeddingWeight * max(0, (cosine-noCosine)/(1-noCosine))
				weight += embeddingWeight
			}
		}
	}
	d := Duplicate{Entities: [2]string{r.entityName(a), r.entityName(b)}, Score: thousandths(most * sum / weight), Evidence: e}
	return d, d.Score >= minDuplicate && (x.score > 0 || e.Embedding != nil)
}

func thousandths(x float64) float64 { return math.Round(1000*x) / 1000 }

// sharedNeighbours counts them from the side with fewer relations, and says how
// many neighbours beside the other that side has; a side with too many is not
// looked at.
func (r *resident) sharedNeighbours(a, b uint32) (n, least int) {
	if r.graph.Degree(a) > r.graph.Degree(b) {
		a, b = b, a
	}
	if r.graph.Degree(a) > maxSuggestSide {
		return 0, 0
	}
	r.graph.Neighbours(a, func(x, _ uint32, _ bool, _ float32) bool {
		if x == b {
			return true
		}
		least++
		if _, ok := r.graph.FindRelation(x, b); ok {
			n++
		} else if _, ok := r.graph.FindRelation(b, x); ok {
			n++
		}
		return true
	})
	return n, least
}

// shared counts what two ascending lists have in common, 0 when both are long.
func shared(a, b []uint32) (n int) {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(a) > maxSuggestSide {
		return 0
	}
	for _, id := range a {
		if _, ok := slices.BinarySearch(b, id); ok {
			n++
		}
	}
	return n
}
