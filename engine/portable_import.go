package engine

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"alcove/sealed"
	"alcove/tenancy"
)

// Imported is what Import took in.
type Imported struct {
	From      Portable `json:"from"`
	Documents int      `json:"documents"`
	Chunks    int      `json:"chunks"`
	Records   int      `json:"records"`
	Bytes     int64    `json:"bytes"` // of the records
	Signed    bool     `json:"signed"`
	// ModelMatches is false when this server would make other vectors than the file
	// holds: Message then says what to do.
	ModelMatches bool   `json:"embedding_model_matches"`
	Message      string `json:"message,omitempty"`
}

// importing stands in the state of a knowledge base while it is imported. Readers and
// writers are refused until it goes; one that a crash left is cleared by the next import.
type importing struct {
	Documents int64 `json:"documents"` // that the quotas have counted
}

// errImporting is what a knowledge base answers that is not all there yet.
var errImporting = fmt.Errorf("%w: it is being imported, or its import was interrupted; import again or delete it", ErrState)

// Import makes a new knowledge base the one that a file of Export holds, without asking a
// model for anything: it answers as that one did. The file is read twice, src being at
// its beginning, of size bytes. The first time nothing is written: what was changed or
// cut, and what is no knowledge base, is a *FieldError of "body". Then its records are stored,
// unseen, checked as Check checks, and seen at one commit. With a key the file has to be
// signed with it.
//
// It returns ErrState if the knowledge base ever held anything or another import of it is
// under way, and tenancy's errors of quotas. Whatever it returns but nil, the
// knowledge base is left as empty as it was.
func (k *KB) Import(ctx context.Context, src io.ReadSeeker, size int64, signer ed25519.PublicKey) (*Imported, error) {
	if _, busy := k.eng.importing.LoadOrStore(k.space.ID(), true); busy {
		return nil, fmt.Errorf("%w: another import of it is under way", ErrState)
	}
	defer k.eng.importing.Delete(k.space.ID())

	im := importer{ctx: ctx, k: k, docs: map[docKey]importedDoc{}}
	from, err := im.look(src, size, signer)
	if err != nil {
		if errors.Is(err, sealed.ErrBroken) || errors.Is(err, sealed.ErrNewer) || errors.Is(err, sealed.ErrSignature) || errors.Is(err, errPortable) || errors.Is(err, ErrDamaged) {
			return nil, badField("body", err.Error())
		}
		return nil, err
	}
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if err := im.begin(); err != nil {
		return nil, err
	}
	if err := im.store(src, size); err != nil {
		return nil, errors.Join(err, im.clear(context.WithoutCancel(ctx)))
	}
	k.eng.pool.forget(k.space.ID())
	k.ForgetAnswers()
	out := &Imported{From: from, Documents: len(im.docs), Chunks: im.st.Chunks, Records: im.records, Bytes: im.bytes, Signed: im.signed, ModelMatches: true}
	want, err := k.eng.wanted(ctx, k.space)
	if err != nil {
		return nil, err
	}
	if pinned := k.eng.checkPinned(im.st, want); pinned != nil {
		out.ModelMatches, out.Message = false, pinned.Error()
	}
	return out, nil
}

// importedDoc is what an import remembers of a document between its records.
type importedDoc struct {
	gen     uint64
	created uint64
	chunks  int
}

type importer struct {
	ctx     context.Context
	k       *KB
	st      kbState
	docs    map[docKey]importedDoc
	signed  bool
	records int
	bytes   int64
	waiting bool // profiles are still to be made

	kind    byte // of the record before
	before  []byte
	group   []importedRecord
	pending int // bytes of group
}

type importedRecord struct {
	kind       byte
	key, value []byte
}

// look reads the whole file and writes nothing.
func (im *importer) look(src io.Reader, size int64, signer ed25519.PublicKey) (Portable, error) {
	im.st = kbState{Documents: map[Status]int{}}
	p, in, err := readPortable(im.ctx, src, size, im.see)
	if err != nil {
		return p, err
	}
	if signer != nil && !signer.Equal(in.Signer()) {
		return p, sealed.ErrSignature
	}
	if len(im.docs) != p.Documents {
		return p, notPortable("%d documents, and says %d", len(im.docs), p.Documents)
	}
	for _, d := range im.docs {
		if d.gen > p.Versions {
			return p, notPortable("a version that was never given out")
		}
	}
	im.signed = in.Signer() != nil
	im.waiting = p.ProfilesWaiting
	im.st.Embedder, im.st.Dim, im.st.HandBytes = p.Embedder, p.Dim, p.HandBytes
	im.st.Generation, im.st.Versions = max(1, p.Generation), p.Versions
	im.st.TouchedFrom = im.st.Generation + 1 // a copy from before has everything to read
	return p, nil
}

// see counts a record and refuses one that no export writes. What the records say of
// each other is left to the check of the stored ones.
func (im *importer) see(kind byte, key, value []byte) error {
	at := slices.Index(portableKinds, kind)
	switch last := slices.Index(portableKinds, im.kind); {
	case at < 0:
		return notPortable("a record of kind %q", kind)
	case at < last || at == last && bytes.Compare(key, im.before) <= 0:
		return notPortable("records out of their order")
	}
	im.kind, im.before = kind, append(im.before[:0], key...)
	im.records++
	im.bytes += int64(len(key) + len(value))
	switch kind {
	case kindDocument:
		return im.seeDocument(key, value)
	case kindContent, kindText, kindChunk, kindVector, kindContribution:
		ref, err := parseChunkKey(key)
		if err != nil {
			return err
		}
		if d, ok := im.docs[ref.doc]; !ok || d.gen != ref.gen {
			return notPortable("records of a document that is not there")
		}
	case kindProfile, kindSummary, kindEdit:
		if len(key) != 17 {
			return notPortable("a key of %d bytes of kind %c", len(key), kind)
		}
	case kindAlias:
		im.st.Aliases++
	case kindAnswer:
		if len(key) != 32 || len(value) < 8 {
			return notPortable("an unreadable stored answer")
		}
		im.st.AnswerBytes += int64(len(value) - 8)
	case kindAnswerUse:
		if len(key) != 56 || len(value) != 0 {
			return notPortable("an unreadable use of a stored answer")
		}
		if d, ok := im.docs[docKey(key[32:48])]; !ok || d.gen != binary.BigEndian.Uint64(key[48:]) {
			return notPortable("answers of a document that is not there")
		}
	}
	if kind == kindEdit {
		im.st.Edits++
	}
	return nil
}

func (im *importer) seeDocument(key, value []byte) error {
	var d documentRecord
	if err := unmarshalRecord("document", value, &d); err != nil {
		return err
	}
	if len(key) != len(docKey{}) || keyOf(d.ID) != docKey(key) {
		return notPortable("a document under another one's key")
	}
	rest := d
	rest.settle()
	if d.Visible == 0 || d.Status != rest.Status || d.Pending != 0 || d.JobSeq != 0 || d.Reserved != 0 || d.Chunks < 0 || d.Names < 0 || d.Relations < 0 || d.Length < 0 {
		return notPortable("a document that is not done")
	}
	im.docs[docKey(key)] = importedDoc{gen: d.Visible, created: d.created(), chunks: d.Chunks}
	im.st.Documents[d.Status]++
	im.st.Chunks += d.Chunks
	im.st.Named.add(d.Names, d.Relations)
	im.st.Bytes += int64(d.Length)
	return nil
}

// begin takes an empty knowledge base for the import: from here it is closed to
// everybody until it is finished or cleared.
func (im *importer) begin() error {
	var left bool // by an import that was interrupted
	err := im.k.space.View(im.ctx, func(tx *tenancy.Tx) error {
		st, err := readState(tx)
		left = st.Importing != nil
		if left {
			return nil
		}
		if err == nil && (st.Versions != 0 || st.Generation != 0) {
			return fmt.Errorf("%w: the knowledge base is not new, an import needs one that never held anything", ErrState)
		}
		return err
	})
	if err == nil && left {
		err = im.clear(im.ctx)
	}
	if err != nil {
		return err
	}
	return im.k.space.Commit(im.ctx, func(tx *tenancy.Tx) error {
		st, err := readState(tx)
		if err == nil && (st.Versions != 0 || st.Generation != 0) {
			err = fmt.Errorf("%w: the knowledge base is not new any more", ErrState)
		}
		if err != nil {
			return err
		}
		if err := tx.AdoptCounts(st.documents); err != nil {
			return err
		}
		if err := tx.CountDocuments(int64(len(im.docs))); err != nil {
			return err
		}
		if err := tx.CheckStorage(-im.bytes); err != nil {
			return err
		}
		// By the sums over documents, which count a name of several more than once: how
		// many there are is not known before all of them are in memory.
		if err := im.st.Named.over(tx, nameCount{}); err != nil {
			return err
		}
		st.Importing = &importing{Documents: int64(len(im.docs))}
		return tx.Set(kindState, nil, marshalRecord(&st))
	})
}

// store reads the file again, writes its records and opens the knowledge base.
func (im *importer) store(src io.Reader, size int64) error {
	if _, _, err := readPortable(im.ctx, src, size, im.take); err != nil {
		return err
	}
	if err := im.flush(); err != nil {
		return err
	}
	im.st.Importing = &importing{Documents: int64(len(im.docs))}
	err := im.k.space.Commit(im.ctx, func(tx *tenancy.Tx) error { return tx.Set(kindState, nil, marshalRecord(&im.st)) })
	if err != nil {
		return err
	}
	var faults []string
	_, err = checkSpace(im.ctx, im.k.space, nil, true, func(s string) {
		if len(faults) < 3 {
			faults = append(faults, s)
		}
	})
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return badField("body", fmt.Sprintf("%v: %q", errPortable, faults))
	}
	var c *change
	err = im.k.space.Commit(im.ctx, func(tx *tenancy.Tx) error {
		c = &change{tx: tx, st: im.st, now: im.k.eng.now()}
		c.st.Importing = nil
		if im.waiting {
			if err := c.wantProfiles(); err != nil {
				return err
			}
		}
		if err := tx.Audit("kb.import", "kb", im.k.space.KBID(), map[string]string{"documents": fmt.Sprint(len(im.docs))}); err != nil {
			return err
		}
		return tx.Set(kindState, nil, marshalRecord(&c.st))
	})
	if err != nil {
		return err
	}
	im.st = c.st
	for _, ref := range c.sweeps {
		im.k.eng.queue.push(ref)
	}
	return nil
}

// take stores a record with what follows from it.
func (im *importer) take(kind byte, key, value []byte) error {
	if err := im.put(kind, key, value); err != nil {
		return err
	}
	switch kind {
	case kindDocument:
		var d documentRecord
		if err := unmarshalRecord("document", value, &d); err != nil {
			return err
		}
		for _, r := range d.entries(docKey(key)) {
			if err := im.put(r.kind, r.key, r.value); err != nil {
				return err
			}
		}
	case kindAnswer:
		return im.put(kindAnswerAge, append(bytes.Clone(value[:8]), key...), nil)
	case kindAnswerUse:
		v := version{docKey(key[32:48]), binary.BigEndian.Uint64(key[48:])}
		return im.put(kindAnswerDoc, usePrefix(v, answerKey(key[:32])), nil)
	}
	return nil
}

// importBatch is how many records one transaction of an import writes.
const importBatch = 8000

func (im *importer) put(kind byte, key, value []byte) error {
	if im.pending+len(value) > commitBytes || len(im.group) >= importBatch {
		if err := im.flush(); err != nil {
			return err
		}
	}
	im.group = append(im.group, importedRecord{kind, bytes.Clone(key), bytes.Clone(value)})
	im.pending += len(key) + len(value) + 64
	return nil
}

func (im *importer) flush() error {
	if len(im.group) == 0 {
		return nil
	}
	err := im.k.space.Commit(im.ctx, func(tx *tenancy.Tx) error {
		for _, r := range im.group {
			if err := tx.Set(r.kind, r.key, r.value); err != nil {
				return err
			}
		}
		return tx.CheckStorage(0)
	})
	im.group, im.pending = im.group[:0], 0
	return err
}

// clear takes away what an import has stored, its mark last.
func (im *importer) clear(ctx context.Context) error {
	kinds := append(slices.Clone(portableKinds), kindList, kindTrack, kindVisible, kindAnswerAge, kindAnswerDoc)
	for _, kind := range kinds {
		for more := true; more; {
			err := im.k.space.Commit(ctx, func(tx *tenancy.Tx) error {
				var keys [][]byte
				err := tx.Scan(kind, tenancy.Scan{KeysOnly: true, Limit: importBatch}, func(rest, _ []byte) error {
					keys = append(keys, bytes.Clone(rest))
					return nil
				})
				for _, key := range keys {
					err = errors.Join(err, tx.Delete(kind, key))
				}
				more = len(keys) > 0
				return err
			})
			if err != nil {
				return fmt.Errorf("clear what was imported: %w", err)
			}
		}
	}
	return im.k.space.Commit(ctx, func(tx *tenancy.Tx) error {
		st, err := readState(tx)
		if st.Importing == nil {
			return err
		}
		if err := tx.CountDocuments(-st.Importing.Documents); err != nil {
			return err
		}
		return tx.Delete(kindState, nil)
	})
}
