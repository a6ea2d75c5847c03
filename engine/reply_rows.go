package engine

import (
	"regexp"
	"strings"
)

// Field delimiters as they were meant and as models damage them: <|#|>, the
// older <|>, parts missing or doubled, spaces or a word inside.
var (
	fieldMark = regexp.MustCompile(`(?i)<\s*\|[\s#|]*>|<\s*#\s*\|?\s*>|<?\s*\|\s*#\s*\|\s*>?|<\|#|<\|[a-z_]{1,12}\|>|\{tuple_delimiter\}`)
	endMark   = regexp.MustCompile(`(?i)<?\s*\|\s*/?\s*complete[d]?\s*\|\s*>?|\{completion_delimiter\}`)
	// glued is a record that begins where only a delimiter stands before it.
	glued = regexp.MustCompile(`(?i)(<\|#\|>|\)\s*#*\s*)\s*(\(?"?(?:entity|relation(?:ship)?)"?\s*<\|#?\|?>)`)
	// listMark is what a model puts before a record: a number, a bullet, marks of
	// emphasis, the parenthesis of the older format.
	listMark  = regexp.MustCompile(`^(?:[\s>*•#-]|[0-9]{1,3}[.):]\s)*[\s("'` + "`" + `\[*]*`)
	fieldKind = regexp.MustCompile(`(?i)^(?:list of )?(entity|entities|relation|relations|relationship|relationships)$`)
	strength  = regexp.MustCompile(`^[0-9]{1,3}(?:\.[0-9]+)?(?:/10)?$`)
)

// maxJoinedLines bounds a record of the older format that goes over lines.
const maxJoinedLines = 8

// rows reads the row protocol and nano-graphrag's older one. A line with field
// delimiters that is no usable record is counted; prose and code are passed over.
func (x *extractionReader) rows(text string) {
	text = endMark.ReplaceAllString(text, "\n")
	text = glued.ReplaceAllString(text, "\n$2")
	text = strings.NewReplacer("##", "\n", "\r", "\n", "{record_delimiter}", "\n").Replace(text)
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if strings.HasPrefix(strings.TrimSpace(line), "(") {
			for n := 0; n < maxJoinedLines && i+1 < len(lines) && goesOnBelow(line, lines[i+1]); n++ {
				i++
				line += " " + lines[i]
			}
		}
		x.row(line)
	}
}

// goesOnBelow reports whether a record in parentheses continues on the next line.
func goesOnBelow(line, next string) bool {
	line, next = strings.TrimSpace(line), strings.TrimSpace(next)
	return line != "" && next != "" && !strings.HasSuffix(line, ")") && fieldMark.MatchString(line) &&
		!strings.HasPrefix(next, "(") && !strings.HasPrefix(next, "```") && len(fieldMark.FindAllStringIndex(next, 2)) < 2
}

func (x *extractionReader) row(line string) {
	marks := fieldMark.FindAllStringIndex(line, -1)
	if len(marks) == 0 {
		return
	}
	old := strings.Contains(line, "<|>")
	fields := make([]string, 0, len(marks)+1)
	at := 0
	for _, m := range marks {
		if m[0] > at || at > 0 && m[0] == at && len(fields) > 0 {
			fields = append(fields, line[at:m[0]])
		}
		at = m[1]
	}
	fields = append(fields, line[at:])
	for i := range fields {
		fields[i] = trimField(fields[i], i == len(fields)-1)
	}
	for len(fields) > 0 && fields[len(fields)-1] == "" { // a delimiter at the end of the line
		fields = fields[:len(fields)-1]
	}
	if len(fields) == 0 {
		return
	}
	kind := fieldKind.FindString(strings.Trim(listMark.ReplaceAllString(fields[0], ""), "\"'`) *_:"))
	if kind == "" {
		switch first := strings.Trim(listMark.ReplaceAllString(fields[0], ""), "\"'` "); {
		case len(fields) == 4 && first != "" && strings.EqualFold(first, fields[2]): // the type where "entity" belongs
			x.entity(fields[1], fields[2], fields[3])
		case len(marks) > 1:
			x.out.Dropped++
		}
		return
	}
	relation := strings.HasPrefix(strings.ToLower(kind), "rel")
	rated := len(fields) > 4 && strength.MatchString(fields[len(fields)-1])
	if rated {
		fields = fields[:len(fields)-1]
	}
	switch n := len(fields); {
	case !relation && n == 4:
		x.entity(fields[1], fields[2], fields[3])
	case !relation && n == 5 && !rated: // LightRAG takes it for a relation under the wrong word
		x.relation(fields[1], fields[2], fields[3], fields[4])
	case relation && n == 5 && rated: // the older format with keywords
		x.relation(fields[1], fields[2], fields[4], fields[3])
	case relation && n == 5:
		x.relation(fields[1], fields[2], fields[3], fields[4])
	case relation && n == 4 && (rated || old): // the older format has no keywords
		x.relation(fields[1], fields[2], "", fields[3])
	default:
		x.out.Dropped++
	}
}

// trimField removes quotation marks, and from the last field the parenthesis
// that closes a record of the older format.
func trimField(s string, last bool) string {
	s = strings.TrimSpace(s)
	if last {
		s = strings.TrimSpace(strings.TrimRight(s, "#"))
		if strings.HasSuffix(s, ")") && strings.Count(s, ")") > strings.Count(s, "(") {
			s = strings.TrimSpace(strings.TrimSuffix(s, ")"))
		}
	}
	return strings.TrimSpace(trimQuotes(s))
}
