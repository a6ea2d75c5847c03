package lightrag

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Limits bound what is read. Zero means the default given beside the field.
type Limits struct {
	FileBytes   int64 // 8 GiB a file
	RecordBytes int64 // 128 MiB a record
	Records     int   // 5,000,000 a file
	MatrixBytes int64 // 2 GiB of vectors in base64 a file
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		v   *int64
		def int64
	}{{&l.FileBytes, 8 << 30}, {&l.RecordBytes, 128 << 20}, {&l.MatrixBytes, 2 << 30}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if l.Records == 0 {
		l.Records = 5_000_000
	}
	return l
}

// Fault is what is wrong with a file of a working folder.
type Fault struct {
	File  string // relative to the folder
	Place string // "byte 123" or "line 4", with the record where there is one
	Err   error
}

func (f *Fault) Error() string { return fmt.Sprintf("%s, %s: %v", f.File, f.Place, f.Err) }
func (f *Fault) Unwrap() error { return f.Err }

// errLimit is the cause of a Fault about something that is over a bound.
var errLimit = errors.New("over the limit")

// capped reads at most left bytes more; what is over is errLimit, not an end.
type capped struct {
	r    io.Reader
	left int64
	what string
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("%w: %s", errLimit, c.what)
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	return n, err
}

// jsonReader reads one JSON file value by value.
type jsonReader struct {
	file   string
	limits Limits
	from   *capped
	dec    *json.Decoder
	total  int64 // bytes that may be read in all
	record string
}

func newJSON(file string, r io.Reader, l Limits) *jsonReader {
	c := &capped{r: r, left: l.FileBytes}
	return &jsonReader{file: file, limits: l, from: c, dec: json.NewDecoder(c), total: l.FileBytes}
}

// allow bounds what the next value may take of the file. What the decoder has read
// ahead counts for it.
func (j *jsonReader) allow(n int64, what string) {
	rest := j.total - j.dec.InputOffset()
	if j.from.left, j.from.what = n, fmt.Sprintf("%s of more than %d bytes", what, n); rest < n {
		j.from.left, j.from.what = max(rest, 0), fmt.Sprintf("a file of more than %d bytes", j.total)
	}
}

func (j *jsonReader) fault(err error) error {
	if err == nil {
		return nil
	}
	var f *Fault
	if errors.As(err, &f) {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the file ends in the middle")
	}
	at := j.dec.InputOffset()
	var s *json.SyntaxError
	if errors.As(err, &s) {
		at = s.Offset
	}
	place := fmt.Sprintf("byte %d", at)
	if j.record != "" {
		place += fmt.Sprintf(", record %.80q", j.record)
	}
	return &Fault{j.file, place, err}
}

// open reads the bracket that begins an object or a list.
func (j *jsonReader) open(want json.Delim) error {
	j.allow(j.limits.RecordBytes, "a value")
	t, err := j.dec.Token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("%v stands where %v begins", t, want)
	}
	return nil
}

// object calls f with each key of an object; f reads the value. The object's opening
// bracket is read by it, too.
func (j *jsonReader) object(f func(key string) error) error {
	if err := j.open('{'); err != nil {
		return err
	}
	for n := 0; j.dec.More(); n++ {
		if n == j.limits.Records {
			return fmt.Errorf("%w: more than %d records", errLimit, n)
		}
		j.allow(j.limits.RecordBytes, "a record")
		t, err := j.dec.Token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return fmt.Errorf("%v stands where a key is", t)
		}
		if err := f(key); err != nil {
			return err
		}
	}
	_, err := j.dec.Token()
	return err
}

// value reads one value.
func (j *jsonReader) value(v any) error {
	j.allow(j.limits.RecordBytes, "a record")
	return j.dec.Decode(v)
}

// end checks that nothing follows.
func (j *jsonReader) end() error {
	j.record = ""
	j.allow(j.limits.RecordBytes, "white space")
	if _, err := j.dec.Token(); err != io.EOF {
		if err == nil {
			err = errors.New("something stands behind the end")
		}
		return err
	}
	return nil
}

// records reads a key-value file: one object of records, of which each is given as it
// stands in the file.
func records[T any](file string, r io.Reader, l Limits, f func(key string, v T) error) error {
	j := newJSON(file, r, l)
	err := j.object(func(key string) error {
		j.record = key
		var v T
		if err := j.value(&v); err != nil {
			return err
		}
		return f(key, v)
	})
	if err == nil {
		err = j.end()
	}
	return j.fault(err)
}
