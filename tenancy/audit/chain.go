package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// macDomain keeps the chain's MACs apart from every other use of the key.
const macDomain = "alcove audit record v1\x00"

// ErrBroken marks a chain that does not hold; a *BreakError names the first bad record.
var ErrBroken = errors.New("the audit chain is broken")

// BreakError names the first record of a chain that is not what was written. It
// unwraps to ErrBroken.
type BreakError struct {
	Chain  uint64
	Seq    uint64 // the sequence number at which the walk stopped; 0 where no record but the log itself is wrong
	Entry  uint64 // the log's entry at which a walk over all chains stopped; 0 is the first
	Reason string
}

// Error says where the chain breaks and why.
func (e *BreakError) Error() string {
	if e.Seq == 0 {
		return fmt.Sprintf("the audit log is broken at entry %d: %s", e.Entry, e.Reason)
	}
	return fmt.Sprintf("audit chain %d is broken at record %d (entry %d of the log): %s", e.Chain, e.Seq, e.Entry, e.Reason)
}

// Unwrap returns ErrBroken.
func (e *BreakError) Unwrap() error { return ErrBroken }

// MAC binds a record to its chain and to all records before it.
type MAC [sha256.Size]byte

// Head is where a chain stands: the last record's number and MAC. The zero Head is
// an empty chain.
type Head struct {
	Seq uint64
	MAC MAC
}

// Encode returns the 40 bytes of h.
func (h Head) Encode() []byte {
	return append(binary.BigEndian.AppendUint64(nil, h.Seq), h.MAC[:]...)
}

// DecodeHead reads what Head.Encode wrote.
func DecodeHead(b []byte) (Head, error) {
	if len(b) != 8+sha256.Size {
		return Head{}, fmt.Errorf("%w: head of %d bytes", ErrMalformed, len(b))
	}
	return Head{Seq: binary.BigEndian.Uint64(b), MAC: MAC(b[8:])}, nil
}

// Chain walks one chain of records, sealing new ones or checking stored ones. Not
// safe for concurrent use.
type Chain struct {
	key  []byte
	id   uint64
	head Head
}

// NewChain returns a walk of chain id that stands at head. The id goes into every
// MAC, so that records of one tenant are not good in another's chain. The chain
// keeps key without copying it.
func NewChain(key []byte, id uint64, at Head) *Chain { return &Chain{key: key, id: id, head: at} }

// Head returns where the walk stands.
func (c *Chain) Head() Head { return c.head }

// Seal gives r the next number and returns its stored form: canonical encoding and
// MAC. The walk moves on.
func (c *Chain) Seal(r Record) (seq uint64, sealed []byte) {
	r.Seq = c.head.Seq + 1
	body := r.Encode()
	c.head = Head{Seq: r.Seq, MAC: c.mac(r.Seq, body)}
	return r.Seq, append(body, c.head.MAC[:]...)
}

// Check reads a stored form, compares it with what this chain must hold next, and
// moves on. Otherwise it returns a *BreakError and stays.
func (c *Chain) Check(sealed []byte) (Record, error) {
	next := c.head.Seq + 1
	if len(sealed) < sha256.Size {
		return Record{}, &BreakError{Chain: c.id, Seq: next, Reason: "too short"}
	}
	body, got := sealed[:len(sealed)-sha256.Size], MAC(sealed[len(sealed)-sha256.Size:])
	r, err := Decode(body)
	if err != nil {
		return Record{}, &BreakError{Chain: c.id, Seq: next, Reason: err.Error()}
	}
	if r.Seq != next {
		return Record{}, &BreakError{Chain: c.id, Seq: next, Reason: fmt.Sprintf("record %d stands in its place", r.Seq)}
	}
	want := c.mac(next, body)
	if !hmac.Equal(want[:], got[:]) {
		return Record{}, &BreakError{Chain: c.id, Seq: next, Reason: "its MAC does not match"}
	}
	c.head = Head{Seq: next, MAC: want}
	return r, nil
}

// End compares where the walk stands with the head stored apart from the records: a
// tail that was cut off shows here.
func (c *Chain) End(head Head) error {
	if c.head.Seq < head.Seq {
		return &BreakError{Chain: c.id, Seq: c.head.Seq + 1, Reason: fmt.Sprintf("missing; the chain's head is record %d", head.Seq)}
	}
	if c.head != head {
		return &BreakError{Chain: c.id, Seq: head.Seq + 1, Reason: "written after the chain's head"}
	}
	return nil
}

// mac returns HMAC-SHA-256 over chain, number, previous MAC and body.
func (c *Chain) mac(seq uint64, body []byte) MAC {
	m := hmac.New(sha256.New, c.key)
	fixed := make([]byte, 0, len(macDomain)+16+sha256.Size)
	fixed = append(fixed, macDomain...)
	fixed = binary.BigEndian.AppendUint64(fixed, c.id)
	fixed = binary.BigEndian.AppendUint64(fixed, seq)
	fixed = append(fixed, c.head.MAC[:]...)
	m.Write(fixed)
	m.Write(body)
	return MAC(m.Sum(nil))
}

// Unsealed reads a stored form without checking its MAC, and returns the record and
// where its chain stood behind it. Only for records whose chain is checked elsewhere.
func Unsealed(sealed []byte) (Record, Head, error) {
	if len(sealed) < sha256.Size {
		return Record{}, Head{}, fmt.Errorf("%w: too short", ErrMalformed)
	}
	end := len(sealed) - sha256.Size
	r, err := Decode(sealed[:end])
	return r, Head{Seq: r.Seq, MAC: MAC(sealed[end:])}, err
}
