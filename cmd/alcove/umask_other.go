//go:build !unix

package main

// ownerOnly does nothing where a folder's own rights are inherited by its files.
func ownerOnly() {}
