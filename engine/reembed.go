package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"alcove/tenancy"
)

// A knowledge base keeps to the embedding model of its first vector. Reembed takes
// it to the model that the server has now, by a job that goes on where it was
// stopped: every stored chunk is embedded into the set of vectors that does not
// count, one commit makes that set the one that counts and pins the new model, and
// the other set is cleared away. The language model is not asked for anything.
//
// From the first commit to the change-over nothing new gets chunks: the work on
// documents is parked (errChanging), so that the chunks can only become fewer and
// one pass in the order of their keys sees all of them. Deletes and changes of
// metadata go on.

// errChanging says that work on a document waits for the change-over.
var errChanging = errors.New("waits until the embedding model of the knowledge base is changed")

// reembedAt is how far the change of the embedding model has come.
type reembedAt struct {
	Job uint64 `json:"job"`
	// Model makes the vectors that will count; "" when it has been decided which set
	// counts and the other one is only to be cleared.
	Model    string    `json:"model,omitempty"`
	Dim      int       `json:"dim,omitempty"`      // of the vectors made so far
	Clearing bool      `json:"clearing,omitempty"` // the other set is to be emptied first
	After    []byte    `json:"after,omitempty"`    // key of the last chunk that is done
	Done     int       `json:"done,omitempty"`
	Total    int       `json:"total,omitempty"` // as counted at the start
	Attempts int       `json:"attempts,omitempty"`
	Error    string    `json:"error,omitempty"` // of the last attempt, "" when it went well
	Started  time.Time `json:"started"`
}

// changing reports whether a change-over is to come.
func (st *kbState) changing() bool { return st.Reembed != nil && st.Reembed.Model != "" }

// Embedding is the embedding model of a knowledge base: what its vectors were made
// with, and the change to another one that is under way.
type Embedding struct {
	Model     string         `json:"model"`     // "" before the first document
	Dimension int            `json:"dimension"` // 0 before the first vector
	Reembed   *ReembedStatus `json:"reembed,omitempty"`
}

// ReembedStatus is how far a change of the embedding model has come.
type ReembedStatus struct {
	// State is embedding; waiting, for the next attempt after the failure that
	// ErrorMsg tells of; or cleaning, when vectors that do not count are removed.
	State     string    `json:"state"`
	Model     string    `json:"model,omitempty"` // the new one, while it does not count yet
	Done      int       `json:"texts_done"`
	Total     int       `json:"texts"` // at the start; deleted ones are not subtracted
	Attempts  int       `json:"attempts,omitempty"`
	ErrorMsg  string    `json:"error_msg,omitempty"`
	StartedAt time.Time `json:"started_at"`
}

// embedding is what readers are shown of the state.
func (st *kbState) embedding() Embedding {
	out := Embedding{Model: st.Embedder, Dimension: st.Dim}
	if x := st.Reembed; x != nil {
		s := &ReembedStatus{
			State: "embedding", Model: x.Model, Done: x.Done, Total: x.Total,
			Attempts: x.Attempts, ErrorMsg: x.Error, StartedAt: x.Started,
		}
		switch {
		case x.Error != "":
			s.State = "waiting"
		case x.Clearing:
			s.State = "cleaning"
		}
		out.Reembed = s
	}
	return out
}

// Reembedded answers Reembed.
type Reembedded struct {
	// Status is started; running, when the change was under way already; unchanged,
	// when the knowledge base has the vectors of the server's model; or dry_run.
	Status string `json:"status"`
	// Texts is how many texts will be embedded, or have to be in all when the change
	// is under way. Profiles of entities and relations come on top, after it.
	Texts     int       `json:"texts"`
	Model     string    `json:"model"` // the server's
	Embedding Embedding `json:"embedding"`
	Message   string    `json:"message"`
}

// Reembed takes the knowledge base to the embedding model that the server has now:
// see Embedding for how far it has come. A second call while that goes on changes
// nothing. Until the change-over questions are answered without vectors and say
// so, and new content waits. With dryRun nothing is changed. When the model has
// the name of the base's own, one text is embedded to see whether the length of
// its vectors is another; errors are then those of Embedder.Embed.
func (k *KB) Reembed(ctx context.Context, dryRun bool) (*Reembedded, error) {
	ctx = paidBy(ctx, k.space)
	want, err := k.eng.wanted(ctx, k.space)
	if err != nil {
		return nil, err
	}
	model := want.Model()
	out := &Reembedded{Model: model}
	var st kbState
	err = k.space.View(ctx, func(tx *tenancy.Tx) (err error) {
		if st, err = readState(tx); err == nil {
			out.Texts, err = storedChunks(tx, st)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if st.changing() {
		return out.say("running", st), nil
	}
	same := st.Dim == 0 // nothing has been embedded: the first text pins the model
	if !same && st.Embedder == model {
		v, err := k.eng.embedTexts(ctx, want, forQuery, []string{"dimension"})
		if err != nil {
			return nil, fmt.Errorf("ask the embedding model for its dimension: %w", err)
		}
		same = len(v[0]) == st.Dim
	}
	switch {
	case same:
		out.Texts = 0
		return out.say("unchanged", st), nil
	case dryRun:
		return out.say("dry_run", st), nil
	}
	status := "started"
	err = k.eng.change(ctx, k.space, func(c *change) error {
		defer func() { st = c.st }()
		if c.st.changing() {
			status = "running"
			return nil
		}
		next := &reembedAt{Model: model, Total: out.Texts, Started: c.now}
		if x := c.st.Reembed; x != nil { // its job goes on with this when it has cleared
			next.Job, next.Clearing = x.Job, true
		} else {
			ref, err := c.addJob(job{Reembed: true})
			if err != nil {
				return err
			}
			next.Job = ref.Seq
			c.sweeps = append(c.sweeps, ref)
		}
		c.st.Reembed = next
		return c.tx.Audit("kb.reembed", "kb", k.space.KBID(), map[string]string{"from": c.st.Embedder, "to": model})
	})
	if err != nil {
		return nil, err
	}
	return out.say(status, st), nil
}

// CancelReembed gives up the change of the embedding model: the vectors that count stay
// in force, those that were made so far are cleared away, and what waited for the change
// goes on as before it. It returns ErrState when no change is under way; one whose
// change-over is done is taken back by another Reembed alone.
func (k *KB) CancelReembed(ctx context.Context) (*Embedding, error) {
	var st kbState
	err := k.eng.change(ctx, k.space, func(c *change) error {
		if !c.st.changing() {
			return fmt.Errorf("cancel the change of the embedding model, which is not under way: %w", ErrState)
		}
		to := c.st.Reembed.Model
		c.giveUp()
		st = c.st
		return c.tx.Audit("kb.reembed.cancel", "kb", k.space.KBID(), map[string]string{"to": to})
	})
	if err != nil {
		return nil, err
	}
	q := k.eng.queue
	q.interrupt(k.space.ID(), version{})
	q.hurry(st.Reembed.Job)
	q.unpark(k.space.ID())
	out := st.embedding()
	return &out, nil
}

// giveUp leaves the vectors that count in force; the others are to be cleared.
func (c *change) giveUp() {
	x := c.st.Reembed
	x.again("")
	x.Attempts, x.Error = 0, ""
	c.visible = true // searches have vectors again, and profile jobs ended with nothing done
}

func (r *Reembedded) say(status string, st kbState) *Reembedded {
	r.Status, r.Embedding = status, st.embedding()
	switch status {
	case "unchanged":
		r.Message = "Every vector of the knowledge base is of this model."
	case "dry_run":
		r.Message = fmt.Sprintf("%d texts would be embedded.", r.Texts)
	case "running":
		r.Texts = st.Reembed.Total
		r.Message = fmt.Sprintf("%d of %d texts are embedded.", st.Reembed.Done, r.Texts)
	default:
		r.Message = fmt.Sprintf("%d texts are being embedded.", r.Texts)
	}
	return r
}

// storedChunks counts the chunks that have a vector: those that readers see and
// those of versions that are not finished.
func storedChunks(tx *tenancy.Tx, st kbState) (int, error) {
	n := st.Chunks
	for _, s := range []Status{StatusPending, StatusProcessing, StatusFailed, StatusCancelled} {
		keys, err := listed(tx, tenancy.Scan{Prefix: []byte{statusCode[s]}, KeysOnly: true})
		if err != nil {
			return 0, err
		}
		for _, k := range keys {
			d, err := readDocument(tx, docKey(k[9:]))
			if err != nil {
				return 0, fmt.Errorf("%w: listed %v", ErrDamaged, err)
			}
			n += d.PendingDone
		}
	}
	return n, nil
}

// park keeps a document's job until the change-over.
func (e *Engine) park(ctx context.Context, s *tenancy.Space, ref tenancy.JobRef) {
	e.queue.park(s.ID(), ref)
	var st kbState
	err := s.View(ctx, func(tx *tenancy.Tx) (err error) {
		st, err = readState(tx)
		return err
	})
	if err != nil || !st.changing() { // it came before this was parked, or the job meets the error
		e.queue.unpark(s.ID())
	}
}

const (
	// reembedSteps is how many steps a job takes before others get their turn.
	reembedSteps = 8
	// maxReembedWait bounds the wait after a failure.
	maxReembedWait = 5 * time.Minute
)

// reembedJob works on the change of the embedding model for one turn.
func (e *Engine) reembedJob(ctx context.Context, s *tenancy.Space, ref tenancy.JobRef) error {
	for range reembedSteps {
		over, err := e.reembedStep(ctx, s, ref)
		switch {
		case errors.Is(err, errStale): // it was asked for again meanwhile
		case err != nil && ctx.Err() != nil:
			return &putOff{} // the knowledge base is deleted; what comes next finds that out
		case over || err != nil:
			return err
		}
	}
	return &putOff{}
}

// reembedStep takes one step, which ends with a commit. over says that the job is
// done. What went wrong is noted where people see it.
func (e *Engine) reembedStep(ctx context.Context, s *tenancy.Space, ref tenancy.JobRef) (over bool, err error) {
	want, err := e.wanted(ctx, s)
	if err != nil {
		return false, err
	}
	w := &reembed{eng: e, space: s, ref: ref, to: want, model: want.Model()}
	over, err = w.step(ctx)
	var p *putOff
	if err == nil || ctx.Err() != nil || transient(err) || errors.Is(err, errStale) || errors.As(err, &p) {
		return over, err
	}
	return false, w.fail(ctx, err)
}

func (w *reembed) step(ctx context.Context) (over bool, err error) {
	if err := w.space.View(ctx, w.read); err != nil {
		return false, err
	}
	switch x := &w.at; {
	case w.none:
		return true, w.space.Commit(ctx, func(tx *tenancy.Tx) error { return tx.EndJob(w.ref) })
	case x.Model != "" && x.Model != w.model:
		return false, w.aim(ctx)
	case x.Clearing:
		return w.clear(ctx)
	case len(w.todo) > 0:
		return false, w.embed(ctx)
	case w.more:
		return false, w.change(ctx, func(*change) error { return nil })
	default:
		return false, w.changeOver(ctx)
	}
}

// reembed is one step of the change of the embedding model.
type reembed struct {
	eng   *Engine
	space *tenancy.Space
	ref   tenancy.JobRef
	to    Embedder // the one to change to, and its name
	model string

	none bool // the state tells of no work for this job
	at   reembedAt
	todo []reembedChunk
	last []byte // key of the last chunk looked at
	more bool   // there are chunks after it
}

type reembedChunk struct {
	chunkRef
	id   string // as readers know it
	key  []byte
	text string
}

// read finds the next chunks to embed.
func (w *reembed) read(tx *tenancy.Tx) error {
	st, err := readState(tx)
	if err != nil {
		return err
	}
	if w.none = st.Reembed == nil || st.Reembed.Job != w.ref.Seq; w.none {
		return nil
	}
	w.at = *st.Reembed
	if w.last = w.at.After; w.at.Clearing || w.at.Model != w.model {
		return nil
	}
	named := namer(tx)
	seen := 0
	return tx.Scan(kindChunk, tenancy.Scan{After: w.at.After}, func(rest, value []byte) error {
		if w.more = seen == loadBatch || len(w.todo) == min(w.eng.o.EmbedBatch, maxGroup); w.more {
			return tenancy.ErrStop
		}
		seen++
		w.last = bytes.Clone(rest)
		ref, err := parseChunkKey(rest)
		if err != nil {
			return err
		}
		d, err := named(ref.version)
		if err != nil || d == nil {
			return err
		}
		c, err := decodeChunk(value)
		if err != nil {
			return err
		}
		w.todo = append(w.todo, reembedChunk{ref, chunkID(d.ID, ref.ord), w.last, c.Text})
		return nil
	})
}

// namer returns a function that finds the document that has a version, nil for a
// version that is about to be removed.
func namer(tx *tenancy.Tx) func(version) (*documentRecord, error) {
	var doc docKey
	var d *documentRecord
	return func(v version) (*documentRecord, error) {
		if d == nil || doc != v.doc {
			rec, err := readDocument(tx, v.doc)
			if errors.Is(err, ErrNotFound) {
				rec, err = &documentRecord{}, nil
			}
			if err != nil {
				return nil, err
			}
			doc, d = v.doc, rec
		}
		if !d.names(v.gen) {
			return nil, nil
		}
		return d, nil
	}
}

// change commits f if the work is still where the step found it, with the place
// it has come to.
func (w *reembed) change(ctx context.Context, f func(*change) error) error {
	return w.eng.change(ctx, w.space, func(c *change) error {
		x := c.st.Reembed
		if x == nil || x.Job != w.ref.Seq || x.Model != w.at.Model || x.Clearing != w.at.Clearing || !bytes.Equal(x.After, w.at.After) {
			return errStale
		}
		x.After, x.Attempts, x.Error = w.last, 0, ""
		return f(c)
	})
}

// aim begins again with the model that the server has now, or gives up when that
// is the one whose vectors count.
func (w *reembed) aim(ctx context.Context) error {
	back := false
	err := w.change(ctx, func(c *change) error {
		if back = c.st.Embedder == w.model; back {
			c.giveUp()
		} else {
			c.st.Reembed.again(w.model)
		}
		return nil
	})
	if err == nil && back {
		w.eng.queue.unpark(w.space.ID())
	}
	return err
}

// again begins from the start, with an empty set.
func (x *reembedAt) again(model string) {
	x.Model, x.Clearing, x.After, x.Done, x.Dim = model, true, nil, 0, 0
}

// clear removes some vectors of the set that does not count. When none are left
// the job is over, or embeds if it has a model to embed with.
func (w *reembed) clear(ctx context.Context) (over bool, err error) {
	err = w.change(ctx, func(c *change) error {
		over = false
		set := c.st.otherVectors()
		n, err := c.sweepKinds(version{}, sweepBatch, set.chunks, set.profiles)
		if err != nil || n >= sweepBatch {
			return err
		}
		if x := c.st.Reembed; x.Model != "" {
			x.Clearing = false
			return nil
		}
		over = true
		c.st.Reembed = nil
		return c.tx.EndJob(w.ref)
	})
	return over && err == nil, err
}

// embed makes the vectors of the chunks at hand and stores them. A text that the
// model does not take stops the work at its place, with those before it stored.
func (w *reembed) embed(ctx context.Context) error {
	texts := make([]string, len(w.todo))
	for i := range w.todo {
		texts[i] = w.todo[i].text
	}
	vectors, failed := w.eng.embedUpTo(ctx, w.to, texts)
	end := w.last
	for i := 0; i < len(vectors); {
		n := min(len(vectors)-i, max(1, groupBytes/(4*len(vectors[i])+64)))
		if w.last = w.todo[i+n-1].key; i+n == len(w.todo) {
			w.last = end
		}
		if err := w.store(ctx, w.todo[i:i+n], vectors[i:i+n]); err != nil {
			return err
		}
		w.at.After = w.last
		i += n
	}
	if failed != nil {
		return fmt.Errorf("embed from %s on: %w", w.todo[len(vectors)].id, failed)
	}
	return nil
}

// embedUpTo embeds texts up to the first one that the model refuses for good, which
// it finds by halving. An error comes with the vectors of the texts before.
func (e *Engine) embedUpTo(ctx context.Context, m Embedder, texts []string) ([][]float32, error) {
	vectors, err := e.embedTexts(ctx, m, forWork, texts)
	refused := errors.Is(err, ErrPromptTooLong) || errors.Is(err, ErrModelRefused) || errors.Is(err, errPanicked)
	switch {
	case err == nil:
		return vectors, nil
	case !refused || len(texts) == 1:
		return nil, err
	}
	left, err := e.embedUpTo(ctx, m, texts[:len(texts)/2])
	if err != nil {
		return left, err
	}
	right, err := e.embedUpTo(ctx, m, texts[len(texts)/2:])
	return append(left, right...), err
}

// store writes vectors of chunks that are still there.
func (w *reembed) store(ctx context.Context, chunks []reembedChunk, vectors [][]float32) error {
	var other *PinnedError
	err := w.change(ctx, func(c *change) error {
		x := c.st.Reembed
		for _, v := range vectors {
			if x.Dim == 0 {
				x.Dim = len(v)
			}
			if x.Dim != len(v) {
				// The model has become another one under the same name.
				other = &PinnedError{Made: w.model, MadeDim: x.Dim, Now: w.model, NowDim: len(v)}
				x.again(w.model)
				x.Attempts, x.Error = w.at.Attempts+1, cause(other)
				return nil
			}
		}
		named := namer(c.tx)
		for i, k := range chunks {
			d, err := named(k.version)
			if err != nil {
				return err
			}
			if d == nil {
				continue
			}
			if err := c.tx.Set(c.st.otherVectors().chunks, k.key, encodeVector(vectors[i])); err != nil {
				return fmt.Errorf("store vector: %w", err)
			}
			x.Done++
		}
		return nil
	})
	if err == nil && other != nil {
		return &putOff{wait: 16 * w.eng.o.RetryBase, why: other}
	}
	return err
}

// fail notes why the work cannot go on now and puts it off, longer each time.
func (w *reembed) fail(ctx context.Context, why error) error {
	attempts := 0
	err := w.eng.change(ctx, w.space, func(c *change) error {
		x := c.st.Reembed
		if x == nil || x.Job != w.ref.Seq || x.Model == "" && w.at.Model != "" { // given up meanwhile
			return errStale
		}
		x.Attempts++
		attempts, x.Error = x.Attempts, cause(why)
		return nil
	})
	if err != nil {
		return err
	}
	w.eng.o.Logger.WarnContext(ctx, "the change of the embedding model waits", "scope", w.space.TenantID()+"/"+w.space.KBID(), "attempts", attempts, "error", why)
	wait := w.eng.o.RetryBase
	for n := 1; n < attempts && wait < maxReembedWait; n++ {
		wait *= 2
	}
	return &putOff{wait: min(wait, maxReembedWait), why: why}
}

// changeOver makes the new vectors the ones that count. Copies in memory notice by
// the number of change-overs that all of theirs are others.
func (w *reembed) changeOver(ctx context.Context) error {
	w.last = nil
	err := w.change(ctx, func(c *change) error {
		x := c.st.Reembed
		c.st.Changeovers++
		c.st.Embedder, c.st.Dim = x.Model, x.Dim
		x.Model, x.Clearing = "", true
		if err := c.touch(handMark); err != nil { // no document changes but the generation
			return err
		}
		return c.tx.Audit("kb.changeover", "kb", w.space.KBID(), map[string]string{"to": c.st.Embedder})
	})
	if err == nil {
		w.eng.queue.unpark(w.space.ID())
	}
	return err
}
