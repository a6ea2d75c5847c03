package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"alcove/tenancy"
)

// What is said of a thing in many places is too much to show. Past LightRAG's
// thresholds the language model writes one description of all of it: derived
// state, made by the profile job, stored because it was paid for: kindSummary
// space1 sha16(name) -> n2 (doc16 ord4 print8)*n text, see summary.
//
// A summary remembers which contributions it is made of, each by its chunk and the
// print of its words. It holds while every one of them is there and says the same,
// whatever else is said: newer contributions stand beside it as bare fragments.
// When these pass the thresholds themselves, another one is made of the old one
// and them. When one that it is made of is withdrawn or says something else it is
// void at once: bare fragments stand in, the profile job takes its text out of the
// store, and no model is asked until as much again has been said of the thing. So
// a delete costs no call, and a thing that changes all the time costs one for each
// summaryFragments changes.
//
// What is shown is a function of the contributions in sight and of the stored
// summary, and no word of it is of a contribution that is gone. Without a summary
// it is a function of the contributions alone, whatever the order they came in.
// Which of them a summary was made of depends on when the model was asked. Under a
// filter none is used: it may be made of what the filter does not permit.

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
	// summaryFold is how many contributions one summary is made of at the most:
	// LightRAG's number of sources. Past it newer ones stand beside it for good.
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

// summing is where a thing stands with its summary.
type summing struct {
	stored bool // the store may have a record
	// wait is how much more has to be said before it is worth a look. It counts what
	// was said since, taken back or not: a look too many is cheap.
	wait heft
}

var (
	// anew is the wait after a summary, or after one that is void.
	anew = heft{summaryFragments, summaryBytes}
	// forGood is the wait of a summary that takes no more.
	forGood = heft{math.MaxInt64, math.MaxInt64}
)

func (h heft) over() bool { return h.n <= 0 || h.bytes <= 0 }

// summaries are the things of a resident copy that a summary job has to look at;
// nil without a language model.
type summaries struct {
	entities, relations map[uint32]bool
	// doubted are the keys of stored summaries of whose things something was
	// withdrawn: unless it was not theirs their texts go, so that nothing deleted
	// lives on in one.
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

// moreSaid notes that a thing has a contribution more, of so many bytes of
// description. r.mu is held for writing.
func (r *resident) moreSaid(kind byte, id, size uint32) {
	if r.sums == nil || size == 0 {
		return
	}
	x := r.summing(kind, id)
	x.wait.n--
	x.wait.bytes -= int64(size)
	if x.wait.over() && r.heftOf(kind, id).heavy() {
		r.sums.of(kind)[id] = true
	}
}

// lessSaid notes that a contribution to a thing is withdrawn. r.mu is held for writing.
func (r *resident) lessSaid(kind byte, id uint32) {
	if r.sums == nil {
		return
	}
	x := r.summing(kind, id)
	if !x.stored {
		x.wait = heft{} // it was reckoned with what is gone
		return
	}
	name, _, _ := r.sumOf(kind, id)
	r.sums.doubted[string(profileKey(kind, name))] = sumName{kind, name}
}

func (r *resident) heftOf(kind byte, id uint32) heft {
	if kind == profileEntities {
		return r.entities[id].heft
	}
	return r.relations[id].heft
}

func (r *resident) summing(kind byte, id uint32) *summing {
	if kind == profileEntities {
		return &r.entities[id].sum
	}
	return &r.relations[id].sum
}

// said is what a chunk says of a thing: the print of it and how much it is; ok is
// false when it does not speak of it.
func (r *resident) said(kind byte, id, chunk uint32) (print uint64, h heft, ok bool) {
	c := &r.chunks[chunk]
	if kind == profileEntities {
		for _, m := range c.mentions {
			if m.entity == id {
				print, ok = print+m.print, true
				h.add(m.size, 1)
			}
		}
		return print, h, ok
	}
	for _, m := range c.relations {
		if m.rel == id {
			print, ok = print+m.print, true
			h.add(m.size, 1)
		}
	}
	return print, h, ok
}

func (r *resident) chunksOf(kind byte, id uint32) []uint32 {
	if kind == profileEntities {
		return r.entities[id].chunks
	}
	return r.relations[id].chunks
}

// summary is what the store has of one. Without a text it says that there is none,
// and that none is made until as much again has been said.
type summary struct {
	made []byte // what it is made of: doc16 ord4 print8 each
	text string
}

const madeBytes = 16 + 4 + 8

func (m *summary) encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(m.made)/madeBytes))
	return append(append(b, m.made...), m.text...)
}

// readSummary returns a stored summary, nil when there is none.
func readSummary(tx *tenancy.Tx, key []byte) (*summary, error) {
	b, err := tx.Get(kindSummary, key)
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("summary: %w", err)
	}
	return decodeSummary(b)
}

// decodeSummary reads what encode wrote; what it returns is b's memory but for the text.
func decodeSummary(b []byte) (*summary, error) {
	if len(b) >= 2 {
		// A text is made of something, or it would hold for ever.
		if n := 2 + madeBytes*int(binary.BigEndian.Uint16(b)); len(b) == 2 || n > 2 && len(b) >= n {
			return &summary{b[2:n], string(b[n:])}, nil
		}
	}
	return nil, fmt.Errorf("%w: summary of %d bytes", ErrDamaged, len(b))
}

// with is a summary's list and some chunks more.
func (r *resident) with(made []byte, kind byte, id uint32, chunks []uint32) []byte {
	made = bytes.Clone(made)
	for _, c := range chunks {
		x := &r.chunks[c]
		p, _, _ := r.said(kind, id, c)
		made = append(made, x.doc.doc[:]...)
		made = binary.BigEndian.AppendUint32(made, x.ord)
		made = binary.BigEndian.AppendUint64(made, p)
	}
	return made
}

// madeOf are the chunks that a summary is made of, ascending, and how much they say;
// holds is false when one of them is gone or says something else now.
func (r *resident) madeOf(m *summary, kind byte, id uint32) (chunks []uint32, h heft, holds bool) {
	chunks = make([]uint32, 0, len(m.made)/madeBytes)
	for x := range slices.Chunk(m.made, madeBytes) {
		d, ord := r.docs[docKey(x[:16])], binary.BigEndian.Uint32(x[16:])
		if d == nil || int64(ord) >= int64(len(d.chunks)) {
			return nil, heft{}, false
		}
		p, more, ok := r.said(kind, id, d.chunks[ord])
		if !ok || p != binary.BigEndian.Uint64(x[20:]) {
			return nil, heft{}, false
		}
		chunks = append(chunks, d.chunks[ord])
		h.n, h.bytes = h.n+more.n, h.bytes+more.bytes
	}
	slices.Sort(chunks)
	return chunks, h, true
}

// without is an ascending list without the numbers of another one.
func without(list, out []uint32) []uint32 {
	left := make([]uint32, 0, max(0, len(list)-len(out)))
	for _, x := range list {
		for len(out) > 0 && out[0] < x {
			out = out[1:]
		}
		if len(out) == 0 || out[0] != x {
			left = append(left, x)
		}
	}
	return left
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
// one, and which stored ones do not hold. It does nothing without a language model.
func (r *resident) loadSummaries(tx *tenancy.Tx, chat bool) error {
	if !chat {
		return nil
	}
	r.sums = newSummaries()
	type owner struct {
		sumName
		id uint32
	}
	owners := map[string]owner{}
	note := func(kind byte, id uint32) {
		if r.heftOf(kind, id).heavy() && r.liveSum(kind, id) {
			name, _, _ := r.sumOf(kind, id)
			owners[string(profileKey(kind, name))] = owner{sumName{kind, name}, id}
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
		if !ok {
			r.sums.doubted[string(rest)] = sumName{}
			return nil
		}
		m, err := decodeSummary(value)
		if err != nil { // derived: it goes, and nothing is lost
			r.sums.doubted[string(rest)] = sumName{}
			return nil
		}
		x := r.summing(o.kind, o.id)
		*x = summing{stored: true, wait: anew}
		_, told, holds := r.madeOf(m, o.kind, o.id)
		switch {
		case !holds:
			r.sums.doubted[string(rest)] = o.sumName
		case m.full():
			x.wait = forGood
		case m.text != "":
			h := r.heftOf(o.kind, o.id)
			x.wait.n -= h.n - told.n
			x.wait.bytes -= h.bytes - told.bytes
		}
		if !x.wait.over() {
			delete(r.sums.of(o.kind), o.id)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("summaries: %w", err)
	}
	return nil
}

// full reports whether a summary takes no more: the next step would pass the bound.
func (m *summary) full() bool { return len(m.made)/madeBytes > summaryFold-summaryFragments }

// summary returns the stored summary of a thing if it has a text and holds for
// those who see everything, nil otherwise, and the chunks beside it.
func (f *folder) summary(kind byte, id uint32) (m *summary, rest []uint32, err error) {
	if f.v.sums == nil || !f.v.whole() || !f.v.summing(kind, id).stored {
		return nil, nil, nil
	}
	name, _, _ := f.v.sumOf(kind, id)
	m, err = readSummary(f.tx, profileKey(kind, name))
	if err != nil || m == nil || m.text == "" {
		return nil, nil, err
	}
	made, _, holds := f.v.madeOf(m, kind, id)
	if !holds {
		return nil, nil, nil
	}
	return m, without(f.v.chunksOf(kind, id), made), nil
}

// summarised puts the summary of a thing in the place of its description, with up
// to n contributions that it does not cover.
func (f *folder) summarised(kind byte, id uint32, n int, p *profile) error {
	m, rest, err := f.summary(kind, id)
	if m == nil || err != nil {
		return err
	}
	p.description = m.text
	if len(rest) == 0 {
		return nil
	}
	more, err := f.fold(kind, id, f.pick(rest, n))
	if more.description != "" {
		p.description += fieldSep + more.description
	}
	return err
}

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
	f := newFolder(r.everything(), tx, nil)
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
	c, err := s.Config(ctx)
	if err != nil {
		return false, err
	}
	if err := dropSummaries(ctx, s, kb); err != nil {
		return false, err
	}
	w := e.summarizer(c)
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
			e.o.Logger.Warn("summaries are put off", "scope", s.TenantID()+"/"+s.KBID(), "error", err)
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
