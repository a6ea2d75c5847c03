package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"alcove/tenancy"
)

func tokenCommand() *cobra.Command {
	var expire time.Duration
	var subject string
	c := &cobra.Command{
		Use:   "token",
		Short: "Print an administrator's token",
		Long: `token prints a token of the system administrator for the server that uses the
same data folder and TOKEN_SECRET. It works while the server runs. The token's
first use is recorded in the audit log; serve --rotate-secret ends all tokens.

  export ADMIN_TOKEN=$(alcove token --data-dir DIR)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			dir := v.store(nil).Dir
			v.checkSecret()
			if err := v.err(); err != nil {
				return err
			}
			if longest := time.Duration(v.number("TOKEN_EXPIRE_HOURS", 1, 24*366)) * time.Hour; expire < time.Second || expire > longest {
				return fmt.Errorf("--expire %s: from 1s to %s are allowed (TOKEN_EXPIRE_HOURS from %s)", expire, longest, v.from["TOKEN_EXPIRE_HOURS"])
			}
			keys, err := v.signingKeys(cmd.ErrOrStderr(), dir)
			if err != nil {
				return err
			}
			token, err := tenancy.TokenMinter(keys, time.Now)(tenancy.TokenRequest{Subject: subject, System: true, TTL: expire, CLI: true})
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), token)
			return nil
		},
	}
	addSettings(c.Flags(), "DATA_DIR", "TOKEN_SECRET", "JWT_ALGORITHM", "TOKEN_KEY_FILE", "TOKEN_EXPIRE_HOURS")
	c.Flags().DurationVar(&expire, "expire", time.Hour, "how long the token is good for")
	c.Flags().StringVar(&subject, "subject", "admin", "name that the audit log shows")
	return c
}

// signingKeys are the keys a server of this folder and these settings signs tokens with.
// What may keep it from taking ours is said on notes.
func (v *values) signingKeys(notes io.Writer, dir string) (*tenancy.TokenKeys, error) {
	if keys := v.tokenKeys(); keys != nil || v.err() != nil {
		return keys, v.err()
	}
	secret, source, err := tenancy.SecretFrom(dir, []byte(v.str("TOKEN_SECRET")))
	if err != nil {
		return nil, err
	}
	switch {
	case source.Differs && source.Configured:
		fmt.Fprintf(notes, "note: signed with TOKEN_SECRET (from %s), but the server in %s was last started with another secret; it takes this token only if it is started with the same TOKEN_SECRET\n",
			v.from["TOKEN_SECRET"], dir)
	case source.Differs:
		fmt.Fprintf(notes, "note: signed with %s, but the server was last started with another secret, a TOKEN_SECRET of its own; set the same TOKEN_SECRET here, or it refuses this token\n",
			source.Path)
	case source.Created:
		fmt.Fprintf(notes, "note: no server has used %s yet; this token is for the one that will\n", dir)
	}
	return tenancy.SecretKeys(secret), nil
}

// tokenKeys reads the key files of RS256 and EdDSA; nil means HS256 and a secret.
func (v *values) tokenKeys() *tenancy.TokenKeys {
	method := v.str("JWT_ALGORITHM")
	files := []string{"TOKEN_KEY_FILE", "TOKEN_VERIFY_KEY_FILE"}
	if method == tenancy.TokenHS256 {
		for _, name := range files {
			if v.str(name) != "" {
				v.bad(name, "is for JWT_ALGORITHM RS256 or EdDSA, and that is HS256")
			}
		}
		return nil
	}
	if v.str("TOKEN_SECRET") != "" {
		v.bad("TOKEN_SECRET", "is for JWT_ALGORITHM HS256, and that is %q", method)
	}
	var read [2][]byte
	for i, name := range files {
		path := v.str(name)
		if path == "" {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			v.bad(name, "%v", err)
			return nil
		}
		if read[i] = b; b == nil {
			read[i] = []byte{}
		}
	}
	keys, err := tenancy.ParseTokenKeys(method, read[0], read[1])
	if f, ok := errors.AsType[*tenancy.FieldError](err); ok {
		v.bad(f.Field, "%s", f.Message)
		return nil
	}
	return keys
}
