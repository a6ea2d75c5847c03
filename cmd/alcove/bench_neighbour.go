package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"alcove/bench"
)

func benchNeighbour() *cobra.Command {
	var o bench.NeighbourOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "neighbour",
		Short: "What other tenants notice of one that sends many times its limits",
		Long: `neighbour starts a server of its own with limits on queries and documents and measures
the questions of some tenants while another sends many times what its limits let in, and
while it is silent, in turn. Ratios are of the one to the other.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Binary, err = os.Executable(); err != nil {
				return err
			}
			if o.Dir, err = os.MkdirTemp("", "alcove-neighbour-"); err != nil {
				return err
			}
			defer os.RemoveAll(o.Dir)
			o.Progress = cmd.ErrOrStderr()
			r, err := bench.Neighbour(cmd.Context(), o)
			if err != nil {
				return err
			}
			return report(cmd, asJSON, r, func(w io.Writer) {
				fmt.Fprintln(w, "questions alone\tp50 ms\tp99\tbeside\tp50 ms\tp99\tp50 ratio\tp99 ratio\tfailed\tloud sent\tadmitted\trefused")
				fmt.Fprintf(w, "%d\t%.2f\t%.2f\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t%d\t%d\t%d\n", r.Alone.Questions, r.Alone.P50, r.Alone.P99,
					r.Beside.Questions, r.Beside.P50, r.Beside.P99, r.P50Ratio, r.P99Ratio, r.Failed, r.Sent, r.Admitted, r.Refused)
			})
		},
	}
	c.Flags().IntVar(&o.Quiet, "tenants", 3, "tenants beside the loud one")
	c.Flags().IntVar(&o.Documents, "documents", 200, "documents of each tenant")
	c.Flags().IntVar(&o.Limit, "limit", 300, "queries a minute that each tenant may ask")
	c.Flags().IntVar(&o.Times, "times", 20, "times its limits the loud tenant sends")
	c.Flags().Float64Var(&o.Rate, "rate", 4, "questions a second of each quiet tenant")
	c.Flags().DurationVar(&o.Window, "window", 10*time.Second, "length of each stretch with and without the loud tenant")
	c.Flags().IntVar(&o.Rounds, "rounds", 6, "stretches of each kind")
	c.Flags().Uint64Var(&o.Seed, "seed", 1, "seed of the texts")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
