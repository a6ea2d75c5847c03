package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ownerOnly()
	shareProcessors()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errReported) {
			fmt.Fprintln(os.Stderr, "alcove:", err)
		}
		os.Exit(1)
	}
}

// shareProcessors gives Go twice as many threads as there are processors. Go lets a
// goroutine compute for ten milliseconds before another gets its turn, and when Badger
// compacts, goroutines of it compute on every thread there is: whoever waits for a disk
// or a client then waits for several such turns in a row. With more threads the system
// shares out the processors, and it lets those who sleep much go before those who
// compute. Where a quota leaves Go fewer threads than there are processors it stays at
// that, since more would only use the quota up sooner; so does what GOMAXPROCS says.
func shareProcessors() {
	if n := runtime.NumCPU(); os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) == n {
		runtime.GOMAXPROCS(2 * n)
	}
}

// errReported ends a command whose output already says what is wrong.
var errReported = errors.New("reported")

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "alcove",
		Short: "Knowledge bases for many tenants in one binary",
		Long: `alcove gives many tenants their own knowledge bases: documents in, a knowledge
graph and vectors made of them, grounded answers with exact citations out.

First steps:
  alcove demo                 ask the handbook a question, leave nothing behind
  alcove serve                serve the REST API on 127.0.0.1:9621
  alcove token                print an administrator's token for that server
  alcove user add NAME        make an account that signs in with a password

Every flag is also a variable of the environment or of a .env file: --data-dir
is DATA_DIR. A flag wins over the environment, the environment over the file.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	c.AddCommand(serveCommand(), tokenCommand(), userCommand(), demoCommand(), ingestCommand(), migrateCommand(), exportCommand(), importCommand(), backupCommand(), restoreCommand(), verifyCommand(), rebuildCommand(), checkCommand(), auditCommand(), configCommand(), versionCommand(), benchCommand(), probeCommand(), parseChildCommand())
	return c
}
