package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"time"

	"alcove/engine"
	"alcove/httpapi"
	"alcove/tenancy"
)

// DropOptions configure the workload on the deletion of a knowledge base.
type DropOptions struct {
	Engine   engine.Options // of the engine under test but for its Store
	Keys     int            // 1,000,000 records of the knowledge base that is deleted
	Value    int            // 100 bytes of each
	Tenants  int            // 4 other tenants that go on writing
	Rate     int            // 50 writes a second of each, on the clock: one that waits makes the next late
	Write    int            // 2048 bytes of one write
	Before   time.Duration  // 1 min of the same writing before the deletion
	Settle   time.Duration  // 15 s for the store to come to rest after it was filled
	Progress io.Writer      // nil for none
}

// DropResult is what deleting a large knowledge base did to it and to others. Failed
// must be 0, Ratio at most 1.5 and RefusedMS below 10.
type DropResult struct {
	Keys   int     `json:"keys"`
	CallMS float64 `json:"call_ms"` // until the deletion was answered
	// RefusedMS is from the call until the last time that any door let somebody in.
	// Late are those who were let in after the answer: must be 0.
	RefusedMS float64  `json:"refused_everywhere_ms"`
	Late      int      `json:"let_in_after_the_answer"`
	Doors     []string `json:"doors"`
	Cleaning  float64  `json:"cleaning_seconds"` // until no record was left on the disk
	Before    Writing  `json:"writes_before"`
	During    Writing  `json:"writes_during"`
	After     Writing  `json:"writes_after"` // as long as before: how far two quiet stretches of this machine are apart
	Ratio     float64  `json:"p99_during_over_before"`
	Quiet     float64  `json:"p99_after_over_before"`
}

// Writing is what the other tenants' writes were like, from when each was due.
type Writing struct {
	Writes int     `json:"writes"`
	Failed int     `json:"failed"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
}

// Drop fills a knowledge base, lets other tenants write for a while, deletes it under
// callers at every door, watches the others until its last record is gone, and lets them
// write once more as before: on a machine that does other things too, that says what a
// difference means.
func Drop(ctx context.Context, o DropOptions) (DropResult, error) {
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.Keys, 1_000_000}, {&o.Value, 100}, {&o.Tenants, 4}, {&o.Rate, 50}, {&o.Write, 2048}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.Before == 0 {
		o.Before = time.Minute
	}
	if o.Settle == 0 {
		o.Settle = 15 * time.Second
	}
	r := DropResult{Keys: o.Keys}
	dir, err := os.MkdirTemp("", "alcove-bench-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	b, err := openBase(ctx, dir, o.Engine)
	if err != nil {
		return r, err
	}
	defer b.close()
	return r, o.drop(ctx, b, &r)
}

func (o DropOptions) drop(ctx context.Context, b *base, r *DropResult) error {
	say := func(format string, a ...any) {
		if o.Progress != nil {
			fmt.Fprintf(o.Progress, format+"\n", a...)
		}
	}
	big, err := b.enter(ctx, b.tenant, "big")
	if err != nil {
		return err
	}
	say("writing %d records", o.Keys)
	if err := o.fill(ctx, big); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	var spaces []*tenancy.Space
	for i := range o.Tenants {
		t, err := b.store.CreateTenant(ctx, b.admin, tenancy.TenantInput{Name: fmt.Sprint("writer ", i)})
		if err != nil {
			return err
		}
		s, err := b.enter(ctx, t.ID, "own")
		if err != nil {
			return err
		}
		spaces = append(spaces, s)
	}
	if err := wait(ctx, o.Settle); err != nil {
		return err
	}
	say("%s of other tenants' writes", o.Before)
	until, stop := context.WithTimeout(ctx, o.Before)
	r.Before = o.write(until, spaces)
	stop()
	if ctx.Err() != nil {
		return ctx.Err()
	}

	say("deleting")
	doors, err := o.doors(ctx, b, big)
	if err != nil {
		return err
	}
	cleaning, done := context.WithCancel(ctx)
	defer done()
	written := make(chan Writing, 1)
	go func() { written <- o.write(cleaning, spaces) }()
	if err := o.delete(ctx, b, big, doors, r); err != nil {
		return err
	}
	start := time.Now()
	for left := 1; left > 0; {
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
		if left, err = b.store.Unswept(ctx); err != nil {
			return err
		}
	}
	r.Cleaning = time.Since(start).Seconds()
	done()
	r.During = <-written
	if err := wait(ctx, o.Settle); err != nil {
		return err
	}
	say("%s more of their writes", o.Before)
	until, stop = context.WithTimeout(ctx, o.Before)
	r.After = o.write(until, spaces)
	stop()
	if r.Before.P99 > 0 {
		r.Ratio, r.Quiet = r.During.P99/r.Before.P99, r.After.P99/r.Before.P99
	}
	return ctx.Err()
}

// enter makes a knowledge base and enters it for everything.
func (b *base) enter(ctx context.Context, tenant, name string) (*tenancy.Space, error) {
	k, err := b.store.CreateKB(ctx, b.admin, tenant, tenancy.KBInput{ID: name, Name: name})
	if err != nil {
		return nil, err
	}
	return b.store.Enter(ctx, b.admin, tenant, k.ID, tenancy.PermKBManage)
}

// dropKind is a kind of record that the engine does not have.
const dropKind = 'z'

func (o DropOptions) fill(ctx context.Context, s *tenancy.Space) error {
	random := rand.New(rand.NewPCG(1, 2))
	const batch = 5000
	for from := 0; from < o.Keys; from += batch {
		err := s.Commit(ctx, func(tx *tenancy.Tx) error {
			for i := from; i < min(from+batch, o.Keys); i++ {
				key, value := make([]byte, 16), make([]byte, o.Value)
				binary.BigEndian.PutUint64(key, random.Uint64())
				binary.BigEndian.PutUint64(key[8:], uint64(i))
				for j := range value {
					value[j] = byte(random.Uint32())
				}
				if err := tx.Set(dropKind, key, value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// write lets every tenant write at its rate until ctx ends.
func (o DropOptions) write(ctx context.Context, spaces []*tenancy.Space) Writing {
	var mu sync.Mutex
	var took []float64
	failed := 0
	var all sync.WaitGroup
	for i, s := range spaces {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 3))
			every := time.Second / time.Duration(o.Rate)
			for due := time.Now(); ; due = due.Add(every) {
				if wait(ctx, time.Until(due)) != nil {
					return
				}
				value := make([]byte, o.Write)
				for j := range value {
					value[j] = byte(random.Uint32())
				}
				key := binary.BigEndian.AppendUint64(nil, random.Uint64())
				err := s.Commit(context.WithoutCancel(ctx), func(tx *tenancy.Tx) error { return tx.Set(dropKind, key, value) })
				ms := milliseconds(time.Since(due))
				mu.Lock()
				if took = append(took, ms); err != nil {
					failed++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	slices.Sort(took)
	return Writing{len(took), failed, quantile(took, 0.5), quantile(took, 0.99), quantile(took, 1)}
}

// door is one way to a knowledge base: it says whether it let the caller in.
type door struct {
	name string
	try  func() (bool, error)
}

// doors are all there are: a request, entering, taking accepted work up, maintaining,
// and what was entered before.
func (o DropOptions) doors(ctx context.Context, b *base, warm *tenancy.Space) ([]door, error) {
	server, err := httpapi.New(httpapi.Options{Store: b.store, Engine: b.engine, Logger: o.Engine.Logger})
	if err != nil {
		return nil, err
	}
	token, err := b.store.MintToken(tenancy.TokenRequest{Subject: "caller", Tenant: b.tenant, Role: tenancy.RoleAdmin, KBs: []string{"*"}, TTL: time.Hour})
	if err != nil {
		return nil, err
	}
	p, err := b.store.Authenticate(ctx, tenancy.Credential{Bearer: token})
	if err != nil {
		return nil, err
	}
	reading, err := b.store.Enter(ctx, p, b.tenant, warm.KBID(), tenancy.PermQueryRun)
	if err != nil {
		return nil, err
	}
	var job tenancy.JobRef
	err = warm.Commit(ctx, func(tx *tenancy.Tx) (err error) {
		job, err = tx.AddJob(nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	gone := func(err error) (bool, error) {
		if errors.Is(err, tenancy.ErrNoKB) || errors.Is(err, tenancy.ErrKBGone) || errors.Is(err, tenancy.ErrGone) {
			return false, nil
		}
		return err == nil, err
	}
	path := "/api/v1/tenants/" + b.tenant + "/knowledge-bases/" + warm.KBID() + "/status_counts"
	return []door{
		{"request", func() (bool, error) {
			req := httptest.NewRequest(http.MethodGet, path, nil)
			req.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			server.ServeHTTP(w, req)
			if w.Code != http.StatusOK && w.Code != http.StatusNotFound {
				return false, fmt.Errorf("status %d: %s", w.Code, w.Body)
			}
			return w.Code == http.StatusOK, nil
		}},
		{"enter", func() (bool, error) {
			_, err := b.store.Enter(ctx, p, b.tenant, warm.KBID(), tenancy.PermQueryRun)
			return gone(err)
		}},
		{"resume", func() (bool, error) {
			_, err := b.store.Resume(ctx, job)
			return gone(err)
		}},
		{"read what is open", func() (bool, error) {
			return gone(reading.View(ctx, func(*tenancy.Tx) error { return nil }))
		}},
		{"write what is open", func() (bool, error) {
			return gone(warm.Commit(ctx, func(tx *tenancy.Tx) error { return tx.Set(dropKind, []byte("last"), nil) }))
		}},
	}, nil
}

// knocks is how often each door is tried: often enough to see ten milliseconds.
const knocks = time.Millisecond

// delete deletes the knowledge base while somebody is at each of its doors.
func (o DropOptions) delete(ctx context.Context, b *base, kb *tenancy.Space, doors []door, r *DropResult) error {
	type visit struct {
		last time.Time // the last time somebody began to be let in
		err  error
	}
	visits := make([]visit, len(doors))
	var all, ready sync.WaitGroup
	ready.Add(len(doors))
	for i, d := range doors {
		r.Doors = append(r.Doors, d.name)
		all.Go(func() {
			for n := 0; ; n++ {
				start := time.Now()
				in, err := d.try()
				if n == 0 {
					ready.Done()
				}
				if visits[i].err = err; err != nil || !in {
					return
				}
				visits[i].last = start
				if visits[i].err = wait(ctx, knocks); visits[i].err != nil {
					return
				}
			}
		})
	}
	ready.Wait()
	start := time.Now()
	if err := b.store.DeleteKB(ctx, b.admin, b.tenant, kb.KBID()); err != nil {
		return err
	}
	answered := time.Now()
	all.Wait()
	r.CallMS = milliseconds(answered.Sub(start))
	for i, v := range visits {
		switch {
		case v.err != nil:
			return fmt.Errorf("door %q: %w", doors[i].name, v.err)
		case v.last.IsZero():
			return fmt.Errorf("door %q was closed before", doors[i].name)
		case v.last.After(answered):
			r.Late++
		}
		r.RefusedMS = max(r.RefusedMS, milliseconds(v.last.Sub(start)))
	}
	return nil
}

// wait waits, or returns ctx's error when that ends first.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
