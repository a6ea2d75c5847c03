package keyspace

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	// prefixLen is the length of family, number and kind, which every key starts with.
	prefixLen = 1 + 8 + 1
	// crcLen is the length of the checksum before every value.
	crcLen = 4
	// kindUsage is the kind of the one record a namespace is counted in.
	kindUsage = 0

	// MaxRest is the longest rest of a key, in bytes.
	MaxRest = 4 << 10
	// MaxValue is the longest value, in bytes. Badger puts values of 1 MiB and
	// more in its value log, whose damage it does not see; ours never come near.
	MaxValue = 256 << 10
)

// Namespace is one closed set of records. Badger can ban a number, and bans it in
// every family: give a number to one namespace only, ever. Family is a lower-case
// letter; upper-case letters are this package's own.
type Namespace struct {
	Family byte
	Number uint64
}

// System is the namespace of the catalogue. Its number cannot be banned.
var System = Namespace{'s', 0}

// own holds what this package knows about the store: its format record.
var own = Namespace{'K', 0}

// String is the family and the number, as in "d17".
func (ns Namespace) String() string { return fmt.Sprintf("%c%d", ns.Family, ns.Number) }

func (ns Namespace) valid() bool { return ns.Family >= 'a' && ns.Family <= 'z' }

// appendKey appends the key of a record to b.
func appendKey(b []byte, ns Namespace, kind byte, rest []byte) []byte {
	b = append(b, ns.Family)
	b = binary.BigEndian.AppendUint64(b, ns.Number)
	b = append(b, kind)
	return append(b, rest...)
}

// namespaceOf is the namespace of a stored key; ok is false for a key that is
// not one of ours.
func namespaceOf(key []byte) (ns Namespace, kind byte, ok bool) {
	if len(key) < prefixLen {
		return Namespace{}, 0, false
	}
	return Namespace{key[0], binary.BigEndian.Uint64(key[1:])}, key[9], true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// seal returns key and the value as stored, both in memory of their own:
// CRC-32C of key and value, big endian, then the value.
func seal(key, value []byte) (k, stored []byte) {
	b := make([]byte, len(key)+crcLen+len(value))
	k = b[:len(key):len(key)]
	stored = b[len(key):]
	copy(k, key)
	binary.BigEndian.PutUint32(stored, checksum(key, value))
	copy(stored[crcLen:], value)
	return k, stored
}

// unseal returns the value inside stored, which it aliases, or ErrDamaged.
func unseal(key, stored []byte) ([]byte, error) {
	if len(stored) < crcLen || checksum(key, stored[crcLen:]) != binary.BigEndian.Uint32(stored) {
		return nil, ErrDamaged
	}
	return stored[crcLen:], nil
}

// Usage is what a namespace holds: its records, and the bytes of their keys and
// values as stored (10 bytes of prefix and 4 of checksum included, before
// compression). The usage record itself is not counted.
type Usage struct{ Records, Bytes int64 }

func (u Usage) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(u.Records))
	return binary.BigEndian.AppendUint64(b, uint64(u.Bytes))
}

func decodeUsage(b []byte) (Usage, error) {
	if len(b) != 16 {
		return Usage{}, fmt.Errorf("usage record of %d bytes: %w", len(b), ErrDamaged)
	}
	return Usage{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))}, nil
}

// Scan says which records of a kind are wanted, and in which order.
type Scan struct {
	// Prefix is what the rest of every record handed out starts with.
	Prefix []byte
	// After is the rest to go on behind, itself not handed out: a greater rest
	// is next, or with Reverse a smaller one. Nil starts at the end. It need not exist.
	After []byte
	// Reverse hands out the greatest rest first.
	Reverse bool
	// KeysOnly leaves values nil, and unchecked.
	KeysOnly bool
	// Limit is the most records handed out; 0 means all.
	Limit int
}
