package engine

import (
	"context"
	"errors"
	"fmt"

	"alcove/graph"
	"alcove/tenancy"
)

// Limits of a path query and of a ranking; graph has those of the work itself.
const (
	defaultPathResults = 100
	defaultRelated     = 20
	maxRelated         = 1000
)

// GraphQuery asks for the entities that some steps from others lead to. It reads
// and never writes. What it may ask for at the most is said by the constants of
// package graph and in docs/handbook/graph.md; what it does not permit does not
// exist for it.
type GraphQuery struct {
	GraphWalk
	Limit  int     `json:"limit"` // 100, at most 10,000
	Filter *Filter `json:"filter"`
}

// GraphWalk is a start and steps from there. One inside of a step may have no steps.
type GraphWalk struct {
	Start []string    `json:"start"` // names; one that is not known leads nowhere
	Steps []GraphStep `json:"steps"`
}

// GraphStep is exactly one of its fields, Hops going with Follow: see graph.Step.
type GraphStep struct {
	Follow string     `json:"follow"` // out, in or both
	Hops   int        `json:"hops"`   // 1
	And    *GraphWalk `json:"and"`
	Or     *GraphWalk `json:"or"`
	Except *GraphWalk `json:"except"`
}

// GraphFound is the answer to a GraphQuery: entities by degree, then by name.
type GraphFound struct {
	Entities    []GraphLabel `json:"entities"`
	IsTruncated bool         `json:"is_truncated"` // there are more than the limit
}

// QueryGraph answers a path query. One that may not be run, or that is given up
// because it reads too much or takes too long, is a *FieldError that names the limit.
func (r *Reader) QueryGraph(ctx context.Context, q GraphQuery) (*GraphFound, error) {
	if err := q.check(""); err != nil {
		return nil, err
	}
	out := &GraphFound{Entities: []GraphLabel{}}
	err := r.look(ctx, q.Filter, func(res *view, _ *tenancy.Tx) error {
		p := res.path(&q.GraphWalk)
		p.Limit = q.Limit
		if p.Limit == 0 {
			p.Limit = defaultPathResults
		}
		found, err := res.look().Path(ctx, *p)
		if bad := (*graph.PathError)(nil); errors.As(err, &bad) {
			return badField(bad.Field, bad.Reason)
		}
		if err != nil {
			return err
		}
		for _, id := range found.Nodes {
			out.Entities = append(out.Entities, GraphLabel{Label: res.entityName(id), Degree: res.degree(id)})
		}
		out.IsTruncated = found.Truncated
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// check looks at the names; graph looks at the rest.
func (w *GraphWalk) check(at string) error {
	for i, name := range w.Start {
		if name == "" || len(name) > maxLabelBytes {
			return badField(fmt.Sprintf("%sstart[%d]", at, i), fmt.Sprintf("has %d bytes; 1 to %d are allowed", len(name), maxLabelBytes))
		}
	}
	for i := range w.Steps {
		s := &w.Steps[i]
		for _, inner := range []struct {
			field string
			w     *GraphWalk
		}{{"and", s.And}, {"or", s.Or}, {"except", s.Except}} {
			if inner.w == nil {
				continue
			}
			if err := inner.w.check(fmt.Sprintf("%ssteps[%d].%s.", at, i, inner.field)); err != nil {
				return err
			}
		}
	}
	return nil
}

// path is a walk with names as the graph knows them.
func (r *resident) path(w *GraphWalk) *graph.PathQuery {
	if w == nil {
		return nil
	}
	q := &graph.PathQuery{}
	for _, name := range w.Start {
		q.Start = append(q.Start, r.hand.rootOf(EntityID(name)))
	}
	for i := range w.Steps {
		s := &w.Steps[i]
		q.Steps = append(q.Steps, graph.Step{
			Follow: graph.Direction(s.Follow), Hops: s.Hops,
			And: r.path(s.And), Or: r.path(s.Or), Except: r.path(s.Except),
		})
	}
	return q
}

// RelatedRequest asks for the entities nearest to another.
type RelatedRequest struct {
	Name   string
	Limit  int // 20, at most 1000
	Filter *Filter
}

// Related is the answer: a personalised PageRank of an entity over the relations.
type Related struct {
	Entity  string          `json:"entity"`  // what was asked for, as it is spelled here
	Related []RelatedEntity `json:"related"` // best first, without Entity
	// ErrorBound says how far a score may be below its true value, by unit of the
	// weight of the entity's relations together.
	ErrorBound float64 `json:"error_bound"`
	// IsTruncated says that there are more than the limit.
	IsTruncated bool `json:"is_truncated"`
}

// RelatedEntity is an entity with the share of the walks that stop at it.
type RelatedEntity struct {
	Label  string  `json:"label"`
	Score  float64 `json:"score"`
	Degree int     `json:"degree"`
}

// Related ranks the entities around another by the walks that begin there, follow
// relations of what the filter permits, more likely heavy ones, and stop with 15
// in 100 at each step. A name that is not there is ErrNotFound.
func (r *Reader) Related(ctx context.Context, q RelatedRequest) (*Related, error) {
	if q.Limit == 0 {
		q.Limit = defaultRelated
	}
	if q.Limit < 1 || q.Limit > maxRelated {
		return nil, badField("limit", fmt.Sprintf("is %d; 1 to %d are allowed", q.Limit, maxRelated))
	}
	out := &Related{Related: []RelatedEntity{}}
	err := r.look(ctx, q.Filter, func(res *view, _ *tenancy.Tx) error {
		id, err := res.findEntity("name", q.Name)
		if err != nil {
			return err
		}
		found, err := res.look().Rank(ctx, graph.RankQuery{Seeds: []uint32{id}, Limit: q.Limit + 1})
		if err != nil {
			return err
		}
		out.Entity, out.ErrorBound = res.entityName(id), found.Bound
		out.IsTruncated = found.Reached-1 > q.Limit
		for _, n := range found.Nodes {
			if n.ID != id && len(out.Related) < q.Limit {
				out.Related = append(out.Related, RelatedEntity{Label: res.entityName(n.ID), Score: n.Score, Degree: res.degree(n.ID)})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
