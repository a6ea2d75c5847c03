package index

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A graph comes when the space has been left alone, vectors that go on changing are
// scanned and cost no link, and so many that a scan is slow are linked all the same.
func TestTend_Rests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 1))
		v := NewVectors(16, Options{From: 100, Rest: time.Minute})
		defer v.Close()
		v.Tend()
		set := func(from, n int) {
			for i := from; i < from+n; i++ {
				require.NoError(t, v.Set(uint32(i), randomVector(r, 16)))
			}
		}
		settled := func() Stats {
			synctest.Wait()
			v.Settle()
			return v.Stats()
		}
		set(0, 400)
		require.False(t, settled().Graph)
		time.Sleep(40 * time.Second)
		set(0, 10) // the rest begins again
		time.Sleep(40 * time.Second)
		require.False(t, settled().Graph)
		time.Sleep(21 * time.Second)
		s := settled()
		require.True(t, s.Graph)
		require.Zero(t, s.Tail)

		// What is replaced again and again is never linked, and what is gone is cleared
		// away without a graph.
		for range 5 {
			set(0, 300)
			time.Sleep(10 * time.Second)
		}
		s = settled()
		require.Less(t, s.Gone, 400)
		require.False(t, s.Graph)
		time.Sleep(time.Minute)
		s = settled()
		require.True(t, s.Graph)
		require.Zero(t, s.Tail)

		set(1000, restlessTimes*100+batchRows)
		require.Less(t, settled().Tail, restlessTimes*100+batchRows)
	})
}

// Whoever links gives way before each vector, and is done when nobody holds it up.
func TestTend_Pauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 2))
		var held atomic.Bool
		var paused atomic.Int64
		v := NewVectors(16, Options{From: 100, Pause: func() {
			paused.Add(1)
			for held.Load() {
				time.Sleep(time.Millisecond)
			}
		}})
		defer v.Close()
		held.Store(true)
		v.Tend()
		for i := range uint32(400) {
			require.NoError(t, v.Set(i, randomVector(r, 16)))
		}
		time.Sleep(time.Minute)
		require.False(t, v.Stats().Graph)
		hits, err := v.Search(randomVector(r, 16), 5, nil, nil)
		require.NoError(t, err)
		require.Len(t, hits, 5, "searches do not wait for it")

		held.Store(false)
		v.Settle()
		require.True(t, v.Stats().Graph)
		require.GreaterOrEqual(t, paused.Load(), int64(99), "a graph is made of a hundred at the least")
	})
}
