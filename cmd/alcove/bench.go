package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"alcove/bench"
	"alcove/engine"
)

func benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Run the workloads behind alcove's figures",
		Long: `bench runs a workload and prints what it measured, as a table or with --json.
Nothing it does touches a data folder of yours.`,
	}
	c.AddCommand(benchRetrieval(), benchIngest(), benchStart(), benchCrash())
	return c
}

// report prints a result as JSON or by the table function.
func report(cmd *cobra.Command, asJSON bool, v any, table func(io.Writer)) error {
	out := cmd.OutOrStdout()
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{
			"version": version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
			"processors": runtime.NumCPU(), "result": v,
		})
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	table(w)
	fmt.Fprintf(w, "\n%s, %s, %s/%s, %d processors\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	return w.Flush()
}

func benchRetrieval() *cobra.Command {
	var data, modes, corpus, questions string
	var asJSON, noGroups, titledOnly bool
	c := &cobra.Command{
		Use:   "retrieval",
		Short: "Retrieval quality on questions with gold passages",
		Long: `retrieval ingests a question set into a knowledge base in a temporary folder and
asks its questions in every mode, with titles and with all titles blanked. The
sets are those of --data (qa/2wiki, qa/musique100), or your own: --corpus is a
file of JSON lines {id, title, text}, --questions one of {id, question,
gold_doc_ids}.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			cfg := v.server(slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn})))
			if err := v.err(); err != nil {
				return err
			}
			m, err := cfg.models()
			if err != nil {
				return err
			}
			o := bench.RetrievalOptions{Engine: cfg.engine, Progress: cmd.ErrOrStderr()}
			m.into(&o.Engine)
			groups := !noGroups
			o.Engine.RelationGroups = &groups
			for _, s := range strings.Split(modes, ",") {
				o.Modes = append(o.Modes, engine.Mode(strings.TrimSpace(s)))
			}
			var sets []bench.Set
			if corpus != "" {
				s, err := bench.ReadSet("own", corpus, questions, 0)
				if err != nil {
					return err
				}
				sets = append(sets, s)
			} else if sets, err = bench.KnownSets(data); err != nil {
				return err
			}
			for _, s := range sets {
				o.Sets = append(o.Sets, s)
				if !titledOnly {
					o.Sets = append(o.Sets, s.Untitled())
				}
			}
			rows, err := bench.Retrieval(cmd.Context(), o)
			if err != nil {
				return err
			}
			return report(cmd, asJSON, rows, func(w io.Writer) {
				fmt.Fprintln(w, "set\tmode\tquestions\tall-gold@8\trecall@2\trecall@5\trecall@8\tp50 ms\tp95 ms")
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%s\t%d\t%.3f\t%.3f\t%.3f\t%.3f\t%.1f\t%.1f\n", r.Set, r.Mode, r.Questions, r.AllGold8, r.Recall2, r.Recall5, r.Recall8, r.SearchP50, r.SearchP95)
				}
			})
		},
	}
	c.Flags().StringVar(&data, "data", "../shared/data", "folder with qa/2wiki and qa/musique100")
	c.Flags().StringVar(&corpus, "corpus", "", "corpus of a set of your own")
	c.Flags().StringVar(&questions, "questions", "", "questions of a set of your own")
	c.Flags().StringVar(&modes, "modes", "naive,local,global,hybrid,mix,ppr", "comma separated modes")
	c.Flags().BoolVar(&noGroups, "no-relation-words", false, "switch the table of relation words off")
	c.Flags().BoolVar(&titledOnly, "titled", false, "leave out the sets with blanked titles")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// ownServer starts this very binary on a temporary folder.
func ownServer(ctx context.Context) (*bench.Server, func() error, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "alcove-bench-")
	if err != nil {
		return nil, nil, err
	}
	s, err := bench.StartServer(ctx, self, dir)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, func() error { return errors.Join(s.Stop(), os.RemoveAll(dir)) }, nil
}

func benchIngest() *cobra.Command {
	var data string
	var o bench.IngestOptions
	var asJSON bool
	var repeat, copies int
	c := &cobra.Command{
		Use:   "ingest",
		Short: "Documents a second over REST, memory, and whether the cost grows",
		Long: `ingest starts a server of its own on a temporary folder, sends the passages of
--data's qa/2wiki as one document each, and waits until all are processed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sets, err := bench.KnownSets(data)
			if err != nil {
				return err
			}
			for _, s := range sets {
				if len(s.Passages) > len(o.Passages) {
					o.Passages = s.Passages
				}
			}
			o.Passages = bench.Copies(o.Passages, copies)
			var rows []bench.IngestResult
			for range repeat {
				s, stop, err := ownServer(cmd.Context())
				if err != nil {
					return err
				}
				token, err := s.Token(cmd.Context())
				if err == nil {
					o.Target, err = s.NewKB(cmd.Context(), token, "ingest")
				}
				var r bench.IngestResult
				if err == nil {
					r, err = bench.Ingest(cmd.Context(), o)
				}
				if err := errors.Join(err, stop()); err != nil {
					return err
				}
				rows = append(rows, r)
			}
			return report(cmd, asJSON, rows, func(w io.Writer) {
				fmt.Fprintln(w, "documents\tseconds\tdocs/s\tfirst/last 1000 s\tCPU s\tCPU ratio\taccept p50 ms\tp99 ms\tpeak RSS MB\tserver CPU s\tfirst query ms\tsecond\tloaded RSS MB")
				for _, r := range rows {
					fmt.Fprintf(w, "%d\t%.2f\t%.0f\t%.2f/%.2f\t%.2f/%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t%.1f\t%.0f\t%.1f\t%.0f\n", r.Documents, r.Seconds, r.PerSecond, r.First1000, r.Last1000,
						r.FirstCPU, r.LastCPU, r.LastCPU/r.FirstCPU, r.AcceptP50, r.AcceptP99, float64(r.PeakRSSBytes)/1e6, r.CPUSeconds, r.FirstQuery, r.SecondQuery, float64(r.LoadedRSS)/1e6)
				}
			})
		},
	}
	c.Flags().StringVar(&data, "data", "../shared/data", "folder with qa/2wiki")
	c.Flags().IntVar(&o.Clients, "clients", 8, "requests under way at once")
	c.Flags().IntVar(&o.PerCall, "per-call", 1, "documents of one call")
	c.Flags().IntVar(&copies, "copies", 1, "how often the passages are sent, each time under other ids")
	c.Flags().IntVar(&repeat, "repeat", 1, "runs, each on a fresh server")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func benchStart() *cobra.Command {
	var runs int
	var asJSON bool
	c := &cobra.Command{
		Use: "start", Short: "Cold start to ready on an empty folder, idle memory, binary size", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			r, err := bench.Start(cmd.Context(), self, runs)
			if err != nil {
				return err
			}
			return report(cmd, asJSON, r, func(w io.Writer) {
				fmt.Fprintln(w, "runs\tready min\tmedian\tmax\tidle RSS MB\tbinary MB")
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%.1f\t%.1f\n", r.Runs, r.ReadyMin.Round(1e5), r.ReadyMedian.Round(1e5), r.ReadyMax.Round(1e5),
					float64(r.IdleRSS)/1e6, float64(r.BinaryBytes)/1e6)
			})
		},
	}
	c.Flags().IntVar(&runs, "runs", 10, "starts")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func benchCrash() *cobra.Command {
	var o bench.CrashOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "crash",
		Short: "kill -9 under load, again and again, and what is left",
		Long: `crash runs a server of its own under uploads, deletes and queries in three
tenants, kills it with SIGKILL at a random moment, starts it again, compares what
is there with what was acknowledged, and runs check; and so on. It exits with 1
when anything was lost.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Binary, err = os.Executable(); err != nil {
				return err
			}
			if o.Dir, err = os.MkdirTemp("", "alcove-crash-"); err != nil {
				return err
			}
			defer os.RemoveAll(o.Dir)
			o.Progress = cmd.ErrOrStderr()
			r, err := bench.Crash(cmd.Context(), o)
			if err != nil {
				return err
			}
			if err := report(cmd, asJSON, r, func(w io.Writer) {
				fmt.Fprintln(w, "rounds\tacknowledged\tdeletes\tqueries\tlost\thalf\tundead\tcheck problems\tready median\tready max")
				fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", r.Rounds, r.Acknowledged, r.Deleted, r.Queries, r.Lost, r.Half, r.Undead, r.Problems,
					r.ReadyMedian.Round(1e6), r.ReadyMax.Round(1e6))
				for _, d := range r.Details {
					fmt.Fprintln(w, d)
				}
			}); err != nil {
				return err
			}
			if r.Lost+r.Half+r.Undead+r.Problems > 0 {
				return errReported
			}
			return nil
		},
	}
	c.Flags().IntVar(&o.Rounds, "rounds", 30, "kills")
	c.Flags().Uint64Var(&o.Seed, "seed", 1, "seed of the load and of the moments")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
