package lightrag

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Graph is the content of a GraphML file as LightRAG writes it: undirected, one edge
// for a pair.
type Graph struct {
	Nodes []Node
	Edges []Edge
}

// Node is one entity. Sources are ids of chunks.
type Node struct {
	Name, Type, Description, FilePath string
	Sources                           []string
}

// Edge is one relation. Weight is 1 where the file has none that is positive and finite.
type Edge struct {
	Source, Target, Keywords, Description, FilePath string
	Weight                                          float64
	Sources                                         []string
}

// fieldSep joins lists in one field.
const fieldSep = "<SEP>"

func splitList(s string) (out []string) {
	for x := range strings.SplitSeq(s, fieldSep) {
		if x = strings.TrimSpace(x); x != "" {
			out = append(out, x)
		}
	}
	return out
}

// readGraphML reads a GraphML file. What it does not know it passes over; an edge
// whose ends are no nodes is a fault.
func readGraphML(file string, r io.Reader, l Limits) (*Graph, error) {
	from := &capped{r: r, left: l.FileBytes, what: fmt.Sprintf("a file of more than %d bytes", l.FileBytes)}
	g := &graphReader{dec: xml.NewDecoder(from), limits: l, keys: map[string]string{}, nodes: map[string]int{}}
	g.dec.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, errors.New("it is not UTF-8") }
	if err := g.read(); err != nil {
		line, _ := g.dec.InputPos()
		place := fmt.Sprintf("line %d", line)
		if g.at != "" {
			place += fmt.Sprintf(", %.80q", g.at)
		}
		return nil, &Fault{file, place, err}
	}
	return &g.out, nil
}

type graphReader struct {
	dec    *xml.Decoder
	limits Limits
	keys   map[string]string // attr.name by id
	nodes  map[string]int
	pairs  map[[2]string]bool
	out    Graph
	at     string // the node or edge that is being read
}

func (g *graphReader) read() error {
	g.pairs = map[[2]string]bool{}
	seen := false
	for {
		t, err := g.dec.Token()
		if errors.Is(err, io.EOF) && seen {
			return g.ends()
		}
		if err != nil {
			return err
		}
		start, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		switch start.Name.Local {
		case "graphml":
			seen = true
		case "graph":
		case "key":
			g.keys[attr(start, "id")] = attr(start, "attr.name")
			err = g.dec.Skip()
		case "node":
			err = g.node(start)
		case "edge":
			err = g.edge(start)
		default:
			err = g.dec.Skip()
		}
		if err != nil {
			return err
		}
		if !seen {
			return fmt.Errorf("it begins with %q instead of graphml", start.Name.Local)
		}
		g.at = ""
	}
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// data reads the fields of a node or an edge by their names, up to its end.
func (g *graphReader) data(of xml.StartElement) (map[string]string, error) {
	begin := g.dec.InputOffset()
	out := map[string]string{}
	key, depth := "", 1
	var text strings.Builder
	for depth > 0 {
		t, err := g.dec.Token()
		if err != nil {
			return nil, err
		}
		if n := g.dec.InputOffset() - begin; n > g.limits.RecordBytes {
			return nil, fmt.Errorf("%w: %s of more than %d bytes", errLimit, of.Name.Local, g.limits.RecordBytes)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if depth++; depth == 2 && t.Name.Local == "data" {
				key = g.keys[attr(t, "key")]
				text.Reset()
			}
		case xml.CharData:
			if depth == 2 && key != "" {
				text.Write(t)
			}
		case xml.EndElement:
			if depth--; depth == 1 && key != "" {
				out[key], key = text.String(), ""
			}
		}
	}
	return out, nil
}

func (g *graphReader) node(start xml.StartElement) error {
	if len(g.out.Nodes) == g.limits.Records {
		return fmt.Errorf("%w: more than %d nodes", errLimit, g.limits.Records)
	}
	g.at = attr(start, "id")
	d, err := g.data(start)
	if err != nil {
		return err
	}
	n := Node{Name: g.at, Type: d["entity_type"], Description: d["description"], FilePath: d["file_path"], Sources: splitList(d["source_id"])}
	if n.Name == "" {
		return errors.New("a node has no id")
	}
	if _, twice := g.nodes[n.Name]; twice {
		return errors.New("the node is there twice")
	}
	g.nodes[n.Name] = len(g.out.Nodes)
	g.out.Nodes = append(g.out.Nodes, n)
	return nil
}

func (g *graphReader) edge(start xml.StartElement) error {
	if len(g.out.Edges) == g.limits.Records {
		return fmt.Errorf("%w: more than %d edges", errLimit, g.limits.Records)
	}
	e := Edge{Source: attr(start, "source"), Target: attr(start, "target"), Weight: 1}
	g.at = e.Source + " | " + e.Target
	d, err := g.data(start)
	if err != nil {
		return err
	}
	if e.Source == "" || e.Target == "" {
		return errors.New("an edge has only one end")
	}
	e.Keywords, e.Description, e.FilePath, e.Sources = d["keywords"], d["description"], d["file_path"], splitList(d["source_id"])
	if w, err := strconv.ParseFloat(strings.TrimSpace(d["weight"]), 64); err == nil && w > 0 && w <= 1e12 {
		e.Weight = w
	}
	p := pair(e.Source, e.Target)
	if g.pairs[p] {
		return errors.New("the edge is there twice")
	}
	g.pairs[p] = true
	g.out.Edges = append(g.out.Edges, e)
	return nil
}

// pair is an unordered pair.
func pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

func (g *graphReader) ends() error {
	for _, e := range g.out.Edges {
		for _, n := range []string{e.Source, e.Target} {
			if _, ok := g.nodes[n]; !ok {
				g.at = e.Source + " | " + e.Target
				return fmt.Errorf("an end of the edge, %.80q, is no node", n)
			}
		}
	}
	return nil
}
