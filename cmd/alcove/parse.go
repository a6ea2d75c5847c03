package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"alcove/engine/parse"
)

// parsing reads the settings of how files are read.
func (v *values) parsing() parse.Options {
	return parse.Options{
		Limits: parse.Limits{Time: v.seconds("PARSE_TIMEOUT", 1, 3600), Memory: v.number("PARSE_MEMORY_BYTES", 128<<20, 1<<40)},
		Slots:  int(v.number("MAX_PARALLEL_PARSE", 1, 256)),
	}
}

// apart makes files be read in child processes of this program, with the compiled
// reader of PDFs kept in the data folder.
func apart(o parse.Options, dir string) (parse.Options, error) {
	self, err := os.Executable()
	if err != nil {
		return o, fmt.Errorf("find this program, which reads files in a process of its own: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil { // a child has another working folder
		return o, fmt.Errorf("data folder: %w", err)
	}
	o.Child, o.CacheDir = []string{self, parseChild}, filepath.Join(dir, "cache", "pdf")
	return o, nil
}

const parseChild = "parse-child"

// parseChildCommand reads one file for a server, which talks to it, and is of no use
// to anyone else.
func parseChildCommand() *cobra.Command {
	return &cobra.Command{
		Use: parseChild, Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return parse.ServeChild(cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
