package graph

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	cayley "github.com/cayleygraph/cayley/graph"
	"github.com/cayleygraph/quad"
	"github.com/stretchr/testify/require"
)

func follow(d Direction) Step { return Step{Follow: d} }

func from(name string, steps ...Step) *PathQuery {
	return &PathQuery{Start: []string{name}, Steps: steps}
}

func (g *Graph) namesOf(ids []uint32) []string {
	out := []string{}
	for _, id := range ids {
		out = append(out, g.Name(id))
	}
	return out
}

func TestPath(t *testing.T) {
	g := New()
	g.Relate("a", "b", 1)
	g.Relate("b", "c", 1)
	g.Relate("d", "b", 1)
	require.NoError(t, g.QuadStore().ApplyDeltas([]cayley.Delta{{
		Quad:   quad.Quad{Subject: quad.String("c"), Predicate: quad.IRI("likes"), Object: quad.String("a")},
		Action: cayley.Add,
	}}, cayley.IgnoreOpts{}))
	for _, c := range []struct {
		name  string
		start string
		steps []Step
		limit int
		want  string // by degree, then by name
		cut   bool
	}{
		{"one step out", "a", []Step{follow(Out)}, 9, "b", false},
		{"one step in", "b", []Step{follow(In)}, 9, "a d", false},
		{"both ways", "b", []Step{follow(Both)}, 9, "a c d", false},
		{"cut at the limit", "b", []Step{follow(Both)}, 2, "a c", true},
		{"a predicate", "c", []Step{{Follow: Both, Predicates: []string{"likes"}}}, 9, "a", false},
		{"an unknown predicate", "c", []Step{{Follow: Both, Predicates: []string{"hates"}}}, 9, "", false},
		{"three steps", "d", []Step{follow(Out), follow(Out), {Follow: Out, Predicates: []string{"likes"}}}, 9, "a", false},
		{"hops are all on the way", "d", []Step{{Follow: Out, Hops: 3}}, 9, "b a c", false},
		{"hops come back", "a", []Step{{Follow: Both, Hops: 2}}, 9, "b a c d", false},
		{"an unknown start", "nobody", []Step{follow(Out)}, 9, "", false},
		{"a predicate is no start", Related, []Step{follow(In)}, 9, "", false},
		{"and", "b", []Step{follow(Both), {And: from("c", follow(Out))}}, 9, "a", false},
		{"and nothing", "b", []Step{follow(Both), {And: from("nobody")}}, 9, "", false},
		{"or", "a", []Step{follow(Out), {Or: from("d")}}, 9, "b d", false},
		{"except", "b", []Step{follow(Both), {Except: from("d")}}, 9, "a c", false},
		{"except nothing", "b", []Step{follow(In), {Except: from("nobody")}}, 9, "a d", false},
		{"on from nothing", "b", []Step{follow(In), {Except: from("b", follow(In))}, follow(Out)}, 9, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := g.Path(context.Background(), PathQuery{Start: []string{c.start}, Steps: c.steps, Limit: c.limit})
			require.NoError(t, err)
			require.Equal(t, c.want, strings.Join(g.namesOf(r.Nodes), " "))
			require.Equal(t, c.cut, r.Truncated)
		})
	}
}

func TestPath_Refuses(t *testing.T) {
	g := New()
	one := []Step{follow(Out)}
	deep := from("a")
	for range MaxPathDepth {
		deep = from("a", Step{And: deep})
	}
	deep.Limit = 1
	for _, c := range []struct {
		name  string
		q     PathQuery
		field string
	}{
		{"no start", PathQuery{Steps: one, Limit: 1}, "start"},
		{"too many starts", PathQuery{Start: make([]string, MaxPathStarts), Steps: []Step{{Or: from("a")}}, Limit: 1}, "start"},
		{"no steps", PathQuery{Start: []string{"a"}, Limit: 1}, "steps"},
		{"too many steps", PathQuery{Start: []string{"a"}, Steps: slices.Repeat([]Step{{Or: from("a", Step{And: from("a")})}}, MaxPathSteps/2+1), Limit: 1}, "steps"},
		{"too many hops", PathQuery{Start: []string{"a"}, Steps: []Step{{Follow: In, Hops: MaxPathHops}, {Or: from("a", follow(In))}}, Limit: 1}, "steps"},
		{"too many hops of one step", PathQuery{Start: []string{"a"}, Steps: []Step{{Follow: In, Hops: MaxPathHops + 1}}, Limit: 1}, "steps[0].hops"},
		{"too deep", *deep, "steps[0].and.steps[0].and.steps[0].and.steps"},
		{"no kind of step", PathQuery{Start: []string{"a"}, Steps: make([]Step, 1), Limit: 1}, "steps[0]"},
		{"two kinds of step", PathQuery{Start: []string{"a"}, Steps: []Step{{Follow: Out, And: from("a")}}, Limit: 1}, "steps[0]"},
		{"hops of another kind", PathQuery{Start: []string{"a"}, Steps: []Step{{And: from("a"), Hops: 2}}, Limit: 1}, "steps[0].hops"},
		{"no direction", PathQuery{Start: []string{"a"}, Steps: []Step{{Follow: "up"}}, Limit: 1}, "steps[0].follow"},
		{"an inner path from nowhere", PathQuery{Start: []string{"a"}, Steps: []Step{{And: &PathQuery{}}}, Limit: 1}, "steps[0].and.start"},
		{"an inner limit", PathQuery{Start: []string{"a"}, Steps: []Step{{And: &PathQuery{Start: []string{"a"}, Limit: 1}}}, Limit: 1}, "steps[0].and.limit"},
		{"no limit", PathQuery{Start: []string{"a"}, Steps: one}, "limit"},
		{"too high a limit", PathQuery{Start: []string{"a"}, Steps: one, Limit: MaxPathResults + 1}, "limit"},
		{"too many predicates", PathQuery{Start: []string{"a"}, Steps: []Step{{Follow: Out, Predicates: make([]string, maxStepPredicates+1)}}, Limit: 1}, "steps[0].predicates"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := g.Path(context.Background(), c.q)
			require.ErrorIs(t, err, ErrPath)
			var p *PathError
			require.ErrorAs(t, err, &p)
			require.Equal(t, c.field, p.Field)
		})
	}
}

// A query that is cancelled, before it starts or in its middle, or that reads too
// much, is an error and never a short answer.
func TestPath_CutIsNoAnswer(t *testing.T) {
	g := New()
	for i := range 3000 {
		g.Relate("hub", fmt.Sprint("n", i), 1)
		g.Relate(fmt.Sprint("n", i), "other hub", 1)
	}
	q := PathQuery{Start: []string{"hub"}, Steps: []Step{follow(Both), follow(Both)}, Limit: 10}
	_, err := g.Path(context.Background(), q)
	require.NoError(t, err)
	_, err = g.Within(nil).path(&endsAfter{Context: context.Background(), left: 5}, q)
	require.ErrorIs(t, err, context.Canceled)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = g.Path(gone, q)
	require.ErrorIs(t, err, context.Canceled)
	late, cancel := context.WithTimeoutCause(context.Background(), 0, errors.New("mine"))
	defer cancel()
	_, err = g.Path(late, q)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, ErrPathWork, "the caller's own end of time")

	for i := range MaxPathFanout + 1 {
		g.Relate("huge", fmt.Sprint("m", i), 1)
	}
	_, err = g.Path(context.Background(), PathQuery{Start: []string{"huge"}, Steps: []Step{follow(Out)}, Limit: 1})
	require.ErrorIs(t, err, ErrPathWork)
	require.ErrorContains(t, err, `"huge", which has 10001 relations; at most 10000 are followed`)
	rel, _ := g.FindRelation(must(g.Entity("huge")), must(g.Entity("m0")))
	g.Unrelate(rel)
	_, err = g.Path(context.Background(), PathQuery{Start: []string{"huge"}, Steps: []Step{follow(Out)}, Limit: 1})
	require.NoError(t, err)

	for i := range 30 {
		for j := range MaxPathFanout - 10 {
			g.Relate(fmt.Sprint("big", i), fmt.Sprint("m", j), 1)
		}
		g.Relate("all", fmt.Sprint("big", i), 1)
	}
	// Without the bound on time, which a busy machine meets first.
	_, err = g.Within(nil).path(context.Background(), PathQuery{Start: []string{"all"}, Steps: []Step{{Follow: Out, Hops: 2}}, Limit: 1})
	require.ErrorIs(t, err, ErrPathWork)
	require.ErrorContains(t, err, "read more than 200000 relations")
}

func must(id uint32, ok bool) uint32 {
	if !ok {
		panic("no such entity")
	}
	return id
}

// endsAfter is a context that ends when it has been asked a number of times.
type endsAfter struct {
	context.Context
	left int
}

func (c *endsAfter) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// reach is a path query by plain maps.
func reach(quads map[quad.Quad]bool, nodes map[string]bool, q *PathQuery) map[string]bool {
	at := map[string]bool{}
	for _, name := range q.Start {
		if nodes[name] {
			at[name] = true
		}
	}
	for _, s := range q.Steps {
		switch {
		case s.And != nil:
			other := reach(quads, nodes, s.And)
			maps.DeleteFunc(at, func(k string, _ bool) bool { return !other[k] })
		case s.Or != nil:
			maps.Copy(at, reach(quads, nodes, s.Or))
		case s.Except != nil:
			other := reach(quads, nodes, s.Except)
			maps.DeleteFunc(at, func(k string, _ bool) bool { return other[k] })
		default:
			reached := map[string]bool{}
			for range max(1, s.Hops) {
				next := map[string]bool{}
				for x := range quads {
					if len(s.Predicates) > 0 && !slices.Contains(s.Predicates, string(x.Predicate.(quad.IRI))) {
						continue
					}
					a, b := string(x.Subject.(quad.String)), string(x.Object.(quad.String))
					if at[a] && s.Follow != In {
						next[b] = true
					}
					if at[b] && s.Follow != Out {
						next[a] = true
					}
				}
				maps.Copy(reached, next)
				at = next
			}
			at = reached
		}
	}
	return at
}

func randomPath(r *rand.Rand, depth int) *PathQuery {
	q := &PathQuery{}
	for range 1 + r.IntN(3) {
		q.Start = append(q.Start, fmt.Sprint("n", r.IntN(30)))
	}
	for range r.IntN(4) {
		var s Step
		switch x := r.IntN(9); {
		case x == 0 && depth > 0:
			s.And = randomPath(r, depth-1)
		case x == 1 && depth > 0:
			s.Or = randomPath(r, depth-1)
		case x == 2 && depth > 0:
			s.Except = randomPath(r, depth-1)
		default:
			s = Step{Follow: []Direction{Out, In, Both}[r.IntN(3)], Hops: r.IntN(3)}
			for range r.IntN(3) {
				s.Predicates = append(s.Predicates, []string{Related, "p1", "p2", "none"}[r.IntN(4)])
			}
		}
		q.Steps = append(q.Steps, s)
	}
	return q
}

// Path gives what following the relations of plain maps gives, for any start,
// known or not, and any steps; and in a part of the graph, where some relations
// are out of sight and some point the other way, what it gives in a graph that
// holds the part alone.
func TestPath_AgreesWithMaps(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 11))
		g, alone := New(), New()
		quads, inPart, nodes := map[quad.Quad]bool{}, map[quad.Quad]bool{}, map[string]bool{}
		seen, turned := map[uint32]bool{}, map[uint32]bool{}
		degree := map[uint32]int{}
		ignore := cayley.IgnoreOpts{IgnoreDup: true}
		for range 20 + 20*seed {
			q := randomQuad(r, 25)
			back := quad.Quad{Subject: q.Object, Predicate: q.Predicate, Object: q.Subject}
			if quads[q] || quads[back] {
				continue // turned round it would be the other
			}
			quads[q] = true
			src, pred, tgt, _ := quadParts(q)
			nodes[src], nodes[tgt] = true, true
			require.NoError(t, g.QuadStore().ApplyDeltas([]cayley.Delta{{Quad: q, Action: cayley.Add}}, ignore))
			if r.IntN(3) == 0 {
				continue
			}
			rel, _ := g.findNamed(src, pred, tgt)
			seen[rel], turned[rel] = true, r.IntN(3) == 0
			degree[must(g.Entity(src))]++
			degree[must(g.Entity(tgt))]++
			if turned[rel] {
				q = back
			}
			inPart[q] = true
			require.NoError(t, alone.QuadStore().ApplyDeltas([]cayley.Delta{{Quad: q, Action: cayley.Add}}, ignore))
		}
		partNodes := map[string]bool{}
		for id := range degree {
			partNodes[g.Name(id)] = true
		}
		part := g.Within(&Part{
			Entity: func(id uint32) bool { return degree[id] > 0 }, Relation: func(rel uint32) bool { return seen[rel] },
			Degree: func(id uint32) int { return degree[id] },
			Weight: func(rel uint32) (float32, bool) { return 1, turned[rel] },
		})
		for range 150 {
			q := randomPath(r, MaxPathDepth-1)
			q.Limit = 1 + r.IntN(30)
			if len(q.Steps) == 0 || q.validate() != nil {
				continue
			}
			want := slices.Sorted(maps.Keys(reach(quads, nodes, q)))
			got, err := g.Path(context.Background(), *q)
			require.NoError(t, err)
			require.Equal(t, len(want) > q.Limit, got.Truncated)
			if names := g.namesOf(got.Nodes); got.Truncated {
				require.Subset(t, want, names)
			} else {
				require.ElementsMatch(t, want, names, "%+v", q)
			}
			want = slices.Sorted(maps.Keys(reach(inPart, partNodes, q)))
			got, err = part.Path(context.Background(), *q)
			require.NoError(t, err)
			same, err := alone.Path(context.Background(), *q)
			require.NoError(t, err)
			require.Equal(t, alone.namesOf(same.Nodes), g.namesOf(got.Nodes))
			require.Equal(t, same.Truncated, got.Truncated)
			require.Len(t, got.Nodes, min(len(want), q.Limit))
		}
	}
}
