package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"alcove/tenancy"
)

func userCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "user",
		Short: "Make, list and remove accounts of a stopped server",
		Long: `user works on the accounts in the data folder of a stopped server: it is how the
first one is made. A running server is asked over HTTP instead (POST /api/v1/users).`,
	}
	c.AddCommand(userAdd(), userList(), userPasswd(), userRemove())
	return c
}

func userAdd() *cobra.Command {
	var in tenancy.UserInput
	var tenant, role string
	var kbs []string
	var p passwordFlags
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Make an account; the first one, say",
		Long: `add makes an account that signs in with a password (POST /api/v1/auth/token). The
password is asked for on a terminal; otherwise a one-time password is printed,
which lasts a week and can only be replaced.

  alcove user add ada --system-admin
  alcove user add ben --tenant acme --role editor`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withStopped(cmd, true, func(ctx context.Context, s *tenancy.Store, who tenancy.Principal) error {
				in.Name = args[0]
				var err error
				if in.Password, err = p.read(cmd); err != nil {
					return err
				}
				u, err := s.CreateUser(ctx, who, in)
				if err != nil {
					return err
				}
				if tenant != "" {
					m := tenancy.MemberInput{User: in.Name, Role: tenancy.Role(role), KBs: &kbs}
					if kbs == nil {
						all := true
						m.KBs, m.All = nil, &all
					}
					if _, err := s.AddMember(ctx, who, tenant, m); err != nil {
						// Nothing half done: the account was made for this.
						return errors.Join(err, s.DeleteUser(ctx, who, in.Name))
					}
				}
				printOneTime(cmd.OutOrStdout(), u)
				if !in.System && tenant == "" {
					fmt.Fprintf(cmd.ErrOrStderr(), "note: %s may do nothing yet; make it a member of a tenant (--tenant, or POST /api/v1/tenants/{t}/members)\n", in.Name)
				}
				return nil
			})
		},
	}
	storeSettings(c)
	c.Flags().BoolVar(&in.System, "system-admin", false, "may do everything in every tenant")
	c.Flags().StringVar(&tenant, "tenant", "", "make it a member of this tenant")
	c.Flags().StringVar(&role, "role", string(tenancy.RoleAdmin), "role in the tenant: admin, editor, viewer or viewer:read-only")
	c.Flags().StringArrayVar(&kbs, "kb", nil, "only this knowledge base of the tenant; may be repeated")
	p.add(c)
	return c
}

func userList() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List accounts", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStopped(cmd, false, func(ctx context.Context, s *tenancy.Store, who tenancy.Principal) error {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "NAME\tSYSTEM ADMIN\tACTIVE\tTENANTS\tMADE")
				for cursor := ""; ; {
					page, err := s.Users(ctx, who, tenancy.PageRequest{Cursor: cursor, Limit: 100})
					if err != nil {
						return err
					}
					for _, u := range page.Items {
						fmt.Fprintf(w, "%s\t%t\t%t\t%s\t%s\n", u.Name, u.System, u.IsActive, strings.Join(u.Tenants, " "), u.CreatedAt.Format(time.DateOnly))
					}
					if cursor = page.NextCursor; cursor == "" {
						return w.Flush()
					}
				}
			})
		},
	}
	storeSettings(c)
	return c
}

func userPasswd() *cobra.Command {
	var p passwordFlags
	c := &cobra.Command{
		Use: "passwd NAME", Short: "Give an account a new password, and end its tokens", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withStopped(cmd, false, func(ctx context.Context, s *tenancy.Store, who tenancy.Principal) error {
				password, err := p.read(cmd)
				if err != nil {
					return err
				}
				in := tenancy.UserUpdate{Password: &password}
				if password == "" {
					in = tenancy.UserUpdate{ResetPassword: true}
				}
				u, err := s.UpdateUser(ctx, who, args[0], in)
				if err != nil {
					return noSuchUser(args[0], err)
				}
				printOneTime(cmd.OutOrStdout(), u)
				return nil
			})
		},
	}
	storeSettings(c)
	p.add(c)
	return c
}

func userRemove() *cobra.Command {
	c := &cobra.Command{
		Use: "remove NAME", Short: "Remove an account from everywhere, and end its tokens", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withStopped(cmd, false, func(ctx context.Context, s *tenancy.Store, who tenancy.Principal) error {
				return noSuchUser(args[0], s.DeleteUser(ctx, who, args[0]))
			})
		},
	}
	storeSettings(c)
	return c
}

func noSuchUser(name string, err error) error {
	if errors.Is(err, tenancy.ErrNotFound) {
		return fmt.Errorf("there is no account %q", name)
	}
	return err
}

func printOneTime(w io.Writer, u tenancy.NewUser) {
	if u.OneTime != "" {
		fmt.Fprintln(w, u.OneTime)
	}
}

func storeSettings(c *cobra.Command) {
	addSettings(c.Flags(), "DATA_DIR", "TOKEN_SECRET", "JWT_ALGORITHM", "TOKEN_KEY_FILE", "LISTEN", "LOG_LEVEL", "LOG_FORMAT")
	c.Flags().Set("log-level", "WARN") //nolint:errcheck // the flag was made above
	c.Flags().Lookup("log-level").Changed = false
}

// withStopped opens the store of a stopped server, acts in it as the system admin at the
// command line, and closes it. make says that there need not be a store yet.
func withStopped(cmd *cobra.Command, make bool, f func(context.Context, *tenancy.Store, tenancy.Principal) error) (err error) {
	v, err := loadSettings(cmd.Flags())
	if err != nil {
		return err
	}
	o := v.store(v.logger())
	v.checkSecret()
	if err := v.err(); err != nil {
		return err
	}
	if !make && !tenancy.Exists(o.Dir) {
		return fmt.Errorf("there is no store in %s (DATA_DIR from %s)", o.Dir, v.from["DATA_DIR"])
	}
	running := func(err error) error {
		if !errors.Is(err, tenancy.ErrLocked) {
			return err
		}
		return fmt.Errorf("%w\nThe server of %s is running. Stop it first, or ask it:\n"+
			"  curl -H \"Authorization: Bearer $(alcove token --data-dir %s)\" http://%s/api/v1/users\n"+
			"(POST makes an account, PUT and DELETE …/users/NAME change and remove one)", err, o.Dir, o.Dir, v.str("LISTEN"))
	}
	if err := probeAfterCrash(o.Dir); err != nil {
		return running(err)
	}
	s, err := tenancy.Open(o)
	if err != nil {
		return running(err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx := cmd.Context()
	token, err := s.MintToken(tenancy.TokenRequest{Subject: "cli", System: true, TTL: time.Minute, CLI: true})
	if err != nil {
		return err
	}
	who, err := s.Authenticate(ctx, tenancy.Credential{Bearer: token})
	if err != nil {
		return err
	}
	return f(ctx, s, who)
}

// passwordFlags say where a password comes from.
type passwordFlags struct{ stdin, oneTime bool }

func (p *passwordFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&p.stdin, "password-stdin", false, "read the password from the first line of standard input")
	c.Flags().BoolVar(&p.oneTime, "one-time", false, "make a one-time password and print it")
	c.MarkFlagsMutuallyExclusive("password-stdin", "one-time")
}

// maxPasswordLine bounds what is read of standard input; tenancy has its own limit.
const maxPasswordLine = 4096

// read returns the password, "" for a one-time one. A password is never a flag: those
// are in the list of processes and in the shell's history.
func (p *passwordFlags) read(cmd *cobra.Command) (string, error) {
	if p.stdin {
		line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), maxPasswordLine)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password: %w", err)
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", errors.New("standard input holds no password")
		}
		return line, nil
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if p.oneTime || !ok || !term.IsTerminal(int(in.Fd())) {
		return "", nil
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(cmd.ErrOrStderr(), prompt)
		b, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		return string(b), err
	}
	first, err := ask("Password: ")
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	again, err := ask("Again: ")
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	if first == "" || first != again {
		return "", errors.New("the two passwords differ, or are empty")
	}
	return first, nil
}
