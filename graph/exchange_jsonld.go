package graph

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
)

// jsonLDContext gives the words of a graph their IRIs, so that a program that knows
// JSON-LD reads the same statements as from N-Quads.
const jsonLDContext = `{"@vocab":"` + rdfBase + `","label":"` + rdfLabel + `","weight":{"@id":"` + rdfBase + `weight","@type":"` + xsdDouble + `"}}`

// jsonLDRows writes JSON-LD by hand, a resource a line: the writer of package quad
// holds the whole graph, and brings in one that fetches contexts from the network.
type jsonLDRows struct {
	w    *bufio.Writer
	more bool
}

func newJSONLDRows(w io.Writer) *jsonLDRows {
	j := &jsonLDRows{w: bufio.NewWriter(w)}
	_, _ = j.w.WriteString(`{"@context":` + jsonLDContext + `,"@graph":[`) // an error stays for Flush
	return j
}

type jsonLDRef struct {
	ID string `json:"@id"`
}

// jsonLDNode is a resource with the properties that we write.
type jsonLDNode struct {
	ID          string     `json:"@id"`
	Type        string     `json:"@type,omitempty"`
	Label       string     `json:"label,omitempty"`
	EntityType  string     `json:"entityType,omitempty"`
	Related     *jsonLDRef `json:"related,omitempty"`
	Source      *jsonLDRef `json:"source,omitempty"`
	Target      *jsonLDRef `json:"target,omitempty"`
	Weight      string     `json:"weight,omitempty"`
	Keywords    string     `json:"keywords,omitempty"`
	Description []string   `json:"description,omitempty"`
	SourceID    string     `json:"sourceId,omitempty"`
	FilePath    string     `json:"filePath,omitempty"`
}

func (j *jsonLDRows) write(n jsonLDNode) error {
	var b bytes.Buffer
	if j.more {
		b.WriteByte(',')
	}
	j.more = true
	b.WriteByte('\n')
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(n); err != nil {
		return err
	}
	_, err := j.w.Write(bytes.TrimRight(b.Bytes(), "\n"))
	return err
}

func (j *jsonLDRows) Entity(e EntityRow) error {
	return j.write(jsonLDNode{
		ID: entityIRI(e.Name), Type: rdfEntity, Label: e.Name, EntityType: e.Type,
		Description: SortFragments(e.Description), SourceID: e.SourceID, FilePath: e.FilePath,
	})
}

func (j *jsonLDRows) Relation(r RelationRow) error {
	source, target := &jsonLDRef{entityIRI(r.Source)}, &jsonLDRef{entityIRI(r.Target)}
	if err := j.write(jsonLDNode{ID: source.ID, Related: target}); err != nil {
		return err
	}
	return j.write(jsonLDNode{
		ID: relationIRI(r.Source, r.Target), Type: rdfRelation, Source: source, Target: target, Weight: formatWeight(r.Weight),
		Keywords: r.Keywords, Description: SortFragments(r.Description), SourceID: r.SourceID, FilePath: r.FilePath,
	})
}

func (j *jsonLDRows) Close() error {
	_, _ = j.w.WriteString("\n]}\n")
	return j.w.Flush()
}

// maxJSONLDDepth bounds resources inside of each other.
const maxJSONLDDepth = 32

// jsonLD reads the part of JSON-LD that graphs are exchanged in: resources in a
// list, under @graph or alone, one inside of another; a context in the file that
// gives words their IRIs; references and values with @id, @value and @type, @list and
// @set. Contexts from elsewhere are refused, not fetched.
type jsonLD struct {
	s      *statements
	vocab  string
	terms  map[string]string
	blanks int
}

func readJSONLD(data []byte, in *rowReader) error {
	j := &jsonLD{s: newStatements(in), terms: map[string]string{}}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	tok, err := d.Token()
	if err != nil {
		return err
	}
	switch tok {
	case json.Delim('['):
		err = j.list(d)
	case json.Delim('{'):
		err = j.document(d)
	default:
		return badRows("it is neither an object nor a list")
	}
	if err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return badRows("something follows its end")
	}
	return j.s.finish()
}

// list reads resources one by one to the end of a list: only one is in memory.
func (j *jsonLD) list(d *json.Decoder) error {
	for d.More() {
		var v any
		if err := d.Decode(&v); err != nil {
			return err
		}
		if err := j.top(v); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

// document reads an object: a context and a graph, or one resource.
func (j *jsonLD) document(d *json.Decoder) error {
	own := map[string]any{}
	graphs := 0
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		switch name := key.(string); name {
		case "@graph":
			graphs++
			if tok, err := d.Token(); err != nil || tok != json.Delim('[') {
				return badRows("@graph is no list")
			}
			if err := j.list(d); err != nil {
				return err
			}
		case "@context":
			if graphs > 0 {
				return badRows("@context stands behind @graph")
			}
			var v any
			if err := d.Decode(&v); err != nil {
				return err
			}
			if err := j.context(v); err != nil {
				return err
			}
		default:
			var v any
			if err := d.Decode(&v); err != nil {
				return err
			}
			own[name] = v
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if graphs > 0 {
		return nil // what else is said of the graph is not of its entities
	}
	_, err := j.node(own, 1)
	return err
}

func (j *jsonLD) top(v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return badRows("a list holds something that is no object")
	}
	if c, ok := m["@context"]; ok {
		if err := j.context(c); err != nil {
			return err
		}
	}
	if g, ok := m["@graph"].([]any); ok {
		for _, x := range g {
			m, ok := x.(map[string]any)
			if !ok {
				return badRows("@graph holds something that is no object")
			}
			if _, err := j.node(m, 1); err != nil {
				return err
			}
		}
		return nil
	}
	_, err := j.node(m, 1)
	return err
}

// context takes in the words of a context.
func (j *jsonLD) context(v any) error {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		for _, x := range v {
			if _, ok := x.([]any); ok {
				return badRows("a @context holds a list in a list")
			}
			if err := j.context(x); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		for name, x := range v {
			if m, ok := x.(map[string]any); ok {
				x = m["@id"]
			}
			iri, ok := x.(string)
			switch {
			case name == "@import":
				return badRows("a @context from elsewhere is not fetched; write it into the file")
			case name == "@vocab" && ok:
				j.vocab = iri
			case strings.HasPrefix(name, "@") || !ok:
			default:
				j.terms[name] = iri
			}
		}
		return nil
	}
	return badRows("a @context from elsewhere is not fetched; write it into the file")
}

// expand makes an IRI of a word.
func (j *jsonLD) expand(word string) string {
	for range 4 { // a word may stand for a prefix and a word
		if iri, ok := j.terms[word]; ok && iri != word {
			word = iri
			continue
		}
		prefix, rest, ok := strings.Cut(word, ":")
		if iri, known := j.terms[prefix]; ok && known && !strings.HasPrefix(rest, "//") {
			word = iri + rest
			continue
		}
		break
	}
	if !strings.Contains(word, ":") && !strings.HasPrefix(word, "@") && j.vocab != "" {
		word = j.vocab + word
	}
	return word
}

// node takes in a resource and returns its key.
func (j *jsonLD) node(m map[string]any, depth int) (string, error) {
	if depth > maxJSONLDDepth {
		return "", badRows("resources inside of each other are more than %d deep", maxJSONLDDepth)
	}
	var key string
	switch id := m["@id"].(type) {
	case string:
		key = j.key(id)
	case nil:
		j.blanks++
		key = "_:own " + strconv.Itoa(j.blanks)
	default:
		return "", badRows("an @id is no string")
	}
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names) // the order of a file must not be that of a Go map
	for _, name := range names {
		iri := j.expand(name)
		if name == "@type" {
			iri = rdfType
		}
		if strings.HasPrefix(iri, "@") {
			continue
		}
		if err := j.values(key, iri, m[name], depth); err != nil {
			return "", err
		}
	}
	return key, nil
}

// key is the key of a resource by its id.
func (j *jsonLD) key(id string) string {
	if strings.HasPrefix(id, "_:") {
		return id
	}
	return "<" + j.expand(id) + ">"
}

// values takes in what a property says.
func (j *jsonLD) values(key, iri string, v any, depth int) error {
	if depth > maxJSONLDDepth {
		return badRows("values inside of each other are more than %d deep", maxJSONLDDepth)
	}
	var object term
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		for _, x := range v {
			if err := j.values(key, iri, x, depth+1); err != nil {
				return err
			}
		}
		return nil
	case string:
		if object.text = v; iri == rdfType {
			object = term{key: j.key(v)}
		}
	case bool:
		object.text = strconv.FormatBool(v)
	case json.Number:
		object.text = v.String()
	case map[string]any:
		for _, name := range []string{"@list", "@set", "@value"} {
			if x, ok := v[name]; ok {
				return j.values(key, iri, x, depth+1)
			}
		}
		inner, err := j.node(v, depth+1)
		if err != nil {
			return err
		}
		object.key = inner
	}
	return j.s.add(term{key: key}, iri, object)
}
