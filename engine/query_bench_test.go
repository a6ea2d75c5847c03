package engine_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/builtin"
	"alcove/engine/enginetest"
	"alcove/engine/enginetest/evaldata"
	"alcove/tenancy"
)

// wikiBase is a base of the 6,119 passages of 2WikiMultihopQA with the builtin
// models, and its questions.
func wikiBase(b *testing.B) (*enginetest.Env, []string) {
	b.Helper()
	type passage struct{ Title, Text string }
	passages := evaldata.Rows[passage](b, "qa/2wiki/corpus6119.jsonl")
	v := enginetest.New(b, engine.Options{
		Embedder: builtin.Embedder(), Extractor: builtin.Extractor(builtin.Options{}), Answerer: builtin.Answerer(),
	})
	kb := v.KB("wiki")
	var docs []engine.DocumentInput
	for i, p := range passages {
		docs = append(docs, engine.DocumentInput{
			ID: fmt.Sprintf("p%05d", i), FilePath: p.Title, Content: []byte(p.Text), Metadata: map[string]any{"title": p.Title, "number": i},
		})
	}
	for d := range slices.Chunk(docs, 500) {
		_, err := kb.Add(ctx, d, "insert")
		require.NoError(b, err)
	}
	v.Wait()
	var questions []string
	for _, q := range evaldata.Rows[struct{ Question string }](b, "qa/2wiki/questions.jsonl") {
		questions = append(questions, q.Question)
	}
	return v, questions
}

// BenchmarkQueryData is retrieval over 6,119 passages.
func BenchmarkQueryData(b *testing.B) {
	v, questions := wikiBase(b)
	for _, mode := range allModes {
		b.Run(string(mode), func(b *testing.B) {
			benchQueries(b, v.KB("wiki"), engine.Query{Mode: mode}, questions)
		})
	}
}

// BenchmarkFiltered is the same under filters of every width, beside none. The
// filter is asked of all documents for each question.
func BenchmarkFiltered(b *testing.B) {
	v, questions := wikiBase(b)
	for _, mode := range allModes {
		for _, f := range []struct{ name, filter string }{
			{"none", ""},
			{"all", `{"metadata":{"title":{"exists":true}}}`},
			{"half", `{"metadata":{"number":{"lt":3060}}}`},
			{"tenth", `{"metadata":{"number":{"lt":612}},"file_paths":["*"]}`},
			{"one", `{"doc_ids":["p00100"]}`},
		} {
			b.Run(string(mode)+"/"+f.name, func(b *testing.B) {
				kb := v.KB("wiki")
				q := engine.Query{Mode: mode}
				if f.filter != "" {
					var err error
					q.Filter, err = engine.ParseFilter([]byte(f.filter))
					require.NoError(b, err)
				}
				benchQueries(b, kb, q, questions)
			})
		}
	}
}

// benchQueries asks one question at a time; p50 and p95 are of single questions.
func benchQueries(b *testing.B, kb *engine.KB, q engine.Query, questions []string) {
	ask := func(i int) {
		q.Query = questions[i%len(questions)]
		_, err := kb.QueryData(ctx, q)
		require.NoError(b, err)
	}
	for i := range 20 {
		ask(i)
	}
	took := make([]time.Duration, 0, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		t := time.Now()
		ask(i)
		took = append(took, time.Since(t))
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
}

// BenchmarkLoad is a base of 6,119 passages read from the store into memory.
func BenchmarkLoad(b *testing.B) {
	v, questions := wikiBase(b)
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		v.Restart()
		b.StartTimer()
		_, err := v.KB("wiki").QueryData(ctx, engine.Query{Query: questions[0], Mode: engine.ModeNaive})
		require.NoError(b, err)
	}
	b.ReportMetric(float64(v.Stats().Bytes)/(1<<20), "MiB")
}

// BenchmarkWalk is the walk alone over 10,000 passages: those of two question sets,
// and some of the first a second time. p99 is of 2,000 single walks.
func BenchmarkWalk(b *testing.B) {
	type passage struct{ Title, Text string }
	v := enginetest.New(b, engine.Options{
		Embedder: builtin.Embedder(), Extractor: builtin.Extractor(builtin.Options{}), Answerer: builtin.Answerer(),
	})
	wiki := evaldata.Rows[passage](b, "qa/2wiki/corpus6119.jsonl")
	all := append(slices.Clone(wiki), evaldata.Rows[passage](b, "qa/musique100/corpus.jsonl")...)
	all = append(all, wiki[:10_000-len(all)]...)
	var docs []engine.DocumentInput
	for i, p := range all {
		docs = append(docs, engine.DocumentInput{ID: fmt.Sprintf("p%05d", i), FilePath: p.Title, Content: []byte(p.Text), Metadata: map[string]any{"title": p.Title}})
	}
	for d := range slices.Chunk(docs, 500) {
		_, err := v.KB("both").Add(ctx, d, "insert")
		require.NoError(b, err)
	}
	v.Wait()
	var questions []string
	for _, set := range []string{"qa/2wiki/questions.jsonl", "qa/musique100/questions.jsonl"} {
		for _, q := range evaldata.Rows[struct{ Question string }](b, set) {
			questions = append(questions, q.Question)
		}
	}
	space := v.Space(enginetest.Tenant, "both", tenancy.PermQueryRun)
	took := make([]time.Duration, 0, 2000)
	for b.Loop() {
		took = took[:0]
		for i := range 2000 {
			d, err := engine.TimeWalk(v.Engine, space, questions[i%len(questions)])
			require.NoError(b, err)
			took = append(took, d)
		}
	}
	slices.Sort(took)
	for _, p := range []int{50, 95, 99} {
		b.ReportMetric(float64(took[len(took)*p/100].Microseconds())/1000, fmt.Sprint("p", p, "-ms"))
	}
}
