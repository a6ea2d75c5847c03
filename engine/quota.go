package engine

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
	if have.Documents != int64(len(k.docs)) || have.ReservedBytes != reserved {
		k.fault("the quotas count %d documents and %d reserved bytes, there are %d and %d", have.Documents, have.ReservedBytes, len(k.docs), reserved)
	}
}
