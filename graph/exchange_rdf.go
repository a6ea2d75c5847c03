package graph

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/cayleygraph/quad"
)

// The words that a graph is written in as RDF. An entity is a resource with a
// label; a relation is a statement entity-related-entity and a resource of its own
// for what is said of it, as RDF's own reification has it.
const (
	rdfBase     = "urn:alcove:"
	rdfEntity   = rdfBase + "Entity"
	rdfRelation = rdfBase + "Relation"
	rdfRelated  = rdfBase + "related"
	rdfType     = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
	rdfLabel    = "http://www.w3.org/2000/01/rdf-schema#label"
	xsdDouble   = "http://www.w3.org/2001/XMLSchema#double"

	entityIRIs   = rdfBase + "entity/"
	relationIRIs = rdfBase + "relation/"
)

// rdfDescriptions are properties that describe their subject.
var rdfDescriptions = map[string]bool{
	rdfBase + "description":                        true,
	"http://www.w3.org/2000/01/rdf-schema#comment": true,
	"http://schema.org/description":                true,
	"https://schema.org/description":               true,
	"http://purl.org/dc/terms/description":         true,
	"http://purl.org/dc/elements/1.1/description":  true,
}

func entityIRI(name string) string { return entityIRIs + url.PathEscape(name) }

func relationIRI(source, target string) string {
	return relationIRIs + url.PathEscape(source) + "/" + url.PathEscape(target)
}

// term is the object of a statement, or its subject: a resource by its key, or a text.
type term struct {
	key  string // <iri> or _:blank; "" is a text
	text string
}

// resource is what was said of one subject.
type resource struct {
	key, label, typ, source, target, sourceID, filePath string
	class                                               string // the last rdf:type that is none of ours
	descriptions, keywords                              []string
	weight                                              string
	relation                                            bool
}

// statements collects RDF statements until rows can be made of them.
type statements struct {
	in    *rowReader
	by    map[string]*resource
	order []*resource
	links []RelationRow // with keys for names
}

func newStatements(in *rowReader) *statements {
	return &statements{in: in, by: map[string]*resource{}}
}

func (s *statements) resource(key string) (*resource, error) {
	if x := s.by[key]; x != nil {
		return x, nil
	}
	if len(s.order) >= 2*s.in.limit {
		return nil, badRows("it speaks of more than %d things", 2*s.in.limit)
	}
	x := &resource{key: key}
	s.by[key] = x
	s.order = append(s.order, x)
	return x, nil
}

// add takes in a statement.
func (s *statements) add(subject term, predicate string, object term) error {
	key := subject.key
	if key == "" {
		// Cayley lets a text be a subject, RDF does not; then a text as an object is
		// an entity as well.
		key = literalKey(subject.text)
		if object.key == "" {
			object = term{key: literalKey(object.text)}
		}
	}
	x, err := s.resource(key)
	if err != nil {
		return err
	}
	if object.key == "" {
		x.say(predicate, object.text)
		return nil
	}
	switch predicate {
	case rdfType:
		switch object.key {
		case "<" + rdfRelation + ">":
			x.relation = true
		case "<" + rdfEntity + ">":
		default:
			x.class = localName(object.key)
		}
	case rdfBase + "source":
		x.source = object.key
	case rdfBase + "target":
		x.target = object.key
	default:
		if len(s.links) >= 2*s.in.limit {
			return badRows("it has more than %d statements that relate", 2*s.in.limit)
		}
		l := RelationRow{Source: key, Target: object.key, Weight: 1}
		if predicate != rdfRelated && predicate != Related {
			l.Keywords = localName(predicate)
		}
		s.links = append(s.links, l)
	}
	return nil
}

// say takes in a text.
func (x *resource) say(predicate, text string) {
	switch predicate {
	case rdfLabel:
		x.label = text
	case rdfBase + "entityType", rdfType:
		x.typ = text
	case rdfBase + "keywords":
		x.keywords = append(x.keywords, text)
	case rdfBase + "weight":
		x.weight = text
	case rdfBase + "sourceId":
		x.sourceID = text
	case rdfBase + "filePath":
		x.filePath = text
	default:
		if !rdfDescriptions[predicate] {
			text = localName(predicate) + ": " + text
		}
		x.descriptions = append(x.descriptions, text)
	}
}

func literalKey(text string) string { return `"` + text }

// localName is the last part of an IRI or a key.
func localName(iri string) string {
	iri = strings.TrimSuffix(iri, ">")
	return iri[strings.LastIndexAny(iri, "#/:<")+1:]
}

// name is what an entity is called: its label, the name in an IRI of ours, or the
// whole IRI, since two may end alike.
func (s *statements) name(key string) string {
	if x := s.by[key]; x != nil && x.label != "" {
		return x.label
	}
	if text, ok := strings.CutPrefix(key, `"`); ok {
		return text
	}
	iri := strings.TrimSuffix(strings.TrimPrefix(key, "<"), ">")
	if escaped, ok := strings.CutPrefix(iri, entityIRIs); ok {
		if name, err := url.PathUnescape(escaped); err == nil {
			return name
		}
	}
	return iri
}

// finish makes rows of what was collected.
func (s *statements) finish() error {
	told := map[[2]string]bool{}
	for _, x := range s.order {
		description := strings.Join(x.descriptions, FragmentSep)
		if !x.relation {
			typ := x.typ
			if typ == "" {
				typ = x.class
			}
			if err := s.in.entity(EntityRow{s.name(x.key), typ, description, x.sourceID, x.filePath}); err != nil {
				return err
			}
			continue
		}
		if x.source == "" || x.target == "" {
			return badRows("relation %s has no source or no target", x.key)
		}
		w, err := parseWeight(x.weight)
		if err != nil {
			return badRows("weight %q of relation %s is no number", x.weight, x.key)
		}
		told[[2]string{x.source, x.target}] = true
		if err := s.in.relation(RelationRow{s.name(x.source), s.name(x.target), strings.Join(x.keywords, ","), description, w, x.sourceID, x.filePath}); err != nil {
			return err
		}
	}
	for _, l := range s.links {
		if l.Keywords == "" && told[[2]string{l.Source, l.Target}] {
			continue // a resource says it all
		}
		l.Source, l.Target = s.name(l.Source), s.name(l.Target)
		if err := s.in.relation(l); err != nil {
			return err
		}
	}
	return nil
}

// termOf is a value as a term.
func termOf(v quad.Value) term {
	switch v := v.(type) {
	case quad.IRI:
		return term{key: "<" + string(v) + ">"}
	case quad.BNode:
		return term{key: "_:" + string(v)}
	case quad.String:
		return term{text: string(v)}
	case quad.LangString:
		return term{text: string(v.Value)}
	case quad.TypedString:
		return term{text: string(v.Value)}
	case quad.Float:
		return term{text: strconv.FormatFloat(float64(v), 'g', -1, 64)}
	case nil:
		return term{}
	}
	return term{text: fmt.Sprint(v.Native())}
}
