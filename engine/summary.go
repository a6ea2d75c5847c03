package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

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
	f.txMu.Lock()
	m, err = readSummary(f.tx, profileKey(kind, name))
	f.txMu.Unlock()
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
