package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"alcove/bench"
)

func benchGraph() *cobra.Command {
	var o bench.GraphOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "graph",
		Short: "The knowledge graph in memory, beside Cayley's memory store",
		Long: `graph makes graphs of several sizes and measures, in one run, the adjacency that
knowledge bases are kept in and Cayley's memory store: loading, heap a relation,
one and two hops, one step of a path query, deletes. The targets of the design are
250 ms and 90 bytes a relation at 100,000 relations, 2 us a hop, 30 us for two, and
5 us a delete at any size.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Progress = cmd.ErrOrStderr()
			rows, err := bench.Graph(cmd.Context(), o)
			if err != nil {
				return err
			}
			return report(cmd, asJSON, rows, func(w io.Writer) {
				fmt.Fprintln(w, "store\trelations\tentities\tload ms\theap B/relation\t1 hop us\t2 hops us\tentities\tcapped k-hop us\tpath us\tdelete p50 us\tp99")
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%d\t%d\t%.0f\t%.0f\t%.2f\t%.1f\t%.0f\t%.1f\t%.1f\t%.2f\t%.2f\n", r.Store, r.Relations, r.Entities,
						r.LoadMS, r.Heap, r.OneHop, r.TwoHops, r.Within, r.Capped, r.Path, r.Delete, r.DeleteTop)
				}
			})
		},
	}
	c.Flags().IntSliceVar(&o.Sizes, "sizes", []int{10_000, 100_000, 1_000_000}, "relations")
	c.Flags().IntVar(&o.Baseline, "baseline", 1_000_000, "largest size that Cayley's memory store is measured at")
	c.Flags().IntVar(&o.Queries, "queries", 2000, "queries of each kind")
	c.Flags().Uint64Var(&o.Seed, "seed", 1, "seed of the graphs")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
