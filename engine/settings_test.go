package engine_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// configure gives a base settings of its own, as JSON.
func configure(t *testing.T, v *enginetest.Env, kb, config string) {
	t.Helper()
	v.Space(enginetest.Tenant, kb, tenancy.PermKBAccess) // made if it is new
	var c tenancy.Config
	require.NoError(t, json.Unmarshal([]byte(config), &c))
	_, err := v.Store.UpdateKB(ctx, v.Admin, enginetest.Tenant, kb, tenancy.KBUpdate{Config: &c})
	require.NoError(t, err)
}

// spoken is a chat model that remembers what it was asked and finds Ada everywhere.
func spoken() (*enginetest.Chatter, *[]engine.ChatRequest) {
	asked := &[]engine.ChatRequest{}
	return &enginetest.Chatter{Reply: func(r engine.ChatRequest) (string, error) {
		*asked = append(*asked, r)
		if len(r.Messages) > 1 {
			return "entity<|#|>Found later<|#|>Person<|#|>Was missed.", nil
		}
		return "entity<|#|>Ada<|#|>Person<|#|>She wrote.", nil
	}}, asked
}

// A knowledge base's own language, types, gleaning, chunk size and prompts go
// before the server's, for it alone, from its next document on; what was read
// under other settings is read again when its document changes and not before.
func TestSettings_OfAKnowledgeBase(t *testing.T) {
	chat, asked := spoken()
	o := engine.Options{
		Extractor:   engine.ModelExtractor(chat, engine.ExtractOptions{Language: "Dutch", Types: []string{"Thing"}, Format: engine.FormatRows}),
		ChunkTokens: 1000, ModelConcurrency: 1, Workers: 1,
	}
	v := enginetest.New(t, o)
	take := func() []engine.ChatRequest {
		v.Wait()
		a := *asked
		*asked = nil
		return a
	}
	text := long("Part", 12)
	v.Add("plain", "d", text)
	a := take()
	require.Len(t, a, 1)
	require.Contains(t, a[0].System, "Dutch")
	require.Contains(t, a[0].System, "Thing.")

	configure(t, v, "own", `{"language":"German","entity_types":["Ship","Port"],"gleaning":1,"chunk_size":50}`)
	v.Add("own", "d", text)
	a = take()
	chunks := document(t, v, "own", "d").ChunksCount
	require.Greater(t, chunks, 2)
	require.Len(t, a, 2*chunks)
	require.Contains(t, a[0].System, "German")
	require.Contains(t, a[0].System, "Ship, Port")
	require.Len(t, a[1].Messages, 3)
	require.Contains(t, a[1].Messages[2].Content, "German")
	require.Contains(t, v.Dump("own"), `entity "Found later"`)
	v.Add("plain", "e", "Another text.")
	a = take()
	require.Contains(t, a[0].System, "Dutch", "of its own base only")

	// The same settings, another chunk: what is known is not asked again.
	text = strings.Replace(text, "Part11", "Other11", 1)
	_, err := v.KB("own").Update(ctx, "d", engine.DocumentInput{Content: []byte(text)})
	require.NoError(t, err)
	require.Len(t, take(), 2)
	// Other settings: nothing is asked until the document changes, then all of it.
	for i, config := range []string{
		`{"language":"French"}`, `{"entity_types":["Ship"]}`, `{"gleaning":0}`,
		`{"prompts":{"extract_user":"Take this apart in {language}: {fence}\n{text}\n{fence}"}}`,
		`{"prompts":{"extract_rows":"Only {types}, as rows."}}`, `{"prompts":{}}`, `{"language":"","entity_types":[]}`,
	} {
		configure(t, v, "own", config)
		require.Empty(t, take())
		text = strings.Replace(text, fmt.Sprintf("Part%d ", i), fmt.Sprintf("New%d ", i), 1)
		_, err := v.KB("own").Update(ctx, "d", engine.DocumentInput{Content: []byte(text)})
		require.NoError(t, err)
		a = take()
		if config == `{"gleaning":0}` {
			require.Len(t, a, 1, "the first answers are in the store")
			continue
		}
		require.GreaterOrEqual(t, len(a), chunks, config)
		switch {
		case strings.Contains(config, "extract_user"):
			require.True(t, strings.HasPrefix(a[0].Messages[0].Content, "Take this apart in French: ```\n"), a[0].Messages[0].Content)
		case strings.Contains(config, "extract_rows"):
			require.Equal(t, "Only Ship, as rows.", a[0].System)
		}
	}
	require.Contains(t, a[0].System, "Dutch", "the server's again")
	require.Contains(t, a[0].System, "Thing.")
}

// Who replaces the prompt for rows and not the one for JSON is asked for rows.
func TestSettings_PromptChoosesTheForm(t *testing.T) {
	chat, asked := spoken()
	v := enginetest.New(t, engine.Options{Extractor: engine.ModelExtractor(chat, engine.ExtractOptions{}), Workers: 1})
	for i, tc := range []struct {
		prompts string
		json    bool
		system  string
	}{
		{`{}`, true, "One JSON object"},
		{`{"extract_rows":"My rows of {types}."}`, false, "My rows of"},
		{`{"extract_json":"My JSON of {types}."}`, true, "My JSON of"},
		{`{"extract_rows":"My rows of {types}.","extract_json":"My JSON of {types}."}`, true, "My JSON of"},
	} {
		configure(t, v, "k", `{"prompts":`+tc.prompts+`}`)
		v.Add("k", fmt.Sprint("d", i), fmt.Sprintf("Text %d.", i))
		v.Wait()
		require.Equal(t, tc.json, (*asked)[i].JSON, tc.prompts)
		require.Contains(t, (*asked)[i].System, tc.system)
	}
}

// Every prompt that can be replaced is one that is compiled in, and holds what a
// replacement must and no placeholder that one may not.
func TestSettings_PromptsAreThere(t *testing.T) {
	files, err := fs.Glob(os.DirFS("prompts"), "*.txt")
	require.NoError(t, err)
	replaceable := 0
	for _, f := range files {
		name, _, _ := strings.Cut(f, ".")
		may, must, ok := tenancy.PromptPlaceholders(name)
		if !ok {
			continue
		}
		replaceable++
		b, err := os.ReadFile("prompts/" + f)
		require.NoError(t, err)
		v := enginetest.New(t, engine.Options{})
		configure(t, v, "k", fmt.Sprintf(`{"prompts":{%q:%q}}`, name, b)) // is taken as it is
		for _, p := range must {
			require.Contains(t, string(b), "{"+p+"}", f)
			require.True(t, slices.Contains(may, p))
		}
	}
	require.Equal(t, 8, replaceable)
	_, _, ok := tenancy.PromptPlaceholders("extract_rows.v1")
	require.False(t, ok)
}

// The prompts of a question are the base's own too, from the next question on: what
// was remembered under others does not come back.
func TestSettings_PromptsOfAQuestion(t *testing.T) {
	var systems []string
	chat := &enginetest.Chatter{Reply: func(r engine.ChatRequest) (string, error) {
		systems = append(systems, strings.Fields(r.System)[0])
		return `{"question":"Who wrote?","high_level_keywords":[],"low_level_keywords":["Ada"]}`, nil
	}}
	v := enginetest.New(t, engine.Options{Chatter: chat, Answerer: engine.ModelAnswerer(chat, engine.AnswerOptions{}), ModelConcurrency: 1})
	for _, kb := range []string{"own", "plain"} {
		v.Add(kb, "d", "Ada wrote a program.")
	}
	v.Wait()
	q := engine.Query{Query: "And who else?", History: []engine.Message{{Role: "user", Content: "Who wrote?"}}}
	asked := func(kb string) []string {
		systems = nil
		_, err := v.KB(kb).Query(ctx, q)
		require.NoError(t, err)
		return systems
	}
	builtin := asked("own")
	require.Len(t, builtin, 3, "rewrite, keywords, answer")
	require.Empty(t, asked("own"), "remembered")
	configure(t, v, "own", `{"prompts":{"rewrite":"First.","keywords":"Second.","answer":"Third: {context}"}}`)
	require.Equal(t, []string{"First.", "Second.", "Third:"}, asked("own"))
	configure(t, v, "own", `{"prompts":{"answer":"Last: {context}"}}`)
	require.Equal(t, []string{"Last:"}, asked("own"), "the question and its keywords are remembered under the server's prompts")
	require.Equal(t, builtin, asked("plain"))
}
