package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"alcove/engine"
	"alcove/tenancy"
)

// backupExt is how the names of backups end that backup makes in a folder.
const backupExt = ".backup"

func backupCommand() *cobra.Command {
	var o ingestOptions
	var since string
	var recipients []string
	var incremental, asJSON bool
	c := &cobra.Command{
		Use:   "backup FILE|FOLDER",
		Short: "Write a backup of the whole store",
		Long: `backup writes one moment of the whole store as a file, while the server goes on: into
FILE, or into FOLDER under a name that says when. It is read back before it has its name.

With --incremental it has the values only of what changed since the newest backup in
FOLDER; restore then wants all of them back to the last one of everything.

With --recipient (an age public key, age1…; age-keygen makes one) it is encrypted, and
then it holds the store's secrets, too. Without, it holds none: keep token.secret,
key.pepper, audit.key and audit.sign of the data folder apart, or keys have to be issued again.

It speaks to the server that uses the data folder, or opens the folder if none runs.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if info, err := os.Stat(name); err == nil && info.IsDir() {
				if incremental {
					var err error
					if since, err = newestBackup(name); err != nil {
						return err
					}
				}
				name = filepath.Join(name, time.Now().UTC().Format("20060102-150405.000")+backupExt)
			} else if incremental {
				return errors.New("--incremental looks for the backup before in a folder: name one, or give --since")
			}
			o.progress = cmd.ErrOrStderr()
			v, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			cl, stop, err := o.connect(cmd.Context(), v)
			if err != nil {
				return err
			}
			defer stop()
			cl.http = &http.Client{}
			q := url.Values{}
			if since != "" {
				q.Set("since", since)
			}
			if len(recipients) > 0 {
				q.Set("recipient", strings.Join(recipients, ","))
			}
			_, err = newFile(name, func(f *os.File) error {
				body, err := cl.open(cmd.Context(), http.MethodPost, "/admin/backup?"+q.Encode(), "", nil)
				if err != nil {
					return err
				}
				defer body.Close()
				_, err = io.Copy(f, body)
				return err
			}, tenancy.BackupKind)
			if err != nil {
				return err
			}
			info, size, err := readBackup(name)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return json.NewEncoder(out).Encode(map[string]any{"file": name, "size": size, "backup": info})
			}
			fmt.Fprintf(out, "%s: %d records, %d of them with their values, %d bytes, whole\n", name, info.Records, info.Changed, size)
			if !info.Secrets {
				fmt.Fprintln(out, "it holds no secrets: keep those of the data folder apart")
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&since, "since", "", "next of an earlier backup (--json prints it)")
	f.BoolVar(&incremental, "incremental", false, "only what changed since the newest backup in the folder")
	f.StringArrayVar(&recipients, "recipient", nil, "age public key to encrypt to; may be repeated")
	f.BoolVar(&asJSON, "json", false, "print what was written as JSON")
	f.StringVar(&o.server, "server", "", "URL of a running server (default: the one on LISTEN)")
	addSettings(f)
	return c
}

// newestBackup is the next of the newest backup in a folder.
func newestBackup(dir string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+backupExt))
	if err != nil || len(names) == 0 {
		return "", errors.Join(err, fmt.Errorf("there is no backup in %s: the first is one of everything", dir))
	}
	info, _, err := readBackup(slices.Max(names))
	return info.Next, err
}

// readBackup reads a backup through.
func readBackup(name string) (info tenancy.BackupInfo, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return info, 0, err
	}
	defer f.Close()
	if info, err = tenancy.CheckBackup(f); err != nil {
		return info, 0, fmt.Errorf("%s: %w", name, err)
	}
	st, err := f.Stat()
	if err != nil {
		return info, 0, err
	}
	return info, st.Size(), nil
}

// restoring are the flags of a restore.
type restoring struct {
	identity, secrets string
	without, reissue  bool
	out               io.Writer
}

func restoreCommand() *cobra.Command {
	var o restoring
	c := &cobra.Command{
		Use:   "restore FILE…",
		Short: "Make a store of backups in an empty data folder",
		Long: `restore makes a store of one backup of everything and, if there are, those since, in any
order, in the data folder, which must be empty or absent. Every file is proven before the
first byte is written; the store is verified as alcove check does before it has its name.

Secrets are in encrypted backups alone. Of others say where they are kept with --secrets
FOLDER, or --without-secrets: then no API key and no token of before is accepted and the
audit log up to here cannot be verified; --reissue-keys gives every API key a new secret
and prints it.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			opt := v.store(v.logger())
			v.checkSecret()
			if err := v.err(); err != nil {
				return err
			}
			o.out = cmd.OutOrStdout()
			return o.restore(cmd.Context(), opt, args)
		},
	}
	f := c.Flags()
	f.StringVar(&o.identity, "identity", "", "file with an age secret key, for encrypted backups")
	f.StringVar(&o.secrets, "secrets", "", "folder with the secrets of the store")
	f.BoolVar(&o.without, "without-secrets", false, "do without the secrets of the store")
	f.BoolVar(&o.reissue, "reissue-keys", false, "give every API key a new secret and print it")
	addSettings(f, "DATA_DIR", "TOKEN_SECRET", "TOKEN_EXPIRE_HOURS", "MAX_KB_PER_TENANT", "LOG_LEVEL", "LOG_FORMAT")
	return c
}

// restore works in a folder beside the one that is asked for, which takes its name at
// the end: a store that is there is a whole one.
func (o restoring) restore(ctx context.Context, opt tenancy.Options, names []string) (err error) {
	dir := opt.Dir
	if there, err := os.ReadDir(dir); err == nil && len(there) > 0 {
		return fmt.Errorf("%s is not empty: a store is restored into an empty folder", dir)
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(dir)), 0o700); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), filepath.Base(dir)+".restoring-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	got, problems, err := o.into(ctx, opt, tmp, names)
	if err != nil {
		return err
	}
	if problems > 0 {
		return fmt.Errorf("the restored store has %d problems, it was not put in place", problems)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	fmt.Fprintf(o.out, "%s: the store as it was at %s, %d records, verified\n", dir, got.Made.Format(time.RFC3339), got.Records)
	return nil
}

// into restores into dir and verifies what is there then.
func (o restoring) into(ctx context.Context, opt tenancy.Options, dir string, names []string) (got tenancy.Restored, problems int, err error) {
	q := tenancy.RestoreRequest{Dir: dir}
	if q.Identities, err = identities(o.identity); err != nil {
		return got, 0, err
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return got, 0, err
		}
		defer f.Close()
		q.Files = append(q.Files, f)
	}
	if got, err = tenancy.Restore(ctx, q); err != nil {
		return got, 0, err
	}
	have := len(got.SecretFiles) > 0
	if o.secrets != "" {
		if err := copySecrets(o.secrets, dir); err != nil {
			return got, 0, err
		}
		have = true
	}
	if !have && !o.without {
		return got, 0, errors.New("the secrets of the store are not in this backup: give --secrets FOLDER, or --without-secrets and issue the keys again (--reissue-keys)")
	}
	opt.Dir, opt.AuditRetentionDays = dir, 0
	opt.CheckpointFile = "" // of the folder that this becomes
	store, err := tenancy.Open(opt)
	if err != nil {
		return got, 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	report := func(p string) {
		if !have && strings.HasPrefix(p, "audit log: ") {
			fmt.Fprintln(o.out, "not verified, for want of its key:", p)
			return
		}
		problems++
		fmt.Fprintln(o.out, p)
	}
	if _, _, _, err := checkStore(ctx, store, report); err != nil {
		return got, problems, err
	}
	if !have {
		fmt.Fprintln(o.out, "no API key and no token from before is accepted: they have to be issued again")
	}
	if o.reissue {
		err = reissueKeys(ctx, store, o.out)
	}
	return got, problems, err
}

// identities reads age secret keys, one a line; no name is none.
func identities(name string) (out []string, err error) {
	if name == "" {
		return nil, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out, nil
}

// copySecrets takes the files with secrets from a folder where they are kept.
func copySecrets(from, to string) error {
	for _, name := range tenancy.SecretFiles() {
		b, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, os.ErrNotExist) && name == "token.secret" { // it may be configured
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// reissueKeys gives every API key of a store that nobody serves a new secret.
func reissueKeys(ctx context.Context, store *tenancy.Store, out io.Writer) error {
	token, err := store.MintToken(tenancy.TokenRequest{Subject: "restore", System: true, TTL: time.Hour})
	if err != nil {
		return err
	}
	who, err := store.Authenticate(ctx, tenancy.Credential{Bearer: token})
	if err != nil {
		return err
	}
	none := 0
	for tenants := (tenancy.PageRequest{}); ; {
		page, err := store.Tenants(ctx, who, tenants)
		if err != nil {
			return err
		}
		for _, t := range page.Items {
			for keys := (tenancy.PageRequest{}); ; {
				list, err := store.Keys(ctx, who, t.ID, keys)
				if err != nil {
					return err
				}
				for _, k := range list.Items {
					again, err := store.RotateKey(ctx, who, t.ID, k.ID, tenancy.KeyRotation{OverlapHours: &none})
					if err != nil {
						return fmt.Errorf("key %s of tenant %s: %w", k.ID, t.ID, err)
					}
					fmt.Fprintf(out, "tenant %s key %s (%s): %s\n", t.ID, k.ID, k.Name, again.Secret)
				}
				if keys.Cursor = list.NextCursor; keys.Cursor == "" {
					break
				}
			}
		}
		if tenants.Cursor = page.NextCursor; tenants.Cursor == "" {
			return nil
		}
	}
}

func verifyCommand() *cobra.Command {
	var o ingestOptions
	r := restoring{without: true}
	c := &cobra.Command{
		Use:   "verify [BACKUP…]",
		Short: "Verify the store, or backups by restoring them aside",
		Long: `verify asks the server that uses the data folder to verify its store, or opens the folder
if none runs, which it first reads file by file: after a clean stop every bit has to be as
it was left. If it is: every record's checksum, every counter, the audit log, and for each
knowledge base that everything derived is what its documents imply. What changes while
it looks may be told as a problem.

With the files of a backup, one of everything and those since, it proves every byte,
restores them into a folder for temporary files, verifies that store the same way, and
removes it. An encrypted one needs --identity; without, its bytes alone are proven.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if len(args) > 0 {
				r.out = out
				return r.verify(cmd.Context(), v, args)
			}
			o.progress = cmd.ErrOrStderr()
			files := 0
			if o.server == "" && os.Getenv(apiKeyVariable) == "" {
				err := checkFiles(cmd.Context(), v.store(v.logger()).Dir, func(p string) {
					files++
					fmt.Fprintln(out, p)
				})
				if err != nil && !errors.Is(err, tenancy.ErrLocked) { // locked is a server's, which is asked
					return err
				}
				if files > 0 {
					return notOpened(out, files)
				}
			}
			cl, stop, err := o.connect(cmd.Context(), v)
			if err != nil {
				return err
			}
			defer stop()
			cl.http = &http.Client{}
			var found struct {
				Problems       int
				Named          []string
				KnowledgeBases int `json:"knowledge_bases"`
			}
			if err := cl.call(cmd.Context(), http.MethodPost, "/admin/verify", nil, &found); err != nil {
				return err
			}
			for _, p := range found.Named {
				fmt.Fprintln(out, p)
			}
			fmt.Fprintf(out, "%d problems; %d knowledge bases\n", found.Problems, found.KnowledgeBases)
			if found.Problems > 0 {
				return errReported
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&r.identity, "identity", "", "file with an age secret key, for encrypted backups")
	f.StringVar(&r.secrets, "secrets", "", "folder with the secrets of the store, to verify the audit log of a backup")
	f.StringVar(&o.server, "server", "", "URL of a running server (default: the one on LISTEN)")
	addSettings(f)
	return c
}

func rebuildCommand() *cobra.Command {
	var o ingestOptions
	c := &cobra.Command{
		Use:   "rebuild",
		Short: "Make anew what follows from the documents, without a model",
		Long: `rebuild makes lists, counters and what is in memory of every knowledge base anew from its
documents and what was read of them. No model is asked. What is right is left alone.

It speaks to the server that uses the data folder, or opens the folder if none runs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			o.progress = cmd.ErrOrStderr()
			cl, stop, err := o.connect(cmd.Context(), v)
			if err != nil {
				return err
			}
			defer stop()
			cl.http = &http.Client{}
			var n engine.Rebuilt
			if err := cl.call(cmd.Context(), http.MethodPost, "/admin/rebuild", nil, &n); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d documents, %d mended; %d stray entries removed; %d knowledge bases counted anew\n", n.Documents, n.Mended, n.Removed, n.Counters)
			return nil
		},
	}
	c.Flags().StringVar(&o.server, "server", "", "URL of a running server (default: the one on LISTEN)")
	addSettings(c.Flags())
	return c
}

// verify proves backups.
func (o restoring) verify(ctx context.Context, v *values, names []string) error {
	encrypted := false
	for _, name := range names {
		info, size, err := readBackup(name)
		if err != nil {
			return err
		}
		encrypted = encrypted || info.Encrypted
		fmt.Fprintf(o.out, "%s: %s, %d records, %d bytes, whole\n", name, info.Made.Format(time.RFC3339), info.Records, size)
	}
	if encrypted && o.identity == "" {
		fmt.Fprintln(o.out, "encrypted: what is in it was not verified, for want of --identity")
		return nil
	}
	tmp, err := os.MkdirTemp("", "alcove-verify-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	opt := v.store(v.logger())
	if err := v.err(); err != nil {
		return err
	}
	_, problems, err := o.into(ctx, opt, filepath.Join(tmp, "store"), names)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.out, "%d problems in the store it makes\n", problems)
	if problems > 0 {
		return errReported
	}
	return nil
}
