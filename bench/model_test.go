package bench_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/bench"
	"alcove/engine"
	"alcove/engine/builtin"
	"alcove/engine/enginetest"
	"alcove/engine/enginetest/evaldata"
	"alcove/engine/openai"
	"alcove/httpapi"
	"alcove/tenancy"
)

var ctx = context.Background()

// scripted starts a scripted model and options of an engine that uses it.
func scripted(t *testing.T, m bench.ModelOptions) (*bench.Model, engine.Options) {
	t.Helper()
	m.Dim = 32
	model, err := bench.StartModel(m)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, model.Close()) })
	c, err := openai.New(openai.Options{URL: model.URL, ChatModel: bench.ModelChat, EmbedModel: bench.ModelEmbed})
	require.NoError(t, err)
	o := options()
	o.Chatter, o.Embedder, o.Fallback = c.Chatter(), c.Embedder(), builtin.Answerer()
	o.Extractor = engine.ModelExtractor(o.Chatter, engine.ExtractOptions{})
	o.Answerer = engine.ModelAnswerer(o.Chatter, engine.AnswerOptions{})
	return model, o
}

// served is a knowledge base of a server in this process.
func served(t *testing.T, o engine.Options) bench.Target {
	t.Helper()
	v := enginetest.New(t, o)
	v.KB("k")
	api, err := httpapi.New(httpapi.Options{Store: v.Store, Engine: v.Engine, Logger: o.Logger})
	require.NoError(t, err)
	s := httptest.NewServer(api)
	t.Cleanup(s.Close)
	token, err := v.Store.MintToken(tenancy.TokenRequest{Subject: "bench", System: true, TTL: time.Hour})
	require.NoError(t, err)
	return bench.Target{Base: s.URL + "/api/v1/tenants/" + enginetest.Tenant + "/knowledge-bases/k", Auth: "Bearer " + token}
}

// The scripted model says the same in every form it is asked for, and streams the
// same whatever the pieces.
func TestModel_Extraction(t *testing.T) {
	text := "In 1901 Bada Lorin met Kedo Maran at the river. It was late.\n\nIn 1902 Kedo Maran paid Bada Lorin, and Bada Lorin left."
	var want engine.Extraction
	for i, c := range []struct {
		format string
		piece  int
	}{{engine.FormatJSON, 0}, {engine.FormatRows, 0}, {engine.FormatRows, 5}} {
		m, o := scripted(t, bench.ModelOptions{Piece: c.piece})
		x, err := engine.ModelExtractor(o.Chatter, engine.ExtractOptions{Format: c.format}).Extract(ctx, engine.Passage{Title: "About Bada Lorin", Text: text})
		require.NoError(t, err)
		if i == 0 {
			want = x
			require.Len(t, x.Entities, 2)
			require.Equal(t, "Bada Lorin", x.Entities[0].Name)
			require.Equal(t, "In 1901 Bada Lorin met Kedo Maran at the river.", x.Entities[0].Description)
			require.Len(t, x.Relations, 1)
			require.Equal(t, "Kedo Maran", x.Relations[0].Target)
		}
		require.Equal(t, want, x)
		require.Zero(t, x.Dropped)
		n := m.Counts()
		require.Positive(t, n.Busy)
		n.Busy = 0
		require.Equal(t, bench.ModelCounts{Extract: 1}, n)
	}
}

// The answers are the same over OpenAI's wire and Ollama's, streamed and whole; a
// recorded one goes before the script; and none comes before its time.
func TestModel_Wires(t *testing.T) {
	answers := filepath.Join(t.TempDir(), "answers.jsonl")
	require.NoError(t, os.WriteFile(answers, []byte(`{"prompt":"Who?","reply":"Ada, naïvely."}`+"\n"), 0o600))
	recorded, err := bench.ReadAnswers(answers)
	require.NoError(t, err)
	m, err := bench.StartModel(bench.ModelOptions{Dim: 8, Piece: 3, Latency: 20 * time.Millisecond, Answers: recorded})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	post := func(url, body string) string {
		start := time.Now()
		res, err := http.Post(url, "application/json", strings.NewReader(body))
		require.NoError(t, err)
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, res.StatusCode, string(b))
		require.GreaterOrEqual(t, time.Since(start), 20*time.Millisecond)
		return string(b)
	}
	said := func(reply string) (out string) {
		for line := range strings.Lines(reply) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "data: ")
			var x struct {
				Choices []struct{ Message, Delta struct{ Content string } }
				Message struct{ Content string }
			}
			if json.Unmarshal([]byte(line), &x) != nil {
				continue // a blank line or the end
			}
			for _, c := range x.Choices {
				out += c.Message.Content + c.Delta.Content
			}
			out += x.Message.Content
		}
		return out
	}
	for prompt, want := range map[string]string{"Who?": "Ada, naïvely.", "What?": "The passages say so [1].\n\n### References\n- [1] the first of them\n"} {
		for _, stream := range []string{"true", "false"} {
			body := `{"stream":` + stream + `,"messages":[{"role":"user","content":"` + prompt + `"}]}`
			require.Equal(t, want, said(post(m.URL+"/chat/completions", body)))
			require.Equal(t, want, said(post(m.Host+"/api/chat", body)))
		}
	}
	var openai struct {
		Data []struct{ Embedding []float32 }
	}
	var ollama struct{ Embeddings [][]float32 }
	require.NoError(t, json.Unmarshal([]byte(post(m.URL+"/embeddings", `{"input":"one text"}`)), &openai))
	require.NoError(t, json.Unmarshal([]byte(post(m.Host+"/api/embed", `{"input":["one text","two"]}`)), &ollama))
	require.Len(t, openai.Data, 1)
	require.Len(t, ollama.Embeddings, 2)
	require.Len(t, openai.Data[0].Embedding, 8)
	require.Equal(t, openai.Data[0].Embedding, ollama.Embeddings[0])
	n := m.Counts()
	require.Equal(t, []int{8, 2, 3}, []int{n.Answer, n.Embed, n.Texts})

	require.NoError(t, os.WriteFile(answers, []byte(`{"prompt":"a","reply":"b"}{"prompt":"c"}`), 0o600))
	_, err = bench.ReadAnswers(answers)
	require.ErrorContains(t, err, "answer 2: prompt and reply are needed")
}

// LightRAG's prompts are understood: the question among the instructions, and that
// an earlier reply missed nothing.
func TestModel_LightRAG(t *testing.T) {
	m, err := bench.StartModel(bench.ModelOptions{Dim: 8})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	ask := func(messages ...string) string {
		type message struct {
			Role    string `json:"role"`
			Content string `json:"content"`
		}
		var q struct {
			Messages []message `json:"messages"`
		}
		for _, x := range messages {
			q.Messages = append(q.Messages, message{"user", x})
		}
		body, err := json.Marshal(q)
		require.NoError(t, err)
		res, err := http.Post(m.URL+"/chat/completions", "application/json", bytes.NewReader(body))
		require.NoError(t, err)
		defer res.Body.Close()
		var a struct {
			Choices []struct{ Message struct{ Content string } }
		}
		require.NoError(t, json.NewDecoder(res.Body).Decode(&a))
		require.Len(t, a.Choices, 1)
		return a.Choices[0].Message.Content
	}
	require.JSONEq(t, `{"high_level_keywords":["river"],"low_level_keywords":["Bada Lorin"]}`,
		ask("---Real Data---\nUse high_level_keywords. The Output Format\nUser Query: Which river saw Bada Lorin?\n\n---Output---\nOutput:"))
	require.Equal(t, "Bada Lorin met nobody.", ask("Description List:\n\n```\n{\"Description\": \"Bada Lorin met nobody.\"}\n```\n\n---Output---\n"))
	const rows = "Write entity<|#|>… and relation<|#|>…"
	require.Contains(t, ask(rows, "---Input Text---\n```\nBada Lorin met Kedo Maran.\n```\n"), "relation<|#|>Bada Lorin<|#|>Kedo Maran<|#|>")
	require.Equal(t, "<|COMPLETE|>", ask(rows, "---Input Text---\n```\nBada Lorin met Kedo Maran.\n```\n", "…", "Based on the Last Extraction, what was missed?"))
}

// Vectors are the same in numbers and in base64, of the length asked for, and
// nearer for texts with words in common.
func TestModel_Vectors(t *testing.T) {
	m, o := scripted(t, bench.ModelOptions{})
	v, err := o.Embedder.Embed(ctx, []string{"the river bridge", "a bridge over the river", "the old clock"})
	require.NoError(t, err)
	require.Len(t, v, 3)
	require.Len(t, v[0], 32)
	dot := func(a, b []float32) (sum float32) {
		for i := range a {
			sum += a[i] * b[i]
		}
		return sum
	}
	require.Greater(t, dot(v[0], v[1]), dot(v[0], v[2]))
	require.Equal(t, 3, m.Counts().Texts)
	require.Equal(t, 1, m.Counts().Embed)

	res, err := http.Post(m.URL+"/embeddings", "application/json", strings.NewReader(`{"input":["the old clock"],"encoding_format":"base64"}`))
	require.NoError(t, err)
	defer res.Body.Close()
	var out struct {
		Data []struct {
			Embedding []byte `json:"embedding"`
		} `json:"data"`
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&out))
	got := make([]float32, 32)
	_, err = binary.Decode(out.Data[0].Embedding, binary.LittleEndian, got)
	require.NoError(t, err)
	require.InDeltaSlice(t, v[2], got, 1e-6)
}

// A document of the corpus is its number's and the seed's alone.
func TestCorpus(t *testing.T) {
	c := bench.Corpus{Seed: 3, Chunks: 2}
	all := c.Passages(0, 5)
	require.Equal(t, all[2:4], c.Passages(2, 2))
	require.NotEqual(t, all[0].Text, all[1].Text)
	c.Seed = 4
	require.NotEqual(t, all[0].Text, c.Passages(0, 1)[0].Text)
	c.Own = true
	names := map[string]bool{}
	for _, p := range c.Passages(0, 200) {
		for _, n := range regexp.MustCompile(`[A-Z][a-z]+ [A-Z][a-z]+`).FindAllString(p.Text, -1) {
			require.False(t, names[n], n)
			names[n] = true
		}
	}
	require.Len(t, names, 200*2*20)
}

// One call for a chunk is counted as one, and what is measured is the window alone.
func TestCost_Counts(t *testing.T) {
	m, o := scripted(t, bench.ModelOptions{})
	bases := 0
	rows, err := bench.Cost(ctx, bench.CostOptions{
		Model: m, Sizes: []int{2, 3}, Window: 2, Probes: 1, Corpus: bench.Corpus{Chunks: 3},
		Open: func(context.Context) (bench.Target, func() error, error) {
			bases++
			return served(t, o), func() error { return nil }, nil
		},
	})
	require.NoError(t, err)
	require.Equal(t, 2, bases)
	require.Len(t, rows, 2)
	all := 0
	for i, r := range rows {
		require.Equal(t, []int{2, 3}[i], r.Documents)
		require.Equal(t, 2, r.Measured)
		require.Equal(t, 6, r.Chunks, "two documents of three chunks")
		require.Equal(t, r.Chunks, r.Calls.Extract)
		require.Equal(t, 1.0, r.Extract)
		require.GreaterOrEqual(t, r.Calls.Embed, 1+1, "the documents may share a call, and the profiles")
		require.Greater(t, r.Calls.Texts, r.Chunks)
		require.Zero(t, r.Calls.Answer+r.Calls.Keywords)
		all += 3*r.Documents + r.Chunks
	}
	require.Equal(t, all, m.Counts().Extract, "nothing is asked of twice")
}

// A question costs the model calls that its mode needs, and its overhead is what
// is left of its time.
func TestQuery_Counts(t *testing.T) {
	m, o := scripted(t, bench.ModelOptions{})
	rows, err := bench.Query(ctx, bench.QueryOptions{
		Target: served(t, o), Model: m, Sizes: []int{4}, Questions: 5, Corpus: bench.Corpus{Chunks: 2},
		Modes: []engine.Mode{engine.ModeNaive, engine.ModeMix},
	})
	require.NoError(t, err)
	require.Len(t, rows, 2)
	for _, r := range rows {
		require.Equal(t, 8, r.Chunks)
		require.Equal(t, 5, r.Calls.Answer)
		require.Equal(t, 5, r.Calls.Embed)
		require.Equal(t, map[engine.Mode]int{engine.ModeMix: 5}[r.Mode], r.Calls.Keywords, r.Mode)
		require.Positive(t, r.OverheadP50)
		require.Greater(t, r.TotalP50, r.OverheadP50)
		require.GreaterOrEqual(t, r.OverheadP99, r.OverheadP50)
		require.Positive(t, r.Found)
		require.Contains(t, r.StagesP50, "search")
	}
}

// A delete asks the model nothing, embeds what changed and leaves what would be
// there without the documents; an update asks about the chunks that changed.
func TestDelete_IsExact(t *testing.T) {
	texts := &bench.Texts{}
	m, o := scripted(t, bench.ModelOptions{Embedded: texts.See, Summarised: texts.Write})
	r, err := bench.Delete(ctx, bench.DeleteOptions{Engine: o, Model: m, Texts: texts, Documents: 20, Deleted: 9, Chunks: 1, Long: 6, Repeat: 2})
	require.NoError(t, err)
	require.Equal(t, 9, r.Chunks)
	require.Zero(t, r.InCall)
	require.Zero(t, r.Chat)
	require.Positive(t, r.Changed)
	require.Equal(t, r.Changed, r.Texts)
	require.Zero(t, r.Needless)
	require.Zero(t, r.Differences)
	u := r.Update
	require.GreaterOrEqual(t, u.Chunks, 6)
	require.Positive(t, u.Changed)
	require.LessOrEqual(t, u.Changed, 2)
	require.Equal(t, u.Changed, u.Extract)
	require.Equal(t, u.Changed, u.Passages)
	require.False(t, u.Different)

	// Who does not see the texts finds them needless.
	r, err = bench.Delete(ctx, bench.DeleteOptions{Engine: o, Model: m, Texts: &bench.Texts{}, Documents: 6, Deleted: 3, Chunks: 1, Long: 2, Repeat: 1})
	require.NoError(t, err)
	require.Equal(t, r.Texts, r.Needless)
	require.Positive(t, r.Needless)
}

// Recorded triples are replayed by the text of the passage; what is no triple is
// counted.
func TestTriples(t *testing.T) {
	file := filepath.Join(t.TempDir(), "triples.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(`{"doc_id":"a","entities":["Ada","1843"],"triples":[["Ada","wrote to","Babbage"],["Ada","wrote"],["Ada",["in"],"1843"],["Ada","","Turin"]]}
{"doc_id":"elsewhere","entities":["Grace"],"triples":[]}
`), 0o600))
	one := bench.Set{Name: "one", Passages: []bench.Passage{{ID: "a", Text: "Ada wrote to Babbage.\n"}}}
	more := bench.Set{Name: "more", Passages: append([]bench.Passage{{ID: "b", Text: "Else."}}, one.Passages...)}
	x, err := bench.ReadTriples(file, []bench.Set{one, more})
	require.NoError(t, err)
	require.True(t, x.Covers(one))
	require.False(t, x.Covers(more))
	e, err := x.Extract(ctx, engine.Passage{Title: "any", Text: "Ada wrote to Babbage."})
	require.NoError(t, err)
	require.Equal(t, engine.Extraction{
		Entities: []engine.EntityMention{
			{Name: "Ada", Description: "Ada wrote to Babbage."}, {Name: "1843"}, {Name: "Babbage", Description: "Ada wrote to Babbage."},
		},
		Relations: []engine.RelationMention{{Source: "Ada", Target: "Babbage", Keywords: "wrote to", Description: "Ada wrote to Babbage.", Weight: 1}},
		Dropped:   3,
	}, e)
	_, err = x.Extract(ctx, engine.Passage{Text: "Else."})
	require.ErrorContains(t, err, "Else.")
	_, err = bench.ReadTriples(file+"x", nil)
	require.Error(t, err)
}

// What a real language model extracted from MuSiQue serves retrieval as the rules
// do: the walk and mix stay above their floors (the figures, less two questions),
// and those far above plain BM25's 0.508 and 0.196.
func TestTriples_Floors(t *testing.T) {
	if testing.Short() {
		t.Skip("ingests 3,780 passages")
	}
	sets, err := bench.KnownSets(filepath.Dir(evaldata.Path(t, "qa")))
	require.NoError(t, err)
	x, err := bench.ReadTriples(evaldata.Path(t, "qa/musique100/openie_gpt-3.5-turbo-1106.jsonl"), sets)
	require.NoError(t, err)
	o := bench.RetrievalOptions{Modes: []engine.Mode{engine.ModePPR, engine.ModeMix}, Engine: options()}
	o.Engine.Extractor = x
	for _, s := range sets {
		if x.Covers(s) {
			require.True(t, strings.HasPrefix(s.Name, "musique"), s.Name)
			o.Sets = append(o.Sets, s)
		}
	}
	require.Len(t, o.Sets, 1)
	rows, err := bench.Retrieval(ctx, o)
	require.NoError(t, err)
	for _, r := range rows {
		require.GreaterOrEqual(t, r.AllGold8, .66, r.Mode)
		require.GreaterOrEqual(t, r.Recall5, .75, r.Mode)
	}
}
