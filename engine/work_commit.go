package engine

import (
	"context"
	"errors"
	"fmt"

	"alcove/tenancy"
)

// commit stores the chunks made so far. The last commit also makes the version
// the one that readers see, which is as quick for a large document as for a
// small one.
func (in *ingest) commit(ctx context.Context, last bool) error {
	err := in.eng.change(ctx, in.space, func(c *change) error {
		d, err := stillMine(c.tx, in.ref, in.v)
		if err != nil {
			return err
		}
		if err := in.store(c); err != nil {
			return err
		}
		d.PendingDone += len(in.buffer)
		if last {
			return in.finish(c, d)
		}
		d.PendingChunks, d.PendingExtractor = in.total, in.eng.o.Extractor.Identity()
		if err := c.status(in.v.doc, d, StatusProcessing); err != nil {
			return err
		}
		return c.put(in.v.doc, d)
	})
	if err != nil {
		return err
	}
	in.buffer, in.size = in.buffer[:0], 0
	return nil
}

// store writes the records of the chunks in hand.
func (in *ingest) store(c *change) error {
	if err := c.pin(in.eng.o.Embedder.Model()); err != nil {
		return err
	}
	for _, w := range in.buffer {
		if dim := len(w.vector) / 4; c.st.Dim == 0 {
			c.st.Dim = dim
		} else if c.st.Dim != dim {
			return &PinnedError{Made: c.st.Embedder, MadeDim: c.st.Dim, Now: in.eng.o.Embedder.Model(), NowDim: dim}
		}
		key := in.v.key(w.ord)
		for _, r := range []struct {
			kind  byte
			value []byte
		}{{kindChunk, w.encoded[0]}, {kindVector, w.vector}, {kindContribution, w.encoded[1]}} {
			if err := c.tx.Set(r.kind, key, r.value); err != nil {
				return fmt.Errorf("store chunk %d: %w", w.ord, err)
			}
		}
	}
	return nil
}

// finish makes the version visible and ends the job.
func (in *ingest) finish(c *change, d *documentRecord) error {
	if d.PendingDone != in.total {
		return fmt.Errorf("%w: %d of %d chunks were made", ErrDamaged, d.PendingDone, in.total)
	}
	old := version{in.v.doc, d.Visible}
	if d.Visible != 0 {
		c.st.Chunks -= d.Chunks
	}
	if d.PendingDoc != nil {
		c.st.Bytes += int64(d.PendingDoc.Length - d.Length)
		d.face = *d.PendingDoc
	}
	if d.Summary == "" {
		d.Summary = in.summary
	}
	d.Title, d.Extractor = in.title, in.eng.o.Extractor.Identity()
	d.Visible, d.Chunks, d.Entities, d.Relations = in.v.gen, in.total, len(in.entities), len(in.relations)
	d.Pending, d.JobSeq, d.PendingDoc, d.Error = 0, 0, nil, ""
	d.PendingChunks, d.PendingDone, d.PendingExtractor = 0, 0, ""
	if err := c.status(in.v.doc, d, StatusProcessed); err != nil {
		return err
	}
	if err := c.show(in.v, in.total); err != nil {
		return err
	}
	if err := c.put(in.v.doc, d); err != nil {
		return err
	}
	if err := c.drop(old); err != nil {
		return err
	}
	if err := c.tx.EndJob(in.ref); err != nil {
		return err
	}
	return c.tx.Audit("document.process", "document", d.ID, nil)
}

// fail ends the job with the cause in the document's record; a retry goes on
// from what is stored.
func (in *ingest) fail(why error) error {
	attrs := []any{"scope", in.ref.Tenant() + "/" + in.ref.KB(), "doc", fmt.Sprintf("%x", in.v.doc), "error", why}
	var p *panicError
	if errors.As(why, &p) {
		attrs = append(attrs, "stack", string(p.stack))
	}
	in.eng.o.Logger.Warn("document failed", attrs...)
	err := in.eng.change(in.eng.queue.ctx, in.space, func(c *change) error {
		d, err := stillMine(c.tx, in.ref, in.v)
		if err != nil {
			return err
		}
		d.JobSeq, d.Error = 0, cause(why)
		if err := c.status(in.v.doc, d, StatusFailed); err != nil {
			return err
		}
		if err := c.put(in.v.doc, d); err != nil {
			return err
		}
		return c.tx.EndJob(in.ref)
	})
	if errors.Is(err, errSuperseded) {
		return in.end()
	}
	if err == nil {
		in.eng.queue.stats.failed.Add(1)
	}
	return err
}

// end ends the job of a document that is not waiting for it any more.
func (in *ingest) end() error {
	err := in.space.Commit(in.eng.queue.ctx, func(tx *tenancy.Tx) error {
		_, err := stillMine(tx, in.ref, in.v)
		if err == nil {
			return errors.New("interrupted without being superseded")
		}
		if !errors.Is(err, errSuperseded) {
			return err
		}
		return tx.EndJob(in.ref)
	})
	if err == nil {
		in.eng.queue.stats.cancelled.Add(1)
	}
	return err
}
