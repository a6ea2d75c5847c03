package httpapi

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"

	"alcove/engine"
	"alcove/tenancy"
)

// sealedMedia is the type of a knowledge base as one file, and of a backup.
const sealedMedia = "application/vnd.alcove.sealed"

// exportKB streams a knowledge base as one file. What goes wrong once it has begun cuts
// the connection; and a file that was cut is told by itself.
func (s *Server) exportKB(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	begun := false
	err := kb.Export(r.Context(), nil, func() io.Writer {
		begun = true
		h := w.Header()
		h.Set("Content-Type", sealedMedia)
		h.Set("Content-Disposition", `attachment; filename="knowledge-base.alcove"`)
		return w
	})
	if err != nil && begun {
		err = fmt.Errorf("%w: %w", errCutShort, err)
	}
	return err
}

// importedKB answers an import.
type importedKB struct {
	*engine.Imported
	// ConfigSkipped says why the settings of the file are not those of the knowledge
	// base now; "" when they are.
	ConfigSkipped string `json:"config_skipped,omitempty"`
}

// importKB spools a file and makes the knowledge base what it holds, its settings last.
func (s *Server) importKB(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != sealedMedia {
		return &engine.FieldError{Field: "Content-Type", Message: "must be " + sealedMedia, Err: errMediaType}
	}
	var signer ed25519.PublicKey
	if q := r.URL.Query(); q.Has("signer") {
		b, err := base64.StdEncoding.DecodeString(q.Get("signer"))
		if err != nil || len(b) != ed25519.PublicKeySize {
			return badField("signer", "is not an Ed25519 public key of %d bytes in base64", ed25519.PublicKeySize)
		}
		signer = b
	}
	if err := plainBody(r); err != nil {
		return err
	}
	file, size, err := s.spoolBody(r, s.o.MaxImportBytes)
	if err != nil {
		return err
	}
	defer dropFile(file)
	in, err := kb.Import(r.Context(), file, size, signer)
	if err != nil {
		return err
	}
	out := importedKB{Imported: in}
	x := exchangeOf(r.Context())
	config := in.From.Config
	if _, err := s.o.Store.UpdateKB(r.Context(), x.who, x.tenant, x.kb, tenancy.KBUpdate{Config: &config}); err != nil {
		if !errors.Is(err, tenancy.ErrBadInput) {
			return err
		}
		out.ConfigSkipped = err.Error()
	}
	return created(w, out)
}

// spoolBody copies a body to a file of its own, at its beginning, and says how long it is.
func (s *Server) spoolBody(r *http.Request, limit int64) (*os.File, int64, error) {
	if r.ContentLength > limit {
		return nil, 0, tooLarge("body", limit)
	}
	f, err := os.CreateTemp("", "alcove-import-*")
	if err != nil {
		return nil, 0, fmt.Errorf("spool a body: %w", err)
	}
	size, err := io.Copy(f, &limitedBody{r: r.Body, left: limit, limit: limit})
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		dropFile(f)
		return nil, 0, err
	}
	return f, size, nil
}

// dropFile removes a spooled file; nobody can be told that it could not be.
func dropFile(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name())
}
