package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/engine/enginetest/evaldata"
)

const lawFolder = "llm-replay/eu-ai-act-lightrag/"

// lawRun is the recorded LightRAG run over the EU AI Act: each chunk is a document,
// so that sources can be compared, and each answer is given as it was recorded.
type lawRun struct {
	ids   []string
	text  map[string]string
	reply map[string][2]string // extraction and gleaning, by text

	mu    sync.Mutex
	asked map[string]int // by chunk and turn
}

func readLawRun(t testing.TB) *lawRun {
	t.Helper()
	a := &lawRun{text: map[string]string{}, reply: map[string][2]string{}, asked: map[string]int{}}
	byChunk := map[string][2]string{}
	for _, r := range evaldata.Rows[struct {
		Kind, Response string
		ChunkID        string `json:"chunk_id"`
	}](t, lawFolder+"llm_responses.jsonl") {
		x := byChunk[r.ChunkID]
		switch r.Kind {
		case "extract":
			x[0] = r.Response
		case "glean":
			x[1] = r.Response
		default:
			continue
		}
		byChunk[r.ChunkID] = x
	}
	for _, c := range evaldata.Rows[struct{ ID, Content string }](t, lawFolder+"chunks.jsonl") {
		a.ids = append(a.ids, c.ID)
		a.text[c.ID] = c.Content
		a.reply[strings.TrimSpace(c.Content)] = byChunk[c.ID]
	}
	require.Len(t, a.ids, 59)
	return a
}

// answer is what the model of the run said, found by the passage in the fences.
func (a *lawRun) answer(r engine.ChatRequest) (string, error) {
	first := r.Messages[0].Content
	i := strings.Index(first, "\n```")
	j := strings.LastIndex(first, "\n```")
	_, passage, _ := strings.Cut(first[i+1:j], "\n")
	passage = strings.TrimSpace(passage)
	x, ok := a.reply[passage]
	if !ok {
		return "", fmt.Errorf("not a passage of the run: %.80q", passage)
	}
	turn := len(r.Messages) / 2
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked[fmt.Sprintf("%d %s", turn, passage)]++
	return x[turn], nil
}

func (a *lawRun) docs(ids []string) (pairs []string) {
	for _, id := range ids {
		pairs = append(pairs, id, a.text[id])
	}
	return pairs
}

func (a *lawRun) options() engine.Options {
	chat := &enginetest.Chatter{Reply: a.answer}
	return engine.Options{
		ChunkTokens: 4000, Extractor: engine.ModelExtractor(chat, engine.ExtractOptions{Format: engine.FormatRows, Gleaning: 1}),
	}
}

// kept reads a file of the run's graph: names or pairs with the chunks that speak of them.
func kept(t testing.TB, name string) map[string][]string {
	b, err := os.ReadFile(evaldata.Path(t, lawFolder+"expected/"+name))
	require.NoError(t, err)
	var rows map[string]struct {
		Chunks []string `json:"chunk_ids"`
	}
	require.NoError(t, json.Unmarshal(b, &rows))
	out := map[string][]string{}
	for k, r := range rows {
		out[k] = r.Chunks
	}
	return out
}

// The few things that LightRAG calls by another name than we do, theirs first.
var lawRenamed = map[string]string{
	// It takes the typographic apostrophe out of a name; we make it a plain one.
	"Employment, Workers Management, and Access to Self-Employment": "Employment, Workers' Management, and Access to Self-Employment",
}

// typed is a name as LightRAG writes it: plain hyphens and quotes.
var typed = strings.NewReplacer("—", "-", "–", "-", "’", "'", "‘", "'", "“", `"`, "”", `"`)

func renamed(name string) string {
	if n, ok := lawRenamed[name]; ok {
		return n
	}
	return name
}

// The answers of a recorded LightRAG run give its graph: every one of its 778
// entities and 674 relations, and no other, and what speaks of each. Where it
// keeps two spellings of a name apart ("AI system", "AI System") we have one
// entity, so theirs come to 728 of ours and to 665 relations; the spellings are
// all there.
func TestReplay_EUAIAct(t *testing.T) {
	a := readLawRun(t)
	v := enginetest.New(t, a.options())
	v.Add("k", a.docs(a.ids)...)
	v.Wait()
	names, pairs := kept(t, "kv_store_entity_chunks.json"), kept(t, "kv_store_relation_chunks.json")
	require.Len(t, names, 778)
	require.Len(t, pairs, 674)
	entities, relations, err := engine.GraphOf(v.Engine, space(v, "k"))
	require.NoError(t, err)

	sources, spelled := map[string][]string{}, []string{}
	for n, chunks := range names {
		n = renamed(n)
		spelled = append(spelled, n)
		sources[engine.EntityID(n)] = append(sources[engine.EntityID(n)], chunks...)
	}
	for _, r := range relations { // "Ai Systems" is written so at the end of a relation only
		for _, s := range r.Spellings {
			for end := range strings.SplitSeq(s, " | ") {
				e := entities[engine.EntityID(end)]
				e.Spellings = append(e.Spellings, end)
				entities[engine.EntityID(end)] = e
			}
		}
	}
	sameGraph(t, sources, spelled, entities)
	require.Len(t, entities, 728)

	sources, spelled = map[string][]string{}, []string{}
	for p, chunks := range pairs {
		x, y, _ := strings.Cut(p, "<SEP>")
		x, y = renamed(x), renamed(y)
		spelled = append(spelled, min(x, y)+" | "+max(x, y))
		x, y = engine.EntityID(x), engine.EntityID(y)
		id := min(x, y) + " | " + max(x, y)
		sources[id] = append(sources[id], chunks...)
	}
	sameGraph(t, sources, spelled, relations)
	require.Len(t, relations, 665)

	dropped := 0
	for _, id := range a.ids {
		d := document(t, v, "k", id)
		require.Equal(t, engine.StatusProcessed, d.Status)
		dropped += d.Dropped
	}
	require.Equal(t, 11, dropped, "5 of wrong length, 5 from a thing to itself, 1 without a description")
	for turn, n := range a.asked {
		require.Equal(t, 1, n, turn)
	}
	require.Len(t, a.asked, 118)
}

// sameGraph compares names, spellings and who speaks of them.
func sameGraph(t *testing.T, sources map[string][]string, spelled []string, got map[string]engine.Spelled) {
	t.Helper()
	require.Equal(t, slices.Sorted(maps.Keys(sources)), slices.Sorted(maps.Keys(got)))
	ours := map[string]bool{}
	for id, g := range got {
		want := slices.Sorted(slices.Values(sources[id]))
		require.Equal(t, slices.Compact(want), g.Sources, id)
		for _, s := range g.Spellings {
			a, b, pair := strings.Cut(typed.Replace(s), " | ")
			if pair {
				a = min(a, b) + " | " + max(a, b)
			}
			ours[a] = true
		}
	}
	slices.Sort(spelled)
	require.Equal(t, spelled, slices.Sorted(maps.Keys(ours)))
}

// Whatever comes first and however often the server is stopped: one graph, and no
// answer asked for twice.
func TestReplay_AnyHistory(t *testing.T) {
	a := readLawRun(t)
	v := enginetest.New(t, a.options())
	v.Add("all", a.docs(a.ids)...)
	v.Wait()
	want := v.Dump("all")
	once := func(t *testing.T, a *lawRun) {
		t.Helper()
		require.Len(t, a.asked, 118)
		for turn, n := range a.asked {
			require.Equal(t, 1, n, "asked for twice: %.60s", turn)
		}
	}
	t.Run("half first and half later", func(t *testing.T) {
		v.Add("halves", a.docs(a.ids[:30])...)
		v.Wait()
		v.Add("halves", a.docs(a.ids[30:])...)
		v.Wait()
		require.Equal(t, want, v.Dump("halves"))
	})
	for seed := range uint64(engine.Rounds(3)) {
		t.Run(fmt.Sprintf("in any order %d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 5))
			ids := slices.Clone(a.ids)
			r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
			kb := fmt.Sprint("order-", seed)
			for part := range slices.Chunk(ids, 1+r.IntN(20)) {
				v.Add(kb, a.docs(part)...)
			}
			v.Wait()
			require.Equal(t, want, v.Dump(kb))
		})
	}
	for _, where := range []string{"in memory", "on disk"} {
		t.Run("stopped at every tenth answer "+where, func(t *testing.T) {
			dir := ""
			if where == "on disk" {
				dir = t.TempDir()
			}
			a := readLawRun(t)
			o := a.options()
			stops := make(chan struct{}, 100)
			chat := &enginetest.Chatter{Reply: a.answer}
			chat.Before = func(ctx context.Context, n int, _ string) error {
				if n%10 != 0 {
					return nil
				}
				stops <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			}
			o.Extractor = engine.ModelExtractor(chat, engine.ExtractOptions{Format: engine.FormatRows, Gleaning: 1})
			v := enginetest.Open(t, dir, o)
			v.Add("k", a.docs(a.ids)...)
			done := make(chan error, 1)
			n := 0
			for waiting := true; waiting; {
				go func(e *engine.Engine) { done <- e.WaitIdle(ctx) }(v.Engine)
				select {
				case <-stops:
					n++
					v.Restart()
					<-done // ErrClosed or, when it was the last answer's, nil
				case err := <-done:
					require.NoError(t, err)
					waiting = false
				}
			}
			t.Logf("stopped %d times", n)
			require.GreaterOrEqual(t, n, 11)
			require.Equal(t, want, v.Dump("k"))
			once(t, a)
		})
	}
}

// 96 answers that break the format: no document fails, and how much of them could
// not be used is said of each.
func TestReplay_Malformed(t *testing.T) {
	rows := evaldata.Rows[struct{ Response string }](t, "llm-replay/malformed/responses.jsonl")
	require.Len(t, rows, 96)
	for _, format := range []string{engine.FormatRows, engine.FormatJSON, engine.FormatAuto} {
		chat := &enginetest.Chatter{Reply: func(r engine.ChatRequest) (string, error) {
			for i := range rows {
				if strings.Contains(r.Messages[0].Content, fmt.Sprintf("Passage number %d.", i)) {
					return rows[i].Response, nil
				}
			}
			return "", errors.New("no such passage")
		}}
		v := enginetest.New(t, engine.Options{Extractor: engine.ModelExtractor(chat, engine.ExtractOptions{Format: format})})
		var pairs []string
		for i := range rows {
			pairs = append(pairs, fmt.Sprint("m", i), fmt.Sprintf("Passage number %d.", i))
		}
		v.Add("k", pairs...)
		v.Wait()
		entities, relations, dropped := 0, 0, 0
		for i := range rows {
			d := document(t, v, "k", fmt.Sprint("m", i))
			require.Equal(t, engine.StatusProcessed, d.Status)
			entities, relations, dropped = entities+d.Entities, relations+d.Relations, dropped+d.Dropped
		}
		t.Logf("%s: kept %d entities and %d relations, dropped %d records", format, entities, relations, dropped)
		require.Equal(t, 96, chat.Calls())
		require.GreaterOrEqual(t, entities+relations, 1200)
		require.LessOrEqual(t, dropped, 270)
	}
}

// One paragraph of a hundred: the model reads what changed and nothing else.
func TestUpdate_OneParagraphOfAHundred(t *testing.T) {
	chat := &enginetest.Chatter{Reply: func(r engine.ChatRequest) (string, error) {
		return "entity<|#|>Ada<|#|>Person<|#|>She wrote.\n<|COMPLETE|>", nil
	}}
	emb := &enginetest.Embedder{}
	o := small(engine.Options{Extractor: engine.ModelExtractor(chat, engine.ExtractOptions{}), Embedder: emb})
	v := enginetest.New(t, o)
	text := long("Part", 100)
	v.Add("k", "d", text)
	v.Wait()
	d := document(t, v, "k", "d")
	require.GreaterOrEqual(t, d.ChunksCount, 100)
	require.Equal(t, d.ChunksCount, chat.Calls())
	calls, embedded := chat.Calls(), emb.Calls()
	after := strings.Replace(text, "Part50 writes", "Part50 reads", 1)
	_, err := v.KB("k").Update(ctx, "d", engine.DocumentInput{Content: []byte(after)})
	require.NoError(t, err)
	v.Wait()
	require.Equal(t, 1, chat.Calls()-calls)
	require.Equal(t, 1, emb.Calls()-embedded)
	// A paragraph more in the middle moves what follows and changes none of it.
	after = strings.Replace(after, "Here Part30 ", "Here Another0 writes a sentence of a dozen words to be cut somewhere.\n\nHere Part30 ", 1)
	calls = chat.Calls()
	_, err = v.KB("k").Update(ctx, "d", engine.DocumentInput{Content: []byte(after)})
	require.NoError(t, err)
	v.Wait()
	require.LessOrEqual(t, chat.Calls()-calls, 3)
	v.Add("fresh", "d", after)
	v.Wait()
	require.Equal(t, v.Dump("fresh"), v.Dump("k"))
}

// Eight workers on the same hundred names lose nothing: the graph is that of one
// worker and of a plain count.
func TestWork_ManyWorkersSameNames(t *testing.T) {
	docs, chunks := engine.Rounds(1000), 10
	if testing.Short() {
		docs = 50
	}
	const names = 100
	var pairs []string
	sources := map[string]map[string]bool{} // the plain count
	note := func(key, doc string) {
		if sources[key] == nil {
			sources[key] = map[string]bool{}
		}
		sources[key][doc] = true
	}
	r := rand.New(rand.NewPCG(8, 8))
	for d := range docs {
		id := fmt.Sprint("d", d)
		var b strings.Builder
		for range chunks {
			x := r.IntN(names)
			y := (x + 1 + r.IntN(names-1)) % names
			fmt.Fprintf(&b, "it was seen how Name%d wrote to Name%d about one thing and the other, and so on.\n\n", x, y)
			a, c := fmt.Sprint("name", x), fmt.Sprint("name", y)
			note(a, id)
			note(c, id)
			note(min(a, c)+" | "+max(a, c), id)
		}
		pairs = append(pairs, id, b.String())
	}
	total := map[int]string{}
	for _, workers := range []int{8, 1} {
		o := engine.Options{ChunkTokens: 26, ChunkOverlap: 1, Workers: workers, MaxPending: 10_000}
		v := enginetest.New(t, o)
		for part := range slices.Chunk(pairs, 2*500) {
			v.Add("k", part...)
		}
		v.Wait()
		total[workers] = v.Dump("k")
		n, err := v.KB("k").Counts(ctx)
		require.NoError(t, err)
		require.Equal(t, docs*chunks, n.Chunks)
		entities, relations, err := engine.GraphOf(v.Engine, space(v, "k"))
		require.NoError(t, err)
		require.Len(t, entities, names)
		require.Equal(t, len(sources), len(entities)+len(relations))
		maps.Copy(relations, entities)
		for key, want := range sources {
			require.Equal(t, slices.Sorted(maps.Keys(want)), relations[key].Sources, key)
		}
	}
	require.True(t, total[8] == total[1], "the ground state of eight workers is that of one")
}
