package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"alcove/bench"
	"alcove/tenancy"
)

func benchDrop() *cobra.Command {
	var o bench.DropOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "drop",
		Short: "What deleting a large knowledge base does to others, and how soon it is refused",
		Long: `drop fills a knowledge base with records, lets other tenants write at a steady rate
for a minute, and deletes it while somebody knocks at each of its doors. The others
go on writing until its last record is gone from the disk, and then once more as
before, which says how far two quiet stretches of the machine are apart. A write's time is counted
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
				fmt.Fprintln(w, "keys\tcall ms\trefused everywhere ms\tlet in after the answer\tcleaning s\tkeys/s")
				fmt.Fprintf(w, "%d\t%.2f\t%.2f\t%d\t%.1f\t%.0f\n\n", r.Keys, r.CallMS, r.RefusedMS, r.Late, r.Cleaning, float64(r.Keys)/r.Cleaning)
				fmt.Fprintln(w, "others' writes\tnumber\tfailed\tp50 ms\tp99 ms\tmax ms\tp99 over before")
				for _, x := range []struct {
					when string
					bench.Writing
					ratio float64
				}{{"before", r.Before, 1}, {"during", r.During, r.Ratio}, {"after", r.After, r.Quiet}} {
					fmt.Fprintf(w, "%s\t%d\t%d\t%.2f\t%.2f\t%.2f\t%.2f\n", x.when, x.Writes, x.Failed, x.P50, x.P99, x.Max, x.ratio)
				}
				fmt.Fprintf(w, "\ndoors: %s\n", strings.Join(r.Doors, ", "))
			}); err != nil {
				return err
			}
			if r.Late+r.Before.Failed+r.During.Failed+r.After.Failed > 0 {
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

func benchOverhead() *cobra.Command {
	var o bench.OverheadOptions
	var data, name string
	var asJSON bool
	c := &cobra.Command{
		Use:   "overhead",
		Short: "What tenancy takes on the disk, and whether a thousand knowledge bases slow one down",
		Long: `overhead ingests a question set into a knowledge base that is alone in its store and
into the same one beside many others in a second store. Bytes are those of keys and
values as they are handed to the database: the payload is every record of the
knowledge base without the prefix that says whose it is; over it stand those prefixes,
the counters, and the catalogue with its indexes. The audit is told apart. Then both
stores are sent the same requests in turn, through the whole server but for the
network, so that whatever else the machine does meets both.`,
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
			sets, err := bench.KnownSets(data)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(sets, func(s bench.Set) bool { return s.Name == name })
			if i < 0 {
				return fmt.Errorf("there is no set %q in %s", name, data)
			}
			o.Set, o.Engine, o.Progress = sets[i], cfg.engine, cmd.ErrOrStderr()
			m.into(&o.Engine)
			r, err := bench.Overhead(cmd.Context(), o)
			if err != nil {
				return err
			}
			return report(cmd, asJSON, r, func(w io.Writer) {
				fmt.Fprintln(w, "store\trecords\tpayload bytes\tprefixes\tcounters\tcatalogue\toverhead\taudit\tof payload")
				for i, x := range []tenancy.Overhead{r.Alone, r.Beside} {
					fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%.2f %%\t%d\t%.2f %%\n", []string{"alone", fmt.Sprintf("beside %d", r.Others)}[i],
						x.Records, x.Payload, x.Prefixes, x.Counters, x.Catalogue, 100*x.Share(), x.Audit, 100*float64(x.Audit)/float64(x.Payload))
				}
				fmt.Fprintln(w, "\nrequest\tof each\talone p50 ms\tbeside\tratio\talone p99 ms\tbeside\tratio")
				for _, x := range r.Rows {
					fmt.Fprintf(w, "%s\t%d\t%.3f\t%.3f\t%.2f\t%.3f\t%.3f\t%.2f\n", x.Request, x.Asked, x.AloneP50, x.BesideP50, x.RatioP50, x.AloneP99, x.BesideP99, x.RatioP99)
				}
			})
		},
	}
	c.Flags().StringVar(&data, "data", "../shared/data", "folder with qa/2wiki")
	c.Flags().StringVar(&name, "set", "2wiki-6119", "the question set")
	c.Flags().IntVar(&o.Others, "others", 999, "other knowledge bases")
	c.Flags().IntVar(&o.Each, "each", 2, "documents of each of them")
	c.Flags().IntVar(&o.Rounds, "rounds", 3, "times that every question is asked")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
