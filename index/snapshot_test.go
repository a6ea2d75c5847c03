package index

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// settled is a space of rows, by ids, with a graph when it is large enough.
func settled(t testing.TB, o Options, rows [][]float32, ids []uint32) *Vectors {
	t.Helper()
	v := NewVectors(len(rows[0]), o)
	for i, x := range rows {
		require.NoError(t, v.Set(ids[i], x))
	}
	v.Tend()
	v.Settle()
	t.Cleanup(v.Close)
	return v
}

func numbers(n int) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = uint32(i)
	}
	return out
}

func snapshotOf(t testing.TB, v *Vectors) []byte {
	t.Helper()
	var b bytes.Buffer
	ok, err := v.Snapshot(&b)
	require.NoError(t, err)
	require.True(t, ok)
	return b.Bytes()
}

// A snapshot is the graph of a space with the same vectors under other ids, loaded
// in another order; of one that has lost and gained a few; and of no other.
func TestSnapshot_IsOfTheVectors(t *testing.T) {
	const n, dim = 3000, 32
	for _, compact := range []bool{false, true} {
		r := rand.New(rand.NewPCG(30, 30))
		rows, queries := sets["two copies of each"](r, n, dim)
		rows[17] = rows[16] // three and more in a chain
		o := Options{From: 500, Compact: compact}
		v := settled(t, o, rows, numbers(n))
		for id := range uint32(n / 50) { // what is gone is not in the snapshot
			v.Delete(id * 40)
		}
		snap := snapshotOf(t, v)

		load := func(keep func(i int) bool, more int) *Vectors {
			x := NewVectors(dim, o)
			t.Cleanup(x.Close)
			for id, i := range r.Perm(n) {
				if keep(i) {
					require.NoError(t, x.Set(uint32(id), rows[i]))
				}
			}
			for i := range more {
				require.NoError(t, x.Set(uint32(n+i), latent(r, dim)))
			}
			return x
		}
		same := load(func(i int) bool { return i%40 != 0 || i/40 >= n/50 }, 0)
		require.NoError(t, same.Restore(bytes.NewReader(snap)))
		require.True(t, same.Stats().Graph, "at once")
		require.Zero(t, same.Stats().Tail)
		require.GreaterOrEqual(t, recallOf(t, same, queries, 10, nil), 0.98)

		behind := load(func(i int) bool { return i%33 != 5 }, 90)
		require.NoError(t, behind.Restore(bytes.NewReader(snap)))
		require.False(t, behind.Stats().Graph, "what is new is not in it yet")
		require.Equal(t, 1., recallOf(t, behind, queries[:20], 10, nil))
		behind.Tend()
		behind.Settle()
		require.True(t, behind.Stats().Graph)
		require.GreaterOrEqual(t, recallOf(t, behind, queries, 10, nil), 0.98)
		require.Equal(t, behind.Len()-behind.Stats().Tail, int(behind.view.Load().walk.graph().n))

		other := load(func(i int) bool { return i%3 == 0 }, 0)
		require.ErrorIs(t, other.Restore(bytes.NewReader(snap)), ErrSnapshot)
		require.False(t, other.Stats().Graph)
		other.Tend()
		other.Settle()
		require.True(t, other.Stats().Graph, "made anew")

		wrong := NewVectors(dim, Options{From: 500, Compact: !compact})
		for i, x := range rows {
			require.NoError(t, wrong.Set(uint32(i), x))
		}
		require.ErrorIs(t, wrong.Restore(bytes.NewReader(snap)), ErrSnapshot)
	}
}

// Two spaces with one history have one snapshot, and what is restored from it has
// it too.
func TestSnapshot_Repeats(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 31))
	rows, _ := sets["few directions"](r, 2000, 24)
	o := Options{From: 2000}
	a, b := settled(t, o, rows, numbers(2000)), settled(t, o, rows, numbers(2000))
	snap := snapshotOf(t, a)
	require.Equal(t, snap, snapshotOf(t, b))
	c := NewVectors(24, o)
	for i, x := range rows {
		require.NoError(t, c.Set(uint32(i), x))
	}
	require.NoError(t, c.Restore(bytes.NewReader(snap)))
	require.Equal(t, snap, snapshotOf(t, c))
}

// Whatever bit is turned and wherever it is cut, doubled or prolonged: the fault
// is found and the space is as it was.
func TestSnapshot_FindsDamage(t *testing.T) {
	const seed = 32
	r := rand.New(rand.NewPCG(seed, seed))
	rows, _ := sets["clusters"](r, 3000, 16)
	o := Options{From: 500}
	snap := snapshotOf(t, settled(t, o, rows, numbers(len(rows))))
	v := NewVectors(16, o)
	for i, x := range rows {
		require.NoError(t, v.Set(uint32(i), x))
	}
	tries := 1000
	if raced {
		tries = 50
	}
	for i := range tries {
		bad := slices.Clone(snap)
		at := r.IntN(len(bad))
		bad[at] ^= 1 << r.IntN(8)
		require.ErrorIs(t, v.Restore(bytes.NewReader(bad)), ErrSnapshot, "bit in byte %d, try %d, seed %d", at, i, seed)
		at = r.IntN(len(snap))
		require.ErrorIs(t, v.Restore(bytes.NewReader(snap[:at])), ErrSnapshot, "cut at %d, try %d, seed %d", at, i, seed)
		from := r.IntN(len(snap) - at)
		require.ErrorIs(t, v.Restore(bytes.NewReader(slices.Delete(slices.Clone(snap), from, from+at+1))), ErrSnapshot, "%d bytes missing at %d", at+1, from)
	}
	require.ErrorIs(t, v.Restore(bytes.NewReader(append(slices.Clone(snap), 0))), ErrSnapshot)
	require.False(t, v.Stats().Graph)
	require.NoError(t, v.Restore(bytes.NewReader(snap)), "and the sound one is taken")
}

// A snapshot whose checksums are right and whose content is not is refused, or is a
// graph that can be walked.
func TestSnapshot_NonsenseDoesNotPanic(t *testing.T) {
	const seed, n = 34, 500
	r := rand.New(rand.NewPCG(seed, seed))
	rows := many(n, func() []float32 { return randomVector(r, 64) })
	o := Options{From: 1}
	snap := snapshotOf(t, settled(t, o, rows, numbers(n)))
	refused := 0
	for i := range 300 {
		v := NewVectors(64, o)
		for i, x := range rows {
			require.NoError(t, v.Set(uint32(i), x))
		}
		bad := slices.Clone(snap)
		for range 3 {
			bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		}
		if v.Restore(bytes.NewReader(seal(bad))) != nil {
			refused++
			continue
		}
		v.Tend()
		v.Settle() // what no node of it stands for is inserted
		w, s := v.view.Load(), new(scratch)
		require.True(t, s.takes(&w.rowStore, rows[i]))
		_, err := w.walk.near(s, 50)
		require.NoError(t, err, "try %d, seed %d", i, seed)
	}
	require.Positive(t, refused)
	require.Less(t, refused, 300)

	f, err := readFrozen(bytes.NewReader(snap), n)
	require.NoError(t, err)
	up := slices.IndexFunc(numbers(n), func(x uint32) bool { return f.above(x) > 0 && len(f.links(x, 1)) > 0 })
	low := slices.IndexFunc(numbers(n), func(x uint32) bool { return f.above(x) == 0 })
	f.links(uint32(up), 1)[0] = uint32(low)
	require.ErrorIs(t, f.check(), ErrSnapshot, "a link to a node that is not in its layer")
}

// Bytes that are no snapshot are refused, and sound ones of nonsense do not panic.
func FuzzRestore(f *testing.F) {
	r := rand.New(rand.NewPCG(33, 33))
	rows := many(40, func() []float32 { return randomVector(r, 4) })
	o := Options{From: 1}
	snap := snapshotOf(f, settled(f, o, rows, numbers(len(rows))))
	f.Add(snap)
	f.Add(snap[:60])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		v := NewVectors(4, o)
		defer v.Close()
		for i, x := range rows {
			require.NoError(t, v.Set(uint32(i), x))
		}
		err := v.Restore(bytes.NewReader(seal(b)))
		if err != nil {
			require.ErrorIs(t, err, ErrSnapshot)
		}
		hits, err := v.Search(rows[3], 5, nil, nil)
		require.NoError(t, err)
		require.Len(t, hits, 5)
		v.Tend()
		v.Settle()
		_, err = v.Search(rows[3], 5, nil, nil)
		require.NoError(t, err)
	})
}

// seal gives bytes the checksums they should have, as far as they look like a
// snapshot: a fuzzer does not find those.
func seal(b []byte) []byte {
	b = slices.Clone(b)
	if len(b) < snapshotHeader {
		return b
	}
	sum := crc32.Checksum(b[:snapshotHeader-4], castagnoli)
	binary.LittleEndian.PutUint32(b[snapshotHeader-4:], sum)
	for at := snapshotHeader; at+8 <= len(b); {
		n := int(binary.LittleEndian.Uint32(b[at:]))
		if n > len(b)-at-8 {
			break
		}
		sum = crc32.Update(sum, castagnoli, b[at+8:at+8+n])
		binary.LittleEndian.PutUint32(b[at+4:], sum)
		at += 8 + n
	}
	return b
}
