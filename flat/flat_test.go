package flat

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What was written is read, whatever its size, and nothing else is.
func TestReader_ReadsWhatWasWritten(t *testing.T) {
	var b []byte
	numbers := []uint64{0, 1, 127, 128, 1 << 20, math.MaxUint64}
	texts := []string{"", "a", strings.Repeat("long ", 5000), "é", "b"}
	for _, n := range numbers {
		b = AppendFixed(AppendUint(b, n), n)
	}
	for range 50 {
		for _, s := range texts {
			b = AppendString(b, s)
		}
	}
	b = AppendUint(b, 3)
	b = append(b, "xyz"...)
	sealed := Seal(b)
	got, err := Open(sealed)
	require.NoError(t, err)
	r := NewReader(got)
	for _, n := range numbers {
		require.Equal(t, n, r.Uint())
		require.Equal(t, n, r.Fixed())
	}
	for range 50 {
		for _, s := range texts {
			require.Equal(t, s, r.String())
		}
	}
	require.Equal(t, "xyz", string(r.Bytes(r.Count(1))))
	require.NoError(t, r.End())

	for i := range 64 { // every seventh byte, and every end near the last
		bad := append([]byte(nil), sealed...)
		bad[i*7] ^= 1
		_, err := Open(bad)
		require.ErrorIs(t, err, ErrDamaged)
		_, err = Open(sealed[:len(sealed)-1-i])
		require.ErrorIs(t, err, ErrDamaged)
	}
}

// A fault stays, and what follows it is nothing.
func TestReader_FaultStays(t *testing.T) {
	for name, f := range map[string]func(*Reader){
		"number cut off":   func(r *Reader) { r.Bytes(2); r.Uint() },
		"number too large": func(r *Reader) { r.Below(200) },
		"too many items":   func(r *Reader) { r.Count(1) },
		"fixed cut off":    func(r *Reader) { r.Fixed() },
		"bytes":            func(r *Reader) { r.Bytes(4) },
		"negative":         func(r *Reader) { r.Bytes(-1) },
		"text":             func(r *Reader) { _ = r.String() },
	} {
		r := NewReader([]byte{0xc8, 0x01, 0x80})
		f(r)
		require.ErrorIs(t, r.Err(), ErrDamaged, name)
		require.Zero(t, r.Uint(), name)
		require.Empty(t, r.String(), name)
		require.Zero(t, r.Count(1), name)
		require.ErrorIs(t, r.End(), ErrDamaged, name)
	}
	r := NewReader([]byte{1, 2})
	r.Uint()
	require.ErrorIs(t, r.End(), ErrDamaged, "something is left")
}

// Slices of a slab are apart from each other.
func TestSlab_IsNotShared(t *testing.T) {
	var s Slab[int]
	var all [][]int
	for i := range 3000 {
		x := s.Take(i % 700)
		for j := range x {
			require.Zero(t, x[j])
			x[j] = i
		}
		all = append(all, x)
	}
	for i, x := range all {
		all[i] = append(x, -1)
	}
	for i, x := range all {
		for _, v := range x[:len(x)-1] {
			require.Equal(t, i, v)
		}
		require.Equal(t, -1, x[len(x)-1], fmt.Sprint(i))
	}
}
