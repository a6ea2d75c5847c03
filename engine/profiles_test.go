package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
)

// profiled is a served embedder that notes each text it embeds by the first
// line: a name, or keywords and the first name of a relation.
type profiled struct {
	served
	texts []string
}

func (p *profiled) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	for _, t := range texts {
		p.texts = append(p.texts, strings.Split(t, "\n")[0])
	}
	return p.served.Embed(ctx, texts)
}

func (p *profiled) taken() []string {
	t := p.texts
	p.texts = nil
	return t
}

// Profile vectors follow what documents say: made after a commit, only for what
// changed, gone with what they are of, and paid for once.
func TestProfiles_FollowTheDocuments(t *testing.T) {
	emb := &profiled{served: served{&enginetest.Embedder{}}}
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "{}", nil }}
	v := enginetest.New(t, engine.Options{Embedder: emb, Extractor: &byLines{}, Workers: 1, Chatter: chat})
	s := space(v, "k")
	counts := func(entities, relations int) {
		t.Helper()
		e, r, stale, err := engine.SearchedProfiles(v.Engine, s)
		require.NoError(t, err)
		require.Equal(t, []int{entities, relations, 0}, []int{e, r, stale})
		n, err := engine.StoredProfiles(s)
		require.NoError(t, err)
		require.Equal(t, entities+relations, n)
	}
	a := "entity|Ada|person|wrote\nentity|Babbage|person|built\nrelation|Ada|Babbage|letters|She wrote to him.|1\n"
	b := "entity|Babbage|person|answered\nentity|London|place|a town\n"
	v.Add("k", "a", a)
	v.Wait()
	require.Equal(t, []string{"entity|Ada|person|wrote", "Ada", "Babbage", "letters\tAda"}, emb.taken())
	counts(2, 1)

	v.Add("k", "b", b)
	v.Wait()
	require.Equal(t, []string{"entity|Babbage|person|answered", "Babbage", "London"}, emb.taken(), "Ada did not change")
	counts(3, 1)

	v.Restart()
	v.Wait()
	counts(3, 1)
	require.Empty(t, emb.taken(), "all was in the store")

	d, err := v.KB("k").QueryData(ctx, engine.Query{Query: "Who built?", Mode: engine.ModeGlobal, HLKeywords: []string{"letters", "She wrote to him"}})
	require.NoError(t, err)
	require.Len(t, d.Data.Relationships, 1)
	require.Positive(t, d.Data.Relationships[0].Score)
	emb.taken()

	calls := chat.Calls()
	_, err = v.KB("k").Delete(ctx, []string{"a"}, false)
	require.NoError(t, err)
	v.Wait()
	require.Equal(t, calls, chat.Calls())
	require.Equal(t, []string{"Babbage"}, emb.taken())
	counts(2, 0)

	// What comes back in the same batch as its old vector goes is not lost.
	v.Add("k", "a", a)
	_, err = v.KB("k").Delete(ctx, []string{"b"}, false)
	require.NoError(t, err)
	v.Wait()
	counts(2, 1)
	emb.taken()
	v.Restart()
	v.Wait()
	counts(2, 1)
	require.Empty(t, emb.taken())

	_, err = v.KB("k").Delete(ctx, []string{"a"}, false)
	require.NoError(t, err)
	v.Wait()
	require.Empty(t, emb.taken())
	counts(0, 0)
}

// A vector whose words have changed is not searched while the new one is being made.
func TestProfiles_StaleIsNotSearched(t *testing.T) {
	gate := enginetest.NewGate()
	emb := &enginetest.Embedder{}
	v := enginetest.New(t, engine.Options{Embedder: served{emb}, Extractor: &byLines{}, Workers: 1})
	v.Add("k", "a", "entity|Ada|person|wrote letters\nentity|Babbage|person|built engines\n")
	v.Wait()
	emb.Before = func(ctx context.Context, n int, asked string) error {
		if strings.HasPrefix(asked, "Ada\n") {
			return gate.Hold(ctx, n, asked)
		}
		return nil
	}
	v.Add("k", "b", "entity|Ada|person|sailed ships\n")
	gate.Arrived()
	e, _, stale, err := engine.SearchedProfiles(v.Engine, space(v, "k"))
	require.NoError(t, err)
	require.Equal(t, []int{1, 1}, []int{e, stale}, "Babbage's is, Ada's is not")
	d, err := v.KB("k").QueryData(ctx, engine.Query{Query: "Who is Ada?", Mode: engine.ModeLocal, LLKeywords: []string{"Ada"}})
	require.NoError(t, err)
	require.Equal(t, "Ada", d.Data.Entities[0].EntityName, "found by name")
	require.Contains(t, d.Data.Entities[0].Description, "sailed ships")
	gate.Open()
	v.Wait()
	e, _, stale, err = engine.SearchedProfiles(v.Engine, space(v, "k"))
	require.NoError(t, err)
	require.Equal(t, []int{2, 0}, []int{e, stale})
}

// Changes of many workers while profiles are being made embed each name's last
// words and no more than once a change.
func TestProfiles_OneJobAtATime(t *testing.T) {
	gate := enginetest.NewGate()
	emb := &enginetest.Embedder{}
	emb.Before = func(ctx context.Context, n int, asked string) error {
		if strings.HasPrefix(asked, "Ada\n") {
			return gate.Hold(ctx, n, asked)
		}
		return nil
	}
	v := enginetest.New(t, engine.Options{Embedder: served{emb}, Extractor: &byLines{}, Workers: 4})
	v.Add("k", "a", "entity|Ada|person|wrote\n")
	gate.Arrived()
	for i := range 10 {
		v.Add("k", fmt.Sprint("d", i), fmt.Sprintf("entity|Name%d|person|wrote\n", i))
	}
	gate.Open()
	v.Wait()
	seen := map[string]int{}
	for _, call := range emb.Asked() {
		for line := range strings.SplitSeq(call, "\n") {
			seen[line]++
		}
	}
	require.Equal(t, 1, seen["Ada"])
	for i := range 10 {
		require.Equal(t, 1, seen[fmt.Sprint("Name", i)])
	}
	e, _, stale, err := engine.SearchedProfiles(v.Engine, space(v, "k"))
	require.NoError(t, err)
	require.Equal(t, []int{11, 0}, []int{e, stale})
}

// oneHeld is a base with two documents on their way: the chunk of one is held at
// the gate of the embedder, the other goes through.
func oneHeld(t *testing.T) (*enginetest.Env, *enginetest.Embedder, *enginetest.Gate) {
	t.Helper()
	gate := enginetest.NewGate()
	emb := &enginetest.Embedder{}
	emb.Before = func(ctx context.Context, n int, asked string) error {
		if strings.Contains(asked, "Babbage|person") {
			return gate.Hold(ctx, n, asked)
		}
		return nil
	}
	v := enginetest.New(t, engine.Options{Embedder: served{emb}, Extractor: &byLines{}, Workers: 2})
	v.Add("k", "b", "entity|Babbage|person|built\n")
	gate.Arrived()
	v.Add("k", "a", "entity|Ada|person|wrote\n")
	return v, emb, gate
}

// The profiles of documents that are worked on together are embedded together: the
// job waits for the last of them.
func TestProfiles_BatchedAcrossDocuments(t *testing.T) {
	v, emb, gate := oneHeld(t)
	require.Eventually(t, func() bool { return document(t, v, "k", "a").Status == engine.StatusProcessed }, time.Minute, time.Millisecond)
	gate.Open()
	v.Wait()
	require.Equal(t, 2+1, emb.Calls(), "two chunks, and two names in one batch")
}

// A job that has waited its time goes on though there is other work, or every
// document would wait for one that takes long.
func TestProfiles_WaitNoLongerThanSo(t *testing.T) {
	v, _, gate := oneHeld(t)
	require.Eventually(t, func() bool {
		n, err := engine.StoredProfiles(space(v, "k"))
		require.NoError(t, err)
		return n == 1
	}, time.Minute, 10*time.Millisecond)
	gate.Open()
	v.Wait()
}

// faulty is a served embedder whose calls with a profile of Babbage go wrong.
type faulty struct {
	served
	wrong  func(vectors [][]float32) ([][]float32, error)
	mended atomic.Bool
	met    chan struct{} // one for each wrong call
}

func (f *faulty) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	v, err := f.served.Embed(ctx, texts)
	for _, text := range texts {
		if err == nil && !f.mended.Load() && strings.HasPrefix(text, "Babbage\n") {
			f.met <- struct{}{}
			return f.wrong(v)
		}
	}
	return v, err
}

// A text that the model refuses for good is left out and holds nothing up; any
// other fault is the server's, and the whole batch waits for a better day.
func TestProfiles_Faults(t *testing.T) {
	type vectors = [][]float32
	shorter := func(v vectors) (out vectors, _ error) {
		for _, x := range v {
			out = append(out, x[:8])
		}
		return out, nil
	}
	for name, c := range map[string]struct {
		wrong  func(vectors) (vectors, error)
		stored int  // profiles of three that are stored in spite of the fault
		passes bool // the job is there for the next start
	}{
		"too long":          {func(vectors) (vectors, error) { return nil, engine.ErrPromptTooLong }, 2, false},
		"refused":           {func(vectors) (vectors, error) { return nil, fmt.Errorf("%w: status 422", engine.ErrModelRefused) }, 2, false},
		"a panic":           {func(vectors) (vectors, error) { panic("adapter") }, 2, false},
		"down":              {func(vectors) (vectors, error) { return nil, engine.ErrModelDown }, 0, true},
		"no model":          {func(vectors) (vectors, error) { return nil, engine.ErrModelMissing }, 0, true},
		"a vector too few":  {func(v vectors) (vectors, error) { return v[1:], nil }, 0, true},
		"an unknown fault":  {func(vectors) (vectors, error) { return nil, errors.New("strange") }, 0, true},
		"no direction":      {func(v vectors) (vectors, error) { clear(v[0]); return v, nil }, 0, true},
		"of another length": {shorter, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			emb := &faulty{served: served{&enginetest.Embedder{}}, wrong: c.wrong, met: make(chan struct{}, 100)}
			v := enginetest.New(t, engine.Options{Embedder: emb, Extractor: &byLines{}, Workers: 1})
			v.Add("k", "a", "entity|Ada|person|wrote\nentity|Babbage|person|built\nentity|London|place|a town\n")
			if c.passes {
				<-emb.met
			} else {
				v.Wait()
			}
			n, err := engine.StoredProfiles(space(v, "k"))
			require.NoError(t, err)
			require.Equal(t, c.stored, n)
			if !c.passes {
				e, _, stale, err := engine.SearchedProfiles(v.Engine, space(v, "k"))
				require.NoError(t, err)
				require.Equal(t, c.stored, e)
				require.Equal(t, c.stored == 0, stale == 3, "what was refused is not asked for again")
			}
			emb.mended.Store(true)
			v.Restart()
			v.Wait()
			n, err = engine.StoredProfiles(space(v, "k"))
			require.NoError(t, err)
			if c.passes {
				require.Equal(t, 3, n)
			} else {
				require.Equal(t, c.stored, n, "no job is left that fails again and again")
			}
		})
	}
}
