package engine_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/builtin"
	"alcove/engine/enginetest"
	"alcove/engine/enginetest/evaldata"
	"alcove/tenancy"
)

// asFile is a knowledge base as one file.
func asFile(t testing.TB, kb *engine.KB, key ed25519.PrivateKey) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, kb.Export(ctx, key, func() io.Writer { return &b }))
	return b.Bytes()
}

func importFile(kb *engine.KB, file []byte, signer ed25519.PublicKey) (*engine.Imported, error) {
	return kb.Import(ctx, bytes.NewReader(file), int64(len(file)), signer)
}

// retrieved is what every mode retrieves and answers for a question, as text.
func retrieved(t testing.TB, kb *engine.KB, questions ...string) string {
	t.Helper()
	var b bytes.Buffer
	for _, q := range questions {
		for _, mode := range allModes {
			d, err := kb.QueryData(ctx, engine.Query{Query: q, Mode: mode})
			require.NoError(t, err)
			a, err := kb.Query(ctx, engine.Query{Query: q, Mode: mode})
			require.NoError(t, err)
			require.NoError(t, json.NewEncoder(&b).Encode([]any{mode, d.Data, a.Response, a.References}))
		}
	}
	return b.String()
}

// storied is a base with everything in it that there can be: documents that were
// changed, deleted, that failed, that wait; stored answers, merges and edits; vectors
// of entities and relations made by a model.
func storied(t testing.TB, v *enginetest.Env, chat *enginetest.Chatter) *engine.KB {
	t.Helper()
	v.Add("old", "a", "Ada Lovelace wrote to Charles Babbage.", "b", long("Turin", 6), "c", "Nobody reads this.", "d", "Luigi Menabrea lived in Turin.")
	v.Wait()
	kb := v.KB("old")
	_, err := kb.Delete(ctx, []string{"c"}, false)
	require.NoError(t, err)
	_, err = kb.Update(ctx, "d", engine.DocumentInput{FilePath: "d.md", Content: []byte("Luigi Menabrea spoke in Turin of the Engine."), Metadata: map[string]any{"year": 1842}})
	require.NoError(t, err)
	v.Wait()
	_, err = kb.CreateEntity(ctx, "By Hand", engine.EntityEdit{})
	require.NoError(t, err)
	_, err = kb.Merge(ctx, engine.MergeRequest{Change: []string{"Luigi"}, Into: "Turin"})
	if !errors.Is(err, engine.ErrNotFound) {
		require.NoError(t, err)
	}
	v.Wait()
	return kb
}

// A knowledge base that was imported is the one that was exported: the same ground
// state, the same answers, and no model was asked for it; again exported it is the same
// file but for its head. So it is with pure vectors and with those of a model.
func TestPortable_ComesBackWithoutAModel(t *testing.T) {
	for name, embed := range map[string]func() engine.Embedder{
		"pure": func() engine.Embedder { return &enginetest.Embedder{} }, "of a model": func() engine.Embedder { return &modelEmbedder{} },
	} {
		t.Run(name, func(t *testing.T) {
			chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "Name", nil }}
			o := small(engine.Options{Chatter: chat, Extractor: byChat{chat}, Embedder: embed()})
			v := enginetest.New(t, o)
			kb := storied(t, v, chat)
			want, answers := v.Dump("old"), check(t, v, "old").Answers
			require.NotZero(t, answers)
			// One that nobody has seen yet, and one whose next version is being made.
			gate := enginetest.NewGate()
			chat.Before = gate.Hold
			v.Add("old", "new", "Not seen yet.")
			_, err := kb.Update(ctx, "a", engine.DocumentInput{FilePath: "a.md", Content: []byte("Ada wrote no letters at all.")})
			require.NoError(t, err)
			gate.Arrived()
			file := asFile(t, kb, nil)

			fresh := v.KB("new")
			calls := chat.Calls()
			got, err := importFile(fresh, file, nil)
			require.NoError(t, err)
			require.Equal(t, []int{3, 1}, []int{got.Documents, got.From.LeftOut})
			require.True(t, got.ModelMatches)
			require.Equal(t, want, v.Dump("new"))
			require.Equal(t, calls, chat.Calls(), "no model was asked")
			gate.Open()
			v.Wait()
			require.Equal(t, answers, check(t, v, "new").Answers)
			calls = chat.Calls()
			v.Add("new", "same", long("Turin", 6)) // what was paid for is not asked again
			v.Wait()
			require.Equal(t, calls, chat.Calls())
			_, err = fresh.Delete(ctx, []string{"same"}, false)
			require.NoError(t, err)
			v.Wait()
			require.Equal(t, want, v.Dump("new"))
		})
	}
}

// Nothing of a file that was changed or cut, or that a careful hand made wrong, gets into
// a knowledge base: it stays new, and takes the right file afterwards.
func TestPortable_RefusesWhatIsNotWhole(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "Name", nil }}
	v := enginetest.New(t, small(engine.Options{Chatter: chat, Extractor: byChat{chat}}))
	file := asFile(t, storied(t, v, chat), key)
	kb := v.KB("new")
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	refused := func(b []byte, what string) {
		t.Helper()
		_, err := importFile(kb, b, nil)
		var field *engine.FieldError
		require.ErrorAs(t, err, &field, what)
		require.Equal(t, "body", field.Field)
	}
	for range 200 {
		at := r.IntN(len(file))
		flipped := bytes.Clone(file)
		flipped[at] ^= 1 << r.IntN(8)
		refused(flipped, fmt.Sprint("byte ", at))
	}
	for range 50 {
		at := r.IntN(len(file))
		refused(file[:at], fmt.Sprint("cut at ", at))
	}
	other, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	_, err = importFile(kb, file, other)
	require.ErrorIs(t, err, engine.ErrBadInput, "signed by another")
	require.Empty(t, v.Dump("new"))
	counts, err := kb.Counts(ctx)
	require.NoError(t, err)
	require.Zero(t, counts.Documents)

	got, err := importFile(kb, file, pub)
	require.NoError(t, err)
	require.True(t, got.Signed)
	require.Equal(t, v.Dump("old"), v.Dump("new"))
	question := []string{"Who spoke in Turin?", "What did Ada write?"}
	require.Equal(t, retrieved(t, v.KB("old"), question...), retrieved(t, kb, question...))
	_, err = importFile(kb, file, nil)
	require.ErrorIs(t, err, engine.ErrState, "it is not new any more")
}

// An import that was stopped leaves nothing; one that a crash ended keeps the
// knowledge base closed until it is done again.
func TestPortable_Interrupted(t *testing.T) {
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "Name", nil }}
	v := enginetest.New(t, small(engine.Options{Chatter: chat, Extractor: byChat{chat}}))
	file := asFile(t, storied(t, v, chat), nil)

	stop, cancel := context.WithCancel(ctx)
	src := &secondTime{ReadSeeker: bytes.NewReader(file), then: cancel}
	_, err := v.KB("stopped").Import(stop, src, int64(len(file)), nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, v.Dump("stopped"))
	_, err = importFile(v.KB("stopped"), file, nil)
	require.NoError(t, err)

	require.NoError(t, engine.Interrupt(v.Space(enginetest.Tenant, "crashed", tenancy.PermKBManage)))
	_, err = v.KB("crashed").Query(ctx, engine.Query{Query: "Who wrote?", Mode: engine.ModeNaive})
	require.ErrorIs(t, err, engine.ErrState)
	_, err = v.KB("crashed").Documents(ctx, engine.DocumentsRequest{})
	require.ErrorIs(t, err, engine.ErrState)
	_, err = v.KB("crashed").Add(ctx, []engine.DocumentInput{{ID: "x", FilePath: "x.txt", Content: []byte("Text.")}}, "insert")
	require.ErrorIs(t, err, engine.ErrState)
	_, err = importFile(v.KB("crashed"), file, nil)
	require.NoError(t, err)
	require.Equal(t, v.Dump("old"), v.Dump("crashed"))
}

// secondTime calls then when it is read after having been put back to its beginning.
type secondTime struct {
	io.ReadSeeker
	then func()
	back bool
}

func (s *secondTime) Seek(at int64, whence int) (int64, error) {
	s.back = true
	return s.ReadSeeker.Seek(at, whence)
}

func (s *secondTime) Read(b []byte) (int, error) {
	if s.back {
		s.then()
	}
	return s.ReadSeeker.Read(b)
}

// BenchmarkPortable is the 6,119 passages as one file: written, read into a new
// knowledge base, asked 50 questions there and here, and refused 200 times for a flipped
// bit and 50 times for a cut.
func BenchmarkPortable(b *testing.B) {
	v, _ := wikiBase(b)
	kb := v.KB("wiki")
	var questions []string
	for _, q := range evaldata.Rows[struct{ Question string }](b, "qa/2wiki/questions.jsonl")[:50] {
		questions = append(questions, q.Question)
	}
	t := time.Now()
	file := asFile(b, kb, nil)
	wrote := time.Since(t)
	usage, err := v.Space(enginetest.Tenant, "wiki", tenancy.PermKBAccess).Usage(ctx)
	require.NoError(b, err)
	e := enginetest.New(b, engine.Options{Embedder: builtin.Embedder(), Extractor: builtin.Extractor(builtin.Options{}), Answerer: builtin.Answerer()})
	fresh := e.KB("fresh")
	r := rand.New(rand.NewPCG(1, 2))
	refused, flips, cuts := time.Duration(0), 0, 0
	for i := range 250 {
		bad, at := file, r.IntN(len(file))
		if i < 200 {
			file[at] ^= 1 << (i % 8)
		} else {
			bad = file[:at]
		}
		t := time.Now()
		_, err := importFile(fresh, bad, nil)
		refused += time.Since(t)
		if i < 200 {
			file[at] ^= 1 << (i % 8)
		}
		if errors.Is(err, engine.ErrBadInput) {
			if i < 200 {
				flips++
			} else {
				cuts++
			}
		}
	}
	t = time.Now()
	got, err := importFile(fresh, file, nil)
	require.NoError(b, err)
	read := time.Since(t)
	require.Equal(b, retrieved(b, kb, questions...), retrieved(b, fresh, questions...))
	require.Equal(b, []int{200, 50}, []int{flips, cuts})
	fmt.Fprintf(os.Stderr, "%d documents, %d records: file %.1f MB of %.1f MB stored; exported in %v, imported in %v; %d flips and %d cuts refused, %v each; 50 questions x %d modes equal\n",
		got.Documents, got.Records, float64(len(file))/1e6, float64(usage.Bytes)/1e6, wrote, read, flips, cuts, refused/250, len(allModes))
}
