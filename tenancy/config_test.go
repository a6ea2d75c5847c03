package tenancy

import (
	"encoding/json"
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
		Config KBConfig `json:"config"`
	}{kb.Config})
	require.NoError(t, err)
	require.JSONEq(t, body, string(b))

	space, err := s.Enter(ctx, root, "acme", "main", PermKBAccess)
	require.NoError(t, err)
	c, err := space.Config(ctx)
	require.NoError(t, err)
	require.Equal(t, kb.Config, c)
	other, err := s.Enter(ctx, root, "acme", "other", PermKBAccess)
	require.NoError(t, err)
	c, err = other.Config(ctx)
	require.NoError(t, err)
	require.Equal(t, KBConfig{}, c)

	// What an update leaves out stays; what it empties is the server's again.
	language, gleaning := "", 2
	kb, err = s.UpdateKB(ctx, root, "acme", "main", KBUpdate{Config: &KBConfig{
		Language: &language, EntityTypes: []string{}, Prompts: map[string]string{}, Gleaning: &gleaning,
	}})
	require.NoError(t, err)
	require.Equal(t, 7, *kb.Config.TopK)
	require.Equal(t, 300, *kb.Config.ChunkSize)
	require.Equal(t, 2, *kb.Config.Gleaning)
	c, err = space.Config(ctx)
	require.NoError(t, err)
	require.Empty(t, *c.Language)
	require.Empty(t, c.EntityTypes)
	require.Empty(t, c.Prompts)

	require.NoError(t, s.DeleteKB(ctx, root, "acme", "main"))
	_, err = space.Config(ctx)
	require.ErrorIs(t, err, ErrKBGone)
}

// A setting out of its range is refused with its field named.
func TestKBConfig_Ranges(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main")
	root := admin(t, s)
	long := strings.Repeat("x", 16<<10+1)
	for body, field := range map[string]string{
		`{"top_k":0}`:                          `config.top_k`,
		`{"chunk_size":15}`:                    `config.chunk_size`,
		`{"chunk_size":32769}`:                 `config.chunk_size`,
		`{"gleaning":3}`:                       `config.gleaning`,
		`{"gleaning":-1}`:                      `config.gleaning`,
		`{"language":"a\nb"}`:                  `config.language`,
		`{"language":"` + long + `"}`:          `config.language`,
		`{"entity_types":["Person","a|b"]}`:    `config.entity_types[1]`,
		`{"entity_types":["Person","a,b"]}`:    `config.entity_types[1]`,
		`{"entity_types":["Person","person"]}`: `config.entity_types[1]`,
		`{"entity_types":[""]}`:                `config.entity_types[0]`,
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
		var c KBConfig
		require.NoError(t, json.Unmarshal([]byte(body), &c))
		_, err := s.UpdateKB(ctxOf(t), root, "acme", "main", KBUpdate{Config: &c})
		var f *FieldError
		require.ErrorAs(t, err, &f, "%.80s", body)
		require.Equal(t, field, f.Field, "%.80s", body)
		require.Less(t, len(f.Message), 300)
	}
	// JSON and code in braces are no placeholders.
	var c KBConfig
	require.NoError(t, json.Unmarshal([]byte(`{"prompts":{"extract_json":"{types}: {\"entities\":[{\"name\":\"\"}]} {{x y}} {}"}}`), &c))
	_, err := s.UpdateKB(ctxOf(t), root, "acme", "main", KBUpdate{Config: &c})
	require.NoError(t, err)
}
