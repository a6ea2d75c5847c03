package httpapi

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"alcove/engine"
)

// scanInput asks to take in the files of one folder that the administrator
// allowed. Folder may be left out when there is only one. After goes on where
// an earlier call stopped (its next_after).
type scanInput struct {
	Folder string `json:"folder"`
	After  string `json:"after"`
}

// scanned is the answer to a scan: what the engine took in, and what was left
// lying and why.
type scanned struct {
	*engine.Accepted
	Skipped []skippedFile `json:"skipped"`
	// NextAfter is "" when the folder was gone through to its end.
	NextAfter string `json:"next_after"`
}

type skippedFile struct {
	Path   string `json:"path"` // below the folder
	Reason string `json:"reason"`
}

// scanFolder takes in the text files of a folder, in the order of their paths.
// The folder is opened as a root: no name and no symbolic link leads out of it.
func (s *Server) scanFolder(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	var in scanInput
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	out, err := s.scan(r, kb, in)
	if err != nil {
		return err
	}
	return accepted(w, out)
}

func (s *Server) scan(r *http.Request, kb *engine.KB, in scanInput) (*scanned, error) {
	name, dir, err := s.scanRoot(exchangeOf(r.Context()).tenant, in.Folder)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open scan folder %s: %w", name, err)
	}
	defer root.Close()

	sc := scan{s: s, r: r, root: root, name: name, after: in.After}
	if err := fs.WalkDir(root.FS(), ".", sc.visit); err != nil {
		return nil, fmt.Errorf("scan folder %s: %w", name, err)
	}
	out := &scanned{Skipped: sc.skipped, NextAfter: sc.next}
	if out.Skipped == nil {
		out.Skipped = []skippedFile{}
	}
	if len(sc.docs) == 0 {
		out.Accepted = &engine.Accepted{Status: "success", Message: "No new file to read.", Documents: []engine.AcceptedDocument{}}
		return out, nil
	}
	if err := admitDocuments(r, len(sc.docs)); err != nil {
		return out, err
	}
	out.Accepted, err = kb.Add(r.Context(), sc.docs, "scan")
	return out, err
}

// scanRoot finds the folder a tenant means: its own of that name before one
// that is open to all.
func (s *Server) scanRoot(tenant, folder string) (name, dir string, err error) {
	mine := make(map[string]string)
	for key, dir := range s.o.ScanFolders {
		owner, name, owned := strings.Cut(key, "/")
		switch {
		case !owned:
			if _, ok := mine[key]; !ok {
				mine[key] = dir
			}
		case owner == tenant:
			mine[name] = dir
		}
	}
	names := slices.Sorted(maps.Keys(mine))
	if folder == "" && len(names) == 1 {
		folder = names[0]
	}
	if dir, ok := mine[folder]; ok {
		return folder, dir, nil
	}
	if len(names) == 0 {
		return "", "", badField("folder", "no folder of the server may be scanned; its administrator lists those that may")
	}
	return "", "", badField("folder", "must be one of: %s", strings.Join(names, ", "))
}

// scan is one walk through a folder.
type scan struct {
	s     *Server
	r     *http.Request
	root  *os.Root
	name  string
	after string

	entries int
	bytes   int64
	docs    []engine.DocumentInput
	skipped []skippedFile
	last    string // the last path that was dealt with
	next    string // where the next call goes on
}

func (sc *scan) visit(p string, d fs.DirEntry, err error) error {
	if err := sc.r.Context().Err(); err != nil {
		return err
	}
	sc.entries++
	switch {
	case err != nil:
		// A folder that cannot be opened does not keep its neighbours out.
		if walkedAfter(p, sc.after) {
			sc.skip(p, "cannot be read")
			sc.last = p
		}
		if d != nil && d.IsDir() {
			return fs.SkipDir
		}
		return nil
	case p == ".":
		return nil
	case sc.entries > sc.s.o.MaxScanEntries:
		return badField("folder", "holds more than %d entries", sc.s.o.MaxScanEntries)
	case strings.HasPrefix(d.Name(), "."):
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	case d.IsDir(), !walkedAfter(p, sc.after):
		return nil
	}
	if len(sc.docs)+len(sc.skipped) >= sc.s.o.MaxScanFiles {
		sc.next = sc.last
		return fs.SkipAll
	}
	f, size, reason := sc.open(p, d)
	if reason != "" {
		sc.skip(p, reason)
		sc.last = p
		return nil
	}
	defer f.Close()
	if sc.bytes+size > sc.s.o.MaxScanBytes && len(sc.docs) > 0 {
		sc.next = sc.last
		return fs.SkipAll
	}
	x := exchangeOf(sc.r.Context())
	held := x.held
	data, err := sc.s.readAll(sc.r, f, min(sc.s.o.MaxUploadBytes, sc.s.o.MaxScanBytes), size)
	if errors.Is(err, errMemory) {
		return err
	}
	if err == nil {
		err = sc.s.o.Engine.Sniff(path.Base(p), data)
	}
	if err != nil {
		x.release(sc.s, x.held-held)
		sc.skip(p, cause(err))
	} else {
		sc.bytes += int64(len(data))
		sc.docs = append(sc.docs, engine.DocumentInput{FilePath: sc.name + "/" + p, Name: path.Base(p), Content: data})
	}
	sc.last = p
	return nil
}

// cause is why a file is left lying, without what the system says of its path.
func cause(err error) string {
	for _, known := range []error{engine.ErrUnsupportedType, engine.ErrNotText, engine.ErrEmptyDocument, engine.ErrTooLarge} {
		if errors.Is(err, known) {
			return err.Error()
		}
	}
	return "cannot be read"
}

func (sc *scan) skip(p, reason string) {
	sc.skipped = append(sc.skipped, skippedFile{shorten(p), reason})
}

// open opens a file that the engine would take, or says why it would not: one
// bad file in a folder must not keep the others out, as it would in an upload.
func (sc *scan) open(p string, d fs.DirEntry) (f *os.File, size int64, reason string) {
	if err := sc.s.o.Engine.Sniff(path.Base(p), nil); errors.Is(err, engine.ErrUnsupportedType) {
		return nil, 0, err.Error()
	}
	if !d.Type().IsRegular() {
		return nil, 0, "is not a regular file"
	}
	if !utf8.ValidString(p) {
		return nil, 0, "has a name that is not valid text"
	}
	f, err := sc.root.Open(p)
	if err != nil {
		return nil, 0, "cannot be read"
	}
	// Asked of the open file: the name may have come to mean something else.
	info, err := f.Stat()
	switch limit := min(sc.s.o.MaxUploadBytes, sc.s.o.MaxScanBytes); {
	case err != nil || !info.Mode().IsRegular():
		reason = "is not a regular file"
	case info.Size() > limit:
		reason = fmt.Sprintf("is larger than %d bytes", limit)
	default:
		return f, info.Size(), ""
	}
	_ = f.Close()
	return nil, 0, reason
}

// walkedAfter says whether fs.WalkDir comes to path p after path q. It goes by
// segments: "a-b" stands before "a/b" as bytes, yet the walk finishes folder a
// in its place among its neighbours.
func walkedAfter(p, q string) bool {
	if q == "" {
		return true
	}
	return slices.Compare(strings.Split(p, "/"), strings.Split(q, "/")) > 0
}
