//go:build !windows

package index

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"testing"

	coder "github.com/coder/hnsw"
	"github.com/stretchr/testify/require"
)

// The graph inside coder/hnsw finds what a scan finds, also after deletes.
func TestCoder_FindsWhatAScanFinds(t *testing.T) {
	oneGoroutine(t)
	r := rand.New(rand.NewPCG(50, 50))
	rows, queries := sets["two copies of each"](r, 3000, 32)
	v := settled(t, Options{From: 1000, Backend: Coder}, rows, numbers(len(rows)))
	require.True(t, v.Stats().Graph)
	require.GreaterOrEqual(t, recallOf(t, v, queries, 10, nil), 0.98, "%+v", v.Stats())
	for id := range uint32(600) {
		v.Delete(id * 5)
	}
	require.GreaterOrEqual(t, recallOf(t, v, queries, 10, nil), 0.98)
	for id := range uint32(3000) {
		if id%2 == 0 {
			v.Delete(id)
		}
	}
	v.Settle()
	require.GreaterOrEqual(t, recallOf(t, v, queries, 10, nil), 0.98)
}

// What Export writes is a graph that the library itself takes, under ids.
func TestExport_IsReadByCoder(t *testing.T) {
	r := rand.New(rand.NewPCG(51, 51))
	rows := many(600, func() []float32 { return latent(r, 16) })
	ids := numbers(600)
	for i := range ids {
		ids[i] += 7000
	}
	v := settled(t, Options{From: 100}, rows, ids)
	var b bytes.Buffer
	require.NoError(t, v.Export(&b))
	g := coder.NewGraph[uint32]()
	require.NoError(t, g.Import(bufio.NewReader(&b)))
	require.Equal(t, v.view.Load().walk.graph().n, g.Len())
	x, ok := g.Lookup(7003)
	require.True(t, ok)
	want, _ := v.Vector(7003)
	require.Equal(t, want, x)
}

// A panic of the library is an error, and the search scans.
func TestCoder_PanicIsAScan(t *testing.T) {
	r := rand.New(rand.NewPCG(52, 52))
	rows := many(3000, func() []float32 { return latent(r, 16) })
	v := settled(t, Options{From: 1000, Backend: Coder}, rows, numbers(len(rows)))
	c := v.view.Load().walk.(*coderGraph)
	c.g.Distance = func(a, b []float32) float32 { panic("as coder/hnsw does") }
	require.Equal(t, 1., recallOf(t, v, rows[:20], 10, nil))
	s := new(scratch)
	require.True(t, s.takes(&v.view.Load().rowStore, rows[0]))
	_, err := c.near(s, 10)
	require.ErrorIs(t, err, errCoder)
}
