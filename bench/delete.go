package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"alcove/engine"
	"alcove/tenancy"
)

// DeleteOptions configure the workload on deletion and update.
type DeleteOptions struct {
	// Engine configures the engine under test but for its Store, with the models
	// that a Model stands in for.
	Engine engine.Options
	Model  *Model
	// Texts sees what Model embeds and writes: Texts.See is its Embedded,
	// Texts.Write its Summarised.
	Texts     *Texts
	Documents int // 200
	Deleted   int // 85, in one call
	Chunks    int // 2: of a document, about
	Long      int // 100: chunks of the document that is updated, about
	Repeat    int // 3: bases that documents are deleted from
	Seed      uint64
	Progress  io.Writer // nil for none
}

// DeleteResult is what taking documents away cost, and changing a paragraph.
// InCall, Chat, Needless and Differences must be 0.
type DeleteResult struct {
	Documents int `json:"documents"`
	Deleted   int `json:"deleted"`
	Chunks    int `json:"chunks_deleted"`
	Repeat    int `json:"repeat"`
	// The call: its time and the process's CPU, the median base, and what it asked of models.
	CallMS   float64 `json:"call_ms_per_document"`
	CallCPU  float64 `json:"call_cpu_ms_per_document"`
	InCall   int     `json:"model_calls_in_the_call"`
	PastMS   float64 `json:"background_ms_per_document"` // until nothing is left to do, with the model
	Chat     int     `json:"chat_calls"`                 // in the call and afterwards, the most of any base
	Summary  int     `json:"summary_calls"`              // those of them that write descriptions
	Embed    int     `json:"embedding_calls"`
	Texts    int     `json:"embedded_texts"`
	Changed  int     `json:"profiles_whose_text_changed"`
	Needless int     `json:"texts_beyond_changed_profiles"`
	// Differences are bases whose canonical dump, or whose profiles, are not those
	// of a base that never had the documents. Summarised are the profiles left out of
	// that, because one of the two has a description by the model: a delete voids it
	// and asks for no other.
	Differences int `json:"differences"`
	Summarised  int `json:"profiles_with_a_summary"`

	Update UpdateResult `json:"update"`
}

// UpdateResult is one changed paragraph of a long document. Extract and Passages
// must be Changed, and Different false.
type UpdateResult struct {
	Chunks    int     `json:"chunks"`
	Changed   int     `json:"chunks_changed"`
	Extract   int     `json:"extract_calls"`
	Summary   int     `json:"summary_calls"`
	Embed     int     `json:"embedding_calls"`
	Texts     int     `json:"embedded_texts"`
	Passages  int     `json:"embedded_chunks"` // those of the texts that are chunks
	MS        float64 `json:"ms"`              // until the new version is there
	Different bool    `json:"different"`       // from a base that was given the new text alone
}

// Texts keeps what was embedded last for each profile. Safe for concurrent use.
type Texts struct {
	mu       sync.Mutex
	last     map[string]string // by profile
	written  map[string]bool   // descriptions by the model
	passages int
	all      int
}

// See notes the texts of an embedding call.
func (x *Texts) See(texts []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.last == nil {
		x.last = map[string]string{}
	}
	for _, t := range texts {
		x.all++
		if k, ok := profileOf(t); ok {
			x.last[k] = t
		} else {
			x.passages++
		}
	}
}

// Write notes a description that the model wrote.
func (x *Texts) Write(text string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.written == nil {
		x.written = map[string]bool{}
	}
	x.written[text] = true
}

// byModel reports whether the description in a profile is one that the model
// wrote: it has no line break.
func (x *Texts) byModel(profile string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.written[profile[strings.LastIndexByte(profile, '\n')+1:]]
}

// take returns what was seen since the last take and forgets it.
func (x *Texts) take() (last map[string]string, passages, all int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	last, passages, all = x.last, x.passages, x.all
	x.last, x.passages, x.all = map[string]string{}, 0, 0
	return last, passages, all
}

// profileOf is what an embedded text is the profile of: an entity's begins with
// its name, a relation's with keywords, a tab and the two names. The scripted
// model gives a pair the same keywords everywhere.
func profileOf(text string) (key string, ok bool) {
	first, rest, _ := strings.Cut(text, "\n")
	if strings.Contains(first, "\t") {
		second, _, _ := strings.Cut(rest, "\n")
		return first + "\n" + second, true
	}
	return first, name.FindString(first) == first && first != ""
}

// Delete fills bases with a corpus, deletes documents of each in one call and
// compares what is left with a base that never had them; then it changes one
// paragraph of a long document. Model calls are counted until nothing is left to
// do, so the profiles of what changed are in them.
func Delete(ctx context.Context, o DeleteOptions) (DeleteResult, error) {
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.Documents, 200}, {&o.Deleted, 85}, {&o.Chunks, 2}, {&o.Long, 100}, {&o.Repeat, 3}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	r := DeleteResult{Documents: o.Documents, Deleted: o.Deleted, Repeat: o.Repeat}
	if o.Deleted > o.Documents {
		return r, fmt.Errorf("%d documents cannot be deleted of %d", o.Deleted, o.Documents)
	}
	dir, err := os.MkdirTemp("", "alcove-bench-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	b, err := openBase(ctx, dir, o.Engine)
	if err != nil {
		return r, err
	}
	defer b.close()
	if err := o.delete(ctx, b, &r); err != nil {
		return r, fmt.Errorf("delete: %w", err)
	}
	if err := o.update(ctx, b, &r.Update); err != nil {
		return r, fmt.Errorf("update: %w", err)
	}
	return r, nil
}

// space makes a knowledge base with these documents, waits until nothing is left
// to do, and enters it for everything.
func (o DeleteOptions) space(ctx context.Context, b *base, name string, docs []Passage) (*tenancy.Space, error) {
	k, err := b.store.CreateKB(ctx, b.admin, b.tenant, tenancy.KBInput{Name: name})
	if err != nil {
		return nil, err
	}
	if _, err := b.fill(ctx, k.ID, docs); err != nil {
		return nil, err
	}
	if err := b.engine.WaitIdle(ctx); err != nil {
		return nil, err
	}
	return b.store.Enter(ctx, b.admin, b.tenant, k.ID, tenancy.PermKBManage)
}

func (o DeleteOptions) delete(ctx context.Context, b *base, r *DeleteResult) error {
	docs := Corpus{Seed: o.Seed, Chunks: o.Chunks}.Passages(0, o.Documents)
	order := rand.New(rand.NewPCG(o.Seed, 1)).Perm(o.Documents)
	var gone []string
	var rest []Passage
	for _, i := range order[:o.Deleted] {
		gone = append(gone, docs[i].ID)
	}
	for _, d := range docs {
		if !slices.Contains(gone, d.ID) {
			rest = append(rest, d)
		}
	}
	o.Texts.take()
	never, err := o.space(ctx, b, "never", rest)
	if err != nil {
		return err
	}
	profiles, _, _ := o.Texts.take()
	want, err := dump(ctx, never)
	if err != nil {
		return err
	}
	var wall, cpu, past []float64
	for i := range o.Repeat {
		s, err := o.space(ctx, b, fmt.Sprintf("base %d", i), docs)
		if err != nil {
			return err
		}
		had, _, _ := o.Texts.take()
		was, used, t := o.Model.Counts(), cpuSeconds(os.Getpid()), time.Now()
		d, err := b.engine.KB(s).Delete(ctx, gone, false)
		if err != nil {
			return err
		}
		wall, cpu = append(wall, milliseconds(time.Since(t))), append(cpu, 1000*(cpuSeconds(os.Getpid())-used))
		inCall := o.Model.Counts().Since(was)
		t = time.Now()
		if err := b.engine.WaitIdle(ctx); err != nil {
			return err
		}
		past = append(past, milliseconds(time.Since(t)))
		calls := o.Model.Counts().Since(was)
		now, _, _ := o.Texts.take()
		r.Chunks = d.Chunks
		r.InCall = max(r.InCall, inCall.Chat())
		r.Chat, r.Summary = max(r.Chat, calls.Chat()), max(r.Summary, calls.Summary)
		r.Embed, r.Texts = max(r.Embed, calls.Embed), max(r.Texts, calls.Texts)
		changed := 0
		for k, text := range profiles {
			if had[k] != text {
				changed++
			}
		}
		r.Changed = changed
		r.Needless = max(r.Needless, calls.Texts-changed)
		maps.Copy(had, now)
		same, summarised := true, 0
		for k, text := range profiles {
			if o.Texts.byModel(text) || o.Texts.byModel(had[k]) {
				summarised++
				continue
			}
			same = same && had[k] == text
		}
		r.Summarised = max(r.Summarised, summarised)
		left, err := dump(ctx, s)
		if err != nil {
			return err
		}
		if !same || left != want {
			r.Differences++
		}
		if o.Progress != nil {
			fmt.Fprintf(o.Progress, "base %d: %d documents with %d chunks deleted, %.2f ms a document\n", i, o.Deleted, d.Chunks, wall[i]/float64(o.Deleted))
		}
	}
	n := float64(max(1, o.Deleted))
	slices.Sort(wall)
	slices.Sort(cpu)
	slices.Sort(past)
	r.CallMS, r.CallCPU, r.PastMS = quantile(wall, .5)/n, quantile(cpu, .5)/n, quantile(past, .5)/n
	return nil
}

func (o DeleteOptions) update(ctx context.Context, b *base, r *UpdateResult) error {
	old := Corpus{Seed: o.Seed, Chunks: o.Long}.Passages(o.Documents, 1)[0]
	paragraphs := strings.SplitAfter(old.Text, "\n\n")
	at := len(paragraphs) / 2
	// As many words as before, of other things.
	paragraphs[at] = "In 1999 " + thing(corpusThings) + " met " + thing(corpusThings+1) + " at the" + paragraphs[at][strings.Index(paragraphs[at], " at the")+len(" at the"):]
	renewed := old
	renewed.Text = strings.Join(paragraphs, "")
	s, err := o.space(ctx, b, "updated", []Passage{old})
	if err != nil {
		return err
	}
	before, err := chunksOf(ctx, b.engine.Reader(s), old.ID)
	if err != nil {
		return err
	}
	o.Texts.take()
	was, t := o.Model.Counts(), time.Now()
	if _, err := b.engine.KB(s).Update(ctx, old.ID, renewed.input()); err != nil {
		return err
	}
	if err := b.settled(ctx, b.engine.Reader(s), 1); err != nil {
		return err
	}
	r.MS = milliseconds(time.Since(t))
	if err := b.engine.WaitIdle(ctx); err != nil {
		return err
	}
	calls := o.Model.Counts().Since(was)
	_, r.Passages, _ = o.Texts.take()
	r.Extract, r.Summary, r.Embed, r.Texts = calls.Extract, calls.Summary, calls.Embed, calls.Texts
	after, err := chunksOf(ctx, b.engine.Reader(s), old.ID)
	if err != nil {
		return err
	}
	r.Chunks = len(after)
	for _, c := range after {
		if !slices.Contains(before, c) {
			r.Changed++
		}
	}
	got, err := dump(ctx, s)
	if err != nil {
		return err
	}
	fresh, err := o.space(ctx, b, "fresh", []Passage{renewed})
	if err != nil {
		return err
	}
	want, err := dump(ctx, fresh)
	r.Different = got != want
	return err
}

func dump(ctx context.Context, s *tenancy.Space) (string, error) {
	var b bytes.Buffer
	err := engine.Dump(ctx, s, &b)
	return b.String(), err
}

// chunksOf is the text of every chunk of a document.
func chunksOf(ctx context.Context, r *engine.Reader, id string) (out []string, err error) {
	for cursor := ""; ; {
		page, err := r.Chunks(ctx, id, cursor, 200)
		if err != nil {
			return nil, err
		}
		for _, c := range page.Chunks {
			out = append(out, c.Content)
		}
		if cursor = page.NextCursor; cursor == "" {
			return out, nil
		}
	}
}
