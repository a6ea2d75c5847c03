package engine

import (
	"slices"

	"alcove/index"
)

// rrfK is the constant of reciprocal rank fusion (Cormack, Clarke, Büttcher,
// SIGIR 2009): how little the first places differ from the next.
const rrfK = 60

// channel is one ranked list with its say in the fusion.
type channel struct {
	ids    []uint32 // best first, no id twice
	weight float64
}

// fuse ranks the ids of all channels by weighted reciprocal rank. Equal sums
// are ordered by less.
func fuse(channels []channel, less func(a, b uint32) bool) []scored {
	sum := map[uint32]float64{}
	for _, c := range channels {
		for i, id := range c.ids {
			sum[id] += c.weight / float64(rrfK+1+i)
		}
	}
	return bestScored(sum, len(sum), less)
}

// bestScored ranks the n best ids by score, equal ones by less.
func bestScored(sum map[uint32]float64, n int, less func(a, b uint32) bool) []scored {
	top := index.NewTop(min(n, len(sum)), less)
	for id, s := range sum {
		top.Offer(id, s)
	}
	best := top.Sorted()
	out := make([]scored, len(best))
	for i, m := range best {
		out[i] = scored{ID: m.ID, Score: m.Score}
	}
	return out
}

// roundRobin takes one from each list in turn and drops repeats: LightRAG's
// merge of local and global finds.
func roundRobin[T comparable](lists ...[]T) []T {
	var out []T
	seen := map[T]bool{}
	for i := 0; ; i++ {
		more := false
		for _, l := range lists {
			if i < len(l) {
				more = true
				if !seen[l[i]] {
					seen[l[i]] = true
					out = append(out, l[i])
				}
			}
		}
		if !more {
			return out
		}
	}
}

// bestN returns the first n of a list in the order of less, which no two of its
// items may be equal in. It looks at each item once and moves few: of a long
// list most are behind the nth that is kept.
func bestN[T any](list []T, n int, less func(a, b T) bool) []T {
	out := make([]T, 0, min(n, len(list)))
	for _, x := range list {
		out = keepBest(out, x, n, less)
	}
	return out
}

// keepBest puts x in its place among the n best of what came before it.
func keepBest[T any](best []T, x T, n int, less func(a, b T) bool) []T {
	if len(best) == n && (n == 0 || !less(x, best[n-1])) {
		return best
	}
	i, _ := slices.BinarySearchFunc(best, x, func(a, b T) int {
		if less(a, b) {
			return -1
		}
		return 1
	})
	if len(best) == n {
		best = best[:n-1]
	}
	return slices.Insert(best, i, x)
}

// bits is a set of small numbers.
type bits []uint64

func newBits(bound int) bits { return make(bits, (bound+63)/64) }

func (b bits) set(i uint32)      { b[i/64] |= 1 << (i % 64) }
func (b bits) has(i uint32) bool { return b[i/64]&(1<<(i%64)) != 0 }

func idsOf(l []scored) []uint32 {
	out := make([]uint32, len(l))
	for i, x := range l {
		out[i] = x.ID
	}
	return out
}

func firstN[T any](l []T, n int) []T { return l[:min(n, len(l))] }
