package tenancy

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"alcove/tenancy/keyspace"
)

const (
	// onceLife is how long an answer can be asked for again.
	onceLife = time.Hour
	// maxOnceBytes bounds an answer that is kept; of a longer one only its being there is.
	maxOnceBytes = 256 << 10
	// maxOnceKeyBytes bounds a caller's key.
	maxOnceKeyBytes = 255
	// forgetOnceAtOnce bounds what one call cleans up: more than one comes in.
	forgetOnceAtOnce = 64
)

var (
	// ErrOnceOther marks a key that was used with another request.
	ErrOnceOther = fmt.Errorf("Idempotency-Key was used with another request: %w", ErrConflict)
	// ErrOnceRunning marks a key whose first call is still running.
	ErrOnceRunning = fmt.Errorf("the first call with this Idempotency-Key is still running: %w", ErrConflict)
	// ErrOnceUnknown marks a key whose first call did not come to its end: the
	// server stopped in the middle of it, and it may or may not have had its effect.
	ErrOnceUnknown = fmt.Errorf("the first call with this Idempotency-Key was cut off; look whether it had its effect, then use another key: %w", ErrConflict)
	// ErrOnceLong marks a key whose first call was answered at a length that is not kept.
	ErrOnceLong = fmt.Errorf("the first call with this Idempotency-Key was answered; its answer is too long to be kept: %w", ErrConflict)
)

// OnceCall is a call that must have its effect once, however often it is sent. Two
// calls are the same if all fields but Body are equal; the Principal they are asked
// with belongs to them too. Body is a hash of what was sent.
type OnceCall struct {
	Tenant, Method, Path, Key string
	Body                      [sha256.Size]byte
}

// OnceAnswer is what a call was answered.
type OnceAnswer struct {
	Status int    `json:"status"`
	Body   []byte `json:"body"`
}

// Once is one call that has begun. Exactly one of Done, Forget and
// Abandon ends it; a crash
// before that leaves a record that it was begun.
type Once struct {
	s    *Store
	id   onceID
	seal cipher.AEAD
	rec  onceRecord
}

type onceID [sha256.Size]byte

// onceRecord is a call as stored. What it was answered is sealed with a key made
// from the caller's own, which is not stored: a new API key is in such an answer.
type onceRecord struct {
	End    int64             `json:"end"` // unix seconds
	Body   [sha256.Size]byte `json:"body"`
	Done   bool              `json:"done"`
	Sealed []byte            `json:"sealed,omitempty"` // of an OnceAnswer; none of one that was too long
}

// onceCalls are the calls that are running in this process.
type onceCalls struct {
	mu sync.Mutex
	in map[onceID]struct{}
}

func (c *onceCalls) enter(id onceID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.in[id]; there {
		return false
	}
	if c.in == nil {
		c.in = map[onceID]struct{}{}
	}
	c.in[id] = struct{}{}
	return true
}

func (c *onceCalls) leave(id onceID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.in, id)
}

// Once begins a call, or returns what it was answered before: then the *Once is nil.
// The caller asks for its rights first: a key is of one principal, and what it was
// answered is only for who may still ask. It returns ErrOnceOther for a key that
// was used with another body, ErrOnceRunning and ErrOnceUnknown for one whose
// first call has no answer, and a *FieldError for a key that is none. Keys are
// forgotten after an hour.
func (s *Store) Once(ctx context.Context, p Principal, c OnceCall) (*Once, *OnceAnswer, error) {
	if err := checkOnceKey(c.Key); err != nil {
		return nil, nil, err
	}
	o := &Once{s: s, id: s.onceID(p, c), rec: onceRecord{Body: c.Body, End: s.now().Add(onceLife).Unix()}}
	var err error
	if o.seal, err = s.onceSeal(c.Key, o.id); err != nil {
		return nil, nil, err
	}
	if !s.once.enter(o.id) {
		return nil, nil, ErrOnceRunning
	}
	old, err := o.begin(ctx)
	switch {
	case err != nil:
	case old == nil:
		return o, nil, nil
	case old.Body != c.Body:
		err = ErrOnceOther
	case !old.Done:
		err = ErrOnceUnknown
	case old.Sealed == nil:
		err = ErrOnceLong
	}
	s.once.leave(o.id)
	if err != nil {
		return nil, nil, err
	}
	a, err := o.open(old.Sealed)
	return nil, a, err
}

func checkOnceKey(key string) error {
	ok := key != "" && len(key) <= maxOnceKeyBytes
	for i := 0; i < len(key); i++ {
		ok = ok && key[i] > 0x20 && key[i] < 0x7f
	}
	if !ok {
		return badField("Idempotency-Key", fmt.Sprintf("must be 1 to %d visible ASCII characters without blanks", maxOnceKeyBytes))
	}
	return nil
}

// onceID names a call without telling anything of it. Fields are prefixed with their
// lengths: none can be moved into the next.
func (s *Store) onceID(p Principal, c OnceCall) (id onceID) {
	mac := hmac.New(sha256.New, s.pepper)
	mac.Write([]byte("idempotency"))
	for _, f := range []string{p.Name(), c.Tenant, c.Method, c.Path, c.Key} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(f))))
		mac.Write([]byte(f))
	}
	return onceID(mac.Sum(nil))
}

func (s *Store) onceSeal(key string, id onceID) (cipher.AEAD, error) {
	k, err := hkdf.Key(sha256.New, []byte(key), s.pepper, "alcove answer "+string(id[:]), 32)
	if err != nil {
		return nil, fmt.Errorf("idempotency key: %w", err)
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, fmt.Errorf("idempotency key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// begin writes down that the call was begun, or returns the record of one before.
func (o *Once) begin(ctx context.Context) (old *onceRecord, err error) {
	now := o.s.now()
	err = o.s.db.Commit(ctx, func(tx *keyspace.Tx) error {
		old = nil
		if err := forgetOnce(tx, now); err != nil {
			return err
		}
		var r onceRecord
		switch err := getJSON(tx, kindOnce, o.id[:], &r); {
		case err == nil && r.End > now.Unix():
			old = &r
			return nil
		case err == nil:
			if err := tx.Delete(keyspace.System, kindOnceEnd, onceEnd(r.End, o.id)); err != nil {
				return err
			}
		case !errors.Is(err, ErrNotFound):
			return err
		}
		if err := tx.Set(keyspace.System, kindOnceEnd, onceEnd(o.rec.End, o.id), nil); err != nil {
			return err
		}
		return setJSON(tx, kindOnce, o.id[:], o.rec)
	})
	if err != nil {
		return nil, fmt.Errorf("idempotency key: %w", err)
	}
	return old, nil
}

// Done keeps what the call was answered. An error means that it is not kept: the
// call itself has had its effect.
func (o *Once) Done(ctx context.Context, a OnceAnswer) error {
	defer o.s.once.leave(o.id)
	o.rec.Done = true
	if len(a.Body) <= maxOnceBytes {
		b, err := json.Marshal(a)
		if err != nil {
			return fmt.Errorf("idempotency key: %w", err)
		}
		o.rec.Sealed = o.seal.Seal(nil, nil, b, nil)
	}
	err := o.s.db.Commit(ctx, func(tx *keyspace.Tx) error { return setJSON(tx, kindOnce, o.id[:], o.rec) })
	if err != nil {
		return fmt.Errorf("idempotency key: %w", err)
	}
	return nil
}

// Forget says that the call had no effect: it can be sent again.
func (o *Once) Forget(ctx context.Context) error {
	defer o.s.once.leave(o.id)
	err := o.s.db.Commit(ctx, func(tx *keyspace.Tx) error {
		if err := tx.Delete(keyspace.System, kindOnceEnd, onceEnd(o.rec.End, o.id)); err != nil {
			return err
		}
		return tx.Delete(keyspace.System, kindOnce, o.id[:])
	})
	if err != nil {
		return fmt.Errorf("idempotency key: %w", err)
	}
	return nil
}

// Abandon leaves the call as begun: whether it had its effect is not known.
func (o *Once) Abandon() { o.s.once.leave(o.id) }

func (o *Once) open(sealed []byte) (*OnceAnswer, error) {
	b, err := o.seal.Open(nil, nil, sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: the answer kept for an Idempotency-Key", ErrDamaged)
	}
	a := new(OnceAnswer)
	if err := json.Unmarshal(b, a); err != nil {
		return nil, fmt.Errorf("%w: the answer kept for an Idempotency-Key", ErrDamaged)
	}
	return a, nil
}

func onceEnd(end int64, id onceID) []byte { return append(u64(uint64(end)), id[:]...) }

// forgetOnce drops calls whose time is over.
func forgetOnce(tx *keyspace.Tx, now time.Time) error {
	var dead [][]byte
	err := tx.Scan(keyspace.System, kindOnceEnd, keyspace.Scan{Limit: forgetOnceAtOnce, KeysOnly: true}, func(rest, _ []byte) error {
		if len(rest) != 8+sha256.Size {
			return fmt.Errorf("%w: end of a call of %d bytes", ErrDamaged, len(rest))
		}
		if beU64(rest[:8]) > uint64(now.Unix()) {
			return ErrStop
		}
		dead = append(dead, bytes.Clone(rest))
		return nil
	})
	if err != nil {
		return err
	}
	for _, rest := range dead {
		if err := tx.Delete(keyspace.System, kindOnceEnd, rest); err != nil {
			return err
		}
		if err := tx.Delete(keyspace.System, kindOnce, rest[8:]); err != nil {
			return err
		}
	}
	return nil
}
