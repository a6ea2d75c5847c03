package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

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
	c.AddCommand(benchRetrieval(), benchGraph(), benchIngest(), benchModel(), benchQuery(), benchDelete(), benchStart(), benchCrash(), benchDrop(), benchOverhead(), benchNeighbour(), benchBackup(), benchANN(), benchCold(), benchEvict(), benchServeModel(), benchPeer(), benchReport())
	return c
}

func benchRetrieval() *cobra.Command {
	var data, modes, corpus, questions, triples string
	var asJSON, noGroups, titledOnly bool
	c := &cobra.Command{
		Use:   "retrieval",
		Short: "Retrieval quality on questions with gold passages",
		Long: `retrieval ingests a question set into a knowledge base in a temporary folder and
asks its questions in every mode, with titles and with all titles blanked. The
sets are those of --data (qa/2wiki, qa/musique100), or your own: --corpus is a
file of JSON lines {id, title, text}, --questions one of {id, question,
gold_doc_ids}.

With --triples, what a language model once said of the passages takes the place
of extraction by rules: a file of JSON lines {doc_id, entities, triples}, a triple
being subject, predicate and object. The sets are then those that have a line
for every passage. For MuSiQue:
--triples DATA/qa/musique100/openie_gpt-3.5-turbo-1106.jsonl`,
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
			if triples != "" {
				x, err := bench.ReadTriples(triples, sets)
				if err != nil {
					return err
				}
				sets = slices.DeleteFunc(sets, func(s bench.Set) bool { return !x.Covers(s) })
				if len(sets) == 0 {
					return fmt.Errorf("%s has no line for some passages of every question set", triples)
				}
				o.Engine.Extractor = x
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
	c.Flags().StringVar(&triples, "triples", "", "recorded triples to extract with")
	c.Flags().StringVar(&modes, "modes", "naive,local,global,hybrid,mix,ppr", "comma separated modes")
	c.Flags().BoolVar(&noGroups, "no-relation-words", false, "switch the table of relation words off")
	c.Flags().BoolVar(&titledOnly, "titled", false, "leave out the sets with blanked titles")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// benchConfig reads the settings for an engine in this process.
func benchConfig(cmd *cobra.Command) (serverConfig, error) {
	v, err := loadSettings(cmd.Flags())
	if err != nil {
		return serverConfig{}, err
	}
	cfg := v.server(slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	return cfg, v.err()
}

// ownServer starts this very binary on a temporary folder.
func ownServer(ctx context.Context, args ...string) (*bench.Server, func() error, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "alcove-bench-")
	if err != nil {
		return nil, nil, err
	}
	s, err := bench.StartServer(ctx, self, dir, args...)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, func() error { return errors.Join(s.Stop(), os.RemoveAll(dir)) }, nil
}

// scriptedServer starts this very binary with the scripted model as its model server
// and makes a knowledge base in it.
func scriptedServer(ctx context.Context, m *bench.Model, args ...string) (bench.Target, func() error, error) {
	s, stop, err := ownServer(ctx, append([]string{
		"--llm-binding", "openai", "--llm-binding-host", m.URL, "--llm-model", bench.ModelChat,
		"--embedding-binding", "openai", "--embedding-binding-host", m.URL, "--embedding-model", bench.ModelEmbed,
	}, args...)...)
	if err != nil {
		return bench.Target{}, nil, err
	}
	return withKB(ctx, s, stop)
}

// withKB makes a knowledge base in a server, which it stops when that fails.
func withKB(ctx context.Context, s *bench.Server, stop func() error) (t bench.Target, _ func() error, err error) {
	token, err := s.Token(ctx)
	if err == nil {
		t, err = s.NewKB(ctx, token, "bench")
	}
	if err != nil {
		return t, nil, errors.Join(err, stop())
	}
	return t, stop, nil
}

// modelFlags are those of the commands with a scripted model.
func modelFlags(c *cobra.Command, o *bench.ModelOptions, seed *uint64, chunkTokens *int, asJSON *bool) {
	c.Flags().IntVar(&o.Dim, "dim", 384, "length of the model's vectors")
	c.Flags().IntVar(&o.Piece, "piece", 0, "bytes of one streamed piece of a model's reply; 0: all of it")
	c.Flags().Uint64Var(seed, "seed", 1, "seed of the documents")
	c.Flags().IntVar(chunkTokens, "chunk-size", 1200, "tokens of a chunk")
	c.Flags().BoolVar(asJSON, "json", false, "print JSON")
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

func benchModel() *cobra.Command {
	var o bench.CostOptions
	var model bench.ModelOptions
	var asJSON bool
	var chunkTokens int
	c := &cobra.Command{
		Use:   "model",
		Short: "What a document costs beside the language model, in bases of several sizes",
		Long: `model starts a scripted model that speaks OpenAI's wire and takes no time to think,
and a server of its own that uses it for extraction, descriptions and vectors. It
fills knowledge bases with made-up documents to each of the sizes and measures
what some more cost, a window of documents at a time and as many windows for each
size: the server's processor time until nothing is left to do, and its calls of the
model. What a document costs is the mean over the windows: a compaction of the store
falls into one of several, and the median leaves it out. The model's own time is in another process. Filling is what
a document cost while the base was filled to its size in one go.

Documents of one chunk show how the cost grows with the base; documents of more
(--chunks 10) show the calls a chunk, since vectors are made a document at a time. Documents share some of what they
speak of, so the model writes long descriptions (chat calls beside those of
extraction); with --own they share nothing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Model, err = bench.StartModel(model); err != nil {
				return err
			}
			o.Progress = cmd.ErrOrStderr()
			o.Open = func(ctx context.Context) (bench.Target, func() error, error) {
				return scriptedServer(ctx, o.Model, "--chunk-size", strconv.Itoa(chunkTokens))
			}
			rows, err := bench.Cost(cmd.Context(), o)
			if err := errors.Join(err, o.Model.Close()); err != nil {
				return err
			}
			return report(cmd, asJSON, rows, func(w io.Writer) {
				fmt.Fprintln(w, "documents\twindows\tchunks/doc\tCPU ms/doc\tmedian\tmin\tmax\tratio\tof medians\tCPU ms/chunk\textract calls/chunk\tchat\tembedding\ttexts\tfilling CPU ms/doc\tratio")
				for _, r := range rows {
					fmt.Fprintf(w, "%d\t%d\t%.1f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.1f\t%.2f\t%.2f\n", r.Documents, r.Windows, float64(r.Chunks)/float64(max(1, r.Measured)),
						r.CPU, r.CPUMedian, r.CPUMin, r.CPUMax, r.CPU/rows[0].CPU, r.CPUMedian/rows[0].CPUMedian, r.CPUChunk, r.Extract, r.Chat, r.Embed, r.Texts, r.Fill, r.Fill/rows[0].Fill)
				}
			})
		},
	}
	c.Flags().IntSliceVar(&o.Sizes, "sizes", []int{100, 1000, 10_000}, "documents in the base")
	c.Flags().IntVar(&o.Window, "window", 100, "documents measured together")
	c.Flags().IntVar(&o.Probes, "probes", 10, "windows for each size")
	c.Flags().IntVar(&o.Corpus.Chunks, "chunks", 1, "chunks of a document, about")
	c.Flags().BoolVar(&o.Corpus.Own, "own", false, "documents speak of things of their own alone")
	modelFlags(c, &model, &o.Corpus.Seed, &chunkTokens, &asJSON)
	return c
}

func benchDelete() *cobra.Command {
	var o bench.DeleteOptions
	var model bench.ModelOptions
	var asJSON bool
	var chunkTokens int
	c := &cobra.Command{
		Use:   "delete",
		Short: "What deleting documents and changing a paragraph costs, and whether it is exact",
		Long: `delete fills a knowledge base in a temporary folder with made-up documents, read by
a scripted model, deletes some in one call and waits until nothing is left to do.
It counts what was asked of the model (any chat call would be a fault) and compares
what is left with a base that never had the documents: the canonical dump, and the
text each entity and relation has a vector of, but for those that the model has
described in one of the two. Then it changes one paragraph of a long document. Background is
the time from the end of the call, with the scripted model's. It exits with 1 when
anything is not exact.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := benchConfig(cmd)
			if err != nil {
				return err
			}
			o.Texts = &bench.Texts{}
			model.Embedded, model.Summarised = o.Texts.See, o.Texts.Write
			if o.Model, err = bench.StartModel(model); err != nil {
				return err
			}
			var m models
			end := endpoint{binding: "openai", url: o.Model.URL}
			if m.chatter, err = end.chatter(bench.ModelChat, 0); err != nil {
				return err
			}
			if m.embedder, err = end.embedder(bench.ModelEmbed, 0, 0, cfg.engine.EmbedBatch); err != nil {
				return err
			}
			m.extractor = engine.ModelExtractor(m.chatter, engine.ExtractOptions{})
			m.answerer = engine.ModelAnswerer(m.chatter, engine.AnswerOptions{})
			o.Engine = cfg.engine
			o.Engine.ChunkTokens = chunkTokens
			o.Engine.ChunkOverlap = min(o.Engine.ChunkOverlap, chunkTokens/4)
			m.into(&o.Engine)
			o.Progress = cmd.ErrOrStderr()
			r, err := bench.Delete(cmd.Context(), o)
			if err := errors.Join(err, o.Model.Close()); err != nil {
				return err
			}
			if err := report(cmd, asJSON, r, func(w io.Writer) {
				fmt.Fprintln(w, "delete\tof\tchunks\tms/doc\tCPU ms/doc\tbackground ms/doc\tmodel calls in the call\tchat calls\tof them summaries\tembedding calls\ttexts\tchanged profiles\tneedless\twith a summary\tbases that differ")
				fmt.Fprintf(w, "%d\t%d\t%d\t%.2f\t%.2f\t%.2f\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d of %d\n", r.Deleted, r.Documents, r.Chunks, r.CallMS, r.CallCPU, r.PastMS, r.InCall,
					r.Chat, r.Summary, r.Embed, r.Texts, r.Changed, r.Needless, r.Summarised, r.Differences, r.Repeat)
				u := r.Update
				fmt.Fprintln(w, "\nupdate of chunks\tchanged\textract calls\tsummary calls\tembedding calls\tembedded chunks\ttexts\tms\tdiffers")
				fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f\t%t\n", u.Chunks, u.Changed, u.Extract, u.Summary, u.Embed, u.Passages, u.Texts, u.MS, u.Different)
			}); err != nil {
				return err
			}
			if r.InCall > 0 || r.Chat > 0 || r.Needless > 0 || r.Differences > 0 || r.Update.Different || r.Update.Extract != r.Update.Changed {
				return errReported
			}
			return nil
		},
	}
	c.Flags().IntVar(&o.Documents, "documents", 200, "documents in the base")
	c.Flags().IntVar(&o.Deleted, "deleted", 85, "documents deleted in one call")
	c.Flags().IntVar(&o.Chunks, "chunks", 2, "chunks of a document, about")
	c.Flags().IntVar(&o.Long, "long", 100, "chunks of the document that is updated, about")
	c.Flags().IntVar(&o.Repeat, "repeat", 3, "bases that documents are deleted from")
	modelFlags(c, &model, &o.Seed, &chunkTokens, &asJSON)
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
