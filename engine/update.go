package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"alcove/tenancy"
)

// Update gives a known document other content or metadata; ErrNotFound when
// there is none of that id. Readers see the document as it was until the new
// version is whole, then the new one, never a mixture. Chunks that stay the same
// are not embedded or extracted again, and where only metadata or the source
// change nothing is: such an update is visible when Update returns. A text that
// came without a source keeps the one it has; metadata are replaced as a whole.
// ErrChanged when the document is no more what IfTag says. The other errors are those
// of Add.
func (k *KB) Update(ctx context.Context, id string, d DocumentInput) (*Accepted, error) {
	if d.ID != "" && d.ID != id {
		return nil, badField("id", fmt.Sprintf("is %q in the body and %q in the path", d.ID, id))
	}
	d.ID = id
	ins, err := k.eng.check([]DocumentInput{d}, "insert")
	if err != nil {
		return nil, err
	}
	keepSource := d.FilePath == ""
	return k.accept(ctx, ins, "update", func(tx *tenancy.Tx, in *incoming) (Result, *documentRecord, error) {
		return decideUpdate(tx, in, keepSource, d.IfTag)
	})
}

func decideUpdate(tx *tenancy.Tx, in *incoming, keepSource bool, ifTag []string) (Result, *documentRecord, error) {
	d, err := readDocument(tx, in.key)
	if errors.Is(err, ErrNotFound) {
		return "", nil, fmt.Errorf("document %s: %w", in.id, ErrNotFound)
	}
	if err == nil {
		err = unchanged(d.tag(), ifTag)
	}
	if err != nil {
		return "", nil, err
	}
	now := d.next()
	if keepSource {
		in.face.FilePath = now.FilePath
	}
	kept := !in.face.Keep || now.Keep
	if in.sameAs(now) && kept && in.face.FilePath == now.FilePath && in.face.Name == now.Name {
		return ResultUnchanged, d, nil
	}
	// A title is part of what is extracted from, so a new one means new work.
	is := in.face.Kind == d.Kind && in.face.made() == d.made()
	if d.Kind == kindAdopted { // what came with it stays as long as its text does
		is = true
	}
	in.light = is && d.Pending == 0 && in.face.Hash == d.Hash && in.face.Name == d.Name && in.face.title() == d.title() &&
		in.face.MainText == d.MainText && kept
	return ResultUpdated, d, nil
}

// renew gives a known document the face of an update: at once where the text
// stays as it is, else as what its next version will bring.
func (c *change) renew(in *incoming, track string) error {
	d := in.rec
	if err := c.retrack(in.key, d, track); err != nil {
		return err
	}
	if in.light {
		was := d.face
		d.face = in.face
		if was.made() { // of the content, which stays
			d.Stored, d.Keep, d.Summary = was.Stored, was.Keep, was.Summary
			d.Kind, d.Adopted, d.Packed = was.Kind, was.Adopted, was.Packed
		}
		return c.touch(in.key)
	}
	if err := c.supersede(in, d); err != nil {
		return err
	}
	if d.Visible == 0 {
		c.st.Bytes += int64(in.face.Length - d.Length)
		d.face = in.face
	} else {
		f := in.face
		d.PendingDoc = &f
	}
	d.Error = ""
	return c.status(in.key, d, StatusPending)
}

// supersede drops the unfinished version of a document. Its job, if it still has
// one, finds itself without a document and ends.
func (c *change) supersede(in *incoming, d *documentRecord) error {
	in.replace = version{in.key, d.Pending}
	d.Pending, d.JobSeq, d.PendingDoc = 0, 0, nil
	d.PendingChunks, d.PendingDone, d.PendingExtractor, d.PendingText = 0, 0, "", 0
	c.release(d)
	return c.drop(in.replace)
}

// Cancel stops the work on a document. One that readers saw before stays as it
// was; of one that was new they see nothing. Retry takes the work up again where
// it stopped. It returns ErrNotFound, or ErrState when there is no work to stop.
func (k *KB) Cancel(ctx context.Context, id string) (*Document, error) {
	key := keyOf(id)
	var d *documentRecord
	err := k.eng.change(ctx, k.space, func(c *change) (err error) {
		if d, err = readDocument(c.tx, key); err != nil {
			return err
		}
		if d.Status != StatusPending && d.Status != StatusProcessing {
			return fmt.Errorf("cancel document %s, which is %s: %w", id, d.Status, ErrState)
		}
		d.JobSeq = 0
		c.release(d)
		end := StatusCancelled
		if d.Pending == 0 { // the chunks that failed were being read again
			end = StatusPartial
		}
		if err := c.status(key, d, end); err != nil {
			return err
		}
		if err := c.put(key, d); err != nil {
			return err
		}
		return c.tx.Audit("document.cancel", "document", id, nil)
	})
	if err != nil {
		return nil, err
	}
	k.eng.queue.interrupt(k.space.ID(), version{key, d.working()})
	return d.show(), nil
}

// Retry takes up the work on a failed or cancelled document again, at the chunk
// where it stopped, or reads again the chunks of a partial one that failed, and no
// others. It returns ErrNotFound, ErrQueueFull, or ErrState when there
// is nothing to take up. The track stays the one of the call that brought the
// document.
func (k *KB) Retry(ctx context.Context, id string) (*Accepted, error) {
	if err := k.eng.queue.reserve(1); err != nil {
		return nil, err
	}
	defer k.eng.queue.unreserve(1)
	key := keyOf(id)
	var d *documentRecord
	var ref tenancy.JobRef
	want, err := k.eng.wanted(ctx, k.space)
	if err != nil {
		return nil, err
	}
	err = k.eng.change(ctx, k.space, func(c *change) (err error) {
		if d, err = readDocument(c.tx, key); err != nil {
			return err
		}
		if d.Status != StatusFailed && d.Status != StatusCancelled && d.Status != StatusPartial {
			return fmt.Errorf("retry document %s, which is %s: %w", id, d.Status, ErrState)
		}
		if err := c.pin(k.eng.embedderFor(&c.st, want).Model()); err != nil {
			return err
		}
		if ref, err = c.addJob(job{Doc: key, Gen: d.working()}); err != nil {
			return err
		}
		d.JobSeq, d.Error = ref.Seq, ""
		c.promise(d, d.next().Length)
		if err := c.tx.CheckStorage(0); err != nil {
			return err
		}
		if err := c.status(key, d, StatusPending); err != nil {
			return err
		}
		if err := c.put(key, d); err != nil {
			return err
		}
		return c.tx.Audit("document.retry", "document", id, nil)
	})
	if err != nil {
		return nil, err
	}
	k.eng.queue.push(ref)
	return &Accepted{
		Status: "processing", TrackID: d.TrackID, DocID: id,
		Documents: []AcceptedDocument{{DocID: id, FilePath: d.next().FilePath, Status: d.Status, Result: ResultUpdated}},
	}, nil
}

// reusable finds what an earlier version of a document already knows of a chunk.
type reusable struct {
	from    version
	vectors byte                // the kind of record of the set that counts
	at      map[[16]byte]uint32 // print of text and headings -> ordinal
}

// knownChunks reads which chunks the visible version of a document has.
func knownChunks(tx *tenancy.Tx, v version, vectors byte) (*reusable, error) {
	r := &reusable{from: v, vectors: vectors, at: map[[16]byte]uint32{}}
	err := tx.Scan(kindChunk, tenancy.Scan{Prefix: v.prefix()}, func(rest, value []byte) error {
		ref, err := parseChunkKey(rest)
		if err != nil {
			return err
		}
		c, err := decodeChunk(value)
		if err != nil {
			return err
		}
		if p := c.print(); !r.has(p) {
			r.at[p] = ref.ord
		}
		return nil
	})
	return r, err
}

func (r *reusable) has(p [16]byte) bool { _, ok := r.at[p]; return ok }

// fill takes vector and contribution of an equal chunk over. A chunk that is not
// known stays as it is.
func (r *reusable) fill(tx *tenancy.Tx, w *chunkWork, contributions bool) error {
	ord, ok := r.at[w.rec.print()]
	if !ok {
		return nil
	}
	key := r.from.key(ord)
	v, err := tx.Get(r.vectors, key)
	if err != nil {
		return fmt.Errorf("vector of chunk %d: %w", ord, err)
	}
	w.vector = bytes.Clone(v)
	if !contributions {
		return nil
	}
	x, err := tx.Get(kindContribution, key)
	if err != nil {
		return fmt.Errorf("contribution of chunk %d: %w", ord, err)
	}
	said, err := decodeContribution(x)
	if err != nil || said.Failed != "" {
		return err
	}
	w.said, w.extracted = said, true
	return nil
}
