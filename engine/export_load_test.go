package engine

import (
	"context"
	"fmt"

	"alcove/tenancy"
)

// LimitBytes sets what open bases may take.
func LimitBytes(e *Engine, n int64) {
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	e.o.MaxOpenBytes = n
}

// DropIdle puts out what nobody asked for, as the pool does now and then.
func DropIdle(e *Engine) { e.pool.dropIdle() }

// HoldGraphs keeps every load from its second step until the function that it returns
// is called.
func HoldGraphs(e *Engine) (release func()) {
	for range cap(e.pool.graphs) {
		e.pool.graphs <- struct{}{}
	}
	return func() {
		for range cap(e.pool.graphs) {
			<-e.pool.graphs
		}
	}
}

// DropContribution deletes the first contribution of a base from the store.
func DropContribution(s *tenancy.Space) error {
	return s.Commit(context.Background(), func(tx *tenancy.Tx) error {
		var first []byte
		err := tx.Scan(kindContribution, tenancy.Scan{}, func(rest, _ []byte) error {
			first = append(first, rest...)
			return tenancy.ErrStop
		})
		if err != nil {
			return err
		}
		return tx.Delete(kindContribution, first)
	})
}

// HoldSearches keeps every search waiting for its turn until one place is let go of by
// one, and all by all.
func HoldSearches(e *Engine) (one, all func()) {
	held := e.searches.free
	for i := range held { // each by another: one tenant may be refused the last place
		if err := e.searches.take(context.Background(), fmt.Sprint("holder ", i), forQuery); err != nil {
			panic(err)
		}
	}
	one = func() { held--; e.searches.leave(fmt.Sprint("holder ", held), 0) }
	return one, func() {
		for held > 0 {
			one()
		}
	}
}

// WaitingSearches is how many searches wait for their turn.
func WaitingSearches(e *Engine) int {
	e.searches.mu.Lock()
	defer e.searches.mu.Unlock()
	return e.searches.waiting[forQuery]
}
