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
			dir := v.store(nil).Dir
			v.checkSecret()
			if err := v.err(); err != nil {
				return err
			}
			if longest := time.Duration(v.number("TOKEN_EXPIRE_HOURS", 1, 24*366)) * time.Hour; expire < time.Second || expire > longest {
				return fmt.Errorf("--expire %s: from 1s to %s are allowed (TOKEN_EXPIRE_HOURS from %s)", expire, longest, v.from["TOKEN_EXPIRE_HOURS"])
			}
			secret, source, err := tenancy.SecretFrom(dir, []byte(v.str("TOKEN_SECRET")))
			if err != nil {
				return err
			}
			switch {
			case source.Differs && source.Configured:
				fmt.Fprintf(cmd.ErrOrStderr(), "note: signed with TOKEN_SECRET (from %s), but the server in %s was last started with another secret; it takes this token only if it is started with the same TOKEN_SECRET\n",
					v.from["TOKEN_SECRET"], dir)
			case source.Differs:
				fmt.Fprintf(cmd.ErrOrStderr(), "note: signed with %s, but the server was last started with another secret, a TOKEN_SECRET of its own; set the same TOKEN_SECRET here, or it refuses this token\n",
					source.Path)
			case source.Created:
				fmt.Fprintf(cmd.ErrOrStderr(), "note: no server has used %s yet; this token is for the one that will\n", dir)
			}
			token, err := tenancy.TokenMinter(tenancy.SecretKeys(secret), time.Now)(tenancy.TokenRequest{Subject: subject, System: true, TTL: expire, CLI: true})
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), token)
			return nil
		},
	}
	addSettings(c.Flags(), "DATA_DIR", "TOKEN_SECRET", "TOKEN_EXPIRE_HOURS")
	c.Flags().DurationVar(&expire, "expire", time.Hour, "how long the token is good for")
	c.Flags().StringVar(&subject, "subject", "admin", "name that the audit log shows")
	return c
}
