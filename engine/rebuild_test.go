package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// What follows from the documents, made wrong in every way, is right again after a
// rebuild; no model was asked, and what was right is left alone.
func TestRebuild(t *testing.T) {
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "Name", nil }}
	v := enginetest.New(t, small(engine.Options{Chatter: chat, Extractor: byChat{chat}}))
	kb := storied(t, v, chat)
	want, answers := v.Dump("old"), retrieved(t, kb, "Who spoke in Turin?")
	s := v.Space(enginetest.Tenant, "old", tenancy.PermKBManage)
	none, err := v.Rebuild(ctx, s)
	require.NoError(t, err)
	require.Equal(t, engine.Rebuilt{Documents: 3}, none)

	require.NoError(t, engine.Disarrange(s))
	faults := 0
	_, err = engine.Check(ctx, v.Store, s, func(string) { faults++ })
	require.NoError(t, err)
	require.Greater(t, faults, 5)
	calls := chat.Calls()
	n, err := v.Rebuild(ctx, s)
	require.NoError(t, err)
	require.Equal(t, 1, n.Counters)
	require.Equal(t, 3, n.Removed)
	require.NotZero(t, n.Mended)
	check(t, v, "old")
	require.Equal(t, calls, chat.Calls())
	require.Equal(t, want, v.Dump("old"))
	require.Equal(t, answers, retrieved(t, kb, "Who spoke in Turin?"))
}
