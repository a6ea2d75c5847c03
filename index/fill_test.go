package index

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Fill leaves what Set does one by one, to the bit, and refuses what Set refuses without
// a change.
func TestVectors_Fill(t *testing.T) {
	r := rand.New(rand.NewPCG(40, 40))
	for _, o := range []Options{{}, {Compact: true}, {Backend: Exact}} {
		const dim = 70
		a, b := NewVectors(dim, o), NewVectors(dim, o)
		next := uint32(0)
		for _, n := range []int{0, 1, 15, 2, 700, 300} {
			var ids []uint32
			var rows []float32
			for range n {
				x := randomVector(r, dim)
				require.NoError(t, a.Set(next*3, x))
				ids, rows = append(ids, next*3), append(rows, x...)
				next++
			}
			require.NoError(t, b.Fill(ids, rows))
		}
		q := randomVector(r, dim)
		for id := range next * 3 {
			x, ok := a.Similarity(q, id)
			y, also := b.Similarity(q, id)
			require.Equal(t, ok, also)
			require.Equal(t, x, y)
		}
		less := func(a, b uint32) bool { return a < b }
		want, err := a.Search(q, 50, nil, less)
		require.NoError(t, err)
		got, err := b.Search(q, 50, nil, less)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, a.Len(), b.Len())

		fine := func() []float32 { return randomVector(r, dim) }
		require.ErrorIs(t, b.Fill([]uint32{3}, fine()), ErrID)
		require.ErrorIs(t, b.Fill([]uint32{9000, 9000}, append(fine(), fine()...)), ErrID)
		require.ErrorIs(t, b.Fill([]uint32{MaxID + 1}, fine()), ErrID)
		require.ErrorIs(t, b.Fill([]uint32{9000}, fine()[1:]), ErrDimension)
		require.ErrorIs(t, b.Fill([]uint32{9000, 9001}, append(fine(), make([]float32, dim)...)), ErrZeroVector)
		bad := fine()
		bad[4] = float32(math.Inf(1))
		require.ErrorIs(t, b.Fill([]uint32{9000}, bad), ErrNotFinite)
		require.Equal(t, a.Len(), b.Len())
		require.NoError(t, b.Set(3, fine()), "and it can be changed as before")
		require.True(t, b.Delete(0))
	}
}
