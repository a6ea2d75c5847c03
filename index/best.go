package index

import "slices"

// Hit is one answer of a search: the higher the score, the better.
type Hit struct {
	ID    uint32
	Score float32
}

// best keeps the k best hits seen in a heap with the worst of them on top.
type best struct {
	k    int
	less func(a, b uint32) bool
	hits []Hit
}

// worse says whether a comes after b.
func (t *best) worse(a, b Hit) bool {
	if a.Score != b.Score {
		return a.Score < b.Score
	}
	if t.less != nil {
		return t.less(b.ID, a.ID)
	}
	return b.ID < a.ID
}

// offer enters a hit.
func (t *best) offer(h Hit) {
	if len(t.hits) < t.k || h.Score >= t.hits[0].Score {
		t.push(h)
	}
}

func (t *best) push(h Hit) {
	if len(t.hits) < t.k {
		t.hits = append(t.hits, h)
		for i := len(t.hits) - 1; i > 0; {
			up := (i - 1) / 2
			if !t.worse(t.hits[i], t.hits[up]) {
				return
			}
			t.hits[i], t.hits[up] = t.hits[up], t.hits[i]
			i = up
		}
		return
	}
	if !t.worse(t.hits[0], h) {
		return
	}
	t.hits[0] = h
	for i := 0; ; {
		c := 2*i + 1
		if c >= len(t.hits) {
			return
		}
		if c+1 < len(t.hits) && t.worse(t.hits[c+1], t.hits[c]) {
			c++
		}
		if !t.worse(t.hits[c], t.hits[i]) {
			return
		}
		t.hits[i], t.hits[c] = t.hits[c], t.hits[i]
		i = c
	}
}

func (t *best) sorted() []Hit {
	slices.SortFunc(t.hits, func(a, b Hit) int {
		switch {
		case t.worse(b, a):
			return -1
		case t.worse(a, b):
			return 1
		}
		return 0
	})
	return t.hits
}
