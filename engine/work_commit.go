package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
		if err := c.fits(d); err != nil {
			return err
		}
		switch {
		case in.mend:
			return in.mended(c, d, last)
		case last:
			d.PendingDone += in.fresh()
			return in.finish(c, d)
		}
		d.PendingDone += in.fresh()
		d.PendingChunks, d.PendingExtractor = in.total, in.extractor.Identity()
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

// fresh is how many chunks in hand have no records yet.
func (in *ingest) fresh() (n int) {
	for _, w := range in.buffer {
		if !w.again {
			n++
		}
	}
	return n
}

// mended shows what was read of failed chunks of the visible version.
func (in *ingest) mended(c *change, d *documentRecord, last bool) error {
	if len(in.buffer) > 0 {
		if d.Extractor != in.extractor.Identity() {
			d.Extractor = "" // of several, so that an update reads all again
		}
		if err := c.touch(in.v.doc); err != nil {
			return err
		}
	}
	status := StatusProcessing
	if last {
		d.JobSeq, d.Error = 0, ""
		c.release(d)
		if err := in.name(c, d); err != nil {
			return err
		}
		d.readings = in.tally.readings
		status = d.outcome()
	} else {
		for _, w := range in.buffer {
			if w.fault == nil {
				d.forget(w.ord)
			}
		}
	}
	if err := c.status(in.v.doc, d, status); err != nil {
		return err
	}
	if err := c.put(in.v.doc, d); err != nil || !last {
		return err
	}
	if err := c.tx.EndJob(in.ref); err != nil {
		return err
	}
	return c.tx.Audit("document.process", "document", d.ID, nil)
}

// outcome is the state of a document whose work is done.
func (d *documentRecord) outcome() Status {
	if d.FailedChunks > 0 {
		return StatusPartial
	}
	return StatusProcessed
}

// forget takes a chunk off the failed ones.
func (d *documentRecord) forget(ord uint32) {
	d.FailedChunks--
	d.Failed = slices.DeleteFunc(d.Failed, func(f failedChunk) bool { return f.Ord == ord })
}

// store writes the records of the chunks in hand.
func (in *ingest) store(c *change) error {
	if c.st.changing() || c.st.Changeovers != in.changeovers {
		return errChanging
	}
	if err := c.pin(in.embedder.Model()); err != nil {
		return err
	}
	for _, w := range in.buffer {
		if dim := len(w.vector) / 4; c.st.Dim == 0 {
			c.st.Dim = dim
		} else if c.st.Dim != dim {
			return &PinnedError{Made: c.st.Embedder, MadeDim: c.st.Dim, Now: in.embedder.Model(), NowDim: dim}
		}
		key := in.v.key(w.ord)
		for _, r := range []struct {
			kind  byte
			value []byte
		}{{kindChunk, w.encoded[0]}, {in.vectors, w.vector}, {kindContribution, w.encoded[1]}} {
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
	d.Title, d.Extractor = in.title, in.extractor.Identity()
	if err := in.name(c, d); err != nil {
		return err
	}
	d.Visible, d.Chunks = in.v.gen, in.total
	d.readings = in.tally.readings
	d.TextLength, d.Warnings = d.PendingText, in.warnings
	d.Pending, d.JobSeq, d.PendingDoc, d.Error = 0, 0, nil, ""
	d.PendingChunks, d.PendingDone, d.PendingExtractor, d.PendingText = 0, 0, "", 0
	if d.made() && !d.Keep { // a few records: a content is bounded by MaxDocumentBytes
		if _, err := c.sweepKinds(in.v, sweepBatch, kindContent); err != nil {
			return err
		}
	}
	c.release(d)
	if err := c.status(in.v.doc, d, d.outcome()); err != nil {
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

// logged are the attributes of a log line about the document.
func (in *ingest) logged(why error, attrs ...any) []any {
	attrs = append(attrs, "scope", in.ref.Tenant()+"/"+in.ref.KB(), "doc", fmt.Sprintf("%x", in.v.doc), "error", why)
	var p *panicError
	if errors.As(why, &p) {
		attrs = append(attrs, "stack", string(p.stack))
	}
	return attrs
}

// fail ends the job with the cause in the document's record; a retry goes on
// from what is stored.
func (in *ingest) fail(why error) error {
	in.eng.o.Logger.Warn("document failed", in.logged(why)...)
	err := in.eng.change(in.eng.queue.ctx, in.space, func(c *change) error {
		d, err := stillMine(c.tx, in.ref, in.v)
		if err != nil {
			return err
		}
		d.JobSeq, d.Error = 0, cause(why)
		c.release(d)
		end := StatusFailed
		if in.mend { // what readers see stays as it is
			end = d.outcome()
		}
		if err := c.status(in.v.doc, d, end); err != nil {
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
