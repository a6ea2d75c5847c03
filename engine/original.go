package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"alcove/tenancy"
)

// A file that is its own text is stored as it was sent, and that is the document's
// content. Of any other file the bytes are stored compressed, so that accepted work
// survives a crash; the worker makes a text of them, which is the content that
// offsets are into and which is stored beside them. When the version becomes visible
// the bytes go, unless they are to be kept.

// squeezer compresses contents. Used by one call at a time each, as EncodeAll allows.
var squeezer = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(1<<20))
	if err != nil {
		panic("engine: zstd: " + err.Error()) // the options are constants
	}
	return e
})

func squeeze(b []byte) []byte { return squeezer().EncodeAll(b, nil) }

// unsqueeze returns the length bytes that squeeze was given.
func unsqueeze(b []byte, length int) ([]byte, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(length)+1<<20))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	defer d.Close()
	out, err := d.DecodeAll(b, make([]byte, 0, length))
	if err != nil || len(out) != length {
		return nil, fmt.Errorf("%w: content of %d bytes, not %d: %v", ErrDamaged, len(out), length, err)
	}
	return out, nil
}

// readContent returns the bytes of a version as they were sent.
func readContent(tx *tenancy.Tx, v version, f *face) ([]byte, error) {
	stored := f.storedLength()
	out := make([]byte, 0, stored)
	for part := uint32(0); len(out) < stored; part++ {
		b, err := tx.Get(kindContent, v.key(part))
		if errors.Is(err, tenancy.ErrNotFound) {
			return nil, fmt.Errorf("%w: document %x has %d of %d bytes", ErrDamaged, v.doc, len(out), stored)
		}
		if err != nil {
			return nil, fmt.Errorf("read content of document %x: %w", v.doc, err)
		}
		out = append(out, b...)
	}
	if len(out) != stored {
		return nil, fmt.Errorf("%w: document %x has %d bytes, not %d", ErrDamaged, v.doc, len(out), stored)
	}
	if f.made() {
		return unsqueeze(out, f.inflated())
	}
	return out, nil
}

// maxWarnings and maxWarningBytes bound what a parser says of a file in its record.
const (
	maxWarnings     = 10
	maxWarningBytes = 240
)

// keepText stores the text that was made of a version, which nobody sees before the
// version is visible. An earlier try's text is replaced.
func (in *ingest) keepText(ctx context.Context, p *Parsed) error {
	for _, w := range p.Warnings[:min(len(p.Warnings), maxWarnings)] {
		in.warnings = append(in.warnings, clip(w, maxWarningBytes))
	}
	text := []byte(p.Text)
	if len(text) == 0 {
		if len(in.warnings) > 0 {
			return fmt.Errorf("%w: it holds no text: %s", ErrEmptyDocument, in.warnings[0])
		}
		return fmt.Errorf("%w: it holds no text", ErrEmptyDocument)
	}
	part := uint32(0)
	for at := 0; at < len(text); {
		err := in.eng.change(ctx, in.space, func(c *change) error {
			d, err := stillMine(c.tx, in.ref, in.v)
			if err != nil {
				return err
			}
			if at == 0 {
				part = 0
				if _, err := c.sweepKinds(in.v, sweepBatch, kindText); err != nil {
					return err
				}
				d.PendingText = len(text)
				if err := c.put(in.v.doc, d); err != nil {
					return err
				}
			}
			next := part
			for _, b := range parts(text[at:min(len(text), at+textGroup)]) {
				if err := c.tx.Set(kindText, in.v.key(next), b); err != nil {
					return err
				}
				next++
			}
			return c.fits(d)
		})
		if err != nil {
			return fmt.Errorf("store the text: %w", err)
		}
		part += textGroup / contentPartBytes
		at += textGroup
	}
	return nil
}

// textGroup is how much of a text goes into one transaction: whole parts.
const textGroup = 5 * contentPartBytes

// Content returns a document's content, which offsets are into, with a name and its
// length in bytes: the bytes as they were sent or, of a file that is not its own
// text, the text that was made of it. It is that of the version that readers see or,
// when they see none yet, the one being made; where that has no text yet it is
// ErrState. At most one part of it is in memory at a time. Reading fails with
// ErrNotFound when the document is deleted or replaced meanwhile. The caller closes
// the reader.
func (r *Reader) Content(ctx context.Context, id string) (name string, length int, content io.ReadCloser, err error) {
	d, err := r.document(ctx, id)
	if err != nil {
		return "", 0, nil, err
	}
	c := &contentReader{ctx: ctx, space: r.space, v: version{keyOf(id), d.Visible}, kind: kindContent, left: d.Length}
	if d.Visible == 0 {
		c.v.gen = d.Pending
	}
	if name = d.Name; name == "" {
		name = d.ID + ".txt"
	}
	if d.made() {
		if d.Visible == 0 {
			return "", 0, nil, fmt.Errorf("document %s has no text yet: it is %s: %w", id, d.Status, ErrState)
		}
		name += ".txt"
		c.kind, c.left = kindText, d.TextLength
	}
	return name, c.left, c, nil
}

// ErrNoOriginal marks a document whose file was not kept beside its text.
var ErrNoOriginal = errors.New("the original was not kept")

// Original returns a document as it was sent, with its name, media type and length in
// bytes. A file of which a text was made is there while it is waiting for that and
// afterwards if it was to be kept; else it is ErrNoOriginal. It is in memory as a
// whole where it was compressed. The rest is as for Content.
func (r *Reader) Original(ctx context.Context, id string) (name, media string, length int, content io.ReadCloser, err error) {
	d, err := r.document(ctx, id)
	if err != nil {
		return "", "", 0, nil, err
	}
	v := version{keyOf(id), d.Visible}
	if d.Visible == 0 {
		v.gen = d.Pending
	}
	if name = d.Name; name == "" {
		name = d.ID + ".txt"
	}
	if !d.made() {
		return name, d.Media, d.Length, &contentReader{ctx: ctx, space: r.space, v: v, kind: kindContent, left: d.Length}, nil
	}
	if d.Visible != 0 && !d.Keep || d.Kind == kindAdopted {
		return "", "", 0, nil, fmt.Errorf("document %s: %w", id, ErrNoOriginal)
	}
	var b []byte
	err = r.space.View(ctx, func(tx *tenancy.Tx) error {
		now, err := readDocument(tx, v.doc)
		if err != nil {
			return err
		}
		if now.Visible != d.Visible || now.Pending != d.Pending {
			return fmt.Errorf("document %s changed while it was read: %w", id, ErrNotFound)
		}
		b, err = readContent(tx, v, &d.face)
		return err
	})
	if err != nil {
		return "", "", 0, nil, err
	}
	return name, d.Media, d.Length, io.NopCloser(bytes.NewReader(b)), nil
}

// contentReader reads a version part by part, each in a snapshot of its own, so
// that a slow client holds no snapshot open.
type contentReader struct {
	ctx   context.Context
	space *tenancy.Space
	v     version
	kind  byte
	next  uint32
	part  []byte
	left  int // bytes not yet read from the store
}

func (c *contentReader) Read(p []byte) (int, error) {
	if len(c.part) == 0 {
		if c.left == 0 {
			return 0, io.EOF
		}
		err := c.space.View(c.ctx, func(tx *tenancy.Tx) (err error) {
			c.part, err = tx.Get(c.kind, c.v.key(c.next))
			return err
		})
		if errors.Is(err, tenancy.ErrNotFound) {
			return 0, fmt.Errorf("document %x changed while it was read: %w", c.v.doc, ErrNotFound)
		}
		if err != nil {
			return 0, err
		}
		if len(c.part) == 0 || len(c.part) > c.left {
			return 0, fmt.Errorf("%w: part %d of document %x has %d bytes", ErrDamaged, c.next, c.v.doc, len(c.part))
		}
		c.next++
		c.left -= len(c.part)
	}
	n := copy(p, c.part)
	c.part = c.part[n:]
	return n, nil
}

func (c *contentReader) Close() error { return nil }

// parsing bounds how many files of one tenant are being read at once, so that one
// tenant's slow files do not take every worker. A file that is its own text is read
// in no time and not counted.
type parsing struct {
	each int
	mu   sync.Mutex
	busy map[string]int
}

// parseAgain is how long a tenant rests that reads as many files as it may.
const parseAgain = 200 * time.Millisecond

// enter takes one of the tenant's places, which the caller gives back by leave. When
// there is none it returns a putOff.
func (p *parsing) enter(tenant string, made bool) (leave func(), err error) {
	if !made {
		return func() {}, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy[tenant] >= p.each {
		return nil, &putOff{wait: parseAgain, rest: true}
	}
	if p.busy == nil {
		p.busy = map[string]int{}
	}
	p.busy[tenant]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.busy[tenant]--; p.busy[tenant] == 0 {
			delete(p.busy, tenant)
		}
	}), nil
}
