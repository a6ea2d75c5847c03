package engine_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// atLoad is an embedder that is asked for its name when a base is loaded, and
// so can hold a load or make it fail.
type atLoad struct {
	*enginetest.Embedder
	hook atomic.Pointer[func() string]
}

func (e *atLoad) Model() string {
	if f := e.hook.Load(); f != nil {
		return (*f)()
	}
	return e.Embedder.Model()
}

// holdLoads lets loads begin and not end until the gate is open.
func (e *atLoad) holdLoads() *enginetest.Gate {
	g := enginetest.NewGate()
	hold := func() string {
		_ = g.Hold(context.Background(), 0, "")
		return e.Embedder.Model()
	}
	e.hook.Store(&hold)
	return g
}

// poolOf is an engine with a document in each of the bases named, none of them
// in memory.
func poolOf(t *testing.T, o engine.Options, bases ...string) (*enginetest.Env, *atLoad) {
	t.Helper()
	e := &atLoad{Embedder: &enginetest.Embedder{}}
	o.Embedder = e
	v := enginetest.New(t, o)
	for _, b := range bases {
		v.Add(b, "doc", "Ada wrote to Babbage.")
	}
	v.Wait()
	v.Restart()
	return v, e
}

func space(v *enginetest.Env, kb string) *tenancy.Space {
	return v.Space(enginetest.Tenant, kb, tenancy.PermKBAccess)
}

// pin acquires a base that must be had.
func pin(t *testing.T, v *enginetest.Env, kb string) (identity any, release func()) {
	t.Helper()
	identity, release, err := engine.Acquire(ctx, v.Engine, space(v, kb))
	require.NoError(t, err)
	return identity, release
}

// What is in use is never evicted, and no more than MaxOpen are ever there.
func TestPool_KeepsWhatIsInUse(t *testing.T) {
	v, _ := poolOf(t, engine.Options{MaxOpen: 2}, "a", "b", "c", "d")
	a, letA := pin(t, v, "a")
	b, letB := pin(t, v, "b")
	_, _, err := engine.Acquire(ctx, v.Engine, space(v, "c"))
	require.ErrorIs(t, err, engine.ErrBusy)
	_, err = v.KB("c").QueryData(ctx, engine.Query{Query: "Who wrote?"})
	require.ErrorIs(t, err, engine.ErrBusy)

	again, letAgain := pin(t, v, "a")
	require.Same(t, a, again)
	letA()
	letA() // once is enough, twice does no harm
	_, _, err = engine.Acquire(ctx, v.Engine, space(v, "c"))
	require.ErrorIs(t, err, engine.ErrBusy, "another lease is left")
	letAgain()

	_, letC := pin(t, v, "c")
	require.EqualValues(t, 2, v.Stats().Open)
	require.EqualValues(t, 1, v.Stats().Evictions)
	again, letAgain = pin(t, v, "b")
	require.Same(t, b, again, "the one in use stayed")
	letAgain()
	letC()
	letB()

	// Of idle ones the least recently used goes: b was used after c was loaded, but let go of last.
	_, letC = pin(t, v, "c")
	letC()
	_, letD := pin(t, v, "d")
	defer letD()
	_, letAgain = pin(t, v, "c")
	defer letAgain()
	require.EqualValues(t, 2, v.Stats().Open)
	require.EqualValues(t, 4, v.Stats().Loads, "c was not loaded again")
}

// Over the byte budget idle bases go; one that is larger than the budget is
// served alone.
func TestPool_Bytes(t *testing.T) {
	v, _ := poolOf(t, engine.Options{MaxOpenBytes: 1}, "a", "b")
	_, letA := pin(t, v, "a")
	require.Positive(t, v.Stats().Bytes)
	_, _, err := engine.Acquire(ctx, v.Engine, space(v, "b"))
	require.ErrorIs(t, err, engine.ErrBusy)
	letA()
	require.Zero(t, v.Stats().Open)
	require.Zero(t, v.Stats().Bytes)
	_, letB := pin(t, v, "b")
	require.EqualValues(t, 1, v.Stats().Open)
	letB()
}

// The budget counts what a base has grown to, not what it was when it was loaded.
func TestPool_CountsGrowth(t *testing.T) {
	v, _ := poolOf(t, engine.Options{}, "a")
	_, let := pin(t, v, "a")
	before := v.Stats().Bytes
	v.Add("a", "more", long("Name", 50))
	v.Wait()
	_, err := v.KB("a").QueryData(ctx, engine.Query{Query: "Who wrote?"})
	require.NoError(t, err)
	let()
	require.Greater(t, v.Stats().Bytes, before+10_000)
}

// A base is in use from the moment it is asked for, not from when it is loaded: the
// one that loads is not evicted under those who wait for it.
func TestPool_KeepsWhatIsLoading(t *testing.T) {
	v, e := poolOf(t, engine.Options{MaxOpen: 1}, "a", "b")
	gate := e.holdLoads()
	first := make(chan error)
	go func() {
		_, release, err := engine.Acquire(ctx, v.Engine, space(v, "a"))
		if err == nil {
			release()
		}
		first <- err
	}()
	gate.Arrived()
	gone, cancel := context.WithCancel(ctx)
	cancel() // were there room, this would end here and not wait for the gate
	_, _, err := engine.Acquire(gone, v.Engine, space(v, "b"))
	gate.Open()
	require.NoError(t, <-first)
	require.ErrorIs(t, err, engine.ErrBusy)
}

// Bringing a base up to date behind the scenes is a lease of its own: it gives back
// what it took, and neither keeps the base nor gives away a reader's hold.
func TestPool_CatchingUpIsALease(t *testing.T) {
	v, _ := poolOf(t, engine.Options{MaxOpen: 1}, "a", "b")
	_, letA := pin(t, v, "a")
	v.Add("a", "more", "Grace met Howard.")
	v.Wait()
	engine.Settle(v.Engine)
	_, _, err := engine.Acquire(ctx, v.Engine, space(v, "b"))
	require.ErrorIs(t, err, engine.ErrBusy, "the reader still holds it")
	letA()
	_, letB := pin(t, v, "b")
	letB()
}

// Over the byte budget too a base in use stays when another reader of it is done.
func TestPool_BytesKeepWhatIsInUse(t *testing.T) {
	v, _ := poolOf(t, engine.Options{MaxOpenBytes: 1}, "a")
	a, letA := pin(t, v, "a")
	defer letA()
	_, letAgain := pin(t, v, "a")
	letAgain()
	again, letAgain := pin(t, v, "a")
	defer letAgain()
	require.Same(t, a, again)
	require.Zero(t, v.Stats().Evictions)
}

// Fifty that want one base load it once; another base does not wait for it.
func TestPool_LoadsOnceAndSideBySide(t *testing.T) {
	v, e := poolOf(t, engine.Options{}, "a", "b")
	gate := e.holdLoads()
	ids := make([]any, 50)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			id, release, err := engine.Acquire(ctx, v.Engine, space(v, "a"))
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = id
			release()
		})
	}
	gate.Arrived()
	for st := v.Stats(); st.Hits+st.Misses < 50; st = v.Stats() {
		runtime.Gosched()
	}
	wg.Go(func() {
		_, release, err := engine.Acquire(ctx, v.Engine, space(v, "b"))
		if err != nil {
			t.Error(err)
			return
		}
		release()
	})
	gate.Arrived() // b's load has begun while a's has not ended
	gate.Open()
	wg.Wait()
	for _, id := range ids {
		require.Same(t, ids[0], id)
	}
	st := v.Stats()
	require.EqualValues(t, 2, st.Loads)
	require.EqualValues(t, 2, st.Misses)
	require.EqualValues(t, 49, st.Hits)
	require.Positive(t, st.LoadTime)
}

// A load belongs to the pool: the one who asked first may go.
func TestPool_FirstCallerGoes(t *testing.T) {
	v, e := poolOf(t, engine.Options{}, "a")
	gate := e.holdLoads()
	gone, cancel := context.WithCancel(ctx)
	first := make(chan error)
	go func() {
		_, _, err := engine.Acquire(gone, v.Engine, space(v, "a"))
		first <- err
	}()
	gate.Arrived()
	second := make(chan error)
	go func() {
		_, release, err := engine.Acquire(ctx, v.Engine, space(v, "a"))
		if err == nil {
			release()
		}
		second <- err
	}()
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)
	gate.Open()
	require.NoError(t, <-second)
	require.EqualValues(t, 1, v.Stats().Loads)
}

// A load that failed is tried again by the next one; a base made with another
// embedding model is refused, for queries too, and the others go on.
func TestPool_FailedLoad(t *testing.T) {
	v, e := poolOf(t, engine.Options{}, "a", "empty-later")
	other := func() string { return "another model" }
	e.hook.Store(&other)
	for range 2 {
		_, err := v.KB("a").Query(ctx, engine.Query{Query: "Who wrote?"})
		require.ErrorIs(t, err, engine.ErrEmbeddingPinned)
		require.ErrorContains(t, err, "scripted")
		require.ErrorContains(t, err, "another model")
	}
	require.Zero(t, v.Stats().Open)
	_, err := v.KB("new").QueryData(ctx, engine.Query{Query: "Who wrote?"})
	require.NoError(t, err, "a base without documents is pinned to nothing")
	e.hook.Store(nil)
	_, err = v.KB("a").Query(ctx, engine.Query{Query: "Who wrote?"})
	require.NoError(t, err)
	require.EqualValues(t, 4, v.Stats().Loads)
}

// A deleted base leaves the memory at once and is refused from then on, also by
// those who held it before.
func TestPool_DeletedBase(t *testing.T) {
	v, _ := poolOf(t, engine.Options{}, "a", "b")
	kb := v.KB("a")
	_, release := pin(t, v, "a")
	_, releaseB := pin(t, v, "b")
	defer releaseB()
	require.NoError(t, v.Store.DeleteKB(ctx, v.Admin, enginetest.Tenant, "a"))
	require.EqualValues(t, 1, v.Stats().Open)
	_, err := kb.QueryData(ctx, engine.Query{Query: "Who wrote?"})
	require.ErrorIs(t, err, tenancy.ErrKBGone)
	release()
	require.EqualValues(t, 1, v.Stats().Open)
}

// Close ends when the loads have ended, and nothing is loaded any more.
func TestPool_CloseWaits(t *testing.T) {
	v, e := poolOf(t, engine.Options{}, "a")
	gate := e.holdLoads()
	kb := v.KB("a")
	asked := make(chan error)
	go func() {
		_, err := kb.QueryData(ctx, engine.Query{Query: "Who wrote?", Mode: engine.ModePPR})
		asked <- err
	}()
	gate.Arrived()
	closed := make(chan struct{})
	eng := v.Engine
	go func() {
		_ = eng.Close()
		close(closed)
	}()
	select {
	case <-closed:
		t.Fatal("closed while a base was being loaded")
	default:
	}
	gate.Open()
	<-closed
	require.EqualValues(t, 1, eng.Stats().Loads)
	require.Zero(t, eng.Stats().Open)
	<-asked
	_, err := kb.QueryData(ctx, engine.Query{Query: "Who wrote?"})
	require.ErrorIs(t, err, engine.ErrClosed)
	v.Restart()
}

// Many that search and write many bases over a small pool: never more alive than
// allowed, every answer right or ErrBusy.
func TestPool_Churn(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f"}
	v, _ := poolOf(t, engine.Options{MaxOpen: 3}, names...)
	kbs := make([]*engine.KB, len(names))
	for i, n := range names {
		kbs[i] = v.KB(n)
	}
	var wg sync.WaitGroup
	var right atomic.Int64
	for w := range 8 {
		wg.Go(func() {
			for i := range 60 {
				kb := kbs[(w*7+i*5)%len(kbs)]
				d, err := kb.QueryData(ctx, engine.Query{Query: "Who wrote to Babbage?"})
				if open := v.Stats().Open; open > 3 {
					t.Errorf("%d open", open)
				}
				switch {
				case err == nil && len(d.Data.Chunks) == 1:
					right.Add(1)
				case err == nil:
					t.Errorf("%d chunks", len(d.Data.Chunks))
				case !isBusy(err):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Positive(t, right.Load())
	require.LessOrEqual(t, v.Stats().Open, int64(3), fmt.Sprint(v.Stats()))
}

func isBusy(err error) bool { return errors.Is(err, engine.ErrBusy) }
