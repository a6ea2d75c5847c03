package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cayleygraph/cayley/graph/path"
	"github.com/cayleygraph/quad"
)

// Limits of a path query. The graph is read-locked while one runs, so the time
// is short.
const (
	MaxPathSteps   = 3
	MaxPathStarts  = 1000
	MaxPathResults = 10_000
	MaxPathTime    = time.Second
)

// ErrPath says that a path query is not one this package runs: no start, no or
// too many steps, an unknown direction, or a limit out of range.
var ErrPath = errors.New("graph: path query is not allowed")

// Direction is the way a step follows relations.
type Direction string

// The directions of a step.
const (
	Out  Direction = "out"
	In   Direction = "in"
	Both Direction = "both"
)

// Step follows relations from the entities a path query has reached: those of
// some predicates, or of all when there are none.
type Step struct {
	Direction  Direction
	Predicates []string
}

// PathQuery asks for the entities at the end of some steps.
type PathQuery struct {
	Start []string // 1 to MaxPathStarts names; unknown ones lead nowhere
	Steps []Step   // 1 to MaxPathSteps
	Limit int      // 1 to MaxPathResults
}

// PathResult is the names a path query came to, in order.
type PathResult struct {
	Names []string
	// Truncated says that there are more. Which of them are returned is then
	// unspecified only if there are more than MaxPathResults.
	Truncated bool
}

// Path runs a path query through Cayley's path API, on one state of the graph.
// It returns ErrPath, the error of ctx, or context.DeadlineExceeded after
// MaxPathTime; never a part of the answer without an error or Truncated.
// Writers wait while it runs.
func (g *Graph) Path(ctx context.Context, q PathQuery) (PathResult, error) {
	if err := q.validate(); err != nil {
		return PathResult{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, MaxPathTime)
	defer cancel()
	return g.path(ctx, q)
}

func (g *Graph) path(ctx context.Context, q PathQuery) (PathResult, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	view := &QuadStore{g: g, held: true}
	var names []string
	err := q.build(view).Iterate(ctx).Paths(false).Limit(MaxPathResults+1).EachValue(view, func(v quad.Value) {
		if s, ok := v.(quad.String); ok {
			names = append(names, string(s))
		}
	})
	// Cayley stops at the end of a context as if it had come to the end of the
	// answer, so the context is asked first.
	if ended := ctx.Err(); ended != nil {
		err = ended
	}
	if err != nil {
		return PathResult{}, fmt.Errorf("path query: %w", err)
	}
	slices.Sort(names)
	r := PathResult{Names: names}
	if len(names) > q.Limit {
		r.Names, r.Truncated = names[:q.Limit], true
	}
	return r, nil
}

func (q PathQuery) validate() error {
	// To Cayley a path that starts nowhere starts everywhere.
	if len(q.Start) < 1 || len(q.Start) > MaxPathStarts {
		return fmt.Errorf("%w: %d starts, 1 to %d", ErrPath, len(q.Start), MaxPathStarts)
	}
	if len(q.Steps) < 1 || len(q.Steps) > MaxPathSteps {
		return fmt.Errorf("%w: %d steps, 1 to %d", ErrPath, len(q.Steps), MaxPathSteps)
	}
	if q.Limit < 1 || q.Limit > MaxPathResults {
		return fmt.Errorf("%w: limit %d, 1 to %d", ErrPath, q.Limit, MaxPathResults)
	}
	for _, s := range q.Steps {
		if s.Direction != Out && s.Direction != In && s.Direction != Both {
			return fmt.Errorf("%w: direction %q", ErrPath, s.Direction)
		}
		if len(s.Predicates) > maxStepPredicates {
			return fmt.Errorf("%w: %d predicates in a step, at most %d", ErrPath, len(s.Predicates), maxStepPredicates)
		}
	}
	return nil
}

const maxStepPredicates = 16

func (q PathQuery) build(s *QuadStore) *path.Path {
	start := make([]quad.Value, len(q.Start))
	for i, name := range q.Start {
		start[i] = quad.String(name)
	}
	p := path.StartPath(s, start...)
	for _, step := range q.Steps {
		via := make([]any, len(step.Predicates))
		for i, name := range step.Predicates {
			via[i] = quad.IRI(name)
		}
		switch step.Direction {
		case Out:
			p = p.Out(via...)
		case In:
			p = p.In(via...)
		case Both:
			p = p.Both(via...)
		}
		// After each step: two hubs in a row would multiply what they share.
		p = p.Unique()
	}
	return p
}
