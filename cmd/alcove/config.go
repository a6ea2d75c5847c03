package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	p := &cobra.Command{
		Use:   "print",
		Short: "Print the settings in force and where each comes from, secrets masked",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			for _, s := range settings {
				val := v.str(s.name)
				if s.secret && val != "" {
					val = "***"
				}
				fmt.Fprintf(w, "%s=%s\t# %s\n", s.name, val, v.from[s.name])
			}
			if err := w.Flush(); err != nil {
				return err
			}
			v.server(v.logger()) // collects every fault
			v.checkSecret()
			return v.err()
		},
	}
	addSettings(p.Flags())
	c.AddCommand(p)
	return c
}
