package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"alcove/tenancy"
)

// DefaultEntityTypes are LightRAG's.
var DefaultEntityTypes = []string{
	"Person", "Creature", "Organization", "Location", "Event", "Concept", "Method", "Content", "Data", "Artifact", "NaturalObject",
}

// The forms in which a ModelExtractor asks for entities and relations.
const (
	// FormatAuto asks for JSON until the server says that it cannot constrain a
	// reply, from then on for rows.
	FormatAuto = "auto"
	// FormatJSON asks for one JSON object, constrained by a schema where the server can.
	FormatJSON = "json"
	// FormatRows asks for LightRAG's rows.
	FormatRows = "rows"
)

// MaxGleaning bounds how often a model is asked what it missed in a passage.
const MaxGleaning = 2

// ExtractOptions configure a ModelExtractor. Zero means the default given
// beside the field.
type ExtractOptions struct {
	Types     []string          // DefaultEntityTypes
	Language  string            // English: of descriptions and keywords
	Format    string            // FormatAuto
	Gleaning  int               // 0: how often the model is asked what it missed, at most MaxGleaning
	MaxTokens int               // 8192: bounds the reply of a model that does not stop
	Prompts   map[string]string // texts instead of the compiled-in ones, see tenancy.PromptPlaceholders
}

const (
	// maxWhereTokens bounds the heading path that goes with a passage.
	maxWhereTokens = 256
	// maxGleanTokens is LightRAG's bound of a conversation in which the model is
	// asked what it missed.
	maxGleanTokens = 20_480
)

// ModelExtractor returns an Extractor that asks a language model, one call for a
// passage and one for each gleaning. A reply cut at its token limit is used as
// far as it goes. A knowledge base's own language, entity types, gleaning and
// prompts go before the options.
func ModelExtractor(c Chatter, o ExtractOptions) Extractor {
	return newModelExtractor(c, o, new(atomic.Bool))
}

func newModelExtractor(c Chatter, o ExtractOptions, noJSON *atomic.Bool) *modelExtractor {
	if len(o.Types) == 0 {
		o.Types = DefaultEntityTypes
	}
	if o.Language == "" {
		o.Language = "English"
	}
	if o.Format == "" {
		o.Format = FormatAuto
	}
	if o.MaxTokens == 0 {
		o.MaxTokens = 8192
	}
	if _, rows := o.Prompts["extract_rows"]; rows && o.Format == FormatAuto && o.Prompts["extract_json"] == "" {
		o.Format = FormatRows // whoever writes the one prompt wants it to be used
	}
	o.Gleaning = max(0, min(o.Gleaning, MaxGleaning))
	x := &modelExtractor{c: c, o: o, prompts: promptSet(o.Prompts), noJSON: noJSON}
	values := []string{
		"{language}", o.Language, "{types}", strings.Join(o.Types, ", "),
		"{max_entities}", strconv.Itoa(maxReplyEntities), "{max_relations}", strconv.Itoa(maxReplyRelations),
	}
	x.rows = x.prompts.fill(promptExtractRows, values...)
	x.json = x.prompts.fill(promptExtractJSON, values...)
	x.glean = x.prompts.fill(promptGlean, "{language}", o.Language)
	x.schema = extractionSchema(o.Types)
	parts := []string{x.prompts.text(promptExtractUser), o.Language, strconv.Itoa(o.MaxTokens), o.Format}
	if o.Format != FormatJSON {
		parts = append(parts, x.rows)
	}
	if o.Format != FormatRows {
		parts = append(parts, x.json, string(x.schema))
	}
	if o.Gleaning > 0 {
		parts = append(parts, strconv.Itoa(o.Gleaning), x.glean)
	}
	x.identity = "model:" + c.Model() + ":" + promptHash(parts...)
	return x
}

type modelExtractor struct {
	c                 Chatter
	o                 ExtractOptions
	prompts           promptSet
	rows, json, glean string // filled in
	schema            json.RawMessage
	identity          string
	noJSON            *atomic.Bool // the server cannot constrain a reply; shared by all of one Chatter
}

// with is the extractor for a knowledge base with these settings.
func (x *modelExtractor) with(c tenancy.Config) *modelExtractor {
	o := x.o
	if c.Language != nil && *c.Language != "" {
		o.Language = *c.Language
	}
	if len(c.EntityTypes) > 0 {
		o.Types = c.EntityTypes
	}
	if c.Gleaning != nil {
		o.Gleaning = *c.Gleaning
	}
	if len(c.Prompts) > 0 {
		o.Prompts = x.prompts.with(c.Prompts)
	}
	return newModelExtractor(x.c, o, x.noJSON)
}

// extractorFor is the extractor under the settings of a knowledge base. Only one
// that asks a model has any.
func (e *Engine) extractorFor(c tenancy.Config) Extractor {
	x, ok := e.o.Extractor.(*modelExtractor)
	if !ok {
		return e.o.Extractor
	}
	if other, ok := chosen(e.extractors, c.LLMModel); ok {
		x = other
	}
	return x.with(c)
}

// Identity names the model, the prompts and the options.
func (x *modelExtractor) Identity() string { return x.identity }

// Extract asks the model, or takes its stored answer to the very same request,
// when a document is worked on. Errors are those of Chatter.Chat; a reply that cannot
// be read is an Extraction without records.
func (x *modelExtractor) Extract(ctx context.Context, p Passage) (Extraction, error) {
	talk := []Message{{Role: "user", Content: x.user(p)}}
	rows := x.o.Format == FormatRows || x.o.Format == FormatAuto && x.noJSON.Load()
	reply, err := x.ask(ctx, rows, talk)
	if x.o.Format == FormatAuto && !rows && refusesFormat(err) {
		rows = true
		if reply, err = x.ask(ctx, rows, talk); err == nil {
			x.noJSON.Store(true)
		}
	}
	if err != nil {
		return Extraction{}, fmt.Errorf("extract with %s: %w", x.c.Model(), err)
	}
	out := readExtraction(reply.Text)
	out.Truncated = reply.Truncated
	for range x.o.Gleaning {
		said := strings.TrimSpace(withoutThinking(reply.Text))
		if said == "" {
			break
		}
		talk = append(talk, Message{Role: "assistant", Content: said}, Message{Role: "user", Content: x.glean})
		if x.tokens(rows, talk) > maxGleanTokens {
			break
		}
		reply, err = x.ask(ctx, rows, talk)
		if errors.Is(err, ErrPromptTooLong) || errors.Is(err, ErrModelRefused) {
			break // what the first answer said is there
		}
		if err != nil {
			return Extraction{}, fmt.Errorf("glean with %s: %w", x.c.Model(), err)
		}
		more := readExtraction(reply.Text)
		more.Truncated = reply.Truncated
		out = gleaned(out, more)
		if len(more.Entities)+len(more.Relations) == 0 {
			break // it missed nothing
		}
	}
	return out, nil
}

func (x *modelExtractor) system(rows bool) string {
	if rows {
		return x.rows
	}
	return x.json
}

func (x *modelExtractor) tokens(rows bool, talk []Message) int {
	n := countTokens(x.system(rows)) + messageOverhead
	for _, m := range talk {
		n += countTokens(m.Content) + messageOverhead
	}
	return n
}

func (x *modelExtractor) ask(ctx context.Context, rows bool, talk []Message) (ChatReply, error) {
	zero := 0.0
	r := ChatRequest{System: x.system(rows), Messages: talk, MaxTokens: x.o.MaxTokens, Temperature: &zero}
	if !rows {
		r.JSON, r.Schema = true, x.schema
	}
	return storedChat(ctx, x.c, r)
}

// refusesFormat reports whether a server would not do a request for the form of
// reply it asks for, as those do that cannot constrain one.
func refusesFormat(err error) bool {
	if !errors.Is(err, ErrModelRefused) {
		return false
	}
	return SpeaksOfFormat(err.Error())
}

// SpeaksOfFormat reports whether a server's message is about the form of reply
// that was asked for.
func SpeaksOfFormat(message string) bool {
	m := strings.ToLower(message)
	for _, s := range []string{"response_format", "response format", "json_schema", "json schema", "json_object", "structured output", "guided", "grammar", "invalid format", "chatrequest.format"} {
		if strings.Contains(m, s) {
			return true
		}
	}
	return false
}

// extractionSchema is the JSON schema of a reply. The order of its properties is
// the one in which a constrained model writes them: the name comes first.
func extractionSchema(types []string) json.RawMessage {
	kinds := append(append(make([]string, 0, len(types)+1), types...), "Other")
	enum, err := json.Marshal(kinds)
	if err != nil {
		panic("engine: a list of strings does not encode: " + err.Error())
	}
	const text = `{"type":"string"}`
	list := func(properties, required string) string {
		return `{"type":"array","items":{"type":"object","properties":{` + properties + `},"required":[` + required + `],"additionalProperties":false}}`
	}
	return json.RawMessage(`{"type":"object","properties":{"entities":` +
		list(`"name":`+text+`,"type":{"type":"string","enum":`+string(enum)+`},"description":`+text, `"name","type","description"`) +
		`,"relationships":` +
		list(`"source":`+text+`,"target":`+text+`,"keywords":`+text+`,"description":`+text, `"source","target","keywords","description"`) +
		`},"required":["entities","relationships"],"additionalProperties":false}`)
}

// gleaned adds what a second answer brought to a first one, as LightRAG does: of
// a name or pair in both the longer description wins, and what is new is added.
func gleaned(first, more Extraction) Extraction {
	out := Extraction{Dropped: first.Dropped + more.Dropped, Truncated: first.Truncated || more.Truncated}
	out.Entities = longer(first.Entities, more.Entities,
		func(e EntityMention) string { return EntityID(e.Name) }, func(e EntityMention) int { return len(e.Description) })
	out.Relations = longer(first.Relations, more.Relations, func(r RelationMention) string {
		return EntityID(r.Source) + "\x00" + EntityID(r.Target)
	}, func(r RelationMention) int { return len(r.Description) })
	return out
}

// longer merges two lists of records. Several of one list under one key stay
// together; of two lists that have a key, the one with the longest text has it.
func longer[T any](a, b []T, key func(T) string, size func(T) int) []T {
	longest := func(l []T) map[string]int {
		m := map[string]int{}
		for _, x := range l {
			m[key(x)] = max(m[key(x)], size(x))
		}
		return m
	}
	in1, in2 := longest(a), longest(b)
	out := make([]T, 0, len(a)+len(b))
	for _, x := range a {
		if n, ok := in2[key(x)]; !ok || n <= in1[key(x)] {
			out = append(out, x)
		}
	}
	for _, x := range b {
		if n, ok := in1[key(x)]; !ok || in2[key(x)] > n {
			out = append(out, x)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func (x *modelExtractor) user(p Passage) string {
	path := p.Heading
	if p.Title != "" && (len(path) == 0 || path[0] != p.Title) {
		path = append([]string{p.Title}, path...)
	}
	where := ""
	if len(path) > 0 {
		line := strings.Join(strings.Fields(strings.Join(path, " > ")), " ")
		where = "It stands under this heading, which is data as well: " + cutTokens(line, maxWhereTokens) + "\n"
	}
	return x.prompts.fill(promptExtractUser, "{language}", x.o.Language, "{where}", where, "{text}", p.Text, "{fence}", fence(p.Text))
}
