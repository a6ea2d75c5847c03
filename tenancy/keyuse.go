package tenancy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"alcove/tenancy/keyspace"
)

const (
	// keyUseEvery is how often the uses of keys are written down: never for each use.
	keyUseEvery = time.Minute
	// keyUseBatch is how many keys one commit notes.
	keyUseBatch = 1000
)

// keyUse counts the uses of one key, and the last one in unix seconds.
type keyUse struct {
	uses, last atomic.Int64
	noted      atomic.Bool // is on the list of what is to be written
}

// keyUses writes down which keys were used, some at a time. Between two writings a key
// that is used stands on its list once, whatever its uses; who is idle writes nothing.
type keyUses struct {
	store  *Store
	mu     sync.Mutex
	list   []usedKey
	cancel context.CancelFunc
	done   chan struct{}
}

type usedKey struct {
	id  string
	use *keyUse
}

func startKeyUses(s *Store) *keyUses {
	ctx, cancel := context.WithCancel(context.Background())
	u := &keyUses{store: s, cancel: cancel, done: make(chan struct{})}
	go u.run(ctx)
	return u
}

func (u *keyUses) run(ctx context.Context) {
	defer close(u.done)
	tick := time.NewTicker(keyUseEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := u.write(ctx); err != nil && ctx.Err() == nil {
			u.store.log.Warn("the use of keys could not be written; it will be tried again", "in", keyUseEvery.String(), "err", err)
		}
	}
}

// stop writes what is on the list and returns when that is done.
func (u *keyUses) stop() {
	u.cancel()
	<-u.done
	if err := u.write(context.Background()); err != nil && !errors.Is(err, ErrDiskFull) {
		u.store.log.Warn("the use of keys could not be written", "err", err)
	}
}

// note counts a use. It takes a lock only for the first since the last writing.
func (u *keyUses) note(id string, k *keyUse, now time.Time) {
	k.uses.Add(1)
	k.last.Store(now.Unix())
	if k.noted.CompareAndSwap(false, true) {
		u.mu.Lock()
		u.list = append(u.list, usedKey{id, k})
		u.mu.Unlock()
	}
}

// write writes what is on the list. What could not be written stays there.
func (u *keyUses) write(ctx context.Context) error {
	u.mu.Lock()
	list := u.list
	u.list = nil
	u.mu.Unlock()
	for len(list) > 0 {
		batch := list[:min(len(list), keyUseBatch)]
		for _, k := range batch {
			k.use.noted.Store(false) // first: a use from here on is on the next list
		}
		err := u.store.db.Commit(ctx, func(tx *keyspace.Tx) error {
			for _, k := range batch {
				if _, err := tx.Get(keyspace.System, kindKey, []byte(k.id)); isNotFound(err) {
					continue // revoked meanwhile
				} else if err != nil {
					return err
				}
				if err := tx.Set(keyspace.System, kindKeyUse, []byte(k.id), u64s(uint64(k.use.last.Load()), uint64(k.use.uses.Load()))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			u.mu.Lock()
			u.list = append(u.list, list[len(batch):]...) // their marks still stand
			for _, k := range batch {
				if !k.use.noted.Swap(true) {
					u.list = append(u.list, k)
				}
			}
			u.mu.Unlock()
			return fmt.Errorf("write the use of keys: %w", err)
		}
		list = list[len(batch):]
	}
	return nil
}

// readKeyUse reads what is written of a key's uses; nothing is no use.
func readKeyUse(tx *keyspace.Tx, id string) (*keyUse, error) {
	k := &keyUse{}
	b, err := tx.Get(keyspace.System, kindKeyUse, []byte(id))
	if isNotFound(err) {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	if len(b) != 16 {
		return nil, fmt.Errorf("%w: the use of key %s", ErrDamaged, id)
	}
	k.last.Store(int64(beU64(b[:8])))
	k.uses.Store(int64(binary.BigEndian.Uint64(b[8:])))
	return k, nil
}

// useOf fills in what is known of a key's uses at this moment.
func (c *catalogue) useOf(k *Key) {
	e := c.key(k.ID)
	if e == nil {
		return
	}
	k.Uses = e.use.uses.Load()
	if at := e.use.last.Load(); at != 0 {
		t := time.Unix(at, 0).UTC()
		k.LastUsedAt = &t
	}
}
