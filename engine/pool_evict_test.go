package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
)

// touch loads a base, or uses the one that is there, and lets go of it.
func touch(t *testing.T, v *enginetest.Env, kb string) {
	t.Helper()
	_, release := pin(t, v, kb)
	release()
}

// loads reports how many bases are loaded when f is done that were not before.
func loads(v *enginetest.Env, f func()) int64 {
	before := v.Stats().Loads
	f()
	return v.Stats().Loads - before
}

// A pinned base stays though it was used least recently, and where only pinned ones
// could go, who asks for another is told so.
func TestPool_Pinned(t *testing.T) {
	v, _ := poolOf(t, engine.Options{MaxOpen: 2, Pinned: []engine.Pin{{Tenant: enginetest.Tenant, KB: "a"}}}, "a", "b", "c")
	touch(t, v, "a")
	touch(t, v, "b")
	touch(t, v, "c")
	require.EqualValues(t, 1, v.Stats().Pinned)
	require.Zero(t, loads(v, func() { touch(t, v, "a"); touch(t, v, "c") }))
	engine.LimitBytes(v.Engine, 1)
	touch(t, v, "c") // goes when it is let go of
	require.EqualValues(t, 1, v.Stats().Open)
	_, _, err := engine.Acquire(ctx, v.Engine, space(v, "b"))
	require.ErrorIs(t, err, engine.ErrBusy)
	require.EqualValues(t, 1, v.Stats().Refused)
}

// A pin is of one tenant's base, not of all of that name.
func TestPool_PinnedOfATenant(t *testing.T) {
	v, _ := poolOf(t, engine.Options{MaxOpen: 2, Pinned: []engine.Pin{{Tenant: "another", KB: "a"}}}, "a", "b", "c")
	touch(t, v, "a")
	touch(t, v, "b")
	touch(t, v, "c")
	require.Zero(t, v.Stats().Pinned)
	require.EqualValues(t, 1, loads(v, func() { touch(t, v, "a") }))
}

// What nobody asked for in MaxIdle goes; what is held or pinned stays, and what was
// asked for meanwhile.
func TestPool_Idle(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	v, _ := poolOf(t, engine.Options{
		MaxIdle: time.Hour, Now: func() time.Time { return now }, Pinned: []engine.Pin{{Tenant: enginetest.Tenant, KB: "pinned"}},
	}, "pinned", "held", "old", "new")
	_, release := pin(t, v, "held")
	touch(t, v, "pinned")
	touch(t, v, "old")
	touch(t, v, "new")
	now = now.Add(59 * time.Minute)
	touch(t, v, "new")
	engine.DropIdle(v.Engine)
	require.Zero(t, v.Stats().Idle)
	now = now.Add(time.Minute)
	engine.DropIdle(v.Engine)
	require.EqualValues(t, 1, v.Stats().Idle)
	require.Zero(t, v.Stats().Evictions)
	require.EqualValues(t, 1, loads(v, func() { touch(t, v, "pinned"); touch(t, v, "new"); touch(t, v, "old") }))
	release()
}

// Over the byte budget bases first give up what they have only kept from searches,
// and answer as before.
func TestPool_TrimsFirst(t *testing.T) {
	v, _ := poolOf(t, engine.Options{Extractor: &byLines{}}, "a", "b")
	v.Add("a", "said", "entity|Ada|person|A countess\nentity|Babbage|person|An engineer\nrelation|Ada|Babbage|letters|They wrote.|1\n")
	v.Wait()
	engine.Settle(v.Engine)
	ask := func(kb string) *engine.Data {
		d, err := v.KB(kb).QueryData(ctx, engine.Query{Query: "Who wrote to Babbage?", Mode: engine.ModeMix})
		require.NoError(t, err)
		d.Metadata.StagesMS = nil
		return d
	}
	touch(t, v, "b")
	bare := v.Stats().Bytes
	before := ask("a")
	require.Greater(t, v.Stats().Bytes, bare, "nothing was kept")
	engine.LimitBytes(v.Engine, v.Stats().Bytes-1)
	touch(t, v, "b")
	st := v.Stats()
	require.EqualValues(t, 2, st.Open)
	require.Zero(t, st.Evictions)
	require.Positive(t, st.Trims)
	require.LessOrEqual(t, st.Bytes, st.MaxBytes)
	engine.LimitBytes(v.Engine, 1<<30)
	require.Equal(t, before, ask("a"))
	require.EqualValues(t, 2, v.Stats().Loads)
}

// A base that was in memory before is taken to need as much again from the moment its
// load begins, so that many at once do not run over the budget together.
func TestPool_ReservesWhatItTook(t *testing.T) {
	v, _ := poolOf(t, engine.Options{MaxOpen: 2}, "a", "b", "c")
	_, letB := pin(t, v, "b")
	defer letB()
	held := v.Stats().Bytes
	touch(t, v, "a")
	engine.LimitBytes(v.Engine, held) // a goes with the next lease that ends
	touch(t, v, "b")
	require.EqualValues(t, 1, v.Stats().Open)
	engine.LimitBytes(v.Engine, held+1)
	require.Zero(t, loads(v, func() {
		_, _, err := engine.Acquire(ctx, v.Engine, space(v, "a"))
		require.ErrorIs(t, err, engine.ErrBusy)
	}))
	require.Equal(t, held, v.Stats().Bytes)
	engine.LimitBytes(v.Engine, 1<<30)
	touch(t, v, "a")
	require.Greater(t, v.Stats().Bytes, held)
}
