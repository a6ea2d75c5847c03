package index

import (
	"fmt"
	"io"
)

// github.com/coder/hnsw does not compile for Windows.

func coderCheck() error { return fmt.Errorf("%w: coder is not there on Windows", ErrBackend) }

func newCoder(*hnsw) (walker, error) { return nil, coderCheck() }

// Export returns ErrBackend.
func (v *Vectors) Export(io.Writer) error { return coderCheck() }
