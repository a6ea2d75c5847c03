package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"alcove/engine"
	"alcove/tenancy"
)

func checkCommand() *cobra.Command {
	var dump, asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Verify every invariant of a stopped store",
		Long: `check reads the data folder of a stopped server and verifies it: every file as it was
left, and if all are, every record's checksum, the counters against a scan, the
catalogue, and for each knowledge base that documents, chunks, vectors, contributions
and jobs agree. It changes nothing but the audit record of its own visit; a folder of
an earlier format is brought forward first, as serve does. It prints each problem on a
line and exits with 1 if there is one.

With --dump it prints the canonical dump of each knowledge base instead: equal
dumps mean equal content, however it came about.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			log := v.logger()
			o := v.store(log)
			o.AuditRetentionDays = 0 // looking cuts nothing
			v.checkSecret()
			if err := v.err(); err != nil {
				return err
			}
			if !tenancy.Exists(o.Dir) {
				return fmt.Errorf("there is no store in %s (DATA_DIR from %s)", o.Dir, v.from["DATA_DIR"])
			}
			ctx, out := cmd.Context(), cmd.OutOrStdout()
			problems := 0
			report := func(p string) {
				problems++
				if !asJSON {
					fmt.Fprintln(out, p)
				}
			}
			if !dump { // before anything opens the folder, for that mends and cuts
				if err := checkFiles(ctx, o.Dir, report); err != nil {
					return err
				}
				if problems > 0 && asJSON {
					return errors.Join(json.NewEncoder(out).Encode(map[string]any{"problems": problems, "opened": false}), errReported)
				}
				if problems > 0 {
					return notOpened(out, problems)
				}
			}
			if err := probeAfterCrash(o.Dir); err != nil {
				return err
			}
			store, err := tenancy.Open(o)
			if err != nil {
				return err
			}
			defer store.Close()
			if dump {
				return store.EachKB(ctx, "check --dump", func(s *tenancy.Space) error {
					fmt.Fprintf(out, "# tenant %s knowledge base %s\n", s.TenantID(), s.KBID())
					return engine.Dump(ctx, s, out)
				})
			}
			catalogue, kbs, total, err := checkStore(ctx, store, report)
			if err != nil {
				return err
			}
			if asJSON {
				if err := json.NewEncoder(out).Encode(map[string]any{"problems": problems, "opened": true, "catalogue": catalogue, "knowledge_bases": kbs, "content": total}); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(out, "%d problems; %d knowledge bases, %s\n", problems, kbs, total)
			}
			if problems > 0 {
				return errReported
			}
			return nil
		},
	}
	addSettings(c.Flags(), "DATA_DIR", "TOKEN_SECRET", "TOKEN_EXPIRE_HOURS", "MAX_KB_PER_TENANT", "LOG_LEVEL", "LOG_FORMAT")
	c.Flags().Set("log-level", "WARN") //nolint:errcheck // the flag was made above
	c.Flags().Lookup("log-level").Changed = false
	c.Flags().BoolVar(&dump, "dump", false, "print the canonical dump")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// notOpened tells why nothing more is looked at. Opening a folder mends, cuts and sums its
// files: what was found would not be found again.
func notOpened(out io.Writer, problems int) error {
	fmt.Fprintf(out, "%d problems in files; the store was not opened, so they are as they were: see the runbook on disaster recovery\n", problems)
	return errReported
}

// checkFiles verifies the files of a folder that nobody has open.
func checkFiles(ctx context.Context, dir string, report func(string)) error {
	problems, err := tenancy.CheckFiles(ctx, dir)
	for _, p := range problems {
		report("file " + p)
	}
	return err
}

// checkStore verifies everything in a store that nobody is writing to.
func checkStore(ctx context.Context, store *tenancy.Store, report func(string)) (catalogue tenancy.Counts, kbs int, total engine.CheckCounts, err error) {
	if catalogue, err = store.Check(ctx, report); err != nil {
		return catalogue, kbs, total, err
	}
	err = store.EachKB(ctx, "check", func(s *tenancy.Space) error {
		kbs++
		n, err := engine.Check(ctx, store, s, func(p string) { report(fmt.Sprintf("tenant %s knowledge base %s: %s", s.TenantID(), s.KBID(), p)) })
		total.Add(n)
		return err
	})
	return catalogue, kbs, total, err
}
