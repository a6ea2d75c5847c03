package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// byLines reads what a passage says from its lines: "entity|name|type|description"
// and "relation|source|target|keywords|description|weight".
type byLines struct{ enginetest.Script }

func (x *byLines) Extract(_ context.Context, p engine.Passage) (out engine.Extraction, err error) {
	for line := range strings.Lines(p.Text) {
		f := strings.Split(strings.TrimSpace(line), "|")
		switch {
		case f[0] == "entity" && len(f) == 4:
			out.Entities = append(out.Entities, engine.EntityMention{Name: f[1], Type: f[2], Description: f[3]})
		case f[0] == "relation" && len(f) == 6:
			w, _ := strconv.ParseFloat(f[5], 64)
			out.Relations = append(out.Relations, engine.RelationMention{Source: f[1], Target: f[2], Keywords: f[3], Description: f[4], Weight: w})
		}
	}
	return out, nil
}

func (*byLines) Identity() string { return "by lines" }

// served is the scripted embedder as a model server's: profiles are stored.
type served struct{ *enginetest.Embedder }

func (served) Pure() bool { return false }

// embeddings are the two kinds of base that a copy is kept of: one whose vectors are
// made again from the text, and one that stores what a server answered.
func embeddings() map[string]engine.Options {
	return map[string]engine.Options{
		"pure":   {Extractor: &byLines{}},
		"served": {Extractor: &byLines{}, Embedder: served{&enginetest.Embedder{}}},
	}
}

var spellings = [][]string{
	{"Ada Lovelace", "ada lovelace", "ADA LOVELACE"}, {"Charles Babbage", "Babbage"}, {"Babbage", "babbage"},
	{"Analytical Engine", "analytical engine"}, {"London"}, {"Turin", "TURIN"}, {"Menabrea"}, {"!!!"}, {"小説", "小説"},
}

func randomText(r *rand.Rand) string {
	name := func() string {
		s := spellings[r.IntN(len(spellings))]
		return s[r.IntN(len(s))]
	}
	weights := []string{"1", "2.5", "0.0000001", "7", "0"}
	var b strings.Builder
	for range 1 + r.IntN(4) {
		fmt.Fprintf(&b, "%s wrote to %s in %d.\n", name(), name(), 1840+r.IntN(5))
	}
	for range r.IntN(6) {
		fmt.Fprintf(&b, "entity|%s|%s|%s lives here %d\n", name(), []string{"person", "place", ""}[r.IntN(3)], name(), r.IntN(3))
	}
	for range r.IntN(6) { // ends without a record, both ways, with itself
		fmt.Fprintf(&b, "relation|%s|%s|%s|%s|%s\n", name(), name(), []string{"letters", "letters, travel", ""}[r.IntN(3)],
			[]string{"They wrote.", "They met in Turin.", ""}[r.IntN(3)], weights[r.IntN(len(weights))])
	}
	return b.String()
}

// observe writes down everything that a reader can see of a base.
func observe(t testing.TB, v *enginetest.Env, name string) string {
	t.Helper()
	kb := v.KB(name)
	var b strings.Builder
	put := func(what string, x any, err error) {
		if err != nil {
			x = "error: " + err.Error()
		}
		j, jerr := json.Marshal(x)
		require.NoError(t, jerr)
		fmt.Fprintf(&b, "%s: %s\n", what, j)
	}
	for _, mode := range []engine.Mode{engine.ModeNaive, engine.ModeLocal, engine.ModeGlobal, engine.ModeHybrid, engine.ModeMix, engine.ModePPR} {
		for _, q := range []string{"Who wrote to Babbage in 1843?", "letters and travel between London and Turin", "nothing of this is known", "小説 Ada"} {
			d, err := kb.QueryData(ctx, engine.Query{Query: q, Mode: mode})
			if err == nil {
				d.Metadata.StagesMS = nil
			}
			put(string(mode)+" "+q, d, err)
		}
	}
	g, err := kb.Graph(ctx, engine.GraphRequest{})
	put("graph", g, err)
	labels, err := kb.Labels(ctx, "", 0, nil)
	put("labels", labels, err)
	found, err := kb.Labels(ctx, "ba", 0, nil)
	put("labels ba", found, err)
	popular, err := kb.PopularLabels(ctx, 0, nil)
	put("popular", popular, err)
	for _, l := range labels {
		n, err := kb.Entity(ctx, l, nil)
		put("entity "+l, n, err)
		g, err := kb.Graph(ctx, engine.GraphRequest{Label: l, MaxDepth: 2, MaxNodes: 4})
		put("around "+l, g, err)
		p, err := kb.Path(ctx, labels[0], l, nil)
		put("path "+l, p, err)
	}
	return b.String()
}

// A copy that followed a history sees what one sees that is read afresh.
func TestResident_IncrementalIsFresh(t *testing.T) {
	for name, o := range embeddings() {
		t.Run(name, func(t *testing.T) {
			o.ChunkTokens, o.ChunkOverlap = 60, 1
			v := enginetest.New(t, o)
			seed := uint64(7)
			r := rand.New(rand.NewPCG(seed, 1))
			known := map[string]bool{}
			observe(t, v, "k") // in memory from the start: an empty base
			for round := range engine.Rounds(8) {
				for range 12 {
					id := fmt.Sprint("doc-", r.IntN(10))
					kb := v.KB("k")
					switch {
					case !known[id]:
						v.Add("k", id, randomText(r))
						known[id] = true
					case r.IntN(2) == 0:
						_, err := kb.Delete(ctx, []string{id}, false)
						require.NoError(t, err)
						delete(known, id)
					default:
						_, err := kb.Update(ctx, id, engine.DocumentInput{FilePath: id + ".txt", Content: []byte(randomText(r))})
						require.NoError(t, err)
					}
					if r.IntN(3) == 0 {
						v.Wait()
						observe(t, v, "k")
					}
				}
				v.Wait()
				incremental := observe(t, v, "k")
				v.Restart()
				v.Wait()
				require.Equal(t, observe(t, v, "k"), incremental, "seed %d round %d", seed, round)
			}
		})
	}
}

// What is deleted costs nothing: a base that was filled and emptied with new
// names each time takes no more than after the first time.
func TestResident_EmptiedCostsNothing(t *testing.T) {
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}, Embedder: served{&enginetest.Embedder{}}})
	space := v.Space(enginetest.Tenant, "k", tenancy.PermKBAccess)
	_, err := engine.ResidentBytes(v.Engine, space)
	require.NoError(t, err)
	var after []int64
	for round := range 4 {
		var ids []string
		for i := range 20 {
			id := fmt.Sprintf("doc-%d-%02d", round, i)
			ids = append(ids, id)
			v.Add("k", id, fmt.Sprintf("Name%d%02d wrote.\nentity|Name%d%02d|person|A person of round %d\nrelation|Name%d%02d|Other%d%02d|k|d|1\nrelation|Hub|Name%d%02d|k|d|1\n",
				round, i, round, i, round, round, i, round, i, round, i))
		}
		v.Wait()
		full, err := engine.ResidentBytes(v.Engine, space)
		require.NoError(t, err)
		_, err = v.KB("k").Delete(ctx, ids, false)
		require.NoError(t, err)
		v.Wait()
		cost, err := engine.ResidentCost(v.Engine, space)
		require.NoError(t, err)
		require.Zero(t, cost, "round %d: beside the slots that are used again", round)
		empty, err := engine.ResidentBytes(v.Engine, space)
		require.NoError(t, err)
		require.Less(t, empty, full)
		after = append(after, empty)
	}
	require.LessOrEqual(t, after[3], after[1])
	n, err := engine.StoredProfiles(space)
	require.NoError(t, err)
	require.Zero(t, n)
}
