package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"

	"alcove/index"
	"alcove/tenancy"
)

// An embedder that is not pure gives every entity and relation a profile
// vector. It is derived state, stored because it was paid for: kindProfile
// space1 sha16(name) -> print8 print8(text) vector, in the set that counts. The print says which contributions it
// was made of; a vector whose print is not that of its entity any more is never
// searched. A profile job, one a knowledge base at a time, makes what is missing.

const (
	profileEntities  = 'e'
	profileRelations = 'r'
	// profileTokens bounds the text that is embedded for one profile.
	profileTokens = 1000
	// profileFold is how many contributions one profile is made of.
	profileFold = 32
)

// print is a hash of one contribution's words (FNV-1a, stable across
// processes). Sums of prints are kept instead of lists: equal multisets have
// equal sums, in any order.
func print(parts ...string) uint64 {
	h := fnv.New64a()
	var n [4]byte
	for _, p := range parts {
		binary.BigEndian.PutUint32(n[:], uint32(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return h.Sum64()
}

// profileSpace is one of the two spaces of profile vectors.
type profileSpace struct {
	kind byte
	// stale are the dense ids whose vector is missing or made of other words.
	stale map[uint32]bool
}

// profiles is the state of both spaces of a resident copy; nil with a pure embedder.
type profiles struct {
	entities, relations profileSpace
	gone                map[string]bool // keys of stored vectors that have lost their owner
}

func newProfiles() *profiles {
	return &profiles{
		entities:  profileSpace{kind: profileEntities, stale: map[uint32]bool{}},
		relations: profileSpace{kind: profileRelations, stale: map[uint32]bool{}},
		gone:      map[string]bool{},
	}
}

// back takes a key off those that have lost their owner and reports whether it was
// one of them.
func (p *profiles) back(key []byte) bool {
	was := p.gone[string(key)]
	delete(p.gone, string(key))
	return was
}

// embedded is the mark of a thing that the store may have a vector of it: of a name
// that has just been met for the first time it has none, and need not be asked.
func (r *resident) embedded(kind byte, id uint32) *bool {
	if kind == profileEntities {
		return &r.entities[id].embedded
	}
	return &r.relations[id].embedded
}

// touchEntity and touchRelation take a vector out of the search whose words
// have changed. r.mu is held for writing.
func (r *resident) touchEntity(e uint32) {
	if r.profiles != nil {
		r.profiles.entities.stale[e] = true
		if r.index.Entities != nil {
			r.index.Entities.Delete(e)
		}
	}
}

func (r *resident) touchRelation(rel uint32) {
	if r.profiles != nil {
		r.profiles.relations.stale[rel] = true
		if r.index.Relations != nil {
			r.index.Relations.Delete(rel)
		}
	}
}

func (r *resident) dropEntity(e uint32) {
	if r.sums != nil {
		r.lessSaid(profileEntities, e)
		delete(r.sums.entities, e)
	}
	if r.profiles != nil {
		r.touchEntity(e)
		delete(r.profiles.entities.stale, e)
		r.profiles.gone[string(profileKey(profileEntities, r.graph.Name(e)))] = true
	}
}

func (r *resident) dropRelation(rel uint32) {
	if r.sums != nil {
		r.lessSaid(profileRelations, rel)
		delete(r.sums.relations, rel)
	}
	if r.profiles != nil {
		r.touchRelation(rel)
		delete(r.profiles.relations.stale, rel)
		r.profiles.gone[string(profileKey(profileRelations, r.relationKey(rel)))] = true
	}
}

// relationKey names a pair inside a profile's key: the length of the first
// name, then both.
func (r *resident) relationKey(rel uint32) string {
	x := &r.relations[rel]
	return pair{r.graph.Name(x.lo), r.graph.Name(x.hi)}.key()
}

func profileKey(kind byte, name string) []byte {
	h := sha256.Sum256([]byte(name))
	return append([]byte{kind}, h[:16]...)
}

// loadProfiles puts the stored vectors that are still right into the index of a
// freshly loaded copy and notes the rest. It does nothing with a pure embedder,
// and vectors are none before the length of one is known (dim 0).
func (r *resident) loadProfiles(tx *tenancy.Tx, dim int, kind byte) error {
	if r.profiles == nil || dim == 0 {
		return nil
	}
	r.index.Entities, r.index.Relations = r.newSpace(dim), r.newSpace(dim)
	type owner struct {
		space *profileSpace
		into  *index.Vectors
		id    uint32
		print uint64
	}
	owners := make(map[string]owner, len(r.entities)+len(r.relations))
	for id := range r.entities {
		if r.liveEntity(uint32(id)) {
			k := profileKey(profileEntities, r.graph.Name(uint32(id)))
			owners[string(k)] = owner{&r.profiles.entities, r.index.Entities, uint32(id), r.entityPrint(uint32(id))}
		}
	}
	for id := range r.relations {
		if r.liveRelation(uint32(id)) {
			k := profileKey(profileRelations, r.relationKey(uint32(id)))
			owners[string(k)] = owner{&r.profiles.relations, r.index.Relations, uint32(id), r.relationPrint(uint32(id))}
		}
	}
	err := tx.Scan(kind, tenancy.Scan{}, func(rest, value []byte) error {
		o, ok := owners[string(rest)]
		if !ok {
			r.profiles.gone[string(rest)] = true
			return nil
		}
		*r.embedded(o.space.kind, o.id) = true
		if len(value) != 16+profileBytes(dim) || binary.BigEndian.Uint64(value) != o.print {
			return nil
		}
		v, err := decodeProfile(value[16:])
		if err != nil {
			return err
		}
		delete(o.space.stale, o.id)
		return o.into.Set(o.id, v)
	})
	if err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	return nil
}

// profileTask is one profile on its way through the embedder.
type profileTask struct {
	space *profileSpace
	id    uint32
	name  string
	print uint64
	text  string
	// encoded is the stored vector, where the text is what it was made of although
	// contributions have changed.
	encoded []byte
}

// stored looks for a vector of the very text.
func (t *profileTask) stored(tx *tenancy.Tx, kind byte, dim int) error {
	b, err := tx.Get(kind, profileKey(t.space.kind, t.name))
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(b) == 16+profileBytes(dim) && binary.BigEndian.Uint64(b[8:]) == print(t.text) {
		t.encoded = b[16:]
	}
	return nil
}

// profiler lets one profile job of a base work at a time. One that comes while
// another works leaves its share to that one.
type profiler struct {
	mu             sync.Mutex
	working, again bool
}

// begin reports whether the caller is to work; if not, the one that works will
// look once more before it ends.
func (p *profiler) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.working {
		p.again = true
		return false
	}
	p.working, p.again = true, false
	return true
}

// end reports whether the caller is done; if not, it has to look once more.
func (p *profiler) end(failed bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.again && !failed {
		p.again = false
		return false
	}
	p.working = false
	return true
}

// profileJob embeds the profiles of a knowledge base that are missing or made
// of other words, a batch at a time, and drops those without an owner. It holds
// the base pinned but no lock while the model works. It waits a little for the
// documents in work, so that theirs fill the batches too. A change that comes
// meanwhile has a profile job of its own. Profiles that the model refuses for
// good are left out until their words change: they are found by name.
func (e *Engine) profileJob(ctx context.Context, s *tenancy.Space, ref tenancy.JobRef) error {
	if err := e.queue.gather(ref); err != nil {
		return err
	}
	// From here on a change asks for a job of its own: what it brings may come
	// too late for this one.
	changing := false
	if err := e.change(ctx, s, func(c *change) error {
		if c.st.Profiles == ref.Seq {
			c.st.Profiles = 0
		}
		if changing = c.st.changing(); changing { // the change-over brings a job again
			return c.tx.EndJob(ref)
		}
		return nil
	}); err != nil || changing {
		return err
	}
	err := e.makeProfiles(ctx, s)
	if errors.Is(err, ErrEmbeddingPinned) || errors.Is(err, ErrDamaged) {
		// Another try would fail as well, and hold up the tenant's other work. The
		// next change of the base brings a job again.
		e.o.Logger.WarnContext(ctx, "profiles", "scope", s.KBID(), "error", err)
		err = nil
	}
	if err != nil {
		return err
	}
	return s.Commit(ctx, func(tx *tenancy.Tx) error { return tx.EndJob(ref) })
}

func (e *Engine) makeProfiles(ctx context.Context, s *tenancy.Space) error {
	kb, release, err := e.pool.acquire(ctx, s)
	if err != nil {
		return err
	}
	defer release()
	if !kb.profiler.begin() {
		return nil
	}
	// Summaries first: what is embedded is made of them.
	more, err := e.makeSummaries(ctx, s, kb)
	if err != nil {
		kb.profiler.end(true)
		return err
	}
	for {
		if err := e.embedStale(ctx, s, kb); err != nil {
			kb.profiler.end(true)
			return err
		}
		again := !kb.profiler.end(false)
		if more || again && kb.res.sums != nil {
			// What came meanwhile may need summaries: a job of its own has its own bound.
			if err := e.againProfiles(ctx, s); err != nil {
				return err
			}
			more = false
		}
		if !again {
			return nil
		}
	}
}

// embedStale makes the profiles that are missing now. What becomes stale meanwhile
// has a job to come.
func (e *Engine) embedStale(ctx context.Context, s *tenancy.Space, kb *openKB) error {
	set, err := e.settings(ctx, s)
	if err != nil {
		return err
	}
	m, err := e.embedderOf(ctx, s, set.embed)
	if err != nil {
		return err
	}
	var list []thing
	for first := true; ; first = false {
		var tasks []profileTask
		var gone []string
		err := kb.read(ctx, s, func(r *resident, tx *tenancy.Tx) (err error) {
			rest := list
			if first {
				rest = r.unembedded()
			}
			tasks, list, gone, err = r.profileTasks(tx, rest, set.batch(e.o.EmbedBatch))
			return err
		})
		if err != nil || len(tasks)+len(gone) == 0 {
			return err
		}
		if err := e.storeProfiles(ctx, m, s, kb.res, tasks, gone); err != nil {
			return err
		}
	}
}

// againProfiles asks for one more profile job, behind the work that waits.
func (e *Engine) againProfiles(ctx context.Context, s *tenancy.Space) error {
	return e.change(ctx, s, func(c *change) error { return c.wantProfiles() })
}

// wantProfiles asks for a profile job unless one waits already.
func (c *change) wantProfiles() error {
	if c.st.Profiles != 0 {
		return nil
	}
	ref, err := c.addJob(job{Profiles: true})
	if err != nil {
		return err
	}
	c.st.Profiles = ref.Seq
	c.sweeps = append(c.sweeps, ref)
	return nil
}

// newVectors returns the vector of each task: the stored one where the text that
// is embedded is the one it was made of.
func (e *Engine) newVectors(ctx context.Context, m Embedder, tasks []profileTask) ([][]byte, error) {
	var todo []profileTask
	for _, t := range tasks {
		if t.encoded == nil {
			todo = append(todo, t)
		}
	}
	made, err := e.embedProfiles(ctx, m, todo)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, len(tasks))
	for i, t := range tasks {
		if out[i] = t.encoded; out[i] != nil {
			continue
		}
		if made[0] != nil {
			out[i] = encodeProfile(made[0])
		}
		made = made[1:]
	}
	return out, nil
}

// storeProfiles embeds some profiles and stores them, then shows them to searches.
func (e *Engine) storeProfiles(ctx context.Context, m Embedder, s *tenancy.Space, r *resident, tasks []profileTask, gone []string) error {
	encoded, err := e.newVectors(ctx, m, tasks)
	if err != nil {
		return fmt.Errorf("embed profiles: %w", err)
	}
	if err := s.Commit(ctx, func(tx *tenancy.Tx) error {
		st, err := readState(tx)
		if err != nil {
			return err
		}
		kind := st.vectors().profiles
		for i, t := range tasks {
			if encoded[i] == nil {
				continue
			}
			if dim := len(encoded[i]) - profileBytes(0); dim != st.Dim || m.Model() != st.Embedder {
				return &PinnedError{Made: st.Embedder, MadeDim: st.Dim, Now: m.Model(), NowDim: dim}
			}
			b := binary.BigEndian.AppendUint64(key64(t.print), print(t.text))
			if err := tx.Set(kind, profileKey(t.space.kind, t.name), append(b, encoded[i]...)); err != nil {
				return err
			}
		}
		for _, k := range gone {
			if err := tx.Delete(kind, []byte(k)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	vecs := make([][]float32, len(tasks))
	for i, b := range encoded {
		if b == nil {
			continue
		}
		if vecs[i], err = decodeProfile(b); err != nil {
			return err
		}
	}
	return r.setProfiles(tasks, vecs, gone)
}

// embedProfiles returns a vector for each task, nil for a text that the model
// refuses for good: it is found by halving the batch. Any other fault is not the
// text's and an error: the job is put off.
func (e *Engine) embedProfiles(ctx context.Context, m Embedder, tasks []profileTask) ([][]float32, error) {
	if len(tasks) == 0 {
		return nil, nil
	}
	texts := make([]string, len(tasks))
	for i, t := range tasks {
		texts[i] = t.text
	}
	vecs, err := e.embedTexts(ctx, m, forWork, texts)
	refused := errors.Is(err, ErrPromptTooLong) || errors.Is(err, ErrModelRefused) || errors.Is(err, errPanicked)
	if !refused || ctx.Err() != nil {
		return vecs, err
	}
	if len(tasks) == 1 {
		e.o.Logger.WarnContext(ctx, "profile left out", "error", err)
		return make([][]float32, 1), nil
	}
	left, err := e.embedProfiles(ctx, m, tasks[:len(tasks)/2])
	if err != nil {
		return nil, err
	}
	right, err := e.embedProfiles(ctx, m, tasks[len(tasks)/2:])
	return append(left, right...), err
}

// unembedded are the things whose profile is missing or made of other words, in the
// order of their numbers: what one chunk brought is together, and its contribution is
// read once for all of it. The list is made once for a run, for to look for the first
// few again and again is quadratic in a base that is being filled. r.mu is held for
// reading.
func (r *resident) unembedded() (out []thing) {
	if r.profiles == nil {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(r.profiles.entities.stale)) {
		out = append(out, thing{profileEntities, id})
	}
	for _, id := range slices.Sorted(maps.Keys(r.profiles.relations.stale)) {
		out = append(out, thing{profileRelations, id})
	}
	return out
}

// profileTasks makes tasks of the next things of a list, n of those that still
// need it, and returns the rest of the list, and some keys of stored profiles that
// have lost their owner. r.mu is held for reading.
func (r *resident) profileTasks(tx *tenancy.Tx, list []thing, n int) (tasks []profileTask, rest []thing, gone []string, err error) {
	if r.profiles == nil {
		return nil, nil, nil, nil
	}
	for k := range r.profiles.gone {
		if len(gone) == n {
			break
		}
		gone = append(gone, k)
	}
	f := newFolder(r.everything(), tx, nil).keeping() // most documents name hubs, and the same contributions to one are read
	for len(list) > 0 && len(tasks) < n {
		x := list[0]
		list = list[1:]
		space, live := &r.profiles.entities, r.liveEntity
		if x.kind == profileRelations {
			space, live = &r.profiles.relations, r.liveRelation
		}
		if !space.stale[x.id] || !live(x.id) {
			continue
		}
		t := profileTask{space: space, id: x.id}
		if t.text, err = f.embedded(x); err != nil {
			return nil, nil, nil, err
		}
		if x.kind == profileEntities {
			t.name, t.print = r.graph.Name(x.id), r.entityPrint(x.id)
		} else {
			t.name, t.print = r.relationKey(x.id), r.relationPrint(x.id)
		}
		tasks = append(tasks, t)
	}
	if len(tasks) == 0 {
		return nil, list, gone, nil
	}
	st, err := readState(tx)
	if err != nil {
		return nil, nil, nil, err
	}
	for i, t := range tasks {
		if !*r.embedded(t.space.kind, t.id) {
			continue
		}
		if err := tasks[i].stored(tx, st.vectors().profiles, st.Dim); err != nil {
			return nil, nil, nil, fmt.Errorf("profiles: %w", err)
		}
	}
	return tasks, list, gone, nil
}

// embedded is the text of a thing that is embedded. Of one with a summary it is the
// summary without the fragments beside it: a vector for each of them would be a
// call for a few words more.
func (f *folder) embedded(x thing) (string, error) {
	m, _, err := f.summary(x.kind, x.id)
	if err != nil {
		return "", err
	}
	var p profile
	if m == nil || x.kind == profileRelations { // whose keywords are folded all the same
		if p, err = f.fold(x.kind, x.id, f.pick(f.v.chunksOf(x.kind, x.id), profileFold)); err != nil {
			return "", err
		}
	}
	if m != nil {
		p.description = m.text
	}
	if x.kind == profileEntities {
		p.handOver(f.v.entities[x.id].edit)
		return profileText(f.v.entityName(x.id), p), nil
	}
	rel := &f.v.relations[x.id]
	p.handOver(rel.edit)
	return profileText(p.keywords+"\t"+f.v.entityName(rel.lo)+"\n"+f.v.entityName(rel.hi), p), nil
}

// profileText is what LightRAG embeds: the name or the keywords with both names,
// then the descriptions.
func profileText(head string, p profile) string {
	return cutTokens(head+"\n"+strings.ReplaceAll(p.description, fieldSep, "\n"), profileTokens)
}

// setProfiles puts new vectors into the index, but for those whose words have
// changed again meanwhile, and forgets the keys that are gone from the store.
func (r *resident) setProfiles(tasks []profileTask, vecs [][]float32, gone []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range gone {
		delete(r.profiles.gone, k)
	}
	for i, t := range tasks {
		into, now := &r.index.Entities, uint64(0)
		name := ""
		switch {
		case t.space.kind == profileEntities && r.liveEntity(t.id):
			now, name = r.entityPrint(t.id), r.graph.Name(t.id)
		case t.space.kind == profileRelations && r.liveRelation(t.id):
			into = &r.index.Relations
			now, name = r.relationPrint(t.id), r.relationKey(t.id)
		}
		if name == t.name && vecs[i] != nil {
			*r.embedded(t.space.kind, t.id) = true
		}
		if name != t.name || now != t.print {
			continue
		}
		delete(t.space.stale, t.id)
		if vecs[i] == nil {
			continue
		}
		if *into == nil {
			*into = r.newSpace(len(vecs[i]))
		}
		if err := (*into).Set(t.id, vecs[i]); err != nil {
			return err
		}
	}
	return nil
}
