package main

import (
	"fmt"
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
			if err := v.err(); err != nil {
				return err
			}
			secret, source, err := tenancy.SecretFrom(v.str("DATA_DIR"), []byte(v.str("TOKEN_SECRET")))
			if err != nil {
				return err
			}
			if source.Differs {
				fmt.Fprintf(cmd.ErrOrStderr(), "note: signed with TOKEN_SECRET (from %s), not with the secret kept in %s; the server must be started with the same TOKEN_SECRET\n",
					v.from["TOKEN_SECRET"], v.str("DATA_DIR"))
			}
			token, err := tenancy.TokenMinter(secret, time.Now)(tenancy.TokenRequest{Subject: subject, System: true, TTL: expire, CLI: true})
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), token)
			return nil
		},
	}
	addSettings(c.Flags(), "DATA_DIR", "TOKEN_SECRET")
	c.Flags().DurationVar(&expire, "expire", time.Hour, "how long the token is good for")
	c.Flags().StringVar(&subject, "subject", "admin", "name that the audit log shows")
	return c
}
