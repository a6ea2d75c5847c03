package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"alcove/tenancy"
)

// Limits of a look at the graph.
const (
	defaultGraphDepth = 3
	maxGraphDepth     = 10
	defaultGraphNodes = 1000
	maxGraphNodes     = 10_000
	maxGraphFanout    = 2000 // relations followed from one entity
	maxLabels         = 1000
	defaultLabels     = 300
	maxPathDepth      = 6
	maxPathVisited    = 50_000
	maxLabelBytes     = 1024
	entityFoldChunks  = 64 // contributions folded when one entity is looked at
)

// Graph returns the neighbourhood of a label: breadth first, by degree within
// a level. A label that is not there is ErrNotFound.
func (r *Reader) Graph(ctx context.Context, q GraphRequest) (*Subgraph, error) {
	if q.MaxDepth == 0 {
		q.MaxDepth = defaultGraphDepth
	}
	if q.MaxNodes == 0 {
		q.MaxNodes = defaultGraphNodes
	}
	if q.MaxDepth < 1 || q.MaxDepth > maxGraphDepth {
		return nil, badField("max_depth", fmt.Sprintf("is %d; 1 to %d are allowed", q.MaxDepth, maxGraphDepth))
	}
	if q.MaxNodes < 1 || q.MaxNodes > maxGraphNodes {
		return nil, badField("max_nodes", fmt.Sprintf("is %d; 1 to %d are allowed", q.MaxNodes, maxGraphNodes))
	}
	out := &Subgraph{Nodes: []GraphNode{}, Edges: []GraphEdge{}}
	err := r.look(ctx, q.Filter, func(res *view, tx *tenancy.Tx) error {
		var start []uint32
		if q.Label == "" || q.Label == "*" {
			start = res.look().Popular(q.MaxNodes)
		} else {
			id, err := res.findEntity("label", q.Label)
			if err != nil {
				return err
			}
			start = []uint32{id}
		}
		depth := q.MaxDepth
		if len(start) != 1 {
			depth = 1
		}
		hop := res.look().KHop(start, depth, q.MaxNodes, maxGraphFanout)
		res.order(hop.Relations)
		out.IsTruncated = hop.Truncated
		v := newGraphView(res, tx)
		for _, n := range hop.Nodes {
			if err := v.node(n, &out.Nodes); err != nil {
				return err
			}
		}
		for _, rel := range hop.Relations {
			if err := v.edge(rel, &out.Edges); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Labels returns at most limit entity names that begin with or hold q, those
// that begin with it first; q "" lists by name. Limit 0 means 300. It sees what
// the filter permits; nil permits everything.
func (r *Reader) Labels(ctx context.Context, q string, limit int, f *Filter) ([]string, error) {
	limit, err := labelLimit(limit)
	if err != nil {
		return nil, err
	}
	if len(q) > maxLabelBytes {
		return nil, badField("q", fmt.Sprintf("has %d bytes; at most %d are allowed", len(q), maxLabelBytes))
	}
	out := []string{}
	return out, r.look(ctx, f, func(res *view, _ *tenancy.Tx) error {
		for _, id := range res.look().Search(EntityID(q), limit) {
			out = append(out, res.entityName(id))
		}
		return nil
	})
}

// PopularLabels returns the entities with the most relations. Limit 0 means 300.
// It sees what the filter permits.
func (r *Reader) PopularLabels(ctx context.Context, limit int, f *Filter) ([]GraphLabel, error) {
	limit, err := labelLimit(limit)
	if err != nil {
		return nil, err
	}
	out := []GraphLabel{}
	err = r.look(ctx, f, func(res *view, _ *tenancy.Tx) error {
		for _, id := range res.look().Popular(limit) {
			out = append(out, GraphLabel{Label: res.entityName(id), Degree: res.degree(id)})
		}
		return nil
	})
	return out, err
}

func labelLimit(n int) (int, error) {
	if n == 0 {
		return defaultLabels, nil
	}
	if n < 1 || n > maxLabels {
		return 0, badField("limit", fmt.Sprintf("is %d; 1 to %d are allowed", n, maxLabels))
	}
	return n, nil
}

// Entity returns one entity with its profile folded from up to 64 contributions
// that the filter permits. An entity of which it permits none is ErrNotFound.
func (r *Reader) Entity(ctx context.Context, name string, f *Filter) (*GraphNode, error) {
	var nodes []GraphNode
	err := r.look(ctx, f, func(res *view, tx *tenancy.Tx) error {
		id, err := res.findEntity("name", name)
		if err != nil {
			return err
		}
		v := newGraphView(res, tx)
		v.fold = entityFoldChunks
		return v.node(id, &nodes)
	})
	if err != nil {
		return nil, err
	}
	return &nodes[0], nil
}

// Path returns a shortest path of at most 6 relations between two entities,
// whichever way the relations point, through what the filter permits.
func (r *Reader) Path(ctx context.Context, from, to string, f *Filter) (*GraphPath, error) {
	out := &GraphPath{Nodes: []GraphNode{}, Edges: []GraphEdge{}}
	err := r.look(ctx, f, func(res *view, tx *tenancy.Tx) error {
		a, err := res.findEntity("from", from)
		if err != nil {
			return err
		}
		b, err := res.findEntity("to", to)
		if err != nil {
			return err
		}
		nodes, rels, ok := res.look().ShortestPath(a, b, maxPathDepth, maxPathVisited)
		out.Found = ok
		v := newGraphView(res, tx)
		for _, n := range nodes {
			if err := v.node(n, &out.Nodes); err != nil {
				return err
			}
		}
		for _, rel := range rels {
			if err := v.edge(rel, &out.Edges); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// findEntity looks a name up as a user wrote it.
func (r *resident) findEntity(field, name string) (uint32, error) {
	if name == "" || len(name) > maxLabelBytes {
		return 0, badField(field, fmt.Sprintf("has %d bytes; 1 to %d are allowed", len(name), maxLabelBytes))
	}
	id, ok := r.graph.Entity(r.hand.rootOf(EntityID(name)))
	if !ok {
		return 0, noEntity(name)
	}
	return id, nil
}

func noEntity(name string) error { return fmt.Errorf("%w: no entity is called %q", ErrNotFound, name) }

// look is read with what a filter permits in sight.
func (r *Reader) look(ctx context.Context, f *Filter, show func(*view, *tenancy.Tx) error) error {
	return r.read(ctx, func(res *resident, tx *tenancy.Tx) error {
		v, err := res.within(ctx, f)
		if err != nil {
			return err
		}
		return show(v, tx)
	})
}

// graphView writes entities and relations as LightRAG's graph routes do.
type graphView struct {
	f    *folder
	fold int
}

// A view of many nodes shows what a few contributions say of each.
const viewFoldChunks = 3

func newGraphView(v *view, tx *tenancy.Tx) *graphView {
	return &graphView{f: newFolder(v, tx, nil), fold: viewFoldChunks}
}

func (v *graphView) node(id uint32, out *[]GraphNode) error {
	p, err := v.f.entity(id, v.fold)
	if err != nil {
		return err
	}
	name := v.f.v.entityName(id)
	ids, paths := v.f.sourcesOf(p.sources)
	n := GraphNode{ID: name, Labels: []string{name}, Properties: map[string]any{
		"entity_id": name, "entity_type": p.typ, "description": p.description, "source_id": ids, "file_path": paths,
		"degree": v.f.v.degree(id), "mentions": v.f.v.mentioned(id),
	}}
	v.byHand(p, v.f.v.entities[id].edit, n.Properties)
	if v.f.v.whole() {
		if names := v.f.v.otherNames(id); len(names) > 0 {
			n.Properties["aliases"] = names
		}
	}
	*out = append(*out, n)
	return nil
}

func (v *graphView) edge(rel uint32, out *[]GraphEdge) error {
	p, err := v.f.relation(rel, v.fold)
	if err != nil {
		return err
	}
	src, dst, w, _ := v.f.v.relation(rel)
	a, b := v.f.v.entityName(src), v.f.v.entityName(dst)
	ids, paths := v.f.sourcesOf(p.sources)
	e := GraphEdge{ID: a + "-" + b, Type: "DIRECTED", Source: a, Target: b, Properties: map[string]any{
		"weight": float64(w), "keywords": p.keywords, "description": p.description, "source_id": ids, "file_path": paths,
	}}
	v.byHand(p, v.f.v.relations[rel].edit, e.Properties)
	*out = append(*out, e)
	return nil
}

// byHand marks what people wrote. What no document says has LightRAG's source for it.
func (v *graphView) byHand(p profile, e *editRecord, properties map[string]any) {
	if !p.manual {
		return
	}
	properties["source"], properties[HandTag] = "manual", handTag(e)
	if len(p.sources) == 0 {
		properties["source_id"], properties["file_path"] = "manual_creation", "manual_creation"
	}
}

// sourcesOf names chunks and their files, joined by <SEP>.
func (f *folder) sourcesOf(chunks []uint32) (ids, paths string) {
	var (
		a     [1024]byte
		b     [maxFoldChunks]string
		names = a[:0]
		files = b[:0]
	)
	for i, id := range chunks {
		c := &f.v.chunks[id]
		if i > 0 {
			names = append(names, fieldSep...)
		}
		names = appendChunkID(names, c.doc.id, c.ord)
		if !slices.Contains(files, c.doc.filePath) {
			files = append(files, c.doc.filePath)
		}
	}
	return string(names), strings.Join(files, fieldSep)
}
