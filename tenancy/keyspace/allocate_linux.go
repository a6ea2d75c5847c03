package keyspace

import (
	"os"

	"golang.org/x/sys/unix"
)

// allocate makes a file of size bytes whose blocks are the file's own.
func allocate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if unix.Fallocate(int(f.Fd()), 0, 0, size) == nil {
		return nil
	}
	return writeZeros(f, size) // a file system without fallocate
}
