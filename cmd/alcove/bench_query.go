package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"alcove/bench"
	"alcove/engine"
)

func benchQuery() *cobra.Command {
	var o bench.QueryOptions
	var model bench.ModelOptions
	var asJSON bool
	var modes []string
	var binding string
	var chunkTokens int
	c := &cobra.Command{
		Use:   "query",
		Short: "What a query costs beside the models, by mode, over REST",
		Long: `query starts a scripted model that speaks OpenAI's wire, and a server of its own that
uses it, fills a knowledge base with made-up documents to each of the sizes and asks it,
with each number of clients in turn, no question twice. Overhead is the time of a whole
answer less what the model server took for keywords, vectors and the text; the way
to the model and back is in it, and it is told of one client alone.

With --binding builtin there is no model server: alcove's built-in models do everything.
--data-only asks for what is retrieved and not for an answer. What retrieval takes
over REST:
bench query --binding builtin --data-only --modes mix --documents 100,1000,10000 --clients 1,8`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			for _, m := range modes {
				o.Modes = append(o.Modes, engine.Mode(m))
			}
			o.Progress = cmd.ErrOrStderr()
			var stop func() error
			chunk := []string{"--chunk-size", strconv.Itoa(chunkTokens)}
			switch binding {
			case "builtin":
				o.Target, stop, err = builtinServer(cmd.Context(), chunk...)
			case "openai":
				if o.Model, err = bench.StartModel(model); err != nil {
					return err
				}
				if o.Target, stop, err = scriptedServer(cmd.Context(), o.Model, chunk...); err != nil {
					err = errors.Join(err, o.Model.Close())
				}
			default:
				err = fmt.Errorf("--binding %q: builtin and openai are known", binding)
			}
			if err != nil {
				return err
			}
			rows, err := bench.Query(cmd.Context(), o)
			err = errors.Join(err, stop())
			if o.Model != nil {
				err = errors.Join(err, o.Model.Close())
			}
			if err != nil {
				return err
			}
			return report(cmd, asJSON, rows, func(w io.Writer) {
				fmt.Fprintln(w, "mode\tchunks\tclients\tquestions\tper second\ttotal mean ms\tp50\tp95\tp99\toverhead p50 ms\tp99\tmax\tserver CPU ms\treferences\tstages p50 ms")
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.1f\t", r.Mode, r.Chunks, r.Clients, r.Questions, r.PerSecond, r.TotalMean, r.TotalP50, r.TotalP95, r.TotalP99,
						r.OverheadP50, r.OverheadP99, r.OverheadMax, r.CPU, r.Found)
					for _, name := range slices.Sorted(maps.Keys(r.StagesP50)) {
						fmt.Fprintf(w, "%s %.2f  ", name, r.StagesP50[name])
					}
					fmt.Fprintln(w)
				}
			})
		},
	}
	c.Flags().IntSliceVar(&o.Sizes, "documents", []int{1000}, "documents in the base, growing")
	c.Flags().IntSliceVar(&o.Clients, "clients", []int{1}, "how many ask at once")
	c.Flags().StringVar(&binding, "binding", "openai", "openai: the scripted model does everything; builtin: alcove's own")
	c.Flags().BoolVar(&o.DataOnly, "data-only", false, "ask for what is retrieved alone (query/data)")
	c.Flags().IntVar(&o.Corpus.Chunks, "chunks", 10, "chunks of a document, about")
	c.Flags().IntVar(&o.Questions, "questions", 500, "questions for each mode, size and number of clients")
	c.Flags().StringSliceVar(&modes, "modes", []string{"naive", "local", "global", "hybrid", "mix", "ppr"}, "comma separated modes")
	modelFlags(c, &model, &o.Corpus.Seed, &chunkTokens, &asJSON)
	return c
}

// builtinServer starts this very binary with its built-in models and makes a knowledge
// base in it.
func builtinServer(ctx context.Context, args ...string) (bench.Target, func() error, error) {
	s, stop, err := ownServer(ctx, args...)
	if err != nil {
		return bench.Target{}, nil, err
	}
	return withKB(ctx, s, stop)
}
