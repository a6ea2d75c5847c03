package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"alcove/tenancy"
)

const (
	// maxGroup is how many chunks go through the models between two commits at most.
	maxGroup = 64
	// groupBytes is how much of chunk records one transaction takes.
	groupBytes = 1_000_000
	// sweepBatch is how many records one transaction of a sweep removes.
	sweepBatch = 4000
	// A document above largeDocument bytes is worked on by at most
	// largeDocuments workers at a time: its text is in memory several times over.
	largeDocument  = 1 << 20
	largeDocuments = 2

	maxCauseChars       = 500
	maxChunkCauseBytes  = 240
	maxTitleBytes       = 512
	maxMentionName      = 512 // of an entity, LightRAG's bound
	maxMentionBytes     = 8 << 10
	maxContributionSize = 200 << 10 // keeps the record under the store's 256 KiB
)

// workOn does one job. It returns errLater when the store would not have it now
// and nil when the job is over or its knowledge base gone.
func (e *Engine) workOn(ctx context.Context, ref tenancy.JobRef, r *running) error {
	space, err := e.o.Store.Resume(ctx, ref)
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil // it has ended
	}
	if err != nil {
		return e.workError(ref, err)
	}
	ctx = paidBy(ctx, space)
	var j job
	err = space.View(ctx, func(tx *tenancy.Tx) error {
		b, err := tx.Job(ref)
		if err != nil {
			return err
		}
		return unmarshalRecord("job", b, &j)
	})
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil
	}
	if err != nil {
		return e.workError(ref, err)
	}
	if len(j.Sweep) > 0 {
		return e.workError(ref, e.sweepJob(ctx, space, ref, j.Sweep))
	}
	if e.o.Offline && (j.Reembed || j.Profiles) {
		return nil // the job goes on at the next start
	}
	if j.Reembed {
		e.queue.working(r, space.ID(), version{})
		return e.workError(ref, e.reembedJob(ctx, space, ref))
	}
	if j.Profiles {
		return e.workError(ref, e.profileJob(ctx, space, ref))
	}
	in := &ingest{eng: e, space: space, ref: ref, run: r, v: version{j.Doc, j.Gen}}
	e.queue.working(r, space.ID(), in.v)
	start := time.Now()
	err = in.do(ctx)
	var p *putOff
	switch {
	case errors.As(err, &p):
	case err == nil:
		e.meter.documents.observe(time.Since(start))
		e.queue.stats.processed.Add(1)
		return nil
	case e.queue.ctx.Err() != nil, errors.Is(err, errLeft):
		return nil // closing: the job goes on at the next start
	case errors.Is(err, errGaveWay):
		return &putOff{} // what it made is stored
	case errors.Is(err, errChanging):
		e.park(ctx, space, ref)
		return nil
	case errors.Is(err, errSuperseded), ctx.Err() != nil:
		err = in.end()
	case !transient(err):
		err = in.fail(err)
	}
	return e.workError(ref, err)
}

// transient reports whether the store may take later what it refused now.
func transient(err error) bool {
	for _, x := range []error{tenancy.ErrDiskFull, tenancy.ErrPaused, tenancy.ErrTenantSuspended, tenancy.ErrClosed, tenancy.ErrKBGone} {
		if errors.Is(err, x) {
			return true
		}
	}
	return false
}

// workError turns what stopped a job into what the queue does about it.
func (e *Engine) workError(ref tenancy.JobRef, err error) error {
	if err == nil || errors.Is(err, tenancy.ErrKBGone) || e.queue.ctx.Err() != nil {
		return nil
	}
	var p *putOff
	if errors.As(err, &p) {
		return err
	}
	e.o.Logger.Warn("work is put off", "scope", ref.Tenant()+"/"+ref.KB(), "job", ref.Seq, "error", err)
	return fmt.Errorf("%w: %w", errLater, err)
}

// cause is an error as a document's record keeps it.
func cause(err error) string {
	s := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if utf8.RuneCountInString(s) > maxCauseChars {
		s = string([]rune(s)[:maxCauseChars]) + "..."
	}
	return s
}

// sweepJob removes the records of versions that nothing names.
func (e *Engine) sweepJob(ctx context.Context, space *tenancy.Space, ref tenancy.JobRef, versions []jobVersion) error {
	for {
		next := 0
		err := e.change(ctx, space, func(c *change) error {
			next = 0
			for n := 0; next < len(versions); next++ {
				v := version{versions[next].Doc, versions[next].Gen}
				d, err := readDocument(c.tx, v.doc)
				if err == nil && d.names(v.gen) {
					continue
				}
				if err != nil && !errors.Is(err, ErrNotFound) {
					return err
				}
				m, err := c.sweep(v, sweepBatch-n)
				if err != nil {
					return err
				}
				if n += m; n >= sweepBatch {
					return nil
				}
			}
			return c.tx.EndJob(ref)
		})
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		if versions = versions[next:]; len(versions) == 0 {
			e.queue.stats.swept.Add(1)
			return nil
		}
	}
}

// ingest is the work on one version of one document.
type ingest struct {
	eng   *Engine
	space *tenancy.Space
	ref   tenancy.JobRef
	run   *running
	v     version

	doc      *documentRecord // as the work found it
	face     *face           // what the version will make of it
	title    string
	warnings []string  // of the parser
	summary  string    // for a call that was too large to bring one
	known    *reusable // chunks of the version that readers see, nil when there is none
	same     bool      // contributions of known chunks hold for this version too

	changeovers uint64         // the state of the base that the work began in
	vectors     byte           // the kind of record of the set that counts
	mend        bool           // the version is visible, and its failed chunks are read again
	set         *settings      // of the knowledge base
	embedder    Embedder       // of its vectors
	extractor   Extractor      // under its settings
	given       []contribution // what the chunks of a custom graph or an adopted document say
	brought     []string       // vectors of an adopted document, nil when they do not count here
	dim         int            // of the vectors there are, 0 for none
	chunk       [2]int         // tokens of a chunk and of its overlap

	total  int
	tally  tally
	room   *nameRoom    // of the names with the version's own, when they were counted and fitted
	buffer []*chunkWork // made but not committed
	size   int          // bytes of buffer
}

// tally is what the chunks of a version come to so far.
type tally struct {
	readings
	read      int                 // chunks that could be read
	entities  map[uint64]struct{} // prints of the names met
	relations map[uint64]pair
	names     map[uint64]string // of the entities and of the ends of relations
	fault     error             // of the first failed chunk
}

func newTally() tally {
	return tally{entities: map[uint64]struct{}{}, relations: map[uint64]pair{}, names: map[uint64]string{}}
}

func (t *tally) add(ord uint32, said *contribution) {
	t.Dropped += said.Dropped
	if said.Truncated {
		t.Truncated++
	}
	if said.Failed != "" {
		if t.FailedChunks++; len(t.Failed) < maxFailedKept { // they come in order
			t.Failed = append(t.Failed, failedChunk{ord, said.Failed})
		}
		return
	}
	t.read++
	for _, e := range said.Entities {
		t.entities[t.name(EntityID(e.Name))] = struct{}{}
	}
	for _, r := range said.Relations {
		a, b := EntityID(r.Source), EntityID(r.Target)
		t.name(a)
		t.name(b)
		t.relations[print(min(a, b), max(a, b))] = pair{min(a, b), max(a, b)}
	}
}

// name remembers a name and returns its print.
func (t *tally) name(id string) uint64 {
	p := print(id)
	if _, known := t.names[p]; !known {
		t.names[p] = strings.Clone(id) // not to hold what it was read from
	}
	return p
}

// chunkWork is one chunk on its way through the models.
type chunkWork struct {
	ord       uint32
	rec       *chunkRecord
	vector    []byte
	said      contribution
	extracted bool
	fault     error     // why it could not be extracted
	again     bool      // its records are there, from a try that failed
	encoded   [2][]byte // chunk and contribution records
}

// do makes the version and shows it. It returns errSuperseded when the document
// is not waiting for this job any more.
func (in *ingest) do(ctx context.Context) error {
	if err := in.open(ctx); err != nil {
		return err
	}
	if in.eng.o.Offline && (in.mend || in.face.Kind != kindAdopted) {
		return errLeft
	}
	if in.mend {
		return in.again(ctx)
	}
	if in.face.Length > largeDocument {
		select {
		case in.eng.queue.memory <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-in.eng.queue.memory }()
	}
	chunks, err := in.cut(ctx)
	if err != nil {
		return err
	}
	in.total = len(chunks)
	todo, err := in.resume(ctx, chunks)
	if err != nil {
		return err
	}
	return in.all(ctx, todo)
}

// all makes chunks and commits them; the last commit shows the version.
func (in *ingest) all(ctx context.Context, todo []*chunkWork) error {
	for len(todo) > 0 {
		group := todo[:min(len(todo), in.groupChunks())]
		todo = todo[len(group):]
		if err := in.make(ctx, group); err != nil {
			return err
		}
		for _, w := range group {
			if n := w.bytes(); in.size+n > groupBytes {
				if err := in.commit(ctx, false); err != nil {
					return err
				}
			}
			in.buffer = append(in.buffer, w)
			in.size += w.bytes()
		}
		if len(todo) > 0 {
			if err := in.commit(ctx, false); err != nil {
				return err
			}
			if !in.mend && in.eng.queue.shouldGiveWay(in.ref) {
				return errGaveWay
			}
		}
	}
	if in.tally.read == 0 && in.tally.FailedChunks > 0 && !in.mend {
		if err := in.commit(ctx, false); err != nil {
			return err
		}
		return in.nothingRead()
	}
	return in.show(ctx)
}

// show makes the last commit, which shows the version.
func (in *ingest) show(ctx context.Context) error {
	for range maxCountTries {
		err := in.commit(ctx, true)
		if !errors.Is(err, errCountNames) {
			return err
		}
		if err := in.countNames(ctx); err != nil {
			return err
		}
	}
	return in.commit(ctx, true)
}

// nothingRead is why a document fails none of whose chunks could be read.
func (in *ingest) nothingRead() error {
	return fmt.Errorf("none of the %d chunks tried could be read: %w", in.tally.FailedChunks, in.tally.fault)
}

// again reads the failed chunks of a version that readers see, and no others.
func (in *ingest) again(ctx context.Context) error {
	var todo []*chunkWork
	in.tally = newTally()
	err := in.space.View(ctx, func(tx *tenancy.Tx) error {
		return tx.Scan(kindContribution, tenancy.Scan{Prefix: in.v.prefix()}, func(rest, value []byte) error {
			ref, err := parseChunkKey(rest)
			if err != nil {
				return err
			}
			said, err := decodeContribution(value)
			if err != nil {
				return err
			}
			if said.Failed == "" {
				in.tally.add(ref.ord, &said)
				return nil
			}
			b, err := tx.Get(kindChunk, rest)
			if err != nil {
				return fmt.Errorf("chunk %d: %w", ref.ord, err)
			}
			c, err := decodeChunk(b)
			if err != nil {
				return err
			}
			todo = append(todo, &chunkWork{ord: ref.ord, rec: &c, again: true})
			return nil
		})
	})
	if err != nil {
		return err
	}
	in.total = in.doc.Chunks
	return in.all(ctx, todo)
}

// groupChunks is how many chunks go through the models between two commits. With
// a language model a group is small, so that progress shows and little is lost.
func (in *ingest) groupChunks() int {
	n := min(in.set.batch(in.eng.o.EmbedBatch), maxGroup)
	if in.set.chat != nil {
		n = min(n, 4*in.eng.o.ModelConcurrency)
	}
	return n
}

func (w *chunkWork) bytes() int { return len(w.encoded[0]) + len(w.vector) + len(w.encoded[1]) + 3*64 }

// open reads what the job is about.
func (in *ingest) open(ctx context.Context) error {
	c, err := in.eng.settings(ctx, in.space)
	if err != nil {
		return err
	}
	in.set = c
	in.extractor = in.eng.extractorFor(c.Config)
	in.chunk = [2]int{*c.ChunkSize, *c.ChunkOverlap}
	return in.space.View(ctx, func(tx *tenancy.Tx) (err error) {
		st, err := readState(tx)
		if err != nil {
			return err
		}
		in.changeovers, in.vectors = st.Changeovers, st.vectors().chunks
		in.embedder = in.eng.embedderFor(&st, c.embed)
		if in.doc, err = stillMine(tx, in.ref, in.v); err == nil && st.changing() {
			err = errChanging
		}
		if err == nil {
			in.face = in.doc.next()
			switch in.face.Kind {
			case kindCustomKG:
				in.extractor = givenGraph{}
			case kindAdopted:
				in.extractor = adoptedGraph{}
			}
			in.dim = st.Dim
			in.mend = in.doc.Pending == 0
			in.title = in.doc.Title
		}
		return err
	})
}

// cut reads the version's content and makes chunks of it.
func (in *ingest) cut(ctx context.Context) ([]chunkRecord, error) {
	leave, err := in.eng.parsing.enter(in.ref.Tenant(), in.face.made())
	if err != nil {
		return nil, err
	}
	defer leave()
	content, err := in.read(ctx)
	if err != nil {
		return nil, err
	}
	return in.parse(ctx, content)
}

// read returns the content and finds out what of it is known already.
func (in *ingest) read(ctx context.Context) (content []byte, err error) {
	err = in.space.View(ctx, func(tx *tenancy.Tx) error {
		if _, err := stillMine(tx, in.ref, in.v); err != nil {
			return err // it may have waited for its turn
		}
		if content, err = readContent(tx, in.v, in.face); err != nil {
			return err
		}
		if in.doc.Visible != 0 {
			in.known, err = knownChunks(tx, version{in.v.doc, in.doc.Visible}, in.vectors)
		}
		return err
	})
	return content, err
}

// stillMine returns the document of a job, errSuperseded when it was deleted,
// replaced or cancelled since the job was made.
func stillMine(tx *tenancy.Tx, ref tenancy.JobRef, v version) (*documentRecord, error) {
	d, err := readDocument(tx, v.doc)
	if errors.Is(err, ErrNotFound) {
		return nil, errSuperseded
	}
	if err != nil {
		return nil, err
	}
	if d.JobSeq != ref.Seq || d.working() != v.gen {
		return nil, errSuperseded
	}
	return d, nil
}

// parse reads and cuts the text. A panic of a parser is that document's failure.
func (in *ingest) parse(ctx context.Context, content []byte) (chunks []chunkRecord, err error) {
	defer recovered(&err, "reading the document")
	if in.face.Kind == kindCustomKG {
		in.title = clip(in.face.title(), maxTitleBytes)
		chunks, in.given, err = readGraph(content)
		return chunks, err
	}
	if in.face.Kind == kindAdopted {
		return in.adopt(ctx, content)
	}
	p, err := in.eng.o.Parser.Parse(ctx, File{Name: in.face.Name, Data: content, MainText: in.face.MainText})
	if err != nil {
		return nil, err
	}
	if in.face.made() {
		content = []byte(p.Text)
		if err := in.keepText(ctx, p); err != nil {
			return nil, err
		}
	}
	if in.face.Summary == "" {
		in.summary = summarize(content)
	}
	in.title = in.face.title()
	if in.title == "" {
		in.title = p.Title
	}
	in.title = clip(in.title, maxTitleBytes)
	in.same = in.known != nil && in.doc.Title == in.title && in.doc.Extractor == in.extractor.Identity()
	return chunkDocument(p, in.chunk[0], in.chunk[1], in.eng.o.MaxChunks)
}

// errPanicked marks the failure of code that panicked; trying again is no use.
var errPanicked = errors.New("internal error")

func recovered(err *error, doing string) {
	if r := recover(); r != nil {
		*err = &panicError{fmt.Errorf("%w while %s: %v", errPanicked, doing, r), debug.Stack()}
	}
}

// panicError keeps the stack for the log, out of the message that users see.
type panicError struct {
	error
	stack []byte
}

func (e *panicError) Unwrap() error { return e.error }

// clip cuts a text to at most n bytes of valid UTF-8.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// resume returns the chunks that are still to be made. What an interrupted run
// left is kept, unless the text would be cut or read differently now.
func (in *ingest) resume(ctx context.Context, chunks []chunkRecord) ([]*chunkWork, error) {
	done, failed := map[uint32]bool{}, map[uint32]bool{}
	in.tally = newTally()
	if in.doc.PendingDone > 0 {
		fits := in.doc.PendingExtractor == in.extractor.Identity() && in.doc.PendingChunks == len(chunks)
		err := in.space.View(ctx, func(tx *tenancy.Tx) error {
			return tx.Scan(kindChunk, tenancy.Scan{Prefix: in.v.prefix()}, func(rest, value []byte) error {
				ref, err := parseChunkKey(rest)
				if err != nil {
					return err
				}
				c, err := decodeChunk(value)
				if err != nil {
					return err
				}
				if !fits || int(ref.ord) >= len(chunks) || c.print() != chunks[ref.ord].print() {
					fits = false
					return tenancy.ErrStop
				}
				x, err := tx.Get(kindContribution, rest)
				if err != nil {
					return fmt.Errorf("contribution of chunk %d: %w", ref.ord, err)
				}
				said, err := decodeContribution(x)
				if err != nil {
					return err
				}
				if said.Failed != "" {
					failed[ref.ord] = true
					return nil
				}
				in.tally.add(ref.ord, &said)
				done[ref.ord] = true
				return nil
			})
		})
		if err != nil {
			return nil, err
		}
		if !fits {
			clear(done)
			clear(failed)
			in.tally = newTally()
			if err := in.restart(ctx); err != nil {
				return nil, err
			}
		}
	}
	todo := make([]*chunkWork, 0, len(chunks)-len(done))
	for i := range chunks {
		if !done[uint32(i)] {
			todo = append(todo, &chunkWork{ord: uint32(i), rec: &chunks[i], again: failed[uint32(i)]})
		}
	}
	return todo, nil
}

// restart removes what an earlier run made of the version, except the content.
func (in *ingest) restart(ctx context.Context) error {
	for more := true; more; {
		err := in.eng.change(ctx, in.space, func(c *change) error {
			d, err := stillMine(c.tx, in.ref, in.v)
			if err == nil && c.st.changing() {
				err = errChanging
			}
			if err != nil {
				return err
			}
			n, err := c.sweepKinds(in.v, sweepBatch, kindChunk, kindVector, kindVectorOdd, kindContribution)
			if err != nil {
				return err
			}
			more = n >= sweepBatch
			d.PendingDone, d.PendingChunks, d.PendingExtractor = 0, 0, ""
			return c.put(in.v.doc, d)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
