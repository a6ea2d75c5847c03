package sealed

import (
	"bytes"
	"crypto/ed25519"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

type said struct{ Name string }

func file(t testing.TB, body []byte, key ed25519.PrivateKey) []byte {
	var b bytes.Buffer
	w, err := NewWriter(&b, "test", said{"head"}, key)
	require.NoError(t, err)
	for rest := body; len(rest) > 0; { // in pieces of all sizes
		n := min(len(rest), 1+rand.IntN(2*MaxBlock))
		_, err := w.Write(rest[:n])
		require.NoError(t, err)
		rest = rest[n:]
	}
	require.NoError(t, w.Close(said{"end"}))
	return b.Bytes()
}

// What was written comes back, signed or not, whatever its length.
func TestSealed_ComesBack(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	for _, n := range []int{0, 1, MaxBlock - 1, MaxBlock, MaxBlock + 1, 3*MaxBlock + 7} {
		body := bytes.Repeat([]byte("alcove "), n/7+1)[:n]
		for _, k := range []ed25519.PrivateKey{nil, key} {
			r, err := NewReader(bytes.NewReader(file(t, body, k)), "test")
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.True(t, bytes.Equal(body, got))
			var head, end said
			require.NoError(t, r.Note(&head))
			require.NoError(t, r.Trailer(&end))
			require.Equal(t, []said{{"head"}, {"end"}}, []said{head, end})
		}
	}
	_, err = Check(bytes.NewReader(file(t, []byte("x"), key)), "test", pub)
	require.NoError(t, err)
	_, err = Check(bytes.NewReader(file(t, []byte("x"), nil)), "test", pub)
	require.ErrorIs(t, err, ErrSignature)
	_, err = Check(bytes.NewReader(file(t, []byte("x"), key)), "other", nil)
	require.ErrorIs(t, err, ErrBroken)
}

// Every byte counts: one flipped bit anywhere, a cut anywhere and a byte too many are
// refused, in a signed file and in one that is not.
func TestSealed_EveryByteCounts(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	for _, k := range []ed25519.PrivateKey{nil, key} {
		b := file(t, []byte("one block of a body"), k)
		for i := range b {
			flipped := bytes.Clone(b)
			flipped[i] ^= 1 << (i % 8)
			_, err := Check(bytes.NewReader(flipped), "test", nil)
			require.Error(t, err, "byte %d of %d", i, len(b))
			_, err = Check(bytes.NewReader(b[:i]), "test", nil)
			require.ErrorIs(t, err, ErrBroken, "cut at %d of %d", i, len(b))
		}
		_, err := Check(bytes.NewReader(append(bytes.Clone(b), 0)), "test", nil)
		require.ErrorIs(t, err, ErrBroken)
	}
}

// No bytes make the reader panic, take memory that is not there, or be taken for whole
// unless a writer wrote them.
func FuzzSealed(f *testing.F) {
	f.Add(file(f, []byte("body"), nil))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := Check(bytes.NewReader(b), "test", nil); err == nil {
			require.Greater(t, len(b), 32)
		}
	})
}
