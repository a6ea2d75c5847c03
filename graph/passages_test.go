package graph

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever came and went, the links are those of the passages that are there,
// seen alike from both ends.
func TestPassages_LinksAreThoseOfWhatIsThere(t *testing.T) {
	const seed = 21
	rnd := rand.New(rand.NewPCG(seed, 1))
	p := NewPassages()
	there := map[uint32]map[string]Link{}
	for step := range 800 {
		id := uint32(rnd.IntN(30))
		if rnd.IntN(3) == 0 {
			p.Remove(id)
			delete(there, id)
		} else {
			var links []Link
			merged := map[string]Link{}
			for range rnd.IntN(8) {
				l := Link{Key: fmt.Sprint("name ", rnd.IntN(25)), Subject: Subject(rnd.IntN(3))}
				for s := range uint16(6) {
					if rnd.IntN(3) == 0 {
						l.Sentences = append(l.Sentences, s)
					}
				}
				links = append(links, l)
				m := merged[l.Key]
				m.Key, m.Subject = l.Key, max(m.Subject, l.Subject)
				m.Sentences = append(slices.Clone(m.Sentences), l.Sentences...)
				slices.Sort(m.Sentences)
				m.Sentences = slices.Compact(m.Sentences)
				merged[l.Key] = m
			}
			p.Add(id, links)
			there[id] = merged
		}
		if step%25 != 0 {
			continue
		}
		names := map[string]map[uint32]Subject{}
		for id, links := range there {
			require.Len(t, p.NamesOf(id), len(links), "step %d, seed %d", step, seed)
			for _, l := range p.NamesOf(id) {
				want := links[p.Key(l.Name)]
				require.Equal(t, want.Subject, l.Subject)
				require.True(t, slices.Equal(want.Sentences, p.SentencesOf(id, l)), "step %d, seed %d", step, seed)
			}
			for k, l := range links {
				if names[k] == nil {
					names[k] = map[uint32]Subject{}
				}
				names[k][id] = l.Subject
			}
		}
		require.Equal(t, len(names), p.Names())
		for k, want := range names {
			n, ok := p.Lookup(k)
			require.True(t, ok)
			require.Equal(t, len(want), p.Count(n))
			got := map[uint32]Subject{}
			for _, l := range p.PassagesOf(n) {
				got[l.ID] = l.Subject
			}
			require.Equal(t, want, got)
		}
		require.Empty(t, p.NamesOf(99))
	}
	for id := range there {
		p.Remove(id)
	}
	require.Zero(t, p.Bytes())
	require.Zero(t, p.Names())
}

func TestSubject_Weight(t *testing.T) {
	require.Equal(t, []float64{0, 0.5, 1}, []float64{NotSubject.Weight(), PartSubject.Weight(), FullSubject.Weight()})
}
