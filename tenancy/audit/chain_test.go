package audit

import (
	"bytes"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var testKey = bytes.Repeat([]byte("k"), 32)

func sealed(t testing.TB, id uint64, n int) ([][]byte, Head) {
	t.Helper()
	c := NewChain(testKey, id, Head{})
	var out [][]byte
	for i := range n {
		seq, b := c.Seal(Record{
			Time: time.Unix(int64(i), 5), Actor: "key:abc", Action: "document_added", ResourceType: "document",
			ResourceID: fmt.Sprint("doc-", i), Details: map[string]string{"kb": "default", "bytes": fmt.Sprint(i)}, Outcome: "success",
		})
		require.EqualValues(t, i+1, seq)
		out = append(out, b)
	}
	return out, c.Head()
}

func verify(id uint64, key []byte, records [][]byte, head Head) error {
	c := NewChain(key, id, Head{})
	for _, b := range records {
		if _, err := c.Check(b); err != nil {
			return err
		}
	}
	return c.End(head)
}

// Every attack on a chain is found, and the first bad record is named.
func TestChain_AttacksAreFound(t *testing.T) {
	const n = 40
	records, head := sealed(t, 7, n)
	other, _ := sealed(t, 8, n)
	require.NoError(t, verify(7, testKey, records, head))

	attacks := map[string]func(r [][]byte, at int) ([][]byte, int){
		"flip a bit": func(r [][]byte, at int) ([][]byte, int) {
			r[at] = bytes.Clone(r[at])
			r[at][(at*31)%len(r[at])] ^= 1 << (at % 8)
			return r, at
		},
		"drop":          func(r [][]byte, at int) ([][]byte, int) { return slices.Delete(r, at, at+1), at },
		"insert a copy": func(r [][]byte, at int) ([][]byte, int) { return slices.Insert(r, at, r[(at+3)%n]), at },
		"swap with next": func(r [][]byte, at int) ([][]byte, int) {
			at = min(at, n-2)
			r[at], r[at+1] = r[at+1], r[at]
			return r, at
		},
		"cut the tail":              func(r [][]byte, at int) ([][]byte, int) { return r[:at], at },
		"another tenant's record":   func(r [][]byte, at int) ([][]byte, int) { r[at] = other[at]; return r, at },
		"replace by a shorter text": func(r [][]byte, at int) ([][]byte, int) { r[at] = r[at][:20]; return r, at },
	}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			for at := range n {
				bad, first := attack(slices.Clone(records), at)
				err := verify(7, testKey, bad, head)
				var b *BreakError
				require.ErrorAs(t, err, &b, "at %d", at)
				require.ErrorIs(t, err, ErrBroken)
				require.EqualValues(t, first+1, b.Seq)
			}
		})
	}
	t.Run("records after the head", func(t *testing.T) {
		more, _ := sealed(t, 7, n+1)
		require.ErrorIs(t, verify(7, testKey, more, head), ErrBroken)
	})
	t.Run("another key", func(t *testing.T) {
		require.ErrorIs(t, verify(7, bytes.Repeat([]byte("x"), 32), records, head), ErrBroken)
	})
	t.Run("whole chains swapped", func(t *testing.T) {
		require.ErrorIs(t, verify(7, testKey, other, head), ErrBroken)
	})
}

// A walk that starts at a kept head goes on where the other stopped.
func TestChain_GoesOnFromHead(t *testing.T) {
	records, head := sealed(t, 1, 10)
	_, half := sealed(t, 1, 5)
	kept, err := DecodeHead(half.Encode())
	require.NoError(t, err)
	c := NewChain(testKey, 1, kept)
	for _, b := range records[5:] {
		_, err := c.Check(b)
		require.NoError(t, err)
	}
	require.NoError(t, c.End(head))
}

// A field over its limit is cut; fields never run into one another.
func TestRecord_EncodingIsCanonical(t *testing.T) {
	long := Record{Actor: strings.Repeat("a", MaxFieldBytes+10), Details: map[string]string{}}
	for i := range MaxDetails + 5 {
		long.Details[fmt.Sprintf("%03d", i)] = strings.Repeat("v", MaxFieldBytes+1)
	}
	got, err := Decode(long.Encode())
	require.NoError(t, err)
	require.Len(t, got.Actor, MaxFieldBytes)
	require.Len(t, got.Details, MaxDetails)
	require.Contains(t, got.Details, "000")

	require.NotEqual(t, Record{Actor: "ab", Action: "c"}.Encode(), Record{Actor: "a", Action: "bc"}.Encode())

	rnd := rand.New(rand.NewSource(1))
	for range 200 {
		r := Record{Seq: rnd.Uint64(), Time: time.Unix(0, rnd.Int63()), Actor: fmt.Sprint(rnd.Int()), Details: map[string]string{}}
		for range rnd.Intn(5) {
			r.Details[fmt.Sprint(rnd.Intn(9))] = fmt.Sprint(rnd.Int())
		}
		got, err := Decode(r.Encode())
		require.NoError(t, err)
		require.Equal(t, r.Fit(), got)
	}
}

// Whatever decodes encodes to the same bytes, and nothing panics.
func FuzzDecode(f *testing.F) {
	records, _ := sealed(f, 1, 3)
	for _, b := range records {
		f.Add(b)
		f.Add(b[:len(b)-32])
	}
	f.Add([]byte{})
	f.Add([]byte{formatV1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		require.Equal(t, b, r.Encode())
		_, err = NewChain(testKey, 1, Head{}).Check(b)
		require.Error(t, err)
	})
}
