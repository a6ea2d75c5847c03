package engine

import (
	"math"
	"math/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Public chunk ids come back as what they were made of, and nothing else passes
// for one.
func TestChunkID(t *testing.T) {
	for _, x := range []struct {
		doc string
		ord uint32
	}{{"a", 0}, {"doc-1", 7}, {"x-chunk-001", 1234}, {strings.Repeat("z", 255), 1<<32 - 1}} {
		doc, ord, ok := parseChunkID(chunkID(x.doc, x.ord))
		require.True(t, ok)
		require.Equal(t, x.doc, doc)
		require.Equal(t, x.ord, ord)
	}
	for _, id := range []string{"", "a", "-chunk-001", "a-chunk-", "a-chunk-1", "a-chunk-0001", "a-chunk-x01", "a-chunk--01", "a-chunk-99999999999"} {
		_, _, ok := parseChunkID(id)
		require.False(t, ok, id)
	}
}

func FuzzParseChunkID(f *testing.F) {
	f.Add("doc-chunk-000")
	f.Add("a-chunk-b-chunk-12")
	f.Fuzz(func(t *testing.T, id string) {
		if doc, ord, ok := parseChunkID(id); ok {
			require.Equal(t, id, chunkID(doc, ord))
		}
	})
}

// Records come back as they were; whatever else is read is an error, not a panic.
func TestRecords_RoundTrip(t *testing.T) {
	c := chunkRecord{Text: "x\x00é", Start: 1, End: 9, Tokens: 2, Place: Place{Page: 3}, Heading: []string{"", "b"}}
	got, err := decodeChunk(c.encode())
	require.NoError(t, err)
	require.Equal(t, c, got)
	said := contribution{
		Entities:  []EntityMention{{"Ada", "person", "d"}, {"Ada", "", "d"}},
		Relations: []RelationMention{{"Ada", "Babbage", "k", "d", 1.5}},
	}
	back, err := decodeContribution(said.encode())
	require.NoError(t, err)
	require.Equal(t, said, back)
	v := []float32{1, -2.5, 0}
	vec, err := decodeVector(encodeVector(v))
	require.NoError(t, err)
	require.Equal(t, v, vec)
}

// A stored profile points where the vector did: no number is off by more than half
// a step, and it takes a byte for each.
func TestProfileRecord(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for _, dim := range []int{1, 2, 384, 1024} {
		for _, scale := range []float64{1e-30, 1, 1e30} {
			v := make([]float32, dim)
			for i := range v {
				v[i] = float32(r.NormFloat64() * scale)
			}
			b := encodeProfile(v)
			require.Len(t, b, profileBytes(dim))
			got, err := decodeProfile(b)
			require.NoError(t, err)
			n, top := length(v), 0.0
			for _, x := range v {
				top = max(top, math.Abs(float64(x))/n)
			}
			for i, x := range v {
				require.InDelta(t, float64(x)/n, got[i], top/127*0.5001)
			}
		}
	}
	_, err := decodeProfile(make([]byte, profileBytes(0)))
	require.ErrorIs(t, err, ErrDamaged)
}

func FuzzDecodeRecords(f *testing.F) {
	c := chunkRecord{Text: "text", End: 4, Tokens: 1, Heading: []string{"h"}}
	f.Add(c.encode())
	said := contribution{Entities: []EntityMention{{"A", "t", "d"}}, Relations: []RelationMention{{"A", "B", "k", "d", 1}}}
	f.Add(said.encode())
	f.Add([]byte{1, 255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := decodeChunk(b); err == nil {
			again, err := decodeChunk(c.encode())
			require.NoError(t, err)
			require.Equal(t, c, again)
		} else {
			require.ErrorIs(t, err, ErrDamaged)
		}
		if said, err := decodeContribution(b); err == nil {
			// Encoded, not compared: a weight may be NaN.
			_, err := decodeContribution(said.encode())
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, ErrDamaged)
		}
		_, _ = decodeVector(b)
		_, _ = decodeProfile(b)
	})
}

// What an extractor says is stored only as far as it is fit to be.
func TestContributionOf_BoundsWhatIsStored(t *testing.T) {
	var x Extraction
	for range 2000 {
		x.Entities = append(x.Entities, EntityMention{Name: "A", Description: "d"})
	}
	for i := range 1000 {
		x.Relations = append(x.Relations, RelationMention{Source: "A", Target: "B\xff", Description: strings.Repeat(string(rune('a'+i%20)), 1000+i), Weight: -1})
	}
	c := contributionOf(x)
	require.LessOrEqual(t, len(c.encode()), maxContributionSize)
	require.Len(t, c.Entities, 2000, "relations go first")
	require.NotEmpty(t, c.Relations)
	require.Equal(t, "B\uFFFD", c.Relations[0].Target)
	require.Equal(t, 1.0, c.Relations[0].Weight)
}
