package engine

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"alcove/tenancy"
)

// Dump writes the ground state that readers see as text, one fact a line:
// documents, chunks, a hash of each embedding, contributions, aliases and edits,
// all in key order. Two knowledge bases with one dump answer every question alike. Times,
// track and job ids, attempts, generations and what is not visible are left out,
// so that inserting A and B and deleting A gives the dump of inserting B.
func Dump(ctx context.Context, s *tenancy.Space, w io.Writer) error {
	out := bufio.NewWriter(w)
	err := s.View(ctx, func(tx *tenancy.Tx) error {
		st, err := readState(tx)
		if err != nil {
			return err
		}
		visible, err := visibleVersions(tx)
		if err != nil {
			return err
		}
		for _, v := range visible {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := dumpDocument(out, tx, v, st.vectors().chunks); err != nil {
				return fmt.Errorf("dump document %x: %w", v.doc, err)
			}
		}
		return dumpHand(out, tx)
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

func dumpDocument(w io.Writer, tx *tenancy.Tx, v visibleDoc, vectors byte) error {
	d, err := readDocument(tx, v.doc)
	if err != nil {
		return err
	}
	if d.Kind != "" {
		fmt.Fprintf(w, "%s ", d.Kind)
	}
	fmt.Fprintf(w, "document %q file=%q name=%q title=%q length=%d sha256=%s metadata=%s\n",
		d.ID, d.FilePath, d.Name, d.Title, d.Length, d.Hash, metadataBytes(d.Metadata))
	for ord := range uint32(v.chunks) {
		key := v.key(ord)
		var raw [3][]byte
		for i, kind := range []byte{kindChunk, vectors, kindContribution} {
			if raw[i], err = tx.Get(kind, key); err != nil {
				return fmt.Errorf("chunk %d, record of kind %c: %w", ord, kind, err)
			}
		}
		c, err := decodeChunk(raw[0])
		if err != nil {
			return err
		}
		said, err := decodeContribution(raw[2])
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "chunk %d bytes=%d..%d tokens=%d page=%d slide=%d sheet=%q heading=%q text=%q\n", ord, c.Start, c.End, c.Tokens, c.Page, c.Slide, c.Sheet, c.Heading, c.Text)
		fmt.Fprintf(w, "embedding %d sha256=%x\n", ord, sha256.Sum256(raw[1]))
		for _, line := range said.lines() {
			fmt.Fprintf(w, "%s\n", line)
		}
	}
	return nil
}

// lines is a contribution as sorted text.
func (c *contribution) lines() []string {
	var out []string
	for _, e := range c.Entities {
		out = append(out, fmt.Sprintf("entity %q type=%q %q", e.Name, e.Type, e.Description))
	}
	for _, r := range c.Relations {
		out = append(out, fmt.Sprintf("relation %q -> %q weight=%g keywords=%q %q", r.Source, r.Target, r.Weight, r.Keywords, r.Description))
	}
	slices.Sort(out)
	return out
}
