package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// The first lines of what is signed. A signature under one is none under the other.
const (
	checkpointOrigin = "alcove audit checkpoint"
	cutOrigin        = "alcove audit cut"
)

// keyName is the name under which signatures stand in notes; keys of different servers
// differ by their hash beside it.
const keyName = "alcove-audit"

// maxNoteBytes bounds a signed note that is read.
const maxNoteBytes = 4 << 10

// ErrSignature marks a checkpoint that the key at hand did not sign.
var ErrSignature = errors.New("not signed by this audit key")

// Checkpoint tells what the log was at one moment: how many entries, and the root of
// their tree. Whoever keeps one apart from the store can tell later whether the store
// still holds what it held then.
type Checkpoint struct {
	Size uint64
	Root Hash
	Time time.Time
}

// Cut tells where retention has cut the log: the entries before Size are gone, Root is
// what their tree was, and Heads is the digest of where each chain stood (HeadsDigest).
type Cut struct {
	Checkpoint
	Heads Hash
}

// Signer signs checkpoints and cuts as notes (golang.org/x/mod/sumdb/note) with Ed25519.
type Signer struct {
	key      ed25519.PrivateKey
	verifier note.Verifier
	public   string
}

// NewSigner makes a signer of a secret of 32 bytes.
func NewSigner(seed []byte) (*Signer, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("an audit signing key has %d bytes, not %d", ed25519.SeedSize, len(seed))
	}
	s := &Signer{key: ed25519.NewKeyFromSeed(seed)}
	var err error
	if s.public, err = note.NewEd25519VerifierKey(keyName, s.key.Public().(ed25519.PublicKey)); err != nil {
		return nil, fmt.Errorf("audit signing key: %w", err)
	}
	if s.verifier, err = note.NewVerifier(s.public); err != nil {
		return nil, fmt.Errorf("audit signing key: %w", err)
	}
	return s, nil
}

// VerifierKey returns the public key as text, which is what others need to check
// signatures. Keep it apart from the store.
func (s *Signer) VerifierKey() string { return s.public }

// Name, KeyHash and Sign make a Signer a note.Signer.

// Name returns the name of the key.
func (s *Signer) Name() string { return s.verifier.Name() }

// KeyHash returns the short hash of the key.
func (s *Signer) KeyHash() uint32 { return s.verifier.KeyHash() }

// Sign returns the signature of msg.
func (s *Signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

// Checkpoint returns c as a signed note.
func (s *Signer) Checkpoint(c Checkpoint) ([]byte, error) {
	return s.note(strings.Join(append([]string{checkpointOrigin}, c.lines()...), "\n") + "\n")
}

// Cut returns c as a signed note.
func (s *Signer) Cut(c Cut) ([]byte, error) {
	return s.note(strings.Join(append(append([]string{cutOrigin}, c.lines()...), c.Heads.String()), "\n") + "\n")
}

func (s *Signer) note(text string) ([]byte, error) {
	b, err := note.Sign(&note.Note{Text: text}, s)
	if err != nil {
		return nil, fmt.Errorf("sign audit checkpoint: %w", err)
	}
	return b, nil
}

func (c Checkpoint) lines() []string {
	return []string{strconv.FormatUint(c.Size, 10), c.Root.String(), c.Time.UTC().Format(time.RFC3339)}
}

// OpenCheckpoint checks a signed checkpoint with a public key and reads it. Another
// key, or a changed text, is ErrSignature; other bytes are ErrMalformed.
func OpenCheckpoint(signed []byte, verifierKey string) (Checkpoint, error) {
	rows, err := open(signed, verifierKey, checkpointOrigin, 4)
	if err != nil {
		return Checkpoint{}, err
	}
	return checkpointOf(rows)
}

// OpenCut is OpenCheckpoint for a cut.
func OpenCut(signed []byte, verifierKey string) (Cut, error) {
	rows, err := open(signed, verifierKey, cutOrigin, 5)
	if err != nil {
		return Cut{}, err
	}
	c, err := checkpointOf(rows)
	if err != nil {
		return Cut{}, err
	}
	heads, err := tlog.ParseHash(rows[4])
	if err != nil {
		return Cut{}, fmt.Errorf("%w: digest of a cut", ErrMalformed)
	}
	return Cut{Checkpoint: c, Heads: heads}, nil
}

func open(signed []byte, verifierKey, origin string, lines int) ([]string, error) {
	v, err := note.NewVerifier(verifierKey)
	if err != nil {
		return nil, fmt.Errorf("audit verifier key: %w", err)
	}
	if len(signed) > maxNoteBytes {
		return nil, fmt.Errorf("%w: a checkpoint of %d bytes", ErrMalformed, len(signed))
	}
	n, err := note.Open(signed, note.VerifierList(v))
	_, unverified := errors.AsType[*note.UnverifiedNoteError](err)
	_, invalid := errors.AsType[*note.InvalidSignatureError](err)
	switch {
	case unverified || invalid:
		return nil, ErrSignature
	case err != nil:
		return nil, fmt.Errorf("%w: a checkpoint: %v", ErrMalformed, err)
	}
	rows := strings.Split(strings.TrimSuffix(n.Text, "\n"), "\n")
	if len(rows) != lines || rows[0] != origin {
		return nil, fmt.Errorf("%w: not an %s", ErrMalformed, strings.TrimPrefix(origin, "alcove "))
	}
	return rows, nil
}

func checkpointOf(rows []string) (Checkpoint, error) {
	size, err := strconv.ParseUint(rows[1], 10, 62)
	if err != nil || strconv.FormatUint(size, 10) != rows[1] {
		return Checkpoint{}, fmt.Errorf("%w: size of a checkpoint", ErrMalformed)
	}
	root, err := tlog.ParseHash(rows[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: root of a checkpoint", ErrMalformed)
	}
	at, err := time.Parse(time.RFC3339, rows[3])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: time of a checkpoint", ErrMalformed)
	}
	return Checkpoint{Size: size, Root: root, Time: at}, nil
}

// AppendToFile adds a signed note to the bytes of a checkpoint file: the note and an
// empty line.
func AppendToFile(b, signed []byte) []byte { return append(append(b, signed...), '\n') }

// SplitFile returns the notes of a checkpoint file in their order. A last note that a
// crash has cut short is left out.
func SplitFile(b []byte) [][]byte {
	var notes [][]byte
	for len(b) > 0 {
		// A note is a text, an empty line, and signature lines; then comes our empty line.
		text := bytes.Index(b, []byte("\n\n"))
		if text < 0 {
			break
		}
		end := bytes.Index(b[text+2:], []byte("\n\n"))
		if end < 0 {
			break
		}
		end += text + 2 + 1
		notes = append(notes, b[:end])
		b = b[end+1:]
	}
	return notes
}

// Longest returns the checkpoint that tells of the most entries among the notes of a
// checkpoint file, checked with verifierKey. Only that one is checked.
func Longest(notes [][]byte, verifierKey string) (Checkpoint, error) {
	var longest []byte
	var most uint64
	for _, b := range notes {
		_, rest, _ := bytes.Cut(b, []byte("\n"))
		size, _, _ := bytes.Cut(rest, []byte("\n"))
		if n, err := strconv.ParseUint(string(size), 10, 62); err == nil && (n >= most || longest == nil) {
			longest, most = b, n
		}
	}
	if longest == nil {
		return Checkpoint{}, fmt.Errorf("%w: no checkpoint", ErrMalformed)
	}
	return OpenCheckpoint(longest, verifierKey)
}

// HeadsDigest is the digest of where chains stood, as a Cut signs it.
func HeadsDigest(heads map[uint64]Head) Hash {
	var b []byte
	for _, id := range slices.Sorted(maps.Keys(heads)) {
		b = append(binary.BigEndian.AppendUint64(b, id), heads[id].Encode()...)
	}
	return tlog.RecordHash(b)
}
