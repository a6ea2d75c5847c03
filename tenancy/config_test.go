package tenancy

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a knowledge base is told of extraction comes back as it was sent, and a
// Space shows that of its own knowledge base and no other.
func TestKBConfig_RoundTrip(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main", "acme/other")
	root, ctx := admin(t, s), ctxOf(t)
	body := `{"config":{"top_k":7,"chunk_size":300,"cosine_threshold":0.5,"custom_metadata":{"a":1},"language":"Français",` +
		`"entity_types":["Person","Ship"],"gleaning":0,"prompts":{"extract_user":"Read {text} between {fence}.","glean":"More, {language}?"}}}`
	var in KBUpdate
	require.NoError(t, json.Unmarshal([]byte(body), &in))
	kb, err := s.UpdateKB(ctx, root, "acme", "main", in)
	require.NoError(t, err)
	b, err := json.Marshal(struct {
		Config Config `json:"config"`
	}{kb.Config})
	require.NoError(t, err)
	require.JSONEq(t, body, string(b))

	space, err := s.Enter(ctx, root, "acme", "main", PermKBAccess)
	require.NoError(t, err)
	tenant, c, err := space.Config(ctx)
	require.NoError(t, err)
	require.Equal(t, kb.Config, c)
	require.Equal(t, Config{}, tenant)
	size := 500
	_, err = s.UpdateTenant(ctx, root, "acme", TenantUpdate{Config: &Config{ChunkSize: &size}})
	require.NoError(t, err)
	other, err := s.Enter(ctx, root, "acme", "other", PermKBAccess)
	require.NoError(t, err)
	tenant, c, err = other.Config(ctx)
	require.NoError(t, err)
	require.Equal(t, Config{}, c)
	require.Equal(t, Config{ChunkSize: &size}, tenant)

	// What an update leaves out stays; what it empties is the server's again.
	language, gleaning := "", 2
	kb, err = s.UpdateKB(ctx, root, "acme", "main", KBUpdate{Config: &Config{
		Language: &language, EntityTypes: []string{}, Prompts: map[string]string{}, Gleaning: &gleaning,
	}})
	require.NoError(t, err)
	require.Equal(t, 7, *kb.Config.TopK)
	require.Equal(t, 300, *kb.Config.ChunkSize)
	require.Equal(t, 2, *kb.Config.Gleaning)
	_, c, err = space.Config(ctx)
	require.NoError(t, err)
	require.Empty(t, *c.Language)
	require.Empty(t, c.EntityTypes)
	require.Empty(t, c.Prompts)

	require.NoError(t, s.DeleteKB(ctx, root, "acme", "main"))
	_, _, err = space.Config(ctx)
	require.ErrorIs(t, err, ErrKBGone)
}

// A setting out of its range is refused with its field named.
func TestKBConfig_Ranges(t *testing.T) {
	s, _ := open(t, Options{Models: Models{Chat: []string{"small", "large"}, Embedding: []string{"bge"}}})
	found(t, s, "acme/main")
	root := admin(t, s)
	long := strings.Repeat("x", 16<<10+1)
	for body, field := range map[string]string{
		`{"top_k":0}`:                                              `config.top_k`,
		`{"chunk_size":15}`:                                        `config.chunk_size`,
		`{"chunk_size":32769}`:                                     `config.chunk_size`,
		`{"llm_model":"gpt-9"}`:                                    `config.llm_model`,
		`{"embedding_model":""}`:                                   `config.embedding_model`,
		`{"rerank_model":"any"}`:                                   `config.rerank_model`,
		`{"llm_model_kwargs":{"base_url":"http://x"}}`:             `config.llm_model_kwargs`,
		`{"llm_model_kwargs":{"temperature":"hot"}}`:               `config.llm_model_kwargs.temperature`,
		`{"llm_model_kwargs":{"max_tokens":1.5}}`:                  `config.llm_model_kwargs.max_tokens`,
		`{"chunk_size":50,"chunk_overlap":50}`:                     `config.chunk_overlap`,
		`{"max_total_tokens":0}`:                                   `config.max_total_tokens`,
		`{"min_rerank_score":-1}`:                                  `config.min_rerank_score`,
		`{"gleaning":3}`:                                           `config.gleaning`,
		`{"gleaning":-1}`:                                          `config.gleaning`,
		`{"language":"a\nb"}`:                                      `config.language`,
		`{"language":"` + long + `"}`:                              `config.language`,
		`{"entity_types":["Person","a|b"]}`:                        `config.entity_types[1]`,
		`{"entity_types":["Person","a,b"]}`:                        `config.entity_types[1]`,
		`{"entity_types":["Person","person"]}`:                     `config.entity_types[1]`,
		`{"entity_types":[""]}`:                                    `config.entity_types[0]`,
		`{"entity_types":["x` + strings.Repeat(`","x`, 64) + `"]}`: `config.entity_types`,
		`{"prompts":{"answers":"x"}}`:                              `config.prompts`,
		`{"prompts":{"glean":" "}}`:                                `config.prompts.glean`,
		`{"prompts":{"glean":"` + long + `"}}`:                     `config.prompts.glean`,
		`{"prompts":{"glean":"a\u0000"}}`:                          `config.prompts.glean`,
		`{"prompts":{"glean":"{langauge}"}}`:                       `config.prompts.glean`,
		`{"prompts":{"extract_user":"{text}"}}`:                    `config.prompts.extract_user`,
		`{"prompts":{"extract_rows":"no types"}}`:                  `config.prompts.extract_rows`,
		`{"prompts":{"extract_json":"{types} {text}"}}`:            `config.prompts.extract_json`,
	} {
		var c Config
		require.NoError(t, json.Unmarshal([]byte(body), &c))
		_, err := s.UpdateKB(ctxOf(t), root, "acme", "main", KBUpdate{Config: &c})
		var f *FieldError
		require.ErrorAs(t, err, &f, "%.80s", body)
		require.Equal(t, field, f.Field, "%.80s", body)
		require.Less(t, len(f.Message), 300)
	}
	// JSON and code in braces are no placeholders.
	var c Config
	require.NoError(t, json.Unmarshal([]byte(`{"prompts":{"extract_json":"{types}: {\"entities\":[{\"name\":\"\"}]} {{x y}} {}"}}`), &c))
	_, err := s.UpdateKB(ctxOf(t), root, "acme", "main", KBUpdate{Config: &c})
	require.NoError(t, err)
}

// full is a configuration with every field set to something else than of seed.
func full(t *testing.T, seed int) Config {
	t.Helper()
	var c Config
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		name := settingName(i)
		switch {
		case f.Kind() == reflect.Map && name == "prompts":
			c.Prompts = map[string]string{"keywords": fmt.Sprint("Say ", seed)}
		case name == "llm_model_kwargs":
			c.LLMModelKwargs = map[string]any{"max_tokens": float64(10 + seed)}
		case f.Kind() == reflect.Map:
			f.Set(reflect.ValueOf(map[string]any{"seed": float64(seed)}))
		case f.Kind() == reflect.Slice:
			c.EntityTypes = []string{fmt.Sprint("Type ", seed)}
		case f.Type().Elem().Kind() == reflect.String:
			s := fmt.Sprint("m", seed)
			f.Set(reflect.ValueOf(&s))
		case f.Type().Elem().Kind() == reflect.Bool:
			b := seed%2 == 0
			f.Set(reflect.ValueOf(&b))
		case f.Type().Elem().Kind() == reflect.Float64:
			x := float64(seed) / 16
			f.Set(reflect.ValueOf(&x))
		case name == "gleaning":
			n := seed % 3
			f.Set(reflect.ValueOf(&n))
		case name == "chunk_size":
			n := 100 + seed
			f.Set(reflect.ValueOf(&n))
		default:
			n := 20 + seed
			f.Set(reflect.ValueOf(&n))
		}
	}
	return c
}

// Every field of a configuration comes back as it was set, for a tenant and for a
// knowledge base, alone and with all others, after a restart too; it goes when it is
// unset and leaves the others. A field that is added is held to this by itself.
func TestConfig_EveryFieldRoundTrips(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, Models: Models{Chat: []string{"m1", "m2"}, Embedding: []string{"m1", "m2"}, Rerank: []string{"m1", "m2"}}}
	s, c := open(t, o)
	o.Now = c.now
	found(t, s, "acme/main")
	ctx, root := ctxOf(t), admin(t, s)
	tenant, kb := full(t, 1), full(t, 2)
	fields := reflect.TypeFor[Config]().NumField()
	for i := range fields {
		var one Config
		reflect.ValueOf(&one).Elem().Field(i).Set(reflect.ValueOf(tenant).Field(i))
		var in TenantUpdate
		b, err := json.Marshal(map[string]any{"config": one})
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, &in))
		_, err = s.UpdateTenant(ctx, root, "acme", in)
		require.NoError(t, err, settingName(i))
	}
	_, err := s.UpdateKB(ctx, root, "acme", "main", KBUpdate{Config: &kb})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	s, err = Open(o)
	require.NoError(t, err)
	defer s.Close()
	root = admin(t, s)
	space := enter(t, s, root, "acme/main", PermKBAccess)
	gotTenant, gotKB, err := space.Config(ctx)
	require.NoError(t, err)
	require.Equal(t, tenant, gotTenant)
	require.Equal(t, kb, gotKB)
	for i := range fields {
		name := settingName(i)
		require.NotEmpty(t, name)
		out, err := s.UpdateKB(ctx, root, "acme", "main", KBUpdate{ConfigUnset: []string{name}})
		require.NoError(t, err)
		v := reflect.ValueOf(out.Config)
		for j := range fields {
			require.Equal(t, j <= i, v.Field(j).IsNil(), "%s after %s was unset", settingName(j), name)
		}
	}
	_, err = s.UpdateKB(ctx, root, "acme", "main", KBUpdate{ConfigUnset: []string{"topk"}})
	require.ErrorContains(t, err, "config_unset[0]")
}

// What a level says goes before what is below it, field by field, and what it does not
// say does not.
func TestConfig_Over(t *testing.T) {
	server, tenant := full(t, 1), full(t, 2)
	require.Equal(t, server, Config{}.Over(server))
	for i := range reflect.TypeFor[Config]().NumField() {
		var one Config
		reflect.ValueOf(&one).Elem().Field(i).Set(reflect.ValueOf(tenant).Field(i))
		got := reflect.ValueOf(one.Over(server))
		for j := range got.NumField() {
			if settingName(i) == "chunk_size" && settingName(j) == "chunk_overlap" {
				continue
			}
			want := reflect.ValueOf(server).Field(j)
			if i == j {
				want = reflect.ValueOf(tenant).Field(j)
			}
			require.Equal(t, want.Interface(), got.Field(j).Interface(), "%s over %s", settingName(i), settingName(j))
		}
	}
	size, overlap, none := 40, 100, ""
	got := Config{ChunkSize: &size}.Over(Config{ChunkOverlap: &overlap})
	require.Equal(t, 10, *got.ChunkOverlap, "an overlap meant for longer chunks")
	got = Config{Language: &none, EntityTypes: []string{}, Prompts: map[string]string{"glean": "x"}}.Over(server)
	require.Equal(t, server.Language, got.Language)
	require.Equal(t, server.EntityTypes, got.EntityTypes)
	require.Equal(t, map[string]string{"glean": "x", "keywords": "Say 1"}, got.Prompts)
	require.Len(t, server.Prompts, 1, "the level below is not changed")
}

// A model that was taken from the server's configuration since is kept as it was
// chosen and hinders no other change; choosing it again is refused and names the others.
func TestConfig_ModelsComeAndGo(t *testing.T) {
	dir := t.TempDir()
	s, c := open(t, Options{Dir: dir, Models: Models{Chat: []string{"own", "gone"}}})
	found(t, s, "acme/main")
	ctx, gone, name := ctxOf(t), "gone", "Renamed"
	_, err := s.UpdateKB(ctx, admin(t, s), "acme", "main", KBUpdate{Config: &Config{LLMModel: &gone}})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	s, err = Open(Options{Dir: dir, Now: c.now, Models: Models{Chat: []string{"own", "new"}}})
	require.NoError(t, err)
	defer s.Close()
	root, k := admin(t, s), 5
	kb, err := s.UpdateKB(ctx, root, "acme", "main", KBUpdate{Name: &name, Config: &Config{TopK: &k}})
	require.NoError(t, err)
	require.Equal(t, "gone", *kb.Config.LLMModel)
	_, err = s.UpdateKB(ctx, root, "acme", "main", KBUpdate{Config: &Config{LLMModel: &gone}})
	require.ErrorContains(t, err, "it may be own, new")
	_, err = s.UpdateTenant(ctx, root, "acme", TenantUpdate{Config: &Config{RerankModel: &gone}})
	require.ErrorContains(t, err, "this server has no such model")
}
