package graph

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
)

// csvColumns is the one table of both kinds. An entity's name is its source.
var csvColumns = []string{"kind", "source", "target", "type", "keywords", "weight", "description", "source_id", "file_path"}

type csvRows struct{ w *csv.Writer }

func newCSVRows(w io.Writer) *csvRows {
	c := &csvRows{csv.NewWriter(w)}
	_ = c.w.Write(csvColumns) // an error stays and comes with the next
	return c
}

// write writes a record. A reader of CSV takes a carriage return before a line
// break away, so it is not written either.
func (c *csvRows) write(record ...string) error {
	for i := range record {
		record[i] = strings.ReplaceAll(record[i], "\r\n", "\n")
	}
	return c.w.Write(record)
}

func (c *csvRows) Entity(e EntityRow) error {
	return c.write("entity", e.Name, "", e.Type, "", "", e.Description, e.SourceID, e.FilePath)
}

func (c *csvRows) Relation(r RelationRow) error {
	return c.write("relation", r.Source, r.Target, "", r.Keywords, formatWeight(r.Weight), r.Description, r.SourceID, r.FilePath)
}

func (c *csvRows) Close() error {
	c.w.Flush()
	return c.w.Error()
}

func formatWeight(w float64) string { return strconv.FormatFloat(w, 'g', -1, 64) }

// parseWeight reads a weight; none is 1.
func parseWeight(s string) (float64, error) {
	if s == "" {
		return 1, nil
	}
	return strconv.ParseFloat(strings.TrimSpace(s), 64)
}

func readCSV(data []byte, in *rowReader) error {
	c := csv.NewReader(bytes.NewReader(data))
	c.ReuseRecord = true
	head, err := c.Read()
	if err != nil {
		return err
	}
	column := map[string]int{}
	for i, name := range head {
		if i == 0 {
			name = strings.TrimPrefix(name, "\ufeff")
		}
		if !slices.Contains(csvColumns, name) {
			return badRows("line 1: no column is called %q; there are %s", name, strings.Join(csvColumns, ", "))
		}
		if _, twice := column[name]; twice {
			return badRows("line 1: column %q is there twice", name)
		}
		column[name] = i
	}
	for _, name := range []string{"kind", "source"} {
		if _, ok := column[name]; !ok {
			return badRows("line 1: column %q is missing", name)
		}
	}
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		line, _ := c.FieldPos(0)
		at := func(name string) string {
			if i, ok := column[name]; ok {
				return strings.Clone(record[i])
			}
			return ""
		}
		switch kind := at("kind"); kind {
		case "entity":
			err = in.entity(EntityRow{at("source"), at("type"), at("description"), at("source_id"), at("file_path")})
		case "relation":
			var w float64
			if w, err = parseWeight(at("weight")); err != nil {
				return badRows("line %d: weight %q is no number", line, at("weight"))
			}
			err = in.relation(RelationRow{at("source"), at("target"), at("keywords"), at("description"), w, at("source_id"), at("file_path")})
		default:
			return badRows("line %d: kind is %q; entity or relation is allowed", line, kind)
		}
		if err != nil {
			return err
		}
	}
}
