package engine

import (
	"errors"
	"fmt"
)

var (
	// ErrBadInput marks what a caller sent wrongly; a *FieldError names the
	// field and the limit.
	ErrBadInput = errors.New("bad input")
	// ErrTooLarge marks a document or a call over a size limit.
	ErrTooLarge = errors.New("too large")
	// ErrUnsupportedType marks a file of a type that is not read.
	ErrUnsupportedType = errors.New("unsupported file type")
	// ErrNotText marks bytes that are not the text they claim to be.
	ErrNotText = errors.New("not valid text")
	// ErrEmptyDocument marks a document without any text.
	ErrEmptyDocument = errors.New("document is empty")
	// ErrNotFound marks a document, track or entity that this knowledge base
	// does not hold.
	ErrNotFound = errors.New("not found")
	// ErrConflict marks a known document id with other content: PUT changes it.
	ErrConflict = errors.New("a document with this id and other content or metadata exists; PUT changes it")
	// ErrChanged marks an edit of what somebody else has changed since it was looked at.
	ErrChanged = errors.New("it was changed meanwhile; read it again")
	// ErrExists marks an entity or relation that is to be created and is there.
	ErrExists = errors.New("it is there already; PUT changes it")
	// ErrState marks an act that the document's present state does not allow.
	ErrState = errors.New("not possible in the document's present state")
	// ErrBusy says that nothing can be evicted to make room; try again.
	ErrBusy = errors.New("too many knowledge bases are in use")
	// ErrQueueFull says that too many documents wait; try again.
	ErrQueueFull = errors.New("too many documents are waiting")
	// ErrNoModel says that the act needs a language model and none is configured.
	ErrNoModel = errors.New("no chat model is configured")
	// ErrModelDown says that the model server could not be reached or gave up.
	ErrModelDown = errors.New("the model server is not available")
	// ErrModelMissing says that the model server does not have the model.
	ErrModelMissing = errors.New("the model server does not have the model")
	// ErrModelRefused says that the model server will not do this request: another
	// try would fail as well.
	ErrModelRefused = errors.New("the model server refused the request")
	// ErrPromptTooLong says that a prompt does not fit the model's context window.
	ErrPromptTooLong = errors.New("the prompt does not fit the model's context window")
	// ErrEmbeddingPinned says that the knowledge base was made with another
	// embedding model or dimension; a *PinnedError names both.
	ErrEmbeddingPinned = errors.New("the knowledge base is pinned to another embedding model")
	// ErrDamaged says that a knowledge base's records do not add up; the others go on.
	ErrDamaged = errors.New("the knowledge base is damaged")
	// ErrClosed says that the engine is shutting down.
	ErrClosed = errors.New("the engine is closed")

	// errSuperseded ends a job whose document was deleted or replaced meanwhile.
	errSuperseded = errors.New("superseded")
	// errGaveWay ends the work on a document for now: another tenant has none of the workers.
	errGaveWay = errors.New("gave way to another tenant")
)

// modelAway reports whether a model server cannot be had now: what needs it is
// to be done without it or later.
func modelAway(err error) bool {
	return errors.Is(err, ErrModelDown) || errors.Is(err, ErrModelMissing)
}

// PinnedError names the embedding model that a knowledge base was made with and
// the one that the server has now. A dimension of 0 is not known. It unwraps to
// ErrEmbeddingPinned.
type PinnedError struct {
	Made    string
	MadeDim int
	Now     string
	NowDim  int
}

// Error names both.
func (e *PinnedError) Error() string {
	return fmt.Sprintf("%v: it was made with %s, the server now has %s; reembed takes it there", ErrEmbeddingPinned, named(e.Made, e.MadeDim), named(e.Now, e.NowDim))
}

func named(model string, dim int) string {
	if dim == 0 {
		return model
	}
	return fmt.Sprintf("%s (%d dimensions)", model, dim)
}

// Unwrap returns ErrEmbeddingPinned.
func (e *PinnedError) Unwrap() error { return ErrEmbeddingPinned }

// FieldError names the field of a request that was refused and why. It
// unwraps to Err, which is ErrBadInput unless said otherwise.
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
