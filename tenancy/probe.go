package tenancy

import (
	"context"

	"alcove/tenancy/keyspace"
)

// ClosedCleanly reports whether the store in dir was closed the last time, or
// was never opened. After any other stop it is wise to Probe it in a child
// process before Open.
func ClosedCleanly(dir string) bool { return keyspace.CleanStop(dir) }

// Exists reports whether there is a store in dir, whole or damaged. Open makes one
// where there is none: who only wants to look asks first.
func Exists(dir string) bool { return keyspace.Exists(dir) }

// Probe opens the database in dir and closes it again. Some damage ends the
// process that opens it, from a goroutine that nobody can recover: in a child
// process that is an error like another.
func Probe(dir string) error { return keyspace.Probe(dir) }

// CheckFiles reads every file of the store in dir before Open changes anything and returns a
// sentence for each that is not as it was left: after a clean stop every bit of the database,
// the secrets and the checkpoints, after another what files tell of themselves. It returns
// ErrLocked while a process has the folder open.
func CheckFiles(ctx context.Context, dir string) ([]string, error) {
	return keyspace.CheckFiles(ctx, keyspace.Options{Dir: dir, Also: besideData, Lasting: lastingFiles})
}
