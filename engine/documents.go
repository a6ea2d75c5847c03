package engine

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"alcove/tenancy"
)

const (
	defaultPage = 50
	maxPage     = 200
	// maxJobsShown bounds the list of unfinished jobs.
	maxJobsShown = 1000
	maxTrackLen  = 128
)

// show is the record as readers see it.
func (d *documentRecord) show() *Document {
	out := &Document{
		DocID: d.ID, FilePath: d.FilePath, Status: d.Status, ContentSummary: d.Summary, ContentLength: d.Length,
		ContentType: d.Media, TextLength: d.TextLength, Original: d.made() && d.Keep, Warnings: d.Warnings,
		ContentHash: d.Hash, ChunksCount: d.Chunks, ChunksDone: d.Chunks, Entities: d.Entities, Relations: d.Relations,
		Metadata: d.Metadata, TrackID: d.TrackID, ErrorMsg: d.Error, CreatedAt: d.Created, UpdatedAt: d.Updated, Tag: d.tag(),
	}
	out.FailedCount, out.Dropped, out.Truncated = d.FailedChunks, d.Dropped, d.Truncated
	for _, f := range d.Failed {
		out.FailedChunks = append(out.FailedChunks, FailedChunk{ChunkID: chunkID(d.ID, f.Ord), Order: int(f.Ord), Error: f.Cause})
	}
	out.ChunksDone -= d.FailedChunks
	if d.Pending != 0 {
		out.ChunksDone = d.PendingDone
		if d.Visible == 0 {
			out.ChunksCount = d.PendingChunks
		}
	}
	if out.Metadata == nil {
		out.Metadata = map[string]any{}
	}
	return out
}

// tag is Document.Tag.
func (d *documentRecord) tag() string {
	f := d.next()
	return strconv.FormatUint(print(f.Kind, f.Hash, f.FilePath, f.Name, string(metadataBytes(f.Metadata)),
		strconv.FormatBool(f.Keep), strconv.FormatBool(f.MainText)), 16)
}

// unchanged is ErrChanged unless a tag is one of those that it may be; of none it may
// be any.
func unchanged(now string, may []string) error {
	if len(may) == 0 || slices.Contains(may, now) {
		return nil
	}
	return fmt.Errorf("%w: the tag is %q now", ErrChanged, now)
}

// Document returns one document, ErrNotFound when there is none.
func (r *Reader) Document(ctx context.Context, id string) (*Document, error) {
	d, err := r.document(ctx, id)
	if err != nil {
		return nil, err
	}
	return d.show(), nil
}

func (r *Reader) document(ctx context.Context, id string) (d *documentRecord, err error) {
	err = r.space.View(ctx, func(tx *tenancy.Tx) (err error) {
		if _, err := readState(tx); err != nil {
			return err
		}
		d, err = readDocument(tx, keyOf(id))
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("document %s: %w", id, ErrNotFound)
	}
	return d, err
}

// limitOf is the page size for a requested limit.
func limitOf(limit int) (int, error) {
	switch {
	case limit == 0:
		return defaultPage, nil
	case limit < 0 || limit > maxPage:
		return 0, badField("limit", fmt.Sprintf("is %d; 1 to %d are allowed", limit, maxPage))
	}
	return limit, nil
}

// Documents returns a page of documents in the order in which they were accepted.
func (r *Reader) Documents(ctx context.Context, q DocumentsRequest) (*DocumentsPage, error) {
	limit, err := limitOf(q.Limit)
	if err != nil {
		return nil, err
	}
	code, ok := statusCode[q.Status]
	if !ok {
		return nil, badField("status", fmt.Sprintf("%q is not one of pending, processing, processed, partial, failed, cancelled", q.Status))
	}
	scan := tenancy.Scan{Prefix: []byte{code}, KeysOnly: true, Limit: limit + 1}
	if q.Cursor != "" {
		after, err := base64.RawURLEncoding.DecodeString(q.Cursor)
		if err != nil || len(after) != 24 {
			return nil, badField("cursor", "is not one that this route gave")
		}
		scan.After = append([]byte{code}, after...)
	}
	page := &DocumentsPage{Documents: []Document{}}
	err = r.space.View(ctx, func(tx *tenancy.Tx) error {
		if _, err := readState(tx); err != nil {
			return err
		}
		keys, err := listed(tx, scan)
		if err != nil {
			return err
		}
		if len(keys) > limit {
			keys = keys[:limit]
			page.NextCursor = base64.RawURLEncoding.EncodeToString(keys[limit-1][1:])
		}
		for _, k := range keys {
			d, err := readDocument(tx, docKey(k[9:]))
			if err != nil {
				return fmt.Errorf("%w: listed %v", ErrDamaged, err)
			}
			page.Documents = append(page.Documents, *d.show())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// listed returns the keys of kindList that a scan finds.
func listed(tx *tenancy.Tx, scan tenancy.Scan) (keys [][25]byte, err error) {
	err = tx.Scan(kindList, scan, func(rest, _ []byte) error {
		if len(rest) != 25 {
			return fmt.Errorf("%w: list key of %d bytes", ErrDamaged, len(rest))
		}
		keys = append(keys, [25]byte(rest))
		return nil
	})
	return keys, err
}

// Chunks returns a page of the chunks of a document in order; none while
// readers see nothing of it. The cursor is the ordinal to go on from. It
// returns ErrNotFound when there is no such document.
func (r *Reader) Chunks(ctx context.Context, id, cursor string, limit int) (*ChunksPage, error) {
	limit, err := limitOf(limit)
	if err != nil {
		return nil, err
	}
	from := uint64(0)
	if cursor != "" {
		if from, err = strconv.ParseUint(cursor, 10, 31); err != nil {
			return nil, badField("cursor", "is not one that this route gave")
		}
	}
	page := &ChunksPage{Chunks: []ChunkInfo{}}
	err = r.space.View(ctx, func(tx *tenancy.Tx) error {
		d, err := readDocument(tx, keyOf(id))
		if err != nil {
			return fmt.Errorf("document %s: %w", id, err)
		}
		v := version{keyOf(id), d.Visible}
		for ord := int(from); ord < d.Chunks && len(page.Chunks) < limit; ord++ {
			b, err := tx.Get(kindChunk, v.key(uint32(ord)))
			if err != nil {
				return fmt.Errorf("chunk %d: %w", ord, err)
			}
			c, err := decodeChunk(b)
			if err != nil {
				return fmt.Errorf("chunk %d: %w", ord, err)
			}
			page.Chunks = append(page.Chunks, ChunkInfo{
				ChunkID: chunkID(id, uint32(ord)), Order: ord, Content: c.Text, Tokens: c.Tokens,
				Start: c.Start, End: c.End, Place: c.Place, Heading: c.Heading,
			})
		}
		if next := int(from) + len(page.Chunks); next < d.Chunks && len(page.Chunks) > 0 {
			page.NextCursor = strconv.Itoa(next)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// Track returns what became of the documents of one call, as far as no later
// call changed them. ErrNotFound when nothing of it is left.
func (r *Reader) Track(ctx context.Context, id string) (*Track, error) {
	if id == "" || len(id) > maxTrackLen {
		return nil, fmt.Errorf("track: %w", ErrNotFound)
	}
	t := &Track{TrackID: id, Documents: []Document{}, StatusSummary: map[Status]int{}}
	prefix := trackPrefix(id)
	err := r.space.View(ctx, func(tx *tenancy.Tx) error {
		var keys []docKey
		// A call has at most MaxTexts documents, so a track has.
		err := tx.Scan(kindTrack, tenancy.Scan{Prefix: prefix, KeysOnly: true, Limit: r.eng.o.MaxTexts}, func(rest, _ []byte) error {
			if len(rest) != len(prefix)+16 {
				return fmt.Errorf("%w: track key of %d bytes", ErrDamaged, len(rest))
			}
			keys = append(keys, docKey(rest[len(prefix):]))
			return nil
		})
		if err != nil {
			return err
		}
		for _, k := range keys {
			d, err := readDocument(tx, k)
			if err != nil {
				return fmt.Errorf("%w: tracked %v", ErrDamaged, err)
			}
			t.Documents = append(t.Documents, *d.show())
			t.StatusSummary[d.Status]++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(t.Documents, func(a, b Document) int { return a.CreatedAt.Compare(b.CreatedAt) })
	if t.TotalCount = len(t.Documents); t.TotalCount == 0 {
		return nil, fmt.Errorf("track %s: %w", id, ErrNotFound)
	}
	return t, nil
}

// StatusCounts returns how many documents are in each state, and "all". It costs
// the same for any number of documents.
func (r *Reader) StatusCounts(ctx context.Context) (map[string]int, error) {
	var st kbState
	err := r.space.View(ctx, func(tx *tenancy.Tx) (err error) {
		st, err = readState(tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := map[string]int{"all": 0}
	for s := range statusCode {
		if s != "" {
			out[string(s)] = st.Documents[s]
			out["all"] += st.Documents[s]
		}
	}
	return out, nil
}

// Jobs returns the unfinished work on documents, first what has begun, at most 1000.
func (r *Reader) Jobs(ctx context.Context) ([]JobInfo, error) {
	var docs []*documentRecord
	var st kbState
	err := r.space.View(ctx, func(tx *tenancy.Tx) (err error) {
		if st, err = readState(tx); err != nil {
			return err
		}
		for _, s := range []Status{StatusProcessing, StatusPending} {
			keys, err := listed(tx, tenancy.Scan{Prefix: []byte{statusCode[s]}, KeysOnly: true, Limit: maxJobsShown - len(docs)})
			if err != nil {
				return err
			}
			for _, k := range keys {
				d, err := readDocument(tx, docKey(k[9:]))
				if err != nil {
					return fmt.Errorf("%w: listed %v", ErrDamaged, err)
				}
				docs = append(docs, d)
			}
			if len(docs) == maxJobsShown {
				return nil // a Limit of 0 would be none at all
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	q := r.eng.queue
	q.mu.Lock()
	hands := maps.Clone(q.running)
	q.mu.Unlock()
	out := make([]JobInfo, 0, len(docs))
	for _, d := range docs {
		j := JobInfo{
			DocID: d.ID, FilePath: d.next().FilePath, TrackID: d.TrackID, State: "queued",
			ChunksDone: d.PendingDone, Chunks: d.PendingChunks, ErrorMsg: d.Error, CreatedAt: d.Created,
		}
		if d.Pending == 0 { // failed chunks are read again
			j.ChunksDone, j.Chunks = d.Chunks-d.FailedChunks, d.Chunks
		}
		if h := hands[d.JobSeq]; h != nil {
			j.State = "running"
			q.mu.Lock()
			if h.waiting {
				j.State = "waiting"
			}
			j.Attempts, j.ErrorMsg = h.attempts, h.lastErr
			q.mu.Unlock()
		} else if st.changing() {
			j.State, j.ErrorMsg = "waiting", errChanging.Error()
		}
		out = append(out, j)
	}
	return out, nil
}
