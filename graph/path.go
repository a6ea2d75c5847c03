package graph

import (
	"context"
	"errors"
	"fmt"
	"time"

	cayley "github.com/cayleygraph/cayley/graph"
	"github.com/cayleygraph/cayley/graph/path"
	"github.com/cayleygraph/quad"
)

// Limits of a path query. The graph is read-locked while one runs, so the time
// is short.
const (
	MaxPathSteps   = 16   // in all, those of inner paths included
	MaxPathHops    = 8    // relations followed one after the other, likewise
	MaxPathDepth   = 3    // paths within paths
	MaxPathStarts  = 1000 // names, likewise
	MaxPathResults = 10_000
	MaxPathFanout  = 10_000  // relations of an entity that is gone through
	MaxPathReads   = 200_000 // relations and entities looked at
	MaxPathTime    = time.Second
)

var (
	// ErrPath says that a path query is not one this package runs: no start, no or
	// too many steps, an unknown direction, or a limit out of range.
	ErrPath = errors.New("graph: path query is not allowed")
	// ErrPathWork says that a path query was given up because it read too much or
	// took too long.
	ErrPathWork = errors.New("graph: path query was given up")
)

// PathError says what is wrong with which field of a path query, in lower case
// and with its place: steps[1].and.start. It unwraps to ErrPath or ErrPathWork.
type PathError struct {
	Field, Reason string
	class         error
}

// Error returns the class, the field and the reason.
func (e *PathError) Error() string { return fmt.Sprintf("%v: %s %s", e.class, e.Field, e.Reason) }

// Unwrap returns ErrPath or ErrPathWork.
func (e *PathError) Unwrap() error { return e.class }

func badPath(field, format string, args ...any) error {
	return &PathError{field, fmt.Sprintf(format, args...), ErrPath}
}

func pathWork(format string, args ...any) error {
	return &PathError{"steps", fmt.Sprintf(format, args...), ErrPathWork}
}

// Direction is the way a step follows relations.
type Direction string

// The directions of a step.
const (
	Out  Direction = "out"
	In   Direction = "in"
	Both Direction = "both"
)

// Step takes the set of entities that a path has reached to another one. It has
// exactly one of Follow, And, Or and Except.
type Step struct {
	// Follow goes along 1 to Hops relations, those of some predicates or of all
	// when there are none. Hops 0 is 1. An entity that was reached before and is
	// come to again is in the new set too.
	Follow     Direction
	Hops       int
	Predicates []string

	And    *PathQuery // keeps what the other path reaches too
	Or     *PathQuery // adds what the other path reaches
	Except *PathQuery // leaves out what the other path reaches
}

// PathQuery asks for the entities at the end of some steps.
type PathQuery struct {
	Start []string // names, at least one; unknown ones lead nowhere
	Steps []Step   // at least one, but for an inner path
	Limit int      // 1 to MaxPathResults; of an inner path 0
}

// PathResult is the entities that a path query came to, by degree (highest
// first), then by name.
type PathResult struct {
	Nodes     []uint32
	Truncated bool // there are more than Limit
}

// Path is View.Path of the whole graph.
func (g *Graph) Path(ctx context.Context, q PathQuery) (PathResult, error) {
	return g.Within(nil).Path(ctx, q)
}

// Path runs a path query through Cayley's path API, on one state of the graph.
// It returns ErrPath for a query that may not be run, ErrPathWork for one that
// goes over MaxPathFanout, MaxPathReads or MaxPathTime, or the error of ctx;
// never a part of the answer without an error or Truncated. Writers wait while
// it runs.
func (v View) Path(ctx context.Context, q PathQuery) (PathResult, error) {
	if err := q.validate(); err != nil {
		return PathResult{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, MaxPathTime, pathWork("take longer than %v", MaxPathTime))
	defer cancel()
	r, err := v.path(ctx, q)
	if err != nil && errors.Is(context.Cause(ctx), ErrPathWork) {
		err = context.Cause(ctx)
	}
	return r, err
}

func (v View) path(ctx context.Context, q PathQuery) (PathResult, error) {
	v.g.mu.RLock()
	defer v.g.mu.RUnlock()
	s := &QuadStore{g: v.g, held: &heldQuery{v: v, budget: MaxPathReads, fanout: MaxPathFanout}}
	nodes, err := s.walk(ctx, &q)
	if err != nil {
		return PathResult{}, fmt.Errorf("path query: %w", err)
	}
	t := top{k: min(q.Limit, len(nodes)), before: v.before}
	for id := range nodes {
		t.push(id)
	}
	return PathResult{Nodes: t.sorted(), Truncated: len(nodes) > q.Limit}, nil
}

// walk returns what a path reaches. The set operations are ours: Cayley v0.7.7
// panics on Except of nothing, and takes an empty start for all entities.
func (s *QuadStore) walk(ctx context.Context, q *PathQuery) (map[uint32]bool, error) {
	at := map[uint32]bool{}
	for _, name := range q.Start {
		if id, ok := s.g.names.find(name, s.g.nodes); ok && s.held.v.has(id) {
			at[id] = true
		}
	}
	for i := range q.Steps {
		var err error
		if at, err = s.step(ctx, at, &q.Steps[i]); err != nil {
			return nil, err
		}
	}
	return at, ctx.Err()
}

func (s *QuadStore) step(ctx context.Context, at map[uint32]bool, x *Step) (map[uint32]bool, error) {
	if x.Follow == "" {
		inner := x.inner()
		other, err := s.walk(ctx, inner)
		if err != nil {
			return nil, err
		}
		if inner == x.Or {
			for id := range other {
				at[id] = true
			}
			return at, nil
		}
		for id := range at {
			if other[id] == (inner == x.Except) {
				delete(at, id)
			}
		}
		return at, nil
	}
	reached := map[uint32]bool{}
	for range max(1, x.Hops) {
		next, err := s.follow(ctx, at, x)
		if err != nil {
			return nil, err
		}
		at = map[uint32]bool{} // on from what is new alone
		for _, id := range next {
			if !reached[id] {
				reached[id], at[id] = true, true
			}
		}
	}
	return reached, nil
}

// follow goes one relation on from a set, each entity once.
func (s *QuadStore) follow(ctx context.Context, from map[uint32]bool, x *Step) ([]uint32, error) {
	if len(from) == 0 {
		return nil, nil
	}
	refs := make([]cayley.Ref, 0, len(from))
	for id := range from {
		refs = append(refs, s.g.nodeRef(id))
	}
	via := make([]any, len(x.Predicates))
	for i, name := range x.Predicates {
		via[i] = quad.IRI(name)
	}
	p := path.StartPathNodes(s, refs...)
	switch x.Follow {
	case Out:
		p = p.Out(via...)
	case In:
		p = p.In(via...)
	case Both:
		p = p.Both(via...)
	}
	var out []uint32
	err := p.Unique().Iterate(ctx).Paths(false).Each(func(r cayley.Ref) {
		if n, ok := r.(nodeRef); ok {
			out = append(out, n.id)
		}
	})
	// Cayley stops at the end of a context, and at an error below an iterator that
	// does not hand it on, as if it had come to the end of the answer.
	if s.held.err != nil {
		err = s.held.err
	} else if ended := ctx.Err(); ended != nil {
		err = ended
	}
	return out, err
}

func (x *Step) inner() *PathQuery {
	switch {
	case x.And != nil:
		return x.And
	case x.Or != nil:
		return x.Or
	}
	return x.Except
}

const maxStepPredicates = 16

func (q *PathQuery) validate() error {
	if len(q.Steps) < 1 {
		return badPath("steps", "is empty")
	}
	if q.Limit < 1 || q.Limit > MaxPathResults {
		return badPath("limit", "is %d; 1 to %d are allowed", q.Limit, MaxPathResults)
	}
	var m pathMeasure
	if err := m.add(q, "", 1); err != nil {
		return err
	}
	switch {
	case m.steps > MaxPathSteps:
		return badPath("steps", "has %d steps in all; at most %d are allowed", m.steps, MaxPathSteps)
	case m.hops > MaxPathHops:
		return badPath("steps", "follows %d hops in all; at most %d are allowed", m.hops, MaxPathHops)
	case m.starts > MaxPathStarts:
		return badPath("start", "has %d names in all; at most %d are allowed", m.starts, MaxPathStarts)
	}
	return nil
}

// pathMeasure adds up what a path and its inner paths ask for.
type pathMeasure struct{ steps, hops, starts int }

func (m *pathMeasure) add(q *PathQuery, at string, depth int) error {
	switch {
	case depth > MaxPathDepth:
		return badPath(at+"steps", "has paths within paths, more than %d deep", MaxPathDepth)
	case len(q.Start) < 1:
		return badPath(at+"start", "is empty") // to Cayley that would be everywhere
	}
	m.starts += len(q.Start)
	m.steps += len(q.Steps)
	for i := range q.Steps {
		if err := m.addStep(&q.Steps[i], fmt.Sprintf("%ssteps[%d]", at, i), depth); err != nil {
			return err
		}
	}
	return nil
}

func (m *pathMeasure) addStep(x *Step, at string, depth int) error {
	kind, kinds := "", 0
	for _, is := range []struct {
		name string
		set  bool
	}{{"follow", x.Follow != ""}, {"and", x.And != nil}, {"or", x.Or != nil}, {"except", x.Except != nil}} {
		if is.set {
			kind = is.name
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return badPath(at, "is %d of follow, and, or, except; exactly one is allowed", kinds)
	case kind != "follow" && x.Hops != 0:
		return badPath(at+".hops", "goes with follow alone")
	case kind != "follow":
		if x.inner().Limit != 0 {
			return badPath(at+"."+kind+".limit", "is given; only the whole query has one")
		}
		return m.add(x.inner(), at+"."+kind+".", depth+1)
	case x.Follow != Out && x.Follow != In && x.Follow != Both:
		return badPath(at+".follow", "is none of out, in, both")
	case x.Hops < 0 || x.Hops > MaxPathHops:
		return badPath(at+".hops", "is %d; 1 to %d are allowed", x.Hops, MaxPathHops)
	case len(x.Predicates) > maxStepPredicates:
		return badPath(at+".predicates", "has %d; at most %d are allowed", len(x.Predicates), maxStepPredicates)
	}
	m.hops += max(1, x.Hops)
	return nil
}
