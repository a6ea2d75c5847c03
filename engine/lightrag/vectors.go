package lightrag

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// maxDim bounds the length of a vector.
const maxDim = 65_536

// vectorRow is one row of a NanoVectorDB file beside its vector.
type vectorRow struct {
	ID       string `json:"__id__"`
	Content  string `json:"content"`
	DocID    string `json:"full_doc_id"`
	FilePath string `json:"file_path"`
	Order    *int   `json:"chunk_order_index"`
	Vector   string `json:"vector"` // zlib of little-endian float16, in base64; newer versions alone

	vector []float32
}

// vectorFile is a NanoVectorDB file.
type vectorFile struct {
	dim  int
	rows []vectorRow
	// compressed says that the matrix was missing or of another size, and that vectors
	// are those of the rows, of half the precision.
	compressed bool
}

// readVectors reads a NanoVectorDB file: {"embedding_dim", "data": [rows], "matrix":
// base64 of little-endian float32, a row of it for each row of data}.
func readVectors(file string, r io.Reader, l Limits) (*vectorFile, error) {
	j := newJSON(file, r, l)
	out, err := readVectorFile(j)
	if err != nil {
		return nil, j.fault(err)
	}
	return out, nil
}

func readVectorFile(j *jsonReader) (*vectorFile, error) {
	out := &vectorFile{}
	var matrix []byte
	err := j.object(func(key string) error {
		j.record = ""
		switch key {
		case "embedding_dim":
			return j.value(&out.dim)
		case "data":
			return readRows(j, out)
		case "matrix":
			var text string
			j.allow(j.limits.MatrixBytes, "a matrix")
			if err := j.dec.Decode(&text); err != nil {
				return err
			}
			var err error
			if matrix, err = base64.StdEncoding.DecodeString(text); err != nil {
				return fmt.Errorf("the matrix: %w", err)
			}
			return nil
		}
		var skip any
		return j.value(&skip)
	})
	if err == nil {
		err = j.end()
	}
	if err != nil {
		return nil, err
	}
	if len(out.rows) == 0 {
		return out, nil
	}
	if out.dim < 1 || out.dim > maxDim {
		return nil, fmt.Errorf("embedding_dim is %d; 1 to %d are read", out.dim, maxDim)
	}
	if len(matrix) == 4*out.dim*len(out.rows) {
		for i := range out.rows {
			v := make([]float32, out.dim)
			for k := range v {
				v[k] = math.Float32frombits(binary.LittleEndian.Uint32(matrix[4*(i*out.dim+k):]))
			}
			out.rows[i].vector, out.rows[i].Vector = v, ""
		}
		return out, nil
	}
	out.compressed = true
	for i := range out.rows {
		row := &out.rows[i]
		j.record = row.ID
		if row.Vector == "" {
			return nil, fmt.Errorf("the matrix has %d bytes where %d rows of %d numbers have %d, and the row has no vector of its own",
				len(matrix), len(out.rows), out.dim, 4*out.dim*len(out.rows))
		}
		var err error
		if row.vector, err = halfVector(row.Vector, out.dim); err != nil {
			return nil, fmt.Errorf("vector: %w", err)
		}
		row.Vector = ""
	}
	return out, nil
}

func readRows(j *jsonReader, out *vectorFile) error {
	if err := j.open('['); err != nil {
		return err
	}
	for j.dec.More() {
		if len(out.rows) == j.limits.Records {
			return fmt.Errorf("%w: more than %d rows", errLimit, len(out.rows))
		}
		var row vectorRow
		if err := j.value(&row); err != nil {
			return err
		}
		if j.record = row.ID; row.ID == "" {
			return fmt.Errorf("row %d has no __id__", len(out.rows))
		}
		out.rows = append(out.rows, row)
	}
	_, err := j.dec.Token()
	return err
}

// halfVector reads a vector as newer versions of LightRAG keep it in a row.
func halfVector(text string, dim int) ([]float32, error) {
	packed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(z, int64(2*dim)+1))
	if err != nil {
		return nil, err
	}
	if len(b) != 2*dim {
		return nil, fmt.Errorf("does not have the %d bytes of %d numbers", 2*dim, dim)
	}
	v := make([]float32, dim)
	for i := range v {
		v[i] = half(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return v, nil
}

// half is the value of an IEEE 754 binary16.
func half(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10)&0x1f, uint32(h)&0x3ff
	switch exp {
	case 0: // zero and subnormal: 2^-24 is exact in float32
		f := float32(frac) / (1 << 24)
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// errUseless is why a vector cannot be kept.
var errUseless = errors.New("not finite, or all zero")

// usable reports whether a vector is one that can be searched for.
func usable(v []float32) error {
	bad := func(x float32) bool { return math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) }
	if slices.ContainsFunc(v, bad) || !slices.ContainsFunc(v, func(x float32) bool { return x != 0 }) {
		return errUseless
	}
	return nil
}
