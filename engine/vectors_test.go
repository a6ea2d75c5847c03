package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/builtin"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// A base of many vectors gets a graph behind its searches, which the next to open
// it finds stored; a damaged one is not seen by anybody but the log. None of it is in
// the canonical dump.
func TestVectors_GraphIsKeptAndOnlyACache(t *testing.T) {
	o := engine.Options{VectorGraphFrom: 150, VectorGraphRest: 1, Embedder: builtin.Embedder(), ChunkTokens: 40, ChunkOverlap: 1}
	v := enginetest.New(t, o)
	v.KB("big")
	var b strings.Builder
	for i := range 400 {
		fmt.Fprintf(&b, "Paragraph %d tells of harbour %d, of the keeper %d of its lighthouse and of what he wrote in year %d to the council of the %dth town.\n\n", i, i*7%101, i*13%97, 1700+i, i%29)
	}
	v.Add("big", "book", b.String())
	v.Wait()
	dump := v.Dump("big")
	s := v.Space(enginetest.Tenant, "big", tenancy.PermKBManage)
	ask := func() []string {
		a, err := v.KB("big").QueryData(ctx, engine.Query{Query: "What did the keeper of harbour 42 write?", Mode: engine.ModeNaive})
		require.NoError(t, err)
		var out []string
		for _, c := range a.Data.Chunks {
			out = append(out, c.Content)
		}
		require.NotEmpty(t, out)
		return out
	}
	want := ask() // a scan, or a walk if it was quick: the nearest are the same here
	stats, err := engine.SettleVectors(v.Engine, s)
	require.NoError(t, err)
	require.True(t, stats.Graph, "%+v", stats)
	require.Equal(t, want, ask())
	blocks, err := engine.GraphBlocks(s, nil)
	require.NoError(t, err)
	require.Positive(t, blocks)
	require.Equal(t, dump, v.Dump("big"))
	require.Positive(t, v.Stats().Bytes)

	v.Restart()
	s = v.Space(enginetest.Tenant, "big", tenancy.PermKBManage)
	ask()
	restored, err := engine.SettleVectors(v.Engine, s)
	require.NoError(t, err)
	require.Equal(t, stats, restored)
	require.Zero(t, v.Stats().Graphs, "it was read, not made")

	n, err := engine.GraphBlocks(s, func(_ int, b []byte) []byte { b[len(b)/2] ^= 4; return b })
	require.NoError(t, err)
	require.Equal(t, blocks, n)
	v.Restart()
	s = v.Space(enginetest.Tenant, "big", tenancy.PermKBManage)
	require.Equal(t, want, ask())
	again, err := engine.SettleVectors(v.Engine, s)
	require.NoError(t, err)
	require.True(t, again.Graph, "made anew")
	require.EqualValues(t, 1, v.Stats().Graphs)
	v.Check()
}

// A way to search that there is not is refused at the start.
func TestOptions_VectorIndex(t *testing.T) {
	v := enginetest.New(t, engine.Options{})
	o := v.Options
	o.Store, o.VectorIndex = v.Store, "faiss"
	_, err := engine.New(o)
	require.ErrorContains(t, err, `VectorIndex: index: no such vector index: "faiss" is not own, coder or exact`)
}
