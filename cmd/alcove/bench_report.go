package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"alcove/bench"
)

// report prints a result as JSON, which bench report reads, or by the table function.
func report(cmd *cobra.Command, asJSON bool, v any, table func(io.Writer)) error {
	out := cmd.OutOrStdout()
	if asJSON {
		result, err := json.Marshal(v)
		if err != nil {
			return err
		}
		m := bench.Measurement{
			Workload: cmd.Name(), Flags: map[string]string{}, Version: version(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
			Processors: runtime.NumCPU(), Result: result,
		}
		cmd.Flags().Visit(func(f *pflag.Flag) {
			v := strings.Trim(f.Value.String(), "[]")
			if f.Name != "json" && !filepath.IsAbs(v) { // such a path is of this machine alone
				m.Flags[f.Name] = v
			}
		})
		return encodeIndented(out, m)
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	table(w)
	fmt.Fprintf(w, "\n%s, %s, %s/%s, %d processors\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	return w.Flush()
}

func encodeIndented(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func benchReport() *cobra.Command {
	var from []string
	var out string
	c := &cobra.Command{
		Use:   "report",
		Short: "One page of what workloads measured, with plots",
		Long: `report reads what other workloads printed with --json, and writes one HTML file that
needs nothing else: a table for each result and, where there is something to draw, plots
(recall against speed, the distribution of latencies, what a document costs as the
base grows). With an --out that ends in .json it writes the results into one file,
which --from reads as well; with .md, tables for a README.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []bench.Measurement
			for _, path := range from {
				b, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				ms, err := bench.ReadMeasurements(bytes.NewReader(b))
				if err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				all = append(all, ms...)
			}
			var page bytes.Buffer
			var err error
			switch filepath.Ext(out) {
			case ".json":
				err = encodeIndented(&page, all)
			case ".html":
				err = bench.WriteReport(&page, all)
			case ".md":
				var text string
				text, err = bench.Figures(all)
				page.WriteString(text)
			default:
				err = fmt.Errorf("--out %q: it ends in .html, .json or .md", out)
			}
			if err != nil {
				return err
			}
			return os.WriteFile(out, page.Bytes(), 0o644)
		},
	}
	c.Flags().StringSliceVar(&from, "from", nil, "comma separated files that workloads wrote with --json")
	c.Flags().StringVar(&out, "out", "report.html", "the file to write")
	if err := c.MarkFlagRequired("from"); err != nil {
		panic("bench report: " + err.Error())
	}
	return c
}
