package main

import (
	_ "embed"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is set by the build: -ldflags "-X main.release=v1.2.3".
var release = ""

// licences lists the modules in the binary with their licences; `make licences`
// writes it, and CI compares.
//
//go:embed licences.txt
var licences string

func version() string {
	if release != "" {
		return release
	}
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "devel-" + s.Value[:12]
			}
		}
	}
	return "devel"
}

func versionCommand() *cobra.Command {
	var third bool
	c := &cobra.Command{
		Use: "version", Short: "Print the version, or the licences of what is in the binary", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			out := cmd.OutOrStdout()
			if third {
				fmt.Fprint(out, licences)
				return
			}
			fmt.Fprintf(out, "alcove %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
	c.Flags().BoolVar(&third, "licences", false, "print third-party modules and their licences")
	return c
}
