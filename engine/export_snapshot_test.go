package engine

import (
	"bytes"
	"context"

	"alcove/tenancy"
)

// SnapshotBlock is a stored block of a snapshot.
type SnapshotBlock struct{ Key, Value []byte }

// SnapshotBlocks are the stored blocks of the snapshot of a base.
func SnapshotBlocks(s *tenancy.Space) (out []SnapshotBlock, err error) {
	err = s.View(context.Background(), func(tx *tenancy.Tx) error {
		return tx.Scan(kindSnapshot, tenancy.Scan{}, func(rest, value []byte) error {
			if bytes.IndexByte(snapshotParts, rest[0]) >= 0 {
				out = append(out, SnapshotBlock{bytes.Clone(rest), bytes.Clone(value)})
			}
			return nil
		})
	})
	return out, err
}

// SetSnapshotBlocks stores blocks, and deletes those without a value.
func SetSnapshotBlocks(s *tenancy.Space, blocks ...SnapshotBlock) error {
	return s.Commit(context.Background(), func(tx *tenancy.Tx) error {
		for _, b := range blocks {
			if b.Value == nil {
				if err := tx.Delete(kindSnapshot, b.Key); err != nil {
					return err
				}
			} else if err := tx.Set(kindSnapshot, b.Key, b.Value); err != nil {
				return err
			}
		}
		return nil
	})
}

// DropSnapshot is dropSnapshot of the pool.
func DropSnapshot(e *Engine, s *tenancy.Space) error {
	return e.pool.dropSnapshot(context.Background(), s)
}
