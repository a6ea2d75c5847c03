package engine

import (
	"context"

	"alcove/index"
	"alcove/tenancy"
)

// SettleVectors waits until the graphs of an open base are made and stored, and says
// what its space of chunks is.
func SettleVectors(e *Engine, s *tenancy.Space) (stats index.Stats, err error) {
	var spaces []graphSpace
	err = e.Reader(s).read(context.Background(), func(r *resident, _ *tenancy.Tx) error { return nil })
	if err != nil {
		return stats, err
	}
	e.pool.mu.Lock()
	spaces = e.pool.open[s.ID()].res.graphSpaces()
	e.pool.mu.Unlock()
	for _, g := range spaces {
		if g.v != nil {
			g.v.Settle()
		}
	}
	e.pool.work.Wait()
	return spaces[0].v.Stats(), nil
}

// GraphBlocks are the stored blocks of the graph of chunks; change rewrites one.
func GraphBlocks(s *tenancy.Space, change func(block int, b []byte) []byte) (n int, err error) {
	err = s.Commit(context.Background(), func(tx *tenancy.Tx) error {
		for n = 0; ; n++ {
			k := blockKey('c', uint32(n))
			b, err := tx.Get(kindSnapshot, k)
			if err != nil {
				return nil
			}
			if change != nil {
				if err := tx.Set(kindSnapshot, k, change(n, append([]byte(nil), b...))); err != nil {
					return err
				}
			}
		}
	})
	return n, err
}
