package tenancy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"alcove/tenancy/audit"
	"alcove/tenancy/keyspace"
)

// systemChain is the number of the server's own audit chain; tenants have theirs
// under their numbers, which begin at 1.
const systemChain = 0

// outcomeSuccess is how an act that is recorded with its change always ends: had it
// failed, the record would not be there either.
const outcomeSuccess = "success"

// event is what is to be recorded of one act. No secrets and no text of documents or
// questions: ids, names and counts.
type event struct {
	actor        string
	action       string
	resourceType string
	resourceID   string
	details      map[string]string
	at           time.Time // zero is now
	requestID    string    // "" is the context's
}

// append seals e onto a chain inside the transaction of the change it tells of: there
// is no change without its record and no record without its change.
func (s *Store) append(ctx context.Context, tx *keyspace.Tx, chain uint64, e event) error {
	head, err := trailHead(tx, chain)
	if err != nil {
		return err
	}
	if e.at.IsZero() {
		e.at = s.now()
	}
	if e.requestID == "" {
		e.requestID = RequestID(ctx)
	}
	c := audit.NewChain(s.auditKey, chain, head)
	seq, sealed := c.Seal(audit.Record{
		Time: e.at, Actor: e.actor, Action: e.action, ResourceType: e.resourceType, ResourceID: e.resourceID,
		Details: e.details, RequestID: e.requestID, Outcome: outcomeSuccess,
	})
	if err := tx.Set(keyspace.System, kindTrail, u64s(chain, seq), sealed); err != nil {
		return fmt.Errorf("audit record: %w", err)
	}
	if err := tx.Set(keyspace.System, kindTrailHead, u64(chain), c.Head().Encode()); err != nil {
		return fmt.Errorf("audit head: %w", err)
	}
	return nil
}

func trailHead(tx *keyspace.Tx, chain uint64) (audit.Head, error) {
	b, err := tx.Get(keyspace.System, kindTrailHead, u64(chain))
	if isNotFound(err) {
		return audit.Head{}, nil
	}
	if err != nil {
		return audit.Head{}, fmt.Errorf("audit head: %w", err)
	}
	h, err := audit.DecodeHead(b)
	if err != nil {
		return h, fmt.Errorf("%w: audit head of chain %d: %v", ErrDamaged, chain, err)
	}
	return h, nil
}

// trailPage is how many audit records one read transaction walks.
const trailPage = 4096

// verifyTrail walks a chain from its beginning to its head. A record that is not what
// was written is an *audit.BreakError; records counts the good ones before it.
func (s *Store) verifyTrail(ctx context.Context, chain uint64) (records int64, err error) {
	c := audit.NewChain(s.auditKey, chain, audit.Head{})
	var head audit.Head
	for more := true; more; {
		// The head and the page come from one snapshot: a record being appended now
		// is in both or in neither.
		err := s.view(ctx, func(tx *keyspace.Tx) error {
			var err error
			if head, err = trailHead(tx, chain); err != nil {
				return err
			}
			n := 0
			scan := keyspace.Scan{Prefix: u64(chain), Limit: trailPage}
			if at := c.Head().Seq; at > 0 {
				scan.After = u64s(chain, at)
			}
			err = tx.Scan(keyspace.System, kindTrail, scan, func(_, value []byte) error {
				n++
				_, err := c.Check(value)
				return err
			})
			more = n == trailPage
			return err
		})
		if err != nil {
			return int64(c.Head().Seq), err
		}
	}
	return int64(c.Head().Seq), c.End(head)
}

// clerk writes down acts that have no change of their own to go with: what a system
// admin reads. They wait in a bounded queue and go to the store many at once. When
// the queue is full the reader waits; nothing is dropped but on a store that can no
// longer be written, and that is logged.
type clerk struct {
	store *Store
	notes chan note
	quit  chan struct{}
	done  chan struct{}
}

type note struct {
	chain uint64
	event event
}

const (
	clerkQueue = 1024
	clerkBatch = 256
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

// note queues e, waiting for room until ctx is over.
func (c *clerk) note(ctx context.Context, chain uint64, e event) error {
	e.at, e.requestID = c.store.now(), RequestID(ctx)
	select {
	case <-c.quit:
		return errClerkGone
	default:
	}
	select {
	case c.notes <- note{chain, e}:
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

// write commits first and whatever else waits, up to a batch.
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
	ctx := context.Background() // the acts were allowed: their callers' deadlines do not matter here
	err := c.store.db.Commit(ctx, func(tx *keyspace.Tx) error {
		for _, n := range batch {
			if err := c.store.append(ctx, tx, n.chain, n.event); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrClosed) {
		c.store.log.Error("acts could not be recorded", "count", len(batch), "err", err)
	}
}
