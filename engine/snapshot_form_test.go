package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/flat"
)

// A snapshot holds what analyse, nameKey, EntityID and print made of texts: one that was
// stored by a program in which these make something else must not be read. Whoever
// changes them raises snapshotForm and writes the new sum beside it.
func TestSnapshot_Form(t *testing.T) {
	const form, sum = 1, "a6d7036d40229c0d"
	text, err := os.ReadFile("testdata/form.txt")
	require.NoError(t, err)
	h := sha256.New()
	names := []string{"Ada Lovelace", "the analytical engine", "Mr. O'Brien (author)", "東京", "McDonald's", "  Élan vital "}
	for _, body := range []string{string(text), strings.ToLower(string(text)), strings.Repeat(string(text), 3), ""} {
		fmt.Fprintf(h, "%+v\n", analyse("Ada Lovelace, Countess (1815)", []string{"History", "The Engine: plans"}, body, names))
	}
	for _, n := range append(names, strings.Fields(string(text))...) {
		fmt.Fprintf(h, "%q %q %x\n", nameKey(n), EntityID(n), print(n, "said"))
	}
	require.Equal(t, fmt.Sprint(form, " ", sum), fmt.Sprint(snapshotForm, " ", hex.EncodeToString(h.Sum(nil)[:8])))
}

// Bytes with the right checksum that are no copy are refused, or make one that can be
// read.
func FuzzReadGraphOfCopy(f *testing.F) {
	build := func() *resident {
		r := newResident(4, true, (&Options{}).vectorOptions())
		said := contribution{Entities: []EntityMention{{Name: "Ada", Type: "person", Description: "x"}}, Relations: []RelationMention{{Source: "Ada", Target: "Babbage", Weight: 1}}}
		for i := range 3 {
			p := preparedDoc{doc: &residentDoc{version: version{doc: docKey{byte(i + 1)}, gen: 1}, id: fmt.Sprint("d", i), metadata: map[string]any{"a": "b", "n": 1.5}}}
			c := preparedChunk{vector: []float32{1, 2, 3, float32(i)}, said: said, analysis: analyse("", nil, "Ada wrote to Babbage.", nil)}
			c.resolve(noHand)
			p.chunks = []preparedChunk{c}
			if err := r.apply(p); err != nil {
				panic(err)
			}
		}
		r.remove(docKey{2})
		return r
	}
	whole := build()
	f.Add(whole.encodeDocuments(nil), whole.encodeGraph(nil))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, docs, given []byte) {
		r := newResident(4, true, whole.vectors)
		in := flat.NewReader(docs)
		if _, err := r.readDocuments(in); err != nil {
			require.ErrorIs(t, err, flat.ErrDamaged)
			r = build()
		}
		in = flat.NewReader(given)
		if err := r.readGraph(in); err != nil {
			require.ErrorIs(t, err, flat.ErrDamaged)
			return
		}
		for id := range r.entities {
			if r.liveEntity(uint32(id)) {
				r.entityName(uint32(id))
			}
		}
	})
}
