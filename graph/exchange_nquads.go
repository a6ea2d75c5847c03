package graph

import (
	"bytes"
	"io"

	"github.com/cayleygraph/quad"
	"github.com/cayleygraph/quad/nquads"
)

// maxQuadBytes bounds a line of N-Quads: a description of 8 KiB, escaped, and room.
const maxQuadBytes = 256 << 10

type quadRows struct{ w *nquads.Writer }

func newQuadRows(w io.Writer) *quadRows { return &quadRows{nquads.NewWriter(w)} }

func (q *quadRows) write(subject string, statements ...[2]quad.Value) error {
	for _, s := range statements {
		if text, ok := s[1].(quad.String); ok && text == "" {
			continue
		}
		if err := q.w.WriteQuad(quad.Quad{Subject: quad.IRI(subject), Predicate: s[0], Object: s[1]}); err != nil {
			return err
		}
	}
	return nil
}

func (q *quadRows) Entity(e EntityRow) error {
	s := [][2]quad.Value{
		{quad.IRI(rdfType), quad.IRI(rdfEntity)},
		{quad.IRI(rdfLabel), quad.String(e.Name)},
		{quad.IRI(rdfBase + "entityType"), quad.String(e.Type)},
	}
	return q.write(entityIRI(e.Name), append(s, told(e.Description, e.SourceID, e.FilePath)...)...)
}

func (q *quadRows) Relation(r RelationRow) error {
	source, target := quad.IRI(entityIRI(r.Source)), quad.IRI(entityIRI(r.Target))
	if err := q.write(string(source), [2]quad.Value{quad.IRI(rdfRelated), target}); err != nil {
		return err
	}
	s := [][2]quad.Value{
		{quad.IRI(rdfType), quad.IRI(rdfRelation)},
		{quad.IRI(rdfBase + "source"), source},
		{quad.IRI(rdfBase + "target"), target},
		{quad.IRI(rdfBase + "weight"), quad.TypedString{Value: quad.String(formatWeight(r.Weight)), Type: xsdDouble}},
		{quad.IRI(rdfBase + "keywords"), quad.String(r.Keywords)},
	}
	return q.write(relationIRI(r.Source, r.Target), append(s, told(r.Description, r.SourceID, r.FilePath)...)...)
}

func told(description, sourceID, filePath string) (out [][2]quad.Value) {
	for _, d := range SortFragments(description) {
		out = append(out, [2]quad.Value{quad.IRI(rdfBase + "description"), quad.String(d)})
	}
	return append(out, [2]quad.Value{quad.IRI(rdfBase + "sourceId"), quad.String(sourceID)}, [2]quad.Value{quad.IRI(rdfBase + "filePath"), quad.String(filePath)})
}

func (q *quadRows) Close() error { return q.w.Close() }

func readNQuads(data []byte, in *rowReader) error {
	s := newStatements(in)
	n := 0
	for line := range bytes.SplitSeq(data, []byte{'\n'}) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		if len(line) > maxQuadBytes {
			return badRows("line %d has %d bytes; at most %d are allowed", n, len(line), maxQuadBytes)
		}
		q, err := parseQuad(string(line))
		if err != nil {
			return badRows("line %d is no quad", n)
		}
		p, ok := q.Predicate.(quad.IRI)
		if !ok {
			return badRows("line %d: the predicate is no IRI", n)
		}
		if err := s.add(termOf(q.Subject), string(p), termOf(q.Object)); err != nil {
			return err
		}
	}
	return s.finish()
}

// parseQuad is nquads.Parse, which panics at a character beyond Unicode.
func parseQuad(line string) (q quad.Quad, err error) {
	defer func() {
		if recover() != nil {
			err = quad.ErrInvalid
		}
	}()
	if q, err = nquads.Parse(line); err == nil && !q.IsValid() {
		err = quad.ErrInvalid
	}
	return q, err
}
