package engine

import (
	"context"
	"errors"

	"alcove/tenancy"
)

// What a document is promised of its tenant's storage when it is accepted: as much
// again as was sent twice over, for the text of its chunks and for what is read of
// them, and bookkeeping, which covers what its records grow by until it is done or has
// failed. It is what refuses a document early; what is stored is counted exactly, and
// a commit that is over the quota after all fails its document.
const (
	promisedTimes = 2
	bookkeeping   = 4 << 10
)

// promise reserves storage for the work on a document whose content was just stored.
func (c *change) promise(d *documentRecord, content int) {
	c.release(d)
	d.Reserved = int64(content)*promisedTimes + bookkeeping
	c.tx.Reserve(d.Reserved)
}

// release gives back what a document was promised and has not used. The caller puts
// the record.
func (c *change) release(d *documentRecord) {
	c.tx.Reserve(-d.Reserved)
	d.Reserved = 0
}

// fits returns tenancy's ErrQuota if the records of a document's chunks leave the
// tenant over its storage. Its own promise is there to be used, but for what its
// record needs to say so.
func (c *change) fits(d *documentRecord) error {
	return c.tx.CheckStorage(max(0, d.Reserved-bookkeeping))
}

// nameCount is a number of entities and of relations. The sums that kbState holds are over
// the documents that readers see, each name counted once for each of them: at least as
// many as there are, at the cost of an addition.
type nameCount struct {
	Entities  int64 `json:"entities"`
	Relations int64 `json:"relations"`
}

func (n *nameCount) add(entities, relations int) {
	n.Entities += int64(entities)
	n.Relations += int64(relations)
}

// over returns tenancy's ErrQuota if n is over the quota of the knowledge base.
func (n nameCount) over(tx *tenancy.Tx, have nameCount) error {
	entities, relations := tx.NameLimits()
	switch {
	case entities > 0 && n.Entities > entities:
		return &tenancy.QuotaError{Quota: "max_entities_per_kb", Limit: entities, Used: have.Entities}
	case relations > 0 && n.Relations > relations:
		return &tenancy.QuotaError{Quota: "max_relationships_per_kb", Limit: relations, Used: have.Relations}
	}
	return nil
}

// nameRoom is what a count of the names came to, and how many had been added to the
// knowledge base until then.
type nameRoom struct {
	Have  nameCount `json:"have"`
	Added nameCount `json:"added"`
}

// atMost is how many names there are at the most once so many have been added: what was
// added since the count may all be new, and what went since is not counted off.
func (r *nameRoom) atMost(added nameCount) nameCount {
	return nameCount{r.Have.Entities + added.Entities - r.Added.Entities, r.Have.Relations + added.Relations - r.Added.Relations}
}

// names is how many names there are at the most.
func (st *kbState) names() nameCount {
	if st.Room == nil {
		return st.Named
	}
	n := st.Room.atMost(st.Added)
	return nameCount{min(n.Entities, st.Named.Entities), min(n.Relations, st.Named.Relations)}
}

// errCountNames says that the names may be more than a quota allows, for all that is
// known without counting them.
var errCountNames = errors.New("the names of the knowledge base have to be counted")

// maxCountTries bounds how often names are counted again because other documents came
// between the count and the commit.
const maxCountTries = 100

// name enters the names of a version that is about to be seen. It is errCountNames
// if they are not known to be within the quota as things stand in this transaction. A
// count that was made for it serves the documents after it.
func (in *ingest) name(c *change, d *documentRecord) error {
	had, added := c.st.names(), c.st.Added
	c.st.Named.add(len(in.tally.names)-d.Names, len(in.tally.relations)-d.Relations)
	c.st.Added.add(len(in.tally.names), len(in.tally.relations))
	d.Names, d.Entities, d.Relations = len(in.tally.names), len(in.tally.entities), len(in.tally.relations)
	if c.st.names().over(c.tx, had) == nil {
		return nil
	}
	if in.room == nil {
		return errCountNames
	}
	n := in.room.atMost(added)
	if added != in.room.Added && n.over(c.tx, had) != nil {
		return errCountNames
	}
	c.st.Room = &nameRoom{Have: n, Added: c.st.Added}
	return nil
}

// countNames counts the names there are and those that the version adds: it takes the
// knowledge base in memory, and is asked for near the quota alone. What an update
// takes away with the old version is not known until it is gone, and not counted off.
func (in *ingest) countNames(ctx context.Context) error {
	return in.eng.Reader(in.space).read(ctx, func(r *resident, tx *tenancy.Tx) error {
		st, err := readState(tx)
		if err != nil {
			return err
		}
		have := r.countNames()
		all := have
		for _, id := range in.tally.names {
			if _, known := r.graph.Entity(r.hand.rootOf(id)); !known {
				all.Entities++
			}
		}
		for _, p := range in.tally.relations {
			if _, known := r.findRelation(pair{r.hand.rootOf(p[0]), r.hand.rootOf(p[1])}); !known {
				all.Relations++
			}
		}
		if err := all.over(tx, have); err != nil && all != have { // what adds nothing takes no room
			return err
		}
		in.room = &nameRoom{Have: all, Added: st.Added}
		return nil
	})
}

// countNames counts what there is.
func (r *resident) countNames() (n nameCount) {
	n.add(r.graph.Len())
	return n
}

// admit returns tenancy's ErrQuota if people make more entities or relations than the
// quota of the knowledge base allows. Several who do so at the same moment are not
// told from one.
func (k *KB) admit(ctx context.Context, more nameCount) error {
	return k.read(ctx, func(r *resident, tx *tenancy.Tx) error {
		have := r.countNames()
		all := have
		all.add(int(more.Entities), int(more.Relations))
		return all.over(tx, have)
	})
}

// documents is how many documents there are, in whatever state.
func (st *kbState) documents() (n int64) {
	for _, of := range st.Documents {
		n += int64(of)
	}
	return n
}

// used compares what the quotas count with the documents.
func (k *checker) used() {
	have, known, err := k.tx.Counted()
	if err != nil {
		k.fault("counters of the quotas: %v", err)
		return
	}
	if !known {
		return // of an older release, not written since
	}
	var reserved int64
	for _, d := range k.docs {
		reserved += d.Reserved
		if d.Reserved != 0 && d.JobSeq == 0 {
			k.fault("document %s: is promised %d bytes and has no job", d.ID, d.Reserved)
		}
	}
	var names nameCount
	for _, d := range k.docs {
		names.add(d.Names, d.Relations)
	}
	if names != k.state.Named {
		k.fault("the names of the documents are counted as %+v, their sums are %+v", k.state.Named, names)
	}
	if have.Documents != int64(len(k.docs)) || have.ReservedBytes != reserved {
		k.fault("the quotas count %d documents and %d reserved bytes, there are %d and %d", have.Documents, have.ReservedBytes, len(k.docs), reserved)
	}
}
