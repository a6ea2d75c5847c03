package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
)

// Each kind of likeness is found, and what only looks alike is not.
func TestDuplicates_Kinds(t *testing.T) {
	v := enginetest.New(t, engine.Options{})
	kb := v.KB("k")
	for _, name := range []string{
		"Ada Lovelace", "Lovelace, Ada", "Charles Babbage", "C. Babbage", "Babbage", "Analytical Engine", "Analitical Engine",
		"International Business Machines", "IBM", "database", "data base", "Edition 2", "Edition 3", "Turin", "Menabrea", "Acme (company)", "ACME",
	} {
		_, err := kb.CreateEntity(ctx, name, engine.EntityEdit{})
		require.NoError(t, err)
	}
	d, err := kb.Duplicates(ctx, 0)
	require.NoError(t, err)
	got := map[string]string{}
	for i, p := range d.Pairs {
		got[strings.Join(p.Entities[:], " = ")] = p.Evidence.NameKind
		require.Nil(t, p.Evidence.Embedding)
		require.InDelta(t, 0.8*p.Evidence.Name+0.2*p.Evidence.Neighbourhood, p.Score, 0.001, "the parts make the score")
		if i > 0 {
			require.LessOrEqual(t, p.Score, d.Pairs[i-1].Score)
		}
	}
	require.Equal(t, map[string]string{
		"Ada Lovelace = Lovelace, Ada": "same words", "C. Babbage = Charles Babbage": "initials", "Babbage = Charles Babbage": "part", "Babbage = C. Babbage": "spelling",
		"Analitical Engine = Analytical Engine": "spelling", "IBM = International Business Machines": "acronym", "data base = database": "same letters",
		"ACME = Acme (company)": "same words",
	}, got)
	require.Equal(t, 17, d.Entities)
	require.False(t, d.Truncated)

	first, err := kb.Duplicates(ctx, 2)
	require.NoError(t, err)
	require.Equal(t, d.Pairs[:2], first.Pairs)
	require.True(t, first.Truncated)
	_, err = kb.Merge(ctx, engine.MergeRequest{Change: []string{"IBM"}, Into: "International Business Machines"})
	require.NoError(t, err)
	d, err = kb.Duplicates(ctx, 500)
	require.NoError(t, err)
	require.Len(t, d.Pairs, 7, "what is one is not suggested")
	for _, limit := range []int{-1, 501} {
		_, err = kb.Duplicates(ctx, limit)
		var f *engine.FieldError
		require.ErrorAs(t, err, &f)
		require.Equal(t, "limit", f.Field)
	}
}

// Neighbours and vectors speak too: of two pairs whose names are as like, the one
// with shared neighbours is first, and two names without a letter in common are
// found where profiles are alike. The order of the documents does not matter.
func TestDuplicates_Evidence(t *testing.T) {
	docs := []string{
		"a", "relation|Augusta King|Babbage|k|countess of letters|1\nrelation|Augusta King|Menabrea|k|countess of letters|1\nentity|Augusta King|person|the enchantress of numbers wrote notes\n",
		"b", "relation|Ada Lovelace|Babbage|k|countess of letters|1\nrelation|Ada Lovelace|Menabrea|k|countess of letters|1\nentity|Ada Lovelace|person|the enchantress of numbers wrote notes\n",
		"c", "relation|Babage|Turin|k|d|1\nrelation|Babbage|Turin|k|d|1\nrelation|Menabrae|London|k|d|1\n",
	}
	var seen []*engine.Duplicates
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}} {
		v := enginetest.New(t, engine.Options{Extractor: &byLines{}, Embedder: served{&enginetest.Embedder{}}})
		for _, i := range order {
			v.Add("k", docs[2*i], docs[2*i+1])
			v.Wait()
		}
		d, err := v.KB("k").Duplicates(ctx, 0)
		require.NoError(t, err)
		seen = append(seen, d)
	}
	require.Equal(t, seen[0], seen[1])
	at := func(name string) int {
		return slices.IndexFunc(seen[0].Pairs, func(d engine.Duplicate) bool { return slices.Contains(d.Entities[:], name) })
	}
	require.NotEqual(t, -1, at("Babage"))
	require.Less(t, at("Babage"), at("Menabrae"))
	ada := at("Augusta King")
	require.NotEqual(t, -1, ada)
	p := seen[0].Pairs[ada]
	require.Contains(t, p.Entities, "Ada Lovelace")
	require.Equal(t, []any{0.0, "", 2, 1.0}, []any{p.Evidence.Name, p.Evidence.NameKind, p.Evidence.SharedNeighbours, p.Evidence.Neighbourhood})
	require.Greater(t, *p.Evidence.Embedding, 0.7)
}

// The cost grows with the names: a block of thousands is not compared all with all.
func TestDuplicates_Bounded(t *testing.T) {
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}})
	var b strings.Builder
	const n = 3000
	for i := range n {
		fmt.Fprintf(&b, "entity|Person %c%c%c%c|person|\n", 'a'+i%26, 'a'+i/26%26, 'a'+i/676%26, 'a'+(i*7)%26)
		if i%100 == 99 {
			v.Add("k", fmt.Sprint("d", i), b.String())
			b.Reset()
		}
	}
	v.Wait()
	d, err := v.KB("k").Duplicates(ctx, 500)
	require.NoError(t, err)
	require.Equal(t, n, d.Entities)
	require.Less(t, d.Compared, n*8*4)
	require.Greater(t, d.Compared, n)
}
