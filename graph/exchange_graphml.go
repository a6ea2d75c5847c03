package graph

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// graphMLKeys are the data of nodes and edges, as networkx writes them for
// LightRAG's graph.
var graphMLKeys = []struct{ id, of, name, typ string }{
	{"d0", "node", "entity_id", "string"},
	{"d1", "node", "entity_type", "string"},
	{"d2", "node", "description", "string"},
	{"d3", "node", "source_id", "string"},
	{"d4", "node", "file_path", "string"},
	{"d5", "edge", "weight", "double"},
	{"d6", "edge", "description", "string"},
	{"d7", "edge", "keywords", "string"},
	{"d8", "edge", "source_id", "string"},
	{"d9", "edge", "file_path", "string"},
}

type graphMLRows struct{ w *bufio.Writer }

func newGraphMLRows(w io.Writer) *graphMLRows {
	g := &graphMLRows{bufio.NewWriter(w)}
	g.put(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	g.put(`<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" ` +
		`xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">` + "\n")
	for _, k := range graphMLKeys {
		g.put(`<key id="` + k.id + `" for="` + k.of + `" attr.name="` + k.name + `" attr.type="` + k.typ + `"/>` + "\n")
	}
	g.put(`<graph edgedefault="undirected">` + "\n")
	return g
}

// put and text leave errors to the buffer, which keeps the first for Flush.
func (g *graphMLRows) put(s string) { _, _ = g.w.WriteString(s) }

func (g *graphMLRows) text(s string) { _ = xml.EscapeText(g.w, []byte(s)) }

func (g *graphMLRows) data(key, value string) {
	if value == "" {
		return
	}
	g.put(`<data key="` + key + `">`)
	g.text(value)
	g.put("</data>")
}

func (g *graphMLRows) Entity(e EntityRow) error {
	g.put(`<node id="`)
	g.text(e.Name)
	g.put(`">`)
	for i, v := range []string{e.Name, e.Type, e.Description, e.SourceID, e.FilePath} {
		g.data(graphMLKeys[i].id, v)
	}
	return g.end("</node>\n")
}

func (g *graphMLRows) Relation(r RelationRow) error {
	g.put(`<edge source="`)
	g.text(r.Source)
	g.put(`" target="`)
	g.text(r.Target)
	g.put(`">`)
	for i, v := range []string{formatWeight(r.Weight), r.Description, r.Keywords, r.SourceID, r.FilePath} {
		g.data(graphMLKeys[5+i].id, v)
	}
	return g.end("</edge>\n")
}

func (g *graphMLRows) end(s string) error {
	_, err := g.w.WriteString(s)
	return err
}

func (g *graphMLRows) Close() error {
	g.put("</graph>\n</graphml>\n")
	return g.w.Flush()
}

// readGraphML reads nodes and edges with the data it knows by name; a node
// without an entity_id is called by its label, its name or its id, and edges
// join nodes by their ids. What else a file holds is passed over.
func readGraphML(data []byte, in *rowReader) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	keys := map[string]string{} // names of data by id
	names := map[string]string{}
	var edges []RelationRow
	roots := 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		switch start.Name.Local {
		case "graphml":
			roots++
		case "graph":
			if roots == 0 {
				return badRows("it is no GraphML: a graph stands outside of graphml")
			}
		case "key":
			if len(keys) >= maxGraphMLKeys {
				return badRows("it declares more than %d keys", maxGraphMLKeys)
			}
			keys[attr(start, "id")] = attr(start, "attr.name")
			err = d.Skip()
		case "node":
			var data map[string]string
			if data, err = readData(d, keys); err != nil {
				break
			}
			id := attr(start, "id")
			name := id
			for _, k := range []string{"name", "label", "entity_id"} {
				if v := data[k]; v != "" {
					name = v
				}
			}
			if name != id {
				names[id] = name
			}
			err = in.entity(EntityRow{name, data["entity_type"], data["description"], data["source_id"], data["file_path"]})
		case "edge":
			var data map[string]string
			if data, err = readData(d, keys); err != nil {
				break
			}
			line, _ := d.InputPos()
			w, bad := parseWeight(data["weight"])
			if bad != nil {
				return badRows("line %d: weight %q is no number", line, data["weight"])
			}
			if len(edges) >= in.limit {
				return badRows("it has more than %d relations", in.limit)
			}
			edges = append(edges, RelationRow{attr(start, "source"), attr(start, "target"), data["keywords"], data["description"], w, data["source_id"], data["file_path"]})
		default:
			err = d.Skip()
		}
		if err != nil {
			return err
		}
	}
	if roots != 1 {
		return badRows("it is no GraphML: it has %d elements graphml", roots)
	}
	for _, e := range edges { // behind the nodes, which may come after them
		for _, end := range []*string{&e.Source, &e.Target} {
			if name, ok := names[*end]; ok {
				*end = name
			}
		}
		if err := in.relation(e); err != nil {
			return err
		}
	}
	return nil
}

const maxGraphMLKeys = 1000

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// readData reads the data of a node or an edge to its end.
func readData(d *xml.Decoder, keys map[string]string) (map[string]string, error) {
	out := map[string]string{}
	for {
		tok, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.EndElement:
			return out, nil
		case xml.StartElement:
			if tok.Name.Local != "data" {
				if err := d.Skip(); err != nil {
					return nil, err
				}
				continue
			}
			var text strings.Builder
			if err := readText(d, &text); err != nil {
				return nil, err
			}
			if name := keys[attr(tok, "key")]; name != "" {
				out[name] = text.String()
			}
		}
	}
}

// readText reads the text of an element to its end, elements within passed over.
func readText(d *xml.Decoder, text *strings.Builder) error {
	for {
		tok, err := d.Token()
		if err != nil {
			return err
		}
		switch tok := tok.(type) {
		case xml.CharData:
			text.Write(tok)
		case xml.StartElement:
			if err := d.Skip(); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		}
	}
}
