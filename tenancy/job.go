package tenancy

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"alcove/tenancy/keyspace"
)

// JobRef names accepted work. Seq is its place in the order of acceptance over all
// knowledge bases, beginning at 1; the zero JobRef stands before all. Comparable.
type JobRef struct {
	Seq    uint64
	kb     uint64
	tenant string
	kbID   string
}

// Tenant returns the id of the job's tenant, for fairness and logs.
func (r JobRef) Tenant() string { return r.tenant }

// KB returns the id of the job's knowledge base, for logs.
func (r JobRef) KB() string { return r.kbID }

// jobRecord is what was allowed when the work was accepted, and what is to be done.
// On disk the payload follows the JSON of the rest, so that it is not inflated by it.
type jobRecord struct {
	Tenant     uint64     `json:"tenant_number"`
	KB         uint64     `json:"kb_number"`
	TenantID   string     `json:"tenant_id"`
	KBID       string     `json:"kb_id"`
	Permission Permission `json:"permission"`
	Asker      string     `json:"asker"`
	payload    []byte
}

func (r jobRecord) encode() ([]byte, error) {
	head, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode job: %w", err)
	}
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(head)+len(r.payload)), uint16(len(head)))
	return append(append(b, head...), r.payload...), nil
}

func decodeJob(b []byte) (jobRecord, error) {
	var r jobRecord
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return r, fmt.Errorf("%w: a job of %d bytes", ErrDamaged, len(b))
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if err := json.Unmarshal(b[2:n], &r); err != nil {
		return r, fmt.Errorf("%w: a job: %v", ErrDamaged, err)
	}
	r.payload = b[n:]
	return r, nil
}

func readJob(tx *keyspace.Tx, seq uint64) (jobRecord, error) {
	b, err := tx.Get(keyspace.System, kindJob, u64(seq))
	if err != nil {
		return jobRecord{}, err
	}
	return decodeJob(b)
}

func (r jobRecord) ref(seq uint64) JobRef {
	return JobRef{Seq: seq, kb: r.KB, tenant: r.TenantID, kbID: r.KBID}
}

// Jobs returns up to limit accepted and unfinished jobs of all knowledge bases that
// come after a job, in the order of acceptance: fewer than limit is the end. Jobs of
// suspended tenants are among them, jobs of deleted knowledge bases are not.
func (s *Store) Jobs(ctx context.Context, after JobRef, limit int) ([]JobRef, error) {
	var refs []JobRef
	at := after.Seq
	for more := true; more && len(refs) < limit; {
		err := s.view(ctx, func(tx *keyspace.Tx) error {
			seen, want := 0, limit-len(refs)
			err := tx.Scan(keyspace.System, kindJob, keyspace.Scan{After: u64(at), Limit: want}, func(rest, value []byte) error {
				seen++
				seq, err := readU64(rest)
				if err != nil {
					return err
				}
				at = seq
				r, err := decodeJob(value)
				if err != nil {
					return fmt.Errorf("job %d: %w", seq, err)
				}
				if _, k := s.cat.byNumber(r.KB); k != nil {
					refs = append(refs, r.ref(seq))
				}
				return nil
			})
			more = seen == want
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list jobs: %w", err)
		}
	}
	return refs, nil
}

// AddJob accepts work in this transaction: the list of jobs gets an entry with this
// Space's tenant, knowledge base, permission and asker, and with payload, which is
// copied. It can be resumed as soon as the Commit returns.
func (t *Tx) AddJob(payload []byte) (JobRef, error) {
	seq, err := next(t.kt, seqJob)
	if err != nil {
		return JobRef{}, err
	}
	s := t.space
	r := jobRecord{
		Tenant: s.tenant, KB: s.kb, TenantID: s.tenantID, KBID: s.kbID,
		Permission: s.perm, Asker: s.asker, payload: payload,
	}
	b, err := r.encode()
	if err != nil {
		return JobRef{}, err
	}
	err = firstError(
		t.kt.Set(keyspace.System, kindJob, u64(seq), b),
		t.kt.Set(keyspace.System, kindJobOf, u64s(s.kb, seq), nil),
	)
	if err != nil {
		return JobRef{}, fmt.Errorf("add job: %w", err)
	}
	return r.ref(seq), nil
}

// job reads a job of this knowledge base; another's is ErrNotFound.
func (t *Tx) job(ref JobRef) (jobRecord, error) {
	r, err := readJob(t.kt, ref.Seq)
	if err == nil && r.KB != t.space.kb {
		err = ErrNotFound
	}
	if err != nil {
		return jobRecord{}, fmt.Errorf("job %d: %w", ref.Seq, err)
	}
	return r, nil
}

// Job returns a job's payload, which is the caller's. A job that has ended, or is
// another knowledge base's, is ErrNotFound.
func (t *Tx) Job(ref JobRef) ([]byte, error) {
	r, err := t.job(ref)
	return r.payload, err
}

// SetJob replaces a job's payload, which is copied. ErrNotFound as for Job.
func (t *Tx) SetJob(ref JobRef, payload []byte) error {
	r, err := t.job(ref)
	if err != nil {
		return err
	}
	r.payload = payload
	b, err := r.encode()
	if err != nil {
		return err
	}
	return t.kt.Set(keyspace.System, kindJob, u64(ref.Seq), b)
}

// EndJob takes a job off the list. ErrNotFound as for Job.
func (t *Tx) EndJob(ref JobRef) error {
	if _, err := t.job(ref); err != nil {
		return err
	}
	return firstError(
		t.kt.Delete(keyspace.System, kindJob, u64(ref.Seq)),
		t.kt.Delete(keyspace.System, kindJobOf, u64s(t.space.kb, ref.Seq)),
	)
}
