// Command chromem measures github.com/philippgille/chromem-go on vectors that
// `alcove bench ann --export` wrote, and prints JSON: what it found and how fast.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"github.com/philippgille/chromem-go"
)

// queries that are asked: it scans everything for each.
const queries = 60

func main() {
	log.SetFlags(0)
	runtime.GOMAXPROCS(1)
	dir := os.Args[1]
	var meta struct{ Dim, Base, Queries int }
	b, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	check(err)
	check(json.Unmarshal(b, &meta))
	base, asked := rows(filepath.Join(dir, "base.f32"), meta.Dim), rows(filepath.Join(dir, "queries.f32"), meta.Dim)
	c, err := chromem.NewDB().CreateCollection("bench", nil, func(context.Context, string) ([]float32, error) {
		return nil, fmt.Errorf("vectors are given")
	})
	check(err)
	ctx := context.Background()
	docs := make([]chromem.Document, len(base))
	for i, x := range base {
		docs[i] = chromem.Document{ID: strconv.Itoa(i), Embedding: x, Content: "-"}
	}
	check(c.AddDocuments(ctx, docs, 1))
	out := struct {
		Rows [][]int `json:"rows"`
		QPS  float64 `json:"searches_per_cpu_s"`
	}{}
	before := cpu()
	for i := range min(queries, len(asked)) {
		hits, err := c.QueryEmbedding(ctx, asked[i], 10, nil, nil)
		check(err)
		var found []int
		for _, h := range hits {
			n, err := strconv.Atoi(h.ID)
			check(err)
			found = append(found, n)
		}
		out.Rows = append(out.Rows, found)
	}
	out.QPS = float64(len(out.Rows)) / (cpu() - before)
	check(json.NewEncoder(os.Stdout).Encode(out))
}

func rows(path string, dim int) [][]float32 {
	b, err := os.ReadFile(path)
	check(err)
	out := make([][]float32, len(b)/4/dim)
	for i := range out {
		out[i] = make([]float32, dim)
		for j := range out[i] {
			out[i][j] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*(i*dim+j):]))
		}
	}
	return out
}

func cpu() float64 {
	var r syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return float64(r.Utime.Sec+r.Stime.Sec) + float64(r.Utime.Usec+r.Stime.Usec)/1e6
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
