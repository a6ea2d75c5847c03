package lightrag

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"alcove/engine"
)

// What a chunk says comes from the answers that were cached when it was read: they have
// each chunk's own words, where the graph has one text for all. The graph decides what
// is there: what people took out of it or renamed since is so afterwards, too.

// speakers is a graph with the chunks that speak of each node and edge.
type speakers struct {
	w     *Workspace
	left  map[*Chunk]bool // of documents that are not adopted
	nodes map[string]*spoken
	pairs map[[2]string]*spoken
	byID  map[string][]string // names by EntityID
	loose map[string][]string // names by looseID
	of    map[string]*chunkGraph
	alone []*spoken // of which no chunk speaks, nodes first
}

// spoken is a node or an edge with its chunks; texts are its fragments for each.
type spoken struct {
	node   *Node
	edge   *Edge
	chunks []string
	texts  map[string]string
	later  bool // only documents speak of it that are still to be worked on
}

// chunkGraph is what the graph says a chunk speaks of.
type chunkGraph struct{ nodes, edges []*spoken }

// looseID is EntityID without quotation marks: versions of LightRAG take some of them
// out of names.
func looseID(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '\'' || r == '"' {
			return -1
		}
		return r
	}, engine.EntityID(name))
}

func (w *Workspace) speakers() *speakers {
	return &speakers{w: w, left: map[*Chunk]bool{}}
}

// forget leaves out the chunks of a document that is not adopted.
func (s *speakers) forget(chunks []*Chunk) {
	for _, c := range chunks {
		s.left[c] = true
	}
}

// settle finds out who speaks of what.
func (s *speakers) settle() {
	s.nodes, s.pairs, s.of = map[string]*spoken{}, map[[2]string]*spoken{}, map[string]*chunkGraph{}
	s.byID, s.loose = map[string][]string{}, map[string][]string{}
	if s.w.Graph == nil {
		return
	}
	for i := range s.w.Graph.Nodes {
		n := &s.w.Graph.Nodes[i]
		x := s.spoken(n.Description, n.Sources, s.w.EntityChunks[n.Name])
		x.node, s.nodes[n.Name] = n, x
		id := engine.EntityID(n.Name)
		s.byID[id] = append(s.byID[id], n.Name)
		id = looseID(n.Name)
		s.loose[id] = append(s.loose[id], n.Name)
	}
	for i := range s.w.Graph.Edges {
		e := &s.w.Graph.Edges[i]
		p := pair(e.Source, e.Target)
		x := s.spoken(e.Description, e.Sources, s.w.PairChunks[p])
		x.edge, s.pairs[p] = e, x
	}
	add := func(x *spoken) {
		for _, id := range x.chunks {
			c := s.of[id]
			if c == nil {
				c = &chunkGraph{}
				s.of[id] = c
			}
			if x.node != nil {
				c.nodes = append(c.nodes, x)
			} else {
				c.edges = append(c.edges, x)
			}
		}
		if len(x.chunks) == 0 && !x.later {
			s.alone = append(s.alone, x)
		}
	}
	for i := range s.w.Graph.Nodes {
		add(s.nodes[s.w.Graph.Nodes[i].Name])
	}
	for i := range s.w.Graph.Edges {
		add(s.pairs[pair(s.w.Graph.Edges[i].Source, s.w.Graph.Edges[i].Target)])
	}
}

// spoken gives each fragment of a description to one chunk, so that it goes with that
// chunk's document: the first to the first, the last ones to the last.
func (s *speakers) spoken(description string, lists ...[]string) *spoken {
	x := &spoken{texts: map[string]string{}}
	seen := map[string]bool{}
	for _, l := range lists {
		for _, id := range l {
			c := s.w.Chunks[id]
			if c == nil || strings.TrimSpace(c.Text) == "" || seen[id] {
				continue
			}
			if seen[id] = true; s.left[c] {
				x.later = true
				continue
			}
			x.chunks = append(x.chunks, id)
		}
	}
	x.later = x.later && len(x.chunks) == 0
	fragments := splitList(description)
	for i, id := range x.chunks {
		switch {
		case i >= len(fragments):
		case i == len(x.chunks)-1:
			x.texts[id] = strings.Join(fragments[i:], " ")
		default:
			x.texts[id] = fragments[i]
		}
	}
	return x
}

// said is what a chunk says; p counts where it is from.
func (s *speakers) said(c *Chunk, p *Plan) engine.Extraction {
	var out engine.Extraction
	if len(c.Replies) > 0 {
		p.FromAnswers++
		out = engine.ReadReplies(c.Replies...)
		if s.w.Graph == nil {
			return out
		}
	} else {
		p.FromGraph++
	}
	entities, relations := out.Entities, out.Relations
	out.Entities, out.Relations = nil, nil
	named, related := map[string]bool{}, map[[2]string]int{}
	ends := map[string]bool{}
	for _, e := range entities {
		names := s.names(e.Name, c.ID)
		if len(names) == 0 {
			p.LeftOut++
			continue
		}
		e.Name = names[0]
		named[e.Name] = true
		out.Entities = append(out.Entities, e)
	}
	for _, r := range relations {
		x := s.between(r.Source, r.Target, c.ID)
		if x == nil {
			p.LeftOut++
			continue
		}
		r.Source, r.Target = x[0], x[1]
		related[pair(x[0], x[1])]++
		ends[x[0]], ends[x[1]] = true, true
		out.Relations = append(out.Relations, r)
	}
	answered := len(c.Replies) > 0
	if g := s.of[c.ID]; g != nil {
		for _, x := range g.edges {
			if related[pair(x.edge.Source, x.edge.Target)] == 0 && !same(x.edge) {
				out.Relations = append(out.Relations, x.relation(c.ID))
				related[pair(x.edge.Source, x.edge.Target)]++
				ends[x.edge.Source], ends[x.edge.Target] = true, true
				if answered {
					p.AddedFromGraph++
				}
			}
		}
		for _, x := range g.nodes {
			// Of an entity that the chunk names at the end of a relation alone, LightRAG
			// notes the chunk too; it says nothing more of it.
			end := ends[x.node.Name] && (answered || strings.EqualFold(x.node.Type, "UNKNOWN"))
			if !named[x.node.Name] && !end {
				out.Entities = append(out.Entities, x.entity(c.ID))
				if answered {
					p.AddedFromGraph++
				}
			}
		}
	}
	for i := range out.Relations { // all that is said of a pair weighs what its edge does
		r := &out.Relations[i]
		q := pair(r.Source, r.Target)
		x := s.pairs[q]
		r.Weight = x.edge.Weight / float64(max(1, len(x.chunks))) / float64(related[q])
	}
	return out
}

// same reports whether both ends of an edge are one entity here.
func same(e *Edge) bool { return engine.EntityID(e.Source) == engine.EntityID(e.Target) }

func (x *spoken) entity(chunk string) engine.EntityMention {
	return engine.EntityMention{Name: x.node.Name, Type: x.node.Type, Description: x.texts[chunk]}
}

func (x *spoken) relation(chunk string) engine.RelationMention {
	return engine.RelationMention{Source: x.edge.Source, Target: x.edge.Target, Keywords: strings.ReplaceAll(x.edge.Keywords, fieldSep, ","),
		Description: x.texts[chunk], Weight: x.edge.Weight}
}

// names are the nodes that a name in an answer may stand for, the best first: by the
// letter, by what is one entity here, without quotation marks; then those of which
// the chunk is known to speak.
func (s *speakers) names(name, chunk string) []string {
	var out []string
	if s.nodes[name] != nil {
		out = append(out, name)
	}
	for _, more := range [][]string{s.byID[engine.EntityID(name)], s.loose[looseID(name)]} {
		more = slices.Clone(more)
		slices.SortFunc(more, func(a, b string) int {
			return cmp.Or(s.distance(a, chunk)-s.distance(b, chunk), apart(a, name)-apart(b, name), strings.Compare(a, b))
		})
		for _, n := range more {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

func (s *speakers) distance(name, chunk string) int {
	if slices.Contains(s.nodes[name].chunks, chunk) {
		return 0
	}
	return 1
}

// plainMarks are LightRAG's forms of dashes and quotation marks.
var plainMarks = strings.NewReplacer("—", "-", "–", "-", "’", "'", "‘", "'", "“", `"`, "”", `"`)

// apart is 0 for two spellings that differ in the form of marks alone, else 1.
func apart(a, b string) int {
	if plainMarks.Replace(a) == plainMarks.Replace(b) {
		return 0
	}
	return 1
}

// maxSpellings bounds the spellings of one name that are tried for an edge.
const maxSpellings = 16

// between is the edge that a relation in an answer stands for, its ends in the order
// of the answer; nil when there is none.
func (s *speakers) between(a, b, chunk string) *[2]string {
	var found *[2]string
	as, bs := s.names(a, chunk), s.names(b, chunk)
	for _, x := range as[:min(len(as), maxSpellings)] {
		for _, y := range bs[:min(len(bs), maxSpellings)] {
			e := s.pairs[pair(x, y)]
			if e == nil || same(e.edge) {
				continue
			}
			if slices.Contains(e.chunks, chunk) {
				return &[2]string{x, y}
			}
			if found == nil {
				found = &[2]string{x, y}
			}
		}
	}
	return found
}

const (
	manualBytes = 8 << 10 // of a chunk of statements
	manualItems = 100
)

// manual makes a document of what no chunk says, nil when there is nothing.
func (s *speakers) manual() *engine.Adoption {
	a := &engine.Adoption{ID: graphDocument, FilePath: graphDocument}
	var chunk engine.AdoptedChunk
	flush := func() {
		if chunk.Text == "" {
			return
		}
		chunk.Text = strings.TrimSuffix(chunk.Text, "\n")
		if a.Text != "" {
			a.Text += "\n\n"
		}
		chunk.Start = len(a.Text)
		a.Text += chunk.Text
		chunk.End = len(a.Text)
		a.Chunks = append(a.Chunks, chunk)
		chunk = engine.AdoptedChunk{}
	}
	items := 0
	for _, x := range s.alone {
		line := ""
		if x.node != nil {
			text := cut(strings.Join(splitList(x.node.Description), " "), manualBytes/4)
			line = fmt.Sprintf("%s (%s): %s\n", x.node.Name, cmp.Or(x.node.Type, "UNKNOWN"), text)
			chunk.Said.Entities = append(chunk.Said.Entities, engine.EntityMention{Name: x.node.Name, Type: x.node.Type, Description: text})
		} else {
			if same(x.edge) {
				continue
			}
			text := cut(strings.Join(splitList(x.edge.Description), " "), manualBytes/4)
			line = fmt.Sprintf("%s - %s: %s\n", x.edge.Source, x.edge.Target, text)
			m := x.relation("")
			m.Description = text
			chunk.Said.Relations = append(chunk.Said.Relations, m)
		}
		chunk.Text += strings.ReplaceAll(line, "\x00", " ")
		if items++; items%manualItems == 0 || len(chunk.Text) > manualBytes {
			flush()
		}
	}
	flush()
	if len(a.Chunks) == 0 {
		return nil
	}
	return a
}
