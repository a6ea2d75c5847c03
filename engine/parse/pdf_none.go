//go:build nopdf

package parse

import (
	"context"
	"fmt"

	"alcove/engine"
)

func warm(Options) error { return nil }

// pdf refuses: this binary was built without the PDF reader.
func pdf(context.Context, []byte, Options) (*engine.Parsed, error) {
	return nil, fmt.Errorf("%w: this server was built without the reader of PDFs", engine.ErrUnsupportedType)
}
