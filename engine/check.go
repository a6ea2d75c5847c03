package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"

	"alcove/tenancy"
)

// CheckCounts is what Check found in a knowledge base.
type CheckCounts struct {
	Documents, Visible, Chunks, Answers, Jobs int
	ContentBytes                              int64
	Aliases, Edits                            int
	Problems                                  int
}

// Add adds the counts of another knowledge base.
func (n *CheckCounts) Add(o CheckCounts) {
	n.Documents += o.Documents
	n.Visible += o.Visible
	n.Chunks += o.Chunks
	n.Answers += o.Answers
	n.Jobs += o.Jobs
	n.ContentBytes += o.ContentBytes
	n.Aliases += o.Aliases
	n.Edits += o.Edits
	n.Problems += o.Problems
}

// String names the counts for a reader.
func (n CheckCounts) String() string {
	return fmt.Sprintf("%d documents (%d visible, %d bytes), %d chunks, %d jobs, %d stored answers",
		n.Documents, n.Visible, n.ContentBytes, n.Chunks, n.Jobs, n.Answers)
}

// Check verifies that a knowledge base is what its documents imply: that what
// readers see is whole, that nothing is half there and unaccounted for, that
// counters, lists and jobs agree with a scan, that contents have their hashes,
// and, last, every checksum. Each fault is reported in a sentence; an error
// means that the check itself could not be done. The knowledge base should be at
// rest: work under way between its reads may look like a fault.
func Check(ctx context.Context, store *tenancy.Store, s *tenancy.Space, report func(string)) (CheckCounts, error) {
	refs, err := jobsOf(ctx, store, s)
	if err != nil {
		return CheckCounts{}, err
	}
	return checkSpace(ctx, s, refs, false, report)
}

// checkSpace is Check with the unfinished jobs given. imported says that the knowledge
// base is to be one that is not open yet.
func checkSpace(ctx context.Context, s *tenancy.Space, refs []tenancy.JobRef, imported bool, report func(string)) (CheckCounts, error) {
	k := &checker{ctx: ctx, imported: imported, report: report, docs: map[docKey]*documentRecord{}, want: map[version]expected{}, jobs: map[uint64]job{}}
	err := s.View(ctx, func(tx *tenancy.Tx) error {
		k.tx = tx
		for _, step := range []func() error{
			func() error { return k.readJobs(refs) },
			k.documents, k.visible, k.content, k.chunks, k.otherSet, k.lists, k.touched, k.answers, k.byHand,
		} {
			if err := step(); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return k.counts, fmt.Errorf("check knowledge base %s: %w", s.KBID(), err)
	}
	if err := s.Verify(ctx); err != nil {
		if !errors.Is(err, tenancy.ErrDamaged) {
			return k.counts, err
		}
		k.fault("%v", err)
	}
	return k.counts, nil
}

// jobsOf lists the unfinished jobs of one knowledge base.
func jobsOf(ctx context.Context, store *tenancy.Store, s *tenancy.Space) (out []tenancy.JobRef, err error) {
	var after tenancy.JobRef
	for {
		refs, err := store.Jobs(ctx, after, jobPage)
		if err != nil {
			return nil, err
		}
		for _, ref := range refs {
			if ref.Tenant() == s.TenantID() && ref.KB() == s.KBID() {
				out = append(out, ref)
			}
		}
		if len(refs) < jobPage {
			return out, nil
		}
		after = refs[len(refs)-1]
	}
}

// expected says what a version must have. A version that waits for a sweep may
// have anything.
type expected struct {
	chunks int
	failed int // chunks that say nothing because they could not be read; -1 is not known
	face   *face
	text   int  // bytes of the text that was made of the content
	bare   bool // the content is gone, the text is there
	sweep  bool
}

// length is how long the content is that offsets are into.
func (w expected) length() int {
	if w.face.made() {
		return w.text
	}
	return w.face.Length
}

type checker struct {
	ctx      context.Context
	tx       *tenancy.Tx
	imported bool // not open yet: see Import
	report   func(string)
	counts   CheckCounts
	state    kbState
	docs     map[docKey]*documentRecord
	want     map[version]expected
	jobs     map[uint64]job
}

func (k *checker) fault(format string, a ...any) {
	k.counts.Problems++
	k.report(fmt.Sprintf(format, a...))
}

func (k *checker) readJobs(refs []tenancy.JobRef) error {
	for _, ref := range refs {
		b, err := k.tx.Job(ref)
		if errors.Is(err, tenancy.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		var j job
		if err := unmarshalRecord("job", b, &j); err != nil {
			k.fault("job %d: %v", ref.Seq, err)
			continue
		}
		k.jobs[ref.Seq] = j
		k.counts.Jobs++
		for _, v := range j.Sweep {
			k.want[version{v.Doc, v.Gen}] = expected{sweep: true}
		}
	}
	return nil
}

// documents reads the records and what they imply.
func (k *checker) documents() (err error) {
	if k.state, err = readState(k.tx); err != nil && !(k.imported && errors.Is(err, errImporting)) {
		k.fault("%v", err)
	}
	byStatus, chunks, size := map[Status]int{}, 0, int64(0)
	err = k.tx.Scan(kindDocument, tenancy.Scan{}, func(rest, value []byte) error {
		d := new(documentRecord)
		if err := unmarshalRecord("document", value, d); err != nil || len(rest) != 16 {
			k.fault("document %x: unreadable: %v", rest, err)
			return nil
		}
		key := docKey(rest)
		if keyOf(d.ID) != key {
			k.fault("document %x: holds the record of %q", rest, d.ID)
		}
		k.docs[key] = d
		byStatus[d.Status]++
		chunks += d.Chunks
		size += int64(d.Length)
		k.document(key, d)
		return nil
	})
	if err != nil {
		return err
	}
	k.counts.Documents = len(k.docs)
	k.used()
	if !maps.Equal(byStatus, k.state.Documents) {
		k.fault("state counts documents %v, there are %v", k.state.Documents, byStatus)
	}
	if chunks != k.state.Chunks || size != k.state.Bytes {
		k.fault("state counts %d chunks and %d bytes, documents have %d and %d", k.state.Chunks, k.state.Bytes, chunks, size)
	}
	return nil
}

func (k *checker) document(key docKey, d *documentRecord) {
	if _, ok := statusCode[d.Status]; !ok || d.Status == "" {
		k.fault("document %s: unknown status %q", d.ID, d.Status)
	}
	if d.Visible > k.state.Versions || d.Pending > k.state.Versions {
		k.fault("document %s: version %d or %d was never given out", d.ID, d.Visible, d.Pending)
	}
	if d.Visible != 0 {
		k.want[version{key, d.Visible}] = expected{chunks: d.Chunks, failed: d.FailedChunks, face: &d.face, text: d.TextLength, bare: d.made() && !d.Keep}
	}
	if d.Pending != 0 {
		k.want[version{key, d.Pending}] = expected{chunks: d.PendingDone, failed: -1, face: d.next(), text: d.PendingText}
	}
	j, ok := k.jobs[d.JobSeq]
	switch working := d.Status == StatusPending || d.Status == StatusProcessing; {
	case working && !ok:
		k.fault("document %s: is %s and has no job", d.ID, d.Status)
	case working && (j.Doc != key || j.Gen != d.working()):
		k.fault("document %s: job %d is about something else", d.ID, d.JobSeq)
	case !working && d.JobSeq != 0:
		k.fault("document %s: is %s and names job %d", d.ID, d.Status, d.JobSeq)
	case (d.Status == StatusProcessed || d.Status == StatusPartial || working && d.FailedChunks > 0 && d.Pending == 0) != (d.Pending == 0):
		k.fault("document %s: is %s with unfinished version %d", d.ID, d.Status, d.Pending)
	case d.Status == StatusProcessed && d.FailedChunks > 0, d.Status == StatusPartial && d.FailedChunks == 0:
		k.fault("document %s: is %s with %d failed chunks", d.ID, d.Status, d.FailedChunks)
	case d.Visible == 0 && d.Pending == 0:
		k.fault("document %s: has no version", d.ID)
	}
}

func (k *checker) visible() error {
	err := k.tx.Scan(kindVisible, tenancy.Scan{}, func(rest, value []byte) error {
		v, err := parseVisible(rest, value)
		if err != nil {
			k.fault("%v", err)
			return nil
		}
		k.counts.Visible++
		if d := k.docs[v.doc]; d == nil || d.Visible != v.gen || d.Chunks != v.chunks {
			k.fault("document %x: readers are shown version %d with %d chunks, its record says otherwise", v.doc, v.gen, v.chunks)
		}
		return nil
	})
	n := 0
	for _, d := range k.docs {
		if d.Visible != 0 {
			n++
		}
	}
	if n != k.counts.Visible {
		k.fault("%d documents are visible by their records, %d by the table", n, k.counts.Visible)
	}
	return err
}

// walk goes over one kind of record version by version and checks that ordinals
// run from 0 without a gap and that somebody accounts for the version. each sees
// every record, last every version with its number of records.
func (k *checker) walk(kind byte, each func(chunkRef, []byte), last func(version, int)) error {
	var at version
	n := 0
	end := func() {
		if n > 0 {
			last(at, n)
		}
	}
	err := k.tx.Scan(kind, tenancy.Scan{}, func(rest, value []byte) error {
		ref, err := parseChunkKey(rest)
		if err != nil {
			k.fault("record of kind %c: %v", kind, err)
			return nil
		}
		if ref.version != at {
			end()
			at, n = ref.version, 0
			if _, ok := k.want[at]; !ok {
				k.fault("document %x: records of kind %c of version %d that nothing accounts for", at.doc, kind, at.gen)
			}
		}
		if int(ref.ord) != n && !k.want[at].sweep {
			k.fault("document %x: record of kind %c has number %d, not %d", at.doc, kind, ref.ord, n)
		}
		n++
		each(ref, value)
		return k.ctx.Err()
	})
	end()
	return err
}

func (k *checker) content() error {
	var got bytes.Buffer // of one version; a content is bounded by MaxDocumentBytes
	seen := 0
	err := k.walk(kindContent, func(ref chunkRef, value []byte) {
		if ref.ord == 0 {
			got.Reset()
		}
		got.Write(value)
		k.counts.ContentBytes += int64(len(value))
	}, func(v version, _ int) {
		w := k.want[v]
		if w.face == nil {
			return
		}
		seen++
		b, err := got.Bytes(), error(nil)
		if w.face.made() {
			b, err = unsqueeze(b, w.face.Length)
		}
		if hash := sha256.Sum256(b); err != nil || len(b) != w.face.Length || hex.EncodeToString(hash[:]) != w.face.Hash {
			k.fault("document %x: its content of %d bytes is not what was sent", v.doc, len(b))
		}
		if w.bare {
			k.fault("document %x: the file is there though only its text was to be kept", v.doc)
		}
	})
	if err != nil {
		return err
	}
	if want := k.named(func(w expected) bool { return !w.bare }); seen != want {
		k.fault("%d versions have content, %d should", seen, want)
	}
	seen, size := 0, 0
	err = k.walk(kindText, func(ref chunkRef, value []byte) {
		if ref.ord == 0 {
			size = 0
		}
		size += len(value)
		k.counts.ContentBytes += int64(len(value))
	}, func(v version, _ int) {
		if w := k.want[v]; w.face != nil {
			seen++
			if w.text != size && !(w.failed < 0 && size < w.text) { // storing it may have been cut short
				k.fault("document %x: its text has %d bytes, not %d", v.doc, size, w.text)
			}
		}
	})
	if want := k.named(func(w expected) bool { return w.text > 0 }); seen != want {
		k.fault("%d versions have a text of their own, %d should", seen, want)
	}
	return err
}

// named counts the versions that documents name.
func (k *checker) named(f func(expected) bool) (n int) {
	for _, w := range k.want {
		if w.face != nil && f(w) {
			n++
		}
	}
	return n
}

func (k *checker) chunks() error {
	failed := map[version]int{}
	checks := map[byte]func(chunkRef, []byte) error{
		kindChunk: func(ref chunkRef, b []byte) error {
			k.counts.Chunks++
			c, err := decodeChunk(b)
			w := k.want[ref.version]
			if err == nil && w.face != nil && (c.Start < 0 || c.Start > c.End || c.End > w.length()) {
				err = fmt.Errorf("spans bytes %d to %d of %d", c.Start, c.End, w.length())
			}
			return err
		},
		k.state.vectors().chunks: func(_ chunkRef, b []byte) error {
			v, err := decodeVector(b)
			if err == nil && len(v) != k.state.Dim {
				err = fmt.Errorf("has %d numbers, the base has %d", len(v), k.state.Dim)
			}
			if err == nil && !directed(v) {
				err = errors.New("has no direction")
			}
			return err
		},
		kindContribution: func(ref chunkRef, b []byte) error {
			c, err := decodeContribution(b)
			if err == nil && c.Failed != "" {
				failed[ref.version]++
			}
			return err
		},
	}
	for _, kind := range []byte{kindChunk, k.state.vectors().chunks, kindContribution} {
		seen := 0
		err := k.walk(kind, func(ref chunkRef, value []byte) {
			if err := checks[kind](ref, value); err != nil {
				k.fault("document %x: record %d of kind %c: %v", ref.doc, ref.ord, kind, err)
			}
		}, func(v version, n int) {
			if w := k.want[v]; w.face != nil {
				seen++
				if w.chunks != n {
					k.fault("document %x: version %d has %d records of kind %c, not %d", v.doc, v.gen, n, kind, w.chunks)
				}
			}
		})
		if err != nil {
			return err
		}
		if want := k.named(func(w expected) bool { return w.chunks > 0 }); seen != want {
			k.fault("%d versions have records of kind %c, %d should", seen, kind, want)
		}
	}
	for v, w := range k.want {
		if w.face != nil && w.failed >= 0 && failed[v] != w.failed {
			k.fault("document %x: %d chunks of version %d failed, its record says %d", v.doc, failed[v], v.gen, w.failed)
		}
	}
	return nil
}

// otherSet looks at the set of vectors that does not count: it is empty, being
// cleared, or filled up to the place that a change of the embedding model has come to.
func (k *checker) otherSet() error {
	set, x := k.state.otherVectors(), k.state.Reembed
	if x != nil {
		if j, ok := k.jobs[x.Job]; !ok || !j.Reembed {
			k.fault("a change of the embedding model names job %d, which is none", x.Job)
		}
	}
	if x == nil {
		for _, kind := range []byte{set.chunks, set.profiles} {
			err := k.tx.Scan(kind, tenancy.Scan{KeysOnly: true, Limit: 1}, func(rest, _ []byte) error {
				k.fault("record %x of kind %c is in the set of vectors that is not used", rest, kind)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	if x.Clearing {
		return nil
	}
	made := map[version]int{}
	err := k.walk(set.chunks, func(ref chunkRef, value []byte) {
		if v, err := decodeVector(value); err != nil || len(v) != x.Dim || !directed(v) {
			k.fault("document %x: new vector %d of %d numbers instead of %d: %v", ref.doc, ref.ord, len(v), x.Dim, err)
		}
	}, func(v version, n int) { made[v] = n })
	for v, w := range k.want {
		if w.face == nil {
			continue
		}
		n := 0
		switch c := bytes.Compare(v.prefix(), x.After[:min(len(x.After), len(v.prefix()))]); {
		case c < 0:
			n = w.chunks
		case c == 0:
			n = min(w.chunks, int(binary.BigEndian.Uint32(x.After[len(v.prefix()):]))+1)
		}
		if made[v] != n {
			k.fault("document %x: version %d has %d new vectors, not %d", v.doc, v.gen, made[v], n)
		}
	}
	return err
}

func (k *checker) lists() error {
	n := 0
	keys, err := listed(k.tx, tenancy.Scan{KeysOnly: true})
	if err != nil {
		return err
	}
	for _, key := range keys {
		n++
		doc := docKey(key[9:])
		d := k.docs[doc]
		if d == nil || !bytes.Equal(key[:], listKey("", d, doc)) && !bytes.Equal(key[:], listKey(d.Status, d, doc)) {
			k.fault("list entry %x belongs to no document", key)
		}
	}
	if n != 2*len(k.docs) {
		k.fault("%d list entries for %d documents", n, len(k.docs))
	}
	n = 0
	err = k.tx.Scan(kindTrack, tenancy.Scan{KeysOnly: true}, func(rest, _ []byte) error {
		n++
		if len(rest) > 17 {
			doc := docKey(rest[len(rest)-16:])
			if d := k.docs[doc]; d != nil && bytes.Equal(rest, trackKey(d.TrackID, doc)) {
				return nil
			}
		}
		k.fault("track entry %x belongs to no document", rest)
		return nil
	})
	if n != len(k.docs) {
		k.fault("%d track entries for %d documents", n, len(k.docs))
	}
	return err
}

func (k *checker) touched() error {
	next := k.state.TouchedFrom
	err := k.tx.Scan(kindTouched, tenancy.Scan{}, func(rest, value []byte) error {
		if !bytes.Equal(rest, key64(next)) || len(value) != 16 {
			k.fault("list of changes: %x where %d was due", rest, next)
		}
		next++
		return nil
	})
	if k.state.Generation > 0 && next != k.state.Generation+1 {
		k.fault("list of changes ends at %d, the base is at %d", next-1, k.state.Generation)
	}
	return err
}

func (k *checker) answers() error {
	var size int64
	ages := map[answerKey][]byte{}
	err := k.tx.Scan(kindAnswer, tenancy.Scan{}, func(rest, value []byte) error {
		if len(rest) != 32 || len(value) < 8 {
			k.fault("stored answer %x: unreadable", rest)
			return nil
		}
		size += int64(len(value) - 8)
		ages[answerKey(rest)] = bytes.Clone(value[:8])
		return nil
	})
	if err != nil {
		return err
	}
	k.counts.Answers = len(ages)
	if size != k.state.AnswerBytes {
		k.fault("state counts %d bytes of answers, there are %d", k.state.AnswerBytes, size)
	}
	n := 0
	err = k.tx.Scan(kindAnswerAge, tenancy.Scan{KeysOnly: true}, func(rest, _ []byte) error {
		n++
		if len(rest) != 40 || !bytes.Equal(ages[answerKey(rest[8:])], rest[:8]) {
			k.fault("answer age %x belongs to no answer", rest)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if n != len(ages) {
		k.fault("%d answers have %d ages", len(ages), n)
	}
	used := map[answerKey]bool{}
	uses, byVersion := 0, 0
	err = k.tx.Scan(kindAnswerUse, tenancy.Scan{KeysOnly: true}, func(rest, _ []byte) error {
		uses++
		if len(rest) != 56 || ages[answerKey(rest[:32])] == nil {
			k.fault("answer use %x belongs to no answer", rest)
			return nil
		}
		used[answerKey(rest[:32])] = true
		return nil
	})
	if err != nil {
		return err
	}
	if len(used) != len(ages) {
		k.fault("%d of %d answers are used", len(used), len(ages))
	}
	err = k.tx.Scan(kindAnswerDoc, tenancy.Scan{KeysOnly: true}, func(rest, _ []byte) error {
		byVersion++
		if len(rest) != 56 {
			k.fault("answer use %x: unreadable", rest)
			return nil
		}
		v := version{docKey(rest[:16]), binary.BigEndian.Uint64(rest[16:24])}
		if _, ok := k.want[v]; !ok {
			k.fault("answers of version %d of document %x that nothing accounts for", v.gen, v.doc)
		}
		if _, err := k.tx.Get(kindAnswerUse, useKey(answerKey(rest[24:]), v)); err != nil {
			k.fault("answer use %x: %v", rest, err)
		}
		return nil
	})
	if uses != byVersion {
		k.fault("%d uses of answers by answer, %d by version", uses, byVersion)
	}
	return err
}
