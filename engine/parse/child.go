package parse

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"alcove/engine"
)

// The words between a server and the process that reads one file for it: one line of
// JSON and then as many bytes as it says, each way. Before its answer the child
// writes a line of its own when it is ready to begin.

// order is what the child is asked to read.
type order struct {
	Name     string `json:"name"`
	Size     int    `json:"size"`
	MainText bool   `json:"main_text,omitempty"`
	Limits   Limits `json:"limits"`
	CacheDir string `json:"cache_dir,omitempty"`
	Warm     bool   `json:"warm,omitempty"` // make the PDF reader, and read nothing
	PDF      bool   `json:"pdf,omitempty"`
}

// reply is what it read. The text follows.
type reply struct {
	Size     int       `json:"size"`
	Title    string    `json:"title,omitempty"`
	Warnings []string  `json:"warnings,omitempty"`
	Blocks   []extent  `json:"blocks,omitempty"`
	Error    string    `json:"error,omitempty"`
	Class    errorKind `json:"class,omitempty"`
}

// extent is a block without its text.
type extent struct {
	Start   int      `json:"s"`
	End     int      `json:"e"`
	Heading []string `json:"h,omitempty"`
	engine.Place
}

// errorKind names the errors that mean the same on both sides.
type errorKind string

var errorKinds = map[errorKind]error{
	"large": engine.ErrTooLarge, "unsupported": engine.ErrUnsupportedType, "text": engine.ErrNotText, "empty": engine.ErrEmptyDocument,
}

// childError is an error that a child reported.
type childError struct {
	message string
	class   error
}

func (e *childError) Error() string { return e.message }
func (e *childError) Unwrap() error { return e.class }

const (
	ready = "ready\n"
	// Exit codes of a child that ends itself.
	exitMemory = 97
	exitTime   = 98

	maxOrderBytes = 64 << 10
	// spare is how much longer than its limit a child waits before it ends itself,
	// should nobody else do it.
	spare = 10 * time.Second
)

// ServeChild reads one file on behalf of a server: the order comes on in, the answer
// goes to out. It holds this process to the limits of the order, which may end it. It
// is the whole of a process; do not call it in one that does something else.
func ServeChild(in io.Reader, out io.Writer) error {
	r := bufio.NewReaderSize(in, maxOrderBytes)
	line, err := r.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	o.Limits = o.Limits.withDefaults()
	confine(o.Limits)
	debug.SetMemoryLimit(o.Limits.Memory * 3 / 4)
	go watchMemory(o.Limits.Memory)
	data := make([]byte, o.Size)
	if _, err := io.ReadFull(r, data); err != nil {
		return fmt.Errorf("read the file: %w", err)
	}
	opts := Options{Limits: o.Limits, CacheDir: o.CacheDir}
	var warmErr error
	if o.Warm || o.PDF {
		warmErr = warm(opts)
	}
	if _, err := io.WriteString(out, ready); err != nil {
		return err
	}
	time.AfterFunc(o.Limits.Time+spare, func() { os.Exit(exitTime) })
	var p *engine.Parsed
	switch {
	case warmErr != nil:
		err = warmErr
	case !o.Warm:
		p, err = safely(opts, engine.File{Name: o.Name, Data: data, MainText: o.MainText})
	}
	return answer(out, p, err)
}

// safely reads a file; a panic is an error.
func safely(o Options, f engine.File) (p *engine.Parsed, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), o.Limits.Time)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("the reader failed: %v", r)
			_, _ = os.Stderr.Write(debug.Stack())
		}
	}()
	p, err = parse(ctx, f, o)
	if errors.Is(err, context.DeadlineExceeded) {
		err = overTime(o.Limits)
	}
	return p, err
}

func overTime(l Limits) error { return tooLarge("reading it took more than %v", l.Time) }

func answer(out io.Writer, p *engine.Parsed, err error) error {
	var a reply
	text := ""
	switch {
	case err != nil:
		a.Error = strings.ToValidUTF8(err.Error(), "\uFFFD")
		a.Error = a.Error[:runesWithin(a.Error, 1000)]
		for k, class := range errorKinds {
			if errors.Is(err, class) {
				a.Class = k
			}
		}
	case p != nil:
		text = p.Text
		a.Size, a.Title, a.Warnings = len(text), p.Title, p.Warnings
		for _, b := range p.Blocks {
			a.Blocks = append(a.Blocks, extent{b.Start, b.End, b.Heading, b.Place})
		}
	}
	w := bufio.NewWriterSize(out, 1<<20)
	if err := json.NewEncoder(w).Encode(a); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	if _, err := w.WriteString(text); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return w.Flush()
}

// parsed is what an answer says, checked: the other side has read a hostile file.
func (a *reply) parsed(text string) (*engine.Parsed, error) {
	if a.Error != "" {
		return nil, &childError{a.Error, errorKinds[a.Class]}
	}
	p := &engine.Parsed{Title: a.Title, Text: text, Warnings: a.Warnings, Verbatim: true}
	at := 0
	for _, b := range a.Blocks {
		if b.Start < at || b.End <= b.Start || b.End > len(text) {
			return nil, errors.New("the reader's answer makes no sense")
		}
		p.Blocks = append(p.Blocks, engine.Block{Text: text[b.Start:b.End], Start: b.Start, End: b.End, Heading: b.Heading, Place: b.Place})
		at = b.End
	}
	return p, nil
}
