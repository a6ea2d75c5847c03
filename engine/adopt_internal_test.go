package engine

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What is stored of an adopted document reads back as it was, and damage is noticed
// or harmless: every cut and every byte changed.
func TestAdopted_Damage(t *testing.T) {
	a := Adoption{ID: "a", Text: "Ada wrote. Babbage built.", EmbeddedBy: "m", Chunks: []AdoptedChunk{
		{Text: "Ada wrote.", End: 10, Vector: []float32{1, 2}, Said: Extraction{Entities: []EntityMention{{Name: "Ada", Type: "person", Description: "She wrote."}}}},
		{Text: "Babbage built.", Start: 11, End: 25},
	}}
	b := a.encode()
	got, err := readAdopted(b)
	require.NoError(t, err)
	require.Equal(t, a.Text, got.text)
	require.Equal(t, []string{string(encodeVector([]float32{1, 2})), ""}, got.vectors)
	require.Equal(t, "Babbage built.", got.chunks[1].Text)
	require.Equal(t, []EntityMention{{Name: "Ada", Type: "person", Description: "She wrote."}}, got.said[0].Entities)
	for n := range b {
		_, err := readAdopted(b[:n])
		require.ErrorIs(t, err, ErrDamaged, n)
		for bit := range 8 {
			c := append([]byte(nil), b...)
			c[n] ^= 1 << bit
			if got, err := readAdopted(c); err == nil {
				for _, x := range got.chunks {
					require.True(t, 0 <= x.Start && x.Start <= x.End && x.End <= len(got.text))
				}
			}
		}
	}
}
