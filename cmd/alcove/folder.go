package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
)

// folder is a place in the file system whose files are documents.
type folder struct {
	root    string // a folder, or the one that holds the only file
	only    string // the only file of root that counts, "" for all of them
	prefix  string // stands before the path of each document, "" or ending in a slash
	include []string
	exclude []string
	hidden  bool // names that begin with a dot, too
}

// openFolder returns the folder of a path that a user gave: a folder, or one file.
func openFolder(name string) (folder, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return folder{}, err
	}
	info, err := os.Stat(abs)
	switch {
	case err != nil:
		return folder{}, err
	case info.IsDir():
		return folder{root: abs}, nil
	case !info.Mode().IsRegular():
		return folder{}, fmt.Errorf("%s is neither a folder nor a regular file", name)
	}
	return folder{root: filepath.Dir(abs), only: filepath.Base(abs)}, nil
}

// fileStamp is what tells without reading that a file has changed.
type fileStamp struct {
	size int64
	at   time.Time
}

// fileEntry is one file of a folder.
type fileEntry struct {
	name  string // path of the document: the prefix and the path below the root, with slashes
	rel   string // path below the root, as the system writes it
	stamp fileStamp
}

// documentID is the id of the document of a path: a file that moves is another
// document, one that changes is the same.
func documentID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "file-" + hex.EncodeToString(sum[:16])
}

// errTooManyFiles says that a walk was given up.
var errTooManyFiles = errors.New("too many files")

// list returns the files of a folder in the order of their paths, and for those that
// are left out for a reason a user should know, the reason. Symbolic links are not
// followed. It gives up at more than most files.
func (f folder) list(ctx context.Context, most int) (files []fileEntry, skipped []skippedFile, err error) {
	root, err := os.OpenRoot(f.root)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	skip := func(p, reason string) { skipped = append(skipped, skippedFile{f.prefix + p, reason}) }
	err = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && p == ".":
			return err
		case err != nil:
			skip(p, "cannot be read")
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case p == ".":
			return nil
		case d.IsDir():
			if f.only != "" || !f.hidden && strings.HasPrefix(d.Name(), ".") || f.matches(f.exclude, p) {
				return fs.SkipDir
			}
			return nil
		case f.only != "" && p != f.only:
			return nil
		case f.only == "" && (!f.hidden && strings.HasPrefix(d.Name(), ".") || f.matches(f.exclude, p)):
			return nil
		case len(f.include) > 0 && !f.matches(f.include, p):
			return nil
		case !d.Type().IsRegular():
			skip(p, "is not a regular file (links are not followed)")
			return nil
		case !utf8.ValidString(p):
			skip(strings.ToValidUTF8(p, "\uFFFD"), "has a name that is not UTF-8")
			return nil
		case len(files) == most:
			return errTooManyFiles
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // gone since the folder was read
		}
		if info.Size() == 0 {
			skip(p, "is empty")
			return nil
		}
		files = append(files, fileEntry{name: f.prefix + p, rel: filepath.FromSlash(p), stamp: fileStamp{info.Size(), info.ModTime()}})
		return nil
	})
	return files, skipped, err
}

// matches says whether a pattern matches a path or, having no slash, its last part.
func (f folder) matches(patterns []string, p string) bool {
	for _, pattern := range patterns {
		name := p
		if !strings.Contains(pattern, "/") {
			name = path.Base(p)
		}
		if ok, _ := doublestar.Match(pattern, name); ok { // checked by checkPatterns
			return true
		}
	}
	return false
}

func checkPatterns(flag string, patterns []string) error {
	for _, p := range patterns {
		if !doublestar.ValidatePattern(p) {
			return fmt.Errorf("--%s %q is not a pattern: * ? [a-z] {a,b} and ** for any folders", flag, p)
		}
	}
	return nil
}

// read returns the bytes of a file and their SHA-256 in hex. Its name may have come
// to mean something else since it was listed: it is opened below the root, whatever
// it is now.
func (f folder) read(e fileEntry) (data []byte, sum string, err error) {
	root, err := os.OpenRoot(f.root)
	if err != nil {
		return nil, "", err
	}
	defer root.Close()
	file, err := root.Open(e.rel)
	if err != nil {
		return nil, "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, "", err
	}
	if !info.Mode().IsRegular() {
		return nil, "", errors.New("is not a regular file any more")
	}
	if info.Size() > maxIngestFileBytes {
		return nil, "", fmt.Errorf("is larger than %d MiB", maxIngestFileBytes>>20)
	}
	if data, err = io.ReadAll(io.LimitReader(file, maxIngestFileBytes+1)); err != nil {
		return nil, "", err
	}
	if len(data) > maxIngestFileBytes {
		return nil, "", fmt.Errorf("is larger than %d MiB", maxIngestFileBytes>>20)
	}
	h := sha256.Sum256(data)
	return data, hex.EncodeToString(h[:]), nil
}

// maxIngestFileBytes bounds a file that is read at all; what a server takes is its
// MAX_UPLOAD_BYTES.
const maxIngestFileBytes = 1 << 30
