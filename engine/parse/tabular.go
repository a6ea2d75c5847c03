package parse

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"

	"alcove/engine"
)

// tabular reads a table of text, whose columns are parted by the mark that parts its
// first lines best: comma, semicolon, tab or bar. Rows may be of any length.
func tabular(ctx context.Context, data []byte, l Limits) (*engine.Parsed, error) {
	src, _, err := toUTF8(data, "")
	if err != nil {
		return nil, err
	}
	r := csv.NewReader(bytes.NewReader(src))
	r.Comma, r.LazyQuotes, r.FieldsPerRecord, r.ReuseRecord = delimiter(src), true, -1, true
	t := newDraft(l)
	tb := &table{t: t}
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return t.done()
		}
		if err != nil {
			return nil, broken("table", err)
		}
		if n >= l.Rows {
			return nil, tooLarge("more than %d rows", l.Rows)
		}
		tb.row(cells)
		if t.full {
			return nil, t.err()
		}
	}
}

// delimiter is the mark that is in every one of the first lines, and most often.
func delimiter(src []byte) rune {
	head := src[:min(len(src), 16<<10)]
	lines := bytes.Split(head, []byte("\n"))
	if len(lines) > 1 && len(head) < len(src) {
		lines = lines[:len(lines)-1]
	}
	best, comma, most := 0, ',', 0
	for _, c := range []byte{',', ';', '\t', '|'} {
		with, all := 0, 0
		for _, line := range lines {
			n, quoted := 0, false
			for _, b := range line {
				if b == '"' {
					quoted = !quoted
				} else if b == c && !quoted {
					n++
				}
			}
			if n > 0 {
				with++
			}
			all += n
		}
		if with > best || with == best && all > most {
			best, comma, most = with, rune(c), all
		}
	}
	return comma
}
