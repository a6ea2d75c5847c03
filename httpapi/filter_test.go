package httpapi

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A filter on the wire holds for every route that shows what documents say, and
// what is wrong with it is named with its place.
func TestFilter_OnTheWire(t *testing.T) {
	h := newHouse(t, Options{})
	h.ok(http.StatusAccepted, post, acmeMain+"/documents/text", `{"id":"open","text":"Ada wrote to Babbage. Babbage answered Ada.","metadata":{"tags":["open"]}}`)
	h.ok(http.StatusAccepted, post, acmeMain+"/documents/text", `{"id":"shut","text":"Ada wrote to Zuse. BABBAGE met Zuse and Ada in Hoyerswerda.","metadata":{"tags":["shut"]}}`)
	h.Wait()
	const filter = `{"tags":"open"}`
	at := func(path, params string) string { return acmeMain + "/graph" + path + "?" + params }

	for _, route := range []string{"/query", "/query/data", "/query/stream"} {
		for _, mode := range []string{"naive", "local", "global", "hybrid", "mix", "ppr"} {
			ask := func(filter string) string {
				w := h.as(h.admin, post, acmeMain+route, `{"query":"Whom did Ada meet?","mode":"`+mode+`","include_chunk_content":true`+filter+`}`)
				require.Equal(t, 200, w.Code, w.Body.String())
				return w.Body.String()
			}
			require.Contains(t, ask(""), "shut", route+" "+mode)
			require.Contains(t, ask(`,"filter":null`), "shut", "null is no filter")
			got := ask(`,"filter":` + filter)
			require.Contains(t, got, "open", route+" "+mode)
			for _, word := range []string{"shut", "Zuse", "Hoyerswerda", "BABBAGE"} {
				require.NotContains(t, got, word, route+" "+mode)
			}
		}
	}
	for _, path := range []string{at("", "label=*"), at("", "label=ada"), at("/labels", "q=a"), at("/labels/popular", "limit=9"), at("/entity", "name=ada"), at("/path", "from=ada&to=babbage"), at("/related", "name=babbage")} {
		w := h.as(h.admin, get, path+"&filter="+url.QueryEscape(filter), "")
		require.Equal(t, 200, w.Code, path)
		require.Contains(t, w.Body.String(), "Ada", path)
		for _, word := range []string{"shut", "Zuse", "Hoyerswerda", "BABBAGE"} {
			require.NotContains(t, w.Body.String(), word, path)
		}
	}
	for _, path := range []string{at("", "label=zuse"), at("/entity", "name=zuse"), at("/path", "from=ada&to=zuse"), at("/related", "name=zuse")} {
		require.Equal(t, 200, h.as(h.admin, get, path, "").Code)
		refused(t, h.as(h.admin, get, path+"&filter="+url.QueryEscape(filter), ""), 404, "NOT_FOUND")
	}

	walk := func(filter string) string {
		w := h.as(h.admin, post, acmeMain+"/graph/query", `{"start":["Babbage"],"steps":[{"follow":"both","hops":2}]`+filter+`}`)
		require.Equal(t, 200, w.Code, w.Body.String())
		return w.Body.String()
	}
	require.Contains(t, walk(""), "Zuse")
	require.Contains(t, walk(`,"filter":`+filter), "Ada")
	require.NotContains(t, walk(`,"filter":`+filter), "Zuse")

	for wrong, field := range map[string]string{
		`{}`:                                     "filter",
		`[]`:                                     "filter",
		`{"doc_id":["open"]}`:                    "filter.doc_id",
		`{"metadata":{"year":{"gte":"recent"}}}`: "filter.metadata.year.gte",
		`{"metadata":{"year":{"above":1}}}`:      "filter.metadata.year.above",
		`{"tags":"a","tags":"b"}`:                "filter.tags",
		`{"tags":"\ud800"}`:                      "filter.tags",
		strings.Repeat(`{"not":`, 9) + `{"tags":"a"}` + strings.Repeat(`}`, 9): "filter" + strings.Repeat(".not", 8),
	} {
		for _, route := range []string{"/query", "/query/data", "/query/stream"} {
			body := refused(t, h.as(h.admin, post, acmeMain+route, `{"query":"Who is Ada?","filter":`+wrong+`}`), 400, "INVALID_REQUEST")
			require.Equal(t, field, body.Details["field"], "%s %s", route, wrong)
		}
		for _, path := range []string{at("", "label=*"), at("/labels", "q=a"), at("/labels/popular", "limit=9"), at("/entity", "name=ada"), at("/path", "from=ada&to=zuse")} {
			body := refused(t, h.as(h.admin, get, path+"&filter="+url.QueryEscape(wrong), ""), 400, "INVALID_REQUEST")
			require.Equal(t, field, body.Details["field"], "%s %s", path, wrong)
		}
	}
	for _, wrong := range []string{"", "{", "tags", "{} {}"} {
		body := refused(t, h.as(h.admin, get, at("", "label=*")+"&filter="+url.QueryEscape(wrong), ""), 400, "INVALID_REQUEST")
		require.Equal(t, "filter", body.Details["field"], wrong)
	}
}
