package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"alcove/bench"
)

func benchBackup() *cobra.Command {
	var o bench.BackupOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "backup",
		Short: "Backups under load restored and compared, and flipped bits",
		Long: `backup starts a server of its own, backs it up while documents come in, restores each
backup elsewhere and compares records and answers with those of the live store. Then it
flips single bits in each kind of file of the stopped store and in a backup: check and
verify report every one.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Binary, err = os.Executable(); err != nil {
				return err
			}
			if o.Dir, err = os.MkdirTemp("", "alcove-backup-"); err != nil {
				return err
			}
			defer os.RemoveAll(o.Dir)
			o.Progress = cmd.ErrOrStderr()
			r, err := bench.Backup(cmd.Context(), o)
			if err != nil {
				return err
			}
			return report(cmd, asJSON, r, func(w io.Writer) {
				fmt.Fprintln(w, "rounds\tquestions\tacknowledged\trecords\tfirst MB\tothers MB\tbackup ms\trestore ms")
				fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%.1f\t%.1f\t%.0f\t%.0f\n", r.Rounds, r.Questions, r.Acknowledged, r.Records, float64(r.FirstBytes)/1e6, float64(r.LaterBytes)/1e6, r.BackupMS, r.RestoreMS)
				fmt.Fprintln(w, "file\tflips\treported")
				for _, f := range r.Flips {
					fmt.Fprintf(w, "%s\t%d\t%d\n", f.File, f.Rounds, f.Reported)
				}
			})
		},
	}
	c.Flags().IntVar(&o.Documents, "documents", 200, "documents of the knowledge base that is compared")
	c.Flags().IntVar(&o.Rounds, "rounds", 10, "backups, each restored")
	c.Flags().IntVar(&o.Flips, "flips", 50, "flipped bits in each kind of file")
	c.Flags().Uint64Var(&o.Seed, "seed", 1, "seed of the texts and of the places")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
