package engine

import (
	"cmp"
	"errors"
	"math"

	"golang.org/x/sync/errgroup"

	"alcove/tenancy"
)

// PickMethod is how chunks are chosen among those behind the entities and
// relations that were found: LightRAG's KG_CHUNK_PICK_METHOD.
type PickMethod string

// The methods there are.
const (
	PickVector PickMethod = "VECTOR" // those closest to the question
	PickWeight PickMethod = "WEIGHT" // by the rank of the items that mention them
)

// foldItems makes text of the entities and relations that were found and cuts
// both lists to their budgets. What is cut here leads to no chunk either. Of an
// item that many chunks mention, the chunks of lead are read first.
func (s *search) foldItems(tx *tenancy.Tx, lead []scored) error {
	if len(s.entities) == 0 && len(s.relations) == 0 {
		return nil
	}
	if lead == nil {
		lead = s.r.seen.bm25(s.q, s.p.chunkTopK, nil, s.r.less)
	}
	f := newFolder(s.r, tx, idsOf(firstN(lead, s.p.chunkTopK))).keeping()
	entities := func() (err error) {
		s.found.entities, s.found.entityLines, err = foldUntil(s.entities, f.dataEntity, entityLine, s.p.entityTokens)
		return err
	}
	relations := func(f *folder) (err error) {
		s.found.relations, s.found.relationLines, err = foldUntil(s.relations, f.dataRelation, relationLine, s.p.relationTokens)
		return err
	}
	if s.r.whole() {
		var side errgroup.Group
		side.Go(func() error { return relations(f.besides()) })
		if err := errors.Join(entities(), side.Wait()); err != nil {
			return err
		}
	} else if err := cmp.Or(entities(), relations(f)); err != nil {
		return err
	}
	s.entities = s.entities[:len(s.found.entities)]
	s.relations = s.relations[:len(s.found.relations)]
	return nil
}

// lines are lines of context. A text never has more tokens than bytes, so what is
// short in bytes need not be counted; need is the tokens of the first ones, which
// were counted, and the bytes of the others.
type lines struct {
	text          []string
	counted, need int
}

func (l *lines) add(line string) {
	l.text = append(l.text, line)
	l.need += len(line)
}

// fit reports whether the lines have at most so many tokens.
func (l *lines) fit(budget int) bool { return l.need <= budget || l.tokens() <= budget }

// tokens counts what is not counted yet.
func (l *lines) tokens() int {
	for ; l.counted < len(l.text); l.counted++ {
		l.need -= len(l.text[l.counted]) - countTokens(l.text[l.counted])
	}
	return l.need
}

// drop takes the last line off; all are counted.
func (l *lines) drop() {
	n := len(l.text) - 1
	l.need -= countTokens(l.text[n])
	l.text, l.counted = l.text[:n], n
}

// foldUntil folds items and makes lines of them while their tokens fit the budget,
// as LightRAG cuts its lists: the first that does not fit ends the list, and those
// behind it are not read.
func foldUntil[T any](items []scored, fold func(scored) (T, error), line func(T) string, budget int) (data []T, l lines, err error) {
	data = make([]T, 0, len(items))
	for _, x := range items {
		d, err := fold(x)
		if err != nil {
			return nil, lines{}, err
		}
		if l.add(line(d)); !l.fit(budget) {
			l.drop()
			return data, l, nil
		}
		data = append(data, d)
	}
	return data, l, nil
}

// chunksOfItems are the chunks behind the entities and relations that were kept,
// the two lists taken in turn.
func (s *search) chunksOfItems() ([]uint32, error) {
	entity := func(e uint32) []uint32 { return s.r.inSight(s.r.entities[e].chunks) }
	relation := func(rel uint32) []uint32 { return s.r.inSight(s.r.relations[rel].chunks) }
	byEntity, err := s.pick(s.entities, entity, nil)
	if err != nil {
		return nil, err
	}
	byRelation, err := s.pick(s.relations, relation, byEntity)
	if err != nil {
		return nil, err
	}
	s.trace.ids("entity_chunks", byEntity)
	s.trace.ids("relation_chunks", byRelation)
	return roundRobin(byEntity, byRelation), nil
}

// pick chooses among the chunks behind some items: by VECTOR half of RelatedChunks
// an item, as LightRAG does, but ranked by both channels where LightRAG has the
// cosine alone; by WEIGHT, or when VECTOR finds none, from each item its quota.
// taken are the chunks that other items have brought.
func (s *search) pick(items []scored, chunks func(uint32) []uint32, taken []uint32) ([]uint32, error) {
	if n := s.eng.o.RelatedChunks * len(items) / 2; s.eng.o.ChunkPick == PickVector && n > 0 {
		candidates := newBits(len(s.r.chunks))
		for _, it := range items {
			for _, c := range chunks(it.ID) {
				candidates.set(c)
			}
		}
		ch, err := s.chunkChannels(candidates.has)
		if err != nil {
			return nil, err
		}
		// What an entity has brought may come again: without it the list would begin
		// with what is second best, which costs mode hybrid 4 of 9 questions.
		if ids := firstN(idsOf(fuse(ch, s.r.less)), n); len(ids) > 0 {
			return ids, nil
		}
	}
	most := s.eng.o.RelatedChunks
	lists, mentions := chunkLists(items, chunks, taken)
	for i, l := range lists {
		lists[i] = bestN(l, most*len(lists), func(a, b uint32) bool {
			if x, y := mentions[a], mentions[b]; x != y {
				return x > y
			}
			return s.r.less(a, b)
		})
	}
	return pickByWeight(lists, most), nil
}

// chunkLists are the chunks of items, each in the list of the first item that
// mentions it, and how many mention it. Those of taken are left out, and with them
// the items that have no others.
func chunkLists(items []scored, chunks func(uint32) []uint32, taken []uint32) (lists [][]uint32, mentions map[uint32]int) {
	gone := make(map[uint32]bool, len(taken))
	for _, c := range taken {
		gone[c] = true
	}
	mentions = map[uint32]int{}
	for _, it := range items {
		all := chunks(it.ID)
		own := make([]uint32, 0, len(all))
		for _, c := range all {
			if gone[c] {
				continue
			}
			if mentions[c]++; mentions[c] == 1 {
				own = append(own, c)
			}
		}
		if len(own) > 0 || len(taken) == 0 && len(all) > 0 {
			lists = append(lists, own)
		}
	}
	return lists, mentions
}

// pickByWeight is LightRAG's WEIGHT pick: the first list gives up to most chunks,
// the last one, those between on a straight line (halves to the even number, as
// Python rounds); what the short lists leave of the whole quota goes to the first
// list that has more, then to the next.
func pickByWeight(lists [][]uint32, most int) []uint32 {
	var out []uint32
	if len(lists) == 1 {
		return firstN(lists[0], most)
	}
	used := make([]int, len(lists))
	left := 0
	for i, l := range lists {
		quota := int(math.RoundToEven(float64(most) - float64(i)/float64(len(lists)-1)*float64(most-1)))
		used[i] = min(quota, len(l))
		left += quota - used[i]
		out = append(out, l[:used[i]]...)
	}
	for i, l := range lists {
		more := min(left, len(l)-used[i])
		out = append(out, l[used[i]:used[i]+more]...)
		left -= more
	}
	return out
}
