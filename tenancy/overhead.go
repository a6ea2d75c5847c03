package tenancy

import (
	"context"
	"fmt"
	"strings"

	"alcove/tenancy/keyspace"
)

// Overhead is what a store holds, in bytes of keys and values as they are handed to the
// database, so before its compression: the payload of knowledge bases, and what is there
// because there are tenants.
type Overhead struct {
	Records   int64 `json:"records"`         // of all knowledge bases
	Payload   int64 `json:"payload_bytes"`   // their keys without the prefix, and their values
	Prefixes  int64 `json:"prefix_bytes"`    // what each of their keys begins with to be one knowledge base's
	Counters  int64 `json:"counter_bytes"`   // what each knowledge base is counted in
	Catalogue int64 `json:"catalogue_bytes"` // tenants, knowledge bases, members, keys, tokens, their indexes; jobs
	Audit     int64 `json:"audit_bytes"`     // the record of what was done
}

// Share is prefixes, counters and catalogue over payload; the audit is not in it.
func (o Overhead) Share() float64 {
	if o.Payload == 0 {
		return 0
	}
	return float64(o.Prefixes+o.Counters+o.Catalogue) / float64(o.Payload)
}

const (
	// prefixBytes are a key's family and number; its kind is what a store of one
	// knowledge base would need too.
	prefixBytes = 1 + 8
	// counterBytes are the key and the value of a counter, with its checksum.
	counterBytes = prefixBytes + 1 + 4 + 16
	// systemKeyBytes and checksumBytes are what Tx.Scan does not show of a record.
	systemKeyBytes = prefixBytes + 1
	checksumBytes  = 4
)

// auditKinds are the records of the system that the audit is made of.
var auditKinds = string([]byte{kindTrail, kindTrailHead, kindTrailBase, kindTrailEntry, kindTrailLog, kindTrailSign})

// Overhead measures the store. It reads every record of the catalogue and one counter of
// each knowledge base: it is for looking at a store, not for a server's metrics.
func (s *Store) Overhead(ctx context.Context) (o Overhead, err error) {
	err = s.view(ctx, func(tx *keyspace.Tx) error {
		kbs := 0
		for kind := byte('A'); kind <= 'z'; kind++ {
			err := tx.Scan(keyspace.System, kind, keyspace.Scan{}, func(rest, value []byte) error {
				n := int64(systemKeyBytes + len(rest) + checksumBytes + len(value))
				if strings.IndexByte(auditKinds, kind) >= 0 {
					o.Audit += n
					return nil
				}
				o.Catalogue += n
				if kind != kindKB {
					return nil
				}
				kbs++
				number, err := readU64(rest[8:])
				if err != nil {
					return err
				}
				u, err := tx.Usage(dataOf(number))
				if err != nil {
					return err
				}
				o.Records += u.Records
				o.Payload += u.Bytes - prefixBytes*u.Records
				return nil
			})
			if err != nil {
				return err
			}
		}
		o.Prefixes, o.Counters = prefixBytes*o.Records, counterBytes*int64(kbs)
		return nil
	})
	if err != nil {
		return o, fmt.Errorf("measure the overhead: %w", err)
	}
	return o, nil
}
