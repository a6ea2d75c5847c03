package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"alcove/bench"
)

func benchDrop() *cobra.Command {
	var o bench.DropOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "drop",
		Short: "What deleting a large knowledge base does to others, and how soon it is refused",
		Long: `drop fills a knowledge base with records, lets other tenants write at a steady rate
for a minute, and deletes it while somebody knocks at each of its doors. The others
go on writing until its last record is gone from the disk. A write's time is counted
from when it was due, so that one that waits is seen. It exits with 1 when a write
failed or somebody was let in after the deletion was answered.`,
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
			o.Engine, o.Progress = cfg.engine, cmd.ErrOrStderr()
			m.into(&o.Engine)
			r, err := bench.Drop(cmd.Context(), o)
			if err != nil {
				return err
			}
			if err := report(cmd, asJSON, r, func(w io.Writer) {
				fmt.Fprintln(w, "keys\tcall ms\trefused everywhere ms\tlet in after the answer\tcleaning s\tkeys/s\twrites before\tfailed\tp50 ms\tp99\tmax\twrites during\tfailed\tp50 ms\tp99\tmax\tp99 ratio")
				fmt.Fprintf(w, "%d\t%.2f\t%.2f\t%d\t%.1f\t%.0f", r.Keys, r.CallMS, r.RefusedMS, r.Late, r.Cleaning, float64(r.Keys)/r.Cleaning)
				for _, x := range []bench.Writing{r.Before, r.During} {
					fmt.Fprintf(w, "\t%d\t%d\t%.2f\t%.2f\t%.2f", x.Writes, x.Failed, x.P50, x.P99, x.Max)
				}
				fmt.Fprintf(w, "\t%.2f\n\ndoors: %s\n", r.Ratio, strings.Join(r.Doors, ", "))
			}); err != nil {
				return err
			}
			if r.Late+r.Before.Failed+r.During.Failed > 0 {
				return errReported
			}
			return nil
		},
	}
	c.Flags().IntVar(&o.Keys, "keys", 1_000_000, "records of the knowledge base that is deleted")
	c.Flags().IntVar(&o.Tenants, "tenants", 4, "other tenants that write")
	c.Flags().IntVar(&o.Rate, "rate", 50, "writes a second of each")
	c.Flags().DurationVar(&o.Before, "before", 0, "how long they write before the deletion (1m)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
