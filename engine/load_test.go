package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// saidBase is a base in the store and not in memory, and what it answers in a mode
// when all of it is.
func saidBase(t *testing.T) (*enginetest.Env, func(context.Context, engine.Mode) (*engine.Data, error)) {
	t.Helper()
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}})
	v.Add("k", "a", "Ada wrote to Babbage in Turin.\nentity|Ada|person|A countess\nentity|Babbage|person|An engineer\nrelation|Ada|Babbage|letters|They wrote.|1\n")
	v.Add("k", "b", "Menabrea met Babbage in Turin.\nentity|Menabrea|person|A general\nrelation|Menabrea|Babbage|talks|They met.|1\n")
	v.Wait()
	return v, func(ctx context.Context, m engine.Mode) (*engine.Data, error) {
		d, err := v.KB("k").QueryData(ctx, engine.Query{Query: "Who wrote to Babbage?", Mode: m})
		if err == nil {
			d.Metadata.StagesMS = nil
		}
		return d, err
	}
}

// A question for passages alone is answered before the graph is there, and as it is
// when everything is; every other one waits, and misses nothing.
func TestLoad_PassagesFirst(t *testing.T) {
	v, ask := saidBase(t)
	want := map[engine.Mode]*engine.Data{}
	for _, m := range []engine.Mode{engine.ModeNaive, engine.ModeMix} {
		d, err := ask(ctx, m)
		require.NoError(t, err)
		want[m] = d
	}
	require.NotEmpty(t, want[engine.ModeMix].Data.Relationships)
	v.Restart()
	release := engine.HoldGraphs(v.Engine)
	d, err := ask(ctx, engine.ModeNaive)
	require.NoError(t, err)
	require.Equal(t, want[engine.ModeNaive], d)
	only, err := engine.ParseFilter([]byte(`{"doc_ids":["b"]}`))
	require.NoError(t, err)
	d, err = v.KB("k").QueryData(ctx, engine.Query{Query: "Who wrote to Babbage?", Mode: engine.ModeNaive, Filter: only})
	require.NoError(t, err)
	require.Len(t, d.Data.Chunks, 1)

	gone, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err = ask(gone, engine.ModeMix)
	require.ErrorIs(t, err, context.DeadlineExceeded, "the graph is not there")
	release()
	for m, w := range want {
		d, err := ask(ctx, m)
		require.NoError(t, err)
		require.Equal(t, w, d, m)
	}
	require.EqualValues(t, 1, v.Stats().Loads)
}

// What came in since the load began is not missed: such a question waits for the rest.
func TestLoad_PassagesOfNow(t *testing.T) {
	v, ask := saidBase(t)
	v.Restart()
	release := engine.HoldGraphs(v.Engine)
	_, err := ask(ctx, engine.ModeNaive)
	require.NoError(t, err)
	_, err = v.KB("k").Delete(ctx, []string{"a"}, false)
	require.NoError(t, err)
	gone, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err = ask(gone, engine.ModeNaive)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	release()
	d, err := ask(ctx, engine.ModeNaive)
	require.NoError(t, err)
	for _, c := range d.Data.Chunks {
		require.NotEqual(t, "a", c.DocID)
	}
}

// What people said of the graph holds before the graph is there: names that were merged
// are read in a question as they are when everything is.
func TestLoad_OtherNamesEarly(t *testing.T) {
	v, ask := saidBase(t)
	_, err := v.KB("k").Merge(ctx, engine.MergeRequest{Change: []string{"Babbage"}, Into: "Menabrea"})
	require.NoError(t, err)
	want, err := ask(ctx, engine.ModeNaive)
	require.NoError(t, err)
	v.Restart()
	release := engine.HoldGraphs(v.Engine)
	defer release()
	got, err := ask(ctx, engine.ModeNaive)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// A base that lacks a contribution is refused in the first step already.
func TestLoad_ShortIsRefused(t *testing.T) {
	v, ask := saidBase(t)
	require.NoError(t, engine.DropContribution(v.Space(enginetest.Tenant, "k", tenancy.PermKBManage)))
	v.Restart()
	release := engine.HoldGraphs(v.Engine)
	defer release()
	for range 2 {
		_, err := ask(ctx, engine.ModeNaive)
		require.True(t, errors.Is(err, engine.ErrDamaged), err)
	}
	require.EqualValues(t, 2, v.Stats().FailedLoads)
	require.NoError(t, v.Store.DeleteKB(ctx, v.Admin, enginetest.Tenant, "k"))
}
