package engine

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"

	"alcove/tenancy"
)

// maxMergeNames bounds the names of one merge.
const maxMergeNames = 500

// MergeRequest makes entities one with another.
type MergeRequest struct {
	Change []string `json:"entities_to_change"`    // 1 to 500 names
	Into   string   `json:"entity_to_change_into"` // a name that need not be there yet
}

// Merged says what a merge did.
type Merged struct {
	MergeID string   `json:"merge_id"`
	Into    string   `json:"merged_entity"`
	Changed []string `json:"source_entities"`
}

// UnmergeRequest takes merges or renames back: all of one act by its id, or those
// of one entity. A name that was merged is taken back alone; a name that others
// were merged into gives them all back.
type UnmergeRequest struct {
	MergeID string `json:"merge_id"`
	Entity  string `json:"entity"`
}

// Unmerged says which names stand for themselves again.
type Unmerged struct {
	Entities []string `json:"entities"`
}

// Merge makes entities one with another, in one commit: what is said of their
// names counts for the other from now on. Nothing is rewritten, so that Unmerge
// brings back all that was. A name that is no entity is ErrNotFound; names that
// are one entity already are skipped, and if all are, that is a *FieldError.
func (k *KB) Merge(ctx context.Context, q MergeRequest) (*Merged, error) {
	if n := len(q.Change); n == 0 || n > maxMergeNames {
		return nil, badField("entities_to_change", fmt.Sprintf("has %d names; 1 to %d are allowed", n, maxMergeNames))
	}
	if err := checkNames(fieldName{"entity_to_change_into", q.Into}); err != nil {
		return nil, err
	}
	err := k.read(ctx, func(r *resident, _ *tenancy.Tx) error {
		for i, name := range q.Change {
			if _, err := r.findEntity(fmt.Sprintf("entities_to_change[%d]", i), name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &Merged{Into: q.Into}
	err = k.eng.change(ctx, k.space, func(c *change) error {
		out.MergeID, out.Changed = newTrack("merge", c.now), []string{}
		for _, name := range q.Change {
			made, err := c.alias(name, q.Into, "entity_to_change_into", out.MergeID, false)
			if err != nil {
				return err
			}
			if made {
				out.Changed = append(out.Changed, name)
			}
		}
		if len(out.Changed) == 0 {
			return badField("entities_to_change", fmt.Sprintf("are %q already", q.Into))
		}
		if err := c.touchHand(); err != nil {
			return err
		}
		return c.tx.Audit("graph.merge", "graph", out.MergeID, map[string]string{"names": strconv.Itoa(len(out.Changed))})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Unmerge takes merges or renames back: the names stand for themselves again, and
// all is as if the merge had not been. ErrNotFound when there is nothing to take
// back.
func (k *KB) Unmerge(ctx context.Context, q UnmergeRequest) (*Unmerged, error) {
	if (q.MergeID == "") == (q.Entity == "") {
		return nil, badField("merge_id", "one of merge_id and entity is needed")
	}
	if q.Entity != "" {
		if err := checkNames(fieldName{"entity", q.Entity}); err != nil {
			return nil, err
		}
	}
	out := &Unmerged{}
	seen, err := k.look(ctx, func(*resident) error { return nil })
	if err != nil {
		return nil, err
	}
	err = k.eng.change(ctx, k.space, func(c *change) error {
		out.Entities = []string{}
		h, err := c.byHand(seen)
		if err != nil {
			return err
		}
		for _, id := range h.taken(q) {
			out.Entities = append(out.Entities, h.alias[id].Name)
			if err := c.dropAlias(id); err != nil {
				return err
			}
		}
		if len(out.Entities) == 0 {
			return fmt.Errorf("%w: no such merge", ErrNotFound)
		}
		if err := c.touchHand(); err != nil {
			return err
		}
		return c.tx.Audit("graph.unmerge", "graph", q.MergeID, map[string]string{"names": strconv.Itoa(len(out.Entities))})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// taken are the aliases that a request takes back, by identity.
func (h *byHand) taken(q UnmergeRequest) (out []string) {
	entity := EntityID(q.Entity)
	if q.Entity != "" && h.alias[entity] != nil {
		return []string{entity}
	}
	for _, id := range sortedAliases(h) {
		a := h.alias[id]
		if q.Entity != "" && EntityID(a.Into) == entity || q.MergeID != "" && a.Merge == q.MergeID {
			out = append(out, id)
		}
	}
	return out
}

// alias makes what name stands for stand for what into stands for; made says that
// they were two. What was deleted by hand takes nobody in.
func (c *change) alias(name, into, field, merge string, rename bool) (made bool, err error) {
	from, err := storedRoot(c.tx, EntityID(name))
	if err != nil {
		return false, err
	}
	to, err := storedRoot(c.tx, EntityID(into))
	if err != nil || from == to {
		return false, err
	}
	old, err := storedEdit(c.tx, &editRecord{Name: to})
	if err != nil {
		return false, err
	}
	if old != nil && old.Deleted {
		return false, badField(field, fmt.Sprintf("%q was deleted; create it again first", into))
	}
	return true, c.putAlias(&aliasRecord{
		Name: writtenAs(name, from), Into: writtenAs(into, to), Rename: rename && EntityID(into) == to, Merge: merge,
	})
}

// rename is an alias that shows the entity under its new name, unless another has it.
func (c *change) rename(name, to string, merges bool) (made bool, err error) {
	return c.alias(name, to, "updated_data.entity_name", newTrack("rename", c.now), !merges)
}

// Alias is a name that stands for another.
type Alias struct {
	Name    string `json:"name"`
	Into    string `json:"into"`   // as it was asked for
	Entity  string `json:"entity"` // what it stands for in the end, as it is shown
	Rename  bool   `json:"rename"`
	MergeID string `json:"merge_id"` // the act, for Unmerge
}

// AliasesPage is a page of names; NextCursor is "" on the last one.
type AliasesPage struct {
	Aliases    []Alias `json:"aliases"`
	NextCursor string  `json:"next_cursor"`
}

// Aliases lists the names that people made stand for others, in the order of their
// identities: limit of them, as for Documents, behind a cursor, "" for the first.
func (r *Reader) Aliases(ctx context.Context, cursor string, limit int) (*AliasesPage, error) {
	limit, err := limitOf(limit)
	if err != nil {
		return nil, err
	}
	after, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, badField("cursor", "is not one that this route gave")
	}
	page := &AliasesPage{Aliases: []Alias{}}
	err = r.read(ctx, func(res *resident, _ *tenancy.Tx) error {
		ids := sortedAliases(res.hand)
		from, found := slices.BinarySearch(ids, string(after))
		if found {
			from++
		}
		for i, id := range ids[from:] {
			if i == limit {
				page.NextCursor = base64.RawURLEncoding.EncodeToString([]byte(ids[from+i-1]))
				break
			}
			a := res.hand.alias[id]
			entity := a.Into
			if e, ok := res.graph.Entity(res.hand.rootOf(id)); ok {
				entity = res.entityName(e)
			}
			page.Aliases = append(page.Aliases, Alias{Name: a.Name, Into: a.Into, Entity: entity, Rename: a.Rename, MergeID: a.Merge})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}
