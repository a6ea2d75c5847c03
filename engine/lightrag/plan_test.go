package lightrag_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/engine/lightrag"
)

const twoAnswers = `{"default:extract:a":{"return":"entity<|#|>Ada<|#|>person<|#|>She wrote.\nentity<|#|>Babbage<|#|>person<|#|>Was written to.\nentity<|#|>Letter<|#|>content<|#|>Was sent.\nrelation<|#|>Ada<|#|>Babbage<|#|>letters<|#|>She wrote to him.\nrelation<|#|>Ada<|#|>Letter<|#|>writing<|#|>She wrote it.\n<|COMPLETE|>","cache_type":"extract","chunk_id":"c1"},
"default:extract:b":{"return":"entity<|#|>Ada<|#|>person<|#|>She wrote to Babbage, it says.\n<|COMPLETE|>","cache_type":"extract","chunk_id":"c1"}}`

// said lists what a document's chunks say, a line each.
func said(d lightrag.Planned) (out []string) {
	for i, c := range d.Chunks {
		n := string(rune('0' + i))
		for _, e := range c.Said.Entities {
			out = append(out, n+" "+e.Name+" ("+e.Type+"): "+e.Description)
		}
		for _, r := range c.Said.Relations {
			out = append(out, n+" "+r.Source+" - "+r.Target+" ["+r.Keywords+"]: "+r.Description)
		}
	}
	return out
}

// What each chunk said comes from the answers; what is there at all, from the graph.
func TestPlan_AnswersAndGraph(t *testing.T) {
	dir := lay(t, map[string]string{
		"kv_store_full_docs.json": twoDocs, "kv_store_text_chunks.json": twoChunks, "kv_store_llm_response_cache.json": twoAnswers,
		"graph_chunk_entity_relation.graphml": graphml(
			node("Ada", "person", "merged text", "c1") + // the answers' own words stand
				node("Babbage’s", "person", "Built&lt;SEP&gt;And again", "c2") + // of a chunk without answers
				node("Babbage", "person", "x", "c1&lt;SEP&gt;c2") +
				node("Countess", "title", "People added it.", "c1") + // by hand, to a chunk
				node("Engine", "artifact", "Made by hand.", "manual_creation") + // of no chunk
				edge("Babbage", "Ada", "3", "y", "c1") +
				edge("Babbage", "Engine", "1.5", "He built it.", "c2") +
				edge("Ada", "Engine", "1", "By hand.", "manual_creation")),
	})
	w := readWorkspace(t, dir, "")
	p := w.Plan("")
	require.Len(t, p.Documents, 2)
	d := p.Documents[0]
	require.Equal(t, "d", d.ID)
	require.Equal(t, [][2]int{{0, 21}, {22, 46}}, [][2]int{{d.Chunks[0].Start, d.Chunks[0].End}, {d.Chunks[1].Start, d.Chunks[1].End}})
	require.Equal(t, []string{
		"0 Babbage (person): Was written to.",
		"0 Ada (person): She wrote to Babbage, it says.", // the longer one, as LightRAG takes it
		"0 Countess (title): People added it.",
		"0 Ada - Babbage [letters]: She wrote to him.",
		"1 Babbage’s (person): Built And again",
		"1 Babbage (person): ",
		"1 Babbage - Engine []: He built it.",
	}, said(d), "the letter was deleted, with its relation")
	require.Equal(t, 3.0, d.Chunks[0].Said.Relations[0].Weight)
	require.Equal(t, 1.5, d.Chunks[1].Said.Relations[0].Weight)
	require.Equal(t, []string{"0 Engine (artifact): Made by hand.", "0 Ada - Engine []: By hand."}, said(p.Documents[1]))
	require.Equal(t, []int{1, 1, 1, 2, 2}, []int{p.FromAnswers, p.FromGraph, p.AddedFromGraph, p.LeftOut, p.Manual})

	got := p.Check()
	require.Empty(t, got.Mismatches)
	require.Equal(t, []int{5, 3, 5, 3}, []int{got.SourceEntities, got.SourceRelations, got.FoundEntities, got.FoundRelations})

	v := enginetest.New(t, engine.Options{})
	adopt(t, v, "k", p)
	kb := v.KB("k")
	got, err := p.Verify(ctx, &kb.Reader, true)
	require.NoError(t, err)
	require.Empty(t, got.Mismatches)
	require.Equal(t, 3, got.Chunks)

	// A comparison that cannot fail is none: one document more, then one less.
	v.Add("k", "other", "there Ursula met Viktor, and so on.")
	v.Wait()
	got, err = p.Verify(ctx, &kb.Reader, true)
	require.NoError(t, err)
	require.Contains(t, strings.Join(got.Mismatches, "\n"), `is too much`)
	got, err = p.Verify(ctx, &kb.Reader, false)
	require.NoError(t, err)
	require.Empty(t, got.Mismatches, "the base may hold more")
	_, err = kb.Delete(ctx, []string{"d"}, false)
	require.NoError(t, err)
	got, err = p.Verify(ctx, &kb.Reader, false)
	require.NoError(t, err)
	require.Equal(t, []string{`document d is not there`, `entity "babbage" is not there`, `entity "babbage's" is not there`, `entity "countess" is not there`,
		`relation "ada" | "babbage" is not there`}, slices.Sorted(slices.Values(got.Mismatches))[:5])
}

// Documents that LightRAG had not finished are worked on as texts; what has neither a
// text nor chunks is named; ids that are none here get one.
func TestPlan_Unfinished(t *testing.T) {
	dir := lay(t, map[string]string{
		"kv_store_full_docs.json": `{"d":{"content":"Ada wrote to Babbage.\nBabbage built an engine."},"new":{"content":"Fresh."},"blank":{"content":" "},"日本 1":{"content":"Ada."}}`,
		"kv_store_text_chunks.json": `{"c1":{"content":"Ada wrote to Babbage.","full_doc_id":"d","chunk_order_index":0},
			"j":{"content":"Ada.","full_doc_id":"日本 1","chunk_order_index":0}}`,
		"kv_store_doc_status.json": `{"d":{"status":"failed","error_msg":"out of money","file_path":"a.txt"},"new":{"status":"pending","created_at":"2026-05-26T20:40:09+00:00","metadata":{"k":1}},
			"dup-1":{"status":"failed","error_msg":"Duplicate"},"日本 1":{"status":"processed","track_id":"insert_1"}}`,
		"graph_chunk_entity_relation.graphml": graphml(node("Ada", "person", "x", "c1&lt;SEP&gt;j") + node("Babbage", "person", "x", "c1") + edge("Ada", "Babbage", "1", "z", "c1")),
	})
	p := readWorkspace(t, dir, "").Plan("")
	require.Len(t, p.Waiting, 2)
	require.Equal(t, []string{"d", "failed", "new", "pending"}, []string{p.Waiting[0].ID, p.Waiting[0].Status, p.Waiting[1].ID, p.Waiting[1].Status})
	require.Equal(t, map[string]any{"k": 1.0}, p.Waiting[1].Metadata)
	require.Equal(t, []lightrag.Skipped{{ID: "blank", Reason: "has no text"}, {ID: "dup-1", Reason: "is failed without a text: Duplicate"}}, p.Skipped)
	require.Len(t, p.Documents, 1)
	d := p.Documents[0]
	require.Regexp(t, `^doc-[0-9a-f]{32}$`, d.ID)
	require.Equal(t, "日本 1", d.Metadata["legacy_id"])
	require.Equal(t, "insert_1", d.TrackID)
	got := p.Check()
	require.Empty(t, got.Mismatches)
	require.Equal(t, 1, got.SourceEntities, "Babbage comes with the document that is still to be read")
}

// A text cut with any overlap is put together again, and each chunk found in it.
func TestPlan_TextsOfChunks(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	words := strings.Fields("Ada wrote a letter to Mr Babbage about the engine that naïve people called a mill and nothing came of it")
	for range 30 {
		var b strings.Builder
		for range 400 + r.IntN(400) {
			b.WriteString(words[r.IntN(len(words))] + " ")
		}
		text := strings.TrimSpace(b.String())
		var chunks []string
		for at := 0; ; {
			end := min(len(text), at+200+r.IntN(300))
			for end < len(text) && text[end] != ' ' {
				end++
			}
			chunks = append(chunks, strings.TrimSpace(text[at:end]))
			if end == len(text) {
				break
			}
			for at = end - 60 - r.IntN(60); text[at] != ' '; at-- {
			}
		}
		file := map[string]any{}
		for i, c := range chunks {
			file[fmt.Sprint("c", i)] = map[string]any{"content": c, "full_doc_id": "d", "chunk_order_index": i}
		}
		encoded, err := json.Marshal(file)
		require.NoError(t, err)
		for _, whole := range []bool{false, true} {
			files := map[string]string{"kv_store_text_chunks.json": string(encoded)}
			if whole {
				files["kv_store_full_docs.json"] = `{"d":{"content":"` + text + `"}}`
			}
			p := readWorkspace(t, lay(t, files), "").Plan("")
			d := p.Documents[0]
			require.Equal(t, text, d.Text)
			require.Zero(t, p.Unplaced)
			for i, c := range d.Chunks {
				require.Equal(t, chunks[i], d.Text[c.Start:c.End])
			}
		}
	}
	// What is in no text stands between its neighbours; chunks that do not overlap are apart.
	p := readWorkspace(t, lay(t, map[string]string{
		"kv_store_full_docs.json":   `{"d":{"content":"One. Two. Three."}}`,
		"kv_store_text_chunks.json": `{"a":{"content":"One.","full_doc_id":"d"},"b":{"content":"TWO!","full_doc_id":"d","chunk_order_index":1},"c":{"content":"Three.","full_doc_id":"d","chunk_order_index":2},"x":{"content":"Ein.","full_doc_id":"e"},"y":{"content":"Zwei.","full_doc_id":"e","chunk_order_index":1}}`,
	}), "").Plan("")
	require.Equal(t, 1, p.Unplaced)
	require.Equal(t, [2]int{4, 10}, [2]int{p.Documents[0].Chunks[1].Start, p.Documents[0].Chunks[1].End})
	require.Equal(t, "Ein.\n\nZwei.", p.Documents[1].Text)
}

// Names that are one entity here keep their spellings and have no relation to each other;
// one that LightRAG wrote without its quotation marks is found.
func TestPlan_Spellings(t *testing.T) {
	p := readWorkspace(t, lay(t, map[string]string{
		"kv_store_text_chunks.json":        twoChunks,
		"kv_store_llm_response_cache.json": `{"k":{"return":"entity<|#|>AI system<|#|>concept<|#|>One.\nentity<|#|>AI System<|#|>concept<|#|>Two.\nentity<|#|>Workers’ Rights<|#|>concept<|#|>Three.\nrelation<|#|>AI system<|#|>AI System<|#|>same<|#|>Four.\nrelation<|#|>Workers’ Rights<|#|>AI System<|#|>law<|#|>Five.","cache_type":"extract","chunk_id":"c1"}}`,
		"graph_chunk_entity_relation.graphml": graphml(node("AI system", "concept", "One.", "c1") + node("AI System", "concept", "Two.", "c1") + node("Workers Rights", "concept", "Three.", "c1") +
			edge("AI system", "AI System", "1", "Four.", "c1") + edge("AI System", "Workers Rights", "1", "Five.", "c1")),
	}), "").Plan("")
	require.Equal(t, []string{"0 AI system (concept): One.", "0 AI System (concept): Two.", "0 Workers Rights (concept): Three.", "0 Workers Rights - AI System [law]: Five."}, said(p.Documents[0]))
	got := p.Check()
	require.Empty(t, got.Mismatches)
	require.Equal(t, []int{3, 2, 2, 1}, []int{got.SourceEntities, got.SourceRelations, got.FoundEntities, got.FoundRelations})
}
