package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// another is an embedding model that gives other vectors than one of another name,
// and counts the texts that it gave vectors for.
type another struct {
	enginetest.Embedder
	model bool // a model server's: profiles have vectors too
	mu    sync.Mutex
	texts map[string]int
}

func newAnother(name string) *another {
	return &another{Embedder: enginetest.Embedder{Name: name}, texts: map[string]int{}}
}

func (a *another) Pure() bool { return !a.model }

func (a *another) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	salted := make([]string, len(texts))
	for i, t := range texts {
		salted[i] = a.Name + " " + t
	}
	v, err := a.Embedder.Embed(ctx, salted)
	if err == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, t := range texts {
			a.texts[t]++
		}
	}
	return v, err
}

// taken is what was asked for since the last call.
func (a *another) taken() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.texts
	a.texts = map[string]int{}
	return t
}

// stepper is an engine whose one worker stands at a gate, so that a test takes the
// steps of a change of the embedding model itself.
type stepper struct {
	*enginetest.Env
	t    *testing.T
	gate *enginetest.Gate
}

// newStepper starts an engine with an extractor that stops at the word "Hold".
func newStepper(t *testing.T, dir string, o engine.Options) *stepper {
	s := &stepper{t: t, gate: enginetest.NewGate()}
	ex := &enginetest.Extractor{}
	ex.Before = func(ctx context.Context, n int, asked string) error {
		if strings.Contains(asked, "Hold") {
			return s.gate.Hold(ctx, n, asked)
		}
		return nil
	}
	o.Extractor = ex
	o = small(o)
	o.EmbedBatch = 2
	s.Env = enginetest.Open(t, dir, o)
	t.Cleanup(s.gate.Open)
	return s
}

// change gives the server another embedder, and its worker something to wait for.
func (s *stepper) change(e engine.Embedder) {
	s.Options.Embedder = e
	s.Restart()
	s.hold()
}

func (s *stepper) hold() {
	s.Add("held", "hold", "Hold on.")
	s.gate.Arrived()
}

// kill starts the engine again in the middle of things.
func (s *stepper) kill() {
	s.Restart()
	s.gate.Arrived()
}

func (s *stepper) step(kb string) (over bool) {
	s.t.Helper()
	over, err := engine.ReembedStep(s.Engine, s.Space(enginetest.Tenant, kb, tenancy.PermKBManage))
	require.NoError(s.t, err)
	return over
}

func (s *stepper) start(kb string) *engine.Reembedded {
	s.t.Helper()
	r, err := s.KB(kb).Reembed(ctx, false)
	require.NoError(s.t, err)
	return r
}

func (s *stepper) embedding(kb string) engine.Embedding {
	s.t.Helper()
	c, err := s.KB(kb).Counts(ctx)
	require.NoError(s.t, err)
	return c.Embedding
}

// found is what a search finds, as far as it does not depend on when it is.
func found(t *testing.T, v *enginetest.Env, kb, q string) (engine.DataBody, string) {
	t.Helper()
	d, err := v.KB(kb).QueryData(ctx, engine.Query{Query: q})
	require.NoError(t, err)
	return d.Data, d.Metadata.DegradedReason
}

func docText(id string, version int) string {
	return long(strings.ToUpper(id)+string(rune('a'+version)), 3)
}

func input(id, text string) engine.DocumentInput {
	return engine.DocumentInput{ID: id, FilePath: id + ".txt", Content: []byte(text)}
}

// A base goes from one model to another while documents come, change and go, and
// with the engine killed after every step; what comes of it is what a base holds
// that knew the second model alone, and each text was embedded once.
func TestReembed_AtEveryStep(t *testing.T) {
	for _, c := range []struct {
		name         string
		kill, disk   bool
		model, dense bool // profiles; vectors of another length
		seeds        int
	}{
		{"warm", false, false, false, false, 6},
		{"warm with profiles", false, false, true, true, 3},
		{"killed", true, false, false, true, 6},
		{"killed with profiles", true, false, true, false, 3},
		{"killed on disk", true, true, true, true, 1},
		{"from a pure one", false, false, true, true, 2},
	} {
		for seed := range engine.Rounds(c.seeds) {
			t.Run(fmt.Sprintf("%s %d", c.name, seed), func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(seed), 7))
				dir := ""
				if c.disk {
					dir = t.TempDir()
				}
				old, now := newAnother("old"), newAnother("new")
				old.model, now.model = c.model && c.name != "from a pure one", c.model
				if c.dense {
					now.Dimension = 24
				}
				s := newStepper(t, dir, engine.Options{Embedder: old})
				want := map[string]engine.DocumentInput{}
				visible, at := 0, map[string]int{}
				for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
					in := input(id, docText(id, 0))
					_, err := s.KB("k").Add(ctx, []engine.DocumentInput{in}, "insert")
					require.NoError(t, err)
					want[id] = in
				}
				s.Wait()
				before := map[string]bool{}
				for text := range old.taken() {
					before[text] = true
				}
				s.change(now)
				_, err := s.KB("k").Query(ctx, engine.Query{Query: "Who writes?"})
				require.ErrorIs(t, err, engine.ErrEmbeddingPinned)
				now.taken()
				dry, err := s.KB("k").Reembed(ctx, true)
				require.NoError(t, err)
				require.Equal(t, "dry_run", dry.Status)
				visible = dry.Texts
				counts, err := s.KB("k").Counts(ctx)
				require.NoError(t, err)
				require.Equal(t, counts.Chunks, visible)
				require.Empty(t, now.taken())
				require.Equal(t, "started", s.start("k").Status)

				ids := "abcdefghij"
				op := func() {
					id := string(ids[r.IntN(len(ids))])
					in, known := want[id]
					kb := s.KB("k")
					var err error
					switch n := r.IntN(6); {
					case !known && n < 2:
						at[id]++
						in = input(id, docText(id, at[id]))
						_, err = kb.Add(ctx, []engine.DocumentInput{in}, "insert")
						want[id] = in
					case !known:
					case n < 2:
						_, err = kb.Delete(ctx, []string{id}, false)
						delete(want, id)
					case n == 2:
						at[id]++
						in.Content = []byte(docText(id, at[id]))
						_, err = kb.Update(ctx, id, in)
						want[id] = in
					case n == 3:
						in.Metadata = map[string]any{"seen": r.IntN(5)}
						_, err = kb.Update(ctx, id, in)
						want[id] = in
					}
					require.NoError(t, err)
				}
				look := func(changing bool) {
					a, err := s.KB("k").Query(ctx, engine.Query{Query: "Who writes a sentence?"})
					require.NoError(t, err)
					require.Equal(t, changing, a.Degraded)
					require.Equal(t, changing, a.Metadata.DegradedReason != "")
				}
				for steps := 0; ; steps++ {
					require.Less(t, steps, 100)
					op()
					// Only what is seen by readers is asked to answer: new texts wait.
					changing := s.embedding("k").Model == "old"
					if !c.kill {
						look(changing)
					}
					over := s.step("k")
					s.Check()
					if c.kill {
						s.kill()
					}
					if changing {
						again := s.start("k")
						require.Contains(t, []string{"running", "unchanged"}, again.Status)
						jobs, err := s.KB("k").Jobs(ctx)
						require.NoError(t, err)
						if again.Status == "running" {
							for _, j := range jobs {
								require.Equal(t, "waiting", j.State)
								require.Contains(t, j.ErrorMsg, "embedding model")
							}
						}
					}
					if over {
						break
					}
				}
				asked := now.taken()
				delete(asked, "dimension")
				sum := 0
				for text, n := range asked {
					if before[text] {
						require.Equal(t, 1, n, "%q", text)
						sum++
					}
				}
				require.LessOrEqual(t, sum, visible)
				require.Positive(t, sum)
				s.gate.Open()
				s.Wait()
				e := s.embedding("k")
				require.Equal(t, "new", e.Model)
				require.Nil(t, e.Reembed)

				for _, id := range sortedKeys(want) {
					_, err := s.KB("fresh").Add(ctx, []engine.DocumentInput{want[id]}, "insert")
					require.NoError(t, err)
				}
				s.Wait()
				require.Equal(t, s.Dump("fresh"), s.Dump("k"))
				same := func() {
					for _, q := range []string{"Who writes a sentence?", "What of Aa1?", "words to be cut"} {
						fresh, why := found(t, s.Env, "fresh", q)
						require.Empty(t, why)
						got, why := found(t, s.Env, "k", q)
						require.Empty(t, why)
						require.Equal(t, fresh, got)
					}
				}
				same()
				if c.model {
					for _, kb := range []string{"k", "fresh"} {
						_, _, stale, err := engine.SearchedProfiles(s.Engine, space(s.Env, kb))
						require.NoError(t, err)
						require.Zero(t, stale)
					}
				}
				s.Restart()
				s.Wait()
				same()
			})
		}
	}
}

func sortedKeys(m map[string]engine.DocumentInput) (out []string) {
	for _, id := range strings.Split("abcdefghij", "") {
		if _, ok := m[id]; ok {
			out = append(out, id)
		}
	}
	return out
}

// Left alone, every chunk is embedded once and nothing else but the profiles, and
// the language model is not asked for anything.
func TestReembed_Costs(t *testing.T) {
	old, now := newAnother("old"), newAnother("new")
	old.model, now.model = true, true
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "What is said of Ada, in short.", nil }}
	v := enginetest.New(t, engine.Options{Embedder: old, Extractor: &byLines{}, Chatter: chat})
	for i := range 12 {
		v.Add("k", fmt.Sprint("d", i), fmt.Sprintf("entity|Ada|person|did the %dth thing of hers\nentity|Name%d|person|wrote %d\nrelation|Ada|Name%d|letters|She wrote to %d|1\n", i, i, i, i, i))
	}
	v.Wait()
	require.Positive(t, chat.Calls(), "Ada has a summary")
	first := old.taken()
	sums := chat.Calls()
	v.Options.Embedder = now
	v.Restart()
	r, err := v.KB("k").Reembed(ctx, false)
	require.NoError(t, err)
	require.Equal(t, 12, r.Texts)
	v.Wait()
	require.Equal(t, sums, chat.Calls())
	texts := now.taken()
	for text, n := range texts {
		require.Equal(t, 1, n, "%q", text)
		require.Contains(t, first, text, "what the first model was asked for at some time")
	}
	stored, err := engine.StoredProfiles(space(v, "k"))
	require.NoError(t, err)
	require.Equal(t, 13+12, stored)
	require.Len(t, texts, 12+13+12)
	e, rel, stale, err := engine.SearchedProfiles(v.Engine, space(v, "k"))
	require.NoError(t, err)
	require.Equal(t, []int{13, 12, 0}, []int{e, rel, stale})

	// And back again: each set is used in its turn.
	v.Options.Embedder = old
	v.Restart()
	_, err = v.KB("k").Reembed(ctx, false)
	require.NoError(t, err)
	v.Wait()
	require.Equal(t, sums, chat.Calls())
	require.Len(t, old.taken(), 12+13+12)
	a, err := v.KB("k").QueryData(ctx, engine.Query{Query: "Who is Ada?"})
	require.NoError(t, err)
	require.False(t, a.Metadata.Degraded)
}

// The server gets its old model back, or a third one, in the middle of a change.
func TestReembed_TurnsAround(t *testing.T) {
	for _, last := range []string{"old", "third"} {
		for at := range 6 {
			t.Run(fmt.Sprint(last, at), func(t *testing.T) {
				s := newStepper(t, "", engine.Options{Embedder: newAnother("old")})
				s.Add("k", "a", docText("a", 0), "b", docText("b", 0))
				s.Wait()
				s.change(newAnother("new"))
				s.start("k")
				for range at {
					s.step("k")
				}
				s.Add("k", "c", docText("c", 0))
				s.Options.Embedder = newAnother(last)
				s.kill()
				if s.embedding("k").Model == "new" { // it is done, but for the old vectors
					require.Equal(t, "started", s.start("k").Status)
				}
				for i := 0; !s.step("k"); i++ {
					require.Less(t, i, 50)
					s.Check()
				}
				s.gate.Open()
				s.Wait()
				require.Equal(t, last, s.embedding("k").Model)
				s.Add("fresh", "a", docText("a", 0), "b", docText("b", 0), "c", docText("c", 0))
				s.Wait()
				require.Equal(t, s.Dump("fresh"), s.Dump("k"))
			})
		}
	}
}

// A change that is given up after any of its steps leaves the base as it was before,
// and a restart does not bring it back.
func TestReembed_Cancel(t *testing.T) {
	for at := range 8 {
		for _, kill := range []bool{false, true} {
			t.Run(fmt.Sprint(at, kill), func(t *testing.T) {
				old, now := newAnother("old"), newAnother("new")
				old.model, now.model = true, true
				s := newStepper(t, "", engine.Options{Embedder: old})
				s.Add("k", "a", docText("a", 0), "b", docText("b", 0))
				s.Wait()
				before := s.Dump("k")
				made := old.taken()
				s.change(now)
				s.start("k")
				for i := 0; i < at && s.embedding("k").Model == "old"; i++ {
					s.step("k")
				}
				if s.embedding("k").Model == "new" { // it is done, but for the old vectors
					_, err := s.KB("k").CancelReembed(ctx)
					require.ErrorIs(t, err, engine.ErrState)
					return
				}
				e, err := s.KB("k").CancelReembed(ctx)
				require.NoError(t, err)
				require.Equal(t, "old", e.Model)
				require.Equal(t, "cleaning", e.Reembed.State)
				require.Zero(t, e.Reembed.Done)
				s.Check()
				_, err = s.KB("k").CancelReembed(ctx)
				require.ErrorIs(t, err, engine.ErrState)
				now.taken()
				if kill {
					s.kill()
				}
				for !s.step("k") {
					s.Check()
				}
				require.Nil(t, s.embedding("k").Reembed)
				require.Equal(t, before, s.Dump("k"))
				s.gate.Open()
				s.Wait()
				for text := range now.taken() {
					require.Contains(t, text, "Hold", "of another base")
				}
				_, err = s.KB("k").Query(ctx, engine.Query{Query: "Who writes?"})
				require.ErrorIs(t, err, engine.ErrEmbeddingPinned)

				s.Options.Embedder = old
				s.Restart()
				s.Wait()
				_, why := found(t, s.Env, "k", "Who writes?")
				require.Empty(t, why)
				for text, n := range old.taken() {
					require.True(t, made[text] == 0 || text == "Who writes?", "%q was made %d times again", text, n)
				}
			})
		}
	}
}

// A change is given up while the model is asked, while it waits for a server that is
// away, and with documents that wait for it: they go on with the model of the base.
func TestReembed_CancelAtWork(t *testing.T) {
	for _, away := range []bool{false, true} {
		t.Run(fmt.Sprint("away ", away), func(t *testing.T) {
			gate := enginetest.NewGate()
			old, now := newAnother("old"), newAnother("new")
			old.model, now.model = true, true
			now.Before = gate.Hold
			if away {
				now.Before = func(context.Context, int, string) error { return engine.ErrModelDown }
			}
			o := small(engine.Options{Embedder: old})
			o.RetryBase = time.Hour
			v := enginetest.New(t, o)
			v.Add("k", "a", docText("a", 0), "b", docText("b", 0))
			v.Wait()
			v.Options.Embedder = now
			v.Options.Models.Embedders = map[string]engine.Embedder{"old": old}
			v.Restart()
			kb := v.KB("k")
			_, err := kb.Reembed(ctx, false)
			require.NoError(t, err)
			v.Add("k", "c", docText("c", 0))
			_, err = kb.Delete(ctx, []string{"b"}, false)
			require.NoError(t, err)
			if away {
				require.Eventually(t, func() bool {
					c, err := kb.Counts(ctx)
					return err == nil && c.Embedding.Reembed.State == "waiting"
				}, 10*time.Second, time.Millisecond)
			} else {
				gate.Arrived()
			}
			_, err = kb.CancelReembed(ctx)
			require.NoError(t, err)
			v.Wait()
			c, err := kb.Counts(ctx)
			require.NoError(t, err)
			require.Equal(t, engine.Embedding{Model: "old", Dimension: 16}, c.Embedding)
			_, why := found(t, v, "k", "Who writes?")
			require.Empty(t, why)
			_, _, stale, err := engine.SearchedProfiles(v.Engine, space(v, "k"))
			require.NoError(t, err)
			require.Zero(t, stale)
			v.Options.Embedder, v.Options.Models.Embedders = old, nil
			v.Restart()
			v.Add("fresh", "a", docText("a", 0), "c", docText("c", 0))
			v.Wait()
			require.Equal(t, v.Dump("fresh"), v.Dump("k"))
		})
	}
}

// A document whose work began before the change ends in the new vectors alone, also
// where it draws on the vectors of its last version and on those it made itself.
func TestReembed_WorkUnderWay(t *testing.T) {
	for steps := range 12 {
		t.Run(fmt.Sprint(steps), func(t *testing.T) {
			now := newAnother("new")
			s := newStepper(t, "", engine.Options{Embedder: newAnother("old")})
			s.Add("k", "a", docText("a", 0), "b", docText("b", 0))
			s.Wait()
			text := docText("b", 0) + docText("x", 0) + "Hold on to a sentence of a dozen words to be cut somewhere.\n\n"
			// The chunks of b come before those of a in the order of keys.
			_, err := s.KB("k").Update(ctx, "b", input("b", text))
			require.NoError(t, err)
			s.gate.Arrived()
			d, err := s.KB("k").Document(ctx, "b")
			require.NoError(t, err)
			require.Equal(t, engine.StatusProcessing, d.Status)
			s.Options.Embedder = now
			s.kill()
			r := s.start("k")
			c, err := s.KB("k").Counts(ctx)
			require.NoError(t, err)
			require.Greater(t, r.Texts, c.Chunks, "those of the unfinished version")
			for range steps {
				s.step("k")
				s.Check()
			}
			model := "new"
			if steps%2 == 1 && s.embedding("k").Model == "old" { // back; the document's job comes first and has to wait
				model = "old"
				s.Options.Embedder = newAnother("old")
			}
			if model == "old" {
				s.Restart()
			}
			s.gate.Open()
			s.Wait()
			require.Equal(t, model, s.embedding("k").Model)
			s.Add("fresh", "a", docText("a", 0), "b", text)
			s.Wait()
			require.Equal(t, s.Dump("fresh"), s.Dump("k"))
		})
	}
}

// A model server that is away, a text that it does not take: the reason shows, and
// the work goes on when the cause is gone.
func TestReembed_Faults(t *testing.T) {
	now := newAnother("new")
	s := newStepper(t, "", engine.Options{Embedder: newAnother("old")})
	s.Add("k", "a", docText("a", 0), "b", docText("b", 0), "c", docText("c", 0))
	s.Wait()
	s.change(now)
	s.start("k")
	s.step("k")
	now.Before = func(context.Context, int, string) error { return engine.ErrModelDown }
	for n := 1; n < 4; n++ {
		_, err := engine.ReembedStep(s.Engine, s.Space(enginetest.Tenant, "k", tenancy.PermKBManage))
		require.ErrorIs(t, err, engine.ErrModelDown)
		e := s.embedding("k")
		require.Equal(t, "old", e.Model)
		require.Equal(t, "waiting", e.Reembed.State)
		require.Equal(t, n, e.Reembed.Attempts)
		require.Contains(t, e.Reembed.ErrorMsg, engine.ErrModelDown.Error())
		require.Equal(t, 2, e.Reembed.Done)
	}
	now.Before = nil
	s.step("k")
	e := s.embedding("k")
	require.Equal(t, "embedding", e.Reembed.State)
	require.Zero(t, e.Reembed.Attempts)
	require.Empty(t, e.Reembed.ErrorMsg)

	// One text is refused: what comes before it is kept.
	now.Before = func(_ context.Context, _ int, asked string) error {
		if strings.Contains(asked, "Ba1") {
			return fmt.Errorf("%w: status 422", engine.ErrModelRefused)
		}
		return nil
	}
	var err error
	for err == nil {
		var over bool
		over, err = engine.ReembedStep(s.Engine, s.Space(enginetest.Tenant, "k", tenancy.PermKBManage))
		require.False(t, over)
	}
	require.ErrorIs(t, err, engine.ErrModelRefused)
	require.Contains(t, s.embedding("k").Reembed.ErrorMsg, "b-chunk-")
	s.Check()
	_, err = s.KB("k").Delete(ctx, []string{"b"}, false)
	require.NoError(t, err)
	for !s.step("k") {
	}
	s.gate.Open()
	s.Wait()
	for text, n := range now.taken() {
		require.Equal(t, 1, n, "%q", text)
	}
	s.Add("fresh", "a", docText("a", 0), "c", docText("c", 0))
	s.Wait()
	require.Equal(t, s.Dump("fresh"), s.Dump("k"))
}

// The queue itself waits out a server that is away, and lets other work by.
func TestReembed_Queue(t *testing.T) {
	now := newAnother("new")
	v := enginetest.New(t, small(engine.Options{Embedder: newAnother("old")}))
	v.Add("k", "a", docText("a", 0), "b", docText("b", 0))
	v.Wait()
	away := 12
	now.Before = func(context.Context, int, string) error {
		if away > 0 {
			away--
			return engine.ErrModelDown
		}
		return nil
	}
	v.Options.Embedder = now
	v.Restart()
	_, err := v.KB("k").Reembed(ctx, false)
	require.NoError(t, err)
	v.Add("k", "c", docText("c", 0))
	v.Add("other", "d", docText("d", 0))
	v.Wait()
	require.Zero(t, away)
	require.Equal(t, "new", func() string { c, _ := v.KB("k").Counts(ctx); return c.Embedding.Model }())
	v.Add("fresh", "a", docText("a", 0), "b", docText("b", 0), "c", docText("c", 0))
	v.Wait()
	require.Equal(t, v.Dump("fresh"), v.Dump("k"))
	require.Zero(t, v.QueueStats().Waiting)

	// A base that is deleted in the middle takes its work with it.
	gate := enginetest.NewGate()
	third := newAnother("third")
	third.Before = gate.Hold
	v.Options.Embedder = third
	v.Restart()
	_, err = v.KB("k").Reembed(ctx, false)
	require.NoError(t, err)
	gate.Arrived()
	v.Add("k", "e", docText("e", 0))
	require.NoError(t, v.Store.DeleteKB(ctx, v.Admin, enginetest.Tenant, "k"))
	v.Wait()
	gate.Open()
}

// The name is the same and the length of the vectors is another.
func TestReembed_SameName(t *testing.T) {
	short, long := newAnother("one"), newAnother("one")
	long.Dimension = 32
	s := newStepper(t, "", engine.Options{Embedder: short})
	s.Add("k", "a", docText("a", 0))
	s.Wait()
	r := s.start("k")
	require.Equal(t, "unchanged", r.Status)
	require.Zero(t, r.Texts)
	s.change(long)
	_, err := s.KB("k").Query(ctx, engine.Query{Query: "Who writes?"})
	require.ErrorIs(t, err, engine.ErrEmbeddingPinned)
	require.Equal(t, "started", s.start("k").Status)
	a, err := s.KB("k").Query(ctx, engine.Query{Query: "Who writes?"})
	require.NoError(t, err)
	require.True(t, a.Degraded)
	s.step("k")

	// It becomes yet another one in the middle.
	long.Dimension = 20
	_, err = engine.ReembedStep(s.Engine, s.Space(enginetest.Tenant, "k", tenancy.PermKBManage))
	require.ErrorIs(t, err, engine.ErrEmbeddingPinned)
	require.Contains(t, s.embedding("k").Reembed.ErrorMsg, "20 dimensions")
	s.Check()
	for !s.step("k") {
		s.Check()
	}
	require.Equal(t, engine.Embedding{Model: "one", Dimension: 20}, s.embedding("k"))
	a, err = s.KB("k").Query(ctx, engine.Query{Query: "Who writes?"})
	require.NoError(t, err)
	require.False(t, a.Degraded)
}

// There is nothing to embed, or nothing left.
func TestReembed_Empty(t *testing.T) {
	s := newStepper(t, "", engine.Options{Embedder: newAnother("old")})
	s.Space(enginetest.Tenant, "empty", tenancy.PermKBAccess)
	s.Add("k", "a", docText("a", 0))
	s.Wait()
	s.change(newAnother("new"))
	require.Equal(t, "unchanged", s.start("empty").Status)
	_, err := s.KB("k").Delete(ctx, []string{"a"}, false)
	require.NoError(t, err)
	r := s.start("k")
	require.Equal(t, "started", r.Status)
	require.Zero(t, r.Texts)
	_, err = s.KB("k").Query(ctx, engine.Query{Query: "Who writes?"})
	require.NoError(t, err)
	for !s.step("k") {
		s.Check()
	}
	s.gate.Open()
	s.Add("k", "a", docText("a", 1))
	s.Wait()
	require.Equal(t, engine.Embedding{Model: "new", Dimension: 16}, s.embedding("k"))
	d, err := s.KB("k").Document(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, engine.StatusProcessed, d.Status)
}

// Check holds the set that is being filled to the place the work has come to.
func TestReembed_Check(t *testing.T) {
	s := newStepper(t, "", engine.Options{Embedder: newAnother("old")})
	s.Add("k", "a", docText("a", 0), "b", docText("b", 0))
	s.Wait()
	s.change(newAnother("new"))
	s.start("k")
	s.step("k")
	in := s.Space(enginetest.Tenant, "k", tenancy.PermKBManage)
	var keys, all [][]byte
	var values [][]byte
	require.NoError(t, in.View(ctx, func(tx *tenancy.Tx) error {
		if err := tx.Scan('W', tenancy.Scan{}, func(rest, value []byte) error {
			keys, values = append(keys, bytes.Clone(rest)), append(values, bytes.Clone(value))
			return nil
		}); err != nil {
			return err
		}
		return tx.Scan('C', tenancy.Scan{KeysOnly: true}, func(rest, _ []byte) error {
			all = append(all, bytes.Clone(rest))
			return nil
		})
	}))
	require.Len(t, keys, 2)
	for _, x := range []struct {
		name        string
		plant, mend func(*tenancy.Tx) error
		says        string
	}{
		{
			"one is missing",
			func(tx *tenancy.Tx) error { return tx.Delete('W', keys[1]) },
			func(tx *tenancy.Tx) error { return tx.Set('W', keys[1], values[1]) },
			"new vectors, not",
		},
		{
			"one too many",
			func(tx *tenancy.Tx) error { return tx.Set('W', all[2], values[1]) },
			func(tx *tenancy.Tx) error { return tx.Delete('W', all[2]) },
			"new vectors, not",
		},
		{
			"of another length",
			func(tx *tenancy.Tx) error { return tx.Set('W', keys[1], values[1][:20]) },
			func(tx *tenancy.Tx) error { return tx.Set('W', keys[1], values[1]) },
			"instead of 16",
		},
	} {
		t.Run(x.name, func(t *testing.T) {
			require.NoError(t, in.Commit(ctx, x.plant))
			var faults []string
			_, err := engine.Check(ctx, s.Store, in, func(f string) { faults = append(faults, f) })
			require.NoError(t, err)
			require.Contains(t, strings.Join(faults, "; "), x.says)
			require.NoError(t, in.Commit(ctx, x.mend))
			s.Check()
		})
	}
}

// A large change gives way: what another tenant brings meanwhile is not behind all
// of it.
func TestReembed_GivesWay(t *testing.T) {
	v := enginetest.New(t, small(engine.Options{Embedder: newAnother("old")}))
	v.Add("k", "a", long("A", 60))
	v.Wait()
	gate := enginetest.NewGate()
	now := newAnother("new")
	now.Before = func(ctx context.Context, n int, asked string) error {
		if n == 1 {
			return gate.Hold(ctx, n, asked)
		}
		return nil
	}
	v.Options.Embedder = now
	v.Restart()
	_, err := v.KB("k").Reembed(ctx, false)
	require.NoError(t, err)
	gate.Arrived()
	_, err = v.KBOf("beta", "k").Add(ctx, []engine.DocumentInput{input("d", "Quick.")}, "insert")
	require.NoError(t, err)
	gate.Open()
	v.Wait()
	asked := now.Asked()
	require.Greater(t, len(asked), 30)
	require.Contains(t, asked[:12], "new Quick.")
}

// Everything at once, by many workers: what comes of it is whole, and what a base
// holds that knew the new model alone.
func TestReembed_Concurrent(t *testing.T) {
	for _, profiles := range []bool{false, true} {
		old, now := newAnother("old"), newAnother("new")
		old.model, now.model = profiles, profiles
		o := small(engine.Options{Embedder: old})
		o.Workers = 4
		v := enginetest.New(t, o)
		for i := range 20 {
			v.Add("k", fmt.Sprint("d", i), docText(fmt.Sprint("d", i, "x"), 0))
		}
		v.Wait()
		v.Options.Embedder = now
		v.Restart()
		_, err := v.KB("k").Reembed(ctx, false)
		require.NoError(t, err)
		want := make([]engine.DocumentInput, 40)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				kb := v.KB("k")
				r := rand.New(rand.NewPCG(uint64(g), 9))
				for i := g; i < 40; i += 4 {
					id := fmt.Sprint("d", i)
					in := input(id, docText(id+"x", 0))
					var err error
					switch n := r.IntN(3); {
					case i >= 20:
						_, err = kb.Add(ctx, []engine.DocumentInput{in}, "insert")
					case n == 0:
						in.ID = ""
						_, err = kb.Delete(ctx, []string{id}, false)
					case n == 1:
						in = input(id, docText(id+"y", 1))
						_, err = kb.Update(ctx, id, in)
					}
					if err != nil {
						t.Error(err)
					}
					want[i] = in
					if _, err := kb.Query(ctx, engine.Query{Query: "Who writes a sentence?"}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		v.Wait()
		for _, in := range want {
			if in.ID != "" {
				_, err := v.KB("fresh").Add(ctx, []engine.DocumentInput{in}, "insert")
				require.NoError(t, err)
			}
		}
		v.Wait()
		require.Equal(t, v.Dump("fresh"), v.Dump("k"))
	}
}

// While the change is under way no model works for documents or profiles.
func TestReembed_Parks(t *testing.T) {
	gate := enginetest.NewGate()
	old, now := newAnother("old"), newAnother("new")
	old.model, now.model = true, true
	o := small(engine.Options{Embedder: old})
	o.Workers = 2
	o.Extractor = &byLines{}
	const a, b, c = "entity|Ada|person|wrote letters", "entity|Ada|person|built engines", "entity|Ada|person|sailed"
	v := enginetest.New(t, o)
	v.Add("k", "a", a, "b", b)
	v.Wait()
	now.Before = func(ctx context.Context, n int, asked string) error {
		if n == 1 {
			return gate.Hold(ctx, n, asked)
		}
		return nil
	}
	v.Options.Embedder = now
	v.Restart()
	_, err := v.KB("k").Reembed(ctx, false)
	require.NoError(t, err)
	gate.Arrived()
	v.Add("k", "c", c)
	_, err = v.KB("k").Delete(ctx, []string{"b"}, false)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		q := v.QueueStats()
		return q.Waiting == 1 && q.Running == 1
	}, time.Minute, time.Millisecond, "the document is parked, the profile job is over, the change is at the gate")
	require.Equal(t, 1, now.Calls())
	jobs, err := v.KB("k").Jobs(ctx)
	require.NoError(t, err)
	require.Len(t, jobs, 1)
	require.Equal(t, "waiting", jobs[0].State)
	gate.Open()
	v.Wait()
	for text, n := range now.taken() {
		require.Equal(t, 1, n, "%q", text)
	}
	v.Add("fresh", "a", a, "c", c)
	v.Wait()
	require.Equal(t, v.Dump("fresh"), v.Dump("k"))
}
