package bench_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/bench"
	"alcove/engine"
	"alcove/engine/builtin"
	"alcove/engine/enginetest/evaldata"
	"alcove/engine/parse"
)

func options() engine.Options {
	return engine.Options{
		Logger: slog.New(slog.DiscardHandler), Parser: parse.New(parse.Options{}),
		Embedder: builtin.Embedder(), Extractor: builtin.Extractor(builtin.Options{}), Answerer: builtin.Answerer(),
	}
}

// A set of one's own is read, ingested and asked; what is measured can be worked
// out by hand. Two runs agree in everything but the times.
func TestRetrieval_OwnSet(t *testing.T) {
	dir := t.TempDir()
	corpus, questions := filepath.Join(dir, "corpus.jsonl"), filepath.Join(dir, "questions.jsonl")
	require.NoError(t, os.WriteFile(corpus, []byte(`{"id":"a","title":"The Glass Harbour","text":"The Glass Harbour is a 1999 drama film directed by Mia Brandt."}
{"id":"b","title":"Mia Brandt","text":"Mia Brandt was born in Bergen."}
{"id":"c","title":"Turku","text":"Turku is a city in Finland."}
`), 0o600))
	require.NoError(t, os.WriteFile(questions, []byte(`{"id":"q1","question":"Where was the director of The Glass Harbour born?","gold_doc_ids":["a","b"]}
{"id":"q2","question":"In which country is Turku?","gold_doc_ids":["c","absent"]}
`), 0o600))
	set, err := bench.ReadSet("own", corpus, questions, 0)
	require.NoError(t, err)
	run := func() bench.RetrievalRow {
		rows, err := bench.Retrieval(context.Background(), bench.RetrievalOptions{Sets: []bench.Set{set}, Modes: []engine.Mode{engine.ModePPR}, Engine: options()})
		require.NoError(t, err)
		require.Len(t, rows, 1)
		rows[0].SearchP50, rows[0].SearchP95 = 0, 0
		return rows[0]
	}
	want := bench.RetrievalRow{Set: "own", Mode: engine.ModePPR, Questions: 2, AllGold8: 0.5, Recall2: 0.75, Recall5: 0.75, Recall8: 0.75}
	require.Equal(t, want, run())
	require.Equal(t, want, run())
}

// The faults of a set's files name the file and the line.
func TestReadSet_Faults(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.jsonl")
	require.NoError(t, os.WriteFile(bad, []byte("{}\n{\n"), 0o600))
	_, err := bench.ReadSet("x", bad, bad, 0)
	require.ErrorContains(t, err, "bad.jsonl line 2")
	_, err = bench.KnownSets(dir)
	require.ErrorContains(t, err, "none of the known question sets")
}

// Retrieval through the whole engine stays above its floors on the development
// questions: the recipe's own figures, less two questions. Mode mix, the
// default, stays within three points of the walk.
func TestRetrieval_Floors(t *testing.T) {
	if testing.Short() {
		t.Skip("ingests 8,000 passages")
	}
	sets, err := bench.KnownSets(filepath.Dir(evaldata.Path(t, "qa")))
	require.NoError(t, err)
	floors := map[string]float64{
		"2wiki-780": .94, "2wiki-780 untitled": .80, "2wiki-6119": .94, "2wiki-6119 untitled": .80,
		"musique": .66, "musique untitled": .56,
	}
	o := bench.RetrievalOptions{Modes: []engine.Mode{engine.ModePPR, engine.ModeMix}, Engine: options()}
	for _, s := range sets {
		o.Sets = append(o.Sets, s, s.Untitled())
	}
	rows, err := bench.Retrieval(context.Background(), o)
	require.NoError(t, err)
	require.Len(t, rows, 2*len(o.Sets))
	for i := 0; i < len(rows); i += 2 {
		ppr, mix := rows[i], rows[i+1]
		require.GreaterOrEqual(t, ppr.AllGold8, floors[ppr.Set], ppr.Set)
		require.GreaterOrEqual(t, mix.AllGold8, ppr.AllGold8-0.03, mix.Set)
	}
}
