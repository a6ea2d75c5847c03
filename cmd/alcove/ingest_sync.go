package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"

	"alcove/engine"
)

// syncer makes the documents of a knowledge base those of its folders. One pass at
// a time.
type syncer struct {
	client  *client
	kb      string // path of the knowledge base
	o       ingestOptions
	folders []folder
	bar     func(total int, what string) *progressbar.ProgressBar // nil: nobody looks

	// seen is by path what was in the knowledge base and in the folder after the
	// pass before: such a file is not read again.
	seen map[string]seenFile
}

type seenFile struct {
	stamp fileStamp
	sum   string
}

// folderMark is the metadata by which the documents of a folder are known: without
// it a document is somebody else's and is never deleted.
const folderMark = "ingested_from"

// mark is the folderMark of the documents of a pass.
func (s *syncer) mark() string { return cmp.Or(s.folders[0].prefix, "/") }

// statusPage is how many documents are listed at a time: the most a server gives.
const statusPage = 200

// planned is one file and what has to be done with it.
type planned struct {
	folder
	fileEntry
	id string
}

// pass lists the folders and the knowledge base, sends what differs, deletes what is
// gone if asked to, and waits until all that was sent has been worked on. The report
// is there with an error, too, and says how far it came.
func (s *syncer) pass(ctx context.Context) (*passReport, error) {
	start := time.Now()
	r := &passReport{DryRun: s.o.dryRun}
	defer func() { r.Seconds = time.Since(start).Seconds() }()
	files, err := s.list(ctx, r)
	if err != nil {
		return r, err
	}
	stored, err := s.stored(ctx)
	if err != nil {
		return r, err
	}
	sent, err := s.send(ctx, files, stored, r)
	if err != nil {
		return r, err
	}
	if s.o.delete || s.o.watch {
		if err := s.deleteGone(ctx, files, stored, r); err != nil {
			return r, err
		}
	}
	return r, s.wait(ctx, sent, r)
}

// list returns the files of all folders by the ids of their documents.
func (s *syncer) list(ctx context.Context, r *passReport) (map[string]planned, error) {
	out := map[string]planned{}
	for _, f := range s.folders {
		files, skipped, err := f.list(ctx, s.o.maxFiles-len(out))
		if errors.Is(err, errTooManyFiles) {
			return nil, fmt.Errorf("more than %d files: narrow it down with --include and --exclude, or raise --max-files", s.o.maxFiles)
		}
		if err != nil {
			return nil, err
		}
		r.Skipped = append(r.Skipped, skipped...)
		for _, e := range files {
			id := documentID(e.name)
			if other, twice := out[id]; twice {
				return nil, fmt.Errorf("%s stands in %s and in %s: ingest them one by one, each with a --prefix of its own", e.name, other.root, f.root)
			}
			out[id] = planned{f, e, id}
		}
	}
	return out, nil
}

// storedDocument is what is known of a document of the knowledge base.
type storedDocument struct {
	path, sum string
	ours      bool // it came from this folder
	status    engine.Status
}

// stored lists the documents of the knowledge base by their ids.
func (s *syncer) stored(ctx context.Context) (map[string]storedDocument, error) {
	out := map[string]storedDocument{}
	err := s.each(ctx, "", func(d engine.Document) {
		out[d.DocID] = storedDocument{d.FilePath, d.ContentHash, d.Metadata[folderMark] == s.mark(), d.Status}
	})
	if err != nil {
		return nil, fmt.Errorf("list the documents: %w", err)
	}
	return out, nil
}

// each calls f for the documents in a state, "" for all.
func (s *syncer) each(ctx context.Context, status engine.Status, f func(engine.Document)) error {
	q := url.Values{"limit": {fmt.Sprint(statusPage)}}
	if status != "" {
		q.Set("status", string(status))
	}
	for {
		var page engine.DocumentsPage
		if err := s.again(ctx, func() error { return s.client.call(ctx, "GET", s.kb+"/documents?"+q.Encode(), nil, &page) }); err != nil {
			return err
		}
		for _, d := range page.Documents {
			f(d)
		}
		if page.NextCursor == "" {
			return nil
		}
		q.Set("cursor", page.NextCursor)
	}
}

// send adds and replaces what differs, and returns the ids of the documents that are
// to be waited for.
func (s *syncer) send(ctx context.Context, files map[string]planned, stored map[string]storedDocument, r *passReport) (map[string]string, error) {
	var bar *progressbar.ProgressBar
	if s.bar != nil {
		bar = s.bar(len(files), "files")
		defer bar.Close() //nolint:errcheck // a bar that cannot be drawn is no reason to stop
	}
	sent := map[string]string{}
	var mu sync.Mutex // guards sent, r and s.seen
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.o.parallel)
	for _, id := range slices.SortedFunc(maps.Keys(files), func(a, b string) int { return strings.Compare(files[a].name, files[b].name) }) {
		p, there := files[id], stored[id]
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			mu.Lock()
			before, known := s.seen[p.name]
			mu.Unlock()
			result, sum := engine.ResultUnchanged, before.sum
			var err error
			// A file that is as the pass before left it and a document that is, too.
			if !known || before.stamp != p.stamp || before.sum != there.sum || !there.ours {
				result, sum, err = s.sendFile(ctx, p, there)
			}
			mu.Lock()
			defer mu.Unlock()
			if bar != nil {
				bar.Add(1) //nolint:errcheck // the same
			}
			return s.note(p, there, result, sum, err, sent, r)
		})
	}
	return sent, g.Wait()
}

// note enters what became of one file. A refusal of one file is its own; anything
// else ends the pass.
func (s *syncer) note(p planned, there storedDocument, result engine.Result, sum string, err error, sent map[string]string, r *passReport) error {
	var refusal *apiError
	switch {
	case errors.Is(err, fs.ErrNotExist): // gone since it was listed
		return nil
	case errors.As(err, &refusal) && (refusal.code == "UNSUPPORTED_FILE_TYPE" || refusal.status == http.StatusRequestEntityTooLarge):
		r.Skipped = append(r.Skipped, skippedFile{p.name, refusal.message})
		return nil
	case errors.As(err, &refusal) && refusal.status == http.StatusBadRequest:
		r.Failed = append(r.Failed, skippedFile{p.name, refusal.message})
		return nil
	case errors.As(err, &refusal), errors.Is(err, context.Canceled), errors.Is(err, errAway):
		return err
	case err != nil:
		r.Failed = append(r.Failed, skippedFile{p.name, err.Error()})
		return nil
	}
	s.seen[p.name] = seenFile{p.stamp, sum}
	switch {
	case result == engine.ResultUnchanged:
		r.Unchanged++
		if there.status != engine.StatusPending && there.status != engine.StatusProcessing {
			return nil
		}
	case result == resultRetried:
		r.Retried++
	case there.sum == "":
		r.Added++
	default:
		r.Changed++
	}
	sent[p.id] = p.name
	return nil
}

// sendFile makes the document of a file what the file holds.
func (s *syncer) sendFile(ctx context.Context, p planned, there storedDocument) (engine.Result, string, error) {
	data, sum, err := p.read(p.fileEntry)
	if err != nil {
		return "", "", err
	}
	if there.sum == sum && there.ours {
		return s.retry(ctx, p, there.status), sum, nil
	}
	if s.o.dryRun {
		return engine.ResultCreated, sum, nil
	}
	var a engine.Accepted
	err = s.again(ctx, func() error {
		if there.sum == "" {
			err := s.put(ctx, "POST", "/documents/add", p, data, &a)
			var refusal *apiError
			if !errors.As(err, &refusal) || refusal.status != http.StatusConflict {
				return err
			}
		}
		return s.put(ctx, "PUT", "/documents/"+p.id, p, data, &a)
	})
	if err != nil {
		return "", "", err
	}
	if len(a.Documents) != 1 {
		return "", "", fmt.Errorf("the server answered for %d documents", len(a.Documents))
	}
	return a.Documents[0].Result, sum, nil
}

// resultRetried is a document that was as it should be but for how it was read.
const resultRetried engine.Result = "retried"

// retry has a document that failed, or of which a part did, worked on again.
func (s *syncer) retry(ctx context.Context, p planned, status engine.Status) engine.Result {
	switch status {
	case engine.StatusFailed, engine.StatusPartial, engine.StatusCancelled:
	default:
		return engine.ResultUnchanged
	}
	if s.o.dryRun {
		return resultRetried
	}
	err := s.again(ctx, func() error { return s.client.call(ctx, "POST", s.kb+"/jobs/"+p.id+"/retry", nil, nil) })
	if err != nil { // what is wrong with it is told when it is waited for
		return engine.ResultUnchanged
	}
	return resultRetried
}

// put sends one file.
func (s *syncer) put(ctx context.Context, method, route string, p planned, data []byte, a *engine.Accepted) error {
	meta, err := json.Marshal(map[string]any{folderMark: s.mark()})
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, field := range [][2]string{{"id", p.id}, {"file_source", p.name}, {"metadata", string(meta)}} {
		if err := w.WriteField(field[0], field[1]); err != nil {
			return err
		}
	}
	part, err := w.CreateFormFile("file", path.Base(p.name))
	if err != nil {
		return err
	}
	if _, err := part.Write(data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return s.client.send(ctx, method, s.kb+route, w.FormDataContentType(), &b, a)
}

// deleteAtOnce is how many documents one call deletes.
const deleteAtOnce = 500

// deleteGone deletes the documents of the folder whose files are gone.
func (s *syncer) deleteGone(ctx context.Context, files map[string]planned, stored map[string]storedDocument, r *passReport) error {
	var gone []string
	for id, d := range stored {
		if _, there := files[id]; !there && d.ours {
			gone = append(gone, id)
		}
	}
	if len(gone) > 0 && len(files) == 0 && !s.o.allowEmpty {
		return fmt.Errorf("the folder is empty, and %d documents came from it: a folder that is not mounted looks like that. Nothing is deleted; --allow-empty deletes them", len(gone))
	}
	slices.Sort(gone)
	r.Deleted = len(gone)
	if s.o.dryRun {
		return nil
	}
	for batch := range slices.Chunk(gone, deleteAtOnce) {
		err := s.again(ctx, func() error {
			return s.client.call(ctx, "POST", s.kb+"/documents/delete", map[string]any{"doc_ids": batch}, nil)
		})
		if err != nil {
			return fmt.Errorf("delete: %w", err)
		}
		for _, id := range batch {
			delete(s.seen, stored[id].path)
		}
	}
	return nil
}

// statusPoll is how often the server is asked how far it has come.
const statusPoll = 500 * time.Millisecond

// wait waits until the documents sent have come to their ends, and enters those that
// failed.
func (s *syncer) wait(ctx context.Context, sent map[string]string, r *passReport) error {
	if s.o.dryRun || len(sent) == 0 {
		return nil
	}
	var bar *progressbar.ProgressBar
	if s.bar != nil {
		bar = s.bar(len(sent), "documents")
		defer bar.Close() //nolint:errcheck // a bar that cannot be drawn is no reason to stop
	}
	tick := time.NewTicker(statusPoll)
	defer tick.Stop()
	for {
		left := 0
		for _, status := range []engine.Status{engine.StatusPending, engine.StatusProcessing} {
			if err := s.each(ctx, status, func(d engine.Document) {
				if _, ours := sent[d.DocID]; ours {
					left++
				}
			}); err != nil {
				return fmt.Errorf("ask how far it has come: %w", err)
			}
		}
		if bar != nil {
			bar.Set(len(sent) - left) //nolint:errcheck // the same
		}
		if left == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d documents are still being worked on by the server: %w", left, ctx.Err())
		case <-tick.C:
		}
	}
	for _, status := range []engine.Status{engine.StatusFailed, engine.StatusPartial, engine.StatusCancelled} {
		if err := s.each(ctx, status, func(d engine.Document) {
			if name, ours := sent[d.DocID]; ours {
				r.Failed = append(r.Failed, skippedFile{name, string(status) + ": " + d.ErrorMsg})
			}
		}); err != nil {
			return fmt.Errorf("ask what failed: %w", err)
		}
	}
	return nil
}

// errAway says that a server was away or busy for longer than it is asked again.
var errAway = errors.New("gave up")

// again calls f until it succeeds, fails for good, or --retry-for is over. A server
// that says how long to wait is waited for as long.
func (s *syncer) again(ctx context.Context, f func() error) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := f()
		var refusal *apiError
		switch {
		case err == nil:
			return struct{}{}, nil
		case !errors.As(err, &refusal): // not answered at all
			return struct{}{}, fmt.Errorf("%w: %w", errAway, err)
		case refusal.status == http.StatusTooManyRequests && refusal.code != "QUOTA_EXCEEDED", refusal.status == http.StatusServiceUnavailable,
			refusal.status == http.StatusBadGateway, refusal.status == http.StatusGatewayTimeout:
			if refusal.retryAfter > 0 {
				return struct{}{}, &backoff.RetryAfterError{Duration: refusal.retryAfter}
			}
			return struct{}{}, err
		}
		return struct{}{}, backoff.Permanent(err)
	}, backoff.WithMaxElapsedTime(s.o.retryFor))
	return err
}
