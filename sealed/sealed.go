package sealed

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
)

const (
	magic = "ALCOVE\r\n"
	// format is raised when an older release could no longer read the file.
	format = 1
	// MaxBlock is the most bytes of the body that stand under one length.
	MaxBlock = 256 << 10
	// maxNote bounds the header and the trailer.
	maxNote = 1 << 20
)

var (
	// ErrBroken says that the file is not one of ours, was changed, or was cut.
	ErrBroken = errors.New("the file is damaged, cut short, or not one that alcove wrote")
	// ErrNewer says that a newer release wrote the file.
	ErrNewer = errors.New("the file was written by a newer release")
	// ErrSignature says that the file is whole, and not signed by whom it had to be.
	ErrSignature = errors.New("the file is not signed with the key that was asked for")
)

func broken(why string) error { return fmt.Errorf("%w: %s", ErrBroken, why) }

// head is the header of every file.
type head struct {
	Kind   string          `json:"kind"`
	Format int             `json:"format"`
	Signer []byte          `json:"signer,omitempty"` // public key
	Note   json.RawMessage `json:"note"`
}

// Writer writes one file. Not safe for concurrent use.
type Writer struct {
	w    io.Writer
	sum  hash.Hash
	key  ed25519.PrivateKey
	err  error
	room []byte
}

// NewWriter begins a file of a kind, with what note says at its head. A key, which may be
// nil, signs it. What is written reaches w in blocks; Close ends the file.
func NewWriter(w io.Writer, kind string, note any, key ed25519.PrivateKey) (*Writer, error) {
	n, err := json.Marshal(note)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	h := head{Kind: kind, Format: format, Note: n}
	if key != nil {
		h.Signer = key.Public().(ed25519.PublicKey)
	}
	s := &Writer{w: w, sum: sha256.New(), key: key, room: make([]byte, 0, MaxBlock)}
	s.raw([]byte(magic))
	s.note(h)
	return s, s.err
}

func (s *Writer) raw(b []byte) {
	if s.err == nil {
		s.sum.Write(b)
		_, s.err = s.w.Write(b)
	}
}

func (s *Writer) framed(b []byte) {
	s.raw(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
	s.raw(b)
}

func (s *Writer) note(v any) {
	b, err := json.Marshal(v)
	if err == nil && len(b) > maxNote {
		err = fmt.Errorf("header or trailer of %d bytes, at most %d", len(b), maxNote)
	}
	if err != nil && s.err == nil {
		s.err = err
	}
	s.framed(b)
}

// Write adds to the body.
func (s *Writer) Write(b []byte) (n int, err error) {
	for len(b) > 0 && s.err == nil {
		k := copy(s.room[len(s.room):MaxBlock], b)
		s.room = s.room[:len(s.room)+k]
		b, n = b[k:], n+k
		if len(s.room) == MaxBlock {
			s.flush()
		}
	}
	return n, s.err
}

func (s *Writer) flush() {
	if len(s.room) > 0 {
		s.framed(s.room)
		s.room = s.room[:0]
	}
}

// Close ends the body, writes the trailer, the sum and the signature. A file whose Close
// did not return nil is a broken one. It does not close what is below.
func (s *Writer) Close(trailer any) error {
	s.flush()
	s.framed(nil)
	s.note(trailer)
	if s.err != nil {
		return s.err
	}
	end := s.sum.Sum(nil)
	if s.key != nil {
		end = append(end, ed25519.Sign(s.key, end)...)
	}
	_, s.err = s.w.Write(end)
	return s.err
}

// Reader reads one file: Read gives its body and, once that has returned io.EOF, the
// whole file has been found as it was written. Not safe for concurrent use.
type Reader struct {
	r       io.Reader
	sum     hash.Hash
	head    head
	left    int // of the block at hand
	trailer json.RawMessage
	err     error
}

// NewReader reads the head of a file of a kind. Nothing that it says is proven before Read
// has returned io.EOF. It returns ErrBroken or ErrNewer.
func NewReader(r io.Reader, kind string) (*Reader, error) {
	s := &Reader{r: r, sum: sha256.New()}
	b := make([]byte, len(magic))
	if err := s.full(b); err != nil {
		return nil, err
	}
	if string(b) != magic {
		return nil, broken("it does not begin as one")
	}
	n, err := s.note()
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(n, &s.head); err != nil {
		return nil, broken("its head is unreadable")
	}
	switch {
	case s.head.Format > format:
		return nil, fmt.Errorf("format %d, this release reads up to %d: %w", s.head.Format, format, ErrNewer)
	case s.head.Kind != kind:
		return nil, broken(fmt.Sprintf("it is a %q, not a %q", s.head.Kind, kind))
	case len(s.head.Signer) != 0 && len(s.head.Signer) != ed25519.PublicKeySize:
		return nil, broken("its signer is unreadable")
	}
	return s, nil
}

// full reads what the sum is made of. A file that ends here was cut.
func (s *Reader) full(b []byte) error {
	if _, err := io.ReadFull(s.r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return broken("it ends too early")
		}
		return err
	}
	s.sum.Write(b)
	return nil
}

func (s *Reader) length(most int) (int, error) {
	var b [4]byte
	if err := s.full(b[:]); err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint32(b[:])
	if uint64(n) > uint64(most) {
		return 0, broken("it holds a length that none has")
	}
	return int(n), nil
}

func (s *Reader) note() ([]byte, error) {
	n, err := s.length(maxNote)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	return b, s.full(b)
}

// Note decodes what the writer said at the head.
func (s *Reader) Note(v any) error {
	if err := json.Unmarshal(s.head.Note, v); err != nil {
		return broken("its head is unreadable")
	}
	return nil
}

// Trailer decodes what the writer said at the end, after Read has returned io.EOF.
func (s *Reader) Trailer(v any) error {
	if !errors.Is(s.err, io.EOF) {
		return broken("its end was not read")
	}
	if err := json.Unmarshal(s.trailer, v); err != nil {
		return broken("its trailer is unreadable")
	}
	return nil
}

// Signer is the public key whose signature the file bears, nil if none; true once Read
// has returned io.EOF.
func (s *Reader) Signer() ed25519.PublicKey { return ed25519.PublicKey(s.head.Signer) }

// Read gives the body. io.EOF comes only if everything to the file's last byte, the sum
// and the signature included, is as it was written.
func (s *Reader) Read(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if len(b) == 0 {
		return 0, nil
	}
	if s.left == 0 {
		if s.left, s.err = s.length(MaxBlock); s.err != nil {
			return 0, s.err
		}
		if s.left == 0 {
			if s.err = s.end(); s.err == nil {
				s.err = io.EOF
			}
			return 0, s.err
		}
	}
	n := min(len(b), s.left)
	if s.err = s.full(b[:n]); s.err != nil {
		return 0, s.err
	}
	s.left -= n
	return n, nil
}

func (s *Reader) end() (err error) {
	if s.trailer, err = s.note(); err != nil {
		return err
	}
	want := s.sum.Sum(nil)
	got := make([]byte, len(want))
	if err := s.full(got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return broken("its bytes do not have the sum it says")
	}
	if len(s.head.Signer) > 0 {
		sig := make([]byte, ed25519.SignatureSize)
		if err := s.full(sig); err != nil {
			return err
		}
		if !ed25519.Verify(s.Signer(), want, sig) {
			return broken("its signature is wrong")
		}
	}
	switch _, err := io.ReadFull(s.r, make([]byte, 1)); {
	case err == nil:
		return broken("bytes follow its end")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// Check reads a file of a kind through and returns it at its end, or why it is not
// whole. With a key it must be signed with that one: ErrSignature.
func Check(r io.Reader, kind string, signer ed25519.PublicKey) (*Reader, error) {
	s, err := NewReader(r, kind)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, s); err != nil {
		return nil, err
	}
	if signer != nil && !signer.Equal(s.Signer()) {
		return nil, ErrSignature
	}
	return s, nil
}
