package engine

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// DefaultEntityTypes are LightRAG's.
var DefaultEntityTypes = []string{
	"Person", "Creature", "Organization", "Location", "Event", "Concept", "Method", "Content", "Data", "Artifact", "NaturalObject",
}

// ExtractOptions configure a ModelExtractor. Zero means the default given
// beside the field.
type ExtractOptions struct {
	Types     []string // DefaultEntityTypes
	Language  string   // English: of descriptions and keywords
	JSON      bool     // ask for JSON, constrained by the server, instead of rows
	MaxTokens int      // 8192: bounds the reply of a model that does not stop
}

// maxWhereTokens bounds the heading path that goes with a passage.
const maxWhereTokens = 256

// ModelExtractor returns an Extractor that asks a language model, one call for a
// passage. A reply cut at its token limit is used as far as it goes.
func ModelExtractor(c Chatter, o ExtractOptions) Extractor {
	if len(o.Types) == 0 {
		o.Types = DefaultEntityTypes
	}
	if o.Language == "" {
		o.Language = "English"
	}
	if o.MaxTokens == 0 {
		o.MaxTokens = 8192
	}
	name := promptExtractRows
	if o.JSON {
		name = promptExtractJSON
	}
	x := &modelExtractor{c: c, o: o}
	x.system = fillPrompt(name,
		"{language}", o.Language, "{types}", strings.Join(o.Types, ", "),
		"{max_entities}", strconv.Itoa(maxReplyEntities), "{max_relations}", strconv.Itoa(maxReplyRelations))
	x.identity = "model:" + c.Model() + ":" + promptHash(x.system, promptText(promptExtractUser), o.Language, strconv.Itoa(o.MaxTokens))
	return x
}

type modelExtractor struct {
	c                Chatter
	o                ExtractOptions
	system, identity string
}

// Identity names the model, the prompts and the options.
func (x *modelExtractor) Identity() string { return x.identity }

// Extract asks the model, or takes its stored answer to the very same request,
// when a document is worked on. Errors are those of Chatter.Chat; a reply that cannot
// be read is an Extraction without records.
func (x *modelExtractor) Extract(ctx context.Context, p Passage) (Extraction, error) {
	zero := 0.0
	reply, err := storedChat(ctx, x.c, ChatRequest{
		System: x.system, Messages: []Message{{Role: "user", Content: x.user(p)}},
		JSON: x.o.JSON, MaxTokens: x.o.MaxTokens, Temperature: &zero,
	})
	if err != nil {
		return Extraction{}, fmt.Errorf("extract with %s: %w", x.c.Model(), err)
	}
	return readExtraction(reply.Text), nil
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
	return fillPrompt(promptExtractUser, "{language}", x.o.Language, "{where}", where, "{text}", p.Text, "{fence}", fence(p.Text))
}
