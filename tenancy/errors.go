package tenancy

import (
	"errors"
	"fmt"
	"time"

	"alcove/tenancy/keyspace"
)

var (
	// ErrUnauthenticated marks a credential that is missing, malformed, expired,
	// revoked or not ours. It never says which: one answer for all of them.
	ErrUnauthenticated = errors.New("no valid credential")
	// ErrDenied marks an act the caller has no right to. It is the same for a
	// foreign tenant whether or not that tenant exists.
	ErrDenied = errors.New("not allowed")
	// ErrNoTenant marks a tenant that does not exist, told only to a system admin.
	ErrNoTenant = errors.New("no such tenant")
	// ErrNoKB marks a knowledge base that does not exist in a tenant the caller
	// may know, told only to callers whose rights would cover it.
	ErrNoKB = errors.New("no such knowledge base")
	// ErrNotFound marks a record, key or job that is not there.
	ErrNotFound = keyspace.ErrNotFound
	// ErrConflict marks an id or a name that is taken.
	ErrConflict = errors.New("already exists")
	// ErrBadInput marks what a caller sent wrongly; a *FieldError names the field.
	ErrBadInput = errors.New("bad input")
	// ErrBadID marks an id in another spelling than a slug or a lower-case UUID.
	ErrBadID = fmt.Errorf("malformed id: %w", ErrBadInput)
	// ErrQuota marks an act over a limit of the tenant or of the server.
	ErrQuota = errors.New("quota exceeded")
	// ErrTooManyTries marks a sign-in refused unheard because too many before it failed; a
	// *LockedError says for how long.
	ErrTooManyTries = errors.New("too many failed sign-ins")
	// ErrBusy marks a sign-in refused because too many others are waiting.
	ErrBusy = errors.New("too many sign-ins at once")
	// ErrTenantSuspended marks a tenant that a system admin has suspended, told
	// only to callers of that tenant.
	ErrTenantSuspended = errors.New("the tenant is suspended")
	// ErrKBGone marks work on a knowledge base that was deleted meanwhile.
	ErrKBGone = errors.New("the knowledge base was deleted")
	// ErrGone marks a job whose knowledge base was deleted; it is an ErrKBGone too.
	ErrGone = fmt.Errorf("the job has nothing left to work on: %w", ErrKBGone)
	// ErrPaused marks a job whose tenant is suspended: it may go on later.
	ErrPaused = errors.New("the job is paused: its tenant is suspended")
	// ErrWeakSecret marks a TOKEN_SECRET that is too short or publicly known.
	ErrWeakSecret = errors.New("TOKEN_SECRET is not usable")
	// ErrClosed marks a call on a store that was closed.
	ErrClosed = keyspace.ErrClosed
	// ErrDiskFull marks a write refused because the disk is nearly full; reads go on.
	ErrDiskFull = keyspace.ErrDiskFull
	// ErrTooBig marks a transaction or a value over the store's limits.
	ErrTooBig = keyspace.ErrTooBig
	// ErrDamaged marks records that fail their checksum or do not add up.
	ErrDamaged = keyspace.ErrDamaged
	// ErrNotBackup marks files that are no chain of backups of one store.
	ErrNotBackup = keyspace.ErrNotBackup
	// ErrLocked marks a data folder that another process has open.
	ErrLocked = keyspace.ErrLocked
	// ErrNewerFormat marks a data folder that a newer release has written.
	ErrNewerFormat = keyspace.ErrNewerFormat
	// ErrReadOnly marks a write inside a View.
	ErrReadOnly = keyspace.ErrReadOnly
	// ErrStop ends a Scan early without an error.
	ErrStop = keyspace.ErrStop
)

// DeniedError is an ErrDenied that names the permission the act needs, so that
// a caller can tell its owner what to grant. It says nothing of what exists.
type DeniedError struct {
	Permission Permission
}

// Error names the missing permission.
func (e *DeniedError) Error() string { return "not allowed: needs " + string(e.Permission) }

// Unwrap returns ErrDenied.
func (e *DeniedError) Unwrap() error { return ErrDenied }

func denied(p Permission) error { return &DeniedError{Permission: p} }

// FieldError names the field of a request that was refused and why. It unwraps
// to Err, which is ErrBadInput unless said otherwise.
type FieldError struct {
	Field   string
	Message string
	Err     error
}

// Error returns "field: message".
func (e *FieldError) Error() string { return e.Field + ": " + e.Message }

// Unwrap returns the class of the error.
func (e *FieldError) Unwrap() error {
	if e.Err == nil {
		return ErrBadInput
	}
	return e.Err
}

func badField(field, message string) error { return &FieldError{Field: field, Message: message} }

// QuotaError is an ErrQuota that names the limit that was reached.
type QuotaError struct {
	Quota string // the field of Quota, or the server's setting
	Limit int64
	Used  int64 // what is in use, in the unit of Limit; what was asked for is beyond it
	// Until is when a quota of a month begins again; zero for others, which only a
	// deletion makes room in.
	Until time.Time
}

// Error names the limit, its value and what is in use.
func (e *QuotaError) Error() string {
	unit := ""
	if e.Quota == quotaStorage {
		unit = " bytes"
	}
	return fmt.Sprintf("quota exceeded: %s is %d%s, in use are %d", e.Quota, e.Limit, unit, e.Used)
}

// Unwrap returns ErrQuota.
func (e *QuotaError) Unwrap() error { return ErrQuota }
