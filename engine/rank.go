package engine

import (
	"slices"
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
	out := make([]scored, 0, len(sum))
	for id, s := range sum {
		out = append(out, scored{ID: id, Score: s})
	}
	sortScored(out, less)
	return out
}

func sortScored(l []scored, less func(a, b uint32) bool) {
	slices.SortFunc(l, func(a, b scored) int {
		switch {
		case a.Score > b.Score:
			return -1
		case a.Score < b.Score:
			return 1
		case less(a.ID, b.ID):
			return -1
		case less(b.ID, a.ID):
			return 1
		}
		return 0
	})
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

func idsOf(l []scored) []uint32 {
	out := make([]uint32, len(l))
	for i, x := range l {
		out[i] = x.ID
	}
	return out
}

func firstN[T any](l []T, n int) []T { return l[:min(n, len(l))] }

// fitTokens keeps items from the front while their tokens fit the budget, as
// LightRAG cuts its lists: the first that does not fit ends the list. It
// returns the tokens that are left. A text never has more tokens than bytes,
// so a list that is short in bytes is not counted.
func fitTokens[T any](items []T, budget int, text func(T) string) ([]T, int) {
	total := 0
	for _, it := range items {
		total += len(text(it))
	}
	if total <= budget {
		return items, budget - total
	}
	for i, it := range items {
		n := countTokens(text(it))
		if n > budget {
			return items[:i], budget
		}
		budget -= n
	}
	return items, budget
}
