package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"alcove/tenancy"
)

// maxTouched is how many visible changes kindTouched remembers; a resident copy
// further behind compares every document instead. touchedSlack is how far the
// list may outgrow it before the oldest entries go, many at a time.
const (
	maxTouched   = 10_000
	touchedSlack = 1_000
)

// dropInline is how many records a version may have to be removed in the very
// transaction that made it invisible; a larger one is left to a sweep job.
const dropInline = 128

// chunkID is a chunk's public id: the document's id and the ordinal.
func chunkID(docID string, ord uint32) string {
	var b [128]byte
	return string(appendChunkID(b[:0], docID, ord))
}

func appendChunkID(b []byte, docID string, ord uint32) []byte {
	var digits [10]byte
	d := strconv.AppendUint(digits[:0], uint64(ord), 10)
	b = append(append(b, docID...), "-chunk-"...)
	return append(append(b, "000"[min(3, len(d)):]...), d...)
}

// parseChunkID takes a public chunk id apart. ok is false for anything that
// chunkID does not write.
func parseChunkID(id string) (docID string, ord uint32, ok bool) {
	i := strings.LastIndex(id, "-chunk-")
	if i < 1 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(id[i+len("-chunk-"):], 10, 32)
	if err != nil || chunkID(id[:i], uint32(n)) != id {
		return "", 0, false
	}
	return id[:i], uint32(n), true
}

// readState returns the state of a knowledge base; one that never had a
// document has the zero state. One that is not imported to its end is returned with
// an ErrState.
func readState(tx *tenancy.Tx) (kbState, error) {
	st := kbState{Documents: map[Status]int{}}
	b, err := tx.Get(kindState, nil)
	if errors.Is(err, tenancy.ErrNotFound) {
		return st, nil
	}
	if err != nil {
		return st, fmt.Errorf("read state: %w", err)
	}
	if err := unmarshalRecord("state", b, &st); err != nil {
		return st, err
	}
	if st.Importing != nil {
		return st, errImporting
	}
	return st, nil
}

// readDocument returns a document's record, ErrNotFound when there is none.
func readDocument(tx *tenancy.Tx, k docKey) (*documentRecord, error) {
	b, err := tx.Get(kindDocument, k[:])
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, fmt.Errorf("document %x: %w", k, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read document %x: %w", k, err)
	}
	var d documentRecord
	return &d, unmarshalRecord("document", b, &d)
}

// visibleDoc is one line of the table of what readers see.
type visibleDoc struct {
	version
	chunks int
}

func parseVisible(rest, value []byte) (visibleDoc, error) {
	if len(rest) != 16 || len(value) != 12 {
		return visibleDoc{}, fmt.Errorf("%w: visible record of %d and %d bytes", ErrDamaged, len(rest), len(value))
	}
	return visibleDoc{
		version: version{doc: docKey(rest), gen: binary.BigEndian.Uint64(value)},
		chunks:  int(binary.BigEndian.Uint32(value[8:])),
	}, nil
}

// visibleVersions is the table of what readers see, in key order.
func visibleVersions(tx *tenancy.Tx) (out []visibleDoc, err error) {
	err = tx.Scan(kindVisible, tenancy.Scan{}, func(rest, value []byte) error {
		v, err := parseVisible(rest, value)
		out = append(out, v)
		return err
	})
	return out, err
}

func visibleValue(gen uint64, chunks int) []byte {
	return binary.BigEndian.AppendUint32(key64(gen), uint32(chunks))
}

// readVisible returns the version of one document that readers see and its
// number of chunks, tenancy.ErrNotFound when they see none.
func readVisible(tx *tenancy.Tx, k docKey) (version, int, error) {
	b, err := tx.Get(kindVisible, k[:])
	if err != nil {
		return version{}, 0, err
	}
	v, err := parseVisible(k[:], b)
	return v.version, v.chunks, err
}

// touchedSince lists the documents that changed visibly after generation gen,
// each once, and the generation they bring a copy to. ok is false when the list
// does not go back that far.
func touchedSince(tx *tenancy.Tx, gen uint64) (docs []docKey, now uint64, ok bool, err error) {
	st, err := readState(tx)
	if err != nil {
		return nil, 0, false, err
	}
	if gen+1 < st.TouchedFrom {
		return nil, st.Generation, false, nil
	}
	seen := map[docKey]bool{}
	err = tx.Scan(kindTouched, tenancy.Scan{After: key64(gen)}, func(rest, value []byte) error {
		if len(rest) != 8 || len(value) != 16 {
			return fmt.Errorf("%w: touched record of %d and %d bytes", ErrDamaged, len(rest), len(value))
		}
		if k := docKey(value); !seen[k] {
			seen[k] = true
			docs = append(docs, k)
		}
		return nil
	})
	return docs, st.Generation, true, err
}

func key64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// statusCode is a status inside a kindList key; 0 lists every document.
var statusCode = map[Status]byte{
	"": 0, StatusPending: 1, StatusProcessing: 2, StatusProcessed: 3, StatusFailed: 4, StatusCancelled: 5, StatusPartial: 6,
}

func listKey(s Status, d *documentRecord, k docKey) []byte {
	b := make([]byte, 0, 25)
	b = append(b, statusCode[s])
	b = binary.BigEndian.AppendUint64(b, d.created())
	return append(b, k[:]...)
}

func trackPrefix(track string) []byte {
	b := make([]byte, 0, 1+len(track)+16)
	b = append(b, byte(len(track)))
	return append(b, track...)
}

func trackKey(track string, k docKey) []byte { return append(trackPrefix(track), k[:]...) }

// change is one transaction on a knowledge base. The state is read before and
// written after the act, so counters cannot be forgotten or written twice.
type change struct {
	tx  *tenancy.Tx
	st  kbState
	now time.Time

	visible bool // something that readers see changed
	sweeps  []tenancy.JobRef
}

// change commits what f does. A resident copy is told when readers see
// something else afterwards, and sweeps that f asked for are queued.
func (e *Engine) change(ctx context.Context, s *tenancy.Space, f func(*change) error) error {
	var c *change
	err := s.Commit(ctx, func(tx *tenancy.Tx) error {
		st, err := readState(tx)
		if err != nil {
			return err
		}
		if err := tx.AdoptCounts(st.documents); err != nil {
			return err
		}
		c = &change{tx: tx, st: st, now: e.now()}
		if err := f(c); err != nil {
			return err
		}
		if c.visible && (!e.o.Embedder.Pure() || e.o.Chatter != nil) {
			if err := c.wantProfiles(); err != nil {
				return err
			}
		}
		return tx.Set(kindState, nil, marshalRecord(&c.st))
	})
	if err != nil {
		return err
	}
	if c.visible {
		e.pool.changed(s)
	}
	for _, ref := range c.sweeps {
		e.queue.push(ref)
	}
	return nil
}

// now is the time to the nanosecond without what a record does not keep.
func (e *Engine) now() time.Time { return e.o.Now().UTC().Round(0) }

// begin gives out the number of a new version.
func (c *change) begin() uint64 {
	c.st.Versions++
	return c.st.Versions
}

// put writes a document's record.
func (c *change) put(k docKey, d *documentRecord) error {
	d.Updated = c.now
	return c.tx.Set(kindDocument, k[:], marshalRecord(d))
}

// add takes a new document into the lists and counters.
func (c *change) add(k docKey, d *documentRecord) error {
	if err := c.tx.CountDocuments(1); err != nil {
		return err
	}
	c.st.Documents[d.Status]++
	c.st.Bytes += int64(d.Length)
	return c.set(
		entry{kindList, listKey("", d, k)},
		entry{kindList, listKey(d.Status, d, k)},
		entry{kindTrack, trackKey(d.TrackID, k)},
	)
}

type entry struct {
	kind byte
	rest []byte
}

func (c *change) set(entries ...entry) error {
	for _, e := range entries {
		if err := c.tx.Set(e.kind, e.rest, nil); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) unset(entries ...entry) error {
	for _, e := range entries {
		if err := c.tx.Delete(e.kind, e.rest); err != nil {
			return err
		}
	}
	return nil
}

// status moves a document to another state. The caller puts the record.
func (c *change) status(k docKey, d *documentRecord, s Status) error {
	if d.Status == s {
		return nil
	}
	old := listKey(d.Status, d, k)
	c.count(d.Status, -1)
	c.count(s, 1)
	d.Status = s
	if err := c.unset(entry{kindList, old}); err != nil {
		return err
	}
	return c.set(entry{kindList, listKey(s, d, k)})
}

func (c *change) count(s Status, n int) {
	if c.st.Documents[s] += n; c.st.Documents[s] == 0 {
		delete(c.st.Documents, s)
	}
}

// retrack moves a document to the track of the call that changed it last.
func (c *change) retrack(k docKey, d *documentRecord, track string) error {
	if err := c.unset(entry{kindTrack, trackKey(d.TrackID, k)}); err != nil {
		return err
	}
	d.TrackID = track
	return c.set(entry{kindTrack, trackKey(track, k)})
}

// touch notes a visible change of a document.
func (c *change) touch(k docKey) error {
	c.visible = true
	c.st.Generation++
	if c.st.TouchedFrom == 0 {
		c.st.TouchedFrom = c.st.Generation
	}
	if err := c.tx.Set(kindTouched, key64(c.st.Generation), k[:]); err != nil {
		return err
	}
	if c.st.Generation-c.st.TouchedFrom < maxTouched+touchedSlack {
		return nil
	}
	from := c.st.Generation - maxTouched + 1
	for g := c.st.TouchedFrom; g < from; g++ {
		if err := c.tx.Delete(kindTouched, key64(g)); err != nil {
			return err
		}
	}
	c.st.TouchedFrom = from
	return nil
}

// show makes a version the one that readers see.
func (c *change) show(v version, chunks int) error {
	if err := c.tx.Set(kindVisible, v.doc[:], visibleValue(v.gen, chunks)); err != nil {
		return err
	}
	c.st.Chunks += chunks
	return c.touch(v.doc)
}

// remove takes a document out of everything but the records of its versions,
// which the caller drops.
func (c *change) remove(k docKey, d *documentRecord) error {
	if err := c.tx.CountDocuments(-1); err != nil {
		return err
	}
	c.release(d)
	c.count(d.Status, -1)
	c.st.Bytes -= int64(d.Length)
	if err := c.unset(
		entry{kindDocument, k[:]},
		entry{kindList, listKey("", d, k)},
		entry{kindList, listKey(d.Status, d, k)},
		entry{kindTrack, trackKey(d.TrackID, k)},
	); err != nil {
		return err
	}
	if d.Visible == 0 {
		return nil
	}
	c.st.Chunks -= d.Chunks
	c.st.Named.add(-d.Names, -d.Relations)
	if err := c.unset(entry{kindVisible, k[:]}); err != nil {
		return err
	}
	return c.touch(k)
}

// drop removes the records of a version that nothing names any more: here when
// they are few, else by a sweep job that joins this transaction.
func (c *change) drop(v version) error {
	if v.gen == 0 {
		return nil
	}
	n, err := c.sweep(v, dropInline)
	if err != nil || n < dropInline {
		return err
	}
	ref, err := c.addJob(job{Sweep: []jobVersion{{v.doc, v.gen}}})
	c.sweeps = append(c.sweeps, ref)
	return err
}

// sweep removes at most limit records of a version and returns how many went;
// fewer than limit means that none are left.
func (c *change) sweep(v version, limit int) (n int, err error) {
	return c.sweepKinds(v, limit, kindContent, kindText, kindChunk, kindVector, kindVectorOdd, kindContribution, kindAnswerDoc)
}

// sweepKinds is sweep of some kinds of record; the zero version stands for all.
func (c *change) sweepKinds(v version, limit int, kinds ...byte) (n int, err error) {
	var prefix []byte
	if v != (version{}) {
		prefix = v.prefix()
	}
	for _, kind := range kinds {
		if n >= limit {
			break
		}
		room, cost := limit-n, 1
		if kind == kindAnswerDoc {
			cost = answerRecords
			room = max(1, room/cost)
		}
		var keys [][]byte
		err := c.tx.Scan(kind, tenancy.Scan{Prefix: prefix, KeysOnly: true, Limit: room}, func(rest, _ []byte) error {
			keys = append(keys, bytes.Clone(rest))
			return nil
		})
		if err != nil {
			return n, err
		}
		for _, k := range keys {
			if kind == kindAnswerDoc {
				err = c.releaseAnswer(v, k)
			} else {
				err = c.tx.Delete(kind, k)
			}
			if err != nil {
				return n, err
			}
		}
		if n += len(keys) * cost; len(keys) == room {
			return max(n, limit), nil // there may be more
		}
	}
	return n, nil
}
