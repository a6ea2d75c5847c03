package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"alcove/bench"
	"alcove/engine"
)

// benchSet reads the settings for an engine in this process and a known question set.
func benchSet(cmd *cobra.Command, data, name string) (engine.Options, bench.Set, error) {
	cfg, err := benchConfig(cmd)
	if err != nil {
		return engine.Options{}, bench.Set{}, err
	}
	m, err := cfg.models()
	if err != nil {
		return engine.Options{}, bench.Set{}, err
	}
	m.into(&cfg.engine)
	sets, err := bench.KnownSets(data)
	if err != nil {
		return engine.Options{}, bench.Set{}, err
	}
	i := slices.IndexFunc(sets, func(s bench.Set) bool { return s.Name == name })
	if i < 0 {
		return engine.Options{}, bench.Set{}, fmt.Errorf("there is no set %q in %s", name, data)
	}
	return cfg.engine, sets[i], nil
}

func benchCold() *cobra.Command {
	var o bench.ColdOptions
	var data, name, modes string
	var asJSON bool
	c := &cobra.Command{
		Use:   "cold",
		Short: "The first question after a start, and what a knowledge base takes in memory",
		Long: `cold ingests passages, then closes the store and opens it again for each question:
the first one loads the knowledge base. Its answer is compared with that of the
knowledge base before. The files are in the system's cache. Memory is counted, by part;
the least that a vector can take is its float32 and a byte for each dimension. It
exits with 1 when an answer was another one.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Engine, o.Set, err = benchSet(cmd, data, name); err != nil {
				return err
			}
			o.Progress = cmd.ErrOrStderr()
			for _, m := range strings.Split(modes, ",") {
				o.Modes = append(o.Modes, engine.Mode(strings.TrimSpace(m)))
			}
			rows, err := bench.Cold(cmd.Context(), o)
			if err != nil {
				return err
			}
			wrong := 0
			if err := report(cmd, asJSON, rows, func(w io.Writer) {
				fmt.Fprintln(w, "chunks\tentities\trelations\tmode\truns\twrong\topen p50 ms\tfirst p50 ms\tp99\tmin\tcpu ms\tsecond p50 ms")
				for _, r := range rows {
					fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%d\t%d\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.1f\n", r.Chunks, r.Entities, r.Relations, r.Mode, r.Runs, r.Wrong,
						r.OpenP50, r.FirstP50, r.FirstP99, r.FirstMin, r.CPU, r.SecondP50)
				}
				fmt.Fprintln(w, "\nchunks\tbytes\ta chunk\tvectors\twords and names\tgraph\ttables\ta vector\tleast\tstored\tsnapshot")
				for i, r := range rows {
					if i == 0 || rows[i-1].Chunks != r.Chunks {
						fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f\t%d\t%d\t%d\n", r.Chunks, r.Bytes, r.Bytes/int64(max(1, r.Chunks)), r.VectorBytes, r.WordBytes, r.GraphBytes, r.TableBytes, r.PerVector, r.Least, r.Records, r.Snapshot)
					}
				}
			}); err != nil {
				return err
			}
			for _, r := range rows {
				wrong += r.Wrong
			}
			if wrong > 0 {
				return errReported
			}
			return nil
		},
	}
	c.Flags().StringVar(&data, "data", "../shared/data", "folder with the question sets")
	c.Flags().StringVar(&name, "set", "2wiki-6119", "question set")
	c.Flags().IntSliceVar(&o.Sizes, "sizes", []int{1000, 10_000}, "passages of the knowledge bases")
	c.Flags().IntVar(&o.Runs, "runs", 10, "starts of each size and mode")
	c.Flags().StringVar(&modes, "modes", "naive,mix", "comma separated modes")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func benchEvict() *cobra.Command {
	var o bench.EvictOptions
	var data, name string
	var asJSON bool
	c := &cobra.Command{
		Use:   "evict",
		Short: "A thousand knowledge bases in a memory that holds fewer",
		Long: `evict makes knowledge bases of mixed sizes, asks each its questions when nothing else
is in memory, and then sends traffic to all of them by Zipf's law (exponent 1) under
a byte budget. Every answer is compared with that of the first round. It exits with 1
when one was another, one failed, or the process took more than budget and slack.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Engine, o.Set, err = benchSet(cmd, data, name); err != nil {
				return err
			}
			o.Progress = cmd.ErrOrStderr()
			r, err := bench.Evict(cmd.Context(), o)
			if err != nil {
				return err
			}
			if err := report(cmd, asJSON, r, func(w io.Writer) {
				const mib = 1 << 20
				fmt.Fprintln(w, "knowledge bases\tpassages\tall take MiB\tbudget MiB\tqueries\tasked\twrong\terrors\thit rate\tof the most asked\tloads\tevictions\ttrims")
				fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.3f\t%.3f\t%d\t%d\t%d\n", r.KBs, r.Passages, r.Needed/mib, r.Budget/mib, r.Queries, r.Asked, r.Wrong, r.Errors, r.HitRate, r.Best, r.Loads, r.Evictions, r.Trims)
				fmt.Fprintln(w, "\nmost counted MiB\tresident MiB\tanonymous MiB\tbudget and slack MiB\tload mean ms\tload p99 ms at most\thit p50 ms\tquery p50 ms\tp99 ms\tqueries/s")
				fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%.1f\t%.0f\t%.2f\t%.2f\t%.1f\t%.0f\n", r.Counted/mib, r.RSS/mib, r.RSSAnon/mib, (r.Budget+r.Slack)/mib, r.LoadMean, r.LoadP99, r.HitP50, r.QueryP50, r.QueryP99, r.PerSecond)
			}); err != nil {
				return err
			}
			if r.Wrong+r.Errors > 0 || r.RSS > r.Budget+r.Slack {
				return errReported
			}
			return nil
		},
	}
	c.Flags().StringVar(&data, "data", "../shared/data", "folder with the question sets")
	c.Flags().StringVar(&name, "set", "2wiki-6119", "question set")
	c.Flags().IntVar(&o.KBs, "kbs", 1000, "knowledge bases")
	c.Flags().IntVar(&o.Least, "least", 8, "passages of the smallest")
	c.Flags().IntVar(&o.Most, "most", 120, "passages of the largest")
	c.Flags().Int64Var(&o.Budget, "budget", 512<<20, "bytes of knowledge bases in memory")
	c.Flags().Int64Var(&o.Slack, "slack", 640<<20, "bytes that the process may take beside them")
	c.Flags().IntVar(&o.Queries, "queries", 100_000, "queries")
	c.Flags().IntVar(&o.Clients, "clients", 4, "clients at once")
	c.Flags().Uint64Var(&o.Seed, "seed", 1, "of the sizes and of the traffic")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
