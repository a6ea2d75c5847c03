package graph

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
)

// pairs are n relations among n/4 entities with names of 27 bytes; a fifth of
// the targets are drawn from a Zipf distribution, so that there are hubs.
func pairs(n int) [][2]string {
	r := rand.New(rand.NewPCG(12, 12))
	zipf := rand.NewZipf(r, 1.1, 1, uint64(n/4-1))
	names := make([]string, n/4)
	for i := range names {
		names[i] = fmt.Sprintf("entity with a name %08d", i)
	}
	out := make([][2]string, n)
	for i := range out {
		o := r.IntN(len(names))
		if r.IntN(5) == 0 {
			o = int(zipf.Uint64())
		}
		out[i] = [2]string{names[r.IntN(len(names))], names[o]}
	}
	return out
}

func load(list [][2]string) *Graph {
	g := New()
	for i, p := range list {
		g.Relate(p[0], p[1], float32(1+i%3))
	}
	return g
}

func BenchmarkGraph_Load100k(b *testing.B) {
	list := pairs(100_000)
	b.ReportAllocs()
	var g *Graph
	for b.Loop() {
		g = load(list)
	}
	_, n := g.Len()
	var before, after runtime.MemStats
	g = nil
	runtime.GC()
	runtime.ReadMemStats(&before)
	g = load(list)
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "heapB/relation")
	b.ReportMetric(float64(g.Bytes())/float64(n), "B/relation")
	runtime.KeepAlive(list)
}

func benchGraph(b *testing.B, f func(g *Graph, id uint32)) {
	g := load(pairs(100_000))
	r := rand.New(rand.NewPCG(13, 13))
	ids := make([]uint32, 4096)
	for i := range ids {
		ids[i] = uint32(r.IntN(len(g.nodes)))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f(g, ids[i%len(ids)])
	}
}

func BenchmarkGraph_OneHop(b *testing.B) {
	benchGraph(b, func(g *Graph, id uint32) {
		g.Neighbours(id, func(n, _ uint32, _ bool, _ float32) bool { return g.Name(n) != "none" })
	})
}

func BenchmarkGraph_KHop1(b *testing.B) {
	benchGraph(b, func(g *Graph, id uint32) { g.KHop([]uint32{id}, 1, 1000, 100) })
}

func BenchmarkGraph_KHop2(b *testing.B) {
	benchGraph(b, func(g *Graph, id uint32) { g.KHop([]uint32{id}, 2, 1000, 100) })
}

// BenchmarkGraph_TwoHops lists the entities within two hops, without the
// order and the relations that KHop adds.
func BenchmarkGraph_TwoHops(b *testing.B) {
	seen := map[uint32]bool{}
	benchGraph(b, func(g *Graph, id uint32) {
		clear(seen)
		g.Neighbours(id, func(n, _ uint32, _ bool, _ float32) bool {
			if !seen[n] {
				seen[n] = true
				g.Neighbours(n, func(m, _ uint32, _ bool, _ float32) bool { seen[m] = true; return true })
			}
			return true
		})
	})
}

func BenchmarkGraph_ShortestPath(b *testing.B) {
	benchGraph(b, func(g *Graph, id uint32) { g.ShortestPath(id, (id*7919)%uint32(len(g.nodes)), 6, 50_000) })
}

func BenchmarkGraph_Popular(b *testing.B) {
	benchGraph(b, func(g *Graph, _ uint32) { g.Popular(300) })
}

func BenchmarkGraph_Search(b *testing.B) {
	benchGraph(b, func(g *Graph, _ uint32) { g.Search("NAME 000012", 300) })
}

func BenchmarkGraph_DeleteAndAdd(b *testing.B) {
	list := pairs(100_000)
	g := load(list)
	r := rand.New(rand.NewPCG(14, 14))
	b.ReportAllocs()
	for b.Loop() {
		p := list[r.IntN(len(list))]
		s, _ := g.Entity(p[0])
		d, _ := g.Entity(p[1])
		if rel, ok := g.FindRelation(s, d); ok {
			g.Unrelate(rel)
		}
		g.Relate(p[0], p[1], 1)
	}
}

func BenchmarkGraph_Path(b *testing.B) {
	for steps := 1; steps <= 2; steps++ {
		b.Run(fmt.Sprint(steps, " steps"), func(b *testing.B) {
			benchGraph(b, func(g *Graph, id uint32) {
				q := PathQuery{Start: []string{g.Name(id)}, Limit: 1000}
				for range steps {
					q.Steps = append(q.Steps, Step{Follow: Both})
				}
				if _, err := g.Path(context.Background(), q); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func BenchmarkRows_Write(b *testing.B) {
	list := pairs(100_000)
	for _, f := range Formats {
		b.Run(string(f), func(b *testing.B) {
			for b.Loop() {
				w := NewRowWriter(f, io.Discard)
				for _, p := range list {
					if err := w.Relation(RelationRow{Source: p[0], Target: p[1], Weight: 1, Keywords: "related"}); err != nil {
						b.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(list))/b.Elapsed().Seconds()*float64(b.N), "relations/s")
		})
	}
}

func BenchmarkGraph_Rank(b *testing.B) {
	for _, bound := range []float64{1e-4, 1e-5, 1e-6} {
		b.Run(fmt.Sprint("bound ", bound), func(b *testing.B) {
			benchGraph(b, func(g *Graph, id uint32) {
				if _, err := g.Within(nil).Rank(context.Background(), RankQuery{Seeds: []uint32{id}, Bound: bound, Limit: 50}); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}
