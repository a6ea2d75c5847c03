package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"alcove/tenancy"
)

// What is said of a thing in many places is too much to show. Past LightRAG's
// thresholds the language model writes one description of all of it: derived
// state, made lazily by the profile job, stored because it was paid for:
// kindSummary space1 sha16(name) -> print8 text. The print says which
// contributions it is made of; it stands in for them only while they are the
// same, and never where a filter permits a part of them. A text of "" says that
// the model was not needed or would not do it.

const (
	// summaryFragments and summaryTokens are the thresholds, each enough.
	summaryFragments = 8
	summaryTokens    = 1200
	// summaryBytes is less than any text of summaryTokens has; CJK text may have a
	// token for two bytes.
	summaryBytes = 2 * summaryTokens
	// summaryGroup is how many tokens of descriptions go into one call; a model of a
	// smaller window gets smaller groups, down to leastGroup.
	summaryGroup = 12_000
	leastGroup   = 400
	// summaryAim is the length asked for, in tokens.
	summaryAim = 600
	// maxSummaryReply bounds a reply; a reasoning model thinks first.
	maxSummaryReply = 4096
	maxSummaryText  = 16 << 10
	// summaryFold is how many contributions one summary is made of: LightRAG's
	// number of sources.
	summaryFold = 200
	// One profile job writes at most maxSummaries of them, summaryBatch between two
	// commits, and looks at summaryLook things for that.
	maxSummaries = 128
	summaryBatch = 8
	summaryLook  = 512
)

// heft is how much is said of a thing: the descriptions and their bytes.
type heft struct{ n, bytes int64 }

func (h *heft) add(size uint32, sign int64) {
	if size > 0 {
		h.n += sign
		h.bytes += sign * int64(size)
	}
}

// heavy reports whether the thresholds may be reached: only reading tells.
func (h heft) heavy() bool { return h.n > 1 && (h.n >= summaryFragments || h.bytes >= summaryBytes) }

// summaries are the things of a resident copy that a summary job has to look at;
// nil without a language model.
type summaries struct {
	entities, relations map[uint32]bool
	// doubted are the keys of stored summaries whose contributions changed: unless
	// the change was undone they go, so that nothing deleted lives on in one.
	doubted map[string]sumName
}

// sumName names what a summary is of; "" is not known any more.
type sumName struct {
	kind byte
	name string
}

func newSummaries() *summaries {
	return &summaries{entities: map[uint32]bool{}, relations: map[uint32]bool{}, doubted: map[string]sumName{}}
}

// doubtSummary notes that what is said of a thing has changed. r.mu is held for writing.
func (r *resident) doubtSummary(kind byte, id uint32) {
	if r.sums == nil {
		return
	}
	if r.heftOf(kind, id).heavy() {
		r.sums.of(kind)[id] = true
	}
	if *r.summed(kind, id) {
		name, _, _ := r.sumOf(kind, id)
		r.sums.doubted[string(profileKey(kind, name))] = sumName{kind, name}
	}
}

func (r *resident) heftOf(kind byte, id uint32) heft {
	if kind == profileEntities {
		return r.entities[id].heft
	}
	return r.relations[id].heft
}

// summed is whether a thing may have a summary in the store.
func (r *resident) summed(kind byte, id uint32) *bool {
	if kind == profileEntities {
		return &r.entities[id].summed
	}
	return &r.relations[id].summed
}

// findSum is the present number of what a summary is of.
func (r *resident) findSum(n sumName) (id uint32, ok bool) {
	if n.kind == profileEntities {
		return r.graph.Entity(n.name)
	}
	if len(n.name) < 4 {
		return 0, false
	}
	at := 4 + int(binary.BigEndian.Uint32([]byte(n.name[:4])))
	if at > len(n.name) {
		return 0, false
	}
	lo, ok1 := r.graph.Entity(n.name[4:at])
	hi, ok2 := r.graph.Entity(n.name[at:])
	if !ok1 || !ok2 {
		return 0, false
	}
	if id, ok = r.graph.FindRelation(lo, hi); !ok {
		id, ok = r.graph.FindRelation(hi, lo)
	}
	return id, ok
}

func (s *summaries) of(kind byte) map[uint32]bool {
	if kind == profileEntities {
		return s.entities
	}
	return s.relations
}

// sumOf is what a summary of a thing goes by: its name, what it is made of and
// how much that is.
func (r *resident) sumOf(kind byte, id uint32) (name string, print uint64, h heft) {
	if kind == profileEntities {
		return r.graph.Name(id), r.entities[id].print, r.entities[id].heft
	}
	return r.relationKey(id), r.relations[id].print, r.relations[id].heft
}

func (r *resident) liveSum(kind byte, id uint32) bool {
	if kind == profileEntities {
		return r.liveEntity(id)
	}
	return r.liveRelation(id)
}

// loadSummaries notes what of a freshly loaded copy has no summary and may need
// one. It does nothing without a language model.
func (r *resident) loadSummaries(tx *tenancy.Tx, chat bool) error {
	if !chat {
		return nil
	}
	r.sums = newSummaries()
	type owner struct {
		sumName
		id    uint32
		print uint64
	}
	owners := map[string]owner{}
	note := func(kind byte, id uint32) {
		if r.heftOf(kind, id).heavy() && r.liveSum(kind, id) {
			name, print, _ := r.sumOf(kind, id)
			owners[string(profileKey(kind, name))] = owner{sumName{kind, name}, id, print}
			r.sums.of(kind)[id] = true
		}
	}
	for id := range r.entities {
		note(profileEntities, uint32(id))
	}
	for id := range r.relations {
		note(profileRelations, uint32(id))
	}
	err := tx.Scan(kindSummary, tenancy.Scan{}, func(rest, value []byte) error {
		o, ok := owners[string(rest)]
		if !ok || len(value) < 8 || binary.BigEndian.Uint64(value) != o.print {
			r.sums.doubted[string(rest)] = o.sumName
			return nil
		}
		*r.summed(o.kind, o.id) = true
		delete(r.sums.of(o.kind), o.id)
		return nil
	})
	if err != nil {
		return fmt.Errorf("summaries: %w", err)
	}
	return nil
}

// summarised puts the stored summary of a thing in the place of its description,
// if there is one of what is said of it now.
func (f *folder) summarised(kind byte, id uint32, p *profile) error {
	if f.v.sums == nil || !f.v.whole() {
		return nil
	}
	name, print, h := f.v.sumOf(kind, id)
	if !h.heavy() {
		return nil
	}
	text, ok, err := readSummary(f.tx, profileKey(kind, name), print)
	if ok && text != "" {
		p.description = text
	}
	return err
}

// readSummary returns a stored summary; ok is false when there is none of that print.
func readSummary(tx *tenancy.Tx, key []byte, print uint64) (text string, ok bool, err error) {
	b, err := tx.Get(kindSummary, key)
	if errors.Is(err, tenancy.ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("summary: %w", err)
	}
	if len(b) < 8 {
		return "", false, fmt.Errorf("%w: summary of %d bytes", ErrDamaged, len(b))
	}
	return string(b[8:]), binary.BigEndian.Uint64(b) == print, nil
}

// summaryTask is one thing that a summary job looks at.
type summaryTask struct {
	kind  byte
	id    uint32
	name  string // its key's
	title string // as the model is told
	print uint64
	parts []string // what is to be summarised; nil for nothing
	store bool     // the outcome is not in the store yet
	text  string
}

// summaryTasks picks the next things to look at, in the order of their names: n
// for the model at the most. r.mu is held for reading.
func (r *resident) summaryTasks(tx *tenancy.Tx, n int) (tasks []summaryTask, err error) {
	f := newFolder(r.everything(), tx, nil)
	for _, k := range []struct {
		kind byte
		less func(a, b uint32) bool
	}{{profileEntities, r.lessEntity}, {profileRelations, r.lessRelation}} {
		live := make([]uint32, 0, len(r.sums.of(k.kind)))
		for id := range r.sums.of(k.kind) {
			if r.liveSum(k.kind, id) {
				live = append(live, id)
			} else {
				tasks = append(tasks, summaryTask{kind: k.kind, id: id})
			}
		}
		for _, id := range bestN(live, summaryLook, k.less) {
			if n == 0 {
				break
			}
			t, err := f.summaryTask(k.kind, id)
			if err != nil {
				return nil, err
			}
			if t.parts != nil {
				n--
			}
			tasks = append(tasks, t)
		}
	}
	return tasks, nil
}

// doubtedSummary is a stored summary that may have to go.
type doubtedSummary struct {
	key   string
	holds bool // what it is made of is what is said now
}

// doubtedSummaries looks at some of the stored summaries in doubt. r.mu is held
// for reading.
func (r *resident) doubtedSummaries(tx *tenancy.Tx) (out []doubtedSummary, err error) {
	for k, n := range r.sums.doubted {
		if len(out) == summaryLook {
			break
		}
		d := doubtedSummary{key: k}
		if id, ok := r.findSum(n); ok {
			_, print, h := r.sumOf(n.kind, id)
			if _, d.holds, err = readSummary(tx, []byte(k), print); err != nil {
				return nil, err
			}
			d.holds = d.holds && h.heavy()
		}
		out = append(out, d)
	}
	return out, nil
}

// settleSummaries notes what became of summaries in doubt.
func (r *resident) settleSummaries(list []doubtedSummary) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range list {
		n := r.sums.doubted[d.key]
		delete(r.sums.doubted, d.key)
		if id, ok := r.findSum(n); ok {
			// Of one that holds the store has a record, and if its words have changed
			// again meanwhile it is looked at again.
			if *r.summed(n.kind, id) = d.holds; d.holds {
				r.sums.of(n.kind)[id] = true
			}
		}
	}
}

func (f *folder) summaryTask(kind byte, id uint32) (t summaryTask, err error) {
	var h heft
	t = summaryTask{kind: kind, id: id}
	t.name, t.print, h = f.v.sumOf(kind, id)
	if !h.heavy() {
		return t, nil
	}
	_, ok, err := readSummary(f.tx, profileKey(kind, t.name), t.print)
	if ok || err != nil {
		return t, err
	}
	t.store = true
	var p profile
	if kind == profileEntities {
		t.title = f.v.entityName(id)
		p, err = f.foldEntity(id, summaryFold)
	} else {
		x := &f.v.relations[id]
		t.title = f.v.entityName(x.lo) + " and " + f.v.entityName(x.hi) + ", and how they are related"
		p, err = f.foldRelation(id, summaryFold)
	}
	if err != nil || p.description == "" {
		return t, err
	}
	parts := strings.Split(p.description, fieldSep)
	if len(parts) >= summaryFragments || len(parts) > 1 && countTokens(p.description) >= summaryTokens {
		t.parts = parts
	}
	return t, nil
}

// setSummaries notes what was looked at, unless what is said of it has changed meanwhile.
func (r *resident) setSummaries(tasks []summaryTask) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range tasks {
		if !r.liveSum(t.kind, t.id) {
			delete(r.sums.of(t.kind), t.id)
			continue
		}
		if t.store {
			*r.summed(t.kind, t.id) = true
		}
		if name, print, _ := r.sumOf(t.kind, t.id); name != t.name || print != t.print {
			r.doubtSummary(t.kind, t.id)
			continue
		}
		delete(r.sums.of(t.kind), t.id)
		if t.text == "" {
			continue
		}
		// What is embedded of it is another text now.
		if t.kind == profileEntities {
			r.touchProfile(t.id)
		} else {
			r.touchRelationProfile(t.id)
		}
	}
}

// makeSummaries writes the summaries that are missing, at most maxSummaries, and
// reports whether there are more to write. A model that is away leaves them for
// another time: what is said stands for itself.
func (e *Engine) makeSummaries(ctx context.Context, s *tenancy.Space, kb *openKB) (more bool, err error) {
	if kb.res.sums == nil {
		return false, nil
	}
	c, err := s.Config(ctx)
	if err != nil {
		return false, err
	}
	if err := dropSummaries(ctx, s, kb); err != nil {
		return false, err
	}
	w := e.summarizer(c)
	for done := 0; done < maxSummaries; {
		var tasks []summaryTask
		err := kb.read(ctx, s, func(r *resident, tx *tenancy.Tx) (err error) {
			tasks, err = r.summaryTasks(tx, summaryBatch)
			return err
		})
		if err != nil || len(tasks) == 0 {
			return false, err
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(e.o.ModelConcurrency)
		for i := range tasks {
			if t := &tasks[i]; t.parts != nil {
				done++
				g.Go(func() (err error) {
					t.text, err = w.summarize(gctx, t.title, t.parts)
					return err
				})
			}
		}
		if err := g.Wait(); err != nil {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			e.o.Logger.Warn("summaries are put off", "scope", s.TenantID()+"/"+s.KBID(), "error", err)
			return false, nil
		}
		if err := storeSummaries(ctx, s, tasks); err != nil {
			return false, err
		}
		kb.res.setSummaries(tasks)
	}
	return true, nil
}

// dropSummaries takes the stored summaries away that are not of what is said now.
// It needs no model.
func dropSummaries(ctx context.Context, s *tenancy.Space, kb *openKB) error {
	for {
		var list []doubtedSummary
		err := kb.read(ctx, s, func(r *resident, tx *tenancy.Tx) (err error) {
			list, err = r.doubtedSummaries(tx)
			return err
		})
		if err != nil || len(list) == 0 {
			return err
		}
		if slices.ContainsFunc(list, func(d doubtedSummary) bool { return !d.holds }) {
			err := s.Commit(ctx, func(tx *tenancy.Tx) error {
				for _, d := range list {
					if d.holds {
						continue
					}
					if err := tx.Delete(kindSummary, []byte(d.key)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		kb.res.settleSummaries(list)
	}
}

func storeSummaries(ctx context.Context, s *tenancy.Space, tasks []summaryTask) error {
	if !slices.ContainsFunc(tasks, func(t summaryTask) bool { return t.store }) {
		return nil
	}
	return s.Commit(ctx, func(tx *tenancy.Tx) error {
		for _, t := range tasks {
			if !t.store {
				continue
			}
			if err := tx.Set(kindSummary, profileKey(t.kind, t.name), append(key64(t.print), t.text...)); err != nil {
				return err
			}
		}
		return nil
	})
}

// summarizer asks a model for one description instead of many.
type summarizer struct {
	eng      *Engine
	prompts  promptSet
	language string
}

func (e *Engine) summarizer(c tenancy.KBConfig) *summarizer {
	w := &summarizer{eng: e, prompts: promptSet(c.Prompts), language: "English"}
	if x, ok := e.extractorFor(c).(*modelExtractor); ok {
		w.prompts, w.language = x.prompts, x.o.Language
	} else if c.Language != nil && *c.Language != "" {
		w.language = *c.Language
	}
	return w
}

// summarize makes one text of several: in groups that fit a call, then of the
// texts of the groups, until one is left. "" means that the model would not or
// could not do it for these texts; an error that it is not to be had.
func (w *summarizer) summarize(ctx context.Context, title string, parts []string) (string, error) {
	limit := summaryGroup
	for len(parts) > 1 {
		groups := grouped(parts, limit)
		next := make([]string, 0, len(groups))
		for _, g := range groups {
			text, err := w.ask(ctx, title, g)
			if errors.Is(err, ErrPromptTooLong) && limit/2 >= leastGroup {
				next = nil
				break
			}
			if errors.Is(err, ErrPromptTooLong) || errors.Is(err, ErrModelRefused) || errors.Is(err, errPanicked) || err == nil && text == "" {
				return "", nil
			}
			if err != nil {
				return "", err
			}
			next = append(next, text)
		}
		if next == nil { // once more in smaller groups
			limit /= 2
			continue
		}
		parts = next
	}
	return parts[0], nil
}

// grouped cuts a list into groups of two texts at least and of no more than so
// many tokens otherwise.
func grouped(parts []string, limit int) (groups [][]string) {
	start, size := 0, 0
	for i, p := range parts {
		n := countTokens(p)
		if i-start >= 2 && size+n > limit && len(parts)-i >= 2 {
			groups = append(groups, parts[start:i])
			start, size = i, 0
		}
		size += n
	}
	return append(groups, parts[start:])
}

func (w *summarizer) ask(ctx context.Context, title string, parts []string) (string, error) {
	var list bytes.Buffer
	out := json.NewEncoder(&list)
	out.SetEscapeHTML(false)
	for _, p := range parts {
		if err := out.Encode(map[string]string{"description": p}); err != nil {
			return "", err
		}
	}
	f := fence(list.String())
	zero := 0.0
	r := ChatRequest{
		System:    w.prompts.fill(promptSummary, "{name}", strconv.Quote(title), "{language}", w.language, "{tokens}", strconv.Itoa(summaryAim)),
		Messages:  []Message{{Role: "user", Content: f + "\n" + list.String() + f}},
		MaxTokens: maxSummaryReply, Temperature: &zero,
	}
	var reply ChatReply
	err := w.eng.model(ctx, forWork, func() (err error) {
		defer recovered(&err, "summarizing")
		reply, err = w.eng.o.Chatter.Chat(ctx, r, nil)
		return err
	})
	if err != nil || reply.Truncated { // half a summary says less than what it is made of
		return "", err
	}
	return cleanText(withoutThinking(reply.Text), maxSummaryText), nil
}
