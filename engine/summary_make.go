package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"alcove/tenancy"
)

// thing is an entity or a relation by its number.
type thing struct {
	kind byte
	id   uint32
}

// summaryTask is one thing that a summary job looks at.
type summaryTask struct {
	thing
	name  string // its key's
	title string // as the model is told
	print uint64
	wait  heft     // until the next look, when nothing else comes of this one
	parts []string // what is to be summarised; nil for nothing
	old   bool     // the first of them is the summary that there is
	made  summary
	store bool
}

// unsummed are the things to look at, in the order of their names. r.mu is held
// for reading.
func (r *resident) unsummed() (out []thing) {
	for _, id := range ordered(r.sums.entities, r.liveEntity, r.lessEntity) {
		out = append(out, thing{profileEntities, id})
	}
	for _, id := range ordered(r.sums.relations, r.liveRelation, r.lessRelation) {
		out = append(out, thing{profileRelations, id})
	}
	return out
}

// ordered are the members of a set that are in use, in order.
func ordered(set map[uint32]bool, live func(uint32) bool, less func(a, b uint32) bool) []uint32 {
	out := make([]uint32, 0, len(set))
	for id := range set {
		if live(id) {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b uint32) int {
		switch {
		case less(a, b):
			return -1
		case less(b, a):
			return 1
		}
		return 0
	})
	return out
}

// summaryTasks looks at the next things of a list: summaryLook of them, and n for
// the model, at the most. It returns the rest of the list. r.mu is held for reading.
func (r *resident) summaryTasks(tx *tenancy.Tx, list []thing, n int) (tasks []summaryTask, rest []thing, err error) {
	f := newFolder(r.everything(), tx, nil).keeping()
	for len(list) > 0 && len(tasks) < summaryLook && n > 0 {
		x := list[0]
		list = list[1:]
		if !r.sums.of(x.kind)[x.id] || !r.liveSum(x.kind, x.id) {
			continue
		}
		t, err := f.summaryTask(x)
		if err != nil {
			return nil, nil, err
		}
		if t.parts != nil {
			n--
		}
		tasks = append(tasks, t)
	}
	return tasks, list, nil
}

func (f *folder) summaryTask(x thing) (t summaryTask, err error) {
	t = summaryTask{thing: x, wait: anew}
	var h heft
	t.name, t.print, h = f.v.sumOf(x.kind, x.id)
	if !h.heavy() {
		t.wait = heft{}
		return t, nil
	}
	m, err := readSummary(f.tx, profileKey(x.kind, t.name))
	if err != nil {
		return t, err
	}
	if m == nil {
		m = &summary{}
	}
	rest := f.v.chunksOf(x.kind, x.id)
	if m.text != "" {
		made, _, holds := f.v.madeOf(m, x.kind, x.id)
		if !holds { // in doubt by now: another look will find it settled
			return t, nil
		}
		rest = without(rest, made)
		t.parts, t.old = []string{m.text}, true
	}
	rest = f.pick(rest, summaryFold-len(m.made)/madeBytes)
	p, err := f.fold(x.kind, x.id, rest)
	if err != nil {
		return t, err
	}
	var parts []string
	if p.description != "" {
		parts = strings.Split(p.description, fieldSep)
	}
	tokens := 0
	if t.parts = append(t.parts, parts...); len(t.parts) > 1 && len(p.description) >= summaryBytes {
		tokens = countTokens(p.description)
	}
	switch {
	case m.full():
		t.wait, t.parts = forGood, nil
	case len(parts) < summaryFragments && tokens < summaryTokens:
		// The soonest that more can be enough, if none of it is said already.
		t.wait.n -= int64(len(parts))
		t.wait.bytes -= min(int64(len(p.description)), summaryBytes-1)
		if tokens > 0 {
			t.wait.bytes = int64(summaryTokens-tokens) * (summaryBytes / summaryTokens)
		}
		t.parts = nil
	default:
		t.made.made = f.v.with(m.made, x.kind, x.id, rest)
		if t.title = f.v.titleOf(x); t.made.full() {
			t.wait = forGood
		}
	}
	return t, nil
}

// titleOf names a thing to the model.
func (v *view) titleOf(x thing) string {
	if x.kind == profileEntities {
		return v.entityName(x.id)
	}
	return v.entityName(v.relations[x.id].lo) + " and " + v.entityName(v.relations[x.id].hi) + ", and how they are related"
}

// setSummaries notes what was looked at, unless what is said of it has changed
// meanwhile: then it is looked at again.
func (r *resident) setSummaries(tasks []summaryTask) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range tasks {
		t := &tasks[i]
		same := false
		if r.liveSum(t.kind, t.id) {
			name, print, _ := r.sumOf(t.kind, t.id)
			same = name == t.name && print == t.print
			if t.store && name == t.name {
				r.summing(t.kind, t.id).stored = true
			}
		}
		if !same {
			if t.store { // what it is made of may be what has gone
				r.sums.doubted[string(profileKey(t.kind, t.name))] = sumName{t.kind, t.name}
			}
			continue
		}
		delete(r.sums.of(t.kind), t.id)
		r.summing(t.kind, t.id).wait = t.wait
		if t.made.text == "" {
			continue
		}
		// What is embedded of it is another text now.
		if t.kind == profileEntities {
			r.touchEntity(t.id)
		} else {
			r.touchRelation(t.id)
		}
	}
}

// doubtedSummary is a stored summary that may not hold.
type doubtedSummary struct {
	key   string
	print uint64 // of what is said now
	known bool   // the thing is there and much is said of it
	holds bool
}

// doubtedSummaries looks at some of the stored summaries in doubt. r.mu is held
// for reading.
func (r *resident) doubtedSummaries(tx *tenancy.Tx) (out []doubtedSummary, err error) {
	for k, n := range r.sums.doubted {
		if len(out) == summaryLook {
			break
		}
		d := doubtedSummary{key: k}
		if id, ok := r.findSum(n); ok && r.heftOf(n.kind, id).heavy() {
			m, err := readSummary(tx, []byte(k))
			if err != nil {
				return nil, err
			}
			_, d.print, _ = r.sumOf(n.kind, id)
			if d.known = m != nil; d.known {
				_, _, d.holds = r.madeOf(m, n.kind, id)
			}
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
		id, ok := r.findSum(n)
		if !ok {
			delete(r.sums.doubted, d.key)
			continue
		}
		x := r.summing(n.kind, id)
		x.stored = d.known
		switch _, print, _ := r.sumOf(n.kind, id); {
		case d.known && print != d.print: // it has changed again
			continue
		case !d.known:
			x.wait = heft{}
		case !d.holds: // not by this job: what voids a summary costs no model call
			x.wait = anew
			delete(r.sums.of(n.kind), id)
		}
		delete(r.sums.doubted, d.key)
	}
}

// makeSummaries writes the summaries that are missing, at most maxSummaries, and
// reports whether there are more to write. A model that is away leaves them for
// another time: what is said stands for itself.
func (e *Engine) makeSummaries(ctx context.Context, s *tenancy.Space, kb *openKB) (more bool, err error) {
	if kb.res.sums == nil {
		return false, nil
	}
	set, err := e.settings(ctx, s)
	if err != nil {
		return false, err
	}
	if err := dropSummaries(ctx, s, kb); err != nil {
		return false, err
	}
	w := e.summarizer(set)
	var list []thing
	if err := kb.read(ctx, s, func(r *resident, _ *tenancy.Tx) error {
		list = r.unsummed()
		return nil
	}); err != nil {
		return false, err
	}
	for done := 0; len(list) > 0; {
		if done >= maxSummaries {
			return true, nil
		}
		var tasks []summaryTask
		var rest []thing
		err := kb.read(ctx, s, func(r *resident, tx *tenancy.Tx) (err error) {
			tasks, rest, err = r.summaryTasks(tx, list, summaryBatch)
			return err
		})
		if err != nil {
			return false, err
		}
		list = rest
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(e.o.ModelConcurrency)
		for i := range tasks {
			if t := &tasks[i]; t.parts != nil {
				done++
				g.Go(func() (err error) {
					t.made.text, err = w.summarize(gctx, t.title, t.parts)
					return err
				})
			}
		}
		if err := g.Wait(); err != nil {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			e.o.Logger.WarnContext(ctx, "summaries are put off", "scope", s.TenantID()+"/"+s.KBID(), "error", err)
			return false, nil
		}
		if err := storeSummaries(ctx, s, tasks); err != nil {
			return false, err
		}
		kb.res.setSummaries(tasks)
	}
	return false, nil
}

// dropSummaries takes the texts out of the store that are not of what is said now.
// It needs no model.
func dropSummaries(ctx context.Context, s *tenancy.Space, kb *openKB) error {
	none := (&summary{}).encode()
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
			err := s.Commit(ctx, func(tx *tenancy.Tx) (err error) {
				for _, d := range list {
					switch {
					case d.holds:
					case d.known:
						err = tx.Set(kindSummary, []byte(d.key), none)
					default:
						err = tx.Delete(kindSummary, []byte(d.key))
					}
					if err != nil {
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

// storeSummaries stores what the model wrote, and that it wrote nothing of what had
// no summary: so nobody asks again until there is more.
func storeSummaries(ctx context.Context, s *tenancy.Space, tasks []summaryTask) error {
	some := false
	for i := range tasks {
		t := &tasks[i]
		if t.parts == nil {
			continue
		}
		if t.made.text == "" {
			t.made.made, t.wait = nil, anew
		}
		t.store = t.made.text != "" || !t.old
		some = some || t.store
	}
	if !some {
		return nil
	}
	return s.Commit(ctx, func(tx *tenancy.Tx) error {
		for i := range tasks {
			if t := &tasks[i]; t.store {
				if err := tx.Set(kindSummary, profileKey(t.kind, t.name), t.made.encode()); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// summarizer asks a model for one description instead of many.
type summarizer struct {
	eng      *Engine
	chat     Chatter
	prompts  promptSet
	language string
}

func (e *Engine) summarizer(c *settings) *summarizer {
	w := &summarizer{eng: e, chat: c.chat, prompts: promptSet(c.Prompts), language: "English"}
	if x, ok := e.extractorFor(c.Config).(*modelExtractor); ok {
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
		if reply, err = w.chat.Chat(ctx, r, nil); err == nil {
			spend(ctx, reply.PromptTokens+reply.ReplyTokens)
		}
		return err
	})
	if err != nil || reply.Truncated { // half a summary says less than what it is made of
		return "", err
	}
	return cleanText(withoutThinking(reply.Text), maxSummaryText), nil
}
