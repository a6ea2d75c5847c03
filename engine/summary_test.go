package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
)

// summarist is a chat model that sums descriptions up as "SUM n of name", n
// being how many it was given. Anything else it answers with an empty object.
func summarist() *enginetest.Chatter {
	return &enginetest.Chatter{Reply: func(r engine.ChatRequest) (string, error) {
		if !isSummary(r) {
			return "{}", nil
		}
		name := strings.Split(strings.Split(r.System, "\n")[0], `"`)[1]
		return fmt.Sprintf("<think>hm</think>SUM %d of %s.", strings.Count(r.Messages[0].Content, `{"description":`), name), nil
	}}
}

func isSummary(r engine.ChatRequest) bool {
	return strings.HasPrefix(r.System, "You keep a knowledge graph.")
}

// describe is what the base says of Ada, asked for in a mode that needs no vectors.
func describe(t *testing.T, v *enginetest.Env, kb string, filter string) string {
	t.Helper()
	q := engine.Query{Query: "Who is Ada?", Mode: engine.ModeLocal, LLKeywords: []string{"Ada"}}
	if filter != "" {
		require.NoError(t, json.Unmarshal([]byte(filter), &q.Filter))
	}
	d, err := v.KB(kb).QueryData(ctx, q)
	require.NoError(t, err)
	for _, e := range d.Data.Entities {
		if e.EntityName == "Ada" {
			return e.Description
		}
	}
	return ""
}

func saysOfAda(i int) string {
	return fmt.Sprintf("entity|Ada|person|She did thing number %d.\nentity|Babbage|person|Saw thing %d.\nrelation|Ada|Babbage|k%d|Thing %d joined them.|1\n", i, i%3, i, i%2)
}

// Past eight descriptions the model writes one. It stands in while all that it is
// made of is said, for everybody who may see everything, and what is newer stands
// beside it until that is enough for another one.
func TestSummaries_StandInWhileTheyHold(t *testing.T) {
	for name, emb := range map[string]engine.Embedder{"pure": &enginetest.Embedder{}, "served": served{&enginetest.Embedder{}}} {
		t.Run(name, func(t *testing.T) {
			chat := summarist()
			v := enginetest.New(t, engine.Options{Embedder: emb, Extractor: &byLines{}, Chatter: chat, Workers: 2})
			stored := func(want ...string) {
				t.Helper()
				got, err := engine.SummaryTexts(space(v, "k"))
				require.NoError(t, err)
				require.ElementsMatch(t, want, got)
			}
			add := func(from, to int) {
				for i := from; i < to; i++ {
					v.Add("k", fmt.Sprint("d", i), saysOfAda(i))
				}
				v.Wait()
			}
			add(0, 7)
			require.Zero(t, chat.Calls())
			require.Contains(t, describe(t, v, "k", ""), "thing number 3")

			add(7, 8)
			require.Equal(t, 1, chat.Calls(), "Babbage has three descriptions, the pair two")
			require.Equal(t, "SUM 8 of Ada.", describe(t, v, "k", ""))
			stored("SUM 8 of Ada.")
			node, err := v.KB("k").Graph(ctx, engine.GraphRequest{Label: "Ada"})
			require.NoError(t, err)
			require.Equal(t, "SUM 8 of Ada.", node.Nodes[0].Properties["description"])

			seen := describe(t, v, "k", `{"doc_ids":["d0","d1","d2","d3","d4","d5","d6"]}`)
			require.NotContains(t, seen, "SUM")
			require.NotContains(t, seen, "thing number 7")
			all := describe(t, v, "k", `{"doc_ids":["d0","d1","d2","d3","d4","d5","d6","d7"]}`)
			require.NotContains(t, all, "SUM", "under any filter")

			v.Restart()
			v.Add("k", "other", "entity|Turin|place|A town.\n")
			v.Wait()
			require.Equal(t, 1, chat.Calls(), "it was in the store")
			require.Equal(t, "SUM 8 of Ada.", describe(t, v, "k", ""))

			// A new version that says the same is covered as well.
			_, err = v.KB("k").Update(ctx, "d7", engine.DocumentInput{Content: []byte(saysOfAda(7) + "entity|Turin|place|A town.\n")})
			require.NoError(t, err)
			v.Wait()
			require.Equal(t, 1, chat.Calls())
			require.Equal(t, "SUM 8 of Ada.", describe(t, v, "k", ""))

			add(8, 15)
			require.Equal(t, 1, chat.Calls())
			said := describe(t, v, "k", "")
			require.True(t, strings.HasPrefix(said, "SUM 8 of Ada.<SEP>She did thing number"), said)
			require.Equal(t, 7, strings.Count(said, "<SEP>"))
			require.NotContains(t, said, "thing number 7")

			// What is not covered may go: the summary holds.
			_, err = v.KB("k").Delete(ctx, []string{"d14"}, false)
			require.NoError(t, err)
			v.Wait()
			require.NotContains(t, describe(t, v, "k", ""), "thing number 14")
			stored("SUM 8 of Ada.")
			v.Restart() // what is uncovered is counted again
			add(14, 16)
			require.Equal(t, 2, chat.Calls())
			require.Equal(t, "SUM 9 of Ada.", describe(t, v, "k", ""), "of the old one and eight more")

			// Void at once, and made again when as much again is said.
			_, err = v.KB("k").Delete(ctx, []string{"d0"}, false)
			require.NoError(t, err)
			require.NotContains(t, describe(t, v, "k", ""), "SUM")
			v.Wait()
			stored("")
			v.Restart()
			require.NotContains(t, describe(t, v, "k", ""), "SUM")
			add(16, 23)
			require.Equal(t, 2, chat.Calls())
			add(23, 24)
			require.Equal(t, 3, chat.Calls())
			require.Equal(t, "SUM 23 of Ada.", describe(t, v, "k", ""))

			// A covered contribution that changes voids it as well.
			_, err = v.KB("k").Update(ctx, "d7", engine.DocumentInput{Content: []byte("entity|Ada|person|She did something else.\n")})
			require.NoError(t, err)
			v.Wait()
			require.NotContains(t, describe(t, v, "k", ""), "SUM")
			require.Equal(t, 3, chat.Calls())

			// A server without a chat model shows what is said.
			add(24, 32)
			require.Equal(t, "SUM 31 of Ada.", describe(t, v, "k", ""))
			v.Options.Chatter = nil
			v.Restart()
			require.NotContains(t, describe(t, v, "k", ""), "SUM")
		})
	}
}

// What is deleted does not live on in the store inside of a summary, though the
// model is away and nobody looks. No delete asks the model.
func TestSummaries_NothingLivesOn(t *testing.T) {
	chat := summarist()
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}, Chatter: chat})
	var docs []string
	for i := range 20 {
		docs = append(docs, fmt.Sprint("d", i))
		v.Add("k", docs[i], saysOfAda(i))
	}
	v.Wait()
	require.Contains(t, describe(t, v, "k", ""), "SUM")
	calls := chat.Calls()
	for _, at := range []int{0, 19} {
		v.Restart() // not in memory
		_, err := v.KB("k").Delete(ctx, docs[at:at+1], false)
		require.NoError(t, err)
		v.Wait()
	}
	texts, err := engine.SummaryTexts(space(v, "k"))
	require.NoError(t, err)
	require.NotContains(t, strings.Join(texts, "\n"), "SUM")
	require.Contains(t, describe(t, v, "k", ""), "thing number")
	require.Equal(t, calls, chat.Calls())

	_, err = v.KB("k").Delete(ctx, docs[1:19], false)
	require.NoError(t, err)
	v.Wait()
	n, err := engine.StoredSummaries(space(v, "k"))
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, calls, chat.Calls())
}

// A summary that is being made while one of its contributions goes is not shown
// and does not stay.
func TestSummaries_WithdrawnWhileMade(t *testing.T) {
	gate := enginetest.NewGate()
	chat := summarist()
	chat.Before = gate.Hold
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}, Chatter: chat, Workers: 2})
	for i := range 9 {
		v.Add("k", fmt.Sprint("d", i), saysOfAda(i))
	}
	gate.Arrived()
	_, err := v.KB("k").Delete(ctx, []string{"d0", "d1", "d2"}, false)
	require.NoError(t, err)
	gate.Open()
	v.Wait()
	require.NotContains(t, describe(t, v, "k", ""), "SUM")
	n, err := engine.StoredSummaries(space(v, "k"))
	require.NoError(t, err)
	require.Zero(t, n)
}

// A model that is away leaves summaries for the next change, whatever that is.
func TestSummaries_PutOff(t *testing.T) {
	chat := summarist()
	chat.Before = func(context.Context, int, string) error { return engine.ErrModelDown }
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}, Chatter: chat})
	for i := range 9 {
		v.Add("k", fmt.Sprint("d", i), saysOfAda(i))
	}
	v.Wait()
	require.NotContains(t, describe(t, v, "k", ""), "SUM")
	chat.Before = nil
	v.Add("k", "more", "entity|Turin|place|A town.\n")
	v.Wait()
	require.Equal(t, "SUM 9 of Ada.", describe(t, v, "k", ""))
}

// A summary is made of so many contributions at the most; newer ones stand beside it.
func TestSummaries_Full(t *testing.T) {
	chat := summarist()
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}, Chatter: chat, Workers: 1})
	add := func(from, to int) {
		var docs []string
		for i := from; i < to; i++ {
			docs = append(docs, fmt.Sprintf("d%03d", i), saysOfAda(i))
		}
		v.Add("k", docs...)
		v.Wait()
	}
	add(0, 210)
	calls := chat.Calls()
	require.Equal(t, "SUM", describe(t, v, "k", "")[:3])
	add(210, 260)
	v.Restart()
	add(260, 300)
	require.Equal(t, calls, chat.Calls())
	said := describe(t, v, "k", "")
	require.Equal(t, "SUM", said[:3])
	require.Equal(t, 8, strings.Count(said, "<SEP>"))
}

// What is known of a thing only by its relations is all covered: when the second of
// them changes, the summary is void.
func TestSummaries_EndsOfRelations(t *testing.T) {
	chat := summarist()
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}, Chatter: chat, Workers: 1})
	says := func(i int) string {
		return fmt.Sprintf("relation|Ada|Babbage|k|Thing %d joined them.|1\nrelation|Ada|Turin|k|Visit %d took her there.|1\n", i, i)
	}
	for i := range 8 {
		v.Add("k", fmt.Sprint("d", i), says(i))
	}
	v.Wait()
	require.Contains(t, describe(t, v, "k", ""), "SUM")
	_, err := v.KB("k").Update(ctx, "d3", engine.DocumentInput{Content: []byte(strings.ReplaceAll(says(3), "Visit 3", "Nothing"))})
	require.NoError(t, err)
	v.Wait()
	require.NotContains(t, describe(t, v, "k", ""), "SUM")
}

// Few long descriptions are summed up as well; many are in groups that fit the
// model's window, whatever that is.
func TestSummaries_MapAndReduce(t *testing.T) {
	words := func(seed, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "word%d ", seed*1000+i)
		}
		return b.String()
	}
	window := 0
	chat := summarist()
	answer := chat.Reply
	longest := 0
	chat.Reply = func(r engine.ChatRequest) (string, error) {
		if isSummary(r) {
			n := engine.CountTokens(r.Messages[0].Content)
			if window > 0 && n > window {
				return "", engine.ErrPromptTooLong
			}
			longest = max(longest, n)
		}
		return answer(r)
	}
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}, Chatter: chat, ModelConcurrency: 1, Workers: 1})
	v.Add("two", "a", "entity|Ada|person|"+words(1, 300)+"\n", "b", "entity|Ada|person|"+words(2, 300)+"\n")
	v.Wait()
	require.Equal(t, 1, chat.Calls())
	require.Equal(t, "SUM 2 of Ada.", describe(t, v, "two", ""))

	many := func(kb string) {
		for i := range 60 {
			v.Add(kb, fmt.Sprint("d", i), "entity|Ada|person|"+words(i, 150)+"\n")
		}
		v.Wait()
	}
	before := chat.Calls()
	many("many")
	n := chat.Calls() - before // one for eight documents, or for the 1,200 tokens of fewer
	require.Contains(t, describe(t, v, "many", ""), "SUM")
	require.LessOrEqual(t, longest, 14_000)
	require.LessOrEqual(t, n, 60/2)
	window = 2500
	longest = 0
	many("small")
	require.Contains(t, describe(t, v, "small", ""), "SUM")
	require.LessOrEqual(t, longest, window)

	// Where even two do not fit, what is said stands for itself and nobody asks again.
	window = 10
	many("none")
	require.NotContains(t, describe(t, v, "none", ""), "SUM")
	before = chat.Calls()
	v.Add("none", "other", "entity|Turin|place|A town.\n")
	v.Wait()
	require.Equal(t, before, chat.Calls())
}

// The model's faults cost the summary and nothing else.
func TestSummaries_Faults(t *testing.T) {
	for name, reply := range map[string]func(engine.ChatRequest) (string, error){
		"refused": func(engine.ChatRequest) (string, error) { return "", engine.ErrModelRefused },
		"empty":   func(engine.ChatRequest) (string, error) { return "<think>only", nil },
		"panic":   func(engine.ChatRequest) (string, error) { panic("model") },
		"away":    func(engine.ChatRequest) (string, error) { return "", engine.ErrModelDown },
		"missing": func(engine.ChatRequest) (string, error) { return "", engine.ErrModelMissing },
	} {
		t.Run(name, func(t *testing.T) {
			chat := &enginetest.Chatter{Reply: reply}
			v := enginetest.New(t, engine.Options{Embedder: served{&enginetest.Embedder{}}, Extractor: &byLines{}, Chatter: chat, Workers: 1})
			for i := range 9 {
				v.Add("k", fmt.Sprint("d", i), saysOfAda(i))
			}
			v.Wait()
			require.Contains(t, describe(t, v, "k", ""), "thing number")
			for i := range 9 {
				require.Equal(t, engine.StatusProcessed, document(t, v, "k", fmt.Sprint("d", i)).Status)
			}
			e, _, stale, err := engine.SearchedProfiles(v.Engine, space(v, "k"))
			require.NoError(t, err)
			require.Equal(t, []int{2, 0}, []int{e, stale}, "profiles are made all the same")
			require.LessOrEqual(t, chat.Calls(), 9)
		})
	}
}

// One job writes so many and leaves the rest to another, until all are there.
func TestSummaries_BoundedWork(t *testing.T) {
	chat := summarist()
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}, Chatter: chat, Workers: 1})
	var pairs []string
	for d := range 8 {
		var b strings.Builder
		for e := range 300 {
			fmt.Fprintf(&b, "entity|Name%d|thing|Document %d says this.\n", e, d)
		}
		pairs = append(pairs, fmt.Sprint("d", d), b.String())
	}
	v.Add("k", pairs...)
	v.Wait()
	require.Equal(t, 300, chat.Calls())
	n, err := engine.StoredSummaries(space(v, "k"))
	require.NoError(t, err)
	require.Equal(t, 300, n)
}

// The prompt and the language are those of the knowledge base.
func TestSummaries_Settings(t *testing.T) {
	chat := summarist()
	var systems []string
	answer := chat.Reply
	chat.Reply = func(r engine.ChatRequest) (string, error) {
		systems = append(systems, r.System)
		return answer(r)
	}
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}, Chatter: chat, Workers: 1})
	configure(t, v, "k", `{"language":"German","prompts":{"summary":"You keep a knowledge graph. {name} in {language}, {tokens}."}}`)
	for i := range 8 {
		v.Add("k", fmt.Sprint("d", i), saysOfAda(i))
	}
	v.Wait()
	require.Equal(t, []string{`You keep a knowledge graph. "Ada" in German, 600.`}, systems)
}

// What stands beside a summary is not embedded: the profile is made again with the
// summary.
func TestProfiles_OfASummary(t *testing.T) {
	emb := &profiled{served: served{&enginetest.Embedder{}}}
	v := enginetest.New(t, engine.Options{Embedder: emb, Extractor: &byLines{}, Chatter: summarist(), Workers: 1})
	n := 0
	for i := range 24 {
		v.Add("k", fmt.Sprint("d", i), saysOfAda(i))
		v.Wait()
		for _, x := range emb.taken() {
			if x == "Ada" {
				n++
			}
		}
	}
	require.Equal(t, 7+2, n, "the third summary says what the second does")
	e, _, stale, err := engine.SearchedProfiles(v.Engine, space(v, "k"))
	require.NoError(t, err)
	require.Equal(t, []int{2, 0}, []int{e, stale})
}

// A profile is embedded when its text changes and not when another passage says
// the same.
func TestProfiles_SameTextIsNotEmbedded(t *testing.T) {
	emb := &profiled{served: served{&enginetest.Embedder{}}}
	v := enginetest.New(t, engine.Options{Embedder: emb, Extractor: &byLines{}, Workers: 1})
	v.Add("k", "a", "entity|Ada|person|wrote\nentity|Babbage|person|built\n")
	v.Wait()
	emb.taken()
	v.Add("k", "b", "again\nentity|Ada|person|wrote\nentity|Babbage|person|built much\n")
	v.Wait()
	require.Equal(t, []string{"again", "Babbage"}, emb.taken())
	e, _, stale, err := engine.SearchedProfiles(v.Engine, space(v, "k"))
	require.NoError(t, err)
	require.Equal(t, []int{2, 0}, []int{e, stale}, "the vector that is there is searched")
	v.Restart()
	v.Wait()
	e, _, stale, err = engine.SearchedProfiles(v.Engine, space(v, "k"))
	require.NoError(t, err)
	require.Equal(t, []int{2, 0}, []int{e, stale})
	require.Empty(t, emb.taken())
}

// The profiles of a document go to the embedder together.
func TestProfiles_BatchedAcrossADocument(t *testing.T) {
	emb := &enginetest.Embedder{}
	v := enginetest.New(t, engine.Options{Embedder: served{emb}, Extractor: &byLines{}, Workers: 1, EmbedBatch: 64})
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, "entity|Name%d|thing|Says %d.\n", i, i)
	}
	v.Add("k", "d", b.String())
	v.Wait()
	require.Equal(t, 1+2, emb.Calls(), "a chunk, and 100 names in two batches")
}
