package engine_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/builtin"
	"alcove/engine/enginetest"
	"alcove/engine/parse"
)

// BenchmarkIngest is the whole way of 500-byte documents. The scripted models
// cost next to nothing: with them it is what engine and store take for themselves.
func BenchmarkIngest(b *testing.B) {
	for _, where := range []string{"memory", "disk"} {
		for _, how := range []string{"batches of 500", "singly by 8", "builtin, batches of 500", "builtin, singly by 8"} {
			b.Run(where+"/"+how, func(b *testing.B) {
				dir := ""
				if where == "disk" {
					dir = b.TempDir()
				}
				var o engine.Options
				if strings.HasPrefix(how, "builtin") {
					o.Parser, o.Embedder, o.Extractor = parse.New(parse.Options{}), builtin.Embedder(), builtin.Extractor(builtin.Options{})
				}
				v := enginetest.Open(b, dir, o)
				kb := v.KB("k")
				docs := make([]engine.DocumentInput, b.N)
				for i := range docs {
					docs[i] = engine.DocumentInput{ID: fmt.Sprint("doc-", i), Content: []byte(long(fmt.Sprint("N", i, "x"), 7))}
				}
				b.ReportAllocs()
				b.ResetTimer()
				start := time.Now()
				if strings.HasSuffix(how, "singly by 8") {
					var wg sync.WaitGroup
					for w := range 8 {
						wg.Go(func() {
							for i := w; i < len(docs); i += 8 {
								if _, err := kb.Add(ctx, docs[i:i+1], "insert"); err != nil {
									b.Error(err)
								}
							}
						})
					}
					wg.Wait()
				} else {
					for i := 0; i < len(docs); i += 500 {
						_, err := kb.Add(ctx, docs[i:min(i+500, len(docs))], "insert")
						require.NoError(b, err)
					}
				}
				v.Wait()
				b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "docs/s")
				b.StopTimer()
				runtime.GC()
			})
		}
	}
}
