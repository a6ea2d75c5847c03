//go:build !linux

package keyspace

import "os"

// allocate makes a file of size bytes whose blocks are the file's own.
func allocate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeZeros(f, size)
}
