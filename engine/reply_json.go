package engine

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxReplyObjects bounds how many objects of a reply are looked at.
const maxReplyObjects = 2000

func looksLikeJSON(s string) bool {
	s = strings.TrimSpace(s)
	s = strings.TrimPrefix(strings.TrimPrefix(s, "```json"), "```")
	s = strings.TrimSpace(s)
	return strings.HasPrefix(s, "{\"") || strings.HasPrefix(s, "{ ") || strings.HasPrefix(s, "{\n") || strings.HasPrefix(s, "[{") || strings.HasPrefix(s, "[\n")
}

// json reads the JSON values of a reply, whatever stands around them. From the
// first that is broken on it reads innermost objects, each on its own: a missing
// end or one broken object costs nothing else.
func (x *extractionReader) json(text string) {
	for n := 0; n <= maxReplyObjects; {
		i := strings.IndexAny(text, "{[")
		if i < 0 {
			return
		}
		d := json.NewDecoder(strings.NewReader(text[i:]))
		var v any
		if d.Decode(&v) != nil {
			break
		}
		x.walk(v, &n)
		text = text[i+int(d.InputOffset()):]
	}
	for i, object := range innerObjects(text) {
		if i == maxReplyObjects {
			return
		}
		m, ok := decodeObject(object)
		if !ok {
			if strings.Contains(object, `"name"`) || strings.Contains(object, `"source"`) {
				x.out.Dropped++
			}
			continue
		}
		x.object(m)
	}
}

// walk reads the records of a value, in an order of its own: members of an object
// have none. An object that is a record is read as one, whatever it holds beside.
func (x *extractionReader) walk(v any, n *int) {
	if *n++; *n > maxReplyObjects {
		return
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			x.walk(e, n)
		}
	case map[string]any:
		if x.object(v) {
			return
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			x.walk(v[k], n)
		}
	}
}

// object reads one object and reports whether it was a record or a piece of one.
func (x *extractionReader) object(m map[string]any) bool {
	source := textOf(m, "source", "src", "src_id", "source_entity", "source_id", "from", "head", "subject")
	target := textOf(m, "target", "tgt", "tgt_id", "target_entity", "target_id", "to", "tail", "object")
	description := textOf(m, "description", "desc", "entity_description", "relationship_description")
	name := textOf(m, "name", "entity_name", "entity")
	switch {
	case source != "" && target != "":
		keywords := textOf(m, "keywords", "relationship_keywords", "keyword", "type", "relation")
		if description == "" {
			description = keywords
		}
		x.relation(source, target, keywords, description)
	case name != "":
		x.entity(name, textOf(m, "type", "entity_type", "category"), description)
	case source != "" || target != "" || description != "":
		x.out.Dropped++
	default:
		return false
	}
	return true
}

// innerObjects returns the objects of s that hold no other object. Braces
// inside strings do not count.
func innerObjects(s string) []string {
	var out []string
	start, quoted := -1, false
	for i := 0; i < len(s) && len(out) <= maxReplyObjects; i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted && start >= 0 // outside of an object a quotation mark is prose
		case quoted && c == '\n' && opensRecord(s[i+1:]):
			quoted = false // a string that was never closed
		case quoted:
		case c == '{':
			start = i
		case c == '}' && start >= 0:
			out = append(out, s[start:i+1])
			start = -1
		}
	}
	return out
}

// opensRecord reports whether s begins with an object on a line of its own.
func opensRecord(s string) bool {
	return strings.HasPrefix(strings.TrimLeft(s, " \t"), "{")
}

var (
	loneBackslash = regexp.MustCompile(`\\([^"\\/bfnrtu])`)
	trailingComma = regexp.MustCompile(`,\s*}$`)
	rawControl    = strings.NewReplacer("\n", " ", "\r", " ", "\t", " ")
)

// decodeObject decodes an object, mending what models get wrong: line breaks in
// strings, backslashes of LaTeX, a comma after the last member.
func decodeObject(s string) (map[string]any, bool) {
	var m map[string]any
	if json.Unmarshal([]byte(s), &m) == nil {
		return m, true
	}
	s = rawControl.Replace(s)
	s = loneBackslash.ReplaceAllString(s, `\\$1`)
	s = trailingComma.ReplaceAllString(s, "}")
	m = nil
	return m, json.Unmarshal([]byte(s), &m) == nil
}

// textOf returns the first of the keys that holds text; lists become one text.
func textOf(m map[string]any, keys ...string) string {
	for _, k := range keys {
		switch v := m[k].(type) {
		case string:
			if strings.TrimSpace(v) != "" {
				return v
			}
		case []any:
			var parts []string
			for _, p := range v {
				if s, ok := p.(string); ok {
					parts = append(parts, s)
				}
			}
			if len(parts) > 0 {
				return strings.Join(parts, ", ")
			}
		}
	}
	return ""
}

// parseKeywords reads the reply to keywordRequest. It reports false when the
// reply holds no such object; two empty lists are a valid reply.
func parseKeywords(reply string) (Keywords, bool) {
	for _, object := range innerObjects(withoutThinking(reply)) {
		m, ok := decodeObject(object)
		if !ok {
			continue
		}
		high, okHigh := keywordList(m, "high_level_keywords", "high_level", "hl_keywords")
		low, okLow := keywordList(m, "low_level_keywords", "low_level", "ll_keywords")
		if okHigh || okLow {
			return Keywords{High: high, Low: low}, true
		}
	}
	return Keywords{}, false
}

func keywordList(m map[string]any, keys ...string) ([]string, bool) {
	out := []string{}
	for _, key := range keys {
		v, ok := m[key]
		if !ok {
			continue
		}
		var raw []string
		switch v := v.(type) {
		case string:
			raw = strings.Split(v, ",")
		case []any:
			for _, e := range v {
				if s, ok := e.(string); ok {
					raw = append(raw, s)
				}
			}
		}
		seen := map[string]bool{}
		for _, k := range raw {
			k = cleanText(k, maxKeywordsBytes)
			if k == "" || seen[k] || len(out) == maxKeywordCount || utf8.RuneCountInString(k) > maxKeywordsBytes {
				continue
			}
			seen[k] = true
			out = append(out, k)
		}
		return out, true
	}
	return out, false
}
