package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/tenancy"
)

func popAll(t *turns, now time.Time) (order []uint64) {
	for {
		ref, _, ok := t.pop(now)
		if !ok {
			return order
		}
		order = append(order, ref.Seq)
	}
}

// A tenant with much work delays another's by one document, not by all of them.
func TestTurns_AreFairBetweenTenants(t *testing.T) {
	q := turns{lanes: map[string]*lane{}}
	for i := range 5 {
		q.push("big", tenancy.JobRef{Seq: uint64(1 + i)})
	}
	q.push("small", tenancy.JobRef{Seq: 10})
	q.push("other", tenancy.JobRef{Seq: 20})
	q.push("small", tenancy.JobRef{Seq: 11})
	require.Equal(t, []uint64{1, 10, 20, 2, 11, 3, 4, 5}, popAll(&q, time.Time{}))
	require.Zero(t, q.n)
	require.Empty(t, q.lanes)

	q.push("small", tenancy.JobRef{Seq: 12})
	require.Equal(t, []uint64{12}, popAll(&q, time.Time{}))
}

// Work that was put off comes first in its tenant's line, when the time is up,
// and nobody else waits for it.
func TestTurns_RestAPausedTenant(t *testing.T) {
	q := turns{lanes: map[string]*lane{}}
	now := time.Unix(1000, 0)
	for i := range 3 {
		q.push("full", tenancy.JobRef{Seq: uint64(1 + i)})
	}
	q.push("fine", tenancy.JobRef{Seq: 10})
	ref, _, _ := q.pop(now)
	q.pause("full", ref, now.Add(time.Minute))
	require.Equal(t, 4, q.n)
	require.Equal(t, []uint64{10}, popAll(&q, now))
	_, due, ok := q.pop(now)
	require.False(t, ok)
	require.Equal(t, now.Add(time.Minute), due)
	require.Equal(t, []uint64{1, 2, 3}, popAll(&q, due))
}

// A long line gives its room back while it is worked off, in order.
func TestTurns_LongLine(t *testing.T) {
	q := turns{lanes: map[string]*lane{}}
	var want []uint64
	for i := range uint64(5000) {
		q.push("t", tenancy.JobRef{Seq: i})
		want = append(want, i)
	}
	require.Equal(t, want, popAll(&q, time.Time{}))
}

// Work that goes on for long lets one job of its line by at every turn, and no
// more than one.
func TestTurns_GiveWay(t *testing.T) {
	q := turns{lanes: map[string]*lane{}}
	for i := range 4 {
		q.push("t", tenancy.JobRef{Seq: uint64(1 + i)})
	}
	var order []uint64
	for range 3 {
		ref, _, ok := q.pop(time.Time{})
		require.True(t, ok)
		order = append(order, ref.Seq)
		if ref.Seq == 1 {
			q.giveWay("t", ref)
		}
	}
	require.Equal(t, []uint64{1, 2, 1}, order)
	require.Equal(t, 3, q.n)
	require.Equal(t, []uint64{3, 1, 4}, popAll(&q, time.Time{}))
	q.giveWay("t", tenancy.JobRef{Seq: 1})
	require.Equal(t, []uint64{1}, popAll(&q, time.Time{}))
	require.Zero(t, q.n)
}
