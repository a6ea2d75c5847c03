// Package flat writes tables of numbers and texts as bytes, and reads them back with
// few allocations: snapshots are made of it. It knows nothing of what the tables mean.
package flat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// ErrDamaged says that bytes are not what was written.
var ErrDamaged = errors.New("flat: damaged")

// sumBytes are the length and the checksum at the end of what Seal made.
const sumBytes = 12

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendUint writes a number; small ones take a byte.
func AppendUint(b []byte, n uint64) []byte { return binary.AppendUvarint(b, n) }

// AppendFixed writes a number that is large as a rule, in eight bytes.
func AppendFixed(b []byte, n uint64) []byte { return binary.LittleEndian.AppendUint64(b, n) }

// AppendString writes a text.
func AppendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Seal ends b with its length and a checksum of all that is in it.
func Seal(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(b)))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Open returns what was sealed, ErrDamaged when it is not whole.
func Open(b []byte) ([]byte, error) {
	n := len(b) - sumBytes
	if n < 0 || binary.LittleEndian.Uint64(b[n:]) != uint64(n) || binary.LittleEndian.Uint32(b[n+8:]) != crc32.Checksum(b[:n+8], castagnoli) {
		return nil, fmt.Errorf("%w: %d bytes have another checksum", ErrDamaged, len(b))
	}
	return b[:n], nil
}

// Reader reads what the functions above have written, in order. The first fault
// stays, and whatever is read after it is zero or empty: a caller asks Err once, at
// the end, and bounds its loops by Count.
type Reader struct {
	b    []byte
	at   int
	err  error
	text string // of the block of strings that is in use
	from int    // where in b it begins
}

// NewReader reads b, which must not be changed meanwhile. What is read holds no
// memory of it.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Fail notes a fault of the caller's finding, unless there was one before.
func (r *Reader) Fail(format string, a ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, a...))
	}
	r.b, r.at = nil, 0
}

// Err is the first fault, ErrDamaged, or nil.
func (r *Reader) Err() error { return r.err }

// End is Err, of which it is one too that something is left.
func (r *Reader) End() error {
	if r.err == nil && r.at < len(r.b) {
		r.Fail("%d bytes are left over", len(r.b)-r.at)
	}
	return r.err
}

// Uint reads a number.
func (r *Reader) Uint() uint64 {
	if r.at < len(r.b) && r.b[r.at] < 0x80 {
		r.at++
		return uint64(r.b[r.at-1])
	}
	return r.long()
}

func (r *Reader) long() uint64 {
	n, w := binary.Uvarint(r.b[r.at:])
	if w <= 0 {
		r.Fail("a number is cut off or too large")
		return 0
	}
	r.at += w
	return n
}

// Below reads a number that must be under a bound; 0 if it is not, which is a fault.
func (r *Reader) Below(bound int) uint32 {
	n := r.Uint()
	if n >= uint64(max(0, bound)) || n > math.MaxUint32 {
		r.Fail("%d is not below %d", n, bound)
		return 0
	}
	return uint32(n)
}

// Count reads a number of things that follow, each of least bytes or more.
func (r *Reader) Count(least int) int {
	n := r.Uint()
	if n > uint64((len(r.b)-r.at)/max(1, least)) {
		r.Fail("%d items in %d bytes", n, len(r.b)-r.at)
		return 0
	}
	return int(n)
}

// Fixed reads what AppendFixed wrote.
func (r *Reader) Fixed() uint64 {
	if len(r.b)-r.at < 8 {
		r.Fail("a number is cut off")
		return 0
	}
	r.at += 8
	return binary.LittleEndian.Uint64(r.b[r.at-8:])
}

// Bytes reads so many bytes; they are a piece of what is read.
func (r *Reader) Bytes(n int) []byte {
	if n < 0 || n > len(r.b)-r.at {
		r.Fail("%d bytes of %d", n, len(r.b)-r.at)
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at : r.at]
}

// blockBytes is the memory that texts lying beside each other share. One text that is
// kept keeps that of its block.
const blockBytes = 8 << 10

// String reads a text.
func (r *Reader) String() string {
	n := r.Count(1)
	if n == 0 {
		return ""
	}
	if r.at+n > r.from+len(r.text) || r.text == "" {
		r.from = r.at
		r.text = string(r.b[r.at:min(len(r.b), r.at+max(n, blockBytes))])
	}
	s := r.text[r.at-r.from : r.at-r.from+n]
	r.at += n
	return s
}

// Slab hands out slices that share blocks of memory: one allocation for many of
// them. One slice that is kept keeps its block. The zero Slab is ready.
type Slab[T any] struct{ free []T }

// slabItems is a block.
const slabItems = 1 << 10

// Take returns n zero values; appending to them allocates.
func (s *Slab[T]) Take(n int) []T {
	if n == 0 {
		return nil
	}
	if n > len(s.free) {
		if n >= slabItems/4 {
			return make([]T, n)
		}
		s.free = make([]T, slabItems)
	}
	out := s.free[:n:n]
	s.free = s.free[n:]
	return out
}
