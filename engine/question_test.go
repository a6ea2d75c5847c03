package engine

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseQuestion(t *testing.T) {
	r := evalBase([]evalPassage{
		{"a", "Apple", "Apple is a company in Cupertino. An apple is a fruit, and every apple tree bears apples."},
		{"b", "Albert III, Duke of Bavaria", "Albert III ruled in Munich."},
		{"c", "Zorro", "Zorro is a film of 1975. Bavaria is a state. King Ludwig of Bavaria lived there."},
	}, true)
	for text, want := range map[string]string{
		"Where did Albert III, Duke of Bavaria, live?":  "albert iii duke of bavaria",
		"who was albert iii":                            "albert iii",
		"Where is Apple?":                               "apple",
		"how do I plant an apple tree":                  "", // more often a word than a name
		"who filmed zorro":                              "zorro",
		"Was the Duke of Bavaria older than Zorro's?":   "bavaria, zorro",
		"Is the of and":                                 "",
		"What of Ludwig of Bavaria and King Ludwig of?": "ludwig of bavaria, king ludwig",
	} {
		q := parseQuestion(r, text, true)
		require.Equal(t, want, strings.Join(q.names(), ", "), "%q", text)
		require.Equal(t, want != "", q.named())
	}

	words := func(text string, groups bool) (out []string) {
		q := parseQuestion(r, text, groups)
		for _, w := range q.rel {
			out = append(out, r.lex.Text(w.term))
		}
		return out
	}
	require.Equal(t, []string{"film", "zorro"}, words("which films: ZORRO and zorros", true))
	require.Equal(t, []string{"film"}, words("who directed Zorro", true))
	require.Empty(t, words("who directed Zorro", false))

	long := parseQuestion(r, strings.Repeat("Apple tree Zorro film company ", 5000), true)
	require.LessOrEqual(t, len(long.seeds), maxSeeds)
}

func TestKeywords(t *testing.T) {
	r := evalBase(bridge, true)
	for text, want := range map[string]Keywords{
		bridgeQuestion: {High: []string{"director", "film", "born"}, Low: []string{"Glass Harbour"}},
		"Did Jane Q. Doe's museum in Bergen get ticket machines?": {High: []string{"get", "ticket", "machines"}, Low: []string{"Jane Q. Doe", "Bergen", "museum"}},
		"Have Anna Smith, Bob and Eve-Marie met?":                 {High: []string{"met"}, Low: []string{"Anna Smith", "Bob", "Eve-Marie"}},
		"Give the price of 42 tickets":                            {High: []string{"give", "price", "tickets"}, Low: []string{}},
		"":                                                        {High: []string{}, Low: []string{}},
	} {
		q := parseQuestion(r, text, true)
		require.Equal(t, want, q.keywords(), "%q", text)
	}
}
