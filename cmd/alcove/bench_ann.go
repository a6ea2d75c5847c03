package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"alcove/bench"
)

func benchANN() *cobra.Command {
	var o bench.ANNOptions
	var data string
	var asJSON bool
	c := &cobra.Command{
		Use:   "ann",
		Short: "Vector search: recall against speed, build, memory, deletes",
		Long: `ann fills vector spaces and searches them in every way there is: exact (a scan), own (the
graph), int8 (the graph without float32 rows) and coder (the graph inside
coder/hnsw). The vectors are those of the embedder in the settings, of sentences of
real passages, asked for by real questions (--data); and made-up ones of the kinds that
graphs find hard. Recall is against a scan. Speed and build are in CPU seconds of
the process, so that a busy machine changes them little.

--export writes the vectors for other programs to search (bench/peers/vectors).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := benchConfig(cmd)
			if err != nil {
				return err
			}
			m, err := cfg.models()
			if err != nil {
				return err
			}
			m.into(&cfg.engine)
			o.Embedder, o.Progress = cfg.engine.Embedder, cmd.ErrOrStderr()
			if o.Sets, err = bench.KnownSets(data); err != nil {
				return err
			}
			rows, err := bench.ANN(cmd.Context(), o)
			if err != nil || o.Export != "" {
				return err
			}
			return report(cmd, asJSON, rows, func(w io.Writer) {
				fmt.Fprintln(w, "vectors\tnumber\tdim\tmode\trecall@10\tef\tsearches/CPU s\tp50 ms\tp99 ms\tbuild CPU s\tB/vector\tof the graph\tallocations\tafter deletes: recall, deleted found")
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%.4f\t%d\t%.0f\t%.3f\t%.3f\t%.2f\t%.0f\t%.0f\t%.0f\t", r.Kind, r.Vectors, r.Dim, r.Mode, r.Recall, r.Ef, r.QPS, r.P50, r.P99, r.Build, r.Bytes, r.Graph, r.Allocs)
					for _, d := range r.After {
						fmt.Fprintf(w, "%d%%: %.4f %d  ", d.Percent, d.Recall, d.Deleted)
					}
					fmt.Fprintln(w)
				}
			})
		},
	}
	c.Flags().StringVar(&data, "data", "../shared/data", "folder with qa/2wiki and qa/musique100")
	c.Flags().StringSliceVar(&o.Kinds, "kinds", bench.ANNKinds, "comma separated kinds of vectors")
	c.Flags().IntSliceVar(&o.Sizes, "sizes", []int{10_000, 50_000, 100_000}, "numbers of vectors")
	c.Flags().StringSliceVar(&o.Modes, "modes", bench.ANNModes, "comma separated ways to search")
	c.Flags().IntSliceVar(&o.Deletes, "deletes", []int{10, 50, 90}, "percent deleted, one after the other")
	c.Flags().IntVar(&o.Queries, "queries", 1000, "searches of each kind")
	c.Flags().IntVar(&o.Dim, "dim", 384, "dimension of made-up vectors")
	c.Flags().Uint64Var(&o.Seed, "seed", 1, "of everything made up")
	c.Flags().StringVar(&o.Export, "export", "", "write the vectors into this folder and measure nothing")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
