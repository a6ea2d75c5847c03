package parse

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"alcove/engine"
)

// nursery reads files in child processes, one a file. A child that hangs, crashes or
// takes too much memory costs its file and nothing else. Plain text, Markdown and JSON
// are read in this process: their readers are linear and hold nothing that grows.
type nursery struct {
	o     Options
	slots chan struct{}

	warming chan struct{} // holds one place: who has it makes the PDF reader
	warm    bool          // it is made; guarded by warming
}

const (
	// startTime is how long a child may take to be ready, on a machine that is busy.
	startTime = time.Minute
	// warmTime is how long compiling the PDF reader may take.
	warmTime = 5 * time.Minute
	// maxStderr is how much of what a child says before it dies is kept.
	maxStderr = 4096
)

func newNursery(o Options) *nursery {
	return &nursery{o: o, slots: make(chan struct{}, o.Slots), warming: make(chan struct{}, 1)}
}

func (n *nursery) parse(ctx context.Context, f engine.File) (*engine.Parsed, error) {
	k, err := detect(f.Name, f.Data)
	if err != nil {
		return nil, err
	}
	if k.format.own {
		p, err := plain(ctx, k, f.Data)
		if err == nil && k.note != "" {
			p.Warnings = append(p.Warnings, k.note)
		}
		return p, err
	}
	select {
	case n.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-n.slots }()
	o := order{Name: f.Name, Size: len(f.Data), MainText: f.MainText, Limits: n.o.Limits, CacheDir: n.o.CacheDir, PDF: k.format == formatPDF}
	start := startTime
	if o.PDF {
		if err := n.makeReady(ctx); err != nil {
			return nil, err
		}
		if n.o.CacheDir == "" {
			start = warmTime
		}
	}
	return n.run(ctx, o, f.Data, start)
}

// makeReady lets a child fill the cache of the PDF reader, once; who comes meanwhile
// waits.
func (n *nursery) makeReady(ctx context.Context) error {
	if n.o.CacheDir == "" {
		return nil
	}
	select {
	case n.warming <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-n.warming }()
	if n.warm {
		return nil
	}
	l := n.o.Limits
	l.Memory = max(l.Memory, compileMemory)
	if _, err := n.run(ctx, order{Warm: true, Limits: l, CacheDir: n.o.CacheDir}, nil, warmTime); err != nil {
		return fmt.Errorf("make the PDF reader: %w", err)
	}
	n.warm = true
	return nil
}

// compileMemory is what compiling the PDF reader may take, beside what a file may.
const compileMemory = 768 << 20

// run starts a child, gives it the order and waits for its answer or its end.
func (n *nursery) run(ctx context.Context, o order, data []byte, start time.Duration) (*engine.Parsed, error) {
	folder, err := os.MkdirTemp("", "alcove-parse-")
	if err != nil {
		return nil, fmt.Errorf("start a reader: %w", err)
	}
	defer os.RemoveAll(folder)
	caller := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, n.o.Child[0], n.o.Child[1:]...)
	cmd.Dir = folder
	cmd.Env = childEnv(folder)
	cmd.WaitDelay = 5 * time.Second
	detach(cmd)
	line, err := json.Marshal(o)
	if err != nil || len(line) >= maxOrderBytes {
		return nil, fmt.Errorf("start a reader: an order of %d bytes: %v", len(line), err)
	}
	cmd.Stdin = io.MultiReader(bytes.NewReader(append(line, '\n')), bytes.NewReader(data))
	said := &head{}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start a reader: %w", err)
	}
	clock := time.AfterFunc(start, func() { cancel(errors.New("the reader did not start in time")) })
	defer clock.Stop()
	p, readErr := n.listen(bufio.NewReaderSize(out, 64<<10), o.Limits, func() {
		clock.Stop()
		clock = time.AfterFunc(o.Limits.Time, func() { cancel(overTime(o.Limits)) })
	})
	if readErr != nil {
		var c *childError
		if !errors.As(readErr, &c) {
			cancel(nil) // what it has still to say is of no use
		}
	}
	waitErr := cmd.Wait()
	clock.Stop()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return nil, cause
	}
	if err := caller.Err(); err != nil {
		return nil, err
	}
	var c *childError
	if readErr == nil || errors.As(readErr, &c) {
		return p, readErr
	}
	return nil, n.death(o.Limits, waitErr, said.String())
}

// listen reads a child's answer.
func (n *nursery) listen(r *bufio.Reader, l Limits, begun func()) (*engine.Parsed, error) {
	first, err := r.ReadSlice('\n')
	if err != nil || string(first) != ready {
		return nil, fmt.Errorf("no word of a reader: %w", err)
	}
	begun()
	var a reply
	dec := json.NewDecoder(io.LimitReader(r, int64(2*l.TextBytes+1<<20)))
	if err := dec.Decode(&a); err != nil {
		return nil, err
	}
	if a.Size < 0 || a.Size > l.TextBytes {
		return nil, errors.New("the reader's answer makes no sense")
	}
	text := make([]byte, a.Size)
	rest := io.MultiReader(dec.Buffered(), r)
	var end [1]byte // of the line
	if _, err := io.ReadFull(rest, end[:]); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(rest, text); err != nil {
		return nil, err
	}
	return a.parsed(string(text))
}

// death says what a child died of.
func (n *nursery) death(l Limits, err error, said string) error {
	var exit *exec.ExitError
	code := 0
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	switch {
	case code == exitMemory, strings.Contains(said, "out of memory"), strings.Contains(said, "cannot allocate memory"), strings.Contains(said, "failed to create new OS thread"), err != nil && strings.Contains(err.Error(), "killed"):
		return tooLarge("reading it took more than %d MiB of memory", l.Memory>>20)
	case code == exitTime, err != nil && strings.Contains(err.Error(), "CPU time limit"):
		return overTime(l)
	}
	first, _, _ := strings.Cut(said, "\n")
	return fmt.Errorf("the reader crashed (%v): %s", err, first[:runesWithin(first, 200)])
}

// childEnv is all that a child knows of its surroundings: no setting, no secret.
func childEnv(folder string) []string {
	env := []string{"TMPDIR=" + folder, "TMP=" + folder, "TEMP=" + folder, "GOMAXPROCS=2", "GOTRACEBACK=single"}
	if root := os.Getenv("SystemRoot"); root != "" { // Windows starts nothing without it
		env = append(env, "SystemRoot="+root)
	}
	return env
}

// head keeps the beginning of what is written to it.
type head struct{ b []byte }

func (h *head) Write(p []byte) (int, error) {
	if room := maxStderr - len(h.b); room > 0 {
		h.b = append(h.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (h *head) String() string { return strings.ToValidUTF8(string(h.b), "?") }
