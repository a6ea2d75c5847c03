package lightrag_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/engine/enginetest/evaldata"
	"alcove/engine/lightrag"
)

const lawFolder = "llm-replay/eu-ai-act-lightrag/"

var ctx = context.Background()

func readWorkspace(t testing.TB, dir, name string) *lightrag.Workspace {
	t.Helper()
	f, err := lightrag.OpenFolder(dir, lightrag.Limits{})
	require.NoError(t, err)
	defer f.Close()
	w, err := f.Read(ctx, name)
	require.NoError(t, err)
	return w
}

// adopt brings a plan into a knowledge base with models that must not be asked.
func adopt(t testing.TB, v *enginetest.Env, kb string, p *lightrag.Plan) {
	t.Helper()
	for _, d := range p.Documents {
		_, err := v.KB(kb).Adopt(ctx, d.Adoption)
		require.NoError(t, err)
	}
	v.Wait()
}

// The recorded run over the EU AI Act, once from what its graph alone says and once
// from a whole working folder with the cached answers: 778 entities and 674 relations,
// which are 728 and 665 here, with the same neighbours; all 59 chunks as they were cut;
// no model is asked.
func TestMigrate_EUAIAct(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "rag_storage")
	evaldata.LightRAGFolder(t, whole)
	for _, c := range []struct {
		name, dir                       string
		fromAnswers, fromGraph, rebuilt int
	}{
		{name: "the graph alone", dir: evaldata.Path(t, lawFolder+"expected"), fromGraph: 59, rebuilt: 1},
		{name: "a whole folder", dir: whole, fromAnswers: 59},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := readWorkspace(t, c.dir, "")
			require.Equal(t, 1024, w.Dim)
			require.Empty(t, w.Notes)
			p := w.Plan("bge-large")
			t.Log(p.Summary(), p.AddedFromGraph, p.LeftOut, p.Unplaced)
			require.Equal(t, c.fromAnswers, p.FromAnswers)
			require.Equal(t, c.fromGraph, p.FromGraph)
			require.Equal(t, c.rebuilt, p.Rebuilt)
			require.Zero(t, p.Unplaced)
			require.Zero(t, p.Manual)
			require.Empty(t, p.Waiting)
			require.Empty(t, p.Skipped)

			chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "", engine.ErrModelDown }}
			emb := &asked{model: "bge-large"}
			v := enginetest.New(t, engine.Options{
				Offline: true, Embedder: emb, Extractor: engine.ModelExtractor(chat, engine.ExtractOptions{}),
			})
			adopt(t, v, "k", p)
			require.Zero(t, chat.Calls())
			require.Zero(t, emb.texts, "no text was embedded")

			r := v.KB("k")
			got, err := p.Verify(ctx, &r.Reader, true)
			require.NoError(t, err)
			require.Empty(t, got.Mismatches)
			require.Equal(t, []int{778, 674, 728, 665}, []int{got.SourceEntities, got.SourceRelations, got.FoundEntities, got.FoundRelations})
			require.Equal(t, 728, got.Neighbours)
			require.Equal(t, 59, got.Chunks)
			require.Equal(t, got.FoundRelations, p.Check().FoundRelations)

			// The embedder of the run answers questions: a chunk finds itself.
			emb.known = map[string][]float32{}
			for i, a := range p.Documents[0].Chunks {
				question := fmt.Sprint("zzz", i)
				emb.known[question] = a.Vector
				d, err := r.QueryData(ctx, engine.Query{Query: question, Mode: engine.ModeNaive})
				require.NoError(t, err)
				require.NotEmpty(t, d.Data.Chunks)
				require.Equal(t, a.Text, d.Data.Chunks[0].Content, i)
			}
		})
	}
}

// asked is an embedder that counts what it is asked and knows a few texts.
type asked struct {
	model string
	texts int
	known map[string][]float32
}

func (a *asked) Embed(_ context.Context, texts []string) (out [][]float32, err error) {
	for _, x := range texts {
		v, ok := a.known[x]
		if !ok {
			a.texts++
			v = make([]float32, 1024)
			v[0] = 1
		}
		out = append(out, v)
	}
	return out, nil
}
func (a *asked) Model() string { return a.model }
func (a *asked) Pure() bool    { return false }
