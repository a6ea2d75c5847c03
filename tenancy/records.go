package tenancy

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"alcove/tenancy/keyspace"
)

// The kinds of record of the system namespace. Fields of a key are of fixed width,
// only the last may be of any length. Values are JSON unless said otherwise.
const (
	kindSequence   = 'n' // name -> u64, the last number given out
	kindTenant     = 't' // tenant8 -> tenantRecord
	kindTenantID   = 'T' // id -> tenant8
	kindTenantGone = 'y' // tenant8 -> tombstone; its knowledge bases and keys are still being buried
	kindKB         = 'k' // tenant8 kb8 -> kbRecord; the fence: a Space works only while it is there
	kindKBID       = 'K' // tenant8 id -> kb8
	kindKBName     = 'N' // tenant8 folded name -> kb8
	kindKBGone     = 'x' // kb8 -> tombstone; its records are still being swept
	kindKBSwept    = 'X' // kb8 -> tombstone; swept and banned, kept so that backups carry it
	kindKey        = 'a' // key id -> keyRecord
	kindKeyOf      = 'A' // tenant8 key id -> ()
	kindKeyUse     = 'w' // key id -> last use8 (unix seconds) uses8
	kindUser       = 'u' // name -> userRecord
	kindMember     = 'm' // tenant8 name -> memberRecord
	kindMemberOf   = 'M' // user8 tenant8 -> ()
	kindToken      = 'r' // mark1 jti -> expiry8 (unix seconds); revoked, or a CLI token seen
	kindTokenEnd   = 'R' // expiry8 mark1 jti -> (); to forget them in time
	kindOnce       = 'i' // hash32 -> onceRecord; a call with an Idempotency-Key
	kindOnceEnd    = 'I' // end8 hash32 -> (); to forget it in time
	kindJob        = 'j' // seq8 -> jobRecord
	kindJobOf      = 'J' // kb8 seq8 -> ()
	kindUse        = 'q' // tenant8 -> counted; what its knowledge bases take together
	kindUseKB      = 'Q' // kb8 -> counted, without bytes: those are the namespace's own counter
	kindMonth      = 'v' // tenant8 -> monthRecord; calls and model tokens of this month
	kindTrail      = 'l' // tenant8 seq8 -> sealed audit record
	kindTrailHead  = 'h' // tenant8 -> audit.Head; tenant 0 is the server's own chain
	kindTrailBase  = 'b' // tenant8 -> audit.Head of the last record that retention has cut
	kindTrailEntry = 'e' // entry8 -> audit.Leaf, the log of all chains
	kindTrailLog   = 'E' // one of logSize, logCut, logMoving
	kindTrailSign  = 'c' // size8 -> signed checkpoint of the log
)

// The sequences. Numbers are never given out twice, not even after a deletion.
const (
	seqNumber  = "number" // of tenants and of knowledge bases
	seqJob     = "job"
	seqTenants = "tenants" // not a sequence: how many tenants there are
)

// tenantRecord is a tenant as stored. Tenant.KBCount is kept in it; what is derived
// from usage is not.
type tenantRecord struct {
	Number uint64 `json:"number"`
	Keys   int    `json:"keys"`
	Tenant Tenant `json:"tenant"`
	// Members is how many there are. Tokens issued at NotBefore (unix seconds) or
	// before are void.
	Members   int   `json:"members,omitempty"`
	NotBefore int64 `json:"not_before,omitempty"`
}

type kbRecord struct {
	Number uint64 `json:"number"`
	KB     KB     `json:"kb"`
}

// keyRecord is a key as stored: what is left of the secret is its HMAC.
type keyRecord struct {
	Tenant uint64 `json:"tenant_number"`
	Digest []byte `json:"digest"`
	// OldDigest is of the secret before the last rotation; Key.OldUntil says how long
	// it works.
	OldDigest []byte `json:"old_digest,omitempty"`
	Key       Key    `json:"key"`
	// KBs are the numbers of Key.KBs, entry by entry: an id can be given out again.
	KBs []uint64 `json:"kb_numbers,omitempty"`
}

// tombstone is what remains of a tenant or a knowledge base that was deleted.
type tombstone struct {
	Tenant   uint64    `json:"tenant_number"`
	TenantID string    `json:"tenant_id"`
	KBID     string    `json:"kb_id,omitempty"`
	At       time.Time `json:"at"`
}

func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func u64s(a, b uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 0, 16), a), b)
}

func under(n uint64, id string) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(id)), n), id...)
}

func readU64(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: a number of %d bytes", ErrDamaged, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// dataOf is the namespace of a knowledge base's own records.
func dataOf(kb uint64) keyspace.Namespace { return keyspace.Namespace{Family: 'd', Number: kb} }

// number reads a record that holds one number; an absent one is 0 and no error.
func number(tx *keyspace.Tx, kind byte, rest []byte) (uint64, error) {
	b, err := tx.Get(keyspace.System, kind, rest)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return readU64(b)
}

// next gives out the next number of a sequence.
func next(tx *keyspace.Tx, sequence string) (uint64, error) {
	n, err := number(tx, kindSequence, []byte(sequence))
	if err != nil {
		return 0, fmt.Errorf("sequence %s: %w", sequence, err)
	}
	n++
	return n, tx.Set(keyspace.System, kindSequence, []byte(sequence), u64(n))
}

// getJSON reads a record of the system namespace into v. Absent is ErrNotFound,
// unreadable is ErrDamaged.
func getJSON(tx *keyspace.Tx, kind byte, rest []byte, v any) error {
	b, err := tx.Get(keyspace.System, kind, rest)
	if err != nil {
		return err
	}
	return decodeRecord(kind, rest, b, v)
}

func decodeRecord(kind byte, rest, b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: system record %c %x: %v", ErrDamaged, kind, rest, err)
	}
	return nil
}

func setJSON(tx *keyspace.Tx, kind byte, rest []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode system record %c: %w", kind, err)
	}
	return tx.Set(keyspace.System, kind, rest, b)
}

// tenantByID reads a tenant by its id; ErrNotFound if there is none.
func tenantByID(tx *keyspace.Tx, id string) (tenantRecord, error) {
	var r tenantRecord
	n, err := number(tx, kindTenantID, []byte(id))
	if err != nil {
		return r, err
	}
	if n == 0 {
		return r, ErrNotFound
	}
	return r, indexed(getJSON(tx, kindTenant, u64(n), &r))
}

// kbByID reads a knowledge base by its tenant's number and its id; ErrNotFound if
// there is none.
func kbByID(tx *keyspace.Tx, tenant uint64, id string) (kbRecord, error) {
	var r kbRecord
	n, err := number(tx, kindKBID, under(tenant, id))
	if err != nil {
		return r, err
	}
	if n == 0 {
		return r, ErrNotFound
	}
	return r, indexed(getJSON(tx, kindKB, u64s(tenant, n), &r))
}

// indexed turns "not found" behind an index entry into damage: the entry says it is there.
func indexed(err error) error {
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: an index names a record that is not there", ErrDamaged)
	}
	return err
}
