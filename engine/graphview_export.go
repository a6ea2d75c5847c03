package engine

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"alcove/graph"
	"alcove/tenancy"
)

const (
	// exportBatch is how many entities or relations are looked at in one read, and
	// exportBytes ends one early: in between writers have their turn.
	exportBatch = 256
	exportBytes = 1 << 20
	// exportFold bounds the contributions that are folded into one of them, and
	// exportKept those that a read keeps.
	exportFold = 1000
	exportKept = 256
)

// GraphExport says how a graph is written.
type GraphExport struct {
	Format graph.Format
	// Sources also writes the chunks and files in which each was said.
	Sources bool
	Filter  *Filter
}

// GraphFormat reads the name of a format.
func GraphFormat(name string) (graph.Format, error) {
	if f := graph.Format(name); slices.Contains(graph.Formats, f) {
		return f, nil
	}
	return "", badField("format", fmt.Sprintf("is %q; nquads, jsonld, graphml and csv are known", name))
}

// exported is what is to be written: names and ends of one moment.
type exported struct {
	names     []string // of entities as the graph knows them, in the order of how they are shown
	relations [][2]uint32
	written   []bool // by entity
}

// ExportGraph writes the entities and relations that the filter permits to what
// open returns, which is called once the request is known to be good. Which they
// are is settled at the start; what is said of each is read while it is written, in
// short reads, so that nothing is written that has been deleted by then, and no
// lock is held while a slow caller takes it. In memory are the names of entities
// and eight bytes a relation.
func (r *Reader) ExportGraph(ctx context.Context, q GraphExport, open func() io.Writer) error {
	x := &exported{}
	if err := r.look(ctx, q.Filter, func(res *view, _ *tenancy.Tx) error {
		x.take(res)
		return nil
	}); err != nil {
		return err
	}
	out := bufio.NewWriterSize(open(), 64<<10)
	w := graph.NewRowWriter(q.Format, out)
	if err := x.writeEntities(ctx, r, q, w); err != nil {
		return err
	}
	if err := x.writeRelations(ctx, r, q, w); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Flush()
}

// take settles what is written and in which order: that of the names shown, so
// that a graph that was imported again is written as it was.
func (x *exported) take(v *view) {
	type entity struct {
		shown string
		id    uint32
	}
	var all []entity
	for id := range v.entities {
		if id := uint32(id); v.liveEntity(id) && v.hasEntity(id) {
			all = append(all, entity{v.entityName(id), id})
		}
	}
	slices.SortFunc(all, func(a, b entity) int {
		return cmp.Or(strings.Compare(a.shown, b.shown), strings.Compare(v.graph.Name(a.id), v.graph.Name(b.id)))
	})
	place := make([]uint32, len(v.entities))
	x.names, x.written = make([]string, len(all)), make([]bool, len(all))
	for i, e := range all {
		place[e.id], x.names[i] = uint32(i), v.graph.Name(e.id)
	}
	for rel := range v.relations {
		if rel := uint32(rel); v.liveRelation(rel) && v.hasRelation(rel) {
			src, dst, _, _ := v.relation(rel)
			x.relations = append(x.relations, [2]uint32{place[src], place[dst]})
		}
	}
	slices.SortFunc(x.relations, func(a, b [2]uint32) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
}

// batch reads n things in short reads: show is called with the place of each and
// returns how many bytes it has read; flush is called behind each read.
func (x *exported) batch(ctx context.Context, r *Reader, f *Filter, n int, show func(*folder, int) (int, error), flush func() error) error {
	for i := 0; i < n; {
		err := r.look(ctx, f, func(res *view, tx *tenancy.Tx) error {
			fold := newFolder(res, tx, nil)
			for end, size := min(n, i+exportBatch), 0; i < end && size < exportBytes; i++ {
				if len(fold.said) > exportKept {
					fold = newFolder(res, tx, nil)
				}
				bytes, err := show(fold, i)
				if err != nil {
					return err
				}
				size += bytes
			}
			return nil
		})
		if err == nil {
			err = flush()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *exported) writeEntities(ctx context.Context, r *Reader, q GraphExport, w graph.RowWriter) error {
	var rows []graph.EntityRow
	return x.batch(ctx, r, q.Filter, len(x.names), func(f *folder, i int) (int, error) {
		id, ok := f.v.graph.Entity(x.names[i])
		if !ok || !f.v.hasEntity(id) {
			return 0, nil // it went meanwhile
		}
		p, err := f.entity(id, exportFold)
		if err != nil {
			return 0, err
		}
		row := graph.EntityRow{Name: f.v.entityName(id), Type: p.typ, Description: fragmentsOf(p.description)}
		if q.Sources {
			row.SourceID, row.FilePath = f.sourcesOf(p.sources)
		}
		rows, x.written[i] = append(rows, row), true
		return len(row.Description) + len(row.SourceID) + len(row.FilePath), nil
	}, func() error {
		for _, row := range rows {
			if err := w.Entity(row); err != nil {
				return fmt.Errorf("write entity: %w", err)
			}
		}
		rows = rows[:0]
		return nil
	})
}

func (x *exported) writeRelations(ctx context.Context, r *Reader, q GraphExport, w graph.RowWriter) error {
	var rows []graph.RelationRow
	return x.batch(ctx, r, q.Filter, len(x.relations), func(f *folder, i int) (int, error) {
		src, dst := x.relations[i][0], x.relations[i][1]
		if !x.written[src] || !x.written[dst] {
			return 0, nil // an edge without its nodes is no graph
		}
		rel, ok := f.v.between(x.names[src], x.names[dst])
		if !ok || !f.v.hasRelation(rel) {
			return 0, nil
		}
		p, err := f.relation(rel, exportFold)
		if err != nil {
			return 0, err
		}
		a, b, weight, _ := f.v.relation(rel) // it may have turned meanwhile
		row := graph.RelationRow{
			Source: f.v.entityName(a), Target: f.v.entityName(b), Keywords: p.keywords, Description: fragmentsOf(p.description),
			// As exact as sums of weights are, so that it is the same when it comes back.
			Weight: math.Round(float64(weight)*weightUnit) / weightUnit,
		}
		if q.Sources {
			row.SourceID, row.FilePath = f.sourcesOf(p.sources)
		}
		rows = append(rows, row)
		return len(row.Description) + len(row.SourceID) + len(row.FilePath), nil
	}, func() error {
		for _, row := range rows {
			if err := w.Relation(row); err != nil {
				return fmt.Errorf("write relation: %w", err)
			}
		}
		rows = rows[:0]
		return nil
	})
}

// between finds the relation of two entities, whichever way it points.
func (r *resident) between(a, b string) (uint32, bool) {
	x, ok1 := r.graph.Entity(a)
	y, ok2 := r.graph.Entity(b)
	if !ok1 || !ok2 {
		return 0, false
	}
	rel, ok := r.graph.FindRelation(x, y)
	if !ok {
		rel, ok = r.graph.FindRelation(y, x)
	}
	return rel, ok
}

func fragmentsOf(description string) string {
	return strings.Join(graph.SortFragments(description), fieldSep)
}
