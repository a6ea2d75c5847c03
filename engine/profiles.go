package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"alcove/index"
	"alcove/tenancy"
)

// An embedder that is not pure gives every entity and relation a profile
// vector. It is derived state, stored because it was paid for: kindProfile
// space1 sha16(name) -> print8 vector. The print says which contributions it
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
	if r.profiles != nil {
		r.touchEntity(e)
		delete(r.profiles.entities.stale, e)
		r.profiles.gone[string(profileKey(profileEntities, r.graph.Name(e)))] = true
	}
}

func (r *resident) dropRelation(rel uint32) {
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
	lo, hi := r.graph.Name(x.lo), r.graph.Name(x.hi)
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(lo)))) + lo + hi
}

func profileKey(kind byte, name string) []byte {
	h := sha256.Sum256([]byte(name))
	return append([]byte{kind}, h[:16]...)
}

// loadProfiles puts the stored vectors that are still right into the index of a
// freshly loaded copy and notes the rest. It does nothing with a pure embedder.
func (r *resident) loadProfiles(tx *tenancy.Tx, dim int) error {
	if r.profiles == nil {
		return nil
	}
	r.index.Entities, r.index.Relations = index.NewVectors(dim), index.NewVectors(dim)
	type owner struct {
		space *profileSpace
		into  *index.Vectors
		id    uint32
		print uint64
	}
	owners := make(map[string]owner, len(r.entities)+len(r.relations))
	for id := range r.entities {
		if x := &r.entities[id]; len(x.chunks) > 0 {
			k := profileKey(profileEntities, r.graph.Name(uint32(id)))
			owners[string(k)] = owner{&r.profiles.entities, r.index.Entities, uint32(id), x.print}
		}
	}
	for id := range r.relations {
		if x := &r.relations[id]; len(x.chunks) > 0 {
			k := profileKey(profileRelations, r.relationKey(uint32(id)))
			owners[string(k)] = owner{&r.profiles.relations, r.index.Relations, uint32(id), x.print}
		}
	}
	err := tx.Scan(kindProfile, tenancy.Scan{}, func(rest, value []byte) error {
		o, ok := owners[string(rest)]
		if !ok {
			r.profiles.gone[string(rest)] = true
			return nil
		}
		if len(value) != 8+4*dim || binary.BigEndian.Uint64(value) != o.print {
			return nil
		}
		v, err := decodeVector(value[8:])
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
}

// profileJob embeds the profiles of a knowledge base that are missing or made
// of other words, a batch at a time, and drops those without an owner. It holds
// the base pinned but no lock while the model works. A change that comes
// meanwhile has a profile job of its own.
func (e *Engine) profileJob(ctx context.Context, s *tenancy.Space, ref tenancy.JobRef) error {
	// From here on a change asks for a job of its own: what it brings may come
	// too late for this one.
	if err := e.change(ctx, s, func(c *change) error {
		if c.st.Profiles == ref.Seq {
			c.st.Profiles = 0
		}
		return nil
	}); err != nil {
		return err
	}
	kb, release, err := e.pool.acquire(ctx, s)
	if err != nil {
		return err
	}
	defer release()
	for {
		var tasks []profileTask
		var gone [][]byte
		err := s.View(ctx, func(tx *tenancy.Tx) error {
			if err := kb.catchUpTo(ctx, tx); err != nil {
				return err
			}
			var err error
			tasks, gone, err = kb.res.profileTasks(tx, e.o.EmbedBatch)
			return err
		})
		if err != nil {
			return err
		}
		if len(tasks) == 0 && len(gone) == 0 {
			break
		}
		texts := make([]string, len(tasks))
		for i, t := range tasks {
			texts[i] = t.text
		}
		var vecs [][]float32
		if len(texts) > 0 {
			if err := e.model(ctx, func() (err error) {
				vecs, err = e.o.Embedder.Embed(ctx, texts)
				return err
			}); err != nil {
				return fmt.Errorf("embed profiles: %w", err)
			}
		}
		if err := s.Commit(ctx, func(tx *tenancy.Tx) error {
			for i, t := range tasks {
				b := binary.BigEndian.AppendUint64(nil, t.print)
				if err := tx.Set(kindProfile, profileKey(t.space.kind, t.name), append(b, encodeVector(vecs[i])...)); err != nil {
					return err
				}
			}
			for _, k := range gone {
				if err := tx.Delete(kindProfile, k); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		if err := kb.res.setProfiles(tasks, vecs); err != nil {
			return err
		}
	}
	return s.Commit(ctx, func(tx *tenancy.Tx) error { return tx.EndJob(ref) })
}

// profileTasks picks the next profiles to embed, in the order of their names,
// and takes the keys of those without an owner.
func (r *resident) profileTasks(tx *tenancy.Tx, n int) (tasks []profileTask, gone [][]byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.profiles == nil {
		return nil, nil, nil
	}
	for k := range r.profiles.gone {
		if len(gone) < n {
			gone = append(gone, []byte(k))
			delete(r.profiles.gone, k)
		}
	}
	f := newFolder(r, tx, nil)
	take := func(sp *profileSpace, less func(a, b uint32) bool, task func(uint32) (profileTask, error)) error {
		ids := make([]uint32, 0, len(sp.stale))
		for id := range sp.stale {
			ids = append(ids, id)
		}
		slices.SortFunc(ids, func(a, b uint32) int {
			if less(a, b) {
				return -1
			}
			return 1
		})
		for _, id := range firstN(ids, n-len(tasks)) {
			t, err := task(id)
			if err != nil {
				return err
			}
			t.space, t.id = sp, id
			delete(r.profiles.gone, string(profileKey(sp.kind, t.name)))
			if t.text == "" { // nothing to embed: found by its name alone
				delete(sp.stale, id)
				continue
			}
			tasks = append(tasks, t)
		}
		return nil
	}
	if err := take(&r.profiles.entities, r.lessEntity, func(id uint32) (t profileTask, err error) {
		p, err := f.entity(id, profileFold)
		t.name, t.print = r.graph.Name(id), r.entities[id].print
		t.text = cutTokens(r.entityName(id)+"\n"+strings.ReplaceAll(p.description, fieldSep, "\n"), profileTokens)
		return t, err
	}); err != nil {
		return nil, nil, err
	}
	err = take(&r.profiles.relations, r.lessRelation, func(id uint32) (t profileTask, err error) {
		p, err := f.relation(id, profileFold)
		x := &r.relations[id]
		t.name, t.print = r.relationKey(id), x.print
		t.text = cutTokens(p.keywords+"\t"+r.entityName(x.lo)+"\n"+r.entityName(x.hi)+"\n"+strings.ReplaceAll(p.description, fieldSep, "\n"), profileTokens)
		return t, err
	})
	return tasks, gone, err
}

// setProfiles puts new vectors into the index, but for those whose words have
// changed again meanwhile.
func (r *resident) setProfiles(tasks []profileTask, vecs [][]float32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, t := range tasks {
		into, now := &r.index.Entities, uint64(0)
		name := ""
		switch {
		case t.space.kind == profileEntities && int(t.id) < len(r.entities) && len(r.entities[t.id].chunks) > 0:
			now, name = r.entities[t.id].print, r.graph.Name(t.id)
		case t.space.kind == profileRelations && int(t.id) < len(r.relations) && len(r.relations[t.id].chunks) > 0:
			into = &r.index.Relations
			now, name = r.relations[t.id].print, r.relationKey(t.id)
		}
		if name != t.name || now != t.print {
			continue
		}
		if *into == nil {
			*into = index.NewVectors(len(vecs[i]))
		}
		if err := (*into).Set(t.id, vecs[i]); err != nil {
			return err
		}
		delete(t.space.stale, t.id)
	}
	return nil
}
