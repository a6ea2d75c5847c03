package graph

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// EntityRow is an entity as it is exchanged with other programs. Description is
// fragments joined by FragmentSep, in the order of SortFragments.
type EntityRow struct {
	Name, Type, Description string
	SourceID, FilePath      string // where it was said; "" to leave it out
}

// RelationRow is a relation as it is exchanged.
type RelationRow struct {
	Source, Target, Keywords, Description string
	Weight                                float64
	SourceID, FilePath                    string
}

// FragmentSep joins what several passages say, as in LightRAG.
const FragmentSep = "<SEP>"

// Format is a way to write rows.
type Format string

// The formats. What each looks like is in docs/handbook/graph.md.
const (
	NQuads  Format = "nquads"
	JSONLD  Format = "jsonld"
	GraphML Format = "graphml"
	CSV     Format = "csv"
)

// Formats lists the formats.
var Formats = []Format{NQuads, JSONLD, GraphML, CSV}

// ContentType is the media type of a format.
func (f Format) ContentType() string {
	switch f {
	case NQuads:
		return "application/n-quads"
	case JSONLD:
		return "application/ld+json"
	case GraphML:
		return "application/graphml+xml"
	}
	return "text/csv; charset=utf-8"
}

// Extension is the end of the name of a file of a format, with its dot.
func (f Format) Extension() string {
	switch f {
	case NQuads:
		return ".nq"
	case JSONLD:
		return ".jsonld"
	case GraphML:
		return ".graphml"
	}
	return ".csv"
}

// RowWriter writes rows one after the other and keeps none: first all entities,
// then all relations, then Close, which writes the end and does not close what is
// below. Errors are those of the writer below.
type RowWriter interface {
	Entity(EntityRow) error
	Relation(RelationRow) error
	Close() error
}

// NewRowWriter returns a writer of a format of Formats; it panics at any other.
func NewRowWriter(f Format, w io.Writer) RowWriter {
	switch f {
	case NQuads:
		return newQuadRows(w)
	case JSONLD:
		return newJSONLDRows(w)
	case GraphML:
		return newGraphMLRows(w)
	case CSV:
		return newCSVRows(w)
	}
	panic("graph: unknown format " + f)
}

// Rows is a graph that was read.
type Rows struct {
	Entities  []EntityRow
	Relations []RelationRow
}

// ErrRows says that what was to be read is not of the format, or more than is
// allowed; the text says where and why.
var ErrRows = errors.New("graph: the file cannot be read")

func badRows(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrRows}, args...)...)
}

// ReadRows reads a graph of a format of Formats, at most limit entities and as
// many relations. It reads what NewRowWriter writes, and what others write in the
// same format as far as docs/handbook/graph.md says. Nothing that the file names is
// fetched. Every error is an ErrRows.
func ReadRows(f Format, data []byte, limit int) (*Rows, error) {
	in := &rowReader{limit: limit, rows: &Rows{}}
	var err error
	switch f {
	case NQuads:
		err = readNQuads(data, in)
	case JSONLD:
		err = readJSONLD(data, in)
	case GraphML:
		err = readGraphML(data, in)
	case CSV:
		err = readCSV(data, in)
	default:
		panic("graph: unknown format " + f)
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, badRows("it is empty or ends in the middle")
	case err != nil && !errors.Is(err, ErrRows):
		return nil, badRows("%v", err)
	case err != nil:
		return nil, err
	}
	return in.rows, nil
}

// rowReader collects what a reader finds.
type rowReader struct {
	limit int
	rows  *Rows
}

func (in *rowReader) entity(e EntityRow) error {
	if len(in.rows.Entities) >= in.limit {
		return badRows("it has more than %d entities", in.limit)
	}
	in.rows.Entities = append(in.rows.Entities, e)
	return nil
}

func (in *rowReader) relation(r RelationRow) error {
	if len(in.rows.Relations) >= in.limit {
		return badRows("it has more than %d relations", in.limit)
	}
	in.rows.Relations = append(in.rows.Relations, r)
	return nil
}

// SortFragments returns the distinct fragments of a description, the longest
// first, then by text: an order that does not depend on how often each was said,
// which no format keeps.
func SortFragments(description string) []string {
	var out []string
	for s := range strings.SplitSeq(description, FragmentSep) {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.Compact(out)
}
