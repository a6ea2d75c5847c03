package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"alcove/tenancy"
)

// deleteGroup is how many documents one transaction deletes.
const deleteGroup = 32

// Delete takes documents away: when it returns, no reader meets anything of
// them. It is subtraction and calls no model. Work under way on them ends. An id
// that is not known is marked not_found among the others and is ErrNotFound when
// it is the only one. A large call goes in groups, each whole. With dryRun
// nothing changes and the answer says what would have gone.
func (k *KB) Delete(ctx context.Context, ids []string, dryRun bool) (*Deleted, error) {
	return k.delete(ctx, ids, nil, dryRun)
}

// DeleteIf is Delete of one document that is what somebody has looked at: ErrChanged
// unless ifTag is empty or has its Document.Tag.
func (k *KB) DeleteIf(ctx context.Context, id string, ifTag []string, dryRun bool) (*Deleted, error) {
	return k.delete(ctx, []string{id}, ifTag, dryRun)
}

func (k *KB) delete(ctx context.Context, ids, ifTag []string, dryRun bool) (*Deleted, error) {
	if len(ids) == 0 || len(ids) > k.eng.o.MaxTexts {
		return nil, badField("doc_ids", fmt.Sprintf("has %d ids; 1 to %d are allowed", len(ids), k.eng.o.MaxTexts))
	}
	for i, id := range ids {
		if err := checkDocumentID(id); err != nil {
			return nil, badField(fmt.Sprintf("doc_ids[%d]", i), err.Error())
		}
	}
	out := &Deleted{Status: "success", DryRun: dryRun, Documents: make([]DeletedDocument, 0, len(ids))}
	gone := 0
	seen := map[string]bool{} // of all groups: a document goes once
	for rest := ids; len(rest) > 0; {
		group := rest[:min(len(rest), deleteGroup)]
		rest = rest[len(group):]
		var done []DeletedDocument
		var stop []version
		var err error
		if dryRun {
			err = k.space.View(ctx, func(tx *tenancy.Tx) (err error) {
				done, err = previewDelete(tx, group, ifTag, seen)
				return err
			})
		} else {
			err = k.eng.change(ctx, k.space, func(c *change) (err error) {
				done, stop, err = c.deleteGroup(group, ifTag)
				return err
			})
		}
		if err != nil {
			return nil, err
		}
		for _, v := range stop {
			k.eng.queue.interrupt(k.space.ID(), v)
		}
		for _, d := range done {
			out.Chunks += d.Chunks
			if d.Result == "deleted" {
				gone++
			}
		}
		out.Documents = append(out.Documents, done...)
	}
	if len(ids) == 1 && gone == 0 {
		return nil, fmt.Errorf("document %s: %w", ids[0], ErrNotFound)
	}
	verb := "deleted"
	if dryRun {
		verb = "would be deleted"
	}
	out.Message = fmt.Sprintf("%d of %d documents %s with %d chunks", gone, len(ids), verb, out.Chunks)
	return out, nil
}

// deleteGroup deletes what it knows of ids and returns the unfinished versions
// whose work is to be interrupted.
func (c *change) deleteGroup(ids, ifTag []string) (done []DeletedDocument, stop []version, err error) {
	gone, only := 0, ""
	for _, id := range ids {
		key := keyOf(id)
		d, err := readDocument(c.tx, key)
		if errors.Is(err, ErrNotFound) {
			done = append(done, DeletedDocument{DocID: id, Result: "not_found"})
			continue
		}
		if err == nil {
			err = unchanged(d.tag(), ifTag)
		}
		if err != nil {
			return nil, nil, err
		}
		if err := c.remove(key, d); err != nil {
			return nil, nil, err
		}
		for _, gen := range []uint64{d.Visible, d.Pending} {
			if err := c.drop(version{key, gen}); err != nil {
				return nil, nil, err
			}
		}
		if d.JobSeq != 0 {
			stop = append(stop, version{key, d.working()})
		}
		done = append(done, DeletedDocument{DocID: id, Result: "deleted", Chunks: d.Chunks})
		gone++
		only = id
	}
	if gone == 0 {
		return done, nil, nil
	}
	if gone > 1 {
		only = ""
	}
	return done, stop, c.tx.Audit("document.delete", "document", only, map[string]string{"documents": strconv.Itoa(gone)})
}

func previewDelete(tx *tenancy.Tx, ids, ifTag []string, seen map[string]bool) (done []DeletedDocument, err error) {
	for _, id := range ids {
		d, err := readDocument(tx, keyOf(id))
		if err == nil {
			err = unchanged(d.tag(), ifTag)
		}
		switch {
		case errors.Is(err, ErrNotFound), err == nil && seen[id]:
			done = append(done, DeletedDocument{DocID: id, Result: "not_found"})
		case err != nil:
			return nil, err
		default:
			done = append(done, DeletedDocument{DocID: id, Result: "deleted", Chunks: d.Chunks})
		}
		seen[id] = true
	}
	return done, nil
}
