package engine

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The grammar, by what each form says of one document.
func TestFilter_Permits(t *testing.T) {
	var metadata map[string]any
	require.NoError(t, json.Unmarshal([]byte(`{
		"year": 2024, "score": -0.5, "lang": "de", "draft": false, "none": null, "tags": ["law", "tax", 7, true],
		"day": "2026-01-31", "at": "2026-01-31T22:30:00-05:00", "years": [1990, 2010], "empty": "", "list": [],
		"author": {"name": "Ida", "born": {"year": 1950}}, "a.b": 1, "a": {"b": 2, "c": 3}, "deep": [["x"]]
	}`), &metadata))
	d := &residentDoc{
		id: "doc-1", filePath: "reports/2026/tax law.md", metadata: metadata,
		created: time.Date(2026, 3, 14, 15, 9, 26, 535_897_932, time.UTC),
	}
	for filter, want := range map[string]bool{
		`{"doc_ids":["doc-1"]}`:         true,
		`{"doc_ids":["x","doc-1","y"]}`: true,
		`{"doc_ids":["doc-2"]}`:         false,

		`{"file_paths":["reports/2026/tax law.md"]}`: true,
		`{"file_paths":["reports"]}`:                 false,
		`{"file_paths":["reports/*"]}`:               true,
		`{"file_paths":["*.md"]}`:                    true,
		`{"file_paths":["*"]}`:                       true,
		`{"file_paths":["**tax**md*"]}`:              true,
		`{"file_paths":["*law*tax*"]}`:               false,
		`{"file_paths":["reports/*reports*"]}`:       false,
		`{"file_paths":["*w.md.md"]}`:                false,
		`{"file_paths":["x","*2026*"]}`:              true,
		`{"file_paths":["Reports/*"]}`:               false,
		`{"file_paths":["reports/202?/*"]}`:          false, // a question mark is itself

		`{"tags":"law"}`:                                                                  true,
		`{"tags":"LAW"}`:                                                                  false,
		`{"tags":["x","tax"]}`:                                                            true,
		`{"tags":["x","y"]}`:                                                              false,
		`{"tags":{"all":["law","tax"]}}`:                                                  true,
		`{"tags":{"all":["law","law"]}}`:                                                  true,
		`{"tags":{"all":["law","x"]}}`:                                                    false,
		`{"tags":{"any":["law"],"not":"tax"}}`:                                            false,
		`{"tags":{"not":["x"]}}`:                                                          true,
		`{"tags":7}`:                                                                      true,
		`{"tags":"7"}`:                                                                    false,
		`{"tags":{"eq":true}}`:                                                            true,
		`{"tags":{"exists":true}}`:                                                        true,
		`{"metadata":{"list":{"exists":true}}}`:                                           true,
		`{"metadata":{"list":{"not":"x"}}}`:                                               true,
		`{"metadata":{"deep":"x"}}`:                                                       false, // a list in a list is no value
		`{"metadata":{"author":{"eq":"Ida"}}}`:                                            false,
		`{"metadata":{"author":{"exists":true}}}`:                                         true,
		`{"metadata":{"author.name":"Ida"}}`:                                              true,
		`{"metadata":{"author.born.year":1950}}`:                                          true,
		`{"metadata":{"author.name.first":"Ida"}}`:                                        false,
		`{"metadata":{"a.b":1}}`:                                                          true, // the entry called just that comes first
		`{"metadata":{"a.b":2}}`:                                                          false,
		`{"metadata":{"a.c":3}}`:                                                          true,
		`{"metadata":{"none":{"exists":false}}}`:                                          true,
		`{"metadata":{"nothing":{"exists":false}}}`:                                       true,
		`{"metadata":{"nothing":{"exists":true}}}`:                                        false,
		`{"metadata":{"nothing":{"not":"x"}}}`:                                            true,
		`{"metadata":{"nothing":""}}`:                                                     false,
		`{"metadata":{"empty":""}}`:                                                       true,
		`{"metadata":{"draft":false}}`:                                                    true,
		`{"metadata":{"draft":"false"}}`:                                                  false,
		`{"metadata":{"draft":0}}`:                                                        false,
		`{"metadata":{"year":2024.0,"lang":"de"}}`:                                        true,
		`{"metadata":{"year":2024,"lang":"en"}}`:                                          false,
		`{"metadata":{"lang":["en","de"]}}`:                                               true,
		`{"metadata":{"year":{"any":[2023,2024]}}}`:                                       true,
		`{"metadata":{"year":{"gt":2023}}}`:                                               true,
		`{"metadata":{"year":{"gt":2024}}}`:                                               false,
		`{"metadata":{"year":{"gte":2024}}}`:                                              true,
		`{"metadata":{"year":{"lt":2024}}}`:                                               false,
		`{"metadata":{"year":{"lte":2024,"gt":-1}}}`:                                      true,
		`{"metadata":{"score":{"gte":-0.5,"lt":0}}}`:                                      true,
		`{"metadata":{"lang":{"gte":0}}}`:                                                 false,
		`{"metadata":{"year":{"gte":"2024-01-01"}}}`:                                      false, // a number is no date
		`{"metadata":{"years":{"gt":1990,"lt":2010}}}`:                                    false, // one item must be in the whole range
		`{"metadata":{"years":{"gt":1990}}}`:                                              true,
		`{"metadata":{"day":{"gte":"2026-01-31","lte":"2026-01-31"}}}`:                    true,
		`{"metadata":{"day":{"gt":"2026-01-31"}}}`:                                        false,
		`{"metadata":{"day":{"lt":"2026-01-31"}}}`:                                        false,
		`{"metadata":{"day":{"gt":"2026-01-30","lt":"2026-02-01"}}}`:                      true,
		`{"metadata":{"at":{"gt":"2026-01-31"}}}`:                                         true, // it is February in UTC
		`{"metadata":{"at":{"lte":"2026-01-31"}}}`:                                        false,
		`{"metadata":{"at":{"gte":"2026-02-01T03:30:00Z","lte":"2026-02-01T03:30:00Z"}}}`: true,
		`{"metadata":{"at":{"lt":"2026-02-01T03:30:00Z"}}}`:                               false,
		`{"metadata":{"lang":{"gte":"2026-01-31"}}}`:                                      false,
		`{"metadata":{"at":"2026-02-01T03:30:00Z"}}`:                                      false, // equality is of texts

		`{"created_from":"2026-03-14"}`:                                    true,
		`{"created_to":"2026-03-14"}`:                                      true,
		`{"created_from":"2026-03-14","created_to":"2026-03-14"}`:          true,
		`{"created_from":"2026-03-15"}`:                                    false,
		`{"created_to":"2026-03-13"}`:                                      false,
		`{"created_from":"2026-03-14T15:09:26.535897Z"}`:                   true,
		`{"created_from":"2026-03-14T15:09:26.535898Z"}`:                   false,
		`{"created_to":"2026-03-14T16:09:26.535897+01:00"}`:                true,
		`{"created_to":"2026-03-14T16:09:26+01:00"}`:                       false,
		`{"created_from":"1970-01-01","created_to":"1970-01-01"}`:          false,
		`{"all":[{"tags":"law"},{"tags":"tax"}]}`:                          true,
		`{"all":[{"tags":"law"},{"tags":"x"}]}`:                            false,
		`{"any":[{"tags":"x"},{"metadata":{"lang":"de"}}]}`:                true,
		`{"any":[{"tags":"x"}],"tags":"law"}`:                              false,
		`{"not":{"tags":"law"}}`:                                           false,
		`{"not":{"tags":"law","metadata":{"lang":"en"}}}`:                  true,
		`{"not":{"not":{"any":[{"doc_ids":["doc-1"]},{"tags":"law"}]}}}`:   true,
		` { "metadata" : { "lang" : { "not" : { "any" : [ "en" ] } } } } `: true,
	} {
		f, err := ParseFilter([]byte(filter))
		require.NoError(t, err, filter)
		require.Equal(t, want, f.root.permits(d), filter)

		b, err := json.Marshal(Query{Filter: f})
		require.NoError(t, err)
		var q Query
		require.NoError(t, json.Unmarshal(b, &q))
		require.Equal(t, f, q.Filter, "it comes back as it went")
	}
}

// Every fault names its place.
func TestFilter_Refuses(t *testing.T) {
	list := func(n int, item string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
	}
	nest := func(open string, n int, leaf, close string) string {
		return strings.Repeat(open, n) + leaf + strings.Repeat(close, n)
	}
	leaf := `{"tags":"x"}`
	for _, c := range []struct{ filter, field, reason string }{
		{``, "filter", "is not JSON"},
		{`{`, "filter", "is not JSON"},
		{`{} {}`, "filter", "is not JSON"},
		{"{\"tags\":\"\xff\"}", "filter", "is not JSON"},
		{`[]`, "filter", "must be an object"},
		{`"x"`, "filter", "must be an object"},
		{`null`, "filter", "must be an object"},
		{`{}`, "filter", "is empty"},
		{`{"docs":["a"]}`, "filter.docs", "is not known; a filter has doc_ids"},
		{`{"tags":"a","tags":"b"}`, "filter.tags", "given twice"},
		{`{"doc_ids":"a"}`, "filter.doc_ids", "must be a list"},
		{`{"doc_ids":null}`, "filter.doc_ids", "must be a list"},
		{`{"doc_ids":[]}`, "filter.doc_ids", "is empty"},
		{`{"doc_ids":["a",1]}`, "filter.doc_ids[1]", "must be a text"},
		{`{"doc_ids":["a/b"]}`, "filter.doc_ids[0]", "letters, digits"},
		{`{"doc_ids":` + list(1001, `"a"`) + `}`, "filter.doc_ids", "has 1001 items; at most 1000"},
		{`{"doc_ids":` + list(1000, `"a"`) + `}`, "", ""},
		{`{"file_paths":["a",""]}`, "filter.file_paths[1]", "1 to 1024 bytes"},
		{`{"file_paths":["` + strings.Repeat("x", 1025) + `"]}`, "filter.file_paths[0]", "1 to 1024 bytes"},
		{`{"file_paths":["` + strings.Repeat("x", 1024) + `"]}`, "", ""},
		{`{"file_paths":` + list(101, `"a"`) + `}`, "filter.file_paths", "has 101 items"},
		{`{"file_paths":` + list(100, `"a"`) + `}`, "", ""},
		{`{"file_paths":` + list(60, `"a"`) + `,"not":{"file_paths":` + list(41, `"a"`) + `}}`, "filter.not.file_paths", "at most 100"},
		{`{"created_from":2026}`, "filter.created_from", "is not a date like"},
		{`{"created_to":"tomorrow"}`, "filter.created_to", "is not a date like"},
		{`{"created_to":"2026-02-30"}`, "filter.created_to", "is not a date like"},
		{`{"tags":null}`, "filter.tags", "must be a text, a number, true or false"},
		{`{"tags":[]}`, "filter.tags", "is empty"},
		{`{"tags":["a",{}]}`, "filter.tags[1]", "must be a text, a number"},
		{`{"tags":["a",["b"]]}`, "filter.tags[1]", "must be a text, a number"},
		{`{"tags":{}}`, "filter.tags", "is empty"},
		{`{"tags":{"has":"a"}}`, "filter.tags.has", "is not a known operator"},
		{`{"tags":{"all":"a"}}`, "filter.tags.all", "must be a list"},
		{`{"tags":{"any":[]}}`, "filter.tags.any", "is empty"},
		{`{"tags":{"any":["` + strings.Repeat("x", 1025) + `"]}}`, "filter.tags.any", "at most 1024"},
		{`{"metadata":[]}`, "filter.metadata", "must be an object"},
		{`{"metadata":{}}`, "filter.metadata", "is empty"},
		{`{"metadata":{"":1}}`, "filter.metadata.", "1 to 256 bytes"},
		{`{"metadata":{"` + strings.Repeat("n", 257) + `":1}}`, "filter.metadata." + strings.Repeat("n", 64), "1 to 256 bytes"},
		{`{"metadata":{"` + strings.Repeat("n", 256) + `":1}}`, "", ""},
		{`{"metadata":{"a\nb":{"x":1}}}`, `filter.metadata.a\nb.x`, "operator"},
		{`{"metadata":{"year":{"gte":"new"}}}`, "filter.metadata.year.gte", "is neither a number nor a date"},
		{`{"metadata":{"year":{"gte":true}}}`, "filter.metadata.year.gte", "is neither a number nor a date"},
		{`{"metadata":{"year":{"lt":[1]}}}`, "filter.metadata.year.lt", "is neither a number nor a date"},
		{`{"metadata":{"year":{"gte":1,"lt":"2026-01-01"}}}`, "filter.metadata.year.lt", "of another kind"},
		{`{"metadata":{"year":{"gte":1,"gt":1}}}`, "filter.metadata.year.gt", "the second end"},
		{`{"metadata":{"year":{"lt":"2026-01-01","lte":"2026-01-01"}}}`, "filter.metadata.year.lte", "the second end"},
		{`{"metadata":{"year":{"eq":[1]}}}`, "filter.metadata.year.eq", "must be one value"},
		{`{"metadata":{"year":{"eq":null}}}`, "filter.metadata.year.eq", "must be a text, a number"},
		{`{"metadata":{"year":{"exists":"yes"}}}`, "filter.metadata.year.exists", "must be true or false"},
		{`{"metadata":{"year":{"not":{}}}}`, "filter.metadata.year.not", "is empty"},
		{`{"metadata":{"year":9007199254740993}}`, "filter.metadata.year", "beyond 2^53"},
		{`{"metadata":{"year":9007199254740992}}`, "", ""},
		{`{"metadata":{"year":1e999}}`, "filter.metadata.year", "out of range"},
		{`{"all":{}}`, "filter.all", "must be a list"},
		{`{"any":[]}`, "filter.any", "is empty"},
		{`{"any":[{"tags":"a"},{}]}`, "filter.any[1]", "is empty"},
		{`{"any":[{"tags":"a"},7]}`, "filter.any[1]", "must be an object"},
		{`{"not":[]}`, "filter.not", "must be an object"},
		{nest(`{"not":`, 7, leaf, `}`), "", ""},
		{nest(`{"not":`, 8, leaf, `}`), "filter" + strings.Repeat(".not", 8), "more than 8 deep"},
		{nest(`{"any":[`, 7, leaf, `]}`), "", ""},
		{nest(`{"any":[`, 8, leaf, `]}`), "filter" + strings.Repeat(".any[0]", 8), "more than 8 deep"},
		{nest(`{"not":`, 1000, leaf, `}`), "filter" + strings.Repeat(".not", 19), "nested too deeply"},
		{`{"tags":` + nest(`{"not":`, 7, `"x"`, `}`) + `}`, "", ""},
		{`{"tags":` + nest(`{"not":`, 8, `"x"`, `}`) + `}`, "filter.tags" + strings.Repeat(".not", 7), "more than 8 deep"},
		{`{"all":` + list(128, leaf) + `}`, "", ""},
		{`{"all":[{"all":` + list(128, leaf) + `},{"created_to":"2026-01-01"}]}`, "filter.all[1].created_to", "one condition too many; at most 128"},
		{`{"tags":"x"` + strings.Repeat(" ", maxFilterBytes) + `}`, "filter", "at most 65536"},
	} {
		_, err := ParseFilter([]byte(c.filter))
		if c.field == "" {
			require.NoError(t, err, cutBytes(c.filter, 100))
			continue
		}
		var f *FieldError
		require.ErrorAs(t, err, &f, cutBytes(c.filter, 100))
		require.Equal(t, c.field, f.Field, cutBytes(c.filter, 100))
		require.Contains(t, f.Message, c.reason)
		require.ErrorIs(t, err, ErrBadInput)
		// As a field of a query it is refused with the same words.
		if json.Valid([]byte(c.filter)) && c.filter != "null" {
			var q Query
			require.Equal(t, err, json.Unmarshal([]byte(`{"filter":`+strings.TrimSpace(c.filter)+`}`), &q))
		}
	}
}

// globMatches is what a star means, by trying every place.
func globMatches(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	if pattern[0] == '*' {
		return globMatches(pattern[1:], s) || s != "" && globMatches(pattern, s[1:])
	}
	return s != "" && s[0] == pattern[0] && globMatches(pattern[1:], s[1:])
}

func TestGlob_AgreesWithTrying(t *testing.T) {
	var texts []string
	for n := range 6 {
		for i := range 1 << (2 * n) {
			b := make([]byte, n)
			for j := range b {
				b[j] = "ab*/"[i>>(2*j)&3]
			}
			texts = append(texts, string(b))
		}
	}
	for _, p := range texts {
		for i := 0; i < len(texts); i += 7 {
			if want := globMatches(p, texts[i]); newGlob(p).matches(texts[i]) != want {
				t.Fatalf("%q against %q: want %v", p, texts[i], want)
			}
		}
	}
}

// A filter decodes or is refused with its place; one that decodes asks any
// document without a fault and comes back from JSON as it was.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		`{"doc_ids":["a"],"file_paths":["*.md"],"tags":{"all":["a","b"]},"metadata":{"y":{"gte":1,"lt":2}}}`,
		`{"any":[{"not":{"tags":"x"}},{"created_from":"2026-01-01","created_to":"2026-01-31T12:00:00Z"}]}`,
		`{"metadata":{"a.b":{"not":{"exists":true}},"c":[1,"2",true]}}`,
		`{"metadata":{"d":{"gt":"2026-01-01","lte":"2026-02-01"}}}`, `{`, `[]`, `{"tags":{"x":1}}`,
	} {
		f.Add(s, `{"y":1,"tags":["a"],"a":{"b":1},"d":"2026-01-31"}`)
	}
	f.Fuzz(func(t *testing.T, text, metadata string) {
		x, err := ParseFilter([]byte(text))
		if err != nil {
			var field *FieldError
			require.ErrorAs(t, err, &field)
			require.True(t, strings.HasPrefix(field.Field, "filter"), field.Field)
			require.NotEmpty(t, field.Message)
			return
		}
		d := &residentDoc{id: "a", filePath: "x/a.md"}
		_ = json.Unmarshal([]byte(metadata), &d.metadata)
		yes := x.root.permits(d)
		b, err := json.Marshal(x)
		require.NoError(t, err)
		again, err := ParseFilter(b)
		require.NoError(t, err, "%s", b)
		require.Equal(t, yes, again.root.permits(d))
		not, err := ParseFilter(fmt.Appendf(nil, `{"not":%s}`, b))
		if err == nil { // else it stood at the limit of depth
			require.Equal(t, !yes, not.root.permits(d))
		}
	})
}
