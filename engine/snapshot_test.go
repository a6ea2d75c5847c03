package engine_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// afresh is what readers see of a base that is read from its records.
func afresh(t *testing.T, v *enginetest.Env, name string) string {
	t.Helper()
	from := v.Options.SnapshotFrom
	v.Options.SnapshotFrom = -1
	v.Restart()
	restored := v.Stats().Restored
	v.Options.SnapshotFrom = from
	require.NoError(t, engine.DropSnapshot(v.Engine, v.Space(enginetest.Tenant, name, tenancy.PermKBManage)))
	out := observe(t, v, name)
	require.Equal(t, restored, v.Stats().Restored)
	return out
}

// restored is what readers see of a base that comes out of its snapshot.
func restored(t *testing.T, v *enginetest.Env, name string) string {
	t.Helper()
	v.Restart()
	out := observe(t, v, name)
	require.EqualValues(t, 1, v.Stats().Restored)
	require.EqualValues(t, 1, v.Stats().Loads)
	return out
}

// Whatever happened to a base, and whatever is done to it after it has come out of a
// snapshot, readers see what they see of its records.
func TestSnapshot_IsTheRecords(t *testing.T) {
	for name, o := range embeddings() {
		t.Run(name, func(t *testing.T) {
			o.ChunkTokens, o.ChunkOverlap = 60, 1
			v := enginetest.New(t, o)
			const seed = 11
			r := rand.New(rand.NewPCG(seed, 1))
			known := map[string]bool{}
			for round := range 10 {
				for range 10 {
					id := fmt.Sprint("doc-", r.IntN(12))
					kb := v.KB("k")
					switch {
					case !known[id]:
						_, err := kb.Add(ctx, []engine.DocumentInput{{ID: id, FilePath: id + ".txt", Content: []byte(randomText(r)),
							Metadata: map[string]any{"title": id, "n": r.IntN(9), "tags": []any{"a", true, nil}}}}, "")
						require.NoError(t, err)
						known[id] = true
					case r.IntN(2) == 0 && len(known) > 4:
						_, err := kb.Delete(ctx, []string{id}, false)
						require.NoError(t, err)
						delete(known, id)
					default:
						_, err := kb.Update(ctx, id, engine.DocumentInput{FilePath: id + ".txt", Content: []byte(randomText(r))})
						require.NoError(t, err)
					}
				}
				v.Wait()
				switch round {
				case 3:
					_, _ = v.KB("k").Merge(ctx, engine.MergeRequest{Change: []string{"Babbage"}, Into: "Menabrea"})
				case 5:
					_, _ = v.KB("k").Merge(ctx, engine.MergeRequest{Change: []string{"London"}, Into: "Turin"})
				}
				v.Wait()
				before := observe(t, v, "k")
				got := restored(t, v, "k")
				require.Equal(t, before, got, "seed %d round %d", seed, round)
				cost, err := engine.ResidentCost(v.Engine, v.Space(enginetest.Tenant, "k", tenancy.PermKBAccess))
				require.NoError(t, err)
				if round%3 == 2 { // else what is restored is changed further
					require.Equal(t, afresh(t, v, "k"), got, "seed %d round %d", seed, round)
					again, err := engine.ResidentCost(v.Engine, v.Space(enginetest.Tenant, "k", tenancy.PermKBAccess))
					require.NoError(t, err)
					require.Equal(t, again, cost, "seed %d round %d", seed, round)
					v.Restart() // so that snapshots are stored again
				}
			}
		})
	}
}

// snapshotBase is a base of twenty documents with a snapshot that holds.
func snapshotBase(t *testing.T, o engine.Options) (*enginetest.Env, *rand.Rand) {
	t.Helper()
	o.Extractor = &byLines{}
	v := enginetest.New(t, o)
	r := rand.New(rand.NewPCG(12, 2))
	for i := range 20 {
		v.Add("k", fmt.Sprint("doc-", i), randomText(r))
	}
	v.Wait()
	observe(t, v, "k")
	v.Restart()
	return v, r
}

func manage(t *testing.T, v *enginetest.Env) *tenancy.Space {
	return v.Space(enginetest.Tenant, "k", tenancy.PermKBManage)
}

// A snapshot is written again only when more than a tenth has changed since; until then
// what has changed is read from its records. People's word on the graph, and more
// changes than half of the base, make it void.
func TestSnapshot_BehindIsBroughtForward(t *testing.T) {
	v, r := snapshotBase(t, engine.Options{})
	first, err := engine.SnapshotBlocks(manage(t, v))
	require.NoError(t, err)
	require.NotEmpty(t, first)
	change := func(n int) {
		for i := range n {
			_, err := v.KB("k").Update(ctx, fmt.Sprint("doc-", i), engine.DocumentInput{FilePath: "f", Content: []byte(randomText(r))})
			require.NoError(t, err)
		}
		v.Wait()
	}
	change(1)
	_, err = v.KB("k").Delete(ctx, []string{"doc-19"}, false)
	require.NoError(t, err)
	want := observe(t, v, "k")
	require.Equal(t, want, restored(t, v, "k"))
	require.Equal(t, want, restored(t, v, "k"), "two documents of nineteen are more than a tenth")
	second, err := engine.SnapshotBlocks(manage(t, v))
	require.NoError(t, err)
	require.NotEqual(t, first, second)

	change(1)
	require.Equal(t, observe(t, v, "k"), restored(t, v, "k"))
	require.Equal(t, observe(t, v, "k"), restored(t, v, "k"))
	third, err := engine.SnapshotBlocks(manage(t, v))
	require.NoError(t, err)
	require.Equal(t, second, third, "one is not")

	v.Options.SnapshotFrom = -1
	v.Restart()
	change(12)
	want = observe(t, v, "k")
	v.Options.SnapshotFrom = 1
	v.Restart()
	require.Equal(t, want, observe(t, v, "k"))
	require.Zero(t, v.Stats().Restored, "too far behind")

	require.Equal(t, want, restored(t, v, "k"))
	v.Options.SnapshotFrom = -1
	v.Restart()
	_, err = v.KB("k").Merge(ctx, engine.MergeRequest{Change: []string{"Turin"}, Into: "London"})
	require.NoError(t, err)
	want = observe(t, v, "k")
	v.Options.SnapshotFrom = 1
	v.Restart()
	require.Equal(t, want, observe(t, v, "k"))
	require.Zero(t, v.Stats().Restored)
}

// Bits turned, blocks cut, missing, doubled or of another writing, and a snapshot of the
// future: each is found, and the records are read.
func TestSnapshot_DamageIsFound(t *testing.T) {
	v, r := snapshotBase(t, engine.Options{})
	old, err := engine.SnapshotBlocks(manage(t, v))
	require.NoError(t, err)
	for i := range 4 {
		_, err := v.KB("k").Update(ctx, fmt.Sprint("doc-", i), engine.DocumentInput{FilePath: "f", Content: []byte(randomText(r))})
		require.NoError(t, err)
	}
	v.Wait()
	want := observe(t, v, "k")
	require.Equal(t, want, restored(t, v, "k"))
	good, err := engine.SnapshotBlocks(manage(t, v))
	require.NoError(t, err)
	require.Len(t, good, 4)
	v.Options.SnapshotFrom = -1 // nothing is written from here on
	ask := func() string {
		d, err := v.KB("k").QueryData(ctx, engine.Query{Query: "Who wrote to Babbage in 1843?", Mode: engine.ModeMix})
		require.NoError(t, err)
		d.Metadata.StagesMS = nil
		return fmt.Sprintf("%+v", d)
	}
	answer := ask()
	damage := func(what string, blocks ...engine.SnapshotBlock) {
		t.Helper()
		require.NoError(t, engine.SetSnapshotBlocks(manage(t, v), blocks...))
		v.Restart()
		require.Equal(t, answer, ask(), what)
		require.Zero(t, v.Stats().Restored, what)
		require.EqualValues(t, 1, v.Stats().Loads, what)
		require.NoError(t, engine.SetSnapshotBlocks(manage(t, v), good...))
	}
	tries := 60
	if testing.Short() || engine.Raced {
		tries = 8
	}
	for i, b := range good {
		damage("missing", engine.SnapshotBlock{Key: b.Key})
		damage("of another writing", old[i])
		next := append(bytes.Clone(b.Key[:4]), 1)
		damage("prolonged", engine.SnapshotBlock{Key: next, Value: b.Value})
		require.NoError(t, engine.SetSnapshotBlocks(manage(t, v), engine.SnapshotBlock{Key: next}))
		for range tries {
			bad := bytes.Clone(b.Value)
			at := r.IntN(len(bad))
			bad[at] ^= 1 << r.IntN(8)
			damage(fmt.Sprint("bit in ", at), engine.SnapshotBlock{Key: b.Key, Value: bad})
		}
		damage("cut", engine.SnapshotBlock{Key: b.Key, Value: b.Value[:r.IntN(len(b.Value))]})
	}
	damage("of an older writing whole and too far behind is still brought forward or left", append(old[:3:3], engine.SnapshotBlock{Key: good[3].Key})...)
	v.Restart()
	require.Equal(t, want, observe(t, v, "k"))
	require.EqualValues(t, 1, v.Stats().Restored, "and the sound one is taken")
}

// Nothing of a snapshot is in what is exported or in the canonical dump; making a base
// anew drops it, and it goes with its base.
func TestSnapshot_IsOnlyACache(t *testing.T) {
	v, _ := snapshotBase(t, engine.Options{})
	blocks, err := engine.SnapshotBlocks(manage(t, v))
	require.NoError(t, err)
	require.NotEmpty(t, blocks)
	dump := v.Dump("k")
	require.NoError(t, engine.DropSnapshot(v.Engine, manage(t, v)))
	require.Equal(t, dump, v.Dump("k"))
	want := observe(t, v, "k")
	require.Equal(t, want, restored(t, v, "k"))
	_, err = v.Engine.Rebuild(ctx, manage(t, v))
	require.NoError(t, err)
	require.Equal(t, want, observe(t, v, "k"))
	require.EqualValues(t, 1, v.Stats().Restored, "the one before")
	require.NoError(t, v.Store.DeleteKB(ctx, v.Admin, enginetest.Tenant, "k"))
}

// A copy is stored when it has rested, and when it is put out for another.
func TestSnapshot_AtRestAndWhenEvicted(t *testing.T) {
	v := enginetest.New(t, engine.Options{VectorGraphRest: 1, MaxOpen: 1, Extractor: &byLines{}})
	v.Add("k", "doc", "Ada wrote to Babbage.")
	v.Wait()
	observe(t, v, "k")
	require.Eventually(t, func() bool { return v.Stats().Snapshots == 1 }, time.Minute, time.Millisecond)

	v.Options.VectorGraphRest = time.Hour
	v.Restart()
	v.Add("other", "doc", "Ada wrote to Babbage.")
	v.Wait()
	observe(t, v, "other")
	observe(t, v, "k")
	require.Eventually(t, func() bool { return v.Stats().Snapshots == 1 }, time.Minute, time.Millisecond)
	require.Positive(t, v.Stats().Restored)
}
