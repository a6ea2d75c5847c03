package tenancy

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"alcove/tenancy/audit"
	"alcove/tenancy/keyspace"
)

// Act is something that was done or refused and changed nothing: a question asked, an
// access denied. No secrets and no text of documents or questions.
type Act struct {
	Action       string
	ResourceType string
	ResourceID   string
	Details      map[string]string
	Outcome      string // "" is success
}

// NoteAct records an act of p in the chain of tenant if p belongs to it or is a system
// admin, else in the chain of p's own tenant, else in the server's: nobody fills the
// chain of a tenant that is not theirs. It waits for nothing: the act is queued, and
// dropped when the queue is full or, if it was refused, when more are refused a second
// than an attacker should be able to write to disk. What is dropped is counted
// (AuditStats), and the next record of the server's chain tells of it.
func (s *Store) NoteAct(ctx context.Context, p Principal, tenant string, a Act) {
	if s.opt.AuditOff {
		return
	}
	if a.Outcome != "" && a.Outcome != outcomeSuccess && !s.clerk.admits(s.now()) {
		s.clerk.dropped.Add(1)
		return
	}
	s.clerk.offer(ctx, s.chainFor(p, tenant), a.event(p))
}

// RecordAct is NoteAct that returns when the record is on disk, for acts whose answer
// must not go out before.
func (s *Store) RecordAct(ctx context.Context, p Principal, tenant string, a Act) error {
	chain, e := s.chainFor(p, tenant), a.event(p)
	err := s.db.Commit(ctx, func(tx *keyspace.Tx) error { return s.append(ctx, tx, chain, e) })
	if err != nil {
		return fmt.Errorf("record %s: %w", a.Action, err)
	}
	return nil
}

// QueueAct is NoteAct that waits for room in the queue until ctx is over, and is not
// dropped: for calls whose right was asked for and that changed nothing after all.
func (s *Store) QueueAct(ctx context.Context, p Principal, tenant string, a Act) error {
	if s.opt.AuditOff {
		return nil
	}
	return s.clerk.note(ctx, s.chainFor(p, tenant), a.event(p))
}

// Pseudonym stands for a text in logs and audit records: 64 bits of a keyed hash, the
// same for the same text on this server, from which nobody without the key can guess
// the text.
func (s *Store) Pseudonym(text string) string {
	m := hmac.New(sha256.New, s.auditKey)
	m.Write([]byte("alcove pseudonym v1\x00"))
	m.Write([]byte(text))
	return hex.EncodeToString(m.Sum(nil)[:8])
}

func (a Act) event(p Principal) event {
	return event{actor: p.Name(), action: a.Action, resourceType: a.ResourceType, resourceID: a.ResourceID, details: a.Details, outcome: a.Outcome}
}

// chainFor is the chain that an act of p is recorded in; see NoteAct.
func (s *Store) chainFor(p Principal, tenant string) uint64 {
	if !p.System() {
		tenant = p.Tenant()
	}
	if tenant == "" {
		return systemChain
	}
	if t := s.cat.tenant(tenant); t != nil {
		return t.number
	}
	return systemChain
}

// actionAuditOff is the one act that is recorded while nothing is.
const actionAuditOff = "audit_off"

// NoteStart records that a server of this version starts, and with it where the log
// stood. A server that is told to record nothing records that.
func (s *Store) NoteStart(ctx context.Context, version string) error {
	e := event{actor: "server", action: "server_started", resourceType: "server", details: map[string]string{"version": version}}
	if s.opt.AuditOff {
		e.action = actionAuditOff
	}
	err := s.db.Commit(ctx, func(tx *keyspace.Tx) error {
		size, err := trailSize(tx)
		if err != nil {
			return err
		}
		root, err := audit.Root(size, leaves(tx))
		if err != nil {
			return fmt.Errorf("%w: %v", ErrDamaged, err)
		}
		e.details["log_size"], e.details["log_root"] = strconv.FormatUint(size, 10), root.String()
		return s.append(ctx, tx, systemChain, e)
	})
	if errors.Is(err, ErrDiskFull) {
		s.log.Warn("the start could not be recorded in the audit log", "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("record the start: %w", err)
	}
	return nil
}

// clerk writes down acts that have no change of their own to go with. They wait in a
// bounded queue and go to the store many at once. What a system admin reads waits for
// room in the queue (note); questions and refusals do not, and are dropped and counted
// when there is none (offer).
type clerk struct {
	store   *Store
	notes   chan note
	quit    chan struct{}
	done    chan struct{}
	dropped atomic.Int64
	told    int64 // of dropped, what a record already tells of; run's own

	mu       sync.Mutex
	second   int64 // the second that admitted counts in
	admitted int
}

type note struct {
	chain uint64
	event event
}

const (
	clerkQueue = 1024
	clerkBatch = 256
	// maxRefusalsPerSecond bounds how many refusals are recorded: a few hundred bytes
	// each that anybody can cause without a credential.
	maxRefusalsPerSecond = 50
)

// errClerkGone says that the store is closing.
var errClerkGone = fmt.Errorf("record an act: %w", ErrClosed)

func startClerk(s *Store) *clerk {
	c := &clerk{store: s, notes: make(chan note, clerkQueue), quit: make(chan struct{}), done: make(chan struct{})}
	go c.run()
	return c
}

// stop writes what is queued and returns when it is done.
func (c *clerk) stop() {
	close(c.quit)
	<-c.done
}

// admits counts a refusal in its second and reports whether it is recorded.
func (c *clerk) admits(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sec := now.Unix(); sec != c.second {
		c.second, c.admitted = sec, 0
	}
	c.admitted++
	return c.admitted <= maxRefusalsPerSecond
}

// stamped is e with what is known of it now, since it is written later.
func (c *clerk) stamped(ctx context.Context, e event) event {
	r := requestOf(ctx)
	e.at, e.requestID, e.from = c.store.now(), r.id, r.from
	return e
}

// offer queues e if there is room, and counts it as dropped if there is none.
func (c *clerk) offer(ctx context.Context, chain uint64, e event) {
	select {
	case <-c.quit:
		c.dropped.Add(1)
		return
	default:
	}
	select {
	case c.notes <- note{chain, c.stamped(ctx, e)}:
	default:
		c.dropped.Add(1)
	}
}

// note queues e, waiting for room until ctx is over.
func (c *clerk) note(ctx context.Context, chain uint64, e event) error {
	select {
	case <-c.quit:
		return errClerkGone
	default:
	}
	select {
	case c.notes <- note{chain, c.stamped(ctx, e)}:
		if r := requestOf(ctx); r != &noRequest {
			r.recorded.Store(true)
		}
		return nil
	case <-c.quit:
		return errClerkGone
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *clerk) run() {
	defer close(c.done)
	for {
		select {
		case n := <-c.notes:
			c.write(n)
		case <-c.quit:
			for {
				select {
				case n := <-c.notes:
					c.write(n)
				default:
					return
				}
			}
		}
	}
}

// write commits first and whatever else waits, up to a batch, and tells of what was
// dropped since it last did.
func (c *clerk) write(first note) {
	batch := []note{first}
gather:
	for len(batch) < clerkBatch {
		select {
		case n := <-c.notes:
			batch = append(batch, n)
		default:
			break gather
		}
	}
	dropped := c.dropped.Load()
	if dropped > c.told {
		batch = append(batch, note{systemChain, event{actor: "server", action: "audit_dropped", resourceType: "audit",
			at: c.store.now(), details: map[string]string{"count": strconv.FormatInt(dropped-c.told, 10)}}})
	}
	ctx := context.Background() // the acts were done: their callers' deadlines do not matter here
	err := c.store.db.Commit(ctx, func(tx *keyspace.Tx) error {
		for _, n := range batch {
			if err := c.store.append(ctx, tx, n.chain, n.event); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		c.told = dropped
		return
	}
	c.dropped.Add(int64(len(batch)))
	if !errors.Is(err, ErrClosed) {
		c.store.log.Error("acts could not be recorded", "count", len(batch), "err", err)
	}
}
