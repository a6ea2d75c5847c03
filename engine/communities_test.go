package engine_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
)

// made asks for communities until they are there.
func made(t *testing.T, kb *engine.KB) *engine.Communities {
	t.Helper()
	for {
		c, err := kb.MakeCommunities(ctx)
		require.NoError(t, err)
		if c.Status == engine.CommunitiesReady {
			return c
		}
		runtime.Gosched()
	}
}

// circle is a document whose entities all know each other.
func circle(names ...string) string {
	var b strings.Builder
	for i, a := range names {
		for _, c := range names[i+1:] {
			fmt.Fprintf(&b, "relation|%s|%s|friends|They met.|1\n", a, c)
		}
	}
	return b.String()
}

// Communities are those of the graph as it is, whatever its history; they are
// stale when it has changed, and then nothing is shown that was deleted.
func TestCommunities(t *testing.T) {
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}})
	docs := []string{"a", circle("Ada", "Babbage", "Menabrea", "Turin"), "b", circle("Curie", "Paris", "Radium"), "c", "relation|Ada|Curie|letters|They wrote.|1\n"}
	v.Add("k", docs...)
	v.Add("other", docs[4], docs[5], docs[2], docs[3], docs[0], docs[1])
	v.Wait()
	kb := v.KB("k")
	c, err := kb.Communities(ctx, engine.CommunitiesRequest{})
	require.NoError(t, err)
	require.Equal(t, &engine.Communities{Status: engine.CommunitiesNone, Communities: []engine.CommunityShown{}}, c)

	c = made(t, kb)
	require.Equal(t, 2, c.Count)
	require.Positive(t, c.Modularity)
	var names [][]string
	for _, x := range c.Communities {
		var l []string
		for _, m := range x.Members {
			l = append(l, m.Label)
		}
		names = append(names, l)
	}
	require.Equal(t, [][]string{{"Ada", "Babbage", "Menabrea", "Turin"}, {"Curie", "Paris", "Radium"}}, names)
	require.Equal(t, []int{6, 3}, []int{c.Communities[0].Relations, c.Communities[1].Relations})
	require.Equal(t, c, made(t, v.KB("other")), "another history of the same graph")

	_, err = kb.Delete(ctx, []string{"b"}, false)
	require.NoError(t, err)
	c, err = kb.Communities(ctx, engine.CommunitiesRequest{})
	require.NoError(t, err)
	require.Equal(t, engine.CommunitiesStale, c.Status)
	require.Equal(t, []engine.GraphLabel{{Label: "Curie", Degree: 1}}, c.Communities[1].Members, "Paris and Radium are gone")
	size := 0
	for _, x := range made(t, kb).Communities {
		size += x.Size
	}
	require.Equal(t, 5, size, "made again without them")
}

// What is under way ends with the copy in memory, and a base that was deleted or a
// server that is closed does not wait for it.
func TestCommunities_EndWithTheCopy(t *testing.T) {
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}, MaxOpen: 1})
	v.Add("k", "a", circle("Ada", "Babbage", "Menabrea"))
	v.Add("other", "a", "text")
	v.Wait()
	release := engine.HoldCommunities(v.Engine)
	kb := v.KB("k")
	c, err := kb.MakeCommunities(ctx)
	require.NoError(t, err)
	require.Equal(t, engine.CommunitiesRunning, c.Status)
	require.True(t, c.Running)
	c, err = kb.MakeCommunities(ctx)
	require.NoError(t, err)
	require.True(t, c.Running, "and not begun twice")
	_, err = v.KB("other").Labels(ctx, "", 0, nil) // takes the only place in memory
	require.NoError(t, err)
	c, err = kb.Communities(ctx, engine.CommunitiesRequest{})
	require.NoError(t, err)
	require.Equal(t, engine.CommunitiesNone, c.Status)
	_, err = kb.MakeCommunities(ctx)
	require.NoError(t, err)
	v.Stop() // returns although nobody lets go
	release()
}
