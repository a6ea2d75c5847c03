package parse

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"alcove/engine"
)

// archive is a ZIP file whose directory is sound. What may be unpacked of it, and of
// the archives within it, is bounded by one budget.
type archive struct {
	limits  Limits
	what    string // for messages
	entries []*zip.File
	byName  map[string]*zip.File
	left    *int64 // of Limits.UnpackedBytes
}

// openArchive checks the directory of a ZIP file: the number of entries, names that
// are paths within it and differ, entries that do not lie over one another, sizes and
// ratios. left is nil for an archive that is in no other.
func openArchive(what string, data []byte, l Limits, left *int64) (*archive, error) {
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, broken(what, err)
	}
	if left == nil {
		left = new(int64)
		*left = l.UnpackedBytes
	}
	if len(r.File) > l.ArchiveEntries {
		return nil, tooLarge("%d entries in the archive; %d are allowed", len(r.File), l.ArchiveEntries)
	}
	a := &archive{limits: l, what: what, byName: make(map[string]*zip.File, len(r.File)), left: left}
	type span struct{ from, to int64 }
	spans := make([]span, 0, len(r.File))
	var total int64
	for _, f := range r.File {
		name := strings.ReplaceAll(f.Name, `\`, "/")
		if strings.HasSuffix(name, "/") {
			continue
		}
		if f.NonUTF8 || !utf8.ValidString(name) {
			name = strings.ToValidUTF8(name, "_")
		}
		name = strings.TrimPrefix(name, "/")
		if name == "" || path.Clean(name) != name && path.Clean(name) != strings.TrimPrefix(name, "./") || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsRune(name, 0) || strings.Contains(name, ":") {
			return nil, broken(what, fmt.Errorf("the entry %.80q has a path that leads out of the archive", f.Name))
		}
		if a.byName[strings.ToLower(name)] != nil {
			return nil, broken(what, fmt.Errorf("the entry %.80q is there twice", f.Name))
		}
		if f.UncompressedSize64 > uint64(l.EntryBytes) {
			return nil, tooLarge("the entry %.80q unpacks to %d bytes; %d are allowed", f.Name, f.UncompressedSize64, l.EntryBytes)
		}
		if total += int64(f.UncompressedSize64); total > l.UnpackedBytes {
			return nil, tooLarge("the archive unpacks to more than %d bytes", l.UnpackedBytes)
		}
		if f.UncompressedSize64 > freeRatio && f.UncompressedSize64/uint64(l.UnpackedRatio) > f.CompressedSize64 {
			return nil, tooLarge("the entry %.80q unpacks to more than %d times its size", f.Name, l.UnpackedRatio)
		}
		from, err := f.DataOffset()
		if err != nil {
			return nil, broken(what, err)
		}
		spans = append(spans, span{from, from + int64(f.CompressedSize64)})
		a.byName[strings.ToLower(name)] = f
		a.entries = append(a.entries, f)
	}
	slices.SortFunc(spans, func(a, b span) int { return int(a.from - b.from) })
	for i := 1; i < len(spans); i++ {
		if spans[i].from < spans[i-1].to {
			return nil, broken(what, errors.New("its entries lie over one another"))
		}
	}
	return a, nil
}

func (a *archive) has(name string) bool { return a.byName[strings.ToLower(name)] != nil }

// read unpacks an entry of at most limit bytes; nil when there is none.
func (a *archive) read(name string, limit int64) ([]byte, error) {
	f := a.byName[strings.ToLower(strings.TrimPrefix(name, "/"))]
	if f == nil {
		return nil, nil
	}
	return a.unpack(f, limit)
}

// unpack reads an entry. What it takes is counted as it comes, whatever the
// directory says.
func (a *archive) unpack(f *zip.File, limit int64) ([]byte, error) {
	if f.Flags&1 != 0 {
		return nil, errLocked("the entry " + shortName(f.Name))
	}
	if f.Method != zip.Store && f.Method != zip.Deflate {
		return nil, fmt.Errorf("%w: the entry %s is packed by method %d", engine.ErrUnsupportedType, shortName(f.Name), f.Method)
	}
	r, err := f.Open()
	if err != nil {
		return nil, broken(a.what, err)
	}
	defer r.Close()
	limit = min(limit, a.limits.EntryBytes, *a.left)
	var b bytes.Buffer
	if f.UncompressedSize64 <= uint64(limit) {
		b.Grow(int(f.UncompressedSize64) + bytes.MinRead)
	}
	n, err := b.ReadFrom(io.LimitReader(r, limit+1))
	if n > limit {
		return nil, tooLarge("the entry %s unpacks to more than %d bytes", shortName(f.Name), limit)
	}
	var corrupt flate.CorruptInputError
	switch {
	case errors.As(err, &corrupt), errors.Is(err, zip.ErrChecksum), errors.Is(err, zip.ErrFormat), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, broken(a.what, fmt.Errorf("the entry %s: %w", shortName(f.Name), err))
	case err != nil:
		return nil, broken(a.what, err)
	}
	*a.left -= n
	return b.Bytes(), nil
}

func shortName(s string) string {
	s = strings.ToValidUTF8(s, "_")
	return s[:runesWithin(s, 80)]
}
