package engine

import (
	"context"
	"fmt"
	"sync"

	"alcove/graph"
	"alcove/tenancy"
)

const (
	// communitySeed orders the work on a graph; that it is always the same makes
	// equal graphs have equal communities.
	communitySeed = 1
	// maxCommunityRelations bounds the copy of a graph that is worked on: about
	// 24 bytes each.
	maxCommunityRelations = 4_000_000

	defaultCommunities = 20
	maxCommunities     = 1000
	defaultMembers     = 10
	maxMembers         = 100
)

// communities are the communities of an open knowledge base's graph: derived state
// that is made when somebody asks and goes with the copy in memory.
type communities struct {
	mu      sync.Mutex
	cancel  context.CancelFunc // of the work under way, nil when there is none
	stopped bool
	made    *graph.Communities
	gen     uint64 // of made
	size    int64
}

func (c *communities) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}

// stop ends the work under way and lets nothing begin again.
func (c *communities) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	if c.cancel != nil {
		c.cancel()
	}
}

// CommunityStatus says how far the communities of a knowledge base are.
type CommunityStatus string

// The states. Stale ones are those of an older generation: names that are gone
// since are left out of them, and nothing that is new is in them.
const (
	CommunitiesNone    CommunityStatus = "none"
	CommunitiesRunning CommunityStatus = "running"
	CommunitiesReady   CommunityStatus = "ready"
	CommunitiesStale   CommunityStatus = "stale"
)

// CommunitiesRequest says how much of the communities is listed.
type CommunitiesRequest struct {
	Limit   int // 20 communities, the largest first; at most 1000
	Members int // 10 of each, those of most relations inside it first; at most 100
}

// Communities are groups of entities that are related among each other more than
// to others.
type Communities struct {
	Status CommunityStatus `json:"status"`
	// Running says that newer ones are being made.
	Running     bool             `json:"running"`
	Count       int              `json:"count"`
	Modularity  float64          `json:"modularity"`
	Communities []CommunityShown `json:"communities"`
	IsTruncated bool             `json:"is_truncated"` // there are more than the limit
}

// CommunityShown is one of them.
type CommunityShown struct {
	Size      int          `json:"size"`
	Relations int          `json:"relations"` // inside
	Members   []GraphLabel `json:"members"`
}

// MakeCommunities begins to make the communities of the graph as it is now, if
// that is not done or under way, and says where things stand. The work is done in
// the background, one knowledge base of the server at a time, and ends with the
// copy in memory. A graph of more than 4,000,000 relations is ErrTooLarge.
func (r *Reader) MakeCommunities(ctx context.Context) (*Communities, error) {
	kb, release, err := r.eng.pool.acquire(ctx, r.space)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := r.eng.pool.makeCommunities(ctx, kb, r.space); err != nil {
		return nil, err
	}
	return r.communitiesOf(ctx, kb, CommunitiesRequest{Limit: defaultCommunities, Members: defaultMembers})
}

// makeCommunities copies the graph and starts the work on the copy, which needs
// no lease and no lock.
func (p *pool) makeCommunities(ctx context.Context, kb *openKB, s *tenancy.Space) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return ErrClosed
	}
	p.work.Add(1)
	p.mu.Unlock()
	c := &kb.communities
	var n *graph.Network
	var gen uint64
	work, cancel := context.WithCancel(p.ctx)
	err := kb.read(ctx, s, func(res *resident, _ *tenancy.Tx) error {
		if _, n := res.graph.Len(); n > maxCommunityRelations {
			return &FieldError{Field: "graph", Message: fmt.Sprintf("has %d relations; communities are made of at most %d", n, maxCommunityRelations), Err: ErrTooLarge}
		}
		if c.begin(res.gen, cancel) {
			n, gen = res.graph.Within(nil).Network(), res.gen
		}
		return nil
	})
	if n == nil {
		cancel()
		p.work.Done()
		return err
	}
	go func() {
		defer p.work.Done()
		defer cancel()
		select {
		case p.counting <- struct{}{}:
			defer func() { <-p.counting }()
		case <-work.Done():
			c.end(nil, gen)
			return
		}
		made, err := n.Communities(work, communitySeed)
		if err != nil { // it was cancelled
			made = nil
		}
		c.end(made, gen)
	}()
	return nil
}

// begin says whether work on a generation is to be done, and then that it is
// under way. It is not to be when it is done, or any is under way: a base that
// always changes would otherwise never have any.
func (c *communities) begin(gen uint64, cancel context.CancelFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || c.cancel != nil || c.made != nil && c.gen == gen {
		return false
	}
	c.cancel = cancel
	return true
}

func (c *communities) end(made *graph.Communities, gen uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = nil
	if made == nil || c.stopped {
		return
	}
	c.made, c.gen, c.size = made, gen, 0
	for _, x := range made.List {
		c.size += 64
		for _, m := range x.Members {
			c.size += 16 + int64(len(m))
		}
	}
}

// Communities lists the communities that were made last. Names that are gone since
// are not shown.
func (r *Reader) Communities(ctx context.Context, q CommunitiesRequest) (*Communities, error) {
	for _, x := range []struct {
		field     string
		v         *int
		def, most int
	}{{"limit", &q.Limit, defaultCommunities, maxCommunities}, {"members", &q.Members, defaultMembers, maxMembers}} {
		if *x.v == 0 {
			*x.v = x.def
		}
		if *x.v < 1 || *x.v > x.most {
			return nil, badField(x.field, fmt.Sprintf("is %d; 1 to %d are allowed", *x.v, x.most))
		}
	}
	kb, release, err := r.eng.pool.acquire(ctx, r.space)
	if err != nil {
		return nil, err
	}
	defer release()
	return r.communitiesOf(ctx, kb, q)
}

func (r *Reader) communitiesOf(ctx context.Context, kb *openKB, q CommunitiesRequest) (*Communities, error) {
	out := &Communities{Status: CommunitiesNone, Communities: []CommunityShown{}}
	err := kb.read(ctx, r.space, func(res *resident, _ *tenancy.Tx) error {
		c := &kb.communities
		c.mu.Lock()
		made, gen, running := c.made, c.gen, c.cancel != nil
		c.mu.Unlock()
		if out.Running = running; running {
			out.Status = CommunitiesRunning
		}
		if made == nil {
			return nil
		}
		out.Count, out.Modularity = len(made.List), made.Modularity
		if out.Status = CommunitiesReady; gen != res.gen {
			out.Status = CommunitiesStale
		}
		out.IsTruncated = len(made.List) > q.Limit
		for _, x := range made.List[:min(q.Limit, len(made.List))] {
			s := CommunityShown{Size: len(x.Members), Relations: x.Relations, Members: []GraphLabel{}}
			for _, name := range x.Members {
				if len(s.Members) == q.Members {
					break
				}
				// Looked up now: what was deleted meanwhile is not there any more.
				if id, ok := res.graph.Entity(name); ok {
					s.Members = append(s.Members, GraphLabel{Label: res.entityName(id), Degree: res.graph.Degree(id)})
				}
			}
			out.Communities = append(out.Communities, s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
