package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"alcove/tenancy"
)

func auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Verify or export the audit log of a stopped store"}
	c.AddCommand(auditVerifyCommand(), auditExportCommand())
	return c
}

// auditSettings are what the audit commands read of the configuration.
var auditSettings = []string{"DATA_DIR", "AUDIT_CHECKPOINT_FILE", "LOG_LEVEL", "LOG_FORMAT"}

// stoppedStore reads where the store is, and that there is one.
func stoppedStore(cmd *cobra.Command) (tenancy.Options, error) {
	v, err := loadSettings(cmd.Flags())
	if err != nil {
		return tenancy.Options{}, err
	}
	o := v.store(v.logger())
	if err := v.err(); err != nil {
		return o, err
	}
	o.AuditRetentionDays = 0 // the server cuts, nobody else
	if !tenancy.Exists(o.Dir) {
		return o, fmt.Errorf("there is no store in %s (DATA_DIR from %s)", o.Dir, v.from["DATA_DIR"])
	}
	return o, probeAfterCrash(o.Dir)
}

func auditVerifyCommand() *cobra.Command {
	var export, key string
	var outside []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Verify the audit log, offline, and name the first bad record",
		Long: `verify walks the audit log of a stopped store: every record against its chain,
every chain against its head, and the tree over all chains against the signed
checkpoints in the store. It changes nothing. The first record that is not what
was written is named, and the exit status is then 1.

Whoever has the whole folder has its keys too, and can make a log that agrees with
itself. Against that help checkpoints that were copied off the machine:

  alcove audit verify --checkpoints /mnt/elsewhere/audit.checkpoints --key 'alcove-audit+…'

The key is printed by every verification and by GET /admin/audit/checkpoint: note it once,
elsewhere. With --export FILE an export is verified instead; that needs --key and no store.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if export != "" {
				if len(outside) > 0 {
					return errors.New("--export and --checkpoints do not go together: the export carries its checkpoint")
				}
				return verifyExport(cmd.OutOrStdout(), export, key, asJSON)
			}
			o, err := stoppedStore(cmd)
			if err != nil {
				return err
			}
			rep, err := tenancy.VerifyAudit(cmd.Context(), o, tenancy.AuditCheck{Outside: outside, VerifierKey: key})
			bad := ""
			switch {
			case tenancy.AuditBroken(err):
				bad = err.Error()
				if rep.FirstBadTenant != "" {
					bad = "tenant " + rep.FirstBadTenant + ": " + bad
				}
			case err != nil:
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				if err := json.NewEncoder(out).Encode(map[string]any{"problem": bad, "report": rep}); err != nil {
					return err
				}
			} else if bad != "" {
				fmt.Fprintln(out, bad)
			} else {
				fmt.Fprintf(out, "good: %d entries of %d chains", rep.Entries-rep.Cut, rep.Chains)
				if rep.Cut > 0 {
					fmt.Fprintf(out, " (%d older ones were cut by retention)", rep.Cut)
				}
				fmt.Fprintf(out, "; %d checkpoints in the store and %d outside agree\n", rep.Checkpoints, rep.Outside)
				switch {
				case len(outside) == 0:
					fmt.Fprintln(out, "note: no outside checkpoints were given; a tail that was cut off with its checkpoints, or an older store, would not show")
				case rep.BehindOutside > 0:
					fmt.Fprintf(out, "note: the last %d entries came after the last outside checkpoint\n", rep.BehindOutside)
				}
				fmt.Fprintln(out, "key:", rep.VerifierKey)
			}
			if bad != "" {
				return errReported
			}
			return nil
		},
	}
	addSettings(c.Flags(), auditSettings...)
	c.Flags().StringArrayVar(&outside, "checkpoints", nil, "checkpoint file kept outside (repeatable)")
	c.Flags().StringVar(&key, "key", "", "public key that signed them, kept outside; empty: the store's own")
	c.Flags().StringVar(&export, "export", "", "verify this export instead of a store")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// verifyExport verifies an export file.
func verifyExport(out io.Writer, path, key string, asJSON bool) error {
	if key == "" {
		return errors.New("--export needs --key: the key in the file itself proves nothing")
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	rep, err := tenancy.VerifyAuditExport(f, key)
	bad := ""
	if tenancy.AuditBroken(err) {
		bad = err.Error()
	} else if err != nil {
		return err
	}
	switch {
	case asJSON:
		err = json.NewEncoder(out).Encode(map[string]any{"problem": bad, "records": rep.Records, "tenant_id": rep.Head.Tenant, "checkpoint_entries": rep.Checkpoint.Size})
	case bad != "":
		_, err = fmt.Fprintln(out, bad)
	default:
		_, err = fmt.Fprintf(out, "good: %d records, each in the tree of %d entries that was signed at %s\n", rep.Records, rep.Checkpoint.Size, rep.Checkpoint.Time.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	if err == nil && bad != "" {
		err = errReported
	}
	return err
}

func auditExportCommand() *cobra.Command {
	var tenant, to string
	c := &cobra.Command{
		Use:   "export",
		Short: "Write the audit log with proofs, as JSON lines",
		Long: `export writes the records of one tenant, or of all, of a stopped store as JSON
lines: each with its stored form and the proof that it is in the tree of a checkpoint
signed just now. Anybody with the public key verifies them: alcove audit verify --export FILE.
The export is itself recorded.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			o, err := stoppedStore(cmd)
			if err != nil {
				return err
			}
			store, err := tenancy.Open(o)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			if to == "" || to == "-" {
				_, err = store.ExportAudit(cmd.Context(), cmd.OutOrStdout(), tenant)
				return err
			}
			f, err := os.OpenFile(filepath.Clean(to), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return err
			}
			n, err := store.ExportAudit(cmd.Context(), f, tenant)
			if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
				return errors.Join(err, os.Remove(f.Name()))
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%d records\n", n)
			return nil
		},
	}
	addSettings(c.Flags(), auditSettings...)
	c.Flags().StringVar(&tenant, "tenant", "", "records of this tenant; empty: of all")
	c.Flags().StringVar(&to, "out", "", "new file to write; empty: standard output")
	return c
}
