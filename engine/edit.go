package engine

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"alcove/tenancy"
)

// EntityEdit is what people write of an entity. A nil field leaves what the
// documents say.
type EntityEdit struct {
	Name        *string `json:"entity_name"` // another name; EditEntity alone
	Type        *string `json:"entity_type"` // at most 512 bytes
	Description *string `json:"description"` // at most 8 KiB
}

// RelationEdit is what people write of a relation. A nil field leaves what the
// documents say.
type RelationEdit struct {
	Description *string  `json:"description"` // at most 8 KiB
	Keywords    *string  `json:"keywords"`    // comma separated, at most 512 bytes
	Weight      *float64 `json:"weight"`      // above 0, at most 1e9
}

// EditOptions say what an edit may do. A relation has no name of its own to change.
type EditOptions struct {
	Reset       bool // what was written before is taken back first
	AllowRename bool // else a new name is refused
	AllowMerge  bool // a name that another entity has makes the two one
	// IfTag, unless empty, is what HandTag may be of what people have written by now,
	// else the edit is ErrChanged: two who edit one thing do not undo each other unseen.
	IfTag []string
}

// HandTag is the property of a graph node or edge that stands for what people wrote of
// it: another text, another tag. Where they wrote nothing there is none, and the tag
// is NoHandTag; under a filter there is none either.
const (
	HandTag   = "hand_tag"
	NoHandTag = "0"
)

func handTag(e *editRecord) string { return strconv.FormatUint(handPrint(e), 16) }

// looked is what people had said when an act looked at the copy in memory, and the
// generation of that.
type looked struct {
	hand *byHand
	gen  uint64
}

// look calls f with the copy in memory, before the commit of an act.
func (k *KB) look(ctx context.Context, f func(*resident) error) (seen looked, err error) {
	err = k.read(ctx, func(r *resident, _ *tenancy.Tx) error {
		seen = looked{r.hand, r.gen}
		return f(r)
	})
	return seen, err
}

// byHand is what people have said by now: what was seen, unless they have said more
// since, and then all of it is read.
func (c *change) byHand(seen looked) (*byHand, error) {
	since, _, ok, err := touchedSince(c.tx, seen.gen)
	if err != nil {
		return nil, err
	}
	if ok && !slices.Contains(since, handMark) {
		return seen.hand, nil
	}
	return readHand(c.tx)
}

// unchanged is ErrNotFound when a thing was deleted since it was seen, and ErrChanged
// unless what people wrote of it has one of some tags; none are any.
func (c *change) unchanged(seen looked, tags []string, of handOf) error {
	now, err := c.byHand(seen)
	if err != nil {
		return err
	}
	_, was := of(seen.hand)
	e, deleted := of(now)
	switch {
	case deleted && !was:
		return fmt.Errorf("%w: it was deleted by another act just now", ErrNotFound)
	case len(tags) == 0:
		return nil
	}
	return unchanged(handTag(e), tags)
}

// CreateEntity makes an entity that no document needs to name, with type and
// description. One that is there already is ErrExists; one that was deleted by
// hand comes back with what documents say of it. It survives any change of the
// documents.
func (k *KB) CreateEntity(ctx context.Context, name string, e EntityEdit) (*GraphNode, error) {
	if err := checkNames(fieldName{"entity_name", name}); err != nil {
		return nil, err
	}
	if e.Name != nil {
		return nil, badField("entity_data.entity_name", "the name stands beside entity_data")
	}
	if err := e.check("entity_data"); err != nil {
		return nil, err
	}
	if err := k.read(ctx, func(r *resident, _ *tenancy.Tx) error {
		if id, err := r.findEntity("entity_name", name); err == nil {
			return fmt.Errorf("entity %q: %w", r.entityName(id), ErrExists)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if err := k.admit(ctx, nameCount{Entities: 1}); err != nil {
		return nil, err
	}
	err := k.edit(ctx, "graph.entity.create", func(c *change) (*editRecord, error) {
		edit, old, err := c.entityEdit(name)
		if err != nil {
			return nil, err
		}
		if old != nil && old.Created {
			return nil, fmt.Errorf("entity %q: %w", name, ErrExists)
		}
		*edit = editRecord{Name: edit.Name, Created: true, Type: e.Type, Description: e.Description}
		return edit, c.putEdit(edit, old)
	})
	if err != nil {
		return nil, err
	}
	return k.node(ctx, name)
}

// EditEntity says what an entity is, whatever documents say of it now or later.
// A new name is an alias from the old one, and how the entity is shown; it can be
// taken back as a merge can. ErrNotFound when there is no such entity, ErrExists
// when another has the new name and merging is not allowed, ErrChanged when it is no
// more what IfTag says. An entity of which all
// is taken back follows the documents again.
func (k *KB) EditEntity(ctx context.Context, name string, e EntityEdit, o EditOptions) (*GraphNode, error) {
	if err := e.check("updated_data"); err != nil {
		return nil, err
	}
	if e == (EntityEdit{}) && !o.Reset {
		return nil, badField("updated_data", "is empty; a name, a type or a description is needed")
	}
	to := ""
	if e.Name != nil {
		if to = *e.Name; EntityID(to) == EntityID(name) && to == name {
			to = ""
		} else if !o.AllowRename {
			return nil, badField("allow_rename", "must be true for updated_data.entity_name to change the name")
		}
	}
	merges := false
	seen, err := k.look(ctx, func(r *resident) error {
		id, err := r.findEntity("entity_name", name)
		if err != nil || to == "" {
			return err
		}
		other, err := r.findEntity("updated_data.entity_name", to)
		if merges = err == nil && other != id; merges && !o.AllowMerge {
			return fmt.Errorf("entity %q: %w: allow_merge makes the two one", r.entityName(other), ErrExists)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	shown := name
	err = k.edit(ctx, "graph.entity.edit", func(c *change) (*editRecord, error) {
		if err := c.unchanged(seen, o.IfTag, entityByHand(name)); err != nil {
			return nil, err
		}
		at := name
		var again *string
		if to != "" {
			made, err := c.rename(name, to, merges)
			if err != nil {
				return nil, err
			}
			if at, shown = to, to; !made { // the same entity under another of its names
				again = e.Name
			}
		}
		edit, old, err := c.entityEdit(at)
		if err != nil {
			return nil, err
		}
		if kept := kept(old); o.Reset {
			edit.Created = kept.Created
		} else {
			edit.over(kept)
		}
		if e.Type != nil {
			edit.Type = e.Type
		}
		if e.Description != nil {
			edit.Description = e.Description
		}
		if again != nil {
			edit.Shown = again
		}
		if to != "" && again == nil && e.Type == nil && e.Description == nil && !o.Reset {
			return edit, nil // the alias says it all
		}
		return edit, c.putEdit(edit, old)
	})
	if err != nil {
		return nil, err
	}
	return k.node(ctx, shown)
}

// DeleteEntity takes an entity and its relations out of the graph: what documents
// say of it, now or later, is left out until CreateEntity. ErrNotFound when there
// is no such entity, ErrChanged as for EditEntity.
func (k *KB) DeleteEntity(ctx context.Context, name string, ifTag []string) error {
	seen, err := k.look(ctx, func(r *resident) error {
		_, err := r.findEntity("name", name)
		return err
	})
	if err != nil {
		return err
	}
	return k.edit(ctx, "graph.entity.delete", func(c *change) (*editRecord, error) {
		if err := c.unchanged(seen, ifTag, entityByHand(name)); err != nil {
			return nil, err
		}
		edit, old, err := c.entityEdit(name)
		if err != nil {
			return nil, err
		}
		*edit = editRecord{Name: edit.Name, Deleted: true}
		return edit, c.putEdit(edit, old)
	})
}

// CreateRelation makes a relation from source to target, which must be there. One
// that is there already, whichever way it points, is ErrExists; one that was
// deleted by hand comes back with what documents say of it.
func (k *KB) CreateRelation(ctx context.Context, source, target string, e RelationEdit) (*GraphEdge, error) {
	if err := e.check("relation_data"); err != nil {
		return nil, err
	}
	if _, err := k.ends(ctx, "source_entity", source, "target_entity", target, false); err != nil {
		return nil, err
	}
	if err := k.admit(ctx, nameCount{Relations: 1}); err != nil {
		return nil, err
	}
	err := k.edit(ctx, "graph.relation.create", func(c *change) (*editRecord, error) {
		edit, old, err := c.relationEdit(source, target)
		if err != nil {
			return nil, err
		}
		if old != nil && old.Created {
			return nil, fmt.Errorf("relation of %q and %q: %w", source, target, ErrExists)
		}
		*edit = editRecord{Name: edit.Name, Target: edit.Target, Created: true, Description: e.Description, Keywords: e.Keywords, Weight: e.Weight}
		return edit, c.putEdit(edit, old)
	})
	if err != nil {
		return nil, err
	}
	return k.relation(ctx, source, target)
}

// EditRelation says what the relation of two entities is, whatever documents say
// of it now or later; which way it points stays as it is. With reset, what was
// written before is taken back first. ErrNotFound when there is none, ErrChanged as
// for EditEntity.
func (k *KB) EditRelation(ctx context.Context, source, target string, e RelationEdit, o EditOptions) (*GraphEdge, error) {
	if err := e.check("updated_data"); err != nil {
		return nil, err
	}
	if e == (RelationEdit{}) && !o.Reset {
		return nil, badField("updated_data", "is empty; a description, keywords or a weight is needed")
	}
	seen, err := k.ends(ctx, "source_id", source, "target_id", target, true)
	if err != nil {
		return nil, err
	}
	err = k.edit(ctx, "graph.relation.edit", func(c *change) (*editRecord, error) {
		if err := c.unchanged(seen, o.IfTag, relationByHand(source, target)); err != nil {
			return nil, err
		}
		edit, old, err := c.relationEdit(source, target)
		if err != nil {
			return nil, err
		}
		if old != nil && !old.Deleted {
			edit = &editRecord{Name: old.Name, Target: old.Target, Created: old.Created} // it keeps the way it was created
			if !o.Reset {
				edit.over(old)
			}
		}
		for _, x := range []struct{ said, into **string }{{&e.Description, &edit.Description}, {&e.Keywords, &edit.Keywords}} {
			if *x.said != nil {
				*x.into = *x.said
			}
		}
		if e.Weight != nil {
			edit.Weight = e.Weight
		}
		return edit, c.putEdit(edit, old)
	})
	if err != nil {
		return nil, err
	}
	return k.relation(ctx, source, target)
}

// DeleteRelation takes the relation of two entities out of the graph: what
// documents say of it, now or later, is left out until CreateRelation. ErrNotFound
// when there is none, ErrChanged as for EditEntity.
func (k *KB) DeleteRelation(ctx context.Context, source, target string, ifTag []string) error {
	seen, err := k.ends(ctx, "source", source, "target", target, true)
	if err != nil {
		return err
	}
	return k.edit(ctx, "graph.relation.delete", func(c *change) (*editRecord, error) {
		if err := c.unchanged(seen, ifTag, relationByHand(source, target)); err != nil {
			return nil, err
		}
		edit, old, err := c.relationEdit(source, target)
		if err != nil {
			return nil, err
		}
		*edit = editRecord{Name: edit.Name, Target: edit.Target, Deleted: true}
		return edit, c.putEdit(edit, old)
	})
}

// edit commits one act on the graph with its audit record. f returns the edit it
// wrote; the audit names it by its key, since names are what documents say.
func (k *KB) edit(ctx context.Context, action string, f func(*change) (*editRecord, error)) error {
	return k.eng.change(ctx, k.space, func(c *change) error {
		e, err := f(c)
		if err != nil {
			return err
		}
		if err := c.touchHand(); err != nil {
			return err
		}
		return c.tx.Audit(action, "graph", fmt.Sprintf("%x", e.key()), nil)
	})
}

// handOf finds what people wrote of a thing, nil for nothing, and whether they deleted it.
type handOf func(*byHand) (e *editRecord, deleted bool)

func entityByHand(name string) handOf {
	return func(h *byHand) (*editRecord, bool) {
		root := h.rootOf(EntityID(name))
		return h.entity[root], isDeleted(h.entities[root])
	}
}

// relationByHand also calls a relation deleted that lost an end.
func relationByHand(source, target string) handOf {
	return func(h *byHand) (*editRecord, bool) {
		a, b := h.rootOf(EntityID(source)), h.rootOf(EntityID(target))
		p := pairOf(a, b)
		return h.relation[p], isDeleted(h.pairs[p]) || isDeleted(h.entities[a]) || isDeleted(h.entities[b])
	}
}

func isDeleted(e *editRecord) bool { return e != nil && e.Deleted }

// entityEdit returns a new edit for what a name stands for, and the one that lies
// in its place.
func (c *change) entityEdit(name string) (edit, old *editRecord, err error) {
	root, err := storedRoot(c.tx, EntityID(name))
	if err != nil {
		return nil, nil, err
	}
	edit = &editRecord{Name: writtenAs(name, root)}
	if old, err = storedEdit(c.tx, edit); err == nil && old != nil {
		edit.Name = old.Name
	}
	return edit, old, err
}

// writtenAs is a name in the spelling at hand, if that is a spelling of it.
func writtenAs(name, identity string) string {
	if EntityID(name) == identity {
		return strings.TrimSpace(name)
	}
	return identity
}

func (c *change) relationEdit(source, target string) (edit, old *editRecord, err error) {
	edit = &editRecord{}
	for _, x := range []struct {
		name string
		into *string
	}{{source, &edit.Name}, {target, &edit.Target}} {
		root, err := storedRoot(c.tx, EntityID(x.name))
		if err != nil {
			return nil, nil, err
		}
		*x.into = writtenAs(x.name, root)
	}
	if EntityID(edit.Name) == EntityID(edit.Target) {
		return nil, nil, badField("target", "is the source itself")
	}
	old, err = storedEdit(c.tx, edit)
	return edit, old, err
}

// kept is what of an edit a later one keeps: a deleted one says nothing.
func kept(old *editRecord) *editRecord {
	if old == nil || old.Deleted {
		return &editRecord{}
	}
	return old
}

// ends checks that two entities are there, and that their relation is or is not.
func (k *KB) ends(ctx context.Context, sourceField, source, targetField, target string, related bool) (looked, error) {
	return k.look(ctx, func(r *resident) error {
		a, err := r.findEntity(sourceField, source)
		if err != nil {
			return err
		}
		b, err := r.findEntity(targetField, target)
		if err != nil {
			return err
		}
		if a == b {
			return badField(targetField, "is the source itself")
		}
		_, ok := r.findRelation(pairOf(r.graph.Name(a), r.graph.Name(b)))
		switch {
		case ok && !related:
			return fmt.Errorf("relation of %q and %q: %w", source, target, ErrExists)
		case !ok && related:
			return fmt.Errorf("%w: %q and %q are not related", ErrNotFound, source, target)
		}
		return nil
	})
}

// node and relation show what an act came to.
func (k *KB) node(ctx context.Context, name string) (*GraphNode, error) {
	var out []GraphNode
	err := k.read(ctx, func(r *resident, tx *tenancy.Tx) error {
		id, err := r.findEntity("entity_name", name)
		if err != nil {
			return err
		}
		v := newGraphView(r.everything(), tx)
		v.fold = entityFoldChunks
		return v.node(id, &out)
	})
	if err != nil {
		return nil, err
	}
	return &out[0], nil
}

func (k *KB) relation(ctx context.Context, source, target string) (*GraphEdge, error) {
	var out []GraphEdge
	err := k.read(ctx, func(r *resident, tx *tenancy.Tx) error {
		p := pairOf(r.hand.rootOf(EntityID(source)), r.hand.rootOf(EntityID(target)))
		rel, ok := r.findRelation(p)
		if !ok {
			return fmt.Errorf("%w: %q and %q are not related", ErrNotFound, source, target)
		}
		v := newGraphView(r.everything(), tx)
		v.fold = entityFoldChunks
		return v.edge(rel, &out)
	})
	if err != nil {
		return nil, err
	}
	return &out[0], nil
}

// fieldName is a name with the field that it came in.
type fieldName struct{ field, name string }

func checkNames(names ...fieldName) error {
	for _, n := range names {
		switch {
		case len(n.name) > maxMentionName:
			return badField(n.field, fmt.Sprintf("has %d bytes; at most %d are allowed", len(n.name), maxMentionName))
		case !utf8.ValidString(n.name) || strings.IndexFunc(n.name, unicode.IsControl) >= 0:
			return badField(n.field, "has a control character or is not UTF-8")
		case EntityID(n.name) == "":
			return badField(n.field, "is empty; a name is needed")
		}
	}
	return nil
}

func checkText(field string, s *string, limit int) error {
	switch {
	case s == nil:
	case len(*s) > limit:
		return badField(field, fmt.Sprintf("has %d bytes; at most %d are allowed", len(*s), limit))
	case !utf8.ValidString(*s) || strings.IndexByte(*s, 0) >= 0:
		return badField(field, "is not valid text")
	}
	return nil
}

func (e *EntityEdit) check(at string) error {
	if e.Name != nil {
		if err := checkNames(fieldName{at + ".entity_name", *e.Name}); err != nil {
			return err
		}
	}
	if err := checkText(at+".entity_type", e.Type, maxMentionName); err != nil {
		return err
	}
	return checkText(at+".description", e.Description, maxMentionBytes)
}

func (e *RelationEdit) check(at string) error {
	if err := checkText(at+".description", e.Description, maxMentionBytes); err != nil {
		return err
	}
	if err := checkText(at+".keywords", e.Keywords, maxMentionName); err != nil {
		return err
	}
	return checkWeight(at+".weight", e.Weight)
}

func checkWeight(field string, w *float64) error {
	if w != nil && (!(*w > 0) || *w > maxWeight || math.IsNaN(*w)) {
		return badField(field, fmt.Sprintf("is %g; above 0 and at most %g is allowed", *w, float64(maxWeight)))
	}
	return nil
}
