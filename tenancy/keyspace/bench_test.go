package keyspace

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func onDisk(b *testing.B) *DB {
	db, err := Open(small(b.TempDir()))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	return db
}

func noise(n int) []byte {
	v := make([]byte, n)
	rand.New(rand.NewSource(1)).Read(v)
	return v
}

// BenchmarkCommit writes synced records: one or a hundred a closure, by one or
// sixteen writers. ns/op is a closure.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct{ writers, records, size int }{{1, 1, 100}, {16, 1, 100}, {1, 100, 100}, {16, 100, 100}, {1, 100, 2048}, {16, 100, 2048}} {
		b.Run(fmt.Sprintf("writers=%d/records=%d/bytes=%d", c.writers, c.records, c.size), func(b *testing.B) {
			db, value := onDisk(b), noise(c.size)
			var next atomic.Int64
			var all sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range c.writers {
				all.Go(func() {
					for {
						n := next.Add(1)
						if n > int64(b.N) {
							return
						}
						err := db.Commit(ctx, func(tx *Tx) error {
							for i := range c.records {
								rest := binary.BigEndian.AppendUint64(nil, uint64(n)<<16|uint64(i))
								if err := tx.Set(edge, 1, rest, value); err != nil {
									return err
								}
							}
							return nil
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N*c.records)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// benchRecords are 20,000 records of 2 KiB in tables and memtable.
const benchRecords = 20_000

func loaded(b *testing.B) *DB {
	db, value := onDisk(b), noise(2048)
	for from := 0; from < benchRecords; from += 500 {
		require.NoError(b, db.Commit(ctx, func(tx *Tx) error {
			for i := from; i < from+500; i++ {
				if err := tx.Set(edge, 1, binary.BigEndian.AppendUint64(nil, uint64(i)), value); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	return db
}

func BenchmarkGet(b *testing.B) {
	db, r := loaded(b), rand.New(rand.NewSource(1))
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, db.View(func(tx *Tx) error {
			_, err := tx.Get(edge, 1, binary.BigEndian.AppendUint64(nil, uint64(r.Intn(benchRecords))))
			return err
		}))
	}
}

// BenchmarkScan reads a thousand records of 2 KiB an op.
func BenchmarkScan(b *testing.B) {
	db := loaded(b)
	for _, keys := range []bool{false, true} {
		b.Run(fmt.Sprintf("keysOnly=%t", keys), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				require.NoError(b, db.View(func(tx *Tx) error {
					return tx.Scan(edge, 1, Scan{KeysOnly: keys, Limit: 1000}, func(_, _ []byte) error { n++; return nil })
				}))
				require.Equal(b, 1000, n)
			}
			b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "records/s")
		})
	}
}
