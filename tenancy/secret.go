package tenancy

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The files in Options.Dir that hold secrets, each 32 random bytes in hexadecimal
// and readable by their owner alone.
const (
	tokenSecretFile = "token.secret"
	keyPepperFile   = "key.pepper"
	auditKeyFile    = "audit.key"
	// tokenPrintFile holds a fingerprint of the secret the last Open used, so that a
	// token minted beside a server that has another secret is noticed.
	tokenPrintFile = "token.fingerprint"
)

// Files beside the database that CheckFiles covers, and those of them that never change.
var (
	besideData   = []string{tokenSecretFile, keyPepperFile, auditKeyFile, auditSignFile, tokenPrintFile, checkpointFile}
	lastingFiles = []string{keyPepperFile, auditKeyFile, auditSignFile}
)

const (
	secretBytes         = 32 // as long as the hash of HS256: RFC 7518 section 3.2
	minTokenSecretBytes = 32
	maxTokenSecretBytes = 4096
	minDistinctBytes    = 8 // 32 random bytes have fewer with a chance below 1e-40
	maxSecretPeriod     = 16
)

// knownSecrets are the examples and defaults that people leave in place: ADR 007's,
// LightRAG's published default, and what tutorials print. Whatever contains one of
// the last group is refused too.
var (
	knownSecrets     = []string{"your-secret-key", "secret", "changeme", "password", "test", "default"}
	knownSecretParts = []string{"your-secret", "your_secret", "yoursecret", "your-super-secret", "change-in-production",
		"changeme", "change-me", "change_me", "change-this", "lightrag-jwt", "default-secret", "example", "placeholder"}
)

// SecretSource says where a token secret comes from.
type SecretSource struct {
	Configured bool   // handed in: TOKEN_SECRET
	Path       string // the file it lies in, if not configured
	Created    bool   // the file was made just now
	// Differs says that the store in this folder was last opened with another secret:
	// tokens made with this one are refused by a server that still runs with that.
	Differs bool
}

// SecretFrom returns the secret tokens are signed with: configured if it is not
// empty, else the one kept in dir, made if there is none. It needs no open store, so
// that serve and token find the same one. A configured secret that is short,
// published or repetitive is an ErrWeakSecret that names TOKEN_SECRET.
func SecretFrom(dir string, configured []byte) ([]byte, SecretSource, error) {
	var src SecretSource
	var secret []byte
	if len(configured) > 0 {
		if err := checkTokenSecret(configured); err != nil {
			return nil, src, err
		}
		secret, src.Configured = bytes.Clone(configured), true
	} else {
		var err error
		if secret, src.Created, err = secretFile(dir, tokenSecretFile); err != nil {
			return nil, src, err
		}
		if dir != "" {
			src.Path = filepath.Join(dir, tokenSecretFile)
		}
	}
	if dir != "" {
		b, err := os.ReadFile(filepath.Join(dir, tokenPrintFile))
		switch {
		case err == nil:
			src.Differs = strings.TrimSpace(string(b)) != fingerprint(secret)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, src, fmt.Errorf("read token fingerprint: %w", err)
		}
	}
	return secret, src, nil
}

// checkTokenSecret refuses what could be guessed.
func checkTokenSecret(b []byte) error {
	weak := func(why string) error { return fmt.Errorf("%w: TOKEN_SECRET %s", ErrWeakSecret, why) }
	s := strings.ToLower(strings.TrimSpace(string(b)))
	for _, k := range knownSecrets {
		if s == k {
			return weak("is a published example")
		}
	}
	for _, k := range knownSecretParts {
		if strings.Contains(s, k) {
			return weak("contains a published example")
		}
	}
	if len(b) < minTokenSecretBytes {
		return weak(fmt.Sprintf("must be at least %d bytes, it has %d", minTokenSecretBytes, len(b)))
	}
	if len(b) > maxTokenSecretBytes {
		return weak(fmt.Sprintf("must be at most %d bytes, it has %d", maxTokenSecretBytes, len(b)))
	}
	var seen [256]bool
	distinct := 0
	for _, c := range b {
		if !seen[c] {
			seen[c] = true
			distinct++
		}
	}
	if distinct < minDistinctBytes {
		return weak("repeats a few characters")
	}
	for p := 1; p <= maxSecretPeriod; p++ {
		if bytes.Equal(b[p:], b[:len(b)-p]) {
			return weak("repeats a short text")
		}
	}
	return nil
}

// secretFile returns the secret kept in a file of dir, made if there is none. Two
// processes that start at once agree: the file appears whole or not at all, and
// whoever comes second reads the first one's. With no dir the secret is not kept.
func secretFile(dir, name string) (secret []byte, created bool, err error) {
	if dir == "" {
		return randomBytes(secretBytes), true, nil
	}
	path := filepath.Join(dir, name)
	secret, err = readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, false, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false, fmt.Errorf("make %s: %w", name, err)
	}
	secret = randomBytes(secretBytes)
	tmp, err := writeAside(dir, name, fmt.Appendf(nil, "%x\n", secret))
	if err != nil {
		return nil, false, err
	}
	defer os.Remove(tmp)
	// A link, not a rename: it fails if the other process was first.
	switch err := os.Link(tmp, path); {
	case err == nil:
		return secret, true, syncDir(dir)
	case errors.Is(err, fs.ErrExist):
		secret, err = readSecret(path)
		return secret, false, err
	}
	// A file system without links: the window between the two calls is left open.
	if secret, err := readSecret(path); err == nil {
		return secret, false, nil
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, false, fmt.Errorf("make %s: %w", name, err)
	}
	return secret, true, syncDir(dir)
}

// writeAside writes b, synced, into a new file of dir that only its owner can read, and
// returns the file's path.
func writeAside(dir, name string, b []byte) (path string, err error) {
	f, err := os.CreateTemp(dir, name+".new-*") // made with mode 0600
	if err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("write %s: %w", name, errors.Join(err, os.Remove(f.Name())))
	}
	return f.Name(), nil
}

// replaceFile puts a file with b in place of the one of that name: whole, whatever
// happens meanwhile. (renameio does the same, but is not there for Windows.)
func replaceFile(dir, name string, b []byte) error {
	tmp, err := writeAside(dir, name, b)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		return fmt.Errorf("replace %s: %w", name, errors.Join(err, os.Remove(tmp)))
	}
	return syncDir(dir)
}

func readSecret(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(secret) != secretBytes {
		// Not the decoder's error: it would print a part of the file.
		return nil, fmt.Errorf("%s is not a secret of %d bytes in hexadecimal; restore it from a backup", path, secretBytes)
	}
	return secret, nil
}

// syncDir makes a new name in dir last through a power cut, where the system can.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync() // not every system lets a folder be synced
	return d.Close()
}

// replaceSecret puts a new secret in place of the one in a file of dir.
func replaceSecret(dir, name string) ([]byte, error) {
	secret := randomBytes(secretBytes)
	if dir == "" {
		return secret, nil
	}
	return secret, replaceFile(dir, name, fmt.Appendf(nil, "%x\n", secret))
}

// notePrint records which secret this store runs with.
func notePrint(dir string, secret []byte) error {
	if dir == "" {
		return nil
	}
	return replaceFile(dir, tokenPrintFile, []byte(fingerprint(secret)+"\n"))
}

// fingerprint names a secret without giving it away.
func fingerprint(secret []byte) string {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("alcove token secret fingerprint v1"))
	return hex.EncodeToString(m.Sum(nil)[:16])
}

// randomBytes returns n bytes nobody can guess. crypto/rand does not fail.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
