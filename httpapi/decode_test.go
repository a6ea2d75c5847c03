package httpapi

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
)

// sample has one field of every kind that the wire's bodies use.
type sample struct {
	Text  string           `json:"text"`
	Mode  engine.Mode      `json:"mode"`
	Ptr   *string          `json:"ptr"`
	N     int              `json:"n"`
	TopK  *int             `json:"top_k"`
	F     float64          `json:"f"`
	B     bool             `json:"b"`
	List  []string         `json:"list"`
	Meta  map[string]any   `json:"meta"`
	Metas []map[string]any `json:"metas"`
	Inner struct {
		Role string `json:"role"`
	} `json:"inner"`
	At *time.Time `json:"at"`
}

// Every mistake is refused with the place of it named.
func TestDecode_NamesWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ body, field, reason string }{
		{``, "body", "is empty"},
		{` `, "body", "is empty"},
		{`{`, "body", "unexpected end of JSON input"},
		{`[]`, "body", "must be a JSON object"},
		{`"x"`, "body", "must be a JSON object"},
		{`null`, "body", "must be a JSON object"},
		{`{} {}`, "body", "after top-level value at byte 4"},
		{`{}x`, "body", "after top-level value"},
		{"{\"text\":\"\xff\"}", "body", "not valid UTF-8 at byte 9"},
		{"{\"text\":\"a\x00b\"}", "body", "invalid character"},
		{"\ufeff{}", "body", "invalid character"},
		{`{'text':1}`, "body", "invalid character"},
		{`{"text":"a",}`, "body", "invalid character"},
		{`{"n":01}`, "body", "invalid character"},
		{`{"n":NaN}`, "body", "invalid character"},
		{`{"foo":1}`, "foo", "not a known field"},
		{`{"Text":"a"}`, "Text", "not a known field"},
		{`{"":1}`, "body", "not a known field"},
		{`{"text":"a","text":"b"}`, "text", "given twice"},
		{`{"text":"a","te\u0078t":"b"}`, "text", "given twice"},
		{`{"text":1}`, "text", "must be a string"},
		{`{"text":["a"]}`, "text", "must be a string"},
		{`{"mode":7}`, "mode", "must be a string"},
		{`{"ptr":{}}`, "ptr", "must be a string"},
		{`{"n":"7"}`, "n", "must be a whole number"},
		{`{"n":7.5}`, "n", "must be a whole number"},
		{`{"n":1e3}`, "n", "must be a whole number"},
		{`{"n":9223372036854775808}`, "n", "must be a whole number"},
		{`{"top_k":true}`, "top_k", "must be a whole number"},
		{`{"f":"1"}`, "f", "must be a number"},
		{`{"f":1e999}`, "f", "must be a number"},
		{`{"b":0}`, "b", "must be true or false"},
		{`{"list":{}}`, "list", "must be a list"},
		{`{"list":["a",1]}`, "list[1]", "must be a string"},
		{`{"list":["a",null]}`, "list[1]", "must be a string"},
		{`{"meta":[]}`, "meta", "must be an object"},
		{`{"meta":{"a":{"b":1,"b":2}}}`, "meta.a.b", "given twice"},
		{`{"meta":{"a":12345678901234567890}}`, "meta.a", "beyond 2^53"},
		{`{"meta":{"a":-9007199254740993}}`, "meta.a", "beyond 2^53"},
		{`{"meta":{"a":[1e999]}}`, "meta.a[0]", "out of range"},
		{`{"metas":[{},{"x":{"y":1,"y":1}}]}`, "metas[1].x.y", "given twice"},
		{`{"inner":{"rôle":"x"}}`, "inner.rôle", "not a known field"},
		{`{"inner":{"role":1}}`, "inner.role", "must be a string"},
		{`{"text":"\ud800"}`, "text", "half of a surrogate pair"},
		{`{"text":"\udc00\ud800"}`, "text", "half of a surrogate pair"},
		{`{"text":"\ud800\u0041"}`, "text", "half of a surrogate pair"},
		{`{"meta":{"\ud800":1,"\ud801":2}}`, "meta", "half of a surrogate pair"},
		{`{"at":"yesterday"}`, "at", "must be a time"},
		{`{"at":5}`, "at", "must be a time"},
		{`{"meta":` + strings.Repeat(`{"a":`, maxDepth) + `1` + strings.Repeat(`}`, maxDepth) + `}`, "meta" + strings.Repeat(".a", maxDepth), "nested deeper than 32"},
		{`{"meta":{"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}}`, "body", "nested deeper than 32"},
		{`{"` + strings.Repeat("k", 300) + `":1}`, strings.Repeat("k", 64) + "…", "not a known field"},
	} {
		t.Run(c.body[:min(len(c.body), 40)], func(t *testing.T) {
			var v sample
			err := decodeStrict("body", []byte(c.body), &v)
			require.ErrorIs(t, err, engine.ErrBadInput)
			var field *engine.FieldError
			require.ErrorAs(t, err, &field)
			require.Equal(t, c.field, field.Field)
			require.Contains(t, field.Message, c.reason)
		})
	}
}

// What is right is kept as it was sent.
func TestDecode_KeepsWhatIsRight(t *testing.T) {
	var v sample
	body := ` {"text":"a\"\\\/\u00e9\ud83d\ude00\n", "mode":"mix", "ptr":null, "n":-7, "top_k":1000000000, "f":1.5e3, "b":true,
		"list":["", "x"], "meta":{"a":[1,{"b":null}],"big":9007199254740992,"neg":-1.25}, "metas":[null,{}], "inner":{"role":"user"},
		"at":"2026-01-31T12:00:00+02:00"} `
	require.NoError(t, decodeStrict("body", []byte(body), &v))
	require.Equal(t, "a\"\\/é😀\n", v.Text)
	require.Nil(t, v.Ptr)
	require.Equal(t, 1_000_000_000, *v.TopK)
	require.Equal(t, []string{"", "x"}, v.List)
	require.Equal(t, map[string]any{"a": []any{1.0, map[string]any{"b": nil}}, "big": 9007199254740992.0, "neg": -1.25}, v.Meta)
	require.Equal(t, []map[string]any{nil, {}}, v.Metas)
	require.Equal(t, "user", v.Inner.Role)
	require.True(t, v.At.Equal(time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)))
}

// The bodies of the wire have no field that two names lead to.
func TestDecode_FieldNamesAreUnique(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[engine.Query](), reflect.TypeFor[textInput](), reflect.TypeFor[textsInput]()} {
		names := make(map[string]bool)
		for name := range fieldsOf(typ) {
			require.False(t, names[strings.ToLower(name)], name)
			names[strings.ToLower(name)] = true
		}
		require.NotEmpty(t, names)
	}
}

// Whatever decode accepts, a second reading by encoding/json's own token
// stream finds to be one object without unknown or repeated names, and both
// give the same value.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"text":"a","meta":{"a":[1,2,{"b":"c"}]},"list":["x"]}`, `{"text":"\ud83d\ude00"}`, `{"a":1,"a":2}`, "{\"te\\u0078t\":\"\xff\"}",
		`{"metas":[null,{"x":1e5}],"inner":{"role":"r"},"at":"2026-01-31T12:00:00Z"}`, `{"n":1e400}`, `{"":""}`, ` { } `, `{"text":"\ud800"}`,
		`{"top_k":1e9}`, `{"meta":{"k":123456789012345678}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got sample
		if decodeStrict("body", data, &got) != nil {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		var want sample
		require.NoError(t, dec.Decode(&want))
		_, err := dec.Token()
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, want, got)
		require.NoError(t, noRepeats(json.NewDecoder(bytes.NewReader(data))))
	})
}

// noRepeats reads one value token by token.
func noRepeats(dec *json.Decoder) error {
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	switch tok {
	case json.Delim('{'):
		seen := make(map[string]bool)
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return err
			}
			if seen[key.(string)] {
				return badField(key.(string), "twice")
			}
			seen[key.(string)] = true
			if err := noRepeats(dec); err != nil {
				return err
			}
		}
		_, err = dec.Token()
	case json.Delim('['):
		for dec.More() {
			if err := noRepeats(dec); err != nil {
				return err
			}
		}
		_, err = dec.Token()
	}
	return err
}

func BenchmarkDecodeTexts(b *testing.B) {
	in := textsInput{Texts: make([]string, 1000)}
	for i := range in.Texts {
		in.Texts[i] = strings.Repeat("The quick brown fox \"jumps\" over\n", 30)
	}
	body, err := json.Marshal(in)
	require.NoError(b, err)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var out textsInput
		if err := decodeStrict("body", body, &out); err != nil {
			b.Fatal(err)
		}
	}
}
