package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"alcove/engine"
	"alcove/sealed"
)

// sealedMedia is the type of the files that export and backup write.
const sealedMedia = "application/vnd.alcove.sealed"

const portableHelp = `
With an API key it speaks to a server anywhere (ALCOVE_API_KEY and --server); the key
needs kb:manage. Without a key it uses the data folder on this machine: through its
server if one is running, else it opens the folder itself until the work is done.`

func exportCommand() *cobra.Command {
	var o ingestOptions
	var signKey string
	c := &cobra.Command{
		Use:   "export FILE",
		Short: "Write a knowledge base as one file",
		Long: `export writes a knowledge base as one file: its documents as readers see them, with
everything that was made of them and what people did by hand. A file tells by itself
when a byte of it was changed or is missing. With --sign-key it is signed: the key is a
file of 64 hexadecimal digits, as openssl rand -hex 32 makes one; the public key that
import --signer wants is printed.
` + portableHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := signingKey(signKey)
			if err != nil {
				return err
			}
			o.progress = cmd.ErrOrStderr()
			v, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			cl, stop, err := o.connect(ctx, v)
			if err != nil {
				return err
			}
			defer stop()
			cl.http = &http.Client{} // a large one takes as long as it takes
			size, err := newFile(args[0], func(f *os.File) error {
				body, err := cl.open(ctx, http.MethodGet, kbPath(o.tenant, o.kb)+"/export", "", nil)
				if err != nil {
					return err
				}
				defer body.Close()
				return reseal(f, body, engine.PortableKind, key)
			}, engine.PortableKind)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d bytes, whole\n", args[0], size)
			if key != nil {
				fmt.Fprintf(cmd.OutOrStdout(), "signed by %s\n", base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)))
			}
			return nil
		},
	}
	c.Flags().StringVar(&signKey, "sign-key", "", "file with the key to sign with")
	o.flags(c)
	return c
}

func importCommand() *cobra.Command {
	var o ingestOptions
	var signer string
	var asJSON bool
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Make a new knowledge base the one in a file",
		Long: `import makes a knowledge base that never held anything the one that export wrote. No
model is asked for anything, and it answers as that one did. A file that was changed or
cut is refused before anything is stored.
` + portableHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.progress = cmd.ErrOrStderr()
			v, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			ctx := cmd.Context()
			cl, stop, err := o.connect(ctx, v)
			if err != nil {
				return err
			}
			defer stop()
			cl.http = &http.Client{}
			path := kbPath(o.tenant, o.kb) + "/import"
			if signer != "" {
				path += "?signer=" + url.QueryEscape(signer)
			}
			var answer json.RawMessage
			if err := cl.send(ctx, http.MethodPost, path, sealedMedia, f, &answer); err != nil {
				return err
			}
			if asJSON {
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n", answer)
				return nil
			}
			var in struct {
				Documents, Chunks int
				Message           string
				ConfigSkipped     string `json:"config_skipped"`
			}
			if err := json.Unmarshal(answer, &in); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d documents, %d chunks\n", in.Documents, in.Chunks)
			for _, s := range []string{in.Message, in.ConfigSkipped} {
				if s != "" {
					fmt.Fprintln(cmd.OutOrStdout(), s)
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&signer, "signer", "", "public key: the file has to be signed with it")
	c.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	o.flags(c)
	return c
}

// flags are those of a command that acts on one knowledge base.
func (o *ingestOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.server, "server", "", "URL of a running server (default: the one on LISTEN)")
	f.StringVar(&o.tenant, "tenant", "", "id of the tenant")
	f.StringVar(&o.kb, "kb", "", "id of the knowledge base")
	addSettings(f)
	for _, name := range []string{"tenant", "kb"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // a flag that is not there: a fault of this file
		}
	}
}

// signingKey reads a seed of 32 bytes in hexadecimal; no name is no key.
func signingKey(name string) (ed25519.PrivateKey, error) {
	if name == "" {
		return nil, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	seed := make([]byte, ed25519.SeedSize)
	if n, err := hex.Decode(seed, bytes.TrimSpace(b[:min(len(b), 2*len(seed)+2)])); err != nil || n != len(seed) {
		return nil, fmt.Errorf("%s holds no key of %d hexadecimal digits", name, 2*ed25519.SeedSize)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// reseal copies a sealed file, verified, and signs the copy. Without a key it copies
// the bytes.
func reseal(w io.Writer, r io.Reader, kind string, key ed25519.PrivateKey) error {
	if key == nil {
		_, err := io.Copy(w, r)
		return err
	}
	in, err := sealed.NewReader(r, kind)
	if err != nil {
		return err
	}
	var note, trailer json.RawMessage
	if err := in.Note(&note); err != nil {
		return err
	}
	out, err := sealed.NewWriter(w, kind, note, key)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := in.Trailer(&trailer); err != nil {
		return err
	}
	return out.Close(trailer)
}

// newFile makes a sealed file that its owner alone can read: f writes it under another
// name; it is synced, read through again and then has its name. One that is there is
// not written over. Where f fails nothing is left.
func newFile(name string, f func(*os.File) error, kind string) (size int64, err error) {
	if _, err := os.Lstat(name); err == nil {
		return 0, fmt.Errorf("%s is there already", name)
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".part-*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	defer tmp.Close()
	if err = f(tmp); err != nil {
		return 0, err
	}
	if err = tmp.Sync(); err != nil {
		return 0, err
	}
	if _, err = tmp.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	if _, err = sealed.Check(tmp, kind, nil); err != nil {
		return 0, fmt.Errorf("read back what was written: %w", err)
	}
	info, err := tmp.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(tmp.Name(), name)
}
