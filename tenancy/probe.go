package tenancy

import "alcove/tenancy/keyspace"

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
