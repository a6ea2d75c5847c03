package tenancy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Limits on what a caller may say of a tenant, a knowledge base or a key.
const (
	maxNameRunes        = 255     // names, as ADR 007's samples have it
	maxFoldedBytes      = 2 << 10 // names are keys of an index; a few signs fold to many
	maxDescriptionBytes = 4 << 10 // a paragraph or a page, not a document
	maxMetadataBytes    = 16 << 10
	maxTopK             = 1000
	maxTokenBudget      = 1_000_000
	maxRerankScore      = 1e6
	maxChunkTokens      = 32_768
	maxAnswerTokens     = 1_000_000
	maxEmbeddingDim     = 65_536
	maxEmbeddingBatch   = 10_000
	maxTemperature      = 2.0
	minChunkTokens      = 16 // a sentence
	maxGleaning         = 2
	maxLanguageBytes    = 64
	maxEntityTypes      = 64
	maxEntityTypeBytes  = 64
	maxPromptBytes      = 16 << 10
)

// Config overrides settings for one tenant or one knowledge base. A nil field is not
// overridden. What a request asks for goes before the knowledge base's configuration,
// that before the tenant's, that before the server's: see Config.Over.
//
// Models are chosen by name among those the server's configuration names, see
// Options.Models; where they are, and with what key they are asked, is the server's alone.
type Config struct {
	LLMModel       *string `json:"llm_model,omitempty"`
	EmbeddingModel *string `json:"embedding_model,omitempty"` // of a knowledge base's first document, and of the next change of the model
	RerankModel    *string `json:"rerank_model,omitempty"`
	// LLMModelKwargs holds temperature and max_tokens and nothing else, as ADR 003's
	// field of this name does; LLMTemperature and LLMMaxTokens go before it.
	LLMModelKwargs    map[string]any `json:"llm_model_kwargs,omitempty"`
	LLMTemperature    *float64       `json:"llm_temperature,omitempty"`     // of answers, 0 to 2
	LLMMaxTokens      *int           `json:"llm_max_tokens,omitempty"`      // of answers
	EmbeddingDim      *int           `json:"embedding_dim,omitempty"`       // says what clients expect: the length of vectors is the model's
	EmbeddingBatchNum *int           `json:"embedding_batch_num,omitempty"` // texts of a call; never more than the server's

	TopK              *int     `json:"top_k,omitempty"`               // 1 to 1000
	ChunkTopK         *int     `json:"chunk_top_k,omitempty"`         // 1 to 1000
	MaxEntityTokens   *int     `json:"max_entity_tokens,omitempty"`   // 1 to 1,000,000
	MaxRelationTokens *int     `json:"max_relation_tokens,omitempty"` // 1 to 1,000,000
	MaxTotalTokens    *int     `json:"max_total_tokens,omitempty"`    // 1 to 1,000,000
	CosineThreshold   *float64 `json:"cosine_threshold,omitempty"`    // a similarity, -1 to 1
	MinRerankScore    *float64 `json:"min_rerank_score,omitempty"`    // 0 is none
	EnableRerank      *bool    `json:"enable_rerank,omitempty"`
	EnableLLMCache    *bool    `json:"enable_llm_cache,omitempty"` // of questions

	ChunkSize    *int `json:"chunk_size,omitempty"`    // tokens, 16 to 32768
	ChunkOverlap *int `json:"chunk_overlap,omitempty"` // tokens, less than ChunkSize

	// What a language model is told when it reads documents; those that are there keep
	// what was read of them until they change.
	Language    *string  `json:"language,omitempty"`     // of descriptions and keywords; "" is the server's
	EntityTypes []string `json:"entity_types,omitempty"` // at most 64; none are the server's
	Gleaning    *int     `json:"gleaning,omitempty"`     // 0 to 2: how often it is asked what it missed
	// Prompts replaces prompts by their names, see PromptPlaceholders. They are
	// text with placeholders in braces and nothing in them runs. An update replaces
	// all of them; {} goes back to the server's.
	Prompts map[string]string `json:"prompts,omitempty"`

	CustomMetadata map[string]any `json:"custom_metadata,omitempty"` // the caller's own
}

// Models are the names that a Config may choose from, the server's own among them.
type Models struct{ Chat, Embedding, Rerank []string }

// apply returns c with the fields u sets replaced, and those named in unset taken out.
func (c Config) apply(u Config, unset []string) Config {
	c.set(u)
	to := reflect.ValueOf(&c).Elem()
	for i := range to.NumField() {
		if slices.Contains(unset, settingName(i)) {
			to.Field(i).SetZero()
		}
	}
	return c
}

// set replaces the fields that u sets.
func (c *Config) set(u Config) {
	from, to := reflect.ValueOf(u), reflect.ValueOf(c).Elem()
	for i := range from.NumField() {
		if !from.Field(i).IsNil() {
			to.Field(i).Set(from.Field(i))
		}
	}
}

// settingName is the name of field i of a Config as callers write it.
func settingName(i int) string {
	name, _, _ := strings.Cut(reflect.TypeFor[Config]().Field(i).Tag.Get("json"), ",")
	return name
}

// SettingNames are the names of the settings that move something, as callers write them.
func SettingNames() (names []string) {
	for i := range reflect.TypeFor[Config]().NumField() {
		if name := settingName(i); name != "custom_metadata" && name != "embedding_dim" {
			names = append(names, name)
		}
	}
	return names
}

// Over returns base with the fields that c sets in their place: what one level says
// before what the levels below it do. An empty language and no entity types say
// nothing; prompts go one by one. An overlap that was meant for longer chunks is cut to
// a quarter of c's.
func (c Config) Over(base Config) Config {
	out := base
	out.set(c)
	if c.Language != nil && *c.Language == "" {
		out.Language = base.Language
	}
	if len(c.EntityTypes) == 0 {
		out.EntityTypes = base.EntityTypes
	}
	out.Prompts = maps.Clone(base.Prompts)
	if out.Prompts == nil {
		out.Prompts = c.Prompts
	} else {
		maps.Copy(out.Prompts, c.Prompts)
	}
	if c.ChunkSize != nil && c.ChunkOverlap == nil && out.ChunkOverlap != nil {
		overlap := min(*out.ChunkOverlap, *c.ChunkSize/4)
		out.ChunkOverlap = &overlap
	}
	return out
}

// changeConfig is an update of a configuration: what in sets and what unset names is
// changed, and what then stands is checked. One that is not touched is not: a model may
// have been taken from the server since it was chosen.
func changeConfig(c Config, in *Config, unset []string, m Models) (out Config, touched bool, err error) {
	if in == nil && len(unset) == 0 {
		return c, false, nil
	}
	if in == nil {
		in = &Config{}
	}
	if err := firstError(checkUnset("config_unset", unset), in.check(m)); err != nil {
		return c, false, err
	}
	out = c.apply(*in, unset)
	if out.ChunkSize != nil && out.ChunkOverlap != nil && *out.ChunkOverlap >= *out.ChunkSize {
		err = badField("config.chunk_overlap", "must be less than chunk_size")
	}
	return out, true, err
}

// checkUnset refuses a name that no setting has.
func checkUnset(field string, unset []string) error {
	var known []string
	for i := range reflect.TypeFor[Config]().NumField() {
		known = append(known, settingName(i))
	}
	if len(unset) > len(known) {
		return badField(field, fmt.Sprintf("has %d names; there are %d settings", len(unset), len(known)))
	}
	for i, name := range unset {
		if !slices.Contains(known, name) {
			return badField(fmt.Sprintf("%s[%d]", field, i), "is not the name of a setting")
		}
	}
	return nil
}

// check returns a *FieldError for the first field out of its range.
func (c Config) check(m Models) error {
	err := firstError(
		modelName("config.llm_model", c.LLMModel, m.Chat),
		modelName("config.embedding_model", c.EmbeddingModel, m.Embedding),
		modelName("config.rerank_model", c.RerankModel, m.Rerank),
		modelKwargs("config.llm_model_kwargs", c.LLMModelKwargs),
		within("config.llm_temperature", c.LLMTemperature, 0, maxTemperature),
		within("config.llm_max_tokens", c.LLMMaxTokens, 1, maxAnswerTokens),
		within("config.embedding_dim", c.EmbeddingDim, 1, maxEmbeddingDim),
		within("config.embedding_batch_num", c.EmbeddingBatchNum, 1, maxEmbeddingBatch),
		within("config.top_k", c.TopK, 1, maxTopK),
		within("config.chunk_top_k", c.ChunkTopK, 1, maxTopK),
		within("config.max_entity_tokens", c.MaxEntityTokens, 1, maxTokenBudget),
		within("config.max_relation_tokens", c.MaxRelationTokens, 1, maxTokenBudget),
		within("config.max_total_tokens", c.MaxTotalTokens, 1, maxTokenBudget),
		within("config.cosine_threshold", c.CosineThreshold, -1, 1),
		within("config.min_rerank_score", c.MinRerankScore, 0, maxRerankScore),
		within("config.chunk_size", c.ChunkSize, minChunkTokens, maxChunkTokens),
		within("config.chunk_overlap", c.ChunkOverlap, 0, maxChunkTokens),
		language("config.language", c.Language),
		entityTypes("config.entity_types", c.EntityTypes),
		within("config.gleaning", c.Gleaning, 0, maxGleaning),
		prompts("config.prompts", c.Prompts),
		metadata("config.custom_metadata", c.CustomMetadata),
	)
	if err == nil && c.ChunkSize != nil && c.ChunkOverlap != nil && *c.ChunkOverlap >= *c.ChunkSize {
		err = badField("config.chunk_overlap", "must be less than chunk_size")
	}
	return err
}

// modelKwargs refuses what is not sent on: a tenant says how its answers are written and
// nothing of how a server is reached.
func modelKwargs(field string, m map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		v, number := m[name].(float64)
		switch {
		case name == "temperature" && number && v >= 0 && v <= maxTemperature:
		case name == "max_tokens" && number && v >= 1 && v <= maxAnswerTokens && v == math.Trunc(v):
		case name == "temperature":
			return badField(field+".temperature", fmt.Sprintf("must be from 0 to %v", maxTemperature))
		case name == "max_tokens":
			return badField(field+".max_tokens", fmt.Sprintf("must be a whole number from 1 to %d", maxAnswerTokens))
		default:
			return badField(field, fmt.Sprintf("holds %.40q; it may hold temperature and max_tokens", name))
		}
	}
	return nil
}

func language(field string, v *string) error {
	if v != nil && (len(*v) > maxLanguageBytes || strings.TrimSpace(*v) != *v || !plainText(*v)) {
		return badField(field, fmt.Sprintf("must be at most %d bytes of printable characters", maxLanguageBytes))
	}
	return nil
}

// entityTypes refuses what would not come back from a model as it was sent.
func entityTypes(field string, types []string) error {
	if len(types) > maxEntityTypes {
		return badField(field, fmt.Sprintf("has %d types; at most %d are allowed", len(types), maxEntityTypes))
	}
	seen := map[string]bool{}
	for i, t := range types {
		at := fmt.Sprintf("%s[%d]", field, i)
		if t == "" || len(t) > maxEntityTypeBytes || strings.TrimSpace(t) != t || !plainText(t) || strings.ContainsAny(t, "'\"`()<>|/\\{}[],") {
			return badField(at, fmt.Sprintf("must be 1 to %d bytes of printable characters without brackets, quotes, commas, bars and slashes", maxEntityTypeBytes))
		}
		if k := foldName(t); seen[k] {
			return badField(at, "is there twice")
		} else {
			seen[k] = true
		}
	}
	return nil
}

// promptPlaceholders says what each prompt that can be replaced may hold; what
// ends in an exclamation mark it must.
var promptPlaceholders = map[string]string{
	"extract_rows": "types! language max_entities max_relations",
	"extract_json": "types! language max_entities max_relations",
	"extract_user": "text! fence! where language",
	"glean":        "language",
	"summary":      "name! language tokens",
	"keywords":     "",
	"rewrite":      "",
	"answer":       "context! response_type user_prompt",
}

// PromptPlaceholders returns the placeholders that the prompt of that name may
// hold, each without its braces, and those that it must. ok is false when there
// is no such prompt to replace.
func PromptPlaceholders(name string) (may, must []string, ok bool) {
	list, ok := promptPlaceholders[name]
	for _, p := range strings.Fields(list) {
		p, needed := strings.CutSuffix(p, "!")
		may = append(may, p)
		if needed {
			must = append(must, p)
		}
	}
	return may, must, ok
}

// placeholder is what stands in braces for a value. JSON in a prompt has braces
// too, but never around a bare word.
var placeholder = regexp.MustCompile(`\{([a-z_]+)\}`)

// prompts refuses a prompt that could not do its work: without the text it is
// about, or with a placeholder that nobody fills.
func prompts(field string, m map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at, text := field+"."+name, m[name]
		may, must, ok := PromptPlaceholders(name)
		if !ok {
			return badField(field, fmt.Sprintf("has no prompt %.40q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(promptPlaceholders)), ", ")))
		}
		if strings.TrimSpace(text) == "" || len(text) > maxPromptBytes || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return badField(at, fmt.Sprintf("must be 1 to %d bytes of text", maxPromptBytes))
		}
		for _, p := range placeholder.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(may, p[1]) {
				return badField(at, fmt.Sprintf("has the placeholder %.80s; it may hold %s", p[0], cmp.Or(strings.Join(may, ", "), "none")))
			}
		}
		for _, p := range must {
			if !strings.Contains(text, "{"+p+"}") {
				return badField(at, fmt.Sprintf("must hold {%s}", p))
			}
		}
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func within[T int | int64 | float64](field string, v *T, least, most T) error {
	// Written so that a NaN is outside too.
	if v == nil || (*v >= least && *v <= most) {
		return nil
	}
	return badField(field, fmt.Sprintf("must be from %v to %v", least, most))
}

// modelName refuses a model that the server's configuration does not name.
func modelName(field string, v *string, offered []string) error {
	switch {
	case v == nil || slices.Contains(offered, *v):
		return nil
	case len(offered) == 0:
		return badField(field, "cannot be set: this server has no such model")
	}
	return badField(field, fmt.Sprintf("is not a model of this server; it may be %s", strings.Join(offered, ", ")))
}

// metadata checks that a map of a caller's own can be stored: its size as JSON.
func metadata(field string, m map[string]any) error {
	if m == nil {
		return nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return badField(field, "must be plain JSON")
	}
	if len(b) > maxMetadataBytes {
		return badField(field, fmt.Sprintf("must be at most %d bytes as JSON", maxMetadataBytes))
	}
	return nil
}

func checkName(field, s string) error {
	n := utf8.RuneCountInString(s)
	if n < 1 || n > maxNameRunes || len(foldName(s)) > maxFoldedBytes || strings.TrimSpace(s) != s || !plainText(s) {
		return badField(field, fmt.Sprintf("must be 1 to %d printable characters without blanks around", maxNameRunes))
	}
	return nil
}

func checkDescription(field, s string) error {
	if len(s) > maxDescriptionBytes || !utf8.ValidString(s) {
		return badField(field, fmt.Sprintf("must be at most %d bytes of UTF-8", maxDescriptionBytes))
	}
	return nil
}

// plainText reports whether s is UTF-8 without control characters: names go into
// logs and lists and must not be able to draw there.
func plainText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp) {
			return false
		}
	}
	return true
}

// foldName is what a name is unique by: compatibility-composed, case-folded and
// with runs of blanks as one, so that two names that look alike to a reader in a
// list are one name.
func foldName(s string) string {
	s = strings.Join(strings.Fields(norm.NFKC.String(s)), " ")
	return norm.NFKC.String(cases.Fold().String(s))
}
