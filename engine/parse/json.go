package parse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"alcove/engine"
)

// Limits of a JSON file, each engine.ErrTooLarge.
const (
	maxDepth     = 200
	maxLeaves    = 1_000_000
	maxTextBytes = 128 << 20 // of all lines: a long path is repeated on each
)

// maxPathBytes bounds the path on a line; of a longer one the end is kept.
const maxPathBytes = 256

// level is one object or array that is open. key is the name or the number of
// the member being read; path is that of the level itself.
type level struct {
	object, named bool
	path, key     string
	index         int
}

// jsonLeaves makes one block for each leaf. offset is where src begins in the
// file. Keys that occur twice are both read.
func jsonLeaves(ctx context.Context, src []byte, offset int) (*engine.Parsed, error) {
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.UseNumber()
	p := &engine.Parsed{}
	var open []level
	size := 0
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		from := int(dec.InputOffset())
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: not valid JSON near offset %d", engine.ErrNotText, offset+from)
		}
		to := int(dec.InputOffset())
		var top *level
		if len(open) > 0 {
			top = &open[len(open)-1]
		}
		if d, ok := tok.(json.Delim); ok && (d == '}' || d == ']') {
			open = open[:len(open)-1]
			continue
		}
		if key, ok := tok.(string); ok && top != nil && top.object && !top.named {
			top.key, top.named = key, true
			continue
		}
		path := ""
		member := top != nil && top.object
		if top != nil {
			path = top.step()
		}
		var value string
		switch tok := tok.(type) {
		case json.Delim:
			if len(open) == maxDepth {
				return nil, fmt.Errorf("%w: JSON nested deeper than %d", engine.ErrTooLarge, maxDepth)
			}
			open = append(open, level{object: tok == '{', path: path})
			continue
		case string:
			value = tok
		case json.Number:
			if member {
				value = tok.String()
			}
		case bool:
			if member {
				value = strconv.FormatBool(tok)
			}
		}
		if strings.TrimSpace(value) == "" {
			continue
		}
		line := value
		if path != "" {
			line = path + ": " + value
		}
		if size += len(line); len(p.Blocks) == maxLeaves || size > maxTextBytes {
			return nil, fmt.Errorf("%w: a JSON file may have %d values and %d MiB of text with their paths", engine.ErrTooLarge, maxLeaves, maxTextBytes>>20)
		}
		start := from + len(src[from:to]) - len(bytes.TrimLeft(src[from:to], " \t\r\n,:"))
		p.Blocks = append(p.Blocks, engine.Block{Text: line, Start: offset + start, End: offset + to})
	}
	if len(p.Blocks) == 0 {
		return nil, fmt.Errorf("%w: the JSON holds no text", engine.ErrEmptyDocument)
	}
	return p, nil
}

// step returns the path of the member that begins and moves on to the next.
func (l *level) step() string {
	var b strings.Builder
	b.WriteString(l.path)
	if l.object {
		if l.path != "" {
			b.WriteByte('.')
		}
		b.WriteString(strings.Join(strings.Fields(l.key), " "))
		l.named = false
	} else {
		fmt.Fprintf(&b, "[%d]", l.index)
		l.index++
	}
	path := b.String()
	if len(path) > maxPathBytes {
		path = "…" + strings.ToValidUTF8(path[len(path)-maxPathBytes:], "")
	}
	return path
}
