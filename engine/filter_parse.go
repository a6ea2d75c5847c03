package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of a filter.
const (
	maxFilterBytes      = 64 << 10
	maxFilterDepth      = 8    // filters and conditions inside of each other
	maxFilterConditions = 128  // of the whole filter
	maxFilterList       = 1000 // values in one list
	maxFilterPaths      = 100  // patterns of the whole filter
	maxFilterName       = 256  // bytes of the name of a metadata entry
	maxFilterText       = 1024 // bytes of a value
)

// ParseFilter reads a filter from JSON. What is wrong is a *FieldError that names
// the place, such as filter.metadata.year.gte.
func ParseFilter(data []byte) (*Filter, error) {
	f := &Filter{}
	if err := f.UnmarshalJSON(data); err != nil {
		return nil, err
	}
	return f, nil
}

// UnmarshalJSON is ParseFilter.
func (f *Filter) UnmarshalJSON(data []byte) error {
	const at = "filter"
	if len(data) > maxFilterBytes {
		return badField(at, fmt.Sprintf("has %d bytes; at most %d are allowed", len(data), maxFilterBytes))
	}
	if !utf8.Valid(data) || !json.Valid(data) {
		return badField(at, "is not JSON")
	}
	p := filterParser{dec: json.NewDecoder(bytes.NewReader(data))}
	p.dec.UseNumber()
	v, err := p.value(at, 0)
	if err != nil {
		return err
	}
	root, err := p.filter(at, v, 1)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return badField(at, "is not JSON")
	}
	f.root, f.source = root, b.Bytes()
	return nil
}

// MarshalJSON returns the filter as it was written, without white space.
func (f Filter) MarshalJSON() ([]byte, error) {
	if f.source == nil {
		return []byte("null"), nil
	}
	return f.source, nil
}

type filterParser struct {
	dec               *json.Decoder
	conditions, paths int
}

// object is a JSON object in the order in which it was written.
type object []member

type member struct {
	key   string
	value any
}

// maxFilterNesting bounds the nesting of the JSON itself: each filter and each
// condition takes two levels at most.
const maxFilterNesting = 2*maxFilterDepth + 2

// value reads the next value of well-formed JSON: an object, []any, string,
// json.Number, bool or nil.
func (p *filterParser) value(at string, depth int) (any, error) {
	if depth > maxFilterNesting {
		return nil, badField(at, fmt.Sprintf("is nested too deeply; filters and conditions may stand %d deep", maxFilterDepth))
	}
	t, err := p.dec.Token()
	if err != nil {
		return nil, badField(at, "is not JSON")
	}
	switch t {
	case json.Delim('{'):
		o := object{}
		seen := map[string]bool{}
		for p.dec.More() {
			k, err := p.dec.Token()
			key, ok := k.(string)
			if err != nil || !ok {
				return nil, badField(at, "is not JSON")
			}
			here := at + "." + showKey(key)
			if seen[key] {
				return nil, badField(here, "is given twice")
			}
			seen[key] = true
			v, err := p.value(here, depth+1)
			if err != nil {
				return nil, err
			}
			o = append(o, member{key, v})
		}
		_, err = p.dec.Token()
		t = o
	case json.Delim('['):
		l := []any{}
		for p.dec.More() {
			v, err := p.value(fmt.Sprintf("%s[%d]", at, len(l)), depth+1)
			if err != nil {
				return nil, err
			}
			l = append(l, v)
		}
		_, err = p.dec.Token()
		t = l
	}
	if err != nil {
		return nil, badField(at, "is not JSON")
	}
	return t, nil
}

// showKey makes a caller's key fit for an error.
func showKey(key string) string {
	q := strconv.Quote(cutBytes(key, 64))
	return q[1 : len(q)-1]
}

// filter reads a filter: an object whose members must all hold.
func (p *filterParser) filter(at string, v any, depth int) (predicate, error) {
	o, err := p.object(at, v, depth)
	if err != nil {
		return nil, err
	}
	var all allOf
	var made madeWithin
	for _, m := range o {
		here := at + "." + showKey(m.key)
		var x predicate
		switch m.key {
		case "doc_ids":
			x, err = p.ids(here, m.value)
		case "file_paths":
			x, err = p.patterns(here, m.value)
		case "created_from", "created_to":
			err = p.made(here, m, &made)
		case "tags":
			x, err = p.entry(here, "tags", m.value, depth)
		case "metadata":
			x, err = p.entries(here, m.value, depth)
		case "all", "any":
			var l []predicate
			l, err = p.filters(here, m.value, depth)
			if x = allOf(l); m.key == "any" {
				x = anyOf(l)
			}
		case "not":
			x, err = p.filter(here, m.value, depth+1)
			x = noneOf{x}
		default:
			err = badField(here, "is not known; a filter has doc_ids, file_paths, tags, metadata, created_from, created_to, all, any, not")
		}
		if err != nil {
			return nil, err
		}
		if x != nil {
			all = append(all, x)
		}
	}
	if made != (madeWithin{}) {
		all = append(all, made)
	}
	return all, nil
}

// object checks an object of a filter or condition: not empty, not too deep.
func (p *filterParser) object(at string, v any, depth int) (object, error) {
	o, ok := v.(object)
	switch {
	case !ok:
		return nil, badField(at, "must be an object")
	case len(o) == 0:
		return nil, badField(at, "is empty; it would hold for every document")
	case depth > maxFilterDepth:
		return nil, badField(at, fmt.Sprintf("stands more than %d deep", maxFilterDepth))
	}
	return o, nil
}

// list checks a list: not empty, not too long, and counted as one condition.
func (p *filterParser) list(at string, v any, most int) ([]any, error) {
	l, ok := v.([]any)
	switch {
	case !ok:
		return nil, badField(at, "must be a list")
	case len(l) == 0:
		return nil, badField(at, "is empty")
	case len(l) > most:
		return nil, badField(at, fmt.Sprintf("has %d items; at most %d are allowed", len(l), most))
	}
	return l, nil
}

// one counts a condition.
func (p *filterParser) one(at string) error {
	if p.conditions++; p.conditions > maxFilterConditions {
		return badField(at, fmt.Sprintf("is one condition too many; at most %d are allowed", maxFilterConditions))
	}
	return nil
}

func (p *filterParser) filters(at string, v any, depth int) ([]predicate, error) {
	l, err := p.list(at, v, maxFilterConditions)
	if err != nil {
		return nil, err
	}
	out := make([]predicate, len(l))
	for i, x := range l {
		if out[i], err = p.filter(fmt.Sprintf("%s[%d]", at, i), x, depth+1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (p *filterParser) texts(at string, v any, most int) ([]string, error) {
	if err := p.one(at); err != nil {
		return nil, err
	}
	l, err := p.list(at, v, most)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(l))
	for i, x := range l {
		s, ok := x.(string)
		if !ok || s == "" || len(s) > maxFilterText {
			return nil, badField(fmt.Sprintf("%s[%d]", at, i), fmt.Sprintf("must be a text of 1 to %d bytes", maxFilterText))
		}
		out[i] = s
	}
	return out, nil
}

func (p *filterParser) ids(at string, v any) (predicate, error) {
	l, err := p.texts(at, v, maxFilterList)
	if err != nil {
		return nil, err
	}
	ids := oneOfIDs{}
	for i, id := range l {
		if err := checkDocumentID(id); err != nil {
			return nil, badField(fmt.Sprintf("%s[%d]", at, i), err.Error())
		}
		ids[id] = true
	}
	return ids, nil
}

func (p *filterParser) patterns(at string, v any) (predicate, error) {
	l, err := p.texts(at, v, maxFilterPaths)
	if err != nil {
		return nil, err
	}
	if p.paths += len(l); p.paths > maxFilterPaths {
		return nil, badField(at, fmt.Sprintf("a filter has at most %d file_paths in all", maxFilterPaths))
	}
	var globs onePath
	for _, s := range l {
		globs = append(globs, newGlob(s))
	}
	return globs, nil
}

// made reads an end of the time in which a document came in; both belong to it.
func (p *filterParser) made(at string, m member, into *madeWithin) error {
	if err := p.one(at); err != nil {
		return err
	}
	s, _ := m.value.(string)
	from, end, ok := readDate(s)
	if !ok {
		return badField(at, "is not a date like 2026-01-31 or 2026-01-31T12:00:00Z")
	}
	if m.key == "created_from" {
		into.low, into.hasLow = from, true
	} else {
		into.high, into.hasHigh, into.openHigh = end, true, end > from
	}
	return nil
}

func (p *filterParser) entries(at string, v any, depth int) (predicate, error) {
	o, err := p.object(at, v, depth)
	if err != nil {
		return nil, err
	}
	var all allOf
	for _, m := range o {
		here := at + "." + showKey(m.key)
		if m.key == "" || len(m.key) > maxFilterName {
			return nil, badField(here, fmt.Sprintf("a name has 1 to %d bytes", maxFilterName))
		}
		x, err := p.entry(here, m.key, m.value, depth)
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	return all, nil
}

func (p *filterParser) entry(at, name string, v any, depth int) (predicate, error) {
	c, err := p.condition(at, v, depth+1)
	if err != nil {
		return nil, err
	}
	return field{name, c}, nil
}

// condition reads what is asked of one entry: a value that it must equal, a list
// of which it must equal one, or an object of operators that must all hold.
func (p *filterParser) condition(at string, v any, depth int) (condition, error) {
	switch x := v.(type) {
	case []any:
		return p.oneOf(at, x)
	case object:
	default:
		return p.oneOf(at, []any{v})
	}
	o, err := p.object(at, v, depth)
	if err != nil {
		return nil, err
	}
	var all allHold
	var in inInterval
	ranged := false
	for _, m := range o {
		here := at + "." + showKey(m.key)
		var c condition
		switch m.key {
		case "eq":
			if _, list := m.value.([]any); list {
				return nil, badField(here, "must be one value; any takes a list")
			}
			c, err = p.oneOf(here, []any{m.value})
		case "any":
			c, err = p.anyValue(here, m.value)
		case "all":
			c, err = p.allValues(here, m.value)
		case "exists":
			b, ok := m.value.(bool)
			if c, err = exists(b), p.one(here); !ok {
				err = badField(here, "must be true or false")
			}
		case "gt", "gte", "lt", "lte":
			err = p.end(here, m, &in, ranged)
			ranged = true
		case "not":
			c, err = p.condition(here, m.value, depth+1)
			c = notHold{c}
		default:
			err = badField(here, "is not a known operator; there are eq, any, all, exists, gt, gte, lt, lte, not")
		}
		if err != nil {
			return nil, err
		}
		if c != nil {
			all = append(all, c)
		}
	}
	if ranged {
		all = append(all, in)
	}
	return all, nil
}

func (p *filterParser) anyValue(at string, v any) (condition, error) {
	l, err := p.list(at, v, maxFilterList)
	if err != nil {
		return nil, err
	}
	return p.oneOf(at, l)
}

func (p *filterParser) oneOf(at string, l []any) (condition, error) {
	values, err := p.values(at, l)
	if err != nil {
		return nil, err
	}
	m := equalsOne{}
	for _, x := range values {
		m[x] = true
	}
	return m, nil
}

func (p *filterParser) allValues(at string, v any) (condition, error) {
	l, err := p.list(at, v, maxFilterList)
	if err != nil {
		return nil, err
	}
	values, err := p.values(at, l)
	if err != nil {
		return nil, err
	}
	m := hasAll{}
	for _, x := range values {
		if _, ok := m[x]; !ok {
			m[x] = len(m)
		}
	}
	return m, nil
}

// values checks values to compare with: texts, numbers, true and false.
func (p *filterParser) values(at string, l []any) ([]any, error) {
	if err := p.one(at); err != nil {
		return nil, err
	}
	if _, err := p.list(at, l, maxFilterList); err != nil {
		return nil, err
	}
	out := make([]any, len(l))
	for i, x := range l {
		here := at
		if len(l) > 1 {
			here = fmt.Sprintf("%s[%d]", at, i)
		}
		switch x := x.(type) {
		case bool:
			out[i] = x
		case string:
			if len(x) > maxFilterText {
				return nil, badField(here, fmt.Sprintf("has %d bytes; at most %d are allowed", len(x), maxFilterText))
			}
			out[i] = x
		case json.Number:
			n, err := readNumber(here, x)
			if err != nil {
				return nil, err
			}
			out[i] = n
		default:
			return nil, badField(here, "must be a text, a number, true or false")
		}
	}
	return out, nil
}

// readNumber refuses what a float64 would change, as metadata do.
func readNumber(at string, n json.Number) (float64, error) {
	x, err := n.Float64()
	if err != nil {
		return 0, badField(at, "is a number out of range")
	}
	if i, err := strconv.ParseInt(n.String(), 10, 64); !strings.ContainsAny(n.String(), ".eE") && (err != nil || i > 1<<53 || i < -1<<53) {
		return 0, badField(at, "is a whole number beyond 2^53")
	}
	return x, nil
}

// end reads one end of a range. A date as an end is its whole day: gt begins
// behind it, lte still holds it.
func (p *filterParser) end(at string, m member, in *inInterval, other bool) error {
	if err := p.one(at); err != nil {
		return err
	}
	var from, end float64
	dates := false
	switch x := m.value.(type) {
	case json.Number:
		n, err := readNumber(at, x)
		if err != nil {
			return err
		}
		from, end = n, n
	case string:
		if from, end, dates = readDate(x); !dates {
			return badField(at, "is neither a number nor a date like 2026-01-31 or 2026-01-31T12:00:00Z")
		}
	default:
		return badField(at, "is neither a number nor a date like 2026-01-31 or 2026-01-31T12:00:00Z")
	}
	if other && dates != in.dates {
		return badField(at, "is of another kind than the other end: a range is of numbers or of dates")
	}
	in.dates = dates
	low := m.key[0] == 'g'
	if low && in.hasLow || !low && in.hasHigh {
		return badField(at, "is the second end on one side of the range")
	}
	day := end > from
	switch m.key {
	case "gte":
		in.low = from
	case "gt": // behind a whole day its next one begins, which is inside
		in.low, in.openLow = end, !day
	case "lt":
		in.high, in.openHigh = from, true
	case "lte":
		in.high, in.openHigh = end, day
	}
	in.hasLow, in.hasHigh = in.hasLow || low, in.hasHigh || !low
	return nil
}
