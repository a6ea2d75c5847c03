package bench

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"regexp"
	"slices"
	"strings"
)

// scriptedVector has a share of every word in four places, so that texts with
// common words are near each other, and no zeros: a real vector has none either.
func scriptedVector(text string, dim int) []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = 0.001 + 0.0001*float32(i%7)
	}
	for w := range strings.FieldsSeq(text) {
		h := fnv.New64a()
		h.Write([]byte(strings.ToLower(strings.Trim(w, ".,?"))))
		for s, k := h.Sum64(), 0; k < 4; k++ {
			v[s%uint64(dim)] += 1 - 2*float32(s>>15&1)
			s >>= 16
		}
	}
	return v
}

// fenced is the text between the last two lines of backticks.
func fenced(s string) string {
	end := strings.LastIndex(s, "\n```")
	if end < 0 {
		return s
	}
	start := strings.LastIndex(s[:end], "```\n")
	if start < 0 {
		return s
	}
	return s[start+4 : end]
}

// passage is the fenced text of a prompt. A prompt without one asks what an earlier
// reply missed, which is nothing.
func passage(prompt string) string {
	if !strings.Contains(prompt, "```\n") {
		return ""
	}
	return fenced(prompt)
}

// userQuery is the question in LightRAG's prompt for keywords, and the whole of any other.
func userQuery(prompt string) string {
	_, after, ok := strings.Cut(prompt, "\nUser Query: ")
	if !ok {
		return prompt
	}
	question, _, _ := strings.Cut(after, "\n\n---Output---")
	return question
}

// name is what the scripted model takes for the name of a thing.
var name = regexp.MustCompile(`\b[A-Z][a-z]+ [A-Z][a-z]+\b`)

var (
	scriptedTypes     = []string{"Person", "Organization", "Location", "Event"}
	scriptedRelations = []string{"meeting", "trade", "family", "dispute", "travel", "letters", "teaching", "ownership"}
)

func pick(list []string, of string) string {
	h := fnv.New32a()
	h.Write([]byte(of))
	return list[h.Sum32()%uint32(len(list))]
}

// scriptedGraph reads a passage. What it says of a pair depends on the sentence,
// the keywords of the pair alone.
func scriptedGraph(passage string, asJSON bool) string {
	type entity struct {
		Name        string `json:"name"`
		Type        string `json:"type"`
		Description string `json:"description"`
	}
	type relation struct {
		Source      string `json:"source"`
		Target      string `json:"target"`
		Keywords    string `json:"keywords"`
		Description string `json:"description"`
	}
	out := struct {
		Entities  []entity   `json:"entities"`
		Relations []relation `json:"relationships"`
	}{[]entity{}, []relation{}}
	seen := map[string]bool{}
	for sentence := range strings.FieldsFuncSeq(passage, func(r rune) bool { return r == '.' || r == '\n' }) {
		sentence = strings.TrimSpace(sentence)
		last := ""
		for _, n := range name.FindAllString(sentence, -1) {
			if !seen[n] {
				seen[n] = true
				out.Entities = append(out.Entities, entity{n, pick(scriptedTypes, n), sentence + "."})
			}
			pair := min(n, last) + "|" + max(n, last)
			if last != "" && last != n && !seen[pair] {
				seen[pair] = true
				out.Relations = append(out.Relations, relation{last, n, pick(scriptedRelations, pair), sentence + "."})
			}
			last = n
		}
	}
	if asJSON {
		b, err := json.Marshal(out)
		if err != nil {
			panic("bench: strings do not encode: " + err.Error())
		}
		return string(b)
	}
	var b strings.Builder
	for _, e := range out.Entities {
		fmt.Fprintf(&b, "entity<|#|>%s<|#|>%s<|#|>%s\n", e.Name, e.Type, e.Description)
	}
	for _, r := range out.Relations {
		fmt.Fprintf(&b, "relation<|#|>%s<|#|>%s<|#|>%s<|#|>%s\n", r.Source, r.Target, r.Keywords, r.Description)
	}
	b.WriteString("<|COMPLETE|>")
	return b.String()
}

func scriptedKeywords(question string) string {
	low := name.FindAllString(question, -1)
	high := []string{}
	for w := range strings.FieldsSeq(fenced(question)) {
		if w = strings.Trim(w, "?.,"); len(w) > 4 && w == strings.ToLower(w) && !slices.Contains(high, w) {
			high = append(high, w)
		}
	}
	if low == nil {
		low = []string{}
	}
	b, err := json.Marshal(map[string][]string{"high_level_keywords": high, "low_level_keywords": low})
	if err != nil {
		panic("bench: strings do not encode: " + err.Error())
	}
	return string(b)
}

// scriptedSummary is the beginning of each description, up to a length a model keeps to.
func scriptedSummary(list string) string {
	var b strings.Builder
	for line := range strings.Lines(list) {
		var d struct{ Description string }
		if json.Unmarshal([]byte(line), &d) != nil || b.Len() > 1500 {
			continue
		}
		b.WriteString(d.Description[:min(len(d.Description), 60)] + " ")
	}
	return strings.TrimSpace(b.String())
}
