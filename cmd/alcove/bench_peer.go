package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"alcove/bench"
)

func benchServeModel() *cobra.Command {
	var o bench.ModelOptions
	var answers string
	c := &cobra.Command{
		Use:   "serve-model",
		Short: "A scripted model server, OpenAI- and Ollama-shaped",
		Long: `serve-model stands in for a model server until it is interrupted: OpenAI's
/v1/chat/completions, /v1/embeddings and /v1/models, Ollama's /api/chat, /api/embed,
/api/tags and /api/version; streamed or whole. It knows the prompts of alcove and of
LightRAG. A name is two capitalised words in a row; asked what a passage says, it
answers with the names and relates each to the next one of its sentence; vectors are
bags of hashed words. Every answer is a function of the request alone, and GET /counts
says how often it was asked for what.

--answers FILE gives recorded replies, JSON lines {"prompt": …, "reply": …}: a chat
whose last message is the prompt gets the reply, any other one the script's.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if answers != "" {
				if o.Answers, err = bench.ReadAnswers(answers); err != nil {
					return err
				}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			m, err := bench.StartModel(o)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "openai %s, ollama %s, models %s and %s\n", m.URL, m.Host, bench.ModelChat, bench.ModelEmbed)
			<-ctx.Done()
			return m.Close()
		},
	}
	c.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:11500", "address to serve on; port 0 is a free one")
	c.Flags().DurationVar(&o.Latency, "latency", 0, "what every answer is held back for")
	c.Flags().StringVar(&answers, "answers", "", "file of recorded answers")
	c.Flags().IntVar(&o.Dim, "dim", 384, "length of the vectors")
	c.Flags().IntVar(&o.Piece, "piece", 0, "bytes of one streamed piece of a reply; 0: all of it")
	return c
}

func benchPeer() *cobra.Command {
	var o bench.PeerOptions
	var model bench.ModelOptions
	var targets []string
	var asJSON bool
	var chunkTokens int
	var lightrag, vocabulary string
	c := &cobra.Command{
		Use:   "peer",
		Short: "The same documents and questions to alcove and to LightRAG, each over its own API",
		Long: `peer starts a scripted model that takes no time to think, and the servers named by
--target, one after the other, each on an empty folder and with that model for
everything; sends them the same documents and asks them the same questions (mode
mix). At each of the sizes it measures what a document cost, the questions, resident
memory, the data folder, and a restart. CPU is the server's own.

LightRAG has to be installed: bench/peers/lightrag/run.sh does so, in an environment
of its own that is thrown away, and runs this.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "alcove-peer-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			if o.Model, err = bench.StartModel(model); err != nil {
				return err
			}
			o.Progress = cmd.ErrOrStderr()
			var peers []bench.Peer
			for _, t := range targets {
				data := filepath.Join(dir, t)
				if err := os.Mkdir(data, 0o700); err != nil {
					return errors.Join(err, o.Model.Close())
				}
				switch t {
				case "alcove":
					peers = append(peers, bench.NewAlcove(self, data, version(), o.Model, "--chunk-size", fmt.Sprint(chunkTokens)))
				case "lightrag":
					v, err := packageVersion(lightrag)
					if err != nil {
						return errors.Join(err, o.Model.Close())
					}
					peers = append(peers, bench.NewLightRAG(lightrag, data, v, vocabulary, o.Model, chunkTokens))
				default:
					return errors.Join(fmt.Errorf("--target %q: alcove and lightrag are known", t), o.Model.Close())
				}
			}
			rows, err := bench.Peers(cmd.Context(), o, peers...)
			if err := errors.Join(err, o.Model.Close()); err != nil && len(rows) == 0 {
				return err
			}
			return errors.Join(report(cmd, asJSON, rows, func(w io.Writer) { peerTable(w, rows) }), err)
		},
	}
	c.Flags().StringSliceVar(&targets, "target", []string{"alcove", "lightrag"}, "comma separated servers")
	c.Flags().StringVar(&lightrag, "lightrag-server", "lightrag-server", "the program of an installed LightRAG")
	c.Flags().StringVar(&vocabulary, "vocabulary", "", "folder with LightRAG's tokenizer file")
	c.Flags().IntSliceVar(&o.Sizes, "sizes", []int{100, 1000}, "documents in the base")
	c.Flags().IntVar(&o.Window, "window", 100, "last documents at each size whose cost is told apart")
	c.Flags().IntVar(&o.Questions, "questions", 100, "questions at each size")
	c.Flags().DurationVar(&o.Limit, "limit", 30*time.Minute, "for all documents of a server; then what there is, is measured")
	c.Flags().IntVar(&o.Corpus.Chunks, "chunks", 1, "chunks of a document, about")
	modelFlags(c, &model, &o.Corpus.Seed, &chunkTokens, &asJSON)
	return c
}

// packageVersion asks the Python beside an installed program which LightRAG it is.
func packageVersion(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", err
	}
	out, err := exec.Command(filepath.Join(filepath.Dir(path), "python"), "-c", "import importlib.metadata as m; print(m.version('lightrag-hku'))").Output()
	if err != nil {
		return "", fmt.Errorf("the version of %s: %w", path, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// peerTable has a line for each server and size and, below those of two servers of one
// size, how many times the first is ahead.
func peerTable(w io.Writer, rows []bench.PeerRow) {
	fmt.Fprintln(w, "server\tversion\tdocuments\tms/doc\tCPU ms/doc\tof all ms/doc\tCPU ms/doc\tquery p50 ms\tp99 ms\tCPU ms\tRSS MB\tdisk MB\tready s\tanswers after s")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%d%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.1f\t%.1f\t%.1f\t%.0f\t%.1f\t%.2f\t%.2f\n", r.Peer, r.Version, r.Documents, map[bool]string{true: " (cut)"}[r.Cut],
			r.Seconds*1e3, r.CPU*1e3, r.AllSeconds*1e3, r.AllCPU*1e3, r.QueryP50, r.QueryP99, r.QueryCPU, float64(r.RSS)/1e6, float64(r.Disk)/1e6, r.Ready, r.Answering)
	}
	for _, x := range bench.PeerRatios(rows) {
		fmt.Fprintf(w, "ratio\t%s/%s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\n", x.Other, x.Peer, x.Documents,
			x.Seconds, x.CPU, x.AllSeconds, x.AllCPU, x.QueryP50, x.QueryP99, x.QueryCPU, x.RSS, x.Disk, x.Ready, x.Answering)
	}
}
