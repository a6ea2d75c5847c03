package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"alcove/tenancy"
)

// Limits of an input that no option changes.
const (
	maxDocumentIDBytes = 255
	maxFilePathBytes   = 1024
	maxMetadataDepth   = 8
	summaryChars       = 250 // LightRAG's content_summary

	// commitBytes is how much one transaction of documents writes at most: under
	// the store's 2 MB with room for keys and for what joins the transaction.
	commitBytes = 1_500_000
	// maxAcceptBytes bounds the records of one call, which are accepted in one
	// transaction whatever becomes of the contents.
	maxAcceptBytes = 1_800_000
	// recordBytes is what the records of one document take in the transaction
	// that accepts it, beside what the caller sent: indexes, job, names of fields.
	recordBytes = 1250
	// unknownSource stands where a text came without a source, as in LightRAG.
	unknownSource = "unknown_source"
)

// incoming is one checked document of a call.
type incoming struct {
	field   string // how errors call it
	id      string
	key     docKey
	face    face
	meta    []byte    // the metadata as JSON, for comparison
	content []byte    // as it is stored, see original.go
	created time.Time // its place in the lists, zero for now
	track   string    // that of the call, unless it brings its own
	cost    int       // bytes of its records in the accepting transaction

	gen     uint64 // the version its content was stored under
	result  Result
	light   bool // an update that leaves the text as it is
	rec     *documentRecord
	replace version        // an unfinished version that this one takes the place of
	ref     tenancy.JobRef // the job that works on it
}

// Add takes documents in. The call is accepted or refused whole: a *FieldError
// names the first document that is wrong, ErrConflict one whose id is known
// with other content or metadata. What is known and equal is unchanged and costs
// nothing. When Add returns, the rest is safe on disk with the jobs that will
// make it visible. trackPrefix is insert, upload or scan. Other errors:
// ErrQueueFull, ErrEmbeddingPinned and those of tenancy.
func (k *KB) Add(ctx context.Context, docs []DocumentInput, trackPrefix string) (*Accepted, error) {
	ins, err := k.eng.check(docs, trackPrefix)
	if err != nil {
		return nil, err
	}
	return k.accept(ctx, ins, trackPrefix, decideAdd)
}

// newTrack names a call as LightRAG does: prefix_YYYYMMDD_HHMMSS_8hex.
func newTrack(prefix string, now time.Time) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return fmt.Sprintf("%s_%s_%x", prefix, now.UTC().Format("20060102_150405"), b)
}

// decision says what a document of a call is to the store as it stands. The
// record is nil for a document that is new.
type decision func(tx *tenancy.Tx, in *incoming) (Result, *documentRecord, error)

func decideAdd(tx *tenancy.Tx, in *incoming) (Result, *documentRecord, error) {
	d, err := readDocument(tx, in.key)
	if errors.Is(err, ErrNotFound) {
		return ResultCreated, nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	if !in.sameAs(d.next()) {
		return "", nil, fmt.Errorf("%s: document %s: %w", in.field, in.id, ErrConflict)
	}
	return ResultUnchanged, d, nil
}

// sameAs reports whether content and metadata are those of a stored document.
func (in *incoming) sameAs(f *face) bool {
	kind := f.Kind
	if kind == kindAdopted { // a text all the same, for whoever sends it again
		kind = in.face.Kind
	}
	return in.face.Hash == f.Hash && in.face.Kind == kind && in.face.MainText == f.MainText && bytes.Equal(in.meta, metadataBytes(f.Metadata))
}

// needsContent reports whether the document is to be worked on.
func (in *incoming) needsContent() bool { return in.result != ResultUnchanged && !in.light }

// maxAcceptTries bounds how often a call is decided again because its documents
// were changed by others between its parts.
const maxAcceptTries = 4

// accept decides on a call, stores its content and takes it in.
func (k *KB) accept(ctx context.Context, ins []*incoming, trackPrefix string, decide decision) (*Accepted, error) {
	for try := 1; ; try++ {
		a, err := k.tryAccept(ctx, ins, trackPrefix, decide)
		if !errors.Is(err, errStale) || try == maxAcceptTries {
			return a, err
		}
	}
}

func (k *KB) tryAccept(ctx context.Context, ins []*incoming, trackPrefix string, decide decision) (*Accepted, error) {
	if err := k.space.View(ctx, func(tx *tenancy.Tx) error { return decideAll(tx, ins, decide) }); err != nil {
		return nil, err
	}
	changes, work, size := 0, 0, 0
	for _, in := range ins {
		if in.result == ResultUnchanged {
			continue
		}
		changes++
		size += in.cost
		if in.needsContent() {
			work++
			size += len(in.content)
		}
	}
	if changes == 0 {
		return accepted(ins, ""), nil
	}
	q := k.eng.queue
	if err := q.reserve(work); err != nil {
		return nil, err
	}
	defer q.unreserve(work)
	var sp *spool
	if size > commitBytes {
		var err error
		if sp, err = k.spool(ctx, ins); err != nil {
			return nil, err
		}
		defer sp.abandon()
	}
	track := newTrack(trackPrefix, k.eng.now())
	want, err := k.eng.wanted(ctx, k.space)
	if err != nil {
		return nil, err
	}
	err = k.eng.change(ctx, k.space, func(c *change) error { return k.take(c, ins, track, decide, sp, want) })
	if err != nil {
		return nil, err
	}
	sp.done()
	for _, in := range ins {
		if in.replace.gen != 0 {
			q.interrupt(k.space.ID(), in.replace)
		}
		if in.ref != (tenancy.JobRef{}) {
			q.push(in.ref)
		}
	}
	return accepted(ins, track), nil
}

// decideAll decides on every document of a call; a second one of the same id in
// the call is measured against the first.
func decideAll(tx *tenancy.Tx, ins []*incoming, decide decision) error {
	first := make(map[docKey]*incoming, len(ins))
	for _, in := range ins {
		in.rec, in.replace, in.ref = nil, version{}, tenancy.JobRef{}
		if f := first[in.key]; f != nil {
			if in.face.Hash != f.face.Hash || !bytes.Equal(in.meta, f.meta) {
				return fmt.Errorf("%s: document %s is in this call twice: %w", in.field, in.id, ErrConflict)
			}
			in.result, in.rec = ResultUnchanged, f.rec
			continue
		}
		first[in.key] = in
		var err error
		if in.result, in.rec, err = decide(tx, in); err != nil {
			return err
		}
	}
	return nil
}

// take is the transaction that accepts a call.
func (k *KB) take(c *change, ins []*incoming, track string, decide decision, sp *spool, want Embedder) error {
	if err := decideAll(c.tx, ins, decide); err != nil {
		return err
	}
	if err := c.pin(k.eng.embedderFor(&c.st, want).Model()); err != nil {
		return err
	}
	first := make(map[docKey]*documentRecord, len(ins))
	changed, size, id := 0, 0, ""
	for i, in := range ins {
		if in.result == ResultUnchanged {
			if in.rec == nil {
				in.rec = first[in.key]
			}
			continue
		}
		var err error
		if in.rec == nil {
			in.rec = &documentRecord{
				ID: in.id, face: in.face, Status: StatusPending, TrackID: track,
				Created: c.now.Add(time.Duration(i)), // the order of the call is the order of the lists
			}
			if in.track != "" {
				in.rec.TrackID = in.track
			}
			if !in.created.IsZero() {
				in.rec.Created = in.created
			}
			err = c.add(in.key, in.rec)
		} else {
			err = c.renew(in, track)
		}
		if err != nil {
			return err
		}
		if in.needsContent() {
			if size += in.cost + len(in.content); sp == nil && size > commitBytes {
				return errStale
			}
			if err := c.enqueue(in, sp != nil); err != nil {
				return err
			}
		}
		if err := c.put(in.key, in.rec); err != nil {
			return err
		}
		first[in.key] = in.rec
		changed++
		id = in.id
	}
	if err := sp.settle(c, ins); err != nil {
		return err
	}
	if err := c.tx.CheckStorage(0); err != nil {
		return err
	}
	if changed != 1 {
		id = ""
	}
	return c.tx.Audit("document.accept", "document", id, map[string]string{"documents": strconv.Itoa(changed), "track": track})
}

// enqueue gives a document its new version, with the content unless that was
// spooled before, and the job that will make it visible.
func (c *change) enqueue(in *incoming, spooled bool) (err error) {
	switch {
	case !spooled:
		in.gen = c.begin()
		for part, b := range parts(in.content) {
			if err := c.tx.Set(kindContent, version{in.key, in.gen}.key(uint32(part)), b); err != nil {
				return err
			}
		}
	case in.gen == 0: // when the content was stored there was no need of this one's
		return errStale
	}
	in.rec.Pending = in.gen
	c.promise(in.rec, len(in.content))
	in.ref, err = c.addJob(job{Doc: in.key, Gen: in.gen})
	in.rec.JobSeq = in.ref.Seq
	return err
}

// pin holds a knowledge base to one embedding model from its first vector on. One
// whose model is being changed takes anything: the work waits for the change.
func (c *change) pin(model string) error {
	if c.st.Embedder == model || c.st.changing() {
		return nil
	}
	if c.st.Embedder != "" && c.st.Dim != 0 {
		return &PinnedError{Made: c.st.Embedder, MadeDim: c.st.Dim, Now: model}
	}
	c.st.Embedder = model
	return nil
}

// parts yields a content in pieces of the size of a record, numbered from 0.
func parts(content []byte) func(yield func(int, []byte) bool) {
	return func(yield func(int, []byte) bool) {
		for i := 0; len(content) > 0; i++ {
			n := min(len(content), contentPartBytes)
			if !yield(i, content[:n]) {
				return
			}
			content = content[n:]
		}
	}
}

// accepted is the answer to a call. A call that brought nothing new answers with
// the track of what it found.
func accepted(ins []*incoming, track string) *Accepted {
	a := &Accepted{Status: "success", TrackID: track}
	for _, in := range ins {
		d := AcceptedDocument{DocID: in.id, FilePath: in.face.FilePath, Status: StatusPending, Result: in.result}
		if in.rec != nil {
			d.FilePath, d.Status = in.rec.next().FilePath, in.rec.Status
			if a.TrackID == "" {
				a.TrackID = in.rec.TrackID
			}
		}
		if d.Status == StatusPending || d.Status == StatusProcessing {
			a.Status = "processing"
		}
		a.Documents = append(a.Documents, d)
	}
	if len(ins) == 1 {
		a.DocID = ins[0].id
	}
	return a
}
