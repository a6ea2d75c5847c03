package builtin_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/builtin"
	"alcove/engine/enginetest/evaldata"
)

func passages(b *testing.B) []passage {
	return evaldata.Rows[passage](b, "qa/2wiki/corpus6119.jsonl")
}

func BenchmarkEmbed(b *testing.B) {
	docs := passages(b)
	e := builtin.Embedder()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		d := docs[i%len(docs)]
		_, err := e.Embed(context.Background(), []string{d.Title + "\n" + d.Text})
		require.NoError(b, err)
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "texts/s")
}

func BenchmarkExtract(b *testing.B) {
	docs := passages(b)
	x := builtin.Extractor(builtin.Options{})
	run := func(b *testing.B, ps []engine.Passage) {
		size := 0
		for _, p := range ps {
			size += len(p.Text)
		}
		b.ReportAllocs()
		b.SetBytes(int64(size / len(ps)))
		i := 0
		for b.Loop() {
			_, err := x.Extract(context.Background(), ps[i%len(ps)])
			require.NoError(b, err)
			i++
		}
	}
	var short, long []engine.Passage
	var joined strings.Builder
	for i, d := range docs {
		short = append(short, engine.Passage{Title: d.Title, Text: d.Text})
		joined.WriteString(d.Text + "\n\n")
		if i%12 == 11 { // about 1,200 tokens, a chunk of a long document
			long = append(long, engine.Passage{Text: joined.String()})
			joined.Reset()
		}
	}
	b.Run("passages", func(b *testing.B) { run(b, short) })
	b.Run("chunks", func(b *testing.B) { run(b, long) })
}
