//go:build unix

package main

import "syscall"

// ownerOnly keeps what this process makes from other users of the machine: the
// store makes its tables readable by all, and a data folder that was there
// before may let them in.
func ownerOnly() { syscall.Umask(0o077) }
