package tenancy

import (
	"fmt"

	"alcove/tenancy/keyspace"
)

const (
	defaultPage = 20 // the numbers of ADR 007's sources
	maxPage     = 100
)

// PageRequest asks for the entries after Cursor, at most Limit of them: 0 is 20, more
// than 100 is a *FieldError.
type PageRequest struct {
	Cursor string // NextCursor of the page before; "" starts
	Limit  int
}

func (q PageRequest) limit() (int, error) {
	if q.Cursor != "" && !plainWord(q.Cursor, maxSubjectBytes, "._@+-") { // an id, or the name of an account
		return 0, badField("cursor", "malformed")
	}
	switch {
	case q.Limit == 0:
		return defaultPage, nil
	case q.Limit < 0 || q.Limit > maxPage:
		return 0, badField("limit", fmt.Sprintf("must be from 1 to %d", maxPage))
	}
	return q.Limit, nil
}

// pageOf reads up to limit ids of an index under prefix that come after an id, and the
// cursor of the page behind, "" if there is none. It seeks: the work is the page's, not
// the index's.
func pageOf(tx *keyspace.Tx, kind byte, prefix []byte, after string, limit int) (ids []string, cursor string, err error) {
	scan := keyspace.Scan{Prefix: prefix, KeysOnly: true, Limit: limit + 1}
	if after != "" {
		scan.After = append(append([]byte(nil), prefix...), after...)
	}
	err = tx.Scan(keyspace.System, kind, scan, func(rest, _ []byte) error {
		ids = append(ids, string(rest[len(prefix):]))
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if len(ids) > limit {
		ids = ids[:limit]
		cursor = ids[limit-1]
	}
	return ids, cursor, nil
}
