// Package gguf writes model files for a real model server in tests: a chat model
// that follows scripts, and an embedder whose vector of a text is the mean of its
// words' vectors. Both are made from scratch in milliseconds and hold a few
// hundred kilobytes, so a test of a server needs no weights. What they say can be
// worked out without them, so a test knows what must come back.
//
// File is the container (GGUF version 3), NewChat and NewEmbedder the two models.
package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// alignment of the tensors in a file: the format's default.
const alignment = 32

// The codes of the value types that are written here.
const (
	typeUint32  = 4
	typeInt32   = 5
	typeFloat32 = 6
	typeBool    = 7
	typeString  = 8
	typeArray   = 9
)

// File collects metadata and float32 tensors, which are written in the order
// they came. Its zero value is an empty file.
type File struct {
	entries []entry
	tensors []tensor
	err     error
}

type entry struct {
	key  string
	kind uint32
	data []byte
}

type tensor struct {
	name string
	dims []uint64
	data []float32
}

// Set adds an entry of metadata: a string, bool, uint32, float32, or a slice of
// string, int32 or float32. What cannot be written is an error of Bytes.
func (f *File) Set(key string, value any) {
	e := entry{key: key}
	switch v := value.(type) {
	case string:
		e.kind, e.data = typeString, text(nil, v)
	case bool:
		e.kind, e.data = typeBool, []byte{0}
		if v {
			e.data[0] = 1
		}
	case uint32:
		e.kind, e.data = typeUint32, binary.LittleEndian.AppendUint32(nil, v)
	case float32:
		e.kind, e.data = typeFloat32, float(nil, v)
	case []string:
		e.kind, e.data = typeArray, array(typeString, v, text)
	case []int32:
		e.kind, e.data = typeArray, array(typeInt32, v, func(b []byte, x int32) []byte {
			return binary.LittleEndian.AppendUint32(b, uint32(x))
		})
	case []float32:
		e.kind, e.data = typeArray, array(typeFloat32, v, float)
	default:
		f.err = errors.Join(f.err, fmt.Errorf("gguf: %s: %T cannot be written", key, value))
	}
	f.entries = append(f.entries, e)
}

// Add adds a tensor. Dimensions are given fastest-varying first, as the format
// has them; they must multiply to the number of values.
func (f *File) Add(name string, data []float32, dims ...int) {
	n, wide := 1, make([]uint64, len(dims))
	for i, d := range dims {
		n *= d
		wide[i] = uint64(d)
	}
	if n != len(data) {
		f.err = errors.Join(f.err, fmt.Errorf("gguf: tensor %s: %d values for %v", name, len(data), dims))
	}
	f.tensors = append(f.tensors, tensor{name, wide, data})
}

// Bytes is the file. The error names every entry and tensor that could not be
// written.
func (f *File) Bytes() ([]byte, error) {
	if f.err != nil {
		return nil, f.err
	}
	le := binary.LittleEndian
	b := le.AppendUint32([]byte("GGUF"), 3)
	b = le.AppendUint64(b, uint64(len(f.tensors)))
	b = le.AppendUint64(b, uint64(len(f.entries)))
	for _, e := range f.entries {
		b = append(le.AppendUint32(text(b, e.key), e.kind), e.data...)
	}
	var offset uint64 // from the start of the data
	for _, t := range f.tensors {
		b = le.AppendUint32(text(b, t.name), uint32(len(t.dims)))
		for _, d := range t.dims {
			b = le.AppendUint64(b, d)
		}
		b = le.AppendUint32(b, 0) // float32
		b = le.AppendUint64(b, offset)
		offset += (uint64(len(t.data))*4 + alignment - 1) / alignment * alignment
	}
	for _, t := range f.tensors {
		// Before each tensor and never after the last: some readers take what
		// follows for a second model.
		for len(b)%alignment != 0 {
			b = append(b, 0)
		}
		for _, x := range t.data {
			b = float(b, x)
		}
	}
	return b, nil
}

func text(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

func float(b []byte, x float32) []byte {
	return binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
}

func array[T any](kind uint32, list []T, put func([]byte, T) []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(list)))
	for _, x := range list {
		b = put(b, x)
	}
	return b
}

// The kinds of a token in a vocabulary.
const (
	tokenNormal  int32 = 1
	tokenUnknown int32 = 2
	tokenControl int32 = 3
	tokenUser    int32 = 4
	tokenByte    int32 = 6
)

// vocabulary grows token by token; none occurs twice, which servers insist on.
type vocabulary struct {
	tokens []string
	kinds  []int32
	ids    map[string]int
}

func (v *vocabulary) has(token string) bool { _, ok := v.ids[token]; return ok }

func (v *vocabulary) add(token string, kind int32) int {
	if v.ids == nil {
		v.ids = map[string]int{}
	}
	id := len(v.tokens)
	v.tokens, v.kinds = append(v.tokens, token), append(v.kinds, kind)
	v.ids[token] = id
	return id
}

func ones(n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = 1
	}
	return s
}
