package keyspace

import (
	"errors"
	"io/fs"
	"log/slog"
	"syscall"
)

// quiet is Badger's logger. Badger formats keys into some messages and dumps of
// values into some errors, so only the fixed format string goes on, never its arguments.
type quiet struct{ log *slog.Logger }

func (q quiet) Errorf(format string, _ ...any)   { q.log.Error("badger", "format", format) }
func (q quiet) Warningf(format string, _ ...any) { q.log.Warn("badger", "format", format) }
func (q quiet) Infof(string, ...any)             {}
func (q quiet) Debugf(string, ...any)            {}

// redacted hides the text of a Badger error, which may hold a key or dump a
// value, except where it is known to come from the operating system.
type redacted struct{ err error }

func (r redacted) Error() string {
	var path *fs.PathError
	var number syscall.Errno
	switch {
	case errors.As(r.err, &path):
		return path.Error()
	case errors.As(r.err, &number):
		return number.Error()
	}
	return "see the log"
}
