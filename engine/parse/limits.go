package parse

import (
	"fmt"
	"time"

	"alcove/engine"
)

// Limits bound what reading one file may take. Zero means the default beside the
// field. What is over one of them is engine.ErrTooLarge, with the limit named.
type Limits struct {
	ArchiveEntries int           // 10,000 entries of an archive (Office files and e-books are archives)
	EntryBytes     int64         // 200 MiB of one unpacked entry
	UnpackedBytes  int64         // 500 MiB of all entries
	UnpackedRatio  int64         // 100 times the packed size, beyond the first 100 kB of an entry
	ArchiveLevels  int           // 1 archive within an archive
	XMLBytes       int64         // 100 MiB of one XML part
	XMLDepth       int           // 200 elements within one another
	XMLAttributes  int           // 1000 of one element
	Pages          int           // 5000 of a PDF
	Rows           int           // 2,000,000 of all sheets of a workbook or of a table of text
	TextBytes      int           // 50 MiB of text
	Time           time.Duration // 30 s
	Memory         int64         // 512 MiB of the process that reads the file
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		v   *int
		def int
	}{
		{&l.ArchiveEntries, 10_000}, {&l.ArchiveLevels, 1}, {&l.XMLDepth, 200}, {&l.XMLAttributes, 1000},
		{&l.Pages, 5000}, {&l.Rows, 2_000_000}, {&l.TextBytes, 50 << 20},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	for _, d := range []struct {
		v   *int64
		def int64
	}{
		{&l.EntryBytes, 200 << 20}, {&l.UnpackedBytes, 500 << 20}, {&l.UnpackedRatio, 100}, {&l.XMLBytes, 100 << 20}, {&l.Memory, 512 << 20},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if l.Time == 0 {
		l.Time = 30 * time.Second
	}
	return l
}

// freeRatio is how much of an entry may be unpacked before its ratio counts: a short
// part of white space is no attack.
const freeRatio = 100_000

func tooLarge(format string, a ...any) error {
	return fmt.Errorf("%w: %s", engine.ErrTooLarge, fmt.Sprintf(format, a...))
}

// broken says that a file is not what its beginning promises.
func broken(what string, err error) error {
	return fmt.Errorf("%w: damaged %s: %v", engine.ErrNotText, what, err)
}

// errLocked is what a file is that only a password opens.
func errLocked(what string) error {
	return fmt.Errorf("%w: %s needs a password to be read", engine.ErrUnsupportedType, what)
}
