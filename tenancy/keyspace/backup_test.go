package keyspace

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"
)

// everything is every record of a snapshot but the format, which a restore changes.
func everything(t testing.TB, db *DB) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, db.View(func(tx *Tx) error {
		it := tx.base.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if k := it.Item().KeyCopy(nil); k[0] != own.Family {
				v, err := it.Item().ValueCopy(nil)
				require.NoError(t, err)
				out[string(k)] = string(v)
			}
		}
		return nil
	}))
	return out
}

// A chain of backups made while writers write, overwrite and delete is, restored, the
// store at the moment of its last one, record by record; deletions that Badger has
// compacted away are no exception. It verifies, and goes on as a store of its own.
func TestBackup_UnderLoad(t *testing.T) {
	ctx := context.Background()
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	for round := range 10 {
		db, err := Open(Options{Dir: t.TempDir()})
		require.NoError(t, err)
		write := func(r *rand.Rand, family uint64) error {
			return db.Commit(ctx, func(tx *Tx) error {
				for range 1 + r.IntN(20) {
					ns, rest := Namespace{'d', family}, []byte(fmt.Sprint(r.IntN(300)))
					if r.IntN(3) == 0 {
						if err := tx.Delete(ns, 1, rest); err != nil {
							return err
						}
						continue
					}
					if err := tx.Set(ns, 1, rest, bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(2000))); err != nil {
						return err
					}
				}
				return nil
			})
		}
		var chain []io.Reader
		since, last := uint64(0), map[string]string(nil)
		for i := range 4 {
			stop := make(chan struct{})
			var writers sync.WaitGroup
			for w := range 3 {
				writers.Go(func() {
					r := rand.New(rand.NewPCG(seed, uint64(100*round+10*i+w)))
					for range 200 {
						select {
						case <-stop:
							return
						default:
						}
						require.NoError(t, write(r, uint64(w)))
					}
				})
			}
			var b bytes.Buffer
			if i == 3 { // the last one is compared: nobody writes between it and the look
				close(stop)
				writers.Wait()
				require.NoError(t, db.badger.Flatten(2))
				last = everything(t, db)
			}
			got, err := db.Backup(ctx, &b, since)
			require.NoError(t, err)
			require.Equal(t, i == 0, got.Records == got.Changed && since == 0)
			chain, since = append(chain, &b), got.Upto
			if i < 3 {
				close(stop)
				writers.Wait()
			}
		}
		dir := t.TempDir()
		require.NoError(t, Restore(ctx, Options{Dir: dir}, chain))
		again, err := Open(Options{Dir: dir})
		require.NoError(t, err)
		require.Equal(t, last, everything(t, again))
		all, err := again.Namespaces(ctx)
		require.NoError(t, err)
		for _, ns := range all {
			require.NoError(t, again.Verify(ctx, ns))
		}
		require.Equal(t, db.StoreID(), again.StoreID())
		require.NotEqual(t, db.Epoch(), again.Epoch())
		require.NoError(t, again.Close())
		require.NoError(t, db.Close())
	}
}

// A backup that is cut, out of its place in the chain, or of a store that is damaged is refused.
func TestBackup_Refused(t *testing.T) {
	ctx := context.Background()
	db, err := Open(Options{Dir: t.TempDir()})
	require.NoError(t, err)
	defer db.Close()
	set := func(key, value string) {
		require.NoError(t, db.Commit(ctx, func(tx *Tx) error { return tx.Set(Namespace{'d', 1}, 1, []byte(key), []byte(value)) }))
	}
	set("a", "one")
	var all, more bytes.Buffer
	b, err := db.Backup(ctx, &all, 0)
	require.NoError(t, err)
	set("b", "two")
	_, err = db.Backup(ctx, &more, b.Upto)
	require.NoError(t, err)
	restore := func(files ...[]byte) error {
		var chain []io.Reader
		for _, f := range files {
			chain = append(chain, bytes.NewReader(f))
		}
		return Restore(ctx, Options{Dir: t.TempDir()}, chain)
	}
	require.NoError(t, restore(all.Bytes(), more.Bytes()))
	require.ErrorIs(t, restore(more.Bytes()), ErrNotBackup)
	for i := range all.Bytes() {
		if i%7 == 0 {
			require.Error(t, restore(all.Bytes()[:i]), "cut at %d", i)
		}
	}
	_, err = db.Backup(ctx, io.Discard, b.Upto+1000)
	require.ErrorIs(t, err, ErrNotFound)
	key, stored := seal(appendKey(nil, Namespace{'d', 1}, 1, []byte("a")), []byte("one"))
	stored[len(stored)-1] ^= 1
	require.NoError(t, db.badger.Update(func(txn *badger.Txn) error { return txn.Set(key, stored) }))
	_, err = db.Backup(ctx, io.Discard, 0)
	require.ErrorIs(t, err, ErrDamaged)
	require.NoError(t, db.badger.Update(func(txn *badger.Txn) error { return txn.Delete(key) }))
	_, err = db.Backup(ctx, io.Discard, 0)
	require.ErrorIs(t, err, ErrDamaged, "a record that is missing")
}
