package keyspace

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// A key of another namespace that the store gives back, by whatever fault, is counted,
// logged without its content, and not handed out. The fault is put here by asking a
// cursor of one namespace for records of another.
func TestScan_ForeignKeyIsNotHandedOut(t *testing.T) {
	var log bytes.Buffer
	db, err := Open(Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	defer db.Close()
	mine, other := Namespace{'d', 1}, Namespace{'d', 2}
	require.NoError(t, db.Commit(t.Context(), func(tx *Tx) error {
		return tx.Set(other, 'k', []byte("r"), []byte("not yours"))
	}))
	require.NoError(t, db.View(func(tx *Tx) error {
		for _, keysOnly := range []bool{false, true} {
			it := newCursor(tx.base, other, 'k', Scan{})
			var over []*write
			err := db.step(it, &over, bucketID{mine, 'k'}, Scan{KeysOnly: keysOnly}, func(_, _ []byte) error {
				t.Error("a foreign record was handed out")
				return nil
			})
			it.Close()
			require.ErrorIs(t, err, ErrDamaged)
		}
		return nil
	}))
	require.EqualValues(t, 2, db.Stats().Foreign)
	require.Contains(t, log.String(), "isolation violated")
	require.NotContains(t, log.String(), "not yours")
	require.ErrorIs(t, db.mine(bucketID{mine, 'k'}, appendKey(nil, mine, 'l', nil)), ErrDamaged, "another kind is foreign too")
}
