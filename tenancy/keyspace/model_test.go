package keyspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var ctx = context.Background()

func memory(t testing.TB) *DB {
	db, err := Open(Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ignoreClosed(db.Close())) })
	return db
}

func ignoreClosed(err error) error {
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// model is the oracle: a plain map from key to value.
type model map[string]string

func (m model) usage(ns Namespace) (u Usage) {
	for k, v := range m {
		if strings.HasPrefix(k, string(appendKey(nil, ns, 0, nil)[:9])) {
			u.Records++
			u.Bytes += int64(len(k) + crcLen + len(v))
		}
	}
	return u
}

func (m model) scan(ns Namespace, kind byte, s Scan) (out []string) {
	head := string(appendKey(nil, ns, kind, nil))
	for k := range m {
		rest, ok := strings.CutPrefix(k, head)
		if !ok || !strings.HasPrefix(rest, string(s.Prefix)) {
			continue
		}
		if s.After != nil && (!s.Reverse && rest <= string(s.After) || s.Reverse && rest >= string(s.After)) {
			continue
		}
		out = append(out, rest)
	}
	slices.Sort(out)
	if s.Reverse {
		slices.Reverse(out)
	}
	if s.Limit > 0 && len(out) > s.Limit {
		out = out[:s.Limit]
	}
	for i, rest := range out {
		if out[i] = rest + "="; !s.KeysOnly {
			out[i] += m[head+rest]
		}
	}
	return out
}

func collect(tx *Tx, ns Namespace, kind byte, s Scan) (out []string, err error) {
	err = tx.Scan(ns, kind, s, func(rest, value []byte) error {
		out = append(out, string(rest)+"="+string(value))
		return nil
	})
	return out, err
}

// neighbours differ where a prefix mistake would show.
var neighbours = []Namespace{{'d', 0}, {'d', 1}, {'d', 2}, {'d', 255}, {'d', 256}, {'d', 65535}, {'d', 65536},
	{'d', math.MaxUint64 - 1}, {'d', math.MaxUint64}, {'e', 0}}

func randomRest(r *rand.Rand) []byte {
	b := make([]byte, r.Intn(4))
	for i := range b {
		b[i] = []byte{0, 1, 'a', 0xff}[r.Intn(4)]
	}
	return b
}

func randomScan(r *rand.Rand) Scan {
	s := Scan{Reverse: r.Intn(2) == 0, KeysOnly: r.Intn(4) == 0, Limit: r.Intn(6)}
	if r.Intn(2) == 0 {
		s.Prefix = randomRest(r)
	}
	if r.Intn(2) == 0 {
		s.After = randomRest(r)
	}
	return s
}

var errRefused = errors.New("refused by the test")

// Random histories over ten neighbouring namespaces: every read inside and
// outside closures, every scan, every counter is the oracle's; a closure that
// fails leaves nothing.
func TestHistories_AgreeWithAMap(t *testing.T) {
	for seed := int64(1); seed <= 4; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			db, r, want := memory(t), rand.New(rand.NewSource(seed)), model{}
			check := func(tx *Tx, m model) error {
				ns, kind := neighbours[r.Intn(len(neighbours))], byte(1+r.Intn(2)*254)
				s := randomScan(r)
				got, err := collect(tx, ns, kind, s)
				if err != nil || !slices.Equal(got, m.scan(ns, kind, s)) {
					return fmt.Errorf("scan %+v of %s kind %d: %q, want %q, %w", s, ns, kind, got, m.scan(ns, kind, s), err)
				}
				rest := randomRest(r)
				v, err := tx.Get(ns, kind, rest)
				if w, ok := m[string(appendKey(nil, ns, kind, rest))]; ok != (err == nil) || string(v) != w {
					return fmt.Errorf("get %s %d %x: %q, want %q: %w", ns, kind, rest, v, w, err)
				}
				u, err := tx.Usage(ns)
				if err != nil || u != m.usage(ns) {
					return fmt.Errorf("usage of %s: %v, want %v: %w", ns, u, m.usage(ns), err)
				}
				return nil
			}
			var mu sync.Mutex // the committer runs one closure at a time; the views below do not
			for range 60 {
				var all sync.WaitGroup
				for range 8 { // together, so that they share merges
					all.Go(func() {
						err := db.Commit(ctx, func(tx *Tx) error {
							mu.Lock()
							defer mu.Unlock()
							m := maps.Clone(want)
							for range 1 + r.Intn(6) {
								ns, kind, rest := neighbours[r.Intn(len(neighbours))], byte(1+r.Intn(2)*254), randomRest(r)
								key := string(appendKey(nil, ns, kind, rest))
								if r.Intn(3) == 0 {
									delete(m, key)
									if err := tx.Delete(ns, kind, rest); err != nil {
										return err
									}
								} else {
									v := make([]byte, r.Intn(40))
									r.Read(v)
									m[key] = string(v)
									if err := tx.Set(ns, kind, rest, v); err != nil {
										return err
									}
								}
								if err := check(tx, m); err != nil {
									return err
								}
							}
							if r.Intn(4) == 0 {
								return errRefused
							}
							want = m
							return nil
						})
						if err != nil && !errors.Is(err, errRefused) {
							t.Error(err)
						}
					})
				}
				all.Wait()
				require.NoError(t, db.View(func(tx *Tx) error { return check(tx, want) }))
			}
			var there []Namespace
			for _, ns := range neighbours {
				require.NoError(t, db.Verify(ctx, ns))
				if want.usage(ns) != (Usage{}) {
					there = append(there, ns)
				}
			}
			got, err := db.Namespaces(ctx)
			require.NoError(t, err)
			require.Equal(t, there, got)
			for _, ns := range neighbours {
				n, after := int64(0), []byte(nil)
				for {
					last, deleted, err := db.Sweep(ctx, ns, after, 3)
					require.NoError(t, err)
					require.LessOrEqual(t, deleted, 3)
					require.LessOrEqual(t, bytes.Compare(after, last), 0)
					if n += int64(deleted); deleted == 0 {
						break
					}
					after = last
				}
				require.Equal(t, want.usage(ns).Records, n)
			}
			got, err = db.Namespaces(ctx)
			require.NoError(t, err)
			require.Empty(t, got)
		})
	}
}

// A scan handed more than an overlay: records in Badger, some shadowed and some
// deleted by earlier closures of the merge and by the closure itself.
func TestScan_ThroughThreeLayers(t *testing.T) {
	db, ns := memory(t), Namespace{'d', 7}
	set := func(tx *Tx, pairs ...string) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := tx.Set(ns, 1, []byte(pairs[i]), []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	}
	require.NoError(t, db.Commit(ctx, func(tx *Tx) error { return set(tx, "a", "0", "b", "0", "c", "0", "d", "0") }))
	oneMerge(t, db,
		func(tx *Tx) error { return errors.Join(set(tx, "b", "1", "bb", "1"), tx.Delete(ns, 1, []byte("c"))) },
		func(tx *Tx) error { return errors.Join(set(tx, "zz", "refused"), errRefused) },
		func(tx *Tx) error {
			if err := errors.Join(set(tx, "b", "2", "c", "2", "e", "2"), tx.Delete(ns, 1, []byte("d"))); err != nil {
				return err
			}
			got, err := collect(tx, ns, 1, Scan{})
			if want := []string{"a=0", "b=2", "bb=1", "c=2", "e=2"}; err != nil || !slices.Equal(got, want) {
				return fmt.Errorf("%q, want %q: %w", got, want, err)
			}
			got, err = collect(tx, ns, 1, Scan{Reverse: true, After: []byte("c"), Limit: 2})
			if want := []string{"bb=1", "b=2"}; err != nil || !slices.Equal(got, want) {
				return fmt.Errorf("%q, want %q: %w", got, want, err)
			}
			return tx.Scan(ns, 1, Scan{}, func(rest, _ []byte) error {
				return tx.Set(ns, 1, append([]byte("x"), rest...), nil) // does not meet its own writes
			})
		})
	require.NoError(t, db.Verify(ctx, ns))
	require.NoError(t, db.View(func(tx *Tx) error {
		u, err := tx.Usage(ns)
		require.Equal(t, int64(10), u.Records)
		return err
	}))
}

// oneMerge makes closures share a merge: the first waits until all are queued.
// It returns their errors; the ones that are not errRefused must be nil.
func oneMerge(t *testing.T, db *DB, fs ...func(*Tx) error) []error {
	t.Helper()
	before := db.Stats().Merges
	inside, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_ = db.Commit(ctx, func(*Tx) error { close(inside); <-release; return nil })
	})
	<-inside
	requests := make([]*request, len(fs))
	for i, f := range fs { // straight into the queue, so that the order is known
		requests[i] = &request{f: f, done: make(chan struct{})}
		db.queue <- requests[i]
	}
	close(release)
	errs := make([]error, len(fs))
	for i, r := range requests {
		<-r.done
		if errs[i] = r.err; r.err != nil && !errors.Is(r.err, errRefused) {
			t.Errorf("closure %d: %v", i, r.err)
		}
	}
	all.Wait()
	require.LessOrEqual(t, db.Stats().Merges, before+1, "one merge was meant")
	return errs
}

// Counters are read and written in the committer: concurrent increments, and
// the usage beside them, lose nothing.
func TestCommit_LosesNoIncrement(t *testing.T) {
	db, ns := memory(t), Namespace{'d', 1}
	const writers, each = 16, 50
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				err := db.Commit(ctx, func(tx *Tx) error {
					v, err := tx.Get(ns, 1, []byte("n"))
					if err != nil && !errors.Is(err, ErrNotFound) {
						return err
					}
					return errors.Join(tx.Set(ns, 1, []byte("n"), append(v, 1)), tx.Set(ns, 2, []byte{byte(w), byte(i)}, nil))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	require.NoError(t, db.Verify(ctx, ns))
	require.NoError(t, db.View(func(tx *Tx) error {
		v, err := tx.Get(ns, 1, []byte("n"))
		require.NoError(t, err)
		require.Len(t, v, writers*each)
		u, err := tx.Usage(ns)
		require.Equal(t, int64(1+writers*each), u.Records)
		return err
	}))
	s := db.Stats()
	require.EqualValues(t, writers*each+1, s.Commits) // the format record is one
	require.Less(t, s.Merges, s.Commits)
}

// A counter is as old as the snapshot it is read in: one read beside it would disagree
// with the records, and Verify of a store that is written to would call it damaged.
func TestUsage_IsOfTheSnapshot(t *testing.T) {
	db, ns := memory(t), Namespace{'d', 1}
	add := func(rest string) {
		require.NoError(t, db.Commit(ctx, func(tx *Tx) error { return tx.Set(ns, 1, []byte(rest), nil) }))
	}
	add("before")
	require.NoError(t, db.View(func(tx *Tx) error {
		add("after")
		u, err := tx.Usage(ns)
		require.EqualValues(t, 1, u.Records)
		return err
	}))
}

// Whatever rest, prefix and kind somebody finds, a neighbour is neither read nor changed.
func FuzzTx_NeverLeavesItsNamespace(f *testing.F) {
	db := memory(f)
	mine, theirs := Namespace{'d', 5}, Namespace{'d', 6}
	require.NoError(f, db.Commit(ctx, func(tx *Tx) error { return tx.Set(theirs, 1, []byte("secret"), []byte("other")) }))
	f.Add(byte(1), []byte("secret"), []byte{})
	f.Add(byte(0xff), []byte{0xff, 0xff, 0, 0, 0, 6, 1}, []byte{0xff})
	f.Add(byte(0), []byte{}, bytes.Repeat([]byte{0xff}, MaxRest+1))
	f.Fuzz(func(t *testing.T, kind byte, rest, after []byte) {
		err := db.Commit(ctx, func(tx *Tx) error {
			if v, err := tx.Get(mine, kind, rest); err == nil && bytes.Contains(v, []byte("other")) {
				return errors.New("read another namespace")
			}
			for _, reverse := range []bool{false, true} {
				err := tx.Scan(mine, kind, Scan{Prefix: rest, After: after, Reverse: reverse}, func(r, v []byte) error {
					if !bytes.HasPrefix(r, rest) || bytes.Contains(v, []byte("other")) {
						return errors.New("scanned another namespace")
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			return errors.Join(tx.Set(mine, kind, rest, after), tx.Delete(mine, kind, after))
		})
		if err != nil && !errors.Is(err, ErrBadKey) && !errors.Is(err, ErrTooBig) {
			t.Fatal(err)
		}
		require.NoError(t, db.Verify(ctx, theirs))
		require.NoError(t, db.View(func(tx *Tx) error {
			v, err := tx.Get(theirs, 1, []byte("secret"))
			require.Equal(t, "other", string(v))
			return err
		}))
	})
}
